/* Fuzzes the parser of pkcs11: URIs: no fault, and a PIN shows up nowhere but in its own place. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct kw_uri *uri)
{
    const char *public = kw_uri_public_text(uri);
    const char *module = kw_uri_module(uri);
    if (!kw_is_uri(public) || strchr(public, '?') || (module && module[0] != '/'))
        abort();
    (void)kw_uri_names_key(uri);
    const char *source = kw_uri_pin_source(uri);
    if (source && strlen(source) > 4096)
        abort();
    const struct kw_secret *pin = kw_uri_pin_value(uri);
    if (pin && kw_secret_len(pin) == 0)
        abort();
    struct kw_token_key key;
    memset(&key, 0, sizeof(key));
    (void)kw_uri_matches_key(uri, &key);
    struct kw_uri *again = NULL;
    if (kw_uri_parse(public, &again, NULL) != KW_OK ||
        strcmp(kw_uri_public_text(again), public) != 0)
        abort();
    kw_uri_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int started;
    if (!started && kw_secret_start(NULL) != KW_OK)
        abort();
    started = 1;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    struct kw_uri *uri = NULL;
    struct kw_error err;
    memset(&err, 0, sizeof(err));
    enum kw_status status = kw_uri_parse(text, &uri, &err);
    if (status == KW_OK)
        check(uri);
    else if (err.status != status || !err.message[0] || strlen(err.message) >= KW_MESSAGE_SIZE)
        abort();
    kw_uri_free(uri);
    free(text);
    return 0;
}
