/* Decrypting with a key on the token: its own mechanism first, then raw RSA with the padding check
 * on the host. */
#include <string.h>

#include "internal.h"

/* One way to decrypt. */
struct rung {
    CK_MECHANISM_TYPE mechanism;
    CK_MECHANISM_TYPE hash; /* OAEP parameters, for CKM_RSA_PKCS_OAEP */
    CK_RSA_PKCS_MGF_TYPE mgf;
};
/* Raw RSA is not for RSA1_5: that check on the host would invite Bleichenbacher's attack. */
static const struct ladder {
    size_t rungs;
    struct rung rung[KW_RUNG_COUNT];
} ladders[KW_WRAP_ALG_COUNT] = {
    [KW_RSA_OAEP] = {2, {{CKM_RSA_PKCS_OAEP, CKM_SHA_1, CKG_MGF1_SHA1}, {CKM_RSA_X_509, 0, 0}}},
    [KW_RSA_OAEP_256] = {2,
                         {{CKM_RSA_PKCS_OAEP, CKM_SHA256, CKG_MGF1_SHA256}, {CKM_RSA_X_509, 0, 0}}},
    [KW_RSA1_5] = {1, {{CKM_RSA_PKCS, 0, 0}}},
};

struct attempt {
    const struct kw_token_key *key;
    const struct rung *rung;
    const uint8_t *wrapped;
    size_t wrapped_len;
    CK_OBJECT_HANDLE handle; /* of the key, as it was used */
    bool refused;            /* the token does not offer this way */
    bool sent;               /* some way was offered and was given the ciphertext */
    bool hidden;             /* RSA1_5 decrypted, and goes the way of what did not */
    struct kw_secret *plain; /* of the modulus's size; what C_Decrypt gave */
};

/* The same for every cause: whoever can tell them apart can decrypt without the key. */
static enum kw_status does_not_unwrap(CK_RV rv, struct kw_error *err)
{
    return kw_fail_ck(
        err, KW_KEY_UNWRAP, rv,
        "the key does not unwrap the data key: it was wrapped for another key or with "
        "another algorithm, or is damaged; check the key version");
}

/* ---- one way ---- */

/* Its parameters are in *oaep. */
static CK_MECHANISM mechanism_of(const struct rung *rung, CK_RSA_PKCS_OAEP_PARAMS *oaep)
{
    CK_MECHANISM mechanism = {.mechanism = rung->mechanism};
    *oaep = (CK_RSA_PKCS_OAEP_PARAMS){
        .hashAlg = rung->hash, .mgf = rung->mgf, .source = CKZ_DATA_SPECIFIED};
    if (rung->mechanism == CKM_RSA_PKCS_OAEP) {
        mechanism.pParameter = oaep;
        mechanism.ulParameterLen = sizeof(*oaep);
    }
    return mechanism;
}

/* C_DecryptInit has not seen the ciphertext, so its answers give nothing away. */
static enum kw_status init_failed(struct kw_token *token, struct kw_session *session,
                                  struct attempt *attempt, CK_RV rv, struct kw_error *err)
{
    enum kw_rv_meaning meaning = kw_rv_meaning(rv);
    attempt->refused =
        !kw_rv_recoverable(rv) && meaning != KW_RV_MEMORY && meaning != KW_RV_PIN_EXPIRED;
    return kw_session_fail(token, session, rv, "start decrypting", err);
}

static enum kw_status decrypt_failed(struct kw_token *token, struct kw_session *session,
                                     struct attempt *attempt, CK_RV rv, struct kw_error *err)
{
    session->failure = rv;
    enum kw_rv_meaning meaning = kw_rv_meaning(rv);
    attempt->refused = meaning == KW_RV_NOT_OFFERED;
    if (rv == KW_CKR_NO_MEMORY) /* nobody has seen the ciphertext */
        return kw_token_fail(token, rv, "decrypt", err);
    session->input_doubted = true;
    /* Trouble with the device is looked into by reconnecting; if it stays, it is the ciphertext. */
    if (meaning == KW_RV_DEVICE_TROUBLE || !kw_rv_recoverable(rv))
        return does_not_unwrap(rv, err);
    return kw_token_fail(token, rv, "decrypt", err);
}

