/* The status page: plain HTML, without anything from elsewhere. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "serve/internal.h"

#define SECONDS_A_DAY 86400

/* A page on its way out. The first failure stays, and what comes after it is not written. */
struct page {
    struct kw_buffer *text;
    enum kw_status status;
    struct kw_error *err;
};

static void put(struct page *page, const char *html)
{
    if (!page->status)
        page->status = kw_buffer_append(page->text, html, strlen(html), page->err);
}

/* Text from outside: what HTML has a meaning for is written as its number. */
static void put_text(struct page *page, const char *text)
{
    for (; *text && !page->status; text++) {
        if (strchr("<>&\"'", *text))
            page->status = kw_buffer_printf(page->text, page->err, "&#%d;", *text);
        else
            page->status = kw_buffer_append(page->text, text, 1, page->err);
    }
}

static void put_cell(struct page *page, const char *text)
{
    put(page, "<td>");
    put_text(page, text);
    put(page, "</td>");
}

/* What has no class is neither good nor bad. */
static void put_marked(struct page *page, const char *class, const char *text)
{
    put(page, "<td class=\"");
    put(page, class);
    put(page, "\">");
    put_text(page, text);
    put(page, "</td>");
}

static void put_marked_row(struct page *page, const char *name, const char *class,
                           const char *value)
{
    put(page, "<tr><th>");
    put_text(page, name);
    put(page, "</th>");
    put_marked(page, class, value);
    put(page, "</tr>\n");
}

static void put_row(struct page *page, const char *name, const char *value)
{
    put_marked_row(page, name, "", value);
}

static void put_code(struct page *page, const char *text)
{
    put(page, "<td><code>");
    put_text(page, text);
    put(page, "</code></td>");
}

static const char *write_time(int64_t when, char out[KW_TIMESTAMP_SIZE])
{
    kw_timestamp((time_t)when, out);
    return out;
}

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width\"><title>Keyward</title><style>"
    "body{font:14px/1.5 sans-serif;margin:2em;color:#1f2328;background:#fff}"
    "h1{font-size:1.6em;margin:0 0 .8em}h2{font-size:1.1em;margin:0 0 .4em}"
    "main{display:flex;flex-wrap:wrap;gap:1.6em 3em}.wide{flex-basis:100%;overflow-x:auto}"
    "table{border-collapse:collapse}"
    "th,td{padding:.25em 1.2em .25em 0;text-align:left;vertical-align:top;"
    "border-bottom:1px solid #d8dee4}"
    ".wide th,.wide td{white-space:nowrap}th{color:#59636e;font-weight:normal}"
    ".good{color:#116329;font-weight:bold}.bad{color:#a40e26;font-weight:bold}.off{color:#818b98}"
    "code{font-size:12px}"
    "</style></head><body>\n<h1>Keyward " KW_VERSION "</h1>\n<main>\n";

/* ---- the sections ---- */

static void put_service(struct page *page, struct kw_service *service)
{
    const struct kw_token_info *token = NULL;
    struct kw_keyring_stats stats;
    char text[160], time_text[KW_TIMESTAMP_SIZE];
    bool ready = atomic_load(&service->ready);
    put(page, "<section><h2>Service</h2>\n<table>\n");
    put_marked_row(page, "state", ready ? "good" : "bad",
                   ready ? "ready" : "not ready: the token does not answer");
    put_row(page, "host", service->host);
    put_row(page, "started", write_time((int64_t)service->began, time_text));
    put(page, "</table></section>\n<section><h2>Token</h2>\n<table>\n");
    kw_keyring_stats(kw_store_keyring(service->store), &stats);
    if (ready && kw_keyring_token(kw_store_keyring(service->store), &token, NULL) == KW_OK) {
        put_row(page, "label", token->label);
        put_row(page, "serial", token->serial);
        put_row(page, "model", token->model);
    }
    (void)snprintf(text, sizeof(text), "%zu open, %zu at work, at most %zu", stats.sessions,
                   stats.sessions_in_use, stats.sessions_max);
    put_row(page, "sessions", text);
    (void)snprintf(text, sizeof(text), "%llu recoveries, %llu switches to the second token%s",
                   (unsigned long long)stats.recoveries, (unsigned long long)stats.failovers,
                   stats.on_second ? ", which serves now" : "");
    put_row(page, "trouble", text);
    put(page, "</table></section>\n");
}

