/* One request: who asks, what for, may they; then it is done, and that is counted. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "serve/internal.h"

#define KW_AUTHORITY_SIZE (KW_HOST_SIZE + 32)
static const struct kw_json_limits body_limits = {.bytes = 256 * 1024, .depth = 8, .items = 1000};

/* ---- the number of a request ---- */

/* RFC 9562 section 5.4. */
static enum kw_status make_id(const struct kw_service *service, char id[KW_CALL_ID_SIZE],
                              struct kw_error *err)
{
    uint8_t bytes[16];
    char hex[33];
    enum kw_status status =
        kw_random(kw_keyring_crypto(kw_store_keyring(service->store)), bytes, sizeof(bytes), err);
    if (status)
        return status;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    kw_hex_encode(bytes, sizeof(bytes), hex);
    (void)snprintf(id, KW_CALL_ID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
                   hex + 16, hex + 20);
    return KW_OK;
}

static const char request_id[] = "x-ms-request-id";

/* The numbers that tell this request from all others, and the client's own. */
static enum kw_status give_id(struct kw_call *call, struct kw_error *err)
{
    call->purpose.correlation = call->request->client_request_id;
    enum kw_status status = make_id(call->service, call->id, err);
    if (status)
        return status;
    call->purpose.request = call->id;
    call->purpose.checked = true;
    status = kw_http_header(call->answer, request_id, err, "%s", call->id);
    if (!status && call->purpose.correlation)
        status = kw_http_header(call->answer, "x-ms-client-request-id", err, "%s",
                                call->purpose.correlation);
    return status;
}

/* ---- which route ---- */

/* No other part of a path looks like a version: they are words. */
static bool is_version(const char *segment)
{
    return segment[strspn(segment, "0123456789abcdefABCDEF")] == '\0';
}

/* Whether the request's path is the route's, with its name and version. */
static bool path_is(const struct kw_route *route, const struct kw_http_request *request,
                    size_t first, const char **ret_name, const char **ret_version)
{
    const char *part = route->path;
    size_t i = first;
    *ret_name = *ret_version = NULL;
    for (; *part && i < request->segment_count; i++) {
        size_t len = strcspn(part, "/");
        const char *segment = request->segments[i];
        if (len == 1 && *part == 'N')
            *ret_name = segment;
        else if (len == 1 && *part == 'V' && is_version(segment))
            *ret_version = segment;
        else if (strlen(segment) != len || strncasecmp(segment, part, len) != 0)
            return false;
        part += len + (part[len] == '/');
    }
    return *part == '\0' && i == request->segment_count;
}

/* RFC 9110 section 15.5.6 wants to be told which methods a path takes. */
static enum kw_status refuse_method(struct kw_call *call, unsigned methods, struct kw_error *err)
{
    static const struct {
        enum kw_http_method method;
        const char *name;
    } names[] = {{KW_GET, "GET"},
                 {KW_POST, "POST"},
                 {KW_PUT, "PUT"},
                 {KW_PATCH, "PATCH"},
                 {KW_DELETE, "DELETE"}};
    char list[64] = "";
    size_t len = 0;
    for (size_t i = 0; i < KW_COUNT(names); i++)
        if (methods & (unsigned)names[i].method)
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "",
                                    names[i].name);
    enum kw_status status = kw_http_header(call->answer, "Allow", err, "%s", list);
    return status ? status
                  : kw_call_refuse(call, KW_REFUSE_METHOD, KW_USAGE, err,
                                   "The path does not take this method.");
}

static enum kw_status find_route(struct kw_call *call, const struct kw_api *api,
                                 struct kw_error *err)
{
    const struct kw_http_request *request = call->request;
    size_t first = api->prefix ? 1 : 0;
    unsigned methods = 0;
    bool below = !api->prefix ||
                 (request->segment_count > 0 && strcmp(request->segments[0], api->prefix) == 0);
    for (size_t i = 0; i < api->route_count && below; i++) {
        const char *name, *version;
        if (!path_is(&api->routes[i], request, first, &name, &version))
            continue;
        methods |= (unsigned)api->routes[i].method;
        if (api->routes[i].method != request->method)
            continue;
        call->route = &api->routes[i];
        call->name = name;
        call->version = version;
        return KW_OK;
    }
    if (methods)
        return refuse_method(call, methods, err);
    return kw_call_refuse(call, KW_REFUSE_NOT_FOUND, KW_USAGE, err,
                          "There is nothing under this path.");
}

/* ---- who asks, and may they ---- */

/* Where tokens come from: an address that has a path, as clients take the tenant from it. */
static void write_authority(const struct kw_config *config, const char *host,
                            char out[KW_AUTHORITY_SIZE])
{
    static const char scheme[] = "https://";
    const char *issuer = config->issuer_count > 0 ? config->issuers[0].issuer : NULL;
    const char *rest = issuer && strncmp(issuer, scheme, sizeof(scheme) - 1) == 0
                           ? issuer + sizeof(scheme) - 1
                           : issuer;
    const char *path = rest ? strchr(rest, '/') : NULL;
    if (!issuer)
        (void)snprintf(out, KW_AUTHORITY_SIZE, "https://%s/common", host);
    else if (path && path[1])
        (void)snprintf(out, KW_AUTHORITY_SIZE, "%.200s", issuer);
    else
        (void)snprintf(out, KW_AUTHORITY_SIZE, "%.200s%scommon", issuer, path ? "" : "/");
}

