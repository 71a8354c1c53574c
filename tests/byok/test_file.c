/* The transfer file: what is read, what is not, and what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "byok/byok.h"

#define KID  "https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
#define SIZE (256 + 1232)

static char ciphertext[KW_BASE64_ENCODED_SIZE(2 * KW_TRANSFER_MAX)];

/* `len` bytes as text in ciphertext[]. */
static void fill(size_t len)
{
    uint8_t bytes[2 * KW_TRANSFER_MAX];
    assert_true(len <= sizeof(bytes));
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + 0xF8);
    kw_base64_encode(KW_BASE64URL, bytes, len, ciphertext);
}

/* "@" in the text stands for the ciphertext. */
static enum kw_status parse(const char *text, struct kw_byok *byok, struct kw_error *err)
{
    struct kw_buffer whole = KW_BUFFER_INIT(256 * 1024);
    size_t len = strcspn(text, "@");
    assert_int_equal(kw_buffer_append(&whole, text, len, NULL), KW_OK);
    if (text[len]) {
        assert_int_equal(kw_buffer_append(&whole, ciphertext, strlen(ciphertext), NULL), KW_OK);
        assert_int_equal(kw_buffer_append(&whole, text + len + 1, strlen(text + len + 1), NULL),
                         KW_OK);
    }
    enum kw_status status =
        kw_byok_parse((const char *)whole.data, whole.len, "the file x.byok", byok, err);
    kw_buffer_cleanup(&whole);
    return status;
}

#define HEAD   "\"header\":{\"kid\":\"" KID "\",\"alg\":\"dir\",\"enc\":\"CKM_RSA_AES_KEY_WRAP\"}"
#define SCHEMA "\"schema_version\":\"1.0.0\""
#define C      "\"ciphertext\":\"@\""
#define G      "\"generator\":\"a tool 1.2; an HSM\""

static void what_is_read(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{" SCHEMA "," HEAD "," C "," G "}",
        "{" G "," C "," HEAD "," SCHEMA "}",
        "\xEF\xBB\xBF { " SCHEMA " , " HEAD " , " C " ,\n" G " }\r\n",
        "{" SCHEMA "," HEAD "," C "," G ",\"more\":[1,{\"a\":null}],\"Kid\":7}",
        "{" SCHEMA "," HEAD ",\"ciphertext\":\"@==\"," G "}",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        fill(i == 4 ? SIZE + 16 : SIZE); /* of 3 n + 1 bytes, so that "==" is right */
        struct kw_byok byok;
        struct kw_error err = {.status = KW_OK};
        if (parse(texts[i], &byok, &err) != KW_OK)
            fail_msg("%zu: %s", i, err.message);
        assert_string_equal(byok.kid, KID);
        assert_string_equal(byok.generator, "a tool 1.2; an HSM");
        assert_int_equal(byok.ciphertext.data[0], 0xF8);
        assert_int_equal(byok.ciphertext.data[1], 0xFF);
        kw_byok_cleanup(&byok);
    }
}

static void what_may_be_absent(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{" SCHEMA "," HEAD "," C "}",
        "{" SCHEMA "," HEAD "," C ",\"generator\":null}",
        "{" SCHEMA "," HEAD "," C ",\"generator\":\"\"}",
    };
    fill(SIZE);
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        struct kw_byok byok;
        assert_int_equal(parse(texts[i], &byok, NULL), KW_OK);
        assert_string_equal(byok.generator, "");
        assert_int_equal(byok.ciphertext.len, SIZE);
        kw_byok_cleanup(&byok);
    }
}

