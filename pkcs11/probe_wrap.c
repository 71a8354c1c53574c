/* Probing what a token wraps, and what it refuses to: told apart by known answers, since the same
 * number is another algorithm on some tokens. */
#include <string.h>

#include "probe.h"

/* Not a multiple of 8, so that what a token adds shows. */
#define SECRET_SIZE 20

/* ---- the token's side ---- */

static CK_RV import_trial(struct kw_probing *probing, CK_OBJECT_HANDLE *ret_handle)
{
    const struct kw_rsa_public *trial = kw_throwaway_public(probing->trial);
    struct kw_template template = {.count = 0};
    kw_template_add_rsa_class(&template, CKO_PUBLIC_KEY);
    kw_template_add_bool(&template, CKA_TOKEN, false);
    kw_template_add_bool(&template, CKA_PRIVATE, false);
    kw_template_add_bool(&template, CKA_WRAP, true);
    kw_template_add_bool(&template, CKA_ENCRYPT, true);
    kw_template_add(&template, CKA_MODULUS, trial->modulus, trial->modulus_len);
    kw_template_add(&template, CKA_PUBLIC_EXPONENT, trial->exponent, trial->exponent_len);
    probing->transfer.doing = "it takes no public key for a session";
    CK_RV rv = probing->token->functions->C_CreateObject(probing->session.handle, template.items,
                                                         template.count, ret_handle);
    if (rv == CKR_OK)
        kw_transfer_keep(&probing->transfer, *ret_handle);
    return rv;
}

static CK_RV make_secret(struct kw_probing *probing, CK_MECHANISM_TYPE type, CK_KEY_TYPE key_type,
                         CK_ULONG len, CK_OBJECT_HANDLE *ret_handle)
{
    static const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    bool wraps = key_type == CKK_AES;
    struct kw_template template = {.count = 0};
    kw_template_add(&template, CKA_CLASS, &class, sizeof(class));
    kw_template_add(&template, CKA_KEY_TYPE, &key_type, sizeof(key_type));
    kw_template_add_bool(&template, CKA_TOKEN, false);
    kw_template_add_bool(&template, CKA_PRIVATE, true);
    kw_template_add_bool(&template, CKA_SENSITIVE, true);
    kw_template_add_bool(&template, CKA_EXTRACTABLE, true);
    kw_template_add_bool(&template, CKA_WRAP, wraps);
    kw_template_add_bool(&template, CKA_ENCRYPT, wraps);
    kw_template_add(&template, CKA_VALUE_LEN, &len, sizeof(len));
    CK_MECHANISM mechanism = {.mechanism = type};
    probing->transfer.doing =
        wraps ? "it makes no AES key for a session" : "it makes no secret for a session";
    CK_RV rv = probing->token->functions->C_GenerateKey(probing->session.handle, &mechanism,
                                                        template.items, template.count, ret_handle);
    if (rv == CKR_OK)
        kw_transfer_keep(&probing->transfer, *ret_handle);
    return rv;
}

static CK_RV make_aes(struct kw_probing *probing, CK_OBJECT_HANDLE *ret_handle)
{
    return make_secret(probing, CKM_AES_KEY_GEN, CKK_AES, KW_AES256_KEY_SIZE, ret_handle);
}

struct wrapped {
    uint8_t data[KW_TRANSFER_MAX];
    size_t len;
};

static CK_RV wrap(struct kw_probing *probing, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE with,
                  CK_OBJECT_HANDLE key, struct wrapped *wrapped)
{
    CK_ULONG len = sizeof(wrapped->data);
    CK_RV rv = probing->token->functions->C_WrapKey(probing->session.handle, mechanism, with, key,
                                                    wrapped->data, &len);
    if (rv == CKR_OK && len > sizeof(wrapped->data))
        rv = CKR_BUFFER_TOO_SMALL;
    if (rv == CKR_OK)
        wrapped->len = len;
    return rv;
}

static CK_RV wrap_by(struct kw_probing *probing, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE with,
                     CK_OBJECT_HANDLE key, struct wrapped *wrapped)
{
    struct kw_transfer_mechanism mechanism;
    kw_transfer_mechanism_init(&mechanism, type);
    return wrap(probing, &mechanism.mechanism, with, key, wrapped);
}

