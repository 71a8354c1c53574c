/* Decrypting with keys on a token: what works, and what is answered where it does not. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static const struct hsm_key keys[] = {
    {.label = "kw-2048", .id = "\x01", .id_len = 1},
    {.label = "kw-other", .id = "\x02", .id_len = 1},
    {.label = "kw-unwrap-only", .id = "\x03", .id_len = 1, .no_decrypt = true, .unwrap = true},
    {.label = "kw-nothing", .id = "\x04", .id_len = 1, .no_decrypt = true},
    {.label = "kw-always", .id = "\x05", .id_len = 1, .always_authenticate = true},
    {.label = "kw-no-id"},
};

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(keys, KW_COUNT(keys));
    return result;
}

static void every_algorithm(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-2048");
    for (int round = 0; round < 3; round++)
        for (int alg = 0; alg < KW_WRAP_ALG_COUNT; alg++)
            hsm_assert_unwraps(token, &key, (enum kw_wrap_alg)alg);
    kw_token_free(token);
}

static void a_key_without_id(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-no-id");
    assert_int_equal(key.id_len, 0);
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

static void always_authenticate(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-always");
    if (hsm.made_here)
        assert_true(key.always_authenticate);
    for (int alg = 0; alg < KW_WRAP_ALG_COUNT; alg++)
        hsm_assert_unwraps(token, &key, (enum kw_wrap_alg)alg);
    kw_token_free(token);
}

/* ---- what does not decrypt ---- */

static void fails_to_unwrap(struct kw_token *token, const struct kw_token_key *key,
                            enum kw_wrap_alg alg, const uint8_t *wrapped, size_t len,
                            struct kw_error *ret_first)
{
    struct kw_secret *secret = (struct kw_secret *)-1;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_token_decrypt(token, key, alg, wrapped, len, &secret, &err), KW_KEY_UNWRAP);
    assert_ptr_equal(secret, (struct kw_secret *)-1);
    assert_int_equal(err.status, KW_KEY_UNWRAP);
    if (ret_first->status == KW_OK)
        *ret_first = err;
    assert_string_equal(err.message, ret_first->message);
}

static void one_answer_for_every_fault(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(2);
    struct kw_token_key key = hsm_find_key(token, "kw-2048");
    struct kw_token_key other = hsm_find_key(token, "kw-other");
    struct kw_error first = {.status = KW_OK};
    uint8_t wrapped[KW_RSA_MAX_BYTES + 1] = {0};
    static const enum kw_wrap_alg oaep[] = {KW_RSA_OAEP, KW_RSA_OAEP_256};
    for (size_t i = 0; i < KW_COUNT(oaep); i++) {
        size_t len = hsm_wrap(&key, oaep[i], wrapped);
        fails_to_unwrap(token, &key, oaep[i], wrapped, len - 1, &first);
        fails_to_unwrap(token, &key, oaep[i], wrapped, len + 1, &first);
        fails_to_unwrap(token, &key, oaep[i], wrapped, 0, &first);
        fails_to_unwrap(token, &other, oaep[i], wrapped, len, &first);
        fails_to_unwrap(token, &key, oaep[1 - i], wrapped, len, &first);
        wrapped[len - 1] ^= 1;
        fails_to_unwrap(token, &key, oaep[i], wrapped, len, &first);
        memset(wrapped, 0, len);
        fails_to_unwrap(token, &key, oaep[i], wrapped, len, &first);
        memset(wrapped, 0xFF, len); /* a number that is not below the modulus */
        fails_to_unwrap(token, &key, oaep[i], wrapped, len, &first);
    }
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP_256);
    kw_token_free(token);
}

/* Some tokens answer a bad RSA1_5 padding with random bytes on purpose (implicit rejection),
 * SoftHSM2 over OpenSSL 3.2 and later among them; these must not be the bytes that were wrapped. */
