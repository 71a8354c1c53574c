/* Addresses: of a vault, of a key, of what tokens are for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vault/internal.h"

#define SCHEME      "https://"
#define URL_MAX     2048
#define HOST_MAX    253 /* RFC 1035 section 2.3.4 */
#define OPTIONS_MAX 8

bool kw_is_vault_url(const char *text)
{
    return strncasecmp(text, SCHEME, strlen(SCHEME)) == 0;
}

static bool is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool kw_vault_is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_alphanumeric(text[i]) && text[i] != '-')
            return false;
    return len > 0 && len <= KW_VAULT_NAME_MAX;
}

bool kw_vault_is_version(const char *text, size_t len)
{
    uint8_t bytes[KW_VAULT_VERSION_LEN / 2];
    size_t bytes_len = 0;
    return len == KW_VAULT_VERSION_LEN &&
           kw_hex_decode(text, len, bytes, sizeof(bytes), &bytes_len);
}

static void copy_lower(const char *text, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    out[len] = '\0';
}

/* ---- through libcurl, which is going to use them ---- */

static CURLU *parse_part(const char *text, size_t len)
{
    char copy[URL_MAX + 1];
    CURLU *url = len <= URL_MAX ? curl_url() : NULL;
    if (!url)
        return NULL;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (curl_url_set(url, CURLUPART_URL, copy, 0) == CURLUE_OK)
        return url;
    curl_url_cleanup(url);
    return NULL;
}

static CURLU *parse(const char *text)
{
    return parse_part(text, strlen(text));
}

static bool has(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return found;
}

static bool is_https(CURLU *url)
{
    char *scheme = NULL;
    bool https = curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                 strcasecmp(scheme, "https") == 0;
    curl_free(scheme);
    return https;
}

/* A name or an address in ASCII: anything else could look like another host. */
static bool is_host(const char *host)
{
    size_t len = strlen(host);
    bool brackets = len > 2 && host[0] == '[' && host[len - 1] == ']';
    for (size_t i = brackets; i < len - brackets; i++)
        if (!is_alphanumeric(host[i]) && host[i] != '-' && host[i] != '.' && host[i] != '_' &&
            !(brackets && host[i] == ':'))
            return false;
    return len > 0 && len <= HOST_MAX;
}

/* "host" or "host:port", in lower case. */
static bool take_host(CURLU *url, char out[KW_VAULT_HOST_SIZE])
{
    char *host = NULL, *port = NULL;
    bool good = is_https(url) && !has(url, CURLUPART_USER) && !has(url, CURLUPART_PASSWORD) &&
                curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                is_host(host) && strlen(port) <= 5;
    if (good) {
        size_t len = strlen(host);
        copy_lower(host, len, out);
        if (strcmp(port, "443") != 0)
            (void)snprintf(out + len, KW_VAULT_HOST_SIZE - len, ":%s", port);
    }
    curl_free(host);
    curl_free(port);
    return good;
}

/* ---- keys ---- */

/* NAME or NAME/VERSION. */
static bool take_key(const char *text, struct kw_vault_address *address)
{
    size_t name_len = strcspn(text, "/");
    const char *version = text[name_len] == '/' ? text + name_len + 1 : NULL;
    if (!kw_vault_is_name(text, name_len) ||
        (version && !kw_vault_is_version(version, strlen(version))))
        return false;
    memcpy(address->name, text, name_len);
    address->name[name_len] = '\0';
    copy_lower(version ? version : "", version ? strlen(version) : 0, address->version);
    return true;
}

static bool take_path(CURLU *url, struct kw_vault_address *address)
{
    static const char keys[] = "/keys/";
    char *path = NULL;
    bool good = curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
                (strcmp(path, "/") == 0 || (strncmp(path, keys, sizeof(keys) - 1) == 0 &&
                                            take_key(path + sizeof(keys) - 1, address)));
    curl_free(path);
    return good;
}

static bool parse_address(const char *text, struct kw_vault_address *ret_address)
{
    struct kw_vault_address address = {.host = ""};
    CURLU *url = parse_part(text, strcspn(text, "?"));
    bool good = url && take_host(url, address.host) && take_path(url, &address) &&
                !has(url, CURLUPART_FRAGMENT);
    curl_url_cleanup(url);
    if (good)
        *ret_address = address;
    return good;
}

enum kw_status kw_vault_address_parse(const char *text, struct kw_vault_address *ret_address,
                                      struct kw_error *err)
{
    char shown[160];
    if (parse_address(text, ret_address))
        return KW_OK;
    /* A password may stand before "@". */
    size_t len = strchr(text, '@') ? strcspn(text, "/") : strcspn(text, "?");
    return kw_fail(err, KW_CONFIG,
                   "\"%s\" is no address of a vault; write https://HOST[:PORT], or "
                   "https://HOST/keys/NAME/VERSION for a key",
                   kw_printable(text, len, shown, sizeof(shown)));
}

