/* keys: from names and versions to keys on a token, or behind a vault; which algorithm unwraps;
 * data keys kept for the run; where PINs come from. struct kw_keyring is opened as
 * <keyward/keyward.h> says. Threads may share it. */
#ifndef KW_KEYS_H
#define KW_KEYS_H

#include <keyward/keyward.h>

#include "audit/audit.h"
#include "base/base.h"
#include "crypto/crypto.h"
#include "token.h"

const struct kw_config *kw_keyring_config(const struct kw_keyring *keyring);
struct kw_crypto *kw_keyring_crypto(struct kw_keyring *keyring);
/* Adds the warnings from number `from` on to `into` (which may be NULL) and returns how many there
 * are in all. */
size_t kw_keyring_copy_warnings(struct kw_keyring *keyring, size_t from, struct kw_strings *into);
#define KW_WARNINGS_MAX 64
/* Moves them all: for whoever tells them while the keyring is open for long, as it keeps only
 * KW_WARNINGS_MAX. */
void kw_keyring_take_warnings(struct kw_keyring *keyring, struct kw_strings *into);
/* The NAME of the [token] that serves where this one fails, or NULL. */
const char *kw_keyring_failover(const struct kw_keyring *keyring);
/* Whether a token is named at all, on the command line or in the configuration. */
bool kw_keyring_has_token(const struct kw_keyring *keyring);
/* Whether its keys are behind a vault, which unwraps and does nothing else. */
bool kw_keyring_is_vault(const struct kw_keyring *keyring);

/* ---- in a process that is confined: confine.c. Before other threads use the keyring ---- */

/* Adds what the keyring has to reach: its module, its PIN's file, the audit trail, the catalogue of
 * keys. Where it `acts`, and does not only read, folders of the last two are made. From then on,
 * records name the person and the process as they are now. */
enum kw_status kw_keyring_allow(struct kw_keyring *keyring, bool acts,
                                struct kw_confinement *confinement, struct kw_error *err);
/* Adds what kw_pin_read opens for that source, which may be NULL. */
enum kw_status kw_pin_allow(const char *source, struct kw_confinement *confinement,
                            struct kw_error *err);
/* The command that gives the keyring, or the one that serves in its place, access tokens for its
 * vault, or NULL; none can be started once the process is confined. Then a process that was forked
 * before serves it by kw_keyring_serve_token_command at one end of a socketpair (SOCK_SEQPACKET),
 * until the other end, which the keyring takes over, is closed. */
const char *kw_keyring_token_command(const struct kw_keyring *keyring);
void kw_keyring_serve_token_command(int socket, const char *command);
void kw_keyring_use_token_server(struct kw_keyring *keyring, int socket);
/* Whether the text is the address of a vault, or of a key of one. */
bool kw_names_a_vault(const char *text);
/* The process is not confined, or not wholly; `why` is a sentence in static memory. It goes on the
 * trail before the next record does. */
void kw_keyring_note_unconfined(struct kw_keyring *keyring, const char *why);

/* What the token really does, by trying it: kw_token_probe. */
enum kw_status kw_keyring_probe(struct kw_keyring *keyring,
                                struct kw_probe_result results[KW_PROBES_MAX], size_t *ret_count,
                                struct kw_error *err);

/* ---- finding: lookup.c ---- */

/* All but kw_keyring_find_to_unwrap and kw_keyring_unwrap act on the keyring's own token and on no
 * other, whether or not another one may unwrap in its place. */

/* Has keys, their records and data keys read anew when they are next needed, and forgets warnings;
 * for a keyring that is open for long. No key of it may be in use, in any thread. Where a token
 * fails then, be it in the middle, what was read before is not touched: keys that were handed out
 * stay valid, and serve, until they are to be read anew once more. */
void kw_keyring_refresh(struct kw_keyring *keyring);
/* What the token says of itself; of a vault the label is its host. Opens the token if that was not
 * done. */
enum kw_status kw_keyring_token(struct kw_keyring *keyring, const struct kw_token_info **ret_info,
                                struct kw_error *err);

/* A vault's key has the name as its label and the version as its id. It also answers to
 * NAME/VERSION and to the address of the key; to NAME alone where that has the version that is
 * looked for, or only one. What changes keys, or signs, is KW_KEY_UNUSABLE there. */

