/* Making, importing, changing and destroying keys, and that nothing is left of what failed. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static const uint8_t id_1[] = "\x01kw-make-test-id";

static int setup(void **state)
{
    int result = hsm_setup(state);
    static const struct hsm_key bystander = {
        .label = "kw-bystander", .id = "bystander", .id_len = 9, .unwrap = true};
    if (!result && hsm.there)
        hsm_prepare(&bystander, 1);
    return result;
}

static struct kw_key_plan a_plan(const char *label)
{
    return (struct kw_key_plan){.label = label,
                                .id = id_1,
                                .id_len = 16,
                                .bits = 2048,
                                .not_before = "2026-01-31",
                                .expires = "2028-02-29"};
}

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

/* ---- what is on the token, seen past the library ---- */

#define LINE 640
struct snapshot {
    char lines[512][LINE];
    size_t count;
};

static size_t read_attribute(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle,
                             CK_ATTRIBUTE_TYPE type, void *out, size_t capacity)
{
    CK_ATTRIBUTE attribute = {type, out, capacity};
    CK_RV rv = hsm_functions()->C_GetAttributeValue(session, handle, &attribute, 1);
    return rv == CKR_OK && attribute.ulValueLen <= capacity ? attribute.ulValueLen : 0;
}

static void describe(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle, char out[LINE])
{
    CK_OBJECT_CLASS class = 0;
    char label[257] = "", start[9] = "", end[9] = "";
    uint8_t id[255], modulus[16] = {0}, whole[KW_RSA_MAX_BYTES];
    char id_text[511] = "", modulus_text[33] = "";
    (void)read_attribute(session, handle, CKA_CLASS, &class, sizeof(class));
    label[read_attribute(session, handle, CKA_LABEL, label, 256)] = '\0';
    start[read_attribute(session, handle, CKA_START_DATE, start, 8)] = '\0';
    end[read_attribute(session, handle, CKA_END_DATE, end, 8)] = '\0';
    kw_hex_encode(id, read_attribute(session, handle, CKA_ID, id, sizeof(id)), id_text);
    if (read_attribute(session, handle, CKA_MODULUS, whole, sizeof(whole)) >= sizeof(modulus))
        memcpy(modulus, whole, sizeof(modulus));
    kw_hex_encode(modulus, sizeof(modulus), modulus_text);
    snprintf(out, LINE, "%lu|%.60s|%s|%s|%.80s|%s", class, label, start, end, id_text,
             modulus_text);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void take(struct snapshot *snapshot)
{
    CK_SESSION_HANDLE session = hsm_session();
    static CK_OBJECT_HANDLE handles[512];
    CK_ULONG count = 0;
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, NULL, 0), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, handles, 512, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    assert_in_range(count, 2, 511);
    for (CK_ULONG i = 0; i < count; i++)
        describe(session, handles[i], snapshot->lines[i]);
    snapshot->count = count;
    qsort(snapshot->lines, count, LINE, by_text);
    hsm_close(session);
}

static struct snapshot before, after;

static void assert_unchanged(void)
{
    take(&after);
    assert_int_equal(after.count, before.count);
    for (size_t i = 0; i < before.count; i++)
        assert_string_equal(after.lines[i], before.lines[i]);
}

static void assert_whole_pair_more(void)
{
    take(&after);
    assert_int_equal(after.count, before.count + 2);
}

/* ---- calls that have to go well, or badly ---- */

