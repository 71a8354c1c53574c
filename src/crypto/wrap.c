/* wrap: RSA public keys, and data keys encrypted to them. */
#include <string.h>
#include <strings.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/openssl.h"

struct wrap_kind {
    const char *name;
    const char *hash; /* of OAEP, and of its mask */
    int padding;
};
static const struct wrap_kind kinds[KW_WRAP_ALG_COUNT] = {
    [KW_RSA_OAEP] = {"RSA-OAEP", "SHA1", RSA_PKCS1_OAEP_PADDING},
    [KW_RSA_OAEP_256] = {"RSA-OAEP-256", "SHA256", RSA_PKCS1_OAEP_PADDING},
    [KW_RSA1_5] = {"RSA1_5", NULL, RSA_PKCS1_PADDING},
};

const char *kw_wrap_alg_name(enum kw_wrap_alg alg)
{
    return (size_t)alg < KW_COUNT(kinds) ? kinds[alg].name : "unknown";
}

bool kw_wrap_alg_parse(const char *name, enum kw_wrap_alg *ret_alg)
{
    for (size_t i = 0; i < KW_COUNT(kinds); i++) {
        if (strcasecmp(name, kinds[i].name) == 0) {
            *ret_alg = (enum kw_wrap_alg)i;
            return true;
        }
    }
    return false;
}

/* ---- public keys ---- */

size_t kw_rsa_bits(const struct kw_rsa_public *key)
{
    if (key->modulus_len == 0)
        return 0;
    size_t bits = (key->modulus_len - 1) * 8;
    for (unsigned top = key->modulus[0]; top != 0; top >>= 1)
        bits++;
    return bits;
}

bool kw_rsa_same(const struct kw_rsa_public *a, const struct kw_rsa_public *b)
{
    return a->modulus_len > 0 && a->modulus_len == b->modulus_len &&
           CRYPTO_memcmp(a->modulus, b->modulus, a->modulus_len) == 0;
}

