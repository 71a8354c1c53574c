/* Counting what was asked for. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/metrics.h"

/* Labels come from the configuration and from tables, so there are few; what is over is counted
 * under the last one. */
#define COUNTERS_MAX 4096
#define CLIENT_SIZE  64
#define BUCKETS      12

static const double bounds[BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                       0.1,   0.25,   0.5,   1,    2.5,   10};

struct counter {
    char api[16], op[24], client[CLIENT_SIZE];
    int status;
    uint64_t count;
};
struct histogram {
    char api[16], op[24];
    uint64_t counts[BUCKETS + 1];
    double sum;
};
#define HISTOGRAMS_MAX 64
#define RULES_MAX      8
struct kw_metrics {
    pthread_mutex_t lock;
    struct counter *counters;
    size_t counter_count;
    struct histogram histograms[HISTOGRAMS_MAX];
    size_t histogram_count;
    struct {
        char rule[24];
        uint64_t count;
    } anomalies[RULES_MAX];
    size_t anomaly_count;
    struct kw_request_note last[KW_LAST_REQUESTS]; /* a ring */
    size_t next, noted;
};

enum kw_status kw_metrics_new(struct kw_metrics **ret_metrics, struct kw_error *err)
{
    struct kw_metrics *metrics = calloc(1, sizeof(*metrics));
    if (metrics)
        metrics->counters = calloc(COUNTERS_MAX, sizeof(*metrics->counters));
    if (!metrics || !metrics->counters || pthread_mutex_init(&metrics->lock, NULL) != 0) {
        if (metrics)
            free(metrics->counters);
        free(metrics);
        return kw_fail_memory(err);
    }
    *ret_metrics = metrics;
    return KW_OK;
}

void kw_metrics_free(struct kw_metrics *metrics)
{
    if (!metrics)
        return;
    (void)pthread_mutex_destroy(&metrics->lock);
    free(metrics->counters);
    free(metrics);
}

/* ---- counting ---- */

/* A label's value: what would have to be escaped in it is "_". */
static void copy_label(char *out, size_t size, const char *text)
{
    size_t i = 0;
    for (; text[i] && i + 1 < size; i++)
        out[i] =
            text[i] < ' ' || text[i] == '"' || text[i] == '\\' || text[i] == 0x7f ? '_' : text[i];
    out[i] = '\0';
}

static struct counter *counter_of(struct kw_metrics *metrics, const struct kw_request_note *note)
{
    struct counter wanted = {.status = note->status};
    copy_label(wanted.api, sizeof(wanted.api), note->api);
    copy_label(wanted.op, sizeof(wanted.op), note->op);
    copy_label(wanted.client, sizeof(wanted.client), note->client);
    for (size_t i = 0; i < metrics->counter_count; i++) {
        struct counter *counter = &metrics->counters[i];
        if (counter->status == wanted.status && strcmp(counter->op, wanted.op) == 0 &&
            strcmp(counter->client, wanted.client) == 0 && strcmp(counter->api, wanted.api) == 0)
            return counter;
    }
    if (metrics->counter_count == COUNTERS_MAX)
        return &metrics->counters[COUNTERS_MAX - 1];
    metrics->counters[metrics->counter_count] = wanted;
    return &metrics->counters[metrics->counter_count++];
}

static struct histogram *histogram_of(struct kw_metrics *metrics,
                                      const struct kw_request_note *note)
{
    for (size_t i = 0; i < metrics->histogram_count; i++)
        if (strcmp(metrics->histograms[i].op, note->op) == 0 &&
            strcmp(metrics->histograms[i].api, note->api) == 0)
            return &metrics->histograms[i];
    if (metrics->histogram_count == HISTOGRAMS_MAX)
        return &metrics->histograms[HISTOGRAMS_MAX - 1];
    struct histogram *histogram = &metrics->histograms[metrics->histogram_count++];
    copy_label(histogram->api, sizeof(histogram->api), note->api);
    copy_label(histogram->op, sizeof(histogram->op), note->op);
    return histogram;
}

void kw_metrics_request(struct kw_metrics *metrics, const struct kw_request_note *note)
{
    double seconds = (double)note->microseconds / 1e6;
    size_t bucket = 0;
    while (bucket < BUCKETS && seconds > bounds[bucket])
        bucket++;
    (void)pthread_mutex_lock(&metrics->lock);
    counter_of(metrics, note)->count++;
    struct histogram *histogram = histogram_of(metrics, note);
    histogram->counts[bucket]++;
    histogram->sum += seconds;
    metrics->last[metrics->next] = *note;
    metrics->next = (metrics->next + 1) % KW_LAST_REQUESTS;
    metrics->noted += metrics->noted < KW_LAST_REQUESTS;
    (void)pthread_mutex_unlock(&metrics->lock);
}

