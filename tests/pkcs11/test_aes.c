/* Bytes that are wrapped with an AES key of the token, against OpenSSL and RFC 3394. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL "kw-aes"

static const uint8_t id[] = "kw-aes-id";
/* RFC 3394 section 4.6. */
static uint8_t value[32], data[32];
static const char answer[] = "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb98"
                             "8b9b7a02dd21";

static CK_RV create(const char *label, const uint8_t *bytes, CK_ULONG len, bool may_wrap)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE, may = may_wrap;
    CK_OBJECT_HANDLE handle;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CKA_KEY_TYPE, &type, sizeof(type)},
        {CKA_TOKEN, &yes, sizeof(yes)},
        {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_SENSITIVE, &yes, sizeof(yes)},
        {CKA_EXTRACTABLE, &no, sizeof(no)},
        {CKA_WRAP, &may, sizeof(may)},
        {CKA_UNWRAP, &may, sizeof(may)},
        {CKA_ENCRYPT, &may, sizeof(may)},
        {CKA_DECRYPT, &may, sizeof(may)},
        {CKA_LABEL, (void *)label, strlen(label)},
        {CKA_ID, (void *)id, sizeof(id) - 1},
        {CKA_VALUE, (void *)bytes, len},
    };
    CK_RV rv = hsm_functions()->C_CreateObject(session, attributes, KW_COUNT(attributes), &handle);
    hsm_close(session);
    return rv;
}

static void destroy_all(void)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)},
                             {CKA_ID, (void *)id, sizeof(id) - 1}};
    CK_OBJECT_HANDLE handles[16];
    CK_ULONG count = 0;
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, wanted, 2), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, handles, 16, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++)
        assert_int_equal(hsm_functions()->C_DestroyObject(session, handles[i]), CKR_OK);
    hsm_close(session);
}

static int setup(void **state)
{
    for (unsigned i = 0; i < 32; i++) {
        value[i] = (uint8_t)i;
        data[i] = (uint8_t)(i < 16 ? i * 0x11 : i - 16);
    }
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(NULL, 0);
    return result;
}

static struct kw_token_key names(const char *label)
{
    struct kw_token_key key = {.id_len = sizeof(id) - 1};
    memcpy(key.id, id, sizeof(id) - 1);
    (void)snprintf(key.label, sizeof(key.label), "%s", label);
    return key;
}

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm_fault_path(), hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

static struct kw_secret *secret_of(const void *bytes, size_t len)
{
    struct kw_secret *secret = NULL;
    assert_int_equal(kw_secret_from(bytes, len, &secret, NULL), KW_OK);
    return secret;
}

static enum kw_status wrap(struct kw_token *token, const char *label, bool padded, size_t len,
                           struct kw_buffer *wrapped, struct kw_error *err)
{
    static const uint8_t bytes[KW_AES_DATA_MAX + 8] = {1, 2, 3, 4, 5, 6, 7};
    const struct kw_token_key key = names(label);
    struct kw_secret *secret = secret_of(len == 32 ? data : bytes, len);
    enum kw_status status = kw_token_aes_wrap(token, &key, padded, secret, wrapped, err);
    kw_secret_free(secret);
    return status;
}

static enum kw_status unwrap(struct kw_token *token, const char *label, bool padded,
                             const void *wrapped, size_t len, struct kw_secret **secret,
                             struct kw_error *err)
{
    const struct kw_token_key key = names(label);
    return kw_token_aes_unwrap(token, &key, padded, wrapped, len, secret, err);
}

/* False where the token has no way that passes. */
static bool is_able(struct kw_token *token, bool padded)
{
    struct kw_buffer wrapped = KW_BUFFER_INIT(64);
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = wrap(token, LABEL, padded, 32, &wrapped, &err);
    if (status)
        print_message("%s\n", err.message);
    assert_true(status == KW_OK || status == KW_KEY_UNUSABLE);
    kw_buffer_cleanup(&wrapped);
    return status == KW_OK;
}

static void the_known_answer(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    struct kw_buffer wrapped = KW_BUFFER_INIT(64);
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    char hex[81];
    if (create(LABEL, value, 32, true) != CKR_OK || !is_able(token, false)) {
        destroy_all();
        kw_token_free(token);
        hsm_skip("the token has no AES key wrap");
        return;
    }
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, &err), KW_OK);
    assert_int_equal(wrapped.len, 40);
    kw_hex_encode(wrapped.data, wrapped.len, hex);
    assert_string_equal(hex, answer);
    assert_int_equal(unwrap(token, LABEL, false, wrapped.data, 40, &secret, &err), KW_OK);
    assert_int_equal(kw_secret_len(secret), 32);
    assert_memory_equal(kw_secret_bytes(secret), data, 32);
    kw_secret_free(secret);
    kw_buffer_cleanup(&wrapped);
    destroy_all();
    kw_token_free(token);
}

