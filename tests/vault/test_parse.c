/* Addresses, challenges, tokens and answers: what is read, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vault/internal.h"

#define HOST    "myvault.example"
#define VERSION "0123456789abcdef0123456789abcdef"
#define KID     "https://myvault.example/keys/k1/" VERSION
#define NOW     1700000000

/* ---- addresses ---- */

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *name, *version;
    } good[] = {
        {"https://myvault.example", "myvault.example", "", ""},
        {"https://myvault.example/", "myvault.example", "", ""},
        {"HTTPS://MyVault.Example:443", "myvault.example", "", ""},
        {"https://myvault.example:8443", "myvault.example:8443", "", ""},
        {"https://[::1]:8443", "[::1]:8443", "", ""},
        {"https://127.0.0.1", "127.0.0.1", "", ""},
        {"https://h/keys/a-B-3", "h", "a-B-3", ""},
        {"https://h/keys/k/0123456789ABCDEF0123456789abcdef", "h", "k", VERSION},
        {"https://h?token-source=exec:/bin/a b", "h", "", ""},
    };
    for (size_t i = 0; i < KW_COUNT(good); i++) {
        struct kw_vault_address address;
        struct kw_error err;
        if (kw_vault_address_parse(good[i].text, &address, &err))
            fail_msg("%s: %s", good[i].text, err.message);
        assert_string_equal(address.host, good[i].host);
        assert_string_equal(address.name, good[i].name);
        assert_string_equal(address.version, good[i].version);
    }
}

static void addresses_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "http://h",
        "https://",
        "https:///keys/k",
        "https://user@h",
        "https://user:secret@h",
        "https://h/other",
        "https://h/keys",
        "https://h/keys/",
        "https://h/keys/k/",
        "https://h/keys/k/123",
        "https://h/keys/k/" VERSION "/x",
        "https://h/keys/a_b",
        "https://h/keys/a%2Fb",
        "https://h/keys/k/0123456789abcdef0123456789abcdeg",
        "https://h#fragment",
        "https://h\xC3\xA9",
        "https://h:0x1bb",
        "https://h:99999",
        "ftp://h",
        "",
    };
    for (size_t i = 0; i < KW_COUNT(bad); i++) {
        struct kw_vault_address address = {.host = "untouched"};
        struct kw_error err;
        if (kw_vault_address_parse(bad[i], &address, &err) != KW_CONFIG)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_string_equal(address.host, "untouched");
        assert_null(strstr(err.message, "secret"));
    }
}

static void names_of_keys(void **state)
{
    (void)state;
    struct kw_vault_address address;
    assert_true(kw_vault_key_parse("k1", HOST, &address));
    assert_true(kw_vault_key_parse("k1/" VERSION, HOST, &address));
    assert_string_equal(address.version, VERSION);
    assert_true(kw_vault_key_parse(KID, HOST, &address));
    assert_false(kw_vault_key_parse("https://other.example/keys/k1", HOST, &address));
    assert_false(kw_vault_key_parse("https://myvault.example:8443/keys/k1", HOST, &address));
    assert_false(kw_vault_key_parse("https://myvault.example", HOST, &address));
    assert_false(kw_vault_key_parse("a b", HOST, &address));
    assert_false(kw_vault_key_parse("", HOST, &address));
    assert_false(kw_vault_key_parse("../x", HOST, &address));
}

static void settings_in_an_address(void **state)
{
    (void)state;
    static const char *const names[] = {"ca", "key"};
    static const char *const bad[] = {"https://h?x=1", "https://h?ca=1&ca=2", "https://h?ca",
                                      "https://h?ca=", "https://h?ca=1&&key=2"};
    char *value = NULL;
    assert_int_equal(kw_vault_check_options("https://h", names, 2, NULL), KW_OK);
    assert_int_equal(kw_vault_check_options("https://h?ca=/a&key=/b", names, 2, NULL), KW_OK);
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        assert_int_equal(kw_vault_check_options(bad[i], names, 2, NULL), KW_CONFIG);
    assert_int_equal(kw_vault_url_option("https://h?ca=/a%20b&key=/c", "ca", &value, NULL), KW_OK);
    assert_string_equal(value, "/a b");
    free(value);
    assert_int_equal(kw_vault_url_option("https://h?ca=/a", "key", &value, NULL), KW_OK);
    assert_null(value);
}

