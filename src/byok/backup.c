/* backup: what a backup of a key says, as JSON around one ciphertext. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "byok/byok.h"

static const struct kw_json_limits limits = {
    .bytes = KW_BACKUP_MAX_BYTES, .depth = 8, .items = 256};

void kw_backup_cleanup(struct kw_backup *backup)
{
    kw_buffer_cleanup(&backup->ciphertext);
}

/* ---- the fields, as they are in the file ---- */

enum form {
    FORM_TEXT,
    FORM_DATE,
    FORM_TIME,
    FORM_HEX, /* up to `size` bytes; their number is in the size_t at `count` */
    FORM_HASH,
    FORM_BITS,
    FORM_BOOL,
};
struct field {
    const char *object; /* NULL: the document itself */
    const char *name;
    enum form form;
    bool needed; /* else it may be null */
    size_t offset;
    size_t size; /* of a text with its NUL, or of the bytes */
    size_t count;
};
#define PLACE(member) offsetof(struct kw_backup, member), sizeof(((struct kw_backup *)NULL)->member)
static const struct field fields[] = {
    {NULL, "created", FORM_TIME, true, PLACE(created), 0},
    {"key", "name", FORM_TEXT, true, PLACE(key.name), 0},
    {"key", "id", FORM_HEX, true, PLACE(key.id), offsetof(struct kw_backup, key.id_len)},
    {"key", "bits", FORM_BITS, true, PLACE(key.bits), 0},
    {"key", "fingerprint", FORM_HASH, true, PLACE(key.fingerprint), 0},
    {"key", "not_before", FORM_DATE, false, PLACE(key.not_before), 0},
    {"key", "expires", FORM_DATE, false, PLACE(key.expires), 0},
    {"key", "extractable", FORM_BOOL, true, PLACE(key.extractable), 0},
    {"token", "label", FORM_TEXT, false, PLACE(token.label), 0},
    {"token", "serial", FORM_TEXT, false, PLACE(token.serial), 0},
    {"token", "manufacturer", FORM_TEXT, false, PLACE(token.manufacturer), 0},
    {"token", "model", FORM_TEXT, false, PLACE(token.model), 0},
    {"kek", "label", FORM_TEXT, false, PLACE(kek.label), 0},
    {"kek", "id", FORM_HEX, false, PLACE(kek.id), offsetof(struct kw_backup, kek.id_len)},
    {"kek", "fingerprint", FORM_HASH, false, PLACE(kek.fingerprint), 0},
};

static const struct kind {
    const char *name;
    const char *enc;
} kinds[] = {
    [false] = {"RSA", "CKM_RSA_AES_KEY_WRAP"},
    [true] = {"AES", "CKM_AES_KEY_WRAP_KWP"},
};

/* ---- reading ---- */

struct reading {
    const cJSON *json;
    const char *what;
    struct kw_backup *backup;
};

static enum kw_status bad_field(const struct reading *reading, const char *object, const char *name,
                                const char *wanted, struct kw_error *err)
{
    return kw_fail(err, KW_METADATA, "%s has a %s%s%s that is not %s; use another backup",
                   reading->what, object ? object : "", object ? "." : "", name, wanted);
}

static enum kw_status get_item(const struct reading *reading, const char *object, const char *name,
                               const cJSON **ret_item, struct kw_error *err)
{
    const cJSON *in =
        object ? cJSON_GetObjectItemCaseSensitive(reading->json, object) : reading->json;
    const cJSON *item = cJSON_IsObject(in) ? cJSON_GetObjectItemCaseSensitive(in, name) : NULL;
    if (!item)
        return kw_fail(err, KW_METADATA, "%s has no %s%s%s; it is not a whole backup",
                       reading->what, object ? object : "", object ? "." : "", name);
    *ret_item = item;
    return KW_OK;
}

/* "d" stands for a digit. */
static bool has_pattern(const char *text, const char *pattern)
{
    for (; *text && *pattern; text++, pattern++)
        if (*pattern == 'd' ? *text < '0' || *text > '9' : *text != *pattern)
            return false;
    return !*text && !*pattern;
}

static bool read_text(const struct field *field, const char *text, char *out)
{
    static const char *const patterns[] = {
        [FORM_DATE] = "dddd-dd-dd", [FORM_TIME] = "dddd-dd-ddTdd:dd:ddZ", [FORM_TEXT] = NULL};
    size_t len = strlen(text);
    const char *pattern = patterns[field->form];
    if (len == 0 || len >= field->size || (pattern && !has_pattern(text, pattern)))
        return false;
    memcpy(out, text, len + 1);
    return true;
}

