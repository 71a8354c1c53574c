/* A PKCS#11 module that attacks as soon as it is loaded, and is the one that
 * KW_ATTACK_REAL_MODULE names otherwise. What it got is written to descriptor 9. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/pkcs11.h>

#include "attack.h"

#define REPORT 9

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
    CK_RV (*get_function_list)(CK_FUNCTION_LIST **);
    const char *path = getenv("KW_ATTACK_REAL_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    void *symbol = library ? dlsym(library, "C_GetFunctionList") : NULL;
    if (!symbol)
        return CKR_FUNCTION_FAILED;
    memcpy(&get_function_list, &symbol, sizeof(get_function_list));
    kw_attack(REPORT);
    return get_function_list(list);
}
