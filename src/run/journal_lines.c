/* What a journal says: a first line on the run, then a line for each step of a file. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define JOURNAL_SCHEMA "keyward-journal-1"
/* What a double holds exactly; more bytes than that no file has. */
#define NUMBER_MAX ((double)(UINT64_C(1) << 53))

/* ---- the first line ---- */

/* What has to be the same for a run to go on; `status` and `what` are for where it isn't. */
static const struct {
    const char *name;
    enum kw_status status;
    const char *what;
} same[] = {
    {"envelope_sha256", KW_DROP, "a drop with another data key or IV"},
    {"paths_sha256", KW_DROP, "a drop with other files"},
    {"decompress", KW_USAGE, "a run with another --decompress"},
    {"digest", KW_USAGE, "a run with another --digest"},
    {"with_metadata", KW_USAGE, "a run with another --with-metadata"},
    {"copy_unencrypted", KW_USAGE, "a run with another --copy-unencrypted"},
    {"include_sha256", KW_USAGE, "a run with another --include"},
    {"exclude_sha256", KW_USAGE, "a run with another --exclude"},
    {"to_command", KW_USAGE, "a run that was begun without --exec, or with it"},
};

static enum kw_status add_digest(cJSON *json, const char *name, struct kw_digest *digest,
                                 struct kw_error *err)
{
    uint8_t sha256[KW_SHA256_SIZE];
    enum kw_status status = kw_digest_finish(digest, sha256, err);
    if (!status)
        kw_json_add_hex(json, name, sha256, sizeof(sha256));
    return status;
}

/* With the NUL, so that no two lists of texts are the same bytes. */
static enum kw_status digest_text(struct kw_digest *digest, const char *text, struct kw_error *err)
{
    return kw_digest_update(digest, text, strlen(text) + 1, err);
}

static enum kw_status add_texts(cJSON *json, const char *name, struct kw_digest *digest,
                                const char *const *texts, size_t count, struct kw_error *err)
{
    enum kw_status status = kw_digest_start(digest, err);
    for (size_t i = 0; i < count && !status; i++)
        status = digest_text(digest, texts[i], err);
    return status ? status : add_digest(json, name, digest, err);
}

static enum kw_status add_paths(cJSON *json, const char *name, struct kw_digest *digest,
                                const struct kw_drop *drop, struct kw_error *err)
{
    enum kw_status status = kw_digest_start(digest, err);
    for (size_t i = 0; i < kw_drop_file_count(drop) && !status; i++)
        status = digest_text(digest, kw_drop_file_at(drop, i)->path, err);
    return status ? status : add_digest(json, name, digest, err);
}

static enum kw_status add_envelope(cJSON *json, const char *name, struct kw_digest *digest,
                                   const struct kw_envelope *envelope, struct kw_error *err)
{
    enum kw_status status;
    if ((status = kw_digest_start(digest, err)) ||
        (status = digest_text(digest, envelope->version, err)) ||
        (status = kw_digest_update(digest, envelope->iv, sizeof(envelope->iv), err)) ||
        (status = kw_digest_update(digest, envelope->wrapped, envelope->wrapped_len, err)))
        return status;
    return add_digest(json, name, digest, err);
}

static enum kw_status describe(const struct kw_run *run, struct kw_digest *digest, cJSON *json,
                               struct kw_error *err)
{
    const struct kw_decrypt_options *options = run->options;
    kw_json_add_text(json, "schema", JOURNAL_SCHEMA);
    kw_json_add_text(json, "run_id", run->id);
    kw_json_add_number(json, "started", (double)run->started);
    kw_json_add_text(json, "key_version", kw_drop_envelope(run->drop)->version);
    kw_json_add_text(json, "decompress", run->settings.gzip ? "auto" : "none");
    kw_json_add_text(json, "digest", run->settings.digest ? "sha256" : "none");
    kw_json_add_bool(json, "with_metadata", options->with_metadata != 0);
    kw_json_add_bool(json, "copy_unencrypted", options->copy_unencrypted != 0);
    kw_json_add_bool(json, "to_command", run->launcher >= 0);
    kw_json_add(json, "key", kw_run_describe_key(run));
    enum kw_status status;
    if ((status =
             add_envelope(json, "envelope_sha256", digest, kw_drop_envelope(run->drop), err)) ||
        (status = add_paths(json, "paths_sha256", digest, run->drop, err)) ||
        (status = add_texts(json, "include_sha256", digest, options->include,
                            options->include_count, err)))
        return status;
    return add_texts(json, "exclude_sha256", digest, options->exclude, options->exclude_count, err);
}

