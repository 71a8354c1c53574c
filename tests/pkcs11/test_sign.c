/* Signing on the token, what keys are for, and taking that away and giving it back. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t id_1[] = "\x02kw-sign-test-id";

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

static bool try_make(struct kw_token *token, enum kw_key_use use, struct kw_token_key *key)
{
    const struct kw_key_plan plan = {
        .use = use, .label = "kw-sign", .id = id_1, .id_len = 16, .bits = 2048};
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_make_key(token, &plan, key, &err);
    if (status)
        print_message("use %d: %s\n", (int)use, err.message);
    return status == KW_OK;
}

static struct kw_token_key make(struct kw_token *token, enum kw_key_use use)
{
    struct kw_token_key key;
    assert_true(try_make(token, use, &key));
    return key;
}

static void destroy(struct kw_token *token, const struct kw_token_key *key)
{
    assert_int_equal(kw_token_destroy_key(token, key, NULL), KW_OK);
}

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(NULL, 0);
    return result;
}

/* ---- what a key is for ---- */

static bool flag_of(const struct kw_token_key *key, CK_OBJECT_CLASS class, CK_ATTRIBUTE_TYPE type)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_BBOOL value = CK_FALSE;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_ID, (void *)key->id, key->id_len}};
    CK_ATTRIBUTE attribute = {type, &value, sizeof(value)};
    CK_OBJECT_HANDLE handle;
    CK_ULONG count = 0;
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, &handle, 1, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    (void)hsm_functions()->C_GetAttributeValue(session, handle, &attribute, 1);
    hsm_close(session);
    return value == CK_TRUE;
}

static void each_use_and_nothing_else(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const struct {
        CK_OBJECT_CLASS class;
        CK_ATTRIBUTE_TYPE type;
        bool value[KW_USE_COUNT]; /* decrypt, import, sign, all */
    } flags[] = {
        {CKO_PRIVATE_KEY, CKA_DECRYPT, {true, false, false, true}},
        {CKO_PRIVATE_KEY, CKA_UNWRAP, {true, true, false, true}},
        {CKO_PRIVATE_KEY, CKA_SIGN, {false, false, true, true}},
        {CKO_PRIVATE_KEY, CKA_SIGN_RECOVER, {false, false, false, false}},
        {CKO_PRIVATE_KEY, CKA_EXTRACTABLE, {false, false, false, false}},
        {CKO_PUBLIC_KEY, CKA_ENCRYPT, {true, false, false, true}},
        {CKO_PUBLIC_KEY, CKA_WRAP, {true, true, false, true}},
        {CKO_PUBLIC_KEY, CKA_VERIFY, {false, false, true, true}},
        {CKO_PUBLIC_KEY, CKA_VERIFY_RECOVER, {false, false, false, false}},
    };
    struct kw_token *token = hsm_open(0);
    for (enum kw_key_use use = 0; use < KW_USE_COUNT; use++) {
        struct kw_token_key key;
        if (!try_make(token, use, &key))
            continue; /* some tokens make no key for one use alone */
        assert_int_equal(key.decrypt, use == KW_USE_DECRYPT || use == KW_USE_ALL);
        assert_int_equal(key.unwrap, use != KW_USE_SIGN);
        assert_int_equal(key.sign, use == KW_USE_SIGN || use == KW_USE_ALL);
        struct kw_use_flags made = {.decrypt = !key.decrypt};
        assert_int_equal(kw_token_key_purpose(token, &key, &made, NULL), KW_OK);
        if (hsm.made_here)
            assert_true(made.decrypt == key.decrypt && made.unwrap == key.unwrap &&
                        made.sign == key.sign);
        for (size_t i = 0; i < KW_COUNT(flags) && hsm.made_here; i++)
            if (flag_of(&key, flags[i].class, flags[i].type) != flags[i].value[use])
                fail_msg("use %d: attribute 0x%lx of class %lu", (int)use, flags[i].type,
                         flags[i].class);
        destroy(token, &key);
    }
    kw_token_free(token);
}

/* ---- signing ---- */

static const char text[] = "what is signed";

static enum kw_status sign(struct kw_token *token, const struct kw_token_key *key,
                           enum kw_signature_alg *alg, struct kw_error *err)
{
    uint8_t signature[KW_RSA_MAX_BYTES];
    enum kw_status status = kw_token_sign(token, key, text, sizeof(text) - 1, alg, signature, err);
    if (!status)
        assert_int_equal(kw_rsa_verify(hsm.crypto, &key->public, *alg, text, sizeof(text) - 1,
                                       signature, key->public.modulus_len, NULL),
                         KW_OK);
    return status;
}