static void rsa1_5_fails_or_gives_junk(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(2);
    struct kw_token_key key = hsm_find_key(token, "kw-2048");
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    for (size_t i = 0; i < 8; i++) {
        size_t len = hsm_wrap(&key, i < 4 ? KW_RSA_OAEP : KW_RSA1_5, wrapped);
        wrapped[len - 1 - i] ^= 0x40;
        struct kw_secret *secret = NULL;
        struct kw_error err = {.status = KW_OK};
        enum kw_status status =
            kw_token_decrypt(token, &key, KW_RSA1_5, wrapped, len, &secret, &err);
        if (status)
            assert_int_equal(status, KW_KEY_UNWRAP);
        else
            assert_false(hsm_is_known_secret(secret));
        kw_secret_free(secret);
    }
    hsm_assert_unwraps(token, &key, KW_RSA1_5);
    kw_token_free(token);
}

/* ---- keys that may not ---- */

static void fails_as(struct kw_token *token, const struct kw_token_key *key, enum kw_wrap_alg alg,
                     enum kw_status expected, const char *words)
{
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(key, alg, wrapped);
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_token_decrypt(token, key, alg, wrapped, len, &secret, &err), expected);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
}

static void keys_that_may_not_decrypt(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-unwrap-only");
    fails_as(token, &key, KW_RSA_OAEP, KW_KEY_UNUSABLE, "CKA_DECRYPT");
    key = hsm_find_key(token, "kw-nothing");
    for (int alg = 0; alg < KW_WRAP_ALG_COUNT; alg++)
        fails_as(token, &key, (enum kw_wrap_alg)alg, KW_KEY_UNUSABLE, "kw-nothing");
    key = hsm_find_key(token, "kw-2048");
    struct kw_token_key blind = key;
    blind.public.modulus_len = 0;
    struct kw_secret *secret = NULL;
    uint8_t wrapped[256] = {0};
    assert_int_equal(
        kw_token_decrypt(token, &blind, KW_RSA_OAEP, wrapped, sizeof(wrapped), &secret, NULL),
        KW_KEY_UNUSABLE);
    kw_token_free(token);
}

/* ---- the ladder ---- */

static struct kw_token *open_faulty(struct kw_token_key *ret_key)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 2, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    *ret_key = hsm_find_key(token, "kw-2048");
    return token;
}

static void falls_back_to_raw_rsa_and_remembers(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const CK_RV answers[] = {CKR_ARGUMENTS_BAD,           CKR_MECHANISM_INVALID,
                                    CKR_MECHANISM_PARAM_INVALID, CKR_FUNCTION_NOT_SUPPORTED,
                                    CKR_GENERAL_ERROR,           CKR_KEY_FUNCTION_NOT_PERMITTED};
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        struct kw_fault *fault = hsm_fault();
        struct kw_token_key key;
        struct kw_token *token = open_faulty(&key);
        fault->oaep_init_answer = answers[i];
        fault->strip_zeros = true;
        for (int round = 0; round < 4; round++)
            hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        /* One that may pass is asked for again. */
        assert_int_equal(fault->oaep_inits, answers[i] == CKR_GENERAL_ERROR ? 2 : 1);
        assert_int_equal(fault->raw_inits, 4);
        kw_token_free(token);
    }
}

static void climbs_the_other_way_too(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token_key key;
    struct kw_token *token = open_faulty(&key);
    fault->oaep_init_answer = CKR_MECHANISM_INVALID;
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    fault->oaep_init_answer = CKR_OK;
    fault->raw_init_answer = CKR_MECHANISM_INVALID;
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    fault->raw_init_answer = CKR_OK;
    unsigned raw_before = fault->raw_inits;
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    assert_int_equal(fault->raw_inits, raw_before);
    kw_token_free(token);
}

static void refused_at_decrypt(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token_key key;
    struct kw_token *token = open_faulty(&key);
    fault->decrypt_answer = CKR_MECHANISM_PARAM_INVALID;
    fault->decrypt_answers = 1;
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    assert_int_equal(fault->raw_inits, 1);
    /* A token that answers so to a ciphertext must not be told from one that fails otherwise. */
    fault->decrypt_answer = CKR_ARGUMENTS_BAD;
    fault->decrypt_answers = 0;
    fails_as(token, &key, KW_RSA_OAEP, KW_KEY_UNWRAP, "does not unwrap");
    fails_as(token, &key, KW_RSA1_5, KW_KEY_UNWRAP, "does not unwrap");
    kw_token_free(token);
}

