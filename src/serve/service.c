/* The service: its listeners, its APIs, its start and its end. */
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/anomaly.h"
#include "serve/internal.h"

#define HTTPS_PORT      443
#define DEFAULT_DRAIN_S 30

void kw_service_tell(struct kw_service *service, const char *format, ...)
{
    char line[2 * KW_MESSAGE_SIZE];
    va_list args;
    if (!service->options.tell)
        return;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    service->options.tell(service->options.context, line);
}

/* ---- listeners ---- */

static void handle_vault(void *context, const struct kw_http_request *request,
                         struct kw_http_answer *answer)
{
    struct kw_service *service = context;
    kw_call_serve(service, &service->vault, request, answer);
}

static void handle_proxy(void *context, const struct kw_http_request *request,
                         struct kw_http_answer *answer)
{
    struct kw_service *service = context;
    kw_call_serve(service, &service->proxy, request, answer);
}

static void refuse_vault(void *context, int status, struct kw_http_answer *answer)
{
    struct kw_service *service = context;
    kw_call_refuse_unread(service, &service->vault, status, answer);
}

static void refuse_proxy(void *context, int status, struct kw_http_answer *answer)
{
    struct kw_service *service = context;
    kw_call_refuse_unread(service, &service->proxy, status, answer);
}

static void turned_away(void *context, const char *address, const char *why)
{
    kw_service_tell_failure(context, KW_TELL_CERTIFICATE,
                            "the certificate of a client at %s does not hold: %s", address, why);
}

static const struct listener_row {
    const char *name;
    kw_http_handler handle;
    kw_http_refuser refuse;
    unsigned threads; /* unless the configuration says it */
    bool only_tls13, wants_certificates;
} listeners[KW_PLACES] = {
    {"vault", handle_vault, refuse_vault, 16, false, false},
    {"proxy", handle_proxy, refuse_proxy, 16, true, true},
    {"status", kw_handle_status, refuse_vault, 2, false, false},
};

static const struct listener_row *row_of(const char *name)
{
    for (size_t i = 0; i < KW_COUNT(listeners); i++)
        if (strcmp(listeners[i].name, name) == 0)
            return &listeners[i];
    return NULL;
}

static enum kw_status choose_certificates(const struct kw_config_listener *listener,
                                          const struct listener_row *row,
                                          enum kw_client_certificate *ret_choice,
                                          struct kw_error *err)
{
    static const char *const names[] = {[KW_CERTIFICATE_NONE] = "none",
                                        [KW_CERTIFICATE_OPTIONAL] = "optional",
                                        [KW_CERTIFICATE_REQUIRED] = "required"};
    enum kw_client_certificate choice = row->wants_certificates ? KW_CERTIFICATE_REQUIRED
                                        : listener->client_ca   ? KW_CERTIFICATE_OPTIONAL
                                                                : KW_CERTIFICATE_NONE;
    for (size_t i = 0; i < KW_COUNT(names) && listener->client_certificate; i++)
        if (strcmp(listener->client_certificate, names[i]) == 0)
            choice = (enum kw_client_certificate)i;
    if (row->wants_certificates && choice != KW_CERTIFICATE_REQUIRED)
        return kw_fail(err, KW_CONFIG,
                       "[listener %s] has to require client certificates, as nothing else says who "
                       "asks there; take client-certificate out",
                       row->name);
    if (choice == KW_CERTIFICATE_NONE && listener->client_crl)
        return kw_fail(err, KW_CONFIG,
                       "[listener %s] has a client-crl and asks for no client certificates",
                       row->name);
    if (choice != KW_CERTIFICATE_NONE && !listener->client_ca)
        return kw_fail(err, KW_CONFIG,
                       "[listener %s] asks for client certificates and has no client-ca to check "
                       "them by",
                       row->name);
    *ret_choice = choice;
    return KW_OK;
}

