/* A connection's life: from the handshake, by requests and answers, to its end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "http/internal.h"

#define LINGER_S      2
#define LINGER_PIECES 16 /* before others have their turn */
/* Who was heard of so short a time ago may be about to send a request when the server is to stop:
 * it has as long again for it. */
#define LAST_CHANCE_S 1

/* ---- what is waited for ---- */

/* Each list is by `since_ms`: what begins now comes last, what goes on goes back to its place. */
static void move_to(struct kw_http_connection *connection, enum kw_http_waiting waiting)
{
    struct kw_http_connections *lists = connection->listener->waiting;
    struct kw_http_connection *before;
    TAILQ_REMOVE(&lists[connection->waiting], connection, entry);
    connection->waiting = waiting;
    TAILQ_FOREACH_REVERSE(before, &lists[waiting], kw_http_connections, entry)
    if (before->since_ms <= connection->since_ms)
        break;
    if (before)
        TAILQ_INSERT_AFTER(&lists[waiting], before, connection, entry);
    else
        TAILQ_INSERT_HEAD(&lists[waiting], connection, entry);
}

static void set_timer(struct kw_http_connection *connection, unsigned seconds)
{
    const struct timeval after = {.tv_sec = (time_t)seconds};
    if (seconds == 0)
        (void)evtimer_del(&connection->timer);
    else
        (void)evtimer_add(&connection->timer, &after);
}

static void begin_wait(struct kw_http_connection *connection, enum kw_http_waiting waiting,
                       unsigned seconds)
{
    connection->since_ms = kw_now_ms();
    move_to(connection, waiting);
    set_timer(connection, seconds);
}

static unsigned idle_s(const struct kw_http_connection *connection)
{
    unsigned idle = connection->listener->limits.idle_s;
    return connection->listener->server->draining && idle > LAST_CHANCE_S ? LAST_CHANCE_S : idle;
}

void kw_http_connection_enter(struct kw_http_connection *connection, enum kw_http_state state)
{
    unsigned request_s = connection->listener->limits.request_s;
    connection->state = state;
    switch (state) {
    case KW_HTTP_BEGIN:
        begin_wait(connection, KW_HTTP_IDLE, idle_s(connection));
        break;
    case KW_HTTP_HANDSHAKE:
    case KW_HTTP_HEAD:
    case KW_HTTP_SEND:
        begin_wait(connection, KW_HTTP_CLIENT, request_s);
        break;
    case KW_HTTP_LINGER:
        begin_wait(connection, KW_HTTP_CLIENT, LINGER_S);
        break;
    case KW_HTTP_WORK:
        begin_wait(connection, KW_HTTP_THREAD, 0);
        break;
    case KW_HTTP_SHAKE: /* these go on with the time that is left */
        move_to(connection, KW_HTTP_THREAD);
        break;
    case KW_HTTP_CONTINUE:
    case KW_HTTP_BODY:
        break;
    }
}

static void on_ready(evutil_socket_t fd, short what, void *argument);

static void wait_for(struct kw_http_connection *connection, short events)
{
    if (connection->ready_for == events)
        return;
    if (connection->ready_for)
        (void)event_del(&connection->ready);
    connection->ready_for = events;
    if (!events)
        return;
    (void)event_assign(&connection->ready, connection->listener->server->base, connection->fd,
                       (short)(events | EV_PERSIST), on_ready, connection);
    (void)event_add(&connection->ready, NULL);
}

/* ---- steps ---- */

/* In a thread, which has the connection's TLS for so long. */
static void shake(struct kw_http_task *task)
{
    struct kw_http_connection *connection = (struct kw_http_connection *)task;
    connection->shaken = kw_http_io_handshake(connection);
}

static void tell_turned_away(const struct kw_http_connection *connection)
{
    const struct kw_http_listener *listener = connection->listener;
    long verified = SSL_get_verify_result(connection->tls);
    if (listener->turned_away && verified != X509_V_OK)
        listener->turned_away(listener->context, connection->address,
                              X509_verify_cert_error_string(verified));
}

