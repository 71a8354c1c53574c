/* keyward inspect: what a drop is and which key it wants. Unwraps nothing. */
#include <cjson/cJSON.h>
#include <string.h>

#include "cli.h"

#define SCHEMA "keyward-inspect-1"

struct findings {
    const struct kw_drop *drop;
    const struct kw_envelope *envelope;
    const struct kw_token_info *token; /* NULL: not asked */
    const struct kw_token_key *key;    /* NULL: not found, or not asked */
    enum kw_key_state state;
    uint64_t bytes;
    size_t files, markers, metadata;
};

static const char *const kind_words[] = {
    [KW_FILE_DATA] = "data", [KW_FILE_METADATA] = "metadata", [KW_FILE_MARKER] = "marker"};

static const char *validity_word(const struct kw_token_key *key)
{
    static const char *const words[] = {
        [KW_VALID] = "valid", [KW_NOT_YET_VALID] = "not-yet-valid", [KW_EXPIRED] = "expired"};
    return words[kw_key_validity(key, time(NULL))];
}

static void count_files(struct findings *found)
{
    for (size_t i = 0; i < kw_drop_file_count(found->drop); i++) {
        const struct kw_drop_file *file = kw_drop_file_at(found->drop, i);
        found->files += file->kind == KW_FILE_DATA;
        found->metadata += file->kind == KW_FILE_METADATA;
        found->markers += file->kind == KW_FILE_MARKER;
        found->bytes += file->kind == KW_FILE_DATA ? file->size : 0;
    }
}

static enum kw_status ask_token(struct findings *found, struct kw_keyring *keyring,
                                const struct arguments *arguments, struct kw_error *err)
{
    if (!found->envelope || !kw_keyring_has_token(keyring))
        return KW_OK;
    enum kw_status status = kw_keyring_token(keyring, &found->token, err);
    if (!status)
        status =
            kw_keyring_find(keyring, found->envelope->version, arguments->key, &found->key, err);
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    if (!status)
        status = kw_keyring_record(keyring, found->key, &record, err);
    found->state = kw_key_state(&record);
    kw_key_record_cleanup(&record);
    return status;
}

static void print_key(const struct findings *found)
{
    char token[SHOWN_TEXT];
    char label[SHOWN_TEXT];
    char id[2 * KW_KEY_ID_MAX + 1];
    const struct kw_token_key *key = found->key;
    if (!found->token) {
        printf("token:        not asked; name one with --token\n");
        return;
    }
    printf("token:        \"%s\", serial %s\n", show(found->token->label, token),
           found->token->serial);
    if (!key) {
        printf("key:          not on this token\n");
        return;
    }
    kw_hex_encode(key->id, key->id_len, id);
    printf("key:          \"%s\", id %s, RSA %zu bits, %s, %s\n", show(key->label, label), id,
           kw_rsa_bits(&key->public), validity_word(key), kw_key_state_name(found->state));
    if (key->not_before[0] || key->expires[0])
        printf("dates:        %s to %s\n", key->not_before[0] ? key->not_before : "any",
               key->expires[0] ? key->expires : "any");
}

static enum kw_status print_text(const struct findings *found, struct kw_error *err)
{
    char size[SIZE_TEXT];
    char path[SHOWN_TEXT];
    printf("drop:         %s\n", show(kw_drop_path(found->drop), path));
    if (found->envelope) {
        printf("encrypted:    AES-256-CBC, as %s says (%s)\n",
               show(found->envelope->metadata_path, path),
               kw_drop_format_name(found->envelope->format));
        printf("key version:  %s\n", found->envelope->version);
        printf("data key:     %zu bytes, so wrapped by RSA of %zu bits\n",
               found->envelope->wrapped_len, found->envelope->wrapped_len * 8);
        print_key(found);
    } else {
        printf("encrypted:    no; it has no metadata that says how\n");
    }
    printf("files:        %zu of data (%s), %zu of metadata, %zu markers\n", found->files,
           show_size(found->bytes, size), found->metadata, found->markers);
    for (size_t i = 0; i < kw_drop_file_count(found->drop); i++) {
        const struct kw_drop_file *file = kw_drop_file_at(found->drop, i);
        if (file->kind == KW_FILE_DATA)
            printf("%14llu  %s\n", (unsigned long long)file->size, show(file->path, path));
    }
    return finish_output(err);
}

