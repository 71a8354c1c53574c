/* Changing what a key's record says, and telling the token. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define TRIES 4

/* ---- records in hand ---- */

enum kw_status kw_load_or_begin(struct kw_keyring *keyring, const struct kw_token_key *key,
                                bool begin, struct kw_key_record *record, struct kw_error *err)
{
    char label[96];
    enum kw_status status = kw_record_load(keyring, key, record, err);
    if (!status && record->state == KW_RECORD_GOOD && record->sign == KW_UNSET)
        record->sign = key->sign ? KW_YES : KW_NO;
    if (status || record->state == KW_RECORD_GOOD)
        return status;
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    if (record->state == KW_RECORD_BAD && !begin)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the record of key \"%s\" can't be trusted (%s); find out who changed it, "
                       "then begin a new one with keyward key enable or key delete",
                       label, record->fault);
    if (record->state == KW_RECORD_BAD)
        kw_keyring_warn(keyring,
                        "the record of key \"%s\" could not be trusted (%s); a new one was begun",
                        label, record->fault);
    struct kw_use_flags made = {.decrypt = key->decrypt, .unwrap = key->unwrap, .sign = key->sign};
    bool known = made.decrypt || made.unwrap || made.sign;
    /* What it was allowed before the record was lost is not known any more. */
    if (!known)
        status = kw_token_key_purpose(keyring->token, key, &made, err);
    if (!known && !made.decrypt && !made.unwrap && !made.sign)
        made.decrypt = made.unwrap = true;
    *record = (struct kw_key_record){.origin = key->local ? KW_ORIGIN_TOKEN : KW_ORIGIN_UNKNOWN,
                                     .revision = record->revision,
                                     .decrypt = made.decrypt,
                                     .unwrap = made.unwrap,
                                     .sign = made.sign ? KW_YES : KW_NO};
    return status;
}

/* After another program has changed the record: what was told to the token meanwhile may be what
 * that program had taken away. */
static enum kw_status heed(struct kw_keyring *keyring, const struct kw_token_key *key,
                           struct kw_key_record *record, struct kw_error *err)
{
    struct kw_use_flags uses;
    kw_key_record_cleanup(record);
    enum kw_status status = kw_load_or_begin(keyring, key, false, record, err);
    if (!status) {
        kw_record_uses(record, &uses);
        status = kw_tell_token(keyring, key, &uses, false, err);
    }
    kw_key_record_cleanup(record);
    return status;
}

enum kw_status kw_with_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                              const char *op, kw_record_change_fn work, const void *context,
                              struct kw_error *err)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    struct kw_act act = {.ck_rv = 0};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = kw_act_begin(keyring, &act, op, key, NULL, err);
    if (!status) {
        status = work(keyring, key, context, &record, &act.failure);
        for (int try = 1; try < TRIES && status == KW_EXISTS; try++) {
            status = heed(keyring, key, &record, &act.failure);
            if (!status)
                status = work(keyring, key, context, &record, &act.failure);
        }
        kw_record_changed(keyring, key, &record, status == KW_OK);
        status = kw_act_end(keyring, &act, status, NULL, err);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    kw_key_record_cleanup(&record);
    return status;
}

/* ---- the token's part ---- */

enum kw_status kw_tell_token(struct kw_keyring *keyring, const struct kw_token_key *key,
                             const struct kw_use_flags *uses, bool gives, struct kw_error *err)
{
    enum kw_status status = kw_token_allow_key(keyring->token, key, uses, err);
    if (status != KW_KEY_UNUSABLE || gives)
        return status;
    const char *label = kw_token_info(keyring->token)->label;
    if (uses->decrypt || uses->unwrap || uses->sign)
        kw_keyring_warn(keyring,
                        "the token \"%s\" does not take away what a key may do: Keyward keeps to "
                        "the key's record, but other programs with the PIN need not",
                        label);
    else
        kw_keyring_warn(keyring,
                        "the token \"%s\" does not take away what a key may do: Keyward refuses "
                        "the key now, but other programs with the PIN can still use it",
                        label);
    return KW_OK;
}

/* ---- all settings at once ---- */

/* What an update does to what the token says. */
struct effect {
    struct kw_use_flags before, after;
    bool asks_uses, gives, takes;
    char first[KW_DAY_SIZE], last[KW_DAY_SIZE];
    struct kw_key_change dates; /* NULL: not asked for */
    bool widens;
};

static enum kw_status check_update(const struct kw_keyring *keyring, const struct kw_token_key *key,
                                   const struct kw_key_settings *settings,
                                   const struct kw_key_record *record, struct kw_error *err)
{
    char label[96];
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    if (record->deleted[0])
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" was deleted on %s; recover it first with keyward key recover",
                       label, record->deleted);
    if ((settings->ops || settings->enabled == KW_NO) && kw_is_signer(keyring, key))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" signs the records of the other keys, which could not be trusted "
                       "without it; leave it as it is",
                       label);
    return KW_OK;
}

static void compare_uses(struct effect *effect)
{
    const struct kw_use_flags *a = &effect->before, *b = &effect->after;
    effect->gives =
        (b->decrypt && !a->decrypt) || (b->unwrap && !a->unwrap) || (b->sign && !a->sign);
    effect->takes =
        (a->decrypt && !b->decrypt) || (a->unwrap && !b->unwrap) || (a->sign && !b->sign);
}

