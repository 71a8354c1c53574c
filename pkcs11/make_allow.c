/* What a key may do, changed on the token itself. */
#include "internal.h"

struct allowing {
    const struct kw_token_key *key;
    bool decrypt, unwrap;
};

static enum kw_status allow_once(struct kw_token *token, struct kw_session *session, void *context,
                                 struct kw_error *err)
{
    const struct allowing *job = context;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    enum kw_status status = kw_key_handle(token, session, job->key, true, &handle, err);
    if (status)
        return status;
    struct kw_template template = {.count = 0};
    kw_template_add_bool(&template, CKA_DECRYPT, job->decrypt);
    kw_template_add_bool(&template, CKA_UNWRAP, job->unwrap);
    CK_RV rv = token->functions->C_SetAttributeValue(session->handle, handle, template.items,
                                                     template.count);
    if (rv != CKR_OK)
        return kw_make_fail(token, session, rv, "change what a key may do", err);
    struct kw_token_key now = {.id_len = 0};
    rv = kw_key_read(token, session, handle, &now);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read a key", err);
    if (now.decrypt != job->decrypt || now.unwrap != job->unwrap)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the token \"%s\" did not take what a key may do; change it with the "
                       "vendor's tool",
                       token->info.label);
    return KW_OK;
}

enum kw_status kw_token_allow_key(struct kw_token *token, const struct kw_token_key *key,
                                  bool decrypt, bool unwrap, struct kw_error *err)
{
    struct allowing job = {.key = key, .decrypt = decrypt, .unwrap = unwrap};
    return kw_token_with_rw_session(token, allow_once, &job, err);
}
