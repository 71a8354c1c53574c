/* One drop of an inbox: decrypted once, and put away with its report. */
#include <stdlib.h>
#include <string.h>

#include "inbox.h"

/* Of a drop that can't be read, or whose command fails. */
#define TRIES 5

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
    {KW_FAULT, STOP},
    {KW_NO_MEMORY, HOLD},
    {KW_USAGE, QUARANTINE},
    {KW_CONFIG, STOP},
    {KW_PIN_MISSING, STOP},
    {KW_PIN_WRONG, STOP},
    {KW_PIN_LOCKED, STOP},
    {KW_DENIED, HOLD}, /* by a vault: it may be allowed again, or the next access token do */
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

static enum action usual_action(enum kw_status status)
{
    for (size_t i = 0; i < KW_COUNT(actions); i++)
        if (actions[i].status == status)
            return actions[i].action;
    return STOP;
}

static enum action action_for(const struct kw_watch *watch, enum kw_status status)
{
    bool by_command = status == KW_WRITE && watch->options->launcher >= 0;
    return by_command ? TRY_SOME : usual_action(status);
}

bool watch_holds_after(enum kw_status status)
{
    return usual_action(status) == HOLD;
}

/* ---- the drop in hand ---- */

struct taken {
    struct kw_watch *watch;
    struct inbox_drop *drop;
    int dirfd;   /* of its folder, whatever is done to its name; -1 where it can't be opened */
    char *path;  /* for people */
    char *work;  /* where its plaintext grows; NULL where that can't be */
    char *final; /* where it will be */
    struct kw_drop *opened; /* NULL where it is no drop */
    struct kw_decrypt_options options;
    struct kw_run *run;
};

static void taken_cleanup(struct taken *taken)
{
    kw_run_free(taken->run);
    kw_drop_free(taken->opened);
    kw_close(&taken->dirfd);
    free(taken->work);
    free(taken->final);
    free(taken->path);
}

/* Why it can't be decrypted is in *failure then; what is returned is that there can be no run. */
static enum kw_status open_taken(struct taken *taken, struct kw_error *failure,
                                 struct kw_error *err)
{
    struct kw_watch *watch = taken->watch;
    const char *name = taken->drop->name;
    taken->path = inbox_path(&watch->inbox, name);
    if (!taken->path)
        return kw_fail_memory(err);
    enum kw_status status = inbox_open_drop(&watch->inbox, name, &taken->dirfd, failure);
    if (!status)
        status = kw_drop_open_folder(taken->dirfd, taken->path, &taken->opened, failure);
    if (!status)
        status = outbox_folders(&watch->outbox, name, &taken->work, &taken->final, failure);
    return KW_OK;
}

static enum kw_status new_run(struct taken *taken, struct kw_error *err)
{
    struct kw_watch *watch = taken->watch;
    kw_run_free(taken->run);
    taken->run = NULL;
    enum kw_status status = kw_run_new(watch->keyring, taken->path, taken->opened,
                                       taken->work ? taken->work : watch->options->out,
                                       &taken->options, &taken->run, err);
    if (!status)
        kw_run_deliver_to(taken->run, watch->options->launcher);
    return status;
}

static bool is_whole_already(const struct taken *taken)
{
    return strcmp(taken->work, taken->final) == 0;
}

/* What an earlier run left of this drop, or of another one of its name, may be in the way before
 * anything was decrypted. It is the watch's own. */
static bool is_in_the_way(const struct taken *taken, const struct kw_error *failure)
{
    static const enum kw_status ways[] = {KW_EXISTS, KW_DROP, KW_USAGE, KW_READ};
    bool way = false;
    for (size_t i = 0; i < KW_COUNT(ways); i++)
        way |= failure->status == ways[i];
    return way && !taken->run->worked && !is_whole_already(taken) &&
           outbox_has_partial(&taken->watch->outbox, taken->drop->name);
}

/* After a power cut there are files that the journal does not list: these are done again. Where it
 * is of another drop, or of other options, all is. */
static enum kw_status decrypt(struct taken *taken, struct kw_error *err)
{
    enum kw_status status = kw_run_decrypt(taken->run, err);
    if (status == KW_EXISTS && is_in_the_way(taken, err)) {
        taken->options.force = 1;
        if (!(status = new_run(taken, err)))
            status = kw_run_decrypt(taken->run, err);
    }
    if (status && is_in_the_way(taken, err)) {
        taken->options.force = 0;
        if (!(status =
                  outbox_set_aside(&taken->watch->outbox, taken->drop->name, taken->run, err)) &&
            !(status = new_run(taken, err)))
            status = kw_run_decrypt(taken->run, err);
    }
    return status;
}

static enum kw_status check_unchanged(const struct taken *taken, struct kw_error *err)
{
    bool changed = false;
    enum kw_status status =
        inbox_has_changed(&taken->watch->inbox, taken->drop, taken->dirfd, &changed, err);
    if (!status && changed)
        return kw_fail(
            err, KW_DROP,
            "files came or changed after the drop was taken to be complete; use a longer "
            "--settle, or --marker, and put it into the inbox again");
    return status;
}

