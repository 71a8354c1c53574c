/* Project Wycheproof's vectors for AES key wrap with padding, of 256-bit keys. */
#include "wycheproof.h"

static void check_unwrap(const cJSON *test, const struct kw_secret *kek, bool valid,
                         const struct kw_secret *message)
{
    uint8_t wrapped[1024];
    size_t len = from_hex(text_of(test, "ct"), wrapped, sizeof(wrapped));
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_kwp_unwrap(crypto, kek, wrapped, len, &secret, &err);
    if (status != (valid ? KW_OK : KW_KEY_UNWRAP))
        fail_msg("vector %d gives status %d", number_of(test, "tcId"), (int)status);
    if (valid)
        assert_true(kw_secret_equal(secret, message));
    else
        assert_null(secret);
    kw_secret_free(secret);
    assert_queue_empty();
}

static void check_wrap(const cJSON *test, const struct kw_secret *kek,
                       const struct kw_secret *message)
{
    uint8_t wanted[1024];
    size_t len = from_hex(text_of(test, "ct"), wanted, sizeof(wanted));
    struct kw_buffer wrapped = KW_BUFFER_INIT(1024);
    assert_int_equal(kw_kwp_wrap(crypto, kek, message, &wrapped, NULL), KW_OK);
    assert_int_equal(wrapped.len, len);
    assert_memory_equal(wrapped.data, wanted, len);
    kw_buffer_cleanup(&wrapped);
}

static void check(const cJSON *test)
{
    uint8_t key[KW_AES256_KEY_SIZE], message[1024];
    size_t key_len = from_hex(text_of(test, "key"), key, sizeof(key));
    size_t message_len = from_hex(text_of(test, "msg"), message, sizeof(message));
    struct kw_secret *kek = secret_from(key, key_len);
    struct kw_secret *secret = secret_from(message, message_len);
    /* "acceptable" ones are of sizes that RFC 5649 allows. */
    bool valid = strcmp(text_of(test, "result"), "invalid") != 0;
    check_unwrap(test, kek, valid, secret);
    if (valid)
        check_wrap(test, kek, secret);
    kw_secret_free(secret);
    kw_secret_free(kek);
}

static void vectors(void **state)
{
    (void)state;
    size_t checked = 0;
    cJSON *json = load_vectors("aes_kwp_test.json");
    const cJSON *group, *test;
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(json, "testGroups"))
    {
        if (number_of(group, "keySize") != 256)
            continue;
        cJSON_ArrayForEach(test, cJSON_GetObjectItemCaseSensitive(group, "tests"))
        {
            check(test);
            checked++;
        }
    }
    cJSON_Delete(json);
    print_message("%zu vectors\n", checked);
    assert_true(checked >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors)};
    return cmocka_run_group_tests_name("crypto/kwp wycheproof", tests, start_crypto, stop_crypto);
}