/* The key that `version` means: as [key VERSION] of the configuration maps it, else the CKA_ID
 * whose bytes are the version's hex digits, else the CKA_ID that is its text, else the CKA_LABEL.
 * `override`, a pkcs11: URI or a name (label, or id in hex), wins over all of it where it is not
 * NULL. What a URI says of the token must be true of the keyring's. Exactly one key must answer:
 * KW_KEY_NOT_FOUND or KW_KEY_AMBIGUOUS list what the token has. The key is owned by the keyring.
 * No others are read where one answers to the letter; whether a label does, the token says. */
enum kw_status kw_keyring_find(struct kw_keyring *keyring, const char *version,
                               const char *override, const struct kw_token_key **ret_key,
                               struct kw_error *err);
/* The same, to unwrap with it: where the token fails and its [token] has a failover, on that one.
 * The key is the one that has the same modulus, or the one that is found there by the same rules
 * where the first token's keys were never read. Opening or asking either token may be tried. */
enum kw_status kw_keyring_find_to_unwrap(struct kw_keyring *keyring, const char *version,
                                         const char *override, const struct kw_token_key **ret_key,
                                         struct kw_error *err);
/* What the token that has the key says of itself; for keys of kw_keyring_find_to_unwrap and
 * kw_keyring_unwrap. */
enum kw_status kw_keyring_token_of(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   const struct kw_token_info **ret_info, struct kw_error *err);
/* What says which key: `override`, else the URI that is configured for the version, else the
 * version; NULL: there is none. */
const char *kw_key_text(const char *version, const char *mapped, const char *override);
/* The choice itself, without a token: KW_OK, KW_KEY_NOT_FOUND or KW_KEY_AMBIGUOUS. */
enum kw_status kw_choose_key(const struct kw_token_key *keys, size_t count, const char *text,
                             size_t *ret_index, struct kw_error *err);

enum kw_validity { KW_VALID, KW_NOT_YET_VALID, KW_EXPIRED };
enum kw_validity kw_key_validity(const struct kw_token_key *key, time_t now);
/* Days from today to a date of a key, negative when it is over; today is 0. */
long kw_days_until(const char *date, time_t now);

/* ---- the audit trail: witness.c ---- */

/* A keyring keeps a trail ([audit]): nothing is unwrapped, and no key made, changed, wrapped or
 * destroyed, unless the record of that intent is on the disk, and what came of it follows. Where
 * the trail can't be written that is KW_AUDIT, and nothing is done. */

/* Puts records of the caller's own on the trail, such as what became of a file. At most
 * KW_DEEDS_MAX. As each outcome does, this signs the trail too where [audit] checkpoint-interval is
 * over, if the token has been reached and has a key for that. Where it can't be signed the keyring
 * warns of that, and it is tried again after as long. */
enum kw_status kw_keyring_witness(struct kw_keyring *keyring, const struct kw_deed *deeds,
                                  size_t count, struct kw_error *err);
/* Signs the trail as it is now, if this keyring wrote to it and has reached its token, by the key
 * for records of the token that serves; without one nothing is signed. With `make_signer` by the
 * keyring's own token, where the key is made if there is none, whatever was written and reached. */
enum kw_status kw_keyring_seal_trail(struct kw_keyring *keyring, bool make_signer,
                                     struct kw_error *err);
/* For the end of a program's work: signs the trail as kw_keyring_seal_trail does, and waits as long
 * as [audit] forward-timeout says until its records have arrived where they are forwarded to. What
 * has not is put on the trail, and the keyring warns of it. Later records are not forwarded. What
 * can't be signed or recorded is a warning too. kw_keyring_free waits as well, where this was not
 * called. NULL is no keyring. */
void kw_keyring_close_trail(struct kw_keyring *keyring);

/* ---- unwrapping: unwrap.c, failover.c ---- */

struct kw_unwrap_policy {
    bool automatic;       /* RSA-OAEP, then RSA-OAEP-256, then RSA1_5 where it is allowed */
    enum kw_wrap_alg alg; /* otherwise this one and no other */
    bool allow_rsa1_5;    /* for automatic */
};
/* From "auto" or an algorithm's name; NULL is what the configuration says. KW_USAGE. */
enum kw_status kw_unwrap_policy_parse(const struct kw_keyring *keyring, const char *name,
                                      struct kw_unwrap_policy *ret_policy, struct kw_error *err);

