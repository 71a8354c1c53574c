/* What the routes of `keyward serve` read from a body: the first byte says as what it is read. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "serve/duration.h"
#include "serve/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Those of a request. */
static const struct kw_json_limits limits = {.bytes = 256 * 1024, .depth = 8, .items = 1000};

/* Whatever is refused is the client's fault, and is told in words. */
static void check(const struct kw_call *call, enum kw_status status, const struct kw_error *err)
{
    enum kw_refusal refusal = call->is_refused ? call->refusal : kw_refusal_of(status);
    if (status && status != KW_NO_MEMORY && kw_refusal_row(refusal)->status != 400)
        abort();
    if (status && (err->status != status || err->message[0] == '\0'))
        abort();
}

static void read_settings(struct kw_call *call)
{
    struct kw_parsed_settings parsed;
    struct kw_error err = {0};
    enum kw_status status = kw_settings_parse(call, &parsed, &err);
    check(call, status, &err);
    if (status)
        return;
    const struct kw_key_settings *settings = &parsed.settings;
    if ((settings->ops && !*settings->ops) || (settings->not_before && *settings->not_before < 0) ||
        (settings->expires && *settings->expires < 0) ||
        (settings->tags && cJSON_GetArraySize(settings->tags) > KW_TAGS_MAX))
        abort();
    if (settings->not_before && settings->expires && *settings->expires &&
        *settings->not_before >= *settings->expires)
        abort();
}

/* What is kept of a policy is one itself, and can be followed. */
static void read_policy(struct kw_call *call)
{
    struct kw_error err = {0};
    cJSON *policy = cJSON_CreateObject(), *again = cJSON_CreateObject();
    cJSON *body = call->body;
    enum kw_status status = kw_rotation_copy(call, policy, &err);
    check(call, status, &err);
    if (!status) {
        struct kw_rotation_due due;
        struct kw_key_record record = {.policy = policy, .created = "2026-01-31T00:00:00Z"};
        struct kw_token_key key = {.expires = "2027-01-31"};
        const struct kw_stored stored = {.key = &key, .record = &record};
        kw_rotation_due(&stored, &due);
        call->body = policy;
        if (kw_rotation_copy(call, again, &err) != KW_OK)
            abort();
        call->body = body;
    }
    cJSON_Delete(again);
    cJSON_Delete(policy);
}

static void read_jwk(struct kw_call *call)
{
    struct kw_secret *pkcs8 = NULL;
    struct kw_error err = {0};
    enum kw_status status = kw_jwk_to_pkcs8(call, call->body, &pkcs8, &err);
    check(call, status, &err);
    if (!status && kw_secret_len(pkcs8) == 0)
        abort();
    kw_secret_free(pkcs8);
}

static void read_context(struct kw_call *call)
{
    struct kw_error err = {0};
    call->name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(call->body, "name"));
    enum kw_status status = kw_proxy_api.check(call, &err);
    check(call, status, &err);
    if (!status && (!call->purpose.outer[0] || strlen(call->purpose.outer) > 128 ||
                    strlen(call->purpose.pool) > 128 || strlen(call->purpose.correlation) > 128))
        abort();
}

static void read_fields(struct kw_call *call)
{
    struct kw_error err = {0};
    const char *alg = NULL;
    struct kw_secret *value = NULL;
    int64_t number = 0;
    check(call, kw_body_text(call, "alg", true, &alg, &err), &err);
    enum kw_status status = kw_body_bytes(call, "value", 512, &value, &err);
    check(call, status, &err);
    if (!status && kw_secret_len(value) > 512)
        abort();
    kw_secret_free(value);
    status = kw_body_number(call, call->body, "count", 1, 128, &number, &err);
    check(call, status, &err);
    if (!status && (number < 0 || number > 128))
        abort();
}

static void read_kid(struct kw_call *call)
{
    char name[KW_NAME_MAX + 1], version[KW_VERSION_DIGITS + 1];
    struct kw_duration duration;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(call->body, "kid"));
    if (!text)
        return;
    if (kw_kid_parse(call->service, text, name, version) &&
        strlen(name) + strlen(version) >= strlen(text))
        abort();
    if (kw_duration_parse(text, &duration))
        (void)kw_duration_shift(1800000000, &duration, -1);
}

static void (*const readers[])(struct kw_call *call) = {
    read_settings, read_policy, read_jwk, read_context, read_fields, read_kid,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kw_service service = {.host = "vault.example"};
    struct kw_error err;
    struct kw_http_request request = {.segment_count = 0};
    struct kw_http_answer answer = {.status = 200};
    struct kw_call call = {.service = &service, .request = &request, .answer = &answer};
    if (size == 0 || kw_secret_start(&err) != KW_OK)
        return 0;
    if (!kw_json_parse((const char *)data + 1, size - 1, &limits, "The request", KW_USAGE,
                       &call.body, &err) &&
        cJSON_IsObject(call.body))
        readers[data[0] % KW_COUNT(readers)](&call);
    kw_body_free(call.body);
    return 0;
}
