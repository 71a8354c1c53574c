/* The keys of the service's token, read by many and changed by one at a time. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/store.h"

#define LOOK_AGAIN_MS 100
#define READ_AGAIN_MS 1000
/* That are under way or wait: each has a thread of the listener's. */
#define CHANGES_MAX 4

/* What is known of the token's keys. It never changes, and lives until its last user is gone. */
struct kw_snapshot {
    atomic_uint users;
    struct kw_stored *all;
    size_t count;
    struct kw_token_key *keys; /* what the versions point to */
    struct kw_key_record *records;
};

struct kw_store {
    struct kw_keyring *user;      /* uses keys; it reads none by itself */
    struct kw_keyring *manager;   /* makes and changes them; with `changing` held */
    struct kw_keyring *second;    /* of the failover token, to read it while the first is away, or
                                     NULL;    with `changing` held */
    atomic_uint waiting;          /* for `changing`, to change something */
    pthread_mutex_t changing;     /* guards what follows up to the next lock */
    uint8_t seen[KW_SHA256_SIZE]; /* what was read last */
    uint64_t read_ms;             /* when that was, or was tried */
    uint64_t took_ms;             /* and how long it took */
    pthread_mutex_t lock;         /* guards what follows; never held for long */
    struct kw_snapshot *snapshot; /* NULL until they were read once */
};

/* ---- opening ---- */

static struct kw_store *store_new(void)
{
    struct kw_store *store = calloc(1, sizeof(*store));
    if (!store || pthread_mutex_init(&store->changing, NULL) != 0) {
        free(store);
        return NULL;
    }
    (void)pthread_mutex_init(&store->lock, NULL); /* it can't fail on Linux */
    return store;
}

/* The token that serves while the first one is away has keys of its own names. */
static enum kw_status open_second(struct kw_store *store, const struct kw_keyring_options *options,
                                  struct kw_error *err)
{
    struct kw_keyring_options second = *options;
    second.token = kw_keyring_failover(store->user);
    return second.token ? kw_keyring_open(&second, &store->second, err) : KW_OK;
}

static enum kw_status check_token(const struct kw_keyring *keyring, struct kw_error *err)
{
    if (!kw_keyring_is_vault(keyring))
        return KW_OK;
    return kw_fail(err, KW_CONFIG,
                   "the keys that are served have to be on a token, and what is configured is a "
                   "vault: let clients ask that itself, or name a token by its pkcs11: URI");
}

enum kw_status kw_store_open(const struct kw_keyring_options *options, struct kw_store **ret_store,
                             struct kw_error *err)
{
    struct kw_store *store = store_new();
    if (!store)
        return kw_fail_memory(err);
    enum kw_status status;
    if ((status = kw_keyring_open(options, &store->user, err)) ||
        (status = check_token(store->user, err)) ||
        (status = kw_keyring_open(options, &store->manager, err)) ||
        (status = open_second(store, options, err))) {
        kw_store_free(store);
        return status;
    }
    *ret_store = store;
    return KW_OK;
}

void kw_store_leave(const struct kw_snapshot *snapshot)
{
    struct kw_snapshot *left = (struct kw_snapshot *)snapshot;
    if (!left || atomic_fetch_sub(&left->users, 1) > 1)
        return;
    for (size_t i = 0; i < left->count; i++)
        kw_key_record_cleanup(&left->records[i]);
    free(left->records);
    free(left->keys);
    free(left->all);
    free(left);
}

const struct kw_snapshot *kw_store_enter(struct kw_store *store)
{
    (void)pthread_mutex_lock(&store->lock);
    struct kw_snapshot *snapshot = store->snapshot;
    if (snapshot)
        atomic_fetch_add(&snapshot->users, 1);
    (void)pthread_mutex_unlock(&store->lock);
    return snapshot;
}

void kw_store_free(struct kw_store *store)
{
    if (!store)
        return;
    kw_store_leave(store->snapshot);
    kw_keyring_free(store->second);
    kw_keyring_free(store->manager);
    kw_keyring_free(store->user);
    (void)pthread_mutex_destroy(&store->lock);
    (void)pthread_mutex_destroy(&store->changing);
    free(store);
}

struct kw_keyring *kw_store_keyring(struct kw_store *store)
{
    return store->user;
}

struct kw_keyring *kw_store_manager(struct kw_store *store)
{
    return store->manager;
}

/* ---- what is served ---- */

/* Key Vault's names; and none of the keys that the service itself lives by: whoever could use them
 * would be the service, or read its backups. */
