/* Deadlines, what is done about a call that hangs, and who has the module to himself.
 *
 * A call that got no answer in time is left to its thread, and so are its copies of the arguments:
 * the module may still write to them. As long as it has not come back, no other call is made, as
 * the module may hold locks, or know sessions, that are in between. If it never comes back, its
 * thread and its memory stay as long as the process. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "guard.h"

#define DEFAULT_TIMEOUT_MS 30000
/* Sessions that are to be closed when the module is back; more than that are left open. */
#define UNCLOSED_MAX 64
/* So long those wait for the calls under way who want the module to themselves. */
#define OTHERS_END_MS 3000

struct call {
    enum kw_call which;
    struct kw_call_copy copy;
    CK_RV rv;
    bool done;
    bool abandoned; /* the thread frees it */
};

struct kw_guard {
    size_t number;
    const CK_FUNCTION_LIST *real;
    CK_FUNCTION_LIST list;
    struct kw_worker_load load; /* calls that the module works on */

    pthread_mutex_t lock; /* guards what follows; never held while the module works */
    struct kw_worker *idle;
    unsigned timeout_ms;
    unsigned inside;        /* calls that are waited for */
    bool alone;             /* one of them has the module to itself, or waits until it has */
    pthread_cond_t changed; /* `inside`, `alone` or `hung` */
    unsigned long starts;
    struct kw_sessions sessions;
    unsigned hung;
    uint64_t hung_since_ms; /* when the first of them was given up */
    unsigned waited_ms;     /* for the last one that hung */
    unsigned late_refusals;
    CK_SESSION_HANDLE unclosed[UNCLOSED_MAX];
    size_t unclosed_count;
};

/* Written under kw_module_get's lock; a guard's functions are called only while it is there. */
static struct kw_guard *guards[KW_GUARDS];

/* ---- calls ---- */

static struct call *call_new(enum kw_call which, const struct kw_call_args *args)
{
    struct call *call = calloc(1, sizeof(*call));
    if (!call || !kw_call_copy_init(&call->copy, &kw_call_kinds[which], args)) {
        free(call);
        return NULL;
    }
    call->which = which;
    return call;
}

static void call_free(struct call *call)
{
    kw_call_copy_cleanup(&call->copy);
    free(call);
}

/* Under the lock. */
static void close_later(struct kw_guard *guard, CK_SESSION_HANDLE session)
{
    if (guard->unclosed_count < UNCLOSED_MAX)
        guard->unclosed[guard->unclosed_count++] = session;
}

/* The answer came after all, and nobody waits for it. Under the lock. */
static void note_late_answer(struct kw_guard *guard, const struct call *call)
{
    bool ok = call->rv == CKR_OK;
    if (call->which == KW_CALL_OPEN_SESSION && ok)
        close_later(guard, *call->copy.args.results[0]);
    if (call->which == KW_CALL_LOGIN && !ok && call->rv != CKR_USER_ALREADY_LOGGED_IN)
        guard->late_refusals++;
}

/* Under the lock, which is let go of while the module works. */
static void come_back(struct kw_guard *guard, const struct call *call)
{
    note_late_answer(guard, call);
    while (guard->hung == 1 && guard->unclosed_count > 0) {
        CK_SESSION_HANDLE session = guard->unclosed[--guard->unclosed_count];
        (void)pthread_mutex_unlock(&guard->lock);
        (void)guard->real->C_CloseSession(session);
        (void)pthread_mutex_lock(&guard->lock);
    }
    guard->hung--;
}

/* ---- threads ---- */

/* In a worker's thread. False: its caller gave up. */
static bool do_call(void *context, void *job)
{
    struct kw_guard *guard = context;
    struct call *call = job;
    call->rv = kw_call_kinds[call->which].run(guard->real, &call->copy.args);
    (void)atomic_fetch_sub(&guard->load.under_way, 1);
    (void)pthread_mutex_lock(&guard->lock);
    bool abandoned = call->abandoned;
    call->done = !abandoned;
    if (abandoned)
        come_back(guard, call);
    (void)pthread_mutex_unlock(&guard->lock);
    if (abandoned)
        call_free(call);
    return !abandoned;
}

/* ---- handing a call over ---- */

/* Under the lock, which is let go of while the module works. */
static CK_RV wait_for(struct kw_guard *guard, struct kw_worker *worker, struct call *call,
                      unsigned timeout_ms)
{
    (void)pthread_mutex_unlock(&guard->lock);
    (void)atomic_fetch_add(&guard->load.under_way, 1);
    bool answered = kw_worker_give(worker, call, timeout_ms);
    (void)pthread_mutex_lock(&guard->lock);
    if (call->done) {
        if (!answered) /* until now, and it is about to be said */
            kw_worker_wait(worker);
        kw_worker_put_by(&guard->idle, worker);
        return call->rv;
    }
    call->abandoned = true;
    if (guard->hung++ == 0)
        guard->hung_since_ms = kw_now_ms();
    guard->waited_ms = timeout_ms;
    (void)pthread_cond_broadcast(&guard->changed);
    kw_worker_abandon(worker);
    return KW_CKR_TIMED_OUT;
}