#define KW_KEPT_DATA_KEYS 256

/* An AES-256 key; the caller's, to be freed with kw_data_key_cleanup. */
struct kw_data_key {
    struct kw_secret *secret;
    enum kw_wrap_alg alg;           /* what unwrapped it */
    const struct kw_token_key *key; /* the same; owned by the keyring */
};
void kw_data_key_cleanup(struct kw_data_key *data_key);
/* What something is done for, for the audit trail; each may be NULL. */
struct kw_purpose {
    const char *run, *drop, *file;
    const char *client, *request, *correlation, *outer, *pool; /* as in struct kw_deed */
    bool checked; /* whoever asks has looked whether the key may be used, and does so anew now and
                     then; it may be a copy of a key of this token, or of the failover's */
};
/* Unwraps once for each distinct (key, wrapped) and keeps a copy: the last KW_KEPT_DATA_KEYS of
 * them are answered without the token. Threads that ask at the same time use a session each, also
 * for the same one. Where the token fails (KW_TOKEN and its family, and nothing else), the
 * failover of its [token] unwraps with the key of the same modulus and goes on to do so until the
 * first one is back; a thread of the keyring's own looks for that. Each try has records of its own
 * on the trail, and so does each switch ("token.failover", "token.return"); the keyring warns of
 * it. KW_METADATA where wrapped_len is not the modulus's, KW_KEY_UNWRAP, KW_KEY_UNUSABLE where
 * OAEP gave something that is no AES-256 key in any of its forms (after RSA1_5 that is
 * KW_KEY_UNWRAP: a padding oracle otherwise), KW_TOKEN, KW_PIN_*. */
enum kw_status kw_keyring_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_unwrap_policy *policy,
                                 const struct kw_purpose *purpose, const uint8_t *wrapped,
                                 size_t wrapped_len, struct kw_data_key *ret_data_key,
                                 struct kw_error *err);

/* ---- what others ask for: operate.c. On record as unwrapping is, with the same failover ---- */

/* Decrypts whatever was encrypted or wrapped to the key, by that algorithm and no other, and keeps
 * nothing. `op` is "decrypt" or "unwrap", for the trail. KW_KEY_UNWRAP, one status and message for
 * every cause, also for a length that can't be; KW_KEY_UNUSABLE, KW_TOKEN, KW_PIN_*, KW_AUDIT. */
enum kw_status kw_keyring_decrypt(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const char *op, enum kw_wrap_alg alg,
                                  const struct kw_purpose *purpose, const uint8_t *data, size_t len,
                                  struct kw_secret **ret_secret, struct kw_error *err);
/* Signs a digest, as long as the algorithm's hash (else KW_USAGE). `out` gets as many bytes as the
 * modulus has; what was signed is verified on the host before it counts. */
enum kw_status kw_keyring_sign(struct kw_keyring *keyring, const struct kw_token_key *key,
                               enum kw_digest_signature alg, const struct kw_purpose *purpose,
                               const uint8_t *digest, size_t len, uint8_t out[KW_RSA_MAX_BYTES],
                               struct kw_error *err);
/* A key on the keyring's own token as kw_private_key_new has it, for a server of TLS; `text` is a
 * pkcs11: URI. The token is reached now, and the key tried by signing once, which is on record as
 * "tls.key"; the signatures that handshakes ask for later are not: clients that nobody knows yet
 * would write the trail. Each has the token's deadlines; while the token is away they fail. No
 * failover. *ret_public is its public half. The keyring must outlive the key. KW_KEY_*, KW_TOKEN,
 * KW_PIN_*, KW_AUDIT. tls_key.c. */
enum kw_status kw_keyring_tls_key(struct kw_keyring *keyring, const char *text,
                                  const struct kw_purpose *purpose, struct evp_pkey_st **ret_key,
                                  struct kw_rsa_public *ret_public, struct kw_error *err);
/* ---- keys that are for one thing alone: reserve.c ---- */

