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

/* `id` gets a fresh version and must outlive the plan. */
static enum kw_status make_plan(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                uint8_t id[KW_VERSION_BYTES], struct kw_key_plan *ret_plan,
                                struct kw_error *err)
{
    enum kw_status status = kw_random(keyring->crypto, id, KW_VERSION_BYTES, err);
    if (status)
        return status;
    *ret_plan = (struct kw_key_plan){
        .label = wanted->name,
        .id = id,
        .id_len = KW_VERSION_BYTES,
        .use = wanted->use,
        .bits = wanted->bits,
        .not_before = wanted->not_before,
        .expires = wanted->expires,
        .extractable = wanted->extractable,
    };
    return KW_OK;
}

static enum kw_status make(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                           struct kw_token_key *ret_key, struct kw_error *err)
{
    uint8_t id[KW_VERSION_BYTES];
    struct kw_key_plan plan;
    enum kw_status status = make_plan(keyring, wanted, id, &plan, err);
    if (!status)
        status = kw_token_make_key(keyring->token, &plan, ret_key, err);
    if (!status)
        kw_record_begin(keyring, ret_key, KW_ORIGIN_TOKEN);
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
    return status ? status : make(keyring, wanted, ret_key, err);
}

/* What a version may do while it is enabled. */
static enum kw_status read_version(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   bool *ret_deleted, bool *ret_decrypt, bool *ret_unwrap,
                                   struct kw_error *err)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    enum kw_status status = kw_record_load(keyring, key, &record, err);
    if (!status) {
        bool good = record.state == KW_RECORD_GOOD;
        *ret_deleted = good && record.deleted[0];
        *ret_decrypt = key->decrypt || (good && record.decrypt);
        *ret_unwrap = key->unwrap || (good && record.unwrap);
    }
    kw_key_record_cleanup(&record);
    return status;
}

/* The next version is for what the others are for, those aside that are deleted. */
static enum kw_status choose_use(struct kw_keyring *keyring, struct kw_new_key *next,
                                 struct kw_error *err)
{
    size_t kept = 0, imports = 0;
    for (size_t i = 0; i < keyring->key_count; i++) {
        const struct kw_token_key *key = &keyring->keys[i];
        bool deleted = false, decrypt = false, unwrap = false;
        if (strcmp(key->label, next->name) != 0)
            continue;
        enum kw_status status = read_version(keyring, key, &deleted, &decrypt, &unwrap, err);
        if (status)
            return status;
        kept += !deleted;
        imports += !deleted && unwrap && !decrypt;
    }
    if (kept == 0)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "every version of key \"%s\" was deleted; recover it first with keyward key "
                       "recover, or choose another name",
                       next->name);
    if (imports == kept)
        next->use = KW_USE_IMPORT;
    return KW_OK;
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
    enum kw_status status = choose_use(keyring, &next, err);
    return status ? status : make(keyring, &next, ret_key, err);
}

typedef enum kw_status (*make_fn)(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                  struct kw_token_key *ret_key, struct kw_error *err);

static enum kw_status with_token(struct kw_keyring *keyring, const char *op, make_fn do_it,
                                 const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                 struct kw_error *err)
{
    struct kw_act act = {.ck_rv = 0};
    enum kw_status status = check_name(keyring, wanted->name, err);
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
                               uint8_t id[KW_VERSION_BYTES], struct kw_key_plan *ret_plan,
                               struct kw_error *err)
{
    enum kw_status status;
    if ((status = check_name(keyring, wanted->name, err)) ||
        (status = kw_keyring_connect(keyring, err)) ||
        (status = check_free(keyring, wanted->name, err)))
        return status;
    return make_plan(keyring, wanted, id, ret_plan, err);
}

enum kw_status kw_keyring_unwrap_key(struct kw_keyring *keyring, const struct kw_token_key *kek,
                                     const uint8_t *wrapped, size_t wrapped_len,
                                     const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                     struct kw_error *err)
{
    uint8_t id[KW_VERSION_BYTES];
    struct kw_key_plan plan;
    struct kw_act act = {.ck_rv = 0};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_plan(keyring, wanted, id, &plan, err);
    if (!status)
        status = kw_check_use(keyring, kek, err);
    if (!status)
        status = kw_act_begin(keyring, &act, "byok.import", NULL, wanted->name, err);
    if (!status) {
        status = kw_token_unwrap_key(keyring->token, kek, wrapped, wrapped_len, &plan, ret_key,
                                     &act.failure);
        if (!status)
            kw_record_begin(keyring, ret_key, KW_ORIGIN_BYOK);
        status = kw_act_end(keyring, &act, status, status ? NULL : ret_key, err);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
