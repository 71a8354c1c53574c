/* What the files of src/run share. */
#ifndef KW_RUN_INTERNAL_H
#define KW_RUN_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "run.h"

#define KW_RUN_MAX_WARNINGS 256
#define KW_MAX_JOBS         256

/* What was asked for, or else configured, or else the default: settings.c */
struct settings {
    bool gzip;
    bool digest;
    unsigned jobs;
    struct kw_flow_limits limits; /* on what a file of the drop may become */
};
enum kw_status kw_settings_resolve(const struct kw_keyring *keyring, const char *decompress,
                                   const char *digest, unsigned jobs, struct settings *ret_settings,
                                   struct kw_error *err);

/* ---- a run: decrypt.c, plan.c, journal.c, resume.c, workers.c, retry.c, report.c ---- */

/* What shows that a file is another one, or was changed. */
struct stamp {
    uint64_t size;
    struct timespec content;
    struct timespec anything;
};

/* The file beside the output that says how far the run is. */
struct journal {
    int fd; /* at its end, and locked; -1 where there is none */
    bool resumed;
    char *key;  /* what the report says of the key, in JSON; owned, may be NULL */
    off_t size; /* whole lines only */
    pthread_mutex_t lock;
};

/* Files that have ended and are not on the audit trail yet. */
struct recorder {
    pthread_mutex_t lock;
    size_t *waiting; /* which; there is room for each file */
    size_t count;
    atomic_uint_fast64_t since_ms; /* the first of them does; 0: none does */
};

/* One file of a run. */
struct run_file {
    const struct kw_drop_file *file;
    enum kw_flow_work work; /* decrypt or copy */
    enum kw_file_status status;
    bool has_sha256;
    uint8_t sha256[KW_SHA256_SIZE];
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint32_t crc32; /* of the plaintext */
    uint64_t milliseconds;
    struct stamp source;    /* of the file in the drop */
    bool listed;            /* the journal has what becomes of it, in the members above */
    bool kept;              /* and that is still so: nothing is left to do */
    bool recorded;          /* it is on the audit trail too, as the journal says */
    uint64_t inode;         /* of the output that was about to get its name then, or 0 */
    enum kw_status failure; /* of a file that failed */
    char *message;          /* its sentence; owned, NULL where memory ran out */
};

struct kw_run {
    struct kw_keyring *keyring;
    const char *drop_path;
    const char *out_dir;
    char *renamed_out_dir; /* where it was given another name */
    const struct kw_decrypt_options *options;
    int launcher; /* of commands that plaintext is piped to; -1: it goes to files below out_dir */

    char id[33]; /* 16 random bytes in hex */
    time_t started;
    uint64_t started_ms;
    uint64_t milliseconds;

    struct kw_drop *own_drop; /* opened by the run */
    const struct kw_drop *drop;
    struct settings settings;
    struct kw_unlocked unlocked;
    bool unwrapped;               /* unlocked.data_key.alg is known */
    struct kw_outdir *own_outdir; /* what the run opened itself, or NULL */
    struct kw_outdir *outdir;
    struct journal journal;
    struct recorder recorder;
    struct run_file *files;
    size_t file_count;
    size_t pending; /* of them are to be done */
    bool worked;    /* it came as far as to its files */
    bool whole;     /* and through them */
    uint64_t bytes_total;
    struct kw_strings warnings;
    size_t warnings_before; /* the keyring's, that are not this run's */
};

/* Chooses the files of the run. */
enum kw_status kw_run_plan(struct kw_run *run, struct kw_error *err);
/* Makes sure that nothing is where a file that is to be done will be. */
enum kw_status kw_run_check_free(const struct kw_run *run, struct kw_error *err);

/* Puts what became of a file on the audit trail, at once or with others that end in the next
 * second. KW_AUDIT: then nothing more may be decrypted. Any thread. */
enum kw_status kw_run_record_file(struct kw_run *run, size_t index, struct kw_error *err);
/* Those that have waited for a second: to be called while files are in work. Any thread. */
enum kw_status kw_run_record_due(struct kw_run *run, struct kw_error *err);
/* The files that the journal lists as ended, where it does not say that they are on the trail. */
enum kw_status kw_run_record_found(struct kw_run *run, struct kw_error *err);
/* Those that wait, and the outcome of the run; and signs that. KW_AUDIT. */
enum kw_status kw_run_record(struct kw_run *run, enum kw_status outcome,
                             const struct kw_error *failure, struct kw_error *err);

