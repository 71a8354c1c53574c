/* Files that appear when they are whole, with and without files that have no name yet. */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#include "support.h"

struct place {
    char path[64];
    int fd;
    struct kw_outdir *outdir;
};

static void open_place(struct place *place, bool named)
{
    make_folder(place->path);
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(kw_outdir_open(place->path, false, &place->outdir, NULL), KW_OK);
    if (named)
        kw_outdir_avoid_tmpfile(place->outdir);
}

static void close_place(struct place *place)
{
    kw_outdir_free(place->outdir);
    kw_close(&place->fd);
    remove_folder(place->path);
}

static size_t count(const struct place *place)
{
    return count_below(place->fd, ".", false);
}

static void put(const struct place *place, const char *path, const char *text)
{
    int fd = openat(place->fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(kw_write_full(fd, text, strlen(text), path, NULL), KW_OK);
    kw_close(&fd);
}

static void assert_content(const struct place *place, const char *path, const char *text)
{
    char data[256] = "";
    size_t len = 0;
    int fd = openat(place->fd, path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(kw_read_full(fd, data, sizeof(data) - 1, path, &len, NULL), KW_OK);
    kw_close(&fd);
    assert_string_equal(data, text);
}

static mode_t mode_of(const struct place *place, const char *path)
{
    struct stat info;
    assert_int_equal(fstatat(place->fd, path, &info, AT_SYMLINK_NOFOLLOW), 0);
    return info.st_mode & 07777;
}

static struct kw_stage *new_sink(const struct place *place, const char *path, bool force)
{
    struct kw_stage *sink = NULL;
    struct kw_error error = {0};
    if (kw_sink_file_new(place->outdir, path, force, &sink, &error) != KW_OK)
        fail_msg("%s", error.message);
    return sink;
}

/* Writes, finishes and frees, as a flow does. */
static enum kw_status write_all(struct kw_stage *sink, const char *text, struct kw_error *err)
{
    char data[256];
    snprintf(data, sizeof(data), "%s", text);
    enum kw_status status = kw_stage_feed(sink, (uint8_t *)data, strlen(text), err);
    if (status == KW_OK)
        status = kw_stage_done(sink, err);
    kw_stage_free(sink);
    return status;
}

/* ---- the ordinary ---- */

static void appears_when_done(bool named)
{
    struct place place;
    open_place(&place, named);
    struct kw_stage *sink = new_sink(&place, "a/b/part-0.json", false);
    assert_false(kw_outdir_has(place.outdir, "a/b/part-0.json"));
    assert_int_equal(count(&place), named ? 3 : 2);
    assert_int_equal(write_all(sink, "text", NULL), KW_OK);
    assert_true(kw_outdir_has(place.outdir, "a/b/part-0.json"));
    assert_content(&place, "a/b/part-0.json", "text");
    assert_int_equal(count(&place), 3);

    /* Nothing of one that is given up; the folders are there already. */
    sink = new_sink(&place, "a/b/part-1.json", false);
    assert_int_equal(kw_stage_feed(sink, (uint8_t[]){1, 2}, 2, NULL), KW_OK);
    kw_stage_free(sink);
    assert_int_equal(count(&place), 3);

    assert_int_equal(write_all(new_sink(&place, "empty", false), "", NULL), KW_OK);
    assert_content(&place, "empty", "");
    close_place(&place);
}

static void permissions_whatever_the_umask(bool named)
{
    static const mode_t masks[] = {0, 022, 077, 0277, 0777};
    for (size_t i = 0; i < KW_COUNT(masks); i++) {
        struct place place;
        open_place(&place, named);
        mode_t before = umask(masks[i]);
        assert_int_equal(write_all(new_sink(&place, "a/b/c", false), "text", NULL), KW_OK);
        assert_int_equal(write_all(new_sink(&place, "d", true), "text", NULL), KW_OK);
        umask(before);
        assert_int_equal(mode_of(&place, "a"), 0700);
        assert_int_equal(mode_of(&place, "a/b"), 0700);
        assert_int_equal(mode_of(&place, "a/b/c"), 0600);
        assert_int_equal(mode_of(&place, "d"), 0600);
        close_place(&place);
    }
}

static void folders_that_are_there_stay_as_they_are(bool named)
{
    struct place place;
    open_place(&place, named);
    assert_int_equal(mkdirat(place.fd, "a", 0755), 0);
    assert_int_equal(fchmodat(place.fd, "a", 0755, 0), 0);
    assert_int_equal(write_all(new_sink(&place, "a/b", false), "text", NULL), KW_OK);
    assert_int_equal(mode_of(&place, "a"), 0755);
    close_place(&place);
}

static void long_names(bool named)
{
    struct place place;
    char name[257];
    open_place(&place, named);
    memset(name, 'n', sizeof(name));
    name[255] = '\0';
    assert_int_equal(write_all(new_sink(&place, name, false), "text", NULL), KW_OK);
    assert_int_equal(write_all(new_sink(&place, name, true), "other", NULL), KW_OK);
    assert_content(&place, name, "other");
    assert_int_equal(count(&place), 1);

    struct kw_stage *sink = NULL;
    struct kw_error error = {0};
    name[255] = 'n';
    name[256] = '\0';
    assert_int_equal(kw_sink_file_new(place.outdir, name, true, &sink, &error), KW_WRITE);
    assert_int_equal(error.sys_errno, ENAMETOOLONG);
    close_place(&place);
}

/* ---- what is there already ---- */

static void assert_refused(const struct place *place, const char *path, bool force,
                           enum kw_status status, const char *says)
{
    struct kw_stage *sink = NULL;
    struct kw_error error = {0};
    assert_int_equal(kw_sink_file_new(place->outdir, path, force, &sink, &error), status);
    assert_null(sink);
    assert_says(&error, status, says);
}

static void keeps_what_exists(bool named)
{
    struct place place;
    struct kw_error error = {0};
    open_place(&place, named);
    put(&place, "there", "old");
    assert_int_equal(symlinkat("nowhere", place.fd, "link"), 0);
    assert_int_equal(write_all(new_sink(&place, "there", false), "new", &error), KW_EXISTS);
    assert_says(&error, KW_EXISTS, "there exists; use --force to replace it");
    assert_int_equal(write_all(new_sink(&place, "link", false), "new", &error), KW_EXISTS);
    assert_says(&error, KW_EXISTS, "link exists");
    assert_content(&place, "there", "old");

    /* It may come to be there while the file is written. */
    struct kw_stage *sink = new_sink(&place, "late", false);
    put(&place, "late", "old");
    assert_int_equal(write_all(sink, "new", &error), KW_EXISTS);
    assert_says(&error, KW_EXISTS, "late exists; use --force to replace it");
    assert_content(&place, "late", "old");
    assert_int_equal(count(&place), 3);
    close_place(&place);
}

static void replaces_with_force(bool named)
{
    struct place place;
    open_place(&place, named);
    put(&place, "there", "old and longer");
    assert_int_equal(symlinkat("there", place.fd, "link"), 0);
    struct kw_stage *sink = new_sink(&place, "there", true);
    assert_content(&place, "there", "old and longer");
    assert_int_equal(write_all(sink, "new", NULL), KW_OK);
    assert_content(&place, "there", "new");
    assert_int_equal(mode_of(&place, "there"), 0600);

    /* The link is replaced, not what it leads to. */
    assert_int_equal(write_all(new_sink(&place, "link", true), "newer", NULL), KW_OK);
    assert_content(&place, "there", "new");
    assert_content(&place, "link", "newer");
    assert_int_equal(write_all(new_sink(&place, "fresh", true), "text", NULL), KW_OK);
    assert_int_equal(count(&place), 3);

    sink = new_sink(&place, "there", true);
    kw_stage_free(sink);
    assert_content(&place, "there", "new");
    assert_int_equal(count(&place), 3);
    close_place(&place);
}

static void force_replaces_no_folder(bool named)
{
    struct place place;
    struct kw_error error = {0};
    open_place(&place, named);
    assert_int_equal(mkdirat(place.fd, "folder", 0700), 0);
    assert_refused(&place, "folder", true, KW_EXISTS, "is a folder");
    struct kw_stage *sink = new_sink(&place, "late", true);
    assert_int_equal(mkdirat(place.fd, "late", 0700), 0);
    assert_int_equal(write_all(sink, "text", &error), KW_WRITE);
    assert_says(&error, KW_WRITE, "late");
    assert_int_equal(count(&place), 2);
    close_place(&place);
}

/* ---- before the name ---- */

struct named {
    const struct place *place;
    uint64_t inode;
    size_t calls;
    enum kw_status answer;
};

static enum kw_status note_inode(void *context, uint64_t inode, struct kw_error *err)
{
    struct named *named = context;
    assert_false(kw_outdir_has(named->place->outdir, "a/file"));
    named->inode = inode;
    named->calls++;
    return named->answer ? kw_fail(err, named->answer, "no name") : KW_OK;
}

static void is_told_before_the_name(bool named)
{
    struct place place;
    struct stat info;
    struct kw_error error = {0};
    open_place(&place, named);
    for (int refused = 1; refused >= 0; refused--) {
        struct named note = {.place = &place, .answer = refused ? KW_WRITE : KW_OK};
        struct kw_stage *sink = new_sink(&place, "a/file", refused != 0);
        kw_sink_file_before_name(sink, note_inode, &note);
        assert_int_equal(write_all(sink, "text", &error), note.answer);
        assert_int_equal(note.calls, 1);
        assert_int_equal(count(&place), refused ? 1 : 2);
        if (!refused) {
            assert_int_equal(fstatat(place.fd, "a/file", &info, AT_SYMLINK_NOFOLLOW), 0);
            assert_int_equal(info.st_ino, note.inode);
        }
    }
    close_place(&place);
}

/* As a killed process leaves them. */
static void temporary_names_are_known(bool named)
{
    static const char *const others[] = {
        ".keyward-abcdefgh.part",    "x.keyward-abcdefgh.part",
        ".x.keyward-abcdefg.part",   ".x.keyward-abcdefg1.part",
        ".x.keyward-abcdefgh.parts", ".x.part",
        ".keyward-journal",          ".part",
    };
    struct place place;
    open_place(&place, named);
    struct kw_stage *sink = new_sink(&place, "a/x", false);
    put(&place, "a/.x.keyward-abcdefgh.part", "");
    put(&place, "a/..keyward-234567ab.part", "");
    for (size_t i = 0; i < KW_COUNT(others); i++) {
        char path[64];
        snprintf(path, sizeof(path), "a/%s", others[i]);
        put(&place, path, "");
        assert_false(kw_is_temporary_name(others[i]));
    }
    kw_outdir_remove_temporaries(place.outdir, "a");
    kw_outdir_remove_temporaries(place.outdir, "missing");
    assert_int_equal(count(&place), 1 + KW_COUNT(others));
    assert_int_equal(kw_outdir_remove(place.outdir, "a/.part", NULL), KW_OK);
    assert_int_equal(kw_outdir_remove(place.outdir, "a/.part", NULL), KW_OK);
    assert_int_equal(kw_outdir_remove(place.outdir, "../x", NULL), KW_WRITE);
    assert_int_equal(kw_outdir_remove(place.outdir, "a", NULL), KW_WRITE);
    assert_int_equal(count(&place), KW_COUNT(others));
    kw_stage_free(sink);
    close_place(&place);
}

/* ---- what is in the way ---- */

static void links_on_the_way_are_refused(bool named)
{
    struct place place;
    char outside[64];
    open_place(&place, named);
    make_folder(outside);
    assert_int_equal(symlinkat(outside, place.fd, "link"), 0);
    assert_int_equal(mkdirat(place.fd, "a", 0700), 0);
    assert_int_equal(symlinkat("../a", place.fd, "a/inner"), 0);
    assert_refused(&place, "link/file", false, KW_WRITE, "symbolic link");
    assert_refused(&place, "link/deeper/file", true, KW_WRITE, "symbolic link");
    assert_refused(&place, "a/inner/file", false, KW_WRITE, "symbolic link");
    assert_int_equal(count_below(AT_FDCWD, outside, false), 0);
    remove_folder(outside);
    close_place(&place);
}

static void paths_that_leave_are_refused(bool named)
{
    static const char *const paths[] = {
        "", "/", "/etc/x", "..", "../x", "a/../../x", "a/..", ".", "./x", "a//b", "a/", "a/.",
    };
    struct place place;
    open_place(&place, named);
    for (size_t i = 0; i < KW_COUNT(paths); i++)
        assert_refused(&place, paths[i], true, KW_WRITE, "is no path below");
    assert_int_equal(count(&place), 0);
    assert_int_equal(write_all(new_sink(&place, "..a/...", false), "text", NULL), KW_OK);
    close_place(&place);
}

static void a_file_on_the_way_is_an_error(bool named)
{
    struct place place;
    open_place(&place, named);
    put(&place, "file", "text");
    assert_refused(&place, "file/below", true, KW_WRITE, "file/below");
    assert_content(&place, "file", "text");
    close_place(&place);
}

/* ---- trouble at the end ---- */

static void a_removed_folder_is_an_error(bool named)
{
    for (int force = 0; force <= 1; force++) {
        struct place place;
        struct kw_error error = {0};
        open_place(&place, named);
        struct kw_stage *sink = new_sink(&place, "a/b/file", force == 1);
        count_below(place.fd, ".", true); /* and all in it */
        assert_int_equal(write_all(sink, "text", &error), KW_WRITE);
        assert_says(&error, KW_WRITE, "a/b/file");
        assert_int_equal(count(&place), 0);
        close_place(&place);
    }
}

/* A small filesystem of our own in a mount namespace of our own: for root alone. */
static void a_full_disk_leaves_nothing(bool named)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, "") != 0) {
        print_message("mounting is not allowed here, so a full disk is not tried\n");
        skip();
    }
    char path[64];
    static uint8_t data[65536];
    make_folder(path);
    assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=256k"), 0);
    for (int force = 0; force <= 1; force++) {
        struct kw_outdir *outdir = NULL;
        struct kw_stage *sink = NULL;
        struct kw_error error = {0};
        assert_int_equal(kw_outdir_open(path, false, &outdir, NULL), KW_OK);
        if (named)
            kw_outdir_avoid_tmpfile(outdir);
        assert_int_equal(kw_sink_file_new(outdir, "file", force == 1, &sink, NULL), KW_OK);
        enum kw_status status = KW_OK;
        for (int i = 0; i < 10 && status == KW_OK; i++)
            status = kw_stage_feed(sink, data, sizeof(data), &error);
        assert_int_equal(status, KW_WRITE);
        assert_says(&error, KW_WRITE, "file");
        assert_int_equal(error.sys_errno, ENOSPC);
        kw_stage_free(sink);
        assert_int_equal(count_below(AT_FDCWD, path, false), 0);

        /* What the file took is free again. */
        assert_int_equal(kw_sink_file_new(outdir, "file", force == 1, &sink, NULL), KW_OK);
        assert_int_equal(write_all(sink, "text", NULL), KW_OK);
        assert_int_equal(count_below(AT_FDCWD, path, true), 1);
        kw_outdir_free(outdir);
    }
    assert_int_equal(umount(path), 0);
    assert_int_equal(rmdir(path), 0);
}

