/* Which values a setting takes. */
#include <string.h>

#include "base/config_value.h"

static bool starts_with(struct kw_slice value, const char *prefix)
{
    size_t len = strlen(prefix);
    return value.len > len && memcmp(value.data, prefix, len) == 0;
}

static bool is_pin_source(struct kw_slice value)
{
    static const char *const prefixes[] = {"file:", "fd:", "env:", "credential:", "/"};
    for (size_t i = 0; i < KW_COUNT(prefixes); i++) {
        if (starts_with(value, prefixes[i]))
            return true;
    }
    return kw_slice_is(value, "prompt");
}

/* The longest name of a host, and of its parts: RFC 1035 section 2.3.4. */
#define HOST_BYTES 253

/* A name, an IPv4 address, or an IPv6 address in brackets. */
static bool is_host(struct kw_slice value)
{
    bool brackets = value.len > 2 && value.data[0] == '[' && value.data[value.len - 1] == ']';
    bool inner_colon = memchr(value.data, ':', value.len) != NULL;
    if (!brackets && memchr(value.data, '[', value.len))
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] <= ' ' || value.data[i] >= 0x7F)
            return false;
    return value.len > 0 && value.len <= HOST_BYTES && brackets == inner_colon;
}

/* That, and a port. */
static bool is_host_port(struct kw_slice value, unsigned long least_port)
{
    const char *colon = memrchr(value.data, ':', value.len);
    if (!colon)
        return false;
    struct kw_slice host = {value.data, (size_t)(colon - value.data)};
    size_t port_len = value.len - host.len - 1;
    unsigned long port = 0;
    for (size_t i = 1; i <= port_len && i <= 5; i++)
        port = colon[i] >= '0' && colon[i] <= '9' ? port * 10 + (unsigned long)(colon[i] - '0')
                                                  : UINT16_MAX + 1UL;
    return is_host(host) && port_len > 0 && port_len <= 5 && port >= least_port &&
           port <= UINT16_MAX;
}

bool kw_slice_is_one_of(struct kw_slice slice, const char *choices)
{
    for (;;) {
        size_t len = strcspn(choices, ",");
        if (slice.len == len && memcmp(slice.data, choices, len) == 0)
            return true;
        if (choices[len] == '\0')
            return false;
        choices += len + strlen(", ");
    }
}

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_made_of(struct kw_slice value, size_t max, const char *others)
{
    for (size_t i = 0; i < value.len; i++)
        if (!is_letter_or_digit(value.data[i]) && !memchr(others, value.data[i], strlen(others)))
            return false;
    return value.len > 0 && value.len <= max;
}

/* Takes the next part of a list with "," between them, without blanks around it. False at its end.
 */
static bool next_part(struct kw_slice *rest, struct kw_slice *ret_part)
{
    if (!rest->data)
        return false;
    const char *comma = memchr(rest->data, ',', rest->len);
    struct kw_slice part = {rest->data, comma ? (size_t)(comma - rest->data) : rest->len};
    struct kw_slice after = {comma ? comma + 1 : NULL, comma ? rest->len - part.len - 1 : 0};
    for (; part.len > 0 && part.data[0] == ' '; part.data++)
        part.len--;
    while (part.len > 0 && part.data[part.len - 1] == ' ')
        part.len--;
    *rest = after;
    *ret_part = part;
    return true;
}

static bool is_globs(struct kw_slice value)
{
    struct kw_slice part;
    while (next_part(&value, &part))
        if (!is_made_of(part, 127, "-*?"))
            return false;
    return true;
}

static bool is_rules(struct kw_slice value)
{
    if (kw_slice_is(value, "none"))
        return true;
    struct kw_slice part;
    while (next_part(&value, &part))
        if (!kw_slice_is_one_of(part, "rate, client, hour"))
            return false;
    return true;
}

static bool is_pair(struct kw_slice value)
{
    const char *equals = memchr(value.data, '=', value.len);
    return equals && equals > value.data && equals + 1 < value.data + value.len;
}

bool kw_setting_number(const struct setting *setting, struct kw_slice value, long *ret_number)
{
    long number = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return false;
        number = number * 10 + (value.data[i] - '0');
        if (number > setting->max)
            return false;
    }
    if (number < setting->min)
        return false;
    *ret_number = number;
    return true;
}

static bool contains(struct kw_slice value, const char *text)
{
    return memmem(value.data, value.len, text, strlen(text)) != NULL;
}

static bool is_paths(struct kw_slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((i == 0 || value.data[i - 1] == ':') && value.data[i] != '/')
            return false;
    return value.len > 0 && value.data[value.len - 1] != ':';
}

static bool is_uri(struct kw_slice value)
{
    return starts_with(value, "pkcs11:") && !contains(value, "pin-value=");
}

bool kw_setting_takes(const struct setting *setting, struct kw_slice value)
{
    switch (setting->type) {
    case AS_URI:
        return is_uri(value);
    case AS_URI_OR_HTTPS:
        return is_uri(value) || starts_with(value, "https://");
    case AS_PATH:
        return starts_with(value, "/");
    case AS_PATHS:
        return is_paths(value);
    case AS_PATH_OR_URI:
        return starts_with(value, "/") || is_uri(value);
    case AS_PATH_OR_HTTPS:
        return starts_with(value, "/") || starts_with(value, "https://");
    case AS_HTTPS:
        return starts_with(value, "https://");
    case AS_PIN_SOURCE:
        return is_pin_source(value);
    case AS_HOST_PORT:
        return is_host_port(value, 1);
    case AS_LISTEN:
        return is_host_port(value, 0);
    case AS_HOST:
        return is_host(value) || is_host_port(value, 1);
    case AS_PREFIX:
        return is_made_of(value, 64, "-");
    case AS_PAIR:
        return is_pair(value);
    case AS_GLOBS:
        return is_globs(value);
    case AS_RULES:
        return is_rules(value);
    case AS_CHOICE:
        return kw_slice_is_one_of(value, setting->expects);
    case AS_TEXT:
    case AS_NUMBER:
    case AS_YES_NO:
        break;
    }
    return true;
}
