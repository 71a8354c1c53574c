/* Looks for secrets in every byte of the process's own memory that can be read, the secure heap
 * included. */
#ifndef KW_TEST_MEMORY_SEARCH_H
#define KW_TEST_MEMORY_SEARCH_H

#include <stddef.h>
#include <stdint.h>

/* What is looked for is given XORed with this, so that looking does not put it into memory. */
#define MASK 0x5a

struct wanted {
    const char *name;
    uint8_t masked[256];
    size_t len;
    unsigned long found;
};
/* Sets how often each was found. Not 0 where memory can't be read. */
int search_memory(struct wanted *wanted, size_t count);

#endif
