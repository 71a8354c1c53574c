/* What was learned, as a JSON file:
 * {"version":1,"pairs":[{"key","client","last","learned","minutes","mean","hours"}]}, the pair that
 * was not used for longest first. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "serve/anomaly_parts.h"

#define VERSION   1
#define MAX_BYTES ((size_t)4 * 1024 * 1024)
#define MEMBERS   7
#define MAX_EXACT 9007199254740992.0 /* 2^53 */

static const struct kw_json_limits limits = {
    .bytes = MAX_BYTES, .depth = 3, .items = KW_ANOMALY_PAIRS_MAX * (MEMBERS + 1) + 8};

/* ---- writing ---- */

static void add_pair(cJSON *pairs, const struct kw_anomaly_pair *pair)
{
    cJSON *json = kw_json_add_object(pairs, NULL);
    kw_json_add_text(json, "key", pair->key);
    kw_json_add_text(json, "client", pair->client);
    kw_json_add_number(json, "last", (double)pair->last_s);
    kw_json_add_number(json, "learned", (double)pair->learned_s);
    kw_json_add_number(json, "minutes", pair->minutes);
    kw_json_add_number(json, "mean", pair->mean);
    kw_json_add_number(json, "hours", pair->hours);
}

/* A copy, so that nobody waits for the file: the oldest first. */
static size_t copy_pairs(struct kw_anomaly *anomaly, struct kw_anomaly_pair *copy)
{
    size_t count = 0;
    (void)pthread_mutex_lock(&anomaly->lock);
    for (const struct kw_anomaly_pair *pair = anomaly->oldest; pair; pair = pair->newer)
        copy[count++] = *pair;
    (void)pthread_mutex_unlock(&anomaly->lock);
    return count;
}

static enum kw_status write_json(struct kw_anomaly *anomaly, struct kw_buffer *text,
                                 struct kw_error *err)
{
    struct kw_anomaly_pair *pairs = calloc(KW_ANOMALY_PAIRS_MAX, sizeof(*pairs));
    if (!pairs)
        return kw_fail_memory(err);
    cJSON *json = cJSON_CreateObject();
    kw_json_add_number(json, "version", VERSION);
    cJSON *list = kw_json_add_array(json, "pairs");
    size_t count = copy_pairs(anomaly, pairs);
    for (size_t i = 0; i < count; i++)
        add_pair(list, &pairs[i]);
    free(pairs);
    return kw_json_write(json, KW_JSON_LINE, text, err);
}

static enum kw_status write_durably(int fd, const struct kw_buffer *text, const char *path,
                                    struct kw_error *err)
{
    enum kw_status status = kw_write_full(fd, text->data, text->len, path, err);
    if (status == KW_OK && fsync(fd) != 0)
        status = kw_fail_errno(err, KW_WRITE, errno, "%s can't be written", path);
    return status;
}

/* A file that is half there never has the name. */
static enum kw_status replace(const char *path, const char *fresh, const struct kw_buffer *text,
                              struct kw_error *err)
{
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return kw_fail_errno(err, KW_WRITE, errno, "%s can't be made", fresh);
    enum kw_status status = write_durably(fd, text, fresh, err);
    if (close(fd) != 0 && status == KW_OK)
        status = kw_fail_errno(err, KW_WRITE, errno, "%s can't be written", fresh);
    if (status == KW_OK && rename(fresh, path) != 0)
        status = kw_fail_errno(err, KW_WRITE, errno, "%s can't be replaced", path);
    if (status != KW_OK)
        (void)unlink(fresh);
    return status;
}

enum kw_status kw_anomaly_save(struct kw_anomaly *anomaly, const char *path, struct kw_error *err)
{
    char *fresh = NULL;
    struct kw_buffer text = KW_BUFFER_INIT(MAX_BYTES);
    enum kw_status status = write_json(anomaly, &text, err);
    if (status == KW_OK && asprintf(&fresh, "%s.new", path) < 0)
        status = kw_fail_memory(err);
    if (status == KW_OK)
        status = replace(path, fresh, &text, err);
    free(fresh);
    kw_buffer_cleanup(&text);
    return status;
}

