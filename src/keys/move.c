/* Keys that come from elsewhere, and go there: from files, to backups and back. */
#include <string.h>

#include "internal.h"

enum kw_status kw_keyring_import_key(struct kw_keyring *keyring, const struct kw_secret *pkcs8,
                                     const uint8_t *id, size_t id_len,
                                     const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                     struct kw_error *err)
{
    struct planned_key planned;
    struct kw_token_key key;
    struct kw_act act = {.ck_rv = 0};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_plan(keyring, wanted, &planned, err);
    if (!status && id_len > 0) {
        planned.plan.id = id;
        planned.plan.id_len = id_len;
    }
    if (!status)
        status = kw_act_begin(keyring, &act, "key.import", NULL, wanted->name, err);
    if (!status) {
        char newest[KW_TIMESTAMP_SIZE] = "";
        const struct record_start start = {KW_ORIGIN_FILE, wanted->settings, newest};
        status = kw_newest_created(keyring, wanted->name, newest, &act.failure);
        if (!status)
            status = kw_token_import_key(keyring->token, &planned.plan, pkcs8, &key, &act.failure);
        if (!status)
            status = kw_record_begin_or_undo(keyring, &key, &start, &act.failure);
        status = kw_act_end(keyring, &act, status, status ? NULL : &key, err);
    }
    if (!status)
        *ret_key = key;
    if (!status)
        kw_keyring_warn(keyring,
                        "the key \"%s\" was made by software, outside of the token: copies of it "
                        "may exist; destroy the file and every copy, or make a key on the token "
                        "with keyward key create",
                        wanted->name);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

/* ---- two tokens at once ---- */

/* Always in the same order, so that no two threads wait for each other. */
static enum kw_status lock_both(struct kw_keyring *keyring, struct kw_keyring *other,
                                struct kw_error *err)
{
    if (other == keyring)
        other = NULL;
    struct kw_keyring *first = other && other < keyring ? other : keyring;
    struct kw_keyring *second = first == keyring ? other : keyring;
    (void)pthread_mutex_lock(&first->lock);
    if (second)
        (void)pthread_mutex_lock(&second->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    return status || !other ? status : kw_keyring_connect(other, err);
}

static void unlock_both(struct kw_keyring *keyring, struct kw_keyring *other)
{
    if (other && other != keyring)
        (void)pthread_mutex_unlock(&other->lock);
    (void)pthread_mutex_unlock(&keyring->lock);
}

/* AES keys have no record. */
static enum kw_status check_kek(const struct kw_kek *kek, struct kw_error *err)
{
    return kek->keyring && !kek->aes ? kw_check_use(kek->keyring, &kek->key, err) : KW_OK;
}

/* ---- backup ---- */

struct backing_up {
    struct kw_token *token; /* the key's */
    const struct kw_token_key *key;
    const struct kw_kek *kek;
    struct kw_buffer transported; /* for a key pair of the KEK's token */
    struct kw_sealed_key *sealed;
};

static enum kw_status differs(struct kw_error *err)
{
    return kw_fail(err, KW_TOKEN,
                   "what was wrapped came back as another key, so it was thrown away; the token "
                   "does not wrap as it should, use another one");
}

static enum kw_status compare(struct kw_token *token, const struct kw_token_key *scratch,
                              void *context, struct kw_error *err)
{
    const struct backing_up *job = context;
    (void)token;
    return kw_rsa_same(&scratch->public, &job->key->public) ? KW_OK : differs(err);
}

static enum kw_status seal_under_aes(struct kw_token *token, const struct kw_token_key *scratch,
                                     void *context, struct kw_error *err)
{
    struct backing_up *job = context;
    enum kw_status status = compare(token, scratch, job, err);
    job->sealed->wrapped.len = 0;
    return status
               ? status
               : kw_token_wrap_key_aes(token, scratch, &job->kek->key, &job->sealed->wrapped, err);
}

/* On the KEK's token, whose key pair `transport` is. */
static enum kw_status fetch(struct kw_token *token, const struct kw_token_key *transport,
                            void *context, struct kw_error *err)
{
    struct backing_up *job = context;
    const char *mechanism = NULL;
    job->transported.len = 0;
    enum kw_status status = kw_token_wrap_key(job->token, job->key, &transport->public,
                                              &job->transported, &mechanism, err);
    const struct kw_wrapped_key wrapped = {
        .kek = transport, .data = job->transported.data, .len = job->transported.len};
    return status ? status : kw_token_with_scratch(token, &wrapped, true, seal_under_aes, job, err);
}

static enum kw_status seal(struct kw_keyring *keyring, struct backing_up *job, struct kw_error *err)
{
    struct kw_sealed_key *sealed = job->sealed;
    const struct kw_kek *kek = job->kek;
    if (!kek->aes)
        return kek->keyring
                   ? kw_token_wrap_key(job->token, job->key, &kek->key.public, &sealed->wrapped,
                                       &sealed->mechanism, err)
                   : kw_token_backup_key(job->token, job->key, &kek->key.public, &sealed->wrapped,
                                         &sealed->mechanism, &sealed->verified, err);
    sealed->mechanism = "RFC 5649 under an AES-256 key";
    if (kek->keyring == keyring)
        return kw_token_wrap_key_aes(job->token, job->key, &kek->key, &sealed->wrapped, err);
    job->transported = (struct kw_buffer)KW_BUFFER_INIT(KW_TRANSFER_MAX);
    enum kw_status status = kw_token_with_transport(kek->keyring->token, fetch, job, err);
    kw_buffer_cleanup(&job->transported);
    return status;
}

static enum kw_status verify(struct backing_up *job, struct kw_error *err)
{
    const struct kw_kek *kek = job->kek;
    const struct kw_wrapped_key wrapped = {.kek = &kek->key,
                                           .aes = kek->aes,
                                           .data = job->sealed->wrapped.data,
                                           .len = job->sealed->wrapped.len};
    enum kw_status status =
        kw_token_with_scratch(kek->keyring->token, &wrapped, false, compare, job, err);
    job->sealed->verified = !status;
    return status;
}

enum kw_status kw_keyring_backup(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_kek *kek, struct kw_sealed_key *ret_sealed,
                                 struct kw_error *err)
{
    if (!kek->aes && kw_rsa_same(&kek->key.public, &key->public))
        return kw_fail(err, KW_USAGE,
                       "a key that is backed up under itself is gone when it is gone; give another "
                       "key with --kek");
    struct kw_sealed_key sealed = {.wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    struct kw_act act = {.ck_rv = 0};
    enum kw_status status = lock_both(keyring, kek->keyring, err);
    if (!status)
        status = kw_check_use(keyring, key, err);
    if (!status)
        status = check_kek(kek, err);
    if (!status)
        status = kw_act_begin(keyring, &act, "key.backup", key, NULL, err);
    if (!status) {
        struct backing_up job = {
            .token = keyring->token, .key = key, .kek = kek, .sealed = &sealed};
        status = seal(keyring, &job, &act.failure);
        if (!status && kek->keyring)
            status = verify(&job, &act.failure);
        status = kw_act_end(keyring, &act, status, NULL, err);
    }
    unlock_both(keyring, kek->keyring);
    if (status) {
        kw_buffer_cleanup(&sealed.wrapped);
        return status;
    }
    *ret_sealed = sealed;
    return KW_OK;
}

/* ---- restore ---- */

struct restoring {
    struct kw_keyring *keyring; /* where the key is to be */
    struct kw_token *relay;     /* where the KEK is */
    const struct kw_token_key *scratch;
    const uint8_t *fingerprint;
    const struct kw_key_plan *plan;
    struct kw_buffer transported; /* for a key pair of the key's token to be */
    struct kw_token_key key;
};

static enum kw_status check(struct kw_token *token, const struct kw_token_key *scratch,
                            void *context, struct kw_error *err)
{
    const struct restoring *job = context;
    uint8_t found[KW_SHA256_SIZE];
    (void)token;
    enum kw_status status = kw_rsa_fingerprint(job->keyring->crypto, &scratch->public, found, err);
    if (!status && memcmp(found, job->fingerprint, sizeof(found)) != 0)
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "the key in the backup is another one than the backup says: its "
                         "fingerprint differs; use another backup");
    return status;
}

/* On the new token, whose key pair `transport` is. */
static enum kw_status take_in(struct kw_token *token, const struct kw_token_key *transport,
                              void *context, struct kw_error *err)
{
    struct restoring *job = context;
    const char *mechanism = NULL;
    job->transported.len = 0;
    enum kw_status status = kw_token_wrap_key(job->relay, job->scratch, &transport->public,
                                              &job->transported, &mechanism, err);
    return status ? status
                  : kw_token_unwrap_key(token, transport, job->transported.data,
                                        job->transported.len, job->plan, &job->key, err);
}

/* On the KEK's token, where the key is for now. */
static enum kw_status pass_on(struct kw_token *token, const struct kw_token_key *scratch,
                              void *context, struct kw_error *err)
{
    struct restoring *job = context;
    enum kw_status status = check(token, scratch, job, err);
    job->scratch = scratch;
    return status ? status : kw_token_with_transport(job->keyring->token, take_in, job, err);
}

static enum kw_status bring_back(const struct kw_kek *kek, const struct kw_wrapped_key *wrapped,
                                 struct restoring *job, struct kw_error *err)
{
    struct kw_token *token = job->keyring->token;
    job->relay = kek->keyring->token;
    bool direct = job->relay == token && !kek->aes;
    enum kw_status status =
        kw_token_with_scratch(job->relay, wrapped, !direct, direct ? check : pass_on, job, err);
    if (!status && direct)
        status = kw_token_unwrap_key(token, &kek->key, wrapped->data, wrapped->len, job->plan,
                                     &job->key, err);
    /* Another key than what was looked at a moment ago is none to keep. */
    if (!status && (status = check(token, &job->key, job, err)))
        (void)kw_token_destroy_key(token, &job->key, NULL);
    return status;
}

enum kw_status kw_keyring_restore(struct kw_keyring *keyring, const struct kw_kek *kek,
                                  const uint8_t *wrapped, size_t wrapped_len,
                                  const uint8_t fingerprint[KW_SHA256_SIZE],
                                  const struct kw_key_plan *plan,
                                  const struct kw_key_settings *settings,
                                  struct kw_token_key *ret_key, struct kw_error *err)
{
    enum kw_status checked = kw_settings_check(settings, err);
    if (checked)
        return checked;
    if (!kek->keyring)
        return kw_fail(err, KW_USAGE, "a backup is opened by a key on a token; name it with --kek");
    const struct kw_wrapped_key what = {
        .kek = &kek->key, .aes = kek->aes, .data = wrapped, .len = wrapped_len};
    struct planned_key planned = {.plan = *plan};
    kw_plan_days(&planned, settings);
    struct restoring job = {.keyring = keyring,
                            .fingerprint = fingerprint,
                            .plan = &planned.plan,
                            .transported = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    struct kw_act act = {.ck_rv = 0};
    enum kw_status status = lock_both(keyring, kek->keyring, err);
    if (!status)
        status = kw_check_not_signer_label(keyring, plan->label, err);
    if (!status)
        status = check_kek(kek, err);
    if (!status)
        status = kw_act_begin(keyring, &act, "key.restore", NULL, plan->label, err);
    if (!status) {
        char newest[KW_TIMESTAMP_SIZE] = "";
        const struct record_start start = {KW_ORIGIN_BACKUP, settings, newest};
        status = kw_newest_created(keyring, plan->label, newest, &act.failure);
        if (!status)
            status = bring_back(kek, &what, &job, &act.failure);
        if (!status)
            status = kw_record_begin_or_undo(keyring, &job.key, &start, &act.failure);
        status = kw_act_end(keyring, &act, status, status ? NULL : &job.key, err);
    }
    unlock_both(keyring, kek->keyring);
    kw_buffer_cleanup(&job.transported);
    if (!status)
        *ret_key = job.key;
    return status;
}

enum kw_status kw_keyring_unrestore(struct kw_keyring *keyring, const struct kw_token_key *key,
                                    struct kw_error *err)
{
    struct kw_act act = {.ck_rv = 0};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = kw_act_begin(keyring, &act, "key.unrestore", key, NULL, err);
    if (!status) {
        status = kw_token_destroy_key(keyring->token, key, &act.failure);
        status = kw_act_end(keyring, &act, status, NULL, err);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
