/* utf8: for this floor alone. */
#ifndef KW_UTF8_H
#define KW_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the well-formed sequence (RFC 3629) at `text`, and its code point; 0 if there is
 * none within `len` bytes. */
size_t kw_utf8_next(const uint8_t *text, size_t len, uint32_t *ret_code);
/* Ends the NUL-terminated text that fills `size` bytes with "...", without halving a sequence. */
void kw_utf8_ellipsis(char *text, size_t size);

#endif
