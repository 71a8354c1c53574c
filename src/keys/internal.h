/* What the files of src/keys share. */
#ifndef KW_KEYS_INTERNAL_H
#define KW_KEYS_INTERNAL_H

#include <pthread.h>

#include "keys.h"
#include "vault/vault.h"

/* Where the token is and where its PIN comes from. Strings belong to the configuration or `uri`. */
struct token_choice {
    const struct kw_config_token *configured; /* NULL: named by its URI, or not at all */
    struct kw_uri *uri;                       /* NULL: any token, if the module has only one */
    const char *url;                          /* of a vault instead of a token, or NULL; only until
                                                 that is open */
    const char *module;                       /* NULL: no token is named at all, or too many are */
    size_t candidates;                        /* so many could be meant */
    const char *init_args;
    const char *pin_source;
    size_t sessions;
    unsigned timeout_s;
    unsigned give_up_s;
};

struct kept_data_key {
    const struct kw_token_key *key;
    uint8_t wrapped_sha256[KW_SHA256_SIZE];
    struct kw_data_key data_key;
};

/* What is known of a key's record. */
struct key_note {
    bool read;
    bool changed; /* since then: `record` stays for whoever lists keys, but decides nothing */
    struct kw_key_record record;
    enum kw_key_state known; /* the last that was heard; KW_KEY_ENABLED where nothing was */
};

/* What a keyring has in common with the one that stands in for it. */
struct kw_common {
    pthread_mutex_t lock; /* guards what follows; not held while a module is called */
    struct kw_strings warnings;
    struct kw_trail *trail; /* opened when it is first needed */
    bool trail_grew;        /* since it was signed */
    uint64_t tended_ms;     /* when it was last signed, or that was tried */
    const char *unconfined; /* why; NULL: it is confined, or that is on the trail already */
    bool knows_who;
    struct kw_who who; /* for records, found out before the process was confined */
};

/* A key that was asked for before all were read. It stays where it is until the keys are read anew.
 */
struct picked_key {
    char *text; /* what it was asked for by */
    struct kw_token_key key;
    struct key_note note;
    struct picked_key *next;
};

/* By its modulus, or by what a URI says of it. */
struct reserved_key {
    struct kw_uri *uri; /* owned; NULL: by its modulus */
    struct kw_rsa_public public;
    struct reserved_key *next;
};

struct failover;

struct kw_keyring {
    struct kw_config config;
    struct kw_crypto *crypto;
    struct kw_common *common;
    struct token_choice choice;
    kw_ask_pin_fn ask_pin;
    void *ask_pin_context;
    struct kw_keyring *twin;   /* of the token that serves where this one's fails, or whose place
                                  this one's takes; NULL: there is none */
    struct failover *failover; /* of the two; NULL in the one that stands in, and without a twin */
    struct kw_vault *vault;    /* in the place of a token, or NULL */
    struct kw_token_info vault_info;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t opened;
    bool opening; /* the token, by a thread that doesn't hold the lock */
    /* Set once, and the notes' `known` changed, with what is in common locked too: the twin looks
     * at them with that alone. */
    struct kw_token *token;
    struct kw_token_stats stats; /* the last that were had; of it, with what is in common locked */
    bool stale;                  /* the keys are to be read anew when they are next needed */
    struct kw_token_key *keys;
    size_t key_count;
    struct key_note *notes; /* one a key */
    struct picked_key *picked;
    struct reserved_key *reserved;
    bool reserved_known;          /* the moduli of all keys that were read and are reserved */
    struct kw_token_key *signers; /* that are not among the keys that were read */
    size_t signer_count;
    bool signers_read;                /* since the records were that are being judged */
    const struct kw_purpose *purpose; /* of acts that don't say it for themselves, or NULL */
    enum kw_wrap_alg last_worked;
    struct kept_data_key kept[KW_KEPT_DATA_KEYS]; /* a ring */
    size_t kept_next;
};

/* Adds a warning. Takes the lock of what is in common alone. */
void kw_keyring_warn(struct kw_keyring *keyring, const char *format, ...) KW_PRINTF(2, 3);