static bool is_served(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    return key->public.modulus_len > 0 && kw_is_vault_name(key->label) &&
           !kw_keyring_is_reserved(keyring, key);
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

/* What the manager knows to be reserved is not served from the second token either. */
static enum kw_status make_snapshot(struct kw_keyring *keyring, struct kw_keyring *manager,
                                    const struct kw_version *versions, size_t count,
                                    struct kw_snapshot **ret_snapshot, struct kw_error *err)
{
    struct kw_snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot)
        return kw_fail_memory(err);
    atomic_init(&snapshot->users, 1);
    snapshot->all = calloc(count + 1, sizeof(*snapshot->all));
    snapshot->keys = calloc(count + 1, sizeof(*snapshot->keys));
    snapshot->records = calloc(count + 1, sizeof(*snapshot->records));
    bool made = snapshot->all && snapshot->keys && snapshot->records;
    enum kw_status status = made ? KW_OK : kw_fail_memory(err);
    for (size_t i = 0; i < count && !status; i++)
        if (is_served(keyring, versions[i].key) &&
            !kw_keyring_is_reserved(manager, versions[i].key))
            status = take_version(snapshot, kw_keyring_crypto(keyring), &versions[i], err);
    if (status) {
        kw_store_leave(snapshot);
        return status;
    }
    qsort(snapshot->all, snapshot->count, sizeof(*snapshot->all), by_name);
    *ret_snapshot = snapshot;
    return KW_OK;
}

/* ---- reading. With `changing` held ---- */

static enum kw_status digest_version(struct kw_digest *digest, const struct kw_version *version,
                                     struct kw_error *err)
{
    const struct kw_token_key *key = version->key;
    const struct kw_key_record *record = version->record;
    const struct {
        const void *data;
        size_t len;
    } parts[] = {
        {&key->id_len, sizeof(key->id_len)},
        {key->id, key->id_len},
        {key->label, strlen(key->label) + 1},
        {key->public.modulus, key->public.modulus_len},
        {key->not_before, sizeof(key->not_before)},
        {key->expires, sizeof(key->expires)},
        {&key->decrypt, sizeof(key->decrypt)},
        {&key->unwrap, sizeof(key->unwrap)},
        {&key->sign, sizeof(key->sign)},
        {&record->state, sizeof(record->state)},
        {&record->revision, sizeof(record->revision)},
    };
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_COUNT(parts) && !status; i++)
        status = kw_digest_update(digest, parts[i].data, parts[i].len, err);
    return status;
}

/* What there is, in few bytes. */
static enum kw_status digest_versions(struct kw_crypto *crypto, const struct kw_version *versions,
                                      size_t count, uint8_t ret_seen[KW_SHA256_SIZE],
                                      struct kw_error *err)
{
    struct kw_digest *digest = NULL;
    enum kw_status status = kw_digest_new(crypto, &digest, err);
    if (!status)
        status = kw_digest_start(digest, err);
    for (size_t i = 0; i < count && !status; i++)
        status = digest_version(digest, &versions[i], err);
    if (!status)
        status = kw_digest_finish(digest, ret_seen, err);
    kw_digest_free(digest);
    return status;
}

static void replace_snapshot(struct kw_store *store, struct kw_snapshot *snapshot)
{
    (void)pthread_mutex_lock(&store->lock);
    struct kw_snapshot *old = store->snapshot;
    store->snapshot = snapshot;
    (void)pthread_mutex_unlock(&store->lock);
    kw_store_leave(old);
}

static enum kw_status read_from(struct kw_store *store, struct kw_keyring *keyring,
                                struct kw_error *err)
{
    struct kw_version *versions = NULL;
    struct kw_snapshot *snapshot = NULL;
    uint8_t seen[KW_SHA256_SIZE];
    size_t count = 0;
    kw_keyring_refresh(keyring);
    /* Some modules list what they remember of a token that is away. */
    enum kw_status status = kw_keyring_ping(keyring, err);
    if (!status)
        status = kw_keyring_versions(keyring, NULL, &versions, &count, err);
    if (status == KW_KEY_NOT_FOUND) /* a token without keys */
        status = KW_OK;
    if (!status)
        status = digest_versions(kw_keyring_crypto(keyring), versions, count, seen, err);
    /* Only who holds `changing` replaces it, so that it may be looked at here. */
    bool same = !status && store->snapshot && memcmp(seen, store->seen, sizeof(seen)) == 0;
    if (!status && !same &&
        !(status = make_snapshot(keyring, store->manager, versions, count, &snapshot, err))) {
        replace_snapshot(store, snapshot);
        memcpy(store->seen, seen, sizeof(seen));
    }
    free(versions);
    return status;
}

static enum kw_status read_now(struct kw_store *store, struct kw_error *err)
{
    struct kw_error failure = {.status = KW_OK};
    uint64_t began_ms = kw_now_ms();
    enum kw_status status = read_from(store, store->manager, &failure);
    if (kw_exit_code(status) == kw_exit_code(KW_TOKEN) && store->second &&
        read_from(store, store->second, NULL) == KW_OK)
        status = KW_OK;
    store->read_ms = kw_now_ms();
    store->took_ms = store->read_ms - began_ms;
    if (status && err)
        *err = failure;
    return status;
}

