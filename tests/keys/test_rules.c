/* Each service's rules, each broken alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "keys/keys.h"

#define TENANT "de7061b0-8426-4da4-a84d-f29311a397d6"
#define NOON   1790000000 /* 2026-09-21 */

struct fixture {
    struct kw_token_key key, second;
    struct kw_token_info token, second_token;
    struct kw_key_record record;
    struct kw_rule_subject subject;
};

static void set_text(char *out, size_t size, const char *text)
{
    assert_true(strlen(text) < size);
    memcpy(out, text, strlen(text) + 1);
}

static void set_bits(struct kw_token_key *key, size_t bits)
{
    key->public.modulus_len = bits / 8;
    memset(key->public.modulus, 0xa5, sizeof(key->public.modulus));
}

/* A key that Data Connect takes. */
static void set_up(struct fixture *fixture)
{
    *fixture =
        (struct fixture){.key = {.decrypt = true, .unwrap = true, .sensitive = true},
                         .second = {.decrypt = true, .unwrap = true, .sensitive = true},
                         .subject = {.now = NOON, .retention_days = 90, .purge_protection = true}};
    set_bits(&fixture->key, 2048);
    set_bits(&fixture->second, 2048);
    fixture->second.public.modulus[5] ^= 1;
    set_text(fixture->key.label, sizeof(fixture->key.label), TENANT);
    set_text(fixture->key.expires, sizeof(fixture->key.expires), "2027-01-31");
    set_text(fixture->token.serial, sizeof(fixture->token.serial), "1");
    set_text(fixture->second_token.serial, sizeof(fixture->second_token.serial), "2");
    fixture->subject.key = &fixture->key;
    fixture->subject.token = &fixture->token;
    fixture->subject.record = &fixture->record;
}

/* Checks that the rules named in `failed`, divided by spaces, fail and no others. */
static void assert_failed(const struct fixture *fixture, enum kw_cloud_service service,
                          const char *failed)
{
    struct kw_rule_result results[KW_RULES_MAX];
    size_t count = kw_rules_check(service, &fixture->subject, results);
    char seen[256] = "";
    assert_true(count >= 3);
    for (size_t i = 0; i < count; i++) {
        assert_true(strlen(results[i].expected) > 0 && strlen(results[i].actual) > 0);
        assert_int_equal(results[i].passed, strlen(results[i].details) == 0);
        if (results[i].passed)
            continue;
        if (seen[0])
            strncat(seen, " ", sizeof(seen) - strlen(seen) - 1);
        strncat(seen, results[i].rule, sizeof(seen) - strlen(seen) - 1);
    }
    assert_string_equal(seen, failed);
}

static void test_data_connect(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_failed(&fixture, KW_DATA_CONNECT, "");
    set_bits(&fixture.key, 3072);
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyType");
    set_bits(&fixture.key, 0);
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyType");
    set_up(&fixture);
    fixture.key.decrypt = false;
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyOperations");
    set_up(&fixture);
    fixture.key.expires[0] = '\0';
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyExpiry");
    set_text(fixture.key.expires, sizeof(fixture.key.expires), "2026-09-20");
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyExpiry");
    set_text(fixture.key.expires, sizeof(fixture.key.expires), "2026-09-21");
    assert_failed(&fixture, KW_DATA_CONNECT, "");
    set_text(fixture.key.label, sizeof(fixture.key.label), "my-key");
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyName");
    fixture.key.sensitive = false;
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyName KeyProtection");
}

static void test_names(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "de7061b0-8426-4da4-a84d-f29311a397d",
        "de7061b0-8426-4da4-a84d-f29311a397d66",
        "de7061b08426-4da4-a84d-f29311a397d6-",
        "ge7061b0-8426-4da4-a84d-f29311a397d6",
        "{de7061b0-8426-4da4-a84d-f29311a397}",
    };
    struct fixture fixture;
    set_up(&fixture);
    for (size_t i = 0; i < KW_COUNT(wrong); i++) {
        set_text(fixture.key.label, sizeof(fixture.key.label), wrong[i]);
        struct kw_rule_result results[KW_RULES_MAX];
        size_t count = kw_rules_check(KW_DATA_CONNECT, &fixture.subject, results);
        size_t failed = 0;
        for (size_t j = 0; j < count; j++)
            failed += !results[j].passed;
        assert_int_equal(failed, 1);
    }
    set_text(fixture.key.label, sizeof(fixture.key.label), "DE7061B0-8426-4DA4-A84D-F29311A397D6");
    assert_failed(&fixture, KW_DATA_CONNECT, "");
}