enum kw_status kw_listener_tls(const struct kw_config_listener *listener, struct kw_http_tls *tls,
                               struct kw_error *err)
{
    const struct listener_row *row = row_of(listener->name);
    if (!listener->certificate || !listener->key)
        return kw_fail(err, KW_CONFIG,
                       "[listener %s] needs certificate and key; hsm-setup/certificates makes some "
                       "for trials",
                       listener->name);
    *tls = (struct kw_http_tls){.certificate = listener->certificate,
                                .key = kw_is_uri(listener->key) ? NULL : listener->key,
                                .client_ca = listener->client_ca,
                                .client_crl = listener->client_crl,
                                .only_tls13 = row->only_tls13};
    return choose_certificates(listener, row, &tls->client_certificate, err);
}

static int socket_of(const struct kw_service *service, const char *name)
{
    for (size_t i = 0; i < service->options.socket_count; i++)
        if (strcmp(service->options.sockets[i].name, name) == 0)
            return service->options.sockets[i].fd;
    return -1;
}

/* As clients see the Key Vault API: with the port, unless it is HTTPS's own. */
static enum kw_status name_host(struct kw_service *service,
                                const struct kw_config_listener *listener, uint16_t port,
                                struct kw_error *err)
{
    char address[KW_HOST_SIZE];
    (void)snprintf(address, sizeof(address), "%.255s", listener->address);
    char *colon = strrchr(address, ':');
    if (colon)
        *colon = '\0';
    const char *host = listener->host ? listener->host : address;
    size_t len = strlen(host);
    bool has_port = strrchr(host, ':') && host[len - 1] != ']';
    if (len > 255 || strspn(host, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "-._~:[]") != len)
        return kw_fail(err, KW_CONFIG, "[listener vault] host is no name of a host");
    if (has_port || port == HTTPS_PORT)
        (void)snprintf(service->host, sizeof(service->host), "%s", host);
    else
        (void)snprintf(service->host, sizeof(service->host), "%s:%u", host, port);
    if (listener->resource)
        (void)snprintf(service->resource, sizeof(service->resource), "%.255s", listener->resource);
    else
        (void)snprintf(service->resource, sizeof(service->resource), "https://%.280s",
                       strchr(service->host, '.') ? strchr(service->host, '.') + 1 : service->host);
    return KW_OK;
}

static void note_place(struct kw_service *service, const struct kw_config_listener *listener,
                       const char *name, uint16_t port, bool tls)
{
    if (service->place_count == KW_PLACES)
        return;
    const char *colon = strrchr(listener->address, ':');
    int len = colon ? (int)(colon - listener->address) : (int)strlen(listener->address);
    size_t i = service->place_count++;
    service->places[i].name = name;
    (void)snprintf(service->places[i].url, sizeof(service->places[i].url), "%s://%.*s:%u",
                   tls ? "https" : "http", len < KW_HOST_SIZE ? len : KW_HOST_SIZE - 1,
                   listener->address, port);
}

static void tell_places(const struct kw_service *service)
{
    for (size_t i = 0; i < service->place_count && service->options.listening; i++)
        service->options.listening(service->options.context, service->places[i].name,
                                   service->places[i].url);
}

static enum kw_status listen_on(struct kw_service *service,
                                const struct kw_config_listener *listener, struct kw_error *err)
{
    const struct listener_row *row = row_of(listener->name);
    struct kw_http_tls tls;
    uint16_t port = 0;
    /* A status listener may do without TLS on an address of the machine's own. */
    bool plain = row->handle == kw_handle_status && !listener->certificate && !listener->key;
    enum kw_status status = plain ? KW_OK : kw_listener_tls(listener, &tls, err);
    if (status)
        return status;
    if (!listener->address)
        return kw_fail(err, KW_CONFIG, "[listener %s] has no address; add address = HOST:PORT",
                       listener->name);
    const struct kw_http_listener_options options = {
        .name = row->name,
        .address = listener->address,
        .fd = socket_of(service, row->name),
        .tls = plain ? NULL : &tls,
        .limits = {.connections = (size_t)listener->connections,
                   .idle_s = (unsigned)listener->idle_s,
                   .request_s = (unsigned)listener->request_s,
                   .threads = listener->threads ? (unsigned)listener->threads : row->threads},
        .handle = row->handle,
        .refuse = row->refuse,
        .turned_away = turned_away,
        .context = service,
    };
    status = kw_http_listen(service->http, &options, &port, err);
    if (!status && row->handle == handle_vault)
        status = name_host(service, listener, port, err);
    if (!status)
        note_place(service, listener, row->name, port, !plain);
    return status;
}

