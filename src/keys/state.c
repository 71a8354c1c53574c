/* The states of a key: disabled, deleted, recovered, purged; its tags. */
#include <cjson/cJSON.h>
#include <string.h>

#include "internal.h"

#define DEFAULT_RETENTION_DAYS 90
#define SECONDS_A_DAY          86400

/* ---- the steps ---- */

long kw_keyring_retention_days(const struct kw_keyring *keyring)
{
    long days = keyring->config.life.retention_days;
    return days ? days : DEFAULT_RETENTION_DAYS;
}

static void delete_now(struct kw_keyring *keyring, struct kw_key_record *record)
{
    time_t now = time(NULL);
    kw_timestamp(now, record->deleted);
    kw_timestamp(now + kw_keyring_retention_days(keyring) * SECONDS_A_DAY, record->purge_after);
    record->purge_protected = keyring->config.life.purge_protection == KW_YES;
}

static void recover_now(struct kw_key_record *record)
{
    record->deleted[0] = record->purge_after[0] = '\0';
    record->purge_protected = false;
}

/* What each step needs and does. Taking a use away is recorded first and told to the token then,
 * giving it back the other way round: whatever ends in between, the key is not used. */
static const struct step_row {
    const char *op;
    bool begins;     /* a new record, where the old one is bad */
    bool on_deleted; /* on deleted keys only; else on others only, but for KW_STEP_DELETE */
    bool gives_back;
} steps[] = {
    [KW_STEP_DISABLE] = {"key.disable", false, false, false},
    [KW_STEP_ENABLE] = {"key.enable", true, false, true},
    [KW_STEP_DELETE] = {"key.delete", true, false, false},
    [KW_STEP_RECOVER] = {"key.recover", false, true, true},
};

static enum kw_status check_step(const struct kw_keyring *keyring, const struct kw_token_key *key,
                                 enum kw_key_step step, const struct kw_key_record *record,
                                 struct kw_error *err)
{
    char label[96];
    bool deleted = record->deleted[0] != '\0';
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    if (!steps[step].gives_back && kw_is_signer(keyring, key))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" signs the records of the other keys, which could not be trusted "
                       "without it; leave it as it is",
                       label);
    /* Deleting once more tells the token, where that failed the first time. */
    if (deleted == steps[step].on_deleted || step == KW_STEP_DELETE)
        return KW_OK;
    if (deleted)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" was deleted on %s; recover it first with keyward key recover",
                       label, record->deleted);
    return kw_fail(err, KW_KEY_UNUSABLE, "key \"%s\" is not deleted; there is nothing to recover",
                   label);
}

static enum kw_status take_step(struct kw_keyring *keyring, const struct kw_token_key *key,
                                const void *context, struct kw_key_record *record,
                                struct kw_error *err)
{
    enum kw_key_step step = *(const enum kw_key_step *)context;
    enum kw_status status = kw_load_or_begin(keyring, key, steps[step].begins, record, err);
    if (!status)
        status = check_step(keyring, key, step, record, err);
    if (status)
        return status;
    switch (step) {
    case KW_STEP_DISABLE:
        record->disabled = true;
        break;
    case KW_STEP_ENABLE:
        record->disabled = false;
        break;
    case KW_STEP_DELETE:
        if (!record->deleted[0])
            delete_now(keyring, record);
        break;
    case KW_STEP_RECOVER:
        recover_now(record);
        break;
    }
    struct kw_use_flags uses;
    kw_record_uses(record, &uses);
    bool gives = kw_key_state(record) == KW_KEY_ENABLED;
    if (steps[step].gives_back) {
        status = kw_tell_token(keyring, key, &uses, gives, err);
        return status ? status : kw_record_save(keyring, key, record, err);
    }
    status = kw_record_save(keyring, key, record, err);
    return status ? status : kw_tell_token(keyring, key, &uses, gives, err);
}

enum kw_status kw_keyring_step(struct kw_keyring *keyring, const struct kw_token_key *key,
                               enum kw_key_step step, struct kw_error *err)
{
    return kw_with_record(keyring, key, steps[step].op, take_step, &step, err);
}

/* ---- purging ---- */

