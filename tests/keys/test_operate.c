/* What others ask a key for: decrypting and signing, on record, on either of two tokens. OpenSSL
 * encrypts and verifies as the independent peer. */
#include "two_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

static struct kw_fault *fault;

static struct kw_keyring *start(const struct plan *plan)
{
    fault = hsm_fault();
    return two_tokens_open(plan);
}

static const struct kw_token_key *found(struct kw_keyring *keyring, const char *name)
{
    const struct kw_token_key *key = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_find_to_unwrap(keyring, name, NULL, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    return key;
}

/* ---- the peer ---- */

static EVP_PKEY *peer_key(const struct kw_token_key *key)
{
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn(key->public.modulus, (int)key->public.modulus_len, NULL);
    BIGNUM *e = BN_bin2bn(key->public.exponent, (int)key->public.exponent_len, NULL);
    assert_true(OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) &&
                OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e));
    OSSL_PARAM *numbers = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, numbers), 1);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(numbers);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return pkey;
}

static const struct {
    int padding;
    const char *hash;
} paddings[KW_WRAP_ALG_COUNT] = {
    [KW_RSA_OAEP] = {RSA_PKCS1_OAEP_PADDING, "SHA1"},
    [KW_RSA_OAEP_256] = {RSA_PKCS1_OAEP_PADDING, "SHA256"},
    [KW_RSA1_5] = {RSA_PKCS1_PADDING, NULL},
};

static size_t encrypt(const struct kw_token_key *key, enum kw_wrap_alg alg, const void *data,
                      size_t len, uint8_t out[KW_RSA_MAX_BYTES])
{
    size_t out_len = KW_RSA_MAX_BYTES;
    EVP_PKEY *pkey = peer_key(key);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(EVP_PKEY_encrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, paddings[alg].padding), 1);
    if (paddings[alg].hash) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md_name(context, paddings[alg].hash, NULL), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md_name(context, paddings[alg].hash, NULL), 1);
    }
    assert_int_equal(EVP_PKEY_encrypt(context, out, &out_len, data, len), 1);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pkey);
    return out_len;
}

static bool verifies(const struct kw_token_key *key, enum kw_digest_signature alg,
                     const uint8_t *digest, const uint8_t *signature)
{
    static const char *const hashes[] = {"SHA256", "SHA384", "SHA512"};
    bool pss = alg >= KW_DIGEST_PS256;
    size_t len = 32 + 16 * ((size_t)alg % 3);
    EVP_PKEY *pkey = peer_key(key);
    EVP_MD *md = EVP_MD_fetch(NULL, hashes[alg % 3], NULL);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    assert_int_equal(EVP_PKEY_verify_init(context), 1);
    assert_int_equal(
        EVP_PKEY_CTX_set_rsa_padding(context, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, md), 1);
    if (pss)
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, (int)len), 1);
    int good = EVP_PKEY_verify(context, signature, key->public.modulus_len, digest, len);
    EVP_PKEY_CTX_free(context);
    EVP_MD_free(md);
    EVP_PKEY_free(pkey);
    return good == 1;
}

/* ---- the trail ---- */

static void assert_trail(const char *expected)
{
    struct telling telling = {.op = NULL};
    two_tokens_read_trail(&telling);
    assert_string_equal(telling.text, expected);
}

struct seen {
    cJSON *records[64];
    size_t count;
};

static enum kw_status take(void *context, const char *line, size_t len, struct kw_error *err)
{
    struct seen *seen = context;
    assert_true(seen->count < KW_COUNT(seen->records));
    return kw_record_parse(line, len, &seen->records[seen->count++], err);
}

static const char *at(const cJSON *record, const char *object, const char *name)
{
    const cJSON *in = object ? cJSON_GetObjectItemCaseSensitive(record, object) : record;
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(in, name));
    return text ? text : "-";
}

static struct seen see(void)
{
    struct seen seen = {.count = 0};
    assert_int_equal(kw_trail_read(trail_path, take, &seen, NULL), KW_OK);
    return seen;
}

