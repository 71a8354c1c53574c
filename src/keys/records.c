/* Records of keys: read, judged, signed and stored. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define APPLICATION    "keyward"
#define LABEL_PREFIX   "record "
#define DEFAULT_SIGNER "keyward-records"
#define SIGNER_BITS    2048
#define SIGNER_ID_SIZE 16

#define FINGERPRINT_SIZE (2 * KW_SHA256_SIZE + 1)
#define LABEL_SIZE       (sizeof(LABEL_PREFIX) - 1 + FINGERPRINT_SIZE)

/* The label of a key's record; its end is the fingerprint of the modulus, in hex. */
static enum kw_status name_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  char label[LABEL_SIZE], struct kw_error *err)
{
    uint8_t sha256[KW_SHA256_SIZE];
    enum kw_status status =
        kw_sha256(keyring->crypto, key->public.modulus, key->public.modulus_len, sha256, err);
    if (status)
        return status;
    memcpy(label, LABEL_PREFIX, sizeof(LABEL_PREFIX) - 1);
    kw_hex_encode(sha256, sizeof(sha256), label + sizeof(LABEL_PREFIX) - 1);
    return KW_OK;
}

static const char *fingerprint_of(const char label[LABEL_SIZE])
{
    return label + sizeof(LABEL_PREFIX) - 1;
}

/* ---- who signs ---- */

static const char *signer_label(const struct kw_keyring *keyring)
{
    const char *configured = keyring->config.life.records_key;
    return configured ? configured : DEFAULT_SIGNER;
}

/* Some tokens let every key decrypt too. It is never used for that: what it decrypts on request
 * could look like a signature. */
static bool is_signer(const struct kw_keyring *keyring, const struct kw_token_key *key)
{
    return key->sign && key->id_len > 0 && key->public.modulus_len > 0 &&
           strcmp(key->label, signer_label(keyring)) == 0;
}

/* The one with that id, or any where `kid` is NULL. */
static const struct kw_token_key *find_signer(void *context, const char *kid)
{
    const struct kw_keyring *keyring = context;
    char id[2 * KW_KEY_ID_MAX + 1];
    for (size_t i = 0; i <= keyring->key_count; i++) {
        const struct kw_token_key *key =
            i < keyring->key_count ? &keyring->keys[i] : keyring->own_signer;
        if (!key || !is_signer(keyring, key))
            continue;
        kw_hex_encode(key->id, key->id_len, id);
        if (!kid || strcmp(kid, id) == 0)
            return key;
    }
    return NULL;
}

static enum kw_status make_signer(struct kw_keyring *keyring, struct kw_error *err)
{
    uint8_t id[SIGNER_ID_SIZE];
    const struct kw_key_plan plan = {.use = KW_USE_SIGN,
                                     .label = signer_label(keyring),
                                     .id = id,
                                     .id_len = sizeof(id),
                                     .bits = SIGNER_BITS};
    struct kw_token_key *signer = malloc(sizeof(*signer));
    if (!signer)
        return kw_fail_memory(err);
    enum kw_status status = kw_random(keyring->crypto, id, sizeof(id), err);
    if (!status)
        status = kw_token_make_key(keyring->token, &plan, signer, err);
    if (status) {
        free(signer);
        return status;
    }
    free(keyring->own_signer);
    keyring->own_signer = signer;
    return KW_OK;
}

static enum kw_status get_signer(struct kw_keyring *keyring, const struct kw_token_key **ret_signer,
                                 struct kw_error *err)
{
    const struct kw_token_key *signer = find_signer(keyring, NULL);
    if (!signer) {
        enum kw_status status = make_signer(keyring, err);
        if (status)
            return status;
        signer = find_signer(keyring, NULL);
    }
    if (!signer)
        return kw_fail(
            err, KW_KEY_UNUSABLE,
            "the new key \"%s\" on the token \"%s\" does not read back as one that signs; "
            "records can't be kept there",
            signer_label(keyring), kw_token_info(keyring->token)->label);
    *ret_signer = signer;
    return KW_OK;
}

