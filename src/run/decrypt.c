/* The main job. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static enum kw_status find_envelope(struct kw_run *run, struct kw_error *err)
{
    if (!run->drop) {
        enum kw_status status = kw_drop_open(run->drop_path, &run->own_drop, err);
        if (status)
            return status;
        run->drop = run->own_drop;
    }
    return kw_drop_envelope(run->drop) ? KW_OK : kw_drop_not_encrypted(run->drop, err);
}

static enum kw_status open_output(struct kw_run *run, struct kw_error *err)
{
    bool within = false;
    enum kw_status status = KW_OK;
    if (!run->outdir) {
        status = kw_outdir_open(run->out_dir, true, &run->own_outdir, err);
        run->outdir = run->own_outdir;
    }
    if (!status)
        status = kw_outdir_is_within(run->outdir, kw_drop_dirfd(run->drop), &within, err);
    char shown[256];
    if (!status && within)
        status =
            kw_fail(err, KW_USAGE, "output folder %s is inside the drop; choose one outside of it",
                    kw_printable(run->out_dir, strlen(run->out_dir), shown, sizeof(shown)));
    return status;
}

static enum kw_status unlock_data_key(struct kw_run *run, struct kw_error *err)
{
    const struct kw_purpose purpose = {.run = run->id, .drop = kw_drop_path(run->drop)};
    enum kw_status status =
        kw_unlock(run->keyring, run->drop, run->options->key, run->options->unwrap_alg, &purpose,
                  &run->unlocked, &run->warnings, err);
    run->unwrapped = status == KW_OK;
    return status;
}

static enum kw_status make_durable(struct kw_run *run, struct kw_error *err)
{
    return kw_outdir_sync(run->outdir, err);
}

static enum kw_status do_steps(struct kw_run *run, struct kw_error *err)
{
    enum kw_status status;
    if ((status = find_envelope(run, err)) || (status = open_output(run, err)) ||
        (status = kw_run_plan(run, err)) || (status = kw_journal_find(run, err)) ||
        (status = kw_run_record_found(run, err)) || (status = kw_run_recheck(run, err)) ||
        (status = kw_run_check_free(run, err)))
        return status;
    if (run->file_count == 0)
        return KW_OK;
    if ((run->pending > 0 && (status = unlock_data_key(run, err))) ||
        (status = kw_journal_begin(run, err)))
        return status;
    struct kw_error sync_error;
    run->worked = true;
    status = kw_run_work(run, err);
    /* What is good is kept, and made durable, whatever happened to the rest. */
    enum kw_status sync_status = make_durable(run, &sync_error);
    if (status || !sync_status)
        return status;
    if (err)
        *err = sync_error;
    return sync_status;
}

/* Where nothing was done, there is nothing to go on from. Folders may be left, though, if the
 * output was there before: without the journal, --resume would take these for someone else's. */
static void drop_useless_journal(struct kw_run *run)
{
    bool alone = false;
    struct kw_totals totals;
    kw_run_totals(run, &totals);
    if (run->launcher >= 0)
        alone = totals.decrypted + totals.copied == 0;
    else if (kw_outdir_is_empty(run->outdir, KW_JOURNAL_NAME, &alone, NULL))
        return;
    if (alone)
        (void)kw_journal_remove(run, NULL); /* the failure is reported already */
}

static void gather_warnings(struct kw_run *run)
{
    const struct kw_strings *of_drop = run->drop ? kw_drop_warnings(run->drop) : NULL;
    for (size_t i = 0; of_drop && i < of_drop->count; i++)
        kw_strings_warn(&run->warnings, "%s", of_drop->items[i]);
    (void)kw_keyring_copy_warnings(run->keyring, run->warnings_before, &run->warnings);
}

/* Of a run that used the token, or went on from one that did. */
static enum kw_status record_outcome(struct kw_run *run, enum kw_status outcome,
                                     struct kw_error *err)
{
    struct kw_error failure = {.status = KW_OK};
    if (!run->unwrapped && !run->journal.resumed)
        return outcome;
    if (outcome && err)
        failure = *err;
    struct kw_error unrecorded;
    enum kw_status status = kw_run_record(run, outcome, &failure, &unrecorded);
    if (status && outcome)
        kw_strings_warn(&run->warnings, "not all of what became of the run is on record: %.300s",
                        unrecorded.message);
    else if (status && err)
        *err = unrecorded;
    return outcome ? outcome : status;
}

enum kw_status kw_run_decrypt(struct kw_run *run, struct kw_error *err)
{
    enum kw_status status = do_steps(run, err);
    kw_data_key_cleanup(&run->unlocked.data_key);
    status = record_outcome(run, status, err);
    run->whole = status == KW_OK;
    if (run->worked && !run->whole)
        drop_useless_journal(run);
    gather_warnings(run);
    run->milliseconds = kw_now_ms() - run->started_ms;
    return status;
}

enum kw_status kw_run_finish(struct kw_run *run, struct kw_error *err)
{
    return run->whole ? kw_journal_remove(run, err) : KW_OK;
}

