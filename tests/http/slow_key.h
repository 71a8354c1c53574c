/* A private key that takes its time, as one on a token does. */
#ifndef KW_TEST_SLOW_KEY_H
#define KW_TEST_SLOW_KEY_H

#include <openssl/types.h>

/* The RSA key in the PEM file `path`, whose every use takes `ms` more; NULL where it can't be had.
 */
EVP_PKEY *slow_key_new(const char *path, long ms);

#endif
