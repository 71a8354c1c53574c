/* A request's head: its first line and its fields. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/parse.h"

#define LENGTH_DIGITS_MAX 15
#define REQUEST_ID_MAX    64

int kw_http_find_head(const uint8_t *data, size_t len, size_t *scanned, size_t *ret_len)
{
    *ret_len = 0;
    for (size_t i = *scanned; i < len; i++) {
        bool after_cr = i > 0 && data[i - 1] == '\r';
        if (after_cr != (data[i] == '\n'))
            return 400;
        if (data[i] == '\n' && i >= 3 && data[i - 2] == '\n') {
            *ret_len = i + 1;
            return 0;
        }
    }
    *scanned = len;
    return 0;
}

/* ---- the parts of a line ---- */

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *text)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if (!*text)
        return false;
    for (; *text; text++) {
        bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z');
        if (!letter && !(*text >= '0' && *text <= '9') && !strchr(others, *text))
            return false;
    }
    return true;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Without the blanks around it; NULL where it holds a control byte. */
static char *trim(char *value)
{
    while (is_blank(*value))
        value++;
    size_t len = strlen(value);
    while (len > 0 && is_blank(value[len - 1]))
        len--;
    value[len] = '\0';
    for (const char *at = value; *at; at++)
        if (((unsigned char)*at < ' ' && *at != '\t') || *at == 0x7f)
            return NULL;
    return value;
}

/* The next line without its end, of a text whose lines all end with CR LF; NULL for a NUL in it. */
static char *next_line(char **rest)
{
    char *line = *rest;
    char *end = strchr(line, '\r');
    if (!end || end[1] != '\n')
        return NULL;
    *end = '\0';
    *rest = end + 2;
    return line;
}

/* ---- fields ---- */

struct reading {
    struct kw_http_head *head;
    struct kw_http_request *request;
    unsigned seen; /* one bit for each of `fields` */
};

/* RFC 9112 section 3.2: a name, an address or one in brackets, and a port. */
static bool is_host(const char *value)
{
    static const char others[] = "-._~!$&'()*+,;=:[]%";
    for (; *value; value++)
        if (!isalnum((unsigned char)*value) && !strchr(others, *value))
            return false;
    return true;
}

static int read_host(struct reading *reading, char *value)
{
    reading->request->host = value;
    return is_host(value) ? 0 : 400;
}

static int read_length(struct reading *reading, char *value)
{
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || value[digits])
        return 400;
    if (digits > LENGTH_DIGITS_MAX)
        return 413;
    reading->head->has_length = true;
    reading->head->length = strtoull(value, NULL, 10);
    return 0;
}

static int read_transfer(struct reading *reading, char *value)
{
    reading->head->chunked = true;
    return strcasecmp(value, "chunked") == 0 ? 0 : 501;
}

static int read_connection(struct reading *reading, char *value)
{
    char *rest = value, *option;
    while ((option = strsep(&rest, ","))) {
        const char *trimmed = trim(option);
        if (trimmed && strcasecmp(trimmed, "close") == 0)
            reading->head->close = true;
    }
    return 0;
}

static int read_expect(struct reading *reading, char *value)
{
    reading->head->expects = true;
    return strcasecmp(value, "100-continue") == 0 ? 0 : 417;
}

static int read_authorization(struct reading *reading, char *value)
{
    reading->request->authorization = value;
    return 0;
}

static int read_request_id(struct reading *reading, char *value)
{
    size_t len = strlen(value);
    for (const char *at = value; *at; at++)
        if (!isalnum((unsigned char)*at) && *at != '-')
            return 0;
    if (len > 0 && len <= REQUEST_ID_MAX)
        reading->request->client_request_id = value;
    return 0;
}

static const struct {
    const char *name;
    bool once;
    int (*read)(struct reading *reading, char *value);
} fields[] = {
    {"Host", true, read_host},
    {"Content-Length", true, read_length},
    {"Transfer-Encoding", true, read_transfer},
    {"Connection", false, read_connection},
    {"Expect", true, read_expect},
    {"Authorization", true, read_authorization},
    {"x-ms-client-request-id", true, read_request_id},
};