static enum kw_status make_plaintext(struct taken *taken, struct kw_error *err)
{
    enum kw_status status;
    if ((status = decrypt(taken, err)) || (status = check_unchanged(taken, err)))
        return status;
    return is_whole_already(taken) ? KW_OK : kw_run_rename_output(taken->run, taken->final, err);
}

/* ---- afterwards ---- */

static enum kw_status record(const struct taken *taken, const struct kw_error *outcome,
                             struct kw_error *err)
{
    const struct kw_deed deed = {.phase = KW_OUTCOME,
                                 .op = outcome ? "drop.quarantine" : "drop.done",
                                 .drop = taken->path,
                                 .status = outcome ? outcome->status : KW_OK,
                                 .ck_rv = outcome ? outcome->ck_rv : 0,
                                 .detail = outcome ? outcome->message : NULL};
    return kw_keyring_witness(taken->watch->keyring, &deed, 1, err);
}

/* On record first, then put away, and the journal goes last: whatever moment the process is killed
 * at, the next one comes to the same end without decrypting anything again. */
static enum kw_status put_away(struct taken *taken, const struct kw_error *outcome,
                               struct kw_error *err)
{
    struct kw_watch *watch = taken->watch;
    const char *name = taken->drop->name;
    enum kw_status status = record(taken, outcome, err);
    if (!status && outcome)
        status = outbox_set_aside(&watch->outbox, name, taken->run, err);
    if (!status)
        status = outbox_put_away(&watch->outbox, name, taken->dirfd, taken->run, outcome, err);
    if (status)
        return status;
    watch_tell(watch, outcome ? KW_WATCH_QUARANTINED : KW_WATCH_DONE, name, taken->run, outcome);
    status = outcome ? KW_OK : kw_run_finish(taken->run, err);
    if (!outcome && watch->options->launcher >= 0)
        outbox_tidy(&watch->outbox, name);
    return status;
}

static void try_again(struct taken *taken, const struct kw_error *failure)
{
    taken->drop->look_at_ms = kw_now_ms() + watch_retry_after(++taken->drop->tries);
    watch_tell(taken->watch, KW_WATCH_WAITING, taken->drop->name, taken->run, failure);
}

/* What the drop's failure, or one to put it away, leads to: *ret_away where that is quarantine. */
static enum kw_status take_failure(struct taken *taken, const struct kw_error *failure,
                                   bool *ret_away, struct kw_error *err)
{
    struct kw_watch *watch = taken->watch;
    enum action action = action_for(watch, failure->status);
    if (watch->failures++ == 0)
        watch->first = *failure;
    if (action == STOP) {
        *err = *failure;
        return failure->status;
    }
    *ret_away = action == QUARANTINE || (action == TRY_SOME && taken->drop->tries + 1 >= TRIES);
    if (action == HOLD)
        watch_hold(watch, taken->drop->name, taken->run, failure);
    else if (!*ret_away)
        try_again(taken, failure);
    return KW_OK;
}

static enum kw_status end_run(struct taken *taken, const struct kw_error *failure,
                              struct kw_error *err)
{
    bool away = true;
    bool stuck = false;
    struct kw_error trouble;
    enum kw_status status = KW_OK;
    if (failure->status)
        status = take_failure(taken, failure, &away, err);
    if (status || !away || !put_away(taken, failure->status ? failure : NULL, &trouble))
        return status;
    status = take_failure(taken, &trouble, &stuck, err);
    if (stuck)
        try_again(taken, &trouble);
    return status;
}

enum kw_status watch_take(struct kw_watch *watch, struct inbox_drop *drop, struct kw_error *err)
{
    struct taken taken = {
        .watch = watch, .drop = drop, .dirfd = -1, .options = watch->options->decrypt};
    struct kw_error failure = {.status = KW_OK};
    taken.options.resume = 1;
    /* Keys may have been made, disabled or deleted since the last one. */
    watch_tell_warnings(watch);
    kw_keyring_refresh(watch->keyring);
    watch->warnings_told = 0;
    watch_tell(watch, KW_WATCH_TAKEN, drop->name, NULL, NULL);
    enum kw_status status = open_taken(&taken, &failure, err);
    if (!status)
        status = new_run(&taken, err);
    /* What went wrong at first and well then is no failure. */
    if (!status && !failure.status && make_plaintext(&taken, &failure) == KW_OK)
        failure = (struct kw_error){.status = KW_OK};
    watch->warnings_told = kw_keyring_copy_warnings(watch->keyring, 0, NULL);
    if (!status && !failure.status)
        watch->holds = 0;
    if (!status)
        status = end_run(&taken, &failure, err);
    taken_cleanup(&taken);
    return status;
}
