/* Encoded messages for an RSA-2048 key whose padding is wrong in one way, for tests of how failures
 * differ. Ends the process where memory or randomness fails. */
#ifndef KW_TEST_PADDING_H
#define KW_TEST_PADDING_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/crypto.h"

#define PADDING_MODULUS 256

/* In what the padding differs from a right one. */
enum padding_class {
    PADDING_FIRST_BYTE,     /* OAEP: not 0. RSA1_5: bytes 0 and 1 are not 0 and 2 */
    PADDING_LABEL_HASH,     /* its first byte. RSA1_5: no zero byte after the padding */
    PADDING_LABEL_HASH_END, /* its last byte. RSA1_5: a zero byte within the first 8 */
    PADDING_NO_SEPARATOR,   /* OAEP: zeros to the end. RSA1_5: good, but it holds 31 bytes */
    PADDING_RANDOM,         /* no padding at all */
    PADDING_CLASSES
};
/* What is wrong with each class, in words. Static memory. */
const char *const *padding_names(enum kw_wrap_alg alg);
/* RFC 8017 sections 7.1.1 and 7.2.1, with that one thing wrong. */
void padding_encode(enum kw_wrap_alg alg, enum padding_class class, uint8_t em[PADDING_MODULUS]);
/* RSA without padding. */
void padding_encrypt(const struct kw_rsa_public *key, uint8_t number[PADDING_MODULUS]);

#endif
