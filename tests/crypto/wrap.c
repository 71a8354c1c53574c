/* RSA public keys from PEM, and data keys wrapped to them. */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "support.h"

static EVP_PKEY *pkey;

static int set_up(void **state)
{
    pkey = EVP_RSA_gen(2048);
    return pkey ? start_crypto(state) : -1;
}

static int tear_down(void **state)
{
    EVP_PKEY_free(pkey);
    return stop_crypto(state);
}

static void names(void **state)
{
    (void)state;
    enum kw_wrap_alg alg = KW_WRAP_ALG_COUNT;
    assert_string_equal(kw_wrap_alg_name(KW_RSA_OAEP), "RSA-OAEP");
    assert_string_equal(kw_wrap_alg_name(KW_RSA_OAEP_256), "RSA-OAEP-256");
    assert_string_equal(kw_wrap_alg_name(KW_RSA1_5), "RSA1_5");
    assert_string_equal(kw_wrap_alg_name(KW_WRAP_ALG_COUNT), "unknown");
    assert_true(kw_wrap_alg_parse("rsa-oaep-256", &alg));
    assert_int_equal(alg, KW_RSA_OAEP_256);
    assert_true(kw_wrap_alg_parse("RSA1_5", &alg));
    assert_int_equal(alg, KW_RSA1_5);
    assert_false(kw_wrap_alg_parse("RSA-OAEP-", &alg));
    assert_false(kw_wrap_alg_parse("", &alg));
    assert_false(kw_wrap_alg_parse("auto", &alg));
    assert_int_equal(alg, KW_RSA1_5);
}

/* ---- PEM ---- */

typedef int (*write_fn)(BIO *out, EVP_PKEY *key);

static int write_spki(BIO *out, EVP_PKEY *key)
{
    return PEM_write_bio_PUBKEY(out, key);
}

static int write_text_before(BIO *out, EVP_PKEY *key)
{
    return BIO_puts(out, "Public-Key: (2048 bit)\n\n") > 0 && PEM_write_bio_PUBKEY(out, key);
}

static int write_pkcs1(BIO *out, EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int len = i2d_PublicKey(key, &der);
    int written = len > 0 && PEM_write_bio(out, "RSA PUBLIC KEY", "", der, len);
    OPENSSL_free(der);
    return written;
}

static int write_private(BIO *out, EVP_PKEY *key)
{
    return PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
}

static int write_encrypted_private(BIO *out, EVP_PKEY *key)
{
    return PEM_write_bio_PrivateKey(out, key, EVP_aes_256_cbc(), (const unsigned char *)"pw", 2,
                                    NULL, NULL);
}

static int write_certificate(BIO *out, EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    int written = certificate && X509_set_version(certificate, X509_VERSION_3) &&
                  X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
                  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) &&
                  X509_set_pubkey(certificate, key) &&
                  X509_sign(certificate, key, EVP_sha256()) > 0 &&
                  PEM_write_bio_X509(out, certificate);
    X509_free(certificate);
    return written;
}

static enum kw_status read_back(write_fn write, EVP_PKEY *key, struct kw_rsa_public *ret_public,
                                struct kw_error *err)
{
    BIO *out = BIO_new(BIO_s_mem());
    assert_true(write(out, key));
    char *pem = NULL;
    long len = BIO_get_mem_data(out, &pem);
    enum kw_status status =
        kw_rsa_public_from_pem(crypto, pem, (size_t)len, "key.pem", ret_public, err);
    BIO_free(out);
    assert_queue_empty();
    return status;
}

static void reads_every_form(void **state)
{
    (void)state;
    static const write_fn forms[] = {write_spki, write_text_before, write_pkcs1, write_certificate};
    struct kw_rsa_public first;
    for (size_t i = 0; i < KW_COUNT(forms); i++) {
        struct kw_error error = {0};
        struct kw_rsa_public public = {0};
        if (read_back(forms[i], pkey, &public, &error) != KW_OK)
            fail_msg("form %zu: %s", i, error.message);
        assert_int_equal(kw_rsa_bits(&public), 2048);
        assert_int_equal(public.modulus_len, 256);
        assert_int_equal(public.exponent_len, 3);
        assert_memory_equal(public.exponent, "\x01\x00\x01", 3);
        if (i == 0)
            first = public;
        assert_memory_equal(public.modulus, first.modulus, first.modulus_len);
    }
}

static void assert_refused(write_fn write, EVP_PKEY *key, const char *why)
{
    struct kw_error error = {0};
    struct kw_rsa_public public = {.modulus_len = 7};
    assert_int_equal(read_back(write, key, &public, &error), KW_CONFIG);
    assert_int_equal(public.modulus_len, 7);
    assert_non_null(strstr(error.message, "key.pem"));
    if (!strstr(error.message, why))
        fail_msg("\"%s\" does not say \"%s\"", error.message, why);
}

static void refuses_private_keys(void **state)
{
    (void)state;
    assert_refused(write_private, pkey, "a private key");
    assert_refused(write_encrypted_private, pkey, "a private key");
}