enum kw_status kw_version_check_purge(const struct kw_version *version, struct kw_error *err)
{
    const struct kw_key_record *record = version->record;
    char label[96], now[KW_TIMESTAMP_SIZE];
    kw_printable(version->key->label, strlen(version->key->label), label, sizeof(label));
    kw_timestamp(time(NULL), now);
    if (!record->deleted[0])
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" is not deleted; delete it first with keyward key delete", label);
    if (record->purge_protected && strcmp(now, record->purge_after) < 0)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" was deleted under purge protection; it can be purged after %s",
                       label, record->purge_after);
    return KW_OK;
}

static enum kw_status purge(struct kw_keyring *keyring, const struct kw_token_key *key,
                            const void *context, struct kw_key_record *record, struct kw_error *err)
{
    (void)context;
    const struct kw_version version = {key, record};
    enum kw_status status = kw_load_or_begin(keyring, key, false, record, err);
    if (!status)
        status = kw_version_check_purge(&version, err);
    if (status)
        return status;
    status = kw_token_destroy_key(keyring->token, key, err);
    /* An earlier purge may have come as far as that. */
    if (status != KW_OK && status != KW_KEY_NOT_FOUND)
        return status;
    return kw_record_remove(keyring, key, err);
}

enum kw_status kw_keyring_purge(struct kw_keyring *keyring, const struct kw_token_key *key,
                                struct kw_error *err)
{
    return kw_with_record(keyring, key, "key.purge", purge, NULL, err);
}

/* ---- tags and other notes ---- */

static enum kw_status set_tag(struct kw_key_record *record, const char *tag, struct kw_error *err)
{
    const char *equals = strchr(tag, '=');
    size_t len = equals ? (size_t)(equals - tag) : 0;
    if (len == 0 || !kw_is_tag_text(tag, len) || !kw_is_tag_text(equals + 1, strlen(equals + 1)))
        return kw_fail(err, KW_USAGE,
                       "a tag is NAME=VALUE, each of at most %d printable bytes; an empty VALUE "
                       "takes it away",
                       KW_TAG_TEXT_MAX);
    char name[KW_TAG_TEXT_MAX + 1];
    memcpy(name, tag, len);
    name[len] = '\0';
    if (!record->tags && !(record->tags = cJSON_CreateObject()))
        return kw_fail_memory(err);
    /* Letter case aside, as the parser that reads it back compares names. */
    cJSON_DeleteItemFromObject(record->tags, name);
    if (equals[1] != '\0' && !cJSON_AddStringToObject(record->tags, name, equals + 1))
        return kw_fail_memory(err);
    if (cJSON_GetArraySize(record->tags) > KW_TAGS_MAX)
        return kw_fail(err, KW_USAGE, "a key has at most %d tags; take one away first",
                       KW_TAGS_MAX);
    return KW_OK;
}

struct tags {
    const char *const *items;
    size_t count;
};

static enum kw_status set_tags(struct kw_keyring *keyring, const struct kw_token_key *key,
                               const void *context, struct kw_key_record *record,
                               struct kw_error *err)
{
    const struct tags *tags = context;
    enum kw_status status = kw_load_or_begin(keyring, key, false, record, err);
    for (size_t i = 0; i < tags->count && !status; i++)
        status = set_tag(record, tags->items[i], err);
    return status ? status : kw_record_save(keyring, key, record, err);
}

enum kw_status kw_keyring_tag(struct kw_keyring *keyring, const struct kw_token_key *key,
                              const char *const *tags, size_t count, struct kw_error *err)
{
    const struct tags context = {tags, count};
    return kw_with_record(keyring, key, "key.tag", set_tags, &context, err);
}

static enum kw_status note_backup(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const void *context, struct kw_key_record *record,
                                  struct kw_error *err)
{
    (void)context;
    enum kw_status status = kw_load_or_begin(keyring, key, false, record, err);
    kw_timestamp(time(NULL), record->backed_up);
    return status ? status : kw_record_save(keyring, key, record, err);
}

enum kw_status kw_keyring_note_backup(struct kw_keyring *keyring, const struct kw_token_key *key,
                                      struct kw_error *err)
{
    return kw_with_record(keyring, key, "key.note-backup", note_backup, NULL, err);
}
