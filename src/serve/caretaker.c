/* What a service does beside answering: it looks whether the token is there and what it has, reads
 * the configuration anew, rotates keys when their policies say so, and verifies the trail. One
 * thread does all of it, so that none of it is done twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/internal.h"

#define DEFAULT_REFRESH_S 30
#define PING_MS           UINT64_C(5000)
#define PING_LOST_MS      UINT64_C(1000)
#define POLICIES_S        60
#define VERIFY_S          600
#define REMINDER_S        86400
#define SAVE_MS           UINT64_C(300000)

#define ROTATE_AGE_S   3600 /* what a policy wants is not wanted of a younger version */
#define RETRY_FIRST_MS UINT64_C(3600000)
#define RETRY_LAST_MS  UINT64_C(86400000)

/* A key that could not be rotated. */
struct failing {
    char name[KW_NAME_MAX + 1];
    uint64_t wait_ms, next_ms;
    struct failing *next;
};

/* When each thing is due next, in milliseconds of the monotonic clock. */
struct caretaker {
    struct kw_service *service;
    uint64_t ping_ms, refresh_ms, policies_ms, verify_ms, save_ms;
    bool on_record;   /* that it started */
    bool told_hang;   /* while the failover serves */
    int64_t reminded; /* up to when notices of policies were given */
    struct failing *failing;
};

/* ---- the service's own records ---- */

/* The trail has to be there before anything is: an act that can't be recorded is not done. */
static enum kw_status put_on_record(struct kw_service *service, const char *op,
                                    struct kw_error *err)
{
    const struct kw_deed deed = {.op = op, .detail = "keyward " KW_VERSION};
    return kw_keyring_witness(kw_store_keyring(service->store), &deed, 1, err);
}

static void note(struct caretaker *caretaker, const char *op)
{
    struct kw_error err;
    if (put_on_record(caretaker->service, op, &err))
        kw_service_tell(caretaker->service, "%s is not on the audit trail: %s", op, err.message);
}

/* ---- the token ---- */

static void tell_warnings(struct kw_service *service)
{
    struct kw_strings warnings = KW_STRINGS_INIT(2 * KW_WARNINGS_MAX);
    kw_store_take_warnings(service->store, &warnings);
    for (size_t i = 0; i < warnings.count; i++)
        kw_service_tell(service, "warning: %s", warnings.items[i]);
    kw_strings_cleanup(&warnings);
}

static void end_because(struct kw_service *service, const struct kw_error *err)
{
    if (service->end.status || atomic_load(&service->stopping))
        return;
    kw_service_tell(service, "%s", err->message);
    (void)pthread_mutex_lock(&service->lock);
    service->end = *err;
    (void)pthread_mutex_unlock(&service->lock);
}

/* What is merely away comes back in this process; a call that hangs may not. Keys of listeners are
 * on the first token alone. */
static void look_for_hang(struct caretaker *caretaker)
{
    struct kw_service *service = caretaker->service;
    struct kw_keyring *keyring = kw_store_keyring(service->store);
    bool needs_first = kw_tls_keys_are_there(service->policy);
    struct kw_error err;
    enum kw_status status = kw_keyring_check_hang(keyring, needs_first, &err);
    if (status == KW_TOKEN) {
        end_because(service, &err);
    } else if (!status && !caretaker->told_hang && kw_keyring_check_hang(keyring, true, &err)) {
        kw_service_tell(service, "warning: while the failover serves: %s", err.message);
        caretaker->told_hang = true;
    }
}

static void look_at_token(struct caretaker *caretaker)
{
    struct kw_service *service = caretaker->service;
    struct kw_error err;
    uint64_t now = kw_now_ms();
    bool was_ready = atomic_load(&service->ready);
    enum kw_status status =
        caretaker->on_record ? KW_OK : put_on_record(service, "serve.start", &err);
    caretaker->on_record = status == KW_OK;
    if (status) {
        atomic_store(&service->ready, false);
    } else if (now >= caretaker->refresh_ms || !was_ready) {
        long refresh_s = service->policy->config.service.refresh_s;
        status = kw_store_read(service->store, &err);
        caretaker->refresh_ms =
            kw_now_ms() + (uint64_t)(refresh_s ? refresh_s : DEFAULT_REFRESH_S) * 1000;
    } else {
        status = kw_keyring_ping(kw_store_keyring(service->store), &err);
    }
    atomic_store(&service->ready, status == KW_OK);
    if (status && (was_ready || caretaker->ping_ms == 0))
        kw_service_tell(service, "not ready: %s", err.message);
    else if (!status && !was_ready)
        kw_service_tell(service, "ready");
    look_for_hang(caretaker);
    caretaker->ping_ms = kw_now_ms() + (status ? PING_LOST_MS : PING_MS);
    tell_warnings(service);
}

