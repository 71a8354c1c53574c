/* outdir: the folder that output is written to, and the folders below it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flow/stage.h"

#define FOLDER_MODE 0700
/* Folders above a folder; the kernel's own limit is the length of a path. */
#define ABOVE_MAX PATH_MAX

struct kw_outdir {
    int fd;
    bool has_tmpfile;
    char *made; /* the path of a folder that was not there before */
    char name[KW_NAME_SIZE];
};

/* Gives a folder that was just made all that the umask took away. fchmod does not take an O_PATH
 * descriptor, which is the one kind that opens a folder without permissions. */
static bool make_private(int fd)
{
    char self[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
    struct stat info;
    int written = snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    return written > 0 && fstat(fd, &info) == 0 &&
           ((info.st_mode & 07777) == FOLDER_MODE || chmod(self, FOLDER_MODE) == 0);
}

static bool make_private_by_name(const char *path)
{
    int fd = open(path, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && make_private(fd);
    int code = errno;
    kw_close(&fd);
    errno = code;
    return done;
}

enum kw_status kw_outdir_open(const char *path, bool create, struct kw_outdir **ret_outdir,
                              struct kw_error *err)
{
    struct kw_outdir *outdir = calloc(1, sizeof(*outdir));
    if (!outdir)
        return kw_fail_memory(err);
    outdir->fd = -1;
    kw_printable(path, strlen(path), outdir->name, sizeof(outdir->name));

    enum kw_status status = KW_OK;
    bool made = create && mkdir(path, FOLDER_MODE) == 0;
    if (create && !made && errno != EEXIST)
        status = kw_fail_errno(
            err, KW_WRITE, errno,
            "the folder %s can't be made; see that the folder above is there and yours "
            "to write to",
            outdir->name);
    outdir->made = made ? strdup(path) : NULL;
    if (status == KW_OK && made && !make_private_by_name(path))
        status = kw_fail_errno(err, KW_WRITE, errno,
                               "the folder %s can't be made private; choose one on another "
                               "filesystem",
                               outdir->name);
    if (status == KW_OK)
        outdir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (status == KW_OK && outdir->fd < 0)
        status = kw_fail_errno(err, KW_WRITE, errno,
                               "the folder %s can't be opened; check its permissions, or choose "
                               "another",
                               outdir->name);
    if (status != KW_OK) {
        kw_outdir_free(outdir);
        return status;
    }
    /* A file without a name gets its name through /proc, which a chroot may lack. */
    outdir->has_tmpfile = access("/proc/self/fd", X_OK) == 0;
    *ret_outdir = outdir;
    return KW_OK;
}

void kw_outdir_free(struct kw_outdir *outdir)
{
    if (!outdir)
        return;
    kw_close(&outdir->fd);
    if (outdir->made)
        (void)rmdir(outdir->made); /* goes if it is empty, and should not if it is not */
    free(outdir->made);
    free(outdir);
}

void kw_outdir_avoid_tmpfile(struct kw_outdir *outdir)
{
    outdir->has_tmpfile = false;
}

bool kw_outdir_has_tmpfile(const struct kw_outdir *outdir)
{
    return outdir->has_tmpfile;
}

static bool same_folder(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

enum kw_status kw_outdir_is_within(const struct kw_outdir *outdir, int dirfd, bool *ret_within,
                                   struct kw_error *err)
{
    struct stat wanted;
    struct stat here;
    struct stat above;
    int fd = openat(outdir->fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool known = fd >= 0 && fstat(dirfd, &wanted) == 0 && fstat(fd, &here) == 0;
    bool within = known && same_folder(&here, &wanted);
    for (int i = 0; known && !within && i < ABOVE_MAX; i++) {
        int up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        known = up >= 0 && fstat(up, &above) == 0;
        kw_close(&fd);
        fd = up;
        if (known && same_folder(&above, &here)) /* the root is above itself */
            break;
        within = known && same_folder(&above, &wanted);
        here = above;
    }
    int code = errno;
    kw_close(&fd);
    /* Nobody who may not look into a folder above was able to name the drop through it. */
    if (!known && code != EACCES)
        return kw_fail_errno(err, KW_WRITE, code, "the folders above %s can't be looked at",
                             outdir->name);
    *ret_within = within;
    return KW_OK;
}

static bool is_nothing(const char *name, const char *but)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
           (but && (strcmp(name, but) == 0 ||
                    (kw_is_temporary_name(name) && strncmp(name + 1, but, strlen(but)) == 0)));
}

enum kw_status kw_outdir_is_empty(const struct kw_outdir *outdir, const char *but, bool *ret_empty,
                                  struct kw_error *err)
{
    int fd = openat(outdir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        int code = errno;
        kw_close(&fd);
        return kw_fail_errno(err, KW_WRITE, code, "the folder %s can't be listed", outdir->name);
    }
    bool empty = true;
    const struct dirent *entry;
    while (empty && (entry = readdir(folder)))
        empty = is_nothing(entry->d_name, but);
    (void)closedir(folder);
    *ret_empty = empty;
    return KW_OK;
}

void kw_outdir_prune(const struct kw_outdir *outdir, const char *path)
{
    char *folder = outdir->made ? strdup(path) : NULL;
    char *slash = folder ? strrchr(folder, '/') : NULL;
    while (slash) {
        *slash = '\0';
        if (unlinkat(outdir->fd, folder, AT_REMOVEDIR) != 0)
            break;
        slash = strrchr(folder, '/');
    }
    free(folder);
}

bool kw_outdir_has(const struct kw_outdir *outdir, const char *path)
{
    int fd = kw_open_beneath(outdir->fd, path, O_PATH | O_NOFOLLOW, 0);
    bool has = fd >= 0 || (errno != ENOENT && errno != ENOTDIR);
    kw_close(&fd);
    return has;
}

int kw_outdir_dirfd(const struct kw_outdir *outdir)
{
    return outdir->fd;
}

/* Beneath, and not through a link: the folder is opened, and the name in it taken away. */
enum kw_status kw_outdir_remove(const struct kw_outdir *outdir, const char *path,
                                struct kw_error *err)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    if (!parent)
        return kw_fail_memory(err);
    int fd = kw_open_beneath(outdir->fd, parent, O_PATH | O_DIRECTORY, 0);
    bool gone = fd >= 0 && unlinkat(fd, slash ? slash + 1 : path, 0) == 0;
    int code = errno;
    kw_close(&fd);
    free(parent);
    char name[KW_NAME_SIZE];
    if (!gone && code != ENOENT)
        return kw_fail_errno(err, KW_WRITE, code, "%s below %s can't be taken away",
                             kw_printable(path, strlen(path), name, sizeof(name)), outdir->name);
    return KW_OK;
}

void kw_outdir_remove_temporaries(const struct kw_outdir *outdir, const char *path)
{
    int fd = kw_open_beneath(outdir->fd, path, O_RDONLY | O_DIRECTORY, 0);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        kw_close(&fd);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(folder)))
        if (kw_is_temporary_name(entry->d_name))
            (void)unlinkat(fd, entry->d_name, 0); /* it is in nobody's way */
    (void)closedir(folder);
}

