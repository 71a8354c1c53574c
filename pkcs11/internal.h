/* What the files of pkcs11/ share. Nothing outside of this folder includes it. */
#ifndef KW_PKCS11_INTERNAL_H
#define KW_PKCS11_INTERNAL_H

#include <pthread.h>

#include <p11-kit/pkcs11.h>

#include "token.h"

/* ---- answers of a token: rv.c ---- */

/* Answers of our own; no vendor's numbers begin with "KW". All but the last are the guard's. */
#define KW_CKR_TIMED_OUT (CKR_VENDOR_DEFINED | 0x4B570001UL) /* or the module is stuck */
#define KW_CKR_NO_MEMORY (CKR_VENDOR_DEFINED | 0x4B570002UL) /* the module was not called */
#define KW_CKR_BUSY      (CKR_VENDOR_DEFINED | 0x4B570004UL) /* with other calls */
#define KW_CKR_NONSENSE  (CKR_VENDOR_DEFINED | 0x4B570003UL) /* CKR_OK, with what can't be */

/* What a CK_RV means for what to do next. */
enum kw_rv_meaning {
    KW_RV_OTHER,
    KW_RV_DONE,            /* CKR_OK */
    KW_RV_SESSION_LOST,    /* the session, or the operation in it, is gone */
    KW_RV_LOGIN_LOST,      /* nobody is logged in */
    KW_RV_HANDLE_STALE,    /* the object handle means nothing any more */
    KW_RV_TOKEN_GONE,      /* removed, or its slot is another one now */
    KW_RV_DEVICE_TROUBLE,  /* may be a token that is gone, may be a bad ciphertext */
    KW_RV_TROUBLE,         /* something failed, and it isn't said what */
    KW_RV_TIMED_OUT,       /* no answer came in time: guard.c */
    KW_RV_NOT_INITIALIZED, /* somebody called C_Finalize, or this is a child after fork */
    KW_RV_MEMORY,          /* the token's, or the module's */
    KW_RV_SESSION_COUNT,   /* no more sessions */
    KW_RV_NOT_OFFERED,     /* the mechanism or its parameters */
    KW_RV_NOT_PERMITTED,   /* not with this key */
    KW_RV_PIN_WRONG,
    KW_RV_PIN_LENGTH,
    KW_RV_PIN_LOCKED,
    KW_RV_PIN_EXPIRED,
    KW_RV_PIN_UNSET,  /* the token has no user PIN yet */
    KW_RV_LOGGED_IN,  /* already, as the same user */
    KW_RV_OTHER_USER, /* the security officer is logged in */
};
enum kw_rv_meaning kw_rv_meaning(CK_RV rv);
/* "CKR_GENERAL_ERROR", or its number where it has no name here. Returns `out`. */
#define KW_RV_NAME_SIZE 48
const char *kw_rv_name(CK_RV rv, char out[KW_RV_NAME_SIZE]);
/* What may help. In one operation each is tried once, the cheaper one first: see token.c. */
enum kw_remedy {
    KW_REMEDY_NONE,
    KW_REMEDY_ASK_AGAIN, /* in another session */
    KW_REMEDY_RECONNECT, /* opening, logging in and finding the key again */
};
enum kw_remedy kw_rv_remedy(CK_RV rv);
/* Whether something was lost: the remedy is to reconnect. */
bool kw_rv_recoverable(CK_RV rv);

/* ---- modules: module.c ---- */

/* NSS reads one more pointer after pReserved. */
struct kw_init_args {
    CK_C_INITIALIZE_ARGS args;
    void *after;
};

/* CK_RSA_AES_KEY_WRAP_PARAMS, which not every header has. */
struct kw_rsa_aes_params {
    CK_ULONG aes_bits;
    CK_RSA_PKCS_OAEP_PARAMS *oaep;
};

struct kw_module;
struct kw_quirks;
/* Loads and initialises the module, or takes one more hold of it. timeout_s: as in
 * kw_token_options; those who share a module wait as long as the most patient of them. */
