/* Base64 and hex against a second, table-driven decoder, and at every place a fault can be. */
#include "base_test.h"

#define ROOM 512

/* ---- an independent decoder: slow, obvious, with a table ---- */

static int value_of(enum kw_base64 alphabet, char c)
{
    static const char common[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const char *found = c == '\0' ? NULL : strchr(common, c);
    if (found)
        return (int)(found - common);
    if (c == (alphabet == KW_BASE64 ? '+' : '-'))
        return 62;
    return c == (alphabet == KW_BASE64 ? '/' : '_') ? 63 : -1;
}

static bool reference(enum kw_base64 alphabet, const char *text, size_t len, uint8_t *out,
                      size_t *ret_len)
{
    size_t body = len;
    while (body > 0 && text[body - 1] == '=')
        body--;
    size_t padding = len - body;
    size_t wanted = (4 - body % 4) % 4;
    if (wanted == 3 || !(padding == wanted || (alphabet == KW_BASE64URL && padding == 0)))
        return false;
    unsigned bits = 0;
    unsigned have = 0;
    size_t done = 0;
    for (size_t i = 0; i < body; i++) {
        int value = value_of(alphabet, text[i]);
        if (value < 0)
            return false;
        bits = (bits << 6 | (unsigned)value) & 0xFFFFFF;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[done++] = (uint8_t)(bits >> have);
        }
    }
    if ((bits & ((1U << have) - 1)) != 0)
        return false;
    *ret_len = done;
    return true;
}

static void agree(enum kw_base64 alphabet, const char *text, size_t len)
{
    uint8_t got[ROOM], wanted[ROOM];
    size_t got_len = 4711, wanted_len = 4711;
    char *exact = malloc(len ? len : 1); /* a read beyond its end is seen by a sanitizer */
    assert_non_null(exact);
    memcpy(exact, text, len);
    memset(got, 0xA5, sizeof(got));
    bool is = kw_base64_decode(alphabet, exact, len, got, sizeof(got), &got_len);
    bool should = reference(alphabet, text, len, wanted, &wanted_len);
    if (is != should)
        fail_msg("\"%.*s\": %d instead of %d", (int)len, text, is, should);
    assert_int_equal(got_len, wanted_len);
    if (is)
        assert_memory_equal(got, wanted, got_len);
    for (size_t i = 0; !is && i < sizeof(got); i++)
        assert_int_equal(got[i], 0);
    free(exact);
}

/* ---- base64 ---- */

static void known_texts(void **state)
{
    (void)state;
    static const struct {
        enum kw_base64 alphabet;
        const char *data;
        const char *text;
    } rows[] = {
        {KW_BASE64, "", ""},
        {KW_BASE64, "f", "Zg=="},
        {KW_BASE64, "fo", "Zm8="},
        {KW_BASE64, "foo", "Zm9v"},
        {KW_BASE64, "foob", "Zm9vYg=="},
        {KW_BASE64, "fooba", "Zm9vYmE="},
        {KW_BASE64, "foobar", "Zm9vYmFy"},
        {KW_BASE64, "\xFB\xEF\xFF", "++//"},
        {KW_BASE64URL, "\xFB\xEF\xFF", "--__"},
        {KW_BASE64URL, "f", "Zg"},
        {KW_BASE64URL, "fo", "Zm8"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        char text[32];
        uint8_t data[32];
        size_t len = 0;
        kw_base64_encode(rows[i].alphabet, rows[i].data, strlen(rows[i].data), text);
        assert_string_equal(text, rows[i].text);
        assert_true(
            kw_base64_decode(rows[i].alphabet, text, strlen(text), data, sizeof(data), &len));
        assert_int_equal(len, strlen(rows[i].data));
        assert_memory_equal(data, rows[i].data, len);
    }
}

static void every_length_returns(void **state)
{
    (void)state;
    uint8_t data[200];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 167 + 13);
    for (int alphabet = KW_BASE64; alphabet <= KW_BASE64URL; alphabet++) {
        for (size_t len = 0; len <= sizeof(data); len++) {
            char text[KW_BASE64_ENCODED_SIZE(sizeof(data)) + 1];
            memset(text, '#', sizeof(text));
            kw_base64_encode((enum kw_base64)alphabet, data, len, text);
            assert_true(strlen(text) < KW_BASE64_ENCODED_SIZE(len));
            uint8_t back[200];
            size_t back_len = 0;
            assert_true(kw_base64_decode((enum kw_base64)alphabet, text, strlen(text), back, len,
                                         &back_len));
            assert_int_equal(back_len, len);
            assert_memory_equal(back, data, len);
            assert_true(len <= KW_BASE64_DECODED_MAX(strlen(text)));
        }
    }
}

/* Each byte value at each place of texts with no, one and two '='. */
static void every_single_byte_fault(void **state)
{
    (void)state;
    static const char *const texts[] = {"AZaz09+/", "Zm9vYmE=", "Zm9vYg==", "-_-_", "Zm9vYmE",
                                        "Zm9vYg",   "A",        "====",     "="};
    for (size_t t = 0; t < KW_COUNT(texts); t++) {
        size_t len = strlen(texts[t]);
        for (size_t at = 0; at < len; at++) {
            for (unsigned value = 0; value < 256; value++) {
                char text[16];
                memcpy(text, texts[t], len + 1);
                text[at] = (char)value;
                agree(KW_BASE64, text, len);
                agree(KW_BASE64URL, text, len);
            }
        }
    }
}

