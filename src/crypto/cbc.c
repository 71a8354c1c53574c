/* cbc: AES-256 in CBC mode with PKCS#7 padding, in place.
 *
 * With padding switched on, EVP holds the last block back and its output runs one block behind its
 * input. It is on for the last block only, so that everything before is done where it lies. */
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "crypto/openssl.h"

/* EVP counts in int. A multiple of the block size. */
#define PIECE_MAX ((size_t)1 << 30)

struct kw_cbc {
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *context;
    enum kw_direction direction;
};

enum kw_status kw_cbc_new(struct kw_crypto *crypto, struct kw_cbc **ret_cbc, struct kw_error *err)
{
    struct kw_cbc *cbc = calloc(1, sizeof(*cbc));
    if (!cbc)
        return kw_fail_memory(err);
    cbc->cipher = crypto->aes_256_cbc;
    cbc->context = EVP_CIPHER_CTX_new();
    if (!cbc->context) {
        free(cbc);
        return kw_fail_memory(err);
    }
    *ret_cbc = cbc;
    return KW_OK;
}

void kw_cbc_free(struct kw_cbc *cbc)
{
    if (!cbc)
        return;
    EVP_CIPHER_CTX_free(cbc->context); /* wipes the key schedule */
    free(cbc);
}

enum kw_status kw_cbc_start(struct kw_cbc *cbc, enum kw_direction direction,
                            const struct kw_secret *key, const uint8_t iv[KW_AES_BLOCK],
                            struct kw_error *err)
{
    if (kw_secret_len(key) != KW_AES256_KEY_SIZE)
        return kw_fail(err, KW_FAULT, "an AES-256 key has %d bytes, this one has %zu",
                       KW_AES256_KEY_SIZE, kw_secret_len(key));
    cbc->direction = direction;
    if (!EVP_CipherInit_ex2(cbc->context, cbc->cipher, kw_secret_bytes(key), iv,
                            direction == KW_ENCRYPT, NULL) ||
        !EVP_CIPHER_CTX_set_padding(cbc->context, 0))
        return kw_fail_openssl(err, KW_FAULT, "AES-256-CBC can't be started");
    return KW_OK;
}

enum kw_status kw_cbc_update(struct kw_cbc *cbc, uint8_t *data, size_t len, struct kw_error *err)
{
    if (len % KW_AES_BLOCK != 0)
        return kw_fail(err, KW_FAULT, "%zu bytes are not whole blocks of AES", len);
    while (len > 0) {
        size_t piece = len < PIECE_MAX ? len : PIECE_MAX;
        int written = 0;
        if (!EVP_CipherUpdate(cbc->context, data, &written, data, (int)piece))
            return kw_fail_openssl(err, KW_FAULT, "AES-256-CBC failed");
        if ((size_t)written != piece)
            return kw_fail(err, KW_FAULT, "AES-256-CBC gave %d bytes for %zu", written, piece);
        data += piece;
        len -= piece;
    }
    return KW_OK;
}

enum kw_status kw_cbc_finish(struct kw_cbc *cbc, uint8_t *data, size_t len, size_t *ret_len,
                             struct kw_error *err)
{
    bool decrypt = cbc->direction == KW_DECRYPT;
    if (decrypt && (len == 0 || len % KW_AES_BLOCK != 0))
        return kw_fail(err, KW_FAULT, "%zu bytes can't be the end of a ciphertext", len);

    size_t rest = decrypt ? KW_AES_BLOCK : len % KW_AES_BLOCK;
    size_t body = len - rest;
    enum kw_status status = kw_cbc_update(cbc, data, body, err);
    if (status != KW_OK)
        return status;

    int held = 0;
    int written = 0;
    if (!EVP_CIPHER_CTX_set_padding(cbc->context, 1) ||
        !EVP_CipherUpdate(cbc->context, data + body, &held, data + body, (int)rest))
        return kw_fail_openssl(err, KW_FAULT, "AES-256-CBC failed in the last block");
    if (held != 0)
        return kw_fail(err, KW_FAULT, "AES-256-CBC did not hold the last block back");
    if (!EVP_CipherFinal_ex(cbc->context, data + body, &written)) {
        if (!decrypt)
            return kw_fail_openssl(err, KW_FAULT, "AES-256-CBC failed in the last block");
        ERR_clear_error();
        return kw_fail(err, KW_DAMAGED,
                       "the padding at its end is wrong: it is damaged, or was encrypted with "
                       "another key");
    }
    *ret_len = body + (size_t)written;
    return KW_OK;
}