static void only_one_of_two_wins(bool named)
{
    struct place place;
    struct kw_error error = {0};
    open_place(&place, named);
    struct kw_stage *first = new_sink(&place, "a/file", false);
    struct kw_stage *second = new_sink(&place, "a/file", false);
    assert_int_equal(write_all(second, "second", NULL), KW_OK);
    assert_int_equal(write_all(first, "first", &error), KW_EXISTS);
    assert_content(&place, "a/file", "second");
    assert_int_equal(count(&place), 2);
    close_place(&place);
}

static void (*const cases[])(bool named) = {
    appears_when_done,
    permissions_whatever_the_umask,
    folders_that_are_there_stay_as_they_are,
    long_names,
    keeps_what_exists,
    replaces_with_force,
    is_told_before_the_name,
    temporary_names_are_known,
    force_replaces_no_folder,
    links_on_the_way_are_refused,
    paths_that_leave_are_refused,
    a_file_on_the_way_is_an_error,
    a_removed_folder_is_an_error,
    only_one_of_two_wins,
};

static void without_a_name_at_first(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(cases); i++)
        cases[i](false);
}

static void with_a_temporary_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(cases); i++)
        cases[i](true);
}

static void full_disk_without_a_name_at_first(void **state)
{
    (void)state;
    a_full_disk_leaves_nothing(false);
}

