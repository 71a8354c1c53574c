/* What is usual for a pair of a key and a client, and what is not. */
#include "serve/anomaly.h"

#include <stdlib.h>
#include <string.h>

#include "serve/anomaly_parts.h"

#define MINUTE_S    60
#define HOUR_S      3600
#define DAY_S       86400
#define GAP_MAX_S   ((int64_t)7 * DAY_S) /* that counts as learning: a clock may leap by years */
#define TIMES_USUAL 10
#define RATE_LEAST  20

/* ---- rules ---- */

struct occasion {
    const struct kw_anomaly_pair *pair;
    unsigned hour;
    bool is_new;            /* the pair */
    uint64_t key_learned_s; /* how long others of the key are known, where the pair is new */
};

static bool is_fast(const struct occasion *now)
{
    double usual = now->pair->mean * TIMES_USUAL;
    return now->pair->count >= RATE_LEAST && (double)now->pair->count >= usual;
}

static bool is_new_client(const struct occasion *now)
{
    return now->is_new;
}

/* An hour next to one that is known is not new: jobs drift, and there is summer time. */
static bool is_new_hour(const struct occasion *now)
{
    for (unsigned step = KW_ANOMALY_HOURS - 1; step <= KW_ANOMALY_HOURS + 1; step++)
        if ((now->pair->hours >> (now->hour + step) % KW_ANOMALY_HOURS & 1) != 0)
            return false;
    return true;
}

static const struct {
    enum kw_anomaly_rule rule;
    const char *name;
    uint64_t learn_s; /* how long the pair must be known, or the key where the pair is new */
    bool (*is_unusual)(const struct occasion *now);
} all_rules[KW_ANOMALY_RULES] = {
    {KW_ANOMALY_RATE, "rate", DAY_S, is_fast},
    {KW_ANOMALY_CLIENT, "client", (uint64_t)7 * DAY_S, is_new_client},
    {KW_ANOMALY_HOUR, "hour", (uint64_t)14 * DAY_S, is_new_hour},
};

const char *kw_anomaly_rule_name(enum kw_anomaly_rule rule)
{
    for (size_t i = 0; i < KW_COUNT(all_rules); i++)
        if (all_rules[i].rule == rule)
            return all_rules[i].name;
    return "";
}

static unsigned rule_named(const char *name, size_t len)
{
    for (size_t i = 0; i < KW_COUNT(all_rules); i++)
        if (strlen(all_rules[i].name) == len && memcmp(all_rules[i].name, name, len) == 0)
            return all_rules[i].rule;
    return 0;
}

unsigned kw_anomaly_rules(const char *setting)
{
    static const char between[] = ", ";
    unsigned rules = 0;
    if (!setting)
        return KW_ANOMALY_ALL;
    for (setting += strspn(setting, between); *setting; setting += strspn(setting, between)) {
        size_t len = strcspn(setting, between);
        rules |= rule_named(setting, len);
        setting += len;
    }
    return rules;
}

/* ---- pairs ---- */

/* FNV-1a. Names are the configuration's and the token's, and there are not many. */
static size_t hash_of(const char *key, const char *client)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    const char *const texts[] = {key, "/", client};
    for (size_t i = 0; i < KW_COUNT(texts); i++)
        for (const char *at = texts[i]; *at; at++)
            hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
    return hash % KW_ANOMALY_PAIRS_MAX;
}

struct kw_anomaly_pair *kw_anomaly_find(struct kw_anomaly *anomaly, const char *key,
                                        const char *client)
{
    struct kw_anomaly_pair *pair = anomaly->hashes[hash_of(key, client)];
    while (pair && (strcmp(pair->key, key) != 0 || strcmp(pair->client, client) != 0))
        pair = pair->next;
    return pair;
}

static void take_out(struct kw_anomaly *anomaly, struct kw_anomaly_pair *pair)
{
    *(pair->older ? &pair->older->newer : &anomaly->oldest) = pair->newer;
    *(pair->newer ? &pair->newer->older : &anomaly->newest) = pair->older;
}

static void put_newest(struct kw_anomaly *anomaly, struct kw_anomaly_pair *pair)
{
    pair->older = anomaly->newest;
    pair->newer = NULL;
    *(pair->older ? &pair->older->newer : &anomaly->oldest) = pair;
    anomaly->newest = pair;
}

static struct kw_anomaly_pair *forget_oldest(struct kw_anomaly *anomaly)
{
    struct kw_anomaly_pair *pair = anomaly->oldest;
    struct kw_anomaly_pair **link = &anomaly->hashes[hash_of(pair->key, pair->client)];
    while (*link != pair)
        link = &(*link)->next;
    *link = pair->next;
    take_out(anomaly, pair);
    return pair;
}

struct kw_anomaly_pair *kw_anomaly_add(struct kw_anomaly *anomaly, const char *key,
                                       const char *client)
{
    struct kw_anomaly_pair *pair = anomaly->count < KW_ANOMALY_PAIRS_MAX
                                       ? &anomaly->pairs[anomaly->count++]
                                       : forget_oldest(anomaly);
    struct kw_anomaly_pair **link = &anomaly->hashes[hash_of(key, client)];
    *pair = (struct kw_anomaly_pair){.next = *link};
    memcpy(pair->key, key, strlen(key) + 1);
    memcpy(pair->client, client, strlen(client) + 1);
    *link = pair;
    put_newest(anomaly, pair);
    return pair;
}

