/* What a record says, as JSON. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define SCHEMA       "keyward-record-1"
#define REVISION_MAX 1000000000
static const struct kw_json_limits limits = {.bytes = KW_DATA_MAX, .depth = 3, .items = 200};

static const char *const origin_names[KW_ORIGIN_COUNT] = {
    [KW_ORIGIN_UNKNOWN] = "unknown", [KW_ORIGIN_TOKEN] = "token",   [KW_ORIGIN_FILE] = "file",
    [KW_ORIGIN_BYOK] = "byok",       [KW_ORIGIN_BACKUP] = "backup",
};

const char *kw_origin_name(enum kw_origin origin)
{
    return (size_t)origin < KW_ORIGIN_COUNT ? origin_names[origin] : "unknown";
}

void kw_key_record_cleanup(struct kw_key_record *record)
{
    cJSON_Delete(record->tags);
    *record = (struct kw_key_record){.state = KW_RECORD_NONE};
}

/* ---- states ---- */

enum kw_key_state kw_key_state(const struct kw_key_record *record)
{
    if (record->state == KW_RECORD_BAD)
        return KW_KEY_RECORD_BAD;
    if (record->deleted[0])
        return KW_KEY_DELETED;
    return record->disabled ? KW_KEY_DISABLED : KW_KEY_ENABLED;
}

const char *kw_key_state_name(enum kw_key_state state)
{
    static const char *const names[] = {[KW_KEY_ENABLED] = "enabled",
                                        [KW_KEY_DISABLED] = "disabled",
                                        [KW_KEY_DELETED] = "deleted",
                                        [KW_KEY_RECORD_BAD] = "record bad"};
    return names[state];
}

/* ---- the fields ---- */

/* All but the schema, the key's names, its origin and its tags. */
enum field_type { AS_TEXT, AS_TIME, AS_BOOL };
static const struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    size_t size;
} fields[] = {
#define FIELD(name, type, member)                                                                  \
    {                                                                                              \
        name, type, offsetof(struct kw_key_record, member),                                        \
            sizeof(((struct kw_key_record *)NULL)->member)                                         \
    }
    FIELD("made_on", AS_TEXT, made_on),         FIELD("created", AS_TIME, created),
    FIELD("disabled", AS_BOOL, disabled),       FIELD("deleted", AS_TIME, deleted),
    FIELD("purge_after", AS_TIME, purge_after), FIELD("purge_protected", AS_BOOL, purge_protected),
    FIELD("backed_up", AS_TIME, backed_up),     FIELD("decrypt", AS_BOOL, decrypt),
    FIELD("unwrap", AS_BOOL, unwrap),
#undef FIELD
};

static void add_field(cJSON *json, const struct field *field, const struct kw_key_record *record)
{
    const char *at = (const char *)record + field->offset;
    if (field->type == AS_BOOL)
        kw_json_add_bool(json, field->name, *(const bool *)(const void *)at);
    else
        kw_json_add_text(json, field->name, at);
}

static bool is_time(const char *text)
{
    static const char form[] = "0000-00-00T00:00:00Z";
    if (text[0] == '\0')
        return true;
    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < sizeof(form) - 1; i++)
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    return true;
}

static bool read_field(const cJSON *json, const struct field *field, struct kw_key_record *record)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, field->name);
    char *at = (char *)record + field->offset;
    if (field->type == AS_BOOL) {
        *(bool *)(void *)at = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    }
    const char *text = cJSON_GetStringValue(item);
    size_t len = text ? strlen(text) : 0;
    if (!text || len >= field->size || (field->type == AS_TIME && !is_time(text)))
        return false;
    memcpy(at, text, len + 1);
    return true;
}

/* ---- the whole ---- */

static cJSON *make(const struct kw_key_record *record, const struct kw_token_key *key,
                   const char *fingerprint)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(key->id, key->id_len, id);
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "schema", SCHEMA);
    kw_json_add_text(json, "modulus_sha256", fingerprint);
    kw_json_add_text(json, "id", id);
    kw_json_add_number(json, "revision", (double)record->revision);
    kw_json_add_text(json, "origin", kw_origin_name(record->origin));
    for (size_t i = 0; i < KW_COUNT(fields); i++)
        add_field(json, &fields[i], record);
    kw_json_add(json, "tags",
                record->tags ? cJSON_Duplicate(record->tags, true) : cJSON_CreateObject());
    return json;
}

enum kw_status kw_record_encode(const struct kw_key_record *record, const struct kw_token_key *key,
                                const char *fingerprint, struct kw_buffer *ret_text,
                                struct kw_error *err)
{
    cJSON *json = make(record, key, fingerprint);
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    size_t len = text ? strlen(text) : 0;
    enum kw_status status;
    if (!text)
        status = kw_fail_memory(err);
    else if (len > ret_text->max - ret_text->len)
        status = kw_fail(err, KW_USAGE,
                         "a key's tags take more than the %zu bytes that its record "
                         "has room for; shorten them",
                         ret_text->max);
    else
        status = kw_buffer_append(ret_text, text, len, err);
    cJSON_free(text);
    cJSON_Delete(json);
    return status;
}

static bool read_origin(const cJSON *json, struct kw_key_record *record)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "origin"));
    for (size_t i = 0; i < KW_ORIGIN_COUNT && name; i++)
        if (strcmp(name, origin_names[i]) == 0) {
            record->origin = (enum kw_origin)i;
            return true;
        }
    return false;
}

static bool read_tags(cJSON *json, struct kw_key_record *record)
{
    const cJSON *tags = cJSON_GetObjectItemCaseSensitive(json, "tags");
    if (!cJSON_IsObject(tags) || cJSON_GetArraySize(tags) > KW_TAGS_MAX)
        return false;
    for (const cJSON *tag = tags->child; tag; tag = tag->next)
        if (!cJSON_IsString(tag))
            return false;
    if (tags->child)
        record->tags = cJSON_DetachItemFromObjectCaseSensitive(json, "tags");
    return true;
}

static bool read_all(cJSON *json, const char *fingerprint, struct kw_key_record *record)
{
    const char *schema = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "schema"));
    const char *modulus =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "modulus_sha256"));
    const cJSON *revision = cJSON_GetObjectItemCaseSensitive(json, "revision");
    if (!schema || strcmp(schema, SCHEMA) != 0 || !modulus || strcmp(modulus, fingerprint) != 0 ||
        !cJSON_IsNumber(revision) || revision->valueint < 1 || revision->valueint > REVISION_MAX ||
        revision->valuedouble > revision->valueint)
        return false;
    record->revision = revision->valueint;
    for (size_t i = 0; i < KW_COUNT(fields); i++)
        if (!read_field(json, &fields[i], record))
            return false;
    return read_origin(json, record) && read_tags(json, record);
}

enum kw_status kw_record_decode(const char *text, size_t len, const char *fingerprint,
                                struct kw_key_record *record, struct kw_error *err)
{
    cJSON *json = NULL;
    enum kw_status status = kw_json_parse(text, len, &limits, "a record", KW_DAMAGED, &json, err);
    if (status)
        return status;
    bool read = read_all(json, fingerprint, record);
    cJSON_Delete(json);
    if (!read) {
        kw_key_record_cleanup(record);
        return kw_fail(err, KW_DAMAGED, "a record is not one of this key");
    }
    record->state = KW_RECORD_GOOD;
    return KW_OK;
}
