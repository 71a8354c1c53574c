/* Does a whole run through the library, then looks for the PIN and the data key in every byte of
 * its own memory that can be read, the secure heap included. With a folder to end in, it lets a
 * core be dumped there instead, for another program to search.
 *
 *     memory_probe DROP OUT TOKEN-URI HEX-OF-MASKED-KEY HEX-OF-MASKED-PIN [CORE-FOLDER]
 *
 * What it looks for is given XORed with 0x5a, so that looking does not put it into memory. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <keyward/keyward.h>

#include "base/base.h"
#include "memory_search.h"

/* The library forbids core files in two ways, and the hard limit can't be raised again. These stand
 * in front of the C library's, so that a core can be forced here and only here. */
static bool core_is_wanted;

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limits)
{
    if (core_is_wanted && resource == RLIMIT_CORE)
        return 0;
    return (int)syscall(SYS_prlimit64, 0, resource, limits, NULL);
}

int prctl(int option, ...)
{
    va_list list;
    va_start(list, option);
    unsigned long first = va_arg(list, unsigned long);
    va_end(list);
    if (core_is_wanted && option == PR_SET_DUMPABLE)
        return 0;
    return (int)syscall(SYS_prctl, option, first, 0L, 0L, 0L);
}

static int report(const char *when, struct wanted *wanted, size_t count)
{
    if (search_memory(wanted, count))
        return -1;
    for (size_t i = 0; i < count; i++)
        printf("%s %s %lu\n", when, wanted[i].name, wanted[i].found);
    return 0;
}

static int dump_core(const char *folder)
{
    const struct rlimit all = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    if (chdir(folder) || syscall(SYS_prlimit64, 0, RLIMIT_CORE, &all, NULL))
        return 1;
    abort();
}

int main(int argc, char **argv)
{
    struct wanted wanted[2] = {{.name = "key"}, {.name = "pin"}};
    struct kw_keyring *keyring = NULL;
    struct kw_drop *drop = NULL;
    struct kw_error err;
    if (argc < 6)
        return 2;
    for (size_t i = 0; i < 2; i++)
        if (!kw_hex_decode(argv[4 + i], strlen(argv[4 + i]), wanted[i].masked,
                           sizeof(wanted[i].masked), &wanted[i].len))
            return 2;
    core_is_wanted = argc > 6;
    const struct kw_keyring_options options = {.token = argv[3]};
    if (kw_keyring_open(&options, &keyring, &err) || kw_drop_open(argv[1], &drop, &err) ||
        kw_decrypt(keyring, drop, argv[2], NULL, NULL, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    /* While the keyring is open it keeps both: the search must be able to find them. */
    if (argc == 6 && report("during", wanted, 2))
        return 1;
    kw_drop_free(drop);
    kw_keyring_free(keyring);
    if (argc > 6)
        return dump_core(argv[6]);
    return report("after", wanted, 2) ? 1 : 0;
}
