/* What Key Vault knows of a key besides: its operations, its time window, its tags and its rotation
 * policy; whether they make sense, and what they come to on a token. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define SECONDS_A_DAY 86400
#define ALL_OPS       ((1U << KW_OPS_COUNT) - 1)

/* ---- operations ---- */

static const struct op_row {
    enum kw_key_op op;
    const char *name;
} op_rows[KW_OPS_COUNT] = {
    {KW_OP_ENCRYPT, "encrypt"}, {KW_OP_DECRYPT, "decrypt"}, {KW_OP_SIGN, "sign"},
    {KW_OP_VERIFY, "verify"},   {KW_OP_WRAP, "wrapKey"},    {KW_OP_UNWRAP, "unwrapKey"},
    {KW_OP_IMPORT, "import"},   {KW_OP_EXPORT, "export"},
};

const char *kw_key_op_name(enum kw_key_op op)
{
    for (size_t i = 0; i < KW_COUNT(op_rows); i++)
        if (op_rows[i].op == op)
            return op_rows[i].name;
    return "unknown";
}

bool kw_key_op_parse(const char *name, enum kw_key_op *ret_op)
{
    for (size_t i = 0; i < KW_COUNT(op_rows); i++)
        if (strcmp(op_rows[i].name, name) == 0) {
            *ret_op = op_rows[i].op;
            return true;
        }
    return false;
}

struct cJSON *kw_ops_to_json(unsigned ops)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < KW_COUNT(op_rows); i++)
        if (ops & op_rows[i].op)
            kw_json_add_text(array, NULL, op_rows[i].name);
    return array;
}

bool kw_ops_from_json(const struct cJSON *array, unsigned *ret_ops)
{
    unsigned ops = 0;
    enum kw_key_op op;
    if (!cJSON_IsArray(array) || !array->child)
        return false;
    for (const cJSON *item = array->child; item; item = item->next) {
        const char *name = cJSON_GetStringValue(item);
        if (!name || !kw_key_op_parse(name, &op) || (ops & op))
            return false;
        ops |= op;
    }
    *ret_ops = ops;
    return true;
}

void kw_record_uses(const struct kw_key_record *record, struct kw_use_flags *ret_uses)
{
    unsigned ops = record->ops ? record->ops : ALL_OPS;
    bool enabled = kw_key_state(record) == KW_KEY_ENABLED;
    /* Data keys are unwrapped by C_Decrypt. */
    *ret_uses = (struct kw_use_flags){
        .decrypt = enabled && record->decrypt && (ops & (KW_OP_DECRYPT | KW_OP_UNWRAP)),
        .unwrap = enabled && record->unwrap && (ops & (KW_OP_UNWRAP | KW_OP_IMPORT)),
        .sign = enabled && record->sign == KW_YES && (ops & KW_OP_SIGN)};
}

struct kw_use_flags kw_version_made_for(const struct kw_token_key *key,
                                        const struct kw_key_record *record)
{
    bool good = record->state == KW_RECORD_GOOD;
    return (struct kw_use_flags){.decrypt = key->decrypt || (good && record->decrypt),
                                 .unwrap = key->unwrap || (good && record->unwrap),
                                 .sign = key->sign || (good && record->sign == KW_YES)};
}

unsigned kw_version_ops(const struct kw_version *version)
{
    const struct kw_use_flags made = kw_version_made_for(version->key, version->record);
    unsigned ops = 0;
    if (made.decrypt)
        ops |= KW_OP_ENCRYPT | KW_OP_DECRYPT | KW_OP_WRAP | KW_OP_UNWRAP;
    if (made.sign)
        ops |= KW_OP_SIGN | KW_OP_VERIFY;
    if (made.unwrap && (!made.decrypt || version->record->ops))
        ops |= KW_OP_IMPORT;
    if (version->key->extractable && version->record->ops)
        ops |= KW_OP_EXPORT;
    return version->record->ops ? ops & version->record->ops : ops;
}

/* ---- dates ---- */

enum kw_validity kw_version_validity(const struct kw_version *version, time_t now)
{
    const struct kw_key_record *record = version->record;
    struct kw_token_key key = {.id_len = 0};
    if (record->not_before && now < record->not_before)
        return KW_NOT_YET_VALID;
    if (record->expires && now >= record->expires)
        return KW_EXPIRED;
    if (!record->not_before)
        memcpy(key.not_before, version->key->not_before, sizeof(key.not_before));
    if (!record->expires)
        memcpy(key.expires, version->key->expires, sizeof(key.expires));
    return kw_key_validity(&key, now);
}

static void day_of(int64_t seconds, char out[KW_DAY_SIZE])
{
    char timestamp[KW_TIMESTAMP_SIZE];
    kw_timestamp((time_t)seconds, timestamp);
    memcpy(out, timestamp, KW_DAY_SIZE - 1);
    out[KW_DAY_SIZE - 1] = '\0';
}

void kw_first_day(int64_t not_before, char out[KW_DAY_SIZE])
{
    out[0] = '\0';
    if (not_before)
        day_of(not_before, out);
}

/* Before its first day nothing ends: such a key is valid for a part of that day. */
void kw_last_day(int64_t expires, const char *first, char out[KW_DAY_SIZE])
{
    out[0] = '\0';
    if (!expires)
        return;
    day_of(expires - expires % SECONDS_A_DAY - SECONDS_A_DAY, out);
    if (first[0] && strcmp(out, first) < 0)
        memcpy(out, first, KW_DAY_SIZE);
}

