/* drop: a folder of encrypted files and the metadata that says how. Metadata in, envelope out;
 * knows no token. struct kw_drop and the functions on it that programs may call are declared in
 * <keyward/keyward.h>. An open drop is only read, so threads may share it. */
#ifndef KW_DROP_H
#define KW_DROP_H

#include <keyward/keyward.h>

#include <sys/stat.h>

#include "base/base.h"
#include "crypto/crypto.h"

/* Limits on what a drop may hold; over them is KW_DROP or KW_METADATA. */
#define KW_DROP_MAX_FILES     2000000
#define KW_DROP_MAX_DEPTH     32
#define KW_METADATA_MAX_BYTES (1024 * 1024)
#define KW_METADATA_MAX_DEPTH 16
#define KW_METADATA_MAX_ITEMS 10000
#define KW_VERSION_MAX        127

enum kw_drop_format {
    KW_DROP_DATA_CONNECT,  /* metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json */
    KW_DROP_VIVA_INSIGHTS, /* metadata/JobMetadata/Metadata.json */
};
const char *kw_drop_format_name(enum kw_drop_format format);

/* What the metadata says. Strings are owned by the drop. */
struct kw_envelope {
    enum kw_drop_format format;
    const char *metadata_path;        /* relative to the drop */
    char version[KW_VERSION_MAX + 1]; /* PublicKeyVersion; of a Key Vault URL, the version in it */
    const uint8_t *wrapped; /* the data key, encrypted to the RSA key; 256 to 512 bytes, as
                               long as some modulus of 2048 to 4096 bits */
    size_t wrapped_len;
    uint8_t iv[KW_AES_BLOCK];
    size_t column_keys; /* keys for values inside rows, which a run has no use for */
};

/* As kw_drop_open, of the folder that is open as `dirfd`, which stays the caller's; -1 opens
 * `path`, which is only its name otherwise. */
enum kw_status kw_drop_open_folder(int dirfd, const char *path, struct kw_drop **ret_drop,
                                   struct kw_error *err);
const char *kw_drop_path(const struct kw_drop *drop);
/* NULL where no metadata says that the drop is encrypted. */
const struct kw_envelope *kw_drop_envelope(const struct kw_drop *drop);
/* KW_NOT_ENCRYPTED with the sentence for it. */
enum kw_status kw_drop_not_encrypted(const struct kw_drop *drop, struct kw_error *err);
/* What was left out, and why. */
const struct kw_strings *kw_drop_warnings(const struct kw_drop *drop);
/* The drop's folder; owned by the drop. */
int kw_drop_dirfd(const struct kw_drop *drop);
/* NULL where the drop has no data file of that path. A leading "./" is taken off. */
const struct kw_drop_file *kw_drop_find(const struct kw_drop *drop, const char *path);
/* Opens a listed file for reading, beneath the drop, no links followed; the caller closes
 * *ret_fd. KW_READ where it is gone, or is no longer a regular file of the listed size.
 * `ret_info`, what fstat said then, may be NULL. */
enum kw_status kw_drop_open_file(const struct kw_drop *drop, const struct kw_drop_file *file,
                                 int *ret_fd, struct stat *ret_info, struct kw_error *err);

/* The layouts by name, for the sender: writes the metadata text of `format` that kw_drop_open
 * reads. The path it belongs at is kw_drop_metadata_path(). */
const char *kw_drop_metadata_path(enum kw_drop_format format);
enum kw_status kw_drop_write_metadata(const struct kw_envelope *envelope,
                                      struct kw_buffer *ret_text, struct kw_error *err);

/* Parses the metadata files' text (either may be NULL) to an envelope; what kw_drop_open does,
 * without a folder, for tests and fuzzing. *ret_found is false where neither says anything of
 * encryption. `wrapped` is owned by *ret_wrapped. */
struct kw_metadata_text {
    const char *details; /* encryptionKeyDetails.json */
    size_t details_len;
    const char *job; /* JobMetadata/Metadata.json */
    size_t job_len;
};
enum kw_status kw_metadata_parse(const struct kw_metadata_text *text, bool *ret_found,
                                 struct kw_envelope *ret_envelope, struct kw_buffer *ret_wrapped,
                                 struct kw_error *err);

#endif
