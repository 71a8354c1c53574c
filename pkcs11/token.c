/* A token: found by its attributes, logged in to, and found again after it was lost. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define DEFAULT_SESSIONS 8
#define MAX_SESSIONS     1024

/* A module that starts while another process writes to the token may not see it. */
#define OPEN_TRIES    6
#define OPEN_PAUSE_MS 20

enum kw_status kw_token_fail(const struct kw_token *token, CK_RV rv, const char *what,
                             struct kw_error *err)
{
    char name[KW_RV_NAME_SIZE];
    if (kw_rv_meaning(rv) == KW_RV_TIMED_OUT)
        return kw_module_no_answer(token->module, token->info.label, err);
    if (kw_rv_meaning(rv) == KW_RV_PIN_EXPIRED)
        return kw_pin_expired(token, rv, err);
    return kw_fail_ck(err, KW_TOKEN, rv,
                      "the token \"%s\" failed to %s (%s); see that it is connected and works with "
                      "its vendor's tool, then try again",
                      token->info.label, what, kw_rv_name(rv, name));
}

enum kw_status kw_session_fail(struct kw_token *token, struct kw_session *session, CK_RV rv,
                               const char *what, struct kw_error *err)
{
    session->failure = rv;
    return kw_token_fail(token, rv, what, err);
}

/* ---- connecting ---- */

CK_FLAGS kw_token_session_flags(const struct kw_token *token)
{
    bool rw = kw_module_quirks(token->module)->rw_sessions;
    return CKF_SERIAL_SESSION | (rw ? CKF_RW_SESSION : 0);
}

/* All sessions and handles are void from here on. Sessions in use are closed when given back. */
static void void_sessions(struct kw_token *token)
{
    kw_pool_close_idle(token);
    memset(token->found, 0, sizeof(token->found));
    memset(token->found_aes, 0, sizeof(token->found_aes));
    token->epoch++;
}

static void drop_anchor(struct kw_token *token)
{
    if (token->connected)
        (void)token->functions->C_CloseSession(token->anchor);
    token->connected = false;
}

static bool anchor_holds(const struct kw_token *token, CK_SLOT_ID slot)
{
    CK_SESSION_INFO info;
    return token->connected && token->slot == slot &&
           token->functions->C_GetSessionInfo(token->anchor, &info) == CKR_OK &&
           info.slotID == slot;
}

/* Before any other session is opened: the module may use the number of a dead one again. */
static enum kw_status open_anchor(struct kw_token *token, CK_SLOT_ID slot, struct kw_error *err)
{
    drop_anchor(token);
    token->slot = slot;
    CK_RV rv = token->functions->C_OpenSession(slot, kw_token_session_flags(token), NULL, NULL,
                                               &token->anchor);
    if (rv != CKR_OK)
        return kw_token_fail(token, rv, "open a session", err);
    token->connected = true;
    /* The slot may have been another token's in between. */
    if (token->starts != kw_module_starts(token->module))
        return kw_token_fail(token, CKR_SESSION_HANDLE_INVALID, "keep its sessions", err);
    return KW_OK;
}

/* A login that doesn't show was lost already, or the token never shows one: that it does not have
 * it is found out by sending the PIN that it accepted once more. No person is asked to type it
 * again.
 */
static enum kw_status look_for_login(struct kw_token *token, struct kw_error *err)
{
    CK_SESSION_INFO info;
    CK_RV rv = token->functions->C_GetSessionInfo(token->anchor, &info);
    if (kw_rv_recoverable(rv))
        return kw_token_fail(token, rv, "tell the state of a session", err);
    enum kw_status status = KW_OK;
    token->shows_login = kw_user_is_logged_in(token, token->anchor);
    if (!token->shows_login && token->pin && token->pin_accepted)
        status = kw_token_login(token, token->anchor, err);
    if (!status && !token->shows_login)
        token->shows_login = kw_user_is_logged_in(token, token->anchor);
    return status;
}

/* An anchor that still holds is kept, and with it the login. */
static enum kw_status connect_within(struct kw_token *token, struct kw_error *err)
{
    CK_SLOT_ID slot = 0;
    enum kw_status status = kw_slot_find_again(token->module, &token->identity, &slot, err);
    if (!status && !anchor_holds(token, slot))
        status = open_anchor(token, slot, err);
    if (!status)
        status = kw_token_login(token, token->anchor, err);
    if (!status)
        status = look_for_login(token, err);
    if (status)
        drop_anchor(token);
    return status;
}

static enum kw_status connect_once(struct kw_token *token, struct kw_error *err)
{
    void_sessions(token);
    token->starts = kw_module_starts(token->module);
    return connect_within(token, err);
}

/* Whether connecting is worth another try; the module is started anew for it where that can be. */
static bool may_connect_now(struct kw_token *token, const struct kw_error *failure)
{
    if (failure->status != KW_TOKEN || token->pin_refused || kw_module_is_stuck(token->module))
        return false;
    return kw_module_start_anew(token->module, token->starts, failure->ck_rv) ||
           kw_rv_remedy(failure->ck_rv) != KW_REMEDY_NONE;
}

