/* pkcs11: tokens, reached through Cryptoki (PKCS#11 2.40). The only code that
 * calls it.
 *
 * A kw_token may be shared by threads. It logs in once, keeps a bounded pool of
 * sessions, and finds its way back after a lost session or login: reopen, log
 * in again, find the key again by id, check its modulus. Handles never leave
 * this floor. Modules are loaded once per process and shared, at most 8 of them.
 *
 * Each call into a module has a deadline. One that gets no answer fails with
 * KW_TOKEN, and so does every further one at once, until the module has answered
 * it after all; then the token comes back like one that was lost. A thread that
 * hangs in a module can't be ended: a program that ends nevertheless should do so
 * by _exit where kw_longest_hang_ms is not 0, as exit() runs what the module has
 * registered, which may wait for that thread. */
#ifndef KW_TOKEN_H
#define KW_TOKEN_H

#include "base/base.h"
#include "crypto/crypto.h"

/* ---- pkcs11: URIs, RFC 7512: uri.c ---- */

/* What a URI says of a token, a key and the way to them. Strings are NULL where
 * it says nothing. */
struct kw_uri;

/* Stricter than the parsers of others: an attribute that occurs twice, is
 * unknown, holds white space or stands on the wrong side of "?" is KW_CONFIG,
 * as are slot-id and slot-description (slot numbers change when a reader or a
 * module is added) and module-path that is not absolute. */
enum kw_status kw_uri_parse(const char *text, struct kw_uri **ret_uri, struct kw_error *err);
void kw_uri_free(struct kw_uri *uri);
bool kw_is_uri(const char *text);
/* Absolute path of the module: module-path as it is, module-name looked up as
 * NAME.so and libNAME.so in p11-kit's module folder; NULL if the URI has
 * neither or no such file is there. */
const char *kw_uri_module(const struct kw_uri *uri);
const char *kw_uri_pin_source(const struct kw_uri *uri);
/* The PIN itself, where the URI holds one; owned by the URI. */
const struct kw_secret *kw_uri_pin_value(const struct kw_uri *uri);
/* Whether the URI names a key (object or id), or only a token. */
bool kw_uri_names_key(const struct kw_uri *uri);
/* The URI without PIN, PIN source and module, for messages and reports; owned
 * by the URI. */
const char *kw_uri_public_text(const struct kw_uri *uri);

/* Appends the URI of a token: its label, the module's path, and the PIN source unless that is NULL.
 */
enum kw_status kw_uri_of_token(const char *label, const char *module, const char *pin_source,
                               struct kw_buffer *text, struct kw_error *err);

/* ---- tokens: module.c, slots.c ---- */

/* A token's label has 32 bytes; of keys elsewhere it is the name of a host. */
#define KW_TOKEN_LABEL_SIZE 264
/* CK_TOKEN_INFO, trimmed and NUL-terminated, fit for a terminal. */
struct kw_token_info {
    char label[KW_TOKEN_LABEL_SIZE];
    char manufacturer[33];
    char model[17];
    char serial[17];
    bool initialized;
    bool login_required;
    bool pin_count_low;
    bool pin_final_try;
    bool pin_locked;
    bool protected_path; /* the PIN is typed on the token itself */
    bool write_protected;
};

/* Every token that the module shows now and `uri` (NULL: any) matches, without
 * logging in. timeout_s as in kw_token_options. The caller frees *ret_infos with free(). */
enum kw_status kw_token_list(const char *module, const char *init_args, unsigned timeout_s,
                             const struct kw_uri *uri, struct kw_token_info **ret_infos,
                             size_t *ret_count, struct kw_error *err);

/* Called at most once per token and login, and again only after a login was
 * lost; gives the PIN that the token then owns. KW_PIN_MISSING where there is
 * none. Never called again after the token refused a PIN. */
typedef enum kw_status (*kw_pin_fn)(void *context, const struct kw_token_info *token,
                                    struct kw_secret **ret_pin, struct kw_error *err);

