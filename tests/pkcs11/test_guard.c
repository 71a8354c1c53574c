/* A module that hangs: in each function, in each step of using a token, with many threads. */
#include "fixture.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

/* How late an answer may be on a machine that has other things to do. */
#define LATE_MS 5000

static const struct hsm_key keys[] = {
    {.label = "kw-guard", .id = "\x01", .id_len = 1},
};

static int setup(void **state)
{
    int result = hsm_setup(state);
    if (!result && hsm.there)
        hsm_prepare(keys, KW_COUNT(keys));
    return result;
}

static void release(struct kw_fault *fault)
{
    atomic_store(&fault->hang, NULL);
    atomic_store(&fault->released, true);
}

/* ---- each function ---- */

/* Arguments on the heap, freed as soon as the call is over: what comes late may not touch them. */
struct arguments {
    CK_ULONG numbers[4];
    CK_BYTE bytes[512];
    CK_RSA_PKCS_OAEP_PARAMS oaep;
    struct kw_rsa_aes_params whole;
    CK_MECHANISM mechanism;
    CK_ATTRIBUTE items[2];
    union {
        struct kw_init_args init;
        CK_INFO info;
        CK_SLOT_INFO slot;
        CK_TOKEN_INFO token;
        CK_SESSION_INFO session;
    } out;
};

static struct arguments *arguments_new(void)
{
    struct arguments *it = calloc(1, sizeof(*it));
    assert_non_null(it);
    it->numbers[0] = it->numbers[1] = 8;
    it->oaep = (CK_RSA_PKCS_OAEP_PARAMS){CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0};
    it->whole = (struct kw_rsa_aes_params){256, &it->oaep};
    it->mechanism = (CK_MECHANISM){CKM_RSA_AES_KEY_WRAP, &it->whole, sizeof(it->whole)};
    it->items[0] = (CK_ATTRIBUTE){CKA_LABEL, it->bytes, 16};
    it->items[1] = (CK_ATTRIBUTE){CKA_ID, it->bytes + 16, 16};
    it->out.init.args.flags = CKF_OS_LOCKING_OK;
    return it;
}

static CK_SESSION_HANDLE session; /* the guard knows it, and the module does not any more */
static CK_SLOT_ID slot; /* SoftHSM2 throws where there is none, which AddressSanitizer can't take */

/* One call of every function that is used, with handles that mean nothing. */
#define CALL(name, ...)                                                                            \
    static CK_RV call_##name(const CK_FUNCTION_LIST *list, struct arguments *it)                   \
    {                                                                                              \
        (void)it;                                                                                  \
        return list->C_##name(__VA_ARGS__);                                                        \
    }
CALL(Initialize, &it->out)
CALL(Finalize, NULL)
CALL(GetInfo, &it->out.info)
CALL(GetSlotList, CK_TRUE, (CK_SLOT_ID *)it->bytes, it->numbers)
CALL(GetSlotInfo, slot, &it->out.slot)
CALL(GetTokenInfo, slot, &it->out.token)
CALL(InitToken, slot, it->bytes, 8, it->bytes + 32)
CALL(InitPIN, session, it->bytes, 8)
CALL(OpenSession, slot, CKF_SERIAL_SESSION, NULL, NULL, it->numbers)
CALL(CloseSession, session)
CALL(GetSessionInfo, session, &it->out.session)
CALL(Login, session, CKU_USER, it->bytes, 8)
CALL(Logout, session)
CALL(CreateObject, session, it->items, 2, it->numbers)
CALL(DestroyObject, session, 1)
CALL(GetAttributeValue, session, 1, it->items, 2)
CALL(SetAttributeValue, session, 1, it->items, 2)
CALL(FindObjectsInit, session, it->items, 2)
CALL(FindObjects, session, (CK_OBJECT_HANDLE *)it->bytes, 8, it->numbers)
CALL(FindObjectsFinal, session)
CALL(DecryptInit, session, &it->mechanism, 1)
CALL(Decrypt, session, it->bytes, 8, it->bytes + 8, it->numbers)
CALL(SignInit, session, &it->mechanism, 1)
CALL(Sign, session, it->bytes, 8, it->bytes + 8, it->numbers)
CALL(GenerateKey, session, &it->mechanism, it->items, 2, it->numbers)
CALL(GenerateKeyPair, session, &it->mechanism, it->items, 1, it->items + 1, 1, it->numbers,
     it->numbers + 1)
