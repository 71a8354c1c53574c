/* Files: what may not be opened, and reads and writes that are interrupted or cut short. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base_test.h"

/* A folder of the test's own, which is also its working directory:
 *   inside/file  inside/sub/file  inside/link -> file  inside/sublink -> sub
 *   inside/out -> ../secret  inside/fifo  secret */
static char root[] = "/tmp/keyward-base-file-XXXXXX";

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int make_tree(void **state)
{
    (void)state;
    if (!mkdtemp(root) || chdir(root) != 0 || mkdir("inside", 0700) != 0 ||
        mkdir("inside/sub", 0700) != 0)
        return -1;
    write_text("secret", "secret");
    write_text("inside/file", "one");
    write_text("inside/sub/file", "two");
    return symlink("file", "inside/link") | symlink("sub", "inside/sublink") |
           symlink("../secret", "inside/out") | mkfifo("inside/fifo", 0600);
}

static int remove_tree(void **state)
{
    (void)state;
    static const char *const files[] = {"inside/file",    "inside/sub/file", "inside/link",
                                        "inside/sublink", "inside/out",      "inside/fifo",
                                        "secret"};
    for (size_t i = 0; i < KW_COUNT(files); i++)
        (void)unlink(files[i]);
    return rmdir("inside/sub") | rmdir("inside") | rmdir(root);
}

/* ---- opening ---- */

static const struct {
    const char *path;
    int flags;
    int error; /* 0: opens */
} openings[] = {
    {"file", O_RDONLY, 0},
    {"sub/file", O_RDONLY, 0},
    {"./sub/./file", O_RDONLY, 0},
    {"sub//file", O_RDONLY, 0},
    {"sub", O_RDONLY | O_DIRECTORY, 0},
    {"sub/", O_RDONLY, 0},
    {".", O_RDONLY | O_DIRECTORY, 0},
    {"..", O_RDONLY, EXDEV},
    {"../secret", O_RDONLY, EXDEV},
    {"../inside/file", O_RDONLY, EXDEV},
    {"sub/../../secret", O_RDONLY, EXDEV},
    {"/etc/passwd", O_RDONLY, EXDEV},
    {"/", O_RDONLY, EXDEV},
    {"link", O_RDONLY, ELOOP},
    {"link", O_RDWR | O_CREAT | O_TRUNC, ELOOP},
    {"link", O_RDONLY | O_DIRECTORY, ELOOP},
    {"sublink", O_RDONLY | O_DIRECTORY, ELOOP},
    {"sublink/file", O_RDONLY, ELOOP},
    {"out", O_RDONLY, ELOOP},
    {"out/x", O_RDONLY, ELOOP},
    {"", O_RDONLY, ENOENT},
    {"absent", O_RDONLY, ENOENT},
    {"absent/file", O_RDONLY, ENOENT},
    {"file/x", O_RDONLY, ENOTDIR},
    {"file/", O_RDONLY, ENOTDIR},
    {"file", O_RDONLY | O_DIRECTORY, ENOTDIR},
    {"file", O_WRONLY | O_CREAT | O_EXCL, EEXIST},
};

/* Returns the number of the first row that did not do as it should plus one, or 0. */
static int try_openings(void)
{
    int folder = open("inside", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < KW_COUNT(openings); i++) {
        errno = 0;
        int fd = kw_open_beneath(folder, openings[i].path, openings[i].flags, 0600);
        bool opened_well =
            fd >= 0 && openings[i].error == 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
        bool failed_well = fd == -1 && openings[i].error != 0 && errno == openings[i].error;
        if (!opened_well && !failed_well)
            return (int)i + 1;
        kw_close(&fd);
    }
    char long_name[NAME_MAX + 2];
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    if (kw_open_beneath(folder, long_name, O_RDONLY, 0) >= 0 || errno != ENAMETOOLONG)
        return 100;
    int fd = kw_open_beneath(folder, "sub/new", O_WRONLY | O_CREAT | O_EXCL, 0600);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0 || (info.st_mode & 07777) != 0600 ||
        unlinkat(folder, "sub/new", 0) != 0)
        return 101;
    kw_close(&fd);
    if (access("secret", F_OK) != 0 || fstatat(folder, "file", &info, 0) != 0 || info.st_size != 3)
        return 102;
    kw_close(&folder);
    return 0;
}

static void openings_beneath(void **state)
{
    (void)state;
    assert_int_equal(try_openings(), 0);
}

/* The same where the kernel, or a container, has no openat2. */
static int try_openings_without_openat2(uint32_t answer)
{
    if (!take_call_away(SYS_openat2, -1, answer))
        return 200;
    errno = 0;
    if (syscall(SYS_openat2, -1, "", NULL, 0) != -1 || errno == EBADF || errno == EINVAL)
        return 201;
    return try_openings();
}

