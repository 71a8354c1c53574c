/* keyfile: what the readers of key files share. */
#ifndef KW_CRYPTO_KEYFILE_H
#define KW_CRYPTO_KEYFILE_H

#include <openssl/types.h>

#include "crypto/der.h"
#include "crypto/openssl.h"

/* A file that is being read. */
struct kw_key_reader {
    struct kw_crypto *crypto;
    const struct kw_key_file *file;
    struct kw_secret *passphrase; /* NULL until it was asked for, owned */
    struct kw_secret *pkcs8;      /* what was found, owned */
};
/* Asks, the first time. */
enum kw_status kw_key_reader_ask(struct kw_key_reader *reader, struct kw_error *err);
/* Takes a key that was found over; a second one is KW_KEY_UNUSABLE. */
enum kw_status kw_key_reader_found(struct kw_key_reader *reader, struct kw_secret *pkcs8,
                                   struct kw_error *err);
/* KW_KEY_UNUSABLE where the algorithm (of PKCS#5 or PKCS#12) has a number of more than
 * KW_KEY_ROUNDS_MAX in its parameters: that many rounds take minutes, and it is the file that asks
 * for them. */
#define KW_KEY_ROUNDS_MAX 0x7fffff
enum kw_status kw_key_reader_check_rounds(const struct kw_key_reader *reader,
                                          const X509_ALGOR *algorithm, struct kw_error *err);
enum kw_status kw_key_reader_too_many_rounds(const struct kw_key_reader *reader,
                                             struct kw_error *err);
/* After a failure of OpenSSL's that empties its queue: KW_KEY_UNUSABLE where it lacks an algorithm,
 * else KW_PIN_WRONG. */
enum kw_status kw_key_reader_not_opened(const struct kw_key_reader *reader, struct kw_error *err);

/* One key in DER: PKCS#8, encrypted or not, or PKCS#1. False where `der` begins as none of them;
 * then nothing was done. */
bool kw_key_read_der(struct kw_key_reader *reader, const uint8_t *der, size_t len,
                     enum kw_status *ret_status, struct kw_error *err);
/* What OpenSSL decrypted, as a key that was found. OpenSSL wipes it when it frees it. */
enum kw_status kw_key_read_info(struct kw_key_reader *reader, const PKCS8_PRIV_KEY_INFO *info,
                                struct kw_error *err);
/* Whether it has a "-----BEGIN " line, and all keys in it. */
bool kw_key_is_pem(const struct kw_key_file *file);
enum kw_status kw_key_read_pem(struct kw_key_reader *reader, struct kw_error *err);
/* PKCS#12; KW_KEY_UNUSABLE too where it is none. */
enum kw_status kw_key_read_pkcs12(struct kw_key_reader *reader, struct kw_error *err);

#endif