/* A line that starts with a blank would go on with the last one: it has no name, and is refused. */
static int read_field(struct reading *reading, char *line)
{
    char *value = line;
    const char *name = strsep(&value, ":");
    if (!value || !is_token(name))
        return 400;
    value = trim(value);
    if (!value)
        return 400;
    for (unsigned i = 0; i < KW_COUNT(fields); i++) {
        if (strcasecmp(fields[i].name, name) != 0)
            continue;
        if (fields[i].once && reading->seen & 1U << i)
            return 400;
        reading->seen |= 1U << i;
        return fields[i].read(reading, value);
    }
    return 0;
}

/* ---- the first line ---- */

static int read_method(const char *name, enum kw_http_method *ret_method)
{
    static const struct {
        const char *name;
        enum kw_http_method method;
    } methods[] = {{"GET", KW_GET},     {"POST", KW_POST},     {"PUT", KW_PUT},
                   {"PATCH", KW_PATCH}, {"DELETE", KW_DELETE}, {"HEAD", KW_HEAD}};
    for (size_t i = 0; i < KW_COUNT(methods); i++) {
        if (strcmp(methods[i].name, name) == 0) {
            *ret_method = methods[i].method;
            return 0;
        }
    }
    /* Whatever it means, no path takes it. */
    return is_token(name) ? 405 : 400;
}

static int read_version(const char *version, struct kw_http_head *head)
{
    head->old = strcmp(version, "HTTP/1.0") == 0;
    if (head->old || strcmp(version, "HTTP/1.1") == 0)
        return 0;
    bool other = strncmp(version, "HTTP/", 5) == 0 && isdigit((unsigned char)version[5]) &&
                 version[6] == '.' && isdigit((unsigned char)version[7]) && !version[8];
    return other ? 505 : 400;
}

static int read_first_line(char *line, struct reading *reading, char **ret_target)
{
    char *rest = line;
    const char *method = strsep(&rest, " ");
    char *target = strsep(&rest, " ");
    if (!target || !rest)
        return 400;
    for (const char *at = target; *at; at++)
        if (*at <= ' ' || *at >= 0x7f)
            return 400;
    int refused = read_version(rest, reading->head);
    *ret_target = target;
    return refused ? refused : read_method(method, &reading->request->method);
}

/* RFC 9112 section 3.2.2: "https://HOST/PATH", where HOST is the field's own. */
static int strip_host(char **target, const char *host)
{
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < KW_COUNT(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (strncasecmp(*target, schemes[i], len) != 0)
            continue;
        char *at = *target + len;
        if (strncasecmp(at, host, strlen(host)) != 0 || at[strlen(host)] != '/')
            return 400;
        *target = at + strlen(host);
    }
    return 0;
}

static int check(const struct reading *reading)
{
    const struct kw_http_head *head = reading->head;
    if (!head->old && !reading->request->host)
        return 400;
    if (head->chunked && (head->has_length || head->old))
        return 400;
    return 0;
}

int kw_http_parse_head(char *text, size_t len, struct kw_http_head *ret_head,
                       struct kw_http_request *request)
{
    struct kw_http_head head = {.close = false};
    struct reading reading = {.head = &head, .request = request};
    char *target = NULL, *rest = text, *line = next_line(&rest);
    int refused = line ? read_first_line(line, &reading, &target) : 400;
    for (size_t count = 0; !refused; count++) {
        line = next_line(&rest);
        if (!line)
            return 400;
        if (!*line)
            break;
        refused = count == KW_HTTP_FIELDS_MAX ? 431 : read_field(&reading, line);
    }
    if (!refused && rest != text + len)
        refused = 400;
    if (!refused)
        refused = check(&reading);
    if (!request->host)
        request->host = "";
    if (!refused)
        refused = strip_host(&target, request->host);
    if (!refused)
        refused = kw_http_parse_target(target, request);
    head.close = head.close || head.old;
    *ret_head = head;
    return refused;
}
