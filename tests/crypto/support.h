/* What the tests of this folder share. */
#ifndef KW_TEST_CRYPTO_SUPPORT_H
#define KW_TEST_CRYPTO_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/err.h>

#include "crypto/crypto.h"

/* One for all tests of a program. */
static struct kw_crypto *crypto;

static inline int start_crypto(void **state)
{
    (void)state;
    return kw_secret_start(NULL) == KW_OK && kw_crypto_new(false, &crypto, NULL) == KW_OK ? 0 : -1;
}

static inline int stop_crypto(void **state)
{
    (void)state;
    kw_crypto_free(crypto);
    return 0;
}

static inline size_t from_hex(const char *text, uint8_t *out, size_t capacity)
{
    size_t len = 0;
    assert_true(kw_hex_decode(text, strlen(text), out, capacity, &len));
    return len;
}

static inline struct kw_secret *secret_from(const void *data, size_t len)
{
    struct kw_secret *secret = NULL;
    assert_int_equal(kw_secret_from(data, len, &secret, NULL), KW_OK);
    return secret;
}

static inline void assert_queue_empty(void)
{
    assert_int_equal(ERR_peek_error(), 0);
}

#endif
