/* What a record says: it comes back as it was written, and each fault in it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "keys/internal.h"

static const char fingerprint[] =
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct kw_token_key a_key(void)
{
    return (struct kw_token_key){.id = {0xca, 0xfe}, .id_len = 2, .label = "key"};
}

static struct kw_key_record a_record(void)
{
    struct kw_key_record record = {.revision = 7,
                                   .origin = KW_ORIGIN_BYOK,
                                   .made_on = "0123456789abcdef",
                                   .created = "2026-10-05T06:00:00Z",
                                   .disabled = true,
                                   .deleted = "2026-10-06T06:00:00Z",
                                   .purge_after = "2027-01-04T06:00:00Z",
                                   .purge_protected = true,
                                   .backed_up = "2026-10-05T07:00:00Z",
                                   .unwrap = true,
                                   .tags = cJSON_CreateObject(),
                                   .sign = KW_NO,
                                   .updated = "2026-10-05T08:00:00Z",
                                   .ops = KW_OP_DECRYPT | KW_OP_WRAP | KW_OP_EXPORT,
                                   .not_before = 1,
                                   .expires = KW_SECONDS_MAX,
                                   .policy = cJSON_Parse("{\"a\":[{\"b\":{\"c\":\"P30D\"}}]}")};
    assert_non_null(record.tags);
    return record;
}

static void add_tag(struct kw_key_record *record, const char *name, const char *value)
{
    assert_non_null(cJSON_AddStringToObject(record->tags, name, value));
}

static char *encode(const struct kw_key_record *record, size_t *ret_len)
{
    struct kw_buffer text = KW_BUFFER_INIT(KW_DATA_MAX + 1);
    const struct kw_token_key key = a_key();
    assert_int_equal(kw_record_encode(record, &key, fingerprint, &text, NULL), KW_OK);
    *ret_len = text.len;
    assert_int_equal(kw_buffer_append(&text, "", 1, NULL), KW_OK); /* for strstr */
    return (char *)text.data;
}

static bool decode(const char *text, size_t len, struct kw_key_record *record)
{
    *record = (struct kw_key_record){.state = KW_RECORD_NONE};
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    bool read = kw_record_decode(exact, len, fingerprint, record, NULL) == KW_OK;
    free(exact);
    return read;
}

static void assert_same(const struct kw_key_record *a, const struct kw_key_record *b)
{
    assert_int_equal(a->revision, b->revision);
    assert_int_equal(a->origin, b->origin);
    assert_string_equal(a->made_on, b->made_on);
    assert_string_equal(a->created, b->created);
    assert_int_equal(a->disabled, b->disabled);
    assert_string_equal(a->deleted, b->deleted);
    assert_string_equal(a->purge_after, b->purge_after);
    assert_int_equal(a->purge_protected, b->purge_protected);
    assert_string_equal(a->backed_up, b->backed_up);
    assert_int_equal(a->decrypt, b->decrypt);
    assert_int_equal(a->unwrap, b->unwrap);
    assert_int_equal(a->sign, b->sign);
    assert_string_equal(a->updated, b->updated);
    assert_int_equal(a->ops, b->ops);
    assert_true(a->not_before == b->not_before && a->expires == b->expires);
    assert_true(!a->policy == !b->policy);
    assert_true(!a->policy || cJSON_Compare(a->policy, b->policy, true));
    if (!a->tags || !a->tags->child)
        assert_true(!b->tags || !b->tags->child);
    else
        assert_true(b->tags && cJSON_Compare(a->tags, b->tags, true));
}

static void comes_back(struct kw_key_record *record)
{
    size_t len = 0;
    char *text = encode(record, &len);
    struct kw_key_record again;
    if (!decode(text, len, &again))
        fail_msg("not read: %.*s", (int)len, text);
    assert_int_equal(again.state, KW_RECORD_GOOD);
    assert_same(record, &again);
    kw_key_record_cleanup(&again);
    free(text);
}

