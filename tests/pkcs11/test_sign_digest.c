/* Signing digests on the token: by its own padding, or by the host's where it has none. */
#include "fixture.h"

#include <string.h>

static const uint8_t id_1[] = "\x02kw-sign-dig-id1";
static uint8_t digest[64];

static int setup(void **state)
{
    for (size_t i = 0; i < sizeof(digest); i++)
        digest[i] = (uint8_t)(i * 31 + 7);
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(NULL, 0);
    return result;
}

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

static bool try_make(struct kw_token *token, enum kw_key_use use, unsigned bits,
                     struct kw_token_key *key)
{
    const struct kw_key_plan plan = {
        .use = use, .label = "kw-digest", .id = id_1, .id_len = 16, .bits = bits};
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_make_key(token, &plan, key, &err);
    if (status)
        print_message("use %d, %u bits: %s\n", (int)use, bits, err.message);
    return status == KW_OK;
}

static struct kw_token_key make(struct kw_token *token)
{
    struct kw_token_key key;
    assert_true(try_make(token, KW_USE_SIGN, 2048, &key));
    return key;
}

static void destroy(struct kw_token *token, const struct kw_token_key *key)
{
    assert_int_equal(kw_token_destroy_key(token, key, NULL), KW_OK);
}

static enum kw_status sign(struct kw_token *token, const struct kw_token_key *key,
                           enum kw_digest_signature alg, struct kw_error *err)
{
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t len = kw_digest_signature_hash_len(alg);
    enum kw_status status = kw_token_sign_digest(token, key, alg, digest, len, signature, err);
    if (!status)
        assert_int_equal(kw_rsa_verify_digest(hsm.crypto, &key->public, alg, digest, len, signature,
                                              key->public.modulus_len, NULL),
                         KW_OK);
    return status;
}

static void sign_all(struct kw_token *token, const struct kw_token_key *key)
{
    for (enum kw_digest_signature alg = 0; alg < KW_DIGEST_SIGNATURE_COUNT; alg++) {
        struct kw_error err = {.status = KW_OK};
        if (sign(token, key, alg, &err) != KW_OK)
            fail_msg("%s: %s", kw_digest_signature_name(alg), err.message);
        assert_int_equal(err.status, KW_OK);
    }
}

static void each_algorithm_and_size(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const unsigned sizes[] = {2048, 3072, 4096};
    struct kw_token *token = hsm_open(0);
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        struct kw_token_key key;
        if (!try_make(token, KW_USE_SIGN, sizes[i], &key))
            continue;
        sign_all(token, &key);
        destroy(token, &key);
    }
    kw_token_free(token);
}

static void assert_not_signed(struct kw_token *token, const struct kw_token_key *key,
                              enum kw_digest_signature alg, size_t len, enum kw_status wanted)
{
    uint8_t out[KW_RSA_MAX_BYTES];
    struct kw_error err = {.status = KW_OK};
    memset(out, 0x5A, sizeof(out));
    assert_int_equal(kw_token_sign_digest(token, key, alg, digest, len, out, &err), wanted);
    assert_int_equal(err.status, wanted);
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(out[i], 0x5A);
}

static void other_lengths_reach_no_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = make(token);
    unsigned calls = fault->calls;
    assert_not_signed(token, &key, KW_DIGEST_PS256, 31, KW_USAGE);
    assert_not_signed(token, &key, KW_DIGEST_RS384, 64, KW_USAGE);
    assert_not_signed(token, &key, KW_DIGEST_RS512, 0, KW_USAGE);
    assert_not_signed(token, &key, KW_DIGEST_SIGNATURE_COUNT, 32, KW_FAULT);
    assert_int_equal(fault->calls, calls);
    destroy(token, &key);
    kw_token_free(token);
}

static void keys_that_may_not_sign(void **state)
{
    (void)state;
    SOFTHSM_NEEDED(); /* others sign with any key */
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key;
    assert_true(try_make(token, KW_USE_DECRYPT, 2048, &key));
    assert_not_signed(token, &key, KW_DIGEST_PS256, 32, KW_KEY_UNUSABLE);
    assert_not_signed(token, &key, KW_DIGEST_RS256, 32, KW_KEY_UNUSABLE);
    destroy(token, &key);
    kw_token_free(token);
}

static void padding_of_the_host(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = make(token);
    sign_all(token, &key);
    fault->only_sign_raw = true;
    sign_all(token, &key);
    assert_int_equal(token->sign_first[true], 1);
    assert_int_equal(token->sign_first[false], 1);
    /* What works is tried first: no session is lost by it. */
    unsigned closes = fault->closes;
    sign_all(token, &key);
    assert_int_equal(fault->closes, closes);
    fault->only_sign_raw = false;
    fault->only_sign_info = true;
    assert_int_equal(sign(token, &key, KW_DIGEST_RS256, NULL), KW_OK);
    assert_int_equal(token->sign_first[false], 0);
    assert_not_signed(token, &key, KW_DIGEST_PS256, 32, KW_KEY_UNUSABLE);
    fault->only_sign_info = false;
    fault->sign_nothing = true;
    assert_not_signed(token, &key, KW_DIGEST_RS256, 32, KW_KEY_UNUSABLE);
    fault->sign_nothing = false;
    /* What does not verify is no signature. */
    fault->wrong_signatures = true;
    assert_not_signed(token, &key, KW_DIGEST_PS384, 48, KW_KEY_UNUSABLE);
    assert_not_signed(token, &key, KW_DIGEST_RS384, 48, KW_KEY_UNUSABLE);
    fault->wrong_signatures = false;
    sign_all(token, &key);
    destroy(token, &key);
    assert_not_signed(token, &key, KW_DIGEST_RS256, 32, KW_KEY_NOT_FOUND);
    kw_token_free(token);
}

static void each_call_fails_in_turn(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = make(token);
    for (enum kw_digest_signature alg = KW_DIGEST_RS512; alg <= KW_DIGEST_PS256; alg++) {
        struct hsm_cuts cuts = {.fault = fault,
                                .kinds = hsm_fault_kinds,
                                .count = HSM_FAULT_KINDS,
                                .stride = 1,
                                .limit = 100};
        while (hsm_cut_next(&cuts)) {
            hsm_cut_arm(&cuts);
            bool done = sign(token, &key, alg, NULL) == KW_OK;
            hsm_cut_over(&cuts, done);
            assert_int_equal(sign(token, &key, alg, NULL), KW_OK);
        }
        hsm_cuts_end(&cuts, 0);
    }
    destroy(token, &key);
    kw_token_free(token);
}

static void keys_that_want_the_pin_each_time(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct hsm_key wanted = {
        .label = "kw-always", .id = "kw-al", .id_len = 5, .always_authenticate = true};
    hsm_prepare(&wanted, 1);
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-always");
    struct kw_error err = {.status = KW_OK};
    assert_true(key.always_authenticate);
    enum kw_status status = sign(token, &key, KW_DIGEST_PS256, &err);
    if (status == KW_KEY_UNUSABLE && !key.sign)
        skip();
    assert_int_equal(status, KW_OK);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_algorithm_and_size),
        cmocka_unit_test(other_lengths_reach_no_token),
        cmocka_unit_test(keys_that_may_not_sign),
        cmocka_unit_test(padding_of_the_host),
        cmocka_unit_test(each_call_fails_in_turn),
        cmocka_unit_test(keys_that_want_the_pin_each_time),
    };
    return cmocka_run_group_tests_name("pkcs11/sign_digest", tests, setup, hsm_teardown);
}