/* All of kw_keyring_reserve and kw_keyring_reserve_uri. */
void kw_forget_reserved(struct kw_keyring *keyring);
/* The keys that were read, and what was concluded from them; as in the keyring. */
struct kw_read_keys {
    struct kw_token_key *keys;
    size_t key_count;
    struct key_note *notes;
    struct picked_key *picked;
    struct kw_token_key *signers;
    size_t signer_count;
};
/* With the lock held, as the next ones: leaves the keyring without keys and kept data keys. */
void kw_put_keys_aside(struct kw_keyring *keyring, struct kw_read_keys *ret_aside);
/* In the place of those that were read meanwhile. */
void kw_bring_keys_back(struct kw_keyring *keyring, const struct kw_read_keys *aside);
void kw_read_keys_cleanup(struct kw_read_keys *aside);
void kw_forget_keys(struct kw_keyring *keyring);
/* With the lock held: opens the token unless that was done. KW_KEY_UNUSABLE where a vault is in its
 * place: for what only a token does. */
enum kw_status kw_keyring_open_token(struct kw_keyring *keyring, struct kw_error *err);
/* With the lock held: opens the token and reads its keys unless that was done; no vault's. */
enum kw_status kw_keyring_connect(struct kw_keyring *keyring, struct kw_error *err);
/* The same of the token or the vault, whichever there is. */
enum kw_status kw_keyring_open_either(struct kw_keyring *keyring, struct kw_error *err);
enum kw_status kw_keyring_connect_either(struct kw_keyring *keyring, struct kw_error *err);
/* With the lock held and the token open: the key that `text` (a URI, an id, a label) means, read
 * alone; it stays where it is until the keys are read anew. NULL where there is none, or its label
 * is not that very one to the token; of a vault KW_KEY_NOT_FOUND. KW_KEY_AMBIGUOUS. */
enum kw_status kw_keyring_pick(struct kw_keyring *keyring, const char *text,
                               const struct kw_token_key **ret_key, struct kw_error *err);
/* With the lock held: what is noted of a key that the keyring read; NULL for any other. */
struct key_note *kw_keyring_note_of(struct kw_keyring *keyring, const struct kw_token_key *key);
/* Without the lock: asks the token for its keys, whatever was read before. KW_KEY_NOT_FOUND unless
 * each of `wanted` is there, and where it was before. `unattended`: no one is asked for a PIN, that
 * is KW_PIN_MISSING. */
enum kw_status kw_keyring_reach(struct kw_keyring *keyring, bool unattended,
                                const struct kw_rsa_public *wanted, size_t wanted_count,
                                struct kw_error *err);
/* The NAME of its [token]; of one that has a twin. */
const char *kw_keyring_name(const struct kw_keyring *keyring);

/* ---- using a key: operate.c ---- */

struct kw_act;
/* What is done with a key, and for what. */
struct kw_operation {
    const char *op; /* for the trail */
    const char
        *alg; /* the same; NULL where only the outcome tells: `work` sets act->deed.key.alg */
    const struct kw_purpose *purpose;
    bool no_record; /* such keys have none that could say that they may not be used */
    /* With a key of that keyring's token, which may be used. Leaves why it failed in act->failure.
     * Called again, with the other token, where that is the token's fault. */
    enum kw_status (*work)(struct kw_keyring *keyring, const struct kw_token_key *key,
                           void *context, struct kw_act *act);
    void *context;
};
/* Intent, whether the key may be used, work, outcome; on either token where there are two. After a
 * failure too `work` may have done it, where the outcome could not be written: what it gave is not
 * to be handed out then. Takes no lock for long: many threads may do this at the same time. */
enum kw_status kw_operate(struct kw_keyring *keyring, const struct kw_token_key *key,
                          const struct kw_operation *operation, struct kw_error *err);
/* The same on this keyring's token and no other. `key` is one of its own. */
enum kw_status kw_operate_here(struct kw_keyring *keyring, const struct kw_token_key *key,
                               const struct kw_operation *operation, struct kw_error *err);

/* ---- what a token and a vault both do: remote.c. A vault has no lock to be held, and its keys are
 * described as a token's: the name is the label, and the version the id ---- */

