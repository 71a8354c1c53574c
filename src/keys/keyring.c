/* The keyring: its configuration, its token, and the keys that it read there. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The [token] that a name means, or the only one where nothing is said. *ret_token is NULL where
 * there is no telling; whoever needs the token then fails. */
static enum kw_status choose_configured(const struct kw_config *config, const char *name,
                                        const struct kw_config_token **ret_token,
                                        struct kw_error *err)
{
    char shown[160];
    if (!name) {
        *ret_token = config->token_count == 1 ? &config->tokens[0] : NULL;
        return KW_OK;
    }
    *ret_token = kw_config_find_token(config, name);
    if (!*ret_token)
        return kw_fail(err, KW_CONFIG,
                       "no [token %s] is configured; give a pkcs11: URI or the name of one that is",
                       kw_printable(name, strlen(name), shown, sizeof(shown)));
    return KW_OK;
}

/* Settings of the one kind of [token] say nothing to the other. */
static enum kw_status check_kind(const struct token_choice *choice, struct kw_error *err)
{
    const struct kw_config_token *token = choice->configured;
    bool for_tokens =
        token && (token->module || token->init_args || token->pin_source || token->give_up_s);
    bool for_vaults = token && (token->token_source || token->ca || token->certificate ||
                                token->key || token->resource);
    if (choice->url ? for_tokens : for_vaults)
        return kw_fail(err, KW_CONFIG,
                       choice->url
                           ? "[token %s] is a vault's: module, init-args, pin-source and give-up "
                             "are for PKCS#11 tokens; take them out"
                           : "[token %s] is a PKCS#11 token's: token-source, ca, "
                             "certificate, key and resource are for vaults; take them out",
                       token->name);
    return KW_OK;
}

/* The [token] of that vault, if it has one. */
static const struct kw_config_token *find_vault(const struct kw_config *config, const char *url)
{
    struct kw_vault_address wanted, address;
    if (kw_vault_address_parse(url, &wanted, NULL))
        return NULL;
    for (size_t i = 0; i < config->token_count; i++) {
        const char *uri = config->tokens[i].uri;
        if (uri && kw_is_vault_url(uri) && !kw_vault_address_parse(uri, &address, NULL) &&
            strcmp(address.host, wanted.host) == 0)
            return &config->tokens[i];
    }
    return NULL;
}

static enum kw_status choose_token(struct token_choice *choice, const struct kw_config *config,
                                   const char *wanted, struct kw_error *err)
{
    const struct kw_config_token *configured = NULL;
    const char *uri = wanted;
    if (!uri)
        uri = config->run.token;
    if (uri && kw_is_vault_url(uri)) {
        configured = find_vault(config, uri);
    } else if (!uri || !kw_is_uri(uri)) {
        enum kw_status status = choose_configured(config, uri, &configured, err);
        if (status)
            return status;
        choice->candidates = config->token_count;
        uri = configured ? configured->uri : NULL;
    }
    if (uri && kw_is_vault_url(uri)) {
        choice->url = uri;
    } else if (uri) {
        enum kw_status status = kw_uri_parse(uri, &choice->uri, err);
        if (status)
            return status;
        choice->module = kw_uri_module(choice->uri);
        choice->pin_source = kw_uri_pin_source(choice->uri);
    }
    choice->configured = configured;
    if (configured) {
        if (configured->module)
            choice->module = configured->module;
        if (configured->pin_source)
            choice->pin_source = configured->pin_source;
        choice->init_args = configured->init_args;
        choice->sessions = (size_t)configured->sessions;
        choice->timeout_s = (unsigned)configured->timeout_s;
        choice->give_up_s = (unsigned)configured->give_up_s;
    }
    if ((uri || configured) && !choice->url && !choice->module)
        return kw_fail(err, KW_CONFIG,
                       "nothing says which PKCS#11 module has the token; add "
                       "?module-path=/PATH/TO/MODULE.so to the URI, or module = PATH to its "
                       "[token]");
    return check_kind(choice, err);
}

void kw_keyring_warn(struct kw_keyring *keyring, const char *format, ...)
{
    char text[2 * KW_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)pthread_mutex_lock(&keyring->common->lock);
    kw_strings_warn(&keyring->common->warnings, "%s", text);
    (void)pthread_mutex_unlock(&keyring->common->lock);
}

static void warn_of_pin_in_uri(struct kw_keyring *keyring)
{
    if (keyring->choice.uri && kw_uri_pin_value(keyring->choice.uri))
        kw_keyring_warn(keyring, "the PIN stands in the pkcs11: URI, where others may have read "
                                 "it; use pin-source=file:PATH instead");
}

