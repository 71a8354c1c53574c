/* What happens behind the library's back: logins, sessions, keys and tokens that are lost. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static const struct hsm_key keys[] = {
    {.label = "kw-stays", .id = "\x01", .id_len = 1},
};

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(keys, KW_COUNT(keys));
    return result;
}

static void fails_as(struct kw_token *token, const struct kw_token_key *key,
                     enum kw_status expected, const char *words)
{
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(key, KW_RSA_OAEP, wrapped);
    struct kw_secret *secret = (struct kw_secret *)-1;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_decrypt(token, key, KW_RSA_OAEP, wrapped, len, &secret, &err);
    if (status != expected)
        fail_msg("status %d: %s", (int)status, err.message);
    assert_ptr_equal(secret, (struct kw_secret *)-1);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
}

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

static void log_out_behind(void)
{
    CK_SESSION_HANDLE session = hsm_session();
    assert_int_equal(hsm_functions()->C_Logout(session), CKR_OK);
    hsm_close(session);
}

/* ---- sessions and logins ---- */

static void a_lost_login(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    for (int round = 0; round < 3; round++) {
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        log_out_behind();
        hsm_assert_unwraps(token, &key, (enum kw_wrap_alg)round);
    }
    log_out_behind();
    (void)hsm_find_key(token, "kw-stays");
    kw_token_free(token);
}

static void lost_sessions(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    for (int round = 0; round < 3; round++) {
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        assert_int_equal(hsm_functions()->C_CloseAllSessions(hsm_slot(hsm.uri)), CKR_OK);
        hsm_assert_unwraps(token, &key, (enum kw_wrap_alg)round);
    }
    assert_int_equal(hsm_functions()->C_CloseAllSessions(hsm_slot(hsm.uri)), CKR_OK);
    (void)hsm_find_key(token, "kw-stays");
    kw_token_free(token);
}

static void a_module_that_others_finalise(void **state)
{
    (void)state;
    SOFTHSM_NEEDED(); /* some modules crash when they are called then */
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    hsm_end();
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    hsm_end();
    hsm_begin();
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

/* SoftHSM2 numbers sessions from 1 again: those that one of them lost are the other one's now, and
 * neither are they used nor closed. */
static void two_tokens_of_a_module_that_others_finalise(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    const struct kw_key_plan plan = {.label = "kw-there", .id = (const uint8_t *)"t", .id_len = 1};
    struct kw_secret *pkcs8 = hsm_new_pkcs8();
    struct kw_token *here, *there = NULL;
    struct kw_token_key key_there;
    hsm_make_token("second");
    struct kw_fault *fault = hsm_fault();
    here = open_faulty();
    struct kw_token_key key = hsm_find_key(here, "kw-stays");
    assert_int_equal(
        hsm_try_open(hsm_fault_path(), "pkcs11:token=second", hsm.pin, 4, &there, NULL), KW_OK);
    assert_int_equal(kw_token_import_key(there, &plan, pkcs8, &key_there, NULL), KW_OK);
    for (int i = 0; i < 3; i++) {
        hsm_assert_unwraps(here, &key, KW_RSA_OAEP);
        hsm_assert_unwraps(there, &key_there, KW_RSA_OAEP);
        assert_int_equal(hsm_functions()->C_Finalize(NULL), CKR_OK);
        hsm_assert_unwraps(here, &key, KW_RSA_OAEP);
        unsigned closes = fault->closes, logins = fault->logins;
        hsm_assert_unwraps(there, &key_there, KW_RSA_OAEP);
        hsm_assert_unwraps(here, &key, KW_RSA_OAEP);
        assert_int_equal(fault->closes, closes);
        assert_int_equal(fault->logins, logins + 1);
    }
    kw_token_free(here);
    hsm_assert_unwraps(there, &key_there, KW_RSA_OAEP);
    kw_token_free(there);
    kw_secret_free(pkcs8);
}

/* ---- keys ---- */

static void destroy(const char *label)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_ATTRIBUTE wanted = {CKA_LABEL, (void *)label, strlen(label)};
    CK_OBJECT_HANDLE handles[8];
    CK_ULONG count = 0;
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, &wanted, 1), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, handles, 8, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++)
        assert_int_equal(hsm_functions()->C_DestroyObject(session, handles[i]), CKR_OK);
    hsm_close(session);
}

