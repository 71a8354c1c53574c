/* pkcs11: URIs: what is taken, what is refused, and that a PIN is seen nowhere else. No token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "internal.h"

static struct kw_uri *parse(const char *text)
{
    struct kw_uri *uri = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_uri_parse(text, &uri, &err) != KW_OK)
        fail_msg("%s: %s", text, err.message);
    assert_int_equal(err.status, KW_OK);
    return uri;
}

static void the_parts_of_a_uri(void **state)
{
    (void)state;
    struct kw_uri *uri = parse("pkcs11:token=my%20token;object=k;id=%00%ffA;type=private"
                               "?module-path=/a/b.so&pin-source=file:/etc/pin");
    assert_string_equal(kw_uri_module(uri), "/a/b.so");
    assert_string_equal(kw_uri_pin_source(uri), "file:/etc/pin");
    assert_null(kw_uri_pin_value(uri));
    assert_true(kw_uri_names_key(uri));
    assert_string_equal(kw_uri_public_text(uri),
                        "pkcs11:token=my%20token;object=k;id=%00%ffA;type=private");
    kw_uri_free(uri);

    uri = parse("pkcs11:");
    assert_null(kw_uri_module(uri));
    assert_null(kw_uri_pin_source(uri));
    assert_false(kw_uri_names_key(uri));
    assert_string_equal(kw_uri_public_text(uri), "pkcs11:");
    kw_uri_free(uri);

    uri = parse("PKCS11:serial=1?");
    assert_string_equal(kw_uri_public_text(uri), "pkcs11:serial=1");
    kw_uri_free(uri);
    kw_uri_free(NULL);
}

static void what_is_a_uri(void **state)
{
    (void)state;
    assert_true(kw_is_uri("pkcs11:"));
    assert_true(kw_is_uri("PKCS11:token=a"));
    assert_false(kw_is_uri("pkcs11"));
    assert_false(kw_is_uri(""));
    assert_false(kw_is_uri(" pkcs11:"));
    assert_false(kw_is_uri("office"));
}

static void a_pin_in_the_uri(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "pkcs11:token=a?pin-value=p%26%3b%00%20q",
        "pkcs11:token=a?module-path=/m.so&pin-value=p%26%3b%00%20q",
        "pkcs11:token=a?pin-value=p%26%3B%00%20q&module-path=/m.so",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        struct kw_uri *uri = parse(texts[i]);
        const struct kw_secret *pin = kw_uri_pin_value(uri);
        assert_non_null(pin);
        assert_int_equal(kw_secret_len(pin), 6);
        assert_memory_equal(kw_secret_bytes(pin), "p&;\0 q", 6);
        assert_string_equal(kw_uri_public_text(uri), "pkcs11:token=a");
        if (i > 0)
            assert_string_equal(kw_uri_module(uri), "/m.so");
        kw_uri_free(uri);
    }
}

static void matching_keys(void **state)
{
    (void)state;
    static const struct kw_token_key key = {
        .id = {0x57, 0x00, 0x73}, .id_len = 3, .label = "the key"};
    static const struct {
        const char *text;
        bool matches;
    } cases[] = {
        {"pkcs11:", true},
        {"pkcs11:token=whatever", true},
        {"pkcs11:object=the%20key", true},
        {"pkcs11:id=%57%00%73", true},
        {"pkcs11:id=W%00s;object=the%20key", true},
        {"pkcs11:id=%57%00", false},
        {"pkcs11:id=%57%00%73%00", false},
        {"pkcs11:id=570073", false},
        {"pkcs11:object=the%20ke", false},
        {"pkcs11:object=the%20key%20", false},
        {"pkcs11:object=The%20key", false},
        {"pkcs11:id=%57%00%73;object=other", false},
        {"pkcs11:id=x;object=the%20key", false},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_uri *uri = parse(cases[i].text);
        if (kw_uri_matches_key(uri, &key) != cases[i].matches)
            fail_msg("%s", cases[i].text);
        kw_uri_free(uri);
    }
}

static void module_names(void **state)
{
    (void)state;
    struct kw_uri *uri = parse("pkcs11:token=a?module-name=no-such-module");
    assert_null(kw_uri_module(uri));
    kw_uri_free(uri);
    static const char folder[] = KW_MODULE_DIR;
    if (!folder[0])
        return;
    static const char *const names[] = {"p11-kit-trust", "opensc-pkcs11", "opencryptoki"};
    for (size_t i = 0; i < KW_COUNT(names); i++) {
        char text[128];
        snprintf(text, sizeof(text), "pkcs11:?module-name=%s", names[i]);
        uri = parse(text);
        const char *module = kw_uri_module(uri);
        if (module) {
            assert_memory_equal(module, folder, strlen(folder));
            assert_non_null(strstr(module, names[i]));
        }
        kw_uri_free(uri);
    }
}

/* ---- what is refused ---- */

