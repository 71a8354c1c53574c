/* Errors: the table of statuses, and messages that are cut or made from others. */
#include <errno.h>

#include "base_test.h"

#include <keyward/keyward.h>

static void exit_codes_are_families(void **state)
{
    (void)state;
    static const struct {
        enum kw_status status;
        int code;
        const char *word;
    } rows[] = {
        {KW_OK, 0, "ok"},
        {KW_FAULT, 1, "fault"},
        {KW_NO_MEMORY, 1, "no-memory"},
        {KW_USAGE, 2, "usage"},
        {KW_CONFIG, 3, "config"},
        {KW_PIN_MISSING, 3, "pin-missing"},
        {KW_PIN_WRONG, 3, "pin-wrong"},
        {KW_PIN_LOCKED, 3, "pin-locked"},
        {KW_DENIED, 3, "denied"},
        {KW_DROP, 4, "drop"},
        {KW_METADATA, 4, "metadata"},
        {KW_NOT_ENCRYPTED, 4, "not-encrypted"},
        {KW_KEY_NOT_FOUND, 5, "key-not-found"},
        {KW_KEY_AMBIGUOUS, 5, "key-ambiguous"},
        {KW_KEY_UNWRAP, 5, "key-unwrap"},
        {KW_KEY_UNUSABLE, 5, "key-unusable"},
        {KW_MODULE, 6, "module"},
        {KW_TOKEN_NOT_FOUND, 6, "token-not-found"},
        {KW_TOKEN, 6, "token"},
        {KW_DAMAGED, 7, "damaged"},
        {KW_READ, 8, "read"},
        {KW_WRITE, 8, "write"},
        {KW_EXISTS, 8, "exists"},
        {KW_AUDIT, 9, "audit"},
        {KW_INTERRUPTED, 130, "interrupted"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        assert_int_equal(kw_exit_code(rows[i].status), rows[i].code);
        assert_string_equal(kw_status_name(rows[i].status), rows[i].word);
        assert_true(strlen(kw_status_meaning(rows[i].status)) > 4);
    }
}

static void unknown_statuses_are_faults(void **state)
{
    (void)state;
    static const int unknown[] = {-1, 1, 99, 102, 399, 1000, 1 << 30};
    for (size_t i = 0; i < KW_COUNT(unknown); i++) {
        assert_int_equal(kw_exit_code((enum kw_status)unknown[i]), 1);
        assert_string_equal(kw_status_name((enum kw_status)unknown[i]), "unknown");
        assert_non_null(kw_status_meaning((enum kw_status)unknown[i]));
    }
}

static void members_are_filled(void **state)
{
    (void)state;
    struct kw_error err;
    memset(&err, 0xFF, sizeof(err));
    assert_int_equal(kw_fail(&err, KW_DROP, "%s has %d files.", "x", 3), KW_DROP);
    assert_int_equal(err.status, KW_DROP);
    assert_int_equal(err.ck_rv, 0);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.message, "x has 3 files.");

    assert_int_equal(kw_fail_errno(&err, KW_READ, ENOENT, "%s can't be read", "x"), KW_READ);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_string_equal(err.message, "x can't be read: No such file or directory");

    assert_int_equal(kw_fail_ck(&err, KW_TOKEN, 0x30, "x failed."), KW_TOKEN);
    assert_int_equal(err.ck_rv, 0x30);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.message, "x failed.");

    assert_int_equal(kw_fail_memory(&err), KW_NO_MEMORY);
    assert_int_equal(err.status, KW_NO_MEMORY);
    assert_int_equal(kw_fail_errno(&err, KW_READ, ENOMEM, "x"), KW_NO_MEMORY);
    assert_int_equal(err.status, KW_NO_MEMORY);
}

static void null_error_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(kw_fail(NULL, KW_DROP, "x"), KW_DROP);
    assert_int_equal(kw_fail_errno(NULL, KW_READ, EIO, "x"), KW_READ);
    assert_int_equal(kw_fail_ck(NULL, KW_TOKEN, 5, "x"), KW_TOKEN);
    assert_int_equal(kw_fail_memory(NULL), KW_NO_MEMORY);
}

static void long_messages_end_with_dots(void **state)
{
    (void)state;
    char text[KW_MESSAGE_SIZE * 2];
    struct kw_error err;
    memset(text, 'a', sizeof(text));

    text[KW_MESSAGE_SIZE - 1] = '\0';
    kw_fail(&err, KW_DROP, "%s", text); /* just fits */
    assert_string_equal(err.message, text);

    text[KW_MESSAGE_SIZE - 1] = 'a';
    text[KW_MESSAGE_SIZE] = '\0';
    kw_fail(&err, KW_DROP, "%s", text);
    assert_int_equal(strlen(err.message), KW_MESSAGE_SIZE - 1);
    assert_string_equal(err.message + KW_MESSAGE_SIZE - 5, "a...");

    text[KW_MESSAGE_SIZE - 1] = '\0';
    kw_fail_errno(&err, KW_READ, EIO, "%s", text); /* no room for the reason */
    assert_int_equal(strlen(err.message), KW_MESSAGE_SIZE - 1);
    assert_string_equal(err.message + KW_MESSAGE_SIZE - 5, "a...");
}

/* Every possible place of a two-byte sequence at the cut. */
static void long_messages_keep_utf8_whole(void **state)
{
    (void)state;
    for (size_t lead = 0; lead < 2; lead++) {
        char text[KW_MESSAGE_SIZE * 2 + 1] = "";
        memset(text, 'a', lead);
        for (size_t i = lead; i + 2 < sizeof(text); i += 2)
            memcpy(text + i, "\xC3\xA4", 3);
        struct kw_error err;
        kw_fail(&err, KW_DROP, "%s", text);
        char out[KW_MESSAGE_SIZE * 4];
        kw_printable(err.message, strlen(err.message), out, sizeof(out));
        assert_string_equal(out, err.message); /* nothing in it had to be escaped */
        assert_string_equal(out + strlen(out) - 3, "...");
    }
}

static void message_may_hold_the_former_one(void **state)
{
    (void)state;
    struct kw_error err;
    kw_fail(&err, KW_READ, "inner");
    kw_fail(&err, KW_DROP, "outer: %s", err.message);
    assert_string_equal(err.message, "outer: inner");
}

static void empty_message_becomes_the_meaning(void **state)
{
    (void)state;
    struct kw_error err;
    kw_fail(&err, KW_DAMAGED, "%s", "");
    assert_string_equal(err.message, kw_status_meaning(KW_DAMAGED));
}

static void version_is_a_version(void **state)
{
    (void)state;
    unsigned major, minor, patch;
    assert_int_equal(sscanf(kw_version(), "%u.%u.%u", &major, &minor, &patch), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes_are_families),
        cmocka_unit_test(unknown_statuses_are_faults),
        cmocka_unit_test(members_are_filled),
        cmocka_unit_test(null_error_is_allowed),
        cmocka_unit_test(long_messages_end_with_dots),
        cmocka_unit_test(long_messages_keep_utf8_whole),
        cmocka_unit_test(message_may_hold_the_former_one),
        cmocka_unit_test(empty_message_becomes_the_meaning),
        cmocka_unit_test(version_is_a_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