/* ---- judging what is stored ---- */

/* What one stored value adds to what is known of the key. Any that is bad makes the record bad:
 * an edited one must not leave an older one in force. */
static void take(struct kw_keyring *keyring, const struct kw_token_data *stored,
                 const char label[LABEL_SIZE], struct kw_key_record *record)
{
    struct kw_buffer payload = KW_BUFFER_INIT(KW_BASE64_DECODED_MAX(KW_DATA_MAX));
    struct kw_key_record next = {.state = KW_RECORD_NONE};
    if (record->state == KW_RECORD_BAD)
        return;
    const char *fault =
        kw_jws_verify(keyring->crypto, stored->value, stored->len, find_signer, keyring, &payload);
    if (!fault &&
        !kw_record_decode((const char *)payload.data, payload.len, fingerprint_of(label), &next))
        fault = "it is not this key's";
    kw_buffer_cleanup(&payload);
    if (fault) {
        kw_key_record_cleanup(record);
        *record = (struct kw_key_record){.state = KW_RECORD_BAD, .fault = fault};
    } else if (next.revision > record->revision) {
        kw_key_record_cleanup(record);
        *record = next;
    } else {
        kw_key_record_cleanup(&next);
    }
}

/* From the token and from the catalogue; label NULL: all. */
static enum kw_status read_stored(struct kw_keyring *keyring, const char *label,
                                  struct kw_token_data **ret_data, size_t *ret_count,
                                  struct kw_error *err)
{
    struct kw_token_data *data = NULL;
    size_t count = 0;
    enum kw_status status =
        kw_token_data_read(keyring->token, APPLICATION, label, &data, &count, err);
    if (!status)
        status = kw_catalogue_read(&keyring->config, kw_token_info(keyring->token), label, &data,
                                   &count, err);
    if (status) {
        kw_token_data_free(data, count);
        return status;
    }
    *ret_data = data;
    *ret_count = count;
    return KW_OK;
}

enum kw_status kw_record_load(struct kw_keyring *keyring, const struct kw_token_key *key,
                              struct kw_key_record *record, struct kw_error *err)
{
    char label[LABEL_SIZE];
    struct kw_token_data *data = NULL;
    size_t count = 0;
    enum kw_status status = name_record(keyring, key, label, err);
    if (!status)
        status = read_stored(keyring, label, &data, &count, err);
    for (size_t i = 0; i < count && !status; i++)
        take(keyring, &data[i], label, record);
    kw_token_data_free(data, count);
    return status;
}

/* ---- storing ---- */

/* The token first. What it does not take goes to the catalogue; what it takes now is no longer
 * looked for there. */
static enum kw_status store(struct kw_keyring *keyring, const char *label, const char *value,
                            size_t len, struct kw_error *err)
{
    const struct kw_token_info *token = kw_token_info(keyring->token);
    enum kw_status status =
        kw_token_data_write(keyring->token, APPLICATION, label, value, len, err);
    if (status != KW_OK && status != KW_KEY_UNUSABLE)
        return status;
    return kw_catalogue_write(&keyring->config, token, label, status ? value : NULL, err);
}

enum kw_status kw_record_save(struct kw_keyring *keyring, const struct kw_token_key *key,
                              struct kw_key_record *record, struct kw_error *err)
{
    char label[LABEL_SIZE];
    const struct kw_token_key *signer = NULL;
    struct kw_buffer payload = KW_BUFFER_INIT(KW_DATA_MAX / 4 * 3 - 2 * KW_RSA_MAX_BYTES);
    struct kw_buffer jws = KW_BUFFER_INIT(KW_DATA_MAX + 1);
    enum kw_status status;
    record->revision++;
    if (!(status = name_record(keyring, key, label, err)) &&
        !(status = kw_record_encode(record, key, fingerprint_of(label), &payload, err)) &&
        !(status = get_signer(keyring, &signer, err)) &&
        !(status = kw_jws_sign(keyring->token, signer, &payload, &jws, err)) &&
        !(status = kw_buffer_append(&jws, "", 1, err)))
        status = store(keyring, label, (const char *)jws.data, jws.len - 1, err);
    if (!status)
        record->state = KW_RECORD_GOOD;
    kw_buffer_cleanup(&payload);
    kw_buffer_cleanup(&jws);
    return status;
}

