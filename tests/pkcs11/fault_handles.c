#include "fault_handles.h"

#include <pthread.h>
#include <stdbool.h>

#define KEYS_MAX 64
#define STEP     100000UL

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CK_OBJECT_HANDLE keys[KEYS_MAX]; /* the token's */
static CK_ULONG key_count;
static CK_ULONG swaps;
static CK_ULONG shift;

/* Under the lock. Steps on, among the private keys. */
static CK_OBJECT_HANDLE rotate(CK_OBJECT_HANDLE handle, CK_ULONG steps)
{
    for (CK_ULONG i = 0; i < key_count; i++)
        if (keys[i] == handle)
            return keys[(i + steps) % key_count];
    return handle;
}

CK_OBJECT_HANDLE kw_handle_in(CK_OBJECT_HANDLE handle)
{
    (void)pthread_mutex_lock(&lock);
    CK_OBJECT_HANDLE real = rotate(handle - shift, swaps);
    (void)pthread_mutex_unlock(&lock);
    return real;
}

CK_OBJECT_HANDLE kw_handle_out(CK_OBJECT_HANDLE handle)
{
    (void)pthread_mutex_lock(&lock);
    CK_ULONG back = key_count ? key_count - swaps % key_count : 0;
    CK_OBJECT_HANDLE told = rotate(handle, back) + shift;
    (void)pthread_mutex_unlock(&lock);
    return told;
}

void kw_handles_renumber(void)
{
    (void)pthread_mutex_lock(&lock);
    shift += STEP;
    (void)pthread_mutex_unlock(&lock);
}

/* In a session of its own: that of the call may be in the middle of a search. */
static void read_keys(const CK_FUNCTION_LIST *functions, CK_SLOT_ID slot)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_KEY_TYPE, &type, sizeof(type)}};
    CK_SESSION_HANDLE session;
    if (functions->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session) != CKR_OK)
        return;
    (void)pthread_mutex_lock(&lock);
    if (functions->C_FindObjectsInit(session, wanted, 2) == CKR_OK) {
        if (functions->C_FindObjects(session, keys, KEYS_MAX, &key_count) != CKR_OK)
            key_count = 0;
        (void)functions->C_FindObjectsFinal(session);
    }
    (void)pthread_mutex_unlock(&lock);
    (void)functions->C_CloseSession(session);
}

void kw_handles_swap(const CK_FUNCTION_LIST *functions, CK_SLOT_ID slot)
{
    read_keys(functions, slot);
    (void)pthread_mutex_lock(&lock);
    swaps++;
    (void)pthread_mutex_unlock(&lock);
}

CK_OBJECT_HANDLE kw_handle_of_other(const CK_FUNCTION_LIST *functions, CK_SLOT_ID slot,
                                    CK_OBJECT_HANDLE handle)
{
    if (key_count == 0)
        read_keys(functions, slot);
    (void)pthread_mutex_lock(&lock);
    CK_OBJECT_HANDLE other = rotate(handle, 1);
    (void)pthread_mutex_unlock(&lock);
    return kw_handle_out(other);
}
