/* Listing keys and what the token tells of them. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static const struct hsm_key keys[] = {
    {.label = "kw-plain", .id = "\x57\x00\x73", .id_len = 3},
    {.label = "kw-dated", .id = "\x02", .id_len = 1, .start = "20260102", .end = "20271231"},
    {.label = "kw-3072", .id = "0123456789abcdef0123456789abcdef", .id_len = 32, .bits = 3072},
    {.label = "kw-4096", .id = "\x04", .id_len = 1, .bits = 4096},
    {.label = "kw-1024", .id = "\x05", .id_len = 1, .bits = 1024},
    {.label = "kw-open", .id = "\x06", .id_len = 1, .extractable = true, .unwrap = true},
    {.label = "kw-alone", .id = "\x07", .id_len = 1, .no_public = true, .end = "20280229"},
    {.label = "kw-b\xffytes \xc3\xa4 '\"\n", .id = "\x08", .id_len = 1},
    {.label = "kw-same", .id = "\x09", .id_len = 1, .end = "20300101"},
    {.label = "kw-same", .id = "\x09", .id_len = 1, .end = "20310101"},
};

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(keys, KW_COUNT(keys));
    return result;
}

static void attributes_of_a_key(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-plain");
    assert_int_equal(key.id_len, 3);
    assert_memory_equal(key.id, "\x57\x00\x73", 3);
    assert_int_equal(kw_rsa_bits(&key.public), 2048);
    assert_int_equal(key.public.exponent_len, 3);
    assert_memory_equal(key.public.exponent, "\x01\x00\x01", 3);
    assert_true(key.decrypt);
    assert_false(key.unwrap);
    assert_true(key.sensitive);
    assert_false(key.extractable);
    assert_true(key.never_extractable);
    assert_false(key.always_authenticate);
    if (hsm.made_here)
        assert_true(key.local); /* not every token says so after making it */
    assert_string_equal(key.not_before, "");
    assert_string_equal(key.expires, "");

    key = hsm_find_key(token, "kw-open");
    assert_true(key.extractable);
    assert_false(key.never_extractable);
    assert_true(key.unwrap);
    kw_token_free(token);
}

static void dates(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-dated");
    assert_string_equal(key.not_before, "2026-01-02");
    assert_string_equal(key.expires, "2027-12-31");
    key = hsm_find_key(token, "kw-alone");
    /* SoftHSM2 can't read dates on private objects, and this one has no public half. */
    assert_string_equal(key.expires, hsm.made_here ? "" : "2028-02-29");
    kw_token_free(token);
}

/* Two pairs of one id: each has its own date, told apart by the modulus. */
static void dates_of_two_keys_with_one_id(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key *all = NULL;
    size_t count = 0;
    bool seen_2030 = false, seen_2031 = false;
    assert_int_equal(kw_token_keys(token, &all, &count, NULL), KW_OK);
    for (size_t i = 0; i < count; i++) {
        seen_2030 |= strcmp(all[i].expires, "2030-01-01") == 0;
        seen_2031 |= strcmp(all[i].expires, "2031-01-01") == 0;
        if (strcmp(all[i].label, "kw-same") == 0)
            hsm_assert_unwraps(token, &all[i], KW_RSA_OAEP);
    }
    assert_true(seen_2030 && seen_2031);
    free(all);
    kw_token_free(token);
}

/* One pair under two ids: each has the date of its own public half. */
static void dates_of_one_key_with_two_ids(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    CK_SESSION_HANDLE session = hsm_session();
    const struct hsm_key made = {.label = "kw-first", .id = "\x0b", .id_len = 1, .end = "20320101"};
    CK_OBJECT_HANDLE private = hsm_generate(session, &made), public = 0, copy;
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, "\x0b", 1}};
    CK_ULONG count = 0;
    CK_FUNCTION_LIST *functions = hsm_functions();
    assert_int_equal(functions->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(functions->C_FindObjects(session, &public, 1, &count), CKR_OK);
    assert_int_equal(functions->C_FindObjectsFinal(session), CKR_OK);
    assert_int_equal(count, 1);
    CK_ATTRIBUTE changes[] = {
        {CKA_ID, "\x0b\x00", 2}, {CKA_LABEL, "kw-second", 9}, {CKA_END_DATE, "20330101", 8}};
    assert_int_equal(functions->C_CopyObject(session, private, changes, 3, &copy), CKR_OK);
    assert_int_equal(functions->C_CopyObject(session, public, changes, 3, &copy), CKR_OK);
    struct kw_token_key first = hsm_find_key(token, "kw-first");
    struct kw_token_key second = hsm_find_key(token, "kw-second");
    assert_memory_equal(&first.public, &second.public, sizeof(first.public));
    assert_string_equal(first.expires, "2032-01-01");
    assert_string_equal(second.expires, "2033-01-01");
    hsm_assert_unwraps(token, &second, KW_RSA_OAEP);
    hsm_close(session);
    kw_token_free(token);
}

