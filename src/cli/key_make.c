/* keyward key create, rotate and set: new versions of keys, and their dates and names. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

enum kw_status check_expiry(const struct arguments *arguments, bool needed, struct kw_error *err)
{
    if (arguments->expires && arguments->no_expiry)
        return kw_fail(err, KW_USAGE, "--expires and --no-expiry contradict each other");
    if (needed && !arguments->expires && !arguments->no_expiry)
        return kw_fail(err, KW_USAGE,
                       "say when the key expires with --expires YYYY-MM-DD, or --no-expiry; Data "
                       "Connect wants a date, Customer Key wants none");
    return KW_OK;
}

struct kw_new_key new_key_of(const struct arguments *arguments, const char *name,
                             const char *default_bits)
{
    return (struct kw_new_key){
        .name = name,
        .bits = (unsigned)strtoul(arguments->bits ? arguments->bits : default_bits, NULL, 10),
        .not_before = arguments->not_before ? arguments->not_before : "",
        .expires = arguments->expires ? arguments->expires : "",
        .extractable = arguments->exportable != 0,
    };
}

static enum kw_status tag_and_print(struct kw_keyring *keyring, const struct kw_token_key *key,
                                    const struct arguments *arguments, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    if (arguments->tag_count > 0)
        status = kw_keyring_tag(keyring, key, arguments->tag, arguments->tag_count, err);
    return status ? status : print_key_of(keyring, key, arguments, err);
}

static enum kw_status create_key(struct kw_keyring *keyring, const struct arguments *arguments,
                                 struct kw_error *err)
{
    const struct kw_new_key wanted = new_key_of(arguments, arguments->operands[0], "2048");
    struct kw_token_key key;
    enum kw_status status = check_expiry(arguments, true, err);
    if (!status)
        status = kw_keyring_create(keyring, &wanted, &key, err);
    return status ? status : tag_and_print(keyring, &key, arguments, err);
}

int run_key_create(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, create_key);
}

static enum kw_status rotate_key(struct kw_keyring *keyring, const struct arguments *arguments,
                                 struct kw_error *err)
{
    const struct kw_new_key wanted = new_key_of(arguments, arguments->operands[0], "0");
    struct kw_token_key key;
    enum kw_status status = check_expiry(arguments, true, err);
    if (!status)
        status = kw_keyring_rotate(keyring, &wanted, &key, err);
    return status ? status : tag_and_print(keyring, &key, arguments, err);
}

int run_key_rotate(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, rotate_key);
}

static enum kw_status set_key(struct kw_keyring *keyring, const struct arguments *arguments,
                              struct kw_error *err)
{
    const struct kw_key_change change = {
        .label = arguments->label,
        .not_before = arguments->not_before,
        .expires = arguments->no_expiry ? "" : arguments->expires,
    };
    bool changes = change.label || change.not_before || change.expires;
    const struct kw_token_key *key = NULL;
    struct kw_token_key changed;
    if (!changes && arguments->tag_count == 0)
        return kw_fail(err, KW_USAGE,
                       "nothing to set; give --label, --not-before, --expires, --no-expiry or "
                       "--tag");
    enum kw_status status;
    if ((status = check_expiry(arguments, false, err)) ||
        (status = kw_keyring_find(keyring, "", arguments->operands[0], &key, err)))
        return status;
    changed = *key;
    if (changes)
        status = kw_keyring_change(keyring, key, &change, &changed, err);
    return status ? status : tag_and_print(keyring, &changed, arguments, err);
}

int run_key_set(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, set_key);
}
