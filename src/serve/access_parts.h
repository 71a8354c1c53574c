/* access_parts: what access.c is made of: roles (roles.c), the bucket of a client's requests
 * (rate.c), sets of public keys (jwks.c) and where they come from (jwks_source.c, jwks_fetch.c),
 * and bearer tokens (bearer.c, bearer_cache.c). For access.c and its tests alone. */
#ifndef KW_ACCESS_PARTS_H
#define KW_ACCESS_PARTS_H

#include <stdatomic.h>

#include "serve/access.h"

struct cJSON;

/* ---- roles.c ---- */

struct kw_grant {
    uint32_t actions; /* a bit for each enum kw_action */
    char *glob;       /* of names of keys */
};
/* Zeroed, it allows nothing. */
struct kw_grants {
    struct kw_grant *items;
    size_t count;
};
/* Reads "ROLE: GLOB, GLOB; ROLE: GLOB". KW_CONFIG, with `client` in the sentence. On failure
 * *grants is still valid, for kw_grants_cleanup only. */
enum kw_status kw_grants_parse(const char *text, const char *client, struct kw_grants *grants,
                               struct kw_error *err);
void kw_grants_cleanup(struct kw_grants *grants);
bool kw_grants_allow(const struct kw_grants *grants, enum kw_action action, const char *key);

/* ---- rate.c ---- */

/* Requests that may still be sent, in thousandths. Used under a lock. */
struct kw_bucket {
    uint64_t rate, burst; /* requests a second; requests */
    uint64_t level, at_ms;
};
void kw_bucket_init(struct kw_bucket *bucket, long rate, long burst, uint64_t now_ms);
bool kw_bucket_take(struct kw_bucket *bucket, uint64_t now_ms, unsigned *ret_retry_s);

/* ---- jwks.c ---- */

/* The algorithms of RFC 7518 section 3.1 that are taken, as bits. */
enum kw_jws_alg { KW_JWS_RS256 = 1, KW_JWS_PS256 = 2, KW_JWS_ES256 = 4 };
/* 0 where it is none of these. */
unsigned kw_jws_alg_parse(const char *name);

/* Public keys that verify tokens. Never changed once made; shared by counting. */
struct kw_jwk_set;
struct kw_jwk;
#define KW_JWKS_MAX_BYTES ((size_t)256 * 1024)
/* RFC 7517 section 5. Keys that verify none of the algorithms are left out, as are RSA keys of
 * other than 2048 to 4096 bits and those whose private half is there. KW_CONFIG where none is left.
 */
enum kw_status kw_jwk_set_parse(const char *text, size_t len, const char *what,
                                struct kw_jwk_set **ret_set, struct kw_error *err);
struct kw_jwk_set *kw_jwk_set_share(struct kw_jwk_set *set);
void kw_jwk_set_free(struct kw_jwk_set *set);
size_t kw_jwk_set_count(const struct kw_jwk_set *set);
/* The one key that fits the algorithm, of that name unless it is NULL; NULL where there is none, or
 * more than one. */
const struct kw_jwk *kw_jwk_set_find(const struct kw_jwk_set *set, unsigned alg, const char *kid);
/* Whether the compact JWS (RFC 7515 section 7.1) was signed with that key. */
bool kw_jwk_verify(const struct kw_jwk *key, const char *jws, size_t len, size_t signature_len);

/* ---- jwks_source.c, jwks_fetch.c ---- */

/* How often sources are asked, in milliseconds. */
struct kw_jwks_pace {
    uint64_t every, soonest; /* after what was there; and at the soonest, after any attempt */
};
struct kw_jwks_options {
    struct kw_jwks_pace file, url;
    uint64_t kept; /* how long a set is used that can't be had anew */
    uint64_t wait; /* how long the start waits for URLs */
};
extern const struct kw_jwks_options kw_jwks_defaults;
/* A thread of its own keeps the set of each issuer; nobody waits for it. */
struct kw_jwks;
/* `issuers` must outlive it. Files are read at once: KW_CONFIG where one is no good. URLs are
 * waited for, but not for long; what has not come by then comes later. */
enum kw_status kw_jwks_new(const struct kw_config_issuer *issuers, size_t count,
                           const struct kw_jwks_options *options, struct kw_jwks **ret_jwks,
                           struct kw_error *err);
void kw_jwks_free(struct kw_jwks *jwks);
/* The set of that issuer, to be freed, or NULL where there is none that is young enough. */
struct kw_jwk_set *kw_jwks_get(struct kw_jwks *jwks, size_t issuer);
/* A number that is another one as soon as the set is; 0 where kw_jwks_get has none. */
uint64_t kw_jwks_generation(struct kw_jwks *jwks, size_t issuer);
/* Asks for the set anew, as soon as that is due: a token names a key that is not in it. */
void kw_jwks_want(struct kw_jwks *jwks, size_t issuer);
/* A GET of `url`, appended to `out`. `stop` ends it. KW_READ. */
enum kw_status kw_jwks_fetch(const char *url, const char *ca, const atomic_bool *stop,
                             struct kw_buffer *out, struct kw_error *err);

/* ---- bearer.c ---- */

#define KW_BEARER_MAX ((size_t)12 * 1024)
/* A token of the Authorization header, taken apart; nothing of it has been verified. Zeroed, it is
 * empty. */
struct kw_bearer {
    const char *jws; /* within the header */
    size_t len, signature_len;
    struct cJSON *header, *claims;
    unsigned alg;
    const char *kid; /* within `header`, or NULL */
};
/* RFC 6750 section 2.1, RFC 7515 section 7.1. KW_DENIED. On failure *bearer is still valid, for
 * kw_bearer_cleanup only. */
enum kw_status kw_bearer_parse(const char *authorization, struct kw_bearer *bearer,
                               struct kw_error *err);
void kw_bearer_cleanup(struct kw_bearer *bearer);
/* What verifying found: which of the issuers it is of, by which generation of its keys (of before
 * that, where they changed meanwhile), and when it is valid (rounded to the inside). */
struct kw_bearer_found {
    size_t issuer;
    uint64_t generation;
    time_t from, until;
};
/* Its issuer; its signature by one of their keys; its times and audience, RFC 7519 section 4.1.
 * KW_DENIED. */
enum kw_status kw_bearer_verify(const struct kw_bearer *bearer,
                                const struct kw_config_issuer *issuers, size_t count,
                                struct kw_jwks *jwks, time_t now, struct kw_bearer_found *ret_found,
                                struct kw_error *err);
/* Whether the claim is that text, or an array of texts with it. */
bool kw_bearer_claims(const struct kw_bearer *bearer, const char *name, const char *value);

/* ---- bearer_cache.c ---- */

struct kw_bearer_seen {
    uint8_t digest[KW_SHA256_SIZE]; /* of the Authorization header */
    const struct kw_client *client; /* NULL: nothing is here */
    struct kw_bearer_found found;   /* counts for nothing once the issuer's keys change */
};
/* Zeroed, it is empty. Used under a lock. A token takes the place of another one where their
 * digests begin alike. */
#define KW_BEARER_CACHE_MAX 1024
struct kw_bearer_cache {
    struct kw_bearer_seen seen[KW_BEARER_CACHE_MAX];
};
bool kw_bearer_cache_find(struct kw_bearer_cache *cache, const uint8_t digest[KW_SHA256_SIZE],
                          time_t now, struct kw_bearer_seen *ret_seen);
/* For five minutes at most. */
void kw_bearer_cache_add(struct kw_bearer_cache *cache, const struct kw_bearer_seen *seen,
                         time_t now);

#endif
