/* Changing a key's name and dates: on both halves, or on none. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The public half comes first: it tells its dates on every token, so it can be
 * set back should the private one fail. */
enum half { PUBLIC_HALF, PRIVATE_HALF, HALVES };

/* What a half said before; NULL where it is not to be set. */
struct old {
    char text[3][KW_KEY_LABEL_MAX + 1];
    struct kw_key_change values;
};

struct change {
    const struct kw_token_key *key;
    const struct kw_key_change *wanted;
    bool begun;
    bool refused[HALVES]; /* the token would not set it */
    struct old old[HALVES];
    struct kw_token_key changed;
};

/* ---- the halves ---- */

static enum kw_status find_public(struct kw_token *token, struct kw_session *session,
                                  const struct kw_token_key *key, CK_OBJECT_HANDLE *ret_handle,
                                  struct kw_error *err)
{
    CK_OBJECT_HANDLE *handles = NULL;
    size_t count = 0;
    enum kw_status status =
        kw_halves_find(token, session, CKO_PUBLIC_KEY, key, &handles, &count, err);
    if (!status)
        *ret_handle = count > 0 ? handles[0] : CK_INVALID_HANDLE;
    free(handles);
    return status;
}

static enum kw_status find_both(struct kw_token *token, struct kw_session *session,
                                const struct kw_token_key *key, CK_OBJECT_HANDLE handles[HALVES],
                                struct kw_error *err)
{
    enum kw_status status = kw_key_handle(token, session, key, true, &handles[PRIVATE_HALF], err);
    if (!status)
        status = find_public(token, session, key, &handles[PUBLIC_HALF], err);
    return status;
}

/* ---- what was there before ---- */

static CK_RV read_old(struct kw_token *token, struct kw_session *session, CK_OBJECT_HANDLE handle,
                      const struct kw_key_change *wanted, struct old *old)
{
    CK_CHAR start[8], end[8];
    CK_ATTRIBUTE attributes[] = {
        {CKA_LABEL, old->text[0], KW_KEY_LABEL_MAX},
        {CKA_START_DATE, start, sizeof(start)},
        {CKA_END_DATE, end, sizeof(end)},
    };
    CK_RV rv = kw_attributes_read(token->functions, session, handle, attributes, 3);
    if (rv != CKR_OK)
        return rv;
    if (wanted->label && kw_attribute_known(&attributes[0])) {
        old->text[0][attributes[0].ulValueLen] = '\0';
        old->values.label = old->text[0];
    }
    if (wanted->not_before && kw_attribute_known(&attributes[1])) {
        kw_date_set(old->text[1], &attributes[1]);
        old->values.not_before = old->text[1];
    }
    if (wanted->expires && kw_attribute_known(&attributes[2])) {
        kw_date_set(old->text[2], &attributes[2]);
        old->values.expires = old->text[2];
    }
    return CKR_OK;
}

static enum kw_status remember_old(struct kw_token *token, struct kw_session *session,
                                   const CK_OBJECT_HANDLE handles[HALVES], struct change *change,
                                   struct kw_error *err)
{
    memset(change->old, 0, sizeof(change->old));
    for (size_t i = 0; i < HALVES; i++) {
        if (handles[i] == CK_INVALID_HANDLE)
            continue;
        CK_RV rv = read_old(token, session, handles[i], change->wanted, &change->old[i]);
        if (rv != CKR_OK)
            return kw_session_fail(token, session, rv, "read a key", err);
    }
    /* Both halves bear the same dates, where only the public one tells them. */
    struct kw_key_change *private = &change->old[PRIVATE_HALF].values;
    const struct kw_key_change *public = &change->old[PUBLIC_HALF].values;
    if (!private->not_before)
    private->not_before = public->not_before;
    if (!private->expires)
    private->expires = public->expires;
    return KW_OK;
}

/* ---- setting ---- */

static CK_RV set_half(struct kw_token *token, struct kw_session *session, CK_OBJECT_HANDLE handle,
                      const struct kw_key_change *values)
{
    struct kw_template template = {.count = 0};
    if (values->label)
        kw_template_add(&template, CKA_LABEL, values->label, strlen(values->label));
    if (values->not_before)
        kw_template_add_date(&template, CKA_START_DATE, values->not_before);
    if (values->expires)
        kw_template_add_date(&template, CKA_END_DATE, values->expires);
    if (handle == CK_INVALID_HANDLE || template.count == 0)
        return CKR_OK;
    return token->functions->C_SetAttributeValue(session->handle, handle, template.items,
                                                 template.count);
}

