/* Two keyrings of one token in one process, on one audit trail: threads unwrap by the one while
 * keys are made, changed and purged by the other, and neither is in the other's way. */
#include "ring.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#define MADE    "kw-made"
#define THREADS 4
#define TEXTS   (KW_KEPT_DATA_KEYS / THREADS + 20) /* each: so that not all of them are kept */
#define OPENERS 6

static char trail_path[128];

/* A trail for each test. */
static void new_trail(void)
{
    static unsigned trails;
    char text[512];
    (void)snprintf(trail_path, sizeof(trail_path), "%s/trail-%u", hsm.folder, trails++);
    (void)snprintf(text, sizeof(text),
                   "[keys]\nrecords-key = " RING_SIGNER "\n[audit]\ndir = %s\n"
                   "checkpoint-interval = 1\n",
                   trail_path);
    ring_put_text(ring_config, text);
}

/* The key, and no program that is logged in. */
static struct kw_fault *begin(void)
{
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    if (ring_count(token, RING_SIGNER) == 0) {
        /* Nobody is to make one while calls are counted. */
        struct kw_keyring *keyring = ring_open();
        assert_int_equal(
            kw_keyring_step(keyring, ring_find(keyring, RING_NAME), KW_STEP_ENABLE, NULL), KW_OK);
        kw_keyring_free(keyring);
    }
    kw_token_free(token);
    new_trail();
    return hsm_fault();
}

/* ---- threads that unwrap ---- */

struct crew {
    struct kw_keyring *keyring;
    const struct kw_token_key *key;
    uint8_t wrapped[THREADS][TEXTS][KW_RSA_MAX_BYTES];
    size_t len;
    pthread_t threads[THREADS];
    pthread_rwlock_t work; /* held to write: nobody is in the middle of something */
    atomic_uint next_thread;
    atomic_bool stop;
    atomic_uint good, bad;
    char message[KW_MESSAGE_SIZE]; /* of the first that failed */
    atomic_flag message_taken;
};

/* cmocka's assertions are for the main thread only. */
static void unwrap_one(struct crew *crew, const uint8_t *wrapped)
{
    static const struct kw_unwrap_policy policy = {.alg = KW_RSA_OAEP};
    static const struct kw_purpose purpose = {.run = "two"};
    struct kw_data_key data_key = {.secret = NULL};
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_keyring_unwrap(crew->keyring, crew->key, &policy, &purpose, wrapped,
                                              crew->len, &data_key, &err);
    if (!status && hsm_is_known_secret(data_key.secret)) {
        atomic_fetch_add(&crew->good, 1);
    } else {
        atomic_fetch_add(&crew->bad, 1);
        if (!atomic_flag_test_and_set(&crew->message_taken))
            memcpy(crew->message, err.message, sizeof(crew->message));
    }
    kw_data_key_cleanup(&data_key);
}

static void *unwrap_again_and_again(void *context)
{
    struct crew *crew = context;
    unsigned thread = atomic_fetch_add(&crew->next_thread, 1);
    for (unsigned i = 0; !atomic_load(&crew->stop); i++) {
        (void)pthread_rwlock_rdlock(&crew->work);
        unwrap_one(crew, crew->wrapped[thread][i % TEXTS]);
        (void)pthread_rwlock_unlock(&crew->work);
    }
    return NULL;
}

static struct crew *start_crew(struct kw_keyring *keyring)
{
    struct crew *crew = calloc(1, sizeof(*crew));
    assert_non_null(crew);
    pthread_rwlockattr_t attributes;
    assert_int_equal(pthread_rwlockattr_init(&attributes), 0);
    assert_int_equal(
        pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP),
        0);
    assert_int_equal(pthread_rwlock_init(&crew->work, &attributes), 0);
    (void)pthread_rwlockattr_destroy(&attributes);
    crew->keyring = keyring;
    crew->key = ring_find(keyring, RING_NAME);
    for (size_t i = 0; i < THREADS; i++)
        for (size_t k = 0; k < TEXTS; k++)
            crew->len = hsm_wrap(crew->key, KW_RSA_OAEP, crew->wrapped[i][k]);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&crew->threads[i], NULL, unwrap_again_and_again, crew), 0);
    return crew;
}

/* They unwrap for a while. */
static void let_crew_work(struct crew *crew)
{
    unsigned before = atomic_load(&crew->good);
    for (int i = 0; i < 10000 && atomic_load(&crew->good) < before + 2 * THREADS &&
                    atomic_load(&crew->bad) == 0;
         i++)
        (void)usleep(1000);
}

