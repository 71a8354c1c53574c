/* Records: what is written is one line of JSON, whatever the texts are. */
#include <cjson/cJSON.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "audit/internal.h"
#include "support.h"

static struct kw_who who = {.uid = 7, .login = "a\"b", .host = "h", .pid = 9, .process = "keyward"};

static struct kw_buffer write_record(const struct kw_deed *deed)
{
    const struct kw_stamp stamp = {.seq = 12, .who = &who};
    struct kw_buffer line = KW_BUFFER_INIT(2 * KW_RECORD_MAX);
    struct kw_error err;
    assert_ok(kw_record_write(&stamp, deed, &line, &err));
    assert_true(line.len > 1 && line.len <= KW_RECORD_MAX + 1);
    assert_ptr_equal(memchr(line.data, '\n', line.len), line.data + line.len - 1);
    line.len--;
    return line;
}

static void test_order(void **state)
{
    (void)state;
    const struct kw_deed deed = {
        .phase = KW_OUTCOME,
        .op = "unwrap",
        .run = "00112233445566778899aabbccddeeff",
        .request = {"storage", "0f", "c-1", "o-2", "pool 3"},
        .key = {"tok", "0a", "name", "ff01", "abcd", "RSA-OAEP"},
        .drop = "d",
        .file = "f",
        .sha256 = "00ff",
        .has_bytes = true,
        .bytes = UINT64_MAX,
        .status = KW_KEY_UNWRAP,
        .ck_rv = 0x40,
        .detail = "It did not unwrap.",
    };
    struct kw_buffer line = write_record(&deed);
    char text[1024], time[32];
    (void)snprintf(text, sizeof(text), "%.*s", (int)line.len, (const char *)line.data);
    assert_int_equal(sscanf(text, "{\"seq\":12,\"time\":\"%24[0-9TZ.:-]", time), 1);
    assert_int_equal(strlen(time), 24);
    assert_int_equal(time[19], '.');
    (void)snprintf(text, sizeof(text),
                   "{\"seq\":12,\"time\":\"%s\",\"run\":\"00112233445566778899aabbccddeeff\","
                   "\"phase\":\"outcome\",\"op\":\"unwrap\",\"who\":{\"uid\":7,"
                   "\"login\":\"a\\\\x22b\",\"host\":\"h\",\"pid\":9,\"process\":\"keyward\"},"
                   "\"request\":{\"client\":\"storage\",\"request\":\"0f\",\"correlation\":\"c-1\","
                   "\"outer\":\"o-2\",\"pool\":\"pool 3\"},"
                   "\"key\":{\"token\":\"tok\",\"serial\":\"0a\",\"label\":\"name\","
                   "\"id\":\"ff01\",\"modulus_sha256\":\"abcd\",\"alg\":\"RSA-OAEP\"},"
                   "\"drop\":\"d\",\"file\":\"f\",\"sha256\":\"00ff\","
                   "\"bytes\":18446744073709551615,\"status\":\"key-unwrap\","
                   "\"ck_rv\":\"0x00000040\",\"detail\":\"It did not unwrap.\"}",
                   time);
    assert_int_equal(line.len, strlen(text));
    assert_memory_equal(line.data, text, line.len);
    kw_buffer_cleanup(&line);
}

static void test_absent(void **state)
{
    (void)state;
    const struct kw_deed deed = {.phase = KW_INTENT, .op = "run", .status = KW_DAMAGED};
    struct kw_buffer line = write_record(&deed);
    static const char *const names[] = {"request", "key",   "drop",   "file",
                                        "sha256",  "bytes", "status", "ck_rv"};
    for (size_t i = 0; i < KW_COUNT(names); i++) {
        char text[32];
        (void)snprintf(text, sizeof(text), "\"%s\"", names[i]);
        assert_null(memmem(line.data, line.len, text, strlen(text)));
    }
    kw_buffer_cleanup(&line);
}

