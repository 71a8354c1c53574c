/* Probing what a token signs with: a new key, and its signature verified on the host. */
#include <string.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "probe.h"

#define POINT_SIZE    65
#define SIGNATURE_MAX KW_RSA_MAX_BYTES
#define WAYS          2

static const CK_BYTE message[] = "keyward probe";

/* Over the message, or over its digest. */
static const struct way {
    CK_MECHANISM_TYPE mechanism;
    bool over_digest;
    const char *name;
} ways[][WAYS] = {
    [KW_PROBE_ECDSA] = {{CKM_ECDSA_SHA256, false, "CKM_ECDSA_SHA256"},
                        {CKM_ECDSA, true, "CKM_ECDSA"}},
    [KW_PROBE_PSS] = {{CKM_SHA256_RSA_PKCS_PSS, false, "CKM_SHA256_RSA_PKCS_PSS"},
                      {CKM_RSA_PKCS_PSS, true, "CKM_RSA_PKCS_PSS"}},
};

struct signing {
    const struct way *way;
    CK_OBJECT_HANDLE private_handle;
    EVP_PKEY *public; /* what verifies */
    uint8_t digest[KW_SHA256_SIZE];
    uint8_t signature[SIGNATURE_MAX];
    size_t len;
};

/* ---- keys ---- */

static EVP_PKEY *read_rsa(OSSL_LIB_CTX *context, struct kw_crypto *crypto,
                          const struct kw_rsa_public *key)
{
    struct kw_buffer pem = KW_BUFFER_INIT(4096);
    EVP_PKEY *pkey = NULL;
    if (kw_rsa_public_to_pem(crypto, key, &pem, NULL) == KW_OK) {
        BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
        pkey = bio ? PEM_read_bio_PUBKEY_ex(bio, NULL, NULL, NULL, context, NULL) : NULL;
        BIO_free(bio);
    }
    kw_buffer_cleanup(&pem);
    return pkey;
}

/* `point` as the token tells it: an OCTET STRING in DER, on some tokens what is in it alone. */
static EVP_PKEY *read_p256(OSSL_LIB_CTX *context, const uint8_t *point, size_t len)
{
    /* RFC 5480: SubjectPublicKeyInfo for prime256v1, up to the point. */
    static const uint8_t head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                   0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                   0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};
    uint8_t info[sizeof(head) + POINT_SIZE];
    if (len != POINT_SIZE && len != POINT_SIZE + 2)
        return NULL;
    memcpy(info, head, sizeof(head));
    memcpy(info + sizeof(head), point + (len - POINT_SIZE), POINT_SIZE);
    const unsigned char *next = info;
    return d2i_PUBKEY_ex(NULL, &next, (long)sizeof(info), context, NULL);
}

static CK_RV make_p256(struct kw_probing *probing, OSSL_LIB_CTX *context, struct signing *signing)
{
    static const CK_BYTE curve[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    struct kw_template public = {.count = 0}, private = {.count = 0};
    bool stays = kw_module_quirks(probing->token->module)->no_session_keys;
    kw_template_add_bool(&public, CKA_TOKEN, stays);
    kw_template_add_bool(&public, CKA_PRIVATE, false);
    kw_template_add_bool(&public, CKA_VERIFY, true);
    kw_template_add(&public, CKA_EC_PARAMS, curve, sizeof(curve));
    kw_template_add_bool(&private, CKA_TOKEN, stays);
    kw_template_add_bool(&private, CKA_PRIVATE, true);
    kw_template_add_bool(&private, CKA_SENSITIVE, true);
    kw_template_add_bool(&private, CKA_EXTRACTABLE, false);
    kw_template_add_bool(&private, CKA_SIGN, true);
    CK_MECHANISM mechanism = {.mechanism = CKM_EC_KEY_PAIR_GEN};
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    uint8_t point[POINT_SIZE + 2];
    CK_ATTRIBUTE attribute = {CKA_EC_POINT, point, sizeof(point)};
    CK_RV rv = probing->token->functions->C_GenerateKeyPair(
        probing->session.handle, &mechanism, public.items, public.count, private.items,
        private.count, &handle, &signing->private_handle);
    if (rv != CKR_OK)
        return rv;
    kw_transfer_keep(&probing->transfer, handle);
    kw_transfer_keep(&probing->transfer, signing->private_handle);
    rv = kw_attributes_read(probing->token->functions, &probing->session, handle, &attribute, 1);
    if (rv == CKR_OK && kw_attribute_known(&attribute))
        signing->public = read_p256(context, point, attribute.ulValueLen);
    return rv;
}

static CK_RV make_rsa(struct kw_probing *probing, OSSL_LIB_CTX *context, struct signing *signing)
{
    struct kw_probe_pair pair;
    kw_probe_make_pair(probing->token, &probing->session, KW_PROBE_SIGNING, &pair);
    if (pair.rv != CKR_OK)
        return pair.rv;
    kw_transfer_keep(&probing->transfer, pair.public_handle);
    kw_transfer_keep(&probing->transfer, pair.private_handle);
    signing->private_handle = pair.private_handle;
    signing->public = read_rsa(context, probing->token->crypto, &pair.key.public);
    return CKR_OK;
}

/* ---- signing and verifying ---- */

static CK_RV sign(struct kw_probing *probing, struct signing *signing)
{
    const CK_FUNCTION_LIST *functions = probing->token->functions;
    CK_SESSION_HANDLE session = probing->session.handle;
    const struct way *way = signing->way;
    CK_RSA_PKCS_PSS_PARAMS pss = {
        .hashAlg = CKM_SHA256, .mgf = CKG_MGF1_SHA256, .sLen = KW_SHA256_SIZE};
    CK_MECHANISM mechanism = {.mechanism = way->mechanism};
    if (way->mechanism == CKM_RSA_PKCS_PSS || way->mechanism == CKM_SHA256_RSA_PKCS_PSS) {
        mechanism.pParameter = &pss;
        mechanism.ulParameterLen = sizeof(pss);
    }
    CK_ULONG len = sizeof(signing->signature);
    CK_RV rv = functions->C_SignInit(session, &mechanism, signing->private_handle);
    if (rv == CKR_OK)
        rv = functions->C_Sign(session, (CK_BYTE *)(way->over_digest ? signing->digest : message),
                               way->over_digest ? sizeof(signing->digest) : sizeof(message),
                               signing->signature, &len);
    if (rv == CKR_OK && len > sizeof(signing->signature))
        rv = CKR_BUFFER_TOO_SMALL;
    if (rv == CKR_OK)
        signing->len = len;
    return rv;
}

/* PKCS#11's r and s, each half of it, to what OpenSSL takes; 0 where that fails. */
static size_t encode_ecdsa(const uint8_t *raw, size_t len, uint8_t out[SIGNATURE_MAX])
{
    if (len != 2 * KW_SHA256_SIZE)
        return 0;
    int half = (int)len / 2, size = 0;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, half, NULL), *s = BN_bin2bn(raw + half, half, NULL);
    if (pair && r && s && ECDSA_SIG_set0(pair, r, s)) {
        unsigned char *next = out;
        size = i2d_ECDSA_SIG(pair, &next);
    } else {
        BN_free(r);
        BN_free(s);
    }
    ECDSA_SIG_free(pair);
    return size > 0 ? (size_t)size : 0;
}

