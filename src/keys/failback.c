/* The thread that brings a token back that failed, while another one serves in its place. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { FIRST, SECOND };

/* With the lock held, which is let go of meanwhile. False: the thread is to end. */
static bool wait_until_due(struct failover *failover)
{
    while (!failover->quit && failover->serving == SECOND && kw_now_ms() < failover->due_ms)
        (void)kw_cond_wait_until(&failover->wake, &failover->lock, failover->due_ms);
    return !failover->quit && failover->serving == SECOND;
}

/* Whether the token works and has every key that was used: then it serves again. */
static enum kw_status try_first(struct failover *failover, const struct kw_rsa_public *used,
                                size_t count, struct kw_error *err)
{
    enum kw_status status = kw_keyring_reach(failover->sides[FIRST], true, used, count, err);
    return status ? status : kw_failover_switch(failover, FIRST, NULL, err);
}

bool kw_is_pin_failure(enum kw_status status)
{
    return status == KW_PIN_WRONG || status == KW_PIN_LOCKED || status == KW_PIN_MISSING;
}

/* What an administrator has to do something about, once. */
static void tell(struct failover *failover, enum kw_status status, const struct kw_error *failure,
                 bool *told)
{
    if (*told || kw_exit_code(status) == kw_exit_code(KW_TOKEN))
        return;
    *told = true;
    kw_keyring_warn(failover->sides[FIRST], "[token %s] can't serve again%s: %s",
                    kw_keyring_name(failover->sides[FIRST]),
                    kw_is_pin_failure(status) ? " before the program is started anew" : " yet",
                    failure->message);
}

/* With the lock held, which is let go of while the token is tried. */
static enum kw_status probe(struct failover *failover, struct kw_error *failure)
{
    struct kw_rsa_public used[USED_KEYS];
    size_t count = failover->used_next < USED_KEYS ? failover->used_next : USED_KEYS;
    memcpy(used, failover->used, sizeof(used));
    (void)pthread_mutex_unlock(&failover->lock);
    enum kw_status status = try_first(failover, used, count, failure);
    (void)pthread_mutex_lock(&failover->lock);
    return status;
}

static void be_due_in(struct failover *failover, uint64_t wait_ms)
{
    uint64_t due_ms = kw_now_ms() + wait_ms;
    if (due_ms > failover->due_ms)
        failover->due_ms = due_ms;
}

static void *bring_back(void *argument)
{
    struct failover *failover = argument;
    bool told = false;
    (void)pthread_mutex_lock(&failover->lock);
    while (wait_until_due(failover)) {
        struct kw_error failure = {.status = KW_OK};
        enum kw_status status = probe(failover, &failure);
        if (status)
            tell(failover, status, &failure, &told);
        if (kw_is_pin_failure(status))
            break;
        be_due_in(failover, failover->probe_ms);
    }
    failover->thread_over = true;
    (void)pthread_mutex_unlock(&failover->lock);
    return NULL;
}

void kw_failback_start(struct failover *failover, uint64_t wait_ms)
{
    struct kw_error failure;
    be_due_in(failover, wait_ms);
    if (failover->has_thread && !failover->thread_over)
        return;
    if (failover->has_thread)
        (void)pthread_join(failover->thread, NULL); /* it needs the lock no more */
    failover->thread_over = false;
    failover->has_thread =
        kw_thread_start(&failover->thread, bring_back, failover, &failure) == KW_OK;
    if (!failover->has_thread)
        kw_keyring_warn(failover->sides[FIRST],
                        "[token %s] can't serve again before the program is started anew: %s",
                        kw_keyring_name(failover->sides[FIRST]), failure.message);
}

void kw_failover_free(struct failover *failover)
{
    if (!failover)
        return;
    (void)pthread_mutex_lock(&failover->lock);
    failover->quit = true;
    (void)pthread_cond_signal(&failover->wake);
    (void)pthread_mutex_unlock(&failover->lock);
    if (failover->has_thread)
        (void)pthread_join(failover->thread, NULL);
    (void)pthread_cond_destroy(&failover->wake);
    (void)pthread_mutex_destroy(&failover->lock);
    free(failover);
}