static void test_customer_key(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_failed(&fixture, KW_CUSTOMER_KEY, "KeyExpiry KeyBackup KeyCount");
    set_text(fixture.record.backed_up, sizeof(fixture.record.backed_up), "2026-01-01T00:00:00Z");
    assert_failed(&fixture, KW_CUSTOMER_KEY, "KeyExpiry KeyCount");
    fixture.subject.with = &fixture.second;
    fixture.subject.with_token = &fixture.second_token;
    set_text(fixture.key.expires, sizeof(fixture.key.expires), "9999-12-31");
    assert_failed(&fixture, KW_CUSTOMER_KEY, "");
    fixture.key.expires[0] = '\0';
    assert_failed(&fixture, KW_CUSTOMER_KEY, "");
    /* The same key twice, or two keys on one token, are not two. */
    fixture.second.public = fixture.key.public;
    assert_failed(&fixture, KW_CUSTOMER_KEY, "KeyCount");
    set_up(&fixture);
    set_text(fixture.record.backed_up, sizeof(fixture.record.backed_up), "2026-01-01T00:00:00Z");
    fixture.key.expires[0] = '\0';
    fixture.subject.with = &fixture.second;
    fixture.subject.with_token = &fixture.token;
    assert_failed(&fixture, KW_CUSTOMER_KEY, "KeyCount");
}

static void test_others(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_failed(&fixture, KW_DATAVERSE, "");
    assert_failed(&fixture, KW_DEFENDER, "");
    set_bits(&fixture.key, 3072);
    assert_failed(&fixture, KW_DATAVERSE, "KeyType");
    assert_failed(&fixture, KW_DEFENDER, "");
    set_bits(&fixture.key, 4096);
    assert_failed(&fixture, KW_DATAVERSE, "");
    fixture.key.unwrap = fixture.key.decrypt = false;
    assert_failed(&fixture, KW_DATAVERSE, "KeyOperations");
    set_up(&fixture);
    set_text(fixture.key.not_before, sizeof(fixture.key.not_before), "2026-09-22");
    assert_failed(&fixture, KW_DATAVERSE, "KeyValidity");
    assert_failed(&fixture, KW_DEFENDER, "KeyValidity");
}

/* What is asked of deleting and restoring, and of the key's state. */
static void test_recovery(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    set_text(fixture.record.backed_up, sizeof(fixture.record.backed_up), "2026-01-01T00:00:00Z");
    fixture.subject.retention_days = 89;
    assert_failed(&fixture, KW_CUSTOMER_KEY, "KeyExpiry KeyRecovery KeyCount");
    assert_failed(&fixture, KW_DATAVERSE, "");
    fixture.subject.purge_protection = false;
    assert_failed(&fixture, KW_CUSTOMER_KEY, "KeyExpiry KeyRecovery KeyCount");
    assert_failed(&fixture, KW_DATAVERSE, "KeyRecovery");
    assert_failed(&fixture, KW_DEFENDER, "KeyRecovery");
    assert_failed(&fixture, KW_DATA_CONNECT, "");
    fixture.record.disabled = true;
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyState");
    set_up(&fixture);
    set_text(fixture.record.deleted, sizeof(fixture.record.deleted), "2026-01-01T00:00:00Z");
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyState");
    set_up(&fixture);
    fixture.record.state = KW_RECORD_BAD;
    assert_failed(&fixture, KW_DATA_CONNECT, "KeyState");
}

static void test_service_names(void **state)
{
    (void)state;
    enum kw_cloud_service service = KW_DEFENDER;
    assert_true(kw_cloud_service_parse("data-connect", &service));
    assert_int_equal(service, KW_DATA_CONNECT);
    assert_false(kw_cloud_service_parse("", &service));
    assert_false(kw_cloud_service_parse("data-connect ", &service));
    assert_int_equal(service, KW_DATA_CONNECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_connect),  cmocka_unit_test(test_names),
        cmocka_unit_test(test_customer_key),  cmocka_unit_test(test_others),
        cmocka_unit_test(test_service_names), cmocka_unit_test(test_recovery),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