/* The record is as it is to be, the key as it is. */
static enum kw_status plan_dates(const struct kw_token_key *key,
                                 const struct kw_key_settings *settings,
                                 const struct kw_key_record *record, struct effect *effect,
                                 struct kw_error *err)
{
    const char *first = key->not_before, *last = key->expires;
    if (settings->not_before || record->not_before) {
        kw_first_day(record->not_before, effect->first);
        first = effect->first;
    }
    if (settings->expires || record->expires) {
        kw_last_day(record->expires, first, effect->last);
        last = effect->last;
    }
    if (first[0] && last[0] && strcmp(first, last) > 0)
        return kw_fail(err, KW_USAGE,
                       "a key that expires on %s can't be valid from %s; give a later expiry too",
                       last, first);
    /* The last day depends on the first one. */
    effect->dates.not_before = settings->not_before ? effect->first : NULL;
    effect->dates.expires = settings->expires || record->expires ? effect->last : NULL;
    bool no_later = !first[0] || (key->not_before[0] && strcmp(first, key->not_before) <= 0);
    bool no_sooner = !last[0] || (key->expires[0] && strcmp(last, key->expires) >= 0);
    effect->widens = no_later && no_sooner;
    return KW_OK;
}

static enum kw_status tell_dates(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct effect *effect, struct kw_error *err)
{
    struct kw_token_key changed;
    if (!effect->dates.not_before && !effect->dates.expires)
        return KW_OK;
    enum kw_status status = kw_token_change_key(keyring->token, key, &effect->dates, &changed, err);
    if (status != KW_KEY_UNUSABLE)
        return status;
    kw_keyring_warn(keyring,
                    "the token \"%s\" does not take a key's dates: Keyward keeps to the key's "
                    "record, but other programs don't see them",
                    kw_token_info(keyring->token)->label);
    return KW_OK;
}

/* What was allowed and what is to be. */
static struct kw_use_flags both(const struct effect *effect)
{
    const struct kw_use_flags *a = &effect->before, *b = &effect->after;
    return (struct kw_use_flags){.decrypt = a->decrypt || b->decrypt,
                                 .unwrap = a->unwrap || b->unwrap,
                                 .sign = a->sign || b->sign};
}

/* What is given is told to the token before it is recorded, what is taken away afterwards: whatever
 * ends in between, the key is not used for what it should not be. */
static enum kw_status bring_about(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const struct effect *effect, struct kw_key_record *record,
                                  struct kw_error *err)
{
    const struct kw_use_flags given = both(effect);
    enum kw_status status = KW_OK;
    if (effect->asks_uses && effect->gives)
        status = kw_tell_token(keyring, key, &given, true, err);
    if (!status && effect->widens)
        status = tell_dates(keyring, key, effect, err);
    if (!status)
        status = kw_record_save(keyring, key, record, err);
    if (!status && effect->asks_uses && (effect->takes || !effect->gives))
        status = kw_tell_token(keyring, key, &effect->after, false, err);
    if (!status && !effect->widens)
        status = tell_dates(keyring, key, effect, err);
    return status;
}

/* The key as the token has it now: its dates may have been changed since the keyring read it. */
static enum kw_status read_now(struct kw_keyring *keyring, const struct kw_token_key *key,
                               struct kw_token_key *ret_now, struct kw_error *err)
{
    const struct kw_key_filter filter = {.id = key->id, .id_len = key->id_len};
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    enum kw_status status = kw_token_keys_of(keyring->token, &filter, &keys, &count, err);
    for (size_t i = 0; i < count && !status; i++)
        if (kw_rsa_same(&keys[i].public, &key->public))
            *ret_now = keys[i];
    free(keys);
    return status;
}

static enum kw_status plan_effect(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const struct kw_key_settings *settings,
                                  const struct kw_key_record *record, struct effect *effect,
                                  struct kw_error *err)
{
    struct kw_token_key now = *key;
    bool dates = settings->not_before || settings->expires;
    effect->asks_uses = settings->ops || settings->enabled != KW_UNSET;
    kw_record_uses(record, &effect->after);
    compare_uses(effect);
    enum kw_status status = dates ? read_now(keyring, key, &now, err) : KW_OK;
    return status || !dates ? status : plan_dates(&now, settings, record, effect, err);
}

static enum kw_status update(struct kw_keyring *keyring, const struct kw_token_key *key,
                             const void *context, struct kw_key_record *record,
                             struct kw_error *err)
{
    const struct kw_key_settings *settings = context;
    struct effect effect = {.asks_uses = false};
    enum kw_status status;
    if ((status = kw_load_or_begin(keyring, key, settings->enabled == KW_YES, record, err)) ||
        (status = check_update(keyring, key, settings, record, err)))
        return status;
    kw_record_uses(record, &effect.before);
    if ((status = kw_record_apply(record, settings, err)) ||
        (status = plan_effect(keyring, key, settings, record, &effect, err)))
        return status;
    return bring_about(keyring, key, &effect, record, err);
}

static bool asks_for_nothing(const struct kw_key_settings *settings)
{
    return !settings->ops && !settings->not_before && !settings->expires && !settings->tags &&
           !settings->policy && settings->enabled == KW_UNSET;
}

enum kw_status kw_keyring_update(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_key_settings *settings, struct kw_error *err)
{
    enum kw_status status = kw_settings_check(settings, err);
    if (status || asks_for_nothing(settings))
        return status;
    return kw_with_record(keyring, key, "key.update", update, settings, err);
}
