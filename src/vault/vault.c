/* A vault: its settings, and one call to it. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vault/call.h"

#define DEFAULT_TIMEOUT_S 60

/* ---- settings ---- */

/* What is set, else what follows the address; absolute where it is a path. */
static enum kw_status take_option(const struct kw_vault_options *options, const char *given,
                                  const char *name, bool is_path, char **ret_value,
                                  struct kw_error *err)
{
    char *value = NULL;
    enum kw_status status = KW_OK;
    if (!given)
        status = kw_vault_url_option(options->url, name, &value, err);
    else if (!(value = strdup(given)))
        status = kw_fail_memory(err);
    if (!status && value && is_path && value[0] != '/')
        status = kw_fail(err, KW_CONFIG, "%s of a vault must be an absolute path", name);
    if (status) {
        free(value);
        return status;
    }
    *ret_value = value;
    return KW_OK;
}

static enum kw_status take_options(struct kw_vault *vault, const struct kw_vault_options *options,
                                   struct kw_error *err)
{
    const struct {
        const char *name, *given;
        bool is_path;
        char **place;
    } table[] = {
        {"ca", options->ca, true, &vault->ca},
        {"certificate", options->certificate, true, &vault->certificate},
        {"key", options->key, true, &vault->key},
        {"token-source", options->token_source, false, &vault->source},
        {"resource", options->resource, false, &vault->resource},
    };
    const char *names[KW_COUNT(table)];
    for (size_t i = 0; i < KW_COUNT(table); i++)
        names[i] = table[i].name;
    enum kw_status status = kw_vault_check_options(options->url, names, KW_COUNT(table), err);
    for (size_t i = 0; i < KW_COUNT(table) && !status; i++)
        status = take_option(options, table[i].given, table[i].name, table[i].is_path,
                             table[i].place, err);
    if (!status && vault->key && !vault->certificate)
        status = kw_fail(err, KW_CONFIG, "a vault's key needs its certificate; set both");
    return status;
}

enum kw_status kw_vault_open(const struct kw_vault_options *options, struct kw_vault **ret_vault,
                             struct kw_error *err)
{
    struct kw_vault *vault = calloc(1, sizeof(*vault));
    if (!vault)
        return kw_fail_memory(err);
    (void)pthread_mutex_init(&vault->lock, NULL); /* can't fail on Linux */
    vault->timeout_ms =
        (uint64_t)(options->timeout_s ? options->timeout_s : DEFAULT_TIMEOUT_S) * 1000;
    enum kw_status status = kw_vault_address_parse(options->url, &vault->address, err);
    if (!status)
        status = take_options(vault, options, err);
    const struct kw_vault_tls tls = {vault->ca, vault->certificate, vault->key};
    if (!status)
        status = kw_vault_http_new(&tls, &vault->http, err);
    if (!status)
        status = kw_vault_tokens_new(options, vault->source, vault->resource, vault->http,
                                     vault->address.host, &vault->tokens, err);
    if (status) {
        kw_vault_free(vault);
        return status;
    }
    *ret_vault = vault;
    return KW_OK;
}

void kw_vault_free(struct kw_vault *vault)
{
    if (!vault)
        return;
    kw_vault_tokens_free(vault->tokens);
    kw_vault_http_free(vault->http);
    free(vault->known);
    free(vault->ca);
    free(vault->certificate);
    free(vault->key);
    free(vault->source);
    free(vault->resource);
    (void)pthread_mutex_destroy(&vault->lock);
    free(vault);
}

const char *kw_vault_host(const struct kw_vault *vault)
{
    return vault->address.host;
}

const char *kw_vault_command(const struct kw_vault *vault)
{
    return kw_vault_tokens_command(vault->tokens);
}

void kw_vault_use_server(struct kw_vault *vault, int socket)
{
    kw_vault_tokens_use_server(vault->tokens, socket);
}

