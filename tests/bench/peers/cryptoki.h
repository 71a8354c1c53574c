/* Cryptoki without any code of Keyward: what it costs at least. All of it ends the process where a
 * call fails. */
#ifndef BENCH_CRYPTOKI_H
#define BENCH_CRYPTOKI_H

#include <stddef.h>

#include <p11-kit/pkcs11.h>

struct bench_token {
    CK_FUNCTION_LIST *functions;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session; /* logged in */
};

_Noreturn void bench_fail(const char *what, unsigned long number);
void bench_check(CK_RV rv, const char *what);

/* Loads the module, initialises it and logs in, in a session with the flags of `more`, to the token
 * with the label; the file's first line is the PIN. */
void bench_open(struct bench_token *token, const char *module, const char *label,
                const char *pin_file, CK_FLAGS more);
CK_SESSION_HANDLE bench_session(const struct bench_token *token, CK_FLAGS more);
void bench_close(struct bench_token *token);

/* One search; returns how many were found, of which at most `max` are in `handles`. */
size_t bench_find(const struct bench_token *token, CK_ATTRIBUTE *wanted, CK_ULONG count,
                  CK_OBJECT_HANDLE *handles, size_t max);

#endif
