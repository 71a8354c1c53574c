/* The keyring: its configuration, its token, and the keys that it read there. */
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

static enum kw_status choose_token(struct token_choice *choice, const struct kw_config *config,
                                   const char *wanted, struct kw_error *err)
{
    const struct kw_config_token *configured = NULL;
    const char *uri = wanted;
    if (!uri)
        uri = config->run.token;
    if (!uri || !kw_is_uri(uri)) {
        enum kw_status status = choose_configured(config, uri, &configured, err);
        if (status)
            return status;
        choice->candidates = config->token_count;
        uri = configured ? configured->uri : NULL;
    }
    if (uri) {
        enum kw_status status = kw_uri_parse(uri, &choice->uri, err);
        if (status)
            return status;
        choice->module = kw_uri_module(choice->uri);
        choice->pin_source = kw_uri_pin_source(choice->uri);
    }
    if (configured) {
        if (configured->module)
            choice->module = configured->module;
        if (configured->pin_source)
            choice->pin_source = configured->pin_source;
        choice->init_args = configured->init_args;
        choice->sessions = (size_t)configured->sessions;
        choice->timeout_s = (unsigned)configured->timeout_s;
    }
    if ((uri || configured) && !choice->module)
        return kw_fail(err, KW_CONFIG,
                       "nothing says which PKCS#11 module has the token; add "
                       "?module-path=/PATH/TO/MODULE.so to the URI, or module = PATH to its "
                       "[token]");
    return KW_OK;
}

static void warn_of_pin_in_uri(struct kw_keyring *keyring)
{
    if (keyring->choice.uri && kw_uri_pin_value(keyring->choice.uri))
        kw_strings_warn(&keyring->warnings,
                        "the PIN stands in the pkcs11: URI, where others may have read it; use "
                        "pin-source=file:PATH instead");
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
    struct kw_keyring *keyring = calloc(1, sizeof(*keyring));
    if (!keyring)
        return kw_fail_memory(err);
    if (pthread_mutex_init(&keyring->lock, NULL) != 0) {
        free(keyring);
        return kw_fail_memory(err);
    }
    keyring->warnings.max = KW_MAX_WARNINGS;
    keyring->ask_pin = options->ask_pin;
    keyring->ask_pin_context = options->ask_pin_context;
    if ((status = kw_config_load(&keyring->config, options->config_file, err)) ||
        (status = choose_token(&keyring->choice, &keyring->config, options->token, err)) ||
        (status = kw_crypto_new(keyring->config.crypto.fips == KW_YES, &keyring->crypto, err))) {
        kw_keyring_free(keyring);
        return status;
    }
    warn_of_pin_in_uri(keyring);
    *ret_keyring = keyring;
    return KW_OK;
}

/* With what was concluded from them. */
static void forget_keys(struct kw_keyring *keyring)
{
    for (size_t i = 0; i < KW_KEPT_DATA_KEYS; i++) {
        kw_data_key_cleanup(&keyring->kept[i].data_key);
        keyring->kept[i] = (struct kept_data_key){.key = NULL};
    }
    for (size_t i = 0; i < keyring->key_count && keyring->notes; i++)
        kw_key_record_cleanup(&keyring->notes[i].record);
    free(keyring->notes);
    free(keyring->signers);
    free(keyring->keys);
    keyring->notes = NULL;
    keyring->signers = NULL;
    keyring->keys = NULL;
    keyring->key_count = keyring->signer_count = 0;
    keyring->signers_read = false;
}

void kw_keyring_refresh(struct kw_keyring *keyring)
{
    (void)pthread_mutex_lock(&keyring->lock);
    forget_keys(keyring);
    kw_strings_cleanup(&keyring->warnings);
    (void)pthread_mutex_unlock(&keyring->lock);
}

void kw_keyring_free(struct kw_keyring *keyring)
{
    if (!keyring)
        return;
    forget_keys(keyring);
    kw_end_forwarding(keyring);
    kw_trail_free(keyring->trail);
    kw_token_free(keyring->token);
    kw_uri_free(keyring->choice.uri);
    kw_crypto_free(keyring->crypto);
    kw_strings_cleanup(&keyring->warnings);
    kw_config_cleanup(&keyring->config);
    (void)pthread_mutex_destroy(&keyring->lock);
    free(keyring);
}

static enum kw_status read_keys(struct kw_keyring *keyring, struct kw_error *err)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    enum kw_status status = kw_token_keys(keyring->token, &keys, &count, err);
    if (status)
        return status;
    keyring->notes = calloc(count + 1, sizeof(*keyring->notes));
    if (!keyring->notes) {
        free(keys);
        return kw_fail_memory(err);
    }
    keyring->keys = keys;
    keyring->key_count = count;
    return KW_OK;
}

enum kw_status kw_keyring_connect(struct kw_keyring *keyring, struct kw_error *err)
{
    if (keyring->keys)
        return KW_OK;
    const struct token_choice *choice = &keyring->choice;
    if (!choice->module && choice->candidates > 1)
        return kw_fail(err, KW_CONFIG,
                       "the configuration has %zu tokens; say which one with --token NAME or with "
                       "token = NAME in [run]",
                       choice->candidates);
    if (!choice->module)
        return kw_fail(err, KW_CONFIG,
                       "no token is named; give --token URI-or-NAME or add a [token NAME] to "
                       "keyward.conf");
    if (!keyring->token) {
        const struct kw_token_options options = {
            .module = choice->module,
            .init_args = choice->init_args,
            .uri = choice->uri,
            .max_sessions = choice->sessions,
            .timeout_s = choice->timeout_s,
            .pin = kw_keyring_pin,
            .pin_context = keyring,
        };
        enum kw_status status = kw_token_open(keyring->crypto, &options, &keyring->token, err);
        if (status)
            return status;
    }
    return read_keys(keyring, err);
}

enum kw_status kw_keyring_keys(struct kw_keyring *keyring, const struct kw_token_key **ret_keys,
                               size_t *ret_count, struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status) {
        *ret_keys = keyring->keys;
        *ret_count = keyring->key_count;
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_token(struct kw_keyring *keyring, const struct kw_token_info **ret_info,
                                struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        *ret_info = kw_token_info(keyring->token);
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
    (void)pthread_mutex_lock(&keyring->lock);
    size_t count = keyring->warnings.count;
    for (size_t i = from; into && i < count; i++)
        kw_strings_warn(into, "%s", keyring->warnings.items[i]);
    (void)pthread_mutex_unlock(&keyring->lock);
    return count;
}

bool kw_keyring_has_token(const struct kw_keyring *keyring)
{
    return keyring->choice.module != NULL;
}
