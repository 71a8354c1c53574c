/* What the files of src/keys share. */
#ifndef KW_KEYS_INTERNAL_H
#define KW_KEYS_INTERNAL_H

#include <pthread.h>

#include "keys.h"

#define KW_MAX_WARNINGS 64

/* Where the token is and where its PIN comes from. Strings belong to the configuration or `uri`. */
struct token_choice {
    struct kw_uri *uri; /* NULL: any token, if the module has only one */
    const char *module; /* NULL: no token is named at all, or too many are */
    size_t candidates;  /* so many could be meant */
    const char *init_args;
    const char *pin_source;
    size_t sessions;
};

struct kept_data_key {
    const struct kw_token_key *key;
    uint8_t wrapped_sha256[KW_SHA256_SIZE];
    struct kw_data_key data_key;
};

struct kw_keyring {
    struct kw_config config;
    struct kw_crypto *crypto;
    struct kw_strings warnings;
    struct token_choice choice;
    kw_ask_pin_fn ask_pin;
    void *ask_pin_context;

    pthread_mutex_t lock; /* guards all below, and the warnings */
    struct kw_token *token;
    struct kw_token_key *keys;
    size_t key_count;
    enum kw_wrap_alg last_worked;
    struct kept_data_key kept[KW_KEPT_DATA_KEYS]; /* a ring */
    size_t kept_next;
};

/* With the lock held: opens the token and reads its keys unless that was done. */
enum kw_status kw_keyring_connect(struct kw_keyring *keyring, struct kw_error *err);

/* The kw_pin_fn of a keyring. */
enum kw_status kw_keyring_pin(void *keyring, const struct kw_token_info *token,
                              struct kw_secret **ret_pin, struct kw_error *err);

#endif
