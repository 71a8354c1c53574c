/* Threads that handlers run in. */
#include <stdlib.h>
#include <unistd.h>

#include "http/internal.h"

struct kw_http_job *kw_http_job_new(struct kw_http_listener *listener)
{
    struct kw_http_job *job = calloc(1, sizeof(*job));
    if (!job)
        return NULL;
    job->listener = listener;
    job->answer.body.max = KW_HTTP_ANSWER_MAX;
    return job;
}

void kw_http_answer_cleanup(struct kw_http_answer *answer)
{
    if (answer->body.data)
        kw_wipe(answer->body.data, answer->body.capacity);
    kw_buffer_cleanup(&answer->body);
    kw_secret_free(answer->secret);
    answer->secret = NULL;
}

void kw_http_job_free(struct kw_http_job *job)
{
    if (!job)
        return;
    kw_http_answer_cleanup(&job->answer);
    kw_http_bytes_cleanup(&job->text);
    kw_http_bytes_cleanup(&job->body);
    kw_http_peer_release(job->peer);
    free(job);
}

static void give_back(struct kw_http_done *done, struct kw_http_job *job)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&done->mutex);
    bool first = TAILQ_EMPTY(&done->jobs);
    TAILQ_INSERT_TAIL(&done->jobs, job, entry);
    pthread_mutex_unlock(&done->mutex);
    /* Where the counter is full, the loop has been woken often enough. */
    if (first && write(done->wake_fd, &one, sizeof(one)) < 0)
        return;
}

static struct kw_http_job *next_job(struct kw_http_pool *pool, bool was_busy)
{
    pthread_mutex_lock(&pool->mutex);
    pool->busy -= was_busy;
    while (pool->queued == 0 && !pool->stopping)
        pthread_cond_wait(&pool->more, &pool->mutex);
    struct kw_http_job *job = pool->stopping ? NULL : TAILQ_FIRST(&pool->jobs);
    if (job) {
        TAILQ_REMOVE(&pool->jobs, job, entry);
        pool->queued--;
        pool->busy++;
    }
    pthread_mutex_unlock(&pool->mutex);
    return job;
}

static void *work(void *argument)
{
    struct kw_http_pool *pool = argument;
    struct kw_http_job *job = next_job(pool, false);
    for (; job; job = next_job(pool, true)) {
        job->listener->handle(job->listener->context, &job->request, &job->answer);
        kw_http_bytes_cleanup(&job->body);
        give_back(pool->done, job);
    }
    return NULL;
}

void kw_http_pool_init(struct kw_http_pool *pool, const struct kw_http_limits *limits,
                       struct kw_http_done *done)
{
    /* With default attributes these can't fail on Linux. */
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->more, NULL);
    TAILQ_INIT(&pool->jobs);
    pool->queue_max = limits->queue;
    pool->thread_count = limits->threads;
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
    struct kw_http_job *job;
    while ((job = TAILQ_FIRST(&pool->jobs))) {
        TAILQ_REMOVE(&pool->jobs, job, entry);
        if (job->connection)
            job->connection->job = NULL;
        kw_http_job_free(job);
    }
    pool->queued = 0;
}

void kw_http_pool_cleanup(struct kw_http_pool *pool)
{
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->mutex);
}

bool kw_http_pool_take(struct kw_http_pool *pool, struct kw_http_job *job)
{
    pthread_mutex_lock(&pool->mutex);
    bool room = pool->queued < pool->queue_max;
    if (room) {
        TAILQ_INSERT_TAIL(&pool->jobs, job, entry);
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
