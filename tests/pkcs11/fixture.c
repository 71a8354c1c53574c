#include "fixture.h"

#include <dlfcn.h>
#include <ftw.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <p11-kit/uri.h>

#define TOKEN_LABEL "keyward test"
#define OWN_PIN     "12345678"
#define SO_PIN      "87654321"

struct hsm hsm;

/* ---- the token ---- */

static bool find_softhsm(void)
{
    static const char *const places[] = {
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib/*/softhsm/libsofthsm2.so",
        "/usr/lib*/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    };
    for (size_t i = 0; i < KW_COUNT(places); i++) {
        glob_t found;
        bool there = glob(places[i], 0, NULL, &found) == 0 && found.gl_pathc > 0;
        if (there)
            snprintf(hsm.module, sizeof(hsm.module), "%s", found.gl_pathv[0]);
        globfree(&found);
        if (there)
            return true;
    }
    return false;
}

static void make_softhsm_folder(void)
{
    char path[128];
    snprintf(hsm.folder, sizeof(hsm.folder), "/tmp/keyward-test-XXXXXX");
    assert_non_null(mkdtemp(hsm.folder));
    snprintf(path, sizeof(path), "%s/tokens", hsm.folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/softhsm2.conf", hsm.folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "directories.tokendir = %s/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
            hsm.folder);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("SOFTHSM2_CONF", path, 1), 0);
}

void hsm_make_token(const char *label)
{
    CK_FUNCTION_LIST *functions = hsm_functions();
    hsm_begin();
    CK_SLOT_ID slots[64], slot = 0;
    CK_ULONG count = KW_COUNT(slots);
    bool found = false;
    assert_int_equal(functions->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count && !found; i++) {
        CK_TOKEN_INFO info;
        found = functions->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
                !(info.flags & CKF_TOKEN_INITIALIZED);
        slot = slots[i];
    }
    assert_true(found);
    unsigned char padded[32];
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, strlen(label));
    assert_int_equal(functions->C_InitToken(slot, (unsigned char *)SO_PIN, strlen(SO_PIN), padded),
                     CKR_OK);
    CK_SESSION_HANDLE session;
    assert_int_equal(
        functions->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session),
        CKR_OK);
    assert_int_equal(functions->C_Login(session, CKU_SO, (unsigned char *)SO_PIN, strlen(SO_PIN)),
                     CKR_OK);
    assert_int_equal(functions->C_InitPIN(session, (unsigned char *)OWN_PIN, strlen(OWN_PIN)),
                     CKR_OK);
    hsm_end();
}

/* As tests/tokens/ gives it: a URI with more than is wanted here, the PIN in a file. */
static bool use_given_token(void)
{
    const char *module = getenv("KW_TEST_MODULE"), *uri = getenv("KW_TEST_TOKEN");
    const char *pin_file = getenv("KW_TEST_PIN_FILE");
    if (module && getenv("KW_TEST_TOKEN_URI") && getenv("KW_TEST_PIN")) {
        snprintf(hsm.module, sizeof(hsm.module), "%s", module);
        snprintf(hsm.uri, sizeof(hsm.uri), "%s", getenv("KW_TEST_TOKEN_URI"));
        snprintf(hsm.pin, sizeof(hsm.pin), "%s", getenv("KW_TEST_PIN"));
        return true;
    }
    if (!module || !uri || !pin_file)
        return false;
    snprintf(hsm.module, sizeof(hsm.module), "%s", module);
    snprintf(hsm.uri, sizeof(hsm.uri), "%.*s", (int)strcspn(uri, "?"), uri);
    FILE *file = fopen(pin_file, "r");
    assert_non_null(file);
    assert_non_null(fgets(hsm.pin, sizeof(hsm.pin), file));
    assert_int_equal(fclose(file), 0);
    hsm.pin[strcspn(hsm.pin, "\r\n")] = '\0';
    return true;
}

