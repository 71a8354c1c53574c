/* Bytes in and out of a connection, with TLS or without. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "http/internal.h"

/* After SSL_... returned `code`. */
static enum kw_http_next tls_next(struct kw_http_connection *connection, int code)
{
    switch (SSL_get_error(connection->tls, code)) {
    case SSL_ERROR_NONE:
        return KW_HTTP_GO;
    case SSL_ERROR_WANT_READ:
        return KW_HTTP_READ;
    case SSL_ERROR_WANT_WRITE:
        return KW_HTTP_WRITE;
    default:
        ERR_clear_error();
        return KW_HTTP_CLOSE;
    }
}

static enum kw_http_next plain_next(ssize_t done, enum kw_http_next again, size_t *ret_len)
{
    if (done > 0) {
        *ret_len = (size_t)done;
        return KW_HTTP_GO;
    }
    return done < 0 && (errno == EAGAIN || errno == EINTR) ? again : KW_HTTP_CLOSE;
}

enum kw_http_next kw_http_io_handshake(struct kw_http_connection *connection)
{
    ERR_clear_error();
    return tls_next(connection, SSL_accept(connection->tls));
}

enum kw_http_next kw_http_io_read(struct kw_http_connection *connection, void *data, size_t size,
                                  size_t *ret_len)
{
    if (!connection->tls)
        return plain_next(recv(connection->fd, data, size, 0), KW_HTTP_READ, ret_len);
    ERR_clear_error();
    return tls_next(connection, SSL_read_ex(connection->tls, data, size, ret_len));
}

enum kw_http_next kw_http_io_write(struct kw_http_connection *connection, const void *data,
                                   size_t len, size_t *ret_len)
{
    if (!connection->tls)
        return plain_next(send(connection->fd, data, len, MSG_NOSIGNAL), KW_HTTP_WRITE, ret_len);
    ERR_clear_error();
    return tls_next(connection, SSL_write_ex(connection->tls, data, len, ret_len));
}

void kw_http_io_finish(struct kw_http_connection *connection)
{
    /* Neither can do more than not get there. */
    if (connection->tls && SSL_is_init_finished(connection->tls)) {
        (void)SSL_shutdown(connection->tls);
        ERR_clear_error();
    }
    (void)shutdown(connection->fd, SHUT_WR);
}