/* A token's file is replaced by another one of that name when it is renewed, so by its folder. */
static enum kw_status allow_folder(const char *file, struct kw_confinement *confinement,
                                   struct kw_error *err)
{
    char *copy = strdup(file);
    enum kw_status status =
        copy ? kw_confine_allow(confinement, dirname(copy), KW_MAY_READ, err) : kw_fail_memory(err);
    free(copy);
    return status;
}

enum kw_status kw_vault_allow(const struct kw_vault *vault, struct kw_confinement *confinement,
                              struct kw_error *err)
{
    const char *const files[] = {vault->ca, vault->certificate, vault->key};
    const char *file = kw_vault_tokens_file(vault->tokens);
    enum kw_status status = file ? allow_folder(file, confinement, err) : KW_OK;
    for (size_t i = 0; i < KW_COUNT(files) && !status; i++)
        if (files[i])
            status = kw_confine_allow(confinement, files[i], KW_MAY_READ, err);
    if (!status)
        confinement->network = KW_NETWORK_TCP;
    return status;
}

/* ---- one call ---- */

static enum kw_status send_once(struct kw_vault *vault, const char *url, const char *body,
                                bool secret, uint64_t deadline_ms,
                                const struct kw_vault_token *token,
                                struct kw_vault_answer *ret_answer, struct kw_error *err)
{
    const struct kw_vault_request request = {.url = url,
                                             .authorization =
                                                 token ? kw_vault_token_header(token) : NULL,
                                             .body = body,
                                             .secret = secret,
                                             .deadline_ms = deadline_ms};
    return kw_vault_exchange_patiently(vault->http, &request, 0, vault->address.host, ret_answer,
                                       err);
}

/* With a token where there is one; once more with another one, where the vault asks for that. */
static enum kw_status send_with_token(struct kw_vault *vault, const char *url, const char *body,
                                      bool secret, struct kw_vault_answer *ret_answer,
                                      struct kw_error *err)
{
    uint64_t deadline_ms = kw_now_ms() + vault->timeout_ms;
    struct kw_vault_token *token = NULL, *another = NULL;
    enum kw_status status = kw_vault_tokens_take(vault->tokens, NULL, deadline_ms, &token, err);
    if (!status)
        status = send_once(vault, url, body, secret, deadline_ms, token, ret_answer, err);
    if (!status && ret_answer->status == 401) {
        status = kw_vault_tokens_challenge(vault->tokens, ret_answer->challenge, err);
        if (!status)
            status = kw_vault_tokens_take(vault->tokens, token, deadline_ms, &another, err);
        if (status || another)
            kw_vault_answer_cleanup(ret_answer);
        if (!status && another)
            status = send_once(vault, url, body, secret, deadline_ms, another, ret_answer, err);
    }
    kw_vault_token_release(vault->tokens, token);
    kw_vault_token_release(vault->tokens, another);
    return status;
}

struct meaning {
    long first, last;
    enum kw_status status;
    const char *text;
};
static const struct meaning meanings[] = {
    {401, 401, KW_DENIED, "does not accept who asks; check token-source, certificate and resource"},
    {403, 403, KW_DENIED,
     "does not allow that; give who asks the role Key Vault Crypto User, or Crypto Service "
     "Encryption User, and look whether the key is enabled and the firewall lets this machine in"},
    {404, 404, KW_KEY_NOT_FOUND, "has no such key; check name, version and address"},
    {429, 429, KW_TOKEN, "has too much to do; try again later, or with fewer jobs"},
    {500, 599, KW_TOKEN, "failed; try again later"},
    {300, 399, KW_TOKEN, "sends its clients elsewhere, which is not followed; give that address"},
    {100, 499, KW_TOKEN, "does not take the request; check that this is the address of a vault"},
};