enum kw_status kw_store_read(struct kw_store *store, struct kw_error *err)
{
    /* Whoever changes keys reads them afterwards. */
    if (pthread_mutex_trylock(&store->changing) != 0)
        return KW_OK;
    enum kw_status status = read_now(store, err);
    (void)pthread_mutex_unlock(&store->changing);
    return status;
}

/* By its modulus, or what a URI means; in every keyring. */
static enum kw_status reserve(struct kw_store *store, const char *uri,
                              const struct kw_rsa_public *public, struct kw_error *err)
{
    struct kw_keyring *keyrings[] = {store->user, store->manager, store->second};
    enum kw_status status = KW_OK;
    bool some = false;
    (void)pthread_mutex_lock(&store->changing);
    for (size_t i = 0; i < KW_COUNT(keyrings) && keyrings[i] && !status; i++) {
        bool anew = false;
        status = uri ? kw_keyring_reserve_uri(keyrings[i], uri, &anew, err)
                     : kw_keyring_reserve(keyrings[i], public, &anew, err);
        some = some || anew;
    }
    if (!status && some && store->snapshot) {
        memset(store->seen, 0, sizeof(store->seen)); /* it is another choice of the same keys now */
        status = read_now(store, err);
    }
    (void)pthread_mutex_unlock(&store->changing);
    return status;
}

enum kw_status kw_store_reserve(struct kw_store *store, const char *uri, struct kw_error *err)
{
    return reserve(store, uri, NULL, err);
}

enum kw_status kw_store_tls_key(struct kw_store *store, const char *uri,
                                const struct kw_purpose *purpose, struct evp_pkey_st **ret_key,
                                struct kw_error *err)
{
    struct kw_rsa_public public;
    struct evp_pkey_st *key = NULL;
    enum kw_status status = kw_keyring_tls_key(store->user, uri, purpose, &key, &public, err);
    if (status)
        return status;
    status = reserve(store, NULL, &public, err);
    if (status) {
        kw_private_key_free(key);
        return status;
    }
    *ret_key = key;
    return KW_OK;
}

enum kw_status kw_store_read_first(struct kw_store *store, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    (void)pthread_mutex_lock(&store->changing);
    bool lately = store->read_ms && kw_now_ms() - store->read_ms < READ_AGAIN_MS;
    if (!store->snapshot)
        status = lately ? kw_fail(err, KW_TOKEN, "the token's keys could not be read yet")
                        : read_now(store, err);
    (void)pthread_mutex_unlock(&store->changing);
    return status;
}

bool kw_store_look_again(struct kw_store *store)
{
    if (pthread_mutex_trylock(&store->changing) != 0)
        return false;
    /* Whoever asks for keys that are not there takes a small part of the token's time with that. */
    bool due = kw_now_ms() - store->read_ms >= LOOK_AGAIN_MS + 3 * store->took_ms;
    if (due)
        due = read_now(store, NULL) == KW_OK;
    (void)pthread_mutex_unlock(&store->changing);
    return due;
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

/* ---- changing ---- */

enum kw_status kw_store_change(struct kw_store *store, const struct kw_purpose *purpose,
                               kw_change_fn work, void *context, struct kw_error *err)
{
    struct kw_error unread;
    if (atomic_fetch_add(&store->waiting, 1) >= CHANGES_MAX) {
        atomic_fetch_sub(&store->waiting, 1);
        return kw_fail(err, KW_TOKEN, "%d changes of keys wait for the token already", CHANGES_MAX);
    }
    (void)pthread_mutex_lock(&store->changing);
    kw_keyring_refresh(store->manager);
    kw_keyring_set_purpose(store->manager, purpose);
    enum kw_status status = work(store->manager, context, err);
    kw_keyring_set_purpose(store->manager, NULL);
    /* It may have been changed in part. What can't be read now is read later. */
    (void)read_now(store, &unread);
    (void)pthread_mutex_unlock(&store->changing);
    atomic_fetch_sub(&store->waiting, 1);
    return status;
}

enum kw_status kw_store_versions(struct kw_keyring *keyring, const char *name, const char *version,
                                 struct kw_version **ret_versions, size_t *ret_count,
                                 struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0, kept = 0;
    char version_name[KW_VERSION_DIGITS + 1];
    enum kw_status status = kw_keyring_versions(keyring, NULL, &versions, &count, err);
    if (status == KW_KEY_NOT_FOUND)
        status = KW_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const struct kw_token_key *key = versions[i].key;
        if (!is_served(keyring, key) || strcasecmp(key->label, name) != 0)
            continue;
        if (version)
            status = kw_version_name(kw_keyring_crypto(keyring), key, version_name, err);
        if (!status && (!version || strcasecmp(version, version_name) == 0))
            versions[kept++] = versions[i];
    }
    if (status) {
        free(versions);
        return status;
    }
    *ret_versions = versions;
    *ret_count = kept;
    return KW_OK;
}
