/* keyward decrypt: a drop into a folder. */
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define SCHEMA "keyward-report-1"

/* More sentences than this on a terminal help nobody. */
#define FAILURES_SHOWN 50

struct view {
    const struct arguments *arguments;
    struct progress_bar bar;
    size_t failures;
};

static void on_file(void *context, const struct kw_file_result *result)
{
    struct view *view = context;
    char shown[SHOWN_TEXT];
    if (result->status == KW_FILE_FAILED && view->failures++ < FAILURES_SHOWN) {
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

struct kw_decrypt_options decrypt_options_of(const struct arguments *arguments)
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
        .resume = arguments->resume,
        .on_error_stop = arguments->on_error && strcmp(arguments->on_error, "stop") == 0,
        .max_failures = (uint64_t)arguments->max_failures,
    };
}

static struct kw_decrypt_options make_options(const struct arguments *arguments, struct view *view)
{
    struct kw_decrypt_options options = decrypt_options_of(arguments);
    options.on_file = on_file;
    options.on_progress = on_progress;
    options.context = view;
    return options;
}

static void print_totals(const struct kw_totals *totals, const struct arguments *arguments)
{
    char in[SIZE_TEXT];
    char out[SIZE_TEXT];
    char shown[SHOWN_TEXT];
    printf("%llu of %llu files decrypted to %s: %s in, %s out, %llu.%01llu s\n",
           (unsigned long long)totals->decrypted, (unsigned long long)totals->files,
           show(arguments->out, shown), show_size(totals->bytes_in, in),
           show_size(totals->bytes_out, out), (unsigned long long)(totals->milliseconds / 1000),
           (unsigned long long)(totals->milliseconds % 1000 / 100));
    const struct {
        uint64_t count;
        const char *text;
    } others[] = {
        {totals->copied, "copied as they were"},
        {totals->unencrypted, "not encrypted, left out"},
        {totals->failed, "failed"},
        {totals->not_reached, "not reached"},
    };
    for (size_t i = 0; i < KW_COUNT(others); i++)
        if (others[i].count > 0)
            printf("%llu %s\n", (unsigned long long)others[i].count, others[i].text);
}

/* The report's file and standard output. Their failure counts only where nothing else failed. */
static enum kw_status write_reports(const struct kw_run *run, const struct arguments *arguments,
                                    const struct kw_error *outcome, struct kw_error *err)
{
    struct kw_totals totals;
    kw_run_totals(run, &totals);
    enum kw_status status = save_report(run, arguments, outcome, err);
    if (!status && arguments->json)
        status = kw_run_write_report(run, outcome, STDOUT_FILENO, "standard output", err);
    bool reached = !outcome || totals.decrypted + totals.copied + totals.failed > 0;
    if (!status && !arguments->json && !arguments->quiet && reached) {
        print_totals(&totals, arguments);
        status = finish_output(err);
    }
    return status;
}

/* After a sentence for each file that failed. */
static void print_rest(const struct kw_run *run)
{
    struct kw_totals totals;
    kw_run_totals(run, &totals);
    if (totals.not_reached > 0)
        (void)fprintf(stderr,
                      "keyward: stopped after %llu of %llu files failed; %llu were not "
                      "reached\n",
                      (unsigned long long)totals.failed, (unsigned long long)totals.files,
                      (unsigned long long)totals.not_reached);
    if (kw_run_can_resume(run))
        (void)fputs("keyward: --resume keeps what is whole and does the rest again\n", stderr);
}

static int decrypt(struct kw_run *run, const struct arguments *arguments, struct view *view)
{
    struct kw_error err;
    struct kw_error report_err;
    progress_start(&view->bar, arguments);
    enum kw_status status = kw_run_decrypt(run, &err);
    progress_clear(&view->bar);
    print_warnings(kw_run_warnings(run), arguments);
    int exit_code = status ? kw_exit_code(status) : 0;
    if (view->failures > FAILURES_SHOWN)
        (void)fprintf(stderr, "keyward: %zu more files failed; --report or --json lists them all\n",
                      view->failures - FAILURES_SHOWN);
    /* What became of each file that failed was told when it happened. */
    if (status && (view->failures == 0 || status == KW_INTERRUPTED || status == KW_AUDIT))
        (void)print_error(&err);
    else if (status)
        print_rest(run);
    enum kw_status report_status = write_reports(run, arguments, status ? &err : NULL, &report_err);
    /* Until the report is written the run can be gone on with, if only to write it. */
    if (!report_status)
        report_status = kw_run_finish(run, &report_err);
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
    struct kw_outdir *outdir = NULL;
    struct kw_run *run = NULL;
    struct kw_error err;
    enum kw_status status;
    if (!arguments->out)
        status = kw_fail(&err, KW_USAGE, "decrypt needs --out DIR, the folder to write to");
    else if (!(status = check_report(arguments, &err)) &&
             !(status = kw_outdir_open(arguments->out, true, &outdir, &err)) &&
             !(status = open_keyring(arguments, argv, &keyring, &err)))
        status =
            kw_run_new(keyring, arguments->operands[0], NULL, arguments->out, &options, &run, &err);
    if (!status)
        kw_run_use_output(run, outdir);
    int exit_code = status ? fail_with(arguments, SCHEMA, &err) : decrypt(run, arguments, &view);
    kw_run_free(run);
    kw_outdir_free(outdir);
    close_trail(keyring, arguments);
    kw_keyring_free(keyring);
    return exit_code;
}
