/* Data keys: which algorithm unwraps, and those that were unwrapped already. */
#include <string.h>
#include <strings.h>

#include "internal.h"

static const char *const cannot_unwrap =
    "the key does not unwrap the data key: it was wrapped for another key or in another way, or "
    "the metadata is damaged";

enum kw_status kw_unwrap_policy_parse(const struct kw_keyring *keyring, const char *name,
                                      struct kw_unwrap_policy *ret_policy, struct kw_error *err)
{
    const struct kw_config *config = &keyring->config;
    struct kw_unwrap_policy policy = {.allow_rsa1_5 = config->run.allow_rsa1_5 != KW_NO};
    if (!name)
        name = config->run.unwrap_alg ? config->run.unwrap_alg : "auto";
    policy.automatic = strcasecmp(name, "auto") == 0;
    char shown[64];
    if (!policy.automatic && !kw_wrap_alg_parse(name, &policy.alg))
        return kw_fail(err, KW_USAGE,
                       "unwrap algorithm \"%s\" is none of auto, RSA-OAEP, RSA-OAEP-256 and "
                       "RSA1_5",
                       kw_printable(name, strlen(name), shown, sizeof(shown)));
    if (!policy.automatic && policy.alg == KW_RSA1_5 && !policy.allow_rsa1_5)
        return kw_fail(err, KW_CONFIG, "RSA1_5 is turned off by allow-rsa1_5 = no");
    *ret_policy = policy;
    return KW_OK;
}

void kw_data_key_cleanup(struct kw_data_key *data_key)
{
    kw_secret_free(data_key->secret);
    data_key->secret = NULL;
}

static bool is_tried(const struct kw_unwrap_policy *policy, enum kw_wrap_alg alg)
{
    if (!policy->automatic)
        return alg == policy->alg;
    return alg != KW_RSA1_5 || policy->allow_rsa1_5;
}

/* One status and message for every cause, and no CK_RV: whoever can tell causes apart can decrypt
 * RSA1_5 by asking often. `not_offered` depends on the token and not on the ciphertext. */
static enum kw_status fail_unwrap(const char *not_offered, struct kw_error *err)
{
    if (not_offered)
        return kw_fail(err, KW_KEY_UNWRAP, "%s; the token was not able to try %s", cannot_unwrap,
                       not_offered);
    return kw_fail(err, KW_KEY_UNWRAP, "%s", cannot_unwrap);
}

/* The order of trying: what worked before in this run, then from the safest to the least safe,
 * which is the order of the enum. RSA1_5 never moves to the front: some tokens answer any
 * ciphertext with junk that only its length gives away. */
static size_t order_algorithms(enum kw_wrap_alg last_worked, const struct kw_unwrap_policy *policy,
                               enum kw_wrap_alg order[KW_WRAP_ALG_COUNT])
{
    size_t count = 0;
    if (policy->automatic && last_worked == KW_RSA_OAEP_256)
        order[count++] = KW_RSA_OAEP_256;
    for (int i = 0; i < KW_WRAP_ALG_COUNT; i++) {
        enum kw_wrap_alg alg = (enum kw_wrap_alg)i;
        if (is_tried(policy, alg) && !(count > 0 && order[0] == alg))
            order[count++] = alg;
    }
    return count;
}

struct tried {
    enum kw_wrap_alg worked;
    const char *not_offered; /* the last algorithm that the token does not offer, or NULL */
    unsigned long ck_rv;     /* of the last that failed: for the audit trail alone */
};

static enum kw_wrap_alg what_worked(struct kw_keyring *keyring)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_wrap_alg alg = keyring->last_worked;
    (void)pthread_mutex_unlock(&keyring->lock);
    return alg;
}

/* Without the keyring's lock: a token has as many sessions as threads may use. */
static enum kw_status try_algorithms(struct kw_keyring *keyring, const struct kw_token_key *key,
                                     const struct kw_unwrap_policy *policy, const uint8_t *wrapped,
                                     size_t wrapped_len, struct tried *tried,
                                     struct kw_secret **ret_unwrapped, struct kw_error *err)
{
    struct kw_error failure = {.status = KW_OK};
    enum kw_wrap_alg order[KW_WRAP_ALG_COUNT];
    size_t count = order_algorithms(what_worked(keyring), policy, order);
    for (size_t i = 0; i < count; i++) {
        enum kw_status status = kw_keyring_raw_decrypt(keyring, key, order[i], wrapped, wrapped_len,
                                                       ret_unwrapped, &failure);
        if (!status) {
            tried->worked = order[i];
            return KW_OK;
        }
        bool token_works = status == KW_KEY_UNWRAP || status == KW_KEY_UNUSABLE;
        if (!token_works || (status == KW_KEY_UNUSABLE && !policy->automatic)) {
            if (err)
                *err = failure;
            return status;
        }
        tried->ck_rv = failure.ck_rv;
        if (status == KW_KEY_UNUSABLE)
            tried->not_offered = kw_wrap_alg_name(order[i]);
    }
    return fail_unwrap(tried->not_offered, err);
}

static enum kw_status unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                             const struct kw_unwrap_policy *policy, const uint8_t *wrapped,
                             size_t wrapped_len, unsigned long *ret_ck_rv,
                             struct kw_data_key *ret_data_key, struct kw_error *err)
{
    struct kw_secret *unwrapped = NULL;
    struct kw_data_key data_key = {.secret = NULL};
    struct tried tried = {.not_offered = NULL};
    enum kw_status status =
        try_algorithms(keyring, key, policy, wrapped, wrapped_len, &tried, &unwrapped, err);
    *ret_ck_rv = status ? tried.ck_rv : 0;
    if (status)
        return status;
    data_key.alg = tried.worked;
    status = kw_data_key_decode(unwrapped, &data_key.secret, err);
    kw_secret_free(unwrapped);
    if (status == KW_KEY_UNUSABLE && data_key.alg == KW_RSA1_5)
        return fail_unwrap(tried.not_offered, err);
    if (status)
        return status;
    if (policy->automatic && data_key.alg == KW_RSA1_5)
        kw_keyring_warn(keyring,
                        "the data key is wrapped with RSA1_5, which is open to padding attacks; "
                        "ask the sender for RSA-OAEP");
    *ret_data_key = data_key;
    return KW_OK;
}

