/* keyward audit show, keyward audit export: the records. */
#include <cjson/cJSON.h>
#include <string.h>

#include "audit_cli.h"

struct showing {
    const struct arguments *arguments;
    enum kw_status (*format)(const char *line, size_t len, struct kw_buffer *ret_text,
                             struct kw_error *err); /* NULL: the line as it is */
};

/* A record that fails to be written to a pipe whose reader is gone ends it. */
static enum kw_status put_line(const void *text, size_t len, struct kw_error *err)
{
    if (fwrite(text, 1, len, stdout) != len || putchar('\n') == EOF)
        return finish_output(err);
    return KW_OK;
}

/* ---- export ---- */

static enum kw_status export_record(void *context, const char *line, size_t len,
                                    struct kw_error *err)
{
    const struct showing *showing = context;
    struct kw_buffer text = KW_BUFFER_INIT(KW_FORMAT_MAX);
    if (!showing->format)
        return put_line(line, len, err);
    enum kw_status status = showing->format(line, len, &text, err);
    if (!status)
        status = put_line(text.data, text.len, err);
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status export_all(struct audit *audit, const struct arguments *arguments,
                                 struct kw_error *err)
{
    struct showing showing = {.arguments = arguments};
    const char *format = arguments->format ? arguments->format : "jsonl";
    if (strcmp(format, "cef") == 0)
        showing.format = kw_record_cef;
    else if (strcmp(format, "syslog") == 0)
        showing.format = kw_record_syslog;
    enum kw_status status = kw_trail_read(audit->dir, export_record, &showing, err);
    return status ? status : finish_output(err);
}

int run_audit_export(const struct arguments *arguments, char **argv)
{
    (void)argv;
    return with_audit(arguments, 0, export_all);
}

/* ---- show ---- */

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

/* The texts are shown as any from outside are: the trail may have been edited. */
static void put_word(const char *before, const char *text, const char *after)
{
    char shown[SHOWN_TEXT];
    if (text[0])
        printf("%s%s%s", before, show(text, shown), after);
}

static void print_record(const cJSON *record)
{
    const cJSON *seq = cJSON_GetObjectItemCaseSensitive(record, "seq");
    const cJSON *who = cJSON_GetObjectItemCaseSensitive(record, "who");
    const cJSON *request = cJSON_GetObjectItemCaseSensitive(record, "request");
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(record, "key");
    printf("%8.0f", cJSON_IsNumber(seq) ? seq->valuedouble : -1.0);
    put_word("  ", text_of(record, "time"), "");
    put_word("  ", text_of(who, "login"), "");
    put_word("@", text_of(who, "host"), "");
    put_word("  for ", text_of(request, "client"), "");
    put_word("  ", text_of(record, "op"), "");
    put_word(" ", text_of(record, "phase"), "");
    put_word(" ", text_of(record, "status"), "");
    put_word("  key \"", text_of(key, "label"), "\"");
    put_word("  ", text_of(record, "drop"), "");
    put_word("  ", text_of(record, "file"), "");
    put_word("  ", text_of(record, "ck_rv"), "");
    put_word("  ", text_of(record, "detail"), "");
    (void)putchar('\n');
}

static enum kw_status show_record(void *context, const char *line, size_t len, struct kw_error *err)
{
    const struct arguments *arguments = ((const struct showing *)context)->arguments;
    cJSON *record = NULL;
    enum kw_status status = kw_record_parse(line, len, &record, err);
    if (status)
        return status;
    if (passes_filter(arguments, record)) {
        if (arguments->json)
            status = put_line(line, len, err);
        else
            print_record(record);
    }
    cJSON_Delete(record);
    return status || !ferror(stdout) ? status : finish_output(err);
}

static enum kw_status show_all(struct audit *audit, const struct arguments *arguments,
                               struct kw_error *err)
{
    struct showing showing = {.arguments = arguments};
    enum kw_status status = check_filter(arguments, err);
    if (!status)
        status = kw_trail_read(audit->dir, show_record, &showing, err);
    return status ? status : finish_output(err);
}

int run_audit_show(const struct arguments *arguments, char **argv)
{
    (void)argv;
    return with_audit(arguments, 0, show_all);
}
