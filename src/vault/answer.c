/* What a vault answers: JSON of Key Vault's keys API, 7.4. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "vault/internal.h"

#define PAGE_ITEMS_MAX 1024
#define TIME_MAX       253402300799.0 /* the year 9999 */

static const struct kw_json_limits limits = {
    .bytes = KW_VAULT_TEXT_MAX, .depth = 16, .items = 65536};

static enum kw_status fail_answer(const char *host, const char *what, struct kw_error *err)
{
    return kw_fail(err, KW_TOKEN,
                   "%s answers with %s that is not as Key Vault's API has it; check that this is "
                   "the address of a vault",
                   host, what);
}

static enum kw_status parse(const char *text, size_t len, const char *host, cJSON **ret_json,
                            struct kw_error *err)
{
    char what[KW_VAULT_HOST_SIZE + 32];
    (void)snprintf(what, sizeof(what), "the answer of %s", host);
    return kw_json_parse(text, len, &limits, what, KW_TOKEN, ret_json, err);
}

static const cJSON *get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(get(object, name));
}

/* The last two parts of https://HOST/keys/NAME[/VERSION], whatever the host: behind a proxy it may
 * be called otherwise, and nothing is sent there. */
static bool split_kid(const char *kid, struct kw_vault_address *ret_address)
{
    return kid && kw_vault_address_parse(kid, ret_address, NULL) == KW_OK &&
           ret_address->name[0] != '\0';
}

/* ---- a key ---- */

/* Base64url of a number; leading zeros, which some servers write, don't count. */
static bool take_number(const char *text, uint8_t *out, size_t capacity, size_t *ret_len)
{
    uint8_t bytes[KW_RSA_MAX_BYTES + 1];
    size_t len = 0, zeros = 0;
    if (!text || !kw_base64_decode(KW_BASE64URL, text, strlen(text), bytes, sizeof(bytes), &len))
        return false;
    while (zeros < len && bytes[zeros] == 0)
        zeros++;
    if (len - zeros == 0 || len - zeros > capacity)
        return false;
    memcpy(out, bytes + zeros, len - zeros);
    *ret_len = len - zeros;
    return true;
}

/* Another kind of key, or size, is no fault; it is not used. */
static void take_public(const cJSON *jwk, struct kw_rsa_public *public)
{
    struct kw_rsa_public taken = {.modulus_len = 0};
    const char *kty = text_of(jwk, "kty");
    if (!kty || (strcmp(kty, "RSA") != 0 && strcmp(kty, "RSA-HSM") != 0) ||
        !take_number(text_of(jwk, "n"), taken.modulus, sizeof(taken.modulus), &taken.modulus_len) ||
        !take_number(text_of(jwk, "e"), taken.exponent, sizeof(taken.exponent),
                     &taken.exponent_len) ||
        kw_rsa_bits(&taken) < KW_RSA_MIN_BITS)
        return;
    *public = taken;
}

static void take_ops(const cJSON *ops, struct kw_vault_key *key)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"decrypt", &key->decrypt}, {"unwrapKey", &key->unwrap}, {"sign", &key->sign}};
    const cJSON *op;
    cJSON_ArrayForEach(op, ops)
    {
        const char *name = cJSON_GetStringValue(op);
        for (size_t i = 0; i < KW_COUNT(flags) && name; i++)
            *flags[i].flag |= strcmp(name, flags[i].name) == 0;
    }
}

static int64_t take_time(const cJSON *attributes, const char *name)
{
    const cJSON *value = get(attributes, name);
    bool sane = cJSON_IsNumber(value) && value->valuedouble >= 0 && value->valuedouble <= TIME_MAX;
    return sane ? (int64_t)value->valuedouble : 0;
}

static bool take_key(const cJSON *json, struct kw_vault_key *key)
{
    const cJSON *jwk = get(json, "key"), *attributes = get(json, "attributes");
    const char *kty = text_of(jwk, "kty");
    struct kw_vault_address kid;
    if (!split_kid(text_of(jwk, "kid"), &kid) || kid.version[0] == '\0' || !kty)
        return false;
    *key = (struct kw_vault_key){.enabled = !cJSON_IsFalse(get(attributes, "enabled")),
                                 .exportable = cJSON_IsTrue(get(attributes, "exportable")),
                                 .hsm = strstr(kty, "-HSM") != NULL,
                                 .not_before = take_time(attributes, "nbf"),
                                 .expires = take_time(attributes, "exp"),
                                 .created = take_time(attributes, "created"),
                                 .updated = take_time(attributes, "updated")};
    memcpy(key->name, kid.name, sizeof(key->name));
    memcpy(key->version, kid.version, sizeof(key->version));
    take_public(jwk, &key->public);
    take_ops(get(jwk, "key_ops"), key);
    return true;
}

