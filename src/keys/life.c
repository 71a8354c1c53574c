/* The life of keys on the token: new ones, next versions, changes. */
#include <string.h>

#include "internal.h"

#define NAME_MAX_LENGTH 127

static enum kw_status check_name(const struct kw_keyring *keyring, const char *name,
                                 struct kw_error *err)
{
    size_t len = strlen(name);
    bool printable = len >= 1 && len <= NAME_MAX_LENGTH;
    for (size_t i = 0; i < len && printable; i++)
        printable = name[i] > ' ' && name[i] < 0x7f;
    if (!printable)
        return kw_fail(err, KW_USAGE,
                       "a key's name has 1 to %d printable ASCII characters without spaces; for "
                       "Data Connect it is the tenant id",
                       NAME_MAX_LENGTH);
    return kw_check_not_signer_label(keyring, name, err);
}

static size_t count_versions(const struct kw_keyring *keyring, const char *name,
                             const struct kw_token_key **ret_first)
{
    size_t count = 0;
    for (size_t i = 0; i < keyring->key_count; i++)
        if (strcmp(keyring->keys[i].label, name) == 0 && count++ == 0)
            *ret_first = &keyring->keys[i];
    return count;
}

void kw_plan_days(struct planned_key *planned, const struct kw_key_settings *settings)
{
    struct kw_key_plan *plan = &planned->plan;
    if (settings && settings->not_before) {
        kw_first_day(*settings->not_before, planned->not_before);
        plan->not_before = planned->not_before;
    }
    if (settings && settings->expires) {
        kw_last_day(*settings->expires, plan->not_before ? plan->not_before : "", planned->expires);
        plan->expires = planned->expires;
    }
}

static enum kw_status make_plan(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                struct planned_key *ret_planned, struct kw_error *err)
{
    enum kw_status status = kw_settings_check(wanted->settings, err);
    if (!status)
        status = kw_random(keyring->crypto, ret_planned->id, sizeof(ret_planned->id), err);
    if (status)
        return status;
    ret_planned->plan = (struct kw_key_plan){
        .label = wanted->name,
        .id = ret_planned->id,
        .id_len = sizeof(ret_planned->id),
        .use = wanted->use,
        .bits = wanted->bits,
        .not_before = wanted->not_before,
        .expires = wanted->expires,
        .extractable = wanted->extractable,
    };
    kw_plan_days(ret_planned, wanted->settings);
    return KW_OK;
}

/* `after` as in struct record_start. */
static enum kw_status make(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                           const char *after, struct kw_token_key *ret_key, struct kw_error *err)
{
    const struct record_start start = {KW_ORIGIN_TOKEN, wanted->settings, after};
    struct planned_key planned;
    struct kw_token_key key;
    enum kw_status status = make_plan(keyring, wanted, &planned, err);
    if (!status)
        status = kw_token_make_key(keyring->token, &planned.plan, &key, err);
    if (!status)
        status = kw_record_begin_or_undo(keyring, &key, &start, err);
    if (!status)
        *ret_key = key;
    return status;
}

static enum kw_status check_free(const struct kw_keyring *keyring, const char *name,
                                 struct kw_error *err)
{
    const struct kw_token_key *first = NULL;
    if (count_versions(keyring, name, &first) > 0)
        return kw_fail(err, KW_EXISTS,
                       "the token has a key \"%s\" already; make its next version with keyward key "
                       "rotate, or choose another name",
                       name);
    return KW_OK;
}

static enum kw_status create(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                             struct kw_token_key *ret_key, struct kw_error *err)
{
    enum kw_status status = check_free(keyring, wanted->name, err);
    return status ? status : make(keyring, wanted, "", ret_key, err);
}

/* ---- next versions ---- */

/* What the versions of a name have in common, those aside that are deleted. */
struct versions {
    size_t kept;
    size_t of_use[KW_USE_COUNT];
    struct kw_key_record newest;     /* of those whose record is good; owned */
    char created[KW_TIMESTAMP_SIZE]; /* of the newest of all */
};

/* False where it may do nothing. */
static bool use_of(const struct kw_use_flags *made, enum kw_key_use *ret_use)
{
    if (made->decrypt)
        *ret_use = made->sign ? KW_USE_ALL : KW_USE_DECRYPT;
    else
        *ret_use = made->unwrap ? KW_USE_IMPORT : KW_USE_SIGN;
    return made->decrypt || made->unwrap || made->sign;
}

