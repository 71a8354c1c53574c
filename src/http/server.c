/* A server: its loop, its listeners, its end. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "http/internal.h"

#define TICK_MS           100
#define HANDSHAKE_THREADS 2 /* of each listener */
#define LAST_ACCEPTS      8 /* each lets so many in that these are a backlog */

/* ---- beginning ---- */

static void on_wake(evutil_socket_t fd, short what, void *argument);
static void on_tick(evutil_socket_t fd, short what, void *argument);
static void on_deadline(evutil_socket_t fd, short what, void *argument);

/* libevent's warnings would go to standard error. */
static void drop_warning(int severity, const char *message)
{
    (void)severity;
    (void)message;
}

static bool make_events(struct kw_http_server *server)
{
    event_set_log_callback(drop_warning);
    /* What is only asked when it fires needs no locks: other threads write to the eventfd. */
    struct event_config *config = event_config_new();
    if (!config)
        return false;
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0)
        server->base = event_base_new_with_config(config);
    event_config_free(config);
    if (!server->base)
        return false;
    server->wake =
        event_new(server->base, server->done.wake_fd, EV_READ | EV_PERSIST, on_wake, server);
    server->tick = event_new(server->base, -1, EV_PERSIST, on_tick, server);
    server->deadline = evtimer_new(server->base, on_deadline, server);
    return server->wake && server->tick && server->deadline;
}

enum kw_status kw_http_new(struct kw_crypto *crypto, struct kw_http_server **ret_server,
                           struct kw_error *err)
{
    enum kw_status status = kw_crypto_find_kinds(crypto, err);
    struct kw_http_server *server = status ? NULL : calloc(1, sizeof(*server));
    if (!server)
        return status ? status : kw_fail_memory(err);
    server->crypto = crypto;
    SLIST_INIT(&server->listeners);
    pthread_mutex_init(&server->done.mutex, NULL);
    TAILQ_INIT(&server->done.tasks);
    server->done.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->done.wake_fd < 0 || !make_events(server)) {
        kw_http_free(server);
        return kw_fail(err, KW_NO_MEMORY, "an event loop can't be set up");
    }
    *ret_server = server;
    return KW_OK;
}

static void set_limits(struct kw_http_limits *limits, const struct kw_http_limits *given)
{
    *limits = *given;
    if (!limits->body)
        limits->body = (size_t)256 * 1024;
    if (!limits->headers)
        limits->headers = (size_t)16 * 1024;
    if (!limits->connections)
        limits->connections = KW_HTTP_CONNECTIONS;
    if (!limits->idle_s)
        limits->idle_s = 120;
    if (!limits->request_s)
        limits->request_s = 10;
    if (!limits->threads)
        limits->threads = 4;
    if (!limits->queue)
        limits->queue = 1024;
}

static void close_listener(struct kw_http_listener *listener)
{
    if (listener->readable)
        event_free(listener->readable);
    listener->readable = NULL;
    if (!listener->handed_over)
        kw_close(&listener->fd);
}

static void free_listener(struct kw_http_listener *listener)
{
    close_listener(listener);
    kw_http_pool_cleanup(&listener->requests);
    kw_http_pool_cleanup(&listener->handshakes);
    SSL_CTX_free(listener->tls);
    free(listener->name);
    free(listener);
}

static struct kw_http_listener *new_listener(struct kw_http_server *server,
                                             const struct kw_http_listener_options *options)
{
    struct kw_http_listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return NULL;
    listener->server = server;
    listener->fd = -1;
    listener->handed_over = options->fd >= 0;
    listener->handle = options->handle;
    listener->refuse = options->refuse;
    listener->turned_away = options->turned_away;
    listener->context = options->context;
    listener->name = strdup(options->name);
    set_limits(&listener->limits, &options->limits);
    TAILQ_INIT(&listener->unfinished);
    for (int i = 0; i < KW_HTTP_WAITS; i++)
        TAILQ_INIT(&listener->waiting[i]);
    kw_http_pool_init(&listener->requests, listener->limits.threads, listener->limits.queue,
                      &server->done);
    kw_http_pool_init(&listener->handshakes, HANDSHAKE_THREADS, SIZE_MAX, &server->done);
    return listener;
}

