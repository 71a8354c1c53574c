/* How long failures of an unwrap take: it must not tell why they failed.
 *
 * KW_TIMING_SAMPLES is how many of each class are measured; tests/run --attacks takes many. What
 * the token's own C_Decrypt takes is measured in the same run and taken off: the claim is on what
 * Keyward adds to it. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "../pkcs11/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "keys/internal.h"
#include "timing.h"

#define MODULUS 256
#define POOL    32 /* inputs of a class */
#define NONE    SIZE_MAX
#define ALL     (SIZE_MAX - 1)

static char config_path[128], token_uri[512];

static int setup(void **state)
{
    static const struct hsm_key keys[] = {
        {.label = "kw-timed", .id = "\x01", .id_len = 1},
        {.label = "kw-other", .id = "\x02", .id_len = 1},
    };
    int result = hsm_setup(state);
    if (result || !hsm.made_here)
        return result;
    hsm_prepare(keys, KW_COUNT(keys));
    char path[128];
    snprintf(path, sizeof(path), "%s/pin", hsm.folder);
    snprintf(config_path, sizeof(config_path), "%s/keys.conf", hsm.folder);
    snprintf(token_uri, sizeof(token_uri), "%s?module-path=%s&pin-source=file:%s", hsm.uri,
             hsm_fault_path(), path);
    FILE *pin = fopen(path, "w"), *config = fopen(config_path, "w");
    assert_true(pin && config && fputs(hsm.pin, pin) >= 0);
    /* A disk that syncs the trail takes longer than all that is of interest here. */
    assert_true(fputs("[audit]\nenabled = no\n", config) >= 0);
    assert_int_equal(fclose(pin) | fclose(config), 0);
    assert_int_equal(chmod(path, 0600) | chmod(config_path, 0600), 0);
    return setenv("XDG_STATE_HOME", hsm.folder, 1) | setenv("XDG_CONFIG_HOME", hsm.folder, 1);
}

static size_t samples(size_t few)
{
    const char *many = getenv("KW_TIMING_SAMPLES");
    return many ? strtoul(many, NULL, 10) : few;
}

/* ---- what is given to be unwrapped ---- */

/* In what the padding differs from a right one. */
enum class {
    FIRST_BYTE,     /* OAEP: not 0. RSA1_5: bytes 0 and 1 are not 0 and 2 */
    LABEL_HASH,     /* its first byte. RSA1_5: no zero byte after the padding */
    LABEL_HASH_END, /* its last byte. RSA1_5: a zero byte within the first 8 of the padding */
    NO_SEPARATOR,   /* OAEP: zeros to the end. RSA1_5: good, but it holds 31 bytes */
    RANDOM,         /* no padding at all */
    CLASSES
};
static const char *const oaep_names[CLASSES] = {
    "the first byte is not 0", "the label's hash differs at once", "the label's hash differs late",
    "no byte 1 after the zeros", "random bytes"};
static const char *const pkcs1_names[CLASSES] = {"it does not begin with 0 and 2", "no zero byte",
                                                 "a zero byte too early", "right, but no data key",
                                                 "random bytes"};

static void fill_nonzero(uint8_t *out, size_t len)
{
    assert_int_equal(RAND_bytes(out, (int)len), 1);
    for (size_t i = 0; i < len; i++)
        if (out[i] == 0)
            out[i] = 1;
}

/* RFC 8017 section 7.1.1, with one thing wrong. */
static void encode_oaep(enum kw_wrap_alg alg, enum class class, uint8_t em[MODULUS])
{
    const EVP_MD *hash = alg == KW_RSA_OAEP ? EVP_sha1() : EVP_sha256();
    size_t len = (size_t)EVP_MD_get_size(hash), db_len = MODULUS - len - 1;
    uint8_t mask[MODULUS], *seed = em + 1, *db = em + 1 + len;
    memset(em, 0, MODULUS);
    assert_int_equal(RAND_bytes(seed, (int)len), 1);
    assert_int_equal(EVP_Digest("", 0, db, NULL, hash, NULL), 1);
    if (class != NO_SEPARATOR) {
        db[db_len - 33] = 1;
        assert_int_equal(RAND_bytes(db + db_len - 32, 32), 1);
    }
    db[0] ^= class == LABEL_HASH;
    db[len - 1] ^= class == LABEL_HASH_END;
    if (class == RANDOM)
        assert_int_equal(RAND_bytes(db, (int)db_len), 1);
    assert_int_equal(PKCS1_MGF1(mask, (long)db_len, seed, (long)len, hash), 0);
    for (size_t i = 0; i < db_len; i++)
        db[i] ^= mask[i];
    assert_int_equal(PKCS1_MGF1(mask, (long)len, db, (long)db_len, hash), 0);
    for (size_t i = 0; i < len; i++)
        seed[i] ^= mask[i];
    em[0] = class == FIRST_BYTE;
}

