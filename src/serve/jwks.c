/* Sets of public keys (RFC 7517, 7518 section 6), and signatures by them, through cjose. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cjose/cjose.h>
#include <cjson/cJSON.h>
#include <openssl/err.h>

#include "serve/access_parts.h"

#define KEYS_MAX      64
#define KID_MAX_BYTES 256
#define P256_BYTES    32

/* What is taken of a set, certificates in it included. */
static const struct kw_json_limits limits = {.bytes = KW_JWKS_MAX_BYTES, .depth = 6, .items = 8192};

struct kw_jwk {
    char *kid;              /* or NULL */
    unsigned algs;          /* that it verifies */
    size_t signature_bytes; /* of a signature by it */
    cjose_jwk_t *key;       /* never retained anew: its count is not made for threads */
};
struct kw_jwk_set {
    atomic_size_t shares;
    size_t count;
    struct kw_jwk keys[KEYS_MAX];
};

static const struct {
    const char *name;
    unsigned alg;
} algs[] = {
    {"RS256", KW_JWS_RS256},
    {"PS256", KW_JWS_PS256},
    {"ES256", KW_JWS_ES256},
};

unsigned kw_jws_alg_parse(const char *name)
{
    for (size_t i = 0; i < KW_COUNT(algs); i++)
        if (strcmp(name, algs[i].name) == 0)
            return algs[i].alg;
    return 0;
}

/* ---- one key ---- */

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* Base64url without padding and without zeros in front, or of `exact` bytes where that is not 0. */
static bool take_number(const cJSON *key, const char *name, size_t exact, uint8_t *out,
                        size_t capacity, size_t *ret_len)
{
    const char *text = text_of(key, name);
    return text && !strchr(text, '=') &&
           kw_base64_decode(KW_BASE64URL, text, strlen(text), out, capacity, ret_len) &&
           *ret_len > 0 && (exact ? *ret_len == exact : out[0] != 0);
}

/* An exponent of 1 would make anything its own signature. */
static bool is_exponent(const uint8_t *e, size_t len)
{
    return (e[len - 1] & 1) != 0 && (len > 1 || e[0] >= 3);
}

static cjose_jwk_t *import_rsa(const cJSON *json, size_t *ret_signature_bytes)
{
    uint8_t n[KW_RSA_MAX_BYTES], e[16];
    size_t n_len = 0, e_len = 0;
    if (!take_number(json, "n", 0, n, sizeof(n), &n_len) ||
        !take_number(json, "e", 0, e, sizeof(e), &e_len) || e_len > 8 || !is_exponent(e, e_len))
        return NULL;
    if (n_len < KW_RSA_MIN_BITS / 8 || n_len > KW_RSA_MAX_BYTES || (n[n_len - 1] & 1) == 0)
        return NULL;
    cjose_jwk_rsa_keyspec spec = {.n = n, .nlen = n_len, .e = e, .elen = e_len};
    cjose_err unused;
    *ret_signature_bytes = n_len;
    return cjose_jwk_create_RSA_spec(&spec, &unused);
}

/* That the point is on the curve, OpenSSL sees. */
static cjose_jwk_t *import_ec(const cJSON *json, size_t *ret_signature_bytes)
{
    uint8_t x[P256_BYTES], y[P256_BYTES];
    size_t x_len = 0, y_len = 0;
    const char *curve = text_of(json, "crv");
    if (!curve || strcmp(curve, "P-256") != 0 ||
        !take_number(json, "x", P256_BYTES, x, sizeof(x), &x_len) ||
        !take_number(json, "y", P256_BYTES, y, sizeof(y), &y_len))
        return NULL;
    cjose_jwk_ec_keyspec spec = {
        .crv = CJOSE_JWK_EC_P_256, .x = x, .xlen = x_len, .y = y, .ylen = y_len};
    cjose_err unused;
    *ret_signature_bytes = 2 * (size_t)P256_BYTES;
    return cjose_jwk_create_EC_spec(&spec, &unused);
}

static const struct {
    const char *kty;
    unsigned algs;
    cjose_jwk_t *(*import)(const cJSON *json, size_t *ret_signature_bytes);
} types[] = {
    {"RSA", KW_JWS_RS256 | KW_JWS_PS256, import_rsa},
    {"EC", KW_JWS_ES256, import_ec},
};

/* RFC 7517 section 4.3. */
static bool may_verify(const cJSON *operations)
{
    const cJSON *operation;
    cJSON_ArrayForEach(operation,
                       operations) if (cJSON_IsString(operation) &&
                                       strcmp(operation->valuestring, "verify") == 0) return true;
    return !operations;
}

/* Which of the algorithms that its type can do the key says it is for. */
static unsigned algs_for(const cJSON *json, unsigned of_type)
{
    const cJSON *alg = cJSON_GetObjectItemCaseSensitive(json, "alg");
    const cJSON *use = cJSON_GetObjectItemCaseSensitive(json, "use");
    if (use && (!cJSON_IsString(use) || strcmp(use->valuestring, "sig") != 0))
        return 0;
    if (!may_verify(cJSON_GetObjectItemCaseSensitive(json, "key_ops")))
        return 0;
    if (cJSON_GetObjectItemCaseSensitive(json, "d"))
        return 0; /* a private key that is published is nobody's any more */
    if (!alg)
        return of_type;
    return cJSON_IsString(alg) ? of_type & kw_jws_alg_parse(alg->valuestring) : 0;
}