/* ---- who may ask for what ---- */

static void resources(void **state)
{
    (void)state;
    static const struct {
        const char *host, *resource;
        bool own;
    } table[] = {
        {"v.vault.azure.net", "https://vault.azure.net", true},
        {"v.managedhsm.azure.net", "https://managedhsm.azure.net", true},
        {"v.vault.azure.net", "https://VAULT.azure.net/", true},
        {"v.vault.azure.net", "https://azure.net", true},
        {"v.hsm.example:8443", "https://hsm.example", true},
        {"v.hsm.example:8443", "https://hsm.example:8443", true},
        {"v.hsm.example:8443", "https://hsm.example:8444", false},
        {"v.hsm.example", "https://hsm.example:8443", false},
        {"v.vault.azure.net", "https://management.azure.com", false},
        {"v.vault.azure.net", "https://v.vault.azure.net", false},
        {"evilvault.azure.net", "https://vault.azure.net", false},
        {"vault.azure.net", "https://vault.azure.net", false},
        {"vault.azure.net.evil.example", "https://vault.azure.net", false},
        {"v.vault.azure.net", "http://vault.azure.net", false},
        {"v.vault.azure.net", "https://vault.azure.net@evil.example", false},
        {"v.vault.azure.net", "https://", false},
        {"v.vault.azure.net", "vault.azure.net", false},
        {"v.vault.azure.net", "", false},
        {"10.0.0.1", "https://0.0.1", false},
        {"[::1]", "https://[::1]", false},
    };
    for (size_t i = 0; i < KW_COUNT(table); i++)
        if (kw_vault_owns_resource(table[i].host, table[i].resource) != table[i].own)
            fail_msg("%s and %s", table[i].host, table[i].resource);
}