static enum kw_status challenge(struct kw_call *call, const char *message, struct kw_error *err)
{
    char authority[KW_AUTHORITY_SIZE];
    struct kw_error unfit;
    write_authority(&call->policy->config, call->service->host, authority);
    if (kw_http_header(call->answer, "WWW-Authenticate", &unfit,
                       "Bearer authorization=\"%s\", resource=\"%s\"", authority,
                       call->service->resource))
        kw_service_tell(call->service, "%s", unfit.message);
    return kw_call_refuse(call, KW_REFUSE_UNAUTHORIZED, KW_DENIED, err, "%s", message);
}

static const char no_token[] = "AKV10000: Request is missing a Bearer or PoP token.";

static enum kw_status identify(struct kw_call *call, const struct kw_api *api, struct kw_error *err)
{
    struct kw_error why;
    const struct kw_http_request *request = call->request;
    /* Without an issuer nothing can be said of a token; clients of Key Vault send one all the same.
     */
    bool takes_tokens = api->takes_tokens && call->policy->config.issuer_count > 0;
    if (api->takes_tokens && !request->peer.verified && !(takes_tokens && request->authorization))
        return challenge(call, no_token, err);
    enum kw_status status = kw_access_identify(call->policy->access, &request->peer,
                                               takes_tokens ? request->authorization : NULL,
                                               time(NULL), &call->client, &why);
    if (!status) {
        call->purpose.client = kw_client_name(call->client);
        return KW_OK;
    }
    if (status == KW_DENIED)
        kw_call_note_denial(call, why.message);
    return status == KW_DENIED ? challenge(call, "The client is not known here.", err)
                               : kw_fail(err, status, "%s", why.message);
}

/* Clients of Key Vault ask once without a token and without the body, to be told where to get one;
 * those that have a certificate too. */
static enum kw_status check_challenge(struct kw_call *call, const struct kw_api *api,
                                      struct kw_error *err)
{
    const struct kw_http_request *request = call->request;
    if (api->takes_tokens && call->route->wants_body && request->body_len == 0 &&
        !request->authorization)
        return challenge(call, no_token, err);
    return KW_OK;
}

enum kw_status kw_call_authorize(struct kw_call *call, const char *name, struct kw_error *err)
{
    const char *action = kw_action_name(call->route->action);
    if (kw_client_may(call->client, call->route->action, name))
        return KW_OK;
    return kw_call_refuse(call, KW_REFUSE_ROLE, KW_DENIED, err,
                          "Caller is not authorized to perform action on resource. Action: '%s'.",
                          action);
}

static enum kw_status admit(struct kw_call *call, struct kw_error *err)
{
    if (kw_access_admit(call->policy->access, call->client, kw_now_ms(), &call->retry_s))
        return KW_OK;
    return kw_call_refuse(call, KW_REFUSE_TOO_OFTEN, KW_DENIED, err,
                          "The client sends more requests than it may; try again later.");
}

/* ---- what it says ---- */

static enum kw_status parse_body(struct kw_call *call, struct kw_error *err)
{
    const struct kw_http_request *request = call->request;
    struct kw_error fault;
    if (!call->route->wants_body)
        return KW_OK;
    enum kw_status status = kw_json_parse(request->body, request->body_len, &body_limits,
                                          "The request", KW_USAGE, &call->body, &fault);
    if (!status && cJSON_IsObject(call->body))
        return KW_OK;
    if (status && status != KW_USAGE)
        return kw_fail(err, status, "%s", fault.message);
    return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                          "The request has to be a JSON object, of at most %zu bytes and values "
                          "within each other %zu deep.",
                          body_limits.bytes, body_limits.depth);
}

static enum kw_status check_version(struct kw_call *call, const struct kw_api *api,
                                    struct kw_error *err)
{
    const char *version = kw_http_query(call->request, "api-version");
    if (!api->wants_version || (version && version[0]))
        return KW_OK;
    return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                          "The query has to have an api-version, such as 7.4.");
}

/* ---- the answer ---- */

static void refuse(struct kw_call *call, const struct kw_api *api, enum kw_status status,
                   const struct kw_error *why)
{
    const struct kw_refusal_row *row =
        kw_refusal_row(call->is_refused ? call->refusal : kw_refusal_of(status));
    unsigned retry_s = call->retry_s ? call->retry_s : row->retry_s;
    struct kw_error err;
    /* What other floors say is for whoever runs the service: it names tokens, and what to do. */
    bool inside = !call->is_refused || row->status >= 500;
    if (inside)
        kw_service_tell_failure(call->service, KW_TELL_REQUEST, "request %s: %s", call->id,
                                why->message);
    const char *message = inside ? row->message : why->message;
    if (row->status == 403)
        kw_call_note_denial(call, why->message);
    call->answer->status = row->status;
    kw_secret_free(call->answer->secret);
    call->answer->secret = NULL;
    call->answer->body.len = 0;
    if (retry_s > 0 && kw_http_header(call->answer, "Retry-After", &err, "%u", retry_s))
        kw_service_tell(call->service, "%s", err.message);
    if (kw_json_write(api->describe(row, message), KW_JSON_COMPACT, &call->answer->body, &err))
        call->answer->body.len = 0;
}

