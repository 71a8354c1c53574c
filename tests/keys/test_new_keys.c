/* New keys that begin with settings: as asked for or not at all; next versions that are what the
 * others are. */
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#define NEW "kw-new"

static const unsigned wrap_ops = KW_OP_WRAP | KW_OP_UNWRAP, sign_ops = KW_OP_SIGN;
static const int64_t not_before = 1790935200, expires = 1822478400;

static void remove_new(struct kw_token *token)
{
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    assert_int_equal(kw_token_keys(token, &keys, &count, NULL), KW_OK);
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].label, NEW) == 0)
            assert_int_equal(kw_token_destroy_key(token, &keys[i], NULL), KW_OK);
    free(keys);
}

static struct kw_new_key wanted_key(enum kw_key_use use, const struct kw_key_settings *settings)
{
    return (struct kw_new_key){.use = use,
                               .name = NEW,
                               .bits = 2048,
                               .not_before = "",
                               .expires = "",
                               .settings = settings};
}

static struct kw_token_key create(struct kw_keyring *keyring, enum kw_key_use use,
                                  const struct kw_key_settings *settings)
{
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    const struct kw_new_key wanted = wanted_key(use, settings);
    if (kw_keyring_create(keyring, &wanted, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    kw_keyring_refresh(keyring);
    return key;
}

static struct kw_token_key rotate(struct kw_keyring *keyring,
                                  const struct kw_key_settings *settings)
{
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    const struct kw_new_key wanted = wanted_key(KW_USE_DECRYPT, settings);
    if (kw_keyring_rotate(keyring, &wanted, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    kw_keyring_refresh(keyring);
    return key;
}

static struct kw_key_record record_of(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    assert_int_equal(kw_keyring_record(keyring, key, &record, NULL), KW_OK);
    assert_int_equal(record.state, KW_RECORD_GOOD);
    return record;
}

static void begun_as_asked_for(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_keyring *keyring = ring_open();
    cJSON *tags = cJSON_Parse("{\"a\":\"b\"}"), *policy = cJSON_Parse("{\"c\":{\"d\":\"e\"}}");
    const struct kw_key_settings settings = {.ops = &wrap_ops,
                                             .not_before = &not_before,
                                             .expires = &expires,
                                             .tags = tags,
                                             .policy = policy,
                                             .enabled = KW_NO};
    const struct kw_token_key key = create(keyring, KW_USE_ALL, &settings);
    struct kw_key_record record = record_of(keyring, &key);
    assert_true(record.ops == wrap_ops && record.disabled && record.revision == 1);
    assert_true(record.not_before == not_before && record.expires == expires);
    assert_true(record.decrypt && record.unwrap && record.sign == KW_YES);
    assert_true(cJSON_Compare(record.tags, tags, true));
    assert_true(cJSON_Compare(record.policy, policy, true));
    kw_key_record_cleanup(&record);
    struct kw_token_key now = hsm_find_key(token, NEW);
    assert_false(now.decrypt || now.unwrap || now.sign);
    assert_string_equal(now.not_before, "2026-10-02");
    assert_string_equal(now.expires, "2027-10-01");
    assert_int_equal(kw_keyring_update(keyring, ring_find(keyring, NEW),
                                       &(struct kw_key_settings){.enabled = KW_YES}, NULL),
                     KW_OK);
    now = hsm_find_key(token, NEW);
    assert_true(now.decrypt && now.unwrap && !now.sign);

    /* The next one carries on what is not said. */
    kw_keyring_refresh(keyring);
    const struct kw_key_settings other = {.ops = &sign_ops};
    const struct kw_token_key next = rotate(keyring, NULL), last = rotate(keyring, &other);
    record = record_of(keyring, &next);
    assert_true(record.ops == wrap_ops && record.not_before == 0 && record.expires == 0);
    assert_true(!record.disabled && cJSON_Compare(record.tags, tags, true));
    assert_true(cJSON_Compare(record.policy, policy, true));
    kw_key_record_cleanup(&record);
    record = record_of(keyring, &last);
    assert_true(record.ops == sign_ops && cJSON_Compare(record.tags, tags, true));
    kw_key_record_cleanup(&record);

    /* All of them within a second, and in order. */
    struct kw_version *versions = NULL;
    size_t count = 0;
    assert_int_equal(kw_keyring_versions(keyring, NEW, &versions, &count, NULL), KW_OK);
    assert_int_equal(count, 3);
    assert_memory_equal(versions[0].key->id, last.id, last.id_len);
    assert_memory_equal(versions[1].key->id, next.id, next.id_len);
    assert_memory_equal(versions[2].key->id, key.id, key.id_len);
    free(versions);
    cJSON_Delete(tags);
    cJSON_Delete(policy);
    kw_keyring_free(keyring);
    remove_new(token);
    kw_token_free(token);
}

static void next_versions_are_for_the_same(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    for (enum kw_key_use use = 0; use < KW_USE_COUNT; use++) {
        struct kw_keyring *keyring = ring_open();
        const struct kw_token_key first = create(keyring, use, NULL);
        /* Also where the token no longer says so. */
        assert_int_equal(kw_keyring_step(keyring, ring_find(keyring, NEW), KW_STEP_DISABLE, NULL),
                         KW_OK);
        kw_keyring_refresh(keyring);
        const struct kw_token_key next = rotate(keyring, NULL);
        assert_true(next.decrypt == first.decrypt && next.unwrap == first.unwrap &&
                    next.sign == first.sign);
        kw_keyring_free(keyring);
        remove_new(token);
    }
    kw_token_free(token);
}

static void imported_with_settings(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_secret *pkcs8 = hsm_new_pkcs8();
    const struct kw_key_settings settings = {.ops = &wrap_ops, .enabled = KW_NO};
    const struct kw_new_key wanted = wanted_key(KW_USE_DECRYPT, &settings);
    struct kw_keyring *keyring = ring_open();
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_import_key(keyring, pkcs8, NULL, 0, &wanted, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    struct kw_key_record record = record_of(keyring, &key);
    assert_true(record.ops == wrap_ops && record.disabled && record.origin == KW_ORIGIN_FILE);
    kw_key_record_cleanup(&record);
    assert_false(hsm_find_key(token, NEW).decrypt);
    kw_secret_free(pkcs8);
    kw_keyring_free(keyring);
    remove_new(token);
    kw_token_free(token);
}

/* What can't be put on record is not made. */
static void no_record_no_key(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = ring_begin();
    static const int64_t bad = -1;
    const struct kw_key_settings disabled = {.enabled = KW_NO}, senseless = {.expires = &bad},
                                 reversed = {.not_before = &expires, .expires = &not_before};
    const struct {
        const struct kw_key_settings *settings;
        enum kw_status status;
        bool sign_nothing;
    } rows[] = {
        {&disabled, KW_KEY_UNUSABLE, true},
        {&senseless, KW_USAGE, false},
        {&reversed, KW_USAGE, false},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_keyring *keyring = ring_open();
        struct kw_token_key key;
        const struct kw_new_key wanted = wanted_key(KW_USE_DECRYPT, rows[i].settings);
        fault->sign_nothing = rows[i].sign_nothing;
        assert_int_equal(kw_keyring_create(keyring, &wanted, &key, NULL), rows[i].status);
        fault->sign_nothing = false;
        assert_int_equal(ring_count(token, NEW), 0);
        kw_keyring_free(keyring);
    }
    kw_token_free(token);
}

/* ---- each call fails in turn ---- */

static const struct hsm_fault_kind kinds[] = {
    {CKR_GENERAL_ERROR, false, 1},
    {CKR_GENERAL_ERROR, true, 1},
    {CKR_DEVICE_REMOVED, true, 2},
    {CKR_DEVICE_ERROR, true, 1000000},
};

/* A key that is asked for disabled is never there for others to use, but for one that could not be
 * taken away again, which the caller is told. */
static void keys_that_are_cut_short(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_secret *pkcs8 = hsm_new_pkcs8();
    const struct kw_key_settings settings = {.ops = &wrap_ops, .enabled = KW_NO};
    const struct kw_new_key wanted = wanted_key(KW_USE_DECRYPT, &settings);
    struct hsm_cuts cuts = {
        .fault = hsm_fault(), .kinds = kinds, .count = KW_COUNT(kinds), .stride = 2, .limit = 600};
    while (hsm_cut_next(&cuts)) {
        struct kw_keyring *keyring = ring_open();
        struct kw_token_key key;
        struct kw_error err = {.status = KW_OK};
        (void)ring_find(keyring, RING_NAME);
        hsm_cut_arm(&cuts);
        bool done = kw_keyring_import_key(keyring, pkcs8, NULL, 0, &wanted, &key, &err) == KW_OK;
        hsm_cut_over(&cuts, done);
        kw_keyring_free(keyring);
        if (!done && ring_count(token, NEW) && !strstr(err.message, "could not be"))
            fail_msg("the key is there: %s", err.message);
        if (done) {
            assert_int_equal(ring_count(token, NEW), 1);
            assert_false(hsm_find_key(token, NEW).decrypt);
        }
        remove_new(token);
        kw_token_free(token);
        token = ring_begin();
    }
    hsm_cuts_end(&cuts, 10);
    kw_secret_free(pkcs8);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begun_as_asked_for),      cmocka_unit_test(next_versions_are_for_the_same),
        cmocka_unit_test(imported_with_settings),  cmocka_unit_test(no_record_no_key),
        cmocka_unit_test(keys_that_are_cut_short),
    };
    return cmocka_run_group_tests_name("keys/new_keys", tests, ring_setup, ring_teardown);
}
