/* source: reads a file in chunks, and sees to it that it is one file from start to end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "flow/stage.h"

struct kw_source {
    uint8_t *own; /* one chunk, where the next stage has no memory to offer */
    size_t chunk;
    struct kw_digest *digest;
    /* of one file: */
    int fd;
    bool digesting;
    const char *name;
    uint64_t left;
    struct stat before;
    bool (*tick)(void *context, uint64_t bytes);
    void *tick_context;
};

enum kw_status kw_source_new(struct kw_crypto *crypto, size_t chunk, struct kw_source **ret_source,
                             struct kw_error *err)
{
    struct kw_source *source = calloc(1, sizeof(*source));
    if (!source)
        return kw_fail_memory(err);
    source->chunk = chunk;
    source->own = malloc(chunk);
    enum kw_status status =
        source->own ? kw_digest_new(crypto, &source->digest, err) : kw_fail_memory(err);
    if (status != KW_OK) {
        kw_source_free(source);
        return status;
    }
    *ret_source = source;
    return KW_OK;
}

void kw_source_free(struct kw_source *source)
{
    if (!source)
        return;
    kw_digest_free(source->digest);
    free(source->own);
    free(source);
}

static enum kw_status check_size(const struct kw_flow_job *job, const char *name,
                                 struct kw_error *err)
{
    if (job->work != KW_FLOW_DECRYPT)
        return KW_OK;
    if (job->source_size == 0)
        return kw_fail(err, KW_DAMAGED, "%s is empty, which no ciphertext is; get the file again",
                       name);
    if (job->source_size % KW_AES_BLOCK != 0)
        return kw_fail(err, KW_DAMAGED,
                       "%s has %" PRIu64 " bytes, which is no multiple of %d: it is cut short or "
                       "not encrypted; get the file again",
                       name, job->source_size, KW_AES_BLOCK);
    return KW_OK;
}

static enum kw_status changed(const struct kw_source *source, struct kw_error *err)
{
    return kw_fail(err, KW_READ, "%s changed while it was read; try again when it is left alone",
                   source->name);
}

static enum kw_status stat_source(const struct kw_source *source, struct stat *ret_info,
                                  struct kw_error *err)
{
    if (fstat(source->fd, ret_info) != 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be read", source->name);
    return KW_OK;
}

enum kw_status kw_source_start(struct kw_source *source, const struct kw_flow_job *job,
                               const char *name, struct kw_error *err)
{
    source->fd = job->source_fd;
    source->name = name;
    source->left = job->source_size;
    source->tick = job->tick;
    source->tick_context = job->tick_context;
    source->digesting = job->digest;

    enum kw_status status = check_size(job, name, err);
    if (status == KW_OK)
        status = stat_source(source, &source->before, err);
    if (status == KW_OK && source->digesting)
        status = kw_digest_start(source->digest, err);
    if (status != KW_OK || !S_ISREG(source->before.st_mode))
        return status;
    if ((uint64_t)source->before.st_size != job->source_size)
        return changed(source, err);
    /* Advice only: nothing is lost where it is not taken. What one read gets needs none. */
    if (job->source_size > source->chunk)
        (void)posix_fadvise(source->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return KW_OK;
}

bool kw_source_at_end(const struct kw_source *source)
{
    return source->left == 0;
}

enum kw_status kw_source_step(struct kw_source *source, struct kw_stage *next, struct kw_error *err)
{
    if (source->left == 0)
        return KW_OK;
    size_t capacity = source->chunk;
    uint8_t *data = kw_stage_reserve(next, &capacity);
    if (!data) {
        data = source->own;
        capacity = source->chunk;
    }
    size_t want = capacity < source->chunk ? capacity : source->chunk;
    if (want > source->left)
        want = (size_t)source->left;

    size_t got = 0;
    enum kw_status status = kw_read_full(source->fd, data, want, source->name, &got, err);
    if (status != KW_OK)
        return status;
    if (got != want)
        return changed(source, err);
    source->left -= got;
    if (source->digesting)
        status = kw_digest_update(source->digest, data, got, err);
    if (status != KW_OK)
        return status;
    if (source->tick && !source->tick(source->tick_context, got))
        return kw_fail(err, KW_INTERRUPTED, "stopped while %s was read", source->name);
    return kw_stage_feed(next, data, got, err);
}

/* A write within the clock's tick that the file was read in goes unnoticed; nothing shows it. */
static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static enum kw_status check_unchanged(const struct kw_source *source, struct kw_error *err)
{
    struct stat after;
    enum kw_status status = stat_source(source, &after, err);
    if (status != KW_OK)
        return status;
    return is_same(&source->before, &after) ? KW_OK : changed(source, err);
}

/* Of what has no size of its own. */
static enum kw_status check_end(const struct kw_source *source, struct kw_error *err)
{
    uint8_t more = 0;
    size_t got = 0;
    enum kw_status status = kw_read_full(source->fd, &more, 1, source->name, &got, err);
    if (status != KW_OK)
        return status;
    return got == 0 ? KW_OK : changed(source, err);
}

enum kw_status kw_source_finish(struct kw_source *source, uint8_t sha256[KW_SHA256_SIZE],
                                struct kw_error *err)
{
    bool regular = S_ISREG(source->before.st_mode);
    enum kw_status status = regular ? check_unchanged(source, err) : check_end(source, err);
    if (status != KW_OK)
        return status;
    return source->digesting ? kw_digest_finish(source->digest, sha256, err) : KW_OK;
}
