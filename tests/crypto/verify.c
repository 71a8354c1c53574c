/* Signatures by RSA keys: what is one, and what is none. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "support.h"

#define TEXT "what is signed"

static EVP_PKEY *pkeys[2];
static struct kw_rsa_public publics[2];

static void read_public(const EVP_PKEY *pkey, struct kw_rsa_public *public)
{
    BIGNUM *modulus = NULL, *exponent = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &modulus), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent), 1);
    public->modulus_len = (size_t)BN_bn2bin(modulus, public->modulus);
    public->exponent_len = (size_t)BN_bn2bin(exponent, public->exponent);
    BN_free(modulus);
    BN_free(exponent);
}

static int set_up(void **state)
{
    for (size_t i = 0; i < 2; i++) {
        pkeys[i] = EVP_RSA_gen(i ? 3072 : 2048);
        if (!pkeys[i])
            return -1;
        read_public(pkeys[i], &publics[i]);
    }
    return start_crypto(state);
}

static int tear_down(void **state)
{
    EVP_PKEY_free(pkeys[0]);
    EVP_PKEY_free(pkeys[1]);
    return stop_crypto(state);
}

static void names(void **state)
{
    (void)state;
    enum kw_signature_alg alg = KW_SIGNATURE_ALG_COUNT;
    assert_string_equal(kw_signature_alg_name(KW_PS256), "PS256");
    assert_string_equal(kw_signature_alg_name(KW_RS256), "RS256");
    assert_string_equal(kw_signature_alg_name(KW_SIGNATURE_ALG_COUNT), "unknown");
    static const char *const others[] = {"",      "none",  "None",  "HS256",  "ES256",
                                         "RS512", "PS384", "ps256", "PS256 ", "RS256\n"};
    for (size_t i = 0; i < KW_COUNT(others); i++)
        assert_false(kw_signature_alg_parse(others[i], &alg));
    assert_int_equal(alg, KW_SIGNATURE_ALG_COUNT);
    assert_true(kw_signature_alg_parse("PS256", &alg));
    assert_int_equal(alg, KW_PS256);
    assert_true(kw_signature_alg_parse("RS256", &alg));
    assert_int_equal(alg, KW_RS256);
}

/* salt_len: of PSS; 0 and less as OpenSSL means them. */
static size_t sign(EVP_PKEY *pkey, int padding, const EVP_MD *md, const EVP_MD *mgf1, int salt_len,
                   uint8_t out[KW_RSA_MAX_BYTES])
{
    size_t len = KW_RSA_MAX_BYTES;
    EVP_PKEY_CTX *options = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, &options, md, NULL, pkey), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(options, padding), 1);
    if (padding == RSA_PKCS1_PSS_PADDING) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(options, mgf1), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(options, salt_len), 1);
    }
    assert_int_equal(EVP_DigestSign(context, out, &len, (const uint8_t *)TEXT, strlen(TEXT)), 1);
    EVP_MD_CTX_free(context);
    return len;
}

static size_t sign_as(size_t which, enum kw_signature_alg alg, uint8_t out[KW_RSA_MAX_BYTES])
{
    return sign(pkeys[which], alg == KW_PS256 ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING,
                EVP_sha256(), EVP_sha256(), 32, out);
}

static void is_none(const struct kw_rsa_public *key, enum kw_signature_alg alg, const char *data,
                    size_t data_len, const uint8_t *signature, size_t len)
{
    struct kw_error err = {.status = KW_OK};
    /* A copy of the exact size, so that a read beyond its end is seen by a sanitizer. */
    uint8_t *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, signature, len);
    assert_int_equal(kw_rsa_verify(crypto, key, alg, data, data_len, copy, len, &err), KW_DAMAGED);
    assert_int_equal(err.status, KW_DAMAGED);
    assert_queue_empty();
    free(copy);
}

static void right_ones(void **state)
{
    (void)state;
    for (size_t which = 0; which < 2; which++)
        for (enum kw_signature_alg alg = 0; alg < KW_SIGNATURE_ALG_COUNT; alg++) {
            uint8_t signature[KW_RSA_MAX_BYTES];
            struct kw_error err = {.status = KW_OK};
            size_t len = sign_as(which, alg, signature);
            assert_int_equal(len, publics[which].modulus_len);
            assert_int_equal(kw_rsa_verify(crypto, &publics[which], alg, TEXT, strlen(TEXT),
                                           signature, len, &err),
                             KW_OK);
            assert_int_equal(err.status, KW_OK);
            assert_queue_empty();
        }
}

