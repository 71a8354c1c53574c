/* What a key may do, changed on the token itself. */
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
