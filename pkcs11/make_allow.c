/* What a key may do, changed on the token itself. */
#include <stdlib.h>

#include "internal.h"

struct allowing {
    const struct kw_token_key *key;
    struct kw_use_flags uses;
};

static enum kw_status read_uses(struct kw_token *token, struct kw_session *session,
                                CK_OBJECT_HANDLE handle, struct kw_use_flags *ret_uses,
                                struct kw_error *err)
{
    struct kw_token_key now = {.id_len = 0};
    CK_RV rv = kw_key_read(token, session, handle, &now);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read a key", err);
    *ret_uses =
        (struct kw_use_flags){.decrypt = now.decrypt, .unwrap = now.unwrap, .sign = now.sign};
    return KW_OK;
}

static enum kw_status set_uses(struct kw_token *token, struct kw_session *session,
                               CK_OBJECT_HANDLE handle, const struct kw_template *template,
                               struct kw_error *err)
{
    if (template->count == 0)
        return KW_OK;
    CK_RV rv = token->functions->C_SetAttributeValue(
        session->handle, handle, (CK_ATTRIBUTE *)template->items, template->count);
    return rv == CKR_OK ? KW_OK : kw_make_fail(token, session, rv, "change what a key may do", err);
}

/* Signing by itself, after the others: a token that does not change that may change these. */
static enum kw_status change(struct kw_token *token, struct kw_session *session,
                             CK_OBJECT_HANDLE handle, const struct kw_use_flags *now,
                             const struct kw_use_flags *wanted, struct kw_error *err)
{
    struct kw_template open = {.count = 0}, sign = {.count = 0};
    if (now->decrypt != wanted->decrypt || now->unwrap != wanted->unwrap) {
        kw_template_add_bool(&open, CKA_DECRYPT, wanted->decrypt);
        kw_template_add_bool(&open, CKA_UNWRAP, wanted->unwrap);
    }
    if (now->sign != wanted->sign)
        kw_template_add_bool(&sign, CKA_SIGN, wanted->sign);
    enum kw_status status = set_uses(token, session, handle, &open, err);
    return status ? status : set_uses(token, session, handle, &sign, err);
}

static bool are_same(const struct kw_use_flags *a, const struct kw_use_flags *b)
{
    return a->decrypt == b->decrypt && a->unwrap == b->unwrap && a->sign == b->sign;
}

static enum kw_status allow_once(struct kw_token *token, struct kw_session *session, void *context,
                                 struct kw_error *err)
{
    const struct allowing *job = context;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    struct kw_use_flags now = {.decrypt = false};
    enum kw_status status = kw_key_handle(token, session, job->key, true, &handle, err);
    if (!status)
        status = read_uses(token, session, handle, &now, err);
    if (status || are_same(&now, &job->uses))
        return status;
    status = change(token, session, handle, &now, &job->uses, err);
    if (!status)
        status = read_uses(token, session, handle, &now, err);
    if (!status && !are_same(&now, &job->uses))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the token \"%s\" did not take what a key may do; change it with the "
                       "vendor's tool",
                       token->info.label);
    return status;
}

enum kw_status kw_token_allow_key(struct kw_token *token, const struct kw_token_key *key,
                                  const struct kw_use_flags *uses, struct kw_error *err)
{
    struct allowing job = {.key = key, .uses = *uses};
    return kw_token_with_rw_session(token, allow_once, &job, err);
}

/* ---- what it was made for ---- */

static enum kw_status read_purpose(struct kw_token *token, struct kw_session *session,
                                   void *context, struct kw_error *err)
{
    struct allowing *job = context;
    CK_OBJECT_HANDLE *handles = NULL;
    size_t count = 0;
    CK_BBOOL encrypt = CK_FALSE, wrap = CK_FALSE, verify = CK_FALSE;
    CK_ATTRIBUTE attributes[] = {
        {CKA_ENCRYPT, &encrypt, 1}, {CKA_WRAP, &wrap, 1}, {CKA_VERIFY, &verify, 1}};
    enum kw_status status =
        kw_halves_find(token, session, CKO_PUBLIC_KEY, job->key, &handles, &count, err);
    if (!status && count > 0) {
        CK_RV rv = kw_attributes_read(token->functions, session, handles[0], attributes,
                                      KW_COUNT(attributes));
        if (rv != CKR_OK)
            status = kw_session_fail(token, session, rv, "read a public key", err);
    }
    free(handles);
    job->uses = (struct kw_use_flags){.decrypt = kw_attribute_known(&attributes[0]) && encrypt,
                                      .unwrap = kw_attribute_known(&attributes[1]) && wrap,
                                      .sign = kw_attribute_known(&attributes[2]) && verify};
    return status;
}

enum kw_status kw_token_key_purpose(struct kw_token *token, const struct kw_token_key *key,
                                    struct kw_use_flags *ret_uses, struct kw_error *err)
{
    struct allowing job = {.key = key};
    enum kw_status status = kw_token_with_session(token, read_purpose, &job, err);
    if (status)
        return status;
    *ret_uses = job.uses;
    return KW_OK;
}
