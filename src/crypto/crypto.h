/* crypto: OpenSSL with a library context and named providers of our own.
 *
 * A kw_crypto may be shared by threads; a kw_cbc or kw_digest is used by one thread at a time. */
#ifndef KW_CRYPTO_H
#define KW_CRYPTO_H

#include "base/base.h"

#define KW_AES256_KEY_SIZE 32
#define KW_AES_BLOCK       16
#define KW_SHA256_SIZE     32
#define KW_RSA_MIN_BITS    2048
#define KW_RSA_MAX_BITS    4096
#define KW_RSA_MAX_BYTES   (KW_RSA_MAX_BITS / 8)

/* The library context, its providers, and the algorithms fetched once. */
struct kw_crypto;

/* `fips` loads the providers fips and base instead of default. KW_CONFIG where they can't be
 * loaded, with OpenSSL's reason. */
enum kw_status kw_crypto_new(bool fips, struct kw_crypto **ret_crypto, struct kw_error *err);
void kw_crypto_free(struct kw_crypto *crypto);
/* For what runs for long: where memory runs out while OpenSSL 3.0 looks for the first algorithm of
 * a kind, it finds none of that kind ever after. This looks for one of each kind that TLS and
 * servers use, so that it is found at the start or not at all. KW_NO_MEMORY. */
enum kw_status kw_crypto_find_kinds(struct kw_crypto *crypto, struct kw_error *err);
bool kw_crypto_is_fips(const struct kw_crypto *crypto);
enum kw_status kw_random(struct kw_crypto *crypto, void *out, size_t len, struct kw_error *err);

/* ---- how a data key is wrapped: wrap.c, oaep.c ---- */

/* Key Vault's names. */
enum kw_wrap_alg {
    KW_RSA_OAEP,     /* RFC 8017 RSAES-OAEP, SHA-1 and MGF1 with SHA-1, no label */
    KW_RSA_OAEP_256, /* the same with SHA-256 for both */
    KW_RSA1_5,       /* RFC 8017 RSAES-PKCS1-v1_5 */
    KW_WRAP_ALG_COUNT
};
const char *kw_wrap_alg_name(enum kw_wrap_alg alg);
/* False if no algorithm has that name (letter case aside). */
bool kw_wrap_alg_parse(const char *name, enum kw_wrap_alg *ret_alg);

/* The public half: big-endian numbers without leading zeros, owned by the struct. */
struct kw_rsa_public {
    uint8_t modulus[KW_RSA_MAX_BYTES];
    size_t modulus_len;
    uint8_t exponent[8];
    size_t exponent_len;
};
size_t kw_rsa_bits(const struct kw_rsa_public *key);
/* Whether both have one modulus; never of keys whose modulus is not known. */
bool kw_rsa_same(const struct kw_rsa_public *a, const struct kw_rsa_public *b);
/* Reads a PEM public key or certificate. KW_CONFIG where it is none, or not RSA of 2048 to 4096
 * bits. `what` names it in errors. */
enum kw_status kw_rsa_public_from_pem(struct kw_crypto *crypto, const void *pem, size_t len,
                                      const char *what, struct kw_rsa_public *ret_key,
                                      struct kw_error *err);
/* SubjectPublicKeyInfo in PEM, appended to *ret_pem. */
enum kw_status kw_rsa_public_to_pem(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                    struct kw_buffer *ret_pem, struct kw_error *err);
/* SHA-256 of its SubjectPublicKeyInfo in DER: what tells it from any other key. */
enum kw_status kw_rsa_fingerprint(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                  uint8_t out[KW_SHA256_SIZE], struct kw_error *err);
/* Encrypts `secret` to `key`; `out` has at least modulus_len bytes, which is what is written. */
enum kw_status kw_rsa_wrap(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                           enum kw_wrap_alg alg, const struct kw_secret *secret, uint8_t *out,
                           struct kw_error *err);
/* Checks and removes OAEP padding (RFC 8017 section 7.1.2 step 3) from `encoded`, what raw RSA
 * decryption gave: as long as the modulus. In constant time through OpenSSL. Any fault of the
 * padding is KW_KEY_UNWRAP with one message. KW_KEY_UNUSABLE under fips: OpenSSL does this check
 * outside of its FIPS module. */
enum kw_status kw_oaep_decode(struct kw_crypto *crypto, enum kw_wrap_alg alg,
                              const struct kw_secret *encoded, struct kw_secret **ret_secret,
                              struct kw_error *err);

