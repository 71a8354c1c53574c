/* The functions of the module, each of which asks the script what is to happen. */
#include <string.h>

#include "fault_handles.h"
#include "fault_script.h"
#include "fault_steps.h"

static const CK_FUNCTION_LIST *inner;

/* The length or count that was told, and the bytes. */
static void spoil(const struct kw_step *step, CK_ULONG *len, void *bytes, size_t size)
{
    if (len && kw_step_is_late(step, KW_DO_LENGTH))
        *len = step->value;
    if (bytes && kw_step_is_late(step, KW_DO_NOISE))
        memset(bytes, (int)step->value, size);
}

/* ---- the functions ---- */

#define NO_SESSION CK_INVALID_HANDLE

/* One of which nothing but the answer is changed. */
#define PLAIN(name, session, parameters, ...)                                                      \
    static CK_RV front_##name parameters                                                           \
    {                                                                                              \
        struct kw_step step = kw_step_begin(#name, session);                                       \
        return kw_step_end(&step, step.answered ? step.answer : inner->name(__VA_ARGS__));         \
    }

PLAIN(C_Initialize, NO_SESSION, (void *args), args)
PLAIN(C_Finalize, NO_SESSION, (void *reserved), reserved)
PLAIN(C_InitToken, NO_SESSION, (CK_SLOT_ID at, CK_BYTE *pin, CK_ULONG len, CK_BYTE *label), at, pin,
      len, label)
PLAIN(C_InitPIN, session, (CK_SESSION_HANDLE session, CK_BYTE *pin, CK_ULONG len), session, pin,
      len)
PLAIN(C_CloseSession, session, (CK_SESSION_HANDLE session), session)
PLAIN(C_Login, session, (CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG len),
      session, user, pin, len)
PLAIN(C_Logout, session, (CK_SESSION_HANDLE session), session)
PLAIN(C_DestroyObject, session, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), session,
      kw_handle_in(object))
PLAIN(C_SetAttributeValue, session,
      (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *items, CK_ULONG count),
      session, kw_handle_in(object), items, count)
PLAIN(C_FindObjectsInit, session, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *items, CK_ULONG count),
      session, items, count)
PLAIN(C_FindObjectsFinal, session, (CK_SESSION_HANDLE session), session)
PLAIN(C_DecryptInit, session, (CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_OBJECT_HANDLE key),
      session, how, kw_handle_in(key))
PLAIN(C_SignInit, session, (CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_OBJECT_HANDLE key),
      session, how, kw_handle_in(key))

/* One that fills a structure. */
#define FILLING(name, session, type, parameters, ...)                                              \
    static CK_RV front_##name parameters                                                           \
    {                                                                                              \
        struct kw_step step = kw_step_begin(#name, session);                                       \
        CK_RV rv = step.answered ? step.answer : inner->name(__VA_ARGS__);                         \
        spoil(&step, NULL, info, sizeof(type));                                                    \
        return kw_step_end(&step, rv);                                                             \
    }

FILLING(C_GetInfo, NO_SESSION, CK_INFO, (CK_INFO * info), info)
FILLING(C_GetSlotInfo, NO_SESSION, CK_SLOT_INFO, (CK_SLOT_ID at, CK_SLOT_INFO *info), at, info)
FILLING(C_GetSessionInfo, session, CK_SESSION_INFO,
        (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), session, info)

/* SoftHSM2 throws an exception of C++ where it has no such slot, which a sanitizer does not survive
 * in a program that has none. */
static bool is_slot(CK_SLOT_ID id)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = sizeof(slots) / sizeof(slots[0]);
    bool found = inner->C_GetSlotList(CK_FALSE, slots, &count) != CKR_OK;
    for (CK_ULONG i = 0; !found && i < count; i++)
        found = slots[i] == id;
    return found;
}

static CK_RV front_C_GetTokenInfo(CK_SLOT_ID at, CK_TOKEN_INFO *info)
{
    struct kw_step step = kw_step_begin("C_GetTokenInfo", NO_SESSION);
    CK_RV rv = step.answered ? step.answer : CKR_SLOT_ID_INVALID;
    if (!step.answered && is_slot(at))
        rv = inner->C_GetTokenInfo(at, info);
    if (kw_step_is_late(&step, KW_DO_FLAGS))
        info->flags |= step.value;
    spoil(&step, NULL, info, sizeof(*info));
    return kw_step_end(&step, rv);
}

static CK_RV front_C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    struct kw_step step = kw_step_begin("C_GetSlotList", NO_SESSION);
    CK_RV rv = step.answered ? step.answer : inner->C_GetSlotList(present, slots, count);
    if (step.answered && step.answer == CKR_OK)
        *count = 0;
    spoil(&step, count, NULL, 0);
    return kw_step_end(&step, rv);
}

static CK_RV front_C_OpenSession(CK_SLOT_ID at, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                                 CK_SESSION_HANDLE *session)
{
    struct kw_step step = kw_step_begin("C_OpenSession", NO_SESSION);
    kw_steps_at(at);
    CK_RV rv =
        step.answered ? step.answer : inner->C_OpenSession(at, flags, application, notify, session);
    return kw_step_end(&step, rv);
}