static void make(const char *label, const char *id)
{
    CK_SESSION_HANDLE session = hsm_session();
    (void)hsm_generate(session, &(struct hsm_key){.label = label, .id = id, .id_len = strlen(id)});
    hsm_close(session);
}

static void a_key_that_is_destroyed(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    make("kw-goes", "\x02");
    struct kw_token_key stays = hsm_find_key(token, "kw-stays");
    struct kw_token_key goes = hsm_find_key(token, "kw-goes");
    hsm_assert_unwraps(token, &goes, KW_RSA_OAEP);
    destroy("kw-goes");
    fails_as(token, &goes, KW_KEY_NOT_FOUND, "kw-goes");
    fails_as(token, &goes, KW_KEY_NOT_FOUND, "no longer");
    hsm_assert_unwraps(token, &stays, KW_RSA_OAEP);
    kw_token_free(token);
}

static void a_key_that_is_replaced(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    make("kw-new", "\x03");
    struct kw_token_key old = hsm_find_key(token, "kw-new");
    hsm_assert_unwraps(token, &old, KW_RSA_OAEP);
    destroy("kw-new");
    make("kw-new", "\x03");
    fails_as(token, &old, KW_KEY_NOT_FOUND, "another modulus");
    struct kw_token_key fresh = hsm_find_key(token, "kw-new");
    hsm_assert_unwraps(token, &fresh, KW_RSA_OAEP);
    destroy("kw-new");
    kw_token_free(token);
}

/* A handle that means another key now must not be used, though the token would take it. */
static void a_handle_that_means_another_key(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    make("kw-other", "\x04");
    struct kw_token_key stays = hsm_find_key(token, "kw-stays");
    struct kw_token_key other = hsm_find_key(token, "kw-other");
    hsm_assert_unwraps(token, &other, KW_RSA_OAEP);
    CK_OBJECT_HANDLE handle = token->found[0].handle;
    hsm_assert_unwraps(token, &stays, KW_RSA_OAEP);
    assert_true(token->found[1].used);
    for (int alg = 0; alg < KW_WRAP_ALG_COUNT; alg++) {
        token->found[1].handle = handle;
        hsm_assert_unwraps(token, &stays, (enum kw_wrap_alg)alg);
        assert_int_not_equal(token->found[1].handle, handle);
    }
    token->found[1].handle = handle;
    destroy("kw-other");
    hsm_assert_unwraps(token, &stays, KW_RSA_OAEP);
    kw_token_free(token);
}

/* One key under many ids: each of them is a key of its own to the library. */
static void more_keys_than_are_remembered(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key many[KW_FOUND_KEYS + 2];
    EVP_PKEY *pkey = EVP_RSA_gen(2048);
    uint8_t *pkcs8 = NULL;
    int len = i2d_PrivateKey(pkey, &pkcs8);
    assert_true(len > 0);
    CK_SESSION_HANDLE session = hsm_session();
    for (size_t i = 0; i < KW_COUNT(many); i++) {
        char label[32];
        CK_OBJECT_HANDLE handle;
        snprintf(label, sizeof(label), "kw-many-%zu", i);
        if (!hsm_import(session,
                        &(struct hsm_key){.label = label, .id = label, .id_len = strlen(label)},
                        pkcs8, (size_t)len, &handle))
            fail_msg("the token takes no private keys");
        many[i] = hsm_find_key(token, label);
    }
    OPENSSL_clear_free(pkcs8, (size_t)len);
    EVP_PKEY_free(pkey);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < KW_COUNT(many); i++)
            hsm_assert_unwraps(token, &many[i], KW_RSA_OAEP);
    hsm_close(session);
    kw_token_free(token);
}

