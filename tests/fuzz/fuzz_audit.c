/* Records: the scanner for a line's number, what reads the whole of it, and lines that are made of
 * whatever texts there are. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_seq(const char *line, size_t len)
{
    uint64_t seq = 0;
    char text[40];
    char trail[2 * KW_TRAIL_ID_SIZE + 1];
    bool first = kw_record_trail(line, len, trail, NULL) == KW_OK;
    if (!kw_record_seq(line, len, &seq)) {
        must(!first);
        return;
    }
    int text_len = snprintf(text, sizeof(text), "{\"seq\":%llu,", (unsigned long long)seq);
    must(seq <= KW_TRAIL_MAX && text_len > 0 && (size_t)text_len < len);
    must(memcmp(text, line, (size_t)text_len) == 0 && line[len - 1] == '}');
}

static void check_formats(const char *line, size_t len)
{
    static enum kw_status (*const formats[])(const char *line, size_t len, struct kw_buffer *text,
                                             struct kw_error *err) = {kw_record_cef,
                                                                      kw_record_syslog};
    for (size_t i = 0; i < KW_COUNT(formats); i++) {
        struct kw_buffer text = KW_BUFFER_INIT(KW_FORMAT_MAX);
        enum kw_status status = formats[i](line, len, &text, NULL);
        must(status == KW_OK || status == KW_AUDIT);
        must((status == KW_OK) == (text.len > 0));
        must(i > 0 || !text.data || !memchr(text.data, '\n', text.len));
        kw_buffer_cleanup(&text);
    }
}

/* The input as every text of a record: one line comes out, which can be read. */
static void check_write(const char *text)
{
    const struct kw_who who = {.uid = 1};
    const struct kw_stamp stamp = {.seq = 1, .who = &who};
    const struct kw_deed deed = {.phase = KW_OUTCOME,
                                 .op = text,
                                 .run = text,
                                 .key = {text, text, text, text, text, text},
                                 .drop = text,
                                 .file = text,
                                 .detail = text};
    struct kw_buffer line = KW_BUFFER_INIT(KW_RECORD_MAX + 1);
    cJSON *record = NULL;
    must(kw_record_write(&stamp, &deed, &line, NULL) == KW_OK);
    must(memchr(line.data, '\n', line.len) == line.data + line.len - 1);
    must(kw_record_parse((const char *)line.data, line.len - 1, &record, NULL) == KW_OK);
    cJSON_Delete(record);
    kw_buffer_cleanup(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (size <= KW_RECORD_MAX) {
        check_seq(text, size);
        check_formats(text, size);
    }
    check_write(text);
    free(text);
    return 0;
}
