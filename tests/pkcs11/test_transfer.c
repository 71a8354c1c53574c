/* Private keys out of a token and into it, wrapped. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "transfer_support.h"

static struct kw_throwaway *keys_made[2]; /* making one takes long */
#define TARGET keys_made[0]
#define OTHER  keys_made[1]

static int setup(void **state)
{
    int result = hsm_setup(state);
    for (size_t i = 0; !result && i < KW_COUNT(keys_made); i++)
        result = (int)kw_throwaway_new(hsm.crypto, &keys_made[i], NULL);
    return result;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < KW_COUNT(keys_made); i++)
        kw_throwaway_free(keys_made[i]);
    return hsm_teardown(state);
}

/* ---- keys ---- */

/* A token with "kw-target", exportable, over the module with faults or without. */
static struct kw_token *open_with_target(const char *module, struct kw_token_key *ret_target)
{
    clean();
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(module, hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    *ret_target = put(token, "kw-target", 1, true, TARGET);
    return token;
}

/* ---- opening on the host what a token wrapped ---- */

static void assert_is_target(const struct kw_secret *pkcs8, bool zeros_allowed)
{
    const unsigned char *start = kw_secret_bytes(pkcs8), *end = start;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &end, (long)kw_secret_len(pkcs8));
    assert_non_null(info);
    EVP_PKEY *pkey = EVP_PKCS82PKEY(info);
    assert_non_null(pkey);
    BIGNUM *modulus = NULL;
    uint8_t bytes[KW_RSA_MAX_BYTES];
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &modulus), 1);
    assert_int_equal(BN_bn2bin(modulus, bytes), kw_throwaway_public(TARGET)->modulus_len);
    assert_memory_equal(bytes, kw_throwaway_public(TARGET)->modulus,
                        kw_throwaway_public(TARGET)->modulus_len);
    size_t rest = kw_secret_len(pkcs8) - (size_t)(end - start);
    assert_true(rest == 0 || (zeros_allowed && rest < 8));
    for (size_t i = 0; i < rest; i++)
        assert_int_equal(end[i], 0);
    BN_free(modulus);
    EVP_PKEY_free(pkey);
    PKCS8_PRIV_KEY_INFO_free(info);
}

static void assert_opens(const struct kw_throwaway *kek, const struct kw_buffer *wrapped,
                         const char *mechanism)
{
    struct kw_secret *aes = NULL, *pkcs8 = NULL;
    size_t first = kw_throwaway_public(kek)->modulus_len;
    assert_true(kw_transfer_fits(first, wrapped->len));
    assert_int_equal(kw_throwaway_unwrap(kek, wrapped->data, first, &aes, NULL), KW_OK);
    assert_int_equal(
        kw_kwp_unwrap(hsm.crypto, aes, wrapped->data + first, wrapped->len - first, &pkcs8, NULL),
        KW_OK);
    assert_is_target(pkcs8, mechanism && kw_wrap_adds_zeros(mechanism));
    kw_secret_free(pkcs8);
    kw_secret_free(aes);
}

/* `key` wrapped on the host for a KEK. */
static void wrap_on_host(const struct kw_throwaway *key, const struct kw_rsa_public *kek,
                         struct kw_buffer *out)
{
    uint8_t random[KW_AES256_KEY_SIZE];
    struct kw_secret *aes = NULL, *pkcs8 = NULL;
    assert_int_equal(kw_random(hsm.crypto, random, sizeof(random), NULL), KW_OK);
    assert_int_equal(kw_secret_from(random, sizeof(random), &aes, NULL), KW_OK);
    assert_int_equal(kw_throwaway_pkcs8(key, &pkcs8, NULL), KW_OK);
    assert_int_equal(kw_buffer_reserve(out, kek->modulus_len, NULL), KW_OK);
    assert_int_equal(kw_rsa_wrap(hsm.crypto, kek, KW_RSA_OAEP, aes, out->data, NULL), KW_OK);
    out->len = kek->modulus_len;
    assert_int_equal(kw_kwp_wrap(hsm.crypto, aes, pkcs8, out, NULL), KW_OK);
    kw_secret_free(pkcs8);
    kw_secret_free(aes);
}

/* ---- wrapping ---- */

/* Without SoftHSM2's own token it is not known what the token can do: what it can't must be said,
 * and what it does must be right. */
