/* Each file of a run through its flow, by as many workers as there are files and processors. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Below this a second thread on one file costs more than it gains. */
#define WORTH_A_PIPELINE (1024 * 1024)

struct work {
    struct kw_run *run;
    size_t *order; /* the largest files first, so that no worker is left with one at the end */
    unsigned workers;
    struct kw_flow *flows[KW_MAX_JOBS];
    atomic_bool stop;
    pthread_mutex_t lock; /* one callback at a time */
    struct kw_progress progress;
};

static bool report_progress(struct work *work, uint64_t bytes, uint64_t files)
{
    const struct kw_decrypt_options *options = work->run->options;
    if (!options->on_progress)
        return true;
    (void)pthread_mutex_lock(&work->lock);
    work->progress.bytes_done += bytes;
    work->progress.files_done += files;
    bool stop = options->on_progress(options->context, &work->progress) != 0;
    (void)pthread_mutex_unlock(&work->lock);
    if (stop)
        atomic_store(&work->stop, true);
    return !stop;
}

static bool tick(void *context, uint64_t bytes)
{
    struct work *work = context;
    return report_progress(work, bytes, 0) && !atomic_load(&work->stop);
}

static void report_file(struct work *work, const struct run_file *file,
                        const struct kw_error *error)
{
    const struct kw_decrypt_options *options = work->run->options;
    if (!options->on_file)
        return;
    char sha256[2 * KW_SHA256_SIZE + 1];
    kw_hex_encode(file->sha256, KW_SHA256_SIZE, sha256);
    const struct kw_file_result result = {
        .path = file->file->path,
        .status = file->status,
        .bytes_in = file->bytes_in,
        .bytes_out = file->bytes_out,
        .milliseconds = file->milliseconds,
        .sha256 = file->has_sha256 ? sha256 : NULL,
        .error = file->status == KW_FILE_FAILED ? error : NULL,
    };
    (void)pthread_mutex_lock(&work->lock);
    options->on_file(options->context, &result);
    (void)pthread_mutex_unlock(&work->lock);
}

static enum kw_status run_flow(struct work *work, struct kw_flow *flow, struct run_file *file,
                               int fd, struct kw_error *err)
{
    const struct kw_run *run = work->run;
    struct kw_flow_job job = {
        .work = file->work,
        .source_fd = fd,
        .source_size = file->file->size,
        .source_name = file->file->path,
        .key = run->unlocked.data_key.secret,
        .iv = kw_drop_envelope(run->drop)->iv,
        .gzip = run->settings.gzip,
        .digest = run->settings.digest,
        .tick = tick,
        .tick_context = work,
    };
    struct kw_flow_result result;
    enum kw_status status =
        kw_sink_file_new(run->outdir, file->file->path, run->options->force != 0, &job.sink, err);
    if (!status)
        status = kw_flow_run(flow, &job, &result, err);
    if (status)
        return status;
    file->status = file->work == KW_FLOW_COPY ? KW_FILE_COPIED : KW_FILE_DECRYPTED;
    file->bytes_in = result.bytes_in;
    file->bytes_out = result.bytes_out;
    file->has_sha256 = run->settings.digest;
    memcpy(file->sha256, result.sha256, sizeof(file->sha256));
    return KW_OK;
}

static enum kw_status take_file(struct work *work, struct kw_flow *flow, struct run_file *file,
                                struct kw_error *err)
{
    int fd = -1;
    bool plain = false;
    enum kw_status status = kw_drop_open_file(work->run->drop, file->file, &fd, err);
    if (!status && file->work == KW_FLOW_DECRYPT)
        status = kw_file_looks_plain(fd, file->file->size, file->file->path, &plain, err);
    if (plain && work->run->options->copy_unencrypted)
        file->work = KW_FLOW_COPY;
    if (!status && plain && file->work == KW_FLOW_DECRYPT)
        file->status = KW_FILE_UNENCRYPTED;
    else if (!status)
        status = run_flow(work, flow, file, fd, err);
    kw_close(&fd);
    return status;
}

/* The kw_pool_run callback. A file that fails does not stop the others, an interruption does. */
static bool take(void *context, unsigned worker, size_t item)
{
    struct work *work = context;
    struct run_file *file = &work->run->files[work->order[item]];
    if (atomic_load(&work->stop))
        return false;
    uint64_t start = kw_now_ms();
    struct kw_error error = {.status = KW_OK};
    enum kw_status status = take_file(work, work->flows[worker], file, &error);
    file->milliseconds = kw_now_ms() - start;
    if (status == KW_INTERRUPTED)
        return false;
    if (status) {
        file->status = KW_FILE_FAILED;
        file->failure = status;
        file->message = strdup(error.message);
    }
    report_file(work, file, &error);
    return report_progress(work, 0, 1);
}