enum kw_status kw_journal_describe(const struct kw_run *run, cJSON **ret_json, struct kw_error *err)
{
    cJSON *json = cJSON_CreateObject();
    struct kw_digest *digest = NULL;
    enum kw_status status = json ? KW_OK : kw_fail_memory(err);
    if (!status)
        status = kw_digest_new(kw_keyring_crypto(run->keyring), &digest, err);
    if (!status)
        status = describe(run, digest, json, err);
    kw_digest_free(digest);
    if (!status && cJSON_IsInvalid(json)) /* it is compared, not only written */
        status = kw_fail_memory(err);
    if (status)
        cJSON_Delete(json);
    else
        *ret_json = json;
    return status;
}

static const cJSON *member(const cJSON *json, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(json, name);
}

static bool read_double(const cJSON *json, const char *name, double least, double *ret_number)
{
    const cJSON *item = member(json, name);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= least && item->valuedouble <= NUMBER_MAX))
        return false;
    *ret_number = item->valuedouble;
    return true;
}

static bool read_number(const cJSON *json, const char *name, uint64_t *ret_number)
{
    double number = 0;
    if (!read_double(json, name, 0, &number))
        return false;
    *ret_number = (uint64_t)number;
    return true;
}

/* The run becomes the one that was interrupted. */
static bool take_identity(struct kw_run *run, const cJSON *header)
{
    const char *id = cJSON_GetStringValue(member(header, "run_id"));
    double started = 0; /* may be before 1970 where the clock was wrong */
    uint8_t bytes[16];
    size_t len = 0;
    const cJSON *key = member(header, "key");
    if (!id || !kw_hex_decode(id, strlen(id), bytes, sizeof(bytes), &len) || len != sizeof(bytes) ||
        !read_double(header, "started", -NUMBER_MAX, &started))
        return false;
    kw_hex_encode(bytes, sizeof(bytes), run->id);
    run->started = (time_t)started;
    if (cJSON_IsObject(key))
        run->journal.key = cJSON_PrintUnformatted(key);
    return true;
}

enum kw_status kw_journal_check_header(struct kw_run *run, const cJSON *header,
                                       struct kw_error *err)
{
    char shown[256];
    cJSON *wanted = NULL;
    const char *schema = cJSON_GetStringValue(member(header, "schema"));
    kw_printable(run->out_dir, strlen(run->out_dir), shown, sizeof(shown));
    bool known = schema && strcmp(schema, JOURNAL_SCHEMA) == 0;
    enum kw_status status = kw_journal_describe(run, &wanted, err);
    for (size_t i = 0; i < KW_COUNT(same) && !status && known; i++)
        if (!cJSON_Compare(member(wanted, same[i].name), member(header, same[i].name), true))
            status = kw_fail(err, same[i].status,
                             "the journal in %s is of %s; go on with what it was begun with, or "
                             "start anew with --force",
                             shown, same[i].what);
    if (!status && (!known || !take_identity(run, header)))
        status = kw_fail(err, KW_READ,
                         "the journal in %s is damaged or of another version of keyward; start "
                         "anew with --force",
                         shown);
    if (!status && cJSON_IsObject(member(header, "key")) && !run->journal.key)
        status = kw_fail_memory(err);
    cJSON_Delete(wanted);
    return status;
}

/* ---- the lines of the files ---- */

#define STAMP_SIZE 48

static bool read_stamp(const cJSON *json, const char *name, struct timespec *ret_stamp)
{
    const char *text = cJSON_GetStringValue(member(json, name));
    char *end = NULL;
    if (!text || strlen(text) >= STAMP_SIZE)
        return false;
    intmax_t seconds = strtoimax(text, &end, 10);
    if (end == text || *end != '.')
        return false;
    const char *fraction = end + 1;
    long nanoseconds = strtol(fraction, &end, 10);
    if (end != fraction + 9 || *end != '\0' || nanoseconds < 0)
        return false;
    *ret_stamp = (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds};
    return true;
}

/* Numbers that may be over 2^53 are texts. */
static enum kw_status put_outcome(const struct run_file *file, struct kw_buffer *out,
                                  struct kw_error *err)
{
    char sha256[2 * KW_SHA256_SIZE + 1];
    const struct stamp *source = &file->source;
    enum kw_status status = kw_buffer_printf(
        out, err,
        ",\"mtime\":\"%" PRIdMAX ".%09ld\",\"ctime\":\"%" PRIdMAX ".%09ld\",\"size\":%" PRIu64
        ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"crc32\":%" PRIu32
        ",\"milliseconds\":%" PRIu64,
        (intmax_t)source->content.tv_sec, source->content.tv_nsec,
        (intmax_t)source->anything.tv_sec, source->anything.tv_nsec, source->size, file->bytes_in,
        file->bytes_out, file->crc32, file->milliseconds);
    if (status || !file->has_sha256)
        return status;
    kw_hex_encode(file->sha256, sizeof(file->sha256), sha256);
    return kw_buffer_printf(out, err, ",\"sha256\":\"%s\"", sha256);
}

