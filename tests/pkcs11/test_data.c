/* Data objects: written, replaced and removed so that there is always the old value or the new one.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION "kw-test-data"

static bool taken; /* whether this token takes data objects at all */

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (result || !hsm.there)
        return result;
    hsm_prepare(NULL, 0);
    struct kw_token *token = hsm_open(0);
    taken = kw_token_data_write(token, APPLICATION, "kw probe", "x", 1, NULL) == KW_OK &&
            kw_token_data_remove(token, APPLICATION, "kw probe", NULL) == KW_OK;
    kw_token_free(token);
    return 0;
}

#define DATA_NEEDED()                                                                              \
    do {                                                                                           \
        if (!hsm.there || !taken) {                                                                \
            hsm_skip("needs a token that takes data objects");                                     \
            return;                                                                                \
        }                                                                                          \
    } while (0)

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

/* ---- calls that have to go well ---- */

static void write_value(struct kw_token *token, const char *label, const char *value, size_t len)
{
    struct kw_error err = {.status = KW_OK};
    if (kw_token_data_write(token, APPLICATION, label, value, len, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_int_equal(err.status, KW_OK);
}

static void remove_value(struct kw_token *token, const char *label)
{
    struct kw_error err = {.status = KW_OK};
    if (kw_token_data_remove(token, APPLICATION, label, &err) != KW_OK)
        fail_msg("%s", err.message);
}

static struct kw_token_data *read_values(struct kw_token *token, const char *label, size_t count)
{
    struct kw_token_data *data = NULL;
    size_t found = 0;
    struct kw_error err = {.status = KW_OK};
    if (kw_token_data_read(token, APPLICATION, label, &data, &found, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_int_equal(found, count);
    return data;
}

static void assert_only(struct kw_token *token, const char *label, const char *value, size_t len)
{
    struct kw_token_data *data = read_values(token, label, 1);
    assert_string_equal(data[0].label, label);
    assert_int_equal(data[0].len, len);
    assert_memory_equal(data[0].value, value, len);
    assert_int_equal(data[0].value[len], '\0');
    kw_token_data_free(data, 1);
}

static void assert_none(struct kw_token *token)
{
    kw_token_data_free(read_values(token, NULL, 0), 0);
}

/* Behind the library's back. */
static void create_behind(const char *label, const void *value, size_t len)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_OBJECT_HANDLE handle;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CKA_TOKEN, &yes, sizeof(yes)},
        {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_APPLICATION, (void *)APPLICATION, strlen(APPLICATION)},
        {CKA_LABEL, (void *)label, strlen(label)},
        {CKA_VALUE, (void *)value, len},
    };
    assert_int_equal(hsm_functions()->C_CreateObject(session, attributes, 6, &handle), CKR_OK);
    hsm_close(session);
}

/* ---- on a good day ---- */

static void written_replaced_removed(void **state)
{
    (void)state;
    DATA_NEEDED();
    struct kw_token *token = hsm_open(0);
    assert_none(token);
    write_value(token, "kw one", "first", 5);
    write_value(token, "kw two", "a\0b\0", 4);
    assert_only(token, "kw one", "first", 5);
    assert_only(token, "kw two", "a\0b\0", 4);
    write_value(token, "kw one", "second, and longer", 18);
    assert_only(token, "kw one", "second, and longer", 18);
    kw_token_data_free(read_values(token, NULL, 2), 2);
    kw_token_data_free(read_values(token, "kw on", 0), 0);
    kw_token_data_free(read_values(token, "kw one ", 0), 0);
    remove_value(token, "kw one");
    remove_value(token, "kw one"); /* once more is no failure */
    assert_only(token, "kw two", "a\0b\0", 4);
    remove_value(token, "kw two");
    assert_none(token);
    kw_token_free(token);
}

static void another_application_is_left_alone(void **state)
{
    (void)state;
    DATA_NEEDED();
    struct kw_token *token = hsm_open(0);
    write_value(token, "kw one", "mine", 4);
    assert_int_equal(kw_token_data_write(token, "kw-other", "kw one", "theirs", 6, NULL), KW_OK);
    assert_only(token, "kw one", "mine", 4);
    remove_value(token, "kw one");
    struct kw_token_data *data = NULL;
    size_t count = 0;
    assert_int_equal(kw_token_data_read(token, "kw-other", NULL, &data, &count, NULL), KW_OK);
    assert_int_equal(count, 1);
    assert_string_equal(data[0].value, "theirs");
    kw_token_data_free(data, count);
    assert_int_equal(kw_token_data_remove(token, "kw-other", "kw one", NULL), KW_OK);
    kw_token_free(token);
}

static void limits(void **state)
{
    (void)state;
    DATA_NEEDED();
    struct kw_token *token = hsm_open(0);
    static char value[KW_DATA_MAX + 1], label[KW_DATA_LABEL_MAX + 2];
    struct kw_error err = {.status = KW_OK};
    memset(value, 'v', sizeof(value));
    memset(label, 'w', sizeof(label) - 1);
    label[0] = 'k';
    assert_int_equal(kw_token_data_write(token, APPLICATION, label, "x", 1, &err), KW_USAGE);
    label[KW_DATA_LABEL_MAX] = '\0';
    write_value(token, label, "x", 1);
    assert_only(token, label, "x", 1);
    remove_value(token, label);
    assert_int_equal(kw_token_data_write(token, APPLICATION, "kw", value, KW_DATA_MAX + 1, &err),
                     KW_USAGE);
    assert_none(token);
    /* How large a value may be is the token's to say as well. */
    if (kw_token_data_write(token, APPLICATION, "kw", value, KW_DATA_MAX, &err) == KW_OK)
        assert_only(token, "kw", value, KW_DATA_MAX);
    remove_value(token, "kw");
    kw_token_free(token);
}

/* What can't be read must not look as if it were not there. */
static void larger_or_hidden_values_show(void **state)
{
    (void)state;
    DATA_NEEDED();
    SOFTHSM_NEEDED();
    static char value[KW_DATA_MAX + 1];
    memset(value, 'v', sizeof(value));
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    create_behind("kw large", value, sizeof(value));
    assert_only(token, "kw large", "", 0);
    write_value(token, "kw large", "small", 5);
    fault->hide_values = true;
    assert_only(token, "kw large", "", 0);
    struct kw_token_data *data = read_values(token, NULL, 1);
    kw_token_data_free(data, 1);
    fault->hide_values = false;
    assert_only(token, "kw large", "small", 5);
    remove_value(token, "kw large");
    kw_token_free(token);
}

static void two_of_one_label(void **state)
{
    (void)state;
    DATA_NEEDED();
    struct kw_token *token = hsm_open(0);
    create_behind("kw twin", "one", 3);
    create_behind("kw twin", "two", 3);
    struct kw_token_data *data = read_values(token, "kw twin", 2);
    assert_string_not_equal(data[0].value, data[1].value);
    kw_token_data_free(data, 2);
    write_value(token, "kw twin", "three", 5);
    assert_only(token, "kw twin", "three", 5);
    create_behind("kw twin", "four", 4);
    remove_value(token, "kw twin");
    assert_none(token);
    kw_token_free(token);
}

static void many(void **state)
{
    (void)state;
    DATA_NEEDED();
    SOFTHSM_NEEDED();    /* others take long, or hold less */
    enum { MANY = 600 }; /* more than one C_FindObjects gives */
    struct kw_token *token = hsm_open(0);
    for (int i = 0; i < MANY; i++) {
        char label[32];
        int len = snprintf(label, sizeof(label), "kw %d", i);
        create_behind(label, label, (size_t)len);
    }
    struct kw_token_data *data = read_values(token, NULL, MANY);
    for (size_t i = 0; i < MANY; i++)
        assert_string_equal(data[i].label, data[i].value);
    kw_token_data_free(data, MANY);
    hsm_clean(hsm_session());
    assert_none(token);
    kw_token_free(token);
}

/* ---- tokens without them ---- */

static void a_token_that_takes_none(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_error err = {.status = KW_OK};
    fault->refuse_data = true;
    assert_int_equal(kw_token_data_write(token, APPLICATION, "kw", "x", 1, &err), KW_KEY_UNUSABLE);
    assert_int_equal(err.status, KW_KEY_UNUSABLE);
    assert_none(token);
    remove_value(token, "kw");
    kw_token_free(token);
}

static void a_token_that_does_not_search_for_them(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const CK_RV refusals[] = {CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID,
                                     CKR_FUNCTION_NOT_SUPPORTED};
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    for (size_t i = 0; i < KW_COUNT(refusals); i++) {
        fault->data_search_answer = refusals[i];
        assert_none(token);
        remove_value(token, "kw");
        assert_int_equal(kw_token_data_write(token, APPLICATION, "kw", "x", 1, NULL),
                         KW_KEY_UNUSABLE);
    }
    /* Trouble is not the same as not knowing them. */
    struct kw_token_data *data = NULL;
    size_t count = 7;
    fault->data_search_answer = CKR_DEVICE_MEMORY;
    assert_int_equal(kw_token_data_read(token, APPLICATION, NULL, &data, &count, NULL), KW_TOKEN);
    assert_int_equal(kw_token_data_remove(token, APPLICATION, "kw", NULL), KW_TOKEN);
    assert_null(data);
    assert_int_equal(count, 7);
    kw_token_free(token);
}

/* ---- failures ---- */

/* Fails each call of `work` in turn, in each way. `check` looks at what is there afterwards, when
 * no call fails any more, and brings back what was there before. */
static void fail_each_call(struct kw_token *token, struct kw_fault *fault,
                           enum kw_status (*work)(struct kw_token *token),
                           void (*check)(struct kw_token *token, bool done), unsigned least)
{
    struct hsm_cuts cuts = {.fault = fault,
                            .kinds = hsm_fault_kinds,
                            .count = HSM_FAULT_KINDS,
                            .stride = 1,
                            .limit = 100};
    while (hsm_cut_next(&cuts)) {
        hsm_cut_arm(&cuts);
        bool done = work(token) == KW_OK;
        hsm_cut_over(&cuts, done);
        check(token, done);
    }
    hsm_cuts_end(&cuts, least);
}

static enum kw_status try_write(struct kw_token *token)
{
    return kw_token_data_write(token, APPLICATION, "kw safe", "new", 3, NULL);
}

/* At least the old or the new value, and nothing else; a retry leaves the new one alone. */
static void check_written(struct kw_token *token, bool done)
{
    struct kw_token_data *data = NULL;
    size_t count = 0, new = 0;
    assert_int_equal(kw_token_data_read(token, APPLICATION, NULL, &data, &count, NULL), KW_OK);
    assert_true(count >= 1);
    for (size_t i = 0; i < count; i++) {
        bool is_new = strcmp(data[i].value, "new") == 0;
        assert_true(is_new || strcmp(data[i].value, "old") == 0);
        new += is_new;
    }
    if (done)
        assert_true(new == 1 && count == 1);
    kw_token_data_free(data, count);
    write_value(token, "kw safe", "new", 3);
    assert_only(token, "kw safe", "new", 3);
    write_value(token, "kw safe", "old", 3);
}

static void never_without_a_value(void **state)
{
    (void)state;
    DATA_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    write_value(token, "kw safe", "old", 3);
    fail_each_call(token, fault, try_write, check_written, 6);
    remove_value(token, "kw safe");
    kw_token_free(token);
}

static enum kw_status try_remove(struct kw_token *token)
{
    return kw_token_data_remove(token, APPLICATION, "kw safe", NULL);
}

static void check_removed(struct kw_token *token, bool done)
{
    if (!done)
        remove_value(token, "kw safe");
    assert_none(token);
    write_value(token, "kw safe", "old", 3);
    create_behind("kw safe", "twin", 4);
}

static void removed_in_the_end(void **state)
{
    (void)state;
    DATA_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    write_value(token, "kw safe", "old", 3);
    fail_each_call(token, fault, try_remove, check_removed, 6);
    remove_value(token, "kw safe");
    kw_token_free(token);
}

static enum kw_status try_read(struct kw_token *token)
{
    struct kw_token_data *data = NULL;
    size_t count = 99;
    enum kw_status status = kw_token_data_read(token, APPLICATION, "kw safe", &data, &count, NULL);
    /* A value may be empty where it could not be read, but never be missing. */
    assert_int_equal(count, status ? 99 : 1);
    if (!status)
        assert_true(data[0].len == 0 || strcmp(data[0].value, "old") == 0);
    kw_token_data_free(data, status ? 0 : count);
    return status;
}

static void check_read(struct kw_token *token, bool done)
{
    assert_true(done);
    assert_only(token, "kw safe", "old", 3);
}

static void reading_never_misses_one(void **state)
{
    (void)state;
    DATA_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    write_value(token, "kw safe", "old", 3);
    fail_each_call(token, fault, try_read, check_read, 0);
    remove_value(token, "kw safe");
    kw_token_free(token);
}

static void a_lost_login_hides_nothing(void **state)
{
    (void)state;
    DATA_NEEDED();
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    write_value(token, "kw safe", "old", 3);
    for (int i = 0; i < 3; i++) {
        CK_SESSION_HANDLE session = hsm_session();
        assert_int_equal(hsm_functions()->C_Logout(session), CKR_OK);
        hsm_close(session);
        if (i == 0)
            assert_only(token, "kw safe", "old", 3);
        else if (i == 1)
            write_value(token, "kw safe", "new", 3);
        else
            remove_value(token, "kw safe");
    }
    assert_none(token);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_replaced_removed),
        cmocka_unit_test(another_application_is_left_alone),
        cmocka_unit_test(limits),
        cmocka_unit_test(larger_or_hidden_values_show),
        cmocka_unit_test(two_of_one_label),
        cmocka_unit_test(many),
        cmocka_unit_test(a_token_that_takes_none),
        cmocka_unit_test(a_token_that_does_not_search_for_them),
        cmocka_unit_test(never_without_a_value),
        cmocka_unit_test(removed_in_the_end),
        cmocka_unit_test(reading_never_misses_one),
        cmocka_unit_test(a_lost_login_hides_nothing),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
