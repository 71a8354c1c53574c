/* Threads. */
#include <errno.h>
#include <sched.h>
#include <signal.h>

#include "base/base.h"

/* None of these can fail on Linux. */
void kw_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
}

bool kw_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t when_ms)
{
    const struct timespec when = {.tv_sec = (time_t)(when_ms / 1000),
                                  .tv_nsec = (long)(when_ms % 1000) * 1000000L};
    return pthread_cond_timedwait(cond, lock, &when) != ETIMEDOUT;
}

enum kw_status kw_thread_start(pthread_t *ret_thread, void *(*run)(void *argument), void *argument,
                               struct kw_error *err)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    int code = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (code != 0)
        return kw_fail_errno(err, KW_FAULT, code, "signals can't be blocked for a new thread");
    code = pthread_create(ret_thread, NULL, run, argument);
    int restored = pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0)
        code = restored; /* can't fail: the call before it did not */
    if (code != 0)
        return kw_fail_errno(err, KW_NO_MEMORY, code,
                             "a thread can't be started; allow more of them, or use --jobs 1");
    return KW_OK;
}

unsigned kw_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : (unsigned)count;
}
