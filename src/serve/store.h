/* store: the keys of the service's token under Key Vault's names, for many threads and for months.
 *
 * Two keyrings reach the token: one uses keys, the other makes and changes them, so that a key pair
 * that takes seconds to make keeps nobody waiting who unwraps. What is known of the keys is read
 * anew when one of the two changed something, and now and then in case another program did. */
#ifndef KW_STORE_H
#define KW_STORE_H

#include "keys/keys.h"

#define KW_VERSION_DIGITS 32
#define KW_NAME_MAX       127

/* A key version as it was last read. */
struct kw_stored {
    const struct kw_token_key *key;
    const struct kw_key_record *record;
    char version[KW_VERSION_DIGITS + 1]; /* CKA_ID in hex where that has 16 bytes, else what begins
                                            the SHA-256 of its SubjectPublicKeyInfo */
};

/* Whether a key may have that name in Key Vault: 1 to KW_NAME_MAX letters, digits and "-". */
bool kw_is_vault_name(const char *text);
/* The version's name in Key Vault. */
enum kw_status kw_version_name(struct kw_crypto *crypto, const struct kw_token_key *key,
                               char out[KW_VERSION_DIGITS + 1], struct kw_error *err);

struct kw_store;
/* KW_CONFIG, KW_NO_MEMORY. No token is reached before kw_store_read. */
enum kw_status kw_store_open(const struct kw_keyring_options *options, struct kw_store **ret_store,
                             struct kw_error *err);
void kw_store_free(struct kw_store *store);
/* The keyring that uses keys: for its configuration, its warnings, its trail and its statistics. */
struct kw_keyring *kw_store_keyring(struct kw_store *store);
/* The one that changes them; to allow it what it needs, and no more. */
struct kw_keyring *kw_store_manager(struct kw_store *store);

/* Before the first read: AES keys are served too. */
void kw_store_want_aes(struct kw_store *store);
/* Reads what the token has, unless nothing changed since. What was known stays where it can't be
 * read. */
enum kw_status kw_store_read(struct kw_store *store, struct kw_error *err);
/* The same where they were not read yet, unless that failed a moment ago; waits for whoever is at
 * it.
 */
enum kw_status kw_store_read_first(struct kw_store *store, struct kw_error *err);
/* The same for whoever missed a key: not where it was read a moment ago, or is being changed.
 * Whether it was read anew. */
bool kw_store_look_again(struct kw_store *store);
/* Moves what was warned of when keys were used and when they were changed. */
void kw_store_take_warnings(struct kw_store *store, struct kw_strings *into);
/* What a pkcs11: URI means is the service's own from then on: never served, and no new key gets its
 * name. KW_CONFIG; where keys were read before, as kw_store_read. */
enum kw_status kw_store_reserve(struct kw_store *store, const char *uri, struct kw_error *err);
/* A key by which a listener proves who it is, as kw_keyring_tls_key has it; it is not served, and
 * nobody changes it, from then on. */
enum kw_status kw_store_tls_key(struct kw_store *store, const char *uri,
                                const struct kw_purpose *purpose, struct evp_pkey_st **ret_key,
                                struct kw_error *err);

/* ---- using keys: between enter and leave nothing that was found goes away ---- */

const struct kw_snapshot *kw_store_enter(struct kw_store *store);
void kw_store_leave(const struct kw_snapshot *snapshot);

/* All versions that can be served, by name (letter case aside) and then newest first. */
const struct kw_stored *kw_store_all(const struct kw_snapshot *snapshot, size_t *ret_count);
/* Those of one name; NULL and 0 where there are none. */
const struct kw_stored *kw_store_named(const struct kw_snapshot *snapshot, const char *name,
                                       size_t *ret_count);
bool kw_stored_is_deleted(const struct kw_stored *stored);
/* A version that is not deleted; NULL or "" is the newest of them. KW_KEY_NOT_FOUND. */
enum kw_status kw_store_find(const struct kw_snapshot *snapshot, const char *name,
                             const char *version, const struct kw_stored **ret_stored,
                             struct kw_error *err);

/* An AES-256 key of the service's own token by its label, letter case aside. KW_KEY_NOT_FOUND;
 * KW_TOKEN where that token was never read. */
enum kw_status kw_store_find_aes(const struct kw_snapshot *snapshot, const char *name,
                                 const struct kw_token_key **ret_key, struct kw_error *err);

/* Unix time in seconds; 0: none. */
int64_t kw_stored_not_before(const struct kw_stored *stored);
int64_t kw_stored_expires(const struct kw_stored *stored);
int64_t kw_stored_created(const struct kw_stored *stored);
int64_t kw_stored_updated(const struct kw_stored *stored);
/* What may be done with it, of enum kw_key_op. */
unsigned kw_stored_ops(const struct kw_stored *stored);
/* "2026-10-05T06:00:00Z" as unix time; 0 where it is "". */
int64_t kw_time_of(const char *timestamp);

/* ---- changing them ---- */

/* What is done with the keyring that changes keys. What it finds is as it is now. */
typedef enum kw_status (*kw_change_fn)(struct kw_keyring *keyring, void *context,
                                       struct kw_error *err);
/* Within a change: what it did is read anew when it is next needed. */
void kw_store_reread(struct kw_store *store);
/* One at a time; not between enter and leave. What changed is known to all afterwards. */
enum kw_status kw_store_change(struct kw_store *store, const struct kw_purpose *purpose,
                               kw_change_fn work, void *context, struct kw_error *err);
/* For a kw_change_fn: the versions of that very name (letter case aside), newest first, or the one
 * of them that `version` names. None is no failure. The array is the caller's, to be freed with
 * free(). */
enum kw_status kw_store_versions(struct kw_keyring *keyring, const char *name, const char *version,
                                 struct kw_version **ret_versions, size_t *ret_count,
                                 struct kw_error *err);

#endif
