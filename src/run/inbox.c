/* inbox: folders that appear, and when they are whole drops. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inbox.h"

/* Between two looks at a drop whose files may still be growing. */
#define LOOK_MS 1000
/* A drop that takes long to list is listed so much more rarely. */
#define LOOK_COST 20

enum kw_status inbox_open(struct inbox *inbox, const struct kw_watch_options *options,
                          struct kw_error *err)
{
    char shown[256];
    *inbox = (struct inbox){.options = options};
    inbox->fd = open(options->inbox, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (inbox->fd >= 0)
        return KW_OK;
    return kw_fail_errno(
        err, KW_READ, errno, "the inbox %s can't be opened",
        kw_printable(options->inbox, strlen(options->inbox), shown, sizeof(shown)));
}

static void forget(struct inbox_drop *drops, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(drops[i].name);
    free(drops);
}

void inbox_close(struct inbox *inbox)
{
    forget(inbox->drops, inbox->count);
    inbox->drops = NULL;
    inbox->count = 0;
    kw_close(&inbox->fd);
}

char *inbox_path(const struct inbox *inbox, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", inbox->options->inbox, name) < 0 ? NULL : path;
}

/* ---- which folders there are ---- */

static bool is_folder(int fd, const char *name)
{
    struct stat info;
    return name[0] != '.' && fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(info.st_mode);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct inbox_drop *)a)->name, ((const struct inbox_drop *)b)->name);
}

/* What is known of drops that are still there; both lists are sorted. */
static void keep_known(struct inbox_drop *now, size_t count, struct inbox_drop *before,
                       size_t before_count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        while (at < before_count && by_name(&before[at], &now[i]) < 0)
            at++;
        if (at == before_count || by_name(&before[at], &now[i]) != 0)
            continue;
        char *name = now[i].name;
        now[i] = before[at];
        before[at].name = name;
    }
}

static enum kw_status list(DIR *folder, struct inbox *inbox,
                           bool (*is_marked)(void *context, const char *name), void *context,
                           struct kw_error *err)
{
    size_t count = 0;
    const struct dirent *entry;
    struct inbox_drop *drops = calloc(KW_INBOX_MAX, sizeof(*drops));
    enum kw_status status = drops ? KW_OK : kw_fail_memory(err);
    inbox->full = false;
    errno = 0;
    while (!status && !inbox->full && (entry = readdir(folder))) {
        bool is_drop = is_folder(inbox->fd, entry->d_name) && !is_marked(context, entry->d_name);
        inbox->full = is_drop && count == KW_INBOX_MAX;
        if (is_drop && !inbox->full && !(drops[count++].name = strdup(entry->d_name)))
            status = kw_fail_memory(err);
        errno = 0;
    }
    if (!status && errno != 0)
        status = kw_fail_errno(err, KW_READ, errno, "the inbox can't be listed to its end");
    if (status) {
        forget(drops, count);
        return status;
    }
    qsort(drops, count, sizeof(*drops), by_name);
    keep_known(drops, count, inbox->drops, inbox->count);
    forget(inbox->drops, inbox->count);
    inbox->drops = drops;
    inbox->count = count;
    return KW_OK;
}

enum kw_status inbox_scan(struct inbox *inbox, bool (*is_marked)(void *context, const char *name),
                          void *context, struct kw_error *err)
{
    int fd = openat(inbox->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        int code = errno;
        kw_close(&fd);
        return kw_fail_errno(err, KW_READ, code, "the inbox can't be listed");
    }
    enum kw_status status = list(folder, inbox, is_marked, context, err);
    (void)closedir(folder);
    return status;
}

/* ---- when a folder is a whole drop ---- */

/* A copy may have given a file its whole size at first, and fill it still. */
static enum kw_status add_file(struct kw_digest *digest, const struct kw_drop *drop,
                               const struct kw_drop_file *file, struct kw_error *err)
{
    struct stat info;
    struct stamp stamp;
    memset(&stamp, 0, sizeof(stamp)); /* no bytes between its members are left as they were */
    if (fstatat(kw_drop_dirfd(drop), file->path, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        stamp.content = info.st_mtim;
        stamp.anything = info.st_ctim;
    }
    stamp.size = file->size;
    enum kw_status status = kw_digest_update(digest, file->path, strlen(file->path) + 1, err);
    return status ? status : kw_digest_update(digest, &stamp, sizeof(stamp), err);
}

static enum kw_status add_files(struct kw_digest *digest, const struct kw_drop *drop,
                                struct kw_error *err)
{
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < kw_drop_file_count(drop) && !status; i++)
        status = add_file(digest, drop, kw_drop_file_at(drop, i), err);
    return status;
}

/* What can be told from the drop without a key. */
struct view {
    enum kw_status status; /* of opening it */
    bool has_metadata;
    uint8_t sha256[KW_SHA256_SIZE];
};

