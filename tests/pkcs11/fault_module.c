/* Faults that real tokens have on a bad day only, on top of a real module. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fault_module.h"
#include "fault_script.h"

struct kw_fault *kw_fault_control(void);

static struct kw_fault fault;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST list;
static CK_FUNCTION_LIST scripted;

/* Of the operation in a session. Which thread calls says nothing. */
static struct operation {
    CK_SESSION_HANDLE session;
    CK_MECHANISM_TYPE mechanism;
} operations[64];
static size_t next_operation;

struct kw_fault *kw_fault_control(void)
{
    return &fault;
}

static void hang_if(const char *name)
{
    const char *here = atomic_load(&fault.hang);
    if (!here || strcmp(here, name) != 0)
        return;
    unsigned number = atomic_fetch_add(&fault.to_hang, 1) + 1, at = atomic_load(&fault.hang_at);
    if (at && at != number)
        return;
    atomic_fetch_add(&fault.hanging, 1);
    atomic_fetch_add(&fault.hung, 1);
    while (!atomic_load(&fault.released))
        (void)usleep(1000);
    atomic_fetch_sub(&fault.hanging, 1);
}

/* Whether this call is one that fails. */
static bool count_call(void)
{
    pthread_mutex_lock(&lock);
    unsigned number = ++fault.calls, failing = fault.fail_calls ? fault.fail_calls : 1;
    bool fails = fault.fail_at && number >= fault.fail_at && number - fault.fail_at < failing;
    pthread_mutex_unlock(&lock);
    return fails;
}
#define UNLESS_DOWN()                                                                              \
    do {                                                                                           \
        CK_RV down = atomic_load(&fault.down);                                                     \
        if (down != CKR_OK)                                                                        \
            return down;                                                                           \
    } while (0)
#define COUNTED(call)                                                                              \
    do {                                                                                           \
        UNLESS_DOWN();                                                                             \
        bool fails = count_call();                                                                 \
        if (fails && !fault.fail_late)                                                             \
            return fault.fail_answer;                                                              \
        CK_RV answer = call;                                                                       \
        return fails ? fault.fail_answer : answer;                                                 \
    } while (0)

static void note_company(void)
{
    fault.crowded += kw_steps_under_way() != 1;
}

static CK_RV initialize(void *args)
{
    note_company();
    hang_if("C_Initialize");
    fault.initializes++;
    if (fault.start_answer)
        return fault.start_answer;
    CK_RV rv = real->C_Initialize(args);
    if (atomic_load(&fault.start_mends))
        atomic_store(&fault.down, CKR_OK);
    note_company();
    return rv;
}

static void replace(unsigned char field[32], const char *text)
{
    if (text) {
        memset(field, ' ', 32);
        memcpy(field, text, strlen(text));
    }
}

static CK_RV get_info(CK_INFO *info)
{
    hang_if("C_GetInfo");
    CK_RV rv = fault.no_info ? CKR_FUNCTION_FAILED : real->C_GetInfo(info);
    replace(info->manufacturerID, fault.manufacturer);
    replace(info->libraryDescription, fault.description);
    return rv;
}

static void leave_out_slot(CK_SLOT_ID *slots, CK_ULONG *count)
{
    CK_ULONG kept = 0;
    for (CK_ULONG i = 0; i < *count; i++)
        if (slots[i] != fault.away_slot)
            slots[kept++] = slots[i];
    *count = kept;
}

static CK_RV get_slot_list(unsigned char present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    hang_if("C_GetSlotList");
    UNLESS_DOWN();
    if (fault.no_tokens || (fault.blind_starts && fault.initializes <= fault.blind_starts)) {
        *count = 0;
        return CKR_OK;
    }
    CK_RV rv = real->C_GetSlotList(present, slots, count);
    if (slots && rv == CKR_OK && atomic_load(&fault.away))
        leave_out_slot(slots, count);
    return rv;
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    hang_if("C_GetTokenInfo");
    UNLESS_DOWN();
    if (atomic_load(&fault.away) && slot == fault.away_slot)
        return CKR_TOKEN_NOT_PRESENT;
    CK_RV rv = real->C_GetTokenInfo(slot, info);
    info->flags = (info->flags | fault.set_flags) & ~fault.clear_flags;
    return rv;
}

