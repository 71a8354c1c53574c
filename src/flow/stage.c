/* stage: the calls that every stage answers. */
#include <signal.h>

#include "flow/stage.h"

enum kw_status kw_stage_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                             struct kw_error *err)
{
    if (len == 0)
        return KW_OK;
    stage->fed += len;
    return stage->ops->feed(stage, data, len, err);
}

enum kw_status kw_stage_done(struct kw_stage *stage, struct kw_error *err)
{
    return stage->ops->done(stage, err);
}

uint8_t *kw_stage_reserve(struct kw_stage *stage, size_t *ret_capacity)
{
    return stage->ops->reserve ? stage->ops->reserve(stage, ret_capacity) : NULL;
}

void kw_stage_restart(struct kw_stage *stage, struct kw_stage *next)
{
    stage->next = next;
    stage->fed = 0;
}

void kw_stage_free(struct kw_stage *stage)
{
    if (stage)
        stage->ops->free(stage);
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