CALL(WrapKey, session, &it->mechanism, 1, 2, it->bytes, it->numbers)
CALL(UnwrapKey, session, &it->mechanism, 1, it->bytes, 8, it->items, 2, it->numbers)

#define TIMEOUT_MS 40
#define FUNCTION(name, patience)                                                                   \
    {                                                                                              \
        "C_" #name, call_##name, patience                                                          \
    }
static const struct function {
    const char *name;
    CK_RV (*call)(const CK_FUNCTION_LIST *list, struct arguments *it);
    unsigned patience;
} functions[] = {
    FUNCTION(Initialize, 1),
    FUNCTION(GetInfo, 1),
    FUNCTION(GetSlotList, 1),
    FUNCTION(GetSlotInfo, 1),
    FUNCTION(GetTokenInfo, 1),
    FUNCTION(InitToken, 1),
    FUNCTION(InitPIN, 1),
    FUNCTION(OpenSession, 1),
    FUNCTION(CloseSession, 1),
    FUNCTION(GetSessionInfo, 1),
    FUNCTION(Login, 1),
    FUNCTION(Logout, 1),
    FUNCTION(CreateObject, 1),
    FUNCTION(DestroyObject, 1),
    FUNCTION(GetAttributeValue, 1),
    FUNCTION(SetAttributeValue, 1),
    FUNCTION(FindObjectsInit, 1),
    FUNCTION(FindObjects, 1),
    FUNCTION(FindObjectsFinal, 1),
    FUNCTION(DecryptInit, 1),
    FUNCTION(Decrypt, 1),
    FUNCTION(SignInit, 1),
    FUNCTION(Sign, 1),
    FUNCTION(GenerateKey, 10),
    FUNCTION(WrapKey, 1),
    FUNCTION(GenerateKeyPair, 10),
    FUNCTION(UnwrapKey, 1),
    FUNCTION(Finalize, 1), /* the last one: it is done when it is released */
};

static CK_RV call(const CK_FUNCTION_LIST *list, const struct function *function)
{
    struct arguments *arguments = arguments_new();
    CK_RV rv = function->call(list, arguments);
    memset(arguments, 0xA5, sizeof(*arguments));
    free(arguments);
    return rv;
}

static void lose_session(const CK_FUNCTION_LIST *list)
{
    assert_int_equal(list->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_OK);
    assert_int_equal(hsm_functions()->C_CloseAllSessions(slot), CKR_OK);
}

static void wait_for_guard(struct kw_guard *guard)
{
    uint64_t since = kw_now_ms();
    while (kw_guard_is_stuck(guard, NULL) && kw_now_ms() - since < LATE_MS)
        (void)usleep(1000);
    assert_false(kw_guard_is_stuck(guard, NULL));
}

static void hangs(struct kw_guard *guard, struct kw_fault *fault, const struct function *function)
{
    const CK_FUNCTION_LIST *list = kw_guard_functions(guard);
    unsigned waited_ms = 0;
    atomic_store(&fault->released, false);
    atomic_store(&fault->hung, 0);
    atomic_store(&fault->hang, function->name);
    uint64_t since = kw_now_ms();
    if (call(list, function) != KW_CKR_TIMED_OUT)
        fail_msg("%s gave an answer", function->name);
    uint64_t took = kw_now_ms() - since;
    if (took + 1 < TIMEOUT_MS * function->patience || took > LATE_MS)
        fail_msg("%s took %u ms", function->name, (unsigned)took);
    assert_true(kw_guard_is_stuck(guard, &waited_ms));
    assert_int_equal(waited_ms, TIMEOUT_MS * function->patience);
    for (size_t i = 0; i < KW_COUNT(functions); i++)
        assert_int_equal(call(list, &functions[i]), KW_CKR_TIMED_OUT);
    assert_int_equal(atomic_load(&fault->hung), 1); /* none of them came as far as the module */
    release(fault);
    wait_for_guard(guard);
}