#define KW_JOURNAL_NAME ".keyward-journal"

/* Looks for the journal of an earlier run in the output folder: to go on from it (--resume), to
 * start anew (--force), or else KW_EXISTS. KW_DROP and KW_USAGE where it is of another drop, or of
 * a run with other settings. Fills `listed` and `inode` of the files. */
enum kw_status kw_journal_find(struct kw_run *run, struct kw_error *err);
/* Begins one, unless the run goes on from one. */
enum kw_status kw_journal_begin(struct kw_run *run, struct kw_error *err);
/* What becomes of a file: of one that is about to get its name, with its inode, else once it has
 * ended, without. Any thread. */
enum kw_status kw_journal_list(struct kw_run *run, size_t index, const struct run_file *file,
                               struct kw_error *err);
/* What became of these files is on the audit trail. Any thread. */
enum kw_status kw_journal_recorded(struct kw_run *run, const size_t *files, size_t count,
                                   struct kw_error *err);
/* Takes it away. */
enum kw_status kw_journal_remove(struct kw_run *run, struct kw_error *err);
void kw_journal_cleanup(struct journal *journal);
struct stamp kw_stamp(const struct stat *info);

/* What the journal says about a drop and the settings that the output and the report depend on. */
enum kw_status kw_journal_describe(const struct kw_run *run, struct cJSON **ret_json,
                                   struct kw_error *err);
/* Holds what a journal says in the first line against it. */
enum kw_status kw_journal_check_header(struct kw_run *run, const struct cJSON *header,
                                       struct kw_error *err);
/* Takes what a further line says; false where it is none that this program wrote. */
bool kw_journal_take_line(struct kw_run *run, const struct cJSON *line);
enum kw_status kw_journal_line(const struct run_file *file, size_t index, struct kw_buffer *out,
                               struct kw_error *err);
enum kw_status kw_journal_recorded_line(const size_t *files, size_t count, struct kw_buffer *out,
                                        struct kw_error *err);

/* Looks whether the files that the journal lists are as it says, `kept` then, and takes away those
 * that aren't, with what a killed process left. */
enum kw_status kw_run_recheck(struct kw_run *run, struct kw_error *err);

/* Takes each file that is to be done through its flow. KW_OK, or the failure that describes the run
 * best. */
enum kw_status kw_run_work(struct kw_run *run, struct kw_error *err);
/* Whether a failure may pass by itself, so that to do the file again is worth it. */
bool kw_is_transient(const struct kw_error *error);

/* ---- a command for each file: command.c, launcher.c, deliver.c ---- */

struct kw_command {
    int input; /* the writing end of a pipe */
    int talk;  /* to the launcher */
};
/* What it is told in its environment. */
#define KW_COMMAND_ENTRIES 3
struct kw_command_entry {
    const char *name, *value;
};
/* Has the launcher run its command with a pipe for its standard input. KW_WRITE. One of the next
 * two has to follow, which also tell when it could not be started. Any thread. */
enum kw_status kw_command_start(int launcher,
                                const struct kw_command_entry entries[KW_COMMAND_ENTRIES],
                                struct kw_command *ret_command, struct kw_error *err);
/* Ends its input and waits until it has ended; `go_on` is asked several times a second whether to
 * wait on. KW_WRITE unless it ended with 0, KW_INTERRUPTED. */
enum kw_status kw_command_finish(struct kw_command *command, const char *file,
                                 bool (*go_on)(void *context), void *context, struct kw_error *err);
/* Has it end, without an end of its input, and waits for that: SIGTERM, and SIGKILL two seconds
 * later. */
void kw_command_give_up(struct kw_command *command);

/* Runs the job, whose sink is yet to be made, into a command. */
enum kw_status kw_run_deliver(const struct kw_run *run, struct kw_flow *flow,
                              struct kw_flow_job *job, bool (*go_on)(void *context), void *context,
                              struct kw_flow_result *ret_result, struct kw_error *err);

/* JSON's null where there is none; NULL where memory did not suffice. */
struct cJSON *kw_run_describe_key(const struct kw_run *run);
const char *kw_file_status_word(enum kw_file_status status);

#endif
