/* A good transfer file with each field and each byte of it changed in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "byok/byok.h"

#define KID  "https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
#define SIZE (256 + 1168) /* of 3 n + 2 bytes: the last character has bits to spare */

static char ciphertext[KW_BASE64_ENCODED_SIZE(SIZE) + 2]; /* with its quotes */

static const struct field {
    const char *name;
    const char *value; /* as JSON */
    bool in_header;
    bool optional;
} fields[] = {
    {"schema_version", "\"1.0.0\"", false, false},
    {"kid", "\"" KID "\"", true, false},
    {"alg", "\"dir\"", true, false},
    {"enc", "\"CKM_RSA_AES_KEY_WRAP\"", true, false},
    {"ciphertext", ciphertext, false, false},
    {"generator", "\"a tool 1.2; an HSM\"", false, true},
};

static int setup(void **state)
{
    (void)state;
    uint8_t bytes[SIZE];
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 7 + 0xF8);
    kw_base64_encode(KW_BASE64URL, bytes, SIZE, ciphertext + 1);
    ciphertext[0] = '"';
    strcat(ciphertext, "\"");
    return 0;
}

/* The members of one object, where `changed` has `value` instead of its own (NULL: is absent), or
 * is there twice. */
static void add_members(struct kw_buffer *text, bool in_header, const struct field *changed,
                        const char *value, bool twice)
{
    const char *comma = "";
    for (size_t i = 0; i < KW_COUNT(fields); i++) {
        const struct field *field = &fields[i];
        const char *shown = field == changed && !twice ? value : field->value;
        for (int n = 0;
             field->in_header == in_header && shown && n < 1 + (field == changed && twice);
             n++, comma = ",")
            assert_int_equal(kw_buffer_printf(text, NULL, "%s\"%s\":%s", comma, field->name, shown),
                             KW_OK);
    }
}

static void write_text(struct kw_buffer *text, const struct field *changed, const char *value,
                       bool twice)
{
    text->len = 0;
    assert_int_equal(kw_buffer_printf(text, NULL, "{\"header\":{"), KW_OK);
    add_members(text, true, changed, value, twice);
    assert_int_equal(kw_buffer_printf(text, NULL, "},"), KW_OK);
    add_members(text, false, changed, value, twice);
    assert_int_equal(kw_buffer_printf(text, NULL, "}"), KW_OK);
}

static void parses_as(const struct kw_buffer *text, enum kw_status wanted)
{
    struct kw_byok byok = {.kid = "untouched"};
    struct kw_error err = {.status = KW_OK};
    enum kw_status status =
        kw_byok_parse((const char *)text->data, text->len, "the file x.byok", &byok, &err);
    if (status != wanted)
        fail_msg("%d, not %d: %.*s", (int)status, (int)wanted, (int)text->len,
                 (const char *)text->data);
    if (!status) {
        kw_byok_cleanup(&byok);
        return;
    }
    assert_string_equal(byok.kid, "untouched");
    assert_non_null(strstr(err.message, "the file x.byok"));
}

static void each_field(void **state)
{
    (void)state;
    static const char *const values[] = {NULL, "null", "7", "true", "[]", "{}", "\"\""};
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
    write_text(&text, NULL, NULL, false);
    parses_as(&text, KW_OK);
    for (size_t i = 0; i < KW_COUNT(fields); i++) {
        for (size_t v = 0; v < KW_COUNT(values); v++) {
            bool says_nothing = v < 2 || v == KW_COUNT(values) - 1;
            write_text(&text, &fields[i], values[v], false);
            parses_as(&text, fields[i].optional && says_nothing ? KW_OK : KW_METADATA);
        }
        write_text(&text, &fields[i], NULL, true);
        parses_as(&text, KW_METADATA);
    }
    kw_buffer_cleanup(&text);
}

/* A byte that is another is an error, or is seen in the one field that it belongs to. */
static void each_byte(void **state)
{
    (void)state;
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
    struct kw_byok good;
    size_t taken = 0;
    write_text(&text, NULL, NULL, false);
    assert_int_equal(kw_byok_parse((const char *)text.data, text.len, "it", &good, NULL), KW_OK);
    for (size_t i = 0; i < text.len; i++) {
        const uint8_t was = text.data[i], others[] = {was ^ 1, was ^ 0x20, was | 0x80, '"', 0};
        for (size_t n = 0; n < KW_COUNT(others); n++) {
            struct kw_byok byok = {.kid = "untouched"};
            text.data[i] = others[n];
            enum kw_status status =
                kw_byok_parse((const char *)text.data, text.len, "it", &byok, NULL);
            text.data[i] = was;
            if (others[n] == was || status != KW_OK) {
                assert_int_equal(status, others[n] == was ? KW_OK : KW_METADATA);
                assert_true(others[n] == was || strcmp(byok.kid, "untouched") == 0);
            } else {
                size_t len = byok.ciphertext.len;
                int changes = (strcmp(byok.kid, good.kid) != 0) +
                              (strcmp(byok.generator, good.generator) != 0) +
                              (len != good.ciphertext.len ||
                               memcmp(byok.ciphertext.data, good.ciphertext.data, len) != 0);
                if (changes != 1)
                    fail_msg("byte %zu as 0x%02x: %d fields", i, others[n], changes);
                taken++;
            }
            if (status == KW_OK)
                kw_byok_cleanup(&byok);
        }
    }
    assert_true(taken > SIZE); /* most of a ciphertext with one bit changed is one */
    kw_byok_cleanup(&good);
    kw_buffer_cleanup(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field),
        cmocka_unit_test(each_byte),
    };
    return cmocka_run_group_tests_name("byok/damage", tests, setup, NULL);
}
