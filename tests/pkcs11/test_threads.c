/* Many threads on few sessions. */
#include "fixture.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 8
#define ROUNDS  200

static const struct hsm_key keys[] = {
    {.label = "kw-a", .id = "\x01", .id_len = 1},
    {.label = "kw-b", .id = "\x02", .id_len = 1},
};

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(keys, KW_COUNT(keys));
    return result;
}

struct work {
    struct kw_token *token;
    struct kw_token_key keys[2];
    uint8_t wrapped[2][KW_WRAP_ALG_COUNT][KW_RSA_MAX_BYTES];
    unsigned rounds;
    atomic_uint next_thread;
    atomic_uint good;
    atomic_uint bad;
    char message[KW_MESSAGE_SIZE]; /* of the first thread that failed */
    atomic_flag message_taken;
};

/* cmocka's assertions are for the main thread only. */
static void *decrypt_again_and_again(void *context)
{
    struct work *work = context;
    unsigned thread = atomic_fetch_add(&work->next_thread, 1);
    for (unsigned round = 0; round < work->rounds; round++) {
        unsigned key = (thread + round) % 2, alg = round % KW_WRAP_ALG_COUNT;
        struct kw_secret *secret = NULL;
        struct kw_error err = {.status = KW_OK};
        enum kw_status status = kw_token_decrypt(work->token, &work->keys[key],
                                                 (enum kw_wrap_alg)alg, work->wrapped[key][alg],
                                                 work->keys[key].public.modulus_len, &secret, &err);
        if (!status && kw_secret_len(secret) == 32) {
            atomic_fetch_add(&work->good, 1);
        } else {
            atomic_fetch_add(&work->bad, 1);
            if (!atomic_flag_test_and_set(&work->message_taken))
                memcpy(work->message, err.message, sizeof(work->message));
        }
        kw_secret_free(secret);
    }
    return NULL;
}

static struct work *work_new(const char *module, size_t sessions, unsigned rounds)
{
    struct work *work = calloc(1, sizeof(*work));
    assert_non_null(work);
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(module, hsm.uri, hsm.pin, sessions, &work->token, &err) != KW_OK)
        fail_msg("%s", err.message);
    work->rounds = rounds;
    for (size_t i = 0; i < 2; i++) {
        work->keys[i] = hsm_find_key(work->token, keys[i].label);
        for (int alg = 0; alg < KW_WRAP_ALG_COUNT; alg++)
            (void)hsm_wrap(&work->keys[i], (enum kw_wrap_alg)alg, work->wrapped[i][alg]);
    }
    return work;
}

static void start_all(struct work *work, pthread_t threads[THREADS])
{
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decrypt_again_and_again, work), 0);
}

static void join_all(pthread_t threads[THREADS])
{
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void work_free(struct work *work)
{
    kw_token_free(work->token);
    free(work);
}

static void eight_threads_on_two_sessions(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct work *work = work_new(hsm_fault_path(), 2, ROUNDS);
    pthread_t threads[THREADS];
    start_all(work, threads);
    join_all(threads);
    if (atomic_load(&work->bad))
        fail_msg("%s", work->message);
    assert_int_equal(atomic_load(&work->good), THREADS * ROUNDS);
    assert_in_range(fault->most_sessions, 2, 3); /* and the anchor */
    work_free(work);
    assert_int_equal(fault->sessions, 0);
}

/* The token gives fewer sessions than the pool may have. */
static void a_token_with_few_sessions(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->max_sessions = 3;
    struct work *work = work_new(hsm_fault_path(), 8, 20);
    pthread_t threads[THREADS];
    start_all(work, threads);
    join_all(threads);
    if (atomic_load(&work->bad))
        fail_msg("%s", work->message);
    work_free(work);
    assert_int_equal(fault->sessions, 0);
}

static void a_token_with_one_session(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->max_sessions = 1;
    struct kw_token *token = NULL;
    assert_int_equal(hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 8, &token, NULL), KW_OK);
    struct kw_token_key *all = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_token_keys(token, &all, &count, &err), KW_TOKEN);
    assert_non_null(strstr(err.message, "no further session"));
    kw_token_free(token);
}

/* Logging out and closing all sessions under the threads' feet: some calls may be hit twice in a
 * row, but the token comes back, and nothing else than a lost session is ever the reason. */
static void losses_under_load(void **state)
{
    (void)state;
    SOFTHSM_NEEDED(); /* opencryptoki 3.8 crashes when a key in use goes with somebody's login */
    struct work *work = work_new(hsm.module, 3, 60);
    pthread_t threads[THREADS];
    start_all(work, threads);
    for (int i = 0; i < 10; i++) {
        (void)usleep(20000);
        CK_SESSION_HANDLE session;
        if (hsm_functions()->C_OpenSession(hsm_slot(hsm.uri), CKF_SERIAL_SESSION, NULL, NULL,
                                           &session) != CKR_OK)
            continue;
        (void)hsm_functions()->C_Logout(session);
        (void)hsm_functions()->C_CloseSession(session);
    }
    join_all(threads);
    unsigned good = atomic_load(&work->good), bad = atomic_load(&work->bad);
    print_message("%u good, %u bad %s\n", good, bad, work->message);
    assert_int_equal(good + bad, THREADS * 60);
    assert_true(good > bad * 10);
    for (size_t i = 0; i < 2; i++)
        hsm_assert_unwraps(work->token, &work->keys[i], KW_RSA_OAEP);
    work_free(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_threads_on_two_sessions),
        cmocka_unit_test(a_token_with_few_sessions),
        cmocka_unit_test(a_token_with_one_session),
        cmocka_unit_test(losses_under_load),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
