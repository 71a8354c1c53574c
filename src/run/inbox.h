/* What inbox.c, outbox.c and watch.c share. */
#ifndef KW_RUN_INBOX_H
#define KW_RUN_INBOX_H

#include "internal.h"

/* More drops than this at a time wait until some are done. */
#define KW_INBOX_MAX 10000
/* Of a drop's name; a run's id and more is put around it. */
#define KW_INBOX_NAME_MAX 200
/* No drop's name ends so. */
#define KW_REPORT_END ".report.json"

/* A folder in the inbox. */
struct inbox_drop {
    char *name;
    uint8_t seen[KW_SHA256_SIZE]; /* of its files' paths, sizes and times */
    uint64_t at_rest_since_ms;
    uint64_t look_at_ms; /* again, and not before */
    unsigned tries;
    bool incomplete; /* at rest, and no drop yet */
};

struct inbox {
    const struct kw_watch_options *options;
    struct kw_crypto *crypto; /* from when it is watched */
    int fd;
    struct inbox_drop *drops; /* sorted by name */
    size_t count;
    bool full; /* there are more, which nobody looks at */
};

enum kw_status inbox_open(struct inbox *inbox, const struct kw_watch_options *options,
                          struct kw_error *err);
void inbox_close(struct inbox *inbox);
/* Lists the folders that are there now; `is_marked` leaves those out that were done with. KW_READ.
 */
enum kw_status inbox_scan(struct inbox *inbox, bool (*is_marked)(void *context, const char *name),
                          void *context, struct kw_error *err);
/* Whether the drop is complete: it has the marker file, or else its metadata, and nothing has
 * changed for a while. */
enum kw_status inbox_is_ready(struct inbox *inbox, struct inbox_drop *drop, bool *ret_ready,
                              struct kw_error *err);
/* Whether the files of its folder are other ones than when it was found to be complete. */
enum kw_status inbox_has_changed(struct inbox *inbox, const struct inbox_drop *drop, int dirfd,
                                 bool *ret_changed, struct kw_error *err);
/* Opens the drop's folder, and no link in its place. KW_READ. */
enum kw_status inbox_open_drop(const struct inbox *inbox, const char *name, int *ret_dirfd,
                               struct kw_error *err);
/* The caller frees; NULL where memory ran out. */
char *inbox_path(const struct inbox *inbox, const char *name);

/* Where drops and reports go. */
struct outbox {
    const struct kw_watch_options *options;
    int inbox;      /* the inbox's folder; not owned */
    int out;        /* of the output */
    int done;       /* for drops that were decrypted; -1 where they are left */
    int quarantine; /* for others; -1 where they are left */
};

/* Makes the folders where they are missing, and ends what an earlier watch was killed in: the
 * journals and reports of drops that are put away. KW_WRITE, KW_USAGE where the inbox is on another
 * filesystem, or the output within the inbox or the other way; KW_EXISTS where another watch is on
 * one of them. */
void outbox_init(struct outbox *outbox, const struct kw_watch_options *options);
enum kw_status outbox_open(struct outbox *outbox, int inbox, struct kw_error *err);
void outbox_close(struct outbox *outbox);
/* Where a drop is left in the inbox, its report in the output is the mark that it is done with. */
bool outbox_is_marked(void *outbox, const char *name);
/* The folder that is worked in, hidden until all of it is there, and its name then; the same where
 * a run that was whole ended before its drop was moved. The caller frees both. KW_EXISTS;
 * KW_WRITE where the drop could not be moved afterwards. */
enum kw_status outbox_folders(const struct outbox *outbox, const char *name, char **ret_work,
                              char **ret_final, struct kw_error *err);
/* Gives the hidden folder of a drop that could not be decrypted, or of an earlier one of that name,
 * another name with the run's id in it: the next one begins anew. */
enum kw_status outbox_set_aside(const struct outbox *outbox, const char *name, struct kw_run *run,
                                struct kw_error *err);
bool outbox_has_partial(const struct outbox *outbox, const char *name);
/* Writes the report, and moves the drop, whose folder is open as `dirfd`, beside it unless it is to
 * be left. KW_READ where another one has its name by now. */
enum kw_status outbox_put_away(const struct outbox *outbox, const char *name, int dirfd,
                               const struct kw_run *run, const struct kw_error *outcome,
                               struct kw_error *err);
/* Takes away the final folder of a drop whose plaintext went to commands. */
void outbox_tidy(const struct outbox *outbox, const char *name);

/* ---- watch.c, take.c ---- */

struct kw_watch {
    struct kw_keyring *keyring; /* of the call that runs it */
    const struct kw_watch_options *options;
    struct inbox inbox;
    struct outbox outbox;
    uint64_t hold_until_ms; /* for all drops */
    unsigned holds;
    size_t warnings_told; /* of the keyring's */
    bool told_full;
    struct kw_error first; /* failure of a drop */
    uint64_t failures;
};

void watch_tell(const struct kw_watch *watch, enum kw_watch_what what, const char *name,
                const struct kw_run *run, const struct kw_error *failure);
/* What the keyring warned of, and no run has told. */
void watch_tell_warnings(struct kw_watch *watch);
/* No drop is taken for a while. */
void watch_hold(struct kw_watch *watch, const char *name, const struct kw_run *run,
                const struct kw_error *failure);
/* How long to wait before the next try, of so many. */
uint64_t watch_retry_after(unsigned tries);
/* Whether a failure says that no drop can be decrypted now. */
bool watch_holds_after(enum kw_status status);
/* Decrypts a drop that is ready, and puts it away, or has it tried again. What it returns ends the
 * watch. */
enum kw_status watch_take(struct kw_watch *watch, struct inbox_drop *drop, struct kw_error *err);

#endif
