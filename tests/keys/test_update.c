/* All that Key Vault knows of a key besides, changed in one act on a real token: what was taken
 * away stays so whenever it ends, what makes no sense changes nothing, and no other program's
 * change is lost. */
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#define DAY 86400

static const unsigned all_ops = (1U << KW_OPS_COUNT) - 1;
static const int64_t begin_time = 1790935200,
                     end_time = 1822478400; /* 2026-10-02, 2027-10-02 at noon */

static enum kw_status update_with(struct kw_keyring *keyring,
                                  const struct kw_key_settings *settings, struct kw_error *err)
{
    return kw_keyring_update(keyring, ring_find(keyring, RING_NAME), settings, err);
}

static void update(const struct kw_key_settings *settings)
{
    struct kw_keyring *keyring = ring_open();
    struct kw_error err = {.status = KW_OK};
    if (update_with(keyring, settings, &err) != KW_OK)
        fail_msg("%s", err.message);
    kw_keyring_free(keyring);
}

static void set_ops(unsigned ops)
{
    update(&(struct kw_key_settings){.ops = &ops});
}

static void set_enabled(enum kw_tristate enabled)
{
    update(&(struct kw_key_settings){.enabled = enabled});
}

/* The caller cleans up. */
static struct kw_key_record record_now(void)
{
    struct kw_keyring *keyring = ring_open();
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_record(keyring, ring_find(keyring, RING_NAME), &record, &err) != KW_OK)
        fail_msg("%s", err.message);
    kw_keyring_free(keyring);
    return record;
}

static long revision_now(void)
{
    struct kw_key_record record = record_now();
    long revision = record.revision;
    kw_key_record_cleanup(&record);
    return revision;
}

static unsigned ops_now(void)
{
    struct kw_key_record record = record_now();
    unsigned ops = record.ops;
    kw_key_record_cleanup(&record);
    return ops;
}

static cJSON *policy_of(size_t len)
{
    char text[KW_POLICY_MAX + 2];
    cJSON *policy = cJSON_CreateObject();
    const size_t frame = strlen("{\"a\":\"\"}");
    memset(text, 'p', sizeof(text));
    text[len - frame] = '\0';
    assert_non_null(cJSON_AddStringToObject(policy, "a", text));
    return policy;
}

static cJSON *tags_of(int count, int name_len, int value_len)
{
    cJSON *tags = cJSON_CreateObject();
    char name[KW_TAG_TEXT_MAX + 2], value[KW_TAG_TEXT_MAX + 2];
    memset(value, 'v', sizeof(value));
    value[value_len] = '\0';
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%0*d", name_len, i);
        assert_non_null(cJSON_AddStringToObject(tags, name, value));
    }
    return tags;
}

static void assert_uses(struct kw_token *token, bool decrypt, bool unwrap, bool sign)
{
    struct kw_token_key key = hsm_find_key(token, RING_NAME);
    if (key.decrypt != decrypt || key.unwrap != unwrap || key.sign != sign)
        fail_msg("decrypt %d, unwrap %d, sign %d", key.decrypt, key.unwrap, key.sign);
}

/* ---- what is asked for ---- */

