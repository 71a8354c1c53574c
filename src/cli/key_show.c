/* keyward key show: every version of a key, with its public half. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

static bool is_asked_for(const struct kw_token_key *key, const char *name)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(key->id, key->id_len, id);
    return strcmp(key->label, name) == 0 || (key->id_len > 0 && strcasecmp(id, name) == 0);
}

static void add_base64url(cJSON *object, const char *name, const uint8_t *data, size_t len)
{
    char text[KW_BASE64_ENCODED_SIZE(KW_RSA_MAX_BYTES)];
    kw_base64_encode(KW_BASE64URL, data, len, text);
    json_text(object, name, text);
}

/* RFC 7517, with Key Vault's names for the operations. */
static cJSON *make_jwk(const struct kw_token_key *key)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    cJSON *jwk = cJSON_CreateObject();
    kw_hex_encode(key->id, key->id_len, id);
    json_text(jwk, "kty", "RSA");
    json_text(jwk, "kid", id);
    cJSON *operations = cJSON_AddArrayToObject(jwk, "key_ops");
    (void)cJSON_AddItemToArray(operations, cJSON_CreateString("encrypt"));
    (void)cJSON_AddItemToArray(operations, cJSON_CreateString("wrapKey"));
    add_base64url(jwk, "n", key->public.modulus, key->public.modulus_len);
    add_base64url(jwk, "e", key->public.exponent, key->public.exponent_len);
    return jwk;
}

static enum kw_status show_text(struct kw_crypto *crypto, const struct kw_token_key *key,
                                struct kw_error *err)
{
    struct kw_buffer pem = KW_BUFFER_INIT(8192);
    enum kw_status status = kw_rsa_public_to_pem(crypto, &key->public, &pem, err);
    cJSON *jwk = status ? NULL : make_jwk(key);
    char *text = jwk ? cJSON_PrintUnformatted(jwk) : NULL;
    if (!status && !text)
        status = kw_fail_memory(err);
    if (!status) {
        printf("\n");
        print_key_row(key);
        printf("%.*s%s\n", (int)pem.len, (const char *)pem.data, text);
    }
    cJSON_free(text);
    cJSON_Delete(jwk);
    kw_buffer_cleanup(&pem);
    return status;
}

static enum kw_status show_json(struct kw_crypto *crypto, const struct kw_token_key *key,
                                cJSON *array, struct kw_error *err)
{
    struct kw_buffer pem = KW_BUFFER_INIT(8192);
    enum kw_status status = kw_rsa_public_to_pem(crypto, &key->public, &pem, err);
    if (!status)
        status = kw_buffer_append(&pem, "", 1, err);
    if (!status) {
        cJSON *json = json_of_key(key);
        json_text(json, "pem", (const char *)pem.data);
        (void)cJSON_AddItemToObject(json, "jwk", make_jwk(key));
        (void)cJSON_AddItemToArray(array, json);
    }
    kw_buffer_cleanup(&pem);
    return status;
}

static enum kw_status show_versions(struct kw_keyring *keyring, const struct arguments *arguments,
                                    cJSON *array, struct kw_error *err)
{
    const struct kw_token_key *keys = NULL;
    const char *name = arguments->operands[0];
    size_t count = 0;
    size_t shown = 0;
    char name_shown[SHOWN_TEXT];
    enum kw_status status = kw_keyring_keys(keyring, &keys, &count, err);
    for (size_t i = 0; i < count && !status; i++) {
        if (!is_asked_for(&keys[i], name))
            continue;
        struct kw_crypto *crypto = kw_keyring_crypto(keyring);
        status = array ? show_json(crypto, &keys[i], array, err) : show_text(crypto, &keys[i], err);
        shown++;
    }
    if (!status && shown == 0)
        status = kw_fail(err, KW_KEY_NOT_FOUND,
                         "the token has no key \"%s\"; keyward key list shows what it has",
                         show(name, name_shown));
    return status;
}

static enum kw_status show_key(struct kw_keyring *keyring, const struct arguments *arguments,
                               struct kw_error *err)
{
    if (!arguments->json) {
        enum kw_status status = show_versions(keyring, arguments, NULL, err);
        return status ? status : finish_output(err);
    }
    cJSON *json = cJSON_CreateObject();
    json_text(json, "schema", KEYS_SCHEMA);
    enum kw_status status =
        show_versions(keyring, arguments, cJSON_AddArrayToObject(json, "keys"), err);
    if (!status)
        return print_json(json, err);
    cJSON_Delete(json);
    return status;
}

int run_key_show(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, show_key);
}
