/* Listeners whose private key is on the token. It is reached when the process is confined, and so
 * after the listeners were opened. */
#include <stdio.h>
#include <stdlib.h>

#include "serve/internal.h"

static bool is_on_token(const struct kw_config_listener *listener)
{
    return listener->certificate && listener->key && kw_is_uri(listener->key);
}

/* That a key is not there, or is not one, is the configuration's fault, not a client's. */
static enum kw_status blame_configuration(const struct kw_config_listener *listener,
                                          enum kw_status status, struct kw_error *err)
{
    char why[KW_MESSAGE_SIZE];
    if (status != KW_CONFIG && status != KW_KEY_NOT_FOUND && status != KW_KEY_AMBIGUOUS &&
        status != KW_KEY_UNUSABLE)
        return status;
    (void)snprintf(why, sizeof(why), "%s", err->message);
    return kw_fail(err, KW_CONFIG, "[listener %s] key: %s", listener->name, why);
}

static enum kw_status find_key(struct kw_service *service,
                               const struct kw_config_listener *listener,
                               struct evp_pkey_st **ret_key, struct kw_error *err)
{
    char client[KW_HOST_SIZE];
    struct kw_error failure;
    (void)snprintf(client, sizeof(client), "listener %.64s", listener->name);
    const struct kw_purpose purpose = {.client = client};
    enum kw_status status =
        kw_store_tls_key(service->store, listener->key, &purpose, ret_key, &failure);
    if (!status)
        return KW_OK;
    status = blame_configuration(listener, status, &failure);
    if (err)
        *err = failure;
    return status;
}

static enum kw_status make_room(struct kw_policy *policy, struct kw_error *err)
{
    policy->tls_keys = calloc(policy->config.listener_count + 1, sizeof(*policy->tls_keys));
    return policy->tls_keys ? KW_OK : kw_fail_memory(err);
}

void kw_tls_keys_free(struct kw_policy *policy)
{
    for (size_t i = 0; i < policy->config.listener_count && policy->tls_keys; i++)
        kw_private_key_free(policy->tls_keys[i]);
    free(policy->tls_keys);
}

static enum kw_status give(struct kw_service *service, const struct kw_policy *policy, size_t i,
                           struct kw_error *err)
{
    const struct kw_config_listener *listener = &policy->config.listeners[i];
    struct kw_http_tls tls;
    enum kw_status status = kw_listener_tls(listener, &tls, err);
    if (status)
        return status;
    tls.private_key = policy->tls_keys ? policy->tls_keys[i] : NULL;
    return kw_http_reload(service->http, listener->name, &tls, err);
}

bool kw_tls_keys_are_there(const struct kw_policy *policy)
{
    bool some = false;
    for (size_t i = 0; i < policy->config.listener_count && policy->tls_keys; i++)
        some |= policy->tls_keys[i] != NULL;
    return some;
}

enum kw_status kw_tls_keys_begin(struct kw_service *service, struct kw_error *err)
{
    struct kw_policy *policy = service->policy;
    enum kw_status status = make_room(policy, err);
    for (size_t i = 0; i < policy->config.listener_count && !status; i++) {
        const struct kw_config_listener *listener = &policy->config.listeners[i];
        if (is_on_token(listener) &&
            !(status = find_key(service, listener, &policy->tls_keys[i], err)))
            status = give(service, policy, i, err);
    }
    return status;
}

static void tell_old(struct kw_service *service, const char *listener, const struct kw_error *err)
{
    kw_service_tell(service, "[listener %s] goes on with its old certificate: %s", listener,
                    err->message);
}

void kw_tls_keys_find(struct kw_service *service, struct kw_policy *policy)
{
    struct kw_error err;
    if (make_room(policy, NULL))
        return;
    for (size_t i = 0; i < policy->config.listener_count; i++) {
        const struct kw_config_listener *listener = &policy->config.listeners[i];
        if (is_on_token(listener) && find_key(service, listener, &policy->tls_keys[i], &err))
            tell_old(service, listener->name, &err);
    }
}

void kw_replace_certificates(struct kw_service *service)
{
    struct kw_policy *policy = kw_policy_of(service);
    for (size_t i = 0; i < policy->config.listener_count; i++) {
        const struct kw_config_listener *listener = &policy->config.listeners[i];
        struct kw_error err;
        bool missing = is_on_token(listener) && !(policy->tls_keys && policy->tls_keys[i]);
        if (!listener->certificate || missing)
            continue;
        if (give(service, policy, i, &err))
            tell_old(service, listener->name, &err);
        else
            kw_service_tell(service, "[listener %s] has its certificate read anew", listener->name);
    }
    kw_policy_leave(policy);
}
