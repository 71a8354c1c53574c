/* A private key in a JSON Web Key, as Key Vault's import has it. */
#include <cjson/cJSON.h>
#include <string.h>

#include "serve/internal.h"

static const char *const fields[KW_RSA_NUMBERS] = {
    [KW_RSA_MODULUS] = "n",     [KW_RSA_PUBLIC_EXPONENT] = "e", [KW_RSA_PRIVATE_EXPONENT] = "d",
    [KW_RSA_PRIME_1] = "p",     [KW_RSA_PRIME_2] = "q",         [KW_RSA_EXPONENT_1] = "dp",
    [KW_RSA_EXPONENT_2] = "dq", [KW_RSA_COEFFICIENT] = "qi",
};

static enum kw_status read_number(const cJSON *jwk, const char *field,
                                  struct kw_secret **ret_number, struct kw_error *err)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(jwk, field));
    struct kw_secret *number = NULL;
    size_t len = 0;
    enum kw_status status = kw_secret_new(KW_RSA_MAX_BYTES, &number, err);
    if (status)
        return status;
    if (!text ||
        !kw_base64_decode(KW_BASE64URL, text, strlen(text), kw_secret_data(number),
                          KW_RSA_MAX_BYTES, &len) ||
        len == 0) {
        kw_secret_free(number);
        return kw_fail(err, KW_USAGE, "it has no \"%s\"", field);
    }
    kw_secret_set_len(number, len);
    *ret_number = number;
    return KW_OK;
}

enum kw_status kw_jwk_to_pkcs8(struct kw_call *call, const struct cJSON *jwk,
                               struct kw_secret **ret_pkcs8, struct kw_error *err)
{
    struct kw_rsa_private key = {.numbers = {NULL}};
    struct kw_error fault;
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_RSA_NUMBERS && !status; i++)
        status = read_number(jwk, fields[i], &key.numbers[i], &fault);
    if (!status)
        status = kw_rsa_private_to_pkcs8(&key, ret_pkcs8, &fault);
    kw_rsa_private_cleanup(&key);
    if (status == KW_USAGE)
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, status, err,
                              "Property \"key\" of the request is no private RSA key: %.200s.",
                              fault.message);
    return status ? kw_fail(err, status, "%s", fault.message) : KW_OK;
}
