/* What every test of this floor includes. */
#ifndef KW_SERVE_TEST_H
#define KW_SERVE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/crypto.h"

/* The status and a part of the sentence that must be in the error. */
#define assert_fails(call, wanted, part)                                                           \
    do {                                                                                           \
        memset(&err, 0, sizeof(err));                                                              \
        assert_int_equal(call, wanted);                                                            \
        assert_int_equal(err.status, wanted);                                                      \
        if (!strstr(err.message, part))                                                            \
            fail_msg("\"%s\" is not in: %s", part, err.message);                                   \
    } while (0)
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        memset(&err, 0, sizeof(err));                                                              \
        if ((call) != KW_OK)                                                                       \
            fail_msg("%s: %s", #call, err.message);                                                \
    } while (0)

/* One for the whole program. */
static inline struct kw_crypto *test_crypto(void)
{
    static struct kw_crypto *crypto;
    struct kw_error err;
    if (!crypto)
        assert_ok(kw_crypto_new(false, &crypto, &err));
    return crypto;
}

#endif
