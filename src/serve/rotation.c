/* Rotation policies: their form, and when they say that something is to be done. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/duration.h"
#include "serve/internal.h"

#define ACTIONS_MAX 2

/* ---- when ---- */

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* Of an action of a policy; 0 where its trigger says nothing for this version. */
static int64_t due_of(const cJSON *action, const struct kw_stored *stored)
{
    const cJSON *trigger = cJSON_GetObjectItemCaseSensitive(action, "trigger");
    const char *after = text_of(trigger, "timeAfterCreate");
    const char *before = text_of(trigger, "timeBeforeExpiry");
    int64_t from = after ? kw_stored_created(stored) : kw_stored_expires(stored);
    struct kw_duration duration;
    if (from == 0 || !kw_duration_parse(after ? after : before, &duration))
        return 0;
    return kw_duration_shift(from, &duration, after ? 1 : -1);
}

static bool is_rotation(const cJSON *action)
{
    const char *type = text_of(cJSON_GetObjectItemCaseSensitive(action, "action"), "type");
    return type && strcasecmp(type, "Rotate") == 0;
}

void kw_rotation_due(const struct kw_stored *stored, struct kw_rotation_due *ret_due)
{
    const cJSON *actions =
        cJSON_GetObjectItemCaseSensitive(stored->record->policy, "lifetimeActions");
    *ret_due = (struct kw_rotation_due){.rotate = 0};
    for (const cJSON *action = actions ? actions->child : NULL; action; action = action->next)
        *(is_rotation(action) ? &ret_due->rotate : &ret_due->notify) = due_of(action, stored);
}

enum kw_status kw_rotate_by_policy(struct kw_keyring *keyring, const char *name,
                                   struct kw_token_key *ret_key, struct kw_error *err)
{
    struct kw_version *versions = NULL;
    struct kw_duration lifetime;
    size_t count = 0;
    int64_t none = 0, expires = 0;
    enum kw_status status = kw_store_versions(keyring, name, NULL, &versions, &count, err);
    if (status)
        return status;
    size_t newest = 0;
    while (newest < count && kw_key_state(versions[newest].record) == KW_KEY_DELETED)
        newest++;
    if (count >= KW_VERSIONS_MAX) {
        free(versions);
        return kw_fail(err, KW_EXISTS,
                       "key \"%s\" has the %d versions that a key may have; make one of another "
                       "name, or purge it",
                       name, KW_VERSIONS_MAX);
    }
    const cJSON *policy = newest < count ? versions[newest].record->policy : NULL;
    bool extractable = newest < count && versions[newest].key->extractable;
    if (kw_duration_parse(
            text_of(cJSON_GetObjectItemCaseSensitive(policy, "attributes"), "expiryTime"),
            &lifetime))
        expires = kw_duration_shift((int64_t)time(NULL), &lifetime, 1);
    free(versions);
    const struct kw_key_settings settings = {.not_before = &none, .expires = &expires};
    const struct kw_new_key wanted = {.name = name,
                                      .not_before = "",
                                      .expires = "",
                                      .extractable = extractable,
                                      .settings = &settings};
    return kw_keyring_rotate(keyring, &wanted, ret_key, err);
}

/* ---- the form ---- */

/* As Azure has it. */
#define EXPIRY_DAYS_MIN   28
#define ROTATION_DAYS_MIN 7
#define SECONDS_A_DAY     INT64_C(86400)

/* Months from the first one of a calendar, which has 31 days as most have. */
static int64_t seconds_of(const struct kw_duration *duration)
{
    return kw_duration_shift(0, duration, 1);
}

static enum kw_status bad_policy(struct kw_call *call, const char *what, struct kw_error *err)
{
    return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                          "The rotation policy is not one: %s.", what);
}

/* A rotation a week after the last one at the soonest, and a week before the end of it at the
 * latest: a policy that always is due would fill the token. `lifetime_s` 0: there is none. */
static enum kw_status check_times(struct kw_call *call, int64_t trigger_s, bool rotates,
                                  int64_t lifetime_s, struct kw_error *err)
{
    if (rotates && trigger_s < ROTATION_DAYS_MIN * SECONDS_A_DAY)
        return bad_policy(call, "Rotate needs at least 7 days from the creation or to the expiry",
                          err);
    if (rotates && lifetime_s && lifetime_s - trigger_s < ROTATION_DAYS_MIN * SECONDS_A_DAY)
        return bad_policy(call, "Rotate's trigger has to be 7 days shorter than expiryTime", err);
    if (lifetime_s && trigger_s >= lifetime_s)
        return bad_policy(call, "Notify's trigger has to be shorter than expiryTime", err);
    return KW_OK;
}

