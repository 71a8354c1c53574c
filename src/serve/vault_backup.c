/* The Key Vault API: backups of keys with all their versions, and back. What is handed out is a
 * list of Keyward's own backups, each wrapped under the key that [service] backup-kek names. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byok/byok.h"
#include "serve/internal.h"

#define SET_SCHEMA   "keyward-backup-set-1"
#define VERSIONS_MAX 64
#define SET_MAX      ((size_t)128 * 1024)
static const struct kw_json_limits limits = {.bytes = SET_MAX, .depth = 8, .items = 10000};

struct work {
    struct kw_call *call;
    struct kw_kek kek;
    cJSON *set;
};

static enum kw_status find_kek(struct kw_keyring *keyring, struct work *work, struct kw_error *err)
{
    const char *uri = work->call->policy->config.service.backup_kek;
    if (!uri)
        return kw_call_refuse(
            work->call, KW_REFUSE_NOT_SUPPORTED, KW_KEY_UNUSABLE, err,
            "There are no backups here: no key is configured to seal them under.");
    return kw_keyring_find_kek(keyring, uri, &work->kek, err);
}

/* ---- backup ---- */

static void add_settings(cJSON *entry, const struct kw_key_record *record)
{
    kw_json_add_number(entry, "ops", record->ops);
    kw_json_add_number(entry, "not_before", (double)record->not_before);
    kw_json_add_number(entry, "expires", (double)record->expires);
    if (record->tags)
        kw_json_add(entry, "tags", cJSON_Duplicate(record->tags, true));
    if (record->policy)
        kw_json_add(entry, "policy", cJSON_Duplicate(record->policy, true));
}

static enum kw_status back_up(struct kw_keyring *keyring, struct work *work,
                              const struct kw_version *version, cJSON *keys, struct kw_error *err)
{
    struct kw_backup backup = {.ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    struct kw_sealed_key sealed = {.mechanism = ""};
    struct kw_buffer text = KW_BUFFER_INIT(KW_BACKUP_MAX_BYTES);
    enum kw_status status;
    if (!(status = kw_backup_describe(keyring, version->key, &work->kek, &backup, err)) &&
        !(status = kw_keyring_backup(keyring, version->key, &work->kek, &sealed, err))) {
        backup.ciphertext = sealed.wrapped;
        status = kw_backup_write(&backup, &text, err);
    }
    if (!status)
        status = kw_buffer_append(&text, "", 1, err);
    if (!status) {
        cJSON *entry = cJSON_CreateObject();
        kw_json_add_text(entry, "backup", (const char *)text.data);
        add_settings(entry, version->record);
        kw_json_add(keys, NULL, entry);
        status = kw_keyring_note_backup(keyring, version->key, err);
    }
    kw_buffer_cleanup(&text);
    kw_backup_cleanup(&backup);
    return status;
}

static enum kw_status backup_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct work *work = context;
    struct kw_version *versions = NULL;
    size_t count = 0, done = 0;
    cJSON *keys = kw_json_add_array(work->set, "keys");
    enum kw_status status = find_kek(keyring, work, err);
    if (!status)
        status = kw_store_versions(keyring, work->call->name, NULL, &versions, &count, err);
    if (!status && count > VERSIONS_MAX)
        status = kw_call_refuse(work->call, KW_REFUSE_NOT_SUPPORTED, KW_KEY_UNUSABLE, err,
                                "The key has more than the %d versions that a backup takes.",
                                VERSIONS_MAX);
    for (size_t i = 0; i < count && !status; i++)
        if (kw_key_state(versions[i].record) != KW_KEY_DELETED) {
            status = back_up(keyring, work, &versions[i], keys, err);
            done++;
        }
    free(versions);
    if (!status && done == 0)
        status = kw_call_no_key(work->call, "", err);
    return status;
}

enum kw_status kw_backup_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct work work = {.call = call, .set = cJSON_CreateObject()};
    struct kw_buffer text = KW_BUFFER_INIT(SET_MAX);
    kw_json_add_text(work.set, "schema", SET_SCHEMA);
    enum kw_status status = kw_call_change(call, backup_now, &work, err);
    if (status) {
        cJSON_Delete(work.set);
        return status;
    }
    status = kw_json_write(work.set, KW_JSON_COMPACT, &text, err);
    if (!status) {
        *ret_json = cJSON_CreateObject();
        kw_json_add_base64(*ret_json, "value", KW_BASE64URL, text.data, text.len);
    }
    kw_buffer_cleanup(&text);
    return status;
}

/* ---- restore ---- */

static enum kw_status bad_backup(struct kw_call *call, struct kw_error *err)
{
    return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                          "Property \"value\" of the request is no backup of a key from here.");
}

static enum kw_status parse_set(struct work *work, struct kw_error *err)
{
    const char *value = NULL;
    struct kw_buffer text = KW_BUFFER_INIT(SET_MAX + 4);
    size_t len = 0;
    enum kw_status status = kw_body_text(work->call, "value", true, &value, err);
    if (status)
        return status;
    size_t room = KW_BASE64_DECODED_MAX(strlen(value));
    if (room > text.max)
        return bad_backup(work->call, err);
    status = kw_buffer_reserve(&text, room, err);
    if (!status && (!kw_base64_decode(KW_BASE64URL, value, strlen(value), text.data, room, &len) ||
                    kw_json_parse((const char *)text.data, len, &limits, "the backup", KW_USAGE,
                                  &work->set, NULL)))
        status = bad_backup(work->call, err);
    kw_buffer_cleanup(&text);
    return status;
}

