/* Lists of strings, and what may reach a terminal. */
#include "base_test.h"

static void list_is_emptied(void **state)
{
    (void)state;
    struct kw_strings list = KW_STRINGS_INIT(2);
    kw_strings_warn(&list, "%d", 1);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0], "1");
    kw_strings_cleanup(&list);
    assert_int_equal(list.count, 0);
    assert_null(list.items);
    kw_strings_cleanup(&list);
    kw_strings_cleanup(NULL);
}

static void warnings_over_the_limit_are_summed_up(void **state)
{
    (void)state;
    struct kw_strings list = KW_STRINGS_INIT(2);
    kw_strings_warn(&list, "first");
    kw_strings_warn(&list, "second");
    assert_string_equal(list.items[1], "second");
    for (int i = 0; i < 3; i++) {
        kw_strings_warn(&list, "over %d", i);
        assert_int_equal(list.count, 2);
        assert_string_equal(list.items[0], "first");
        assert_string_equal(list.items[1], "more warnings were left out");
    }
    kw_strings_cleanup(&list);

    struct kw_strings none = KW_STRINGS_INIT(0);
    kw_strings_warn(&none, "x");
    assert_int_equal(none.count, 0);
    assert_null(none.items);
}

static void moved_ones_are_gone_where_they_were(void **state)
{
    (void)state;
    struct kw_strings from = KW_STRINGS_INIT(2), into = KW_STRINGS_INIT(3);
    kw_strings_warn(&into, "first");
    for (int i = 0; i < 2; i++) {
        kw_strings_warn(&from, "a");
        kw_strings_warn(&from, "b");
        kw_strings_move(&from, &into);
        assert_int_equal(from.count, 0);
        assert_int_equal(into.count, 3);
        assert_string_equal(into.items[1], "a");
        assert_string_equal(into.items[2], i == 0 ? "b" : "more warnings were left out");
    }
    kw_strings_cleanup(&from);
    kw_strings_cleanup(&into);
}

static void check_printable(const void *text, size_t len, const char *wanted)
{
    char out[256];
    char *exact = malloc(len ? len : 1); /* a read beyond its end is seen by a sanitizer */
    assert_non_null(exact);
    memcpy(exact, text, len);
    assert_ptr_equal(kw_printable(exact, len, out, sizeof(out)), out);
    assert_string_equal(out, wanted);
    free(exact);
}

static void ordinary_text_stays(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "a b's (c) <d> & e/f",
        "\xC3\xA4\xC3\xB6",
        "\xE6\x97\xA5\xE6\x9C\xAC",
        "\xF0\x9F\x94\x91",
        "\xEF\xBF\xBD",
        "\xC2\xA0",
        "\xF4\x8F\xBF\xBF",
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++)
        check_printable(texts[i], strlen(texts[i]), texts[i]);
}

