/* Private keys that are elsewhere: here a key of OpenSSL's own, behind a function. */
#include <pthread.h>
#include <stdatomic.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/openssl.h"
#include "support.h"

static const struct {
    const char *hash;
    int padding;
} rows[] = {
    {"SHA256", RSA_PKCS1_PADDING},     {"SHA384", RSA_PKCS1_PADDING},
    {"SHA512", RSA_PKCS1_PADDING},     {"SHA256", RSA_PKCS1_PSS_PADDING},
    {"SHA384", RSA_PKCS1_PSS_PADDING}, {"SHA512", RSA_PKCS1_PSS_PADDING},
};

static EVP_PKEY *real, *other;
static struct kw_rsa_public public;
static atomic_int signs, frees;
static bool away;

static enum kw_status sign(void *context, enum kw_digest_signature alg, const uint8_t *digest,
                           size_t len, uint8_t out[KW_RSA_MAX_BYTES])
{
    static const EVP_MD *(*const hashes[])(void) = {EVP_sha256, EVP_sha384, EVP_sha512};
    size_t out_len = KW_RSA_MAX_BYTES;
    bool pss = kw_digest_signature_is_pss(alg);
    const EVP_MD *hash = hashes[alg % 3]();
    EVP_PKEY_CTX *signer = EVP_PKEY_CTX_new(context, NULL);
    bool good = !away && (size_t)EVP_MD_get_size(hash) == len && EVP_PKEY_sign_init(signer) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(signer, pss ? RSA_PKCS1_PSS_PADDING
                                                         : RSA_PKCS1_PADDING) == 1 &&
                EVP_PKEY_CTX_set_signature_md(signer, hash) == 1 &&
                (!pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(signer, RSA_PSS_SALTLEN_DIGEST) == 1) &&
                EVP_PKEY_sign(signer, out, &out_len, digest, len) == 1;
    EVP_PKEY_CTX_free(signer);
    atomic_fetch_add(&signs, 1);
    return good ? KW_OK : KW_TOKEN;
}

static void count_free(void *context)
{
    (void)context;
    atomic_fetch_add(&frees, 1);
}

static int set_up(void **state)
{
    BIGNUM *modulus = NULL, *exponent = NULL;
    real = EVP_RSA_gen(2048);
    other = EVP_RSA_gen(2048);
    if (!real || !other || EVP_PKEY_get_bn_param(real, OSSL_PKEY_PARAM_RSA_N, &modulus) != 1 ||
        EVP_PKEY_get_bn_param(real, OSSL_PKEY_PARAM_RSA_E, &exponent) != 1)
        return -1;
    public.modulus_len = (size_t)BN_bn2bin(modulus, public.modulus);
    public.exponent_len = (size_t)BN_bn2bin(exponent, public.exponent);
    BN_free(modulus);
    BN_free(exponent);
    return start_crypto(state);
}

static int tear_down(void **state)
{
    EVP_PKEY_free(real);
    EVP_PKEY_free(other);
    return stop_crypto(state);
}

static EVP_PKEY *key_of(void)
{
    const struct kw_signing_key wanted = {
        .public = public, .sign = sign, .free = count_free, .context = real};
    EVP_PKEY *key = NULL;
    assert_int_equal(kw_private_key_new(crypto, &wanted, &key, NULL), KW_OK);
    return key;
}

/* As libssl does it. Whether there is a signature. */
static bool sign_data(EVP_PKEY *key, size_t row, uint8_t *out, size_t *len)
{
    static const char data[] = "what is signed";
    EVP_PKEY_CTX *padding = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = EVP_DigestSignInit_ex(context, &padding, rows[row].hash, crypto->context,
                                      crypto->with_elsewhere, key, NULL) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(padding, rows[row].padding) == 1 &&
                (rows[row].padding != RSA_PKCS1_PSS_PADDING ||
                 EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, RSA_PSS_SALTLEN_DIGEST) == 1) &&
                EVP_DigestSign(context, NULL, len, (const uint8_t *)data, sizeof(data)) == 1 &&
                EVP_DigestSign(context, out, len, (const uint8_t *)data, sizeof(data)) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

static bool verify_data(size_t row, const uint8_t *signature, size_t len)
{
    static const char data[] = "what is signed";
    EVP_PKEY_CTX *padding = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good =
        EVP_DigestVerifyInit_ex(context, &padding, rows[row].hash, NULL, NULL, real, NULL) == 1 &&
        EVP_PKEY_CTX_set_rsa_padding(padding, rows[row].padding) == 1 &&
        (rows[row].padding != RSA_PKCS1_PSS_PADDING ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, RSA_PSS_SALTLEN_DIGEST) == 1) &&
        EVP_DigestVerify(context, signature, len, (const uint8_t *)data, sizeof(data)) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

static void signs_as_tls_does(void **state)
{
    (void)state;
    EVP_PKEY *key = key_of();
    uint8_t signature[KW_RSA_MAX_BYTES];
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        size_t len = sizeof(signature);
        int before = atomic_load(&signs);
        assert_true(sign_data(key, i, signature, &len));
        assert_int_equal(len, public.modulus_len);
        assert_int_equal(atomic_load(&signs), before + 1); /* not for the length too */
        assert_true(verify_data(i, signature, len));
    }
    EVP_PKEY_free(key);
}