static bool read_hex(const struct field *field, const char *text, struct kw_backup *backup)
{
    char *base = (char *)backup;
    size_t len = 0;
    if (!kw_hex_decode(text, strlen(text), (uint8_t *)base + field->offset, field->size, &len) ||
        len == 0 || (field->form == FORM_HASH && len != field->size))
        return false;
    if (field->count)
        memcpy(base + field->count, &len, sizeof(len));
    return true;
}

static bool read_bits(const cJSON *item, unsigned *bits)
{
    double number = cJSON_GetNumberValue(item);
    /* Compared this way round a NaN is refused too. */
    if (!(number >= KW_RSA_MIN_BITS && number <= KW_RSA_MAX_BITS) || number != (unsigned)number)
        return false;
    *bits = (unsigned)number;
    return true;
}

static bool read_value(const struct field *field, const cJSON *item, struct kw_backup *backup)
{
    char *at = (char *)backup + field->offset;
    const char *text = cJSON_GetStringValue(item);
    switch (field->form) {
    case FORM_TEXT:
    case FORM_DATE:
    case FORM_TIME:
        return text && read_text(field, text, at);
    case FORM_HEX:
    case FORM_HASH:
        return text && read_hex(field, text, backup);
    case FORM_BITS:
        return read_bits(item, &backup->key.bits);
    case FORM_BOOL:
        backup->key.extractable = cJSON_IsTrue(item);
        return cJSON_IsBool(item);
    }
    return false;
}

static enum kw_status read_field(const struct reading *reading, const struct field *field,
                                 struct kw_error *err)
{
    static const char *const wanted[] = {
        [FORM_TEXT] = "text of a fitting length",
        [FORM_DATE] = "a date as 2026-10-05",
        [FORM_TIME] = "a time as 2026-10-05T06:00:00Z",
        [FORM_HEX] = "hex of a fitting length",
        [FORM_HASH] = "a SHA-256 in hex",
        [FORM_BITS] = "a number of bits from 2048 to 4096",
        [FORM_BOOL] = "true or false",
    };
    const cJSON *item = NULL;
    enum kw_status status = get_item(reading, field->object, field->name, &item, err);
    if (status || (cJSON_IsNull(item) && !field->needed))
        return status;
    return read_value(field, item, reading->backup)
               ? KW_OK
               : bad_field(reading, field->object, field->name, wanted[field->form], err);
}

static enum kw_status read_schema(const struct reading *reading, struct kw_error *err)
{
    const cJSON *item = NULL;
    enum kw_status status = get_item(reading, NULL, "schema", &item, err);
    const char *text = status ? NULL : cJSON_GetStringValue(item);
    if (!status && (!text || strcmp(text, KW_BACKUP_SCHEMA) != 0))
        status = bad_field(reading, NULL, "schema", "\"" KW_BACKUP_SCHEMA "\"", err);
    return status;
}

/* The kind of KEK, the encryption that goes with it, and what else does. */
static enum kw_status read_kind(const struct reading *reading, struct kw_error *err)
{
    const cJSON *kind = NULL, *enc = NULL, *fingerprint = NULL;
    enum kw_status status;
    if ((status = get_item(reading, "kek", "kind", &kind, err)) ||
        (status = get_item(reading, NULL, "enc", &enc, err)) ||
        (status = get_item(reading, "kek", "fingerprint", &fingerprint, err)))
        return status;
    const char *name = cJSON_GetStringValue(kind), *text = cJSON_GetStringValue(enc);
    bool aes = name && strcmp(name, kinds[true].name) == 0;
    if (!aes && (!name || strcmp(name, kinds[false].name) != 0))
        return bad_field(reading, "kek", "kind", "\"RSA\" or \"AES\"", err);
    if (!text || strcmp(text, kinds[aes].enc) != 0)
        return bad_field(reading, NULL, "enc", kinds[aes].enc, err);
    if (cJSON_IsNull(fingerprint) != aes)
        return bad_field(reading, "kek", "fingerprint", "what goes with its kind", err);
    reading->backup->kek.aes = aes;
    return KW_OK;
}

static bool ciphertext_fits(const struct kw_backup *backup)
{
    size_t len = backup->ciphertext.len;
    if (backup->kek.aes)
        return kw_transfer_fits(0, len);
    for (size_t kek = KW_RSA_MIN_BITS / 8; kek <= KW_RSA_MAX_BYTES; kek++)
        if (kw_transfer_fits(kek, len))
            return true;
    return false;
}

