/* Buffers that grow to a stated limit. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define FIRST_CAPACITY 256
#define SHORT_TEXT     256

void kw_buffer_cleanup(struct kw_buffer *buffer)
{
    if (!buffer)
        return;
    free(buffer->data);
    buffer->data = NULL;
    buffer->len = 0;
    buffer->capacity = 0;
}

/* Twice what there was, so that appending stays linear, but not over max. */
static size_t next_capacity(const struct kw_buffer *buffer, size_t needed)
{
    size_t capacity = buffer->capacity > buffer->max / 2 ? buffer->max : buffer->capacity * 2;
    if (capacity < FIRST_CAPACITY)
        capacity = FIRST_CAPACITY;
    if (capacity > buffer->max)
        capacity = buffer->max;
    return capacity < needed ? needed : capacity;
}

enum kw_status kw_buffer_reserve(struct kw_buffer *buffer, size_t more, struct kw_error *err)
{
    if (buffer->len > buffer->max || more > buffer->max - buffer->len)
        return kw_fail(err, KW_FAULT,
                       "a buffer would grow over its %zu bytes; this is a fault of Keyward",
                       buffer->max);
    size_t needed = buffer->len + more;
    if (needed <= buffer->capacity)
        return KW_OK;
    size_t capacity = next_capacity(buffer, needed);
    uint8_t *data = realloc(buffer->data, capacity);
    if (!data)
        return kw_fail_memory(err);
    buffer->data = data;
    buffer->capacity = capacity;
    return KW_OK;
}

enum kw_status kw_buffer_append(struct kw_buffer *buffer, const void *data, size_t len,
                                struct kw_error *err)
{
    if (len == 0)
        return KW_OK;
    enum kw_status status = kw_buffer_reserve(buffer, len, err);
    if (status != KW_OK)
        return status;
    memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
    return KW_OK;
}

enum kw_status kw_buffer_printf(struct kw_buffer *buffer, struct kw_error *err, const char *format,
                                ...)
{
    va_list args;
    char text[SHORT_TEXT];
    char *longer = NULL;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len >= SHORT_TEXT) {
        va_start(args, format);
        len = vasprintf(&longer, format, args);
        va_end(args);
    }
    if (len < 0)
        return kw_fail_memory(err);
    enum kw_status status = kw_buffer_append(buffer, longer ? longer : text, (size_t)len, err);
    free(longer);
    return status;
}