/* ---- whether they make sense ---- */

static enum kw_status check_times(const struct kw_key_settings *settings, struct kw_error *err)
{
    const int64_t *const times[] = {settings->not_before, settings->expires};
    for (size_t i = 0; i < KW_COUNT(times); i++)
        if (times[i] && (*times[i] < 0 || *times[i] > KW_SECONDS_MAX))
            return kw_fail(err, KW_USAGE,
                           "a key's %s is a unix time in seconds, up to the year 9999",
                           i ? "expiry" : "begin");
    return KW_OK;
}

bool kw_is_tag_text(const char *text, size_t len)
{
    bool printable = len <= KW_TAG_TEXT_MAX && kw_utf8_valid(text, len);
    for (size_t i = 0; i < len && printable; i++)
        printable = (unsigned char)text[i] >= ' ' && text[i] != 0x7f;
    return printable;
}

/* Letter case aside, as the parser that reads them back compares names. */
static bool is_first_of_name(const cJSON *tags, const cJSON *tag)
{
    return cJSON_GetObjectItem(tags, tag->string) == tag;
}

static enum kw_status check_tags(const cJSON *tags, struct kw_error *err)
{
    if (!tags)
        return KW_OK;
    if (!cJSON_IsObject(tags))
        return kw_fail(err, KW_USAGE, "a key's tags are an object of strings");
    if (cJSON_GetArraySize(tags) > KW_TAGS_MAX)
        return kw_fail(err, KW_USAGE, "a key has at most %d tags; leave some away", KW_TAGS_MAX);
    for (const cJSON *tag = tags->child; tag; tag = tag->next) {
        const char *value = cJSON_GetStringValue(tag);
        if (!value || !tag->string[0] || !kw_is_tag_text(tag->string, strlen(tag->string)) ||
            !kw_is_tag_text(value, strlen(value)))
            return kw_fail(err, KW_USAGE,
                           "a tag's name and value are text of at most %d printable bytes, and a "
                           "name has at least one",
                           KW_TAG_TEXT_MAX);
        if (!is_first_of_name(tags, tag))
            return kw_fail(err, KW_USAGE,
                           "two tags have the same name, letter case aside; keep one of them");
    }
    return KW_OK;
}

/* What cJSON may use more while it prints. */
#define PRINT_SLACK 64

static bool print_policy(const cJSON *policy, char text[KW_POLICY_MAX + PRINT_SLACK])
{
    return cJSON_IsObject(policy) &&
           cJSON_PrintPreallocated((cJSON *)policy, text, KW_POLICY_MAX + PRINT_SLACK, false) &&
           strlen(text) <= KW_POLICY_MAX;
}

bool kw_policy_fits(const struct cJSON *policy)
{
    char text[KW_POLICY_MAX + PRINT_SLACK];
    return print_policy(policy, text);
}

static enum kw_status check_policy(const cJSON *policy, struct kw_error *err)
{
    static const struct kw_json_limits limits = {
        .bytes = KW_POLICY_MAX, .depth = KW_POLICY_DEPTH, .items = KW_POLICY_ITEMS};
    char text[KW_POLICY_MAX + PRINT_SLACK];
    cJSON *parsed = NULL;
    if (!policy)
        return KW_OK;
    if (!print_policy(policy, text))
        return kw_fail(err, KW_USAGE, "a rotation policy is an object of at most %d bytes of text",
                       KW_POLICY_MAX);
    enum kw_status status =
        kw_json_parse(text, strlen(text), &limits, "the rotation policy", KW_USAGE, &parsed, err);
    cJSON_Delete(parsed);
    return status;
}

enum kw_status kw_settings_check(const struct kw_key_settings *settings, struct kw_error *err)
{
    if (!settings)
        return KW_OK;
    if (settings->ops && *settings->ops & ~ALL_OPS)
        return kw_fail(err, KW_USAGE, "0x%x has operations that a key does not have",
                       *settings->ops);
    enum kw_status status = check_times(settings, err);
    if (!status)
        status = check_tags(settings->tags, err);
    return status ? status : check_policy(settings->policy, err);
}

/* ---- putting them into a record ---- */

/* Takes the place of *object; an empty one is none. */
static enum kw_status replace(cJSON **object, const cJSON *wanted, struct kw_error *err)
{
    if (!wanted)
        return KW_OK;
    cJSON *copy = wanted->child ? cJSON_Duplicate(wanted, true) : NULL;
    if (wanted->child && !copy)
        return kw_fail_memory(err);
    cJSON_Delete(*object);
    *object = copy;
    return KW_OK;
}

enum kw_status kw_record_apply(struct kw_key_record *record, const struct kw_key_settings *settings,
                               struct kw_error *err)
{
    if (settings->ops)
        record->ops = *settings->ops;
    if (settings->not_before)
        record->not_before = *settings->not_before;
    if (settings->expires)
        record->expires = *settings->expires;
    if (settings->enabled != KW_UNSET)
        record->disabled = settings->enabled == KW_NO;
    if (record->not_before && record->expires && record->expires <= record->not_before)
        return kw_fail(err, KW_USAGE,
                       "a key can't expire before it is valid; give a later expiry or an earlier "
                       "begin");
    enum kw_status status = replace(&record->tags, settings->tags, err);
    return status ? status : replace(&record->policy, settings->policy, err);
}
