/* A server that echoes what it understood of a request, for the tests in Python.
 *
 * http_server NAME=VALUE...: certificate, key, client_ca, client_crl (paths); client (none,
 * optional, required); tls13, plain, confined, silent (1); address, fd, body, headers, connections,
 * idle, request, threads, queue, drain_ms; second (1: another listener of the same kind). Prints
 * "port N", and the second one's N, when it listens. SIGHUP: the certificate is read anew. SIGTERM:
 * it drains and ends. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cjson/cJSON.h>
#include <openssl/evp.h>

#include "http/http.h"
#include "slow_key.h"

static volatile sig_atomic_t to_stop, to_reload;

struct settings {
    int argc;
    char **argv;
    struct kw_http_tls tls;
    struct kw_http_server *server;
};

static const char *setting(const struct settings *settings, const char *name)
{
    size_t len = strlen(name);
    for (int i = 1; i < settings->argc; i++)
        if (strncmp(settings->argv[i], name, len) == 0 && settings->argv[i][len] == '=')
            return settings->argv[i] + len + 1;
    return NULL;
}

static unsigned number(const struct settings *settings, const char *name)
{
    const char *text = setting(settings, name);
    return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

/* ---- handlers ---- */

static void add_peer(struct cJSON *json, const struct kw_http_peer *peer)
{
    struct cJSON *object = kw_json_add_object(json, "peer");
    kw_json_add_bool(object, "verified", peer->verified);
    kw_json_add_text(object, "cn", peer->common_name);
    kw_json_add_text(object, "address", peer->address);
    struct cJSON *names = kw_json_add_array(object, "names");
    for (size_t i = 0; i < peer->name_count; i++)
        kw_json_add_text(names, NULL, peer->names[i]);
}

static void echo(const struct kw_http_request *request, struct kw_http_answer *answer)
{
    struct cJSON *json = cJSON_CreateObject();
    kw_json_add_number(json, "method", request->method);
    struct cJSON *segments = kw_json_add_array(json, "segments");
    for (size_t i = 0; i < request->segment_count; i++)
        kw_json_add_text(segments, NULL, request->segments[i]);
    struct cJSON *query = kw_json_add_object(json, "query");
    for (size_t i = 0; i < request->query_count; i++)
        kw_json_add_text(query, request->query[i].name, request->query[i].value);
    kw_json_add_text(json, "host", request->host);
    kw_json_add_text(json, "authorization", request->authorization);
    kw_json_add_text(json, "id", request->client_request_id);
    kw_json_add_text(json, "body", request->body);
    kw_json_add_number(json, "body_len", (double)request->body_len);
    add_peer(json, &request->peer);
    if (kw_json_write(json, KW_JSON_COMPACT, &answer->body, NULL) != KW_OK)
        answer->status = 500;
}

static void sleep_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static void fill(struct kw_http_answer *answer, size_t len)
{
    if (kw_buffer_reserve(&answer->body, len, NULL) != KW_OK)
        return;
    memset(answer->body.data, 'x', len);
    answer->body.len = len;
    answer->type = "text/plain";
}

static void count(const struct settings *settings, struct kw_http_answer *answer)
{
    struct kw_http_stats stats;
    kw_http_stats(settings->server, "test", &stats);
    (void)kw_buffer_printf(&answer->body, NULL,
                           "{\"accepted\":%llu,\"refused\":%llu,\"connections\":%zu,"
                           "\"queued\":%zu,\"busy\":%zu}",
                           (unsigned long long)stats.accepted, (unsigned long long)stats.refused,
                           stats.connections, stats.queued, stats.busy_threads);
}

static void handle(void *context, const struct kw_http_request *request,
                   struct kw_http_answer *answer)
{
    const char *what = request->segment_count > 0 ? request->segments[0] : "";
    long value = request->segment_count > 1 ? strtol(request->segments[1], NULL, 10) : 0;
    if (strcmp(what, "sleep") == 0)
        sleep_ms(value);
    if (strcmp(what, "secret") == 0)
        (void)kw_secret_from("very secret", 11, &answer->secret, NULL);
    else if (strcmp(what, "big") == 0)
        fill(answer, (size_t)value);
    else if (strcmp(what, "status") == 0)
        answer->status = (int)value;
    else if (strcmp(what, "stats") == 0)
        count(context, answer);
    else if (strcmp(what, "header") == 0 && request->segment_count > 1)
        answer->status =
            kw_http_header(answer, "X-Test", NULL, "%s", request->segments[1]) ? 500 : 200;
    else
        echo(request, answer);
}

