#include "cryptoki.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS   64
#define BATCH   512
#define PIN_MAX 256

_Noreturn void bench_fail(const char *what, unsigned long number)
{
    fprintf(stderr, "%s failed: 0x%lx\n", what, number);
    exit(1);
}

void bench_check(CK_RV rv, const char *what)
{
    if (rv != CKR_OK)
        bench_fail(what, rv);
}

static CK_FUNCTION_LIST *load(const char *module)
{
    CK_FUNCTION_LIST *functions = NULL;
    CK_C_GetFunctionList get = NULL;
    void *library = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        bench_fail(module, 0);
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (!get)
        bench_fail("C_GetFunctionList", 0);
    bench_check(get(&functions), "C_GetFunctionList");
    return functions;
}

static CK_SLOT_ID find_slot(CK_FUNCTION_LIST *functions, const char *label)
{
    CK_SLOT_ID slots[SLOTS];
    CK_ULONG count = SLOTS;
    CK_TOKEN_INFO info;
    char padded[sizeof(info.label)];
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, strnlen(label, sizeof(padded)));
    bench_check(functions->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++)
        if (functions->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
            memcmp(info.label, padded, sizeof(padded)) == 0)
            return slots[i];
    bench_fail(label, count);
}

static size_t read_pin(const char *path, char pin[PIN_MAX])
{
    FILE *file = fopen(path, "re");
    if (!file || !fgets(pin, PIN_MAX, file))
        bench_fail(path, 0);
    (void)fclose(file); /* it was only read */
    pin[strcspn(pin, "\n")] = '\0';
    return strlen(pin);
}

CK_SESSION_HANDLE bench_session(const struct bench_token *token, CK_FLAGS more)
{
    CK_SESSION_HANDLE session = 0;
    bench_check(token->functions->C_OpenSession(token->slot, CKF_SERIAL_SESSION | more, NULL, NULL,
                                                &session),
                "C_OpenSession");
    return session;
}

void bench_open(struct bench_token *token, const char *module, const char *label,
                const char *pin_file, CK_FLAGS more)
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    char pin[PIN_MAX];
    size_t pin_len = read_pin(pin_file, pin);
    token->functions = load(module);
    bench_check(token->functions->C_Initialize(&args), "C_Initialize");
    token->slot = find_slot(token->functions, label);
    token->session = bench_session(token, more);
    bench_check(
        token->functions->C_Login(token->session, CKU_USER, (CK_UTF8CHAR *)pin, (CK_ULONG)pin_len),
        "C_Login");
}

void bench_close(struct bench_token *token)
{
    bench_check(token->functions->C_Finalize(NULL), "C_Finalize");
}

size_t bench_find(const struct bench_token *token, CK_ATTRIBUTE *wanted, CK_ULONG count,
                  CK_OBJECT_HANDLE *handles, size_t max)
{
    CK_OBJECT_HANDLE batch[BATCH];
    CK_ULONG got = 0;
    size_t found = 0;
    bench_check(token->functions->C_FindObjectsInit(token->session, wanted, count),
                "C_FindObjectsInit");
    do {
        bench_check(token->functions->C_FindObjects(token->session, batch, BATCH, &got),
                    "C_FindObjects");
        for (CK_ULONG i = 0; i < got; i++, found++)
            if (found < max)
                handles[found] = batch[i];
    } while (got > 0);
    bench_check(token->functions->C_FindObjectsFinal(token->session), "C_FindObjectsFinal");
    return found;
}
