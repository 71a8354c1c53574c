/* Which ways to wrap with AES give the answers that are known. */
#include <string.h>

#include "aes.h"

#define ODD_SIZE     20 /* not a multiple of 8, so that what a token adds shows */
#define TRY_AGAIN_MS 60000

/* RFC 3394 section 4.6. */
static const uint8_t trial_key[KW_AES256_KEY_SIZE] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F};
#define TRIAL_SIZE 32
static const uint8_t trial_data[TRIAL_SIZE] = {
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F};
static const uint8_t trial_answer[TRIAL_SIZE + KW_AES_UNIT] = {
    0x28, 0xC9, 0xF4, 0x04, 0xC4, 0xB8, 0x10, 0xF4, 0xCB, 0xCC, 0xB3, 0x5C, 0xFB, 0x87,
    0xF8, 0x26, 0x3F, 0x57, 0x86, 0xE2, 0xD8, 0x0E, 0xD3, 0x26, 0xCB, 0xC7, 0xF0, 0xE7,
    0x1A, 0x99, 0xF4, 0x3B, 0xFB, 0x98, 0x8B, 0x9B, 0x7A, 0x02, 0xDD, 0x21};

struct answer {
    size_t len; /* so much of trial_data */
    uint8_t wrapped[TRIAL_SIZE + KW_AES_UNIT];
};

/* RFC 5649 has no answers for a key of 256 bits: OpenSSL gives them. */
static enum kw_status make_answer(struct kw_crypto *crypto, bool padded, size_t len,
                                  struct answer *ret_answer, struct kw_error *err)
{
    ret_answer->len = len;
    memcpy(ret_answer->wrapped, trial_answer, sizeof(trial_answer));
    if (!padded)
        return KW_OK;
    struct kw_secret *key = NULL, *data = NULL;
    struct kw_buffer wrapped = KW_BUFFER_INIT(sizeof(ret_answer->wrapped));
    enum kw_status status = kw_secret_from(trial_key, sizeof(trial_key), &key, err);
    if (!status)
        status = kw_secret_from(trial_data, len, &data, err);
    if (!status)
        status = kw_kwp_wrap(crypto, key, data, &wrapped, err);
    if (!status)
        memcpy(ret_answer->wrapped, wrapped.data, wrapped.len);
    kw_buffer_cleanup(&wrapped);
    kw_secret_free(data);
    kw_secret_free(key);
    return status;
}

static CK_RV try_wrap(struct kw_transfer *transfer, const struct kw_aes_way *way,
                      CK_OBJECT_HANDLE key, const struct answer *answer, bool *ret_good)
{
    uint8_t wrapped[TRIAL_SIZE + KW_AES_UNIT];
    CK_RV rv = kw_aes_wrap_by(transfer, way, key, trial_data, answer->len, wrapped);
    *ret_good = rv == CKR_OK && memcmp(wrapped, answer->wrapped, KW_KWP_SIZE(answer->len)) == 0;
    return rv;
}

/* With `damaged`, it is good to refuse. */
static CK_RV try_unwrap(struct kw_transfer *transfer, const struct kw_aes_way *way,
                        CK_OBJECT_HANDLE key, const struct answer *answer, bool damaged,
                        bool *ret_good)
{
    uint8_t wrapped[TRIAL_SIZE + KW_AES_UNIT];
    struct kw_secret *secret = NULL;
    bool seen = false;
    size_t len = KW_KWP_SIZE(answer->len);
    memcpy(wrapped, answer->wrapped, len);
    wrapped[KW_AES_UNIT] ^= damaged;
    if (kw_secret_new(len, &secret, NULL) != KW_OK)
        return KW_CKR_NO_MEMORY;
    CK_RV rv = kw_aes_unwrap_by(transfer, way, key, wrapped, len, secret, &seen);
    bool same = rv == CKR_OK && kw_secret_len(secret) == answer->len &&
                memcmp(kw_secret_bytes(secret), trial_data, answer->len) == 0;
    *ret_good = damaged ? rv != CKR_OK : same;
    kw_secret_free(secret);
    return rv;
}

static CK_RV make_trial_key(struct kw_transfer *transfer, CK_OBJECT_HANDLE *ret_key)
{
    static const CK_ATTRIBUTE_TYPE uses[] = {CKA_WRAP, CKA_UNWRAP, CKA_ENCRYPT, CKA_DECRYPT};
    struct kw_template template = {.count = 0};
    kw_aes_add_secret(&template, CKK_AES);
    for (size_t i = 0; i < KW_COUNT(uses); i++)
        kw_template_add_bool(&template, uses[i], true);
    kw_template_add(&template, CKA_VALUE, trial_key, sizeof(trial_key));
    transfer->doing = "take an AES key for a session";
    return kw_aes_create(transfer, &template, ret_key);
}