/* What the token wraps the host unwraps, and the other way round. */
static void padded_against_the_host(void **state)
{
    (void)state;
    HSM_NEEDED();
    static const size_t lengths[] = {1, 7, 8, 9, 16, 20, 24, 32, 33, 64, 1000, KW_AES_DATA_MAX};
    static const uint8_t bytes[KW_AES_DATA_MAX] = {1, 2, 3, 4, 5, 6, 7};
    struct kw_token *token = hsm_open(0);
    if (create(LABEL, value, 32, true) != CKR_OK || !is_able(token, true)) {
        destroy_all();
        kw_token_free(token);
        hsm_skip("the token has no RFC 5649");
        return;
    }
    struct kw_secret *kek = secret_of(value, 32);
    for (size_t i = 0; i < KW_COUNT(lengths); i++) {
        size_t len = lengths[i];
        const uint8_t *plain = len == 32 ? data : bytes;
        struct kw_buffer wrapped = KW_BUFFER_INIT(2000), by_host = KW_BUFFER_INIT(2000);
        struct kw_secret *secret = secret_of(plain, len);
        struct kw_error err = {.status = KW_OK};
        assert_int_equal(kw_kwp_wrap(hsm.crypto, kek, secret, &by_host, NULL), KW_OK);
        kw_secret_free(secret);
        enum kw_status status = wrap(token, LABEL, true, len, &wrapped, &err);
        if (status) { /* a token that adds zero bytes is not asked to */
            assert_int_equal(status, KW_KEY_UNUSABLE);
            assert_true(len % 8 != 0);
            assert_int_equal(wrapped.len, 0);
        } else {
            assert_int_equal(wrapped.len, by_host.len);
            assert_memory_equal(wrapped.data, by_host.data, by_host.len);
        }
        status = unwrap(token, LABEL, true, by_host.data, by_host.len, &secret, &err);
        if (status) {
            print_message("%s\n", err.message);
            assert_int_equal(status, KW_KEY_UNUSABLE);
        } else {
            assert_int_equal(kw_secret_len(secret), len);
            assert_memory_equal(kw_secret_bytes(secret), plain, len);
            kw_secret_free(secret);
        }
        kw_buffer_cleanup(&wrapped);
        kw_buffer_cleanup(&by_host);
    }
    for (size_t i = 0; i < KW_AES_WAYS; i++) {
        const struct kw_aes_skill *skill = &token->aes_skills[true][i];
        print_message("way %zu: wraps %d, any length %d, unwraps %d\n", i, skill->wraps,
                      skill->wraps_odd, skill->unwraps);
    }
    kw_secret_free(kek);
    destroy_all();
    kw_token_free(token);
}

static void every_failure_looks_the_same(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_token *token = hsm_open(0);
    uint8_t wrapped[48];
    size_t len = 0;
    char first[KW_MESSAGE_SIZE] = "";
    assert_int_equal(create(LABEL, value, 32, true), CKR_OK);
    assert_true(kw_hex_decode(answer, strlen(answer), wrapped, sizeof(wrapped), &len));
    for (unsigned padded = 0; padded < 2; padded++)
        for (size_t i = 0; i < len + 6; i++) {
            static const size_t lengths[] = {0, 8, 15, 16, 39, 48};
            struct kw_secret *secret = NULL;
            struct kw_error err = {.status = KW_OK};
            uint8_t changed[48] = {0};
            memcpy(changed, wrapped, len);
            if (i < len)
                changed[i] ^= 1;
            assert_int_equal(unwrap(token, LABEL, padded, changed, i < len ? len : lengths[i - len],
                                    &secret, &err),
                             KW_KEY_UNWRAP);
            assert_null(secret);
            if (!first[0])
                memcpy(first, err.message, sizeof(first));
            assert_string_equal(err.message, first);
        }
    destroy_all();
    kw_token_free(token);
}

static void lengths_that_cannot_be_wrapped(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const size_t bad[] = {0, 1, 7, 8, 15, 17, 31, KW_AES_DATA_MAX + 8};
    struct kw_token *token = hsm_open(0);
    struct kw_buffer wrapped = KW_BUFFER_INIT(2000);
    assert_int_equal(create(LABEL, value, 32, true), CKR_OK);
    for (size_t i = 0; i < KW_COUNT(bad); i++)
        assert_int_equal(wrap(token, LABEL, false, bad[i], &wrapped, NULL), KW_USAGE);
    assert_int_equal(wrap(token, LABEL, true, 0, &wrapped, NULL), KW_USAGE);
    assert_int_equal(wrap(token, LABEL, true, KW_AES_DATA_MAX + 1, &wrapped, NULL), KW_USAGE);
    assert_int_equal(wrapped.len, 0);
    destroy_all();
    kw_token_free(token);
}

