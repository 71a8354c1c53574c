/* Opening drops: what is listed, what is left out, what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drop/walk.h"
#include "scratch.h"

#define DETAILS "metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json"
#define JOB     "metadata/JobMetadata/Metadata.json"

/* ---- what is listed ---- */

static void lists_files_by_path_with_kind_and_size(void **state)
{
    (void)state;
    static const struct kw_drop_file files[] = {
        {"-dash", 4, KW_FILE_DATA},
        {".crc", 4, KW_FILE_DATA},
        {".hidden", 7, KW_FILE_DATA},
        {".part-0.json.crc", 16, KW_FILE_MARKER},
        {"Data/_SUCCESS", 13, KW_FILE_MARKER},
        {"Data/_SUCCESS.json", 18, KW_FILE_DATA},
        {"Data/_committed_12", 18, KW_FILE_MARKER},
        {"Data/metadata/x", 15, KW_FILE_DATA},
        {"Data/part-0.json", 16, KW_FILE_DATA},
        {"_SUCCESS", 8, KW_FILE_MARKER},
        {"_started_", 9, KW_FILE_MARKER},
        {"_started_1/part.json", 20, KW_FILE_DATA},
        {"a", 1, KW_FILE_DATA},
        {"a-b", 3, KW_FILE_DATA},
        {"ab", 2, KW_FILE_DATA},
        {"d/e", 3, KW_FILE_DATA},
        {"metadata/_SUCCESS", 17, KW_FILE_METADATA},
        {"metadata/deep/er/x.json", 23, KW_FILE_METADATA},
        {"metadata2", 9, KW_FILE_DATA},
        {"part-0.json.crc", 15, KW_FILE_DATA},
        {"started_1", 9, KW_FILE_DATA},
        {"x.\xc3\xa9", 4, KW_FILE_DATA},
        {"x.\xff", 3, KW_FILE_DATA},
    };
    /* Made from the last to the first, each holding its own path. */
    for (size_t i = KW_COUNT(files); i-- > 0;) {
        char path[64];
        (void)snprintf(path, sizeof(path), "drop/%s", files[i].path);
        scratch_file(path, files[i].path);
    }
    scratch_file("drop/Data/-1", "");
    struct kw_drop *drop = scratch_open();
    assert_int_equal(kw_drop_file_count(drop), KW_COUNT(files) + 1);
    for (size_t i = 0, at = 0; i < KW_COUNT(files); i++, at++) {
        if (at == 4)
            assert_string_equal(kw_drop_file_at(drop, at++)->path, "Data/-1");
        const struct kw_drop_file *file = kw_drop_file_at(drop, at);
        assert_string_equal(file->path, files[i].path);
        assert_int_equal(file->size, strlen(files[i].path));
        assert_int_equal(file->kind, files[i].kind);
    }
    assert_null(kw_drop_file_at(drop, KW_COUNT(files) + 1));
    assert_int_equal(kw_drop_warnings(drop)->count, 0);
    kw_drop_free(drop);
}

static void finds_data_files_only(void **state)
{
    (void)state;
    static const char *const paths[] = {"drop/a", "drop/b/c", "drop/_SUCCESS", "drop/metadata/x"};
    for (size_t i = 0; i < KW_COUNT(paths); i++)
        scratch_file(paths[i], "x");
    struct kw_drop *drop = scratch_open();
    assert_string_equal(kw_drop_find(drop, "a")->path, "a");
    assert_string_equal(kw_drop_find(drop, "./b/c")->path, "b/c");
    static const char *const not_found[] = {"",           "b",  "b/",    "/a", "../a",
                                            "b/../a",     "A",  "././a", "./", "_SUCCESS",
                                            "metadata/x", "a/", "c"};
    for (size_t i = 0; i < KW_COUNT(not_found); i++)
        assert_null(kw_drop_find(drop, not_found[i]));
    kw_drop_free(drop);
}

static void opens_an_empty_drop(void **state)
{
    (void)state;
    struct kw_drop *drop = scratch_open();
    assert_int_equal(kw_drop_file_count(drop), 0);
    assert_null(kw_drop_file_at(drop, 0));
    assert_null(kw_drop_find(drop, "a"));
    assert_null(kw_drop_envelope(drop));
    assert_string_equal(kw_drop_path(drop), "drop");
    assert_true(fcntl(kw_drop_dirfd(drop), F_GETFD) & FD_CLOEXEC);
    struct kw_error err;
    assert_int_equal(kw_drop_not_encrypted(drop, &err), KW_NOT_ENCRYPTED);
    assert_non_null(strstr(err.message, "\"drop\""));
    assert_non_null(strstr(err.message, DETAILS));
    kw_drop_free(drop);
    kw_drop_free(NULL);
}

