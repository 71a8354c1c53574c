/* Faults by a script, for a program that is tested from outside: the environment names what fails,
 * at which call, and how often.
 *
 * KW_FAULT_SCRIPT holds rules, parted by ";", each of up to five words:
 *
 *     FUNCTION ACTION [VALUE [FIRST [CALLS]]]
 *
 * "C_Decrypt answer 0x30 2 1": the second call of C_Decrypt answers CKR_DEVICE_ERROR, and no other.
 * "any" is every function. FIRST is 1 and CALLS 0, which is all from the first on, where they are
 * left out. A rule that makes no sense makes C_GetFunctionList fail.
 *
 *     answer RV        the token is not asked
 *     lost RV          the token does it, and only its answer is lost
 *     hang MS          blocks that long; 0: for ever
 *     crash RV         this call and all others answer so until C_Finalize and then C_Initialize
 *     close 0          the session of this call is closed first; of a call without one nothing
 *     close-all 0      so are all of the slot, and with them the login is lost
 *     log-out 0        somebody logs out first
 *     renumber 0       every object has another handle from now on, and the old ones are void
 *     swap 0           the handles of the private keys mean other ones of them from now on
 *     other-key 0      C_FindObjects gives the handles of other private keys, this time only
 *     away-calls N     the token is pulled out before this call, and back after N calls
 *     away-ms MS       the same, for so long
 *     flags BITS       set in CK_TOKEN_INFO
 *     length N         this is the length or the count that the call tells; of attributes, each
 *     noise BYTE       all bytes of the structure or of the attributes' values are this one
 *
 * KW_FAULT_LOG names a file that gets a line "FUNCTION RV" for each call that ended. */
#ifndef KW_FAULT_SCRIPT_H
#define KW_FAULT_SCRIPT_H

#include <p11-kit/pkcs11.h>

/* Reads the environment; what C_GetFunctionList is to answer. */
CK_RV kw_fault_script_load(void);
/* Calls of functions of the module that have not returned. */
unsigned kw_steps_under_way(void);
/* Puts the script in front of `inner`, which stays where it is. */
void kw_fault_script_front(const CK_FUNCTION_LIST *inner, CK_FUNCTION_LIST *outer);

#endif
