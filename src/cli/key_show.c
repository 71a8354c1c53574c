/* keyward key show: every version of a key, with its public half. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* What others do with the public half, in Key Vault's words; a key exchange key is for import. */
#define PUBLIC_OPS (KW_OP_ENCRYPT | KW_OP_WRAP | KW_OP_IMPORT | KW_OP_VERIFY)

static unsigned public_ops(const struct kw_version *version)
{
    bool enabled = kw_key_state(version->record) == KW_KEY_ENABLED;
    return enabled ? kw_version_ops(version) & PUBLIC_OPS : 0;
}

static void add_operations(cJSON *json, unsigned ops)
{
    cJSON *operations = kw_json_add_array(json, "key_ops");
    for (unsigned i = 0; i < KW_OPS_COUNT; i++)
        if (ops & (1U << i))
            kw_json_add_text(operations, NULL, kw_key_op_name((enum kw_key_op)(1U << i)));
}

/* RFC 7517. */
static cJSON *make_jwk(const struct kw_version *version)
{
    const struct kw_token_key *key = version->key;
    char id[2 * KW_KEY_ID_MAX + 1];
    cJSON *jwk = cJSON_CreateObject();
    kw_hex_encode(key->id, key->id_len, id);
    json_text(jwk, "kty", "RSA");
    json_text(jwk, "kid", id);
    add_operations(jwk, public_ops(version));
    kw_json_add_base64(jwk, "n", KW_BASE64URL, key->public.modulus, key->public.modulus_len);
    kw_json_add_base64(jwk, "e", KW_BASE64URL, key->public.exponent, key->public.exponent_len);
    return jwk;
}

static void print_ops(unsigned ops)
{
    printf("  %-12s", "operations:");
    for (unsigned i = 0; i < KW_OPS_COUNT; i++)
        if (ops & (1U << i))
            printf(" %s", kw_key_op_name((enum kw_key_op)(1U << i)));
    printf("\n");
}

static void print_time(const char *name, int64_t seconds)
{
    char timestamp[KW_TIMESTAMP_SIZE];
    if (!seconds)
        return;
    kw_timestamp((time_t)seconds, timestamp);
    printf("  %-12s %s\n", name, timestamp);
}

/* What Key Vault knows of it besides. */
static enum kw_status print_record(const struct kw_version *version, struct kw_error *err)
{
    const struct kw_key_record *record = version->record;
    char *policy = record->policy ? cJSON_PrintUnformatted(record->policy) : NULL;
    char shown[KW_POLICY_MAX + 1];
    if (record->policy && !policy)
        return kw_fail_memory(err);
    if (record->updated[0])
        printf("  %-12s %s\n", "updated:", record->updated);
    if (record->ops)
        print_ops(kw_version_ops(version));
    print_time("valid from:", record->not_before);
    print_time("valid until:", record->expires);
    if (policy)
        printf("  %-12s %s\n",
               "policy:", kw_printable(policy, strlen(policy), shown, sizeof(shown)));
    cJSON_free(policy);
    return KW_OK;
}

static enum kw_status show_text(struct kw_crypto *crypto, const struct kw_version *version,
                                struct kw_error *err)
{
    struct kw_buffer pem = KW_BUFFER_INIT(8192);
    enum kw_status status = kw_rsa_public_to_pem(crypto, &version->key->public, &pem, err);
    cJSON *jwk = status ? NULL : make_jwk(version);
    char *text = jwk ? cJSON_PrintUnformatted(jwk) : NULL;
    if (!status && !text)
        status = kw_fail_memory(err);
    if (!status) {
        printf("\n");
        print_version(version);
        status = print_record(version, err);
    }
    if (!status)
        printf("%.*s%s\n", (int)pem.len, (const char *)pem.data, text);
    cJSON_free(text);
    cJSON_Delete(jwk);
    kw_buffer_cleanup(&pem);
    return status;
}

static void add_time(cJSON *json, const char *name, int64_t seconds)
{
    char timestamp[KW_TIMESTAMP_SIZE] = "";
    if (seconds)
        kw_timestamp((time_t)seconds, timestamp);
    json_text(json, name, timestamp);
}

/* What Key Vault knows of it besides. */
static void add_record(cJSON *json, const struct kw_version *version)
{
    const struct kw_key_record *record = version->record;
    json_text(json, "updated", record->updated);
    add_operations(json, kw_version_ops(version));
    add_time(json, "not_before_time", record->not_before);
    add_time(json, "expires_time", record->expires);
    kw_json_add(json, "rotation_policy",
                record->policy ? cJSON_Duplicate(record->policy, true) : cJSON_CreateNull());
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
        add_record(json, version);
        json_text(json, "pem", (const char *)pem.data);
        kw_json_add(json, "jwk", make_jwk(version));
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
