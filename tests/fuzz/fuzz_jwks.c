/* Fuzzes JWK sets, as a server or a file gives them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "serve/access_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kw_jwk_set *set = NULL;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_jwk_set_parse((const char *)data, size, "set", &set, &err);
    if (status == KW_OK && (!set || kw_jwk_set_count(set) == 0 || kw_jwk_set_count(set) > 64))
        abort();
    if (status != KW_OK && (status != KW_CONFIG || err.status != status || set))
        abort();
    if (set) {
        (void)kw_jwk_set_find(set, KW_JWS_ES256, NULL);
        (void)kw_jwk_set_find(set, KW_JWS_RS256, "1");
    }
    kw_jwk_set_free(set);
    return 0;
}
