/* looks_plain: what files that nobody encrypted start with.
 *
 * Each recogniser says how many bytes it needs so that random bytes pass all of them together with
 * a probability below 2^-27. A random byte goes on with UTF-8 text with a probability of 0.46. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "flow/stage.h"

static bool starts_with(const uint8_t *head, size_t len, const char *magic, size_t magic_len)
{
    return len >= magic_len && memcmp(head, magic, magic_len) == 0;
}

static bool is_text_ascii(uint32_t character)
{
    return (character >= 0x20 && character < 0x7f) || character == '\t' || character == '\n' ||
           character == '\r';
}

/* The length of the UTF-8 sequence (RFC 3629) at `text`, 0 if there is none; one that `len` cuts
 * short is taken for whole. */
static size_t utf8_sequence(const uint8_t *text, size_t len)
{
    static const struct {
        uint8_t first, last;               /* of the first byte */
        uint8_t second_first, second_last; /* of the second */
        size_t len;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    if (text[0] < 0x80)
        return is_text_ascii(text[0]) ? 1 : 0;
    for (size_t i = 0; i < KW_COUNT(forms); i++) {
        if (text[0] < forms[i].first || text[0] > forms[i].last)
            continue;
        if (len > 1 && (text[1] < forms[i].second_first || text[1] > forms[i].second_last))
            return 0;
        size_t end = forms[i].len < len ? forms[i].len : len;
        for (size_t j = 2; j < end; j++) {
            if (text[j] < 0x80 || text[j] > 0xbf)
                return 0;
        }
        return end;
    }
    return 0;
}

/* How much of a text is blocks of ASCII, as nearly all of nearly every text is. Without a branch a
 * character, which compilers make vectors of. */
static size_t ascii_blocks(const uint8_t *text, size_t len)
{
    enum { BLOCK = 64 };
    size_t done = 0;
    while (done + BLOCK <= len) {
        uint8_t others = 0;
        for (size_t i = 0; i < BLOCK; i++) {
            uint8_t byte = text[done + i];
            uint8_t printable = (uint8_t)(byte - 0x20) < 0x7f - 0x20;
            uint8_t space = (byte == '\t') | (byte == '\n') | (byte == '\r');
            others |= (uint8_t) !(printable | space);
        }
        if (others)
            return done;
        done += BLOCK;
    }
    return done;
}

static bool is_utf8_text(const uint8_t *text, size_t len)
{
    for (size_t i = ascii_blocks(text, len); i < len;) {
        size_t sequence = utf8_sequence(text + i, len - i);
        if (sequence == 0)
            return false;
        i += sequence;
    }
    return true;
}

static bool utf8(const uint8_t *head, size_t len)
{
    return is_utf8_text(head, len);
}

static bool utf8_with_mark(const uint8_t *head, size_t len)
{
    return starts_with(head, len, "\xef\xbb\xbf", 3) && is_utf8_text(head + 3, len - 3);
}

/* Short enough to be one block, so that less text must do. */
static bool json_in_ascii(const uint8_t *head, size_t len)
{
    if (head[0] != '{' && head[0] != '[')
        return false;
    for (size_t i = 1; i < len; i++) {
        if (!is_text_ascii(head[i]))
            return false;
    }
    return true;
}

/* Nearly every pair of bytes is some character, so the first two must be ASCII: a quote, a brace,
 * a name. */
static bool utf16_with_mark(const uint8_t *head, size_t len)
{
    bool little = starts_with(head, len, "\xff\xfe", 2);
    if (!little && !starts_with(head, len, "\xfe\xff", 2))
        return false;
    for (size_t i = 2; i < 6; i += 2) {
        uint32_t unit = little ? (uint32_t)head[i] | (uint32_t)head[i + 1] << 8
                               : (uint32_t)head[i] << 8 | (uint32_t)head[i + 1];
        if (!is_text_ascii(unit))
            return false;
    }
    return true;
}

/* RFC 1952: magic, deflate, no reserved flag, a system that it names. */
static bool gzip(const uint8_t *head, size_t len)
{
    return starts_with(head, len, "\x1f\x8b\x08", 3) && (head[3] & 0xe0) == 0 &&
           (head[9] <= 13 || head[9] == 255);
}

static bool parquet(const uint8_t *head, size_t len)
{
    return starts_with(head, len, "PAR1", 4) || starts_with(head, len, "PARE", 4);
}

static const struct {
    bool (*recognises)(const uint8_t *head, size_t len);
    size_t min_len;
} recognisers[] = {
    {utf8, 32},           /* 2^-35 */
    {utf8_with_mark, 8},  /* 2^-29 */
    {json_in_ascii, 16},  /* 2^-27.7 */
    {utf16_with_mark, 6}, /* 2^-33 */
    {gzip, 10},           /* 2^-31 */
    {parquet, 4},         /* 2^-31 */
};

/* Without a mark, most of what is written has one byte of each pair zero, always the same one. */
static bool utf16_without_mark(const uint8_t *head, size_t len)
{
    size_t zeros[2] = {0, 0};
    for (size_t i = 0; i + 1 < len; i += 2) {
        zeros[0] += head[i] == 0;
        zeros[1] += head[i + 1] == 0;
        if (head[i] == 0 && head[i + 1] == 0)
            return false;
    }
    size_t most = zeros[0] > zeros[1] ? zeros[0] : zeros[1];
    return len >= 2 && head[0] + head[1] != 0 && (head[0] == 0 || head[1] == 0) && 4 * most >= len;
}

static bool avro(const uint8_t *head, size_t len)
{
    return starts_with(head, len, "Obj\x01", 4);
}

static bool orc(const uint8_t *head, size_t len)
{
    return starts_with(head, len, "ORC", 3);
}

bool kw_is_known_content(const uint8_t *head, size_t len)
{
    static bool (*const known[])(const uint8_t *head, size_t len) = {utf8, utf16_without_mark,
                                                                     parquet, avro, orc};
    if (len > KW_LOOKS_PLAIN_BYTES)
        len = KW_LOOKS_PLAIN_BYTES;
    if (len >= 6 && utf16_with_mark(head, len))
        return true;
    for (size_t i = 0; i < KW_COUNT(known); i++)
        if (known[i](head, len))
            return true;
    return false;
}

bool kw_looks_plain(const uint8_t *head, size_t len, uint64_t size)
{
    if (len > KW_LOOKS_PLAIN_BYTES)
        len = KW_LOOKS_PLAIN_BYTES;
    if (len > size)
        len = (size_t)size;
    for (size_t i = 0; i < KW_COUNT(recognisers); i++) {
        if (len >= recognisers[i].min_len && recognisers[i].recognises(head, len))
            return true;
    }
    return false;
}

enum kw_status kw_file_looks_plain(int fd, uint64_t size, const char *name, bool *ret_plain,
                                   struct kw_error *err)
{
    uint8_t head[KW_LOOKS_PLAIN_BYTES];
    size_t used = 0;
    ssize_t got = 1;
    char shown[KW_NAME_SIZE];
    while (used < sizeof(head) && got > 0) {
        got = pread(fd, head + used, sizeof(head) - used, (off_t)used);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            used += (size_t)got;
    }
    if (got < 0)
        return kw_fail_errno(err, KW_READ, errno, "cannot read %s",
                             kw_printable(name, strlen(name), shown, sizeof(shown)));
    *ret_plain = kw_looks_plain(head, used, size);
    return KW_OK;
}