enum kw_status kw_outdir_sync(const struct kw_outdir *outdir, struct kw_error *err)
{
    if (syncfs(outdir->fd) != 0)
        return kw_fail_errno(err, KW_WRITE, errno, "what was written to %s may not be on the disk",
                             outdir->name);
    return KW_OK;
}

/* ---- folders on the way ---- */

/* Makes the folder, or leaves the one that is there, and opens it. Returns -1 and errno. */
static int step_into(int dirfd, const char *name)
{
    bool made = mkdirat(dirfd, name, FOLDER_MODE) == 0;
    if (!made && errno != EEXIST)
        return -1;
    int fd = kw_open_beneath(dirfd, name, O_PATH | O_DIRECTORY, 0);
    if (fd < 0 || !made)
        return fd;
    if (make_private(fd))
        return fd;
    int code = errno;
    kw_close(&fd);
    errno = code;
    return -1;
}

static int walk(int dirfd, char *path)
{
    int fd = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *rest = path;
    while (fd >= 0 && rest) {
        char *name = rest;
        rest = strchr(name, '/');
        if (rest)
            *rest++ = '\0';
        int next = step_into(fd, name);
        int code = errno;
        kw_close(&fd);
        errno = code;
        fd = next;
    }
    return fd;
}

/* Whether every component is a name: none is empty, "." or "..". */
static bool is_plain_path(const char *path)
{
    while (true) {
        size_t len = strcspn(path, "/");
        if (len == 0 || (len <= 2 && strncmp(path, "..", len) == 0))
            return false;
        if (path[len] == '\0')
            return true;
        path += len + 1;
    }
}

enum kw_status kw_outdir_open_parent(const struct kw_outdir *outdir, const char *path, int *ret_fd,
                                     struct kw_error *err)
{
    char name[KW_NAME_SIZE];
    if (!is_plain_path(path) || strlen(path) >= PATH_MAX)
        return kw_fail(err, KW_WRITE, "%s is no path below %s; rename the file",
                       kw_printable(path, strlen(path), name, sizeof(name)), outdir->name);

    const char *slash = strrchr(path, '/');
    if (!slash)
        return KW_OK;
    char *parent = strndup(path, (size_t)(slash - path));
    if (!parent)
        return kw_fail_memory(err);
    int fd = kw_open_beneath(outdir->fd, parent, O_PATH | O_DIRECTORY, 0);
    if (fd < 0 && errno == ENOENT)
        fd = walk(outdir->fd, parent);
    int code = errno;
    free(parent);
    if (fd >= 0) {
        *ret_fd = fd;
        return KW_OK;
    }
    kw_printable(path, strlen(path), name, sizeof(name));
    if (code == ELOOP)
        return kw_fail_errno(err, KW_WRITE, code,
                             "a symbolic link is on the way to %s below %s; take it away", name,
                             outdir->name);
    return kw_fail_errno(err, KW_WRITE, code, "the folder of %s below %s can't be made", name,
                         outdir->name);
}
