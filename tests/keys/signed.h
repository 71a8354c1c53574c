/* JSON Web Signatures that OpenSSL makes, for the tests that read them. */
#ifndef KW_TEST_SIGNED_H
#define KW_TEST_SIGNED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "keys/internal.h"

/* A key that only signs, with its public half as the token would tell it. */
struct signer {
    EVP_PKEY *pkey;
    struct kw_token_key key;
};

static inline void make_signer_key(struct signer *signer, const char *id)
{
    BIGNUM *modulus = NULL, *exponent = NULL;
    *signer = (struct signer){.pkey = EVP_RSA_gen(2048), .key = {.sign = true}};
    assert_non_null(signer->pkey);
    assert_int_equal(EVP_PKEY_get_bn_param(signer->pkey, OSSL_PKEY_PARAM_RSA_N, &modulus), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(signer->pkey, OSSL_PKEY_PARAM_RSA_E, &exponent), 1);
    struct kw_rsa_public *public = &signer->key.public;
    public->modulus_len = (size_t)BN_bn2bin(modulus, public->modulus);
    public->exponent_len = (size_t)BN_bn2bin(exponent, public->exponent);
    signer->key.id_len = strlen(id);
    memcpy(signer->key.id, id, strlen(id));
    BN_free(modulus);
    BN_free(exponent);
}

static inline void sign_text(const struct signer *signer, enum kw_signature_alg alg,
                             const char *text, size_t len, uint8_t out[KW_RSA_MAX_BYTES])
{
    size_t out_len = KW_RSA_MAX_BYTES;
    EVP_PKEY_CTX *options = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, &options, EVP_sha256(), NULL, signer->pkey), 1);
    if (alg == KW_PS256) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(options, 32), 1);
    }
    assert_int_equal(EVP_DigestSign(context, out, &out_len, (const uint8_t *)text, len), 1);
    assert_int_equal(out_len, signer->key.public.modulus_len);
    EVP_MD_CTX_free(context);
}

static inline size_t add_base64url(char *out, size_t at, const void *data, size_t len)
{
    kw_base64_encode(KW_BASE64URL, data, len, out + at);
    return at + strlen(out + at);
}

/* Whatever the header says, signed as `alg`. `out` has room enough; returns the length. */
static inline size_t make_jws(const struct signer *signer, enum kw_signature_alg alg,
                              const char *header, const void *payload, size_t payload_len,
                              char *out)
{
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t len = add_base64url(out, 0, header, strlen(header));
    out[len++] = '.';
    len = add_base64url(out, len, payload, payload_len);
    sign_text(signer, alg, out, len, signature);
    out[len++] = '.';
    return add_base64url(out, len, signature, signer->key.public.modulus_len);
}

#endif
