/* Several processes append at once, and some are killed in the middle of it: what was acknowledged
 * is there, once, and the trail verifies. */
#include <cjson/cJSON.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

#define WRITERS      8
#define KILLS        40
#define INSTANCES    (WRITERS + KILLS)
#define ROTATE_BYTES 20000

/* How many records each writer knows to be on the disk; shared with the writers. */
static volatile uint32_t *acknowledged;
static struct test_signer signer;

static void append_for_ever(unsigned instance)
{
    const struct kw_trail_options options = {.dir = dir, .rotate_bytes = ROTATE_BYTES};
    struct kw_trail *trail = NULL;
    char run[16];
    (void)snprintf(run, sizeof(run), "w%u", instance);
    if (kw_trail_open(crypto, &options, &trail, NULL))
        _exit(2);
    for (uint32_t done = 0;;) {
        struct kw_deed deeds[3];
        uint32_t count = 1 + done % 3;
        for (uint32_t i = 0; i < count; i++)
            deeds[i] = (struct kw_deed){.phase = KW_INTENT,
                                        .op = "unwrap",
                                        .run = run,
                                        .has_bytes = true,
                                        .bytes = done + i};
        if (kw_trail_append(trail, deeds, count, NULL, NULL))
            _exit(3);
        done += count;
        acknowledged[instance] = done;
        if (done % 16 == 0 && kw_trail_checkpoint(trail, &signer.signer, NULL))
            _exit(4);
    }
}

static pid_t start(unsigned instance)
{
    pid_t pid = fork();
    if (pid == 0)
        append_for_ever(instance);
    assert_true(pid > 0);
    return pid;
}

static void stop(pid_t pid)
{
    int status = 0;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    /* None gave up by itself before. */
    assert_true(WIFSIGNALED(status));
}

/* Each writer's own records, which are numbered in `bytes`, come in order and without a gap. */
static enum kw_status count_record(void *context, const char *line, size_t len,
                                   struct kw_error *err)
{
    uint32_t *found = context;
    cJSON *record = NULL;
    assert_int_equal(kw_record_parse(line, len, &record, err), KW_OK);
    const char *run = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run"));
    if (run) {
        unsigned long instance = strtoul(run + 1, NULL, 10);
        const cJSON *number = cJSON_GetObjectItemCaseSensitive(record, "bytes");
        assert_true(instance < INSTANCES);
        assert_int_equal(number->valueint, found[instance]);
        found[instance]++;
    }
    cJSON_Delete(record);
    return KW_OK;
}

static void check_records(void)
{
    uint32_t found[INSTANCES] = {0};
    uint64_t all = 0;
    struct kw_error err;
    assert_ok(kw_trail_read(dir, count_record, found, &err));
    for (unsigned i = 0; i < INSTANCES; i++) {
        assert_true(found[i] >= acknowledged[i]);
        /* At most what was being appended when it was killed. */
        assert_true(found[i] <= acknowledged[i] + 3);
        all += acknowledged[i];
    }
    assert_true(all > WRITERS);
    print_message("%llu records were acknowledged\n", (unsigned long long)all);
}

static void test_killed(void **state)
{
    (void)state;
    pid_t pids[WRITERS];
    unsigned seed = 4;
    for (unsigned i = 0; i < WRITERS; i++)
        pids[i] = start(i);
    for (unsigned i = 0; i < KILLS; i++) {
        const struct timespec wait = {.tv_nsec = 1000000L * (5 + rand_r(&seed) % 60)};
        (void)nanosleep(&wait, NULL);
        unsigned which = (unsigned)rand_r(&seed) % WRITERS;
        stop(pids[which]);
        pids[which] = start(WRITERS + i);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        stop(pids[i]);

    check_records();
    struct kw_verify_options options = {.key_count = 0};
    struct kw_verdict verdict;
    struct kw_error err;
    /* The last one may have been killed in the middle of a line; the next one to append mends it.
     */
    const struct kw_deed last = {.phase = KW_OUTCOME, .op = "run"};
    struct kw_trail *trail = must_open(ROTATE_BYTES);
    assert_ok(kw_trail_append(trail, &last, 1, NULL, &err));
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_ok(kw_trail_verify(crypto, dir, &options, &verdict, &err));
    if (verdict.tamper != KW_GOOD)
        fail_msg("%s", verdict.message);
    assert_int_equal(verdict.signed_records, verdict.records);
    assert_true(verdict.checkpoints > 1);
    check_records();
}

/* Threads share one trail. */
static void *append_some(void *context)
{
    struct kw_trail *trail = context;
    const struct kw_deed deed = {.phase = KW_OUTCOME, .op = "file"};
    for (unsigned i = 0; i < 50; i++) {
        if (kw_trail_append(trail, &deed, 1, NULL, NULL) ||
            (i == 25 && kw_trail_checkpoint(trail, &signer.signer, NULL)))
            return trail;
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(ROTATE_BYTES);
    pthread_t threads[4];
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, append_some, trail), 0);
    for (size_t i = 0; i < KW_COUNT(threads); i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    struct kw_verify_options options = {.key_count = 0};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_ok(kw_trail_verify(crypto, dir, &options, &verdict, &err));
    assert_int_equal(verdict.tamper, KW_GOOD);
    assert_int_equal(verdict.records, 201);
}

static int setup(void **state)
{
    size_t size = INSTANCES * sizeof(*acknowledged);
    void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || setup_group(state))
        return 1;
    acknowledged = shared;
    signer_make(&signer, false);
    return 0;
}

static int teardown(void **state)
{
    signer_free(&signer);
    return teardown_group(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_threads, setup_scratch, teardown_scratch),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
