/* Lists of strings, and outside text made fit for a message. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/utf8.h"

#define WARNINGS_LEFT_OUT "more warnings were left out"

void kw_strings_cleanup(struct kw_strings *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    list->items = NULL;
    list->count = 0;
}

/* Takes `text` over. One that finds no memory is lost. */
static void add_owned(struct kw_strings *list, char *text)
{
    char **items = reallocarray(list->items, list->count + 1, sizeof(*items));
    if (!items) {
        free(text);
        return;
    }
    items[list->count] = text;
    list->items = items;
    list->count++;
}

static void replace_last(struct kw_strings *list, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return;
    free(list->items[list->count - 1]);
    list->items[list->count - 1] = copy;
}

void kw_strings_warn(struct kw_strings *list, const char *format, ...)
{
    if (list->count >= list->max) {
        if (list->count > 0)
            replace_last(list, WARNINGS_LEFT_OUT);
        return;
    }
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int len = vasprintf(&text, format, args);
    va_end(args);
    if (len >= 0)
        add_owned(list, text);
}

void kw_strings_move(struct kw_strings *list, struct kw_strings *into)
{
    for (size_t i = 0; i < list->count; i++)
        kw_strings_warn(into, "%s", list->items[i]);
    kw_strings_cleanup(list);
}

struct code_range {
    uint32_t first, last;
};

/* What would change the text around it on a terminal: controls, and what breaks lines or turns the
 * direction of writing (Unicode's bidirectional formatting characters). */
static const struct code_range unprintable[] = {
    {0x00, 0x1F},     {'"', '"'},       {'\\', '\\'},     {0x7F, 0x9F},     {0x061C, 0x061C},
    {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF},
};

static bool is_printable(uint32_t code)
{
    for (size_t i = 0; i < KW_COUNT(unprintable); i++) {
        if (code >= unprintable[i].first && code <= unprintable[i].last)
            return false;
    }
    return true;
}

/* How many bytes at the start are printable ASCII, as nearly all of them are. */
static size_t plain_run(const uint8_t *text, size_t len)
{
    size_t run = 0;
    while (run < len && text[run] >= ' ' && text[run] < 0x7F && text[run] != '"' &&
           text[run] != '\\')
        run++;
    return run;
}

/* Writes one character as it is, or its bytes as \xNN, to `out`, which has room for 16 bytes and a
 * NUL. Returns how many bytes of `text` that was. */
static size_t one_printable(const uint8_t *text, size_t len, char *out)
{
    uint32_t code = 0;
    size_t used = kw_utf8_next(text, len, &code);
    if (used > 0 && is_printable(code)) {
        memcpy(out, text, used);
        out[used] = '\0';
        return used;
    }
    if (used == 0)
        used = 1;
    for (size_t i = 0; i < used; i++)
        (void)snprintf(out + 4 * i, 5, "\\x%02x", (unsigned)text[i]);
    return used;
}

const char *kw_printable(const void *text, size_t len, char *out, size_t out_size)
{
    if (out_size == 0)
        return "";
    const uint8_t *bytes = text;
    size_t at = plain_run(bytes, len < out_size ? len : out_size - 1);
    size_t cut = at + 4 <= out_size ? at : out_size < 4 ? 0 : out_size - 4; /* "..." fits there */
    memcpy(out, bytes, at);
    for (size_t i = at; i < len;) {
        char piece[17];
        i += one_printable(bytes + i, len - i, piece);
        size_t piece_len = strlen(piece);
        if (piece_len >= out_size - at) {
            (void)snprintf(out + cut, out_size - cut, "...");
            return out;
        }
        memcpy(out + at, piece, piece_len);
        at += piece_len;
        if (out_size - at > 3)
            cut = at;
    }
    out[at] = '\0';
    return out;
}
