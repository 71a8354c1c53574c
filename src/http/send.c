/* Answers out. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/internal.h"

#define HEAD_MAX ((size_t)16 * 1024)

/* ---- in words ---- */

static const char *reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < KW_COUNT(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}

/* RFC 9110 section 5.6.7; strftime's names are of the locale. */
static enum kw_status write_date(struct kw_buffer *out)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = time(NULL);
    struct tm at;
    if (!gmtime_r(&now, &at))
        return KW_OK;
    return kw_buffer_printf(out, NULL, "Date: %.3s, %02d %.3s %d %02d:%02d:%02d GMT\r\n",
                            &days[3 * at.tm_wday], at.tm_mday, &months[3 * at.tm_mon],
                            at.tm_year + 1900, at.tm_hour, at.tm_min, at.tm_sec);
}

static enum kw_status write_head(const struct kw_http_answer *answer, size_t body_len, bool last,
                                 struct kw_buffer *out)
{
    enum kw_status status = kw_buffer_printf(out, NULL,
                                             "HTTP/1.1 %d %s\r\nCache-Control: no-cache\r\n"
                                             "X-Content-Type-Options: nosniff\r\n",
                                             answer->status, reason(answer->status));
    if (!status)
        status = write_date(out);
    if (!status && body_len > 0)
        status = kw_buffer_printf(out, NULL, "Content-Type: %s\r\n",
                                  answer->type ? answer->type : "application/json; charset=utf-8");
    if (!status && answer->status != 204 && answer->status != 304)
        status = kw_buffer_printf(out, NULL, "Content-Length: %zu\r\n", body_len);
    for (size_t i = 0; i < answer->header_count && !status; i++)
        status = kw_buffer_printf(out, NULL, "%s: %s\r\n", answer->headers[i].name,
                                  answer->headers[i].value);
    if (!status)
        status = kw_buffer_printf(out, NULL, last ? "Connection: close\r\n\r\n" : "\r\n");
    return status;
}

static const uint8_t *body_of(const struct kw_http_answer *answer, size_t *ret_len)
{
    *ret_len = answer->secret ? kw_secret_len(answer->secret) : answer->body.len;
    if (answer->status == 204 || answer->status == 304)
        *ret_len = 0;
    return answer->secret ? kw_secret_bytes(answer->secret) : answer->body.data;
}

/* A small body that is no secret goes into one piece with the head. */
static bool join_body(struct kw_http_connection *connection)
{
    struct kw_http_answer *answer = &connection->job->answer;
    size_t len = 0;
    const uint8_t *body = body_of(answer, &len);
    if (answer->secret || len == 0 || len > KW_HTTP_PIECE - HEAD_MAX / 4)
        return true;
    bool joined = kw_http_bytes_append(&connection->out, body, len);
    kw_http_answer_cleanup(answer);
    return joined;
}

enum kw_http_next kw_http_begin_answer(struct kw_http_connection *connection)
{
    struct kw_http_job *job = connection->job;
    struct kw_buffer head = KW_BUFFER_INIT(HEAD_MAX);
    size_t len = 0;
    if (job->answer.status == 0)
        job->answer.status = 200;
    connection->close = connection->close || connection->listener->server->draining;
    (void)body_of(&job->answer, &len);
    bool written = write_head(&job->answer, len, connection->close, &head) == KW_OK &&
                   kw_http_bytes_append(&connection->out, head.data, head.len);
    kw_buffer_cleanup(&head);
    if (job->request.method == KW_HEAD)
        kw_http_answer_cleanup(&job->answer);
    if (!written || !join_body(connection))
        return KW_HTTP_CLOSE;
    kw_http_connection_enter(connection, KW_HTTP_SEND);
    return KW_HTTP_GO;
}

/* ---- in the floor's own name ---- */

enum kw_http_next kw_http_refuse(struct kw_http_connection *connection, int status)
{
    struct kw_http_listener *listener = connection->listener;
    bool whole = connection->state == KW_HTTP_WORK;
    if (!connection->job)
        connection->job = kw_http_job_new(connection);
    struct kw_http_job *job = connection->job;
    if (!job)
        return KW_HTTP_CLOSE;
    connection->close = connection->close || !whole;
    kw_http_bodies_forget(job);
    job->answer.status = status;
    if (listener->refuse)
        listener->refuse(listener->context, status, &job->answer);
    job->answer.status = status;
    if (status == 503)
        (void)kw_http_header(&job->answer, "Retry-After", NULL, "1");
    return kw_http_begin_answer(connection);
}

/* ---- on the way ---- */

/* Writes what is left of `data`, of which `before` bytes come first of all that is sent. */
static enum kw_http_next send_rest(struct kw_http_connection *connection, const uint8_t *data,
                                   size_t len, size_t before)
{
    enum kw_http_next next = KW_HTTP_GO;
    while (next == KW_HTTP_GO && connection->sent < before + len) {
        size_t done = connection->sent - before, written = 0;
        next = kw_http_io_write(connection, data + done, len - done, &written);
        connection->sent += written;
    }
    return next;
}

static enum kw_http_next send_out(struct kw_http_connection *connection)
{
    return send_rest(connection, connection->out.data, connection->out.len, 0);
}

static void forget_answer(struct kw_http_connection *connection)
{
    kw_http_bytes_cleanup(&connection->out);
    connection->sent = 0;
}

enum kw_http_next kw_http_send_continue(struct kw_http_connection *connection)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    enum kw_http_next next =
        connection->out.len > 0 || kw_http_bytes_append(&connection->out, text, sizeof(text) - 1)
            ? send_out(connection)
            : KW_HTTP_CLOSE;
    if (next != KW_HTTP_GO)
        return next;
    forget_answer(connection);
    connection->state = KW_HTTP_BODY;
    return KW_HTTP_GO;
}

enum kw_http_next kw_http_send_answer(struct kw_http_connection *connection)
{
    size_t len = 0, before = connection->out.len;
    const uint8_t *body = body_of(&connection->job->answer, &len);
    enum kw_http_next next = send_out(connection);
    if (next == KW_HTTP_GO && len > 0)
        next = send_rest(connection, body, len, before);
    if (next != KW_HTTP_GO)
        return next;
    forget_answer(connection);
    kw_http_job_free(connection->job);
    connection->job = NULL;
    if (connection->close)
        kw_http_io_finish(connection);
    kw_http_connection_enter(connection, connection->close ? KW_HTTP_LINGER : KW_HTTP_BEGIN);
    return KW_HTTP_GO;
}
