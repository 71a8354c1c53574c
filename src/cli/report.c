/* The file of --report. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* The report's path as a folder and a name in it. */
struct place {
    char folder[PATH_MAX];
    const char *name; /* in the arguments */
};

static enum kw_status find_place(const char *path, struct place *place, struct kw_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    place->name = slash ? slash + 1 : path;
    if (len >= sizeof(place->folder) || place->name[0] == '\0' ||
        strlen(place->name) + sizeof(".keyward-report") > NAME_MAX)
        return kw_fail(err, KW_USAGE, "--report is no path of a file, or too long");
    if (slash && len == 0)
        len = 1; /* the root */
    memcpy(place->folder, slash ? path : ".", slash ? len : 1);
    place->folder[slash ? len : 1] = '\0';
    return KW_OK;
}

static enum kw_status check_within(const char *folder, const char *other, bool *ret_within,
                                   struct kw_error *err)
{
    struct kw_outdir *outdir = NULL;
    int fd = open(other, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *ret_within = false;
    if (fd < 0)
        return KW_OK; /* what is not there has nothing in it */
    enum kw_status status = kw_outdir_open(folder, false, &outdir, err);
    if (!status)
        status = kw_outdir_is_within(outdir, fd, ret_within, err);
    kw_outdir_free(outdir);
    kw_close(&fd);
    return status;
}

enum kw_status check_report(const struct arguments *arguments, struct kw_error *err)
{
    struct place place;
    struct stat info;
    bool within = false;
    char shown[SHOWN_TEXT];
    if (!arguments->report)
        return KW_OK;
    show(arguments->report, shown);
    enum kw_status status = find_place(arguments->report, &place, err);
    if (status)
        return status;
    if (lstat(arguments->report, &info) == 0 && !(arguments->force && S_ISREG(info.st_mode)))
        return kw_fail(err, KW_EXISTS, "report %s exists already; choose another name, or --force",
                       shown);
    if (access(place.folder, W_OK | X_OK) == 0)
        status = check_within(place.folder, arguments->operands[0], &within, err);
    else if (errno != ENOENT || strcmp(place.folder, arguments->out) != 0)
        return kw_fail_errno(err, KW_WRITE, errno,
                             "the report %s can't be written; choose a folder that is there and "
                             "yours to write to",
                             shown);
    if (!status && within)
        return kw_fail(err, KW_USAGE,
                       "the report %s would be inside the drop; choose another place", shown);
    return status;
}

/* A process that was killed while it wrote its report left a part of it. */
static int open_temporary(int dirfd, const char *temporary)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    int fd = openat(dirfd, temporary, flags, 0600);
    if (fd < 0 && errno == EEXIST && unlinkat(dirfd, temporary, 0) == 0)
        fd = openat(dirfd, temporary, flags, 0600);
    return fd;
}

/* Replaces only where --force says so, and never in the output folder, whose files are plaintext.
 */
static enum kw_status give_name(const struct arguments *arguments, const struct place *place,
                                int dirfd, const char *temporary, struct kw_error *err)
{
    bool in_output = false;
    char shown[SHOWN_TEXT];
    enum kw_status status = check_within(place->folder, arguments->out, &in_output, err);
    if (status)
        return status;
    bool replace = arguments->force && !in_output;
    if ((replace ? renameat(dirfd, temporary, dirfd, place->name)
                 : kw_rename_new(dirfd, temporary, dirfd, place->name)) == 0)
        return KW_OK;
    return kw_fail_errno(err, errno == EEXIST ? KW_EXISTS : KW_WRITE, errno,
                         "the report can't get its name %s; choose another",
                         show(arguments->report, shown));
}

enum kw_status save_report(const struct kw_run *run, const struct arguments *arguments,
                           const struct kw_error *outcome, struct kw_error *err)
{
    struct place place;
    char temporary[NAME_MAX + 1];
    char shown[SHOWN_TEXT];
    if (!arguments->report)
        return KW_OK;
    enum kw_status status = find_place(arguments->report, &place, err);
    if (status)
        return status;
    (void)snprintf(temporary, sizeof(temporary), ".%s.keyward-report", place.name);
    int dirfd = open(place.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = dirfd < 0 ? -1 : open_temporary(dirfd, temporary);
    show(arguments->report, shown);
    if (fd < 0)
        status = kw_fail_errno(err, KW_WRITE, errno, "the report %s can't be written", shown);
    else if (!(status = kw_run_write_report(run, outcome, fd, shown, err)) && fsync(fd) != 0)
        status = kw_fail_errno(err, KW_WRITE, errno, "the report %s did not reach the disk", shown);
    if (!status)
        status = give_name(arguments, &place, dirfd, temporary, err);
    if (status && fd >= 0)
        (void)unlinkat(dirfd, temporary, 0);
    kw_close(&fd);
    kw_close(&dirfd);
    return status;
}
