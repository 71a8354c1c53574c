/* What every test of this floor includes. */
#ifndef KW_BASE_TEST_H
#define KW_BASE_TEST_H

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <cmocka.h>

#include "base/base.h"

/* The status and a part of the sentence that must be in the error. */
#define assert_fails(call, wanted, part)                                                           \
    do {                                                                                           \
        memset(&err, 0, sizeof(err));                                                              \
        assert_int_equal(call, wanted);                                                            \
        assert_int_equal(err.status, wanted);                                                      \
        if (!strstr(err.message, part))                                                            \
            fail_msg("\"%s\" is not in: %s", part, err.message);                                   \
    } while (0)
#define assert_ok(call)                                                                            \
    do {                                                                                           \
        memset(&err, 0, sizeof(err));                                                              \
        if ((call) != KW_OK)                                                                       \
            fail_msg("%s: %s", #call, err.message);                                                \
    } while (0)

/* From here on this process's calls of that number fail with `answer`, as on a kernel that lacks
 * it; with `first` not negative only those whose first argument that is. False: they don't. */
static inline bool take_call_away(unsigned number, long first, uint32_t answer)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)), /* its low half */
        BPF_JUMP(first < 0 ? BPF_JMP | BPF_JGE | BPF_K : BPF_JMP | BPF_JEQ | BPF_K,
                 first < 0 ? 0 : (unsigned)first, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = KW_COUNT(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#endif
