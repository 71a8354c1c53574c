/* Tokens that were verified a moment ago: a client sends the same one with each request, and its
 * signature takes longer to verify than all else that is done with it on the host. */
#include <string.h>

#include <openssl/crypto.h>

#include "serve/access_parts.h"

#define KEPT_S 300 /* at most, whatever its end */

static struct kw_bearer_seen *place_of(struct kw_bearer_cache *cache,
                                       const uint8_t digest[KW_SHA256_SIZE])
{
    return &cache->seen[(digest[0] | (size_t)digest[1] << 8) % KW_BEARER_CACHE_MAX];
}

bool kw_bearer_cache_find(struct kw_bearer_cache *cache, const uint8_t digest[KW_SHA256_SIZE],
                          time_t now, struct kw_bearer_seen *ret_seen)
{
    const struct kw_bearer_seen *seen = place_of(cache, digest);
    if (!seen->client || CRYPTO_memcmp(seen->digest, digest, KW_SHA256_SIZE) != 0 ||
        now < seen->found.from || now >= seen->found.until)
        return false;
    *ret_seen = *seen;
    return true;
}

void kw_bearer_cache_add(struct kw_bearer_cache *cache, const struct kw_bearer_seen *seen,
                         time_t now)
{
    struct kw_bearer_seen *place = place_of(cache, seen->digest);
    *place = *seen;
    if (place->found.until - now > KEPT_S)
        place->found.until = now + KEPT_S;
}
