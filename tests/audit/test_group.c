/* Threads that append at once: they share the wait for the disk, each is told what became of its
 * own records, and nothing is acknowledged that is not on the disk. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "support.h"

#define THREADS 16
#define EACH    150

static struct test_signer signer;

static int setup(void **state)
{
    if (setup_group(state))
        return 1;
    signer_make(&signer, false);
    return 0;
}

static int teardown(void **state)
{
    signer_free(&signer);
    return teardown_group(state);
}

/* ---- what the linker wraps ---- */

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t from, off_t len);
int __wrap_fallocate(int fd, int mode, off_t from, off_t len);

static atomic_uint syncs;
static atomic_bool gated; /* the next fdatasync waits until all threads have begun */
static atomic_uint begun, wanted;
static atomic_int fail_sync; /* errno of those after the gate */
static atomic_bool full;

int __wrap_fdatasync(int fd)
{
    unsigned number = atomic_fetch_add(&syncs, 1);
    if (atomic_load(&gated) && number == 0) {
        while (atomic_load(&begun) < atomic_load(&wanted))
            (void)usleep(1000);
        (void)usleep(200000); /* so that they stand in the queue */
    } else if (atomic_load(&fail_sync)) {
        errno = atomic_load(&fail_sync);
        return -1;
    }
    return __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t from, off_t len)
{
    if (!atomic_load(&full))
        return __real_fallocate(fd, mode, from, len);
    errno = ENOSPC;
    return -1;
}

int __real_nanosleep(const struct timespec *pause, struct timespec *left);
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);
static atomic_bool pause_gated;

/* As long as it takes the others to come. */
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left)
{
    if (!atomic_exchange(&pause_gated, false))
        return __real_nanosleep(pause, left);
    while (atomic_load(&begun) < atomic_load(&wanted))
        (void)usleep(1000);
    (void)usleep(200000); /* so that they stand in the queue */
    return 0;
}

/* ---- threads ---- */

struct appender {
    struct kw_trail *trail;
    const struct kw_deed *deeds;
    size_t count;
    uint64_t seq;
    bool unhurried;
    enum kw_status status;
    struct kw_error err;
    pthread_t thread;
};

static void *append(void *argument)
{
    struct appender *appender = argument;
    (void)atomic_fetch_add(&begun, 1);
    if (appender->unhurried) {
        appender->status = kw_trail_append_unhurried(appender->trail, appender->deeds,
                                                     appender->count, &appender->err);
        return NULL;
    }
    appender->status = kw_trail_append(appender->trail, appender->deeds, appender->count,
                                       &appender->seq, &appender->err);
    return NULL;
}

/* One after the other, where the first is at the disk while the others come. */
static void append_together(struct appender *appenders, size_t count)
{
    atomic_store(&syncs, 0);
    atomic_store(&begun, 0);
    atomic_store(&wanted, (unsigned)count);
    atomic_store(&gated, true);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(pthread_create(&appenders[i].thread, NULL, append, &appenders[i]), 0);
        while (atomic_load(&syncs) == 0)
            (void)usleep(1000); /* the first one leads */
    }
    for (size_t i = 0; i < count; i++)
        assert_int_equal(pthread_join(appenders[i].thread, NULL), 0);
    atomic_store(&gated, false);
}

static struct kw_verdict verify(void)
{
    const struct kw_verify_options options = {.key_count = 0};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_ok(kw_trail_verify(crypto, dir, &options, &verdict, &err));
    return verdict;
}

static const struct kw_deed intent = {.phase = KW_INTENT, .op = "unwrap"};
static const struct kw_deed outcome = {.phase = KW_OUTCOME, .op = "unwrap"};
static const struct kw_deed unannounced = {
    .phase = KW_OUTCOME, .unannounced = true, .op = "serve.denied"};

static void many_share_one_wait(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(0);
    struct appender appenders[THREADS];
    bool seen[THREADS + 1] = {false};
    for (size_t i = 0; i < THREADS; i++)
        appenders[i] = (struct appender){.trail = trail, .deeds = &intent, .count = 1};
    append_together(appenders, THREADS);
    assert_int_equal(syncs, 2);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(appenders[i].status, KW_OK);
        assert_in_range(appenders[i].seq, 1, THREADS);
        assert_false(seen[appenders[i].seq]);
        seen[appenders[i].seq] = true;
    }
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, THREADS + 1);
}

static void who_can_wait_takes_the_others_along(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(0);
    struct appender appenders[THREADS];
    atomic_store(&syncs, 0);
    atomic_store(&begun, 0);
    atomic_store(&wanted, THREADS);
    atomic_store(&pause_gated, true);
    for (size_t i = 0; i < THREADS; i++) {
        appenders[i] = (struct appender){
            .trail = trail, .deeds = &intent, .count = 1, .unhurried = i % 2 == 0};
        assert_int_equal(pthread_create(&appenders[i].thread, NULL, append, &appenders[i]), 0);
        for (unsigned ms = 0; atomic_load(&pause_gated) && ms < 5000; ms++)
            (void)usleep(1000); /* the first one leads */
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(appenders[i].thread, NULL), 0);
    assert_int_equal(syncs, 1);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(appenders[i].status, KW_OK);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, THREADS + 1);
}

