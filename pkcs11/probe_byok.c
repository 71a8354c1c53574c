/* Probing whether an RSA private key can leave a token for another HSM, and come in from one: all
 * the way, as byok export and byok import go it. */
#include <string.h>

#include "probe.h"

/* ---- out ---- */

static bool same_modulus(const struct kw_rsa_private *key, const struct kw_rsa_public *public)
{
    const struct kw_secret *modulus = key->numbers[KW_RSA_MODULUS];
    return kw_secret_len(modulus) == public->modulus_len &&
           memcmp(kw_secret_bytes(modulus), public->modulus, public->modulus_len) == 0;
}

bool kw_probe_opens(const struct kw_probing *probing, const struct kw_probe_pair *pair,
                    const uint8_t *wrapped, size_t len)
{
    struct kw_crypto *crypto = probing->token->crypto;
    size_t first = kw_throwaway_public(probing->trial)->modulus_len;
    struct kw_secret *aes = NULL, *pkcs8 = NULL;
    struct kw_rsa_private key = {.numbers = {NULL}};
    bool opens = kw_transfer_fits(first, len) &&
                 !kw_throwaway_unwrap(probing->trial, wrapped, first, &aes, NULL) &&
                 kw_secret_len(aes) == KW_AES256_KEY_SIZE &&
                 !kw_kwp_unwrap(crypto, aes, wrapped + first, len - first, &pkcs8, NULL) &&
                 !kw_rsa_private_from_pkcs8(crypto, pkcs8, &key, NULL) &&
                 same_modulus(&key, &pair->key.public);
    kw_rsa_private_cleanup(&key);
    kw_secret_free(pkcs8);
    kw_secret_free(aes);
    return opens;
}

void kw_probe_byok_out(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    const struct kw_probe_pair *pair = kw_probe_pair(probing, KW_PROBE_EXPORTABLE, result);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    struct kw_error err = {.status = KW_OK};
    const char *mechanism = "";
    if (!pair)
        return;
    enum kw_status status =
        kw_token_wrap_key(probing->token, &pair->key, kw_throwaway_public(probing->trial), &wrapped,
                          &mechanism, &err);
    if (status == KW_KEY_UNUSABLE)
        kw_probe_set_rv(result, KW_PROBE_NO, "neither 0x1054 nor RSA-OAEP with RFC 5649 is open",
                        err.ck_rv);
    else if (status)
        kw_probe_set(result, KW_PROBE_UNKNOWN, "%s", err.message);
    else if (kw_probe_opens(probing, pair, wrapped.data, wrapped.len))
        kw_probe_set(result, KW_PROBE_YES, "by %s", mechanism);
    else
        kw_probe_set(result, KW_PROBE_NO, "by %s, but the host did not find the key in it",
                     mechanism);
    kw_buffer_cleanup(&wrapped);
}

/* ---- in ---- */

/* The trial key, wrapped as another HSM would: for the pair's private key. */
static enum kw_status wrap_trial(const struct kw_probing *probing, const struct kw_probe_pair *pair,
                                 struct kw_buffer *wrapped, struct kw_error *err)
{
    struct kw_crypto *crypto = probing->token->crypto;
    struct kw_secret *pkcs8 = NULL;
    size_t first = pair->key.public.modulus_len;
    enum kw_status status = kw_buffer_reserve(wrapped, first, err);
    if (!status)
        status =
            kw_rsa_wrap(crypto, &pair->key.public, KW_RSA_OAEP, probing->known, wrapped->data, err);
    if (!status) {
        wrapped->len = first;
        status = kw_throwaway_pkcs8(probing->trial, &pkcs8, err);
    }
    if (!status)
        status = kw_kwp_wrap(crypto, probing->known, pkcs8, wrapped, err);
    kw_secret_free(pkcs8);
    return status;
}

static CK_RV unwrap(struct kw_probing *probing, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE with,
                    const uint8_t *wrapped, size_t len, struct kw_template *template,
                    CK_OBJECT_HANDLE *ret_handle)
{
    struct kw_transfer_mechanism mechanism;
    kw_transfer_mechanism_init(&mechanism, type);
    CK_RV rv = probing->token->functions->C_UnwrapKey(probing->session.handle, &mechanism.mechanism,
                                                      with, (CK_BYTE *)wrapped, len,
                                                      template->items, template->count, ret_handle);
    if (rv == CKR_OK)
        kw_transfer_keep(&probing->transfer, *ret_handle);
    return rv;
}