/* Takes the record over. */
static void count_version(struct versions *versions, const struct kw_token_key *key,
                          struct kw_key_record *record)
{
    const struct kw_use_flags made = kw_version_made_for(key, record);
    enum kw_key_use use;
    bool good = record->state == KW_RECORD_GOOD;
    if (strcmp(record->created, versions->created) > 0)
        memcpy(versions->created, record->created, sizeof(versions->created));
    if (good && record->deleted[0]) {
        kw_key_record_cleanup(record);
        return;
    }
    versions->kept++;
    if (use_of(&made, &use))
        versions->of_use[use]++;
    if (good && strcmp(record->created, versions->newest.created) >= 0) {
        kw_key_record_cleanup(&versions->newest);
        versions->newest = *record;
    } else {
        kw_key_record_cleanup(record);
    }
}

/* The caller cleans up `versions->newest`. */
static enum kw_status look_at_versions(struct kw_keyring *keyring, const char *name,
                                       struct versions *versions, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < keyring->key_count && !status; i++) {
        const struct kw_token_key *key = &keyring->keys[i];
        struct kw_key_record record = {.state = KW_RECORD_NONE};
        if (strcmp(key->label, name) != 0)
            continue;
        status = kw_record_load(keyring, key, &record, err);
        if (!status)
            count_version(versions, key, &record);
    }
    return status;
}

enum kw_status kw_newest_created(struct kw_keyring *keyring, const char *name,
                                 char ret_created[KW_TIMESTAMP_SIZE], struct kw_error *err)
{
    struct versions versions = {.kept = 0};
    enum kw_status status = look_at_versions(keyring, name, &versions, err);
    kw_key_record_cleanup(&versions.newest);
    if (!status && versions.created[0])
        memcpy(ret_created, versions.created, KW_TIMESTAMP_SIZE);
    return status;
}

/* The next version is for what all others are for, unless its operations are said. What is not said
 * of it is as the newest one has it. */
static enum kw_status follow(const struct versions *versions, struct kw_new_key *next,
                             struct kw_key_settings *settings, struct kw_error *err)
{
    const struct kw_key_record *newest = &versions->newest;
    if (versions->kept == 0)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "every version of key \"%s\" was deleted; recover it first with keyward key "
                       "recover, or choose another name",
                       next->name);
    bool said = next->settings && next->settings->ops;
    for (enum kw_key_use use = 0; use < KW_USE_COUNT; use++)
        if (!said && versions->of_use[use] == versions->kept)
            next->use = use;
    if (next->settings)
        *settings = *next->settings;
    if (!settings->ops && newest->ops)
        settings->ops = &newest->ops;
    if (!settings->tags)
        settings->tags = newest->tags;
    if (!settings->policy)
        settings->policy = newest->policy;
    if (next->settings || settings->ops || settings->tags || settings->policy)
        next->settings = settings;
    return KW_OK;
}

static enum kw_status make_next(struct kw_keyring *keyring, struct kw_new_key *next,
                                struct kw_token_key *ret_key, struct kw_error *err)
{
    struct versions versions = {.kept = 0};
    struct kw_key_settings settings = {.ops = NULL};
    enum kw_status status = look_at_versions(keyring, next->name, &versions, err);
    if (!status)
        status = follow(&versions, next, &settings, err);
    if (!status)
        status = make(keyring, next, versions.created, ret_key, err);
    kw_key_record_cleanup(&versions.newest);
    return status;
}

static enum kw_status rotate(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                             struct kw_token_key *ret_key, struct kw_error *err)
{
    struct kw_new_key next = *wanted;
    const struct kw_token_key *first = NULL;
    if (count_versions(keyring, wanted->name, &first) == 0)
        return kw_fail(err, KW_KEY_NOT_FOUND,
                       "the token has no key \"%s\" to make a next version of; make its first one "
                       "with keyward key create",
                       wanted->name);
    for (size_t i = 0; i < keyring->key_count && wanted->bits == 0; i++) {
        const struct kw_token_key *key = &keyring->keys[i];
        if (strcmp(key->label, wanted->name) == 0 &&
            kw_rsa_bits(&key->public) != kw_rsa_bits(&first->public))
            return kw_fail(err, KW_USAGE,
                           "the versions of \"%s\" differ in size; say which one with --bits",
                           wanted->name);
    }
    if (next.bits == 0)
        next.bits = (unsigned)kw_rsa_bits(&first->public);
    return make_next(keyring, &next, ret_key, err);
}

typedef enum kw_status (*make_fn)(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                  struct kw_token_key *ret_key, struct kw_error *err);

