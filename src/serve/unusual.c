/* What is unusual about a use of a key: on the trail, in the metrics, and told. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/anomaly.h"
#include "serve/internal.h"

/* The key's tag that has the rules for it, as the setting has them for all. */
#define RULES_TAG "keyward-anomalies"

static unsigned rules_for(const struct kw_call *call, const struct kw_stored *stored)
{
    const char *own =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(stored->record->tags, RULES_TAG));
    return kw_anomaly_rules(own ? own : call->policy->config.service.anomalies);
}

static void describe(const struct kw_anomaly_event *event, enum kw_anomaly_rule rule, char *out,
                     size_t size)
{
    switch (rule) {
    case KW_ANOMALY_RATE:
        (void)snprintf(out, size, "%llu unwraps in this minute, where %.1f are usual",
                       (unsigned long long)event->count, event->usual);
        return;
    case KW_ANOMALY_CLIENT:
        (void)snprintf(out, size, "the client never used this key before");
        return;
    case KW_ANOMALY_HOUR:
        (void)snprintf(out, size, "the client never used this key at %02u:00 UTC before",
                       event->hour);
        return;
    }
}

static void tell(struct kw_call *call, const struct kw_stored *stored,
                 const struct kw_anomaly_event *what, enum kw_anomaly_rule rule)
{
    struct kw_service *service = call->service;
    struct kw_error err;
    char detail[160], op[32];
    describe(what, rule, detail, sizeof(detail));
    (void)snprintf(op, sizeof(op), "anomaly.%s", kw_anomaly_rule_name(rule));
    const struct kw_deed deed = {
        .op = op,
        .key.label = stored->key->label,
        .detail = detail,
        .request = {.client = call->purpose.client, .request = call->purpose.request},
    };
    if (kw_keyring_witness(kw_store_keyring(service->store), &deed, 1, &err))
        kw_service_tell(service, "an anomaly is not on the audit trail: %s", err.message);
    kw_service_tell(service, "unusual: key \"%s\", client \"%s\": %s", stored->key->label,
                    call->purpose.client, detail);
    kw_metrics_anomaly(service->metrics, kw_anomaly_rule_name(rule));
    const struct kw_event event = {
        .event = op, .key = stored->key->label, .who = call->purpose.client, .detail = detail};
    kw_notify(service, &event);
}

void kw_note_use(struct kw_call *call, const struct kw_stored *stored)
{
    struct kw_anomaly_event event;
    if (!kw_anomaly_note(call->service->anomaly, stored->key->label, call->purpose.client,
                         rules_for(call, stored), time(NULL), &event))
        return;
    for (unsigned rule = 1; rule <= KW_ANOMALY_ALL; rule <<= 1)
        if (event.rules & rule)
            tell(call, stored, &event, (enum kw_anomaly_rule)rule);
}

/* ---- what was learned, over a restart ---- */

enum kw_status kw_remember_usual(struct kw_service *service, struct kw_error *err)
{
    struct kw_error fault;
    enum kw_status status = kw_anomaly_new(&service->anomaly, err);
    if (status)
        return status;
    status = kw_state_path("serve/usual.json", "what is usual for keys and clients",
                           "or XDG_STATE_HOME in the environment", &service->usual_path, &fault);
    if (!status)
        status = kw_make_folders(service->usual_path, "what is usual for keys and clients", &fault);
    if (!status)
        status = kw_anomaly_load(service->anomaly, service->usual_path, &fault);
    if (status)
        kw_service_tell(service, "what is usual is learned anew: %s", fault.message);
    return status == KW_NO_MEMORY ? kw_fail_memory(err) : KW_OK;
}

void kw_save_usual(struct kw_service *service)
{
    struct kw_error err;
    if (service->usual_path && kw_anomaly_save(service->anomaly, service->usual_path, &err))
        kw_service_tell(service, "what is usual for keys and clients could not be saved: %s",
                        err.message);
}
