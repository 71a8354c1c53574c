/* The worker pool. */
#include <stdatomic.h>
#include <time.h>

#include "support.h"

#define ITEMS   1000
#define WORKERS 16

struct tally {
    atomic_uint done[ITEMS];
    atomic_uint by_worker[WORKERS];
    atomic_size_t total;
    size_t stop_at; /* the item that ends it */
    atomic_bool busy[WORKERS];
    atomic_bool shared; /* two calls of one worker at a time */
    size_t last[WORKERS];
    atomic_bool disordered;
};

static bool work(void *context, unsigned worker, size_t item)
{
    struct tally *tally = context;
    if (worker >= WORKERS || item >= ITEMS || atomic_exchange(&tally->busy[worker], true))
        atomic_store(&tally->shared, true);
    if (tally->by_worker[worker] > 0 && item <= tally->last[worker])
        atomic_store(&tally->disordered, true);
    tally->last[worker] = item;
    atomic_fetch_add(&tally->done[item], 1);
    atomic_fetch_add(&tally->by_worker[worker], 1);
    atomic_fetch_add(&tally->total, 1);
    if (item > tally->stop_at || item % 100 == 0) /* time for the others to see the stop */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    atomic_store(&tally->busy[worker], false);
    return item != tally->stop_at;
}

static struct tally *run(unsigned workers, size_t count, size_t stop_at)
{
    struct tally *tally = calloc(1, sizeof(*tally));
    assert_non_null(tally);
    tally->stop_at = stop_at;
    assert_int_equal(kw_pool_run(workers, count, work, tally, NULL), KW_OK);
    assert_false(tally->shared);
    assert_false(tally->disordered);
    return tally;
}

static void every_item_once(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 15, 16, 17, ITEMS};
    for (unsigned workers = 0; workers <= WORKERS; workers++) {
        for (size_t i = 0; i < KW_COUNT(counts); i++) {
            struct tally *tally = run(workers, counts[i], SIZE_MAX);
            assert_int_equal(tally->total, counts[i]);
            for (size_t item = 0; item < ITEMS; item++)
                assert_int_equal(tally->done[item], item < counts[i]);
            for (unsigned worker = workers ? workers : 1; worker < WORKERS; worker++)
                assert_int_equal(tally->by_worker[worker], 0);
            free(tally);
        }
    }
}

static void stops_early(void **state)
{
    (void)state;
    struct tally *tally = run(1, ITEMS, 7);
    assert_int_equal(tally->total, 8);
    free(tally);
    for (unsigned workers = 2; workers <= WORKERS; workers++) {
        tally = run(workers, ITEMS, 200);
        /* All before it were taken, and each worker ends what it has. */
        for (size_t item = 0; item <= 200; item++)
            assert_int_equal(tally->done[item], 1);
        assert_true(tally->total < ITEMS);
        free(tally);
    }
}

static bool same_thread(void *context, unsigned worker, size_t item)
{
    (void)item;
    return worker == 0 && pthread_equal(*(pthread_t *)context, pthread_self());
}

static void one_worker_is_the_caller(void **state)
{
    (void)state;
    pthread_t self = pthread_self();
    assert_int_equal(kw_pool_run(1, 10, same_thread, &self, NULL), KW_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),
        cmocka_unit_test(stops_early),
        cmocka_unit_test(one_worker_is_the_caller),
    };
    return cmocka_run_group_tests_name("flow/pool", tests, start_crypto, stop_crypto);
}