/* ---- opening ---- */

static struct kw_common *common_new(void)
{
    struct kw_common *common = calloc(1, sizeof(*common));
    if (common && pthread_mutex_init(&common->lock, NULL) != 0) {
        free(common);
        return NULL;
    }
    if (common)
        common->warnings.max = KW_WARNINGS_MAX;
    return common;
}

static void common_free(struct kw_common *common)
{
    if (!common)
        return;
    kw_trail_free(common->trail);
    kw_strings_cleanup(&common->warnings);
    (void)pthread_mutex_destroy(&common->lock);
    free(common);
}

static struct kw_keyring *keyring_new(const struct kw_keyring_options *options)
{
    struct kw_keyring *keyring = calloc(1, sizeof(*keyring));
    if (keyring && pthread_mutex_init(&keyring->lock, NULL) != 0) {
        free(keyring);
        return NULL;
    }
    if (!keyring)
        return NULL;
    if (pthread_cond_init(&keyring->opened, NULL) != 0) {
        (void)pthread_mutex_destroy(&keyring->lock);
        free(keyring);
        return NULL;
    }
    keyring->ask_pin = options->ask_pin;
    keyring->ask_pin_context = options->ask_pin_context;
    return keyring;
}

/* The keyring of the token that serves where this one's fails: what it has in common with the
 * first it does not own. */
static enum kw_status open_twin(struct kw_keyring *keyring,
                                const struct kw_keyring_options *options, struct kw_error *err)
{
    const struct kw_config_token *configured = keyring->choice.configured;
    if (!configured || !configured->failover)
        return KW_OK;
    struct kw_keyring *twin = keyring_new(options);
    if (!twin)
        return kw_fail_memory(err);
    twin->config = keyring->config;
    twin->crypto = keyring->crypto;
    twin->common = keyring->common;
    keyring->twin = twin;
    twin->twin = keyring;
    enum kw_status status = choose_token(&twin->choice, &twin->config, configured->failover, err);
    if (!status)
        status = kw_keyring_open_vault(twin, err);
    return status ? status : kw_failover_new(keyring, err);
}

enum kw_status kw_keyring_open(const struct kw_keyring_options *options,
                               struct kw_keyring **ret_keyring, struct kw_error *err)
{
    static const struct kw_keyring_options defaults;
    if (!options)
        options = &defaults;
    enum kw_status status = kw_secret_start(err);
    if (status)
        return status;
    struct kw_keyring *keyring = keyring_new(options);
    if (!keyring)
        return kw_fail_memory(err);
    keyring->common = common_new();
    if (!keyring->common) {
        kw_keyring_free(keyring);
        return kw_fail_memory(err);
    }
    if ((status = kw_config_load(&keyring->config, options->config_file, err)) ||
        (status = choose_token(&keyring->choice, &keyring->config, options->token, err)) ||
        (status = kw_keyring_open_vault(keyring, err)) ||
        (status = kw_crypto_new(keyring->config.crypto.fips == KW_YES, &keyring->crypto, err)) ||
        (status = open_twin(keyring, options, err))) {
        kw_keyring_free(keyring);
        return status;
    }
    warn_of_pin_in_uri(keyring);
    *ret_keyring = keyring;
    return KW_OK;
}

void kw_put_keys_aside(struct kw_keyring *keyring, struct kw_read_keys *ret_aside)
{
    keyring->reserved_known = false;
    for (size_t i = 0; i < KW_KEPT_DATA_KEYS; i++) {
        kw_data_key_cleanup(&keyring->kept[i].data_key);
        keyring->kept[i] = (struct kept_data_key){.key = NULL};
    }
    if (keyring->vault)
        kw_vault_forget(keyring->vault);
    (void)pthread_mutex_lock(&keyring->common->lock);
    *ret_aside = (struct kw_read_keys){.keys = keyring->keys,
                                       .key_count = keyring->key_count,
                                       .notes = keyring->notes,
                                       .picked = keyring->picked,
                                       .signers = keyring->signers,
                                       .signer_count = keyring->signer_count};
    keyring->keys = keyring->signers = NULL;
    keyring->notes = NULL;
    keyring->picked = NULL;
    keyring->key_count = keyring->signer_count = 0;
    keyring->signers_read = false;
    (void)pthread_mutex_unlock(&keyring->common->lock);
}

