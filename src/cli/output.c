/* What subcommands print. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <string.h>

#include "cli.h"

int print_error(const struct kw_error *err)
{
    (void)fprintf(stderr, "keyward: %s\n", err->message);
    return kw_exit_code(err->status);
}

void print_warnings(const struct kw_strings *warnings, const struct arguments *arguments)
{
    for (size_t i = 0; i < warnings->count && !arguments->quiet; i++)
        (void)fprintf(stderr, "keyward: warning: %s\n", warnings->items[i]);
}

void print_keyring_warnings(struct kw_keyring *keyring, const struct arguments *arguments)
{
    struct kw_strings warnings = KW_STRINGS_INIT(64);
    if (keyring)
        (void)kw_keyring_copy_warnings(keyring, 0, &warnings);
    print_warnings(&warnings, arguments);
    kw_strings_cleanup(&warnings);
}

enum kw_status finish_output(struct kw_error *err)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return kw_fail_errno(err, KW_WRITE, errno, "cannot write to standard output");
    return KW_OK;
}

enum kw_status print_json(cJSON *json, struct kw_error *err)
{
    char *text = json ? cJSON_Print(json) : NULL;
    cJSON_Delete(json);
    if (!text)
        return kw_fail_memory(err);
    (void)puts(text);
    cJSON_free(text);
    return finish_output(err);
}

int fail_with(const struct arguments *arguments, const char *schema, const struct kw_error *err)
{
    struct kw_error output;
    if (arguments->json) {
        cJSON *json = cJSON_CreateObject();
        json_text(json, "schema", schema);
        json_text(json, "status", kw_status_name(err->status));
        kw_json_add_number(json, "exit_code", kw_exit_code(err->status));
        cJSON *error = kw_json_add_object(json, "error");
        json_text(error, "status", kw_status_name(err->status));
        json_text(error, "message", err->message);
        if (print_json(json, &output))
            (void)print_error(&output);
    }
    return print_error(err);
}

const char *show_size(uint64_t bytes, char out[SIZE_TEXT])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1000 && unit + 1 < KW_COUNT(units)) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(out, SIZE_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

const char *show(const char *text, char out[SHOWN_TEXT])
{
    return kw_printable(text, strlen(text), out, SHOWN_TEXT);
}

void json_text(cJSON *container, const char *name, const char *text)
{
    kw_json_add_text(container, name, text && text[0] != '\0' ? text : NULL);
}

void json_hex(cJSON *container, const char *name, const void *data, size_t len)
{
    if (len > 0)
        kw_json_add_hex(container, name, data, len);
    else
        kw_json_add_text(container, name, NULL);
}