static struct kw_token_key make(struct kw_token *token, const struct kw_key_plan *plan)
{
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    if (kw_token_make_key(token, plan, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_int_equal(err.status, KW_OK);
    return key;
}

static void destroy(struct kw_token *token, const struct kw_token_key *key)
{
    struct kw_error err = {.status = KW_OK};
    if (kw_token_destroy_key(token, key, &err) != KW_OK)
        fail_msg("%s", err.message);
}

static void is_not_made(struct kw_token *token, const struct kw_key_plan *plan,
                        enum kw_status expected, const char *words)
{
    struct kw_token_key key, untouched;
    struct kw_error err = {.status = KW_OK};
    memset(&key, 0x5A, sizeof(key));
    memset(&untouched, 0x5A, sizeof(untouched));
    enum kw_status status = kw_token_make_key(token, plan, &key, &err);
    if (status != expected || err.status != expected)
        fail_msg("status %d: %s", (int)status, err.message);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    assert_memory_equal(&key, &untouched, sizeof(key));
}

static void is_not_imported(struct kw_token *token, const uint8_t *der, size_t len)
{
    struct kw_key_plan plan = a_plan("kw-damaged");
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    struct kw_secret *pkcs8;
    assert_int_equal(kw_secret_from(der, len, &pkcs8, NULL), KW_OK);
    enum kw_status status = kw_token_import_key(token, &plan, pkcs8, &key, &err);
    if (status != KW_KEY_UNUSABLE)
        fail_msg("status %d: %s", (int)status, err.message);
    kw_secret_free(pkcs8);
}

static bool flag_of(const struct kw_token_key *key, CK_OBJECT_CLASS class, CK_ATTRIBUTE_TYPE type)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_ID, (void *)key->id, key->id_len}};
    CK_OBJECT_HANDLE handles[2];
    CK_ULONG count = 0;
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, handles, 2, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    CK_BBOOL value = CK_FALSE;
    (void)read_attribute(session, handles[0], type, &value, sizeof(value));
    hsm_close(session);
    return value == CK_TRUE;
}

/* ---- making ---- */

static void a_key_is_as_planned(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    take(&before);
    static const unsigned sizes[] = {2048, 3072, 4096};
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        struct kw_key_plan plan = a_plan("kw-made");
        plan.bits = sizes[i];
        struct kw_token_key key = make(token, &plan);
        assert_whole_pair_more();
        assert_int_equal(kw_rsa_bits(&key.public), sizes[i]);
        assert_int_equal(key.public.exponent_len, 3);
        assert_memory_equal(key.public.exponent, "\1\0\1", 3);
        assert_string_equal(key.label, "kw-made");
        assert_int_equal(key.id_len, 16);
        assert_memory_equal(key.id, id_1, 16);
        assert_string_equal(key.not_before, "2026-01-31");
        assert_string_equal(key.expires, "2028-02-29");
        assert_true(key.sensitive && key.decrypt && key.unwrap && !key.extractable);
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        hsm_assert_unwraps(token, &key, KW_RSA1_5);
        struct kw_token_key listed = hsm_find_key(token, "kw-made");
        assert_memory_equal(&listed, &key, sizeof(key));
        destroy(token, &key);
        assert_unchanged();
    }
    kw_token_free(token);
}

static void usage_is_for_data_keys_only(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const struct {
        CK_OBJECT_CLASS class;
        CK_ATTRIBUTE_TYPE type;
        bool value;
    } flags[] = {
        {CKO_PRIVATE_KEY, CKA_DECRYPT, true},
        {CKO_PRIVATE_KEY, CKA_UNWRAP, true},
        {CKO_PRIVATE_KEY, CKA_SIGN, false},
        {CKO_PRIVATE_KEY, CKA_SIGN_RECOVER, false},
        {CKO_PRIVATE_KEY, CKA_DERIVE, false},
        {CKO_PRIVATE_KEY, CKA_TOKEN, true},
        {CKO_PRIVATE_KEY, CKA_PRIVATE, true},
        {CKO_PRIVATE_KEY, CKA_SENSITIVE, true},
        {CKO_PRIVATE_KEY, CKA_EXTRACTABLE, false},
        {CKO_PUBLIC_KEY, CKA_ENCRYPT, true},
        {CKO_PUBLIC_KEY, CKA_WRAP, true},
        {CKO_PUBLIC_KEY, CKA_VERIFY, false},
        {CKO_PUBLIC_KEY, CKA_VERIFY_RECOVER, false},
        {CKO_PUBLIC_KEY, CKA_DERIVE, false},
        {CKO_PUBLIC_KEY, CKA_TOKEN, true},
    };
    struct kw_token *token = hsm_open(0);
    struct kw_key_plan plan = a_plan("kw-made");
    struct kw_token_key key = make(token, &plan);
    for (size_t i = 0; i < KW_COUNT(flags); i++)
        if (flag_of(&key, flags[i].class, flags[i].type) != flags[i].value)
            fail_msg("attribute 0x%lx of class %lu", flags[i].type, flags[i].class);
    destroy(token, &key);
    kw_token_free(token);
}

