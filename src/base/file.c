/* Opening below a folder, and reading and writing whole lengths. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"

#define OPEN_TRIES 16 /* openat2 gives EAGAIN while someone renames above it */

void kw_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* the descriptor is gone whatever close says */
    *fd = -1;
}

static bool makes_file(int flags)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

/* Copies the component that starts at *path to `name` and moves *path to the next one, or to the
 * end. */
static bool next_component(const char **path, char name[NAME_MAX + 1])
{
    size_t len = strcspn(*path, "/");
    if (len > NAME_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(name, *path, len);
    name[len] = '\0';
    *path += len;
    *path += strspn(*path, "/");
    if (strcmp(name, "..") == 0) {
        errno = EXDEV;
        return false;
    }
    return true;
}

/* O_DIRECTORY turns the ELOOP of a symbolic link into ENOTDIR. */
static int open_component(int dirfd, const char *name, int flags, unsigned mode)
{
    int fd = openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    struct stat info;
    if (fd < 0 && errno == ENOTDIR) {
        bool is_link =
            fstatat(dirfd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode);
        errno = is_link ? ELOOP : ENOTDIR;
    }
    return fd;
}

/* For kernels and containers without openat2: one component at a time. Stricter in that ".." is
 * refused everywhere. */
static int open_step_by_step(int dirfd, const char *path, int flags, unsigned mode)
{
    if (*path == '/' || *path == '\0') {
        errno = *path == '/' ? EXDEV : ENOENT;
        return -1;
    }
    int folder = -1;
    int fd = -1;
    for (;;) {
        char name[NAME_MAX + 1];
        bool ok = next_component(&path, name);
        bool last = *path == '\0';
        bool must_be_folder = last && path[-1] == '/';
        if (ok && must_be_folder)
            flags |= O_DIRECTORY;
        int from = folder >= 0 ? folder : dirfd;
        if (ok)
            fd = open_component(from, name, last ? flags : O_PATH | O_DIRECTORY, last ? mode : 0);
        int saved = errno;
        kw_close(&folder);
        errno = saved;
        if (!ok || fd < 0 || last)
            return ok ? fd : -1;
        folder = fd;
        fd = -1;
    }
}

int kw_open_beneath(int dirfd, const char *path, int flags, unsigned mode)
{
    struct open_how how = {
        .flags = (unsigned)(flags | O_CLOEXEC),
        .mode = makes_file(flags) ? mode : 0, /* openat2 refuses a mode that has no use */
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
        if (fd >= 0)
            return (int)fd;
        /* EPERM is what older container runtimes answer to a system call they don't know. */
        if (errno == ENOSYS || errno == EPERM)
            return open_step_by_step(dirfd, path, flags, mode);
        if (errno != EAGAIN && errno != EINTR)
            return -1;
    }
    return -1;
}

int kw_rename_new(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
    struct stat info;
    if (renameat2(from_dirfd, from, to_dirfd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL)
        return -1;
    if (fstatat(to_dirfd, to, &info, AT_SYMLINK_NOFOLLOW) == 0)
        errno = EEXIST;
    else if (errno == ENOENT)
        return renameat(from_dirfd, from, to_dirfd, to);
    return -1;
}

enum kw_status kw_read_full(int fd, void *data, size_t len, const char *what, size_t *ret_len,
                            struct kw_error *err)
{
    uint8_t *bytes = data;
    size_t done = 0;
    while (done < len) {
        ssize_t got = read(fd, bytes + done, len - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return kw_fail_errno(err, KW_READ, errno, "%s can't be read", what);
        if (got == 0)
            break;
        done += (size_t)got;
    }
    *ret_len = done;
    return KW_OK;
}

enum kw_status kw_write_full(int fd, const void *data, size_t len, const char *what,
                             struct kw_error *err)
{
    const uint8_t *bytes = data;
    size_t done = 0;
    while (done < len) {
        ssize_t put = write(fd, bytes + done, len - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return kw_fail_errno(err, KW_WRITE, put < 0 ? errno : EIO, "%s can't be written", what);
        done += (size_t)put;
    }
    return KW_OK;
}

enum kw_status kw_read_file(int fd, size_t max, const char *what, enum kw_status family,
                            struct kw_buffer *ret_buffer, struct kw_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be read", what);
    if (!S_ISREG(info.st_mode))
        return kw_fail(err, family, "%s is not a regular file; give one that is", what);
    if (max >= SIZE_MAX - 1 || info.st_size < 0 || (uint64_t)info.st_size > max)
        return kw_fail(err, family, "%s has more than the %zu bytes that are allowed", what, max);
    /* One byte more than it had tells whether it grew; its place is the NUL's afterwards. */
    size_t size = (size_t)info.st_size;
    struct kw_buffer buffer = KW_BUFFER_INIT(size + 1);
    enum kw_status status = kw_buffer_reserve(&buffer, size + 1, err);
    if (status == KW_OK)
        status = kw_read_full(fd, buffer.data, size + 1, what, &buffer.len, err);
    if (status == KW_OK && buffer.len > size)
        status =
            kw_fail(err, family, "%s grew while it was read; try again when it is complete", what);
    if (status != KW_OK) {
        kw_buffer_cleanup(&buffer);
        return status;
    }
    buffer.data[buffer.len] = '\0';
    *ret_buffer = buffer;
    return KW_OK;
}

enum kw_status kw_check_owner(int fd, const char *what, enum kw_status family, struct kw_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be read", what);
    bool others = (info.st_mode & S_IWOTH) != 0;
    bool group = (info.st_mode & S_IWGRP) != 0 && info.st_gid != 0 && info.st_gid != getegid();
    if ((S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) && (others || group))
        return kw_fail(err, family, "%s may be written by others; run chmod go-w on it", what);
    if (info.st_uid != 0 && info.st_uid != geteuid())
        return kw_fail(err, family,
                       "%s belongs to another user; make it root's or your own with chown", what);
    return KW_OK;
}
