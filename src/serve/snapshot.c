/* What is served of a token's keys, as it was when they were last read. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/store_parts.h"

/* ---- what is served ---- */

/* Key Vault's names; and none of the keys that the service itself lives by: whoever could use them
 * would be the service, or read its backups. */
static bool may_be_served(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    return kw_is_vault_name(key->label) && !kw_keyring_is_reserved(keyring, key);
}

bool kw_is_served(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    return key->public.modulus_len > 0 && may_be_served(keyring, key);
}

/* Names that differ in letter case alone are one; qsort is not stable, the places are. */
static int by_name(const void *a, const void *b)
{
    const struct kw_stored *one = a, *other = b;
    int order = strcasecmp(one->key->label, other->key->label);
    if (order == 0)
        order = kw_stored_created(one) < kw_stored_created(other)   ? 1
                : kw_stored_created(one) > kw_stored_created(other) ? -1
                                                                    : 0;
    return order ? order : strcmp(one->version, other->version);
}

/* A copy that the snapshot owns. */
static enum kw_status take_version(struct kw_snapshot *snapshot, struct kw_crypto *crypto,
                                   const struct kw_version *version, struct kw_error *err)
{
    size_t i = snapshot->count;
    struct kw_stored *stored = &snapshot->all[i];
    enum kw_status status = kw_version_name(crypto, version->key, stored->version, err);
    if (!status)
        status = kw_key_record_copy(version->record, &snapshot->records[i], err);
    if (status)
        return status;
    snapshot->keys[i] = *version->key;
    stored->key = &snapshot->keys[i];
    stored->record = &snapshot->records[i];
    snapshot->count++;
    return KW_OK;
}

static void take_aes(struct kw_snapshot *snapshot, struct kw_keyring *manager,
                     const struct kw_reading *reading)
{
    snapshot->aes_known = reading->aes_known;
    for (size_t i = 0; i < reading->aes_count; i++)
        if (may_be_served(manager, &reading->aes[i]))
            snapshot->aes[snapshot->aes_count++] = reading->aes[i];
}

enum kw_status kw_snapshot_new(struct kw_keyring *keyring, struct kw_keyring *manager,
                               const struct kw_reading *reading, struct kw_snapshot **ret_snapshot,
                               struct kw_error *err)
{
    struct kw_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot)
        return kw_fail_memory(err);
    atomic_init(&snapshot->users, 1);
    snapshot->all = calloc(reading->count + 1, sizeof(*snapshot->all));
    snapshot->keys = calloc(reading->count + 1, sizeof(*snapshot->keys));
    snapshot->records = calloc(reading->count + 1, sizeof(*snapshot->records));
    snapshot->aes = calloc(reading->aes_count + 1, sizeof(*snapshot->aes));
    bool made = snapshot->all && snapshot->keys && snapshot->records && snapshot->aes;
    enum kw_status status = made ? KW_OK : kw_fail_memory(err);
    const struct kw_version *versions = reading->versions;
    for (size_t i = 0; i < reading->count && !status; i++)
        if (kw_is_served(keyring, versions[i].key) &&
            !kw_keyring_is_reserved(manager, versions[i].key))
            status = take_version(snapshot, kw_keyring_crypto(keyring), &versions[i], err);
    if (status) {
        kw_store_leave(snapshot);
        return status;
    }
    take_aes(snapshot, manager, reading);
    qsort(snapshot->all, snapshot->count, sizeof(*snapshot->all), by_name);
    *ret_snapshot = snapshot;
    return KW_OK;
}

void kw_store_leave(const struct kw_snapshot *snapshot)
{
    struct kw_snapshot *left = (struct kw_snapshot *)snapshot;
    if (!left || atomic_fetch_sub(&left->users, 1) > 1)
        return;
    for (size_t i = 0; i < left->count; i++)
        kw_key_record_cleanup(&left->records[i]);
    free(left->aes);
    free(left->records);
    free(left->keys);
    free(left->all);
    free(left);
}

/* ---- finding ---- */

const struct kw_stored *kw_store_all(const struct kw_snapshot *snapshot, size_t *ret_count)
{
    *ret_count = snapshot ? snapshot->count : 0;
    return snapshot ? snapshot->all : NULL;
}

const struct kw_stored *kw_store_named(const struct kw_snapshot *snapshot, const char *name,
                                       size_t *ret_count)
{
    size_t count = 0;
    const struct kw_stored *all = kw_store_all(snapshot, &count);
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcasecmp(all[middle].key->label, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < count && strcasecmp(all[end].key->label, name) == 0)
        end++;
    *ret_count = end - low;
    return end > low ? &all[low] : NULL;
}

enum kw_status kw_store_find(const struct kw_snapshot *snapshot, const char *name,
                             const char *version, const struct kw_stored **ret_stored,
                             struct kw_error *err)
{
    size_t count = 0;
    bool newest = !version || version[0] == '\0';
    const struct kw_stored *all = kw_store_named(snapshot, name, &count);
    for (size_t i = 0; i < count; i++)
        if (!kw_stored_is_deleted(&all[i]) &&
            (newest || strcasecmp(all[i].version, version) == 0)) {
            *ret_stored = &all[i];
            return KW_OK;
        }
    return kw_fail(err, KW_KEY_NOT_FOUND,
                   "A key with (name/id) %.127s%s%.64s was not found in this key vault.", name,
                   newest ? "" : "/", newest ? "" : version);
}

enum kw_status kw_store_find_aes(const struct kw_snapshot *snapshot, const char *name,
                                 const struct kw_token_key **ret_key, struct kw_error *err)
{
    if (!snapshot || !snapshot->aes_known)
        return kw_fail(err, KW_TOKEN, "the token's AES keys could not be read yet");
    for (size_t i = 0; i < snapshot->aes_count; i++)
        if (strcasecmp(snapshot->aes[i].label, name) == 0) {
            *ret_key = &snapshot->aes[i];
            return KW_OK;
        }
    return kw_fail(err, KW_KEY_NOT_FOUND, "There is no key \"%.127s\".", name);
}
