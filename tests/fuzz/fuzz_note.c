/* Checkpoints: what is read says the same when it is written again, and no one's signature is
 * accepted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/audit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_text(const struct kw_checkpoint *checkpoint, const char *note, size_t text_len)
{
    char root[KW_BASE64_ENCODED_SIZE(KW_SHA256_SIZE)];
    char text[KW_ORIGIN_MAX + 100];
    kw_base64_encode(KW_BASE64, checkpoint->root.bytes, KW_SHA256_SIZE, root);
    int len = snprintf(text, sizeof(text), "%s\n%llu\n%s\n", checkpoint->origin,
                       (unsigned long long)checkpoint->size, root);
    must(len > 0 && (size_t)len == text_len && memcmp(text, note, text_len) == 0);
    must(checkpoint->size <= KW_TRAIL_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kw_crypto *crypto;
    static struct kw_public_key *key;
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeQ0D44IZ8NwgENM9TcdUxtPzv3uE\n"
                              "LbPEIGU9HA7Grki3lKMXGS7k5+dXM73M8tllGNi1jxOoFsOicc+JLQ6mJw==\n"
                              "-----END PUBLIC KEY-----\n";
    const char *note = (const char *)data;
    struct kw_checkpoint checkpoint;
    struct kw_error err = {.status = KW_OK};
    size_t text_len = 0;
    if (!crypto)
        must(kw_crypto_new(false, &crypto, NULL) == KW_OK &&
             kw_public_key_from_pem(crypto, pem, strlen(pem), "key", &key, NULL) == KW_OK);
    enum kw_status status = kw_checkpoint_parse(note, size, "fuzz", &checkpoint, &text_len, &err);
    must(status == err.status && (status == KW_OK || status == KW_AUDIT));
    if (!status)
        check_text(&checkpoint, note, text_len);
    must(kw_checkpoint_verify(crypto, note, size, &key, 1, "fuzz", &checkpoint, NULL, NULL) ==
         KW_AUDIT);
    return 0;
}
