/* Signing with an RSA key on the token. */
#include <string.h>

#include "internal.h"

/* DER of DigestInfo for SHA-256 (RFC 8017 section 9.2, note 1), up to the digest. */
static const uint8_t digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                      0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

/* The ladder, best first. Some tokens hash, some only sign a digest. */
enum input { OVER_DATA, OVER_DIGEST, OVER_DIGEST_INFO };
static const struct way {
    CK_MECHANISM_TYPE mechanism;
    enum kw_signature_alg alg;
    enum input input;
} ways[] = {
    {CKM_RSA_PKCS_PSS, KW_PS256, OVER_DIGEST},
    {CKM_SHA256_RSA_PKCS_PSS, KW_PS256, OVER_DATA},
    {CKM_SHA256_RSA_PKCS, KW_RS256, OVER_DATA},
    {CKM_RSA_PKCS, KW_RS256, OVER_DIGEST_INFO},
};

struct signing {
    const struct kw_token_key *key;
    const void *data;
    size_t len;
    uint8_t hashed[sizeof(digest_info) + KW_SHA256_SIZE];
    enum kw_signature_alg alg;
    uint8_t signature[KW_RSA_MAX_BYTES];
    bool asked_again;
};

static CK_RV sign(struct kw_token *token, struct kw_session *session, const struct way *way,
                  CK_OBJECT_HANDLE handle, struct signing *job)
{
    CK_RSA_PKCS_PSS_PARAMS pss = {
        .hashAlg = CKM_SHA256, .mgf = CKG_MGF1_SHA256, .sLen = KW_SHA256_SIZE};
    CK_MECHANISM mechanism = {.mechanism = way->mechanism};
    if (way->alg == KW_PS256) {
        mechanism.pParameter = &pss;
        mechanism.ulParameterLen = sizeof(pss);
    }
    const struct {
        const void *bytes;
        size_t len;
    } inputs[] = {
        [OVER_DATA] = {job->data, job->len},
        [OVER_DIGEST] = {job->hashed + sizeof(digest_info), KW_SHA256_SIZE},
        [OVER_DIGEST_INFO] = {job->hashed, sizeof(job->hashed)},
    };
    CK_ULONG len = sizeof(job->signature);
    CK_RV rv = token->functions->C_SignInit(session->handle, &mechanism, handle);
    if (rv == CKR_OK)
        rv = token->functions->C_Sign(session->handle, (CK_BYTE *)inputs[way->input].bytes,
                                      inputs[way->input].len, job->signature, &len);
    if (rv == CKR_OK && len != job->key->public.modulus_len)
        rv = CKR_MECHANISM_INVALID;
    if (rv == CKR_OK && kw_rsa_verify(token->crypto, &job->key->public, way->alg, job->data,
                                      job->len, job->signature, len, NULL) != KW_OK)
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
    for (size_t i = 0; i < KW_COUNT(ways) && !status; i++) {
        rv = sign(token, session, &ways[i], handle, job);
        if (rv == CKR_OK) {
            job->alg = ways[i].alg;
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
                      "the token \"%s\" does not sign with the key \"%s\" (%s); use a token that "
                      "does RSASSA-PSS or RSASSA-PKCS1-v1_5 with SHA-256",
                      token->info.label,
                      kw_printable(job->key->label, strlen(job->key->label), label, sizeof(label)),
                      kw_rv_name(rv, name));
}

enum kw_status kw_token_sign(struct kw_token *token, const struct kw_token_key *key,
                             const void *data, size_t len, enum kw_signature_alg *ret_alg,
                             uint8_t out[KW_RSA_MAX_BYTES], struct kw_error *err)
{
    struct signing job = {.key = key, .data = data, .len = len};
    memcpy(job.hashed, digest_info, sizeof(digest_info));
    enum kw_status status =
        kw_sha256(token->crypto, data, len, job.hashed + sizeof(digest_info), err);
    if (!status)
        status = kw_token_with_session(token, sign_in_session, &job, err);
    if (status)
        return status;
    memcpy(out, job.signature, key->public.modulus_len);
    *ret_alg = job.alg;
    return KW_OK;
}
