/* Does a whole run through the library, then looks for the PIN and the data key in every byte of
 * its own memory that can be read, the secure heap included. With a folder to end in, it lets a
 * core be dumped there instead, for another program to search.
 *
 *     memory_probe DROP OUT TOKEN-URI HEX-OF-MASKED-KEY HEX-OF-MASKED-PIN [CORE-FOLDER]
 *
 * What it looks for is given XORed with 0x5a, so that looking does not put it into memory. */
#include <fcntl.h>
#include <inttypes.h>
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

#define MASK  0x5a
#define PIECE ((size_t)1 << 20)

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

struct wanted {
    const char *name;
    uint8_t masked[256];
    size_t len;
    unsigned long found;
};

static void count_in(struct wanted *wanted, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i + wanted->len <= len; i++) {
        size_t same = 0;
        while (same < wanted->len && (data[i + same] ^ MASK) == wanted->masked[same])
            same++;
        wanted->found += same == wanted->len;
    }
}

/* Pieces overlap by what is looked for less one byte, so that nothing hides between two. */
static void search_region(int memory, uint64_t from, uint64_t to, struct wanted *wanted,
                          size_t count)
{
    static uint8_t piece[PIECE];
    while (from < to) {
        size_t len = to - from < PIECE ? (size_t)(to - from) : PIECE;
        ssize_t got = pread(memory, piece, len, (off_t)from);
        if (got <= 0)
            return;
        for (size_t i = 0; i < count; i++)
            count_in(&wanted[i], piece, (size_t)got);
        if ((size_t)got < len || to - from <= PIECE)
            break;
        from += PIECE - sizeof(wanted->masked);
    }
    kw_wipe(piece, sizeof(piece));
}

static int search_memory(struct wanted *wanted, size_t count)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    char line[512];
    if (!maps || memory < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        wanted[i].found = 0;
    while (fgets(line, sizeof(line), maps)) {
        uint64_t from = 0;
        uint64_t to = 0;
        char access[5] = "";
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &from, &to, access) == 3 &&
            access[0] == 'r' && !strstr(line, "[vvar"))
            search_region(memory, from, to, wanted, count);
    }
    (void)fclose(maps);
    (void)close(memory);
    return 0;
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