static const struct kept_data_key *find_kept(const struct kw_keyring *keyring,
                                             const struct kw_token_key *key,
                                             const struct kw_unwrap_policy *policy,
                                             const uint8_t sha256[KW_SHA256_SIZE])
{
    for (size_t i = 0; i < KW_KEPT_DATA_KEYS; i++) {
        const struct kept_data_key *kept = &keyring->kept[i];
        if (kept->data_key.secret && kept->key == key && is_tried(policy, kept->data_key.alg) &&
            memcmp(kept->wrapped_sha256, sha256, KW_SHA256_SIZE) == 0)
            return kept;
    }
    return NULL;
}

static enum kw_status copy_data_key(const struct kw_data_key *from, struct kw_data_key *ret_copy,
                                    struct kw_error *err)
{
    struct kw_secret *secret = NULL;
    enum kw_status status =
        kw_secret_from(kw_secret_bytes(from->secret), kw_secret_len(from->secret), &secret, err);
    if (status)
        return status;
    ret_copy->secret = secret;
    ret_copy->alg = from->alg;
    return KW_OK;
}

static enum kw_status keep(struct kw_keyring *keyring, const struct kw_token_key *key,
                           const uint8_t sha256[KW_SHA256_SIZE], const struct kw_data_key *data_key,
                           struct kw_error *err)
{
    struct kw_data_key copy = {.secret = NULL};
    enum kw_status status = copy_data_key(data_key, &copy, err);
    if (status)
        return status;
    (void)pthread_mutex_lock(&keyring->lock);
    keyring->last_worked = data_key->alg;
    struct kept_data_key *kept = &keyring->kept[keyring->kept_next++ % KW_KEPT_DATA_KEYS];
    kw_data_key_cleanup(&kept->data_key);
    kept->key = key;
    memcpy(kept->wrapped_sha256, sha256, KW_SHA256_SIZE);
    kept->data_key = copy;
    (void)pthread_mutex_unlock(&keyring->lock);
    return KW_OK;
}

/* *ret_data_key has no secret where none is kept. */
static enum kw_status take_kept(struct kw_keyring *keyring, const struct kw_token_key *key,
                                const struct kw_unwrap_policy *policy,
                                const uint8_t sha256[KW_SHA256_SIZE],
                                struct kw_data_key *ret_data_key, struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    const struct kept_data_key *kept = find_kept(keyring, key, policy, sha256);
    enum kw_status status = kept ? copy_data_key(&kept->data_key, ret_data_key, err) : KW_OK;
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

struct unwrapping {
    const struct kw_unwrap_policy *policy;
    const uint8_t *wrapped;
    size_t wrapped_len;
    struct kw_data_key data_key; /* what came of it */
};

static enum kw_status unwrap_once(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const struct unwrapping *job, struct kw_act *act,
                                  struct kw_data_key *ret_data_key)
{
    struct kw_error *err = &act->failure;
    uint8_t sha256[KW_SHA256_SIZE];
    enum kw_status status = kw_sha256(keyring->crypto, job->wrapped, job->wrapped_len, sha256, err);
    if (status)
        return status;
    struct kw_data_key data_key = {.secret = NULL};
    status = take_kept(keyring, key, job->policy, sha256, &data_key, err);
    if (status || data_key.secret) {
        *ret_data_key = data_key;
        return status;
    }
    status = unwrap(keyring, key, job->policy, job->wrapped, job->wrapped_len, &act->ck_rv,
                    &data_key, err);
    if (status)
        return status;
    status = keep(keyring, key, sha256, &data_key, err);
    if (status) {
        kw_data_key_cleanup(&data_key);
        return status;
    }
    *ret_data_key = data_key;
    return KW_OK;
}

static enum kw_status work(struct kw_keyring *keyring, const struct kw_token_key *key,
                           void *context, struct kw_act *act)
{
    struct unwrapping *job = context;
    enum kw_status status = unwrap_once(keyring, key, job, act, &job->data_key);
    if (status)
        return status;
    job->data_key.key = key;
    act->deed.key.alg = kw_wrap_alg_name(job->data_key.alg);
    return KW_OK;
}

enum kw_status kw_keyring_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_unwrap_policy *policy,
                                 const struct kw_purpose *purpose, const uint8_t *wrapped,
                                 size_t wrapped_len, struct kw_data_key *ret_data_key,
                                 struct kw_error *err)
{
    struct unwrapping job = {.policy = policy, .wrapped = wrapped, .wrapped_len = wrapped_len};
    const struct kw_operation operation = {
        .op = "unwrap", .purpose = purpose, .work = work, .context = &job};
    char label[96];
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    if (wrapped_len != key->public.modulus_len)
        return kw_fail(err, KW_METADATA,
                       "the wrapped data key has %zu bytes, but key \"%s\" has %zu bits and needs "
                       "%zu; the metadata is damaged or names the wrong key",
                       wrapped_len, label, kw_rsa_bits(&key->public), key->public.modulus_len);
    enum kw_status status = kw_operate(keyring, key, &operation, err);
    if (status) {
        kw_data_key_cleanup(&job.data_key);
        return status;
    }
    *ret_data_key = job.data_key;
    return KW_OK;
}
