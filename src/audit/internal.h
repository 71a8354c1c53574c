/* What the files of this floor share, and no other floor sees. */
#ifndef KW_AUDIT_INTERNAL_H
#define KW_AUDIT_INTERNAL_H

#include <pthread.h>

#include "audit/audit.h"

#define KW_NUMBER_DIGITS 12
#define KW_TRAIL_NAME    32 /* bytes of any name in the folder, with its NUL */
#define KW_TRAIL_ID_SIZE 8
#define KW_SHOWN_DIR     256
#define KW_LEAVES_MAX    ((size_t)16 * 1024 * 1024) /* half a million hashes between checkpoints */

#define KW_CHECKPOINTS   "checkpoints"
#define KW_FRONTIER_FILE "frontier"
#define KW_KEY_FILE      "key.pem"
#define KW_LOCK_FILE     "lock"
#define KW_TRAIL_BEGIN   "trail.begin"
#define KW_TRAIL_REPAIR  "trail.repair"
#define KW_TRAIL_FORWARD "audit.forward"
#define KW_TRAIL_KEY     "audit.key"

/* What other floors' failures are here: the trail can't be read or written. */
enum kw_status kw_audit_error(struct kw_error *err, enum kw_status status);
/* Decimal, without leading zeros, of at most 12 digits. */
bool kw_parse_number(const char *text, size_t len, uint64_t *ret_number);

/* ---- records: record.c ---- */

struct kw_stamp {
    uint64_t seq;
    bool unnumbered; /* it is on no trail */
    const struct kw_who *who;
    const char *trail; /* the folder's id; in record 0 only */
};
/* Appends the record's line and a newline. */
enum kw_status kw_record_write(const struct kw_stamp *stamp, const struct kw_deed *deed,
                               struct kw_buffer *out, struct kw_error *err);
/* The folder's id that record 0 holds. KW_AUDIT if it is no such record, KW_NO_MEMORY. */
enum kw_status kw_record_trail(const char *line, size_t len, char out[2 * KW_TRAIL_ID_SIZE + 1],
                               struct kw_error *err);

/* RFC 5424 section 6.2.1: the audit log. */
#define KW_SYSLOG_FACILITY 13
int kw_record_severity(const struct cJSON *record);

/* ---- the folder and what is in it: files.c ---- */

/* The folder of a trail. `shown` is for messages. */
struct kw_folder {
    int fd;
    char shown[KW_SHOWN_DIR];
};
/* Follows no link in the last component. KW_AUDIT. */
enum kw_status kw_folder_open(const char *dir, struct kw_folder *ret_folder, struct kw_error *err);
void kw_folder_close(struct kw_folder *folder);
/* Opens one of its files, a regular one; -1 and *err filled (KW_AUDIT, with errno in it) where that
 * can't be done. */
int kw_folder_file(const struct kw_folder *folder, const char *name, int flags,
                   struct kw_error *err);
/* Writes a file beside its name, fsyncs it if `durable`, and gives it its name. */
enum kw_status kw_folder_write(const struct kw_folder *folder, const char *name, const void *data,
                               size_t len, bool durable, struct kw_error *err);
enum kw_status kw_folder_read(const struct kw_folder *folder, const char *name, size_t max,
                              struct kw_buffer *ret_buffer, struct kw_error *err);
enum kw_status kw_folder_sync(const struct kw_folder *folder, const char *below,
                              struct kw_error *err);

/* Numbers in the names of files, in order. */
struct kw_numbers {
    uint64_t *items;
    size_t count;
};
enum kw_status kw_list_trail(const struct kw_folder *folder, struct kw_numbers *ret_numbers,
                             struct kw_error *err);
/* A folder that is not there has none. */
enum kw_status kw_list_checkpoints(const struct kw_folder *folder, struct kw_numbers *ret_numbers,
                                   struct kw_error *err);
void kw_numbers_cleanup(struct kw_numbers *numbers);
void kw_trail_file_name(uint64_t first, char out[KW_TRAIL_NAME]);
void kw_checkpoint_name(uint64_t size, const char *suffix, char out[KW_TRAIL_NAME]);

