#define OPENSSL_SUPPRESS_DEPRECATED

#include "padding.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

static const char *const oaep_names[PADDING_CLASSES] = {
    "the first byte is not 0", "the label's hash differs at once", "the label's hash differs late",
    "no byte 1 after the zeros", "random bytes"};
static const char *const pkcs1_names[PADDING_CLASSES] = {"it does not begin with 0 and 2",
                                                         "no zero byte", "a zero byte too early",
                                                         "right, but no data key", "random bytes"};

const char *const *padding_names(enum kw_wrap_alg alg)
{
    return alg == KW_RSA1_5 ? pkcs1_names : oaep_names;
}

static void need(bool worked)
{
    if (!worked)
        abort();
}

static void fill_nonzero(uint8_t *out, size_t len)
{
    need(RAND_bytes(out, (int)len) == 1);
    for (size_t i = 0; i < len; i++)
        if (out[i] == 0)
            out[i] = 1;
}

/* RFC 8017 section 7.1.1, with one thing wrong. */
static void encode_oaep(enum kw_wrap_alg alg, enum padding_class class, uint8_t em[PADDING_MODULUS])
{
    const EVP_MD *hash = alg == KW_RSA_OAEP ? EVP_sha1() : EVP_sha256();
    size_t len = (size_t)EVP_MD_get_size(hash), db_len = PADDING_MODULUS - len - 1;
    uint8_t mask[PADDING_MODULUS], *seed = em + 1, *db = em + 1 + len;
    memset(em, 0, PADDING_MODULUS);
    need(RAND_bytes(seed, (int)len) == 1);
    need(EVP_Digest("", 0, db, NULL, hash, NULL) == 1);
    if (class != PADDING_NO_SEPARATOR) {
        db[db_len - 33] = 1;
        need(RAND_bytes(db + db_len - 32, 32) == 1);
    }
    db[0] ^= class == PADDING_LABEL_HASH;
    db[len - 1] ^= class == PADDING_LABEL_HASH_END;
    if (class == PADDING_RANDOM)
        need(RAND_bytes(db, (int)db_len) == 1);
    need(PKCS1_MGF1(mask, (long)db_len, seed, (long)len, hash) == 0);
    for (size_t i = 0; i < db_len; i++)
        db[i] ^= mask[i];
    need(PKCS1_MGF1(mask, (long)len, db, (long)db_len, hash) == 0);
    for (size_t i = 0; i < len; i++)
        seed[i] ^= mask[i];
    em[0] = class == PADDING_FIRST_BYTE;
}

/* RFC 8017 section 7.2.1. */
static void encode_pkcs1(enum padding_class class, uint8_t em[PADDING_MODULUS])
{
    fill_nonzero(em, PADDING_MODULUS);
    em[0] = 0;
    em[1] = class == PADDING_FIRST_BYTE ? 1 : 2;
    em[PADDING_MODULUS - 32] = class == PADDING_LABEL_HASH ? 1 : 0;
    if (class == PADDING_LABEL_HASH_END)
        em[5] = 0;
    if (class == PADDING_RANDOM) {
        need(RAND_bytes(em, PADDING_MODULUS) == 1);
        em[0] = 0;
        if (em[1] == 2) /* it may be right by chance: one in some hundred */
            em[1] = 3;
    }
}

void padding_encode(enum kw_wrap_alg alg, enum padding_class class, uint8_t em[PADDING_MODULUS])
{
    if (alg == KW_RSA1_5)
        encode_pkcs1(class, em);
    else
        encode_oaep(alg, class, em);
}

void padding_encrypt(const struct kw_rsa_public *key, uint8_t number[PADDING_MODULUS])
{
    BN_CTX *context = BN_CTX_new();
    BIGNUM *n = BN_bin2bn(key->modulus, (int)key->modulus_len, NULL);
    BIGNUM *e = BN_bin2bn(key->exponent, (int)key->exponent_len, NULL);
    BIGNUM *x = BN_bin2bn(number, PADDING_MODULUS, NULL);
    need(BN_mod_exp(x, x, e, n, context) == 1);
    need(BN_bn2binpad(x, number, PADDING_MODULUS) == PADDING_MODULUS);
    BN_free(n);
    BN_free(e);
    BN_free(x);
    BN_CTX_free(context);
}
