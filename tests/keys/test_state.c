/* The states of keys on a real token: what was taken away stays so whenever a step ends, and each
 * step can be repeated. */
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void step_with(struct kw_keyring *keyring, enum kw_key_step step)
{
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_step(keyring, ring_find(keyring, RING_NAME), step, &err) != KW_OK)
        fail_msg("%s", err.message);
}

static void step_afresh(enum kw_key_step step)
{
    struct kw_keyring *keyring = ring_open();
    step_with(keyring, step);
    kw_keyring_free(keyring);
}

static void step_is_refused(const char *name, enum kw_key_step step, const char *words)
{
    struct kw_keyring *keyring = ring_open();
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_keyring_step(keyring, ring_find(keyring, name), step, &err),
                     KW_KEY_UNUSABLE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    kw_keyring_free(keyring);
}

static void assert_allowed(struct kw_token *token, bool allowed)
{
    struct kw_token_key key = hsm_find_key(token, RING_NAME);
    assert_int_equal(key.decrypt, allowed);
    assert_int_equal(key.unwrap, allowed);
}

/* ---- steps ---- */

static void steps_and_their_states(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
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
        assert_int_equal(ring_state_afresh(), rows[i].after);
        assert_allowed(token, rows[i].after == KW_KEY_ENABLED);
        assert_int_equal(ring_unwrap_afresh(),
                         rows[i].after == KW_KEY_ENABLED ? KW_OK : KW_KEY_UNUSABLE);
    }
    step_is_refused(RING_NAME, KW_STEP_RECOVER, "is not deleted");
    step_afresh(KW_STEP_DELETE);
    step_is_refused(RING_NAME, KW_STEP_DISABLE, "recover it first");
    step_is_refused(RING_NAME, KW_STEP_ENABLE, "recover it first");
    kw_token_free(token);
}

/* What a keyring has read does not hold against what it did itself, nor do data keys that it kept.
 */
static void one_keyring_for_all(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_keyring *keyring = ring_open();
    const struct kw_token_key *key = ring_find(keyring, RING_NAME);
    const struct kw_token_key copy = *key;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ring_unwrap(keyring, key), KW_OK);
        step_with(keyring, i ? KW_STEP_DELETE : KW_STEP_DISABLE);
        assert_allowed(token, false);
        assert_int_equal(ring_unwrap(keyring, key), KW_KEY_UNUSABLE);
        assert_int_equal(ring_unwrap(keyring, &copy), KW_KEY_UNUSABLE);
        assert_int_equal(kw_keyring_check_use(keyring, key, NULL), KW_KEY_UNUSABLE);
        step_with(keyring, i ? KW_STEP_RECOVER : KW_STEP_ENABLE);
        assert_allowed(token, true);
        assert_int_equal(kw_keyring_check_use(keyring, key, NULL), KW_OK);
        assert_int_equal(ring_unwrap(keyring, &copy), KW_OK);
    }
    /* The token takes nothing away, so the data key could be unwrapped, or was kept. */
    static const CK_OBJECT_CLASS private = CKO_PRIVATE_KEY;
    struct kw_fault *fault = hsm_fault();
    assert_int_equal(ring_unwrap(keyring, key), KW_OK);
    fault->no_change_of = &private;
    step_with(keyring, KW_STEP_DISABLE);
    assert_allowed(token, true);
    assert_true(kw_keyring_copy_warnings(keyring, 0, NULL) > 0);
    assert_int_equal(ring_unwrap(keyring, key), KW_KEY_UNUSABLE);
    assert_int_equal(ring_unwrap_afresh(), KW_KEY_UNUSABLE);
    step_with(keyring, KW_STEP_ENABLE);
    assert_int_equal(ring_unwrap(keyring, key), KW_OK);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

