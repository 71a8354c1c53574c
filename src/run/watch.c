/* An inbox: each drop that is complete is decrypted once, and put away with its report. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inbox.h"

#define SCAN_MS        1000
#define PAUSE_PIECE_MS 100
#define FIRST_RETRY_MS 5000
#define LAST_RETRY_MS  (300 * 1000)
/* Of a drop that can't be read, or whose command fails. */
#define TRIES 5

struct kw_watch {
    struct kw_keyring *keyring; /* of the call that runs it */
    const struct kw_watch_options *options;
    struct inbox inbox;
    struct outbox outbox;
    uint64_t hold_until_ms; /* for all drops */
    unsigned holds;
    struct kw_error first; /* failure of a drop */
    uint64_t failures;
};

/* ---- what a failure means for the drop ---- */

enum action {
    QUARANTINE, /* it is the drop's fault, or its key's */
    TRY_SOME,   /* perhaps it is */
    TRY_ON,     /* it is not: there will be room again, or permission */
    HOLD,       /* none of the drops can be decrypted now */
    STOP,       /* nor after a while, without someone who looks into it */
};
static const struct {
    enum kw_status status;
    enum action action;
} actions[] = {
    {KW_FAULT, TRY_SOME},
    {KW_NO_MEMORY, HOLD},
    {KW_USAGE, QUARANTINE},
    {KW_CONFIG, STOP},
    {KW_PIN_MISSING, STOP},
    {KW_PIN_WRONG, STOP},
    {KW_PIN_LOCKED, STOP},
    {KW_DROP, QUARANTINE},
    {KW_METADATA, QUARANTINE},
    {KW_NOT_ENCRYPTED, QUARANTINE},
    {KW_KEY_NOT_FOUND, QUARANTINE},
    {KW_KEY_AMBIGUOUS, QUARANTINE},
    {KW_KEY_UNWRAP, QUARANTINE},
    {KW_KEY_UNUSABLE, QUARANTINE},
    {KW_MODULE, HOLD},
    {KW_TOKEN_NOT_FOUND, HOLD},
    {KW_TOKEN, HOLD},
    {KW_DAMAGED, QUARANTINE},
    {KW_READ, TRY_SOME},
    {KW_WRITE, TRY_ON},
    {KW_EXISTS, QUARANTINE},
    {KW_AUDIT, STOP},
    {KW_INTERRUPTED, STOP},
};

static enum action action_for(const struct kw_watch *watch, enum kw_status status)
{
    if (status == KW_WRITE && watch->options->launcher >= 0)
        return TRY_SOME;
    for (size_t i = 0; i < KW_COUNT(actions); i++)
        if (actions[i].status == status)
            return actions[i].action;
    return STOP;
}

static uint64_t retry_after(unsigned tries)
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

static void tell_failure(const struct kw_watch *watch, enum kw_watch_what what, const char *name,
                         const struct kw_run *run, const struct kw_error *failure)
{
    const struct kw_watch_event event = {
        .what = what, .name = name, .run = run, .failure = failure};
    tell(watch, &event);
}

static bool go_on(const struct kw_watch *watch)
{
    return !watch->options->go_on || watch->options->go_on(watch->options->context);
}

/* ---- one drop ---- */

static enum kw_status record(const struct kw_watch *watch, const char *op, const char *path,
                             const struct kw_error *outcome, struct kw_error *err)
{
    const struct kw_deed deed = {.phase = KW_OUTCOME,
                                 .op = op,
                                 .drop = path,
                                 .status = outcome ? outcome->status : KW_OK,
                                 .ck_rv = outcome ? outcome->ck_rv : 0,
                                 .detail = outcome ? outcome->message : NULL};
    return kw_keyring_witness(watch->keyring, &deed, 1, err);
}

/* On record first, then put away, and the journal goes last: whatever moment the process is killed
 * at, the next one comes to the same end without decrypting anything again. */
static enum kw_status put_away(struct kw_watch *watch, const struct inbox_drop *drop,
                               struct kw_run *run, const char *path, const struct kw_error *outcome,
                               struct kw_error *err)
{
    enum kw_status status =
        record(watch, outcome ? "drop.quarantine" : "drop.done", path, outcome, err);
    if (!status && outcome)
        status = outbox_set_aside(&watch->outbox, drop->name, run, err);
    if (!status)
        status = outbox_put_away(&watch->outbox, drop->name, run, outcome, err);
    if (status)
        return status;
    tell_failure(watch, outcome ? KW_WATCH_QUARANTINED : KW_WATCH_DONE, drop->name, run, outcome);
    status = outcome ? KW_OK : kw_run_finish(run, err);
    if (!outcome && watch->options->launcher >= 0)
        outbox_tidy(&watch->outbox, drop->name);
    return status;
}

static enum kw_status check_unchanged(struct kw_watch *watch, const struct inbox_drop *drop,
                                      struct kw_error *err)
{
    bool changed = false;
    enum kw_status status = inbox_has_changed(&watch->inbox, drop, &changed, err);
    if (!status && changed)
        return kw_fail(
            err, KW_DROP,
            "files came or changed after the drop was taken to be complete; use a longer "
            "--settle, or --marker, and put it into the inbox again");
    return status;
}

/* A drop of the same folders may have been there before: it goes by its run's journal. */
static enum kw_status decrypt(struct kw_watch *watch, const struct inbox_drop *drop,
                              struct kw_run *run, const char *work, const char *final,
                              struct kw_error *err)
{
    enum kw_status status;
    if ((status = kw_run_decrypt(run, err)) || (status = check_unchanged(watch, drop, err)))
        return status;
    return strcmp(work, final) == 0 ? KW_OK : kw_run_rename_output(run, final, err);
}

