/* The transfer file: JSON around one ciphertext. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "byok/byok.h"

#define SCHEMA     "1.0.0"
#define ALGORITHM  "dir"
#define ENCRYPTION "CKM_RSA_AES_KEY_WRAP"

static const struct kw_json_limits limits = {.bytes = KW_BYOK_MAX_BYTES, .depth = 8, .items = 256};

void kw_byok_cleanup(struct kw_byok *byok)
{
    kw_buffer_cleanup(&byok->ciphertext);
}

/* ---- sizes ---- */

size_t kw_byok_kek_sizes(const struct kw_byok *byok, unsigned ret_bits[KW_BYOK_KEK_SIZES])
{
    static const unsigned sizes[KW_BYOK_KEK_SIZES] = {2048, 3072, 4096};
    size_t count = 0;
    for (size_t i = 0; i < KW_BYOK_KEK_SIZES; i++)
        if (kw_transfer_fits(sizes[i] / 8, byok->ciphertext.len))
            ret_bits[count++] = sizes[i];
    return count;
}

/* ---- reading ---- */

/* Where it is in the file, for messages. */
struct field {
    const char *what;
    const char *name; /* "header.kid" */
};

static enum kw_status get_text(const cJSON *object, const struct field *field,
                               const char **ret_text, struct kw_error *err)
{
    const char *dot = strrchr(field->name, '.');
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, dot ? dot + 1 : field->name);
    if (!item)
        return kw_fail(err, KW_METADATA, "%s has no %s; it is not a whole transfer file",
                       field->what, field->name);
    if (!cJSON_IsString(item) || !item->valuestring[0])
        return kw_fail(err, KW_METADATA, "%s has a %s that is not text; use another transfer file",
                       field->what, field->name);
    *ret_text = item->valuestring;
    return KW_OK;
}

static enum kw_status expect(const cJSON *object, const char *what, const char *name,
                             const char *wanted, struct kw_error *err)
{
    const char *text = NULL;
    enum kw_status status = get_text(object, &(struct field){what, name}, &text, err);
    if (status)
        return status;
    if (strcmp(text, wanted) == 0)
        return KW_OK;
    char shown[64];
    return kw_fail(err, KW_METADATA, "%s has the %s \"%s\"; only \"%s\" can be read", what, name,
                   kw_printable(text, strlen(text), shown, sizeof(shown)), wanted);
}

static enum kw_status copy_text(const cJSON *object, const char *what, const char *name,
                                char out[KW_BYOK_TEXT_MAX], struct kw_error *err)
{
    const char *text = NULL;
    enum kw_status status = get_text(object, &(struct field){what, name}, &text, err);
    if (status)
        return status;
    size_t len = strlen(text);
    if (len >= KW_BYOK_TEXT_MAX)
        return kw_fail(err, KW_METADATA, "%s has a %s of %zu bytes; at most %d are read", what,
                       name, len, KW_BYOK_TEXT_MAX - 1);
    memcpy(out, text, len + 1);
    return KW_OK;
}

