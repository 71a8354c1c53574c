/* drop: a folder with its files listed and its metadata read. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drop/drop.h"
#include "drop/walk.h"

#define MAX_WARNINGS   100
#define PRINTABLE_PATH 200

struct kw_drop {
    char *path;
    int dirfd;
    struct kw_file_list files; /* sorted by path */
    struct kw_strings warnings;
    bool encrypted;
    struct kw_envelope envelope;
    struct kw_buffer wrapped; /* the envelope points into it */
};

static const char *show_path(const char *path, char out[PRINTABLE_PATH])
{
    return kw_printable(path, strlen(path), out, PRINTABLE_PATH);
}

static enum kw_status drop_new(const char *path, struct kw_drop **ret_drop, struct kw_error *err)
{
    struct kw_drop *drop = calloc(1, sizeof(*drop));
    if (!drop)
        return kw_fail_memory(err);
    drop->dirfd = -1;
    drop->warnings = (struct kw_strings)KW_STRINGS_INIT(MAX_WARNINGS);
    drop->wrapped = (struct kw_buffer)KW_BUFFER_INIT(KW_RSA_MAX_BYTES);
    drop->path = strdup(path);
    if (!drop->path) {
        kw_drop_free(drop);
        return kw_fail_memory(err);
    }
    *ret_drop = drop;
    return KW_OK;
}

void kw_drop_free(struct kw_drop *drop)
{
    if (!drop)
        return;
    kw_close(&drop->dirfd);
    kw_file_list_cleanup(&drop->files);
    kw_strings_cleanup(&drop->warnings);
    kw_buffer_cleanup(&drop->wrapped);
    free(drop->path);
    free(drop);
}

