/* byok: key transfer files in and out: Azure Key Vault's and Managed HSM's .byok format. Uses keys/
 * and below; an object is used by one thread at a time. */
#ifndef KW_BYOK_H
#define KW_BYOK_H

#include "base/base.h"
#include "keys/keys.h"

/* ---- the file: file.c ---- */

#define KW_BYOK_MAX_BYTES (64 * 1024)
#define KW_BYOK_TEXT_MAX  1024

/* What a transfer file says. */
struct kw_byok {
    char kid[KW_BYOK_TEXT_MAX];       /* header.kid: the key exchange key's Key Vault URL */
    char generator[KW_BYOK_TEXT_MAX]; /* or "" */
    struct kw_buffer ciphertext;      /* RSA-OAEP part, then RFC 5649 part; owned */
};
void kw_byok_cleanup(struct kw_byok *byok);
/* Reads the JSON text. schema_version 1.0.0, alg "dir", enc "CKM_RSA_AES_KEY_WRAP" and a ciphertext
 * in base64url, with or without padding, that is long enough for its parts; else KW_METADATA with
 * the field and `what` named. Names that are not known are passed over, twice the same is not. */
enum kw_status kw_byok_parse(const char *text, size_t len, const char *what,
                             struct kw_byok *ret_byok, struct kw_error *err);
/* The text, base64url without padding; appended to *ret_text. KW_USAGE where kw_byok_is_kid does
 * not hold. */
enum kw_status kw_byok_write(const struct kw_byok *byok, struct kw_buffer *ret_text,
                             struct kw_error *err);
/* Whether `kid` is https://HOST/keys/NAME/VERSION. */
bool kw_byok_is_kid(const char *kid);

/* The sizes of KEK (2048, 3072 and 4096 bits) for which the ciphertext may be, listed in ret_bits:
 * those that leave a length for the rest which is the RFC 5649 part of an RSA key of 2048 to 4096
 * bits. Often more than one fits; returns how many do. */
#define KW_BYOK_KEK_SIZES 3
size_t kw_byok_kek_sizes(const struct kw_byok *byok, unsigned ret_bits[KW_BYOK_KEK_SIZES]);

/* ---- the key exchange key: kek.c ---- */

/* Reads its public half from PEM, or from a JSON Web Key as it is or as the "key" of Key Vault's
 * answer; `ret_kid` gets that one's kid, or "". KW_CONFIG with `what` named. */
enum kw_status kw_byok_read_kek(struct kw_crypto *crypto, const char *text, size_t len,
                                const char *what, struct kw_rsa_public *ret_kek,
                                char ret_kid[KW_BYOK_TEXT_MAX], struct kw_error *err);

/* ---- backups of keys: backup.c ---- */

#define KW_BACKUP_SCHEMA    "keyward-backup-1"
#define KW_BACKUP_MAX_BYTES (64 * 1024)

/* What a backup says. Texts are "" where it says nothing. */
struct kw_backup {
    char created[KW_TIMESTAMP_SIZE]; /* the backup, "2026-10-05T06:00:00Z" */
    struct {
        char name[KW_KEY_LABEL_MAX + 1];
        uint8_t id[KW_KEY_ID_MAX];
        size_t id_len;
        unsigned bits;
        uint8_t fingerprint[KW_SHA256_SIZE]; /* kw_rsa_fingerprint */
        char not_before[11];                 /* "2026-10-05" or "" */
        char expires[11];
        bool extractable;
    } key;
    struct kw_token_info token; /* where it was: label, serial, manufacturer and model */
    struct {
        bool aes;
        char label[KW_KEY_LABEL_MAX + 1];
        uint8_t id[KW_KEY_ID_MAX];
        size_t id_len;
        uint8_t fingerprint[KW_SHA256_SIZE]; /* of an RSA key */
    } kek;
    struct kw_buffer
        ciphertext; /* for RSA: OAEP part, then RFC 5649 part; for AES: RFC 5649; owned */
};
void kw_backup_cleanup(struct kw_backup *backup);
/* Reads the JSON text. Every field has to be there, null where it is not known and need not be, and
 * of its form and length; else KW_METADATA with the field and `what` named. Names that are not
 * known are passed over, twice the same is not. */
enum kw_status kw_backup_parse(const char *text, size_t len, const char *what,
                               struct kw_backup *ret_backup, struct kw_error *err);
/* Fills in all but the ciphertext, for a key and the KEK that it is wrapped under: describe.c. */
enum kw_status kw_backup_describe(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const struct kw_kek *kek, struct kw_backup *backup,
                                  struct kw_error *err);
/* The text, appended to *ret_text. KW_KEY_UNUSABLE where the key has no name in UTF-8, or no id: it
 * could not be restored as what it was. */
enum kw_status kw_backup_write(const struct kw_backup *backup, struct kw_buffer *ret_text,
                               struct kw_error *err);

#endif
