/* Asks a service for unwraps over connections that stay open, each with a thread of its own.
 *
 *     bench_load --at HOST:PORT --path PATH --ca FILE --wrapped FILE [--bearer FILE]
 *                [--cert FILE --key FILE] [--connections N] [--idle M] [--seconds S] [--rate R]
 *
 * WRAPPED is as of bench_wrap_keys, and no value is sent twice: it ends with S or with the values.
 * With a rate requests are sent when they are due, whether or not earlier ones were answered, and
 * their time counts from then. M more connections are opened before and do nothing meanwhile; each
 * sends one request after it. Prints one JSON object. */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "client.h"
#include "wrapped.h"

#define CONNECTIONS_MAX 1024
#define VALUE_SHOWN     10 /* characters of base64url that hold seven bytes of the number */

static struct bench_server server;
static SSL_CTX *context;
static struct {
    char *text;
    size_t len;
} * requests;
static double *times_ms; /* of each request; 0: not sent */
static size_t request_count;
static atomic_size_t next_request;
static atomic_ulong failures, reopened;
static size_t connections = 8, idle;
static double seconds = 5, rate, started;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_load: %s\n", what);
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        die("there is no clock");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void wait_until(double when)
{
    double left = when - now_s();
    if (left <= 0)
        return;
    const struct timespec rest = {.tv_sec = (time_t)left,
                                  .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
    (void)nanosleep(&rest, NULL); /* shorter at most, and then it is sent early */
}

/* Whether the answer is the data key that holds its number. */
static int is_right(const char *body, size_t number)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *value = strstr(body, "\"value\":");
    uint64_t found = 0;
    value = value ? strchr(value + 8, '"') : NULL;
    for (size_t i = 1; value && i <= VALUE_SHOWN; i++) {
        const char *digit = value[i] ? strchr(digits, value[i]) : NULL;
        if (!digit)
            return 0;
        found = found << 6 | (uint64_t)(digit - digits);
    }
    found >>= 4; /* seven bytes, and the number's lowest came first */
    uint64_t expected = 0;
    for (size_t i = 0; i < 7; i++)
        expected = expected << 8 | (number >> (8 * i) & 0xff);
    return value && found == expected;
}

static void ask(struct bench_client *client, size_t number)
{
    double due = started + (rate > 0 ? (double)number / rate : 0);
    double begin = rate > 0 ? due : now_s();
    wait_until(due);
    if (!client->ssl) {
        reopened++;
        if (bench_client_open(client, context, &server) != 0) {
            failures++;
            return;
        }
    }
    int status = bench_client_ask(client, requests[number].text, requests[number].len);
    times_ms[number] = (now_s() - begin) * 1000;
    if (status != 200 || !is_right(client->body, number)) {
        if (failures++ == 0)
            fprintf(stderr, "bench_load: %d %s\n", status, status > 0 ? client->body : "");
    }
    if (status < 0)
        bench_client_close(client);
}

static void *send_requests(void *argument)
{
    struct bench_client *client = argument;
    while (now_s() < started + seconds) {
        size_t number = next_request++;
        if (number >= request_count)
            break;
        ask(client, number);
    }
    return NULL;
}

/* ---- what was measured ---- */

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void show(double took, size_t idle_answered)
{
    size_t count = 0;
    for (size_t i = 0; i < request_count; i++)
        if (times_ms[i] > 0)
            times_ms[count++] = times_ms[i];
    if (count == 0)
        die("no request was answered");
    qsort(times_ms, count, sizeof(double), by_size);
    printf("{\"requests\": %zu, \"failures\": %lu, \"reopened\": %lu, \"seconds\": %.3f, "
           "\"rate\": %.1f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f, \"idle\": %zu}\n",
           count, atomic_load(&failures), atomic_load(&reopened), took, (double)count / took,
           times_ms[count / 2], times_ms[count * 99 / 100], times_ms[count - 1], idle_answered);
}

/* ---- start ---- */

static void read_options(int argc, char **argv, struct bench_request *request,
                         const char **ret_wrapped)
{
    static const struct option options[] = {
        {"at", 1, NULL, 'a'},      {"path", 1, NULL, 'p'},    {"ca", 1, NULL, 'c'},
        {"wrapped", 1, NULL, 'w'}, {"bearer", 1, NULL, 'b'},  {"cert", 1, NULL, 'C'},
        {"key", 1, NULL, 'k'},     {"seconds", 1, NULL, 's'}, {"connections", 1, NULL, 'n'},
        {"idle", 1, NULL, 'i'},    {"rate", 1, NULL, 'r'},    {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'a':
            server.at = request->host = optarg;
            break;
        case 'p':
            request->path = optarg;
            break;
        case 'c':
            server.ca = optarg;
            break;
        case 'w':
            *ret_wrapped = optarg;
            break;
        case 'b':
            request->bearer = bench_read_line(optarg);
            break;
        case 'C':
            server.certificate = optarg;
            break;
        case 'k':
            server.key = optarg;
            break;
        case 's':
            seconds = strtod(optarg, NULL);
            break;
        case 'n':
            connections = strtoul(optarg, NULL, 10);
            break;
        case 'i':
            idle = strtoul(optarg, NULL, 10);
            break;
        case 'r':
            rate = strtod(optarg, NULL);
            break;
        default:
            die("its options are in load.c");
        }
    if (!server.at || !server.ca || !request->path || !*ret_wrapped || connections == 0 ||
        connections > CONNECTIONS_MAX || (server.certificate && !server.key))
        die("its options are in load.c");
}

static void prepare(const struct bench_request *request, const char *path)
{
    uint8_t *wrapped = bench_read_wrapped(path, &request_count);
    requests = wrapped ? calloc(request_count, sizeof(requests[0])) : NULL;
    times_ms = wrapped ? calloc(request_count, sizeof(double)) : NULL;
    if (!requests || !times_ms)
        die("the wrapped keys can't be read");
    for (size_t i = 0; i < request_count; i++)
        requests[i].text = bench_request_new(request, wrapped + i * BENCH_WRAPPED, BENCH_WRAPPED,
                                             &requests[i].len);
    free(wrapped);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        die("getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        die("setrlimit");
}

static struct bench_client *open_clients(size_t count)
{
    struct bench_client *clients = calloc(count + 1, sizeof(clients[0]));
    if (!clients)
        die("no memory");
    for (size_t i = 0; i < count; i++)
        if (bench_client_open(&clients[i], context, &server) != 0)
            die("the service can't be reached");
    return clients;
}

/* Each of those that did nothing sends one request. */
static size_t wake(struct bench_client *clients)
{
    size_t answered = 0;
    for (size_t i = 0; i < idle; i++)
        answered += bench_client_ask(&clients[i], requests[0].text, requests[0].len) == 200;
    return answered;
}

int main(int argc, char **argv)
{
    struct bench_request request = {.alg = "RSA-OAEP"};
    const char *wrapped = NULL;
    pthread_t threads[CONNECTIONS_MAX];
    read_options(argc, argv, &request, &wrapped);
    prepare(&request, wrapped);
    context = bench_client_context(&server);
    struct bench_client *silent = open_clients(idle), *busy = open_clients(connections);
    started = now_s();
    for (size_t i = 0; i < connections; i++)
        if (pthread_create(&threads[i], NULL, send_requests, &busy[i]) != 0)
            die("no thread can be made");
    for (size_t i = 0; i < connections; i++)
        if (pthread_join(threads[i], NULL) != 0)
            die("a thread can't be joined");
    double took = now_s() - started;
    show(took, wake(silent));
    return failures ? 1 : 0;
}
