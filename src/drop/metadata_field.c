/* metadata_field: what a field of the metadata may hold: versions, wrapped keys, IVs. */
#include <string.h>
#include <strings.h>

#include "drop/metadata.h"

#define NAME_CHARACTERS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"

/* Longer than any wrapped key's text, so that a wrong size can be told from a wrong encoding. */
#define BASE64_TEXT_MAX 2048

/* Steps over `prefix`, letter case aside. */
static bool skip(const char **text, const char *prefix)
{
    size_t len = strlen(prefix);
    if (strncasecmp(*text, prefix, len) != 0)
        return false;
    *text += len;
    return true;
}

/* Steps over one or more of `characters`. */
static bool skip_span(const char **text, const char *characters)
{
    size_t len = strspn(*text, characters);
    *text += len;
    return len > 0;
}

/* https://HOST[:443]/keys/NAME/VERSION with at most one slash after it. */
static bool split_key_url(const char *url, const char **ret_version, size_t *ret_len)
{
    const char *at = url;
    if (!skip(&at, "https://") || !skip_span(&at, NAME_CHARACTERS "."))
        return false;
    (void)skip(&at, ":443");
    if (!skip(&at, "/keys/") || !skip_span(&at, NAME_CHARACTERS) || !skip(&at, "/"))
        return false;
    const char *version = at;
    if (!skip_span(&at, NAME_CHARACTERS))
        return false;
    size_t len = (size_t)(at - version);
    (void)skip(&at, "/");
    if (*at != '\0')
        return false;
    *ret_version = version;
    *ret_len = len;
    return true;
}

static bool is_graphic_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    }
    return true;
}

enum kw_status kw_metadata_version(const char *text, const char *name, const char *file,
                                   char ret_version[KW_VERSION_MAX + 1], struct kw_error *err)
{
    const char *version = text;
    size_t len = strlen(text);
    if (strstr(text, "://") && !split_key_url(text, &version, &len))
        return kw_fail(
            err, KW_METADATA,
            "%s in %s is a URL, but not https://VAULT/keys/NAME/VERSION" KW_METADATA_HINT, name,
            file);
    if (len == 0)
        return kw_fail(err, KW_METADATA, "%s in %s is empty" KW_METADATA_HINT, name, file);
    if (len > KW_VERSION_MAX)
        return kw_fail(err, KW_METADATA,
                       "%s in %s has %zu characters, more than %d" KW_METADATA_HINT, name, file,
                       len, KW_VERSION_MAX);
    if (!is_graphic_ascii(version, len))
        return kw_fail(err, KW_METADATA,
                       "%s in %s has characters other than printable ASCII" KW_METADATA_HINT, name,
                       file);
    memcpy(ret_version, version, len);
    ret_version[len] = '\0';
    return KW_OK;
}

/* Base64 first; base64url takes what has "-" or "_" in it or no padding. */
static enum kw_status decode(const char *text, const char *name, const char *file,
                             uint8_t out[KW_BASE64_DECODED_MAX(BASE64_TEXT_MAX)], size_t *ret_len,
                             struct kw_error *err)
{
    const size_t capacity = KW_BASE64_DECODED_MAX(BASE64_TEXT_MAX);
    size_t len = strlen(text);
    if (len > BASE64_TEXT_MAX)
        return kw_fail(err, KW_METADATA,
                       "%s in %s has %zu characters, more than %d" KW_METADATA_HINT, name, file,
                       len, BASE64_TEXT_MAX);
    if (!kw_base64_decode(KW_BASE64, text, len, out, capacity, ret_len) &&
        !kw_base64_decode(KW_BASE64URL, text, len, out, capacity, ret_len))
        return kw_fail(err, KW_METADATA, "%s in %s: the value is not base64" KW_METADATA_HINT, name,
                       file);
    return KW_OK;
}

bool kw_wrapped_len_fits(size_t len)
{
    return len >= KW_RSA_MIN_BITS / 8 && len <= KW_RSA_MAX_BYTES && len % 8 == 0;
}

enum kw_status kw_metadata_wrapped(const char *text, const char *name, const char *file,
                                   struct kw_key_entry *entry, struct kw_error *err)
{
    uint8_t bytes[KW_BASE64_DECODED_MAX(BASE64_TEXT_MAX)];
    size_t len = 0;
    enum kw_status status = decode(text, name, file, bytes, &len, err);
    if (status != KW_OK)
        return status;
    if (!kw_wrapped_len_fits(len))
        return kw_fail(err, KW_METADATA,
                       "%s in %s is %zu bytes, but a data key encrypted to RSA-2048 to RSA-4096 is "
                       "%d to %d (256 for RSA-2048)" KW_METADATA_HINT,
                       name, file, len, KW_RSA_MIN_BITS / 8, KW_RSA_MAX_BYTES);
    memcpy(entry->wrapped, bytes, len);
    entry->wrapped_len = len;
    return KW_OK;
}

enum kw_status kw_metadata_iv(const char *text, const char *name, const char *file,
                              struct kw_key_entry *entry, struct kw_error *err)
{
    uint8_t bytes[KW_BASE64_DECODED_MAX(BASE64_TEXT_MAX)];
    size_t len = 0;
    enum kw_status status = decode(text, name, file, bytes, &len, err);
    if (status != KW_OK)
        return status;
    if (len != KW_AES_BLOCK)
        return kw_fail(err, KW_METADATA, "%s in %s is %zu bytes, but an IV is %d" KW_METADATA_HINT,
                       name, file, len, KW_AES_BLOCK);
    memcpy(entry->iv, bytes, len);
    return KW_OK;
}
