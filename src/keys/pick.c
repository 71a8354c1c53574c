/* One key of a token, without reading the others: a token may have thousands. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define FILTERS_MAX 3

/* What a version, a label or an id is looked for as, one after the other, in the order in which
 * kw_choose_key lets them decide. */
static size_t filters_of_text(const char *text, uint8_t id[KW_KEY_ID_MAX],
                              struct kw_key_filter filters[FILTERS_MAX])
{
    size_t len = strlen(text);
    size_t id_len = 0;
    size_t count = 0;
    if (kw_hex_decode(text, len, id, KW_KEY_ID_MAX, &id_len) && id_len > 0)
        filters[count++] = (struct kw_key_filter){.id = id, .id_len = id_len};
    if (len > 0 && len <= KW_KEY_ID_MAX)
        filters[count++] = (struct kw_key_filter){.id = (const uint8_t *)text, .id_len = len};
    if (len > 0 && len <= KW_KEY_LABEL_MAX)
        filters[count++] = (struct kw_key_filter){.label = text, .label_len = len};
    return count;
}

/* Like all keys, one is read once: a token that has just come back may show none. */
static const struct kw_token_key *find_picked(const struct kw_keyring *keyring, const char *text)
{
    const struct picked_key *picked = keyring->picked;
    while (picked && strcmp(picked->text, text) != 0)
        picked = picked->next;
    return picked && !keyring->stale ? &picked->key : NULL;
}

static enum kw_status keep(struct kw_keyring *keyring, const char *text,
                           const struct kw_token_key *key, const struct kw_token_key **ret_key,
                           struct kw_error *err)
{
    struct picked_key *picked = calloc(1, sizeof(*picked));
    char *copy = strdup(text);
    if (!picked || !copy) {
        free(picked);
        free(copy);
        return kw_fail_memory(err);
    }
    if (keyring->stale)
        kw_forget_keys(keyring);
    keyring->stale = false;
    *picked = (struct picked_key){.text = copy, .key = *key, .next = keyring->picked};
    keyring->picked = picked;
    *ret_key = &picked->key;
    return KW_OK;
}

static bool fits(const struct kw_token_key *key, const struct kw_key_filter *filter)
{
    return (filter->id_len == 0 ||
            (filter->id_len == key->id_len && memcmp(filter->id, key->id, key->id_len) == 0)) &&
           (filter->label_len == 0 || (filter->label_len == strlen(key->label) &&
                                       memcmp(filter->label, key->label, filter->label_len) == 0));
}

/* The token may give what was not asked for; that decides nothing. */
static enum kw_status pick(struct kw_keyring *keyring, const struct kw_key_filter *filter,
                           const char *text, const struct kw_token_key **ret_key,
                           struct kw_error *err)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    size_t index = 0;
    enum kw_status status = kw_token_keys_of(keyring->token, filter, &keys, &count, err);
    if (!status && count > 0) {
        status = kw_choose_key(keys, count, text, &index, err);
        if (!status && fits(&keys[index], filter))
            status = keep(keyring, text, &keys[index], ret_key, err);
        else if (status == KW_KEY_NOT_FOUND)
            status = KW_OK;
    }
    free(keys);
    return status;
}

/* A vault is asked for what the text means, and for no more. */
static enum kw_status pick_from_vault(struct kw_keyring *keyring, const char *text,
                                      const struct kw_token_key **ret_key, struct kw_error *err)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    size_t index = 0;
    enum kw_status status = kw_vault_keys_of(keyring, text, &keys, &count, err);
    if (!status && count > 1)
        status = kw_choose_key(keys, count, keys[0].label, &index, err);
    if (!status)
        status = keep(keyring, text, &keys[index], ret_key, err);
    free(keys);
    return status;
}

enum kw_status kw_keyring_pick(struct kw_keyring *keyring, const char *text,
                               const struct kw_token_key **ret_key, struct kw_error *err)
{
    uint8_t id[KW_KEY_ID_MAX];
    struct kw_key_filter filters[FILTERS_MAX];
    struct kw_uri *uri = NULL;
    size_t count = 0;
    *ret_key = find_picked(keyring, text);
    if (*ret_key)
        return KW_OK;
    if (keyring->vault)
        return pick_from_vault(keyring, text, ret_key, err);
    enum kw_status status = KW_OK;
    if (kw_is_uri(text)) {
        status = kw_uri_parse(text, &uri, err);
        if (!status && kw_uri_names_key(uri))
            filters[count++] = kw_uri_filter(uri);
    } else {
        count = filters_of_text(text, id, filters);
    }
    for (size_t i = 0; i < count && !*ret_key && !status; i++)
        status = pick(keyring, &filters[i], text, ret_key, err);
    kw_uri_free(uri);
    return status;
}
