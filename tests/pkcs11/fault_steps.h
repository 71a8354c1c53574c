/* Between the script (fault_script.c) and the functions that follow it (fault_front.c). */
#ifndef KW_FAULT_STEPS_H
#define KW_FAULT_STEPS_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

enum kw_action {
    KW_DO_NOTHING,
    KW_DO_ANSWER,
    KW_DO_LOST,
    KW_DO_HANG,
    KW_DO_CRASH,
    KW_DO_CLOSE,
    KW_DO_CLOSE_ALL,
    KW_DO_LOG_OUT,
    KW_DO_RENUMBER,
    KW_DO_SWAP,
    KW_DO_OTHER_KEY,
    KW_DO_AWAY_CALLS,
    KW_DO_AWAY_MS,
    KW_DO_FLAGS,
    KW_DO_LENGTH,
    KW_DO_NOISE,
    KW_DO_ACTIONS
};

/* What one call is to meet. */
struct kw_step {
    const char *function;
    bool answered; /* without the token */
    CK_RV answer;
    enum kw_action late; /* what is done when the token has answered */
    unsigned long value; /* for that */
};

/* The token's functions, and the slot that it is in. */
void kw_steps_over(const CK_FUNCTION_LIST *functions);
void kw_steps_at(CK_SLOT_ID slot);
CK_SLOT_ID kw_steps_slot(void);
/* `session` is CK_INVALID_HANDLE where the call has none; `function` is static memory. */
struct kw_step kw_step_begin(const char *function, CK_SESSION_HANDLE session);
bool kw_step_is_late(const struct kw_step *step, enum kw_action action);
/* What the call is to answer. */
CK_RV kw_step_end(const struct kw_step *step, CK_RV rv);

#endif
