#include "client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>

#define PATIENCE_S 60 /* for an answer */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s can't be used\n", what);
    exit(1);
}

SSL_CTX *bench_client_context(const struct bench_server *server)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_load_verify_locations(context, server->ca, NULL) != 1)
        die(server->ca);
    if (server->certificate &&
        (SSL_CTX_use_certificate_chain_file(context, server->certificate) != 1 ||
         SSL_CTX_use_PrivateKey_file(context, server->key, SSL_FILETYPE_PEM) != 1))
        die(server->certificate);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
    return context;
}

static int connect_to(const char *at)
{
    char host[256];
    const char *colon = strrchr(at, ':');
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (!colon || (size_t)(colon - at) >= sizeof(host))
        die(at);
    memcpy(host, at, (size_t)(colon - at));
    host[colon - at] = '\0';
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return -1;
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    const int on = 1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
                    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
                    connect(fd, found->ai_addr, found->ai_addrlen) != 0)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

int bench_client_open(struct bench_client *client, SSL_CTX *context,
                      const struct bench_server *server)
{
    int fd = connect_to(server->at);
    client->ssl = fd >= 0 ? SSL_new(context) : NULL;
    if (!client->ssl) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (SSL_set_fd(client->ssl, fd) == 1 && SSL_connect(client->ssl) == 1)
        return 0;
    bench_client_close(client);
    return -1;
}

void bench_client_close(struct bench_client *client)
{
    if (!client->ssl)
        return;
    close(SSL_get_fd(client->ssl));
    SSL_free(client->ssl);
    client->ssl = NULL;
}

/* How long head and body are together, once the head is there; else 0. */
static size_t whole_length(struct bench_client *client)
{
    char *end = strstr(client->answer, "\r\n\r\n");
    const char *length = end ? strcasestr(client->answer, "\r\ncontent-length:") : NULL;
    if (!length || length > end)
        return 0;
    client->body = end + 4;
    return (size_t)(client->body - client->answer) + strtoul(length + 17, NULL, 10);
}

int bench_client_ask(struct bench_client *client, const char *request, size_t len)
{
    size_t got = 0, whole = 0;
    if (SSL_write(client->ssl, request, (int)len) != (int)len)
        return -1;
    while (whole == 0 || got < whole) {
        int more =
            SSL_read(client->ssl, client->answer + got, (int)(sizeof(client->answer) - 1 - got));
        if (more <= 0)
            return -1;
        got += (size_t)more;
        client->answer[got] = '\0';
        whole = whole_length(client);
        if (whole >= sizeof(client->answer) || (whole == 0 && got == sizeof(client->answer) - 1))
            return -1;
    }
    return (int)strtol(client->answer + sizeof("HTTP/1.1"), NULL, 10);
}

/* RFC 4648 section 5, without padding. */
static void to_base64url(const unsigned char *data, size_t len, char *out)
{
    EVP_EncodeBlock((unsigned char *)out, data, (int)len);
    for (; *out; out++)
        *out = *out == '+' ? '-' : *out == '/' ? '_' : *out == '=' ? '\0' : *out;
}

char *bench_request_new(const struct bench_request *request, const unsigned char *wrapped,
                        size_t wrapped_len, size_t *ret_len)
{
    static const char context[] = "\"request_context\":{\"request_id\":\"r\",\"correlation_id\":"
                                  "\"c\",\"pool_name\":\"pool\"},";
    size_t room = wrapped_len * 2 + 4096;
    char *value = malloc(room), *body = malloc(room), *whole = malloc(room * 2);
    if (!value || !body || !whole)
        die("memory");
    to_base64url(wrapped, wrapped_len, value);
    int body_len = snprintf(body, room, "{%s\"alg\":\"%s\",\"value\":\"%s\"}",
                            request->bearer ? "" : context, request->alg, value);
    int len = snprintf(whole, room * 2,
                       "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                       "Content-Length: %d\r\n%s%s%s\r\n%s",
                       request->path, request->host, body_len,
                       request->bearer ? "Authorization: Bearer " : "",
                       request->bearer ? request->bearer : "", request->bearer ? "\r\n" : "", body);
    free(value);
    free(body);
    *ret_len = (size_t)len;
    return whole;
}

char *bench_read_line(const char *path)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(path, "re");
    if (!file || getline(&line, &room, file) <= 0)
        die(path);
    line[strcspn(line, "\r\n")] = '\0';
    (void)fclose(file); /* it was only read */
    return line;
}
