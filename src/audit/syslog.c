/* syslog: RFC 5424 messages over TCP, framed by their length (RFC 6587 section 3.4.1). */
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "audit/forward.h"

#define CONNECT_MS 5000
/* A receiver's host that acknowledges nothing for so long is gone. */
#define SILENCE_MS 30000

static enum kw_status finish_connecting(struct kw_receiver *receiver, int fd, struct kw_error *err)
{
    int failed = 0;
    socklen_t size = sizeof(failed);
    if (!kw_wait_for(receiver->waiter, fd, POLLOUT, CONNECT_MS))
        failed = ETIMEDOUT;
    else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0)
        failed = errno;
    return failed ? kw_fail_errno(err, KW_WRITE, failed, "it can't be connected to") : KW_OK;
}

static enum kw_status try_address(struct kw_receiver *receiver, const struct addrinfo *address,
                                  struct kw_error *err)
{
    const int on = 1;
    const unsigned silence_ms = SILENCE_MS;
    enum kw_status status = KW_OK;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    address->ai_protocol);
    if (fd < 0)
        return kw_fail_errno(err, KW_WRITE, errno, "no socket can be had");
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms)) != 0)
        status = kw_fail_errno(err, KW_WRITE, errno, "its socket can't be set up");
    else if (connect(fd, address->ai_addr, address->ai_addrlen) != 0)
        status = errno == EINPROGRESS
                     ? finish_connecting(receiver, fd, err)
                     : kw_fail_errno(err, KW_WRITE, errno, "it can't be connected to");
    if (status)
        kw_close(&fd);
    else
        receiver->fd = fd;
    return status;
}

static enum kw_status connect_tcp(struct kw_receiver *receiver, struct kw_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char host[KW_HOST_MAX + 1];
    const char *port = NULL;
    if (!kw_split_address(receiver->address, host, &port))
        return kw_fail(err, KW_CONFIG, "this is not HOST:PORT");
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0)
        return kw_fail(err, KW_WRITE, "its address can't be found out: %s",
                       code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    enum kw_status status = kw_fail(err, KW_WRITE, "it has no address");
    for (const struct addrinfo *at = found; at && status; at = at->ai_next)
        status = try_address(receiver, at, err);
    freeaddrinfo(found);
    return status;
}

/* A receiver has nothing to say, but that it is gone. */
static enum kw_status check_open(int fd, struct kw_error *err)
{
    char ignored[512];
    ssize_t got = recv(fd, ignored, sizeof(ignored), MSG_DONTWAIT);
    if (got == 0)
        return kw_fail(err, KW_WRITE, "it closed the connection");
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        return kw_fail_errno(err, KW_WRITE, errno, "the connection was lost");
    return KW_OK;
}

static enum kw_status send_all(struct kw_receiver *receiver, const void *data, size_t len,
                               struct kw_error *err)
{
    const uint8_t *at = data;
    enum kw_status status = check_open(receiver->fd, err);
    while (len > 0 && !status) {
        ssize_t sent = send(receiver->fd, at, len, MSG_NOSIGNAL);
        if (sent >= 0) {
            at += sent;
            len -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (!kw_wait_for(receiver->waiter, receiver->fd, POLLOUT, KW_NO_LIMIT))
                status = kw_fail(err, KW_WRITE, "it takes no more");
            else
                status = check_open(receiver->fd, err);
        } else if (errno != EINTR) {
            status = kw_fail_errno(err, KW_WRITE, errno, "the connection was lost");
        }
    }
    return status;
}

static enum kw_status format(const char *line, size_t len, struct kw_buffer *message,
                             struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(KW_FORMAT_MAX);
    enum kw_status status = kw_record_syslog(line, len, &text, err);
    if (!status)
        status = kw_buffer_printf(message, err, "%zu ", text.len);
    if (!status)
        status = kw_buffer_append(message, text.data, text.len, err);
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status send_message(struct kw_receiver *receiver, const struct kw_buffer *message,
                                   struct kw_error *err)
{
    return send_all(receiver, message->data, message->len, err);
}

static enum kw_status check(const struct kw_receiver *receiver, size_t *ret_missing,
                            struct kw_error *err)
{
    int bytes = 0;
    *ret_missing = ioctl(receiver->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
    return check_open(receiver->fd, err);
}

const struct kw_receiver_kind kw_syslog = {.name = "syslog",
                                           .connect = connect_tcp,
                                           .format = format,
                                           .send = send_message,
                                           .check = check};
