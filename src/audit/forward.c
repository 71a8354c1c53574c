/* forward: one receiver's queue, and the thread that empties it. A record stays in the queue until
 * its receiver has it, so that what a broken connection swallowed is sent again; what the queue has
 * no room for is dropped, and what was dropped is told to the trail and to the receiver. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "audit/forward.h"
#include "audit/internal.h"

#define FIRST_PAUSE_MS   100
#define LONGEST_PAUSE_MS 30000
/* While someone waits, a receiver that comes back is not to be missed. */
#define HURRIED_PAUSE_MS 100
/* How often a host is asked what it has acknowledged. */
#define ACKNOWLEDGED_MS 10
/* For a thread to end after its deadline. */
#define GRACE_MS 100

struct entry {
    struct entry *next;
    uint64_t end;   /* of the bytes sent on this connection, where it ends */
    uint64_t seq;   /* of a record */
    bool is_record; /* and not what tells of those that were dropped */
    size_t len;
    char line[];
};

struct kw_forwarder {
    struct kw_receiver receiver; /* the thread's, as is the waiter's side of waiting */
    struct kw_waiter waiter;
    char *address;
    struct kw_who who;

    pthread_mutex_t mutex;  /* of all below */
    pthread_cond_t changed; /* the queue, or one of these */
    pthread_t thread;
    bool started, ending, ended;
    bool closed;                        /* what is in the queue counts as dropped */
    bool abandoned;                     /* the thread frees all this when it ends */
    struct entry *head, *tail, *unsent; /* those before `unsent` are on their way */
    size_t count, bytes;
    uint64_t sent_bytes;    /* on this connection */
    struct kw_loss untold;  /* what the trail does not say yet */
    struct kw_loss unheard; /* what the receiver was not told yet */
    char why[KW_LOSS_WHY];  /* it is not forwarded to at the moment; "" where it is */
};

/* ---- the queue, with the mutex held ---- */

static void note_loss(struct kw_loss *loss, uint64_t seq, const char *why)
{
    if (loss->count++ == 0)
        loss->first = seq;
    loss->last = seq;
    (void)kw_printable(why, strlen(why), loss->why, sizeof(loss->why));
}

static void drop(struct kw_forwarder *forwarder, uint64_t seq, const char *without_reason)
{
    const char *why = forwarder->why[0] ? forwarder->why : without_reason;
    note_loss(&forwarder->untold, seq, why);
    note_loss(&forwarder->unheard, seq, why);
}

static bool push(struct kw_forwarder *forwarder, const char *line, size_t len, bool is_record,
                 uint64_t seq)
{
    if (forwarder->count == KW_QUEUE_RECORDS || forwarder->bytes + len > KW_QUEUE_BYTES)
        return false;
    struct entry *entry = malloc(sizeof(*entry) + len);
    if (!entry)
        return false;
    *entry = (struct entry){.seq = seq, .is_record = is_record, .len = len};
    memcpy(entry->line, line, len);
    if (forwarder->tail)
        forwarder->tail->next = entry;
    else
        forwarder->head = entry;
    forwarder->tail = entry;
    if (!forwarder->unsent)
        forwarder->unsent = entry;
    forwarder->count++;
    forwarder->bytes += len;
    return true;
}

static void pop(struct kw_forwarder *forwarder)
{
    struct entry *entry = forwarder->head;
    forwarder->head = entry->next;
    if (!forwarder->head)
        forwarder->tail = NULL;
    forwarder->count--;
    forwarder->bytes -= entry->len;
    free(entry);
}

/* Comes after all that was queued before the drop, and before all that is queued after it. */
static void push_gap(struct kw_forwarder *forwarder)
{
    char sentence[KW_MESSAGE_SIZE];
    const struct kw_stamp stamp = {.unnumbered = true, .who = &forwarder->who};
    const struct kw_deed deed = {
        .phase = KW_OUTCOME, .op = KW_TRAIL_FORWARD, .status = KW_WRITE, .detail = sentence};
    struct kw_buffer line = KW_BUFFER_INIT(KW_RECORD_MAX + 1);
    if (forwarder->unheard.count == 0)
        return;
    kw_loss_sentence(&forwarder->unheard, sentence);
    if (kw_record_write(&stamp, &deed, &line, NULL) == KW_OK &&
        push(forwarder, (const char *)line.data, line.len - 1, false, 0))
        forwarder->unheard.count = 0;
    kw_buffer_cleanup(&line);
}

/* ---- the thread ---- */

/* Until something changes, `ms` from now at most. */
static void wait_ms(struct kw_forwarder *forwarder, uint64_t ms)
{
    (void)kw_cond_wait_until(&forwarder->changed, &forwarder->mutex, kw_now_ms() + ms);
}

static bool is_over(const struct kw_forwarder *forwarder)
{
    return forwarder->ending && kw_now_ms() >= atomic_load(&forwarder->waiter.deadline_ms);
}

