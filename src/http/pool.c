/* Threads that do what the loop must not wait for. */
#include <stdlib.h>
#include <unistd.h>

#include "http/internal.h"

static void give_back(struct kw_http_done *done, struct kw_http_task *task)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&done->mutex);
    bool first = TAILQ_EMPTY(&done->tasks);
    TAILQ_INSERT_TAIL(&done->tasks, task, entry);
    pthread_mutex_unlock(&done->mutex);
    /* Where the counter is full, the loop has been woken often enough. */
    if (first && write(done->wake_fd, &one, sizeof(one)) < 0)
        return;
}

static struct kw_http_task *next_task(struct kw_http_pool *pool, bool was_busy)
{
    pthread_mutex_lock(&pool->mutex);
    pool->busy -= was_busy;
    while (pool->queued == 0 && !pool->stopping)
        pthread_cond_wait(&pool->more, &pool->mutex);
    struct kw_http_task *task = pool->stopping ? NULL : TAILQ_FIRST(&pool->tasks);
    if (task) {
        TAILQ_REMOVE(&pool->tasks, task, entry);
        pool->queued--;
        pool->busy++;
    }
    pthread_mutex_unlock(&pool->mutex);
    return task;
}

static void *work(void *argument)
{
    struct kw_http_pool *pool = argument;
    struct kw_http_task *task = next_task(pool, false);
    for (; task; task = next_task(pool, true)) {
        task->worked = true;
        task->work(task);
        give_back(pool->done, task);
    }
    return NULL;
}

void kw_http_pool_init(struct kw_http_pool *pool, size_t threads, size_t queue_max,
                       struct kw_http_done *done)
{
    /* With default attributes these can't fail on Linux. */
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->more, NULL);
    TAILQ_INIT(&pool->tasks);
    pool->queue_max = queue_max;
    pool->thread_count = threads;
    pool->done = done;
}

enum kw_status kw_http_pool_start(struct kw_http_pool *pool, struct kw_error *err)
{
    pool->threads = calloc(pool->thread_count, sizeof(*pool->threads));
    if (!pool->threads)
        return kw_fail_memory(err);
    enum kw_status status = KW_OK;
    while (!status && pool->started < pool->thread_count) {
        status = kw_thread_start(&pool->threads[pool->started], work, pool, err);
        pool->started += status == KW_OK;
    }
    return status;
}

void kw_http_pool_stop(struct kw_http_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->more);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->started; i++)
        pthread_join(pool->threads[i], NULL);
    pool->started = 0;
    free(pool->threads);
    pool->threads = NULL;
    struct kw_http_task *task;
    while ((task = TAILQ_FIRST(&pool->tasks))) {
        TAILQ_REMOVE(&pool->tasks, task, entry);
        give_back(pool->done, task);
    }
    pool->queued = 0;
}

void kw_http_pool_cleanup(struct kw_http_pool *pool)
{
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->mutex);
}

bool kw_http_pool_take(struct kw_http_pool *pool, struct kw_http_task *task)
{
    pthread_mutex_lock(&pool->mutex);
    bool room = !pool->stopping && pool->queued < pool->queue_max;
    if (room) {
        TAILQ_INSERT_TAIL(&pool->tasks, task, entry);
        pool->queued++;
        pthread_cond_signal(&pool->more);
    }
    pthread_mutex_unlock(&pool->mutex);
    return room;
}

void kw_http_pool_count(struct kw_http_pool *pool, struct kw_http_stats *stats)
{
    pthread_mutex_lock(&pool->mutex);
    stats->queued = pool->queued;
    stats->busy_threads = pool->busy;
    pthread_mutex_unlock(&pool->mutex);
}