/* Opens the vault that is chosen, if one is; nothing is sent. */
enum kw_status kw_keyring_open_vault(struct kw_keyring *keyring, struct kw_error *err);
/* Of what is open; NULL: nothing is. */
const struct kw_token_info *kw_keyring_info(const struct kw_keyring *keyring);
/* As kw_token_keys, and kw_token_decrypt. */
enum kw_status kw_keyring_read_keys(struct kw_keyring *keyring, struct kw_token_key **ret_keys,
                                    size_t *ret_count, struct kw_error *err);
enum kw_status kw_keyring_raw_decrypt(struct kw_keyring *keyring, const struct kw_token_key *key,
                                      enum kw_wrap_alg alg, const uint8_t *wrapped,
                                      size_t wrapped_len, struct kw_secret **ret_secret,
                                      struct kw_error *err);
/* The keys of the vault that `text` means: the one with that version; else the versions of that
 * NAME; NAME/VERSION; the address of either. KW_KEY_NOT_FOUND. */
enum kw_status kw_vault_keys_of(struct kw_keyring *keyring, const char *text,
                                struct kw_token_key **ret_keys, size_t *ret_count,
                                struct kw_error *err);
/* What the vault says of a key besides, into an empty record. */
enum kw_status kw_vault_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                               struct kw_key_record *record, struct kw_error *err);

/* ---- two tokens: failover.c, failback.c ---- */

/* A PIN is not sent again, nor is anyone asked for one: trying again would not help. */
bool kw_is_pin_failure(enum kw_status status);

#define USED_KEYS 16

struct failover {
    struct kw_keyring *sides[2]; /* of the token that was asked for, and of the other one */
    uint64_t probe_ms;

    pthread_mutex_t lock; /* guards what follows; not held while a module is called */
    pthread_cond_t wake;
    size_t serving;       /* which side */
    uint64_t switches[2]; /* to which side, how often */
    /* What the second one has unwrapped with: the first must have it to be taken back. A ring. */
    struct kw_rsa_public used[USED_KEYS];
    size_t used_next;
    uint64_t returned_ms; /* when the first one served again; 0: it never had to */
    unsigned relapses;    /* how often it failed soon after that, one after the other */
    uint64_t due_ms;      /* when the first one is tried next */
    bool quit;
    bool has_thread, thread_over; /* it is to be joined; it is about to end */
    pthread_t thread;
};
/* Takes what serves where the keyring's token fails. `keyring` has a twin. */
enum kw_status kw_failover_new(struct kw_keyring *keyring, struct kw_error *err);
/* Waits for the thread: as long as its call into a module takes, so at most for a deadline. */
void kw_failover_free(struct failover *failover);
/* The side serves from now on, and that is on record. `why` it is not the other one any more, or
 * NULL where this one is back. Nothing is done where it serves already. KW_AUDIT. */
enum kw_status kw_failover_switch(struct failover *failover, size_t to, const struct kw_error *why,
                                  struct kw_error *err);
/* kw_operate of a keyring that has a failover. */
enum kw_status kw_failover_operate(struct failover *failover, const struct kw_token_key *key,
                                   const struct kw_operation *operation, struct kw_error *err);
/* Whether a failure is the token's, so that another one may help. */
bool kw_is_token_failure(enum kw_status status);
/* Fills in what is counted here. */
void kw_failover_count(struct failover *failover, struct kw_keyring_stats *stats);
/* Whose token serves now: this keyring's, or its twin's. */
struct kw_keyring *kw_failover_serving(struct kw_keyring *keyring);
/* With the lock held: the thread that brings the first side back, not before `wait_ms` are over. */
void kw_failback_start(struct failover *failover, uint64_t wait_ms);

/* The keys that `text` (a URI, an id, a label) means: the array of their indices is the caller's,
 * to be freed with free(). KW_KEY_NOT_FOUND where there are none, KW_KEY_AMBIGUOUS where there are
 * more than one and that is not wanted. */
enum kw_status kw_select_keys(const struct kw_token_key *keys, size_t count, const char *text,
                              bool only_one, size_t **ret_indices, size_t *ret_count,
                              struct kw_error *err);
