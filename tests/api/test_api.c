/* The public API on a real token: streams, whole drops, callbacks, and what it does when misused.
 * Run with KW_TEST_TOKEN and KW_TEST_DROPS (tests/api/with-keys.py). */
#include <pthread.h>
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

#include <keyward/keyward.h>

static struct kw_keyring *keyring;
static char scratch[] = "/tmp/kw-api-XXXXXX";

static struct kw_drop *open_drop(const char *name)
{
    char path[512];
    struct kw_drop *drop = NULL;
    struct kw_error err;
    (void)snprintf(path, sizeof(path), "%s/%s", getenv("KW_TEST_DROPS"), name);
    if (kw_drop_open(path, &drop, &err))
        print_error("%s\n", err.message);
    return drop;
}

static const struct kw_drop_file *first_file(const struct kw_drop *drop)
{
    for (size_t i = 0; i < kw_drop_file_count(drop); i++)
        if (kw_drop_file_at(drop, i)->kind == KW_FILE_DATA)
            return kw_drop_file_at(drop, i);
    return NULL;
}

/* All of a stream, read `step` bytes at a time. */
static enum kw_status read_all(struct kw_plain *plain, size_t step, char *out, size_t size,
                               size_t *ret_len, struct kw_error *err)
{
    size_t used = 0;
    size_t len = 0;
    enum kw_status status;
    do {
        assert_true(used + step <= size);
        status = kw_plain_read(plain, out + used, step, &len, err);
        if (!status)
            used += len;
    } while (!status && len > 0);
    *ret_len = used;
    return status;
}

#define TEXT_MAX ((size_t)4 << 20)

static void test_stream(void **state)
{
    (void)state;
    static char texts[2][TEXT_MAX];
    size_t lens[2] = {0, 0};
    struct kw_error err;
    struct kw_drop *drop = open_drop("good-nested");
    assert_non_null(drop);
    const size_t steps[2] = {1, 65536};
    for (size_t i = 0; i < 2; i++) {
        struct kw_plain *plain = NULL;
        assert_int_equal(kw_plain_open(keyring, drop, first_file(drop)->path, &plain, &err), KW_OK);
        assert_int_equal(read_all(plain, steps[i], texts[i], TEXT_MAX, &lens[i], &err), KW_OK);
        /* The end stays the end. */
        size_t again = 99;
        assert_int_equal(kw_plain_read(plain, texts[i], 1, &again, &err), KW_OK);
        assert_int_equal(again, 0);
        kw_plain_free(plain);
    }
    assert_true(lens[0] > 0);
    assert_int_equal(lens[0], lens[1]);
    assert_memory_equal(texts[0], texts[1], lens[0]);
    kw_drop_free(drop);
}

