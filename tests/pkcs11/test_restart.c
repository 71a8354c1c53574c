/* Tokens of one module that come back only after it was started anew, while others use it. */
#include "fixture.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HERE    "kw-here"
#define THERE   "kw-there"
#define MADE    "kw-made"
#define SECOND  "pkcs11:token=second"
#define WORKERS 3 /* for each of three tokens */
#define LOSSES  6

static const struct hsm_key keys[] = {
    {.label = HERE, .id = "\x01", .id_len = 1},
};

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(keys, KW_COUNT(keys));
    if (!result && hsm.there && hsm.made_here)
        hsm_make_token("second");
    return result;
}

/* ---- three tokens of the fault module: two of them the same ---- */

struct three {
    struct kw_fault *fault;
    struct kw_token *tokens[3];
    struct kw_token_key keys[3];
};

static struct kw_token *open_one(const char *text, unsigned timeout_s)
{
    static struct given_pin given;
    struct kw_token *token = NULL;
    struct kw_uri *uri = NULL;
    struct kw_error err = {.status = KW_OK};
    given = (struct given_pin){.pin = hsm.pin};
    assert_int_equal(kw_uri_parse(text, &uri, NULL), KW_OK);
    const struct kw_token_options options = {.module = hsm_fault_path(),
                                             .uri = uri,
                                             .max_sessions = 4,
                                             .timeout_s = timeout_s,
                                             .pin = hsm_give_pin,
                                             .pin_context = &given};
    if (kw_token_open(hsm.crypto, &options, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    kw_uri_free(uri);
    return token;
}

static struct kw_token_key key_there(struct kw_token *token)
{
    const struct kw_key_plan plan = {.label = THERE, .id = (const uint8_t *)"t", .id_len = 1};
    struct kw_secret *pkcs8 = hsm_new_pkcs8();
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_import_key(token, &plan, pkcs8, &key, &err);
    kw_secret_free(pkcs8);
    if (status == KW_EXISTS)
        return hsm_find_key(token, THERE);
    if (status)
        fail_msg("%s", err.message);
    return key;
}

static void unwrap_all(const struct three *three)
{
    for (size_t i = 0; i < KW_COUNT(three->tokens); i++)
        hsm_assert_unwraps(three->tokens[i], &three->keys[i], KW_RSA_OAEP);
}

static void open_patiently(struct three *three, unsigned timeout_s)
{
    three->fault = hsm_fault();
    three->tokens[0] = open_one(hsm.uri, timeout_s);
    three->tokens[1] = open_one(hsm.uri, timeout_s);
    three->tokens[2] = open_one(SECOND, timeout_s);
    three->keys[0] = three->keys[1] = hsm_find_key(three->tokens[0], HERE);
    three->keys[2] = key_there(three->tokens[2]);
    unwrap_all(three);
}

static void open_three(struct three *three)
{
    open_patiently(three, 0);
}

static void close_three(struct three *three)
{
    for (size_t i = 0; i < KW_COUNT(three->tokens); i++)
        kw_token_free(three->tokens[i]);
    assert_int_equal(three->fault->crowded, 0);
    assert_int_equal(three->fault->sessions, 0);
}

static enum kw_status unwrap(struct kw_token *token, const struct kw_token_key *key,
                             const uint8_t *wrapped, struct kw_error *err)
{
    struct kw_secret *secret = NULL;
    enum kw_status status =
        kw_token_decrypt(token, key, KW_RSA_OAEP, wrapped, key->public.modulus_len, &secret, err);
    if (!status && !hsm_is_known_secret(secret))
        status = kw_fail(err, KW_KEY_UNWRAP, "it is another data key");
    kw_secret_free(secret);
    return status;
}

static enum kw_status unwrap_anew(const struct three *three, size_t i)
{
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    (void)hsm_wrap(&three->keys[i], KW_RSA_OAEP, wrapped);
    return unwrap(three->tokens[i], &three->keys[i], wrapped, NULL);
}

static void break_until_start(struct kw_fault *fault, CK_RV answer)
{
    atomic_store(&fault->start_mends, true);
    atomic_store(&fault->down, answer);
}

/* ---- one after the other ---- */

static void each_comes_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_RV answers[] = {CKR_DEVICE_ERROR, CKR_TOKEN_NOT_PRESENT, CKR_DEVICE_REMOVED,
                                    CKR_GENERAL_ERROR, CKR_SESSION_HANDLE_INVALID};
    for (size_t i = 0; i < KW_COUNT(answers); i++)
        for (size_t first = 0; first < 3; first++) {
            struct three three;
            open_three(&three);
            unsigned logins = three.fault->logins;
            break_until_start(three.fault, answers[i]);
            hsm_assert_unwraps(three.tokens[first], &three.keys[first], KW_RSA_OAEP);
            unwrap_all(&three);
            assert_int_equal(three.fault->initializes, 2); /* one start is for all */
            assert_int_equal(three.fault->finalizes, 1);
            assert_int_equal(three.fault->logins, logins + 2); /* two tokens have one login */
            close_three(&three);
            (void)usleep(1000);
        }
}

/* Somebody else finalised it. */
static void a_module_that_is_not_initialised(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    for (size_t first = 0; first < 3; first++) {
        struct three three;
        open_three(&three);
        assert_int_equal(hsm_functions()->C_Finalize(NULL), CKR_OK);
        hsm_assert_unwraps(three.tokens[first], &three.keys[first], KW_RSA_OAEP);
        unwrap_all(&three);
        assert_int_equal(three.fault->initializes, 2);
        assert_int_equal(three.fault->finalizes, 0);
        for (size_t i = 0; i < 3; i++)
            kw_token_free(three.tokens[i]);
    }
}

/* As a daemon's client: as long as the daemon is away, the module can't be initialised. */
static void a_module_that_does_not_start_for_a_while(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct three three;
    open_three(&three);
    atomic_store(&three.fault->down, CKR_DEVICE_ERROR);
    three.fault->start_answer = CKR_FUNCTION_FAILED;
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(unwrap_anew(&three, i % 3), KW_TOKEN);
    three.fault->start_answer = CKR_OK;
    atomic_store(&three.fault->down, CKR_OK);
    unwrap_all(&three);
    close_three(&three);
}

/* What was taken before is not used after, and what takes its number is neither used nor closed. */
static void a_session_from_before(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct three three;
    open_three(&three);
    CK_SESSION_HANDLE old = three.tokens[0]->anchor;
    const CK_FUNCTION_LIST *functions = three.tokens[0]->functions;
    CK_SESSION_INFO info;
    assert_int_equal(functions->C_GetSessionInfo(old, &info), CKR_OK);
    break_until_start(three.fault, CKR_DEVICE_ERROR);
    unwrap_all(&three);
    unsigned closes = three.fault->closes, calls = three.fault->calls;
    assert_int_equal(functions->C_GetSessionInfo(old, &info), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(functions->C_DestroyObject(old, 1), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(functions->C_CloseSession(old), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(three.fault->closes, closes);
    assert_int_equal(three.fault->calls, calls);
    close_three(&three);
}

/* A token that is away, and is tried again and again, is not worth that another one that works
 * loses its sessions each time. */
static void a_token_that_stays_away(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct three three;
    open_three(&three);
    three.fault->away_slot = three.tokens[2]->slot;
    atomic_store(&three.fault->away, true);
    three.fault->decrypt_answers = 1;
    three.fault->decrypt_answer = CKR_DEVICE_REMOVED;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(unwrap_anew(&three, 2), KW_TOKEN);
        hsm_assert_unwraps(three.tokens[0], &three.keys[0], KW_RSA_OAEP);
    }
    assert_in_range(three.fault->initializes, 2, 4);
    atomic_store(&three.fault->away, false);
    unwrap_all(&three);
    close_three(&three);
}

/* ---- calls of others that are under way ---- */

static void *unwrap_in_background(void *context)
{
    (void)unwrap_anew(context, 2);
    return NULL;
}

static pthread_t hang_there(struct three *three)
{
    pthread_t thread;
    atomic_store(&three->fault->hang, "C_Decrypt");
    assert_int_equal(pthread_create(&thread, NULL, unwrap_in_background, three), 0);
    while (atomic_load(&three->fault->hanging) == 0)
        (void)usleep(1000);
    atomic_store(&three->fault->hang, NULL);
    return thread;
}

/* One that takes longer than is waited for it. The module is not ended beneath it. */
static void a_long_call_of_another_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct three three;
    open_three(&three);
    pthread_t thread = hang_there(&three);
    break_until_start(three.fault, CKR_DEVICE_ERROR);
    uint64_t since = kw_now_ms();
    assert_int_equal(unwrap_anew(&three, 0), KW_TOKEN);
    assert_in_range(kw_now_ms() - since, 2900, 10000);
    since = kw_now_ms();
    assert_int_equal(unwrap_anew(&three, 0), KW_TOKEN); /* nor is it waited for again at once */
    assert_in_range(kw_now_ms() - since, 0, 2000);
    assert_int_equal(three.fault->finalizes, 0);
    atomic_store(&three.fault->released, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    since = kw_now_ms();
    while (unwrap_anew(&three, 0) != KW_OK && kw_now_ms() - since < 10000)
        (void)usleep(10000);
    unwrap_all(&three);
    close_three(&three);
}

/* One that gets no answer at all. */
static void a_hung_call_of_another_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct three three;
    open_patiently(&three, 1);
    pthread_t thread = hang_there(&three);
    break_until_start(three.fault, CKR_DEVICE_ERROR);
    uint64_t since = kw_now_ms();
    assert_int_equal(unwrap_anew(&three, 0), KW_TOKEN);
    assert_in_range(kw_now_ms() - since, 0, 5000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(unwrap_anew(&three, 1), KW_TOKEN); /* the module is stuck */
    assert_int_equal(three.fault->finalizes, 0);
    atomic_store(&three.fault->released, true);
    while (kw_longest_hang_ms() > 0)
        (void)usleep(1000);
    since = kw_now_ms();
    while (unwrap_anew(&three, 0) != KW_OK && kw_now_ms() - since < 10000)
        (void)usleep(10000);
    unwrap_all(&three);
    close_three(&three);
}

/* ---- under load ---- */

struct load {
    struct three three;
    uint8_t wrapped[3][KW_RSA_MAX_BYTES];
    atomic_uint next_thread;
    atomic_bool stop;
    atomic_uint good[3], bad[3], made;
    char message[KW_MESSAGE_SIZE]; /* of the first call that failed */
    atomic_flag message_taken;
};

static void note(struct load *load, size_t token, enum kw_status status, const struct kw_error *err)
{
    atomic_fetch_add(status ? &load->bad[token] : &load->good[token], 1);
    if (status && !atomic_flag_test_and_set(&load->message_taken))
        memcpy(load->message, err->message, sizeof(load->message));
}

static void *unwrap_again_and_again(void *context)
{
    struct load *load = context;
    size_t token = atomic_fetch_add(&load->next_thread, 1) % 3;
    while (!atomic_load(&load->stop)) {
        struct kw_error err = {.status = KW_OK};
        note(
            load, token,
            unwrap(load->three.tokens[token], &load->three.keys[token], load->wrapped[token], &err),
            &err);
    }
    return NULL;
}

/* Keys come and go, and no other than those. */
static void *make_again_and_again(void *context)
{
    struct load *load = context;
    struct kw_token *token = load->three.tokens[1];
    while (!atomic_load(&load->stop)) {
        const struct kw_key_plan plan = {.label = MADE,
                                         .id = (const uint8_t *)MADE,
                                         .id_len = strlen(MADE),
                                         .bits = 2048,
                                         .not_before = "",
                                         .expires = ""};
        struct kw_token_key key = {.id_len = strlen(MADE)};
        memcpy(key.id, MADE, strlen(MADE));
        if (kw_token_make_key(token, &plan, &key, NULL) == KW_OK)
            atomic_fetch_add(&load->made, 1);
        (void)kw_token_destroy_key(token, &key, NULL);
    }
    return NULL;
}

static void wait_for_good(struct load *load)
{
    unsigned before[3];
    uint64_t since = kw_now_ms();
    for (size_t i = 0; i < 3; i++)
        before[i] = atomic_load(&load->good[i]);
    for (size_t i = 0; i < 3; i++)
        while (atomic_load(&load->good[i]) < before[i] + 10) {
            if (kw_now_ms() - since > 60000)
                fail_msg("token %zu does not come back: %s", i, load->message);
            (void)usleep(1000);
        }
}

static void losses_under_load(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_RV answers[] = {CKR_DEVICE_ERROR, CKR_CRYPTOKI_NOT_INITIALIZED,
                                    CKR_SESSION_HANDLE_INVALID};
    struct load *load = calloc(1, sizeof(*load));
    pthread_t threads[3 * WORKERS + 1];
    assert_non_null(load);
    open_three(&load->three);
    for (size_t i = 0; i < 3; i++)
        (void)hsm_wrap(&load->three.keys[i], KW_RSA_OAEP, load->wrapped[i]);
    for (size_t i = 0; i < 3 * WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, unwrap_again_and_again, load), 0);
    assert_int_equal(pthread_create(&threads[3 * WORKERS], NULL, make_again_and_again, load), 0);
    for (size_t i = 0; i < LOSSES; i++) {
        wait_for_good(load);
        break_until_start(load->three.fault, answers[i % KW_COUNT(answers)]);
        wait_for_good(load);
        assert_int_equal(atomic_load(&load->three.fault->down), CKR_OK);
    }
    while (atomic_load(&load->made) == 0)
        (void)usleep(1000);
    atomic_store(&load->stop, true);
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (size_t i = 0; i < 3; i++)
        print_message("token %zu: %u good, %u bad\n", i, atomic_load(&load->good[i]),
                      atomic_load(&load->bad[i]));
    print_message("%u keys made, %u starts; first failure: %s\n", atomic_load(&load->made),
                  load->three.fault->initializes, load->message);
    unwrap_all(&load->three);
    close_three(&load->three);
    free(load);
}

/* ---- the PIN ---- */

static void a_pin_that_is_refused_after_a_start(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct three three;
    open_three(&three);
    unsigned logins = three.fault->logins;
    three.fault->login_answer = CKR_PIN_INCORRECT;
    break_until_start(three.fault, CKR_DEVICE_ERROR);
    assert_int_equal(unwrap_anew(&three, 0), KW_PIN_WRONG);
    assert_int_equal(three.fault->logins, logins + 1);
    for (size_t i = 0; i < 3; i++) { /* by whichever of the token's */
        assert_int_equal(unwrap_anew(&three, 0), KW_PIN_WRONG);
        assert_int_equal(unwrap_anew(&three, 1), KW_PIN_WRONG);
    }
    assert_int_equal(three.fault->logins, logins + 1);
    close_three(&three);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_comes_back),
        cmocka_unit_test(a_module_that_is_not_initialised),
        cmocka_unit_test(a_module_that_does_not_start_for_a_while),
        cmocka_unit_test(a_session_from_before),
        cmocka_unit_test(a_token_that_stays_away),
        cmocka_unit_test(a_long_call_of_another_token),
        cmocka_unit_test(a_hung_call_of_another_token),
        cmocka_unit_test(losses_under_load),
        /* The last one: the fault module remembers the PIN as refused from then on. */
        cmocka_unit_test(a_pin_that_is_refused_after_a_start),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
