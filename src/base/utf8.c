/* UTF-8, as strictly as RFC 3629 has it. */
#include "base/utf8.h"
#include "base/base.h"

#include <string.h>

struct utf8_row {
    uint8_t first, last; /* of the lead byte */
    uint8_t second_min, second_max;
    uint8_t len;
};

/* The second byte's range keeps out overlong forms, surrogates and what is above U+10FFFF. */
static const struct utf8_row rows[] = {
    {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3}, {0xE1, 0xEC, 0x80, 0xBF, 3},
    {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3}, {0xF0, 0xF0, 0x90, 0xBF, 4},
    {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
};

static const struct utf8_row *find_row(uint8_t lead)
{
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        if (lead >= rows[i].first && lead <= rows[i].last)
            return &rows[i];
    }
    return NULL;
}

size_t kw_utf8_next(const uint8_t *text, size_t len, uint32_t *ret_code)
{
    if (len == 0)
        return 0;
    if (text[0] < 0x80) {
        *ret_code = text[0];
        return 1;
    }
    const struct utf8_row *row = find_row(text[0]);
    if (!row || len < row->len || text[1] < row->second_min || text[1] > row->second_max)
        return 0;
    uint32_t code = text[0] & (0x7FU >> row->len);
    for (size_t i = 1; i < row->len; i++) {
        if ((text[i] & 0xC0U) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3FU);
    }
    *ret_code = code;
    return row->len;
}

void kw_utf8_ellipsis(char *text, size_t size)
{
    if (size < 4)
        return;
    size_t at = size - 4;
    while (at > 0 && ((uint8_t)text[at] & 0xC0U) == 0x80)
        at--;
    memcpy(text + at, "...", 4);
}

bool kw_utf8_valid(const void *text, size_t len)
{
    const uint8_t *at = text;
    uint32_t code = 0;
    while (len > 0) {
        size_t step = kw_utf8_next(at, len, &code);
        if (step == 0)
            return false;
        at += step;
        len -= step;
    }
    return true;
}