static const cJSON *entries(const cJSON *set)
{
    const char *schema = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(set, "schema"));
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(set, "keys");
    int count = cJSON_IsArray(keys) ? cJSON_GetArraySize(keys) : 0;
    return schema && strcmp(schema, SET_SCHEMA) == 0 && count >= 1 && count <= VERSIONS_MAX ? keys
                                                                                            : NULL;
}

struct settings {
    struct kw_key_settings changes;
    unsigned ops;
    int64_t ops_number, not_before, expires;
};

static enum kw_status read_settings(struct kw_call *call, const cJSON *entry,
                                    struct settings *settings, struct kw_error *err)
{
    const cJSON *tags = cJSON_GetObjectItemCaseSensitive(entry, "tags");
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(entry, "policy");
    enum kw_status status;
    if ((status = kw_body_number(call, entry, "ops", 0, 255, &settings->ops_number, err)) ||
        (status = kw_body_number(call, entry, "not_before", 0, KW_SECONDS_MAX,
                                 &settings->not_before, err)) ||
        (status =
             kw_body_number(call, entry, "expires", 0, KW_SECONDS_MAX, &settings->expires, err)))
        return status;
    settings->ops = (unsigned)settings->ops_number;
    settings->changes = (struct kw_key_settings){
        .ops = settings->ops ? &settings->ops : NULL,
        .not_before = settings->not_before ? &settings->not_before : NULL,
        .expires = settings->expires ? &settings->expires : NULL,
        .tags = cJSON_IsObject(tags) ? tags : NULL,
        .policy = cJSON_IsObject(policy) ? policy : NULL,
    };
    return KW_OK;
}

static enum kw_status restore_one(struct kw_keyring *keyring, struct work *work,
                                  const struct kw_backup *backup, const struct settings *settings,
                                  struct kw_error *err)
{
    struct kw_token_key made;
    const struct kw_key_plan plan = {
        .use = kw_use_of(settings->ops),
        .label = backup->key.name,
        .id = backup->key.id,
        .id_len = backup->key.id_len,
        .bits = backup->key.bits,
        .not_before = backup->key.not_before,
        .expires = backup->key.expires,
        .extractable = backup->key.extractable,
    };
    if (work->call->restored[0] == '\0')
        (void)snprintf(work->call->restored, sizeof(work->call->restored), "%.*s", KW_NAME_MAX,
                       backup->key.name);
    if (strcmp(work->call->restored, backup->key.name) != 0)
        return bad_backup(work->call, err);
    return kw_keyring_restore(keyring, &work->kek, backup->ciphertext.data, backup->ciphertext.len,
                              backup->key.fingerprint, &plan, &settings->changes, &made, err);
}

/* `keyring` NULL: only looks whether it is one. */
static enum kw_status restore_entry(struct kw_keyring *keyring, struct work *work,
                                    const cJSON *entry, struct kw_error *err)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "backup"));
    struct kw_backup backup = {.ciphertext = KW_BUFFER_INIT(0)};
    struct settings settings;
    if (!text || kw_backup_parse(text, strlen(text), "the backup", &backup, NULL))
        return bad_backup(work->call, err);
    enum kw_status status = read_settings(work->call, entry, &settings, err);
    if (!status && keyring)
        status = restore_one(keyring, work, &backup, &settings, err);
    kw_backup_cleanup(&backup);
    return status;
}

/* Its name has to be free, of deleted keys too. */
static enum kw_status check_name(struct kw_keyring *keyring, struct work *work, const cJSON *first,
                                 struct kw_error *err)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(first, "backup"));
    struct kw_backup backup = {.ciphertext = KW_BUFFER_INIT(0)};
    struct kw_version *versions = NULL;
    size_t count = 0;
    if (!text || kw_backup_parse(text, strlen(text), "the backup", &backup, NULL))
        return bad_backup(work->call, err);
    enum kw_status status =
        kw_store_versions(keyring, backup.key.name, NULL, &versions, &count, err);
    free(versions);
    if (!status && count > 0)
        status = kw_call_refuse(work->call, KW_REFUSE_CONFLICT, KW_EXISTS, err,
                                "There is a key %s already, or a deleted one that has to be purged "
                                "first.",
                                backup.key.name);
    kw_backup_cleanup(&backup);
    return status;
}

static enum kw_status restore_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct work *work = context;
    const cJSON *keys = entries(work->set);
    if (!keys)
        return bad_backup(work->call, err);
    enum kw_status status = find_kek(keyring, work, err);
    if (!status)
        status = check_name(keyring, work, keys->child, err);
    for (const cJSON *entry = keys->child; entry && !status; entry = entry->next)
        status = restore_entry(NULL, work, entry, err);
    /* The oldest first: what is made last is the newest, and has to see those before it. */
    for (int i = cJSON_GetArraySize(keys) - 1; i >= 0 && !status; i--) {
        status = restore_entry(keyring, work, cJSON_GetArrayItem(keys, i), err);
        kw_keyring_refresh(keyring);
    }
    return status;
}

enum kw_status kw_restore_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct work work = {.call = call};
    enum kw_status status = parse_set(&work, err);
    if (!status)
        status = kw_call_change(call, restore_now, &work, err);
    cJSON_Delete(work.set);
    if (status)
        return status;
    call->name = call->restored;
    call->version = NULL;
    return kw_get_key(call, ret_json, err);
}
