/* A request's target: its path and its query. */
#include <string.h>

#include "http/parse.h"

/* In place. What is decoded is UTF-8 without control bytes, or it is refused. */
static bool decode(char *text)
{
    char *out = text;
    for (const char *in = text; *in;) {
        uint8_t byte = (uint8_t)*in;
        size_t got = 0;
        size_t len = 1;
        if (byte == '%') {
            if (!in[1] || !in[2] || !kw_hex_decode(in + 1, 2, &byte, 1, &got))
                return false;
            len = 3;
        }
        if (byte < ' ' || byte == 0x7f)
            return false;
        *out++ = (char)byte;
        in += len;
    }
    *out = '\0';
    return kw_utf8_valid(text, (size_t)(out - text));
}

static int split_path(char *path, struct kw_http_request *request)
{
    char *rest = path, *part;
    while ((part = strsep(&rest, "/"))) {
        if (!*part)
            continue;
        if (request->segment_count == KW_HTTP_SEGMENTS_MAX)
            return 414;
        if (!decode(part))
            return 400;
        request->segments[request->segment_count++] = part;
    }
    return 0;
}

/* A name that is there twice would mean the one value to us and the other to somebody else. */
static int split_query(char *query, struct kw_http_request *request)
{
    char *rest = query, *part;
    while (rest && (part = strsep(&rest, "&"))) {
        char *value = part;
        const char *name = strsep(&value, "=");
        if (!*part && !value)
            continue;
        if (request->query_count == KW_HTTP_QUERY_MAX)
            return 414;
        if (!decode(part) || (value && !decode(value)) || kw_http_query(request, name))
            return 400;
        request->query[request->query_count++] = (struct kw_http_pair){name, value ? value : ""};
    }
    return 0;
}

int kw_http_parse_target(char *target, struct kw_http_request *request)
{
    char *query = target;
    char *path = strsep(&query, "?");
    for (const char *at = path; *at; at++)
        if (*at == '#')
            return 400;
    if (query && strchr(query, '#'))
        return 400;
    int refused = path[0] == '/' ? split_path(path, request) : 400;
    return refused ? refused : split_query(query, request);
}
