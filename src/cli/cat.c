/* keyward cat: one file's plaintext to standard output. */
#include <unistd.h>

#include "cli.h"

int run_cat(const struct arguments *arguments, char **argv)
{
    const struct kw_cat_options options = {
        .key = arguments->key,
        .unwrap_alg = arguments->unwrap_alg,
        .decompress = arguments->decompress,
    };
    const struct kw_token_key *key = NULL;
    struct kw_strings warnings = KW_STRINGS_INIT(16);
    struct kw_keyring *keyring = NULL;
    struct kw_drop *drop = NULL;
    struct kw_error err;
    enum kw_status status;
    if (!(status = open_keyring(arguments, argv, &keyring, &err)) &&
        !(status = kw_drop_open(arguments->operands[0], &drop, &err)) && kw_drop_envelope(drop))
        status = kw_keyring_find_to_unwrap(keyring, kw_drop_envelope(drop)->version, options.key,
                                           &key, &err); /* the PIN is asked for here */
    end_at_signal();
    if (!status)
        status = kw_cat(keyring, drop, arguments->operands[1], &options, STDOUT_FILENO,
                        "standard output", &warnings, &err);
    kw_keyring_close_trail(keyring);
    print_warnings(&warnings, arguments);
    print_keyring_warnings(keyring, arguments);
    kw_strings_cleanup(&warnings);
    kw_drop_free(drop);
    kw_keyring_free(keyring);
    return status ? print_error(&err) : 0;
}
