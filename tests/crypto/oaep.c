/* The OAEP padding check, on padding that OpenSSL made. */
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "support.h"

static const struct {
    enum kw_wrap_alg alg;
    const char *hash;
    size_t hash_len;
} kinds[] = {
    {KW_RSA_OAEP, "SHA1", 20},
    {KW_RSA_OAEP_256, "SHA256", 32},
};
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

/* Encrypts with OAEP and decrypts without: what a token gives with raw RSA. */
static void encode(const char *hash, const void *message, size_t len, uint8_t out[256])
{
    uint8_t wrapped[256];
    size_t size = sizeof(wrapped);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(context, hash, NULL), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, hash, NULL), 1);
    assert_int_equal(EVP_PKEY_encrypt(context, wrapped, &size, message, len), 1);
    EVP_PKEY_CTX_free(context);
    context = EVP_PKEY_CTX_new(pkey, NULL);
    size = 256;
    assert_int_equal(EVP_PKEY_decrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING), 1);
    assert_int_equal(EVP_PKEY_decrypt(context, out, &size, wrapped, sizeof(wrapped)), 1);
    EVP_PKEY_CTX_free(context);
    assert_int_equal(size, 256);
}

static enum kw_status decode(enum kw_wrap_alg alg, const uint8_t *encoded, size_t len,
                             struct kw_secret **ret_secret, struct kw_error *err)
{
    struct kw_secret *secret = secret_from(encoded, len);
    enum kw_status status = kw_oaep_decode(crypto, alg, secret, ret_secret, err);
    kw_secret_free(secret);
    assert_queue_empty();
    return status;
}

static void every_length(void **state)
{
    (void)state;
    uint8_t message[256];
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)i;
    for (size_t i = 0; i < KW_COUNT(kinds); i++) {
        size_t max = 256 - 2 * kinds[i].hash_len - 2;
        for (size_t len = 0; len <= max; len += len < 40 ? 1 : 29) {
            uint8_t encoded[256];
            struct kw_secret *secret = NULL;
            encode(kinds[i].hash, message, len, encoded);
            assert_int_equal(decode(kinds[i].alg, encoded, sizeof(encoded), &secret, NULL), KW_OK);
            assert_int_equal(kw_secret_len(secret), len);
            assert_memory_equal(kw_secret_bytes(secret), message, len);
            kw_secret_free(secret);
        }
    }
}

/* Whatever is wrong, and wherever: one status and one message. */
static void every_byte_that_is_wrong_looks_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(kinds); i++) {
        uint8_t encoded[256];
        char first[KW_MESSAGE_SIZE] = "";
        encode(kinds[i].hash, "a data key", 10, encoded);
        for (size_t at = 0; at < sizeof(encoded); at++) {
            struct kw_error error = {0};
            struct kw_secret *secret = NULL;
            encoded[at] ^= 0x01;
            enum kw_status status = decode(kinds[i].alg, encoded, sizeof(encoded), &secret, &error);
            encoded[at] ^= 0x01;
            assert_int_equal(status, KW_KEY_UNWRAP);
            assert_null(secret);
            assert_int_equal(error.ck_rv, 0);
            if (at == 0)
                memcpy(first, error.message, sizeof(first));
            assert_string_equal(error.message, first);
        }
    }
}

static void the_other_hash_does_not_fit(void **state)
{
    (void)state;
    uint8_t encoded[256];
    struct kw_secret *secret = NULL;
    encode("SHA1", "a data key", 10, encoded);
    assert_int_equal(decode(KW_RSA_OAEP_256, encoded, sizeof(encoded), &secret, NULL),
                     KW_KEY_UNWRAP);
    encode("SHA256", "a data key", 10, encoded);
    assert_int_equal(decode(KW_RSA_OAEP, encoded, sizeof(encoded), &secret, NULL), KW_KEY_UNWRAP);
    assert_null(secret);
}

static void refuses_what_is_no_padding_of_oaep(void **state)
{
    (void)state;
    uint8_t encoded[KW_RSA_MAX_BYTES + 1] = {0};
    struct kw_secret *secret = NULL;
    assert_int_equal(decode(KW_RSA1_5, encoded, 256, &secret, NULL), KW_FAULT);
    assert_int_equal(decode(KW_WRAP_ALG_COUNT, encoded, 256, &secret, NULL), KW_FAULT);
    assert_int_equal(decode(KW_RSA_OAEP, encoded, 0, &secret, NULL), KW_FAULT);
    assert_int_equal(decode(KW_RSA_OAEP, encoded, 255, &secret, NULL), KW_FAULT);
    assert_int_equal(decode(KW_RSA_OAEP, encoded, sizeof(encoded), &secret, NULL), KW_FAULT);
    assert_int_equal(decode(KW_RSA_OAEP, encoded, 256, &secret, NULL), KW_KEY_UNWRAP);
    assert_null(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length),
        cmocka_unit_test(every_byte_that_is_wrong_looks_the_same),
        cmocka_unit_test(the_other_hash_does_not_fit),
        cmocka_unit_test(refuses_what_is_no_padding_of_oaep),
    };
    return cmocka_run_group_tests_name("crypto/oaep", tests, set_up, tear_down);
}
