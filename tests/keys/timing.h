/* Whether two classes of input take equally long: Welch's t-test over times that were measured in
 * turn at random, as Reparaz, Balasch and Verbauwhede describe it ("dude, is my code constant
 * time?", 2017). */
#ifndef KW_TEST_TIMING_H
#define KW_TEST_TIMING_H

#include <stddef.h>
#include <stdint.h>

/* |t| of two classes that take equally long stays below 4.5 but for one run in a hundred thousand;
 * above 10 there is no doubt. */
#define TIMING_SUSPECT 4.5
#define TIMING_LEAK    10.0

#define TIMING_CLASSES_MAX 8

/* The times of all classes, in nanoseconds; of each at most `room`. */
struct timing {
    size_t classes;
    size_t room;
    double *times[TIMING_CLASSES_MAX];
    size_t counts[TIMING_CLASSES_MAX];
};
void timing_start(struct timing *timing, size_t classes, size_t room);
void timing_free(struct timing *timing);
void timing_add(struct timing *timing, size_t class, double ns);
/* The largest |t| of a class against class 0, with all times and with the slowest left out (what
 * other processes do is in those). *ret_difference is that of their medians, in nanoseconds. */
double timing_compare(const struct timing *timing, size_t class, double *ret_difference);

double timing_now(void);
/* One of `count`, by a generator whose seed is always the same. */
size_t timing_choose(size_t count);

#endif