static enum kw_status copy_action(struct kw_call *call, const cJSON *action, int64_t lifetime_s,
                                  cJSON *actions, struct kw_error *err)
{
    const cJSON *trigger = cJSON_GetObjectItemCaseSensitive(action, "trigger");
    const char *after = text_of(trigger, "timeAfterCreate");
    const char *before = text_of(trigger, "timeBeforeExpiry");
    const char *type = text_of(cJSON_GetObjectItemCaseSensitive(action, "action"), "type");
    struct kw_duration duration;
    bool rotates = type && strcasecmp(type, "Rotate") == 0;
    if (!type || (!rotates && strcasecmp(type, "Notify") != 0))
        return bad_policy(call, "an action's type has to be Rotate or Notify", err);
    if ((after != NULL) == (before != NULL) ||
        !kw_duration_parse(after ? after : before, &duration))
        return bad_policy(call,
                          "a trigger has to have either timeAfterCreate or timeBeforeExpiry, an "
                          "ISO 8601 duration such as P30D or P1Y",
                          err);
    if (after && !rotates)
        return bad_policy(call, "Notify has to have the trigger timeBeforeExpiry", err);
    if (before && rotates && !lifetime_s)
        return bad_policy(call, "timeBeforeExpiry of Rotate needs attributes with expiryTime", err);
    enum kw_status status = check_times(call, seconds_of(&duration), rotates, lifetime_s, err);
    if (status)
        return status;
    cJSON *copy = cJSON_CreateObject();
    kw_json_add_text(kw_json_add_object(copy, "trigger"),
                     after ? "timeAfterCreate" : "timeBeforeExpiry", after ? after : before);
    kw_json_add_text(kw_json_add_object(copy, "action"), "type", rotates ? "Rotate" : "Notify");
    kw_json_add(actions, NULL, copy);
    return KW_OK;
}

enum kw_status kw_rotation_copy(struct kw_call *call, cJSON *policy, struct kw_error *err)
{
    const cJSON *attributes = cJSON_GetObjectItemCaseSensitive(call->body, "attributes");
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(call->body, "lifetimeActions");
    const char *lifetime = text_of(attributes, "expiryTime");
    struct kw_duration duration;
    cJSON *actions = kw_json_add_array(policy, "lifetimeActions");
    unsigned rotations = 0, count = 0;
    enum kw_status status = KW_OK;
    if (attributes && !cJSON_IsNull(attributes) && !cJSON_IsObject(attributes))
        return bad_policy(call, "attributes has to be an object", err);
    if (given && !cJSON_IsNull(given) && !cJSON_IsArray(given))
        return bad_policy(call, "lifetimeActions has to be an array", err);
    const cJSON *expiry = cJSON_GetObjectItemCaseSensitive(attributes, "expiryTime");
    if ((expiry && !lifetime && !cJSON_IsNull(expiry)) ||
        (lifetime && !kw_duration_parse(lifetime, &duration)))
        return bad_policy(call, "expiryTime has to be an ISO 8601 duration such as P90D or P1Y",
                          err);
    int64_t lifetime_s = lifetime ? seconds_of(&duration) : 0;
    if (lifetime && lifetime_s < EXPIRY_DAYS_MIN * SECONDS_A_DAY)
        return bad_policy(call, "expiryTime has to be at least 28 days", err);
    for (const cJSON *action = given ? given->child : NULL; action && !status;
         action = action->next) {
        rotations += is_rotation(action);
        if (++count > ACTIONS_MAX || rotations > 1 || count - rotations > 1)
            return bad_policy(call, "there may be one action of each type", err);
        status = copy_action(call, action, lifetime_s, actions, err);
    }
    if (status)
        return status;
    cJSON *kept = kw_json_add_object(policy, "attributes");
    kw_json_add_text(kept, "expiryTime", lifetime);
    kw_json_add_number(kept, "updated", (double)time(NULL));
    return KW_OK;
}

/* ---- the routes ---- */

/* As Key Vault has it for a key that has no policy of its own. */
static cJSON *default_policy(void)
{
    cJSON *policy = cJSON_CreateObject();
    cJSON *action = cJSON_CreateObject();
    kw_json_add_text(kw_json_add_object(action, "trigger"), "timeBeforeExpiry", "P30D");
    kw_json_add_text(kw_json_add_object(action, "action"), "type", "Notify");
    kw_json_add(kw_json_add_array(policy, "lifetimeActions"), NULL, action);
    kw_json_add_text(kw_json_add_object(policy, "attributes"), "expiryTime", NULL);
    return policy;
}

enum kw_status kw_get_policy(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    const struct kw_stored *stored = NULL;
    char id[KW_KID_SIZE];
    enum kw_status status = kw_use_find(call, NULL, &stored, err);
    if (!status) {
        const cJSON *policy = stored->record->policy;
        (void)snprintf(id, sizeof(id), "https://%s/keys/%s/rotationpolicy", call->service->host,
                       stored->key->label);
        *ret_json = policy ? cJSON_Duplicate(policy, true) : default_policy();
        kw_json_add_text(*ret_json, "id", id);
    }
    return status;
}

struct setting_policy {
    struct kw_call *call;
    cJSON *policy;
};

static enum kw_status put_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    const struct setting_policy *job = context;
    struct kw_version *versions = NULL;
    size_t count = 0, i = 0;
    enum kw_status status =
        kw_store_versions(keyring, job->call->name, NULL, &versions, &count, err);
    if (status)
        return status;
    while (i < count && kw_key_state(versions[i].record) == KW_KEY_DELETED)
        i++;
    const struct kw_key_settings settings = {.policy = job->policy};
    status = i < count ? kw_keyring_update(keyring, versions[i].key, &settings, err)
                       : kw_call_no_key(job->call, "", err);
    free(versions);
    return status;
}

enum kw_status kw_put_policy(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct setting_policy job = {.call = call, .policy = cJSON_CreateObject()};
    enum kw_status status = kw_rotation_copy(call, job.policy, err);
    if (!status)
        status = kw_call_change(call, put_now, &job, err);
    cJSON_Delete(job.policy);
    return status ? status : kw_get_policy(call, ret_json, err);
}