/* The key with that modulus proves who a server is, and is for nothing else from now on: whoever
 * lists keys for others to use leaves out what is reserved. *ret_new: it was not so before. */
enum kw_status kw_keyring_reserve(struct kw_keyring *keyring, const struct kw_rsa_public *public,
                                  bool *ret_new, struct kw_error *err);
/* The same for the keys, RSA or AES, that a pkcs11: URI means, now or later. One that names no key
 * reserves none. KW_CONFIG where it is no URI. */
enum kw_status kw_keyring_reserve_uri(struct kw_keyring *keyring, const char *uri, bool *ret_new,
                                      struct kw_error *err);
/* Whether it is one of those or signs records, or has the modulus of one that is among the keys
 * that were read, whatever its label; keys that show no modulus are known by label and id. */
bool kw_keyring_is_reserved(struct kw_keyring *keyring, const struct kw_token_key *key);
/* Whether a new key of that name (letter case aside) would be taken for a reserved one. Reads the
 * keys where that was not done. */
enum kw_status kw_keyring_is_reserved_name(struct kw_keyring *keyring, const char *name,
                                           bool *ret_reserved, struct kw_error *err);

/* ---- a text that can't be edited: seal.c ---- */

/* A compact JWS over the text's SHA-256, by the key that signs the token's records, which is made
 * where there is none; appended to *ret_seal. */
enum kw_status kw_keyring_seal_text(struct kw_keyring *keyring, const char *text, size_t len,
                                    struct kw_buffer *ret_seal, struct kw_error *err);
/* KW_DAMAGED where that is no seal of that text by a key for records on the keyring's token. */
enum kw_status kw_keyring_check_seal(struct kw_keyring *keyring, const char *text, size_t len,
                                     const char *seal, size_t seal_len, struct kw_error *err);

/* AES-256 key wrap by a key on the keyring's own token, as kw_token_aes_wrap has it: RFC 3394 or,
 * `padded`, RFC 5649, of at most KW_AES_DATA_MAX bytes. KW_KEY_UNUSABLE where the token has no
 * mechanism that gives the known answers. These keys have no record and no twin.
 * kw_keyring_aes_keys gives id and label of each; the caller frees *ret_keys with free(). */
enum kw_status kw_keyring_aes_keys(struct kw_keyring *keyring, struct kw_token_key **ret_keys,
                                   size_t *ret_count, struct kw_error *err);
enum kw_status kw_keyring_aes_wrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   bool padded, const struct kw_purpose *purpose,
                                   const struct kw_secret *secret, struct kw_buffer *ret_wrapped,
                                   struct kw_error *err);
enum kw_status kw_keyring_aes_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                     bool padded, const struct kw_purpose *purpose,
                                     const uint8_t *wrapped, size_t len,
                                     struct kw_secret **ret_secret, struct kw_error *err);

/* Whether the token that serves now answers, or the other one where it has a failover, without an
 * entry on the trail: KW_TOKEN and so on. Opens a token that was not opened yet. */
enum kw_status kw_keyring_ping(struct kw_keyring *keyring, struct kw_error *err);
/* KW_TOKEN, with what to do, where a call into a module has hung for the [token]'s give-up seconds
 * (300 unless set) and no token serves, or where `first_only`, for what a failover does not do: no
 * other call is made into that module any more, so a program that runs on should end and be started
 * again. KW_PIN_* where the PIN of the other token was refused, which no restart mends. */
enum kw_status kw_keyring_check_hang(struct kw_keyring *keyring, bool first_only,
                                     struct kw_error *err);
struct kw_keyring_stats {
    size_t sessions, sessions_in_use, sessions_max; /* of the token that serves */
    uint64_t recoveries;                            /* how often a token was connected anew */
    uint64_t failovers, returns;                    /* switches to the second token and back */
    bool on_second;                                 /* it serves now */
};
/* Waits for no token: while one is connected anew, it gives what was true before. */
void kw_keyring_stats(struct kw_keyring *keyring, struct kw_keyring_stats *ret_stats);

/* ---- the forms of a data key: datakey.c ---- */

/* What RSA decryption gave, as 32 bytes: they themselves, or base64, base64url or hex text of them,
 * in ASCII or UTF-16LE. KW_KEY_UNUSABLE if it is none of that. */
