/* The configuration: a text that is read once is read again over what it gave. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_strings(const struct kw_config *config)
{
    for (size_t i = 0; i < config->token_count; i++)
        must(kw_config_find_token(config, config->tokens[i].name) == &config->tokens[i]);
    for (size_t i = 0; i < config->key_count; i++) {
        const struct kw_config_key *key = &config->keys[i];
        must(kw_config_find_key(config, key->version) == key);
        must(key->uri != NULL && strncmp(key->uri, "pkcs11:", 7) == 0);
    }
    must(config->run.jobs >= 0 && config->run.jobs <= 1024);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kw_error err = {.status = KW_OK};
    struct kw_config config = {.tokens = NULL};
    enum kw_status status = kw_config_parse(&config, (const char *)data, size, "fuzz", &err);
    must(config.token_count <= 64 && config.key_count <= 1024);
    if (status == KW_OK) {
        check_strings(&config);
        size_t entries = config.token_count + config.key_count;
        must(kw_config_parse(&config, (const char *)data, size, "fuzz", &err) == KW_OK);
        must(config.token_count + config.key_count == entries);
    } else {
        must(status == KW_CONFIG && err.status == status && err.message[0] != '\0');
    }
    kw_config_cleanup(&config);
    return 0;
}
