/* What others ask a key for, on record: the intent first, what came of it after. */
#include <inttypes.h>
#include <string.h>

#include "internal.h"

#define DEFAULT_GIVE_UP_S 300

/* ---- any operation ---- */

static enum kw_status check_use(struct kw_keyring *keyring, const struct kw_token_key *key,
                                struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_check_use(keyring, key, err);
    if (!status)
        status = kw_check_twin(keyring, key, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

/* Whoever brings a key of its own need not have reached the token by this keyring before. */
static enum kw_status open_first(struct kw_keyring *keyring, struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_open_either(keyring, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_operate_here(struct kw_keyring *keyring, const struct kw_token_key *key,
                               const struct kw_operation *operation, struct kw_error *err)
{
    struct kw_act act;
    bool checked = operation->purpose && operation->purpose->checked;
    enum kw_status status = checked ? open_first(keyring, err) : KW_OK;
    if (!status)
        status = kw_act_begin_unlocked(keyring, &act, operation, key, err);
    if (status)
        return status;
    if (!operation->no_record && !checked)
        status = check_use(keyring, key, &act.failure);
    if (!status)
        status = operation->work(keyring, key, operation->context, &act);
    return kw_act_end_unlocked(keyring, &act, status, err);
}

enum kw_status kw_operate(struct kw_keyring *keyring, const struct kw_token_key *key,
                          const struct kw_operation *operation, struct kw_error *err)
{
    if (keyring->failover)
        return kw_failover_operate(keyring->failover, key, operation, err);
    return kw_operate_here(keyring, key, operation, err);
}

/* ---- decrypting ---- */

struct decrypting {
    enum kw_wrap_alg alg;
    const uint8_t *data;
    size_t len;
    struct kw_secret *secret;
};

/* One status and message for every cause, and no CK_RV: whoever can tell causes apart can decrypt
 * RSA1_5 by asking often. The trail has what the token said. */
static enum kw_status decrypt(struct kw_keyring *keyring, const struct kw_token_key *key,
                              void *context, struct kw_act *act)
{
    struct decrypting *job = context;
    enum kw_status status = kw_keyring_raw_decrypt(keyring, key, job->alg, job->data, job->len,
                                                   &job->secret, &act->failure);
    if (status != KW_KEY_UNWRAP)
        return status;
    act->ck_rv = act->failure.ck_rv;
    return kw_fail(&act->failure, KW_KEY_UNWRAP,
                   "the key does not decrypt this: it was encrypted for another key or with "
                   "another algorithm, or is damaged");
}

enum kw_status kw_keyring_decrypt(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const char *op, enum kw_wrap_alg alg,
                                  const struct kw_purpose *purpose, const uint8_t *data, size_t len,
                                  struct kw_secret **ret_secret, struct kw_error *err)
{
    struct decrypting job = {.alg = alg, .data = data, .len = len};
    const struct kw_operation operation = {.op = op,
                                           .alg = kw_wrap_alg_name(alg),
                                           .purpose = purpose,
                                           .work = decrypt,
                                           .context = &job};
    enum kw_status status = kw_operate(keyring, key, &operation, err);
    if (status) {
        kw_secret_free(job.secret);
        return status;
    }
    *ret_secret = job.secret;
    return KW_OK;
}

/* ---- signing ---- */

struct signing {
    enum kw_digest_signature alg;
    const uint8_t *digest;
    size_t len;
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t signature_len;
};

static enum kw_status sign(struct kw_keyring *keyring, const struct kw_token_key *key,
                           void *context, struct kw_act *act)
{
    struct signing *job = context;
    if (!keyring->token)
        return kw_fail(&act->failure, KW_KEY_UNUSABLE, "a vault's keys sign nothing here");
    job->signature_len = key->public.modulus_len;
    return kw_token_sign_digest(keyring->token, key, job->alg, job->digest, job->len,
                                job->signature, &act->failure);
}

enum kw_status kw_keyring_sign(struct kw_keyring *keyring, const struct kw_token_key *key,
                               enum kw_digest_signature alg, const struct kw_purpose *purpose,
                               const uint8_t *digest, size_t len, uint8_t out[KW_RSA_MAX_BYTES],
                               struct kw_error *err)
{
    struct signing job = {.alg = alg, .digest = digest, .len = len};
    const struct kw_operation operation = {.op = "sign",
                                           .alg = kw_digest_signature_name(alg),
                                           .purpose = purpose,
                                           .work = sign,
                                           .context = &job};
    enum kw_status status = kw_digest_signature_check(alg, len, err);
    if (!status)
        status = kw_operate(keyring, key, &operation, err);
    if (!status)
        memcpy(out, job.signature, job.signature_len);
    return status;
}

/* ---- AES keys, which have no twin: a key of that name on another token may be any ---- */

/* Once it is open it stays so, and is used without the lock. */
static enum kw_status open_token(struct kw_keyring *keyring, struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_open_token(keyring, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_aes_keys(struct kw_keyring *keyring, struct kw_token_key **ret_keys,
                                   size_t *ret_count, struct kw_error *err)
{
    enum kw_status status = open_token(keyring, err);
    return status ? status : kw_token_aes_keys(keyring->token, ret_keys, ret_count, err);
}

struct aes_job {
    bool padded;
    const struct kw_secret *secret; /* to be wrapped to */
    struct kw_buffer *wrapped;
    const uint8_t *data; /* to be unwrapped to */
    size_t len;
    struct kw_secret *unwrapped;
};

static enum kw_status aes_wrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                               void *context, struct kw_act *act)
{
    const struct aes_job *job = context;
    return kw_token_aes_wrap(keyring->token, key, job->padded, job->secret, job->wrapped,
                             &act->failure);
}

/* What the token said is for the trail alone, as with decrypting. */
static enum kw_status aes_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 void *context, struct kw_act *act)
{
    struct aes_job *job = context;
    enum kw_status status = kw_token_aes_unwrap(keyring->token, key, job->padded, job->data,
                                                job->len, &job->unwrapped, &act->failure);
    if (status == KW_KEY_UNWRAP) {
        act->ck_rv = act->failure.ck_rv;
        act->failure.ck_rv = 0;
    }
    return status;
}

static enum kw_status operate_aes(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const struct kw_purpose *purpose, struct aes_job *job,
                                  struct kw_error *err)
{
    const struct kw_operation operation = {.op = job->secret ? "wrap" : "unwrap",
                                           .alg = job->padded ? "A256KWP" : "A256KW",
                                           .purpose = purpose,
                                           .no_record = true,
                                           .work = job->secret ? aes_wrap : aes_unwrap,
                                           .context = job};
    enum kw_status status = open_token(keyring, err);
    return status ? status : kw_operate_here(keyring, key, &operation, err);
}

enum kw_status kw_keyring_aes_wrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   bool padded, const struct kw_purpose *purpose,
                                   const struct kw_secret *secret, struct kw_buffer *ret_wrapped,
                                   struct kw_error *err)
{
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_KWP_SIZE(KW_AES_DATA_MAX));
    struct aes_job job = {.padded = padded, .secret = secret, .wrapped = &wrapped};
    enum kw_status status = operate_aes(keyring, key, purpose, &job, err);
    if (!status)
        status = kw_buffer_append(ret_wrapped, wrapped.data, wrapped.len, err);
    kw_buffer_cleanup(&wrapped);
    return status;
}

enum kw_status kw_keyring_aes_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                     bool padded, const struct kw_purpose *purpose,
                                     const uint8_t *wrapped, size_t len,
                                     struct kw_secret **ret_secret, struct kw_error *err)
{
    struct aes_job job = {.padded = padded, .data = wrapped, .len = len};
    enum kw_status status = operate_aes(keyring, key, purpose, &job, err);
    if (status) {
        kw_secret_free(job.unwrapped);
        return status;
    }
    *ret_secret = job.unwrapped;
    return KW_OK;
}

/* ---- whether it works ---- */

static enum kw_status ping(struct kw_keyring *keyring, struct kw_error *err)
{
    enum kw_status status = open_token(keyring, err);
    return status ? status : kw_token_ping(keyring->token, err);
}

enum kw_status kw_keyring_ping(struct kw_keyring *keyring, struct kw_error *err)
{
    struct kw_keyring *serving = kw_failover_serving(keyring);
    struct kw_error failure = {.status = KW_OK}, second = {.status = KW_OK};
    enum kw_status status = ping(serving, &failure);
    if (kw_is_token_failure(status) && serving->twin && ping(serving->twin, &second) == KW_OK)
        return KW_OK;
    if (kw_is_pin_failure(second.status))
        failure = second;
    if (status && err)
        *err = failure;
    return failure.status;
}

enum kw_status kw_keyring_check_hang(struct kw_keyring *keyring, bool first_only,
                                     struct kw_error *err)
{
    unsigned give_up_s = keyring->choice.give_up_s ? keyring->choice.give_up_s : DEFAULT_GIVE_UP_S;
    uint64_t hang_s = kw_longest_hang_ms() / 1000;
    if (hang_s < give_up_s)
        return KW_OK;
    enum kw_status status = first_only ? KW_TOKEN : kw_keyring_ping(keyring, err);
    if (!status || kw_is_pin_failure(status))
        return status;
    return kw_fail(err, KW_TOKEN,
                   "a call into the PKCS#11 module has not come back in %" PRIu64
                   " s after its timeout, so none is made in this process any more; see that the "
                   "HSM, its network and its daemons work, then start this anew",
                   hang_s);
}

void kw_keyring_stats(struct kw_keyring *keyring, struct kw_keyring_stats *ret_stats)
{
    struct kw_keyring *serving = kw_failover_serving(keyring);
    struct kw_keyring_stats stats = {.sessions = 0};
    (void)pthread_mutex_lock(&serving->common->lock);
    if (serving->token)
        (void)kw_token_stats(serving->token, &serving->stats); /* else those of the last time */
    stats.sessions = serving->stats.sessions;
    stats.sessions_in_use = serving->stats.in_use;
    stats.sessions_max = serving->stats.max;
    stats.recoveries = serving->stats.recoveries;
    if (serving->twin) {
        if (serving->twin->token)
            (void)kw_token_stats(serving->twin->token, &serving->twin->stats);
        stats.recoveries += serving->twin->stats.recoveries;
    }
    (void)pthread_mutex_unlock(&serving->common->lock);
    if (keyring->failover)
        kw_failover_count(keyring->failover, &stats);
    *ret_stats = stats;
}
