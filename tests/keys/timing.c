/* Statistics of times. */
#include "timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FEWEST 50 /* times of a class, below which a t says nothing */

/* How much of the times, the shortest first, is looked at. */
static const double parts[] = {1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5, 0.3};

void timing_start(struct timing *timing, size_t classes, size_t room)
{
    memset(timing, 0, sizeof(*timing));
    timing->classes = classes;
    timing->room = room;
    for (size_t i = 0; i < classes; i++)
        if (!(timing->times[i] = calloc(room, sizeof(double))))
            abort();
}

void timing_free(struct timing *timing)
{
    for (size_t i = 0; i < timing->classes; i++)
        free(timing->times[i]);
}

void timing_add(struct timing *timing, size_t class, double ns)
{
    if (timing->counts[class] < timing->room)
        timing->times[class][timing->counts[class]++] = ns;
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

struct moments {
    double count, mean, variance;
};

static struct moments moments_below(const double *times, size_t count, double limit)
{
    struct moments m = {0, 0, 0};
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        if (times[i] > limit)
            continue;
        double from_mean = times[i] - m.mean;
        m.count++;
        m.mean += from_mean / m.count;
        squares += from_mean * (times[i] - m.mean);
    }
    m.variance = m.count > 1 ? squares / (m.count - 1) : 0;
    return m;
}

static double welch(const struct moments *a, const struct moments *b)
{
    double spread = a->variance / a->count + b->variance / b->count;
    return spread > 0 ? fabs(a->mean - b->mean) / sqrt(spread) : 0;
}

static double *sorted(const double *a, size_t a_count, const double *b, size_t b_count)
{
    double *all = calloc(a_count + b_count + 1, sizeof(double));
    if (!all)
        abort();
    memcpy(all, a, a_count * sizeof(double));
    if (b_count > 0)
        memcpy(all + a_count, b, b_count * sizeof(double));
    qsort(all, a_count + b_count, sizeof(double), by_size);
    return all;
}

static double median(const double *times, size_t count)
{
    double *all = sorted(times, count, NULL, 0);
    double middle = all[count / 2];
    free(all);
    return middle;
}

double timing_compare(const struct timing *timing, size_t class, double *ret_difference)
{
    const double *a = timing->times[0], *b = timing->times[class];
    size_t a_count = timing->counts[0], b_count = timing->counts[class];
    double *all = sorted(a, a_count, b, b_count);
    double largest = 0;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        double limit = all[(size_t)((double)(a_count + b_count - 1) * parts[i])];
        struct moments left = moments_below(a, a_count, limit);
        struct moments right = moments_below(b, b_count, limit);
        if (left.count < FEWEST || right.count < FEWEST)
            continue;
        largest = fmax(largest, welch(&left, &right));
    }
    free(all);
    *ret_difference = median(b, b_count) - median(a, a_count);
    return largest;
}

double timing_now(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        abort();
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

size_t timing_choose(size_t count)
{
    static uint64_t state = 0x9E3779B97F4A7C15;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state >> 16) % count;
}