static void all_in_one_revision(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    cJSON *tags = tags_of(KW_TAGS_MAX, KW_TAG_TEXT_MAX, KW_TAG_TEXT_MAX);
    cJSON *policy = policy_of(KW_POLICY_MAX);
    update(&(struct kw_key_settings){.ops = &all_ops,
                                     .not_before = &begin_time,
                                     .expires = &end_time,
                                     .tags = tags,
                                     .policy = policy,
                                     .enabled = KW_NO});
    struct kw_key_record record = record_now();
    assert_int_equal(record.state, KW_RECORD_GOOD);
    assert_int_equal(record.revision, 1);
    assert_int_equal(record.ops, all_ops);
    assert_true(record.not_before == begin_time && record.expires == end_time && record.disabled);
    assert_int_equal(strlen(record.updated), KW_TIMESTAMP_SIZE - 1);
    assert_true(cJSON_Compare(record.tags, tags, true));
    assert_true(cJSON_Compare(record.policy, policy, true));
    kw_key_record_cleanup(&record);
    struct kw_token_key key = hsm_find_key(token, RING_NAME);
    assert_string_equal(key.not_before, "2026-10-02");
    assert_string_equal(key.expires, "2027-10-01"); /* the next day ends at noon */
    assert_uses(token, false, false, false);

    /* What is not said stays; empty takes away. */
    static const int64_t none = 0;
    static const unsigned no_ops = 0;
    cJSON *empty = cJSON_CreateObject();
    update(&(struct kw_key_settings){.enabled = KW_YES, .expires = &none});
    record = record_now();
    assert_true(record.revision == 2 && !record.disabled && record.not_before == begin_time);
    assert_true(record.expires == 0 && record.ops == all_ops && record.tags && record.policy);
    kw_key_record_cleanup(&record);
    update(&(struct kw_key_settings){
        .not_before = &none, .ops = &no_ops, .tags = empty, .policy = empty});
    record = record_now();
    assert_true(record.revision == 3 && record.not_before == 0 && record.ops == 0);
    assert_true(!record.tags && !record.policy);
    kw_key_record_cleanup(&record);
    key = hsm_find_key(token, RING_NAME);
    assert_string_equal(key.not_before, "");
    assert_string_equal(key.expires, "");
    assert_int_equal(ring_unwrap_afresh(), KW_OK);
    cJSON_Delete(empty);
    cJSON_Delete(policy);
    cJSON_Delete(tags);
    kw_token_free(token);
}

static void nothing_is_asked_for(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    update(&(struct kw_key_settings){.ops = NULL});
    assert_int_equal(revision_now(), 0);
    set_enabled(KW_YES);
    update(&(struct kw_key_settings){.ops = NULL});
    assert_int_equal(revision_now(), 1);
    kw_token_free(token);
}

static void refused(const struct kw_key_settings *settings, enum kw_status wanted,
                    const char *words)
{
    struct kw_keyring *keyring = ring_open();
    struct kw_error err = {.status = KW_OK};
    long revision = revision_now();
    enum kw_status status = update_with(keyring, settings, &err);
    if (status != wanted || !strstr(err.message, words))
        fail_msg("%d, \"%s\" lacks \"%s\"", (int)status, err.message, words);
    assert_int_equal(revision_now(), revision);
    kw_keyring_free(keyring);
}

static void tags_are_refused(cJSON *tags, const char *words)
{
    assert_non_null(tags);
    refused(&(struct kw_key_settings){.tags = tags, .enabled = KW_NO}, KW_USAGE, words);
    cJSON_Delete(tags);
}

static void policy_is_refused(cJSON *policy, const char *words)
{
    assert_non_null(policy);
    refused(&(struct kw_key_settings){.policy = policy, .enabled = KW_NO}, KW_USAGE, words);
    cJSON_Delete(policy);
}

