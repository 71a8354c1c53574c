/* Sizes, depths and counts of metadata, at each limit and one over it, and damaged texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drop/drop.h"
#include "metadata_text.h"

#define FLAT "{'PublicKeyVersion':'$K','Value':'$V','IV':'$I'}"

static enum kw_status parse(const char *details, size_t len, struct kw_envelope *ret_envelope,
                            struct kw_error *err)
{
    const struct kw_metadata_text text = {.details = details, .details_len = len};
    bool found = false;
    struct kw_buffer wrapped = KW_BUFFER_INIT(0);
    enum kw_status status = kw_metadata_parse(&text, &found, ret_envelope, &wrapped, err);
    if (status == KW_OK) {
        assert_true(found);
        ret_envelope->wrapped = NULL;
    }
    kw_buffer_cleanup(&wrapped);
    return status;
}

/* Flat metadata with a wrapped key and an IV of these sizes. */
static enum kw_status parse_sizes(size_t wrapped_len, size_t iv_len, struct kw_error *err)
{
    static uint8_t bytes[2048];
    static char value[KW_BASE64_ENCODED_SIZE(sizeof(bytes))];
    static char iv[KW_BASE64_ENCODED_SIZE(sizeof(bytes))];
    static char text[2 * sizeof(value) + 200];
    test_bytes(9, bytes, sizeof(bytes));
    kw_base64_encode(KW_BASE64, bytes, wrapped_len, value);
    kw_base64_encode(KW_BASE64, bytes, iv_len, iv);
    int len = snprintf(text, sizeof(text),
                       "{\"PublicKeyVersion\":\"v\",\"Value\":\"%s\",\"IV\":\"%s\"}", value, iv);
    struct kw_envelope envelope;
    enum kw_status status = parse(text, (size_t)len, &envelope, err);
    if (status == KW_OK)
        assert_int_equal(envelope.wrapped_len, wrapped_len);
    return status;
}

static void takes_wrapped_keys_of_rsa_sizes_only(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 600; len++) {
        struct kw_error err = {0};
        bool fits = len >= 256 && len <= 512 && len % 8 == 0;
        assert_int_equal(parse_sizes(len, 16, &err), fits ? KW_OK : KW_METADATA);
        char says[32];
        (void)snprintf(says, sizeof(says), "is %zu bytes", len);
        assert_true(fits || strstr(err.message, says));
    }
    assert_int_equal(parse_sizes(1536, 16, NULL), KW_METADATA);
    assert_int_equal(parse_sizes(1537, 16, NULL), KW_METADATA);
    assert_int_equal(parse_sizes(2048, 16, NULL), KW_METADATA);
}

static void takes_ivs_of_one_block_only(void **state)
{
    (void)state;
    for (size_t len = 0; len <= 64; len++) {
        struct kw_error err = {0};
        assert_int_equal(parse_sizes(256, len, &err), len == 16 ? KW_OK : KW_METADATA);
        char says[32];
        (void)snprintf(says, sizeof(says), "is %zu bytes", len);
        assert_true(len == 16 || strstr(err.message, says));
    }
}

static enum kw_status parse_version(size_t len, const char *before, struct kw_envelope *envelope)
{
    char version[512] = "";
    memset(version, 'v', len);
    char pattern[1024];
    (void)snprintf(pattern, sizeof(pattern), "{'PublicKeyVersion':'%s%s','Value':'$V','IV':'$I'}",
                   before, version);
    char *text = test_expand(pattern);
    enum kw_status status = parse(text, strlen(text), envelope, NULL);
    free(text);
    return status;
}

static void takes_versions_up_to_the_limit(void **state)
{
    (void)state;
    struct kw_envelope envelope;
    static const char *const before[] = {"", "https://a.vault.azure.net/keys/n/"};
    for (size_t i = 0; i < KW_COUNT(before); i++) {
        assert_int_equal(parse_version(1, before[i], &envelope), KW_OK);
        assert_string_equal(envelope.version, "v");
        assert_int_equal(parse_version(KW_VERSION_MAX, before[i], &envelope), KW_OK);
        assert_int_equal(strlen(envelope.version), KW_VERSION_MAX);
        assert_int_equal(parse_version(KW_VERSION_MAX + 1, before[i], &envelope), KW_METADATA);
        assert_int_equal(parse_version(0, before[i], &envelope), KW_METADATA);
    }
}

