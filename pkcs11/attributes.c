/* Reading attributes and searching, with the tolerance that real tokens need. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define FIND_AT_A_TIME 512

bool kw_attribute_known(const CK_ATTRIBUTE *attribute)
{
    return attribute->ulValueLen != CK_UNAVAILABLE_INFORMATION;
}

/* A length that is not within the buffer is as good as none. */
static void check_length(CK_ATTRIBUTE *attribute, CK_ULONG capacity)
{
    if (attribute->ulValueLen > capacity)
        attribute->ulValueLen = CK_UNAVAILABLE_INFORMATION;
}

static bool is_lost(CK_RV rv)
{
    return kw_rv_recoverable(rv) || kw_rv_meaning(rv) == KW_RV_MEMORY;
}

CK_RV kw_attributes_read(const CK_FUNCTION_LIST *functions, struct kw_session *session,
                         CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, size_t count)
{
    CK_ULONG capacities[KW_ATTRIBUTES_MAX];
    if (count > KW_ATTRIBUTES_MAX)
        return CKR_ARGUMENTS_BAD;
    for (size_t i = 0; i < count; i++)
        capacities[i] = attributes[i].ulValueLen;
    CK_RV all = functions->C_GetAttributeValue(session->handle, object, attributes, count);
    if (is_lost(all)) {
        session->failure = all;
        return all;
    }
    for (size_t i = 0; i < count; i++) {
        CK_RV rv = all;
        /* Some tokens give up at the first attribute that they can't tell. */
        if (all != CKR_OK) {
            attributes[i].ulValueLen = capacities[i];
            rv = functions->C_GetAttributeValue(session->handle, object, &attributes[i], 1);
        }
        /* Not what CKR_GENERAL_ERROR says: SoftHSM2 means an attribute that a key lacks. */
        if (is_lost(rv)) {
            session->failure = rv;
            return rv;
        }
        if (rv != CKR_OK)
            attributes[i].ulValueLen = CK_UNAVAILABLE_INFORMATION;
        check_length(&attributes[i], capacities[i]);
    }
    return CKR_OK;
}

void kw_number_trim(const uint8_t **number, size_t *len)
{
    while (*len > 0 && **number == 0) {
        (*number)++;
        (*len)--;
    }
}

struct handles {
    CK_OBJECT_HANDLE *items;
    size_t count;
    size_t capacity;
};

static enum kw_status make_room(struct handles *handles, struct kw_error *err)
{
    if (handles->capacity - handles->count >= FIND_AT_A_TIME)
        return KW_OK;
    size_t capacity = handles->capacity * 2 + FIND_AT_A_TIME;
    CK_OBJECT_HANDLE *items = reallocarray(handles->items, capacity, sizeof(*items));
    if (!items)
        return kw_fail_memory(err);
    handles->items = items;
    handles->capacity = capacity;
    return KW_OK;
}

static enum kw_status collect(struct kw_token *token, struct kw_session *session, size_t max,
                              struct handles *handles, struct kw_error *err)
{
    for (;;) {
        enum kw_status status = make_room(handles, err);
        if (status)
            return status;
        CK_ULONG found = 0;
        CK_RV rv = token->functions->C_FindObjects(session->handle, handles->items + handles->count,
                                                   FIND_AT_A_TIME, &found);
        if (rv == CKR_OK && found > FIND_AT_A_TIME)
            rv = KW_CKR_NONSENSE;
        if (rv != CKR_OK)
            return kw_session_fail(token, session, rv, "list its keys", err);
        if (found == 0)
            return KW_OK;
        handles->count += found;
        if (handles->count > max)
            return kw_fail(err, KW_TOKEN, "the token \"%s\" has more than %zu keys of a kind",
                           token->info.label, max);
    }
}

enum kw_status kw_objects_find(struct kw_token *token, struct kw_session *session,
                               CK_ATTRIBUTE *attributes, size_t count, size_t max,
                               CK_OBJECT_HANDLE **ret_handles, size_t *ret_count,
                               struct kw_error *err)
{
    const CK_FUNCTION_LIST *functions = token->functions;
    CK_RV rv = functions->C_FindObjectsInit(session->handle, attributes, count);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "search for keys", err);
    struct handles handles = {.items = NULL};
    enum kw_status status = collect(token, session, max, &handles, err);
    rv = functions->C_FindObjectsFinal(session->handle);
    if (rv != CKR_OK && session->failure == CKR_OK)
        session->failure = rv; /* the session is closed, the search itself is complete */
    if (status) {
        free(handles.items);
        return status;
    }
    *ret_handles = handles.items;
    *ret_count = handles.count;
    return KW_OK;
}