static bool is_kid(const cJSON *kid)
{
    return !kid || (cJSON_IsString(kid) && strlen(kid->valuestring) <= KID_MAX_BYTES);
}

/* RFC 7517 section 5: what is not understood is left out. KW_NO_MEMORY is all that fails. */
static enum kw_status take_key(struct kw_jwk_set *set, const cJSON *json, struct kw_error *err)
{
    const char *kty = text_of(json, "kty");
    const cJSON *kid = cJSON_GetObjectItemCaseSensitive(json, "kid");
    struct kw_jwk *key = &set->keys[set->count];
    for (size_t i = 0; kty && is_kid(kid) && i < KW_COUNT(types); i++) {
        unsigned fitting = strcmp(kty, types[i].kty) == 0 ? algs_for(json, types[i].algs) : 0;
        size_t bytes = 0;
        cjose_jwk_t *imported = fitting ? types[i].import(json, &bytes) : NULL;
        ERR_clear_error();
        if (!imported)
            continue;
        *key = (struct kw_jwk){
            .algs = fitting, .signature_bytes = bytes, .key = imported, .kid = NULL};
        set->count++;
        key->kid = kid ? strdup(kid->valuestring) : NULL;
        if (kid && !key->kid)
            return kw_fail_memory(err);
    }
    return KW_OK;
}

/* ---- sets ---- */

static enum kw_status take_keys(struct kw_jwk_set *set, const cJSON *json, const char *what,
                                struct kw_error *err)
{
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(json, "keys");
    const cJSON *key;
    if (!cJSON_IsArray(keys))
        return kw_fail(err, KW_CONFIG, "%s is no JWK set; it must have an array \"keys\"", what);
    cJSON_ArrayForEach(key, keys)
    {
        if (set->count == KEYS_MAX)
            return kw_fail(err, KW_CONFIG, "%s has more than %d keys; take some out", what,
                           KEYS_MAX);
        enum kw_status status = take_key(set, key, err);
        if (status != KW_OK)
            return status;
    }
    if (set->count == 0)
        return kw_fail(err, KW_CONFIG,
                       "%s has no public key for RS256, PS256 or ES256; give one of RSA with 2048 "
                       "to 4096 bits or of P-256",
                       what);
    return KW_OK;
}

enum kw_status kw_jwk_set_parse(const char *text, size_t len, const char *what,
                                struct kw_jwk_set **ret_set, struct kw_error *err)
{
    cJSON *json = NULL;
    enum kw_status status = kw_json_parse(text, len, &limits, what, KW_CONFIG, &json, err);
    if (status != KW_OK)
        return status;
    struct kw_jwk_set *set = calloc(1, sizeof(*set));
    if (set)
        atomic_init(&set->shares, 1);
    status = set ? take_keys(set, json, what, err) : kw_fail_memory(err);
    cJSON_Delete(json);
    if (status == KW_OK)
        *ret_set = set;
    else
        kw_jwk_set_free(set);
    return status;
}

struct kw_jwk_set *kw_jwk_set_share(struct kw_jwk_set *set)
{
    atomic_fetch_add(&set->shares, 1);
    return set;
}

void kw_jwk_set_free(struct kw_jwk_set *set)
{
    if (!set || atomic_fetch_sub(&set->shares, 1) > 1)
        return;
    for (size_t i = 0; i < set->count; i++) {
        free(set->keys[i].kid);
        (void)cjose_jwk_release(set->keys[i].key); /* false: there is nothing left of it */
    }
    free(set);
}

size_t kw_jwk_set_count(const struct kw_jwk_set *set)
{
    return set->count;
}

const struct kw_jwk *kw_jwk_set_find(const struct kw_jwk_set *set, unsigned alg, const char *kid)
{
    const struct kw_jwk *found = NULL;
    for (size_t i = 0; i < set->count; i++) {
        const struct kw_jwk *key = &set->keys[i];
        if ((key->algs & alg) == 0 || (kid && (!key->kid || strcmp(kid, key->kid) != 0)))
            continue;
        if (found)
            return NULL;
        found = key;
    }
    return found;
}

/* The length is looked at here, as cjose takes an ECDSA signature's halves by its own measure. */
bool kw_jwk_verify(const struct kw_jwk *key, const char *jws, size_t len, size_t signature_len)
{
    cjose_err unused;
    if (signature_len != key->signature_bytes)
        return false;
    cjose_jws_t *signed_text = cjose_jws_import(jws, len, &unused);
    bool good = signed_text && cjose_jws_verify(signed_text, key->key, &unused);
    cjose_jws_release(signed_text);
    ERR_clear_error(); /* a TLS connection of this thread would take them for its own */
    return good;
}
