/* A token for trials. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define LABEL_MAX 32

struct initializing {
    const struct kw_token_plan *plan;
    struct kw_module *module;
    const CK_FUNCTION_LIST *functions;
    struct kw_slot slot;
    struct kw_secret *so_pin;
    struct kw_secret *pin;
};

/* ---- what can be checked before ---- */

static enum kw_status check_label(const char *label, struct kw_error *err)
{
    char shown[4 * LABEL_MAX + 1];
    size_t len = strlen(label);
    if (len == 0 || len > LABEL_MAX || label[0] == ' ' || label[len - 1] == ' ' ||
        strcmp(kw_printable(label, len, shown, sizeof(shown)), label) != 0)
        return kw_fail(err, KW_USAGE,
                       "a token's label is text of 1 to %d bytes without quotes or blanks around "
                       "it; give such a one",
                       LABEL_MAX);
    return KW_OK;
}

static enum kw_status check_kind(const struct kw_quirks *quirks, const char *path,
                                 struct kw_error *err)
{
    char shown[160];
    if (quirks->may_init)
        return KW_OK;
    return kw_fail(
        err, KW_USAGE, "%s is not initialised by Keyward, which does so for SoftHSM2 only; %s",
        quirks->name ? quirks->name : kw_printable(path, strlen(path), shown, sizeof(shown)),
        quirks->to_init);
}

/* Before the module runs: some can't even be started unless there is a token. */
static enum kw_status check_file(const char *path, struct kw_error *err)
{
    char *real = realpath(path, NULL);
    const struct kw_quirks *quirks = kw_quirks_find(NULL, real ? real : path);
    enum kw_status status = quirks->name ? check_kind(quirks, path, err) : KW_OK;
    free(real);
    return status;
}

static enum kw_status check_label_is_free(const char *label, const struct kw_slot *slots,
                                          size_t count, struct kw_error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct kw_token_info info;
        kw_token_info_fill(&info, &slots[i].info);
        if (info.initialized && strcmp(info.label, label) == 0)
            return kw_fail(err, KW_EXISTS,
                           "there is a token \"%s\" (serial %s) already; choose another label",
                           label, info.serial);
    }
    return KW_OK;
}

static enum kw_status choose_slot(struct initializing *job, struct kw_error *err)
{
    struct kw_slot *slots = NULL;
    size_t count = 0, i = 0;
    enum kw_status status = kw_slots_read(job->module, &slots, &count, err);
    if (status)
        return status;
    status = check_label_is_free(job->plan->label, slots, count, err);
    while (i < count && slots[i].info.flags & CKF_TOKEN_INITIALIZED)
        i++;
    if (!status && i == count)
        status = kw_fail(err, KW_TOKEN_NOT_FOUND,
                         "the module shows no token that is not initialised yet; see that the "
                         "folder for its tokens is there and can be written to");
    if (!status)
        job->slot = slots[i];
    free(slots);
    return status;
}

static enum kw_status check_pin(const struct kw_secret *pin, const CK_TOKEN_INFO *token,
                                const char *whose, struct kw_error *err)
{
    if (kw_secret_len(pin) >= token->ulMinPinLen && kw_secret_len(pin) <= token->ulMaxPinLen)
        return KW_OK;
    return kw_fail(err, KW_CONFIG,
                   "the %s's PIN has another length than the token takes, %lu to %lu bytes; choose "
                   "another PIN",
                   whose, token->ulMinPinLen, token->ulMaxPinLen);
}

static enum kw_status get_pins(struct initializing *job, struct kw_error *err)
{
    const struct kw_token_plan *plan = job->plan;
    struct kw_token_info info;
    kw_token_info_fill(&info, &job->slot.info);
    memcpy(info.label, plan->label, strlen(plan->label) + 1);
    enum kw_status status = plan->so_pin(plan->pin_context, &info, &job->so_pin, err);
    if (!status)
        status = check_pin(job->so_pin, &job->slot.info, "security officer", err);
    if (!status)
        status = plan->pin(plan->pin_context, &info, &job->pin, err);
    if (!status)
        status = check_pin(job->pin, &job->slot.info, "user", err);
    return status;
}

