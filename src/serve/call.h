/* call: one request on its way through the service: who asks, may they, what came of it. The same
 * for the Key Vault API and for the proxy's; they differ in their routes and in how they say no. */
#ifndef KW_CALL_H
#define KW_CALL_H

#include "http/http.h"
#include "serve/access.h"
#include "serve/store.h"

struct cJSON;
struct kw_service;
struct kw_policy;

/* ---- saying no: refusal.c ---- */

enum kw_refusal {
    KW_REFUSE_FAULT, /* and whatever has no row of its own */
    KW_REFUSE_PARAMETER,
    KW_REFUSE_NOT_SUPPORTED,
    KW_REFUSE_UNAUTHORIZED,
    KW_REFUSE_ROLE,
    KW_REFUSE_DISABLED,
    KW_REFUSE_OPERATION, /* not one of the key's, or not at this time */
    KW_REFUSE_POLICY,    /* protected from being purged */
    KW_REFUSE_NOT_FOUND,
    KW_REFUSE_NO_KEY,
    KW_REFUSE_METHOD,
    KW_REFUSE_CONFLICT,
    KW_REFUSE_DELETED, /* there is one of that name, which can be recovered */
    KW_REFUSE_TOO_LARGE,
    KW_REFUSE_TOO_OFTEN,
    KW_REFUSE_UNAVAILABLE, /* the token, or the audit trail */
    KW_REFUSAL_COUNT
};
struct kw_refusal_row {
    int status;
    const char *code;       /* Key Vault's */
    const char *inner;      /* its innererror's, or NULL */
    const char *proxy_code; /* the external key proxy's */
    unsigned retry_s;       /* for Retry-After, or 0 */
    const char *message; /* for whoever asked, where the service did not refuse in its own words */
};
const struct kw_refusal_row *kw_refusal_row(enum kw_refusal refusal);
/* What a status means to whoever asked. */
enum kw_refusal kw_refusal_of(enum kw_status status);

/* ---- the call ---- */

#define KW_CALL_ID_SIZE 37 /* of a UUID (RFC 9562) with its NUL */

struct kw_call {
    struct kw_service *service;
    struct kw_policy *policy; /* the configuration as it was when the call came */
    const struct kw_http_request *request;
    struct kw_http_answer *answer;
    const struct kw_route *route;   /* NULL where there is none */
    const struct kw_client *client; /* NULL where it is not known who asks */
    char id[KW_CALL_ID_SIZE];
    struct kw_purpose purpose;          /* client, request and correlation */
    const struct kw_snapshot *snapshot; /* of the keys: what was found in it stays while it is the
                                           call's */
    const char *name, *version;         /* of the path, or NULL */
    char restored[KW_NAME_MAX + 1];     /* what the name points to where it came with the body */
    struct cJSON *body;                 /* an object, or NULL where none is wanted */
    enum kw_refusal refusal;
    bool is_refused;  /* `refusal` says why; else the status does */
    unsigned retry_s; /* for Retry-After, where it is not the row's */
};
/* Says why the call is refused, in words for whoever asked, and returns `status`. What fails by
 * other means is told to the log alone. */
enum kw_status kw_call_refuse(struct kw_call *call, enum kw_refusal refusal, enum kw_status status,
                              struct kw_error *err, const char *format, ...) KW_PRINTF(5, 6);
/* The same where the key, or the version of it, that the path names is not there: KW_KEY_NOT_FOUND.
 * `kind` is "" or "deleted ". */
enum kw_status kw_call_no_key(struct kw_call *call, const char *kind, struct kw_error *err);

/* As kw_store_change; the call's snapshot is one that knows of it afterwards. */
enum kw_status kw_call_change(struct kw_call *call, kw_change_fn work, void *context,
                              struct kw_error *err);

/* Whether the client may do what the route is for with keys of that name, which came with the body;
 * NULL: with some. KW_DENIED, refused, and on the trail, where not. */
enum kw_status kw_call_authorize(struct kw_call *call, const char *name, struct kw_error *err);

/* Does what was asked for. *ret_json is the answer, or NULL where the body was set otherwise. */
typedef enum kw_status (*kw_call_fn)(struct kw_call *call, struct cJSON **ret_json,
                                     struct kw_error *err);
struct kw_route {
    enum kw_http_method method;
    const char *path; /* "keys/N/V/decrypt": N and V stand for a name and a version */
    const char *op;   /* for metrics and the trail */
    enum kw_action action;
    bool wants_body; /* a JSON object */
    kw_call_fn work;
};
/* An API: its routes, and how its errors look. */
struct kw_api {
    const char *name;
    const struct kw_route *routes;
    size_t route_count;
    bool wants_version; /* api-version is required */
    bool wants_keys;    /* nothing is done before the token's were read */
    bool takes_tokens;  /* without one, whoever has no certificate is told where to get one */
    const char *prefix; /* the first part of each path, or NULL; set when the service starts */
    enum kw_status (*check)(struct kw_call *call, struct kw_error *err); /* of body and query */
    /* The error's body. */
    struct cJSON *(*describe)(const struct kw_refusal_row *row, const char *message);
};
/* The whole of it, from the request to the answer. */
void kw_call_serve(struct kw_service *service, const struct kw_api *api,
                   const struct kw_http_request *request, struct kw_http_answer *answer);

/* The body of an answer to a request that could not be read, by its status. */
void kw_call_refuse_unread(struct kw_service *service, const struct kw_api *api, int status,
                           struct kw_http_answer *answer);

/* ---- bodies: body.c. Faults are refused with the field's name ---- */

/* NULL where it is not there and not required. */
enum kw_status kw_body_text(struct kw_call *call, const char *field, bool required,
                            const char **ret_text, struct kw_error *err);
/* Base64url of at most `max` bytes, as a secret. */
enum kw_status kw_body_bytes(struct kw_call *call, const char *field, size_t max,
                             struct kw_secret **ret_bytes, struct kw_error *err);
/* A whole number, or 0 where it is not there. */
enum kw_status kw_body_number(struct kw_call *call, const struct cJSON *object, const char *field,
                              int64_t min, int64_t max, int64_t *ret_number, struct kw_error *err);
enum kw_status kw_body_object(struct kw_call *call, const char *field,
                              const struct cJSON **ret_object, struct kw_error *err);

/* An answer {"kid", "value"} whose value is a secret; `kid` may be NULL. */
enum kw_status kw_answer_secret(struct kw_call *call, const char *kid,
                                const struct kw_secret *value, struct kw_error *err);

#endif