static void extractable_and_without_dates(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_key_plan plan = a_plan("kw-extractable");
    plan.not_before = "";
    plan.expires = NULL;
    plan.extractable = true;
    struct kw_token_key key = make(token, &plan);
    assert_true(key.extractable && key.sensitive && !key.never_extractable);
    assert_string_equal(key.not_before, "");
    assert_string_equal(key.expires, "");
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    destroy(token, &key);
    kw_token_free(token);
}

static void an_id_that_is_taken(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_key_plan plan = a_plan("kw-first");
    struct kw_token_key key = make(token, &plan);
    take(&before);
    plan.label = "kw-second";
    is_not_made(token, &plan, KW_EXISTS, "private key with this id");
    assert_unchanged();
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);

    /* The public half alone is in the way too: the new pair would not be told from it. */
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, (void *)id_1, 16}};
    CK_OBJECT_HANDLE handle;
    CK_ULONG count = 0;
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, &handle, 1, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(hsm_functions()->C_DestroyObject(session, handle), CKR_OK);
    hsm_close(session);
    take(&before);
    is_not_made(token, &plan, KW_EXISTS, "public key with this id");
    assert_unchanged();

    destroy(token, &key); /* a half that is gone already */
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_token_destroy_key(token, &key, &err), KW_KEY_NOT_FOUND);
    kw_token_free(token);
}

static void plans_that_make_no_sense(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    take(&before);
    char long_label[KW_KEY_LABEL_MAX + 2];
    memset(long_label, 'x', sizeof(long_label) - 1);
    long_label[sizeof(long_label) - 1] = '\0';
    static const uint8_t long_id[KW_KEY_ID_MAX + 1];
    static const char *const dates[] = {
        "2026-02-30",  "2026-13-01", "2026-00-10", "2026-01-00", "2027-02-29",
        "2100-02-29",  "0000-01-01", "2026-1-01",  "20260101",   "2026/01/01",
        "2026-01-01 ", "tomorrow",   "2026-04-31", "-026-01-01", "2026-01-0a",
    };
    struct kw_key_plan plan = a_plan(long_label);
    is_not_made(token, &plan, KW_USAGE, "255 bytes");
    plan = a_plan("");
    is_not_made(token, &plan, KW_USAGE, "name");
    plan = a_plan("kw-\xff");
    is_not_made(token, &plan, KW_USAGE, "UTF-8");
    plan = a_plan("kw-bad");
    static const unsigned sizes[] = {0, 1024, 2047, 2056, 8192};
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        plan.bits = sizes[i];
        is_not_made(token, &plan, KW_USAGE, "2048, 3072 or 4096");
    }
    plan = a_plan("kw-bad");
    plan.id_len = 0;
    is_not_made(token, &plan, KW_USAGE, "id");
    plan.id = long_id;
    plan.id_len = sizeof(long_id);
    is_not_made(token, &plan, KW_USAGE, "id");
    for (size_t i = 0; i < KW_COUNT(dates); i++) {
        plan = a_plan("kw-bad");
        plan.expires = dates[i];
        is_not_made(token, &plan, KW_USAGE, "no date");
        plan.expires = "";
        plan.not_before = dates[i];
        is_not_made(token, &plan, KW_USAGE, "no date");
    }
    plan = a_plan("kw-bad");
    plan.not_before = "2028-03-01";
    is_not_made(token, &plan, KW_USAGE, "can't expire");
    assert_unchanged();
    kw_token_free(token);
}

/* ---- failures of the token ---- */

/* Fails each call of an operation in turn, in each way; `work` says whether it went well. What
 * takes long is done with the answers that are lost only. */
static void fail_each_call(struct kw_token *token, struct kw_fault *fault, bool takes_long,
                           bool (*work)(struct kw_token *token, struct kw_token_key *key),
                           void (*when_good)(struct kw_token *token, struct kw_token_key *key),
                           void (*when_bad)(void))
{
    struct hsm_cuts cuts = {.fault = fault,
                            .kinds = hsm_fault_kinds,
                            .count = HSM_FAULT_KINDS,
                            .kind = takes_long,
                            .stride = takes_long ? 2 : 1,
                            .limit = 100};
    while (hsm_cut_next(&cuts)) {
        struct kw_token_key key;
        hsm_cut_arm(&cuts);
        bool done = work(token, &key);
        hsm_cut_over(&cuts, done);
        if (done)
            when_good(token, &key);
        else
            when_bad();
    }
    hsm_cuts_end(&cuts, 5);
}