int hsm_setup(void **state)
{
    (void)state;
    assert_int_equal(kw_secret_start(NULL), KW_OK);
    assert_int_equal(kw_crypto_new(false, &hsm.crypto, NULL), KW_OK);
    if (use_given_token()) {
        hsm.there = true;
    } else if (find_softhsm()) {
        hsm.there = true;
        hsm.made_here = true;
        make_softhsm_folder();
        snprintf(hsm.uri, sizeof(hsm.uri), "pkcs11:token=keyward%%20test");
        snprintf(hsm.pin, sizeof(hsm.pin), "%s", OWN_PIN);
        hsm_make_token(TOKEN_LABEL);
    }
    return setenv("KW_FAULT_REAL_MODULE", hsm.module, 1);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

int hsm_teardown(void **state)
{
    (void)state;
    if (hsm.made_here) {
        (void)nftw(hsm.folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    } else if (hsm.there) {
        hsm_begin();
        CK_SESSION_HANDLE session = hsm_session();
        hsm_clean(session);
        hsm_end();
    }
    kw_crypto_free(hsm.crypto);
    memset(&hsm, 0, sizeof(hsm));
    return 0;
}

void hsm_skip(const char *why)
{
    print_message("skipped: %s\n", why);
    skip();
}

/* ---- the module itself ---- */

CK_FUNCTION_LIST *hsm_functions(void)
{
    static CK_FUNCTION_LIST *functions;
    if (functions)
        return functions;
    void *library = dlopen(hsm.module, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    void *symbol = dlsym(library, "C_GetFunctionList");
    assert_non_null(symbol);
    CK_RV (*get)(CK_FUNCTION_LIST **);
    memcpy(&get, &symbol, sizeof(get));
    assert_int_equal(get(&functions), CKR_OK);
    return functions;
}

void hsm_begin(void)
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    assert_int_equal(hsm_functions()->C_Initialize(&args), CKR_OK);
}

void hsm_end(void)
{
    assert_int_equal(hsm_functions()->C_Finalize(NULL), CKR_OK);
}

CK_SLOT_ID hsm_slot(const char *uri)
{
    CK_SLOT_ID slots[64], slot = 0;
    CK_ULONG count = KW_COUNT(slots);
    size_t found = 0;
    P11KitUri *parsed = p11_kit_uri_new();
    assert_int_equal(p11_kit_uri_parse(uri, P11_KIT_URI_FOR_ANY, parsed), P11_KIT_URI_OK);
    assert_int_equal(hsm_functions()->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (hsm_functions()->C_GetTokenInfo(slots[i], &info) != CKR_OK ||
            !p11_kit_uri_match_token_info(parsed, &info))
            continue;
        slot = slots[i];
        found++;
    }
    p11_kit_uri_free(parsed);
    assert_int_equal(found, 1);
    return slot;
}

CK_SESSION_HANDLE hsm_session(void)
{
    CK_SESSION_HANDLE session;
    CK_RV rv = hsm_functions()->C_OpenSession(
        hsm_slot(hsm.uri), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    assert_int_equal(rv, CKR_OK);
    rv = hsm_functions()->C_Login(session, CKU_USER, (unsigned char *)hsm.pin, strlen(hsm.pin));
    assert_true(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN);
    return session;
}

void hsm_close(CK_SESSION_HANDLE session)
{
    assert_int_equal(hsm_functions()->C_CloseSession(session), CKR_OK);
}

/* ---- keys ---- */

static CK_BBOOL yes = CK_TRUE;
static CK_BBOOL no = CK_FALSE;

static CK_ATTRIBUTE boolean(CK_ATTRIBUTE_TYPE type, bool value)
{
    return (CK_ATTRIBUTE){type, value ? &yes : &no, sizeof(yes)};
}

static CK_ULONG add_names(CK_ATTRIBUTE *attributes, CK_ULONG count, const struct hsm_key *key)
{
    attributes[count++] = (CK_ATTRIBUTE){CKA_LABEL, (void *)key->label, strlen(key->label)};
    attributes[count++] = (CK_ATTRIBUTE){CKA_ID, (void *)key->id, key->id_len};
    if (key->start)
        attributes[count++] = (CK_ATTRIBUTE){CKA_START_DATE, (void *)key->start, 8};
    if (key->end)
        attributes[count++] = (CK_ATTRIBUTE){CKA_END_DATE, (void *)key->end, 8};
    return count;
}

static CK_ULONG private_attributes(CK_ATTRIBUTE *attributes, const struct hsm_key *key)
{
    CK_ULONG count = 0;
    attributes[count++] = boolean(CKA_TOKEN, true);
    attributes[count++] = boolean(CKA_PRIVATE, true);
    attributes[count++] = boolean(CKA_SENSITIVE, true);
    attributes[count++] = boolean(CKA_EXTRACTABLE, key->extractable);
    attributes[count++] = boolean(CKA_DECRYPT, !key->no_decrypt);
    attributes[count++] = boolean(CKA_UNWRAP, key->unwrap);
    if (key->always_authenticate)
        attributes[count++] = boolean(CKA_ALWAYS_AUTHENTICATE, true);
    return add_names(attributes, count, key);
}

CK_OBJECT_HANDLE hsm_generate(CK_SESSION_HANDLE session, const struct hsm_key *key)
{
    CK_ATTRIBUTE public[8], private[16];
    CK_ULONG bits = key->bits ? key->bits : 2048, count = 0;
    unsigned char exponent[] = {1, 0, 1};
    public[count++] = boolean(CKA_TOKEN, true);
    public[count++] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof(bits)};
    public[count++] = (CK_ATTRIBUTE){CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent)};
    count = add_names(public, count, key);
    CK_ULONG private_count = private_attributes(private, key);
    CK_MECHANISM mechanism = {.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN};
    CK_OBJECT_HANDLE public_handle, private_handle;
    CK_RV rv = hsm_functions()->C_GenerateKeyPair(session, &mechanism, public, count, private,
                                                  private_count, &public_handle, &private_handle);
    assert_int_equal(rv, CKR_OK);
    if (key->no_public)
        assert_int_equal(hsm_functions()->C_DestroyObject(session, public_handle), CKR_OK);
    return private_handle;
}

static CK_ULONG add_number(const EVP_PKEY *pkey, const char *name, CK_ATTRIBUTE_TYPE type,
                           uint8_t out[KW_RSA_MAX_BYTES], CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, name, &number), 1);
    assert_true(BN_num_bytes(number) <= KW_RSA_MAX_BYTES);
    CK_ULONG len = (CK_ULONG)BN_bn2bin(number, out);
    BN_clear_free(number);
    attributes[count] = (CK_ATTRIBUTE){type, out, len};
    return count + 1;
}

