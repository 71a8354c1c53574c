/* group: threads that append at the same time share one wait for the disk. The first to come
 * appends its own records; those that come meanwhile wait in a queue, and the first of them then
 * appends for all of these. */
#include <string.h>
#include <time.h>

#include "audit/internal.h"

#define COMPANY_NS 1000000L

/* One thread that appends; on its stack. */
struct kw_waiter {
    struct kw_share share;
    bool can_wait;
    enum kw_status status;
    struct kw_error err;
    bool leads; /* it appends for those that wait, itself first */
    bool done;
    pthread_cond_t wake;
    struct kw_waiter *next;
};

static void settle(struct kw_waiter *waiter, const struct kw_share *share, enum kw_status status,
                   const struct kw_error *err)
{
    waiter->share = *share;
    waiter->status = status;
    if (status)
        waiter->err = *err;
}

/* Each for itself: an outcome still finds the room that was reserved for it where an intent that
 * waits beside it does not. */
static void append_singly(struct kw_trail *trail, struct kw_waiter *batch, struct kw_share *shares)
{
    size_t i = 0;
    for (struct kw_waiter *waiter = batch; waiter; waiter = waiter->next, i++) {
        struct kw_error err;
        bool untouched = false;
        enum kw_status status = kw_trail_append_locked(trail, &shares[i], 1, &untouched, &err);
        settle(waiter, &shares[i], status, &err);
    }
}

static void append_batch(struct kw_trail *trail, struct kw_waiter *batch)
{
    struct kw_share shares[KW_DEEDS_MAX];
    struct kw_error err;
    bool untouched = false;
    size_t count = 0;
    for (struct kw_waiter *waiter = batch; waiter; waiter = waiter->next)
        shares[count++] = waiter->share;
    enum kw_status status = kw_trail_lock(trail, &err);
    bool locked = status == KW_OK;
    if (locked)
        status = kw_trail_append_locked(trail, shares, count, &untouched, &err);
    if (status && untouched && count > 1) {
        append_singly(trail, batch, shares);
    } else {
        size_t i = 0;
        for (struct kw_waiter *waiter = batch; waiter; waiter = waiter->next)
            settle(waiter, &shares[i++], status, &err);
    }
    if (locked)
        kw_trail_unlock(trail);
}

/* With the queue's mutex held, as is what follows: as many as may be appended at once. */
static struct kw_waiter *take_batch(struct kw_queue *queue)
{
    struct kw_waiter *batch = queue->first, *last = batch;
    size_t count = batch->share.count;
    while (last->next && count + last->next->share.count <= KW_DEEDS_MAX) {
        last = last->next;
        count += last->share.count;
    }
    queue->first = last->next;
    last->next = NULL;
    return batch;
}

/* The waiter is the first in the queue. */
static void lead(struct kw_trail *trail, struct kw_waiter *self)
{
    struct kw_queue *queue = &trail->queue;
    struct kw_waiter *batch = take_batch(queue);
    (void)pthread_mutex_unlock(&queue->mutex);
    append_batch(trail, batch);
    (void)pthread_mutex_lock(&queue->mutex);
    for (struct kw_waiter *waiter = batch, *next; waiter; waiter = next) {
        next = waiter->next; /* one that is done may be gone as soon as the mutex is free */
        waiter->done = true;
        if (waiter != self)
            (void)pthread_cond_signal(&waiter->wake);
    }
    queue->led = queue->first != NULL;
    if (queue->led) {
        queue->first->leads = true;
        (void)pthread_cond_signal(&queue->first->wake);
    }
}

static void wait_for_company(struct kw_queue *queue)
{
    const struct timespec pause = {.tv_nsec = COMPANY_NS};
    (void)pthread_mutex_unlock(&queue->mutex);
    (void)nanosleep(&pause, NULL); /* cut short by a signal, it only has less company */
    (void)pthread_mutex_lock(&queue->mutex);
}

static void append_in_turn(struct kw_trail *trail, struct kw_waiter *self)
{
    struct kw_queue *queue = &trail->queue;
    (void)pthread_mutex_lock(&queue->mutex);
    if (queue->first)
        queue->last->next = self;
    else
        queue->first = self;
    queue->last = self;
    self->leads = !queue->led;
    queue->led = true;
    while (!self->done && !self->leads)
        (void)pthread_cond_wait(&self->wake, &queue->mutex);
    if (!self->done && self->can_wait)
        wait_for_company(queue);
    if (!self->done)
        lead(trail, self);
    (void)pthread_mutex_unlock(&queue->mutex);
}

static enum kw_status append(struct kw_trail *trail, const struct kw_deed *deeds, size_t count,
                             bool can_wait, uint64_t *ret_seq, struct kw_error *err)
{
    struct kw_waiter self = {.share = {.deeds = deeds, .count = count}, .can_wait = can_wait};
    if (count == 0 || count > KW_DEEDS_MAX)
        return kw_fail(err, KW_FAULT, "%zu records can't be appended at once", count);
    if (pthread_cond_init(&self.wake, NULL) != 0)
        return kw_fail_memory(err);
    append_in_turn(trail, &self);
    (void)pthread_cond_destroy(&self.wake); /* nobody waits for it */
    if (self.status && err)
        *err = self.err;
    if (!self.status && ret_seq)
        *ret_seq = self.share.first;
    return self.status;
}

enum kw_status kw_trail_append(struct kw_trail *trail, const struct kw_deed *deeds, size_t count,
                               uint64_t *ret_seq, struct kw_error *err)
{
    return append(trail, deeds, count, false, ret_seq, err);
}

enum kw_status kw_trail_append_unhurried(struct kw_trail *trail, const struct kw_deed *deeds,
                                         size_t count, struct kw_error *err)
{
    return append(trail, deeds, count, true, NULL, err);
}