static void end_crew(struct crew *crew)
{
    atomic_store(&crew->stop, true);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(crew->threads[i], NULL), 0);
    if (atomic_load(&crew->bad))
        fail_msg("%u of %u: %s", atomic_load(&crew->bad), atomic_load(&crew->good), crew->message);
    assert_true(atomic_load(&crew->good) > 0);
    (void)pthread_rwlock_destroy(&crew->work);
    free(crew);
}

/* ---- the trail ---- */

static enum kw_status count_phase(void *context, const char *line, size_t len, struct kw_error *err)
{
    long *open = context;
    cJSON *record = NULL;
    enum kw_status status = kw_record_parse(line, len, &record, err);
    const char *phase = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "phase"));
    if (phase && strcmp(phase, "intent") == 0)
        open[0]++;
    else if (phase && strcmp(phase, "outcome") == 0)
        open[1]++;
    cJSON_Delete(record);
    return status;
}

/* It verifies, all of it is signed, and each intent has its outcome. */
static void assert_trail(void)
{
    static const struct kw_verify_options options;
    struct kw_verdict verdict;
    long phases[2] = {0, 0};
    struct kw_error err = {.status = KW_OK};
    if (kw_trail_verify(hsm.crypto, trail_path, &options, &verdict, &err) != KW_OK)
        fail_msg("%s", err.message);
    if (verdict.tamper != KW_GOOD)
        fail_msg("%s", verdict.message);
    assert_int_equal(verdict.signed_records, verdict.records);
    assert_int_equal(kw_trail_read(trail_path, count_phase, phases, NULL), KW_OK);
    assert_true(phases[0] > 0);
    assert_int_equal(phases[0], phases[1]);
}

static void close_keyring(struct kw_keyring *keyring)
{
    kw_keyring_close_trail(keyring);
    kw_keyring_free(keyring);
}

/* ---- what is managed ---- */

static const struct kw_version *newest(struct kw_keyring *keyring, const char *name,
                                       struct kw_version **ret_versions, size_t *ret_count)
{
    struct kw_error err = {.status = KW_OK};
    kw_keyring_refresh(keyring);
    enum kw_status status = kw_keyring_versions(keyring, name, ret_versions, ret_count, &err);
    if (status != KW_OK && status != KW_KEY_NOT_FOUND)
        fail_msg("%s", err.message);
    if (status)
        *ret_count = 0;
    return *ret_count ? &(*ret_versions)[0] : NULL;
}

static void must(enum kw_status status, const struct kw_error *err)
{
    if (status)
        fail_msg("%s", err->message);
}

static void create(struct kw_keyring *keyring)
{
    static const unsigned ops = KW_OP_WRAP | KW_OP_UNWRAP;
    static const struct kw_key_settings settings = {.ops = &ops};
    static const struct kw_new_key wanted = {.name = MADE,
                                             .bits = 2048,
                                             .not_before = "",
                                             .expires = "",
                                             .use = KW_USE_ALL,
                                             .settings = &settings};
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    must(kw_keyring_create(keyring, &wanted, &key, &err), &err);
}

static void rotate(struct kw_keyring *keyring)
{
    static const struct kw_new_key wanted = {.name = MADE, .not_before = "", .expires = ""};
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    must(kw_keyring_rotate(keyring, &wanted, &key, &err), &err);
}

static void step_all(struct kw_keyring *keyring, enum kw_key_step step)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    (void)newest(keyring, MADE, &versions, &count);
    for (size_t i = 0; i < count; i++)
        must(kw_keyring_step(keyring, versions[i].key, step, &err), &err);
    free(versions);
}

static void purge_all(struct kw_keyring *keyring)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    (void)newest(keyring, MADE, &versions, &count);
    for (size_t i = 0; i < count; i++)
        must(kw_keyring_purge(keyring, versions[i].key, &err), &err);
    free(versions);
}

/* A key's whole life. */
static void manage(struct kw_keyring *keyring)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    static const unsigned ops = KW_OP_SIGN;
    create(keyring);
    const struct kw_version *version = newest(keyring, MADE, &versions, &count);
    assert_int_equal(count, 1);
    must(kw_keyring_update(keyring, version->key, &(struct kw_key_settings){.ops = &ops}, &err),
         &err);
    free(versions);
    kw_keyring_refresh(keyring);
    rotate(keyring);
    step_all(keyring, KW_STEP_DISABLE);
    step_all(keyring, KW_STEP_DELETE);
    purge_all(keyring);
    assert_null(newest(keyring, MADE, &versions, &count));
}

