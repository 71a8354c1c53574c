/* A strict look at the text of a pkcs11: URI, before p11-kit's parser sees it. */
#include <string.h>

#include "internal.h"

#define MAX_TEXT  KW_URI_MAX
#define MAX_PIN   256
#define SHOWN     96
#define PIN_VALUE "pin-value"

enum part { PATH, QUERY };
static const struct attribute {
    const char *name;
    enum part part;
    bool any_bytes; /* may hold a NUL */
    const char *refusal;
} attributes[] = {
    {"token", PATH, false, NULL},
    {"manufacturer", PATH, false, NULL},
    {"serial", PATH, false, NULL},
    {"model", PATH, false, NULL},
    {"object", PATH, false, NULL},
    {"id", PATH, true, NULL},
    {"type", PATH, false, NULL},
    {"library-manufacturer", PATH, false, NULL},
    {"library-description", PATH, false, NULL},
    {"library-version", PATH, false, NULL},
    {"slot-manufacturer", PATH, false, NULL},
    {"slot-id", PATH, false, "slots are renumbered when a reader or a module is added"},
    {"slot-description", PATH, false, "slots are renamed when a reader or a module is added"},
    {PIN_VALUE, QUERY, true, NULL},
    {"pin-source", QUERY, false, NULL},
    {"module-name", QUERY, false, NULL},
    {"module-path", QUERY, false, NULL},
};