struct kw_token_options {
    const char *module;       /* absolute path */
    const char *init_args;    /* or NULL */
    const struct kw_uri *uri; /* the token to match, or NULL where the module has only one */
    size_t max_sessions;      /* 0: 8. Threads over that wait for a session */
    unsigned timeout_s;       /* for each call into the module, 1 to 3600; 0: 30 */
    bool unattended;          /* a PIN that would be typed on the token itself is KW_PIN_MISSING */
    kw_pin_fn pin;
    void *pin_context;
};
struct kw_token;
/* Loads the module, finds the one token, opens a session and logs in.
 * KW_MODULE, KW_TOKEN_NOT_FOUND (the message lists what is there), KW_PIN_*,
 * KW_TOKEN. `crypto` must outlive the token. */
enum kw_status kw_token_open(struct kw_crypto *crypto, const struct kw_token_options *options,
                             struct kw_token **ret_token, struct kw_error *err);
void kw_token_free(struct kw_token *token);
const struct kw_token_info *kw_token_info(const struct kw_token *token);
/* Whether what the URI says of a token, if anything, is true of this one, and
 * its module, if it names one, is this one's. */
bool kw_token_answers_to(const struct kw_token *token, const struct kw_uri *uri);

/* For how many milliseconds a call into some module has not come back after its deadline, at least
 * 1; 0 where none hangs. */
uint64_t kw_longest_hang_ms(void);

/* Adds what a module needs to be loaded and to work in a process that is confined; one that is not
 * known may use the network. Reads the module's own configuration where it says which folders that
 * are: needs.c. KW_CONFIG, KW_NO_MEMORY. */
enum kw_status kw_module_allow(const char *module, const char *init_args,
                               struct kw_confinement *confinement, struct kw_error *err);

/* ---- making a token for trials: init.c, quirks.c ---- */

/* The module of SoftHSM2 where it is in one of the usual places, else NULL. Static memory. */
const char *kw_trial_module(void);
struct kw_token_plan {
    const char *module; /* absolute path */
    const char *label;  /* 1 to 32 bytes that can be printed, without blanks around them */
    kw_pin_fn so_pin;   /* each is called once, after all that can be checked was, and with what the
                           token is going to be */
    kw_pin_fn pin;
    void *pin_context;
};
/* Initialises the first free token of the module, SoftHSM2's and no other's: KW_USAGE says with
 * which command those are initialised. Never one that is initialised already. KW_EXISTS where a
 * token of the module has the label, KW_CONFIG for a PIN whose length the token does not take,
 * KW_TOKEN. A token that was initialised and got no PIN stays there, and the message says how to
 * remove it. */
enum kw_status kw_token_init(const struct kw_token_plan *plan, struct kw_token_info *ret_info,
                             struct kw_error *err);

/* ---- keys: objects.c ---- */

#define KW_KEY_ID_MAX    255
#define KW_KEY_LABEL_MAX 255
/* A private key's attributes, without its handle. What the token does not tell
 * is false, 0 or "".
 */
struct kw_token_key {
    uint8_t id[KW_KEY_ID_MAX]; /* CKA_ID: the key version */
    size_t id_len;
    char label[KW_KEY_LABEL_MAX + 1]; /* CKA_LABEL: the key's name, as it is */
    struct kw_rsa_public public;      /* modulus_len 0 where the key is not RSA or
                                         can't be read */
    char not_before[11];              /* CKA_START_DATE as "2026-10-05", or "" */
    char expires[11];                 /* CKA_END_DATE: the last day on which it is valid, or "" */
    bool decrypt;                     /* CKA_DECRYPT */
    bool unwrap;                      /* CKA_UNWRAP */
    bool sign;                        /* CKA_SIGN */
    bool sensitive;
    bool extractable;
    bool never_extractable;
    bool local; /* made on the token */
    bool always_authenticate;
};
/* All RSA private keys of the token, at most KW_TOKEN_KEYS_MAX, read in one
 * search. Dates that the token does not give on the private key are read from
 * its public one. The caller frees *ret_keys with free(). */
