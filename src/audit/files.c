/* files: the folder of a trail, and the files in it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/internal.h"

#define FILE_MODE   0640
#define NEW_SUFFIX  ".new"
#define NUMBERS_MAX 1000000 /* files or checkpoints in one folder */

enum kw_status kw_audit_error(struct kw_error *err, enum kw_status status)
{
    if (status == KW_OK || status == KW_NO_MEMORY || status == KW_FAULT)
        return status;
    if (err)
        err->status = KW_AUDIT;
    return KW_AUDIT;
}

enum kw_status kw_folder_open(const char *dir, struct kw_folder *ret_folder, struct kw_error *err)
{
    struct kw_folder folder;
    kw_printable(dir, strlen(dir), folder.shown, sizeof(folder.shown));
    folder.fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder.fd < 0)
        return kw_fail_errno(err, KW_AUDIT, errno, "the audit trail's folder %s can't be opened",
                             folder.shown);
    *ret_folder = folder;
    return KW_OK;
}

void kw_folder_close(struct kw_folder *folder)
{
    kw_close(&folder->fd);
}

int kw_folder_file(const struct kw_folder *folder, const char *name, int flags,
                   struct kw_error *err)
{
    struct stat info;
    int fd = kw_open_beneath(folder->fd, name, flags | O_NONBLOCK | O_NOCTTY, FILE_MODE);
    if (fd < 0) {
        (void)kw_fail_errno(err, KW_AUDIT, errno, "%s in the audit trail %s can't be opened", name,
                            folder->shown);
        return -1;
    }
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        kw_close(&fd);
        (void)kw_fail(err, KW_AUDIT, "%s in the audit trail %s is no regular file; take it away",
                      name, folder->shown);
    }
    return fd;
}

enum kw_status kw_folder_sync(const struct kw_folder *folder, const char *below,
                              struct kw_error *err)
{
    int fd = kw_open_beneath(folder->fd, below, O_RDONLY | O_DIRECTORY, 0);
    int failed = fd < 0 || fsync(fd) != 0 ? errno : 0;
    kw_close(&fd);
    return failed ? kw_fail_errno(err, KW_AUDIT, failed,
                                  "the audit trail's folder %s can't be brought to the disk",
                                  folder->shown)
                  : KW_OK;
}

static enum kw_status write_new(const struct kw_folder *folder, const char *name, const void *data,
                                size_t len, bool durable, struct kw_error *err)
{
    int fd = kw_folder_file(folder, name, O_WRONLY | O_CREAT | O_TRUNC, err);
    if (fd < 0)
        return KW_AUDIT;
    enum kw_status status = kw_audit_error(err, kw_write_full(fd, data, len, name, err));
    if (!status && durable && fsync(fd) != 0)
        status = kw_fail_errno(err, KW_AUDIT, errno, "%s can't be brought to the disk", name);
    if (close(fd) != 0 && !status)
        status = kw_fail_errno(err, KW_AUDIT, errno, "%s can't be written", name);
    return status;
}

enum kw_status kw_folder_write(const struct kw_folder *folder, const char *name, const void *data,
                               size_t len, bool durable, struct kw_error *err)
{
    char new_name[2 * KW_TRAIL_NAME];
    int printed = snprintf(new_name, sizeof(new_name), "%s" NEW_SUFFIX, name);
    if (printed < 0 || (size_t)printed >= sizeof(new_name))
        return kw_fail(err, KW_FAULT, "the name %s is too long", name);
    enum kw_status status = write_new(folder, new_name, data, len, durable, err);
    if (!status && renameat(folder->fd, new_name, folder->fd, name) != 0)
        status = kw_fail_errno(err, KW_AUDIT, errno, "%s in the audit trail %s can't be written",
                               name, folder->shown);
    if (status)
        (void)unlinkat(folder->fd, new_name, 0); /* it may not be there */
    return status;
}

enum kw_status kw_folder_read(const struct kw_folder *folder, const char *name, size_t max,
                              struct kw_buffer *ret_buffer, struct kw_error *err)
{
    int fd = kw_folder_file(folder, name, O_RDONLY, err);
    if (fd < 0)
        return KW_AUDIT;
    enum kw_status status = kw_read_file(fd, max, name, KW_AUDIT, ret_buffer, err);
    kw_close(&fd);
    return kw_audit_error(err, status);
}

