/* The audit trail of what a keyring does: on record before it is done, and what came of it. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define MIB                   ((uint64_t)1024 * 1024)
#define CHECKPOINT_INTERVAL_S 300
#define FORWARD_TIMEOUT_MS    2000

/* With what is in common locked. No trail where none is to be kept. */
static enum kw_status open_locked(struct kw_keyring *keyring, struct kw_error *err)
{
    char *dir = NULL;
    struct kw_common *common = keyring->common;
    if (common->trail || keyring->config.audit.enabled == KW_NO)
        return KW_OK;
    enum kw_status status = kw_trail_dir(&keyring->config, &dir, err);
    if (status)
        return status;
    long timeout_ms = keyring->config.audit.forward_timeout_ms;
    const struct kw_trail_options options = {
        .dir = dir,
        .rotate_bytes = (uint64_t)keyring->config.audit.rotate_mib * MIB,
        .who = common->knows_who ? &common->who : NULL,
        .forward = {.journald = keyring->config.audit.journald,
                    .syslog = keyring->config.audit.syslog,
                    .timeout_ms = timeout_ms ? (unsigned)timeout_ms : FORWARD_TIMEOUT_MS}};
    status = kw_trail_open(keyring->crypto, &options, &common->trail, err);
    common->tended_ms = kw_now_ms();
    free(dir);
    return status;
}

/* *ret_trail is NULL where none is to be kept. `grows`: it is going to. */
static enum kw_status open_trail(struct kw_keyring *keyring, bool grows,
                                 struct kw_trail **ret_trail, struct kw_error *err)
{
    struct kw_common *common = keyring->common;
    (void)pthread_mutex_lock(&common->lock);
    enum kw_status status = open_locked(keyring, err);
    common->trail_grew |= grows && !status && common->trail;
    *ret_trail = status ? NULL : common->trail;
    (void)pthread_mutex_unlock(&common->lock);
    return status;
}

/* The one that is open already, or NULL. */
static struct kw_trail *trail_of(const struct kw_keyring *keyring)
{
    (void)pthread_mutex_lock(&keyring->common->lock);
    struct kw_trail *trail = keyring->common->trail;
    (void)pthread_mutex_unlock(&keyring->common->lock);
    return trail;
}

/* Returns what it was before. */
static bool set_grown(struct kw_common *common, bool grown)
{
    (void)pthread_mutex_lock(&common->lock);
    bool before = common->trail_grew;
    common->trail_grew = grown;
    (void)pthread_mutex_unlock(&common->lock);
    return before;
}

static const char *set_unconfined(struct kw_common *common, const char *why)
{
    (void)pthread_mutex_lock(&common->lock);
    const char *before = common->unconfined;
    common->unconfined = why;
    (void)pthread_mutex_unlock(&common->lock);
    return before;
}

void kw_keyring_note_unconfined(struct kw_keyring *keyring, const char *why)
{
    (void)set_unconfined(keyring->common, why);
}

/* That the process is not confined is known before anything that it does. */
static enum kw_status note_unconfined(struct kw_keyring *keyring, struct kw_trail *trail,
                                      struct kw_error *err)
{
    const char *why = set_unconfined(keyring->common, NULL);
    const struct kw_deed deed = {.op = "sandbox", .detail = why};
    enum kw_status status = why ? kw_trail_append(trail, &deed, 1, NULL, err) : KW_OK;
    if (status)
        (void)set_unconfined(keyring->common, why);
    return status;
}

/* Whether each session has its next call already, so that the token loses no time to a record that
 * comes a little later. */
static bool token_has_work(const struct kw_keyring *keyring)
{
    struct kw_token_stats stats;
    (void)pthread_mutex_lock(&keyring->common->lock);
    struct kw_token *token = keyring->token;
    (void)pthread_mutex_unlock(&keyring->common->lock);
    return token && kw_token_stats(token, &stats) && stats.waiting >= stats.max;
}

enum kw_status kw_keyring_append(struct kw_keyring *keyring, const struct kw_deed *deeds,
                                 size_t count, struct kw_error *err)
{
    struct kw_trail *trail = NULL;
    enum kw_status status = open_trail(keyring, true, &trail, err);
    if (status || !trail)
        return status;
    status = note_unconfined(keyring, trail, err);
    if (status)
        return status;
    return token_has_work(keyring) ? kw_trail_append_unhurried(trail, deeds, count, err)
                                   : kw_trail_append(trail, deeds, count, NULL, err);
}

/* ---- signing ---- */

struct sealing {
    struct kw_keyring *keyring;
    const struct kw_token_key *signer;
};

static enum kw_status sign(void *context, const void *data, size_t len,
                           uint8_t signature[KW_SIGNATURE_MAX], size_t *ret_len,
                           struct kw_error *err)
{
    const struct sealing *sealing = context;
    enum kw_signature_alg alg;
    enum kw_status status =
        kw_token_sign(sealing->keyring->token, sealing->signer, data, len, &alg, signature, err);
    if (!status && alg != KW_PS256)
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "the token \"%s\" does not sign with RSASSA-PSS, as checkpoints of the "
                         "audit trail are signed; use a token that does",
                         kw_token_info(sealing->keyring->token)->label);
    if (!status)
        *ret_len = sealing->signer->public.modulus_len;
    return status;
}

