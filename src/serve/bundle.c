/* Key Vault's forms of what is known of a key. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "serve/internal.h"

void kw_write_kid(const struct kw_service *service, const struct kw_stored *stored,
                  char out[KW_KID_SIZE])
{
    (void)snprintf(out, KW_KID_SIZE, "https://%s/keys/%s/%s", service->host, stored->key->label,
                   stored->version);
}

bool kw_kid_parse(const struct kw_service *service, const char *kid, char name[KW_NAME_MAX + 1],
                  char version[KW_VERSION_DIGITS + 1])
{
    char prefix[KW_HOST_SIZE + 16];
    (void)snprintf(prefix, sizeof(prefix), "https://%s/keys/", service->host);
    size_t prefix_len = strlen(prefix);
    if (strncasecmp(kid, prefix, prefix_len) != 0)
        return false;
    kid += prefix_len;
    size_t len = strcspn(kid, "/");
    if (len > KW_NAME_MAX || kid[len] != '/' || strlen(kid + len + 1) != KW_VERSION_DIGITS)
        return false;
    memcpy(name, kid, len);
    name[len] = '\0';
    memcpy(version, kid + len + 1, KW_VERSION_DIGITS + 1);
    return true;
}

static void add_numbers(cJSON *key, const struct kw_rsa_public *public)
{
    kw_json_add_base64(key, "n", KW_BASE64URL, public->modulus, public->modulus_len);
    kw_json_add_base64(key, "e", KW_BASE64URL, public->exponent, public->exponent_len);
}

static void add_ops(cJSON *key, unsigned ops)
{
    cJSON *names = kw_json_add_array(key, "key_ops");
    for (unsigned i = 0; i < KW_OPS_COUNT; i++)
        if (ops & 1u << i)
            kw_json_add_text(names, NULL, kw_key_op_name((enum kw_key_op)(1u << i)));
}

static void add_time(cJSON *json, const char *name, int64_t when)
{
    if (when)
        kw_json_add_number(json, name, (double)when);
}

/* Key Vault's words for whether a deleted key can be purged before its time, and how long that is.
 */
static const char *recovery_level(const struct kw_config *config, long days)
{
    bool customized = days < 90;
    if (config->life.purge_protection == KW_YES)
        return customized ? "CustomizedRecoverable" : "Recoverable";
    return customized ? "CustomizedRecoverable+Purgeable" : "Recoverable+Purgeable";
}

static void add_attributes(cJSON *json, const struct kw_call *call, const struct kw_stored *stored)
{
    const struct kw_keyring *keyring = kw_store_keyring(call->service->store);
    long days = kw_keyring_retention_days(keyring);
    cJSON *attributes = kw_json_add_object(json, "attributes");
    enum kw_key_state state = kw_key_state(stored->record);
    bool enabled =
        state == KW_KEY_ENABLED || (state == KW_KEY_DELETED && !stored->record->disabled);
    kw_json_add_bool(attributes, "enabled", enabled);
    add_time(attributes, "nbf", kw_stored_not_before(stored));
    add_time(attributes, "exp", kw_stored_expires(stored));
    kw_json_add_number(attributes, "created", (double)kw_stored_created(stored));
    kw_json_add_number(attributes, "updated", (double)kw_stored_updated(stored));
    kw_json_add_text(attributes, "recoveryLevel", recovery_level(kw_keyring_config(keyring), days));
    kw_json_add_number(attributes, "recoverableDays", (double)days);
    kw_json_add_bool(attributes, "exportable", stored->key->extractable);
}

static void add_tags(cJSON *json, const struct kw_stored *stored)
{
    const cJSON *tags = stored->record->tags;
    kw_json_add(json, "tags", tags ? cJSON_Duplicate(tags, true) : cJSON_CreateObject());
}

struct cJSON *kw_bundle(const struct kw_call *call, const struct kw_stored *stored)
{
    char kid[KW_KID_SIZE];
    cJSON *json = cJSON_CreateObject();
    cJSON *key = kw_json_add_object(json, "key");
    kw_write_kid(call->service, stored, kid);
    kw_json_add_text(key, "kid", kid);
    kw_json_add_text(key, "kty", "RSA-HSM");
    add_ops(key, kw_stored_ops(stored));
    add_numbers(key, &stored->key->public);
    add_attributes(json, call, stored);
    add_tags(json, stored);
    return json;
}

static void add_deletion(cJSON *json, const struct kw_call *call, const struct kw_stored *stored)
{
    char id[KW_KID_SIZE];
    (void)snprintf(id, sizeof(id), "https://%s/deletedkeys/%s", call->service->host,
                   stored->key->label);
    kw_json_add_text(json, "recoveryId", id);
    kw_json_add_number(json, "deletedDate", (double)kw_time_of(stored->record->deleted));
    kw_json_add_number(json, "scheduledPurgeDate", (double)kw_time_of(stored->record->purge_after));
}

struct cJSON *kw_deleted_bundle(const struct kw_call *call, const struct kw_stored *stored)
{
    cJSON *json = kw_bundle(call, stored);
    add_deletion(json, call, stored);
    return json;
}

