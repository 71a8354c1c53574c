/* The Key Vault API: backups of keys with all their versions, and back. What is handed out is a
 * list of Keyward's own backups, each wrapped under the key that [service] backup-kek names. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byok/byok.h"
#include "serve/internal.h"

struct work {
    struct kw_call *call;
    struct kw_kek kek;
    cJSON *set;
    struct kw_buffer text; /* what is handed out: the set and its seal */
};

enum kw_status kw_backup_kek(struct kw_keyring *keyring, struct kw_call *call,
                             struct kw_kek *ret_kek, struct kw_error *err)
{
    const char *uri = call->policy->config.service.backup_kek;
    if (!uri)
        return kw_call_refuse(
            call, KW_REFUSE_NOT_SUPPORTED, KW_KEY_UNUSABLE, err,
            "There are no backups here: no key is configured to seal them under.");
    return kw_keyring_find_kek(keyring, uri, ret_kek, err);
}

static void add_settings(cJSON *entry, const struct kw_key_record *record)
{
    kw_json_add_number(entry, "ops", record->ops);
    kw_json_add_number(entry, "disabled", record->disabled);
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

/* So that nobody edits names, settings or policies on the way. */
static enum kw_status seal_set(struct kw_keyring *keyring, struct work *work, struct kw_error *err)
{
    struct kw_buffer seal = KW_BUFFER_INIT(KW_SET_SEAL_MAX);
    enum kw_status status = kw_json_write(work->set, KW_JSON_COMPACT, &work->text, err);
    if (!status &&
        !(status = kw_keyring_seal_text(keyring, (const char *)work->text.data, work->text.len,
                                        &seal, err)) &&
        !(status = kw_buffer_append(&work->text, "\n", 1, err)))
        status = kw_buffer_append(&work->text, seal.data, seal.len, err);
    kw_buffer_cleanup(&seal);
    return status;
}

static enum kw_status backup_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct work *work = context;
    struct kw_version *versions = NULL;
    size_t count = 0, done = 0;
    cJSON *keys = kw_json_add_array(work->set, "keys");
    enum kw_status status = kw_backup_kek(keyring, work->call, &work->kek, err);
    if (!status)
        status = kw_store_versions(keyring, work->call->name, NULL, &versions, &count, err);
    if (!status && count > KW_SET_VERSIONS_MAX)
        status = kw_call_refuse(work->call, KW_REFUSE_NOT_SUPPORTED, KW_KEY_UNUSABLE, err,
                                "The key has more than the %d versions that a backup takes.",
                                KW_SET_VERSIONS_MAX);
    for (size_t i = 0; i < count && !status; i++)
        if (kw_key_state(versions[i].record) != KW_KEY_DELETED) {
            status = back_up(keyring, work, &versions[i], keys, err);
            done++;
        }
    free(versions);
    if (!status && done == 0)
        status = kw_call_no_key(work->call, "", err);
    return status ? status : seal_set(keyring, work, err);
}

enum kw_status kw_backup_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct work work = {.call = call,
                        .set = cJSON_CreateObject(),
                        .text = KW_BUFFER_INIT(KW_SET_MAX + KW_SET_SEAL_MAX)};
    kw_json_add_text(work.set, "schema", KW_SET_SCHEMA);
    enum kw_status status = kw_call_change(call, backup_now, &work, err);
    if (!status) {
        *ret_json = cJSON_CreateObject();
        kw_json_add_base64(*ret_json, "value", KW_BASE64URL, work.text.data, work.text.len);
    }
    kw_buffer_cleanup(&work.text);
    cJSON_Delete(work.set);
    return status;
}
