/* openssl: what the files of this floor share, and no other floor sees. */
#ifndef KW_CRYPTO_OPENSSL_H
#define KW_CRYPTO_OPENSSL_H

#include <openssl/core.h>
#include <openssl/types.h>

#include "crypto/crypto.h"

struct kw_crypto {
    OSSL_LIB_CTX *context;
    OSSL_PROVIDER *providers[3];
    const char *properties;     /* what every fetch asks for: the provider that was named */
    const char *with_elsewhere; /* the same, where a key may be one of kw_private_key_new */
    EVP_CIPHER *aes_256_cbc;
    EVP_MD *sha1;
    EVP_MD *sha256;
    EVP_MD *sha384;
    EVP_MD *sha512;
    bool fips;
};

/* `status` unless the numbers are of a size that is used here, and the exponent sound. */
enum kw_status kw_rsa_check(const struct kw_rsa_public *key, const char *what,
                            enum kw_status status, struct kw_error *err);
/* The caller frees; NULL where OpenSSL refuses the numbers. */
EVP_PKEY *kw_rsa_public_import(struct kw_crypto *crypto, const struct kw_rsa_public *key);

/* Fetched; owned by `crypto`. */
const EVP_MD *kw_digest_signature_hash(const struct kw_crypto *crypto,
                                       enum kw_digest_signature alg);

/* The provider of keys that are elsewhere, an OSSL_provider_init_fn. */
#define KW_ELSEWHERE "keyward"
int kw_elsewhere_start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core,
                       const OSSL_DISPATCH **ret_functions, void **ret_context);

/* A public key or a certificate's, of any kind, in PEM. KW_CONFIG; the caller frees. */
enum kw_status kw_pem_import(struct kw_crypto *crypto, const void *pem, size_t len,
                             const char *what, EVP_PKEY **ret_pkey, struct kw_error *err);

/* kw_fail with ": " and OpenSSL's reason added; empties OpenSSL's error queue, which is one per
 * thread and would otherwise be blamed on a later call. KW_NO_MEMORY where OpenSSL had too little.
 */
enum kw_status kw_fail_openssl(struct kw_error *err, enum kw_status status, const char *format, ...)
    KW_PRINTF(3, 4);
/* Whether what just failed did so for want of memory, as far as OpenSSL tells: it is not all to be
 * blamed on what was to be checked. Empties the error queue. */
bool kw_openssl_lacked_memory(void);

#endif
