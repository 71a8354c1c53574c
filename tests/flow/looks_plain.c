/* What is taken for a file that nobody encrypted. */
#include "support.h"

static const struct {
    const char *what;
    const char *head;
    size_t len;
    bool plain;
} heads[] = {
    {"nothing", "", 0, false},
    {"JSON", "{\"id\":1,\"name\":\"x\"}\n", 20, true},
    {"a JSON array in one block", "[1,2,3,4,5,6,7]\n", 16, true},
    {"JSON too short to tell", "{\"id\":1}\n", 9, false},
    {"text", "name,size,changed,owner\na,1,2026,b\n", 35, true},
    {"text too short to tell", "name,size\na,1\n", 14, false},
    {"text in UTF-8",
     "Gr\xc3\xbc\xc3\x9f"
     "e aus K\xc3\xb6ln, und noch mehr Text",
     35, true},
    {"text with an emoji cut short", "0123456789012345678901234567890\xf0\x9f\x98", 34, true},
    {"Latin-1",
     "Gr\xfc\xdf"
     "e aus K\xf6ln, und noch viel mehr Text",
     36, false},
    {"an overlong form", "0123456789012345678901234567890\xc0\xaf 12", 36, false},
    {"a surrogate in UTF-8", "0123456789012345678901234567890\xed\xa0\x80", 34, false},
    {"text with a zero byte", "0123456789012345678901234567890\x00 123", 36, false},
    {"a UTF-8 mark", "\xef\xbb\xbf{\"a\":1}\n", 11, true},
    {"a UTF-8 mark and noise", "\xef\xbb\xbf\x01\x02\x03\x04\x05\x06\x07\x08", 11, false},
    {"a UTF-8 mark alone", "\xef\xbb\xbf", 3, false},
    {"UTF-16, little end first", "\xff\xfe{\0\"\0a\0", 8, true},
    {"UTF-16, big end first", "\xfe\xff\0{\0\"\0a", 8, true},
    {"a UTF-16 mark and noise", "\xff\xfe\x12\x34\x56\x78\x9a\xbc", 8, false},
    {"a UTF-16 mark, one letter, noise", "\xff\xfe{\0\x56\x78\x9a\xbc", 8, false},
    {"a UTF-16 mark alone", "\xff\xfe", 2, false},
    {"gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03zz", 12, true},
    {"gzip of an unknown system", "\x1f\x8b\x08\x08\x00\x00\x00\x00\x02\xff", 10, true},
    {"gzip with reserved flags", "\x1f\x8b\x08\x80\x00\x00\x00\x00\x00\x03", 10, false},
    {"gzip of a system that is none", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x4d", 10, false},
    {"gzip with another method", "\x1f\x8b\x07\x00\x00\x00\x00\x00\x00\x03", 10, false},
    {"gzip cut short", "\x1f\x8b\x08\x00\x00", 5, false},
    {"Parquet", "PAR1\x15\x04\x15\x10", 8, true},
    {"encrypted Parquet", "PARE\x15\x04\x15\x10", 8, true},
    {"nearly Parquet", "PAR2\x15\x04\x15\x10", 8, false},
};

static void heads_by_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(heads); i++) {
        /* In memory of its exact size, so that a sanitizer sees a read beyond it. */
        uint8_t *copy = malloc(heads[i].len ? heads[i].len : 1);
        assert_non_null(copy);
        memcpy(copy, heads[i].head, heads[i].len);
        if (kw_looks_plain(copy, heads[i].len, heads[i].len) != heads[i].plain)
            fail_msg("%s", heads[i].what);
        free(copy);
    }
}

static void text_must_go_on(void **state)
{
    (void)state;
    uint8_t text[KW_LOOKS_PLAIN_BYTES];
    memset(text, 'a', sizeof(text));
    assert_true(kw_looks_plain(text, sizeof(text), 1 << 20));
    for (size_t i = 0; i < sizeof(text); i += 97) {
        text[i] = 0x80;
        assert_false(kw_looks_plain(text, sizeof(text), 1 << 20));
        text[i] = 'a';
    }
}

static void every_length_stays_inside(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 64; len++) {
        for (int first = 0; first < 256; first++) {
            uint8_t *data = malloc(len ? len : 1);
            assert_non_null(data);
            memset(data, first, len);
            bool text = len >= 32 && ((first >= 0x20 && first < 0x7f) || first == '\n' ||
                                      first == '\r' || first == '\t');
            bool json = len >= 16 && (first == '{' || first == '[');
            assert_int_equal(kw_looks_plain(data, len, len), text || json);
            free(data);
        }
    }
}

/* Far fewer than would show 2^-27, but a recogniser that is far too generous would. */
static void ciphertext_does_not(void **state)
{
    (void)state;
    uint8_t block[16 * 256];
    for (int i = 0; i < 200; i++) {
        assert_int_equal(kw_random(crypto, block, sizeof(block), NULL), KW_OK);
        for (size_t at = 0; at < sizeof(block); at += 16) {
            assert_false(kw_looks_plain(block + at, 16, 16));
            assert_false(kw_looks_plain(block + at, sizeof(block) - at, sizeof(block)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_by_table),
        cmocka_unit_test(text_must_go_on),
        cmocka_unit_test(every_length_stays_inside),
        cmocka_unit_test(ciphertext_does_not),
    };
    return cmocka_run_group_tests_name("flow/looks_plain", tests, start_crypto, stop_crypto);
}
