/* Every drop of the vectors, and of the shared data where it is there: those with faulty metadata
 * don't open, all others give the files and the key that expected.json says. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "drop/drop.h"

#define JSON_MAX ((size_t)1 << 20)

/* NULL where the folder has no such file. */
static cJSON *read_json(const char *folder, const char *name)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    static const struct kw_json_limits limits = {.bytes = JSON_MAX, .depth = 8, .items = 100000};
    struct kw_buffer text = KW_BUFFER_INIT(0);
    cJSON *json = NULL;
    assert_int_equal(kw_read_file(fd, JSON_MAX, path, KW_READ, &text, NULL), KW_OK);
    close(fd);
    assert_int_equal(
        kw_json_parse((const char *)text.data, text.len, &limits, path, KW_READ, &json, NULL),
        KW_OK);
    kw_buffer_cleanup(&text);
    return json;
}

static enum kw_status open_drop(const char *folder, const char *name, struct kw_drop **ret_drop,
                                struct kw_error *err)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return kw_drop_open(path, ret_drop, err);
}

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
    return text ? text : "";
}

/* The layer that has to catch a fault; the shared data does not say it, only the sentence. */
static bool fault_is_in_metadata(const cJSON *expected)
{
    static const char *const shared[] = {"metadata is not JSON", "value is not base64",
                                         "IV is not 16 bytes"};
    for (size_t i = 0; i < KW_COUNT(shared); i++) {
        if (strcmp(text_of(expected, "error"), shared[i]) == 0)
            return true;
    }
    return strcmp(text_of(expected, "layer"), "metadata") == 0;
}

static size_t count_data(const struct kw_drop *drop)
{
    size_t count = 0;
    for (size_t i = 0; i < kw_drop_file_count(drop); i++)
        count += kw_drop_file_at(drop, i)->kind == KW_FILE_DATA;
    return count;
}

static bool has_key(const cJSON *keys, const char *id)
{
    const cJSON *key;
    cJSON_ArrayForEach(key, keys)
    {
        if (strcmp(text_of(key, "id"), id) == 0)
            return true;
    }
    return false;
}

static void check_opened(const struct kw_drop *drop, const cJSON *expected, const cJSON *keys)
{
    bool not_encrypted = strcmp(text_of(expected, "layer"), "run") == 0;
    const struct kw_envelope *envelope = kw_drop_envelope(drop);
    assert_int_equal(envelope != NULL, !not_encrypted);
    if (not_encrypted)
        return;
    const cJSON *files = cJSON_GetObjectItem(expected, "files");
    const cJSON *file;
    cJSON_ArrayForEach(file, files) assert_non_null(kw_drop_find(drop, file->string));
    const cJSON *plain = cJSON_GetObjectItem(expected, "plain");
    cJSON_ArrayForEach(file, plain) assert_non_null(kw_drop_find(drop, file->valuestring));
    assert_int_equal(count_data(drop), cJSON_GetArraySize(files) + cJSON_GetArraySize(plain));
    assert_int_equal(kw_drop_warnings(drop)->count, 0);
    if (*text_of(expected, "key"))
        assert_string_equal(envelope->version, text_of(expected, "key"));
    bool unknown = strstr(text_of(expected, "error"), "no key of that version") != NULL;
    assert_int_equal(has_key(keys, envelope->version), !unknown);
}

static void check_folder(const char *folder, bool required)
{
    cJSON *expected = read_json(folder, "expected.json");
    cJSON *keys = read_json(folder, "keys.json");
    if (!expected && !required)
        skip();
    assert_non_null(expected);
    assert_non_null(keys);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, expected)
    {
        struct kw_drop *drop = NULL;
        struct kw_error err = {0};
        enum kw_status status = open_drop(folder, entry->string, &drop, &err);
        if (status != (fault_is_in_metadata(entry) ? KW_METADATA : KW_OK))
            fail_msg("%s: status %d, %s", entry->string, status, err.message);
        if (status == KW_OK)
            check_opened(drop, entry, keys);
        kw_drop_free(drop);
    }
    assert_true(cJSON_GetArraySize(expected) > 20);
    cJSON_Delete(expected);
    cJSON_Delete(keys);
}

static void opens_our_vectors(void **state)
{
    (void)state;
    check_folder(KW_TEST_VECTORS_DIR, true);
}

static void opens_the_shared_drops(void **state)
{
    (void)state;
    check_folder(KW_TEST_SHARED_DIR "/drops", false);
}

/* One fault each, so that the sentence has to be on that fault. */
static void says_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *drop;
        const char *says;
    } cases[] = {
        {"bad-json", "JSON"},
        {"bad-too-deep", "deep"},
        {"bad-version-missing", "PublicKeyVersion is missing"},
        {"bad-value-missing", "DecryptionKeyValue is missing"},
        {"bad-iv-missing", "DecryptionKeyIV is missing"},
        {"bad-field-twice", "twice"},
        {"bad-alias-twice", "DecryptionKeyValue occurs twice"},
        {"bad-field-type", "PublicKeyVersion in"},
        {"bad-base64", "the value is not base64"},
        {"bad-iv-length", "is 15 bytes"},
        {"bad-wrapped-size", "is 128 bytes"},
        {"bad-two-file-keys", "several File keys"},
        {"bad-layouts-contradict", "contradict each other"},
        {"job-errors", "the export job reported errors"},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_drop *drop = NULL;
        struct kw_error err = {0};
        assert_int_equal(open_drop(KW_TEST_VECTORS_DIR, cases[i].drop, &drop, &err), KW_METADATA);
        if (!strstr(err.message, cases[i].says) || !strstr(err.message, ".json"))
            fail_msg("%s says: %s", cases[i].drop, err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_our_vectors),
        cmocka_unit_test(opens_the_shared_drops),
        cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
