/* duration: ISO 8601 durations, as rotation policies have them. */
#ifndef KW_DURATION_H
#define KW_DURATION_H

#include "base/base.h"

struct kw_duration {
    unsigned months, days;
    uint32_t seconds;
};
/* "P1Y2M", "P30D", "P2W", "PT12H": at most 100 years of each part. False for anything else, what is
 * nothing at all, and NULL. */
bool kw_duration_parse(const char *text, struct kw_duration *ret_duration);
/* `from`, in unix time, and so much later (sign 1) or earlier (-1). The last day of a month stands
 * for days that it does not have. */
int64_t kw_duration_shift(int64_t from, const struct kw_duration *duration, int sign);

#endif