static void forget(struct seen *seen)
{
    for (size_t i = 0; i < seen->count; i++)
        cJSON_Delete(seen->records[i]);
}

#define HERE            "keyward test"
#define ACT(op, on, is) op " " on " intent -\n" op " " on " outcome " is "\n"
#define TO_SPARE        "token.failover " SPARE " - -\n"

/* ---- what is asked for ---- */

static const struct kw_purpose nothing;
static const uint8_t digest[64] = "a digest, as far as anyone can tell, of sixty-four bytes or so.";

static enum kw_status decrypt(struct kw_keyring *keyring, const struct kw_token_key *key,
                              enum kw_wrap_alg alg, const void *data, size_t len,
                              struct kw_secret **ret_secret, struct kw_error *err)
{
    return kw_keyring_decrypt(keyring, key, "decrypt", alg, &nothing, data, len, ret_secret, err);
}

static bool decrypts(struct kw_keyring *keyring, const struct kw_token_key *key,
                     enum kw_wrap_alg alg, const void *data, size_t len)
{
    uint8_t input[KW_RSA_MAX_BYTES];
    size_t input_len = encrypt(key, alg, data, len, input);
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = decrypt(keyring, key, alg, input, input_len, &secret, &err);
    if (status) {
        print_message("%s\n", err.message);
        assert_null(secret);
        return false;
    }
    assert_int_equal(err.status, KW_OK);
    assert_int_equal(kw_secret_len(secret), len);
    assert_memory_equal(kw_secret_bytes(secret), data, len);
    kw_secret_free(secret);
    return true;
}

static enum kw_status sign(struct kw_keyring *keyring, const struct kw_token_key *key,
                           enum kw_digest_signature alg, struct kw_error *err)
{
    uint8_t signature[KW_RSA_MAX_BYTES];
    enum kw_status status = kw_keyring_sign(keyring, key, alg, &nothing, digest,
                                            kw_digest_signature_hash_len(alg), signature, err);
    if (!status)
        assert_true(verifies(key, alg, digest, signature));
    return status;
}

static void any_length_and_algorithm(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const size_t lengths[] = {0, 1, 31, 32, 33, 64, 100, 190};
    static const uint8_t data[190] = "what was encrypted";
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, NAME);
    for (enum kw_wrap_alg alg = 0; alg < KW_WRAP_ALG_COUNT; alg++)
        for (size_t i = 0; i < KW_COUNT(lengths); i++)
            assert_true(decrypts(keyring, key, alg, data, lengths[i]));
    /* Nothing is kept: what was decrypted once is asked of the token again. */
    unsigned before = fault->decrypts;
    uint8_t input[KW_RSA_MAX_BYTES];
    size_t len = encrypt(key, KW_RSA_OAEP, data, 32, input);
    for (unsigned i = 0; i < 3; i++) {
        struct kw_secret *secret = NULL;
        assert_int_equal(decrypt(keyring, key, KW_RSA_OAEP, input, len, &secret, NULL), KW_OK);
        kw_secret_free(secret);
    }
    assert_int_equal(fault->decrypts, before + 3);
    kw_keyring_free(keyring);
}

/* Wherever it fails, one status and sentence. */
static void every_failure_looks_the_same(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, NAME);
    uint8_t input[KW_RSA_MAX_BYTES + 1] = {0};
    struct kw_error first = {.status = KW_OK};
    for (enum kw_wrap_alg alg = 0; alg < KW_WRAP_ALG_COUNT; alg++)
        for (unsigned how = 0; how < 7; how++) {
            struct kw_secret *secret = NULL;
            struct kw_error err = {.status = KW_OK};
            size_t len = encrypt(key, alg, "x", 1, input);
            if (how == 0)
                input[len / 2] ^= 1;
            else if (how == 1)
                memset(input, 0, len);
            else if (how == 2)
                memset(input, 0xFF, len);
            else if (how == 3)
                len = encrypt(key, alg == KW_RSA1_5 ? KW_RSA_OAEP : KW_RSA1_5, "x", 1, input);
            else if (how == 4)
                len = encrypt(found(keyring, NAMESAKE), alg, "x", 1, input);
            else
                len = how == 5 ? len - 1 : len + 1;
            assert_int_equal(decrypt(keyring, key, alg, input, len, &secret, &err), KW_KEY_UNWRAP);
            assert_null(secret);
            if (first.status == KW_OK)
                first = err;
            assert_string_equal(err.message, first.message);
            assert_int_equal(err.ck_rv, 0);
            assert_int_equal(err.sys_errno, 0);
        }
    struct kw_secret *secret = NULL;
    assert_int_equal(decrypt(keyring, key, KW_RSA_OAEP, input, 0, &secret, &first), KW_KEY_UNWRAP);
    kw_keyring_free(keyring);
}