/* Another program gave the use back after this one had read the key. */
static void flags_that_are_old(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    step_afresh(KW_STEP_DISABLE);
    struct kw_keyring *keyring = ring_open();
    assert_false(ring_find(keyring, RING_NAME)->decrypt);
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
    struct kw_token *token = ring_begin();
    step_afresh(KW_STEP_DISABLE);
    fault->no_change_of = &private;
    step_is_refused(RING_NAME, KW_STEP_ENABLE, "change what a key may do");
    assert_int_equal(ring_state_afresh(), KW_KEY_DISABLED);
    /* Nothing is given back to it by this. */
    step_afresh(KW_STEP_DELETE);
    step_afresh(KW_STEP_RECOVER);
    assert_int_equal(ring_state_afresh(), KW_KEY_DISABLED);
    fault->no_change_of = NULL;
    step_afresh(KW_STEP_ENABLE);
    step_afresh(KW_STEP_DELETE);
    fault->no_change_of = &private;
    step_is_refused(RING_NAME, KW_STEP_RECOVER, "change what a key may do");
    assert_int_equal(ring_state_afresh(), KW_KEY_DELETED);
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
    enum kw_key_state state = ring_state_afresh();
    if (state != row->to && (done || state != row->from))
        fail_msg("done %d, state %d", done, (int)state);
    if (state != KW_KEY_ENABLED) {
        assert_int_equal(ring_unwrap_afresh(), KW_KEY_UNUSABLE);
        assert_int_equal(ring_unwrap(keyring, ring_find(keyring, RING_NAME)), KW_KEY_UNUSABLE);
    } else if (row->to == KW_KEY_ENABLED) {
        assert_int_equal(ring_unwrap_afresh(), KW_OK); /* the token was told before */
    }
    if (done || (row->step == KW_STEP_RECOVER && state == row->to))
        return;
    step_with(keyring, row->step);
    assert_int_equal(ring_state_afresh(), row->to);
    assert_allowed(token, row->to == KW_KEY_ENABLED);
}

static void fail_each_call(const struct step_case *row, struct kw_token *token,
                           struct hsm_cuts *cuts)
{
    cuts->fault = hsm_fault();
    cuts->fault->refuse_data = getenv("KW_FAULT_REFUSE_DATA") != NULL;
    while (hsm_cut_next(cuts)) {
        struct kw_keyring *keyring = ring_open();
        const struct kw_token_key *key = ring_find(keyring, RING_NAME);
        if (ring_state_afresh() == KW_KEY_DELETED && row->before != KW_STEP_DELETE)
            step_afresh(KW_STEP_RECOVER);
        step_afresh(row->before);
        assert_int_equal(ring_state_afresh(), row->from);
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
    struct kw_token *token = ring_begin();
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
    struct kw_token *token = ring_begin();
    assert_int_equal(setenv("KW_FAULT_REFUSE_DATA", "yes", 1), 0);
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct hsm_cuts cuts = {.kinds = &kinds[1], .count = 1, .stride = 1, .limit = 400};
        fail_each_call(&cases[i], token, &cuts);
        hsm_cuts_end(&cuts, 5);
    }
    size_t count = 0;
    struct kw_token_data *data = ring_stored(token, &count);
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
    struct kw_keyring *keyring = ring_open();
    enum kw_status status = kw_keyring_purge(keyring, ring_find(keyring, RING_NAME), err);
    kw_keyring_free(keyring);
    return status;
}

static void assert_all_gone(struct kw_token *token)
{
    size_t count = 0;
    struct kw_token_data *data = ring_stored(token, &count);
    assert_int_equal(count, 0);
    kw_token_data_free(data, count);
    assert_int_equal(ring_count(token, RING_NAME), 0);
    ring_import(token); /* the public half is not in the way */
}