/* Each alone makes the object; what a client sent breaks no line. */
static void test_request(void **state)
{
    (void)state;
    static const char hostile[] = "a\"},\n\x1B";
    static const char shown[] = "a\\x22},\\x0a\\x1b";
    static const char *const names[] = {"client", "request", "correlation", "outer", "pool"};
    for (size_t i = 0; i < KW_COUNT(names); i++) {
        struct kw_deed deed = {.op = "decrypt"};
        const char **const fields[] = {&deed.request.client, &deed.request.request,
                                       &deed.request.correlation, &deed.request.outer,
                                       &deed.request.pool};
        *fields[i] = hostile;
        struct kw_buffer line = write_record(&deed);
        struct kw_error err;
        cJSON *record = NULL;
        assert_ok(kw_record_parse((const char *)line.data, line.len, &record, &err));
        const cJSON *request = cJSON_GetObjectItemCaseSensitive(record, "request");
        assert_int_equal(cJSON_GetArraySize(request), 1);
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(request, names[i]);
        assert_string_equal(cJSON_GetStringValue(item), shown);
        cJSON_Delete(record);
        kw_buffer_cleanup(&line);
    }
}

/* What a text says is there again after JSON's own escapes, with what was not fit for a line shown
 * as bytes. */
static void check_text(const char *text, const char *shown)
{
    const struct kw_deed deed = {.op = "file", .file = text};
    struct kw_buffer line = write_record(&deed);
    struct kw_error err;
    cJSON *record = NULL;
    assert_ok(kw_record_parse((const char *)line.data, line.len, &record, &err));
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "file")),
                        shown);
    cJSON_Delete(record);
    kw_buffer_cleanup(&line);
}

static void test_hostile(void **state)
{
    (void)state;
    check_text("a\nb", "a\\x0ab");
    check_text("a\r\n{\"seq\":13}\n", "a\\x0d\\x0a{\\x22seq\\x22:13}\\x0a");
    check_text("\",\"status\":\"ok", "\\x22,\\x22status\\x22:\\x22ok");
    check_text("back\\slash\\", "back\\x5cslash\\x5c");
    check_text("\\u000a", "\\x5cu000a");
    check_text("\xFF\xC0\xAF\xED\xA0\x80", "\\xff\\xc0\\xaf\\xed\\xa0\\x80");
    check_text("half \xE2\x82", "half \\xe2\\x82");
    check_text("\x1B[2J\x7F", "\\x1b[2J\\x7f");
    check_text("\xE2\x80\xAE"
               "fdp",
               "\\xe2\\x80\\xaefdp");
    check_text("\xE2\x80\xA8", "\\xe2\\x80\\xa8");
    check_text("Gr\xC3\xBC\xC3\x9F"
               "e",
               "Gr\xC3\xBC\xC3\x9F"
               "e");
}

/* Every text as long as can be, of bytes that grow most: it still fits a line. */
static void test_longest(void **state)
{
    (void)state;
    static char text[20001];
    static const char fill[] = {'a', '\n', '\\', '\xFF'};
    for (size_t i = 0; i < KW_COUNT(fill); i++) {
        memset(text, fill[i], sizeof(text) - 1);
        struct kw_who long_who = {.uid = ~0UL, .pid = 99999999};
        memset(long_who.login, fill[i], sizeof(long_who.login) - 1);
        memset(long_who.host, fill[i], sizeof(long_who.host) - 1);
        memset(long_who.process, fill[i], sizeof(long_who.process) - 1);
        memset(long_who.parent, fill[i], sizeof(long_who.parent) - 1);
        who = long_who;
        const struct kw_deed deed = {.phase = KW_OUTCOME,
                                     .op = text,
                                     .run = text,
                                     .request = {text, text, text, text, text},
                                     .key = {text, text, text, text, text, text},
                                     .drop = text,
                                     .file = text,
                                     .sha256 = text,
                                     .has_bytes = true,
                                     .bytes = UINT64_MAX,
                                     .status = KW_NOT_ENCRYPTED,
                                     .ck_rv = ~0UL,
                                     .detail = text};
        struct kw_buffer line = write_record(&deed);
        struct kw_error err;
        cJSON *record = NULL;
        assert_ok(kw_record_parse((const char *)line.data, line.len, &record, &err));
        cJSON_Delete(record);
        kw_buffer_cleanup(&line);
    }
}

