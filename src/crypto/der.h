/* der: DER (X.690 section 10), read in place: a value is never copied, so a secret has no copies.
 */
#ifndef KW_CRYPTO_DER_H
#define KW_CRYPTO_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KW_DER_INTEGER      0x02
#define KW_DER_OCTET_STRING 0x04
#define KW_DER_NULL         0x05
#define KW_DER_OID          0x06
#define KW_DER_SEQUENCE     0x30

/* What is still to be read. */
struct kw_der {
    const uint8_t *at;
    size_t left;
};
/* Takes the next value off `in`, if it has that tag and its length is as DER has it and not more
 * than there is; else both are untouched. */
bool kw_der_take(struct kw_der *in, uint8_t tag, struct kw_der *ret_value);
/* The same for an INTEGER that is not negative; *ret_value has no leading zeros, and one byte for
 * the number 0. */
bool kw_der_take_number(struct kw_der *in, struct kw_der *ret_value);
/* Whether the next value has that tag. */
bool kw_der_next_is(const struct kw_der *in, uint8_t tag);

#endif