static void records_come_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "finance",   "a \"quote\" and \\", "caf\xc3\xa9", "\xf0\x9f\x94\x91",
        "</script>", "{\"a\":[1]}",        "\\u0000",     " ",
        "x=y"};
    struct kw_key_record record = a_record();
    comes_back(&record);
    for (size_t i = 0; i < KW_COUNT(texts); i++)
        add_tag(&record, texts[i], texts[KW_COUNT(texts) - 1 - i]);
    comes_back(&record);
    kw_key_record_cleanup(&record);
    assert_int_equal(record.state, KW_RECORD_NONE);

    record = (struct kw_key_record){.revision = 1, .decrypt = true};
    comes_back(&record);
    for (int origin = 0; origin < KW_ORIGIN_COUNT; origin++) {
        record.origin = (enum kw_origin)origin;
        comes_back(&record);
    }
    record.revision = 1000000000;
    comes_back(&record);
    kw_key_record_cleanup(&record);
}

static void as_many_tags_as_there_may_be(void **state)
{
    (void)state;
    struct kw_key_record record = a_record();
    char name[KW_TAG_TEXT_MAX + 1], value[KW_TAG_TEXT_MAX + 1];
    memset(value, 'v', KW_TAG_TEXT_MAX);
    value[KW_TAG_TEXT_MAX] = '\0';
    for (int i = 0; i < KW_TAGS_MAX; i++) {
        snprintf(name, sizeof(name), "%0*d", KW_TAG_TEXT_MAX, i);
        add_tag(&record, name, value);
    }
    comes_back(&record);
    /* One more is not read. */
    add_tag(&record, "more", "x");
    size_t len = 0;
    char *text = encode(&record, &len);
    struct kw_key_record again;
    assert_false(decode(text, len, &again));
    assert_null(again.tags);
    free(text);
    kw_key_record_cleanup(&record);
}

static void too_large_is_told(void **state)
{
    (void)state;
    struct kw_key_record record = a_record();
    struct kw_buffer text = KW_BUFFER_INIT(200);
    struct kw_error err = {.status = KW_OK};
    const struct kw_token_key key = a_key();
    assert_int_equal(kw_buffer_append(&text, "x", 1, NULL), KW_OK);
    assert_int_equal(kw_record_encode(&record, &key, fingerprint, &text, &err), KW_USAGE);
    assert_non_null(strstr(err.message, "shorten them"));
    assert_int_equal(text.len, 1);
    kw_buffer_cleanup(&text);
    kw_key_record_cleanup(&record);
}

/* ---- faults ---- */

/* The record with one field as `json` has it, or without it where that is NULL. */
static void field_is_refused(const char *field, const char *json)
{
    struct kw_key_record record = a_record(), again;
    size_t len = 0;
    char *text = encode(&record, &len);
    cJSON *tree = cJSON_ParseWithLength(text, len);
    assert_non_null(tree);
    assert_true(cJSON_HasObjectItem(tree, field));
    cJSON_DeleteItemFromObjectCaseSensitive(tree, field);
    if (json)
        assert_true(cJSON_AddRawToObject(tree, field, json) != NULL);
    char *changed = cJSON_PrintUnformatted(tree);
    assert_non_null(changed);
    if (decode(changed, strlen(changed), &again))
        fail_msg("%s = %s is read", field, json ? json : "nothing");
    assert_int_equal(again.state, KW_RECORD_NONE);
    assert_int_equal(again.revision, 0);
    assert_null(again.tags);
    assert_null(again.policy);
    cJSON_free(changed);
    cJSON_Delete(tree);
    free(text);
    kw_key_record_cleanup(&record);
}

static void each_field_is_looked_at(void **state)
{
    (void)state;
    static const char *const times[] = {"created", "deleted", "purge_after", "backed_up"};
    static const char *const bad_times[] = {
        "\"2026-10-05\"",
        "\"2026-10-05T06:00:00\"",
        "\"2026-10-05 06:00:00Z\"",
        "\"2026-10-05T06:00:00Z \"",
        "\"2026-10-05T06:00:0aZ\"",
        "\"2026-10-05T06:00:00+\"",
        "\"2026/10/05T06:00:00Z\"",
        "\"x\"",
        "1791180000",
        "true",
    };
    static const char *const bools[] = {"disabled", "purge_protected", "decrypt", "unwrap"};
    static const char *const bad_bools[] = {"0", "1", "\"true\"", "\"\"", "{}"};
    static const char *const others[] = {NULL, "null", "[]", "{\"a\":\"b\"}"};
    for (size_t i = 0; i < KW_COUNT(times); i++)
        for (size_t k = 0; k < KW_COUNT(bad_times); k++)
            field_is_refused(times[i], bad_times[k]);
    for (size_t i = 0; i < KW_COUNT(bools); i++)
        for (size_t k = 0; k < KW_COUNT(bad_bools); k++)
            field_is_refused(bools[i], bad_bools[k]);
    for (size_t k = 0; k < KW_COUNT(others); k++) {
        for (size_t i = 0; i < KW_COUNT(times); i++)
            field_is_refused(times[i], others[k]);
        for (size_t i = 0; i < KW_COUNT(bools); i++)
            field_is_refused(bools[i], others[k]);
        field_is_refused("schema", others[k]);
        field_is_refused("modulus_sha256", others[k]);
        field_is_refused("revision", others[k]);
        field_is_refused("origin", others[k]);
        field_is_refused("made_on", others[k]);
    }
    field_is_refused("tags", NULL);
}