static enum kw_status seal(struct kw_keyring *keyring, struct kw_trail *trail,
                           const struct kw_token_key *signer, struct kw_error *err)
{
    struct kw_buffer pem = KW_BUFFER_INIT(8192);
    struct sealing sealing = {keyring, signer};
    enum kw_status status = kw_rsa_public_to_pem(keyring->crypto, &signer->public, &pem, err);
    if (!status) {
        const struct kw_note_signer note = {.pem = (const char *)pem.data,
                                            .pem_len = pem.len,
                                            .serial = kw_token_info(keyring->token)->serial,
                                            .sign = sign,
                                            .context = &sealing};
        status = kw_trail_checkpoint(trail, &note, err);
    }
    kw_buffer_cleanup(&pem);
    return status;
}

/* With the keyring's lock held, as all up to the acts. */
static enum kw_status seal_trail(struct kw_keyring *keyring, bool make_signer, struct kw_error *err)
{
    struct kw_trail *trail = NULL;
    enum kw_status status = kw_keyring_open_token(keyring, err);
    if (!status)
        status = open_trail(keyring, false, &trail, err);
    if (status || !trail)
        return status;
    const struct kw_token_key *signer = NULL;
    status = kw_signer_find(keyring, NULL, &signer, err);
    if (!status && !signer && make_signer)
        status = kw_signer_get(keyring, &signer, err);
    return status || !signer ? status : seal(keyring, trail, signer, err);
}

/* ---- what a keyring that lives for days does in between ---- */

/* What its receivers missed. An append that fails keeps nothing from being done: the next one that
 * matters says so. */
static void tell_losses(struct kw_keyring *keyring, struct kw_trail *trail)
{
    struct kw_loss losses[KW_RECEIVERS_MAX];
    size_t count = kw_trail_losses(trail, losses);
    for (size_t i = 0; i < count; i++) {
        char sentence[KW_MESSAGE_SIZE];
        struct kw_error err;
        kw_loss_sentence(&losses[i], sentence);
        kw_keyring_warn(keyring, "of the audit trail, %s", sentence);
        const struct kw_deed deed = {
            .phase = KW_OUTCOME, .op = "audit.forward", .status = KW_WRITE, .detail = sentence};
        if (kw_keyring_append(keyring, &deed, 1, &err))
            kw_keyring_warn(keyring, "that is not on the audit trail: %.300s", err.message);
    }
}

static void seal_or_warn(struct kw_keyring *keyring)
{
    struct kw_error err;
    if (!keyring->token || !set_grown(keyring->common, false) ||
        seal_trail(keyring, false, &err) == KW_OK)
        return;
    (void)set_grown(keyring->common, true);
    kw_keyring_warn(keyring, "the audit trail could not be signed: %.300s", err.message);
}

/* For one thread of those that ask. */
static bool is_due(struct kw_keyring *keyring)
{
    struct kw_common *common = keyring->common;
    long interval_s = keyring->config.audit.checkpoint_interval_s;
    uint64_t interval_ms = (uint64_t)(interval_s ? interval_s : CHECKPOINT_INTERVAL_S) * 1000;
    (void)pthread_mutex_lock(&common->lock);
    bool due = common->trail && kw_now_ms() - common->tended_ms >= interval_ms;
    if (due)
        common->tended_ms = kw_now_ms();
    (void)pthread_mutex_unlock(&common->lock);
    return due;
}

/* After an outcome, and not between an intent and its deed: signing may take as long as the token
 * is given. */
static void tend(struct kw_keyring *keyring)
{
    tell_losses(keyring, trail_of(keyring));
    seal_or_warn(keyring);
}

static void tend_unlocked(struct kw_keyring *keyring)
{
    if (!is_due(keyring))
        return;
    (void)pthread_mutex_lock(&keyring->lock);
    tend(keyring);
    (void)pthread_mutex_unlock(&keyring->lock);
}

/* ---- one act ---- */

/* What can't be told of the key is left out. */
static void name_key(const struct kw_keyring *keyring, struct kw_act *act,
                     const struct kw_token_key *key)
{
    uint8_t sha256[KW_SHA256_SIZE];
    if (!key)
        return;
    act->deed.key.label = key->label;
    kw_hex_encode(key->id, key->id_len, act->id);
    act->deed.key.id = act->id;
    if (key->public.modulus_len > 0 && kw_sha256(keyring->crypto, key->public.modulus,
                                                 key->public.modulus_len, sha256, NULL) == KW_OK) {
        kw_hex_encode(sha256, sizeof(sha256), act->modulus_sha256);
        act->deed.key.modulus_sha256 = act->modulus_sha256;
    }
}

