/* Which files of the drop a run takes. */
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* As in git: a pattern without "/" is for names, one with it for paths from the drop's folder, and
 * a folder that matches stands for all that is in it. */
static bool matches(const char *glob, const char *path)
{
    if (strncmp(glob, "./", 2) == 0)
        glob += 2;
    bool whole_path = strchr(glob, '/') != NULL;
    char part[PATH_MAX];
    for (size_t len = 0; path[len] != '\0' && len + 1 < sizeof(part);) {
        size_t start = len;
        len += strcspn(path + len, "/");
        memcpy(part, path, len);
        part[len] = '\0';
        if (fnmatch(glob, whole_path ? part : part + start, FNM_PATHNAME) == 0)
            return true;
        part[len] = '/';
        part[len + 1] = '\0';
        if (path[len] == '/' && fnmatch(glob, part, FNM_PATHNAME) == 0) /* "folder/" */
            return true;
        len += path[len] == '/';
    }
    return false;
}

static bool matches_any(const char *path, const char *const *globs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (matches(globs[i], path))
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

enum kw_status kw_run_check_free(const struct kw_run *run, struct kw_error *err)
{
    char shown[256];
    bool empty = false;
    if (run->options->force ||
        (!kw_outdir_is_empty(run->outdir, KW_JOURNAL_NAME, &empty, NULL) && empty))
        return KW_OK;
    for (size_t i = 0; i < run->file_count; i++) {
        const char *path = run->files[i].file->path;
        if (run->files[i].kept || !kw_outdir_has(run->outdir, path))
            continue;
        kw_printable(path, strlen(path), shown, sizeof(shown));
        if (run->journal.resumed)
            return kw_fail(err, KW_EXISTS,
                           "%s exists in the output folder and is no file that the journal lists; "
                           "nothing was unwrapped. Move it away, or replace it with --force",
                           shown);
        return kw_fail(err, KW_EXISTS,
                       "%s exists in the output folder already; nothing was unwrapped. Choose "
                       "another folder, or replace files with --force",
                       shown);
    }
    return KW_OK;
}

enum kw_status kw_run_plan(struct kw_run *run, struct kw_error *err)
{
    size_t total = kw_drop_file_count(run->drop);
    run->files = calloc(total ? total : 1, sizeof(*run->files));
    run->recorder.waiting = calloc(total ? total : 1, sizeof(*run->recorder.waiting));
    if (!run->files || !run->recorder.waiting)
        return kw_fail_memory(err);
    for (size_t i = 0; i < total; i++) {
        const struct kw_drop_file *file = kw_drop_file_at(run->drop, i);
        if (!is_taken(run->options, file))
            continue;
        if (strcmp(file->path, KW_JOURNAL_NAME) == 0)
            return kw_fail(err, KW_DROP,
                           "the drop has a file " KW_JOURNAL_NAME ", which is the name of a run's "
                           "journal; leave it out with --exclude, or rename it");
        run->files[run->file_count++] = (struct run_file){
            .file = file,
            .work = file->kind == KW_FILE_METADATA ? KW_FLOW_COPY : KW_FLOW_DECRYPT,
            .status = KW_FILE_NOT_REACHED,
        };
        run->bytes_total += file->size;
    }
    run->pending = run->file_count;
    if (run->file_count == 0)
        kw_strings_warn(&run->warnings, "the drop has no data file that was asked for");
    return KW_OK;
}
