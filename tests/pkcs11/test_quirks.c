/* Modules recognised by what they say of themselves, and what is done otherwise for them. */
#include "fixture.h"

#include <string.h>
#include <unistd.h>

/* ---- recognising ---- */

static CK_INFO info_of(const char *manufacturer, const char *description)
{
    CK_INFO info;
    memset(&info, ' ', sizeof(info));
    memcpy(info.manufacturerID, manufacturer, strlen(manufacturer));
    memcpy(info.libraryDescription, description, strlen(description));
    return info;
}

static void recognises(const char *manufacturer, const char *description, const char *path,
                       const char *name)
{
    const CK_INFO info = info_of(manufacturer, description);
    const struct kw_quirks *quirks = kw_quirks_find(&info, path);
    if (!quirks->name || !name)
        assert_ptr_equal(quirks->name, name);
    else
        assert_string_equal(quirks->name, name);
    assert_true(quirks->to_init && quirks->to_init[0]);
}

/* As the modules of this system answered. */
static void by_info(void **state)
{
    (void)state;
    const char *path = "/lib/module.so";
    recognises("SoftHSM", "Implementation of PKCS11", path, "SoftHSM2");
    recognises("PKCS#11 Kit", "PKCS#11 Kit Proxy Module", path, "p11-kit");
    recognises("IBM", "Meta PKCS11 LIBRARY", path, "opencryptoki");
    recognises("Mozilla Foundation", "NSS Internal Crypto Services", path, "NSS softokn");
    recognises("tpm2-software.github.io", "TPM2.0 Cryptoki", path, "tpm2-pkcs11");
    recognises("Kryoptic", "Kryoptic PKCS11 Module", path, "kryoptic");
    /* As others have written down. */
    recognises("SafeNet", "Chrystoki", path, "Thales Luna");
    recognises("nCipher Corp. Ltd", "anything", path, "Entrust nShield");
    recognises("Cavium Networks", "anything", path, "AWS CloudHSM");
    recognises("Google", "Cryptoki Library for Cloud KMS", path, "Google Cloud KMS");
    /* Others of the same makers, and no one's. */
    recognises("SafeNet, Inc.", "SafeNet eToken PKCS#11", path, NULL);
    recognises("Google", "another", path, NULL);
    recognises("Mozilla Foundation", "NSS Builtin Object Cryptoki", path, NULL);
    recognises("", "", path, NULL);
    recognises("softhsm", "Implementation of PKCS11", path, NULL);
    recognises(" SoftHSM", "Implementation of PKCS11", path, NULL);
}

static void by_file(void **state)
{
    (void)state;
    recognises("", "", "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so", "AWS CloudHSM");
    recognises("", "", "/opt/azurecloudhsm/lib64/libazcloudhsm_pkcs11.so", "Azure Cloud HSM");
    recognises("Cavium Networks", "", "/opt/azurecloudhsm/lib64/libazcloudhsm_pkcs11.so",
               "Azure Cloud HSM");
    recognises("", "", "libkmsp11.so", "Google Cloud KMS");
    recognises("", "", "/usr/lib/libcs_pkcs11_R3.so", "Utimaco");
    recognises("", "", "/libcknfast.so/module.so", NULL);
    assert_string_equal(kw_quirks_find(NULL, "/usr/lib/libsoftokn3.so")->name, "NSS softokn");
}

/* What is allowed for a kind of module is never allowed because of a file's name. */
static void a_name_allows_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"/usr/lib/softhsm/libsofthsm2.so", "libsofthsm2.so",
                                        "p11-kit-client.so", "x.so", ""};
    const CK_INFO other = info_of("another", "module");
    for (size_t i = 0; i < KW_COUNT(names); i++) {
        const struct kw_quirks *found[] = {kw_quirks_find(NULL, names[i]),
                                           kw_quirks_find(&other, names[i])};
        for (size_t j = 0; j < KW_COUNT(found); j++)
            assert_false(found[j]->in_process || found[j]->may_init);
    }
}

static void is_printed(void **state)
{
    (void)state;
    const CK_INFO info = info_of("SoftHSM", "Implementation of PKCS11");
    struct kw_buffer text = KW_BUFFER_INIT(sizeof(((struct kw_probe_result *)0)->details));
    assert_int_equal(kw_quirks_print(kw_quirks_find(&info, ""), &text), KW_OK);
    assert_int_equal(kw_buffer_append(&text, "", 1, NULL), KW_OK);
    assert_non_null(strstr((char *)text.data, "SoftHSM2; software in this process"));
    assert_non_null(strstr((char *)text.data, "token init"));
    kw_buffer_cleanup(&text);
}

/* ---- read-write sessions ---- */

static void decrypts_with(struct kw_fault *fault, bool works)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 2, &token, &err);
    assert_int_equal(status, works ? KW_OK : KW_TOKEN);
    if (!works)
        return;
    struct kw_token_key key = hsm_find_key(token, "kw-quirks");
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
    assert_int_equal(fault->sessions, 0);
}

static void sessions_as_the_module_has_them(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    decrypts_with(fault, true);
    assert_int_equal(fault->rw_opens, 0);
    assert_true(fault->ro_opens > 0);

    fault->no_ro_sessions = true;
    decrypts_with(fault, false);

    fault->manufacturer = "Cavium Networks";
    fault->description = "another";
    fault->ro_opens = 0;
    decrypts_with(fault, true);
    assert_int_equal(fault->ro_opens, 0);
    assert_true(fault->rw_opens > 1);
}

static void no_info_is_no_quirk(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->no_info = true;
    struct kw_module *module = NULL;
    assert_int_equal(kw_module_get(hsm_fault_path(), NULL, 0, &module, NULL), KW_OK);
    assert_null(kw_module_quirks(module)->name);
    kw_module_put(module);
}

static void the_module_for_trials(void **state)
{
    (void)state;
    const char *path = kw_trial_module();
    if (path)
        assert_int_equal(access(path, F_OK), 0);
    if (hsm.made_here)
        assert_non_null(path);
}

static const struct hsm_key keys[] = {
    {.label = "kw-quirks", .id = "\x51", .id_len = 1},
};

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(keys, KW_COUNT(keys));
    return result;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_info),
        cmocka_unit_test(by_file),
        cmocka_unit_test(a_name_allows_nothing),
        cmocka_unit_test(is_printed),
        cmocka_unit_test(sessions_as_the_module_has_them),
        cmocka_unit_test(no_info_is_no_quirk),
        cmocka_unit_test(the_module_for_trials),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
