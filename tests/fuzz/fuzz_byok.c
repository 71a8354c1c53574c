/* Transfer files: what is read can be written again and reads as the same, or was for no Key Vault.
 */
#include <stdlib.h>
#include <string.h>

#include "byok/byok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void check_read(const struct kw_byok *byok)
{
    unsigned bits[KW_BYOK_KEK_SIZES];
    size_t sizes = kw_byok_kek_sizes(byok, bits);
    must(sizes > 0 && sizes <= KW_BYOK_KEK_SIZES && byok->kid[0]);
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
    struct kw_byok again;
    enum kw_status status = kw_byok_write(byok, &text, NULL);
    must(status == (kw_byok_is_kid(byok->kid) ? KW_OK : KW_USAGE));
    if (!status) {
        must(kw_byok_parse((const char *)text.data, text.len, "again", &again, NULL) == KW_OK);
        must(strcmp(again.kid, byok->kid) == 0 && strcmp(again.generator, byok->generator) == 0);
        must(again.ciphertext.len == byok->ciphertext.len &&
             memcmp(again.ciphertext.data, byok->ciphertext.data, byok->ciphertext.len) == 0);
        kw_byok_cleanup(&again);
    }
    kw_buffer_cleanup(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kw_byok byok;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_byok_parse((const char *)data, size, "fuzz", &byok, &err);
    if (status) {
        must(status == KW_METADATA && err.status == status);
        return 0;
    }
    check_read(&byok);
    kw_byok_cleanup(&byok);
    return 0;
}