static enum kw_http_next step_handshake(struct kw_http_connection *connection)
{
    struct kw_http_listener *listener = connection->listener;
    enum kw_http_next next = connection->tls ? connection->shaken : KW_HTTP_GO;
    if (next == KW_HTTP_READ || next == KW_HTTP_WRITE) {
        kw_http_connection_enter(connection, KW_HTTP_SHAKE);
        return kw_http_pool_take(&listener->handshakes, &connection->task) ? KW_HTTP_PAUSE
                                                                           : KW_HTTP_CLOSE;
    }
    if (next == KW_HTTP_CLOSE) { /* the client is to see why */
        tell_turned_away(connection);
        kw_http_io_finish(connection);
        kw_http_connection_enter(connection, KW_HTTP_LINGER);
        return KW_HTTP_GO;
    }
    connection->peer = kw_http_peer_new(connection->address, connection->tls);
    if (!connection->peer)
        return KW_HTTP_CLOSE;
    kw_http_connection_enter(connection, KW_HTTP_BEGIN);
    return KW_HTTP_GO;
}

/* A thread has it. */
static enum kw_http_next step_pause(struct kw_http_connection *connection)
{
    (void)connection;
    return KW_HTTP_PAUSE;
}

/* What comes is not looked at any more, so TLS isn't either. */
static enum kw_http_next step_linger(struct kw_http_connection *connection)
{
    uint8_t *piece = connection->listener->server->piece;
    for (int i = 0; i < LINGER_PIECES; i++) {
        ssize_t got = recv(connection->fd, piece, KW_HTTP_PIECE, 0);
        if (got <= 0)
            return got < 0 && (errno == EAGAIN || errno == EINTR) ? KW_HTTP_READ : KW_HTTP_CLOSE;
    }
    return KW_HTTP_READ;
}

static void wait_or_close(struct kw_http_connection *connection, enum kw_http_next next)
{
    if (next == KW_HTTP_READ)
        wait_for(connection, EV_READ);
    else if (next == KW_HTTP_WRITE)
        wait_for(connection, EV_WRITE);
    else if (next == KW_HTTP_CLOSE)
        kw_http_connection_close(connection);
}

void kw_http_connection_run(struct kw_http_connection *connection)
{
    static enum kw_http_next (*const steps[])(struct kw_http_connection *) = {
        [KW_HTTP_HANDSHAKE] = step_handshake,
        [KW_HTTP_BEGIN] = kw_http_receive_head,
        [KW_HTTP_HEAD] = kw_http_receive_head,
        [KW_HTTP_BODY] = kw_http_receive_body,
        [KW_HTTP_CONTINUE] = kw_http_send_continue,
        [KW_HTTP_SHAKE] = step_pause,
        [KW_HTTP_WORK] = step_pause,
        [KW_HTTP_SEND] = kw_http_send_answer,
        [KW_HTTP_LINGER] = step_linger,
    };
    enum kw_http_next next = KW_HTTP_GO;
    while (next == KW_HTTP_GO)
        next = steps[connection->state](connection);
    wait_or_close(connection, next);
}

static void on_ready(evutil_socket_t fd, short what, void *argument)
{
    struct kw_http_connection *connection = argument;
    (void)fd;
    (void)what;
    /* A client that sends more, or leaves, while a thread works is looked at when that is done. */
    if (connection->waiting == KW_HTTP_THREAD)
        wait_for(connection, 0);
    else
        kw_http_connection_run(connection);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct kw_http_connection *connection = argument;
    (void)fd;
    (void)what;
    if (connection->waiting == KW_HTTP_THREAD) {
        connection->late = true;
        return;
    }
    bool receiving = connection->state == KW_HTTP_HEAD || connection->state == KW_HTTP_BODY;
    if (receiving && kw_http_refuse(connection, 408) == KW_HTTP_GO)
        kw_http_connection_run(connection);
    else
        kw_http_connection_close(connection);
}

