/* Fuzzes the file of what is usual, and goes on to use what it says. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "serve/anomaly_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was loaded can be used, at any time. */
static void use(struct kw_anomaly *anomaly)
{
    static const int64_t times[] = {0, 1, 1800000000, INT64_MAX, 1800000000};
    struct kw_anomaly_event event;
    for (size_t i = 0; i < KW_COUNT(times); i++)
        (void)kw_anomaly_note(anomaly, "k", "c", KW_ANOMALY_ALL, times[i], &event);
    const struct kw_anomaly_pair *pair = kw_anomaly_find(anomaly, "k", "c");
    if (!pair || !isfinite(pair->mean) || pair->mean < 0 || pair != anomaly->newest)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kw_anomaly *anomaly;
    if (!anomaly && kw_anomaly_new(&anomaly, NULL) != KW_OK)
        abort();
    struct kw_error err = {.status = KW_OK};
    kw_anomaly_clear(anomaly);
    enum kw_status status = kw_anomaly_parse(anomaly, (const char *)data, size, "file", &err);
    if (status != KW_OK && (status != KW_CONFIG || err.status != status || anomaly->count != 0))
        abort();
    use(anomaly);
    return 0;
}