/* The path was chosen by the user, so links on the way and at its end are theirs. */
static enum kw_status open_folder(struct kw_drop *drop, struct kw_error *err)
{
    char shown[PRINTABLE_PATH];
    drop->dirfd = open(drop->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (drop->dirfd >= 0)
        return KW_OK;
    int saved = errno;
    struct stat info;
    if (saved == ENOTDIR && stat(drop->path, &info) == 0)
        return kw_fail(err, KW_DROP,
                       "\"%s\" is no folder; name the drop, which is the folder that holds the "
                       "encrypted files and metadata/",
                       show_path(drop->path, shown));
    bool no_such = saved == ENOENT || saved == ENOTDIR || saved == ELOOP || saved == ENAMETOOLONG;
    return kw_fail_errno(err, no_such ? KW_DROP : KW_READ, saved,
                         "the drop \"%s\" can't be opened (check its path and permissions)",
                         show_path(drop->path, shown));
}

static int compare_files(const void *a, const void *b)
{
    const struct kw_drop_file *file_a = a;
    const struct kw_drop_file *file_b = b;
    return strcmp(file_a->path, file_b->path);
}

static enum kw_status take_folder(struct kw_drop *drop, int dirfd, struct kw_error *err)
{
    char shown[PRINTABLE_PATH];
    drop->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    if (drop->dirfd >= 0)
        return KW_OK;
    return kw_fail_errno(err, KW_READ, errno, "the drop \"%s\" can't be opened",
                         show_path(drop->path, shown));
}

static enum kw_status list_files(struct kw_drop *drop, struct kw_error *err)
{
    static const struct kw_walk_limits limits = {
        .entries = KW_DROP_MAX_FILES,
        .depth = KW_DROP_MAX_DEPTH,
    };
    enum kw_status status = kw_walk(drop->dirfd, &limits, &drop->files, &drop->warnings, err);
    if (status == KW_OK && drop->files.count > 0)
        qsort(drop->files.items, drop->files.count, sizeof(*drop->files.items), compare_files);
    return status;
}

/* Leaves *ret_text empty, with no data, where the drop has no such file. */
static enum kw_status read_metadata_file(const struct kw_drop *drop, enum kw_drop_format format,
                                         struct kw_buffer *ret_text, struct kw_error *err)
{
    const char *path = kw_drop_metadata_path(format);
    int fd = kw_open_beneath(drop->dirfd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return KW_OK;
    if (fd < 0 && errno == ELOOP)
        return kw_fail(err, KW_METADATA,
                       "%s is a symbolic link or behind one, and links are not followed; copy the "
                       "metadata itself into the drop",
                       path);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be opened (check its permissions)",
                             path);
    enum kw_status status =
        kw_read_file(fd, KW_METADATA_MAX_BYTES, path, KW_METADATA, ret_text, err);
    kw_close(&fd);
    return status;
}

static enum kw_status read_metadata(struct kw_drop *drop, struct kw_error *err)
{
    struct kw_buffer details = KW_BUFFER_INIT(0);
    struct kw_buffer job = KW_BUFFER_INIT(0);
    enum kw_status status = read_metadata_file(drop, KW_DROP_DATA_CONNECT, &details, err);
    if (status == KW_OK)
        status = read_metadata_file(drop, KW_DROP_VIVA_INSIGHTS, &job, err);
    if (status == KW_OK) {
        const struct kw_metadata_text text = {
            .details = (const char *)details.data,
            .details_len = details.len,
            .job = (const char *)job.data,
            .job_len = job.len,
        };
        status = kw_metadata_parse(&text, &drop->encrypted, &drop->envelope, &drop->wrapped, err);
    }
    kw_buffer_cleanup(&details);
    kw_buffer_cleanup(&job);
    return status;
}

enum kw_status kw_drop_open(const char *path, struct kw_drop **ret_drop, struct kw_error *err)
{
    if (!path || !ret_drop)
        return kw_fail(err, KW_USAGE, "no path of a drop was given; name its folder");
    return kw_drop_open_folder(-1, path, ret_drop, err);
}

enum kw_status kw_drop_open_folder(int dirfd, const char *path, struct kw_drop **ret_drop,
                                   struct kw_error *err)
{
    struct kw_drop *drop = NULL;
    enum kw_status status = drop_new(path, &drop, err);
    if (status == KW_OK)
        status = dirfd < 0 ? open_folder(drop, err) : take_folder(drop, dirfd, err);
    if (status == KW_OK)
        status = list_files(drop, err);
    if (status == KW_OK)
        status = read_metadata(drop, err);
    if (status != KW_OK) {
        kw_drop_free(drop);
        return status;
    }
    *ret_drop = drop;
    return KW_OK;
}

size_t kw_drop_file_count(const struct kw_drop *drop)
{
    return drop->files.count;
}

const struct kw_drop_file *kw_drop_file_at(const struct kw_drop *drop, size_t index)
{
    return index < drop->files.count ? &drop->files.items[index] : NULL;
}

const char *kw_drop_path(const struct kw_drop *drop)
{
    return drop->path;
}

const struct kw_envelope *kw_drop_envelope(const struct kw_drop *drop)
{
    return drop->encrypted ? &drop->envelope : NULL;
}

enum kw_status kw_drop_not_encrypted(const struct kw_drop *drop, struct kw_error *err)
{
    char shown[PRINTABLE_PATH];
    return kw_fail(err, KW_NOT_ENCRYPTED,
                   "no metadata says how \"%s\" was encrypted: neither %s nor %s has a key; check "
                   "that all of the drop was copied, else its files are not encrypted",
                   show_path(drop->path, shown), kw_drop_metadata_path(KW_DROP_DATA_CONNECT),
                   kw_drop_metadata_path(KW_DROP_VIVA_INSIGHTS));
}

const struct kw_strings *kw_drop_warnings(const struct kw_drop *drop)
{
    return &drop->warnings;
}

int kw_drop_dirfd(const struct kw_drop *drop)
{
    return drop->dirfd;
}

const struct kw_drop_file *kw_drop_find(const struct kw_drop *drop, const char *path)
{
    if (drop->files.count == 0)
        return NULL;
    const struct kw_drop_file wanted = {.path = strncmp(path, "./", 2) == 0 ? path + 2 : path};
    const struct kw_drop_file *file = bsearch(&wanted, drop->files.items, drop->files.count,
                                              sizeof(*drop->files.items), compare_files);
    return file && file->kind == KW_FILE_DATA ? file : NULL;
}

enum kw_status kw_drop_open_file(const struct kw_drop *drop, const struct kw_drop_file *file,
                                 int *ret_fd, struct stat *ret_info, struct kw_error *err)
{
    char shown[PRINTABLE_PATH];
    /* What took the file's place since it was listed may be a pipe: don't wait for a writer. */
    int fd = kw_open_beneath(drop->dirfd, file->path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno,
                             "\"%s\" can't be opened (check its permissions and that it is still "
                             "there)",
                             show_path(file->path, shown));
    struct stat info;
    if (fstat(fd, &info) != 0) {
        int saved = errno;
        kw_close(&fd);
        return kw_fail_errno(err, KW_READ, saved, "\"%s\" can't be looked at",
                             show_path(file->path, shown));
    }
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != file->size) {
        kw_close(&fd);
        return kw_fail(err, KW_READ,
                       "\"%s\" is no longer the file of %llu bytes that was listed; run again when "
                       "the drop is complete",
                       show_path(file->path, shown), (unsigned long long)file->size);
    }
    if (ret_info)
        *ret_info = info;
    *ret_fd = fd;
    return KW_OK;
}
