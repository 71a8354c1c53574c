/* Which key a version means. Never a guess: exactly one key answers, or none is used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define SHOWN_MAX     96
#define SECONDS_A_DAY 86400

struct wanted {
    const char *text;         /* the version, label or id that is looked for; NULL with uri */
    const struct kw_uri *uri; /* or what a URI says */
};

static bool match_uri(const struct kw_token_key *key, const struct wanted *wanted)
{
    return wanted->uri && kw_uri_matches_key(wanted->uri, key);
}

static bool match_id_bytes(const struct kw_token_key *key, const struct wanted *wanted)
{
    uint8_t id[KW_KEY_ID_MAX];
    size_t id_len = 0;
    return wanted->text &&
           kw_hex_decode(wanted->text, strlen(wanted->text), id, sizeof(id), &id_len) &&
           id_len == key->id_len && id_len > 0 && memcmp(id, key->id, id_len) == 0;
}

static bool match_id_text(const struct kw_token_key *key, const struct wanted *wanted)
{
    return wanted->text && key->id_len > 0 && key->id_len == strlen(wanted->text) &&
           memcmp(wanted->text, key->id, key->id_len) == 0;
}

static bool match_label(const struct kw_token_key *key, const struct wanted *wanted)
{
    return wanted->text && strcmp(wanted->text, key->label) == 0;
}

/* NAME/VERSION, or the address of a vault's key, whose host was looked at before. */
static bool match_address(const struct kw_token_key *key, const struct wanted *wanted)
{
    struct kw_vault_address address;
    char id[2 * KW_KEY_ID_MAX + 1];
    if (!wanted->text || (kw_is_vault_url(wanted->text)
                              ? kw_vault_address_parse(wanted->text, &address, NULL) != KW_OK
                              : !kw_vault_key_parse(wanted->text, "", &address)))
        return false;
    kw_hex_encode(key->id, key->id_len, id);
    return strcmp(address.name, key->label) == 0 &&
           (address.version[0] == '\0' || strcmp(address.version, id) == 0);
}

/* The first of these that any key passes decides. A URI asks for nothing else. */
static bool (*const matches[])(const struct kw_token_key *key, const struct wanted *wanted) = {
    match_uri, match_id_bytes, match_id_text, match_label, match_address,
};

static const char *show_key(const struct kw_token_key *key, char out[2 * SHOWN_MAX])
{
    char label[SHOWN_MAX];
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    kw_hex_encode(key->id, key->id_len, id);
    (void)snprintf(out, 2 * SHOWN_MAX, "\"%s\" (id %.64s)", label, id);
    return out;
}

/* ": A, B and 3 more", as far as it fits a message. */
static void list_keys(const struct kw_token_key *keys, size_t count, char *out, size_t out_size)
{
    size_t used = 0;
    size_t listed = 0;
    char shown[2 * SHOWN_MAX];
    out[0] = '\0';
    for (; listed < count; listed++) {
        show_key(&keys[listed], shown);
        if (used + strlen(shown) + sizeof(", and 1000000 more") > out_size)
            break;
        used += (size_t)snprintf(out + used, out_size - used, "%s%s", listed ? ", " : "", shown);
    }
    if (listed < count)
        (void)snprintf(out + used, out_size - used, "%s%zu more", listed ? " and " : "",
                       count - listed);
}

static enum kw_status fail_not_found(const struct kw_token_key *keys, size_t count,
                                     const char *shown, struct kw_error *err)
{
    char listed[300];
    if (count == 0)
        return kw_fail(err, KW_KEY_NOT_FOUND,
                       "no key answers to \"%s\": the token shows no RSA private key; check that "
                       "this is the right token and PIN",
                       shown);
    list_keys(keys, count, listed, sizeof(listed));
    return kw_fail(err, KW_KEY_NOT_FOUND,
                   "no key answers to \"%s\"; the token has %s. Map it with [key VERSION] or --key",
                   shown, listed);
}

