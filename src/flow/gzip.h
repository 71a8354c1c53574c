/* gzip: the header of a gzip member (RFC 1952 section 2.3), read in pieces of any size.
 *
 * ISA-L's own reader forgets the header's flags between two calls, does not refuse reserved ones,
 * and so can't be given a stream in pieces. */
#ifndef KW_FLOW_GZIP_H
#define KW_FLOW_GZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kw_gzip_part {
    KW_GZIP_FIXED, /* magic, method, flags, time, extra flags, system */
    KW_GZIP_EXTRA_LEN,
    KW_GZIP_EXTRA,
    KW_GZIP_NAME,
    KW_GZIP_COMMENT,
    KW_GZIP_CRC16,
    KW_GZIP_COMPLETE
};
enum kw_gzip_verdict {
    KW_GZIP_GOOD,
    KW_GZIP_NO_MAGIC, /* it does not start as gzip: 1f 8b */
    KW_GZIP_BAD       /* it does, and is damaged, or uses what RFC 1952 reserves */
};
struct kw_gzip_header {
    enum kw_gzip_part part;
    size_t have;  /* bytes of this part */
    size_t extra; /* bytes of the extra field */
    uint8_t flags;
    uint32_t crc;
    uint16_t crc_given;
};

/* Where a header begins, the struct is zero. Reads on up to the header's end (part is then
 * KW_GZIP_COMPLETE) and returns the number of bytes that belong to it; at a bad verdict those
 * before the offending byte. */
size_t kw_gzip_header_feed(struct kw_gzip_header *header, const uint8_t *data, size_t len,
                           enum kw_gzip_verdict *ret_verdict);

#endif
