/* How keys are shown: a table, or a document. */
#include <cjson/cJSON.h>
#include <string.h>

#include "cli.h"

/* What is said of a key besides its name and dates. */
static const struct trait {
    const char *name;
    size_t offset;
} traits[] = {
    {"decrypt", offsetof(struct kw_token_key, decrypt)},
    {"unwrap", offsetof(struct kw_token_key, unwrap)},
    {"sensitive", offsetof(struct kw_token_key, sensitive)},
    {"extractable", offsetof(struct kw_token_key, extractable)},
    {"never_extractable", offsetof(struct kw_token_key, never_extractable)},
    {"local", offsetof(struct kw_token_key, local)},
    {"always_authenticate", offsetof(struct kw_token_key, always_authenticate)},
};

static bool has_trait(const struct kw_token_key *key, const struct trait *trait)
{
    return *(const bool *)((const char *)key + trait->offset);
}

void print_key_row(const struct kw_token_key *key)
{
    char label[SHOWN_TEXT];
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(key->id, key->id_len, id);
    printf("%-36s  %-32s  %4zu  %-10s  %-10s ", show(key->label, label), id,
           kw_rsa_bits(&key->public), key->not_before[0] ? key->not_before : "-",
           key->expires[0] ? key->expires : "-");
    for (size_t i = 0; i < KW_COUNT(traits); i++)
        if (has_trait(key, &traits[i]))
            printf(" %s", traits[i].name);
    printf("\n");
}

cJSON *json_of_key(const struct kw_token_key *key)
{
    cJSON *json = cJSON_CreateObject();
    json_text(json, "label", key->label);
    json_hex(json, "id", key->id, key->id_len);
    (void)cJSON_AddNumberToObject(json, "bits", (double)kw_rsa_bits(&key->public));
    json_hex(json, "modulus", key->public.modulus, key->public.modulus_len);
    json_text(json, "not_before", key->not_before);
    json_text(json, "expires", key->expires);
    for (size_t i = 0; i < KW_COUNT(traits); i++)
        (void)cJSON_AddBoolToObject(json, traits[i].name, has_trait(key, &traits[i]));
    return json;
}

enum kw_status print_keys(const struct kw_token_info *token, const struct kw_token_key *keys,
                          size_t count, const struct arguments *arguments, struct kw_error *err)
{
    char label[SHOWN_TEXT];
    if (arguments->json) {
        cJSON *json = cJSON_CreateObject();
        json_text(json, "schema", KEYS_SCHEMA);
        cJSON *object = cJSON_AddObjectToObject(json, "token");
        json_text(object, "label", token->label);
        json_text(object, "serial", token->serial);
        cJSON *array = cJSON_AddArrayToObject(json, "keys");
        for (size_t i = 0; i < count; i++)
            (void)cJSON_AddItemToArray(array, json_of_key(&keys[i]));
        return print_json(json, err);
    }
    printf("token \"%s\", serial %s: %zu RSA private keys\n", show(token->label, label),
           token->serial, count);
    if (count > 0)
        printf("%-36s  %-32s  %4s  %-10s  %-10s  %s\n", "LABEL", "ID", "BITS", "NOT BEFORE",
               "EXPIRES", "TRAITS");
    for (size_t i = 0; i < count; i++)
        print_key_row(&keys[i]);
    return finish_output(err);
}

enum kw_status print_key_of(struct kw_keyring *keyring, const struct kw_token_key *key,
                            const struct arguments *arguments, struct kw_error *err)
{
    const struct kw_token_info *token = NULL;
    enum kw_status status = kw_keyring_token(keyring, &token, err);
    return status ? status : print_keys(token, key, 1, arguments, err);
}