static void what_makes_no_sense(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    static const int64_t times[] = {-1, INT64_MIN, KW_SECONDS_MAX + 1, INT64_MAX};
    static const unsigned ops[] = {256, 0x80000001U, ~0U};
    for (size_t i = 0; i < KW_COUNT(times); i++) {
        refused(&(struct kw_key_settings){.expires = &times[i]}, KW_USAGE, "unix time");
        refused(&(struct kw_key_settings){.not_before = &times[i]}, KW_USAGE, "unix time");
    }
    for (size_t i = 0; i < KW_COUNT(ops); i++)
        refused(&(struct kw_key_settings){.ops = &ops[i]}, KW_USAGE, "operations");
    refused(&(struct kw_key_settings){.not_before = &end_time, .expires = &begin_time}, KW_USAGE,
            "can't expire");
    refused(&(struct kw_key_settings){.not_before = &end_time, .expires = &end_time}, KW_USAGE,
            "can't expire");
    update(&(struct kw_key_settings){.expires = &begin_time});
    refused(&(struct kw_key_settings){.not_before = &end_time}, KW_USAGE, "can't expire");

    tags_are_refused(tags_of(KW_TAGS_MAX + 1, 2, 1), "at most 15");
    tags_are_refused(tags_of(1, KW_TAG_TEXT_MAX + 1, 1), "at most 256");
    tags_are_refused(tags_of(1, 1, KW_TAG_TEXT_MAX + 1), "at most 256");
    tags_are_refused(cJSON_Parse("[\"a\"]"), "an object");
    tags_are_refused(cJSON_Parse("\"a\""), "an object");
    tags_are_refused(cJSON_Parse("{\"a\":1}"), "are text");
    tags_are_refused(cJSON_Parse("{\"a\":null}"), "are text");
    tags_are_refused(cJSON_Parse("{\"\":\"a\"}"), "at least one");
    tags_are_refused(cJSON_Parse("{\"a\":\"b\\n\"}"), "printable");
    tags_are_refused(cJSON_Parse("{\"a\\u007f\":\"b\"}"), "printable");
    tags_are_refused(cJSON_Parse("{\"a\":\"b\",\"A\":\"c\"}"), "same name");
    policy_is_refused(policy_of(KW_POLICY_MAX + 1), "at most 2048");
    policy_is_refused(cJSON_Parse("[]"), "an object");
    policy_is_refused(cJSON_Parse("{\"a\":1,\"A\":2}"), "twice");
    policy_is_refused(cJSON_Parse("{\"a\":[[[[[[1]]]]]]}"), "the rotation policy");
    kw_token_free(token);
}

/* Quotes take twice the room, so that fewer fit. */
static void more_than_a_record_holds(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    cJSON *tags = tags_of(KW_TAGS_MAX, KW_TAG_TEXT_MAX, KW_TAG_TEXT_MAX);
    for (cJSON *tag = tags->child; tag; tag = tag->next)
        memset(tag->valuestring, '"', KW_TAG_TEXT_MAX);
    refused(&(struct kw_key_settings){.tags = tags, .enabled = KW_NO}, KW_USAGE, "has room for");
    assert_int_equal(ring_unwrap_afresh(), KW_OK);
    cJSON_Delete(tags);
    kw_token_free(token);
}

static void keys_that_are_left_alone(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_error err = {.status = KW_OK};
    static const unsigned sign_only = KW_OP_SIGN;
    struct kw_keyring *keyring = ring_open();
    assert_int_equal(kw_keyring_step(keyring, ring_find(keyring, RING_NAME), KW_STEP_DELETE, NULL),
                     KW_OK);
    kw_keyring_free(keyring);
    refused(&(struct kw_key_settings){.enabled = KW_YES}, KW_KEY_UNUSABLE, "recover it first");
    refused(&(struct kw_key_settings){.expires = &end_time}, KW_KEY_UNUSABLE, "recover it first");

    const struct kw_key_settings harm[] = {{.enabled = KW_NO}, {.ops = &sign_only}};
    keyring = ring_open();
    for (size_t i = 0; i < KW_COUNT(harm); i++) {
        assert_int_equal(
            kw_keyring_update(keyring, ring_find(keyring, RING_SIGNER), &harm[i], &err),
            KW_KEY_UNUSABLE);
        assert_non_null(strstr(err.message, "signs the records"));
    }
    kw_keyring_free(keyring);
    struct kw_token_key signer = hsm_find_key(token, RING_SIGNER);
    assert_true(signer.sign);
    kw_token_free(token);
}

