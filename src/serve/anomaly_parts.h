/* anomaly_parts: what is known of each pair, for anomaly.c and anomaly_file.c alone. */
#ifndef KW_ANOMALY_PARTS_H
#define KW_ANOMALY_PARTS_H

#include "serve/anomaly.h"

#define KW_ANOMALY_NAME_SIZE   128
#define KW_ANOMALY_RULES       3
#define KW_ANOMALY_MINUTES_MAX 4096 /* that the mean is over: days of them */
#define KW_ANOMALY_HOURS       24

struct kw_anomaly_pair {
    char key[KW_ANOMALY_NAME_SIZE], client[KW_ANOMALY_NAME_SIZE];
    /* What was learned, and is saved: */
    int64_t last_s;     /* when it was used last */
    uint64_t learned_s; /* for how long it is known */
    uint32_t minutes;   /* with at least one unwrap, up to the limit */
    double mean;        /* of their unwraps; later ones weigh more */
    uint32_t hours;     /* a bit for each hour of the day with any */
    /* And what is not: */
    int64_t minute; /* since the epoch */
    uint64_t count; /* of it */
    int64_t event_s[KW_ANOMALY_RULES];
    bool had_event[KW_ANOMALY_RULES];
    struct kw_anomaly_pair *next;          /* of the same hash */
    struct kw_anomaly_pair *older, *newer; /* by last use */
};

struct kw_anomaly {
    pthread_mutex_t lock;
    size_t count;
    struct kw_anomaly_pair *oldest, *newest;
    struct kw_anomaly_pair *hashes[KW_ANOMALY_PAIRS_MAX];
    struct kw_anomaly_pair pairs[KW_ANOMALY_PAIRS_MAX];
};

/* Under the lock. NULL where there is none. */
struct kw_anomaly_pair *kw_anomaly_find(struct kw_anomaly *anomaly, const char *key,
                                        const char *client);
/* Under the lock: a pair that is not there yet, zeroed but for its names, as the newest one. The
 * names have fewer than KW_ANOMALY_NAME_SIZE bytes. */
struct kw_anomaly_pair *kw_anomaly_add(struct kw_anomaly *anomaly, const char *key,
                                       const char *client);
/* Forgets all. */
void kw_anomaly_clear(struct kw_anomaly *anomaly);

#endif
