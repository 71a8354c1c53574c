/* Bytes that may be part of a secret. */
#include <stdlib.h>
#include <string.h>

#include "http/parse.h"

#define FIRST_CAPACITY 1024

bool kw_http_bytes_reserve(struct kw_http_bytes *bytes, size_t more)
{
    if (more >= SIZE_MAX / 4 - bytes->len)
        return false;
    size_t wanted = bytes->len + more + 1;
    if (wanted <= bytes->capacity)
        return true;
    size_t capacity = bytes->capacity ? bytes->capacity : FIRST_CAPACITY;
    while (capacity < wanted)
        capacity *= 2;
    uint8_t *data = malloc(capacity);
    if (!data)
        return false;
    if (bytes->len > 0)
        memcpy(data, bytes->data, bytes->len);
    size_t len = bytes->len;
    kw_http_bytes_cleanup(bytes);
    *bytes = (struct kw_http_bytes){.data = data, .len = len, .capacity = capacity};
    return true;
}

bool kw_http_bytes_append(struct kw_http_bytes *bytes, const void *data, size_t len)
{
    if (!kw_http_bytes_reserve(bytes, len))
        return false;
    if (len > 0)
        memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
    bytes->data[bytes->len] = '\0';
    return true;
}

void kw_http_bytes_drop(struct kw_http_bytes *bytes, size_t len)
{
    if (len >= bytes->len) {
        kw_http_bytes_cleanup(bytes);
        return;
    }
    size_t left = bytes->len - len;
    memmove(bytes->data, bytes->data + len, left);
    kw_wipe(bytes->data + left, len);
    bytes->len = left;
}

void kw_http_bytes_cleanup(struct kw_http_bytes *bytes)
{
    if (bytes->data)
        kw_wipe(bytes->data, bytes->capacity);
    free(bytes->data);
    *bytes = (struct kw_http_bytes){.data = NULL};
}