enum kw_status kw_data_key_decode(const struct kw_secret *unwrapped, struct kw_secret **ret_key,
                                  struct kw_error *err);

/* ---- the life of keys: life.c ---- */

/* These change the token and not what the keyring has read: kw_keyring_versions and kw_keyring_find
 * go on giving what was there before. */

/* What a key's record says besides, as Key Vault has it. */
enum kw_key_op {
    KW_OP_ENCRYPT = 1,
    KW_OP_DECRYPT = 2,
    KW_OP_SIGN = 4,
    KW_OP_VERIFY = 8,
    KW_OP_WRAP = 16,
    KW_OP_UNWRAP = 32,
    KW_OP_IMPORT = 64,
    KW_OP_EXPORT = 128
};
/* Changes to a record; what is NULL or KW_UNSET stays. */
struct kw_key_settings {
    const unsigned *ops;       /* of enum kw_key_op */
    const int64_t *not_before; /* unix time in seconds; 0: none */
    const int64_t *expires;
    const struct cJSON *tags;   /* an object of strings: all of them, in the place of the others */
    const struct cJSON *policy; /* a rotation policy, an object of at most 2 KiB of text; an empty
                                   one takes it away */
    enum kw_tristate enabled;
};
#define KW_SECONDS_MAX 253402300799 /* the end of the year 9999 */
#define KW_POLICY_MAX  2048         /* bytes of a policy's text, compact */
#define KW_OPS_COUNT   8
/* Key Vault's names of one operation: "encrypt", "wrapKey". */
const char *kw_key_op_name(enum kw_key_op op);
bool kw_key_op_parse(const char *name, enum kw_key_op *ret_op);

/* For what is done from now on by the functions of life.c, state.c and move.c, which don't say it
 * for themselves; NULL: nothing more. It stays the caller's. Not while another thread uses one of
 * these; what says its purpose may go on meanwhile. */
void kw_keyring_set_purpose(struct kw_keyring *keyring, const struct kw_purpose *purpose);
/* All changes at once, in one act "key.update" and one revision. The token is told too: that the
 * key is enabled or not, as kw_keyring_step does; what operations are left of what it was made for
 * (CKA_DECRYPT where it decrypts or unwraps for others, CKA_UNWRAP where it unwraps or imports,
 * CKA_SIGN); its dates, by the day: the one on which it begins to be valid, and the last one on
 * which it is valid for the whole day. Where the token takes no dates, or takes nothing away, the
 * keyring warns of that and the record counts. Nothing is done where nothing is asked for. KW_USAGE
 * for what makes no sense; KW_KEY_UNUSABLE where the key is deleted or its record bad (enabling
 * begins a new one), or where that would spoil the key that signs records; KW_EXISTS where other
 * programs change the same record all the time. */
enum kw_status kw_keyring_update(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_key_settings *settings, struct kw_error *err);

/* A new key version: its CKA_ID is 16 random bytes. */
struct kw_new_key {
    enum kw_key_use use;
    const char *name;       /* CKA_LABEL: 1 to 127 printable characters, as in the metadata */
    unsigned bits;          /* 2048, 3072 or 4096 */
    const char *not_before; /* "2026-10-05" or "" */
    const char *expires;    /* "2027-10-05" or "" */
    bool extractable;
    bool further; /* of a key that comes from elsewhere: a version of the key of that name, if there
                     is one */
    /* Or NULL. Its dates win over those above. Where they can't be put on record there is no key.
     */
    const struct kw_key_settings *settings;
};
/* KW_EXISTS where a key has that name already: a further version is made with kw_keyring_rotate. */
enum kw_status kw_keyring_create(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                 struct kw_token_key *ret_key, struct kw_error *err);
/* Makes the next version of a key that is there; the others stay as they are. `wanted->bits` 0 is
 * as many as they have, where that is the same for all. It is for what they are for, whatever
 * `wanted->use`, if that is the same for all and its settings say no operations. What its settings
 * don't say of operations, tags and policy is as the newest of them has it. KW_KEY_NOT_FOUND,
 * KW_KEY_UNUSABLE where all are deleted.
 */
enum kw_status kw_keyring_rotate(struct kw_keyring *keyring, const struct kw_new_key *wanted,
                                 struct kw_token_key *ret_key, struct kw_error *err);
