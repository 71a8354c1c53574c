/* The Key Vault API: making keys, changing them, and their end. Each is one change of the store. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "byok/byok.h"
#include "serve/internal.h"

/* A change at work. */
struct change {
    struct kw_call *call;
    struct kw_parsed_settings parsed;
    struct kw_new_key wanted;
    char version[KW_VERSION_DIGITS + 1]; /* of the key that was made or changed; "": the newest */
    struct kw_byok byok;                 /* of an import, or */
    struct kw_secret *pkcs8;             /* that */
};

/* The bundle of what is there now. */
static enum kw_status answer(struct kw_call *call, const char *version, struct cJSON **ret_json,
                             struct kw_error *err)
{
    const struct kw_stored *stored = NULL;
    enum kw_status status = kw_use_find(call, version, &stored, err);
    if (!status)
        *ret_json = kw_bundle(call, stored);
    return status;
}

static enum kw_status change(struct change *job, kw_change_fn work, struct cJSON **ret_json,
                             struct kw_error *err)
{
    struct kw_call *call = job->call;
    enum kw_status status = kw_call_change(call, work, job, err);
    return status ? status : answer(call, job->version, ret_json, err);
}

static bool is_deleted(const struct kw_version *version)
{
    return kw_key_state(version->record) == KW_KEY_DELETED;
}

/* How many versions of the call's name there are, deleted or not; KW_EXISTS where all are. */
static enum kw_status count_versions(struct kw_keyring *keyring, struct kw_call *call,
                                     size_t *ret_count, char name[KW_NAME_MAX + 1],
                                     struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0, deleted = 0;
    enum kw_status status = kw_store_versions(keyring, call->name, NULL, &versions, &count, err);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++)
        deleted += is_deleted(&versions[i]);
    (void)snprintf(name, KW_NAME_MAX + 1, "%.*s", KW_NAME_MAX,
                   count ? versions[0].key->label : call->name);
    free(versions);
    if (count > 0 && deleted == count)
        return kw_call_refuse(
            call, KW_REFUSE_DELETED, KW_EXISTS, err,
            "Key %s is currently in a deleted but recoverable state, and its name "
            "cannot be reused; in this state, the key can only be recovered or "
            "purged.",
            call->name);
    *ret_count = count;
    return KW_OK;
}

/* ---- create and rotate ---- */

#define ALL_OPS                                                                                    \
    (KW_OP_ENCRYPT | KW_OP_DECRYPT | KW_OP_SIGN | KW_OP_VERIFY | KW_OP_WRAP | KW_OP_UNWRAP)

/* A new version begins with what its request says, and nothing of the one before. */
static void complete(struct change *job, struct cJSON *no_tags)
{
    struct kw_parsed_settings *parsed = &job->parsed;
    if (!parsed->settings.ops)
        parsed->ops = ALL_OPS;
    parsed->settings.ops = &parsed->ops;
    parsed->settings.not_before = &parsed->not_before;
    parsed->settings.expires = &parsed->expires;
    if (!parsed->settings.tags)
        parsed->settings.tags = no_tags;
    job->wanted.use = kw_use_of(parsed->ops);
    job->wanted.extractable = parsed->exportable;
    job->wanted.further = true;
    job->wanted.not_before = job->wanted.expires = "";
    job->wanted.settings = &parsed->settings;
}

static enum kw_status name_made(struct kw_keyring *keyring, const struct kw_token_key *made,
                                struct change *job, struct kw_error *err)
{
    return kw_version_name(kw_keyring_crypto(keyring), made, job->version, err);
}

enum kw_status kw_check_not_reserved(struct kw_keyring *keyring, struct kw_call *call,
                                     const char *name, struct kw_error *err)
{
    bool reserved = false;
    enum kw_status status = kw_keyring_is_reserved_name(keyring, name, &reserved, err);
    return status || !reserved
               ? status
               : kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                                "The name %s is that of a key of the service's own; choose "
                                "another one.",
                                name);
}

/* Of deleted ones too; a key that is rotated without end fills the token for everybody. */
static enum kw_status check_room(struct kw_call *call, size_t count, struct kw_error *err)
{
    return count < KW_VERSIONS_MAX
               ? KW_OK
               : kw_call_refuse(call, KW_REFUSE_CONFLICT, KW_EXISTS, err,
                                "The key has the %d versions that a key may have; make one of "
                                "another name.",
                                KW_VERSIONS_MAX);
}

static enum kw_status create_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct change *job = context;
    struct kw_token_key made;
    char name[KW_NAME_MAX + 1];
    size_t count = 0;
    enum kw_status status;
    if ((status = kw_check_not_reserved(keyring, job->call, job->call->name, err)) ||
        (status = count_versions(keyring, job->call, &count, name, err)) ||
        (status = check_room(job->call, count, err)))
        return status;
    job->wanted.name = name;
    status = count ? kw_keyring_rotate(keyring, &job->wanted, &made, err)
                   : kw_keyring_create(keyring, &job->wanted, &made, err);
    return status ? status : name_made(keyring, &made, job, err);
}