static void refuses_other_keys(void **state)
{
    (void)state;
    EVP_PKEY *ec = EVP_EC_gen("P-256");
    EVP_PKEY *small = EVP_RSA_gen(1024);
    EVP_PKEY *odd = EVP_RSA_gen(2047);
    EVP_PKEY *pss = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_generate(context, &pss), 1);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY *curve = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_true(ec && small && odd && pss && curve);
    assert_refused(write_spki, ec, "not an RSA key");
    assert_refused(write_certificate, ec, "not an RSA key");
    assert_refused(write_spki, small, "1024 bits");
    assert_refused(write_spki, odd, "2047 bits");
    assert_refused(write_spki, pss, "not an RSA key for encryption");
    assert_refused(write_spki, curve, "not an RSA key");
    EVP_PKEY_free(ec);
    EVP_PKEY_free(small);
    EVP_PKEY_free(odd);
    EVP_PKEY_free(pss);
    EVP_PKEY_free(curve);
}

static void refuses_what_is_no_key(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "not PEM",
        "-----BEGIN PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        struct kw_error error = {0};
        struct kw_rsa_public public;
        assert_int_equal(
            kw_rsa_public_from_pem(crypto, texts[i], strlen(texts[i]), "key.pem", &public, &error),
            KW_CONFIG);
        assert_non_null(strstr(error.message, "key.pem"));
        assert_queue_empty();
    }
}

static void counts_bits(void **state)
{
    (void)state;
    struct kw_rsa_public public = {.modulus = {0x80}, .modulus_len = 256};
    assert_int_equal(kw_rsa_bits(&public), 2048);
    public.modulus[0] = 0x01;
    assert_int_equal(kw_rsa_bits(&public), 2041);
    public.modulus_len = 0;
    assert_int_equal(kw_rsa_bits(&public), 0);
}

/* ---- wrapping ---- */

static size_t unwrap(const uint8_t *wrapped, enum kw_wrap_alg alg, uint8_t out[256])
{
    static const char *const hashes[] = {"SHA1", "SHA256", NULL};
    size_t size = 256;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(context), 1);
    int padding = hashes[alg] ? RSA_PKCS1_OAEP_PADDING : RSA_PKCS1_PADDING;
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, padding), 1);
    if (hashes[alg]) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(context, hashes[alg], NULL), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, hashes[alg], NULL), 1);
    }
    assert_int_equal(EVP_PKEY_decrypt(context, out, &size, wrapped, 256), 1);
    EVP_PKEY_CTX_free(context);
    return size;
}

static void wraps_with_every_algorithm(void **state)
{
    (void)state;
    struct kw_rsa_public public;
    assert_int_equal(read_back(write_spki, pkey, &public, NULL), KW_OK);
    uint8_t key[KW_AES256_KEY_SIZE];
    assert_int_equal(kw_random(crypto, key, sizeof(key), NULL), KW_OK);
    struct kw_secret *secret = secret_from(key, sizeof(key));
    for (enum kw_wrap_alg alg = 0; alg < KW_WRAP_ALG_COUNT; alg++) {
        uint8_t wrapped[2][256];
        uint8_t out[256];
        assert_int_equal(kw_rsa_wrap(crypto, &public, alg, secret, wrapped[0], NULL), KW_OK);
        assert_int_equal(kw_rsa_wrap(crypto, &public, alg, secret, wrapped[1], NULL), KW_OK);
        assert_memory_not_equal(wrapped[0], wrapped[1], 256);
        assert_int_equal(unwrap(wrapped[0], alg, out), sizeof(key));
        assert_memory_equal(out, key, sizeof(key));
    }
    kw_secret_free(secret);
    assert_queue_empty();
}

static void assert_not_wrapped(const struct kw_rsa_public *public, size_t len)
{
    static const uint8_t zeros[512];
    uint8_t out[KW_RSA_MAX_BYTES];
    struct kw_error error = {0};
    struct kw_secret *secret = secret_from(zeros, len);
    memset(out, 0x5a, sizeof(out));
    assert_int_equal(kw_rsa_wrap(crypto, public, KW_RSA_OAEP, secret, out, &error),
                     KW_KEY_UNUSABLE);
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(out[i], 0x5a);
    assert_true(error.message[0] != '\0');
    assert_queue_empty();
    kw_secret_free(secret);
}

static void refuses_unsound_keys(void **state)
{
    (void)state;
    struct kw_rsa_public good;
    assert_int_equal(read_back(write_spki, pkey, &good, NULL), KW_OK);
    assert_not_wrapped(&good, 256 - 2 * 20 - 1); /* one byte more than fits */

    struct kw_rsa_public bad = good;
    bad.exponent[2] = 0x00; /* even */
    assert_not_wrapped(&bad, 32);
    bad = good;
    bad.exponent[0] = 1;
    bad.exponent_len = 1; /* what is encrypted with 1 is not encrypted */
    assert_not_wrapped(&bad, 32);
    bad.exponent_len = 0;
    assert_not_wrapped(&bad, 32);
    bad = good;
    bad.exponent_len = sizeof(bad.exponent) + 1;
    assert_not_wrapped(&bad, 32);
    bad = good;
    bad.modulus[255] &= 0xfe;
    assert_not_wrapped(&bad, 32);
    bad = good;
    bad.modulus_len = 255;
    assert_not_wrapped(&bad, 32);
    bad.modulus_len = sizeof(bad.modulus) + 1;
    assert_not_wrapped(&bad, 32);
    bad.modulus_len = 0;
    assert_not_wrapped(&bad, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(reads_every_form),
        cmocka_unit_test(refuses_private_keys),
        cmocka_unit_test(refuses_other_keys),
        cmocka_unit_test(refuses_what_is_no_key),
        cmocka_unit_test(counts_bits),
        cmocka_unit_test(wraps_with_every_algorithm),
        cmocka_unit_test(refuses_unsound_keys),
    };
    return cmocka_run_group_tests_name("crypto/wrap", tests, set_up, tear_down);
}