static void dangerous_text_is_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *wanted;
    } rows[] = {
        {"\x1B[31m", "\\x1b[31m"},           /* terminal control */
        {"a\r\nb\tc", "a\\x0d\\x0ab\\x09c"}, /* lines of a log */
        {"\"\\", "\\x22\\x5c"},              /* quotes, and our own escape */
        {"\x7F", "\\x7f"},                   /* DEL */
        {"\xC2\x80\xC2\x9B\xC2\x9F", "\\xc2\\x80\\xc2\\x9b\\xc2\\x9f"}, /* C1 */
        {"\xE2\x80\xAA\xE2\x80\xAE", "\\xe2\\x80\\xaa\\xe2\\x80\\xae"}, /* U+202A, U+202E */
        {"\xE2\x81\xA6\xE2\x81\xA9", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9"}, /* U+2066, U+2069 */
        {"\xE2\x80\x8F", "\\xe2\\x80\\x8f"},                            /* U+200F */
        {"\xE2\x80\xA8", "\\xe2\\x80\\xa8"},                            /* U+2028 */
        {"\xD8\x9C", "\\xd8\\x9c"},                                     /* U+061C */
        {"\xEF\xBB\xBF", "\\xef\\xbb\\xbf"},                            /* U+FEFF */
        {"\x80", "\\x80"},                                              /* a byte out of place */
        {"\xC0\xAF", "\\xc0\\xaf"},                                     /* overlong */
        {"\xE0\x9F\xBF", "\\xe0\\x9f\\xbf"},                            /* overlong */
        {"\xF0\x8F\xBF\xBF", "\\xf0\\x8f\\xbf\\xbf"},                   /* overlong */
        {"\xED\xA0\x80", "\\xed\\xa0\\x80"},                            /* a surrogate */
        {"\xF4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},                   /* over U+10FFFF */
        {"\xF5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},                   /* no lead byte */
        {"\xC3", "\\xc3"},                                              /* cut short */
        {"\xE6\x97", "\\xe6\\x97"},                                     /* cut short */
        {"\xF0\x9F\x94", "\\xf0\\x9f\\x94"},                            /* cut short */
        {"\xC3(", "\\xc3("}, /* what follows a bad byte stays */
        {"\xE6\x97(\xC3\xA4", "\\xe6\\x97(\xC3\xA4"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++)
        check_printable(rows[i].text, strlen(rows[i].text), rows[i].wanted);
    check_printable("a\0b", 3, "a\\x00b");
}

/* Every size: never beyond it, always ended, cut only with dots, and at most when it had to be. */
static void cut_to_every_size(void **state)
{
    (void)state;
    static const char text[] = "ab\xC3\xA4\x01\xE6\x97\xA5z";
    static const char whole[] = "ab\xC3\xA4\\x01\xE6\x97\xA5z";
    for (size_t size = 1; size <= sizeof(whole) + 2; size++) {
        char *out = malloc(size);
        assert_non_null(out);
        memset(out, '#', size);
        kw_printable(text, sizeof(text) - 1, out, size);
        size_t len = strnlen(out, size);
        assert_true(len < size);
        if (size >= sizeof(whole)) {
            assert_string_equal(out, whole);
        } else {
            size_t dots = len < 3 ? len : 3;
            assert_memory_equal(out + len - dots, "...", dots);
            assert_memory_equal(out, whole, len - dots);
        }
        free(out);
    }
    char guard[2] = "#";
    assert_string_equal(kw_printable("abc", 3, guard, 0), "");
    assert_string_equal(guard, "#");
}

static void cut_never_halves_a_character(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(kw_printable("abc\xC3\xA4xyz", 8, out, sizeof(out)), "abc...");
    assert_string_equal(kw_printable("abc\x01xyz", 7, out, sizeof(out)), "abc...");
    assert_string_equal(kw_printable("abcdefg", 7, out, sizeof(out)), "abcdefg");
    assert_string_equal(kw_printable("abcdefgh", 8, out, sizeof(out)), "abcd...");
}

static void addresses_are_split(void **state)
{
    static const struct {
        const char *address, *host, *port;
    } good[] = {{"localhost:80", "localhost", "80"},
                {"[::1]:443", "::1", "443"},
                {"::1:443", "::1", "443"},
                {"a:", "a", ""}};
    static const char *const bad[] = {"", "localhost", ":80", "80"};
    (void)state;
    for (size_t i = 0; i < KW_COUNT(good); i++) {
        char host[KW_HOST_MAX + 1];
        const char *port = NULL;
        assert_true(kw_split_address(good[i].address, host, &port));
        assert_string_equal(host, good[i].host);
        assert_string_equal(port, good[i].port);
    }
    char host[KW_HOST_MAX + 1];
    const char *port = NULL;
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        assert_false(kw_split_address(bad[i], host, &port));
    char longest[KW_HOST_MAX + 4];
    memset(longest, 'a', sizeof(longest));
    memcpy(longest + KW_HOST_MAX, ":1", 3);
    assert_true(kw_split_address(longest, host, &port));
    memcpy(longest + KW_HOST_MAX, "a:1", 4);
    assert_false(kw_split_address(longest, host, &port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_is_emptied),
        cmocka_unit_test(warnings_over_the_limit_are_summed_up),
        cmocka_unit_test(moved_ones_are_gone_where_they_were),
        cmocka_unit_test(ordinary_text_stays),
        cmocka_unit_test(dangerous_text_is_escaped),
        cmocka_unit_test(cut_to_every_size),
        cmocka_unit_test(cut_never_halves_a_character),
        cmocka_unit_test(addresses_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
