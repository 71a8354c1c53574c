/* throwaway: an RSA key pair on the host that guards nothing. */
#include <stdlib.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/openssl.h"

struct kw_throwaway {
    struct kw_crypto *crypto;
    EVP_PKEY *pkey;
    struct kw_rsa_public public;
};

static bool read_number(const EVP_PKEY *pkey, const char *name, uint8_t *out, size_t capacity,
                        size_t *ret_len)
{
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(pkey, name, &number) != 1)
        return false;
    bool fits = (size_t)BN_num_bytes(number) <= capacity;
    if (fits)
        *ret_len = (size_t)BN_bn2bin(number, out);
    BN_free(number);
    return fits;
}

enum kw_status kw_throwaway_new(struct kw_crypto *crypto, struct kw_throwaway **ret_key,
                                struct kw_error *err)
{
    struct kw_throwaway *key = calloc(1, sizeof(*key));
    if (!key)
        return kw_fail_memory(err);
    key->crypto = crypto;
    key->pkey =
        EVP_PKEY_Q_keygen(crypto->context, crypto->properties, "RSA", (size_t)KW_RSA_MIN_BITS);
    struct kw_rsa_public *public = &key->public;
    if (!key->pkey ||
        !read_number(key->pkey, OSSL_PKEY_PARAM_RSA_N, public->modulus, sizeof(public->modulus),
                     &public->modulus_len) ||
        !read_number(key->pkey, OSSL_PKEY_PARAM_RSA_E, public->exponent, sizeof(public->exponent),
                     &public->exponent_len)) {
        kw_throwaway_free(key);
        return kw_fail_openssl(err, KW_FAULT, "OpenSSL makes no RSA key");
    }
    *ret_key = key;
    return KW_OK;
}

void kw_throwaway_free(struct kw_throwaway *key)
{
    if (!key)
        return;
    EVP_PKEY_free(key->pkey);
    free(key);
}

const struct kw_rsa_public *kw_throwaway_public(const struct kw_throwaway *key)
{
    return &key->public;
}

enum kw_status kw_throwaway_pkcs8(const struct kw_throwaway *key, struct kw_secret **ret_pkcs8,
                                  struct kw_error *err)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key->pkey);
    int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, NULL) : -1;
    struct kw_secret *pkcs8 = NULL;
    enum kw_status status = len > 0 ? kw_secret_new((size_t)len, &pkcs8, err)
                                    : kw_fail_openssl(err, KW_FAULT, "OpenSSL encodes no RSA key");
    if (!status) {
        unsigned char *end = kw_secret_data(pkcs8);
        kw_secret_set_len(pkcs8, (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &end));
        *ret_pkcs8 = pkcs8;
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    return status;
}

static bool start_oaep(EVP_PKEY_CTX *context)
{
    return context && EVP_PKEY_decrypt_init(context) == 1 &&
           EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md_name(context, "SHA1", NULL) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, "SHA1", NULL) == 1;
}

enum kw_status kw_throwaway_unwrap(const struct kw_throwaway *key, const uint8_t *wrapped,
                                   size_t wrapped_len, struct kw_secret **ret_secret,
                                   struct kw_error *err)
{
    struct kw_secret *secret = NULL;
    size_t len = (size_t)EVP_PKEY_get_size(key->pkey);
    enum kw_status status = kw_secret_new(len, &secret, err);
    if (status)
        return status;
    EVP_PKEY_CTX *context =
        EVP_PKEY_CTX_new_from_pkey(key->crypto->context, key->pkey, key->crypto->properties);
    if (start_oaep(context) &&
        EVP_PKEY_decrypt(context, kw_secret_data(secret), &len, wrapped, wrapped_len) == 1) {
        kw_secret_set_len(secret, len);
        *ret_secret = secret;
    } else {
        status = kw_fail_openssl(err, KW_KEY_UNWRAP, "the trial key does not unwrap");
        kw_secret_free(secret);
    }
    EVP_PKEY_CTX_free(context);
    return status;
}