static CK_RV init_token(CK_SLOT_ID slot, unsigned char *pin, CK_ULONG len, unsigned char *label)
{
    hang_if("C_InitToken");
    fault.init_tokens++;
    return fault.init_token_answer ? fault.init_token_answer
                                   : real->C_InitToken(slot, pin, len, label);
}

static CK_RV init_pin(CK_SESSION_HANDLE session, unsigned char *pin, CK_ULONG len)
{
    hang_if("C_InitPIN");
    return fault.init_pin_answer ? fault.init_pin_answer : real->C_InitPIN(session, pin, len);
}

static CK_RV open_any_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                              CK_SESSION_HANDLE *session)
{
    pthread_mutex_lock(&lock);
    bool rw = flags & CKF_RW_SESSION;
    CK_RV rv = fault.no_ro_sessions && !rw ? CKR_ARGUMENTS_BAD : CKR_SESSION_COUNT;
    fault.rw_opens += rw;
    fault.ro_opens += !rw;
    if (rv == CKR_SESSION_COUNT && (!fault.max_sessions || fault.sessions < fault.max_sessions))
        rv = real->C_OpenSession(slot, flags, application, notify, session);
    if (rv == CKR_OK && ++fault.sessions > fault.most_sessions)
        fault.most_sessions = fault.sessions;
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                          CK_SESSION_HANDLE *session)
{
    hang_if("C_OpenSession");
    COUNTED(open_any_session(slot, flags, application, notify, session));
}

static CK_RV close_any_session(CK_SESSION_HANDLE session)
{
    pthread_mutex_lock(&lock);
    fault.sessions--;
    fault.closes++;
    CK_RV rv = real->C_CloseSession(session);
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV close_session(CK_SESSION_HANDLE session)
{
    hang_if("C_CloseSession");
    COUNTED(close_any_session(session));
}

static CK_RV get_session_info(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    hang_if("C_GetSessionInfo");
    COUNTED(real->C_GetSessionInfo(session, info));
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
    hang_if("C_Login");
    UNLESS_DOWN();
    pthread_mutex_lock(&lock);
    fault.logins++;
    fault.last_user = user;
    fault.last_pin_was_null = !pin;
    pthread_mutex_unlock(&lock);
    if (fault.login_answer)
        return fault.login_answer;
    return fault.login_claims_ok ? CKR_OK : real->C_Login(session, user, pin, len);
}

static bool asks_for_value(const CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++)
        if (attributes[i].type == CKA_VALUE)
            return true;
    return false;
}

static CK_RV get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                 CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    hang_if("C_GetAttributeValue");
    if (fault.one_attribute_only && count > 1)
        return CKR_GENERAL_ERROR;
    if (fault.hide_values && asks_for_value(attributes, count))
        return CKR_ATTRIBUTE_SENSITIVE;
    COUNTED(real->C_GetAttributeValue(session, object, attributes, count));
}

static bool is_data(const CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++)
        if (attributes[i].type == CKA_CLASS)
            return *(const CK_OBJECT_CLASS *)attributes[i].pValue == CKO_DATA;
    return false;
}

static CK_RV find_objects_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    hang_if("C_FindObjectsInit");
    if (fault.data_search_answer && is_data(attributes, count))
        return fault.data_search_answer;
    COUNTED(real->C_FindObjectsInit(session, attributes, count));
}

static CK_RV find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                          CK_ULONG *count)
{
    hang_if("C_FindObjects");
    COUNTED(real->C_FindObjects(session, objects, max, count));
}

static CK_RV find_objects_final(CK_SESSION_HANDLE session)
{
    hang_if("C_FindObjectsFinal");
    COUNTED(real->C_FindObjectsFinal(session));
}

static CK_RV create_object(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attributes, CK_ULONG count,
                           CK_OBJECT_HANDLE *object)
{
    hang_if("C_CreateObject");
    if ((fault.refuse_data || getenv("KW_FAULT_REFUSE_DATA")) && is_data(attributes, count))
        return CKR_ATTRIBUTE_VALUE_INVALID;
    COUNTED(real->C_CreateObject(session, attributes, count, object));
}

static CK_RV destroy_object(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    hang_if("C_DestroyObject");
    COUNTED(real->C_DestroyObject(session, object));
}

static CK_RV set_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                 CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    hang_if("C_SetAttributeValue");
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_ATTRIBUTE attribute = {CKA_CLASS, &class, sizeof(class)};
    if (fault.no_change_of && real->C_GetAttributeValue(session, object, &attribute, 1) == CKR_OK &&
        class == *fault.no_change_of)
        return CKR_ATTRIBUTE_READ_ONLY;
    if (fault.ignore_changes)
        return CKR_OK;
    COUNTED(real->C_SetAttributeValue(session, object, attributes, count));
}