#define PIN "4711"

static const struct {
    const char *text;
    const char *words;
} refused[] = {
    {"", "starts with"},
    {"token=a", "starts with"},
    {"https://example.org", "starts with"},
    {"pkcs11:token=a;token=b", "twice"},
    {"pkcs11:token=a;token=a", "twice"},
    {"pkcs11:token=a?pin-value=1&pin-value=2", "twice"},
    {"pkcs11:token=a?module-path=/a&module-path=/b", "twice"},
    {"pkcs11:token=a;colour=red", "colour"},
    {"pkcs11:token=a;x-mine=1", "x-mine"},
    {"pkcs11:Token=a", "Token"},
    {"pkcs11:token=a?x-mine=1", "only module-path"},
    {"pkcs11:token=a?token=b", "before the ?"},
    {"pkcs11:token=a;pin-source=file:/p", "after the ?"},
    {"pkcs11:token=a;pin-value=" PIN, "after the ?"},
    {"pkcs11:module-path=/a.so", "after the ?"},
    {"pkcs11:slot-id=3", "slot-id"},
    {"pkcs11:slot-description=x", "slot-description"},
    {"pkcs11:token=a b", "white space"},
    {"pkcs11:token=a\n", "white space"},
    {"pkcs11:token=a\t", "white space"},
    {" pkcs11:token=a", "starts with"},
    {"pkcs11:token=\xc3\xa4", "white space or another byte"},
    {"pkcs11:token=a#b", "byte"},
    {"pkcs11:token=a;", "nothing after"},
    {"pkcs11:;token=a", "without ="},
    {"pkcs11:token=a;;object=b", "without ="},
    {"pkcs11:token", "without ="},
    {"pkcs11:=a", "not known"},
    {"pkcs11:token=a?pin-source=x&", "nothing after"},
    {"pkcs11:token=a?&pin-source=x", "only module-path"},
    {"pkcs11:token=%", "hex"},
    {"pkcs11:token=%4", "hex"},
    {"pkcs11:token=%zz", "hex"},
    {"pkcs11:token=a?pin-value=%z" PIN, "hex"},
    {"pkcs11:token=a%00b", "NUL"},
    {"pkcs11:?module-path=/a%00b", "NUL"},
    {"pkcs11:?module-path=a.so", "absolute"},
    {"pkcs11:?module-path=", "absolute"},
    {"pkcs11:?module-name=../a", "module-path"},
    {"pkcs11:?module-name=", "module-path"},
    {"pkcs11:?pin-value=", "empty"},
    {"pkcs11:type=flower", "unknown type"},
    {"pkcs11:type=cert", "neither"},
    {"pkcs11:library-version=x", "can't be read"},
    {"pkcs11:token=123456789012345678901234567890123", "too long"},
    {"pkcs11:?pin-value=" PIN "&" PIN, "only module-path"},
    {"pkcs11:?pin-value=" PIN "&" PIN "=1", "only module-path"},
    {"pkcs11:?pin-value=" PIN "#" PIN, "byte"},
    {"pkcs11:?pin-value=" PIN " ", "white space"},
    {"pkcs11:?pin-value=" PIN "&module-path=x", "absolute"},
    {"pkcs11:?pin-value=" PIN "&pin-value=" PIN, "twice"},
};

