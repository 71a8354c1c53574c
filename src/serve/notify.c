/* The command of [service] notify: one event after the other, by a thread that may wait for it. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run/run.h"
#include "serve/internal.h"

#define EVENTS_MAX 64
#define TIMEOUT_MS 30000
#define LINE_SIZE  2048

struct event {
    char event[32], key[KW_NAME_MAX + 1], who[128];
    char line[LINE_SIZE];
};
struct kw_notifier {
    struct kw_service *service;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct event events[EVENTS_MAX]; /* a ring */
    size_t first, count;
    bool stop;
    pthread_t thread;
};

static enum kw_status describe(struct event *event, const char *detail, struct kw_error *err)
{
    char when[KW_TIMESTAMP_SIZE];
    struct kw_buffer text = KW_BUFFER_INIT(LINE_SIZE - 1);
    cJSON *json = cJSON_CreateObject();
    kw_timestamp(time(NULL), when);
    kw_json_add_text(json, "time", when);
    kw_json_add_text(json, "event", event->event);
    kw_json_add_text(json, "key", event->key);
    kw_json_add_text(json, "who", event->who);
    kw_json_add_text(json, "detail", detail);
    enum kw_status status = kw_json_write(json, KW_JSON_LINE, &text, err);
    if (!status) {
        memcpy(event->line, text.data, text.len);
        event->line[text.len] = '\0';
    }
    kw_buffer_cleanup(&text);
    return status;
}

void kw_notify(struct kw_service *service, const struct kw_event *what)
{
    struct kw_notifier *notifier = service->notifier;
    struct event event = {.event = ""};
    struct kw_error err;
    if (!notifier)
        return;
    (void)snprintf(event.event, sizeof(event.event), "%s", what->event);
    (void)snprintf(event.key, sizeof(event.key), "%s", what->key ? what->key : "");
    (void)snprintf(event.who, sizeof(event.who), "%s", what->who ? what->who : "");
    if (describe(&event, what->detail, &err)) {
        kw_service_tell(service, "the event %s can't be told: %s", what->event, err.message);
        return;
    }
    (void)pthread_mutex_lock(&notifier->lock);
    bool fits = notifier->count < EVENTS_MAX;
    if (fits)
        notifier->events[(notifier->first + notifier->count++) % EVENTS_MAX] = event;
    (void)pthread_cond_signal(&notifier->wake);
    (void)pthread_mutex_unlock(&notifier->lock);
    if (!fits)
        kw_service_tell(service, "the event %s is not told: too many wait for the command",
                        what->event);
}

/* False once there is no more to do. */
static bool take(struct kw_notifier *notifier, struct event *ret_event)
{
    (void)pthread_mutex_lock(&notifier->lock);
    while (notifier->count == 0 && !notifier->stop)
        (void)pthread_cond_wait(&notifier->wake, &notifier->lock);
    bool some = notifier->count > 0;
    if (some) {
        *ret_event = notifier->events[notifier->first];
        notifier->first = (notifier->first + 1) % EVENTS_MAX;
        notifier->count--;
    }
    (void)pthread_mutex_unlock(&notifier->lock);
    return some;
}

static void *run(void *argument)
{
    struct kw_notifier *notifier = argument;
    struct event event;
    while (take(notifier, &event)) {
        const struct kw_notice notice = {
            .event = event.event, .key = event.key, .who = event.who, .line = event.line};
        struct kw_error err;
        if (kw_launcher_notify(notifier->service->options.launcher, &notice, TIMEOUT_MS, &err))
            kw_service_tell(notifier->service, "the command of [service] notify failed: %s",
                            err.message);
    }
    return NULL;
}

enum kw_status kw_notifier_start(struct kw_service *service, struct kw_error *err)
{
    if (service->options.launcher < 0)
        return KW_OK;
    struct kw_notifier *notifier = calloc(1, sizeof(*notifier));
    if (!notifier)
        return kw_fail_memory(err);
    notifier->service = service;
    (void)pthread_mutex_init(&notifier->lock, NULL); /* neither can fail on Linux */
    (void)pthread_cond_init(&notifier->wake, NULL);
    enum kw_status status = kw_thread_start(&notifier->thread, run, notifier, err);
    if (status) {
        free(notifier);
        return status;
    }
    service->notifier = notifier;
    return KW_OK;
}

void kw_notifier_end(struct kw_service *service)
{
    struct kw_notifier *notifier = service->notifier;
    if (!notifier)
        return;
    (void)pthread_mutex_lock(&notifier->lock);
    notifier->stop = true;
    (void)pthread_cond_signal(&notifier->wake);
    (void)pthread_mutex_unlock(&notifier->lock);
    (void)pthread_join(notifier->thread, NULL);
    (void)pthread_cond_destroy(&notifier->wake);
    (void)pthread_mutex_destroy(&notifier->lock);
    free(notifier);
    service->notifier = NULL;
}
