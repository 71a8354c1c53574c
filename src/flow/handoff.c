/* handoff: a ring of buffers between two threads, as a stage. */
#include <stdlib.h>
#include <string.h>

#include "flow/stage.h"

#define SLOTS 8
/* A feeder that met a full ring goes on when no more than this is filled: to be woken for each slot
 * costs more than it gains. */
#define LOW (SLOTS / 2)

struct slot {
    uint8_t *data; /* KW_PIECE */
    size_t len;
};

struct handoff {
    struct kw_stage stage;
    struct slot slots[SLOTS];
    pthread_t thread;
    bool running;          /* used by the feeder alone, as is `feeding` */
    size_t feeding;        /* the slot that is filled next */
    size_t draining;       /* the slot that is emptied next; used by the thread alone */
    pthread_mutex_t mutex; /* over all below */
    pthread_cond_t filled_more;
    pthread_cond_t filled_less;
    size_t filled; /* slots that wait for the thread, with the one that it works on */
    bool ended;    /* no more will come: finish */
    bool stopped;  /* no more will come: give up */
    enum kw_status status;
    struct kw_error error;
};

/* Waits for a filled slot; NULL where there is nothing more to do but to finish, or give up. */
static struct slot *next_filled(struct handoff *handoff, bool *ret_ended)
{
    pthread_mutex_lock(&handoff->mutex);
    while (handoff->filled == 0 && !handoff->ended && !handoff->stopped)
        pthread_cond_wait(&handoff->filled_more, &handoff->mutex);
    struct slot *slot = NULL;
    if (handoff->filled > 0 && !handoff->stopped)
        slot = &handoff->slots[handoff->draining];
    *ret_ended = handoff->ended && !handoff->stopped;
    pthread_mutex_unlock(&handoff->mutex);
    return slot;
}

static void release(struct handoff *handoff)
{
    handoff->draining = (handoff->draining + 1) % SLOTS;
    pthread_mutex_lock(&handoff->mutex);
    handoff->filled--;
    if (handoff->filled == LOW)
        pthread_cond_signal(&handoff->filled_less);
    pthread_mutex_unlock(&handoff->mutex);
}

static void *drain(void *argument)
{
    struct handoff *handoff = argument;
    struct kw_stage *next = handoff->stage.next;
    struct kw_error error = {0};
    enum kw_status status = KW_OK;
    bool ended = false;
    while (status == KW_OK) {
        struct slot *slot = next_filled(handoff, &ended);
        if (!slot)
            break;
        status = kw_stage_feed(next, slot->data, slot->len, &error);
        if (status == KW_OK)
            release(handoff);
    }
    if (status == KW_OK && ended)
        status = kw_stage_done(next, &error);

    pthread_mutex_lock(&handoff->mutex);
    handoff->status = status;
    handoff->error = error;
    pthread_cond_signal(&handoff->filled_less);
    pthread_mutex_unlock(&handoff->mutex);
    return NULL;
}

static enum kw_status start_thread(struct handoff *handoff, struct kw_error *err)
{
    for (size_t i = 0; i < SLOTS; i++) {
        if (!handoff->slots[i].data)
            handoff->slots[i].data = malloc(KW_PIECE);
        if (!handoff->slots[i].data)
            return kw_fail_memory(err);
    }
    enum kw_status status = kw_thread_start(&handoff->thread, drain, handoff, err);
    handoff->running = status == KW_OK;
    return status;
}

/* Waits for a free slot, where there is none for several. */
static enum kw_status next_free(struct handoff *handoff, struct slot **ret_slot,
                                struct kw_error *err)
{
    enum kw_status status = handoff->running ? KW_OK : start_thread(handoff, err);
    if (status != KW_OK)
        return status;
    pthread_mutex_lock(&handoff->mutex);
    bool full = handoff->filled == SLOTS;
    while (full && handoff->filled > LOW && handoff->status == KW_OK)
        pthread_cond_wait(&handoff->filled_less, &handoff->mutex);
    status = handoff->status;
    if (status != KW_OK && err)
        *err = handoff->error;
    pthread_mutex_unlock(&handoff->mutex);
    if (status == KW_OK)
        *ret_slot = &handoff->slots[handoff->feeding];
    return status;
}

