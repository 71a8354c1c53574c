/* JSON: what RFC 8259 does not allow, the limits at their edges, and names that occur twice. */
#include <cjson/cJSON.h>

#include "base_test.h"

static const struct kw_json_limits wide = {.bytes = 1 << 20, .depth = 16, .items = 100000};

/* A literal and its length. */
#define TEXT(literal) (literal), sizeof(literal) - 1

static enum kw_status parse(const char *text, size_t len, const struct kw_json_limits *limits,
                            struct cJSON **ret_json, struct kw_error *err)
{
    char *exact = malloc(len ? len : 1); /* a read beyond its end is seen by a sanitizer */
    assert_non_null(exact);
    memcpy(exact, text, len);
    enum kw_status status =
        kw_json_parse(exact, len, limits, "the file x", KW_METADATA, ret_json, err);
    free(exact);
    return status;
}

static void accepts(const char *text, size_t len, const struct kw_json_limits *limits)
{
    struct kw_error err = {.status = KW_OK};
    struct cJSON *json = NULL;
    if (parse(text, len, limits, &json, &err) != KW_OK)
        fail_msg("%.*s: %s", (int)len, text, err.message);
    assert_non_null(json);
    cJSON_Delete(json);
}

static void refuses(const char *text, size_t len, const struct kw_json_limits *limits,
                    const char *part)
{
    struct kw_error err = {.status = KW_OK};
    struct cJSON *const untouched = (struct cJSON *)&err;
    struct cJSON *json = untouched;
    if (parse(text, len, limits, &json, &err) == KW_OK)
        fail_msg("accepted: %.*s", (int)len, text);
    assert_ptr_equal(json, untouched);
    assert_int_equal(err.status, KW_METADATA);
    assert_memory_equal(err.message, "the file x ", 11);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" is not in: %s", part, err.message);
}

static void good_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        " \t\r\n{ \"a\" : [ 1 , 2 ] } \n",
        "null",
        "true",
        "false",
        "\"\"",
        "0",
        "-0",
        "-0.0e+00",
        "1E5",
        "123456789012345678",
        "1.25e-7",
        "123456789012345678901234567890123456789012345678901234567890123",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDD11\"",
        "\"\xC3\xA4\xF0\x9F\x94\x91\x7F\"",
        "{\"a\":1,\"b\":{\"a\":1}}",
        "[{\"a\":1},{\"a\":2}]",
        "{\"\":1}",
        "{\"\xC3\xA4\":1,\"\xC3\x84\":2}", /* letter case of ASCII only */
        "\xEF\xBB\xBF{\"a\":1}",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++)
        accepts(texts[i], strlen(texts[i]), &wide);
}

