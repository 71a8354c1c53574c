/* The Key Vault API: what is done with keys. */
#include <cjson/cJSON.h>
#include <string.h>

#include "serve/internal.h"

#define RANDOM_MAX 128

/* ---- encrypt and wrapKey, decrypt and unwrapKey ---- */

/* What the four have in common. */
struct row {
    enum kw_key_op op;
    const char *name; /* on the trail */
    enum kw_status (*use)(struct kw_call *call, const struct kw_stored *stored, const char *op,
                          enum kw_wrap_alg alg, const struct kw_secret *in,
                          struct kw_secret **ret_out, struct kw_error *err);
};

static enum kw_status use(struct kw_call *call, const struct row *row, const char *alg_name,
                          const struct kw_secret *value, struct kw_error *err)
{
    const struct kw_stored *stored = NULL;
    struct kw_secret *out = NULL;
    enum kw_wrap_alg alg;
    char kid[KW_KID_SIZE];
    enum kw_status status;
    if ((status = kw_use_find(call, call->version, &stored, err)) ||
        (status = kw_use_check(call, stored, row->op, err)) ||
        (status = kw_use_algorithm(call, alg_name, stored->key->label, &alg, err)) ||
        (status = row->use(call, stored, row->name, alg, value, &out, err)))
        return status;
    kw_write_kid(call->service, stored, kid);
    status = kw_answer_secret(call, kid, out, err);
    kw_secret_free(out);
    return status;
}

static enum kw_status use_value(struct kw_call *call, const struct row *row, struct kw_error *err)
{
    const char *alg = NULL;
    struct kw_secret *value = NULL;
    enum kw_status status = kw_body_text(call, "alg", true, &alg, err);
    if (!status)
        status = kw_body_bytes(call, "value", KW_RSA_MAX_BYTES, &value, err);
    if (status)
        return status;
    status = use(call, row, alg, value, err);
    kw_secret_free(value);
    return status;
}

#define ROUTE(function, op, name, use)                                                             \
    enum kw_status function(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)   \
    {                                                                                              \
        static const struct row row = {op, name, use};                                             \
        (void)ret_json;                                                                            \
        return use_value(call, &row, err);                                                         \
    }
ROUTE(kw_encrypt, KW_OP_ENCRYPT, "encrypt", kw_use_public)
ROUTE(kw_wrap_key, KW_OP_WRAP, "wrap", kw_use_public)
ROUTE(kw_decrypt_value, KW_OP_DECRYPT, "decrypt", kw_use_private)
ROUTE(kw_unwrap_key, KW_OP_UNWRAP, "unwrap", kw_use_private)
#undef ROUTE

/* ---- signatures ---- */

static enum kw_status parse_signature(struct kw_call *call, enum kw_digest_signature *ret_alg,
                                      struct kw_error *err)
{
    const char *name = NULL;
    enum kw_status status = kw_body_text(call, "alg", true, &name, err);
    if (status || kw_digest_signature_parse(name, ret_alg))
        return status;
    return kw_call_refuse(call, KW_REFUSE_NOT_SUPPORTED, KW_USAGE, err,
                          "Property \"alg\" of the request has to be RS256, RS384, RS512, PS256, "
                          "PS384 or PS512 for a key of this type.");
}

static enum kw_status parse_digest(struct kw_call *call, const char *field,
                                   enum kw_digest_signature alg, struct kw_secret **ret_digest,
                                   struct kw_error *err)
{
    struct kw_secret *digest = NULL;
    size_t len = kw_digest_signature_hash_len(alg);
    enum kw_status status = kw_body_bytes(call, field, len, &digest, err);
    if (!status && kw_secret_len(digest) != len) {
        kw_secret_free(digest);
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"%s\" of the request has to be a digest of %zu bytes.",
                              field, len);
    }
    if (!status)
        *ret_digest = digest;
    return status;
}