static enum kw_status view_of(const struct kw_drop *drop, const struct kw_error *failure,
                              struct kw_digest *digest, struct view *view, struct kw_error *err)
{
    enum kw_status status = kw_digest_start(digest, err);
    if (!status && drop)
        status = add_files(digest, drop, err);
    else if (!status)
        status = kw_digest_update(digest, failure->message, strlen(failure->message), err);
    view->has_metadata = drop && kw_drop_envelope(drop);
    return status ? status : kw_digest_finish(digest, view->sha256, err);
}

enum kw_status inbox_open_drop(const struct inbox *inbox, const char *name, int *ret_dirfd,
                               struct kw_error *err)
{
    char shown[256];
    *ret_dirfd = kw_open_beneath(inbox->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (*ret_dirfd >= 0)
        return KW_OK;
    return kw_fail_errno(err, KW_READ, errno, "the drop %s can't be opened",
                         kw_printable(name, strlen(name), shown, sizeof(shown)));
}

/* `dirfd` is the drop's folder, or -1: then it is opened, and one that can't be is looked at as one
 * whose files can't be listed. */
static enum kw_status look(const struct inbox *inbox, const char *name, int dirfd,
                           struct view *view, struct kw_error *err)
{
    struct kw_drop *drop = NULL;
    struct kw_digest *digest = NULL;
    struct kw_error failure = {.status = KW_OK};
    int opened = -1;
    view->status = dirfd < 0 ? inbox_open_drop(inbox, name, &opened, &failure) : KW_OK;
    if (!view->status)
        view->status = kw_drop_open_folder(dirfd < 0 ? opened : dirfd, name, &drop, &failure);
    kw_close(&opened);
    if (view->status == KW_NO_MEMORY)
        return kw_fail_memory(err);
    enum kw_status status = kw_digest_new(inbox->crypto, &digest, err);
    if (!status)
        status = view_of(drop, &failure, digest, view, err);
    kw_digest_free(digest);
    kw_drop_free(drop);
    return status;
}

static bool has_marker(const struct inbox *inbox, const char *name)
{
    struct stat info;
    int fd = kw_open_beneath(inbox->fd, name, O_PATH | O_DIRECTORY, 0);
    bool has = fd >= 0 && fstatat(fd, inbox->options->marker, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
               S_ISREG(info.st_mode);
    kw_close(&fd);
    return has;
}

/* A drop whose metadata can't be used, or whose files can't be listed, is as complete as it gets;
 * one without metadata may still get some. */
static enum kw_status look_whether_at_rest(struct inbox *inbox, struct inbox_drop *drop,
                                           bool *ret_ready, struct kw_error *err)
{
    uint64_t now = kw_now_ms();
    struct view view;
    enum kw_status status = look(inbox, drop->name, -1, &view, err);
    if (status)
        return status;
    uint64_t cost = kw_now_ms() - now;
    if (drop->at_rest_since_ms == 0 || memcmp(view.sha256, drop->seen, sizeof(drop->seen)) != 0) {
        memcpy(drop->seen, view.sha256, sizeof(drop->seen));
        drop->at_rest_since_ms = now + 1; /* never 0 */
    }
    bool at_rest = now + 1 - drop->at_rest_since_ms >= (uint64_t)inbox->options->settle_s * 1000;
    *ret_ready = at_rest && (view.has_metadata || view.status);
    drop->incomplete = at_rest && !*ret_ready;
    drop->look_at_ms = now + cost * LOOK_COST + (inbox->options->settle_s > 0 ? LOOK_MS : 0);
    return KW_OK;
}

static enum kw_status look_for_marker(struct inbox *inbox, struct inbox_drop *drop, bool *ret_ready,
                                      struct kw_error *err)
{
    struct view view;
    bool has = has_marker(inbox, drop->name);
    enum kw_status status = has ? look(inbox, drop->name, -1, &view, err) : KW_OK;
    if (status)
        return status;
    if (has)
        memcpy(drop->seen, view.sha256, sizeof(drop->seen));
    drop->incomplete = !has;
    *ret_ready = has;
    return KW_OK;
}

static bool has_good_name(const char *name)
{
    size_t len = strlen(name);
    size_t end = sizeof(KW_REPORT_END) - 1;
    return len <= KW_INBOX_NAME_MAX && (len < end || strcmp(name + len - end, KW_REPORT_END) != 0);
}

enum kw_status inbox_is_ready(struct inbox *inbox, struct inbox_drop *drop, bool *ret_ready,
                              struct kw_error *err)
{
    *ret_ready = false;
    bool is_named_badly = !has_good_name(drop->name);
    drop->incomplete |= is_named_badly;
    if (is_named_badly || kw_now_ms() < drop->look_at_ms)
        return KW_OK;
    return inbox->options->marker ? look_for_marker(inbox, drop, ret_ready, err)
                                  : look_whether_at_rest(inbox, drop, ret_ready, err);
}

enum kw_status inbox_has_changed(struct inbox *inbox, const struct inbox_drop *drop, int dirfd,
                                 bool *ret_changed, struct kw_error *err)
{
    struct view view;
    enum kw_status status = look(inbox, drop->name, dirfd, &view, err);
    if (!status)
        *ret_changed = memcmp(view.sha256, drop->seen, sizeof(drop->seen)) != 0;
    return status;
}
