/* Files that are not what they seem: metadata that is no file, and files that something else takes
 * the place of while the drop is open. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scratch.h"

#define DETAILS "metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json"
#define JOB     "metadata/JobMetadata/Metadata.json"

/* ---- the metadata's files ---- */

static void refuses_metadata_behind_links(void **state)
{
    (void)state;
    scratch_file("outside/JobMetadata/Metadata.json", "{}");
    scratch_file("drop/metadata/JobMetadata/keep", "");
    assert_int_equal(symlink("../../../outside/JobMetadata/Metadata.json", "drop/" JOB), 0);
    scratch_assert_refused("drop", KW_METADATA, "symbolic link");
    assert_int_equal(scratch_remove("drop/metadata"), 0);
    assert_int_equal(symlink("../outside", "drop/metadata"), 0);
    scratch_assert_refused("drop", KW_METADATA, "symbolic link");
}

static void refuses_metadata_that_is_no_file(void **state)
{
    (void)state;
    scratch_file("drop/" DETAILS "/file", "");
    scratch_assert_refused("drop", KW_METADATA, DETAILS);
    assert_int_equal(scratch_remove("drop/" DETAILS), 0);
    assert_int_equal(mkfifo("drop/" DETAILS, 0600), 0);
    size_t before = scratch_descriptors();
    scratch_assert_refused("drop", KW_METADATA, DETAILS);
    assert_int_equal(scratch_descriptors(), before);
    assert_int_equal(scratch_remove("drop/" DETAILS), 0);
    scratch_file("drop/" DETAILS, "");
    scratch_assert_refused("drop", KW_METADATA, DETAILS);
    assert_int_equal(scratch_remove("drop/metadata"), 0);
    scratch_file("drop/metadata", "a file of that name is data");
    struct kw_drop *drop = scratch_open();
    assert_int_equal(kw_drop_file_at(drop, 0)->kind, KW_FILE_DATA);
    kw_drop_free(drop);
}

static void bounds_the_metadata_file(void **state)
{
    (void)state;
    scratch_file("drop/" JOB, "{}");
    int fd = open("drop/" JOB, O_WRONLY | O_CLOEXEC);
    static char blanks[KW_METADATA_MAX_BYTES - 2];
    memset(blanks, ' ', sizeof(blanks));
    assert_int_equal(pwrite(fd, blanks, sizeof(blanks), 2), sizeof(blanks));
    struct kw_drop *drop = scratch_open();
    assert_int_equal(kw_drop_file_at(drop, 0)->size, KW_METADATA_MAX_BYTES);
    kw_drop_free(drop);
    assert_int_equal(pwrite(fd, " ", 1, KW_METADATA_MAX_BYTES), 1);
    scratch_assert_refused("drop", KW_METADATA, JOB);
    close(fd);
}

/* ---- opening a listed file ---- */

static void opens_listed_files(void **state)
{
    (void)state;
    scratch_file("drop/b/c", "twelve bytes");
    struct kw_drop *drop = scratch_open();
    int fd = -1;
    assert_int_equal(kw_drop_open_file(drop, kw_drop_find(drop, "b/c"), &fd, NULL, NULL), KW_OK);
    char text[32];
    assert_int_equal(read(fd, text, sizeof(text)), 12);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    kw_drop_free(drop);
}

static void to_nothing(void)
{
    assert_int_equal(unlink("drop/b/c"), 0);
}

static void to_link_inside(void)
{
    to_nothing();
    assert_int_equal(symlink("d", "drop/b/c"), 0);
}

static void to_link_outside(void)
{
    to_nothing();
    assert_int_equal(symlink("../../outside", "drop/b/c"), 0);
}

static void to_pipe(void)
{
    to_nothing();
    assert_int_equal(mkfifo("drop/b/c", 0600), 0);
}

static void to_socket(void)
{
    to_nothing();
    scratch_socket("drop/b/c");
}

static void to_folder(void)
{
    to_nothing();
    assert_int_equal(mkdir("drop/b/c", 0700), 0);
}

static void to_shorter(void)
{
    scratch_file("drop/b/c", "five!");
}

static void to_longer(void)
{
    scratch_file("drop/b/c", "sevenly");
}

static void parent_to_link(void)
{
    assert_int_equal(rename("drop/b", "moved"), 0);
    assert_int_equal(symlink("../moved", "drop/b"), 0);
}

static void parent_to_link_inside(void)
{
    assert_int_equal(rename("drop/b", "drop/moved"), 0);
    assert_int_equal(symlink("moved", "drop/b"), 0);
}

static void refuses_what_took_a_files_place(void **state)
{
    (void)state;
    static void (*const swaps[])(void) = {
        to_nothing, to_link_inside, to_link_outside, to_pipe,        to_socket,
        to_folder,  to_shorter,     to_longer,       parent_to_link, parent_to_link_inside,
    };
    for (size_t i = 0; i < KW_COUNT(swaps); i++) {
        scratch_file("outside", "secret");
        scratch_file("drop/b/c", "length");
        scratch_file("drop/b/d", "length");
        struct kw_drop *drop = scratch_open();
        size_t before = scratch_descriptors();
        swaps[i]();
        struct kw_error err = {0};
        int fd = -7;
        assert_int_equal(kw_drop_open_file(drop, kw_drop_find(drop, "b/c"), &fd, NULL, &err),
                         KW_READ);
        assert_int_equal(fd, -7);
        assert_non_null(strstr(err.message, "\"b/c\""));
        assert_int_equal(scratch_descriptors(), before);
        kw_drop_free(drop);
        assert_int_equal(scratch_remove("drop"), 0);
        assert_int_equal(mkdir("drop", 0700), 0);
        (void)scratch_remove("moved");
    }
}

/* A pipe has the size of an empty file. */
static void refuses_a_pipe_for_an_empty_file(void **state)
{
    (void)state;
    scratch_file("drop/b/c", "");
    struct kw_drop *drop = scratch_open();
    to_pipe();
    struct kw_error err = {0};
    int fd = -7;
    assert_int_equal(kw_drop_open_file(drop, kw_drop_find(drop, "b/c"), &fd, NULL, &err), KW_READ);
    assert_int_equal(fd, -7);
    assert_non_null(strstr(err.message, "no longer the file of 0 bytes"));
    kw_drop_free(drop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(refuses_metadata_behind_links),
        SCRATCH_TEST(refuses_metadata_that_is_no_file),
        SCRATCH_TEST(bounds_the_metadata_file),
        SCRATCH_TEST(opens_listed_files),
        SCRATCH_TEST(refuses_what_took_a_files_place),
        SCRATCH_TEST(refuses_a_pipe_for_an_empty_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
