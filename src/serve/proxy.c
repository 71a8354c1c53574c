/* The external key proxy of Managed HSM: four operations for Azure's services, with keys by name.
 * RSA keys, and AES keys where the token wraps with them. */
#include <cjson/cJSON.h>
#include <string.h>

#include "serve/internal.h"

#define PROXY_API_VERSION "0.1-preview"
#define CONTEXT_TEXT_MAX  128
#define KEY_ID_MAX        64
/* What AES key wrap takes: data keys, and then some. */
#define AES_VALUE_MAX 1024

/* ---- what every request carries ---- */

static enum kw_status take_context(struct kw_call *call, struct kw_error *err)
{
    const cJSON *context = NULL;
    struct {
        const char *field;
        const char **place;
    } fields[] = {{"request_id", &call->purpose.outer},
                  {"correlation_id", &call->purpose.correlation},
                  {"pool_name", &call->purpose.pool}};
    enum kw_status status = kw_body_object(call, "request_context", &context, err);
    bool good = context != NULL;
    for (size_t i = 0; i < KW_COUNT(fields) && good; i++) {
        const char *text =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(context, fields[i].field));
        good = text && text[0] && strlen(text) <= CONTEXT_TEXT_MAX;
        if (good)
            *fields[i].place = text;
    }
    if (status || good)
        return status;
    return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                          "request_context has to have request_id, correlation_id and pool_name, "
                          "texts of 1 to %d bytes.",
                          CONTEXT_TEXT_MAX);
}

static enum kw_status check(struct kw_call *call, struct kw_error *err)
{
    if (call->name && (!kw_is_vault_name(call->name) || strlen(call->name) > KEY_ID_MAX))
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "A key's name has 1 to %d letters, digits and \"-\".", KEY_ID_MAX);
    return take_context(call, err);
}

/* ---- info and metadata ---- */

static enum kw_status info(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    const struct kw_token_info *token = NULL;
    enum kw_status status = kw_keyring_token(kw_store_keyring(call->service->store), &token, err);
    if (status)
        return status;
    *ret_json = cJSON_CreateObject();
    kw_json_add_text(*ret_json, "api_version", PROXY_API_VERSION);
    kw_json_add_text(*ret_json, "proxy_vendor", "Keyward");
    kw_json_add_text(*ret_json, "proxy_name", "Keyward " KW_VERSION);
    kw_json_add_text(*ret_json, "ekm_vendor", token->manufacturer);
    kw_json_add_text(*ret_json, "ekm_product", token->model);
    return KW_OK;
}

static enum kw_status find_aes(struct kw_call *call, const struct kw_token_key **ret_key,
                               struct kw_error *err)
{
    enum kw_status status = kw_store_find_aes(call->snapshot, call->name, ret_key, err);
    return status == KW_KEY_NOT_FOUND ? kw_call_refuse(call, KW_REFUSE_NO_KEY, status, err,
                                                       "There is no key \"%s\".", call->name)
                                      : status;
}

static enum kw_status aes_metadata(struct kw_call *call, struct cJSON **ret_json,
                                   struct kw_error *err)
{
    const struct kw_token_key *key = NULL;
    enum kw_status status = find_aes(call, &key, err);
    if (status)
        return status;
    *ret_json = cJSON_CreateObject();
    kw_json_add_text(*ret_json, "key_type", "oct");
    kw_json_add_number(*ret_json, "key_size", 256);
    cJSON *ops = kw_json_add_array(*ret_json, "key_ops");
    kw_json_add_text(ops, NULL, "wrapKey");
    kw_json_add_text(ops, NULL, "unwrapKey");
    return KW_OK;
}

static cJSON *describe_rsa(const struct kw_stored *stored)
{
    const struct kw_rsa_public *public = &stored->key->public;
    unsigned ops = kw_stored_ops(stored);
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "key_type", "RSA");
    kw_json_add_number(json, "key_size", (double)kw_rsa_bits(public));
    cJSON *names = kw_json_add_array(json, "key_ops");
    if (ops & KW_OP_WRAP)
        kw_json_add_text(names, NULL, "wrapKey");
    if (ops & KW_OP_UNWRAP)
        kw_json_add_text(names, NULL, "unwrapKey");
    kw_json_add_base64(json, "n", KW_BASE64URL, public->modulus, public->modulus_len);
    kw_json_add_base64(json, "e", KW_BASE64URL, public->exponent, public->exponent_len);
    return json;
}

static enum kw_status metadata(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    const struct kw_stored *stored = NULL;
    enum kw_status status = kw_store_find(call->snapshot, call->name, NULL, &stored, err);
    if (!status && kw_key_state(stored->record) != KW_KEY_ENABLED)
        status = kw_call_refuse(call, KW_REFUSE_DISABLED, KW_KEY_UNUSABLE, err,
                                "The key \"%s\" is disabled.", call->name);
    if (!status)
        *ret_json = describe_rsa(stored);
    return status == KW_KEY_NOT_FOUND ? aes_metadata(call, ret_json, err) : status;
}

/* ---- wrap and unwrap ---- */

