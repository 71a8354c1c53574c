/* gzip: the header of a gzip member, read in pieces. */
#include <isa-l/crc.h>

#include "flow/gzip.h"
#include "flow/stage.h"

#define FIXED_SIZE    10
#define METHOD        2 /* offsets in the fixed part */
#define FLAGS         3
#define DEFLATE       8
#define FLAG_CRC16    0x02
#define FLAG_EXTRA    0x04
#define FLAG_NAME     0x08
#define FLAG_COMMENT  0x10
#define FLAG_RESERVED 0xe0

/* The optional parts in their order, and the flag that says that they are there. */
static const struct {
    enum kw_gzip_part part;
    uint8_t flag;
} optional[] = {
    {KW_GZIP_EXTRA_LEN, FLAG_EXTRA}, {KW_GZIP_EXTRA, FLAG_EXTRA}, {KW_GZIP_NAME, FLAG_NAME},
    {KW_GZIP_COMMENT, FLAG_COMMENT}, {KW_GZIP_CRC16, FLAG_CRC16},
};

static void next_part(struct kw_gzip_header *header)
{
    for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++) {
        bool empty = optional[i].part == KW_GZIP_EXTRA && header->extra == 0;
        if (optional[i].part > header->part && (header->flags & optional[i].flag) && !empty) {
            header->part = optional[i].part;
            header->have = 0;
            return;
        }
    }
    header->part = KW_GZIP_COMPLETE;
}

static enum kw_gzip_verdict fixed_byte(struct kw_gzip_header *header, uint8_t byte)
{
    static const uint8_t magic[] = {0x1f, 0x8b};
    if (header->have < sizeof(magic) && byte != magic[header->have])
        return KW_GZIP_NO_MAGIC;
    if (header->have == METHOD && byte != DEFLATE)
        return KW_GZIP_BAD;
    if (header->have == FLAGS) {
        if (byte & FLAG_RESERVED)
            return KW_GZIP_BAD;
        header->flags = byte;
    }
    header->have++;
    if (header->have == FIXED_SIZE)
        next_part(header);
    return KW_GZIP_GOOD;
}

/* Two bytes, the lower one first. True when both are there. */
static bool small_number(struct kw_gzip_header *header, uint8_t byte, size_t *number)
{
    *number = header->have == 0 ? byte : *number | (size_t)byte << 8;
    header->have++;
    return header->have == 2;
}

static enum kw_gzip_verdict one_byte(struct kw_gzip_header *header, uint8_t byte)
{
    size_t number = header->crc_given;
    switch (header->part) {
    case KW_GZIP_FIXED:
        return fixed_byte(header, byte);
    case KW_GZIP_EXTRA_LEN:
        if (small_number(header, byte, &header->extra))
            next_part(header);
        return KW_GZIP_GOOD;
    case KW_GZIP_EXTRA:
        header->have++;
        if (header->have == header->extra)
            next_part(header);
        return KW_GZIP_GOOD;
    case KW_GZIP_NAME:
    case KW_GZIP_COMMENT:
        if (byte == 0)
            next_part(header);
        return KW_GZIP_GOOD;
    case KW_GZIP_CRC16:
        if (small_number(header, byte, &number)) {
            if (number != (header->crc & 0xffff))
                return KW_GZIP_BAD;
            next_part(header);
        }
        header->crc_given = (uint16_t)number;
        return KW_GZIP_GOOD;
    case KW_GZIP_COMPLETE:
        break;
    }
    return KW_GZIP_BAD;
}

uint32_t kw_crc32(uint32_t crc, const void *data, size_t len)
{
    return crc32_gzip_refl(crc, data, len);
}

/* Of polynomials over GF(2) modulo that of CRC-32; the highest bit is the lowest power. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit != 0; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = b & 1 ? b >> 1 ^ UINT32_C(0xedb88320) : b >> 1;
    }
    return product;
}

/* Zeros after the first piece multiply it by x^8 for each, and the second is added. */
uint32_t kw_crc32_join(uint32_t first, uint32_t second, uint64_t second_len)
{
    uint32_t power = UINT32_C(1) << 23; /* x^8 */
    for (; second_len > 0; second_len >>= 1) {
        if (second_len & 1)
            first = multiply(power, first);
        power = multiply(power, power);
    }
    return first ^ second;
}

size_t kw_gzip_header_feed(struct kw_gzip_header *header, const uint8_t *data, size_t len,
                           enum kw_gzip_verdict *ret_verdict)
{
    enum kw_gzip_verdict verdict = KW_GZIP_GOOD;
    size_t used = 0;
    while (used < len && header->part != KW_GZIP_COMPLETE) {
        bool summed = header->part != KW_GZIP_CRC16;
        verdict = one_byte(header, data[used]);
        if (verdict != KW_GZIP_GOOD)
            break;
        if (summed)
            header->crc = crc32_gzip_refl(header->crc, data + used, 1);
        used++;
    }
    *ret_verdict = verdict;
    return used;
}
