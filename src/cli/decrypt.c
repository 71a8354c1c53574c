/* keyward decrypt: a drop into a folder. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define SCHEMA "keyward-report-1"

struct view {
    const struct arguments *arguments;
    struct progress_bar bar;
};

static void on_file(void *context, const struct kw_file_result *result)
{
    struct view *view = context;
    char shown[SHOWN_TEXT];
    if (result->status == KW_FILE_FAILED && result->error) {
        progress_clear(&view->bar);
        (void)print_error(result->error);
    }
    if (result->status == KW_FILE_UNENCRYPTED && !view->arguments->quiet) {
        progress_clear(&view->bar);
        (void)fprintf(stderr,
                      "keyward: warning: %s is not encrypted and was left out; --copy-unencrypted "
                      "copies it\n",
                      show(result->path, shown));
    }
}

static int on_progress(void *context, const struct kw_progress *progress)
{
    struct view *view = context;
    progress_draw(&view->bar, progress);
    return stop_requested();
}

static struct kw_decrypt_options make_options(const struct arguments *arguments, struct view *view)
{
    return (struct kw_decrypt_options){
        .key = arguments->key,
        .unwrap_alg = arguments->unwrap_alg,
        .decompress = arguments->decompress,
        .digest = arguments->digest,
        .jobs = (unsigned)arguments->jobs,
        .force = arguments->force,
        .with_metadata = arguments->with_metadata,
        .copy_unencrypted = arguments->copy_unencrypted,
        .include = arguments->include,
        .include_count = arguments->include_count,
        .exclude = arguments->exclude,
        .exclude_count = arguments->exclude_count,
        .on_file = on_file,
        .on_progress = on_progress,
        .context = view,
    };
}

/* Opened before anything is unwrapped, so that a report that can't be written is known first. */
static enum kw_status open_report(const struct arguments *arguments, int *ret_fd,
                                  struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    if (!arguments->report)
        return KW_OK;
    int exclusive = arguments->force ? O_TRUNC : O_EXCL;
    int fd = open(arguments->report, O_WRONLY | O_CREAT | O_CLOEXEC | exclusive, 0600);
    if (fd < 0 && errno == EEXIST)
        return kw_fail(err, KW_EXISTS, "report %s exists already; choose another name, or --force",
                       show(arguments->report, shown));
    if (fd < 0)
        return kw_fail_errno(err, KW_WRITE, errno, "cannot write the report %s",
                             show(arguments->report, shown));
    *ret_fd = fd;
    return KW_OK;
}

static void print_totals(const struct kw_run *run, const struct arguments *arguments)
{
    char in[SIZE_TEXT];
    char out[SIZE_TEXT];
    char shown[SHOWN_TEXT];
    struct kw_totals totals;
    kw_run_totals(run, &totals);
    printf("%llu of %llu files decrypted to %s: %s in, %s out, %llu.%01llu s\n",
           (unsigned long long)totals.decrypted, (unsigned long long)totals.files,
           show(arguments->out, shown), show_size(totals.bytes_in, in),
           show_size(totals.bytes_out, out), (unsigned long long)(totals.milliseconds / 1000),
           (unsigned long long)(totals.milliseconds % 1000 / 100));
    const struct {
        uint64_t count;
        const char *text;
    } others[] = {
        {totals.copied, "copied as they were"},
        {totals.unencrypted, "not encrypted, left out"},
        {totals.failed, "failed"},
        {totals.not_reached, "not reached"},
    };
    for (size_t i = 0; i < KW_COUNT(others); i++)
        if (others[i].count > 0)
            printf("%llu %s\n", (unsigned long long)others[i].count, others[i].text);
}

/* The report's file and standard output. Their failure counts only where nothing else failed. */
static enum kw_status write_reports(const struct kw_run *run, const struct arguments *arguments,
                                    const struct kw_error *outcome, int report_fd,
                                    struct kw_error *err)
{
    enum kw_status status = KW_OK;
    if (report_fd >= 0)
        status = kw_run_write_report(run, outcome, report_fd, "the report", err);
    if (!status && report_fd >= 0 && fsync(report_fd) != 0 && errno != EINVAL && errno != EROFS)
        status = kw_fail_errno(err, KW_WRITE, errno, "cannot write the report to the disk");
    if (!status && arguments->json)
        status = kw_run_write_report(run, outcome, STDOUT_FILENO, "standard output", err);
    if (!status && !arguments->json && !arguments->quiet) {
        print_totals(run, arguments);
        status = finish_output(err);
    }
    return status;
}

static int decrypt(struct kw_run *run, const struct arguments *arguments, struct view *view,
                   int report_fd)
{
    struct kw_error err;
    struct kw_error report_err;
    struct kw_totals totals;
    progress_start(&view->bar, arguments);
    enum kw_status status = kw_run_decrypt(run, &err);
    progress_clear(&view->bar);
    print_warnings(kw_run_warnings(run), arguments);
    kw_run_totals(run, &totals);
    int exit_code = status ? kw_exit_code(status) : 0;
    /* What became of each file that failed was told when it happened. */
    if (status && !(totals.failed > 0 && status != KW_INTERRUPTED))
        (void)print_error(&err);
    enum kw_status report_status =
        write_reports(run, arguments, status ? &err : NULL, report_fd, &report_err);
    if (report_status && !status)
        exit_code = kw_exit_code(report_status);
    if (report_status)
        (void)print_error(&report_err);
    return exit_code;
}

int run_decrypt(const struct arguments *arguments, char **argv)
{
    struct view view = {.arguments = arguments};
    const struct kw_decrypt_options options = make_options(arguments, &view);
    struct kw_keyring *keyring = NULL;
    struct kw_run *run = NULL;
    struct kw_error err;
    int report_fd = -1;
    int exit_code;
    enum kw_status status;
    if (!arguments->out)
        (void)(status = kw_fail(&err, KW_USAGE, "decrypt needs --out DIR, the folder to write to"));
    else if (!(status = open_keyring(arguments, argv, &keyring, &err)) &&
             !(status = kw_run_new(keyring, arguments->operands[0], NULL, arguments->out, &options,
                                   &run, &err)))
        status = open_report(arguments, &report_fd, &err);
    if (status)
        exit_code = fail_with(arguments, SCHEMA, &err);
    else
        exit_code = decrypt(run, arguments, &view, report_fd);
    kw_run_free(run);
    kw_keyring_free(keyring);
    kw_close(&report_fd);
    return exit_code;
}
