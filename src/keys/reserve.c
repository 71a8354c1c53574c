/* Keys that are for one thing alone: that which signs records, and those that the keyring was told
 * of. Whoever could use them for something else could do what they are for. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

/* All with the lock held. */

static bool has_modulus(const struct kw_keyring *keyring, const struct kw_rsa_public *public)
{
    const struct reserved_key *reserved = keyring->reserved;
    while (reserved && (reserved->uri || !kw_rsa_same(&reserved->public, public)))
        reserved = reserved->next;
    return reserved != NULL;
}

/* A token that can't tell a key's label by letter case is not to be tricked by that. */
static bool is_meant(const struct kw_keyring *keyring, const struct kw_token_key *key)
{
    if (strcasecmp(key->label, kw_signer_label(keyring)) == 0)
        return true;
    for (const struct reserved_key *reserved = keyring->reserved; reserved;
         reserved = reserved->next)
        if (reserved->uri && keyring->token && kw_token_answers_to(keyring->token, reserved->uri) &&
            kw_uri_matches_key(reserved->uri, key))
            return true;
    return false;
}

static void add(struct kw_keyring *keyring, struct reserved_key *fresh)
{
    fresh->next = keyring->reserved;
    keyring->reserved = fresh;
}

/* Two objects may have one modulus and different labels. What finds no room here is still known by
 * its label. */
static void learn(struct kw_keyring *keyring)
{
    for (size_t i = 0; i < keyring->key_count; i++) {
        const struct kw_token_key *key = &keyring->keys[i];
        if (key->public.modulus_len == 0 || !is_meant(keyring, key) ||
            has_modulus(keyring, &key->public))
            continue;
        struct reserved_key *fresh = calloc(1, sizeof(*fresh));
        if (!fresh)
            return;
        fresh->public = key->public;
        add(keyring, fresh);
    }
    keyring->reserved_known = keyring->keys != NULL;
}

static bool is_reserved(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    if (!keyring->reserved_known)
        learn(keyring);
    return is_meant(keyring, key) ||
           (key->public.modulus_len > 0 && has_modulus(keyring, &key->public));
}

static bool has_uri(const struct kw_keyring *keyring, const struct kw_uri *uri)
{
    const struct reserved_key *reserved = keyring->reserved;
    while (reserved && !(reserved->uri &&
                         strcmp(kw_uri_public_text(reserved->uri), kw_uri_public_text(uri)) == 0))
        reserved = reserved->next;
    return reserved != NULL;
}

static bool names(const struct kw_uri *uri, const char *name)
{
    struct kw_key_filter filter = kw_uri_filter(uri);
    return filter.label && filter.label_len == strlen(name) &&
           strncasecmp(filter.label, name, filter.label_len) == 0;
}

static bool is_reserved_name(struct kw_keyring *keyring, const char *name)
{
    if (strcasecmp(name, kw_signer_label(keyring)) == 0)
        return true;
    for (const struct reserved_key *reserved = keyring->reserved; reserved;
         reserved = reserved->next)
        if (reserved->uri && names(reserved->uri, name))
            return true;
    for (size_t i = 0; i < keyring->key_count; i++)
        if (strcasecmp(keyring->keys[i].label, name) == 0 &&
            is_reserved(keyring, &keyring->keys[i]))
            return true;
    return false;
}

/* ---- for others ---- */

enum kw_status kw_keyring_reserve(struct kw_keyring *keyring, const struct kw_rsa_public *public,
                                  bool *ret_new, struct kw_error *err)
{
    struct reserved_key *fresh = calloc(1, sizeof(*fresh));
    if (!fresh)
        return kw_fail_memory(err);
    fresh->public = *public;
    (void)pthread_mutex_lock(&keyring->lock);
    bool is_new = !has_modulus(keyring, public);
    if (is_new)
        add(keyring, fresh);
    (void)pthread_mutex_unlock(&keyring->lock);
    if (!is_new)
        free(fresh);
    *ret_new = is_new;
    return KW_OK;
}

enum kw_status kw_keyring_reserve_uri(struct kw_keyring *keyring, const char *uri, bool *ret_new,
                                      struct kw_error *err)
{
    struct kw_uri *parsed = NULL;
    enum kw_status status = kw_uri_parse(uri, &parsed, err);
    if (status)
        return status;
    struct reserved_key *fresh = calloc(1, sizeof(*fresh));
    if (!fresh) {
        kw_uri_free(parsed);
        return kw_fail_memory(err);
    }
    fresh->uri = parsed;
    (void)pthread_mutex_lock(&keyring->lock);
    bool is_new = kw_uri_names_key(parsed) && !has_uri(keyring, parsed);
    if (is_new) {
        add(keyring, fresh);
        keyring->reserved_known = false;
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    if (!is_new) {
        kw_uri_free(parsed);
        free(fresh);
    }
    *ret_new = is_new;
    return KW_OK;
}

bool kw_keyring_is_reserved(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    (void)pthread_mutex_lock(&keyring->lock);
    bool reserved = is_reserved(keyring, key);
    (void)pthread_mutex_unlock(&keyring->lock);
    return reserved;
}

enum kw_status kw_keyring_is_reserved_name(struct kw_keyring *keyring, const char *name,
                                           bool *ret_reserved, struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        *ret_reserved = is_reserved_name(keyring, name);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

void kw_forget_reserved(struct kw_keyring *keyring)
{
    struct reserved_key *reserved;
    while ((reserved = keyring->reserved)) {
        keyring->reserved = reserved->next;
        kw_uri_free(reserved->uri);
        free(reserved);
    }
}
