/* Loading modules, choosing a token, logging in. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.made_here) {
        hsm_make_token("twin");
        hsm_make_token("twin");
    }
    return result;
}

static void has_words(const struct kw_error *err, const char *words)
{
    if (!strstr(err->message, words))
        fail_msg("\"%s\" lacks \"%s\"", err->message, words);
}

static void fails_to_open(const char *module, const char *uri, const char *pin,
                          enum kw_status expected, const char *words)
{
    struct kw_token *token = (struct kw_token *)-1;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = hsm_try_open(module, uri, pin, 0, &token, &err);
    if (status != expected)
        fail_msg("status %d: %s", (int)status, err.message);
    assert_int_equal(err.status, expected);
    assert_ptr_equal(token, (struct kw_token *)-1);
    has_words(&err, words);
}

/* ---- choosing ---- */

static void list_of_tokens(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token_info *infos = NULL;
    size_t count = 0, twins = 0, own = 0;
    assert_int_equal(kw_token_list(hsm.module, NULL, 0, NULL, &infos, &count, NULL), KW_OK);
    assert_true(count >= 1);
    for (size_t i = 0; i < count; i++) {
        twins += strcmp(infos[i].label, "twin") == 0;
        own += strcmp(infos[i].label, "keyward test") == 0;
        assert_int_equal(strlen(infos[i].label), strcspn(infos[i].label, "\n\t"));
    }
    if (hsm.made_here) {
        assert_int_equal(count, 4); /* and SoftHSM2's empty slot */
        assert_int_equal(twins, 2);
        assert_int_equal(own, 1);
        for (size_t i = 0; i < count; i++) {
            assert_string_equal(infos[i].model, "SoftHSM v2");
            assert_string_equal(infos[i].manufacturer, "SoftHSM project");
            assert_int_equal(infos[i].initialized, infos[i].label[0] != '\0');
            assert_true(!infos[i].initialized || infos[i].serial[0]);
        }
    }
    free(infos);
}

static void open_by_label_and_serial(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    const struct kw_token_info *info = kw_token_info(token);
    assert_true(info->initialized);
    assert_true(info->login_required);
    assert_false(info->pin_locked);
    char uri[128];
    snprintf(uri, sizeof(uri), "pkcs11:serial=%s", info->serial);
    struct kw_token *second = NULL;
    struct kw_error err = {.status = KW_OK};
    if (strchr(info->serial, ' ') == NULL && info->serial[0]) {
        assert_int_equal(hsm_try_open(hsm.module, uri, hsm.pin, 0, &second, &err), KW_OK);
        assert_string_equal(kw_token_info(second)->label, info->label);
    }
    kw_token_free(second);
    kw_token_free(token);
    kw_token_free(NULL);
}

static void no_token_or_several(void **state)
{
    (void)state;
    HSM_NEEDED();
    fails_to_open(hsm.module, "pkcs11:token=no%20such%20token", hsm.pin, KW_TOKEN_NOT_FOUND,
                  "no%20such%20token");
    fails_to_open(hsm.module, "pkcs11:model=nothing", hsm.pin, KW_TOKEN_NOT_FOUND, "serial");
    fails_to_open(hsm.module, "pkcs11:library-manufacturer=nobody", hsm.pin, KW_TOKEN_NOT_FOUND,
                  "no token matches");
    fails_to_open(hsm.module, "pkcs11:slot-manufacturer=nobody", hsm.pin, KW_TOKEN_NOT_FOUND,
                  "no token matches");
    if (!hsm.made_here)
        return;
    fails_to_open(hsm.module, "pkcs11:token=no", hsm.pin, KW_TOKEN_NOT_FOUND, "\"twin\" (serial ");
    fails_to_open(hsm.module, "pkcs11:token=twin", hsm.pin, KW_TOKEN_NOT_FOUND,
                  "2 tokens match pkcs11:token=twin");
    fails_to_open(hsm.module, NULL, hsm.pin, KW_TOKEN_NOT_FOUND, "3 tokens match any token");
}

static void the_empty_slot_is_no_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    fails_to_open(hsm.module, "pkcs11:token=", hsm.pin, KW_TOKEN_NOT_FOUND, "no token matches");
}

/* ---- modules ---- */

static void modules_that_are_none(void **state)
{
    (void)state;
    fails_to_open("/nowhere/libnone.so", NULL, NULL, KW_MODULE, "/nowhere/libnone.so");
    fails_to_open("/nowhere/libnone.so", NULL, NULL, KW_MODULE, "module-path");
    fails_to_open("libsofthsm2.so", NULL, NULL, KW_CONFIG, "absolute");
    fails_to_open("", NULL, NULL, KW_CONFIG, "absolute");
    fails_to_open(NULL, NULL, NULL, KW_CONFIG, "module-path");
    fails_to_open("/", NULL, NULL, KW_MODULE, "no PKCS#11 module");
    char path[] = "/tmp/keyward-module-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "this is text\n", 13), 13);
    assert_int_equal(close(fd), 0);
    fails_to_open(path, NULL, NULL, KW_MODULE, "no PKCS#11 module");
    assert_int_equal(unlink(path), 0);
    struct kw_token_info *infos = NULL;
    size_t count = 0;
    assert_int_equal(kw_token_list("/nowhere/libnone.so", NULL, 0, NULL, &infos, &count, NULL),
                     KW_MODULE);
    assert_null(infos);
}

