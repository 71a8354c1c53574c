/* Two tokens with the same key: which one unwraps, what is on record of it, and when the first one
 * is taken back. The first is reached through the module with faults, the second through a copy of
 * SoftHSM2's, so that a C_Finalize of the one is none of the other. */

#include "two_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROBE_MS 200

static struct kw_fault *fault;

static struct kw_keyring *start(const struct plan *plan)
{
    fault = hsm_fault();
    return two_tokens_open(plan);
}

/* ---- keys ---- */

static enum kw_status find(struct kw_keyring *keyring, const char *name,
                           const struct kw_token_key **ret_key, struct kw_error *err)
{
    return kw_keyring_find_to_unwrap(keyring, name, NULL, ret_key, err);
}

static const struct kw_token_key *found(struct kw_keyring *keyring, const char *name)
{
    const struct kw_token_key *key = NULL;
    struct kw_error err = {.status = KW_OK};
    if (find(keyring, name, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    return key;
}

/* A data key that was unwrapped once is kept, so each is another one: `number` is its first byte.
 */
static enum kw_status try_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key,
                                 const struct kw_token_key **ret_key, struct kw_error *err)
{
    static const struct kw_unwrap_policy policy = {.alg = KW_RSA_OAEP};
    static const struct kw_purpose purpose = {.run = NULL};
    struct kw_data_key data_key = {.secret = NULL};
    uint8_t fresh[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(key, KW_RSA_OAEP, fresh);
    enum kw_status status =
        kw_keyring_unwrap(keyring, key, &policy, &purpose, fresh, len, &data_key, err);
    if (status)
        return status;
    assert_true(hsm_is_known_secret(data_key.secret));
    *ret_key = data_key.key;
    kw_data_key_cleanup(&data_key);
    return KW_OK;
}

/* The label of the token that unwrapped. */
static const char *unwrapped_on(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    const struct kw_token_key *used = NULL;
    const struct kw_token_info *info = NULL;
    struct kw_error err = {.status = KW_OK};
    if (try_unwrap(keyring, key, &used, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_true(kw_rsa_same(&used->public, &key->public));
    assert_int_equal(kw_keyring_token_of(keyring, used, &info, &err), KW_OK);
    return info->label;
}

static bool on_spare(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    return strcmp(unwrapped_on(keyring, key), SPARE) == 0;
}

/* Until the first token has unwrapped again; milliseconds. */
static uint64_t wait_for_return(struct kw_keyring *keyring, const struct kw_token_key *key)
{
    uint64_t began = kw_now_ms();
    while (on_spare(keyring, key)) {
        if (kw_now_ms() - began > 30000)
            fail_msg("the first token was not taken back");
        (void)usleep(20000);
    }
    return kw_now_ms() - began;
}

/* ---- what was told ---- */

static void assert_trail(const char *expected)
{
    struct telling telling = {.op = NULL};
    two_tokens_read_trail(&telling);
    assert_string_equal(telling.text, expected);
}

static size_t count_in(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)); text += strlen(part))
        count++;
    return count;
}

static size_t count_on_trail(const char *part)
{
    struct telling telling = {.op = NULL};
    two_tokens_read_trail(&telling);
    return count_in(telling.text, part);
}

static size_t count_warnings(struct kw_keyring *keyring, const char *part)
{
    struct kw_strings warnings = KW_STRINGS_INIT(64);
    size_t count = 0;
    (void)kw_keyring_copy_warnings(keyring, 0, &warnings);
    for (size_t i = 0; i < warnings.count; i++)
        count += strstr(warnings.items[i], part) != NULL;
    kw_strings_cleanup(&warnings);
    return count;
}

static void wait_for_warning(struct kw_keyring *keyring, const char *part)
{
    uint64_t began = kw_now_ms();
    while (count_warnings(keyring, part) == 0) {
        if (kw_now_ms() - began > 10000)
            fail_msg("no warning has \"%s\"", part);
        (void)usleep(20000);
    }
}

#define HERE           "keyward test"
#define UNWRAP(on, is) "unwrap " on " intent -\nunwrap " on " outcome " is "\n"
#define TO_SPARE       "token.failover " SPARE " - -\n"
#define BACK           "token.return " HERE " - -\n"

/* ---- the tests ---- */

static void the_other_token_serves_and_the_first_comes_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = PROBE_MS});
    const struct kw_token_key *key = found(keyring, NAME);
    assert_false(on_spare(keyring, key));
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_true(on_spare(keyring, key));
    assert_string_equal(found(keyring, NAME)->label, SPARE_NAME);
    assert_int_equal(count_warnings(keyring, "[token a] failed and [token b] serves instead: "), 1);
    (void)usleep(2 * PROBE_MS * 1000); /* a probe, in vain */
    assert_true(on_spare(keyring, key));
    assert_trail(UNWRAP(HERE, "ok") UNWRAP(HERE, "token") TO_SPARE UNWRAP(SPARE, "ok")
                     UNWRAP(SPARE, "ok"));
    struct telling telling = {.op = "token.failover"};
    two_tokens_read_trail(&telling);
    assert_string_equal(telling.ck_rv, "0x00000032");
    assert_non_null(strstr(telling.detail, "[token b] serves in the place of [token a] "
                                           "(token keyward test, serial "));
    assert_non_null(strstr(telling.detail, "CKR_DEVICE_REMOVED"));

    const struct kw_token_key *spare_key = found(keyring, NAME);
    atomic_store(&fault->down, CKR_OK);
    assert_true(wait_for_return(keyring, spare_key) < 5000);
    assert_string_equal(found(keyring, NAME)->label, NAME);
    assert_false(on_spare(keyring, key));
    assert_int_equal(count_warnings(keyring, "[token a] is back and serves again"), 1);
    assert_int_equal(count_on_trail(TO_SPARE), 1);
    assert_int_equal(count_on_trail(BACK), 1);
    kw_keyring_free(keyring);
}

