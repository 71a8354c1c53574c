/* keyward token doctor: what a token really does, and what that means for Keyward. */
#include <cjson/cJSON.h>
#include <string.h>

#include "cli.h"

#define SCHEMA "keyward-doctor-1"

#define ALTERNATIVES 3
#define NEEDED       2

/* What Keyward does, and the probes that have to say yes for it: all of one alternative. */
enum { UNWRAP, BYOK_OUT, BYOK_IN, SIGN_AUDIT, VERDICTS };
static const struct verdict {
    const char *name;
    const char *what;
    const char *alternatives[ALTERNATIVES][NEEDED];
} verdicts[VERDICTS] = {
    [UNWRAP] = {"unwrap",
                "unwrap data keys",
                {{"decrypt-oaep"}, {"decrypt-oaep-256"}, {"decrypt-raw", "decrypt-oaep-256-host"}}},
    [BYOK_OUT] = {"byok-out", "byok export", {{"byok-out"}}},
    [BYOK_IN] = {"byok-in", "byok import", {{"byok-in"}}},
    [SIGN_AUDIT] = {"sign-audit", "sign the audit trail", {{"sign-ecdsa-p256"}, {"sign-rsa-pss"}}},
};

struct diagnosis {
    struct kw_probe_result results[KW_PROBES_MAX];
    size_t count;
    enum kw_probe_answer verdicts[VERDICTS];
};

static const char *answer_name(enum kw_probe_answer answer)
{
    static const char *const names[] = {
        [KW_PROBE_UNKNOWN] = "unknown", [KW_PROBE_YES] = "yes", [KW_PROBE_NO] = "no"};
    return names[answer];
}

/* ---- verdicts ---- */

static enum kw_probe_answer answer_of(const struct diagnosis *diagnosis, const char *name)
{
    for (size_t i = 0; i < diagnosis->count; i++)
        if (strcmp(diagnosis->results[i].name, name) == 0)
            return diagnosis->results[i].answer;
    return KW_PROBE_UNKNOWN;
}

/* One no is no; all yes is yes. */
static enum kw_probe_answer all_of(const struct diagnosis *diagnosis,
                                   const char *const needed[NEEDED])
{
    enum kw_probe_answer all = KW_PROBE_YES;
    for (size_t i = 0; i < NEEDED && needed[i]; i++) {
        enum kw_probe_answer answer = answer_of(diagnosis, needed[i]);
        if (answer == KW_PROBE_NO)
            return KW_PROBE_NO;
        if (answer == KW_PROBE_UNKNOWN)
            all = KW_PROBE_UNKNOWN;
    }
    return all;
}

/* One yes is yes; all no is no. */
static enum kw_probe_answer judge(const struct diagnosis *diagnosis, const struct verdict *verdict)
{
    enum kw_probe_answer any = KW_PROBE_NO;
    for (size_t i = 0; i < ALTERNATIVES && verdict->alternatives[i][0]; i++) {
        enum kw_probe_answer answer = all_of(diagnosis, verdict->alternatives[i]);
        if (answer == KW_PROBE_YES)
            return KW_PROBE_YES;
        if (answer == KW_PROBE_UNKNOWN)
            any = KW_PROBE_UNKNOWN;
    }
    return any;
}

/* ---- what is shown ---- */

static void print_table(const struct kw_token_info *token, const struct diagnosis *diagnosis)
{
    printf("token %s, serial %s, %s %s\n\n", token->label, token->serial, token->manufacturer,
           token->model);
    printf("%-28s  %-7s  %s\n", "WHAT", "ANSWER", "DETAILS");
    for (size_t i = 0; i < diagnosis->count; i++) {
        const struct kw_probe_result *result = &diagnosis->results[i];
        if (result->details[0])
            printf("%-28s  %-7s  %s\n", result->what, answer_name(result->answer), result->details);
        else
            printf("%-28s  %s\n", result->what, answer_name(result->answer));
    }
    printf("\n%-28s  %s\n", "VERDICT", "POSSIBLE");
    for (size_t i = 0; i < VERDICTS; i++)
        printf("%-28s  %s\n", verdicts[i].what, answer_name(diagnosis->verdicts[i]));
}

