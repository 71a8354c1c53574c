#include "memory_search.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define PIECE ((size_t)1 << 20)

/* Unmasked it is never in memory as a whole: the search would find that. */
static void count_in(struct wanted *wanted, const uint8_t *data, size_t len)
{
    const uint8_t *end = data + len, *at = data;
    while ((at = memchr(at, wanted->masked[0] ^ MASK, (size_t)(end - at))) != NULL) {
        size_t same = 1, left = (size_t)(end - at);
        while (same < wanted->len && same < left && (at[same] ^ MASK) == wanted->masked[same])
            same++;
        wanted->found += same == wanted->len;
        at++;
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

int search_memory(struct wanted *wanted, size_t count)
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