static cJSON *json_key(const struct findings *found)
{
    if (!found->key)
        return cJSON_CreateNull();
    cJSON *json = cJSON_CreateObject();
    json_text(json, "label", found->key->label);
    json_hex(json, "id", found->key->id, found->key->id_len);
    kw_json_add_number(json, "bits", (double)kw_rsa_bits(&found->key->public));
    json_text(json, "not_before", found->key->not_before);
    json_text(json, "expires", found->key->expires);
    json_text(json, "validity", validity_word(found->key));
    json_text(json, "state", kw_key_state_name(found->state));
    return json;
}

static cJSON *json_token(const struct findings *found)
{
    if (!found->token)
        return cJSON_CreateNull();
    cJSON *json = cJSON_CreateObject();
    json_text(json, "label", found->token->label);
    json_text(json, "serial", found->token->serial);
    return json;
}

static cJSON *json_files(const struct findings *found)
{
    cJSON *json = cJSON_CreateArray();
    for (size_t i = 0; i < kw_drop_file_count(found->drop); i++) {
        const struct kw_drop_file *file = kw_drop_file_at(found->drop, i);
        cJSON *entry = cJSON_CreateObject();
        json_text(entry, "path", file->path);
        kw_json_add_number(entry, "bytes", (double)file->size);
        json_text(entry, "kind", kind_words[file->kind]);
        kw_json_add(json, NULL, entry);
    }
    return json;
}

static cJSON *json_document(const struct findings *found, enum kw_status status,
                            const struct kw_error *error)
{
    const struct kw_envelope *envelope = found->envelope;
    cJSON *json = cJSON_CreateObject();
    json_text(json, "schema", SCHEMA);
    json_text(json, "status", kw_status_name(status));
    kw_json_add_number(json, "exit_code", kw_exit_code(status));
    if (status) {
        cJSON *object = kw_json_add_object(json, "error");
        json_text(object, "status", kw_status_name(status));
        json_text(object, "message", error->message);
    } else {
        kw_json_add_text(json, "error", NULL);
    }
    json_text(json, "drop", kw_drop_path(found->drop));
    kw_json_add_bool(json, "encrypted", envelope != NULL);
    json_text(json, "format", envelope ? kw_drop_format_name(envelope->format) : NULL);
    json_text(json, "metadata", envelope ? envelope->metadata_path : NULL);
    json_text(json, "key_version", envelope ? envelope->version : NULL);
    kw_json_add(json, "token", json_token(found));
    kw_json_add(json, "key", json_key(found));
    kw_json_add(json, "files", json_files(found));
    return json;
}

static int inspect(struct findings *found, struct kw_keyring *keyring,
                   const struct arguments *arguments)
{
    struct kw_error err;
    struct kw_error output_err;
    count_files(found);
    enum kw_status status = ask_token(found, keyring, arguments, &err);
    enum kw_status output_status = arguments->json
                                       ? print_json(json_document(found, status, &err), &output_err)
                                       : print_text(found, &output_err);
    print_warnings(kw_drop_warnings(found->drop), arguments);
    print_keyring_warnings(keyring, arguments);
    if (status)
        return print_error(&err);
    return output_status ? print_error(&output_err) : 0;
}

int run_inspect(const struct arguments *arguments, char **argv)
{
    struct kw_keyring *keyring = NULL;
    struct kw_drop *drop = NULL;
    struct kw_error err;
    int exit_code;
    if (open_keyring(arguments, argv, &keyring, &err) ||
        kw_drop_open(arguments->operands[0], &drop, &err)) {
        exit_code = fail_with(arguments, SCHEMA, &err);
    } else {
        struct findings found = {.drop = drop, .envelope = kw_drop_envelope(drop)};
        exit_code = inspect(&found, keyring, arguments);
    }
    kw_drop_free(drop);
    kw_keyring_free(keyring);
    return exit_code;
}