static void what_is_on_record(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct kw_purpose purpose = {.client = "storage",
                                              .request = "00112233445566778899aabbccddeeff",
                                              .correlation = "c\n1",
                                              .outer = "o1",
                                              .pool = "p1"};
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, NAME);
    uint8_t input[KW_RSA_MAX_BYTES], signature[KW_RSA_MAX_BYTES];
    struct kw_secret *secret = NULL;
    size_t len = encrypt(key, KW_RSA_OAEP, "x", 1, input);
    assert_int_equal(kw_keyring_decrypt(keyring, key, "unwrap", KW_RSA_OAEP, &purpose, input, len,
                                        &secret, NULL),
                     KW_OK);
    kw_secret_free(secret);
    input[3] ^= 1;
    assert_int_equal(kw_keyring_decrypt(keyring, key, "decrypt", KW_RSA_OAEP, &purpose, input, len,
                                        &secret, NULL),
                     KW_KEY_UNWRAP);
    assert_int_equal(
        kw_keyring_sign(keyring, key, KW_DIGEST_PS384, &purpose, digest, 48, signature, NULL),
        KW_OK);
    static const struct {
        const char *op, *alg, *status;
    } rows[] = {{"unwrap", "RSA-OAEP", "ok"},
                {"decrypt", "RSA-OAEP", "key-unwrap"},
                {"sign", "PS384", "ok"}};
    struct seen seen = see();
    assert_int_equal(seen.count, 1 + 2 * KW_COUNT(rows));
    for (size_t i = 1; i < seen.count; i++) {
        const cJSON *record = seen.records[i];
        size_t row = (i - 1) / 2;
        assert_string_equal(at(record, NULL, "op"), rows[row].op);
        assert_string_equal(at(record, NULL, "phase"), i % 2 ? "intent" : "outcome");
        assert_string_equal(at(record, NULL, "status"), i % 2 ? "-" : rows[row].status);
        assert_string_equal(at(record, "key", "alg"), rows[row].alg);
        assert_string_equal(at(record, "key", "label"), NAME);
        assert_string_equal(at(record, "request", "client"), "storage");
        assert_string_equal(at(record, "request", "request"), purpose.request);
        assert_string_equal(at(record, "request", "correlation"), "c\\x0a1");
        assert_string_equal(at(record, "request", "outer"), "o1");
        assert_string_equal(at(record, "request", "pool"), "p1");
    }
    assert_string_equal(at(seen.records[4], NULL, "ck_rv"), "0x00000005"); /* SoftHSM2's */
    forget(&seen);
    kw_keyring_free(keyring);
}

/* Acts that don't say it for themselves. */
static void the_keyring_is_told_the_purpose(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct kw_purpose purpose = {.client = "officer", .request = "0f"};
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, ONLY_HERE);
    static const char *const tags[] = {"a=b"};
    kw_keyring_set_purpose(keyring, &purpose);
    assert_int_equal(kw_keyring_tag(keyring, key, tags, 1, NULL), KW_OK);
    assert_int_equal(sign(keyring, key, KW_DIGEST_RS256, NULL), KW_OK);
    kw_keyring_set_purpose(keyring, NULL);
    assert_int_equal(kw_keyring_tag(keyring, key, tags, 1, NULL), KW_OK);
    struct seen seen = see();
    size_t told = 0;
    for (size_t i = 1; i < seen.count; i++) {
        bool officer = strcmp(at(seen.records[i], "request", "client"), "officer") == 0;
        told += officer;
        assert_true(!officer || i <= 2);
    }
    assert_int_equal(told, 2);
    forget(&seen);
    kw_keyring_free(keyring);
}

