/* A client of HTTP/1.1 over TLS that costs next to nothing: blocking, one request at a time. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stddef.h>

#include <openssl/ssl.h>

struct bench_server {
    const char *at;          /* HOST:PORT */
    const char *ca;          /* path of PEM certificates */
    const char *certificate; /* path of the client's, or NULL */
    const char *key;
};
/* Ends the process where a file can't be read. */
SSL_CTX *bench_client_context(const struct bench_server *server);

#define BENCH_ANSWER_MAX 16384
struct bench_client {
    SSL *ssl;
    char answer[BENCH_ANSWER_MAX]; /* head and body, with a NUL after it */
    const char *body;              /* in `answer` */
};
/* 0, or -1 where it can't be reached. */
int bench_client_open(struct bench_client *client, SSL_CTX *context,
                      const struct bench_server *server);
void bench_client_close(struct bench_client *client);
/* Sends a whole request and reads its answer, which has to have a Content-Length. Returns its
 * status, or -1 where there is none. */
int bench_client_ask(struct bench_client *client, const char *request, size_t len);

/* A POST with a JSON body that asks for an unwrap. */
struct bench_request {
    const char *host, *path;
    const char *bearer; /* or NULL: of the external key proxy */
    const char *alg;
};
/* Allocated; *ret_len is its length. */
char *bench_request_new(const struct bench_request *request, const unsigned char *wrapped,
                        size_t wrapped_len, size_t *ret_len);

/* The first line of a file, allocated. Ends the process where there is none. */
char *bench_read_line(const char *path);

#endif