static enum kw_status with_token(struct kw_keyring *keyring, const char *op, make_fn do_it,
                                 const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                 struct kw_error *err)
{
    struct kw_act act = {.ck_rv = 0};
    enum kw_status status = check_name(keyring, wanted->name, err);
    if (!status)
        status = kw_settings_check(wanted->settings, err);
    if (status)
        return status;
    (void)pthread_mutex_lock(&keyring->lock);
    status = kw_keyring_connect(keyring, err);
    if (!status)
        status = kw_act_begin(keyring, &act, op, NULL, wanted->name, err);
    if (!status) {
        status = do_it(keyring, wanted, ret_key, &act.failure);
        status = kw_act_end(keyring, &act, status, status ? NULL : ret_key, err);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_create(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                 struct kw_token_key *ret_key, struct kw_error *err)
{
    return with_token(keyring, "key.create", create, wanted, ret_key, err);
}

enum kw_status kw_keyring_rotate(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                 struct kw_token_key *ret_key, struct kw_error *err)
{
    return with_token(keyring, "key.rotate", rotate, wanted, ret_key, err);
}

/* A time by the second in the record would go on to win over a new date. It is taken away first:
 * the date that the token has for it does until there is a new one. */
static enum kw_status forget_times(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   const struct kw_key_change *change, struct kw_error *err)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    if (!change->not_before && !change->expires)
        return KW_OK;
    enum kw_status status = kw_record_load(keyring, key, &record, err);
    bool good = !status && record.state == KW_RECORD_GOOD;
    bool begins = good && change->not_before && record.not_before;
    bool ends = good && change->expires && record.expires;
    if (begins)
        record.not_before = 0;
    if (ends)
        record.expires = 0;
    if (begins || ends)
        status = kw_record_save(keyring, key, &record, err);
    kw_key_record_cleanup(&record);
    return status;
}

enum kw_status kw_keyring_change(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_key_change *change, struct kw_token_key *ret_key,
                                 struct kw_error *err)
{
    char label[96];
    struct kw_act act = {.ck_rv = 0};
    enum kw_status status = change->label ? check_name(keyring, change->label, err) : KW_OK;
    if (status)
        return status;
    (void)pthread_mutex_lock(&keyring->lock);
    status = kw_keyring_connect(keyring, err);
    if (!status && change->label && kw_is_signer(keyring, key))
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "key \"%s\" signs the records of the other keys and is known by that "
                         "name; leave it as it is",
                         kw_printable(key->label, strlen(key->label), label, sizeof(label)));
    if (!status)
        status = kw_act_begin(keyring, &act, "key.change", key, NULL, err);
    if (!status) {
        status = forget_times(keyring, key, change, &act.failure);
        if (!status)
            status = kw_token_change_key(keyring->token, key, change, ret_key, &act.failure);
        status = kw_act_end(keyring, &act, status, status ? NULL : ret_key, err);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_wrap_key(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   const struct kw_rsa_public *kek, struct kw_buffer *ret_wrapped,
                                   const char **ret_mechanism, struct kw_error *err)
{
    struct kw_act act = {.ck_rv = 0};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = kw_check_use(keyring, key, err);
    if (!status)
        status = kw_act_begin(keyring, &act, "byok.export", key, NULL, err);
    if (!status) {
        status =
            kw_token_wrap_key(keyring->token, key, kek, ret_wrapped, ret_mechanism, &act.failure);
        status = kw_act_end(keyring, &act, status, NULL, err);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_plan(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                               struct planned_key *ret_planned, struct kw_error *err)
{
    enum kw_status status;
    if ((status = check_name(keyring, wanted->name, err)) ||
        (status = kw_keyring_connect(keyring, err)) ||
        (status = wanted->further ? KW_OK : check_free(keyring, wanted->name, err)))
        return status;
    return make_plan(keyring, wanted, ret_planned, err);
}

enum kw_status kw_keyring_unwrap_key(struct kw_keyring *keyring, const struct kw_token_key *kek,
                                     const uint8_t *wrapped, size_t wrapped_len,
                                     const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                     struct kw_error *err)
{
    struct planned_key planned;
    struct kw_token_key key;
    struct kw_act act = {.ck_rv = 0};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_plan(keyring, wanted, &planned, err);
    if (!status)
        status = kw_check_use(keyring, kek, err);
    if (!status)
        status = kw_act_begin(keyring, &act, "byok.import", NULL, wanted->name, err);
    if (!status) {
        char newest[KW_TIMESTAMP_SIZE] = "";
        const struct record_start start = {KW_ORIGIN_BYOK, wanted->settings, newest};
        status = kw_newest_created(keyring, wanted->name, newest, &act.failure);
        if (!status)
            status = kw_token_unwrap_key(keyring->token, kek, wrapped, wrapped_len, &planned.plan,
                                         &key, &act.failure);
        if (!status)
            status = kw_record_begin_or_undo(keyring, &key, &start, &act.failure);
        status = kw_act_end(keyring, &act, status, status ? NULL : &key, err);
    }
    if (!status)
        *ret_key = key;
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