/* Each has one fault; the message names the file and the field. */
static void what_is_refused(void **state)
{
    (void)state;
#define HEADER(kid, alg, enc) "\"header\":{\"kid\":" kid ",\"alg\":" alg ",\"enc\":" enc "}"
#define GOOD_ENC              "\"CKM_RSA_AES_KEY_WRAP\""
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "x.byok"},
        {"[]", "object"},
        {"null", "object"},
        {"{", "x.byok"},
        {"{" SCHEMA "," HEAD "," C "}x", "x.byok"},
        {"{" HEAD "," C "}", "schema_version"},
        {"{\"schema_version\":\"1.0.1\"," HEAD "," C "}", "schema_version"},
        {"{\"schema_version\":1.0," HEAD "," C "}", "schema_version"},
        {"{" SCHEMA "," C "}", "header"},
        {"{" SCHEMA ",\"header\":[]," C "}", "header"},
        {"{" SCHEMA ",\"header\":\"x\"," C "}", "header"},
        {"{" SCHEMA ",\"header\":{\"alg\":\"dir\",\"enc\":" GOOD_ENC "}," C "}", "header.kid"},
        {"{" SCHEMA "," HEADER("7", "\"dir\"", GOOD_ENC) "," C "}", "header.kid"},
        {"{" SCHEMA "," HEADER("\"\"", "\"dir\"", GOOD_ENC) "," C "}", "header.kid"},
        {"{" SCHEMA "," HEADER("\"k\"", "\"DIR\"", GOOD_ENC) "," C "}", "header.alg"},
        {"{" SCHEMA "," HEADER("\"k\"", "\"RSA-OAEP\"", GOOD_ENC) "," C "}", "header.alg"},
        {"{" SCHEMA "," HEADER("\"k\"", "null", GOOD_ENC) "," C "}", "header.alg"},
        {"{" SCHEMA "," HEADER("\"k\"", "\"dir\"", "\"A256GCM\"") "," C "}", "header.enc"},
        {"{" SCHEMA "," HEADER("\"k\"", "\"dir\"", "{}") "," C "}", "header.enc"},
        {"{" SCHEMA "," HEAD "}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":\"\"}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":[\"@\"]}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":\"AAAA\"}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":\"@+\"}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":\" @\"}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":\"@\\n\"}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":\"@=\"}", "ciphertext"},
        {"{" SCHEMA "," HEAD ",\"ciphertext\":\"@AAAA\"}", "ciphertext"},
        {"{" SCHEMA "," HEAD "," C ",\"generator\":5}", "generator"},
        {"{" SCHEMA "," HEAD "," C "," C "}", "ciphertext"},
        {"{" SCHEMA "," HEAD "," C ",\"Ciphertext\":\"\"}", "iphertext"},
        {"{" SCHEMA "," HEAD "," HEAD "," C "}", "header"},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_byok byok = {.kid = "untouched"};
        struct kw_error err = {.status = KW_OK};
        fill(SIZE);
        enum kw_status status = parse(cases[i].text, &byok, &err);
        if (status != KW_METADATA || !strstr(err.message, cases[i].words) ||
            !strstr(err.message, "the file x.byok"))
            fail_msg("%s: %d \"%s\" lacks \"%s\"", cases[i].text, (int)status, err.message,
                     cases[i].words);
        assert_string_equal(byok.kid, "untouched");
    }
}

static void lengths(void **state)
{
    (void)state;
    static const struct {
        size_t len;
        bool fits;
    } cases[] = {{0, false},
                 {256, false},
                 {1232, false},
                 {1408, false},
                 {1416, true},
                 {1487, false},
                 {1488, true},
                 {1489, false},
                 {2896, true},
                 {3024, true},
                 {3032, false},
                 {8000, false},
                 {2 * KW_TRANSFER_MAX, false}};
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_byok byok;
        struct kw_error err = {.status = KW_OK};
        fill(cases[i].len);
        enum kw_status status = parse("{" SCHEMA "," HEAD "," C "}", &byok, &err);
        if (status != (cases[i].fits ? KW_OK : KW_METADATA))
            fail_msg("%zu: %d %s", cases[i].len, (int)status, err.message);
        if (!status)
            kw_byok_cleanup(&byok);
    }
}

static void too_long(void **state)
{
    (void)state;
    static char text[KW_BYOK_MAX_BYTES + 2];
    struct kw_byok byok;
    memset(text, ' ', sizeof(text));
    memcpy(text, "{}", 2);
    assert_int_equal(kw_byok_parse(text, sizeof(text) - 1, "x", &byok, NULL), KW_METADATA);
    static const char *const names[] = {"kid", "generator"};
    for (size_t i = 0; i < KW_COUNT(names); i++)
        for (int len = KW_BYOK_TEXT_MAX - 1; len <= KW_BYOK_TEXT_MAX; len++) {
            char *kid = i == 0 ? text : (char[]){"k"}, *generator = i == 1 ? text : (char[]){"g"};
            static char json[4 * KW_BYOK_TEXT_MAX];
            memset(text, 'x', sizeof(text));
            text[len] = '\0';
            snprintf(json, sizeof(json),
                     "{" SCHEMA ",\"header\":{\"kid\":\"%s\",\"alg\":\"dir\",\"enc\":" GOOD_ENC
                     "},\"generator\":\"%s\"," C "}",
                     kid, generator);
            fill(SIZE);
            struct kw_error err = {.status = KW_OK};
            enum kw_status status = parse(json, &byok, &err);
            assert_int_equal(status, len < KW_BYOK_TEXT_MAX ? KW_OK : KW_METADATA);
            if (status)
                assert_non_null(strstr(err.message, names[i]));
            else
                kw_byok_cleanup(&byok);
        }
}

