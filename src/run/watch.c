/* An inbox: each drop that is complete is taken. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inbox.h"

#define SCAN_MS        1000
#define PAUSE_PIECE_MS 100
#define FIRST_RETRY_MS 5000
#define LAST_RETRY_MS  (300 * 1000)

uint64_t watch_retry_after(unsigned tries)
{
    uint64_t pause = FIRST_RETRY_MS;
    for (unsigned i = 1; i < tries && pause < LAST_RETRY_MS; i++)
        pause *= 2;
    return pause < LAST_RETRY_MS ? pause : LAST_RETRY_MS;
}

/* ---- telling ---- */

static void tell(const struct kw_watch *watch, const struct kw_watch_event *event)
{
    if (watch->options->on_event)
        watch->options->on_event(watch->options->context, event);
}

void watch_tell(const struct kw_watch *watch, enum kw_watch_what what, const char *name,
                const struct kw_run *run, const struct kw_error *failure)
{
    const struct kw_watch_event event = {
        .what = what, .name = name, .run = run, .failure = failure};
    tell(watch, &event);
}

void watch_tell_warnings(struct kw_watch *watch)
{
    struct kw_strings warnings = KW_STRINGS_INIT(64);
    watch->warnings_told =
        kw_keyring_copy_warnings(watch->keyring, watch->warnings_told, &warnings);
    if (watch->inbox.full && !watch->told_full)
        kw_strings_warn(&warnings,
                        "the inbox has more than %d folders, and the others are not "
                        "looked at; take those away that are no drops",
                        KW_INBOX_MAX);
    watch->told_full = watch->inbox.full;
    const struct kw_watch_event event = {.what = KW_WATCH_WARNED, .warnings = &warnings};
    if (warnings.count > 0)
        tell(watch, &event);
    kw_strings_cleanup(&warnings);
}

void watch_hold(struct kw_watch *watch, const char *name, const struct kw_run *run,
                const struct kw_error *failure)
{
    watch->hold_until_ms = kw_now_ms() + watch_retry_after(++watch->holds);
    watch_tell(watch, KW_WATCH_WAITING, name, run, failure);
}

static bool go_on(const struct kw_watch *watch)
{
    return !watch->options->go_on || watch->options->go_on(watch->options->context);
}

/* ---- all of them ---- */

static bool pause_for(const struct kw_watch *watch, uint64_t milliseconds)
{
    const struct timespec piece = {.tv_nsec = PAUSE_PIECE_MS * 1000000L};
    for (uint64_t slept = 0; slept < milliseconds; slept += PAUSE_PIECE_MS) {
        if (!go_on(watch))
            return false;
        (void)nanosleep(&piece, NULL); /* cut short by a signal, it is no less a pause */
    }
    return go_on(watch);
}

static enum kw_status stopped(struct kw_error *err)
{
    return kw_fail(err, KW_INTERRUPTED, "stopped; the next watch goes on from here");
}

/* *ret_busy: there is a drop that may be complete in a while. */
static enum kw_status look_at(struct kw_watch *watch, struct inbox_drop *drop, bool *ret_busy,
                              struct kw_error *err)
{
    bool ready = false;
    bool was_incomplete = drop->incomplete;
    enum kw_status status = inbox_is_ready(&watch->inbox, drop, &ready, err);
    if (status)
        return status;
    if (drop->incomplete && !was_incomplete)
        watch_tell(watch, KW_WATCH_INCOMPLETE, drop->name, NULL, NULL);
    if (ready)
        return watch_take(watch, drop, err);
    *ret_busy |= !drop->incomplete && drop->tries == 0;
    return KW_OK;
}

static enum kw_status pass(struct kw_watch *watch, bool *ret_busy, struct kw_error *err)
{
    *ret_busy = false;
    if (kw_now_ms() < watch->hold_until_ms)
        return KW_OK;
    enum kw_status status = inbox_scan(&watch->inbox, outbox_is_marked, &watch->outbox, err);
    for (size_t i = 0; i < watch->inbox.count && !status; i++) {
        if (!go_on(watch))
            return stopped(err);
        if (kw_now_ms() < watch->hold_until_ms)
            break;
        status = look_at(watch, &watch->inbox.drops[i], ret_busy, err);
    }
    return status;
}

/* A PIN that is wrong shows now, and not with the first drop. A token that is away may come. */
static enum kw_status reach_token(struct kw_watch *watch, struct kw_error *err)
{
    const struct kw_token_info *info = NULL;
    struct kw_error failure;
    enum kw_status status = kw_keyring_token(watch->keyring, &info, &failure);
    if (!status)
        return KW_OK;
    if (watch_holds_after(status) && !watch->options->once) {
        watch_hold(watch, NULL, NULL, &failure);
        return KW_OK;
    }
    *err = failure;
    return status;
}

static enum kw_status keep_watch(struct kw_watch *watch, struct kw_error *err)
{
    bool busy = true;
    enum kw_status status = reach_token(watch, err);
    if (!status)
        watch_tell(watch, KW_WATCH_READY, NULL, NULL, NULL);
    while (!status) {
        status = pass(watch, &busy, err);
        /* An inbox on another host may be away for a while, as a token may. */
        if ((status == KW_READ || watch_holds_after(status)) && !watch->options->once) {
            watch_hold(watch, NULL, NULL, err);
            status = KW_OK;
        }
        watch_tell_warnings(watch);
        if (!status && watch->holds > 0)
            status = kw_keyring_check_hang(watch->keyring, false, err);
        if (status || (watch->options->once && (!busy || watch->holds > 0)))
            break;
        if (!pause_for(watch, SCAN_MS))
            return stopped(err);
    }
    if (!status && watch->failures > 0)
        return kw_fail(err, watch->first.status, "%" PRIu64 " %s failed; the first: %.400s",
                       watch->failures, watch->failures == 1 ? "drop" : "drops",
                       watch->first.message);
    return status;
}

enum kw_status kw_watch_open(const struct kw_watch_options *options, struct kw_watch **ret_watch,
                             struct kw_error *err)
{
    struct kw_watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return kw_fail_memory(err);
    watch->options = options;
    outbox_init(&watch->outbox, options);
    enum kw_status status = inbox_open(&watch->inbox, options, err);
    if (!status)
        status = outbox_open(&watch->outbox, watch->inbox.fd, err);
    if (status) {
        kw_watch_free(watch);
        return status;
    }
    *ret_watch = watch;
    return KW_OK;
}

void kw_watch_free(struct kw_watch *watch)
{
    if (!watch)
        return;
    outbox_close(&watch->outbox);
    inbox_close(&watch->inbox);
    free(watch);
}

enum kw_status kw_watch_run(struct kw_watch *watch, struct kw_keyring *keyring,
                            struct kw_error *err)
{
    struct kw_error ignored;
    watch->keyring = keyring;
    watch->inbox.crypto = kw_keyring_crypto(keyring);
    return keep_watch(watch, err ? err : &ignored);
}
