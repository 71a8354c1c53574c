/* Building JSON so that only the writing of the whole has to be checked.
 *
 * A container that lacks a part gets cJSON's type for what is no value, which cJSON does not print.
 * So the mark is in the tree itself, and nothing has to be handed around with it. */
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/base.h"

void kw_json_add(cJSON *container, const char *name, cJSON *item)
{
    if (name ? cJSON_AddItemToObject(container, name, item) : cJSON_AddItemToArray(container, item))
        return;
    cJSON_Delete(item);
    if (container)
        container->type = cJSON_Invalid;
}

/* Taken over by the container; NULL where it could not be added. */
static cJSON *added(cJSON *container, const char *name, cJSON *item)
{
    bool fits = container && item;
    kw_json_add(container, name, item);
    return fits && !cJSON_IsInvalid(container) ? item : NULL;
}

cJSON *kw_json_add_object(cJSON *container, const char *name)
{
    return added(container, name, cJSON_CreateObject());
}

cJSON *kw_json_add_array(cJSON *container, const char *name)
{
    return added(container, name, cJSON_CreateArray());
}

/* JSON text is UTF-8; names of files and labels need not be. */
void kw_json_add_text(cJSON *container, const char *name, const char *text)
{
    char shown[1024];
    if (text && !kw_utf8_valid(text, strlen(text)))
        text = kw_printable(text, strlen(text), shown, sizeof(shown));
    kw_json_add(container, name, text ? cJSON_CreateString(text) : cJSON_CreateNull());
}

void kw_json_add_number(cJSON *container, const char *name, double value)
{
    kw_json_add(container, name, cJSON_CreateNumber(value));
}

void kw_json_add_bool(cJSON *container, const char *name, bool value)
{
    kw_json_add(container, name, cJSON_CreateBool(value));
}

/* As text that was allocated for it, or NULL. */
static void add_owned(cJSON *container, const char *name, char *text)
{
    kw_json_add(container, name, text ? cJSON_CreateString(text) : NULL);
    free(text);
}

void kw_json_add_hex(cJSON *container, const char *name, const void *data, size_t len)
{
    char *text = calloc(2, len + 1);
    if (text)
        kw_hex_encode(data, len, text);
    add_owned(container, name, text);
}

void kw_json_add_base64(cJSON *container, const char *name, enum kw_base64 alphabet,
                        const void *data, size_t len)
{
    char *text = malloc(KW_BASE64_ENCODED_SIZE(len));
    if (text)
        kw_base64_encode(alphabet, data, len, text);
    add_owned(container, name, text);
}

/* kw_printable leaves nothing that JSON would escape but the backslashes it writes itself. */
enum kw_status kw_json_put_text(struct kw_buffer *out, const char *text, size_t max,
                                struct kw_error *err)
{
    char shown[KW_JSON_SHOWN_MAX];
    kw_printable(text, strlen(text), shown, max);
    enum kw_status status = kw_buffer_append(out, "\"", 1, err);
    for (const char *at = shown; *at && !status;) {
        size_t len = strcspn(at, "\\");
        status = kw_buffer_append(out, at, len, err);
        at += len;
        if (!status && *at == '\\') {
            status = kw_buffer_append(out, "\\\\", 2, err);
            at++;
        }
    }
    return status ? status : kw_buffer_append(out, "\"", 1, err);
}
