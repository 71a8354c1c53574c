/* Which key a version means: exactly one, or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "keys/keys.h"

static struct kw_token_key make_key(const char *label, const void *id, size_t id_len)
{
    struct kw_token_key key = {.id_len = id_len, .public = {.modulus_len = 256}};
    assert_true(strlen(label) < sizeof(key.label));
    memcpy(key.label, label, strlen(label) + 1);
    if (id_len > 0)
        memcpy(key.id, id, id_len);
    return key;
}

#define KEYS 6
static void make_keys(struct kw_token_key keys[KEYS])
{
    keys[0] = make_key("tenant", "\x57\x73\x1d\x17", 4);
    keys[1] = make_key("tenant", "\x04\x07\x84\x0c", 4);
    keys[2] = make_key("other", "v2", 2);
    keys[3] = make_key("cafe", "\x01", 1);
    keys[4] = make_key("label-only", "", 0);
    keys[5] = make_key("last", "\xca\xfe", 2);
}

static const struct {
    const char *version, *mapped, *override;
    enum kw_status status;
    size_t index;
    const char *message; /* a part of it */
} cases[] = {
    /* By the bytes of the id, in either letter case. */
    {"57731d17", NULL, NULL, KW_OK, 0, NULL},
    {"0407840C", NULL, NULL, KW_OK, 1, NULL},
    /* By the id's own text, by the label. */
    {"v2", NULL, NULL, KW_OK, 2, NULL},
    {"label-only", NULL, NULL, KW_OK, 4, NULL},
    {"other", NULL, NULL, KW_OK, 2, NULL},
    /* The id goes before the label. */
    {"cafe", NULL, NULL, KW_OK, 5, NULL},
    /* A part, a longer version and the empty one are not it. */
    {"57731d", NULL, NULL, KW_KEY_NOT_FOUND, 0, "57731d17"},
    {"57731d1700", NULL, NULL, KW_KEY_NOT_FOUND, 0, "the token has"},
    {"", NULL, NULL, KW_KEY_NOT_FOUND, 0, "the token has"},
    {"Other", NULL, NULL, KW_KEY_NOT_FOUND, 0, "the token has"},
    /* Two keys of one label: no guess. */
    {"tenant", NULL, NULL, KW_KEY_AMBIGUOUS, 0, "2 keys answer"},
    /* The configuration maps, the command line overrides both. */
    {"tenant", "pkcs11:object=last", NULL, KW_OK, 5, NULL},
    {"57731d17", "pkcs11:object=last", NULL, KW_OK, 5, NULL},
    {"57731d17", "pkcs11:object=gone", NULL, KW_KEY_NOT_FOUND, 0, "gone"},
    {"57731d17", "pkcs11:object=last", "v2", KW_OK, 2, NULL},
    {"57731d17", NULL, "0407840c", KW_OK, 1, NULL},
    {"57731d17", NULL, "pkcs11:id=%04%07%84%0c", KW_OK, 1, NULL},
    {"57731d17", NULL, "pkcs11:object=tenant;id=%04%07%84%0c", KW_OK, 1, NULL},
    {"57731d17", NULL, "pkcs11:object=other;id=%04%07%84%0c", KW_KEY_NOT_FOUND, 0, NULL},
    {"57731d17", NULL, "pkcs11:object=tenant", KW_KEY_AMBIGUOUS, 0, NULL},
    {"57731d17", NULL, "pkcs11:token=t1", KW_CONFIG, 0, "names no key"},
    {"57731d17", NULL, "pkcs11:object=a;object=b", KW_CONFIG, 0, NULL},
    {"57731d17", NULL, "nothing", KW_KEY_NOT_FOUND, 0, "\"nothing\""},
};

static void test_choice(void **state)
{
    (void)state;
    struct kw_token_key keys[KEYS];
    make_keys(keys);
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        size_t index = 99;
        struct kw_error err = {.status = KW_OK};
        enum kw_status status = kw_choose_key(
            keys, KEYS, kw_key_text(cases[i].version, cases[i].mapped, cases[i].override), &index,
            &err);
        if (status != cases[i].status)
            print_error("case %zu: %s\n", i, err.message);
        assert_int_equal(status, cases[i].status);
        assert_int_equal(index, status ? 99 : cases[i].index);
        if (cases[i].message && !strstr(err.message, cases[i].message))
            print_error("case %zu: %s\n", i, err.message);
        assert_true(!cases[i].message || strstr(err.message, cases[i].message));
    }
}

static void test_empty_token(void **state)
{
    (void)state;
    size_t index = 0;
    struct kw_error err;
    assert_int_equal(kw_choose_key(NULL, 0, "v1", &index, &err), KW_KEY_NOT_FOUND);
    assert_non_null(strstr(err.message, "no RSA private key"));
}

/* However many and however odd the labels are, the message holds and ends in a count. */
static void test_long_list(void **state)
{
    (void)state;
    enum { MANY = 500 };
    static struct kw_token_key keys[MANY];
    size_t index = 0;
    struct kw_error err;
    for (size_t i = 0; i < MANY; i++) {
        char label[KW_KEY_LABEL_MAX + 1];
        memset(label, i % 2 ? '\n' : 'x', KW_KEY_LABEL_MAX);
        label[i % KW_KEY_LABEL_MAX] = '\0';
        keys[i] = make_key(label, "12345678901234567890", i % 20);
    }
    assert_int_equal(kw_choose_key(keys, MANY, "absent", &index, &err), KW_KEY_NOT_FOUND);
    assert_null(strchr(err.message, '\n'));
    assert_non_null(strstr(err.message, " more"));
    assert_non_null(strstr(err.message, "--key"));
}

static void test_validity(void **state)
{
    (void)state;
    struct kw_token_key key = make_key("k", "1", 1);
    const time_t noon = 1790000000; /* 2026-09-21 */
    assert_int_equal(kw_key_validity(&key, noon), KW_VALID);
    memcpy(key.not_before, "2026-09-21", 11);
    memcpy(key.expires, "2026-09-21", 11);
    assert_int_equal(kw_key_validity(&key, noon), KW_VALID);
    assert_int_equal(kw_key_validity(&key, noon - 86400), KW_NOT_YET_VALID);
    assert_int_equal(kw_key_validity(&key, noon + 86400), KW_EXPIRED);
    memcpy(key.expires, "", 1);
    assert_int_equal(kw_key_validity(&key, noon + 86400), KW_VALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_empty_token),
        cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_validity),
    };
    struct kw_error err;
    if (kw_secret_start(&err))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
