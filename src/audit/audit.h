/* audit: the trail of what was done with keys: records that are only ever appended, an RFC 6962
 * Merkle tree over them, and signed checkpoints of that tree.
 *
 * A folder holds it:
 *   trail-NNNNNNNNNNNN.jsonl   records, one JSON object a line; the number is the first one's
 *   checkpoints/NNNNNNNNNNNN   a signed tree of that many records, in the C2SP tlog-checkpoint form
 *   checkpoints/NNNNNNNNNNNN.leaves   the hashes of the records since the checkpoint before
 *   frontier                   the last checkpoint's complete subtrees, to hash none anew
 *   key.pem, key-ID.pem        the public keys that signed, now and before
 *   lock                       serialises writers
 *
 * `frontier` and `*.leaves` are trusted only where a signed checkpoint says the same;
 * without them more has to be read, and an edit is bounded by two checkpoints instead of named.
 *
 * Every failure to read or write the trail is KW_AUDIT. */
#ifndef KW_AUDIT_H
#define KW_AUDIT_H

#include "crypto/crypto.h"

/* ---- Merkle trees, RFC 6962 section 2.1: tree.c ---- */

struct kw_hash {
    uint8_t bytes[KW_SHA256_SIZE];
};
bool kw_hash_equal(const struct kw_hash *a, const struct kw_hash *b);
enum kw_status kw_leaf_hash(struct kw_digest *digest, const void *data, size_t len,
                            struct kw_hash *ret_hash, struct kw_error *err);

/* What 12 digits can number. */
#define KW_TRAIL_MAX  999999999999
#define KW_TREE_DEPTH 40 /* of a tree of that many leaves */

/* The complete subtrees of a tree, the largest first: all that is needed to let it grow. Zeroed, it
 * is the empty tree. */
struct kw_frontier {
    uint64_t size;
    size_t count;
    struct kw_hash hashes[KW_TREE_DEPTH + 1];
};
/* KW_AUDIT over KW_TRAIL_MAX leaves. */
enum kw_status kw_frontier_add(struct kw_digest *digest, struct kw_frontier *frontier,
                               const struct kw_hash *leaf, struct kw_error *err);
enum kw_status kw_frontier_root(struct kw_digest *digest, const struct kw_frontier *frontier,
                                struct kw_hash *ret_root, struct kw_error *err);

struct kw_proof {
    size_t count;
    struct kw_hash hashes[KW_TREE_DEPTH + 1]; /* from the leaves to the root */
};
struct kw_range {
    uint64_t first, end;
};
/* Makes a proof while the leaves go by, whatever their number. */
struct kw_prover {
    struct kw_proof proof; /* its hashes that are done */
    struct kw_range ranges[KW_TREE_DEPTH + 1];
    size_t done, current;
    struct kw_frontier frontier;
};
/* Section 2.1.1: leaf `index` is in the tree of `size` leaves. KW_AUDIT where it can't be. */
enum kw_status kw_prove_inclusion(struct kw_prover *prover, uint64_t index, uint64_t size,
                                  struct kw_error *err);
/* Section 2.1.2: the tree of `second` leaves grew from the one of `first`, which is not empty. */
enum kw_status kw_prove_consistency(struct kw_prover *prover, uint64_t first, uint64_t second,
                                    struct kw_error *err);
/* In order, from leaf 0; those that the proof does not need may be left out. */
enum kw_status kw_prover_add(struct kw_digest *digest, struct kw_prover *prover, uint64_t index,
                             const struct kw_hash *leaf, struct kw_error *err);
/* KW_AUDIT where leaves are missing. */
enum kw_status kw_prover_finish(const struct kw_prover *prover, struct kw_proof *ret_proof,
                                struct kw_error *err);
/* RFC 9162 sections 2.1.3.2 and 2.1.4.2. KW_AUDIT where they prove nothing. */
enum kw_status kw_check_inclusion(struct kw_digest *digest, const struct kw_hash *leaf,
                                  uint64_t index, uint64_t size, const struct kw_proof *proof,
                                  const struct kw_hash *root, struct kw_error *err);