#define KW_TOKEN_KEYS_MAX 65536
enum kw_status kw_token_keys(struct kw_token *token, struct kw_token_key **ret_keys,
                             size_t *ret_count, struct kw_error *err);
/* Those that have this CKA_ID and this CKA_LABEL, byte for byte as the token keeps them; a length
 * of 0 is for any. No other key is read, however many there are, unless the token refuses to search
 * by these: then it gives all. */
struct kw_key_filter {
    const uint8_t *id;
    size_t id_len;
    const char *label;
    size_t label_len;
};
enum kw_status kw_token_keys_of(struct kw_token *token, const struct kw_key_filter *filter,
                                struct kw_token_key **ret_keys, size_t *ret_count,
                                struct kw_error *err);
/* What the URI says of a key; owned by the URI. */
struct kw_key_filter kw_uri_filter(const struct kw_uri *uri);
/* Whether the URI's object and id, where it has them, are the key's. */
bool kw_uri_matches_key(const struct kw_uri *uri, const struct kw_token_key *key);

/* ---- whether it works: pool.c ---- */

/* Asks the token for its state, in a session like any other: what was lost is won back first, as in
 * every call. KW_TOKEN, KW_PIN_*. */
enum kw_status kw_token_ping(struct kw_token *token, struct kw_error *err);
struct kw_token_stats {
    size_t sessions, in_use, max; /* of those that are shared */
    size_t waiting;               /* calls that wait for one of them */
    uint64_t recoveries;          /* how often sessions and the login were won back */
};
/* False, and *ret_stats untouched, where that would have to wait, as while the token is connected
 * anew. */
bool kw_token_stats(struct kw_token *token, struct kw_token_stats *ret_stats);

/* ---- using them: decrypt.c ---- */

/* Decrypts `wrapped`, as long as the key's modulus, with the token's own
 * mechanism; OAEP with a hash that the token lacks falls back to raw RSA on the
 * token and the padding check on the host. KW_KEY_UNWRAP: it did not decrypt;
 * one message for every cause, the CK_RV is in err->ck_rv. KW_KEY_UNUSABLE:
 * neither way is open, the message says why. KW_TOKEN and KW_PIN_*: the token.
 */
enum kw_status kw_token_decrypt(struct kw_token *token, const struct kw_token_key *key,
                                enum kw_wrap_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                                struct kw_secret **ret_secret, struct kw_error *err);

/* ---- making and changing keys: make.c ---- */

/* What a key is for, and nothing else. */
enum kw_key_use {
    KW_USE_DECRYPT, /* the private half decrypts and unwraps, the public one encrypts and wraps */
    KW_USE_IMPORT,  /* a key exchange key: unwraps, and wraps */
    KW_USE_SIGN,    /* signs, and verifies */
    KW_USE_ALL,     /* decrypts, unwraps and signs: Key Vault's default for a new key */
    KW_USE_COUNT
};
/* What a new RSA key pair is to be. Both halves stay on the token and bear the
 * same label, id and dates. The private half is private and sensitive, and not
 * extractable unless that is asked for by name. */
struct kw_key_plan {
    enum kw_key_use use;
    const char *label;
    const uint8_t *id;
    size_t id_len;
    unsigned bits;          /* 2048, 3072 or 4096; not looked at where the key comes from
                               outside */
    const char *not_before; /* "2026-10-05" or "" */
    const char *expires;    /* "2027-10-05", the last day on which it is valid, or "" */
    bool extractable;       /* a source for BYOK */
};
/* Makes the pair on the token: both halves or, after a failure, none. What the
 * token made is read back and compared with the plan before it is called a
 * success. KW_KEY_UNUSABLE where the token can't make such a key, KW_TOKEN. */
enum kw_status kw_token_make_key(struct kw_token *token, const struct kw_key_plan *plan,
                                 struct kw_token_key *ret_key, struct kw_error *err);
/* Puts a private key from outside on the token (PKCS#8 DER, RFC 5208, RSA),
 * with its public half: both or none. */
