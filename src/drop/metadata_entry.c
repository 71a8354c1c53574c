/* metadata_entry: finds the data keys in a metadata file. Its publisher gives a table of fields and
 * no sample, so any nesting of the objects and arrays that may hold them is read. */
#include <string.h>
#include <strings.h>

#include "drop/metadata.h"

enum field { FIELD_KEYS, FIELD_VERSION, FIELD_VALUE, FIELD_IV, FIELD_TYPE, FIELD_COUNT };

/* The names a field goes by, in any letter case; a field's first name is the one that messages use.
 * Short names mean nothing at the top of a job's metadata. */
static const struct alias {
    const char *name;
    enum field field;
    bool is_short;
} aliases[] = {
    {"DecryptionKeyDetails", FIELD_KEYS, false},
    {"DecryptionKeys", FIELD_KEYS, false},
    {"PublicKeyVersion", FIELD_VERSION, false},
    {"DecryptionKeyValue", FIELD_VALUE, false},
    {"Value", FIELD_VALUE, true},
    {"DecryptionKeyIV", FIELD_IV, false},
    {"IV", FIELD_IV, true},
    {"DecryptionKeyType", FIELD_TYPE, false},
    {"Type", FIELD_TYPE, true},
};

/* The fields of one object; a name is NULL where the object has none of the field's. */
struct fields {
    const cJSON *item[FIELD_COUNT];
    const char *name[FIELD_COUNT];
};

struct reader {
    const char *file;
    struct kw_key_list list;
    struct kw_error *err;
};

static const char *first_name(enum field field)
{
    for (size_t i = 0; i < KW_COUNT(aliases); i++) {
        if (aliases[i].field == field)
            return aliases[i].name;
    }
    return "";
}

static const struct alias *find_alias(const char *name, bool with_short)
{
    for (size_t i = 0; i < KW_COUNT(aliases); i++) {
        if ((with_short || !aliases[i].is_short) && strcasecmp(aliases[i].name, name) == 0)
            return &aliases[i];
    }
    return NULL;
}

/* A field that is null counts as missing. */
static enum kw_status find_fields(const struct reader *reader, const cJSON *object, bool with_short,
                                  struct fields *ret_fields)
{
    struct fields fields = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const struct alias *alias = find_alias(item->string, with_short);
        if (!alias || cJSON_IsNull(item))
            continue;
        if (fields.item[alias->field])
            return kw_fail(
                reader->err, KW_METADATA, "%s occurs twice in %s, as %s and as %s" KW_METADATA_HINT,
                first_name(alias->field), reader->file, fields.name[alias->field], alias->name);
        fields.item[alias->field] = item;
        fields.name[alias->field] = alias->name;
    }
    *ret_fields = fields;
    return KW_OK;
}

static enum kw_status get_text(const struct reader *reader, const struct fields *fields,
                               enum field field, const char **ret_text)
{
    const cJSON *item = fields->item[field];
    if (!item)
        return kw_fail(reader->err, KW_METADATA, "%s is missing in %s" KW_METADATA_HINT,
                       first_name(field), reader->file);
    if (!cJSON_IsString(item))
        return kw_fail(reader->err, KW_METADATA, "%s in %s is not a string" KW_METADATA_HINT,
                       fields->name[field], reader->file);
    *ret_text = item->valuestring;
    return KW_OK;
}

/* The object's own version, which has to be the outer one where both are given. */
static enum kw_status read_version(const struct reader *reader, const struct fields *fields,
                                   const char *outer, char ret_version[KW_VERSION_MAX + 1])
{
    if (!fields->item[FIELD_VERSION]) {
        memcpy(ret_version, outer, strlen(outer) + 1);
        return KW_OK;
    }
    const char *text = NULL;
    char version[KW_VERSION_MAX + 1];
    enum kw_status status = get_text(reader, fields, FIELD_VERSION, &text);
    if (status == KW_OK)
        status = kw_metadata_version(text, fields->name[FIELD_VERSION], reader->file, version,
                                     reader->err);
    if (status != KW_OK)
        return status;
    if (*outer && strcmp(outer, version) != 0)
        return kw_fail(reader->err, KW_METADATA,
                       "%s occurs twice in %s, with different values" KW_METADATA_HINT,
                       fields->name[FIELD_VERSION], reader->file);
    memcpy(ret_version, version, sizeof(version));
    return KW_OK;
}

const char *kw_key_entry_difference(const struct kw_key_entry *a, const struct kw_key_entry *b)
{
    if (strcmp(a->version, b->version) != 0)
        return first_name(FIELD_VERSION);
    if (a->wrapped_len != b->wrapped_len || memcmp(a->wrapped, b->wrapped, a->wrapped_len) != 0)
        return first_name(FIELD_VALUE);
    if (memcmp(a->iv, b->iv, sizeof(a->iv)) != 0)
        return first_name(FIELD_IV);
    return NULL;
}

static enum kw_status keep_entry(struct reader *reader, const struct kw_key_entry *entry)
{
    if (reader->list.has_entry && kw_key_entry_difference(&reader->list.entry, entry))
        return kw_fail(reader->err, KW_METADATA,
                       "%s has several File keys and nothing says which file each is for; they "
                       "differ in %s" KW_METADATA_HINT,
                       reader->file, kw_key_entry_difference(&reader->list.entry, entry));
    reader->list.entry = *entry;
    reader->list.has_entry = true;
    return KW_OK;
}

