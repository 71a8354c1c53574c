/* sink_file: a file whose name appears when its content is whole.
 *
 * It has no name until then (O_TMPFILE and linkat), so that not even SIGKILL leaves a part of it.
 * The content reaches the disk with the run's one syncfs: after a power cut before that, a file may
 * have its name and not its bytes, and the run has not reported success. Filesystems without such
 * files get a temporary name, which is taken away on failure. To replace a file in one step takes a
 * temporary name in either case: rename replaces, link does not.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flow/stage.h"

#define FILE_MODE       0600
#define TEMPORARY_SIZE  (NAME_MAX + 1)
#define TEMPORARY_TRIES 16
/* Between the file's own name, cut where it is long, and ".part". */
#define TEMPORARY_MARK ".keyward-"
#define TEMPORARY_END  ".part"
#define UNIQUE_LETTERS 8

/* So much of a large file is on its way to the disk while the next part is still to come. */
#define WINDOW ((uint64_t)8 * 1024 * 1024)

struct file_sink {
    struct kw_stage stage;
    int folder;     /* the next one, or outdir's own */
    int own_folder; /* O_PATH; -1 where it is outdir's */
    int fd;
    bool force;
    uint64_t written;
    uint64_t sent; /* of that, what the kernel was told to bring to the disk */
    enum kw_status (*before_name)(void *context, uint64_t inode, struct kw_error *err);
    void *context;
    char *name;                     /* in `folder` */
    char temporary[TEMPORARY_SIZE]; /* in `folder`; "" while there is none */
    char shown[KW_NAME_SIZE];       /* the path, for messages */
};

static enum kw_status fail_write(const struct file_sink *sink, int code, struct kw_error *err)
{
    return kw_fail_errno(err, KW_WRITE, code, "%s can't be written", sink->shown);
}

static enum kw_status fail_exists(const struct file_sink *sink, struct kw_error *err)
{
    return kw_fail(err, KW_EXISTS, "%s exists; use --force to replace it", sink->shown);
}

/* ---- temporary names ---- */

static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567"; /* 32: no bias */

