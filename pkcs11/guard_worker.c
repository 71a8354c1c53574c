/* The threads of a guard. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "guard.h"

#define WATCH_US 50

/* Lets one thread through each time that it is opened. A lock of its own, so that who passes does
 * not meet those who make other calls: each such meeting would cost two switches of threads. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    atomic_bool open;
};

struct kw_worker {
    struct kw_worker *next;
    kw_worker_fn work;
    void *context;
    struct kw_worker_load *load;
    pthread_t thread;
    struct gate given;
    struct gate answered;
    void *job; /* NULL when given: it is to end */
};

/* ---- gates ---- */

static void gate_init(struct gate *gate)
{
    (void)pthread_mutex_init(&gate->lock, NULL); /* can't fail on Linux */
    kw_cond_init(&gate->opened);
}

static void gate_cleanup(struct gate *gate)
{
    (void)pthread_cond_destroy(&gate->opened);
    (void)pthread_mutex_destroy(&gate->lock);
}

static void gate_open(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->open = true;
    (void)pthread_mutex_unlock(&gate->lock);
    (void)pthread_cond_signal(&gate->opened);
}

static void gate_pass(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (!gate->open)
        (void)pthread_cond_wait(&gate->opened, &gate->lock);
    gate->open = false;
    (void)pthread_mutex_unlock(&gate->lock);
}

static bool gate_pass_in_time(struct gate *gate, uint64_t until_ms)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (!gate->open && kw_cond_wait_until(&gate->opened, &gate->lock, until_ms))
        ;
    bool passed = gate->open;
    gate->open = false;
    (void)pthread_mutex_unlock(&gate->lock);
    return passed;
}

/* ---- its thread ---- */

static void worker_free(struct kw_worker *worker)
{
    gate_cleanup(&worker->given);
    gate_cleanup(&worker->answered);
    free(worker);
}

/* The next job most often follows soon, and to be woken on a processor that sleeps takes as long
 * as the caller needs until then. Not where other jobs want the processors. */
static void watch(const struct kw_worker *worker)
{
    const uint64_t end = kw_now_us() + WATCH_US;
    do {
        if (atomic_load(&worker->given.open) ||
            atomic_load(&worker->load->under_way) >= worker->load->processors)
            return;
        (void)sched_yield(); /* never fails on Linux */
    } while (kw_now_us() < end);
}

static void *run(void *argument)
{
    struct kw_worker *worker = argument;
    for (;;) {
        watch(worker);
        gate_pass(&worker->given);
        if (!worker->job)
            return NULL;
        if (!worker->work(worker->context, worker->job)) {
            worker_free(worker);
            return NULL;
        }
        gate_open(&worker->answered);
    }
}

struct kw_worker *kw_worker_new(kw_worker_fn work, void *context, struct kw_worker_load *load)
{
    struct kw_worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return NULL;
    worker->work = work;
    worker->context = context;
    worker->load = load;
    gate_init(&worker->given);
    gate_init(&worker->answered);
    if (kw_thread_start(&worker->thread, run, worker, NULL) != KW_OK) {
        worker_free(worker);
        return NULL;
    }
    return worker;
}

/* ---- whoever has work for it ---- */

bool kw_worker_give(struct kw_worker *worker, void *job, unsigned timeout_ms)
{
    const uint64_t until_ms = kw_now_ms() + timeout_ms;
    worker->job = job;
    gate_open(&worker->given);
    return gate_pass_in_time(&worker->answered, until_ms);
}

void kw_worker_wait(struct kw_worker *worker)
{
    gate_pass(&worker->answered);
}

void kw_worker_abandon(struct kw_worker *worker)
{
    (void)pthread_detach(worker->thread);
}

/* ---- those that have nothing to do ---- */

void kw_worker_put_by(struct kw_worker **idle, struct kw_worker *worker)
{
    worker->next = *idle;
    *idle = worker;
}

struct kw_worker *kw_worker_take(struct kw_worker **idle)
{
    struct kw_worker *worker = *idle;
    if (worker)
        *idle = worker->next;
    return worker;
}

void kw_workers_end(struct kw_worker *idle)
{
    for (struct kw_worker *worker = idle; worker; worker = worker->next) {
        worker->job = NULL;
        gate_open(&worker->given);
    }
    while (idle) {
        struct kw_worker *next = idle->next;
        (void)pthread_join(idle->thread, NULL);
        worker_free(idle);
        idle = next;
    }
}
