/* Signing with an RSA key on the token. */
#include <string.h>

#include "internal.h"

/* Some tokens hash, some only sign a digest, some only do raw RSA. */
enum input { OVER_DATA, OVER_DIGEST, OVER_DIGEST_INFO, OVER_ENCODED };
struct way {
    CK_MECHANISM_TYPE mechanism;
    bool pss;
    enum input input;
};
/* Best first. */
static const struct way data_ways[] = {
    {CKM_RSA_PKCS_PSS, true, OVER_DIGEST},
    {CKM_SHA256_RSA_PKCS_PSS, true, OVER_DATA},
    {CKM_SHA256_RSA_PKCS, false, OVER_DATA},
    {CKM_RSA_PKCS, false, OVER_DIGEST_INFO},
};
/* Of either padding, as kw_token's sign_first counts them. */
static const struct way digest_ways[2][2] = {
    {{CKM_RSA_PKCS, false, OVER_DIGEST_INFO}, {CKM_RSA_X_509, false, OVER_ENCODED}},
    {{CKM_RSA_PKCS_PSS, true, OVER_DIGEST}, {CKM_RSA_X_509, true, OVER_ENCODED}},
};

static const struct pss_parameters {
    CK_MECHANISM_TYPE hash;
    CK_RSA_PKCS_MGF_TYPE mgf;
} pss_parameters[KW_DIGEST_SIGNATURE_COUNT] = {
    [KW_DIGEST_PS256] = {CKM_SHA256, CKG_MGF1_SHA256},
    [KW_DIGEST_PS384] = {CKM_SHA384, CKG_MGF1_SHA384},
    [KW_DIGEST_PS512] = {CKM_SHA512, CKG_MGF1_SHA512},
};

struct signing {
    const struct kw_token_key *key;
    const struct way *ways;
    size_t way_count;
    size_t first;                     /* of the ways, to be tried before the others */
    enum kw_digest_signature algs[2]; /* without PSS and with it */
    const void *data;                 /* NULL where only its digest is known */
    size_t len;
    const uint8_t *digest;
    size_t digest_len;
    const struct way *worked;
    uint8_t signature[KW_RSA_MAX_BYTES];
    bool asked_again;
};

/* What is handed to the token. */
struct input_bytes {
    const void *bytes;
    size_t len;
    uint8_t made[KW_RSA_MAX_BYTES];
};

/* CKR_OK, or why there is nothing to hand over. */
static CK_RV make_input(struct kw_token *token, const struct signing *job, const struct way *way,
                        struct input_bytes *ret_input)
{
    enum kw_digest_signature alg = job->algs[way->pss];
    enum kw_status status = KW_OK;
    switch (way->input) {
    case OVER_DATA:
        ret_input->bytes = job->data;
        ret_input->len = job->len;
        break;
    case OVER_DIGEST:
        ret_input->bytes = job->digest;
        ret_input->len = job->digest_len;
        break;
    case OVER_DIGEST_INFO:
        ret_input->bytes = ret_input->made;
        ret_input->len = kw_digest_info(alg, job->digest, ret_input->made);
        break;
    case OVER_ENCODED:
        ret_input->bytes = ret_input->made;
        ret_input->len = job->key->public.modulus_len;
        status = kw_signature_encode(token->crypto, &job->key->public, alg, job->digest,
                                     job->digest_len, ret_input->made, NULL);
        break;
    }
    if (status == KW_NO_MEMORY)
        return KW_CKR_NO_MEMORY;
    return status ? CKR_MECHANISM_INVALID : CKR_OK;
}

static CK_RV ask(struct kw_token *token, struct kw_session *session, const struct way *way,
                 CK_OBJECT_HANDLE handle, const struct signing *job,
                 const struct input_bytes *input, uint8_t *out, CK_ULONG *len)
{
    const struct pss_parameters *parameters = &pss_parameters[job->algs[true]];
    CK_RSA_PKCS_PSS_PARAMS pss = {
        .hashAlg = parameters->hash, .mgf = parameters->mgf, .sLen = job->digest_len};
    CK_MECHANISM mechanism = {.mechanism = way->mechanism};
    if (way->pss && way->input != OVER_ENCODED) {
        mechanism.pParameter = &pss;
        mechanism.ulParameterLen = sizeof(pss);
    }
    CK_RV rv = token->functions->C_SignInit(session->handle, &mechanism, handle);
    if (rv == CKR_OK && job->key->always_authenticate &&
        kw_token_login_for_key(token, session->handle, NULL) != KW_OK)
        rv = CKR_USER_NOT_LOGGED_IN;
    if (rv == CKR_OK)
        rv = token->functions->C_Sign(session->handle, (CK_BYTE *)input->bytes, input->len, out,
                                      len);
    return rv;
}