/* More than fit one append. */
static void the_rest_waits_for_the_next(void **state)
{
    (void)state;
    static struct kw_deed deeds[KW_DEEDS_MAX];
    struct kw_trail *trail = must_open(0);
    struct appender appenders[4];
    for (size_t i = 0; i < KW_DEEDS_MAX; i++)
        deeds[i] = intent;
    for (size_t i = 0; i < 4; i++)
        appenders[i] = (struct appender){
            .trail = trail, .deeds = deeds, .count = i == 3 ? KW_DEEDS_MAX : KW_DEEDS_MAX / 2};
    append_together(appenders, 4);
    assert_in_range(syncs, 3, 4); /* by the order in which they came */
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(appenders[i].status, KW_OK);
    kw_trail_free(trail);
    assert_int_equal(verify().records, 1 + 5 * KW_DEEDS_MAX / 2);
    assert_int_equal(verify().tamper, KW_GOOD);
}

static void a_failed_wait_fails_for_all(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(0);
    struct appender appenders[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        appenders[i] = (struct appender){.trail = trail, .deeds = &intent, .count = 1, .seq = 77};
    atomic_store(&fail_sync, EIO);
    append_together(appenders, THREADS);
    atomic_store(&fail_sync, 0);
    assert_int_equal(appenders[0].status, KW_OK);
    for (size_t i = 1; i < THREADS; i++) {
        assert_int_equal(appenders[i].status, KW_AUDIT);
        assert_int_equal(appenders[i].err.status, KW_AUDIT);
        assert_non_null(strstr(appenders[i].err.message, "can't be brought to the disk"));
        assert_int_equal(appenders[i].seq, 77);
    }
    must_append(trail, 1);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, 3);
}

/* What was begun is finished in the room that was reserved, whatever waits beside it. */
static void outcomes_go_on_where_intents_cannot(void **state)
{
    (void)state;
    const struct kw_deed *const deeds[] = {&outcome, &intent, &unannounced};
    struct kw_trail *trail = must_open(0);
    struct appender appenders[9];
    uint64_t seq = 0;
    struct kw_error err;
    atomic_store(&full, true);
    while (kw_trail_append(trail, &intent, 1, &seq, &err) == KW_OK)
        assert_true(seq < 100000);
    for (size_t i = 0; i < KW_COUNT(appenders); i++)
        appenders[i] = (struct appender){.trail = trail, .deeds = deeds[i % 3], .count = 1};
    append_together(appenders, KW_COUNT(appenders));
    atomic_store(&full, false);
    for (size_t i = 0; i < KW_COUNT(appenders); i++) {
        assert_int_equal(appenders[i].status, i % 3 ? KW_AUDIT : KW_OK);
        if (i % 3)
            assert_non_null(strstr(appenders[i].err.message, "no room"));
    }
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, seq + 1 + 3);
}

/* ---- at full speed, with files that are full soon and checkpoints in between ---- */

struct writer {
    struct kw_trail *trail;
    unsigned number;
    uint64_t seqs[EACH];
    pthread_t thread;
};

static void *write_many(void *argument)
{
    struct writer *writer = argument;
    char run[16];
    (void)snprintf(run, sizeof(run), "%u", writer->number);
    for (unsigned i = 0; i < EACH; i++) {
        const struct kw_deed deed = {
            .phase = KW_INTENT, .op = "unwrap", .run = run, .has_bytes = true, .bytes = i};
        if (kw_trail_append(writer->trail, &deed, 1, &writer->seqs[i], NULL) != KW_OK)
            abort();
        if (writer->number == 0 && i % 16 == 0 &&
            kw_trail_checkpoint(writer->trail, &signer.signer, NULL) != KW_OK)
            abort();
    }
    return NULL;
}

static enum kw_status find_record(void *context, const char *line, size_t len, struct kw_error *err)
{
    struct writer *writers = context;
    cJSON *record = NULL;
    assert_int_equal(kw_record_parse(line, len, &record, err), KW_OK);
    const char *run = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run"));
    if (run) {
        unsigned long number = strtoul(run, NULL, 10);
        int i = cJSON_GetObjectItemCaseSensitive(record, "bytes")->valueint;
        uint64_t seq = 0;
        assert_true(number < THREADS && i >= 0 && i < EACH && kw_record_seq(line, len, &seq));
        assert_int_equal(writers[number].seqs[i], seq);
        writers[number].seqs[i] = UINT64_MAX; /* not a second time */
    }
    cJSON_Delete(record);
    return KW_OK;
}

static void each_record_is_there_once(void **state)
{
    (void)state;
    static struct writer writers[THREADS];
    struct kw_trail *trail = must_open(20000);
    struct kw_error err;
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){.trail = trail, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_ok(kw_trail_read(dir, find_record, writers, &err));
    for (unsigned i = 0; i < THREADS; i++)
        for (unsigned j = 0; j < EACH; j++)
            assert_int_equal(writers[i].seqs[j], UINT64_MAX);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, THREADS * EACH + 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_scratch, teardown_scratch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(many_share_one_wait),
        CASE(who_can_wait_takes_the_others_along),
        CASE(the_rest_waits_for_the_next),
        CASE(a_failed_wait_fails_for_all),
        CASE(outcomes_go_on_where_intents_cannot),
        CASE(each_record_is_there_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
