/* Private keys under an AES key, and on their way by session objects. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "transfer_support.h"

static struct kw_throwaway *target; /* making one takes long */
static const CK_BYTE aes_id[] = {0xA0};

static int setup(void **state)
{
    int result = hsm_setup(state);
    return result ? result : (int)kw_throwaway_new(hsm.crypto, &target, NULL);
}

static int teardown(void **state)
{
    kw_throwaway_free(target);
    return hsm_teardown(state);
}

/* ---- the token ---- */

static void make_aes(CK_SESSION_HANDLE session, const char *label, CK_ULONG len)
{
    CK_BBOOL yes = CK_TRUE;
    CK_MECHANISM mechanism = {.mechanism = CKM_AES_KEY_GEN};
    CK_ATTRIBUTE attributes[] = {
        {CKA_TOKEN, &yes, 1},
        {CKA_PRIVATE, &yes, 1},
        {CKA_SENSITIVE, &yes, 1},
        {CKA_WRAP, &yes, 1},
        {CKA_UNWRAP, &yes, 1},
        {CKA_VALUE_LEN, &len, sizeof(len)},
        {CKA_LABEL, (void *)label, strlen(label)},
        {CKA_ID, (void *)aes_id, sizeof(aes_id)},
    };
    CK_OBJECT_HANDLE handle;
    assert_int_equal(hsm_functions()->C_GenerateKey(session, &mechanism, attributes,
                                                    KW_COUNT(attributes), &handle),
                     CKR_OK);
}

