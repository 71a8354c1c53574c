/* format: records for programs that collect those of many others. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "audit/internal.h"

/* RFC 5424 section 6.2.1: 6 is informational, 4 a warning. */
#define SEVERITY_GOOD 6
#define SEVERITY_BAD  4
#define HOSTNAME_MAX  255
#define PROCID_MAX    128
#define MSGID_MAX     32

/* The text at "NAME" or "OBJECT.NAME"; NULL where there is none. */
static const char *text_at(const cJSON *record, const char *object, const char *name)
{
    const cJSON *in = object ? cJSON_GetObjectItemCaseSensitive(record, object) : record;
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(in, name));
}

static bool number_at(const cJSON *record, const char *object, const char *name,
                      uint64_t *ret_number)
{
    const cJSON *in = object ? cJSON_GetObjectItemCaseSensitive(record, object) : record;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(in, name);
    if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > 9007199254740991.0)
        return false;
    *ret_number = (uint64_t)item->valuedouble;
    return true;
}

static bool is_bad(const cJSON *record)
{
    const char *status = text_at(record, NULL, "status");
    return status && strcmp(status, kw_status_name(KW_OK)) != 0;
}

int kw_record_severity(const cJSON *record)
{
    return is_bad(record) ? SEVERITY_BAD : SEVERITY_GOOD;
}

/* ---- syslog, RFC 5424 ---- */

/* Section 6: printable US-ASCII without spaces, and "-" for what is not known. */
static enum kw_status add_word(struct kw_buffer *out, const char *text, size_t max,
                               struct kw_error *err)
{
    char word[HOSTNAME_MAX + 1];
    size_t len = 0;
    for (; text && text[len] && len < max; len++)
        word[len] = text[len] > ' ' && text[len] < 0x7F ? text[len] : '?';
    word[len] = '\0';
    return kw_buffer_printf(out, err, "%s ", len > 0 ? word : "-");
}

enum kw_status kw_record_syslog(const char *line, size_t len, struct kw_buffer *ret_text,
                                struct kw_error *err)
{
    cJSON *record = NULL;
    struct kw_buffer out = KW_BUFFER_INIT(KW_FORMAT_MAX);
    uint64_t number = 0;
    char pid[24] = "";
    enum kw_status status = kw_record_parse(line, len, &record, err);
    if (status)
        return status;
    if (number_at(record, "who", "pid", &number))
        (void)snprintf(pid, sizeof(pid), "%llu", (unsigned long long)number);
    if (!(status = kw_buffer_printf(&out, err, "<%d>1 ",
                                    KW_SYSLOG_FACILITY * 8 + kw_record_severity(record))) &&
        !(status = add_word(&out, text_at(record, NULL, "time"), HOSTNAME_MAX, err)) &&
        !(status = add_word(&out, text_at(record, "who", "host"), HOSTNAME_MAX, err)) &&
        !(status = kw_buffer_printf(&out, err, "keyward ")) &&
        !(status = add_word(&out, pid, PROCID_MAX, err)) &&
        !(status = add_word(&out, text_at(record, NULL, "op"), MSGID_MAX, err)) &&
        !(status = kw_buffer_printf(&out, err, "- ")) &&
        !(status = kw_buffer_append(&out, line, len, err)))
        status = kw_buffer_append(ret_text, out.data, out.len, err);
    kw_buffer_cleanup(&out);
    cJSON_Delete(record);
    return status;
}

/* ---- ArcSight's Common Event Format ---- */

/* A backslash before each of `special`; what breaks lines is a space. */
static enum kw_status add_escaped(struct kw_buffer *out, const char *text, const char *special,
                                  struct kw_error *err)
{
    enum kw_status status = KW_OK;
    for (; *text && !status; text++) {
        char byte = *text == '\n' || *text == '\r' ? ' ' : *text;
        if (strchr(special, byte))
            status = kw_buffer_append(out, "\\", 1, err);
        if (!status)
            status = kw_buffer_append(out, &byte, 1, err);
    }
    return status;
}

static enum kw_status add_field(struct kw_buffer *out, const char *name, const char *text,
                                struct kw_error *err)
{
    if (!text || !text[0])
        return KW_OK;
    bool first = out->data[out->len - 1] == '|';
    enum kw_status status = kw_buffer_printf(out, err, "%s%s=", first ? "" : " ", name);
    return status ? status : add_escaped(out, text, "\\=", err);
}

