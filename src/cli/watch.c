/* keyward watch: an inbox of drops. */
#include <string.h>

#include "cli.h"

#define DEFAULT_SETTLE_S 30

struct view {
    const struct arguments *arguments;
    struct kw_keyring *keyring;
    struct launched launched; /* of the commands of --exec */
    struct manager manager;
};

static void print_done(const struct kw_watch_event *event, const struct view *view)
{
    struct kw_totals totals;
    char in[SIZE_TEXT];
    char out[SIZE_TEXT];
    char name[SHOWN_TEXT];
    kw_run_totals(event->run, &totals);
    if (!view->arguments->quiet)
        printf("%s: %llu of %llu files decrypted%s: %s in, %s out, %llu.%01llu s\n",
               show(event->name, name), (unsigned long long)totals.decrypted,
               (unsigned long long)totals.files, view->arguments->exec ? " for the command" : "",
               show_size(totals.bytes_in, in), show_size(totals.bytes_out, out),
               (unsigned long long)(totals.milliseconds / 1000),
               (unsigned long long)(totals.milliseconds % 1000 / 100));
    if (totals.unencrypted > 0 && !view->arguments->quiet)
        (void)fprintf(stderr,
                      "keyward: warning: %s: %llu files are not encrypted and were left out; "
                      "--copy-unencrypted copies them\n",
                      name, (unsigned long long)totals.unencrypted);
}

static void print_failure(const struct kw_watch_event *event, const char *what)
{
    char name[SHOWN_TEXT];
    (void)fprintf(stderr, "keyward: %s: %s: %s\n",
                  event->name ? show(event->name, name) : "all drops", what,
                  event->failure->message);
}

static void print_event(const struct kw_watch_event *event, const struct view *view)
{
    char name[SHOWN_TEXT];
    switch (event->what) {
    case KW_WATCH_READY:
    case KW_WATCH_TAKEN:
        break;
    case KW_WATCH_INCOMPLETE:
        if (!view->arguments->quiet)
            (void)fprintf(stderr, "keyward: warning: %s is left alone for now: %s\n",
                          show(event->name, name),
                          view->arguments->marker
                              ? "it has no marker file yet"
                              : "it has no metadata yet, or a name that is too long or a report's");
        break;
    case KW_WATCH_DONE:
        print_done(event, view);
        break;
    case KW_WATCH_QUARANTINED:
        print_failure(event, view->arguments->leave ? "failed, and is marked" : "quarantined");
        break;
    case KW_WATCH_WAITING:
        print_failure(event, "will be tried again");
        break;
    case KW_WATCH_WARNED:
        print_warnings(event->warnings, view->arguments);
        break;
    }
}

/* For the service manager: one line on what is going on. */
static void tell_manager(const struct kw_watch_event *event, const struct view *view)
{
    static const char *const texts[] = {
        [KW_WATCH_READY] = "READY=1\nSTATUS=waiting for drops",
        [KW_WATCH_INCOMPLETE] = "STATUS=waiting for drops; one is not complete",
        [KW_WATCH_TAKEN] = "STATUS=decrypting a drop",
        [KW_WATCH_DONE] = "STATUS=waiting for drops; the last one was decrypted",
        [KW_WATCH_QUARANTINED] = "STATUS=waiting for drops; the last one went to quarantine",
        [KW_WATCH_WAITING] = "STATUS=something failed and will be tried again",
        [KW_WATCH_WARNED] = NULL,
    };
    if (texts[event->what])
        manager_tell(&view->manager, texts[event->what]);
}

static void on_event(void *context, const struct kw_watch_event *event)
{
    const struct view *view = context;
    print_event(event, view);
    if (event->run && event->what != KW_WATCH_WAITING)
        print_warnings(kw_run_warnings(event->run), view->arguments);
    (void)fflush(stdout); /* a log is read while it grows; that it can't be written ends nothing */
    tell_manager(event, view);
}

static bool go_on(void *context)
{
    struct view *view = context;
    manager_feed(&view->manager);
    return !stop_requested();
}

static int on_progress(void *context, const struct kw_progress *progress)
{
    (void)progress;
    return !go_on(context);
}

static struct kw_watch_options make_options(const struct arguments *arguments, struct view *view)
{
    struct kw_watch_options options = {
        .decrypt = decrypt_options_of(arguments),
        .inbox = arguments->operands[0],
        .out = arguments->out,
        .done = arguments->done,
        .quarantine = arguments->quarantine,
        .marker = arguments->marker,
        .settle_s = arguments->settle > 0 ? (unsigned)arguments->settle : DEFAULT_SETTLE_S,
        .leave = arguments->leave,
        .once = arguments->once,
        .launcher = view->launched.requests,
        .on_event = on_event,
        .go_on = go_on,
        .context = view,
    };
    options.decrypt.on_progress = on_progress;
    options.decrypt.context = view;
    return options;
}

static enum kw_status check(const struct arguments *arguments, struct kw_error *err)
{
    if (!arguments->out)
        return kw_fail(err, KW_USAGE, "watch needs --out DIR, the folder to write to");
    if (arguments->leave && (arguments->done || arguments->quarantine))
        return kw_fail(err, KW_USAGE,
                       "with --leave drops stay where they are; leave out --done and --quarantine");
    if (arguments->marker && (strchr(arguments->marker, '/') || arguments->marker[0] == '\0'))
        return kw_fail(err, KW_USAGE, "--marker is the name of a file, without a folder");
    return KW_OK;
}

/* ---- the subcommand ---- */

/* What has to be open, or started, before the process is confined, and the rest. */
static enum kw_status watch(struct view *view, char **argv, struct kw_error *err)
{
    struct kw_watch *watch = NULL;
    enum kw_status status;
    if ((status = check(view->arguments, err)) ||
        (view->arguments->exec &&
         (status = launch(&view->launched, view->arguments->exec, argv, err))))
        return status;
    const struct kw_watch_options options = make_options(view->arguments, view);
    manager_start(&view->manager);
    if (!(status = kw_watch_open(&options, &watch, err)) &&
        !(status = open_keyring(view->arguments, argv, &view->keyring, err)))
        status = kw_watch_run(watch, view->keyring, err);
    manager_end(&view->manager);
    close_trail(view->keyring, view->arguments);
    kw_keyring_free(view->keyring);
    kw_watch_free(watch);
    return status;
}

int run_watch(const struct arguments *arguments, char **argv)
{
    struct view view = {
        .arguments = arguments, .launched = {.requests = -1}, .manager = {.fd = -1}};
    struct kw_error err;
    enum kw_status status = watch(&view, argv, &err);
    end_launched(&view.launched);
    return status ? print_error(&err) : 0;
}
