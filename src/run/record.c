/* What became of a run and its files, on the audit trail. */
#include <string.h>

#include "internal.h"

#define BATCH 64

/* Records on their way to the trail, some at a time. */
struct batch {
    struct kw_run *run;
    struct kw_deed deeds[BATCH];
    char sha256[BATCH][2 * KW_SHA256_SIZE + 1];
    size_t count;
};

static enum kw_status flush(struct batch *batch, struct kw_error *err)
{
    size_t count = batch->count;
    batch->count = 0;
    return count > 0 ? kw_keyring_witness(batch->run->keyring, batch->deeds, count, err) : KW_OK;
}

static enum kw_status add(struct batch *batch, const struct kw_deed *deed, struct kw_error *err)
{
    batch->deeds[batch->count++] = *deed;
    return batch->count == BATCH ? flush(batch, err) : KW_OK;
}

static enum kw_status add_file(struct batch *batch, const struct run_file *file,
                               struct kw_error *err)
{
    struct kw_deed deed = {.phase = KW_OUTCOME,
                           .op = "file",
                           .run = batch->run->id,
                           .drop = kw_drop_path(batch->run->drop),
                           .file = file->file->path,
                           .has_bytes = true,
                           .bytes = file->bytes_in,
                           .status = file->status == KW_FILE_FAILED ? file->failure : KW_OK,
                           .detail = file->message};
    if (file->has_sha256) {
        kw_hex_encode(file->sha256, KW_SHA256_SIZE, batch->sha256[batch->count]);
        deed.sha256 = batch->sha256[batch->count];
    }
    return add(batch, &deed, err);
}

/* Left out are files that nothing was done with: they look like plaintext, or were not reached, or
 * are there from the run that this one goes on from. */
static bool is_of_note(const struct run_file *file)
{
    return !file->kept && file->status != KW_FILE_UNENCRYPTED &&
           file->status != KW_FILE_NOT_REACHED;
}

static enum kw_status add_all(struct batch *batch, enum kw_status outcome,
                              const struct kw_error *failure, struct kw_error *err)
{
    struct kw_run *run = batch->run;
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < run->file_count && !status; i++)
        if (is_of_note(&run->files[i]))
            status = add_file(batch, &run->files[i], err);
    const struct kw_deed deed = {.phase = KW_OUTCOME,
                                 .op = "run",
                                 .run = run->id,
                                 .drop = kw_drop_path(run->drop),
                                 .status = outcome,
                                 .detail = outcome ? failure->message : NULL};
    if (!status)
        status = add(batch, &deed, err);
    return status ? status : flush(batch, err);
}

enum kw_status kw_run_record(struct kw_run *run, enum kw_status outcome,
                             const struct kw_error *failure, struct kw_error *err)
{
    struct batch batch = {.run = run};
    struct kw_error unsigned_yet;
    enum kw_status status = add_all(&batch, outcome, failure, err);
    if (!status && kw_keyring_seal_trail(run->keyring, false, &unsigned_yet) != KW_OK)
        kw_strings_warn(&run->warnings, "the audit trail could not be signed: %.300s",
                        unsigned_yet.message);
    return status;
}
