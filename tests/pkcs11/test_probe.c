/* Probing a token: what the answers are, and that nothing of it stays. */
#include <string.h>

#include "fixture.h"

struct probed {
    struct kw_probe_result results[KW_PROBES_MAX];
    size_t count;
};

static enum kw_probe_answer answer_of(const struct probed *probed, const char *name)
{
    for (size_t i = 0; i < probed->count; i++)
        if (strcmp(probed->results[i].name, name) == 0)
            return probed->results[i].answer;
    fail_msg("there is no probe %s", name);
    return KW_PROBE_UNKNOWN;
}

static const char *details_of(const struct probed *probed, const char *name)
{
    for (size_t i = 0; i < probed->count; i++)
        if (strcmp(probed->results[i].name, name) == 0)
            return probed->results[i].details;
    return "";
}

static void probe(struct kw_token *token, struct probed *probed)
{
    struct kw_error err = {.status = KW_OK};
    if (kw_token_probe(token, probed->results, &probed->count, &err) != KW_OK)
        fail_msg("%s", err.message);
}

/* Of the token and of all sessions of this process, found from outside of the library. */
static CK_ULONG count_objects(void)
{
    CK_OBJECT_HANDLE handles[4096];
    CK_ULONG count = 0;
    CK_FUNCTION_LIST *functions = hsm_functions();
    CK_SESSION_HANDLE session = hsm_session();
    assert_int_equal(functions->C_FindObjectsInit(session, NULL, 0), CKR_OK);
    assert_int_equal(functions->C_FindObjects(session, handles, KW_COUNT(handles), &count), CKR_OK);
    assert_int_equal(functions->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(functions->C_CloseSession(session), CKR_OK);
    return count;
}

static void test_answers_are_complete(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(2);
    CK_ULONG before = count_objects();
    struct probed probed;
    probe(token, &probed);
    assert_int_equal(count_objects(), before);
    assert_true(probed.count > 0 && probed.count <= KW_PROBES_MAX);
    for (size_t i = 0; i < probed.count; i++) {
        const struct kw_probe_result *result = &probed.results[i];
        assert_true(result->name[0] && result->what[0]);
        /* Whoever says anything but yes says why. */
        assert_true(result->answer == KW_PROBE_YES || result->details[0]);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(result->name, probed.results[j].name);
    }
    assert_int_equal(answer_of(&probed, "pin"), KW_PROBE_YES);
    assert_int_equal(token->open_count, token->idle_count);
    assert_int_equal(token->rw_count, 0);
    kw_token_free(token);
}

static void test_answers_of_softhsm(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct {
        const char *name;
        enum kw_probe_answer answer;
    } truth[] = {
        {"quirks", KW_PROBE_YES},
        {"decrypt-oaep", KW_PROBE_YES},
        {"decrypt-oaep-256", KW_PROBE_NO},
        {"decrypt-rsa1-5", KW_PROBE_YES},
        {"decrypt-raw", KW_PROBE_YES},
        {"decrypt-oaep-256-host", KW_PROBE_YES},
        {"decrypts-a-second", KW_PROBE_YES},
        {"wrap-aes", KW_PROBE_YES},
        {"wrap-rfc5649-210b", KW_PROBE_NO},
        {"wrap-rfc5649-210a", KW_PROBE_YES},
        {"wrap-rsa-aes", KW_PROBE_NO},
        {"byok-out", KW_PROBE_YES},
        {"byok-in", KW_PROBE_YES},
        {"extractable-enforced", KW_PROBE_YES},
        {"date-public", KW_PROBE_YES},
        {"date-private", KW_PROBE_NO},
        {"sign-ecdsa-p256", KW_PROBE_YES},
        {"sign-rsa-pss", KW_PROBE_YES},
        {"sessions", KW_PROBE_YES},
    };
    struct kw_token *token = hsm_open(2);
    CK_INFO info;
    assert_int_equal(hsm_functions()->C_GetInfo(&info), CKR_OK);
    if (info.libraryVersion.major != 2 || info.libraryVersion.minor != 6) {
        kw_token_free(token);
        hsm_skip("these are the answers of SoftHSM 2.6");
        return;
    }
    struct probed probed;
    probe(token, &probed);
    for (size_t i = 0; i < KW_COUNT(truth); i++)
        if (answer_of(&probed, truth[i].name) != truth[i].answer)
            fail_msg("%s is answered otherwise", truth[i].name);
    kw_token_free(token);
}

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 2, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

static void test_no_session_keys_is_unknown(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const char *const names[] = {"decrypt-oaep", "decrypt-raw", "decrypts-a-second",
                                        "byok-out",     "byok-in",     "extractable-enforced",
                                        "date-public",  "sign-rsa-pss"};
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct probed probed;
    fault->generate_answer = CKR_ATTRIBUTE_VALUE_INVALID;
    probe(token, &probed);
    for (size_t i = 0; i < KW_COUNT(names); i++)
        assert_int_equal(answer_of(&probed, names[i]), KW_PROBE_UNKNOWN);
    assert_non_null(strstr(details_of(&probed, "decrypt-oaep"), "CKR_ATTRIBUTE_VALUE_INVALID"));
    kw_token_free(token);
    assert_int_equal(fault->sessions, 0);
}

/* What the token lists plays no part: it refuses, and that is the answer. */
static void test_refusals_are_answers(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct probed probed;
    fault->raw_init_answer = CKR_KEY_FUNCTION_NOT_PERMITTED;
    fault->max_sessions = 20;
    fault->set_flags = CKF_USER_PIN_FINAL_TRY;
    probe(token, &probed);
    assert_int_equal(answer_of(&probed, "decrypt-raw"), KW_PROBE_NO);
    assert_int_equal(answer_of(&probed, "decrypt-oaep-256-host"), KW_PROBE_NO);
    assert_int_equal(answer_of(&probed, "sessions"), KW_PROBE_NO);
    assert_int_equal(answer_of(&probed, "pin"), KW_PROBE_NO);
    kw_token_free(token);
    assert_int_equal(fault->sessions, 0);
}

/* From any call on: no answers then, and no session is left open. */
static void test_token_that_goes_gives_no_answers(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    for (unsigned at = 1; at < 120; at += 40) {
        struct kw_token *token = open_faulty();
        struct probed probed = {.count = 7};
        struct kw_error err = {.status = KW_OK};
        hsm_arm(fault, &(struct hsm_fault_kind){CKR_DEVICE_REMOVED, false, 1000000}, at);
        enum kw_status status = kw_token_probe(token, probed.results, &probed.count, &err);
        fault->fail_at = 0;
        assert_int_equal(status, KW_TOKEN);
        assert_int_equal(probed.count, 7);
        kw_token_free(token);
    }
}

/* A login that is gone is no answer to any probe: it is found again, and they are asked again. */
static void test_login_is_found_again(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(2);
    CK_FUNCTION_LIST *functions = hsm_functions();
    CK_SESSION_HANDLE session = hsm_session();
    assert_int_equal(functions->C_Logout(session), CKR_OK);
    assert_int_equal(functions->C_CloseSession(session), CKR_OK);
    struct probed probed;
    probe(token, &probed);
    assert_int_equal(answer_of(&probed, "decrypt-oaep"), KW_PROBE_YES);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_complete),
        cmocka_unit_test(test_answers_of_softhsm),
        cmocka_unit_test(test_no_session_keys_is_unknown),
        cmocka_unit_test(test_refusals_are_answers),
        cmocka_unit_test(test_token_that_goes_gives_no_answers),
        cmocka_unit_test(test_login_is_found_again),
    };
    return cmocka_run_group_tests(tests, hsm_setup, hsm_teardown);
}