enum kw_status kw_run_rename_output(struct kw_run *run, const char *out_dir, struct kw_error *err)
{
    char shown[256];
    char *name = strdup(out_dir);
    if (!name)
        return kw_fail_memory(err);
    if (kw_rename_new(AT_FDCWD, run->out_dir, AT_FDCWD, out_dir) != 0) {
        int code = errno;
        free(name);
        return kw_fail_errno(err, code == EEXIST ? KW_EXISTS : KW_WRITE, code,
                             "the output folder can't get its name %s",
                             kw_printable(out_dir, strlen(out_dir), shown, sizeof(shown)));
    }
    free(run->renamed_out_dir);
    run->out_dir = run->renamed_out_dir = name;
    return make_durable(run, err);
}

bool kw_run_can_resume(const struct kw_run *run)
{
    return !run->whole && run->journal.fd >= 0;
}

static bool init_locks(struct kw_run *run)
{
    if (pthread_mutex_init(&run->journal.lock, NULL) != 0)
        return false;
    if (pthread_mutex_init(&run->recorder.lock, NULL) == 0)
        return true;
    (void)pthread_mutex_destroy(&run->journal.lock); /* nobody has it */
    return false;
}

enum kw_status kw_run_new(struct kw_keyring *keyring, const char *drop_path, struct kw_drop *drop,
                          const char *out_dir, const struct kw_decrypt_options *options,
                          struct kw_run **ret_run, struct kw_error *err)
{
    struct kw_run *run = calloc(1, sizeof(*run));
    if (!run || !init_locks(run)) {
        free(run);
        return kw_fail_memory(err);
    }
    run->journal.fd = -1;
    run->launcher = -1;
    run->keyring = keyring;
    run->drop_path = drop ? kw_drop_path(drop) : drop_path;
    run->drop = drop;
    run->out_dir = out_dir;
    run->options = options;
    run->started = time(NULL);
    run->started_ms = kw_now_ms();
    run->warnings.max = KW_RUN_MAX_WARNINGS;
    run->warnings_before = drop ? kw_keyring_copy_warnings(keyring, 0, NULL) : 0;
    uint8_t id[16];
    enum kw_status status;
    if ((status = kw_random(kw_keyring_crypto(keyring), id, sizeof(id), err)) ||
        (status = kw_settings_resolve(keyring, options->decompress, options->digest, options->jobs,
                                      &run->settings, err))) {
        kw_run_free(run);
        return status;
    }
    kw_hex_encode(id, sizeof(id), run->id);
    *ret_run = run;
    return KW_OK;
}

void kw_run_use_output(struct kw_run *run, struct kw_outdir *outdir)
{
    run->outdir = outdir;
}

void kw_run_free(struct kw_run *run)
{
    if (!run)
        return;
    for (size_t i = 0; i < run->file_count; i++)
        free(run->files[i].message);
    free(run->files);
    free(run->recorder.waiting);
    (void)pthread_mutex_destroy(&run->recorder.lock); /* nobody has it */
    kw_data_key_cleanup(&run->unlocked.data_key);
    kw_journal_cleanup(&run->journal);
    kw_outdir_free(run->own_outdir);
    kw_strings_cleanup(&run->warnings);
    kw_drop_free(run->own_drop);
    free(run->renamed_out_dir);
    free(run);
}

const struct kw_strings *kw_run_warnings(const struct kw_run *run)
{
    return &run->warnings;
}

void kw_run_totals(const struct kw_run *run, struct kw_totals *ret_totals)
{
    struct kw_totals totals = {.files = run->file_count, .milliseconds = run->milliseconds};
    uint64_t *const by_status[] = {
        [KW_FILE_DECRYPTED] = &totals.decrypted,     [KW_FILE_COPIED] = &totals.copied,
        [KW_FILE_UNENCRYPTED] = &totals.unencrypted, [KW_FILE_FAILED] = &totals.failed,
        [KW_FILE_NOT_REACHED] = &totals.not_reached,
    };
    for (size_t i = 0; i < run->file_count; i++) {
        const struct run_file *file = &run->files[i];
        (*by_status[file->status])++;
        totals.bytes_in += file->bytes_in;
        totals.bytes_out += file->bytes_out;
    }
    *ret_totals = totals;
}

enum kw_status kw_decrypt(struct kw_keyring *keyring, struct kw_drop *drop, const char *out_dir,
                          const struct kw_decrypt_options *options, struct kw_totals *ret_totals,
                          struct kw_error *err)
{
    static const struct kw_decrypt_options defaults;
    struct kw_run *run = NULL;
    enum kw_status status =
        kw_run_new(keyring, NULL, drop, out_dir, options ? options : &defaults, &run, err);
    if (status)
        return status;
    status = kw_run_decrypt(run, err);
    if (!status)
        status = kw_run_finish(run, err);
    if (ret_totals)
        kw_run_totals(run, ret_totals);
    kw_run_free(run);
    return status;
}
