/* Reaching the token, or the vault, and reading its keys. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static enum kw_status open_token(struct kw_keyring *keyring, bool unattended,
                                 struct kw_token **ret_token, struct kw_error *err)
{
    const struct token_choice *choice = &keyring->choice;
    const struct kw_token_options options = {
        .module = choice->module,
        .init_args = choice->init_args,
        .uri = choice->uri,
        .max_sessions = choice->sessions,
        .timeout_s = choice->timeout_s,
        .unattended = unattended,
        .pin = unattended ? kw_keyring_pin_unattended : kw_keyring_pin,
        .pin_context = keyring,
    };
    return kw_token_open(keyring->crypto, &options, ret_token, err);
}

/* With the lock held; NULL where it could not be opened. */
static void set_token(struct kw_keyring *keyring, struct kw_token *token)
{
    (void)pthread_mutex_lock(&keyring->common->lock);
    keyring->token = token;
    (void)pthread_mutex_unlock(&keyring->common->lock);
}

static const struct kw_token_key *find_same(const struct kw_token_key *keys, size_t count,
                                            const struct kw_rsa_public *public,
                                            const struct kw_token_key *id_of)
{
    for (size_t i = 0; i < count; i++)
        if (kw_rsa_same(&keys[i].public, public) &&
            (!id_of || (keys[i].id_len == id_of->id_len &&
                        memcmp(keys[i].id, id_of->id, id_of->id_len) == 0)))
            return &keys[i];
    return NULL;
}

static void carry_over(const struct kw_keyring *keyring, const struct kw_token_key *keys,
                       size_t count, struct key_note *notes)
{
    for (size_t i = 0; i < keyring->key_count; i++) {
        const struct kw_token_key *key = &keyring->keys[i];
        enum kw_key_state known = keyring->notes[i].known;
        const struct kw_token_key *now =
            known != KW_KEY_ENABLED ? find_same(keys, count, &key->public, key) : NULL;
        if (now)
            notes[now - keys].known = known;
    }
}

/* With the lock held. Takes the keys over; `anew`: in the place of those that were read before, as
 * soon as their records are read too, for a token may fail in between. What was known of a key's
 * state counts until its record is read again. */
static enum kw_status take_keys(struct kw_keyring *keyring, struct kw_token_key *keys, size_t count,
                                bool anew, struct kw_error *err)
{
    struct key_note *notes = calloc(count + 1, sizeof(*notes));
    if (!notes) {
        free(keys);
        return kw_fail_memory(err);
    }
    carry_over(keyring, keys, count, notes);
    struct kw_read_keys before = {.keys = NULL};
    if (anew)
        kw_put_keys_aside(keyring, &before);
    (void)pthread_mutex_lock(&keyring->common->lock);
    keyring->notes = notes;
    keyring->keys = keys;
    keyring->key_count = count;
    (void)pthread_mutex_unlock(&keyring->common->lock);
    enum kw_status status = anew && !keyring->vault ? kw_note_all(keyring, err) : KW_OK;
    if (status)
        kw_bring_keys_back(keyring, &before);
    else
        kw_read_keys_cleanup(&before);
    return status;
}

struct key_note *kw_keyring_note_of(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    for (size_t i = 0; i < keyring->key_count; i++)
        if (key == &keyring->keys[i])
            return &keyring->notes[i];
    for (struct picked_key *picked = keyring->picked; picked; picked = picked->next)
        if (key == &picked->key)
            return &picked->note;
    return NULL;
}

enum kw_status kw_keyring_open_either(struct kw_keyring *keyring, struct kw_error *err)
{
    const struct token_choice *choice = &keyring->choice;
    if (keyring->vault)
        return KW_OK;
    if (!choice->module && choice->candidates > 1)
        return kw_fail(err, KW_CONFIG,
                       "the configuration has %zu tokens; say which one with --token NAME or with "
                       "token = NAME in [run]",
                       choice->candidates);
    if (!choice->module)
        return kw_fail(err, KW_CONFIG,
                       "no token is named; give --token URI-or-NAME or add a [token NAME] to "
                       "keyward.conf");
    while (keyring->opening)
        (void)pthread_cond_wait(&keyring->opened, &keyring->lock);
    if (keyring->token)
        return KW_OK;
    struct kw_token *token = NULL;
    enum kw_status status = open_token(keyring, false, &token, err);
    set_token(keyring, token);
    return status;
}