enum kw_status kw_check_consistency(struct kw_digest *digest, uint64_t first,
                                    const struct kw_hash *first_root, uint64_t second,
                                    const struct kw_hash *second_root, const struct kw_proof *proof,
                                    struct kw_error *err);

/* ---- checkpoints, c2sp.org/tlog-checkpoint in c2sp.org/signed-note: note.c ---- */

#define KW_NOTE_MAX   ((size_t)16 * 1024)
#define KW_ORIGIN_MAX 255
/* The longest signature: RSA of 4096 bits. */
#define KW_SIGNATURE_MAX KW_RSA_MAX_BYTES

struct kw_checkpoint {
    char origin[KW_ORIGIN_MAX + 1]; /* "keyward/SERIAL/TRAIL" */
    uint64_t size;
    struct kw_hash root;
};

/* What signs. A key on P-256 makes ECDSA signatures with SHA-256, in DER (RFC 3279 section 2.2.3);
 * an RSA key PS256. */
struct kw_note_signer {
    const char *pem; /* the public key */
    size_t pem_len;
    const char *serial; /* of the token that has the key */
    enum kw_status (*sign)(void *context, const void *data, size_t len,
                           uint8_t signature[KW_SIGNATURE_MAX], size_t *ret_len,
                           struct kw_error *err);
    void *context;
};

/* Appends the signed note to *ret_note, after checking its signature. */
enum kw_status kw_checkpoint_sign(struct kw_crypto *crypto, const struct kw_checkpoint *checkpoint,
                                  const struct kw_note_signer *signer, struct kw_buffer *ret_note,
                                  struct kw_error *err);
/* What a note says, whoever signed it. *ret_text_len is how much of it is signed. `what` names it
 * in errors. */
enum kw_status kw_checkpoint_parse(const char *note, size_t len, const char *what,
                                   struct kw_checkpoint *ret_checkpoint, size_t *ret_text_len,
                                   struct kw_error *err);
/* The same, and KW_AUDIT unless one of the keys signed it and no signature that claims to be of one
 * of them is wrong. *ret_key (which may be NULL) is the index of that key. */
enum kw_status kw_checkpoint_verify(struct kw_crypto *crypto, const char *note, size_t len,
                                    struct kw_public_key *const *keys, size_t key_count,
                                    const char *what, struct kw_checkpoint *ret_checkpoint,
                                    size_t *ret_key, struct kw_error *err);

/* ---- records: record.c, who.c ---- */

/* The longest line, without its newline. */
#define KW_RECORD_MAX ((size_t)16 * 1024)

struct kw_who {
    unsigned long uid;
    char login[64];
    char host[65];
    long pid;
    char process[64];
    char parent[64]; /* the parent process's name */
};
/* What can't be found out is left empty. */
void kw_who_am_i(struct kw_who *ret_who);

enum kw_phase { KW_NO_PHASE, KW_INTENT, KW_OUTCOME };

/* What is done, or was. Texts are NULL where they don't apply, may hold anything, and are made
 * printable and cut to what fits. Secrets have no place in it. */
struct kw_deed {
    enum kw_phase phase;
    bool unannounced; /* an outcome without an intent: no room was kept for it on the disk */
    const char *op;   /* "unwrap", "file", "run", "key.create" and so on */
    const char *run;  /* 32 hex digits */
    struct {
        const char *client;      /* who asked the service for it */
        const char *request;     /* its number of the request, a UUID */
        const char *correlation; /* the client's own, or the proxy's request context */
        const char *outer;       /* the proxy's request_id */
        const char *pool;        /* the Managed HSM pool that asks the proxy */
    } request;
    struct {
        const char *token, *serial; /* the token's label and serial number */
        const char *label, *id;     /* id in hex */
        const char *modulus_sha256; /* hex */
        const char *alg;
    } key;
    const char *drop;
    const char *file;
    const char *sha256; /* of the ciphertext, in hex */
    bool has_bytes;
    uint64_t bytes;
    enum kw_status status; /* of an outcome */
    unsigned long ck_rv;   /* 0: none */
    const char *detail;    /* one sentence */
};

