/* keyward token list: the tokens that modules show, without logging in. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define SCHEMA "keyward-tokens-1"

static const struct state {
    const char *name;
    size_t offset;
} states[] = {
    {"initialized", offsetof(struct kw_token_info, initialized)},
    {"login_required", offsetof(struct kw_token_info, login_required)},
    {"pin_count_low", offsetof(struct kw_token_info, pin_count_low)},
    {"pin_final_try", offsetof(struct kw_token_info, pin_final_try)},
    {"pin_locked", offsetof(struct kw_token_info, pin_locked)},
    {"protected_path", offsetof(struct kw_token_info, protected_path)},
    {"write_protected", offsetof(struct kw_token_info, write_protected)},
};

static bool has_state(const struct kw_token_info *token, const struct state *state)
{
    return *(const bool *)((const char *)token + state->offset);
}

static void print_token(const struct kw_token_info *token)
{
    printf("  %-32s  serial %-16s  %s %s:", token->label, token->serial, token->manufacturer,
           token->model);
    for (size_t i = 0; i < KW_COUNT(states); i++)
        if (has_state(token, &states[i]))
            printf(" %s", states[i].name);
    printf("\n");
}

static cJSON *json_token(const struct kw_token_info *token, const char *module)
{
    cJSON *json = cJSON_CreateObject();
    json_text(json, "module", module);
    json_text(json, "label", token->label);
    json_text(json, "serial", token->serial);
    json_text(json, "manufacturer", token->manufacturer);
    json_text(json, "model", token->model);
    for (size_t i = 0; i < KW_COUNT(states); i++)
        (void)cJSON_AddBoolToObject(json, states[i].name, has_state(token, &states[i]));
    return json;
}

/* Adds one module's tokens to `array`, or prints them where there is none. */
static enum kw_status list_module(const char *module, const char *init_args, cJSON *array,
                                  struct kw_error *err)
{
    struct kw_token_info *tokens = NULL;
    size_t count = 0;
    char shown[SHOWN_TEXT];
    enum kw_status status = kw_token_list(module, init_args, &tokens, &count, err);
    if (status)
        return status;
    if (!array)
        printf("%s: %zu tokens\n", show(module, shown), count);
    for (size_t i = 0; i < count; i++) {
        if (array)
            (void)cJSON_AddItemToArray(array, json_token(&tokens[i], module));
        else
            print_token(&tokens[i]);
    }
    free(tokens);
    return KW_OK;
}

static bool listed_before(const struct kw_config *config, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (config->tokens[i].module &&
            strcmp(config->tokens[i].module, config->tokens[index].module) == 0)
            return true;
    return false;
}

/* The module asked for, that of the URI asked for, or all that are configured. */
static enum kw_status list_modules(const struct arguments *arguments, cJSON *array,
                                   struct kw_error *err)
{
    struct kw_config config = {.tokens = NULL};
    struct kw_uri *uri = NULL;
    size_t listed = 0;
    enum kw_status status = kw_config_load(&config, arguments->config, err);
    if (!status && arguments->token && kw_is_uri(arguments->token))
        status = kw_uri_parse(arguments->token, &uri, err);
    const char *module = arguments->module ? arguments->module : uri ? kw_uri_module(uri) : NULL;
    if (!status && module) {
        status = list_module(module, NULL, array, err);
        listed++;
    }
    for (size_t i = 0; !status && !module && i < config.token_count; i++) {
        const struct kw_config_token *token = &config.tokens[i];
        bool wanted = !arguments->token || strcmp(arguments->token, token->name) == 0;
        if (!token->module || !wanted || listed_before(&config, i))
            continue;
        status = list_module(token->module, token->init_args, array, err);
        listed++;
    }
    if (!status && listed == 0)
        status = kw_fail(err, KW_CONFIG,
                         "no PKCS#11 module is named; give --module PATH or add a [token NAME] "
                         "with module = PATH to keyward.conf");
    kw_uri_free(uri);
    kw_config_cleanup(&config);
    return status;
}

int run_token_list(const struct arguments *arguments, char **argv)
{
    (void)argv;
    struct kw_error err;
    cJSON *json = NULL;
    cJSON *array = NULL;
    if (arguments->json) {
        json = cJSON_CreateObject();
        json_text(json, "schema", SCHEMA);
        array = cJSON_AddArrayToObject(json, "tokens");
    }
    enum kw_status status = kw_secret_start(&err);
    if (!status)
        status = list_modules(arguments, array, &err);
    if (status) {
        cJSON_Delete(json);
        return fail_with(arguments, SCHEMA, &err);
    }
    status = arguments->json ? print_json(json, &err) : finish_output(&err);
    return status ? print_error(&err) : 0;
}