/* The thread is done with a part of the handshake. */
static void shaken(struct kw_http_task *task)
{
    struct kw_http_connection *connection = (struct kw_http_connection *)task;
    enum kw_http_next next = connection->shaken;
    connection->state = KW_HTTP_HANDSHAKE;
    move_to(connection, KW_HTTP_CLIENT);
    if (connection->late || !task->worked)
        kw_http_connection_close(connection);
    else if (next == KW_HTTP_READ || next == KW_HTTP_WRITE)
        wait_or_close(connection, next);
    else
        kw_http_connection_run(connection);
}

void kw_http_connection_answer(struct kw_http_connection *connection, bool answered)
{
    if (answered && kw_http_begin_answer(connection) == KW_HTTP_GO) {
        kw_http_connection_run(connection);
        return;
    }
    connection->state = KW_HTTP_SEND; /* the request is ours again */
    kw_http_connection_close(connection);
}

/* ---- beginning and end ---- */

static SSL *new_tls(const struct kw_http_listener *listener, int fd)
{
    SSL *tls = SSL_new(listener->tls);
    if (tls && SSL_set_fd(tls, fd) == 1)
        return tls;
    SSL_free(tls);
    ERR_clear_error();
    return NULL;
}

void kw_http_connection_start(struct kw_http_listener *listener, int fd, const char *address)
{
    struct kw_http_connection *connection = calloc(1, sizeof(*connection));
    SSL *tls = connection && listener->tls ? new_tls(listener, fd) : NULL;
    if (!connection || (listener->tls && !tls)) {
        free(connection);
        kw_close(&fd);
        atomic_fetch_add(&listener->refused, 1);
        return;
    }
    connection->listener = listener;
    connection->fd = fd;
    connection->tls = tls;
    (void)snprintf(connection->address, sizeof(connection->address), "%s", address);
    (void)evtimer_assign(&connection->timer, listener->server->base, on_timer, connection);
    connection->task.work = shake;
    connection->task.done = shaken;
    connection->shaken = KW_HTTP_READ;
    connection->waiting = KW_HTTP_CLIENT;
    TAILQ_INSERT_TAIL(&listener->waiting[KW_HTTP_CLIENT], connection, entry);
    atomic_fetch_add(&listener->connections, 1);
    atomic_fetch_add(&listener->accepted, 1);
    listener->server->connections++;
    kw_http_connection_enter(connection, KW_HTTP_HANDSHAKE);
    if (tls)
        wait_for(connection, EV_READ);
    else
        kw_http_connection_run(connection);
}

void kw_http_connection_dismiss(struct kw_http_connection *connection)
{
    if (kw_now_ms() - connection->since_ms < LAST_CHANCE_S * 1000ULL)
        set_timer(connection, idle_s(connection));
    else
        kw_http_connection_close(connection);
}

void kw_http_connection_close(struct kw_http_connection *connection)
{
    struct kw_http_listener *listener = connection->listener;
    wait_for(connection, 0);
    set_timer(connection, 0);
    TAILQ_REMOVE(&listener->waiting[connection->waiting], connection, entry);
    if (connection->state != KW_HTTP_LINGER)
        kw_http_io_finish(connection);
    if (connection->state == KW_HTTP_WORK && connection->job)
        connection->job->connection = NULL; /* freed when the thread is done */
    else
        kw_http_job_free(connection->job);
    SSL_free(connection->tls);
    kw_close(&connection->fd);
    kw_http_bytes_cleanup(&connection->in);
    kw_http_bytes_cleanup(&connection->out);
    kw_http_peer_release(connection->peer);
    free(connection);
    atomic_fetch_sub(&listener->connections, 1);
    listener->server->connections--;
    kw_http_look_whether_drained(listener->server);
}
