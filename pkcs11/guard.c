/* The threads of a guard, deadlines, and what is done about a call that hangs.
 *
 * A call that got no answer in time is left to its thread, and so are its copies of the arguments:
 * the module may still write to them. As long as it has not come back, no other call is made, as
 * the module may hold locks, or know sessions, that are in between. If it never comes back, its
 * thread and its memory stay as long as the process. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "guard.h"

#define DEFAULT_TIMEOUT_MS 30000
#define NS_A_SECOND        1000000000L
#define NS_A_MS            1000000L
#define WATCH_NS           (50 * 1000L)
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

/* Lets one thread through each time that it is opened. A lock of its own, so that who passes does
 * not meet those who make other calls: each such meeting would cost two switches of threads. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    atomic_bool open;
};

/* Its thread has one call after the other, and waits in between. */
struct worker {
    struct worker *next;
    struct kw_guard *guard;
    pthread_t thread;
    struct gate given;
    struct gate answered;
    struct call *call; /* NULL when given: it is to end */
};

struct kw_guard {
    size_t number;
    const CK_FUNCTION_LIST *real;
    CK_FUNCTION_LIST list;
    unsigned processors;
    atomic_uint under_way; /* calls that the module works on */

    pthread_mutex_t lock; /* guards what follows; never held while the module works */
    struct worker *idle;
    unsigned timeout_ms;
    unsigned inside;        /* calls that are waited for */
    bool alone;             /* one of them has the module to itself, or waits until it has */
    pthread_cond_t changed; /* `inside`, `alone` or `hung` */
    unsigned long starts;
    struct kw_sessions sessions;
    unsigned hung;
    unsigned waited_ms; /* for the last one that hung */
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

static struct timespec time_in(uint64_t nanoseconds)
{
    struct timespec when = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &when); /* Linux always has this clock */
    when.tv_sec += (time_t)(nanoseconds / NS_A_SECOND);
    when.tv_nsec += (long)(nanoseconds % NS_A_SECOND);
    if (when.tv_nsec >= NS_A_SECOND) {
        when.tv_sec++;
        when.tv_nsec -= NS_A_SECOND;
    }
    return when;
}

/* None of these can fail on Linux. */
static void monotonic_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
}

static void gate_init(struct gate *gate)
{
    (void)pthread_mutex_init(&gate->lock, NULL); /* can't fail on Linux */
    monotonic_cond_init(&gate->opened);
}

static void gate_cleanup(struct gate *gate)
{
    (void)pthread_cond_destroy(&gate->opened);
    (void)pthread_mutex_destroy(&gate->lock);
}

static void gate_open(struct gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->open = true;
    (void)pthread_mutex_unlock(&gate->lock);
    (void)pthread_cond_signal(&gate->opened);
}

/* Without a deadline, true. */
static bool gate_pass(struct gate *gate, const struct timespec *deadline)
{
    int code = 0;
    (void)pthread_mutex_lock(&gate->lock);
    while (!gate->open && code != ETIMEDOUT)
        code = deadline ? pthread_cond_timedwait(&gate->opened, &gate->lock, deadline)
                        : pthread_cond_wait(&gate->opened, &gate->lock);
    bool passed = gate->open;
    gate->open = false;
    (void)pthread_mutex_unlock(&gate->lock);
    return passed;
}

static void worker_free(struct worker *worker)
{
    gate_cleanup(&worker->given);
    gate_cleanup(&worker->answered);
    free(worker);
}

/* False: its caller gave up, so the thread was detached and is to end. */
static bool do_call(struct worker *worker, struct call *call)
{
    struct kw_guard *guard = worker->guard;
    call->rv = kw_call_kinds[call->which].run(guard->real, &call->copy.args);
    (void)atomic_fetch_sub(&guard->under_way, 1);
    (void)pthread_mutex_lock(&guard->lock);
    bool abandoned = call->abandoned;
    call->done = !abandoned;
    if (abandoned)
        come_back(guard, call);
    (void)pthread_mutex_unlock(&guard->lock);
    if (abandoned)
        call_free(call);
    else
        gate_open(&worker->answered);
    return !abandoned;
}

