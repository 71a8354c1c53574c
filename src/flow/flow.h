/* flow: bytes on their way: source, decrypt, inflate, sink, and the workers that run it. Knows no
 * JSON and no token.
 *
 * A flow is a chain of stages, each with feed and done (stage.h, inside this floor). A kw_flow
 * keeps its buffers and cipher contexts from one file to the next; each worker has its own. */
#ifndef KW_FLOW_H
#define KW_FLOW_H

#include "base/base.h"
#include "crypto/crypto.h"

/* ---- the end of a flow: sink.c, outdir.c ---- */

struct kw_stage;

/* A folder that output is written to. Threads may share it. */
struct kw_outdir;
/* Opens `path`; makes it (0700), but not its parents, where it is missing and `create`. */
enum kw_status kw_outdir_open(const char *path, bool create, struct kw_outdir **ret_outdir,
                              struct kw_error *err);
/* Removes a folder that kw_outdir_open made and nothing was written to. */
void kw_outdir_free(struct kw_outdir *outdir);
/* Whether the folder is `dirfd`'s or lies somewhere below it. */
enum kw_status kw_outdir_is_within(const struct kw_outdir *outdir, int dirfd, bool *ret_within,
                                   struct kw_error *err);
/* Whether nothing at all is in the folder, or, where `but` is not NULL, nothing but a file of that
 * name and what a killed process left of it under temporary names. */
enum kw_status kw_outdir_is_empty(const struct kw_outdir *outdir, const char *but, bool *ret_empty,
                                  struct kw_error *err);
/* Removes the folders on the way to a file that did not come to be, those that are empty, where
 * kw_outdir_open made `outdir`. No other thread may be writing below it. */
void kw_outdir_prune(const struct kw_outdir *outdir, const char *path);
/* Whether anything is at that relative path. */
bool kw_outdir_has(const struct kw_outdir *outdir, const char *path);
/* The folder's descriptor, for kw_open_beneath; owned by `outdir`. */
int kw_outdir_dirfd(const struct kw_outdir *outdir);
/* Takes the file at `path` away; none is fine. KW_WRITE. */
enum kw_status kw_outdir_remove(const struct kw_outdir *outdir, const char *path,
                                struct kw_error *err);
/* Takes away the temporary files of kw_sink_file_new that a killed process left in `folder`, a path
 * below `outdir` or ".". No other process may be writing there. What can't be done is left. */
void kw_outdir_remove_temporaries(const struct kw_outdir *outdir, const char *folder);
/* All that was written is on the disk when this returns: one syncfs. */
enum kw_status kw_outdir_sync(const struct kw_outdir *outdir, struct kw_error *err);

/* A file below `outdir` (0600, folders on the way 0700). Its name appears when the flow is done
 * without a fault, and not before; else it leaves nothing. KW_EXISTS where there is such a name
 * and not `force`. Stages are owned by the flow they are given to. */
enum kw_status kw_sink_file_new(struct kw_outdir *outdir, const char *path, bool force,
                                struct kw_stage **ret_sink, struct kw_error *err);
/* Has `before_name` called, from any thread, once the content is whole and before the file gets its
 * name, with the number of its inode. A failure keeps the file from its name. */
void kw_sink_file_before_name(struct kw_stage *sink,
                              enum kw_status (*before_name)(void *context, uint64_t inode,
                                                            struct kw_error *err),
                              void *context);
/* A small file from memory, in the same way. */
enum kw_status kw_outdir_write(struct kw_outdir *outdir, const char *path, bool force,
                               const void *data, size_t len, struct kw_error *err);
/* An open descriptor, which stays open; `name` for messages. */
enum kw_status kw_sink_fd_new(int fd, const char *name, struct kw_stage **ret_sink,
                              struct kw_error *err);
/* The writing end of a pipe, which stays open and is made non-blocking. While it takes nothing,
 * `go_on` is asked several times a second, from any thread, whether to wait on: KW_INTERRUPTED
 * where it says no. A reader that is gone is KW_WRITE with EPIPE. */
enum kw_status kw_sink_pipe_new(int fd, const char *name, bool (*go_on)(void *context),
                                void *context, struct kw_stage **ret_sink, struct kw_error *err);
/* A growing buffer, which must outlive the flow. */
enum kw_status kw_sink_buffer_new(struct kw_buffer *buffer, struct kw_stage **ret_sink,
                                  struct kw_error *err);
/* For a sink that no flow took. NULL is fine. */
void kw_stage_free(struct kw_stage *stage);

/* ---- one file: flow.c ---- */

struct kw_flow;
/* With `threads` 2 or more, stages that can run beside each other do so; 1 keeps all of it in the
 * caller's thread. `chunk` bytes are read at a time (0: 256 KiB). Memory is bounded by a few MiB
 * whatever the files' size. */
