/* Loaded before the C library (LD_PRELOAD): a disk that fails at one call, whichever it is.
 *
 * KW_DISK is "ERRNO:N", and the N-th call that writes, names or makes room for something fails
 * (from 1 on), or "ERRNO:N+", and all do from then on. KW_DISK_LOG names a file of 16 bytes: how
 * many such calls there were, and how many failed, as two numbers in the machine's order. The C
 * library's own calls, such as those of printf, are not seen here. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct log {
    atomic_ulong asked;
    atomic_ulong failed;
} own, *counts = &own;
static unsigned long fail_at;
static int fail_with;
static bool fail_on; /* all from then on */

__attribute__((constructor)) static void start(void)
{
    const char *plan = getenv("KW_DISK"), *log = getenv("KW_DISK_LOG");
    char *end = NULL;
    if (plan) {
        fail_with = (int)strtol(plan, &end, 10);
        fail_at = strtoul(end + 1, &end, 10);
        fail_on = *end == '+';
    }
    int fd = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_RDWR | O_CLOEXEC, 0) : -1;
    if (fd < 0)
        return;
    void *shared = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        abort();
    (void)close(fd);
    counts = shared;
}

static bool fails(void)
{
    unsigned long number = atomic_fetch_add(&counts->asked, 1) + 1;
    if (fail_at == 0 || (fail_on ? number < fail_at : number != fail_at))
        return false;
    atomic_fetch_add(&counts->failed, 1);
    errno = fail_with;
    return true;
}

#define CALL(...) (fails() ? -1 : syscall(__VA_ARGS__))

ssize_t write(int fd, const void *data, size_t len)
{
    return CALL(SYS_write, fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return CALL(SYS_pwrite64, fd, data, len, at);
}

int fsync(int fd)
{
    return (int)CALL(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return (int)CALL(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
    return (int)CALL(SYS_syncfs, fd);
}

int ftruncate(int fd, off_t len)
{
    return (int)CALL(SYS_ftruncate, fd, len);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    return (int)CALL(SYS_fallocate, fd, mode, at, len);
}

int posix_fallocate(int fd, off_t at, off_t len)
{
    return CALL(SYS_fallocate, fd, 0, at, len) == 0 ? 0 : errno;
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return (int)CALL(SYS_linkat, from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new)
{
    return (int)CALL(SYS_renameat2, from, old, to, new, 0);
}

int rename(const char *old, const char *new)
{
    return (int)CALL(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    return (int)CALL(SYS_renameat2, from, old, to, new, flags);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    return (int)CALL(SYS_mkdirat, dirfd, path, mode);
}

int mkdir(const char *path, mode_t mode)
{
    return (int)CALL(SYS_mkdirat, AT_FDCWD, path, mode);
}

/* Opening counts where it makes a file. */
static int open_at(int dirfd, const char *path, int flags, unsigned mode)
{
    bool makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
    return makes && fails() ? -1 : (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

int openat(int dirfd, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    return open_at(dirfd, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    return open_at(AT_FDCWD, path, flags, mode);
}