static void a_library_that_is_no_module(void **state)
{
    (void)state;
    static const char *const places[] = {"/lib/x86_64-linux-gnu/libc.so.6",
                                         "/lib/aarch64-linux-gnu/libc.so.6", "/lib64/libc.so.6",
                                         "/lib/libc.so.6"};
    for (size_t i = 0; i < KW_COUNT(places); i++)
        if (access(places[i], R_OK) == 0) {
            fails_to_open(places[i], NULL, NULL, KW_MODULE, "C_GetFunctionList");
            return;
        }
    hsm_skip("no C library at a known place");
}

static void arguments_that_the_module_refuses(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token_info *infos = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_token_list(hsm.module, "a=b", 0, NULL, &infos, &count, &err), KW_MODULE);
    has_words(&err, "CKR_ARGUMENTS_BAD");
    struct kw_token *token = hsm_open(0);
    assert_int_equal(kw_token_list(hsm.module, "a=b", 0, NULL, &infos, &count, &err), KW_MODULE);
    has_words(&err, "other init-args");
    kw_token_free(token);
}

static void a_module_that_others_initialised(void **state)
{
    (void)state;
    HSM_NEEDED();
    hsm_begin();
    struct kw_token *token = hsm_open(0);
    kw_token_free(token);
    CK_INFO info;
    assert_int_equal(hsm_functions()->C_GetInfo(&info), CKR_OK); /* not finalised by us */
    hsm_end();
    token = hsm_open(0);
    kw_token_free(token);
    assert_int_equal(hsm_functions()->C_GetInfo(&info), CKR_CRYPTOKI_NOT_INITIALIZED);
}

/* The same file under two names is one module; it is finalised when the last one lets go. */
static void one_module_for_all(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    char link[128];
    snprintf(link, sizeof(link), "%s/link.so", hsm.folder);
    assert_int_equal(symlink(hsm.module, link), 0);
    struct kw_token *first = hsm_open(0), *second = NULL;
    assert_int_equal(hsm_try_open(link, hsm.uri, hsm.pin, 0, &second, NULL), KW_OK);
    kw_token_free(first);
    struct kw_token_key *keys = NULL;
    size_t count = 1;
    assert_int_equal(kw_token_keys(second, &keys, &count, NULL), KW_OK);
    assert_int_equal(count, 0);
    assert_non_null(keys);
    free(keys);
    kw_token_free(second);
}

static void too_many_sessions(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(hsm_try_open(hsm.module, hsm.uri, hsm.pin, 1000000, &token, &err), KW_CONFIG);
    assert_int_equal(hsm_try_open(hsm.module, hsm.uri, hsm.pin, (size_t)-1, &token, &err),
                     KW_CONFIG);
    assert_null(token);
}

/* ---- PINs, on the module that counts ---- */

static struct kw_token *open_faulty(const char *pin, enum kw_status expected, const char *words)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = hsm_try_open(hsm_fault_path(), hsm.uri, pin, 0, &token, &err);
    if (status != expected)
        fail_msg("status %d: %s", (int)status, err.message);
    if (status)
        has_words(&err, words);
    if (status && pin)
        assert_null(strstr(err.message, pin));
    return token;
}

static void a_wrong_pin_is_sent_once(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    open_faulty("wrong-1", KW_PIN_WRONG, "refused the PIN");
    assert_int_equal(fault->logins, 1);
    for (int i = 0; i < 5; i++)
        open_faulty("wrong-1", KW_PIN_WRONG, "not sent again");
    assert_int_equal(fault->logins, 1);
    kw_token_free(open_faulty(hsm.pin, KW_OK, NULL));
    assert_int_equal(fault->logins, 2);
    open_faulty("wrong-1", KW_PIN_WRONG, "not sent again");
    assert_int_equal(fault->logins, 2);
    /* Another one is another matter. */
    open_faulty("wrong-2", KW_PIN_WRONG, "refused the PIN");
    assert_int_equal(fault->logins, 3);
    kw_token_free(open_faulty(hsm.pin, KW_OK, NULL));
}

