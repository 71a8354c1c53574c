/* access: who asks, and what they may do: clients and roles (access.c, roles.c), bearer tokens
 * (bearer.c, jwks.c), and how often (rate.c). All may be called from any thread. */
#ifndef KW_ACCESS_H
#define KW_ACCESS_H

#include "base/base.h"
#include "crypto/crypto.h"
#include "http/http.h"

/* What can be asked for, each with the name of Azure's data action. */
enum kw_action {
    KW_ACT_READ, /* get, list, versions, also of deleted keys */
    KW_ACT_CREATE,
    KW_ACT_IMPORT,
    KW_ACT_UPDATE,
    KW_ACT_DELETE,
    KW_ACT_RECOVER,
    KW_ACT_PURGE,
    KW_ACT_BACKUP,
    KW_ACT_RESTORE,
    KW_ACT_ROTATE,
    KW_ACT_POLICY_READ, /* rotation policies */
    KW_ACT_POLICY_WRITE,
    KW_ACT_ENCRYPT,
    KW_ACT_DECRYPT,
    KW_ACT_WRAP,
    KW_ACT_UNWRAP,
    KW_ACT_SIGN,
    KW_ACT_VERIFY,
    KW_ACT_RANDOM,
    KW_ACT_STATUS, /* metrics and the status page */
    KW_ACT_TRAIL,  /* what the audit trail says */
    KW_ACT_COUNT
};
/* "keys/unwrap/action" and so on. Static memory. */
const char *kw_action_name(enum kw_action action);

/* The [client]s, [issuer]s and their roles. */
struct kw_access;
/* KW_CONFIG: a role that is not known, one that both manages keys and reads the trail, clients that
 * can't be told apart, a file of public keys that can't be read. Where public keys are at a URL, it
 * waits for them a few seconds at most, so not in a thread that must not wait; what has not come by
 * then comes later. Nothing of `config` is kept; `crypto` must outlive it. */
enum kw_status kw_access_new(struct kw_crypto *crypto, const struct kw_config *config,
                             struct kw_access **ret_access, struct kw_error *err);
void kw_access_free(struct kw_access *access);

/* One of the clients; owned by the access. */
struct kw_client;
const char *kw_client_name(const struct kw_client *client);
/* The client that the certificate or the bearer token is of. KW_DENIED where it is none, with the
 * reason for the audit trail alone: whoever asks is told nothing but that. A token that is there
 * and is no good is KW_DENIED whatever the certificate says. */
enum kw_status kw_access_identify(struct kw_access *access, const struct kw_http_peer *peer,
                                  const char *authorization, time_t now,
                                  const struct kw_client **ret_client, struct kw_error *err);
/* Whether it may do that with keys of that name (letter case does not count, as in Key Vault);
 * NULL: with some key at least. */
bool kw_client_may(const struct kw_client *client, enum kw_action action, const char *key);
/* Takes one request from what the client may send. False where that is used up: it may try again
 * after *ret_retry_s. */
bool kw_access_admit(struct kw_access *access, const struct kw_client *client, uint64_t now_ms,
                     unsigned *ret_retry_s);

/* Whether the name is one of a list of globs with "," between them, as those of roles: "*" stands
 * for any text and "?" for one character, letter case does not count. NULL is an empty list. */
bool kw_globs_match(const char *globs, const char *name);

#endif
