/* How often a client may ask: a bucket that fills at its rate, and holds its burst at most. */
#include "serve/access_parts.h"

#define ONE_REQUEST     1000U
#define DEFAULT_RATE    1000
#define BURST_OF_A_RATE 2 /* seconds' worth */

void kw_bucket_init(struct kw_bucket *bucket, long rate, long burst, uint64_t now_ms)
{
    bucket->rate = rate > 0 ? (uint64_t)rate : DEFAULT_RATE;
    bucket->burst = burst > 0 ? (uint64_t)burst : bucket->rate * BURST_OF_A_RATE;
    bucket->level = bucket->burst * ONE_REQUEST;
    bucket->at_ms = now_ms;
}

/* A thousandth of a request comes back each millisecond, times the rate. */
static void refill(struct kw_bucket *bucket, uint64_t now_ms)
{
    uint64_t full = bucket->burst * ONE_REQUEST;
    uint64_t elapsed = now_ms > bucket->at_ms ? now_ms - bucket->at_ms : 0;
    uint64_t missing = full - bucket->level;
    if (elapsed > missing / bucket->rate)
        bucket->level = full;
    else
        bucket->level += elapsed * bucket->rate;
    bucket->at_ms += elapsed;
}

bool kw_bucket_take(struct kw_bucket *bucket, uint64_t now_ms, unsigned *ret_retry_s)
{
    refill(bucket, now_ms);
    if (bucket->level >= ONE_REQUEST) {
        bucket->level -= ONE_REQUEST;
        return true;
    }
    uint64_t wait_ms = (ONE_REQUEST - bucket->level + bucket->rate - 1) / bucket->rate;
    *ret_retry_s = (unsigned)((wait_ms + 999) / 1000);
    return false;
}