static bool try_make(struct kw_token *token, struct kw_token_key *key)
{
    struct kw_key_plan plan = a_plan("kw-faulty");
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_make_key(token, &plan, key, &err);
    if (status && (err.status != status || strstr(err.message, "could not be removed")))
        fail_msg("status %d: %s", (int)status, err.message);
    return status == KW_OK;
}

static void assert_made_and_destroy(struct kw_token *token, struct kw_token_key *key)
{
    assert_whole_pair_more();
    hsm_assert_unwraps(token, key, KW_RSA_OAEP);
    destroy(token, key);
    assert_unchanged();
}

static void make_whole_or_not_at_all(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    take(&before);
    fail_each_call(token, fault, true, try_make, assert_made_and_destroy, assert_unchanged);
    kw_token_free(token);
}

/* The token does not come back: nothing can be removed, but a pair is never torn. */
static void a_token_that_goes_for_good(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_key_plan plan = a_plan("kw-gone");
    bool reached = true;
    for (unsigned at = hsm_cut_after(0, 0); reached && at < 100; at = hsm_cut_after(at, 0)) {
        struct kw_token *token = open_faulty();
        take(&before);
        struct kw_token_key key;
        struct kw_error err = {.status = KW_OK};
        hsm_arm(fault, &(struct hsm_fault_kind){CKR_DEVICE_REMOVED, at % 2, 1000000}, at);
        enum kw_status status = kw_token_make_key(token, &plan, &key, &err);
        reached = fault->calls >= at;
        fault->fail_at = 0;
        take(&after);
        if (after.count != before.count)
            assert_int_equal(after.count, before.count + 2);
        if (status && after.count != before.count)
            assert_non_null(strstr(err.message, "could not be removed"));
        (void)hsm_find_key(token, "kw-bystander"); /* it is back */
        if (after.count != before.count) {
            struct kw_token_key left = hsm_find_key(token, "kw-gone");
            destroy(token, &left);
            assert_unchanged();
        }
        kw_token_free(token);
    }
    assert_false(reached);
}

static void a_token_that_forgets_a_date(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_key_plan plan = a_plan("kw-dateless");
    take(&before);
    fault->drop_dates = true;
    is_not_made(token, &plan, KW_KEY_UNUSABLE, "another dates");
    assert_unchanged();
    fault->drop_dates = false;
    kw_token_free(token);
}

static void a_token_that_makes_no_keys(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const CK_RV refusals[] = {CKR_MECHANISM_INVALID, CKR_KEY_SIZE_RANGE,
                                     CKR_TEMPLATE_INCONSISTENT, CKR_ATTRIBUTE_VALUE_INVALID,
                                     CKR_FUNCTION_NOT_SUPPORTED};
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_key_plan plan = a_plan("kw-refused");
    take(&before);
    for (size_t i = 0; i < KW_COUNT(refusals); i++) {
        fault->generate_answer = refusals[i];
        is_not_made(token, &plan, KW_KEY_UNUSABLE, "does not make a key");
        assert_unchanged();
    }
    fault->generate_answer = CKR_DEVICE_MEMORY;
    is_not_made(token, &plan, KW_TOKEN, "CKR_DEVICE_MEMORY");
    assert_unchanged();
    kw_token_free(token);
}

/* ---- importing ---- */

static uint8_t *a_pkcs8(unsigned bits, size_t *ret_len)
{
    EVP_PKEY *pkey = EVP_RSA_gen(bits);
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(pkey);
    uint8_t *der = NULL;
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    assert_true(len > 0);
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(pkey);
    *ret_len = (size_t)len;
    return der;
}

static struct kw_secret *imported;

static bool try_import(struct kw_token *token, struct kw_token_key *key)
{
    struct kw_key_plan plan = a_plan("kw-imported");
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_import_key(token, &plan, imported, key, &err);
    if (status && (err.status != status || strstr(err.message, "could not be removed")))
        fail_msg("status %d: %s", (int)status, err.message);
    return status == KW_OK;
}