void kw_metrics_anomaly(struct kw_metrics *metrics, const char *rule)
{
    size_t i = 0;
    (void)pthread_mutex_lock(&metrics->lock);
    while (i < metrics->anomaly_count && strcmp(metrics->anomalies[i].rule, rule) != 0)
        i++;
    if (i == metrics->anomaly_count && i < RULES_MAX)
        copy_label(metrics->anomalies[metrics->anomaly_count++].rule,
                   sizeof(metrics->anomalies[0].rule), rule);
    if (i < metrics->anomaly_count)
        metrics->anomalies[i].count++;
    (void)pthread_mutex_unlock(&metrics->lock);
}

size_t kw_metrics_last(struct kw_metrics *metrics, struct kw_request_note notes[KW_LAST_REQUESTS])
{
    (void)pthread_mutex_lock(&metrics->lock);
    size_t count = metrics->noted;
    for (size_t i = 0; i < count; i++)
        notes[i] = metrics->last[(metrics->next + KW_LAST_REQUESTS - 1 - i) % KW_LAST_REQUESTS];
    (void)pthread_mutex_unlock(&metrics->lock);
    return count;
}

/* ---- Prometheus's text format ---- */

static enum kw_status write_head(struct kw_buffer *text, const char *name, const char *type,
                                 const char *help, struct kw_error *err)
{
    return kw_buffer_printf(text, err, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static enum kw_status write_counters(const struct kw_metrics *metrics, struct kw_buffer *text,
                                     struct kw_error *err)
{
    enum kw_status status =
        write_head(text, "keyward_requests_total", "counter", "Requests that were answered.", err);
    for (size_t i = 0; i < metrics->counter_count && !status; i++) {
        const struct counter *counter = &metrics->counters[i];
        status = kw_buffer_printf(text, err,
                                  "keyward_requests_total{api=\"%s\",operation=\"%s\",client=\"%"
                                  "s\",status=\"%d\"} %llu\n",
                                  counter->api, counter->op, counter->client, counter->status,
                                  (unsigned long long)counter->count);
    }
    if (!status)
        status = write_head(text, "keyward_anomalies_total", "counter",
                            "Unusual uses of keys that were noticed, by rule.", err);
    for (size_t i = 0; i < metrics->anomaly_count && !status; i++)
        status = kw_buffer_printf(text, err, "keyward_anomalies_total{rule=\"%s\"} %llu\n",
                                  metrics->anomalies[i].rule,
                                  (unsigned long long)metrics->anomalies[i].count);
    return status;
}

static enum kw_status write_histogram(const struct histogram *histogram, struct kw_buffer *text,
                                      struct kw_error *err)
{
    static const char name[] = "keyward_request_seconds";
    uint64_t count = 0;
    enum kw_status status = KW_OK;
    for (size_t i = 0; i <= BUCKETS && !status; i++) {
        char bound[32] = "+Inf";
        count += histogram->counts[i];
        if (i < BUCKETS)
            (void)snprintf(bound, sizeof(bound), "%g", bounds[i]);
        status =
            kw_buffer_printf(text, err, "%s_bucket{api=\"%s\",operation=\"%s\",le=\"%s\"} %llu\n",
                             name, histogram->api, histogram->op, bound, (unsigned long long)count);
    }
    if (!status)
        status = kw_buffer_printf(text, err,
                                  "%s_sum{api=\"%s\",operation=\"%s\"} %g\n"
                                  "%s_count{api=\"%s\",operation=\"%s\"} %llu\n",
                                  name, histogram->api, histogram->op, histogram->sum, name,
                                  histogram->api, histogram->op, (unsigned long long)count);
    return status;
}

enum kw_status kw_metrics_write(struct kw_metrics *metrics, struct kw_buffer *text,
                                struct kw_error *err)
{
    (void)pthread_mutex_lock(&metrics->lock);
    enum kw_status status = write_counters(metrics, text, err);
    if (!status)
        status = write_head(text, "keyward_request_seconds", "histogram",
                            "Time from a request's last byte to its answer.", err);
    for (size_t i = 0; i < metrics->histogram_count && !status; i++)
        status = write_histogram(&metrics->histograms[i], text, err);
    (void)pthread_mutex_unlock(&metrics->lock);
    return status;
}

enum kw_status kw_metrics_figure(struct kw_buffer *text, const char *name, const char *type,
                                 const char *help, const char *labels, double value,
                                 struct kw_error *err)
{
    enum kw_status status = help ? write_head(text, name, type, help, err) : KW_OK;
    return status ? status : kw_buffer_printf(text, err, "%s%s %.17g\n", name, labels, value);
}