static void a_digest_of_another_length_is_no_act(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, NAME);
    uint8_t out[KW_RSA_MAX_BYTES];
    assert_int_equal(
        kw_keyring_sign(keyring, key, KW_DIGEST_PS256, &nothing, digest, 48, out, NULL), KW_USAGE);
    assert_trail("");
    for (enum kw_digest_signature alg = 0; alg < KW_DIGEST_SIGNATURE_COUNT; alg++)
        assert_int_equal(sign(keyring, key, alg, NULL), KW_OK);
    kw_keyring_free(keyring);
}

/* Where the intent can't be written the token is not asked. */
static void without_a_trail_nothing_is_done(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, NAME);
    uint8_t input[KW_RSA_MAX_BYTES], out[KW_RSA_MAX_BYTES];
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    size_t len = encrypt(key, KW_RSA_OAEP, "x", 1, input);
    assert_true(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
    char elsewhere[160];
    (void)snprintf(elsewhere, sizeof(elsewhere), "%s-away", trail_path);
    assert_int_equal(rename(trail_path, elsewhere), 0);
    unsigned decrypted = fault->decrypts, calls = fault->calls;
    assert_int_equal(decrypt(keyring, key, KW_RSA_OAEP, input, len, &secret, &err), KW_AUDIT);
    assert_null(secret);
    memset(out, 0x5A, sizeof(out));
    assert_int_equal(
        kw_keyring_sign(keyring, key, KW_DIGEST_PS256, &nothing, digest, 32, out, &err), KW_AUDIT);
    assert_int_equal(out[0], 0x5A);
    assert_int_equal(fault->decrypts, decrypted);
    assert_int_equal(fault->calls, calls);
    assert_int_equal(rename(elsewhere, trail_path), 0);
    assert_true(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
    kw_keyring_free(keyring);
}

static void a_disabled_key_does_nothing(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, ONLY_HERE);
    assert_true(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
    assert_int_equal(sign(keyring, key, KW_DIGEST_PS256, NULL), KW_OK);
    assert_int_equal(kw_keyring_step(keyring, key, KW_STEP_DISABLE, NULL), KW_OK);
    unsigned decrypted = fault->decrypts;
    assert_false(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(sign(keyring, key, KW_DIGEST_PS256, &err), KW_KEY_UNUSABLE);
    assert_int_equal(fault->decrypts, decrypted);
    assert_int_equal(kw_keyring_step(keyring, key, KW_STEP_ENABLE, NULL), KW_OK);
    assert_true(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
    assert_int_equal(sign(keyring, key, KW_DIGEST_PS256, NULL), KW_OK);
    kw_keyring_free(keyring);
}

static void the_other_token_serves(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = 0});
    const struct kw_token_key *key = found(keyring, NAME);
    struct kw_keyring_stats stats;
    assert_true(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
    kw_keyring_stats(keyring, &stats);
    assert_false(stats.on_second);
    assert_int_equal(stats.failovers + stats.returns + stats.recoveries, 0);
    assert_int_equal(stats.sessions, 1);
    assert_int_equal(stats.sessions_in_use, 0);
    assert_true(stats.sessions_max >= 1);
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_int_equal(kw_keyring_ping(keyring, NULL), KW_OK); /* the other one would serve */
    assert_int_equal(sign(keyring, key, KW_DIGEST_PS256, NULL), KW_OK);
    assert_true(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
    kw_keyring_stats(keyring, &stats);
    assert_true(stats.on_second);
    assert_int_equal(stats.failovers, 1);
    assert_int_equal(stats.returns, 0);
    assert_trail(ACT("decrypt", HERE, "ok") ACT("sign", HERE, "token")
                     TO_SPARE ACT("sign", SPARE, "ok") ACT("decrypt", SPARE, "ok"));
    /* A ciphertext that is none is no failure of the token, on either. */
    struct kw_secret *secret = NULL;
    uint8_t bad[256] = {1};
    assert_int_equal(decrypt(keyring, key, KW_RSA_OAEP, bad, sizeof(bad), &secret, NULL),
                     KW_KEY_UNWRAP);
    atomic_store(&fault->down, CKR_OK);
    kw_keyring_free(keyring);
}

static void pings_leave_no_record(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    struct kw_keyring_stats stats;
    struct kw_error err = {.status = KW_OK};
    kw_keyring_stats(keyring, &stats); /* not even opened */
    assert_int_equal(stats.sessions + stats.sessions_max, 0);
    assert_int_equal(kw_keyring_ping(keyring, &err), KW_OK);
    assert_int_equal(err.status, KW_OK);
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_int_equal(kw_keyring_ping(keyring, &err), KW_TOKEN);
    atomic_store(&fault->down, CKR_OK);
    assert_int_equal(kw_keyring_ping(keyring, NULL), KW_OK);
    kw_keyring_stats(keyring, &stats);
    assert_true(stats.recoveries > 0);
    assert_int_equal(access(trail_path, F_OK), -1);
    kw_keyring_free(keyring);
}

/* ---- AES keys ---- */

static void make_aes(void)
{
    CK_SESSION_HANDLE session = hsm_session();
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE;
    CK_ULONG len = 32;
    CK_OBJECT_HANDLE handle;
    CK_MECHANISM mechanism = {.mechanism = CKM_AES_KEY_GEN};
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)}, {CKA_KEY_TYPE, &type, sizeof(type)},
        {CKA_TOKEN, &yes, sizeof(yes)},     {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_SENSITIVE, &yes, sizeof(yes)}, {CKA_WRAP, &yes, sizeof(yes)},
        {CKA_UNWRAP, &yes, sizeof(yes)},    {CKA_LABEL, (void *)"kw-aes", 6},
        {CKA_ID, (void *)"aes", 3},         {CKA_VALUE_LEN, &len, sizeof(len)},
    };
    assert_int_equal(hsm_functions()->C_GenerateKey(session, &mechanism, attributes,
                                                    KW_COUNT(attributes), &handle),
                     CKR_OK);
    hsm_close(session);
}

