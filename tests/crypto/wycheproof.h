/* Reads a file of Project Wycheproof's vectors from the shared data, where that is there. */
#ifndef KW_TEST_WYCHEPROOF_H
#define KW_TEST_WYCHEPROOF_H

#include <errno.h>
#include <fcntl.h>

#include <cjson/cJSON.h>

#include "support.h"

/* Skips the test where the file is absent. The caller frees with cJSON_Delete. */
static inline cJSON *load_vectors(const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/wycheproof/%s", KW_TEST_SHARED_DIR, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        print_message("%s is absent, so its vectors are skipped\n", path);
        skip();
    }
    struct kw_buffer text = KW_BUFFER_INIT(64 * 1024 * 1024);
    assert_int_equal(kw_read_file(fd, text.max, name, KW_READ, &text, NULL), KW_OK);
    kw_close(&fd);
    cJSON *json = cJSON_ParseWithLength((const char *)text.data, text.len);
    kw_buffer_cleanup(&text);
    assert_non_null(json);
    return json;
}

static inline const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    assert_non_null(text);
    return text;
}

static inline int number_of(const cJSON *object, const char *name)
{
    const cJSON *number = cJSON_GetObjectItemCaseSensitive(object, name);
    assert_true(cJSON_IsNumber(number));
    return number->valueint;
}

#endif
