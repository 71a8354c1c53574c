/* outbox: where what comes of the drops of an inbox goes, and the drops themselves. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inbox.h"

#define FOLDER_MODE 0700
/* Drops of one name that were put away. */
#define SAME_NAME_MAX 1000
#define SHOWN         256
#define PARTIAL       "/.%s.partial"

static const char *shown_path(const char *path, char shown[SHOWN])
{
    return kw_printable(path, strlen(path), shown, SHOWN);
}

/* ---- names ---- */

static bool is_there(int fd, const char *name)
{
    struct stat info;
    return fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
}

/* "NAME", or "NAME.2" and so on, with `end` after it. KW_DROP where that is too long. */
static enum kw_status make_name(const char *name, unsigned number, const char *end,
                                char out[NAME_MAX + 1], struct kw_error *err)
{
    char shown[SHOWN];
    int len = number < 2 ? snprintf(out, NAME_MAX + 1, "%s%s", name, end)
                         : snprintf(out, NAME_MAX + 1, "%s.%u%s", name, number, end);
    if (len < 0 || len > NAME_MAX)
        return kw_fail(err, KW_DROP, "the name %s is too long; rename the drop",
                       shown_path(name, shown));
    return KW_OK;
}

bool outbox_is_marked(void *context, const char *name)
{
    const struct outbox *outbox = context;
    char report[NAME_MAX + 1];
    struct stat info;
    return outbox->options->leave && !make_name(name, 0, KW_REPORT_END, report, NULL) &&
           fstatat(outbox->out, report, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode);
}

static bool has_journal(int out, const char *name)
{
    int fd = kw_open_beneath(out, name, O_PATH | O_DIRECTORY, 0);
    bool has = fd >= 0 && is_there(fd, KW_JOURNAL_NAME);
    kw_close(&fd);
    return has;
}

/* One with files in it stays. */
void outbox_tidy(const struct outbox *outbox, const char *name)
{
    (void)unlinkat(outbox->out, name, AT_REMOVEDIR);
}

enum kw_status outbox_folders(const struct outbox *outbox, const char *name, char **ret_work,
                              char **ret_final, struct kw_error *err)
{
    const char *out = outbox->options->out;
    char shown[SHOWN];
    char *work = NULL;
    char *final = NULL;
    /* To move a folder to another one takes the right to write to it. */
    if (!outbox->options->leave &&
        faccessat(outbox->inbox, name, R_OK | W_OK | X_OK, AT_EACCESS) != 0)
        return kw_fail_errno(err, KW_WRITE, errno,
                             "%s could not be moved away afterwards; let this user write to its "
                             "folder, or use --leave",
                             shown_path(name, shown));
    bool there = is_there(outbox->out, name);
    bool whole = there && has_journal(outbox->out, name);
    /* One that is empty was a run's that had nothing to write there. */
    if (there && !whole)
        outbox_tidy(outbox, name);
    if (there && !whole && is_there(outbox->out, name))
        return kw_fail(err, KW_EXISTS,
                       "%s is in the output folder already; take it from there, or rename the drop",
                       shown_path(name, shown));
    if (asprintf(&final, "%s/%s", out, name) < 0)
        return kw_fail_memory(err);
    if (asprintf(&work, whole ? "%s/%s" : "%s" PARTIAL, out, name) < 0) {
        free(final);
        return kw_fail_memory(err);
    }
    *ret_work = work;
    *ret_final = final;
    return KW_OK;
}

/* ---- what an earlier watch left ---- */

/* Only a run that was whole has its folder's final name, and its journal goes last. */
static void take_journal(struct outbox *outbox, int out, const char *name)
{
    struct kw_outdir *outdir = NULL;
    char *path = NULL;
    bool put_away = !is_there(outbox->inbox, name) || outbox_is_marked(outbox, name);
    if (name[0] == '.' || !put_away || !has_journal(out, name) ||
        asprintf(&path, "%s/%s", outbox->options->out, name) < 0)
        return;
    if (!kw_outdir_open(path, false, &outdir, NULL))
        (void)kw_outdir_remove(outdir, KW_JOURNAL_NAME, NULL);
    kw_outdir_free(outdir);
    free(path);
    outbox_tidy(outbox, name);
}