/* KW_KEY_NOT_FOUND where `text` is a URI that names another token than the one that is open. */
enum kw_status kw_check_token(const struct kw_keyring *keyring, const char *text,
                              struct kw_error *err);

/* A plan and what it points to: it is not copied. */
#define KW_VERSION_BYTES 16
#define KW_DAY_SIZE      11
struct planned_key {
    uint8_t id[KW_VERSION_BYTES]; /* fresh */
    char not_before[KW_DAY_SIZE], expires[KW_DAY_SIZE];
    struct kw_key_plan plan;
};
/* Puts the settings' dates in the place of the plan's. */
void kw_plan_days(struct planned_key *planned, const struct kw_key_settings *settings);
/* With the lock held: when the newest version of that name was created, by the keys that were read;
 * left alone where there is none. */
enum kw_status kw_newest_created(struct kw_keyring *keyring, const char *name,
                                 char ret_created[KW_TIMESTAMP_SIZE], struct kw_error *err);
/* With the lock held: opens the token and plans a key from outside, whose name must be free.
 * KW_USAGE, KW_EXISTS. */
enum kw_status kw_keyring_plan(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                               struct planned_key *ret_planned, struct kw_error *err);

/* ---- what Key Vault knows of a key besides: settings.c ---- */

#define KW_POLICY_DEPTH 6
#define KW_POLICY_ITEMS 300
/* Whether it is an object whose text is short enough. */
bool kw_policy_fits(const struct cJSON *policy);
/* Printable, and not too long. */
bool kw_is_tag_text(const char *text, size_t len);
/* An array of names; NULL for want of memory. */
struct cJSON *kw_ops_to_json(unsigned ops);
/* False where it is none, empty, or names something twice or unknown. */
bool kw_ops_from_json(const struct cJSON *array, unsigned *ret_ops);
/* What the token is to let it do: nothing unless it is enabled. */
void kw_record_uses(const struct kw_key_record *record, struct kw_use_flags *ret_uses);
/* What it may do, or did before that was taken away. */
struct kw_use_flags kw_version_made_for(const struct kw_token_key *key,
                                        const struct kw_key_record *record);
/* The days for the token, "" for none: on which it begins to be valid, and the last one on which it
 * is valid wholly, though not before `first`. */
void kw_first_day(int64_t not_before, char out[KW_DAY_SIZE]);
void kw_last_day(int64_t expires, const char *first, char out[KW_DAY_SIZE]);
/* KW_USAGE. NULL asks for nothing. */
enum kw_status kw_settings_check(const struct kw_key_settings *settings, struct kw_error *err);
/* Settings that were checked. KW_USAGE where they don't fit the rest of the record. */
enum kw_status kw_record_apply(struct kw_key_record *record, const struct kw_key_settings *settings,
                               struct kw_error *err);

/* The kw_pin_fns of a keyring; the second one asks no one. */
enum kw_status kw_keyring_pin(void *keyring, const struct kw_token_info *token,
                              struct kw_secret **ret_pin, struct kw_error *err);
enum kw_status kw_keyring_pin_unattended(void *keyring, const struct kw_token_info *token,
                                         struct kw_secret **ret_pin, struct kw_error *err);

/* As kw_keyring_witness, and no more: it takes no lock but that of what is in common, and calls no
 * module. */
enum kw_status kw_keyring_append(struct kw_keyring *keyring, const struct kw_deed *deeds,
                                 size_t count, struct kw_error *err);

/* ---- acts that are on record: witness.c ---- */

struct kw_act {
    struct kw_deed deed;
    char id[2 * KW_KEY_ID_MAX + 1];
    char modulus_sha256[2 * KW_SHA256_SIZE + 1];
    struct kw_error failure; /* for what does the act to fill */
    unsigned long ck_rv;     /* of it, where `failure` does not tell: it is for the trail alone */
};
/* With the lock held, the token connected: puts the intent on record, for the purpose that the
 * keyring was told. `key` is NULL where it is yet to be made, under `name`. KW_AUDIT: then
 * nothing may be done. */