static bool other_process_destroys(const char *id)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(1);
        (void)close(2);
        (void)execlp("pkcs11-tool", "pkcs11-tool", "--module", hsm.module, "--token-label",
                     "keyward test", "--login", "--pin", hsm.pin, "--delete-object", "--type",
                     "privkey", "--id", id, (char *)NULL);
        _exit(127);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    return WIFEXITED(result) && WEXITSTATUS(result) == 0;
}

static void a_key_that_another_process_destroys(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    make("kw-away", "\x05");
    struct kw_token_key key = hsm_find_key(token, "kw-away");
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    bool done = other_process_destroys("05");
    if (done)
        fails_as(token, &key, KW_KEY_NOT_FOUND, "kw-away");
    kw_token_free(token);
    if (!done)
        hsm_skip("pkcs11-tool is not installed");
}

/* ---- tokens ---- */

static void a_token_that_fails_once(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const CK_RV answers[] = {CKR_DEVICE_REMOVED,
                                    CKR_DEVICE_ERROR,
                                    CKR_TOKEN_NOT_PRESENT,
                                    CKR_SESSION_CLOSED,
                                    CKR_SESSION_HANDLE_INVALID,
                                    CKR_USER_NOT_LOGGED_IN,
                                    CKR_KEY_HANDLE_INVALID,
                                    CKR_OPERATION_NOT_INITIALIZED,
                                    CKR_GENERAL_ERROR,
                                    CKR_FUNCTION_FAILED,
                                    CKR_HOST_MEMORY,
                                    CKR_DEVICE_MEMORY};
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        fault->decrypt_answer = answers[i];
        fault->decrypt_answers = 1;
        unsigned before = fault->decrypts;
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        assert_int_equal(fault->decrypts, before + 2);
    }
    assert_int_equal(fault->logins, 1); /* the login held all the time */
    kw_token_free(token);
    assert_int_equal(fault->sessions, 0);
}

/* What may be the ciphertext is tried again where the token may be meant, but nothing is opened
 * anew for it, which others who use the token would feel. */
static void a_ciphertext_that_is_bad(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const struct {
        CK_RV answer;
        unsigned tries;
    } cases[] = {
        {CKR_ENCRYPTED_DATA_INVALID, 1}, {CKR_ENCRYPTED_DATA_LEN_RANGE, 1},
        {CKR_DATA_INVALID, 1},           {CKR_BUFFER_TOO_SMALL, 1},
        {CKR_VENDOR_DEFINED | 1, 1},     {CKR_GENERAL_ERROR, 2},
        {CKR_FUNCTION_FAILED, 2},        {CKR_DEVICE_MEMORY, 2},
    };
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        unsigned long epoch = token->epoch;
        unsigned before = fault->decrypts;
        fault->decrypt_answer = cases[i].answer;
        fails_as(token, &key, KW_KEY_UNWRAP, "does not unwrap the data key");
        assert_int_equal(fault->decrypts, before + cases[i].tries);
        assert_int_equal(token->epoch, epoch);
    }
    assert_int_equal(fault->logins, 1);
    kw_token_free(token);
}

static void a_token_that_keeps_failing(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    fault->decrypt_answer = CKR_DEVICE_REMOVED;
    fails_as(token, &key, KW_TOKEN, "CKR_DEVICE_REMOVED");
    assert_int_equal(fault->decrypts, 2); /* tried once more, and no more */
    fault->decrypt_answer = CKR_OK;
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

static void a_token_that_is_pulled_out(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    fault->decrypt_answer = CKR_DEVICE_REMOVED;
    fault->no_tokens = true;
    for (int i = 0; i < 3; i++)
        fails_as(token, &key, KW_TOKEN, "is gone");
    struct kw_token_key *all = NULL;
    size_t count = 0;
    assert_int_equal(kw_token_keys(token, &all, &count, NULL), KW_TOKEN);
    fault->no_tokens = false;
    fault->decrypt_answer = CKR_OK;
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

/* Another process writes to the token just when the module starts. */
static void a_token_that_is_not_seen_at_first(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->blind_starts = 3;
    struct kw_token *token = open_faulty();
    (void)hsm_find_key(token, "kw-stays");
    assert_int_equal(fault->initializes, 4);
    assert_int_equal(fault->logins, 1);
    kw_token_free(token);
    fault->initializes = 0;
    fault->blind_starts = 1000;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 0, &token, &err),
                     KW_TOKEN_NOT_FOUND);
    assert_in_range(fault->initializes, 4, 10);
    assert_int_equal(fault->logins, 1);
    fault->blind_starts = 0;
}

