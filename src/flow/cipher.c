/* cipher: AES-256-CBC as a stage. */
#include <stdlib.h>
#include <string.h>

#include "flow/stage.h"

struct cipher {
    struct kw_stage stage;
    struct kw_cbc *cbc;
    const char *name;
    /* decrypting: */
    uint64_t left;
    /* encrypting: the bytes after the last whole block, and room for the padding */
    uint8_t carry[2 * KW_AES_BLOCK];
    size_t carried;
};

static enum kw_status bad_padding(const struct cipher *cipher, struct kw_error *err)
{
    return kw_fail(err, KW_DAMAGED,
                   "%s ends in wrong padding: it is damaged, or was encrypted with another key; "
                   "get the file again",
                   cipher->name);
}

static enum kw_status decrypt_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                   struct kw_error *err)
{
    struct cipher *cipher = (struct cipher *)stage;
    if (len > cipher->left)
        return kw_fail(err, KW_FAULT, "%s is longer than was said", cipher->name);
    cipher->left -= len;
    enum kw_status status;
    if (cipher->left > 0)
        status = kw_cbc_update(cipher->cbc, data, len, err);
    else
        status = kw_cbc_finish(cipher->cbc, data, len, &len, err);
    if (status == KW_DAMAGED)
        return bad_padding(cipher, err);
    if (status != KW_OK)
        return status;
    return kw_stage_feed(stage->next, data, len, err);
}

static enum kw_status decrypt_done(struct kw_stage *stage, struct kw_error *err)
{
    struct cipher *cipher = (struct cipher *)stage;
    if (cipher->left > 0)
        return kw_fail(err, KW_FAULT, "%s is shorter than was said", cipher->name);
    return kw_stage_done(stage->next, err);
}

/* It works in place, so what the next stage offers does for it too. */
static uint8_t *decrypt_reserve(struct kw_stage *stage, size_t *ret_capacity)
{
    return kw_stage_reserve(stage->next, ret_capacity);
}

static enum kw_status encrypt_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                   struct kw_error *err)
{
    struct cipher *cipher = (struct cipher *)stage;
    enum kw_status status = KW_OK;
    if (cipher->carried > 0) {
        size_t take = KW_AES_BLOCK - cipher->carried;
        if (take > len)
            take = len;
        memcpy(cipher->carry + cipher->carried, data, take);
        cipher->carried += take;
        data += take;
        len -= take;
        if (cipher->carried < KW_AES_BLOCK)
            return KW_OK;
        cipher->carried = 0;
        status = kw_cbc_update(cipher->cbc, cipher->carry, KW_AES_BLOCK, err);
        if (status == KW_OK)
            status = kw_stage_feed(stage->next, cipher->carry, KW_AES_BLOCK, err);
    }
    if (status != KW_OK)
        return status;
    size_t whole = len - len % KW_AES_BLOCK;
    cipher->carried = len - whole;
    memcpy(cipher->carry, data + whole, cipher->carried);
    status = kw_cbc_update(cipher->cbc, data, whole, err);
    if (status != KW_OK)
        return status;
    return kw_stage_feed(stage->next, data, whole, err);
}

static enum kw_status encrypt_done(struct kw_stage *stage, struct kw_error *err)
{
    struct cipher *cipher = (struct cipher *)stage;
    size_t len = 0;
    enum kw_status status = kw_cbc_finish(cipher->cbc, cipher->carry, cipher->carried, &len, err);
    if (status == KW_OK)
        status = kw_stage_feed(stage->next, cipher->carry, len, err);
    if (status != KW_OK)
        return status;
    return kw_stage_done(stage->next, err);
}

static void cipher_free(struct kw_stage *stage)
{
    struct cipher *cipher = (struct cipher *)stage;
    kw_cbc_free(cipher->cbc);
    kw_wipe(cipher->carry, sizeof(cipher->carry));
    free(cipher);
}

static const struct kw_stage_ops cipher_ops[] = {
    [KW_DECRYPT] = {.feed = decrypt_feed,
                    .done = decrypt_done,
                    .reserve = decrypt_reserve,
                    .free = cipher_free},
    [KW_ENCRYPT] = {.feed = encrypt_feed, .done = encrypt_done, .free = cipher_free},
};

enum kw_status kw_cipher_new(struct kw_crypto *crypto, struct kw_stage **ret_stage,
                             struct kw_error *err)
{
    struct cipher *cipher = calloc(1, sizeof(*cipher));
    if (!cipher)
        return kw_fail_memory(err);
    cipher->stage.ops = &cipher_ops[KW_DECRYPT];
    enum kw_status status = kw_cbc_new(crypto, &cipher->cbc, err);
    if (status != KW_OK) {
        free(cipher);
        return status;
    }
    *ret_stage = &cipher->stage;
    return KW_OK;
}

enum kw_status kw_cipher_start(struct kw_stage *stage, enum kw_direction direction,
                               const struct kw_flow_job *job, uint64_t total, const char *name,
                               struct kw_stage *next, struct kw_error *err)
{
    struct cipher *cipher = (struct cipher *)stage;
    kw_stage_restart(stage, next);
    stage->ops = &cipher_ops[direction];
    cipher->name = name;
    cipher->left = total;
    cipher->carried = 0;
    return kw_cbc_start(cipher->cbc, direction, job->key, job->iv, err);
}
