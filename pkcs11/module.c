/* Modules: loaded once per process, initialised once, shared by the tokens.
 *
 * C_Initialize and C_Finalize act on the whole process, whoever calls them, so this table is the
 * one piece of global state. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guard.h"

#define REFUSED_PINS 16
#define SHOWN        192

#define DEFAULT_TIMEOUT_S 30

/* Between two starts that others feel: each time twice as long, until none was wanted for a while.
 */
#define PAUSE_MIN_MS 1000
#define PAUSE_MAX_MS 60000
#define QUIET_PAUSES 10

struct refused_pin {
    CK_TOKEN_INFO token;
    struct kw_secret *pin;
    bool unanswered;
    unsigned late_refusals; /* before it was sent */
};

struct kw_module {
    struct kw_module *next;
    char *path; /* as realpath gives it */
    char *init_args;
    void *library;
    struct kw_guard *guard;
    const CK_FUNCTION_LIST *functions; /* the guard's */
    const struct kw_quirks *quirks;
    unsigned timeout_s;
    size_t users;
    bool initialized_here;

    uint64_t pause_ms;     /* after the last start that others felt */
    uint64_t pause_end_ms; /* when that is over */

    struct refused_pin refused[REFUSED_PINS];
    size_t next_refused;
};

/* Entries stay for the life of the process: unloading a module that ran threads or registered exit
 * handlers is not safe, and loading it again is not needed. */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kw_module *table;

/* Those that are called without asking whether they are there. */
static const size_t needed_functions[] = {
    offsetof(CK_FUNCTION_LIST, C_Initialize),        offsetof(CK_FUNCTION_LIST, C_Finalize),
    offsetof(CK_FUNCTION_LIST, C_GetInfo),           offsetof(CK_FUNCTION_LIST, C_GetSlotList),
    offsetof(CK_FUNCTION_LIST, C_GetSlotInfo),       offsetof(CK_FUNCTION_LIST, C_GetTokenInfo),
    offsetof(CK_FUNCTION_LIST, C_OpenSession),       offsetof(CK_FUNCTION_LIST, C_CloseSession),
    offsetof(CK_FUNCTION_LIST, C_GetSessionInfo),    offsetof(CK_FUNCTION_LIST, C_Login),
    offsetof(CK_FUNCTION_LIST, C_GetAttributeValue), offsetof(CK_FUNCTION_LIST, C_FindObjectsInit),
    offsetof(CK_FUNCTION_LIST, C_FindObjects),       offsetof(CK_FUNCTION_LIST, C_FindObjectsFinal),
    offsetof(CK_FUNCTION_LIST, C_DecryptInit),       offsetof(CK_FUNCTION_LIST, C_Decrypt),
};

static bool has_needed_functions(const CK_FUNCTION_LIST *functions)
{
    for (size_t i = 0; i < KW_COUNT(needed_functions); i++) {
        void *function;
        memcpy(&function, (const char *)functions + needed_functions[i], sizeof(function));
        if (!function)
            return false;
    }
    return true;
}

static enum kw_status not_a_module(const char *path, const char *why, CK_RV rv,
                                   struct kw_error *err)
{
    char shown[SHOWN];
    return kw_fail_ck(err, KW_MODULE, rv, "%s is no PKCS#11 module: %s; check module-path",
                      kw_printable(path, strlen(path), shown, sizeof(shown)), why);
}

static enum kw_status load_functions(struct kw_module *module, struct kw_error *err)
{
    CK_RV (*get_function_list)(CK_FUNCTION_LIST **);
    void *symbol = dlsym(module->library, "C_GetFunctionList");
    if (!symbol)
        return not_a_module(module->path, "it has no C_GetFunctionList", 0, err);
    memcpy(&get_function_list, &symbol, sizeof(get_function_list));
    CK_FUNCTION_LIST *functions = NULL;
    CK_RV rv = get_function_list(&functions);
    if (rv != CKR_OK || !functions)
        return not_a_module(module->path, "C_GetFunctionList failed", rv, err);
    if (functions->version.major < 2 || functions->version.major > 3 ||
        !has_needed_functions(functions))
        return not_a_module(module->path, "it lacks functions of PKCS#11 2.40", 0, err);
    enum kw_status status = kw_guard_new(functions, &module->guard, err);
    if (!status)
        module->functions = kw_guard_functions(module->guard);
    return status;
}