static void turned_away(void *context, const char *address, const char *why)
{
    (void)context;
    (void)fprintf(stderr, "%s: %s\n", address, why);
}

static void refuse(void *context, int status, struct kw_http_answer *answer)
{
    (void)context;
    (void)kw_buffer_printf(&answer->body, NULL, "{\"refused\":%d}", status);
}

/* ---- the program ---- */

static void on_signal(int number_of)
{
    if (number_of == SIGHUP)
        to_reload = 1;
    else
        to_stop = 1;
}

static void tick(void *context)
{
    struct settings *settings = context;
    struct kw_error error;
    if (to_reload) {
        to_reload = 0;
        if (kw_http_reload(settings->server, "test", &settings->tls, &error) != KW_OK)
            (void)fprintf(stderr, "%s\n", error.message);
        else
            (void)fprintf(stderr, "reloaded\n");
    }
    if (to_stop)
        kw_http_stop(settings->server);
}

/* The leak check of AddressSanitizer looks at the process's threads. */
static enum kw_status confine(struct kw_error *err)
{
    struct kw_confinement confinement = {.network = KW_NETWORK_NONE};
    const char *lacking = NULL;
    enum kw_status status = kw_confine_allow(&confinement, "/proc/self", KW_MAY_READ, err);
    if (!status)
        status = kw_confine(&confinement, &lacking, err);
    kw_confinement_cleanup(&confinement);
    return status;
}

static void read_tls(struct settings *settings)
{
    static const char *const kinds[] = {"none", "optional", "required"};
    const char *client = setting(settings, "client");
    settings->tls = (struct kw_http_tls){
        .certificate = setting(settings, "certificate"),
        .key = setting(settings, "key"),
        .client_ca = setting(settings, "client_ca"),
        .client_crl = setting(settings, "client_crl"),
        .only_tls13 = number(settings, "tls13") == 1,
    };
    if (number(settings, "slow_key"))
        settings->tls.private_key = slow_key_new(settings->tls.key, number(settings, "slow_key"));
    for (int i = KW_CERTIFICATE_NONE; client && i <= KW_CERTIFICATE_REQUIRED; i++)
        if (strcmp(kinds[i], client) == 0)
            settings->tls.client_certificate = (enum kw_client_certificate)i;
}

static enum kw_status serve(struct settings *settings, struct kw_error *err)
{
    const char *address = setting(settings, "address");
    struct kw_http_listener_options options = {
        .name = "test",
        .address = address ? address : "127.0.0.1:0",
        .fd = setting(settings, "fd") ? (int)number(settings, "fd") : -1,
        .tls = number(settings, "plain") ? NULL : &settings->tls,
        .limits = {.body = number(settings, "body"),
                   .headers = number(settings, "headers"),
                   .connections = number(settings, "connections"),
                   .idle_s = number(settings, "idle"),
                   .request_s = number(settings, "request"),
                   .threads = number(settings, "threads"),
                   .queue = number(settings, "queue")},
        .handle = handle,
        .refuse = number(settings, "silent") ? NULL : refuse,
        .turned_away = number(settings, "silent") ? NULL : turned_away,
        .context = settings,
    };
    uint16_t port = 0, second = 0;
    enum kw_status status = kw_http_listen(settings->server, &options, &port, err);
    options.name = "second";
    if (!status && number(settings, "second"))
        status = kw_http_listen(settings->server, &options, &second, err);
    if (!status && number(settings, "confined"))
        status = confine(err);
    if (status)
        return status;
    printf("port %u", port);
    if (second)
        printf(" %u", second);
    printf("\n");
    (void)fflush(stdout);
    return kw_http_run(settings->server, number(settings, "drain_ms"), tick, settings, err);
}

static void take_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGHUP, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

int main(int argc, char **argv)
{
    struct settings settings = {.argc = argc, .argv = argv};
    struct kw_crypto *crypto = NULL;
    struct kw_error error = {.status = KW_OK};
    take_signals();
    read_tls(&settings);
    enum kw_status status = kw_secret_start(&error);
    if (!status)
        status = kw_crypto_new(false, &crypto, &error);
    if (!status)
        status = kw_http_new(crypto, &settings.server, &error);
    if (!status)
        status = serve(&settings, &error);
    kw_http_free(settings.server);
    EVP_PKEY_free(settings.tls.private_key);
    kw_crypto_free(crypto);
    if (status)
        (void)fprintf(stderr, "%s\n", error.message);
    return (int)status;
}