static void hold_back(struct kw_watch *watch, struct inbox_drop *drop, bool all,
                      const struct kw_run *run, const struct kw_error *failure)
{
    uint64_t *until = all ? &watch->hold_until_ms : &drop->look_at_ms;
    unsigned *times = all ? &watch->holds : &drop->tries;
    *until = kw_now_ms() + retry_after(++*times);
    tell_failure(watch, KW_WATCH_WAITING, drop->name, run, failure);
}

/* What the drop's failure, or one to put it away, leads to: *ret_away where that is quarantine. */
static enum kw_status take_failure(struct kw_watch *watch, struct inbox_drop *drop,
                                   const struct kw_run *run, const struct kw_error *failure,
                                   bool *ret_away, struct kw_error *err)
{
    enum action action = action_for(watch, failure->status);
    if (watch->failures++ == 0)
        watch->first = *failure;
    if (action == STOP) {
        *err = *failure;
        return failure->status;
    }
    *ret_away = action == QUARANTINE || (action == TRY_SOME && drop->tries + 1 >= TRIES);
    if (!*ret_away)
        hold_back(watch, drop, action == HOLD, run, failure);
    return KW_OK;
}

static enum kw_status end_run(struct kw_watch *watch, struct inbox_drop *drop, struct kw_run *run,
                              const char *path, const struct kw_error *failure,
                              struct kw_error *err)
{
    bool away = true;
    bool stuck = false;
    struct kw_error trouble;
    enum kw_status status = KW_OK;
    if (failure->status)
        status = take_failure(watch, drop, run, failure, &away, err);
    if (status || !away ||
        !put_away(watch, drop, run, path, failure->status ? failure : NULL, &trouble))
        return status;
    status = take_failure(watch, drop, run, &trouble, &stuck, err);
    if (stuck)
        hold_back(watch, drop, false, run, &trouble);
    return status;
}

/* With all the strings that a run refers to. */
static enum kw_status take_drop(struct kw_watch *watch, struct inbox_drop *drop, const char *path,
                                const char *work, const char *final,
                                const struct kw_error *conflict, struct kw_error *err)
{
    struct kw_run *run = NULL;
    struct kw_error failure = {.status = KW_OK};
    struct kw_drop *opened = NULL;
    struct kw_decrypt_options options = watch->options->decrypt;
    options.resume = 1;
    /* A drop that can't be opened is opened by its run once more, which then fails by itself. */
    (void)kw_drop_open(path, &opened, NULL);
    enum kw_status status = kw_run_new(watch->keyring, path, opened, work, &options, &run, err);
    if (!status) {
        kw_run_deliver_to(run, watch->options->launcher);
        if (conflict)
            failure = *conflict;
        else
            (void)decrypt(watch, drop, run, work, final, &failure);
        if (!failure.status)
            watch->holds = 0;
        status = end_run(watch, drop, run, path, &failure, err);
    }
    kw_run_free(run);
    kw_drop_free(opened);
    return status;
}

static enum kw_status take(struct kw_watch *watch, struct inbox_drop *drop, struct kw_error *err)
{
    char *work = NULL;
    char *final = NULL;
    struct kw_error conflict = {.status = KW_OK};
    char *path = inbox_path(&watch->inbox, drop->name);
    if (!path)
        return kw_fail_memory(err);
    /* Keys may have been made, disabled or deleted since the last one. */
    kw_keyring_refresh(watch->keyring);
    tell_failure(watch, KW_WATCH_TAKEN, drop->name, NULL, NULL);
    enum kw_status status = outbox_folders(&watch->outbox, drop->name, &work, &final, &conflict);
    status = take_drop(watch, drop, path, work ? work : watch->options->out,
                       final ? final : watch->options->out, status ? &conflict : NULL, err);
    free(work);
    free(final);
    free(path);
    return status;
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
        tell_failure(watch, KW_WATCH_INCOMPLETE, drop->name, NULL, NULL);
    if (ready)
        return take(watch, drop, err);
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

/* An inbox on another host may be away for a while, as a token may. */
static enum kw_status hold_all(struct kw_watch *watch, const struct kw_error *failure)
{
    watch->hold_until_ms = kw_now_ms() + retry_after(++watch->holds);
    tell_failure(watch, KW_WATCH_WAITING, NULL, NULL, failure);
    return KW_OK;
}

/* A PIN that is wrong shows now, and not with the first drop. A token that is away may come. */
static enum kw_status reach_token(struct kw_watch *watch, struct kw_error *err)
{
    const struct kw_token_info *info = NULL;
    struct kw_error failure;
    enum kw_status status = kw_keyring_token(watch->keyring, &info, &failure);
    if (!status)
        return KW_OK;
    if (action_for(watch, status) == HOLD && !watch->options->once)
        return hold_all(watch, &failure);
    *err = failure;
    return status;
}

static enum kw_status keep_watch(struct kw_watch *watch, struct kw_error *err)
{
    bool busy = true;
    enum kw_status status = reach_token(watch, err);
    if (!status)
        tell_failure(watch, KW_WATCH_READY, NULL, NULL, NULL);
    while (!status) {
        status = pass(watch, &busy, err);
        if (status == KW_READ && !watch->options->once)
            status = hold_all(watch, err);
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
