/* Requests in: their heads and bodies, within their limits. */
#include <string.h>

#include "http/internal.h"

static enum kw_http_next read_more(struct kw_http_connection *connection, size_t most)
{
    uint8_t *piece = connection->listener->server->piece;
    size_t len = 0;
    enum kw_http_next next =
        kw_http_io_read(connection, piece, most < KW_HTTP_PIECE ? most : KW_HTTP_PIECE, &len);
    if (next == KW_HTTP_GO && !kw_http_bytes_append(&connection->in, piece, len))
        next = KW_HTTP_CLOSE;
    kw_wipe(piece, len);
    return next;
}

/* Whoever says nothing about who it is has little to say: others shall not read more for it. */
static size_t body_max(const struct kw_http_job *job)
{
    size_t max = job->listener->limits.body;
    bool anonymous = !job->request.peer.verified && !job->request.authorization;
    return anonymous && max > KW_HTTP_ANONYMOUS_BODY_MAX ? KW_HTTP_ANONYMOUS_BODY_MAX : max;
}

static enum kw_http_next begin_body(struct kw_http_connection *connection)
{
    struct kw_http_job *job = connection->job;
    const struct kw_http_head *head = &job->head;
    bool awaited = head->chunked || head->length > connection->in.len;
    job->body_max = body_max(job);
    if (head->length > job->body_max)
        return kw_http_refuse(connection, 413);
    kw_http_connection_enter(connection, KW_HTTP_BODY);
    if (head->expects && awaited && !head->old)
        kw_http_connection_enter(connection, KW_HTTP_CONTINUE);
    return KW_HTTP_GO;
}

/* The head is the first `len` bytes of what has come. */
static enum kw_http_next take_head(struct kw_http_connection *connection, size_t len)
{
    struct kw_http_job *job = kw_http_job_new(connection);
    if (!job)
        return KW_HTTP_CLOSE;
    connection->job = job;
    if (!kw_http_bytes_append(&job->text, connection->in.data, len))
        return KW_HTTP_CLOSE;
    kw_http_bytes_drop(&connection->in, len);
    connection->scanned = 0;
    int refused = kw_http_parse_head((char *)job->text.data, len, &job->head, &job->request);
    if (refused)
        return kw_http_refuse(connection, refused);
    connection->close = job->head.close;
    return begin_body(connection);
}

/* Which limit it is that a head without an end went over. */
static int too_large(const struct kw_http_bytes *in)
{
    return memchr(in->data, '\n', in->len) ? 431 : 414;
}

/* One empty line before a request is let through (RFC 9112 section 2.2). */
static void skip_empty_line(struct kw_http_connection *connection)
{
    struct kw_http_bytes *in = &connection->in;
    if (connection->state == KW_HTTP_BEGIN && in->len >= 2 && in->data[0] == '\r' &&
        in->data[1] == '\n')
        kw_http_bytes_drop(in, 2);
}

enum kw_http_next kw_http_receive_head(struct kw_http_connection *connection)
{
    struct kw_http_bytes *in = &connection->in;
    size_t max = connection->listener->limits.headers, len = 0;
    if (in->len > 0) {
        skip_empty_line(connection);
        if (connection->state == KW_HTTP_BEGIN)
            kw_http_connection_enter(connection, KW_HTTP_HEAD);
        int refused = kw_http_find_head(in->data, in->len, &connection->scanned, &len);
        if (refused)
            return kw_http_refuse(connection, refused);
        if (len > max || (len == 0 && in->len >= max))
            return kw_http_refuse(connection, too_large(in));
        if (len > 0)
            return take_head(connection, len);
    }
    return read_more(connection, max);
}

/* Moves what has come to the body, for which others' connections may be closed; *ret_left is how
 * much is missing at least. */
static int take_body(struct kw_http_connection *connection, size_t *ret_left)
{
    struct kw_http_job *job = connection->job;
    struct kw_http_bytes *in = &connection->in;
    size_t used = 0;
    if (job->head.chunked) {
        int refused =
            kw_http_take_chunks(&job->chunks, in->data, in->len, job->body_max, &job->body, &used);
        if (refused)
            return refused;
        *ret_left = job->chunks.done ? 0 : KW_HTTP_PIECE;
    } else {
        size_t left = (size_t)job->head.length - job->body.len;
        used = left < in->len ? left : in->len;
        if (!kw_http_bytes_append(&job->body, in->data, used))
            return 503;
        *ret_left = left - used;
    }
    kw_http_bytes_drop(in, used);
    return kw_http_bodies_count(job) ? 0 : 503;
}

enum kw_http_next kw_http_receive_body(struct kw_http_connection *connection)
{
    struct kw_http_job *job = connection->job;
    size_t left = 0;
    int refused = take_body(connection, &left);
    if (refused)
        return kw_http_refuse(connection, refused);
    if (left > 0)
        return read_more(connection, left);
    kw_http_bodies_finish(job);
    job->request.body = job->body.data ? (const char *)job->body.data : "";
    job->request.body_len = job->body.len;
    kw_http_connection_enter(connection, KW_HTTP_WORK);
    if (kw_http_pool_take(&connection->listener->requests, &job->task))
        return KW_HTTP_PAUSE;
    return kw_http_refuse(connection, 503);
}
