/* The functions of Cryptoki that are used here: from their arguments to kw_call_args and back, and
 * how long each may take. */
#include <string.h>

#include "guard.h"

/* ---- in the guard's threads: from kw_call_args to the module ---- */

static CK_RV run_initialize(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_Initialize(args->out);
}

static CK_RV run_finalize(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    (void)args;
    return real->C_Finalize(NULL);
}

/* Whatever became of the first: a module that can't even be ended may be well after the second. */
static CK_RV run_restart(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    (void)real->C_Finalize(NULL);
    return real->C_Initialize(args->out);
}

static CK_RV run_get_info(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GetInfo(args->out);
}

static CK_RV run_get_slot_list(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GetSlotList((CK_BBOOL)args->numbers[0], args->out, args->results[0]);
}

static CK_RV run_get_slot_info(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GetSlotInfo(args->numbers[0], args->out);
}

static CK_RV run_get_token_info(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GetTokenInfo(args->numbers[0], args->out);
}

static CK_RV run_init_token(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_InitToken(args->numbers[0], (CK_UTF8CHAR *)args->in, args->in_len,
                             (CK_UTF8CHAR *)args->label);
}

static CK_RV run_init_pin(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_InitPIN(args->numbers[0], (CK_UTF8CHAR *)args->in, args->in_len);
}

static CK_RV run_open_session(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_OpenSession(args->numbers[0], args->numbers[1], NULL, NULL, args->results[0]);
}

static CK_RV run_close_session(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_CloseSession(args->numbers[0]);
}

static CK_RV run_get_session_info(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GetSessionInfo(args->numbers[0], args->out);
}

static CK_RV run_login(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_Login(args->numbers[0], args->numbers[1], (CK_UTF8CHAR *)args->in, args->in_len);
}

static CK_RV run_logout(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_Logout(args->numbers[0]);
}

static CK_RV run_create_object(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_CreateObject(args->numbers[0], args->templates[0].items,
                                args->templates[0].count, args->results[0]);
}

static CK_RV run_destroy_object(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_DestroyObject(args->numbers[0], args->numbers[1]);
}

static CK_RV run_get_attribute_value(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GetAttributeValue(args->numbers[0], args->numbers[1], args->templates[0].items,
                                     args->templates[0].count);
}

static CK_RV run_set_attribute_value(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_SetAttributeValue(args->numbers[0], args->numbers[1], args->templates[0].items,
                                     args->templates[0].count);
}

static CK_RV run_find_objects_init(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_FindObjectsInit(args->numbers[0], args->templates[0].items,
                                   args->templates[0].count);
}

static CK_RV run_find_objects(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_FindObjects(args->numbers[0], args->out, args->numbers[1], args->results[0]);
}

static CK_RV run_find_objects_final(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_FindObjectsFinal(args->numbers[0]);
}

static CK_RV run_encrypt_init(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_EncryptInit(args->numbers[0], (CK_MECHANISM *)args->mechanism, args->numbers[1]);
}

static CK_RV run_encrypt(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_Encrypt(args->numbers[0], (CK_BYTE *)args->in, args->in_len, args->out,
                           args->results[0]);
}

static CK_RV run_decrypt_init(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_DecryptInit(args->numbers[0], (CK_MECHANISM *)args->mechanism, args->numbers[1]);
}

static CK_RV run_decrypt(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_Decrypt(args->numbers[0], (CK_BYTE *)args->in, args->in_len, args->out,
                           args->results[0]);
}

static CK_RV run_decrypt_at_once(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    *args->results[1] = run_decrypt_init(real, args);
    return *args->results[1] == CKR_OK ? run_decrypt(real, args) : *args->results[1];
}

static CK_RV run_sign_init(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_SignInit(args->numbers[0], (CK_MECHANISM *)args->mechanism, args->numbers[1]);
}

static CK_RV run_sign(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_Sign(args->numbers[0], (CK_BYTE *)args->in, args->in_len, args->out,
                        args->results[0]);
}

static CK_RV run_generate_key(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GenerateKey(args->numbers[0], (CK_MECHANISM *)args->mechanism,
                               args->templates[0].items, args->templates[0].count,
                               args->results[0]);
}

static CK_RV run_generate_key_pair(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_GenerateKeyPair(args->numbers[0], (CK_MECHANISM *)args->mechanism,
                                   args->templates[0].items, args->templates[0].count,
                                   args->templates[1].items, args->templates[1].count,
                                   args->results[0], args->results[1]);
}

static CK_RV run_wrap_key(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_WrapKey(args->numbers[0], (CK_MECHANISM *)args->mechanism, args->numbers[1],
                           args->numbers[2], args->out, args->results[0]);
}

static CK_RV run_unwrap_key(const CK_FUNCTION_LIST *real, const struct kw_call_args *args)
{
    return real->C_UnwrapKey(args->numbers[0], (CK_MECHANISM *)args->mechanism, args->numbers[1],
                             (CK_BYTE *)args->in, args->in_len, args->templates[0].items,
                             args->templates[0].count, args->results[0]);
}

/* ---- how long each may take ---- */

/* Making a key takes an HSM or a TPM long, and where the PIN is typed on the token a person has to
 * come and do it. */
