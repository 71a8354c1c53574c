/* keyward byok kek create and show: the receiving side's key exchange keys. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static enum kw_status create_kek(struct kw_keyring *keyring, const struct arguments *arguments,
                                 struct kw_error *err)
{
    struct kw_new_key wanted = new_key_of(arguments, arguments->operands[0], "3072");
    struct kw_token_key key;
    enum kw_status status = check_expiry(arguments, true, err);
    wanted.use = KW_USE_IMPORT;
    if (!status)
        status = kw_keyring_create(keyring, &wanted, &key, err);
    return status ? status : print_key_of(keyring, &key, arguments, err);
}

int run_byok_kek_create(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, create_kek);
}

/* Others are asked to wrap keys for it, so it must be enabled, and for that alone. */
static enum kw_status check_keks(struct kw_keyring *keyring, const struct kw_version *versions,
                                 size_t count, struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    for (size_t i = 0; i < count; i++) {
        enum kw_status status = kw_keyring_check_use(keyring, versions[i].key, err);
        if (status)
            return status;
        if (!versions[i].key->unwrap || versions[i].key->decrypt)
            return kw_fail(err, KW_KEY_UNUSABLE,
                           "key \"%s\" is not one that unwraps and does nothing else; make a key "
                           "exchange key with keyward byok kek create",
                           show(versions[i].key->label, shown));
    }
    return KW_OK;
}

static enum kw_status show_kek(struct kw_keyring *keyring, const struct arguments *arguments,
                               struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    enum kw_status status =
        kw_keyring_versions(keyring, arguments->operands[0], &versions, &count, err);
    if (!status)
        status = check_keks(keyring, versions, count, err);
    free(versions);
    return status ? status : show_key(keyring, arguments, err);
}

int run_byok_kek_show(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, show_kek);
}
