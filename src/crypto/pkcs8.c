/* pkcs8: RSA private keys that come from outside, taken apart into their numbers.
 *
 * OpenSSL's own decoders and its check of a key leave parts of it on the heap, in buffers and
 * numbers that they free without wiping. So the DER is read in place here, and the arithmetic is
 * done on the secure heap. */
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "crypto/der.h"
#include "crypto/openssl.h"

/* RFC 5649 pads to 8 bytes, and some tokens give the padding out with the key. */
#define ZEROS_MAX 7

/* ---- reading ---- */

static bool only_zeros(const struct kw_der *rest)
{
    uint8_t all = 0;
    for (size_t i = 0; i < rest->left; i++)
        all |= rest->at[i];
    return rest->left <= ZEROS_MAX && all == 0;
}

/* RFC 8017 appendix A.1: rsaEncryption, whose parameters are NULL. */
static bool is_rsa(const struct kw_der *algorithm)
{
    static const uint8_t oid[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01};
    struct kw_der in = *algorithm, value;
    if (!kw_der_take(&in, KW_DER_OID, &value) || value.left != sizeof(oid) ||
        CRYPTO_memcmp(value.at, oid, sizeof(oid)) != 0)
        return false;
    return in.left == 0 || (kw_der_take(&in, KW_DER_NULL, &value) && value.left == 0 && !in.left);
}

/* One byte, as versions are. */
static bool take_version(struct kw_der *in, uint8_t *ret_version)
{
    struct kw_der value;
    if (!kw_der_take_number(in, &value) || value.left != 1)
        return false;
    *ret_version = value.at[0];
    return true;
}

/* RFC 5958 section 2. What may follow the key (attributes, a public key) is passed over. */
static bool take_pkcs8(const struct kw_secret *pkcs8, struct kw_der *ret_algorithm,
                       struct kw_der *ret_key)
{
    struct kw_der all = {kw_secret_bytes(pkcs8), kw_secret_len(pkcs8)}, in, passed;
    uint8_t version = 0;
    if (!kw_der_take(&all, KW_DER_SEQUENCE, &in) || !only_zeros(&all) ||
        !take_version(&in, &version) || version > 1 ||
        !kw_der_take(&in, KW_DER_SEQUENCE, ret_algorithm) ||
        !kw_der_take(&in, KW_DER_OCTET_STRING, ret_key))
        return false;
    (void)kw_der_take(&in, 0xa0, &passed);
    if (version == 1)
        (void)kw_der_take(&in, 0x81, &passed);
    return in.left == 0;
}

/* RFC 8017 appendix A.1.2; `*ret_version` 1 has more than two primes. */
static bool take_numbers(const struct kw_der *key, uint8_t *ret_version,
                         struct kw_der numbers[KW_RSA_NUMBERS])
{
    struct kw_der all = *key, in;
    if (!kw_der_take(&all, KW_DER_SEQUENCE, &in) || all.left || !take_version(&in, ret_version) ||
        *ret_version > 1)
        return false;
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++)
        if (!kw_der_take_number(&in, &numbers[i]))
            return false;
    return *ret_version == 1 || in.left == 0;
}

enum kw_status kw_pkcs8_cut_zeros(struct kw_secret *pkcs8, struct kw_error *err)
{
    size_t len = kw_secret_len(pkcs8);
    struct kw_der all = {kw_secret_bytes(pkcs8), len}, content;
    if (!kw_der_take(&all, KW_DER_SEQUENCE, &content))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "what was unwrapped is no PKCS#8; take the key from its source once more");
    if (!only_zeros(&all))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "more than some zero bytes is behind the PKCS#8; take the key from its "
                       "source once more");
    kw_secret_set_len(pkcs8, len - all.left);
    return KW_OK;
}

/* ---- checking ---- */

/* The numbers, and room for what is computed of them. */
struct check {
    BIGNUM *numbers[KW_RSA_NUMBERS];
    BIGNUM *one_less; /* than a prime */
    BIGNUM *result;
    BN_CTX *context;
};

static bool check_start(struct check *check, const struct kw_crypto *crypto,
                        const struct kw_der numbers[KW_RSA_NUMBERS])
{
    *check = (struct check){.context = BN_CTX_secure_new_ex(crypto->context),
                            .one_less = BN_secure_new(),
                            .result = BN_secure_new()};
    bool started = check->context && check->one_less && check->result;
    for (size_t i = 0; i < KW_RSA_NUMBERS && started; i++) {
        check->numbers[i] = BN_secure_new();
        started =
            check->numbers[i] && BN_bin2bn(numbers[i].at, (int)numbers[i].left, check->numbers[i]);
    }
    return started;
}

static void check_end(struct check *check)
{
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++)
        BN_clear_free(check->numbers[i]);
    BN_clear_free(check->one_less);
    BN_clear_free(check->result);
    BN_CTX_free(check->context);
}