static bool wraps(struct kw_token *token, const struct kw_token_key *key,
                  const struct kw_throwaway *kek, struct kw_buffer *ret_wrapped,
                  const char **ret_mechanism)
{
    struct kw_error err = {.status = KW_OK};
    enum kw_status status =
        kw_token_wrap_key(token, key, kw_throwaway_public(kek), ret_wrapped, ret_mechanism, &err);
    if (!status) {
        print_message("%s\n", *ret_mechanism);
        return true;
    }
    print_message("%s\n", err.message);
    assert_false(hsm.made_here);
    assert_int_equal(status, KW_KEY_UNUSABLE);
    assert_int_equal(ret_wrapped->len, 0);
    return false;
}

static void a_key_goes_out(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token_key key;
    struct kw_token *token = open_with_target(hsm.module, &key);
    size_t before = count_objects();
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    const char *mechanism = NULL;
    if (wraps(token, &key, OTHER, &wrapped, &mechanism))
        assert_opens(OTHER, &wrapped, mechanism);
    assert_int_equal(count_objects(), before);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static void fails_to_wrap(struct kw_token *token, const struct kw_token_key *key,
                          enum kw_status expected, const char *words)
{
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    const char *mechanism = "untouched";
    struct kw_error err = {.status = KW_OK};
    size_t before = count_objects();
    enum kw_status status =
        kw_token_wrap_key(token, key, kw_throwaway_public(OTHER), &wrapped, &mechanism, &err);
    if (status != expected || !strstr(err.message, words))
        fail_msg("%d, not %d: \"%s\" lacks \"%s\"", (int)status, (int)expected, err.message, words);
    assert_int_equal(err.status, expected);
    assert_int_equal(wrapped.len, 0);
    assert_string_equal(mechanism, "untouched");
    assert_int_equal(count_objects(), before);
    kw_buffer_cleanup(&wrapped);
}

static void a_key_that_is_not_extractable_stays(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key;
    struct kw_token *token = open_with_target(KW_TEST_TRANSFER_MODULE, &key);
    struct kw_token_key locked = put(token, "kw-locked", 2, false, OTHER);
    faults->whole = true;
    fails_to_wrap(token, &locked, KW_KEY_UNUSABLE, "not extractable");
    locked.extractable = true; /* what the caller thinks does not count */
    fails_to_wrap(token, &locked, KW_KEY_UNUSABLE, "not extractable");
    assert_int_equal(faults->private_wraps, 0);
    kw_token_free(token);
}

static void keks_of_a_wrong_size(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token_key key;
    struct kw_token *token = open_with_target(hsm.module, &key);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    const char *mechanism = NULL;
    struct kw_rsa_public kek = *kw_throwaway_public(OTHER);
    static const size_t lengths[] = {0, 1, 128, 255};
    for (size_t i = 0; i < KW_COUNT(lengths); i++) {
        kek.modulus_len = lengths[i];
        assert_int_equal(kw_token_wrap_key(token, &key, &kek, &wrapped, &mechanism, NULL),
                         KW_KEY_UNUSABLE);
    }
    key.id[0] = 99;
    assert_int_equal(
        kw_token_wrap_key(token, &key, kw_throwaway_public(OTHER), &wrapped, &mechanism, NULL),
        KW_KEY_NOT_FOUND);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

/* ---- the ladder ---- */

static void takes_the_best_mechanism(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct {
        bool whole;
        CK_ULONG whole_more;
        bool kwp, pad_is_other, unknown;
        const char *mechanism;
    } cases[] = {
        {true, 0, true, false, false, "CKM_RSA_AES_KEY_WRAP"},
        /* not a length that RFC 5649 gives */
        {true, 4, true, false, true, "KWP with up to"},
        {false, 0, true, true, true, "KWP with up to"},
        {false, 0, true, false, true, "KWP with up to"},
        {false, 0, false, false, true, "PAD with up to"},
        {false, 0, true, true, false, "KWP, zero bytes taken off"},
        {false, 0, false, false, false, "PAD, zero bytes taken off"},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_transfer_faults *faults = transfer_faults();
        struct kw_token_key key;
        faults->unknown = cases[i].unknown;
        struct kw_token *token = open_with_target(KW_TEST_TRANSFER_MODULE, &key);
        faults->whole = cases[i].whole;
        faults->whole_more = cases[i].whole_more;
        faults->kwp = cases[i].kwp;
        faults->pad_is_other = cases[i].pad_is_other;
        struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
        const char *mechanism = NULL;
        size_t before = count_objects();
        assert_true(wraps(token, &key, OTHER, &wrapped, &mechanism));
        assert_non_null(strstr(mechanism, cases[i].mechanism));
        assert_int_equal(faults->private_wraps, strchr(mechanism, ' ') ? 2 : 1);
        assert_int_equal(count_objects(), before);
        if (strchr(mechanism, ' '))
            assert_opens(OTHER, &wrapped, mechanism);
        kw_buffer_cleanup(&wrapped);
        kw_token_free(token);
    }
}

/* Of a token that may be anything, this process gets to know no AES key that wraps a key of worth.
 */
static void zeros_are_taken_off_where_the_token_is_in_this_process(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    for (int unknown = 0; unknown <= 1; unknown++) {
        struct kw_transfer_faults *faults = transfer_faults();
        struct kw_token_key key;
        struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
        const char *mechanism = NULL;
        faults->unknown = unknown != 0;
        struct kw_token *token = open_with_target(KW_TEST_TRANSFER_MODULE, &key);
        faults->kwp = true;
        assert_true(wraps(token, &key, OTHER, &wrapped, &mechanism));
        assert_int_equal(faults->oaep_wraps, unknown ? 3 : 4);
        assert_int_equal(kw_wrap_adds_zeros(mechanism), unknown);
        assert_int_equal(kw_wrap_was_in_clear(mechanism), !unknown);
        assert_opens(OTHER, &wrapped, mechanism);
        kw_buffer_cleanup(&wrapped);
        kw_token_free(token);
    }
}

/* What only has the name of RFC 5649 never gets the key. */
static void refuses_what_is_not_rfc_5649(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key;
    struct kw_token *token = open_with_target(KW_TEST_TRANSFER_MODULE, &key);
    faults->pad_is_other = true;
    fails_to_wrap(token, &key, KW_KEY_UNUSABLE, "known secret");
    assert_int_equal(faults->private_wraps, 1); /* asked whole, which is not there */
    faults->pad_is_other = false;
    faults->pad_wraps_itself = true;
    fails_to_wrap(token, &key, KW_KEY_UNUSABLE, "known secret");
    assert_int_equal(faults->private_wraps, 2);
    faults->pad_wraps_itself = false;
    faults->no_pad = true;
    fails_to_wrap(token, &key, KW_KEY_UNUSABLE, "RFC 5649");
    assert_int_equal(faults->private_wraps, 3);
    faults->generate_answer = CKR_MECHANISM_INVALID;
    fails_to_wrap(token, &key, KW_KEY_UNUSABLE, "make a secret");
    faults->generate_answer = CKR_DEVICE_MEMORY;
    fails_to_wrap(token, &key, KW_TOKEN, "CKR_DEVICE_MEMORY");
    kw_token_free(token);
}

static void answers_that_make_no_sense(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key;
    struct kw_token *token = open_with_target(KW_TEST_TRANSFER_MODULE, &key);
    faults->wrap_private_answer = CKR_FUNCTION_FAILED;
    fails_to_wrap(token, &key, KW_KEY_UNUSABLE, "CKR_FUNCTION_FAILED");
    faults->wrap_private_answer = CKR_OK;
    static const CK_ULONG more[] = {1, 8, 4096, 0x7FFFFFFF, 0UL - 4096};
    for (size_t i = 0; i < KW_COUNT(more); i++) {
        faults->claim_more = more[i];
        fails_to_wrap(token, &key, KW_KEY_UNUSABLE, "the token");
    }
    kw_token_free(token);
}

/* Each call in turn answers that the device is gone: the next try does it, with nothing left over,
 * or there is an error. */
static void every_call_may_fail(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_RV answers[] = {CKR_DEVICE_REMOVED, CKR_GENERAL_ERROR, CKR_SESSION_CLOSED};
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key;
    struct kw_token *token = open_with_target(KW_TEST_TRANSFER_MODULE, &key);
    size_t before = count_objects();
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        unsigned at = 0;
        do {
            struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
            const char *mechanism = NULL;
            faults->calls = 0;
            faults->fail_at = ++at;
            faults->fail_answer = answers[i];
            struct kw_error err = {.status = KW_OK};
            enum kw_status status = kw_token_wrap_key(token, &key, kw_throwaway_public(OTHER),
                                                      &wrapped, &mechanism, &err);
            if (!status)
                assert_opens(OTHER, &wrapped, mechanism);
            else
                assert_true(status == KW_TOKEN || status == KW_KEY_UNUSABLE);
            kw_buffer_cleanup(&wrapped);
            assert_int_equal(count_objects(), before);
        } while (faults->calls >= at);
        assert_true(at > 10);
    }
    kw_token_free(token);
}

static void what_is_not_destroyed_goes_with_the_session(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key key;
    struct kw_token *token = open_with_target(KW_TEST_TRANSFER_MODULE, &key);
    faults->destroy_answer = CKR_ACTION_PROHIBITED;
    faults->whole = true; /* a refusal would close the session too */
    size_t before = count_objects();
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    const char *mechanism = NULL;
    assert_true(wraps(token, &key, OTHER, &wrapped, &mechanism));
    assert_int_equal(count_objects(), before);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

/* ---- unwrapping ---- */

static struct kw_token *open_with_kek(const char *module, struct kw_token_key *ret_kek)
{
    clean();
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(module, hsm.uri, hsm.pin, 4, &token, &err) != KW_OK)
        fail_msg("%s", err.message);
    *ret_kek = put(token, "kw-kek", 9, false, OTHER);
    return token;
}

static bool unwraps(struct kw_token *token, const struct kw_token_key *kek,
                    const struct kw_buffer *wrapped, const struct kw_key_plan *plan,
                    struct kw_token_key *ret_key)
{
    struct kw_error err = {.status = KW_OK};
    enum kw_status status =
        kw_token_unwrap_key(token, kek, wrapped->data, wrapped->len, plan, ret_key, &err);
    if (!status)
        return true;
    print_message("%s\n", err.message);
    assert_false(hsm.made_here);
    assert_int_equal(status, KW_KEY_UNUSABLE);
    return false;
}

static void a_key_comes_in(void **state)
{
    (void)state;
    HSM_NEEDED();
    for (int extractable = 0; extractable < 2; extractable++) {
        struct kw_token_key kek, key;
        struct kw_token *token = open_with_kek(hsm.module, &kek);
        struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
        wrap_on_host(TARGET, &kek.public, &wrapped);
        const struct kw_key_plan plan = plan_of("kw-new", 3, extractable == 1);
        size_t before = count_objects();
        if (unwraps(token, &kek, &wrapped, &plan, &key)) {
            assert_int_equal(count_objects(), before + 2);
            key = hsm_find_key(token, "kw-new");
            assert_true(key.decrypt && key.unwrap && key.sensitive);
            assert_int_equal(key.extractable, extractable);
            assert_string_equal(key.expires, "2031-10-05");
            assert_string_equal(key.not_before, "");
            assert_memory_equal(&key.public, kw_throwaway_public(TARGET), sizeof(key.public));
            hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
            struct kw_error err = {.status = KW_OK};
            assert_int_equal(
                kw_token_unwrap_key(token, &kek, wrapped.data, wrapped.len, &plan, &key, &err),
                KW_EXISTS);
            assert_int_equal(count_objects(), before + 2);
        } else {
            assert_int_equal(count_objects(), before);
        }
        kw_buffer_cleanup(&wrapped);
        kw_token_free(token);
    }
}

static void out_and_in_again(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token_key kek, target, key;
    struct kw_token *token = open_with_kek(hsm.module, &kek);
    target = put(token, "kw-target", 1, true, TARGET);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    const char *mechanism = NULL;
    const struct kw_key_plan plan = plan_of("kw-again", 4, false);
    if (wraps(token, &target, OTHER, &wrapped, &mechanism) &&
        unwraps(token, &kek, &wrapped, &plan, &key)) {
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        assert_false(key.extractable);
    }
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static void the_ladder_of_unwrapping(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct {
        bool whole, kwp, pad_is_other;
    } cases[] = {{true, false, true}, {false, true, true}, {false, false, false}};
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_transfer_faults *faults = transfer_faults();
        struct kw_token_key kek, key;
        struct kw_token *token = open_with_kek(KW_TEST_TRANSFER_MODULE, &kek);
        faults->whole = cases[i].whole;
        faults->kwp = cases[i].kwp;
        faults->pad_is_other = cases[i].pad_is_other;
        struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
        wrap_on_host(TARGET, &kek.public, &wrapped);
        const struct kw_key_plan plan = plan_of("kw-new", 3, false);
        assert_true(unwraps(token, &kek, &wrapped, &plan, &key));
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        kw_buffer_cleanup(&wrapped);
        kw_token_free(token);
    }
}

/* ---- what does not come in ---- */

static enum kw_status fails_to_unwrap(struct kw_token *token, const struct kw_token_key *kek,
                                      const uint8_t *wrapped, size_t len, struct kw_error *ret_err)
{
    const struct kw_key_plan plan = plan_of("kw-bad", 5, false);
    struct kw_token_key key = {.id_len = 77};
    size_t before = count_objects();
    enum kw_status status = kw_token_unwrap_key(token, kek, wrapped, len, &plan, &key, ret_err);
    assert_int_not_equal(status, KW_OK);
    assert_int_equal(ret_err->status, status);
    assert_int_equal(key.id_len, 77);
    assert_int_equal(count_objects(), before);
    return status;
}

static void damaged_keys_leave_nothing(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token_key kek;
    struct kw_token *token = open_with_kek(hsm.module, &kek);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    wrap_on_host(TARGET, &kek.public, &wrapped);
    char message[KW_MESSAGE_SIZE] = "";
    static const size_t places[] = {0, 1, 128, 255, 256, 263, 264, 271, 272, 800, SIZE_MAX};
    for (size_t i = 0; i < KW_COUNT(places); i++) {
        size_t place = places[i] < wrapped.len ? places[i] : wrapped.len - 1;
        struct kw_error err = {.status = KW_OK};
        wrapped.data[place] ^= 0x01;
        enum kw_status status = fails_to_unwrap(token, &kek, wrapped.data, wrapped.len, &err);
        wrapped.data[place] ^= 0x01;
        if (status == KW_KEY_UNUSABLE && !hsm.made_here)
            break; /* nor would it with a good one */
        assert_int_equal(status, KW_KEY_UNWRAP);
        if (i > 0)
            assert_string_equal(err.message, message);
        memcpy(message, err.message, sizeof(message));
    }
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static void lengths_that_can_not_be(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token_key kek;
    struct kw_token *token = open_with_kek(hsm.module, &kek);
    static const uint8_t zeros[2 * KW_TRANSFER_MAX];
    static const size_t lengths[] = {
        0, 1, 255, 256, 264, 1000, 1408, 1487, 1489, 2769, 2776, KW_TRANSFER_MAX, sizeof(zeros)};
    for (size_t i = 0; i < KW_COUNT(lengths); i++) {
        struct kw_error err = {.status = KW_OK};
        assert_int_equal(fails_to_unwrap(token, &kek, zeros, lengths[i], &err), KW_METADATA);
        assert_non_null(strstr(err.message, "kw-kek"));
    }
    kw_token_free(token);
}

/* The AES key is right, what it wraps is not an RSA key. */
static void not_a_key(void **state)
{
    (void)state;
    HSM_NEEDED();
    struct kw_token_key kek;
    struct kw_token *token = open_with_kek(hsm.module, &kek);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    uint8_t junk[1218];
    struct kw_secret *aes = NULL, *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_random(hsm.crypto, junk, sizeof(junk), NULL), KW_OK);
    assert_int_equal(kw_secret_from(junk, sizeof(junk), &secret, NULL), KW_OK);
    assert_int_equal(kw_secret_from(junk, KW_AES256_KEY_SIZE, &aes, NULL), KW_OK);
    assert_int_equal(kw_buffer_reserve(&wrapped, 256, NULL), KW_OK);
    assert_int_equal(kw_rsa_wrap(hsm.crypto, &kek.public, KW_RSA_OAEP, aes, wrapped.data, NULL),
                     KW_OK);
    wrapped.len = 256;
    assert_int_equal(kw_kwp_wrap(hsm.crypto, aes, secret, &wrapped, NULL), KW_OK);
    enum kw_status status = fails_to_unwrap(token, &kek, wrapped.data, wrapped.len, &err);
    assert_true(status == KW_KEY_UNWRAP || (status == KW_KEY_UNUSABLE && !hsm.made_here));
    kw_secret_free(secret);
    kw_secret_free(aes);
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static void a_token_or_kek_that_does_not(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key kek;
    struct kw_token *token = open_with_kek(KW_TEST_TRANSFER_MODULE, &kek);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    struct kw_error err = {.status = KW_OK};
    wrap_on_host(TARGET, &kek.public, &wrapped);
    faults->no_pad = true;
    assert_int_equal(fails_to_unwrap(token, &kek, wrapped.data, wrapped.len, &err),
                     KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "RFC 5649"));
    /* A damaged one can't be told from a good one then. */
    struct kw_error other = {.status = KW_OK};
    wrapped.data[300] ^= 1;
    assert_int_equal(fails_to_unwrap(token, &kek, wrapped.data, wrapped.len, &other),
                     KW_KEY_UNUSABLE);
    assert_string_equal(err.message, other.message);
    faults->no_pad = false;
    kek.unwrap = false;
    assert_int_equal(fails_to_unwrap(token, &kek, wrapped.data, wrapped.len, &err),
                     KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "CKA_UNWRAP"));
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

static void every_call_of_unwrapping_may_fail(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const CK_RV answers[] = {CKR_DEVICE_REMOVED, CKR_GENERAL_ERROR};
    struct kw_transfer_faults *faults = transfer_faults();
    struct kw_token_key kek;
    struct kw_token *token = open_with_kek(KW_TEST_TRANSFER_MODULE, &kek);
    struct kw_buffer wrapped = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    wrap_on_host(TARGET, &kek.public, &wrapped);
    size_t before = count_objects();
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        unsigned at = 0;
        do {
            const struct kw_key_plan plan = plan_of("kw-new", 3, false);
            struct kw_token_key key;
            struct kw_error err = {.status = KW_OK};
            faults->calls = 0;
            faults->fail_at = ++at;
            faults->fail_answer = answers[i];
            enum kw_status status =
                kw_token_unwrap_key(token, &kek, wrapped.data, wrapped.len, &plan, &key, &err);
            unsigned calls = faults->calls;
            faults->fail_at = 0;
            assert_int_equal(count_objects(), before + (status ? 0 : 2));
            if (!status)
                assert_int_equal(kw_token_destroy_key(token, &key, NULL), KW_OK);
            faults->calls = calls;
        } while (faults->calls >= at);
        assert_true(at > 5);
    }
    kw_buffer_cleanup(&wrapped);
    kw_token_free(token);
}