/* With "kw-target", exportable, and "kw-aes"; and an AES key that is too short. */
static struct kw_token *open_with_keys(struct kw_token_key *ret_target,
                                       struct kw_token_key *ret_aes)
{
    clean();
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(KW_TEST_TRANSFER_MODULE, hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    CK_SESSION_HANDLE session = hsm_session();
    make_aes(session, "kw-aes", 32);
    make_aes(session, "kw-aes-128", 16);
    hsm_close(session);
    *ret_target = put(token, "kw-target", 1, true, target);
    *ret_aes = (struct kw_token_key){.id = {0xA0}, .id_len = 1, .label = "kw-aes"};
    return token;
}

static enum kw_status is_target(struct kw_token *token, const struct kw_token_key *scratch,
                                void *context, struct kw_error *err)
{
    unsigned *seen = context;
    (void)token;
    (void)err;
    assert_memory_equal(&scratch->public, kw_throwaway_public(target), sizeof(scratch->public));
    (*seen)++;
    return KW_OK;
}

static enum kw_status open_again(struct kw_token *token, const struct kw_token_key *aes,
                                 const struct kw_buffer *wrapped, struct kw_error *err)
{
    unsigned seen = 0;
    const struct kw_wrapped_key what = {
        .kek = aes, .aes = true, .data = wrapped->data, .len = wrapped->len};
    enum kw_status status = kw_token_with_scratch(token, &what, false, is_target, &seen, err);
    if (!status)
        assert_int_equal(seen, 1);
    return status;
}

/* ---- under an AES key ---- */

static void under_aes_and_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)transfer_faults();
    struct kw_token_key key, aes;
    struct kw_token *token = open_with_keys(&key, &aes);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    struct kw_error err = {.message = ""};
    size_t before = count_objects();
    if (kw_token_wrap_key_aes(token, &key, &aes, &wrapped, &err) ||
        open_again(token, &aes, &wrapped, &err))
        fail_msg("%s", err.message);
    /* Whatever byte is damaged: one answer, and nothing left. */
    char message[KW_MESSAGE_SIZE] = "";
    for (size_t at = 0; at < wrapped.len; at += 123) {
        wrapped.data[at] ^= 1;
        assert_int_equal(open_again(token, &aes, &wrapped, &err), KW_KEY_UNWRAP);
        wrapped.data[at] ^= 1;
        if (at > 0)
            assert_string_equal(err.message, message);
        memcpy(message, err.message, sizeof(message));
    }
    for (size_t len = 0; len < wrapped.len; len += 77) {
        const struct kw_buffer cut = {.data = wrapped.data, .len = len};
        assert_int_equal(open_again(token, &aes, &cut, &err), KW_METADATA);
    }
    assert_int_equal(count_objects(), before);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static void aes_keys_by_name(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    (void)transfer_faults();
    struct kw_token_key key, aes, *keys = NULL;
    struct kw_token *token = open_with_keys(&key, &aes);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    size_t count = 0;
    assert_int_equal(kw_token_aes_keys(token, &keys, &count, NULL), KW_OK);
    assert_int_equal(count, 1);
    assert_string_equal(keys[0].label, "kw-aes");
    free(keys);
    struct kw_token_key other = aes;
    other.id[0] = 1;
    assert_int_equal(kw_token_wrap_key_aes(token, &key, &other, &wrapped, NULL), KW_KEY_NOT_FOUND);
    other = aes;
    memcpy(other.label, "kw-aes-128", sizeof("kw-aes-128"));
    assert_int_equal(kw_token_wrap_key_aes(token, &key, &other, &wrapped, NULL), KW_KEY_NOT_FOUND);
    CK_SESSION_HANDLE session = hsm_session();
    make_aes(session, "kw-aes", 32);
    hsm_close(session);
    assert_int_equal(kw_token_wrap_key_aes(token, &key, &aes, &wrapped, NULL), KW_KEY_AMBIGUOUS);
    assert_int_equal(wrapped.len, 0);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static void fails_to_wrap(struct kw_token *token, const struct kw_token_key *key,
                          const struct kw_token_key *aes, const char *words)
{
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    struct kw_error err = {.message = ""};
    size_t before = count_objects();
    assert_int_equal(kw_token_wrap_key_aes(token, key, aes, &wrapped, &err), KW_KEY_UNUSABLE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    assert_int_equal(wrapped.len, 0);
    assert_int_equal(count_objects(), before);
    kw_buffer_cleanup(&wrapped);
}

/* What only has the name of RFC 5649 never gets the key, nor does a key go that may not. */
static void what_is_not_wrapped(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key, aes;
    struct kw_token *token = open_with_keys(&key, &aes);
    faults->pad_is_other = true;
    fails_to_wrap(token, &key, &aes, "known secret");
    faults->pad_is_other = false;
    faults->pad_wraps_itself = true;
    fails_to_wrap(token, &key, &aes, "known secret");
    faults->pad_wraps_itself = false;
    faults->no_pad = true;
    fails_to_wrap(token, &key, &aes, "RFC 5649");
    faults->no_pad = false;
    struct kw_throwaway *other = NULL;
    assert_int_equal(kw_throwaway_new(hsm.crypto, &other, NULL), KW_OK);
    struct kw_token_key locked = put(token, "kw-locked", 2, false, other);
    fails_to_wrap(token, &locked, &aes, "not extractable");
    assert_int_equal(faults->private_wraps, 0);
    kw_throwaway_free(other);
    kw_token_free(token);
}

/* ---- by way of session objects ---- */

struct trip {
    struct kw_token_key key, aes;
    struct kw_buffer transported, wrapped;
};

static enum kw_status wrap_scratch(struct kw_token *token, const struct kw_token_key *scratch,
                                   void *context, struct kw_error *err)
{
    struct trip *trip = context;
    assert_true(scratch->sensitive && scratch->extractable);
    trip->wrapped.len = 0;
    return kw_token_wrap_key_aes(token, scratch, &trip->aes, &trip->wrapped, err);
}

static enum kw_status use_transport(struct kw_token *token, const struct kw_token_key *transport,
                                    void *context, struct kw_error *err)
{
    struct trip *trip = context;
    const char *mechanism = NULL;
    assert_true(transport->sensitive && !transport->extractable && transport->unwrap);
    trip->transported.len = 0;
    enum kw_status status = kw_token_wrap_key(token, &trip->key, &transport->public,
                                              &trip->transported, &mechanism, err);
    const struct kw_wrapped_key what = {
        .kek = transport, .data = trip->transported.data, .len = trip->transported.len};
    return status ? status : kw_token_with_scratch(token, &what, true, wrap_scratch, trip, err);
}

/* Each call in turn answers that the device is gone: the next try does it, or there is an error,
 * and no object is left either way. A key pair takes long, so not each call is tried. */
static void a_trip_whose_calls_fail(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct trip trip = {.transported = KW_BUFFER_INIT(KW_TRANSFER_MAX),
                        .wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    struct kw_token *token = open_with_keys(&trip.key, &trip.aes);
    size_t before = count_objects(), good = 0;
    for (unsigned at = 0; at == 0 || faults->calls >= at; at = hsm_cut_after(at, 0)) {
        struct kw_error err = {.message = ""};
        faults->calls = 0;
        faults->fail_at = at;
        faults->fail_answer = CKR_DEVICE_REMOVED;
        enum kw_status status = kw_token_with_transport(token, use_transport, &trip, &err);
        unsigned calls = faults->calls;
        faults->fail_at = 0;
        if (status)
            assert_true(status == KW_TOKEN || status == KW_KEY_UNUSABLE);
        else
            assert_int_equal(open_again(token, &trip.aes, &trip.wrapped, &err), KW_OK);
        if (at == 0 && status)
            fail_msg("%s", err.message);
        good += !status;
        assert_int_equal(count_objects(), before);
        faults->calls = calls;
    }
    assert_true(good > 0);
    kw_buffer_cleanup(&trip.transported);
    kw_buffer_cleanup(&trip.wrapped);
    kw_token_free(token);
}

static void every_call_of_wrapping_and_opening_may_fail(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_RV answers[] = {CKR_DEVICE_REMOVED, CKR_GENERAL_ERROR, CKR_SESSION_CLOSED};
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key, aes;
    struct kw_token *token = open_with_keys(&key, &aes);
    size_t before = count_objects();
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        unsigned at = 0;
        do {
            struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
            faults->calls = 0;
            faults->fail_at = ++at;
            faults->fail_answer = answers[i];
            enum kw_status status = kw_token_wrap_key_aes(token, &key, &aes, &wrapped, NULL);
            if (!status)
                status = open_again(token, &aes, &wrapped, NULL);
            assert_true(!status || status == KW_TOKEN || status == KW_KEY_UNUSABLE ||
                        status == KW_KEY_UNWRAP);
            kw_buffer_cleanup(&wrapped);
            assert_int_equal(count_objects(), before);
        } while (faults->calls >= at);
        assert_true(at > 10);
    }
    kw_token_free(token);
}

/* ---- a backup for a public half ---- */

static void verified_where_it_can_be(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key, aes;
    struct kw_token *token = open_with_keys(&key, &aes);
    const struct kw_rsa_public *kek = kw_throwaway_public(target);
    for (int whole = 0; whole < 2; whole++) {
        struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
        const char *mechanism = NULL;
        bool verified = whole == 1;
        faults->whole = whole == 1;
        assert_int_equal(
            kw_token_backup_key(token, &key, kek, &wrapped, &mechanism, &verified, NULL), KW_OK);
        assert_int_equal(verified, whole == 0);
        kw_buffer_cleanup(&wrapped);
    }
    /* It does not open again: no backup. */
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    struct kw_error err = {.message = ""};
    const char *mechanism = NULL;
    bool verified = false;
    faults->whole = false;
    faults->unwrap_answer = CKR_WRAPPED_KEY_INVALID;
    assert_int_equal(kw_token_backup_key(token, &key, kek, &wrapped, &mechanism, &verified, &err),
                     KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "unwrap a key with AES"));
    assert_int_equal(wrapped.len, 0);
    assert_false(verified);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(under_aes_and_back),
        cmocka_unit_test(aes_keys_by_name),
        cmocka_unit_test(what_is_not_wrapped),
        cmocka_unit_test(a_trip_whose_calls_fail),
        cmocka_unit_test(every_call_of_wrapping_and_opening_may_fail),
        cmocka_unit_test(verified_where_it_can_be),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
