/* The keys on the token that sign records. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define DEFAULT_SIGNER "keyward-records"
#define SIGNER_BITS    2048
#define SIGNER_ID_SIZE 16

const char *kw_signer_label(const struct kw_keyring *keyring)
{
    const char *configured = keyring->config.life.records_key;
    return configured ? configured : DEFAULT_SIGNER;
}

enum kw_status kw_check_not_signer_label(const struct kw_keyring *keyring, const char *label,
                                         struct kw_error *err)
{
    char shown[96];
    if (strcmp(label, kw_signer_label(keyring)) != 0)
        return KW_OK;
    return kw_fail(err, KW_USAGE,
                   "\"%s\" is the name of the key that signs the records of keys, and is made "
                   "where it is needed; choose another name",
                   kw_printable(label, strlen(label), shown, sizeof(shown)));
}

/* Some tokens let every key decrypt too. It is never used for that, see kw_check_use: what it
 * decrypts on request could look like a signature. */
bool kw_is_signer(const struct kw_keyring *keyring, const struct kw_token_key *key)
{
    return key->sign && key->id_len > 0 && key->public.modulus_len > 0 &&
           strcmp(key->label, kw_signer_label(keyring)) == 0;
}

/* The one with that id, or any where `kid` is NULL. */
static const struct kw_token_key *find_among(const struct kw_keyring *keyring,
                                             const struct kw_token_key *keys, size_t count,
                                             const char *kid)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    for (size_t i = 0; i < count; i++) {
        if (!kw_is_signer(keyring, &keys[i]))
            continue;
        kw_hex_encode(keys[i].id, keys[i].id_len, id);
        if (!kid || strcmp(kid, id) == 0)
            return &keys[i];
    }
    return NULL;
}

static const struct kw_token_key *find_known(const struct kw_keyring *keyring, const char *kid)
{
    const struct kw_token_key *signer = find_among(keyring, keyring->keys, keyring->key_count, kid);
    return signer ? signer : find_among(keyring, keyring->signers, keyring->signer_count, kid);
}

static enum kw_status add_signer(struct kw_keyring *keyring, const struct kw_token_key *signer,
                                 struct kw_error *err)
{
    struct kw_token_key *grown =
        reallocarray(keyring->signers, keyring->signer_count + 1, sizeof(*grown));
    if (!grown)
        return kw_fail_memory(err);
    grown[keyring->signer_count++] = *signer;
    keyring->signers = grown;
    return KW_OK;
}

static enum kw_status read_those(struct kw_keyring *keyring, const struct kw_key_filter *filter,
                                 struct kw_error *err)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    enum kw_status status = kw_token_keys_of(keyring->token, filter, &keys, &count, err);
    if (status)
        return status;
    keyring->signer_count = 0;
    for (size_t i = 0; i < count && !status; i++)
        if (kw_is_signer(keyring, &keys[i]))
            status = add_signer(keyring, &keys[i], err);
    free(keys);
    return status;
}

/* All keys are read only where none has its label to the letter: a token may keep labels in a way
 * of its own. Another program may have made one since the keys were read. Not oftener than records
 * are. */
static enum kw_status read_signers(struct kw_keyring *keyring, struct kw_error *err)
{
    const char *label = kw_signer_label(keyring);
    const struct kw_key_filter filter = {.label = label, .label_len = strlen(label)};
    if (keyring->signers_read)
        return KW_OK;
    enum kw_status status = read_those(keyring, &filter, err);
    if (!status && keyring->signer_count == 0)
        status = read_those(keyring, NULL, err);
    keyring->signers_read = status == KW_OK;
    return status;
}

enum kw_status kw_signer_find(void *context, const char *kid,
                              const struct kw_token_key **ret_signer, struct kw_error *err)
{
    struct kw_keyring *keyring = context;
    const struct kw_token_key *signer = find_known(keyring, kid);
    enum kw_status status = signer ? KW_OK : read_signers(keyring, err);
    if (!status)
        *ret_signer = signer ? signer : find_known(keyring, kid);
    return status;
}

static enum kw_status make_signer(struct kw_keyring *keyring, struct kw_error *err)
{
    uint8_t id[SIGNER_ID_SIZE];
    const struct kw_key_plan plan = {.use = KW_USE_SIGN,
                                     .label = kw_signer_label(keyring),
                                     .id = id,
                                     .id_len = sizeof(id),
                                     .bits = SIGNER_BITS};
    struct kw_token_key signer;
    enum kw_status status = kw_random(keyring->crypto, id, sizeof(id), err);
    if (!status)
        status = kw_token_make_key(keyring->token, &plan, &signer, err);
    return status ? status : add_signer(keyring, &signer, err);
}

enum kw_status kw_signer_get(struct kw_keyring *keyring, const struct kw_token_key **ret_signer,
                             struct kw_error *err)
{
    enum kw_status status = KW_OK;
    if (!find_known(keyring, NULL)) {
        keyring->signers_read = false;
        status = read_signers(keyring, err);
    }
    if (!status && !find_known(keyring, NULL))
        status = make_signer(keyring, err);
    if (status)
        return status;
    const struct kw_token_key *signer = find_known(keyring, NULL);
    if (!signer)
        return kw_fail(
            err, KW_KEY_UNUSABLE,
            "the new key \"%s\" on the token \"%s\" does not read back as one that signs; "
            "records can't be kept there",
            kw_signer_label(keyring), kw_token_info(keyring->token)->label);
    *ret_signer = signer;
    return KW_OK;
}
