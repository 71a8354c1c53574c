/* Loaded before the C library (LD_PRELOAD): a wall clock that jumps.
 *
 * KW_CLOCK is a list of seconds, such as "0,-900000000,2000000000": the first time that somebody
 * asks for the time it is wrong by the first of them, then by the second, and so on, and from the
 * start again. The monotonic clock never jumps, and does not here. */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define JUMPS_MAX 16

static long next_jump(void)
{
    static atomic_ulong asked;
    long jumps[JUMPS_MAX] = {0};
    unsigned long count = 0;
    const char *at = getenv("KW_CLOCK");
    char *end = NULL;
    while (at && *at && count < JUMPS_MAX) {
        jumps[count++] = strtol(at, &end, 10);
        at = *end ? end + 1 : end;
    }
    return count ? jumps[atomic_fetch_add(&asked, 1) % count] : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && result == 0)
        now->tv_sec += next_jump();
    return result;
}

time_t time(time_t *now)
{
    struct timespec exact = {0, 0};
    (void)clock_gettime(CLOCK_REALTIME, &exact);
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact = {0, 0};
    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