/* The sequence number that a record's line begins with; false if it does not begin so. */
bool kw_record_seq(const char *line, size_t len, uint64_t *ret_seq);
/* Parses a line that is at most KW_RECORD_MAX bytes. KW_AUDIT; the caller frees. */
enum kw_status kw_record_parse(const char *line, size_t len, struct cJSON **ret_record,
                               struct kw_error *err);

/* ---- the trail: trail.c, checkpoint.c ---- */

/* One trail, open for appending. May be shared by threads, and several processes may have the same
 * one open. Not to be used in a child after fork: it would share the lock. */
struct kw_trail;
/* Where records go to besides, once they are on the disk; NULL: not there. */
struct kw_forward_options {
    const char *journald; /* the path of journald's socket */
    const char *syslog;  /* HOST:PORT, an IPv6 address in brackets: RFC 5424 in RFC 6587 over TCP */
    unsigned timeout_ms; /* how long kw_trail_end_forwarding may wait */
};
struct kw_trail_options {
    const char *dir;
    uint64_t rotate_bytes;    /* when a file is full; 0: 64 MiB */
    const struct kw_who *who; /* NULL: whoever runs this process */
    struct kw_forward_options forward;
};
/* Makes the folder and those above it where they are missing. KW_AUDIT. */
enum kw_status kw_trail_make_dir(const char *dir, struct kw_error *err);
/* Makes the folder (and those above it) and the first record where they are missing. KW_AUDIT for a
 * folder or files that others may write, and for a trail that contradicts its checkpoint. `crypto`
 * must outlive the trail. */
enum kw_status kw_trail_open(struct kw_crypto *crypto, const struct kw_trail_options *options,
                             struct kw_trail **ret_trail, struct kw_error *err);
void kw_trail_free(struct kw_trail *trail);
/* Appends records, all at once. When it returns KW_OK, they are on the disk; *ret_seq (which may be
 * NULL) is the first one's number. Otherwise whether they are there is not known, and what they
 * announce must not be done. At most KW_DEEDS_MAX. */
#define KW_DEEDS_MAX 256
enum kw_status kw_trail_append(struct kw_trail *trail, const struct kw_deed *deeds, size_t count,
                               uint64_t *ret_seq, struct kw_error *err);
/* The same for whoever loses nothing by it: waits a millisecond for other threads' records first,
 * as many records to a wait for the disk are less work than one. */
enum kw_status kw_trail_append_unhurried(struct kw_trail *trail, const struct kw_deed *deeds,
                                         size_t count, struct kw_error *err);
/* Forwarding is done by threads of its own and never keeps an append waiting: what they can't keep
 * up with is dropped. Says what was since this was last asked; the texts live as long as the trail.
 * Returns how many receivers missed something. */
#define KW_RECEIVERS_MAX 2
#define KW_LOSS_WHY      256
struct kw_loss {
    const char *receiver, *address;
    uint64_t count, first, last; /* records, and the numbers of the first and the last of them */
    char why[KW_LOSS_WHY];       /* what stood in the way when the last one was dropped */
};
size_t kw_trail_losses(struct kw_trail *trail, struct kw_loss losses[KW_RECEIVERS_MAX]);
/* One sentence: which records were not sent where, and why. */
void kw_loss_sentence(const struct kw_loss *loss, char out[KW_MESSAGE_SIZE]);
/* Waits, as long as the options say, until what was appended has arrived; what has not is dropped,
 * and no later record is forwarded. */
void kw_trail_end_forwarding(struct kw_trail *trail);
/* Signs the tree of all records, unless that was done already; the newest checkpoint is checked
 * first, and that the records after it are those that were written. Where another key signed
 * before, a record that says so is appended first. */
enum kw_status kw_trail_checkpoint(struct kw_trail *trail, const struct kw_note_signer *signer,
                                   struct kw_error *err);