/* a * b = 1 modulo m. */
static bool are_inverse(struct check *check, const BIGNUM *a, const BIGNUM *b, const BIGNUM *m)
{
    return BN_mod_mul(check->result, a, b, m, check->context) && BN_is_one(check->result);
}

/* What RFC 8017 section 3.2 says of a prime, its exponent, and d. */
static bool prime_fits(struct check *check, enum kw_rsa_number prime, enum kw_rsa_number exponent)
{
    BIGNUM *const *numbers = check->numbers;
    const BIGNUM *d = numbers[KW_RSA_PRIVATE_EXPONENT];
    return BN_check_prime(numbers[prime], check->context, NULL) == 1 &&
           BN_copy(check->one_less, numbers[prime]) && BN_sub_word(check->one_less, 1) &&
           are_inverse(check, numbers[KW_RSA_PUBLIC_EXPONENT], d, check->one_less) &&
           BN_mod(check->result, d, check->one_less, check->context) &&
           BN_cmp(check->result, numbers[exponent]) == 0;
}

static bool belong_together(struct check *check)
{
    BIGNUM *const *numbers = check->numbers;
    const BIGNUM *p = numbers[KW_RSA_PRIME_1], *q = numbers[KW_RSA_PRIME_2];
    const BIGNUM *n = numbers[KW_RSA_MODULUS], *e = numbers[KW_RSA_PUBLIC_EXPONENT];
    const BIGNUM *qinv = numbers[KW_RSA_COEFFICIENT];
    return BN_is_odd(e) && !BN_is_one(e) && BN_cmp(numbers[KW_RSA_PRIVATE_EXPONENT], n) < 0 &&
           BN_cmp(p, q) != 0 && BN_mul(check->result, p, q, check->context) &&
           BN_cmp(check->result, n) == 0 && prime_fits(check, KW_RSA_PRIME_1, KW_RSA_EXPONENT_1) &&
           prime_fits(check, KW_RSA_PRIME_2, KW_RSA_EXPONENT_2) && BN_cmp(qinv, p) < 0 &&
           are_inverse(check, q, qinv, p);
}

static enum kw_status check_numbers(const struct kw_crypto *crypto,
                                    const struct kw_der numbers[KW_RSA_NUMBERS],
                                    struct kw_error *err)
{
    struct check check;
    enum kw_status status = KW_OK;
    int bits = 0;
    if (!check_start(&check, crypto, numbers))
        status = kw_fail_openssl(err, KW_NO_MEMORY, "there is no locked memory for a private key");
    else if ((bits = BN_num_bits(check.numbers[KW_RSA_MODULUS])) < KW_RSA_MIN_BITS ||
             bits > KW_RSA_MAX_BITS)
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "the private key is an RSA key of %d bits; use one of %d to %d", bits,
                         KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    else if (!belong_together(&check))
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "the private key is damaged: its numbers don't belong together; take it "
                         "from its source once more");
    check_end(&check);
    ERR_clear_error(); /* whatever the checks left there */
    return status;
}

/* ---- */

static enum kw_status read_key(const struct kw_crypto *crypto, const struct kw_secret *pkcs8,
                               struct kw_der numbers[KW_RSA_NUMBERS], struct kw_error *err)
{
    static const char unreadable[] =
        "the private key can't be read as PKCS#8; give it as unencrypted DER with nothing after it";
    struct kw_der algorithm, key;
    uint8_t version = 0;
    if (!take_pkcs8(pkcs8, &algorithm, &key))
        return kw_fail(err, KW_KEY_UNUSABLE, unreadable);
    bool rsa = is_rsa(&algorithm);
    if (rsa && !take_numbers(&key, &version, numbers))
        return kw_fail(err, KW_KEY_UNUSABLE, unreadable);
    if (!rsa || version == 1)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the private key is not an RSA key of two primes that may encrypt; use one "
                       "that is");
    return check_numbers(crypto, numbers, err);
}

enum kw_status kw_rsa_private_from_pkcs8(struct kw_crypto *crypto, const struct kw_secret *pkcs8,
                                         struct kw_rsa_private *ret_key, struct kw_error *err)
{
    struct kw_der numbers[KW_RSA_NUMBERS];
    enum kw_status status = read_key(crypto, pkcs8, numbers, err);
    struct kw_rsa_private key = {.numbers = {NULL}};
    for (size_t i = 0; i < KW_RSA_NUMBERS && !status; i++)
        status = kw_secret_from(numbers[i].at, numbers[i].left, &key.numbers[i], err);
    if (status) {
        kw_rsa_private_cleanup(&key);
        return status;
    }
    *ret_key = key;
    return KW_OK;
}

void kw_rsa_private_cleanup(struct kw_rsa_private *key)
{
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++) {
        kw_secret_free(key->numbers[i]);
        key->numbers[i] = NULL;
    }
}