static void an_edited_record_stays_bad(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    size_t count = 0;
    cJSON *policy = policy_of(100);
    update(&(struct kw_key_settings){.policy = policy, .expires = &end_time});
    struct kw_token_data *data = ring_stored(token, &count);
    assert_int_equal(count, 1);
    char *middle = data[0].value + data[0].len / 2;
    *middle = *middle == 'A' ? 'B' : 'A';
    ring_put_stored(token, data[0].label, data[0].value, true);
    kw_token_data_free(data, count);
    assert_int_equal(ring_state_afresh(), KW_KEY_RECORD_BAD);
    assert_int_equal(ring_unwrap_afresh(), KW_KEY_UNUSABLE);
    refused(&(struct kw_key_settings){.expires = &end_time}, KW_KEY_UNUSABLE, "can't be trusted");
    refused(&(struct kw_key_settings){.enabled = KW_NO}, KW_KEY_UNUSABLE, "can't be trusted");
    update(&(struct kw_key_settings){.enabled = KW_YES, .expires = &end_time});
    struct kw_key_record record = record_now();
    assert_true(record.state == KW_RECORD_GOOD && record.expires == end_time && !record.policy);
    kw_key_record_cleanup(&record);
    assert_int_equal(ring_unwrap_afresh(), KW_OK);
    cJSON_Delete(policy);
    kw_token_free(token);
}

/* ---- dates ---- */

static void days_of_times(void **state)
{
    (void)state;
    static const struct {
        int64_t not_before, expires;
        const char *first, *last;
    } rows[] = {
        {0, 0, "", ""},
        {DAY, 0, "1970-01-02", ""},
        {2 * DAY - 1, 0, "1970-01-02", ""},
        {0, 2 * DAY, "", "1970-01-02"},
        {0, 2 * DAY - 1, "", "1970-01-01"},
        {0, 2 * DAY + 1, "", "1970-01-02"},
        {0, 1, "", "1969-12-31"},
        {DAY, 2 * DAY, "1970-01-02", "1970-01-02"},
        {DAY + 1, DAY + 2, "1970-01-02", "1970-01-02"},
        {0, KW_SECONDS_MAX, "", "9999-12-30"},
        {KW_SECONDS_MAX, 0, "9999-12-31", ""},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        char first[KW_DAY_SIZE], last[KW_DAY_SIZE];
        kw_first_day(rows[i].not_before, first);
        kw_last_day(rows[i].expires, first, last);
        assert_string_equal(first, rows[i].first);
        assert_string_equal(last, rows[i].last);
    }
}

static void by_the_second(void **state)
{
    (void)state;
    const struct kw_token_key key = {.not_before = "1970-01-02", .expires = "1970-01-03"};
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    const struct kw_version version = {&key, &record};
    assert_int_equal(kw_version_validity(&version, DAY - 1), KW_NOT_YET_VALID);
    assert_int_equal(kw_version_validity(&version, DAY), KW_VALID);
    assert_int_equal(kw_version_validity(&version, 3 * DAY - 1), KW_VALID);
    assert_int_equal(kw_version_validity(&version, 3 * DAY), KW_EXPIRED);
    record.not_before = DAY + 7;
    assert_int_equal(kw_version_validity(&version, DAY + 6), KW_NOT_YET_VALID);
    assert_int_equal(kw_version_validity(&version, DAY + 7), KW_VALID);
    assert_int_equal(kw_version_validity(&version, 3 * DAY), KW_EXPIRED);
    record.expires = 3 * DAY + 7;
    assert_int_equal(kw_version_validity(&version, 3 * DAY + 6), KW_VALID);
    assert_int_equal(kw_version_validity(&version, 3 * DAY + 7), KW_EXPIRED);
}