static void challenges(void **state)
{
    (void)state;
    static const struct {
        const char *header, *resource;
    } table[] = {
        {"Bearer authorization=\"https://l/t\", resource=\"https://vault\"", "https://vault"},
        {"bearer resource=https://vault", "https://vault"},
        {"Bearer authorization=\"a\",scope=\"https://vault/.default\"", "https://vault"},
        {"Bearer scope=\"https://vault\"", "https://vault"},
        {"Bearer authorization=\"resource=https://evil\", resource=\"https://vault\"",
         "https://vault"},
        {"Bearer", NULL},
        {"Bearer ", NULL},
        {"Basic resource=\"https://vault\"", NULL},
        {"Bearer resource=\"https://vault", NULL},
        {"Bearer resource=\"\"", NULL},
        {"Bearer =, resource=\"https://vault\"", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < KW_COUNT(table); i++) {
        char resource[KW_VAULT_RESOURCE_SIZE] = "untouched";
        bool found = kw_vault_parse_challenge(table[i].header, resource);
        if (found != (table[i].resource != NULL))
            fail_msg("%s", table[i].header);
        assert_string_equal(resource, found ? table[i].resource : "untouched");
    }
    char header[KW_VAULT_RESOURCE_SIZE + 64];
    char resource[KW_VAULT_RESOURCE_SIZE];
    (void)snprintf(header, sizeof(header), "Bearer resource=\"%0*d\"", KW_VAULT_RESOURCE_SIZE, 0);
    assert_false(kw_vault_parse_challenge(header, resource));
}

static void next_links(void **state)
{
    (void)state;
    char path[64];
    assert_true(kw_vault_local_path("https://myvault.example:443/keys?a=1&b=$2", HOST, path, 64));
    assert_string_equal(path, "/keys?a=1&b=$2");
    assert_true(kw_vault_local_path("https://MYVAULT.example/keys/k1/versions", HOST, path, 64));
    assert_string_equal(path, "/keys/k1/versions");
    static const char *const bad[] = {
        "https://other.example/keys",
        "http://myvault.example/keys",
        "https://myvault.example:1/keys",
        "https://myvault.example@evil.example/keys",
        "https://myvault.example/secrets",
        "https://myvault.example/keysx",
        "/keys?x",
        "https://myvault.example/keys/../secrets/x",
        "https://myvault.example/keys?00000000000000000000000000000000000000000000000000000000000",
    };
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        if (kw_vault_local_path(bad[i], HOST, path, sizeof(path)))
            fail_msg("%s was taken", bad[i]);
}

/* ---- tokens ---- */

static void tokens(void **state)
{
    (void)state;
    static const struct {
        const char *text, *token;
        long lifetime_s;
    } good[] = {
        {"abc.d-e_f", "abc.d-e_f", 0},
        {" \nabc==\r\n", "abc==", 0},
        {"{\"access_token\":\"abc\"}", "abc", 0},
        {"\n{\"accessToken\":\"abc\",\"expires_on\":1700000100}", "abc", 100},
        {"{\"access_token\":\"abc\",\"expires_on\":\"1700000100\",\"expires_in\":\"9\"}", "abc",
         100},
        {"{\"access_token\":\"abc\",\"expires_in\":\"60\"}", "abc", 60},
        {"{\"access_token\":\"abc\",\"expires_in\":60}", "abc", 60},
        {"{\"access_token\":\"abc\",\"expires_on\":1600000000}", "abc", 1},
        {"{\"access_token\":\"abc\",\"expires_on\":999999999999}", "abc", 400L * 24 * 3600},
        {"{\"access_token\":\"abc\",\"expires_on\":\"tomorrow\",\"expires_in\":-5}", "abc", 0},
    };
    for (size_t i = 0; i < KW_COUNT(good); i++) {
        struct kw_vault_token_text token;
        struct kw_error err;
        if (kw_vault_parse_token(good[i].text, strlen(good[i].text), "it", NOW, &token, &err))
            fail_msg("%s: %s", good[i].text, err.message);
        assert_int_equal(kw_secret_len(token.token), strlen(good[i].token));
        assert_memory_equal(kw_secret_bytes(token.token), good[i].token, strlen(good[i].token));
        assert_int_equal(token.lifetime_s, good[i].lifetime_s);
        kw_secret_free(token.token);
    }
}

static void tokens_that_are_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " \n",
        "two words",
        "a\r\nX-Header: b",
        "{}",
        "{\"access_token\":1}",
        "{\"access_token\":\"\"}",
        "{\"access_token\":\"a\\r\\nb\"}",
        "{\"access_token\":\"abc\"",
        "[\"abc\"]",
        "\"abc\"",
    };
    for (size_t i = 0; i < KW_COUNT(bad); i++) {
        struct kw_vault_token_text token = {.token = NULL};
        if (kw_vault_parse_token(bad[i], strlen(bad[i]), "it", NOW, &token, NULL) != KW_CONFIG)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_null(token.token);
    }
    static const char nul[] = "abc\0def", nul_at_end[] = "abc\0";
    struct kw_vault_token_text none;
    assert_int_equal(kw_vault_parse_token(nul, sizeof(nul) - 1, "it", NOW, &none, NULL), KW_CONFIG);
    assert_int_equal(
        kw_vault_parse_token(nul_at_end, sizeof(nul_at_end) - 1, "it", NOW, &none, NULL),
        KW_CONFIG);
    char longest[KW_VAULT_TOKEN_MAX + 2];
    struct kw_vault_token_text token = {.token = NULL};
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(kw_vault_parse_token(longest, sizeof(longest) - 1, "it", NOW, &token, NULL),
                     KW_CONFIG);
    assert_int_equal(kw_vault_parse_token(longest, KW_VAULT_TOKEN_MAX, "it", NOW, &token, NULL),
                     KW_OK);
    kw_secret_free(token.token);
}

/* ---- answers ---- */

#define N342                                                                                       \
    "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"     \
    "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"     \
    "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"     \
    "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqg"

static enum kw_status parse_key(const char *text, struct kw_vault_key *key)
{
    struct kw_error err;
    return kw_vault_parse_key(text, strlen(text), HOST, key, &err);
}

