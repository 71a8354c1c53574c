/* The status listener: health, Prometheus's metrics and a page for people. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "serve/internal.h"

#define SECONDS_A_DAY 86400

/* ---- metrics ---- */

static enum kw_status write_keyring(struct kw_service *service, struct kw_buffer *text,
                                    struct kw_error *err)
{
    struct kw_keyring_stats stats;
    kw_keyring_stats(kw_store_keyring(service->store), &stats);
    const struct {
        const char *name, *type, *help;
        double value;
    } figures[] = {
        {"keyward_ready", "gauge", "Whether the token answers and its keys are known.",
         atomic_load(&service->ready)},
        {"keyward_token_sessions", "gauge", "Sessions that are open.", (double)stats.sessions},
        {"keyward_token_sessions_in_use", "gauge", "Sessions at work.",
         (double)stats.sessions_in_use},
        {"keyward_token_sessions_max", "gauge", "Sessions that there may be.",
         (double)stats.sessions_max},
        {"keyward_token_recoveries_total", "counter", "Sessions and logins that were won back.",
         (double)stats.recoveries},
        {"keyward_token_failovers_total", "counter", "Switches to the second token.",
         (double)stats.failovers},
        {"keyward_token_returns_total", "counter", "Switches back to the first token.",
         (double)stats.returns},
        {"keyward_token_on_second", "gauge", "Whether the second token serves.", stats.on_second},
        {"process_start_time_seconds", "gauge", "When the service started, in unix time.",
         (double)service->began},
    };
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_COUNT(figures) && !status; i++)
        status = kw_metrics_figure(text, figures[i].name, figures[i].type, figures[i].help, "",
                                   figures[i].value, err);
    return status;
}

static enum kw_status write_listeners(struct kw_service *service, struct kw_buffer *text,
                                      struct kw_error *err)
{
    static const char *const names[] = {"vault", "proxy", "status"};
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_COUNT(names) && !status; i++) {
        struct kw_http_stats stats = {.accepted = 0};
        char labels[40];
        kw_http_stats(service->http, names[i], &stats);
        (void)snprintf(labels, sizeof(labels), "{listener=\"%s\"}", names[i]);
        status = kw_metrics_figure(text, "keyward_connections", "gauge",
                                   i ? NULL : "Connections that are open.", labels,
                                   (double)stats.connections, err);
    }
    return status;
}

static enum kw_status write_trail(struct kw_service *service, struct kw_buffer *text,
                                  struct kw_error *err)
{
    (void)pthread_mutex_lock(&service->lock);
    struct kw_trail_view view = service->trail;
    (void)pthread_mutex_unlock(&service->lock);
    if (view.when == 0)
        return KW_OK;
    bool good = view.status == KW_OK && view.verdict.tamper == KW_GOOD;
    enum kw_status status = kw_metrics_figure(
        text, "keyward_audit_verifies", "gauge",
        "Whether the audit trail was what it should be when it was last read.", "", good, err);
    if (!status)
        status = kw_metrics_figure(text, "keyward_audit_verified_time_seconds", "gauge",
                                   "When that was, in unix time.", "", (double)view.when, err);
    if (!status)
        status = kw_metrics_figure(text, "keyward_audit_records", "gauge",
                                   "Records that there were then.", "",
                                   (double)view.verdict.records, err);
    if (!status)
        status =
            kw_metrics_figure(text, "keyward_audit_lag_records", "gauge",
                              "Records that no signed checkpoint covered then.", "",
                              (double)(view.verdict.records - view.verdict.signed_records), err);
    return status;
}

/* Of the newest version of each key that the client may look at. */
static enum kw_status write_expiries(const struct kw_call *call, struct kw_buffer *text,
                                     struct kw_error *err)
{
    size_t count = 0;
    const struct kw_stored *all = kw_store_all(call->snapshot, &count);
    const char *last = "", *help = "Days until a key's newest version expires.";
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < count && !status; i++) {
        char labels[KW_NAME_MAX + 16];
        int64_t expires = kw_stored_expires(&all[i]);
        if (kw_stored_is_deleted(&all[i]) || strcasecmp(last, all[i].key->label) == 0)
            continue;
        last = all[i].key->label;
        if (expires == 0 || !kw_client_may(call->client, KW_ACT_STATUS, last))
            continue;
        (void)snprintf(labels, sizeof(labels), "{key=\"%.*s\"}", KW_NAME_MAX, last);
        status = kw_metrics_figure(text, "keyward_key_expiry_days", "gauge", help, labels,
                                   (double)(expires - (int64_t)time(NULL)) / SECONDS_A_DAY, err);
        help = NULL;
    }
    return status;
}

static enum kw_status metrics(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct kw_service *service = call->service;
    struct kw_buffer *text = &call->answer->body;
    enum kw_status status;
    (void)ret_json;
    call->answer->type = "text/plain; version=0.0.4; charset=utf-8";
    if ((status = kw_metrics_write(service->metrics, text, err)) ||
        (status = write_keyring(service, text, err)) ||
        (status = write_listeners(service, text, err)) ||
        (status = write_trail(service, text, err)))
        return status;
    return write_expiries(call, text, err);
}

/* ---- the routes ---- */

static const struct kw_route routes[] = {
    {KW_GET, "metrics", "metrics", KW_ACT_STATUS, false, metrics},
    {KW_GET, "", "page", KW_ACT_STATUS, false, kw_status_page},
};

static struct cJSON *describe(const struct kw_refusal_row *row, const char *message)
{
    return kw_vault_api.describe(row, message);
}

const struct kw_api kw_status_api = {
    .name = "status",
    .routes = routes,
    .route_count = KW_COUNT(routes),
    .takes_tokens = true,
    .describe = describe,
};

/* ---- health, which everybody may ask for ---- */

static bool is_path(const struct kw_http_request *request, const char *first, const char *second)
{
    return request->method == KW_GET && request->segment_count == 2 &&
           strcmp(request->segments[0], first) == 0 && strcmp(request->segments[1], second) == 0;
}

static void say(struct kw_http_answer *answer, int status, const char *text)
{
    answer->status = status;
    answer->type = "text/plain; charset=utf-8";
    if (kw_buffer_append(&answer->body, text, strlen(text), NULL))
        answer->body.len = 0; /* the status says it all */
}

void kw_handle_status(void *context, const struct kw_http_request *request,
                      struct kw_http_answer *answer)
{
    struct kw_service *service = context;
    if (is_path(request, "health", "alive")) {
        say(answer, 200, "alive\n");
    } else if (is_path(request, "health", "ready")) {
        bool ready = atomic_load(&service->ready) && !atomic_load(&service->stopping);
        say(answer, ready ? 200 : 503, ready ? "ready\n" : "not ready\n");
    } else {
        kw_call_serve(service, &service->status, request, answer);
    }
}