struct cJSON *kw_key_item(const struct kw_call *call, const struct kw_stored *stored,
                          bool versioned)
{
    char kid[KW_KID_SIZE];
    cJSON *json = cJSON_CreateObject();
    (void)snprintf(kid, sizeof(kid), "https://%s/keys/%s%s%s", call->service->host,
                   stored->key->label, versioned ? "/" : "", versioned ? stored->version : "");
    kw_json_add_text(json, "kid", kid);
    add_attributes(json, call, stored);
    add_tags(json, stored);
    if (kw_stored_is_deleted(stored))
        add_deletion(json, call, stored);
    return json;
}

/* ---- what a request says of a key ---- */

enum kw_status kw_ops_parse(struct kw_call *call, const struct cJSON *names, unsigned *ret_ops,
                            struct kw_error *err)
{
    unsigned ops = 0;
    bool good = cJSON_IsArray(names) && names->child;
    for (const cJSON *name = good ? names->child : NULL; name; name = name->next) {
        enum kw_key_op op = 0;
        good = good && cJSON_IsString(name) && kw_key_op_parse(name->valuestring, &op);
        ops |= (unsigned)op;
    }
    if (!good)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"key_ops\" of the request has to be an array of encrypt, "
                              "decrypt, sign, verify, wrapKey, unwrapKey.");
    *ret_ops = ops;
    return KW_OK;
}

static enum kw_status parse_flag(struct kw_call *call, const cJSON *attributes, const char *name,
                                 enum kw_tristate *ret_flag, struct kw_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(attributes, name);
    if (!item || cJSON_IsNull(item))
        return KW_OK;
    if (!cJSON_IsBool(item))
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"%s\" of the request has to be true or false.", name);
    *ret_flag = cJSON_IsTrue(item) ? KW_YES : KW_NO;
    return KW_OK;
}

static enum kw_status parse_time(struct kw_call *call, const cJSON *attributes, const char *name,
                                 int64_t *place, const int64_t **ret_time, struct kw_error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(attributes, name);
    if (!item || cJSON_IsNull(item))
        return KW_OK;
    enum kw_status status = kw_body_number(call, attributes, name, 0, KW_SECONDS_MAX, place, err);
    if (!status)
        *ret_time = place;
    return status;
}

static enum kw_status parse_attributes(struct kw_call *call, struct kw_parsed_settings *parsed,
                                       struct kw_error *err)
{
    const cJSON *attributes = NULL;
    enum kw_tristate exportable = KW_UNSET;
    enum kw_status status = kw_body_object(call, "attributes", &attributes, err);
    if (status || !attributes)
        return status;
    if ((status = parse_flag(call, attributes, "enabled", &parsed->settings.enabled, err)) ||
        (status = parse_flag(call, attributes, "exportable", &exportable, err)) ||
        (status = parse_time(call, attributes, "nbf", &parsed->not_before,
                             &parsed->settings.not_before, err)) ||
        (status =
             parse_time(call, attributes, "exp", &parsed->expires, &parsed->settings.expires, err)))
        return status;
    parsed->exportable = exportable == KW_YES;
    if (parsed->settings.not_before && parsed->settings.expires && parsed->expires &&
        parsed->not_before >= parsed->expires)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"exp\" of the request has to be after \"nbf\".");
    return KW_OK;
}

static enum kw_status parse_tags(struct kw_call *call, struct kw_parsed_settings *parsed,
                                 struct kw_error *err)
{
    const cJSON *tags = NULL;
    enum kw_status status = kw_body_object(call, "tags", &tags, err);
    if (status || !tags)
        return status;
    int count = 0;
    bool good = true;
    for (const cJSON *tag = tags->child; tag; tag = tag->next) {
        good = good && ++count <= KW_TAGS_MAX && cJSON_IsString(tag) &&
               strlen(tag->string) <= KW_TAG_TEXT_MAX &&
               strlen(tag->valuestring) <= KW_TAG_TEXT_MAX;
    }
    if (!good)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"tags\" of the request has to be an object of at most %d "
                              "texts, with names and values of at most %d bytes.",
                              KW_TAGS_MAX, KW_TAG_TEXT_MAX);
    parsed->settings.tags = tags;
    return KW_OK;
}

enum kw_status kw_settings_parse(struct kw_call *call, struct kw_parsed_settings *parsed,
                                 struct kw_error *err)
{
    const cJSON *ops = cJSON_GetObjectItemCaseSensitive(call->body, "key_ops");
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(call->body, "key");
    enum kw_status status = KW_OK;
    *parsed = (struct kw_parsed_settings){.exportable = false};
    if (!ops && cJSON_IsObject(key)) /* of an import */
        ops = cJSON_GetObjectItemCaseSensitive(key, "key_ops");
    if (ops && !cJSON_IsNull(ops) && !(cJSON_IsArray(ops) && !ops->child)) {
        status = kw_ops_parse(call, ops, &parsed->ops, err);
        if (!status)
            parsed->settings.ops = &parsed->ops;
    }
    if (!status)
        status = parse_attributes(call, parsed, err);
    return status ? status : parse_tags(call, parsed, err);
}
