/* AES-256-CBC with PKCS#7 padding, in place. */
#include <openssl/evp.h>

#include "support.h"

#define MAX_LEN 200

/* NIST SP 800-38A, F.2.5 and F.2.6. */
static const char nist_key[] = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
static const char nist_iv[] = "000102030405060708090a0b0c0d0e0f";
static const char nist_plain[] = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
                                 "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710";
static const char nist_cipher[] =
    "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
    "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b";

static struct kw_cbc *cbc;
static struct kw_secret *key;
static uint8_t iv[KW_AES_BLOCK];

static int set_up(void **state)
{
    uint8_t bytes[KW_AES256_KEY_SIZE];
    if (start_crypto(state) != 0 || kw_cbc_new(crypto, &cbc, NULL) != KW_OK)
        return -1;
    from_hex(nist_key, bytes, sizeof(bytes));
    from_hex(nist_iv, iv, sizeof(iv));
    key = secret_from(bytes, sizeof(bytes));
    return 0;
}

static int tear_down(void **state)
{
    kw_cbc_free(cbc);
    kw_cbc_free(NULL);
    kw_secret_free(key);
    return stop_crypto(state);
}

/* The whole of `data` with the first `body` bytes given to update. */
static enum kw_status run(enum kw_direction direction, uint8_t *data, size_t body, size_t len,
                          size_t *ret_len)
{
    size_t rest = 0;
    enum kw_status status = kw_cbc_start(cbc, direction, key, iv, NULL);
    if (status == KW_OK)
        status = kw_cbc_update(cbc, data, body, NULL);
    if (status == KW_OK)
        status = kw_cbc_finish(cbc, data + body, len - body, &rest, NULL);
    if (status == KW_OK)
        *ret_len = body + rest;
    return status;
}

/* OpenSSL's one-shot, out of place and with its own padding, as the reference. */
static size_t reference(const uint8_t *plain, size_t len, uint8_t *out)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int body = 0;
    int rest = 0;
    assert_int_equal(EVP_EncryptInit_ex(context, EVP_aes_256_cbc(), NULL, kw_secret_bytes(key), iv),
                     1);
    assert_int_equal(EVP_EncryptUpdate(context, out, &body, plain, (int)len), 1);
    assert_int_equal(EVP_EncryptFinal_ex(context, out + body, &rest), 1);
    EVP_CIPHER_CTX_free(context);
    return (size_t)(body + rest);
}

/* Encrypts blocks as they are, with whatever they end in for padding. */
static void encrypt_blocks(uint8_t *data, size_t len)
{
    assert_int_equal(kw_cbc_start(cbc, KW_ENCRYPT, key, iv, NULL), KW_OK);
    assert_int_equal(kw_cbc_update(cbc, data, len, NULL), KW_OK);
}

static void nist_vectors(void **state)
{
    (void)state;
    uint8_t plain[64];
    uint8_t cipher[64];
    uint8_t data[80];
    size_t len = 0;
    from_hex(nist_plain, plain, sizeof(plain));
    from_hex(nist_cipher, cipher, sizeof(cipher));
    memcpy(data, plain, sizeof(plain));
    assert_int_equal(run(KW_ENCRYPT, data, 0, sizeof(plain), &len), KW_OK);
    assert_int_equal(len, sizeof(data));
    assert_memory_equal(data, cipher, sizeof(cipher));
    assert_int_equal(run(KW_DECRYPT, data, 0, len, &len), KW_OK);
    assert_int_equal(len, sizeof(plain));
    assert_memory_equal(data, plain, sizeof(plain));
}