/* What sets days afterwards is what counts. */
static void days_after_seconds(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    const struct kw_key_change change = {.expires = "2028-02-29"};
    struct kw_token_key changed;
    update(&(struct kw_key_settings){.not_before = &begin_time, .expires = &end_time});
    struct kw_keyring *keyring = ring_open();
    assert_int_equal(
        kw_keyring_change(keyring, ring_find(keyring, RING_NAME), &change, &changed, NULL), KW_OK);
    assert_string_equal(changed.expires, "2028-02-29");
    struct kw_key_record record = record_now();
    assert_true(record.expires == 0 && record.not_before == begin_time && record.revision == 2);
    kw_key_record_cleanup(&record);
    /* The keyring's key has the old dates; the token's count. */
    static const int64_t late = 1840000000;
    assert_int_equal(update_with(keyring, &(struct kw_key_settings){.not_before = &late}, NULL),
                     KW_USAGE);
    assert_int_equal(revision_now(), 2);
    kw_keyring_free(keyring);
    kw_token_free(token);
}

static void tokens_without_dates(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_OBJECT_CLASS private = CKO_PRIVATE_KEY;
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_keyring *keyring = ring_open();
    fault->no_change_of = &private;
    assert_int_equal(update_with(keyring, &(struct kw_key_settings){.expires = &end_time}, NULL),
                     KW_OK);
    assert_true(kw_keyring_copy_warnings(keyring, 0, NULL) > 0);
    struct kw_key_record record = record_now();
    assert_true(record.expires == end_time);
    kw_key_record_cleanup(&record);
    fault->no_change_of = NULL;
    kw_keyring_free(keyring);
    kw_token_free(token);
}

/* ---- operations ---- */

static void operations_on_the_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    static const struct {
        unsigned ops;
        bool decrypt, unwrap;
    } rows[] = {
        {KW_OP_WRAP | KW_OP_UNWRAP, true, true},
        {KW_OP_DECRYPT, true, false},
        {KW_OP_IMPORT, false, true},
        {KW_OP_ENCRYPT | KW_OP_WRAP | KW_OP_VERIFY, false, false},
        {KW_OP_SIGN, false, false}, /* it was not made for that */
        {KW_OP_UNWRAP, true, true},
        {KW_OP_EXPORT, false, false},
        {0, true, true},
    };
    struct kw_token *token = ring_begin();
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        set_ops(rows[i].ops);
        assert_uses(token, rows[i].decrypt, rows[i].unwrap, false);
        assert_int_equal(ops_now(), rows[i].ops);
        set_enabled(KW_NO);
        assert_uses(token, false, false, false);
        assert_int_equal(ring_state_afresh(), KW_KEY_DISABLED);
        set_enabled(KW_YES);
        assert_uses(token, rows[i].decrypt, rows[i].unwrap, false);
    }
    kw_token_free(token);
}

static void tokens_that_take_nothing_away(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_OBJECT_CLASS private = CKO_PRIVATE_KEY;
    static const unsigned few = KW_OP_WRAP, unwrap = KW_OP_UNWRAP;
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = ring_begin();
    struct kw_keyring *keyring = ring_open();
    fault->no_change_of = &private;
    assert_int_equal(update_with(keyring, &(struct kw_key_settings){.ops = &few}, NULL), KW_OK);
    assert_int_equal(kw_keyring_copy_warnings(keyring, 0, NULL), 1);
    assert_int_equal(ops_now(), few);
    fault->no_change_of = NULL;
    set_ops(few);
    assert_uses(token, false, false, false);
    fault->no_change_of = &private;
    assert_int_equal(update_with(keyring, &(struct kw_key_settings){.ops = &unwrap}, NULL),
                     KW_KEY_UNUSABLE);
    assert_int_equal(ops_now(), few);
    fault->no_change_of = NULL;
    kw_keyring_free(keyring);
    kw_token_free(token);
}

