/* Going on from a journal: what it lists is held against what is there. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define PIECE ((size_t)256 * 1024)

struct recheck {
    struct kw_run *run;
    uint8_t *buffers; /* PIECE for each worker */
    struct kw_digest *digests[KW_MAX_JOBS];
    atomic_bool stop;
    pthread_mutex_t lock; /* one callback at a time */
};

struct stamp kw_stamp(const struct stat *info)
{
    return (struct stamp){
        .size = (uint64_t)info->st_size, .content = info->st_mtim, .anything = info->st_ctim};
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->size == b->size && same_time(&a->content, &b->content) &&
           same_time(&a->anything, &b->anything);
}

static bool is_stopped(struct recheck *recheck)
{
    const struct kw_decrypt_options *options = recheck->run->options;
    const struct kw_progress progress = {.files_total = recheck->run->file_count,
                                         .bytes_total = recheck->run->bytes_total};
    if (!options->on_progress)
        return false;
    (void)pthread_mutex_lock(&recheck->lock);
    if (options->on_progress(options->context, &progress) != 0)
        atomic_store(&recheck->stop, true);
    (void)pthread_mutex_unlock(&recheck->lock);
    return atomic_load(&recheck->stop);
}

/* ---- one file ---- */

/* The CRC-32 and, where `digest` is not NULL, the SHA-256 of exactly `size` bytes. */
static bool sum_up(struct recheck *recheck, unsigned worker, int fd, uint64_t size,
                   struct kw_digest *digest, uint32_t *ret_crc32)
{
    uint8_t *buffer = recheck->buffers + worker * PIECE;
    uint64_t done = 0;
    size_t got = 0;
    do {
        if (is_stopped(recheck) || kw_read_full(fd, buffer, PIECE, "", &got, NULL) ||
            (digest && kw_digest_update(digest, buffer, got, NULL)))
            return false;
        *ret_crc32 = kw_crc32(*ret_crc32, buffer, got);
        done += got;
    } while (got == PIECE && done <= size);
    return done == size;
}

static bool has_sha256(struct recheck *recheck, unsigned worker, int fd,
                       const struct run_file *file)
{
    uint8_t sha256[KW_SHA256_SIZE];
    uint32_t unused = 0;
    struct kw_digest **digest = &recheck->digests[worker];
    if (!*digest && kw_digest_new(kw_keyring_crypto(recheck->run->keyring), digest, NULL))
        return false;
    return !kw_digest_start(*digest, NULL) &&
           sum_up(recheck, worker, fd, file->source.size, *digest, &unused) &&
           !kw_digest_finish(*digest, sha256, NULL) &&
           memcmp(sha256, file->sha256, sizeof(sha256)) == 0;
}

/* A copy of the drop has other times, and may be the same. */
static bool source_is_same(struct recheck *recheck, unsigned worker, struct run_file *file)
{
    struct stat info;
    int fd = -1;
    if (kw_drop_open_file(recheck->run->drop, file->file, &fd, &info, NULL))
        return false;
    struct stamp now = kw_stamp(&info);
    bool same =
        same_stamp(&now, &file->source) || (file->has_sha256 && now.size == file->source.size &&
                                            has_sha256(recheck, worker, fd, file));
    kw_close(&fd);
    return same;
}

static bool output_is_same(struct recheck *recheck, unsigned worker, const struct run_file *file)
{
    struct stat info;
    uint32_t crc32 = 0;
    int fd = kw_open_beneath(kw_outdir_dirfd(recheck->run->outdir), file->file->path,
                             O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0);
    bool same = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                (uint64_t)info.st_size == file->bytes_out &&
                sum_up(recheck, worker, fd, file->bytes_out, NULL, &crc32) && crc32 == file->crc32;
    kw_close(&fd);
    return same;
}

