/* keyward key list: the RSA private keys of a token. */
#include "cli.h"

static enum kw_status list_keys(struct kw_keyring *keyring, const struct arguments *arguments,
                                struct kw_error *err)
{
    const struct kw_token_info *token = NULL;
    const struct kw_token_key *keys = NULL;
    size_t count = 0;
    enum kw_status status = kw_keyring_token(keyring, &token, err);
    if (!status)
        status = kw_keyring_keys(keyring, &keys, &count, err);
    return status ? status : print_keys(token, keys, count, arguments, err);
}

int run_key_list(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, list_keys);
}
