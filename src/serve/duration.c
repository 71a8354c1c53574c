/* ISO 8601 durations, in calendar time of UTC. */
#include <string.h>

#include "serve/duration.h"

#define NUMBER_DIGITS_MAX 6
#define DAYS_MAX          36500
#define SECONDS_A_DAY     86400

struct unit {
    char letter;
    unsigned months, days, seconds;
};
static const struct unit dates[] = {
    {'Y', 12, 0, 0}, {'M', 1, 0, 0}, {'W', 0, 7, 0}, {'D', 0, 1, 0}};
static const struct unit times[] = {{'H', 0, 0, 3600}, {'M', 0, 0, 60}, {'S', 0, 0, 1}};

/* Numbers with units, each unit at most once and in their order. */
static bool take_parts(const char **text, const struct unit *units, size_t count,
                       struct kw_duration *duration, bool *ret_some)
{
    size_t next = 0;
    while (**text >= '0' && **text <= '9') {
        uint32_t number = 0;
        size_t digits = 0;
        for (; **text >= '0' && **text <= '9'; (*text)++) {
            if (++digits > NUMBER_DIGITS_MAX)
                return false;
            number = number * 10 + (uint32_t)(**text - '0');
        }
        while (next < count && units[next].letter != **text)
            next++;
        if (next == count || number > DAYS_MAX)
            return false;
        duration->months += number * units[next].months;
        duration->days += number * units[next].days;
        duration->seconds += number * units[next].seconds;
        *ret_some = true;
        next++;
        (*text)++;
    }
    return true;
}

bool kw_duration_parse(const char *text, struct kw_duration *ret_duration)
{
    struct kw_duration duration = {.months = 0};
    bool some = false, some_time = false;
    if (!text || *text++ != 'P' || !take_parts(&text, dates, KW_COUNT(dates), &duration, &some))
        return false;
    if (*text == 'T') {
        text++;
        if (!take_parts(&text, times, KW_COUNT(times), &duration, &some_time) || !some_time)
            return false;
    }
    bool nothing = duration.months == 0 && duration.days == 0 && duration.seconds == 0;
    if (*text != '\0' || nothing || duration.months > 1200 || duration.days > DAYS_MAX)
        return false;
    *ret_duration = duration;
    return true;
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month] + (month == 1 && leap);
}

int64_t kw_duration_shift(int64_t from, const struct kw_duration *duration, int sign)
{
    time_t start = (time_t)from;
    struct tm tm;
    if (!gmtime_r(&start, &tm))
        return from;
    int month = tm.tm_year * 12 + tm.tm_mon + sign * (int)duration->months;
    tm.tm_year = month >= 0 ? month / 12 : (month - 11) / 12;
    tm.tm_mon = month - tm.tm_year * 12;
    int last = days_of_month(tm.tm_year + 1900, tm.tm_mon);
    if (tm.tm_mday > last)
        tm.tm_mday = last;
    return (int64_t)timegm(&tm) +
           sign * ((int64_t)duration->days * SECONDS_A_DAY + (int64_t)duration->seconds);
}
