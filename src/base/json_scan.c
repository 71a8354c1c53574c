/* The grammar of RFC 8259, checked before cJSON sees the text. cJSON takes any byte up to 32 for
 * white space, numbers with leading zeros or without digits, "\u" before anything (as U+0000, which
 * ends the string), raw control characters and invalid UTF-8 in strings. */
#include "base/json_scan.h"

#include <string.h>

#include "base/utf8.h"

#define DEPTH_MAX  256 /* bounds the recursion whatever the caller allows */
#define NUMBER_MAX 63  /* characters; cJSON reads no longer ones */

struct scan {
    const uint8_t *text;
    size_t len;
    size_t at;
    size_t depth_left;
    size_t items_left;
    const char *fault; /* what is wrong at `at`, NULL while nothing is */
};

static bool fail(struct scan *scan, const char *fault)
{
    scan->fault = fault;
    return false;
}

/* The next byte, or -1 at the end. */
static int peek(const struct scan *scan)
{
    return scan->at < scan->len ? scan->text[scan->at] : -1;
}

static bool take(struct scan *scan, int wanted)
{
    if (peek(scan) != wanted)
        return false;
    scan->at++;
    return true;
}

static void skip_space(struct scan *scan)
{
    while (peek(scan) == ' ' || peek(scan) == '\t' || peek(scan) == '\n' || peek(scan) == '\r')
        scan->at++;
}

static bool skip_digits(struct scan *scan)
{
    size_t start = scan->at;
    while (peek(scan) >= '0' && peek(scan) <= '9')
        scan->at++;
    return scan->at > start;
}

static bool scan_number(struct scan *scan)
{
    size_t start = scan->at;
    (void)take(scan, '-');
    if (!take(scan, '0') && !skip_digits(scan))
        return fail(scan, "a value is missing or is not JSON");
    if (take(scan, '.') && !skip_digits(scan))
        return fail(scan, "a number has no digits after its point");
    if (take(scan, 'e') || take(scan, 'E')) {
        if (!take(scan, '+'))
            (void)take(scan, '-');
        if (!skip_digits(scan))
            return fail(scan, "a number has no digits in its exponent");
    }
    if (scan->at - start > NUMBER_MAX)
        return fail(scan, "a number has too many characters");
    return true;
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The four digits after "\u". */
static bool scan_hex4(struct scan *scan, unsigned *ret_code)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        int value = hex_value(peek(scan));
        if (value < 0)
            return fail(scan, "\\u is not followed by four hex digits");
        code = code << 4 | (unsigned)value;
        scan->at++;
    }
    *ret_code = code;
    return true;
}

static bool scan_unicode(struct scan *scan)
{
    unsigned code = 0;
    unsigned low = 0;
    if (!scan_hex4(scan, &code))
        return false;
    if (code == 0)
        return fail(scan, "a string contains a NUL character");
    if (code < 0xD800 || code > 0xDFFF)
        return true;
    bool pair = code <= 0xDBFF && take(scan, '\\') && take(scan, 'u');
    if (pair && !scan_hex4(scan, &low))
        return false;
    if (low < 0xDC00 || low > 0xDFFF)
        return fail(scan, "a string has half of a surrogate pair");
    return true;
}

static bool scan_escape(struct scan *scan)
{
    int c = peek(scan);
    if (c <= 0 || !strchr("\"\\/bfnrtu", c))
        return fail(scan, "a string has an escape that JSON does not know");
    scan->at++;
    return c != 'u' || scan_unicode(scan);
}

static bool scan_string(struct scan *scan)
{
    if (!take(scan, '"'))
        return fail(scan, "a name in quotes is missing");
    while (!take(scan, '"')) {
        uint32_t code = 0;
        size_t used = kw_utf8_next(scan->text + scan->at, scan->len - scan->at, &code);
        if (scan->at == scan->len)
            return fail(scan, "a string has no end");
        if (used == 0)
            return fail(scan, "a string is not valid UTF-8");
        if (code < 0x20)
            return fail(scan, "a string has a control character that is not escaped");
        scan->at += used;
        if (code == '\\' && !scan_escape(scan))
            return false;
    }
    return true;
}

static bool scan_word(struct scan *scan, const char *word)
{
    size_t len = strlen(word);
    if (scan->len - scan->at < len || memcmp(scan->text + scan->at, word, len) != 0)
        return fail(scan, "a value is missing or is not JSON");
    scan->at += len;
    return true;
}

static bool scan_value(struct scan *scan);

static bool scan_member(struct scan *scan)
{
    skip_space(scan);
    if (!scan_string(scan))
        return false;
    skip_space(scan);
    if (!take(scan, ':'))
        return fail(scan, "a \":\" is missing after a name");
    return scan_value(scan);
}

/* An object where `close` is '}', else an array. */
static bool scan_container(struct scan *scan, int close)
{
    scan->at++;
    if (scan->depth_left == 0)
        return fail(scan, "it is nested deeper than is allowed");
    scan->depth_left--;
    skip_space(scan);
    if (!take(scan, close)) {
        do {
            if (!(close == '}' ? scan_member(scan) : scan_value(scan)))
                return false;
        } while (take(scan, ','));
        if (!take(scan, close))
            return fail(scan, close == '}' ? "a \",\" or \"}\" is missing"
                                           : "a \",\" or \"]\" is missing");
    }
    scan->depth_left++;
    return true;
}

static bool scan_item(struct scan *scan)
{
    switch (peek(scan)) {
    case '{':
        return scan_container(scan, '}');
    case '[':
        return scan_container(scan, ']');
    case '"':
        return scan_string(scan);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    default:
        return scan_number(scan);
    }
}

/* A value and the white space on both sides of it. */
static bool scan_value(struct scan *scan)
{
    skip_space(scan);
    if (scan->items_left == 0)
        return fail(scan, "it has more values than are allowed");
    scan->items_left--;
    if (!scan_item(scan))
        return false;
    skip_space(scan);
    return true;
}

static size_t line_of(const struct scan *scan)
{
    size_t line = 1;
    for (size_t i = 0; i < scan->at && i < scan->len; i++)
        line += scan->text[i] == '\n';
    return line;
}

enum kw_status kw_json_scan(const char *text, size_t len, const struct kw_json_limits *limits,
                            const char *what, enum kw_status family, struct kw_error *err)
{
    struct scan scan = {
        .text = (const uint8_t *)text,
        .len = len,
        .depth_left = limits->depth < DEPTH_MAX ? limits->depth : DEPTH_MAX,
        .items_left = limits->items,
    };
    skip_space(&scan);
    if (scan.at == len)
        return kw_fail(err, family, "%s is empty, and should be JSON", what);
    if (!scan_value(&scan))
        return kw_fail(err, family, "%s is not usable JSON: in line %zu %s", what, line_of(&scan),
                       scan.fault);
    if (scan.at < len)
        return kw_fail(err, family, "%s is not usable JSON: in line %zu something follows its end",
                       what, line_of(&scan));
    return KW_OK;
}
