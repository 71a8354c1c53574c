/* What a key may do, changed on the token itself. */
#include <stdlib.h>

#include "internal.h"

struct allowing {
    const struct kw_token_key *key;
    bool decrypt, unwrap;
};

/* Whether the key may do just that already. */
static enum kw_status is_allowed(struct kw_token *token, struct kw_session *session,
                                 CK_OBJECT_HANDLE handle, const struct allowing *job,
                                 bool *ret_allowed, struct kw_error *err)
{
    struct kw_token_key now = {.id_len = 0};
    CK_RV rv = kw_key_read(token, session, handle, &now);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read a key", err);
    *ret_allowed = now.decrypt == job->decrypt && now.unwrap == job->unwrap;
    return KW_OK;
}

static enum kw_status allow_once(struct kw_token *token, struct kw_session *session, void *context,
                                 struct kw_error *err)
{
    const struct allowing *job = context;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kw_status status = kw_key_handle(token, session, job->key, true, &handle, err);
    bool allowed = false;
    if (!status)
        status = is_allowed(token, session, handle, job, &allowed, err);
    if (status || allowed)
        return status;
    struct kw_template template = {.count = 0};
    kw_template_add_bool(&template, CKA_DECRYPT, job->decrypt);
    kw_template_add_bool(&template, CKA_UNWRAP, job->unwrap);
    CK_RV rv = token->functions->C_SetAttributeValue(session->handle, handle, template.items,
                                                     template.count);
    if (rv != CKR_OK)
        return kw_make_fail(token, session, rv, "change what a key may do", err);
    status = is_allowed(token, session, handle, job, &allowed, err);
    if (!status && !allowed)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the token \"%s\" did not take what a key may do; change it with the "
                       "vendor's tool",
                       token->info.label);
    return status;
}

enum kw_status kw_token_allow_key(struct kw_token *token, const struct kw_token_key *key,
                                  bool decrypt, bool unwrap, struct kw_error *err)
{
    struct allowing job = {.key = key, .decrypt = decrypt, .unwrap = unwrap};
    return kw_token_with_rw_session(token, allow_once, &job, err);
}

/* ---- what it was made for ---- */

static enum kw_status read_purpose(struct kw_token *token, struct kw_session *session,
                                   void *context, struct kw_error *err)
{
    struct allowing *job = context;
    CK_OBJECT_HANDLE *handles = NULL;
    size_t count = 0;
    CK_BBOOL encrypt = CK_FALSE, wrap = CK_FALSE;
    CK_ATTRIBUTE attributes[] = {{CKA_ENCRYPT, &encrypt, 1}, {CKA_WRAP, &wrap, 1}};
    enum kw_status status =
        kw_halves_find(token, session, CKO_PUBLIC_KEY, job->key, &handles, &count, err);
    if (!status && count > 0) {
        CK_RV rv = kw_attributes_read(token->functions, session, handles[0], attributes, 2);
        if (rv != CKR_OK)
            status = kw_session_fail(token, session, rv, "read a public key", err);
    }
    free(handles);
    job->decrypt = kw_attribute_known(&attributes[0]) && encrypt;
    job->unwrap = kw_attribute_known(&attributes[1]) && wrap;
    return status;
}

enum kw_status kw_token_key_purpose(struct kw_token *token, const struct kw_token_key *key,
                                    bool *ret_decrypt, bool *ret_unwrap, struct kw_error *err)
{
    struct allowing job = {.key = key};
    enum kw_status status = kw_token_with_session(token, read_purpose, &job, err);
    if (status)
        return status;
    *ret_decrypt = job.decrypt;
    *ret_unwrap = job.unwrap;
    return KW_OK;
}
