/* pool: workers that take items from one list. */
#include <stdatomic.h>
#include <stdlib.h>

#include "flow/stage.h"

struct pool {
    size_t count;
    bool (*work)(void *context, unsigned worker, size_t item);
    void *context;
    atomic_size_t next;
    atomic_bool ended;
};

struct worker {
    struct pool *pool;
    unsigned number;
    pthread_t thread;
};

static void work_on(struct pool *pool, unsigned number)
{
    while (!atomic_load(&pool->ended)) {
        size_t item = atomic_fetch_add(&pool->next, 1);
        if (item >= pool->count)
            return;
        if (!pool->work(pool->context, number, item))
            atomic_store(&pool->ended, true);
    }
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    work_on(worker->pool, worker->number);
    return NULL;
}

/* The caller's thread is a worker too, so that it goes on with fewer where a thread is refused. */
enum kw_status kw_pool_run(unsigned workers, size_t count,
                           bool (*work)(void *context, unsigned worker, size_t item), void *context,
                           struct kw_error *err)
{
    struct pool pool = {.count = count, .work = work, .context = context};
    size_t wanted = workers < count ? workers : count;
    size_t helpers = wanted > 1 ? wanted - 1 : 0;
    struct worker *threads = calloc(helpers + 1, sizeof(*threads));
    if (!threads)
        return kw_fail_memory(err);

    size_t started = 0;
    for (; started < helpers; started++) {
        threads[started].pool = &pool;
        threads[started].number = (unsigned)started + 1;
        if (kw_thread_start(&threads[started].thread, run_worker, &threads[started], NULL) != KW_OK)
            break;
    }
    work_on(&pool, 0);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i].thread, NULL);
    free(threads);
    return KW_OK;
}
