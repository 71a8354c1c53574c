/* Each file of a run through its flow, by as many workers as there are files and processors. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "internal.h"

/* Below this a second thread on one file costs more than it gains. */
#define WORTH_A_PIPELINE (1024 * 1024)

/* What fails in passing is done again, from its start, after pauses that grow fourfold. */
#define TRIES          3
#define FIRST_PAUSE_MS 250
#define PAUSE_PIECE_MS 50

struct work;

/* One thread's own. */
struct worker {
    struct work *work;
    struct kw_flow *flow;
    size_t index; /* the file in hand */
    uint64_t start_ms;
    uint64_t counted; /* its bytes that are in the progress */
};

struct work {
    struct kw_run *run;
    size_t *order; /* the largest files first, so that no worker is left with one at the end */
    unsigned count;
    struct worker workers[KW_MAX_JOBS];
    atomic_bool stop;
    struct kw_error unrecorded; /* why the audit trail took no more, where that is so */
    atomic_uint_fast64_t failures;
    uint64_t max_failures;
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

/* Whether files may go on to be decrypted: they may not, once what became of others can't be put on
 * record. */
static bool check_recorded(struct work *work, enum kw_status status, const struct kw_error *error)
{
    if (!status)
        return true;
    (void)pthread_mutex_lock(&work->lock);
    if (!work->unrecorded.status)
        work->unrecorded = *error;
    (void)pthread_mutex_unlock(&work->lock);
    atomic_store(&work->stop, true);
    return false;
}

static bool may_go_on(struct work *work, uint64_t bytes)
{
    struct kw_error error;
    return report_progress(work, bytes, 0) &&
           check_recorded(work, kw_run_record_due(work->run, &error), &error) &&
           !atomic_load(&work->stop);
}

static bool tick(void *context, uint64_t bytes)
{
    struct worker *worker = context;
    worker->counted += bytes;
    return may_go_on(worker->work, bytes);
}

/* A file that is begun again counts from its start. */
static void uncount(struct worker *worker)
{
    (void)pthread_mutex_lock(&worker->work->lock);
    worker->work->progress.bytes_done -= worker->counted;
    (void)pthread_mutex_unlock(&worker->work->lock);
    worker->counted = 0;
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

static void take_result(const struct kw_run *run, struct run_file *file,
                        const struct kw_flow_result *result)
{
    file->status = file->work == KW_FLOW_COPY ? KW_FILE_COPIED : KW_FILE_DECRYPTED;
    file->bytes_in = result->bytes_in;
    file->bytes_out = result->bytes_out;
    file->crc32 = result->crc32;
    file->has_sha256 = run->settings.digest;
    memcpy(file->sha256, result->sha256, sizeof(file->sha256));
}

/* The kw_sink_file_before_name callback. A file that does not get its name after all is listed
 * again, as one that failed. */
static enum kw_status before_name(void *context, uint64_t inode, struct kw_error *err)
{
    struct worker *worker = context;
    struct kw_run *run = worker->work->run;
    struct kw_flow_result result;
    if (atomic_load(&worker->work->stop))
        return kw_fail(err, KW_INTERRUPTED, "stopped before a file got its name");
    struct run_file file = run->files[worker->index];
    kw_flow_result(worker->flow, &result);
    take_result(run, &file, &result);
    file.milliseconds = kw_now_ms() - worker->start_ms;
    file.inode = inode;
    return kw_journal_list(run, worker->index, &file, err);
}

static enum kw_status write_file(struct worker *worker, const struct run_file *file,
                                 struct kw_flow_job *job, struct kw_flow_result *ret_result,
                                 struct kw_error *err)
{
    const struct kw_run *run = worker->work->run;
    enum kw_status status =
        kw_sink_file_new(run->outdir, file->file->path, run->options->force != 0, &job->sink, err);
    if (status)
        return status;
    kw_sink_file_before_name(job->sink, before_name, worker);
    return kw_flow_run(worker->flow, job, ret_result, err);
}

/* While a command takes nothing no byte moves, but someone may ask to stop. Any thread. */
static bool go_on(void *context)
{
    return may_go_on(((struct worker *)context)->work, 0);
}

static enum kw_status run_flow(struct worker *worker, struct run_file *file, int fd,
                               struct kw_error *err)
{
    const struct kw_run *run = worker->work->run;
    struct kw_flow_job job = {
        .work = file->work,
        .source_fd = fd,
        .source_size = file->file->size,
        .source_name = file->file->path,
        .key = run->unlocked.data_key.secret,
        .iv = kw_drop_envelope(run->drop)->iv,
        .gzip = run->settings.gzip,
        .digest = run->settings.digest,
        .limits = run->settings.limits,
        .tick = tick,
        .tick_context = worker,
    };
    struct kw_flow_result result;
    enum kw_status status =
        run->launcher >= 0 ? kw_run_deliver(run, worker->flow, &job, go_on, worker, &result, err)
                           : write_file(worker, file, &job, &result, err);
    if (!status)
        take_result(run, file, &result);
    return status;
}

static enum kw_status open_source(const struct kw_run *run, struct run_file *file, int *ret_fd,
                                  struct kw_error *err)
{
    struct stat info;
    enum kw_status status = kw_drop_open_file(run->drop, file->file, ret_fd, &info, err);
    if (!status)
        file->source = kw_stamp(&info);
    return status;
}

static enum kw_status take_file(struct worker *worker, struct run_file *file, struct kw_error *err)
{
    const struct kw_run *run = worker->work->run;
    int fd = -1;
    bool plain = false;
    enum kw_status status = open_source(run, file, &fd, err);
    if (!status && file->work == KW_FLOW_DECRYPT)
        status = kw_file_looks_plain(fd, file->file->size, file->file->path, &plain, err);
    if (plain && run->options->copy_unencrypted)
        file->work = KW_FLOW_COPY;
    if (!status && plain && file->work == KW_FLOW_DECRYPT)
        file->status = KW_FILE_UNENCRYPTED;
    else if (!status)
        status = run_flow(worker, file, fd, err);
    kw_close(&fd);
    return status;
}

static bool pause_for(struct work *work, uint64_t milliseconds)
{
    const struct timespec piece = {.tv_nsec = PAUSE_PIECE_MS * 1000000L};
    for (uint64_t slept = 0; slept < milliseconds; slept += PAUSE_PIECE_MS) {
        (void)nanosleep(&piece, NULL); /* cut short by a signal, it is no less a pause */
        if (!report_progress(work, 0, 0) || atomic_load(&work->stop))
            return false;
    }
    return true;
}

static void warn_of_retry(struct work *work, const struct kw_error *error)
{
    (void)pthread_mutex_lock(&work->lock);
    kw_strings_warn(&work->run->warnings, "done again from its start, after: %s", error->message);
    (void)pthread_mutex_unlock(&work->lock);
}

static enum kw_status try_file(struct worker *worker, struct run_file *file, struct kw_error *err)
{
    uint64_t pause_ms = FIRST_PAUSE_MS;
    worker->counted = 0;
    enum kw_status status = take_file(worker, file, err);
    for (int i = 1; i < TRIES && status && kw_is_transient(err); i++, pause_ms *= 4) {
        uncount(worker);
        warn_of_retry(worker->work, err);
        if (!pause_for(worker->work, pause_ms))
            return kw_fail(err, KW_INTERRUPTED, "stopped before a file was done again");
        status = take_file(worker, file, err);
    }
    return status;
}

/* What has its name was listed before it got that. What the journal can't take is done again by the
 * run that goes on from it, no more. */
static void list_ended(struct kw_run *run, size_t index)
{
    const struct run_file *file = &run->files[index];
    bool named =
        run->launcher < 0 && (file->status == KW_FILE_DECRYPTED || file->status == KW_FILE_COPIED);
    if (!named)
        (void)kw_journal_list(run, index, file, NULL);
}

/* The kw_pool_run callback. A file that fails does not stop the others unless it was asked to; an
 * interruption does. */
static bool take(void *context, unsigned number, size_t item)
{
    struct work *work = context;
    struct worker *worker = &work->workers[number];
    if (atomic_load(&work->stop))
        return false;
    worker->index = work->order[item];
    struct run_file *file = &work->run->files[worker->index];
    worker->start_ms = kw_now_ms();
    struct kw_error error = {.status = KW_OK};
    enum kw_status status = try_file(worker, file, &error);
    file->milliseconds = kw_now_ms() - worker->start_ms;
    if (status == KW_INTERRUPTED)
        return false;
    if (status) {
        file->status = KW_FILE_FAILED;
        file->failure = status;
        file->message = strdup(error.message);
    }
    list_ended(work->run, worker->index);
    report_file(work, file, &error);
    struct kw_error unrecorded;
    enum kw_status recorded = kw_run_record_file(work->run, worker->index, &unrecorded);
    bool enough = status && atomic_fetch_add(&work->failures, 1) + 1 == work->max_failures;
    return report_progress(work, 0, 1) && check_recorded(work, recorded, &unrecorded) && !enough;
}

/* They count as done, for whoever is told of each file. */
static bool report_kept(struct work *work)
{
    const struct kw_run *run = work->run;
    for (size_t i = 0; i < run->file_count; i++) {
        if (!run->files[i].kept)
            continue;
        report_file(work, &run->files[i], NULL);
        if (!report_progress(work, run->files[i].file->size, 1))
            return false;
    }
    return true;
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
    struct sized *files = calloc(run->pending, sizeof(*files));
    work->order = calloc(run->pending, sizeof(*work->order));
    size_t count = 0;
    if (!files || !work->order) {
        free(files);
        return kw_fail_memory(err);
    }
    for (size_t i = 0; i < run->file_count; i++)
        if (!run->files[i].kept)
            files[count++] = (struct sized){.size = run->files[i].file->size, .index = i};
    qsort(files, count, sizeof(*files), larger_first);
    for (size_t i = 0; i < count; i++)
        work->order[i] = files[i].index;
    free(files);
    return KW_OK;
}

/* A thread a file while there are enough files; two on each where there are not. */
static enum kw_status hire_workers(struct work *work, struct kw_error *err)
{
    const struct kw_run *run = work->run;
    unsigned jobs = run->settings.jobs;
    work->count = run->pending < jobs ? (unsigned)run->pending : jobs;
    bool pipeline = work->count < jobs && run->files[work->order[0]].file->size >= WORTH_A_PIPELINE;
    const struct kw_flow_options options = {.threads = pipeline ? 2 : 1};
    enum kw_status status = KW_OK;
    for (unsigned i = 0; i < work->count && !status; i++) {
        work->workers[i].work = work;
        status =
            kw_flow_new(kw_keyring_crypto(run->keyring), &options, &work->workers[i].flow, err);
    }
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

static size_t count_not_reached(const struct kw_run *run)
{
    size_t count = 0;
    for (size_t i = 0; i < run->file_count; i++)
        count += run->files[i].status == KW_FILE_NOT_REACHED;
    return count;
}

static enum kw_status summarise(const struct kw_run *run, struct kw_error *err)
{
    size_t count = 0;
    const struct run_file *failed = find_failure(run, &count);
    if (!failed)
        return KW_OK;
    const char *message = failed->message ? failed->message : "out of memory";
    size_t not_reached = count_not_reached(run);
    if (not_reached > 0)
        return kw_fail(err, failed->failure,
                       "stopped after %zu of %zu files failed; %zu were not reached, and --resume "
                       "goes on; one that failed: %.350s",
                       count, run->file_count, not_reached, message);
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

static enum kw_status work_on_all(struct work *work, struct kw_error *err)
{
    enum kw_status status;
    const struct kw_run *run = work->run;
    if (!report_kept(work) || run->pending == 0)
        return KW_OK;
    if ((status = order_files(work, err)) || (status = hire_workers(work, err)))
        return status;
    return kw_pool_run(work->count, run->pending, take, work, err);
}

static struct work *work_new(struct kw_run *run)
{
    struct work *work = calloc(1, sizeof(*work));
    if (!work || pthread_mutex_init(&work->lock, NULL) != 0) {
        free(work);
        return NULL;
    }
    work->run = run;
    work->progress.files_total = run->file_count;
    work->progress.bytes_total = run->bytes_total;
    work->max_failures = run->options->on_error_stop ? 1 : run->options->max_failures;
    atomic_init(&work->stop, false);
    atomic_init(&work->failures, 0);
    return work;
}

enum kw_status kw_run_work(struct kw_run *run, struct kw_error *err)
{
    struct work *work = work_new(run);
    if (!work)
        return kw_fail_memory(err);
    enum kw_status status = work_on_all(work, err);
    prune_folders(run);
    if (!status && work->unrecorded.status)
        status = kw_fail(err, work->unrecorded.status, "stopped: %.400s", work->unrecorded.message);
    else if (!status && atomic_load(&work->stop))
        status = kw_fail(err, KW_INTERRUPTED,
                         "interrupted; the files that were finished are whole, the others are not "
                         "there; --resume goes on");
    if (!status)
        status = summarise(run, err);
    for (unsigned i = 0; i < work->count; i++)
        kw_flow_free(work->workers[i].flow);
    (void)pthread_mutex_destroy(&work->lock);
    free(work->order);
    free(work);
    return status;
}
