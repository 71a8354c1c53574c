/* A key on the token by which a server proves who it is, as OpenSSL has it. What it signs is
 * verified by OpenSSL alone. */
#include "ring.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "crypto/openssl.h"

#define LABEL   "tls"
#define URI     "pkcs11:object=" LABEL
#define THREADS 4

static const uint8_t data[] = "what is signed in a handshake";

static int set_up(void **state)
{
    int result = ring_setup(state);
    if (result || !hsm.made_here)
        return result;
    const struct kw_key_plan plan = {
        .use = KW_USE_SIGN, .label = LABEL, .id = (const uint8_t *)"t", .id_len = 1, .bits = 2048};
    struct kw_token *token = ring_begin();
    struct kw_token_key key;
    enum kw_status status = kw_token_make_key(token, &plan, &key, NULL);
    kw_token_free(token);
    return status ? -1 : 0;
}

/* By any hash, and either padding: whether there is a signature that verifies. */
static bool signs(struct kw_crypto *crypto, EVP_PKEY *key, const struct kw_rsa_public *public,
                  const char *hash, int padding)
{
    EVP_PKEY *verifier = kw_rsa_public_import(crypto, public);
    EVP_PKEY *const keys[] = {key, verifier};
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t len = sizeof(signature);
    bool good = true;
    for (size_t i = 0; i < KW_COUNT(keys) && good; i++) {
        EVP_PKEY_CTX *settings = NULL;
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        good = (i ? EVP_DigestVerifyInit_ex
                  : EVP_DigestSignInit_ex)(context, &settings, hash, crypto->context,
                                           crypto->with_elsewhere, keys[i], NULL) == 1 &&
               EVP_PKEY_CTX_set_rsa_padding(settings, padding) == 1 &&
               (padding != RSA_PKCS1_PSS_PADDING ||
                EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, RSA_PSS_SALTLEN_DIGEST) == 1) &&
               (i ? EVP_DigestVerify(context, signature, len, data, sizeof(data))
                  : EVP_DigestSign(context, signature, &len, data, sizeof(data))) == 1;
        EVP_MD_CTX_free(context);
    }
    EVP_PKEY_free(verifier);
    return good;
}

struct subject {
    struct kw_keyring *keyring;
    struct kw_crypto *crypto;
    EVP_PKEY *key;
    struct kw_rsa_public public;
};

static struct subject begin(void)
{
    struct subject subject = {.keyring = ring_open()};
    struct kw_error err = {.status = KW_OK};
    subject.crypto = kw_keyring_crypto(subject.keyring);
    if (kw_keyring_tls_key(subject.keyring, URI, NULL, &subject.key, &subject.public, &err))
        fail_msg("%s", err.message);
    return subject;
}

static void end(struct subject *subject)
{
    kw_private_key_free(subject->key);
    kw_keyring_free(subject->keyring);
}

static bool signs_pss(const struct subject *subject)
{
    return signs(subject->crypto, subject->key, &subject->public, "SHA256", RSA_PKCS1_PSS_PADDING);
}

static void signs_by_all_schemes(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const char *const hashes[] = {"SHA256", "SHA384", "SHA512"};
    static const int paddings[] = {RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING};
    struct subject subject = begin();
    for (size_t i = 0; i < KW_COUNT(hashes); i++)
        for (size_t j = 0; j < KW_COUNT(paddings); j++)
            assert_true(
                signs(subject.crypto, subject.key, &subject.public, hashes[i], paddings[j]));
    end(&subject);
}

/* A token without PSS of its own. */
static void signs_by_raw_rsa(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    hsm_fault()->only_sign_raw = true;
    struct subject subject = begin();
    assert_true(signs_pss(&subject));
    end(&subject);
}