struct kw_secret *hsm_new_pkcs8(void)
{
    struct kw_secret *pkcs8 = NULL;
    EVP_PKEY *pkey = EVP_RSA_gen(2048);
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    uint8_t *der = NULL;
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    assert_true(len > 0);
    assert_int_equal(kw_secret_from(der, (size_t)len, &pkcs8, NULL), KW_OK);
    OPENSSL_clear_free(der, (size_t)len);
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(pkey);
    return pkcs8;
}

bool hsm_import(CK_SESSION_HANDLE session, const struct hsm_key *key, const uint8_t *pkcs8,
                size_t len, CK_OBJECT_HANDLE *ret_handle)
{
    static const struct {
        const char *name;
        CK_ATTRIBUTE_TYPE type;
    } numbers[] = {
        {OSSL_PKEY_PARAM_RSA_N, CKA_MODULUS},
        {OSSL_PKEY_PARAM_RSA_E, CKA_PUBLIC_EXPONENT},
        {OSSL_PKEY_PARAM_RSA_D, CKA_PRIVATE_EXPONENT},
        {OSSL_PKEY_PARAM_RSA_FACTOR1, CKA_PRIME_1},
        {OSSL_PKEY_PARAM_RSA_FACTOR2, CKA_PRIME_2},
        {OSSL_PKEY_PARAM_RSA_EXPONENT1, CKA_EXPONENT_1},
        {OSSL_PKEY_PARAM_RSA_EXPONENT2, CKA_EXPONENT_2},
        {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, CKA_COEFFICIENT},
    };
    uint8_t values[KW_COUNT(numbers)][KW_RSA_MAX_BYTES];
    EVP_PKEY *pkey = d2i_AutoPrivateKey(NULL, &pkcs8, (long)len);
    assert_non_null(pkey);
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_ATTRIBUTE attributes[32] = {{CKA_CLASS, &class, sizeof(class)},
                                   {CKA_KEY_TYPE, &type, sizeof(type)}};
    CK_ULONG count = 2 + private_attributes(attributes + 2, key);
    for (size_t i = 0; i < KW_COUNT(numbers); i++)
        count = add_number(pkey, numbers[i].name, numbers[i].type, values[i], attributes, count);
    EVP_PKEY_free(pkey);
    CK_RV rv = hsm_functions()->C_CreateObject(session, attributes, count, ret_handle);
    if (rv != CKR_OK)
        print_message("C_CreateObject: 0x%lx\n", rv);
    return rv == CKR_OK;
}