static void aes_keys_wrap_and_unwrap(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct kw_purpose purpose = {.client = "proxy"};
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    struct kw_token_key *keys = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(kw_keyring_ping(keyring, NULL), KW_OK); /* the module is there */
    make_aes();
    assert_int_equal(kw_keyring_aes_keys(keyring, &keys, &count, NULL), KW_OK);
    assert_int_equal(count, 1);
    assert_string_equal(keys[0].label, "kw-aes");
    for (unsigned padded = 0; padded < 2; padded++) {
        struct kw_secret *secret = NULL, *back = NULL;
        struct kw_buffer sealed = KW_BUFFER_INIT(KW_SECRET_MAX + 16);
        assert_int_equal(kw_secret_from(digest, 32, &secret, NULL), KW_OK);
        assert_int_equal(
            kw_keyring_aes_wrap(keyring, &keys[0], padded, &purpose, secret, &sealed, &err), KW_OK);
        assert_int_equal(sealed.len, 40);
        assert_int_equal(kw_keyring_aes_unwrap(keyring, &keys[0], padded, &purpose, sealed.data,
                                               sealed.len, &back, &err),
                         KW_OK);
        assert_true(kw_secret_equal(secret, back));
        kw_secret_free(secret);
        kw_secret_free(back);
        back = NULL;
        sealed.data[9] ^= 1;
        assert_int_equal(kw_keyring_aes_unwrap(keyring, &keys[0], padded, &purpose, sealed.data,
                                               sealed.len, &back, &err),
                         KW_KEY_UNWRAP);
        assert_null(back);
        assert_int_equal(err.ck_rv, 0);
        kw_buffer_cleanup(&sealed);
    }
    static const char *const ops[] = {"wrap", "unwrap", "unwrap"};
    struct seen seen = see();
    assert_int_equal(seen.count, 1 + 12);
    for (size_t i = 1; i < seen.count; i++) {
        assert_string_equal(at(seen.records[i], NULL, "op"), ops[(i - 1) / 2 % 3]);
        assert_string_equal(at(seen.records[i], "key", "alg"), i <= 6 ? "A256KW" : "A256KWP");
        assert_string_equal(at(seen.records[i], "key", "label"), "kw-aes");
        assert_string_equal(at(seen.records[i], "request", "client"), "proxy");
    }
    assert_string_equal(at(seen.records[6], NULL, "status"), "key-unwrap");
    assert_string_equal(at(seen.records[6], NULL, "ck_rv"), "0x00000005"); /* SoftHSM2's */
    forget(&seen);
    free(keys);
    kw_keyring_free(keyring);
}

