/* metrics: what was asked for, by whom, with what result and in what time; as Prometheus's text.
 * All may be called from any thread. */
#ifndef KW_METRICS_H
#define KW_METRICS_H

#include "base/base.h"

struct kw_metrics;
enum kw_status kw_metrics_new(struct kw_metrics **ret_metrics, struct kw_error *err);
void kw_metrics_free(struct kw_metrics *metrics);

/* One request that was answered. Texts are static memory or copied; a client that is not known is
 * "". `op` is one of the routes'. */
struct kw_request_note {
    const char *api, *op, *client;
    char id[37];
    char key[128];
    int status;
    time_t when;
    uint64_t microseconds;
};
void kw_metrics_request(struct kw_metrics *metrics, const struct kw_request_note *note);
void kw_metrics_anomaly(struct kw_metrics *metrics, const char *rule);
/* The last ones, the newest first; returns how many. */
#define KW_LAST_REQUESTS 50
size_t kw_metrics_last(struct kw_metrics *metrics, struct kw_request_note notes[KW_LAST_REQUESTS]);

/* Appends what was counted, in the text format 0.0.4. */
enum kw_status kw_metrics_write(struct kw_metrics *metrics, struct kw_buffer *text,
                                struct kw_error *err);
/* One more figure: `labels` is "" or {NAME="VALUE"} with values that need no escaping. */
enum kw_status kw_metrics_figure(struct kw_buffer *text, const char *name, const char *type,
                                 const char *help, const char *labels, double value,
                                 struct kw_error *err);

#endif