static void full_disk_with_a_temporary_name(void **state)
{
    (void)state;
    a_full_disk_leaves_nothing(true);
}

/* ---- descriptors and buffers ---- */

static void a_descriptor_stays_open(void **state)
{
    (void)state;
    struct kw_stage *sink = NULL;
    int fd = memfd_create("out", MFD_CLOEXEC);
    assert_int_equal(kw_sink_fd_new(fd, "out", &sink, NULL), KW_OK);
    assert_int_equal(write_all(sink, "text", NULL), KW_OK);
    assert_int_equal(lseek(fd, 0, SEEK_END), 4);
    kw_close(&fd);
    kw_stage_free(NULL);
}

static void a_full_device_is_an_error(void **state)
{
    (void)state;
    struct kw_stage *sink = NULL;
    struct kw_error error = {0};
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(kw_sink_fd_new(fd, "standard output", &sink, NULL), KW_OK);
    assert_int_equal(write_all(sink, "text", &error), KW_WRITE);
    assert_says(&error, KW_WRITE, "standard output");
    kw_close(&fd);
}

struct patience {
    unsigned asked, limit;
};
static bool wait_on(void *context)
{
    struct patience *patience = context;
    return ++patience->asked < patience->limit;
}

static struct kw_stage *new_pipe(int ends[2], struct patience *patience)
{
    struct kw_stage *sink = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(kw_sink_pipe_new(ends[1], "the reader", wait_on, patience, &sink, NULL),
                     KW_OK);
    return sink;
}

