/* keyward token init: a SoftHSM2 token for trials. */
#include <string.h>

#include "cli.h"

/* What the PIN callbacks know. */
struct pins {
    const struct arguments *arguments;
    struct kw_strings *warnings;
};

static bool is_asked_for(const char *source)
{
    return !source || strcmp(source, "prompt") == 0;
}

static enum kw_status give_so_pin(void *context, const struct kw_token_info *token,
                                  struct kw_secret **ret_pin, struct kw_error *err)
{
    const struct pins *pins = context;
    const char *source = pins->arguments->so_pin_source;
    if (is_asked_for(source))
        return ask_new_pin("New security officer's PIN for token", "The same again for token",
                           token->label, ret_pin, err);
    return kw_pin_read(source, pins->warnings, ret_pin, err);
}

static enum kw_status give_pin(void *context, const struct kw_token_info *token,
                               struct kw_secret **ret_pin, struct kw_error *err)
{
    const struct pins *pins = context;
    const char *source = pins->arguments->pin_source;
    if (is_asked_for(source))
        return ask_new_pin("New user PIN for token", "The same again for token", token->label,
                           ret_pin, err);
    return kw_pin_read(source, pins->warnings, ret_pin, err);
}

/* A file has its PIN next time too; the other sources may not. */
static const char *lasting(const char *source)
{
    bool lasts = source && (source[0] == '/' || strncmp(source, "file:", 5) == 0);
    return lasts ? source : NULL;
}

static enum kw_status print_uri(const struct kw_token_info *token, const char *module,
                                const char *pin_source, struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(65536);
    enum kw_status status = kw_uri_of_token(token->label, module, lasting(pin_source), &text, err);
    if (!status) {
        printf("%.*s\n", (int)text.len, (const char *)text.data);
        status = finish_output(err);
    }
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status init(const struct arguments *arguments, struct kw_strings *warnings,
                           struct kw_error *err)
{
    struct pins pins = {.arguments = arguments, .warnings = warnings};
    const struct kw_token_plan plan = {
        .module = arguments->module ? arguments->module : kw_trial_module(),
        .label = arguments->operands[0],
        .so_pin = give_so_pin,
        .pin = give_pin,
        .pin_context = &pins,
    };
    struct kw_token_info token;
    if (!plan.module)
        return kw_fail(err, KW_CONFIG,
                       "SoftHSM2's module is in none of the usual places; install the package "
                       "softhsm2, or give --module PATH");
    enum kw_status status = kw_secret_start(err);
    if (!status)
        status = confine_alone(arguments, plan.module, err);
    if (!status)
        status = kw_token_init(&plan, &token, err);
    return status ? status : print_uri(&token, plan.module, arguments->pin_source, err);
}

int run_token_init(const struct arguments *arguments, char **argv)
{
    struct kw_strings warnings = KW_STRINGS_INIT(8);
    struct kw_error err;
    (void)argv;
    enum kw_status status = init(arguments, &warnings, &err);
    print_warnings(&warnings, arguments);
    kw_strings_cleanup(&warnings);
    return status ? print_error(&err) : 0;
}
