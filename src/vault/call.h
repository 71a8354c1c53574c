/* What vault.c and keys.c share. */
#ifndef KW_VAULT_CALL_H
#define KW_VAULT_CALL_H

#include "vault/internal.h"

#define API_VERSION "?api-version=7.4"

struct kw_vault {
    struct kw_vault_address address;
    char *ca, *certificate, *key, *source, *resource;
    uint64_t timeout_ms;
    struct kw_vault_http *http;
    struct kw_vault_tokens *tokens;

    pthread_mutex_t lock; /* guards the keys that were fetched */
    struct kw_vault_key *known;
    size_t known_count;
};

/* GET of a path and query; any answer but 200 is a failure. */
enum kw_status kw_vault_get(struct kw_vault *vault, const char *path,
                            struct kw_vault_answer *ret_answer, struct kw_error *err);

#endif