static void a_full_pipe_waits_until_it_is_told_to_stop(void **state)
{
    (void)state;
    int ends[2];
    struct patience patience = {.limit = 3};
    struct kw_error error = {0};
    struct kw_stage *sink = new_pipe(ends, &patience);
    static uint8_t data[1024 * 1024];
    assert_int_equal(kw_stage_feed(sink, data, sizeof(data), &error), KW_INTERRUPTED);
    assert_int_equal(patience.asked, 3);
    kw_stage_free(sink);
    kw_close(&ends[0]);
    kw_close(&ends[1]);
}

static void a_pipe_whose_reader_is_gone_is_told(void **state)
{
    (void)state;
    int ends[2];
    uint8_t data[16] = {0};
    struct patience patience = {.limit = 3};
    struct kw_error error = {0};
    struct kw_stage *sink = new_pipe(ends, &patience);
    assert_ptr_not_equal(signal(SIGPIPE, SIG_IGN), SIG_ERR);
    assert_int_equal(kw_stage_feed(sink, data, sizeof(data), &error), KW_OK);
    kw_close(&ends[0]);
    assert_int_equal(kw_stage_feed(sink, data, sizeof(data), &error), KW_WRITE);
    assert_int_equal(error.sys_errno, EPIPE);
    assert_non_null(strstr(error.message, "the reader"));
    kw_stage_free(sink);
    kw_close(&ends[1]);
}

