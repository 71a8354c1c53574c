/* The forms in which senders put an AES-256 key before they encrypt it with RSA. */
#include <string.h>

#include "internal.h"

#define TEXT_MAX 64 /* 32 bytes in hex, the longest form */

static bool decode_base64(const char *text, size_t len, uint8_t *out, size_t *ret_len)
{
    return kw_base64_decode(KW_BASE64, text, len, out, KW_AES256_KEY_SIZE, ret_len) ||
           kw_base64_decode(KW_BASE64URL, text, len, out, KW_AES256_KEY_SIZE, ret_len);
}

static bool decode_hex(const char *text, size_t len, uint8_t *out, size_t *ret_len)
{
    return kw_hex_decode(text, len, out, KW_AES256_KEY_SIZE, ret_len);
}

static bool copy_bytes(const char *text, size_t len, uint8_t *out, size_t *ret_len)
{
    if (len > KW_AES256_KEY_SIZE)
        return false;
    memcpy(out, text, len);
    *ret_len = len;
    return true;
}

/* What the length alone says of the form. base64url may lack its padding. */
static const struct form {
    size_t len;
    size_t bytes_per_character;
    bool (*decode)(const char *text, size_t len, uint8_t *out, size_t *ret_len);
} forms[] = {
    {32, 1, copy_bytes},    {43, 1, decode_base64}, {44, 1, decode_base64}, {64, 1, decode_hex},
    {86, 2, decode_base64}, {88, 2, decode_base64}, {128, 2, decode_hex},
};

/* UTF-16LE text of ASCII characters to one byte each; false if one is not ASCII. */
static bool narrow(const uint8_t *wide, size_t count, char *out)
{
    uint8_t high = 0;
    for (size_t i = 0; i < count; i++) {
        out[i] = (char)wide[2 * i];
        high |= wide[2 * i + 1];
    }
    return high == 0;
}

static bool decode_form(const struct form *form, const struct kw_secret *unwrapped,
                        struct kw_secret *text, struct kw_secret *key)
{
    size_t len = form->len / form->bytes_per_character;
    char *characters = (char *)kw_secret_data(text);
    if (form->bytes_per_character == 1)
        memcpy(characters, kw_secret_bytes(unwrapped), len);
    else if (!narrow(kw_secret_bytes(unwrapped), len, characters))
        return false;
    size_t key_len = 0;
    return form->decode(characters, len, kw_secret_data(key), &key_len) &&
           key_len == KW_AES256_KEY_SIZE;
}

enum kw_status kw_data_key_decode(const struct kw_secret *unwrapped, struct kw_secret **ret_key,
                                  struct kw_error *err)
{
    const struct form *form = NULL;
    for (size_t i = 0; i < KW_COUNT(forms); i++)
        if (forms[i].len == kw_secret_len(unwrapped))
            form = &forms[i];
    struct kw_secret *text = NULL;
    struct kw_secret *key = NULL;
    enum kw_status status = kw_secret_new(TEXT_MAX, &text, err);
    if (!status)
        status = kw_secret_new(KW_AES256_KEY_SIZE, &key, err);
    if (!status && !(form && decode_form(form, unwrapped, text, key)))
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "what the wrapped data key holds (%zu bytes) is no AES-256 key, neither "
                         "as bytes nor as base64 or hex; ask the sender how it was wrapped",
                         kw_secret_len(unwrapped));
    kw_secret_free(text);
    if (status) {
        kw_secret_free(key);
        return status;
    }
    kw_secret_set_len(key, KW_AES256_KEY_SIZE);
    *ret_key = key;
    return KW_OK;
}
