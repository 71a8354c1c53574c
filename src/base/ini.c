/* One line of an INI file. The library inih is not used: it cuts section names at 49 bytes without
 * a word, joins an indented line to the one above, does not tell the handler which line it is at,
 * and takes lines over 197 bytes only where a program changes its global variables. */
#include "base/ini.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static struct kw_slice trim(struct kw_slice slice)
{
    while (slice.len > 0 && is_space(slice.data[0])) {
        slice.data++;
        slice.len--;
    }
    while (slice.len > 0 && is_space(slice.data[slice.len - 1]))
        slice.len--;
    return slice;
}

static struct kw_slice cut_comment(struct kw_slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        bool may_start = i == 0 || is_space(line.data[i - 1]);
        if (may_start && (line.data[i] == ';' || line.data[i] == '#'))
            line.len = i;
    }
    return line;
}

static bool has_control(struct kw_slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.data[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F)
            return true;
    }
    return false;
}

/* Splits at the first byte that `splits` accepts; that byte is in neither part. */
static bool split(struct kw_slice slice, bool (*splits)(char c), struct kw_slice *ret_head,
                  struct kw_slice *ret_tail)
{
    for (size_t i = 0; i < slice.len; i++) {
        if (splits(slice.data[i])) {
            *ret_head = trim((struct kw_slice){slice.data, i});
            *ret_tail = trim((struct kw_slice){slice.data + i + 1, slice.len - i - 1});
            return true;
        }
    }
    return false;
}

static bool is_equals(char c)
{
    return c == '=';
}

static const char *parse_section(struct kw_slice line, struct kw_ini_line *ret_line)
{
    struct kw_ini_line parsed = {.kind = KW_INI_SECTION};
    if (line.data[line.len - 1] != ']')
        return "a section must end with \"]\" and nothing may follow it";
    struct kw_slice inside = trim((struct kw_slice){line.data + 1, line.len - 2});
    if (memchr(inside.data, '[', inside.len) || memchr(inside.data, ']', inside.len) ||
        memchr(inside.data, '"', inside.len))
        return "a section's name is written without brackets and quotes in it";
    if (!split(inside, is_space, &parsed.name, &parsed.value))
        parsed.name = inside;
    *ret_line = parsed;
    return NULL;
}

static const char *parse_setting(struct kw_slice line, struct kw_ini_line *ret_line)
{
    struct kw_ini_line parsed = {.kind = KW_INI_SETTING};
    if (!split(line, is_equals, &parsed.name, &parsed.value))
        return "write a section as [NAME], a setting as NAME = VALUE, a comment after \"#\"";
    if (parsed.name.len == 0)
        return "a name is missing before \"=\"";
    if (parsed.value.len == 0)
        return "a value is missing after \"=\"; give one or take the line out";
    *ret_line = parsed;
    return NULL;
}

const char *kw_ini_parse(const char *text, size_t len, struct kw_ini_line *ret_line)
{
    if (len > KW_INI_LINE_MAX)
        return "the line is longer than 4096 bytes; make it shorter";
    if (len > 0 && text[len - 1] == '\r')
        len--;
    struct kw_slice line = {text, len};
    if (has_control(line))
        return "the line has a control character; take it out";
    line = trim(cut_comment(line));
    if (line.len == 0) {
        *ret_line = (struct kw_ini_line){.kind = KW_INI_NOTHING};
        return NULL;
    }
    return line.data[0] == '[' ? parse_section(line, ret_line) : parse_setting(line, ret_line);
}

bool kw_slice_is(struct kw_slice slice, const char *text)
{
    return slice.len == strlen(text) && memcmp(slice.data, text, slice.len) == 0;
}