enum kw_status kw_token_connect(struct kw_token *token, struct kw_error *err)
{
    struct kw_error failure = {.status = KW_OK};
    enum kw_status status = connect_once(token, &failure);
    if (status && may_connect_now(token, &failure))
        status = connect_once(token, &failure);
    token->connections += status == KW_OK;
    if (status && err)
        *err = failure;
    return status;
}

/* Unless another thread has done so since `epoch`. */
static enum kw_status reconnect(struct kw_token *token, unsigned long epoch, struct kw_error *err)
{
    (void)pthread_mutex_lock(&token->lock);
    enum kw_status status = KW_OK;
    if (token->epoch == epoch || !token->connected)
        status = kw_token_connect(token, err);
    (void)pthread_mutex_unlock(&token->lock);
    return status;
}

/* Whether private keys are hidden now, or fail to decrypt, for want of a login. */
static bool lost_login(struct kw_token *token, const struct kw_session *session)
{
    (void)pthread_mutex_lock(&token->lock);
    bool shows_login = token->shows_login;
    (void)pthread_mutex_unlock(&token->lock);
    return shows_login && !kw_user_is_logged_in(token, session->handle);
}

enum kw_status kw_session_check_login(struct kw_token *token, struct kw_session *session,
                                      struct kw_error *err)
{
    if (!lost_login(token, session))
        return KW_OK;
    return kw_session_fail(token, session, CKR_USER_NOT_LOGGED_IN, "keep its login", err);
}

/* *ret_session tells the caller what was lost, after a failure. */
static enum kw_status run_once(struct kw_token *token, bool rw, kw_session_fn work, void *context,
                               struct kw_session *ret_session, struct kw_error *err)
{
    struct kw_session session = {.failure = CKR_OK};
    enum kw_status status =
        rw ? kw_pool_open_rw(token, &session, err) : kw_pool_take(token, &session, err);
    if (!status) {
        status = work(token, &session, context, err);
        if (status && !kw_rv_recoverable(session.failure) && lost_login(token, &session))
            session.failure = CKR_USER_NOT_LOGGED_IN;
        if (rw)
            kw_pool_close_rw(token, &session);
        else
            kw_pool_give_back(token, &session);
    }
    *ret_session = session;
    return status;
}

/* Failed although it was connected anew: the next call starts with the anchor. */
static void give_up_anchor(struct kw_token *token, const struct kw_session *session)
{
    if (!kw_rv_recoverable(session->failure) ||
        kw_rv_meaning(session->failure) == KW_RV_HANDLE_STALE)
        return;
    (void)pthread_mutex_lock(&token->lock);
    if (token->epoch == session->epoch)
        drop_anchor(token);
    (void)pthread_mutex_unlock(&token->lock);
}

/* Where a token is asked again though nothing is lost, that is in another session if it may be the
 * ciphertext. Else the fault is the token's, or the module's, and it is connected anew. */
static enum kw_remedy remedy_of(const struct kw_session *session, bool rw, enum kw_status status)
{
    enum kw_remedy remedy = kw_rv_remedy(session->failure);
    if (remedy != KW_REMEDY_ASK_AGAIN || session->input_doubted)
        return remedy;
    return status == KW_TOKEN && !rw ? KW_REMEDY_RECONNECT : KW_REMEDY_NONE;
}

static enum kw_status with_session(struct kw_token *token, bool rw, kw_session_fn work,
                                   void *context, struct kw_error *err)
{
    struct kw_error failure = {.status = KW_OK};
    struct kw_session session;
    enum kw_remedy tried = KW_REMEDY_NONE, remedy;
    enum kw_status status = run_once(token, rw, work, context, &session, &failure);
    while (status && (remedy = remedy_of(&session, rw, status)) > tried) {
        tried = remedy;
        if (remedy == KW_REMEDY_RECONNECT &&
            (status = reconnect(token, session.epoch, &failure)) != KW_OK)
            break;
        status = run_once(token, rw, work, context, &session, &failure);
        if (status && remedy == KW_REMEDY_RECONNECT)
            give_up_anchor(token, &session);
    }
    /* Whatever became of a call that got no answer. */
    if (status && kw_module_is_stuck(token->module))
        status = kw_module_no_answer(token->module, token->info.label, &failure);
    if (status && err)
        *err = failure;
    return status;
}

enum kw_status kw_token_with_session(struct kw_token *token, kw_session_fn work, void *context,
                                     struct kw_error *err)
{
    return with_session(token, false, work, context, err);
}

enum kw_status kw_token_with_rw_session(struct kw_token *token, kw_session_fn work, void *context,
                                        struct kw_error *err)
{
    return with_session(token, true, work, context, err);
}

/* ---- opening ---- */