static CK_RV unwrap_aes(struct kw_probing *probing, const struct kw_probe_pair *pair,
                        const uint8_t *wrapped, CK_OBJECT_HANDLE *ret_handle)
{
    static const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    static const CK_KEY_TYPE type = CKK_AES;
    struct kw_template template = {.count = 0};
    kw_template_add(&template, CKA_CLASS, &class, sizeof(class));
    kw_template_add(&template, CKA_KEY_TYPE, &type, sizeof(type));
    kw_template_add_bool(&template, CKA_TOKEN, false);
    kw_template_add_bool(&template, CKA_PRIVATE, true);
    kw_template_add_bool(&template, CKA_SENSITIVE, true);
    kw_template_add_bool(&template, CKA_EXTRACTABLE, false);
    kw_template_add_bool(&template, CKA_UNWRAP, true);
    kw_template_add_bool(&template, CKA_DECRYPT, true);
    probing->transfer.doing = "it unwraps no AES key with RSA-OAEP";
    return unwrap(probing, CKM_RSA_PKCS_OAEP, pair->private_handle, wrapped,
                  pair->key.public.modulus_len, &template, ret_handle);
}

/* What a new key on the token is to be, but for this session. */
static void add_session_key(struct kw_template *template, const struct kw_probe_pair *pair)
{
    static const CK_BBOOL no = CK_FALSE;
    const struct kw_key_plan plan = {
        .label = pair->key.label, .id = pair->key.id, .id_len = pair->key.id_len};
    kw_template_add_rsa_class(template, CKO_PRIVATE_KEY);
    kw_template_add_private(template, &plan);
    for (CK_ULONG i = 0; i < template->count; i++)
        if (template->items[i].type == CKA_TOKEN)
            template->items[i].pValue = (void *)&no;
}

static CK_RV go(struct kw_probing *probing, const struct kw_transfer_way *way,
                const struct kw_probe_pair *pair, const struct kw_buffer *wrapped)
{
    CK_OBJECT_HANDLE with = pair->private_handle, key = CK_INVALID_HANDLE;
    size_t first = way->whole ? 0 : pair->key.public.modulus_len;
    CK_RV rv = way->whole ? CKR_OK : unwrap_aes(probing, pair, wrapped->data, &with);
    if (rv != CKR_OK)
        return rv;
    struct kw_template template = {.count = 0};
    add_session_key(&template, pair);
    probing->transfer.doing =
        way->whole ? "0x1054 unwraps no RSA key" : "it unwraps no RSA key by RFC 5649";
    rv = unwrap(probing, way->mechanism, with, wrapped->data + first, wrapped->len - first,
                &template, &key);
    if (rv != CKR_OK)
        return rv;
    const struct kw_token_key wanted = {.public = *kw_throwaway_public(probing->trial)};
    bool equal = false;
    probing->transfer.doing = "another key came in";
    rv = kw_key_check_modulus(probing->token, &probing->session, &wanted, key, &equal);
    return rv == CKR_OK && !equal ? CKR_WRAPPED_KEY_INVALID : rv;
}

void kw_probe_byok_in(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    const struct kw_probe_pair *pair = kw_probe_pair(probing, KW_PROBE_SEALED, result);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    struct kw_error err = {.status = KW_OK};
    struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS];
    if (!pair)
        return;
    if (wrap_trial(probing, pair, &wrapped, &err) != KW_OK) {
        kw_probe_set(result, KW_PROBE_UNKNOWN, "%s", err.message);
        kw_buffer_cleanup(&wrapped);
        return;
    }
    size_t i = 0;
    for (; i < KW_TRANSFER_WAYS; i++) {
        CK_RV rv = go(probing, &kw_transfer_ways[i], pair, &wrapped);
        if (rv == CKR_OK)
            break;
        refusals[i] = (struct kw_transfer_refusal){rv, probing->transfer.doing};
        kw_probe_renew(probing);
    }
    if (i < KW_TRANSFER_WAYS) {
        kw_probe_set(result, KW_PROBE_YES, "by %s", kw_transfer_ways[i].name);
    } else {
        const struct kw_transfer_refusal *reason = kw_transfer_reason(refusals);
        kw_probe_set_rv(result, KW_PROBE_NO, reason->doing, reason->rv);
    }
    kw_buffer_cleanup(&wrapped);
}