static enum kw_status read_file_key(struct reader *reader, const struct fields *fields,
                                    const char *outer_version)
{
    struct kw_key_entry entry = {.wrapped_len = 0};
    const char *value = NULL;
    const char *iv = NULL;
    enum kw_status status = read_version(reader, fields, outer_version, entry.version);
    if (status == KW_OK && !*entry.version)
        return kw_fail(reader->err, KW_METADATA, "%s is missing in %s" KW_METADATA_HINT,
                       first_name(FIELD_VERSION), reader->file);
    if (status == KW_OK)
        status = get_text(reader, fields, FIELD_VALUE, &value);
    if (status == KW_OK)
        status = get_text(reader, fields, FIELD_IV, &iv);
    if (status == KW_OK)
        status = kw_metadata_wrapped(value, fields->name[FIELD_VALUE], reader->file, &entry,
                                     reader->err);
    if (status == KW_OK)
        status = kw_metadata_iv(iv, fields->name[FIELD_IV], reader->file, &entry, reader->err);
    return status == KW_OK ? keep_entry(reader, &entry) : status;
}

/* A key for values inside rows: its fields have to be strings, and that is all. */
static enum kw_status read_column_key(struct reader *reader, const struct fields *fields)
{
    for (enum field field = FIELD_VERSION; field < FIELD_COUNT; field++) {
        const char *text = NULL;
        enum kw_status status =
            fields->item[field] ? get_text(reader, fields, field, &text) : KW_OK;
        if (status != KW_OK)
            return status;
    }
    reader->list.column_keys++;
    return KW_OK;
}

static enum kw_status read_entry(struct reader *reader, const struct fields *fields,
                                 const char *outer_version)
{
    const char *type = "File";
    enum kw_status status =
        fields->item[FIELD_TYPE] ? get_text(reader, fields, FIELD_TYPE, &type) : KW_OK;
    if (status != KW_OK)
        return status;
    if (strcasecmp(type, "File") == 0)
        return read_file_key(reader, fields, outer_version);
    if (strcasecmp(type, "Column") == 0)
        return read_column_key(reader, fields);
    char printable[64];
    return kw_fail(reader->err, KW_METADATA,
                   "%s in %s is \"%s\", which is neither File nor Column" KW_METADATA_HINT,
                   fields->name[FIELD_TYPE], reader->file,
                   kw_printable(type, strlen(type), printable, sizeof(printable)));
}

static enum kw_status read_node(struct reader *reader, const cJSON *node, const char *name,
                                const char *outer_version);

/* An object either is an entry or holds a list of them, with fields they have in common. */
static enum kw_status read_object(struct reader *reader, const struct fields *fields,
                                  const char *outer_version)
{
    if (!fields->item[FIELD_KEYS])
        return read_entry(reader, fields, outer_version);
    for (enum field field = FIELD_VALUE; field <= FIELD_IV; field++) {
        if (fields->item[field])
            return kw_fail(reader->err, KW_METADATA,
                           "%s in %s stands beside %s instead of inside it" KW_METADATA_HINT,
                           fields->name[field], reader->file, fields->name[FIELD_KEYS]);
    }
    char version[KW_VERSION_MAX + 1];
    enum kw_status status = read_version(reader, fields, outer_version, version);
    if (status != KW_OK)
        return status;
    return read_node(reader, fields->item[FIELD_KEYS], fields->name[FIELD_KEYS], version);
}

/* Calls itself at most KW_METADATA_MAX_DEPTH deep: kw_json_parse saw to that. */
static enum kw_status read_node(struct reader *reader, const cJSON *node, const char *name,
                                const char *outer_version)
{
    if (cJSON_IsArray(node)) {
        const cJSON *item;
        cJSON_ArrayForEach(item, node)
        {
            enum kw_status status = read_node(reader, item, name, outer_version);
            if (status != KW_OK)
                return status;
        }
        return KW_OK;
    }
    if (!cJSON_IsObject(node))
        return kw_fail(reader->err, KW_METADATA,
                       "%s in %s is neither an object nor an array of objects" KW_METADATA_HINT,
                       name, reader->file);
    struct fields fields;
    enum kw_status status = find_fields(reader, node, true, &fields);
    return status == KW_OK ? read_object(reader, &fields, outer_version) : status;
}

bool kw_metadata_blank(const cJSON *item)
{
    if (cJSON_IsString(item))
        return item->valuestring[strspn(item->valuestring, " \t\r\n")] == '\0';
    return !item || cJSON_IsNull(item) ||
           ((cJSON_IsArray(item) || cJSON_IsObject(item)) && !item->child);
}

static bool says_keys(const struct fields *fields)
{
    return !kw_metadata_blank(fields->item[FIELD_KEYS]) ||
           !kw_metadata_blank(fields->item[FIELD_VALUE]) ||
           !kw_metadata_blank(fields->item[FIELD_IV]);
}

static enum kw_status read_job(struct reader *reader, const cJSON *json)
{
    if (!cJSON_IsObject(json))
        return kw_fail(reader->err, KW_METADATA, "%s is not a JSON object" KW_METADATA_HINT,
                       reader->file);
    struct fields fields;
    enum kw_status status = find_fields(reader, json, false, &fields);
    if (status != KW_OK || !says_keys(&fields))
        return status;
    return read_object(reader, &fields, "");
}

enum kw_status kw_metadata_keys(const cJSON *json, bool is_job, const char *file,
                                struct kw_key_list *ret_list, struct kw_error *err)
{
    struct reader reader = {.file = file, .err = err};
    enum kw_status status =
        is_job ? read_job(&reader, json) : read_node(&reader, json, "the outermost value", "");
    if (status != KW_OK)
        return status;
    if (!is_job && !reader.list.has_entry && reader.list.column_keys == 0)
        return kw_fail(err, KW_METADATA, "%s holds no key" KW_METADATA_HINT, file);
    *ret_list = reader.list;
    return KW_OK;
}