enum kw_status kw_http_listen(struct kw_http_server *server,
                              const struct kw_http_listener_options *options, uint16_t *ret_port,
                              struct kw_error *err)
{
    struct kw_http_listener *listener = new_listener(server, options);
    if (!listener)
        return kw_fail_memory(err);
    enum kw_status status = listener->name ? KW_OK : kw_fail_memory(err);
    if (!status && options->tls)
        status = kw_http_tls_new(server->crypto, options->tls, options->name, &listener->tls, err);
    if (!status)
        status = kw_http_bind(options, &listener->fd, ret_port, err);
    if (!status) {
        listener->readable =
            event_new(server->base, listener->fd, EV_READ | EV_PERSIST, kw_http_accept, listener);
        status = listener->readable ? KW_OK : kw_fail_memory(err);
    }
    if (status)
        free_listener(listener);
    else
        SLIST_INSERT_HEAD(&server->listeners, listener, entry);
    return status;
}

/* ---- at work ---- */

static void take_back(struct kw_http_server *server)
{
    struct kw_http_tasks tasks = TAILQ_HEAD_INITIALIZER(tasks);
    struct kw_http_task *task;
    pthread_mutex_lock(&server->done.mutex);
    TAILQ_CONCAT(&tasks, &server->done.tasks, entry);
    pthread_mutex_unlock(&server->done.mutex);
    while ((task = TAILQ_FIRST(&tasks))) {
        TAILQ_REMOVE(&tasks, task, entry);
        task->done(task);
    }
}

static void dismiss_idle(struct kw_http_listener *listener)
{
    struct kw_http_connection *connection, *next;
    for (connection = TAILQ_FIRST(&listener->waiting[KW_HTTP_IDLE]); connection;
         connection = next) {
        next = TAILQ_NEXT(connection, entry);
        kw_http_connection_dismiss(connection);
    }
}

/* Clients that are connected already, and not let in, would be turned away with the socket. */
static void drain(struct kw_http_server *server)
{
    const struct timeval after = {.tv_sec = server->drain_ms / 1000,
                                  .tv_usec = (suseconds_t)(server->drain_ms % 1000) * 1000};
    struct kw_http_listener *listener;
    server->draining = true;
    (void)evtimer_add(server->deadline, &after);
    SLIST_FOREACH(listener, &server->listeners, entry)
    {
        for (int i = 0; i < LAST_ACCEPTS && !listener->handed_over; i++)
            kw_http_accept(listener->fd, EV_READ, listener);
        close_listener(listener);
        dismiss_idle(listener);
    }
    server->closed = true;
    kw_http_look_whether_drained(server);
}

static void on_wake(evutil_socket_t fd, short what, void *argument)
{
    struct kw_http_server *server = argument;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof(count)) < 0)
        return;
    take_back(server);
    if (atomic_load(&server->stopping) && !server->draining)
        drain(server);
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct kw_http_server *server = argument;
    struct kw_http_listener *listener;
    (void)fd;
    (void)what;
    SLIST_FOREACH(listener, &server->listeners, entry)
    if (listener->readable)
        (void)event_add(listener->readable, NULL);
    if (server->on_tick)
        server->on_tick(server->tick_context);
}

static void on_deadline(evutil_socket_t fd, short what, void *argument)
{
    struct kw_http_server *server = argument;
    (void)fd;
    (void)what;
    (void)event_base_loopbreak(server->base);
}

/* ---- the end ---- */

void kw_http_look_whether_drained(struct kw_http_server *server)
{
    if (server->closed && server->connections == 0)
        (void)event_base_loopbreak(server->base);
}

