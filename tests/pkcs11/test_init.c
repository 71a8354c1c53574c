/* Making a token for trials, and all that is refused. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST "12345678901234567890123456789012"

/* NULL: there is none. */
struct pins {
    const char *so_pin, *pin;
    unsigned asked;
    char label[33]; /* as the callbacks were told */
};

static enum kw_status give(struct pins *pins, const char *pin, const struct kw_token_info *token,
                           struct kw_secret **ret_pin, struct kw_error *err)
{
    pins->asked++;
    memcpy(pins->label, token->label, sizeof(pins->label));
    return pin ? kw_secret_from(pin, strlen(pin), ret_pin, err)
               : kw_fail(err, KW_PIN_MISSING, "there is none");
}

static enum kw_status give_so_pin(void *context, const struct kw_token_info *token,
                                  struct kw_secret **ret_pin, struct kw_error *err)
{
    struct pins *pins = context;
    return give(pins, pins->so_pin, token, ret_pin, err);
}

static enum kw_status give_pin(void *context, const struct kw_token_info *token,
                               struct kw_secret **ret_pin, struct kw_error *err)
{
    struct pins *pins = context;
    return give(pins, pins->pin, token, ret_pin, err);
}

static enum kw_status init(const char *module, const char *label, struct pins *pins,
                           struct kw_token_info *ret_info, struct kw_error *err)
{
    const struct kw_token_plan plan = {.module = module,
                                       .label = label,
                                       .so_pin = give_so_pin,
                                       .pin = give_pin,
                                       .pin_context = pins};
    return kw_token_init(&plan, ret_info, err);
}

static size_t count_initialised(void)
{
    struct kw_token_info *infos = NULL;
    size_t count = 0, found = 0;
    assert_int_equal(kw_token_list(hsm.module, NULL, 0, NULL, &infos, &count, NULL), KW_OK);
    for (size_t i = 0; i < count; i++)
        found += infos[i].initialized;
    free(infos);
    return found;
}

/* Nothing was made, and what the message says. */
static void refuses(const char *module, const char *label, struct pins pins, unsigned asked,
                    enum kw_status expected, const char *words)
{
    struct kw_token_info info = {.label = "untouched"};
    struct kw_error err = {.status = KW_OK};
    size_t before = count_initialised();
    if (init(module, label, &pins, &info, &err) != expected)
        fail_msg("status %d: %s", (int)err.status, err.message);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    assert_string_equal(info.label, "untouched");
    assert_int_equal(pins.asked, asked);
    assert_int_equal(count_initialised(), before);
}

static const struct pins good = {.so_pin = "87654321", .pin = "123456"};

static void a_token_is_made(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const char *const labels[] = {"trial", "two words; and 100%", "\xc3\xa9", LONGEST};
    for (size_t i = 0; i < KW_COUNT(labels); i++) {
        struct pins pins = good;
        struct kw_token_info info;
        struct kw_error err = {.status = KW_OK};
        struct kw_token *token = NULL;
        struct kw_buffer uri = KW_BUFFER_INIT(1024);
        size_t before = count_initialised();
        if (init(hsm.module, labels[i], &pins, &info, &err) != KW_OK)
            fail_msg("%s", err.message);
        assert_int_equal(count_initialised(), before + 1);
        assert_string_equal(info.label, labels[i]);
        assert_string_equal(pins.label, labels[i]);
        assert_true(info.initialized && info.serial[0]);
        assert_int_equal(kw_uri_of_token(info.label, hsm.module, NULL, &uri, NULL), KW_OK);
        assert_int_equal(kw_buffer_append(&uri, "", 1, NULL), KW_OK);
        const char *text = (const char *)uri.data;
        assert_int_equal(hsm_try_open(hsm.module, text, "wrong-pin", 0, &token, &err),
                         KW_PIN_WRONG);
        if (hsm_try_open(hsm.module, text, good.pin, 0, &token, &err) != KW_OK)
            fail_msg("%s", err.message);
        assert_string_equal(kw_token_info(token)->serial, info.serial);
        kw_token_free(token);
        kw_buffer_cleanup(&uri);
        refuses(hsm.module, labels[i], good, 0, KW_EXISTS, "already");
    }
}

static void labels_that_are_none(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const char *const labels[] = {"",     " ",          " a",   "a ",   LONGEST "3",
                                         "a\nb", "\"quoted\"", "\xff", "a\x7f"};
    for (size_t i = 0; i < KW_COUNT(labels); i++)
        refuses(hsm.module, labels[i], good, 0, KW_USAGE, "label");
}

static void pins_that_are_none(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    char longest[257];
    memset(longest, '1', sizeof(longest) - 1);
    longest[256] = '\0';
    const struct {
        struct pins pins;
        unsigned asked;
        enum kw_status status;
        const char *words;
    } cases[] = {
        {{.so_pin = NULL, .pin = "123456"}, 1, KW_PIN_MISSING, "none"},
        {{.so_pin = "87654321", .pin = NULL}, 2, KW_PIN_MISSING, "none"},
        {{.so_pin = "123", .pin = "123456"}, 1, KW_CONFIG, "security officer's PIN"},
        {{.so_pin = "87654321", .pin = "123"}, 2, KW_CONFIG, "user's PIN"},
        {{.so_pin = "87654321", .pin = ""}, 2, KW_CONFIG, "4 to 255"},
        {{.so_pin = "87654321", .pin = longest}, 2, KW_CONFIG, "4 to 255"},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++)
        refuses(hsm.module, "pins", cases[i].pins, cases[i].asked, cases[i].status, cases[i].words);
}