enum kw_status kw_module_get(const char *path, const char *init_args, unsigned timeout_s,
                             struct kw_module **ret_module, struct kw_error *err);
/* The last one to let go finalises it, if it was initialised here. It stays mapped. */
void kw_module_put(struct kw_module *module);
/* Behind a guard: a call that takes too long answers KW_RV_TIMED_OUT, and so does every one after
 * it until that one has come back. */
const CK_FUNCTION_LIST *kw_module_functions(const struct kw_module *module);
/* As kw_guard_decrypt. */
CK_RV kw_module_decrypt(const struct kw_module *module, CK_SESSION_HANDLE session,
                        const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, const uint8_t *in,
                        size_t in_len, uint8_t *out, CK_ULONG *out_len, CK_RV *ret_init);
bool kw_module_is_stuck(const struct kw_module *module);
/* KW_TOKEN: the token of that label, or the module where it is NULL, did not answer in time. */
enum kw_status kw_module_no_answer(const struct kw_module *module, const char *label,
                                   struct kw_error *err);
const char *kw_module_path(const struct kw_module *module);
const struct kw_quirks *kw_module_quirks(const struct kw_module *module);
/* How often the module was started; see guard.h. The slots may have other numbers than before, and
 * what was open is void. */
unsigned long kw_module_starts(const struct kw_module *module);
/* C_Finalize and C_Initialize: the only cure for a module whose daemon or storage came back, and
 * C_Initialize alone where `failure`, which a token met, says that somebody else finalised it. All
 * tokens of the module lose their sessions and the login, and find their own way back: see guard.h
 * and token.c. Done at once where no session is open, else not again and again, as the others may
 * be well. True also where it was done since kw_module_starts gave `starts`. */
bool kw_module_start_anew(struct kw_module *module, unsigned long starts, CK_RV failure);
/* PINs that a token of this module refused; kept as long as the process lives, so that opening the
 * token once more does not send one twice. */
bool kw_module_pin_was_refused(struct kw_module *module, const CK_TOKEN_INFO *token,
                               const struct kw_secret *pin);
/* Takes `pin` over. */
void kw_module_remember_refused_pin(struct kw_module *module, const CK_TOKEN_INFO *token,
                                    struct kw_secret *pin);
/* The same of one that got no answer: it counts as refused if the module refuses one after all.
 * `late_refusals` is what kw_module_late_refusals gave before it was sent. */
void kw_module_remember_unanswered_pin(struct kw_module *module, const CK_TOKEN_INFO *token,
                                       struct kw_secret *pin, unsigned late_refusals);
unsigned kw_module_late_refusals(const struct kw_module *module);

/* ---- what is known of kinds of modules: quirks.c ---- */

/* A module is of this kind where its CK_INFO begins with the two texts (NULL: any), or its file's
 * name with `file`. Where it is said what tokens are, it is true of each that the module has. */
struct kw_quirks {
    const char *name;         /* for people; NULL in the row of all other modules */
    const char *manufacturer; /* in CK_INFO; NULL where that is not known */
    const char *description;
    const char *file;
    const char *const *paths; /* where it usually is, for kw_trial_module; ends with NULL */
    bool in_process;          /* its tokens are software in the process that loads it, and nothing
                                 else: what is secret on them is in that process's memory anyway */
    bool may_init;            /* Keyward may initialise its tokens: they are for trials */
    bool rw_sessions;         /* it opens no read-only sessions */
    bool no_session_keys;     /* every key that it makes stays: whoever tries out removes them */
    bool fixed_usage;         /* it decides itself what a key may do, and fails if it is told */
    bool documented;          /* all of this is from documentation, and was not tried */
    const char *to_init;      /* with which command of its own: half a sentence */
    const char *to_remove;    /* the command that removes a token, where may_init */
};
/* `info` NULL: by the file's name alone. Never NULL. */
const struct kw_quirks *kw_quirks_find(const CK_INFO *info, const char *path);
/* Appends its name and what is done otherwise for it. */
enum kw_status kw_quirks_print(const struct kw_quirks *quirks, struct kw_buffer *text);

