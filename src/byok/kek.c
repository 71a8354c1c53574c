/* kek: the public half of a key exchange key, as Key Vault and its tools give it. */
#include <cjson/cJSON.h>
#include <string.h>

#include "byok/byok.h"

static const struct kw_json_limits limits = {.bytes = KW_BYOK_MAX_BYTES, .depth = 8, .items = 500};

static bool read_number(const cJSON *jwk, const char *name, uint8_t *out, size_t capacity,
                        size_t *ret_len)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(jwk, name));
    return text && kw_base64_decode(KW_BASE64URL, text, strlen(text), out, capacity, ret_len) &&
           *ret_len > 0 && out[0] != 0;
}

static bool read_jwk(const cJSON *jwk, struct kw_rsa_public *ret_kek, char kid[KW_BYOK_TEXT_MAX])
{
    struct kw_rsa_public kek = {.modulus_len = 0};
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(jwk, "kty"));
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(jwk, "kid"));
    if (!type || (strcmp(type, "RSA") != 0 && strcmp(type, "RSA-HSM") != 0) ||
        !read_number(jwk, "n", kek.modulus, sizeof(kek.modulus), &kek.modulus_len) ||
        !read_number(jwk, "e", kek.exponent, sizeof(kek.exponent), &kek.exponent_len))
        return false;
    size_t len = name ? strlen(name) : 0;
    if (len >= KW_BYOK_TEXT_MAX)
        return false;
    if (len > 0)
        memcpy(kid, name, len);
    kid[len] = '\0';
    *ret_kek = kek;
    return true;
}

static bool is_kek_size(size_t bits)
{
    return bits == 2048 || bits == 3072 || bits == 4096;
}

enum kw_status kw_byok_read_kek(struct kw_crypto *crypto, const char *text, size_t len,
                                const char *what, struct kw_rsa_public *ret_kek,
                                char ret_kid[KW_BYOK_TEXT_MAX], struct kw_error *err)
{
    struct kw_rsa_public kek;
    char kid[KW_BYOK_TEXT_MAX] = "";
    enum kw_status status;
    if (len >= 5 && memcmp(text, "-----", 5) == 0) {
        status = kw_rsa_public_from_pem(crypto, text, len, what, &kek, err);
    } else {
        cJSON *json = NULL;
        status = kw_json_parse(text, len, &limits, what, KW_CONFIG, &json, err);
        const cJSON *inner = cJSON_GetObjectItemCaseSensitive(json, "key");
        if (!status && !read_jwk(inner ? inner : json, &kek, kid))
            status = kw_fail(err, KW_CONFIG,
                             "%s is neither PEM nor an RSA key in JSON (kty, n, e); download the "
                             "key exchange key again",
                             what);
        cJSON_Delete(json);
    }
    if (!status && !is_kek_size(kw_rsa_bits(&kek)))
        status =
            kw_fail(err, KW_CONFIG, "%s has %zu bits; a key exchange key has 2048, 3072 or 4096",
                    what, kw_rsa_bits(&kek));
    if (status)
        return status;
    *ret_kek = kek;
    memcpy(ret_kid, kid, sizeof(kid));
    return KW_OK;
}