static const struct algorithm {
    const char *name;
    bool aes, padded;
    enum kw_wrap_alg rsa;
} algorithms[] = {
    {"RSA-OAEP", false, false, KW_RSA_OAEP},
    {"RSA-OAEP-256", false, false, KW_RSA_OAEP_256},
    {"A256KW", true, false, 0},
    {"A256KWP", true, true, 0},
};

static enum kw_status find_algorithm(struct kw_call *call, const struct algorithm **ret_algorithm,
                                     struct kw_error *err)
{
    const char *name = NULL;
    enum kw_status status = kw_body_text(call, "alg", true, &name, err);
    if (status)
        return status;
    for (size_t i = 0; i < KW_COUNT(algorithms); i++)
        if (strcmp(name, algorithms[i].name) == 0) {
            *ret_algorithm = &algorithms[i];
            return KW_OK;
        }
    return kw_call_refuse(call, KW_REFUSE_NOT_SUPPORTED, KW_USAGE, err,
                          "alg has to be RSA-OAEP, RSA-OAEP-256, A256KW or A256KWP.");
}

static enum kw_status use_rsa(struct kw_call *call, bool wraps, enum kw_wrap_alg alg,
                              const struct kw_secret *in, struct kw_secret **ret_out,
                              struct kw_error *err)
{
    const struct kw_stored *stored = NULL;
    enum kw_status status = kw_use_find(call, NULL, &stored, err);
    if (!status)
        status = kw_use_check(call, stored, wraps ? KW_OP_WRAP : KW_OP_UNWRAP, err);
    if (!status)
        status = wraps ? kw_use_public(call, stored, "wrap", alg, in, ret_out, err)
                       : kw_use_private(call, stored, "unwrap", alg, in, ret_out, err);
    return status;
}

/* Of what the token says, no more than whether it is the value's fault. */
static enum kw_status refuse_aes(struct kw_call *call, enum kw_status status, struct kw_error *err)
{
    if (status == KW_KEY_UNWRAP)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, status, err,
                              "The value can't be unwrapped with this key and algorithm.");
    if (status == KW_USAGE)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, status, err,
                              "value has to be of at most %d bytes, for A256KW of a multiple of 8 "
                              "and at least 16.",
                              AES_VALUE_MAX);
    return status;
}

static enum kw_status use_aes(struct kw_call *call, bool wraps, bool padded,
                              const struct kw_secret *in, struct kw_secret **ret_out,
                              struct kw_error *err)
{
    struct kw_keyring *keyring = kw_store_keyring(call->service->store);
    const struct kw_token_key *key = NULL;
    struct kw_buffer wrapped = KW_BUFFER_INIT(AES_VALUE_MAX + 16);
    enum kw_status status = find_aes(call, &key, err);
    if (!status && wraps) {
        status = kw_keyring_aes_wrap(keyring, key, padded, &call->purpose, in, &wrapped, err);
        if (!status)
            status = kw_secret_from(wrapped.data, wrapped.len, ret_out, err);
    } else if (!status) {
        status = kw_keyring_aes_unwrap(keyring, key, padded, &call->purpose, kw_secret_bytes(in),
                                       kw_secret_len(in), ret_out, err);
    }
    status = refuse_aes(call, status, err);
    kw_buffer_cleanup(&wrapped);
    return status;
}

static enum kw_status use(struct kw_call *call, bool wraps, struct kw_error *err)
{
    const struct algorithm *algorithm = NULL;
    struct kw_secret *in = NULL, *out = NULL;
    enum kw_status status;
    if ((status = find_algorithm(call, &algorithm, err)) ||
        (status = kw_body_bytes(
             call, "value", algorithm->aes ? AES_VALUE_MAX : (size_t)KW_RSA_MAX_BYTES, &in, err)))
        return status;
    status = algorithm->aes ? use_aes(call, wraps, algorithm->padded, in, &out, err)
                            : use_rsa(call, wraps, algorithm->rsa, in, &out, err);
    if (!status)
        status = kw_answer_secret(call, NULL, out, err);
    kw_secret_free(out);
    kw_secret_free(in);
    return status;
}

static enum kw_status wrap(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    (void)ret_json;
    return use(call, true, err);
}

static enum kw_status unwrap(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    (void)ret_json;
    return use(call, false, err);
}

/* ---- the API ---- */

static struct cJSON *describe(const struct kw_refusal_row *row, const char *message)
{
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "code", row->proxy_code);
    kw_json_add_text(json, "message", message);
    return json;
}

static const struct kw_route routes[] = {
    {KW_POST, "info", "proxy-info", KW_ACT_READ, true, info},
    {KW_POST, "N/metadata", "proxy-metadata", KW_ACT_READ, true, metadata},
    {KW_POST, "N/wrapkey", "proxy-wrap", KW_ACT_WRAP, true, wrap},
    {KW_POST, "N/unwrapkey", "proxy-unwrap", KW_ACT_UNWRAP, true, unwrap},
};

const struct kw_api kw_proxy_api = {
    .name = "proxy",
    .routes = routes,
    .route_count = KW_COUNT(routes),
    .wants_version = true,
    .wants_keys = true,
    .takes_tokens = false,
    .check = check,
    .describe = describe,
};
