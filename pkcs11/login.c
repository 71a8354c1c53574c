/* Logging in, and the rules that keep a token from being locked: its flags are read right before,
 * nothing is sent at the final try, and a PIN that was refused is never sent again. */
#include "internal.h"

static enum kw_status login_fail(const struct kw_token *token, enum kw_status status, CK_RV rv,
                                 const char *sentence, struct kw_error *err)
{
    char name[KW_RV_NAME_SIZE];
    if (rv == CKR_OK)
        return kw_fail(err, status, "the token \"%s\" %s", token->info.label, sentence);
    return kw_fail_ck(err, status, rv, "the token \"%s\" %s (%s)", token->info.label, sentence,
                      kw_rv_name(rv, name));
}

/* Flags that forbid to send a PIN, in the order in which they are looked at. */
static const struct obstacle {
    CK_FLAGS flag;
    CK_FLAGS bad_value;
    enum kw_status status;
    const char *sentence;
} obstacles[] = {
    {CKF_USER_PIN_LOCKED, CKF_USER_PIN_LOCKED, KW_PIN_LOCKED,
     "has locked its user PIN; unlock it with the vendor's tool and the security officer's PIN"},
    {CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_FINAL_TRY, KW_PIN_LOCKED,
     "would be locked by one more wrong PIN, so none was sent; log in once with the vendor's tool "
     "to clear this"},
    {CKF_USER_PIN_INITIALIZED, 0, KW_PIN_MISSING,
     "has no user PIN yet; set one with the vendor's tool"},
};

static enum kw_status check_flags(const struct kw_token *token, CK_FLAGS flags,
                                  struct kw_error *err)
{
    for (size_t i = 0; i < KW_COUNT(obstacles); i++)
        if ((flags & obstacles[i].flag) == obstacles[i].bad_value)
            return login_fail(token, obstacles[i].status, CKR_OK, obstacles[i].sentence, err);
    return KW_OK;
}

/* Whether a PIN that got such an answer is never to be sent again. */
enum blame { NOT_THE_PIN, UNLESS_ACCEPTED_BEFORE, THE_PIN };

/* What the answers to C_Login come to. */
static const struct refusal {
    enum kw_rv_meaning meaning;
    enum blame blame;
    enum kw_status status;
    const char *sentence;
} refusals[] = {
    {KW_RV_PIN_WRONG, THE_PIN, KW_PIN_WRONG,
     "refused the PIN; it was sent once and is not sent again, so correct it first"},
    {KW_RV_PIN_LENGTH, THE_PIN, KW_PIN_WRONG,
     "refused the PIN because of its length; correct it, a line break at its end does not count"},
    {KW_RV_PIN_LOCKED, UNLESS_ACCEPTED_BEFORE, KW_PIN_LOCKED,
     "has locked its user PIN; unlock it with the vendor's tool and the security officer's PIN"},
    {KW_RV_PIN_EXPIRED, THE_PIN, KW_PIN_WRONG, "wants a new PIN; set one with the vendor's tool"},
    {KW_RV_PIN_UNSET, NOT_THE_PIN, KW_PIN_MISSING,
     "has no user PIN yet; set one with the vendor's tool"},
    {KW_RV_OTHER_USER, NOT_THE_PIN, KW_TOKEN,
     "has its security officer logged in; end the program that does that"},
};

static const struct refusal *find_refusal(enum kw_rv_meaning meaning)
{
    for (size_t i = 0; i < KW_COUNT(refusals); i++)
        if (refusals[i].meaning == meaning)
            return &refusals[i];
    return NULL;
}

/* An answer of no clear meaning to a PIN that never worked may be a wrong PIN in disguise. */
static bool pin_is_to_blame(const struct kw_token *token, const struct refusal *refusal, CK_RV rv)
{
    enum blame blame = UNLESS_ACCEPTED_BEFORE;
    if (refusal)
        blame = refusal->blame;
    else if (kw_rv_recoverable(rv) || kw_rv_meaning(rv) == KW_RV_MEMORY)
        blame = NOT_THE_PIN;
    return blame == THE_PIN || (blame == UNLESS_ACCEPTED_BEFORE && !token->pin_accepted);
}

enum kw_status kw_pin_expired(const struct kw_token *token, CK_RV rv, struct kw_error *err)
{
    const struct refusal *refusal = find_refusal(KW_RV_PIN_EXPIRED);
    return login_fail(token, refusal->status, rv, refusal->sentence, err);
}

static enum kw_status login_refused(struct kw_token *token, CK_RV rv, struct kw_error *err)
{
    const struct refusal *refusal = find_refusal(kw_rv_meaning(rv));
    if (token->pin && pin_is_to_blame(token, refusal, rv)) {
        kw_module_remember_refused_pin(token->module, &token->identity, token->pin);
        token->pin = NULL;
        token->pin_refused = true;
    }
    if (!refusal)
        return kw_token_fail(token, rv, "log in", err);
    return login_fail(token, refusal->status, rv, refusal->sentence, err);
}