void kw_record_begin(struct kw_keyring *keyring, const struct kw_token_key *key,
                     enum kw_origin origin)
{
    struct kw_key_record record = {
        .origin = origin, .decrypt = key->decrypt, .unwrap = key->unwrap};
    struct kw_error err;
    const struct kw_token_info *token = kw_token_info(keyring->token);
    kw_timestamp(time(NULL), record.created);
    if (origin == KW_ORIGIN_TOKEN)
        memcpy(record.made_on, token->serial, sizeof(record.made_on));
    if (kw_record_save(keyring, key, &record, &err) != KW_OK)
        kw_strings_warn(&keyring->warnings,
                        "the key was made, but no record says when and how: %.300s", err.message);
    kw_key_record_cleanup(&record);
}

enum kw_status kw_record_remove(struct kw_keyring *keyring, const struct kw_token_key *key,
                                struct kw_error *err)
{
    char label[LABEL_SIZE];
    enum kw_status status = name_record(keyring, key, label, err);
    if (!status)
        status = kw_token_data_remove(keyring->token, APPLICATION, label, err);
    if (!status)
        status =
            kw_catalogue_write(&keyring->config, kw_token_info(keyring->token), label, NULL, err);
    return status;
}

/* ---- of the keyring's keys ---- */

/* Keys whose modulus is not known have no record. */
static enum kw_status note_one(struct kw_keyring *keyring, size_t index, struct kw_error *err)
{
    struct key_note *note = &keyring->notes[index];
    if (note->read || keyring->keys[index].public.modulus_len == 0)
        return KW_OK;
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    enum kw_status status = kw_record_load(keyring, &keyring->keys[index], &record, err);
    if (status)
        return status;
    note->record = record;
    note->read = true;
    return KW_OK;
}

static int by_label(const void *a, const void *b)
{
    return strcmp(((const struct kw_token_data *)a)->label,
                  ((const struct kw_token_data *)b)->label);
}

/* All values of one label in the sorted data. */
static void take_all(struct kw_keyring *keyring, const struct kw_token_data *data, size_t count,
                     const char label[LABEL_SIZE], struct kw_key_record *record)
{
    struct kw_token_data wanted = {.value = NULL};
    memcpy(wanted.label, label, LABEL_SIZE);
    const struct kw_token_data *hit = bsearch(&wanted, data, count, sizeof(*data), by_label);
    if (!hit)
        return;
    while (hit > data && strcmp(hit[-1].label, label) == 0)
        hit--;
    for (; hit < data + count && strcmp(hit->label, label) == 0; hit++)
        take(keyring, hit, label, record);
}

/* In one search. */
static enum kw_status note_all(struct kw_keyring *keyring, struct kw_error *err)
{
    struct kw_token_data *data = NULL;
    size_t count = 0;
    char label[LABEL_SIZE];
    enum kw_status status = read_stored(keyring, NULL, &data, &count, err);
    if (!status && count > 0)
        qsort(data, count, sizeof(*data), by_label);
    for (size_t i = 0; i < keyring->key_count && !status; i++) {
        struct key_note *note = &keyring->notes[i];
        if (note->read || keyring->keys[i].public.modulus_len == 0)
            continue;
        status = name_record(keyring, &keyring->keys[i], label, err);
        if (!status && count > 0)
            take_all(keyring, data, count, label, &note->record);
        note->read = status == KW_OK;
    }
    kw_token_data_free(data, count);
    return status;
}

/* ---- using keys ---- */

