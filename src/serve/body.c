/* What requests and answers carry. */
#include <cjson/cJSON.h>
#include <string.h>

#include "serve/call.h"

static enum kw_status bad_field(struct kw_call *call, const char *field, const char *expected,
                                struct kw_error *err)
{
    return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                          "Property \"%s\" of the request has to be %s.", field, expected);
}

/* JSON's null is as good as nothing: clients send it for what they don't set. */
static const cJSON *get(const cJSON *object, const char *field)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field);
    return cJSON_IsNull(item) ? NULL : item;
}

enum kw_status kw_body_text(struct kw_call *call, const char *field, bool required,
                            const char **ret_text, struct kw_error *err)
{
    const cJSON *item = get(call->body, field);
    if ((required && !item) || (item && !cJSON_IsString(item)))
        return bad_field(call, field, "a text", err);
    *ret_text = item ? item->valuestring : NULL;
    return KW_OK;
}

enum kw_status kw_body_bytes(struct kw_call *call, const char *field, size_t max,
                             struct kw_secret **ret_bytes, struct kw_error *err)
{
    const char *text = NULL;
    struct kw_secret *bytes = NULL;
    size_t len = 0;
    enum kw_status status = kw_body_text(call, field, true, &text, err);
    if (!status)
        status = kw_secret_new(max ? max : 1, &bytes, err);
    if (status)
        return status;
    if (!kw_base64_decode(KW_BASE64URL, text, strlen(text), kw_secret_data(bytes), max, &len)) {
        kw_secret_free(bytes);
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"%s\" of the request has to be base64url without padding, "
                              "of at most %zu bytes.",
                              field, max);
    }
    kw_secret_set_len(bytes, len);
    *ret_bytes = bytes;
    return KW_OK;
}

enum kw_status kw_body_number(struct kw_call *call, const struct cJSON *object, const char *field,
                              int64_t min, int64_t max, int64_t *ret_number, struct kw_error *err)
{
    const cJSON *item = get(object, field);
    if (!item) {
        *ret_number = 0;
        return KW_OK;
    }
    double value = cJSON_IsNumber(item) ? item->valuedouble : (double)min - 1;
    if (!(value >= (double)min && value <= (double)max) || value != (double)(int64_t)value)
        return kw_call_refuse(
            call, KW_REFUSE_PARAMETER, KW_USAGE, err,
            "Property \"%s\" of the request has to be a whole number from %lld to "
            "%lld.",
            field, (long long)min, (long long)max);
    *ret_number = (int64_t)value;
    return KW_OK;
}

enum kw_status kw_body_object(struct kw_call *call, const char *field,
                              const struct cJSON **ret_object, struct kw_error *err)
{
    const cJSON *item = get(call->body, field);
    if (item && !cJSON_IsObject(item))
        return bad_field(call, field, "an object", err);
    *ret_object = item;
    return KW_OK;
}

enum kw_status kw_answer_secret(struct kw_call *call, const char *kid,
                                const struct kw_secret *value, struct kw_error *err)
{
    static const char before[] = "{\"kid\":\"", between[] = "\",\"value\":\"", end[] = "\"}",
                      alone[] = "{\"value\":\"";
    struct kw_secret *body = NULL;
    size_t kid_len = kid ? strlen(kid) : 0;
    size_t room = sizeof(before) + kid_len + sizeof(between) +
                  KW_BASE64_ENCODED_SIZE(kw_secret_len(value)) + sizeof(end);
    enum kw_status status = kw_secret_new(room, &body, err);
    if (status)
        return status;
    char *at = (char *)kw_secret_data(body);
    if (kid) {
        at = mempcpy(at, before, sizeof(before) - 1);
        at = mempcpy(at, kid, kid_len);
        at = mempcpy(at, between, sizeof(between) - 1);
    } else {
        at = mempcpy(at, alone, sizeof(alone) - 1);
    }
    kw_base64_encode(KW_BASE64URL, kw_secret_bytes(value), kw_secret_len(value), at);
    at += strlen(at);
    at = mempcpy(at, end, sizeof(end) - 1);
    kw_secret_set_len(body, (size_t)(at - (char *)kw_secret_data(body)));
    call->answer->secret = body;
    return KW_OK;
}