static void a_token_that_is_away_from_the_start(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = PROBE_MS});
    const struct kw_token_key *key = NULL;
    struct kw_error err = {.status = KW_OK};
    atomic_store(&fault->down, CKR_DEVICE_ERROR);
    /* Its keys were never read, so that the second one's own names count. */
    assert_int_equal(find(keyring, NAME, &key, &err), KW_TOKEN);
    assert_non_null(strstr(err.message, "[token b] can't serve instead: no key answers to"));
    assert_trail("");
    key = found(keyring, SPARE_NAME);
    assert_trail(TO_SPARE);
    assert_true(on_spare(keyring, key));
    atomic_store(&fault->down, CKR_OK);
    assert_true(wait_for_return(keyring, key) < 5000);
    assert_string_equal(found(keyring, NAME)->label, NAME);
    kw_keyring_free(keyring);
}

static void without_failover_the_failure_is_told(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.without = true});
    const struct kw_token_key *key = found(keyring, NAME), *used = NULL;
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_int_equal(try_unwrap(keyring, key, &used, NULL), KW_TOKEN);
    assert_trail(UNWRAP(HERE, "token"));
    kw_keyring_free(keyring);
}

static void a_failed_unwrap_is_no_failure_of_the_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct kw_unwrap_policy policy = {.automatic = true, .allow_rsa1_5 = true};
    static const struct kw_purpose purpose = {.run = NULL};
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = 0});
    struct kw_data_key data_key = {.secret = NULL};
    struct kw_error err = {.status = KW_OK};
    uint8_t damaged[KW_RSA_MAX_BYTES];
    memcpy(damaged, wrapped, wrapped_len);
    damaged[wrapped_len / 2] ^= 1;
    const struct kw_token_key *key = found(keyring, NAME);
    assert_int_equal(
        kw_keyring_unwrap(keyring, key, &policy, &purpose, damaged, wrapped_len, &data_key, &err),
        KW_KEY_UNWRAP);
    assert_int_equal(kw_keyring_unwrap(keyring, found(keyring, NAMESAKE), &policy, &purpose,
                                       wrapped, wrapped_len, &data_key, &err),
                     KW_KEY_UNWRAP);
    assert_int_equal(find(keyring, "no-such-key", &key, &err), KW_KEY_NOT_FOUND);
    assert_int_equal(count_on_trail("token."), 0);
    kw_keyring_free(keyring);
}

static void a_wrong_pin_is_told_and_not_covered_up(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.first_pin = wrong_pin_path});
    const struct kw_token_key *key = NULL;
    struct kw_error err = {.status = KW_OK};
    assert_int_equal(find(keyring, SPARE_NAME, &key, &err), KW_PIN_WRONG);
    assert_int_equal(find(keyring, SPARE_NAME, &key, &err), KW_PIN_WRONG);
    assert_int_equal(fault->logins, 1);
    assert_int_equal(count_on_trail("token."), 0);
    kw_keyring_free(keyring);
    hsm_prepare(NULL, 0); /* a good login, which takes the token's flags back */
}

