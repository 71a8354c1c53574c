/* RSA private keys from PKCS#8: what is taken, and all that is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/crypto.h"

static struct kw_crypto *crypto;
static EVP_PKEY *pkey;
static uint8_t *der;
static size_t der_len;

static uint8_t *encode(EVP_PKEY *from, size_t *ret_len)
{
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(from);
    uint8_t *out = NULL;
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &out);
    assert_true(len > 0);
    PKCS8_PRIV_KEY_INFO_free(info);
    *ret_len = (size_t)len;
    return out;
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(kw_secret_start(NULL), KW_OK);
    assert_int_equal(kw_crypto_new(false, &crypto, NULL), KW_OK);
    pkey = EVP_RSA_gen(2048);
    der = encode(pkey, &der_len);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    OPENSSL_clear_free(der, der_len);
    EVP_PKEY_free(pkey);
    kw_crypto_free(crypto);
    return 0;
}

static enum kw_status parse(const uint8_t *bytes, size_t len, struct kw_rsa_private *ret_key,
                            struct kw_error *err)
{
    struct kw_secret *secret;
    assert_int_equal(kw_secret_from(bytes, len, &secret, NULL), KW_OK);
    enum kw_status status = kw_rsa_private_from_pkcs8(crypto, secret, ret_key, err);
    kw_secret_free(secret);
    return status;
}

static void refuses(const uint8_t *bytes, size_t len, const char *words)
{
    struct kw_rsa_private key, untouched;
    struct kw_error err = {.status = KW_OK};
    memset(&key, 0x5A, sizeof(key));
    memset(&untouched, 0x5A, sizeof(untouched));
    assert_int_equal(parse(bytes, len, &key, &err), KW_KEY_UNUSABLE);
    assert_int_equal(err.status, KW_KEY_UNUSABLE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    assert_memory_equal(&key, &untouched, sizeof(key));
}

static void refuses_key(EVP_PKEY *from, const char *words)
{
    size_t len;
    uint8_t *bytes = encode(from, &len);
    refuses(bytes, len, words);
    OPENSSL_clear_free(bytes, len);
    EVP_PKEY_free(from);
}

static void assert_numbers(const struct kw_rsa_private *key)
{
    static const char *const names[] = {
        OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
        OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
        OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
    };
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++) {
        BIGNUM *wanted = NULL;
        assert_int_equal(EVP_PKEY_get_bn_param(pkey, names[i], &wanted), 1);
        BIGNUM *number =
            BN_bin2bn(kw_secret_bytes(key->numbers[i]), (int)kw_secret_len(key->numbers[i]), NULL);
        assert_int_equal(BN_cmp(number, wanted), 0);
        assert_int_equal(kw_secret_len(key->numbers[i]), BN_num_bytes(wanted));
        BN_clear_free(number);
        BN_clear_free(wanted);
    }
}

static void numbers_and_zeros_after_them(void **state)
{
    (void)state;
    uint8_t longer[2048] = {0};
    memcpy(longer, der, der_len);
    for (size_t zeros = 0; zeros <= 7; zeros++) {
        struct kw_rsa_private key;
        assert_int_equal(parse(longer, der_len + zeros, &key, NULL), KW_OK);
        assert_numbers(&key);
        kw_rsa_private_cleanup(&key);
        kw_rsa_private_cleanup(&key); /* empty now */
    }
    refuses(longer, der_len + 8, "PKCS#8");
    for (size_t i = 0; i < 7; i++) {
        longer[der_len + i] = 1;
        refuses(longer, der_len + 7, "PKCS#8");
        longer[der_len + i] = 0;
    }
}

static void cuts(const uint8_t *bytes, size_t len, enum kw_status expected, size_t expected_len)
{
    struct kw_secret *secret;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_secret_from(bytes, len, &secret, NULL), KW_OK);
    assert_int_equal(kw_pkcs8_cut_zeros(secret, &err), expected);
    assert_int_equal(err.status, expected);
    assert_int_equal(kw_secret_len(secret), expected_len);
    assert_memory_equal(kw_secret_bytes(secret), bytes, expected_len);
    kw_secret_free(secret);
}

