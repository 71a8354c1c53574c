/* ini: the lines of a configuration file, for config.c alone. */
#ifndef KW_INI_H
#define KW_INI_H

#include "base/base.h"

#define KW_INI_LINE_MAX 4096

struct kw_slice { /* of the line; no NUL after it */
    const char *data;
    size_t len;
};
enum kw_ini_kind { KW_INI_NOTHING, KW_INI_SECTION, KW_INI_SETTING };
struct kw_ini_line {
    enum kw_ini_kind kind;
    struct kw_slice name;  /* of the setting, or the first word of the section */
    struct kw_slice value; /* of the setting, or what follows in the section's brackets, or empty */
};

/* Takes one line without its newline. White space at both ends does not count; ";" or "#" starts a
 * comment, at the start of a line or after white space. Returns NULL, or what is wrong with the
 * line; *ret_line is untouched then. */
const char *kw_ini_parse(const char *text, size_t len, struct kw_ini_line *ret_line);
bool kw_slice_is(struct kw_slice slice, const char *text);

#endif