/* ---- slots: slots.c ---- */

struct kw_slot {
    CK_SLOT_ID id;
    CK_TOKEN_INFO info;
};
/* All tokens that are there now, initialised or not. The caller frees *ret_slots with free(). */
enum kw_status kw_slots_read(const struct kw_module *module, struct kw_slot **ret_slots,
                             size_t *ret_count, struct kw_error *err);
/* The one initialised token that the URI (or NULL) matches. */
enum kw_status kw_slot_find(const struct kw_module *module, const struct kw_uri *uri,
                            struct kw_slot *ret_slot, struct kw_error *err);
/* The slot that holds the same token now. */
enum kw_status kw_slot_find_again(const struct kw_module *module, const CK_TOKEN_INFO *token,
                                  CK_SLOT_ID *ret_slot, struct kw_error *err);
bool kw_same_token(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b);
void kw_token_info_fill(struct kw_token_info *info, const CK_TOKEN_INFO *from);
/* In uri.c, which knows what a URI holds. */
bool kw_uri_matches_token_info(const struct kw_uri *uri, const CK_TOKEN_INFO *token);
bool kw_uri_matches_token(const struct kw_uri *uri, const CK_INFO *module, const CK_SLOT_INFO *slot,
                          const CK_TOKEN_INFO *token);

/* ---- the text of URIs: uri_scan.c ---- */

#define KW_URI_SCHEME "pkcs11:"
#define KW_URI_MAX    2048
/* Empty buffers of KW_URI_MAX + 1; the caller cleans them up and owns `pin`, also after a failure.
 */
struct kw_uri_text {
    struct kw_buffer rest;   /* all but the PIN, for p11-kit */
    struct kw_buffer public; /* what may be shown */
    struct kw_secret *pin;   /* decoded, or NULL */
};
/* Refuses what kw_uri_parse refuses, and takes the PIN out. */
enum kw_status kw_uri_scan(const char *text, struct kw_uri_text *out, struct kw_error *err);

/* ---- tokens: token.c ---- */

/* Where a private key was found. */
struct kw_found_key {
    bool used;
    CK_OBJECT_HANDLE handle;
    uint8_t id[KW_KEY_ID_MAX];
    size_t id_len;
    uint8_t modulus[KW_RSA_MAX_BYTES];
    size_t modulus_len;
};
#define KW_FOUND_KEYS 16

/* Where an AES key was found; of the key, id and label. */
struct kw_found_aes {
    bool used;
    CK_OBJECT_HANDLE handle;
    struct kw_token_key key;
};
#define KW_FOUND_AES 8

/* What a way to wrap bytes with AES was seen to do, right: aes.c. */
struct kw_aes_skill {
    bool wraps;     /* a multiple of 8 bytes */
    bool wraps_odd; /* any other number */
    bool unwraps;
};
#define KW_AES_WAYS 4

enum kw_rung { KW_RUNG_NATIVE, KW_RUNG_RAW, KW_RUNG_COUNT };

struct kw_token {
    /* Not changed after kw_token_open. */
    struct kw_crypto *crypto;
    struct kw_module *module;
    const CK_FUNCTION_LIST *functions;
    CK_TOKEN_INFO identity;
    struct kw_token_info info;
    bool unattended;
    kw_pin_fn ask_pin;
    void *ask_pin_context;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t session_freed;
    size_t waiting; /* for that */
    CK_SLOT_ID slot;
    unsigned long starts; /* of the module, when it was connected */
    unsigned long epoch;  /* grows with each reconnection: older sessions and handles are void */
    bool connected;       /* `anchor` is open: the session that keeps the login alive */
    CK_SESSION_HANDLE anchor;
    bool shows_login; /* C_GetSessionInfo tells of a login, so it tells of its loss too */
    CK_SESSION_HANDLE *idle;
    size_t idle_count;
    size_t open_count; /* idle and in use, without the anchor and what is read-write */
    size_t rw_count;
    size_t max_sessions;
    uint64_t connections; /* how often it was connected */
    struct kw_secret *pin;
    bool pin_accepted; /* it logged in at least once */
    bool pin_refused;
    struct kw_found_key found[KW_FOUND_KEYS];
    size_t next_found;
    struct kw_found_aes found_aes[KW_FOUND_AES];
    size_t next_found_aes;
    uint64_t aes_due_ms[2]; /* when it is tried out, without padding and with it */
    struct kw_aes_skill aes_skills[2][KW_AES_WAYS];
    enum kw_rung first_rung[KW_WRAP_ALG_COUNT]; /* what worked last */
    size_t sign_first[2]; /* which way to sign a digest worked last, without PSS and with it */
    struct kw_throwaway *trial; /* for trying out transfers; NULL until it is needed */
};

