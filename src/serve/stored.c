/* What Key Vault tells of a key version. */
#include <string.h>

#include "serve/store.h"

#define SECONDS_A_DAY 86400

bool kw_is_vault_name(const char *text)
{
    size_t len = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-");
    return len >= 1 && len <= KW_NAME_MAX && text[len] == '\0';
}

enum kw_status kw_version_name(struct kw_crypto *crypto, const struct kw_token_key *key,
                               char out[KW_VERSION_DIGITS + 1], struct kw_error *err)
{
    uint8_t fingerprint[KW_SHA256_SIZE];
    const uint8_t *id = key->id;
    if (key->id_len != KW_VERSION_DIGITS / 2) {
        enum kw_status status = kw_rsa_fingerprint(crypto, &key->public, fingerprint, err);
        if (status)
            return status;
        id = fingerprint;
    }
    kw_hex_encode(id, KW_VERSION_DIGITS / 2, out);
    return KW_OK;
}

bool kw_stored_is_deleted(const struct kw_stored *stored)
{
    return kw_key_state(stored->record) == KW_KEY_DELETED;
}

int64_t kw_time_of(const char *timestamp)
{
    struct tm tm = {.tm_isdst = 0};
    const char *end = timestamp[0] ? strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;
    return end && *end == '\0' ? (int64_t)timegm(&tm) : 0;
}

/* The first second of a date such as "2026-10-05". */
static int64_t day_of(const char *date)
{
    struct tm tm = {.tm_isdst = 0};
    const char *end = date[0] ? strptime(date, "%Y-%m-%d", &tm) : NULL;
    return end && *end == '\0' ? (int64_t)timegm(&tm) : 0;
}

int64_t kw_stored_not_before(const struct kw_stored *stored)
{
    return stored->record->not_before ? stored->record->not_before
                                      : day_of(stored->key->not_before);
}

int64_t kw_stored_expires(const struct kw_stored *stored)
{
    int64_t day = day_of(stored->key->expires);
    if (stored->record->expires)
        return stored->record->expires;
    return day ? day + SECONDS_A_DAY - 1 : 0;
}

int64_t kw_stored_created(const struct kw_stored *stored)
{
    return kw_time_of(stored->record->created);
}

int64_t kw_stored_updated(const struct kw_stored *stored)
{
    int64_t updated = kw_time_of(stored->record->updated);
    return updated ? updated : kw_stored_created(stored);
}

unsigned kw_stored_ops(const struct kw_stored *stored)
{
    const struct kw_version version = {.key = stored->key, .record = stored->record};
    return kw_version_ops(&version);
}