static void neither_way_is_open(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token_key key;
    struct kw_token *token = open_faulty(&key);
    fault->oaep_init_answer = CKR_MECHANISM_INVALID;
    fault->raw_init_answer = CKR_KEY_FUNCTION_NOT_PERMITTED;
    fails_as(token, &key, KW_RSA_OAEP, KW_KEY_UNUSABLE, "nor does it allow raw RSA");
    fails_as(token, &key, KW_RSA_OAEP_256, KW_KEY_UNUSABLE, "CKR_MECHANISM_INVALID");
    hsm_assert_unwraps(token, &key, KW_RSA1_5);
    fault->oaep_init_answer = CKR_DEVICE_MEMORY;
    fails_as(token, &key, KW_RSA_OAEP, KW_TOKEN, "CKR_DEVICE_MEMORY");
    kw_token_free(token);
}

/* Every way in which C_Decrypt can fail for the ciphertext's sake, in the same words. */
static void every_failure_in_the_same_words(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const CK_RV answers[] = {
        CKR_GENERAL_ERROR,     CKR_FUNCTION_FAILED,  CKR_ENCRYPTED_DATA_INVALID,
        CKR_DATA_INVALID,      CKR_BUFFER_TOO_SMALL, CKR_ENCRYPTED_DATA_LEN_RANGE,
        CKR_DEVICE_ERROR,      CKR_DATA_LEN_RANGE,   CKR_FUNCTION_CANCELED,
        CKR_MECHANISM_INVALID, 0x80000001UL};
    struct kw_fault *fault = hsm_fault();
    struct kw_token_key key;
    struct kw_token *token = open_faulty(&key);
    struct kw_error first = {.status = KW_OK};
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(&key, KW_RSA_OAEP, wrapped);
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        fault->decrypt_answer = answers[i];
        fails_to_unwrap(token, &key, KW_RSA_OAEP, wrapped, len, &first);
        struct kw_error err = {.status = KW_OK};
        struct kw_secret *secret = NULL;
        assert_int_equal(kw_token_decrypt(token, &key, KW_RSA_OAEP, wrapped, len, &secret, &err),
                         KW_KEY_UNWRAP);
        assert_int_equal(err.ck_rv, answers[i]);
    }
    fault->decrypt_answer = CKR_OK;
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

static void the_session_of_a_failure_is_closed(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token_key key;
    struct kw_token *token = open_faulty(&key);
    struct kw_error first = {.status = KW_OK};
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(&key, KW_RSA_OAEP, wrapped);
    assert_int_equal(fault->sessions, 2); /* the anchor and the one that read the keys */
    fault->decrypt_answer = CKR_ENCRYPTED_DATA_INVALID;
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = fault->closes;
        fails_to_unwrap(token, &key, KW_RSA_OAEP, wrapped, len, &first);
        assert_int_equal(fault->closes, before + 1);
    }
    assert_int_equal(fault->sessions, 2);
    kw_token_free(token);
    assert_int_equal(fault->sessions, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm),
        cmocka_unit_test(a_key_without_id),
        cmocka_unit_test(always_authenticate),
        cmocka_unit_test(one_answer_for_every_fault),
        cmocka_unit_test(rsa1_5_fails_or_gives_junk),
        cmocka_unit_test(keys_that_may_not_decrypt),
        cmocka_unit_test(falls_back_to_raw_rsa_and_remembers),
        cmocka_unit_test(climbs_the_other_way_too),
        cmocka_unit_test(refused_at_decrypt),
        cmocka_unit_test(neither_way_is_open),
        cmocka_unit_test(every_failure_in_the_same_words),
        cmocka_unit_test(the_session_of_a_failure_is_closed),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
