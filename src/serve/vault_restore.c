/* The Key Vault API: keys back from backups, all versions or none. The name is in the backup and
 * not in the path, so nothing is done before it is known whether the client may. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "byok/byok.h"
#include "serve/internal.h"

static const struct kw_json_limits limits = {.bytes = KW_SET_MAX, .depth = 8, .items = 10000};

struct entry {
    struct kw_backup backup;
    struct kw_key_settings settings; /* points into the entry and the set */
    unsigned ops;
    int64_t not_before, expires;
    struct kw_token_key made;
};

struct work {
    struct kw_call *call;
    struct kw_buffer text;
    size_t set_len; /* of the text; the seal comes after it and a newline */
    cJSON *set;
    struct kw_kek kek;
    struct entry entries[KW_SET_VERSIONS_MAX]; /* the newest first */
    size_t count;
};

static enum kw_status bad_backup(struct kw_call *call, struct kw_error *err)
{
    return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                          "Property \"value\" of the request is no backup of a key from here, or "
                          "was changed since.");
}

/* ---- what it says ---- */

static enum kw_status decode(struct work *work, struct kw_error *err)
{
    const char *value = NULL;
    size_t len = 0;
    enum kw_status status = kw_body_text(work->call, "value", true, &value, err);
    if (status)
        return status;
    size_t room = KW_BASE64_DECODED_MAX(strlen(value));
    if (room > work->text.max)
        return bad_backup(work->call, err);
    if ((status = kw_buffer_reserve(&work->text, room, err)))
        return status;
    if (!kw_base64_decode(KW_BASE64URL, value, strlen(value), work->text.data, room, &len))
        return bad_backup(work->call, err);
    work->text.len = len;
    const uint8_t *end = len ? memchr(work->text.data, '\n', len) : NULL;
    if (!end)
        return bad_backup(work->call, err);
    work->set_len = (size_t)(end - work->text.data);
    return KW_OK;
}

static enum kw_status check_seal(struct kw_keyring *keyring, struct work *work,
                                 struct kw_error *err)
{
    const char *text = (const char *)work->text.data;
    enum kw_status status =
        kw_keyring_check_seal(keyring, text, work->set_len, text + work->set_len + 1,
                              work->text.len - work->set_len - 1, err);
    return status == KW_DAMAGED ? bad_backup(work->call, err) : status;
}

static enum kw_status read_settings(struct kw_call *call, const cJSON *json, struct entry *entry,
                                    struct kw_error *err)
{
    const cJSON *tags = cJSON_GetObjectItemCaseSensitive(json, "tags");
    const cJSON *policy = cJSON_GetObjectItemCaseSensitive(json, "policy");
    int64_t ops = 0;
    enum kw_status status;
    if ((status = kw_body_number(call, json, "ops", 0, 255, &ops, err)) ||
        (status = kw_body_number(call, json, "not_before", 0, KW_SECONDS_MAX, &entry->not_before,
                                 err)) ||
        (status = kw_body_number(call, json, "expires", 0, KW_SECONDS_MAX, &entry->expires, err)))
        return status;
    entry->ops = (unsigned)ops;
    entry->settings = (struct kw_key_settings){
        .ops = entry->ops ? &entry->ops : NULL,
        .not_before = entry->not_before ? &entry->not_before : NULL,
        .expires = entry->expires ? &entry->expires : NULL,
        .tags = cJSON_IsObject(tags) ? tags : NULL,
        .policy = cJSON_IsObject(policy) ? policy : NULL,
    };
    return KW_OK;
}

/* All entries are of one key. */
static enum kw_status read_entry(struct work *work, const cJSON *json, struct kw_error *err)
{
    struct entry *entry = &work->entries[work->count];
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "backup"));
    if (!text || kw_backup_parse(text, strlen(text), "the backup", &entry->backup, NULL))
        return bad_backup(work->call, err);
    work->count++;
    const char *name = entry->backup.key.name;
    if (!kw_is_vault_name(name) || strcasecmp(name, work->entries[0].backup.key.name) != 0)
        return bad_backup(work->call, err);
    return read_settings(work->call, json, entry, err);
}