static void keys(void **state)
{
    (void)state;
    struct kw_vault_key key;
    assert_int_equal(
        parse_key("{\"key\":{\"kid\":\"" KID "\",\"kty\":\"RSA-HSM\",\"n\":\"" N342
                  "\",\"e\":\"AQAB\",\"key_ops\":[\"unwrapKey\",\"wrapKey\",5,\"new\"]},"
                  "\"attributes\":{\"enabled\":false,\"exp\":4000000000,\"created\":1e99}}",
                  &key),
        KW_OK);
    assert_string_equal(key.name, "k1");
    assert_string_equal(key.version, VERSION);
    assert_int_equal(key.public.modulus_len, 256);
    assert_int_equal(key.public.exponent_len, 3);
    assert_true(key.unwrap && !key.decrypt && !key.enabled && key.hsm);
    assert_int_equal(key.expires, 4000000000);
    assert_int_equal(key.created, 0);
    assert_int_equal(parse_key("{\"key\":{\"kid\":\"" KID "\",\"kty\":\"EC\"}}", &key), KW_OK);
    assert_int_equal(key.public.modulus_len, 0);
    assert_true(key.enabled);
    assert_int_equal(parse_key("{\"key\":{\"kid\":\"" KID
                               "\",\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}}",
                               &key),
                     KW_OK);
    assert_int_equal(key.public.modulus_len, 0);
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"key\":{}}",
        "{\"key\":{\"kid\":\"" KID "\"}}",
        "{\"key\":{\"kid\":\"https://h/keys/k1\",\"kty\":\"RSA\"}}",
        "{\"key\":{\"kid\":\"k1\",\"kty\":\"RSA\"}}",
        "{\"key\":{\"kid\":5,\"kty\":\"RSA\"}}",
    };
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        if (parse_key(bad[i], &key) != KW_TOKEN)
            fail_msg("%s was taken", bad[i]);
}

static enum kw_status parse_result(const char *text, struct kw_secret **ret_secret)
{
    struct kw_vault_key key = {.name = "k1", .version = VERSION};
    return kw_vault_parse_result(text, strlen(text), HOST, &key, ret_secret, NULL);
}

static void results(void **state)
{
    (void)state;
    struct kw_secret *secret = NULL;
    assert_int_equal(parse_result("{\"kid\":\"" KID "\",\"value\":\"AQID\"}", &secret), KW_OK);
    assert_int_equal(kw_secret_len(secret), 3);
    assert_memory_equal(kw_secret_bytes(secret), "\1\2\3", 3);
    kw_secret_free(secret);
    secret = NULL;
    static const char *const bad[] = {
        "{\"kid\":\"" KID "\",\"value\":\"A\"}",
        "{\"kid\":\"" KID "\",\"value\":\"A+==\"}",
        "{\"kid\":\"" KID "\",\"value\":7}",
        "{\"kid\":\"" KID "\"}",
        "{\"value\":\"AQID\"}",
        "{\"kid\":\"https://h/keys/k2/" VERSION "\",\"value\":\"AQID\"}",
        "{\"kid\":\"https://h/keys/k1\",\"value\":\"AQID\"}",
        "{\"kid\":\"" KID "\",\"value\":\"" N342 N342 N342 "\"}",
        "{\"kid\":\"" KID "\",\"value\":\"AQID\"",
    };
    for (size_t i = 0; i < KW_COUNT(bad); i++) {
        if (parse_result(bad[i], &secret) != KW_TOKEN)
            fail_msg("%s was taken", bad[i]);
        assert_null(secret);
    }
}

static void errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } table[] = {
        {"{\"error\":{\"code\":\"A\",\"message\":\"b\"}}", "A: b"},
        {"{\"error\":{\"code\":\"A\",\"message\":\"b\",\"innererror\":{\"code\":\"C\"}}}", "C: b"},
        {"{\"error\":{\"message\":\"b\\u001b[0m\"}}", "b\\x1b[0m"},
        {"{\"error\":\"A\"}", ""},
        {"<html>", ""},
        {"", ""},
    };
    for (size_t i = 0; i < KW_COUNT(table); i++) {
        char reason[KW_VAULT_REASON_SIZE];
        kw_vault_parse_error(table[i].text, strlen(table[i].text), reason);
        assert_string_equal(reason, table[i].reason);
    }
}

static int start(void **state)
{
    (void)state;
    struct kw_error err;
    return (int)kw_secret_start(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),
        cmocka_unit_test(addresses_that_are_none),
        cmocka_unit_test(names_of_keys),
        cmocka_unit_test(settings_in_an_address),
        cmocka_unit_test(resources),
        cmocka_unit_test(challenges),
        cmocka_unit_test(next_links),
        cmocka_unit_test(tokens),
        cmocka_unit_test(tokens_that_are_none),
        cmocka_unit_test(keys),
        cmocka_unit_test(results),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