static enum kw_status check_type(struct kw_call *call, const char *kty, struct kw_error *err)
{
    if (strcasecmp(kty, "RSA") == 0 || strcasecmp(kty, "RSA-HSM") == 0)
        return KW_OK;
    return kw_call_refuse(call, KW_REFUSE_NOT_SUPPORTED, KW_USAGE, err,
                          "Property \"kty\" of the request has to be RSA or RSA-HSM; there are no "
                          "keys of other types here.");
}

static enum kw_status parse_create(struct change *job, struct kw_error *err)
{
    struct kw_call *call = job->call;
    const char *kty = NULL;
    int64_t size = 0, exponent = 0;
    enum kw_status status;
    if ((status = kw_body_text(call, "kty", true, &kty, err)) ||
        (status = check_type(call, kty, err)) ||
        (status = kw_body_number(call, call->body, "key_size", 1, INT32_MAX, &size, err)) ||
        (status =
             kw_body_number(call, call->body, "public_exponent", 0, INT32_MAX, &exponent, err)) ||
        (status = kw_settings_parse(call, &job->parsed, err)))
        return status;
    if (size == 0)
        size = 2048;
    if (size != 2048 && size != 3072 && size != 4096)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"key_size\" of the request has to be 2048, 3072 or 4096.");
    if (exponent != 0 && exponent != 65537)
        return kw_call_refuse(call, KW_REFUSE_NOT_SUPPORTED, KW_USAGE, err,
                              "Property \"public_exponent\" of the request has to be 65537.");
    job->wanted.bits = (unsigned)size;
    return KW_OK;
}

enum kw_status kw_create_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct change job = {.call = call};
    cJSON *no_tags = cJSON_CreateObject();
    enum kw_status status = parse_create(&job, err);
    if (!status) {
        complete(&job, no_tags);
        status = change(&job, create_now, ret_json, err);
    }
    cJSON_Delete(no_tags);
    return status;
}

static enum kw_status rotate_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct change *job = context;
    struct kw_token_key made;
    char name[KW_NAME_MAX + 1];
    size_t count = 0;
    enum kw_status status = count_versions(keyring, job->call, &count, name, err);
    if (!status && count == 0)
        return kw_call_no_key(job->call, "", err);
    if (!status)
        status = check_room(job->call, count, err);
    if (!status)
        status = kw_rotate_by_policy(keyring, name, &made, err);
    return status ? status : name_made(keyring, &made, job, err);
}

enum kw_status kw_rotate_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct change job = {.call = call};
    return change(&job, rotate_now, ret_json, err);
}

/* ---- update ---- */

static enum kw_status update_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct change *job = context;
    struct kw_version *versions = NULL;
    size_t count = 0, i = 0;
    enum kw_status status =
        kw_store_versions(keyring, job->call->name, job->call->version, &versions, &count, err);
    if (status)
        return status;
    while (i < count && is_deleted(&versions[i]))
        i++;
    if (i == count)
        status = kw_call_no_key(job->call, "", err);
    else if (!(status = name_made(keyring, versions[i].key, job, err)))
        status = kw_keyring_update(keyring, versions[i].key, &job->parsed.settings, err);
    free(versions);
    return status;
}

enum kw_status kw_update_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct change job = {.call = call};
    enum kw_status status = kw_settings_parse(call, &job.parsed, err);
    return status ? status : change(&job, update_now, ret_json, err);
}

/* ---- delete, recover and purge: all versions of a name ---- */

static enum kw_status step_all(struct kw_keyring *keyring, struct change *job,
                               enum kw_key_step step, struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0, stepped = 0;
    enum kw_status status =
        kw_store_versions(keyring, job->call->name, NULL, &versions, &count, err);
    if (status)
        return status;
    bool on_deleted = step == KW_STEP_RECOVER;
    for (size_t i = 0; i < count && !status; i++)
        if (is_deleted(&versions[i]) == on_deleted) {
            status = kw_keyring_step(keyring, versions[i].key, step, err);
            stepped++;
        }
    free(versions);
    if (!status && stepped == 0)
        return kw_call_no_key(job->call, on_deleted ? "deleted " : "", err);
    return status;
}

static enum kw_status delete_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    return step_all(keyring, context, KW_STEP_DELETE, err);
}

/* Whatever is deleted: some may be and others not where an earlier request came only so far. */
static enum kw_status recover_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    return step_all(keyring, context, KW_STEP_RECOVER, err);
}

static enum kw_status purge_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct change *job = context;
    struct kw_version *versions = NULL;
    size_t count = 0, deleted = 0;
    enum kw_status status =
        kw_store_versions(keyring, job->call->name, NULL, &versions, &count, err);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++)
        deleted += is_deleted(&versions[i]);
    if (count == 0 || deleted < count)
        status = kw_call_no_key(job->call, "deleted ", err);
    for (size_t i = 0; i < count && !status; i++) /* all of them can be, or none is */
        if ((status = kw_version_check_purge(&versions[i], err)) == KW_KEY_UNUSABLE)
            status = kw_call_refuse(job->call, KW_REFUSE_POLICY, status, err,
                                    "Purge protection is on: the key can't be purged before the "
                                    "end of its retention.");
    for (size_t i = 0; i < count && !status; i++)
        status = kw_keyring_purge(keyring, versions[i].key, err);
    free(versions);
    return status;
}

