/* keyward key list: the RSA private keys of a token. */
#include <stdlib.h>

#include "cli.h"

static enum kw_status list_keys(struct kw_keyring *keyring, const struct arguments *arguments,
                                struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    enum kw_status status = kw_keyring_versions(keyring, NULL, &versions, &count, err);
    if (!status)
        status = print_versions(keyring, versions, count, arguments, err);
    free(versions);
    return status;
}

int run_key_list(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, list_keys);
}