static enum kw_status read_set(struct work *work, struct kw_error *err)
{
    if (kw_json_parse((const char *)work->text.data, work->set_len, &limits, "the backup", KW_USAGE,
                      &work->set, NULL))
        return bad_backup(work->call, err);
    const char *schema =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(work->set, "schema"));
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(work->set, "keys");
    int count = cJSON_IsArray(keys) ? cJSON_GetArraySize(keys) : 0;
    if (!schema || strcmp(schema, KW_SET_SCHEMA) != 0 || count < 1 || count > KW_SET_VERSIONS_MAX)
        return bad_backup(work->call, err);
    enum kw_status status = KW_OK;
    for (const cJSON *json = keys->child; json && !status; json = json->next)
        status = read_entry(work, json, err);
    return status;
}

/* ---- whether that may be ---- */

/* Its name has to be free, of deleted keys too. */
static enum kw_status check_free(struct kw_keyring *keyring, struct work *work,
                                 struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    const char *name = work->call->restored;
    enum kw_status status = kw_check_not_reserved(keyring, work->call, name, err);
    if (!status)
        status = kw_store_versions(keyring, name, NULL, &versions, &count, err);
    free(versions);
    if (!status && count > 0)
        status = kw_call_refuse(work->call, KW_REFUSE_CONFLICT, KW_EXISTS, err,
                                "There is a key %s already, or a deleted one that has to be purged "
                                "first.",
                                name);
    return status;
}

/* ---- doing it ---- */

static enum kw_status restore_entry(struct kw_keyring *keyring, struct work *work,
                                    struct entry *entry, struct kw_error *err)
{
    const struct kw_backup *backup = &entry->backup;
    const struct kw_key_plan plan = {
        .use = kw_use_of(entry->ops),
        .label = backup->key.name,
        .id = backup->key.id,
        .id_len = backup->key.id_len,
        .bits = backup->key.bits,
        .not_before = backup->key.not_before,
        .expires = backup->key.expires,
        .extractable = backup->key.extractable,
    };
    return kw_keyring_restore(keyring, &work->kek, backup->ciphertext.data, backup->ciphertext.len,
                              backup->key.fingerprint, &plan, &entry->settings, &entry->made, err);
}

/* What can't be taken away again is told, and stays for an administrator. */
static void undo(struct kw_keyring *keyring, struct work *work, size_t from)
{
    struct kw_error err;
    for (size_t i = from; i < work->count; i++)
        if (kw_keyring_unrestore(keyring, &work->entries[i].made, &err))
            kw_service_tell(work->call->service,
                            "key \"%s\" was restored in part and has to be deleted: %s",
                            work->call->restored, err.message);
}

/* The oldest first: what is made last is the newest, once the keyring knows of those before. */
static enum kw_status restore_all(struct kw_keyring *keyring, struct work *work,
                                  struct kw_error *err)
{
    for (size_t i = work->count; i > 0; i--) {
        enum kw_status status = restore_entry(keyring, work, &work->entries[i - 1], err);
        kw_store_reread(work->call->service->store);
        if (status) {
            undo(keyring, work, i);
            return status;
        }
    }
    return KW_OK;
}

static enum kw_status restore_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct work *work = context;
    struct kw_call *call = work->call;
    enum kw_status status;
    if ((status = check_seal(keyring, work, err)) || (status = read_set(work, err)))
        return status;
    (void)snprintf(call->restored, sizeof(call->restored), "%.*s", KW_NAME_MAX,
                   work->entries[0].backup.key.name);
    call->name = call->restored; /* for the trail too */
    if ((status = kw_call_authorize(call, call->name, err)) ||
        (status = kw_backup_kek(keyring, call, &work->kek, err)) ||
        (status = check_free(keyring, work, err)))
        return status;
    return restore_all(keyring, work, err);
}

static void work_free(struct work *work)
{
    for (size_t i = 0; i < work->count; i++)
        kw_backup_cleanup(&work->entries[i].backup);
    kw_buffer_cleanup(&work->text);
    cJSON_Delete(work->set);
    free(work);
}

enum kw_status kw_restore_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct work *work = calloc(1, sizeof(*work));
    if (!work)
        return kw_fail_memory(err);
    work->call = call;
    work->text = (struct kw_buffer)KW_BUFFER_INIT(KW_SET_MAX + KW_SET_SEAL_MAX + 4);
    enum kw_status status = decode(work, err);
    if (!status)
        status = kw_call_change(call, restore_now, work, err);
    work_free(work);
    if (status)
        return status;
    call->version = NULL;
    return kw_get_key(call, ret_json, err);
}
