/* What handlers do with an answer, and names that can't be used for a listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/http.h"

static void adds_headers(void **state)
{
    struct kw_http_answer answer = {.status = 0};
    struct kw_error error;
    char longest[KW_HTTP_HEADER_SIZE + 1];
    (void)state;
    memset(longest, 'a', sizeof(longest));
    longest[KW_HTTP_HEADER_SIZE - 1] = '\0';
    assert_int_equal(kw_http_header(&answer, "A", &error, "%d %s", 1, "two"), KW_OK);
    assert_int_equal(kw_http_header(&answer, "B", &error, "%s", longest), KW_OK);
    assert_int_equal(answer.header_count, 2);
    assert_string_equal(answer.headers[0].value, "1 two");
    assert_string_equal(answer.headers[1].value, longest);
}

static void refuses_headers(void **state)
{
    static const char *const bad[] = {"a\r\nB: c", "a\n", "\r", "a\x7f", "\x01", "a\tb"};
    struct kw_http_answer answer = {.status = 0};
    struct kw_error error;
    char too_long[KW_HTTP_HEADER_SIZE + 1] = {0};
    (void)state;
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        assert_int_equal(kw_http_header(&answer, "A", &error, "%s", bad[i]), KW_FAULT);
    memset(too_long, 'a', KW_HTTP_HEADER_SIZE);
    assert_int_equal(kw_http_header(&answer, "A", &error, "%s", too_long), KW_FAULT);
    assert_int_equal(answer.header_count, 0);
    for (int i = 0; i < KW_HTTP_HEADERS_MAX; i++)
        assert_int_equal(kw_http_header(&answer, "A", &error, "x"), KW_OK);
    assert_int_equal(kw_http_header(&answer, "A", &error, "x"), KW_FAULT);
}

static void knows_listeners_by_name(void **state)
{
    struct kw_crypto *crypto = NULL;
    struct kw_http_server *server = NULL;
    struct kw_http_stats stats = {.accepted = 7};
    struct kw_error error;
    uint16_t port = 0;
    const struct kw_http_listener_options options = {
        .name = "one", .address = "[::1]:0", .fd = -1, .limits = {.threads = 1}};
    const struct kw_http_listener_options four = {
        .name = "one", .address = "localhost:0", .fd = -1, .limits = {.threads = 1}};
    (void)state;
    assert_int_equal(kw_crypto_new(false, &crypto, &error), KW_OK);
    assert_int_equal(kw_http_new(crypto, &server, &error), KW_OK);
    if (kw_http_listen(server, &options, &port, &error) != KW_OK) /* a machine without IPv6 */
        assert_int_equal(kw_http_listen(server, &four, &port, &error), KW_OK);
    assert_true(port != 0);
    kw_http_stats(server, "two", &stats);
    assert_int_equal(stats.accepted, 0);
    assert_int_equal(kw_http_reload(server, "two", NULL, &error), KW_CONFIG);
    assert_int_equal(kw_http_reload(server, "one", NULL, &error), KW_CONFIG);
    kw_http_stop(server); /* before it runs: it ends at once */
    assert_int_equal(kw_http_run(server, 0, NULL, NULL, &error), KW_OK);
    kw_http_free(server);
    kw_http_free(NULL);
    kw_crypto_free(crypto);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_headers),
        cmocka_unit_test(refuses_headers),
        cmocka_unit_test(knows_listeners_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