static CK_RV generate_key_pair(CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_ATTRIBUTE *public,
                               CK_ULONG public_count, CK_ATTRIBUTE *private, CK_ULONG private_count,
                               CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    hang_if("C_GenerateKeyPair");
    CK_ULONG kept = 0;
    if (fault.generate_answer)
        return fault.generate_answer;
    for (CK_ULONG i = 0; fault.drop_dates && i < public_count; i++)
        if (public[i].type != CKA_END_DATE)
    public[kept++] = public[i];
    COUNTED(real->C_GenerateKeyPair(session, how, public, fault.drop_dates ? kept : public_count,
                                    private, private_count, public_key, private_key));
}

static void note_operation(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE mechanism)
{
    pthread_mutex_lock(&lock);
    size_t i = 0;
    while (i < next_operation && operations[i].session != session)
        i++;
    if (i == sizeof(operations) / sizeof(operations[0]))
        i = 0;
    if (i == next_operation)
        next_operation++;
    operations[i] = (struct operation){session, mechanism};
    pthread_mutex_unlock(&lock);
}

static bool is_raw(CK_SESSION_HANDLE session)
{
    pthread_mutex_lock(&lock);
    bool raw = false;
    for (size_t i = 0; i < next_operation; i++)
        if (operations[i].session == session)
            raw = operations[i].mechanism == CKM_RSA_X_509;
    pthread_mutex_unlock(&lock);
    return raw;
}

static CK_RV decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *wanted, CK_OBJECT_HANDLE key)
{
    hang_if("C_DecryptInit");
    UNLESS_DOWN();
    CK_MECHANISM_TYPE mechanism = wanted->mechanism;
    note_operation(session, mechanism);
    pthread_mutex_lock(&lock);
    fault.raw_inits += mechanism == CKM_RSA_X_509;
    fault.oaep_inits += mechanism == CKM_RSA_PKCS_OAEP;
    pthread_mutex_unlock(&lock);
    if (mechanism == CKM_RSA_X_509 && fault.raw_init_answer)
        return fault.raw_init_answer;
    if (mechanism == CKM_RSA_PKCS_OAEP && fault.oaep_init_answer)
        return fault.oaep_init_answer;
    return real->C_DecryptInit(session, wanted, key);
}