/* ---- signatures: verify.c, signature.c ---- */

/* RFC 7518's names; both with SHA-256. */
enum kw_signature_alg {
    KW_PS256, /* RFC 8017 RSASSA-PSS, MGF1 with SHA-256, a salt of 32 bytes */
    KW_RS256, /* RFC 8017 RSASSA-PKCS1-v1_5 */
    KW_SIGNATURE_ALG_COUNT
};
const char *kw_signature_alg_name(enum kw_signature_alg alg);
/* False if none has that name. */
bool kw_signature_alg_parse(const char *name, enum kw_signature_alg *ret_alg);
/* KW_DAMAGED where it is no signature of `data` by that key. */
enum kw_status kw_rsa_verify(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                             enum kw_signature_alg alg, const void *data, size_t len,
                             const uint8_t *signature, size_t signature_len, struct kw_error *err);

/* RFC 7518's names, over a digest that was made before. */
enum kw_digest_signature {
    KW_DIGEST_RS256,
    KW_DIGEST_RS384,
    KW_DIGEST_RS512,
    KW_DIGEST_PS256, /* MGF1 with the same hash, a salt as long as it */
    KW_DIGEST_PS384,
    KW_DIGEST_PS512,
    KW_DIGEST_SIGNATURE_COUNT
};
bool kw_digest_signature_parse(const char *name, enum kw_digest_signature *ret_alg);
const char *kw_digest_signature_name(enum kw_digest_signature alg);
size_t kw_digest_signature_hash_len(enum kw_digest_signature alg);
bool kw_digest_signature_is_pss(enum kw_digest_signature alg);
/* KW_USAGE for a digest of another length than the algorithm's hash. */
enum kw_status kw_digest_signature_check(enum kw_digest_signature alg, size_t len,
                                         struct kw_error *err);
/* DigestInfo in DER (RFC 8017 section 9.2, note 1). The digest has the right length; returns how
 * many bytes there are. */
#define KW_DIGEST_INFO_MAX (19 + 64)
size_t kw_digest_info(enum kw_digest_signature alg, const uint8_t *digest,
                      uint8_t out[KW_DIGEST_INFO_MAX]);
/* What raw RSA makes a signature of: EMSA-PSS (section 9.1.1) or EMSA-PKCS1-v1_5 (9.2), as long as
 * the modulus; for a token that lacks the padding. KW_USAGE as above; KW_KEY_UNUSABLE under fips:
 * this is done outside of OpenSSL's FIPS module. */
enum kw_status kw_signature_encode(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                   enum kw_digest_signature alg, const uint8_t *digest, size_t len,
                                   uint8_t out[KW_RSA_MAX_BYTES], struct kw_error *err);
/* KW_DAMAGED where it is no signature of that digest by the key; KW_USAGE for a digest of another
 * length. */
enum kw_status kw_rsa_verify_digest(struct kw_crypto *crypto, const struct kw_rsa_public *key,
                                    enum kw_digest_signature alg, const uint8_t *digest, size_t len,
                                    const uint8_t *signature, size_t signature_len,
                                    struct kw_error *err);

/* ---- private keys that are elsewhere: elsewhere.c ---- */

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */
/* An RSA key whose private half signs somewhere else, as on a token. */
struct kw_signing_key {
    struct kw_rsa_public public;
    /* Signs a digest, as long as the algorithm's hash. `out` gets as many bytes as the modulus has.
     * Called from any thread, and from several at a time. */
    enum kw_status (*sign)(void *context, enum kw_digest_signature alg, const uint8_t *digest,
                           size_t len, uint8_t out[KW_RSA_MAX_BYTES]);
    void (*free)(void *context); /* or NULL */
    void *context;
};
/* As OpenSSL has keys (EVP_PKEY), for servers of TLS: it signs data with RSASSA-PKCS1-v1_5 or, with
 * a salt as long as the digest, RSASSA-PSS, by SHA-256, SHA-384 or SHA-512, and does nothing else.
 * The context is freed with the last reference to the key, and on failure. `crypto` must outlive
 * it. KW_KEY_UNUSABLE, KW_NO_MEMORY. */
enum kw_status kw_private_key_new(struct kw_crypto *crypto, const struct kw_signing_key *key,
                                  struct evp_pkey_st **ret_key, struct kw_error *err);
/* One reference less; NULL is none. */
void kw_private_key_free(struct evp_pkey_st *key);