static enum kw_status begin(struct kw_keyring *keyring, struct kw_act *act, const char *op,
                            const struct kw_token_key *key, const struct kw_purpose *purpose,
                            struct kw_error *err)
{
    const struct kw_token_info *token = kw_keyring_info(keyring);
    act->deed.phase = KW_INTENT;
    act->deed.op = op;
    act->deed.key.token = token->label;
    act->deed.key.serial = token->serial;
    if (purpose) {
        act->deed.run = purpose->run;
        act->deed.drop = purpose->drop;
        act->deed.file = purpose->file;
        act->deed.request.client = purpose->client;
        act->deed.request.request = purpose->request;
        act->deed.request.correlation = purpose->correlation;
        act->deed.request.outer = purpose->outer;
        act->deed.request.pool = purpose->pool;
    }
    name_key(keyring, act, key);
    return kw_keyring_append(keyring, &act->deed, 1, err);
}

enum kw_status kw_act_begin(struct kw_keyring *keyring, struct kw_act *act, const char *op,
                            const struct kw_token_key *key, const char *name, struct kw_error *err)
{
    *act = (struct kw_act){.deed = {.key = {.label = name}}};
    return begin(keyring, act, op, key, keyring->purpose, err);
}

enum kw_status kw_act_begin_unlocked(struct kw_keyring *keyring, struct kw_act *act,
                                     const struct kw_operation *operation,
                                     const struct kw_token_key *key, struct kw_error *err)
{
    *act = (struct kw_act){.deed = {.key = {.alg = operation->alg}}};
    return begin(keyring, act, operation->op, key, operation->purpose, err);
}

static enum kw_status put_outcome(struct kw_keyring *keyring, struct kw_act *act,
                                  enum kw_status status, const struct kw_token_key *made,
                                  struct kw_error *err)
{
    name_key(keyring, act, made);
    act->deed.phase = KW_OUTCOME;
    act->deed.status = status;
    act->deed.ck_rv = act->ck_rv ? act->ck_rv : act->failure.ck_rv;
    act->deed.detail = status ? act->failure.message : NULL;
    return kw_keyring_append(keyring, &act->deed, 1, err);
}

/* What is not on record has not happened, as far as whoever asked may know: neither that it was
 * done nor that it failed. */
static enum kw_status conclude(const struct kw_act *act, enum kw_status status,
                               enum kw_status written, const struct kw_error *unwritten,
                               struct kw_error *err)
{
    if (written)
        return kw_fail(err, KW_AUDIT, "%s %s, but what came of it is not on record: %.300s",
                       act->deed.op, status ? "failed" : "was done", unwritten->message);
    if (status && err)
        *err = act->failure;
    return status;
}

enum kw_status kw_act_end(struct kw_keyring *keyring, struct kw_act *act, enum kw_status status,
                          const struct kw_token_key *made, struct kw_error *err)
{
    struct kw_error unwritten;
    enum kw_status written = put_outcome(keyring, act, status, made, &unwritten);
    if (!written && !status && is_due(keyring))
        tend(keyring);
    return conclude(act, status, written, &unwritten, err);
}

enum kw_status kw_act_end_unlocked(struct kw_keyring *keyring, struct kw_act *act,
                                   enum kw_status status, struct kw_error *err)
{
    struct kw_error unwritten;
    enum kw_status written = put_outcome(keyring, act, status, NULL, &unwritten);
    if (!written && !status)
        tend_unlocked(keyring);
    return conclude(act, status, written, &unwritten, err);
}

/* ---- for other floors, and for a keyring's end ---- */

void kw_keyring_set_purpose(struct kw_keyring *keyring, const struct kw_purpose *purpose)
{
    (void)pthread_mutex_lock(&keyring->lock);
    keyring->purpose = purpose;
    (void)pthread_mutex_unlock(&keyring->lock);
}

enum kw_status kw_keyring_witness(struct kw_keyring *keyring, const struct kw_deed *deeds,
                                  size_t count, struct kw_error *err)
{
    enum kw_status status = kw_keyring_append(keyring, deeds, count, err);
    if (!status)
        tend_unlocked(kw_failover_serving(keyring));
    return status;
}

enum kw_status kw_keyring_seal_trail(struct kw_keyring *keyring, bool make_signer,
                                     struct kw_error *err)
{
    struct kw_common *common = keyring->common;
    enum kw_status status = KW_OK;
    if (!make_signer)
        keyring = kw_failover_serving(keyring);
    (void)pthread_mutex_lock(&keyring->lock);
    bool grew = (keyring->token || make_signer) && set_grown(common, false);
    if (grew || make_signer)
        status = seal_trail(keyring, make_signer, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    if (status && grew)
        (void)set_grown(common, true);
    return status;
}

void kw_end_forwarding(struct kw_keyring *keyring)
{
    struct kw_trail *trail = trail_of(keyring);
    if (!trail)
        return;
    kw_trail_end_forwarding(trail);
    tell_losses(keyring, trail);
}

void kw_keyring_close_trail(struct kw_keyring *keyring)
{
    if (!keyring || !trail_of(keyring))
        return;
    keyring = kw_failover_serving(keyring);
    (void)pthread_mutex_lock(&keyring->lock);
    seal_or_warn(keyring);
    kw_end_forwarding(keyring);
    seal_or_warn(keyring);
    (void)pthread_mutex_unlock(&keyring->lock);
}
