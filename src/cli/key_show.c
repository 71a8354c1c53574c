/* keyward key show: every version of a key, with its public half. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* What others do with the public half, in Key Vault's words; a key exchange key is for import. */
static void add_operations(cJSON *jwk, const struct kw_token_key *key)
{
    cJSON *operations = kw_json_add_array(jwk, "key_ops");
    const struct {
        bool offered;
        const char *name;
    } names[] = {
        {key->decrypt, "encrypt"},
        {key->decrypt, "wrapKey"},
        {key->unwrap && !key->decrypt, "import"},
        {key->sign, "verify"},
    };
    for (size_t i = 0; i < KW_COUNT(names); i++)
        if (names[i].offered)
            kw_json_add_text(operations, NULL, names[i].name);
}

/* RFC 7517. */
static cJSON *make_jwk(const struct kw_token_key *key)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    cJSON *jwk = cJSON_CreateObject();
    kw_hex_encode(key->id, key->id_len, id);
    json_text(jwk, "kty", "RSA");
    json_text(jwk, "kid", id);
    add_operations(jwk, key);
    kw_json_add_base64(jwk, "n", KW_BASE64URL, key->public.modulus, key->public.modulus_len);
    kw_json_add_base64(jwk, "e", KW_BASE64URL, key->public.exponent, key->public.exponent_len);
    return jwk;
}

static enum kw_status show_text(struct kw_crypto *crypto, const struct kw_version *version,
                                struct kw_error *err)
{
    struct kw_buffer pem = KW_BUFFER_INIT(8192);
    enum kw_status status = kw_rsa_public_to_pem(crypto, &version->key->public, &pem, err);
    cJSON *jwk = status ? NULL : make_jwk(version->key);
    char *text = jwk ? cJSON_PrintUnformatted(jwk) : NULL;
    if (!status && !text)
        status = kw_fail_memory(err);
    if (!status) {
        printf("\n");
        print_version(version);
        printf("%.*s%s\n", (int)pem.len, (const char *)pem.data, text);
    }
    cJSON_free(text);
    cJSON_Delete(jwk);
    kw_buffer_cleanup(&pem);
    return status;
}

static enum kw_status show_json(struct kw_crypto *crypto, const struct kw_version *version,
                                cJSON *array, struct kw_error *err)
{
    struct kw_buffer pem = KW_BUFFER_INIT(8192);
    enum kw_status status = kw_rsa_public_to_pem(crypto, &version->key->public, &pem, err);
    if (!status)
        status = kw_buffer_append(&pem, "", 1, err);
    if (!status) {
        cJSON *json = json_of_version(version);
        json_text(json, "pem", (const char *)pem.data);
        kw_json_add(json, "jwk", make_jwk(version->key));
        kw_json_add(array, NULL, json);
    }
    kw_buffer_cleanup(&pem);
    return status;
}

static enum kw_status show_versions(struct kw_keyring *keyring, const struct arguments *arguments,
                                    cJSON *array, struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    struct kw_crypto *crypto = kw_keyring_crypto(keyring);
    enum kw_status status =
        kw_keyring_versions(keyring, arguments->operands[0], &versions, &count, err);
    for (size_t i = 0; i < count && !status; i++)
        status = array ? show_json(crypto, &versions[i], array, err)
                       : show_text(crypto, &versions[i], err);
    free(versions);
    return status;
}

enum kw_status show_key(struct kw_keyring *keyring, const struct arguments *arguments,
                        struct kw_error *err)
{
    const struct kw_token_info *token = NULL;
    enum kw_status status = kw_keyring_token(keyring, &token, err);
    if (status)
        return status;
    if (!arguments->json) {
        status = show_versions(keyring, arguments, NULL, err);
        return status ? status : finish_output(err);
    }
    cJSON *keys = NULL, *json = json_of_keys(token, &keys);
    status = keys ? show_versions(keyring, arguments, keys, err) : kw_fail_memory(err);
    if (!status)
        return print_json(json, err);
    cJSON_Delete(json);
    return status;
}

int run_key_show(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, show_key);
}
