/* http: what its files share. But for the pool, all of it is the loop's thread's alone. */
#ifndef KW_HTTP_INTERNAL_H
#define KW_HTTP_INTERNAL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/types.h>

#include "http/http.h"
#include "http/parse.h"

/* ---- tls.c, crl.c, peer.c ---- */

enum kw_status kw_http_tls_new(struct kw_crypto *crypto, const struct kw_http_tls *tls,
                               const char *listener, SSL_CTX **ret_tls, struct kw_error *err);
/* A regular file of the process's own; one that is `secret` others may not read. */
enum kw_status kw_http_open_own(const char *path, bool secret, int *ret_fd, struct kw_error *err);
/* For PEM: what wants a passphrase has nobody to ask. */
int kw_http_no_passphrase(char *out, int size, int writing, void *argument);
/* Clients' certificates are held against the CRLs of that file from then on. */
enum kw_status kw_http_use_crls(struct kw_crypto *crypto, SSL_CTX *context, const char *path,
                                struct kw_error *err);

/* Who is at the other end; shared by a connection and the request that outlives it. */
struct kw_http_peer_held {
    struct kw_http_peer peer;
    size_t users;
    char address[64];
};
/* NULL for want of memory. `tls` may be NULL; else its handshake is over. */
struct kw_http_peer_held *kw_http_peer_new(const char *address, SSL *tls);
void kw_http_peer_release(struct kw_http_peer_held *held);

/* ---- pool.c ---- */

/* Something that may take a while, on its way to a thread and back. */
struct kw_http_task {
    TAILQ_ENTRY(kw_http_task) entry;
    void (*work)(struct kw_http_task *task); /* in a thread of the pool */
    void (*done)(struct kw_http_task *task); /* in the loop's, which has it again */
    bool worked;                             /* false where the pool was stopped before */
};
TAILQ_HEAD(kw_http_tasks, kw_http_task);

/* Tasks on their way back to the loop. */
struct kw_http_done {
    pthread_mutex_t mutex;
    struct kw_http_tasks tasks;
    int wake_fd; /* an eventfd: there are some, or the server is to stop */
};

struct kw_http_pool {
    pthread_mutex_t mutex; /* over all below, but what is set before threads start */
    pthread_cond_t more;
    struct kw_http_tasks tasks;
    size_t queued, busy;
    bool stopping;
    size_t queue_max, thread_count;
    pthread_t *threads;
    size_t started;
    struct kw_http_done *done;
};
void kw_http_pool_init(struct kw_http_pool *pool, size_t threads, size_t queue_max,
                       struct kw_http_done *done);
enum kw_status kw_http_pool_start(struct kw_http_pool *pool, struct kw_error *err);
/* Waits for the tasks that threads are at; those that are queued come back without work. */
void kw_http_pool_stop(struct kw_http_pool *pool);
void kw_http_pool_cleanup(struct kw_http_pool *pool);
/* False where the queue is full: the task stays the caller's. */
bool kw_http_pool_take(struct kw_http_pool *pool, struct kw_http_task *task);
void kw_http_pool_count(struct kw_http_pool *pool, struct kw_http_stats *stats);

/* ---- job.c ---- */

struct kw_http_connection;

/* A request and its answer. While a thread has it, the loop touches `connection` alone. */
struct kw_http_job {
    struct kw_http_task task;
    struct kw_http_connection *connection; /* NULL once the client is gone */
    struct kw_http_listener *listener;
    struct kw_http_peer_held *peer;
    struct kw_http_bytes text; /* of the head; `request` points into it */
    struct kw_http_bytes body;
    size_t body_max;                /* how long it may get */
    size_t counted;                 /* of it, in the listener's count */
    bool unfinished;                /* it is in the listener's list of those */
    TAILQ_ENTRY(kw_http_job) entry; /* there */
    struct kw_http_head head;
    struct kw_http_chunks chunks;
    struct kw_http_request request;
    struct kw_http_answer answer;
};
/* NULL for want of memory. */
struct kw_http_job *kw_http_job_new(struct kw_http_connection *connection);
void kw_http_job_free(struct kw_http_job *job);
void kw_http_answer_cleanup(struct kw_http_answer *answer);

/* ---- bodies.c ---- */

TAILQ_HEAD(kw_http_jobs, kw_http_job);

/* Counts what has come of a body. Where all of the listener's are too much then, the connections of
 * those that were begun first and are not whole yet are closed. False where that is not enough
 * without the job's own. */
bool kw_http_bodies_count(struct kw_http_job *job);
/* The body is whole: it is closed for no other one, but counted still. */
void kw_http_bodies_finish(struct kw_http_job *job);
/* The body is not needed any more. */
void kw_http_bodies_forget(struct kw_http_job *job);

/* ---- a server and its listeners: server.c, listen.c ---- */

TAILQ_HEAD(kw_http_connections, kw_http_connection);

/* Connections by what is waited for, each list by when that began. */
enum kw_http_waiting {
    KW_HTTP_IDLE,   /* for another request */
    KW_HTTP_CLIENT, /* for the client to send or take the rest */
    KW_HTTP_THREAD, /* for a thread; never closed to make room */
    KW_HTTP_WAITS
};