struct kw_flow_options {
    unsigned threads;
    size_t chunk;
};
enum kw_status kw_flow_new(struct kw_crypto *crypto, const struct kw_flow_options *options,
                           struct kw_flow **ret_flow, struct kw_error *err);
void kw_flow_free(struct kw_flow *flow);

enum kw_flow_work {
    KW_FLOW_DECRYPT, /* AES-256-CBC, then inflate where `gzip` and the plaintext starts as gzip
                        (RFC 1952): every member, header, CRC-32 and length checked, no bytes after
                        the last one */
    KW_FLOW_SEAL,    /* deflate to one gzip member where `gzip`, then AES-256-CBC */
    KW_FLOW_COPY,    /* as it is */
};
/* On what decrypting gives, for drops from hostile hands; 0 is none. */
struct kw_flow_limits {
    uint64_t bytes; /* of one file */
    uint64_t ratio; /* inflated to deflated bytes, once there is more than KW_RATIO_FREE */
};
#define KW_RATIO_FREE ((uint64_t)1024 * 1024)
struct kw_flow_job {
    enum kw_flow_work work;
    int source_fd;               /* at its start; the caller closes it */
    uint64_t source_size;        /* another size, or a change while it is read, is KW_READ */
    const char *source_name;     /* for messages */
    const struct kw_secret *key; /* 32 bytes; not for KW_FLOW_COPY */
    const uint8_t *iv;           /* 16 bytes; not for KW_FLOW_COPY */
    bool gzip;
    bool digest; /* SHA-256 of what is read */
    struct kw_flow_limits limits;
    struct kw_stage *sink; /* taken over, also on failure */
    /* Called from the caller's thread with the bytes read since the last call; false stops the
     * flow with KW_INTERRUPTED. May be NULL. */
    bool (*tick)(void *context, uint64_t bytes);
    void *tick_context;
};
struct kw_flow_result {
    uint64_t bytes_in;
    uint64_t bytes_out;
    bool inflated;  /* the plaintext was gzip and was inflated */
    uint32_t crc32; /* of what went out, where it was decrypted or copied to a file */
    uint8_t sha256[KW_SHA256_SIZE]; /* where asked for */
};
/* KW_DAMAGED: the ciphertext is empty or no multiple of 16, bad padding, gzip damaged, cut short or
 * followed by bytes, over a limit. KW_READ, KW_WRITE, KW_EXISTS, KW_INTERRUPTED. */
enum kw_status kw_flow_run(struct kw_flow *flow, const struct kw_flow_job *job,
                           struct kw_flow_result *ret_result, struct kw_error *err);
/* The same in steps of one chunk, for callers that pull: start, then step until *ret_ended. After
 * a failure or an end the flow may be started again; kw_flow_free in between is fine too. */
enum kw_status kw_flow_start(struct kw_flow *flow, const struct kw_flow_job *job,
                             struct kw_error *err);
enum kw_status kw_flow_step(struct kw_flow *flow, bool *ret_ended, struct kw_error *err);
/* After the end, or while a file of its sink is about to get its name. */
void kw_flow_result(const struct kw_flow *flow, struct kw_flow_result *ret_result);

/* Whether the first `len` bytes (up to KW_LOOKS_PLAIN_BYTES, all of a shorter file) of a file of
 * `size` bytes can't sensibly be ciphertext: text in UTF-8 or UTF-16 with a byte order mark, a
 * gzip header, Parquet. Random bytes pass with a probability below 2^-27. */
#define KW_LOOKS_PLAIN_BYTES 4096
bool kw_looks_plain(const uint8_t *head, size_t len, uint64_t size);
/* The same of an open file, whose place it leaves where it is; `name` for messages. */
enum kw_status kw_file_looks_plain(int fd, uint64_t size, const char *name, bool *ret_plain,
                                   struct kw_error *err);

/* The CRC-32 of gzip (RFC 1952 section 8) of what comes after the bytes that `crc` is of, 0 at the
 * start. */
uint32_t kw_crc32(uint32_t crc, const void *data, size_t len);

/* ---- many files: pool.c ---- */

/* Runs work(context, worker, item) for each item from 0 to count - 1, in that order of taking, on
 * `workers` threads (1 stays in the caller's thread). A worker that returns false ends the taking
 * of further items. KW_NO_MEMORY or KW_FAULT where no thread could be started; the calls that were
 * begun have returned when this returns. */
enum kw_status kw_pool_run(unsigned workers, size_t count,
                           bool (*work)(void *context, unsigned worker, size_t item), void *context,
                           struct kw_error *err);

#endif
