/* The transfer file over random sizes and texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../draw.h"
#include "byok/byok.h"

static void sizes_of_a_kek_are_those_that_fit(void **state)
{
    (void)state;
    static const unsigned all[KW_BYOK_KEK_SIZES] = {2048, 3072, 4096};
    struct draw draw = draw_start();
    for (int round = 0; round < 20000; round++) {
        const struct kw_byok byok = {
            .ciphertext = {.len = draw_size(&draw, 0, 2 * KW_TRANSFER_MAX)}};
        unsigned bits[KW_BYOK_KEK_SIZES];
        size_t count = kw_byok_kek_sizes(&byok, bits), fit = 0;
        for (size_t i = 0; i < KW_BYOK_KEK_SIZES; i++) {
            size_t kek = all[i] / 8, more = draw_size(&draw, 1, 7);
            if (!kw_transfer_fits(kek, byok.ciphertext.len))
                continue;
            assert_true(fit < count && bits[fit] == all[i]);
            assert_int_equal((byok.ciphertext.len - kek) % 8, 0);
            assert_true(byok.ciphertext.len <= KW_TRANSFER_MAX);
            assert_false(kw_transfer_fits(kek, byok.ciphertext.len + more));
            assert_false(kw_transfer_fits(kek, byok.ciphertext.len - more));
            fit++;
        }
        assert_int_equal(count, fit);
    }
}

/* ---- there and back ---- */

static size_t draw_name(struct draw *draw, char *out, size_t most)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    size_t len = draw_size(draw, 1, most);
    for (size_t i = 0; i < len; i++)
        out[i] = letters[draw_size(draw, 0, sizeof(letters) - 2)];
    out[len] = '\0';
    return len;
}

static void draw_kid(struct draw *draw, char out[KW_BYOK_TEXT_MAX])
{
    char host[301], name[301], version[301];
    (void)draw_name(draw, host, 300);
    (void)draw_name(draw, name, 300);
    (void)draw_name(draw, version, 300);
    snprintf(out, KW_BYOK_TEXT_MAX, "https://%s/keys/%s/%s", host, name, version);
}

/* Any characters of Unicode, controls and quotes more often than others. */
static void draw_text(struct draw *draw, char *out, size_t most)
{
    size_t len = 0, wanted = draw_size(draw, 0, most);
    while (len + 4 <= wanted) {
        static const uint32_t ends[] = {0x22, 0x5C, 0x7F, 0x7FF, 0xD7FF, 0xFFFF, 0x10FFFF};
        uint32_t c = (uint32_t)draw_size(draw, 1, ends[draw_size(draw, 0, KW_COUNT(ends) - 1)]);
        if (c >= 0xD800 && c < 0xE000)
            continue;
        if (c < 0x80) {
            out[len++] = (char)c;
            continue;
        }
        size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        static const uint8_t starts[] = {0, 0xC0, 0xE0, 0xF0};
        out[len++] = (char)(starts[more] | c >> (6 * more));
        while (more-- > 0)
            out[len++] = (char)(0x80 | (c >> (6 * more) & 0x3F));
    }
    out[len] = '\0';
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct draw draw = draw_start();
    for (int round = 0; round < 300; round++) {
        struct kw_byok byok = {.ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)}, back;
        struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
        struct kw_error err = {.status = KW_OK};
        unsigned bits[KW_BYOK_KEK_SIZES];
        do
            byok.ciphertext.len = draw_size(&draw, 1, KW_TRANSFER_MAX);
        while (kw_byok_kek_sizes(&byok, bits) == 0);
        size_t len = byok.ciphertext.len;
        byok.ciphertext.len = 0;
        assert_int_equal(kw_buffer_reserve(&byok.ciphertext, len, NULL), KW_OK);
        byok.ciphertext.len = len;
        draw_bytes(&draw, byok.ciphertext.data, len);
        draw_kid(&draw, byok.kid);
        draw_text(&draw, byok.generator, KW_BYOK_TEXT_MAX - 1);
        if (kw_byok_write(&byok, &text, &err) != KW_OK ||
            kw_byok_parse((const char *)text.data, text.len, "it", &back, &err) != KW_OK)
            fail_msg("round %d: %s", round, err.message);
        assert_string_equal(back.kid, byok.kid);
        assert_string_equal(back.generator, byok.generator);
        assert_int_equal(back.ciphertext.len, len);
        assert_memory_equal(back.ciphertext.data, byok.ciphertext.data, len);
        kw_byok_cleanup(&back);
        kw_buffer_cleanup(&text);
        kw_byok_cleanup(&byok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_of_a_kek_are_those_that_fit),
        cmocka_unit_test(what_is_written_is_read),
    };
    return cmocka_run_group_tests_name("byok/random", tests, NULL, NULL);
}