enum kw_status kw_vault_parse_key(const char *text, size_t len, const char *host,
                                  struct kw_vault_key *ret_key, struct kw_error *err)
{
    cJSON *json = NULL;
    struct kw_vault_key key;
    enum kw_status status = parse(text, len, host, &json, err);
    if (status)
        return status;
    bool good = take_key(json, &key);
    cJSON_Delete(json);
    if (!good)
        return fail_answer(host, "a key", err);
    *ret_key = key;
    return KW_OK;
}

/* ---- a page of a list ---- */

void kw_vault_page_cleanup(struct kw_vault_page *page)
{
    free(page->items);
    free(page->next);
    *page = (struct kw_vault_page){.items = NULL};
}

static bool take_item(const cJSON *json, struct kw_vault_item *item)
{
    struct kw_vault_address kid;
    if (!split_kid(text_of(json, "kid"), &kid))
        return false;
    *item =
        (struct kw_vault_item){.enabled = !cJSON_IsFalse(get(get(json, "attributes"), "enabled"))};
    memcpy(item->name, kid.name, sizeof(item->name));
    memcpy(item->version, kid.version, sizeof(item->version));
    return true;
}

static enum kw_status take_page(const cJSON *json, const char *host, struct kw_vault_page *page,
                                struct kw_error *err)
{
    const cJSON *value = get(json, "value"), *next = get(json, "nextLink"), *item;
    int count = cJSON_GetArraySize(value);
    if (!cJSON_IsArray(value) || count > PAGE_ITEMS_MAX ||
        (next && !cJSON_IsNull(next) && !cJSON_IsString(next)))
        return fail_answer(host, "a list", err);
    page->items = calloc((size_t)count + 1, sizeof(*page->items));
    if (!page->items)
        return kw_fail_memory(err);
    cJSON_ArrayForEach(item, value)
    {
        if (!take_item(item, &page->items[page->count]))
            return fail_answer(host, "an entry of a list", err);
        page->count++;
    }
    const char *link = cJSON_GetStringValue(next);
    if (link && link[0] != '\0' && !(page->next = strdup(link)))
        return kw_fail_memory(err);
    return KW_OK;
}

enum kw_status kw_vault_parse_page(const char *text, size_t len, const char *host,
                                   struct kw_vault_page *ret_page, struct kw_error *err)
{
    cJSON *json = NULL;
    struct kw_vault_page page = {.items = NULL};
    enum kw_status status = parse(text, len, host, &json, err);
    if (status)
        return status;
    status = take_page(json, host, &page, err);
    cJSON_Delete(json);
    if (status) {
        kw_vault_page_cleanup(&page);
        return status;
    }
    *ret_page = page;
    return KW_OK;
}

/* ---- what was unwrapped ---- */

static enum kw_status take_secret(const char *text, const char *host, struct kw_secret **ret_secret,
                                  struct kw_error *err)
{
    struct kw_secret *secret = NULL;
    size_t len = 0;
    enum kw_status status = kw_secret_new(KW_RSA_MAX_BYTES, &secret, err);
    if (status)
        return status;
    if (!text || !kw_base64_decode(KW_BASE64URL, text, strlen(text), kw_secret_data(secret),
                                   KW_RSA_MAX_BYTES, &len)) {
        kw_secret_free(secret);
        return fail_answer(host, "an unwrapped key", err);
    }
    kw_secret_set_len(secret, len);
    *ret_secret = secret;
    return KW_OK;
}

enum kw_status kw_vault_parse_result(const char *text, size_t len, const char *host,
                                     const struct kw_vault_key *key, struct kw_secret **ret_secret,
                                     struct kw_error *err)
{
    cJSON *json = NULL;
    struct kw_vault_address kid;
    enum kw_status status = parse(text, len, host, &json, err);
    if (status)
        return status;
    if (!split_kid(text_of(json, "kid"), &kid) || strcasecmp(kid.name, key->name) != 0 ||
        strcmp(kid.version, key->version) != 0)
        status = fail_answer(host, "a result of another key", err);
    else
        status = take_secret(text_of(json, "value"), host, ret_secret, err);
    kw_json_wipe_delete(json);
    return status;
}

/* ---- errors ---- */

void kw_vault_parse_error(const char *text, size_t len, char out[KW_VAULT_REASON_SIZE])
{
    static const size_t code_size = 60;
    cJSON *json = NULL;
    out[0] = '\0';
    if (parse(text, len, "the vault", &json, NULL))
        return;
    const cJSON *error = get(json, "error");
    const char *code = text_of(error, "code"), *message = text_of(error, "message");
    const char *inner = text_of(get(error, "innererror"), "code");
    if (inner)
        code = inner;
    if (code)
        kw_printable(code, strlen(code), out, code_size);
    size_t used = strlen(out);
    if (message && used > 0)
        used += (size_t)snprintf(out + used, KW_VAULT_REASON_SIZE - used, ": ");
    if (message)
        kw_printable(message, strlen(message), out + used, KW_VAULT_REASON_SIZE - used);
    cJSON_Delete(json);
}