/* ---- reading ---- */

static const char *name_of(const cJSON *json, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));
    return text && strlen(text) < KW_ANOMALY_NAME_SIZE ? text : NULL;
}

static bool read_number(const cJSON *json, const char *name, double max, double *ret_number)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(json, name);
    if (!cJSON_IsNumber(number) || !isfinite(number->valuedouble) || number->valuedouble < 0 ||
        number->valuedouble > max)
        return false;
    *ret_number = number->valuedouble;
    return true;
}

static bool read_pair(struct kw_anomaly *anomaly, const cJSON *json)
{
    const char *key = name_of(json, "key"), *client = name_of(json, "client");
    double last, learned, minutes, mean, hours;
    if (!key || !client || kw_anomaly_find(anomaly, key, client) ||
        !read_number(json, "last", MAX_EXACT, &last) ||
        !read_number(json, "learned", MAX_EXACT, &learned) ||
        !read_number(json, "minutes", KW_ANOMALY_MINUTES_MAX, &minutes) ||
        !read_number(json, "mean", MAX_EXACT, &mean) ||
        !read_number(json, "hours", (double)((UINT32_C(1) << KW_ANOMALY_HOURS) - 1), &hours))
        return false;
    struct kw_anomaly_pair *pair = kw_anomaly_add(anomaly, key, client);
    pair->last_s = (int64_t)last;
    pair->learned_s = (uint64_t)learned;
    pair->minutes = (uint32_t)minutes;
    pair->mean = mean;
    pair->hours = (uint32_t)hours;
    return true;
}

static bool read_pairs(struct kw_anomaly *anomaly, const cJSON *json)
{
    const cJSON *pairs = cJSON_GetObjectItemCaseSensitive(json, "pairs");
    const cJSON *pair;
    double version;
    size_t count = 0;
    if (!read_number(json, "version", VERSION, &version) || version < VERSION ||
        !cJSON_IsArray(pairs))
        return false;
    cJSON_ArrayForEach(pair, pairs) if (++count > KW_ANOMALY_PAIRS_MAX ||
                                        !read_pair(anomaly, pair)) return false;
    return true;
}

enum kw_status kw_anomaly_parse(struct kw_anomaly *anomaly, const char *text, size_t len,
                                const char *what, struct kw_error *err)
{
    cJSON *json = NULL;
    enum kw_status status = kw_json_parse(text, len, &limits, what, KW_CONFIG, &json, err);
    if (status != KW_OK)
        return status;
    (void)pthread_mutex_lock(&anomaly->lock);
    kw_anomaly_clear(anomaly);
    bool good = read_pairs(anomaly, json);
    if (!good)
        kw_anomaly_clear(anomaly);
    (void)pthread_mutex_unlock(&anomaly->lock);
    cJSON_Delete(json);
    return good ? KW_OK
                : kw_fail(err, KW_CONFIG, "%s is not what was saved; what is usual is learned anew",
                          what);
}

static enum kw_status load_open_file(struct kw_anomaly *anomaly, int fd, const char *path,
                                     struct kw_error *err)
{
    enum kw_status status = kw_check_owner(fd, path, KW_CONFIG, err);
    if (status != KW_OK)
        return status;
    struct kw_buffer text = KW_BUFFER_INIT(0);
    status = kw_read_file(fd, MAX_BYTES, path, KW_CONFIG, &text, err);
    if (status == KW_OK)
        status = kw_anomaly_parse(anomaly, (const char *)text.data, text.len, path, err);
    kw_buffer_cleanup(&text);
    return status;
}

enum kw_status kw_anomaly_load(struct kw_anomaly *anomaly, const char *path, struct kw_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return KW_OK;
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be opened", path);
    enum kw_status status = load_open_file(anomaly, fd, path, err);
    kw_close(&fd);
    return status;
}