static enum kw_status start(struct kw_http_server *server, struct kw_error *err)
{
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    struct kw_http_listener *listener;
    enum kw_status status = KW_OK;
    if (event_add(server->wake, NULL) != 0 || event_add(server->tick, &tick) != 0)
        return kw_fail_memory(err);
    SLIST_FOREACH(listener, &server->listeners, entry)
    {
        status = kw_http_pool_start(&listener->requests, err);
        if (!status && listener->tls)
            status = kw_http_pool_start(&listener->handshakes, err);
        if (!status && event_add(listener->readable, NULL) != 0)
            status = kw_fail_memory(err);
        if (status)
            break;
    }
    return status;
}

static void finish(struct kw_http_server *server)
{
    struct kw_http_listener *listener;
    SLIST_FOREACH(listener, &server->listeners, entry)
    {
        kw_http_pool_stop(&listener->requests);
        kw_http_pool_stop(&listener->handshakes);
    }
    take_back(server); /* what is ready still goes out, as far as it can at once */
    SLIST_FOREACH(listener, &server->listeners, entry)
    {
        struct kw_http_connection *connection;
        for (int i = 0; i < KW_HTTP_WAITS; i++)
            while ((connection = TAILQ_FIRST(&listener->waiting[i])))
                kw_http_connection_close(connection);
    }
}

enum kw_status kw_http_run(struct kw_http_server *server, unsigned drain_ms,
                           void (*tick)(void *context), void *context, struct kw_error *err)
{
    server->drain_ms = drain_ms;
    server->on_tick = tick;
    server->tick_context = context;
    enum kw_status status = start(server, err);
    if (!status && event_base_dispatch(server->base) < 0)
        status = kw_fail(err, KW_FAULT, "the event loop failed");
    finish(server);
    return status;
}

void kw_http_stop(struct kw_http_server *server)
{
    const uint64_t one = 1;
    atomic_store(&server->stopping, true);
    /* Where the counter is full, the loop has been woken often enough. */
    if (write(server->done.wake_fd, &one, sizeof(one)) < 0)
        return;
}

void kw_http_free(struct kw_http_server *server)
{
    struct kw_http_listener *listener;
    if (!server)
        return;
    while ((listener = SLIST_FIRST(&server->listeners))) {
        SLIST_REMOVE_HEAD(&server->listeners, entry);
        free_listener(listener);
    }
    struct event *const events[] = {server->wake, server->tick, server->deadline};
    for (size_t i = 0; i < KW_COUNT(events); i++)
        if (events[i])
            event_free(events[i]);
    if (server->base)
        event_base_free(server->base);
    kw_close(&server->done.wake_fd);
    pthread_mutex_destroy(&server->done.mutex);
    free(server);
}

/* ---- by name ---- */

static struct kw_http_listener *find(struct kw_http_server *server, const char *name)
{
    struct kw_http_listener *listener;
    SLIST_FOREACH(listener, &server->listeners, entry)
    if (strcmp(listener->name, name) == 0)
        return listener;
    return NULL;
}

enum kw_status kw_http_reload(struct kw_http_server *server, const char *name,
                              const struct kw_http_tls *tls, struct kw_error *err)
{
    struct kw_http_listener *listener = find(server, name);
    SSL_CTX *fresh = NULL;
    if (!listener || !listener->tls)
        return kw_fail(err, KW_CONFIG, "there is no listener \"%s\" with a certificate", name);
    enum kw_status status = kw_http_tls_new(server->crypto, tls, name, &fresh, err);
    if (status)
        return status;
    SSL_CTX_free(listener->tls); /* connections hold it as long as they need it */
    listener->tls = fresh;
    return KW_OK;
}

void kw_http_stats(struct kw_http_server *server, const char *name, struct kw_http_stats *ret_stats)
{
    struct kw_http_listener *listener = find(server, name);
    struct kw_http_stats stats = {.accepted = 0};
    if (listener) {
        stats.accepted = atomic_load(&listener->accepted);
        stats.refused = atomic_load(&listener->refused);
        stats.connections = atomic_load(&listener->connections);
        kw_http_pool_count(&listener->requests, &stats);
    }
    *ret_stats = stats;
}
