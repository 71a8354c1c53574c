/* RSA private keys as PKCS#8, put together from their numbers in locked memory. */
#include <string.h>

#include "crypto/der.h"
#include "crypto/openssl.h"

/* RFC 8017 appendix A.1: rsaEncryption, whose parameters are NULL. */
static const uint8_t algorithm[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
                                    0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
static const uint8_t zero[] = {KW_DER_INTEGER, 1, 0}; /* the version of both structures */

/* Of a tag and a length; all lengths here are below 65536. */
static size_t head_size(size_t len)
{
    return len < 0x80 ? 2 : len < 0x100 ? 3 : 4;
}

static uint8_t *put_head(uint8_t *at, uint8_t tag, size_t len)
{
    *at++ = tag;
    if (len >= 0x100) {
        *at++ = 0x82;
        *at++ = (uint8_t)(len >> 8);
    } else if (len >= 0x80) {
        *at++ = 0x81;
    }
    *at++ = (uint8_t)len;
    return at;
}

/* Without leading zeros, but for the one that keeps an INTEGER from being negative. */
struct number {
    const uint8_t *at;
    size_t len;
    bool padded;
};
static struct number number_of(const struct kw_secret *secret)
{
    struct number number = {.at = kw_secret_bytes(secret), .len = kw_secret_len(secret)};
    while (number.len > 1 && number.at[0] == 0) {
        number.at++;
        number.len--;
    }
    number.padded = number.len > 0 && number.at[0] >= 0x80;
    return number;
}

static uint8_t *put_number(uint8_t *at, const struct kw_secret *secret)
{
    struct number number = number_of(secret);
    at = put_head(at, KW_DER_INTEGER, number.len + number.padded);
    if (number.padded)
        *at++ = 0;
    return mempcpy(at, number.at, number.len);
}

enum kw_status kw_rsa_private_to_pkcs8(const struct kw_rsa_private *key,
                                       struct kw_secret **ret_pkcs8, struct kw_error *err)
{
    struct kw_secret *pkcs8 = NULL;
    size_t numbers = sizeof(zero);
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++) {
        struct number number = number_of(key->numbers[i]);
        if (number.len == 0 || number.len > KW_RSA_MAX_BYTES)
            return kw_fail(err, KW_USAGE, "a number of the private key is too large, or none");
        numbers += head_size(number.len + number.padded) + number.len + number.padded;
    }
    size_t pkcs1 = head_size(numbers) + numbers;
    size_t all = sizeof(zero) + sizeof(algorithm) + head_size(pkcs1) + pkcs1;
    enum kw_status status = kw_secret_new(head_size(all) + all, &pkcs8, err);
    if (status)
        return status;
    uint8_t *at = put_head(kw_secret_data(pkcs8), KW_DER_SEQUENCE, all);
    at = mempcpy(at, zero, sizeof(zero));
    at = mempcpy(at, algorithm, sizeof(algorithm));
    at = put_head(at, KW_DER_OCTET_STRING, pkcs1);
    at = put_head(at, KW_DER_SEQUENCE, numbers);
    at = mempcpy(at, zero, sizeof(zero));
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++)
        at = put_number(at, key->numbers[i]);
    kw_secret_set_len(pkcs8, (size_t)(at - kw_secret_data(pkcs8)));
    *ret_pkcs8 = pkcs8;
    return KW_OK;
}