/* ---- the configuration ---- */

static void reload(struct caretaker *caretaker)
{
    struct kw_service *service = caretaker->service;
    struct kw_policy *policy = NULL;
    struct kw_error err;
    enum kw_status status = kw_policy_load(kw_keyring_crypto(kw_store_keyring(service->store)),
                                           service->options.keyring.config_file, &policy, &err);
    if (!status)
        status = kw_policy_reserve(service, policy, &err);
    if (status) {
        kw_policy_leave(policy);
        kw_service_tell(service, "the configuration stays as it was: %s", err.message);
        return;
    }
    kw_tls_keys_find(service, policy);
    kw_policy_replace(service, policy);
    note(caretaker, "serve.reload");
    (void)pthread_mutex_lock(&service->lock);
    service->tls_due = true;
    (void)pthread_mutex_unlock(&service->lock);
}

/* ---- rotation policies ---- */

static enum kw_status rotate_now(struct kw_keyring *keyring, void *context, struct kw_error *err)
{
    struct kw_token_key made;
    return kw_rotate_by_policy(keyring, context, &made, err);
}

static struct failing *failing_of(const struct caretaker *caretaker, const char *name)
{
    struct failing *failing = caretaker->failing;
    while (failing && strcasecmp(failing->name, name) != 0)
        failing = failing->next;
    return failing;
}

/* Each failure is on the trail, and told: an hour later the next one, and so on up to a day. Where
 * there is no memory for that it is tried again in a minute. */
static void put_off(struct caretaker *caretaker, const char *name)
{
    struct failing *failing = failing_of(caretaker, name);
    if (!failing && (failing = calloc(1, sizeof(*failing)))) {
        (void)snprintf(failing->name, sizeof(failing->name), "%s", name);
        failing->next = caretaker->failing;
        caretaker->failing = failing;
    }
    if (!failing)
        return;
    failing->wait_ms = failing->wait_ms ? 2 * failing->wait_ms : RETRY_FIRST_MS;
    if (failing->wait_ms > RETRY_LAST_MS)
        failing->wait_ms = RETRY_LAST_MS;
    failing->next_ms = kw_now_ms() + failing->wait_ms;
}

static void forgive(struct caretaker *caretaker, const char *name)
{
    struct failing **place = &caretaker->failing;
    while (*place && strcasecmp((*place)->name, name) != 0)
        place = &(*place)->next;
    struct failing *failing = *place;
    if (failing) {
        *place = failing->next;
        free(failing);
    }
}

static bool may_rotate(const struct caretaker *caretaker, const struct kw_stored *stored,
                       int64_t now)
{
    const struct failing *failing = failing_of(caretaker, stored->key->label);
    return now - kw_stored_created(stored) >= ROTATE_AGE_S &&
           (!failing || kw_now_ms() >= failing->next_ms);
}

static void rotate(struct caretaker *caretaker, char *name)
{
    struct kw_error err;
    const struct kw_purpose purpose = {.client = "rotation policy"};
    enum kw_status status =
        kw_store_change(caretaker->service->store, &purpose, rotate_now, name, &err);
    if (status)
        kw_service_tell(caretaker->service, "key \"%s\" is due for rotation: %s", name,
                        err.message);
    else
        kw_service_tell(caretaker->service, "key \"%s\" was rotated, as its policy says", name);
    if (status)
        put_off(caretaker, name);
    else
        forgive(caretaker, name);
    const struct kw_event event = {.event = status ? "rotation-failed" : "rotated",
                                   .key = name,
                                   .who = purpose.client,
                                   .detail = status ? err.message : NULL};
    kw_notify(caretaker->service, &event);
}

/* The newest version of each name decides. The names are copied: a rotation needs the store to be
 * left. */
struct due_list {
    char (*names)[KW_NAME_MAX + 1];
    size_t count;
};

static void remind(struct caretaker *caretaker, const struct kw_stored *stored, int64_t due,
                   int64_t now)
{
    /* When it is due, and once a day from then on. */
    bool first = caretaker->reminded < due;
    if (!due || now < due ||
        (!first && (caretaker->reminded - due) / REMINDER_S == (now - due) / REMINDER_S))
        return;
    kw_service_tell(caretaker->service, "key \"%s\" expires soon, as its policy wants to be told",
                    stored->key->label);
    const struct kw_event event = {
        .event = "near-expiry", .key = stored->key->label, .detail = stored->version};
    kw_notify(caretaker->service, &event);
}