static void says_what_it_is(void **state)
{
    (void)state;
    EVP_PKEY *key = key_of(), *once_more = key_of();
    BIGNUM *private = NULL;
    assert_true(EVP_PKEY_is_a(key, "RSA"));
    assert_int_equal(EVP_PKEY_get_bits(key), 2048);
    assert_int_equal(EVP_PKEY_get_size(key), 256);
    assert_int_equal(EVP_PKEY_get_security_bits(key), 112);
    assert_int_equal(EVP_PKEY_eq(key, once_more), 1);
    assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_D, &private), 0);
    EVP_PKEY_free(key);
    EVP_PKEY_free(once_more);
}

/* A certificate of it, or of another key. */
static void fits_its_certificate_alone(void **state)
{
    (void)state;
    EVP_PKEY *key = key_of();
    for (int i = 0; i < 2; i++) {
        X509 *certificate = X509_new_ex(crypto->context, crypto->with_elsewhere);
        assert_int_equal(X509_set_pubkey(certificate, i ? other : real), 1);
        assert_int_equal(X509_check_private_key(certificate, key), i ? 0 : 1);
        X509_free(certificate);
    }
    EVP_PKEY_free(key);
}

static void fails_as_its_token_does(void **state)
{
    (void)state;
    EVP_PKEY *key = key_of();
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t len = sizeof(signature);
    away = true;
    assert_false(sign_data(key, 3, signature, &len));
    away = false;
    len = sizeof(signature);
    assert_true(sign_data(key, 3, signature, &len));
    EVP_PKEY_free(key);
}

static void refuses_what_a_token_may_not_do(void **state)
{
    (void)state;
    EVP_PKEY *key = key_of();
    static const char *const hashes[] = {"SHA1", "SHA224", "MD5"};
    for (size_t i = 0; i < KW_COUNT(hashes); i++) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        assert_int_not_equal(EVP_DigestSignInit_ex(context, NULL, hashes[i], crypto->context,
                                                   crypto->with_elsewhere, key, NULL),
                             1);
        EVP_MD_CTX_free(context);
    }
    EVP_PKEY_CTX *padding = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(context, &padding, "SHA256", crypto->context,
                                           crypto->with_elsewhere, key, NULL),
                     1);
    assert_true(EVP_PKEY_CTX_set_rsa_padding(padding, RSA_NO_PADDING) <= 0);
    assert_true(EVP_PKEY_CTX_set_rsa_padding(padding, RSA_PKCS1_PSS_PADDING) == 1);
    assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, 20) <= 0);
    assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, RSA_PSS_SALTLEN_MAX) <= 0);
    assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(padding, 32) == 1);
    assert_true(EVP_PKEY_CTX_set_rsa_mgf1_md_name(padding, "SHA1", NULL) <= 0);
    assert_true(EVP_PKEY_CTX_set_rsa_mgf1_md_name(padding, "SHA256", NULL) == 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_CTX *decrypting =
        EVP_PKEY_CTX_new_from_pkey(crypto->context, key, crypto->with_elsewhere);
    assert_true(EVP_PKEY_decrypt_init(decrypting) <= 0);
    EVP_PKEY_CTX_free(decrypting);
    EVP_PKEY_free(key);
}

/* Nobody gets it who did not ask for it. */
static void does_not_serve_others(void **state)
{
    (void)state;
    const char *const properties[] = {NULL, crypto->properties, crypto->with_elsewhere};
    for (size_t i = 0; i < KW_COUNT(properties); i++) {
        EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(crypto->context, "RSA", properties[i]);
        assert_non_null(signature);
        assert_string_equal(OSSL_PROVIDER_get0_name(EVP_SIGNATURE_get0_provider(signature)),
                            "default");
        EVP_SIGNATURE_free(signature);
    }
}

static void frees_its_context_once(void **state)
{
    (void)state;
    struct kw_signing_key bad = {.sign = sign, .free = count_free, .context = real};
    int before = atomic_load(&frees);
    EVP_PKEY *key = key_of();
    assert_int_equal(EVP_PKEY_up_ref(key), 1);
    EVP_PKEY_free(key);
    assert_int_equal(atomic_load(&frees), before);
    EVP_PKEY_free(key);
    assert_int_equal(atomic_load(&frees), before + 1);
    key = NULL;
    assert_int_equal(kw_private_key_new(crypto, &bad, &key, NULL), KW_KEY_UNUSABLE);
    assert_null(key);
    assert_int_equal(atomic_load(&frees), before + 2);
}

static void *sign_often(void *argument)
{
    EVP_PKEY *shared = argument;
    uint8_t signature[KW_RSA_MAX_BYTES];
    for (size_t i = 0; i < 24; i++) {
        size_t len = sizeof(signature);
        if (!sign_data(shared, i % KW_COUNT(rows), signature, &len) ||
            !verify_data(i % KW_COUNT(rows), signature, len))
            return NULL;
    }
    return argument;
}

static void serves_many_threads(void **state)
{
    (void)state;
    EVP_PKEY *shared = key_of();
    pthread_t threads[4];
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_often, shared), 0);
    for (size_t i = 0; i < KW_COUNT(threads); i++) {
        void *done = NULL;
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_ptr_equal(done, shared);
    }
    EVP_PKEY_free(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_as_tls_does),
        cmocka_unit_test(says_what_it_is),
        cmocka_unit_test(fits_its_certificate_alone),
        cmocka_unit_test(fails_as_its_token_does),
        cmocka_unit_test(refuses_what_a_token_may_not_do),
        cmocka_unit_test(does_not_serve_others),
        cmocka_unit_test(frees_its_context_once),
        cmocka_unit_test(serves_many_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