enum kw_status kw_rsa_check(const struct kw_rsa_public *key, const char *what,
                            enum kw_status family, struct kw_error *err)
{
    size_t bits = key->modulus_len <= sizeof(key->modulus) ? kw_rsa_bits(key) : 0;
    if (bits < KW_RSA_MIN_BITS || bits > KW_RSA_MAX_BITS)
        return kw_fail(err, family, "%s is an RSA key of %zu bits; use one of %d to %d", what, bits,
                       KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    size_t len = key->exponent_len;
    bool sized = len >= 1 && len <= sizeof(key->exponent) && key->exponent[0] != 0;
    bool odd = sized && (key->exponent[len - 1] & 1) == 1;
    if (!odd || (len == 1 && key->exponent[0] < 3) || (key->modulus[key->modulus_len - 1] & 1) == 0)
        return kw_fail(err, family, "%s is no sound RSA key; use another one", what);
    return KW_OK;
}

/* Writes a number of the key to `out`; false where it needs more than `capacity` bytes. */
static bool read_number(const EVP_PKEY *pkey, const char *name, uint8_t *out, size_t capacity,
                        size_t *ret_len)
{
    BIGNUM *number = NULL;
    if (!EVP_PKEY_get_bn_param(pkey, name, &number))
        return false;
    size_t len = (size_t)BN_num_bytes(number);
    bool fits = len <= capacity;
    if (fits)
        *ret_len = (size_t)BN_bn2bin(number, out);
    BN_free(number);
    return fits;
}

/* A certificate's key without the rest of it: whether it is to be trusted is not asked here. */
static EVP_PKEY *decode_certificate(struct kw_crypto *crypto, const uint8_t *der, size_t len,
                                    const char *structure)
{
    (void)structure;
    X509 *certificate = X509_new_ex(crypto->context, crypto->properties);
    EVP_PKEY *pkey = NULL;
    const unsigned char *end = der;
    if (certificate && d2i_X509(&certificate, &end, (long)len))
        pkey = X509_get_pubkey(certificate);
    X509_free(certificate);
    return pkey;
}

static EVP_PKEY *decode_public_key(struct kw_crypto *crypto, const uint8_t *der, size_t len,
                                   const char *structure)
{
    EVP_PKEY *pkey = NULL;
    OSSL_DECODER_CTX *decoder = OSSL_DECODER_CTX_new_for_pkey(
        &pkey, "DER", structure, NULL, EVP_PKEY_PUBLIC_KEY, crypto->context, crypto->properties);
    if (decoder && !OSSL_DECODER_from_data(decoder, &der, &len)) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    OSSL_DECODER_CTX_free(decoder);
    return pkey;
}

static const struct pem_kind {
    const char *label; /* RFC 7468 */
    const char *structure;
    EVP_PKEY *(*decode)(struct kw_crypto *crypto, const uint8_t *der, size_t len,
                        const char *structure);
} pem_kinds[] = {
    {"PUBLIC KEY", "SubjectPublicKeyInfo", decode_public_key},
    {"RSA PUBLIC KEY", "type-specific", decode_public_key},
    {"CERTIFICATE", NULL, decode_certificate},
};

static const struct pem_kind *find_pem_kind(const char *label)
{
    for (size_t i = 0; i < KW_COUNT(pem_kinds); i++) {
        if (strcmp(label, pem_kinds[i].label) == 0)
            return &pem_kinds[i];
    }
    return NULL;
}

enum kw_status kw_pem_import(struct kw_crypto *crypto, const void *pem, size_t len,
                             const char *what, EVP_PKEY **ret_pkey, struct kw_error *err)
{
    static const char advice[] = "give a PEM file with a public key or its certificate";
    char *label = NULL;
    char *header = NULL;
    unsigned char *der = NULL;
    long der_len = 0;
    EVP_PKEY *pkey = NULL;
    enum kw_status status = KW_OK;

    BIO *input = len <= INT32_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
    if (!input || !PEM_read_bio(input, &label, &header, &der, &der_len)) {
        status = kw_fail_openssl(err, KW_CONFIG, "%s is not PEM; %s", what, advice);
        goto out;
    }
    const struct pem_kind *kind = find_pem_kind(label);
    if (!kind) {
        bool private = strstr(label, "PRIVATE KEY") != NULL;
        status =
            kw_fail(err, KW_CONFIG, "%s holds %s; %s", what,
                    private ? "a private key" : "neither a public key nor a certificate", advice);
        goto out;
    }
    pkey = kind->decode(crypto, der, (size_t)der_len, kind->structure);
    if (!pkey)
        status = kw_fail_openssl(err, KW_CONFIG, "%s can't be read as %s; %s", what, kind->label,
                                 advice);
    else
        *ret_pkey = pkey;
out:
    OPENSSL_clear_free(der, der_len > 0 ? (size_t)der_len : 0);
    OPENSSL_free(header);
    OPENSSL_free(label);
    BIO_free(input);
    return status;
}

enum kw_status kw_rsa_public_from_pem(struct kw_crypto *crypto, const void *pem, size_t len,
                                      const char *what, struct kw_rsa_public *ret_key,
                                      struct kw_error *err)
{
    EVP_PKEY *pkey = NULL;
    enum kw_status status = kw_pem_import(crypto, pem, len, what, &pkey, err);
    if (status != KW_OK)
        return status;