/* `only_one`: more than one is KW_KEY_AMBIGUOUS. */
static enum kw_status collect(const struct kw_token_key *keys, size_t count,
                              const struct wanted *wanted, const char *shown, bool only_one,
                              size_t **ret_indices, size_t *ret_count, struct kw_error *err)
{
    size_t *indices = calloc(count + 1, sizeof(*indices));
    size_t found = 0;
    enum kw_status status = KW_OK;
    if (!indices)
        return kw_fail_memory(err);
    for (size_t m = 0; m < KW_COUNT(matches) && found == 0; m++)
        for (size_t i = 0; i < count; i++)
            if (matches[m](&keys[i], wanted))
                indices[found++] = i;
    if (found == 0)
        status = fail_not_found(keys, count, shown, err);
    else if (found > 1 && only_one)
        status = kw_fail(err, KW_KEY_AMBIGUOUS,
                         "%zu keys answer to \"%s\" on the token; name one by its id with --key "
                         "or [key VERSION] (keyward key list shows the ids)",
                         found, shown);
    if (status) {
        free(indices);
        return status;
    }
    *ret_indices = indices;
    *ret_count = found;
    return KW_OK;
}

enum kw_status kw_select_keys(const struct kw_token_key *keys, size_t count, const char *text,
                              bool only_one, size_t **ret_indices, size_t *ret_count,
                              struct kw_error *err)
{
    char shown[SHOWN_MAX];
    if (!kw_is_uri(text)) {
        const struct wanted wanted = {.text = text};
        return collect(keys, count, &wanted, kw_printable(text, strlen(text), shown, sizeof(shown)),
                       only_one, ret_indices, ret_count, err);
    }
    struct kw_uri *uri = NULL;
    enum kw_status status = kw_uri_parse(text, &uri, err);
    if (status)
        return status;
    const struct wanted wanted = {.uri = uri};
    const char *public = kw_uri_public_text(uri);
    if (!kw_uri_names_key(uri))
        status = kw_fail(err, KW_CONFIG, "%s names no key; add object=LABEL or id=%%XX...", public);
    else
        status = collect(keys, count, &wanted, public, only_one, ret_indices, ret_count, err);
    kw_uri_free(uri);
    return status;
}

const char *kw_key_text(const char *version, const char *mapped, const char *override)
{
    return override ? override : mapped ? mapped : version;
}

enum kw_status kw_choose_key(const struct kw_token_key *keys, size_t count, const char *text,
                             size_t *ret_index, struct kw_error *err)
{
    size_t *indices = NULL;
    size_t found = 0;
    enum kw_status status = kw_select_keys(keys, count, text, true, &indices, &found, err);
    if (!status)
        *ret_index = indices[0];
    free(indices);
    return status;
}

/* A key of another token than the one that the URI names is not the key that was meant. */
enum kw_status kw_check_token(const struct kw_keyring *keyring, const char *text,
                              struct kw_error *err)
{
    struct kw_uri *uri = NULL;
    struct kw_vault_address address;
    char shown[SHOWN_MAX];
    if (text && kw_is_vault_url(text) &&
        !(keyring->vault && kw_vault_key_parse(text, kw_vault_host(keyring->vault), &address)))
        return kw_fail(err, KW_KEY_NOT_FOUND,
                       "\"%s\" names no key of \"%s\", which is in use; give its vault with "
                       "--token",
                       kw_printable(text, strlen(text), shown, sizeof(shown)),
                       kw_keyring_info(keyring)->label);
    if (!text || !kw_is_uri(text))
        return KW_OK;
    enum kw_status status = kw_uri_parse(text, &uri, err);
    if (!status && (keyring->vault || !kw_token_answers_to(keyring->token, uri)))
        status = kw_fail(err, KW_KEY_NOT_FOUND,
                         "%s names another token than \"%s\", which is the one in use; give the "
                         "right one with --token",
                         kw_uri_public_text(uri), kw_keyring_info(keyring)->label);
    kw_uri_free(uri);
    return status;
}

