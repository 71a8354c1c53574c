/* Secrets: where they live, their limits, and that they are wiped. The heap is the process's, so
 * what needs another state of it runs in a child. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base_test.h"

#define NOBODY 65534

/* Runs `body` in a child and returns its wait status. */
static int in_child(int (*body)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(body());
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* ---- before the start ---- */

static void no_secret_on_an_ordinary_heap(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_secret *untouched = (struct kw_secret *)&err;
    struct kw_secret *secret = untouched;
    assert_false(CRYPTO_secure_malloc_initialized());
    assert_fails(kw_secret_new(16, &secret, &err), KW_NO_MEMORY, "LimitMEMLOCK");
    assert_fails(kw_secret_from("pin", 3, &secret, &err), KW_NO_MEMORY, "LimitMEMLOCK");
    assert_ptr_equal(secret, untouched);
}

/* The status of kw_secret_start as a user who may lock `bytes`. */
static int start_with_limit(rlim_t bytes)
{
    const struct rlimit limit = {bytes, bytes};
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0)
        return 99;
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return 98;
    struct kw_error err;
    enum kw_status status = kw_secret_start(&err);
    if (status != KW_OK)
        return strstr(err.message, "LimitMEMLOCK") && !CRYPTO_secure_malloc_initialized() ? 1 : 2;
    struct kw_secret *secret = NULL;
    if (kw_secret_new(KW_SECRET_MAX, &secret, &err) != KW_OK)
        return 3;
    kw_secret_free(secret);
    return 0;
}

static int start_with_nothing(void)
{
    return start_with_limit(0);
}

static int start_with_too_little(void)
{
    return start_with_limit((rlim_t)12 * 1024);
}

static int start_with_little(void)
{
    return start_with_limit((rlim_t)40 * 1024);
}

static void locked_memory_is_needed(void **state)
{
    (void)state;
    assert_int_equal(in_child(start_with_nothing), 1 << 8);
    assert_int_equal(in_child(start_with_too_little), 1 << 8);
    assert_int_equal(in_child(start_with_little), 0);
}

static int start_with_a_heap_of_others(void)
{
    if (CRYPTO_secure_malloc_init(32768, 64) == 0)
        return 1;
    void *theirs = OPENSSL_secure_malloc(100);
    if (kw_secret_start(NULL) != KW_OK || !CRYPTO_secure_allocated(theirs))
        return 2;
    OPENSSL_secure_free(theirs);
    struct kw_secret *secret = NULL;
    if (kw_secret_from("pin", 3, &secret, NULL) != KW_OK)
        return 3;
    kw_secret_free(secret);
    return CRYPTO_secure_malloc_done() == 1 ? 0 : 4;
}

static void heap_of_others_is_used(void **state)
{
    (void)state;
    assert_int_equal(in_child(start_with_a_heap_of_others), 0);
}

static void *start_in_thread(void *result)
{
    *(enum kw_status *)result = kw_secret_start(NULL);
    return NULL;
}

static void start_is_safe_in_threads_and_twice(void **state)
{
    (void)state;
    pthread_t threads[8];
    enum kw_status results[8];
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_in_thread, &results[i]), 0);
    for (size_t i = 0; i < KW_COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(results[i], KW_OK);
    }
    struct kw_error err;
    assert_ok(kw_secret_start(&err));
}

/* ---- after the start ---- */

static void process_leaves_no_core(void **state)
{
    (void)state;
    struct rlimit limit = {1, 1};
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    assert_int_equal(getrlimit(RLIMIT_CORE, &limit), 0);
    assert_int_equal(limit.rlim_cur, 0);
    assert_int_equal(limit.rlim_max, 0);
}

static void limits_of_a_secret(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_secret *secret = NULL;
    assert_ok(kw_secret_new(KW_SECRET_MAX, &secret, &err));
    assert_true(CRYPTO_secure_allocated(secret));
    assert_int_equal(kw_secret_len(secret), 0);
    assert_int_equal(kw_secret_capacity(secret), KW_SECRET_MAX);
    for (size_t i = 0; i < KW_SECRET_MAX; i++)
        assert_int_equal(kw_secret_bytes(secret)[i], 0);
    kw_secret_free(secret);

    struct kw_secret *none = NULL;
    assert_fails(kw_secret_new(KW_SECRET_MAX + 1, &none, &err), KW_FAULT, "4097");
    assert_fails(kw_secret_new(SIZE_MAX, &none, &err), KW_FAULT, "more than");
    assert_fails(kw_secret_from("", SIZE_MAX, &none, &err), KW_FAULT, "more than");
    assert_null(none);
    assert_ok(kw_secret_from(NULL, 0, &none, &err));
    assert_int_equal(kw_secret_len(none), 0);
    kw_secret_free(none);
    kw_secret_free(NULL);
}