/* The module has to be initialised anew before it sees its storage again. */
static void storage_that_vanishes_and_comes_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    char there[128], away[128];
    snprintf(there, sizeof(there), "%s/tokens", hsm.folder);
    snprintf(away, sizeof(away), "%s/away", hsm.folder);
    assert_int_equal(rename(there, away), 0);
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(&key, KW_RSA_OAEP, wrapped);
    for (int i = 0; i < 2; i++) {
        struct kw_secret *secret = NULL;
        struct kw_error err = {.status = KW_OK};
        enum kw_status status =
            kw_token_decrypt(token, &key, KW_RSA_OAEP, wrapped, len, &secret, &err);
        print_message("while it is away: %d, %s\n", (int)status, err.message);
        assert_true(status == KW_OK || status == KW_TOKEN || status == KW_KEY_NOT_FOUND);
        kw_secret_free(secret);
    }
    assert_int_equal(rename(away, there), 0);
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

/* ---- the PIN when logging in again ---- */

static void no_pin_is_sent_at_the_final_try(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    assert_int_equal(fault->logins, 1);
    fault->set_flags = CKF_USER_PIN_FINAL_TRY;
    log_out_behind();
    fails_as(token, &key, KW_PIN_LOCKED, "one more wrong PIN");
    fails_as(token, &key, KW_PIN_LOCKED, "one more wrong PIN");
    assert_int_equal(fault->logins, 1);
    fault->set_flags = 0; /* an administrator logged in */
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    assert_int_equal(fault->logins, 2);
    kw_token_free(token);
}

static void a_pin_that_was_changed_is_sent_once(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-stays");
    fault->login_answer = CKR_PIN_INCORRECT;
    log_out_behind();
    fails_as(token, &key, KW_PIN_WRONG, "refused the PIN");
    assert_int_equal(fault->logins, 2);
    fails_as(token, &key, KW_PIN_WRONG, "refused the PIN before");
    fails_as(token, &key, KW_PIN_WRONG, "refused the PIN before");
    assert_int_equal(fault->logins, 2);
    kw_token_free(token);
    /* Nor by another kw_token of the same process. */
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 0, &token, &err),
                     KW_PIN_WRONG);
    assert_int_equal(fault->logins, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_login),
        cmocka_unit_test(lost_sessions),
        cmocka_unit_test(a_module_that_others_finalise),
        cmocka_unit_test(two_tokens_of_a_module_that_others_finalise),
        cmocka_unit_test(a_key_that_is_destroyed),
        cmocka_unit_test(a_key_that_is_replaced),
        cmocka_unit_test(a_handle_that_means_another_key),
        cmocka_unit_test(more_keys_than_are_remembered),
        cmocka_unit_test(a_key_that_another_process_destroys),
        cmocka_unit_test(a_token_that_fails_once),
        cmocka_unit_test(a_ciphertext_that_is_bad),
        cmocka_unit_test(a_token_that_keeps_failing),
        cmocka_unit_test(a_token_that_is_pulled_out),
        cmocka_unit_test(a_token_that_is_not_seen_at_first),
        cmocka_unit_test(storage_that_vanishes_and_comes_back),
        cmocka_unit_test(no_pin_is_sent_at_the_final_try),
        /* The last one: the fault module remembers the PIN as refused from then on. */
        cmocka_unit_test(a_pin_that_was_changed_is_sent_once),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
