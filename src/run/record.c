/* What became of a run and its files, on the audit trail: while the run goes on, some files at a
 * time, as each append is brought to the disk. A file that the journal lists as ended gets a line
 * there too once it is on the trail. What is between the two when the process is killed is put on
 * the trail by the run that goes on: that may be the second time, which its record says, or of a
 * file that was whole and has to be done again, as it did not get its name; but no file that was
 * decrypted is left out. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BATCH   64
#define WAIT_MS 1000 /* at most, while any file is in work */

#define FOUND_DONE "it was done before the run was interrupted"

/* Left out are files that nothing was done with: they look like plaintext, or were not reached. */
static bool is_of_note(const struct run_file *file)
{
    return file->status != KW_FILE_UNENCRYPTED && file->status != KW_FILE_NOT_REACHED;
}

/* `sha256` has to live as long as the deed. */
static struct kw_deed describe(const struct kw_run *run, const struct run_file *file,
                               const char *found, char sha256[2 * KW_SHA256_SIZE + 1])
{
    struct kw_deed deed = {.phase = KW_OUTCOME,
                           .op = "file",
                           .run = run->id,
                           .drop = kw_drop_path(run->drop),
                           .file = file->file->path,
                           .has_bytes = true,
                           .bytes = file->bytes_in,
                           .status = file->status == KW_FILE_FAILED ? file->failure : KW_OK,
                           .detail = found ? found : file->message};
    if (file->has_sha256) {
        kw_hex_encode(file->sha256, KW_SHA256_SIZE, sha256);
        deed.sha256 = sha256;
    }
    return deed;
}

/* `last`, which may be NULL, comes after the files. */
static enum kw_status append(struct kw_run *run, const size_t *files, size_t count,
                             const char *found, const struct kw_deed *last, struct kw_error *err)
{
    struct kw_deed deeds[BATCH + 1] = {{.op = NULL}};
    size_t total = count;
    char sha256[BATCH][2 * KW_SHA256_SIZE + 1];
    for (size_t i = 0; i < count; i++)
        deeds[i] = describe(run, &run->files[files[i]], found, sha256[i]);
    if (last)
        deeds[total++] = *last;
    enum kw_status status = kw_keyring_witness(run->keyring, deeds, total, err);
    /* What the journal can't take is put on the trail once more by the run that goes on, no more.
     */
    if (!status && count > 0)
        (void)kw_journal_recorded(run, files, count, NULL);
    return status;
}

/* ---- while files are in work ---- */

/* Some that wait, as it was they who came first. */
static size_t take_waiting(struct recorder *recorder, size_t files[BATCH])
{
    (void)pthread_mutex_lock(&recorder->lock);
    size_t count = recorder->count < BATCH ? recorder->count : BATCH;
    recorder->count -= count;
    memcpy(files, recorder->waiting, count * sizeof(*files));
    memmove(recorder->waiting, recorder->waiting + count, recorder->count * sizeof(*files));
    atomic_store(&recorder->since_ms, recorder->count > 0 ? kw_now_ms() : 0);
    (void)pthread_mutex_unlock(&recorder->lock);
    return count;
}

/* There is room for each file of the run once. Returns how many wait. */
static size_t wait_again(struct recorder *recorder, const size_t *files, size_t count)
{
    (void)pthread_mutex_lock(&recorder->lock);
    memcpy(recorder->waiting + recorder->count, files, count * sizeof(*files));
    if (recorder->count == 0)
        atomic_store(&recorder->since_ms, kw_now_ms());
    recorder->count += count;
    count = recorder->count;
    (void)pthread_mutex_unlock(&recorder->lock);
    return count;
}

static enum kw_status append_waiting(struct kw_run *run, const struct kw_deed *last,
                                     struct kw_error *err)
{
    size_t files[BATCH];
    size_t count = take_waiting(&run->recorder, files);
    if (count == 0 && !last)
        return KW_OK;
    enum kw_status status = append(run, files, count, NULL, last, err);
    if (status)
        (void)wait_again(&run->recorder, files, count);
    return status;
}

enum kw_status kw_run_record_file(struct kw_run *run, size_t index, struct kw_error *err)
{
    if (!is_of_note(&run->files[index]) || wait_again(&run->recorder, &index, 1) < BATCH)
        return KW_OK;
    return append_waiting(run, NULL, err);
}

enum kw_status kw_run_record_due(struct kw_run *run, struct kw_error *err)
{
    uint64_t since = atomic_load(&run->recorder.since_ms);
    return since != 0 && kw_now_ms() - since >= WAIT_MS ? append_waiting(run, NULL, err) : KW_OK;
}

/* ---- before and after ---- */

enum kw_status kw_run_record_found(struct kw_run *run, struct kw_error *err)
{
    size_t files[BATCH];
    size_t count = 0;
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < run->file_count && !status; i++) {
        const struct run_file *file = &run->files[i];
        if (file->listed && !file->recorded && is_of_note(file))
            files[count++] = i;
        if (count == BATCH || (count > 0 && i + 1 == run->file_count)) {
            status = append(run, files, count, FOUND_DONE, NULL, err);
            count = 0;
        }
    }
    return status;
}

enum kw_status kw_run_record(struct kw_run *run, enum kw_status outcome,
                             const struct kw_error *failure, struct kw_error *err)
{
    struct kw_error unsigned_yet;
    const struct kw_deed deed = {.phase = KW_OUTCOME,
                                 .op = "run",
                                 .run = run->id,
                                 .drop = kw_drop_path(run->drop),
                                 .status = outcome,
                                 .detail = outcome ? failure->message : NULL};
    enum kw_status status = KW_OK;
    while (run->recorder.count > BATCH && !status)
        status = append_waiting(run, NULL, err);
    if (!status) /* in one append, as each is brought to the disk */
        status = append_waiting(run, &deed, err);
    if (!status && kw_keyring_seal_trail(run->keyring, false, &unsigned_yet) != KW_OK)
        kw_strings_warn(&run->warnings, "the audit trail could not be signed: %.300s",
                        unsigned_yet.message);
    return status;
}
