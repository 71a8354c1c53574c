/* Wrapping mechanisms that the real module under this one lacks, or has in another way. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "transfer_module.h"

#define RSA_AES_KEY_WRAP 0x1054UL
#define AES_KEY_WRAP_KWP 0x210BUL

struct kw_transfer_faults *kw_transfer_control(void);

static struct kw_transfer_faults faults;
static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST list;
static CK_BBOOL yes = CK_TRUE;

struct kw_transfer_faults *kw_transfer_control(void)
{
    return &faults;
}

#define COUNTED()                                                                                  \
    do {                                                                                           \
        if (++faults.calls == faults.fail_at)                                                      \
            return faults.fail_answer;                                                             \
    } while (0)

/* The mechanism that stands for it, or CK_UNAVAILABLE_INFORMATION. */
static CK_MECHANISM_TYPE stands_for(CK_MECHANISM_TYPE type)
{
    if (type == AES_KEY_WRAP_KWP)
        return faults.kwp ? CKM_AES_KEY_WRAP_PAD : CK_UNAVAILABLE_INFORMATION;
    if (type == CKM_AES_KEY_WRAP_PAD && faults.no_pad)
        return CK_UNAVAILABLE_INFORMATION;
    if (type == CKM_AES_KEY_WRAP_PAD && faults.pad_is_other)
        return CKM_AES_KEY_WRAP;
    return type;
}

static CK_MECHANISM oaep_of(const CK_MECHANISM *whole)
{
    struct {
        CK_ULONG bits;
        CK_RSA_PKCS_OAEP_PARAMS *oaep;
    } params;
    memcpy(&params, whole->pParameter, sizeof(params));
    return (CK_MECHANISM){CKM_RSA_PKCS_OAEP, params.oaep, sizeof(*params.oaep)};
}

static CK_RV wrap_whole(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek,
                        CK_OBJECT_HANDLE key, unsigned char *out, CK_ULONG *len)
{
    CK_MECHANISM oaep = oaep_of(mechanism), pad = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
    CK_MECHANISM make = {CKM_AES_KEY_GEN, NULL, 0};
    CK_ULONG size = 32, first = *len, second;
    CK_ATTRIBUTE attributes[] = {{CKA_VALUE_LEN, &size, sizeof(size)},
                                 {CKA_WRAP, &yes, sizeof(yes)},
                                 {CKA_EXTRACTABLE, &yes, sizeof(yes)}};
    CK_OBJECT_HANDLE aes;
    CK_RV rv = real->C_GenerateKey(session, &make, attributes, 3, &aes);
    if (rv != CKR_OK)
        return rv;
    rv = real->C_WrapKey(session, &oaep, kek, aes, out, &first);
    second = *len - first;
    if (rv == CKR_OK)
        rv = real->C_WrapKey(session, &pad, aes, key, out + first, &second);
    if (rv == CKR_OK)
        *len = first + second + faults.whole_more;
    (void)real->C_DestroyObject(session, aes);
    return rv;
}

static CK_RV unwrap_whole(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek,
                          unsigned char *wrapped, CK_ULONG len, CK_ATTRIBUTE *template,
                          CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    CK_MECHANISM oaep = oaep_of(mechanism), pad = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ATTRIBUTE attributes[] = {{CKA_CLASS, &class, sizeof(class)},
                                 {CKA_KEY_TYPE, &type, sizeof(type)},
                                 {CKA_UNWRAP, &yes, sizeof(yes)}};
    unsigned char modulus[512];
    CK_ATTRIBUTE attribute = {CKA_MODULUS, modulus, sizeof(modulus)};
    CK_OBJECT_HANDLE aes;
    CK_RV rv = real->C_GetAttributeValue(session, kek, &attribute, 1);
    CK_ULONG first = attribute.ulValueLen;
    if (rv == CKR_OK)
        rv = real->C_UnwrapKey(session, &oaep, kek, wrapped, first, attributes, 3, &aes);
    if (rv != CKR_OK)
        return rv;
    rv = real->C_UnwrapKey(session, &pad, aes, wrapped + first, len - first, template, count, key);
    (void)real->C_DestroyObject(session, aes);
    return rv;
}

static bool is_private(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_ATTRIBUTE attribute = {CKA_CLASS, &class, sizeof(class)};
    return real->C_GetAttributeValue(session, key, &attribute, 1) == CKR_OK &&
           class == CKO_PRIVATE_KEY;
}

static CK_RV wrap_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE with,
                      CK_OBJECT_HANDLE key, unsigned char *out, CK_ULONG *len)
{
    COUNTED();
    bool private = is_private(session, key);
    faults.private_wraps += private;
    faults.oaep_wraps += mechanism->mechanism == CKM_RSA_PKCS_OAEP;
    if (private && faults.wrap_private_answer)
        return faults.wrap_private_answer;
    if (mechanism->mechanism == RSA_AES_KEY_WRAP)
        return faults.whole ? wrap_whole(session, mechanism, with, key, out, len)
                            : CKR_MECHANISM_INVALID;
    CK_MECHANISM other = *mechanism;
    other.mechanism = stands_for(mechanism->mechanism);
    if (faults.pad_wraps_itself && mechanism->mechanism == CKM_AES_KEY_WRAP_PAD)
        key = with;
    CK_RV rv = real->C_WrapKey(session, &other, with, key, out, len);
    *len += rv == CKR_OK ? faults.claim_more : 0;
    return rv;
}

static CK_RV unwrap_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE with,
                        unsigned char *wrapped, CK_ULONG len, CK_ATTRIBUTE *template,
                        CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    COUNTED();
    if (faults.unwrap_answer)
        return faults.unwrap_answer;
    if (mechanism->mechanism == RSA_AES_KEY_WRAP)
        return faults.whole
                   ? unwrap_whole(session, mechanism, with, wrapped, len, template, count, key)
                   : CKR_MECHANISM_INVALID;
    CK_MECHANISM other = *mechanism;
    other.mechanism = stands_for(mechanism->mechanism);
    return real->C_UnwrapKey(session, &other, with, wrapped, len, template, count, key);
}

static CK_RV generate_key(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                          CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    COUNTED();
    if (faults.generate_answer)
        return faults.generate_answer;
    return real->C_GenerateKey(session, mechanism, template, count, key);
}

static CK_RV create_object(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template, CK_ULONG count,
                           CK_OBJECT_HANDLE *object)
{
    COUNTED();
    return real->C_CreateObject(session, template, count, object);
}

static CK_RV destroy_object(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    COUNTED();
    if (faults.destroy_answer)
        return faults.destroy_answer;
    return real->C_DestroyObject(session, object);
}

static CK_RV get_info(CK_INFO *info)
{
    CK_RV rv = real->C_GetInfo(info);
    if (faults.unknown)
        memcpy(info->manufacturerID, "Somebody", 8);
    return rv;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    const char *path = getenv("KW_FAULT_REAL_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    CK_RV (*get)(CK_FUNCTION_LIST **);
    memcpy(&get, &symbol, sizeof(get));
    if (!get || get(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    list = *real;
    list.C_GetFunctionList = C_GetFunctionList;
    list.C_GetInfo = get_info;
    list.C_WrapKey = wrap_key;
    list.C_UnwrapKey = unwrap_key;
    list.C_GenerateKey = generate_key;
    list.C_CreateObject = create_object;
    list.C_DestroyObject = destroy_object;
    *ret_list = &list;
    return CKR_OK;
}
