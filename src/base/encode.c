/* Base64 and hex. Characters of base64, and of hex on the way in, are mapped by arithmetic: no
 * table and no branch depends on them, so that neither the cache nor the time taken tells anything
 * about a secret but its length. */
#include <string.h>

#include "base/base.h"

/* All ones where first <= c <= last, else zero. All of them are below 256. */
static uint32_t in_range(uint32_t c, uint32_t first, uint32_t last)
{
    return 0U - ((~((c - first) | (last - c))) >> 31);
}

/* The six bits that the character stands for plus one, or 0 if it is none of the alphabet's. */
static uint32_t sextet(uint32_t c, uint32_t char62, uint32_t char63)
{
    uint32_t value = 0;
    value |= in_range(c, 'A', 'Z') & (c - 'A' + 1);
    value |= in_range(c, 'a', 'z') & (c - 'a' + 27);
    value |= in_range(c, '0', '9') & (c - '0' + 53);
    value |= in_range(c, char62, char62) & 63;
    value |= in_range(c, char63, char63) & 64;
    return value;
}

/* How many '=' end the text, where the encoding lets them; false if its length can't be right. */
static bool count_padding(enum kw_base64 alphabet, const char *text, size_t len,
                          size_t *ret_padding)
{
    size_t padding = 0;
    if (len % 4 == 0) {
        while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
            padding++;
    } else if (alphabet == KW_BASE64 || len % 4 == 1) {
        return false;
    }
    *ret_padding = padding;
    return true;
}

/* Decodes 2 to 4 characters to 1 to 3 bytes. Not zero if one is foreign or bits are left over. */
static uint32_t decode_group(enum kw_base64 alphabet, const char *text, size_t count, uint8_t *out)
{
    uint32_t char62 = alphabet == KW_BASE64 ? '+' : '-';
    uint32_t char63 = alphabet == KW_BASE64 ? '/' : '_';
    uint32_t bits = 0;
    uint32_t bad = 0;
    for (size_t i = 0; i < 4; i++) {
        uint32_t value = i < count ? sextet((uint8_t)text[i], char62, char63) : 1;
        bad |= (value - 1) >> 31;
        bits = bits << 6 | ((value - 1) & 63);
    }
    for (size_t i = 0; i + 1 < count; i++)
        out[i] = (uint8_t)(bits >> (16 - 8 * i));
    uint32_t left_over = (1U << (8 * (4 - count))) - 1;
    return bad | (bits & left_over);
}

bool kw_base64_decode(enum kw_base64 alphabet, const char *text, size_t len, uint8_t *out,
                      size_t capacity, size_t *ret_len)
{
    size_t padding = 0;
    uint32_t bad = 1;
    size_t done = 0;
    if (count_padding(alphabet, text, len, &padding)) {
        size_t body = len - padding;
        size_t rest = body % 4;
        size_t decoded = body / 4 * 3 + (rest > 0 ? rest - 1 : 0);
        bad = decoded > capacity;
        for (size_t at = 0; at < body && decoded <= capacity; at += 4) {
            size_t count = body - at < 4 ? body - at : 4;
            bad |= decode_group(alphabet, text + at, count, out + done);
            done += count - 1;
        }
    }
    if (bad != 0) {
        kw_wipe(out, capacity);
        return false;
    }
    *ret_len = done;
    return true;
}

/* The other way round. */
static char character(uint32_t value, uint32_t char62, uint32_t char63)
{
    uint32_t c = 0;
    c |= in_range(value, 0, 25) & (value + 'A');
    c |= in_range(value, 26, 51) & (value - 26 + 'a');
    c |= in_range(value, 52, 61) & (value - 52 + '0');
    c |= in_range(value, 62, 62) & char62;
    c |= in_range(value, 63, 63) & char63;
    return (char)c;
}

void kw_base64_encode(enum kw_base64 alphabet, const void *data, size_t len, char *out)
{
    uint32_t char62 = alphabet == KW_BASE64 ? '+' : '-';
    uint32_t char63 = alphabet == KW_BASE64 ? '/' : '_';
    const uint8_t *bytes = data;
    for (size_t at = 0; at < len; at += 3) {
        size_t count = len - at < 3 ? len - at : 3;
        uint32_t bits = 0;
        for (size_t i = 0; i < 3; i++)
            bits = bits << 8 | (i < count ? bytes[at + i] : 0U);
        for (size_t i = 0; i <= count; i++)
            *out++ = character(bits >> (18 - 6 * i) & 63, char62, char63);
        for (size_t i = count; i < 3 && alphabet == KW_BASE64; i++)
            *out++ = '=';
    }
    *out = '\0';
}

/* The four bits that the digit stands for plus one, or 0 if it is none. */
static uint32_t nibble(uint32_t c)
{
    uint32_t value = 0;
    value |= in_range(c, '0', '9') & (c - '0' + 1);
    value |= in_range(c, 'A', 'F') & (c - 'A' + 11);
    value |= in_range(c, 'a', 'f') & (c - 'a' + 11);
    return value;
}

bool kw_hex_decode(const char *text, size_t len, uint8_t *out, size_t capacity, size_t *ret_len)
{
    bool fits = len % 2 == 0 && len / 2 <= capacity;
    uint32_t bad = !fits;
    for (size_t i = 0; fits && i < len / 2; i++) {
        uint32_t high = nibble((uint8_t)text[2 * i]);
        uint32_t low = nibble((uint8_t)text[2 * i + 1]);
        bad |= (high - 1) >> 31 | (low - 1) >> 31;
        out[i] = (uint8_t)(((high - 1) << 4 | ((low - 1) & 15)) & 0xFF);
    }
    if (bad != 0) {
        kw_wipe(out, capacity);
        return false;
    }
    *ret_len = len / 2;
    return true;
}

void kw_hex_encode(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}