/* Under the lock, as is all that follows. */
static CK_RV hand_over(struct kw_guard *guard, struct call *call)
{
    struct kw_worker *worker = kw_worker_take(&guard->idle);
    if (!worker)
        worker = kw_worker_new(do_call, guard, &guard->load);
    if (!worker)
        return KW_CKR_NO_MEMORY;
    return wait_for(guard, worker, call, guard->timeout_ms * kw_call_kinds[call->which].patience);
}

/* ---- one after the other, or all at once ---- */

static bool wants_to_be_alone(const struct call *call)
{
    return call->which <= KW_CALL_RESTART;
}

static void wait_for_change(struct kw_guard *guard)
{
    (void)pthread_cond_wait(&guard->changed, &guard->lock);
}

/* False: a call under way takes its time, or hangs. */
static bool be_alone(struct kw_guard *guard)
{
    const uint64_t end_ms = kw_now_ms() + OTHERS_END_MS;
    bool in_time = true;
    guard->alone = true;
    while (guard->inside > 0 && guard->hung == 0 && in_time)
        in_time = kw_cond_wait_until(&guard->changed, &guard->lock, end_ms);
    guard->alone = guard->inside == 0 && guard->hung == 0;
    if (guard->alone) {
        guard->starts++;
        kw_sessions_void(&guard->sessions);
    } else {
        (void)pthread_cond_broadcast(&guard->changed);
    }
    return guard->alone;
}

static void leave(struct kw_guard *guard, const struct call *call)
{
    guard->inside--;
    if (wants_to_be_alone(call))
        guard->alone = false;
    if (guard->alone || wants_to_be_alone(call))
        (void)pthread_cond_broadcast(&guard->changed);
}

static CK_RV enter(struct kw_guard *guard, const struct call *call)
{
    while (guard->alone && guard->hung == 0)
        wait_for_change(guard);
    if (guard->hung == 0 && wants_to_be_alone(call) && !be_alone(guard) && guard->hung == 0)
        return KW_CKR_BUSY;
    if (guard->hung > 0)
        return KW_CKR_TIMED_OUT;
    guard->inside++;
    return CKR_OK;
}

/* ---- the numbers of sessions ---- */

static CK_RV open_session(struct kw_guard *guard, struct call *call)
{
    /* `inside` is at least the number of those who are opening one now. */
    if (!kw_sessions_reserve(&guard->sessions, guard->inside))
        return KW_CKR_NO_MEMORY;
    CK_RV rv = hand_over(guard, call);
    CK_ULONG *session = call->copy.args.results[0];
    if (rv == CKR_OK)
        *session = kw_sessions_add(&guard->sessions, *session);
    return rv;
}

static CK_RV call_in_session(struct kw_guard *guard, struct call *call)
{
    CK_SESSION_HANDLE number = call->copy.args.numbers[0];
    if (!kw_sessions_find(&guard->sessions, number, &call->copy.args.numbers[0]))
        return CKR_SESSION_HANDLE_INVALID;
    if (call->which == KW_CALL_CLOSE_SESSION)
        kw_sessions_remove(&guard->sessions, number);
    return hand_over(guard, call);
}

/* While a call hangs, what is to be closed is noted. */
static void close_when_back(struct kw_guard *guard, const struct call *call)
{
    CK_SESSION_HANDLE handle;
    if (call->which != KW_CALL_CLOSE_SESSION ||
        !kw_sessions_find(&guard->sessions, call->copy.args.numbers[0], &handle))
        return;
    kw_sessions_remove(&guard->sessions, call->copy.args.numbers[0]);
    close_later(guard, handle);
}

static CK_RV do_inside(struct kw_guard *guard, struct call *call)
{
    if (call->which == KW_CALL_OPEN_SESSION)
        return open_session(guard, call);
    return call->which >= KW_CALL_CLOSE_SESSION ? call_in_session(guard, call)
                                                : hand_over(guard, call);
}

static CK_RV call_under_lock(struct kw_guard *guard, struct call *call)
{
    CK_RV rv = enter(guard, call);
    if (rv == CKR_OK) {
        rv = do_inside(guard, call);
        leave(guard, call);
    } else if (rv == KW_CKR_TIMED_OUT) {
        close_when_back(guard, call);
    }
    return rv;
}

CK_RV kw_guard_call(size_t number, enum kw_call which, const struct kw_call_args *args)
{
    struct kw_guard *guard = guards[number];
    struct call *call = call_new(which, args);
    if (!call)
        return KW_CKR_NO_MEMORY;
    (void)pthread_mutex_lock(&guard->lock);
    CK_RV rv = call_under_lock(guard, call);
    bool abandoned = call->abandoned;
    (void)pthread_mutex_unlock(&guard->lock);
    if (abandoned)
        return rv;
    if (rv != KW_CKR_TIMED_OUT)
        kw_call_copy_back(&call->copy, &kw_call_kinds[which], args);
    call_free(call);
    return rv;
}

