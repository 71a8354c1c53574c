/* Metadata texts for tests, written short. */
#ifndef METADATA_TEXT_H
#define METADATA_TEXT_H

#include <stddef.h>
#include <stdint.h>

#define TEST_VERSION       "0123456789abcdef0123456789abcdef"
#define TEST_OTHER_VERSION "fedcba9876543210fedcba9876543210"

/* `len` bytes that `seed` tells apart. */
void test_bytes(uint8_t seed, uint8_t *out, size_t len);

/* `pattern` with ' as a double quote and these words replaced:
 *   $K $L  two key versions
 *   $V $W  two wrapped keys of 256 bytes in base64; $U is $V in base64url without padding
 *   $I $J  two IVs in base64; $T is $I in base64url without padding
 *   $B     a UTF-8 byte order mark
 * The caller frees it. */
char *test_expand(const char *pattern);

#endif