struct sized {
    uint64_t size;
    size_t index;
};

static int larger_first(const void *a, const void *b)
{
    const struct sized *x = a;
    const struct sized *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static enum kw_status order_files(struct work *work, struct kw_error *err)
{
    const struct kw_run *run = work->run;
    struct sized *files = calloc(run->file_count, sizeof(*files));
    work->order = calloc(run->file_count, sizeof(*work->order));
    if (!files || !work->order) {
        free(files);
        return kw_fail_memory(err);
    }
    for (size_t i = 0; i < run->file_count; i++)
        files[i] = (struct sized){.size = run->files[i].file->size, .index = i};
    qsort(files, run->file_count, sizeof(*files), larger_first);
    for (size_t i = 0; i < run->file_count; i++)
        work->order[i] = files[i].index;
    free(files);
    return KW_OK;
}

/* A thread a file while there are enough files; two on each where there are not. */
static enum kw_status hire_workers(struct work *work, struct kw_error *err)
{
    const struct kw_run *run = work->run;
    unsigned jobs = run->settings.jobs;
    work->workers = run->file_count < jobs ? (unsigned)run->file_count : jobs;
    bool pipeline =
        work->workers < jobs && run->files[work->order[0]].file->size >= WORTH_A_PIPELINE;
    const struct kw_flow_options options = {.threads = pipeline ? 2 : 1};
    enum kw_status status = KW_OK;
    for (unsigned i = 0; i < work->workers && !status; i++)
        status = kw_flow_new(kw_keyring_crypto(run->keyring), &options, &work->flows[i], err);
    return status;
}

/* Damaged data is told before any other failure: it can't be mended by trying again. */
static const struct run_file *find_failure(const struct kw_run *run, size_t *ret_count)
{
    const struct run_file *found = NULL;
    *ret_count = 0;
    for (size_t i = 0; i < run->file_count; i++) {
        const struct run_file *file = &run->files[i];
        if (file->status != KW_FILE_FAILED)
            continue;
        (*ret_count)++;
        if (!found || (file->failure == KW_DAMAGED && found->failure != KW_DAMAGED))
            found = file;
    }
    return found;
}

static enum kw_status summarise(const struct kw_run *run, struct kw_error *err)
{
    size_t count = 0;
    const struct run_file *failed = find_failure(run, &count);
    if (!failed)
        return KW_OK;
    const char *message = failed->message ? failed->message : "out of memory";
    if (count == 1)
        return kw_fail(err, failed->failure, "%s", message);
    return kw_fail(err, failed->failure, "%zu of %zu files failed; one of them: %.400s", count,
                   run->file_count, message);
}

/* A failed file leaves nothing, nor do folders that were made for it alone. */
static void prune_folders(const struct kw_run *run)
{
    for (size_t i = 0; i < run->file_count; i++)
        if (run->files[i].status == KW_FILE_FAILED || run->files[i].status == KW_FILE_NOT_REACHED)
            kw_outdir_prune(run->outdir, run->files[i].file->path);
}

enum kw_status kw_run_work(struct kw_run *run, struct kw_error *err)
{
    if (run->file_count == 0)
        return KW_OK;
    struct work *work = calloc(1, sizeof(*work));
    if (!work)
        return kw_fail_memory(err);
    work->run = run;
    work->progress.files_total = run->file_count;
    work->progress.bytes_total = run->bytes_total;
    atomic_init(&work->stop, false);
    enum kw_status status = KW_OK;
    if (pthread_mutex_init(&work->lock, NULL) != 0)
        status = kw_fail_memory(err);
    else if (!(status = order_files(work, err)) && !(status = hire_workers(work, err)))
        status = kw_pool_run(work->workers, run->file_count, take, work, err);
    prune_folders(run);
    if (!status && atomic_load(&work->stop))
        status = kw_fail(err, KW_INTERRUPTED,
                         "interrupted; the files that were finished are whole, the others are not "
                         "there");
    if (!status)
        status = summarise(run, err);
    for (unsigned i = 0; i < work->workers; i++)
        kw_flow_free(work->flows[i]);
    (void)pthread_mutex_destroy(&work->lock);
    free(work->order);
    free(work);
    return status;
}
