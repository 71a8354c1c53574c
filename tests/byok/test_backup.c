/* Backups of keys: what is written, and every way in which what is read is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "byok/byok.h"

/* RFC 5649 of an RSA-2048 key. */
#define REST 1232

static uint8_t ciphertext[KW_TRANSFER_MAX];

static struct kw_backup a_backup(bool aes)
{
    struct kw_backup backup = {.created = "2026-10-05T06:00:00Z",
                               .key = {.name = "tenant \xc3\xa9",
                                       .id = {1, 2, 0xff},
                                       .id_len = 3,
                                       .bits = 2048,
                                       .not_before = "",
                                       .expires = "2031-12-31",
                                       .extractable = true},
                               .token = {.label = "t1", .serial = "0123", .manufacturer = "M"},
                               .kek = {.aes = aes, .label = "kek", .id = {9}, .id_len = 1}};
    memset(backup.key.fingerprint, 0xAB, KW_SHA256_SIZE);
    if (!aes)
        memset(backup.kek.fingerprint, 0xCD, KW_SHA256_SIZE);
    size_t len = aes ? REST : 256 + REST;
    backup.ciphertext = (struct kw_buffer){
        .data = ciphertext, .len = len, .capacity = sizeof(ciphertext), .max = sizeof(ciphertext)};
    return backup;
}

static cJSON *written(bool aes)
{
    const struct kw_backup backup = a_backup(aes);
    struct kw_buffer text = KW_BUFFER_INIT(KW_BACKUP_MAX_BYTES);
    assert_int_equal(kw_backup_write(&backup, &text, NULL), KW_OK);
    cJSON *json = cJSON_ParseWithLength((const char *)text.data, text.len);
    assert_non_null(json);
    kw_buffer_cleanup(&text);
    return json;
}

static enum kw_status parse(const cJSON *json, struct kw_backup *ret_backup, struct kw_error *err)
{
    char *text = cJSON_PrintUnformatted(json);
    enum kw_status status = kw_backup_parse(text, strlen(text), "FILE", ret_backup, err);
    cJSON_free(text);
    return status;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (int aes = 0; aes < 2; aes++) {
        const struct kw_backup wanted = a_backup(aes == 1);
        cJSON *json = written(aes == 1);
        struct kw_backup backup;
        struct kw_error err = {.message = ""};
        if (parse(json, &backup, &err) != KW_OK)
            fail_msg("%s", err.message);
        assert_string_equal(backup.created, wanted.created);
        assert_memory_equal(&backup.key, &wanted.key, sizeof(wanted.key));
        assert_memory_equal(&backup.token, &wanted.token, sizeof(wanted.token));
        assert_memory_equal(&backup.kek, &wanted.kek, sizeof(wanted.kek));
        assert_int_equal(backup.ciphertext.len, wanted.ciphertext.len);
        assert_memory_equal(backup.ciphertext.data, ciphertext, wanted.ciphertext.len);
        kw_backup_cleanup(&backup);
        /* What is not known is passed over. */
        cJSON_AddStringToObject(json, "note", "hello");
        assert_int_equal(parse(json, &backup, NULL), KW_OK);
        kw_backup_cleanup(&backup);
        cJSON_Delete(json);
    }
}

static void refuses(const cJSON *json, const char *words)
{
    struct kw_backup backup = {.key.bits = 77};
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(parse(json, &backup, &err), KW_METADATA);
    if (!strstr(err.message, words) || !strstr(err.message, "FILE"))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    assert_int_equal(backup.key.bits, 77);
}

