/* The clients: who they are, what they may do, and how often. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/access_parts.h"

struct kw_client {
    char *name, *subject, *san;
    size_t issuer; /* that of its tokens, where it has a claim */
    char *claim, *value;
    struct kw_grants grants;
    struct kw_bucket bucket; /* under the access's lock */
};
struct kw_access {
    struct kw_client *clients;
    size_t client_count;
    struct kw_config_issuer *issuers; /* with its own copies of all texts */
    size_t issuer_count;
    struct kw_jwks *jwks;
    struct kw_crypto *crypto;
    pthread_mutex_t lock;
    struct kw_bearer_cache cache; /* under the lock */
};

/* ---- issuers ---- */

static bool copy_text(const char *text, char **copy)
{
    *copy = text ? strdup(text) : NULL;
    return !text || *copy;
}

static enum kw_status check_issuer(const struct kw_config_issuer *issuers, size_t index,
                                   struct kw_error *err)
{
    const struct kw_config_issuer *issuer = &issuers[index];
    if (!issuer->issuer || !issuer->audience || !issuer->jwks)
        return kw_fail(err, KW_CONFIG,
                       "[issuer %s] lacks a setting; give issuer, audience and jwks", issuer->name);
    for (size_t i = 0; i < index; i++)
        if (strcmp(issuers[i].issuer, issuer->issuer) == 0)
            return kw_fail(err, KW_CONFIG, "[issuer %s] and [issuer %s] are one; take one out",
                           issuers[i].name, issuer->name);
    return KW_OK;
}

static enum kw_status take_issuers(struct kw_access *access, const struct kw_config *config,
                                   struct kw_error *err)
{
    access->issuers = calloc(config->issuer_count + 1, sizeof(*access->issuers));
    if (!access->issuers)
        return kw_fail_memory(err);
    for (size_t i = 0; i < config->issuer_count; i++) {
        const struct kw_config_issuer *from = &config->issuers[i];
        struct kw_config_issuer *to = &access->issuers[i];
        enum kw_status status = check_issuer(config->issuers, i, err);
        if (status != KW_OK)
            return status;
        access->issuer_count++;
        if (!copy_text(from->name, &to->name) || !copy_text(from->issuer, &to->issuer) ||
            !copy_text(from->audience, &to->audience) || !copy_text(from->jwks, &to->jwks) ||
            !copy_text(from->ca, &to->ca))
            return kw_fail_memory(err);
    }
    return KW_OK;
}

/* ---- clients ---- */

static enum kw_status take_claim(const struct kw_access *access,
                                 const struct kw_config_client *from, struct kw_client *to,
                                 struct kw_error *err)
{
    if (!from->issuer && !from->claim)
        return KW_OK;
    if (!from->issuer || !from->claim)
        return kw_fail(err, KW_CONFIG, "[client %s] has one of issuer and claim; give both",
                       from->name);
    while (to->issuer < access->issuer_count &&
           strcmp(access->issuers[to->issuer].name, from->issuer) != 0)
        to->issuer++;
    if (to->issuer == access->issuer_count)
        return kw_fail(err, KW_CONFIG, "[client %s]: issuer names no [issuer]; name one",
                       from->name);
    const char *equals = strchr(from->claim, '=');
    if (!equals)
        return kw_fail(err, KW_CONFIG, "[client %s]: claim must be NAME=VALUE", from->name);
    to->claim = strndup(from->claim, (size_t)(equals - from->claim));
    to->value = strdup(equals + 1);
    return to->claim && to->value ? KW_OK : kw_fail_memory(err);
}

static enum kw_status take_client(const struct kw_access *access,
                                  const struct kw_config_client *from, struct kw_client *to,
                                  struct kw_error *err)
{
    if (!from->subject && !from->san && !from->claim && !from->issuer)
        return kw_fail(err, KW_CONFIG,
                       "[client %s] can't be known; give subject, san, or issuer and claim",
                       from->name);
    if (!from->roles)
        return kw_fail(err, KW_CONFIG, "[client %s] has no roles; give some", from->name);
    if (!copy_text(from->name, &to->name) || !copy_text(from->subject, &to->subject) ||
        !copy_text(from->san, &to->san))
        return kw_fail_memory(err);
    kw_bucket_init(&to->bucket, from->rate, from->burst, kw_now_ms());
    enum kw_status status = take_claim(access, from, to, err);
    return status ? status : kw_grants_parse(from->roles, from->name, &to->grants, err);
}