/* ---- lengths ---- */

static void what_fits(void **state)
{
    (void)state;
    /* Of FORMATS: RSA keys of 2048, 3072 and 4096 bits. */
    static const size_t rests[] = {1232, 1808, 2384};
    for (size_t kek = 256; kek <= 512; kek += 128)
        for (size_t i = 0; i < KW_COUNT(rests); i++) {
            assert_true(kw_transfer_fits(kek, kek + rests[i]));
            assert_true(kw_transfer_fits(kek, kek + rests[i] - 16));
            for (size_t odd = 1; odd < 8; odd++)
                assert_false(kw_transfer_fits(kek, kek + rests[i] + odd));
        }
    assert_false(kw_transfer_fits(256, 0));
    assert_false(kw_transfer_fits(256, 255));
    assert_false(kw_transfer_fits(256, 256 + 1152));
    assert_false(kw_transfer_fits(256, 256 + 2560));
    assert_false(kw_transfer_fits(512, SIZE_MAX));
    assert_false(kw_wrap_adds_zeros("CKM_RSA_AES_KEY_WRAP"));
    assert_false(kw_wrap_was_in_clear("CKM_RSA_AES_KEY_WRAP"));
    assert_false(kw_wrap_adds_zeros("CKM_RSA_PKCS_OAEP and CKM_AES_KEY_WRAP_KWP"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits),
        cmocka_unit_test(a_key_goes_out),
        cmocka_unit_test(a_key_that_is_not_extractable_stays),
        cmocka_unit_test(keks_of_a_wrong_size),
        cmocka_unit_test(takes_the_best_mechanism),
        cmocka_unit_test(zeros_are_taken_off_where_the_token_is_in_this_process),
        cmocka_unit_test(refuses_what_is_not_rfc_5649),
        cmocka_unit_test(answers_that_make_no_sense),
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(what_is_not_destroyed_goes_with_the_session),
        cmocka_unit_test(a_key_comes_in),
        cmocka_unit_test(out_and_in_again),
        cmocka_unit_test(the_ladder_of_unwrapping),
        cmocka_unit_test(damaged_keys_leave_nothing),
        cmocka_unit_test(lengths_that_can_not_be),
        cmocka_unit_test(not_a_key),
        cmocka_unit_test(a_token_or_kek_that_does_not),
        cmocka_unit_test(every_call_of_unwrapping_may_fail),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