/* The token's answers to C_DecryptInit and, unless that failed, C_Decrypt. */
static enum kw_status ask(struct kw_token *token, struct kw_session *session,
                          const struct attempt *attempt, CK_ULONG *len, CK_RV *ret_init,
                          CK_RV *ret_rv, struct kw_error *err)
{
    CK_RSA_PKCS_OAEP_PARAMS oaep;
    CK_MECHANISM mechanism = mechanism_of(attempt->rung, &oaep);
    CK_BYTE *out = kw_secret_data(attempt->plain);
    if (!attempt->key->always_authenticate) {
        *ret_rv = kw_module_decrypt(token->module, session->handle, &mechanism, attempt->handle,
                                    attempt->wrapped, attempt->wrapped_len, out, len, ret_init);
        return KW_OK;
    }
    *ret_init = token->functions->C_DecryptInit(session->handle, &mechanism, attempt->handle);
    if (*ret_init != CKR_OK)
        return KW_OK;
    enum kw_status status = kw_token_login_for_key(token, session->handle, err);
    if (status) {
        session->failure = CKR_FUNCTION_CANCELED; /* the operation is still active in it */
        return status;
    }
    *ret_rv = token->functions->C_Decrypt(session->handle, (CK_BYTE *)attempt->wrapped,
                                          attempt->wrapped_len, out, len);
    return KW_OK;
}

static enum kw_status try_rung(struct kw_token *token, struct kw_session *session, void *context,
                               struct kw_error *err)
{
    struct attempt *attempt = context;
    attempt->refused = false;
    /* OAEP does not decrypt with another key; RSA1_5 may give junk, so it has to be the right one.
     */
    bool check = attempt->rung->mechanism == CKM_RSA_PKCS;
    enum kw_status status =
        kw_key_handle(token, session, attempt->key, check, &attempt->handle, err);
    if (status)
        return status;
    CK_ULONG len = kw_secret_capacity(attempt->plain);
    CK_RV init = CKR_OK;
    CK_RV rv = CKR_OK;
    if ((status = ask(token, session, attempt, &len, &init, &rv, err)))
        return status;
    if (init != CKR_OK)
        return init_failed(token, session, attempt, init, err);
    attempt->sent = true;
    if (rv == CKR_OK && len > kw_secret_capacity(attempt->plain))
        rv = CKR_BUFFER_TOO_SMALL;
    if (rv == CKR_OK)
        kw_secret_set_len(attempt->plain, len);
    if (rv == CKR_OK && attempt->rung->mechanism == CKM_RSA_PKCS) {
        attempt->hidden = true;
        rv = CKR_ENCRYPTED_DATA_INVALID;
    }
    return rv == CKR_OK ? KW_OK : decrypt_failed(token, session, attempt, rv, err);
}

/* ---- the ladder ---- */

/* Raw RSA gives a number; OAEP wants it as long as the modulus. */
static void pad_left(struct kw_secret *secret)
{
    size_t len = kw_secret_len(secret), size = kw_secret_capacity(secret);
    uint8_t *data = kw_secret_data(secret);
    kw_secret_set_len(secret, size);
    memmove(data + (size - len), data, len);
    memset(data, 0, size - len);
}

static enum kw_status unpad(struct kw_token *token, struct attempt *attempt, enum kw_wrap_alg alg,
                            struct kw_error *err)
{
    if (attempt->rung->mechanism != CKM_RSA_X_509)
        return KW_OK;
    pad_left(attempt->plain);
    struct kw_secret *plain = NULL;
    enum kw_status status = kw_oaep_decode(token->crypto, alg, attempt->plain, &plain, err);
    if (status == KW_KEY_UNWRAP)
        return does_not_unwrap(0, err);
    if (status)
        return status;
    kw_secret_free(attempt->plain);
    attempt->plain = plain;
    return KW_OK;
}

static enum kw_rung first_rung(struct kw_token *token, enum kw_wrap_alg alg)
{
    (void)pthread_mutex_lock(&token->lock);
    enum kw_rung first = token->first_rung[alg];
    (void)pthread_mutex_unlock(&token->lock);
    return first;
}

static void remember_rung(struct kw_token *token, enum kw_wrap_alg alg, enum kw_rung rung)
{
    (void)pthread_mutex_lock(&token->lock);
    token->first_rung[alg] = rung;
    (void)pthread_mutex_unlock(&token->lock);
}

static enum kw_status not_offered(const struct kw_token *token, const struct attempt *attempt,
                                  enum kw_wrap_alg alg, const CK_RV refusals[KW_RUNG_COUNT],
                                  struct kw_error *err)
{
    CK_RV rv = refusals[KW_RUNG_NATIVE];
    /* The token refused only after a look at the ciphertext: not to be told from a bad one. */
    if (attempt->sent)
        return does_not_unwrap(rv, err);
    for (size_t i = 0; i < KW_RUNG_COUNT; i++) {
        enum kw_rv_meaning meaning = kw_rv_meaning(refusals[i]);
        if (meaning == KW_RV_OTHER || meaning == KW_RV_TROUBLE)
            return kw_token_fail(token, refusals[i], "start decrypting", err);
    }
    const struct kw_token_key *key = attempt->key;
    char label[96], name[KW_RV_NAME_SIZE];
    (void)kw_printable(key->label, strlen(key->label), label, sizeof(label));
    return kw_fail_ck(err, KW_KEY_UNUSABLE, rv,
                      "the token \"%s\" does not decrypt %s with the key \"%s\"%s (%s); allow it "
                      "there, or use another algorithm or key",
                      token->info.label, kw_wrap_alg_name(alg), label,
                      ladders[alg].rungs > 1 ? ", nor does it allow raw RSA" : "",
                      kw_rv_name(rv, name));
}

