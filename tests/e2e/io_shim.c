/* Loaded before the C library (LD_PRELOAD): faults of disks and networks that no test machine has.
 *
 * KW_SHIM is "read:ERRNO:TIMES:TEXT" or "write:ERRNO:TIMES:TEXT": so many calls fail with the errno
 * on files whose path has the text in it. "tmpfile" takes O_TMPFILE away; "pause:MS:TIMES:TEXT"
 * holds reads up, as a slow disk does. "attack:FD:1:TEXT" is hostile code in whatever reads the
 * file: it writes what it got to that descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "attack.h"

static atomic_long used;

/* Whether this call is to be hit: KW_SHIM is for `what`, and the file's path fits. */
static int is_hit(const char *what, int fd, long *ret_number)
{
    const char *shim = getenv("KW_SHIM");
    size_t len = strlen(what);
    if (!shim || strncmp(shim, what, len) != 0 || shim[len] != ':')
        return 0;
    char *end = NULL;
    long number = strtol(shim + len + 1, &end, 10);
    long times = strtol(end + 1, &end, 10);
    char link[64];
    char path[4096] = "";
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof(path) - 1);
    if (got < 0 || !strstr(path, end + 1) || atomic_fetch_add(&used, 1) >= times)
        return 0;
    *ret_number = number;
    return 1;
}

ssize_t read(int fd, void *data, size_t len)
{
    long number = 0;
    if (is_hit("read", fd, &number)) {
        errno = (int)number;
        return -1;
    }
    if (is_hit("pause", fd, &number)) {
        const struct timespec pause = {number / 1000, number % 1000 * 1000000};
        (void)nanosleep(&pause, NULL);
    }
    if (is_hit("attack", fd, &number))
        kw_attack((int)number);
    return syscall(SYS_read, fd, data, len);
}

ssize_t write(int fd, const void *data, size_t len)
{
    long number = 0;
    if (is_hit("write", fd, &number)) {
        errno = (int)number;
        return -1;
    }
    return syscall(SYS_write, fd, data, len);
}

int openat(int dirfd, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    const char *shim = getenv("KW_SHIM");
    if (shim && strcmp(shim, "tmpfile") == 0 && (flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}