static void an_imported_key_decrypts(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    static const unsigned sizes[] = {2048, 3072, 4096};
    take(&before);
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        size_t len;
        uint8_t *der = a_pkcs8(sizes[i], &len);
        assert_int_equal(kw_secret_new(len + 7, &imported, NULL), KW_OK);
        memcpy(kw_secret_data(imported), der, len);
        kw_secret_set_len(imported, len + (i == 0 ? 7 : 0)); /* zeros may follow */
        struct kw_key_plan plan = a_plan("kw-imported");
        plan.extractable = i == 1;
        struct kw_token_key key;
        struct kw_error err = {.status = KW_OK};
        if (kw_token_import_key(token, &plan, imported, &key, &err) != KW_OK)
            fail_msg("%s", err.message);
        assert_whole_pair_more();
        assert_int_equal(kw_rsa_bits(&key.public), sizes[i]);
        assert_true(key.sensitive && key.decrypt && key.unwrap && !key.local);
        assert_int_equal(key.extractable, i == 1);
        assert_string_equal(key.expires, "2028-02-29");
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        assert_int_equal(kw_token_import_key(token, &plan, imported, &key, &err), KW_EXISTS);
        assert_whole_pair_more();
        destroy(token, &key);
        assert_unchanged();
        kw_secret_free(imported);
        OPENSSL_clear_free(der, len);
    }
    kw_token_free(token);
}

static size_t count_remembered(const struct kw_token *token)
{
    size_t count = 0;
    for (size_t i = 0; i < KW_FOUND_KEYS; i++)
        count += token->found[i].used;
    return count;
}

/* The remembered handle of the old one may mean any other object by then. */
static void a_key_that_comes_back(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    size_t len;
    uint8_t *der = a_pkcs8(2048, &len);
    assert_int_equal(kw_secret_from(der, len, &imported, NULL), KW_OK);
    for (int round = 0; round < 3; round++) {
        struct kw_token_key key;
        assert_true(try_import(token, &key));
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        assert_int_equal(count_remembered(token), 1);
        destroy(token, &key);
        assert_int_equal(count_remembered(token), 0);
    }
    kw_secret_free(imported);
    OPENSSL_clear_free(der, len);
    kw_token_free(token);
}

static void damaged_keys_are_not_imported(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    size_t len;
    uint8_t *der = a_pkcs8(2048, &len), longer[2048] = {0};
    take(&before);
    for (size_t i = 0; i < len; i += 61) {
        der[i] ^= 0x10;
        is_not_imported(token, der, len);
        der[i] ^= 0x10;
    }
    for (size_t i = 0; i < len; i += 97)
        is_not_imported(token, der, i);
    memcpy(longer, der, len);
    is_not_imported(token, longer, len + 8);
    longer[len + 3] = 1;
    is_not_imported(token, longer, len + 4);
    assert_unchanged();
    OPENSSL_clear_free(der, len);
    kw_token_free(token);
}

static void import_whole_or_not_at_all(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    size_t len;
    uint8_t *der = a_pkcs8(2048, &len);
    assert_int_equal(kw_secret_from(der, len, &imported, NULL), KW_OK);
    take(&before);
    fail_each_call(token, fault, false, try_import, assert_made_and_destroy, assert_unchanged);
    kw_secret_free(imported);
    OPENSSL_clear_free(der, len);
    kw_token_free(token);
}

/* ---- unwrapping ---- */

static struct kw_buffer wrapped;
static struct kw_token_key kek;

/* A key, wrapped on the host for the one on the token that will be asked to unwrap it. */
static void wrap_for(struct kw_token *token, const char *kek_label)
{
    size_t len;
    uint8_t *der = a_pkcs8(2048, &len), random[KW_AES256_KEY_SIZE];
    struct kw_secret *aes, *pkcs8;
    kek = hsm_find_key(token, kek_label);
    wrapped = (struct kw_buffer)KW_BUFFER_INIT(KW_TRANSFER_MAX);
    assert_int_equal(kw_random(hsm.crypto, random, sizeof(random), NULL), KW_OK);
    assert_int_equal(kw_secret_from(random, sizeof(random), &aes, NULL), KW_OK);
    assert_int_equal(kw_secret_from(der, len, &pkcs8, NULL), KW_OK);
    assert_int_equal(kw_buffer_reserve(&wrapped, kek.public.modulus_len, NULL), KW_OK);
    assert_int_equal(kw_rsa_wrap(hsm.crypto, &kek.public, KW_RSA_OAEP, aes, wrapped.data, NULL),
                     KW_OK);
    wrapped.len = kek.public.modulus_len;
    assert_int_equal(kw_kwp_wrap(hsm.crypto, aes, pkcs8, &wrapped, NULL), KW_OK);
    kw_secret_free(pkcs8);
    kw_secret_free(aes);
    OPENSSL_clear_free(der, len);
}

