/* The states of keys on a real token: what was taken away stays so whenever a step ends, and each
 * step can be repeated. */
#include "../pkcs11/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cjson/cJSON.h>

#include "keys/internal.h"

#define NAME        "kw-state"
#define SIGNER      "kw-signer"
#define APPLICATION "keyward"

static char config_path[128], token_uri[512];
static struct kw_secret *pkcs8; /* of the key whose state changes, which comes back often */

static void put_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (result || !hsm.made_here)
        return result;
    char path[128];
    snprintf(path, sizeof(path), "%s/pin", hsm.folder);
    put_text(path, hsm.pin);
    snprintf(token_uri, sizeof(token_uri), "%s?module-path=%s&pin-source=file:%s", hsm.uri,
             hsm_fault_path(), path);
    snprintf(config_path, sizeof(config_path), "%s/keys.conf", hsm.folder);
    put_text(config_path, "[keys]\nrecords-key = " SIGNER "\n");
    assert_int_equal(
        setenv("XDG_STATE_HOME", hsm.folder, 1) | setenv("XDG_CONFIG_HOME", hsm.folder, 1), 0);

    pkcs8 = hsm_new_pkcs8();
    return 0;
}

static int teardown(void **state)
{
    kw_secret_free(pkcs8);
    return hsm_teardown(state);
}

/* ---- the token, past the keyring ---- */