static void the_key_is_the_one_that_is_named(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const uint8_t other[32] = {9};
    struct kw_token *token = hsm_open(0);
    struct kw_buffer wrapped = KW_BUFFER_INIT(2000);
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, NULL), KW_KEY_NOT_FOUND);
    assert_int_equal(create(LABEL, value, 16, true), CKR_OK); /* AES-128 */
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, NULL), KW_KEY_NOT_FOUND);
    assert_int_equal(create(LABEL, value, 32, true), CKR_OK);
    assert_int_equal(create("kw-aes-other", other, 32, true), CKR_OK);
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, NULL), KW_OK);
    char hex[81];
    kw_hex_encode(wrapped.data, wrapped.len, hex);
    assert_string_equal(hex, answer);
    /* Gone, and its handle may be the next one's. */
    destroy_all();
    assert_int_equal(create("kw-aes-other", other, 32, true), CKR_OK);
    wrapped.len = 0;
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, NULL), KW_KEY_NOT_FOUND);
    assert_int_equal(create(LABEL, value, 32, true), CKR_OK);
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, NULL), KW_OK);
    kw_hex_encode(wrapped.data, wrapped.len, hex);
    assert_string_equal(hex, answer);
    destroy_all();
    assert_int_equal(create(LABEL, value, 32, true), CKR_OK);
    assert_int_equal(create(LABEL, other, 32, true), CKR_OK);
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, NULL), KW_KEY_AMBIGUOUS);
    destroy_all();
    /* One that may not. */
    assert_int_equal(create(LABEL, value, 32, false), CKR_OK);
    assert_int_equal(wrap(token, LABEL, false, 32, &wrapped, NULL), KW_KEY_UNUSABLE);
    struct kw_secret *secret = NULL;
    assert_int_equal(unwrap(token, LABEL, false, wrapped.data, 40, &secret, NULL), KW_KEY_UNUSABLE);
    destroy_all();
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static size_t count_secret_keys(void)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}};
    CK_OBJECT_HANDLE handles[16];
    CK_ULONG count = 0;
    assert_int_equal(hsm_functions()->C_FindObjectsInit(session, wanted, 1), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjects(session, handles, 16, &count), CKR_OK);
    assert_int_equal(hsm_functions()->C_FindObjectsFinal(session), CKR_OK);
    hsm_close(session);
    return count;
}

static void each_call_fails_in_turn(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    assert_int_equal(create(LABEL, value, 32, true), CKR_OK);
    for (unsigned what = 0; what < 4; what++) {
        bool padded = what & 1;
        struct kw_buffer wrapped = KW_BUFFER_INIT(64), again = KW_BUFFER_INIT(64);
        assert_int_equal(wrap(token, LABEL, padded, 32, &wrapped, NULL), KW_OK);
        struct hsm_cuts cuts = {.fault = fault,
                                .kinds = hsm_fault_kinds,
                                .count = HSM_FAULT_KINDS,
                                .stride = 1,
                                .limit = 200};
        while (hsm_cut_next(&cuts)) {
            struct kw_secret *secret = NULL;
            bool afresh = cuts.at % 2 == 0; /* with trying out, and without */
            again.len = 0;
            if (afresh)
                token->aes_due_ms[padded] = 0;
            hsm_cut_arm(&cuts);
            bool done = what & 2 ? unwrap(token, LABEL, padded, wrapped.data, wrapped.len, &secret,
                                          NULL) == KW_OK
                                 : wrap(token, LABEL, padded, 32, &again, NULL) == KW_OK;
            hsm_cut_over(&cuts, done);
            if (done && what & 2)
                assert_memory_equal(kw_secret_bytes(secret), data, 32);
            else if (done)
                assert_memory_equal(again.data, wrapped.data, wrapped.len);
            kw_secret_free(secret);
        }
        hsm_cuts_end(&cuts, 0);
        /* Whatever was learned while calls failed. */
        token->aes_due_ms[padded] = 0;
        again.len = 0;
        assert_int_equal(wrap(token, LABEL, padded, 32, &again, NULL), KW_OK);
        kw_buffer_cleanup(&wrapped);
        kw_buffer_cleanup(&again);
    }
    assert_int_equal(count_secret_keys(), 1);
    destroy_all();
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_known_answer),
        cmocka_unit_test(padded_against_the_host),
        cmocka_unit_test(every_failure_looks_the_same),
        cmocka_unit_test(lengths_that_cannot_be_wrapped),
        cmocka_unit_test(the_key_is_the_one_that_is_named),
        cmocka_unit_test(each_call_fails_in_turn),
    };
    return cmocka_run_group_tests_name("pkcs11/aes", tests, setup, hsm_teardown);
}
