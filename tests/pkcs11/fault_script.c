/* The script: its rules, which of them a call meets, and what is left of those that were met. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fault_handles.h"
#include "fault_script.h"
#include "fault_steps.h"

#define RULES_MAX 16
#define NAMES_MAX 64

static const char *const action_names[KW_DO_ACTIONS] = {
    [KW_DO_ANSWER] = "answer",   [KW_DO_LOST] = "lost",
    [KW_DO_HANG] = "hang",       [KW_DO_CRASH] = "crash",
    [KW_DO_CLOSE] = "close",     [KW_DO_CLOSE_ALL] = "close-all",
    [KW_DO_LOG_OUT] = "log-out", [KW_DO_RENUMBER] = "renumber",
    [KW_DO_SWAP] = "swap",       [KW_DO_OTHER_KEY] = "other-key",
    [KW_DO_AWAY_MS] = "away-ms", [KW_DO_AWAY_CALLS] = "away-calls",
    [KW_DO_FLAGS] = "flags",     [KW_DO_LENGTH] = "length",
    [KW_DO_NOISE] = "noise",
};

struct rule {
    char function[32];
    enum kw_action action;
    unsigned long value;
    unsigned long first;
    unsigned long calls; /* 0: all from the first on */
};

static atomic_uint under_way;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static struct rule rules[RULES_MAX];
static size_t rule_count;
static struct {
    const char *function;
    unsigned long calls;
} counts[NAMES_MAX];
static unsigned long all_calls;
static CK_RV crashed;  /* the answer to all; 0: to none */
static bool finalized; /* since then */
static unsigned long away_calls;
static uint64_t away_until_ms;
static const CK_FUNCTION_LIST *under;
static CK_SLOT_ID slot;
static int log_fd = -1;