/* Flat metadata, then `count` times `filler`, then `end`. */
static enum kw_status parse_filled(const char *start, const char *filler, size_t count,
                                   const char *end, struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(2 * KW_METADATA_MAX_BYTES);
    char *expanded = test_expand(start);
    assert_int_equal(kw_buffer_append(&text, expanded, strlen(expanded), NULL), KW_OK);
    free(expanded);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(kw_buffer_append(&text, filler, strlen(filler), NULL), KW_OK);
    assert_int_equal(kw_buffer_append(&text, end, strlen(end), NULL), KW_OK);
    struct kw_envelope envelope;
    enum kw_status status = parse((const char *)text.data, text.len, &envelope, err);
    kw_buffer_cleanup(&text);
    return status;
}

static void takes_texts_up_to_the_limit(void **state)
{
    (void)state;
    char *flat = test_expand(FLAT);
    size_t room = KW_METADATA_MAX_BYTES - strlen(flat);
    free(flat);
    struct kw_error err;
    assert_int_equal(parse_filled(FLAT, " ", room, "", NULL), KW_OK);
    assert_int_equal(parse_filled(FLAT, " ", room + 1, "", &err), KW_METADATA);
    assert_non_null(strstr(err.message, "encryptionKeyDetails.json"));
}

#define FIELDS "'PublicKeyVersion':'$K','Value':'$V','IV':'$I'"

static void takes_nesting_up_to_the_limit(void **state)
{
    (void)state;
    struct kw_error err;
    char end[64] = "";
    /* Arrays around the object with the fields: each is one deep. */
    for (size_t arrays = 0; arrays <= KW_METADATA_MAX_DEPTH; arrays++) {
        char start[512] = "";
        memset(start, '[', arrays);
        memcpy(start + arrays, "{" FIELDS "}", sizeof("{" FIELDS "}"));
        memset(end, ']', arrays);
        assert_int_equal(parse_filled(start, "", 0, end, &err),
                         arrays < KW_METADATA_MAX_DEPTH ? KW_OK : KW_METADATA);
    }
    assert_non_null(strstr(err.message, "deep"));
    assert_int_equal(parse_filled("", "[", 200000, "", NULL), KW_METADATA);
    assert_int_equal(parse_filled("", "{\"a\":", 100000, "", NULL), KW_METADATA);
}

static void takes_values_up_to_the_limit(void **state)
{
    (void)state;
    /* The object, its three fields, the array and what is in it. */
    size_t room = KW_METADATA_MAX_ITEMS - 5 - 1;
    const char *start = "{" FIELDS ",'more':[0";
    assert_int_equal(parse_filled(start, ",0", room, "]}", NULL), KW_OK);
    struct kw_error err;
    assert_int_equal(parse_filled(start, ",0", room + 1, "]}", &err), KW_METADATA);
    assert_non_null(strstr(err.message, "encryptionKeyDetails.json"));
}

static void refuses_every_cut_text(void **state)
{
    (void)state;
    char *text = test_expand("{'DecryptionKeyDetails':[" FLAT "]}");
    size_t len = strlen(text);
    struct kw_envelope envelope;
    assert_int_equal(parse(text, len, &envelope, NULL), KW_OK);
    for (size_t cut = 0; cut < len; cut++) {
        char *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, text, cut);
        assert_int_equal(parse(copy, cut, &envelope, NULL), KW_METADATA);
        free(copy);
    }
    free(text);
}

/* Whatever one byte becomes, the text is refused or gives an envelope that keeps the rules. */
static void survives_every_changed_byte(void **state)
{
    (void)state;
    static const char changes[] = {'\0', ' ', '"', '\\', '{', '}',       '[',
                                   ']',  ',', ':', '-',  'A', (char)0xff};
    char *text = test_expand("{'PublicKeyVersion':'$K','Value':'$V','IV':'$I','Type':'File'}");
    size_t len = strlen(text);
    for (size_t at = 0; at < len; at++) {
        char kept = text[at];
        for (size_t i = 0; i < sizeof(changes); i++) {
            text[at] = changes[i];
            struct kw_envelope envelope;
            enum kw_status status = parse(text, len, &envelope, NULL);
            assert_true(status == KW_OK || status == KW_METADATA);
            if (status == KW_OK) {
                assert_int_equal(envelope.wrapped_len, 256);
                assert_in_range(strlen(envelope.version), 1, KW_VERSION_MAX);
            }
        }
        text[at] = kept;
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_wrapped_keys_of_rsa_sizes_only),
        cmocka_unit_test(takes_ivs_of_one_block_only),
        cmocka_unit_test(takes_versions_up_to_the_limit),
        cmocka_unit_test(takes_texts_up_to_the_limit),
        cmocka_unit_test(takes_nesting_up_to_the_limit),
        cmocka_unit_test(takes_values_up_to_the_limit),
        cmocka_unit_test(refuses_every_cut_text),
        cmocka_unit_test(survives_every_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
