/* keyward/keyward.h - decrypts data drops with an RSA key that stays on its PKCS#11 token.
 *
 * A keyring reaches the token, a drop is a folder of encrypted files with the metadata that says
 * how. Link with -lkeyward (pkg-config keyward). docs/example.c is a whole program.
 *
 * Every function that can fail returns a status and fills *err, which may be NULL; outputs (ret_)
 * are untouched then. A keyring may be used by several threads at once; a drop too, once it is
 * open; a kw_plain by one thread at a time. Ignore SIGPIPE in a process that uses tokens: some
 * modules talk to a daemon.
 *
 * Modules are called in threads of the library's own, which take no signals. A call that gets no
 * answer within the [token]'s timeout fails with KW_TOKEN and its thread stays in the module until
 * it has one; exit() runs what the module has registered, which may wait for that thread, so a
 * program that ends then does well to use _exit(). */
#ifndef KEYWARD_KEYWARD_H
#define KEYWARD_KEYWARD_H

#include <stddef.h>
#include <stdint.h>

#include <keyward/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, such as "0.1.0". Static memory. */
KW_API const char *kw_version(void);

/* ---- the way to the keys ---- */

struct kw_keyring;

/* Asked for a PIN that no configured source gives: writes at most `capacity` bytes, no NUL, to
 * `pin` (locked memory that the keyring wipes) and their number to *ret_len. Anything but KW_OK
 * fails the call that needed the token. */
typedef enum kw_status (*kw_ask_pin_fn)(void *context, const char *token_label, char *pin,
                                        size_t capacity, size_t *ret_len);

struct kw_keyring_options {
    const char *config_file; /* read after the usual places, or NULL */
    const char *token;       /* pkcs11: URI, https:// address of a vault, or the name of a [token];
                                NULL: as configured */
    kw_ask_pin_fn ask_pin;   /* or NULL: no one to ask */
    void *ask_pin_context;
};

/* Reads the configuration and makes the process fit for secrets (no core files). The token is
 * reached when it is first needed, not here. `options` may be NULL. Free it after everything that
 * was opened with it. Whatever uses a key of it is written to the configured audit trail before it
 * is done; where that can't be written, it is not done and its status is KW_AUDIT. */
KW_API enum kw_status kw_keyring_open(const struct kw_keyring_options *options,
                                      struct kw_keyring **ret_keyring, struct kw_error *err);
/* Waits for records that are being forwarded, as long as [audit] forward-timeout allows. */
KW_API void kw_keyring_free(struct kw_keyring *keyring);

/* ---- a drop and its files ---- */

struct kw_drop;

enum kw_file_kind {
    KW_FILE_DATA,     /* everything but the two below */
    KW_FILE_METADATA, /* below metadata/ */
    KW_FILE_MARKER    /* Spark's own: _SUCCESS, _started_*, _committed_*, .*.crc */
};
struct kw_drop_file {
    const char *path; /* relative to the drop, with "/" between folders */
    uint64_t size;    /* bytes, when the drop was opened */
    enum kw_file_kind kind;
};

/* Reads the metadata and lists the files; unwraps nothing and needs no token. Symbolic links and
 * whatever is no regular file are left out. A drop without metadata opens too: it is reported as
 * not encrypted when a file is to be decrypted. KW_DROP, KW_METADATA, KW_READ. */
KW_API enum kw_status kw_drop_open(const char *path, struct kw_drop **ret_drop,
                                   struct kw_error *err);
KW_API void kw_drop_free(struct kw_drop *drop);
/* Files are sorted by path. They live as long as the drop. */
KW_API size_t kw_drop_file_count(const struct kw_drop *drop);
KW_API const struct kw_drop_file *kw_drop_file_at(const struct kw_drop *drop, size_t index);

/* ---- one file as a stream ---- */

struct kw_plain;

/* Finds the key, unwraps the data key unless this keyring has done so before, and opens the file
 * named `path` in the drop. */