static struct kw_guard *guard_of_fault(void)
{
    CK_RV (*get)(CK_FUNCTION_LIST **);
    void *symbol = hsm_fault_symbol("C_GetFunctionList");
    memcpy(&get, &symbol, sizeof(get));
    CK_FUNCTION_LIST *list = NULL;
    struct kw_guard *guard = NULL;
    assert_int_equal(get(&list), CKR_OK);
    assert_int_equal(kw_guard_new(list, &guard, NULL), KW_OK);
    return guard;
}

static void each_function(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_guard *guard = guard_of_fault();
    const CK_FUNCTION_LIST *list = kw_guard_functions(guard);
    kw_guard_set_timeout(guard, LATE_MS);
    assert_int_equal(call(list, &functions[0]), CKR_OK); /* C_Initialize */
    slot = hsm_slot(hsm.uri);
    fault->init_token_answer = CKR_PIN_INCORRECT;
    for (size_t i = 0; i < KW_COUNT(functions); i++) {
        lose_session(list);
        kw_guard_set_timeout(guard, TIMEOUT_MS);
        hangs(guard, fault, &functions[i]);
        kw_guard_set_timeout(guard, LATE_MS);
        CK_RV expected = functions[i].call == call_Finalize ? CKR_CRYPTOKI_NOT_INITIALIZED : CKR_OK;
        assert_int_equal(call(list, &functions[1]), expected); /* C_GetInfo */
    }
    assert_false(fault->parameters_changed);
    kw_guard_free(guard);
}

static void a_pin_that_a_person_types(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_guard *guard = guard_of_fault();
    const CK_FUNCTION_LIST *list = kw_guard_functions(guard);
    unsigned waited_ms = 0;
    assert_int_equal(call(list, &functions[0]), CKR_OK); /* C_Initialize */
    slot = hsm_slot(hsm.uri);
    lose_session(list);
    kw_guard_set_timeout(guard, TIMEOUT_MS);
    atomic_store(&fault->hang, "C_Login");
    assert_int_equal(list->C_Login(session, CKU_USER, NULL, 0), KW_CKR_TIMED_OUT);
    assert_true(kw_guard_is_stuck(guard, &waited_ms));
    assert_int_equal(waited_ms, TIMEOUT_MS * 10);
    release(fault);
    wait_for_guard(guard);
    kw_guard_set_timeout(guard, LATE_MS);
    assert_int_equal(list->C_Finalize(NULL), CKR_OK);
    kw_guard_free(guard);
}

static void what_a_module_lacks(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    CK_FUNCTION_LIST real = *hsm_functions();
    real.C_WrapKey = NULL;
    struct kw_guard *guard = NULL;
    assert_int_equal(kw_guard_new(&real, &guard, NULL), KW_OK);
    assert_null(kw_guard_functions(guard)->C_WrapKey);
    assert_null(kw_guard_functions(guard)->C_SetPIN); /* not used here */
    assert_non_null(kw_guard_functions(guard)->C_UnwrapKey);
    assert_int_equal(kw_guard_functions(guard)->version.major, real.version.major);
    kw_guard_free(guard);
}

static void more_modules_than_guards(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_guard *guards[KW_GUARDS + 1];
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = KW_OK;
    while (!status && count <= KW_GUARDS) {
        status = kw_guard_new(hsm_functions(), &guards[count], &err);
        count += status == KW_OK;
    }
    assert_int_equal(status, KW_MODULE);
    assert_non_null(strstr(err.message, "modules already"));
    while (count > 0)
        kw_guard_free(guards[--count]);
}

/* ---- tokens ---- */

