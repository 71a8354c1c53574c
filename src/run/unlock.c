/* From an envelope to its data key. */
#include <string.h>

#include "run.h"

static void warn_of_dates(const struct kw_token_key *key, struct kw_strings *warnings)
{
    char label[96];
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    switch (kw_key_validity(key, time(NULL))) {
    case KW_EXPIRED:
        kw_strings_warn(warnings, "key \"%s\" expired on %s; it still decrypts", label,
                        key->expires);
        break;
    case KW_NOT_YET_VALID:
        kw_strings_warn(warnings, "key \"%s\" is not valid before %s; it decrypts already", label,
                        key->not_before);
        break;
    case KW_VALID:
        break;
    }
}

enum kw_status kw_unlock(struct kw_keyring *keyring, const struct kw_drop *drop,
                         const char *override, const char *unwrap_alg,
                         const struct kw_purpose *purpose, struct kw_unlocked *ret_unlocked,
                         struct kw_strings *warnings, struct kw_error *err)
{
    const struct kw_envelope *envelope = kw_drop_envelope(drop);
    if (!envelope)
        return kw_drop_not_encrypted(drop, err);
    struct kw_unwrap_policy policy;
    enum kw_status status = kw_unwrap_policy_parse(keyring, unwrap_alg, &policy, err);
    if (!status)
        status = kw_keyring_find_to_unwrap(keyring, envelope->version, override, &ret_unlocked->key,
                                           err);
    if (status)
        return status;
    warn_of_dates(ret_unlocked->key, warnings);
    status = kw_keyring_unwrap(keyring, ret_unlocked->key, &policy, purpose, envelope->wrapped,
                               envelope->wrapped_len, &ret_unlocked->data_key, err);
    if (!status)
        ret_unlocked->key = ret_unlocked->data_key.key;
    return status;
}
