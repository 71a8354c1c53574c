/* signature: what a digest becomes before RSA signs it. */
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "crypto/openssl.h"

#define HASH_MAX 64
#define OID_LAST 14 /* where in DigestInfo the hash functions of SHA-2 differ, */
#define INFO_LEN 19 /* and how much of it comes before the digest */

static const struct kind {
    const char *name;
    bool pss;
    size_t hash_len;
    uint8_t oid_last; /* of 2.16.840.1.101.3.4.2 */
} kinds[KW_DIGEST_SIGNATURE_COUNT] = {
    [KW_DIGEST_RS256] = {"RS256", false, 32, 1}, [KW_DIGEST_RS384] = {"RS384", false, 48, 2},
    [KW_DIGEST_RS512] = {"RS512", false, 64, 3}, [KW_DIGEST_PS256] = {"PS256", true, 32, 1},
    [KW_DIGEST_PS384] = {"PS384", true, 48, 2},  [KW_DIGEST_PS512] = {"PS512", true, 64, 3},
};

bool kw_digest_signature_parse(const char *name, enum kw_digest_signature *ret_alg)
{
    for (size_t i = 0; i < KW_COUNT(kinds); i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *ret_alg = (enum kw_digest_signature)i;
            return true;
        }
    }
    return false;
}

const char *kw_digest_signature_name(enum kw_digest_signature alg)
{
    return (size_t)alg < KW_COUNT(kinds) ? kinds[alg].name : "unknown";
}

size_t kw_digest_signature_hash_len(enum kw_digest_signature alg)
{
    return (size_t)alg < KW_COUNT(kinds) ? kinds[alg].hash_len : 0;
}

bool kw_digest_signature_is_pss(enum kw_digest_signature alg)
{
    return (size_t)alg < KW_COUNT(kinds) && kinds[alg].pss;
}

enum kw_status kw_digest_signature_check(enum kw_digest_signature alg, size_t len,
                                         struct kw_error *err)
{
    if ((size_t)alg >= KW_COUNT(kinds))
        return kw_fail(err, KW_FAULT, "there is no signature algorithm %d", (int)alg);
    if (len != kinds[alg].hash_len)
        return kw_fail(err, KW_USAGE, "%s signs a digest of %zu bytes, not of %zu", kinds[alg].name,
                       kinds[alg].hash_len, len);
    return KW_OK;
}

const EVP_MD *kw_digest_signature_hash(const struct kw_crypto *crypto, enum kw_digest_signature alg)
{
    const EVP_MD *const hashes[] = {crypto->sha256, crypto->sha384, crypto->sha512};
    return hashes[kinds[alg].oid_last - 1];
}

size_t kw_digest_info(enum kw_digest_signature alg, const uint8_t *digest,
                      uint8_t out[KW_DIGEST_INFO_MAX])
{
    static const uint8_t start[INFO_LEN] = {0x30, 0, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                            0x65, 3, 4,    2,    0,    0x05, 0x00, 0x04, 0};
    const struct kind *kind = &kinds[alg];
    memcpy(out, start, INFO_LEN);
    out[1] = (uint8_t)(INFO_LEN - 2 + kind->hash_len);
    out[OID_LAST] = kind->oid_last;
    out[INFO_LEN - 1] = (uint8_t)kind->hash_len;
    memcpy(out + INFO_LEN, digest, kind->hash_len);
    return INFO_LEN + kind->hash_len;
}

/* ---- RFC 8017 section 9.2 ---- */

static void encode_pkcs1(enum kw_digest_signature alg, const uint8_t *digest, uint8_t *out,
                         size_t out_len)
{
    uint8_t info[KW_DIGEST_INFO_MAX];
    size_t len = kw_digest_info(alg, digest, info);
    memset(out, 0xFF, out_len);
    out[0] = 0;
    out[1] = 1;
    out[out_len - len - 1] = 0;
    memcpy(out + out_len - len, info, len);
}

/* ---- RFC 8017 section 9.1.1 ---- */

struct piece {
    const void *data;
    size_t len;
};

static bool hash(const EVP_MD *md, const struct piece *pieces, size_t count, uint8_t out[HASH_MAX])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, md, NULL) == 1;
    for (size_t i = 0; i < count && done; i++)
        done = EVP_DigestUpdate(context, pieces[i].data, pieces[i].len) == 1;
    done = done && EVP_DigestFinal_ex(context, out, NULL) == 1;
    EVP_MD_CTX_free(context);
    return done;
}

/* Appendix B.2.1, added to what is in `out`. */
static bool mask(const EVP_MD *md, const uint8_t *seed, size_t hash_len, uint8_t *out, size_t len)
{
    uint8_t block[HASH_MAX];
    for (size_t at = 0, round = 0; at < len; at += hash_len, round++) {
        const uint8_t counter[4] = {0, 0, 0, (uint8_t)round};
        const struct piece pieces[] = {{seed, hash_len}, {counter, sizeof(counter)}};
        if (!hash(md, pieces, KW_COUNT(pieces), block))
            return false;
        for (size_t i = 0; i < hash_len && at + i < len; i++)
            out[at + i] ^= block[i];
    }
    return true;
}

/* The highest bit of the modulus is set, so the encoded message is a bit shorter than it. */
static bool encode_pss(const EVP_MD *md, const uint8_t *digest, const uint8_t *salt,
                       size_t hash_len, uint8_t *out, size_t out_len)
{
    static const uint8_t zeros[8] = {0};
    size_t masked = out_len - hash_len - 1;
    const struct piece pieces[] = {{zeros, sizeof(zeros)}, {digest, hash_len}, {salt, hash_len}};
    uint8_t h[HASH_MAX];
    if (!hash(md, pieces, KW_COUNT(pieces), h))
        return false;
    memset(out, 0, masked);
    out[masked - hash_len - 1] = 1;
    memcpy(out + masked - hash_len, salt, hash_len);
    if (!mask(md, h, hash_len, out, masked))
        return false;
    out[0] &= 0x7F;
    memcpy(out + masked, h, hash_len);
    out[out_len - 1] = 0xBC;
    return true;
}

enum kw_status kw_signature_encode(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                   enum kw_digest_signature alg, const uint8_t *digest, size_t len,
                                   uint8_t out[KW_RSA_MAX_BYTES], struct kw_error *err)
{
    uint8_t salt[HASH_MAX];
    enum kw_status status = kw_digest_signature_check(alg, len, err);
    if (!status)
        status = kw_rsa_check(key, "the public key", KW_KEY_UNUSABLE, err);
    if (!status && (crypto->fips || kw_rsa_bits(key) % 8 != 0))
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "the padding of a signature is not made on this host%s; use a token that "
                         "makes it",
                         crypto->fips ? " with fips = yes" : " for a modulus of this size");
    if (status)
        return status;
    if (!kinds[alg].pss) {
        encode_pkcs1(alg, digest, out, key->modulus_len);
        return KW_OK;
    }
    status = kw_random(crypto, salt, len, err);
    if (!status && !encode_pss(kw_digest_signature_hash(crypto, alg), digest, salt, len, out,
                               key->modulus_len))
        status = kw_fail_openssl(err, KW_FAULT, "OpenSSL can't hash");
    return status;
}
