/* How keys are shown: a table, or a document. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* What is said of a key besides its name and dates. */
static const struct trait {
    const char *name;
    size_t offset;
} traits[] = {
    {"decrypt", offsetof(struct kw_token_key, decrypt)},
    {"unwrap", offsetof(struct kw_token_key, unwrap)},
    {"sign", offsetof(struct kw_token_key, sign)},
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

/* A key without a record was made on its token if that says so. */
static const char *origin_of(const struct kw_version *version)
{
    bool known = version->record->origin != KW_ORIGIN_UNKNOWN;
    return known ? kw_origin_name(version->record->origin)
                 : kw_origin_name(version->key->local ? KW_ORIGIN_TOKEN : KW_ORIGIN_UNKNOWN);
}

static const char *state_of(const struct kw_version *version)
{
    return kw_key_state_name(kw_key_state(version->record));
}

/* ---- the table ---- */

static const char *expiry_text(const struct kw_token_key *key, char out[32])
{
    if (!key->expires[0])
        return "-";
    (void)snprintf(out, 32, "%s (%ld d)", key->expires, kw_days_until(key->expires, time(NULL)));
    return out;
}

static void print_row(const struct kw_version *version)
{
    const struct kw_token_key *key = version->key;
    char label[SHOWN_TEXT], expiry[32], id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(key->id, key->id_len, id);
    printf("%-36s  %-32s  %4zu  %-10s  %-7s  %-10.10s  %-10s  %-20s ", show(key->label, label), id,
           kw_rsa_bits(&key->public), state_of(version), origin_of(version),
           version->record->created[0] ? version->record->created : "-",
           key->not_before[0] ? key->not_before : "-", expiry_text(key, expiry));
    for (size_t i = 0; i < KW_COUNT(traits); i++)
        if (has_trait(key, &traits[i]))
            printf(" %s", traits[i].name);
    printf("\n");
}

static void print_line(const char *name, const char *text)
{
    char shown[SHOWN_TEXT];
    if (text[0])
        printf("  %-12s %s\n", name, show(text, shown));
}

void print_version(const struct kw_version *version)
{
    const struct kw_key_record *record = version->record;
    char line[2 * SHOWN_TEXT];
    print_row(version);
    print_line("record:", record->state == KW_RECORD_BAD ? record->fault : "");
    print_line("created:", record->created);
    print_line("made on:", record->made_on);
    print_line("backed up:", record->backed_up);
    print_line("deleted:", record->deleted);
    print_line("purge after:", record->purge_after);
    for (const cJSON *tag = record->tags ? record->tags->child : NULL; tag; tag = tag->next) {
        (void)snprintf(line, sizeof(line), "%s=%s", tag->string, tag->valuestring);
        print_line("tag:", line);
    }
}

/* ---- the document ---- */

struct cJSON *json_of_version(const struct kw_version *version)
{
    const struct kw_token_key *key = version->key;
    const struct kw_key_record *record = version->record;
    cJSON *json = cJSON_CreateObject();
    json_text(json, "label", key->label);
    json_hex(json, "id", key->id, key->id_len);
    kw_json_add_number(json, "bits", (double)kw_rsa_bits(&key->public));
    json_hex(json, "modulus", key->public.modulus, key->public.modulus_len);
    json_text(json, "not_before", key->not_before);
    json_text(json, "expires", key->expires);
    if (key->expires[0])
        kw_json_add_number(json, "expires_in_days",
                           (double)kw_days_until(key->expires, time(NULL)));
    json_text(json, "state", state_of(version));
    json_text(json, "origin", origin_of(version));
    json_text(json, "record_fault", record->state == KW_RECORD_BAD ? record->fault : NULL);
    json_text(json, "made_on", record->made_on);
    json_text(json, "created", record->created);
    json_text(json, "backed_up", record->backed_up);
    json_text(json, "deleted", record->deleted);
    json_text(json, "purge_after", record->purge_after);
    kw_json_add(json, "tags",
                record->tags ? cJSON_Duplicate(record->tags, true) : cJSON_CreateObject());
    for (size_t i = 0; i < KW_COUNT(traits); i++)
        kw_json_add_bool(json, traits[i].name, has_trait(key, &traits[i]));
    return json;
}

struct cJSON *json_of_keys(const struct kw_token_info *token, struct cJSON **ret_keys)
{
    cJSON *json = cJSON_CreateObject();
    json_text(json, "schema", KEYS_SCHEMA);
    cJSON *object = kw_json_add_object(json, "token");
    json_text(object, "label", token->label);
    json_text(object, "serial", token->serial);
    *ret_keys = kw_json_add_array(json, "keys");
    return json;
}

enum kw_status print_versions(struct kw_keyring *keyring, const struct kw_version *versions,
                              size_t count, const struct arguments *arguments, struct kw_error *err)
{
    const struct kw_token_info *token = NULL;
    char label[SHOWN_TEXT];
    enum kw_status status = kw_keyring_token(keyring, &token, err);
    if (status)
        return status;
    if (arguments->json) {
        cJSON *array = NULL, *json = json_of_keys(token, &array);
        for (size_t i = 0; i < count; i++)
            kw_json_add(array, NULL, json_of_version(&versions[i]));
        return print_json(json, err);
    }
    printf("token \"%s\", serial %s: %zu RSA private keys\n", show(token->label, label),
           token->serial, count);
    if (count > 0)
        printf("%-36s  %-32s  %4s  %-10s  %-7s  %-10s  %-10s  %-20s  %s\n", "LABEL", "ID", "BITS",
               "STATE", "ORIGIN", "CREATED", "NOT BEFORE", "EXPIRES", "TRAITS");
    for (size_t i = 0; i < count; i++)
        print_row(&versions[i]);
    return finish_output(err);
}

enum kw_status print_key_of(struct kw_keyring *keyring, const struct kw_token_key *key,
                            const struct arguments *arguments, struct kw_error *err)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    const struct kw_version version = {key, &record};
    enum kw_status status = kw_keyring_record(keyring, key, &record, err);
    if (!status)
        status = print_versions(keyring, &version, 1, arguments, err);
    kw_key_record_cleanup(&record);
    return status;
}
