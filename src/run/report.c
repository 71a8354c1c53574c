/* The report of a run as one JSON document, written file by file so that a million of them need no
 * memory. */
#include <cjson/cJSON.h>
#include <string.h>

#include "internal.h"

#define REPORT_SCHEMA "keyward-report-1"
#define FLUSH_AT      (64 * 1024)

struct writer {
    int fd;
    const char *what;
    struct kw_buffer buffer;
    struct kw_error *err;
    enum kw_status status; /* the first failure; later calls do nothing */
};

static void flush(struct writer *writer)
{
    if (!writer->status && writer->buffer.len > 0)
        writer->status = kw_write_full(writer->fd, writer->buffer.data, writer->buffer.len,
                                       writer->what, writer->err);
    writer->buffer.len = 0;
}

static void put_text(struct writer *writer, const char *text)
{
    if (!writer->status)
        writer->status = kw_buffer_append(&writer->buffer, text, strlen(text), writer->err);
    if (writer->buffer.len >= FLUSH_AT)
        flush(writer);
}

/* Takes the object over. */
static void put_json(struct writer *writer, cJSON *json)
{
    if (writer->status)
        cJSON_Delete(json);
    else
        writer->status = kw_json_write(json, KW_JSON_COMPACT, &writer->buffer, writer->err);
}

static void add_number(cJSON *json, const char *name, uint64_t value)
{
    kw_json_add_number(json, name, (double)value);
}

static cJSON *describe_error(enum kw_status status, const char *message)
{
    if (!status)
        return cJSON_CreateNull();
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "status", kw_status_name(status));
    kw_json_add_text(json, "message", message ? message : "out of memory");
    return json;
}

static cJSON *describe_drop(const struct kw_run *run)
{
    cJSON *json = cJSON_CreateObject();
    const struct kw_envelope *envelope = run->drop ? kw_drop_envelope(run->drop) : NULL;
    kw_json_add_text(json, "path", run->drop_path);
    kw_json_add_text(json, "format", envelope ? kw_drop_format_name(envelope->format) : NULL);
    kw_json_add_text(json, "key_version", envelope ? envelope->version : NULL);
    return json;
}

cJSON *kw_run_describe_key(const struct kw_run *run)
{
    const struct kw_token_key *key = run->unlocked.key;
    if (!key && run->journal.key)
        return cJSON_Parse(run->journal.key);
    const struct kw_token_info *token = NULL;
    uint8_t fingerprint[KW_SHA256_SIZE];
    if (!key)
        return cJSON_CreateNull();
    if (kw_keyring_token_of(run->keyring, key, &token, NULL) ||
        kw_sha256(kw_keyring_crypto(run->keyring), key->public.modulus, key->public.modulus_len,
                  fingerprint, NULL))
        return NULL; /* the token was there already, so it is memory that isn't */
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "token", token->label);
    kw_json_add_text(json, "token_serial", token->serial);
    kw_json_add_text(json, "label", key->label);
    kw_json_add_hex(json, "id", key->id, key->id_len);
    add_number(json, "bits", kw_rsa_bits(&key->public));
    kw_json_add_hex(json, "modulus_sha256", fingerprint, sizeof(fingerprint));
    kw_json_add_text(json, "not_before", key->not_before[0] ? key->not_before : NULL);
    kw_json_add_text(json, "expires", key->expires[0] ? key->expires : NULL);
    kw_json_add_text(json, "algorithm",
                     run->unwrapped ? kw_wrap_alg_name(run->unlocked.data_key.alg) : NULL);
    return json;
}

const char *kw_file_status_word(enum kw_file_status status)
{
    static const char *const words[] = {
        [KW_FILE_DECRYPTED] = "decrypted",     [KW_FILE_COPIED] = "copied",
        [KW_FILE_UNENCRYPTED] = "unencrypted", [KW_FILE_FAILED] = "failed",
        [KW_FILE_NOT_REACHED] = "not-reached",
    };
    return words[status];
}

static cJSON *describe_file(const struct run_file *file)
{
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "path", file->file->path);
    kw_json_add_text(json, "status", kw_file_status_word(file->status));
    add_number(json, "bytes_in", file->bytes_in);
    add_number(json, "bytes_out", file->bytes_out);
    if (file->has_sha256)
        kw_json_add_hex(json, "sha256", file->sha256, sizeof(file->sha256));
    else
        kw_json_add_text(json, "sha256", NULL);
    add_number(json, "milliseconds", file->milliseconds);
    kw_json_add(json, "error", describe_error(file->failure, file->message));
    return json;
}

static cJSON *describe_totals(const struct kw_run *run)
{
    struct kw_totals totals;
    kw_run_totals(run, &totals);
    cJSON *json = cJSON_CreateObject();
    add_number(json, "files", totals.files);
    add_number(json, "decrypted", totals.decrypted);
    add_number(json, "copied", totals.copied);
    add_number(json, "unencrypted", totals.unencrypted);
    add_number(json, "failed", totals.failed);
    add_number(json, "not_reached", totals.not_reached);
    add_number(json, "bytes_in", totals.bytes_in);
    add_number(json, "bytes_out", totals.bytes_out);
    add_number(json, "milliseconds", totals.milliseconds);
    return json;
}

static cJSON *describe_warnings(const struct kw_run *run)
{
    cJSON *json = cJSON_CreateArray();
    for (size_t i = 0; i < run->warnings.count; i++)
        kw_json_add_text(json, NULL, run->warnings.items[i]);
    return json;
}

static cJSON *describe_run(const struct kw_run *run, const struct kw_error *outcome)
{
    char started[KW_TIMESTAMP_SIZE];
    kw_timestamp(run->started, started);
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "schema", REPORT_SCHEMA);
    kw_json_add_text(json, "operation", "decrypt");
    kw_json_add_text(json, "run_id", run->id);
    kw_json_add_text(json, "tool_version", kw_version());
    kw_json_add_text(json, "started", started);
    kw_json_add_text(json, "status", kw_status_name(outcome ? outcome->status : KW_OK));
    add_number(json, "exit_code", (uint64_t)kw_exit_code(outcome ? outcome->status : KW_OK));
    kw_json_add(json, "error",
                outcome ? describe_error(outcome->status, outcome->message) : cJSON_CreateNull());
    kw_json_add_text(json, "output", run->out_dir);
    kw_json_add(json, "drop", describe_drop(run));
    kw_json_add(json, "key", kw_run_describe_key(run));
    kw_json_add(json, "warnings", describe_warnings(run));
    kw_json_add(json, "totals", describe_totals(run));
    return json;
}

/* The document is the run's own object with the files put in before its last brace. */
enum kw_status kw_run_write_report(const struct kw_run *run, const struct kw_error *outcome, int fd,
                                   const char *what, struct kw_error *err)
{
    struct writer writer = {
        .fd = fd, .what = what, .buffer = KW_BUFFER_INIT(1024 * 1024), .err = err};
    put_json(&writer, describe_run(run, outcome));
    if (!writer.status)
        writer.buffer.len--;
    put_text(&writer, ",\n\"files\":[");
    for (size_t i = 0; i < run->file_count && !writer.status; i++) {
        put_text(&writer, i ? ",\n" : "\n");
        put_json(&writer, describe_file(&run->files[i]));
    }
    put_text(&writer, "\n]}\n");
    flush(&writer);
    kw_buffer_cleanup(&writer.buffer);
    return writer.status;
}