/* ---- side by side ---- */

static void management_beside_unwrapping(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = begin();
    struct kw_keyring *worker = ring_open();
    struct crew *crew = start_crew(worker);
    for (int i = 0; i < 3; i++) {
        struct kw_keyring *manager = ring_open();
        manage(manager);
        close_keyring(manager);
        let_crew_work(crew);
    }
    end_crew(crew);
    /* One login is for all of the process, and none takes it or the module away. */
    assert_int_equal(fault->logins, 1);
    assert_int_equal(fault->initializes, 1);
    assert_int_equal(fault->finalizes, 0);
    close_keyring(worker);
    assert_int_equal(fault->finalizes, 1);
    assert_int_equal(fault->sessions, 0);
    assert_trail();
}

/* The one that logged in closes first. */
static void the_first_one_closes_first(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = begin();
    struct kw_keyring *first = ring_open();
    (void)ring_find(first, RING_NAME);
    struct kw_keyring *second = ring_open();
    struct crew *crew = start_crew(second);
    close_keyring(first);
    let_crew_work(crew);
    end_crew(crew);
    manage(second);
    assert_int_equal(fault->logins, 1);
    assert_int_equal(fault->finalizes, 0);
    close_keyring(second);
    assert_int_equal(fault->sessions, 0);
    assert_trail();
}

struct opener {
    pthread_t thread;
    pthread_barrier_t *start;
    enum kw_status status;
    struct kw_error err;
};

static void *open_and_use(void *context)
{
    struct opener *opener = context;
    const struct kw_keyring_options options = {.token = ring_uri, .config_file = ring_config};
    struct kw_keyring *keyring = NULL;
    const struct kw_token_key *key = NULL;
    (void)pthread_barrier_wait(opener->start);
    for (int i = 0; i < 3 && !opener->status; i++) {
        opener->status = kw_keyring_open(&options, &keyring, &opener->err);
        if (!opener->status)
            opener->status = kw_keyring_find(keyring, RING_NAME, NULL, &key, &opener->err);
        if (!opener->status)
            opener->status = kw_keyring_check_use(keyring, key, &opener->err);
        close_keyring(keyring);
        keyring = NULL;
    }
    return NULL;
}

/* Logging in, starting the module and ending it meet in every order. */
static void opened_at_the_same_time(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = begin();
    struct opener openers[OPENERS];
    pthread_barrier_t start;
    memset(openers, 0, sizeof(openers));
    assert_int_equal(pthread_barrier_init(&start, NULL, OPENERS), 0);
    for (size_t i = 0; i < OPENERS; i++) {
        openers[i].start = &start;
        assert_int_equal(pthread_create(&openers[i].thread, NULL, open_and_use, &openers[i]), 0);
    }
    for (size_t i = 0; i < OPENERS; i++)
        assert_int_equal(pthread_join(openers[i].thread, NULL), 0);
    for (size_t i = 0; i < OPENERS; i++)
        if (openers[i].status)
            fail_msg("%s", openers[i].err.message);
    (void)pthread_barrier_destroy(&start);
    assert_int_equal(fault->sessions, 0);
    assert_int_equal(fault->initializes, fault->finalizes);
}

/* ---- what is lost is lost for both ---- */

static void close_all_sessions(void)
{
    assert_int_equal(hsm_functions()->C_CloseAllSessions(hsm_slot(hsm.uri)), CKR_OK);
}

static void log_out(void)
{
    CK_SESSION_HANDLE session;
    assert_int_equal(
        hsm_functions()->C_OpenSession(hsm_slot(hsm.uri), CKF_SERIAL_SESSION, NULL, NULL, &session),
        CKR_OK);
    assert_int_equal(hsm_functions()->C_Logout(session), CKR_OK);
    hsm_close(session);
}

static void end_module(void)
{
    assert_int_equal(hsm_functions()->C_Finalize(NULL), CKR_OK);
}

static void both_come_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static void (*const losses[])(void) = {close_all_sessions, log_out, end_module};
    for (size_t i = 0; i < 2 * KW_COUNT(losses); i++) {
        (void)begin();
        struct kw_keyring *worker = ring_open(), *manager = ring_open();
        const struct kw_token_key *key = ring_find(worker, RING_NAME);
        assert_int_equal(ring_unwrap(worker, key), KW_OK);
        (void)ring_find(manager, RING_NAME);
        losses[i / 2]();
        if (i % 2)
            manage(manager);
        struct crew *crew = start_crew(worker);
        if (i % 2 == 0)
            manage(manager);
        let_crew_work(crew);
        end_crew(crew);
        close_keyring(manager);
        close_keyring(worker);
        assert_trail();
    }
}