static void signatures_verify(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key;
    enum kw_signature_alg alg = KW_SIGNATURE_ALG_COUNT;
    struct kw_error err = {.status = KW_OK};
    if (!try_make(token, KW_USE_SIGN, &key)) {
        kw_token_free(token);
        hsm_skip("the token makes no key that only signs");
        return;
    }
    if (sign(token, &key, &alg, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_int_equal(err.status, KW_OK);
    print_message("%s\n", kw_signature_alg_name(alg));
    uint8_t empty[KW_RSA_MAX_BYTES];
    assert_int_equal(kw_token_sign(token, &key, "", 0, &alg, empty, NULL), KW_OK);
    assert_int_equal(
        kw_rsa_verify(hsm.crypto, &key.public, alg, "", 0, empty, key.public.modulus_len, NULL),
        KW_OK);
    destroy(token, &key);
    assert_int_equal(sign(token, &key, &alg, &err), KW_KEY_NOT_FOUND);
    kw_token_free(token);
}

static void assert_not_signed(struct kw_token *token, const struct kw_token_key *key)
{
    uint8_t out[KW_RSA_MAX_BYTES];
    enum kw_signature_alg alg = KW_SIGNATURE_ALG_COUNT;
    struct kw_error err = {.status = KW_OK};
    memset(out, 0x5A, sizeof(out));
    assert_int_equal(kw_token_sign(token, key, "x", 1, &alg, out, &err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "does not sign with the key \"kw-sign\""));
    assert_int_equal(alg, KW_SIGNATURE_ALG_COUNT);
    for (size_t i = 0; i < sizeof(out); i++)
        assert_int_equal(out[i], 0x5A);
}

static void keys_that_may_not_sign(void **state)
{
    (void)state;
    SOFTHSM_NEEDED(); /* others sign with any key */
    struct kw_token *token = hsm_open(0);
    for (enum kw_key_use use = KW_USE_DECRYPT; use <= KW_USE_IMPORT; use++) {
        struct kw_token_key key = make(token, use);
        assert_not_signed(token, &key);
        destroy(token, &key);
    }
    kw_token_free(token);
}

static void the_ladder(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = make(token, KW_USE_SIGN);
    enum kw_signature_alg alg = KW_SIGNATURE_ALG_COUNT;
    assert_int_equal(sign(token, &key, &alg, NULL), KW_OK);
    assert_int_equal(alg, KW_PS256);
    fault->only_sign_info = true;
    assert_int_equal(sign(token, &key, &alg, NULL), KW_OK);
    assert_int_equal(alg, KW_RS256);
    fault->only_sign_info = false;
    fault->sign_nothing = true;
    assert_not_signed(token, &key);
    fault->sign_nothing = false;
    /* What does not verify is no signature. */
    fault->wrong_signatures = true;
    assert_not_signed(token, &key);
    fault->wrong_signatures = false;
    assert_int_equal(sign(token, &key, &alg, NULL), KW_OK);
    destroy(token, &key);
    kw_token_free(token);
}

/* ---- each call fails in turn ---- */

static void
fail_each_call(struct kw_token *token, struct kw_fault *fault, const struct kw_token_key *key,
               bool (*work)(struct kw_token *token, const struct kw_token_key *key),
               void (*check)(struct kw_token *token, const struct kw_token_key *key, bool done),
               unsigned least)
{
    struct hsm_cuts cuts = {.fault = fault,
                            .kinds = hsm_fault_kinds,
                            .count = HSM_FAULT_KINDS,
                            .stride = 1,
                            .limit = 100};
    while (hsm_cut_next(&cuts)) {
        hsm_cut_arm(&cuts);
        bool done = work(token, key);
        hsm_cut_over(&cuts, done);
        check(token, key, done);
    }
    hsm_cuts_end(&cuts, least);
}

static bool try_sign(struct kw_token *token, const struct kw_token_key *key)
{
    enum kw_signature_alg alg;
    return sign(token, key, &alg, NULL) == KW_OK;
}

static void check_signs(struct kw_token *token, const struct kw_token_key *key, bool done)
{
    assert_true(done);
    assert_true(try_sign(token, key));
}

static void signing_survives(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = make(token, KW_USE_SIGN);
    fail_each_call(token, fault, &key, try_sign, check_signs, 0);
    destroy(token, &key);
    kw_token_free(token);
}

/* ---- what a key may do ---- */

static void assert_allowed(struct kw_token *token, bool decrypt, bool unwrap)
{
    struct kw_token_key now = hsm_find_key(token, "kw-sign");
    assert_int_equal(now.decrypt, decrypt);
    assert_int_equal(now.unwrap, unwrap);
}

/* Whether it signs stays as it was made. */
static enum kw_status allow(struct kw_token *token, const struct kw_token_key *key, bool decrypt,
                            bool unwrap, struct kw_error *err)
{
    const struct kw_use_flags uses = {.decrypt = decrypt, .unwrap = unwrap, .sign = key->sign};
    return kw_token_allow_key(token, key, &uses, err);
}

static bool decrypts(struct kw_token *token, const struct kw_token_key *key)
{
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(key, KW_RSA_OAEP, wrapped);
    struct kw_secret *secret = NULL;
    enum kw_status status = kw_token_decrypt(token, key, KW_RSA_OAEP, wrapped, len, &secret, NULL);
    kw_secret_free(secret);
    return status == KW_OK;
}

static void taken_away_and_given_back(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = make(token, KW_USE_DECRYPT);
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = allow(token, &key, false, false, &err);
    if (status == KW_KEY_UNUSABLE) {
        print_message("%s\n", err.message);
        destroy(token, &key);
        kw_token_free(token);
        hsm_skip("the token does not change what a key may do");
        return;
    }
    assert_int_equal(status, KW_OK);
    assert_allowed(token, false, false);
    if (hsm.made_here)
        assert_false(decrypts(token, &key));
    /* `key` still says that it may: what the token says counts. */
    assert_true(key.decrypt && key.unwrap);
    struct kw_use_flags made = {.decrypt = false};
    assert_int_equal(kw_token_key_purpose(token, &key, &made, NULL), KW_OK);
    if (hsm.made_here)
        assert_true(made.decrypt && made.unwrap && made.sign == key.sign);
    assert_int_equal(allow(token, &key, true, true, NULL), KW_OK);
    assert_allowed(token, true, true);
    assert_true(decrypts(token, &key));
    struct kw_token_key stale = key;
    stale.decrypt = stale.unwrap = false;
    assert_int_equal(allow(token, &stale, false, false, NULL), KW_OK);
    assert_allowed(token, false, false);
    assert_int_equal(allow(token, &key, false, true, NULL), KW_OK);
    assert_allowed(token, false, true);
    destroy(token, &key);
    assert_int_equal(allow(token, &key, true, true, NULL), KW_KEY_NOT_FOUND);
    kw_token_free(token);
}

/* A key that is for everything goes on signing: that is not what is taken away here. */
static void a_key_for_everything(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct kw_key_change change = {.label = "kw-sign", .expires = "2099-01-01"};
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = make(token, KW_USE_ALL), changed;
    assert_true(decrypts(token, &key) && try_sign(token, &key));
    assert_int_equal(kw_token_change_key(token, &key, &change, &changed, NULL), KW_OK);
    assert_true(changed.decrypt && changed.unwrap && changed.sign);
    assert_string_equal(changed.expires, "2099-01-01");
    const struct kw_use_flags only_signs = {.sign = true};
    const struct kw_use_flags all = {.decrypt = true, .unwrap = true, .sign = true};
    assert_int_equal(kw_token_allow_key(token, &key, &only_signs, NULL), KW_OK);
    assert_allowed(token, false, false);
    assert_false(decrypts(token, &key));
    assert_true(try_sign(token, &key));
    assert_int_equal(kw_token_allow_key(token, &key, &all, NULL), KW_OK);
    assert_true(decrypts(token, &key) && try_sign(token, &key));
    destroy(token, &key);
    struct kw_secret *pkcs8 = hsm_new_pkcs8();
    const struct kw_key_plan plan = {
        .use = KW_USE_ALL, .label = "kw-sign", .id = id_1, .id_len = 16};
    assert_int_equal(kw_token_import_key(token, &plan, pkcs8, &key, NULL), KW_OK);
    assert_true(key.decrypt && key.unwrap && key.sign);
    assert_true(decrypts(token, &key) && try_sign(token, &key));
    kw_secret_free(pkcs8);
    destroy(token, &key);
    kw_token_free(token);
}

static void tokens_that_change_nothing(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const CK_OBJECT_CLASS private = CKO_PRIVATE_KEY;
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = make(token, KW_USE_DECRYPT);
    struct kw_error err = {.status = KW_OK};
    fault->no_change_of = &private;
    assert_int_equal(allow(token, &key, false, false, &err), KW_KEY_UNUSABLE);
    assert_allowed(token, true, true);
    /* Nothing to change is no failure. */
    assert_int_equal(allow(token, &key, true, true, NULL), KW_OK);
    fault->no_change_of = NULL;
    fault->ignore_changes = true;
    assert_int_equal(allow(token, &key, false, false, &err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "did not take"));
    fault->ignore_changes = false;
    assert_allowed(token, true, true);
    destroy(token, &key);
    kw_token_free(token);
}

static bool try_allow(struct kw_token *token, const struct kw_token_key *key)
{
    return allow(token, key, false, true, NULL) == KW_OK;
}

static void check_allowed(struct kw_token *token, const struct kw_token_key *key, bool done)
{
    if (!done)
        assert_true(try_allow(token, key));
    assert_allowed(token, false, true);
    assert_int_equal(allow(token, key, true, true, NULL), KW_OK);
}

static void allowing_can_be_repeated(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = make(token, KW_USE_DECRYPT);
    fail_each_call(token, fault, &key, try_allow, check_allowed, 1);
    destroy(token, &key);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_use_and_nothing_else), cmocka_unit_test(signatures_verify),
        cmocka_unit_test(keys_that_may_not_sign),    cmocka_unit_test(the_ladder),
        cmocka_unit_test(signing_survives),          cmocka_unit_test(taken_away_and_given_back),
        cmocka_unit_test(a_key_for_everything),      cmocka_unit_test(tokens_that_change_nothing),
        cmocka_unit_test(allowing_can_be_repeated),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