/* A drop that was moved and whose report did not get its name any more. */
static void name_report(struct outbox *outbox, int dirfd, const char *hidden)
{
    size_t len = strlen(hidden);
    size_t end = sizeof(KW_REPORT_END) - 1;
    char name[NAME_MAX + 1];
    char moved[NAME_MAX + 1];
    char report[NAME_MAX + 1];
    if (len < end + 2 || hidden[0] != '.' || strcmp(hidden + len - end, KW_REPORT_END) != 0)
        return;
    memcpy(name, hidden + 1, len - 1 - end);
    name[len - 1 - end] = '\0';
    if (is_there(outbox->inbox, name))
        return;
    for (unsigned number = 1; number <= SAME_NAME_MAX; number++)
        if (make_name(name, number, "", moved, NULL) || !is_there(dirfd, moved) ||
            make_name(name, number, KW_REPORT_END, report, NULL) ||
            kw_rename_new(dirfd, hidden, dirfd, report) == 0)
            return;
}

static enum kw_status for_each(struct outbox *outbox, int dirfd,
                               void (*visit)(struct outbox *outbox, int dirfd, const char *name),
                               struct kw_error *err)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        int code = errno;
        kw_close(&fd);
        return kw_fail_errno(err, KW_WRITE, code, "an output folder can't be listed");
    }
    const struct dirent *entry;
    while ((entry = readdir(folder)))
        visit(outbox, dirfd, entry->d_name);
    (void)closedir(folder);
    return KW_OK;
}

static enum kw_status sweep(struct outbox *outbox, struct kw_error *err)
{
    enum kw_status status = for_each(outbox, outbox->out, take_journal, err);
    if (!status && !outbox->options->leave)
        status = for_each(outbox, outbox->done, name_report, err);
    if (!status && !outbox->options->leave)
        status = for_each(outbox, outbox->quarantine, name_report, err);
    return status;
}

/* ---- folders ---- */

/* A name in `dirfd`, which may be AT_FDCWD. */
static enum kw_status open_folder(int dirfd, const char *path, int *ret_fd, struct kw_error *err)
{
    char shown[SHOWN];
    if (mkdirat(dirfd, path, FOLDER_MODE) != 0 && errno != EEXIST)
        return kw_fail_errno(err, KW_WRITE, errno, "the folder %s can't be made",
                             shown_path(path, shown));
    int nofollow = dirfd == AT_FDCWD ? 0 : O_NOFOLLOW;
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | nofollow);
    if (fd < 0)
        return kw_fail_errno(err, KW_WRITE, errno, "the folder %s can't be opened",
                             shown_path(path, shown));
    *ret_fd = fd;
    return KW_OK;
}