static void begin_proxy(struct kw_service *service, const struct kw_config_listener *listener)
{
    kw_store_want_aes(service->store);
    if (!listener->prefix)
        return;
    (void)snprintf(service->prefix, sizeof(service->prefix), "%.*s", KW_PREFIX_MAX,
                   listener->prefix);
    service->proxy.prefix = service->prefix;
}

static enum kw_status listen_all(struct kw_service *service, struct kw_error *err)
{
    const struct kw_config *config = &service->policy->config;
    enum kw_status status = KW_OK;
    bool serves = false;
    for (size_t i = 0; i < config->listener_count && !status; i++) {
        const struct kw_config_listener *listener = &config->listeners[i];
        serves = serves || strcmp(listener->name, "status") != 0;
        if (strcmp(listener->name, "proxy") == 0)
            begin_proxy(service, listener);
        status = listen_on(service, listener, err);
    }
    if (!status && !serves)
        status = kw_fail(err, KW_CONFIG,
                         "nothing is to be served; add a [listener vault] or a [listener proxy]");
    return status;
}

/* ---- the service ---- */

static struct kw_service *service_new(const struct kw_service_options *options)
{
    struct kw_service *service = calloc(1, sizeof(*service));
    if (!service || pthread_mutex_init(&service->lock, NULL) != 0) {
        free(service);
        return NULL;
    }
    kw_cond_init(&service->wake);
    (void)pthread_mutex_init(&service->denials.lock, NULL); /* can't fail on Linux */
    service->options = *options;
    service->vault = kw_vault_api;
    service->proxy = kw_proxy_api;
    service->status = kw_status_api;
    service->began = time(NULL);
    return service;
}

enum kw_status kw_service_open(const struct kw_service_options *options,
                               struct kw_service **ret_service, struct kw_error *err)
{
    struct kw_service *service = service_new(options);
    if (!service)
        return kw_fail_memory(err);
    enum kw_status status;
    if ((status = kw_store_open(&options->keyring, &service->store, err)) ||
        (status = kw_metrics_new(&service->metrics, err)) ||
        (status = kw_remember_usual(service, err)) ||
        (status = kw_policy_load(NULL, options->keyring.config_file, &service->policy, err)) ||
        (status = kw_http_new(kw_keyring_crypto(kw_store_keyring(service->store)), &service->http,
                              err)) ||
        (status = listen_all(service, err))) {
        kw_service_free(service);
        return status;
    }
    *ret_service = service;
    return KW_OK;
}

void kw_service_free(struct kw_service *service)
{
    if (!service)
        return;
    kw_http_free(service->http);
    kw_policy_leave(service->policy);
    kw_anomaly_free(service->anomaly);
    free(service->usual_path);
    kw_metrics_free(service->metrics);
    kw_store_free(service->store);
    (void)pthread_mutex_destroy(&service->denials.lock);
    (void)pthread_cond_destroy(&service->wake);
    (void)pthread_mutex_destroy(&service->lock);
    free(service);
}

void kw_service_keyrings(struct kw_service *service, struct kw_keyring *keyrings[2])
{
    keyrings[0] = kw_store_keyring(service->store);
    keyrings[1] = kw_store_manager(service->store);
}

