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

/* A name, an IPv4 address, or an IPv6 address in brackets; then a port that is not 0. */
static bool is_host_port(struct kw_slice value)
{
    const char *colon = memrchr(value.data, ':', value.len);
    if (!colon)
        return false;
    size_t host_len = (size_t)(colon - value.data);
    size_t port_len = value.len - host_len - 1;
    unsigned long port = 0;
    for (size_t i = 1; i <= port_len && i <= 5; i++)
        port = colon[i] >= '0' && colon[i] <= '9' ? port * 10 + (unsigned long)(colon[i] - '0')
                                                  : UINT16_MAX + 1UL;
    bool brackets = host_len > 2 && value.data[0] == '[' && colon[-1] == ']';
    bool inner_colon = memchr(value.data, ':', host_len) != NULL;
    if (!brackets && memchr(value.data, '[', host_len))
        return false;
    for (size_t i = 0; i < host_len; i++)
        if (value.data[i] <= ' ' || value.data[i] >= 0x7F)
            return false;
    return host_len > 0 && host_len <= HOST_BYTES && brackets == inner_colon && port_len > 0 &&
           port_len <= 5 && port > 0 && port <= UINT16_MAX;
}

static bool is_one_of(struct kw_slice value, const char *choices)
{
    for (;;) {
        size_t len = strcspn(choices, ",");
        if (value.len == len && memcmp(value.data, choices, len) == 0)
            return true;
        if (choices[len] == '\0')
            return false;
        choices += len + strlen(", ");
    }
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

bool kw_setting_takes(const struct setting *setting, struct kw_slice value)
{
    switch (setting->type) {
    case AS_URI:
        return (starts_with(value, "pkcs11:") && !contains(value, "pin-value=")) ||
               starts_with(value, "https://");
    case AS_PATH:
        return starts_with(value, "/");
    case AS_PATHS:
        return is_paths(value);
    case AS_PIN_SOURCE:
        return is_pin_source(value);
    case AS_HOST_PORT:
        return is_host_port(value);
    case AS_CHOICE:
        return is_one_of(value, setting->expects);
    case AS_TEXT:
    case AS_NUMBER:
    case AS_YES_NO:
        break;
    }
    return true;
}