static enum kw_status climb(struct kw_token *token, struct attempt *attempt, enum kw_wrap_alg alg,
                            struct kw_error *err)
{
    const struct ladder *ladder = &ladders[alg];
    size_t first = first_rung(token, alg);
    CK_RV refusals[KW_RUNG_COUNT] = {CKR_OK};
    for (size_t i = 0; i < ladder->rungs; i++) {
        size_t rung = (first + i) % ladder->rungs;
        struct kw_error failure = {.status = KW_OK};
        attempt->rung = &ladder->rung[rung];
        attempt->refused = false;
        enum kw_status status = kw_token_with_session(token, try_rung, attempt, &failure);
        if (!status) {
            if (i > 0)
                remember_rung(token, alg, (enum kw_rung)rung);
            return unpad(token, attempt, alg, err);
        }
        if (!attempt->refused) {
            if (err)
                *err = failure;
            return status;
        }
        refusals[rung] = failure.ck_rv;
    }
    return not_offered(token, attempt, alg, refusals, err);
}

/* Looks whether the handle that was used is the key's still, and finds the key if it is not. */
static enum kw_status look_again(struct kw_token *token, struct kw_session *session, void *context,
                                 struct kw_error *err)
{
    struct attempt *attempt = context;
    return kw_key_handle(token, session, attempt->key, true, &attempt->handle, err);
}

/* With RSA1_5 good padding is as secret as what it holds: the caller may refuse that, and from the
 * time until then nobody is to learn whether it was the padding. So both go the same way, up to the
 * end of this function. */
static enum kw_status decrypt(struct kw_token *token, struct attempt *attempt, enum kw_wrap_alg alg,
                              struct kw_error *err)
{
    struct kw_error failure = {.status = KW_OK};
    enum kw_status status = climb(token, attempt, alg, &failure);
    /* Another key may not be allowed to decrypt. */
    if (status == KW_KEY_UNWRAP || status == KW_KEY_UNUSABLE) {
        CK_OBJECT_HANDLE used = attempt->handle;
        struct kw_error found = {.status = KW_OK};
        if (kw_token_with_session(token, look_again, attempt, &found) != KW_OK) {
            failure = found;
            status = found.status;
        } else if (attempt->handle != used) {
            attempt->hidden = false;
            status = climb(token, attempt, alg, &failure);
        }
    }
    if (status == KW_KEY_UNWRAP && attempt->hidden)
        return KW_OK;
    if (status && err)
        *err = failure;
    return status;
}

static enum kw_status check_key(const struct kw_token *token, const struct kw_token_key *key,
                                struct kw_error *err)
{
    char label[96];
    (void)kw_printable(key->label, strlen(key->label), label, sizeof(label));
    if (key->public.modulus_len == 0)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the key \"%s\" on the token \"%s\" shows no RSA modulus of %d to %d bits; "
                       "use another key",
                       label, token->info.label, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    /* No token can be asked to unwrap in a way that works on all of them. */
    if (key->unwrap && !key->decrypt)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the key \"%s\" on the token \"%s\" may unwrap but not decrypt; set "
                       "CKA_DECRYPT on it, which is what is used here",
                       label, token->info.label);
    return KW_OK;
}

enum kw_status kw_token_decrypt(struct kw_token *token, const struct kw_token_key *key,
                                enum kw_wrap_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                                struct kw_secret **ret_secret, struct kw_error *err)
{
    enum kw_status status = check_key(token, key, err);
    if (status)
        return status;
    if (wrapped_len != key->public.modulus_len)
        return does_not_unwrap(CKR_ENCRYPTED_DATA_LEN_RANGE, err);
    struct attempt attempt = {.key = key, .wrapped = wrapped, .wrapped_len = wrapped_len};
    status = kw_secret_new(key->public.modulus_len, &attempt.plain, err);
    if (status)
        return status;
    status = decrypt(token, &attempt, alg, err);
    if (status) {
        kw_secret_free(attempt.plain);
        return status;
    }
    *ret_secret = attempt.plain;
    return KW_OK;
}
