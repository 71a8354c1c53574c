/* writer: the file that records go to, and whether it still is what it was. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "audit/internal.h"

/* How long another process may keep the lock; it holds it while it brings records to the disk. */
#define LOCK_WAIT_MS 30000
#define LOCK_STEP_NS 2000000

static enum kw_status fail_changed(const struct kw_trail *trail, const char *name,
                                   const char *fault, struct kw_error *err)
{
    return kw_fail(err, KW_AUDIT,
                   "%s in the audit trail %s %s while it was in use; nothing is done until that is "
                   "looked into",
                   name, trail->folder.shown, fault);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* ---- locking ---- */

static enum kw_status wait_for_lock(const struct kw_trail *trail, struct kw_error *err)
{
    const struct timespec step = {.tv_nsec = LOCK_STEP_NS};
    const struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    uint64_t started = kw_now_ms();
    while (fcntl(trail->lock, F_OFD_SETLK, &lock) != 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return kw_fail_errno(err, KW_AUDIT, errno, "the audit trail %s can't be locked",
                                 trail->folder.shown);
        if (kw_now_ms() - started > LOCK_WAIT_MS)
            return kw_fail(err, KW_AUDIT,
                           "another process has kept the audit trail %s locked for 30 seconds; see "
                           "what it waits for",
                           trail->folder.shown);
        (void)nanosleep(&step, NULL); /* cut short by a signal, it only tries sooner */
    }
    return KW_OK;
}

static void release_lock(const struct kw_trail *trail)
{
    const struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    (void)fcntl(trail->lock, F_OFD_SETLK, &lock); /* closing it would release it too */
}

/* Two processes that lock two files would not exclude each other. */
static enum kw_status check_lock(const struct kw_trail *trail, struct kw_error *err)
{
    struct stat open, named;
    if (fstat(trail->lock, &open) != 0 ||
        fstatat(trail->folder.fd, KW_LOCK_FILE, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
        !same_file(&open, &named))
        return fail_changed(trail, KW_LOCK_FILE, "was removed or replaced", err);
    return KW_OK;
}

enum kw_status kw_trail_lock(struct kw_trail *trail, struct kw_error *err)
{
    if (pthread_mutex_lock(&trail->mutex) != 0)
        return kw_fail(err, KW_FAULT, "the audit trail's mutex can't be locked");
    enum kw_status status = wait_for_lock(trail, err);
    if (!status && (status = check_lock(trail, err)))
        release_lock(trail);
    if (status)
        (void)pthread_mutex_unlock(&trail->mutex); /* can't fail: it is ours */
    return status;
}

void kw_trail_unlock(struct kw_trail *trail)
{
    release_lock(trail);
    (void)pthread_mutex_unlock(&trail->mutex); /* can't fail: it is ours */
}

/* ---- the file ---- */

enum kw_status kw_trail_use_file(struct kw_trail *trail, uint64_t first, uint64_t end,
                                 struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    kw_trail_file_name(first, name);
    int fd = kw_folder_file(&trail->folder, name, O_RDWR | O_APPEND, err);
    if (fd < 0)
        return KW_AUDIT;
    enum kw_status status = kw_check_owner(fd, name, KW_AUDIT, err);
    if (status) {
        kw_close(&fd);
        return kw_audit_error(err, status);
    }
    kw_close(&trail->file.fd);
    trail->file = (struct kw_trail_file){.fd = fd, .first = first, .end = end};
    return KW_OK;
}

enum kw_status kw_trail_new_file(struct kw_trail *trail, struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    kw_trail_file_name(trail->frontier.size, name);
    int fd = kw_folder_file(&trail->folder, name, O_WRONLY | O_CREAT | O_EXCL, err);
    if (fd < 0)
        return KW_AUDIT;
    kw_close(&fd);
    enum kw_status status = kw_folder_sync(&trail->folder, ".", err);
    return status ? status : kw_trail_use_file(trail, trail->frontier.size, 0, err);
}

static enum kw_status check_folder(const struct kw_trail *trail, struct kw_error *err)
{
    struct stat open, named;
    if (fstat(trail->folder.fd, &open) != 0 ||
        fstatat(AT_FDCWD, trail->dir, &named, AT_SYMLINK_NOFOLLOW) != 0 ||
        !same_file(&open, &named))
        return kw_fail(err, KW_AUDIT,
                       "the audit trail's folder %s was removed or replaced while it was in use; "
                       "nothing is done until that is looked into",
                       trail->folder.shown);
    return kw_audit_error(err,
                          kw_check_owner(trail->folder.fd, trail->folder.shown, KW_AUDIT, err));
}

static enum kw_status check_file(const struct kw_trail *trail, uint64_t *ret_size,
                                 struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    struct stat open, named;
    kw_trail_file_name(trail->file.first, name);
    if (fstat(trail->file.fd, &open) != 0)
        return fail_changed(trail, name, "became unreadable", err);
    if (fstatat(trail->folder.fd, name, &named, AT_SYMLINK_NOFOLLOW) != 0 || open.st_nlink == 0 ||
        !same_file(&open, &named))
        return fail_changed(trail, name, "was removed or replaced", err);
    if (open.st_nlink > 1)
        return fail_changed(trail, name, "was given a second name", err);
    if ((uint64_t)open.st_size < trail->file.end)
        return fail_changed(trail, name, "was cut short", err);
    if (faccessat(trail->folder.fd, name, R_OK | W_OK, AT_EACCESS) != 0)
        return kw_fail_errno(err, KW_AUDIT, errno, "%s in the audit trail %s can't be written",
                             name, trail->folder.shown);
    enum kw_status status = kw_check_owner(trail->file.fd, name, KW_AUDIT, err);
    if (!status)
        *ret_size = (uint64_t)open.st_size;
    return kw_audit_error(err, status);
}

/* ---- what other processes appended ---- */

static enum kw_status take_line(struct kw_trail *trail, const struct kw_line *line,
                                struct kw_error *err)
{
    struct kw_hash leaf;
    uint64_t seq = 0;
    if (line->kind == KW_LINE_TORN) {
        trail->file.torn = line->len;
        return KW_OK;
    }
    if (line->kind != KW_LINE || !kw_record_seq(line->text, line->len, &seq) ||
        seq != trail->frontier.size)
        return kw_fail(err, KW_AUDIT,
                       "record %llu of the audit trail %s is not what should be there; run keyward "
                       "audit verify",
                       (unsigned long long)trail->frontier.size, trail->folder.shown);
    enum kw_status status = kw_leaf_hash(trail->digest, line->text, line->len, &leaf, err);
    if (!status)
        status = kw_frontier_add(trail->digest, &trail->frontier, &leaf, err);
    if (!status)
        trail->file.end += line->len + 1;
    return status;
}

static enum kw_status read_new(struct kw_trail *trail, struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    struct kw_lines lines;
    struct kw_line line;
    uint64_t size = 0;
    enum kw_status status = check_file(trail, &size, err);
    trail->file.torn = 0;
    if (status || size == trail->file.end)
        return status;
    kw_trail_file_name(trail->file.first, name);
    if (lseek(trail->file.fd, (off_t)trail->file.end, SEEK_SET) < 0)
        return kw_fail_errno(err, KW_AUDIT, errno, "%s can't be read", name);
    if ((status = kw_lines_new(trail->file.fd, &lines, err)))
        return status;
    while (!(status = kw_lines_next(&lines, name, &line, err)) && line.kind != KW_LINE_END &&
           !(status = take_line(trail, &line, err)))
        ;
    kw_lines_cleanup(&lines);
    return status;
}

enum kw_status kw_trail_catch_up(struct kw_trail *trail, struct kw_error *err)
{
    enum kw_status status = check_folder(trail, err);
    while (!status && !(status = read_new(trail, err))) {
        /* Where another process began a new file, it has the number of the next record. */
        char name[KW_TRAIL_NAME];
        uint64_t next = trail->frontier.size;
        kw_trail_file_name(next, name);
        if (next == trail->file.first || trail->file.torn > 0 ||
            faccessat(trail->folder.fd, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
            return KW_OK;
        status = kw_trail_use_file(trail, next, 0, err);
    }
    return status;
}
