/* Keys that come from elsewhere. */
#include "internal.h"

enum kw_status kw_keyring_import_key(struct kw_keyring *keyring, const struct kw_secret *pkcs8,
                                     const uint8_t *id, size_t id_len,
                                     const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                     struct kw_error *err)
{
    uint8_t version[KW_VERSION_BYTES];
    struct kw_key_plan plan;
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_plan(keyring, wanted, version, &plan, err);
    if (!status && id_len > 0) {
        plan.id = id;
        plan.id_len = id_len;
    }
    if (!status)
        status = kw_token_import_key(keyring->token, &plan, pkcs8, ret_key, err);
    if (!status)
        kw_record_begin(keyring, ret_key, KW_ORIGIN_FILE);
    if (!status)
        kw_strings_warn(&keyring->warnings,
                        "the key \"%s\" was made by software, outside of the token: copies of it "
                        "may exist; destroy the file and every copy, or make a key on the token "
                        "with keyward key create",
                        wanted->name);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
