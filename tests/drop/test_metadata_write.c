/* What the sender writes is what the receiver reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drop/drop.h"

#define ROUNDS 2000

static const enum kw_drop_format formats[] = {KW_DROP_DATA_CONNECT, KW_DROP_VIVA_INSIGHTS};

/* xorshift64: the same numbers in every run. */
static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static void fill_random(uint64_t *random, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(next_random(random) >> 32);
}

static enum kw_status parse(enum kw_drop_format format, const struct kw_buffer *text,
                            struct kw_envelope *ret_envelope, struct kw_buffer *ret_wrapped)
{
    struct kw_metadata_text files = {0};
    if (format == KW_DROP_DATA_CONNECT) {
        files.details = (const char *)text->data;
        files.details_len = text->len;
    } else {
        files.job = (const char *)text->data;
        files.job_len = text->len;
    }
    bool found = false;
    enum kw_status status = kw_metadata_parse(&files, &found, ret_envelope, ret_wrapped, NULL);
    assert_true(status != KW_OK || found);
    return status;
}

static void assert_reads_back(const struct kw_envelope *envelope)
{
    struct kw_buffer text = KW_BUFFER_INIT(0);
    struct kw_buffer wrapped = KW_BUFFER_INIT(0);
    struct kw_envelope read;
    struct kw_error err = {0};
    if (kw_drop_write_metadata(envelope, &text, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_int_equal(parse(envelope->format, &text, &read, &wrapped), KW_OK);
    assert_int_equal(read.format, envelope->format);
    assert_string_equal(read.version, envelope->version);
    assert_int_equal(read.wrapped_len, envelope->wrapped_len);
    assert_memory_equal(read.wrapped, envelope->wrapped, envelope->wrapped_len);
    assert_memory_equal(read.iv, envelope->iv, sizeof(envelope->iv));
    assert_int_equal(read.column_keys, 0);
    kw_buffer_cleanup(&text);
    kw_buffer_cleanup(&wrapped);
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    uint64_t random = 0x9E3779B97F4A7C15U;
    for (size_t round = 0; round < ROUNDS; round++) {
        uint8_t wrapped[KW_RSA_MAX_BYTES];
        struct kw_envelope envelope = {
            .format = formats[round % KW_COUNT(formats)],
            .wrapped = wrapped,
            .wrapped_len = 256 + 8 * (next_random(&random) % 33),
        };
        size_t version_len = 1 + next_random(&random) % KW_VERSION_MAX;
        for (size_t i = 0; i < version_len; i++)
            envelope.version[i] = (char)('!' + next_random(&random) % ('~' - '!' + 1));
        if (strstr(envelope.version, "://"))
            continue; /* such a version is for the next test */
        fill_random(&random, wrapped, envelope.wrapped_len);
        fill_random(&random, envelope.iv, sizeof(envelope.iv));
        assert_reads_back(&envelope);
    }
}

/* Both layouts of one envelope belong in one drop, so they must agree. */
static void both_layouts_agree(void **state)
{
    (void)state;
    uint8_t wrapped[256] = {1, 2, 3};
    struct kw_envelope envelope = {.wrapped = wrapped, .wrapped_len = sizeof(wrapped)};
    memcpy(envelope.version, "v\"1\\", sizeof("v\"1\\"));
    struct kw_buffer details = KW_BUFFER_INIT(0);
    struct kw_buffer job = KW_BUFFER_INIT(0);
    envelope.format = KW_DROP_DATA_CONNECT;
    assert_int_equal(kw_drop_write_metadata(&envelope, &details, NULL), KW_OK);
    envelope.format = KW_DROP_VIVA_INSIGHTS;
    assert_int_equal(kw_drop_write_metadata(&envelope, &job, NULL), KW_OK);
    const struct kw_metadata_text text = {
        .details = (const char *)details.data,
        .details_len = details.len,
        .job = (const char *)job.data,
        .job_len = job.len,
    };
    bool found = false;
    struct kw_envelope read;
    struct kw_buffer read_wrapped = KW_BUFFER_INIT(0);
    assert_int_equal(kw_metadata_parse(&text, &found, &read, &read_wrapped, NULL), KW_OK);
    assert_true(found);
    assert_int_equal(read.format, KW_DROP_DATA_CONNECT);
    kw_buffer_cleanup(&details);
    kw_buffer_cleanup(&job);
    kw_buffer_cleanup(&read_wrapped);
}

static void refuses_what_could_not_be_read_back(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        size_t wrapped_len;
    } cases[] = {
        {"", 256},
        {"two words", 256},
        {"line\n", 256},
        {"caf\xc3\xa9", 256},
        {"https://v.vault.azure.net/keys/n/0123", 256},
        {"x://y", 256},
        {"v", 0},
        {"v", 255},
        {"v", 257},
        {"v", 520},
    };
    uint8_t wrapped[1024] = {0};
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        for (size_t f = 0; f < KW_COUNT(formats); f++) {
            struct kw_envelope envelope = {
                .format = formats[f], .wrapped = wrapped, .wrapped_len = cases[i].wrapped_len};
            memcpy(envelope.version, cases[i].version, strlen(cases[i].version) + 1);
            struct kw_buffer text = KW_BUFFER_INIT(0);
            struct kw_error err = {0};
            assert_int_equal(kw_drop_write_metadata(&envelope, &text, &err), KW_USAGE);
            assert_true(strlen(err.message) > 0);
            assert_null(text.data);
        }
    }
    struct kw_envelope envelope = {.wrapped = wrapped, .wrapped_len = 256};
    memset(envelope.version, 'v', sizeof(envelope.version)); /* no NUL */
    struct kw_buffer text = KW_BUFFER_INIT(0);
    assert_int_equal(kw_drop_write_metadata(&envelope, &text, NULL), KW_USAGE);
}

static void names_its_layouts(void **state)
{
    (void)state;
    assert_string_equal(kw_drop_format_name(KW_DROP_DATA_CONNECT), "data-connect");
    assert_string_equal(kw_drop_format_name(KW_DROP_VIVA_INSIGHTS), "viva-insights");
    assert_string_equal(kw_drop_metadata_path(KW_DROP_DATA_CONNECT),
                        "metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json");
    assert_string_equal(kw_drop_metadata_path(KW_DROP_VIVA_INSIGHTS),
                        "metadata/JobMetadata/Metadata.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(both_layouts_agree),
        cmocka_unit_test(refuses_what_could_not_be_read_back),
        cmocka_unit_test(names_its_layouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
