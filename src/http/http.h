/* http: HTTP/1.1 over TLS for servers: connections, limits, requests handed to a fixed pool of
 * threads, answers back. Knows no keys and no API.
 *
 * One thread runs the event loop (kw_http_run). Handlers run in the threads of their listener's
 * pool and may block there; the loop never waits for them. Everything that a client sends has a
 * limit, and what a client keeps waiting costs a connection and nothing else. */
#ifndef KW_HTTP_H
#define KW_HTTP_H

#include "base/base.h"
#include "crypto/crypto.h"

/* ---- a request, as a handler sees it; it lives until the handler returns ---- */

enum kw_http_method {
    KW_GET = 1,
    KW_POST = 2,
    KW_PUT = 4,
    KW_PATCH = 8,
    KW_DELETE = 16,
    KW_HEAD = 32
};

#define KW_HTTP_SEGMENTS_MAX 16
#define KW_HTTP_QUERY_MAX    16
#define KW_HTTP_NAMES_MAX    16

struct kw_http_pair {
    const char *name, *value;
};

/* Who is at the other end, as TLS has verified it. */
struct kw_http_peer {
    bool verified;           /* there is a certificate, and the listener's CA vouches for it */
    const char *common_name; /* of its subject, or NULL where there is none or more than one */
    const char *names[KW_HTTP_NAMES_MAX]; /* the first subjectAltNames of type DNS and URI */
    size_t name_count;
    const char *address; /* the numeric IP address, "" on a Unix socket */
};

struct kw_http_request {
    enum kw_http_method method;
    /* The path's parts between slashes, percent-decoded; empty ones are left out, so slashes at the
     * end and double ones don't count. They are UTF-8 without control bytes, but a part may hold
     * "/" (from %2F), and be "." or "..". */
    const char *segments[KW_HTTP_SEGMENTS_MAX];
    size_t segment_count;
    struct kw_http_pair query[KW_HTTP_QUERY_MAX]; /* percent-decoded, "+" as it is; no name twice */
    size_t query_count;
    const char *host;              /* the Host header, or "" */
    const char *authorization;     /* the Authorization header, or NULL */
    const char *client_request_id; /* x-ms-client-request-id where it is 1 to 64 letters, digits
                                      and "-", else NULL */
    struct kw_http_peer peer;
    const char *body; /* with a NUL after it; wiped when the handler has returned */
    size_t body_len;
};
/* The value of a query's name, or NULL. */
const char *kw_http_query(const struct kw_http_request *request, const char *name);

/* ---- an answer ---- */

#define KW_HTTP_HEADERS_MAX 12
#define KW_HTTP_HEADER_SIZE 512
#define KW_HTTP_ANSWER_MAX  ((size_t)4 * 1024 * 1024)

/* Zeroed but for its body's limit, it is 200 without a body. Cleaned up, and its body wiped, by the
 * server. */
struct kw_http_answer {
    int status;
    const char *type; /* of the content, static memory; NULL: application/json; charset=utf-8 */
    struct {
        const char *name; /* static memory */
        char value[KW_HTTP_HEADER_SIZE];
    } headers[KW_HTTP_HEADERS_MAX];
    size_t header_count;
    struct kw_buffer body;
    struct kw_secret *secret; /* instead of `body`, where the answer holds one; owned */
};
/* Adds a header. What does not fit, or holds a byte that no header may have, is KW_FAULT. */
enum kw_status kw_http_header(struct kw_http_answer *answer, const char *name, struct kw_error *err,
                              const char *format, ...) KW_PRINTF(4, 5);

/* Called in a thread of the listener's pool. Fills the answer; it can't fail. */
typedef void (*kw_http_handler)(void *context, const struct kw_http_request *request,
                                struct kw_http_answer *answer);

/* What the server answers by itself, without a handler: 400 where a request is not understood or
 * would be understood in two ways, 405, 408 and 413, 414 and 431 where it goes over a limit, 417,
 * 501 and 505, and 503 where all threads are busy and the queue is full. Called in the loop's
 * thread, to give such an answer the API's form; the status is set already, and stays. 503 gets
 * Retry-After from the server. */
typedef void (*kw_http_refuser)(void *context, int status, struct kw_http_answer *answer);

/* A client's certificate does not hold: before any request, in the loop's thread, which must not
 * wait. `why` is OpenSSL's reason, static memory. */
typedef void (*kw_http_turned_away)(void *context, const char *address, const char *why);

/* ---- a server ---- */