/* Milliseconds since 1970, which need no time zone. */
static bool epoch_ms(const char *time, char out[32])
{
    struct tm utc = {.tm_sec = 0};
    const char *rest = time ? strptime(time, "%Y-%m-%dT%H:%M:%S", &utc) : NULL;
    if (!rest || rest[0] != '.' || strspn(rest + 1, "0123456789") != 3)
        return false;
    (void)snprintf(out, 32, "%lld%.3s", (long long)timegm(&utc), rest + 1);
    return true;
}

static const struct cef_row {
    const char *name;   /* CEF's key */
    const char *label;  /* of a custom string */
    const char *object; /* where the record has it */
    const char *member;
} cef_rows[] = {
    {"suser", NULL, "who", "login"},
    {"dvchost", NULL, "who", "host"},
    {"sproc", NULL, "who", "process"},
    {"outcome", NULL, NULL, "status"},
    {"filePath", NULL, NULL, "file"},
    {"fileHash", NULL, NULL, "sha256"},
    {"reason", NULL, NULL, "ck_rv"},
    {"cs1", "run", NULL, "run"},
    {"cs2", "keyLabel", "key", "label"},
    {"cs3", "keyId", "key", "id"},
    {"cs4", "token", "key", "token"},
    {"cs5", "drop", NULL, "drop"},
    {"cs6", "modulusSha256", "key", "modulus_sha256"},
    {"requestClientApplication", NULL, "request", "client"},
    {"requestContext", NULL, "request", "request"},
    {"flexString1", "correlation", "request", "correlation"},
    {"flexString2", "outerRequest", "request", "outer"},
    {"sourceServiceName", NULL, "request", "pool"},
    {"msg", NULL, NULL, "detail"},
};

static const struct cef_number {
    const char *name;
    const char *object;
    const char *member;
} cef_numbers[] = {
    {"externalId", NULL, "seq"},
    {"suid", "who", "uid"},
    {"spid", "who", "pid"},
    {"fsize", NULL, "bytes"},
};

static enum kw_status add_fields(struct kw_buffer *out, const cJSON *record, struct kw_error *err)
{
    char text[32] = "";
    enum kw_status status = KW_OK;
    if (epoch_ms(text_at(record, NULL, "time"), text))
        status = add_field(out, "rt", text, err);
    for (size_t i = 0; i < KW_COUNT(cef_numbers) && !status; i++) {
        uint64_t number = 0;
        if (!number_at(record, cef_numbers[i].object, cef_numbers[i].member, &number))
            continue;
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
        status = add_field(out, cef_numbers[i].name, text, err);
    }
    for (size_t i = 0; i < KW_COUNT(cef_rows) && !status; i++) {
        const struct cef_row *row = &cef_rows[i];
        const char *value = text_at(record, row->object, row->member);
        char label[32];
        (void)snprintf(label, sizeof(label), "%sLabel", row->name);
        if (row->label && value)
            status = add_field(out, label, row->label, err);
        if (!status)
            status = add_field(out, row->name, value, err);
    }
    return status;
}

enum kw_status kw_record_cef(const char *line, size_t len, struct kw_buffer *ret_text,
                             struct kw_error *err)
{
    cJSON *record = NULL;
    struct kw_buffer out = KW_BUFFER_INIT(KW_FORMAT_MAX);
    enum kw_status status = kw_record_parse(line, len, &record, err);
    if (status)
        return status;
    const char *op = text_at(record, NULL, "op");
    const char *phase = text_at(record, NULL, "phase");
    if (!(status = kw_buffer_printf(&out, err, "CEF:0|Keyward|keyward|%s|", KW_VERSION)) &&
        !(status = add_escaped(&out, op ? op : "unknown", "\\|", err)) &&
        !(status = kw_buffer_append(&out, "|", 1, err)) &&
        !(status = add_escaped(&out, op ? op : "unknown", "\\|", err)) &&
        !(status = kw_buffer_printf(&out, err, "%s", phase ? " " : "")) &&
        !(status = add_escaped(&out, phase ? phase : "", "\\|", err)) &&
        !(status = kw_buffer_printf(&out, err, "|%d|", is_bad(record) ? 7 : 3)) &&
        !(status = add_fields(&out, record, err)))
        status = kw_buffer_append(ret_text, out.data, out.len, err);
    kw_buffer_cleanup(&out);
    cJSON_Delete(record);
    return status;
}
