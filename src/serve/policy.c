/* What a reload replaces: who may do what, and settings. */
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"

enum kw_status kw_policy_load(struct kw_crypto *crypto, const char *config_file,
                              struct kw_policy **ret_policy, struct kw_error *err)
{
    struct kw_policy *policy = calloc(1, sizeof(*policy));
    if (!policy)
        return kw_fail_memory(err);
    atomic_init(&policy->users, 1);
    enum kw_status status = kw_config_load(&policy->config, config_file, err);
    if (!status && crypto)
        status = kw_access_new(crypto, &policy->config, &policy->access, err);
    if (status) {
        kw_policy_leave(policy);
        return status;
    }
    *ret_policy = policy;
    return KW_OK;
}

enum kw_status kw_policy_reserve(struct kw_service *service, const struct kw_policy *policy,
                                 struct kw_error *err)
{
    const struct kw_config *config = &policy->config;
    const char *kek = config->service.backup_kek;
    enum kw_status status = kek ? kw_store_reserve(service->store, kek, err) : KW_OK;
    for (size_t i = 0; i < config->listener_count && !status; i++) {
        const char *key = config->listeners[i].key;
        if (key && kw_is_uri(key))
            status = kw_store_reserve(service->store, key, err);
    }
    return status;
}

void kw_policy_leave(struct kw_policy *policy)
{
    if (!policy || atomic_fetch_sub(&policy->users, 1) > 1)
        return;
    kw_access_free(policy->access);
    kw_tls_keys_free(policy);
    kw_config_cleanup(&policy->config);
    free(policy);
}

struct kw_policy *kw_policy_of(struct kw_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    struct kw_policy *policy = service->policy;
    atomic_fetch_add(&policy->users, 1);
    (void)pthread_mutex_unlock(&service->lock);
    return policy;
}

void kw_policy_replace(struct kw_service *service, struct kw_policy *policy)
{
    (void)pthread_mutex_lock(&service->lock);
    struct kw_policy *old = service->policy;
    service->policy = policy;
    (void)pthread_mutex_unlock(&service->lock);
    kw_policy_leave(old);
}