static void follows_the_link_that_the_user_names(void **state)
{
    (void)state;
    scratch_file("drop/a", "x");
    assert_int_equal(symlink("drop", "link"), 0);
    struct kw_drop *drop = NULL;
    assert_int_equal(kw_drop_open("link/", &drop, NULL), KW_OK);
    assert_int_equal(kw_drop_file_count(drop), 1);
    kw_drop_free(drop);
    assert_int_equal(kw_drop_open("link", &drop, NULL), KW_OK);
    kw_drop_free(drop);
}

/* ---- what is left out ---- */

static void leaves_out_links_and_special_files(void **state)
{
    (void)state;
    scratch_file("outside", "secret");
    scratch_file("elsewhere/file", "secret");
    scratch_file("drop/deep/real", "x");
    assert_int_equal(symlink("../outside", "drop/to-outside"), 0);
    assert_int_equal(symlink("../elsewhere", "drop/to-folder"), 0);
    assert_int_equal(symlink("deep/real", "drop/to-inside"), 0);
    assert_int_equal(symlink("/etc/passwd", "drop/deep/absolute"), 0);
    assert_int_equal(symlink("nowhere", "drop/dangling"), 0);
    assert_int_equal(symlink("loop", "drop/loop"), 0);
    assert_int_equal(symlink(".", "drop/itself"), 0);
    assert_int_equal(mkfifo("drop/pipe", 0600), 0);
    scratch_socket("drop/sock");
    struct kw_drop *drop = scratch_open();
    assert_int_equal(kw_drop_file_count(drop), 1);
    assert_string_equal(kw_drop_file_at(drop, 0)->path, "deep/real");
    static const char *const links[] = {"\"to-outside\"",    "\"to-folder\"", "\"to-inside\"",
                                        "\"deep/absolute\"", "\"dangling\"",  "\"loop\"",
                                        "\"itself\""};
    for (size_t i = 0; i < KW_COUNT(links); i++)
        assert_true(scratch_has_warning(drop, links[i], "symbolic link"));
    assert_true(scratch_has_warning(drop, "\"pipe\"", "named pipe"));
    assert_true(scratch_has_warning(drop, "\"sock\"", "socket"));
    assert_int_equal(kw_drop_warnings(drop)->count, KW_COUNT(links) + 2);
    kw_drop_free(drop);
}

static void makes_names_printable_in_warnings(void **state)
{
    (void)state;
    scratch_file("drop/line\nfeed\x1b[2J", "x");
    assert_int_equal(symlink("x", "drop/li\nnk\x1b[2J\xff"), 0);
    struct kw_drop *drop = scratch_open();
    assert_string_equal(kw_drop_file_at(drop, 0)->path, "line\nfeed\x1b[2J");
    assert_int_equal(kw_drop_warnings(drop)->count, 1);
    assert_true(scratch_has_warning(drop, "\"li\\x0ank\\x1b[2J\\xff\"", "symbolic link"));
    kw_drop_free(drop);
}

static void bounds_the_warnings(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "drop/%d", i);
        assert_int_equal(symlink("x", path), 0);
    }
    struct kw_drop *drop = scratch_open();
    assert_in_range(kw_drop_warnings(drop)->count, 10, 100);
    assert_true(scratch_has_warning(drop, "more warnings", "left out"));
    kw_drop_free(drop);
}

/* ---- what is refused ---- */

static void refuses_what_is_no_folder(void **state)
{
    (void)state;
    scratch_file("file", "x");
    assert_int_equal(mkfifo("pipe", 0600), 0);
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(symlink("loop", "loop"), 0);
    char too_long[5000];
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    size_t before = scratch_descriptors();
    scratch_assert_refused("file", KW_DROP, "is no folder; name the drop");
    scratch_assert_refused("pipe", KW_DROP, "is no folder");
    scratch_assert_refused("link", KW_DROP, "is no folder");
    scratch_assert_refused("loop", KW_DROP, strerror(ELOOP));
    scratch_assert_refused("missing", KW_DROP, strerror(ENOENT));
    scratch_assert_refused("file/below", KW_DROP, strerror(ENOTDIR));
    scratch_assert_refused("", KW_DROP, strerror(ENOENT));
    scratch_assert_refused(too_long, KW_DROP, strerror(ENAMETOOLONG));
    scratch_assert_refused("mis\x1bsing", KW_DROP, "mis\\x1bsing");
    scratch_assert_refused(NULL, KW_USAGE, "no path");
    assert_int_equal(kw_drop_open("drop", NULL, NULL), KW_USAGE);
    assert_int_equal(scratch_descriptors(), before);
}

