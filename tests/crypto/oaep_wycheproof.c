/* Project Wycheproof's vectors for RSAES-OAEP, with raw RSA here in the place of a token's. */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "wycheproof.h"

static const struct {
    const char *file;
    const char *hash;
    enum kw_wrap_alg alg;
} files[] = {
    {"rsa_oaep_2048_sha1_mgf1sha1_test.json", "SHA-1", KW_RSA_OAEP},
    {"rsa_oaep_2048_sha256_mgf1sha256_test.json", "SHA-256", KW_RSA_OAEP_256},
    {"rsa_oaep_3072_sha256_mgf1sha256_test.json", "SHA-256", KW_RSA_OAEP_256},
    {"rsa_oaep_4096_sha256_mgf1sha256_test.json", "SHA-256", KW_RSA_OAEP_256},
    {"rsa_oaep_misc_test.json", "SHA-1", KW_RSA_OAEP},
    {"rsa_oaep_misc_test.json", "SHA-256", KW_RSA_OAEP_256},
};

static EVP_PKEY *private_key(const cJSON *group)
{
    uint8_t der[8192];
    size_t len = from_hex(text_of(group, "privateKeyPkcs8"), der, sizeof(der));
    const unsigned char *end = der;
    EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &end, (long)len);
    assert_non_null(pkey);
    return pkey;
}

/* False where RSA itself refuses, as a token does: the ciphertext is not of the modulus's size. */
static bool raw_decrypt(EVP_PKEY *pkey, const uint8_t *data, size_t len, uint8_t *out,
                        size_t *ret_len)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING), 1);
    bool done = len == (size_t)EVP_PKEY_get_size(pkey) &&
                EVP_PKEY_decrypt(context, out, ret_len, data, len) == 1;
    ERR_clear_error();
    EVP_PKEY_CTX_free(context);
    return done;
}

static void check(EVP_PKEY *pkey, enum kw_wrap_alg alg, const cJSON *test)
{
    uint8_t data[4 * KW_RSA_MAX_BYTES];
    uint8_t encoded[KW_RSA_MAX_BYTES];
    size_t encoded_len = sizeof(encoded);
    size_t len = from_hex(text_of(test, "ct"), data, sizeof(data));
    struct kw_secret *decoded = NULL;
    enum kw_status status = KW_KEY_UNWRAP;
    if (raw_decrypt(pkey, data, len, encoded, &encoded_len)) {
        struct kw_secret *secret = secret_from(encoded, encoded_len);
        status = kw_oaep_decode(crypto, alg, secret, &decoded, NULL);
        kw_secret_free(secret);
    }
    /* Data keys are wrapped without a label, so one that has a label must not unwrap. */
    const char *result = text_of(test, "result");
    bool valid = strcmp(result, "invalid") != 0 && text_of(test, "label")[0] == '\0';
    bool either = strcmp(result, "acceptable") == 0;
    if (!(either && status == KW_KEY_UNWRAP) && status != (valid ? KW_OK : KW_KEY_UNWRAP))
        fail_msg("vector %d gives status %d", number_of(test, "tcId"), (int)status);
    if (status == KW_OK) {
        uint8_t message[KW_RSA_MAX_BYTES];
        size_t wanted = from_hex(text_of(test, "msg"), message, sizeof(message));
        assert_int_equal(kw_secret_len(decoded), wanted);
        assert_memory_equal(kw_secret_bytes(decoded), message, wanted);
    }
    kw_secret_free(decoded);
    assert_queue_empty();
}

static size_t check_group(const cJSON *group, const char *hash, enum kw_wrap_alg alg)
{
    size_t checked = 0;
    if (strcmp(text_of(group, "sha"), hash) != 0 || strcmp(text_of(group, "mgfSha"), hash) != 0 ||
        number_of(group, "keySize") < KW_RSA_MIN_BITS ||
        number_of(group, "keySize") > KW_RSA_MAX_BITS)
        return 0;
    EVP_PKEY *pkey = private_key(group);
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItemCaseSensitive(group, "tests"))
    {
        check(pkey, alg, test);
        checked++;
    }
    EVP_PKEY_free(pkey);
    return checked;
}

static void vectors(void **state)
{
    (void)state;
    size_t checked = 0;
    for (size_t i = 0; i < KW_COUNT(files); i++) {
        cJSON *json = load_vectors(files[i].file);
        const cJSON *group;
        cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(json, "testGroups")) checked +=
            check_group(group, files[i].hash, files[i].alg);
        cJSON_Delete(json);
    }
    print_message("%zu vectors\n", checked);
    assert_true(checked >= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors)};
    return cmocka_run_group_tests_name("crypto/oaep wycheproof", tests, start_crypto, stop_crypto);
}