enum kw_status kw_keyring_change(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_key_change *change, struct kw_token_key *ret_key,
                                 struct kw_error *err);

/* The private key wrapped for `kek`, as kw_token_wrap_key says. */
enum kw_status kw_keyring_wrap_key(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   const struct kw_rsa_public *kek, struct kw_buffer *ret_wrapped,
                                   const char **ret_mechanism, struct kw_error *err);
/* A key that was wrapped for `kek`, a key on this token, as a new key; its version is 16 random
 * bytes. KW_EXISTS where a key has that name already, unless it is to be a further version. */
enum kw_status kw_keyring_unwrap_key(struct kw_keyring *keyring, const struct kw_token_key *kek,
                                     const uint8_t *wrapped, size_t wrapped_len,
                                     const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                     struct kw_error *err);

/* ---- what PKCS#11 has no attribute for: record.c, records.c, settings.c, change.c ---- */

/* Where a key's private half came from. */
enum kw_origin {
    KW_ORIGIN_UNKNOWN,
    KW_ORIGIN_TOKEN,  /* made on a token */
    KW_ORIGIN_FILE,   /* software: copies of it may exist */
    KW_ORIGIN_BYOK,   /* a transfer file */
    KW_ORIGIN_BACKUP, /* a backup */
    KW_ORIGIN_COUNT
};
const char *kw_origin_name(enum kw_origin origin);

/* A key version's record: signed by a key on its token, so that an edit shows. It stays beside the
 * key as a data object (CKO_DATA) or, where the token takes none, in the catalogue, an SQLite file.
 * Timestamps are as kw_timestamp has them, or "". */
enum kw_record_state {
    KW_RECORD_NONE, /* there is none: the key is used as it is */
    KW_RECORD_GOOD,
    KW_RECORD_BAD /* edited, damaged, or signed by a key that is gone */
};
#define KW_TAGS_MAX     15
#define KW_TAG_TEXT_MAX 256
struct kw_key_record {
    enum kw_record_state state;
    const char *fault; /* what is wrong with a bad one; static memory */
    long revision;
    enum kw_origin origin;
    char made_on[17]; /* the serial number of the token that made it, or "" */
    char created[KW_TIMESTAMP_SIZE];
    bool disabled;
    char deleted[KW_TIMESTAMP_SIZE];
    char purge_after[KW_TIMESTAMP_SIZE];
    bool purge_protected; /* not even by request before that */
    char backed_up[KW_TIMESTAMP_SIZE];
    bool decrypt, unwrap;  /* what it may do while it is enabled, as far as `ops` lets it */
    struct cJSON *tags;    /* an object of strings, owned; or NULL */
    enum kw_tristate sign; /* as `decrypt`; older records don't tell: as the token says */
    char updated[KW_TIMESTAMP_SIZE];
    unsigned ops;                /* of enum kw_key_op; 0: as the key's attributes say */
    int64_t not_before, expires; /* unix time in seconds; 0: as the key's dates say */
    struct cJSON *policy;        /* a rotation policy, owned; or NULL */
};
void kw_key_record_cleanup(struct kw_key_record *record);
/* Into a zeroed struct. */
enum kw_status kw_key_record_copy(const struct kw_key_record *record,
                                  struct kw_key_record *ret_copy, struct kw_error *err);

/* In the order of precedence. */
enum kw_key_state { KW_KEY_ENABLED, KW_KEY_DISABLED, KW_KEY_DELETED, KW_KEY_RECORD_BAD };
enum kw_key_state kw_key_state(const struct kw_key_record *record);
const char *kw_key_state_name(enum kw_key_state state);

/* A key with its record. */
struct kw_version {
    const struct kw_token_key *key;
    const struct kw_key_record *record;
};
/* What may be done with it while it is enabled: the record's operations, as far as it was made for
 * them; where the record names none, all that it was made for. Of enum kw_key_op. */
unsigned kw_version_ops(const struct kw_version *version);
/* By the second where the record says so, else by the key's dates. */
enum kw_validity kw_version_validity(const struct kw_version *version, time_t now);
/* The versions that `name` means (a pkcs11: URI, an id in hex, a label; NULL: all keys), by label
 * and then newest first. What a URI says of the token must be true of the keyring's. The array is
 * the caller's, to be freed with free(); what it points to is the keyring's. KW_KEY_NOT_FOUND. */
