/* Texts that a token's key for records vouches for. What is signed is short: the SHA-256. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define SEAL_FORM "{\"schema\":\"keyward-seal-1\",\"sha256\":\"%s\"}"
#define SEAL_SIZE (sizeof(SEAL_FORM) + 2 * KW_SHA256_SIZE)

static enum kw_status describe(struct kw_keyring *keyring, const char *text, size_t len,
                               char out[SEAL_SIZE], struct kw_error *err)
{
    uint8_t sha256[KW_SHA256_SIZE];
    char digits[2 * KW_SHA256_SIZE + 1];
    enum kw_status status = kw_sha256(keyring->crypto, text, len, sha256, err);
    if (status)
        return status;
    kw_hex_encode(sha256, sizeof(sha256), digits);
    (void)snprintf(out, SEAL_SIZE, SEAL_FORM, digits);
    return KW_OK;
}

enum kw_status kw_keyring_seal_text(struct kw_keyring *keyring, const char *text, size_t len,
                                    struct kw_buffer *ret_seal, struct kw_error *err)
{
    char payload[SEAL_SIZE];
    const struct kw_token_key *signer = NULL;
    struct kw_buffer buffer = KW_BUFFER_INIT(SEAL_SIZE);
    enum kw_status status = describe(keyring, text, len, payload, err);
    if (!status)
        status = kw_buffer_append(&buffer, payload, strlen(payload), err);
    if (!status) {
        (void)pthread_mutex_lock(&keyring->lock);
        if (!(status = kw_keyring_connect(keyring, err)) &&
            !(status = kw_signer_get(keyring, &signer, err)))
            status = kw_jws_sign(keyring->token, signer, &buffer, ret_seal, err);
        (void)pthread_mutex_unlock(&keyring->lock);
    }
    kw_buffer_cleanup(&buffer);
    return status;
}

enum kw_status kw_keyring_check_seal(struct kw_keyring *keyring, const char *text, size_t len,
                                     const char *seal, size_t seal_len, struct kw_error *err)
{
    char payload[SEAL_SIZE];
    const char *fault = NULL;
    struct kw_buffer signed_text = KW_BUFFER_INIT(KW_BASE64_DECODED_MAX(2 * SEAL_SIZE));
    enum kw_status status = describe(keyring, text, len, payload, err);
    if (status)
        return status;
    (void)pthread_mutex_lock(&keyring->lock);
    status = kw_keyring_connect(keyring, err);
    if (!status) {
        keyring->signers_read = false;
        status = kw_jws_verify(keyring->crypto, seal, seal_len, kw_signer_find, keyring,
                               &signed_text, &fault, err);
    }
    (void)pthread_mutex_unlock(&keyring->lock);
    if (!status && !fault &&
        (signed_text.len != strlen(payload) ||
         memcmp(signed_text.data, payload, signed_text.len) != 0))
        fault = "it is the seal of another text";
    kw_buffer_cleanup(&signed_text);
    return status || !fault
               ? status
               : kw_fail(err, KW_DAMAGED, "the seal of the text does not hold: %s", fault);
}
