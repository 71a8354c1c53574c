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
        kw_json_add_bool(json, states[i].name, has_state(token, &states[i]));
    return json;
}

/* Where tokens are listed: into the document, or printed where there is none. */
struct listing {
    cJSON *array;
    const struct kw_uri *uri; /* the token asked for, or NULL */
    size_t modules;
    struct kw_confinement *confinement; /* not NULL: only finds out what is needed to list them */
};

static enum kw_status list_module(struct listing *listing, const char *module,
                                  const char *init_args, unsigned timeout_s, struct kw_error *err)
{
    struct kw_token_info *tokens = NULL;
    size_t count = 0;
    char shown[SHOWN_TEXT];
    if (listing->confinement)
        return kw_module_allow(module, init_args, listing->confinement, err);
    enum kw_status status =
        kw_token_list(module, init_args, timeout_s, listing->uri, &tokens, &count, err);
    if (status)
        return status;
    listing->modules++;
    if (!listing->array)
        printf("%s: %zu tokens\n", show(module, shown), count);
    for (size_t i = 0; i < count; i++) {
        if (listing->array)
            kw_json_add(listing->array, NULL, json_token(&tokens[i], module));
        else
            print_token(&tokens[i]);
    }
    free(tokens);
    return KW_OK;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* A [token] with its module, which may stand in its URI. */
struct configured {
    const char *module;
    const char *init_args;
    unsigned timeout_s;
    struct kw_uri *uri;
};

static enum kw_status read_configured(const struct kw_config_token *token,
                                      struct configured *ret_configured, struct kw_error *err)
{
    struct configured configured = {.module = token->module,
                                    .init_args = token->init_args,
                                    .timeout_s = (unsigned)token->timeout_s};
    bool is_vault = token->uri && kw_names_a_vault(token->uri); /* it has no module to be listed */
    enum kw_status status =
        token->uri && !is_vault ? kw_uri_parse(token->uri, &configured.uri, err) : KW_OK;
    if (status)
        return status;
    if (!configured.module && configured.uri)
        configured.module = kw_uri_module(configured.uri);
    *ret_configured = configured;
    return KW_OK;
}

/* Each module once. Of one [token] that is asked for by name, only what its URI matches. */
static enum kw_status list_configured(struct listing *listing, const struct kw_config *config,
                                      const char *name, struct kw_error *err)
{
    struct configured *seen = calloc(config->token_count + 1, sizeof(*seen));
    size_t count = 0;
    enum kw_status status = seen ? KW_OK : kw_fail_memory(err);
    for (size_t i = 0; !status && i < config->token_count; i++) {
        if (name && strcmp(config->tokens[i].name, name) != 0)
            continue;
        struct configured *here = &seen[count];
        if ((status = read_configured(&config->tokens[i], here, err)))
            break;
        bool again = false;
        for (size_t j = 0; j < count; j++)
            again = again || (same_text(seen[j].module, here->module) &&
                              same_text(seen[j].init_args, here->init_args));
        count++;
        listing->uri = name ? here->uri : NULL;
        if (here->module && !again)
            status = list_module(listing, here->module, here->init_args, here->timeout_s, err);
    }
    for (size_t i = 0; i < count; i++)
        kw_uri_free(seen[i].uri);
    free(seen);
    return status;
}

static enum kw_status list_named(struct listing *listing, const struct arguments *arguments,
                                 const struct kw_config *config, struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    const char *token = arguments->token;
    if (arguments->module)
        return list_module(listing, arguments->module, NULL, 0, err);
    if (listing->uri && kw_uri_module(listing->uri))
        return list_module(listing, kw_uri_module(listing->uri), NULL, 0, err);
    bool by_name = token && !listing->uri;
    if (by_name && !kw_config_find_token(config, token))
        return kw_fail(err, KW_CONFIG, "no [token %s] is configured", show(token, shown));
    return list_configured(listing, config, by_name ? token : NULL, err);
}

static enum kw_status confine_to_modules(const struct listing *listing,
                                         const struct arguments *arguments,
                                         const struct kw_config *config, struct kw_error *err)
{
    struct kw_confinement confinement = {.items = NULL};
    struct listing asking = {.uri = listing->uri, .confinement = &confinement};
    const char *why = NULL; /* nothing is done here that would be on record */
    enum kw_status status = list_named(&asking, arguments, config, err);
    if (!status)
        status = confine(arguments, config, &confinement, &why, err);
    kw_confinement_cleanup(&confinement);
    return status;
}

static enum kw_status list_tokens(const struct arguments *arguments, char **argv, cJSON *array,
                                  struct kw_error *err)
{
    struct kw_config config = {.tokens = NULL};
    struct listing listing = {.array = array};
    struct kw_uri *uri = NULL;
    enum kw_status status = kw_config_load(&config, arguments->config, err);
    if (!status && arguments->token && kw_is_uri(arguments->token))
        status = kw_uri_parse(arguments->token, &uri, err);
    hide_pins(argv);
    listing.uri = uri;
    if (!status)
        status = confine_to_modules(&listing, arguments, &config, err);
    if (!status)
        status = list_named(&listing, arguments, &config, err);
    if (!status && listing.modules == 0)
        status = kw_fail(err, KW_CONFIG,
                         "no PKCS#11 module is named; give --module PATH or add a [token NAME] "
                         "with module = PATH to keyward.conf");
    kw_uri_free(uri);
    kw_config_cleanup(&config);
    return status;
}

int run_token_list(const struct arguments *arguments, char **argv)
{
    struct kw_error err;
    cJSON *json = NULL;
    cJSON *array = NULL;
    if (arguments->json) {
        json = cJSON_CreateObject();
        json_text(json, "schema", SCHEMA);
        array = kw_json_add_array(json, "tokens");
    }
    enum kw_status status =
        arguments->json && !array ? kw_fail_memory(&err) : kw_secret_start(&err);
    if (!status)
        status = list_tokens(arguments, argv, array, &err);
    if (status) {
        cJSON_Delete(json);
        return fail_with(arguments, SCHEMA, &err);
    }
    status = arguments->json ? print_json(json, &err) : finish_output(&err);
    return status ? print_error(&err) : 0;
}