static void the_probe_sends_no_pin_twice(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring =
        start(&(struct plan){.probe_ms = PROBE_MS, .first_pin = wrong_pin_path});
    atomic_store(&fault->down, CKR_DEVICE_ERROR);
    const struct kw_token_key *key = found(keyring, SPARE_NAME);
    fault->login_answer = CKR_PIN_INCORRECT;
    atomic_store(&fault->down, CKR_OK);
    wait_for_warning(keyring, "[token a] can't serve again before the program is started anew: ");
    (void)usleep(2 * PROBE_MS * 1000);
    assert_true(on_spare(keyring, key));
    assert_true(fault->logins <= 1); /* none where this PIN was refused before */
    assert_int_equal(count_warnings(keyring, "can't serve again"), 1);
    assert_int_equal(count_on_trail("token.return"), 0);
    kw_keyring_free(keyring);
}

static unsigned asked;

static enum kw_status ask_pin(void *context, const char *label, char *pin, size_t capacity,
                              size_t *ret_len)
{
    (void)context;
    (void)label;
    asked++;
    *ret_len = strlen(hsm.pin);
    assert_true(*ret_len <= capacity);
    memcpy(pin, hsm.pin, *ret_len);
    return KW_OK;
}

static void the_probe_asks_no_one(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    const CK_FLAGS flags[] = {0, CKF_PROTECTED_AUTHENTICATION_PATH};
    for (size_t i = 0; i < KW_COUNT(flags); i++) {
        struct kw_keyring *keyring =
            start(&(struct plan){.probe_ms = PROBE_MS, .first_pin = "prompt", .ask_pin = ask_pin});
        fault->set_flags = flags[i];
        atomic_store(&fault->down, CKR_DEVICE_ERROR);
        const struct kw_token_key *key = found(keyring, SPARE_NAME);
        atomic_store(&fault->down, CKR_OK);
        wait_for_warning(keyring, "[token a] can't serve again before the program is started anew");
        assert_int_equal(count_warnings(keyring, "no one is asked in the background"), 1);
        assert_true(on_spare(keyring, key));
        assert_int_equal(asked, 0);
        assert_int_equal(fault->logins, 0);
        kw_keyring_free(keyring);
    }
}

static void a_token_without_a_key_that_was_used_is_not_taken_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = PROBE_MS});
    const struct kw_token_key *key = found(keyring, NAME);
    struct failover *failover = keyring->failover;
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_true(on_spare(keyring, key));
    /* As if one had been used that the first token does not have. */
    struct kw_rsa_public foreign = key->public;
    foreign.modulus[foreign.modulus_len - 1] ^= 2;
    (void)pthread_mutex_lock(&failover->lock);
    failover->used[failover->used_next++] = foreign;
    (void)pthread_mutex_unlock(&failover->lock);
    atomic_store(&fault->down, CKR_OK);
    wait_for_warning(keyring, "[token a] can't serve again yet: the token \"keyward test\" has not "
                              "every key that is in use");
    (void)usleep(2 * PROBE_MS * 1000);
    assert_true(on_spare(keyring, key));
    assert_int_equal(count_warnings(keyring, "can't serve again yet"), 1);
    (void)pthread_mutex_lock(&failover->lock);
    failover->used_next--;
    (void)pthread_mutex_unlock(&failover->lock);
    (void)wait_for_return(keyring, key);
    kw_keyring_free(keyring);
}

static void another_key_of_that_name_is_not_used(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const struct {
        const char *name, *sentence;
    } cases[] = {
        {NAMESAKE, "the key of [token b] that is called like \"" NAMESAKE "\" is another key"},
        {ONLY_HERE, "[token b] has no key with the modulus of \"" ONLY_HERE "\""},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_keyring *keyring = start(&(struct plan){.probe_ms = 0});
        const struct kw_token_key *key = found(keyring, cases[i].name), *used = NULL;
        struct kw_error err = {.status = KW_OK};
        atomic_store(&fault->down, CKR_DEVICE_REMOVED);
        assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_TOKEN);
        assert_non_null(strstr(err.message, cases[i].sentence));
        assert_trail(UNWRAP(HERE, "token"));
        kw_keyring_free(keyring);
    }
}

