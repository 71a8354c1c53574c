/* Keyrings over a token with one key, see ring.h. */
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

char ring_config[128], ring_uri[512];
static struct kw_secret *pkcs8; /* of the key whose state changes, which comes back often */

void ring_put_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

int ring_setup(void **state)
{
    int result = hsm_setup(state);
    if (result || !hsm.made_here)
        return result;
    char path[128];
    snprintf(path, sizeof(path), "%s/pin", hsm.folder);
    ring_put_text(path, hsm.pin);
    snprintf(ring_uri, sizeof(ring_uri), "%s?module-path=%s&pin-source=file:%s", hsm.uri,
             hsm_fault_path(), path);
    snprintf(ring_config, sizeof(ring_config), "%s/keys.conf", hsm.folder);
    ring_put_text(ring_config, "[keys]\nrecords-key = " RING_SIGNER "\n");
    assert_int_equal(
        setenv("XDG_STATE_HOME", hsm.folder, 1) | setenv("XDG_CONFIG_HOME", hsm.folder, 1), 0);

    pkcs8 = hsm_new_pkcs8();
    return 0;
}

int ring_teardown(void **state)
{
    kw_secret_free(pkcs8);
    return hsm_teardown(state);
}

/* ---- the token, past the keyring ---- */

struct kw_token *ring_token(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

void ring_import(struct kw_token *token)
{
    const struct kw_key_plan plan = {.label = RING_NAME, .id = (const uint8_t *)"kw", .id_len = 2};
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    if (kw_token_import_key(token, &plan, pkcs8, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
}

size_t ring_count(struct kw_token *token, const char *label)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0, found = 0;
    assert_int_equal(kw_token_keys(token, &keys, &count, NULL), KW_OK);
    for (size_t i = 0; i < count; i++)
        found += strcmp(keys[i].label, label) == 0;
    free(keys);
    return found;
}

/* Of all records, as they are stored on the token. */
struct kw_token_data *ring_stored(struct kw_token *token, size_t *ret_count)
{
    struct kw_token_data *data = NULL;
    assert_int_equal(kw_token_data_read(token, RING_APPLICATION, NULL, &data, ret_count, NULL),
                     KW_OK);
    return data;
}

/* The key as it was made, without a record. */
struct kw_token *ring_begin(void)
{
    struct kw_token *token = ring_token();
    size_t count = 0;
    struct kw_token_data *data = ring_stored(token, &count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(kw_token_data_remove(token, RING_APPLICATION, data[i].label, NULL), KW_OK);
    kw_token_data_free(data, count);
    if (ring_count(token, RING_NAME)) {
        struct kw_token_key key = hsm_find_key(token, RING_NAME);
        assert_int_equal(kw_token_destroy_key(token, &key, NULL), KW_OK);
    }
    ring_import(token);
    return token;
}

/* One more object with the label of the key's record, or with `alone` instead of what is there. */
void ring_put_stored(struct kw_token *token, const char *label, const char *value, bool alone)
{
    if (alone) {
        assert_int_equal(
            kw_token_data_write(token, RING_APPLICATION, label, value, strlen(value), NULL), KW_OK);
        return;
    }
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE handle;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CKA_TOKEN, &yes, sizeof(yes)},
        {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_APPLICATION, (void *)RING_APPLICATION, strlen(RING_APPLICATION)},
        {CKA_LABEL, (void *)label, strlen(label)},
        {CKA_VALUE, (void *)value, strlen(value)},
    };
    assert_int_equal(hsm_functions()->C_CreateObject(session, attributes, 6, &handle), CKR_OK);
    hsm_close(session);
}

/* ---- keyrings ---- */

struct kw_keyring *ring_open(void)
{
    const struct kw_keyring_options options = {.token = ring_uri, .config_file = ring_config};
    struct kw_keyring *keyring = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_open(&options, &keyring, &err) != KW_OK)
        fail_msg("%s", err.message);
    return keyring;
}

const struct kw_token_key *ring_find(struct kw_keyring *keyring, const char *name)
{
    const struct kw_token_key *key = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_find(keyring, name, NULL, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    return key;
}

enum kw_status ring_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    static const struct kw_unwrap_policy policy = {.alg = KW_RSA_OAEP};
    static uint8_t wrapped[KW_RSA_MAX_BYTES];
    static size_t len; /* the same each time, so that it may be kept */
    struct kw_data_key data_key = {.secret = NULL};
    if (!len)
        len = hsm_wrap(key, KW_RSA_OAEP, wrapped);
    const struct kw_purpose purpose = {.run = NULL};
    enum kw_status status =
        kw_keyring_unwrap(keyring, key, &policy, &purpose, wrapped, len, &data_key, NULL);
    if (!status)
        assert_true(hsm_is_known_secret(data_key.secret));
    kw_data_key_cleanup(&data_key);
    return status;
}

/* As a program sees it that begins now. */
enum kw_status ring_unwrap_afresh(void)
{
    struct kw_keyring *keyring = ring_open();
    enum kw_status status = ring_unwrap(keyring, ring_find(keyring, RING_NAME));
    kw_keyring_free(keyring);
    return status;
}

enum kw_key_state ring_state_afresh(void)
{
    struct kw_keyring *keyring = ring_open();
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    assert_int_equal(kw_keyring_record(keyring, ring_find(keyring, RING_NAME), &record, NULL),
                     KW_OK);
    enum kw_key_state state = kw_key_state(&record);
    kw_key_record_cleanup(&record);
    kw_keyring_free(keyring);
    return state;
}