static void sizes(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-3072");
    assert_int_equal(kw_rsa_bits(&key.public), 3072);
    assert_int_equal(key.id_len, 32);
    assert_memory_equal(key.id, "0123456789abcdef0123456789abcdef", 32);
    key = hsm_find_key(token, "kw-4096");
    assert_int_equal(kw_rsa_bits(&key.public), 4096);
    assert_int_equal(key.public.modulus_len, 512);
    for (int alg = 0; alg < KW_WRAP_ALG_COUNT; alg++)
        hsm_assert_unwraps(token, &key, (enum kw_wrap_alg)alg);
    key = hsm_find_key(token, "kw-1024");
    assert_int_equal(key.public.modulus_len, 0);
    kw_token_free(token);
}

static void labels_as_they_are(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_token_key key = hsm_find_key(token, "kw-b\xffytes \xc3\xa4 '\"\n");
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    struct kw_uri *uri = NULL;
    assert_int_equal(
        kw_uri_parse("pkcs11:object=kw-b%FFytes%20%C3%A4%20%27%22%0A;id=%08", &uri, NULL), KW_OK);
    assert_true(kw_uri_matches_key(uri, &key));
    kw_uri_free(uri);
    kw_token_free(token);
}

/* A label with NULs after it, as some tools write it, an elliptic curve key and an RSA key that
 * is a session object only. */
static void other_objects(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_HANDLE handle =
        hsm_generate(session, &(struct hsm_key){.label = "kw-padded", .id = "\x0a", .id_len = 1});
    CK_ATTRIBUTE label = {CKA_LABEL, "kw-padded\0\0\0", 12};
    assert_int_equal(hsm_functions()->C_SetAttributeValue(session, handle, &label, 1), CKR_OK);
    struct kw_token_key key = hsm_find_key(token, "kw-padded");
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);

    struct kw_token_key *before = NULL, *after = NULL;
    size_t count_before = 0, count_after = 0;
    assert_int_equal(kw_token_keys(token, &before, &count_before, NULL), KW_OK);
    unsigned char p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    CK_ATTRIBUTE curve = {CKA_EC_PARAMS, p256, sizeof(p256)};
    CK_MECHANISM mechanism = {.mechanism = CKM_EC_KEY_PAIR_GEN};
    CK_OBJECT_HANDLE public, private;
    assert_int_equal(hsm_functions()->C_GenerateKeyPair(session, &mechanism, &curve, 1, NULL, 0,
                                                        &public, &private),
                     CKR_OK);
    assert_int_equal(kw_token_keys(token, &after, &count_after, NULL), KW_OK);
    assert_int_equal(count_before, count_after);
    free(before);
    free(after);
    hsm_close(session);
    kw_token_free(token);
}

/* A token that can't tell some attribute must not hide the others. */
static void attribute_by_attribute(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    fault->one_attribute_only = true;
    struct kw_token *token = NULL;
    assert_int_equal(hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 0, &token, NULL), KW_OK);
    struct kw_token_key key = hsm_find_key(token, "kw-dated");
    assert_int_equal(key.id_len, 1);
    assert_int_equal(kw_rsa_bits(&key.public), 2048);
    assert_true(key.decrypt && key.sensitive);
    assert_string_equal(key.expires, "2027-12-31");
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_of_a_key),
        cmocka_unit_test(dates),
        cmocka_unit_test(dates_of_two_keys_with_one_id),
        cmocka_unit_test(dates_of_one_key_with_two_ids),
        cmocka_unit_test(sizes),
        cmocka_unit_test(labels_as_they_are),
        cmocka_unit_test(other_objects),
        cmocka_unit_test(attribute_by_attribute),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