enum kw_status kw_token_import_key(struct kw_token *token, const struct kw_key_plan *plan,
                                   const struct kw_secret *pkcs8, struct kw_token_key *ret_key,
                                   struct kw_error *err);
/* Changes both halves; NULL leaves a thing as it is, "" takes a date away. */
struct kw_key_change {
    const char *label;
    const char *not_before;
    const char *expires;
};
enum kw_status kw_token_change_key(struct kw_token *token, const struct kw_token_key *key,
                                   const struct kw_key_change *change, struct kw_token_key *ret_key,
                                   struct kw_error *err);
/* Both halves. A half that is gone already is no failure. */
enum kw_status kw_token_destroy_key(struct kw_token *token, const struct kw_token_key *key,
                                    struct kw_error *err);

/* What the private half may do: CKA_DECRYPT, CKA_UNWRAP, CKA_SIGN. */
struct kw_use_flags {
    bool decrypt, unwrap, sign;
};
/* What the private half may do from now on, so that the token itself refuses the rest, whoever
 * asks. Nothing is changed where the token says so already, whatever `key` says. KW_KEY_UNUSABLE
 * where the token does not change that, or changes decrypting and unwrapping and not signing. */
enum kw_status kw_token_allow_key(struct kw_token *token, const struct kw_token_key *key,
                                  const struct kw_use_flags *uses, struct kw_error *err);
/* What the private half was made for, as far as the public one still tells: that others encrypt
 * (decrypt) or wrap (unwrap) for it, or verify (sign). All false where there is no public half, or
 * it is silent. */
enum kw_status kw_token_key_purpose(struct kw_token *token, const struct kw_token_key *key,
                                    struct kw_use_flags *ret_uses, struct kw_error *err);

/* ---- signing: sign.c ---- */

/* Signs `data` with an RSA key that may (KW_USE_SIGN); `out` gets as many bytes as the modulus has.
 * RSASSA-PSS where the token does it, else RSASSA-PKCS1-v1_5; what was signed is verified on the
 * host before it counts. KW_KEY_UNUSABLE where the token does neither. */
enum kw_status kw_token_sign(struct kw_token *token, const struct kw_token_key *key,
                             const void *data, size_t len, enum kw_signature_alg *ret_alg,
                             uint8_t out[KW_RSA_MAX_BYTES], struct kw_error *err);

/* Signs a digest, as long as the algorithm's hash (else KW_USAGE), by the token's own padding or,
 * where it lacks that and FIPS does not forbid it, by raw RSA with the padding made on the host.
 * Verified as above. KW_KEY_UNUSABLE where neither is open. */
enum kw_status kw_token_sign_digest(struct kw_token *token, const struct kw_token_key *key,
                                    enum kw_digest_signature alg, const uint8_t *digest, size_t len,
                                    uint8_t out[KW_RSA_MAX_BYTES], struct kw_error *err);

/* ---- data objects (CKO_DATA): data.c ---- */

/* Private objects of the token, by CKA_APPLICATION and CKA_LABEL. */
#define KW_DATA_MAX       16384 /* bytes of a value */
#define KW_DATA_LABEL_MAX 127
struct kw_token_data {
    char label[KW_DATA_LABEL_MAX + 1];
    char *value; /* with a NUL after it */
    size_t len;
};
/* All of an application, or those of one label; none where the token knows no such objects. One
 * that is larger, or hides its value, has an empty one here, so that it shows. *ret_data is freed
 * with kw_token_data_free. */
enum kw_status kw_token_data_read(struct kw_token *token, const char *application,
                                  const char *label, struct kw_token_data **ret_data,
                                  size_t *ret_count, struct kw_error *err);
void kw_token_data_free(struct kw_token_data *data, size_t count);
/* Stores the value, then removes what else has that label: whenever it ends in between, the new one
 * is there, maybe beside an older one. KW_KEY_UNUSABLE where the token takes no such objects. */
enum kw_status kw_token_data_write(struct kw_token *token, const char *application,
                                   const char *label, const char *value, size_t len,
                                   struct kw_error *err);