CK_RV kw_guard_decrypt(const struct kw_guard *guard, CK_SESSION_HANDLE session,
                       const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, const uint8_t *in,
                       size_t in_len, uint8_t *out, CK_ULONG *out_len, CK_RV *ret_init)
{
    *ret_init = CKR_OK;
    const struct kw_call_args args = {
        .numbers = {session, key},
        .mechanism = mechanism,
        .in = in,
        .in_len = in_len,
        .out = out,
        .out_size = *out_len,
        .results = {out_len, ret_init},
    };
    return kw_guard_call(guard->number, KW_CALL_DECRYPT_AT_ONCE, &args);
}

CK_RV kw_guard_restart(const struct kw_guard *guard, struct kw_init_args *init)
{
    const struct kw_call_args args = {.out = init, .out_size = sizeof(*init)};
    return kw_guard_call(guard->number, KW_CALL_RESTART, &args);
}

/* ---- the guard ---- */

/* Only the thread that forked is in the child. */
static void start_anew_in_child(void)
{
    for (size_t i = 0; i < KW_GUARDS; i++) {
        if (!guards[i])
            continue;
        (void)pthread_mutex_init(&guards[i]->lock, NULL);
        kw_cond_init(&guards[i]->changed);
        guards[i]->idle = NULL;
        guards[i]->inside = guards[i]->hung = 0;
        guards[i]->alone = false;
        atomic_store(&guards[i]->load.under_way, 0);
        guards[i]->unclosed_count = 0;
    }
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, start_anew_in_child); /* without memory children can't call */
}

enum kw_status kw_guard_new(const CK_FUNCTION_LIST *real, struct kw_guard **ret_guard,
                            struct kw_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t number = 0;
    while (number < KW_GUARDS && guards[number])
        number++;
    if (number == KW_GUARDS)
        return kw_fail(
            err, KW_MODULE,
            "this process uses %d PKCS#11 modules already; reach the others from another "
            "one",
            KW_GUARDS);
    struct kw_guard *guard = calloc(1, sizeof(*guard));
    if (!guard || pthread_mutex_init(&guard->lock, NULL) != 0) {
        free(guard);
        return kw_fail_memory(err);
    }
    (void)pthread_once(&once, watch_forks);
    kw_cond_init(&guard->changed);
    guard->number = number;
    guard->real = real;
    guard->timeout_ms = DEFAULT_TIMEOUT_MS;
    guard->load.processors = kw_processors();
    kw_guard_fill_list(number, real, &guard->list);
    guards[number] = guard;
    *ret_guard = guard;
    return KW_OK;
}

void kw_guard_free(struct kw_guard *guard)
{
    if (!guard)
        return;
    kw_guard_rest(guard);
    guards[guard->number] = NULL;
    kw_sessions_cleanup(&guard->sessions);
    (void)pthread_cond_destroy(&guard->changed);
    (void)pthread_mutex_destroy(&guard->lock);
    free(guard);
}

const CK_FUNCTION_LIST *kw_guard_functions(const struct kw_guard *guard)
{
    return &guard->list;
}

void kw_guard_set_timeout(struct kw_guard *guard, unsigned timeout_ms)
{
    (void)pthread_mutex_lock(&guard->lock);
    guard->timeout_ms = timeout_ms;
    (void)pthread_mutex_unlock(&guard->lock);
}

bool kw_guard_is_stuck(struct kw_guard *guard, unsigned *ret_waited_ms)
{
    (void)pthread_mutex_lock(&guard->lock);
    bool stuck = guard->hung > 0;
    if (ret_waited_ms)
        *ret_waited_ms = guard->waited_ms;
    (void)pthread_mutex_unlock(&guard->lock);
    return stuck;
}

uint64_t kw_guard_stuck_ms(struct kw_guard *guard)
{
    (void)pthread_mutex_lock(&guard->lock);
    uint64_t ms = guard->hung > 0 ? 1 : 0;
    if (guard->hung > 0 && guard->inside == 0)
        ms += kw_now_ms() - guard->hung_since_ms;
    (void)pthread_mutex_unlock(&guard->lock);
    return ms;
}

unsigned long kw_guard_starts(struct kw_guard *guard)
{
    (void)pthread_mutex_lock(&guard->lock);
    unsigned long starts = guard->starts;
    (void)pthread_mutex_unlock(&guard->lock);
    return starts;
}

size_t kw_guard_sessions(struct kw_guard *guard)
{
    (void)pthread_mutex_lock(&guard->lock);
    size_t count = guard->sessions.count;
    (void)pthread_mutex_unlock(&guard->lock);
    return count;
}

void kw_guard_rest(struct kw_guard *guard)
{
    (void)pthread_mutex_lock(&guard->lock);
    struct kw_worker *idle = guard->idle;
    guard->idle = NULL;
    (void)pthread_mutex_unlock(&guard->lock);
    kw_workers_end(idle);
}

unsigned kw_guard_late_refusals(struct kw_guard *guard)
{
    (void)pthread_mutex_lock(&guard->lock);
    unsigned refusals = guard->late_refusals;
    (void)pthread_mutex_unlock(&guard->lock);
    return refusals;
}