static bool same_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* RFC 4343: letter case does not count in names of hosts; it does in URIs, which have a ":". */
static bool same_san(const char *a, const char *b)
{
    if (!a || !b)
        return false;
    return strchr(a, ':') ? strcmp(a, b) == 0 : strcasecmp(a, b) == 0;
}

/* What two clients have in common that tells who they are, or NULL. */
static const char *in_common(const struct kw_client *a, const struct kw_client *b)
{
    if (same_text(a->subject, b->subject))
        return "subject";
    if (same_san(a->san, b->san))
        return "san";
    return a->issuer == b->issuer && same_text(a->claim, b->claim) && same_text(a->value, b->value)
               ? "claim"
               : NULL;
}

static enum kw_status check_apart(const struct kw_access *access, const struct kw_client *client,
                                  struct kw_error *err)
{
    for (const struct kw_client *other = access->clients; other < client; other++) {
        const char *common = in_common(other, client);
        if (common)
            return kw_fail(err, KW_CONFIG,
                           "[client %s] and [client %s] have the same %s; give each its own",
                           other->name, client->name, common);
    }
    return KW_OK;
}

static enum kw_status take_clients(struct kw_access *access, const struct kw_config *config,
                                   struct kw_error *err)
{
    access->clients = calloc(config->client_count + 1, sizeof(*access->clients));
    enum kw_status status = access->clients ? KW_OK : kw_fail_memory(err);
    for (size_t i = 0; i < config->client_count && status == KW_OK; i++) {
        access->client_count++;
        status = take_client(access, &config->clients[i], &access->clients[i], err);
        if (status == KW_OK)
            status = check_apart(access, &access->clients[i], err);
    }
    return status;
}

/* cjose verifies by OpenSSL's own functions, past any provider. */
static enum kw_status check_fips(const struct kw_crypto *crypto, const struct kw_config *config,
                                 struct kw_error *err)
{
    if (config->issuer_count > 0 && kw_crypto_is_fips(crypto))
        return kw_fail(err, KW_CONFIG,
                       "bearer tokens are not checked by OpenSSL's FIPS provider; with fips = yes "
                       "use certificates, and no [issuer]");
    return KW_OK;
}

enum kw_status kw_access_new(struct kw_crypto *crypto, const struct kw_config *config,
                             struct kw_access **ret_access, struct kw_error *err)
{
    enum kw_status status = check_fips(crypto, config, err);
    if (status != KW_OK)
        return status;
    struct kw_access *access = calloc(1, sizeof(*access));
    if (!access || pthread_mutex_init(&access->lock, NULL) != 0) {
        free(access);
        return kw_fail_memory(err);
    }
    access->crypto = crypto;
    status = take_issuers(access, config, err);
    if (status == KW_OK)
        status = take_clients(access, config, err);
    if (status == KW_OK)
        status = kw_jwks_new(access->issuers, access->issuer_count, &kw_jwks_defaults,
                             &access->jwks, err);
    if (status == KW_OK)
        *ret_access = access;
    else
        kw_access_free(access);
    return status;
}

void kw_access_free(struct kw_access *access)
{
    if (!access)
        return;
    kw_jwks_free(access->jwks);
    for (size_t i = 0; i < access->client_count; i++) {
        struct kw_client *client = &access->clients[i];
        char *texts[] = {client->name, client->subject, client->san, client->claim, client->value};
        for (size_t t = 0; t < KW_COUNT(texts); t++)
            free(texts[t]);
        kw_grants_cleanup(&client->grants);
    }
    for (size_t i = 0; i < access->issuer_count; i++) {
        struct kw_config_issuer *issuer = &access->issuers[i];
        char *texts[] = {issuer->name, issuer->issuer, issuer->audience, issuer->jwks, issuer->ca};
        for (size_t t = 0; t < KW_COUNT(texts); t++)
            free(texts[t]);
    }
    free(access->clients);
    free(access->issuers);
    (void)pthread_mutex_destroy(&access->lock);
    free(access);
}

/* ---- who asks ---- */

static bool is_of_certificate(const struct kw_client *client, const struct kw_http_peer *peer)
{
    if (same_text(client->subject, peer->common_name))
        return true;
    for (size_t i = 0; i < peer->name_count && i < KW_HTTP_NAMES_MAX; i++)
        if (same_san(client->san, peer->names[i]))
            return true;
    return false;
}