/* A pause after a failure, which the wish to end cuts short. */
static void pause_ms(struct kw_forwarder *forwarder, uint64_t ms)
{
    uint64_t until = kw_now_ms() + ms;
    bool hurried = forwarder->ending;
    for (uint64_t now = kw_now_ms(); now < until && !is_over(forwarder); now = kw_now_ms()) {
        wait_ms(forwarder, until - now);
        if (forwarder->ending && !hurried)
            return;
    }
}

static enum kw_status take_acknowledged(struct kw_forwarder *forwarder, struct kw_error *err)
{
    const struct kw_receiver *receiver = &forwarder->receiver;
    size_t missing = 0;
    enum kw_status status = KW_OK;
    if (receiver->kind->check && receiver->fd >= 0)
        status = receiver->kind->check(receiver, &missing, err);
    uint64_t arrived = forwarder->sent_bytes > missing ? forwarder->sent_bytes - missing : 0;
    while (forwarder->head != forwarder->unsent && forwarder->head->end <= arrived)
        pop(forwarder);
    return status;
}

/* What had not arrived is sent again on the next connection. */
static void disconnect(struct kw_forwarder *forwarder, const struct kw_error *failure)
{
    struct kw_error same;
    (void)kw_printable(failure->message, strlen(failure->message), forwarder->why,
                       sizeof(forwarder->why));
    (void)take_acknowledged(forwarder, &same); /* that it is gone is known */
    kw_close(&forwarder->receiver.fd);
    forwarder->unsent = forwarder->head;
    forwarder->sent_bytes = 0;
}

/* Without the mutex: only this thread takes from the queue. */
static enum kw_status deliver(struct kw_receiver *receiver, const struct entry *entry,
                              size_t *ret_len, struct kw_error *err)
{
    struct kw_buffer message = KW_BUFFER_INIT(2 * KW_FORMAT_MAX);
    enum kw_status status = KW_OK;
    if (receiver->fd < 0)
        status = receiver->kind->connect(receiver, err);
    if (!status)
        status = receiver->kind->format(entry->line, entry->len, &message, err);
    if (!status)
        status = receiver->kind->send(receiver, &message, err);
    *ret_len = message.len;
    kw_buffer_cleanup(&message);
    return status;
}

static void send_next(struct kw_forwarder *forwarder, uint64_t *pause)
{
    struct entry *entry = forwarder->unsent;
    struct kw_error err;
    size_t len = 0;
    (void)pthread_mutex_unlock(&forwarder->mutex);
    enum kw_status status = deliver(&forwarder->receiver, entry, &len, &err);
    (void)pthread_mutex_lock(&forwarder->mutex);
    if (forwarder->closed)
        return;
    if (!status) {
        forwarder->sent_bytes += len;
        entry->end = forwarder->sent_bytes;
        forwarder->unsent = entry->next;
        forwarder->why[0] = '\0';
        *pause = FIRST_PAUSE_MS;
        return;
    }
    disconnect(forwarder, &err);
    pause_ms(forwarder, forwarder->ending ? HURRIED_PAUSE_MS : *pause);
    *pause = *pause * 2 < LONGEST_PAUSE_MS ? *pause * 2 : LONGEST_PAUSE_MS;
}

static void await_acknowledgement(struct kw_forwarder *forwarder)
{
    struct kw_error err;
    if (forwarder->head == forwarder->unsent)
        return;
    if (take_acknowledged(forwarder, &err))
        disconnect(forwarder, &err);
    else if (!forwarder->unsent && forwarder->head)
        wait_ms(forwarder, ACKNOWLEDGED_MS);
}

static bool has_ended(const struct kw_forwarder *forwarder)
{
    return forwarder->closed || is_over(forwarder) ||
           (forwarder->ending && !forwarder->head && forwarder->unheard.count == 0);
}

static void work(struct kw_forwarder *forwarder)
{
    uint64_t pause = FIRST_PAUSE_MS;
    while (!has_ended(forwarder)) {
        if (!forwarder->unsent)
            push_gap(forwarder);
        if (forwarder->unsent)
            send_next(forwarder, &pause);
        else if (!forwarder->head)
            (void)pthread_cond_wait(&forwarder->changed, &forwarder->mutex);
        if (!forwarder->closed)
            await_acknowledgement(forwarder);
    }
}

static void destroy(struct kw_forwarder *forwarder)
{
    forwarder->unsent = NULL;
    while (forwarder->head)
        pop(forwarder);
    kw_close(&forwarder->receiver.fd);
    kw_waiter_cleanup(&forwarder->waiter);
    (void)pthread_cond_destroy(&forwarder->changed); /* nobody waits */
    (void)pthread_mutex_destroy(&forwarder->mutex);  /* nobody has it */
    free(forwarder->address);
    free(forwarder);
}

static void *run(void *argument)
{
    struct kw_forwarder *forwarder = argument;
    (void)pthread_mutex_lock(&forwarder->mutex);
    work(forwarder);
    forwarder->ended = true;
    bool abandoned = forwarder->abandoned;
    (void)pthread_cond_broadcast(&forwarder->changed);
    (void)pthread_mutex_unlock(&forwarder->mutex);
    if (abandoned)
        destroy(forwarder);
    return NULL;
}