/* The public half of a key that signs: on the curve P-256, or RSA of 2048 to 4096 bits. */
struct kw_public_key;
/* Reads a PEM public key or certificate. KW_CONFIG where it is none of these; `what` names it.
 * `crypto` must outlive the key. */
enum kw_status kw_public_key_from_pem(struct kw_crypto *crypto, const void *pem, size_t len,
                                      const char *what, struct kw_public_key **ret_key,
                                      struct kw_error *err);
void kw_public_key_free(struct kw_public_key *key);
bool kw_public_key_is_rsa(const struct kw_public_key *key);
/* Its SubjectPublicKeyInfo in DER (RFC 5280 section 4.1), owned by the key. */
const uint8_t *kw_public_key_spki(const struct kw_public_key *key, size_t *ret_len);
/* P-256: ECDSA with SHA-256, in DER (RFC 3279 section 2.2.3). RSA: PS256. KW_DAMAGED where it is no
 * signature of `data` by that key. */
enum kw_status kw_public_key_verify(const struct kw_public_key *key, const void *data, size_t len,
                                    const uint8_t *signature, size_t signature_len,
                                    struct kw_error *err);

/* ---- RSA private keys from outside: pkcs8.c ---- */

enum kw_rsa_number {
    KW_RSA_MODULUS,
    KW_RSA_PUBLIC_EXPONENT,
    KW_RSA_PRIVATE_EXPONENT,
    KW_RSA_PRIME_1,
    KW_RSA_PRIME_2,
    KW_RSA_EXPONENT_1,
    KW_RSA_EXPONENT_2,
    KW_RSA_COEFFICIENT,
    KW_RSA_NUMBERS
};
/* RFC 8017 appendix A.1.2: big-endian, without leading zeros. Zeroed, it is empty. */
struct kw_rsa_private {
    struct kw_secret *numbers[KW_RSA_NUMBERS];
};
/* Reads PKCS#8 DER (RFC 5208, RFC 5958), not encrypted; up to 7 zero bytes may follow it, as some
 * tokens leave them after unwrapping. KW_KEY_UNUSABLE where it is none, is not RSA of two primes
 * and 2048 to 4096 bits, or where the numbers don't belong together. */
enum kw_status kw_rsa_private_from_pkcs8(struct kw_crypto *crypto, const struct kw_secret *pkcs8,
                                         struct kw_rsa_private *ret_key, struct kw_error *err);
void kw_rsa_private_cleanup(struct kw_rsa_private *key);
/* The other way, in DER. Whether the numbers belong together is not looked at: pkcs8_write.c.
 * KW_USAGE where one is missing or too large. */
enum kw_status kw_rsa_private_to_pkcs8(const struct kw_rsa_private *key,
                                       struct kw_secret **ret_pkcs8, struct kw_error *err);
/* Takes the zero bytes, at most 7, off that follow the outer SEQUENCE; there may be none. Nothing
 * within it is looked at. KW_KEY_UNUSABLE, and *pkcs8 as it was, where there is no such SEQUENCE or
 * anything else follows it. */
enum kw_status kw_pkcs8_cut_zeros(struct kw_secret *pkcs8, struct kw_error *err);

/* ---- files with a private key: keyfile.c, keyfile_pem.c, keyfile_pkcs12.c ---- */

/* A key, some certificates, and text. */
#define KW_KEY_FILE_MAX (64 * 1024)
/* Gives the passphrase of an encrypted file; called at most once, and only for such a one. */
typedef enum kw_status (*kw_passphrase_fn)(void *context, struct kw_secret **ret_passphrase,
                                           struct kw_error *err);
struct kw_key_file {
    const uint8_t *data;
    size_t len;
    const char *what; /* its name, for messages */
    kw_passphrase_fn ask;
    void *context;
};
/* Finds the one private key of the file, as PKCS#8 DER: in PEM (RFC 7468) or DER, as PKCS#8 or
 * PKCS#1, encrypted or not, or in PKCS#12 (RFC 7292). Certificates are passed over. What the key is
 * good for, kw_rsa_private_from_pkcs8 sees. KW_KEY_UNUSABLE where there is no key or more than one,
 * in PEM one that is not RSA, something that does not belong there, or encryption that the provider
 * lacks; KW_PIN_WRONG where the passphrase does not open it; what `ask` answers. */
enum kw_status kw_key_file_read(struct kw_crypto *crypto, const struct kw_key_file *file,
                                struct kw_secret **ret_pkcs8, struct kw_error *err);