static void operations_of_versions(void **state)
{
    (void)state;
    static const struct {
        struct kw_token_key key;
        struct kw_key_record record;
        unsigned ops;
    } rows[] = {
        {{.decrypt = true, .unwrap = true},
         {.state = KW_RECORD_NONE},
         KW_OP_ENCRYPT | KW_OP_DECRYPT | KW_OP_WRAP | KW_OP_UNWRAP},
        {{.unwrap = true}, {.state = KW_RECORD_NONE}, KW_OP_IMPORT},
        {{.sign = true}, {.state = KW_RECORD_NONE}, KW_OP_SIGN | KW_OP_VERIFY},
        {{.id_len = 0}, {.state = KW_RECORD_NONE}, 0},
        {{.id_len = 0}, {.state = KW_RECORD_BAD, .decrypt = true}, 0},
        {{.id_len = 0},
         {.state = KW_RECORD_GOOD, .sign = KW_YES, .ops = KW_OP_VERIFY | KW_OP_DECRYPT},
         KW_OP_VERIFY},
        {{.decrypt = true, .unwrap = true},
         {.state = KW_RECORD_GOOD, .ops = KW_OP_IMPORT | KW_OP_EXPORT},
         KW_OP_IMPORT},
        {{.decrypt = true, .extractable = true},
         {.state = KW_RECORD_GOOD, .ops = KW_OP_IMPORT | KW_OP_EXPORT},
         KW_OP_EXPORT},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        const struct kw_version version = {&rows[i].key, &rows[i].record};
        assert_int_equal(kw_version_ops(&version), rows[i].ops);
    }
}

/* ---- another program at the same time ---- */

struct rival {
    struct kw_keyring *keyring;
    const struct kw_token_key *key;
    const struct kw_key_settings *settings;
    enum kw_status status;
    struct kw_error err;
};

static void *update_in_thread(void *context)
{
    struct rival *rival = context;
    rival->status = kw_keyring_update(rival->keyring, rival->key, rival->settings, &rival->err);
    return NULL;
}

/* Updates, and has `meanwhile` done between what it has read and what it writes. */
static void update_while(struct kw_fault *fault, struct rival *rival, enum kw_key_step meanwhile)
{
    pthread_t thread;
    struct kw_keyring *other = ring_open();
    const struct kw_token_key *key = ring_find(other, RING_NAME);
    rival->keyring = ring_open();
    rival->key = ring_find(rival->keyring, RING_NAME);
    atomic_store(&fault->to_hang, 0);
    atomic_store(&fault->released, false);
    atomic_store(&fault->hang_at, 1);
    atomic_store(&fault->hang, "C_Sign");
    assert_int_equal(pthread_create(&thread, NULL, update_in_thread, rival), 0);
    while (atomic_load(&fault->hanging) == 0)
        (void)usleep(1000);
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_step(other, key, meanwhile, &err) != KW_OK)
        fail_msg("%s", err.message);
    atomic_store(&fault->released, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    atomic_store(&fault->hang, NULL);
    kw_keyring_free(rival->keyring);
    kw_keyring_free(other);
}

static void no_change_is_lost(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = ring_begin();
    const struct kw_key_settings dates = {.expires = &end_time}, enable = {.enabled = KW_YES};
    struct rival rival = {.settings = &dates};
    set_enabled(KW_YES);
    update_while(fault, &rival, KW_STEP_DISABLE);
    if (rival.status)
        fail_msg("%s", rival.err.message);
    struct kw_key_record record = record_now();
    assert_true(record.disabled && record.expires == end_time && record.revision == 3);
    kw_key_record_cleanup(&record);
    assert_uses(token, false, false, false);

    /* What was given to the token for an update that came to nothing is taken away again. */
    rival.settings = &enable;
    update_while(fault, &rival, KW_STEP_DELETE);
    assert_int_equal(rival.status, KW_KEY_UNUSABLE);
    assert_non_null(strstr(rival.err.message, "recover it first"));
    assert_int_equal(ring_state_afresh(), KW_KEY_DELETED);
    assert_uses(token, false, false, false);
    kw_token_free(token);
}

/* ---- each call fails in turn ---- */

