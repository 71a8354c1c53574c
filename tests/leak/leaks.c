/* Leaks on purpose: proves that the leak checks go red when something leaks. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LEAKED_BYTES 4321

static void leak(void)
{
    void *block = malloc(LEAKED_BYTES);
    if (block)
        memset(block, 1, LEAKED_BYTES);
    /* No copy of the address may stay in a register or on the stack. */
    __asm__ volatile("" : : "r"(block) : "memory");
    block = NULL;
    __asm__ volatile("" : : "r"(block) : "memory");
}

static void overwrite_stack(void)
{
    volatile uint8_t used[4096];
    for (size_t i = 0; i < sizeof(used); i++)
        used[i] = 0;
}

int main(void)
{
    leak();
    overwrite_stack();
    return 0;
}
