/* Using a key, for both APIs: whether it may be, with which algorithm, and the use itself. */
#include <string.h>
#include <strings.h>

#include "serve/internal.h"

/* What makes something new with a key is bound to the time in which the key is valid; what was made
 * before can be read at any time, as Key Vault has it. */
#define MAKES_SOMETHING (KW_OP_ENCRYPT | KW_OP_WRAP | KW_OP_SIGN)

static enum kw_status check_time(struct kw_call *call, const struct kw_stored *stored,
                                 struct kw_error *err)
{
    const struct kw_version version = {.key = stored->key, .record = stored->record};
    enum kw_validity validity = kw_version_validity(&version, time(NULL));
    if (validity == KW_NOT_YET_VALID)
        return kw_call_refuse(call, KW_REFUSE_OPERATION, KW_KEY_UNUSABLE, err,
                              "Operation is not allowed: the key is not valid yet.");
    if (validity == KW_EXPIRED)
        return kw_call_refuse(call, KW_REFUSE_OPERATION, KW_KEY_UNUSABLE, err,
                              "Operation is not allowed: the key has expired.");
    return KW_OK;
}

enum kw_status kw_use_check(struct kw_call *call, const struct kw_stored *stored, enum kw_key_op op,
                            struct kw_error *err)
{
    if (kw_key_state(stored->record) != KW_KEY_ENABLED)
        return kw_call_refuse(call, KW_REFUSE_DISABLED, KW_KEY_UNUSABLE, err,
                              "Operation is not allowed on a disabled key.");
    if (!(kw_stored_ops(stored) & op))
        return kw_call_refuse(call, KW_REFUSE_OPERATION, KW_KEY_UNUSABLE, err,
                              "Operation is not permitted on this key: it is not one of its "
                              "key_ops.");
    return op & MAKES_SOMETHING ? check_time(call, stored, err) : KW_OK;
}

enum kw_status kw_use_algorithm(struct kw_call *call, const char *name, const char *key,
                                enum kw_wrap_alg *ret_alg, struct kw_error *err)
{
    enum kw_wrap_alg alg;
    if (!kw_wrap_alg_parse(name, &alg))
        return kw_call_refuse(call, KW_REFUSE_NOT_SUPPORTED, KW_USAGE, err,
                              "Property \"alg\" of the request has to be RSA-OAEP or RSA-OAEP-256 "
                              "for a key of this type.");
    if (alg == KW_RSA1_5 && !kw_globs_match(call->policy->config.service.rsa1_5_keys, key))
        return kw_call_refuse(call, KW_REFUSE_NOT_SUPPORTED, KW_USAGE, err,
                              "RSA1_5 is open to padding attacks and is not allowed for this key; "
                              "use RSA-OAEP or RSA-OAEP-256.");
    *ret_alg = alg;
    return KW_OK;
}

enum kw_status kw_use_find(struct kw_call *call, const char *version,
                           const struct kw_stored **ret_stored, struct kw_error *err)
{
    enum kw_status status = kw_store_find(call->snapshot, call->name, version, ret_stored, err);
    return status == KW_KEY_NOT_FOUND ? kw_call_no_key(call, "", err) : status;
}

enum kw_key_use kw_use_of(unsigned ops)
{
    bool decrypts = ops & (KW_OP_ENCRYPT | KW_OP_DECRYPT | KW_OP_WRAP | KW_OP_UNWRAP);
    bool signs = ops & (KW_OP_SIGN | KW_OP_VERIFY);
    if (ops & KW_OP_IMPORT)
        return KW_USE_IMPORT;
    if (signs && decrypts)
        return KW_USE_ALL;
    return signs ? KW_USE_SIGN : KW_USE_DECRYPT;
}

enum kw_status kw_use_note(struct kw_call *call, const struct kw_stored *stored, const char *op,
                           const char *alg, struct kw_error *err)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(stored->key->id, stored->key->id_len, id);
    const struct kw_deed deed = {
        .phase = KW_OUTCOME,
        .unannounced = true,
        .op = op,
        .key = {.label = stored->key->label, .id = id, .alg = alg},
        .request = {.client = call->purpose.client,
                    .request = call->purpose.request,
                    .correlation = call->purpose.correlation,
                    .outer = call->purpose.outer,
                    .pool = call->purpose.pool},
    };
    return kw_keyring_witness(kw_store_keyring(call->service->store), &deed, 1, err);
}

/* The most that RSAES-OAEP and RSAES-PKCS1-v1_5 take (RFC 8017 sections 7.1.1 and 7.2.1). */
static size_t longest(enum kw_wrap_alg alg, size_t modulus_len)
{
    static const size_t overheads[KW_WRAP_ALG_COUNT] = {
        [KW_RSA_OAEP] = 2 * 20 + 2, [KW_RSA_OAEP_256] = 2 * 32 + 2, [KW_RSA1_5] = 11};
    return modulus_len - overheads[alg];
}

enum kw_status kw_use_public(struct kw_call *call, const struct kw_stored *stored, const char *op,
                             enum kw_wrap_alg alg, const struct kw_secret *plain,
                             struct kw_secret **ret_wrapped, struct kw_error *err)
{
    const struct kw_rsa_public *public = &stored->key->public;
    struct kw_crypto *crypto = kw_keyring_crypto(kw_store_keyring(call->service->store));
    struct kw_secret *wrapped = NULL;
    if (kw_secret_len(plain) > longest(alg, public->modulus_len))
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"value\" of the request is too long: this key and "
                              "algorithm take at most %zu bytes.",
                              longest(alg, public->modulus_len));
    enum kw_status status = kw_secret_new(public->modulus_len, &wrapped, err);
    if (!status)
        status = kw_rsa_wrap(crypto, public, alg, plain, kw_secret_data(wrapped), err);
    if (!status)
        status = kw_use_note(call, stored, op, kw_wrap_alg_name(alg), err);
    if (status) {
        kw_secret_free(wrapped);
        return status;
    }
    kw_secret_set_len(wrapped, public->modulus_len);
    *ret_wrapped = wrapped;
    return KW_OK;
}

enum kw_status kw_use_private(struct kw_call *call, const struct kw_stored *stored, const char *op,
                              enum kw_wrap_alg alg, const struct kw_secret *wrapped,
                              struct kw_secret **ret_plain, struct kw_error *err)
{
    struct kw_keyring *keyring = kw_store_keyring(call->service->store);
    enum kw_status status =
        kw_keyring_decrypt(keyring, stored->key, op, alg, &call->purpose, kw_secret_bytes(wrapped),
                           kw_secret_len(wrapped), ret_plain, err);
    if (!status || status == KW_KEY_UNWRAP) /* whoever tries out what unwraps is unusual too */
        kw_note_use(call, stored);
    if (status == KW_KEY_UNWRAP)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, status, err,
                              "The value can't be decrypted with this key and algorithm.");
    return status;
}