struct kw_http_listener {
    SLIST_ENTRY(kw_http_listener) entry;
    struct kw_http_server *server;
    char *name;
    int fd;
    bool handed_over;
    SSL_CTX *tls; /* NULL: none */
    struct kw_http_limits limits;
    kw_http_handler handle;
    kw_http_refuser refuse;
    kw_http_turned_away turned_away;
    void *context;
    struct event *readable;
    struct kw_http_pool handshakes; /* keys on tokens take their time, and may hang */
    struct kw_http_pool requests;
    struct kw_http_connections waiting[KW_HTTP_WAITS];
    size_t bodies;                  /* bytes of those that handlers are not done with */
    struct kw_http_jobs unfinished; /* those whose bodies are not whole, by when they began */
    atomic_size_t connections;
    atomic_ullong accepted, refused;
};

/* Of all connections of a listener: many that each keep within their limit shall not use the memory
 * up, and those of one listener not what others need. */
#define KW_HTTP_BODIES_MAX ((size_t)64 * 1024 * 1024)
#define KW_HTTP_PIECE      ((size_t)16 * 1024) /* what one record of TLS holds at most */

struct kw_http_server {
    struct kw_crypto *crypto;
    struct event_base *base;
    SLIST_HEAD(, kw_http_listener) listeners;
    struct kw_http_done done;
    struct event *wake, *tick, *deadline;
    void (*on_tick)(void *context);
    void *tick_context;
    unsigned drain_ms;
    atomic_bool stopping;
    bool draining;      /* answers end their connections */
    bool closed;        /* and nobody is let in any more */
    size_t connections; /* of all listeners */
    uint8_t piece[KW_HTTP_PIECE];
};

/* Binds and listens. KW_CONFIG. */
enum kw_status kw_http_bind(const struct kw_http_listener_options *options, int *ret_fd,
                            uint16_t *ret_port, struct kw_error *err);
void kw_http_accept(evutil_socket_t fd, short what, void *listener);
/* Ends the loop where it drains and nothing is left. */
void kw_http_look_whether_drained(struct kw_http_server *server);

/* ---- connections: connection.c, io.c, receive.c, send.c ---- */

enum kw_http_state {
    KW_HTTP_HANDSHAKE,
    KW_HTTP_SHAKE,    /* a thread is at the handshake */
    KW_HTTP_BEGIN,    /* nothing of a request has come yet */
    KW_HTTP_HEAD,     /* a part of its head has */
    KW_HTTP_CONTINUE, /* "100 Continue" is being sent */
    KW_HTTP_BODY,
    KW_HTTP_WORK,  /* a thread has it */
    KW_HTTP_SEND,  /* the answer is being sent */
    KW_HTTP_LINGER /* all is sent; what still comes is dropped, so that the answer gets there */
};

/* What a step of a connection ends with. */
enum kw_http_next {
    KW_HTTP_GO,    /* take the next step */
    KW_HTTP_READ,  /* wait until there is something to read */
    KW_HTTP_WRITE, /* wait until something can be written */
    KW_HTTP_PAUSE, /* wait for a thread */
    KW_HTTP_CLOSE,
};

struct kw_http_connection {
    struct kw_http_task task; /* the handshake */
    enum kw_http_next shaken; /* what came of it */
    TAILQ_ENTRY(kw_http_connection) entry;
    struct kw_http_listener *listener;
    enum kw_http_state state;
    enum kw_http_waiting waiting; /* the list that it is in */
    int fd;
    SSL *tls;
    struct event ready, timer;
    uint64_t since_ms; /* when what is waited for began */
    short ready_for;   /* what `ready` waits for, 0: nothing */
    bool close;        /* after the answer */
    bool late;         /* its time was over while a thread had it */
    struct kw_http_peer_held *peer;
    struct kw_http_bytes in; /* what was read and not used yet */
    size_t scanned;
    struct kw_http_job *job;
    struct kw_http_bytes out;
    size_t sent; /* of `out`, and then of the body */
    char address[64];
};

/* Takes the socket over, whatever comes of it. */
void kw_http_connection_start(struct kw_http_listener *listener, int fd, const char *address);
void kw_http_connection_close(struct kw_http_connection *connection);
/* Of one that idles while the server drains: closed at once, or soon where it was used just now. */
void kw_http_connection_dismiss(struct kw_http_connection *connection);
/* The connection may be gone then. */
void kw_http_connection_run(struct kw_http_connection *connection);
/* What is waited for from now on, and how long: it is closed then, or told that it was too slow. */
void kw_http_connection_enter(struct kw_http_connection *connection, enum kw_http_state state);
/* A thread is done with its request; `answered` is false where none has begun with it. */
void kw_http_connection_answer(struct kw_http_connection *connection, bool answered);

enum kw_http_next kw_http_io_handshake(struct kw_http_connection *connection);
/* KW_HTTP_GO: *ret_len bytes were read, or written. */
enum kw_http_next kw_http_io_read(struct kw_http_connection *connection, void *data, size_t size,
                                  size_t *ret_len);
enum kw_http_next kw_http_io_write(struct kw_http_connection *connection, const void *data,
                                   size_t len, size_t *ret_len);
/* Says that no more will be sent. */
void kw_http_io_finish(struct kw_http_connection *connection);

enum kw_http_next kw_http_receive_head(struct kw_http_connection *connection);
enum kw_http_next kw_http_receive_body(struct kw_http_connection *connection);
enum kw_http_next kw_http_send_continue(struct kw_http_connection *connection);
enum kw_http_next kw_http_send_answer(struct kw_http_connection *connection);
/* Answers in the floor's own name. */
enum kw_http_next kw_http_refuse(struct kw_http_connection *connection, int status);
/* Puts the job's answer into words. */
enum kw_http_next kw_http_begin_answer(struct kw_http_connection *connection);

#endif