static void openings_without_openat2(void **state)
{
    (void)state;
    static const uint32_t answers[] = {ENOSYS, EPERM};
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(try_openings_without_openat2(answers[i]));
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void closing(void **state)
{
    (void)state;
    int fd = open(".", O_RDONLY | O_CLOEXEC);
    int copy = fd;
    kw_close(&fd);
    assert_int_equal(fd, -1);
    assert_int_equal(fcntl(copy, F_GETFD), -1);
    kw_close(&fd);
    assert_int_equal(fd, -1);
}

/* ---- reading and writing ---- */

static void on_alarm(int number)
{
    (void)number;
}

/* Signals that interrupt system calls, until it is called with 0. */
static void interrupt_every(long microseconds)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void short_and_interrupted_reads(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        bool ok = true;
        for (int i = 0; i < 20; i++) {
            ok = ok && write(ends[1], "x", 1) == 1;
            (void)usleep(3000);
        }
        _exit(ok ? 0 : 1);
    }
    kw_close(&ends[1]);
    struct kw_error err;
    char data[32];
    size_t len = 4711;
    interrupt_every(1000);
    assert_ok(kw_read_full(ends[0], data, 15, "x", &len, &err));
    assert_int_equal(len, 15);
    assert_ok(kw_read_full(ends[0], data, sizeof(data), "x", &len, &err));
    interrupt_every(0);
    assert_int_equal(len, 5);
    assert_ok(kw_read_full(ends[0], data, sizeof(data), "x", &len, &err));
    assert_int_equal(len, 0);
    assert_ok(kw_read_full(-1, NULL, 0, "x", &len, &err));
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    kw_close(&ends[0]);
}

static void short_and_interrupted_writes(void **state)
{
    (void)state;
    enum { SIZE = 300000 }; /* more than a pipe holds */
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        kw_close(&ends[1]);
        size_t total = 0;
        static char data[32768];
        for (ssize_t got = 1; got > 0; total += (size_t)(got > 0 ? got : 0)) {
            (void)usleep(5000);
            got = read(ends[0], data, sizeof(data));
        }
        _exit(total == SIZE ? 0 : 1);
    }
    kw_close(&ends[0]);
    struct kw_error err;
    static const char data[SIZE];
    interrupt_every(1000);
    assert_ok(kw_write_full(ends[1], data, SIZE, "x", &err));
    interrupt_every(0);
    kw_close(&ends[1]);
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void failing_reads_and_writes(void **state)
{
    (void)state;
    struct kw_error err;
    char data[4] = "abc";
    size_t len = 4711;
    assert_fails(kw_read_full(-1, data, 4, "the file x", &len, &err), KW_READ,
                 "the file x can't be read");
    assert_int_equal(err.sys_errno, EBADF);
    assert_int_equal(len, 4711);

    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (full >= 0) {
        assert_fails(kw_write_full(full, data, 4, "the file x", &err), KW_WRITE,
                     "the file x can't be written");
        assert_int_equal(err.sys_errno, ENOSPC);
    }
    kw_close(&full);

    int ends[2];
    assert_int_equal(pipe(ends), 0);
    kw_close(&ends[0]);
    assert_true(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    assert_fails(kw_write_full(ends[1], data, 4, "x", &err), KW_WRITE, "x can't be written");
    assert_int_equal(err.sys_errno, EPIPE);
    assert_ok(kw_write_full(-1, NULL, 0, "x", &err));
    kw_close(&ends[1]);
}

/* ---- whole files ---- */

static enum kw_status read_path(const char *path, size_t max, struct kw_buffer *ret_buffer,
                                struct kw_error *err)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    enum kw_status status = kw_read_file(fd, max, "the file x", KW_METADATA, ret_buffer, err);
    kw_close(&fd);
    return status;
}

static void whole_files(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_buffer buffer = KW_BUFFER_INIT(0);
    assert_ok(read_path("secret", 6, &buffer, &err));
    assert_int_equal(buffer.len, 6);
    assert_string_equal((char *)buffer.data, "secret");
    kw_buffer_cleanup(&buffer);

    write_text("empty", "");
    assert_ok(read_path("empty", 0, &buffer, &err));
    assert_int_equal(unlink("empty"), 0);
    assert_int_equal(buffer.len, 0);
    assert_string_equal((char *)buffer.data, "");
    kw_buffer_cleanup(&buffer);
}

static void files_that_are_refused(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_buffer untouched = {.len = 4711};
    assert_fails(read_path("secret", 5, &untouched, &err), KW_METADATA,
                 "the file x has more than the 5 bytes");
    assert_fails(read_path("secret", SIZE_MAX, &untouched, &err), KW_METADATA, "more than");
    assert_fails(read_path("inside", 100, &untouched, &err), KW_METADATA, "not a regular file");
    assert_fails(read_path("inside/fifo", 100, &untouched, &err), KW_METADATA,
                 "not a regular file");
    assert_fails(read_path("/dev/zero", 100, &untouched, &err), KW_METADATA, "not a regular file");
    assert_fails(read_path("absent", 100, &untouched, &err), KW_READ, "the file x can't be read");
    /* says that it has no bytes, and gives some */
    assert_fails(read_path("/proc/self/status", 1 << 20, &untouched, &err), KW_METADATA, "grew");
    assert_int_equal(untouched.len, 4711);
    assert_null(untouched.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openings_beneath),
        cmocka_unit_test(openings_without_openat2),
        cmocka_unit_test(closing),
        cmocka_unit_test(short_and_interrupted_reads),
        cmocka_unit_test(short_and_interrupted_writes),
        cmocka_unit_test(failing_reads_and_writes),
        cmocka_unit_test(whole_files),
        cmocka_unit_test(files_that_are_refused),
    };
    return cmocka_run_group_tests(tests, make_tree, remove_tree);
}