/* Removes all that have that label; that there is none is no failure. */
enum kw_status kw_token_data_remove(struct kw_token *token, const char *application,
                                    const char *label, struct kw_error *err);

/* ---- private keys in transfer: transfer.c, transfer_out.c, transfer_in.c ---- */

/* At most: RSA-OAEP of a 4096-bit KEK and RFC 5649 of the PKCS#8 of an RSA-4096 key. */
#define KW_TRANSFER_MAX (KW_RSA_MAX_BYTES + 4096)
/* Whether so many bytes may be an RSA key of 2048 to 4096 bits, wrapped for a KEK whose modulus has
 * `kek_len` bytes. */
bool kw_transfer_fits(size_t kek_len, size_t wrapped_len);
/* The key, wrapped for `kek` as CKM_RSA_AES_KEY_WRAP has it (PKCS#11 2.40 current mechanisms,
 * section 2.1.21): RSAES-OAEP (SHA-1, MGF1 with SHA-1) of a fresh AES-256 key, then RFC 5649 under
 * it of the key's PKCS#8. By that mechanism where the token has it; else in two parts, with an AES
 * key that is made on the token and gone afterwards. The key is never in clear outside of the
 * token, but for the one case below. Appended to *ret_wrapped, which may hold KW_TRANSFER_MAX.
 * *ret_mechanism names the way, such as "CKM_RSA_AES_KEY_WRAP" or "CKM_RSA_PKCS_OAEP and
 * CKM_AES_KEY_WRAP_KWP"; static memory. KW_KEY_UNUSABLE: the key is not extractable, or the token
 * has no RFC 5649 that passes the known-answer test.
 *
 * Some tokens (SoftHSM 2.6) add zero bytes to the PKCS#8 up to a multiple of 8 before they wrap it,
 * and its length, which RFC 5649 keeps in its first block, is then the one with them. Readers that
 * take PKCS#8 by its own length don't mind; strict ones refuse what is after its end. The
 * known-answer test shows it. Nothing can be done about it without the key in clear: the length
 * goes into every round of the cipher. So nothing is, and kw_wrap_adds_zeros tells it of
 * *ret_mechanism, except where the token is known to be software inside this very process, whose
 * memory has its private keys anyway: there the key is unwrapped in locked memory, wrapped again
 * under the same AES key without the zero bytes, and wiped. kw_wrap_was_in_clear tells that. */
enum kw_status kw_token_wrap_key(struct kw_token *token, const struct kw_token_key *key,
                                 const struct kw_rsa_public *kek, struct kw_buffer *ret_wrapped,
                                 const char **ret_mechanism, struct kw_error *err);
bool kw_wrap_adds_zeros(const char *mechanism);
bool kw_wrap_was_in_clear(const char *mechanism);
/* The other way: `wrapped` for the KEK on this token becomes a key pair as planned, both halves or
 * none, without being in clear outside of the token. Whether the token can do this is tried out
 * first with a key without worth; KW_KEY_UNUSABLE where it can't. KW_KEY_UNWRAP with one message
 * for every cause in what was wrapped, KW_METADATA for a length that can't be, KW_EXISTS where the
 * id is taken. */
enum kw_status kw_token_unwrap_key(struct kw_token *token, const struct kw_token_key *kek,
                                   const uint8_t *wrapped, size_t wrapped_len,
                                   const struct kw_key_plan *plan, struct kw_token_key *ret_key,
                                   struct kw_error *err);

/* ---- probing: probe.c ---- */

/* What the token really does, tried out: its list of mechanisms is not asked. */
enum kw_probe_answer { KW_PROBE_UNKNOWN, KW_PROBE_YES, KW_PROBE_NO };
struct kw_probe_result {
    const char *name; /* short and lasting, for programs; static memory */
    const char *what; /* what was asked, for people; static memory */
    enum kw_probe_answer answer;
    unsigned long number; /* of what was counted, or 0 */
    char details[160];    /* how, or why not; "" where there is no more to say */
};
#define KW_PROBES_MAX 32
/* With key pairs and other objects of sessions of its own, which are destroyed. Takes seconds. What
 * the token does not do is no failure, but an answer. KW_TOKEN where it was lost on the way. */
