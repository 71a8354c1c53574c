/* What a vault, or whoever pretends to be one, answers: the first byte says as what it is read. */
#include <stdlib.h>
#include <string.h>

#include "vault/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(enum kw_status status, const struct kw_error *err)
{
    if (status != KW_OK && (err->status != status || err->message[0] == '\0'))
        abort();
}

static void read_key(const char *text, size_t len)
{
    struct kw_vault_key key;
    struct kw_error err = {0};
    enum kw_status status = kw_vault_parse_key(text, len, "vault.example", &key, &err);
    check(status, &err);
    if (!status && (!kw_vault_is_name(key.name, strlen(key.name)) ||
                    !kw_vault_is_version(key.version, strlen(key.version)) ||
                    key.public.modulus_len > KW_RSA_MAX_BYTES))
        abort();
}

static void read_page(const char *text, size_t len)
{
    char path[512];
    struct kw_vault_page page = {.items = NULL};
    struct kw_error err = {0};
    enum kw_status status = kw_vault_parse_page(text, len, "vault.example", &page, &err);
    check(status, &err);
    for (size_t i = 0; i < page.count; i++)
        if (!kw_vault_is_name(page.items[i].name, strlen(page.items[i].name)))
            abort();
    if (page.next && kw_vault_local_path(page.next, "vault.example", path, sizeof(path)) &&
        strncmp(path, "/keys", 5) != 0)
        abort();
    kw_vault_page_cleanup(&page);
}

static void read_result(const char *text, size_t len)
{
    const struct kw_vault_key key = {.name = "k", .version = "0123456789abcdef0123456789abcdef"};
    struct kw_secret *secret = NULL;
    struct kw_error err = {0};
    check(kw_vault_parse_result(text, len, "vault.example", &key, &secret, &err), &err);
    kw_secret_free(secret);
}

static void read_token(const char *text, size_t len)
{
    struct kw_vault_token_text token = {.token = NULL};
    struct kw_error err = {0};
    enum kw_status status = kw_vault_parse_token(text, len, "the text", 1700000000, &token, &err);
    check(status, &err);
    for (size_t i = 0; !status && i < kw_secret_len(token.token); i++)
        if (kw_secret_bytes(token.token)[i] <= ' ' || kw_secret_bytes(token.token)[i] >= 0x7f)
            abort(); /* it goes into a header */
    kw_secret_free(token.token);
}

static void read_error(const char *text, size_t len)
{
    char reason[KW_VAULT_REASON_SIZE];
    kw_vault_parse_error(text, len, reason);
    if (strlen(reason) >= sizeof(reason))
        abort();
}

static void read_header(const char *text, size_t len)
{
    char resource[KW_VAULT_RESOURCE_SIZE];
    struct kw_vault_address address;
    char *copy = strndup(text, len);
    if (copy && kw_vault_parse_challenge(copy, resource))
        (void)kw_vault_owns_resource("myvault.example", resource);
    if (copy && !kw_vault_address_parse(copy, &address, NULL) && address.host[0] == '\0')
        abort();
    free(copy);
}

static void (*const readers[])(const char *text, size_t len) = {
    read_key, read_page, read_result, read_token, read_error, read_header,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kw_error err;
    if (size == 0 || kw_secret_start(&err) != KW_OK)
        return 0;
    readers[data[0] % KW_COUNT(readers)]((const char *)data + 1, size - 1);
    return 0;
}
