/* kwp: AES key wrap with padding. */
#include <openssl/evp.h>

#include "crypto/openssl.h"

#define UNIT 8 /* bytes: what is wrapped is padded to a multiple of it, and one is added */

static EVP_CIPHER_CTX *start(struct kw_crypto *crypto, const struct kw_secret *kek, bool wrap)
{
    if (kw_secret_len(kek) != KW_AES256_KEY_SIZE)
        return NULL;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(crypto->context, "AES-256-WRAP-PAD", crypto->properties);
    bool started = context && cipher &&
                   EVP_CipherInit_ex2(context, cipher, kw_secret_bytes(kek), NULL, wrap, NULL) == 1;
    EVP_CIPHER_free(cipher); /* the context holds it */
    if (started)
        return context;
    EVP_CIPHER_CTX_free(context);
    return NULL;
}

enum kw_status kw_kwp_wrap(struct kw_crypto *crypto, const struct kw_secret *kek,
                           const struct kw_secret *secret, struct kw_buffer *ret_wrapped,
                           struct kw_error *err)
{
    size_t len = kw_secret_len(secret);
    /* OpenSSL moves the plaintext to its output and works on it there. */
    struct kw_secret *scratch = NULL;
    enum kw_status status = kw_secret_new(KW_KWP_SIZE(len), &scratch, err);
    if (status)
        return status;
    int written = 0;
    EVP_CIPHER_CTX *context = len > 0 ? start(crypto, kek, true) : NULL;
    if (context &&
        EVP_CipherUpdate(context, kw_secret_data(scratch), &written, kw_secret_bytes(secret),
                         (int)len) == 1 &&
        (size_t)written == KW_KWP_SIZE(len))
        status = kw_buffer_append(ret_wrapped, kw_secret_bytes(scratch), (size_t)written, err);
    else
        status = kw_fail_openssl(err, KW_FAULT, "OpenSSL can't wrap %zu bytes (RFC 5649)", len);
    EVP_CIPHER_CTX_free(context);
    kw_secret_free(scratch);
    return status;
}

enum kw_status kw_kwp_unwrap(struct kw_crypto *crypto, const struct kw_secret *kek,
                             const uint8_t *wrapped, size_t wrapped_len,
                             struct kw_secret **ret_secret, struct kw_error *err)
{
    static const char message[] = "the key does not unwrap what was wrapped (RFC 5649)";
    if (wrapped_len < 2 * UNIT || wrapped_len % UNIT != 0 || wrapped_len > KW_SECRET_MAX)
        return kw_fail(err, KW_KEY_UNWRAP, message);
    EVP_CIPHER_CTX *context = start(crypto, kek, false);
    if (!context)
        return kw_fail_openssl(err, KW_FAULT, "OpenSSL can't start unwrapping (RFC 5649)");
    struct kw_secret *secret = NULL;
    enum kw_status status = kw_secret_new(wrapped_len, &secret, err);
    if (!status) {
        int written = 0;
        int done =
            EVP_CipherUpdate(context, kw_secret_data(secret), &written, wrapped, (int)wrapped_len);
        if (done == 1 && written > 0 && (size_t)written <= wrapped_len - UNIT)
            kw_secret_set_len(secret, (size_t)written);
        else
            status = kw_fail_openssl(err, KW_KEY_UNWRAP, message);
    }
    EVP_CIPHER_CTX_free(context);
    if (status) {
        kw_secret_free(secret);
        return status;
    }
    *ret_secret = secret;
    return KW_OK;
}