/* ---- lines: lines.c ---- */

enum kw_line_kind {
    KW_LINE,      /* whole */
    KW_LINE_LONG, /* over KW_RECORD_MAX: no record */
    KW_LINE_TORN, /* the last one of its file, without a newline */
    KW_LINE_END,
};
struct kw_line {
    enum kw_line_kind kind;
    const char *text; /* until the next line is read */
    size_t len;
};
/* Reads an open file from where it stands. */
struct kw_lines {
    int fd; /* the caller's */
    char *buffer;
    size_t start, len;
    bool ended;
};
enum kw_status kw_lines_new(int fd, struct kw_lines *ret_lines, struct kw_error *err);
void kw_lines_cleanup(struct kw_lines *lines);
enum kw_status kw_lines_next(struct kw_lines *lines, const char *what, struct kw_line *ret_line,
                             struct kw_error *err);

/* All records of a trail, from the file that has record `seq` on. */
struct kw_reader {
    const struct kw_folder *folder;
    struct kw_numbers files;
    size_t next_file;
    int fd;
    char name[KW_TRAIL_NAME]; /* of the file that is read */
    struct kw_lines lines;
    bool at_start;  /* the line is the first of its file */
    uint64_t first; /* the number in its name */
    uint64_t whole; /* bytes of whole lines so far in this file */
};
enum kw_status kw_reader_open(const struct kw_folder *folder, uint64_t seq,
                              struct kw_reader *ret_reader, struct kw_error *err);
/* Goes on at that byte of the file that is next, without reading what is before it. KW_AUDIT
 * unless it is the file of that number and a line begins there. */
enum kw_status kw_reader_skip(struct kw_reader *reader, uint64_t first, uint64_t offset,
                              struct kw_error *err);
void kw_reader_close(struct kw_reader *reader);
/* KW_LINE_TORN ends a file that is not the last one too; KW_LINE_END comes once, after the last. */
enum kw_status kw_reader_next(struct kw_reader *reader, struct kw_line *ret_line,
                              struct kw_error *err);

/* ---- keys and checkpoints in the folder: replay.c ---- */

#define KW_KEYS_MAX 64
struct kw_key_list {
    struct kw_public_key *items[KW_KEYS_MAX];
    size_t count;
};
/* key.pem and key-*.pem. */
enum kw_status kw_folder_keys(struct kw_crypto *crypto, const struct kw_folder *folder,
                              struct kw_key_list *ret_keys, struct kw_error *err);
void kw_key_list_cleanup(struct kw_key_list *keys);
/* The SHA-256 of its SubjectPublicKeyInfo, in hex. */
enum kw_status kw_key_fingerprint(struct kw_crypto *crypto, const struct kw_public_key *key,
                                  char out[KW_FINGERPRINT_SIZE], struct kw_error *err);
/* The fingerprint of key.pem, "" where there is none. */
enum kw_status kw_folder_key_fingerprint(struct kw_crypto *crypto, const struct kw_folder *folder,
                                         char out[KW_FINGERPRINT_SIZE], struct kw_error *err);
/* Makes the signer's key the folder's; the one before keeps a name of its own. */
enum kw_status kw_folder_keep_key(struct kw_crypto *crypto, const struct kw_folder *folder,
                                  const struct kw_note_signer *signer, struct kw_error *err);

/* The checkpoint of that size, whose signature is checked with `keys`; *ret_key and *ret_note may
 * be NULL. */
enum kw_status kw_folder_checkpoint(struct kw_crypto *crypto, const struct kw_folder *folder,
                                    uint64_t size, struct kw_public_key *const *keys,
                                    size_t key_count, struct kw_checkpoint *ret_checkpoint,
                                    size_t *ret_key, struct kw_buffer *ret_note,
                                    struct kw_error *err);