enum kw_status kw_delete_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct change job = {.call = call};
    enum kw_status status = kw_call_change(call, delete_now, &job, err);
    return status ? status : kw_get_deleted(call, ret_json, err);
}

enum kw_status kw_recover_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct change job = {.call = call};
    return change(&job, recover_now, ret_json, err);
}

enum kw_status kw_purge_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct change job = {.call = call};
    (void)ret_json;
    enum kw_status status = kw_call_change(call, purge_now, &job, err);
    if (!status)
        call->answer->status = 204;
    return status;
}

/* ---- import: a .byok file, or a JSON Web Key ---- */

/* A key that also does other things is none: whoever may use it could open the file. */
static bool is_kek(const struct kw_version *version)
{
    const struct kw_key_record *record = version->record;
    return record->ops ? record->ops & KW_OP_IMPORT
                       : version->key->unwrap && !version->key->decrypt;
}

/* The key exchange key that the file names, which has to be one of this very service. */
static enum kw_status find_kek(struct kw_keyring *keyring, struct change *job,
                               struct kw_token_key *ret_kek, struct kw_error *err)
{
    struct kw_call *call = job->call;
    struct kw_version *versions = NULL;
    size_t count = 0;
    char name[KW_NAME_MAX + 1], version[KW_VERSION_DIGITS + 1];
    enum kw_status status = KW_OK;
    if (kw_kid_parse(call->service, job->byok.kid, name, version))
        status = kw_store_versions(keyring, name, version, &versions, &count, err);
    if (!status && (count != 1 || is_deleted(&versions[0]) || !is_kek(&versions[0])))
        status = kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                                "The transfer file was made for a key exchange key that is not "
                                "here.");
    if (!status)
        *ret_kek = *versions[0].key;
    free(versions);
    return status;
}

static enum kw_status import_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct change *job = context;
    struct kw_token_key kek, made;
    char name[KW_NAME_MAX + 1];
    size_t count = 0;
    enum kw_status status;
    if ((status = kw_check_not_reserved(keyring, job->call, job->call->name, err)) ||
        (status = count_versions(keyring, job->call, &count, name, err)))
        return status;
    job->wanted.name = name;
    if (job->pkcs8)
        status = kw_keyring_import_key(keyring, job->pkcs8, NULL, 0, &job->wanted, &made, err);
    else if (!(status = find_kek(keyring, job, &kek, err)))
        status = kw_keyring_unwrap_key(keyring, &kek, job->byok.ciphertext.data,
                                       job->byok.ciphertext.len, &job->wanted, &made, err);
    return status ? status : name_made(keyring, &made, job, err);
}

static enum kw_status parse_transfer(struct change *job, const char *text, struct kw_error *err)
{
    size_t len = strlen(text), decoded_len = 0;
    size_t room = KW_BASE64_DECODED_MAX(len);
    if (len > 2 * KW_BYOK_MAX_BYTES)
        return kw_call_refuse(job->call, KW_REFUSE_TOO_LARGE, KW_USAGE, err,
                              "The transfer file is too large.");
    uint8_t *decoded = malloc(room + 1);
    if (!decoded)
        return kw_fail_memory(err);
    enum kw_status status;
    if (kw_base64_decode(KW_BASE64URL, text, len, decoded, room, &decoded_len))
        status =
            kw_byok_parse((const char *)decoded, decoded_len, "The transfer file", &job->byok, err);
    else
        status = kw_call_refuse(job->call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                                "Property \"key_hsm\" of the request has to be a transfer file in "
                                "base64url.");
    free(decoded);
    return status;
}

static enum kw_status parse_import(struct change *job, struct kw_error *err)
{
    struct kw_call *call = job->call;
    const cJSON *key = NULL;
    enum kw_status status = kw_body_object(call, "key", &key, err);
    const char *kty = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(key, "kty"));
    const char *hsm = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(key, "key_hsm"));
    if (!hsm)
        hsm = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(key, "t"));
    if (status)
        return status;
    if (!key || !kty)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "Property \"key\" of the request has to be a JSON Web Key.");
    if ((status = check_type(call, kty, err)) ||
        (status = kw_settings_parse(call, &job->parsed, err)))
        return status;
    return hsm ? parse_transfer(job, hsm, err) : kw_jwk_to_pkcs8(call, key, &job->pkcs8, err);
}

enum kw_status kw_import_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct change job = {.call = call};
    cJSON *no_tags = cJSON_CreateObject();
    enum kw_status status = parse_import(&job, err);
    if (!status) {
        complete(&job, no_tags);
        status = change(&job, import_now, ret_json, err);
    }
    kw_byok_cleanup(&job.byok);
    kw_secret_free(job.pkcs8);
    cJSON_Delete(no_tags);
    return status;
}
