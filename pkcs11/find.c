/* Where a key is now. Its modulus is compared whenever it is found: ids and labels can be given to
 * another key, and so can handles. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Private keys of one id. */
#define MAX_SAME_ID 4096

static bool is_modulus_of(const struct kw_token_key *key, const CK_ATTRIBUTE *attribute)
{
    if (!kw_attribute_known(attribute))
        return false;
    const uint8_t *modulus = attribute->pValue;
    size_t len = attribute->ulValueLen;
    kw_number_trim(&modulus, &len);
    return len == key->public.modulus_len && memcmp(modulus, key->public.modulus, len) == 0;
}

CK_RV kw_key_check_modulus(struct kw_token *token, struct kw_session *session,
                           const struct kw_token_key *key, CK_OBJECT_HANDLE handle, bool *ret_equal)
{
    uint8_t modulus[KW_RSA_MAX_BYTES + 1];
    CK_ATTRIBUTE attribute = {CKA_MODULUS, modulus, sizeof(modulus)};
    CK_RV rv = kw_attributes_read(token->functions, session, handle, &attribute, 1);
    if (rv == CKR_OK)
        *ret_equal = is_modulus_of(key, &attribute);
    return rv;
}

static bool is_entry_of(const struct kw_found_key *entry, const struct kw_token_key *key)
{
    return entry->used && entry->id_len == key->id_len &&
           memcmp(entry->id, key->id, key->id_len) == 0 &&
           entry->modulus_len == key->public.modulus_len &&
           memcmp(entry->modulus, key->public.modulus, entry->modulus_len) == 0;
}

static bool recall(struct kw_token *token, const struct kw_session *session,
                   const struct kw_token_key *key, CK_OBJECT_HANDLE *ret_handle)
{
    bool known = false;
    (void)pthread_mutex_lock(&token->lock);
    for (size_t i = 0; i < KW_FOUND_KEYS && !known && token->epoch == session->epoch; i++)
        if (is_entry_of(&token->found[i], key)) {
            *ret_handle = token->found[i].handle;
            known = true;
        }
    (void)pthread_mutex_unlock(&token->lock);
    return known;
}

void kw_key_remember(struct kw_token *token, const struct kw_session *session,
                     const struct kw_token_key *key, CK_OBJECT_HANDLE handle)
{
    (void)pthread_mutex_lock(&token->lock);
    size_t place = 0;
    while (place < KW_FOUND_KEYS && !is_entry_of(&token->found[place], key))
        place++;
    if (place == KW_FOUND_KEYS) {
        place = token->next_found;
        token->next_found = (place + 1) % KW_FOUND_KEYS;
    }
    if (token->epoch == session->epoch) {
        struct kw_found_key *entry = &token->found[place];
        entry->used = true;
        entry->handle = handle;
        entry->id_len = key->id_len;
        memcpy(entry->id, key->id, key->id_len);
        entry->modulus_len = key->public.modulus_len;
        memcpy(entry->modulus, key->public.modulus, entry->modulus_len);
    }
    (void)pthread_mutex_unlock(&token->lock);
}

void kw_key_forget(struct kw_token *token, const struct kw_token_key *key)
{
    (void)pthread_mutex_lock(&token->lock);
    for (size_t i = 0; i < KW_FOUND_KEYS; i++) {
        const struct kw_found_key *entry = &token->found[i];
        if (entry->id_len == key->id_len && memcmp(entry->id, key->id, key->id_len) == 0)
            token->found[i].used = false;
    }
    (void)pthread_mutex_unlock(&token->lock);
}

static enum kw_status not_found(const struct kw_token *token, struct kw_session *session,
                                const struct kw_token_key *key, size_t same_id,
                                struct kw_error *err)
{
    char label[96];
    (void)kw_printable(key->label, strlen(key->label), label, sizeof(label));
    /* A lost login hides private keys, so one more look after a reconnection is due. */
    if (session->failure == CKR_OK)
        session->failure = CKR_OBJECT_HANDLE_INVALID;
    if (same_id)
        return kw_fail(err, KW_KEY_NOT_FOUND,
                       "the key \"%s\" on the token \"%s\" is not the one that it was: its id now "
                       "belongs to another modulus; list the keys again",
                       label, token->info.label);
    return kw_fail(err, KW_KEY_NOT_FOUND,
                   "the key \"%s\" is no longer on the token \"%s\"; list the keys again", label,
                   token->info.label);
}

static enum kw_status search(struct kw_token *token, struct kw_session *session,
                             const struct kw_token_key *key, CK_OBJECT_HANDLE *ret_handle,
                             struct kw_error *err)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    /* Labels are not searched for: tokens pad them in ways of their own. */
    CK_ATTRIBUTE wanted[] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CKA_KEY_TYPE, &type, sizeof(type)},
        {CKA_ID, (void *)key->id, key->id_len},
    };
    CK_OBJECT_HANDLE *handles = NULL;
    size_t count = 0;
    enum kw_status status =
        kw_objects_find(token, session, wanted, key->id_len ? 3 : 2,
                        key->id_len ? MAX_SAME_ID : KW_TOKEN_KEYS_MAX, &handles, &count, err);
    if (status)
        return status;
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        CK_RV rv = kw_key_check_modulus(token, session, key, handles[i], &found);
        if (rv != CKR_OK) {
            status = kw_session_fail(token, session, rv, "read a key's modulus", err);
            break;
        }
        if (found)
            *ret_handle = handles[i];
    }
    free(handles);
    if (!status && !found)
        status = not_found(token, session, key, key->id_len ? count : 0, err);
    return status;
}

enum kw_status kw_key_handle(struct kw_token *token, struct kw_session *session,
                             const struct kw_token_key *key, bool check,
                             CK_OBJECT_HANDLE *ret_handle, struct kw_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    if (recall(token, session, key, &handle)) {
        bool equal = !check;
        CK_RV rv = check ? kw_key_check_modulus(token, session, key, handle, &equal) : CKR_OK;
        if (rv != CKR_OK)
            return kw_session_fail(token, session, rv, "read a key's modulus", err);
        if (equal) {
            *ret_handle = handle;
            return KW_OK;
        }
    }
    enum kw_status status = search(token, session, key, &handle, err);
    if (status)
        return status;
    kw_key_remember(token, session, key, handle);
    *ret_handle = handle;
    return KW_OK;
}