static enum kw_status refuse(const struct kw_token_key *key, const struct kw_key_record *record,
                             struct kw_error *err)
{
    char label[96];
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    switch (kw_key_state(record)) {
    case KW_KEY_ENABLED:
        break;
    case KW_KEY_DISABLED:
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" is disabled; enable it with keyward key enable", label);
    case KW_KEY_DELETED:
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" was deleted on %s; it can be had back with keyward key recover",
                       label, record->deleted);
    case KW_KEY_RECORD_BAD:
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the record of key \"%s\" can't be trusted (%s), so the key is not used; "
                       "find out who changed it, then begin a new one with keyward key enable",
                       label, record->fault);
    }
    return KW_OK;
}

/* A key that the keyring did not read itself is read afresh. */
enum kw_status kw_check_use(struct kw_keyring *keyring, const struct kw_token_key *key,
                            struct kw_error *err)
{
    if (is_signer(keyring, key))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" signs the records of keys and is used for nothing else; use "
                       "another key",
                       signer_label(keyring));
    for (size_t i = 0; i < keyring->key_count; i++) {
        if (key != &keyring->keys[i])
            continue;
        enum kw_status status = note_one(keyring, i, err);
        return status ? status : refuse(key, &keyring->notes[i].record, err);
    }
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    enum kw_status status = kw_record_load(keyring, key, &record, err);
    if (!status)
        status = refuse(key, &record, err);
    kw_key_record_cleanup(&record);
    return status;
}

enum kw_status kw_keyring_check_use(struct kw_keyring *keyring, const struct kw_token_key *key,
                                    struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = kw_check_use(keyring, key, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}

enum kw_status kw_keyring_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 struct kw_key_record *ret_record, struct kw_error *err)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = kw_record_load(keyring, key, &record, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    if (status)
        return status;
    *ret_record = record;
    return KW_OK;
}

/* ---- versions ---- */

static int newest_first(const void *a, const void *b)
{
    const struct kw_version *left = a, *right = b;
    int order = strcmp(left->key->label, right->key->label);
    if (order == 0)
        order = strcmp(right->record->created, left->record->created);
    if (order == 0 && left->key != right->key)
        order = left->key < right->key ? -1 : 1;
    return order;
}

static enum kw_status select_all(const struct kw_keyring *keyring, size_t **ret_indices,
                                 size_t *ret_count, struct kw_error *err)
{
    size_t *indices = calloc(keyring->key_count + 1, sizeof(*indices));
    if (!indices)
        return kw_fail_memory(err);
    for (size_t i = 0; i < keyring->key_count; i++)
        indices[i] = i;
    *ret_indices = indices;
    *ret_count = keyring->key_count;
    return KW_OK;
}

static enum kw_status list_versions(struct kw_keyring *keyring, const char *name,
                                    struct kw_version **ret_versions, size_t *ret_count,
                                    struct kw_error *err)
{
    size_t count = 0;
    size_t *indices = NULL;
    enum kw_status status =
        name ? kw_select_keys(keyring->keys, keyring->key_count, name, false, &indices, &count, err)
             : select_all(keyring, &indices, &count, err);
    if (status)
        return status;
    status = count == 1 ? note_one(keyring, indices[0], err) : note_all(keyring, err);
    struct kw_version *versions = status ? NULL : calloc(count + 1, sizeof(*versions));
    if (!status && !versions)
        status = kw_fail_memory(err);
    if (!status) {
        for (size_t i = 0; i < count; i++)
            versions[i] =
                (struct kw_version){&keyring->keys[indices[i]], &keyring->notes[indices[i]].record};
        qsort(versions, count, sizeof(*versions), newest_first);
        *ret_versions = versions;
        *ret_count = count;
    }
    free(indices);
    return status;
}

enum kw_status kw_keyring_versions(struct kw_keyring *keyring, const char *name,
                                   struct kw_version **ret_versions, size_t *ret_count,
                                   struct kw_error *err)
{
    (void)pthread_mutex_lock(&keyring->lock);
    enum kw_status status = kw_keyring_connect(keyring, err);
    if (!status)
        status = list_versions(keyring, name, ret_versions, ret_count, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