static uint64_t now_ms(void)
{
    struct timespec now = {.tv_sec = 0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- reading the script ---- */

static bool read_rule(const char *text, struct rule *rule)
{
    char action[32], value[32] = "0", rest[2];
    rule->first = 1;
    rule->calls = 0;
    int words = sscanf(text, " %31s %31s %31s %lu %lu %1s", rule->function, action, value,
                       &rule->first, &rule->calls, rest);
    if (words < 2 || words > 5 || rule->first == 0)
        return false;
    char *end = NULL;
    rule->value = strtoul(value, &end, 0);
    size_t i = 0;
    while (i < KW_DO_ACTIONS && (!action_names[i] || strcmp(action, action_names[i]) != 0))
        i++;
    rule->action = (enum kw_action)i;
    return *end == '\0' && i < KW_DO_ACTIONS;
}

static bool read_script(void)
{
    const char *script = getenv("KW_FAULT_SCRIPT"), *log = getenv("KW_FAULT_LOG");
    rule_count = 0;
    if (log && log_fd < 0)
        log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    char *copy = script ? strdup(script) : NULL, *rest = NULL;
    bool good = !script || copy;
    for (char *text = copy ? strtok_r(copy, ";", &rest) : NULL; text && good;
         text = strtok_r(NULL, ";", &rest))
        good = rule_count < RULES_MAX && read_rule(text, &rules[rule_count++]);
    free(copy);
    return good;
}

/* ---- which rules a call meets ---- */

void kw_steps_over(const CK_FUNCTION_LIST *functions)
{
    under = functions;
}

void kw_steps_at(CK_SLOT_ID now)
{
    (void)pthread_mutex_lock(&lock);
    slot = now;
    (void)pthread_mutex_unlock(&lock);
}

CK_SLOT_ID kw_steps_slot(void)
{
    (void)pthread_mutex_lock(&lock);
    CK_SLOT_ID now = slot;
    (void)pthread_mutex_unlock(&lock);
    return now;
}

/* Under the lock. Counts the call; gives its number among those of its function. */
static unsigned long count_call(const char *function)
{
    size_t i = 0;
    while (i < NAMES_MAX - 1 && counts[i].function && strcmp(counts[i].function, function) != 0)
        i++;
    counts[i].function = function;
    all_calls++;
    return ++counts[i].calls;
}

static bool meets(const struct rule *rule, const char *function, unsigned long number)
{
    bool any = strcmp(rule->function, "any") == 0;
    unsigned long at = any ? all_calls : number;
    return (any || strcmp(rule->function, function) == 0) && at >= rule->first &&
           (rule->calls == 0 || at - rule->first < rule->calls);
}

static void answer(struct kw_step *step, CK_RV rv)
{
    step->answered = true;
    step->answer = rv;
}

/* Under the lock, which is let go of while it hangs. */
static void hang(unsigned long ms)
{
    uint64_t until = now_ms() + ms;
    (void)pthread_mutex_unlock(&lock);
    while (ms == 0 || now_ms() < until)
        (void)usleep(1000);
    (void)pthread_mutex_lock(&lock);
}

/* Under the lock. `session` is CK_INVALID_HANDLE where the call has none. */
static void begin_rule(struct kw_step *step, const struct rule *rule, CK_SESSION_HANDLE session)
{
    switch (rule->action) {
    case KW_DO_ANSWER:
        answer(step, rule->value);
        break;
    case KW_DO_HANG:
        hang(rule->value);
        break;
    case KW_DO_CRASH:
        crashed = rule->value;
        finalized = false;
        break;
    case KW_DO_CLOSE:
        if (session != CK_INVALID_HANDLE)
            (void)under->C_CloseSession(session);
        break;
    case KW_DO_CLOSE_ALL:
        (void)under->C_CloseAllSessions(slot);
        break;
    case KW_DO_LOG_OUT:
        if (session != CK_INVALID_HANDLE)
            (void)under->C_Logout(session);
        break;
    case KW_DO_RENUMBER:
        kw_handles_renumber();
        break;
    case KW_DO_SWAP:
        kw_handles_swap(under, slot);
        break;
    case KW_DO_AWAY_CALLS:
        away_calls = rule->value;
        (void)under->C_CloseAllSessions(slot);
        break;
    case KW_DO_AWAY_MS:
        away_until_ms = now_ms() + rule->value;
        (void)under->C_CloseAllSessions(slot);
        break;
    default: /* when the token has answered */
        step->late = rule->action;
        step->value = rule->value;
        break;
    }
}

static bool is_one_of(const char *function, const char *const *names)
{
    while (*names && strcmp(*names, function) != 0)
        names++;
    return *names;
}

/* A token that is away, or a module whose connection is gone. Under the lock. */
static void meet_state(struct kw_step *step)
{
    static const char *const of_module[] = {"C_Initialize",  "C_Finalize",        "C_GetInfo",
                                            "C_GetSlotList", "C_GetFunctionList", NULL};
    static const char *const of_slot[] = {"C_GetTokenInfo", "C_GetSlotInfo", "C_OpenSession", NULL};
    bool away = away_calls > 0 || now_ms() < away_until_ms;
    away_calls -= away_calls > 0;
    if (away && !is_one_of(step->function, of_module))
        answer(step,
               is_one_of(step->function, of_slot) ? CKR_TOKEN_NOT_PRESENT : CKR_DEVICE_REMOVED);
    else if (away && strcmp(step->function, "C_GetSlotList") == 0)
        answer(step, CKR_OK); /* there is none: the count is seen to by its caller */
    if (!crashed)
        return;
    if (strcmp(step->function, "C_Finalize") == 0) {
        finalized = true;
        return;
    }
    if (finalized && strcmp(step->function, "C_Initialize") == 0)
        crashed = CKR_OK;
    else
        answer(step, crashed);
}

unsigned kw_steps_under_way(void)
{
    return atomic_load(&under_way);
}

struct kw_step kw_step_begin(const char *function, CK_SESSION_HANDLE session)
{
    struct kw_step step = {.function = function};
    (void)atomic_fetch_add(&under_way, 1);
    (void)pthread_mutex_lock(&lock);
    unsigned long number = count_call(function);
    for (size_t i = 0; i < rule_count; i++)
        if (meets(&rules[i], function, number))
            begin_rule(&step, &rules[i], session);
    meet_state(&step);
    (void)pthread_mutex_unlock(&lock);
    return step;
}

bool kw_step_is_late(const struct kw_step *step, enum kw_action action)
{
    return !step->answered && step->late == action;
}

CK_RV kw_step_end(const struct kw_step *step, CK_RV rv)
{
    char line[80];
    if (kw_step_is_late(step, KW_DO_LOST))
        rv = step->value;
    int len = snprintf(line, sizeof(line), "%s 0x%lx\n", step->function, rv);
    if (log_fd >= 0 && len > 0 && write(log_fd, line, (size_t)len) != len)
        abort(); /* what isn't logged was not tested */
    (void)atomic_fetch_sub(&under_way, 1);
    return rv;
}

CK_RV kw_fault_script_load(void)
{
    if (!read_script())
        return CKR_ARGUMENTS_BAD;
    struct kw_step step = kw_step_begin("C_GetFunctionList", CK_INVALID_HANDLE);
    return kw_step_end(&step, step.answered ? step.answer : CKR_OK);
}
