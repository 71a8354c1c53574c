/* What inbox.c, outbox.c and watch.c share. */
#ifndef KW_RUN_INBOX_H
#define KW_RUN_INBOX_H

#include "internal.h"

/* More drops than this at a time wait until some are done. */
#define KW_INBOX_MAX 10000
/* Of a drop's name; a run's id and more is put around it. */
#define KW_INBOX_NAME_MAX 200

/* A folder in the inbox. */
struct inbox_drop {
    char *name;
    uint8_t
        seen[KW_SHA256_SIZE]; /* of the paths and sizes of its files, or of why there are none */
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
    bool full; /* there are more */
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
/* Whether its files are other ones than when it was found to be complete. */
enum kw_status inbox_has_changed(struct inbox *inbox, const struct inbox_drop *drop,
                                 bool *ret_changed, struct kw_error *err);
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
/* Gives what a run that failed has written another name, with the run's id in it: the next drop of
 * that name begins anew. */
enum kw_status outbox_set_aside(const struct outbox *outbox, const char *name, struct kw_run *run,
                                struct kw_error *err);
/* Writes the report, and moves the drop beside it unless it is to be left. */
enum kw_status outbox_put_away(const struct outbox *outbox, const char *name,
                               const struct kw_run *run, const struct kw_error *outcome,
                               struct kw_error *err);
/* Takes away the final folder of a drop whose plaintext went to commands. */
void outbox_tidy(const struct outbox *outbox, const char *name);

#endif
