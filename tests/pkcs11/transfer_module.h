/* A PKCS#11 module over a real one, whose wrapping mechanisms can be made to be others. */
#ifndef KW_TRANSFER_MODULE_H
#define KW_TRANSFER_MODULE_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

/* All zero: everything is passed on. CKR_OK as an answer means that there is none. */
struct kw_transfer_faults {
    bool kwp;          /* 0x210B is there: what the real module has as 0x210A */
    bool pad_is_other; /* 0x210A is there and is RFC 3394 */
    bool no_pad;
    bool pad_wraps_itself; /* 0x210A wraps the wrapping key, not what it is given */
    bool unknown;          /* C_GetInfo tells of another module */
    bool whole;            /* 0x1054 is there, made from the real module's parts */
    CK_ULONG whole_more;   /* and claims to give so many bytes more */
    CK_RV wrap_private_answer;
    CK_RV unwrap_answer;
    CK_RV generate_answer;
    CK_RV destroy_answer;
    CK_ULONG claim_more; /* C_WrapKey claims a length that is longer by so much */
    unsigned fail_at;    /* the nth of the calls that are counted; 0: none */
    CK_RV fail_answer;

    /* What was seen. */
    unsigned calls;
    unsigned private_wraps; /* C_WrapKey of a private key */
    unsigned oaep_wraps;
};

/* Exported by the module as kw_transfer_control. KW_FAULT_REAL_MODULE names the real module. */
typedef struct kw_transfer_faults *(*kw_transfer_control_fn)(void);

#endif