/* ---- names with numbers in them ---- */

#define TRAIL_PREFIX "trail-"
#define TRAIL_SUFFIX ".jsonl"

void kw_trail_file_name(uint64_t first, char out[KW_TRAIL_NAME])
{
    (void)snprintf(out, KW_TRAIL_NAME, TRAIL_PREFIX "%012llu" TRAIL_SUFFIX,
                   (unsigned long long)first);
}

void kw_checkpoint_name(uint64_t size, const char *suffix, char out[KW_TRAIL_NAME])
{
    (void)snprintf(out, KW_TRAIL_NAME, KW_CHECKPOINTS "/%012llu%s", (unsigned long long)size,
                   suffix);
}

/* PREFIX, 12 digits, SUFFIX. */
static bool read_name(const char *name, const char *prefix, const char *suffix,
                      uint64_t *ret_number)
{
    size_t before = strlen(prefix);
    if (strncmp(name, prefix, before) != 0 ||
        strspn(name + before, "0123456789") != KW_NUMBER_DIGITS ||
        strcmp(name + before + KW_NUMBER_DIGITS, suffix) != 0)
        return false;
    uint64_t number = 0;
    for (size_t i = 0; i < KW_NUMBER_DIGITS; i++)
        number = number * 10 + (uint64_t)(name[before + i] - '0');
    *ret_number = number;
    return true;
}

static enum kw_status add_number(struct kw_numbers *numbers, uint64_t number, struct kw_error *err)
{
    if (numbers->count == NUMBERS_MAX)
        return kw_fail(err, KW_AUDIT,
                       "the audit trail has more than a million files; begin a new "
                       "one");
    if ((numbers->count & (numbers->count - 1)) == 0) {
        size_t capacity = numbers->count ? numbers->count * 2 : 1;
        uint64_t *items = reallocarray(numbers->items, capacity, sizeof(*items));
        if (!items)
            return kw_fail_memory(err);
        numbers->items = items;
    }
    numbers->items[numbers->count++] = number;
    return KW_OK;
}

void kw_numbers_cleanup(struct kw_numbers *numbers)
{
    free(numbers->items);
    *numbers = (struct kw_numbers){.items = NULL};
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static enum kw_status read_names(DIR *stream, const char *prefix, const char *suffix,
                                 const char *shown, struct kw_numbers *numbers,
                                 struct kw_error *err)
{
    enum kw_status status = KW_OK;
    const struct dirent *entry;
    while (!status && (errno = 0, entry = readdir(stream)) != NULL) {
        uint64_t number = 0;
        if (read_name(entry->d_name, prefix, suffix, &number))
            status = add_number(numbers, number, err);
    }
    if (!status && errno)
        status =
            kw_fail_errno(err, KW_AUDIT, errno, "the audit trail's folder %s can't be read", shown);
    if (!status && numbers->count > 1)
        qsort(numbers->items, numbers->count, sizeof(*numbers->items), compare_numbers);
    return status;
}

static enum kw_status list(const struct kw_folder *folder, const char *below, const char *prefix,
                           const char *suffix, struct kw_numbers *ret_numbers, struct kw_error *err)
{
    struct kw_numbers numbers = {.items = NULL};
    int fd = kw_open_beneath(folder->fd, below, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0 && errno == ENOENT) {
        *ret_numbers = numbers;
        return KW_OK;
    }
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (!stream) {
        enum kw_status failed = kw_fail_errno(
            err, KW_AUDIT, errno, "the audit trail's folder %s can't be read", folder->shown);
        kw_close(&fd);
        return failed;
    }
    enum kw_status status = read_names(stream, prefix, suffix, folder->shown, &numbers, err);
    (void)closedir(stream); /* nothing was written */
    if (status)
        kw_numbers_cleanup(&numbers);
    else
        *ret_numbers = numbers;
    return status;
}

enum kw_status kw_list_trail(const struct kw_folder *folder, struct kw_numbers *ret_numbers,
                             struct kw_error *err)
{
    return list(folder, ".", TRAIL_PREFIX, TRAIL_SUFFIX, ret_numbers, err);
}

enum kw_status kw_list_checkpoints(const struct kw_folder *folder, struct kw_numbers *ret_numbers,
                                   struct kw_error *err)
{
    return list(folder, KW_CHECKPOINTS, "", "", ret_numbers, err);
}
