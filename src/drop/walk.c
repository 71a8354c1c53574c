/* walk: lists the regular files below a folder, and follows no symbolic link. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "drop/walk.h"

#define FIRST_CAPACITY 64
#define PRINTABLE_PATH 300

/* `path` is that of the entry being looked at. */
struct walk {
    const struct kw_walk_limits *limits;
    struct kw_file_list *list;
    struct kw_strings *warnings;
    struct kw_error *err;
    size_t entries;
    size_t path_len;
    char path[PATH_MAX];
    char printable[PRINTABLE_PATH];
};

static enum kw_status walk_folder(struct walk *walk, int fd, size_t depth);

/* What Spark leaves beside the data. */
static const struct marker {
    const char *prefix;
    const char *suffix;
    bool whole; /* the prefix is the whole name */
} markers[] = {
    {"_SUCCESS", "", true},
    {"_started_", "", false},
    {"_committed_", "", false},
    {".", ".crc", false},
};

static bool is_marker(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < KW_COUNT(markers); i++) {
        size_t prefix = strlen(markers[i].prefix);
        size_t suffix = strlen(markers[i].suffix);
        if (len < prefix + suffix || (markers[i].whole && len != prefix))
            continue;
        if (memcmp(name, markers[i].prefix, prefix) == 0 &&
            memcmp(name + len - suffix, markers[i].suffix, suffix) == 0)
            return true;
    }
    return false;
}

static enum kw_file_kind kind_of(const char *path)
{
    static const char metadata[] = "metadata/";
    if (strncmp(path, metadata, sizeof(metadata) - 1) == 0)
        return KW_FILE_METADATA;
    const char *slash = strrchr(path, '/');
    return is_marker(slash ? slash + 1 : path) ? KW_FILE_MARKER : KW_FILE_DATA;
}

void kw_file_list_cleanup(struct kw_file_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((char *)list->items[i].path);
    free(list->items);
    *list = (struct kw_file_list){0};
}

static enum kw_status list_add(struct kw_file_list *list, const char *path, uint64_t size,
                               struct kw_error *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : FIRST_CAPACITY;
        struct kw_drop_file *items = reallocarray(list->items, capacity, sizeof(*items));
        if (!items)
            return kw_fail_memory(err);
        list->items = items;
        list->capacity = capacity;
    }
    char *copy = strdup(path);
    if (!copy)
        return kw_fail_memory(err);
    list->items[list->count++] =
        (struct kw_drop_file){.path = copy, .size = size, .kind = kind_of(path)};
    return KW_OK;
}

static const char *show_path(struct walk *walk)
{
    return kw_printable(walk->path, walk->path_len, walk->printable, sizeof(walk->printable));
}

static void leave_out(struct walk *walk, const char *what)
{
    kw_strings_warn(walk->warnings, "\"%s\" is %s and was left out", show_path(walk), what);
}

static const char *what_it_is(mode_t mode)
{
    static const struct {
        mode_t type;
        const char *what;
    } types[] = {
        {S_IFLNK, "a symbolic link"},    {S_IFIFO, "a named pipe"},   {S_IFSOCK, "a socket"},
        {S_IFCHR, "a character device"}, {S_IFBLK, "a block device"},
    };
    for (size_t i = 0; i < KW_COUNT(types); i++) {
        if ((mode & S_IFMT) == types[i].type)
            return types[i].what;
    }
    return "no regular file";
}

static enum kw_status enter_folder(struct walk *walk, int parent, const char *name, size_t depth)
{
    if (depth > walk->limits->depth)
        return kw_fail(walk->err, KW_DROP,
                       "\"%s\" is more than %zu folders deep, which no drop is; name the drop's "
                       "own folder",
                       show_path(walk), walk->limits->depth);
    int fd = kw_open_beneath(parent, name, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    if (fd >= 0)
        return walk_folder(walk, fd, depth);
    if (errno == ENOENT || errno == ELOOP || errno == ENOTDIR) {
        leave_out(walk, "no longer a folder");
        return KW_OK;
    }
    return kw_fail_errno(walk->err, KW_READ, errno, "the folder \"%s\" can't be opened",
                         show_path(walk));
}

static enum kw_status visit(struct walk *walk, int folder, const char *name, size_t depth)
{
    if (++walk->entries > walk->limits->entries)
        return kw_fail(walk->err, KW_DROP,
                       "the drop has more than %zu files and folders; split it up, each part with "
                       "the same metadata",
                       walk->limits->entries);
    struct stat info;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT)
            return kw_fail_errno(walk->err, KW_READ, errno, "\"%s\" can't be looked at",
                                 show_path(walk));
        leave_out(walk, "gone since the folder was listed");
        return KW_OK;
    }
    if (S_ISDIR(info.st_mode))
        return enter_folder(walk, folder, name, depth + 1);
    if (S_ISREG(info.st_mode))
        return list_add(walk->list, walk->path, (uint64_t)info.st_size, walk->err);
    leave_out(walk, what_it_is(info.st_mode));
    return KW_OK;
}

/* Visits `name` with its path in walk->path, which is then as it was. */
static enum kw_status visit_named(struct walk *walk, int folder, const char *name, size_t depth)
{
    size_t before = walk->path_len;
    size_t slash = before > 0 ? 1 : 0;
    size_t name_len = strlen(name);
    if (before + slash + name_len >= sizeof(walk->path))
        return kw_fail(walk->err, KW_DROP,
                       "a path below \"%s\" is longer than %zu bytes; give its folders shorter "
                       "names",
                       show_path(walk), sizeof(walk->path) - 1);
    if (slash)
        walk->path[before] = '/';
    memcpy(walk->path + before + slash, name, name_len + 1);
    walk->path_len = before + slash + name_len;
    enum kw_status status = visit(walk, folder, name, depth);
    walk->path_len = before;
    walk->path[before] = '\0';
    return status;
}

/* Takes over `fd`. Calls itself at most limits->depth deep. */
static enum kw_status walk_folder(struct walk *walk, int fd, size_t depth)
{
    DIR *folder = fdopendir(fd);
    if (!folder) {
        int saved = errno;
        kw_close(&fd);
        return kw_fail_errno(walk->err, KW_READ, saved, "the folder \"%s\" can't be listed",
                             show_path(walk));
    }
    enum kw_status status = KW_OK;
    while (status == KW_OK) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno != 0)
                status = kw_fail_errno(walk->err, KW_READ, errno,
                                       "the folder \"%s\" can't be listed", show_path(walk));
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = visit_named(walk, dirfd(folder), entry->d_name, depth);
    }
    (void)closedir(folder); /* it was only read */
    return status;
}

enum kw_status kw_walk(int dirfd, const struct kw_walk_limits *limits, struct kw_file_list *list,
                       struct kw_strings *warnings, struct kw_error *err)
{
    struct walk walk = {.limits = limits, .list = list, .warnings = warnings, .err = err};
    int fd = kw_open_beneath(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "the drop's folder can't be listed");
    return walk_folder(&walk, fd, 0);
}
