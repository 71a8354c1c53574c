/* A file of data keys, wrapped for an RSA-2048 key, one after the other. */
#ifndef BENCH_WRAPPED_H
#define BENCH_WRAPPED_H

#include <stddef.h>
#include <stdint.h>

#define BENCH_WRAPPED 256

/* The whole file, to be freed with free(); NULL where it can't be read. */
uint8_t *bench_read_wrapped(const char *path, size_t *ret_count);

#endif