static enum kw_status try_open(struct kw_token **ret_token, struct kw_error *err)
{
    static struct given_pin given;
    struct kw_uri *uri = NULL;
    given = (struct given_pin){.pin = hsm.pin};
    assert_int_equal(kw_uri_parse(hsm.uri, &uri, NULL), KW_OK);
    const struct kw_token_options options = {.module = hsm_fault_path(),
                                             .uri = uri,
                                             .max_sessions = 4,
                                             .timeout_s = 1,
                                             .pin = hsm_give_pin,
                                             .pin_context = &given};
    enum kw_status status = kw_token_open(hsm.crypto, &options, ret_token, err);
    kw_uri_free(uri);
    return status;
}

static struct kw_token *open_faulty(void)
{
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    if (try_open(&token, &err) != KW_OK)
        fail_msg("%s", err.message);
    return token;
}

static void wait_for_module(void)
{
    uint64_t since = kw_now_ms();
    while (kw_longest_hang_ms() > 0 && kw_now_ms() - since < LATE_MS)
        (void)usleep(1000);
    assert_int_equal(kw_longest_hang_ms(), 0);
}

static void assert_timed_out(enum kw_status status, const struct kw_error *err, uint64_t since,
                             uint64_t at_least_ms)
{
    uint64_t took = kw_now_ms() - since;
    if (status != KW_TOKEN || !strstr(err->message, " did not answer within 1 s; "))
        fail_msg("status %d: %s", (int)status, err->message);
    assert_int_equal(err->ck_rv, KW_CKR_TIMED_OUT);
    assert_in_range(took + 1, at_least_ms, at_least_ms + LATE_MS);
}

static void decrypt_times_out(struct kw_token *token, const struct kw_token_key *key,
                              uint64_t at_least_ms)
{
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(key, KW_RSA_OAEP, wrapped);
    struct kw_secret *secret = NULL;
    struct kw_error err = {.status = KW_OK};
    uint64_t since = kw_now_ms();
    enum kw_status status = kw_token_decrypt(token, key, KW_RSA_OAEP, wrapped, len, &secret, &err);
    assert_timed_out(status, &err, since, at_least_ms);
    assert_non_null(strstr(err.message, "token \"keyward test\""));
    assert_null(secret);
}

/* In a step of decrypting: the call fails, the next one at once, and it works when it is back. */
static void a_token_that_hangs(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const char *const steps[] = {"C_DecryptInit", "C_Decrypt"};
    for (size_t i = 0; i < KW_COUNT(steps); i++) {
        struct kw_fault *fault = hsm_fault();
        struct kw_token *token = open_faulty();
        struct kw_token_key key = hsm_find_key(token, "kw-guard");
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        atomic_store(&fault->hang, steps[i]);
        decrypt_times_out(token, &key, 1000);
        decrypt_times_out(token, &key, 0);
        assert_int_equal(atomic_load(&fault->hung), 1);
        assert_int_equal(fault->finalizes, 0);
        release(fault);
        wait_for_module();
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        kw_token_free(token);
        assert_int_equal(fault->sessions, 0); /* also that in which it hung */
        assert_int_equal(fault->finalizes, 1);
    }
}

static void a_token_that_hangs_to_the_end(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-guard");
    atomic_store(&fault->hang, "C_Decrypt");
    decrypt_times_out(token, &key, 1000);
    uint64_t hang = kw_longest_hang_ms();
    assert_in_range(hang, 1, LATE_MS);
    (void)usleep(20000);
    assert_in_range(kw_longest_hang_ms(), hang + 20, hang + LATE_MS);
    uint64_t since = kw_now_ms();
    kw_token_free(token);
    struct kw_error err = {.status = KW_OK};
    assert_timed_out(try_open(&token, &err), &err, since, 0);
    assert_int_equal(fault->finalizes, 0);
    release(fault);
    wait_for_module();
    token = open_faulty();
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
    assert_int_equal(fault->finalizes, 1);
    assert_int_equal(fault->sessions, 0);
}

