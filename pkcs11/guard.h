/* A deadline for each call into a module. The module's functions are called in threads of the
 * guard's own, with copies of their arguments, so that whoever called can go on without an answer.
 *
 * And a module that may be started anew while others use it. C_Initialize, C_Finalize and
 * kw_guard_restart have the module to themselves: they wait a few seconds for the calls that are
 * under way, and those that come meanwhile wait for them. What was open before is void then, and
 * whoever had it finds out by his next call: sessions have numbers of the guard's own, none of
 * which is ever given twice, so that one from before answers CKR_SESSION_HANDLE_INVALID without the
 * module being asked, which may use the same handle for another token's session now. */
#ifndef KW_PKCS11_GUARD_H
#define KW_PKCS11_GUARD_H

#include <stdatomic.h>

#include "internal.h"

/* Functions of Cryptoki have no argument that could tell which module is meant, so each guard has
 * functions of its own, made by the compiler: there are so many. */
#define KW_GUARDS 8

struct kw_guard;
/* Over the functions of a module, which outlive it. KW_MODULE where all guards are taken. */
enum kw_status kw_guard_new(const CK_FUNCTION_LIST *real, struct kw_guard **ret_guard,
                            struct kw_error *err);
/* Not while a call hangs. */
void kw_guard_free(struct kw_guard *guard);
/* Those that are used here and that the module has; the others are NULL. */
const CK_FUNCTION_LIST *kw_guard_functions(const struct kw_guard *guard);
/* For the calls that begin from now on; some get a multiple of it, see guard_calls.c. */
void kw_guard_set_timeout(struct kw_guard *guard, unsigned timeout_ms);
/* C_Finalize and C_Initialize as one call. KW_CKR_BUSY, as from those two: other calls did not end
 * soon, so nothing was done. */
CK_RV kw_guard_restart(const struct kw_guard *guard, struct kw_init_args *init);
/* How often something had the module to itself. Slots may have other numbers, and sessions are
 * void, where this is not what it was. */
unsigned long kw_guard_starts(struct kw_guard *guard);
/* How many sessions are open, as far as it is known. */
size_t kw_guard_sessions(struct kw_guard *guard);
/* Whether a call has not come back yet. *ret_waited_ms (or NULL): how long one was waited for. */
bool kw_guard_is_stuck(struct kw_guard *guard, unsigned *ret_waited_ms);
/* For how long nobody has waited for it any more, at least 1; 0 where none hangs. No more than 1
 * while another call is waited for, which may be what it waits for. */
uint64_t kw_guard_stuck_ms(struct kw_guard *guard);
/* C_DecryptInit and, where that succeeds, C_Decrypt, within the time of one call: handing a call to
 * another thread and back costs up to 50 us. *ret_init is the answer to the first, CKR_OK where
 * none came in time. */
CK_RV kw_guard_decrypt(const struct kw_guard *guard, CK_SESSION_HANDLE session,
                       const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, const uint8_t *in,
                       size_t in_len, uint8_t *out, CK_ULONG *out_len, CK_RV *ret_init);
/* Ends the threads that wait for work. */
void kw_guard_rest(struct kw_guard *guard);
/* How many C_Logins failed, so far, after nobody waited for their answers any more. */
unsigned kw_guard_late_refusals(struct kw_guard *guard);

/* ---- between guard.c, guard_calls.c, guard_copy.c, guard_sessions.c and guard_worker.c ---- */

/* The arguments of every function that is used here, each in the place of its kind. */
struct kw_call_args {
    CK_ULONG numbers[3]; /* slots, sessions, flags, users, handles, in their order */
    const CK_MECHANISM *mechanism;
    struct {
        CK_ATTRIBUTE *items;
        CK_ULONG count;
    } templates[2];
    const void *in;
    CK_ULONG in_len;
    const CK_UTF8CHAR *label; /* C_InitToken's: 32 bytes */
    void *out;                /* filled by the module */
    size_t out_size;
    CK_ULONG *results[2]; /* lengths, counts and handles, in their order */
};

