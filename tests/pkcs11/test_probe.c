/* Probing a token: what the answers are, and that nothing of it stays. */
#include <stdlib.h>
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
        print_message("%s: %d %s\n", result->name, (int)result->answer, result->details);
    }
    /* What the library itself does has to agree. */
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
    struct probed probed;
    probe(token, &probed);
    for (size_t i = 0; i < KW_COUNT(truth); i++)
        if (answer_of(&probed, truth[i].name) != truth[i].answer)
            fail_msg("%s is answered otherwise", truth[i].name);
    kw_token_free(token);
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
        cmocka_unit_test(test_login_is_found_again),
    };
    return cmocka_run_group_tests(tests, hsm_setup, hsm_teardown);
}
