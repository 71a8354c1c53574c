/* JSON through cJSON, once its text has passed json_scan.c. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/base.h"
#include "base/json_scan.h"

static int fold(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

static int compare_names(const void *a, const void *b)
{
    const char *left = *(const char *const *)a;
    const char *right = *(const char *const *)b;
    while (*left != '\0' && fold(*left) == fold(*right)) {
        left++;
        right++;
    }
    return fold(*left) - fold(*right);
}

static enum kw_status fail_duplicate(const char *name, const char *what, enum kw_status family,
                                     struct kw_error *err)
{
    char printable[128];
    return kw_fail(err, family, "%s has the name \"%s\" twice in one object; keep one of them",
                   what, kw_printable(name, strlen(name), printable, sizeof(printable)));
}

/* Sorted, so that an object with many names does not take the square of their number. */
static enum kw_status check_names(const cJSON *object, const char *what, enum kw_status family,
                                  struct kw_error *err)
{
    size_t count = 0;
    for (const cJSON *item = object->child; item; item = item->next)
        count++;
    if (count < 2)
        return KW_OK;
    const char **names = calloc(count, sizeof(*names));
    if (!names)
        return kw_fail_memory(err);
    size_t at = 0;
    for (const cJSON *item = object->child; item; item = item->next)
        names[at++] = item->string;
    qsort(names, count, sizeof(*names), compare_names);
    enum kw_status status = KW_OK;
    for (size_t i = 1; i < count && status == KW_OK; i++) {
        if (compare_names(&names[i - 1], &names[i]) == 0)
            status = fail_duplicate(names[i], what, family, err);
    }
    free(names);
    return status;
}

/* The scan has bounded the depth. */
static enum kw_status check_tree(const cJSON *value, const char *what, enum kw_status family,
                                 struct kw_error *err)
{
    enum kw_status status = cJSON_IsObject(value) ? check_names(value, what, family, err) : KW_OK;
    for (const cJSON *item = value->child; item && status == KW_OK; item = item->next) {
        if (item->child)
            status = check_tree(item, what, family, err);
    }
    return status;
}

/* cJSON notes the place of an error in a variable of its own that all threads would write. */
static cJSON *build_tree(const char *text, size_t len)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (pthread_mutex_lock(&lock) != 0)
        return NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
    (void)pthread_mutex_unlock(&lock); /* can't fail: it is ours */
    return tree;
}

/* As deep as the limits that it was parsed with allow. */
static void wipe(cJSON *item)
{
    for (; item; item = item->next) {
        if (item->valuestring)
            kw_wipe(item->valuestring, strlen(item->valuestring));
        if (item->string)
            kw_wipe(item->string, strlen(item->string));
        wipe(item->child);
    }
}

void kw_json_wipe_delete(cJSON *json)
{
    wipe(json);
    cJSON_Delete(json);
}

enum kw_status kw_json_parse(const char *text, size_t len, const struct kw_json_limits *limits,
                             const char *what, enum kw_status family, struct cJSON **ret_json,
                             struct kw_error *err)
{
    if (len > limits->bytes)
        return kw_fail(err, family, "%s has more than the %zu bytes that are allowed", what,
                       limits->bytes);
    static const char mark[] = "\xEF\xBB\xBF";
    if (len >= 3 && memcmp(text, mark, 3) == 0) {
        text += 3;
        len -= 3;
    }
    enum kw_status status = kw_json_scan(text, len, limits, what, family, err);
    if (status != KW_OK)
        return status;
    cJSON *tree = build_tree(text, len);
    if (!tree) /* the scan lets nothing through that cJSON does not read */
        return kw_fail_memory(err);
    status = check_tree(tree, what, family, err);
    if (status != KW_OK) {
        kw_json_wipe_delete(tree);
        return status;
    }
    *ret_json = tree;
    return KW_OK;
}

enum kw_status kw_json_write(cJSON *json, enum kw_json_style style, struct kw_buffer *out,
                             struct kw_error *err)
{
    char *text = NULL;
    if (json)
        text = style == KW_JSON_INDENTED ? cJSON_Print(json) : cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    enum kw_status status =
        text ? kw_buffer_reserve(out, strlen(text) + (style != KW_JSON_COMPACT), err)
             : kw_fail_memory(err);
    if (!status) /* with room for both, neither is written alone */
        status = kw_buffer_append(out, text, strlen(text), err);
    if (!status && style != KW_JSON_COMPACT)
        status = kw_buffer_append(out, "\n", 1, err);
    cJSON_free(text);
    return status;
}
