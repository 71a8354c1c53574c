/* The library context, random bytes, SHA-256. */
#include "support.h"

static void has_its_own_context(void **state)
{
    (void)state;
    assert_false(kw_crypto_is_fips(crypto));
    struct kw_crypto *second = NULL;
    assert_int_equal(kw_crypto_new(false, &second, NULL), KW_OK);
    kw_crypto_free(second);
    kw_crypto_free(NULL);
    uint8_t hash[KW_SHA256_SIZE];
    assert_int_equal(kw_sha256(crypto, "", 0, hash, NULL), KW_OK);
}

/* Most systems lack the FIPS module: then the reason must be said, and nothing may remain. */
static void fips_loads_or_says_why(void **state)
{
    (void)state;
    struct kw_error error = {0};
    struct kw_crypto *fips = NULL;
    enum kw_status status = kw_crypto_new(true, &fips, &error);
    if (status == KW_OK) {
        assert_true(kw_crypto_is_fips(fips));
        uint8_t em[256] = {0};
        struct kw_secret *encoded = secret_from(em, sizeof(em));
        struct kw_secret *decoded = NULL;
        assert_int_equal(kw_oaep_decode(fips, KW_RSA_OAEP, encoded, &decoded, &error),
                         KW_KEY_UNUSABLE);
        assert_null(decoded);
        kw_secret_free(encoded);
        kw_crypto_free(fips);
    } else {
        assert_int_equal(status, KW_CONFIG);
        assert_int_equal(error.status, KW_CONFIG);
        assert_non_null(strstr(error.message, "fips"));
        assert_null(fips);
    }
    assert_queue_empty();
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    assert_int_equal(kw_random(crypto, a, sizeof(a), NULL), KW_OK);
    assert_int_equal(kw_random(crypto, b, sizeof(b), NULL), KW_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    assert_int_equal(kw_random(crypto, a, 0, NULL), KW_OK);
}

static const struct {
    const char *message;
    const char *hash;
} hashes[] = {
    /* FIPS 180-4 */
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void sha256_known_answers(void **state)
{
    (void)state;
    struct kw_digest *digest = NULL;
    assert_int_equal(kw_digest_new(crypto, &digest, NULL), KW_OK);
    for (size_t i = 0; i < KW_COUNT(hashes); i++) {
        uint8_t wanted[KW_SHA256_SIZE];
        uint8_t hash[KW_SHA256_SIZE] = {0};
        size_t len = strlen(hashes[i].message);
        from_hex(hashes[i].hash, wanted, sizeof(wanted));
        assert_int_equal(kw_sha256(crypto, hashes[i].message, len, hash, NULL), KW_OK);
        assert_memory_equal(hash, wanted, sizeof(hash));

        memset(hash, 0, sizeof(hash));
        assert_int_equal(kw_digest_start(digest, NULL), KW_OK);
        for (size_t j = 0; j < len; j++)
            assert_int_equal(kw_digest_update(digest, hashes[i].message + j, 1, NULL), KW_OK);
        assert_int_equal(kw_digest_finish(digest, hash, NULL), KW_OK);
        assert_memory_equal(hash, wanted, sizeof(hash));
    }
    kw_digest_free(digest);
    kw_digest_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_its_own_context),
        cmocka_unit_test(fips_loads_or_says_why),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(sha256_known_answers),
    };
    return cmocka_run_group_tests_name("crypto/library", tests, start_crypto, stop_crypto);
}