/* A session in use by one thread. Whoever sees a call in it fail notes that in `failure`: the
 * session is closed then, not used again. */
struct kw_session {
    CK_SESSION_HANDLE handle;
    unsigned long epoch;
    CK_RV failure;
    bool input_doubted; /* what failed may be the ciphertext: the token itself may be well */
};
typedef enum kw_status (*kw_session_fn)(struct kw_token *token, struct kw_session *session,
                                        void *context, struct kw_error *err);
/* Calls `work` with a session of the pool. Where it fails, and session->failure has a remedy, calls
 * it once more after each of these. */
enum kw_status kw_token_with_session(struct kw_token *token, kw_session_fn work, void *context,
                                     struct kw_error *err);
/* The same with a read-write session of its own, which is closed afterwards and takes no place in
 * the pool; only after something was lost, for what changes a token is not done twice on the off
 * chance. */
enum kw_status kw_token_with_rw_session(struct kw_token *token, kw_session_fn work, void *context,
                                        struct kw_error *err);
/* "the token "t1" failed to do <what>" with the name of `rv`, which goes to session->failure. */
enum kw_status kw_session_fail(struct kw_token *token, struct kw_session *session, CK_RV rv,
                               const char *what, struct kw_error *err);
enum kw_status kw_token_fail(const struct kw_token *token, CK_RV rv, const char *what,
                             struct kw_error *err);
/* KW_TOKEN where the login was lost. Private keys are hidden then, so a search that found nothing,
 * or less, proves nothing. */
enum kw_status kw_session_check_login(struct kw_token *token, struct kw_session *session,
                                      struct kw_error *err);
/* For C_OpenSession where nothing is to be changed. */
CK_FLAGS kw_token_session_flags(const struct kw_token *token);
/* Finds the slot, opens the anchor and logs in. Under the lock. */
enum kw_status kw_token_connect(struct kw_token *token, struct kw_error *err);

/* ---- logging in: login.c ---- */

bool kw_user_is_logged_in(const struct kw_token *token, CK_SESSION_HANDLE session);
/* KW_PIN_WRONG: some tokens say so in any call. */
enum kw_status kw_pin_expired(const struct kw_token *token, CK_RV rv, struct kw_error *err);
/* Logs the user in unless that is so already. Under the lock. */
enum kw_status kw_token_login(struct kw_token *token, CK_SESSION_HANDLE session,
                              struct kw_error *err);
/* CKU_CONTEXT_SPECIFIC, for a key with CKA_ALWAYS_AUTHENTICATE. Takes the lock. */
enum kw_status kw_token_login_for_key(struct kw_token *token, CK_SESSION_HANDLE session,
                                      struct kw_error *err);

/* ---- sessions: pool.c ---- */

/* Waits while all sessions are in use. Connects first where the token is not connected. */
enum kw_status kw_pool_take(struct kw_token *token, struct kw_session *ret_session,
                            struct kw_error *err);
void kw_pool_give_back(struct kw_token *token, struct kw_session *session);
/* Closes the idle sessions. Under the lock. */
void kw_pool_close_idle(struct kw_token *token);
enum kw_status kw_pool_open_rw(struct kw_token *token, struct kw_session *ret_session,
                               struct kw_error *err);
void kw_pool_close_rw(struct kw_token *token, const struct kw_session *session);

/* ---- attributes and searches: attributes.c ---- */