static void test_seq(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool good;
        uint64_t seq;
    } cases[] = {
        {"{\"seq\":0,\"a\":1}", true, 0},
        {"{\"seq\":999999999999,}", true, 999999999999},
        {"{\"seq\":1000000000000,}", false, 0},
        {"{\"seq\":01,}", false, 0},
        {"{\"seq\":,}", false, 0},
        {"{\"seq\":-1,}", false, 0},
        {"{\"seq\": 1,}", false, 0},
        {"{\"seq\":1}", false, 0},
        {"{\"seq\":1,", false, 0},
        {" {\"seq\":1,}", false, 0},
        {"{\"SEQ\":1,}", false, 0},
        {"{\"seq\":", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        uint64_t seq = 77;
        assert_int_equal(kw_record_seq(cases[i].line, strlen(cases[i].line), &seq), cases[i].good);
        assert_int_equal(seq, cases[i].good ? cases[i].seq : 77);
    }
}

static void test_who(void **state)
{
    (void)state;
    struct kw_who me;
    assert_int_equal(prctl(PR_SET_NAME, "its-name"), 0); /* under valgrind it is valgrind's */
    kw_who_am_i(&me);
    assert_int_equal(me.uid, getuid());
    assert_int_equal(me.pid, getpid());
    assert_string_not_equal(me.host, "");
    assert_int_equal(strcmp(me.process, "its-name"), 0);
    assert_string_not_equal(me.parent, "");
}

static const char sample[] =
    "{\"seq\":5,\"time\":\"2026-11-25T22:00:00.123Z\",\"run\":\"ab\",\"phase\":\"outcome\","
    "\"op\":\"un|wrap\",\"who\":{\"uid\":0,\"login\":\"ro=ot\",\"host\":\"h 1\",\"pid\":7},"
    "\"request\":{\"client\":\"sql=1\",\"request\":\"0f\",\"correlation\":\"c\","
    "\"outer\":\"o\",\"pool\":\"p\"},"
    "\"key\":{\"label\":\"l\\\\x22\"},\"bytes\":9,\"status\":\"damaged\",\"detail\":\"a = b\"}";

static void test_cef(void **state)
{
    (void)state;
    struct kw_buffer text = KW_BUFFER_INIT(KW_FORMAT_MAX);
    struct kw_error err;
    assert_ok(kw_record_cef(sample, strlen(sample), &text, &err));
    assert_ok(kw_buffer_append(&text, "", 1, &err));
    assert_string_equal(
        (const char *)text.data,
        "CEF:0|Keyward|keyward|" KW_VERSION "|un\\|wrap|un\\|wrap outcome|7|"
        "rt=1795644000123 externalId=5 suid=0 spid=7 fsize=9 suser=ro\\=ot "
        "dvchost=h 1 outcome=damaged cs1Label=run cs1=ab cs2Label=keyLabel "
        "cs2=l\\\\x22 requestClientApplication=sql\\=1 requestContext=0f "
        "flexString1Label=correlation flexString1=c "
        "flexString2Label=outerRequest flexString2=o sourceServiceName=p msg=a \\= b");
    kw_buffer_cleanup(&text);
    assert_fails(kw_record_cef("{", 1, &text, &err), KW_AUDIT, "a record");
}

static void test_syslog(void **state)
{
    (void)state;
    struct kw_buffer text = KW_BUFFER_INIT(KW_FORMAT_MAX);
    struct kw_error err;
    char wanted[1024];
    assert_ok(kw_record_syslog(sample, strlen(sample), &text, &err));
    assert_ok(kw_buffer_append(&text, "", 1, &err));
    (void)snprintf(wanted, sizeof(wanted),
                   "<108>1 2026-11-25T22:00:00.123Z h?1 keyward 7 un|wrap - %s", sample);
    assert_string_equal((const char *)text.data, wanted);
    text.len = 0;
    assert_ok(kw_record_syslog("{\"seq\":0}", 9, &text, &err));
    assert_ok(kw_buffer_append(&text, "", 1, &err));
    assert_string_equal((const char *)text.data, "<110>1 - - keyward - - - {\"seq\":0}");
    kw_buffer_cleanup(&text);
    assert_fails(kw_record_syslog("[]", 2, &text, &err), KW_AUDIT, "no JSON object");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),   cmocka_unit_test(test_absent),
        cmocka_unit_test(test_request), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_longest), cmocka_unit_test(test_seq),
        cmocka_unit_test(test_who),     cmocka_unit_test(test_cef),
        cmocka_unit_test(test_syslog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