struct scan {
    bool seen[KW_COUNT(attributes)];
    struct kw_uri_text *text;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The byte at text[*at], decoded, and *at after it; -1 where "%" is not followed by two digits. */
static int next_byte(const char *text, size_t len, size_t *at)
{
    char c = text[(*at)++];
    if (c != '%')
        return (unsigned char)c;
    if (len - *at < 2)
        return -1;
    int high = hex_value(text[*at]), low = hex_value(text[*at + 1]);
    *at += 2;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static enum kw_status check_value(const struct attribute *attribute, const char *value, size_t len,
                                  struct kw_error *err)
{
    for (size_t at = 0; at < len;) {
        int byte = next_byte(value, len, &at);
        if (byte < 0)
            return kw_fail(err, KW_CONFIG,
                           "the value of %s in the pkcs11: URI has a %% that two hex digits do not "
                           "follow; write %%25 for the sign itself",
                           attribute->name);
        if (byte == 0 && !attribute->any_bytes)
            return kw_fail(err, KW_CONFIG, "the value of %s in the pkcs11: URI holds a NUL",
                           attribute->name);
    }
    return KW_OK;
}

/* Values that are no attribute's are not shown: they may be the tail of a PIN with a bare & or ;.
 */
static enum kw_status unknown_attribute(enum part part, const char *name, size_t len,
                                        struct kw_error *err)
{
    if (part == QUERY)
        return kw_fail(err, KW_CONFIG,
                       "after the ? of a pkcs11: URI only module-path, module-name, pin-source and "
                       "pin-value may stand, each with = and its value and & between them");
    char shown[SHOWN];
    return kw_fail(err, KW_CONFIG, "the pkcs11: URI has an attribute that is not known: %s",
                   kw_printable(name, len, shown, sizeof(shown)));
}

static enum kw_status find_attribute(enum part part, const char *name, size_t len,
                                     size_t *ret_index, struct kw_error *err)
{
    for (size_t i = 0; i < KW_COUNT(attributes); i++) {
        const struct attribute *known = &attributes[i];
        if (strlen(known->name) != len || memcmp(known->name, name, len) != 0)
            continue;
        if (known->part != part)
            return kw_fail(err, KW_CONFIG, "%s belongs %s the ? of a pkcs11: URI", known->name,
                           known->part == QUERY ? "after" : "before");
        if (known->refusal)
            return kw_fail(err, KW_CONFIG,
                           "%s can't be used in a pkcs11: URI: %s; use token or serial",
                           known->name, known->refusal);
        *ret_index = i;
        return KW_OK;
    }
    return unknown_attribute(part, name, len, err);
}

static enum kw_status take_pin(struct scan *scan, const char *value, size_t len,
                               struct kw_error *err)
{
    if (len == 0 || len > MAX_PIN)
        return kw_fail(err, KW_CONFIG, "pin-value in the pkcs11: URI is %s",
                       len ? "too long" : "empty");
    enum kw_status status = kw_secret_new(len, &scan->text->pin, err);
    if (status)
        return status;
    uint8_t *out = kw_secret_data(scan->text->pin);
    size_t count = 0;
    for (size_t at = 0; at < len;)
        out[count++] = (uint8_t)next_byte(value, len, &at);
    kw_secret_set_len(scan->text->pin, count);
    return KW_OK;
}

/* Adds the attribute's text after a separator where there is one before it. */
static enum kw_status keep(struct scan *scan, enum part part, bool first, const char *text,
                           size_t len, struct kw_error *err)
{
    const char *separator = part == PATH ? (first ? "" : ";") : (first ? "?" : "&");
    enum kw_status status =
        kw_buffer_printf(&scan->text->rest, err, "%s%.*s", separator, (int)len, text);
    if (!status && part == PATH)
        status = kw_buffer_printf(&scan->text->public, err, "%s%.*s", separator, (int)len, text);
    return status;
}

static enum kw_status scan_attribute(struct scan *scan, enum part part, const char *text,
                                     size_t len, bool *first, struct kw_error *err)
{
    const char *equals = memchr(text, '=', len);
    if (!equals)
        return part == QUERY ? unknown_attribute(part, text, 0, err)
                             : kw_fail(err, KW_CONFIG,
                                       "the pkcs11: URI has an attribute without = and a value");
    size_t name_len = (size_t)(equals - text), index = 0;
    enum kw_status status = find_attribute(part, text, name_len, &index, err);
    if (status)
        return status;
    const struct attribute *attribute = &attributes[index];
    if (scan->seen[index])
        return kw_fail(err, KW_CONFIG, "%s occurs twice in the pkcs11: URI", attribute->name);
    scan->seen[index] = true;
    const char *value = equals + 1;
    size_t value_len = len - name_len - 1;
    status = check_value(attribute, value, value_len, err);
    if (status)
        return status;
    if (strcmp(attribute->name, PIN_VALUE) == 0)
        return take_pin(scan, value, value_len, err);
    status = keep(scan, part, *first, text, len, err);
    *first = false;
    return status;
}

static enum kw_status scan_part(struct scan *scan, enum part part, const char *text, size_t len,
                                struct kw_error *err)
{
    const char separator = part == PATH ? ';' : '&';
    bool first = true;
    while (len > 0) {
        const char *end = memchr(text, separator, len);
        size_t attribute_len = end ? (size_t)(end - text) : len;
        enum kw_status status = scan_attribute(scan, part, text, attribute_len, &first, err);
        if (status)
            return status;
        if (!end)
            return KW_OK;
        text = end + 1;
        len -= attribute_len + 1;
        if (len == 0)
            return kw_fail(err, KW_CONFIG, "the pkcs11: URI has a \"%c\" with nothing after it",
                           separator);
    }
    return KW_OK;
}

enum kw_status kw_uri_scan(const char *text, struct kw_uri_text *out, struct kw_error *err)
{
    struct scan scan = {.text = out};
    size_t len = strnlen(text, MAX_TEXT + 1);
    if (len > MAX_TEXT)
        return kw_fail(err, KW_CONFIG, "the pkcs11: URI is longer than %d bytes", MAX_TEXT);
    if (!kw_is_uri(text))
        return kw_fail(err, KW_CONFIG, "a pkcs11: URI starts with pkcs11:");
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~' || text[i] == '#')
            return kw_fail(err, KW_CONFIG,
                           "the pkcs11: URI holds white space or another byte that a URI can't "
                           "hold, at byte %zu; write it as %% and two hex digits",
                           i + 1);
    enum kw_status status;
    if ((status = kw_buffer_printf(&out->rest, err, KW_URI_SCHEME)) ||
        (status = kw_buffer_printf(&out->public, err, KW_URI_SCHEME)))
        return status;
    const char *path = text + strlen(KW_URI_SCHEME);
    const char *question = strchr(path, '?');
    size_t path_len = question ? (size_t)(question - path) : strlen(path);
    status = scan_part(&scan, PATH, path, path_len, err);
    if (!status && question)
        status = scan_part(&scan, QUERY, question + 1, strlen(question + 1), err);
    return status;
}
