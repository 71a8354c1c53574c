/* Private keys from files: whatever is cut off, added or damaged is an error, never a crash. The
 * forms that openssl writes are tried in tests/e2e/key_import.bats. */
#include "support.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

static EVP_PKEY *pkey;

static int setup(void **state)
{
    pkey = EVP_RSA_gen(2048);
    return pkey ? start_crypto(state) : -1;
}

static int teardown(void **state)
{
    EVP_PKEY_free(pkey);
    return stop_crypto(state);
}

struct asked {
    const char *passphrase; /* NULL: there is none */
    unsigned times;
};

static enum kw_status give(void *context, struct kw_secret **ret_passphrase, struct kw_error *err)
{
    struct asked *asked = context;
    asked->times++;
    if (!asked->passphrase)
        return kw_fail(err, KW_PIN_MISSING, "none");
    return kw_secret_from(asked->passphrase, strlen(asked->passphrase), ret_passphrase, err);
}

static enum kw_status read_from(const void *data, size_t len, struct asked *asked,
                                struct kw_error *err)
{
    const struct kw_key_file file = {
        .data = data, .len = len, .what = "FILE", .ask = give, .context = asked};
    struct kw_secret *pkcs8 = NULL;
    enum kw_status status = kw_key_file_read(crypto, &file, &pkcs8, err);
    assert_queue_empty();
    if (status) {
        assert_null(pkcs8);
        return status;
    }
    struct kw_rsa_private key = {.numbers = {NULL}};
    status = kw_rsa_private_from_pkcs8(crypto, pkcs8, &key, err);
    kw_rsa_private_cleanup(&key);
    kw_secret_free(pkcs8);
    return status;
}

static void refuses(const void *data, size_t len, const char *words)
{
    struct asked asked = {.passphrase = "right"};
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(read_from(data, len, &asked, &err), KW_KEY_UNUSABLE);
    if (!strstr(err.message, words))
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
}

/* ---- the forms ---- */

static BIO *as_pem(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    return bio;
}

static BIO *as_encrypted_pem(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(bio, pkey, EVP_aes_128_cbc(), "right", 5, NULL, NULL), 1);
    return bio;
}

static BIO *as_traditional(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, pkey, EVP_aes_256_cbc(),
                                                          (const unsigned char *)"right", 5, NULL,
                                                          NULL),
                     1);
    return bio;
}

static BIO *as_der(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(i2d_PKCS8PrivateKeyInfo_bio(bio, pkey), 1);
    return bio;
}

static BIO *as_encrypted_der(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(i2d_PKCS8PrivateKey_bio(bio, pkey, EVP_aes_128_cbc(), "right", 5, NULL, NULL),
                     1);
    return bio;
}

static BIO *as_pkcs12(void)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PKCS12 *p12 = PKCS12_create("right", "name", pkey, NULL, NULL, 0, 0, 1, 1, 0);
    assert_non_null(p12);
    assert_int_equal(i2d_PKCS12_bio(bio, p12), 1);
    PKCS12_free(p12);
    return bio;
}

static const struct form {
    BIO *(*write)(void);
    bool encrypted;
    bool text;
} forms[] = {
    {as_pem, false, true},  {as_encrypted_pem, true, true},  {as_traditional, true, true},
    {as_der, false, false}, {as_encrypted_der, true, false}, {as_pkcs12, true, false},
};

static void asks_only_where_it_must(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(forms); i++) {
        BIO *bio = forms[i].write();
        char *data = NULL;
        size_t len = (size_t)BIO_get_mem_data(bio, &data);
        struct kw_error err = {.message = ""};
        struct asked right = {.passphrase = "right"}, wrong = {.passphrase = "wrong"},
                     empty = {.passphrase = ""}, none = {.passphrase = NULL};
        if (read_from(data, len, &right, &err) != KW_OK)
            fail_msg("form %zu: %s", i, err.message);
        assert_int_equal(right.times, forms[i].encrypted);
        if (forms[i].encrypted) {
            assert_int_equal(read_from(data, len, &wrong, &err), KW_PIN_WRONG);
            assert_int_equal(wrong.times, 1);
            assert_null(strstr(err.message, "wrong"));
            assert_int_equal(read_from(data, len, &empty, &err), KW_PIN_WRONG);
            assert_int_equal(read_from(data, len, &none, &err), KW_PIN_MISSING);
        }
        BIO_free(bio);
    }
}

static void cut_short_or_going_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(forms); i++) {
        BIO *bio = forms[i].write();
        char *data = NULL;
        size_t len = (size_t)BIO_get_mem_data(bio, &data);
        struct asked right = {.passphrase = "right"};
        size_t end = forms[i].text ? len - 1 : len; /* the last newline may be missing */
        for (size_t cut = 0; cut < end; cut += cut < 64 || cut + 64 > end ? 1 : 97)
            assert_int_equal(read_from(data, cut, &right, NULL), KW_KEY_UNUSABLE);
        char *longer = calloc(1, len + 8);
        memcpy(longer, data, len);
        for (size_t more = 1; more <= 8; more++)
            if (read_from(longer, len + more, &right, NULL) != KW_KEY_UNUSABLE)
                fail_msg("form %zu with %zu bytes more is taken", i, more);
        free(longer);
        BIO_free(bio);
    }
}

/* Whatever byte is damaged: an error, or the key as it was. */
static void damaged(void **state)
{
    (void)state;
    for (size_t i = 0; i < KW_COUNT(forms); i++) {
        BIO *bio = forms[i].write();
        char *data = NULL;
        size_t len = (size_t)BIO_get_mem_data(bio, &data);
        for (size_t at = 0; at < len; at += at < 100 ? 3 : 61) {
            struct asked right = {.passphrase = "right"};
            struct kw_error err = {.status = KW_OK};
            data[at] ^= 0x05;
            enum kw_status status = read_from(data, len, &right, &err);
            data[at] ^= 0x05;
            if (status != KW_OK && status != KW_KEY_UNUSABLE && status != KW_PIN_WRONG)
                fail_msg("form %zu, byte %zu: %s", i, at, err.message);
        }
        BIO_free(bio);
    }
}

static void texts_that_are_no_pem(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "neither PEM"},
        {"-----BEGIN", "neither PEM"},
        {"-----BEGIN ", "damaged PEM"},
        {"-----BEGIN PRIVATE KEY-----", "damaged PEM"},
        {"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY----", "damaged PEM"},
        {"-----BEGIN PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n", "damaged PEM"},
        {"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "damaged PEM"},
        {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged PEM"},
        {"-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----\n", "damaged PEM"},
        {"-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-256-CBC\n\nAAAA\n"
         "-----END RSA PRIVATE KEY-----\n",
         "damaged PEM"},
        {"-----BEGIN X-----\nanything\n-----END X-----\n", "no private key"},
        {"-----BEGIN X-----\nanything\n-----END X-----\nmore", "goes on"},
        {"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n", "not RSA"},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++)
        refuses(cases[i].text, strlen(cases[i].text), cases[i].words);
    static const char zeros[KW_KEY_FILE_MAX + 1];
    refuses(zeros, KW_KEY_FILE_MAX, "neither PEM");
    refuses(zeros, sizeof(zeros), "more than 65536 bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_only_where_it_must),
        cmocka_unit_test(cut_short_or_going_on),
        cmocka_unit_test(damaged),
        cmocka_unit_test(texts_that_are_no_pem),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