static void a_buffer_has_its_bound(void **state)
{
    (void)state;
    struct kw_buffer buffer = KW_BUFFER_INIT(6);
    struct kw_stage *sink = NULL;
    assert_int_equal(kw_sink_buffer_new(&buffer, &sink, NULL), KW_OK);
    assert_int_equal(kw_stage_feed(sink, (uint8_t *)(char[]){"text"}, 4, NULL), KW_OK);
    assert_int_not_equal(kw_stage_feed(sink, (uint8_t *)(char[]){"text"}, 4, NULL), KW_OK);
    assert_bytes(&buffer, "text", 4);
    kw_stage_free(sink);
    kw_buffer_cleanup(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_name_at_first),
        cmocka_unit_test(with_a_temporary_name),
        cmocka_unit_test(full_disk_without_a_name_at_first),
        cmocka_unit_test(full_disk_with_a_temporary_name),
        cmocka_unit_test(a_descriptor_stays_open),
        cmocka_unit_test(a_full_device_is_an_error),
        cmocka_unit_test(a_full_pipe_waits_until_it_is_told_to_stop),
        cmocka_unit_test(a_pipe_whose_reader_is_gone_is_told),
        cmocka_unit_test(a_buffer_has_its_bound),
    };
    return cmocka_run_group_tests_name("flow/sink", tests, start_crypto, stop_crypto);
}