/* Every function that opening a token and reading its keys calls. */
static void opening_that_hangs(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    static const char *const steps[] = {
        "C_Initialize",   "C_GetInfo",          "C_GetSlotList",
        "C_GetTokenInfo", "C_GetSlotInfo",      "C_OpenSession",
        "C_Login",        "C_GetSessionInfo",   "C_FindObjectsInit",
        "C_FindObjects",  "C_FindObjectsFinal", "C_GetAttributeValue",
    };
    for (size_t i = 0; i < KW_COUNT(steps); i++) {
        struct kw_fault *fault = hsm_fault();
        struct kw_token *token = NULL;
        struct kw_token_key *found = NULL;
        size_t count = 0;
        struct kw_error err = {.status = KW_OK};
        print_message("%s\n", steps[i]);
        atomic_store(&fault->hang, steps[i]);
        uint64_t since = kw_now_ms();
        enum kw_status status = try_open(&token, &err);
        if (!status)
            status = kw_token_keys(token, &found, &count, &err);
        assert_timed_out(status, &err, since, 1000);
        kw_token_free(token);
        assert_int_equal(atomic_load(&fault->hung), 1);
        release(fault);
        wait_for_module();
        token = open_faulty();
        struct kw_token_key key = hsm_find_key(token, "kw-guard");
        hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
        kw_token_free(token);
        assert_int_equal(fault->sessions, 0);
    }
}

/* Of several attributes that are read one by one the last one hangs: it is not taken for absent. */
static void an_attribute_that_hangs(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key *found = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    fault->one_attribute_only = true;
    atomic_store(&fault->hang_at, UINT_MAX);
    atomic_store(&fault->hang, "C_GetAttributeValue");
    assert_int_equal(kw_token_keys(token, &found, &count, NULL), KW_OK);
    free(found);
    found = NULL;
    atomic_store(&fault->hang_at, atomic_exchange(&fault->to_hang, 0)); /* the last one */
    uint64_t since = kw_now_ms();
    enum kw_status status = kw_token_keys(token, &found, &count, &err);
    assert_timed_out(status, &err, since, 1000);
    release(fault);
    wait_for_module();
    kw_token_free(token);
}

/* ---- many threads ---- */

#define THREADS 8

struct work {
    struct kw_token *token;
    struct kw_token_key key;
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len;
    atomic_uint good, timed_out, other;
};

static void *decrypt_until_it_fails(void *context)
{
    struct work *work = context;
    enum kw_status status = KW_OK;
    struct kw_error err = {.status = KW_OK};
    for (int i = 0; i < 1000 && !status; i++) {
        struct kw_secret *secret = NULL;
        status = kw_token_decrypt(work->token, &work->key, KW_RSA_OAEP, work->wrapped, work->len,
                                  &secret, &err);
        if (!status)
            atomic_fetch_add(&work->good, 1);
        kw_secret_free(secret);
    }
    if (status == KW_TOKEN && strstr(err.message, "did not answer within 1 s"))
        atomic_fetch_add(&work->timed_out, 1);
    else
        atomic_fetch_add(&work->other, 1);
    return NULL;
}

static void one_of_many_threads_hangs(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct work *work = calloc(1, sizeof(*work));
    assert_non_null(work);
    work->token = open_faulty();
    work->key = hsm_find_key(work->token, "kw-guard");
    work->len = hsm_wrap(&work->key, KW_RSA_OAEP, work->wrapped);
    atomic_store(&fault->hang_at, 30);
    atomic_store(&fault->hang, "C_Decrypt");
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decrypt_until_it_fails, work), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    print_message("%u good\n", atomic_load(&work->good));
    assert_int_equal(atomic_load(&work->other), 0);
    assert_int_equal(atomic_load(&work->timed_out), THREADS);
    assert_int_equal(atomic_load(&fault->hung), 1);
    release(fault);
    wait_for_module();
    hsm_assert_unwraps(work->token, &work->key, KW_RSA_OAEP);
    kw_token_free(work->token);
    assert_int_equal(fault->sessions, 0);
    free(work);
}

