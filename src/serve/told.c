/* Failures in the log: whoever causes one after the other shall not fill it. */
#include <stdarg.h>
#include <stdio.h>

#include "serve/internal.h"

static const struct kind {
    unsigned a_second;
    const char *what;
} kinds[KW_TELLS] = {
    [KW_TELL_REQUEST] = {10, "requests failed"},
    /* Anybody who gets through to the listener can have these. */
    [KW_TELL_CERTIFICATE] = {1, "certificates of clients did not hold"},
};

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

static void tell_left_out(struct kw_service *service, enum kw_tells kind, unsigned long long count)
{
    if (count > 0)
        kw_service_tell(service, "%llu more %s, too many at a time to say why", count,
                        kinds[kind].what);
}

void kw_service_tell_failure(struct kw_service *service, enum kw_tells kind, const char *format,
                             ...)
{
    char line[2 * KW_MESSAGE_SIZE];
    struct kw_told *told = &service->told[kind];
    (void)pthread_mutex_lock(&service->lock);
    unsigned long long left_out = begin_second(told);
    bool one_more = told->count < kinds[kind].a_second;
    if (one_more)
        told->count++;
    else
        told->left_out++;
    (void)pthread_mutex_unlock(&service->lock);
    tell_left_out(service, kind, left_out);
    if (!one_more)
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    kw_service_tell(service, "%s", line);
}

void kw_service_tell_left_out(struct kw_service *service)
{
    for (enum kw_tells kind = 0; kind < KW_TELLS; kind++) {
        (void)pthread_mutex_lock(&service->lock);
        unsigned long long left_out = begin_second(&service->told[kind]);
        (void)pthread_mutex_unlock(&service->lock);
        tell_left_out(service, kind, left_out);
    }
}