static void count(const struct kw_call *call, const struct kw_api *api, uint64_t began_us)
{
    struct kw_request_note note = {
        .api = api->name,
        .op = call->route ? call->route->op : "unknown",
        .client = call->purpose.client ? call->purpose.client : "",
        .status = call->answer->status,
        .when = time(NULL),
        .microseconds = kw_now_us() - began_us,
    };
    (void)snprintf(note.id, sizeof(note.id), "%s", call->id);
    (void)snprintf(note.key, sizeof(note.key), "%s", call->name && call->client ? call->name : "");
    kw_metrics_request(call->service->metrics, &note);
}

/* ---- the keys ---- */

static void look_anew(struct kw_call *call)
{
    kw_store_leave(call->snapshot);
    call->snapshot = kw_store_enter(call->service->store);
}

enum kw_status kw_call_change(struct kw_call *call, kw_change_fn work, void *context,
                              struct kw_error *err)
{
    enum kw_status status =
        kw_store_change(call->service->store, &call->purpose, work, context, err);
    look_anew(call);
    return status;
}

/* ---- all of it ---- */

/* A key that is not known may have been made by another program since the token was last read. */
static enum kw_status work(struct kw_call *call, const struct kw_api *api, struct cJSON **ret_json,
                           struct kw_error *err)
{
    enum kw_status status = KW_OK;
    if (api->wants_keys && !call->snapshot) {
        status = kw_store_read_first(call->service->store, err);
        look_anew(call);
    }
    if (!status)
        status = call->route->work(call, ret_json, err);
    if (status != KW_KEY_NOT_FOUND || !kw_store_look_again(call->service->store))
        return status;
    look_anew(call);
    call->is_refused = false;
    return call->route->work(call, ret_json, err);
}

static enum kw_status serve(struct kw_call *call, const struct kw_api *api, struct kw_error *err)
{
    struct cJSON *json = NULL;
    enum kw_status status;
    if ((status = give_id(call, err)) || (status = identify(call, api, err)) ||
        (status = admit(call, err)) || (status = find_route(call, api, err)) ||
        (status = check_challenge(call, api, err)) ||
        (status = kw_call_authorize(call, call->name, err)) ||
        (status = check_version(call, api, err)) || (status = parse_body(call, err)) ||
        (api->check && (status = api->check(call, err))) || (status = work(call, api, &json, err)))
        return status;
    return json ? kw_json_write(json, KW_JSON_COMPACT, &call->answer->body, err) : KW_OK;
}

void kw_call_serve(struct kw_service *service, const struct kw_api *api,
                   const struct kw_http_request *request, struct kw_http_answer *answer)
{
    uint64_t began_us = kw_now_us();
    struct kw_call call = {.service = service,
                           .policy = kw_policy_of(service),
                           .snapshot = kw_store_enter(service->store),
                           .request = request,
                           .answer = answer};
    struct kw_error err = {.status = KW_OK};
    answer->status = 200;
    enum kw_status status = serve(&call, api, &err);
    if (status)
        refuse(&call, api, status, &err);
    count(&call, api, began_us);
    kw_json_wipe_delete(call.body);
    kw_store_leave(call.snapshot);
    kw_policy_leave(call.policy);
}

void kw_call_refuse_unread(struct kw_service *service, const struct kw_api *api, int status,
                           struct kw_http_answer *answer)
{
    static const struct {
        int status;
        enum kw_refusal refusal;
        const char *message;
    } rows[] = {
        {413, KW_REFUSE_TOO_LARGE, "The request's body is too large."},
        {405, KW_REFUSE_METHOD, "No path takes this method."},
        {503, KW_REFUSE_UNAVAILABLE, "The service can't do that now; try again later."},
        {0, KW_REFUSE_PARAMETER,
         "The request is not one of HTTP/1.1, or is too large or too slow."},
    };
    char id[KW_CALL_ID_SIZE];
    size_t i = 0;
    while (rows[i].status && rows[i].status != status)
        i++;
    /* Where that can't be had, the status says it as well. */
    if (status == 405)
        (void)kw_http_header(answer, "Allow", NULL, "GET, POST, PUT, PATCH, DELETE");
    if (make_id(service, id, NULL) == KW_OK)
        (void)kw_http_header(answer, request_id, NULL, "%s", id);
    if (kw_json_write(api->describe(kw_refusal_row(rows[i].refusal), rows[i].message),
                      KW_JSON_COMPACT, &answer->body, NULL))
        answer->body.len = 0;
}