static const struct hsm_fault_kind kinds[] = {
    {CKR_GENERAL_ERROR, false, 1},
    {CKR_GENERAL_ERROR, true, 1},
    {CKR_DEVICE_REMOVED, true, 2},
    {CKR_DEVICE_ERROR, true, 1000000},
};

static const unsigned decrypt_only = KW_OP_DECRYPT, import_only = KW_OP_IMPORT;
static const int64_t sooner = 1800000000, later = 1860000000;
/* Each takes something away, gives something, or both. */
static const struct kw_key_settings from = {
    .ops = &decrypt_only, .expires = &end_time, .enabled = KW_YES};
static const struct kw_key_settings to[] = {
    {.ops = &import_only, .expires = &sooner},
    {.ops = &all_ops, .expires = &later},
    {.enabled = KW_NO, .expires = &later},
};

static bool has_settings(const struct kw_key_record *record, const struct kw_key_settings *settings)
{
    return (!settings->ops || record->ops == *settings->ops) &&
           record->expires == *settings->expires &&
           (settings->enabled == KW_UNSET || record->disabled == (settings->enabled == KW_NO));
}

static void check_update(struct kw_token *token, const struct kw_key_settings *wanted, bool done)
{
    struct kw_key_record record = record_now();
    assert_int_equal(record.state, KW_RECORD_GOOD);
    bool changed = has_settings(&record, wanted);
    if (!changed && (done || !has_settings(&record, &from)))
        fail_msg("done %d, ops %x, disabled %d", done, record.ops, record.disabled);
    kw_key_record_cleanup(&record);
    if (!done)
        update(wanted);
    record = record_now();
    assert_true(has_settings(&record, wanted));
    struct kw_use_flags uses;
    kw_record_uses(&record, &uses);
    assert_uses(token, uses.decrypt, uses.unwrap, uses.sign);
    kw_key_record_cleanup(&record);
    char last[KW_DAY_SIZE];
    struct kw_token_key key = hsm_find_key(token, RING_NAME);
    kw_last_day(*wanted->expires, "", last);
    assert_string_equal(key.expires, last);
}

static void updates_that_are_cut_short(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)hsm_fault();
    struct kw_token *token = ring_begin();
    for (size_t i = 0; i < KW_COUNT(to); i++) {
        struct hsm_cuts cuts = {.fault = hsm_fault(),
                                .kinds = kinds,
                                .count = KW_COUNT(kinds),
                                .kind = i % 2,
                                .stride = 2,
                                .limit = 600};
        while (hsm_cut_next(&cuts)) {
            update(&from);
            struct kw_keyring *keyring = ring_open();
            const struct kw_token_key *key = ring_find(keyring, RING_NAME);
            hsm_cut_arm(&cuts);
            bool done = kw_keyring_update(keyring, key, &to[i], NULL) == KW_OK;
            hsm_cut_over(&cuts, done);
            check_update(token, &to[i], done);
            kw_keyring_free(keyring);
        }
        hsm_cuts_end(&cuts, 10);
    }
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_in_one_revision),
        cmocka_unit_test(nothing_is_asked_for),
        cmocka_unit_test(what_makes_no_sense),
        cmocka_unit_test(more_than_a_record_holds),
        cmocka_unit_test(keys_that_are_left_alone),
        cmocka_unit_test(an_edited_record_stays_bad),
        cmocka_unit_test(days_of_times),
        cmocka_unit_test(by_the_second),
        cmocka_unit_test(days_after_seconds),
        cmocka_unit_test(tokens_without_dates),
        cmocka_unit_test(operations_on_the_token),
        cmocka_unit_test(tokens_that_take_nothing_away),
        cmocka_unit_test(operations_of_versions),
        cmocka_unit_test(no_change_is_lost),
        cmocka_unit_test(updates_that_are_cut_short),
    };
    return cmocka_run_group_tests_name("keys/update", tests, ring_setup, ring_teardown);
}
