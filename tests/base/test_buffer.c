/* Buffers: their limits. */
#include "base_test.h"

static void grows_to_its_limit_and_no_further(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_buffer buffer = KW_BUFFER_INIT(1000);
    uint8_t byte = 0;
    for (size_t i = 0; i < 1000; i++) {
        byte = (uint8_t)i;
        assert_ok(kw_buffer_append(&buffer, &byte, 1, &err));
        assert_true(buffer.capacity <= buffer.max);
    }
    assert_fails(kw_buffer_append(&buffer, &byte, 1, &err), KW_FAULT, "1000 bytes");
    assert_fails(kw_buffer_reserve(&buffer, 1, &err), KW_FAULT, "1000 bytes");
    assert_fails(kw_buffer_reserve(&buffer, SIZE_MAX, &err), KW_FAULT, "1000 bytes");
    assert_fails(kw_buffer_printf(&buffer, &err, "x"), KW_FAULT, "1000 bytes");
    assert_ok(kw_buffer_append(&buffer, NULL, 0, &err));
    assert_ok(kw_buffer_reserve(&buffer, 0, &err));
    assert_int_equal(buffer.len, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(buffer.data[i], (uint8_t)i);
    kw_buffer_cleanup(&buffer);
}

static void text_may_fill_it_exactly(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_buffer buffer = KW_BUFFER_INIT(5);
    assert_ok(kw_buffer_printf(&buffer, &err, "%d%s", 12, "abc"));
    assert_memory_equal(buffer.data, "12abc", 5);
    kw_buffer_cleanup(&buffer);
    assert_fails(kw_buffer_printf(&buffer, &err, "123456"), KW_FAULT, "5 bytes");
    assert_int_equal(buffer.len, 0);
    kw_buffer_cleanup(&buffer);
}

static void sizes_near_the_end_of_size_t(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_buffer buffer = KW_BUFFER_INIT(SIZE_MAX);
    assert_ok(kw_buffer_append(&buffer, "abc", 3, &err));
    assert_fails(kw_buffer_reserve(&buffer, SIZE_MAX - 2, &err), KW_FAULT, "grow");
    assert_memory_equal(buffer.data, "abc", 3);
    kw_buffer_cleanup(&buffer);
    struct kw_buffer none = KW_BUFFER_INIT(0);
    assert_ok(kw_buffer_reserve(&none, 0, &err));
    assert_fails(kw_buffer_reserve(&none, 1, &err), KW_FAULT, "grow");
    kw_buffer_cleanup(&none);
    kw_buffer_cleanup(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_to_its_limit_and_no_further),
        cmocka_unit_test(text_may_fill_it_exactly),
        cmocka_unit_test(sizes_near_the_end_of_size_t),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
