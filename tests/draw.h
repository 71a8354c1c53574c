/* Random sizes and bytes for tests, drawn from a seed that is printed: KW_TEST_SEED gives it again.
 */
#ifndef KW_TEST_DRAW_H
#define KW_TEST_DRAW_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

struct draw {
    uint64_t state;
};

static inline struct draw draw_start(void)
{
    const char *given = getenv("KW_TEST_SEED");
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec;
    print_message("KW_TEST_SEED=%llu\n", (unsigned long long)seed);
    return (struct draw){.state = seed};
}

/* SplitMix64. */
static inline uint64_t draw_bits(struct draw *draw)
{
    uint64_t bits = draw->state += 0x9E3779B97F4A7C15;
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9;
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB;
    return bits ^ (bits >> 31);
}

static inline size_t draw_size(struct draw *draw, size_t least, size_t most)
{
    return least + (size_t)(draw_bits(draw) % (most - least + 1));
}

static inline void draw_bytes(struct draw *draw, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)draw_bits(draw);
}

#endif
