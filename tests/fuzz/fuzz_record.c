/* Records of keys and their signatures: what reads as a record can be written and reads as the
 * same.
 */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "keys/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char fingerprint[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/* Of the key that signed what is in the corpus, and is no more. */
static const char modulus[] =
    "c0ece1a59be63e75c18553d8276514ea68055a41dcea8354f153076704a1460b8ecde8121a0d7551a344b184"
    "313994926663a8152af12e00d61d402bbabdce8307ab29d9e268777aba9c691ad1686c7803c1c81ef31c098d"
    "bc470019e16bef8acc82ff661a38dbaec7c0df72c90d1edade0a4dc0ea59ad918ee79f40731f75d3ca57b302"
    "14d5afed2d807f917d00d00a44d7e572402236e7b3fc082b2e68b7913528c14df23b73c9e3d05e0e22c68df9"
    "426c9a7899fbf945c99fcd548f24c345591a8153cae361f91ce403a66a96a159fb86e85ac6dc8a0a1f8b4741"
    "1ad1b15728a31c9383c83fbd225fbe85b48b3918b714284a46446d5a4282aa6d04b630fd";

static struct kw_crypto *crypto;
static struct kw_token_key signer = {
    .id = "key", .id_len = 3, .sign = true, .public = {.exponent = {1, 0, 1}, .exponent_len = 3}};

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void start(void)
{
    struct kw_rsa_public *public = &signer.public;
    must(kw_secret_start(NULL) == KW_OK && kw_crypto_new(false, &crypto, NULL) == KW_OK);
    must(kw_hex_decode(modulus, strlen(modulus), public->modulus, sizeof(public->modulus),
                       &public->modulus_len));
}

static enum kw_status find(void *context, const char *kid, const struct kw_token_key **ret_signer,
                           struct kw_error *err)
{
    (void)context;
    (void)err;
    *ret_signer = strcmp(kid, "6b6579") == 0 ? &signer : NULL;
    return KW_OK;
}

static void check_record(const char *text, size_t len)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE}, again = {.state = KW_RECORD_NONE};
    struct kw_buffer written = KW_BUFFER_INIT(8 * KW_DATA_MAX); /* escapes may be longer */
    if (kw_record_decode(text, len, fingerprint, &record, NULL)) {
        must(record.state == KW_RECORD_NONE && !record.tags && !record.policy);
        return;
    }
    must(record.state == KW_RECORD_GOOD && record.revision > 0);
    must(kw_record_encode(&record, &signer, fingerprint, &written, NULL) == KW_OK);
    if (written.len <= KW_DATA_MAX) {
        must(kw_record_decode((const char *)written.data, written.len, fingerprint, &again, NULL) ==
             KW_OK);
        must(again.revision == record.revision && again.disabled == record.disabled &&
             strcmp(again.deleted, record.deleted) == 0);
        must(again.ops == record.ops && again.not_before == record.not_before &&
             again.expires == record.expires && !again.policy == !record.policy);
        must(!again.tags == !record.tags);
        must(!again.tags || cJSON_Compare(again.tags, record.tags, true));
    }
    kw_buffer_cleanup(&written);
    kw_key_record_cleanup(&again);
    kw_key_record_cleanup(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kw_buffer payload = KW_BUFFER_INIT(KW_BASE64_DECODED_MAX(KW_DATA_MAX));
    const char *fault = NULL;
    if (!crypto)
        start();
    check_record((const char *)data, size);
    must(kw_jws_verify(crypto, (const char *)data, size, find, NULL, &payload, &fault, NULL) ==
         KW_OK);
    if (!fault)
        check_record((const char *)payload.data, payload.len);
    else
        must(payload.len == 0);
    kw_buffer_cleanup(&payload);
    return 0;
}