/* ---- doing it ---- */

static CK_RV set_pin(const struct initializing *job)
{
    const CK_FUNCTION_LIST *functions = job->functions;
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
    CK_RV rv = functions->C_OpenSession(job->slot.id, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
                                        NULL, &session);
    if (rv != CKR_OK)
        return rv;
    rv = functions->C_Login(session, CKU_SO, kw_secret_data(job->so_pin),
                            kw_secret_len(job->so_pin));
    if (rv == CKR_OK) {
        rv = functions->C_InitPIN(session, kw_secret_data(job->pin), kw_secret_len(job->pin));
        CK_RV out = functions->C_Logout(session);
        rv = rv == CKR_OK ? out : rv;
    }
    CK_RV closed = functions->C_CloseSession(session);
    return rv == CKR_OK ? closed : rv;
}

/* The token as it says it is now. */
static CK_RV check_result(struct initializing *job)
{
    const CK_FLAGS wanted = CKF_TOKEN_INITIALIZED | CKF_USER_PIN_INITIALIZED;
    CK_RV rv = job->functions->C_GetTokenInfo(job->slot.id, &job->slot.info);
    if (rv == CKR_OK && (job->slot.info.flags & wanted) != wanted)
        rv = CKR_USER_PIN_NOT_INITIALIZED;
    return rv;
}

static enum kw_status initialize(struct initializing *job, struct kw_error *err)
{
    const struct kw_token_plan *plan = job->plan;
    char name[KW_RV_NAME_SIZE];
    CK_UTF8CHAR label[LABEL_MAX];
    memset(label, ' ', sizeof(label));
    memcpy(label, plan->label, strlen(plan->label));
    CK_RV rv = job->functions->C_InitToken(job->slot.id, kw_secret_data(job->so_pin),
                                           kw_secret_len(job->so_pin), label);
    if (kw_rv_meaning(rv) == KW_RV_TIMED_OUT)
        return kw_module_no_answer(job->module, plan->label, err);
    if (rv != CKR_OK)
        return kw_fail_ck(err, KW_TOKEN, rv,
                          "the module failed to initialise a token (%s); see that the folder for "
                          "its tokens can be written to",
                          kw_rv_name(rv, name));
    rv = set_pin(job);
    if (rv == CKR_OK)
        rv = check_result(job);
    if (rv == CKR_OK)
        return KW_OK;
    return kw_fail_ck(
        err, KW_TOKEN, rv,
        "the token \"%s\" was initialised but got no user PIN (%s); remove it with %s "
        "and its label, then try again",
        plan->label, kw_rv_name(rv, name), kw_module_quirks(job->module)->to_remove);
}

static enum kw_status run(struct initializing *job, struct kw_error *err)
{
    enum kw_status status = check_kind(kw_module_quirks(job->module), job->plan->module, err);
    if (!status &&
        (!job->functions->C_InitToken || !job->functions->C_InitPIN || !job->functions->C_Logout))
        status = kw_fail(
            err, KW_MODULE,
            "the module lacks C_InitToken, C_InitPIN or C_Logout; use another version of it");
    if (!status)
        status = choose_slot(job, err);
    if (!status)
        status = get_pins(job, err);
    return status ? status : initialize(job, err);
}

enum kw_status kw_token_init(const struct kw_token_plan *plan, struct kw_token_info *ret_info,
                             struct kw_error *err)
{
    struct initializing job = {.plan = plan};
    enum kw_status status = check_label(plan->label, err);
    if (!status)
        status = check_file(plan->module, err);
    if (!status)
        status = kw_module_get(plan->module, NULL, 0, &job.module, err);
    if (status)
        return status;
    job.functions = kw_module_functions(job.module);
    status = run(&job, err);
    if (!status)
        kw_token_info_fill(ret_info, &job.slot.info);
    kw_secret_free(job.so_pin);
    kw_secret_free(job.pin);
    kw_module_put(job.module);
    return status;
}