/* root may read everything, so root becomes someone who may not. */
static void assert_may_not(const char *path, const char *says)
{
    static const uid_t nobody = 65534;
    uid_t before = geteuid();
    assert_int_equal(chmod(path, 0), 0);
    if (before == 0 && seteuid(nobody) != 0)
        skip();
    scratch_assert_refused("drop", KW_READ, says);
    assert_int_equal(seteuid(before), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static void refuses_what_may_not_be_read(void **state)
{
    (void)state;
    static const char *const folders[] = {".", "drop", "drop/metadata",
                                          "drop/metadata/JobMetadata"};
    scratch_file("drop/" JOB, "{}");
    for (size_t i = 0; i < KW_COUNT(folders); i++)
        assert_int_equal(chmod(folders[i], 0755), 0);
    assert_may_not("drop/" JOB, JOB);
    assert_may_not("drop/metadata/JobMetadata", "\"metadata/JobMetadata\"");
    assert_may_not("drop", "the drop \"drop\"");
}

/* "drop/d/d/.../f" with that many folders. */
static void make_deep(size_t folders)
{
    char path[512] = "drop/";
    for (size_t i = 0; i < folders; i++)
        memcpy(path + strlen(path), "d/", 3);
    memcpy(path + strlen(path), "f", 2);
    scratch_file(path, "x");
}

static void bounds_the_depth(void **state)
{
    (void)state;
    make_deep(KW_DROP_MAX_DEPTH);
    struct kw_drop *drop = scratch_open();
    assert_int_equal(kw_drop_file_count(drop), 1);
    kw_drop_free(drop);
    make_deep(KW_DROP_MAX_DEPTH + 1);
    size_t before = scratch_descriptors();
    scratch_assert_refused("drop", KW_DROP, "folders deep");
    assert_int_equal(scratch_descriptors(), before);
}

/* Folders with names of 255 bytes, made one inside the other: no path of ours may name them all. */
static void bounds_the_length_of_paths(void **state)
{
    (void)state;
    char name[256];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    int folder = open("drop", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(mkdirat(folder, name, 0700), 0);
        int next = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(folder);
        folder = next;
    }
    close(folder);
    scratch_assert_refused("drop", KW_DROP, "longer than 4095 bytes");
}

static void bounds_the_number_of_entries(void **state)
{
    (void)state;
    scratch_file("drop/a", "x");
    scratch_file("drop/b/c", "x");
    scratch_file("drop/b/d", "x");
    assert_int_equal(symlink("x", "drop/e"), 0);
    int fd = open("drop", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t entries = 0; entries < 8; entries++) {
        const struct kw_walk_limits limits = {.entries = entries, .depth = 1};
        struct kw_file_list list = {0};
        struct kw_strings warnings = KW_STRINGS_INIT(10);
        struct kw_error err = {0};
        enum kw_status status = kw_walk(fd, &limits, &list, &warnings, &err);
        assert_int_equal(status, entries < 5 ? KW_DROP : KW_OK);
        assert_true(status != KW_OK || list.count == 3);
        assert_true(status == KW_OK || strstr(err.message, "files and folders"));
        kw_file_list_cleanup(&list);
        kw_strings_cleanup(&warnings);
    }
    const struct kw_walk_limits flat = {.entries = 100, .depth = 0};
    struct kw_file_list list = {0};
    struct kw_strings warnings = KW_STRINGS_INIT(10);
    assert_int_equal(kw_walk(fd, &flat, &list, &warnings, NULL), KW_DROP);
    kw_file_list_cleanup(&list);
    kw_strings_cleanup(&warnings);
    close(fd);
}

static void lists_many_files(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    for (int i = 0; i < MANY; i++) {
        char path[32];
        (void)snprintf(path, sizeof(path), "drop/%d/%d", i % 7, i);
        scratch_file(path, "");
    }
    struct kw_drop *drop = scratch_open();
    assert_int_equal(kw_drop_file_count(drop), MANY);
    for (size_t i = 1; i < MANY; i++)
        assert_true(strcmp(kw_drop_file_at(drop, i - 1)->path, kw_drop_file_at(drop, i)->path) < 0);
    assert_non_null(kw_drop_find(drop, "3/2999"));
    kw_drop_free(drop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(lists_files_by_path_with_kind_and_size),
        SCRATCH_TEST(finds_data_files_only),
        SCRATCH_TEST(opens_an_empty_drop),
        SCRATCH_TEST(follows_the_link_that_the_user_names),
        SCRATCH_TEST(leaves_out_links_and_special_files),
        SCRATCH_TEST(makes_names_printable_in_warnings),
        SCRATCH_TEST(bounds_the_warnings),
        SCRATCH_TEST(refuses_what_is_no_folder),
        SCRATCH_TEST(refuses_what_may_not_be_read),
        SCRATCH_TEST(bounds_the_depth),
        SCRATCH_TEST(bounds_the_length_of_paths),
        SCRATCH_TEST(bounds_the_number_of_entries),
        SCRATCH_TEST(lists_many_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