static void both_tokens_away(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.second_module = "/nonexistent/module.so"});
    const struct kw_token_key *key = found(keyring, NAME), *used = NULL;
    struct kw_error err = {.status = KW_OK};
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_TOKEN);
        assert_int_equal(err.ck_rv, CKR_DEVICE_REMOVED);
        assert_non_null(strstr(err.message, "and [token b] can't serve instead: the PKCS#11 module "
                                            "/nonexistent/module.so"));
    }
    assert_trail(UNWRAP(HERE, "token") UNWRAP(HERE, "token"));
    /* It is back before the other one ever served. */
    atomic_store(&fault->down, CKR_OK);
    assert_false(on_spare(keyring, key));
    kw_keyring_free(keyring);
}

static void the_second_one_fails_too_and_the_first_is_back(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    /* Now the second one is behind the module with faults. */
    struct kw_keyring *keyring =
        start(&(struct plan){.first_module = copy_path, .second_module = hsm_fault_path()});
    const struct kw_token_key *key = found(keyring, NAME);
    assert_int_equal(
        kw_failover_switch(keyring->failover, 1, &(struct kw_error){.status = KW_TOKEN}, NULL),
        KW_OK);
    assert_int_equal(kw_keyring_reach(keyring->twin, false, NULL, 0, NULL), KW_OK);
    assert_true(on_spare(keyring, key));
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_false(on_spare(keyring, key));
    assert_int_equal(count_on_trail(UNWRAP(SPARE, "token") BACK UNWRAP(HERE, "ok")), 1);
    kw_keyring_free(keyring);
}

static void a_disabled_key_is_used_on_neither(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_error err = {.status = KW_OK};
    const struct kw_token_key *used = NULL;
    /* By this very process, on the first one, before it went away. */
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = 0});
    const struct kw_token_key *key = found(keyring, NAME);
    assert_int_equal(kw_keyring_step(keyring, key, KW_STEP_DISABLE, &err), KW_OK);
    assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_KEY_UNUSABLE);
    assert_int_equal(count_on_trail("token."), 0);
    assert_int_equal(kw_failover_switch(keyring->failover, 1, &err, NULL), KW_OK);
    assert_int_equal(kw_keyring_reach(keyring->twin, false, NULL, 0, NULL), KW_OK);
    assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "[token a] has the same key"));
    assert_int_equal(kw_keyring_step(keyring, key, KW_STEP_ENABLE, &err), KW_OK);
    assert_true(on_spare(keyring, key));
    /* On the second one: its own record counts, and is known to the first from then on. */
    const struct kw_token_key *spare_key = found(keyring, NAME);
    assert_string_equal(spare_key->label, SPARE_NAME);
    assert_int_equal(kw_keyring_step(keyring->twin, spare_key, KW_STEP_DISABLE, &err), KW_OK);
    assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_KEY_UNUSABLE);
    assert_int_equal(kw_failover_switch(keyring->failover, 0, NULL, NULL), KW_OK);
    assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_KEY_UNUSABLE);
    assert_non_null(strstr(err.message, "[token b] has the same key"));
    kw_keyring_free(keyring);
    /* And another process that comes to it. */
    keyring = start(&(struct plan){.probe_ms = 0});
    key = found(keyring, NAME);
    assert_false(on_spare(keyring, key));
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_KEY_UNUSABLE);
    spare_key = found(keyring, NAME);
    assert_int_equal(kw_keyring_step(keyring->twin, spare_key, KW_STEP_ENABLE, &err), KW_OK);
    assert_true(on_spare(keyring, key));
    kw_keyring_free(keyring);
}

/* What a token told goes on to count when its keys are to be read anew and it is away by then. */
static void what_was_known_survives_a_refresh(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_error err = {.status = KW_OK};
    const struct kw_token_key *used = NULL;
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = 0});
    const struct kw_token_key *key = found(keyring, NAME);
    assert_int_equal(kw_keyring_step(keyring, key, KW_STEP_DISABLE, &err), KW_OK);
    kw_keyring_refresh(keyring);
    key = found(keyring, NAME);
    assert_int_equal(try_unwrap(keyring, key, &used, &err), KW_KEY_UNUSABLE);
    kw_keyring_refresh(keyring);
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    enum kw_status status = kw_keyring_find_to_unwrap(keyring, NAME, NULL, &key, &err);
    if (!status)
        status = try_unwrap(keyring, key, &used, &err);
    assert_int_equal(status, KW_KEY_UNUSABLE);
    atomic_store(&fault->down, CKR_OK);
    kw_keyring_free(keyring);
    /* And what is true again is read again. */
    keyring = start(&(struct plan){.probe_ms = 0});
    key = found(keyring, NAME);
    assert_int_equal(kw_keyring_step(keyring, key, KW_STEP_ENABLE, &err), KW_OK);
    kw_keyring_refresh(keyring);
    key = found(keyring, NAME);
    assert_false(on_spare(keyring, key));
    kw_keyring_free(keyring);
}

