/* Fuzzes the parser of requests: no fault, what it lets through is what the header promises, and
 * the pieces that a request comes in make no difference. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/parse.h"

#define BODY_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_text(const char *text)
{
    size_t len = strlen(text);
    require(kw_utf8_valid(text, len));
    for (size_t i = 0; i < len; i++)
        require((unsigned char)text[i] >= ' ' && text[i] != 0x7f);
}

static void check_request(const struct kw_http_head *head, const struct kw_http_request *request)
{
    require(request->segment_count <= KW_HTTP_SEGMENTS_MAX);
    for (size_t i = 0; i < request->segment_count; i++) {
        check_text(request->segments[i]);
        require(request->segments[i][0] != '\0');
    }
    require(request->query_count <= KW_HTTP_QUERY_MAX);
    for (size_t i = 0; i < request->query_count; i++) {
        check_text(request->query[i].name);
        check_text(request->query[i].value);
        require(kw_http_query(request, request->query[i].name) == request->query[i].value);
    }
    require(request->method != 0 && request->host);
    require(!(head->chunked && (head->has_length || head->old)));
    require(head->has_length || head->length == 0);
}

/* The same bytes at once and in two pieces. */
static void check_chunks(const uint8_t *data, size_t size, size_t cut)
{
    struct kw_http_chunks whole = {.phase = 0}, parts = {.phase = 0};
    struct kw_http_bytes one = {.data = NULL}, two = {.data = NULL};
    size_t used = 0, first = 0, second = 0;
    int code = kw_http_take_chunks(&whole, data, size, BODY_MAX, &one, &used);
    int again = kw_http_take_chunks(&parts, data, cut, BODY_MAX, &two, &first);
    if (!again)
        again = kw_http_take_chunks(&parts, data + first, size - first, BODY_MAX, &two, &second);
    require(code == again);
    if (!code) {
        require(used == first + second && one.len == two.len && one.len <= BODY_MAX);
        require(whole.done == parts.done && (whole.done || used == size));
        require(one.len == 0 || memcmp(one.data, two.data, one.len) == 0);
    }
    kw_http_bytes_cleanup(&one);
    kw_http_bytes_cleanup(&two);
}

static void check_head(const uint8_t *data, size_t size, size_t cut)
{
    size_t scanned = 0, len = 0, again = 0, half = 0;
    int code = kw_http_find_head(data, size, &scanned, &len);
    int first = kw_http_find_head(data, cut, &half, &again);
    if (!first && again == 0)
        first = kw_http_find_head(data, size, &half, &again);
    require(code == first && len == again && len <= size);
    if (code || len == 0)
        return;
    struct kw_http_bytes text = {.data = NULL};
    struct kw_http_request request = {.method = 0};
    struct kw_http_head head;
    if (!kw_http_bytes_append(&text, data, len))
        return;
    code = kw_http_parse_head((char *)text.data, len, &head, &request);
    if (!code)
        check_request(&head, &request);
    else
        require(code >= 400 && code < 600);
    if (!code && head.chunked)
        check_chunks(data + len, size - len, (size - len) / 2);
    kw_http_bytes_cleanup(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t cut = (size_t)data[size - 1] % (size + 1);
    check_head(data, size, cut);
    check_chunks(data, size, cut);
    return 0;
}
