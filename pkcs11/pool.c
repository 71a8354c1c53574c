/* Sessions: at most so many at a time, read-only where the module has such, each used by one
 * thread, closed after a failure; and read-write ones, each for one call. */
#include "internal.h"

void kw_pool_close_idle(struct kw_token *token)
{
    for (size_t i = 0; i < token->idle_count; i++)
        (void)token->functions->C_CloseSession(token->idle[i]);
    token->open_count -= token->idle_count;
    token->idle_count = 0;
    (void)pthread_cond_broadcast(&token->session_freed);
}

static enum kw_status no_session(const struct kw_token *token, CK_RV rv, struct kw_error *err)
{
    char name[KW_RV_NAME_SIZE];
    return kw_fail_ck(err, KW_TOKEN, rv,
                      "the token \"%s\" gives no further session (%s); end other programs that use "
                      "it, or set sessions lower",
                      token->info.label, kw_rv_name(rv, name));
}

/* Under the lock, which is let go of while the token works. A slot's number may be another token's
 * after the module was started anew. */
static CK_RV open_on_token(struct kw_token *token, CK_FLAGS flags, CK_SESSION_HANDLE *ret_handle)
{
    CK_SLOT_ID slot = token->slot;
    unsigned long starts = token->starts;
    CK_SESSION_HANDLE handle;
    (void)pthread_mutex_unlock(&token->lock);
    CK_RV rv = token->functions->C_OpenSession(slot, flags, NULL, NULL, &handle);
    if (rv == CKR_OK && kw_module_starts(token->module) != starts) {
        (void)token->functions->C_CloseSession(handle);
        rv = CKR_SESSION_HANDLE_INVALID;
    }
    (void)pthread_mutex_lock(&token->lock);
    if (rv == CKR_OK)
        *ret_handle = handle;
    return rv;
}

/* Under the lock; a place in open_count is taken already. */
static enum kw_status open_session(struct kw_token *token, struct kw_session *session,
                                   bool *ret_wait, struct kw_error *err)
{
    CK_RV rv = open_on_token(token, kw_token_session_flags(token), &session->handle);
    if (rv == CKR_OK)
        return KW_OK;
    token->open_count--;
    (void)pthread_cond_signal(&token->session_freed);
    if (kw_rv_meaning(rv) != KW_RV_SESSION_COUNT)
        return kw_session_fail(token, session, rv, "open a session", err);
    if (token->open_count == 0)
        return no_session(token, rv, err);
    /* The token allows fewer than were asked for: make do with those that are open. */
    token->max_sessions = token->open_count;
    *ret_wait = true;
    return KW_OK;
}

static enum kw_status ensure_connected(struct kw_token *token, struct kw_error *err)
{
    bool holds = token->connected && token->starts == kw_module_starts(token->module);
    return holds ? KW_OK : kw_token_connect(token, err);
}

static enum kw_status take_locked(struct kw_token *token, struct kw_session *session,
                                  struct kw_error *err)
{
    for (;;) {
        enum kw_status status = ensure_connected(token, err);
        if (status)
            return status;
        session->epoch = token->epoch;
        if (token->idle_count > 0) {
            session->handle = token->idle[--token->idle_count];
            return KW_OK;
        }
        if (token->open_count < token->max_sessions) {
            bool wait = false;
            token->open_count++;
            status = open_session(token, session, &wait, err);
            if (status || !wait)
                return status;
        }
        if (token->open_count >= token->max_sessions && token->idle_count == 0) {
            token->waiting++;
            (void)pthread_cond_wait(&token->session_freed, &token->lock);
            token->waiting--;
        }
    }
}

enum kw_status kw_pool_take(struct kw_token *token, struct kw_session *ret_session,
                            struct kw_error *err)
{
    (void)pthread_mutex_lock(&token->lock);
    enum kw_status status = take_locked(token, ret_session, err);
    (void)pthread_mutex_unlock(&token->lock);
    return status;
}

void kw_pool_give_back(struct kw_token *token, struct kw_session *session)
{
    (void)pthread_mutex_lock(&token->lock);
    bool keep = session->failure == CKR_OK && session->epoch == token->epoch &&
                token->open_count <= token->max_sessions;
    if (keep) {
        token->idle[token->idle_count++] = session->handle;
    } else {
        (void)pthread_mutex_unlock(&token->lock);
        (void)token->functions->C_CloseSession(session->handle);
        (void)pthread_mutex_lock(&token->lock);
        token->open_count--;
    }
    (void)pthread_cond_signal(&token->session_freed);
    (void)pthread_mutex_unlock(&token->lock);
}

/* ---- read-write sessions ---- */

/* Under the lock, as above. */
static CK_RV open_rw(struct kw_token *token, struct kw_session *session)
{
    return open_on_token(token, CKF_SERIAL_SESSION | CKF_RW_SESSION, &session->handle);
}

enum kw_status kw_pool_open_rw(struct kw_token *token, struct kw_session *ret_session,
                               struct kw_error *err)
{
    (void)pthread_mutex_lock(&token->lock);
    enum kw_status status = ensure_connected(token, err);
    if (!status) {
        ret_session->epoch = token->epoch;
        token->rw_count++;
        CK_RV rv = open_rw(token, ret_session);
        if (kw_rv_meaning(rv) == KW_RV_SESSION_COUNT && token->idle_count > 0) {
            kw_pool_close_idle(token);
            rv = open_rw(token, ret_session);
        }
        if (rv != CKR_OK) {
            token->rw_count--;
            status =
                kw_rv_meaning(rv) == KW_RV_SESSION_COUNT
                    ? no_session(token, rv, err)
                    : kw_session_fail(token, ret_session, rv, "open a read-write session", err);
        }
    }
    (void)pthread_mutex_unlock(&token->lock);
    return status;
}

void kw_pool_close_rw(struct kw_token *token, const struct kw_session *session)
{
    (void)token->functions->C_CloseSession(session->handle);
    (void)pthread_mutex_lock(&token->lock);
    token->rw_count--;
    (void)pthread_mutex_unlock(&token->lock);
}

/* ---- whether it works ---- */

static enum kw_status ping(struct kw_token *token, struct kw_session *session, void *context,
                           struct kw_error *err)
{
    (void)context;
    CK_SESSION_INFO state;
    CK_TOKEN_INFO info;
    CK_RV rv = token->functions->C_GetSessionInfo(session->handle, &state);
    if (rv == CKR_OK)
        rv = token->functions->C_GetTokenInfo(state.slotID, &info);
    if (rv == CKR_OK && !kw_same_token(&info, &token->identity))
        rv = CKR_TOKEN_NOT_PRESENT;
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "tell its state", err);
    return kw_session_check_login(token, session, err);
}

enum kw_status kw_token_ping(struct kw_token *token, struct kw_error *err)
{
    return kw_token_with_session(token, ping, NULL, err);
}

bool kw_token_stats(struct kw_token *token, struct kw_token_stats *ret_stats)
{
    if (pthread_mutex_trylock(&token->lock) != 0)
        return false;
    *ret_stats =
        (struct kw_token_stats){.sessions = token->open_count,
                                .in_use = token->open_count - token->idle_count,
                                .max = token->max_sessions,
                                .waiting = token->waiting,
                                .recoveries = token->connections > 0 ? token->connections - 1 : 0};
    (void)pthread_mutex_unlock(&token->lock);
    return true;
}