bool kw_vault_key_parse(const char *text, const char *host, struct kw_vault_address *ret_address)
{
    struct kw_vault_address address = {.host = ""};
    bool good = kw_is_vault_url(text) ? parse_address(text, &address) && address.name[0] != '\0' &&
                                            strcmp(address.host, host) == 0
                                      : take_key(text, &address);
    if (good)
        *ret_address = address;
    return good;
}

/* ---- what a vault says ---- */

bool kw_vault_local_path(const char *text, const char *host, char *out, size_t out_size)
{
    char own[KW_VAULT_HOST_SIZE];
    char *path = NULL, *query = NULL;
    CURLU *url = parse(text);
    bool good = url && take_host(url, own) && strcmp(own, host) == 0 &&
                curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK &&
                strncmp(path, "/keys", 5) == 0 && (path[5] == '\0' || path[5] == '/');
    bool has_query = good && curl_url_get(url, CURLUPART_QUERY, &query, 0) == CURLUE_OK;
    if (good) {
        int len =
            snprintf(out, out_size, "%s%s%s", path, has_query ? "?" : "", has_query ? query : "");
        good = len > 0 && (size_t)len < out_size;
    }
    curl_free(path);
    curl_free(query);
    curl_url_cleanup(url);
    return good;
}

bool kw_vault_owns_resource(const char *host, const char *resource)
{
    char other[KW_VAULT_HOST_SIZE];
    CURLU *url = parse(resource);
    bool good = url && take_host(url, other);
    curl_url_cleanup(url);
    if (!good)
        return false;
    /* The port, if there is one, is the end of both; a resource without one does for any. */
    size_t other_len = strlen(other);
    size_t len = strchr(other, ':') ? strlen(host) : strcspn(host, ":");
    return other[0] != '[' && len > other_len + 1 && host[len - other_len - 1] == '.' &&
           memcmp(host + len - other_len, other, other_len) == 0;
}

/* ---- settings that follow an address ---- */

/* The next NAME=VALUE of a query, or false. */
static bool next_option(const char **at, const char **ret_name, size_t *ret_name_len,
                        const char **ret_value, size_t *ret_value_len)
{
    if (!*at || **at == '\0')
        return false;
    size_t len = strcspn(*at, "&");
    const char *equals = memchr(*at, '=', len);
    *ret_name = *at;
    *ret_name_len = equals ? (size_t)(equals - *at) : len;
    *ret_value = equals ? equals + 1 : *at + len;
    *ret_value_len = len - *ret_name_len - (equals != NULL);
    *at += len + ((*at)[len] == '&');
    return true;
}

static const char *query_of(const char *url)
{
    const char *mark = strchr(url, '?');
    return mark ? mark + 1 : NULL;
}

static bool is_text(const char *name, size_t len, const char *text)
{
    return strlen(text) == len && memcmp(name, text, len) == 0;
}

enum kw_status kw_vault_url_option(const char *url, const char *wanted, char **ret_value,
                                   struct kw_error *err)
{
    const char *at = query_of(url), *name, *value;
    size_t name_len, value_len;
    while (next_option(&at, &name, &name_len, &value, &value_len)) {
        if (!is_text(name, name_len, wanted))
            continue;
        int len = 0;
        char *decoded = curl_easy_unescape(NULL, value, (int)value_len, &len);
        char *copy = decoded ? strndup(decoded, (size_t)len) : NULL;
        curl_free(decoded);
        if (!copy)
            return kw_fail_memory(err);
        *ret_value = copy;
        return KW_OK;
    }
    *ret_value = NULL;
    return KW_OK;
}

enum kw_status kw_vault_check_options(const char *url, const char *const *names, size_t count,
                                      struct kw_error *err)
{
    bool seen[OPTIONS_MAX] = {false};
    char shown[64];
    const char *at = query_of(url), *name, *value;
    size_t name_len, value_len;
    while (next_option(&at, &name, &name_len, &value, &value_len)) {
        size_t i = 0;
        while (i < count && !is_text(name, name_len, names[i]))
            i++;
        kw_printable(name, name_len, shown, sizeof(shown));
        if (i == count || i >= OPTIONS_MAX)
            return kw_fail(err, KW_CONFIG,
                           "a vault's address may be followed by token-source, ca, certificate, "
                           "key and resource, and not by \"%s\"",
                           shown);
        if (seen[i] || value_len == 0)
            return kw_fail(err, KW_CONFIG, "%s %s in the vault's address; give one value", shown,
                           seen[i] ? "is there twice" : "has no value");
        seen[i] = true;
    }
    return KW_OK;
}