static bool try_unwrap(struct kw_token *token, struct kw_token_key *key)
{
    struct kw_key_plan plan = a_plan("kw-unwrapped");
    return kw_token_unwrap_key(token, &kek, wrapped.data, wrapped.len, &plan, key, NULL) == KW_OK;
}

static void unwrap_whole_or_not_at_all(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    wrap_for(token, "kw-bystander");
    take(&before);
    fail_each_call(token, fault, true, try_unwrap, assert_made_and_destroy, assert_unchanged);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

/* How many halves the id has, which are taken away. */
static size_t take_away(CK_OBJECT_CLASS class)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_HANDLE handles[64];
    CK_ULONG count = 0;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, (void *)id_1, 16}};
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, handles, 64, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++)
        assert_int_equal(hsm_functions()->C_DestroyObject(session, handles[i]), CKR_OK);
    hsm_close(session);
    return count;
}

/* The token does not come back, so nothing can be removed: what is left is a whole key, or no
 * private one. */
static void a_private_key_that_is_left_is_whole(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    bool reached = true;
    size_t left[3] = {0};
    struct kw_throwaway *trial = NULL;
    assert_int_equal(kw_throwaway_new(hsm.crypto, &trial, NULL), KW_OK);
    for (unsigned at = 1; reached && at < 200; at++) {
        struct kw_token *token = open_faulty();
        if (at == 1)
            wrap_for(token, "kw-bystander");
        token->trial = trial; /* making one takes long */
        struct kw_token_key key;
        hsm_arm(fault, &(struct hsm_fault_kind){CKR_DEVICE_REMOVED, at % 2, 1000000}, at);
        (void)try_unwrap(token, &key);
        reached = fault->calls >= at;
        fault->fail_at = 0;
        (void)hsm_find_key(token, "kw-bystander"); /* it is back */
        size_t private = take_away(CKO_PRIVATE_KEY), public = take_away(CKO_PUBLIC_KEY);
        assert_true(private <= public && public <= 1);
        left[private + public]++;
        token->trial = NULL;
        kw_token_free(token);
    }
    kw_throwaway_free(trial);
    kw_buffer_cleanup(&wrapped);
    assert_false(reached);
    print_message("nothing left: %zu, a public half: %zu, both: %zu\n", left[0], left[1], left[2]);
    assert_true(left[0] > 0 && left[1] > 0 && left[2] > 0);
}

/* ---- changing ---- */

static struct kw_token_key changing;

static bool try_change(struct kw_token *token, struct kw_token_key *key)
{
    const struct kw_key_change change = {
        .label = "kw-new-name", .not_before = "2027-01-01", .expires = "2027-12-31"};
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_token_change_key(token, &changing, &change, key, &err);
    if (status && (err.status != status || strstr(err.message, "could not be set back")))
        fail_msg("status %d: %s", (int)status, err.message);
    return status == KW_OK;
}

