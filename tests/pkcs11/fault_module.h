/* A PKCS#11 module that passes every call on to a real one and, where told so, answers itself: by
 * the switches here for tests in its process, by a script for those of a program: fault_script.h.
 */
#ifndef KW_FAULT_MODULE_H
#define KW_FAULT_MODULE_H

#include <stdatomic.h>
#include <stdbool.h>

#include <p11-kit/pkcs11.h>

/* All zero: everything is passed on. CKR_OK as an answer means that there is none. */
struct kw_fault {
    CK_FLAGS set_flags; /* in CK_TOKEN_INFO */
    CK_FLAGS clear_flags;
    CK_RV login_answer;
    bool login_claims_ok; /* answers CKR_OK without asking the token */
    CK_RV oaep_init_answer;
    CK_RV raw_init_answer;
    CK_RV decrypt_answer;
    unsigned decrypt_answers;  /* so many times; 0: always */
    CK_RV decrypt_late_answer; /* after the token has decrypted */
    bool strip_zeros;          /* raw RSA without leading zeros */
    unsigned max_sessions;     /* 0: as the token has it */
    bool one_attribute_only;   /* asked for several, fails */
    bool no_tokens;            /* an empty list of slots */
    unsigned blind_starts;     /* the same until C_Initialize was called more often than that */
    /* Of the calls that are counted (sessions, searches, attributes, objects, signing), numbered
     * from 1. */
    unsigned fail_at;    /* this one fails; 0: none */
    unsigned fail_calls; /* and so many in all; 0: only that one */
    bool fail_late;      /* it is done nevertheless, only the answer is lost */
    CK_RV fail_answer;
    CK_RV generate_answer;
    const CK_OBJECT_CLASS *no_change_of; /* objects of this class refuse C_SetAttributeValue */
    bool refuse_data; /* no data objects; so too with KW_FAULT_REFUSE_DATA in the environment */
    const char *manufacturer; /* of CK_INFO; NULL: the real one's */
    const char *description;
    bool no_info; /* C_GetInfo fails */
    CK_RV init_token_answer;
    CK_RV init_pin_answer;
    bool no_ro_sessions;      /* C_OpenSession wants CKF_RW_SESSION */
    CK_RV data_search_answer; /* of C_FindObjectsInit for data objects */
    bool hide_values;         /* no CKA_VALUE is told */
    bool ignore_changes;      /* C_SetAttributeValue claims that it was done */
    bool only_sign_info;      /* C_Sign knows CKM_RSA_PKCS alone */
    bool only_sign_raw;       /* the same of CKM_RSA_X_509 */
    bool sign_nothing;        /* C_SignInit knows no mechanism */
    bool wrong_signatures;
    bool drop_dates; /* C_GenerateKeyPair gives the public half no CKA_END_DATE */

    _Atomic CK_RV down;      /* the answer to all that a token is asked from now on */
    atomic_bool start_mends; /* that, as soon as the module is started anew */
    CK_RV start_answer;      /* of C_Initialize */
    atomic_bool away;        /* there is no token in `away_slot` */
    CK_SLOT_ID away_slot;

    /* The function of this name, "C_Decrypt", blocks until it is released. */
    const char *_Atomic hang;
    atomic_uint hang_at;  /* its call of this number, from 1; 0: each */
    atomic_bool released; /* those that block go on */
    atomic_uint hanging;  /* so many block now */
    atomic_uint hung;     /* so many did in all */
    atomic_uint to_hang;  /* calls of that function */

    /* What was seen. */
    bool parameters_changed; /* those of a CKM_RSA_AES_KEY_WRAP, while it hung */
    unsigned logins;
    bool last_pin_was_null;
    CK_USER_TYPE last_user;
    unsigned raw_inits;
    unsigned oaep_inits;
    unsigned decrypts;
    unsigned long decrypt_ns; /* in the real C_Decrypt, so far */
    unsigned sessions;        /* open now */
    unsigned most_sessions;
    unsigned ro_opens;
    unsigned rw_opens;
    unsigned closes;
    unsigned initializes;
    unsigned finalizes;
    unsigned crowded; /* C_Initialize or C_Finalize, while another call was under way */
    unsigned init_tokens;
    unsigned calls;
};

/* Exported by the module as kw_fault_control. KW_FAULT_REAL_MODULE names the real module. */
typedef struct kw_fault *(*kw_fault_control_fn)(void);

#endif
