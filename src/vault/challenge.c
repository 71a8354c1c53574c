/* What tokens look like on their way: the challenge that asks for one, and what gives one. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "vault/internal.h"

#define LIFETIME_MAX (400L * 24 * 3600)

/* ---- a challenge: RFC 9110 section 11.6.1 ---- */

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

/* One NAME=VALUE or NAME="VALUE"; what it says is between the pointers. Escapes are not known: no
 * address has any. */
static bool next_parameter(const char **at, const char **ret_name, size_t *ret_name_len,
                           const char **ret_value, size_t *ret_value_len)
{
    const char *text = *at;
    text += strspn(text, ", \t");
    *ret_name = text;
    while (is_token_char(*text))
        text++;
    *ret_name_len = (size_t)(text - *ret_name);
    if (*ret_name_len == 0 || *text != '=')
        return false;
    bool quoted = *++text == '"';
    text += quoted;
    *ret_value = text;
    *ret_value_len = strcspn(text, quoted ? "\"" : ", \t");
    text += *ret_value_len;
    if (quoted && *text++ != '"')
        return false;
    *at = text;
    return true;
}

bool kw_vault_parse_challenge(const char *header, char resource[KW_VAULT_RESOURCE_SIZE])
{
    static const char scheme[] = "Bearer ", suffix[] = "/.default";
    const char *at = header, *name, *value;
    size_t name_len, value_len;
    if (strncasecmp(at, scheme, sizeof(scheme) - 1) != 0)
        return false;
    at += sizeof(scheme) - 1;
    while (next_parameter(&at, &name, &name_len, &value, &value_len)) {
        bool is_resource = name_len == 8 && strncasecmp(name, "resource", 8) == 0;
        bool is_scope = name_len == 5 && strncasecmp(name, "scope", 5) == 0;
        if (!is_resource && !is_scope)
            continue;
        size_t suffix_len = sizeof(suffix) - 1;
        if (is_scope && value_len > suffix_len &&
            memcmp(value + value_len - suffix_len, suffix, suffix_len) == 0)
            value_len -= suffix_len;
        if (value_len == 0 || value_len >= KW_VAULT_RESOURCE_SIZE)
            return false;
        memcpy(resource, value, value_len);
        resource[value_len] = '\0';
        return true;
    }
    return false;
}

/* ---- a token ---- */

/* strchr takes a NUL for one of any text. */
static bool is_one_of(char c, const char *characters)
{
    return c != '\0' && strchr(characters, c);
}

/* RFC 6750 section 2.1. */
static bool is_bearer(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_token_char(text[i]) && !is_one_of(text[i], ".~+/="))
            return false;
    return len > 0;
}

static enum kw_status take_token(const char *text, size_t len, const char *what,
                                 struct kw_secret **ret_token, struct kw_error *err)
{
    while (len > 0 && is_one_of(text[len - 1], " \t\r\n"))
        len--;
    while (len > 0 && is_one_of(text[0], " \t\r\n")) {
        text++;
        len--;
    }
    if (len > KW_VAULT_TOKEN_MAX)
        return kw_fail(err, KW_CONFIG, "the access token of %s has %zu bytes, more than %d", what,
                       len, KW_VAULT_TOKEN_MAX);
    if (!is_bearer(text, len))
        return kw_fail(err, KW_CONFIG,
                       "%s gives no access token: neither one alone nor JSON with access_token or "
                       "accessToken",
                       what);
    return kw_secret_from(text, len, ret_token, err);
}

/* A number, or one as text. */
static int64_t number_of(const cJSON *json, const char *name)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, name);
    const char *text = cJSON_GetStringValue(value);
    char *end = NULL;
    if (cJSON_IsNumber(value) && value->valuedouble > 0 && value->valuedouble < 1e12)
        return (int64_t)value->valuedouble;
    if (!text || text[0] < '0' || text[0] > '9' || strlen(text) > 12)
        return 0;
    long number = strtol(text, &end, 10);
    return *end == '\0' ? number : 0;
}

static long lifetime_of(const cJSON *json, int64_t now)
{
    int64_t until = number_of(json, "expires_on"), lifetime = number_of(json, "expires_in");
    if (until > now)
        lifetime = until - now;
    else if (until > 0) /* it is over; soon another one is got */
        lifetime = 1;
    return lifetime > LIFETIME_MAX ? LIFETIME_MAX : (long)lifetime;
}

static enum kw_status parse_json(const char *text, size_t len, const char *what, int64_t now,
                                 struct kw_vault_token_text *ret_token, struct kw_error *err)
{
    static const struct kw_json_limits limits = {
        .bytes = KW_VAULT_SECRET_TEXT_MAX, .depth = 4, .items = 64};
    static const char *const names[] = {"access_token", "accessToken"};
    cJSON *json = NULL;
    enum kw_status status = kw_json_parse(text, len, &limits, what, KW_CONFIG, &json, err);
    if (status)
        return status;
    struct kw_vault_token_text token = {.lifetime_s = lifetime_of(json, now)};
    const char *value = NULL;
    for (size_t i = 0; i < KW_COUNT(names) && !value; i++)
        value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, names[i]));
    status = take_token(value ? value : "", value ? strlen(value) : 0, what, &token.token, err);
    kw_json_wipe_delete(json);
    if (!status)
        *ret_token = token;
    return status;
}

enum kw_status kw_vault_parse_token(const char *text, size_t len, const char *what, int64_t now,
                                    struct kw_vault_token_text *ret_token, struct kw_error *err)
{
    size_t blanks = 0;
    while (blanks < len && is_one_of(text[blanks], " \t\r\n"))
        blanks++;
    if (blanks < len && text[blanks] == '{')
        return parse_json(text, len, what, now, ret_token, err);
    struct kw_vault_token_text token = {.lifetime_s = 0};
    enum kw_status status = take_token(text, len, what, &token.token, err);
    if (!status)
        *ret_token = token;
    return status;
}
