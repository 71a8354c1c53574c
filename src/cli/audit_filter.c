/* Which records of the trail are asked for. */
#include <cjson/cJSON.h>
#include <string.h>

#include "audit_cli.h"

/* "2026", "2026-11-25", "2026-11-25T22:00" and so on: a time's beginning. */
static bool is_time(const char *text)
{
    static const char shape[] = "0000-00-00T00:00:00.000Z";
    size_t len = strlen(text);
    if (len < 4 || len >= sizeof(shape))
        return false;
    for (size_t i = 0; i < len; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (shape[i] == '0' ? !digit : text[i] != shape[i])
            return false;
    }
    return true;
}

static enum kw_status check_time(const char *text, const char *option, struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    if (!text || is_time(text))
        return KW_OK;
    return kw_fail(err, KW_USAGE,
                   "%s is a time in UTC such as 2026-11-25 or 2026-11-25T22:00, not \"%s\"", option,
                   show(text, shown));
}

enum kw_status check_filter(const struct arguments *arguments, struct kw_error *err)
{
    enum kw_status status = check_time(arguments->from, "--from", err);
    return status ? status : check_time(arguments->to, "--to", err);
}

static bool text_is(const cJSON *object, const char *name, const char *wanted)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text && strcmp(text, wanted) == 0;
}

static bool is_key(const cJSON *record, const char *wanted)
{
    static const char *const names[] = {"label", "id", "modulus_sha256", "token", "serial"};
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(record, "key");
    for (size_t i = 0; i < KW_COUNT(names); i++)
        if (text_is(key, names[i], wanted))
            return true;
    return false;
}

/* A login name, or a user's number. */
static bool is_person(const cJSON *record, const char *wanted)
{
    const cJSON *who = cJSON_GetObjectItemCaseSensitive(record, "who");
    const cJSON *uid = cJSON_GetObjectItemCaseSensitive(who, "uid");
    char text[32];
    if (text_is(who, "login", wanted))
        return true;
    if (!cJSON_IsNumber(uid))
        return false;
    (void)snprintf(text, sizeof(text), "%.0f", uid->valuedouble);
    return strcmp(text, wanted) == 0;
}

static bool is_for_client(const cJSON *record, const char *wanted)
{
    return text_is(cJSON_GetObjectItemCaseSensitive(record, "request"), "client", wanted);
}

/* Times are texts of one shape, in UTC: their order is that of the texts. */
static bool is_between(const cJSON *record, const char *from, const char *to)
{
    const char *time = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "time"));
    return time && (!from || strcmp(time, from) >= 0) &&
           (!to || strncmp(time, to, strlen(to)) <= 0);
}

bool passes_filter(const struct arguments *arguments, const cJSON *record)
{
    return (!arguments->run_id || text_is(record, "run", arguments->run_id)) &&
           (!arguments->key || is_key(record, arguments->key)) &&
           (!arguments->who || is_person(record, arguments->who)) &&
           (!arguments->client || is_for_client(record, arguments->client)) &&
           ((!arguments->from && !arguments->to) ||
            is_between(record, arguments->from, arguments->to));
}
