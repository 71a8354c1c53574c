/* Base64 and hex: what decodes, encodes to the same text. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* base64url is encoded without the padding that it may have been decoded with. */
static void check_base64(enum kw_base64 alphabet, const char *text, size_t len, uint8_t *out,
                         char *again)
{
    size_t out_len = 0;
    if (!kw_base64_decode(alphabet, text, len, out, KW_BASE64_DECODED_MAX(len), &out_len))
        return;
    must(out_len <= KW_BASE64_DECODED_MAX(len));
    kw_base64_encode(alphabet, out, out_len, again);
    while (alphabet == KW_BASE64URL && len > 0 && text[len - 1] == '=')
        len--;
    must(strlen(again) == len && memcmp(again, text, len) == 0);
    /* one byte less of room is refused */
    must(out_len == 0 || !kw_base64_decode(alphabet, text, len, out, out_len - 1, &out_len));
}

static void check_hex(const char *text, size_t len, uint8_t *out, char *again)
{
    size_t out_len = 0;
    if (!kw_hex_decode(text, len, out, len / 2, &out_len))
        return;
    kw_hex_encode(out, out_len, again);
    must(strlen(again) == len && strncasecmp(again, text, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    uint8_t *out = malloc(KW_BASE64_DECODED_MAX(size));
    char *again = malloc(KW_BASE64_ENCODED_SIZE(size) + 4);
    if (out && again) {
        check_base64(KW_BASE64, (const char *)data, size, out, again);
        check_base64(KW_BASE64URL, (const char *)data, size, out, again);
        check_hex((const char *)data, size, out, again);
    }
    free(out);
    free(again);
    return 0;
}
