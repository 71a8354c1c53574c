/* AES key wrap with padding, and the key pair for trials. */
#include "support.h"

#include <openssl/evp.h>

#include "../draw.h"

/* Any size comes back, and nothing that was changed does. */
static void round_trips(void **state)
{
    (void)state;
    uint8_t bytes[256];
    assert_int_equal(kw_random(crypto, bytes, sizeof(bytes), NULL), KW_OK);
    struct kw_secret *kek = secret_from(bytes, KW_AES256_KEY_SIZE);
    for (size_t len = 1; len <= 64; len++) {
        struct kw_secret *secret = secret_from(bytes + 100, len), *back = NULL;
        struct kw_buffer wrapped = KW_BUFFER_INIT(256);
        assert_int_equal(kw_kwp_wrap(crypto, kek, secret, &wrapped, NULL), KW_OK);
        assert_int_equal(wrapped.len, KW_KWP_SIZE(len));
        assert_int_equal(kw_kwp_unwrap(crypto, kek, wrapped.data, wrapped.len, &back, NULL), KW_OK);
        assert_true(kw_secret_equal(secret, back));
        kw_secret_free(back);
        back = NULL;
        for (size_t i = 0; i < wrapped.len; i++) {
            wrapped.data[i] ^= 0x10;
            assert_int_equal(kw_kwp_unwrap(crypto, kek, wrapped.data, wrapped.len, &back, NULL),
                             KW_KEY_UNWRAP);
            wrapped.data[i] ^= 0x10;
        }
        kw_buffer_cleanup(&wrapped);
        kw_secret_free(secret);
    }
    kw_secret_free(kek);
    assert_queue_empty();
}

/* RFC 5649 over RFC 3394 as their text has it; only single blocks of AES are OpenSSL's. */
static size_t reference_wrap(const uint8_t kek[KW_AES256_KEY_SIZE], const uint8_t *in, size_t len,
                             uint8_t *out)
{
    size_t units = (len + 7) / 8;
    int written = 0;
    uint8_t block[16] = {0xA6, 0x59, 0x59, 0xA6, 0, 0, (uint8_t)(len >> 8), (uint8_t)len};
    EVP_CIPHER_CTX *aes = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_EncryptInit_ex2(aes, EVP_aes_256_ecb(), kek, NULL, NULL), 1);
    memset(out + 8, 0, 8 * units);
    memcpy(out + 8, in, len);
    size_t rounds = units == 1 ? 1 : 6 * units;
    for (size_t t = 1; t <= rounds; t++) {
        uint8_t *unit = out + 8 + (t - 1) % units * 8;
        memcpy(block + 8, unit, 8);
        assert_int_equal(EVP_EncryptUpdate(aes, block, &written, block, 16), 1);
        for (size_t i = 0; i < 8 && units > 1; i++)
            block[7 - i] ^= (uint8_t)(t >> (8 * i));
        memcpy(unit, block + 8, 8);
    }
    memcpy(out, block, 8);
    EVP_CIPHER_CTX_free(aes);
    return 8 * units + 8;
}

static void random_sizes_are_as_the_rfc_has_them(void **state)
{
    (void)state;
    struct draw draw = draw_start();
    for (int round = 0; round < 300; round++) {
        uint8_t bytes[KW_KWP_MAX], key[KW_AES256_KEY_SIZE], wanted[KW_SECRET_MAX];
        size_t len = draw_size(&draw, 1, sizeof(bytes));
        draw_bytes(&draw, bytes, len);
        draw_bytes(&draw, key, sizeof(key));
        struct kw_secret *kek = secret_from(key, sizeof(key)), *secret = secret_from(bytes, len);
        struct kw_secret *back = NULL;
        struct kw_buffer wrapped = KW_BUFFER_INIT(sizeof(wanted));
        assert_int_equal(kw_kwp_wrap(crypto, kek, secret, &wrapped, NULL), KW_OK);
        assert_int_equal(wrapped.len, reference_wrap(key, bytes, len, wanted));
        assert_memory_equal(wrapped.data, wanted, wrapped.len);
        assert_int_equal(kw_kwp_unwrap(crypto, kek, wrapped.data, wrapped.len, &back, NULL), KW_OK);
        assert_true(kw_secret_equal(secret, back));
        kw_secret_free(back);
        back = NULL;
        wrapped.data[draw_size(&draw, 0, wrapped.len - 1)] ^=
            (uint8_t)(1 << draw_size(&draw, 0, 7));
        assert_int_equal(kw_kwp_unwrap(crypto, kek, wrapped.data, wrapped.len, &back, NULL),
                         KW_KEY_UNWRAP);
        kw_buffer_cleanup(&wrapped);
        kw_secret_free(secret);
        kw_secret_free(kek);
    }
    assert_queue_empty();
}