/* Whether the file at the path is the one that was about to get its name when the run ended. */
static bool is_named(const struct kw_run *run, const struct run_file *file)
{
    struct stat info;
    if (file->inode == 0)
        return false;
    int fd =
        kw_open_beneath(kw_outdir_dirfd(run->outdir), file->file->path, O_PATH | O_NOFOLLOW, 0);
    bool named = fd >= 0 && fstat(fd, &info) == 0 && info.st_ino == file->inode;
    kw_close(&fd);
    return named;
}

static void forget(struct run_file *file)
{
    *file =
        (struct run_file){.file = file->file, .work = file->work, .status = KW_FILE_NOT_REACHED};
}

/* What the journal lists need not have got its name any more; what is on the audit trail too, as
 * ended, and what earlier versions listed by no inode, has. */
static bool is_own(const struct kw_run *run, const struct run_file *file)
{
    bool ended = file->listed && file->status != KW_FILE_UNENCRYPTED && run->launcher < 0 &&
                 (file->inode == 0 || file->recorded);
    return ended || is_named(run, file);
}

/* The kw_pool_run callback. What this run made and is not as it should be goes at once: until it is
 * done again, there is no file. Where it can't go, kw_run_check_free says so. */
static bool look_at(void *context, unsigned worker, size_t item)
{
    struct recheck *recheck = context;
    struct kw_run *run = recheck->run;
    struct run_file *file = &run->files[item];
    if (!file->listed && file->inode == 0)
        return true;
    if (is_stopped(recheck))
        return false;
    bool has_output = run->launcher < 0 && file->status != KW_FILE_UNENCRYPTED;
    file->kept = file->listed && source_is_same(recheck, worker, file) &&
                 (!has_output || output_is_same(recheck, worker, file));
    if (atomic_load(&recheck->stop))
        return false;
    if (file->kept)
        return true;
    if (is_own(run, file))
        (void)kw_outdir_remove(run->outdir, file->file->path, NULL);
    forget(file);
    return true;
}

/* ---- all files ---- */

static enum kw_status look_at_all(struct kw_run *run, struct kw_error *err)
{
    struct recheck *recheck = calloc(1, sizeof(*recheck));
    unsigned workers = run->settings.jobs;
    if (!recheck)
        return kw_fail_memory(err);
    recheck->run = run;
    recheck->buffers = calloc(workers, PIECE);
    atomic_init(&recheck->stop, false);
    enum kw_status status = KW_OK;
    if (!recheck->buffers || pthread_mutex_init(&recheck->lock, NULL) != 0)
        status = kw_fail_memory(err);
    else if (!(status = kw_pool_run(workers, run->file_count, look_at, recheck, err)) &&
             atomic_load(&recheck->stop))
        status = kw_fail(err, KW_INTERRUPTED,
                         "interrupted while what is there was looked at; --resume goes on");
    if (recheck->buffers)
        (void)pthread_mutex_destroy(&recheck->lock);
    for (unsigned i = 0; i < workers; i++)
        kw_digest_free(recheck->digests[i]);
    free(recheck->buffers);
    free(recheck);
    return status;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A folder of the files that are to be done, "." for the first; NULL where memory ran out. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

static void remove_temporaries(const struct kw_run *run)
{
    char **folders = calloc(run->file_count + 1, sizeof(*folders));
    size_t count = 0;
    for (size_t i = 0; folders && i < run->file_count; i++)
        if (!run->files[i].kept && (folders[count] = folder_of(run->files[i].file->path)))
            count++;
    if (count > 0)
        qsort(folders, count, sizeof(*folders), compare_names);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(folders[i], folders[i - 1]) != 0)
            kw_outdir_remove_temporaries(run->outdir, folders[i]);
    for (size_t i = 0; i < count; i++)
        free(folders[i]);
    free(folders);
}

enum kw_status kw_run_recheck(struct kw_run *run, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    if (run->journal.resumed)
        status = look_at_all(run, err);
    if (!status && run->journal.fd >= 0)
        remove_temporaries(run);
    run->pending = 0;
    for (size_t i = 0; i < run->file_count; i++)
        run->pending += !run->files[i].kept;
    return status;
}
