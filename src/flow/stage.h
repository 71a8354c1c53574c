/* stage: what the files of this floor share, and no other floor sees.
 *
 * A stage is fed pieces of a stream, works on them where they lie if it can, and feeds what comes
 * of them to the next one. The calls of one stream come one after the other, from one thread at a
 * time. After a failure only free, or a start for another stream, may follow. */
#ifndef KW_FLOW_STAGE_H
#define KW_FLOW_STAGE_H

#include <pthread.h>

#include "flow/flow.h"

/* What stages read, inflate and hand over at a time, unless told otherwise. */
#define KW_PIECE ((size_t)256 * 1024)
/* Room for a file's name in a message. */
#define KW_NAME_SIZE 256

struct kw_stage_ops {
    /* `data` is the stage's to change until feed returns. */
    enum kw_status (*feed)(struct kw_stage *stage, uint8_t *data, size_t len, struct kw_error *err);
    /* No more is fed: check what can be checked now, and hand on. */
    enum kw_status (*done)(struct kw_stage *stage, struct kw_error *err);
    /* Memory of the stage's own that its feeder may fill and then feed, which saves a copy. Only
     * that piece, from its start, may be fed next. NULL where the feeder must use its own. The
     * member may be NULL. */
    uint8_t *(*reserve)(struct kw_stage *stage, size_t *ret_capacity);
    void (*free)(struct kw_stage *stage);
    /* A sink that its owner looks into between two steps. */
    bool same_thread;
};

struct kw_stage {
    const struct kw_stage_ops *ops;
    struct kw_stage *next; /* not owned */
    uint64_t fed;          /* bytes so far */
    bool summed;           /* for a sink that is a file: someone else knows their CRC-32 */
    uint32_t crc32;        /* of them, else */
};

enum kw_status kw_stage_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                             struct kw_error *err);
enum kw_status kw_stage_done(struct kw_stage *stage, struct kw_error *err);
uint8_t *kw_stage_reserve(struct kw_stage *stage, size_t *ret_capacity);
/* For a stage that is used again. */
void kw_stage_restart(struct kw_stage *stage, struct kw_stage *next);

/* ---- the stages that a flow keeps; `name` must live until done ---- */

enum kw_status kw_cipher_new(struct kw_crypto *crypto, struct kw_stage **ret_stage,
                             struct kw_error *err);
/* `total` bytes will be fed; encrypting does not need to know. */
enum kw_status kw_cipher_start(struct kw_stage *stage, enum kw_direction direction,
                               const struct kw_flow_job *job, uint64_t total, const char *name,
                               struct kw_stage *next, struct kw_error *err);

enum kw_status kw_inflate_new(struct kw_stage **ret_stage, struct kw_error *err);
/* Content that is gzip goes inflated to `next_inflated`, other content as it is to `next_plain`. */
void kw_inflate_start(struct kw_stage *stage, const struct kw_flow_limits *limits, const char *name,
                      struct kw_stage *next_inflated, struct kw_stage *next_plain);
bool kw_inflate_was_gzip(const struct kw_stage *stage);
/* Of all that it handed on, gzip or not. */
uint32_t kw_inflate_crc32(const struct kw_stage *stage);

enum kw_status kw_deflate_new(struct kw_stage **ret_stage, struct kw_error *err);
void kw_deflate_start(struct kw_stage *stage, struct kw_stage *next);

/* Hands pieces to a thread of its own, which runs `next` and what follows it. The thread starts
 * with the first piece. Failures over there come back from feed and done. */
enum kw_status kw_handoff_new(struct kw_stage **ret_stage, struct kw_error *err);
void kw_handoff_start(struct kw_stage *stage, struct kw_stage *next);
/* Ends the thread wherever it is in the stream. Nothing to do is fine. */
void kw_handoff_stop(struct kw_stage *stage);

/* ---- the beginning: source.c ---- */

struct kw_source;
enum kw_status kw_source_new(struct kw_crypto *crypto, size_t chunk, struct kw_source **ret_source,
                             struct kw_error *err);
void kw_source_free(struct kw_source *source);
/* Checks the size that the file should have against the work and the file. */
enum kw_status kw_source_start(struct kw_source *source, const struct kw_flow_job *job,
                               const char *name, struct kw_error *err);
/* Reads a chunk and feeds it; nothing where all was read. */
enum kw_status kw_source_step(struct kw_source *source, struct kw_stage *next,
                              struct kw_error *err);
bool kw_source_at_end(const struct kw_source *source);
/* At the end: whether the file is still what it was. Fills sha256 where it was asked for. */
enum kw_status kw_source_finish(struct kw_source *source, uint8_t sha256[KW_SHA256_SIZE],
                                struct kw_error *err);

/* ---- the rest ---- */

/* The CRC-32 of a piece of data and a second one, of `second_len` bytes, after it. */
uint32_t kw_crc32_join(uint32_t first, uint32_t second, uint64_t second_len);

/* KW_DAMAGED for plaintext that is over limits.bytes. */
enum kw_status kw_flow_too_large(const char *name, uint64_t limit, struct kw_error *err);

/* Whether content that is not gzip may be what a sender meant: text in UTF-8 or UTF-16, or one of
 * the formats that data sets come in. The first KW_LOOKS_PLAIN_BYTES are looked at. 16 bytes of
 * garbage at the start pass with a probability of 2^-18. */
bool kw_is_known_content(const uint8_t *head, size_t len);

/* Whether a name is one of those that kw_sink_file_new gives to temporary files. */
bool kw_is_temporary_name(const char *name);
/* Keeps to named temporary files, as on a filesystem without O_TMPFILE. */
void kw_outdir_avoid_tmpfile(struct kw_outdir *outdir);
bool kw_outdir_has_tmpfile(const struct kw_outdir *outdir);
/* Opens (O_PATH) the folder that `path`'s last component is in; makes the folders on the way. Where
 * that is `outdir` itself, *ret_fd stays as it is. */
enum kw_status kw_outdir_open_parent(const struct kw_outdir *outdir, const char *path, int *ret_fd,
                                     struct kw_error *err);

#endif