static void lengths_and_keys_that_make_no_sense(void **state)
{
    (void)state;
    static const uint8_t zeros[KW_SECRET_MAX + 8] = {0};
    static const size_t lengths[] = {0, 1, 7, 8, 9, 15, 17, 23, KW_SECRET_MAX + 8};
    struct kw_secret *kek = secret_from(zeros, KW_AES256_KEY_SIZE), *secret = NULL;
    struct kw_secret *small = secret_from(zeros, 16);
    struct kw_error err = {.status = KW_OK}, first = {.status = KW_OK};
    for (size_t i = 0; i < KW_COUNT(lengths); i++) {
        assert_int_equal(kw_kwp_unwrap(crypto, kek, zeros, lengths[i], &secret, &err),
                         KW_KEY_UNWRAP);
        if (i == 0)
            first = err;
        assert_string_equal(err.message, first.message);
    }
    assert_int_equal(kw_kwp_unwrap(crypto, small, zeros, 16, &secret, &err), KW_FAULT);
    assert_null(secret);
    struct kw_buffer wrapped = KW_BUFFER_INIT(64);
    assert_int_equal(kw_kwp_wrap(crypto, small, kek, &wrapped, &err), KW_FAULT);
    struct kw_secret *nothing = secret_from(zeros, 0);
    assert_int_equal(kw_kwp_wrap(crypto, kek, nothing, &wrapped, &err), KW_FAULT);
    struct kw_buffer narrow = KW_BUFFER_INIT(39);
    assert_int_equal(kw_kwp_wrap(crypto, kek, kek, &narrow, &err), KW_FAULT);
    struct kw_secret *most = secret_from(zeros, KW_SECRET_MAX - 7);
    struct kw_buffer wide = KW_BUFFER_INIT(2 * KW_SECRET_MAX);
    assert_int_equal(kw_kwp_wrap(crypto, kek, most, &wide, &err), KW_FAULT);
    assert_int_equal(wrapped.len + narrow.len + wide.len, 0);
    kw_secret_set_len(most, KW_SECRET_MAX - 8);
    assert_int_equal(kw_kwp_wrap(crypto, kek, most, &wide, &err), KW_OK);
    assert_int_equal(wide.len, KW_SECRET_MAX);
    kw_secret_free(most);
    kw_buffer_cleanup(&wide);
    kw_buffer_cleanup(&wrapped);
    kw_buffer_cleanup(&narrow);
    kw_secret_free(nothing);
    kw_secret_free(small);
    kw_secret_free(kek);
}

static void throwaway(void **state)
{
    (void)state;
    struct kw_throwaway *key = NULL;
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    struct kw_secret *secret = secret_from("twenty bytes, or so.", 20), *back = NULL;
    assert_int_equal(kw_throwaway_new(crypto, &key, NULL), KW_OK);
    const struct kw_rsa_public *public = kw_throwaway_public(key);
    assert_int_equal(kw_rsa_bits(public), 2048);
    assert_int_equal(kw_rsa_wrap(crypto, public, KW_RSA_OAEP, secret, wrapped, NULL), KW_OK);
    assert_int_equal(kw_throwaway_unwrap(key, wrapped, public->modulus_len, &back, NULL), KW_OK);
    assert_true(kw_secret_equal(secret, back));
    kw_secret_free(back);
    back = NULL;
    wrapped[9] ^= 1;
    assert_int_equal(kw_throwaway_unwrap(key, wrapped, public->modulus_len, &back, NULL),
                     KW_KEY_UNWRAP);
    assert_int_equal(kw_rsa_wrap(crypto, public, KW_RSA_OAEP_256, secret, wrapped, NULL), KW_OK);
    assert_int_equal(kw_throwaway_unwrap(key, wrapped, public->modulus_len, &back, NULL),
                     KW_KEY_UNWRAP);
    assert_null(back);
    assert_int_equal(kw_throwaway_pkcs8(key, &back, NULL), KW_OK);
    assert_true(kw_secret_len(back) > 1200 && kw_secret_bytes(back)[0] == 0x30);
    kw_secret_free(back);
    kw_secret_free(secret);
    kw_throwaway_free(key);
    kw_throwaway_free(NULL);
    assert_queue_empty();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(random_sizes_are_as_the_rfc_has_them),
        cmocka_unit_test(lengths_and_keys_that_make_no_sense),
        cmocka_unit_test(throwaway),
    };
    return cmocka_run_group_tests_name("crypto/kwp", tests, start_crypto, stop_crypto);
}
