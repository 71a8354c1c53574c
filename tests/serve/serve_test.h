/* What every test of this floor includes. */
#ifndef KW_SERVE_TEST_H
#define KW_SERVE_TEST_H

#include "../base/base_test.h"
#include "crypto/crypto.h"

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
