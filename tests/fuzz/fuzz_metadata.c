/* Metadata that anyone may have written: the input is one file, or two with a NUL between them. */
#include <stdlib.h>
#include <string.h>

#include "drop/drop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read can be written, and is read back as the same. */
static void write_and_read(const struct kw_envelope *envelope)
{
    struct kw_buffer text = KW_BUFFER_INIT(0);
    struct kw_buffer wrapped = KW_BUFFER_INIT(0);
    if (kw_drop_write_metadata(envelope, &text, NULL) != KW_OK)
        abort();
    struct kw_metadata_text files = {0};
    *(envelope->format == KW_DROP_DATA_CONNECT ? &files.details : &files.job) =
        (const char *)text.data;
    files.details_len = files.job_len = text.len;
    bool found = false;
    struct kw_envelope read;
    if (kw_metadata_parse(&files, &found, &read, &wrapped, NULL) != KW_OK || !found ||
        read.format != envelope->format || strcmp(read.version, envelope->version) != 0 ||
        read.wrapped_len != envelope->wrapped_len ||
        memcmp(read.wrapped, envelope->wrapped, read.wrapped_len) != 0 ||
        memcmp(read.iv, envelope->iv, sizeof(read.iv)) != 0)
        abort();
    kw_buffer_cleanup(&text);
    kw_buffer_cleanup(&wrapped);
}

static void parse(const struct kw_metadata_text *text)
{
    bool found = false;
    struct kw_envelope envelope;
    struct kw_buffer wrapped = KW_BUFFER_INIT(0);
    struct kw_error err = {0};
    enum kw_status status = kw_metadata_parse(text, &found, &envelope, &wrapped, &err);
    if (status == KW_OK && found)
        write_and_read(&envelope);
    if (status != KW_OK && (err.status != status || err.message[0] == '\0'))
        abort();
    kw_buffer_cleanup(&wrapped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *nul = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t first = nul ? (size_t)(nul - text) : size;
    struct kw_metadata_text both = {.details = text, .details_len = first};
    if (nul) {
        both.job = nul + 1;
        both.job_len = size - first - 1;
    }
    struct kw_metadata_text job = {.job = text, .job_len = size};
    if (size > 0) {
        parse(&both);
        parse(&job);
    }
    return 0;
}