/* All threads and the other keyring find out at once. SoftHSM2 does not bear that sessions are
 * closed while they are used. */
static void lost_while_many_work(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)begin();
    struct kw_keyring *worker = ring_open(), *manager = ring_open();
    struct kw_version *versions = NULL;
    size_t count = 0;
    struct crew *crew = start_crew(worker);
    for (int i = 0; i < 5; i++) {
        (void)pthread_rwlock_wrlock(&crew->work);
        close_all_sessions();
        (void)pthread_rwlock_unlock(&crew->work);
        (void)newest(manager, RING_NAME, &versions, &count);
        assert_int_equal(count, 1);
        free(versions);
        let_crew_work(crew);
    }
    end_crew(crew);
    close_keyring(manager);
    close_keyring(worker);
    assert_trail();
}

/* Calls may be lost then, but not the token. */
static void started_anew_while_many_work(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_RV answers[] = {CKR_DEVICE_ERROR, CKR_CRYPTOKI_NOT_INITIALIZED,
                                    CKR_TOKEN_NOT_PRESENT};
    struct kw_fault *fault = begin();
    struct kw_keyring *worker = ring_open(), *manager = ring_open();
    manage(manager);
    struct crew *crew = start_crew(worker);
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        let_crew_work(crew);
        atomic_store(&fault->start_mends, true);
        atomic_store(&fault->down, answers[i]);
        for (int ms = 0; ms < 60000 && atomic_load(&fault->down) != CKR_OK; ms++)
            (void)usleep(1000);
        assert_int_equal(atomic_load(&fault->down), CKR_OK);
        unsigned before = atomic_load(&crew->good);
        for (int ms = 0; ms < 60000 && atomic_load(&crew->good) < before + 4 * THREADS; ms++)
            (void)usleep(1000);
        atomic_store(&crew->bad, 0);
        manage(manager);
    }
    end_crew(crew);
    assert_int_equal(fault->crowded, 0);
    close_keyring(manager);
    close_keyring(worker);
    assert_int_equal(fault->sessions, 0);
    assert_trail();
}

/* ---- reading anew ---- */

static void what_the_other_one_did(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)begin();
    struct kw_keyring *reader = ring_open(), *manager = ring_open();
    struct kw_version *versions = NULL, *theirs = NULL;
    size_t count = 0, their_count = 0;
    struct kw_error err = {.status = KW_OK};
    struct kw_token_key changed;
    static const struct kw_key_change rename = {.label = "kw-renamed"}, back = {.label = MADE};
    assert_null(newest(reader, MADE, &versions, &count));

    create(manager);
    const struct kw_version *seen = newest(reader, MADE, &versions, &count);
    assert_int_equal(count, 1);
    assert_true(seen->record->ops == (KW_OP_WRAP | KW_OP_UNWRAP) && seen->key->decrypt);
    free(versions);

    const struct kw_version *version = newest(manager, MADE, &theirs, &their_count);
    must(kw_keyring_change(manager, version->key, &rename, &changed, &err), &err);
    assert_null(newest(reader, MADE, &versions, &count));
    assert_non_null(newest(reader, "kw-renamed", &versions, &count));
    free(versions);
    must(kw_keyring_change(manager, version->key, &back, &changed, &err), &err);
    must(
        kw_keyring_update(manager, version->key, &(struct kw_key_settings){.enabled = KW_NO}, &err),
        &err);
    free(theirs);
    seen = newest(reader, MADE, &versions, &count);
    assert_true(count == 1 && kw_key_state(seen->record) == KW_KEY_DISABLED && !seen->key->decrypt);
    assert_int_equal(kw_keyring_check_use(reader, seen->key, NULL), KW_KEY_UNUSABLE);
    free(versions);

    /* In one second, and yet the newest one is the newest. */
    kw_keyring_refresh(manager);
    rotate(manager);
    seen = newest(reader, MADE, &versions, &count);
    assert_true(count == 2 && kw_key_state(seen->record) == KW_KEY_ENABLED);
    assert_true(strcmp(seen->record->created, versions[1].record->created) > 0);
    free(versions);

    step_all(manager, KW_STEP_DELETE);
    seen = newest(reader, MADE, &versions, &count);
    assert_true(count == 2 && kw_key_state(seen->record) == KW_KEY_DELETED);
    free(versions);
    purge_all(manager);
    assert_null(newest(reader, MADE, &versions, &count));
    close_keyring(manager);
    close_keyring(reader);
    assert_trail();
}

