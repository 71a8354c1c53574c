/* pkcs8: RSA private keys that come from outside, taken apart into their numbers. */
#include <openssl/asn1.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "crypto/openssl.h"

/* RFC 5649 pads to 8 bytes, and some tokens give the padding out with the key. */
#define ZEROS_MAX 7

static const char *const number_names[KW_RSA_NUMBERS] = {
    [KW_RSA_MODULUS] = OSSL_PKEY_PARAM_RSA_N,
    [KW_RSA_PUBLIC_EXPONENT] = OSSL_PKEY_PARAM_RSA_E,
    [KW_RSA_PRIVATE_EXPONENT] = OSSL_PKEY_PARAM_RSA_D,
    [KW_RSA_PRIME_1] = OSSL_PKEY_PARAM_RSA_FACTOR1,
    [KW_RSA_PRIME_2] = OSSL_PKEY_PARAM_RSA_FACTOR2,
    [KW_RSA_EXPONENT_1] = OSSL_PKEY_PARAM_RSA_EXPONENT1,
    [KW_RSA_EXPONENT_2] = OSSL_PKEY_PARAM_RSA_EXPONENT2,
    [KW_RSA_COEFFICIENT] = OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

/* ---- reading ---- */

static bool only_zeros(const uint8_t *bytes, size_t len)
{
    uint8_t all = 0;
    for (size_t i = 0; i < len; i++)
        all |= bytes[i];
    return len <= ZEROS_MAX && all == 0;
}

static EVP_PKEY *decode(const struct kw_crypto *crypto, const struct kw_secret *pkcs8)
{
    const uint8_t *start = kw_secret_bytes(pkcs8), *end = start;
    size_t len = kw_secret_len(pkcs8);
    /* Unlike OpenSSL's decoders this takes no other form, and says where the key ends. */
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &end, (long)len);
    EVP_PKEY *pkey = NULL;
    if (info && only_zeros(end, len - (size_t)(end - start)))
        pkey = EVP_PKCS82PKEY_ex(info, crypto->context, crypto->properties);
    PKCS8_PRIV_KEY_INFO_free(info);
    return pkey;
}

enum kw_status kw_pkcs8_cut_zeros(struct kw_secret *pkcs8, struct kw_error *err)
{
    const uint8_t *start = kw_secret_bytes(pkcs8), *content = start;
    size_t len = kw_secret_len(pkcs8);
    long content_len = 0;
    int tag = 0, class = 0;
    /* Reads the outer header alone, so that nothing of the key is copied. */
    int form = ASN1_get_object(&content, &content_len, &tag, &class, (long)len);
    if (form != V_ASN1_CONSTRUCTED || tag != V_ASN1_SEQUENCE || class != V_ASN1_UNIVERSAL)
        return kw_fail_openssl(err, KW_KEY_UNUSABLE,
                               "what was unwrapped is no PKCS#8; take the key from its source once "
                               "more");
    size_t whole = (size_t)(content - start) + (size_t)content_len;
    if (!only_zeros(start + whole, len - whole))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "more than some zero bytes is behind the PKCS#8; take the key from its "
                       "source once more");
    kw_secret_set_len(pkcs8, whole);
    return KW_OK;
}

/* ---- checking ---- */

static bool has_more_primes(const EVP_PKEY *pkey)
{
    BIGNUM *prime = NULL;
    bool has = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_FACTOR3, &prime) == 1;
    BN_clear_free(prime);
    return has;
}

static bool is_consistent(const struct kw_crypto *crypto, EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(crypto->context, pkey, crypto->properties);
    bool consistent = context && EVP_PKEY_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    return consistent;
}

static enum kw_status check_key(const struct kw_crypto *crypto, EVP_PKEY *pkey,
                                struct kw_error *err)
{
    int bits = EVP_PKEY_get_bits(pkey);
    if (!EVP_PKEY_is_a(pkey, "RSA") || has_more_primes(pkey))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the private key is not an RSA key of two primes that may encrypt; use one "
                       "that is");
    if (bits < KW_RSA_MIN_BITS || bits > KW_RSA_MAX_BITS)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the private key is an RSA key of %d bits; use one of %d to %d", bits,
                       KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    if (!is_consistent(crypto, pkey))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the private key is damaged: its numbers don't belong together; take it "
                       "from its source once more");
    return KW_OK;
}

/* ---- the numbers ---- */

static enum kw_status read_number(const EVP_PKEY *pkey, const char *name,
                                  struct kw_secret **ret_number, struct kw_error *err)
{
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(pkey, name, &number) != 1)
        return kw_fail_openssl(err, KW_KEY_UNUSABLE,
                               "the private key lacks one of its numbers; use another key");
    struct kw_secret *secret = NULL;
    int len = BN_num_bytes(number);
    enum kw_status status = kw_secret_new((size_t)len, &secret, err);
    if (!status) {
        (void)BN_bn2bin(number, kw_secret_data(secret)); /* writes len bytes and can't fail */
        kw_secret_set_len(secret, (size_t)len);
        *ret_number = secret;
    }
    BN_clear_free(number);
    return status;
}

enum kw_status kw_rsa_private_from_pkcs8(struct kw_crypto *crypto, const struct kw_secret *pkcs8,
                                         struct kw_rsa_private *ret_key, struct kw_error *err)
{
    EVP_PKEY *pkey = decode(crypto, pkcs8);
    if (!pkey)
        return kw_fail_openssl(err, KW_KEY_UNUSABLE,
                               "the private key can't be read as PKCS#8; give it as unencrypted "
                               "DER with nothing after it");
    struct kw_rsa_private key = {.numbers = {NULL}};
    enum kw_status status = check_key(crypto, pkey, err);
    for (size_t i = 0; i < KW_RSA_NUMBERS && !status; i++)
        status = read_number(pkey, number_names[i], &key.numbers[i], err);
    EVP_PKEY_free(pkey);
    ERR_clear_error(); /* whatever the checks left there */
    if (status) {
        kw_rsa_private_cleanup(&key);
        return status;
    }
    *ret_key = key;
    return KW_OK;
}

void kw_rsa_private_cleanup(struct kw_rsa_private *key)
{
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++) {
        kw_secret_free(key->numbers[i]);
        key->numbers[i] = NULL;
    }
}