static enum kw_status decode(const char *text, const char *what, struct kw_byok *byok,
                             struct kw_error *err)
{
    unsigned bits[KW_BYOK_KEK_SIZES];
    size_t len = strlen(text), decoded = 0;
    size_t room = KW_BASE64_DECODED_MAX(len);
    if (room > byok->ciphertext.max)
        return kw_fail(err, KW_METADATA, "%s has a ciphertext of %zu characters; that is too long",
                       what, len);
    enum kw_status status = kw_buffer_reserve(&byok->ciphertext, room, err);
    if (status)
        return status;
    if (!kw_base64_decode(KW_BASE64URL, text, len, byok->ciphertext.data, room, &decoded))
        return kw_fail(err, KW_METADATA,
                       "%s has a ciphertext that is not base64url; have it sent again", what);
    byok->ciphertext.len = decoded;
    if (kw_byok_kek_sizes(byok, bits) == 0)
        return kw_fail(err, KW_METADATA,
                       "%s has a ciphertext of %zu bytes, which can't be an RSA key of %d to %d "
                       "bits; have it sent again",
                       what, decoded, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    return KW_OK;
}

static enum kw_status read_fields(const cJSON *json, const char *what, struct kw_byok *byok,
                                  struct kw_error *err)
{
    const cJSON *header = cJSON_GetObjectItemCaseSensitive(json, "header");
    const char *ciphertext = NULL;
    if (!cJSON_IsObject(header))
        return kw_fail(err, KW_METADATA, "%s has no header; it is not a whole transfer file", what);
    enum kw_status status = expect(json, what, "schema_version", SCHEMA, err);
    if (!status)
        status = expect(header, what, "header.alg", ALGORITHM, err);
    if (!status)
        status = expect(header, what, "header.enc", ENCRYPTION, err);
    if (!status)
        status = copy_text(header, what, "header.kid", byok->kid, err);
    const cJSON *generator = cJSON_GetObjectItemCaseSensitive(json, "generator");
    /* Says nothing that is needed, so it may be absent, null or empty. */
    bool none = !generator || cJSON_IsNull(generator) ||
                (cJSON_IsString(generator) && !generator->valuestring[0]);
    if (!status && !none)
        status = copy_text(json, what, "generator", byok->generator, err);
    if (!status)
        status = get_text(json, &(struct field){what, "ciphertext"}, &ciphertext, err);
    return status ? status : decode(ciphertext, what, byok, err);
}

enum kw_status kw_byok_parse(const char *text, size_t len, const char *what,
                             struct kw_byok *ret_byok, struct kw_error *err)
{
    cJSON *json = NULL;
    enum kw_status status = kw_json_parse(text, len, &limits, what, KW_METADATA, &json, err);
    if (status)
        return status;
    struct kw_byok byok = {.ciphertext = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES)};
    if (cJSON_IsObject(json))
        status = read_fields(json, what, &byok, err);
    else
        status =
            kw_fail(err, KW_METADATA, "%s is not a JSON object, so it is no transfer file", what);
    cJSON_Delete(json);
    if (status) {
        kw_byok_cleanup(&byok);
        return status;
    }
    *ret_byok = byok;
    return KW_OK;
}

/* ---- writing ---- */

static cJSON *build(const struct kw_byok *byok)
{
    cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "schema_version", SCHEMA);
    cJSON *header = kw_json_add_object(json, "header");
    kw_json_add_text(header, "kid", byok->kid);
    kw_json_add_text(header, "alg", ALGORITHM);
    kw_json_add_text(header, "enc", ENCRYPTION);
    kw_json_add_base64(json, "ciphertext", KW_BASE64URL, byok->ciphertext.data,
                       byok->ciphertext.len);
    if (byok->generator[0])
        kw_json_add_text(json, "generator", byok->generator);
    return json;
}

static enum kw_status check(const struct kw_byok *byok, struct kw_error *err)
{
    unsigned bits[KW_BYOK_KEK_SIZES];
    if (!kw_byok_is_kid(byok->kid))
        return kw_fail(err, KW_USAGE,
                       "the key exchange key's id is not of the form "
                       "https://VAULT/keys/NAME/VERSION; give it as Key Vault shows it");
    if (!kw_utf8_valid(byok->generator, strlen(byok->generator)))
        return kw_fail(err, KW_USAGE, "the generator of a transfer file must be UTF-8");
    if (kw_byok_kek_sizes(byok, bits) == 0)
        return kw_fail(err, KW_FAULT, "%zu bytes of ciphertext can't be in a transfer file",
                       byok->ciphertext.len);
    return KW_OK;
}

enum kw_status kw_byok_write(const struct kw_byok *byok, struct kw_buffer *ret_text,
                             struct kw_error *err)
{
    enum kw_status status = check(byok, err);
    return status ? status : kw_json_write(build(byok), KW_JSON_COMPACT, ret_text, err);
}

/* ---- the key's id ---- */

static const char letters_and_digits[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789";

/* One part of the path: what Key Vault lets be in a name. Returns its end, NULL where it is none.
 */
static const char *skip_name(const char *text, const char *more)
{
    const char *end = text;
    while (*end && (strchr(letters_and_digits, *end) || strchr(more, *end)))
        end++;
    return end == text ? NULL : end;
}

bool kw_byok_is_kid(const char *kid)
{
    static const char scheme[] = "https://", folder[] = "/keys/";
    if (strncmp(kid, scheme, strlen(scheme)) != 0)
        return false;
    const char *end = skip_name(kid + strlen(scheme), "-.:");
    if (!end || strncmp(end, folder, strlen(folder)) != 0)
        return false;
    end = skip_name(end + strlen(folder), "-");
    if (!end || *end != '/')
        return false;
    end = skip_name(end + 1, "-");
    return end && !*end;
}
