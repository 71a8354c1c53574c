/* Where a PIN comes from, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "keys/keys.h"

static char folder[] = "/tmp/kw-pin-XXXXXX";
static char pin_file[64];

static void write_pin(const char *text, size_t len, unsigned mode)
{
    FILE *file = fopen(pin_file, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(pin_file, mode), 0);
}

static void assert_pin(const char *source, const char *expected, size_t warnings_expected)
{
    struct kw_strings warnings = KW_STRINGS_INIT(4);
    struct kw_secret *pin = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_pin_read(source, &warnings, &pin, &err))
        print_error("%s: %s\n", source, err.message);
    assert_non_null(pin);
    assert_int_equal(kw_secret_len(pin), strlen(expected));
    assert_memory_equal(kw_secret_bytes(pin), expected, strlen(expected));
    assert_int_equal(warnings.count, warnings_expected);
    for (size_t i = 0; i < warnings.count; i++)
        assert_null(strstr(warnings.items[i], expected));
    kw_secret_free(pin);
    kw_strings_cleanup(&warnings);
}

static void assert_no_pin(const char *source, enum kw_status expected)
{
    struct kw_strings warnings = KW_STRINGS_INIT(4);
    struct kw_secret *pin = NULL;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_pin_read(source, &warnings, &pin, &err);
    if (status != expected)
        print_error("%s: %d %s\n", source, (int)status, err.message);
    assert_int_equal(status, expected);
    assert_null(pin);
    assert_true(strlen(err.message) > 20);
    kw_strings_cleanup(&warnings);
}

static void test_file(void **state)
{
    (void)state;
    char source[80];
    (void)snprintf(source, sizeof(source), "file:%s", pin_file);
    write_pin("s3cret-1", 8, 0600);
    assert_pin(source, "s3cret-1", 0);
    assert_pin(pin_file, "s3cret-1", 0);
    write_pin("s3cret-1\nsecond line", 20, 0600);
    assert_pin(source, "s3cret-1", 0);
    write_pin("s3cret-1\r\n", 10, 0600);
    assert_pin(source, "s3cret-1", 0);
    write_pin("s3cret-1\n", 9, 0644);
    assert_pin(source, "s3cret-1", 1);
    write_pin("", 0, 0600);
    assert_no_pin(source, KW_PIN_MISSING);
    write_pin("\n1234", 5, 0600);
    assert_no_pin(source, KW_PIN_MISSING);
    char long_pin[1000];
    memset(long_pin, '1', sizeof(long_pin));
    write_pin(long_pin, sizeof(long_pin), 0600);
    assert_no_pin(source, KW_CONFIG);
    assert_no_pin("file:/nonexistent/pin", KW_PIN_MISSING);
    assert_no_pin("file:relative", KW_CONFIG);
    assert_no_pin("file:", KW_CONFIG);
}

static void test_descriptor(void **state)
{
    (void)state;
    int ends[2];
    char source[32];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "pin-by-fd\nx", 11), 11);
    assert_int_equal(close(ends[1]), 0);
    (void)snprintf(source, sizeof(source), "fd:%d", ends[0]);
    assert_pin(source, "pin-by-fd", 0);
    assert_int_equal(close(ends[0]), 0);
    assert_no_pin("fd:987", KW_PIN_MISSING); /* not open */
    assert_no_pin("fd:", KW_CONFIG);
    assert_no_pin("fd:3x", KW_CONFIG);
    assert_no_pin("fd:-1", KW_CONFIG);
    assert_no_pin("fd:99999999999999999999", KW_CONFIG);
}

static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("KW_TEST_PIN_ENV", "by-env", 1), 0);
    assert_pin("env:KW_TEST_PIN_ENV", "by-env", 1);
    /* It is taken out of the environment once it is read. */
    assert_no_pin("env:KW_TEST_PIN_ENV", KW_PIN_MISSING);
    assert_no_pin("env:KW_TEST_NOT_SET", KW_PIN_MISSING);
    assert_no_pin("env:", KW_PIN_MISSING);
}

static void test_credential(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    assert_no_pin("credential:pin", KW_PIN_MISSING);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", folder, 1), 0);
    write_pin("by-credential", 13, 0400);
    assert_pin("credential:pin", "by-credential", 0);
    assert_no_pin("credential:other", KW_PIN_MISSING);
    assert_no_pin("credential:../pin", KW_CONFIG);
    assert_no_pin("credential:", KW_CONFIG);
}

static void test_nonsense(void **state)
{
    (void)state;
    assert_no_pin("1234", KW_CONFIG);
    assert_no_pin("", KW_CONFIG);
    assert_no_pin("|cat /etc/pin", KW_CONFIG);
    assert_no_pin("FILE:/x", KW_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),        cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_environment), cmocka_unit_test(test_credential),
        cmocka_unit_test(test_nonsense),
    };
    struct kw_error err;
    if (kw_secret_start(&err) || !mkdtemp(folder))
        return 1;
    (void)snprintf(pin_file, sizeof(pin_file), "%s/pin", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(pin_file);
    (void)rmdir(folder);
    return failed;
}