static bool set_pss(EVP_PKEY_CTX *context, const EVP_MD *sha256)
{
    return EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_signature_md(context, sha256) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(context, sha256) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(context, KW_SHA256_SIZE) > 0;
}

static bool verifies(OSSL_LIB_CTX *library, size_t which, const struct signing *signing)
{
    uint8_t encoded[SIGNATURE_MAX];
    const uint8_t *signature = signing->signature;
    size_t len = signing->len;
    if (which == KW_PROBE_ECDSA) {
        len = encode_ecdsa(signature, len, encoded);
        signature = encoded;
    }
    EVP_MD *sha256 = EVP_MD_fetch(library, "SHA256", NULL);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(library, signing->public, NULL);
    bool good =
        sha256 && context && len > 0 && EVP_PKEY_verify_init(context) > 0 &&
        (which == KW_PROBE_ECDSA || set_pss(context, sha256)) &&
        EVP_PKEY_verify(context, signature, len, signing->digest, sizeof(signing->digest)) == 1;
    EVP_PKEY_CTX_free(context);
    EVP_MD_free(sha256);
    return good;
}

/* Whether the next way is worth a try: not where there is no key, or it worked. */
static bool try_way(struct kw_probing *probing, OSSL_LIB_CTX *library, size_t which,
                    struct signing *signing, struct kw_probe_result *result)
{
    CK_RV rv = which == KW_PROBE_ECDSA ? make_p256(probing, library, signing)
                                       : make_rsa(probing, library, signing);
    if (rv != CKR_OK) {
        bool offered = kw_rv_meaning(rv) != KW_RV_NOT_OFFERED;
        kw_probe_set_rv(result, offered ? KW_PROBE_UNKNOWN : KW_PROBE_NO,
                        "it makes no such key for a session", rv);
        return false;
    }
    if (!signing->public) {
        kw_probe_set(result, KW_PROBE_UNKNOWN, "it does not tell the public key");
        return false;
    }
    rv = sign(probing, signing);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_NO, "it failed", rv);
        return true;
    }
    bool good = verifies(library, which, signing);
    kw_probe_set(result, good ? KW_PROBE_YES : KW_PROBE_NO, "by %s%s", signing->way->name,
                 good ? "" : ", but the signature does not verify");
    return !good;
}

void kw_probe_sign(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    /* Of its own, so that no configuration of the machine's has a say. */
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();
    bool go_on = library != NULL;
    if (!library)
        kw_probe_set(result, KW_PROBE_UNKNOWN, "there is no memory");
    for (size_t i = 0; i < WAYS && go_on; i++) {
        struct signing signing = {.way = &ways[which][i]};
        if (i > 0)
            kw_probe_renew(probing);
        go_on = kw_sha256(probing->token->crypto, message, sizeof(message), signing.digest, NULL) ==
                    KW_OK &&
                try_way(probing, library, which, &signing, result);
        EVP_PKEY_free(signing.public);
    }
    OSSL_LIB_CTX_free(library);
    ERR_clear_error();
}
