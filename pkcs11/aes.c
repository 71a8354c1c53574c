/* Wrapping bytes of the host with an AES key of the token. */
#include <string.h>

#include "aes.h"

struct job {
    const struct kw_token_key *aes;
    const struct kw_aes_way *way;
    const uint8_t *in;
    size_t in_len;
    uint8_t *wrapped;         /* where it is wrapped to; NULL: it is unwrapped, to */
    struct kw_secret *secret; /* this */
    bool refused;             /* the way is not open with this key */
};

static enum kw_status does_not_unwrap(CK_RV rv, struct kw_error *err)
{
    return kw_fail_ck(err, KW_KEY_UNWRAP, rv,
                      "the AES key does not unwrap this: it was wrapped with another key or in "
                      "another way, or is damaged");
}

static enum kw_status go(struct kw_token *token, struct kw_session *session, void *context,
                         struct kw_error *err)
{
    struct job *job = context;
    struct kw_transfer transfer = {.token = token, .session = session};
    struct kw_transfer_refusal refusal;
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    bool seen = false;
    job->refused = false;
    enum kw_status status = kw_aes_find(token, session, job->aes, &key, err);
    if (status)
        return status;
    CK_RV rv =
        job->wrapped
            ? kw_aes_wrap_by(&transfer, job->way, key, job->in, job->in_len, job->wrapped)
            : kw_aes_unwrap_by(&transfer, job->way, key, job->in, job->in_len, job->secret, &seen);
    kw_transfer_clear(&transfer);
    if (rv == CKR_OK)
        return KW_OK;
    session->failure = rv;
    if (seen && !kw_unwrapping_blames_token(rv)) {
        session->input_doubted = true;
        return does_not_unwrap(rv, err);
    }
    status = kw_transfer_refuse(&transfer, rv, &refusal, err);
    if (status)
        return status;
    job->refused = true;
    return kw_transfer_fail(&transfer, rv, err);
}

static enum kw_status climb(struct kw_token *token, bool padded, struct job *job,
                            struct kw_error *err)
{
    struct kw_aes_skill skills[KW_AES_WAYS];
    struct kw_error failure = {.ck_rv = CKR_MECHANISM_INVALID};
    enum kw_status status = kw_aes_learn(token, padded, skills, err);
    if (status)
        return status;
    for (size_t i = 0; i < KW_AES_WAYS; i++) {
        const struct kw_aes_skill *skill = &skills[i];
        bool fit = job->wrapped ? (job->in_len % KW_AES_UNIT ? skill->wraps_odd : skill->wraps)
                                : skill->unwraps;
        if (!fit)
            continue;
        job->way = &kw_aes_ways[padded][i];
        status = kw_token_with_session(token, go, job, &failure);
        if (!status)
            return KW_OK;
        if (!job->refused) {
            if (err)
                *err = failure;
            return status;
        }
    }
    char label[96], name[KW_RV_NAME_SIZE];
    return kw_fail_ck(
        err, KW_KEY_UNUSABLE, failure.ck_rv,
        "the token \"%s\" does not %s %zu bytes with the AES key \"%s\" as RFC %s has "
        "it (%s); use a token that does, or an RSA key",
        token->info.label, job->wrapped ? "wrap" : "unwrap", job->in_len,
        kw_printable(job->aes->label, strlen(job->aes->label), label, sizeof(label)),
        padded ? "5649" : "3394", kw_rv_name(failure.ck_rv, name));
}

enum kw_status kw_token_aes_wrap(struct kw_token *token, const struct kw_token_key *aes,
                                 bool padded, const struct kw_secret *secret,
                                 struct kw_buffer *ret_wrapped, struct kw_error *err)
{
    uint8_t wrapped[KW_KWP_SIZE(KW_AES_DATA_MAX)];
    size_t len = kw_secret_len(secret);
    struct job job = {.aes = aes, .in = kw_secret_bytes(secret), .in_len = len, .wrapped = wrapped};
    if (len == 0 || len > KW_AES_DATA_MAX ||
        (!padded && (len % KW_AES_UNIT != 0 || len < 2 * KW_AES_UNIT)))
        return kw_fail(err, KW_USAGE, "%zu bytes can't be wrapped with AES: %s, and at most %d",
                       len, padded ? "give at least one" : "give a multiple of 8, at least 16",
                       KW_AES_DATA_MAX);
    enum kw_status status = climb(token, padded, &job, err);
    return status ? status : kw_buffer_append(ret_wrapped, wrapped, KW_KWP_SIZE(len), err);
}

enum kw_status kw_token_aes_unwrap(struct kw_token *token, const struct kw_token_key *aes,
                                   bool padded, const uint8_t *wrapped, size_t len,
                                   struct kw_secret **ret_secret, struct kw_error *err)
{
    struct job job = {.aes = aes, .in = wrapped, .in_len = len};
    size_t least = padded ? 2 * KW_AES_UNIT : 3 * KW_AES_UNIT;
    if (len < least || len % KW_AES_UNIT != 0 || len > KW_KWP_SIZE(KW_AES_DATA_MAX))
        return does_not_unwrap(CKR_WRAPPED_KEY_LEN_RANGE, err);
    enum kw_status status = kw_secret_new(len, &job.secret, err);
    if (!status)
        status = climb(token, padded, &job, err);
    if (status) {
        kw_secret_free(job.secret);
        return status;
    }
    *ret_secret = job.secret;
    return KW_OK;
}