static void other_data_key_and_algorithm(void **state)
{
    (void)state;
    for (enum kw_signature_alg alg = 0; alg < KW_SIGNATURE_ALG_COUNT; alg++) {
        uint8_t signature[KW_RSA_MAX_BYTES];
        size_t len = sign_as(0, alg, signature);
        is_none(&publics[0], alg, "what is Signed", strlen(TEXT), signature, len);
        is_none(&publics[0], alg, TEXT, strlen(TEXT) - 1, signature, len);
        is_none(&publics[0], alg, TEXT, strlen(TEXT) + 1, signature, len);
        is_none(&publics[0], alg, "", 0, signature, len);
        is_none(&publics[1], alg, TEXT, strlen(TEXT), signature, len);
        is_none(&publics[0], alg == KW_PS256 ? KW_RS256 : KW_PS256, TEXT, strlen(TEXT), signature,
                len);
    }
}

static void cut_long_and_changed(void **state)
{
    (void)state;
    for (enum kw_signature_alg alg = 0; alg < KW_SIGNATURE_ALG_COUNT; alg++) {
        uint8_t signature[KW_RSA_MAX_BYTES + 1] = {0};
        size_t len = sign_as(0, alg, signature);
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, 0);
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, 1);
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, len - 1);
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, len + 1);
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, KW_RSA_MAX_BYTES + 1);
        for (size_t i = 0; i < len; i += 5) {
            signature[i] ^= 0x04;
            is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, len);
            signature[i] ^= 0x04;
        }
        memset(signature, 0, len);
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, len);
        signature[len - 1] = 1;
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, len);
        memset(signature, 0xff, len); /* more than the modulus */
        is_none(&publics[0], alg, TEXT, strlen(TEXT), signature, len);
    }
}

static void other_hashes_and_salts(void **state)
{
    (void)state;
    static const int salts[] = {0, 1, 20, 31, 33, 64, RSA_PSS_SALTLEN_MAX};
    uint8_t signature[KW_RSA_MAX_BYTES];
    for (size_t i = 0; i < KW_COUNT(salts); i++) {
        size_t len =
            sign(pkeys[0], RSA_PKCS1_PSS_PADDING, EVP_sha256(), EVP_sha256(), salts[i], signature);
        is_none(&publics[0], KW_PS256, TEXT, strlen(TEXT), signature, len);
    }
    size_t len = sign(pkeys[0], RSA_PKCS1_PSS_PADDING, EVP_sha256(), EVP_sha1(), 32, signature);
    is_none(&publics[0], KW_PS256, TEXT, strlen(TEXT), signature, len);
    len = sign(pkeys[0], RSA_PKCS1_PSS_PADDING, EVP_sha512(), EVP_sha512(), 32, signature);
    is_none(&publics[0], KW_PS256, TEXT, strlen(TEXT), signature, len);
    len = sign(pkeys[0], RSA_PKCS1_PADDING, EVP_sha512(), NULL, 0, signature);
    is_none(&publics[0], KW_RS256, TEXT, strlen(TEXT), signature, len);
    len = sign(pkeys[0], RSA_PKCS1_PADDING, EVP_sha1(), NULL, 0, signature);
    is_none(&publics[0], KW_RS256, TEXT, strlen(TEXT), signature, len);
}

/* With the exponent 1 whoever knows the padding can sign. */
static void unsound_keys_verify_nothing(void **state)
{
    (void)state;
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t len = sign_as(0, KW_RS256, signature);
    struct kw_rsa_public bad[5];
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        bad[i] = publics[0];
    bad[0].modulus_len = 0;
    bad[1].exponent_len = 0;
    bad[2].exponent[0] = 1;
    bad[2].exponent_len = 1;
    bad[3].modulus_len = sizeof(bad[3].modulus) + 1;
    bad[4].exponent_len = sizeof(bad[4].exponent) + 1;
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        for (enum kw_signature_alg alg = 0; alg < KW_SIGNATURE_ALG_COUNT; alg++) {
            enum kw_status status =
                kw_rsa_verify(crypto, &bad[i], alg, TEXT, strlen(TEXT), signature, len, NULL);
            assert_true(status == KW_KEY_UNUSABLE || status == KW_DAMAGED);
            assert_queue_empty();
        }
    assert_int_equal(kw_rsa_verify(crypto, &publics[0], KW_SIGNATURE_ALG_COUNT, TEXT, strlen(TEXT),
                                   signature, len, NULL),
                     KW_FAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(right_ones),
        cmocka_unit_test(other_data_key_and_algorithm),
        cmocka_unit_test(cut_long_and_changed),
        cmocka_unit_test(other_hashes_and_salts),
        cmocka_unit_test(unsound_keys_verify_nothing),
    };
    return cmocka_run_group_tests_name("crypto/verify", tests, set_up, tear_down);
}