static CK_RV initialize_once(struct kw_module *module, bool finalize)
{
    struct kw_init_args init = {
        .args = {.flags = CKF_OS_LOCKING_OK, .pReserved = module->init_args}};
    CK_RV rv =
        finalize ? kw_guard_restart(module->guard, &init) : module->functions->C_Initialize(&init);
    if (finalize && rv != KW_CKR_BUSY)
        module->initialized_here = false;
    /* Where it comes back late and says that it was done, it was done here. */
    if (rv == CKR_OK || kw_rv_meaning(rv) == KW_RV_TIMED_OUT)
        module->initialized_here = true;
    return rv == CKR_CRYPTOKI_ALREADY_INITIALIZED ? CKR_OK : rv;
}

static CK_RV initialize(struct kw_module *module, bool finalize)
{
    CK_RV rv = initialize_once(module, finalize);
    bool passing = kw_rv_remedy(rv) != KW_REMEDY_NONE && kw_rv_meaning(rv) != KW_RV_TIMED_OUT;
    return passing ? initialize_once(module, false) : rv;
}

static void recognize(struct kw_module *module)
{
    CK_INFO info;
    memset(&info, 0, sizeof(info));
    bool told = module->functions->C_GetInfo(&info) == CKR_OK;
    module->quirks = kw_quirks_find(told ? &info : NULL, module->path);
}

static enum kw_status start(struct kw_module *module, struct kw_error *err)
{
    CK_RV rv = initialize(module, false);
    if (rv == CKR_OK) {
        recognize(module);
        return KW_OK;
    }
    if (kw_rv_meaning(rv) == KW_RV_TIMED_OUT)
        return kw_module_no_answer(module, NULL, err);
    char shown[SHOWN], name[KW_RV_NAME_SIZE];
    return kw_fail_ck(
        err, KW_MODULE, rv,
        "the PKCS#11 module %s can't be initialised (%s); check its own configuration "
        "and, where it takes them, init-args",
        kw_printable(module->path, strlen(module->path), shown, sizeof(shown)),
        kw_rv_name(rv, name));
}

/* Outside of the table, without C_Initialize. */
static void discard(struct kw_module *module)
{
    kw_guard_free(module->guard);
    if (module->library)
        (void)dlclose(module->library);
    free(module->init_args);
    free(module->path);
    free(module);
}

static enum kw_status load(const char *path, struct kw_module **ret_module, struct kw_error *err)
{
    struct kw_module *module = calloc(1, sizeof(*module));
    if (module)
        module->path = strdup(path);
    if (!module || !module->path) {
        free(module);
        return kw_fail_memory(err);
    }
    enum kw_status status;
    module->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module->library) {
        status = load_functions(module, err);
    } else {
        const char *text = dlerror();
        char why[SHOWN];
        status = not_a_module(
            path, text ? kw_printable(text, strlen(text), why, sizeof(why)) : "loading it failed",
            0, err);
    }
    if (status) {
        discard(module);
        return status;
    }
    *ret_module = module;
    return KW_OK;
}

static struct kw_module *find_loaded(const char *path)
{
    struct kw_module *module = table;
    while (module && strcmp(module->path, path) != 0)
        module = module->next;
    return module;
}

static enum kw_status set_init_args(struct kw_module *module, const char *init_args,
                                    struct kw_error *err)
{
    char *copy = init_args ? strdup(init_args) : NULL;
    if (init_args && !copy)
        return kw_fail_memory(err);
    free(module->init_args);
    module->init_args = copy;
    return KW_OK;
}