/* Makes the token's secret known on the host, by way of the trial key. */
static CK_RV tell_secret(struct kw_probing *probing, CK_OBJECT_HANDLE kek, CK_OBJECT_HANDLE key,
                         size_t len, struct kw_secret **ret_secret)
{
    struct wrapped wrapped = {.len = 0};
    struct kw_secret *secret = NULL;
    probing->transfer.doing = "it wraps no secret with RSA-OAEP";
    CK_RV rv = wrap_by(probing, CKM_RSA_PKCS_OAEP, kek, key, &wrapped);
    if (rv != CKR_OK)
        return rv;
    probing->transfer.doing = "what it wrapped with RSA-OAEP is something else";
    if (kw_throwaway_unwrap(probing->trial, wrapped.data, wrapped.len, &secret, NULL) != KW_OK)
        return CKR_WRAPPED_KEY_INVALID;
    if (kw_secret_len(secret) != len) {
        kw_secret_free(secret);
        return CKR_WRAPPED_KEY_LEN_RANGE;
    }
    *ret_secret = secret;
    return CKR_OK;
}

void kw_probe_wrap_aes(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE, aes = CK_INVALID_HANDLE;
    struct kw_secret *secret = NULL;
    CK_RV rv = import_trial(probing, &kek);
    if (rv == CKR_OK)
        rv = make_aes(probing, &aes);
    if (rv == CKR_OK)
        rv = tell_secret(probing, kek, aes, KW_AES256_KEY_SIZE, &secret);
    if (rv == CKR_OK)
        kw_probe_set(result, KW_PROBE_YES, "under a public key that was imported");
    else
        kw_probe_set_rv(result, KW_PROBE_NO, probing->transfer.doing, rv);
    kw_secret_free(secret);
}

/* ---- RFC 5649 ---- */

/* A secret that the token wrapped under an AES key, both known. */
struct known_answer {
    CK_OBJECT_HANDLE aes_handle, secret_handle;
    struct kw_secret *aes, *secret;
};

static CK_RV make_known(struct kw_probing *probing, struct known_answer *known)
{
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    CK_RV rv = import_trial(probing, &kek);
    if (rv == CKR_OK)
        rv = make_aes(probing, &known->aes_handle);
    if (rv == CKR_OK)
        rv = tell_secret(probing, kek, known->aes_handle, KW_AES256_KEY_SIZE, &known->aes);
    if (rv == CKR_OK)
        rv = make_secret(probing, CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET, SECRET_SIZE,
                         &known->secret_handle);
    if (rv == CKR_OK)
        rv = tell_secret(probing, kek, known->secret_handle, SECRET_SIZE, &known->secret);
    return rv;
}

/* Whether the secret came out, with zero bytes up to a multiple of 8 or without. */
static void judge(struct kw_secret *unwrapped, const struct kw_secret *secret,
                  struct kw_probe_result *result)
{
    size_t len = kw_secret_len(unwrapped);
    uint8_t tail = 0;
    for (size_t i = SECRET_SIZE; i < len; i++)
        tail |= kw_secret_bytes(unwrapped)[i];
    if (len == (SECRET_SIZE + 7) / 8 * 8 && tail == 0)
        kw_secret_set_len(unwrapped, SECRET_SIZE);
    if (!kw_secret_equal(unwrapped, secret))
        kw_probe_set(result, KW_PROBE_NO, "what it wrapped is not the key");
    else if (len > SECRET_SIZE)
        kw_probe_set(result, KW_PROBE_YES,
                     "it adds zero bytes up to a multiple of 8 before it wraps");
    else
        kw_probe_set(result, KW_PROBE_YES, "a known secret came out right");
}