static void what_changes_keys_goes_to_no_other_token(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = 0});
    const struct kw_token_key *key = found(keyring, NAME);
    struct kw_version *versions = NULL;
    struct kw_token_key made;
    size_t count = 0;
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_true(on_spare(keyring, key));
    const struct kw_new_key wanted = {
        .name = "kw-new", .bits = 2048, .not_before = "", .expires = ""};
    assert_int_equal(kw_keyring_create(keyring, &wanted, &made, NULL), KW_TOKEN);
    assert_int_equal(kw_keyring_step(keyring, key, KW_STEP_DELETE, NULL), KW_TOKEN);
    assert_int_equal(kw_keyring_versions(keyring->twin, NULL, &versions, &count, NULL), KW_OK);
    for (size_t i = 0; i < count; i++)
        assert_string_not_equal(versions[i].key->label, "kw-new");
    free(versions);
    kw_keyring_free(keyring);
    keyring = start(&(struct plan){.probe_ms = 0});
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_int_equal(kw_keyring_versions(keyring, NULL, &versions, &count, NULL), KW_TOKEN);
    assert_int_equal(kw_keyring_find(keyring, SPARE_NAME, NULL, &key, NULL), KW_TOKEN);
    kw_keyring_free(keyring);
}

static void a_flapping_token_is_waited_for_ever_longer(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = PROBE_MS});
    const struct kw_token_key *key = found(keyring, NAME);
    static const uint64_t least_ms[] = {PROBE_MS, 2 * PROBE_MS, 4 * PROBE_MS};
    for (size_t i = 0; i < KW_COUNT(least_ms); i++) {
        atomic_store(&fault->down, CKR_DEVICE_REMOVED);
        assert_true(on_spare(keyring, key));
        atomic_store(&fault->down, CKR_OK);
        uint64_t waited = wait_for_return(keyring, key);
        assert_in_range(waited, least_ms[i] - 50, least_ms[i] + 1000);
    }
    kw_keyring_free(keyring);
}

static void a_hang_is_a_failure_and_its_end_a_return(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = PROBE_MS});
    const struct kw_token_key *key = found(keyring, NAME);
    assert_false(on_spare(keyring, key));
    atomic_store(&fault->hang, "C_DecryptInit");
    uint64_t began = kw_now_ms();
    assert_true(on_spare(keyring, key));
    assert_in_range(kw_now_ms() - began, 900, 3000);
    began = kw_now_ms();
    for (int i = 0; i < 20; i++)
        assert_true(on_spare(keyring, key)); /* none of these waits for the first one */
    assert_true(kw_now_ms() - began < 1000);
    atomic_store(&fault->hang, NULL);
    atomic_store(&fault->released, true);
    assert_true(wait_for_return(keyring, key) < 5000);
    kw_keyring_free(keyring);
}

static void a_keyring_ends_while_its_probe_hangs(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring = start(&(struct plan){.probe_ms = PROBE_MS});
    const struct kw_token_key *key = found(keyring, NAME);
    atomic_store(&fault->down, CKR_DEVICE_REMOVED);
    assert_true(on_spare(keyring, key));
    atomic_store(&fault->hang, "C_GetSlotList");
    atomic_store(&fault->down, CKR_OK);
    uint64_t began = kw_now_ms();
    while (atomic_load(&fault->hanging) == 0 && kw_now_ms() - began < 5000)
        (void)usleep(10000);
    assert_int_equal(atomic_load(&fault->hanging), 1);
    assert_true(on_spare(keyring, key));
    began = kw_now_ms();
    kw_keyring_free(keyring);
    assert_true(kw_now_ms() - began < 3000);
    atomic_store(&fault->hang, NULL);
    atomic_store(&fault->released, true);
    while (kw_longest_hang_ms() > 0)
        (void)usleep(1000);
}

