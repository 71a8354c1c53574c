/* json_scan: for json.c alone. */
#ifndef KW_JSON_SCAN_H
#define KW_JSON_SCAN_H

#include "base/base.h"

/* Whether the text is one JSON value as RFC 8259 has it, within the limits, with no NUL in a
 * string. Builds nothing. */
enum kw_status kw_json_scan(const char *text, size_t len, const struct kw_json_limits *limits,
                            const char *what, enum kw_status family, struct kw_error *err);

#endif