/* The next call most often follows soon, and to be woken on a processor that sleeps takes as long
 * as the caller needs until then. Not where other calls want the processors. */
static void watch(const struct worker *worker)
{
    struct timespec now;
    const struct timespec end = time_in(WATCH_NS);
    do {
        if (atomic_load(&worker->given.open) ||
            atomic_load(&worker->guard->under_way) >= worker->guard->processors)
            return;
        (void)sched_yield(); /* never fails on Linux */
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (;;) {
        watch(worker);
        (void)gate_pass(&worker->given, NULL);
        if (!worker->call)
            return NULL;
        if (!do_call(worker, worker->call)) {
            worker_free(worker);
            return NULL;
        }
    }
}

/* NULL where there is no memory, or there are too many threads. */
static struct worker *worker_new(struct kw_guard *guard)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return NULL;
    worker->guard = guard;
    gate_init(&worker->given);
    gate_init(&worker->answered);
    if (kw_thread_start(&worker->thread, work, worker, NULL) != KW_OK) {
        worker_free(worker);
        return NULL;
    }
    return worker;
}

/* ---- handing a call over ---- */

/* Under the lock, which is let go of while the module works. */
static CK_RV wait_for(struct worker *worker, struct call *call, unsigned timeout_ms)
{
    struct kw_guard *guard = worker->guard;
    const struct timespec deadline = time_in((uint64_t)timeout_ms * NS_A_MS);
    (void)pthread_mutex_unlock(&guard->lock);
    worker->call = call;
    (void)atomic_fetch_add(&guard->under_way, 1);
    gate_open(&worker->given);
    bool answered = gate_pass(&worker->answered, &deadline);
    (void)pthread_mutex_lock(&guard->lock);
    if (call->done) {
        if (!answered) /* until now, and it is about to be said */
            (void)gate_pass(&worker->answered, NULL);
        worker->next = guard->idle;
        guard->idle = worker;
        return call->rv;
    }
    call->abandoned = true;
    guard->hung++;
    guard->waited_ms = timeout_ms;
    (void)pthread_cond_broadcast(&guard->changed);
    (void)pthread_detach(worker->thread);
    return KW_CKR_TIMED_OUT;
}

/* Under the lock, as is all that follows. */
static CK_RV hand_over(struct kw_guard *guard, struct call *call)
{
    struct worker *worker = guard->idle;
    if (worker)
        guard->idle = worker->next;
    else
        worker = worker_new(guard);
    if (!worker)
        return KW_CKR_NO_MEMORY;
    return wait_for(worker, call, guard->timeout_ms * kw_call_kinds[call->which].patience);
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
    const struct timespec end = time_in(OTHERS_END_MS * (uint64_t)NS_A_MS);
    int code = 0;
    guard->alone = true;
    while (guard->inside > 0 && guard->hung == 0 && code != ETIMEDOUT)
        code = pthread_cond_timedwait(&guard->changed, &guard->lock, &end);
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
        monotonic_cond_init(&guards[i]->changed);
        guards[i]->idle = NULL;
        guards[i]->inside = guards[i]->hung = 0;
        guards[i]->alone = false;
        atomic_store(&guards[i]->under_way, 0);
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
    monotonic_cond_init(&guard->changed);
    guard->number = number;
    guard->real = real;
    guard->timeout_ms = DEFAULT_TIMEOUT_MS;
    guard->processors = kw_processors();
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
    struct worker *idle = guard->idle;
    guard->idle = NULL;
    (void)pthread_mutex_unlock(&guard->lock);
    for (struct worker *worker = idle; worker; worker = worker->next) {
        worker->call = NULL;
        gate_open(&worker->given);
    }
    while (idle) {
        struct worker *next = idle->next;
        (void)pthread_join(idle->thread, NULL);
        worker_free(idle);
        idle = next;
    }
}

unsigned kw_guard_late_refusals(struct kw_guard *guard)
{
    (void)pthread_mutex_lock(&guard->lock);
    unsigned refusals = guard->late_refusals;
    (void)pthread_mutex_unlock(&guard->lock);
    return refusals;
}