/* A record from before, or of a key of which nothing of that is known. */
static void what_may_be_absent(void **state)
{
    (void)state;
    static const char *const optional[] = {"sign",       "updated", "key_ops",
                                           "not_before", "expires", "policy"};
    struct kw_key_record record = a_record(), again;
    size_t len = 0;
    char *text = encode(&record, &len);
    cJSON *tree = cJSON_ParseWithLength(text, len);
    for (size_t i = 0; i < KW_COUNT(optional); i++) {
        assert_true(cJSON_HasObjectItem(tree, optional[i]));
        cJSON_DeleteItemFromObjectCaseSensitive(tree, optional[i]);
    }
    assert_true(cJSON_ReplaceItemInObjectCaseSensitive(tree, "schema",
                                                       cJSON_CreateString("keyward-record-1")));
    char *older = cJSON_PrintUnformatted(tree);
    assert_true(decode(older, strlen(older), &again));
    assert_true(again.sign == KW_UNSET && !again.updated[0] && again.ops == 0);
    assert_true(again.not_before == 0 && again.expires == 0 && !again.policy);
    /* And that is how it is written, for the programs from before. */
    size_t older_len = 0;
    char *rewritten = encode(&again, &older_len);
    assert_non_null(strstr(rewritten, "\"keyward-record-1\""));
    for (size_t i = 0; i < KW_COUNT(optional); i++)
        assert_null(strstr(rewritten, optional[i]));
    assert_non_null(strstr(text, "\"keyward-record-2\""));
    free(rewritten);
    kw_key_record_cleanup(&again);
    cJSON_free(older);
    cJSON_Delete(tree);
    free(text);
    kw_key_record_cleanup(&record);
}

/* What such a program would drop when it writes the record anew, it is not to read. */
static void what_older_programs_refuse(void **state)
{
    (void)state;
    struct kw_key_record records[] = {
        {.revision = 1, .ops = KW_OP_WRAP},
        {.revision = 1, .not_before = 1},
        {.revision = 1, .expires = 1},
        {.revision = 1, .policy = cJSON_CreateObject()},
    };
    for (size_t i = 0; i < KW_COUNT(records); i++) {
        size_t len = 0;
        char *text = encode(&records[i], &len);
        assert_non_null(strstr(text, "\"keyward-record-2\""));
        free(text);
        comes_back(&records[i]);
        kw_key_record_cleanup(&records[i]);
    }
}

