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

static void fill_entry(cJSON *entry, const struct layout *layout,
                       const struct kw_envelope *envelope)
{
    if (layout->version_inside)
        kw_json_add_text(entry, "PublicKeyVersion", envelope->version);
    if (layout->is_job)
        kw_json_add_text(entry, "DecryptionKeyType", "File");
    kw_json_add_base64(entry, layout->value, KW_BASE64, envelope->wrapped, envelope->wrapped_len);
    kw_json_add_base64(entry, layout->iv, KW_BASE64, envelope->iv, sizeof(envelope->iv));
}

static cJSON *build(const struct layout *layout, const struct kw_envelope *envelope)
{
    cJSON *document = cJSON_CreateObject();
    if (!layout->is_job) {
        fill_entry(kw_json_add_object(document, "DecryptionKeyDetails"), layout, envelope);
        return document;
    }
    kw_json_add_text(document, "Errors", "");
    kw_json_add_text(document, "PublicKeyVersion", envelope->version);
    cJSON *list = kw_json_add_array(document, "DecryptionKeyDetails");
    fill_entry(kw_json_add_object(list, NULL), layout, envelope);
    return document;
}

enum kw_status kw_drop_write_metadata(const struct kw_envelope *envelope,
                                      struct kw_buffer *ret_text, struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(TEXT_MAX);
    enum kw_status status = check_envelope(envelope, err);
    if (status != KW_OK)
        return status;
    status =
        kw_json_write(build(&layouts[envelope->format], envelope), KW_JSON_INDENTED, &text, err);
    if (status != KW_OK) {
        kw_buffer_cleanup(&text);
        return status;
    }
    *ret_text = text;
    return KW_OK;
}
