/* run: one decryption of one drop, its report, and the sender's side for trials. A run is used by
 * one thread; it has workers of its own. kw_decrypt and kw_plain_* of <keyward/keyward.h> are
 * defined here. */
#ifndef KW_RUN_H
#define KW_RUN_H

#include <keyward/keyward.h>

#include "base/base.h"
#include "drop/drop.h"
#include "flow/flow.h"
#include "keys/keys.h"

/* ---- decrypting a drop into a folder: decrypt.c ---- */

struct kw_run;

/* `drop` may be NULL: then the run opens `drop_path`, as its first step. Everything given must
 * outlive the run, options included. */
enum kw_status kw_run_new(struct kw_keyring *keyring, const char *drop_path, struct kw_drop *drop,
                          const char *out_dir, const struct kw_decrypt_options *options,
                          struct kw_run **ret_run, struct kw_error *err);
void kw_run_free(struct kw_run *run);
/* Before it begins: the folder `out_dir`, open already. The caller's, and to be freed after the run
 * is. */
void kw_run_use_output(struct kw_run *run, struct kw_outdir *outdir);
/* Does it, once. */
enum kw_status kw_run_decrypt(struct kw_run *run, struct kw_error *err);
/* Before that: has each plaintext piped to a command of the launcher's instead of written to a
 * file, so that only the journal is in `out_dir`. As many run at a time as there are workers. A
 * command that fails fails its file; one whose file turns out to be damaged, or whose run is
 * killed, is ended by a signal before it sees the end of its input. */
void kw_run_deliver_to(struct kw_run *run, int launcher);
/* Starts commands, each `command` in /bin/sh, for the process that has the other end of `requests`,
 * a socket pair of SOCK_SEQPACKET; returns when that end is closed and all have ended. For a
 * process of its own, forked before there is a second thread, a secret or a confinement, which
 * ignores the signals that end the other one. Commands get a part of its environment, all of which
 * it wipes. */
void kw_launcher_serve(int requests, const char *command);
/* An event, for a command of such a process: the first three are KEYWARD_EVENT, KEYWARD_KEY and
 * KEYWARD_WHO in its environment, and the line, of at most 4096 bytes, is its input. Waits until it
 * has ended. KW_WRITE unless it ended with 0, KW_INTERRUPTED where it took longer. */
struct kw_notice {
    const char *event, *key, *who, *line;
};
enum kw_status kw_launcher_notify(int launcher, const struct kw_notice *notice, unsigned timeout_ms,
                                  struct kw_error *err);
/* After it: gives the output folder another name, which must be free. KW_EXISTS, KW_WRITE. */
enum kw_status kw_run_rename_output(struct kw_run *run, const char *out_dir, struct kw_error *err);
/* After a success, once the report is where it belongs: takes away the journal, without which the
 * run can't be gone on with. */
enum kw_status kw_run_finish(struct kw_run *run, struct kw_error *err);
/* Whether a run that failed left a journal to go on from. */
bool kw_run_can_resume(const struct kw_run *run);
/* What came of it, also after a failure. */
void kw_run_totals(const struct kw_run *run, struct kw_totals *ret_totals);
/* What was odd but not wrong; owned by the run, gathered when it ended. */
const struct kw_strings *kw_run_warnings(const struct kw_run *run);

/* ---- an inbox of drops: watch.c, inbox.c, outbox.c ---- */

enum kw_watch_what {
    KW_WATCH_READY,       /* it begins; no drop */
    KW_WATCH_INCOMPLETE,  /* a folder has been at rest and is no drop yet, or has no marker yet */
    KW_WATCH_TAKEN,       /* a drop is complete and is decrypted now */
    KW_WATCH_DONE,        /* it was decrypted, and put away */
    KW_WATCH_QUARANTINED, /* it was put away because of `failure` */
    KW_WATCH_WAITING,     /* it, or all where `name` is NULL, will be tried again after `failure` */
    KW_WATCH_WARNED,      /* of something that no run tells */
};
/* What it points to is gone after the call; each may be NULL. */
struct kw_watch_event {
    enum kw_watch_what what;
    const char *name;
    const struct kw_run *run;
    const struct kw_error *failure;
    const struct kw_strings *warnings;
};
struct kw_watch_options {
    const char *inbox;
    const char *out;        /* DIR/NAME of it is a drop's plaintext, once all of that is there */
    const char *done;       /* where drops go that were decrypted; NULL: .done in the inbox */
    const char *quarantine; /* where others go; NULL: .quarantine in the inbox */
    const char *marker;     /* a drop is complete when it has a file of that name; else once it has
                               its metadata and nothing has changed for... */
    unsigned settle_s;      /* ...so many seconds */
    bool leave;   /* drops stay; that a report is in `out` marks those that are done with */
    bool once;    /* end when no drop is left that is complete or may be in a while */
    int launcher; /* as for kw_run_deliver_to, or -1 */
    struct kw_decrypt_options decrypt; /* for each of them; `resume` is always on */
    void (*on_event)(void *context, const struct kw_watch_event *event);
    bool (*go_on)(void *context); /* asked several times a second while nothing is done */
    void *context;
};
/* Opens and locks the folders, and makes those that are missing; `options` must outlive it.
 * KW_READ, KW_WRITE; KW_EXISTS where another watch is at work there; KW_USAGE where they are inside
 * of each other, or drops can't be moved. */