static enum kw_status lock(int fd, const char *path, struct kw_error *err)
{
    char shown[SHOWN];
    /* Not every network filesystem can lock a folder; then it is the administrator's to see to. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return KW_OK;
    return kw_fail(err, KW_EXISTS, "another keyward watch is at work on %s",
                   shown_path(path, shown));
}

static enum kw_status check_apart(const char *path, int other, const char *other_path,
                                  struct kw_error *err)
{
    struct kw_outdir *outdir = NULL;
    bool within = false;
    char shown[SHOWN];
    char other_shown[SHOWN];
    enum kw_status status = kw_outdir_open(path, false, &outdir, err);
    if (!status)
        status = kw_outdir_is_within(outdir, other, &within, err);
    kw_outdir_free(outdir);
    if (!status && within)
        return kw_fail(err, KW_USAGE, "%s is inside of %s; choose folders apart from each other",
                       shown_path(path, shown), shown_path(other_path, other_shown));
    return status;
}

/* A drop is moved there, and not copied. */
static enum kw_status check_movable(int from, int to, const char *path, struct kw_error *err)
{
    struct stat a;
    struct stat b;
    char shown[SHOWN];
    if (fstat(from, &a) != 0 || fstat(to, &b) != 0)
        return kw_fail_errno(err, KW_WRITE, errno, "the folder %s can't be looked at",
                             shown_path(path, shown));
    if (a.st_dev != b.st_dev)
        return kw_fail(err, KW_USAGE,
                       "%s is on another filesystem than the inbox; choose a folder on the same "
                       "one, or --leave drops where they are",
                       shown_path(path, shown));
    return KW_OK;
}

/* `path` is as asked for, or NULL: then `name` in the inbox. */
static enum kw_status open_away(const struct outbox *outbox, const char *path, const char *name,
                                int *ret_fd, struct kw_error *err)
{
    enum kw_status status = path ? open_folder(AT_FDCWD, path, ret_fd, err)
                                 : open_folder(outbox->inbox, name, ret_fd, err);
    if (!status && path)
        status = check_apart(path, outbox->inbox, outbox->options->inbox, err);
    else if (!status) /* whoever brings drops could have made it */
        status = kw_check_owner(*ret_fd, name, KW_WRITE, err);
    return status ? status : check_movable(outbox->inbox, *ret_fd, path ? path : name, err);
}

void outbox_init(struct outbox *outbox, const struct kw_watch_options *options)
{
    *outbox =
        (struct outbox){.options = options, .inbox = -1, .out = -1, .done = -1, .quarantine = -1};
}

enum kw_status outbox_open(struct outbox *outbox, int inbox, struct kw_error *err)
{
    const struct kw_watch_options *options = outbox->options;
    enum kw_status status;
    outbox->inbox = inbox;
    if ((status = open_folder(AT_FDCWD, options->out, &outbox->out, err)) ||
        (status = check_apart(options->out, inbox, options->inbox, err)) ||
        (status = check_apart(options->inbox, outbox->out, options->out, err)) ||
        (status = lock(inbox, options->inbox, err)) ||
        (status = lock(outbox->out, options->out, err)))
        return status;
    if (!options->leave &&
        ((status = open_away(outbox, options->done, ".done", &outbox->done, err)) ||
         (status =
              open_away(outbox, options->quarantine, ".quarantine", &outbox->quarantine, err))))
        return status;
    return sweep(outbox, err);
}

void outbox_close(struct outbox *outbox)
{
    kw_close(&outbox->quarantine);
    kw_close(&outbox->done);
    kw_close(&outbox->out);
}

/* ---- putting away ---- */

bool outbox_has_partial(const struct outbox *outbox, const char *name)
{
    char partial[NAME_MAX + 1];
    int len = snprintf(partial, sizeof(partial), ".%s.partial", name);
    return len > 0 && len <= NAME_MAX && is_there(outbox->out, partial);
}

enum kw_status outbox_set_aside(const struct outbox *outbox, const char *name, struct kw_run *run,
                                struct kw_error *err)
{
    const char *out = outbox->options->out;
    char *from = NULL;
    char *to = NULL;
    enum kw_status status = KW_OK;
    if (!outbox_has_partial(outbox, name))
        return KW_OK;
    if (asprintf(&from, "%s" PARTIAL, out, name) < 0)
        return kw_fail_memory(err);
    if (asprintf(&to, "%s/.%s.%s.partial", out, name, run->id) < 0) {
        free(from);
        return kw_fail_memory(err);
    }
    bool own = strcmp(run->out_dir, from) == 0 && run->outdir;
    if (own)
        status = kw_run_rename_output(run, to, err);
    else if (kw_rename_new(AT_FDCWD, from, AT_FDCWD, to) != 0)
        status = kw_fail_errno(err, KW_WRITE, errno, "what an earlier run left can't be set aside");
    free(from);
    free(to);
    return status;
}

static enum kw_status fail_report(int code, struct kw_error *err)
{
    return kw_fail_errno(err, code == EEXIST ? KW_EXISTS : KW_WRITE, code,
                         "the drop's report can't be written");
}

/* Under a hidden name, which one that was not finished may have. */
static enum kw_status write_report(int dirfd, const char *temporary, const struct kw_run *run,
                                   const struct kw_error *outcome, struct kw_error *err)
{
    (void)unlinkat(dirfd, temporary, 0);
    int fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail_report(errno, err);
    enum kw_status status = kw_run_write_report(run, outcome, fd, "the drop's report", err);
    if (!status && fsync(fd) != 0)
        status = fail_report(errno, err);
    kw_close(&fd);
    return status;
}

static bool is_same(int dirfd, int to, const char *name)
{
    struct stat wanted;
    struct stat moved;
    return fstat(dirfd, &wanted) == 0 && fstatat(to, name, &moved, AT_SYMLINK_NOFOLLOW) == 0 &&
           wanted.st_dev == moved.st_dev && wanted.st_ino == moved.st_ino;
}

/* To the first name that is free, for its report too. */
static enum kw_status move_to_free_name(const struct outbox *outbox, const char *name, int to,
                                        char target[NAME_MAX + 1], char report[NAME_MAX + 1],
                                        struct kw_error *err)
{
    char shown[SHOWN];
    for (unsigned number = 1; number <= SAME_NAME_MAX; number++) {
        enum kw_status status = make_name(name, number, "", target, err);
        if (!status)
            status = make_name(name, number, KW_REPORT_END, report, err);
        if (status)
            return status;
        if (is_there(to, report))
            continue;
        if (kw_rename_new(outbox->inbox, name, to, target) == 0)
            return KW_OK;
        if (errno != EEXIST)
            break;
    }
    return kw_fail_errno(err, KW_WRITE, errno, "the drop %s can't be moved",
                         shown_path(name, shown));
}

/* Nothing of the drop is copied or replaced. Whoever brings drops may have put another one in its
 * place, which is another one's turn. */
static enum kw_status move(const struct outbox *outbox, const char *name, int dirfd, int to,
                           char report[NAME_MAX + 1], struct kw_error *err)
{
    char target[NAME_MAX + 1];
    char shown[SHOWN];
    enum kw_status status = move_to_free_name(outbox, name, to, target, report, err);
    if (status)
        return status;
    if (!is_same(dirfd, to, target)) {
        (void)kw_rename_new(to, target, outbox->inbox, name);
        return kw_fail(err, KW_READ, "another drop took the place of %s while it was decrypted",
                       shown_path(name, shown));
    }
    if (fsync(to) != 0 || fsync(outbox->inbox) != 0)
        return kw_fail_errno(err, KW_WRITE, errno, "that the drop %s was moved may not last",
                             shown_path(name, shown));
    return KW_OK;
}

/* The drop first: its report has the name that the drop got. */
static enum kw_status move_both(const struct outbox *outbox, const char *name, int dirfd,
                                const char *temporary, int to, struct kw_error *err)
{
    char report[NAME_MAX + 1];
    enum kw_status status = outbox->options->leave ? make_name(name, 0, KW_REPORT_END, report, err)
                                                   : move(outbox, name, dirfd, to, report, err);
    if (!status && kw_rename_new(to, temporary, to, report) != 0)
        status = fail_report(errno, err);
    if (!status && fsync(to) != 0)
        status = fail_report(errno, err);
    return status;
}

enum kw_status outbox_put_away(const struct outbox *outbox, const char *name, int dirfd,
                               const struct kw_run *run, const struct kw_error *outcome,
                               struct kw_error *err)
{
    char temporary[NAME_MAX + 2] = ".";
    int to = outbox->options->leave ? outbox->out : outcome ? outbox->quarantine : outbox->done;
    enum kw_status status = make_name(name, 0, KW_REPORT_END, temporary + 1, err);
    if (!status)
        status = write_report(to, temporary, run, outcome, err);
    if (!status)
        status = move_both(outbox, name, dirfd, temporary, to, err);
    if (status)
        (void)unlinkat(to, temporary, 0);
    return status;
}