static enum kw_status sign(struct kw_call *call, enum kw_digest_signature alg,
                           const struct kw_secret *digest, struct cJSON **ret_json,
                           struct kw_error *err)
{
    struct kw_store *store = call->service->store;
    const struct kw_stored *stored = NULL;
    uint8_t signature[KW_RSA_MAX_BYTES];
    char kid[KW_KID_SIZE];
    enum kw_status status;
    if ((status = kw_use_find(call, call->version, &stored, err)) ||
        (status = kw_use_check(call, stored, KW_OP_SIGN, err)) ||
        (status = kw_keyring_sign(kw_store_keyring(store), stored->key, alg, &call->purpose,
                                  kw_secret_bytes(digest), kw_secret_len(digest), signature, err)))
        return status;
    kw_write_kid(call->service, stored, kid);
    *ret_json = cJSON_CreateObject();
    kw_json_add_text(*ret_json, "kid", kid);
    kw_json_add_base64(*ret_json, "value", KW_BASE64URL, signature,
                       stored->key->public.modulus_len);
    return KW_OK;
}

enum kw_status kw_sign_digest(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    enum kw_digest_signature alg;
    struct kw_secret *digest = NULL;
    enum kw_status status = parse_signature(call, &alg, err);
    if (!status)
        status = parse_digest(call, "value", alg, &digest, err);
    if (status)
        return status;
    status = sign(call, alg, digest, ret_json, err);
    kw_secret_free(digest);
    return status;
}

static enum kw_status verify(struct kw_call *call, enum kw_digest_signature alg,
                             const struct kw_secret *digest, const struct kw_secret *signature,
                             struct cJSON **ret_json, struct kw_error *err)
{
    struct kw_store *store = call->service->store;
    const struct kw_stored *stored = NULL;
    enum kw_status status;
    if ((status = kw_use_find(call, call->version, &stored, err)) ||
        (status = kw_use_check(call, stored, KW_OP_VERIFY, err)))
        return status;
    status = kw_rsa_verify_digest(kw_keyring_crypto(kw_store_keyring(store)), &stored->key->public,
                                  alg, kw_secret_bytes(digest), kw_secret_len(digest),
                                  kw_secret_bytes(signature), kw_secret_len(signature), err);
    bool good = status == KW_OK;
    if (status == KW_OK || status == KW_DAMAGED)
        status = kw_use_note(call, stored, "verify", kw_digest_signature_name(alg), err);
    if (status)
        return status;
    *ret_json = cJSON_CreateObject();
    kw_json_add_bool(*ret_json, "value", good);
    return KW_OK;
}

enum kw_status kw_verify_digest(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    enum kw_digest_signature alg;
    struct kw_secret *digest = NULL, *signature = NULL;
    enum kw_status status;
    if (!(status = parse_signature(call, &alg, err)) &&
        !(status = parse_digest(call, "digest", alg, &digest, err)) &&
        !(status = kw_body_bytes(call, "value", KW_RSA_MAX_BYTES, &signature, err))) {
        status = verify(call, alg, digest, signature, ret_json, err);
    }
    kw_secret_free(signature);
    kw_secret_free(digest);
    return status;
}

/* ---- random bytes ---- */

enum kw_status kw_random_bytes(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct kw_secret *bytes = NULL;
    int64_t count = 0;
    (void)ret_json;
    enum kw_status status = kw_body_number(call, call->body, "count", 1, RANDOM_MAX, &count, err);
    if (!status && count == 0)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"count\" of the request has to be a number from 1 to %d.",
                              RANDOM_MAX);
    if (!status)
        status = kw_secret_new((size_t)count, &bytes, err);
    if (status)
        return status;
    kw_secret_set_len(bytes, (size_t)count);
    status = kw_random(kw_keyring_crypto(kw_store_keyring(call->service->store)),
                       kw_secret_data(bytes), (size_t)count, err);
    if (!status)
        status = kw_answer_secret(call, NULL, bytes, err);
    kw_secret_free(bytes);
    return status;
}
