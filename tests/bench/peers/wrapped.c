#include "wrapped.h"

#include <stdio.h>
#include <stdlib.h>

uint8_t *bench_read_wrapped(const char *path, size_t *ret_count)
{
    FILE *file = fopen(path, "re");
    uint8_t *wrapped = NULL;
    if (!file)
        return NULL;
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    rewind(file);
    if (size > 0)
        wrapped = malloc((size_t)size);
    if (wrapped && fread(wrapped, 1, (size_t)size, file) != (size_t)size) {
        free(wrapped);
        wrapped = NULL;
    }
    (void)fclose(file); /* it was only read */
    *ret_count = wrapped ? (size_t)size / BENCH_WRAPPED : 0;
    return wrapped;
}
