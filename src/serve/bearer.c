/* Bearer tokens: RFC 6750, RFC 7515 in its compact form, RFC 7519. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "serve/access_parts.h"

#define LEEWAY_S 60                         /* how far the issuer's clock may be ahead */
#define LAST_S   ((double)INT32_MAX * 1024) /* no time that is told apart is beyond it */

static const struct kw_json_limits header_limits = {.bytes = 4096, .depth = 3, .items = 64};
static const struct kw_json_limits claims_limits = {
    .bytes = KW_BEARER_MAX, .depth = 6, .items = 1024};

/* Nothing of the token is repeated: whoever sent it chose what is in it. */
static enum kw_status deny(struct kw_error *err, const char *reason)
{
    return kw_fail(err, KW_DENIED, "the bearer token %s", reason);
}

/* ---- taking it apart ---- */

static const char *after_scheme(const char *authorization)
{
    static const char scheme[] = "Bearer ";
    size_t len = sizeof(scheme) - 1;
    if (strncasecmp(authorization, scheme, len) != 0)
        return NULL;
    return authorization + len + strspn(authorization + len, " ");
}

/* The part up to a "." or the end; what is no base64url is found when it is decoded. */
struct part {
    const char *text;
    size_t len;
};

static bool take_parts(const char *jws, struct part parts[3])
{
    for (size_t i = 0; i < 3; i++) {
        parts[i] = (struct part){jws, strcspn(jws, ".")};
        bool last = jws[parts[i].len] == '\0';
        if (parts[i].len == 0 || memchr(jws, '=', parts[i].len) || last != (i == 2))
            return false;
        jws += parts[i].len + 1;
    }
    return true;
}

static enum kw_status decode_json(struct part part, const struct kw_json_limits *limits,
                                  cJSON **ret_json, struct kw_error *err)
{
    uint8_t text[KW_BASE64_DECODED_MAX(KW_BEARER_MAX)];
    size_t len = 0;
    if (!kw_base64_decode(KW_BASE64URL, part.text, part.len, text, sizeof(text), &len))
        return deny(err, "is not base64url");
    cJSON *json = NULL;
    enum kw_status status =
        kw_json_parse((const char *)text, len, limits, "it", KW_DENIED, &json, NULL);
    if (status == KW_NO_MEMORY)
        return kw_fail_memory(err);
    if (status != KW_OK || !cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return deny(err, "holds no JSON object, or one that is too large or has a name twice");
    }
    *ret_json = json;
    return KW_OK;
}

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* RFC 7515 section 4.1.9, RFC 7519 section 5.1, RFC 9068 section 2.1; "application/" may be left
 * out. */
static bool is_jwt_type(const cJSON *typ)
{
    static const char *const types[] = {"JWT", "at+jwt", "application/jwt", "application/at+jwt"};
    for (size_t i = 0; cJSON_IsString(typ) && i < KW_COUNT(types); i++)
        if (strcasecmp(typ->valuestring, types[i]) == 0)
            return true;
    return !typ;
}

static enum kw_status read_header(struct kw_bearer *bearer, struct kw_error *err)
{
    const cJSON *alg = member(bearer->header, "alg"), *kid = member(bearer->header, "kid");
    bearer->alg = cJSON_IsString(alg) ? kw_jws_alg_parse(alg->valuestring) : 0;
    if (!bearer->alg)
        return deny(err, "is signed with no algorithm that is taken: RS256, PS256 or ES256");
    if (member(bearer->header, "crit") || member(bearer->header, "b64"))
        return deny(err, "has a header that must be understood and is not");
    if (!is_jwt_type(member(bearer->header, "typ")))
        return deny(err, "is of another type than JWT");
    if (kid && !cJSON_IsString(kid))
        return deny(err, "names its key by something that is no text");
    bearer->kid = kid ? kid->valuestring : NULL;
    return KW_OK;
}

static enum kw_status measure_signature(struct part part, struct kw_bearer *bearer,
                                        struct kw_error *err)
{
    uint8_t signature[KW_RSA_MAX_BYTES];
    if (!kw_base64_decode(KW_BASE64URL, part.text, part.len, signature, sizeof(signature),
                          &bearer->signature_len))
        return deny(err, "has a signature that is none");
    return KW_OK;
}