/* Where the trail ends, and its tree. */
struct kw_replay {
    struct kw_frontier frontier;
    uint64_t file;           /* the last file's number */
    uint64_t end;            /* bytes of whole lines in it */
    uint64_t last_file;      /* the file of the last record that was read, */
    uint64_t last_start;     /* and the byte of it where that begins */
    struct kw_buffer leaves; /* hashes of the records after the checkpoint */
};
/* Reads the records after `checkpoint` (NULL: all), from the frontier that is kept where that is
 * the checkpoint's and they go on from it, and else from the start. KW_AUDIT where they are not in
 * order or the checkpoint's tree is another one. */
enum kw_status kw_replay(struct kw_crypto *crypto, const struct kw_folder *folder,
                         const struct kw_checkpoint *checkpoint, struct kw_replay *ret_replay,
                         struct kw_error *err);
void kw_replay_cleanup(struct kw_replay *replay);
/* The frontier that is kept, so that a start need not read all that was signed: a cache, for the
 * checkpoint says whether it is right. */
struct kw_kept_frontier {
    struct kw_frontier frontier;
    uint64_t file;  /* the number of the file of its last record, */
    uint64_t start; /* and the byte of it where that begins */
};
enum kw_status kw_keep_frontier(const struct kw_folder *folder, const struct kw_kept_frontier *kept,
                                struct kw_error *err);

/* ---- the open trail: trail.c, group.c, writer.c, checkpoint.c ---- */

/* The file that records go to. */
struct kw_trail_file {
    int fd;
    uint64_t first;
    uint64_t end;      /* bytes of whole lines, all of which were read or written here */
    uint64_t torn;     /* bytes after them, of a line that was never finished */
    uint64_t reserved; /* up to where there is room on the disk, as far as is known */
};

/* Those that want to append: group.c. */
struct kw_waiter;
struct kw_queue {
    pthread_mutex_t mutex; /* guards what follows; not held while the disk is waited for */
    struct kw_waiter *first, *last;
    bool led; /* a thread appends for those that wait */
};

struct kw_trail {
    struct kw_queue queue;
    pthread_mutex_t mutex; /* guards what follows */
    struct kw_crypto *crypto;
    struct kw_digest *digest;
    char *dir;
    struct kw_folder folder;
    int lock;
    uint64_t rotate_bytes;
    struct kw_trail_file file;
    struct kw_frontier frontier; /* of all records up to file.end */
    char id[2 * KW_TRAIL_ID_SIZE + 1];
    struct kw_who who;
    struct kw_forwarder *forwarders[KW_RECEIVERS_MAX];
    size_t forwarder_count;
    unsigned forward_timeout_ms;
};

/* Takes the mutex and the lock. */
enum kw_status kw_trail_lock(struct kw_trail *trail, struct kw_error *err);
void kw_trail_unlock(struct kw_trail *trail);
/* Checks that folder and file are what they were, and reads what other processes appended. */
enum kw_status kw_trail_catch_up(struct kw_trail *trail, struct kw_error *err);
/* Replaces trail->file by the one of that number, whose first `end` bytes are known. */
enum kw_status kw_trail_use_file(struct kw_trail *trail, uint64_t first, uint64_t end,
                                 struct kw_error *err);
/* Begins a new file for the next record; the folder is on the disk when it returns. */
enum kw_status kw_trail_new_file(struct kw_trail *trail, struct kw_error *err);
/* Records of one that appends. */
struct kw_share {
    const struct kw_deed *deeds;
    size_t count;
    uint64_t first; /* the first one's number, once they were appended */
};
/* Appends all of them at once, with the lock held; at most KW_DEEDS_MAX records. *ret_untouched:
 * after a failure, nothing was given to the disk yet, so that a part of them may be tried. */
enum kw_status kw_trail_append_locked(struct kw_trail *trail, struct kw_share *shares, size_t count,
                                      bool *ret_untouched, struct kw_error *err);
/* The newest checkpoint, if there is one: its signature is checked with the keys of the folder and
 * with `more` (which may be NULL). */
enum kw_status kw_newest_checkpoint(struct kw_crypto *crypto, const struct kw_folder *folder,
                                    struct kw_public_key *more,
                                    struct kw_checkpoint *ret_checkpoint, bool *ret_found,
                                    struct kw_error *err);

#endif
