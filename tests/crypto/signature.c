/* Signatures over digests that were made before, and the padding of those that the host makes.
 * OpenSSL by its own names is the independent peer. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "support.h"

static const struct {
    const char *name;
    const EVP_MD *(*hash)(void);
    size_t len;
    int padding;
} rows[KW_DIGEST_SIGNATURE_COUNT] = {
    [KW_DIGEST_RS256] = {"RS256", EVP_sha256, 32, RSA_PKCS1_PADDING},
    [KW_DIGEST_RS384] = {"RS384", EVP_sha384, 48, RSA_PKCS1_PADDING},
    [KW_DIGEST_RS512] = {"RS512", EVP_sha512, 64, RSA_PKCS1_PADDING},
    [KW_DIGEST_PS256] = {"PS256", EVP_sha256, 32, RSA_PKCS1_PSS_PADDING},
    [KW_DIGEST_PS384] = {"PS384", EVP_sha384, 48, RSA_PKCS1_PSS_PADDING},
    [KW_DIGEST_PS512] = {"PS512", EVP_sha512, 64, RSA_PKCS1_PSS_PADDING},
};

#define KEYS 3
static EVP_PKEY *pkeys[KEYS];
static struct kw_rsa_public publics[KEYS];
static uint8_t digest[64];

static int set_up(void **state)
{
    for (size_t i = 0; i < KEYS; i++) {
        BIGNUM *modulus = NULL, *exponent = NULL;
        pkeys[i] = EVP_RSA_gen(2048 + i * 1024);
        if (!pkeys[i] || EVP_PKEY_get_bn_param(pkeys[i], OSSL_PKEY_PARAM_RSA_N, &modulus) != 1 ||
            EVP_PKEY_get_bn_param(pkeys[i], OSSL_PKEY_PARAM_RSA_E, &exponent) != 1)
            return -1;
        publics[i].modulus_len = (size_t)BN_bn2bin(modulus, publics[i].modulus);
        publics[i].exponent_len = (size_t)BN_bn2bin(exponent, publics[i].exponent);
        BN_free(modulus);
        BN_free(exponent);
    }
    for (size_t i = 0; i < sizeof(digest); i++)
        digest[i] = (uint8_t)(i * 37 + 1);
    return start_crypto(state);
}

static int tear_down(void **state)
{
    for (size_t i = 0; i < KEYS; i++)
        EVP_PKEY_free(pkeys[i]);
    return stop_crypto(state);
}

static EVP_PKEY_CTX *peer(EVP_PKEY *pkey, bool sign, enum kw_digest_signature alg, int salt_len)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(sign ? EVP_PKEY_sign_init(context) : EVP_PKEY_verify_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, rows[alg].padding), 1);
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, rows[alg].hash()), 1);
    if (rows[alg].padding == RSA_PKCS1_PSS_PADDING)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, salt_len), 1);
    return context;
}

static size_t peer_signs(size_t which, enum kw_digest_signature alg, int salt_len,
                         uint8_t out[KW_RSA_MAX_BYTES])
{
    size_t len = KW_RSA_MAX_BYTES;
    EVP_PKEY_CTX *context = peer(pkeys[which], true, alg, salt_len);
    assert_int_equal(EVP_PKEY_sign(context, out, &len, digest, rows[alg].len), 1);
    EVP_PKEY_CTX_free(context);
    return len;
}

static bool peer_verifies(size_t which, enum kw_digest_signature alg, const uint8_t *signature)
{
    EVP_PKEY_CTX *context = peer(pkeys[which], false, alg, RSA_PSS_SALTLEN_DIGEST);
    int good =
        EVP_PKEY_verify(context, signature, publics[which].modulus_len, digest, rows[alg].len);
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    return good == 1;
}

static void names_and_lengths(void **state)
{
    (void)state;
    enum kw_digest_signature alg = KW_DIGEST_SIGNATURE_COUNT;
    static const char *const others[] = {"", "none", "RS1", "HS256", "ES256", "ps256", "PS256 "};
    for (size_t i = 0; i < KW_COUNT(others); i++)
        assert_false(kw_digest_signature_parse(others[i], &alg));
    assert_int_equal(alg, KW_DIGEST_SIGNATURE_COUNT);
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        assert_true(kw_digest_signature_parse(rows[i].name, &alg));
        assert_int_equal(alg, i);
        assert_string_equal(kw_digest_signature_name(alg), rows[i].name);
        assert_int_equal(kw_digest_signature_hash_len(alg), rows[i].len);
        assert_int_equal(kw_digest_signature_is_pss(alg), rows[i].name[0] == 'P');
    }
    assert_string_equal(kw_digest_signature_name(KW_DIGEST_SIGNATURE_COUNT), "unknown");
    assert_int_equal(kw_digest_signature_hash_len(KW_DIGEST_SIGNATURE_COUNT), 0);
    assert_int_equal(kw_digest_signature_check(KW_DIGEST_SIGNATURE_COUNT, 32, NULL), KW_FAULT);
}

static enum kw_status verify(size_t which, enum kw_digest_signature alg, const uint8_t *signature,
                             size_t len)
{
    enum kw_status status = kw_rsa_verify_digest(crypto, &publics[which], alg, digest,
                                                 rows[alg].len, signature, len, NULL);
    assert_queue_empty();
    return status;
}

static void what_the_peer_signed_verifies(void **state)
{
    (void)state;
    for (size_t which = 0; which < KEYS; which++)
        for (enum kw_digest_signature alg = 0; alg < KW_DIGEST_SIGNATURE_COUNT; alg++) {
            uint8_t signature[KW_RSA_MAX_BYTES];
            size_t len = peer_signs(which, alg, RSA_PSS_SALTLEN_DIGEST, signature);
            assert_int_equal(verify(which, alg, signature, len), KW_OK);
            assert_int_equal(verify(which, alg, signature, len - 1), KW_DAMAGED);
            assert_int_equal(verify((which + 1) % KEYS, alg, signature, len), KW_DAMAGED);
            for (enum kw_digest_signature other = 0; other < KW_DIGEST_SIGNATURE_COUNT; other++)
                if (other != alg)
                    assert_int_equal(verify(which, other, signature, len), KW_DAMAGED);
            digest[rows[alg].len - 1] ^= 1;
            assert_int_equal(verify(which, alg, signature, len), KW_DAMAGED);
            digest[rows[alg].len - 1] ^= 1;
            signature[len / 2] ^= 1;
            assert_int_equal(verify(which, alg, signature, len), KW_DAMAGED);
        }
}

static void other_salts_are_refused(void **state)
{
    (void)state;
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t len = peer_signs(0, KW_DIGEST_PS384, 32, signature);
    assert_int_equal(verify(0, KW_DIGEST_PS384, signature, len), KW_DAMAGED);
}

static void other_lengths_are_a_wrong_use(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 20, 31, 33, 47, 49, 63};
    struct kw_error err = {.status = KW_OK};
    uint8_t out[KW_RSA_MAX_BYTES];
    for (enum kw_digest_signature alg = 0; alg < KW_DIGEST_SIGNATURE_COUNT; alg++)
        for (size_t i = 0; i < KW_COUNT(lengths); i++) {
            memset(out, 0x5A, sizeof(out));
            assert_int_equal(kw_rsa_verify_digest(crypto, &publics[0], alg, digest, lengths[i],
                                                  digest, sizeof(digest), &err),
                             KW_USAGE);
            assert_int_equal(
                kw_signature_encode(crypto, &publics[0], alg, digest, lengths[i], out, &err),
                KW_USAGE);
            assert_int_equal(out[0], 0x5A);
        }
}

/* Raw RSA over what was encoded is a signature to the peer. */
static void the_peer_verifies_what_is_encoded(void **state)
{
    (void)state;
    for (size_t which = 0; which < KEYS; which++)
        for (enum kw_digest_signature alg = 0; alg < KW_DIGEST_SIGNATURE_COUNT; alg++) {
            uint8_t encoded[KW_RSA_MAX_BYTES], signature[KW_RSA_MAX_BYTES];
            size_t len = sizeof(signature);
            assert_int_equal(kw_signature_encode(crypto, &publics[which], alg, digest,
                                                 rows[alg].len, encoded, NULL),
                             KW_OK);
            EVP_PKEY_CTX *raw = EVP_PKEY_CTX_new(pkeys[which], NULL);
            assert_int_equal(EVP_PKEY_sign_init(raw), 1);
            assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(raw, RSA_NO_PADDING), 1);
            assert_int_equal(
                EVP_PKEY_sign(raw, signature, &len, encoded, publics[which].modulus_len), 1);
            EVP_PKEY_CTX_free(raw);
            assert_true(peer_verifies(which, alg, signature));
            assert_int_equal(verify(which, alg, signature, len), KW_OK);
        }
}

