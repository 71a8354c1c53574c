/* Keys behind a vault instead of on a token: what both do, and how a vault's keys are described. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define SECONDS_A_DAY 86400

/* ---- opening ---- */

static void pass_warning(void *keyring, const char *text)
{
    kw_keyring_warn(keyring, "%s", text);
}

static void describe_host(const struct kw_vault *vault, struct kw_token_info *info)
{
    *info = (struct kw_token_info){.initialized = true};
    (void)snprintf(info->label, sizeof(info->label), "%s", kw_vault_host(vault));
    (void)snprintf(info->model, sizeof(info->model), "Key Vault");
}

enum kw_status kw_keyring_open_vault(struct kw_keyring *keyring, struct kw_error *err)
{
    static const struct kw_config_token nothing;
    struct token_choice *choice = &keyring->choice;
    if (!choice->url)
        return KW_OK;
    const struct kw_config_token *configured = choice->configured ? choice->configured : &nothing;
    const struct kw_vault_options options = {.url = choice->url,
                                             .ca = configured->ca,
                                             .certificate = configured->certificate,
                                             .key = configured->key,
                                             .token_source = configured->token_source,
                                             .resource = configured->resource,
                                             .timeout_s = choice->timeout_s,
                                             .warn = pass_warning,
                                             .warn_context = keyring};
    enum kw_status status = kw_vault_open(&options, &keyring->vault, err);
    choice->url = NULL; /* it may be the caller's */
    if (!status)
        describe_host(keyring->vault, &keyring->vault_info);
    return status;
}

const struct kw_token_info *kw_keyring_info(const struct kw_keyring *keyring)
{
    if (keyring->vault)
        return &keyring->vault_info;
    return keyring->token ? kw_token_info(keyring->token) : NULL;
}

/* Of a token and what stands in for it, one is a vault at most; of two the first. */
static struct kw_vault *vault_of(const struct kw_keyring *keyring)
{
    return keyring->vault || !keyring->twin ? keyring->vault : keyring->twin->vault;
}

const char *kw_keyring_token_command(const struct kw_keyring *keyring)
{
    struct kw_vault *vault = vault_of(keyring);
    return vault ? kw_vault_command(vault) : NULL;
}

void kw_keyring_serve_token_command(int socket, const char *command)
{
    kw_vault_serve_command(socket, command);
}

bool kw_names_a_vault(const char *text)
{
    return kw_is_vault_url(text);
}

void kw_keyring_use_token_server(struct kw_keyring *keyring, int socket)
{
    kw_vault_use_server(vault_of(keyring), socket);
}

/* ---- keys ---- */

/* A day as PKCS#11 has it: for the end the last one that is over before it. */
static void to_date(int64_t when, char date[11])
{
    char text[KW_TIMESTAMP_SIZE];
    if (when <= 0)
        return;
    kw_timestamp((time_t)when, text);
    memcpy(date, text, 10);
}

static void to_token_key(const struct kw_vault_key *from, struct kw_token_key *key)
{
    *key = (struct kw_token_key){.public = from->public,
                                 .decrypt = from->decrypt,
                                 .unwrap = from->unwrap,
                                 .sign = from->sign,
                                 .sensitive = true,
                                 .extractable = from->exportable};
    memcpy(key->label, from->name, sizeof(from->name));
    (void)kw_hex_decode(from->version, strlen(from->version), key->id, sizeof(key->id),
                        &key->id_len); /* it was looked at before */
    to_date(from->not_before, key->not_before);
    to_date(from->expires > SECONDS_A_DAY ? from->expires - SECONDS_A_DAY : 0, key->expires);
}

/* False: it is no key of a vault. */
static bool from_token_key(const struct kw_token_key *key, struct kw_vault_key *ret_key)
{
    struct kw_vault_key named = {.decrypt = key->decrypt, .unwrap = key->unwrap};
    if (strlen(key->label) > KW_VAULT_NAME_MAX || 2 * key->id_len != KW_VAULT_VERSION_LEN)
        return false;
    memcpy(named.name, key->label, strlen(key->label) + 1);
    kw_hex_encode(key->id, key->id_len, named.version);
    *ret_key = named;
    return true;
}