/* The new state is what the token tells of it, not what it was told. */
static enum kw_status read_back(struct kw_token *token, struct kw_session *session,
                                const CK_OBJECT_HANDLE handles[HALVES], struct change *change,
                                struct kw_error *err)
{
    const struct kw_key_change *wanted = change->wanted;
    struct kw_token_key private = {.id_len = 0}, public = {.id_len = 0};
    bool dates_equal = false;
    CK_RV rv = kw_key_read(token, session, handles[PRIVATE_HALF], &private);
    if (rv == CKR_OK && handles[PUBLIC_HALF] != CK_INVALID_HANDLE)
        rv = kw_key_read(token, session, handles[PUBLIC_HALF], &public);
    if (rv == CKR_OK)
        rv = kw_halves_check_dates(token, session, handles, wanted->not_before, wanted->expires,
                                   &dates_equal);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read a key", err);
    bool public_equal = handles[PUBLIC_HALF] == CK_INVALID_HANDLE || !wanted->label ||
                        strcmp(wanted->label, public.label) == 0;
    bool private_equal = !wanted->label || strcmp(wanted->label, private.label) == 0;
    if (!dates_equal || !private_equal || !public_equal)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the token \"%s\" did not take a key's new %s, so nothing was changed; "
                       "change it with the vendor's tool",
                       token->info.label, dates_equal ? "name" : "dates");
    kw_key_add_public(&private, &public);
    change->changed = private;
    return KW_OK;
}

static enum kw_status change_once(struct kw_token *token, struct kw_session *session, void *context,
                                  struct kw_error *err)
{
    struct change *change = context;
    CK_OBJECT_HANDLE handles[HALVES] = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    enum kw_status status = find_both(token, session, change->key, handles, err);
    if (!status && !change->begun)
        status = remember_old(token, session, handles, change, err);
    if (status)
        return status;
    change->begun = true;
    for (size_t i = 0; i < HALVES; i++) {
        CK_RV rv = set_half(token, session, handles[i], change->wanted);
        change->refused[i] = kw_make_refused(rv);
        if (rv != CKR_OK)
            return kw_make_fail(token, session, rv, "change a key", err);
    }
    return read_back(token, session, handles, change, err);
}

/* ---- setting back ---- */

/* Adds to what is seen of a value that was to be set. */
static void compare(const char *old, const char *now, bool *unknown, bool *differs)
{
    if (old && !now)
        *unknown = true;
    if (old && now && strcmp(old, now) != 0)
        *differs = true;
}

static enum kw_status set_half_back(struct kw_token *token, struct kw_session *session,
                                    CK_OBJECT_HANDLE handle, const struct change *change,
                                    enum half half, struct kw_error *err)
{
    const struct kw_key_change *values = &change->old[half].values;
    struct old now = {.values = {.label = NULL}};
    CK_RV rv = read_old(token, session, handle, change->wanted, &now);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read a key", err);
    bool unknown = false, differs = false;
    compare(values->label, now.values.label, &unknown, &differs);
    compare(values->not_before, now.values.not_before, &unknown, &differs);
    compare(values->expires, now.values.expires, &unknown, &differs);
    if (!differs && (!unknown || change->refused[half]))
        return KW_OK;
    rv = set_half(token, session, handle, values);
    return rv == CKR_OK ? KW_OK : kw_session_fail(token, session, rv, "change a key", err);
}

static enum kw_status set_back(struct kw_token *token, struct kw_session *session, void *context,
                               struct kw_error *err)
{
    const struct change *change = context;
    CK_OBJECT_HANDLE handles[HALVES] = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    enum kw_status status = find_both(token, session, change->key, handles, err);
    for (size_t i = 0; i < HALVES && !status; i++)
        if (handles[i] != CK_INVALID_HANDLE)
            status = set_half_back(token, session, handles[i], change, (enum half)i, err);
    return status;
}

static enum kw_status check_change(const struct kw_token_key *key,
                                   const struct kw_key_change *change, struct kw_error *err)
{
    enum kw_status status = change->label ? kw_plan_check_label(change->label, err) : KW_OK;
    if (status)
        return status;
    bool dates = change->not_before || change->expires;
    return dates ? kw_plan_check_dates(change->not_before ? change->not_before : key->not_before,
                                       change->expires ? change->expires : key->expires, err)
                 : KW_OK;
}

enum kw_status kw_token_change_key(struct kw_token *token, const struct kw_token_key *key,
                                   const struct kw_key_change *wanted, struct kw_token_key *ret_key,
                                   struct kw_error *err)
{
    enum kw_status status = check_change(key, wanted, err);
    if (status)
        return status;
    struct change change = {.key = key, .wanted = wanted};
    struct kw_error failure = {.status = KW_OK};
    status = kw_token_with_rw_session(token, change_once, &change, &failure);
    if (!status) {
        *ret_key = change.changed;
        return KW_OK;
    }
    if (change.begun && kw_token_with_rw_session(token, set_back, &change, NULL) != KW_OK)
        return kw_fail_ck(
            err, failure.status, failure.ck_rv,
            "%.300s; the key's old name and dates could not be set back: look at both "
            "halves with the vendor's tool",
            failure.message);
    if (err)
        *err = failure;
    return status;
}