static void a_purge_that_is_cut_short(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct hsm_cuts cuts = {
        .fault = hsm_fault(), .kinds = kinds, .count = KW_COUNT(kinds), .stride = 1, .limit = 400};
    struct kw_token *token = ring_begin();
    while (hsm_cut_next(&cuts)) {
        step_afresh(KW_STEP_DELETE);
        struct kw_keyring *keyring = ring_open();
        const struct kw_token_key *key = ring_find(keyring, RING_NAME);
        hsm_cut_arm(&cuts);
        bool done = kw_keyring_purge(keyring, key, NULL) == KW_OK;
        hsm_cut_over(&cuts, done);
        if (ring_count(token, RING_NAME) > 0) {
            assert_false(done);
            assert_int_equal(ring_state_afresh(), KW_KEY_DELETED);
            assert_int_equal(ring_unwrap_afresh(), KW_KEY_UNUSABLE);
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
    struct kw_token *token = ring_begin();
    assert_int_equal(purge_afresh(&err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "is not deleted"));
    ring_put_text(ring_config, "[keys]\nrecords-key = " RING_SIGNER "\npurge-protection = yes\n");
    step_afresh(KW_STEP_DELETE);
    ring_put_text(ring_config, "[keys]\nrecords-key = " RING_SIGNER "\n");
    /* Neither another setting nor deleting once more takes the protection away. */
    step_afresh(KW_STEP_DELETE);
    assert_int_equal(purge_afresh(&err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "under purge protection"));
    assert_int_equal(ring_count(token, RING_NAME), 1);
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
    struct kw_token *token = ring_begin();
    size_t count = 0;
    step_afresh(KW_STEP_DISABLE);
    step_afresh(KW_STEP_DISABLE);
    step_afresh(KW_STEP_ENABLE);
    struct kw_token_data *enabled = ring_stored(token, &count);
    assert_int_equal(count, 1);
    ring_put_stored(token, enabled[0].label, "edited", false);
    assert_int_equal(ring_state_afresh(), KW_KEY_RECORD_BAD);
    assert_int_equal(ring_unwrap_afresh(), KW_KEY_UNUSABLE);
    step_is_refused(RING_NAME, KW_STEP_DISABLE, "can't be trusted");
    step_afresh(KW_STEP_DELETE);
    assert_int_equal(ring_state_afresh(), KW_KEY_DELETED);
    /* As if only the edited one had been removed. */
    ring_put_stored(token, enabled[0].label, enabled[0].value, false);
    assert_int_equal(ring_state_afresh(), KW_KEY_DELETED);
    assert_int_equal(ring_unwrap_afresh(), KW_KEY_UNUSABLE);
    kw_token_data_free(enabled, count);
    kw_token_free(token);
}

/* A key exchange key that decrypts would give away what was wrapped for it. */
static void a_lost_record_gives_no_other_use(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    const struct kw_new_key wanted = {
        .use = KW_USE_IMPORT, .name = "kw-kek", .bits = 2048, .not_before = "", .expires = ""};
    struct kw_token_key kek;
    size_t count = 0;
    struct kw_keyring *keyring = ring_open();
    assert_int_equal(kw_keyring_create(keyring, &wanted, &kek, NULL), KW_OK);
    assert_int_equal(kw_keyring_step(keyring, &kek, KW_STEP_DISABLE, NULL), KW_OK);
    kw_keyring_free(keyring);
    struct kw_token_data *data = ring_stored(token, &count);
    assert_int_equal(count, 1);
    ring_put_stored(token, data[0].label, "edited", true);
    kw_token_data_free(data, count);
    keyring = ring_open();
    assert_int_equal(kw_keyring_step(keyring, ring_find(keyring, "kw-kek"), KW_STEP_ENABLE, NULL),
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
        struct kw_token *token = ring_begin();
        static const char *const tags[] = {"a=b"};
        size_t count = 0;
        step_afresh(KW_STEP_DISABLE);
        struct kw_token_data *disabled = ring_stored(token, &count);
        assert_int_equal(kw_token_data_remove(token, RING_APPLICATION, disabled[0].label, NULL),
                         KW_OK);
        struct kw_keyring *keyring = ring_open();
        assert_int_equal(kw_keyring_tag(keyring, ring_find(keyring, RING_NAME), tags, 1, NULL),
                         KW_OK);
        kw_keyring_free(keyring);
        struct kw_token_data *tagged = ring_stored(token, &count);
        assert_int_equal(count, 1);
        const char *values[] = {disabled[0].value, tagged[0].value};
        ring_put_stored(token, disabled[0].label, values[order], true);
        ring_put_stored(token, disabled[0].label, values[1 - order], false);
        assert_int_equal(ring_state_afresh(), KW_KEY_DISABLED);
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
    struct kw_token *token = ring_begin();
    struct kw_keyring *keyring = ring_open();
    const struct kw_token_key *key = ring_find(keyring, RING_NAME);
    const struct record_start byok = {KW_ORIGIN_BYOK, NULL, ""}, file = {KW_ORIGIN_FILE, NULL, ""};
    assert_int_equal(kw_record_begin(keyring, key, &byok, NULL), KW_OK);
    assert_int_equal(kw_keyring_copy_warnings(keyring, 0, NULL), 0);
    step_with(keyring, KW_STEP_DISABLE);
    assert_int_equal(kw_record_begin(keyring, key, &file, NULL), KW_OK);
    assert_int_equal(kw_keyring_copy_warnings(keyring, 0, NULL), 1);
    assert_int_equal(ring_state_afresh(), KW_KEY_DISABLED);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

static void keys_without_a_modulus(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_keyring *keyring = ring_open();
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    struct kw_token_key blank = *ring_find(keyring, RING_NAME);
    size_t count = 0;
    blank.public.modulus_len = 0;
    for (enum kw_key_step step = KW_STEP_DISABLE; step <= KW_STEP_RECOVER; step++)
        assert_int_equal(kw_keyring_step(keyring, &blank, step, NULL), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_purge(keyring, &blank, NULL), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_record(keyring, &blank, &record, NULL), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_check_use(keyring, &blank, NULL), KW_KEY_UNUSABLE);
    struct kw_token_data *data = ring_stored(token, &count);
    assert_int_equal(count, 0);
    kw_token_data_free(data, count);
    assert_int_equal(ring_unwrap_afresh(), KW_OK);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

/* ---- the key that signs ---- */

static void the_signer_stays_one(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    step_afresh(KW_STEP_DISABLE);
    step_is_refused(RING_SIGNER, KW_STEP_DISABLE, "signs the records");
    step_is_refused(RING_SIGNER, KW_STEP_DELETE, "signs the records");
    step_afresh(KW_STEP_ENABLE);
    struct kw_keyring *keyring = ring_open();
    const struct kw_token_key *signer = ring_find(keyring, RING_SIGNER);
    const struct kw_key_change change = {.label = "kw-renamed"};
    struct kw_token_key changed;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_keyring_step(keyring, signer, KW_STEP_ENABLE, &err), KW_OK);
    assert_int_equal(kw_keyring_change(keyring, signer, &change, &changed, &err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "signs the records"));
    kw_keyring_free(keyring);
    struct kw_token_key now = hsm_find_key(token, RING_SIGNER);
    assert_true(now.sign && !now.decrypt && !now.unwrap);
    assert_int_equal(ring_state_afresh(), KW_KEY_ENABLED);
    kw_token_free(token);
}

/* A program that has been running since before there was one finds it, and makes no second one. */
static void a_signer_that_others_made(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    if (ring_count(token, RING_SIGNER)) {
        struct kw_token_key old = hsm_find_key(token, RING_SIGNER);
        assert_int_equal(kw_token_destroy_key(token, &old, NULL), KW_OK);
    }
    struct kw_keyring *reader = ring_open(), *writer = ring_open();
    const struct kw_token_key *key = ring_find(reader, RING_NAME);
    (void)ring_find(writer, RING_NAME);
    step_afresh(KW_STEP_DISABLE);
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(ring_unwrap(reader, key), KW_KEY_UNUSABLE);
    assert_int_equal(kw_keyring_check_use(reader, key, &err), KW_KEY_UNUSABLE);
    if (!strstr(err.message, "is disabled"))
        fail_msg("%s", err.message);
    step_with(writer, KW_STEP_ENABLE);
    assert_int_equal(ring_count(token, RING_SIGNER), 1);
    assert_int_equal(ring_state_afresh(), KW_KEY_ENABLED);
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
    return cmocka_run_group_tests_name("keys/state", tests, ring_setup, ring_teardown);
}
