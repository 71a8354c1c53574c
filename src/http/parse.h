/* http: the text of a request, without sockets. Strict: what two readers of HTTP/1.1 could take for
 * different things is refused, not guessed at (RFC 9112 section 11.2).
 *
 * Functions return 0, or the status that the request is refused with. */
#ifndef KW_HTTP_PARSE_H
#define KW_HTTP_PARSE_H

#include "http/http.h"

/* Bytes that may be part of a secret: wiped when moved, dropped or freed. Zeroed, it is empty. */
struct kw_http_bytes {
    uint8_t *data;
    size_t len, capacity;
};
/* Room for `more` bytes and one after them; false for want of memory. */
bool kw_http_bytes_reserve(struct kw_http_bytes *bytes, size_t more);
bool kw_http_bytes_append(struct kw_http_bytes *bytes, const void *data, size_t len);
/* Takes the first `len` bytes away. */
void kw_http_bytes_drop(struct kw_http_bytes *bytes, size_t len);
void kw_http_bytes_cleanup(struct kw_http_bytes *bytes);

/* What of a head is for the server itself. */
struct kw_http_head {
    bool old;     /* HTTP/1.0: no keep-alive, no chunks */
    bool close;   /* the client wants no more answers on this connection */
    bool expects; /* it waits for "100 Continue" before it sends the body */
    bool chunked;
    bool has_length;
    uint64_t length;
};

#define KW_HTTP_FIELDS_MAX 100

/* How much of `data` is the head, with the empty line at its end; *ret_len is 0 where that has not
 * come yet. *scanned is where the last look ended, 0 at first. Lines end with CR LF, and neither
 * stands alone. */
int kw_http_find_head(const uint8_t *data, size_t len, size_t *scanned, size_t *ret_len);
/* RFC 9112 sections 3 and 5. `text` is a head that was found; it is changed, and *request (zeroed)
 * points into it. */
int kw_http_parse_head(char *text, size_t len, struct kw_http_head *ret_head,
                       struct kw_http_request *request);
/* RFC 3986: splits a path with its query, and decodes the parts. "+" means itself. */
int kw_http_parse_target(char *target, struct kw_http_request *request);

/* RFC 9112 section 7.1, without extensions and without trailers. Zeroed, it is at the start. */
struct kw_http_chunks {
    int phase;
    unsigned digits;
    uint64_t left; /* of the chunk */
    bool done;
};
/* Takes what it can of `data`; *ret_used is how much. 413 where the body grows over `max`. */
int kw_http_take_chunks(struct kw_http_chunks *chunks, const uint8_t *data, size_t len, size_t max,
                        struct kw_http_bytes *body, size_t *ret_used);

#endif