static void each_salt_is_another_one(void **state)
{
    (void)state;
    uint8_t one[KW_RSA_MAX_BYTES], two[KW_RSA_MAX_BYTES];
    assert_int_equal(
        kw_signature_encode(crypto, &publics[0], KW_DIGEST_PS256, digest, 32, one, NULL), KW_OK);
    assert_int_equal(
        kw_signature_encode(crypto, &publics[0], KW_DIGEST_PS256, digest, 32, two, NULL), KW_OK);
    assert_memory_not_equal(one, two, publics[0].modulus_len);
}

static void fips_makes_no_padding(void **state)
{
    (void)state;
    struct kw_crypto *fips = NULL;
    uint8_t out[KW_RSA_MAX_BYTES];
    if (kw_crypto_new(true, &fips, NULL) != KW_OK) {
        print_message("OpenSSL has no fips provider here\n");
        skip();
    }
    assert_int_equal(kw_signature_encode(fips, &publics[0], KW_DIGEST_PS256, digest, 32, out, NULL),
                     KW_KEY_UNUSABLE);
    kw_crypto_free(fips);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_lengths),
        cmocka_unit_test(what_the_peer_signed_verifies),
        cmocka_unit_test(other_salts_are_refused),
        cmocka_unit_test(other_lengths_are_a_wrong_use),
        cmocka_unit_test(the_peer_verifies_what_is_encoded),
        cmocka_unit_test(each_salt_is_another_one),
        cmocka_unit_test(fips_makes_no_padding),
    };
    return cmocka_run_group_tests_name("crypto/signature", tests, set_up, tear_down);
}