static bool same_args(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void set_timeout(struct kw_module *module, unsigned timeout_s)
{
    module->timeout_s = timeout_s;
    kw_guard_set_timeout(module->guard, timeout_s * 1000);
}

/* Under the lock. */
static enum kw_status get_locked(const char *path, const char *init_args, unsigned timeout_s,
                                 struct kw_module **ret_module, struct kw_error *err)
{
    struct kw_module *module = find_loaded(path);
    if (module && kw_module_is_stuck(module))
        return kw_module_no_answer(module, NULL, err); /* it may be reading its init_args */
    if (module && module->users > 0) {
        char shown[SHOWN];
        if (!same_args(module->init_args, init_args))
            return kw_fail(err, KW_MODULE,
                           "the PKCS#11 module %s is in use with other init-args; one process can "
                           "use it with one set of them",
                           kw_printable(path, strlen(path), shown, sizeof(shown)));
        if (timeout_s > module->timeout_s)
            set_timeout(module, timeout_s);
        module->users++;
        *ret_module = module;
        return KW_OK;
    }
    bool loaded_now = !module;
    enum kw_status status = loaded_now ? load(path, &module, err) : KW_OK;
    if (status)
        return status;
    set_timeout(module, timeout_s);
    status = set_init_args(module, init_args, err);
    if (!status)
        status = start(module, err);
    if (status && loaded_now && !kw_module_is_stuck(module)) {
        discard(module);
        return status;
    }
    if (loaded_now) {
        module->next = table;
        table = module;
    }
    if (status)
        return status;
    module->users = 1;
    *ret_module = module;
    return KW_OK;
}

enum kw_status kw_module_get(const char *path, const char *init_args, unsigned timeout_s,
                             struct kw_module **ret_module, struct kw_error *err)
{
    char shown[SHOWN];
    kw_printable(path, strlen(path), shown, sizeof(shown));
    if (path[0] != '/')
        return kw_fail(err, KW_CONFIG,
                       "the PKCS#11 module \"%s\" is not an absolute path; check module-path",
                       shown);
    char *real = realpath(path, NULL);
    if (!real) {
        int failure = errno;
        return kw_fail_errno(err, KW_MODULE, failure,
                             "the PKCS#11 module %s can't be opened, check module-path", shown);
    }
    (void)pthread_mutex_lock(&table_lock);
    enum kw_status status =
        get_locked(real, init_args, timeout_s ? timeout_s : DEFAULT_TIMEOUT_S, ret_module, err);
    (void)pthread_mutex_unlock(&table_lock);
    free(real);
    return status;
}

void kw_module_put(struct kw_module *module)
{
    if (!module)
        return;
    (void)pthread_mutex_lock(&table_lock);
    if (--module->users == 0 && module->initialized_here) {
        (void)module->functions->C_Finalize(NULL); /* does nothing where the module is stuck */
        module->initialized_here = kw_module_is_stuck(module);
    }
    if (module->users == 0) {
        kw_guard_rest(module->guard);
        module->pause_ms = module->pause_end_ms = 0;
    }
    (void)pthread_mutex_unlock(&table_lock);
}

const CK_FUNCTION_LIST *kw_module_functions(const struct kw_module *module)
{
    return module->functions;
}

CK_RV kw_module_decrypt(const struct kw_module *module, CK_SESSION_HANDLE session,
                        const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, const uint8_t *in,
                        size_t in_len, uint8_t *out, CK_ULONG *out_len, CK_RV *ret_init)
{
    return kw_guard_decrypt(module->guard, session, mechanism, key, in, in_len, out, out_len,
                            ret_init);
}

bool kw_module_is_stuck(const struct kw_module *module)
{
    return kw_guard_is_stuck(module->guard, NULL);
}

uint64_t kw_longest_hang_ms(void)
{
    uint64_t longest = 0;
    (void)pthread_mutex_lock(&table_lock);
    for (const struct kw_module *module = table; module; module = module->next) {
        uint64_t hang = kw_guard_stuck_ms(module->guard);
        longest = hang > longest ? hang : longest;
    }
    (void)pthread_mutex_unlock(&table_lock);
    return longest;
}

enum kw_status kw_module_no_answer(const struct kw_module *module, const char *label,
                                   struct kw_error *err)
{
    char shown[SHOWN];
    unsigned waited_ms = 0;
    (void)kw_guard_is_stuck(module->guard, &waited_ms);
    (void)kw_printable(module->path, strlen(module->path), shown, sizeof(shown));
    return kw_fail_ck(err, KW_TOKEN, KW_CKR_TIMED_OUT,
                      "the %s%s%s did not answer within %u s; see that its device, network and "
                      "service work, then try again, or set timeout higher in its [token]",
                      label ? "token \"" : "PKCS#11 module ", label ? label : shown,
                      label ? "\"" : "", waited_ms / 1000);
}

const char *kw_module_path(const struct kw_module *module)
{
    return module->path;
}

const struct kw_quirks *kw_module_quirks(const struct kw_module *module)
{
    return module->quirks;
}

unsigned long kw_module_starts(const struct kw_module *module)
{
    return kw_guard_starts(module->guard);
}

/* A token that stays away is tried for days. */
static void begin_pause(struct kw_module *module, uint64_t since_ms)
{
    bool quiet = since_ms - module->pause_end_ms >= QUIET_PAUSES * module->pause_ms;
    uint64_t pause_ms = quiet ? PAUSE_MIN_MS : 2 * module->pause_ms;
    module->pause_ms = pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS;
    module->pause_end_ms = kw_now_ms() + module->pause_ms;
}

static CK_RV restart(struct kw_module *module, CK_RV failure)
{
    uint64_t now_ms = kw_now_ms();
    bool felt = kw_guard_sessions(module->guard) > 0;
    if (!module->initialized_here || kw_module_is_stuck(module) ||
        (felt && (kw_rv_remedy(failure) == KW_REMEDY_NONE || now_ms < module->pause_end_ms)))
        return KW_CKR_BUSY;
    CK_RV rv = initialize(module, true);
    if (felt)
        begin_pause(module, now_ms);
    return rv;
}

bool kw_module_start_anew(struct kw_module *module, unsigned long starts, CK_RV failure)
{
    bool ended = kw_rv_meaning(failure) == KW_RV_NOT_INITIALIZED;
    (void)pthread_mutex_lock(&table_lock);
    bool done = kw_module_starts(module) != starts;
    if (!done)
        done = (ended ? initialize(module, false) : restart(module, failure)) == CKR_OK;
    (void)pthread_mutex_unlock(&table_lock);
    return done;
}

static bool counts_as_refused(const struct kw_module *module, const struct refused_pin *refused)
{
    return refused->pin && (!refused->unanswered ||
                            refused->late_refusals != kw_guard_late_refusals(module->guard));
}

bool kw_module_pin_was_refused(struct kw_module *module, const CK_TOKEN_INFO *token,
                               const struct kw_secret *pin)
{
    bool refused = false;
    (void)pthread_mutex_lock(&table_lock);
    for (size_t i = 0; i < REFUSED_PINS && !refused; i++)
        refused = counts_as_refused(module, &module->refused[i]) &&
                  kw_same_token(&module->refused[i].token, token) &&
                  kw_secret_equal(module->refused[i].pin, pin);
    (void)pthread_mutex_unlock(&table_lock);
    return refused;
}

static void remember(struct kw_module *module, const struct refused_pin *refused)
{
    (void)pthread_mutex_lock(&table_lock);
    struct refused_pin *place = &module->refused[module->next_refused];
    module->next_refused = (module->next_refused + 1) % REFUSED_PINS;
    kw_secret_free(place->pin);
    *place = *refused;
    (void)pthread_mutex_unlock(&table_lock);
}

void kw_module_remember_refused_pin(struct kw_module *module, const CK_TOKEN_INFO *token,
                                    struct kw_secret *pin)
{
    remember(module, &(struct refused_pin){.token = *token, .pin = pin});
}

void kw_module_remember_unanswered_pin(struct kw_module *module, const CK_TOKEN_INFO *token,
                                       struct kw_secret *pin, unsigned late_refusals)
{
    remember(module,
             &(struct refused_pin){
                 .token = *token, .pin = pin, .unanswered = true, .late_refusals = late_refusals});
}

unsigned kw_module_late_refusals(const struct kw_module *module)
{
    return kw_guard_late_refusals(module->guard);
}
