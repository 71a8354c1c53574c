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
                                   .tags = cJSON_CreateObject()};
    assert_non_null(record.tags);
    return record;
}

static void add_tag(struct kw_key_record *record, const char *name, const char *value)
{
    assert_non_null(cJSON_AddStringToObject(record->tags, name, value));
}

static char *encode(const struct kw_key_record *record, size_t *ret_len)
{
    struct kw_buffer text = KW_BUFFER_INIT(KW_DATA_MAX);
    const struct kw_token_key key = a_key();
    assert_int_equal(kw_record_encode(record, &key, fingerprint, &text, NULL), KW_OK);
    *ret_len = text.len;
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
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(as_many_tags_as_there_may_be),
        cmocka_unit_test(too_large_is_told),
        cmocka_unit_test(each_field_is_looked_at),
        cmocka_unit_test(odd_values),
        cmocka_unit_test(texts_that_are_none),
        cmocka_unit_test(states),
    };
    return cmocka_run_group_tests_name("keys/record", tests, NULL, NULL);
}