static void what_is_written(void **state)
{
    (void)state;
    struct kw_byok byok = {.kid = KID,
                           .generator = "say \"x\"\n",
                           .ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)},
                   back;
    static const uint8_t bytes[SIZE] = {0xFB, 0xFF, 1};
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
    assert_int_equal(kw_buffer_append(&byok.ciphertext, bytes, sizeof(bytes), NULL), KW_OK);
    assert_int_equal(kw_byok_write(&byok, &text, NULL), KW_OK);
    assert_null(memchr(text.data, '=', text.len));
    assert_null(memchr(text.data, '\0', text.len));
    assert_int_equal(kw_byok_parse((const char *)text.data, text.len, "x", &back, NULL), KW_OK);
    assert_string_equal(back.kid, byok.kid);
    assert_string_equal(back.generator, byok.generator);
    assert_int_equal(back.ciphertext.len, sizeof(bytes));
    assert_memory_equal(back.ciphertext.data, bytes, sizeof(bytes));
    kw_byok_cleanup(&back);
    text.len = 0;
    byok.generator[0] = '\0';
    assert_int_equal(kw_byok_write(&byok, &text, NULL), KW_OK);
    assert_null(memmem(text.data, text.len, "generator", 9));
    kw_buffer_cleanup(&text);
    kw_byok_cleanup(&byok);
}

static void what_is_not_written(void **state)
{
    (void)state;
    struct kw_byok byok = {.kid = KID, .ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    static const uint8_t bytes[SIZE];
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES), narrow = KW_BUFFER_INIT(100);
    assert_int_equal(kw_byok_write(&byok, &text, NULL), KW_FAULT);
    assert_int_equal(kw_buffer_append(&byok.ciphertext, bytes, sizeof(bytes), NULL), KW_OK);
    assert_int_equal(kw_byok_write(&byok, &narrow, NULL), KW_FAULT);
    byok.generator[0] = '\xFF';
    assert_int_equal(kw_byok_write(&byok, &text, NULL), KW_USAGE);
    byok.generator[0] = '\0';
    byok.kid[0] = 'x';
    assert_int_equal(kw_byok_write(&byok, &text, NULL), KW_USAGE);
    assert_int_equal(text.len + narrow.len, 0);
    kw_buffer_cleanup(&narrow);
    kw_buffer_cleanup(&text);
    kw_byok_cleanup(&byok);
}

static void kids(void **state)
{
    (void)state;
    static const char *const good[] = {KID, "https://x.managedhsm.azure.net/keys/a/b",
                                       "https://h.example:8443/keys/my-Key-1/00ff"};
    static const char *const bad[] = {"",
                                      "https://",
                                      "http://v.vault.azure.net/keys/kek/0",
                                      "https://v.vault.azure.net/keys/kek",
                                      "https://v.vault.azure.net/keys/kek/",
                                      "https://v.vault.azure.net/keys//0",
                                      "https:///keys/kek/0",
                                      "https://v.vault.azure.net/secrets/kek/0",
                                      "https://v.vault.azure.net/keys/kek/0/1",
                                      "https://v.vault.azure.net/keys/kek/0/",
                                      "https://v.vault.azure.net/keys/kek/0?x=1",
                                      "https://v.vault.azure.net/keys/k_k/0",
                                      "https://u@v.vault.azure.net/keys/kek/0",
                                      " https://v.vault.azure.net/keys/kek/0",
                                      "https://v.vault.azure.net/keys/kek/0\n",
                                      "https://v.vault.azure.net/keys/k\xC3\xA9k/0"};
    for (size_t i = 0; i < KW_COUNT(good); i++)
        assert_true(kw_byok_is_kid(good[i]));
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        if (kw_byok_is_kid(bad[i]))
            fail_msg("%s", bad[i]);
}

static void kek_sizes(void **state)
{
    (void)state;
    static const struct {
        size_t len, count;
        unsigned bits[KW_BYOK_KEK_SIZES];
    } cases[] = {
        {256 + 1160, 1, {2048}},       {256 + 1232, 1, {2048}},
        {384 + 1232, 2, {2048, 3072}}, {512 + 2384, 2, {3072, 4096}},
        {512 + 2512, 1, {4096}},       {256 + 1808, 3, {2048, 3072, 4096}},
        {512 + 2520, 0, {0}},          {256 + 1152, 0, {0}},
        {256 + 1233, 0, {0}},          {0, 0, {0}},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        const struct kw_byok byok = {.ciphertext = {.len = cases[i].len}};
        unsigned bits[KW_BYOK_KEK_SIZES] = {0};
        assert_int_equal(kw_byok_kek_sizes(&byok, bits), cases[i].count);
        assert_memory_equal(bits, cases[i].bits, sizeof(bits));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read),
        cmocka_unit_test(what_may_be_absent),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(lengths),
        cmocka_unit_test(too_long),
        cmocka_unit_test(what_is_written),
        cmocka_unit_test(what_is_not_written),
        cmocka_unit_test(kids),
        cmocka_unit_test(kek_sizes),
    };
    return cmocka_run_group_tests_name("byok/file", tests, NULL, NULL);
}
