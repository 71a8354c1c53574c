/* What the readers and the writer of metadata share; for this floor only. */
#ifndef KW_DROP_METADATA_H
#define KW_DROP_METADATA_H

#include <cjson/cJSON.h>

#include "drop/drop.h"

/* What every sentence on faulty metadata ends with. */
#define KW_METADATA_HINT "; get the metadata again from whoever published the drop"

/* ---- what a field may hold: metadata_field.c ---- */

/* One data key as a metadata file gives it. */
struct kw_key_entry {
    char version[KW_VERSION_MAX + 1];
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t wrapped_len;
    uint8_t iv[KW_AES_BLOCK];
};

/* The version itself, or that of a key URL of Key Vault or Managed HSM. `name` is the field's and
 * `file` the metadata's, for messages. KW_METADATA. */
enum kw_status kw_metadata_version(const char *text, const char *name, const char *file,
                                   char ret_version[KW_VERSION_MAX + 1], struct kw_error *err);
/* Base64 or base64url of a wrapped key's 256 to 512 bytes, and of an IV's 16. KW_METADATA. */
enum kw_status kw_metadata_wrapped(const char *text, const char *name, const char *file,
                                   struct kw_key_entry *entry, struct kw_error *err);
enum kw_status kw_metadata_iv(const char *text, const char *name, const char *file,
                              struct kw_key_entry *entry, struct kw_error *err);
/* Whether some RSA modulus of 2048 to 4096 bits gives `len` bytes. */
bool kw_wrapped_len_fits(size_t len);

/* ---- where the fields are: metadata_entry.c ---- */

/* The data keys of one metadata file. */
struct kw_key_list {
    bool has_entry; /* a File key; several have to be the same */
    struct kw_key_entry entry;
    size_t column_keys;
};

/* Reads `json` in whatever arrangement it is. In a job's metadata (`is_job`) there are fields on
 * other matters, and none on keys is fine. KW_METADATA. */
enum kw_status kw_metadata_keys(const cJSON *json, bool is_job, const char *file,
                                struct kw_key_list *ret_list, struct kw_error *err);
/* The name of the first field that differs, or NULL. */
const char *kw_key_entry_difference(const struct kw_key_entry *a, const struct kw_key_entry *b);
/* null, "", blanks, [] or {}. */
bool kw_metadata_blank(const cJSON *item);

#endif