static void odd_values(void **state)
{
    (void)state;
    static const struct {
        const char *field, *json;
    } rows[] = {
        {"schema", "\"keyward-record-3\""},
        {"schema", "\"keyward-record-1 \""},
        {"modulus_sha256", "\"\""},
        {"modulus_sha256", "\"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\""},
        {"modulus_sha256", "\"1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""},
        {"revision", "0"},
        {"revision", "-1"},
        {"revision", "1.5"},
        {"revision", "1000000001"},
        {"revision", "2147483647"},
        {"revision", "4294967297"},
        {"revision", "1e30"},
        {"revision", "\"7\""},
        {"origin", "\"\""},
        {"origin", "\"Token\""},
        {"origin", "\"moon\""},
        {"origin", "1"},
        {"made_on", "\"0123456789abcdef0\""},
        {"sign", "1"},
        {"sign", "null"},
        {"updated", "\"2026-10-05\""},
        {"updated", "null"},
        {"key_ops", "null"},
        {"key_ops", "[]"},
        {"key_ops", "{}"},
        {"key_ops", "\"sign\""},
        {"key_ops", "[\"Sign\"]"},
        {"key_ops", "[\"sign\",\"sign\"]"},
        {"key_ops", "[\"sign\",1]"},
        {"key_ops", "[\"sign\",\"moon\"]"},
        {"key_ops", "[[\"sign\"]]"},
        {"not_before", "0"},
        {"not_before", "-1"},
        {"not_before", "1.5"},
        {"not_before", "253402300800"},
        {"not_before", "1e300"},
        {"not_before", "1e999"},
        {"not_before", "\"1\""},
        {"not_before", "null"},
        {"expires", "0"},
        {"expires", "true"},
        {"expires", "9007199254740993"},
        {"policy", "null"},
        {"policy", "[]"},
        {"policy", "\"P30D\""},
        {"policy", "{\"a\":1,\"A\":1}"},
        {"policy", "{\"a\":[[[[[[[1]]]]]]]}"},
        {"tags", "[]"},
        {"tags", "\"\""},
        {"tags", "null"},
        {"tags", "{\"a\":1}"},
        {"tags", "{\"a\":null}"},
        {"tags", "{\"a\":{}}"},
        {"tags", "{\"a\":{\"b\":{\"c\":\"d\"}}}"},
        {"tags", "{\"a\":\"b\",\"A\":\"c\"}"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++)
        field_is_refused(rows[i].field, rows[i].json);
}

static void a_policy_that_is_too_long(void **state)
{
    (void)state;
    static char json[KW_POLICY_MAX + 16];
    memset(json, 'p', sizeof(json));
    memcpy(json, "{\"a\":\"", 6);
    memcpy(json + KW_POLICY_MAX - 1, "\"}", 3); /* one byte too many */
    field_is_refused("policy", json);
}

static void texts_that_are_none(void **state)
{
    (void)state;
    struct kw_key_record record = a_record(), again;
    size_t len = 0;
    char *text = encode(&record, &len), *twice = malloc(2 * len);
    for (size_t cut = 0; cut < len; cut++)
        assert_false(decode(text, cut, &again));
    assert_non_null(twice);
    memcpy(twice, text, len);
    memcpy(twice + len, text, len);
    assert_false(decode(twice, 2 * len, &again));
    assert_false(decode("null", 4, &again));
    assert_false(decode("[]", 2, &again));
    assert_false(decode("{}", 2, &again));
    static char large[KW_DATA_MAX + 1];
    memset(large, ' ', sizeof(large));
    memcpy(large, text, len);
    assert_true(decode(large, KW_DATA_MAX, &again));
    kw_key_record_cleanup(&again);
    assert_false(decode(large, sizeof(large), &again));
    free(twice);
    free(text);
    kw_key_record_cleanup(&record);
}

/* ---- states ---- */

static void states(void **state)
{
    (void)state;
    struct kw_key_record record = {.state = KW_RECORD_NONE};
    assert_int_equal(kw_key_state(&record), KW_KEY_ENABLED);
    record.state = KW_RECORD_GOOD;
    assert_int_equal(kw_key_state(&record), KW_KEY_ENABLED);
    record.disabled = true;
    assert_int_equal(kw_key_state(&record), KW_KEY_DISABLED);
    memcpy(record.deleted, "2026-10-06T06:00:00Z", KW_TIMESTAMP_SIZE);
    assert_int_equal(kw_key_state(&record), KW_KEY_DELETED);
    record.state = KW_RECORD_BAD;
    assert_int_equal(kw_key_state(&record), KW_KEY_RECORD_BAD);
    assert_string_equal(kw_key_state_name(KW_KEY_RECORD_BAD), "record bad");
    assert_string_equal(kw_origin_name(KW_ORIGIN_COUNT), "unknown");
    assert_string_equal(kw_origin_name(KW_ORIGIN_BACKUP), "backup");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),         cmocka_unit_test(as_many_tags_as_there_may_be),
        cmocka_unit_test(too_large_is_told),         cmocka_unit_test(each_field_is_looked_at),
        cmocka_unit_test(what_may_be_absent),        cmocka_unit_test(what_older_programs_refuse),
        cmocka_unit_test(a_policy_that_is_too_long), cmocka_unit_test(odd_values),
        cmocka_unit_test(texts_that_are_none),       cmocka_unit_test(states),
    };
    return cmocka_run_group_tests_name("keys/record", tests, NULL, NULL);
}