static void zeros_are_cut_off(void **state)
{
    (void)state;
    uint8_t longer[2048] = {0};
    memcpy(longer, der, der_len);
    for (size_t zeros = 0; zeros <= 7; zeros++)
        cuts(longer, der_len + zeros, KW_OK, der_len);
    cuts(longer, der_len + 8, KW_KEY_UNUSABLE, der_len + 8);
    for (size_t i = 0; i < 7; i++) {
        longer[der_len + i] = 1;
        cuts(longer, der_len + 7, KW_KEY_UNUSABLE, der_len + 7);
        longer[der_len + i] = 0;
    }
    for (size_t len = 0; len < der_len; len += 1 + len / 4)
        cuts(longer, len, KW_KEY_UNUSABLE, len);
    cuts(longer, der_len - 1, KW_KEY_UNUSABLE, der_len - 1);
    static const struct {
        uint8_t bytes[8];
        size_t len;
    } others[] = {
        {{0x30}, 1},                               /* no length */
        {{0x30, 0x82, 0x01}, 3},                   /* half a length */
        {{0x30, 0x80, 0, 0}, 4},                   /* without an end of its own */
        {{0x30, 0x84, 0xff, 0xff, 0xff, 0xff}, 6}, /* longer than there is */
        {{0x10, 0x00}, 2},                         /* not constructed */
        {{0x31, 0x00}, 2},                         /* a SET */
        {{0xb0, 0x00}, 2},                         /* of another class */
        {{0}, 8},
    };
    for (size_t i = 0; i < KW_COUNT(others); i++)
        cuts(others[i].bytes, others[i].len, KW_KEY_UNUSABLE, others[i].len);
}

static void other_keys(void **state)
{
    (void)state;
    refuses_key(EVP_RSA_gen(1024), "1024 bits");
    refuses_key(EVP_RSA_gen(5120), "5120 bits");
    refuses_key(EVP_EC_gen("P-256"), "not an RSA key");
    refuses_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "not an RSA key");
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    EVP_PKEY *other = NULL;
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_generate(context, &other), 1);
    EVP_PKEY_CTX_free(context);
    refuses_key(other, "not an RSA key");
    other = NULL;
    context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_primes(context, 3), 1);
    assert_int_equal(EVP_PKEY_generate(context, &other), 1);
    EVP_PKEY_CTX_free(context);
    refuses_key(other, "two primes");
}

static void other_forms(void **state)
{
    (void)state;
    uint8_t *bytes = NULL;
    int len = i2d_PrivateKey(pkey, &bytes); /* PKCS#1 */
    assert_true(len > 0);
    refuses(bytes, (size_t)len, "PKCS#8");
    OPENSSL_clear_free(bytes, (size_t)len);
    bytes = NULL;
    len = i2d_PUBKEY(pkey, &bytes);
    refuses(bytes, (size_t)len, "PKCS#8");
    OPENSSL_free(bytes);
    refuses((const uint8_t *)"-----BEGIN PRIVATE KEY-----", 27, "PKCS#8");
    for (size_t i = 0; i < der_len; i += 13)
        refuses(der, i, "PKCS#8");
}

/* Whatever byte is damaged: refused, or of no consequence. */
static void damage(void **state)
{
    (void)state;
    size_t refused = 0, tried = 0;
    for (size_t i = 0; i < der_len; i += i < 60 ? 1 : 11, tried++) {
        struct kw_rsa_private key;
        der[i] ^= 0x04;
        if (parse(der, der_len, &key, NULL) == KW_OK) {
            assert_numbers(&key);
            kw_rsa_private_cleanup(&key);
        } else {
            refused++;
        }
        der[i] ^= 0x04;
    }
    assert_true(refused + 3 >= tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_zeros_after_them),
        cmocka_unit_test(zeros_are_cut_off),
        cmocka_unit_test(other_keys),
        cmocka_unit_test(other_forms),
        cmocka_unit_test(damage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