KW_API enum kw_status kw_plain_open(struct kw_keyring *keyring, struct kw_drop *drop,
                                    const char *path, struct kw_plain **ret_plain,
                                    struct kw_error *err);
/* Gives the next at most `size` bytes. *ret_len 0 is the end: only then has the whole file passed
 * its checks. Nothing in the format authenticates it: until then, and even then, a change that
 * keeps the padding and gzip's CRC-32 right goes unnoticed. */
KW_API enum kw_status kw_plain_read(struct kw_plain *plain, void *buffer, size_t size,
                                    size_t *ret_len, struct kw_error *err);
KW_API void kw_plain_free(struct kw_plain *plain);

/* ---- a whole drop into a folder ---- */

enum kw_file_status {
    KW_FILE_DECRYPTED,
    KW_FILE_COPIED,      /* as it was: not encrypted, or metadata */
    KW_FILE_UNENCRYPTED, /* looks like plaintext and was left out */
    KW_FILE_FAILED,
    KW_FILE_NOT_REACHED /* the run ended before it */
};
struct kw_file_result {
    const char *path;
    enum kw_file_status status;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t milliseconds;
    const char *sha256; /* of the bytes read, hex; NULL where it was not asked for or not reached */
    const struct kw_error *error; /* where status is KW_FILE_FAILED, else NULL */
};
struct kw_progress {
    uint64_t files_done, files_total;
    uint64_t bytes_done, bytes_total; /* of ciphertext */
};
struct kw_totals {
    uint64_t files, decrypted, copied, unencrypted, failed, not_reached;
    uint64_t bytes_in, bytes_out, milliseconds;
};

/* Zero is the default of every member. Callbacks come one at a time, from any of the workers. */
struct kw_decrypt_options {
    const char *key;        /* pkcs11: URI or name of the key instead of the metadata's version */
    const char *unwrap_alg; /* "auto", "RSA-OAEP", "RSA-OAEP-256", "RSA1_5"; NULL: as configured */
    const char *decompress; /* "auto", "none"; NULL: as configured */
    const char *digest;     /* "sha256", "none"; NULL: as configured */
    unsigned jobs;          /* 0: as configured, else one per processor */
    int force;              /* replace files that exist */
    int with_metadata;      /* copy metadata/ too */
    int copy_unencrypted;   /* copy files that look like plaintext, instead of leaving them out */
    const char *const *include; /* globs; a file is taken if it matches one, or there are none */
    size_t include_count;
    const char *const *exclude; /* globs; a file that matches one is left out */
    size_t exclude_count;
    int resume;            /* go on from the journal in `out_dir`, or begin where it is empty */
    int on_error_stop;     /* take no further file after one that failed; as max_failures 1 */
    uint64_t max_failures; /* the same after so many; 0: go on whatever fails */
    void (*on_file)(void *context, const struct kw_file_result *result);
    int (*on_progress)(void *context, const struct kw_progress *progress); /* not 0: stop */
    void *context;
};

/* Decrypts every encrypted file of the drop below `out_dir`, which is made if it is missing. A name
 * appears there only when its file is whole and has passed its checks. Files that fail do not stop
 * the others unless the options say so: the first failure's status is returned, KW_DAMAGED before
 * any other, and *ret_totals (which may be NULL) is filled whenever files were reached.
 *
 * A run that is not whole leaves its journal in `out_dir`, the hidden file .keyward-journal. With
 * `resume` the next one re-checks what is there, does what is missing, and ends as the first would
 * have; KW_DROP and KW_USAGE where the journal is of another drop or other options, KW_EXISTS where
 * there is none and the folder isn't empty. Without it, and without `force`, a folder with a
 * journal is KW_EXISTS. */
KW_API enum kw_status kw_decrypt(struct kw_keyring *keyring, struct kw_drop *drop,
                                 const char *out_dir, const struct kw_decrypt_options *options,
                                 struct kw_totals *ret_totals, struct kw_error *err);

#ifdef __cplusplus
}
#endif
#endif