/* Each byte taken out, each byte put in: what a bad copy does. */
static void every_deletion_and_insertion(void **state)
{
    (void)state;
    static const char whole[] = "Zm9vYmFyIQ==";
    static const char extra[] = " \n\r\t=A-+_/.\0\x80";
    size_t len = sizeof(whole) - 1;
    for (size_t at = 0; at <= len; at++) {
        char text[32];
        memcpy(text, whole, at);
        if (at < len) {
            memcpy(text + at, whole + at + 1, len - at);
            agree(KW_BASE64, text, len - 1);
            agree(KW_BASE64URL, text, len - 1);
        }
        for (size_t i = 0; i < sizeof(extra); i++) {
            text[at] = extra[i];
            memcpy(text + at + 1, whole + at, len - at + 1);
            agree(KW_BASE64, text, len + 1);
            agree(KW_BASE64URL, text, len + 1);
        }
    }
}

static void strictness_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool base64, base64url;
    } rows[] = {
        {"Zg==", true, true},       {"Zg=", false, false},    {"Zg", false, true},
        {"Zh==", false, false}, /* bits left over */
        {"Zh", false, false},       {"Zm9=", false, false},   {"Zm8", false, true},
        {"Zm8=", true, true},       {"Zm8==", false, false},  {"Zg===", false, false},
        {"Zg==Zg==", false, false}, {"Z", false, false},      {"Z===", false, false},
        {"====", false, false},     {"=", false, false},      {" Zg==", false, false},
        {"Zg==\n", false, false},   {"Zm9v\n", false, false}, {"Zm\n9v", false, false},
        {"++//", true, false},      {"--__", false, true},    {"+-", false, false},
        {"", true, true},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        uint8_t out[16];
        size_t len = 0;
        size_t text_len = strlen(rows[i].text);
        assert_int_equal(
            kw_base64_decode(KW_BASE64, rows[i].text, text_len, out, sizeof(out), &len),
            rows[i].base64);
        assert_int_equal(
            kw_base64_decode(KW_BASE64URL, rows[i].text, text_len, out, sizeof(out), &len),
            rows[i].base64url);
    }
}

static void too_little_room(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t needs;
    } rows[] = {{"Zm9v", 3}, {"Zm9vYg==", 4}, {"Zm9vYmE=", 5}, {"Zg==", 1}};
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        uint8_t out[8];
        size_t len = 4711;
        memset(out, 0xA5, sizeof(out));
        size_t short_by_one = rows[i].needs - 1;
        assert_false(kw_base64_decode(KW_BASE64, rows[i].text, strlen(rows[i].text), out,
                                      short_by_one, &len));
        assert_int_equal(len, 4711);
        for (size_t j = 0; j < sizeof(out); j++)
            assert_int_equal(out[j], j < short_by_one ? 0 : 0xA5);
        assert_true(kw_base64_decode(KW_BASE64, rows[i].text, strlen(rows[i].text), out,
                                     rows[i].needs, &len));
        assert_int_equal(len, rows[i].needs);
    }
    size_t len = 4711;
    assert_true(kw_base64_decode(KW_BASE64, "", 0, NULL, 0, &len));
    assert_int_equal(len, 0);
}

/* ---- hex ---- */

static void every_hex_pair(void **state)
{
    (void)state;
    for (unsigned high = 0; high < 256; high++) {
        for (unsigned low = 0; low < 256; low++) {
            const char text[2] = {(char)high, (char)low};
            char digits[3] = {(char)high, (char)low, '\0'};
            bool should = high && low && strspn(digits, "0123456789abcdefABCDEF") == 2;
            uint8_t out = 0xA5;
            size_t len = 4711;
            assert_int_equal(kw_hex_decode(text, 2, &out, 1, &len), should);
            assert_int_equal(out, should ? strtoul(digits, NULL, 16) : 0);
            assert_int_equal(len, should ? 1 : 4711);
        }
    }
}

static void hex_lengths(void **state)
{
    (void)state;
    uint8_t out[4];
    size_t len = 4711;
    assert_false(kw_hex_decode("abc", 3, out, sizeof(out), &len));
    assert_false(kw_hex_decode("0011223344", 10, out, sizeof(out), &len));
    assert_false(kw_hex_decode("0x11", 4, out, sizeof(out), &len));
    assert_false(kw_hex_decode("00 1", 4, out, sizeof(out), &len));
    assert_int_equal(len, 4711);
    assert_true(kw_hex_decode("00fFa9Bc", 8, out, sizeof(out), &len));
    assert_int_equal(len, 4);
    assert_memory_equal(out, "\x00\xFF\xA9\xBC", 4);
    assert_true(kw_hex_decode("", 0, NULL, 0, &len));
    assert_int_equal(len, 0);
    char text[9];
    kw_hex_encode(out, 4, text);
    assert_string_equal(text, "00ffa9bc");
    kw_hex_encode(NULL, 0, text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts),
        cmocka_unit_test(every_length_returns),
        cmocka_unit_test(every_single_byte_fault),
        cmocka_unit_test(every_deletion_and_insertion),
        cmocka_unit_test(strictness_by_name),
        cmocka_unit_test(too_little_room),
        cmocka_unit_test(every_hex_pair),
        cmocka_unit_test(hex_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