static enum kw_status get_pin(struct kw_token *token, const CK_TOKEN_INFO *now,
                              struct kw_error *err)
{
    if (token->pin)
        return KW_OK;
    if (token->pin_refused)
        return login_fail(token, KW_PIN_WRONG, CKR_OK,
                          "refused the PIN before; it is not sent again, so correct it and start "
                          "once more",
                          err);
    if (!token->ask_pin)
        return login_fail(token, KW_PIN_MISSING, CKR_OK,
                          "needs a PIN; give its source, such as pin-source=file:PATH", err);
    struct kw_token_info info;
    kw_token_info_fill(&info, now);
    return token->ask_pin(token->ask_pin_context, &info, &token->pin, err);
}

static enum kw_status check_not_refused(struct kw_token *token, struct kw_error *err)
{
    if (!kw_module_pin_was_refused(token->module, &token->identity, token->pin))
        return KW_OK;
    kw_secret_free(token->pin);
    token->pin = NULL;
    token->pin_refused = true;
    return login_fail(token, KW_PIN_WRONG, CKR_OK,
                      "refused this PIN before, so it was not sent again; correct it, or start the "
                      "program anew if the token's PIN was changed to it",
                      err);
}

/* A PIN whose answer may still come, and be that it is wrong. */
static void remember_unanswered(struct kw_token *token, unsigned late_refusals)
{
    struct kw_secret *pin = NULL;
    if (kw_secret_from(kw_secret_bytes(token->pin), kw_secret_len(token->pin), &pin, NULL) == KW_OK)
        kw_module_remember_unanswered_pin(token->module, &token->identity, pin, late_refusals);
    else
        token->pin_refused = true; /* what can't be remembered is not sent again at all */
}

/* Sends the PIN as `user`, once. The token's flags are checked; *ret_rv is what C_Login said. */
static enum kw_status send_pin(struct kw_token *token, CK_SESSION_HANDLE session, CK_USER_TYPE user,
                               const CK_TOKEN_INFO *now, CK_RV *ret_rv, struct kw_error *err)
{
    enum kw_status status = check_flags(token, now->flags, err);
    if (status)
        return status;
    bool typed = now->flags & CKF_PROTECTED_AUTHENTICATION_PATH;
    if (typed && token->unattended)
        return login_fail(token, KW_PIN_MISSING, CKR_OK,
                          "wants its PIN typed on itself, and no one is asked in the background",
                          err);
    if (typed) {
        *ret_rv = token->functions->C_Login(session, user, NULL, 0);
        return KW_OK;
    }
    if ((status = get_pin(token, now, err)) || (status = check_not_refused(token, err)))
        return status;
    unsigned late_refusals = kw_module_late_refusals(token->module);
    *ret_rv = token->functions->C_Login(session, user, kw_secret_data(token->pin),
                                        kw_secret_len(token->pin));
    if (kw_rv_meaning(*ret_rv) == KW_RV_TIMED_OUT)
        remember_unanswered(token, late_refusals);
    if (*ret_rv == CKR_OK)
        token->pin_accepted = true;
    return KW_OK;
}

/* After the module was started anew, the slot's number may be another token's. */
static enum kw_status read_flags(const struct kw_token *token, CK_TOKEN_INFO *info,
                                 struct kw_error *err)
{
    CK_RV rv = token->functions->C_GetTokenInfo(token->slot, info);
    if (rv == CKR_OK && !kw_same_token(info, &token->identity))
        rv = CKR_TOKEN_NOT_PRESENT;
    return rv == CKR_OK ? KW_OK : kw_token_fail(token, rv, "tell its state", err);
}

bool kw_user_is_logged_in(const struct kw_token *token, CK_SESSION_HANDLE session)
{
    CK_SESSION_INFO info;
    return token->functions->C_GetSessionInfo(session, &info) == CKR_OK &&
           (info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS);
}

enum kw_status kw_token_login(struct kw_token *token, CK_SESSION_HANDLE session,
                              struct kw_error *err)
{
    CK_TOKEN_INFO info;
    enum kw_status status = read_flags(token, &info, err);
    if (status)
        return status;
    if (!(info.flags & CKF_LOGIN_REQUIRED) || kw_user_is_logged_in(token, session))
        return KW_OK;
    CK_RV rv = CKR_OK;
    status = send_pin(token, session, CKU_USER, &info, &rv, err);
    if (status)
        return status;
    if (rv == CKR_OK || kw_rv_meaning(rv) == KW_RV_LOGGED_IN)
        return KW_OK;
    return login_refused(token, rv, err);
}

enum kw_status kw_token_login_for_key(struct kw_token *token, CK_SESSION_HANDLE session,
                                      struct kw_error *err)
{
    (void)pthread_mutex_lock(&token->lock);
    CK_TOKEN_INFO info;
    CK_RV rv = CKR_OK;
    enum kw_status status = read_flags(token, &info, err);
    if (!status)
        status = send_pin(token, session, CKU_CONTEXT_SPECIFIC, &info, &rv, err);
    /* A token that sets the attribute without meaning it answers in its own way; C_Decrypt says
     * what is the matter. */
    if (!status && (find_refusal(kw_rv_meaning(rv)) || kw_rv_meaning(rv) == KW_RV_TIMED_OUT))
        status = login_refused(token, rv, err);
    (void)pthread_mutex_unlock(&token->lock);
    return status;
}