enum kw_status kw_keyring_versions(struct kw_keyring *keyring, const char *name,
                                   struct kw_version **ret_versions, size_t *ret_count,
                                   struct kw_error *err);
/* The record as it is now, of a key that need not be the keyring's; the caller cleans it up. */
enum kw_status kw_keyring_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 struct kw_key_record *ret_record, struct kw_error *err);
/* KW_KEY_UNUSABLE where the key is disabled or deleted, or its record bad. Read once a key. */
enum kw_status kw_keyring_check_use(struct kw_keyring *keyring, const struct kw_token_key *key,
                                    struct kw_error *err);

/* ---- the states of a key: state.c ---- */

/* How long a deleted key can be recovered, as configured. */
long kw_keyring_retention_days(const struct kw_keyring *keyring);

/* Disabled and deleted keys unwrap nothing: Keyward refuses them, and so does the token where it
 * lets itself be told (CKA_DECRYPT and CKA_UNWRAP); where it doesn't, the keyring warns of that.
 * A deleted one can be recovered until it is purged. Enabling and deleting begin a new record where
 * the old one is bad. Like all that changes keys, they leave what the keyring has read alone. */
enum kw_key_step { KW_STEP_DISABLE, KW_STEP_ENABLE, KW_STEP_DELETE, KW_STEP_RECOVER };
enum kw_status kw_keyring_step(struct kw_keyring *keyring, const struct kw_token_key *key,
                               enum kw_key_step step, struct kw_error *err);
/* Whether that can be purged now: KW_KEY_UNUSABLE where it is not deleted, or protected for longer.
 */
enum kw_status kw_version_check_purge(const struct kw_version *version, struct kw_error *err);
/* Destroys both halves of a deleted key, and then its record. KW_KEY_UNUSABLE where it is not
 * deleted, or protected for longer. */
enum kw_status kw_keyring_purge(struct kw_keyring *keyring, const struct kw_token_key *key,
                                struct kw_error *err);
/* Each "NAME=VALUE"; an empty value takes the tag away. KW_USAGE. */
enum kw_status kw_keyring_tag(struct kw_keyring *keyring, const struct kw_token_key *key,
                              const char *const *tags, size_t count, struct kw_error *err);
/* Notes that there is a backup now. */
enum kw_status kw_keyring_note_backup(struct kw_keyring *keyring, const struct kw_token_key *key,
                                      struct kw_error *err);

/* ---- what a service requires of a key: rules.c ---- */

enum kw_cloud_service {
    KW_DATA_CONNECT,
    KW_CUSTOMER_KEY,
    KW_DATAVERSE,
    KW_DEFENDER,
    KW_CLOUD_SERVICE_COUNT
};
/* "data-connect", "customer-key", "dataverse", "defender". */
bool kw_cloud_service_parse(const char *name, enum kw_cloud_service *ret_service);

#define KW_RULE_TEXT 160
struct kw_rule_result {
    const char *rule;  /* static memory, as are the next two */
    const char *scope; /* "Key" or "Set" */
    const char *expected;
    char actual[KW_RULE_TEXT];
    const char *details; /* what to do, static memory; "" where it passed */
    bool passed;
};
#define KW_RULES_MAX 16
/* Holds `key` against each rule of the service (docs/man/keyward-key.1.scd lists them). `with` is
 * the second key, where the service wants two, or NULL, and `with_token` where it is. Returns how
 * many results there are. */
struct kw_rule_subject {
    const struct kw_token_key *key;
    const struct kw_key_record *record;
    const struct kw_token_info *token;
    const struct kw_token_key *with;
    const struct kw_token_info *with_token;
    long retention_days; /* as configured */
    bool purge_protection;
    time_t now;
};
size_t kw_rules_check(enum kw_cloud_service service, const struct kw_rule_subject *subject,
                      struct kw_rule_result results[KW_RULES_MAX]);

/* ---- PINs: pin.c ---- */