    struct kw_rsa_public key = {0};
    if (!EVP_PKEY_is_a(pkey, "RSA"))
        status =
            kw_fail(err, KW_CONFIG, "%s is not an RSA key for encryption; give one that is", what);
    else if (EVP_PKEY_get_bits(pkey) > KW_RSA_MAX_BITS)
        status = kw_fail(err, KW_CONFIG, "%s is an RSA key of %d bits; use one of %d to %d", what,
                         EVP_PKEY_get_bits(pkey), KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    else if (!read_number(pkey, OSSL_PKEY_PARAM_RSA_N, key.modulus, sizeof(key.modulus),
                          &key.modulus_len) ||
             !read_number(pkey, OSSL_PKEY_PARAM_RSA_E, key.exponent, sizeof(key.exponent),
                          &key.exponent_len))
        status = kw_fail_openssl(err, KW_CONFIG, "%s is no usable RSA key; give another one", what);
    else
        status = kw_rsa_check(&key, what, KW_CONFIG, err);
    EVP_PKEY_free(pkey);
    if (status == KW_OK)
        *ret_key = key;
    return status;
}

/* ---- wrapping ---- */

EVP_PKEY *kw_rsa_public_import(struct kw_crypto *crypto, const struct kw_rsa_public *key)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *numbers = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = BN_bin2bn(key->modulus, (int)key->modulus_len, NULL);
    BIGNUM *exponent = BN_bin2bn(key->exponent, (int)key->exponent_len, NULL);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(crypto->context, "RSA", crypto->properties);
    if (builder && modulus && exponent && context &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, modulus) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, exponent))
        numbers = OSSL_PARAM_BLD_to_param(builder);
    if (numbers && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, numbers) != 1)
        pkey = NULL;
    OSSL_PARAM_free(numbers);
    OSSL_PARAM_BLD_free(builder);
    BN_free(modulus);
    BN_free(exponent);
    EVP_PKEY_CTX_free(context);
    return pkey;
}

static bool set_padding(EVP_PKEY_CTX *context, const struct wrap_kind *kind)
{
    if (EVP_PKEY_CTX_set_rsa_padding(context, kind->padding) != 1)
        return false;
    return !kind->hash || (EVP_PKEY_CTX_set_rsa_oaep_md_name(context, kind->hash, NULL) == 1 &&
                           EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, kind->hash, NULL) == 1);
}

enum kw_status kw_rsa_wrap(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                           enum kw_wrap_alg alg, const struct kw_secret *secret, uint8_t *out,
                           struct kw_error *err)
{
    if ((size_t)alg >= KW_COUNT(kinds))
        return kw_fail(err, KW_FAULT, "there is no key wrap algorithm %d", (int)alg);
    enum kw_status status = kw_rsa_check(key, "the public key", KW_KEY_UNUSABLE, err);
    if (status != KW_OK)
        return status;

    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t wrapped_len = key->modulus_len;
    EVP_PKEY *pkey = kw_rsa_public_import(crypto, key);
    EVP_PKEY_CTX *context =
        pkey ? EVP_PKEY_CTX_new_from_pkey(crypto->context, pkey, crypto->properties) : NULL;
    if (!context || EVP_PKEY_encrypt_init(context) != 1 || !set_padding(context, &kinds[alg]) ||
        EVP_PKEY_encrypt(context, wrapped, &wrapped_len, kw_secret_bytes(secret),
                         kw_secret_len(secret)) != 1 ||
        wrapped_len != key->modulus_len)
        status = kw_fail_openssl(err, KW_KEY_UNUSABLE,
                                 "the public key does not wrap %zu bytes with %s; use another key",
                                 kw_secret_len(secret), kinds[alg].name);
    else
        memcpy(out, wrapped, wrapped_len);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pkey);
    return status;
}

enum kw_status kw_rsa_public_to_pem(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                    struct kw_buffer *ret_pem, struct kw_error *err)
{
    EVP_PKEY *pkey = kw_rsa_public_import(crypto, key);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = 0;
    enum kw_status status;
    if (pkey && bio && PEM_write_bio_PUBKEY(bio, pkey) == 1)
        len = BIO_get_mem_data(bio, &text);
    if (len > 0)
        status = kw_buffer_append(ret_pem, text, (size_t)len, err);
    else
        status = kw_fail_openssl(err, KW_FAULT, "OpenSSL could not write a public key as PEM");
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    return status;
}

enum kw_status kw_rsa_fingerprint(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                  uint8_t out[KW_SHA256_SIZE], struct kw_error *err)
{
    uint8_t *der = NULL;
    EVP_PKEY *pkey = kw_rsa_public_import(crypto, key);
    int len = pkey ? i2d_PUBKEY(pkey, &der) : -1;
    enum kw_status status = len > 0 ? kw_sha256(crypto, der, (size_t)len, out, err)
                                    : kw_fail_openssl(err, KW_KEY_UNUSABLE,
                                                      "the public key can't be written as DER; use "
                                                      "another key");
    OPENSSL_free(der);
    EVP_PKEY_free(pkey);
    return status;
}
