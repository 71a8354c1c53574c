/* record: one line of the trail, written and read. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "audit/internal.h"

/* What texts are cut to, as they are shown. Two paths, a sentence and all short texts fit one line,
 * also where each fourth byte is a backslash that is doubled. */
#define PATH_MAX_SHOWN  KW_JSON_SHOWN_MAX
#define TEXT_MAX_SHOWN  (KW_MESSAGE_SIZE)
#define SHORT_MAX_SHOWN 128

static const struct kw_json_limits limits = {.bytes = KW_RECORD_MAX, .depth = 4, .items = 64};

/* Begins a member where the object has some, and writes its name. */
static enum kw_status add_name(struct kw_buffer *out, const char *name, struct kw_error *err)
{
    bool first = out->len == 0 || out->data[out->len - 1] == '{';
    const char *before = first ? "\"" : ",\"";
    enum kw_status status;
    if ((status = kw_buffer_append(out, before, strlen(before), err)) ||
        (status = kw_buffer_append(out, name, strlen(name), err)))
        return status;
    return kw_buffer_append(out, "\":", 2, err);
}

static enum kw_status add_text(struct kw_buffer *out, const char *name, const char *text,
                               size_t max, struct kw_error *err)
{
    if (!text || !text[0])
        return KW_OK;
    enum kw_status status = add_name(out, name, err);
    return status ? status : kw_json_put_text(out, text, max, err);
}

static enum kw_status add_number(struct kw_buffer *out, const char *name, uint64_t number,
                                 struct kw_error *err)
{
    enum kw_status status = add_name(out, name, err);
    return status ? status : kw_buffer_printf(out, err, "%llu", (unsigned long long)number);
}

struct text_row {
    const char *name;
    const char *text;
    size_t max;
};

static enum kw_status add_texts(struct kw_buffer *out, const struct text_row *rows, size_t count,
                                struct kw_error *err)
{
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = add_text(out, rows[i].name, rows[i].text, rows[i].max, err);
    return status;
}

/* RFC 3339 in UTC with milliseconds. */
static void write_time(char out[KW_TIMESTAMP_SIZE + 4])
{
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_REALTIME, &now); /* Linux always has this clock */
    kw_timestamp(now.tv_sec, out);
    (void)snprintf(out + KW_TIMESTAMP_SIZE - 2, 6, ".%03uZ",
                   (unsigned)(now.tv_nsec / 1000000) % 1000);
}

static enum kw_status add_head(struct kw_buffer *out, const struct kw_stamp *stamp,
                               const struct kw_deed *deed, struct kw_error *err)
{
    static const char *const phases[] = {
        [KW_NO_PHASE] = NULL, [KW_INTENT] = "intent", [KW_OUTCOME] = "outcome"};
    char time[KW_TIMESTAMP_SIZE + 4];
    write_time(time);
    const struct text_row rows[] = {
        {"time", time, SHORT_MAX_SHOWN},
        {"run", deed->run, SHORT_MAX_SHOWN},
        {"phase", phases[deed->phase], SHORT_MAX_SHOWN},
        {"op", deed->op, SHORT_MAX_SHOWN},
        {"trail", stamp->trail, SHORT_MAX_SHOWN},
    };
    enum kw_status status = stamp->unnumbered ? KW_OK : add_number(out, "seq", stamp->seq, err);
    return status ? status : add_texts(out, rows, KW_COUNT(rows), err);
}

static enum kw_status add_who(struct kw_buffer *out, const struct kw_who *who, struct kw_error *err)
{
    const struct text_row before[] = {
        {"login", who->login, SHORT_MAX_SHOWN},
        {"host", who->host, SHORT_MAX_SHOWN},
    };
    const struct text_row after[] = {
        {"process", who->process, SHORT_MAX_SHOWN},
        {"parent", who->parent, SHORT_MAX_SHOWN},
    };
    enum kw_status status;
    if ((status = add_name(out, "who", err)) || (status = kw_buffer_append(out, "{", 1, err)) ||
        (status = add_number(out, "uid", who->uid, err)) ||
        (status = add_texts(out, before, KW_COUNT(before), err)) ||
        (status = add_number(out, "pid", (uint64_t)who->pid, err)) ||
        (status = add_texts(out, after, KW_COUNT(after), err)))
        return status;
    return kw_buffer_append(out, "}", 1, err);
}

/* An object of texts, where any of them is there. */
static enum kw_status add_object(struct kw_buffer *out, const char *name,
                                 const struct text_row *rows, size_t count, struct kw_error *err)
{
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any = any || (rows[i].text && rows[i].text[0]);
    enum kw_status status;
    if (!any)
        return KW_OK;
    if ((status = add_name(out, name, err)) || (status = kw_buffer_append(out, "{", 1, err)) ||
        (status = add_texts(out, rows, count, err)))
        return status;
    return kw_buffer_append(out, "}", 1, err);
}

static enum kw_status add_request(struct kw_buffer *out, const struct kw_deed *deed,
                                  struct kw_error *err)
{
    const struct text_row rows[] = {
        {"client", deed->request.client, SHORT_MAX_SHOWN},
        {"request", deed->request.request, SHORT_MAX_SHOWN},
        {"correlation", deed->request.correlation, SHORT_MAX_SHOWN},
        {"outer", deed->request.outer, SHORT_MAX_SHOWN},
        {"pool", deed->request.pool, SHORT_MAX_SHOWN},
    };
    return add_object(out, "request", rows, KW_COUNT(rows), err);
}

