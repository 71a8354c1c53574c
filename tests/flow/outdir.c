/* The output folder itself. */
#include "support.h"

static void is_made_where_it_is_missing(void **state)
{
    (void)state;
    static const mode_t masks[] = {0, 022, 0777};
    char base[64];
    char path[128];
    make_folder(base);
    snprintf(path, sizeof(path), "%s/out", base);
    struct kw_outdir *outdir = NULL;
    struct kw_error error = {0};
    assert_int_equal(kw_outdir_open(path, false, &outdir, &error), KW_WRITE);
    assert_says(&error, KW_WRITE, "out");
    assert_null(outdir);
    for (size_t i = 0; i < KW_COUNT(masks); i++) {
        mode_t before = umask(masks[i]);
        assert_int_equal(kw_outdir_open(path, true, &outdir, NULL), KW_OK);
        umask(before);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 07777, 0700);
        /* Nothing was written to it, so it goes again. */
        kw_outdir_free(outdir);
        assert_int_equal(stat(path, &info), -1);
        /* One that is there is taken as it is, and stays. */
        assert_int_equal(mkdir(path, 0755), 0);
        assert_int_equal(chmod(path, 0755), 0);
        assert_int_equal(kw_outdir_open(path, true, &outdir, NULL), KW_OK);
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 07777, 0755);
        assert_int_equal(kw_outdir_sync(outdir, NULL), KW_OK);
        kw_outdir_free(outdir);
        assert_int_equal(rmdir(path), 0);
    }
    outdir = NULL;
    strncat(path, "/deeper", sizeof(path) - strlen(path) - 1);
    assert_int_equal(kw_outdir_open(path, true, &outdir, &error), KW_WRITE);
    assert_int_equal(error.sys_errno, ENOENT);
    assert_null(outdir);
    kw_outdir_free(NULL);
    remove_folder(base);
}

static void small_files_are_written_whole(void **state)
{
    (void)state;
    char base[64];
    char path[128];
    struct kw_outdir *outdir = NULL;
    struct kw_error error = {0};
    make_folder(base);
    snprintf(path, sizeof(path), "%s/out", base);
    assert_int_equal(kw_outdir_open(path, true, &outdir, NULL), KW_OK);
    assert_int_equal(kw_outdir_write(outdir, "a/b.json", false, "{}\n", 3, NULL), KW_OK);
    assert_int_equal(kw_outdir_write(outdir, "empty", false, "", 0, NULL), KW_OK);
    assert_int_equal(kw_outdir_write(outdir, "a/b.json", false, "[]", 2, &error), KW_EXISTS);
    assert_int_equal(kw_outdir_write(outdir, "a/b.json", true, "[]", 2, NULL), KW_OK);
    assert_int_equal(kw_outdir_write(outdir, "../c", true, "[]", 2, &error), KW_WRITE);
    kw_outdir_free(outdir);
    /* It is not empty, so it stays. */
    assert_int_equal(count_below(AT_FDCWD, path, false), 3);
    snprintf(path, sizeof(path), "%s/out/a/b.json", base);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 2);
    remove_folder(base);
}

static void a_file_is_no_folder(void **state)
{
    (void)state;
    char base[64];
    char path[128];
    make_folder(base);
    snprintf(path, sizeof(path), "%s/file", base);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    kw_close(&fd);
    struct kw_outdir *outdir = NULL;
    struct kw_error error = {0};
    assert_int_equal(kw_outdir_open(path, true, &outdir, &error), KW_WRITE);
    assert_int_equal(error.sys_errno, ENOTDIR);
    remove_folder(base);
}

static void is_within(void **state)
{
    (void)state;
    static const char *const folders[] = {"drop", "drop/a", "drop/a/out", "other"};
    static const struct {
        const char *outdir;
        const char *folder;
        bool within;
    } cases[] = {
        {"drop", "drop", true},       {"drop/a/out", "drop", true}, {"drop/a/out", "drop/a", true},
        {"other", "drop", false},     {"drop", "drop/a", false},    {"drop", "other", false},
        {"drop/link", "other", true}, {"drop/link", "drop", false},
    };
    char base[64];
    char path[128];
    make_folder(base);
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < KW_COUNT(folders); i++)
        assert_int_equal(mkdirat(fd, folders[i], 0700), 0);
    assert_int_equal(symlinkat("../other", fd, "drop/link"), 0);
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_outdir *outdir = NULL;
        snprintf(path, sizeof(path), "%s/%s", base, cases[i].outdir);
        assert_int_equal(kw_outdir_open(path, false, &outdir, NULL), KW_OK);
        int folder = openat(fd, cases[i].folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool within = !cases[i].within;
        assert_int_equal(kw_outdir_is_within(outdir, folder, &within, NULL), KW_OK);
        assert_int_equal(within, cases[i].within);
        kw_close(&folder);
        struct kw_error error = {0};
        assert_int_equal(kw_outdir_is_within(outdir, -1, &within, &error), KW_WRITE);
        kw_outdir_free(outdir);
    }
    kw_close(&fd);
    remove_folder(base);
}

static void is_empty_but_for_a_name(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool counts;
    } cases[] = {{"x", false},
                 {".x.keyward-abcdefgh.part", false},
                 {".y.keyward-abcdefgh.part", true},
                 {"y", true}};
    char base[64];
    struct kw_outdir *outdir = NULL;
    bool empty = false;
    make_folder(base);
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(kw_outdir_open(base, false, &outdir, NULL), KW_OK);
    assert_int_equal(kw_outdir_is_empty(outdir, NULL, &empty, NULL), KW_OK);
    assert_true(empty);
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        assert_int_equal(mkdirat(fd, cases[i].name, 0700), 0);
        assert_int_equal(kw_outdir_is_empty(outdir, "x", &empty, NULL), KW_OK);
        assert_int_equal(empty, !cases[i].counts);
        assert_int_equal(kw_outdir_is_empty(outdir, NULL, &empty, NULL), KW_OK);
        assert_false(empty);
        assert_int_equal(unlinkat(fd, cases[i].name, AT_REMOVEDIR), 0);
    }
    kw_outdir_free(outdir);
    kw_close(&fd);
    remove_folder(base);
}

static void has(void **state)
{
    (void)state;
    char base[64];
    struct kw_outdir *outdir = NULL;
    make_folder(base);
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(fd, "a", 0700), 0);
    assert_int_equal(symlinkat("nowhere", fd, "a/link"), 0);
    int file = openat(fd, "a/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0);
    assert_true(file >= 0);
    kw_close(&file);
    assert_int_equal(kw_outdir_open(base, false, &outdir, NULL), KW_OK);
    assert_true(kw_outdir_has(outdir, "a"));
    assert_true(kw_outdir_has(outdir, "a/file"));
    assert_true(kw_outdir_has(outdir, "a/link"));
    assert_false(kw_outdir_has(outdir, "b"));
    assert_false(kw_outdir_has(outdir, "a/b"));
    assert_false(kw_outdir_has(outdir, "b/a"));
    assert_false(kw_outdir_has(outdir, "a/file/x"));
    kw_outdir_free(outdir);
    kw_close(&fd);
    remove_folder(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_made_where_it_is_missing),
        cmocka_unit_test(small_files_are_written_whole),
        cmocka_unit_test(a_file_is_no_folder),
        cmocka_unit_test(is_within),
        cmocka_unit_test(is_empty_but_for_a_name),
        cmocka_unit_test(has),
    };
    return cmocka_run_group_tests_name("flow/outdir", tests, start_crypto, stop_crypto);
}