struct kw_watch;
enum kw_status kw_watch_open(const struct kw_watch_options *options, struct kw_watch **ret_watch,
                             struct kw_error *err);
void kw_watch_free(struct kw_watch *watch);
/* Decrypts drops, the folders in the inbox, one after the other. A failure that is the drop's sends
 * it to quarantine; where the token or the output's disk fails, it is tried again, after pauses of
 * up to 5 minutes; KW_CONFIG, KW_PIN_* and KW_AUDIT end it, and so does KW_INTERRUPTED. With `once`
 * the first failure of a drop is returned. Only the caller's thread calls back, but for the
 * options' on_progress. */
enum kw_status kw_watch_run(struct kw_watch *watch, struct kw_keyring *keyring,
                            struct kw_error *err);

/* ---- the report: report.c ---- */

/* Writes the report (docs/report.schema.json) of a run that has ended to `fd`; `outcome` is its
 * error, or NULL where it succeeded. `what` names the descriptor in errors. */
enum kw_status kw_run_write_report(const struct kw_run *run, const struct kw_error *outcome, int fd,
                                   const char *what, struct kw_error *err);

/* ---- one file to a descriptor: cat.c ---- */

struct kw_cat_options {
    const char *key;        /* as in kw_decrypt_options */
    const char *unwrap_alg; /* as in kw_decrypt_options */
    const char *decompress; /* as in kw_decrypt_options */
    bool (*tick)(void *context, uint64_t bytes);
    void *tick_context;
};
/* Streams the plaintext of one file of the drop to `fd`, named `fd_name` in errors. What was
 * written before a failure can't be taken back: the caller's exit code says so. */
enum kw_status kw_cat(struct kw_keyring *keyring, const struct kw_drop *drop, const char *path,
                      const struct kw_cat_options *options, int fd, const char *fd_name,
                      struct kw_strings *warnings, struct kw_error *err);

/* ---- from an envelope to its data key: unlock.c ---- */

struct kw_unlocked {
    const struct kw_token_key *key; /* NULL until it was found */
    struct kw_data_key data_key;
};
/* Finds the key that the drop's envelope names (or `override`), warns where it is out of its dates,
 * and unwraps the data key for `purpose`. The found key is kept in *ret_unlocked even where
 * unwrapping fails. KW_NOT_ENCRYPTED where the drop has no envelope. */
enum kw_status kw_unlock(struct kw_keyring *keyring, const struct kw_drop *drop,
                         const char *override, const char *unwrap_alg,
                         const struct kw_purpose *purpose, struct kw_unlocked *ret_unlocked,
                         struct kw_strings *warnings, struct kw_error *err);

/* ---- sealing, the sender's side: seal.c ---- */

struct kw_seal_options {
    const char *public_key; /* PEM file, or NULL */
    const char *key;        /* or a key on the token: pkcs11: URI or name */
    const char *version;    /* PublicKeyVersion; NULL: the key's CKA_ID in hex */
    enum kw_wrap_alg alg;
    enum kw_drop_format format;
    bool gzip;
    struct kw_outdir *output; /* the folder, open already and the caller's; or NULL */
    bool (*tick)(void *context, uint64_t bytes);
    void *tick_context;
};
struct kw_seal_totals {
    uint64_t files;
    uint64_t bytes_in;
    uint64_t bytes_out;
};
/* Encrypts a file, or every file of a folder, to a new drop in `out_dir`, which must be empty or
 * missing: a fresh data key and IV, and the metadata last, so that a drop that is not whole is
 * none. KW_EXISTS; KW_KEY_UNUSABLE for a key out of its dates. */
enum kw_status kw_seal(struct kw_keyring *keyring, const char *source, const char *out_dir,
                       const struct kw_seal_options *options, struct kw_seal_totals *ret_totals,
                       struct kw_error *err);

#endif