/* Takes `keys` over. */
static enum kw_status convert(struct kw_vault_key *keys, size_t count,
                              struct kw_token_key **ret_keys, size_t *ret_count,
                              struct kw_error *err)
{
    struct kw_token_key *converted = calloc(count + 1, sizeof(*converted));
    for (size_t i = 0; i < count && converted; i++)
        to_token_key(&keys[i], &converted[i]);
    free(keys);
    if (!converted)
        return kw_fail_memory(err);
    *ret_keys = converted;
    *ret_count = count;
    return KW_OK;
}

enum kw_status kw_keyring_read_keys(struct kw_keyring *keyring, struct kw_token_key **ret_keys,
                                    size_t *ret_count, struct kw_error *err)
{
    struct kw_vault_key *keys = NULL;
    size_t count = 0;
    if (!keyring->vault)
        return kw_token_keys(keyring->token, ret_keys, ret_count, err);
    kw_vault_forget(keyring->vault);
    enum kw_status status = kw_vault_list(keyring->vault, &keys, &count, err);
    return status ? status : convert(keys, count, ret_keys, ret_count, err);
}

/* The version itself in lower case, or NULL. */
static const char *as_version(const char *text, uint8_t bytes[KW_VERSION_BYTES],
                              char version[KW_VAULT_VERSION_LEN + 1])
{
    size_t len = 0;
    if (!kw_hex_decode(text, strlen(text), bytes, KW_VERSION_BYTES, &len) ||
        len != KW_VERSION_BYTES)
        return NULL;
    kw_hex_encode(bytes, len, version);
    return version;
}

enum kw_status kw_vault_keys_of(struct kw_keyring *keyring, const char *text,
                                struct kw_token_key **ret_keys, size_t *ret_count,
                                struct kw_error *err)
{
    uint8_t bytes[KW_VERSION_BYTES];
    char version[KW_VAULT_VERSION_LEN + 1], shown[96];
    struct kw_vault_address address;
    struct kw_vault_key *keys = NULL;
    size_t count = 0;
    const char *host = kw_vault_host(keyring->vault);
    enum kw_status status = KW_KEY_NOT_FOUND;
    const char *known = as_version(text, bytes, version);
    if (known)
        status = kw_vault_find(keyring->vault, NULL, known, &keys, &count, err);
    if (status != KW_KEY_NOT_FOUND)
        return status ? status : convert(keys, count, ret_keys, ret_count, err);
    if (!kw_vault_key_parse(text, host, &address))
        return kw_fail(err, KW_KEY_NOT_FOUND,
                       "\"%s\" is no name or version of a key of %s; map it with [key VERSION] or "
                       "--key NAME/VERSION",
                       kw_printable(text, strlen(text), shown, sizeof(shown)), host);
    struct kw_error failure = {.status = KW_OK};
    status = kw_vault_find(keyring->vault, address.name,
                           address.version[0] ? address.version : NULL, &keys, &count, &failure);
    if (!status)
        return convert(keys, count, ret_keys, ret_count, err);
    if (err && !(known && status == KW_KEY_NOT_FOUND)) /* as a version it is told better */
        *err = failure;
    return status;
}

enum kw_status kw_vault_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                               struct kw_key_record *record, struct kw_error *err)
{
    struct kw_vault_key named, *keys = NULL;
    size_t count = 0;
    if (!from_token_key(key, &named))
        return KW_OK;
    enum kw_status status =
        kw_vault_find(keyring->vault, named.name, named.version, &keys, &count, err);
    if (status)
        return status;
    record->disabled = !keys[0].enabled;
    if (keys[0].created)
        kw_timestamp((time_t)keys[0].created, record->created);
    if (keys[0].updated)
        kw_timestamp((time_t)keys[0].updated, record->updated);
    free(keys);
    return KW_OK;
}

/* ---- using them ---- */

enum kw_status kw_keyring_raw_decrypt(struct kw_keyring *keyring, const struct kw_token_key *key,
                                      enum kw_wrap_alg alg, const uint8_t *wrapped,
                                      size_t wrapped_len, struct kw_secret **ret_secret,
                                      struct kw_error *err)
{
    struct kw_vault_key named;
    if (!keyring->vault)
        return kw_token_decrypt(keyring->token, key, alg, wrapped, wrapped_len, ret_secret, err);
    if (!from_token_key(key, &named))
        return kw_fail(err, KW_KEY_NOT_FOUND, "%s has no key with such a name and version",
                       kw_vault_host(keyring->vault));
    return kw_vault_unwrap(keyring->vault, &named, alg, wrapped, wrapped_len, ret_secret, err);
}
