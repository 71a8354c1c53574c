/* The keyring that a subcommand works with. */
#include <string.h>

#include "cli.h"

void hide_pins(char **argv)
{
    static const char attribute[] = "pin-value=";
    for (size_t i = 0; argv[i]; i++) {
        char *value = strstr(argv[i], attribute);
        if (!value)
            continue;
        value += sizeof(attribute) - 1;
        memset(value, '*', strcspn(value, "&"));
    }
}

bool names_a_module(const char *uri)
{
    struct kw_uri *parsed = NULL;
    if (!uri || !kw_is_uri(uri) || kw_uri_parse(uri, &parsed, NULL))
        return false;
    bool named = kw_uri_module(parsed) != NULL;
    kw_uri_free(parsed);
    return named;
}

enum kw_status open_keyring(const struct arguments *arguments, char **argv,
                            struct kw_keyring **ret_keyring, struct kw_error *err)
{
    enum kw_status status = kw_secret_start(err);
    if (status)
        return status;
    bool key_has_token = !arguments->token && names_a_module(arguments->key);
    const struct kw_keyring_options options = {
        .config_file = arguments->config,
        .token = key_has_token ? arguments->key : arguments->token,
        .ask_pin = ask_pin,
    };
    status = kw_keyring_open(&options, ret_keyring, err);
    hide_pins(argv);
    return status;
}

int with_keyring(const struct arguments *arguments, char **argv, const char *schema,
                 keyring_fn work)
{
    struct kw_keyring *keyring = NULL;
    struct kw_error err;
    enum kw_status status = open_keyring(arguments, argv, &keyring, &err);
    if (!status)
        status = work(keyring, arguments, &err);
    int exit_code = status ? fail_with(arguments, schema, &err) : 0;
    kw_keyring_close_trail(keyring);
    print_keyring_warnings(keyring, arguments);
    kw_keyring_free(keyring);
    return exit_code;
}
