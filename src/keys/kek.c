/* Which key a backup is wrapped under. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* What is looked for: what a URI says, or names, or a public half. */
struct wanted {
    const struct kw_uri *uri;
    const struct kw_token_key *aes;
    const uint8_t *fingerprint;
};

static bool names_equal(const struct kw_token_key *a, const struct kw_token_key *b)
{
    return a->id_len == b->id_len && memcmp(a->id, b->id, a->id_len) == 0 &&
           strcmp(a->label, b->label) == 0;
}

static bool has_fingerprint(struct kw_keyring *keyring, const struct kw_token_key *key,
                            const uint8_t fingerprint[KW_SHA256_SIZE])
{
    uint8_t found[KW_SHA256_SIZE];
    return key->public.modulus_len && key->public.exponent_len &&
           !kw_rsa_fingerprint(keyring->crypto, &key->public, found, NULL) &&
           memcmp(found, fingerprint, sizeof(found)) == 0;
}

static void take_matches(struct kw_keyring *keyring, const struct wanted *wanted, bool aes,
                         const struct kw_token_key *keys, size_t count, struct kw_kek *kek,
                         size_t *found)
{
    for (size_t i = 0; i < count; i++) {
        bool match = false;
        if (wanted->uri)
            match = kw_uri_matches_key(wanted->uri, &keys[i]);
        else if (aes && wanted->aes)
            match = names_equal(&keys[i], wanted->aes);
        else if (!aes && !wanted->aes)
            match = has_fingerprint(keyring, &keys[i], wanted->fingerprint);
        if (match && (*found)++ == 0)
            *kek = (struct kw_kek){.keyring = keyring, .aes = aes, .key = keys[i]};
    }
}

/* With the lock held. */
static enum kw_status find(struct kw_keyring *keyring, const struct wanted *wanted,
                           const char *shown, struct kw_kek *ret_kek, struct kw_error *err)
{
    struct kw_token_key *aes_keys = NULL;
    struct kw_kek kek = {.keyring = NULL};
    size_t aes_count = 0, found = 0;
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status && wanted->uri && !kw_token_answers_to(keyring->token, wanted->uri))
        return kw_fail(err, KW_KEY_NOT_FOUND,
                       "%s names another token than \"%s\"; say how to reach it with module-path "
                       "in the URI",
                       shown, kw_token_info(keyring->token)->label);
    if (!status)
        status = kw_token_aes_keys(keyring->token, &aes_keys, &aes_count, err);
    if (status)
        return status;
    take_matches(keyring, wanted, false, keyring->keys, keyring->key_count, &kek, &found);
    take_matches(keyring, wanted, true, aes_keys, aes_count, &kek, &found);
    free(aes_keys);
    if (found != 1)
        return kw_fail(err, found ? KW_KEY_AMBIGUOUS : KW_KEY_NOT_FOUND,
                       "%s is %s on the token \"%s\"; name an RSA or AES-256 key there with --kek "
                       "pkcs11:id=%%XX...",
                       shown, found ? "more than one key" : "no key",
                       kw_token_info(keyring->token)->label);
    if (!kek.aes && (!kek.key.public.modulus_len || !kek.key.public.exponent_len))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "%s is not an RSA key of %d to %d bits whose public half can be read; use "
                       "another key",
                       shown, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    *ret_kek = kek;
    return KW_OK;
}

enum kw_status kw_keyring_find_kek(struct kw_keyring *keyring, const char *uri,
                                   struct kw_kek *ret_kek, struct kw_error *err)
{
    struct kw_uri *parsed = NULL;
    enum kw_status status = kw_uri_parse(uri, &parsed, err);
    if (status)
        return status;
    const struct wanted wanted = {.uri = parsed};
    if (!kw_uri_names_key(parsed)) {
        status = kw_fail(err, KW_CONFIG, "%s names no key; add object=LABEL or id=%%XX...",
                         kw_uri_public_text(parsed));
    } else {
        (void)pthread_mutex_lock(&keyring->lock);
        status = find(keyring, &wanted, kw_uri_public_text(parsed), ret_kek, err);
        (void)pthread_mutex_unlock(&keyring->lock);
    }
    kw_uri_free(parsed);
    return status;
}

enum kw_status kw_keyring_recall_kek(struct kw_keyring *keyring, const struct kw_token_key *aes,
                                     const uint8_t fingerprint[KW_SHA256_SIZE],
                                     struct kw_kek *ret_kek, struct kw_error *err)
{
    const struct wanted wanted = {.aes = aes, .fingerprint = fingerprint};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status =
        find(keyring, &wanted, "the key that the backup was made for", ret_kek, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_answers_to(struct kw_keyring *keyring, const char *uri, bool *ret_answers,
                                     struct kw_error *err)
{
    struct kw_uri *parsed = NULL;
    enum kw_status status = kw_uri_parse(uri, &parsed, err);
    if (status)
        return status;
    (void)pthread_mutex_lock(&keyring->lock);
    status = kw_keyring_connect(keyring, err);
    if (!status)
        *ret_answers = kw_token_answers_to(keyring->token, parsed);
    (void)pthread_mutex_unlock(&keyring->lock);
    kw_uri_free(parsed);
    return status;
}