/* The heap ends in an error, and is whole again when all is freed. */
static void heap_is_used_up(void **state)
{
    (void)state;
    struct kw_error err = {.status = KW_OK};
    struct kw_secret *secrets[256] = {NULL};
    for (int round = 0; round < 2; round++) {
        size_t count = 0;
        while (count < KW_COUNT(secrets) &&
               kw_secret_new(KW_SECRET_MAX, &secrets[count], &err) == KW_OK)
            count++;
        assert_in_range(count, 1, KW_COUNT(secrets) - 1);
        assert_int_equal(err.status, KW_NO_MEMORY);
        assert_non_null(strstr(err.message, "used up"));
        assert_null(secrets[count]);
        while (count > 0) {
            kw_secret_free(secrets[--count]);
            secrets[count] = NULL;
        }
    }
}

static void shrinking_wipes(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_secret *secret = NULL;
    assert_ok(kw_secret_from("0123456789", 10, &secret, &err));
    kw_secret_set_len(secret, 4);
    assert_int_equal(kw_secret_len(secret), 4);
    assert_memory_equal(kw_secret_bytes(secret), "0123\0\0\0\0\0\0", 10);
    kw_secret_set_len(secret, 10);
    assert_memory_equal(kw_secret_bytes(secret), "0123\0\0\0\0\0\0", 10);
    kw_secret_set_len(secret, 0);
    assert_memory_equal(kw_secret_bytes(secret), "\0\0\0\0", 4);
    kw_secret_free(secret);
}

/* The heap stays mapped when a block is given back, so the block can be looked at. */
static void freeing_wipes(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_secret *secret = NULL;
    uint8_t pattern[1000];
    memset(pattern, 0xA5, sizeof(pattern));
    assert_ok(kw_secret_from(pattern, sizeof(pattern), &secret, &err));
    volatile const uint8_t *bytes = kw_secret_bytes(secret);
    assert_int_equal(bytes[999], 0xA5);
    kw_secret_free(secret);
    for (size_t i = 0; i < 1000; i++)
        assert_int_not_equal(bytes[i], 0xA5);
}

static int set_too_long(void)
{
    (void)close(STDERR_FILENO);
    struct kw_secret *secret = NULL;
    (void)signal(SIGABRT, SIG_DFL);
    if (kw_secret_from("abc", 3, &secret, NULL) == KW_OK)
        kw_secret_set_len(secret, 4);
    return 0;
}

static void length_over_capacity_stops_the_program(void **state)
{
    (void)state;
    int status = in_child(set_too_long);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void equality(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {
        {"", "", true},         {"abc", "abc", true}, {"abc", "abd", false}, {"abc", "Abc", false},
        {"abc", "abcd", false}, {"abc", "", false},   {"", "a", false},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_error err;
        struct kw_secret *a = NULL, *b = NULL;
        assert_ok(kw_secret_from(rows[i].a, strlen(rows[i].a), &a, &err));
        assert_ok(kw_secret_from(rows[i].b, strlen(rows[i].b), &b, &err));
        assert_int_equal(kw_secret_equal(a, b), rows[i].equal);
        assert_int_equal(kw_secret_equal(b, a), rows[i].equal);
        kw_secret_free(a);
        kw_secret_free(b);
    }
}

static void wiping(void **state)
{
    (void)state;
    char text[] = "secret";
    kw_wipe(text, 3);
    assert_memory_equal(text, "\0\0\0ret", 6);
    kw_wipe(NULL, 0);
}

/* ---- reading ---- */

/* A pipe that holds the text and has no writer any more. */
static int pipe_with(const char *text, size_t len)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], text, len), (ssize_t)len);
    assert_int_equal(close(ends[1]), 0);
    return ends[0];
}

