/* Bodies in chunks. */
#include <string.h>

#include "http/parse.h"

enum phase { SIZE, SIZE_LF, DATA, DATA_CR, DATA_LF, END_CR, END_LF };

/* A chunk of 4 GiB is over any limit of a body. */
#define DIGITS_MAX 8

static int digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool take_size(struct kw_http_chunks *chunks, uint8_t byte)
{
    int value = digit(byte);
    if (byte == '\r' && chunks->digits > 0) {
        chunks->phase = SIZE_LF;
        return true;
    }
    if (value < 0 || ++chunks->digits > DIGITS_MAX)
        return false;
    chunks->left = chunks->left * 16 + (uint64_t)value;
    return true;
}

/* A byte that is part of no chunk's data. */
static bool take_byte(struct kw_http_chunks *chunks, uint8_t byte)
{
    static const struct {
        uint8_t byte;
        enum phase next;
    } fixed[] = {
        [DATA_CR] = {'\r', DATA_LF},
        [DATA_LF] = {'\n', SIZE},
        [END_CR] = {'\r', END_LF},
        [END_LF] = {'\n', END_LF},
    };
    if (chunks->phase == SIZE)
        return take_size(chunks, byte);
    if (chunks->phase == SIZE_LF) {
        chunks->phase = chunks->left > 0 ? DATA : END_CR;
        return byte == '\n';
    }
    if (byte != fixed[chunks->phase].byte)
        return false;
    chunks->done = chunks->phase == END_LF;
    chunks->phase = (int)fixed[chunks->phase].next;
    chunks->digits = 0;
    return true;
}

int kw_http_take_chunks(struct kw_http_chunks *chunks, const uint8_t *data, size_t len, size_t max,
                        struct kw_http_bytes *body, size_t *ret_used)
{
    size_t used = 0;
    while (used < len && !chunks->done) {
        if (chunks->phase != DATA) {
            if (!take_byte(chunks, data[used++]))
                return 400;
            if (chunks->left > max - body->len)
                return 413;
            continue;
        }
        size_t piece = len - used < chunks->left ? len - used : (size_t)chunks->left;
        if (!kw_http_bytes_append(body, data + used, piece))
            return 503;
        used += piece;
        chunks->left -= piece;
        if (chunks->left == 0)
            chunks->phase = DATA_CR;
    }
    *ret_used = used;
    return 0;
}