static enum kw_status read_ciphertext(const struct reading *reading, struct kw_error *err)
{
    const cJSON *item = NULL;
    struct kw_buffer *ciphertext = &reading->backup->ciphertext;
    enum kw_status status = get_item(reading, NULL, "ciphertext", &item, err);
    if (status)
        return status;
    const char *text = cJSON_GetStringValue(item);
    size_t len = text ? strlen(text) : 0;
    if (!text || KW_BASE64_DECODED_MAX(len) > ciphertext->max)
        return bad_field(reading, NULL, "ciphertext", "text of a fitting length", err);
    status = kw_buffer_reserve(ciphertext, KW_BASE64_DECODED_MAX(len), err);
    if (status)
        return status;
    if (!kw_base64_decode(KW_BASE64URL, text, len, ciphertext->data, ciphertext->capacity,
                          &ciphertext->len))
        return bad_field(reading, NULL, "ciphertext", "base64url", err);
    if (!ciphertext_fits(reading->backup))
        return bad_field(reading, NULL, "ciphertext", "as long as a wrapped RSA key", err);
    return KW_OK;
}

enum kw_status kw_backup_parse(const char *text, size_t len, const char *what,
                               struct kw_backup *ret_backup, struct kw_error *err)
{
    cJSON *json = NULL;
    enum kw_status status = kw_json_parse(text, len, &limits, what, KW_METADATA, &json, err);
    if (status)
        return status;
    struct kw_backup backup = {.ciphertext = KW_BUFFER_INIT(KW_BACKUP_MAX_BYTES)};
    const struct reading reading = {.json = json, .what = what, .backup = &backup};
    status = read_schema(&reading, err);
    for (size_t i = 0; i < KW_COUNT(fields) && !status; i++)
        status = read_field(&reading, &fields[i], err);
    if (!status)
        status = read_kind(&reading, err);
    if (!status)
        status = read_ciphertext(&reading, err);
    cJSON_Delete(json);
    if (status) {
        kw_backup_cleanup(&backup);
        return status;
    }
    *ret_backup = backup;
    return KW_OK;
}

/* ---- writing ---- */

static cJSON *value_of(const struct field *field, const struct kw_backup *backup)
{
    const char *base = (const char *)backup, *at = base + field->offset;
    char hex[2 * KW_KEY_ID_MAX + 1];
    size_t len = field->size;
    switch (field->form) {
    case FORM_TEXT:
    case FORM_DATE:
    case FORM_TIME:
        return at[0] && kw_utf8_valid(at, strlen(at)) ? cJSON_CreateString(at) : cJSON_CreateNull();
    case FORM_HEX:
    case FORM_HASH:
        if (field->count)
            memcpy(&len, base + field->count, sizeof(len));
        if (len == 0 || (!field->needed && field->form == FORM_HASH && backup->kek.aes))
            return cJSON_CreateNull();
        kw_hex_encode(at, len, hex);
        return cJSON_CreateString(hex);
    case FORM_BITS:
        return cJSON_CreateNumber(backup->key.bits);
    case FORM_BOOL:
        return cJSON_CreateBool(backup->key.extractable);
    }
    return NULL;
}

static void add_fields(cJSON *json, const char *object, const struct kw_backup *backup)
{
    for (size_t i = 0; i < KW_COUNT(fields); i++) {
        const struct field *field = &fields[i];
        if (object ? field->object && strcmp(field->object, object) == 0 : !field->object)
            kw_json_add(json, field->name, value_of(field, backup));
    }
}

static cJSON *build(const struct kw_backup *backup)
{
    static const char *const objects[] = {"key", "token", "kek"};
    const struct kind *kind = &kinds[backup->kek.aes];
    cJSON *json = cJSON_CreateObject(), *object = NULL;
    kw_json_add_text(json, "schema", KW_BACKUP_SCHEMA);
    add_fields(json, NULL, backup);
    for (size_t i = 0; i < KW_COUNT(objects); i++) {
        object = kw_json_add_object(json, objects[i]);
        add_fields(object, objects[i], backup);
    }
    kw_json_add_text(object, "kind", kind->name);
    kw_json_add_text(json, "enc", kind->enc);
    kw_json_add_base64(json, "ciphertext", KW_BASE64URL, backup->ciphertext.data,
                       backup->ciphertext.len);
    return json;
}

static enum kw_status check(const struct kw_backup *backup, struct kw_error *err)
{
    const char *name = backup->key.name;
    if (!name[0] || !kw_utf8_valid(name, strlen(name)) || backup->key.id_len == 0)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "a key without a name in UTF-8 and an id could not be restored as what it "
                       "was; give it both first, the name with keyward key set --label");
    if (!ciphertext_fits(backup))
        return kw_fail(err, KW_FAULT, "%zu bytes of ciphertext can't be in a backup",
                       backup->ciphertext.len);
    return KW_OK;
}

enum kw_status kw_backup_write(const struct kw_backup *backup, struct kw_buffer *ret_text,
                               struct kw_error *err)
{
    enum kw_status status = check(backup, err);
    return status ? status : kw_json_write(build(backup), KW_JSON_INDENTED, ret_text, err);
}