/* A token that can't be read anew leaves what was known: that a key is disabled above all. */
static void a_token_that_fails_meanwhile(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = begin();
    struct kw_keyring *reader = ring_open(), *manager = ring_open();
    struct kw_version *versions = NULL, *again = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    must(kw_keyring_step(manager, ring_find(manager, RING_NAME), KW_STEP_DISABLE, &err), &err);
    const struct kw_version *seen = newest(reader, RING_NAME, &versions, &count);
    assert_int_equal(kw_key_state(seen->record), KW_KEY_DISABLED);
    for (int i = 0; i < 2; i++) {
        atomic_store(&fault->down, CKR_DEVICE_ERROR);
        kw_keyring_refresh(reader);
        assert_int_equal(kw_keyring_versions(reader, RING_NAME, &again, &count, NULL), KW_TOKEN);
        assert_int_equal(kw_key_state(seen->record), KW_KEY_DISABLED);
        assert_int_equal(kw_keyring_check_use(reader, seen->key, NULL), KW_KEY_UNUSABLE);
        assert_int_equal(ring_unwrap(reader, seen->key), KW_KEY_UNUSABLE);
        atomic_store(&fault->down, CKR_OK);
        must(kw_keyring_versions(reader, RING_NAME, &again, &count, &err), &err);
        assert_true(count == 1 && again[0].key == seen->key);
        free(again);
        assert_int_equal(ring_unwrap(reader, seen->key), KW_KEY_UNUSABLE);
    }
    free(versions);
    must(kw_keyring_step(manager, ring_find(manager, RING_NAME), KW_STEP_ENABLE, &err), &err);
    seen = newest(reader, RING_NAME, &versions, &count);
    assert_int_equal(ring_unwrap(reader, seen->key), KW_OK);
    free(versions);
    close_keyring(manager);
    close_keyring(reader);
    assert_trail();
}

/* It fails at each step of reading anew, also between the keys and their records. */
static void a_token_that_fails_while_it_is_read_anew(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = begin();
    struct kw_keyring *reader = ring_open(), *manager = ring_open();
    struct kw_version *versions = NULL, *again = NULL;
    size_t count = 0, failures = 0;
    enum kw_status status = KW_TOKEN;
    create(manager);
    const struct kw_version *seen = newest(reader, MADE, &versions, &count);
    const struct kw_token_key *stays = ring_find(reader, RING_NAME);
    assert_non_null(seen);
    for (unsigned at = 1; status && at < 200; at++) {
        kw_keyring_refresh(reader);
        fault->calls = 0;
        fault->fail_answer = CKR_DEVICE_ERROR;
        fault->fail_calls = 1000;
        fault->fail_at = at;
        status = kw_keyring_versions(reader, NULL, &again, &count, NULL);
        fault->fail_at = 0;
        if (status) {
            assert_int_equal(status, KW_TOKEN);
            assert_string_equal(seen->key->label, MADE);
            assert_true(seen->record->ops == (KW_OP_WRAP | KW_OP_UNWRAP));
            assert_int_equal(kw_keyring_check_use(reader, seen->key, NULL), KW_OK);
            assert_int_equal(ring_unwrap(reader, stays), KW_OK);
            failures++;
        }
    }
    assert_int_equal(status, KW_OK);
    assert_true(failures > 8);
    free(again);
    free(versions);
    step_all(manager, KW_STEP_DELETE);
    purge_all(manager);
    close_keyring(manager);
    close_keyring(reader);
    assert_trail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(management_beside_unwrapping),
        cmocka_unit_test(the_first_one_closes_first),
        cmocka_unit_test(opened_at_the_same_time),
        cmocka_unit_test(both_come_back),
        cmocka_unit_test(lost_while_many_work),
        cmocka_unit_test(started_anew_while_many_work),
        cmocka_unit_test(what_the_other_one_did),
        cmocka_unit_test(a_token_that_fails_meanwhile),
        cmocka_unit_test(a_token_that_fails_while_it_is_read_anew),
    };
    return cmocka_run_group_tests_name("keys/two_keyrings", tests, ring_setup, ring_teardown);
}