/* Nothing is loaded, asked for or made. */
static void other_modules_by_name(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const char *const modules[][2] = {
        {"/nonexistent/libsoftokn3.so", "certutil"},
        {"/nonexistent/libopencryptoki.so", "pkcsconf"},
        {"/nonexistent/libtpm2_pkcs11.so.0", "tpm2_ptool"},
        {"/nonexistent/libkryoptic_pkcs11.so", "pkcs11-tool"},
        {"/nonexistent/p11-kit-client.so", "p11-kit"},
        {"/nonexistent/libCryptoki2_64.so", "lunacm"},
        {"/nonexistent/libcknfast.so", "createocs"},
        {"/nonexistent/libazcloudhsm_pkcs11.so", "azcloudhsm_mgmt_util"},
        {"/nonexistent/libcloudhsm_pkcs11.so", "cloudhsm-cli"},
        {"/nonexistent/libcs_pkcs11_R3.so", "p11tool2"},
        {"/nonexistent/libkmsp11.so", "nothing to initialise"},
    };
    for (size_t i = 0; i < KW_COUNT(modules); i++)
        refuses(modules[i][0], "label", good, 0, KW_USAGE, modules[i][1]);
    refuses("/nonexistent/other.so", "label", good, 0, KW_MODULE, "other.so");
}

static void other_modules_by_info(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->manufacturer = "IBM";
    fault->description = "Meta PKCS11 LIBRARY";
    refuses(hsm_fault_path(), "label", good, 0, KW_USAGE, "pkcsconf");
    fault->manufacturer = "Somebody";
    refuses(hsm_fault_path(), "label", good, 0, KW_USAGE, "vendor's tool");
    fault->manufacturer = NULL;
    fault->description = NULL;
    fault->no_info = true;
    refuses(hsm_fault_path(), "label", good, 0, KW_USAGE, "vendor's tool");
    assert_int_equal(fault->init_tokens, 0);
}

/* A token that is initialised is never touched, also where there is no other. */
static void no_free_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->no_tokens = true;
    refuses(hsm_fault_path(), "label", good, 0, KW_TOKEN_NOT_FOUND, "not initialised yet");
    fault->no_tokens = false;
    fault->set_flags = CKF_TOKEN_INITIALIZED;
    refuses(hsm_fault_path(), "label", good, 0, KW_TOKEN_NOT_FOUND, "not initialised yet");
    assert_int_equal(fault->init_tokens, 0);
}

static void calls_that_fail(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->init_token_answer = CKR_DEVICE_ERROR;
    refuses(hsm_fault_path(), "label", good, 2, KW_TOKEN, "CKR_DEVICE_ERROR");
    fault->init_token_answer = CKR_OK;

    struct kw_token_info info = {.label = "untouched"};
    struct kw_error err = {.status = KW_OK};
    struct pins pins = good;
    fault->init_pin_answer = CKR_FUNCTION_FAILED;
    assert_int_equal(init(hsm_fault_path(), "half", &pins, &info, &err), KW_TOKEN);
    assert_non_null(strstr(err.message, "softhsm2-util --delete-token"));
    assert_string_equal(info.label, "untouched");
    assert_int_equal(fault->sessions, 0);
    fault->init_pin_answer = CKR_OK;
    fault->login_answer = CKR_PIN_INCORRECT;
    pins = good;
    assert_int_equal(init(hsm_fault_path(), "half too", &pins, &info, &err), KW_TOKEN);
    assert_int_equal(fault->sessions, 0);
    assert_int_equal(fault->logins, 2);
    refuses(hsm.module, "half", good, 0, KW_EXISTS, "half");
}

static void the_uri_of_a_token(void **state)
{
    (void)state;
    struct kw_buffer text = KW_BUFFER_INIT(256);
    assert_int_equal(kw_uri_of_token("a b;%?", "/x y.so", "file:/p&q", &text, NULL), KW_OK);
    assert_int_equal(kw_buffer_append(&text, "", 1, NULL), KW_OK);
    assert_string_equal((const char *)text.data, "pkcs11:token=a%20b%3B%25%3F?module-path=/x%20y.so"
                                                 "&pin-source=file:/p%26q");
    struct kw_uri *uri = NULL;
    assert_int_equal(kw_uri_parse((const char *)text.data, &uri, NULL), KW_OK);
    assert_string_equal(kw_uri_module(uri), "/x y.so");
    assert_string_equal(kw_uri_pin_source(uri), "file:/p&q");
    kw_uri_free(uri);
    kw_buffer_cleanup(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_made),       cmocka_unit_test(labels_that_are_none),
        cmocka_unit_test(pins_that_are_none),    cmocka_unit_test(other_modules_by_name),
        cmocka_unit_test(other_modules_by_info), cmocka_unit_test(no_free_token),
        cmocka_unit_test(calls_that_fail),       cmocka_unit_test(the_uri_of_a_token),
    };
    return cmocka_run_group_tests(tests, hsm_setup, hsm_teardown);
}