const struct kw_call_kind kw_call_kinds[KW_CALL_COUNT] = {
    [KW_CALL_INITIALIZE] = {run_initialize, 1, false, false},
    [KW_CALL_FINALIZE] = {run_finalize, 1, false, false},
    [KW_CALL_RESTART] = {run_restart, 2, false, false},
    [KW_CALL_GET_INFO] = {run_get_info, 1, false, false},
    [KW_CALL_GET_SLOT_LIST] = {run_get_slot_list, 1, false, false},
    [KW_CALL_GET_SLOT_INFO] = {run_get_slot_info, 1, false, false},
    [KW_CALL_GET_TOKEN_INFO] = {run_get_token_info, 1, false, false},
    [KW_CALL_INIT_TOKEN] = {run_init_token, 1, true, false},
    [KW_CALL_INIT_PIN] = {run_init_pin, 1, true, false},
    [KW_CALL_OPEN_SESSION] = {run_open_session, 1, false, false},
    [KW_CALL_CLOSE_SESSION] = {run_close_session, 1, false, false},
    [KW_CALL_GET_SESSION_INFO] = {run_get_session_info, 1, false, false},
    [KW_CALL_LOGIN] = {run_login, 1, true, false},
    [KW_CALL_LOGIN_BY_PERSON] = {run_login, 10, false, false},
    [KW_CALL_LOGOUT] = {run_logout, 1, false, false},
    [KW_CALL_CREATE_OBJECT] = {run_create_object, 1, true, false},
    [KW_CALL_DESTROY_OBJECT] = {run_destroy_object, 1, false, false},
    [KW_CALL_GET_ATTRIBUTE_VALUE] = {run_get_attribute_value, 1, false, true},
    [KW_CALL_GET_VALUE] = {run_get_attribute_value, 1, true, true},
    [KW_CALL_SET_ATTRIBUTE_VALUE] = {run_set_attribute_value, 1, false, false},
    [KW_CALL_FIND_OBJECTS_INIT] = {run_find_objects_init, 1, false, false},
    [KW_CALL_FIND_OBJECTS] = {run_find_objects, 1, false, false},
    [KW_CALL_FIND_OBJECTS_FINAL] = {run_find_objects_final, 1, false, false},
    [KW_CALL_ENCRYPT_INIT] = {run_encrypt_init, 1, false, false},
    [KW_CALL_ENCRYPT] = {run_encrypt, 1, true, false},
    [KW_CALL_DECRYPT_INIT] = {run_decrypt_init, 1, false, false},
    [KW_CALL_DECRYPT] = {run_decrypt, 1, true, false},
    [KW_CALL_DECRYPT_AT_ONCE] = {run_decrypt_at_once, 1, true, false},
    [KW_CALL_SIGN_INIT] = {run_sign_init, 1, false, false},
    [KW_CALL_SIGN] = {run_sign, 1, false, false},
    [KW_CALL_GENERATE_KEY] = {run_generate_key, 10, false, false},
    [KW_CALL_GENERATE_KEY_PAIR] = {run_generate_key_pair, 10, false, false},
    [KW_CALL_WRAP_KEY] = {run_wrap_key, 1, true, false},
    [KW_CALL_UNWRAP_KEY] = {run_unwrap_key, 1, true, false},
};

/* ---- for callers: from the arguments to kw_call_args, once for each guard ---- */

static enum kw_call call_to_read(const CK_ATTRIBUTE *items, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++)
        if (items[i].type == CKA_VALUE)
            return KW_CALL_GET_VALUE;
    return KW_CALL_GET_ATTRIBUTE_VALUE;
}

#define KW_GUARDED_BY(name, number)   name##_##number
#define KW_GUARDED_WITH(name, number) KW_GUARDED_BY(name, number)
#define KW_GUARDED(name)              KW_GUARDED_WITH(name, KW_GUARD_NUMBER)

#define KW_GUARD_NUMBER 0
#include "guard_list.h"
#undef KW_GUARD_NUMBER
#define KW_GUARD_NUMBER 1
#include "guard_list.h"
#undef KW_GUARD_NUMBER
#define KW_GUARD_NUMBER 2
#include "guard_list.h"
#undef KW_GUARD_NUMBER
#define KW_GUARD_NUMBER 3
#include "guard_list.h"
#undef KW_GUARD_NUMBER
#define KW_GUARD_NUMBER 4
#include "guard_list.h"
#undef KW_GUARD_NUMBER
#define KW_GUARD_NUMBER 5
#include "guard_list.h"
#undef KW_GUARD_NUMBER
#define KW_GUARD_NUMBER 6
#include "guard_list.h"
#undef KW_GUARD_NUMBER
#define KW_GUARD_NUMBER 7
#include "guard_list.h"
#undef KW_GUARD_NUMBER

static const CK_FUNCTION_LIST *const lists[] = {
    &list_0, &list_1, &list_2, &list_3, &list_4, &list_5, &list_6, &list_7,
};
_Static_assert(KW_COUNT(lists) == KW_GUARDS, "each guard has its functions");

/* In a CK_FUNCTION_LIST pointers follow the version. What the module lacks is not guarded either.
 */
void kw_guard_fill_list(size_t number, const CK_FUNCTION_LIST *real, CK_FUNCTION_LIST *list)
{
    const size_t first = offsetof(CK_FUNCTION_LIST, C_Initialize);
    *list = *lists[number];
    list->version = real->version;
    for (size_t at = first; at < sizeof(*list); at += sizeof(void *)) {
        void *function;
        memcpy(&function, (const char *)real + at, sizeof(function));
        if (!function)
            memset((char *)list + at, 0, sizeof(function));
    }
}
