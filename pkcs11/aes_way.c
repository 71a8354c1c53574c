/* One way to wrap bytes of the host with an AES key of the token, and to unwrap them. */
#include "aes.h"

const struct kw_aes_way kw_aes_ways[2][KW_AES_WAYS] = {
    {{CKM_AES_KEY_WRAP, true}, {CKM_AES_KEY_WRAP, false}},
    {{KW_CKM_AES_KEY_WRAP_KWP, true},
     {KW_CKM_AES_KEY_WRAP_KWP, false},
     {CKM_AES_KEY_WRAP_PAD, true},
     {CKM_AES_KEY_WRAP_PAD, false}},
};

void kw_aes_add_secret(struct kw_template *template, CK_KEY_TYPE type)
{
    static const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    static const CK_KEY_TYPE aes = CKK_AES, generic = CKK_GENERIC_SECRET;
    kw_template_add(template, CKA_CLASS, &class, sizeof(class));
    kw_template_add(template, CKA_KEY_TYPE, type == CKK_AES ? &aes : &generic, sizeof(type));
    kw_template_add_bool(template, CKA_TOKEN, false);
    kw_template_add_bool(template, CKA_PRIVATE, true);
    kw_template_add_bool(template, CKA_SENSITIVE, false);
    kw_template_add_bool(template, CKA_EXTRACTABLE, true);
}

CK_RV kw_aes_create(struct kw_transfer *transfer, const struct kw_template *template,
                    CK_OBJECT_HANDLE *ret_handle)
{
    CK_RV rv = transfer->token->functions->C_CreateObject(
        transfer->session->handle, (CK_ATTRIBUTE *)template->items, template->count, ret_handle);
    if (rv == CKR_OK)
        kw_transfer_keep(transfer, *ret_handle);
    return rv;
}

static CK_RV wrap_as_key(struct kw_transfer *transfer, CK_MECHANISM *mechanism,
                         CK_OBJECT_HANDLE key, const uint8_t *data, size_t data_len, uint8_t *out,
                         CK_ULONG *len)
{
    struct kw_template template = {.count = 0};
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    kw_aes_add_secret(&template, CKK_GENERIC_SECRET);
    kw_template_add(&template, CKA_VALUE, data, data_len);
    transfer->doing = "take a secret for a session";
    CK_RV rv = kw_aes_create(transfer, &template, &secret);
    if (rv != CKR_OK)
        return rv;
    transfer->doing = "wrap a secret with AES";
    rv = transfer->token->functions->C_WrapKey(transfer->session->handle, mechanism, key, secret,
                                               out, len);
    kw_transfer_clear(transfer);
    return rv;
}

CK_RV kw_aes_wrap_by(struct kw_transfer *transfer, const struct kw_aes_way *way,
                     CK_OBJECT_HANDLE key, const uint8_t *data, size_t data_len, uint8_t *out)
{
    const CK_FUNCTION_LIST *functions = transfer->token->functions;
    CK_SESSION_HANDLE session = transfer->session->handle;
    CK_MECHANISM mechanism = {.mechanism = way->mechanism};
    CK_ULONG len = KW_KWP_SIZE(data_len);
    CK_RV rv;
    if (way->at_once) {
        transfer->doing = "encrypt with AES key wrap";
        rv = functions->C_EncryptInit(session, &mechanism, key);
        if (rv == CKR_OK)
            rv = functions->C_Encrypt(session, (CK_BYTE *)data, data_len, out, &len);
    } else {
        rv = wrap_as_key(transfer, &mechanism, key, data, data_len, out, &len);
    }
    return rv == CKR_OK && len != KW_KWP_SIZE(data_len) ? KW_CKR_NONSENSE : rv;
}

static CK_RV unwrap_as_key(struct kw_transfer *transfer, CK_MECHANISM *mechanism,
                           CK_OBJECT_HANDLE key, const uint8_t *wrapped, size_t wrapped_len,
                           uint8_t *out, CK_ULONG *len)
{
    struct kw_template template = {.count = 0};
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    CK_ATTRIBUTE value = {CKA_VALUE, out, *len};
    kw_aes_add_secret(&template, CKK_GENERIC_SECRET);
    CK_RV rv = transfer->token->functions->C_UnwrapKey(transfer->session->handle, mechanism, key,
                                                       (CK_BYTE *)wrapped, wrapped_len,
                                                       template.items, template.count, &secret);
    if (rv != CKR_OK)
        return rv;
    kw_transfer_keep(transfer, secret);
    rv = kw_attributes_read(transfer->token->functions, transfer->session, secret, &value, 1);
    if (rv == CKR_OK && !kw_attribute_known(&value))
        rv = CKR_ATTRIBUTE_SENSITIVE;
    if (rv == CKR_OK)
        *len = value.ulValueLen;
    kw_transfer_clear(transfer);
    return rv;
}

CK_RV kw_aes_unwrap_by(struct kw_transfer *transfer, const struct kw_aes_way *way,
                       CK_OBJECT_HANDLE key, const uint8_t *wrapped, size_t wrapped_len,
                       struct kw_secret *secret, bool *ret_seen)
{
    const CK_FUNCTION_LIST *functions = transfer->token->functions;
    CK_SESSION_HANDLE session = transfer->session->handle;
    CK_MECHANISM mechanism = {.mechanism = way->mechanism};
    CK_ULONG len = kw_secret_capacity(secret);
    uint8_t *out = kw_secret_data(secret);
    CK_RV rv = CKR_OK;
    transfer->doing = "unwrap with AES";
    if (way->at_once) {
        rv = functions->C_DecryptInit(session, &mechanism, key);
        *ret_seen = rv == CKR_OK;
        if (rv == CKR_OK)
            rv = functions->C_Decrypt(session, (CK_BYTE *)wrapped, wrapped_len, out, &len);
    } else {
        rv = unwrap_as_key(transfer, &mechanism, key, wrapped, wrapped_len, out, &len);
        *ret_seen =
            kw_rv_meaning(rv) != KW_RV_NOT_OFFERED && kw_rv_meaning(rv) != KW_RV_NOT_PERMITTED;
    }
    if (rv == CKR_OK && len > wrapped_len - KW_AES_UNIT)
        rv = CKR_WRAPPED_KEY_INVALID;
    if (rv == CKR_OK)
        kw_secret_set_len(secret, len);
    return rv;
}
