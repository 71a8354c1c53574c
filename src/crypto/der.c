/* der: one value after the other. */
#include "crypto/der.h"

#define LONG_FORM 0x80

/* Up to two bytes of length: no key has 64 KiB. */
static bool take_length(struct kw_der *in, size_t *ret_len)
{
    if (in->left < 1)
        return false;
    size_t first = in->at[0], bytes = first & 0x7f, len = 0;
    if (first < LONG_FORM) {
        bytes = 0;
        len = first;
    } else if (bytes < 1 || bytes > 2 || in->left < 1 + bytes) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++)
        len = len << 8 | in->at[1 + i];
    /* The shortest form only. */
    if ((bytes == 1 && len < LONG_FORM) || (bytes == 2 && len <= 0xff))
        return false;
    in->at += 1 + bytes;
    in->left -= 1 + bytes;
    *ret_len = len;
    return true;
}

bool kw_der_next_is(const struct kw_der *in, uint8_t tag)
{
    return in->left > 0 && in->at[0] == tag;
}

bool kw_der_take(struct kw_der *in, uint8_t tag, struct kw_der *ret_value)
{
    if (!kw_der_next_is(in, tag))
        return false;
    struct kw_der rest = {in->at + 1, in->left - 1};
    size_t len = 0;
    if (!take_length(&rest, &len) || len > rest.left)
        return false;
    *ret_value = (struct kw_der){rest.at, len};
    *in = (struct kw_der){rest.at + len, rest.left - len};
    return true;
}

bool kw_der_take_number(struct kw_der *in, struct kw_der *ret_value)
{
    struct kw_der rest = *in, value;
    if (!kw_der_take(&rest, KW_DER_INTEGER, &value) || value.left == 0 || (value.at[0] & 0x80))
        return false;
    if (value.at[0] == 0 && value.left > 1) {
        if (!(value.at[1] & 0x80))
            return false;
        value.at++;
        value.left--;
    }
    *in = rest;
    *ret_value = value;
    return true;
}