static void bad_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *part;
    } rows[] = {
        {"", "is empty"},
        {" \n\t", "is empty"},
        {"\xEF\xBB\xBF", "is empty"},
        {"\xEF\xBB\xBF\xEF\xBB\xBF{}", "value is missing"},
        {"{", "name in quotes is missing"},
        {"{\"a\"", "\":\" is missing"},
        {"{\"a\":", "value is missing"},
        {"{\"a\":1", "\"}\" is missing"},
        {"{\"a\":1,}", "name in quotes is missing"},
        {"{,}", "name in quotes is missing"},
        {"{a:1}", "name in quotes is missing"},
        {"{'a':1}", "name in quotes is missing"},
        {"{\"a\" 1}", "\":\" is missing"},
        {"{\"a\":1 \"b\":2}", "\"}\" is missing"},
        {"{\"a\":1]", "\"}\" is missing"},
        {"{1:2}", "name in quotes is missing"},
        {"[", "value is missing"},
        {"[1", "\"]\" is missing"},
        {"[1,]", "value is missing"},
        {"[,1]", "value is missing"},
        {"[1 2]", "\"]\" is missing"},
        {"[1}", "\"]\" is missing"},
        {"]", "value is missing"},
        {"tru", "value is missing"},
        {"True", "value is missing"},
        {"nul", "value is missing"},
        {"NaN", "value is missing"},
        {"Infinity", "value is missing"},
        {"+1", "value is missing"},
        {".5", "value is missing"},
        {"-", "value is missing"},
        {"--1", "value is missing"},
        {"-a", "value is missing"},
        {"// c\n1", "value is missing"},
        {"01", "follows its end"},
        {"-01", "follows its end"},
        {"[01]", "\"]\" is missing"},
        {"0x10", "follows its end"},
        {"1.", "after its point"},
        {"1234567890123456789012345678901234567890123456789012345678901234", "too many char"},
        {"1.e5", "after its point"},
        {"1e", "in its exponent"},
        {"1e+", "in its exponent"},
        {"1e+-1", "in its exponent"},
        {"truex", "follows its end"},
        {"{} {}", "follows its end"},
        {"{}x", "follows its end"},
        {"1 // c", "follows its end"},
        {"{}\xEF\xBB\xBF", "follows its end"},
        {"\"", "no end"},
        {"\"abc", "no end"},
        {"\"abc\\\"", "no end"},
        {"\"\\", "escape"},
        {"\"\\x41\"", "escape"},
        {"\"\\U0041\"", "escape"},
        {"\"\\'\"", "escape"},
        {"\"\\u\"", "four hex digits"},
        {"\"\\u12\"", "four hex digits"},
        {"\"\\u00g0\"", "four hex digits"},
        {"\"\\uZZZZ\"", "four hex digits"},
        {"\"\\u+041\"", "four hex digits"},
        {"\"\\u0000\"", "NUL"},
        {"\"a\\u0000b\"", "NUL"},
        {"{\"a\\u0000\":1}", "NUL"},
        {"\"\\uD800\"", "surrogate"},
        {"\"\\uDBFFx\"", "surrogate"},
        {"\"\\uD800\\n\"", "surrogate"},
        {"\"\\uD800\\uD800\"", "surrogate"},
        {"\"\\uD800\\u0041\"", "surrogate"},
        {"\"\\uDC00\"", "surrogate"},
        {"\"\\uDFFF\\uD800\"", "surrogate"},
        {"\"\\uD800\\u\"", "four hex digits"},
        {"\"a\nb\"", "control character"},
        {"\"\t\"", "control character"},
        {"\"\x1F\"", "control character"},
        {"{\"a\nb\":1}", "control character"},
        {"\"\x80\"", "UTF-8"},
        {"\"\xC0\x80\"", "UTF-8"},
        {"\"\xED\xA0\x80\"", "UTF-8"},
        {"\"\xF4\x90\x80\x80\"", "UTF-8"},
        {"\"\xC3\"", "UTF-8"},
        {"\"\xE6\x97", "UTF-8"},
        {"{\"\xFF\":1}", "UTF-8"},
        {"[1,\x0B 2]", "value is missing"}, /* white space to cJSON */
        {"\x01{}", "value is missing"},
        {"{}\x0C", "follows its end"},
        {"[1,\xC2\xA0 2]", "value is missing"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++)
        refuses(rows[i].text, strlen(rows[i].text), &wide, rows[i].part);
}

static void nul_bytes(void **state)
{
    (void)state;
    refuses(TEXT("{}\0"), &wide, "follows its end");
    refuses(TEXT("\0{}"), &wide, "value is missing");
    refuses(TEXT("[1,\0]"), &wide, "value is missing");
    refuses(TEXT("\"a\0b\""), &wide, "control character");
    refuses(TEXT("\"\\\0\""), &wide, "escape");
}

/* Every cut of a good text is refused, without a byte read beyond it. */
static void every_cut(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1.5e+3,true,null,\"\\u00e4\\uD83D\\uDD11\xC3\xA4\"]}";
    accepts(text, sizeof(text) - 1, &wide);
    for (size_t len = 0; len < sizeof(text) - 1; len++)
        refuses(text, len, &wide, "");
}

static void errors_name_the_line(void **state)
{
    (void)state;
    refuses(TEXT("{\n\"a\":1,\n\n\"b\":x}"), &wide, "in line 4 ");
    refuses(TEXT("x"), &wide, "in line 1 ");
    refuses(TEXT("{}\n\n{}"), &wide, "in line 3 ");
}

/* ---- limits ---- */

static void size_limit(void **state)
{
    (void)state;
    const struct kw_json_limits limits = {.bytes = 8, .depth = 4, .items = 4};
    accepts(TEXT("\"123456\""), &limits);
    refuses(TEXT("\"1234567\""), &limits, "more than the 8 bytes");
    refuses(TEXT("[1]      "), &limits, "more than the 8 bytes");
}

static void nest(char *text, size_t depth)
{
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
}

static void depth_limit(void **state)
{
    (void)state;
    char text[2 * 100000];
    struct kw_json_limits limits = {.bytes = sizeof(text), .depth = 5, .items = sizeof(text)};
    nest(text, 5);
    accepts(text, 10, &limits);
    nest(text, 6);
    refuses(text, 12, &limits, "nested deeper");
    accepts(TEXT("{\"a\":[{\"a\":[{}]}],\"b\":[[[[]]]]}"), &limits);
    refuses(TEXT("{\"a\":[{\"a\":[{\"a\":{}}]}]}"), &limits, "nested deeper");
    limits.depth = 0;
    accepts(TEXT("1"), &limits);
    refuses(TEXT("[]"), &limits, "nested deeper");
    limits.depth = SIZE_MAX; /* the stack sets a limit of its own */
    nest(text, 256);
    accepts(text, 512, &limits);
    nest(text, 257);
    refuses(text, 514, &limits, "nested deeper");
    memset(text, '[', sizeof(text));
    refuses(text, sizeof(text), &limits, "nested deeper");
}