static enum kw_status add_key(struct kw_buffer *out, const struct kw_deed *deed,
                              struct kw_error *err)
{
    const struct text_row rows[] = {
        {"token", deed->key.token, SHORT_MAX_SHOWN},
        {"serial", deed->key.serial, SHORT_MAX_SHOWN},
        {"label", deed->key.label, TEXT_MAX_SHOWN},
        {"id", deed->key.id, TEXT_MAX_SHOWN},
        {"modulus_sha256", deed->key.modulus_sha256, SHORT_MAX_SHOWN},
        {"alg", deed->key.alg, SHORT_MAX_SHOWN},
    };
    return add_object(out, "key", rows, KW_COUNT(rows), err);
}

static enum kw_status add_what(struct kw_buffer *out, const struct kw_deed *deed,
                               struct kw_error *err)
{
    const struct text_row rows[] = {
        {"drop", deed->drop, PATH_MAX_SHOWN},
        {"file", deed->file, PATH_MAX_SHOWN},
        {"sha256", deed->sha256, SHORT_MAX_SHOWN},
    };
    enum kw_status status = add_texts(out, rows, KW_COUNT(rows), err);
    return status || !deed->has_bytes ? status : add_number(out, "bytes", deed->bytes, err);
}

static enum kw_status add_outcome(struct kw_buffer *out, const struct kw_deed *deed,
                                  struct kw_error *err)
{
    char ck_rv[24] = "";
    if (deed->ck_rv)
        (void)snprintf(ck_rv, sizeof(ck_rv), "0x%08lx", deed->ck_rv);
    const struct text_row rows[] = {
        {"status", deed->phase == KW_OUTCOME ? kw_status_name(deed->status) : NULL,
         SHORT_MAX_SHOWN},
        {"ck_rv", ck_rv, SHORT_MAX_SHOWN},
        {"detail", deed->detail, TEXT_MAX_SHOWN},
    };
    return add_texts(out, rows, KW_COUNT(rows), err);
}

enum kw_status kw_record_write(const struct kw_stamp *stamp, const struct kw_deed *deed,
                               struct kw_buffer *out, struct kw_error *err)
{
    struct kw_buffer line = KW_BUFFER_INIT(2 * KW_RECORD_MAX);
    enum kw_status status;
    if (!(status = kw_buffer_append(&line, "{", 1, err)) &&
        !(status = add_head(&line, stamp, deed, err)) &&
        !(status = add_who(&line, stamp->who, err)) && !(status = add_request(&line, deed, err)) &&
        !(status = add_key(&line, deed, err)) && !(status = add_what(&line, deed, err)) &&
        !(status = add_outcome(&line, deed, err)) &&
        !(status = kw_buffer_append(&line, "}\n", 2, err))) {
        if (line.len - 1 > KW_RECORD_MAX)
            status = kw_fail(err, KW_FAULT, "a record of the audit trail has %zu bytes", line.len);
        else
            status = kw_buffer_append(out, line.data, line.len, err);
    }
    kw_buffer_cleanup(&line);
    return status;
}

/* ---- reading ---- */

bool kw_record_seq(const char *line, size_t len, uint64_t *ret_seq)
{
    static const char start[] = "{\"seq\":";
    size_t at = sizeof(start) - 1;
    if (len < at + 3 || memcmp(line, start, at) != 0 || line[len - 1] != '}')
        return false;
    const char *comma = memchr(line + at, ',', len - at);
    return comma && kw_parse_number(line + at, (size_t)(comma - line) - at, ret_seq);
}

enum kw_status kw_record_parse(const char *line, size_t len, struct cJSON **ret_record,
                               struct kw_error *err)
{
    cJSON *record = NULL;
    enum kw_status status =
        kw_json_parse(line, len, &limits, "a record of the audit trail", KW_AUDIT, &record, err);
    if (status)
        return status;
    if (!cJSON_IsObject(record)) {
        cJSON_Delete(record);
        return kw_fail(err, KW_AUDIT, "a record of the audit trail is no JSON object");
    }
    *ret_record = record;
    return KW_OK;
}

static enum kw_status not_first(struct kw_error *err)
{
    return kw_fail(err, KW_AUDIT, "a record of the audit trail is not one that begins it");
}

enum kw_status kw_record_trail(const char *line, size_t len, char out[2 * KW_TRAIL_ID_SIZE + 1],
                               struct kw_error *err)
{
    uint8_t id[KW_TRAIL_ID_SIZE];
    size_t id_len = 0;
    uint64_t seq = 1;
    cJSON *record = NULL;
    if (!kw_record_seq(line, len, &seq) || seq != 0)
        return not_first(err);
    enum kw_status status = kw_record_parse(line, len, &record, err);
    if (status)
        return status;
    const char *op = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "op"));
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "trail"));
    bool good = op && text && strcmp(op, KW_TRAIL_BEGIN) == 0 && strlen(text) == sizeof(id) * 2 &&
                kw_hex_decode(text, sizeof(id) * 2, id, sizeof(id), &id_len);
    if (good)
        kw_hex_encode(id, sizeof(id), out);
    cJSON_Delete(record);
    return good ? KW_OK : not_first(err);
}