static enum kw_status fail_answer(const struct kw_vault *vault,
                                  const struct kw_vault_answer *answer, struct kw_error *err)
{
    char reason[KW_VAULT_REASON_SIZE];
    const struct meaning *meaning = &meanings[KW_COUNT(meanings) - 1];
    for (size_t i = KW_COUNT(meanings); i-- > 0;)
        if (answer->status >= meanings[i].first && answer->status <= meanings[i].last)
            meaning = &meanings[i];
    kw_vault_parse_error((const char *)answer->body.data, answer->body.len, reason);
    return kw_fail(err, meaning->status, "%.80s %s (HTTP %ld%s%s)", vault->address.host,
                   meaning->text, answer->status, reason[0] ? ", " : "", reason);
}

static enum kw_status call(struct kw_vault *vault, const char *path, const char *body, bool secret,
                           struct kw_vault_answer *ret_answer, struct kw_error *err)
{
    struct kw_vault_answer answer = {.status = 0};
    char *url = NULL;
    if (asprintf(&url, "https://%s%s", vault->address.host, path) < 0)
        return kw_fail_memory(err);
    enum kw_status status = send_with_token(vault, url, body, secret, &answer, err);
    free(url);
    if (!status)
        *ret_answer = answer;
    return status;
}

enum kw_status kw_vault_get(struct kw_vault *vault, const char *path,
                            struct kw_vault_answer *ret_answer, struct kw_error *err)
{
    struct kw_vault_answer answer;
    enum kw_status status = call(vault, path, NULL, false, &answer, err);
    if (status)
        return status;
    if (answer.status != 200) {
        status = fail_answer(vault, &answer, err);
        kw_vault_answer_cleanup(&answer);
        return status;
    }
    *ret_answer = answer;
    return KW_OK;
}

/* ---- unwrapping ---- */

static const char *operation_of(const struct kw_vault_key *key)
{
    return key->unwrap ? "unwrapkey" : key->decrypt ? "decrypt" : NULL;
}

/* What the vault says of a ciphertext that it does not unwrap is told to no one. */
static enum kw_status take_result(struct kw_vault *vault, const struct kw_vault_key *key,
                                  const struct kw_vault_answer *answer,
                                  struct kw_secret **ret_secret, struct kw_error *err)
{
    if (answer->status == 200)
        return kw_vault_parse_result((const char *)answer->body.data, answer->body.len,
                                     vault->address.host, key, ret_secret, err);
    if (answer->status == 400)
        return kw_fail(err, KW_KEY_UNWRAP, "the key does not unwrap it");
    return fail_answer(vault, answer, err);
}

enum kw_status kw_vault_unwrap(struct kw_vault *vault, const struct kw_vault_key *key,
                               enum kw_wrap_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                               struct kw_secret **ret_secret, struct kw_error *err)
{
    char value[KW_BASE64_ENCODED_SIZE(KW_RSA_MAX_BYTES)], path[256], body[1024];
    const char *operation = operation_of(key);
    struct kw_vault_answer answer;
    if (!operation)
        return kw_fail(err, KW_DENIED,
                       "key \"%s\" of %s may neither unwrap nor decrypt, as its key_ops say; allow "
                       "it unwrapKey, or use another key",
                       key->name, vault->address.host);
    if (wrapped_len > KW_RSA_MAX_BYTES)
        return kw_fail(err, KW_KEY_UNWRAP, "the key does not unwrap it");
    kw_base64_encode(KW_BASE64URL, wrapped, wrapped_len, value);
    (void)snprintf(path, sizeof(path), "/keys/%s/%s/%s" API_VERSION, key->name, key->version,
                   operation);
    (void)snprintf(body, sizeof(body), "{\"alg\":\"%s\",\"value\":\"%s\"}", kw_wrap_alg_name(alg),
                   value);
    enum kw_status status = call(vault, path, body, true, &answer, err);
    if (status)
        return status;
    status = take_result(vault, key, &answer, ret_secret, err);
    kw_vault_answer_cleanup(&answer);
    return status;
}
