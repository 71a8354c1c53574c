/* verify: signatures, checked on the host. */
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

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

/* What a digest is and how it is signed. */
struct scheme {
    int padding; /* 0 for a key that is not RSA */
    const EVP_MD *hash;
    size_t hash_len; /* and the salt's, of PSS */
};

static struct scheme scheme_with_sha256(const struct kw_crypto *crypto, int padding)
{
    return (struct scheme){padding, crypto->sha256, KW_SHA256_SIZE};
}

static bool set_padding(EVP_PKEY_CTX *context, const struct scheme *scheme)
{
    if (EVP_PKEY_CTX_set_signature_md(context, scheme->hash) != 1 ||
        (scheme->padding && EVP_PKEY_CTX_set_rsa_padding(context, scheme->padding) != 1))
        return false;
    return scheme->padding != RSA_PKCS1_PSS_PADDING ||
           (EVP_PKEY_CTX_set_rsa_mgf1_md(context, scheme->hash) == 1 &&
            EVP_PKEY_CTX_set_rsa_pss_saltlen(context, (int)scheme->hash_len) == 1);
}

static enum kw_status verify_once(struct kw_crypto *crypto, EVP_PKEY *pkey,
                                  const struct scheme *scheme, const uint8_t *digest,
                                  const uint8_t *signature, size_t signature_len,
                                  struct kw_error *err)
{
    enum kw_status status = KW_OK;
    EVP_PKEY_CTX *context =
        pkey ? EVP_PKEY_CTX_new_from_pkey(crypto->context, pkey, crypto->properties) : NULL;
    if (!context || EVP_PKEY_verify_init(context) != 1 || !set_padding(context, scheme))
        status = kw_fail_openssl(err, KW_KEY_UNUSABLE,
                                 "the public key verifies no signatures of this kind; use another "
                                 "key");
    else if (EVP_PKEY_verify(context, signature, signature_len, digest, scheme->hash_len) != 1)
        status =
            kw_openssl_lacked_memory()
                ? kw_fail_memory(err)
                : kw_fail(err, KW_DAMAGED, "the signature is not one of this key over these bytes");
    ERR_clear_error();
    EVP_PKEY_CTX_free(context);
    return status;
}

/* A signature that looks wrong is looked at twice: OpenSSL does not always tell that it had too
 * little memory to see, and nobody is to be blamed for that. */
static enum kw_status verify_digest(struct kw_crypto *crypto, EVP_PKEY *pkey,
                                    const struct scheme *scheme, const uint8_t *digest,
                                    const uint8_t *signature, size_t signature_len,
                                    struct kw_error *err)
{
    enum kw_status status =
        verify_once(crypto, pkey, scheme, digest, signature, signature_len, err);
    if (status == KW_DAMAGED)
        status = verify_once(crypto, pkey, scheme, digest, signature, signature_len, err);
    return status;
}

static enum kw_status verify(struct kw_crypto *crypto, EVP_PKEY *pkey, int padding,
                             const void *data, size_t len, const uint8_t *signature,
                             size_t signature_len, struct kw_error *err)
{
    uint8_t digest[KW_SHA256_SIZE];
    const struct scheme scheme = scheme_with_sha256(crypto, padding);
    enum kw_status status = kw_sha256(crypto, data, len, digest, err);
    if (!status)
        status = verify_digest(crypto, pkey, &scheme, digest, signature, signature_len, err);
    return status;
}

static enum kw_status verify_rsa_digest(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                        const struct scheme *scheme, const uint8_t *digest,
                                        const uint8_t *signature, size_t signature_len,
                                        struct kw_error *err)
{
    enum kw_status status = kw_rsa_check(key, "the public key", KW_KEY_UNUSABLE, err);
    if (status)
        return status;
    EVP_PKEY *pkey = kw_rsa_public_import(crypto, key);
    status = verify_digest(crypto, pkey, scheme, digest, signature, signature_len, err);
    EVP_PKEY_free(pkey);
    return status;
}