/* [audit] dir, or keyward/audit in the folder of the user's, or the system's, state. The caller
 * frees. */
enum kw_status kw_trail_dir(const struct kw_config *config, char **ret_dir, struct kw_error *err);

/* ---- reading a trail, which needs no token and changes nothing: verify.c, proof.c, read.c ---- */

enum kw_tamper {
    KW_GOOD,
    KW_EDITED,      /* records first to last: one of them is not what was signed */
    KW_REMOVED,     /* records first to last are missing, and there are later ones */
    KW_REORDERED,   /* record first is not where it was */
    KW_TRUNCATED,   /* records first to last were signed and are not there */
    KW_ROLLED_BACK, /* first is the number of records that were known before */
    KW_FORGED,      /* the checkpoint of `first` records is not signed by the key */
};
const char *kw_tamper_name(enum kw_tamper tamper);

#define KW_FINGERPRINT_SIZE (2 * KW_SHA256_SIZE + 1)
struct kw_verdict {
    enum kw_tamper tamper;
    uint64_t first, last;
    char message[KW_MESSAGE_SIZE]; /* one sentence on what is wrong */
    uint64_t records;              /* how many were read */
    uint64_t signed_records;       /* how many of them a checkpoint covers */
    uint64_t checkpoints;          /* how many were checked */
    uint64_t torn_bytes;           /* of a last line that was never finished */
    bool own_key;                  /* the keys were the folder's own, which proves little */
    /* Of the key that signed the last good checkpoint, the SHA-256 of its SubjectPublicKeyInfo in
     * hex, or "". */
    char key[KW_FINGERPRINT_SIZE];
    uint64_t key_changes;   /* how often that was another one than before */
    uint64_t untold;        /* how many of these no record tells of */
    struct kw_range change; /* between checkpoints of so many records: the first of those */
};
struct kw_verify_options {
    struct kw_public_key *const *keys; /* none: those in the folder */
    size_t key_count;
    const char *since; /* a checkpoint that was remembered, or NULL */
    size_t since_len;
};
/* KW_OK once the trail was read, whatever the verdict is; KW_AUDIT where it can't be. */
enum kw_status kw_trail_verify(struct kw_crypto *crypto, const char *dir,
                               const struct kw_verify_options *options,
                               struct kw_verdict *ret_verdict, struct kw_error *err);

/* An inclusion proof of record `seq` in the form of c2sp.org/tlog-proof, against the newest
 * checkpoint; the record's line is its extra data. Checked before it is appended to *ret_text. */
enum kw_status kw_trail_prove(struct kw_crypto *crypto, const char *dir, uint64_t seq,
                              const struct kw_verify_options *options, struct kw_buffer *ret_text,
                              struct kw_error *err);
struct kw_consistency {
    uint64_t first, second; /* sizes of trees */
    struct kw_hash first_root, second_root;
    struct kw_proof proof;
};
/* Checked before it is returned. */
enum kw_status kw_trail_consistency(struct kw_crypto *crypto, const char *dir, uint64_t first,
                                    uint64_t second, struct kw_consistency *ret_consistency,
                                    struct kw_error *err);

/* Calls `visit` with each record's line, in order; a failure of it ends the reading and is passed
 * on. A last line that was never finished is left out. */
typedef enum kw_status (*kw_record_fn)(void *context, const char *line, size_t len,
                                       struct kw_error *err);
enum kw_status kw_trail_read(const char *dir, kw_record_fn visit, void *context,
                             struct kw_error *err);

/* ---- records for other programs: format.c ---- */

/* Appends one line without a newline, of at most KW_FORMAT_MAX bytes: ArcSight's Common Event
 * Format, version 0; or RFC 5424's syslog message with the record as it is. */
#define KW_FORMAT_MAX (4 * KW_RECORD_MAX)
enum kw_status kw_record_cef(const char *line, size_t len, struct kw_buffer *ret_text,
                             struct kw_error *err);
enum kw_status kw_record_syslog(const char *line, size_t len, struct kw_buffer *ret_text,
                                struct kw_error *err);

#endif