enum kw_status kw_token_probe(struct kw_token *token, struct kw_probe_result results[KW_PROBES_MAX],
                              size_t *ret_count, struct kw_error *err);

/* ---- private keys on their way by another token: relay.c ---- */

/* What is done with a key that is on the token, as a session object, as long as this is at work. It
 * may be used like any other key, and is gone afterwards. */
typedef enum kw_status (*kw_guest_fn)(struct kw_token *token, const struct kw_token_key *key,
                                      void *context, struct kw_error *err);
/* With a new RSA key pair of the session that unwraps what another token wraps for it. May be
 * called a second time after the session was lost. KW_KEY_UNUSABLE where the token makes none. */
enum kw_status kw_token_with_transport(struct kw_token *token, kw_guest_fn work, void *context,
                                       struct kw_error *err);

/* A wrapped private key. */
struct kw_wrapped_key {
    const struct kw_token_key *kek; /* RSA, as kw_token_unwrap_key has it, or */
    bool aes;                       /* an AES-256 key of which id and label are known (RFC 5649) */
    const uint8_t *data;
    size_t len;
};
/* With the key that was wrapped, as a private key of the session: to look at its public numbers,
 * or, where `extractable`, to wrap it for another token. Errors as kw_token_unwrap_key. */
enum kw_status kw_token_with_scratch(struct kw_token *token, const struct kw_wrapped_key *wrapped,
                                     bool extractable, kw_guest_fn work, void *context,
                                     struct kw_error *err);

/* The AES-256 keys of the token: id and label, and nothing else. The caller frees *ret_keys with
 * free(). */
enum kw_status kw_token_aes_keys(struct kw_token *token, struct kw_token_key **ret_keys,
                                 size_t *ret_count, struct kw_error *err);
/* The private key wrapped under an AES-256 key on the same token (RFC 5649), by a mechanism that
 * passes the known-answer test; appended to *ret_wrapped, which may hold KW_TRANSFER_MAX.
 * KW_KEY_UNUSABLE as with kw_token_wrap_key. */
enum kw_status kw_token_wrap_key_aes(struct kw_token *token, const struct kw_token_key *key,
                                     const struct kw_token_key *aes, struct kw_buffer *ret_wrapped,
                                     struct kw_error *err);
/* As kw_token_wrap_key. Where it is wrapped by parts the second part is unwrapped again, with the
 * AES key that is still there, to a session object whose modulus must be the key's, and
 * *ret_verified is true; where the token does it whole, only the KEK's private half could tell. */
enum kw_status kw_token_backup_key(struct kw_token *token, const struct kw_token_key *key,
                                   const struct kw_rsa_public *kek, struct kw_buffer *ret_wrapped,
                                   const char **ret_mechanism, bool *ret_verified,
                                   struct kw_error *err);

/* ---- bytes wrapped with an AES key of the token: aes.c ---- */

/* RFC 3394, of a multiple of 8 bytes and at least 16, or `padded` RFC 5649, of 1 byte and more
 * (else KW_USAGE): by C_Encrypt where the token does that, else with the bytes as a secret key of a
 * session, which C_WrapKey wraps. Of each way it is tried out once whether it gives the known
 * answers. `aes`: id and label of an AES-256 key. Appended to *ret_wrapped. KW_KEY_UNUSABLE where
 * no way is open. */
#define KW_AES_DATA_MAX 1024
enum kw_status kw_token_aes_wrap(struct kw_token *token, const struct kw_token_key *aes,
                                 bool padded, const struct kw_secret *secret,
                                 struct kw_buffer *ret_wrapped, struct kw_error *err);
/* KW_KEY_UNWRAP with one message for every cause in what was wrapped. */
enum kw_status kw_token_aes_unwrap(struct kw_token *token, const struct kw_token_key *aes,
                                   bool padded, const uint8_t *wrapped, size_t len,
                                   struct kw_secret **ret_secret, struct kw_error *err);

#endif