/* ---- AES-256-CBC with PKCS#7 padding, in place: cbc.c ---- */

/* NIST SP 800-38A section 6.2, RFC 5652 section 6.3. One object serves many files in turn. */
struct kw_cbc;
enum kw_direction { KW_DECRYPT, KW_ENCRYPT };
enum kw_status kw_cbc_new(struct kw_crypto *crypto, struct kw_cbc **ret_cbc, struct kw_error *err);
/* Frees and wipes. */
void kw_cbc_free(struct kw_cbc *cbc);
/* `key` has 32 bytes; it is read here only. */
enum kw_status kw_cbc_start(struct kw_cbc *cbc, enum kw_direction direction,
                            const struct kw_secret *key, const uint8_t iv[KW_AES_BLOCK],
                            struct kw_error *err);
/* Whole blocks, none of them the last one of the file: len is a multiple of 16. */
enum kw_status kw_cbc_update(struct kw_cbc *cbc, uint8_t *data, size_t len, struct kw_error *err);
/* The rest, with the last block. Decrypting: len is a multiple of 16 and not 0, the padding is
 * checked and left out of *ret_len (KW_DAMAGED if it is wrong). Encrypting: `data` has room for
 * KW_AES_BLOCK more bytes, which the padding may take. */
enum kw_status kw_cbc_finish(struct kw_cbc *cbc, uint8_t *data, size_t len, size_t *ret_len,
                             struct kw_error *err);

/* ---- SHA-256: digest.c ---- */

struct kw_digest;
enum kw_status kw_digest_new(struct kw_crypto *crypto, struct kw_digest **ret_digest,
                             struct kw_error *err);
void kw_digest_free(struct kw_digest *digest);
enum kw_status kw_digest_start(struct kw_digest *digest, struct kw_error *err);
enum kw_status kw_digest_update(struct kw_digest *digest, const void *data, size_t len,
                                struct kw_error *err);
enum kw_status kw_digest_finish(struct kw_digest *digest, uint8_t out[KW_SHA256_SIZE],
                                struct kw_error *err);
/* start, update and finish at once. */
enum kw_status kw_sha256(struct kw_crypto *crypto, const void *data, size_t len,
                         uint8_t out[KW_SHA256_SIZE], struct kw_error *err);

/* ---- AES key wrap with padding, RFC 5649: kwp.c ---- */

/* What wrapping `len` bytes gives. */
#define KW_KWP_SIZE(len) (((len) + 7) / 8 * 8 + 8)
#define KW_KWP_MAX       (KW_SECRET_MAX - 8)
/* NIST SP 800-38F KWP. `kek` has 32 bytes, `secret` 1 to KW_KWP_MAX; appended to *ret_wrapped. */
enum kw_status kw_kwp_wrap(struct kw_crypto *crypto, const struct kw_secret *kek,
                           const struct kw_secret *secret, struct kw_buffer *ret_wrapped,
                           struct kw_error *err);
/* KW_KEY_UNWRAP with one message for every fault of `wrapped`. */
enum kw_status kw_kwp_unwrap(struct kw_crypto *crypto, const struct kw_secret *kek,
                             const uint8_t *wrapped, size_t wrapped_len,
                             struct kw_secret **ret_secret, struct kw_error *err);

/* ---- an RSA-2048 key pair that guards nothing: throwaway.c ---- */

/* For trying out what a token does with a key, where both halves must be known; a key of any worth
 * is never made on the host. May be shared by threads. `crypto` must outlive it. */
struct kw_throwaway;
enum kw_status kw_throwaway_new(struct kw_crypto *crypto, struct kw_throwaway **ret_key,
                                struct kw_error *err);
void kw_throwaway_free(struct kw_throwaway *key);
const struct kw_rsa_public *kw_throwaway_public(const struct kw_throwaway *key);
/* PKCS#8 DER, RFC 5208. */
enum kw_status kw_throwaway_pkcs8(const struct kw_throwaway *key, struct kw_secret **ret_pkcs8,
                                  struct kw_error *err);
/* RSAES-OAEP with SHA-1, as KW_RSA_OAEP. KW_KEY_UNWRAP. */
enum kw_status kw_throwaway_unwrap(const struct kw_throwaway *key, const uint8_t *wrapped,
                                   size_t wrapped_len, struct kw_secret **ret_secret,
                                   struct kw_error *err);

#endif
