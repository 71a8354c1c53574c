/* AES keys on the token, for others: none are offered yet. */
#include "keys/keys.h"

enum kw_status kw_keyring_aes_keys(struct kw_keyring *keyring, struct kw_token_key **ret_keys,
                                   size_t *ret_count, struct kw_error *err)
{
    (void)keyring;
    (void)err;
    *ret_keys = NULL;
    *ret_count = 0;
    return KW_OK;
}

enum kw_status kw_keyring_aes_wrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   bool padded, const struct kw_purpose *purpose,
                                   const struct kw_secret *secret, struct kw_buffer *ret_wrapped,
                                   struct kw_error *err)
{
    (void)keyring;
    (void)key;
    (void)padded;
    (void)purpose;
    (void)secret;
    (void)ret_wrapped;
    return kw_fail(err, KW_KEY_UNUSABLE, "AES keys are not used yet");
}

enum kw_status kw_keyring_aes_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                     bool padded, const struct kw_purpose *purpose,
                                     const uint8_t *wrapped, size_t len,
                                     struct kw_secret **ret_secret, struct kw_error *err)
{
    (void)keyring;
    (void)key;
    (void)padded;
    (void)purpose;
    (void)wrapped;
    (void)len;
    (void)ret_secret;
    return kw_fail(err, KW_KEY_UNUSABLE, "AES keys are not used yet");
}