static cJSON *json_of(const struct kw_token_info *token, const struct diagnosis *diagnosis)
{
    cJSON *json = cJSON_CreateObject();
    json_text(json, "schema", SCHEMA);
    cJSON *about = kw_json_add_object(json, "token");
    json_text(about, "label", token->label);
    json_text(about, "serial", token->serial);
    json_text(about, "manufacturer", token->manufacturer);
    json_text(about, "model", token->model);
    cJSON *array = kw_json_add_array(json, "probes");
    for (size_t i = 0; i < diagnosis->count; i++) {
        const struct kw_probe_result *result = &diagnosis->results[i];
        cJSON *probe = cJSON_CreateObject();
        json_text(probe, "name", result->name);
        json_text(probe, "what", result->what);
        json_text(probe, "answer", answer_name(result->answer));
        if (result->number)
            kw_json_add_number(probe, "number", (double)result->number);
        json_text(probe, "details", result->details);
        kw_json_add(array, NULL, probe);
    }
    cJSON *judged = kw_json_add_object(json, "verdicts");
    for (size_t i = 0; i < VERDICTS; i++)
        json_text(judged, verdicts[i].name, answer_name(diagnosis->verdicts[i]));
    return json;
}

/* ---- */

static enum kw_status diagnose(struct kw_keyring *keyring, const struct kw_token_info **ret_token,
                               struct diagnosis *diagnosis, struct kw_error *err)
{
    enum kw_status status = kw_keyring_token(keyring, ret_token, err);
    if (!status)
        status = kw_keyring_probe(keyring, diagnosis->results, &diagnosis->count, err);
    for (size_t i = 0; i < VERDICTS && !status; i++)
        diagnosis->verdicts[i] = judge(diagnosis, &verdicts[i]);
    return status;
}

static enum kw_status show_diagnosis(const struct arguments *arguments,
                                     const struct kw_token_info *token,
                                     const struct diagnosis *diagnosis, struct kw_error *err)
{
    if (arguments->json)
        return print_json(json_of(token, diagnosis), err);
    print_table(token, diagnosis);
    return finish_output(err);
}

/* The token may be named as the operand too. */
static enum kw_status open_named(const struct arguments *arguments, char **argv,
                                 struct kw_keyring **ret_keyring, struct kw_error *err)
{
    struct arguments named = *arguments;
    if (named.token && named.operands[0])
        return kw_fail(err, KW_USAGE,
                       "the token is named twice; give either an operand or --token");
    if (named.operands[0])
        named.token = named.operands[0];
    return open_keyring(&named, argv, ret_keyring, err);
}

int run_token_doctor(const struct arguments *arguments, char **argv)
{
    struct diagnosis diagnosis = {.count = 0};
    const struct kw_token_info *token = NULL;
    struct kw_keyring *keyring = NULL;
    struct kw_error err;
    int code = 0;
    enum kw_status status = open_named(arguments, argv, &keyring, &err);
    if (!status)
        status = diagnose(keyring, &token, &diagnosis, &err);
    print_keyring_warnings(keyring, arguments);
    hide_pins(argv);
    if (status) {
        code = fail_with(arguments, SCHEMA, &err);
    } else if (show_diagnosis(arguments, token, &diagnosis, &err)) {
        code = print_error(&err);
    } else if (diagnosis.verdicts[UNWRAP] != KW_PROBE_YES) {
        (void)kw_fail(&err, KW_KEY_UNUSABLE, "the token \"%s\" %s", token->label,
                      diagnosis.verdicts[UNWRAP] == KW_PROBE_NO
                          ? "does not unwrap data keys; allow it there, or use another token"
                          : "could not be asked whether it unwraps data keys; the answers say why, "
                            "and keyward decrypt with a key on it shows it");
        code = print_error(&err);
    }
    kw_keyring_free(keyring);
    return code;
}