#define KW_PIN_MAX 256 /* bytes */
/* Reads a PIN from file:PATH, a bare path, fd:N, env:NAME or credential:NAME (a file in
 * $CREDENTIALS_DIRECTORY). Adds to `warnings` what is unwise about the source. KW_PIN_MISSING where
 * there is none, KW_CONFIG where the source makes no sense. */
enum kw_status kw_pin_read(const char *source, struct kw_strings *warnings,
                           struct kw_secret **ret_pin, struct kw_error *err);

/* ---- keys that come from elsewhere: move.c ---- */

/* A private key from outside (PKCS#8 DER) as a new key; `id` is its version, 16 random bytes where
 * id_len is 0. Its copies outside of the token are none of the token's business, so a warning says
 * that there may be some. KW_EXISTS where a key has that id already, or that name and this is not
 * to be a further version of it. */
enum kw_status kw_keyring_import_key(struct kw_keyring *keyring, const struct kw_secret *pkcs8,
                                     const uint8_t *id, size_t id_len,
                                     const struct kw_new_key *wanted, struct kw_token_key *ret_key,
                                     struct kw_error *err);

/* The key that a backup is wrapped under: RSA, or AES-256 on a token. */
struct kw_kek {
    struct kw_keyring *keyring; /* whose token has it; NULL: only the public half is known */
    bool aes;
    struct kw_token_key key; /* of AES: id and label; without a keyring: the public half */
};
/* Whether the keyring's token is the one that the pkcs11: URI names. */
enum kw_status kw_keyring_answers_to(struct kw_keyring *keyring, const char *uri, bool *ret_answers,
                                     struct kw_error *err);
/* The one RSA or AES-256 key on the keyring's token that the pkcs11: URI names. KW_KEY_NOT_FOUND,
 * KW_KEY_AMBIGUOUS. */
enum kw_status kw_keyring_find_kek(struct kw_keyring *keyring, const char *uri,
                                   struct kw_kek *ret_kek, struct kw_error *err);
/* The one that a backup names: by its fingerprint where it is RSA, else by id and label. */
enum kw_status kw_keyring_recall_kek(struct kw_keyring *keyring, const struct kw_token_key *aes,
                                     const uint8_t fingerprint[KW_SHA256_SIZE],
                                     struct kw_kek *ret_kek, struct kw_error *err);

/* A private key, wrapped: as kw_token_wrap_key has it for an RSA KEK, as RFC 5649 for an AES one.
 * Where the KEK is on another token the key goes there wrapped for a key pair of a session, so that
 * it is never in clear outside of the two. */
struct kw_sealed_key {
    struct kw_buffer wrapped; /* may hold KW_TRANSFER_MAX; owned by the caller */
    const char *mechanism;    /* static memory */
    bool verified;            /* it was unwrapped again and was the same key */
};
/* What was wrapped is unwrapped again, to a session object, and its modulus compared, by the KEK
 * where its token is known, else as kw_token_backup_key. KW_USAGE where the KEK is the key itself;
 * KW_KEY_UNUSABLE where a token can't, or where the key or the KEK is disabled or deleted. */
enum kw_status kw_keyring_backup(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_kek *kek, struct kw_sealed_key *ret_sealed,
                                 struct kw_error *err);
/* Takes away again what kw_keyring_restore has just made, as "key.unrestore". The record stays, as
 * it may be older than that. */
enum kw_status kw_keyring_unrestore(struct kw_keyring *keyring, const struct kw_token_key *key,
                                    struct kw_error *err);
/* The other way: puts the key on the keyring's token as planned, both halves or none, if its public
 * half has the fingerprint. The id has to be free (KW_EXISTS); the name may be that of other
 * versions, which is what it was. Its record begins with the settings, as that of a new key does;
 * NULL: none. KW_KEY_UNWRAP where the KEK does not unwrap it, KW_KEY_UNUSABLE where that is
 * disabled or deleted. */
enum kw_status kw_keyring_restore(struct kw_keyring *keyring, const struct kw_kek *kek,
                                  const uint8_t *wrapped, size_t wrapped_len,
                                  const uint8_t fingerprint[KW_SHA256_SIZE],
                                  const struct kw_key_plan *plan,
                                  const struct kw_key_settings *settings,
                                  struct kw_token_key *ret_key, struct kw_error *err);

#endif