static enum kw_status token_new(struct kw_crypto *crypto, const struct kw_token_options *options,
                                struct kw_token **ret_token, struct kw_error *err)
{
    size_t max = options->max_sessions ? options->max_sessions : DEFAULT_SESSIONS;
    if (max > MAX_SESSIONS)
        return kw_fail(err, KW_CONFIG, "%zu sessions are too many; set at most %d", max,
                       MAX_SESSIONS);
    struct kw_token *token = calloc(1, sizeof(*token));
    CK_SESSION_HANDLE *idle = calloc(max, sizeof(*idle));
    if (!token || !idle || pthread_mutex_init(&token->lock, NULL) != 0) {
        free(idle);
        free(token);
        return kw_fail_memory(err);
    }
    if (pthread_cond_init(&token->session_freed, NULL) != 0) {
        (void)pthread_mutex_destroy(&token->lock);
        free(idle);
        free(token);
        return kw_fail_memory(err);
    }
    token->crypto = crypto;
    token->unattended = options->unattended;
    token->ask_pin = options->pin;
    token->ask_pin_context = options->pin_context;
    token->idle = idle;
    token->max_sessions = max;
    *ret_token = token;
    return KW_OK;
}

static enum kw_status find_token(struct kw_token *token, const struct kw_token_options *options,
                                 struct kw_error *err)
{
    struct kw_slot slot = {.id = 0};
    enum kw_status status = kw_slot_find(token->module, options->uri, &slot, err);
    if (status)
        return status;
    token->identity = slot.info;
    kw_token_info_fill(&token->info, &slot.info);
    return KW_OK;
}

/* Longer each time, so that processes that started together drift apart. */
static void wait_after_try(unsigned try)
{
    const struct timespec pause = {.tv_nsec = (long)try * OPEN_PAUSE_MS * 1000000L};
    (void)nanosleep(&pause, NULL);
}

/* SoftHSM2 writes a token's file anew at each login: a process that reads it just then has no such
 * token until it starts the module again. */
static enum kw_status find_and_connect(struct kw_token *token,
                                       const struct kw_token_options *options, struct kw_error *err)
{
    struct kw_error failure = {.status = KW_OK};
    for (unsigned try = 1;; try++) {
        unsigned long starts = kw_module_starts(token->module);
        enum kw_status status = find_token(token, options, &failure);
        bool listed = status == KW_OK; /* what connects tries again itself */
        if (listed)
            status = kw_token_connect(token, &failure);
        if (!status)
            return KW_OK;
        bool unseen = status == KW_TOKEN_NOT_FOUND || failure.ck_rv == CKR_TOKEN_NOT_PRESENT;
        bool passing = !listed && try == 1 && kw_rv_remedy(failure.ck_rv) != KW_REMEDY_NONE;
        if (!(unseen || passing) || try == OPEN_TRIES ||
            !kw_module_start_anew(token->module, starts, failure.ck_rv))
            break;
        wait_after_try(try);
    }
    if (kw_module_is_stuck(token->module))
        (void)kw_module_no_answer(token->module, token->info.label[0] ? token->info.label : NULL,
                                  &failure);
    if (err)
        *err = failure;
    return failure.status;
}

enum kw_status kw_token_open(struct kw_crypto *crypto, const struct kw_token_options *options,
                             struct kw_token **ret_token, struct kw_error *err)
{
    if (!options->module)
        return kw_fail(err, KW_CONFIG,
                       "nothing says which PKCS#11 module has the token; add "
                       "module-path=/PATH/TO/MODULE.so to the URI");
    struct kw_token *token = NULL;
    enum kw_status status = token_new(crypto, options, &token, err);
    if (status)
        return status;
    status =
        kw_module_get(options->module, options->init_args, options->timeout_s, &token->module, err);
    if (status) {
        kw_token_free(token);
        return status;
    }
    token->functions = kw_module_functions(token->module);
    (void)pthread_mutex_lock(&token->lock);
    status = find_and_connect(token, options, err);
    (void)pthread_mutex_unlock(&token->lock);
    if (status) {
        kw_token_free(token);
        return status;
    }
    *ret_token = token;
    return KW_OK;
}

void kw_token_free(struct kw_token *token)
{
    if (!token)
        return;
    if (token->module) {
        void_sessions(token);
        drop_anchor(token);
    }
    kw_module_put(token->module);
    kw_secret_free(token->pin);
    kw_throwaway_free(token->trial);
    (void)pthread_cond_destroy(&token->session_freed);
    (void)pthread_mutex_destroy(&token->lock);
    free(token->idle);
    free(token);
}

const struct kw_token_info *kw_token_info(const struct kw_token *token)
{
    return &token->info;
}

static bool is_path_of(const struct kw_module *module, const char *path)
{
    char *real = realpath(path, NULL);
    bool same = strcmp(real ? real : path, kw_module_path(module)) == 0;
    free(real);
    return same;
}

bool kw_token_answers_to(const struct kw_token *token, const struct kw_uri *uri)
{
    const char *path = kw_uri_module(uri);
    return kw_uri_matches_token_info(uri, &token->identity) &&
           (!path || is_path_of(token->module, path));
}
