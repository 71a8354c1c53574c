/* What handlers do with a request and an answer. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http/http.h"

const char *kw_http_query(const struct kw_http_request *request, const char *name)
{
    for (size_t i = 0; i < request->query_count; i++)
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    return NULL;
}

/* RFC 9110 section 5.5: no control bytes, and so no second line. */
static bool is_field_value(const char *value)
{
    for (; *value; value++)
        if ((unsigned char)*value < ' ' || *value == 0x7f)
            return false;
    return true;
}

enum kw_status kw_http_header(struct kw_http_answer *answer, const char *name, struct kw_error *err,
                              const char *format, ...)
{
    va_list args;
    if (answer->header_count == KW_HTTP_HEADERS_MAX)
        return kw_fail(err, KW_FAULT, "an answer has more than %d headers", KW_HTTP_HEADERS_MAX);
    char *value = answer->headers[answer->header_count].value;
    va_start(args, format);
    int len = vsnprintf(value, KW_HTTP_HEADER_SIZE, format, args);
    va_end(args);
    if (len < 0 || len >= KW_HTTP_HEADER_SIZE || !is_field_value(value))
        return kw_fail(err, KW_FAULT, "the value of the header %s can't be sent", name);
    answer->headers[answer->header_count++].name = name;
    return KW_OK;
}