static void test_damaged_stream(void **state)
{
    (void)state;
    static char text[TEXT_MAX];
    static const char *const drops[] = {"bad-gzip-crc", "bad-gzip-cut", "bad-gzip-trailing",
                                        "bad-last-block"};
    for (size_t i = 0; i < sizeof(drops) / sizeof(drops[0]); i++) {
        struct kw_error err = {.status = KW_OK};
        struct kw_plain *plain = NULL;
        size_t len = 0;
        struct kw_drop *drop = open_drop(drops[i]);
        assert_int_equal(kw_plain_open(keyring, drop, first_file(drop)->path, &plain, &err), KW_OK);
        assert_int_equal(read_all(plain, 4096, text, TEXT_MAX, &len, &err), KW_DAMAGED);
        /* It does not turn into an end when it is asked again. */
        size_t again = 99;
        assert_int_equal(kw_plain_read(plain, text, 1, &again, &err), KW_DAMAGED);
        assert_int_equal(again, 99);
        kw_plain_free(plain);
        kw_drop_free(drop);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_plain *plain = NULL;
    struct kw_drop *drop = open_drop("good-nested");
    assert_int_equal(kw_plain_open(keyring, drop, "no-such-file", &plain, &err), KW_DROP);
    assert_int_equal(kw_plain_open(keyring, drop, "../good-flat/x", &plain, &err), KW_DROP);
    assert_int_equal(kw_plain_open(keyring, drop, "metadata", &plain, &err), KW_DROP);
    assert_null(plain);
    kw_drop_free(drop);
    drop = open_drop("bad-unknown-version");
    assert_int_equal(kw_plain_open(keyring, drop, first_file(drop)->path, &plain, &err),
                     KW_KEY_NOT_FOUND);
    kw_drop_free(drop);
    drop = open_drop("no-metadata");
    assert_int_equal(kw_plain_open(keyring, drop, first_file(drop)->path, &plain, &err),
                     KW_NOT_ENCRYPTED);
    kw_drop_free(drop);
    /* Without a place for the error. */
    assert_int_equal(kw_drop_open("/nonexistent", &drop, NULL), KW_DROP);
    const struct kw_keyring_options options = {.token = "no-such-token"};
    struct kw_keyring *other = NULL;
    assert_int_equal(kw_keyring_open(&options, &other, NULL), KW_CONFIG);
    assert_null(other);
    kw_plain_free(NULL);
    kw_drop_free(NULL);
    kw_keyring_free(NULL);
}

struct seen {
    size_t files, progress;
    size_t stop_at; /* the call of on_progress that asks to stop; 0: none */
};

static void on_file(void *context, const struct kw_file_result *result)
{
    struct seen *seen = context;
    seen->files++;
    assert_non_null(result->path);
    if (result->status == KW_FILE_FAILED)
        assert_int_equal(result->error->status, KW_DAMAGED);
    else
        assert_int_equal(strlen(result->sha256), 64);
}

static int on_progress(void *context, const struct kw_progress *progress)
{
    struct seen *seen = context;
    assert_true(progress->bytes_done <= progress->bytes_total);
    assert_true(progress->files_done <= progress->files_total);
    return ++seen->progress == seen->stop_at;
}

static void make_path(char out[256], const char *name)
{
    (void)snprintf(out, 256, "%s/%s", scratch, name);
}

static void test_whole_drop(void **state)
{
    (void)state;
    struct seen seen = {.files = 0};
    const struct kw_decrypt_options options = {
        .on_file = on_file, .on_progress = on_progress, .context = &seen, .jobs = 2};
    struct kw_totals totals = {.files = 0};
    struct kw_error err = {.status = KW_OK};
    char out[256];
    make_path(out, "three");
    struct kw_drop *drop = open_drop("one-bad-of-three");
    assert_int_equal(kw_decrypt(keyring, drop, out, &options, &totals, &err), KW_DAMAGED);
    assert_int_equal(totals.files, 3);
    assert_int_equal(totals.decrypted, 2);
    assert_int_equal(totals.failed, 1);
    assert_int_equal(seen.files, 3);
    assert_true(seen.progress > 0);
    /* Nothing is replaced, and nothing is unwrapped, without force. */
    assert_int_equal(kw_decrypt(keyring, drop, out, NULL, NULL, &err), KW_EXISTS);
    const struct kw_decrypt_options again = {.force = 1};
    assert_int_equal(kw_decrypt(keyring, drop, out, &again, &totals, &err), KW_DAMAGED);
    assert_int_equal(totals.decrypted, 2);
    kw_drop_free(drop);
}

static void test_resume(void **state)
{
    (void)state;
    struct seen seen = {.files = 0};
    const struct kw_decrypt_options options = {
        .resume = 1, .on_file = on_file, .on_progress = on_progress, .context = &seen};
    const struct kw_decrypt_options stop = {.on_error_stop = 1, .jobs = 1, .force = 1};
    struct kw_totals totals = {.files = 0};
    struct kw_error err = {.status = KW_OK};
    char out[256];
    make_path(out, "resumed");
    struct kw_drop *drop = open_drop("one-bad-of-three");
    assert_int_equal(kw_decrypt(keyring, drop, out, &options, &totals, &err), KW_DAMAGED);
    assert_int_equal(totals.decrypted, 2);
    /* What is whole counts as done, and its callbacks come; what failed is done again. */
    seen = (struct seen){.files = 0};
    assert_int_equal(kw_decrypt(keyring, drop, out, &options, &totals, &err), KW_DAMAGED);
    assert_int_equal(totals.decrypted, 2);
    assert_int_equal(totals.failed, 1);
    assert_int_equal(seen.files, 3);
    /* Stopped while it looks at what is there. */
    seen = (struct seen){.stop_at = 1};
    assert_int_equal(kw_decrypt(keyring, drop, out, &options, &totals, &err), KW_INTERRUPTED);
    seen = (struct seen){.files = 0};
    assert_int_equal(kw_decrypt(keyring, drop, out, &options, &totals, &err), KW_DAMAGED);
    assert_int_equal(totals.decrypted, 2);
    /* It is the journal of that drop. */
    struct kw_drop *other = open_drop("good-nested");
    assert_int_equal(kw_decrypt(keyring, other, out, &options, &totals, &err), KW_DROP);
    kw_drop_free(other);
    assert_int_equal(kw_decrypt(keyring, drop, out, &stop, &totals, &err), KW_DAMAGED);
    assert_int_equal(totals.failed, 1);
    assert_int_equal(totals.decrypted + totals.not_reached, 2);
    kw_drop_free(drop);
}

static void test_stop(void **state)
{
    (void)state;
    struct seen seen = {.stop_at = 1};
    const struct kw_decrypt_options options = {
        .on_progress = on_progress, .context = &seen, .jobs = 1};
    struct kw_totals totals = {.files = 0};
    struct kw_error err;
    struct stat info;
    char out[256];
    make_path(out, "stopped");
    struct kw_drop *drop = open_drop("one-bad-of-three");
    assert_int_equal(kw_decrypt(keyring, drop, out, &options, &totals, &err), KW_INTERRUPTED);
    assert_int_equal(totals.decrypted, 0);
    assert_int_equal(totals.not_reached, 3);
    /* A folder that was made and got nothing is gone again. */
    assert_int_not_equal(stat(out, &info), 0);
    kw_drop_free(drop);
}

static void *stream_many(void *argument)
{
    struct kw_drop *drop = argument;
    static _Thread_local char text[65536];
    for (int i = 0; i < 20; i++) {
        struct kw_plain *plain = NULL;
        size_t len = 1;
        if (kw_plain_open(keyring, drop, first_file(drop)->path, &plain, NULL))
            return drop;
        while (len > 0)
            if (kw_plain_read(plain, text, sizeof(text), &len, NULL))
                return drop;
        kw_plain_free(plain);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct kw_drop *drop = open_drop("good-nested");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stream_many, drop), 0);
    for (size_t i = 0; i < 4; i++) {
        void *failed = drop;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    kw_drop_free(drop);
}

static int open_keyring(void **state)
{
    (void)state;
    const struct kw_keyring_options options = {.token = getenv("KW_TEST_TOKEN")};
    struct kw_error err;
    if (!mkdtemp(scratch) || kw_keyring_open(&options, &keyring, &err))
        return -1;
    return 0;
}

static int close_keyring(void **state)
{
    (void)state;
    char command[256];
    kw_keyring_free(keyring);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", scratch);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),   cmocka_unit_test(test_damaged_stream),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_whole_drop),
        cmocka_unit_test(test_resume),   cmocka_unit_test(test_stop),
        cmocka_unit_test(test_threads),
    };
    if (!getenv("KW_TEST_TOKEN") || !getenv("KW_TEST_DROPS"))
        return 77;
    return cmocka_run_group_tests(tests, open_keyring, close_keyring);
}