enum kw_status kw_rsa_verify(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                             enum kw_signature_alg alg, const void *data, size_t len,
                             const uint8_t *signature, size_t signature_len, struct kw_error *err)
{
    uint8_t digest[KW_SHA256_SIZE];
    if ((size_t)alg >= KW_COUNT(kinds))
        return kw_fail(err, KW_FAULT, "there is no signature algorithm %d", (int)alg);
    const struct scheme scheme = scheme_with_sha256(crypto, kinds[alg].padding);
    enum kw_status status = kw_sha256(crypto, data, len, digest, err);
    return status ? status
                  : verify_rsa_digest(crypto, key, &scheme, digest, signature, signature_len, err);
}

/* ---- over digests that were made before ---- */

enum kw_status kw_rsa_verify_digest(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                    enum kw_digest_signature alg, const uint8_t *digest, size_t len,
                                    const uint8_t *signature, size_t signature_len,
                                    struct kw_error *err)
{
    enum kw_status status = kw_digest_signature_check(alg, len, err);
    if (status)
        return status;
    const struct scheme scheme = {kw_digest_signature_is_pss(alg) ? RSA_PKCS1_PSS_PADDING
                                                                  : RSA_PKCS1_PADDING,
                                  kw_digest_signature_hash(crypto, alg), len};
    return verify_rsa_digest(crypto, key, &scheme, digest, signature, signature_len, err);
}

/* ---- keys of either kind ---- */

struct kw_public_key {
    struct kw_crypto *crypto;
    EVP_PKEY *pkey;
    unsigned char *spki;
    size_t spki_len;
    bool rsa;
};

static enum kw_status check_kind(struct kw_public_key *key, const char *what, struct kw_error *err)
{
    char group[32] = "";
    int bits = EVP_PKEY_get_bits(key->pkey);
    key->rsa = EVP_PKEY_is_a(key->pkey, "RSA") == 1;
    bool good = key->rsa
                    ? bits >= KW_RSA_MIN_BITS && bits <= KW_RSA_MAX_BITS
                    : EVP_PKEY_is_a(key->pkey, "EC") == 1 &&
                          EVP_PKEY_get_group_name(key->pkey, group, sizeof(group), NULL) == 1 &&
                          strcmp(group, "prime256v1") == 0;
    if (!good)
        return kw_fail(err, KW_CONFIG,
                       "%s is neither a key on the curve P-256 nor RSA of %d to %d bits; give one "
                       "that is",
                       what, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    int len = i2d_PUBKEY(key->pkey, &key->spki);
    if (len <= 0)
        return kw_fail_openssl(err, KW_CONFIG, "%s is no usable key; give another one", what);
    key->spki_len = (size_t)len;
    return KW_OK;
}

enum kw_status kw_public_key_from_pem(struct kw_crypto *crypto, const void *pem, size_t len,
                                      const char *what, struct kw_public_key **ret_key,
                                      struct kw_error *err)
{
    struct kw_public_key *key = calloc(1, sizeof(*key));
    if (!key)
        return kw_fail_memory(err);
    key->crypto = crypto;
    enum kw_status status = kw_pem_import(crypto, pem, len, what, &key->pkey, err);
    if (!status)
        status = check_kind(key, what, err);
    ERR_clear_error();
    if (status)
        kw_public_key_free(key);
    else
        *ret_key = key;
    return status;
}

void kw_public_key_free(struct kw_public_key *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    OPENSSL_free(key->spki);
    free(key);
}

bool kw_public_key_is_rsa(const struct kw_public_key *key)
{
    return key->rsa;
}

const uint8_t *kw_public_key_spki(const struct kw_public_key *key, size_t *ret_len)
{
    *ret_len = key->spki_len;
    return key->spki;
}

enum kw_status kw_public_key_verify(const struct kw_public_key *key, const void *data, size_t len,
                                    const uint8_t *signature, size_t signature_len,
                                    struct kw_error *err)
{
    return verify(key->crypto, key->pkey, key->rsa ? RSA_PKCS1_PSS_PADDING : 0, data, len,
                  signature, signature_len, err);
}