/* The folder, so that a file that is put in the place of another one can be read too. */
static enum kw_status allow_folder_of(const char *path, enum kw_may access,
                                      struct kw_confinement *confinement, struct kw_error *err)
{
    if (!path || path[0] != '/')
        return KW_OK;
    char *copy = strdup(path);
    enum kw_status status =
        copy ? kw_confine_allow(confinement, dirname(copy), access, err) : kw_fail_memory(err);
    free(copy);
    return status;
}

enum kw_status kw_service_allow(struct kw_service *service, struct kw_confinement *confinement,
                                struct kw_error *err)
{
    const struct kw_config *config = &service->policy->config;
    enum kw_status status = kw_config_allow(service->options.keyring.config_file, confinement, err);
    for (size_t i = 0; i < config->listener_count && !status; i++) {
        const struct kw_config_listener *listener = &config->listeners[i];
        if (!(status = allow_folder_of(listener->certificate, KW_MAY_READ, confinement, err)) &&
            !(status = allow_folder_of(listener->key, KW_MAY_READ, confinement, err)))
            status = allow_folder_of(listener->client_ca, KW_MAY_READ, confinement, err);
        if (!status)
            status = allow_folder_of(listener->client_crl, KW_MAY_READ, confinement, err);
    }
    for (size_t i = 0; i < config->issuer_count && !status; i++)
        if (!(status = allow_folder_of(config->issuers[i].jwks, KW_MAY_READ, confinement, err)))
            status = allow_folder_of(config->issuers[i].ca, KW_MAY_READ, confinement, err);
    if (!status)
        status = allow_folder_of(service->usual_path, KW_MAY_WRITE, confinement, err);
    confinement->network = KW_NETWORK_TCP;
    return status;
}

/* ---- running ---- */

static void tick(void *context)
{
    struct kw_service *service = context;
    enum kw_service_wish wish =
        service->options.tick ? service->options.tick(service->options.context) : KW_GO_ON;
    (void)pthread_mutex_lock(&service->lock);
    bool tls_due = service->tls_due;
    service->tls_due = false;
    if (service->end.status)
        wish = KW_STOP;
    if (wish == KW_RELOAD) {
        service->reload = true;
        (void)pthread_cond_signal(&service->wake);
    }
    (void)pthread_mutex_unlock(&service->lock);
    if (tls_due) {
        kw_replace_certificates(service);
        kw_service_tell(service, "the configuration was read anew");
    }
    kw_service_tell_left_out(service);
    if (wish == KW_STOP && !atomic_exchange(&service->stopping, true)) {
        kw_service_tell(service, "stopping: what was begun is answered first");
        kw_http_stop(service->http);
    }
}

enum kw_status kw_service_run(struct kw_service *service, struct kw_error *err)
{
    long drain_s = service->policy->config.service.drain_s;
    struct kw_policy *policy = NULL;
    enum kw_status status = kw_policy_load(kw_keyring_crypto(kw_store_keyring(service->store)),
                                           service->options.keyring.config_file, &policy, err);
    if (status)
        return status;
    kw_policy_replace(service, policy);
    status = kw_policy_reserve(service, policy, err);
    if (!status)
        status = kw_tls_keys_begin(service, err);
    if (!status)
        status = kw_notifier_start(service, err);
    if (!status)
        status = kw_caretaker_start(service, err);
    if (!status)
        tell_places(service);
    if (!status)
        status = kw_http_run(service->http, (unsigned)(drain_s ? drain_s : DEFAULT_DRAIN_S) * 1000,
                             tick, service, err);
    atomic_store(&service->stopping, true);
    kw_caretaker_end(service);
    kw_notifier_end(service);
    kw_keyring_close_trail(kw_store_keyring(service->store));
    if (!status && service->end.status) {
        *err = service->end;
        status = err->status;
    }
    return status;
}