/* One step of trying out, with a key of its own, since a session may be unfit after a refusal. */
struct trial {
    const struct kw_aes_way *way;
    const struct answer *answer;
    bool unwraps, damaged;
    bool good;
};

static enum kw_status try_step(struct kw_token *token, struct kw_session *session, void *context,
                               struct kw_error *err)
{
    struct trial *trial = context;
    struct kw_transfer holder = {.token = token, .session = session};
    struct kw_transfer transfer = {.token = token, .session = session};
    struct kw_transfer_refusal refusal;
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    trial->good = false;
    CK_RV rv = make_trial_key(&holder, &key);
    if (rv == CKR_OK && trial->unwraps)
        rv = try_unwrap(&transfer, trial->way, key, trial->answer, trial->damaged, &trial->good);
    else if (rv == CKR_OK)
        rv = try_wrap(&transfer, trial->way, key, trial->answer, &trial->good);
    kw_transfer_clear(&transfer);
    kw_transfer_clear(&holder);
    if (rv == CKR_OK)
        return KW_OK;
    /* A token may mean the damage by what else is a failure of its own. */
    if (trial->damaged && !kw_unwrapping_blames_token(rv)) {
        session->failure = rv;
        return KW_OK;
    }
    trial->good = false;
    return kw_transfer_refuse(&transfer, rv, &refusal, err);
}

static enum kw_status try_way(struct kw_token *token, const struct kw_aes_way *way,
                              const struct answer answers[2], struct kw_aes_skill *skill,
                              struct kw_error *err)
{
    struct trial steps[] = {
        {.way = way, .answer = &answers[0]},
        {.way = way, .answer = &answers[1]},
        {.way = way, .answer = &answers[0], .unwraps = true},
        {.way = way, .answer = &answers[1], .unwraps = true},
        {.way = way, .answer = &answers[0], .unwraps = true, .damaged = true},
    };
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_COUNT(steps) && !status; i++) {
        bool vain = (i == 1 && !steps[0].good) || (i > 2 && !steps[2].good);
        if (!vain)
            status = kw_token_with_session(token, try_step, &steps[i], err);
    }
    *skill = (struct kw_aes_skill){.wraps = steps[0].good,
                                   .wraps_odd = steps[0].good && steps[1].good,
                                   .unwraps = steps[2].good && steps[3].good && steps[4].good};
    return status;
}

static bool is_able(const struct kw_aes_skill skills[KW_AES_WAYS])
{
    bool wraps = false, unwraps = false;
    for (size_t i = 0; i < KW_AES_WAYS; i++) {
        wraps = wraps || skills[i].wraps;
        unwraps = unwraps || skills[i].unwraps;
    }
    return wraps && unwraps;
}

static enum kw_status try_ways(struct kw_token *token, bool padded,
                               struct kw_aes_skill skills[KW_AES_WAYS], struct kw_error *err)
{
    struct answer answers[2];
    enum kw_status status = make_answer(token->crypto, padded, TRIAL_SIZE, &answers[0], err);
    if (!status)
        status =
            make_answer(token->crypto, padded, padded ? ODD_SIZE : TRIAL_SIZE, &answers[1], err);
    for (size_t i = 0; i < KW_AES_WAYS && kw_aes_ways[padded][i].mechanism && !status; i++)
        status = try_way(token, &kw_aes_ways[padded][i], answers, &skills[i], err);
    return status;
}

/* By two threads at once it does no harm. */
enum kw_status kw_aes_learn(struct kw_token *token, bool padded,
                            struct kw_aes_skill skills[KW_AES_WAYS], struct kw_error *err)
{
    (void)pthread_mutex_lock(&token->lock);
    bool known = kw_now_ms() < token->aes_due_ms[padded];
    memcpy(skills, token->aes_skills[padded], sizeof(token->aes_skills[padded]));
    (void)pthread_mutex_unlock(&token->lock);
    if (known)
        return KW_OK;
    enum kw_status status = try_ways(token, padded, skills, err);
    if (status)
        return status;
    (void)pthread_mutex_lock(&token->lock);
    memcpy(token->aes_skills[padded], skills, sizeof(token->aes_skills[padded]));
    token->aes_due_ms[padded] = is_able(skills) ? UINT64_MAX : kw_now_ms() + TRY_AGAIN_MS;
    (void)pthread_mutex_unlock(&token->lock);
    return KW_OK;
}
