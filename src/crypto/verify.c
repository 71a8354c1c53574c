/* verify: signatures by RSA keys, checked on the host. */
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "crypto/openssl.h"

static const struct signature_kind {
    const char *name;
    int padding;
} kinds[KW_SIGNATURE_ALG_COUNT] = {
    [KW_PS256] = {"PS256", RSA_PKCS1_PSS_PADDING},
    [KW_RS256] = {"RS256", RSA_PKCS1_PADDING},
};

const char *kw_signature_alg_name(enum kw_signature_alg alg)
{
    return (size_t)alg < KW_COUNT(kinds) ? kinds[alg].name : "unknown";
}

bool kw_signature_alg_parse(const char *name, enum kw_signature_alg *ret_alg)
{
    for (size_t i = 0; i < KW_COUNT(kinds); i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *ret_alg = (enum kw_signature_alg)i;
            return true;
        }
    }
    return false;
}

static bool set_padding(EVP_PKEY_CTX *context, const struct kw_crypto *crypto,
                        enum kw_signature_alg alg)
{
    if (EVP_PKEY_CTX_set_rsa_padding(context, kinds[alg].padding) != 1 ||
        EVP_PKEY_CTX_set_signature_md(context, crypto->sha256) != 1)
        return false;
    return alg != KW_PS256 || (EVP_PKEY_CTX_set_rsa_mgf1_md(context, crypto->sha256) == 1 &&
                               EVP_PKEY_CTX_set_rsa_pss_saltlen(context, KW_SHA256_SIZE) == 1);
}

enum kw_status kw_rsa_verify(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                             enum kw_signature_alg alg, const void *data, size_t len,
                             const uint8_t *signature, size_t signature_len, struct kw_error *err)
{
    uint8_t digest[KW_SHA256_SIZE];
    if ((size_t)alg >= KW_COUNT(kinds))
        return kw_fail(err, KW_FAULT, "there is no signature algorithm %d", (int)alg);
    enum kw_status status = kw_sha256(crypto, data, len, digest, err);
    if (status)
        return status;
    EVP_PKEY *pkey = kw_rsa_public_import(crypto, key);
    EVP_PKEY_CTX *context =
        pkey ? EVP_PKEY_CTX_new_from_pkey(crypto->context, pkey, crypto->properties) : NULL;
    if (!context || EVP_PKEY_verify_init(context) != 1 || !set_padding(context, crypto, alg))
        status =
            kw_fail_openssl(err, KW_KEY_UNUSABLE,
                            "the public key does not verify %s; use another key", kinds[alg].name);
    else if (EVP_PKEY_verify(context, signature, signature_len, digest, sizeof(digest)) != 1)
        status = kw_fail(err, KW_DAMAGED, "the signature is not one of this key over these bytes");
    ERR_clear_error();
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pkey);
    return status;
}