/* ---- each call fails in turn ---- */

static void each_call_fails_in_turn(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, NAME);
    for (unsigned what = 0; what < 2; what++) {
        struct hsm_cuts cuts = {.fault = fault,
                                .kinds = hsm_fault_kinds,
                                .count = HSM_FAULT_KINDS,
                                .stride = 1,
                                .limit = 100};
        while (hsm_cut_next(&cuts)) {
            hsm_cut_arm(&cuts);
            bool done = what ? sign(keyring, key, KW_DIGEST_PS256, NULL) == KW_OK
                             : decrypts(keyring, key, KW_RSA_OAEP, "x", 1);
            hsm_cut_over(&cuts, done);
            assert_true(decrypts(keyring, key, KW_RSA_OAEP, "x", 1));
        }
    }
    kw_keyring_free(keyring);
}

/* ---- many threads ---- */

struct crowd {
    struct kw_keyring *keyring;
    const struct kw_token_key *key;
    uint8_t input[KW_RSA_MAX_BYTES];
    size_t len;
    atomic_uint failed;
};

static void *work(void *argument)
{
    struct crowd *crowd = argument;
    for (unsigned i = 0; i < 20; i++) {
        struct kw_secret *secret = NULL;
        uint8_t out[KW_RSA_MAX_BYTES];
        struct kw_keyring_stats stats;
        bool good = i % 4 ? decrypt(crowd->keyring, crowd->key, KW_RSA_OAEP, crowd->input,
                                    crowd->len, &secret, NULL) == KW_OK &&
                                kw_secret_len(secret) == 5
                          : kw_keyring_sign(crowd->keyring, crowd->key, KW_DIGEST_PS256, &nothing,
                                            digest, 32, out, NULL) == KW_OK;
        kw_secret_free(secret);
        kw_keyring_stats(crowd->keyring, &stats);
        if (!good || stats.sessions_in_use > stats.sessions)
            (void)atomic_fetch_add(&crowd->failed, 1);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    pthread_t threads[8];
    struct crowd crowd = {.keyring = start(&(struct plan){.probe_ms = 0})};
    crowd.key = found(crowd.keyring, NAME);
    crowd.len = encrypt(crowd.key, KW_RSA_OAEP, "hello", 5, crowd.input);
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &crowd), 0);
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&crowd.failed), 0);
    kw_keyring_free(crowd.keyring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_length_and_algorithm),
        cmocka_unit_test(every_failure_looks_the_same),
        cmocka_unit_test(what_is_on_record),
        cmocka_unit_test(the_keyring_is_told_the_purpose),
        cmocka_unit_test(a_digest_of_another_length_is_no_act),
        cmocka_unit_test(without_a_trail_nothing_is_done),
        cmocka_unit_test(a_disabled_key_does_nothing),
        cmocka_unit_test(the_other_token_serves),
        cmocka_unit_test(pings_leave_no_record),
        cmocka_unit_test(aes_keys_wrap_and_unwrap),
        cmocka_unit_test(each_call_fails_in_turn),
        cmocka_unit_test(many_threads),
    };
    return cmocka_run_group_tests_name("keys/operate", tests, two_tokens_setup, hsm_teardown);
}
