/* What a record says, as JSON. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* A program that knows the first one alone would drop what the second one says besides when it
 * writes the record anew, and with it what the key may no longer do. So it is not to read that. */
#define SCHEMA       "keyward-record-1"
#define SCHEMA_MORE  "keyward-record-2"
#define REVISION_MAX 1000000000
static const struct kw_json_limits limits = {
    .bytes = KW_DATA_MAX, .depth = KW_POLICY_DEPTH + 1, .items = 200 + KW_POLICY_ITEMS};

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
    cJSON_Delete(record->policy);
    *record = (struct kw_key_record){.state = KW_RECORD_NONE};
}

enum kw_status kw_key_record_copy(const struct kw_key_record *record,
                                  struct kw_key_record *ret_copy, struct kw_error *err)
{
    struct kw_key_record copy = *record;
    copy.tags = record->tags ? cJSON_Duplicate(record->tags, true) : NULL;
    copy.policy = record->policy ? cJSON_Duplicate(record->policy, true) : NULL;
    if ((record->tags && !copy.tags) || (record->policy && !copy.policy)) {
        kw_key_record_cleanup(&copy);
        return kw_fail_memory(err);
    }
    *ret_copy = copy;
    return KW_OK;
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

/* All but the schema, the key's names, its origin, its operations, its tags and its policy. What
 * records did not always have may be absent, and is not written where it says nothing. */
enum field_type { AS_TEXT, AS_TIME, AS_BOOL, AS_TIME_IF_SET, AS_BOOL_IF_SET, AS_SECONDS_IF_SET };
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
    FIELD("made_on", AS_TEXT, made_on),
    FIELD("created", AS_TIME, created),
    FIELD("disabled", AS_BOOL, disabled),
    FIELD("deleted", AS_TIME, deleted),
    FIELD("purge_after", AS_TIME, purge_after),
    FIELD("purge_protected", AS_BOOL, purge_protected),
    FIELD("backed_up", AS_TIME, backed_up),
    FIELD("decrypt", AS_BOOL, decrypt),
    FIELD("unwrap", AS_BOOL, unwrap),
    FIELD("sign", AS_BOOL_IF_SET, sign),
    FIELD("updated", AS_TIME_IF_SET, updated),
    FIELD("not_before", AS_SECONDS_IF_SET, not_before),
    FIELD("expires", AS_SECONDS_IF_SET, expires),
#undef FIELD
};

static void add_tristate(cJSON *json, const char *name, enum kw_tristate value)
{
    if (value != KW_UNSET)
        kw_json_add_bool(json, name, value == KW_YES);
}

static void add_field(cJSON *json, const struct field *field, const struct kw_key_record *record)
{
    const char *at = (const char *)record + field->offset;
    switch (field->type) {
    case AS_BOOL:
        kw_json_add_bool(json, field->name, *(const bool *)(const void *)at);
        break;
    case AS_BOOL_IF_SET:
        add_tristate(json, field->name, *(const enum kw_tristate *)(const void *)at);
        break;
    case AS_SECONDS_IF_SET:
        if (*(const int64_t *)(const void *)at)
            kw_json_add_number(json, field->name, (double)*(const int64_t *)(const void *)at);
        break;
    case AS_TIME_IF_SET:
        if (at[0])
            kw_json_add_text(json, field->name, at);
        break;
    case AS_TEXT:
    case AS_TIME:
        kw_json_add_text(json, field->name, at);
        break;
    }
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

static bool read_seconds(const cJSON *item, int64_t *ret_seconds)
{
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 1) || item->valuedouble > KW_SECONDS_MAX ||
        (double)(int64_t)item->valuedouble != item->valuedouble)
        return false;
    *ret_seconds = (int64_t)item->valuedouble;
    return true;
}

static bool read_text(const cJSON *item, const struct field *field, char *at)
{
    const char *text = cJSON_GetStringValue(item);
    size_t len = text ? strlen(text) : 0;
    if (!text || len >= field->size || (field->type != AS_TEXT && !is_time(text)))
        return false;
    memcpy(at, text, len + 1);
    return true;
}

static bool read_field(const cJSON *json, const struct field *field, struct kw_key_record *record)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, field->name);
    char *at = (char *)record + field->offset;
    if (!item && field->type >= AS_TIME_IF_SET)
        return true;
    switch (field->type) {
    case AS_BOOL:
        *(bool *)(void *)at = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    case AS_BOOL_IF_SET:
        *(enum kw_tristate *)(void *)at = cJSON_IsTrue(item) ? KW_YES : KW_NO;
        return cJSON_IsBool(item);
    case AS_SECONDS_IF_SET:
        return read_seconds(item, (int64_t *)(void *)at);
    case AS_TIME_IF_SET:
    case AS_TEXT:
    case AS_TIME:
        break;
    }
    return read_text(item, field, at);
}

/* ---- the whole ---- */

static cJSON *make(const struct kw_key_record *record, const struct kw_token_key *key,
                   const char *fingerprint)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(key->id, key->id_len, id);
    cJSON *json = cJSON_CreateObject();
    bool more = record->ops || record->not_before || record->expires || record->policy;
    kw_json_add_text(json, "schema", more ? SCHEMA_MORE : SCHEMA);
    kw_json_add_text(json, "modulus_sha256", fingerprint);
    kw_json_add_text(json, "id", id);
    kw_json_add_number(json, "revision", (double)record->revision);
    kw_json_add_text(json, "origin", kw_origin_name(record->origin));
    for (size_t i = 0; i < KW_COUNT(fields); i++)
        add_field(json, &fields[i], record);
    if (record->ops)
        kw_json_add(json, "key_ops", kw_ops_to_json(record->ops));
    kw_json_add(json, "tags",
                record->tags ? cJSON_Duplicate(record->tags, true) : cJSON_CreateObject());
    if (record->policy)
        kw_json_add(json, "policy", cJSON_Duplicate(record->policy, true));
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
                         "a key's tags and policy take more than the %zu bytes that its record "
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

static bool read_ops(const cJSON *json, struct kw_key_record *record)
{
    const cJSON *ops = cJSON_GetObjectItemCaseSensitive(json, "key_ops");
    return !ops || kw_ops_from_json(ops, &record->ops);
}

static bool read_policy(cJSON *json, struct kw_key_record *record)
{
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(json, "policy");
    if (policy && !kw_policy_fits(policy))
        return false;
    if (policy)
        record->policy = cJSON_DetachItemFromObjectCaseSensitive(json, "policy");
    return true;
}

static bool is_schema(const char *schema)
{
    return schema && (strcmp(schema, SCHEMA) == 0 || strcmp(schema, SCHEMA_MORE) == 0);
}

static bool read_all(cJSON *json, const char *fingerprint, struct kw_key_record *record)
{
    const char *schema = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "schema"));
    const char *modulus =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "modulus_sha256"));
    const cJSON *revision = cJSON_GetObjectItemCaseSensitive(json, "revision");
    if (!is_schema(schema) || !modulus || strcmp(modulus, fingerprint) != 0 ||
        !cJSON_IsNumber(revision) || revision->valueint < 1 || revision->valueint > REVISION_MAX ||
        revision->valuedouble > revision->valueint)
        return false;
    record->revision = revision->valueint;
    for (size_t i = 0; i < KW_COUNT(fields); i++)
        if (!read_field(json, &fields[i], record))
            return false;
    return read_origin(json, record) && read_ops(json, record) && read_tags(json, record) &&
           read_policy(json, record);
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