/* Both tokens in one module, which is initialised once for the two. */
static void two_tokens_of_one_module(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_keyring *keyring =
        start(&(struct plan){.probe_ms = PROBE_MS, .second_module = hsm_fault_path()});
    const struct kw_token_key *key = found(keyring, NAME);
    assert_false(on_spare(keyring, key));
    assert_int_equal(kw_keyring_reach(keyring->twin, false, NULL, 0, NULL), KW_OK);
    unsigned finalizes = fault->finalizes;
    /* Both have lost all that they had, and each finds it again, behind the other one's back. */
    assert_int_equal(hsm_functions()->C_Finalize(NULL), CKR_OK);
    assert_int_equal(
        kw_failover_switch(keyring->failover, 1, &(struct kw_error){.status = KW_TOKEN}, NULL),
        KW_OK);
    assert_true(on_spare(keyring, key));
    (void)wait_for_return(keyring, key);
    assert_false(on_spare(keyring, key));
    assert_int_equal(fault->finalizes, finalizes);
    kw_keyring_free(keyring);
}

/* ---- threads ---- */

struct crowd {
    struct kw_keyring *keyring;
    const struct kw_token_key *key;
    atomic_bool over;
    atomic_uint unwrapped, failed;
};

static void *unwrap_on_and_on(void *argument)
{
    struct crowd *crowd = argument;
    const struct kw_token_key *used = NULL;
    while (!atomic_load(&crowd->over)) {
        if (try_unwrap(crowd->keyring, crowd->key, &used, NULL) == KW_OK)
            atomic_fetch_add(&crowd->unwrapped, 1);
        else
            atomic_fetch_add(&crowd->failed, 1);
        (void)kw_keyring_copy_warnings(crowd->keyring, 0, NULL);
    }
    return NULL;
}

static void threads_that_unwrap_see_no_failure(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct crowd crowd = {.keyring = start(&(struct plan){.probe_ms = PROBE_MS})};
    pthread_t threads[3];
    crowd.key = found(crowd.keyring, NAME);
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, unwrap_on_and_on, &crowd), 0);
    for (int i = 0; i < 2; i++) {
        (void)usleep(200000);
        atomic_store(&fault->down, CKR_DEVICE_ERROR);
        (void)usleep(300000);
        atomic_store(&fault->down, CKR_OK);
        uint64_t began = kw_now_ms();
        while (count_warnings(crowd.keyring, "is back and serves again") <= (size_t)i) {
            assert_true(kw_now_ms() - began < 10000);
            (void)usleep(20000);
        }
    }
    atomic_store(&crowd.over, true);
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&crowd.failed), 0);
    assert_true(atomic_load(&crowd.unwrapped) > 10);
    assert_int_equal(count_warnings(crowd.keyring, "failed and [token b] serves instead"), 2);
    kw_keyring_free(crowd.keyring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_other_token_serves_and_the_first_comes_back),
        cmocka_unit_test(a_token_that_is_away_from_the_start),
        cmocka_unit_test(without_failover_the_failure_is_told),
        cmocka_unit_test(a_failed_unwrap_is_no_failure_of_the_token),
        cmocka_unit_test(another_key_of_that_name_is_not_used),
        cmocka_unit_test(both_tokens_away),
        cmocka_unit_test(the_second_one_fails_too_and_the_first_is_back),
        cmocka_unit_test(a_disabled_key_is_used_on_neither),
        cmocka_unit_test(what_was_known_survives_a_refresh),
        cmocka_unit_test(what_changes_keys_goes_to_no_other_token),
        cmocka_unit_test(a_flapping_token_is_waited_for_ever_longer),
        cmocka_unit_test(a_hang_is_a_failure_and_its_end_a_return),
        cmocka_unit_test(a_keyring_ends_while_its_probe_hangs),
        cmocka_unit_test(two_tokens_of_one_module),
        cmocka_unit_test(threads_that_unwrap_see_no_failure),
        cmocka_unit_test(the_probe_asks_no_one),
        cmocka_unit_test(a_token_without_a_key_that_was_used_is_not_taken_back),
        cmocka_unit_test(a_wrong_pin_is_told_and_not_covered_up),
        cmocka_unit_test(the_probe_sends_no_pin_twice),
    };
    return cmocka_run_group_tests(tests, two_tokens_setup, hsm_teardown);
}
