/* Heads, targets and chunks, without sockets. What forms.py sends is not tried again here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/parse.h"

struct parsed {
    char text[2048];
    int refused;
    struct kw_http_head head;
    struct kw_http_request request;
};

static void parse(struct parsed *parsed, const char *text)
{
    memset(parsed, 0, sizeof(*parsed));
    size_t len = strlen(text);
    assert_true(len < sizeof(parsed->text));
    memcpy(parsed->text, text, len);
    parsed->refused = kw_http_parse_head(parsed->text, len, &parsed->head, &parsed->request);
}

static void finds_the_end_of_a_head(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    const size_t end = sizeof(text) - 1 - 4;
    (void)state;
    for (size_t cut = 0; cut < sizeof(text); cut++) {
        size_t scanned = 0, len = 1;
        assert_int_equal(kw_http_find_head((const uint8_t *)text, cut, &scanned, &len), 0);
        assert_int_equal(len, cut >= end ? end : 0);
        if (len > 0)
            continue;
        assert_int_equal(kw_http_find_head((const uint8_t *)text, sizeof(text) - 1, &scanned, &len),
                         0);
        assert_int_equal(len, end);
    }
}

static void reads_fields(void **state)
{
    static struct parsed parsed;
    (void)state;
    parse(&parsed, "PATCH /a/%62?x=%31&y HTTP/1.1\r\nhOST:\t a:1 \r\nCONTENT-LENGTH:12\r\n"
                   "Connection: keep-alive ,\tCLOSE\r\nExpect: 100-Continue\r\n\r\n");
    assert_int_equal(parsed.refused, 0);
    assert_int_equal(parsed.request.method, KW_PATCH);
    assert_int_equal(parsed.request.segment_count, 2);
    assert_string_equal(parsed.request.segments[1], "b");
    assert_string_equal(kw_http_query(&parsed.request, "x"), "1");
    assert_string_equal(kw_http_query(&parsed.request, "y"), "");
    assert_null(kw_http_query(&parsed.request, "z"));
    assert_string_equal(parsed.request.host, "a:1");
    assert_null(parsed.request.authorization);
    assert_true(parsed.head.has_length && parsed.head.length == 12);
    assert_true(parsed.head.close && parsed.head.expects);
    assert_false(parsed.head.chunked || parsed.head.old);
}

static void refuses_what_ends_early(void **state)
{
    static const char text[] = "GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    static struct parsed parsed;
    (void)state;
    parse(&parsed, text);
    assert_int_equal(parsed.refused, 0);
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        char part[sizeof(text)] = {0};
        memcpy(part, text, len);
        parse(&parsed, part);
        assert_int_equal(parsed.refused, 400);
    }
    parse(&parsed, "GET / HTTP/1.1\r\nHost: a\r\n\r\nX: y\r\n\r\n");
    assert_int_equal(parsed.refused, 400);
}

static void takes_chunks_in_any_pieces(void **state)
{
    static const char text[] = "5\r\nhello\r\n0A\r\n0123456789\r\n0\r\n\r\nGET";
    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        struct kw_http_chunks chunks = {.phase = 0};
        struct kw_http_bytes body = {.data = NULL};
        size_t at = 0, used = 0;
        while (!chunks.done && at < sizeof(text) - 1) {
            size_t len = sizeof(text) - 1 - at < step ? sizeof(text) - 1 - at : step;
            assert_int_equal(
                kw_http_take_chunks(&chunks, (const uint8_t *)text + at, len, 15, &body, &used), 0);
            at += used;
        }
        assert_true(chunks.done);
        assert_string_equal(text + at, "GET");
        assert_int_equal(body.len, 15);
        assert_memory_equal(body.data, "hello0123456789", 16);
        kw_http_bytes_cleanup(&body);
    }
}

static void limits_chunks(void **state)
{
    static const char text[] = "5\r\nhello\r\na\r\n";
    struct kw_http_chunks chunks = {.phase = 0};
    struct kw_http_bytes body = {.data = NULL};
    size_t used = 0;
    (void)state;
    assert_int_equal(
        kw_http_take_chunks(&chunks, (const uint8_t *)text, sizeof(text) - 1, 14, &body, &used),
        413);
    kw_http_bytes_cleanup(&body);
}

static void keeps_bytes(void **state)
{
    struct kw_http_bytes bytes = {.data = NULL};
    (void)state;
    for (int i = 0; i < 2000; i++)
        assert_true(kw_http_bytes_append(&bytes, "abc", 3));
    assert_int_equal(bytes.len, 6000);
    assert_int_equal(bytes.data[6000], 0);
    kw_http_bytes_drop(&bytes, 5999);
    assert_string_equal((const char *)bytes.data, "c");
    assert_int_equal(bytes.len, 1);
    kw_http_bytes_drop(&bytes, 1);
    assert_null(bytes.data);
    assert_false(kw_http_bytes_reserve(&bytes, SIZE_MAX - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_end_of_a_head), cmocka_unit_test(reads_fields),
        cmocka_unit_test(refuses_what_ends_early), cmocka_unit_test(takes_chunks_in_any_pieces),
        cmocka_unit_test(limits_chunks),           cmocka_unit_test(keeps_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
