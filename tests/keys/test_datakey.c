/* The forms of a data key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys/keys.h"

static const uint8_t key_bytes[32] = {0xfb, 0xef, 0xbe, 0xff, 0x3f, 5,  6,  7,  8,  9,  10,
                                      11,   12,   13,   14,   15,   16, 17, 18, 19, 20, 21,
                                      22,   23,   24,   25,   26,   27, 28, 29, 30, 31};

static enum kw_status decode(const void *data, size_t len, struct kw_secret **ret_key)
{
    struct kw_secret *unwrapped = NULL;
    assert_int_equal(kw_secret_from(data, len, &unwrapped, NULL), KW_OK);
    enum kw_status status = kw_data_key_decode(unwrapped, ret_key, NULL);
    kw_secret_free(unwrapped);
    return status;
}

static void assert_decodes(const void *data, size_t len)
{
    struct kw_secret *key = NULL;
    assert_int_equal(decode(data, len, &key), KW_OK);
    assert_int_equal(kw_secret_len(key), 32);
    assert_memory_equal(kw_secret_bytes(key), key_bytes, 32);
    kw_secret_free(key);
}

static void assert_refused(const void *data, size_t len)
{
    struct kw_secret *key = NULL;
    assert_int_equal(decode(data, len, &key), KW_KEY_UNUSABLE);
    assert_null(key);
}

static size_t widen(const char *text, uint8_t *out)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = (uint8_t)text[i];
        out[2 * i + 1] = 0;
    }
    return 2 * len;
}

static void make_forms(char texts[4][80])
{
    kw_base64_encode(KW_BASE64, key_bytes, 32, texts[0]);
    kw_base64_encode(KW_BASE64URL, key_bytes, 32, texts[1]);
    kw_hex_encode(key_bytes, 32, texts[2]);
    kw_base64_encode(KW_BASE64URL, key_bytes, 32, texts[3]);
    memcpy(texts[3] + 43, "=", 2); /* base64url with its padding */
}

static void test_every_form(void **state)
{
    (void)state;
    char texts[4][80];
    uint8_t wide[160];
    make_forms(texts);
    assert_decodes(key_bytes, 32);
    for (size_t i = 0; i < 4; i++) {
        assert_decodes(texts[i], strlen(texts[i]));
        assert_decodes(wide, widen(texts[i], wide));
    }
}

/* Each character of each form replaced by one that the form has no use for. */
static void test_foreign_characters(void **state)
{
    (void)state;
    char texts[4][80];
    uint8_t wide[160];
    make_forms(texts);
    for (size_t i = 0; i < 4; i++) {
        for (size_t at = 0; at < strlen(texts[i]); at++) {
            char saved = texts[i][at];
            texts[i][at] = '*';
            assert_refused(texts[i], strlen(texts[i]));
            texts[i][at] = saved;
            size_t len = widen(texts[i], wide);
            wide[2 * at + 1] = 1;
            assert_refused(wide, len);
        }
    }
}

static void test_other_lengths(void **state)
{
    (void)state;
    uint8_t data[256];
    memset(data, 'A', sizeof(data));
    for (size_t len = 0; len <= sizeof(data); len++) {
        bool known = len == 32 || len == 43 || len == 44 || len == 64;
        if (!known)
            assert_refused(data, len);
    }
    /* 44 characters without padding are 33 bytes: too long by one. */
    assert_refused(data, 44);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form),
        cmocka_unit_test(test_foreign_characters),
        cmocka_unit_test(test_other_lengths),
    };
    struct kw_error err;
    if (kw_secret_start(&err))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
