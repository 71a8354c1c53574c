/* Handles of objects that a token gives anew, or to other objects. One script at a time. */
#ifndef KW_FAULT_HANDLES_H
#define KW_FAULT_HANDLES_H

#include <p11-kit/pkcs11.h>

/* From a handle of the program's to one of the token's, and back. */
CK_OBJECT_HANDLE kw_handle_in(CK_OBJECT_HANDLE handle);
CK_OBJECT_HANDLE kw_handle_out(CK_OBJECT_HANDLE handle);

/* Those that the program knows are void from now on. */
void kw_handles_renumber(void);
/* Those of private RSA keys mean the next one of them from now on. */
void kw_handles_swap(const CK_FUNCTION_LIST *functions, CK_SLOT_ID slot);
/* For the program: of the next private key, where it is that of one. */
CK_OBJECT_HANDLE kw_handle_of_other(const CK_FUNCTION_LIST *functions, CK_SLOT_ID slot,
                                    CK_OBJECT_HANDLE handle);

#endif