/* ---- for the trail ---- */

enum kw_status kw_forwarder_new(const struct kw_receiver_kind *kind, const char *address,
                                const struct kw_who *who, struct kw_forwarder **ret_forwarder,
                                struct kw_error *err)
{
    struct kw_forwarder *forwarder = calloc(1, sizeof(*forwarder));
    char *copy = strdup(address);
    enum kw_status status = forwarder && copy ? KW_OK : kw_fail_memory(err);
    if (!status)
        status = kw_waiter_init(&forwarder->waiter, err);
    if (!status && pthread_mutex_init(&forwarder->mutex, NULL) != 0) {
        kw_waiter_cleanup(&forwarder->waiter);
        status = kw_fail_memory(err);
    }
    if (status) {
        free(copy);
        free(forwarder);
        return status;
    }
    kw_cond_init(&forwarder->changed);
    forwarder->receiver =
        (struct kw_receiver){.kind = kind, .address = copy, .waiter = &forwarder->waiter, .fd = -1};
    forwarder->address = copy;
    forwarder->who = *who;
    forwarder->untold.receiver = forwarder->unheard.receiver = kind->name;
    forwarder->untold.address = forwarder->unheard.address = copy;
    *ret_forwarder = forwarder;
    return KW_OK;
}

static void start(struct kw_forwarder *forwarder)
{
    struct kw_error err;
    if (forwarder->started)
        return;
    forwarder->started = kw_thread_start(&forwarder->thread, run, forwarder, &err) == KW_OK;
    if (!forwarder->started)
        (void)kw_printable(err.message, strlen(err.message), forwarder->why,
                           sizeof(forwarder->why));
}

static void enqueue(struct kw_forwarder *forwarder, const char *line, size_t len)
{
    uint64_t seq = 0;
    (void)kw_record_seq(line, len, &seq); /* of a line that was just written */
    push_gap(forwarder);
    if (forwarder->unheard.count > 0 || !push(forwarder, line, len, true, seq))
        drop(forwarder, seq, "it does not keep up");
}

void kw_forward(struct kw_forwarder *forwarder, const struct kw_buffer *lines)
{
    (void)pthread_mutex_lock(&forwarder->mutex);
    for (size_t at = 0; at < lines->len && !forwarder->ending;) {
        const char *line = (const char *)lines->data + at;
        const char *newline = memchr(line, '\n', lines->len - at);
        size_t len = (size_t)(newline - line);
        enqueue(forwarder, line, len);
        at += len + 1;
    }
    if (!forwarder->ending)
        start(forwarder);
    (void)pthread_cond_broadcast(&forwarder->changed);
    (void)pthread_mutex_unlock(&forwarder->mutex);
}

void kw_forwarder_take_loss(struct kw_forwarder *forwarder, struct kw_loss *ret_loss)
{
    (void)pthread_mutex_lock(&forwarder->mutex);
    *ret_loss = forwarder->untold;
    forwarder->untold.count = 0;
    (void)pthread_mutex_unlock(&forwarder->mutex);
}

void kw_forwarder_end_at(struct kw_forwarder *forwarder, uint64_t deadline_ms)
{
    (void)pthread_mutex_lock(&forwarder->mutex);
    if (!forwarder->ending)
        kw_waiter_set_deadline(&forwarder->waiter, deadline_ms);
    forwarder->ending = true;
    (void)pthread_cond_broadcast(&forwarder->changed);
    (void)pthread_mutex_unlock(&forwarder->mutex);
}

void kw_forwarder_wait(struct kw_forwarder *forwarder)
{
    uint64_t until = atomic_load(&forwarder->waiter.deadline_ms) + GRACE_MS;
    (void)pthread_mutex_lock(&forwarder->mutex);
    for (uint64_t now = kw_now_ms(); forwarder->started && !forwarder->ended && now < until;
         now = kw_now_ms())
        wait_ms(forwarder, until - now);
    for (const struct entry *entry = forwarder->head; entry && !forwarder->closed;
         entry = entry->next)
        if (entry->is_record)
            drop(forwarder, entry->seq, "it did not take them in time");
    forwarder->closed = true;
    (void)pthread_mutex_unlock(&forwarder->mutex);
}

void kw_forwarder_free(struct kw_forwarder *forwarder)
{
    if (!forwarder)
        return;
    kw_forwarder_end_at(forwarder, kw_now_ms());
    kw_forwarder_wait(forwarder);
    (void)pthread_mutex_lock(&forwarder->mutex);
    bool running = forwarder->started && !forwarder->ended;
    forwarder->abandoned = running;
    if (running)
        (void)pthread_detach(forwarder->thread); /* it is there: it wants the mutex to end */
    (void)pthread_mutex_unlock(&forwarder->mutex);
    if (running)
        return;
    if (forwarder->started)
        (void)pthread_join(forwarder->thread, NULL); /* it has ended and is ours */
    destroy(forwarder);
}