static void reading(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool one_line;
        size_t max;
        const char *wanted; /* NULL: longer than max */
    } rows[] = {
        {"1234", true, 4, "1234"},
        {"1234\n", true, 4, "1234"},
        {"1234\r\n", true, 4, "1234"},
        {"12345", true, 4, NULL},
        {"12345\n", true, 4, NULL},
        {"12345\r\n", true, 4, NULL},
        {"1234\r\r\n", true, 4, NULL},
        {"123\r\r\n", true, 4, "123\r"},
        {"1234\r", true, 5, "1234\r"},
        {"\n", true, 4, ""},
        {"\r\n", true, 0, ""},
        {"", true, 0, ""},
        {"1", true, 0, NULL},
        {"12\n34", true, 2, "12"},
        {"1234", false, 4, "1234"},
        {"12\n\n", false, 4, "12\n\n"},
        {"1234\n", false, 4, NULL},
        {"123456789", false, 4, NULL},
        {"", false, 4, ""},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_error err;
        struct kw_secret *secret = NULL;
        int fd = pipe_with(rows[i].text, strlen(rows[i].text));
        if (!rows[i].wanted) {
            assert_fails(
                kw_secret_read(fd, rows[i].max, rows[i].one_line, "the PIN file x", &secret, &err),
                KW_CONFIG, "the PIN file x is longer than");
            assert_null(strstr(err.message, "1234"));
            assert_null(secret);
        } else {
            assert_ok(kw_secret_read(fd, rows[i].max, rows[i].one_line, "x", &secret, &err));
            assert_int_equal(kw_secret_len(secret), strlen(rows[i].wanted));
            assert_memory_equal(kw_secret_bytes(secret), rows[i].wanted, strlen(rows[i].wanted));
            for (size_t j = kw_secret_len(secret); j < kw_secret_capacity(secret); j++)
                assert_int_equal(kw_secret_bytes(secret)[j], 0);
            kw_secret_free(secret);
        }
        kw_close(&fd);
    }
}

static void reading_leaves_the_next_line(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_secret *secret = NULL;
    char rest[8];
    int fd = pipe_with("pin\nrest", 8);
    assert_ok(kw_secret_read(fd, 64, true, "x", &secret, &err));
    assert_int_equal(read(fd, rest, sizeof(rest)), 4);
    assert_memory_equal(rest, "rest", 4);
    kw_secret_free(secret);
    kw_close(&fd);
}

static void reading_the_largest(void **state)
{
    (void)state;
    struct kw_error err;
    char text[KW_SECRET_MAX + 1];
    memset(text, 'p', sizeof(text));
    for (size_t over = 0; over <= 1; over++) {
        struct kw_secret *secret = NULL;
        int fd = pipe_with(text, KW_SECRET_MAX + over);
        enum kw_status status = kw_secret_read(fd, KW_SECRET_MAX, false, "x", &secret, &err);
        assert_int_equal(status, over ? KW_CONFIG : KW_OK);
        assert_int_equal(secret ? kw_secret_len(secret) : 0, over ? 0 : KW_SECRET_MAX);
        kw_secret_free(secret);
        kw_close(&fd);
    }
    struct kw_secret *none = NULL;
    assert_fails(kw_secret_read(0, KW_SECRET_MAX + 1, false, "x", &none, &err), KW_FAULT, "4096");
    assert_null(none);
}

static void reading_fails(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_secret *secret = NULL;
    assert_fails(kw_secret_read(-1, 16, true, "the PIN of x", &secret, &err), KW_READ,
                 "the PIN of x can't be read");
    assert_int_equal(err.sys_errno, EBADF);
    assert_null(secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_secret_on_an_ordinary_heap),
        cmocka_unit_test(locked_memory_is_needed),
        cmocka_unit_test(heap_of_others_is_used),
        cmocka_unit_test(start_is_safe_in_threads_and_twice),
        cmocka_unit_test(process_leaves_no_core),
        cmocka_unit_test(limits_of_a_secret),
        cmocka_unit_test(heap_is_used_up),
        cmocka_unit_test(shrinking_wipes),
        cmocka_unit_test(freeing_wipes),
        cmocka_unit_test(length_over_capacity_stops_the_program),
        cmocka_unit_test(equality),
        cmocka_unit_test(wiping),
        cmocka_unit_test(reading),
        cmocka_unit_test(reading_leaves_the_next_line),
        cmocka_unit_test(reading_the_largest),
        cmocka_unit_test(reading_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
