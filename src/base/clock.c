/* Time. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"

/* 0000-01-01 and 9999-12-31: what four digits of a year can say. */
#define FIRST_SECOND ((time_t)-62167219200)
#define LAST_SECOND  ((time_t)253402300799)

uint64_t kw_now_us(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        return 0; /* Linux always has this clock */
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t kw_now_ms(void)
{
    return kw_now_us() / 1000;
}

void kw_timestamp(time_t when, char out[KW_TIMESTAMP_SIZE])
{
    if (when < FIRST_SECOND)
        when = FIRST_SECOND;
    if (when > LAST_SECOND)
        when = LAST_SECOND;
    struct tm utc;
    memset(&utc, 0, sizeof(utc));
    (void)gmtime_r(&when, &utc); /* fails only for years outside of the range above */
    (void)strftime(out, KW_TIMESTAMP_SIZE, "0000-%m-%dT%H:%M:%SZ", &utc);
    unsigned year = (unsigned)(utc.tm_year + 1900);
    for (size_t i = 4; i-- > 0; year /= 10)
        out[i] = (char)('0' + year % 10);
}
