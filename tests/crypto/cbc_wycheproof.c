/* Project Wycheproof's vectors for AES-CBC with PKCS#5 padding, those of 256 bits. */
#include "wycheproof.h"

#define CAPACITY 4096

/* What a run does with a file: its size is checked before the cipher sees a byte. */
static enum kw_status decrypt(struct kw_cbc *cbc, const cJSON *test, size_t body, uint8_t *data,
                              size_t *ret_len)
{
    uint8_t bytes[64];
    uint8_t iv[64];
    size_t key_len = from_hex(text_of(test, "key"), bytes, sizeof(bytes));
    assert_int_equal(from_hex(text_of(test, "iv"), iv, sizeof(iv)), KW_AES_BLOCK);
    size_t len = from_hex(text_of(test, "ct"), data, CAPACITY);
    if (len == 0 || len % KW_AES_BLOCK != 0)
        return KW_DAMAGED;
    if (body > len - KW_AES_BLOCK)
        body = len - KW_AES_BLOCK;

    struct kw_secret *key = secret_from(bytes, key_len);
    size_t rest = 0;
    assert_int_equal(kw_cbc_start(cbc, KW_DECRYPT, key, iv, NULL), KW_OK);
    kw_secret_free(key);
    assert_int_equal(kw_cbc_update(cbc, data, body, NULL), KW_OK);
    enum kw_status status = kw_cbc_finish(cbc, data + body, len - body, &rest, NULL);
    if (status == KW_OK)
        *ret_len = body + rest;
    return status;
}

static void check(struct kw_cbc *cbc, const cJSON *test)
{
    uint8_t message[CAPACITY];
    uint8_t data[CAPACITY];
    size_t wanted = from_hex(text_of(test, "msg"), message, sizeof(message));
    bool valid = strcmp(text_of(test, "result"), "valid") == 0;
    for (size_t body = 0; body <= wanted + KW_AES_BLOCK; body += KW_AES_BLOCK) {
        size_t len = 0;
        enum kw_status status = decrypt(cbc, test, body, data, &len);
        if (status != (valid ? KW_OK : KW_DAMAGED))
            fail_msg("vector %d gives status %d", number_of(test, "tcId"), (int)status);
        if (valid) {
            assert_int_equal(len, wanted);
            assert_memory_equal(data, message, wanted);
        }
        assert_queue_empty();
    }
}

static void vectors(void **state)
{
    (void)state;
    cJSON *json = load_vectors("aes_cbc_pkcs5_test.json");
    struct kw_cbc *cbc = NULL;
    assert_int_equal(kw_cbc_new(crypto, &cbc, NULL), KW_OK);
    size_t checked = 0;
    const cJSON *group;
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(json, "testGroups"))
    {
        if (number_of(group, "keySize") != 256)
            continue;
        const cJSON *test;
        cJSON_ArrayForEach(test, cJSON_GetObjectItemCaseSensitive(group, "tests"))
        {
            check(cbc, test);
            checked++;
        }
    }
    kw_cbc_free(cbc);
    cJSON_Delete(json);
    print_message("%zu vectors\n", checked);
    assert_true(checked >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors)};
    return cmocka_run_group_tests_name("crypto/cbc wycheproof", tests, start_crypto, stop_crypto);
}
