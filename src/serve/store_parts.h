/* What store.c and snapshot.c share. */
#ifndef KW_STORE_PARTS_H
#define KW_STORE_PARTS_H

#include <stdatomic.h>

#include "serve/store.h"

/* What is known of the token's keys. It never changes, and lives until its last user is gone. */
struct kw_snapshot {
    atomic_uint users;
    struct kw_stored *all;
    size_t count;
    struct kw_token_key *keys; /* what the versions point to */
    struct kw_key_record *records;
    /* Of the first token, also while the second serves, as they have no twin there. */
    struct kw_token_key *aes;
    size_t aes_count;
    bool aes_known; /* the first token has been read */
};

/* What was read of a token: its versions, and its AES keys. */
struct kw_reading {
    struct kw_version *versions;
    size_t count;
    struct kw_token_key *aes;
    size_t aes_count;
    bool aes_known;
};

/* Whether clients may see and use it. `keyring` knows what is reserved. */
bool kw_is_served(struct kw_keyring *keyring, const struct kw_token_key *key);
/* Copies of what may be served of it. `keyring` is the one that it was read by; what `manager`
 * knows to be reserved is not served from the second token either. For one user, who ends with
 * kw_store_leave. */
enum kw_status kw_snapshot_new(struct kw_keyring *keyring, struct kw_keyring *manager,
                               const struct kw_reading *reading, struct kw_snapshot **ret_snapshot,
                               struct kw_error *err);

#endif