/* Each field is missing, and is of another form, and the message names it. */
static void each_field(void **state)
{
    (void)state;
    static const struct {
        const char *object, *name;
        bool nullable;
    } fields[] = {
        {NULL, "schema", false},       {NULL, "created", false},        {NULL, "enc", false},
        {NULL, "ciphertext", false},   {"key", "name", false},          {"key", "id", false},
        {"key", "bits", false},        {"key", "fingerprint", false},   {"key", "not_before", true},
        {"key", "expires", true},      {"key", "extractable", false},   {"token", "label", true},
        {"token", "serial", true},     {"token", "manufacturer", true}, {"token", "model", true},
        {"kek", "kind", false},        {"kek", "label", true},          {"kek", "id", true},
        {"kek", "fingerprint", false},
    };
    for (size_t i = 0; i < KW_COUNT(fields); i++) {
        cJSON *json = written(false);
        cJSON *in = fields[i].object ? cJSON_GetObjectItem(json, fields[i].object) : json;
        cJSON *others[] = {cJSON_CreateNull(), cJSON_CreateNumber(-1), cJSON_CreateString(""),
                           cJSON_CreateArray(), cJSON_CreateObject()};
        for (size_t k = 0; k < KW_COUNT(others); k++) {
            assert_true(cJSON_ReplaceItemInObject(in, fields[i].name, others[k]));
            if (k > 0 || !fields[i].nullable)
                refuses(json, fields[i].name);
        }
        cJSON_DeleteItemFromObject(in, fields[i].name);
        refuses(json, fields[i].name);
        cJSON_Delete(json);
    }
}

static void lengths(void **state)
{
    (void)state;
    static const struct {
        const char *object, *name;
        size_t max;
        char with;
    } texts[] = {
        {"key", "name", 255, 'n'},
        {"key", "id", 510, 'a'},
        {"token", "label", sizeof(((struct kw_token_info *)NULL)->label) - 1, 'n'},
        {"token", "serial", 16, 'n'},
        {"token", "model", 16, 'n'},
        {"token", "manufacturer", 32, 'n'},
        {"kek", "label", 255, 'n'},
        {"kek", "id", 510, 'a'},
    };
    char text[600];
    for (size_t i = 0; i < KW_COUNT(texts); i++)
        for (size_t more = 0; more <= 2; more += 2) {
            cJSON *json = written(false);
            struct kw_backup backup;
            memset(text, texts[i].with, sizeof(text));
            text[texts[i].max + more] = '\0';
            cJSON_ReplaceItemInObject(cJSON_GetObjectItem(json, texts[i].object), texts[i].name,
                                      cJSON_CreateString(text));
            if (more) {
                refuses(json, texts[i].name);
            } else {
                assert_int_equal(parse(json, &backup, NULL), KW_OK);
                kw_backup_cleanup(&backup);
            }
            cJSON_Delete(json);
        }
}

static void kinds_and_what_goes_with_them(void **state)
{
    (void)state;
    for (int aes = 0; aes < 2; aes++) {
        cJSON *json = written(aes == 1), *other = written(aes == 0);
        cJSON *enc = cJSON_DetachItemFromObject(other, "enc");
        cJSON_ReplaceItemInObject(json, "enc", enc);
        refuses(json, "enc");
        cJSON_Delete(json);
        cJSON_Delete(other);
    }
    struct kw_backup backup = a_backup(false);
    struct kw_buffer text = KW_BUFFER_INIT(KW_BACKUP_MAX_BYTES);
    backup.key.name[0] = '\0';
    assert_int_equal(kw_backup_write(&backup, &text, NULL), KW_KEY_UNUSABLE);
    backup = a_backup(false);
    backup.key.name[0] = (char)0xff;
    assert_int_equal(kw_backup_write(&backup, &text, NULL), KW_KEY_UNUSABLE);
    backup = a_backup(false);
    backup.key.id_len = 0;
    assert_int_equal(kw_backup_write(&backup, &text, NULL), KW_KEY_UNUSABLE);
    backup = a_backup(false);
    backup.ciphertext.len = 100;
    assert_int_equal(kw_backup_write(&backup, &text, NULL), KW_FAULT);
    assert_int_equal(text.len, 0);
    kw_buffer_cleanup(&text);
}

static void texts_that_are_none(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "{}", "[]", "7", "null", "{\"schema\":1}", "{", "{\"schema\":\"keyward-backup-1\"}"};
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        struct kw_backup backup;
        struct kw_error err = {.status = KW_OK};
        assert_int_equal(kw_backup_parse(texts[i], strlen(texts[i]), "FILE", &backup, &err),
                         KW_METADATA);
        assert_non_null(strstr(err.message, "FILE"));
    }
}

int main(void)
{
    memset(ciphertext, 0x77, sizeof(ciphertext));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(each_field),
        cmocka_unit_test(lengths),
        cmocka_unit_test(kinds_and_what_goes_with_them),
        cmocka_unit_test(texts_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