/* RFC 8017 section 7.2.1. */
static void encode_pkcs1(enum class class, uint8_t em[MODULUS])
{
    fill_nonzero(em, MODULUS);
    em[0] = 0;
    em[1] = class == FIRST_BYTE ? 1 : 2;
    em[MODULUS - 32] = class == LABEL_HASH ? 1 : 0;
    if (class == LABEL_HASH_END)
        em[5] = 0;
    if (class == RANDOM) {
        assert_int_equal(RAND_bytes(em, MODULUS), 1);
        em[0] = 0;
    }
}

static void encode(enum kw_wrap_alg alg, enum class class, uint8_t em[MODULUS])
{
    if (alg == KW_RSA1_5)
        encode_pkcs1(class, em);
    else
        encode_oaep(alg, class, em);
}

/* RSA without padding. */
static void encrypt(const struct kw_rsa_public *key, uint8_t number[MODULUS])
{
    BN_CTX *context = BN_CTX_new();
    BIGNUM *n = BN_bin2bn(key->modulus, (int)key->modulus_len, NULL);
    BIGNUM *e = BN_bin2bn(key->exponent, (int)key->exponent_len, NULL);
    BIGNUM *x = BN_bin2bn(number, MODULUS, NULL);
    assert_int_equal(BN_mod_exp(x, x, e, n, context), 1);
    assert_int_equal(BN_bn2binpad(x, number, MODULUS), MODULUS);
    BN_free(n);
    BN_free(e);
    BN_free(x);
    BN_CTX_free(context);
}

/* ---- the verdict ---- */

/* No claim is made on `class_not_claimed`, nor on any where that is ALL. */
static void judge(const struct timing *timing, const char *what, const char *const *names,
                  size_t class_not_claimed)
{
    for (size_t i = 1; i < timing->classes; i++) {
        double difference = 0, t = timing_compare(timing, i, &difference);
        print_message("%s: \"%s\" against \"%s\": |t| %.1f, median %+.0f ns, %zu and %zu times%s\n",
                      what, names[i], names[0], t, difference, timing->counts[i], timing->counts[0],
                      t > TIMING_SUSPECT ? " (to be looked at)" : "");
        bool claimed = class_not_claimed != ALL && class_not_claimed != i;
        if (claimed && t > TIMING_LEAK)
            fail_msg("%s: the time tells \"%s\" from \"%s\"", what, names[i], names[0]);
    }
}

/* ---- does it see a leak at all? ---- */

static volatile unsigned sink;

static void work(unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++)
        sink += i;
}

static void measure_work(unsigned more, double *ret_t)
{
    struct timing timing;
    double difference;
    timing_start(&timing, 2, 4000);
    for (size_t i = 0; i < 8000; i++) {
        size_t class = timing_choose(2);
        double before = timing_now();
        work(2000 + (class ? more : 0));
        timing_add(&timing, class, timing_now() - before);
    }
    *ret_t = timing_compare(&timing, 1, &difference);
    timing_free(&timing);
}

/* One part in twenty more is seen; nothing more is not. */
static void an_artificial_leak_is_seen(void **state)
{
    (void)state;
    double leaky = 0, even = 0;
    measure_work(100, &leaky);
    measure_work(0, &even);
    print_message("artificial: |t| %.1f with a leak, %.1f without\n", leaky, even);
    assert_true(leaky > TIMING_LEAK);
    assert_true(even < TIMING_LEAK);
}

/* ---- the padding check on the host ---- */

static void the_check_of_oaep(void **state)
{
    (void)state;
    HSM_NEEDED();
    static uint8_t pool[CLASSES][POOL][MODULUS];
    for (enum kw_wrap_alg alg = KW_RSA_OAEP; alg <= KW_RSA_OAEP_256; alg++) {
        struct timing timing;
        struct kw_secret *encoded = NULL, *plain = NULL;
        size_t count = samples(2000) * 5;
        for (enum class class = 0; class < CLASSES; class ++)
            for (size_t i = 0; i < POOL; i++)
                encode(alg, class, pool[class][i]);
        assert_int_equal(kw_secret_new(MODULUS, &encoded, NULL), KW_OK);
        kw_secret_set_len(encoded, MODULUS);
        timing_start(&timing, CLASSES, count);
        for (size_t i = 0; i < count * CLASSES; i++) {
            size_t class = timing_choose(CLASSES);
            struct kw_error err;
            memcpy(kw_secret_data(encoded), pool[class][timing_choose(POOL)], MODULUS);
            double before = timing_now();
            enum kw_status status = kw_oaep_decode(hsm.crypto, alg, encoded, &plain, &err);
            timing_add(&timing, class, timing_now() - before);
            assert_int_equal(status, KW_KEY_UNWRAP);
        }
        judge(&timing, kw_wrap_alg_name(alg), oaep_names, NONE);
        timing_free(&timing);
        kw_secret_free(encoded);
    }
}

/* ---- all of an unwrap ---- */