void kw_anomaly_clear(struct kw_anomaly *anomaly)
{
    anomaly->count = 0;
    anomaly->oldest = anomaly->newest = NULL;
    memset(anomaly->hashes, 0, sizeof(anomaly->hashes));
}

enum kw_status kw_anomaly_new(struct kw_anomaly **ret_anomaly, struct kw_error *err)
{
    struct kw_anomaly *anomaly = calloc(1, sizeof(*anomaly));
    if (!anomaly || pthread_mutex_init(&anomaly->lock, NULL) != 0) {
        free(anomaly);
        return kw_fail_memory(err);
    }
    *ret_anomaly = anomaly;
    return KW_OK;
}

void kw_anomaly_free(struct kw_anomaly *anomaly)
{
    if (!anomaly)
        return;
    (void)pthread_mutex_destroy(&anomaly->lock);
    free(anomaly);
}

/* ---- learning ---- */

/* One burst that is unusual does not become what is usual. */
static void learn_minute(struct kw_anomaly_pair *pair)
{
    double count = (double)pair->count;
    if (pair->count == 0)
        return;
    if (pair->minutes > 0 && count > pair->mean * TIMES_USUAL)
        count = pair->mean * TIMES_USUAL;
    if (pair->minutes < KW_ANOMALY_MINUTES_MAX)
        pair->minutes++;
    pair->mean += (count - pair->mean) / pair->minutes;
    pair->count = 0;
}

/* Times are from a clock that may be set back or ahead. */
static int64_t gap_of(int64_t from, int64_t to)
{
    return to <= from ? 0 : to - from > GAP_MAX_S ? GAP_MAX_S : to - from;
}

static void learn_time(struct kw_anomaly_pair *pair, int64_t now)
{
    int64_t minute = now / MINUTE_S;
    if (pair->minute != minute)
        learn_minute(pair);
    pair->minute = minute;
    pair->count++;
    pair->learned_s += (uint64_t)gap_of(pair->last_s, now);
    pair->last_s = now;
}

static uint64_t learned_of_key(const struct kw_anomaly *anomaly, const char *key)
{
    uint64_t longest = 0;
    for (size_t i = 0; i < anomaly->count; i++) {
        const struct kw_anomaly_pair *pair = &anomaly->pairs[i];
        if (pair->learned_s > longest && strcmp(pair->key, key) == 0)
            longest = pair->learned_s;
    }
    return longest;
}

/* ---- events ---- */

static bool is_due(struct kw_anomaly_pair *pair, size_t rule, int64_t now)
{
    int64_t last = pair->event_s[rule];
    if (pair->had_event[rule] && now - last < HOUR_S && last - now < HOUR_S)
        return false;
    pair->had_event[rule] = true;
    pair->event_s[rule] = now;
    return true;
}

static unsigned unusual_by(struct kw_anomaly_pair *pair, const struct occasion *occasion,
                           unsigned rules, int64_t now)
{
    unsigned found = 0;
    uint64_t learned_s = occasion->is_new ? occasion->key_learned_s : pair->learned_s;
    for (size_t i = 0; i < KW_COUNT(all_rules); i++) {
        bool on = (rules & all_rules[i].rule) != 0 && learned_s >= all_rules[i].learn_s &&
                  (!occasion->is_new || all_rules[i].rule == KW_ANOMALY_CLIENT);
        if (on && all_rules[i].is_unusual(occasion) && is_due(pair, i, now))
            found |= all_rules[i].rule;
    }
    return found;
}

static bool note(struct kw_anomaly *anomaly, const char *key, const char *client, unsigned rules,
                 int64_t now, struct kw_anomaly_event *ret_event)
{
    struct kw_anomaly_pair *pair = kw_anomaly_find(anomaly, key, client);
    struct occasion occasion = {.hour = (unsigned)(now / HOUR_S % KW_ANOMALY_HOURS),
                                .is_new = !pair};
    if (pair) {
        take_out(anomaly, pair);
        put_newest(anomaly, pair);
    } else {
        occasion.key_learned_s = learned_of_key(anomaly, key);
        pair = kw_anomaly_add(anomaly, key, client);
        pair->last_s = now;
    }
    occasion.pair = pair;
    learn_time(pair, now);
    unsigned found = unusual_by(pair, &occasion, rules, now);
    pair->hours |= UINT32_C(1) << occasion.hour;
    if (found)
        *ret_event = (struct kw_anomaly_event){
            .rules = found, .count = pair->count, .usual = pair->mean, .hour = occasion.hour};
    return found != 0;
}

bool kw_anomaly_note(struct kw_anomaly *anomaly, const char *key, const char *client,
                     unsigned rules, time_t now, struct kw_anomaly_event *ret_event)
{
    if (strnlen(key, KW_ANOMALY_NAME_SIZE) == KW_ANOMALY_NAME_SIZE ||
        strnlen(client, KW_ANOMALY_NAME_SIZE) == KW_ANOMALY_NAME_SIZE || now < 0)
        return false;
    (void)pthread_mutex_lock(&anomaly->lock);
    bool unusual = note(anomaly, key, client, rules, now, ret_event);
    (void)pthread_mutex_unlock(&anomaly->lock);
    return unusual;
}