static void publish(struct handoff *handoff, size_t len)
{
    handoff->slots[handoff->feeding].len = len;
    handoff->feeding = (handoff->feeding + 1) % SLOTS;
    pthread_mutex_lock(&handoff->mutex);
    handoff->filled++;
    pthread_cond_signal(&handoff->filled_more);
    pthread_mutex_unlock(&handoff->mutex);
}

static uint8_t *handoff_reserve(struct kw_stage *stage, size_t *ret_capacity)
{
    struct slot *slot = NULL;
    /* A failure comes back from the feed that follows. */
    if (next_free((struct handoff *)stage, &slot, NULL) != KW_OK)
        return NULL;
    *ret_capacity = KW_PIECE;
    return slot->data;
}

static enum kw_status handoff_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                   struct kw_error *err)
{
    struct handoff *handoff = (struct handoff *)stage;
    while (len > 0) {
        struct slot *slot = NULL;
        enum kw_status status = next_free(handoff, &slot, err);
        if (status != KW_OK)
            return status;
        size_t piece = len < KW_PIECE ? len : KW_PIECE;
        if (slot->data != data) /* else it was reserved */
            memcpy(slot->data, data, piece);
        publish(handoff, piece);
        data += piece;
        len -= piece;
    }
    return KW_OK;
}

static void join(struct handoff *handoff, bool *flag)
{
    pthread_mutex_lock(&handoff->mutex);
    *flag = true;
    pthread_cond_signal(&handoff->filled_more);
    pthread_mutex_unlock(&handoff->mutex);
    pthread_join(handoff->thread, NULL);
    handoff->running = false;
}

static enum kw_status handoff_done(struct kw_stage *stage, struct kw_error *err)
{
    struct handoff *handoff = (struct handoff *)stage;
    if (!handoff->running) /* nothing was fed */
        return kw_stage_done(stage->next, err);
    join(handoff, &handoff->ended);
    if (handoff->status != KW_OK && err)
        *err = handoff->error;
    return handoff->status;
}

void kw_handoff_stop(struct kw_stage *stage)
{
    struct handoff *handoff = (struct handoff *)stage;
    if (handoff && handoff->running)
        join(handoff, &handoff->stopped);
}

static void handoff_free(struct kw_stage *stage)
{
    struct handoff *handoff = (struct handoff *)stage;
    kw_handoff_stop(stage);
    for (size_t i = 0; i < SLOTS; i++)
        free(handoff->slots[i].data);
    pthread_cond_destroy(&handoff->filled_less);
    pthread_cond_destroy(&handoff->filled_more);
    pthread_mutex_destroy(&handoff->mutex);
    free(handoff);
}

static const struct kw_stage_ops handoff_ops = {
    .feed = handoff_feed,
    .done = handoff_done,
    .reserve = handoff_reserve,
    .free = handoff_free,
};

enum kw_status kw_handoff_new(struct kw_stage **ret_stage, struct kw_error *err)
{
    struct handoff *handoff = calloc(1, sizeof(*handoff));
    if (!handoff)
        return kw_fail_memory(err);
    handoff->stage.ops = &handoff_ops;
    /* With default attributes these can't fail on Linux. */
    pthread_mutex_init(&handoff->mutex, NULL);
    pthread_cond_init(&handoff->filled_more, NULL);
    pthread_cond_init(&handoff->filled_less, NULL);
    *ret_stage = &handoff->stage;
    return KW_OK;
}

void kw_handoff_start(struct kw_stage *stage, struct kw_stage *next)
{
    struct handoff *handoff = (struct handoff *)stage;
    kw_handoff_stop(stage);
    kw_stage_restart(stage, next);
    handoff->feeding = 0;
    handoff->draining = 0;
    handoff->filled = 0;
    handoff->ended = false;
    handoff->stopped = false;
    handoff->status = KW_OK;
    handoff->error = (struct kw_error){0};
}