void kw_bring_keys_back(struct kw_keyring *keyring, const struct kw_read_keys *aside)
{
    kw_forget_keys(keyring);
    (void)pthread_mutex_lock(&keyring->common->lock);
    keyring->keys = aside->keys;
    keyring->key_count = aside->key_count;
    keyring->notes = aside->notes;
    keyring->picked = aside->picked;
    keyring->signers = aside->signers;
    keyring->signer_count = aside->signer_count;
    (void)pthread_mutex_unlock(&keyring->common->lock);
}

void kw_read_keys_cleanup(struct kw_read_keys *aside)
{
    for (size_t i = 0; i < aside->key_count && aside->notes; i++)
        kw_key_record_cleanup(&aside->notes[i].record);
    for (struct picked_key *picked = aside->picked; picked; picked = aside->picked) {
        aside->picked = picked->next;
        free(picked->text);
        kw_key_record_cleanup(&picked->note.record);
        free(picked);
    }
    free(aside->notes);
    free(aside->signers);
    free(aside->keys);
}

void kw_forget_keys(struct kw_keyring *keyring)
{
    struct kw_read_keys all;
    kw_put_keys_aside(keyring, &all);
    kw_read_keys_cleanup(&all);
}

/* A token that can't be reached then keeps what was known of its keys: that one is disabled counts
 * for the other token too. */
void kw_keyring_refresh(struct kw_keyring *keyring)
{
    struct kw_keyring *serving = kw_failover_serving(keyring);
    (void)pthread_mutex_lock(&serving->lock);
    serving->stale = serving->keys || serving->picked;
    (void)pthread_mutex_unlock(&serving->lock);
    (void)pthread_mutex_lock(&keyring->common->lock);
    kw_strings_cleanup(&keyring->common->warnings);
    (void)pthread_mutex_unlock(&keyring->common->lock);
}

/* All but what two keyrings have in common. */
static void free_own(struct kw_keyring *keyring)
{
    if (keyring->common)
        kw_forget_keys(keyring);
    kw_forget_reserved(keyring);
    kw_token_free(keyring->token);
    kw_vault_free(keyring->vault);
    kw_uri_free(keyring->choice.uri);
    (void)pthread_cond_destroy(&keyring->opened);
    (void)pthread_mutex_destroy(&keyring->lock);
    free(keyring);
}

void kw_keyring_free(struct kw_keyring *keyring)
{
    if (!keyring)
        return;
    struct kw_common *common = keyring->common;
    struct kw_crypto *crypto = keyring->crypto;
    struct kw_config config = keyring->config;
    kw_failover_free(keyring->failover);
    keyring->failover = NULL;
    if (common)
        kw_end_forwarding(keyring);
    if (keyring->twin)
        free_own(keyring->twin);
    free_own(keyring);
    common_free(common);
    kw_crypto_free(crypto);
    kw_config_cleanup(&config);
}

enum kw_status kw_keyring_token(struct kw_keyring *keyring, const struct kw_token_info **ret_info,
                                struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_open_either(keyring, err);
    if (!status)
        *ret_info = kw_keyring_info(keyring);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_probe(struct kw_keyring *keyring,
                                struct kw_probe_result results[KW_PROBES_MAX], size_t *ret_count,
                                struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = kw_token_probe(keyring->token, results, ret_count, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

const struct kw_config *kw_keyring_config(const struct kw_keyring *keyring)
{
    return &keyring->config;
}

struct kw_crypto *kw_keyring_crypto(struct kw_keyring *keyring)
{
    return keyring->crypto;
}

size_t kw_keyring_copy_warnings(struct kw_keyring *keyring, size_t from, struct kw_strings *into)
{
    const struct kw_strings *warnings = &keyring->common->warnings;
    (void)pthread_mutex_lock(&keyring->common->lock);
    size_t count = warnings->count;
    for (size_t i = from; into && i < count; i++)
        kw_strings_warn(into, "%s", warnings->items[i]);
    (void)pthread_mutex_unlock(&keyring->common->lock);
    return count;
}

void kw_keyring_take_warnings(struct kw_keyring *keyring, struct kw_strings *into)
{
    (void)pthread_mutex_lock(&keyring->common->lock);
    kw_strings_move(&keyring->common->warnings, into);
    (void)pthread_mutex_unlock(&keyring->common->lock);
}

bool kw_keyring_has_token(const struct kw_keyring *keyring)
{
    return keyring->vault || keyring->choice.module;
}

bool kw_keyring_is_vault(const struct kw_keyring *keyring)
{
    return keyring->vault != NULL;
}

const char *kw_keyring_failover(const struct kw_keyring *keyring)
{
    const struct kw_config_token *configured = keyring->choice.configured;
    return configured ? configured->failover : NULL;
}
