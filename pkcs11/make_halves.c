/* Both halves of a key: finding, destroying and changing them. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Keys of one id. */
#define MAX_SAME_ID 4096

/* ---- finding ---- */

/* Keeps those that have the key's modulus. */
static enum kw_status keep_equal(struct kw_token *token, struct kw_session *session,
                                 const struct kw_token_key *key, CK_OBJECT_HANDLE *handles,
                                 size_t *count, struct kw_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        bool equal = false;
        CK_RV rv = kw_key_check_modulus(token, session, key, handles[i], &equal);
        if (rv != CKR_OK)
            return kw_session_fail(token, session, rv, "read a key's modulus", err);
        if (equal)
            handles[kept++] = handles[i];
    }
    *count = kept;
    return KW_OK;
}

enum kw_status kw_halves_find(struct kw_token *token, struct kw_session *session,
                              CK_OBJECT_CLASS class, const struct kw_token_key *key,
                              CK_OBJECT_HANDLE **ret_handles, size_t *ret_count,
                              struct kw_error *err)
{
    struct kw_template wanted = {.count = 0};
    kw_template_add_rsa_class(&wanted, class);
    if (key->id_len)
        kw_template_add(&wanted, CKA_ID, key->id, key->id_len);
    CK_OBJECT_HANDLE *handles = NULL;
    size_t count = 0;
    enum kw_status status =
        kw_objects_find(token, session, wanted.items, wanted.count,
                        key->id_len ? MAX_SAME_ID : KW_TOKEN_KEYS_MAX, &handles, &count, err);
    if (!status && key->public.modulus_len)
        status = keep_equal(token, session, key, handles, &count, err);
    if (status) {
        free(handles);
        return status;
    }
    *ret_handles = handles;
    *ret_count = count;
    return KW_OK;
}

/* ---- dates ---- */

/* What the handles tell of a date compared with what it is to be. */
static void compare_date(const CK_ATTRIBUTE *attribute, const char *wanted, bool *seen, bool *equal)
{
    if (!wanted || !kw_attribute_known(attribute))
        return;
    char told[11] = "";
    kw_date_set(told, attribute);
    *seen = true;
    if (strcmp(told, wanted) != 0)
        *equal = false;
}

CK_RV kw_halves_check_dates(struct kw_token *token, struct kw_session *session,
                            const CK_OBJECT_HANDLE handles[2], const char *not_before,
                            const char *expires, bool *ret_equal)
{
    bool equal = true, seen[2] = {false, false};
    for (size_t i = 0; i < 2; i++) {
        CK_CHAR start[8], end[8];
        CK_ATTRIBUTE attributes[] = {
            {CKA_START_DATE, start, sizeof(start)},
            {CKA_END_DATE, end, sizeof(end)},
        };
        if (handles[i] == CK_INVALID_HANDLE)
            continue;
        CK_RV rv = kw_attributes_read(token->functions, session, handles[i], attributes, 2);
        if (rv != CKR_OK)
            return rv;
        compare_date(&attributes[0], not_before, &seen[0], &equal);
        compare_date(&attributes[1], expires, &seen[1], &equal);
    }
    /* A date that nobody can read would never be kept; that there is none needs no proof. */
    if ((not_before && not_before[0] && !seen[0]) || (expires && expires[0] && !seen[1]))
        equal = false;
    *ret_equal = equal;
    return CKR_OK;
}

/* ---- destroying ---- */

static enum kw_status destroy_all(struct kw_token *token, struct kw_session *session,
                                  CK_OBJECT_CLASS class, const struct kw_token_key *key,
                                  size_t *count, struct kw_error *err)
{
    CK_OBJECT_HANDLE *handles = NULL;
    size_t found = 0;
    enum kw_status status = kw_halves_find(token, session, class, key, &handles, &found, err);
    for (size_t i = 0; i < found && !status; i++) {
        CK_RV rv = token->functions->C_DestroyObject(session->handle, handles[i]);
        if (rv != CKR_OK)
            status = kw_session_fail(token, session, rv, "destroy a key", err);
        else
            (*count)++;
    }
    free(handles);
    return status;
}

enum kw_status kw_halves_destroy(struct kw_token *token, struct kw_session *session,
                                 const struct kw_token_key *key, size_t *count,
                                 struct kw_error *err)
{
    kw_key_forget(token, key);
    enum kw_status status = kw_session_check_login(token, session, err);
    if (!status)
        status = destroy_all(token, session, CKO_PRIVATE_KEY, key, count, err);
    if (!status)
        status = destroy_all(token, session, CKO_PUBLIC_KEY, key, count, err);
    /* A login that was lost meanwhile hid private keys from the search. */
    return status ? status : kw_session_check_login(token, session, err);
}

struct destruction {
    const struct kw_token_key *key;
    size_t count; /* in all attempts */
};

static enum kw_status destroy_once(struct kw_token *token, struct kw_session *session,
                                   void *context, struct kw_error *err)
{
    struct destruction *destruction = context;
    return kw_halves_destroy(token, session, destruction->key, &destruction->count, err);
}

enum kw_status kw_token_destroy_key(struct kw_token *token, const struct kw_token_key *key,
                                    struct kw_error *err)
{
    char label[96];
    (void)kw_printable(key->label, strlen(key->label), label, sizeof(label));
    /* Without a modulus any key of that id would do. */
    if (key->public.modulus_len == 0)
        return kw_fail(
            err, KW_KEY_UNUSABLE,
            "the key \"%s\" on the token \"%s\" shows no RSA modulus, so it can't be told "
            "from others; destroy it with the vendor's tool",
            label, token->info.label);
    struct destruction destruction = {.key = key};
    enum kw_status status = kw_token_with_rw_session(token, destroy_once, &destruction, err);
    if (!status && destruction.count == 0)
        status = kw_fail(err, KW_KEY_NOT_FOUND,
                         "the key \"%s\" is no longer on the token \"%s\"; list the keys again",
                         label, token->info.label);
    return status;
}
