/* Sockets that listen, and the connections that come in by them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/internal.h"

#define BACKLOG     512
#define ACCEPTS_MAX 64 /* before others have their turn */

/* ---- addresses ---- */

static bool is_own(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        return ntohl(four->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
    return address->ss_family == AF_UNIX;
}

/* The numeric address; "" where it has none. One of IPv4 looks the same through an IPv6 socket. */
static void show(const struct sockaddr_storage *address, char out[INET6_ADDRSTRLEN])
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    const void *bytes = NULL;
    int family = address->ss_family;
    if (family == AF_INET)
        bytes = &((const struct sockaddr_in *)address)->sin_addr;
    else if (family == AF_INET6)
        bytes = &six->sin6_addr;
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        bytes = &six->sin6_addr.s6_addr[12];
        family = AF_INET;
    }
    if (!bytes || !inet_ntop(family, bytes, out, INET6_ADDRSTRLEN))
        out[0] = '\0';
}

/* ---- listening ---- */

static enum kw_status bind_to(const struct addrinfo *found, const char *address, int *ret_fd,
                              struct kw_error *err)
{
    const int on = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return kw_fail_errno(err, KW_CONFIG, errno, "no socket can be had for %s", address);
    enum kw_status status = KW_OK;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        status = kw_fail_errno(err, KW_CONFIG, errno, "%s can't be listened on", address);
    if (status)
        kw_close(&fd);
    else
        *ret_fd = fd;
    return status;
}

static enum kw_status open_address(const char *address, int *ret_fd, struct kw_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[KW_HOST_MAX + 1];
    const char *port = NULL;
    if (!kw_split_address(address, host, &port))
        return kw_fail(err, KW_CONFIG, "\"%s\" is not HOST:PORT", address);
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0)
        return kw_fail(err, KW_CONFIG, "the address %s can't be found out: %s", address,
                       code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    enum kw_status status = kw_fail(err, KW_CONFIG, "%s has no address", address);
    for (const struct addrinfo *at = found; at && status; at = at->ai_next)
        status = bind_to(at, address, ret_fd, err);
    freeaddrinfo(found);
    return status;
}

/* A socket that is handed over: a stream that listens. */
static enum kw_status check_handed_over(int fd, const char *name, struct kw_error *err)
{
    int listens = 0, type = 0;
    socklen_t size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens)
        return kw_fail(err, KW_CONFIG,
                       "what was handed over for the listener \"%s\" is no stream socket that "
                       "listens",
                       name);
    if (evutil_make_socket_nonblocking(fd) != 0 || evutil_make_socket_closeonexec(fd) != 0)
        return kw_fail_errno(err, KW_CONFIG, errno, "the socket of \"%s\" can't be set up", name);
    return KW_OK;
}

static enum kw_status look_at(int fd, const struct kw_http_listener_options *options,
                              uint16_t *ret_port, struct kw_error *err)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0)
        return kw_fail_errno(err, KW_CONFIG, errno, "the address of \"%s\" can't be read",
                             options->name);
    if (!options->tls && !is_own(&address))
        return kw_fail(err, KW_CONFIG,
                       "the listener \"%s\" has no certificate, and others could reach it; give "
                       "it one, or an address such as 127.0.0.1:PORT",
                       options->name);
    in_port_t port = 0;
    if (address.ss_family == AF_INET)
        port = ((const struct sockaddr_in *)&address)->sin_port;
    else if (address.ss_family == AF_INET6)
        port = ((const struct sockaddr_in6 *)&address)->sin6_port;
    if (ret_port)
        *ret_port = ntohs(port);
    return KW_OK;
}

enum kw_status kw_http_bind(const struct kw_http_listener_options *options, int *ret_fd,
                            uint16_t *ret_port, struct kw_error *err)
{
    int fd = options->fd;
    enum kw_status status = fd >= 0 ? check_handed_over(fd, options->name, err)
                                    : open_address(options->address, &fd, err);
    if (status)
        return status;
    status = look_at(fd, options, ret_port, err);
    if (status && options->fd < 0)
        kw_close(&fd);
    if (!status)
        *ret_fd = fd;
    return status;
}

/* ---- accepting ---- */

/* Closes what is waited for longest, an idle connection before all; false where there is none but
 * those whose answers are being made. */
static bool make_room(struct kw_http_listener *listener)
{
    for (int i = KW_HTTP_IDLE; i <= KW_HTTP_CLIENT; i++) {
        struct kw_http_connection *oldest = TAILQ_FIRST(&listener->waiting[i]);
        if (!oldest)
            continue;
        kw_http_connection_close(oldest);
        return true;
    }
    return false;
}

static void welcome(struct kw_http_listener *listener, int fd,
                    const struct sockaddr_storage *address)
{
    const int on = 1;
    char shown[INET6_ADDRSTRLEN];
    if (atomic_load(&listener->connections) >= listener->limits.connections &&
        !make_room(listener)) {
        kw_close(&fd);
        atomic_fetch_add(&listener->refused, 1);
        return;
    }
    show(address, shown);
    /* A socket without TCP has no such option. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    kw_http_connection_start(listener, fd, shown);
}

/* Without descriptors or memory the same call would fail at once, again and again: the tick listens
 * anew, and an idle connection makes room. */
static void rest(struct kw_http_listener *listener)
{
    (void)event_del(listener->readable);
    (void)make_room(listener);
}

void kw_http_accept(evutil_socket_t fd, short what, void *argument)
{
    struct kw_http_listener *listener = argument;
    (void)what;
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
        socklen_t size = sizeof(address);
        int got = accept4(fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got >= 0) {
            welcome(listener, got, &address);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            rest(listener);
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}
