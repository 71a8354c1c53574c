/* Fails each allocation in turn: every failure is KW_NO_MEMORY, and a sanitizer sees what leaks.
 * The linker sends this program's allocations here (--wrap). */
#include <errno.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "base_test.h"

/* Allocations that still succeed; negative: all. */
static long allocations_left = -1;

static bool may_allocate(void)
{
    if (allocations_left == 0) {
        errno = ENOMEM;
        return false;
    }
    if (allocations_left > 0)
        allocations_left--;
    return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
    return may_allocate() ? __real_calloc(count, size) : NULL;
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
    return may_allocate() ? __real_realloc(old, size) : NULL;
}

void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
    return may_allocate() ? __real_reallocarray(old, count, size) : NULL;
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    return may_allocate() ? __real_strdup(text) : NULL;
}

char *__real_strndup(const char *text, size_t len);
char *__wrap_strndup(const char *text, size_t len);
char *__wrap_strndup(const char *text, size_t len)
{
    return may_allocate() ? __real_strndup(text, len) : NULL;
}

int __real_vasprintf(char **ret_text, const char *format, va_list args) KW_PRINTF(2, 0);
int __wrap_vasprintf(char **ret_text, const char *format, va_list args) KW_PRINTF(2, 0);
int __wrap_vasprintf(char **ret_text, const char *format, va_list args)
{
    return may_allocate() ? __real_vasprintf(ret_text, format, args) : -1;
}

int __wrap_asprintf(char **ret_text, const char *format, ...) KW_PRINTF(2, 3);
int __wrap_asprintf(char **ret_text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = __wrap_vasprintf(ret_text, format, args);
    va_end(args);
    return len;
}

/* What _FORTIFY_SOURCE makes of the two. */
int __wrap___vasprintf_chk(char **ret_text, int flag, const char *format, va_list args)
    KW_PRINTF(3, 0);
int __wrap___vasprintf_chk(char **ret_text, int flag, const char *format, va_list args)
{
    (void)flag;
    return __wrap_vasprintf(ret_text, format, args);
}

int __wrap___asprintf_chk(char **ret_text, int flag, const char *format, ...) KW_PRINTF(3, 4);
int __wrap___asprintf_chk(char **ret_text, int flag, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = __wrap___vasprintf_chk(ret_text, flag, format, args);
    va_end(args);
    return len;
}

/* Calls `body` with one more allocation each time until it succeeds. */
static void fail_in_turn(enum kw_status (*body)(struct kw_error *err), long at_least)
{
    long count = 0;
    for (;; count++) {
        struct kw_error err = {.status = KW_OK};
        allocations_left = count;
        enum kw_status status = body(&err);
        allocations_left = -1;
        if (status == KW_OK)
            break;
        assert_int_equal(status, KW_NO_MEMORY);
        assert_int_equal(err.status, KW_NO_MEMORY);
        assert_true(count < 1000);
    }
    assert_true(count >= at_least); /* otherwise nothing was made to fail */
}

static enum kw_status fill_buffer(struct kw_error *err)
{
    struct kw_buffer buffer = KW_BUFFER_INIT(2000);
    enum kw_status status = kw_buffer_printf(&buffer, err, "%0300d", 1);
    if (status == KW_OK)
        status = kw_buffer_printf(&buffer, err, "%0600d", 1);
    kw_buffer_cleanup(&buffer);
    return status;
}

static enum kw_status read_config(struct kw_error *err)
{
    static const char text[] = "[token a]\nuri=pkcs11:a\n[token b]\n[key c]\nuri=pkcs11:c\n[run]\n"
                               "token=a\n";
    struct kw_config config = {.tokens = NULL};
    enum kw_status status = kw_config_parse(&config, text, sizeof(text) - 1, "x", err);
    kw_config_cleanup(&config);
    return status;
}

static enum kw_status load_config(struct kw_error *err)
{
    struct kw_config config = {.tokens = NULL};
    enum kw_status status = kw_config_load(&config, NULL, err);
    kw_config_cleanup(&config);
    return status;
}

static enum kw_status parse_json(struct kw_error *err)
{
    static const struct kw_json_limits limits = {1000, 10, 100};
    static const char text[] = "{\"a\":{\"b\":1,\"c\":2},\"d\":0}";
    struct cJSON *json = NULL;
    enum kw_status status =
        kw_json_parse(text, sizeof(text) - 1, &limits, "x", KW_DROP, &json, err);
    cJSON_Delete(json);
    return status;
}

static enum kw_status allow_path(struct kw_error *err)
{
    struct kw_confinement confinement = {.items = NULL};
    enum kw_status status = kw_confine_allow(&confinement, "/x", KW_MAY_READ, err);
    kw_confinement_cleanup(&confinement);
    return status;
}

/* What was built before lacks nothing where it can be written. */
static enum kw_status build_json(struct kw_error *err)
{
    static const char whole[] = "{\"a\":\"text\",\"b\":{\"c\":1,\"d\":[\"00ff\",\"AP8\",true]}}";
    struct kw_buffer text = KW_BUFFER_INIT(1000);
    struct cJSON *json = cJSON_CreateObject();
    kw_json_add_text(json, "a", "text");
    struct cJSON *inner = kw_json_add_object(json, "b");
    kw_json_add_number(inner, "c", 1);
    struct cJSON *list = kw_json_add_array(inner, "d");
    kw_json_add_hex(list, NULL, "\0\xFF", 2);
    kw_json_add_base64(list, NULL, KW_BASE64URL, "\0\xFF", 2);
    kw_json_add_bool(list, NULL, true);
    enum kw_status status = kw_json_write(json, KW_JSON_COMPACT, &text, err);
    if (!status) {
        assert_int_equal(text.len, strlen(whole));
        assert_memory_equal(text.data, whole, text.len);
    }
    kw_buffer_cleanup(&text);
    return status;
}

static void every_failure_is_told(void **state)
{
    (void)state;
    cJSON_Hooks hooks = {.malloc_fn = __wrap_malloc, .free_fn = free};
    cJSON_InitHooks(&hooks);
    assert_int_equal(setenv("XDG_CONFIG_HOME", "/nonexistent", 1), 0);
    fail_in_turn(fill_buffer, 4);
    fail_in_turn(read_config, 8);
    fail_in_turn(load_config, 1);
    fail_in_turn(parse_json, 8);
    fail_in_turn(build_json, 20);
    fail_in_turn(allow_path, 2);
}

/* A warning that finds no memory is lost, and the list stays whole. */
static void warnings_never_fail(void **state)
{
    (void)state;
    for (long count = 0; count < 8; count++) {
        struct kw_strings list = KW_STRINGS_INIT(2);
        allocations_left = count;
        for (int i = 0; i < 4; i++)
            kw_strings_warn(&list, "%d", i);
        allocations_left = -1;
        assert_true(list.count <= 2);
        for (size_t i = 0; i < list.count; i++)
            assert_non_null(list.items[i]);
        kw_strings_cleanup(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_is_told),
        cmocka_unit_test(warnings_never_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