static void every_length_at_every_split(void **state)
{
    (void)state;
    uint8_t plain[MAX_LEN];
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 7 + 1);
    for (size_t len = 0; len <= MAX_LEN; len++) {
        uint8_t wanted[MAX_LEN + KW_AES_BLOCK];
        size_t sealed = reference(plain, len, wanted);
        for (size_t body = 0; body <= len; body += KW_AES_BLOCK) {
            uint8_t data[MAX_LEN + KW_AES_BLOCK];
            size_t out = 0;
            memcpy(data, plain, len);
            assert_int_equal(run(KW_ENCRYPT, data, body, len, &out), KW_OK);
            assert_int_equal(out, sealed);
            assert_memory_equal(data, wanted, sealed);
            assert_int_equal(run(KW_DECRYPT, data, body, sealed, &out), KW_OK);
            assert_int_equal(out, len);
            assert_memory_equal(data, plain, len);
        }
    }
    assert_queue_empty();
}

static void wrong_padding_is_damage(void **state)
{
    (void)state;
    for (unsigned last = 0; last < 256; last++) {
        for (size_t broken = 0; broken < KW_AES_BLOCK; broken++) {
            /* `last` as a count, with one byte that is not it. */
            uint8_t data[2 * KW_AES_BLOCK];
            memset(data, (int)last, sizeof(data));
            data[sizeof(data) - 1 - broken] ^= broken == 0 ? 0 : 0x40;
            bool good = last >= 1 && last <= KW_AES_BLOCK && (broken == 0 || broken >= last);
            encrypt_blocks(data, sizeof(data));
            size_t len = 12345;
            enum kw_status status = run(KW_DECRYPT, data, KW_AES_BLOCK, sizeof(data), &len);
            assert_int_equal(status, good ? KW_OK : KW_DAMAGED);
            assert_int_equal(len, good ? sizeof(data) - last : 12345);
            assert_queue_empty();
        }
    }
}

static void refuses_what_is_no_ciphertext(void **state)
{
    (void)state;
    uint8_t data[64] = {0};
    size_t len = 12345;
    for (size_t size = 0; size < sizeof(data); size++) {
        if (size % KW_AES_BLOCK == 0 && size != 0)
            continue;
        assert_int_equal(kw_cbc_start(cbc, KW_DECRYPT, key, iv, NULL), KW_OK);
        assert_int_equal(kw_cbc_finish(cbc, data, size, &len, NULL), KW_FAULT);
        if (size > 0)
            assert_int_equal(kw_cbc_update(cbc, data, size, NULL), KW_FAULT);
    }
    assert_int_equal(len, 12345);
}

static void refuses_other_key_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 16, 24, 31, 33};
    uint8_t bytes[64] = {0};
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        struct kw_error error = {0};
        struct kw_secret *other = secret_from(bytes, sizes[i]);
        assert_int_equal(kw_cbc_start(cbc, KW_DECRYPT, other, iv, &error), KW_FAULT);
        assert_int_equal(error.status, KW_FAULT);
        kw_secret_free(other);
    }
}

static void another_key_is_damage_or_other_bytes(void **state)
{
    (void)state;
    uint8_t plain[] = "sixteen bytes and some more";
    uint8_t data[sizeof(plain) + KW_AES_BLOCK];
    memcpy(data, plain, sizeof(plain));
    size_t len = 0;
    assert_int_equal(run(KW_ENCRYPT, data, 0, sizeof(plain), &len), KW_OK);
    iv[0] ^= 1;
    assert_int_equal(run(KW_DECRYPT, data, 0, len, &len), KW_OK);
    iv[0] ^= 1;
    /* The IV reaches the first block alone. */
    assert_int_equal(len, sizeof(plain));
    assert_int_equal(data[0], plain[0] ^ 1);
    assert_memory_equal(data + 1, plain + 1, sizeof(plain) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nist_vectors),
        cmocka_unit_test(every_length_at_every_split),
        cmocka_unit_test(wrong_padding_is_damage),
        cmocka_unit_test(refuses_what_is_no_ciphertext),
        cmocka_unit_test(refuses_other_key_sizes),
        cmocka_unit_test(another_key_is_damage_or_other_bytes),
    };
    return cmocka_run_group_tests_name("crypto/cbc", tests, set_up, tear_down);
}