static void comes_back_with_its_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct subject subject = begin();
    static const CK_RV answers[] = {CKR_DEVICE_REMOVED, CKR_SESSION_HANDLE_INVALID,
                                    CKR_USER_NOT_LOGGED_IN, CKR_CRYPTOKI_NOT_INITIALIZED};
    for (size_t i = 0; i < KW_COUNT(answers); i++) {
        atomic_store(&fault->down, answers[i]);
        assert_false(signs_pss(&subject));
        atomic_store(&fault->down, CKR_OK);
        assert_true(signs_pss(&subject));
    }
    end(&subject);
}

/* Others read the keyring's keys anew, and what was found goes away. */
static void outlives_what_was_read(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct subject subject = begin();
    const struct kw_token_key *key = NULL;
    kw_keyring_refresh(subject.keyring);
    assert_int_equal(kw_keyring_find(subject.keyring, RING_NAME, NULL, &key, NULL), KW_OK);
    kw_keyring_refresh(subject.keyring);
    assert_int_equal(kw_keyring_find(subject.keyring, RING_NAME, NULL, &key, NULL), KW_OK);
    assert_true(signs_pss(&subject));
    end(&subject);
}

static void *sign_often(void *argument)
{
    for (size_t i = 0; i < 8; i++)
        if (!signs_pss(argument))
            return NULL;
    return argument;
}

static void serves_many_threads(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct subject subject = begin();
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_often, &subject), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *done = NULL;
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_ptr_equal(done, &subject);
    }
    end(&subject);
}

static void refuses_what_is_no_such_key(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct {
        const char *text;
        enum kw_status status;
    } rows[] = {
        {"pkcs11:object=none", KW_KEY_NOT_FOUND},
        {"pkcs11:token=another;object=" LABEL, KW_KEY_NOT_FOUND},
        {"pkcs11:object=" RING_NAME, KW_KEY_UNUSABLE}, /* it may not sign */
        {"pkcs11:", KW_CONFIG},
    };
    struct kw_keyring *keyring = ring_open();
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_rsa_public public = {.modulus_len = 1};
        EVP_PKEY *key = NULL;
        struct kw_error err = {.status = KW_OK};
        assert_int_equal(kw_keyring_tls_key(keyring, rows[i].text, NULL, &key, &public, &err),
                         rows[i].status);
        assert_int_equal(err.status, rows[i].status);
        assert_null(key);
        assert_int_equal(public.modulus_len, 1);
    }
    kw_keyring_free(keyring);
}

static void needs_its_token_at_first(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_keyring *keyring = ring_open();
    struct kw_rsa_public public;
    EVP_PKEY *key = NULL;
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_int_equal(kw_keyring_tls_key(keyring, URI, NULL, &key, &public, NULL), KW_TOKEN);
    assert_null(key);
    atomic_store(&fault->down, CKR_OK);
    assert_int_equal(kw_keyring_tls_key(keyring, URI, NULL, &key, &public, NULL), KW_OK);
    kw_private_key_free(key);
    kw_keyring_free(keyring);
}

static void is_reserved_once(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct subject subject = begin();
    const struct kw_token_key *other = ring_find(subject.keyring, RING_NAME);
    bool is_new = false;
    assert_false(kw_keyring_is_reserved(subject.keyring, &subject.public));
    assert_int_equal(kw_keyring_reserve(subject.keyring, &subject.public, &is_new, NULL), KW_OK);
    assert_true(is_new);
    assert_int_equal(kw_keyring_reserve(subject.keyring, &subject.public, &is_new, NULL), KW_OK);
    assert_false(is_new);
    assert_true(kw_keyring_is_reserved(subject.keyring, &subject.public));
    assert_false(kw_keyring_is_reserved(subject.keyring, &other->public));
    end(&subject);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs_by_all_schemes),      cmocka_unit_test(signs_by_raw_rsa),
        cmocka_unit_test(comes_back_with_its_token), cmocka_unit_test(outlives_what_was_read),
        cmocka_unit_test(serves_many_threads),       cmocka_unit_test(refuses_what_is_no_such_key),
        cmocka_unit_test(needs_its_token_at_first),  cmocka_unit_test(is_reserved_once),
    };
    return cmocka_run_group_tests(tests, set_up, ring_teardown);
}