enum kw_client_certificate {
    KW_CERTIFICATE_NONE,     /* none is asked for */
    KW_CERTIFICATE_OPTIONAL, /* one that is given must be good */
    KW_CERTIFICATE_REQUIRED
};
struct kw_http_tls {
    const char *certificate; /* path of a PEM chain, the server's own first */
    const char *key;         /* path of its private key in PEM; or NULL, where `private_key` is */
    struct evp_pkey_st *private_key; /* on a token; referenced for as long as it is in use, and used
                                        by several threads at a time. NULL too: there is none yet,
                                        and nobody gets in before kw_http_reload gives one */
    const char *client_ca;           /* path of PEM certificates, or NULL */
    const char *client_crl; /* path of the current CRLs (RFC 5280) in PEM, one of each CA on the way
                               from a client's certificate to `client_ca`; NULL: none is asked */
    enum kw_client_certificate client_certificate;
    bool only_tls13; /* TLS 1.3 with AES-GCM alone; else TLS 1.2 with ECDHE and AEADs as well */
};
/* The longest body of a request with neither a certificate that was verified nor an Authorization
 * header. */
#define KW_HTTP_ANONYMOUS_BODY_MAX ((size_t)16 * 1024)

#define KW_HTTP_CONNECTIONS 4096
struct kw_http_limits { /* 0 is the default in brackets */
    size_t body;    /* bytes [256 KiB]; less where nobody says who it is, see above; those of all
                       of a listener's requests together have a limit too, over which the
                       connections with the oldest unfinished ones are closed */
    size_t headers; /* bytes, with the request line [16 KiB] */
    size_t connections; /* [KW_HTTP_CONNECTIONS]; over that, those that idle longest are closed,
                           then those whose clients have kept the server waiting longest */
    unsigned idle_s;    /* between two requests of a connection [120] */
    unsigned request_s; /* for TLS's handshake, and from a request's first byte to its last [10] */
    unsigned threads;   /* of the pool [4]; TLS's handshakes have others */
    size_t queue;       /* requests that wait for a thread [1024]; others get 503 */
};
struct kw_http_listener_options {
    const char *name;              /* for messages, and to be found again by kw_http_reload */
    const char *address;           /* HOST:PORT, an IPv6 address in brackets; port 0: any */
    int fd;                        /* a socket that listens already, or -1 */
    const struct kw_http_tls *tls; /* NULL: none, and only an address of the machine's own */
    struct kw_http_limits limits;
    kw_http_handler handle;
    kw_http_refuser refuse;          /* or NULL: such answers have no body */
    kw_http_turned_away turned_away; /* or NULL */
    void *context;
};
struct kw_http_stats {
    uint64_t accepted, refused; /* connections */
    size_t connections, queued, busy_threads;
};

struct kw_http_server;
/* `crypto` must outlive the server. KW_CONFIG, KW_NO_MEMORY. */
enum kw_status kw_http_new(struct kw_crypto *crypto, struct kw_http_server **ret_server,
                           struct kw_error *err);
void kw_http_free(struct kw_http_server *server);
/* Binds and listens; nobody is let in before kw_http_run, so this is for the time before the
 * process is confined. A socket that was handed over stays the caller's, and open. *ret_port may be
 * NULL. KW_CONFIG for a certificate, key or address that can't be used. */
enum kw_status kw_http_listen(struct kw_http_server *server,
                              const struct kw_http_listener_options *options, uint16_t *ret_port,
                              struct kw_error *err);
/* Serves until kw_http_stop was called and all that was begun is answered, or `drain_ms` are over;
 * then it still waits for the handlers that are at work, and for no more. Starts all threads.
 * `tick` is called about each 100 ms in the loop's thread and must not block. SIGPIPE must be
 * ignored. */
enum kw_status kw_http_run(struct kw_http_server *server, unsigned drain_ms,
                           void (*tick)(void *context), void *context, struct kw_error *err);
/* From any thread, or a signal's handler. Listens no more, and closes each connection after its
 * answer, those that idle at once; a client that was heard of in the last second has another one
 * for a request that may be on its way. */
void kw_http_stop(struct kw_http_server *server);
/* In the loop's thread, so from `tick`, or before kw_http_run: connections that come from now on
 * get these certificates; the others stay as they are. On failure the old ones go on to be used. */
enum kw_status kw_http_reload(struct kw_http_server *server, const char *listener,
                              const struct kw_http_tls *tls, struct kw_error *err);
/* From any thread. */
void kw_http_stats(struct kw_http_server *server, const char *listener,
                   struct kw_http_stats *ret_stats);

#endif