/* What was presented: a token that was verified, or a certificate. */
struct proof {
    const struct kw_http_peer *peer;
    const struct kw_bearer *bearer;
    size_t issuer;
};

static bool is_proven(const struct kw_client *client, const struct proof *proof)
{
    if (!proof->bearer)
        return is_of_certificate(client, proof->peer);
    return client->claim && client->issuer == proof->issuer &&
           kw_bearer_claims(proof->bearer, client->claim, client->value);
}

static enum kw_status find_client(const struct kw_access *access, const struct proof *proof,
                                  const struct kw_client **ret_client, struct kw_error *err)
{
    const char *what = proof->bearer ? "bearer token" : "certificate";
    const struct kw_client *found = NULL;
    for (size_t i = 0; i < access->client_count; i++) {
        if (!is_proven(&access->clients[i], proof))
            continue;
        if (found)
            return kw_fail(err, KW_DENIED, "the %s is of more than one [client]", what);
        found = &access->clients[i];
    }
    if (!found)
        return kw_fail(err, KW_DENIED, "the %s is of no [client]", what);
    *ret_client = found;
    return KW_OK;
}

static bool was_seen(struct kw_access *access, const uint8_t digest[KW_SHA256_SIZE], time_t now,
                     const struct kw_client **ret_client)
{
    struct kw_bearer_seen seen;
    (void)pthread_mutex_lock(&access->lock);
    bool found = kw_bearer_cache_find(&access->cache, digest, now, &seen);
    (void)pthread_mutex_unlock(&access->lock);
    if (!found || seen.found.generation != kw_jwks_generation(access->jwks, seen.found.issuer))
        return false;
    *ret_client = seen.client;
    return true;
}

static enum kw_status verify_token(struct kw_access *access, const char *authorization, time_t now,
                                   struct kw_bearer_seen *seen, struct kw_error *err)
{
    struct kw_bearer bearer = {.jws = NULL};
    struct proof proof = {.bearer = &bearer};
    enum kw_status status = kw_bearer_parse(authorization, &bearer, err);
    if (status == KW_OK)
        status = kw_bearer_verify(&bearer, access->issuers, access->issuer_count, access->jwks, now,
                                  &seen->found, err);
    proof.issuer = seen->found.issuer;
    if (status == KW_OK)
        status = find_client(access, &proof, &seen->client, err);
    kw_bearer_cleanup(&bearer);
    if (status != KW_OK)
        return status;
    (void)pthread_mutex_lock(&access->lock);
    kw_bearer_cache_add(&access->cache, seen, now);
    (void)pthread_mutex_unlock(&access->lock);
    return KW_OK;
}

static enum kw_status find_by_token(struct kw_access *access, const char *authorization, time_t now,
                                    const struct kw_client **ret_client, struct kw_error *err)
{
    struct kw_bearer_seen seen = {.client = NULL};
    size_t len = strnlen(authorization, 2 * KW_BEARER_MAX); /* more is too long in any case */
    enum kw_status status = kw_sha256(access->crypto, authorization, len, seen.digest, err);
    if (status != KW_OK || was_seen(access, seen.digest, now, ret_client))
        return status;
    status = verify_token(access, authorization, now, &seen, err);
    if (status == KW_OK)
        *ret_client = seen.client;
    return status;
}

enum kw_status kw_access_identify(struct kw_access *access, const struct kw_http_peer *peer,
                                  const char *authorization, time_t now,
                                  const struct kw_client **ret_client, struct kw_error *err)
{
    if (authorization)
        return find_by_token(access, authorization, now, ret_client, err);
    if (!peer->verified)
        return kw_fail(err, KW_DENIED, "there is neither a certificate nor a bearer token");
    const struct proof proof = {.peer = peer};
    return find_client(access, &proof, ret_client, err);
}

/* ---- what it may do ---- */

const char *kw_client_name(const struct kw_client *client)
{
    return client->name;
}

bool kw_client_may(const struct kw_client *client, enum kw_action action, const char *key)
{
    return kw_grants_allow(&client->grants, action, key);
}

bool kw_access_admit(struct kw_access *access, const struct kw_client *client, uint64_t now_ms,
                     unsigned *ret_retry_s)
{
    struct kw_client *own = &access->clients[client - access->clients];
    (void)pthread_mutex_lock(&access->lock);
    bool admitted = kw_bucket_take(&own->bucket, now_ms, ret_retry_s);
    (void)pthread_mutex_unlock(&access->lock);
    return admitted;
}