static struct kw_token *open_token(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

static void import_key(struct kw_token *token)
{
    const struct kw_key_plan plan = {.label = NAME, .id = (const uint8_t *)"kw", .id_len = 2};
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    if (kw_token_import_key(token, &plan, pkcs8, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
}

static size_t count_labels(struct kw_token *token, const char *label)
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
static struct kw_token_data *stored(struct kw_token *token, size_t *ret_count)
{
    struct kw_token_data *data = NULL;
    assert_int_equal(kw_token_data_read(token, APPLICATION, NULL, &data, ret_count, NULL), KW_OK);
    return data;
}

/* The key as it was made, without a record. */
static struct kw_token *begin(void)
{
    struct kw_token *token = open_token();
    size_t count = 0;
    struct kw_token_data *data = stored(token, &count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(kw_token_data_remove(token, APPLICATION, data[i].label, NULL), KW_OK);
    kw_token_data_free(data, count);
    if (count_labels(token, NAME)) {
        struct kw_token_key key = hsm_find_key(token, NAME);
        assert_int_equal(kw_token_destroy_key(token, &key, NULL), KW_OK);
    }
    import_key(token);
    return token;
}

/* One more object with the label of the key's record, or with `alone` instead of what is there. */
static void put_stored(struct kw_token *token, const char *label, const char *value, bool alone)
{
    if (alone) {
        assert_int_equal(kw_token_data_write(token, APPLICATION, label, value, strlen(value), NULL),
                         KW_OK);
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
        {CKA_APPLICATION, (void *)APPLICATION, strlen(APPLICATION)},
        {CKA_LABEL, (void *)label, strlen(label)},
        {CKA_VALUE, (void *)value, strlen(value)},
    };
    assert_int_equal(hsm_functions()->C_CreateObject(session, attributes, 6, &handle), CKR_OK);
    hsm_close(session);
}

/* ---- keyrings ---- */

static struct kw_keyring *open_keyring(void)
{
    const struct kw_keyring_options options = {.token = token_uri, .config_file = config_path};
    struct kw_keyring *keyring = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_open(&options, &keyring, &err) != KW_OK)
        fail_msg("%s", err.message);
    return keyring;
}

static const struct kw_token_key *find(struct kw_keyring *keyring, const char *name)
{
    const struct kw_token_key *key = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_find(keyring, name, NULL, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    return key;
}

static enum kw_status unwrap_with(struct kw_keyring *keyring, const struct kw_token_key *key)
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
static enum kw_status unwrap_afresh(void)
{
    struct kw_keyring *keyring = open_keyring();
    enum kw_status status = unwrap_with(keyring, find(keyring, NAME));
    kw_keyring_free(keyring);
    return status;
}

static enum kw_key_state state_afresh(void)
{
    struct kw_keyring *keyring = open_keyring();
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    assert_int_equal(kw_keyring_record(keyring, find(keyring, NAME), &record, NULL), KW_OK);
    enum kw_key_state state = kw_key_state(&record);
    kw_key_record_cleanup(&record);
    kw_keyring_free(keyring);
    return state;
}

static void step_with(struct kw_keyring *keyring, enum kw_key_step step)
{
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_step(keyring, find(keyring, NAME), step, &err) != KW_OK)
        fail_msg("%s", err.message);
}

static void step_afresh(enum kw_key_step step)
{
    struct kw_keyring *keyring = open_keyring();
    step_with(keyring, step);
    kw_keyring_free(keyring);
}

static void step_is_refused(const char *name, enum kw_key_step step, const char *words)
{
    struct kw_keyring *keyring = open_keyring();
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_keyring_step(keyring, find(keyring, name), step, &err), KW_KEY_UNUSABLE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    kw_keyring_free(keyring);
}

static void assert_allowed(struct kw_token *token, bool allowed)
{
    struct kw_token_key key = hsm_find_key(token, NAME);
    assert_int_equal(key.decrypt, allowed);
    assert_int_equal(key.unwrap, allowed);
}

/* ---- steps ---- */

static void steps_and_their_states(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    static const struct {
        enum kw_key_step step;
        enum kw_key_state after;
    } rows[] = {
        {KW_STEP_DISABLE, KW_KEY_DISABLED}, {KW_STEP_DISABLE, KW_KEY_DISABLED},
        {KW_STEP_ENABLE, KW_KEY_ENABLED},   {KW_STEP_ENABLE, KW_KEY_ENABLED},
        {KW_STEP_DELETE, KW_KEY_DELETED},   {KW_STEP_DELETE, KW_KEY_DELETED},
        {KW_STEP_RECOVER, KW_KEY_ENABLED},  {KW_STEP_DISABLE, KW_KEY_DISABLED},
        {KW_STEP_DELETE, KW_KEY_DELETED},   {KW_STEP_RECOVER, KW_KEY_DISABLED},
        {KW_STEP_ENABLE, KW_KEY_ENABLED},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        step_afresh(rows[i].step);
        assert_int_equal(state_afresh(), rows[i].after);
        assert_allowed(token, rows[i].after == KW_KEY_ENABLED);
        assert_int_equal(unwrap_afresh(),
                         rows[i].after == KW_KEY_ENABLED ? KW_OK : KW_KEY_UNUSABLE);
    }
    step_is_refused(NAME, KW_STEP_RECOVER, "is not deleted");
    step_afresh(KW_STEP_DELETE);
    step_is_refused(NAME, KW_STEP_DISABLE, "recover it first");
    step_is_refused(NAME, KW_STEP_ENABLE, "recover it first");
    kw_token_free(token);
}

/* What a keyring has read does not hold against what it did itself, nor do data keys that it kept.
 */
static void one_keyring_for_all(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    struct kw_keyring *keyring = open_keyring();
    const struct kw_token_key *key = find(keyring, NAME);
    const struct kw_token_key copy = *key;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(unwrap_with(keyring, key), KW_OK);
        step_with(keyring, i ? KW_STEP_DELETE : KW_STEP_DISABLE);
        assert_allowed(token, false);
        assert_int_equal(unwrap_with(keyring, key), KW_KEY_UNUSABLE);
        assert_int_equal(unwrap_with(keyring, &copy), KW_KEY_UNUSABLE);
        assert_int_equal(kw_keyring_check_use(keyring, key, NULL), KW_KEY_UNUSABLE);
        step_with(keyring, i ? KW_STEP_RECOVER : KW_STEP_ENABLE);
        assert_allowed(token, true);
        assert_int_equal(kw_keyring_check_use(keyring, key, NULL), KW_OK);
        assert_int_equal(unwrap_with(keyring, &copy), KW_OK);
    }
    /* The token takes nothing away, so the data key could be unwrapped, or was kept. */
    static const CK_OBJECT_CLASS private = CKO_PRIVATE_KEY;
    struct kw_fault *fault = hsm_fault();
    assert_int_equal(unwrap_with(keyring, key), KW_OK);
    fault->no_change_of = &private;
    step_with(keyring, KW_STEP_DISABLE);
    assert_allowed(token, true);
    assert_true(kw_keyring_copy_warnings(keyring, 0, NULL) > 0);
    assert_int_equal(unwrap_with(keyring, key), KW_KEY_UNUSABLE);
    assert_int_equal(unwrap_afresh(), KW_KEY_UNUSABLE);
    step_with(keyring, KW_STEP_ENABLE);
    assert_int_equal(unwrap_with(keyring, key), KW_OK);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

/* Another program gave the use back after this one had read the key. */
static void flags_that_are_old(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    step_afresh(KW_STEP_DISABLE);
    struct kw_keyring *keyring = open_keyring();
    assert_false(find(keyring, NAME)->decrypt);
    step_afresh(KW_STEP_ENABLE);
    assert_allowed(token, true);
    step_with(keyring, KW_STEP_DISABLE);
    assert_allowed(token, false);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

/* A token that lets a use be taken and not be given back: the key stays disabled. */
static void uses_that_do_not_come_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_OBJECT_CLASS private = CKO_PRIVATE_KEY;
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = begin();
    step_afresh(KW_STEP_DISABLE);
    fault->no_change_of = &private;
    step_is_refused(NAME, KW_STEP_ENABLE, "change what a key may do");
    assert_int_equal(state_afresh(), KW_KEY_DISABLED);
    /* Nothing is given back to it by this. */
    step_afresh(KW_STEP_DELETE);
    step_afresh(KW_STEP_RECOVER);
    assert_int_equal(state_afresh(), KW_KEY_DISABLED);
    fault->no_change_of = NULL;
    step_afresh(KW_STEP_ENABLE);
    step_afresh(KW_STEP_DELETE);
    fault->no_change_of = &private;
    step_is_refused(NAME, KW_STEP_RECOVER, "change what a key may do");
    assert_int_equal(state_afresh(), KW_KEY_DELETED);
    fault->no_change_of = NULL;
    kw_token_free(token);
}

/* ---- each call fails in turn ---- */

static const struct hsm_fault_kind kinds[] = {
    {CKR_GENERAL_ERROR, false, 1},
    {CKR_GENERAL_ERROR, true, 1},
    {CKR_DEVICE_REMOVED, true, 2},
    {CKR_DEVICE_ERROR, true, 1000000},
};

static const struct step_case {
    enum kw_key_step before, step;
    enum kw_key_state from, to;
} cases[] = {
    {KW_STEP_ENABLE, KW_STEP_DISABLE, KW_KEY_ENABLED, KW_KEY_DISABLED},
    {KW_STEP_DISABLE, KW_STEP_ENABLE, KW_KEY_DISABLED, KW_KEY_ENABLED},
    {KW_STEP_ENABLE, KW_STEP_DELETE, KW_KEY_ENABLED, KW_KEY_DELETED},
    {KW_STEP_DELETE, KW_STEP_RECOVER, KW_KEY_DELETED, KW_KEY_ENABLED},
};

/* Whatever became of the step: what the record says holds, and the step can be done again. */
static void check_step(const struct step_case *row, struct kw_keyring *keyring, bool done,
                       struct kw_token *token)
{
    enum kw_key_state state = state_afresh();
    if (state != row->to && (done || state != row->from))
        fail_msg("done %d, state %d", done, (int)state);
    if (state != KW_KEY_ENABLED) {
        assert_int_equal(unwrap_afresh(), KW_KEY_UNUSABLE);
        assert_int_equal(unwrap_with(keyring, find(keyring, NAME)), KW_KEY_UNUSABLE);
    } else if (row->to == KW_KEY_ENABLED) {
        assert_int_equal(unwrap_afresh(), KW_OK); /* the token was told before */
    }
    if (done || (row->step == KW_STEP_RECOVER && state == row->to))
        return;
    step_with(keyring, row->step);
    assert_int_equal(state_afresh(), row->to);
    assert_allowed(token, row->to == KW_KEY_ENABLED);
}

static void fail_each_call(const struct step_case *row, struct kw_token *token,
                           struct hsm_cuts *cuts)
{
    cuts->fault = hsm_fault();
    cuts->fault->refuse_data = getenv("KW_FAULT_REFUSE_DATA") != NULL;
    while (hsm_cut_next(cuts)) {
        struct kw_keyring *keyring = open_keyring();
        const struct kw_token_key *key = find(keyring, NAME);
        if (state_afresh() == KW_KEY_DELETED && row->before != KW_STEP_DELETE)
            step_afresh(KW_STEP_RECOVER);
        step_afresh(row->before);
        assert_int_equal(state_afresh(), row->from);
        hsm_cut_arm(cuts);
        bool done = kw_keyring_step(keyring, key, row->step, NULL) == KW_OK;
        hsm_cut_over(cuts, done);
        check_step(row, keyring, done, token);
        kw_keyring_free(keyring);
    }
}

static void steps_that_are_cut_short(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct hsm_cuts cuts = {
            .kinds = kinds, .count = KW_COUNT(kinds), .kind = i % 2, .stride = 2, .limit = 400};
        fail_each_call(&cases[i], token, &cuts);
        hsm_cuts_end(&cuts, 10);
    }
    kw_token_free(token);
}

/* The same where the records are in the catalogue. */
static void steps_with_a_catalogue(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    assert_int_equal(setenv("KW_FAULT_REFUSE_DATA", "yes", 1), 0);
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct hsm_cuts cuts = {.kinds = &kinds[1], .count = 1, .stride = 1, .limit = 400};
        fail_each_call(&cases[i], token, &cuts);
        hsm_cuts_end(&cuts, 5);
    }
    size_t count = 0;
    struct kw_token_data *data = stored(token, &count);
    assert_int_equal(count, 0);
    kw_token_data_free(data, count);
    char path[128];
    snprintf(path, sizeof(path), "%s/keyward/catalogue.db", hsm.folder);
    assert_int_equal(unsetenv("KW_FAULT_REFUSE_DATA") | remove(path), 0);
    kw_token_free(token);
}

/* ---- purging ---- */

static enum kw_status purge_afresh(struct kw_error *err)
{
    struct kw_keyring *keyring = open_keyring();
    enum kw_status status = kw_keyring_purge(keyring, find(keyring, NAME), err);
    kw_keyring_free(keyring);
    return status;
}

static void assert_all_gone(struct kw_token *token)
{
    size_t count = 0;
    struct kw_token_data *data = stored(token, &count);
    assert_int_equal(count, 0);
    kw_token_data_free(data, count);
    assert_int_equal(count_labels(token, NAME), 0);
    import_key(token); /* the public half is not in the way */
}

static void a_purge_that_is_cut_short(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct hsm_cuts cuts = {
        .fault = hsm_fault(), .kinds = kinds, .count = KW_COUNT(kinds), .stride = 1, .limit = 400};
    struct kw_token *token = begin();
    while (hsm_cut_next(&cuts)) {
        step_afresh(KW_STEP_DELETE);
        struct kw_keyring *keyring = open_keyring();
        const struct kw_token_key *key = find(keyring, NAME);
        hsm_cut_arm(&cuts);
        bool done = kw_keyring_purge(keyring, key, NULL) == KW_OK;
        hsm_cut_over(&cuts, done);
        if (count_labels(token, NAME) > 0) {
            assert_false(done);
            assert_int_equal(state_afresh(), KW_KEY_DELETED);
            assert_int_equal(unwrap_afresh(), KW_KEY_UNUSABLE);
            assert_int_equal(purge_afresh(NULL), KW_OK);
        } else if (!done) {
            /* The record may be the last that goes. */
            enum kw_status again = kw_keyring_purge(keyring, key, NULL);
            assert_true(again == KW_OK || again == KW_KEY_UNUSABLE);
        }
        assert_all_gone(token);
        kw_keyring_free(keyring);
    }
    hsm_cuts_end(&cuts, 10);
    kw_token_free(token);
}

static void what_is_not_purged(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_error err = {.status = KW_OK};
    struct kw_token *token = begin();
    assert_int_equal(purge_afresh(&err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "is not deleted"));
    put_text(config_path, "[keys]\nrecords-key = " SIGNER "\npurge-protection = yes\n");
    step_afresh(KW_STEP_DELETE);
    put_text(config_path, "[keys]\nrecords-key = " SIGNER "\n");
    /* Neither another setting nor deleting once more takes the protection away. */
    step_afresh(KW_STEP_DELETE);
    assert_int_equal(purge_afresh(&err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "under purge protection"));
    assert_int_equal(count_labels(token, NAME), 1);
    step_afresh(KW_STEP_RECOVER);
    step_afresh(KW_STEP_DELETE);
    assert_int_equal(purge_afresh(&err), KW_OK);
    assert_all_gone(token);
    kw_token_free(token);
}

/* ---- records that don't agree ---- */

/* A key that is enabled anew after an edit must override the records from before. */
static void a_new_record_overrides_what_is_left(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    size_t count = 0;
    step_afresh(KW_STEP_DISABLE);
    step_afresh(KW_STEP_DISABLE);
    step_afresh(KW_STEP_ENABLE);
    struct kw_token_data *enabled = stored(token, &count);
    assert_int_equal(count, 1);
    put_stored(token, enabled[0].label, "edited", false);
    assert_int_equal(state_afresh(), KW_KEY_RECORD_BAD);
    assert_int_equal(unwrap_afresh(), KW_KEY_UNUSABLE);
    step_is_refused(NAME, KW_STEP_DISABLE, "can't be trusted");
    step_afresh(KW_STEP_DELETE);
    assert_int_equal(state_afresh(), KW_KEY_DELETED);
    /* As if only the edited one had been removed. */
    put_stored(token, enabled[0].label, enabled[0].value, false);
    assert_int_equal(state_afresh(), KW_KEY_DELETED);
    assert_int_equal(unwrap_afresh(), KW_KEY_UNUSABLE);
    kw_token_data_free(enabled, count);
    kw_token_free(token);
}

/* A key exchange key that decrypts would give away what was wrapped for it. */
static void a_lost_record_gives_no_other_use(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    const struct kw_new_key wanted = {
        .use = KW_USE_IMPORT, .name = "kw-kek", .bits = 2048, .not_before = "", .expires = ""};
    struct kw_token_key kek;
    size_t count = 0;
    struct kw_keyring *keyring = open_keyring();
    assert_int_equal(kw_keyring_create(keyring, &wanted, &kek, NULL), KW_OK);
    assert_int_equal(kw_keyring_step(keyring, &kek, KW_STEP_DISABLE, NULL), KW_OK);
    kw_keyring_free(keyring);
    struct kw_token_data *data = stored(token, &count);
    assert_int_equal(count, 1);
    put_stored(token, data[0].label, "edited", true);
    kw_token_data_free(data, count);
    keyring = open_keyring();
    assert_int_equal(kw_keyring_step(keyring, find(keyring, "kw-kek"), KW_STEP_ENABLE, NULL),
                     KW_OK);
    kw_keyring_free(keyring);
    kek = hsm_find_key(token, "kw-kek");
    assert_true(kek.unwrap && !kek.decrypt);
    assert_int_equal(kw_token_destroy_key(token, &kek, NULL), KW_OK);
    kw_token_free(token);
}

static void two_writers_at_once(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    for (int order = 0; order < 2; order++) {
        struct kw_token *token = begin();
        static const char *const tags[] = {"a=b"};
        size_t count = 0;
        step_afresh(KW_STEP_DISABLE);
        struct kw_token_data *disabled = stored(token, &count);
        assert_int_equal(kw_token_data_remove(token, APPLICATION, disabled[0].label, NULL), KW_OK);
        struct kw_keyring *keyring = open_keyring();
        assert_int_equal(kw_keyring_tag(keyring, find(keyring, NAME), tags, 1, NULL), KW_OK);
        kw_keyring_free(keyring);
        struct kw_token_data *tagged = stored(token, &count);
        assert_int_equal(count, 1);
        const char *values[] = {disabled[0].value, tagged[0].value};
        put_stored(token, disabled[0].label, values[order], true);
        put_stored(token, disabled[0].label, values[1 - order], false);
        assert_int_equal(state_afresh(), KW_KEY_DISABLED);
        kw_token_data_free(disabled, 1);
        kw_token_data_free(tagged, 1);
        kw_token_free(token);
    }
}

static void a_key_that_comes_once_more(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    struct kw_keyring *keyring = open_keyring();
    const struct kw_token_key *key = find(keyring, NAME);
    const struct record_start byok = {KW_ORIGIN_BYOK, NULL, ""}, file = {KW_ORIGIN_FILE, NULL, ""};
    assert_int_equal(kw_record_begin(keyring, key, &byok, NULL), KW_OK);
    assert_int_equal(kw_keyring_copy_warnings(keyring, 0, NULL), 0);
    step_with(keyring, KW_STEP_DISABLE);
    assert_int_equal(kw_record_begin(keyring, key, &file, NULL), KW_OK);
    assert_int_equal(kw_keyring_copy_warnings(keyring, 0, NULL), 1);
    assert_int_equal(state_afresh(), KW_KEY_DISABLED);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

static void keys_without_a_modulus(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    struct kw_keyring *keyring = open_keyring();
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    struct kw_token_key blank = *find(keyring, NAME);
    size_t count = 0;
    blank.public.modulus_len = 0;
    for (enum kw_key_step step = KW_STEP_DISABLE; step <= KW_STEP_RECOVER; step++)
        assert_int_equal(kw_keyring_step(keyring, &blank, step, NULL), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_purge(keyring, &blank, NULL), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_record(keyring, &blank, &record, NULL), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_check_use(keyring, &blank, NULL), KW_KEY_UNUSABLE);
    struct kw_token_data *data = stored(token, &count);
    assert_int_equal(count, 0);
    kw_token_data_free(data, count);
    assert_int_equal(unwrap_afresh(), KW_OK);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

/* ---- the key that signs ---- */

static void the_signer_stays_one(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    step_afresh(KW_STEP_DISABLE);
    step_is_refused(SIGNER, KW_STEP_DISABLE, "signs the records");
    step_is_refused(SIGNER, KW_STEP_DELETE, "signs the records");
    step_afresh(KW_STEP_ENABLE);
    struct kw_keyring *keyring = open_keyring();
    const struct kw_token_key *signer = find(keyring, SIGNER);
    const struct kw_key_change change = {.label = "kw-renamed"};
    struct kw_token_key changed;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_keyring_step(keyring, signer, KW_STEP_ENABLE, &err), KW_OK);
    assert_int_equal(kw_keyring_change(keyring, signer, &change, &changed, &err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "signs the records"));
    kw_keyring_free(keyring);
    struct kw_token_key now = hsm_find_key(token, SIGNER);
    assert_true(now.sign && !now.decrypt && !now.unwrap);
    assert_int_equal(state_afresh(), KW_KEY_ENABLED);
    kw_token_free(token);
}

/* A program that has been running since before there was one finds it, and makes no second one. */
static void a_signer_that_others_made(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = begin();
    if (count_labels(token, SIGNER)) {
        struct kw_token_key old = hsm_find_key(token, SIGNER);
        assert_int_equal(kw_token_destroy_key(token, &old, NULL), KW_OK);
    }
    struct kw_keyring *reader = open_keyring(), *writer = open_keyring();
    const struct kw_token_key *key = find(reader, NAME);
    (void)find(writer, NAME);
    step_afresh(KW_STEP_DISABLE);
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(unwrap_with(reader, key), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_check_use(reader, key, &err), KW_KEY_UNUSABLE);
    if (!strstr(err.message, "is disabled"))
        fail_msg("%s", err.message);
    step_with(writer, KW_STEP_ENABLE);
    assert_int_equal(count_labels(token, SIGNER), 1);
    assert_int_equal(state_afresh(), KW_KEY_ENABLED);
    kw_keyring_free(reader);
    kw_keyring_free(writer);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_and_their_states),
        cmocka_unit_test(one_keyring_for_all),
        cmocka_unit_test(flags_that_are_old),
        cmocka_unit_test(uses_that_do_not_come_back),
        cmocka_unit_test(what_is_not_purged),
        cmocka_unit_test(a_new_record_overrides_what_is_left),
        cmocka_unit_test(a_lost_record_gives_no_other_use),
        cmocka_unit_test(two_writers_at_once),
        cmocka_unit_test(a_key_that_comes_once_more),
        cmocka_unit_test(keys_without_a_modulus),
        cmocka_unit_test(the_signer_stays_one),
        cmocka_unit_test(a_signer_that_others_made),
        cmocka_unit_test(steps_with_a_catalogue),
        cmocka_unit_test(a_purge_that_is_cut_short),
        cmocka_unit_test(steps_that_are_cut_short),
    };
    return cmocka_run_group_tests_name("keys/state", tests, setup, teardown);
}
