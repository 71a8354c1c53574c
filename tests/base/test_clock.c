/* Time stamps, at the edges of what they can say. */
#include "base_test.h"

static void stamps(void **state)
{
    (void)state;
    static const struct {
        time_t when;
        const char *wanted;
    } rows[] = {
        {0, "1970-01-01T00:00:00Z"},
        {-1, "1969-12-31T23:59:59Z"},
        {951782400, "2000-02-29T00:00:00Z"},
        {1759644000, "2025-10-05T06:00:00Z"},
        {2147483648, "2038-01-19T03:14:08Z"},
        {253402300799, "9999-12-31T23:59:59Z"},
        {253402300800, "9999-12-31T23:59:59Z"},
        {INT64_MAX, "9999-12-31T23:59:59Z"},
        {-62167219200, "0000-01-01T00:00:00Z"},
        {-62167219201, "0000-01-01T00:00:00Z"},
        {INT64_MIN, "0000-01-01T00:00:00Z"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        char out[KW_TIMESTAMP_SIZE + 1];
        memset(out, '#', sizeof(out));
        kw_timestamp(rows[i].when, out);
        assert_string_equal(out, rows[i].wanted);
        assert_int_equal(out[KW_TIMESTAMP_SIZE], '#');
    }
}

static void time_zone_does_not_matter(void **state)
{
    (void)state;
    char out[KW_TIMESTAMP_SIZE];
    assert_int_equal(setenv("TZ", "XXX-5:45", 1), 0);
    tzset();
    kw_timestamp(0, out);
    assert_string_equal(out, "1970-01-01T00:00:00Z");
    assert_int_equal(unsetenv("TZ"), 0);
    tzset();
}

static void monotonic_clock_moves(void **state)
{
    (void)state;
    uint64_t before = kw_now_ms();
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    assert_int_equal(nanosleep(&pause, NULL), 0);
    uint64_t after = kw_now_ms();
    assert_true(before > 0);
    assert_true(after >= before + 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamps),
        cmocka_unit_test(time_zone_does_not_matter),
        cmocka_unit_test(monotonic_clock_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