/* The threads of the guard are not in the child. */
static void a_child(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
#ifdef UNDER_TSAN
    hsm_skip("ThreadSanitizer starts no threads in a child of a program with threads");
#else
    (void)hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-guard");
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(&key, KW_RSA_OAEP, wrapped);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct kw_secret *secret = NULL;
        _exit(kw_token_decrypt(token, &key, KW_RSA_OAEP, wrapped, len, &secret, NULL) == KW_OK ? 0
                                                                                               : 1);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
#endif
}

/* All but one place for a secret as long as a modulus. */
static size_t use_up_locked_memory(struct kw_secret **secrets, size_t max)
{
    size_t count = 0;
    struct kw_secret *place = NULL;
    assert_int_equal(kw_secret_new(256, &place, NULL), KW_OK);
    for (size_t size = KW_SECRET_MAX; size >= 1; size /= 2)
        while (count < max && kw_secret_new(size, &secrets[count], NULL) == KW_OK)
            count++;
    assert_in_range(count, 1, max - 1);
    kw_secret_free(place);
    return count;
}

/* That is no fault of the ciphertext. */
static void no_locked_memory_for_a_call(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = open_faulty();
    struct kw_token_key key = hsm_find_key(token, "kw-guard");
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = hsm_wrap(&key, KW_RSA_OAEP, wrapped);
    struct kw_secret *secret = NULL, *secrets[1024];
    struct kw_error err = {.status = KW_OK};
    size_t count = use_up_locked_memory(secrets, KW_COUNT(secrets));
    enum kw_status status = kw_token_decrypt(token, &key, KW_RSA_OAEP, wrapped, len, &secret, &err);
    while (count > 0)
        kw_secret_free(secrets[--count]);
    if (status != KW_TOKEN || !strstr(err.message, "locked memory"))
        fail_msg("status %d: %s", (int)status, err.message);
    assert_int_equal(fault->decrypts, 0);
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    kw_token_free(token);
}

/* ---- the PIN ---- */

static void a_pin_that_is_accepted_late(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    atomic_store(&fault->hang, "C_Login");
    uint64_t since = kw_now_ms();
    assert_timed_out(try_open(&token, &err), &err, since, 1000);
    release(fault);
    wait_for_module();
    token = open_faulty();
    assert_int_equal(fault->logins, 2);
    kw_token_free(token);
}

static void a_pin_that_is_refused_late(void **state)
{
    (void)state;
    SOFTHSM_NEEDED();
    struct kw_fault *fault = hsm_fault();
    struct kw_token *token = NULL;
    struct kw_error err = {.status = KW_OK};
    fault->login_answer = CKR_PIN_INCORRECT;
    atomic_store(&fault->hang, "C_Login");
    uint64_t since = kw_now_ms();
    assert_timed_out(try_open(&token, &err), &err, since, 1000);
    release(fault);
    wait_for_module();
    assert_int_equal(try_open(&token, &err), KW_PIN_WRONG);
    assert_int_equal(fault->logins, 1); /* it was not sent again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_function),
        cmocka_unit_test(a_pin_that_a_person_types),
        cmocka_unit_test(what_a_module_lacks),
        cmocka_unit_test(more_modules_than_guards),
        cmocka_unit_test(opening_that_hangs), /* the first to load the module */
        cmocka_unit_test(a_token_that_hangs),
        cmocka_unit_test(a_token_that_hangs_to_the_end),
        cmocka_unit_test(an_attribute_that_hangs),
        cmocka_unit_test(one_of_many_threads_hangs),
        cmocka_unit_test(a_child),
        cmocka_unit_test(no_locked_memory_for_a_call),
        cmocka_unit_test(a_pin_that_is_accepted_late),
        /* The last one: the PIN counts as refused from then on. */
        cmocka_unit_test(a_pin_that_is_refused_late),
    };
    return cmocka_run_group_tests(tests, setup, hsm_teardown);
}