/* With the lock held. All keys are read where more than the one that answers must be known: what
 * there is instead of it, or what one token calls a key that another one has to serve with. */
static enum kw_status find(struct kw_keyring *keyring, const char *text,
                           const struct kw_token_key **ret_key, struct kw_error *err)
{
    const struct kw_token_key *key = NULL;
    size_t index = 0;
    enum kw_status status = kw_keyring_open_either(keyring, err);
    if (!status)
        status = kw_check_token(keyring, text, err);
    if (!status && !keyring->twin && (!keyring->keys || keyring->stale))
        status = kw_keyring_pick(keyring, text, &key, err);
    if (!status && !key) {
        status = kw_keyring_connect_either(keyring, err);
        if (!status)
            status = kw_choose_key(keyring->keys, keyring->key_count, text, &index, err);
        if (!status)
            key = &keyring->keys[index];
    }
    if (!status)
        *ret_key = key;
    return status;
}

/* A vault's NAME alone, and the version that is looked for: NAME/VERSION, to be tried first. */
static bool join(const struct kw_keyring *keyring, const char *override, const char *version,
                 char joined[KW_VAULT_NAME_MAX + KW_VAULT_VERSION_LEN + 2])
{
    struct kw_vault_address address;
    if (!keyring->vault || !override ||
        !kw_vault_key_parse(override, kw_vault_host(keyring->vault), &address) ||
        address.version[0] != '\0' || strlen(version) != KW_VAULT_VERSION_LEN)
        return false;
    (void)snprintf(joined, KW_VAULT_NAME_MAX + KW_VAULT_VERSION_LEN + 2, "%s/%s", address.name,
                   version);
    return true;
}

enum kw_status kw_keyring_find(struct kw_keyring *keyring, const char *version,
                               const char *override, const struct kw_token_key **ret_key,
                               struct kw_error *err)
{
    const struct kw_config_key *configured = kw_config_find_key(&keyring->config, version);
    const char *mapped = configured ? configured->uri : NULL;
    const struct kw_token_key *key = NULL;
    char joined[KW_VAULT_NAME_MAX + KW_VAULT_VERSION_LEN + 2];
    enum kw_status status = KW_KEY_NOT_FOUND;
    (void)pthread_mutex_lock(&keyring->lock);
    if (join(keyring, override, version, joined))
        status = find(keyring, joined, &key, err);
    if (status == KW_KEY_NOT_FOUND)
        status = find(keyring, kw_key_text(version, mapped, override), &key, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    if (status)
        return status;
    char shown[2 * SHOWN_MAX];
    if (key->public.modulus_len == 0)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key %s is not an RSA key of 2048 to 4096 bits whose modulus can be read; "
                       "use another key",
                       show_key(key, shown));
    *ret_key = key;
    return KW_OK;
}

/* Days of the calendar, compared as text: PKCS#11 gives dates without a time or a zone. UTC. */
enum kw_validity kw_key_validity(const struct kw_token_key *key, time_t now)
{
    char today[KW_TIMESTAMP_SIZE];
    kw_timestamp(now, today);
    today[10] = '\0';
    if (key->not_before[0] && strcmp(today, key->not_before) < 0)
        return KW_NOT_YET_VALID;
    if (key->expires[0] && strcmp(today, key->expires) > 0)
        return KW_EXPIRED;
    return KW_VALID;
}

long kw_days_until(const char *date, time_t now)
{
    struct tm day = {.tm_year = 70, .tm_mday = 1};
    (void)strptime(date, "%Y-%m-%d", &day); /* a key's dates were checked when they were read */
    return (long)((timegm(&day) - (now - now % SECONDS_A_DAY)) / SECONDS_A_DAY);
}