/* Reads `count` (at most KW_ATTRIBUTES_MAX) attributes, all in one call where the token can, else
 * one by one. What the token does not tell has ulValueLen CK_UNAVAILABLE_INFORMATION afterwards;
 * every other length is within its buffer. Fails only with what has a remedy. */
#define KW_ATTRIBUTES_MAX 16
CK_RV kw_attributes_read(const CK_FUNCTION_LIST *functions, struct kw_session *session,
                         CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes, size_t count);
bool kw_attribute_known(const CK_ATTRIBUTE *attribute);
/* Takes leading zeros off a big-endian number. */
void kw_number_trim(const uint8_t **number, size_t *len);
/* The handles of all objects that have the attributes; more than `max` is KW_TOKEN. The caller
 * frees *ret_handles with free(). */
enum kw_status kw_objects_find(struct kw_token *token, struct kw_session *session,
                               CK_ATTRIBUTE *attributes, size_t count, size_t max,
                               CK_OBJECT_HANDLE **ret_handles, size_t *ret_count,
                               struct kw_error *err);

/* ---- where a key is now: find.c ---- */

/* The handle of the private key that has this id and this modulus: the remembered one, else by a
 * search. With `check` the modulus behind the remembered one is read and compared first, for a
 * token may have given the handle to another key since; that costs a call. KW_KEY_NOT_FOUND. */
enum kw_status kw_key_handle(struct kw_token *token, struct kw_session *session,
                             const struct kw_token_key *key, bool check,
                             CK_OBJECT_HANDLE *ret_handle, struct kw_error *err);
/* The key was found there; for kw_key_handle. */
void kw_key_remember(struct kw_token *token, const struct kw_session *session,
                     const struct kw_token_key *key, CK_OBJECT_HANDLE handle);
/* Keys of this id are gone: should one come back, with the same modulus too, its handle is another
 * one, and the old one may be the handle of anything. */
void kw_key_forget(struct kw_token *token, const struct kw_token_key *key);
/* Whether the object has the key's modulus. Fails only where kw_rv_recoverable. */
CK_RV kw_key_check_modulus(struct kw_token *token, struct kw_session *session,
                           const struct kw_token_key *key, CK_OBJECT_HANDLE handle,
                           bool *ret_equal);

/* ---- reading a key: objects.c ---- */

/* Of either half, into a zeroed struct; what the half does not tell is left alone. Fails only where
 * kw_rv_recoverable. */
CK_RV kw_key_read(struct kw_token *token, struct kw_session *session, CK_OBJECT_HANDLE object,
                  struct kw_token_key *key);
/* Dates and exponent from the public half, where the private one does not tell them. */
void kw_key_add_public(struct kw_token_key *key, const struct kw_token_key *public);
/* CKA_START_DATE or CKA_END_DATE as "2026-10-05"; `out` is left alone where there is no date. */
void kw_date_set(char out[11], const CK_ATTRIBUTE *attribute);

/* ---- what a new key is to be: make_plan.c ---- */

/* Of the private half; the public one does the counterparts. */
extern const struct kw_use_flags kw_use_flags[KW_USE_COUNT];
/* KW_USAGE. The size is looked at where the token makes the key. */
enum kw_status kw_plan_check(const struct kw_key_plan *plan, bool check_bits, struct kw_error *err);
enum kw_status kw_plan_check_label(const char *label, struct kw_error *err);
/* Each NULL, "" or a date; not the second before the first. */
enum kw_status kw_plan_check_dates(const char *not_before, const char *expires,
                                   struct kw_error *err);

/* Attributes for the token. They point into the struct and to what was added, so it is not copied.
 */
#define KW_TEMPLATE_MAX 32
struct kw_template {
    CK_ATTRIBUTE items[KW_TEMPLATE_MAX];
    CK_ULONG count;
    CK_CHAR dates[2][8];
    size_t date_count;
};
void kw_template_add(struct kw_template *template, CK_ATTRIBUTE_TYPE type, const void *value,
                     size_t len);
