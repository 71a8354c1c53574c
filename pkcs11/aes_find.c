/* AES keys of a token, and where one is now. */
#include <stdlib.h>
#include <string.h>

#include "transfer.h"

#define AES_KEYS_MAX 4096

static enum kw_status read_aes(struct kw_token *token, struct kw_session *session,
                               CK_OBJECT_HANDLE handle, struct kw_token_key *key, bool *ret_is_256,
                               struct kw_error *err)
{
    CK_ULONG len = 0;
    CK_ATTRIBUTE attribute = {CKA_VALUE_LEN, &len, sizeof(len)};
    CK_RV rv = kw_key_read(token, session, handle, key);
    if (rv == CKR_OK)
        rv = kw_attributes_read(token->functions, session, handle, &attribute, 1);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read an AES key", err);
    *ret_is_256 = kw_attribute_known(&attribute) && len == KW_AES256_KEY_SIZE;
    return KW_OK;
}

struct aes_list {
    struct kw_token_key *keys;
    CK_OBJECT_HANDLE *handles;
    size_t count;
};

static void aes_list_cleanup(struct aes_list *list)
{
    free(list->keys);
    free(list->handles);
    *list = (struct aes_list){.keys = NULL};
}

static enum kw_status read_all_aes(struct kw_token *token, struct kw_session *session,
                                   CK_OBJECT_HANDLE *handles, size_t found, struct aes_list *list,
                                   struct kw_error *err)
{
    list->keys = calloc(found + 1, sizeof(*list->keys));
    if (!list->keys)
        return kw_fail_memory(err);
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < found && !status; i++) {
        bool is_256 = false;
        struct kw_token_key *key = &list->keys[list->count];
        *key = (struct kw_token_key){.id_len = 0};
        status = read_aes(token, session, handles[i], key, &is_256, err);
        if (!status && is_256)
            handles[list->count++] = handles[i];
    }
    return status;
}

static enum kw_status list_aes(struct kw_token *token, struct kw_session *session, void *context,
                               struct kw_error *err)
{
    static const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    static const CK_KEY_TYPE type = CKK_AES;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, (void *)&class, sizeof(class)},
                             {CKA_KEY_TYPE, (void *)&type, sizeof(type)}};
    struct aes_list list = {.keys = NULL};
    size_t found = 0;
    enum kw_status status =
        kw_objects_find(token, session, wanted, 2, AES_KEYS_MAX, &list.handles, &found, err);
    if (!status)
        status = read_all_aes(token, session, list.handles, found, &list, err);
    if (!status)
        status = kw_session_check_login(token, session, err);
    if (status)
        aes_list_cleanup(&list);
    else
        *(struct aes_list *)context = list;
    return status;
}

enum kw_status kw_token_aes_keys(struct kw_token *token, struct kw_token_key **ret_keys,
                                 size_t *ret_count, struct kw_error *err)
{
    struct aes_list list = {.keys = NULL};
    enum kw_status status = kw_token_with_session(token, list_aes, &list, err);
    if (status)
        return status;
    *ret_keys = list.keys;
    *ret_count = list.count;
    free(list.handles);
    return KW_OK;
}

static bool same_names(const struct kw_token_key *a, const struct kw_token_key *b)
{
    return a->id_len == b->id_len && memcmp(a->id, b->id, a->id_len) == 0 &&
           strcmp(a->label, b->label) == 0;
}

static enum kw_status search(struct kw_token *token, struct kw_session *session,
                             const struct kw_token_key *aes, CK_OBJECT_HANDLE *ret_handle,
                             struct kw_error *err)
{
    struct aes_list list = {.keys = NULL};
    enum kw_status status = list_aes(token, session, &list, err);
    if (status)
        return status;
    size_t found = 0;
    for (size_t i = 0; i < list.count; i++)
        if (same_names(&list.keys[i], aes) && found++ == 0)
            *ret_handle = list.handles[i];
    aes_list_cleanup(&list);
    if (found == 1)
        return KW_OK;
    char label[96];
    (void)kw_printable(aes->label, strlen(aes->label), label, sizeof(label));
    return kw_fail(err, found ? KW_KEY_AMBIGUOUS : KW_KEY_NOT_FOUND,
                   "the token \"%s\" has %s AES-256 key \"%s\" with that id; name one by its id",
                   token->info.label, found ? "more than one" : "no longer the", label);
}

/* ---- where it was found before ---- */

static bool recall(struct kw_token *token, const struct kw_session *session,
                   const struct kw_token_key *aes, CK_OBJECT_HANDLE *ret_handle)
{
    bool known = false;
    (void)pthread_mutex_lock(&token->lock);
    for (size_t i = 0; i < KW_FOUND_AES && !known && token->epoch == session->epoch; i++) {
        const struct kw_found_aes *entry = &token->found_aes[i];
        known = entry->used && same_names(&entry->key, aes);
        if (known)
            *ret_handle = entry->handle;
    }
    (void)pthread_mutex_unlock(&token->lock);
    return known;
}

static void remember(struct kw_token *token, const struct kw_session *session,
                     const struct kw_token_key *aes, CK_OBJECT_HANDLE handle)
{
    (void)pthread_mutex_lock(&token->lock);
    size_t place = 0;
    while (place < KW_FOUND_AES &&
           !(token->found_aes[place].used && same_names(&token->found_aes[place].key, aes)))
        place++;
    if (place == KW_FOUND_AES)
        place = token->next_found_aes++ % KW_FOUND_AES;
    if (token->epoch == session->epoch)
        token->found_aes[place] =
            (struct kw_found_aes){.used = true, .handle = handle, .key = *aes};
    (void)pthread_mutex_unlock(&token->lock);
}

/* A handle may be another object's by now, and what is wrapped by mistake with another key is lost:
 * so its names are read each time. */
static enum kw_status check_names(struct kw_token *token, struct kw_session *session,
                                  const struct kw_token_key *aes, CK_OBJECT_HANDLE handle,
                                  bool *ret_same, struct kw_error *err)
{
    CK_OBJECT_CLASS class = 0;
    CK_KEY_TYPE type = 0;
    CK_ULONG len = 0;
    struct kw_token_key now = {.id_len = 0};
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)},       {CKA_KEY_TYPE, &type, sizeof(type)},
        {CKA_VALUE_LEN, &len, sizeof(len)},       {CKA_ID, now.id, sizeof(now.id)},
        {CKA_LABEL, now.label, KW_KEY_LABEL_MAX},
    };
    CK_RV rv =
        kw_attributes_read(token->functions, session, handle, attributes, KW_COUNT(attributes));
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read an AES key", err);
    bool known = true;
    for (size_t i = 0; i < KW_COUNT(attributes); i++)
        known = known && kw_attribute_known(&attributes[i]);
    now.id_len = known ? attributes[3].ulValueLen : 0;
    *ret_same = known && class == CKO_SECRET_KEY && type == CKK_AES && len == KW_AES256_KEY_SIZE &&
                same_names(&now, aes);
    return KW_OK;
}

enum kw_status kw_aes_find(struct kw_token *token, struct kw_session *session,
                           const struct kw_token_key *aes, CK_OBJECT_HANDLE *ret_handle,
                           struct kw_error *err)
{
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    bool same = false;
    enum kw_status status = KW_OK;
    if (recall(token, session, aes, &handle))
        status = check_names(token, session, aes, handle, &same, err);
    if (!status && !same && !(status = search(token, session, aes, &handle, err)))
        remember(token, session, aes, handle);
    if (!status)
        *ret_handle = handle;
    return status;
}
