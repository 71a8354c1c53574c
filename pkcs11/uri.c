/* pkcs11: URIs, RFC 7512: a strict look at every attribute, then p11-kit's parser. The PIN is cut
 * out first and goes to secret memory, so that no parser keeps a copy of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

#include "internal.h"

#define SHOWN 96

struct kw_uri {
    P11KitUri *parsed;
    char *public_text;
    char *module;
    struct kw_secret *pin;
};

bool kw_is_uri(const char *text)
{
    return strncasecmp(text, KW_URI_SCHEME, strlen(KW_URI_SCHEME)) == 0;
}

/* ---- what it comes to ---- */

/* The module that p11-kit's folder has under a name, or NULL. */
static enum kw_status find_module(const char *name, char **ret_module, struct kw_error *err)
{
    static const char *const prefixes[] = {"", "lib"};
    static const char folder[] = KW_MODULE_DIR; /* empty where p11-kit says of none */
    char shown[SHOWN];
    if (name[0] == '\0' || strchr(name, '/'))
        return kw_fail(err, KW_CONFIG, "module-name \"%s\" is a path or empty; use module-path",
                       kw_printable(name, strlen(name), shown, sizeof(shown)));
    for (size_t i = 0; i < KW_COUNT(prefixes) && folder[0]; i++) {
        char *path;
        if (asprintf(&path, "%s/%s%s.so", folder, prefixes[i], name) < 0)
            return kw_fail_memory(err);
        if (access(path, F_OK) == 0) {
            *ret_module = path;
            return KW_OK;
        }
        free(path);
    }
    return KW_OK;
}

static enum kw_status set_module(struct kw_uri *uri, struct kw_error *err)
{
    const char *path = p11_kit_uri_get_module_path(uri->parsed);
    const char *name = p11_kit_uri_get_module_name(uri->parsed);
    if (!path)
        return name ? find_module(name, &uri->module, err) : KW_OK;
    char shown[SHOWN];
    if (path[0] != '/')
        return kw_fail(err, KW_CONFIG, "module-path \"%s\" is not an absolute path",
                       kw_printable(path, strlen(path), shown, sizeof(shown)));
    uri->module = strdup(path);
    return uri->module ? KW_OK : kw_fail_memory(err);
}

static enum kw_status check_key_part(const struct kw_uri *uri, struct kw_error *err)
{
    const CK_ATTRIBUTE *type = p11_kit_uri_get_attribute(uri->parsed, CKA_CLASS);
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(uri->parsed, CKA_ID);
    const CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(uri->parsed, CKA_LABEL);
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    if (type && type->ulValueLen == sizeof(class))
        memcpy(&class, type->pValue, sizeof(class));
    if (class != CKO_PRIVATE_KEY && class != CKO_PUBLIC_KEY)
        return kw_fail(err, KW_CONFIG,
                       "the pkcs11: URI names neither a private nor a public key; take type out");
    if ((id && id->ulValueLen > KW_KEY_ID_MAX) || (label && label->ulValueLen > KW_KEY_LABEL_MAX))
        return kw_fail(err, KW_CONFIG, "id or object in the pkcs11: URI is longer than %d bytes",
                       KW_KEY_ID_MAX);
    return KW_OK;
}

static enum kw_status parse_rest(struct kw_uri *uri, const char *text, struct kw_error *err)
{
    uri->parsed = p11_kit_uri_new();
    if (!uri->parsed)
        return kw_fail_memory(err);
    int code = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri->parsed);
    if (code != P11_KIT_URI_OK)
        return kw_fail(err, KW_CONFIG, "the pkcs11: URI can't be read: %s",
                       p11_kit_uri_message(code));
    if (p11_kit_uri_any_unrecognized(uri->parsed))
        return kw_fail(err, KW_CONFIG,
                       "the pkcs11: URI has a value that no token can have: one that is too long, "
                       "or an unknown type");
    enum kw_status status = check_key_part(uri, err);
    return status ? status : set_module(uri, err);
}

/* The buffer's text, which has no NUL in it. */
static enum kw_status take_text(const struct kw_buffer *buffer, char **ret_text,
                                struct kw_error *err)
{
    char *text = strndup((const char *)buffer->data, buffer->len);
    if (!text)
        return kw_fail_memory(err);
    *ret_text = text;
    return KW_OK;
}