enum kw_call {
    /* The module to themselves have */
    KW_CALL_INITIALIZE,
    KW_CALL_FINALIZE,
    KW_CALL_RESTART, /* both */
    /* without a session are */
    KW_CALL_GET_INFO,
    KW_CALL_GET_SLOT_LIST,
    KW_CALL_GET_SLOT_INFO,
    KW_CALL_GET_TOKEN_INFO,
    KW_CALL_INIT_TOKEN,
    KW_CALL_OPEN_SESSION,
    /* and in the session numbers[0] are */
    KW_CALL_CLOSE_SESSION,
    KW_CALL_GET_SESSION_INFO,
    KW_CALL_INIT_PIN,
    KW_CALL_LOGIN,
    KW_CALL_LOGIN_BY_PERSON,
    KW_CALL_LOGOUT,
    KW_CALL_CREATE_OBJECT,
    KW_CALL_DESTROY_OBJECT,
    KW_CALL_GET_ATTRIBUTE_VALUE,
    KW_CALL_GET_VALUE, /* the same, with CKA_VALUE among them */
    KW_CALL_SET_ATTRIBUTE_VALUE,
    KW_CALL_FIND_OBJECTS_INIT,
    KW_CALL_FIND_OBJECTS,
    KW_CALL_FIND_OBJECTS_FINAL,
    KW_CALL_ENCRYPT_INIT,
    KW_CALL_ENCRYPT,
    KW_CALL_DECRYPT_INIT,
    KW_CALL_DECRYPT,
    KW_CALL_DECRYPT_AT_ONCE, /* both */
    KW_CALL_SIGN_INIT,
    KW_CALL_SIGN,
    KW_CALL_GENERATE_KEY,
    KW_CALL_GENERATE_KEY_PAIR,
    KW_CALL_WRAP_KEY,
    KW_CALL_UNWRAP_KEY,
    KW_CALL_COUNT
};
struct kw_call_kind {
    CK_RV (*run)(const CK_FUNCTION_LIST *real, const struct kw_call_args *args);
    unsigned patience; /* so many times the timeout */
    bool secret;       /* what is in `in`, `out` and in attributes */
    bool gives_back;   /* the attributes are filled by the module */
};
extern const struct kw_call_kind kw_call_kinds[KW_CALL_COUNT];

/* The functions of a guard, each of which ends in kw_guard_call with the guard's number. */
void kw_guard_fill_list(size_t number, const CK_FUNCTION_LIST *real, CK_FUNCTION_LIST *list);
CK_RV kw_guard_call(size_t number, enum kw_call which, const struct kw_call_args *args);

/* Arguments with all that they point to, in memory that is theirs until they are freed. */
struct kw_call_copy {
    struct kw_call_args args;
    void *plain;
    size_t plain_size;
    struct kw_secret *secret;
    bool wipe;
};
/* False where there is no memory, or none that can be locked. */
bool kw_call_copy_init(struct kw_call_copy *copy, const struct kw_call_kind *kind,
                       const struct kw_call_args *args);
/* What the module gave, to where the caller wants it. */
void kw_call_copy_back(const struct kw_call_copy *copy, const struct kw_call_kind *kind,
                       const struct kw_call_args *args);
void kw_call_copy_cleanup(struct kw_call_copy *copy);

/* The sessions of a module that are open. All zero: none. */
struct kw_sessions {
    struct kw_session_number {
        CK_SESSION_HANDLE number, handle; /* outside of the guard, and the module's */
    } * items;
    size_t count;
    size_t room;
    CK_SESSION_HANDLE last; /* number that was given */
};
/* Room for so many more to be added. False where there is no memory. */
bool kw_sessions_reserve(struct kw_sessions *sessions, size_t more);
/* Gives the number. */
CK_SESSION_HANDLE kw_sessions_add(struct kw_sessions *sessions, CK_SESSION_HANDLE handle);
bool kw_sessions_find(const struct kw_sessions *sessions, CK_SESSION_HANDLE number,
                      CK_SESSION_HANDLE *ret_handle);
void kw_sessions_remove(struct kw_sessions *sessions, CK_SESSION_HANDLE number);
/* All that are open. */
void kw_sessions_void(struct kw_sessions *sessions);
void kw_sessions_cleanup(struct kw_sessions *sessions);

/* A thread that does one job after the other, and waits in between. One thread at a time may call
 * what follows for the same worker. */
struct kw_worker;
struct kw_worker_load {
    atomic_uint under_way; /* jobs of all workers, as whoever gives them counts */
    unsigned processors;
};
/* In the worker's thread. False: nobody waits for the answer any more, and it ends. */
typedef bool (*kw_worker_fn)(void *context, void *job);
/* `load` must outlive it. NULL where there is no memory, or there are too many threads. */
struct kw_worker *kw_worker_new(kw_worker_fn work, void *context, struct kw_worker_load *load);
/* False: it was not done in that time; then kw_worker_wait or kw_worker_abandon. */
bool kw_worker_give(struct kw_worker *worker, void *job, unsigned timeout_ms);
void kw_worker_wait(struct kw_worker *worker);
/* It frees itself when its job has come back, which `work` is to say. */
void kw_worker_abandon(struct kw_worker *worker);
/* A list of those that have nothing to do; NULL is an empty one. */
void kw_worker_put_by(struct kw_worker **idle, struct kw_worker *worker);
struct kw_worker *kw_worker_take(struct kw_worker **idle);
/* Ends the threads of all, and waits for that. */
void kw_workers_end(struct kw_worker *idle);

#endif