enum kw_status kw_bearer_parse(const char *authorization, struct kw_bearer *bearer,
                               struct kw_error *err)
{
    const char *jws = after_scheme(authorization);
    struct part parts[3];
    if (!jws)
        return kw_fail(err, KW_DENIED, "the Authorization header holds no bearer token");
    size_t len = strnlen(jws, KW_BEARER_MAX + 1);
    if (len > KW_BEARER_MAX)
        return deny(err, "is longer than 12 KiB");
    if (!take_parts(jws, parts))
        return deny(err, "is no JWS in its compact form");
    bearer->jws = jws;
    bearer->len = len;
    enum kw_status status = decode_json(parts[0], &header_limits, &bearer->header, err);
    if (status == KW_OK)
        status = read_header(bearer, err);
    if (status == KW_OK)
        status = decode_json(parts[1], &claims_limits, &bearer->claims, err);
    return status ? status : measure_signature(parts[2], bearer, err);
}

void kw_bearer_cleanup(struct kw_bearer *bearer)
{
    cJSON_Delete(bearer->header);
    cJSON_Delete(bearer->claims);
    *bearer = (struct kw_bearer){.jws = NULL};
}

/* ---- verifying it ---- */

bool kw_bearer_claims(const struct kw_bearer *bearer, const char *name, const char *value)
{
    const cJSON *claim = member(bearer->claims, name);
    if (cJSON_IsString(claim))
        return strcmp(claim->valuestring, value) == 0;
    const cJSON *item;
    bool found = false;
    if (cJSON_IsArray(claim))
        cJSON_ArrayForEach(item, claim) found =
            found || (cJSON_IsString(item) && strcmp(item->valuestring, value) == 0);
    return found;
}

/* RFC 7519 section 2, NumericDate. */
static bool read_time(const cJSON *claim, double *ret_time)
{
    if (!cJSON_IsNumber(claim) || !isfinite(claim->valuedouble) || claim->valuedouble < 0)
        return false;
    *ret_time = claim->valuedouble;
    return true;
}

/* *begin is the latest of those that were read. */
static bool has_begun(const cJSON *claim, time_t now, double *begin)
{
    double own = 0;
    if (claim && (!read_time(claim, &own) || own > (double)now + LEEWAY_S))
        return false;
    *begin = own > *begin ? own : *begin;
    return true;
}

static enum kw_status check_times(const struct kw_bearer *bearer, time_t now,
                                  struct kw_bearer_found *found, struct kw_error *err)
{
    double begin = 0, end = 0;
    if (!read_time(member(bearer->claims, "exp"), &end))
        return deny(err, "has no end");
    if ((double)now >= end)
        return deny(err, "is past its end");
    if (!has_begun(member(bearer->claims, "nbf"), now, &begin) ||
        !has_begun(member(bearer->claims, "iat"), now, &begin))
        return deny(err, "is not yet valid");
    found->from = (time_t)begin + 1 - LEEWAY_S;
    found->until = (time_t)(end < LAST_S ? end : LAST_S);
    return KW_OK;
}

static enum kw_status check_signature(const struct kw_bearer *bearer, struct kw_jwks *jwks,
                                      size_t issuer, struct kw_error *err)
{
    struct kw_jwk_set *set = kw_jwks_get(jwks, issuer);
    if (!set)
        return deny(err, "is of an issuer whose public keys can't be had at present");
    const struct kw_jwk *key = kw_jwk_set_find(set, bearer->alg, bearer->kid);
    bool good = key && kw_jwk_verify(key, bearer->jws, bearer->len, bearer->signature_len);
    kw_jwk_set_free(set);
    if (!key)
        kw_jwks_want(jwks, issuer);
    if (!key)
        return deny(err, "names no one key of its issuer");
    return good ? KW_OK : deny(err, "is not signed by its issuer");
}

enum kw_status kw_bearer_verify(const struct kw_bearer *bearer,
                                const struct kw_config_issuer *issuers, size_t count,
                                struct kw_jwks *jwks, time_t now, struct kw_bearer_found *ret_found,
                                struct kw_error *err)
{
    const cJSON *iss = member(bearer->claims, "iss");
    struct kw_bearer_found found = {.issuer = 0};
    while (found.issuer < count &&
           !(cJSON_IsString(iss) && strcmp(iss->valuestring, issuers[found.issuer].issuer) == 0))
        found.issuer++;
    if (found.issuer == count)
        return deny(err, "is of no [issuer]");
    found.generation = kw_jwks_generation(jwks, found.issuer);
    enum kw_status status = check_signature(bearer, jwks, found.issuer, err);
    if (status == KW_OK)
        status = check_times(bearer, now, &found, err);
    if (status == KW_OK && !kw_bearer_claims(bearer, "aud", issuers[found.issuer].audience))
        status = deny(err, "is for another audience");
    if (status == KW_OK)
        *ret_found = found;
    return status;
}
