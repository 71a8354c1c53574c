/* Fuzzes the Authorization header of a bearer token, up to the signature by a key that is there. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "serve/access_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* RFC 7515 appendix A.3.1 and A.2.1: nobody signs with these any more. */
static const char keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\","
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
    "{\"kty\":\"RSA\",\"kid\":\"r\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_"
    "wWJcyQoTbj"
    "i9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b3"
    "2690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapH"
    "g665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFk"
    "MLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}]}";

static const struct kw_jwk_set *key_set(void)
{
    static struct kw_jwk_set *set;
    if (!set && (kw_jwk_set_parse(keys, strlen(keys), "keys", &set, NULL) != KW_OK ||
                 kw_jwk_set_count(set) != 2))
        abort();
    return set;
}

static void check(const struct kw_bearer *bearer, const char *text)
{
    const unsigned algs[] = {KW_JWS_RS256, KW_JWS_PS256, KW_JWS_ES256};
    bool known = false;
    for (size_t i = 0; i < KW_COUNT(algs); i++)
        known = known || bearer->alg == algs[i];
    if (!known || bearer->jws < text || bearer->jws + bearer->len != text + strlen(text) ||
        bearer->len > KW_BEARER_MAX || !bearer->header || !bearer->claims)
        abort();
    (void)kw_bearer_claims(bearer, "aud", "x");
    const struct kw_jwk *key = kw_jwk_set_find(key_set(), bearer->alg, bearer->kid);
    if (key)
        (void)kw_jwk_verify(key, bearer->jws, bearer->len, bearer->signature_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    struct kw_bearer bearer = {.jws = NULL};
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_bearer_parse(text, &bearer, &err);
    if (status == KW_OK)
        check(&bearer, text);
    else if (status != KW_DENIED || err.status != status || !err.message[0])
        abort();
    kw_bearer_cleanup(&bearer);
    free(text);
    return 0;
}
