/* Which files of the drop a run takes. */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* A pattern without "/" is for the file's name, one with it for its whole path, as in git. */
static bool matches_any(const char *path, const char *const *globs, size_t count)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < count; i++)
        if (fnmatch(globs[i], strchr(globs[i], '/') ? path : name, FNM_PATHNAME) == 0)
            return true;
    return false;
}

static bool is_chosen(const struct kw_decrypt_options *options, const struct kw_drop_file *file)
{
    if (options->include_count > 0 &&
        !matches_any(file->path, options->include, options->include_count))
        return false;
    return !matches_any(file->path, options->exclude, options->exclude_count);
}

static bool is_taken(const struct kw_decrypt_options *options, const struct kw_drop_file *file)
{
    switch (file->kind) {
    case KW_FILE_DATA:
        return is_chosen(options, file);
    case KW_FILE_METADATA:
        return options->with_metadata != 0;
    case KW_FILE_MARKER:
        return false;
    }
    return false;
}

static enum kw_status check_free(const struct kw_run *run, struct kw_error *err)
{
    char shown[256];
    for (size_t i = 0; i < run->file_count && !run->options->force; i++) {
        const char *path = run->files[i].file->path;
        if (kw_outdir_has(run->outdir, path))
            return kw_fail(err, KW_EXISTS,
                           "%s exists in the output folder already; nothing was unwrapped. Choose "
                           "another folder, or replace files with --force",
                           kw_printable(path, strlen(path), shown, sizeof(shown)));
    }
    return KW_OK;
}

enum kw_status kw_run_plan(struct kw_run *run, struct kw_error *err)
{
    size_t total = kw_drop_file_count(run->drop);
    run->files = calloc(total ? total : 1, sizeof(*run->files));
    if (!run->files)
        return kw_fail_memory(err);
    for (size_t i = 0; i < total; i++) {
        const struct kw_drop_file *file = kw_drop_file_at(run->drop, i);
        if (!is_taken(run->options, file))
            continue;
        run->files[run->file_count++] = (struct run_file){
            .file = file,
            .work = file->kind == KW_FILE_METADATA ? KW_FLOW_COPY : KW_FLOW_DECRYPT,
            .status = KW_FILE_NOT_REACHED,
        };
        run->bytes_total += file->size;
    }
    if (run->file_count == 0)
        kw_strings_warn(&run->warnings, "the drop has no data file that was asked for");
    return check_free(run, err);
}
