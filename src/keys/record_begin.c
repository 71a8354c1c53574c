/* The first record of a new key. */
#include <string.h>
#include <time.h>

#include "internal.h"

/* Versions are told apart by that: the next one is younger, also after a clock that was set back.
 */
static void set_created(char created[KW_TIMESTAMP_SIZE], const char *after)
{
    struct tm newest = {.tm_year = 70, .tm_mday = 1};
    kw_timestamp(time(NULL), created);
    if (!after[0] || strcmp(created, after) > 0)
        return;
    (void)strptime(after, "%Y-%m-%dT%H:%M:%SZ", &newest); /* a record's times have that form */
    kw_timestamp(timegm(&newest) + 1, created);
}

/* The first of its records, of what the key may do by its attributes. */
static enum kw_status fill_first(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct record_start *start, struct kw_key_record *record,
                                 struct kw_error *err)
{
    long revision = record->revision;
    kw_key_record_cleanup(record);
    *record = (struct kw_key_record){.revision = revision,
                                     .origin = start->origin,
                                     .decrypt = key->decrypt,
                                     .unwrap = key->unwrap,
                                     .sign = key->sign ? KW_YES : KW_NO};
    set_created(record->created, start->after);
    if (start->origin == KW_ORIGIN_TOKEN)
        memcpy(record->made_on, kw_token_info(keyring->token)->serial, sizeof(record->made_on));
    return start->settings ? kw_record_apply(record, start->settings, err) : KW_OK;
}

static enum kw_status begin(struct kw_keyring *keyring, const struct kw_token_key *key,
                            const struct record_start *start, struct kw_key_record *record,
                            struct kw_error *err)
{
    enum kw_status status = kw_record_load(keyring, key, record, err);
    if (status)
        return status;
    if (kw_key_state(record) != KW_KEY_ENABLED) {
        kw_keyring_warn(keyring,
                        "the token has a record of this very key already (%s), which goes on to "
                        "count; keyward key show tells what it says",
                        kw_key_state_name(kw_key_state(record)));
        return KW_OK;
    }
    struct kw_use_flags uses;
    if ((status = fill_first(keyring, key, start, record, err)) ||
        (status = kw_record_save(keyring, key, record, err)))
        return status;
    kw_record_uses(record, &uses);
    bool narrows =
        key->decrypt != uses.decrypt || key->unwrap != uses.unwrap || key->sign != uses.sign;
    return narrows ? kw_tell_token(keyring, key, &uses, false, err) : KW_OK;
}

enum kw_status kw_record_begin(struct kw_keyring *keyring, const struct kw_token_key *key,
                               const struct record_start *start, struct kw_error *err)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    struct kw_error failure;
    enum kw_status status = begin(keyring, key, start, &record, &failure);
    kw_key_record_cleanup(&record);
    if (status && start->settings)
        return kw_fail_ck(err, status, failure.ck_rv,
                          "what was asked for can't be put on record: %.300s", failure.message);
    if (status)
        kw_keyring_warn(keyring, "the key was made, but no record says when and how: %.300s",
                        failure.message);
    return KW_OK;
}

enum kw_status kw_record_begin_or_undo(struct kw_keyring *keyring, const struct kw_token_key *key,
                                       const struct record_start *start, struct kw_error *err)
{
    struct kw_error failure;
    enum kw_status status = kw_record_begin(keyring, key, start, &failure);
    if (!status)
        return KW_OK;
    if (kw_token_destroy_key(keyring->token, key, NULL) != KW_OK)
        return kw_fail_ck(err, status, failure.ck_rv,
                          "%.300s; the new key could not be taken away again: delete it with "
                          "keyward key delete",
                          failure.message);
    if (start->origin == KW_ORIGIN_TOKEN) /* others may be of a key that is here once more */
        (void)kw_record_remove(keyring, key, NULL);
    if (err)
        *err = failure;
    return status;
}
