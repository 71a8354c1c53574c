/* anomaly: what is unusual about how a client unwraps with a key: anomaly.c. Learns from names and
 * times alone, and remembers them over a restart: anomaly_file.c. All may be called from any
 * thread.
 */
#ifndef KW_ANOMALY_H
#define KW_ANOMALY_H

#include "base/base.h"

/* Bits, so that a set of rules is their sum. */
enum kw_anomaly_rule {
    KW_ANOMALY_RATE = 1,   /* ten times as often in a minute as is usual, and 20 times at least */
    KW_ANOMALY_CLIENT = 2, /* a client that never used the key, which others used for a week */
    KW_ANOMALY_HOUR = 4,   /* an hour of the day (UTC) that is new after two weeks of learning, and
                              so are those next to it */
};
#define KW_ANOMALY_ALL ((unsigned)KW_ANOMALY_RATE | KW_ANOMALY_CLIENT | KW_ANOMALY_HOUR)
/* "rate" and so on. Static memory. */
const char *kw_anomaly_rule_name(enum kw_anomaly_rule rule);
/* The setting `anomalies`: "none", or names with "," between them; NULL is all of them. A name that
 * is not known counts as nothing, as the configuration has none. */
unsigned kw_anomaly_rules(const char *setting);

/* Pairs of a key and a client. Where there are more, those that were not used for longest are
 * forgotten, and are new when they come again. */
#define KW_ANOMALY_PAIRS_MAX 4096
struct kw_anomaly;
enum kw_status kw_anomaly_new(struct kw_anomaly **ret_anomaly, struct kw_error *err);
void kw_anomaly_free(struct kw_anomaly *anomaly);

struct kw_anomaly_event {
    unsigned rules; /* those that it is unusual by */
    uint64_t count; /* unwraps in this minute, with this one */
    double usual;   /* the mean of those in minutes that had any */
    unsigned hour;  /* of the day, UTC */
};
/* Takes note of one unwrap at `now`. True where it is unusual by one of `rules` (bits; the others
 * are learned too), but for the same rule, key and client once an hour at most. The clock may be
 * set: that alone is never unusual. Names of more than 127 bytes are passed over. */
bool kw_anomaly_note(struct kw_anomaly *anomaly, const char *key, const char *client,
                     unsigned rules, time_t now, struct kw_anomaly_event *ret_event);

/* Replaces the file in one step. KW_WRITE. */
enum kw_status kw_anomaly_save(struct kw_anomaly *anomaly, const char *path, struct kw_error *err);
/* To be called before anything is noted. A file that is not there is KW_OK. On failure nothing is
 * known, and all may go on without it: KW_CONFIG where the file is damaged, too large, or not only
 * its owner's to write; KW_READ. */
enum kw_status kw_anomaly_load(struct kw_anomaly *anomaly, const char *path, struct kw_error *err);
/* The same from memory, named `what` in errors. */
enum kw_status kw_anomaly_parse(struct kw_anomaly *anomaly, const char *text, size_t len,
                                const char *what, struct kw_error *err);

#endif