enum kw_status kw_act_begin(struct kw_keyring *keyring, struct kw_act *act, const char *op,
                            const struct kw_token_key *key, const char *name, struct kw_error *err);
/* The same for a purpose of its own; `alg` may be NULL. Needs no lock: many threads may do this at
 * the same time. */
enum kw_status kw_act_begin_unlocked(struct kw_keyring *keyring, struct kw_act *act,
                                     const struct kw_operation *operation,
                                     const struct kw_token_key *key, struct kw_error *err);
/* With the lock held: puts the outcome on record and hands `failure` on to *err. `made` is the key
 * that was made, or NULL. Returns `status`, or KW_AUDIT where the act was done and that can't be
 * written. */
enum kw_status kw_act_end(struct kw_keyring *keyring, struct kw_act *act, enum kw_status status,
                          const struct kw_token_key *made, struct kw_error *err);
/* The same of an act that was not begun with the lock held, and made no key. */
enum kw_status kw_act_end_unlocked(struct kw_keyring *keyring, struct kw_act *act,
                                   enum kw_status status, struct kw_error *err);

/* Waits for what is forwarded, and puts on the trail what was dropped. */
void kw_end_forwarding(struct kw_keyring *keyring);

/* ---- records: record.c, jws.c, signer.c, records.c, record_begin.c, catalogue.c. All with the
 * lock held ---- */

/* The payload, JSON; appended to *ret_text. KW_USAGE where it is too large. */
enum kw_status kw_record_encode(const struct kw_key_record *record, const struct kw_token_key *key,
                                const char *fingerprint, struct kw_buffer *ret_text,
                                struct kw_error *err);
/* Into a zeroed record. KW_DAMAGED where it is not a payload for that fingerprint. */
enum kw_status kw_record_decode(const char *text, size_t len, const char *fingerprint,
                                struct kw_key_record *record, struct kw_error *err);

/* Of the protected header, which names the key that signed by its id in hex. */
#define KW_JWS_HEADER_MAX (2 * KW_KEY_ID_MAX + 64)
/* RFC 7515 compact serialisation, PS256 or RS256, signed by a key on the token; appended to
 * *ret_jws. */
enum kw_status kw_jws_sign(struct kw_token *token, const struct kw_token_key *signer,
                           const struct kw_buffer *payload, struct kw_buffer *ret_jws,
                           struct kw_error *err);
/* The key that signed, by its kid; *ret_signer is NULL where there is none. */
typedef enum kw_status (*kw_jws_signer_fn)(void *context, const char *kid,
                                           const struct kw_token_key **ret_signer,
                                           struct kw_error *err);
/* *ret_fault is NULL where it verifies, with the payload appended to *ret_payload; else what is
 * wrong, in static memory. Fails where neither could be found out. */
enum kw_status kw_jws_verify(struct kw_crypto *crypto, const char *jws, size_t len,
                             kw_jws_signer_fn find_signer, void *context,
                             struct kw_buffer *ret_payload, const char **ret_fault,
                             struct kw_error *err);

/* KW_USAGE where the label is the one of the key that signs records: no other key gets it. */
enum kw_status kw_check_not_signer_label(const struct kw_keyring *keyring, const char *label,
                                         struct kw_error *err);
/* Whether it signs the records of the other keys. */
bool kw_is_signer(const struct kw_keyring *keyring, const struct kw_token_key *key);
const char *kw_signer_label(const struct kw_keyring *keyring);
/* A kw_jws_signer_fn whose context is a keyring; kid NULL: any. Reads the keys of the token again
 * where it is not known, once for each time that records are read. */
enum kw_status kw_signer_find(void *keyring, const char *kid,
                              const struct kw_token_key **ret_signer, struct kw_error *err);
/* One that is there, or a new one. KW_KEY_UNUSABLE where the token makes none. */
enum kw_status kw_signer_get(struct kw_keyring *keyring, const struct kw_token_key **ret_signer,
                             struct kw_error *err);
/* Reads the records of all keys, or of none. */
enum kw_status kw_note_all(struct kw_keyring *keyring, struct kw_error *err);
/* The record of one key, into a zeroed struct. KW_KEY_UNUSABLE where its modulus is not known. */
enum kw_status kw_record_load(struct kw_keyring *keyring, const struct kw_token_key *key,
                              struct kw_key_record *record, struct kw_error *err);