static void what_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(refused); i++) {
        struct kw_uri *uri = (struct kw_uri *)-1;
        struct kw_error err = {.status = KW_OK};
        if (kw_uri_parse(refused[i].text, &uri, &err) != KW_CONFIG || err.status != KW_CONFIG)
            fail_msg("%s is taken", refused[i].text);
        assert_ptr_equal(uri, (struct kw_uri *)-1);
        if (!strstr(err.message, refused[i].words))
            fail_msg("%s: \"%s\" lacks \"%s\"", refused[i].text, err.message, refused[i].words);
        assert_null(strstr(err.message, PIN));
        assert_int_equal(kw_uri_parse(refused[i].text, &uri, NULL), KW_CONFIG);
    }
}

static void limits_of_length(void **state)
{
    (void)state;
    char text[4096];
    struct kw_uri *uri = NULL;
    struct kw_error err = {.status = KW_OK};
    static const char start[] = "pkcs11:?pin-source=";
    memset(text, 'a', sizeof(text));
    memcpy(text, start, sizeof(start) - 1);
    text[2048] = '\0';
    uri = parse(text);
    assert_int_equal(strlen(kw_uri_pin_source(uri)), 2048 - strlen(start));
    kw_uri_free(uri);
    text[2048] = 'a';
    text[2049] = '\0';
    assert_int_equal(kw_uri_parse(text, &uri, &err), KW_CONFIG);
    assert_non_null(strstr(err.message, "2048"));
    text[2048] = '\0';
    memset(text, 'a', 2048);
    memcpy(text, "pkcs11:path", 7);
    memcpy(text + 7, "object=", 7);
    assert_int_equal(kw_uri_parse(text, &uri, &err), KW_CONFIG);
    memset(text, 'a', 1024);
    memcpy(text, "pkcs11:?pin-value=", 18);
    text[300] = '\0';
    assert_int_equal(kw_uri_parse(text, &uri, &err), KW_CONFIG);
    assert_non_null(strstr(err.message, "too long"));
}

/* ---- the table of answers, which needs no token either ---- */

static void answers_of_tokens(void **state)
{
    (void)state;
    char name[KW_RV_NAME_SIZE];
    assert_string_equal(kw_rv_name(CKR_OK, name), "CKR_OK");
    assert_string_equal(kw_rv_name(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, name),
                        "CKR_USER_ANOTHER_ALREADY_LOGGED_IN");
    assert_string_equal(kw_rv_name(0x80000001UL, name), "CK_RV 0x80000001");
    assert_string_equal(kw_rv_name(~0UL, name), "CK_RV 0xffffffffffffffff");
    assert_true(kw_rv_recoverable(CKR_SESSION_HANDLE_INVALID));
    assert_true(kw_rv_recoverable(CKR_USER_NOT_LOGGED_IN));
    assert_false(kw_rv_recoverable(CKR_OK));
    assert_false(kw_rv_recoverable(CKR_PIN_INCORRECT));
    assert_false(kw_rv_recoverable(CKR_GENERAL_ERROR));
    assert_int_equal(kw_rv_remedy(CKR_GENERAL_ERROR), KW_REMEDY_ASK_AGAIN);
    assert_int_equal(kw_rv_remedy(CKR_TOKEN_NOT_PRESENT), KW_REMEDY_RECONNECT);
    assert_int_equal(kw_rv_remedy(CKR_ENCRYPTED_DATA_INVALID), KW_REMEDY_NONE);
    assert_int_equal(kw_rv_remedy(CKR_PIN_LOCKED), KW_REMEDY_NONE);
    assert_false(kw_rv_recoverable(0x80000001UL));
}

static int start(void **state)
{
    (void)state;
    return kw_secret_start(NULL) != KW_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_of_a_uri), cmocka_unit_test(what_is_a_uri),
        cmocka_unit_test(a_pin_in_the_uri),   cmocka_unit_test(matching_keys),
        cmocka_unit_test(module_names),       cmocka_unit_test(what_is_refused),
        cmocka_unit_test(limits_of_length),   cmocka_unit_test(answers_of_tokens),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
