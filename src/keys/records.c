/* Records of keys: read, judged, signed and stored. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define APPLICATION  "keyward"
#define LABEL_PREFIX "record "

/* With a header and a signature of the largest size, all of them in base64, within KW_DATA_MAX. */
#define PAYLOAD_MAX (KW_DATA_MAX / 4 * 3 - KW_JWS_HEADER_MAX - KW_RSA_MAX_BYTES - 8)

#define FINGERPRINT_SIZE (2 * KW_SHA256_SIZE + 1)
#define LABEL_SIZE       (sizeof(LABEL_PREFIX) - 1 + FINGERPRINT_SIZE)

/* The label of a key's record; its end is the fingerprint of the modulus, in hex. */
static enum kw_status name_record(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  char label[LABEL_SIZE], struct kw_error *err)
{
    _Static_assert(LABEL_SIZE <= KW_DATA_LABEL_MAX + 1, "the label of a record is one");
    uint8_t sha256[KW_SHA256_SIZE];
    char shown[96];
    if (key->public.modulus_len == 0)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" shows no RSA modulus of 2048 to 4096 bits, so it can't be told "
                       "from others and has no record; use another key",
                       kw_printable(key->label, strlen(key->label), shown, sizeof(shown)));
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

/* ---- judging what is stored ---- */

/* Two writers at once give both of their records one number: the one that takes more away counts.
 */
static bool overrides(const struct kw_key_record *next, const struct kw_key_record *record)
{
    if (next->revision != record->revision)
        return next->revision > record->revision;
    return kw_key_state(next) > kw_key_state(record);
}

/* What one stored value adds to what is known of the key. Any that is bad makes the record bad:
 * an edited one must not leave an older one in force. The highest revision is kept nevertheless,
 * for one that is begun anew has to override what may be left of the others. */
static enum kw_status take(struct kw_keyring *keyring, const struct kw_token_data *stored,
                           const char label[LABEL_SIZE], struct kw_key_record *record,
                           struct kw_error *err)
{
    struct kw_buffer payload = KW_BUFFER_INIT(KW_BASE64_DECODED_MAX(KW_DATA_MAX));
    struct kw_key_record next = {.state = KW_RECORD_NONE};
    const char *fault = NULL;
    enum kw_status status = kw_jws_verify(keyring->crypto, stored->value, stored->len,
                                          kw_signer_find, keyring, &payload, &fault, err);
    if (!status && !fault)
        status = kw_record_decode((const char *)payload.data, payload.len, fingerprint_of(label),
                                  &next, err);
    kw_buffer_cleanup(&payload);
    if (status == KW_DAMAGED)
        fault = "it is not this key's";
    else if (status)
        return status;
    if (record->state == KW_RECORD_BAD)
        fault = record->fault;
    long revision = next.revision > record->revision ? next.revision : record->revision;
    if (!fault && !overrides(&next, record)) {
        kw_key_record_cleanup(&next);
        return KW_OK;
    }
    kw_key_record_cleanup(record);
    *record = next;
    if (fault) {
        kw_key_record_cleanup(record);
        *record =
            (struct kw_key_record){.state = KW_RECORD_BAD, .fault = fault, .revision = revision};
    }
    return KW_OK;
}