static void item_limit(void **state)
{
    (void)state;
    const struct kw_json_limits limits = {.bytes = 1000, .depth = 5, .items = 4};
    accepts(TEXT("[1,2,3]"), &limits);
    refuses(TEXT("[1,2,3,4]"), &limits, "more values");
    accepts(TEXT("{\"a\":1,\"b\":[2]}"), &limits);
    refuses(TEXT("{\"a\":1,\"b\":[2,3]}"), &limits, "more values");
    const struct kw_json_limits none = {.bytes = 1000, .depth = 5, .items = 0};
    refuses(TEXT("1"), &none, "more values");
}

/* ---- names that occur twice ---- */

static void duplicate_names(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"A\":2}",
        "{\"aB\":1,\"c\":3,\"Ab\":2}",
        "{\"a\":1,\"\\u0061\":2}", /* the same when it is decoded */
        "{\"x\":{\"a\":1,\"A\":2}}",
        "[1,[2,{\"a\":1,\"b\":2,\"A\":3}]]",
        "{\"\":1,\"\":2}",
        "{\"\xC3\xA4\":1,\"\xC3\xA4\":2}",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++)
        refuses(texts[i], strlen(texts[i]), &wide, "twice");
    /* outside text in the message is made printable */
    refuses(TEXT("{\"a\\u001b\":1,\"a\\u001b\":1}"), &wide, "\"a\\x1b\" twice");
}

/* 30000 names: comparing each with each would take minutes under a sanitizer. */
static void many_names(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_buffer text = KW_BUFFER_INIT(1 << 20);
    assert_ok(kw_buffer_printf(&text, &err, "{"));
    for (int i = 0; i < 30000; i++)
        assert_ok(kw_buffer_printf(&text, &err, "\"name%d\":0,", i));
    size_t common = text.len;
    assert_ok(kw_buffer_printf(&text, &err, "\"last\":0}"));
    accepts((char *)text.data, text.len, &wide);
    text.len = common;
    assert_ok(kw_buffer_printf(&text, &err, "\"NAME17\":0}"));
    refuses((char *)text.data, text.len, &wide, "twice");
    kw_buffer_cleanup(&text);
}

static void values_arrive(void **state)
{
    (void)state;
    static const char text[] = "{\"Name\":\"v\\u00e4\",\"n\":[1,-2.5]}";
    struct kw_error err;
    struct cJSON *json = NULL;
    assert_ok(kw_json_parse(text, sizeof(text) - 1, &wide, "x", KW_DROP, &json, &err));
    assert_string_equal(cJSON_GetObjectItem(json, "name")->valuestring, "v\xC3\xA4");
    assert_true(cJSON_GetObjectItem(json, "n")->child->next->valuedouble < -2.4);
    cJSON_Delete(json);
    assert_fails(kw_json_parse("[", 1, &wide, "y", KW_DROP, &json, &err), KW_DROP, "y is not");
}

static void writes_all_or_nothing(void **state)
{
    (void)state;
    struct kw_error err = {.status = KW_OK};
    struct kw_buffer out = KW_BUFFER_INIT(8);
    assert_int_equal(kw_json_write(cJSON_Parse("{\"a\": 1}"), KW_JSON_LINE, &out, &err), KW_OK);
    assert_int_equal(out.len, 8);
    assert_memory_equal(out.data, "{\"a\":1}\n", 8);
    kw_buffer_cleanup(&out);
    out = (struct kw_buffer)KW_BUFFER_INIT(7);
    assert_int_equal(kw_json_write(cJSON_Parse("{\"a\": 1}"), KW_JSON_LINE, &out, &err), KW_FAULT);
    assert_int_equal(out.len, 0);
    assert_int_equal(kw_json_write(cJSON_Parse("{\"a\": 1}"), KW_JSON_COMPACT, &out, &err), KW_OK);
    assert_int_equal(out.len, 7);
    assert_int_equal(kw_json_write(NULL, KW_JSON_COMPACT, &out, &err), KW_NO_MEMORY);
    assert_int_equal(out.len, 7);
    kw_buffer_cleanup(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_texts),
        cmocka_unit_test(bad_texts),
        cmocka_unit_test(nul_bytes),
        cmocka_unit_test(every_cut),
        cmocka_unit_test(errors_name_the_line),
        cmocka_unit_test(size_limit),
        cmocka_unit_test(depth_limit),
        cmocka_unit_test(item_limit),
        cmocka_unit_test(duplicate_names),
        cmocka_unit_test(many_names),
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(writes_all_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
