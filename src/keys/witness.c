/* The audit trail of what a keyring does: on record before it is done, and what came of it. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define MIB ((uint64_t)1024 * 1024)

/* With the lock held. No trail where none is to be kept. */
static enum kw_status open_trail(struct kw_keyring *keyring, struct kw_error *err)
{
    char *dir = NULL;
    if (keyring->trail || keyring->config.audit.enabled == KW_NO)
        return KW_OK;
    enum kw_status status = kw_trail_dir(&keyring->config, &dir, err);
    if (status)
        return status;
    const struct kw_trail_options options = {
        .dir = dir, .rotate_bytes = (uint64_t)keyring->config.audit.rotate_mib * MIB};
    status = kw_trail_open(keyring->crypto, &options, &keyring->trail, err);
    free(dir);
    return status;
}

static enum kw_status append(struct kw_keyring *keyring, const struct kw_deed *deeds, size_t count,
                             struct kw_error *err)
{
    enum kw_status status = open_trail(keyring, err);
    if (status || !keyring->trail)
        return status;
    keyring->trail_grew = true;
    return kw_trail_append(keyring->trail, deeds, count, NULL, err);
}

enum kw_status kw_keyring_witness(struct kw_keyring *keyring, const struct kw_deed *deeds,
                                  size_t count, struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = append(keyring, deeds, count, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
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

enum kw_status kw_act_begin(struct kw_keyring *keyring, struct kw_act *act, const char *op,
                            const struct kw_token_key *key, const char *name, struct kw_error *err)
{
    const struct kw_token_info *token = kw_token_info(keyring->token);
    struct kw_deed purpose = act->deed;
    *act = (struct kw_act){.deed = {.phase = KW_INTENT,
                                    .op = op,
                                    .run = purpose.run,
                                    .drop = purpose.drop,
                                    .file = purpose.file}};
    act->deed.key.token = token->label;
    act->deed.key.serial = token->serial;
    act->deed.key.label = name;
    name_key(keyring, act, key);
    return append(keyring, &act->deed, 1, err);
}

enum kw_status kw_act_end(struct kw_keyring *keyring, struct kw_act *act, enum kw_status status,
                          const struct kw_token_key *made, struct kw_error *err)
{
    struct kw_error unwritten = {.status = KW_OK};
    name_key(keyring, act, made);
    act->deed.phase = KW_OUTCOME;
    act->deed.status = status;
    act->deed.ck_rv = act->ck_rv ? act->ck_rv : act->failure.ck_rv;
    act->deed.detail = status ? act->failure.message : NULL;
    enum kw_status written = append(keyring, &act->deed, 1, &unwritten);
    if (status && err)
        *err = act->failure;
    if (status || !written)
        return status;
    return kw_fail(err, KW_AUDIT, "%s was done, but what came of it is not on record: %.300s",
                   act->deed.op, unwritten.message);
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

static enum kw_status seal(struct kw_keyring *keyring, const struct kw_token_key *signer,
                           struct kw_error *err)
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
        status = kw_trail_checkpoint(keyring->trail, &note, err);
    }
    kw_buffer_cleanup(&pem);
    return status;
}

/* With the lock held. */
static enum kw_status seal_trail(struct kw_keyring *keyring, bool make_signer, struct kw_error *err)
{
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = open_trail(keyring, err);
    if (status || !keyring->trail)
        return status;
    const struct kw_token_key *signer = NULL;
    status = kw_signer_find(keyring, NULL, &signer, err);
    if (!status && !signer && make_signer)
        status = kw_signer_get(keyring, &signer, err);
    return status || !signer ? status : seal(keyring, signer, err);
}

enum kw_status kw_keyring_seal_trail(struct kw_keyring *keyring, bool make_signer,
                                     struct kw_error *err)
{
    enum kw_status status = KW_OK;
    (void)pthread_mutex_lock(&keyring->lock);
    if (keyring->trail_grew || make_signer)
        status = seal_trail(keyring, make_signer, err);
    keyring->trail_grew &= status != KW_OK;
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