/* Signs and stores it with the next revision, in the place of what there is. KW_EXISTS where that
 * is not what the record was loaded from any more, KW_KEY_UNUSABLE where the token does not sign.
 */
enum kw_status kw_record_save(struct kw_keyring *keyring, const struct kw_token_key *key,
                              struct kw_key_record *record, struct kw_error *err);
/* The record may be another one now, or is, where `done`: data keys of that key are no longer kept,
 * and whether it may be used is asked anew. */
void kw_record_changed(struct kw_keyring *keyring, const struct kw_token_key *key,
                       const struct kw_key_record *record, bool done);
/* KW_KEY_UNUSABLE where the twin's token has the same key and it is known not to be in use there.
 */
enum kw_status kw_check_twin(struct kw_keyring *keyring, const struct kw_token_key *key,
                             struct kw_error *err);
/* A new key's record. One that takes its use from that very key stays: it came to the token before,
 * in another way. Where no record can be kept, the keyring warns of that if `settings` is NULL,
 * else it fails. `after` is when the newest of the key's versions was created, or "". */
struct record_start {
    enum kw_origin origin;
    const struct kw_key_settings *settings;
    const char *after;
};
enum kw_status kw_record_begin(struct kw_keyring *keyring, const struct kw_token_key *key,
                               const struct record_start *start, struct kw_error *err);
/* The same for a key that was just made: it is destroyed again where that fails. */
enum kw_status kw_record_begin_or_undo(struct kw_keyring *keyring, const struct kw_token_key *key,
                                       const struct record_start *start, struct kw_error *err);
enum kw_status kw_record_remove(struct kw_keyring *keyring, const struct kw_token_key *key,
                                struct kw_error *err);
enum kw_status kw_check_use(struct kw_keyring *keyring, const struct kw_token_key *key,
                            struct kw_error *err);

/* ---- changing records: change.c ---- */

/* Changes the record of a key, empty when it is called, and the token with it. May be called again,
 * where another program changed the record meanwhile (KW_EXISTS of kw_record_save). */
typedef enum kw_status (*kw_record_change_fn)(struct kw_keyring *keyring,
                                              const struct kw_token_key *key, const void *context,
                                              struct kw_key_record *record, struct kw_error *err);
/* Takes the lock, connects, and calls `work` as an act named `op`. */
enum kw_status kw_with_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                              const char *op, kw_record_change_fn work, const void *context,
                              struct kw_error *err);
/* The key's record, or a new one where there is none. A bad one is an error unless `begin` is set:
 * then it begins anew. */
enum kw_status kw_load_or_begin(struct kw_keyring *keyring, const struct kw_token_key *key,
                                bool begin, struct kw_key_record *record, struct kw_error *err);
/* Has the token let the key do just that. One that does not let itself be told leaves it to
 * Keyward, with a warning, unless that `gives` something: then it is KW_KEY_UNUSABLE. */
enum kw_status kw_tell_token(struct kw_keyring *keyring, const struct kw_token_key *key,
                             const struct kw_use_flags *uses, bool gives, struct kw_error *err);

/* Values by token and label, in an SQLite file: as configured ([keys] catalogue), else in
 * $XDG_STATE_HOME/keyward, root's in /var/lib/keyward, others' in ~/.local/state/keyward. What was
 * found is added to *data as kw_token_data_read gives it; no file, nothing found. */
enum kw_status kw_catalogue_read(const struct kw_config *config, const struct kw_token_info *token,
                                 const char *label, struct kw_token_data **data, size_t *count,
                                 struct kw_error *err);
/* Where that file is or would be. The caller frees. */
enum kw_status kw_catalogue_path(const struct kw_config *config, char **ret_path,
                                 struct kw_error *err);
/* `value` NULL removes. Durable when it returns. */
enum kw_status kw_catalogue_write(const struct kw_config *config, const struct kw_token_info *token,
                                  const char *label, const char *value, struct kw_error *err);

#endif
