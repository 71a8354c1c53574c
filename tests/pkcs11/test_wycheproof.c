/* Project Wycheproof's RSA vectors, each key put on the token and each ciphertext through
 * kw_token_decrypt. Groups of other hashes, labels and sizes below 2048 bits are not what the
 * library does and are left out. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#define LABEL     "kw-wycheproof"
#define MAX_BYTES 4096

struct counts {
    unsigned groups;
    unsigned valid;
    unsigned invalid;
    unsigned junk; /* RSA1_5 on tokens with implicit rejection */
};

static cJSON *read_vectors(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/wycheproof/%s", KW_TEST_SHARED_DIR, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size > 0);
    rewind(file);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, file), (size_t)size);
    assert_int_equal(fclose(file), 0);
    cJSON *json = cJSON_Parse(text);
    free(text);
    assert_non_null(json);
    return json;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

static size_t bytes_of(const cJSON *object, const char *name, uint8_t out[MAX_BYTES])
{
    const char *text = text_of(object, name);
    size_t len = 0;
    assert_true(kw_hex_decode(text, strlen(text), out, MAX_BYTES, &len));
    return len;
}

static bool in_scope(const cJSON *group, enum kw_wrap_alg alg)
{
    static const char *const hashes[] = {[KW_RSA_OAEP] = "SHA-1", [KW_RSA_OAEP_256] = "SHA-256"};
    double bits = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(group, "keySize"));
    if (bits < KW_RSA_MIN_BITS || bits > KW_RSA_MAX_BITS)
        return false;
    return alg == KW_RSA1_5 || (strcmp(text_of(group, "sha"), hashes[alg]) == 0 &&
                                strcmp(text_of(group, "mgfSha"), hashes[alg]) == 0);
}

static void run_vector(struct kw_token *token, const struct kw_token_key *key, enum kw_wrap_alg alg,
                       const cJSON *test, struct counts *counts)
{
    uint8_t message[MAX_BYTES], wrapped[MAX_BYTES];
    size_t message_len = bytes_of(test, "msg", message);
    size_t wrapped_len = bytes_of(test, "ct", wrapped);
    int id = cJSON_GetObjectItemCaseSensitive(test, "tcId")->valueint;
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_decrypt(token, key, alg, wrapped, wrapped_len, &secret, &err);
    if (strcmp(text_of(test, "result"), "valid") == 0) {
        if (status)
            fail_msg("%d: %s (0x%lx)", id, err.message, err.ck_rv);
        /* opencryptoki gives one byte, a zero, for an RSA1_5 message of none. */
        if (message_len == 0 && alg == KW_RSA1_5 && !hsm.made_here)
            kw_secret_set_len(secret, 0);
        assert_int_equal(kw_secret_len(secret), message_len);
        assert_memory_equal(kw_secret_bytes(secret), message, message_len);
        counts->valid++;
    } else if (strcmp(text_of(test, "result"), "invalid") == 0) {
        /* A token with implicit rejection gives random bytes for a bad RSA1_5 padding, SoftHSM2
         * over OpenSSL 3.2 and later too, but never the message. */
        bool is_message = !status && message_len > 0 && kw_secret_len(secret) == message_len &&
                          memcmp(kw_secret_bytes(secret), message, message_len) == 0;
        if (!status && alg == KW_RSA1_5 && !is_message)
            counts->junk++;
        else if (status != KW_KEY_UNWRAP)
            fail_msg("%d is invalid, status %d: %s", id, (int)status, err.message);
        counts->invalid++;
    }
    kw_secret_free(secret);
}