static void assert_changed_and_change_back(struct kw_token *token, struct kw_token_key *key)
{
    assert_string_equal(key->label, "kw-new-name");
    assert_string_equal(key->not_before, "2027-01-01");
    assert_string_equal(key->expires, "2027-12-31");
    struct kw_token_key listed = hsm_find_key(token, "kw-new-name");
    assert_memory_equal(&listed, key, sizeof(listed));
    take(&after);
    size_t renamed = 0;
    for (size_t i = 0; i < after.count; i++)
        renamed += strstr(after.lines[i], "|kw-new-name|") != NULL;
    assert_int_equal(renamed, 2);
    const struct kw_key_change change = {
        .label = changing.label, .not_before = changing.not_before, .expires = changing.expires};
    struct kw_error err = {.status = KW_OK};
    if (kw_token_change_key(token, key, &change, key, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_unchanged();
}

static void change_both_halves_or_none(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_key_plan plan = a_plan("kw-changing");
    changing = make(token, &plan);
    take(&before);
    fail_each_call(token, fault, false, try_change, assert_changed_and_change_back,
                   assert_unchanged);
    static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    for (size_t i = 0; i < KW_COUNT(classes); i++) {
        struct kw_token_key key;
        fault->no_change_of = &classes[i];
        bool done = try_change(token, &key);
        fault->no_change_of = NULL;
        assert_false(done);
        assert_unchanged();
    }
    destroy(token, &changing);
    kw_token_free(token);
}

static void one_thing_at_a_time(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_key_plan plan = a_plan("kw-changing");
    struct kw_token_key key = make(token, &plan), changed;
    struct kw_error err = {.status = KW_OK};
    struct kw_key_change change = {.expires = ""};
    if (kw_token_change_key(token, &key, &change, &changed, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_string_equal(changed.label, "kw-changing");
    assert_string_equal(changed.not_before, "2026-01-31");
    assert_string_equal(changed.expires, "");
    change = (struct kw_key_change){.label = NULL};
    assert_int_equal(kw_token_change_key(token, &key, &change, &changed, &err), KW_OK);
    assert_string_equal(changed.expires, "");
    take(&before);
    const struct kw_key_change bad[] = {{.label = ""},
                                        {.expires = "2026-02-30"},
                                        {.not_before = "x"},
                                        {.expires = "2026-01-30"},
                                        {.not_before = "2027-01-01", .expires = "2026-12-31"}};
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        assert_int_equal(kw_token_change_key(token, &key, &bad[i], &changed, &err), KW_USAGE);
    assert_unchanged();
    destroy(token, &key);
    change = (struct kw_key_change){.label = "kw-late"};
    assert_int_equal(kw_token_change_key(token, &key, &change, &changed, &err), KW_KEY_NOT_FOUND);
    kw_token_free(token);
}

/* ---- destroying ---- */

static void destroying_goes_by_modulus(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_key_plan plan = a_plan("kw-replaced");
    struct kw_token_key old = make(token, &plan);
    destroy(token, &old);
    struct kw_token_key new = make(token, &plan);
    take(&before);
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_token_destroy_key(token, &old, &err), KW_KEY_NOT_FOUND);
    struct kw_token_key blank = new;
    memset(&blank.public, 0, sizeof(blank.public));
    assert_int_equal(kw_token_destroy_key(token, &blank, &err), KW_KEY_UNUSABLE);
    assert_unchanged();
    destroy(token, &new);
    kw_token_free(token);
}

static void log_out_behind(void)
{
    CK_SESSION_HANDLE session = hsm_session();
    assert_int_equal(hsm_functions()->C_Logout(session), CKR_OK);
    hsm_close(session);
}

static void a_lost_login_does_not_hide_keys(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    take(&before);
    struct kw_key_plan plan = a_plan("kw-login");
    log_out_behind();
    struct kw_token_key key = make(token, &plan);
    log_out_behind();
    is_not_made(token, &plan, KW_EXISTS, "id");
    log_out_behind();
    destroy(token, &key);
    assert_unchanged();
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_as_planned),
        cmocka_unit_test(usage_is_for_data_keys_only),
        cmocka_unit_test(extractable_and_without_dates),
        cmocka_unit_test(an_id_that_is_taken),
        cmocka_unit_test(plans_that_make_no_sense),
        cmocka_unit_test(a_token_that_forgets_a_date),
        cmocka_unit_test(a_token_that_makes_no_keys),
        cmocka_unit_test(an_imported_key_decrypts),
        cmocka_unit_test(a_key_that_comes_back),
        cmocka_unit_test(damaged_keys_are_not_imported),
        cmocka_unit_test(one_thing_at_a_time),
        cmocka_unit_test(destroying_goes_by_modulus),
        cmocka_unit_test(a_lost_login_does_not_hide_keys),
        cmocka_unit_test(change_both_halves_or_none),
        cmocka_unit_test(import_whole_or_not_at_all),
        cmocka_unit_test(unwrap_whole_or_not_at_all),
        cmocka_unit_test(a_private_key_that_is_left_is_whole),
        cmocka_unit_test(make_whole_or_not_at_all),
        cmocka_unit_test(a_token_that_goes_for_good),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