void hsm_clean(CK_SESSION_HANDLE session)
{
    CK_OBJECT_HANDLE handles[4096];
    CK_ULONG count = 0;
    CK_FUNCTION_LIST *functions = hsm_functions();
    assert_int_equal(functions->C_FindObjectsInit(session, NULL, 0), CKR_OK);
    assert_int_equal(functions->C_FindObjects(session, handles, KW_COUNT(handles), &count), CKR_OK);
    assert_int_equal(functions->C_FindObjectsFinal(session), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        char label[256];
        CK_ATTRIBUTE attribute = {CKA_LABEL, label, sizeof(label)};
        if (functions->C_GetAttributeValue(session, handles[i], &attribute, 1) == CKR_OK &&
            attribute.ulValueLen >= 2 && memcmp(label, "kw", 2) == 0)
            assert_int_equal(functions->C_DestroyObject(session, handles[i]), CKR_OK);
    }
}

void hsm_prepare(const struct hsm_key *keys, size_t count)
{
    hsm_begin();
    CK_SESSION_HANDLE session = hsm_session();
    hsm_clean(session);
    for (size_t i = 0; i < count; i++)
        (void)hsm_generate(session, &keys[i]);
    hsm_end();
}

/* ---- the library ---- */

enum kw_status hsm_give_pin(void *context, const struct kw_token_info *token,
                            struct kw_secret **ret_pin, struct kw_error *err)
{
    struct given_pin *given = context;
    given->asked++;
    assert_true(token->initialized);
    if (!given->pin)
        return kw_fail(err, KW_PIN_MISSING, "no PIN for the test");
    return kw_secret_from(given->pin, strlen(given->pin), ret_pin, err);
}

enum kw_status hsm_try_open(const char *module, const char *uri, const char *pin, size_t sessions,
                            struct kw_token **ret_token, struct kw_error *err)
{
    /* Used again when the login is lost, so it must outlive the token. */
    static struct given_pin given;
    struct kw_uri *parsed = NULL;
    if (uri)
        assert_int_equal(kw_uri_parse(uri, &parsed, err), KW_OK);
    given = (struct given_pin){.pin = pin};
    const struct kw_token_options options = {
        .module = module,
        .uri = parsed,
        .max_sessions = sessions,
        .pin = hsm_give_pin,
        .pin_context = &given,
    };
    enum kw_status status = kw_token_open(hsm.crypto, &options, ret_token, err);
    kw_uri_free(parsed);
    return status;
}

struct kw_token *hsm_open(size_t sessions)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm.module, hsm.uri, hsm.pin, sessions, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

struct kw_token_key hsm_find_key(struct kw_token *token, const char *label)
{
    struct kw_token_key *keys = NULL, key;
    size_t count = 0, found = 0;
    struct kw_error err = {.status = KW_OK};
    if (kw_token_keys(token, &keys, &count, &err) != KW_OK)
        fail_msg("%s", err.message);
    memset(&key, 0, sizeof(key));
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].label, label) == 0) {
            key = keys[i];
            found++;
        }
    free(keys);
    assert_int_equal(found, 1);
    return key;
}

static const uint8_t known_bytes[32] = "0123456789abcdef0123456789ABCDE";

