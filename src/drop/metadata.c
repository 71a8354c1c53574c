/* metadata: the text of a drop's metadata files to an envelope. */
#include <string.h>
#include <strings.h>

#include "drop/metadata.h"

#define ERRORS_SHOWN 200

static const struct {
    const char *name;
    const char *path;
} formats[] = {
    [KW_DROP_DATA_CONNECT] = {"data-connect",
                              "metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json"},
    [KW_DROP_VIVA_INSIGHTS] = {"viva-insights", "metadata/JobMetadata/Metadata.json"},
};

const char *kw_drop_format_name(enum kw_drop_format format)
{
    return formats[format].name;
}

const char *kw_drop_metadata_path(enum kw_drop_format format)
{
    return formats[format].path;
}

/* One metadata file on its way; text is NULL where the drop has none of it. */
struct source {
    enum kw_drop_format format;
    const char *text;
    size_t len;
    cJSON *json;
    struct kw_key_list keys;
};

static enum kw_status parse_source(struct source *source, struct kw_error *err)
{
    static const struct kw_json_limits limits = {
        .bytes = KW_METADATA_MAX_BYTES,
        .depth = KW_METADATA_MAX_DEPTH,
        .items = KW_METADATA_MAX_ITEMS,
    };
    if (!source->text)
        return KW_OK;
    return kw_json_parse(source->text, source->len, &limits, kw_drop_metadata_path(source->format),
                         KW_METADATA, &source->json, err);
}

/* What writers put in a field that is to say "nothing", the blanks of kw_metadata_blank aside. */
static bool is_no_error(const cJSON *item)
{
    static const char *const nothing[] = {"null", "[]", "{}"};
    for (size_t i = 0; cJSON_IsString(item) && i < KW_COUNT(nothing); i++) {
        if (strcasecmp(item->valuestring, nothing[i]) == 0)
            return true;
    }
    return kw_metadata_blank(item) || cJSON_IsFalse(item) ||
           (cJSON_IsNumber(item) && item->valueint == 0 && item->valuedouble == 0);
}

/* A job that failed leaves no output that is worth decrypting. */
static enum kw_status check_job_errors(const cJSON *job, struct kw_error *err)
{
    const cJSON *item = cJSON_GetObjectItem(job, "Errors");
    if (is_no_error(item))
        return KW_OK;
    char *printed = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);
    const char *text = cJSON_IsString(item) ? item->valuestring : printed;
    if (!text)
        return kw_fail_memory(err);
    char shown[ERRORS_SHOWN];
    enum kw_status status =
        kw_fail(err, KW_METADATA,
                "the export job reported errors, there is no output: %s (in %s); run the export "
                "again",
                kw_printable(text, strlen(text), shown, sizeof(shown)),
                kw_drop_metadata_path(KW_DROP_VIVA_INSIGHTS));
    cJSON_free(printed);
    return status;
}

static enum kw_status read_source(struct source *source, struct kw_error *err)
{
    if (!source->json)
        return KW_OK;
    bool is_job = source->format == KW_DROP_VIVA_INSIGHTS;
    enum kw_status status = is_job ? check_job_errors(source->json, err) : KW_OK;
    if (status != KW_OK)
        return status;
    return kw_metadata_keys(source->json, is_job, kw_drop_metadata_path(source->format),
                            &source->keys, err);
}

/* Which file the envelope is taken from; NULL where none says anything of encryption. */
static enum kw_status choose_source(const struct source *details, const struct source *job,
                                    const struct source **ret_source, struct kw_error *err)
{
    const struct kw_key_entry *a = &details->keys.entry;
    const struct kw_key_entry *b = &job->keys.entry;
    if (details->keys.has_entry && job->keys.has_entry && kw_key_entry_difference(a, b))
        return kw_fail(err, KW_METADATA, "%s and %s contradict each other in %s" KW_METADATA_HINT,
                       kw_drop_metadata_path(details->format), kw_drop_metadata_path(job->format),
                       kw_key_entry_difference(a, b));
    const struct source *with_columns = details->keys.column_keys ? details : job;
    if (!details->keys.has_entry && !job->keys.has_entry && with_columns->keys.column_keys)
        return kw_fail(err, KW_METADATA,
                       "%s has Column keys only, and no File key to decrypt files "
                       "with" KW_METADATA_HINT,
                       kw_drop_metadata_path(with_columns->format));
    *ret_source = details->keys.has_entry ? details : job->keys.has_entry ? job : NULL;
    return KW_OK;
}

static enum kw_status fill_envelope(const struct source *source, size_t column_keys,
                                    struct kw_envelope *ret_envelope, struct kw_buffer *ret_wrapped,
                                    struct kw_error *err)
{
    const struct kw_key_entry *entry = &source->keys.entry;
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_RSA_MAX_BYTES);
    enum kw_status status = kw_buffer_append(&wrapped, entry->wrapped, entry->wrapped_len, err);
    if (status != KW_OK) {
        kw_buffer_cleanup(&wrapped);
        return status;
    }
    struct kw_envelope envelope = {
        .format = source->format,
        .metadata_path = kw_drop_metadata_path(source->format),
        .wrapped = wrapped.data,
        .wrapped_len = wrapped.len,
        .column_keys = column_keys,
    };
    memcpy(envelope.version, entry->version, sizeof(envelope.version));
    memcpy(envelope.iv, entry->iv, sizeof(envelope.iv));
    *ret_wrapped = wrapped;
    *ret_envelope = envelope;
    return KW_OK;
}

enum kw_status kw_metadata_parse(const struct kw_metadata_text *text, bool *ret_found,
                                 struct kw_envelope *ret_envelope, struct kw_buffer *ret_wrapped,
                                 struct kw_error *err)
{
    struct source details = {
        .format = KW_DROP_DATA_CONNECT, .text = text->details, .len = text->details_len};
    struct source job = {.format = KW_DROP_VIVA_INSIGHTS, .text = text->job, .len = text->job_len};
    const struct source *source = NULL;

    enum kw_status status = parse_source(&details, err);
    if (status == KW_OK)
        status = parse_source(&job, err);
    if (status == KW_OK)
        status = read_source(&job, err);
    if (status == KW_OK)
        status = read_source(&details, err);
    if (status == KW_OK)
        status = choose_source(&details, &job, &source, err);
    if (status == KW_OK && source) {
        /* Both files may list the same Column keys. */
        size_t column_keys = details.keys.column_keys > job.keys.column_keys
                                 ? details.keys.column_keys
                                 : job.keys.column_keys;
        status = fill_envelope(source, column_keys, ret_envelope, ret_wrapped, err);
    }
    if (status == KW_OK)
        *ret_found = source != NULL;
    cJSON_Delete(details.json);
    cJSON_Delete(job.json);
    return status;
}