static uint8_t wrapped[CLASSES][POOL][MODULUS];

static void fill_wrapped(const struct kw_token_key *key, enum kw_wrap_alg alg)
{
    for (enum class class = 0; class < CLASSES; class ++)
        for (size_t i = 0; i < POOL; i++) {
            encode(alg, class, wrapped[class][i]);
            encrypt(&key->public, wrapped[class][i]);
        }
}

struct rig {
    struct kw_keyring *keyring;
    const struct kw_token_key *key;
    struct kw_fault *fault;
    struct kw_error first;
    enum kw_wrap_alg alg;
    struct timing added, tokens;
};

static void rig_start(struct rig *rig, enum kw_wrap_alg alg, size_t classes)
{
    const struct kw_keyring_options options = {.token = token_uri, .config_file = config_path};
    struct kw_error err = {.status = KW_OK};
    memset(rig, 0, sizeof(*rig));
    rig->fault = hsm_fault();
    rig->alg = alg;
    if (kw_keyring_open(&options, &rig->keyring, &err) != KW_OK ||
        kw_keyring_find(rig->keyring, "kw-timed", NULL, &rig->key, &err) != KW_OK)
        fail_msg("%s", err.message);
    fill_wrapped(rig->key, alg);
    timing_start(&rig->added, classes, samples(250));
    timing_start(&rig->tokens, classes, samples(250));
}

static void rig_end(struct rig *rig)
{
    timing_free(&rig->added);
    timing_free(&rig->tokens);
    kw_keyring_free(rig->keyring);
}

static void measure(struct rig *rig, size_t class, const uint8_t *input)
{
    const struct kw_unwrap_policy policy = {.alg = rig->alg, .allow_rsa1_5 = true};
    const struct kw_purpose purpose = {.run = NULL};
    struct kw_data_key data_key = {.secret = NULL};
    struct kw_error err = {.status = KW_OK};
    unsigned long token_before = rig->fault->decrypt_ns;
    double before = timing_now();
    enum kw_status status = kw_keyring_unwrap(rig->keyring, rig->key, &policy, &purpose, input,
                                              MODULUS, &data_key, &err);
    double all = timing_now() - before;
    double token = (double)(rig->fault->decrypt_ns - token_before);
    assert_int_equal(status, KW_KEY_UNWRAP);
    if (rig->first.status == KW_OK)
        rig->first = err;
    assert_string_equal(err.message, rig->first.message);
    timing_add(&rig->added, class, all - token);
    timing_add(&rig->tokens, class, token);
}

static void unwrap_fails_in_equal_time(enum kw_wrap_alg alg, const char *const *names)
{
    struct rig rig;
    char what[64];
    rig_start(&rig, alg, CLASSES);
    for (size_t i = 0; i < rig.added.room * CLASSES; i++) {
        size_t class = timing_choose(CLASSES);
        measure(&rig, class, wrapped[class][timing_choose(POOL)]);
    }
    (void)snprintf(what, sizeof(what), "%s, the token's part", kw_wrap_alg_name(alg));
    judge(&rig.tokens, what, names, ALL);
    (void)snprintf(what, sizeof(what), "%s, Keyward's part", kw_wrap_alg_name(alg));
    /* Of the one that decrypts, see the_answer_alone. */
    judge(&rig.added, what, names, alg == KW_RSA1_5 ? NO_SEPARATOR : NONE);
    rig_end(&rig);
}

/* Good padding of something that is no data key, the one secret of RSA1_5. The token does the same
 * each time and only what it answers differs: SoftHSM2, which logs a failure, leaves processor and
 * caches in another state then, and that would be taken for Keyward's. */
static void the_answer_alone(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const char *const names[] = {"it does not decrypt", "it decrypts, and is no data key"};
    struct rig rig;
    rig_start(&rig, KW_RSA1_5, KW_COUNT(names));
    for (size_t i = 0; i < rig.added.room * KW_COUNT(names); i++) {
        size_t class = timing_choose(KW_COUNT(names));
        rig.fault->decrypt_late_answer = class ? CKR_OK : CKR_ENCRYPTED_DATA_INVALID;
        measure(&rig, class, wrapped[NO_SEPARATOR][timing_choose(POOL)]);
    }
    rig.fault->decrypt_late_answer = CKR_OK;
    judge(&rig.added, "RSA1_5, the same work of the token", names, NONE);
    rig_end(&rig);
}

static void failures_of_oaep(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    unwrap_fails_in_equal_time(KW_RSA_OAEP, oaep_names);
}

static void failures_of_rsa1_5(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    unwrap_fails_in_equal_time(KW_RSA1_5, pkcs1_names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_artificial_leak_is_seen), cmocka_unit_test(the_check_of_oaep),
        cmocka_unit_test(failures_of_oaep),           cmocka_unit_test(failures_of_rsa1_5),
        cmocka_unit_test(the_answer_alone),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