enum kw_status kw_uri_parse(const char *text, struct kw_uri **ret_uri, struct kw_error *err)
{
    struct kw_uri_text scanned = {.rest = KW_BUFFER_INIT(KW_URI_MAX + 1),
                                  .public = KW_BUFFER_INIT(KW_URI_MAX + 1)};
    char *rest = NULL;
    struct kw_uri *uri = calloc(1, sizeof(*uri));
    if (!uri)
        return kw_fail_memory(err);
    enum kw_status status = kw_uri_scan(text, &scanned, err);
    uri->pin = scanned.pin;
    if (!status)
        status = take_text(&scanned.public, &uri->public_text, err);
    if (!status)
        status = take_text(&scanned.rest, &rest, err);
    if (!status)
        status = parse_rest(uri, rest, err);
    free(rest);
    kw_buffer_cleanup(&scanned.rest);
    kw_buffer_cleanup(&scanned.public);
    if (status) {
        kw_uri_free(uri);
        return status;
    }
    *ret_uri = uri;
    return KW_OK;
}

void kw_uri_free(struct kw_uri *uri)
{
    if (!uri)
        return;
    kw_secret_free(uri->pin);
    if (uri->parsed)
        p11_kit_uri_free(uri->parsed);
    free(uri->public_text);
    free(uri->module);
    free(uri);
}

/* ---- asking ---- */

const char *kw_uri_module(const struct kw_uri *uri)
{
    return uri->module;
}

const char *kw_uri_pin_source(const struct kw_uri *uri)
{
    return p11_kit_uri_get_pin_source(uri->parsed);
}

const struct kw_secret *kw_uri_pin_value(const struct kw_uri *uri)
{
    return uri->pin;
}

const char *kw_uri_public_text(const struct kw_uri *uri)
{
    return uri->public_text;
}

bool kw_uri_names_key(const struct kw_uri *uri)
{
    return p11_kit_uri_get_attribute(uri->parsed, CKA_LABEL) ||
           p11_kit_uri_get_attribute(uri->parsed, CKA_ID);
}

static bool matches_bytes(const CK_ATTRIBUTE *wanted, const void *value, size_t len)
{
    return !wanted ||
           (wanted->ulValueLen == len && (len == 0 || memcmp(wanted->pValue, value, len) == 0));
}

bool kw_uri_matches_key(const struct kw_uri *uri, const struct kw_token_key *key)
{
    return matches_bytes(p11_kit_uri_get_attribute(uri->parsed, CKA_ID), key->id, key->id_len) &&
           matches_bytes(p11_kit_uri_get_attribute(uri->parsed, CKA_LABEL), key->label,
                         strlen(key->label));
}

struct kw_key_filter kw_uri_filter(const struct kw_uri *uri)
{
    const CK_ATTRIBUTE *id = p11_kit_uri_get_attribute(uri->parsed, CKA_ID);
    const CK_ATTRIBUTE *label = p11_kit_uri_get_attribute(uri->parsed, CKA_LABEL);
    struct kw_key_filter filter = {.id_len = 0};
    if (id) {
        filter.id = id->pValue;
        filter.id_len = id->ulValueLen;
    }
    if (label) {
        filter.label = label->pValue;
        filter.label_len = label->ulValueLen;
    }
    return filter;
}

bool kw_uri_matches_token_info(const struct kw_uri *uri, const CK_TOKEN_INFO *token)
{
    return p11_kit_uri_match_token_info(uri->parsed, token);
}

bool kw_uri_matches_token(const struct kw_uri *uri, const CK_INFO *module, const CK_SLOT_INFO *slot,
                          const CK_TOKEN_INFO *token)
{
    return p11_kit_uri_match_module_info(uri->parsed, module) &&
           p11_kit_uri_match_slot_info(uri->parsed, slot) &&
           p11_kit_uri_match_token_info(uri->parsed, token);
}

/* ---- making one ---- */

/* Percent-encodes all that RFC 7512 wants encoded anywhere, and then some. */
static enum kw_status add_value(struct kw_buffer *text, const char *name, const char *value,
                                struct kw_error *err)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/";
    enum kw_status status = kw_buffer_printf(text, err, "%s=", name);
    for (; *value && !status; value++)
        status = strchr(plain, *value)
                     ? kw_buffer_append(text, value, 1, err)
                     : kw_buffer_printf(text, err, "%%%02X", (unsigned)(unsigned char)*value);
    return status;
}

enum kw_status kw_uri_of_token(const char *label, const char *module, const char *pin_source,
                               struct kw_buffer *text, struct kw_error *err)
{
    enum kw_status status = kw_buffer_printf(text, err, KW_URI_SCHEME);
    if (!status)
        status = add_value(text, "token", label, err);
    if (!status)
        status = add_value(text, "?module-path", module, err);
    if (!status && pin_source)
        status = add_value(text, "&pin-source", pin_source, err);
    return status;
}
