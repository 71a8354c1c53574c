/* oaep: the padding check of RSAES-OAEP, for tokens that give raw RSA only.
 *
 * OpenSSL 3 offers this check on its own, in constant time, through a deprecated function only: its
 * successor wants the private key, which stays on the token. Written by hand it would be the one
 * piece of code here whose timing could give a data key away. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <openssl/err.h>
#include <openssl/rsa.h>

#include "crypto/openssl.h"

static const EVP_MD *hash_of(const struct kw_crypto *crypto, enum kw_wrap_alg alg)
{
    switch (alg) {
    case KW_RSA_OAEP:
        return crypto->sha1;
    case KW_RSA_OAEP_256:
        return crypto->sha256;
    case KW_RSA1_5:
    case KW_WRAP_ALG_COUNT:
        break;
    }
    return NULL;
}

enum kw_status kw_oaep_decode(struct kw_crypto *crypto, enum kw_wrap_alg alg,
                              const struct kw_secret *encoded, struct kw_secret **ret_secret,
                              struct kw_error *err)
{
    const EVP_MD *hash = hash_of(crypto, alg);
    size_t len = kw_secret_len(encoded);
    if (!hash || len < KW_RSA_MIN_BITS / 8 || len > KW_RSA_MAX_BYTES)
        return kw_fail(err, KW_FAULT, "%zu bytes can't be checked for OAEP padding", len);
    if (crypto->fips)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the token does not do %s itself, and OpenSSL's FIPS module does not check "
                       "its padding alone; use a token that does, or fips = no",
                       kw_wrap_alg_name(alg));

    struct kw_secret *secret = NULL;
    enum kw_status status = kw_secret_new(len, &secret, err);
    if (status != KW_OK)
        return status;
    int size = (int)len;
    int written = RSA_padding_check_PKCS1_OAEP_mgf1(
        kw_secret_data(secret), size, kw_secret_bytes(encoded), size, size, NULL, 0, hash, hash);
    /* Good or bad, what the check left in the queue is dropped unread: it must not steer anything.
     */
    ERR_clear_error();
    if (written < 0) {
        kw_secret_free(secret);
        return kw_fail(err, KW_KEY_UNWRAP, "the key does not unwrap the data key");
    }
    kw_secret_set_len(secret, (size_t)written);
    *ret_secret = secret;
    return KW_OK;
}