void kw_probe_wrap_kwp(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    struct known_answer known = {.aes = NULL};
    struct wrapped wrapped = {.len = 0};
    struct kw_secret *unwrapped = NULL;
    CK_RV rv = make_known(probing, &known);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_UNKNOWN, probing->transfer.doing, rv);
    } else {
        rv = wrap_by(probing, kw_transfer_ways[which].mechanism, known.aes_handle,
                     known.secret_handle, &wrapped);
        if (rv != CKR_OK)
            kw_probe_set_rv(result, KW_PROBE_NO, "it failed", rv);
        else if (kw_kwp_unwrap(probing->token->crypto, known.aes, wrapped.data, wrapped.len,
                               &unwrapped, NULL) != KW_OK)
            kw_probe_set(result, KW_PROBE_NO, "it is another algorithm");
        else
            judge(unwrapped, known.secret, result);
    }
    kw_secret_free(unwrapped);
    kw_secret_free(known.secret);
    kw_secret_free(known.aes);
}

/* ---- CKM_RSA_AES_KEY_WRAP ---- */

void kw_probe_wrap_whole(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    const struct kw_probe_pair *pair = kw_probe_pair(probing, KW_PROBE_EXPORTABLE, result);
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    struct wrapped wrapped = {.len = 0};
    if (!pair)
        return;
    CK_RV rv = import_trial(probing, &kek);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_UNKNOWN, probing->transfer.doing, rv);
        return;
    }
    rv = wrap_by(probing, kw_transfer_ways[which].mechanism, kek, pair->private_handle, &wrapped);
    if (rv != CKR_OK)
        kw_probe_set_rv(result, KW_PROBE_NO, "it failed", rv);
    else if (kw_probe_opens(probing, pair, wrapped.data, wrapped.len))
        kw_probe_set(result, KW_PROBE_YES, "the host found the key in it");
    else
        kw_probe_set(result, KW_PROBE_NO, "the host did not find the key in it");
}

/* ---- whether CKA_EXTRACTABLE counts ---- */

static const struct {
    CK_MECHANISM_TYPE mechanism;
    CK_ULONG iv_len;
    const char *name;
} key_wraps[] = {
    {0x210BUL, 0, "CKM_AES_KEY_WRAP_KWP"},
    {CKM_AES_KEY_WRAP_PAD, 0, "CKM_AES_KEY_WRAP_PAD"},
    {CKM_AES_KEY_WRAP, 0, "CKM_AES_KEY_WRAP"},
    {CKM_AES_CBC_PAD, KW_AES_BLOCK, "CKM_AES_CBC_PAD"},
};

static CK_RV wrap_under(struct kw_probing *probing, size_t which, CK_OBJECT_HANDLE aes,
                        CK_OBJECT_HANDLE key)
{
    uint8_t iv[KW_AES_BLOCK] = {0};
    struct wrapped wrapped = {.len = 0};
    CK_MECHANISM mechanism = {.mechanism = key_wraps[which].mechanism};
    if (key_wraps[which].iv_len) {
        mechanism.pParameter = iv;
        mechanism.ulParameterLen = key_wraps[which].iv_len;
    }
    return wrap(probing, &mechanism, aes, key, &wrapped);
}

/* A refusal counts only where the same way takes a key that may leave. */
void kw_probe_extractable(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    const struct kw_probe_pair *sealed = kw_probe_pair(probing, KW_PROBE_SEALED, result);
    const struct kw_probe_pair *open =
        sealed ? kw_probe_pair(probing, KW_PROBE_EXPORTABLE, result) : NULL;
    CK_OBJECT_HANDLE aes = CK_INVALID_HANDLE;
    if (!open)
        return;
    CK_RV rv = make_aes(probing, &aes);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_UNKNOWN, probing->transfer.doing, rv);
        return;
    }
    kw_probe_set(result, KW_PROBE_UNKNOWN,
                 "it wraps no RSA key under AES, so there is nothing to refuse");
    for (size_t i = 0; i < KW_COUNT(key_wraps); i++) {
        if (wrap_under(probing, i, aes, open->private_handle) != CKR_OK)
            continue;
        rv = wrap_under(probing, i, aes, sealed->private_handle);
        if (rv == CKR_OK) {
            kw_probe_set(result, KW_PROBE_NO, "a key that is not extractable came out by %s",
                         key_wraps[i].name);
            return;
        }
        kw_probe_set_rv(result, KW_PROBE_YES, "wrapping it is refused", rv);
    }
}