void kw_template_add_bool(struct kw_template *template, CK_ATTRIBUTE_TYPE type, bool value);
/* "2026-10-05", or "" for an empty one; at most two in a template. */
void kw_template_add_date(struct kw_template *template, CK_ATTRIBUTE_TYPE type, const char *date);
/* Adds what the plan says of a half: where it is stored, its usage, label, id and dates; not its
 * class, key type and numbers. */
void kw_template_add_private(struct kw_template *template, const struct kw_key_plan *plan);
void kw_template_add_public(struct kw_template *template, const struct kw_key_plan *plan);
/* Changes a value that was added. */
void kw_template_set_bool(struct kw_template *template, CK_ATTRIBUTE_TYPE type, bool value);
/* Takes what the plan says of usage out again, for tokens that decide on it themselves. */
void kw_template_drop_usage(struct kw_template *template);
/* CKA_CLASS and CKA_KEY_TYPE. */
void kw_template_add_rsa_class(struct kw_template *template, CK_OBJECT_CLASS class);

/* ---- making a key: make.c ---- */

/* Makes the objects of a new key in a read-write session, the private half last where they are made
 * one after the other: should the token be lost in between, what is left is no private key without
 * its public half. Ends with kw_pair_check, which fills *ret_key. May be called a second time after
 * the session was lost; what the first time made is gone then. */
typedef enum kw_status (*kw_create_fn)(struct kw_token *token, struct kw_session *session,
                                       const struct kw_key_plan *plan, void *context,
                                       struct kw_token_key *ret_key, struct kw_error *err);
/* Whatever makes a key goes through here: refuses an id that is taken (KW_EXISTS), calls `create`,
 * and after a failure removes every half that has the id, be it in another session. The plan was
 * checked. */
enum kw_status kw_pair_make(struct kw_token *token, const struct kw_key_plan *plan,
                            kw_create_fn create, void *context, struct kw_token_key *ret_key,
                            struct kw_error *err);
/* Compares both halves with the plan and fills *ret_key. `bits` 0: of any size that is used here.
 */
enum kw_status kw_pair_check(struct kw_token *token, struct kw_session *session,
                             CK_OBJECT_HANDLE private_handle, CK_OBJECT_HANDLE public_handle,
                             const struct kw_key_plan *plan, unsigned bits,
                             struct kw_token_key *ret_key, struct kw_error *err);
/* C_CreateObject of the public half. */
enum kw_status kw_public_create(struct kw_token *token, struct kw_session *session,
                                const struct kw_key_plan *plan, const struct kw_rsa_public *numbers,
                                CK_OBJECT_HANDLE *ret_handle, struct kw_error *err);
/* Whether the token does not do such a thing, and did nothing. */
bool kw_make_refused(CK_RV rv);
/* KW_KEY_UNUSABLE where kw_make_refused, else kw_session_fail. */
enum kw_status kw_make_fail(struct kw_token *token, struct kw_session *session, CK_RV rv,
                            const char *what, struct kw_error *err);

/* ---- both halves of a key: make_halves.c ---- */

/* The RSA keys of a class that have the key's id, and its modulus unless modulus_len is 0. The
 * caller frees *ret_handles with free(). */
enum kw_status kw_halves_find(struct kw_token *token, struct kw_session *session,
                              CK_OBJECT_CLASS class, const struct kw_token_key *key,
                              CK_OBJECT_HANDLE **ret_handles, size_t *ret_count,
                              struct kw_error *err);
/* Destroys them, private ones first; adds their number to *count. */
enum kw_status kw_halves_destroy(struct kw_token *token, struct kw_session *session,
                                 const struct kw_token_key *key, size_t *count,
                                 struct kw_error *err);
/* Whether the dates are what was asked for (NULL: not asked): every half (CK_INVALID_HANDLE: none)
 * that tells a date tells that one, and one of them does tell it. Fails only where
 * kw_rv_recoverable. */
CK_RV kw_halves_check_dates(struct kw_token *token, struct kw_session *session,
                            const CK_OBJECT_HANDLE handles[2], const char *not_before,
                            const char *expires, bool *ret_equal);

#endif