size_t hsm_wrap(const struct kw_token_key *key, enum kw_wrap_alg alg, uint8_t out[KW_RSA_MAX_BYTES])
{
    struct kw_secret *secret;
    assert_int_equal(kw_secret_from(known_bytes, sizeof(known_bytes), &secret, NULL), KW_OK);
    assert_int_equal(kw_rsa_wrap(hsm.crypto, &key->public, alg, secret, out, NULL), KW_OK);
    kw_secret_free(secret);
    return key->public.modulus_len;
}

bool hsm_is_known_secret(const struct kw_secret *secret)
{
    return kw_secret_len(secret) == sizeof(known_bytes) &&
           memcmp(kw_secret_bytes(secret), known_bytes, sizeof(known_bytes)) == 0;
}

void hsm_assert_unwraps(struct kw_token *token, const struct kw_token_key *key,
                        enum kw_wrap_alg alg)
{
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(key, alg, wrapped);
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_token_decrypt(token, key, alg, wrapped, len, &secret, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_true(hsm_is_known_secret(secret));
    kw_secret_free(secret);
    assert_int_equal(err.status, KW_OK); /* untouched */
}

/* ---- faults ---- */

const char *hsm_fault_path(void)
{
    return KW_TEST_FAULT_MODULE;
}

void *hsm_fault_symbol(const char *name)
{
    void *library = dlopen(hsm_fault_path(), RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    void *symbol = dlsym(library, name);
    assert_non_null(symbol);
    return symbol;
}

struct kw_fault *hsm_fault(void)
{
    void *symbol = hsm_fault_symbol("kw_fault_control");
    kw_fault_control_fn control;
    memcpy(&control, &symbol, sizeof(control));
    struct kw_fault *fault = control();
    memset(fault, 0, sizeof(*fault));
    return fault;
}

const struct hsm_fault_kind hsm_fault_kinds[HSM_FAULT_KINDS] = {
    {CKR_GENERAL_ERROR, false, 1},          {CKR_GENERAL_ERROR, true, 1},
    {CKR_SESSION_HANDLE_INVALID, false, 1}, {CKR_SESSION_HANDLE_INVALID, true, 1},
    {CKR_DEVICE_REMOVED, true, 1},          {CKR_DEVICE_ERROR, true, 3},
};

void hsm_arm(struct kw_fault *fault, const struct hsm_fault_kind *kind, unsigned at)
{
    fault->fail_calls = kind->calls;
    fault->fail_late = kind->late;
    fault->fail_answer = kind->answer;
    fault->calls = 0;
    fault->fail_at = at;
}

static unsigned cut_step(void)
{
    const char *step = getenv("KW_TEST_CALL_STEP");
    int number = step ? atoi(step) : 3;
    assert_in_range(number, 1, 100);
    return (unsigned)number;
}

unsigned hsm_cut_after(unsigned at, size_t phase)
{
    return at > 0 ? at + cut_step() : 1 + (unsigned)phase % cut_step();
}

bool hsm_cut_next(struct hsm_cuts *cuts)
{
    if (cuts->at > 0 && !cuts->reached) {
        cuts->kind += cuts->stride;
        cuts->at = 0;
    }
    if (cuts->kind >= cuts->count)
        return false;
    cuts->at = hsm_cut_after(cuts->at, cuts->kind);
    assert_true(cuts->at < cuts->limit);
    return true;
}

void hsm_cut_arm(struct hsm_cuts *cuts)
{
    hsm_arm(cuts->fault, &cuts->kinds[cuts->kind], cuts->at);
}

void hsm_cut_over(struct hsm_cuts *cuts, bool done)
{
    cuts->reached = cuts->fault->calls >= cuts->at;
    cuts->fault->fail_at = 0;
    *(done ? &cuts->good : &cuts->bad) += cuts->reached;
}

void hsm_cuts_end(const struct hsm_cuts *cuts, unsigned least)
{
    unsigned step = cut_step();
    print_message("%u calls were survived, %u were not\n", cuts->good, cuts->bad);
    assert_true(cuts->good > 0 && cuts->bad >= (step == 1 ? least : least > 0));
}