static CK_RV sign(struct kw_token *token, struct kw_session *session, const struct way *way,
                  CK_OBJECT_HANDLE handle, struct signing *job)
{
    struct input_bytes input;
    CK_ULONG len = sizeof(job->signature);
    CK_RV rv = make_input(token, job, way, &input);
    if (rv == CKR_OK)
        rv = ask(token, session, way, handle, job, &input, job->signature, &len);
    if (rv == CKR_OK && len != job->key->public.modulus_len)
        rv = CKR_MECHANISM_INVALID;
    if (rv == CKR_OK &&
        kw_rsa_verify_digest(token->crypto, &job->key->public, job->algs[way->pss], job->digest,
                             job->digest_len, job->signature, len, NULL) != KW_OK)
        rv = CKR_MECHANISM_INVALID;
    return rv;
}

/* Some tokens say that something failed where they do not offer a way: they are asked again once,
 * and then in the other ways. */
static bool may_pass(CK_RV rv, struct signing *job)
{
    if (kw_rv_remedy(rv) != KW_REMEDY_ASK_AGAIN)
        return kw_rv_recoverable(rv) && rv != CKR_OPERATION_ACTIVE;
    bool first = !job->asked_again;
    job->asked_again = true;
    return first;
}

static enum kw_status sign_in_session(struct kw_token *token, struct kw_session *session,
                                      void *context, struct kw_error *err)
{
    struct signing *job = context;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kw_status status = kw_key_handle(token, session, job->key, true, &handle, err);
    CK_RV rv = CKR_OK;
    for (size_t i = 0; i < job->way_count && !status; i++) {
        const struct way *way = &job->ways[(job->first + i) % job->way_count];
        rv = sign(token, session, way, handle, job);
        if (rv == CKR_OK) {
            job->worked = way;
            return KW_OK;
        }
        session->failure = rv; /* a failed operation may stay active: the session is closed */
        if (may_pass(rv, job))
            return kw_session_fail(token, session, rv, "sign", err);
    }
    if (status)
        return status;
    char label[96], name[KW_RV_NAME_SIZE];
    return kw_fail_ck(err, KW_KEY_UNUSABLE, rv,
                      "the token \"%s\" does not sign with the key \"%s\" (%s); use a key that may "
                      "sign, on a token that does RSASSA-PSS or RSASSA-PKCS1-v1_5",
                      token->info.label,
                      kw_printable(job->key->label, strlen(job->key->label), label, sizeof(label)),
                      kw_rv_name(rv, name));
}

enum kw_status kw_token_sign(struct kw_token *token, const struct kw_token_key *key,
                             const void *data, size_t len, enum kw_signature_alg *ret_alg,
                             uint8_t out[KW_RSA_MAX_BYTES], struct kw_error *err)
{
    uint8_t digest[KW_SHA256_SIZE];
    struct signing job = {.key = key,
                          .ways = data_ways,
                          .way_count = KW_COUNT(data_ways),
                          .algs = {KW_DIGEST_RS256, KW_DIGEST_PS256},
                          .data = data,
                          .len = len,
                          .digest = digest,
                          .digest_len = sizeof(digest)};
    enum kw_status status = kw_sha256(token->crypto, data, len, digest, err);
    if (!status)
        status = kw_token_with_session(token, sign_in_session, &job, err);
    if (status)
        return status;
    memcpy(out, job.signature, key->public.modulus_len);
    *ret_alg = job.worked->pss ? KW_PS256 : KW_RS256;
    return KW_OK;
}

/* ---- a digest that was made before ---- */

static size_t first_way(struct kw_token *token, bool pss)
{
    (void)pthread_mutex_lock(&token->lock);
    size_t first = token->sign_first[pss];
    (void)pthread_mutex_unlock(&token->lock);
    return first;
}

static void remember_way(struct kw_token *token, bool pss, size_t way)
{
    (void)pthread_mutex_lock(&token->lock);
    token->sign_first[pss] = way;
    (void)pthread_mutex_unlock(&token->lock);
}

enum kw_status kw_token_sign_digest(struct kw_token *token, const struct kw_token_key *key,
                                    enum kw_digest_signature alg, const uint8_t *digest, size_t len,
                                    uint8_t out[KW_RSA_MAX_BYTES], struct kw_error *err)
{
    enum kw_status status = kw_digest_signature_check(alg, len, err);
    if (status)
        return status;
    bool pss = kw_digest_signature_is_pss(alg);
    struct signing job = {.key = key,
                          .ways = digest_ways[pss],
                          .way_count = KW_COUNT(digest_ways[pss]),
                          .first = first_way(token, pss),
                          .algs = {alg, alg},
                          .digest = digest,
                          .digest_len = len};
    status = kw_token_with_session(token, sign_in_session, &job, err);
    if (status)
        return status;
    size_t worked = (size_t)(job.worked - job.ways);
    if (worked != job.first)
        remember_way(token, pss, worked);
    memcpy(out, job.signature, key->public.modulus_len);
    return KW_OK;
}