static void answers_to_a_login(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const struct {
        CK_RV answer;
        enum kw_status status;
        const char *words;
        bool sent_again;
    } cases[] = {
        {CKR_PIN_INCORRECT, KW_PIN_WRONG, "refused the PIN", false},
        {CKR_PIN_INVALID, KW_PIN_WRONG, "refused the PIN", false},
        {CKR_PIN_LEN_RANGE, KW_PIN_WRONG, "length", false},
        {CKR_PIN_LOCKED, KW_PIN_LOCKED, "unlock it", false},
        {CKR_PIN_EXPIRED, KW_PIN_WRONG, "new PIN", false},
        {CKR_USER_PIN_NOT_INITIALIZED, KW_PIN_MISSING, "no user PIN", true},
        {CKR_USER_ANOTHER_ALREADY_LOGGED_IN, KW_TOKEN, "security officer", true},
        {CKR_GENERAL_ERROR, KW_TOKEN, "CKR_GENERAL_ERROR", false},
        {CKR_FUNCTION_FAILED, KW_TOKEN, "CKR_FUNCTION_FAILED", false},
        {0x80000005UL, KW_TOKEN, "0x80000005", false},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        char pin[32];
        snprintf(pin, sizeof(pin), "pin-number-%zu", i);
        struct kw_fault *fault = hsm_fault();
        fault->login_answer = cases[i].answer;
        open_faulty(pin, cases[i].status, cases[i].words);
        assert_true(cases[i].sent_again || fault->logins == 1);
        fault->logins = 0;
        open_faulty(pin, cases[i].sent_again ? cases[i].status : KW_PIN_WRONG, "token");
        assert_int_equal(fault->logins > 0, cases[i].sent_again);
    }
    struct kw_fault *fault = hsm_fault();
    fault->login_answer = CKR_USER_ALREADY_LOGGED_IN;
    kw_token_free(open_faulty("any", KW_OK, NULL));
    assert_int_equal(fault->logins, 1);
}

static void flags_that_forbid_a_pin(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->set_flags = CKF_USER_PIN_FINAL_TRY;
    open_faulty(hsm.pin, KW_PIN_LOCKED, "vendor's tool");
    fault->set_flags = CKF_USER_PIN_LOCKED;
    open_faulty(hsm.pin, KW_PIN_LOCKED, "unlock it");
    fault->set_flags = CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_COUNT_LOW;
    open_faulty(hsm.pin, KW_PIN_LOCKED, "unlock it");
    fault->set_flags = 0;
    fault->clear_flags = CKF_USER_PIN_INITIALIZED;
    open_faulty(hsm.pin, KW_PIN_MISSING, "no user PIN yet");
    assert_int_equal(fault->logins, 0);
    fault->clear_flags = 0;
    fault->set_flags = CKF_USER_PIN_COUNT_LOW; /* one wrong try is fine still */
    kw_token_free(open_faulty(hsm.pin, KW_OK, NULL));
    assert_int_equal(fault->logins, 1);
}

static void no_pin(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    open_faulty(NULL, KW_PIN_MISSING, "no PIN for the test");
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    struct kw_uri *uri = NULL;
    assert_int_equal(kw_uri_parse(hsm.uri, &uri, NULL), KW_OK);
    const struct kw_token_options options = {.module = hsm_fault_path(), .uri = uri};
    assert_int_equal(kw_token_open(hsm.crypto, &options, &token, &err), KW_PIN_MISSING);
    has_words(&err, "pin-source");
    kw_uri_free(uri);
    assert_int_equal(fault->logins, 0);
}

static void tokens_without_a_pin_of_ours(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->set_flags = CKF_PROTECTED_AUTHENTICATION_PATH;
    fault->login_claims_ok = true;
    kw_token_free(open_faulty(NULL, KW_OK, NULL));
    assert_int_equal(fault->logins, 1);
    assert_true(fault->last_pin_was_null);
    fault->set_flags = 0;
    fault->clear_flags = CKF_LOGIN_REQUIRED;
    kw_token_free(open_faulty(NULL, KW_OK, NULL));
    assert_int_equal(fault->logins, 1);
}

static void somebody_is_logged_in_already(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *first = open_faulty(hsm.pin, KW_OK, NULL);
    struct kw_token *second = open_faulty("never sent", KW_OK, NULL);
    assert_int_equal(fault->logins, 1);
    kw_token_free(first);
    kw_token_free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_of_tokens),
        cmocka_unit_test(open_by_label_and_serial),
        cmocka_unit_test(no_token_or_several),
        cmocka_unit_test(the_empty_slot_is_no_token),
        cmocka_unit_test(modules_that_are_none),
        cmocka_unit_test(a_library_that_is_no_module),
        cmocka_unit_test(arguments_that_the_module_refuses),
        cmocka_unit_test(a_module_that_others_initialised),
        cmocka_unit_test(one_module_for_all),
        cmocka_unit_test(too_many_sessions),
        cmocka_unit_test(a_wrong_pin_is_sent_once),
        cmocka_unit_test(answers_to_a_login),
        cmocka_unit_test(flags_that_forbid_a_pin),
        cmocka_unit_test(no_pin),
        cmocka_unit_test(tokens_without_a_pin_of_ours),
        cmocka_unit_test(somebody_is_logged_in_already),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
