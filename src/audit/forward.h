/* Forwarding: the queue of one receiver and its thread (forward.c), and how a receiver is spoken to
 * (receiver.c, syslog.c, journald.c). */
#ifndef KW_AUDIT_FORWARD_H
#define KW_AUDIT_FORWARD_H

#include <pthread.h>
#include <stdatomic.h>

#include "audit/audit.h"

/* ---- waiting: receiver.c ---- */

#define KW_NO_DEADLINE UINT64_MAX
#define KW_NO_LIMIT    (UINT64_MAX / 2)

/* How long the thread may wait for a receiver: without an end, until someone waits for the thread.
 */
struct kw_waiter {
    int wake; /* an eventfd, readable once there is a deadline; -1: none */
    atomic_uint_fast64_t deadline_ms;
};
enum kw_status kw_waiter_init(struct kw_waiter *waiter, struct kw_error *err);
void kw_waiter_cleanup(struct kw_waiter *waiter);
/* From any thread. */
void kw_waiter_set_deadline(struct kw_waiter *waiter, uint64_t deadline_ms);
/* Until `fd` is ready for `events`, or has failed; false after `limit_ms` or at the deadline. */
bool kw_wait_for(struct kw_waiter *waiter, int fd, short events, uint64_t limit_ms);

/* ---- receivers. What they say in errors is the reason alone ---- */

struct kw_receiver {
    const struct kw_receiver_kind *kind;
    const char *address;
    struct kw_waiter *waiter;
    int fd; /* does not block; -1: there is no connection */
};
struct kw_receiver_kind {
    const char *name;
    enum kw_status (*connect)(struct kw_receiver *receiver, struct kw_error *err);
    /* Appends what is sent of a record. */
    enum kw_status (*format)(const char *line, size_t len, struct kw_buffer *message,
                             struct kw_error *err);
    /* The whole message; a failure ends the connection. */
    enum kw_status (*send)(struct kw_receiver *receiver, const struct kw_buffer *message,
                           struct kw_error *err);
    /* Whether it is still there; *ret_missing is set in any case: how many of the bytes that were
     * sent its host has not acknowledged. NULL: what is sent has arrived. */
    enum kw_status (*check)(const struct kw_receiver *receiver, size_t *ret_missing,
                            struct kw_error *err);
};
extern const struct kw_receiver_kind kw_syslog;   /* its address is HOST:PORT */
extern const struct kw_receiver_kind kw_journald; /* its address is the socket's path */

/* journald's native protocol on a connected socket: a datagram, or, where that is too large for
 * one, a sealed memory file. */
enum kw_status kw_journal_send(struct kw_waiter *waiter, int fd, const struct kw_buffer *message,
                               struct kw_error *err);

/* ---- one receiver's queue: forward.c ---- */

/* What a queue holds at most; the next record is dropped. */
#define KW_QUEUE_RECORDS 8192
#define KW_QUEUE_BYTES   ((size_t)8 * 1024 * 1024)

struct kw_forwarder;
/* Keeps a copy of the address. */
enum kw_status kw_forwarder_new(const struct kw_receiver_kind *kind, const char *address,
                                const struct kw_who *who, struct kw_forwarder **ret_forwarder,
                                struct kw_error *err);
/* Queues each of these lines, or drops it; never waits for a receiver. The first call starts the
 * thread. */
void kw_forward(struct kw_forwarder *forwarder, const struct kw_buffer *lines);
/* What was dropped since this was last asked; its texts live as long as the forwarder. */
void kw_forwarder_take_loss(struct kw_forwarder *forwarder, struct kw_loss *ret_loss);
/* From now on the thread has until then; further lines are dropped, untold. */
void kw_forwarder_end_at(struct kw_forwarder *forwarder, uint64_t deadline_ms);
/* Waits for that. What has not arrived is dropped. */
void kw_forwarder_wait(struct kw_forwarder *forwarder);
/* Does both first, at once, where that was not done. The thread may be asking for a host's address
 * still, which nothing can cut short: then it is left to itself. */
void kw_forwarder_free(struct kw_forwarder *forwarder);

#endif