/* False where the token takes no private keys. */
static bool run_group(struct kw_token *token, CK_SESSION_HANDLE session, const cJSON *group,
                      enum kw_wrap_alg alg, struct counts *counts)
{
    uint8_t pkcs8[MAX_BYTES];
    size_t len = bytes_of(group, "privateKeyPkcs8", pkcs8);
    CK_OBJECT_HANDLE handle;
    if (!hsm_import(session, &(struct hsm_key){.label = LABEL, .id = "wyche", .id_len = 5}, pkcs8,
                    len, &handle))
        return false;
    struct kw_token_key key = hsm_find_key(token, LABEL);
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItemCaseSensitive(group, "tests"))
    {
        if (text_of(test, "label")[0] == '\0')
            run_vector(token, &key, alg, test, counts);
    }
    assert_int_equal(hsm_functions()->C_DestroyObject(session, handle), CKR_OK);
    counts->groups++;
    return true;
}

static void run_file(const char *name, enum kw_wrap_alg alg, unsigned least_valid,
                     unsigned least_invalid)
{
    HSM_NEEDED();
    cJSON *json = read_vectors(name);
    if (!json) {
        hsm_skip("the vectors are not here");
        return;
    }
    struct kw_token *token = hsm_open(2);
    CK_SESSION_HANDLE session = hsm_session();
    hsm_clean(session); /* of what a failed test left */
    struct counts counts = {0};
    bool takes_keys = true;
    const cJSON *group;
    cJSON_ArrayForEach(group, cJSON_GetObjectItemCaseSensitive(json, "testGroups"))
    {
        if (takes_keys && in_scope(group, alg))
            takes_keys = run_group(token, session, group, alg, &counts);
    }
    cJSON_Delete(json);
    hsm_close(session);
    kw_token_free(token);
    print_message("%s, %s: %u groups, %u valid, %u invalid, %u junk\n", name, kw_wrap_alg_name(alg),
                  counts.groups, counts.valid, counts.invalid, counts.junk);
    if (!takes_keys) {
        hsm_skip("the token takes no private keys");
        return;
    }
    assert_true(counts.valid >= least_valid);
    assert_true(counts.invalid >= least_invalid);
}

static void oaep_2048_sha1(void **state)
{
    (void)state;
    run_file("rsa_oaep_2048_sha1_mgf1sha1_test.json", KW_RSA_OAEP, 10, 10);
}

static void oaep_2048_sha256(void **state)
{
    (void)state;
    run_file("rsa_oaep_2048_sha256_mgf1sha256_test.json", KW_RSA_OAEP_256, 10, 10);
}

static void oaep_3072_sha256(void **state)
{
    (void)state;
    run_file("rsa_oaep_3072_sha256_mgf1sha256_test.json", KW_RSA_OAEP_256, 10, 10);
}

static void oaep_4096_sha256(void **state)
{
    (void)state;
    run_file("rsa_oaep_4096_sha256_mgf1sha256_test.json", KW_RSA_OAEP_256, 10, 10);
}

static void oaep_misc(void **state)
{
    (void)state;
    run_file("rsa_oaep_misc_test.json", KW_RSA_OAEP, 3, 0);
    run_file("rsa_oaep_misc_test.json", KW_RSA_OAEP_256, 3, 0);
}

static void pkcs1_2048(void **state)
{
    (void)state;
    run_file("rsa_pkcs1_2048_test.json", KW_RSA1_5, 10, 10);
}

static void pkcs1_3072(void **state)
{
    (void)state;
    run_file("rsa_pkcs1_3072_test.json", KW_RSA1_5, 10, 10);
}

static void pkcs1_4096(void **state)
{
    (void)state;
    run_file("rsa_pkcs1_4096_test.json", KW_RSA1_5, 10, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(oaep_2048_sha1),   cmocka_unit_test(oaep_2048_sha256),
        cmocka_unit_test(oaep_3072_sha256), cmocka_unit_test(oaep_4096_sha256),
        cmocka_unit_test(oaep_misc),        cmocka_unit_test(pkcs1_2048),
        cmocka_unit_test(pkcs1_3072),       cmocka_unit_test(pkcs1_4096),
    };
    return cmocka_run_group_tests(tests, hsm_setup, hsm_teardown);
}
