/* The keys of the service's token, read by many and changed by one at a time. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/store_parts.h"

#define LOOK_AGAIN_MS 100
#define READ_AGAIN_MS 1000
/* That are under way or wait: each has a thread of the listener's. */
#define CHANGES_MAX 4

struct kw_store {
    struct kw_keyring *user;      /* uses keys; it reads none by itself */
    struct kw_keyring *manager;   /* makes and changes them; with `changing` held */
    struct kw_keyring *second;    /* of the failover token, to read it while the first is away, or
                                     NULL;    with `changing` held */
    atomic_uint waiting;          /* for `changing`, to change something */
    pthread_mutex_t changing;     /* guards what follows up to the next lock */
    uint8_t seen[KW_SHA256_SIZE]; /* what was read last */
    bool wants_aes;               /* AES keys are served too */
    bool aes_failed;              /* when they were to be read last */
    uint64_t read_ms;             /* when that was, or was tried */
    uint64_t took_ms;             /* and how long it took */
    pthread_mutex_t lock;         /* guards what follows; never held for long */
    struct kw_snapshot *snapshot; /* NULL until they were read once */
    struct kw_strings warnings;   /* of changes */
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
    store->warnings.max = KW_WARNINGS_MAX;
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
    kw_strings_cleanup(&store->warnings);
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

void kw_store_want_aes(struct kw_store *store)
{
    store->wants_aes = true;
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

static enum kw_status digest_aes(struct kw_digest *digest, const struct kw_token_key *key,
                                 struct kw_error *err)
{
    enum kw_status status = kw_digest_update(digest, &key->id_len, sizeof(key->id_len), err);
    if (!status)
        status = kw_digest_update(digest, key->id, key->id_len, err);
    return status ? status : kw_digest_update(digest, key->label, strlen(key->label) + 1, err);
}

/* What there is, in few bytes. */
static enum kw_status digest_reading(struct kw_crypto *crypto, const struct kw_reading *reading,
                                     uint8_t ret_seen[KW_SHA256_SIZE], struct kw_error *err)
{
    struct kw_digest *digest = NULL;
    enum kw_status status = kw_digest_new(crypto, &digest, err);
    if (!status)
        status = kw_digest_start(digest, err);
    if (!status)
        status = kw_digest_update(digest, &reading->aes_known, sizeof(reading->aes_known), err);
    for (size_t i = 0; i < reading->count && !status; i++)
        status = digest_version(digest, &reading->versions[i], err);
    for (size_t i = 0; i < reading->aes_count && !status; i++)
        status = digest_aes(digest, &reading->aes[i], err);
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

/* Those that were read last. */
static enum kw_status keep_aes(const struct kw_snapshot *last, struct kw_reading *reading,
                               struct kw_error *err)
{
    reading->aes_known = last && last->aes_known;
    if (!last || last->aes_count == 0)
        return KW_OK;
    reading->aes = calloc(last->aes_count, sizeof(*last->aes));
    if (!reading->aes)
        return kw_fail_memory(err);
    memcpy(reading->aes, last->aes, last->aes_count * sizeof(*last->aes));
    reading->aes_count = last->aes_count;
    return KW_OK;
}

static void warn_of_aes(struct kw_store *store, const struct kw_error *failure)
{
    (void)pthread_mutex_lock(&store->lock);
    kw_strings_warn(&store->warnings, "the token's AES keys can't be read anew: %s",
                    failure->message);
    (void)pthread_mutex_unlock(&store->lock);
}

/* Of the first token alone. That they can't be read keeps no RSA key from being served. */
static enum kw_status read_aes(struct kw_store *store, struct kw_keyring *keyring,
                               struct kw_reading *reading, struct kw_error *err)
{
    struct kw_error failure;
    if (!store->wants_aes || keyring == store->second)
        return keep_aes(store->snapshot, reading, err);
    enum kw_status status =
        kw_keyring_aes_keys(keyring, &reading->aes, &reading->aes_count, &failure);
    reading->aes_known = status == KW_OK;
    if (status && !store->aes_failed)
        warn_of_aes(store, &failure);
    store->aes_failed = status != KW_OK;
    return status ? keep_aes(store->snapshot, reading, err) : KW_OK;
}

static enum kw_status read_keys(struct kw_store *store, struct kw_keyring *keyring,
                                struct kw_reading *reading, struct kw_error *err)
{
    kw_keyring_refresh(keyring);
    /* Some modules list what they remember of a token that is away. */
    enum kw_status status = kw_keyring_ping(keyring, err);
    if (!status)
        status = kw_keyring_versions(keyring, NULL, &reading->versions, &reading->count, err);
    if (status == KW_KEY_NOT_FOUND) /* a token without keys */
        status = KW_OK;
    return status ? status : read_aes(store, keyring, reading, err);
}

static enum kw_status read_from(struct kw_store *store, struct kw_keyring *keyring,
                                struct kw_error *err)
{
    struct kw_reading reading = {.versions = NULL};
    struct kw_snapshot *snapshot = NULL;
    uint8_t seen[KW_SHA256_SIZE];
    enum kw_status status = read_keys(store, keyring, &reading, err);
    if (!status)
        status = digest_reading(kw_keyring_crypto(keyring), &reading, seen, err);
    /* Only who holds `changing` replaces it, so that it may be looked at here. */
    bool same = !status && store->snapshot && memcmp(seen, store->seen, sizeof(seen)) == 0;
    if (!status && !same &&
        !(status = kw_snapshot_new(keyring, store->manager, &reading, &snapshot, err))) {
        replace_snapshot(store, snapshot);
        memcpy(store->seen, seen, sizeof(seen));
    }
    free(reading.aes);
    free(reading.versions);
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

/* ---- changing ---- */

/* The manager forgets them when it reads the token the next time. */
static void keep_warnings(struct kw_store *store)
{
    (void)pthread_mutex_lock(&store->lock);
    kw_keyring_take_warnings(store->manager, &store->warnings);
    (void)pthread_mutex_unlock(&store->lock);
}

void kw_store_reread(struct kw_store *store)
{
    keep_warnings(store);
    kw_keyring_refresh(store->manager);
}

void kw_store_take_warnings(struct kw_store *store, struct kw_strings *into)
{
    kw_keyring_take_warnings(store->user, into);
    (void)pthread_mutex_lock(&store->lock);
    kw_strings_move(&store->warnings, into);
    (void)pthread_mutex_unlock(&store->lock);
}

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
    keep_warnings(store);
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
        if (!kw_is_served(keyring, key) || strcasecmp(key->label, name) != 0)
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
