/* digest: SHA-256. */
#include <stdlib.h>

#include <openssl/evp.h>

#include "crypto/openssl.h"

struct kw_digest {
    EVP_MD *sha256;
    EVP_MD_CTX *context;
};

enum kw_status kw_digest_new(struct kw_crypto *crypto, struct kw_digest **ret_digest,
                             struct kw_error *err)
{
    struct kw_digest *digest = calloc(1, sizeof(*digest));
    if (!digest)
        return kw_fail_memory(err);
    digest->sha256 = crypto->sha256;
    digest->context = EVP_MD_CTX_new();
    if (!digest->context) {
        free(digest);
        return kw_fail_memory(err);
    }
    *ret_digest = digest;
    return KW_OK;
}

void kw_digest_free(struct kw_digest *digest)
{
    if (!digest)
        return;
    EVP_MD_CTX_free(digest->context);
    free(digest);
}

enum kw_status kw_digest_start(struct kw_digest *digest, struct kw_error *err)
{
    if (!EVP_DigestInit_ex2(digest->context, digest->sha256, NULL))
        return kw_fail_openssl(err, KW_FAULT, "SHA-256 can't be started");
    return KW_OK;
}

enum kw_status kw_digest_update(struct kw_digest *digest, const void *data, size_t len,
                                struct kw_error *err)
{
    if (!EVP_DigestUpdate(digest->context, data, len))
        return kw_fail_openssl(err, KW_FAULT, "SHA-256 failed");
    return KW_OK;
}

enum kw_status kw_digest_finish(struct kw_digest *digest, uint8_t out[KW_SHA256_SIZE],
                                struct kw_error *err)
{
    uint8_t hash[KW_SHA256_SIZE];
    unsigned written = 0;
    if (!EVP_DigestFinal_ex(digest->context, hash, &written) || written != sizeof(hash))
        return kw_fail_openssl(err, KW_FAULT, "SHA-256 failed at its end");
    for (size_t i = 0; i < sizeof(hash); i++)
        out[i] = hash[i];
    return KW_OK;
}

enum kw_status kw_sha256(struct kw_crypto *crypto, const void *data, size_t len,
                         uint8_t out[KW_SHA256_SIZE], struct kw_error *err)
{
    struct kw_digest *digest = NULL;
    enum kw_status status = kw_digest_new(crypto, &digest, err);
    if (status == KW_OK)
        status = kw_digest_start(digest, err);
    if (status == KW_OK)
        status = kw_digest_update(digest, data, len, err);
    if (status == KW_OK)
        status = kw_digest_finish(digest, out, err);
    kw_digest_free(digest);
    return status;
}