static CK_RV injected_decrypt_answer(void)
{
    pthread_mutex_lock(&lock);
    fault.decrypts++;
    CK_RV rv = fault.decrypt_answer;
    if (rv && fault.decrypt_answers && --fault.decrypt_answers == 0)
        fault.decrypt_answer = CKR_OK;
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV decrypt(CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_len,
                     unsigned char *out, CK_ULONG *out_len)
{
    hang_if("C_Decrypt");
    UNLESS_DOWN();
    CK_RV rv = injected_decrypt_answer();
    if (rv)
        return rv;
    struct timespec before, after;
    (void)clock_gettime(CLOCK_MONOTONIC, &before);
    rv = real->C_Decrypt(session, in, in_len, out, out_len);
    (void)clock_gettime(CLOCK_MONOTONIC, &after);
    pthread_mutex_lock(&lock);
    fault.decrypt_ns += (unsigned long)((after.tv_sec - before.tv_sec) * 1000000000 +
                                        (after.tv_nsec - before.tv_nsec));
    pthread_mutex_unlock(&lock);
    if (fault.decrypt_late_answer)
        return fault.decrypt_late_answer;
    if (rv != CKR_OK || !fault.strip_zeros || !is_raw(session))
        return rv;
    CK_ULONG zeros = 0;
    while (zeros < *out_len && out[zeros] == 0)
        zeros++;
    *out_len -= zeros;
    memmove(out, out + zeros, *out_len);
    memset(out + *out_len, 0xAA, zeros); /* what real modules leave behind */
    return CKR_OK;
}

/* ---- only to block in them ---- */

static CK_RV finalize(void *reserved)
{
    note_company();
    fault.finalizes++;
    hang_if("C_Finalize");
    CK_RV rv = real->C_Finalize(reserved);
    if (rv == CKR_OK)
        fault.sessions = 0;
    note_company();
    return rv;
}

static CK_RV get_slot_info(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
    hang_if("C_GetSlotInfo");
    UNLESS_DOWN();
    return real->C_GetSlotInfo(slot, info);
}

static CK_RV logout(CK_SESSION_HANDLE session)
{
    hang_if("C_Logout");
    return real->C_Logout(session);
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM *wanted, CK_OBJECT_HANDLE key)
{
    hang_if("C_SignInit");
    if (fault.sign_nothing || (fault.only_sign_info && wanted->mechanism != CKM_RSA_PKCS) ||
        (fault.only_sign_raw && wanted->mechanism != CKM_RSA_X_509))
        return CKR_MECHANISM_INVALID;
    COUNTED(real->C_SignInit(session, wanted, key));
}

static CK_RV sign(CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_len, unsigned char *out,
                  CK_ULONG *out_len)
{
    hang_if("C_Sign");
    if (!fault.wrong_signatures)
        COUNTED(real->C_Sign(session, in, in_len, out, out_len));
    CK_RV rv = real->C_Sign(session, in, in_len, out, out_len);
    out[0] ^= 1;
    return rv;
}

static CK_RV generate_key(CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_ATTRIBUTE *attributes,
                          CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    hang_if("C_GenerateKey");
    return real->C_GenerateKey(session, how, attributes, count, key);
}

/* With SHA-1, as everywhere here. */
static void look_at_parameters(const CK_MECHANISM *how)
{
    struct {
        CK_ULONG bits;
        CK_RSA_PKCS_OAEP_PARAMS *oaep;
    } whole;
    if (how->mechanism != CKM_RSA_AES_KEY_WRAP)
        return;
    memcpy(&whole, how->pParameter, sizeof(whole));
    fault.parameters_changed |= whole.bits != 256 || whole.oaep->hashAlg != CKM_SHA_1;
}

static CK_RV wrap_key(CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_OBJECT_HANDLE with,
                      CK_OBJECT_HANDLE key, unsigned char *out, CK_ULONG *out_len)
{
    hang_if("C_WrapKey");
    look_at_parameters(how);
    return real->C_WrapKey(session, how, with, key, out, out_len);
}

static CK_RV unwrap_key(CK_SESSION_HANDLE session, CK_MECHANISM *how, CK_OBJECT_HANDLE with,
                        unsigned char *in, CK_ULONG in_len, CK_ATTRIBUTE *attributes,
                        CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    hang_if("C_UnwrapKey");
    return real->C_UnwrapKey(session, how, with, in, in_len, attributes, count, key);
}

static CK_RV load_real(void)
{
    const char *path = getenv("KW_FAULT_REAL_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    if (!symbol)
        return CKR_GENERAL_ERROR;
    CK_RV (*get)(CK_FUNCTION_LIST **);
    memcpy(&get, &symbol, sizeof(get));
    return get(&real);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    CK_RV rv = load_real();
    if (rv == CKR_OK)
        rv = kw_fault_script_load();
    if (rv != CKR_OK)
        return rv;
    list = *real;
    list.C_Initialize = initialize;
    list.C_Finalize = finalize;
    list.C_GetSlotInfo = get_slot_info;
    list.C_Logout = logout;
    list.C_SignInit = sign_init;
    list.C_Sign = sign;
    list.C_GenerateKey = generate_key;
    list.C_WrapKey = wrap_key;
    list.C_UnwrapKey = unwrap_key;
    list.C_GetInfo = get_info;
    list.C_GetSlotList = get_slot_list;
    list.C_GetTokenInfo = get_token_info;
    list.C_InitToken = init_token;
    list.C_InitPIN = init_pin;
    list.C_OpenSession = open_session;
    list.C_CloseSession = close_session;
    list.C_GetSessionInfo = get_session_info;
    list.C_Login = login;
    list.C_FindObjectsInit = find_objects_init;
    list.C_FindObjects = find_objects;
    list.C_FindObjectsFinal = find_objects_final;
    list.C_CreateObject = create_object;
    list.C_DestroyObject = destroy_object;
    list.C_SetAttributeValue = set_attribute_value;
    list.C_GenerateKeyPair = generate_key_pair;
    list.C_GetAttributeValue = get_attribute_value;
    list.C_DecryptInit = decrypt_init;
    list.C_Decrypt = decrypt;
    list.C_SignInit = sign_init;
    list.C_Sign = sign;
    kw_fault_script_front(&list, &scripted);
    *ret_list = &scripted;
    return CKR_OK;
}