/* Hidden, and not a name that a reader of part-*.json takes. */
static int make_temporary_name(const struct file_sink *sink, char out[TEMPORARY_SIZE])
{
    char unique[UNIQUE_LETTERS + 1] = {0};
    if (getrandom(unique, sizeof(unique) - 1, 0) != (ssize_t)sizeof(unique) - 1)
        return -1;
    for (size_t i = 0; i < sizeof(unique) - 1; i++)
        unique[i] = letters[(unsigned char)unique[i] % (sizeof(letters) - 1)];
    int room = NAME_MAX -
               (int)(strlen(".") + strlen(TEMPORARY_MARK) + UNIQUE_LETTERS + strlen(TEMPORARY_END));
    int written = snprintf(out, TEMPORARY_SIZE, ".%.*s" TEMPORARY_MARK "%s" TEMPORARY_END, room,
                           sink->name, unique);
    if (written < 0 || written >= TEMPORARY_SIZE) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

bool kw_is_temporary_name(const char *name)
{
    static const size_t tail = sizeof(TEMPORARY_MARK) - 1 + UNIQUE_LETTERS;
    size_t len = strlen(name);
    size_t end = sizeof(TEMPORARY_END) - 1;
    if (name[0] != '.' || len < 1 + tail + end || strcmp(name + len - end, TEMPORARY_END) != 0)
        return false;
    const char *mark = name + len - end - tail;
    const char *unique = mark + sizeof(TEMPORARY_MARK) - 1;
    return strncmp(mark, TEMPORARY_MARK, sizeof(TEMPORARY_MARK) - 1) == 0 &&
           strspn(unique, letters) == UNIQUE_LETTERS;
}

static int create_temporary(struct file_sink *sink, const char *temporary)
{
    sink->fd = openat(sink->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                      FILE_MODE);
    return sink->fd < 0 ? -1 : 0;
}

/* By the descriptor itself, which not every kernel lets everybody do (linkat(2)); the way through
 * /proc costs a lookup more. */
static int link_nameless(struct file_sink *sink, const char *name)
{
    if (linkat(sink->fd, "", sink->folder, name, AT_EMPTY_PATH) == 0)
        return 0;
    int code = errno;
    if (code == EEXIST)
        return -1;
    char self[sizeof("/proc/self/fd/") + 3 * sizeof(int)];
    int written = snprintf(self, sizeof(self), "/proc/self/fd/%d", sink->fd);
    if (written < 0)
        return -1;
    int linked = linkat(AT_FDCWD, self, sink->folder, name, AT_SYMLINK_FOLLOW);
    if (linked != 0 && errno == ENOENT) /* there is no /proc; that is not what is the matter */
        errno = code;
    return linked;
}

/* Calls `make` with new temporary names until one is free, and notes it. */
static int take_temporary_name(struct file_sink *sink,
                               int (*make)(struct file_sink *sink, const char *temporary))
{
    for (int i = 0; i < TEMPORARY_TRIES; i++) {
        char temporary[TEMPORARY_SIZE];
        if (make_temporary_name(sink, temporary) != 0)
            return -1;
        if (make(sink, temporary) == 0) {
            memcpy(sink->temporary, temporary, sizeof(temporary));
            return 0;
        }
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

/* ---- beginning ---- */

static int open_file(struct file_sink *sink, const struct kw_outdir *outdir)
{
    if (kw_outdir_has_tmpfile(outdir)) {
        sink->fd = openat(sink->folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, FILE_MODE);
        /* How the filesystems without it say so. */
        if (sink->fd < 0 && errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL &&
            errno != ENOENT)
            return -1;
    }
    if (sink->fd < 0 && take_temporary_name(sink, create_temporary) != 0)
        return -1;
    return 0;
}

/* Early, to spare the work: what counts is what happens at the end. */
static enum kw_status check_replaceable(const struct file_sink *sink, struct kw_error *err)
{
    struct stat info;
    if (fstatat(sink->folder, sink->name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? KW_OK : fail_write(sink, errno, err);
    if (S_ISDIR(info.st_mode))
        return kw_fail(err, KW_EXISTS, "%s is a folder; move it away", sink->shown);
    return KW_OK;
}

/* ---- the stage ---- */

static enum kw_status file_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                struct kw_error *err)
{
    struct file_sink *sink = (struct file_sink *)stage;
    if (!stage->summed)
        stage->crc32 = kw_crc32(stage->crc32, data, len);
    enum kw_status status = kw_write_full(sink->fd, data, len, sink->shown, err);
    sink->written += len;
    while (!status && sink->written - sink->sent >= WINDOW) {
        /* A hint: the run's syncfs has the say. */
        (void)sync_file_range(sink->fd, (off_t)sink->sent, (off_t)WINDOW, SYNC_FILE_RANGE_WRITE);
        sink->sent += WINDOW;
    }
    return status;
}

static int close_file(struct file_sink *sink)
{
    int fd = sink->fd;
    sink->fd = -1;
    return close(fd);
}

static int rename_temporary(struct file_sink *sink)
{
    if (sink->force)
        return renameat(sink->folder, sink->temporary, sink->folder, sink->name);
    if (renameat2(sink->folder, sink->temporary, sink->folder, sink->name, RENAME_NOREPLACE) == 0)
        return 0;
    /* Not every filesystem knows the flag; link refuses to replace on all that have it. */
    if (errno != EINVAL || linkat(sink->folder, sink->temporary, sink->folder, sink->name, 0) != 0)
        return -1;
    return unlinkat(sink->folder, sink->temporary, 0);
}

static int give_name(struct file_sink *sink)
{
    bool nameless = sink->temporary[0] == '\0';
    if (nameless && !sink->force) {
        if (link_nameless(sink, sink->name) != 0)
            return -1;
        if (close_file(sink) == 0)
            return 0;
        int code = errno;
        (void)unlinkat(sink->folder, sink->name, 0); /* the failure is reported already */
        errno = code;
        return -1;
    }
    if (nameless && take_temporary_name(sink, link_nameless) != 0)
        return -1;
    if (close_file(sink) != 0 || rename_temporary(sink) != 0)
        return -1;
    sink->temporary[0] = '\0';
    return 0;
}

/* Gives it what the umask took away, and says that it is whole. */
static enum kw_status prepare_name(const struct file_sink *sink, struct kw_error *err)
{
    struct stat info;
    if (fstat(sink->fd, &info) != 0 ||
        ((info.st_mode & 07777) != FILE_MODE && fchmod(sink->fd, FILE_MODE) != 0))
        return fail_write(sink, errno, err);
    return sink->before_name ? sink->before_name(sink->context, info.st_ino, err) : KW_OK;
}

static enum kw_status file_done(struct kw_stage *stage, struct kw_error *err)
{
    struct file_sink *sink = (struct file_sink *)stage;
    enum kw_status status = prepare_name(sink, err);
    if (status != KW_OK)
        return status;
    if (give_name(sink) == 0)
        return KW_OK;
    return errno == EEXIST ? fail_exists(sink, err) : fail_write(sink, errno, err);
}

static void file_free(struct kw_stage *stage)
{
    struct file_sink *sink = (struct file_sink *)stage;
    kw_close(&sink->fd);
    if (sink->temporary[0] != '\0')
        (void)unlinkat(sink->folder, sink->temporary, 0); /* nothing more can be done */
    kw_close(&sink->own_folder);
    free(sink->name);
    free(sink);
}

static const struct kw_stage_ops file_ops = {
    .feed = file_feed,
    .done = file_done,
    .free = file_free,
};

enum kw_status kw_sink_file_new(struct kw_outdir *outdir, const char *path, bool force,
                                struct kw_stage **ret_sink, struct kw_error *err)
{
    const char *slash = strrchr(path, '/');
    struct file_sink *sink = calloc(1, sizeof(*sink));
    char *name = strdup(slash ? slash + 1 : path);
    if (!sink || !name) {
        free(sink);
        free(name);
        return kw_fail_memory(err);
    }
    sink->stage.ops = &file_ops;
    sink->own_folder = -1;
    sink->fd = -1;
    sink->force = force;
    sink->name = name;
    kw_printable(path, strlen(path), sink->shown, sizeof(sink->shown));

    enum kw_status status = kw_outdir_open_parent(outdir, path, &sink->own_folder, err);
    sink->folder = sink->own_folder >= 0 ? sink->own_folder : kw_outdir_dirfd(outdir);
    if (status == KW_OK && force)
        status = check_replaceable(sink, err);
    if (status == KW_OK && open_file(sink, outdir) != 0)
        status = fail_write(sink, errno, err);
    if (status != KW_OK) {
        file_free(&sink->stage);
        return status;
    }
    *ret_sink = &sink->stage;
    return KW_OK;
}

void kw_sink_file_before_name(struct kw_stage *sink,
                              enum kw_status (*before_name)(void *context, uint64_t inode,
                                                            struct kw_error *err),
                              void *context)
{
    struct file_sink *file = (struct file_sink *)sink;
    file->before_name = before_name;
    file->context = context;
}

enum kw_status kw_outdir_write(struct kw_outdir *outdir, const char *path, bool force,
                               const void *data, size_t len, struct kw_error *err)
{
    struct kw_stage *sink = NULL;
    struct kw_buffer copy = KW_BUFFER_INIT(len);
    enum kw_status status;
    if (!(status = kw_buffer_append(&copy, data, len, err)) &&
        !(status = kw_sink_file_new(outdir, path, force, &sink, err)) &&
        !(status = kw_stage_feed(sink, copy.data, copy.len, err)))
        status = kw_stage_done(sink, err);
    kw_stage_free(sink);
    kw_buffer_cleanup(&copy);
    return status;
}