static CK_RV front_C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                       CK_ATTRIBUTE *items, CK_ULONG count)
{
    struct kw_step step = kw_step_begin("C_GetAttributeValue", session);
    CK_RV rv = step.answered
                   ? step.answer
                   : inner->C_GetAttributeValue(session, kw_handle_in(object), items, count);
    for (CK_ULONG i = 0; i < count && rv == CKR_OK; i++)
        spoil(&step, &items[i].ulValueLen, items[i].pValue, items[i].ulValueLen);
    return kw_step_end(&step, rv);
}

static CK_RV front_C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                                 CK_ULONG *count)
{
    struct kw_step step = kw_step_begin("C_FindObjects", session);
    CK_RV rv = step.answered ? step.answer : inner->C_FindObjects(session, objects, max, count);
    for (CK_ULONG i = 0; rv == CKR_OK && i < *count && i < max; i++)
        objects[i] = kw_step_is_late(&step, KW_DO_OTHER_KEY)
                         ? kw_handle_of_other(inner, kw_steps_slot(), objects[i])
                         : kw_handle_out(objects[i]);
    spoil(&step, count, NULL, 0);
    return kw_step_end(&step, rv);
}

/* One that gives bytes. */
#define GIVING(name)                                                                               \
    static CK_RV front_##name(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len,             \
                              CK_BYTE *out, CK_ULONG *len)                                         \
    {                                                                                              \
        struct kw_step step = kw_step_begin(#name, session);                                       \
        CK_RV rv = step.answered ? step.answer : inner->name(session, in, in_len, out, len);       \
        spoil(&step, len, NULL, 0);                                                                \
        return kw_step_end(&step, rv);                                                             \
    }

GIVING(C_Decrypt)
GIVING(C_Sign)

PLAIN(C_WrapKey, session,
      (CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_OBJECT_HANDLE with, CK_OBJECT_HANDLE key,
       CK_BYTE *out, CK_ULONG *len),
      session, how, kw_handle_in(with), kw_handle_in(key), out, len)

/* One that makes an object. */
#define MAKING(name, parameters, ...)                                                              \
    static CK_RV front_##name parameters                                                           \
    {                                                                                              \
        struct kw_step step = kw_step_begin(#name, session);                                       \
        CK_RV rv = step.answered ? step.answer : inner->name(__VA_ARGS__);                         \
        if (rv == CKR_OK)                                                                          \
            *object = kw_handle_out(*object);                                                      \
        return kw_step_end(&step, rv);                                                             \
    }

MAKING(C_CreateObject,
       (CK_SESSION_HANDLE session, CK_ATTRIBUTE *items, CK_ULONG count, CK_OBJECT_HANDLE *object),
       session, items, count, object)
MAKING(C_GenerateKey,
       (CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_ATTRIBUTE *items, CK_ULONG count,
        CK_OBJECT_HANDLE *object),
       session, how, items, count, object)
MAKING(C_UnwrapKey,
       (CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_OBJECT_HANDLE with, CK_BYTE *in,
        CK_ULONG in_len, CK_ATTRIBUTE *items, CK_ULONG count, CK_OBJECT_HANDLE *object),
       session, how, kw_handle_in(with), in, in_len, items, count, object)

static CK_RV front_C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *how,
                                     CK_ATTRIBUTE *public, CK_ULONG public_count,
                                     CK_ATTRIBUTE *private, CK_ULONG private_count,
                                     CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    struct kw_step step = kw_step_begin("C_GenerateKeyPair", session);
    CK_RV rv = step.answered ? step.answer
                             : inner->C_GenerateKeyPair(session, how, public, public_count, private,
                                                        private_count, public_key, private_key);
    if (rv == CKR_OK) {
        *public_key = kw_handle_out(*public_key);
        *private_key = kw_handle_out(*private_key);
    }
    return kw_step_end(&step, rv);
}

void kw_fault_script_front(const CK_FUNCTION_LIST *under, CK_FUNCTION_LIST *outer)
{
    kw_steps_over(under);
    inner = under;
    *outer = *under;
#define PUT(name) outer->name = front_##name
    PUT(C_Initialize);
    PUT(C_Finalize);
    PUT(C_GetInfo);
    PUT(C_GetSlotList);
    PUT(C_GetSlotInfo);
    PUT(C_GetTokenInfo);
    PUT(C_InitToken);
    PUT(C_InitPIN);
    PUT(C_OpenSession);
    PUT(C_CloseSession);
    PUT(C_GetSessionInfo);
    PUT(C_Login);
    PUT(C_Logout);
    PUT(C_CreateObject);
    PUT(C_DestroyObject);
    PUT(C_GetAttributeValue);
    PUT(C_SetAttributeValue);
    PUT(C_FindObjectsInit);
    PUT(C_FindObjects);
    PUT(C_FindObjectsFinal);
    PUT(C_DecryptInit);
    PUT(C_Decrypt);
    PUT(C_SignInit);
    PUT(C_Sign);
    PUT(C_GenerateKey);
    PUT(C_GenerateKeyPair);
    PUT(C_WrapKey);
    PUT(C_UnwrapKey);
#undef PUT
}
