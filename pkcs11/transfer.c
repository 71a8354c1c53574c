/* Private keys in transfer: what both directions share. */
#include <string.h>

#include "transfer.h"

#define WITH_ZEROS  " with up to 7 zero bytes after the key"
#define ZEROS_TAKEN ", zero bytes taken off in this process's memory"
#define BY_PARTS(kwp)                                                                              \
    "CKM_RSA_PKCS_OAEP and " kwp, "CKM_RSA_PKCS_OAEP and " kwp WITH_ZEROS,                         \
        "CKM_RSA_PKCS_OAEP and " kwp ZEROS_TAKEN
const struct kw_transfer_way kw_transfer_ways[KW_TRANSFER_WAYS] = {
    {CKM_RSA_AES_KEY_WRAP, true, "CKM_RSA_AES_KEY_WRAP", NULL, NULL},
    {KW_CKM_AES_KEY_WRAP_KWP, false, BY_PARTS("CKM_AES_KEY_WRAP_KWP")},
    {CKM_AES_KEY_WRAP_PAD, false, BY_PARTS("CKM_AES_KEY_WRAP_PAD")},
};

static bool same_name(const char *name, const char *mechanism)
{
    return name && strcmp(name, mechanism) == 0;
}

bool kw_wrap_adds_zeros(const char *mechanism)
{
    for (size_t i = 0; i < KW_TRANSFER_WAYS; i++)
        if (same_name(kw_transfer_ways[i].name_with_zeros, mechanism))
            return true;
    return false;
}

bool kw_wrap_was_in_clear(const char *mechanism)
{
    for (size_t i = 0; i < KW_TRANSFER_WAYS; i++)
        if (same_name(kw_transfer_ways[i].name_without, mechanism))
            return true;
    return false;
}

/* An RSA private key of b bytes is 4.5 b bytes of numbers in PKCS#8, and some tags, lengths and
 * attributes. */
#define PKCS8_MIN (KW_RSA_MIN_BITS / 8 * 9 / 2)
#define PKCS8_MAX (KW_RSA_MAX_BYTES * 9 / 2 + 200)

bool kw_transfer_fits(size_t kek_len, size_t wrapped_len)
{
    if (wrapped_len < kek_len)
        return false;
    size_t rest = wrapped_len - kek_len;
    return rest % 8 == 0 && rest >= KW_KWP_SIZE(PKCS8_MIN) && rest <= KW_KWP_SIZE(PKCS8_MAX);
}

/* ---- both directions ---- */

void kw_transfer_mechanism_init(struct kw_transfer_mechanism *mechanism, CK_MECHANISM_TYPE type)
{
    memset(mechanism, 0, sizeof(*mechanism));
    mechanism->mechanism.mechanism = type;
    mechanism->oaep = (CK_RSA_PKCS_OAEP_PARAMS){
        .hashAlg = CKM_SHA_1, .mgf = CKG_MGF1_SHA1, .source = CKZ_DATA_SPECIFIED};
    mechanism->whole.aes_bits = KW_AES256_KEY_SIZE * 8;
    mechanism->whole.oaep = &mechanism->oaep;
    if (type == CKM_RSA_PKCS_OAEP) {
        mechanism->mechanism.pParameter = &mechanism->oaep;
        mechanism->mechanism.ulParameterLen = sizeof(mechanism->oaep);
    } else if (type == CKM_RSA_AES_KEY_WRAP) {
        mechanism->mechanism.pParameter = &mechanism->whole;
        mechanism->mechanism.ulParameterLen = sizeof(mechanism->whole);
    }
}

void kw_transfer_keep(struct kw_transfer *transfer, CK_OBJECT_HANDLE object)
{
    if (transfer->object_count < KW_COUNT(transfer->objects))
        transfer->objects[transfer->object_count++] = object;
    else
        transfer->session->failure = CKR_GENERAL_ERROR; /* closing the session destroys it */
}

void kw_transfer_clear(struct kw_transfer *transfer)
{
    for (size_t i = 0; i < transfer->object_count; i++) {
        CK_RV rv = transfer->token->functions->C_DestroyObject(transfer->session->handle,
                                                               transfer->objects[i]);
        if (rv != CKR_OK && transfer->session->failure == CKR_OK)
            transfer->session->failure = rv;
    }
    transfer->object_count = 0;
}

enum kw_status kw_transfer_trial(struct kw_token *token, const struct kw_throwaway **ret_trial,
                                 struct kw_error *err)
{
    enum kw_status status = KW_OK;
    (void)pthread_mutex_lock(&token->lock);
    if (!token->trial)
        status = kw_throwaway_new(token->crypto, &token->trial, err);
    const struct kw_throwaway *trial = token->trial;
    (void)pthread_mutex_unlock(&token->lock);
    if (!status)
        *ret_trial = trial;
    return status;
}

enum kw_status kw_transfer_fail(struct kw_transfer *transfer, CK_RV rv, struct kw_error *err)
{
    return kw_session_fail(transfer->token, transfer->session, rv, transfer->doing, err);
}

enum kw_status kw_transfer_refuse(struct kw_transfer *transfer, CK_RV rv,
                                  struct kw_transfer_refusal *ret_refusal, struct kw_error *err)
{
    if (rv == CKR_OK || kw_rv_recoverable(rv) || kw_rv_meaning(rv) == KW_RV_MEMORY)
        return kw_transfer_fail(transfer, rv, err);
    transfer->session->failure = rv; /* some tokens leave a session unfit: it is closed */
    *ret_refusal = (struct kw_transfer_refusal){rv, transfer->doing};
    return KW_OK;
}

const struct kw_transfer_refusal *
kw_transfer_reason(const struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS])
{
    for (size_t i = 0; i < KW_TRANSFER_WAYS; i++)
        if (kw_rv_meaning(refusals[i].rv) != KW_RV_NOT_OFFERED)
            return &refusals[i];
    return &refusals[KW_TRANSFER_WAYS - 1];
}