/* From the token and from the catalogue; label NULL: all. */
static enum kw_status read_stored(struct kw_keyring *keyring, const char *label,
                                  struct kw_token_data **ret_data, size_t *ret_count,
                                  struct kw_error *err)
{
    struct kw_token_data *data = NULL;
    size_t count = 0;
    keyring->signers_read = false;
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
    if (keyring->vault)
        return kw_vault_record(keyring, key, record, err);
    enum kw_status status = name_record(keyring, key, label, err);
    if (!status)
        status = read_stored(keyring, label, &data, &count, err);
    for (size_t i = 0; i < count && !status; i++)
        status = take(keyring, &data[i], label, record, err);
    if (status)
        kw_key_record_cleanup(record);
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

/* Two programs that change a record at once would each undo what the other one did. That nobody did
 * so is looked at as late as can be: there is no lock on a token. */
static enum kw_status check_unchanged(struct kw_keyring *keyring, const struct kw_token_key *key,
                                      long revision, struct kw_error *err)
{
    struct kw_key_record now = {.state = KW_RECORD_NONE};
    char label[96];
    enum kw_status status = kw_record_load(keyring, key, &now, err);
    if (!status && now.revision != revision)
        status = kw_fail(err, KW_EXISTS,
                         "the record of key \"%s\" was changed by another program just now; look "
                         "at it with keyward key show, then try again",
                         kw_printable(key->label, strlen(key->label), label, sizeof(label)));
    kw_key_record_cleanup(&now);
    return status;
}

enum kw_status kw_record_save(struct kw_keyring *keyring, const struct kw_token_key *key,
                              struct kw_key_record *record, struct kw_error *err)
{
    char label[LABEL_SIZE];
    const struct kw_token_key *signer = NULL;
    struct kw_buffer payload = KW_BUFFER_INIT(PAYLOAD_MAX);
    struct kw_buffer jws = KW_BUFFER_INIT(KW_DATA_MAX + 1);
    enum kw_status status;
    long before = record->revision++;
    kw_timestamp(time(NULL), record->updated);
    if (!(status = name_record(keyring, key, label, err)) &&
        !(status = kw_record_encode(record, key, fingerprint_of(label), &payload, err)) &&
        !(status = kw_signer_get(keyring, &signer, err)) &&
        !(status = kw_jws_sign(keyring->token, signer, &payload, &jws, err)) &&
        !(status = kw_buffer_append(&jws, "", 1, err)) &&
        !(status = check_unchanged(keyring, key, before, err)))
        status = store(keyring, label, (const char *)jws.data, jws.len - 1, err);
    if (!status)
        record->state = KW_RECORD_GOOD;
    kw_buffer_cleanup(&payload);
    kw_buffer_cleanup(&jws);
    return status;
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

static void set_known(struct kw_keyring *keyring, struct key_note *note, enum kw_key_state known)
{
    (void)pthread_mutex_lock(&keyring->common->lock);
    note->known = known;
    (void)pthread_mutex_unlock(&keyring->common->lock);
}

/* Keys whose modulus is not known have no record. */
static enum kw_status note_one(struct kw_keyring *keyring, const struct kw_token_key *key,
                               struct key_note *note, struct kw_error *err)
{
    if (note->read || key->public.modulus_len == 0)
        return KW_OK;
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    enum kw_status status = kw_record_load(keyring, key, &record, err);
    if (status)
        return status;
    note->record = record;
    note->read = true;
    set_known(keyring, note, kw_key_state(&record));
    return KW_OK;
}

static int by_label(const void *a, const void *b)
{
    return strcmp(((const struct kw_token_data *)a)->label,
                  ((const struct kw_token_data *)b)->label);
}

/* All values of one label in the sorted data. */
static enum kw_status take_all(struct kw_keyring *keyring, const struct kw_token_data *data,
                               size_t count, const char label[LABEL_SIZE],
                               struct kw_key_record *record, struct kw_error *err)
{
    struct kw_token_data wanted = {.value = NULL};
    memcpy(wanted.label, label, LABEL_SIZE);
    const struct kw_token_data *hit = bsearch(&wanted, data, count, sizeof(*data), by_label);
    enum kw_status status = KW_OK;
    if (!hit)
        return KW_OK;
    while (hit > data && strcmp(hit[-1].label, label) == 0)
        hit--;
    for (; hit < data + count && strcmp(hit->label, label) == 0 && !status; hit++)
        status = take(keyring, hit, label, record, err);
    if (status)
        kw_key_record_cleanup(record);
    return status;
}

static bool all_are_noted(const struct kw_keyring *keyring)
{
    bool noted = true;
    for (size_t i = 0; i < keyring->key_count && noted; i++)
        noted = keyring->notes[i].read || keyring->keys[i].public.modulus_len == 0;
    return noted;
}

/* In one search; a vault has told all of it already. */
enum kw_status kw_note_all(struct kw_keyring *keyring, struct kw_error *err)
{
    struct kw_token_data *data = NULL;
    size_t count = 0;
    char label[LABEL_SIZE];
    enum kw_status status = KW_OK;
    for (size_t i = 0; keyring->vault && i < keyring->key_count && !status; i++)
        status = note_one(keyring, &keyring->keys[i], &keyring->notes[i], err);
    if (keyring->vault || all_are_noted(keyring))
        return status;
    status = read_stored(keyring, NULL, &data, &count, err);
    if (!status && count > 0)
        qsort(data, count, sizeof(*data), by_label);
    for (size_t i = 0; i < keyring->key_count && !status; i++) {
        struct key_note *note = &keyring->notes[i];
        if (note->read || keyring->keys[i].public.modulus_len == 0)
            continue;
        status = name_record(keyring, &keyring->keys[i], label, err);
        if (!status && count > 0)
            status = take_all(keyring, data, count, label, &note->record, err);
        note->read = status == KW_OK;
        if (note->read)
            set_known(keyring, note, kw_key_state(&note->record));
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

static void drop_kept(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    for (size_t i = 0; i < KW_KEPT_DATA_KEYS; i++)
        if (keyring->kept[i].key == key)
            kw_data_key_cleanup(&keyring->kept[i].data_key);
}

static void note_change(struct kw_keyring *keyring, const struct kw_token_key *of,
                        const struct kw_token_key *key, struct key_note *note,
                        enum kw_key_state state, bool done)
{
    if (!kw_rsa_same(&key->public, &of->public))
        return;
    note->changed = true;
    /* What was not done for sure may have been: the state that takes more away counts. */
    if (done || state > note->known)
        set_known(keyring, note, state);
    drop_kept(keyring, key);
}

void kw_record_changed(struct kw_keyring *keyring, const struct kw_token_key *key,
                       const struct kw_key_record *record, bool done)
{
    enum kw_key_state state = kw_key_state(record);
    drop_kept(keyring, key);
    for (size_t i = 0; i < keyring->key_count; i++)
        note_change(keyring, key, &keyring->keys[i], &keyring->notes[i], state, done);
    for (struct picked_key *picked = keyring->picked; picked; picked = picked->next)
        note_change(keyring, key, &picked->key, &picked->note, state, done);
}

/* The state that the twin knows the key to be in; *ret_label is its name there. */
static enum kw_key_state known_to(const struct kw_keyring *twin, const struct kw_token_key *key,
                                  const char **ret_label)
{
    enum kw_key_state state = KW_KEY_ENABLED;
    (void)pthread_mutex_lock(&twin->common->lock);
    for (size_t i = 0; i < twin->key_count && state == KW_KEY_ENABLED; i++) {
        if (kw_rsa_same(&twin->keys[i].public, &key->public)) {
            state = twin->notes[i].known;
            *ret_label = twin->keys[i].label;
        }
    }
    (void)pthread_mutex_unlock(&twin->common->lock);
    return state;
}

enum kw_status kw_check_twin(struct kw_keyring *keyring, const struct kw_token_key *key,
                             struct kw_error *err)
{
    const char *label = NULL;
    enum kw_key_state state = keyring->twin ? known_to(keyring->twin, key, &label) : KW_KEY_ENABLED;
    char shown[96];
    if (state == KW_KEY_ENABLED)
        return KW_OK;
    return kw_fail(err, KW_KEY_UNUSABLE,
                   "[token %s] has the same key, \"%s\", and its state there is \"%s\", so it is "
                   "not used here either; keyward key show says why",
                   kw_keyring_name(keyring->twin),
                   kw_printable(label, strlen(label), shown, sizeof(shown)),
                   kw_key_state_name(state));
}

/* Of a key that the keyring did not read itself, or whose record it changed, it is read afresh. */
enum kw_status kw_check_use(struct kw_keyring *keyring, const struct kw_token_key *key,
                            struct kw_error *err)
{
    char label[96];
    if (kw_is_signer(keyring, key))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" signs the records of keys and is used for nothing else; use "
                       "another key",
                       kw_printable(key->label, strlen(key->label), label, sizeof(label)));
    struct key_note *note = kw_keyring_note_of(keyring, key);
    if (note && !note->changed) {
        enum kw_status status = note_one(keyring, key, note, err);
        return status ? status : refuse(key, &note->record, err);
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
    enum kw_status status = kw_keyring_open_either(keyring, err);
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
    enum kw_status status = kw_keyring_open_either(keyring, err);
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
    enum kw_status status = kw_check_token(keyring, name, err);
    if (!status)
        status = name ? kw_select_keys(keyring->keys, keyring->key_count, name, false, &indices,
                                       &count, err)
                      : select_all(keyring, &indices, &count, err);
    if (status)
        return status;
    status = count == 1
                 ? note_one(keyring, &keyring->keys[indices[0]], &keyring->notes[indices[0]], err)
                 : kw_note_all(keyring, err);
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
    enum kw_status status = kw_keyring_connect_either(keyring, err);
    if (!status)
        status = list_versions(keyring, name, ret_versions, ret_count, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    return status;
}
