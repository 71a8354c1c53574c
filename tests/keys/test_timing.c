/* How long failures of an unwrap take: it must not tell why they failed.
 *
 * KW_TIMING_SAMPLES is how many of each class are measured; tests/run --attacks takes many. What
 * the token's own C_Decrypt takes is measured in the same run and taken off: the claim is on what
 * Keyward adds to it. */
#include "../pkcs11/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "keys/internal.h"
#include "padding.h"
#include "timing.h"

#define POOL 32 /* inputs of a class */
#define NONE SIZE_MAX
#define ALL  (SIZE_MAX - 1)

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
    static uint8_t pool[PADDING_CLASSES][POOL][PADDING_MODULUS];
    for (enum kw_wrap_alg alg = KW_RSA_OAEP; alg <= KW_RSA_OAEP_256; alg++) {
        struct timing timing;
        struct kw_secret *encoded = NULL, *plain = NULL;
        size_t count = samples(2000) * 5;
        for (enum padding_class class = 0; class < PADDING_CLASSES; class ++)
            for (size_t i = 0; i < POOL; i++)
                padding_encode(alg, class, pool[class][i]);
        assert_int_equal(kw_secret_new(PADDING_MODULUS, &encoded, NULL), KW_OK);
        kw_secret_set_len(encoded, PADDING_MODULUS);
        timing_start(&timing, PADDING_CLASSES, count);
        for (size_t i = 0; i < count * PADDING_CLASSES; i++) {
            size_t class = timing_choose(PADDING_CLASSES);
            struct kw_error err;
            memcpy(kw_secret_data(encoded), pool[class][timing_choose(POOL)], PADDING_MODULUS);
            double before = timing_now();
            enum kw_status status = kw_oaep_decode(hsm.crypto, alg, encoded, &plain, &err);
            timing_add(&timing, class, timing_now() - before);
            assert_int_equal(status, KW_KEY_UNWRAP);
        }
        judge(&timing, kw_wrap_alg_name(alg), padding_names(alg), NONE);
        timing_free(&timing);
        kw_secret_free(encoded);
    }
}

/* ---- all of an unwrap ---- */

static uint8_t wrapped[PADDING_CLASSES][POOL][PADDING_MODULUS];

static void fill_wrapped(const struct kw_token_key *key, enum kw_wrap_alg alg)
{
    for (enum padding_class class = 0; class < PADDING_CLASSES; class ++)
        for (size_t i = 0; i < POOL; i++) {
            padding_encode(alg, class, wrapped[class][i]);
            padding_encrypt(&key->public, wrapped[class][i]);
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
                                              PADDING_MODULUS, &data_key, &err);
    double all = timing_now() - before;
    double token = (double)(rig->fault->decrypt_ns - token_before);
    assert_int_equal(status, KW_KEY_UNWRAP);
    if (rig->first.status == KW_OK)
        rig->first = err;
    assert_string_equal(err.message, rig->first.message);
    timing_add(&rig->added, class, all - token);
    timing_add(&rig->tokens, class, token);
}

static void unwrap_fails_in_equal_time(enum kw_wrap_alg alg)
{
    const char *const *names = padding_names(alg);
    struct rig rig;
    char what[64];
    rig_start(&rig, alg, PADDING_CLASSES);
    for (size_t i = 0; i < rig.added.room * PADDING_CLASSES; i++) {
        size_t class = timing_choose(PADDING_CLASSES);
        measure(&rig, class, wrapped[class][timing_choose(POOL)]);
    }
    (void)snprintf(what, sizeof(what), "%s, the token's part", kw_wrap_alg_name(alg));
    judge(&rig.tokens, what, names, ALL);
    (void)snprintf(what, sizeof(what), "%s, Keyward's part", kw_wrap_alg_name(alg));
    /* Of the one that decrypts, see the_answer_alone. */
    judge(&rig.added, what, names, alg == KW_RSA1_5 ? PADDING_NO_SEPARATOR : NONE);
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
        measure(&rig, class, wrapped[PADDING_NO_SEPARATOR][timing_choose(POOL)]);
    }
    rig.fault->decrypt_late_answer = CKR_OK;
    judge(&rig.added, "RSA1_5, the same work of the token", names, NONE);
    rig_end(&rig);
}

static void failures_of_oaep(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    unwrap_fails_in_equal_time(KW_RSA_OAEP);
}

static void failures_of_rsa1_5(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    unwrap_fails_in_equal_time(KW_RSA1_5);
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