static void collect(struct caretaker *caretaker, int64_t now, struct due_list *list)
{
    size_t count = 0;
    const char *last = "";
    const struct kw_snapshot *snapshot = kw_store_enter(caretaker->service->store);
    const struct kw_stored *all = kw_store_all(snapshot, &count);
    list->names = calloc(count + 1, sizeof(*list->names));
    for (size_t i = 0; i < count && list->names; i++) {
        struct kw_rotation_due due;
        if (kw_stored_is_deleted(&all[i]) || strcasecmp(last, all[i].key->label) == 0)
            continue;
        last = all[i].key->label;
        kw_rotation_due(&all[i], &due);
        remind(caretaker, &all[i], due.notify, now);
        if (due.rotate && now >= due.rotate && may_rotate(caretaker, &all[i], now))
            (void)snprintf(list->names[list->count++], KW_NAME_MAX + 1, "%.*s", KW_NAME_MAX, last);
    }
    kw_store_leave(snapshot);
}

static void follow_policies(struct caretaker *caretaker)
{
    struct due_list list = {.names = NULL};
    int64_t now = (int64_t)time(NULL);
    collect(caretaker, now, &list);
    for (size_t i = 0; i < list.count; i++)
        rotate(caretaker, list.names[i]);
    free(list.names);
    caretaker->reminded = now;
    caretaker->policies_ms = kw_now_ms() + POLICIES_S * 1000;
}

/* ---- the trail ---- */

static void verify_trail(struct caretaker *caretaker)
{
    struct kw_service *service = caretaker->service;
    struct kw_keyring *keyring = kw_store_keyring(service->store);
    struct kw_trail_view view = {.when = time(NULL)};
    const struct kw_verify_options options = {.keys = NULL};
    struct kw_error err;
    char *dir = NULL;
    view.status = kw_trail_dir(kw_keyring_config(keyring), &dir, &err);
    if (!view.status)
        view.status =
            kw_trail_verify(kw_keyring_crypto(keyring), dir, &options, &view.verdict, &err);
    if (view.status)
        (void)snprintf(view.verdict.message, sizeof(view.verdict.message), "%s", err.message);
    free(dir);
    (void)pthread_mutex_lock(&service->lock);
    service->trail = view;
    (void)pthread_mutex_unlock(&service->lock);
    if (view.status || view.verdict.tamper != KW_GOOD)
        kw_service_tell(service, "the audit trail does not verify: %s", view.verdict.message);
    caretaker->verify_ms = kw_now_ms() + VERIFY_S * 1000;
}

/* ---- the thread ---- */

/* Until something is due, or a second is over. */
static bool wait_a_little(struct kw_service *service, bool *ret_reload)
{
    (void)pthread_mutex_lock(&service->lock);
    if (!service->reload && !atomic_load(&service->stopping))
        (void)kw_cond_wait_until(&service->wake, &service->lock, kw_now_ms() + 1000);
    *ret_reload = service->reload;
    service->reload = false;
    (void)pthread_mutex_unlock(&service->lock);
    return !atomic_load(&service->stopping);
}

static void *run(void *argument)
{
    struct caretaker caretaker = {.service = argument,
                                  .reminded = (int64_t)time(NULL) - REMINDER_S};
    bool wants_reload = false;
    look_at_token(&caretaker);
    while (wait_a_little(caretaker.service, &wants_reload)) {
        uint64_t now = kw_now_ms();
        if (wants_reload)
            reload(&caretaker);
        if (now >= caretaker.ping_ms)
            look_at_token(&caretaker);
        if (now >= caretaker.policies_ms && atomic_load(&caretaker.service->ready))
            follow_policies(&caretaker);
        if (now >= caretaker.verify_ms && caretaker.on_record)
            verify_trail(&caretaker);
        kw_denials_flush(caretaker.service);
        if (now >= caretaker.save_ms) {
            kw_save_usual(caretaker.service);
            caretaker.save_ms = now + SAVE_MS;
        }
    }
    while (caretaker.failing)
        forgive(&caretaker, caretaker.failing->name);
    kw_save_usual(caretaker.service);
    tell_warnings(caretaker.service);
    if (caretaker.on_record)
        note(&caretaker, "serve.stop");
    return NULL;
}

enum kw_status kw_caretaker_start(struct kw_service *service, struct kw_error *err)
{
    enum kw_status status = kw_thread_start(&service->caretaker, run, service, err);
    service->has_caretaker = status == KW_OK;
    return status;
}

void kw_caretaker_end(struct kw_service *service)
{
    if (!service->has_caretaker)
        return;
    (void)pthread_mutex_lock(&service->lock);
    (void)pthread_cond_signal(&service->wake);
    (void)pthread_mutex_unlock(&service->lock);
    (void)pthread_join(service->caretaker, NULL);
    service->has_caretaker = false;
}