static void put_expiry(struct page *page, int64_t expires)
{
    char text[80], time_text[KW_TIMESTAMP_SIZE];
    int64_t left = expires - (int64_t)time(NULL);
    long long days = (long long)(left < 0 ? -left : left) / SECONDS_A_DAY;
    if (expires == 0) {
        put_cell(page, "never");
        return;
    }
    (void)snprintf(text, sizeof(text), "%s, %s%lld day%s%s", write_time(expires, time_text),
                   left < 0 ? "expired " : "in ", days, days == 1 ? "" : "s",
                   left < 0 ? " ago" : "");
    put_marked(page, left < 0 ? "bad" : "", text);
}

static void put_key(struct page *page, const struct kw_stored *stored)
{
    char text[80];
    enum kw_key_state state = kw_key_state(stored->record);
    put(page, "<tr>");
    put_cell(page, stored->key->label);
    put_code(page, stored->version);
    (void)snprintf(text, sizeof(text), "RSA %zu", kw_rsa_bits(&stored->key->public));
    put_cell(page, text);
    put_marked(page, state == KW_KEY_ENABLED ? "" : "off", kw_key_state_name(state));
    put_expiry(page, kw_stored_expires(stored));
    put(page, "</tr>\n");
}

static void put_keys(struct page *page, struct kw_call *call)
{
    size_t count = 0;
    put(page,
        "<section "
        "class=\"wide\"><h2>Keys</h2>\n<table>\n<tr><th>name</th><th>version</th><th>kind</th>"
        "<th>state</th><th>expires</th></tr>\n");
    const struct kw_stored *all = kw_store_all(call->snapshot, &count);
    for (size_t i = 0; i < count; i++)
        if (kw_client_may(call->client, KW_ACT_STATUS, all[i].key->label))
            put_key(page, &all[i]);
    put(page, "</table></section>\n");
}

static void put_trail(struct page *page, struct kw_service *service)
{
    char text[KW_MESSAGE_SIZE], time_text[KW_TIMESTAMP_SIZE];
    (void)pthread_mutex_lock(&service->lock);
    struct kw_trail_view view = service->trail;
    (void)pthread_mutex_unlock(&service->lock);
    put(page, "<section><h2>Audit trail</h2>\n<table>\n");
    if (view.when == 0) {
        put_row(page, "verdict", "not verified yet");
    } else {
        bool good = view.status == KW_OK && view.verdict.tamper == KW_GOOD;
        put_marked_row(page, "verdict", good ? "good" : "bad",
                       good ? "it verifies" : view.verdict.message);
        put_row(page, "verified", write_time((int64_t)view.when, time_text));
        (void)snprintf(text, sizeof(text), "%llu, of which the last checkpoint covers %llu",
                       (unsigned long long)view.verdict.records,
                       (unsigned long long)view.verdict.signed_records);
        put_row(page, "records", text);
        put_row(page, "key", view.verdict.key[0] ? view.verdict.key : "none has signed it");
    }
    put(page, "</table></section>\n");
}

static void put_requests(struct page *page, struct kw_service *service)
{
    struct kw_request_note notes[KW_LAST_REQUESTS];
    size_t count = kw_metrics_last(service->metrics, notes);
    put(page, "<section class=\"wide\"><h2>Last "
              "requests</h2>\n<table>\n<tr><th>time</th><th>client</th><th>operation</th>"
              "<th>key</th><th>status</th><th>milliseconds</th><th>number</th></tr>\n");
    for (size_t i = 0; i < count; i++) {
        char text[40], time_text[KW_TIMESTAMP_SIZE];
        put(page, "<tr>");
        put_cell(page, write_time((int64_t)notes[i].when, time_text));
        put_cell(page, notes[i].client);
        put_cell(page, notes[i].op);
        put_cell(page, notes[i].key);
        (void)snprintf(text, sizeof(text), "%d", notes[i].status);
        put_marked(page, notes[i].status < 400 ? "" : "bad", text);
        (void)snprintf(text, sizeof(text), "%.1f", (double)notes[i].microseconds / 1000);
        put_cell(page, text);
        put_code(page, notes[i].id);
        put(page, "</tr>\n");
    }
    put(page, "</table></section>\n");
}

enum kw_status kw_status_page(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct page page = {.text = &call->answer->body, .err = err};
    (void)ret_json;
    call->answer->type = "text/html; charset=utf-8";
    enum kw_status status =
        kw_http_header(call->answer, "Content-Security-Policy", err,
                       "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    if (status)
        return status;
    bool sees_trail = kw_client_may(call->client, KW_ACT_TRAIL, NULL);
    put(&page, head);
    put_service(&page, call->service);
    if (sees_trail)
        put_trail(&page, call->service);
    put_keys(&page, call);
    if (sees_trail)
        put_requests(&page, call->service);
    put(&page, "</main></body></html>\n");
    return page.status;
}