enum kw_status kw_journal_line(const struct run_file *file, size_t index, struct kw_buffer *out,
                               struct kw_error *err)
{
    enum kw_status status = kw_buffer_printf(out, err, "{\"file\":%zu,\"path\":", index);
    if (!status)
        status = kw_json_put_text(out, file->file->path, KW_JSON_SHOWN_MAX, err);
    if (!status && file->inode != 0)
        status = kw_buffer_printf(out, err, ",\"inode\":\"%" PRIu64 "\"", file->inode);
    if (!status)
        status =
            kw_buffer_printf(out, err, ",\"status\":\"%s\"", kw_file_status_word(file->status));
    if (!status && file->status != KW_FILE_FAILED)
        status = put_outcome(file, out, err);
    return status ? status : kw_buffer_append(out, "}\n", 2, err);
}

enum kw_status kw_journal_recorded_line(const size_t *files, size_t count, struct kw_buffer *out,
                                        struct kw_error *err)
{
    enum kw_status status = kw_buffer_printf(out, err, "{\"recorded\":[");
    for (size_t i = 0; i < count && !status; i++)
        status = kw_buffer_printf(out, err, i ? ",%zu" : "%zu", files[i]);
    return status ? status : kw_buffer_append(out, "]}\n", 3, err);
}

static bool read_sha256(const cJSON *line, struct run_file *file)
{
    const char *text = cJSON_GetStringValue(member(line, "sha256"));
    size_t len = 0;
    file->has_sha256 = text != NULL;
    return !text || (kw_hex_decode(text, strlen(text), file->sha256, sizeof(file->sha256), &len) &&
                     len == sizeof(file->sha256));
}

/* Of a file that is done. */
static bool read_outcome(const cJSON *line, struct run_file *file)
{
    uint64_t crc32 = 0;
    if (!read_stamp(line, "mtime", &file->source.content) ||
        !read_stamp(line, "ctime", &file->source.anything) ||
        !read_number(line, "size", &file->source.size) ||
        !read_number(line, "bytes_in", &file->bytes_in) ||
        !read_number(line, "bytes_out", &file->bytes_out) || !read_number(line, "crc32", &crc32) ||
        !read_number(line, "milliseconds", &file->milliseconds) || crc32 > UINT32_MAX ||
        !read_sha256(line, file))
        return false;
    file->crc32 = (uint32_t)crc32;
    return true;
}

static bool read_status(const cJSON *line, enum kw_file_status *ret_status)
{
    const char *word = cJSON_GetStringValue(member(line, "status"));
    for (unsigned i = 0; word && i <= KW_FILE_FAILED; i++) {
        if (strcmp(word, kw_file_status_word((enum kw_file_status)i)) == 0) {
            *ret_status = (enum kw_file_status)i;
            return true;
        }
    }
    return false;
}

static bool take_recorded(struct kw_run *run, const cJSON *recorded)
{
    const cJSON *item = NULL;
    cJSON_ArrayForEach(item, recorded)
    {
        if (!cJSON_IsNumber(item) ||
            !(item->valuedouble >= 0 && item->valuedouble < (double)run->file_count))
            return false;
        run->files[(size_t)item->valuedouble].recorded = true;
    }
    return true;
}

bool kw_journal_take_line(struct kw_run *run, const cJSON *line)
{
    uint64_t index = 0;
    const cJSON *recorded = member(line, "recorded");
    if (recorded)
        return take_recorded(run, recorded);
    if (!read_number(line, "file", &index) || index >= run->file_count)
        return false;
    struct run_file *file = &run->files[index];
    const struct run_file fresh = {
        .file = file->file, .work = file->work, .status = KW_FILE_NOT_REACHED};
    struct run_file taken = fresh;
    const char *inode = cJSON_GetStringValue(member(line, "inode"));
    if (inode)
        taken.inode = strtoull(inode, NULL, 10);
    /* In journals of earlier versions a file that gets its name has no more than that yet. */
    if (member(line, "status") || !inode) {
        if (!read_status(line, &taken.status))
            return false;
        if (taken.status == KW_FILE_FAILED)
            taken = fresh;
        else if (read_outcome(line, &taken))
            taken.listed = true;
        else
            return false;
    }
    *file = taken;
    return true;
}
