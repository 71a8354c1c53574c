/* metadata_write: an envelope to the metadata text that the sender puts into a drop. */
#include <string.h>

#include "drop/metadata.h"

/* Base64 of the longest wrapped key, its NUL, and some room for JSON around two such texts. */
#define TEXT_MAX 4096

/* What is written has to be read back as the same. */
static enum kw_status check_envelope(const struct kw_envelope *envelope, struct kw_error *err)
{
    char version[KW_VERSION_MAX + 1];
    if (strnlen(envelope->version, sizeof(envelope->version)) > KW_VERSION_MAX ||
        kw_metadata_version(envelope->version, "PublicKeyVersion", "", version, NULL) != KW_OK ||
        strcmp(version, envelope->version) != 0)
        return kw_fail(err, KW_USAGE,
                       "the key version is not 1 to %d characters of printable ASCII without "
                       "spaces; name a key that has such a version",
                       KW_VERSION_MAX);
    if (!envelope->wrapped || !kw_wrapped_len_fits(envelope->wrapped_len))
        return kw_fail(err, KW_USAGE,
                       "the wrapped data key is %zu bytes, but one for RSA-2048 to RSA-4096 is %d "
                       "to %d; name an RSA key of such a size",
                       envelope->wrapped_len, KW_RSA_MIN_BITS / 8, KW_RSA_MAX_BYTES);
    return KW_OK;
}

/* The names that each layout's publisher uses. */
static const struct layout {
    const char *value;
    const char *iv;
    bool version_inside; /* the version is in the entry, not beside the list */
    bool is_job;         /* with what else a job's metadata says */
} layouts[] = {
    [KW_DROP_DATA_CONNECT] = {"DecryptionKeyValue", "DecryptionKeyIV", true, false},
    [KW_DROP_VIVA_INSIGHTS] = {"Value", "IV", false, true},
};

static bool fill_entry(cJSON *entry, const struct layout *layout,
                       const struct kw_envelope *envelope)
{
    if (layout->version_inside &&
        !cJSON_AddStringToObject(entry, "PublicKeyVersion", envelope->version))
        return false;
    if (layout->is_job && !cJSON_AddStringToObject(entry, "DecryptionKeyType", "File"))
        return false;
    return kw_json_add_base64(entry, layout->value, KW_BASE64, envelope->wrapped,
                              envelope->wrapped_len) &&
           kw_json_add_base64(entry, layout->iv, KW_BASE64, envelope->iv, sizeof(envelope->iv));
}

/* The entry that is to be filled is already in the document, so that it needs no owner. */
static bool fill_document(cJSON *document, const struct layout *layout,
                          const struct kw_envelope *envelope)
{
    if (!layout->is_job) {
        cJSON *entry = cJSON_AddObjectToObject(document, "DecryptionKeyDetails");
        return entry && fill_entry(entry, layout, envelope);
    }
    if (!cJSON_AddStringToObject(document, "Errors", "") ||
        !cJSON_AddStringToObject(document, "PublicKeyVersion", envelope->version))
        return false;
    cJSON *list = cJSON_AddArrayToObject(document, "DecryptionKeyDetails");
    cJSON *entry = list ? cJSON_CreateObject() : NULL;
    if (entry && !cJSON_AddItemToArray(list, entry)) {
        cJSON_Delete(entry);
        return false;
    }
    return entry && fill_entry(entry, layout, envelope);
}

enum kw_status kw_drop_write_metadata(const struct kw_envelope *envelope,
                                      struct kw_buffer *ret_text, struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(TEXT_MAX);
    enum kw_status status = check_envelope(envelope, err);
    if (status != KW_OK)
        return status;
    cJSON *document = cJSON_CreateObject();
    if (document && !fill_document(document, &layouts[envelope->format], envelope)) {
        cJSON_Delete(document);
        document = NULL;
    }
    status = kw_json_write(document, KW_JSON_INDENTED, &text, err);
    if (status != KW_OK) {
        kw_buffer_cleanup(&text);
        return status;
    }
    *ret_text = text;
    return KW_OK;
}
