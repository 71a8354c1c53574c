/* Failed requests in the log: whoever makes one after the other fail shall not fill it. */
#include "serve/internal.h"

#define FAILURES_A_SECOND 10

/* How many were left out before this second. With the lock. */
static unsigned long long begin_second(struct kw_told *told)
{
    uint64_t second = kw_now_ms() / 1000;
    unsigned long long left_out = 0;
    if (told->second != second) {
        left_out = told->left_out;
        *told = (struct kw_told){.second = second};
    }
    return left_out;
}

static void tell_left_out(struct kw_service *service, unsigned long long count)
{
    if (count > 0)
        kw_service_tell(service, "%llu more requests failed, too many at a time to say why", count);
}

void kw_service_tell_failure(struct kw_service *service, const char *request, const char *why)
{
    struct kw_told *told = &service->told;
    (void)pthread_mutex_lock(&service->lock);
    unsigned long long left_out = begin_second(told);
    bool one_more = told->count < FAILURES_A_SECOND;
    if (one_more)
        told->count++;
    else
        told->left_out++;
    (void)pthread_mutex_unlock(&service->lock);
    tell_left_out(service, left_out);
    if (one_more)
        kw_service_tell(service, "request %s: %s", request, why);
}

void kw_service_tell_left_out(struct kw_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    unsigned long long left_out = begin_second(&service->told);
    (void)pthread_mutex_unlock(&service->lock);
    tell_left_out(service, left_out);
}