static enum kw_status refuse_vault(const struct kw_keyring *keyring, struct kw_error *err)
{
    if (!keyring->vault)
        return KW_OK;
    return kw_fail(err, KW_KEY_UNUSABLE,
                   "%s is a vault: Keyward finds keys there and unwraps with them, and nothing "
                   "else; do this with the vault's own tools (az keyvault key), or on a token",
                   keyring->vault_info.label);
}

enum kw_status kw_keyring_open_token(struct kw_keyring *keyring, struct kw_error *err)
{
    enum kw_status status = refuse_vault(keyring, err);
    return status ? status : kw_keyring_open_either(keyring, err);
}

enum kw_status kw_keyring_connect_either(struct kw_keyring *keyring, struct kw_error *err)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    enum kw_status status = kw_keyring_open_either(keyring, err);
    bool anew = keyring->stale;
    if (status || (keyring->keys && !anew))
        return status;
    /* Where they can't be read anew, what was there before stays, and does for the next call. */
    keyring->stale = false;
    status = kw_keyring_read_keys(keyring, &keys, &count, err);
    return status ? status : take_keys(keyring, keys, count, anew, err);
}

enum kw_status kw_keyring_connect(struct kw_keyring *keyring, struct kw_error *err)
{
    enum kw_status status = refuse_vault(keyring, err);
    return status ? status : kw_keyring_connect_either(keyring, err);
}

/* ---- whether the token works ---- */

/* Opens the token unless that was done, and no other thread does so meanwhile: the PIN would be
 * sent by both of them before it is known to be wrong. */
static enum kw_status open_apart(struct kw_keyring *keyring, bool unattended, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    if (keyring->vault)
        return KW_OK;
    (void)pthread_mutex_lock(&keyring->lock);
    while (keyring->opening)
        (void)pthread_cond_wait(&keyring->opened, &keyring->lock);
    if (!keyring->token) {
        struct kw_token *token = NULL;
        keyring->opening = true;
        (void)pthread_mutex_unlock(&keyring->lock);
        status = open_token(keyring, unattended, &token, err);
        (void)pthread_mutex_lock(&keyring->lock);
        set_token(keyring, token);
        keyring->opening = false;
        (void)pthread_cond_broadcast(&keyring->opened);
    } else if (unattended && kw_token_info(keyring->token)->protected_path) {
        status =
            kw_fail(err, KW_PIN_MISSING,
                    "the token \"%s\" may want its PIN typed on itself, and no one is asked in "
                    "the background",
                    kw_token_info(keyring->token)->label);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

/* Those who use the keys that were read before go on to use them by their ids. */
static enum kw_status check_wanted(const struct kw_keyring *keyring,
                                   const struct kw_token_key *keys, size_t count,
                                   const struct kw_rsa_public *wanted, size_t wanted_count,
                                   struct kw_error *err)
{
    for (size_t i = 0; i < wanted_count; i++) {
        const struct kw_token_key *before =
            find_same(keyring->keys, keyring->key_count, &wanted[i], NULL);
        if ((keyring->keys && !before) || !find_same(keys, count, &wanted[i], before))
            return kw_fail(err, KW_KEY_NOT_FOUND,
                           "the token \"%s\" has not every key that is in use, with the modulus "
                           "and the id that are known; restore it there",
                           kw_keyring_info(keyring)->label);
    }
    return KW_OK;
}

enum kw_status kw_keyring_reach(struct kw_keyring *keyring, bool unattended,
                                const struct kw_rsa_public *wanted, size_t wanted_count,
                                struct kw_error *err)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    enum kw_status status;
    if ((status = open_apart(keyring, unattended, err)) ||
        (status = kw_keyring_read_keys(keyring, &keys, &count, err)))
        return status;
    (void)pthread_mutex_lock(&keyring->lock);
    status = check_wanted(keyring, keys, count, wanted, wanted_count, err);
    if (status || keyring->keys)
        free(keys);
    else
        status = take_keys(keyring, keys, count, false, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
