/* keyward key check: a key held against the rules of the service that will encrypt to it. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define SCHEMA "keyward-check-1"

static enum kw_status print_results(const struct kw_rule_result *results, size_t count,
                                    const struct arguments *arguments, bool passed,
                                    struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    if (arguments->json) {
        cJSON *json = cJSON_CreateObject();
        json_text(json, "schema", SCHEMA);
        json_text(json, "service", arguments->service);
        json_text(json, "key", show(arguments->operands[0], shown));
        kw_json_add_bool(json, "passed", passed);
        cJSON *array = kw_json_add_array(json, "rules");
        for (size_t i = 0; i < count; i++) {
            cJSON *rule = cJSON_CreateObject();
            json_text(rule, "RuleName", results[i].rule);
            json_text(rule, "Scope", results[i].scope);
            json_text(rule, "ExpectedValue", results[i].expected);
            json_text(rule, "ActualValue", results[i].actual);
            json_text(rule, "Details", results[i].details);
            json_text(rule, "Result", results[i].passed ? "Passed" : "Failed");
            kw_json_add(array, NULL, rule);
        }
        return print_json(json, err);
    }
    printf("%-14s  %-5s  %-32s  %-32s  %s\n", "RULE", "SCOPE", "EXPECTED", "ACTUAL", "RESULT");
    for (size_t i = 0; i < count; i++)
        printf("%-14s  %-5s  %-32s  %-32s  %s%s%s\n", results[i].rule, results[i].scope,
               results[i].expected, results[i].actual, results[i].passed ? "Passed" : "Failed",
               results[i].passed ? "" : ": ", results[i].details);
    return finish_output(err);
}

/* The newest version of what is named: it is the one that services use. */
static enum kw_status find_newest(struct kw_keyring *keyring, const char *name,
                                  struct kw_version *ret_version, struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    enum kw_status status = kw_keyring_versions(keyring, name, &versions, &count, err);
    if (!status)
        *ret_version = versions[0];
    free(versions);
    return status;
}

struct checking {
    const struct arguments *arguments;
    enum kw_cloud_service service;
    struct kw_keyring *keyring;
    struct kw_keyring *second; /* of --with-token, or NULL */
    struct kw_rule_subject subject;
    struct kw_rule_result results[KW_RULES_MAX];
    size_t count;
};

static enum kw_status check_arguments(struct checking *checking, struct kw_error *err)
{
    const struct arguments *arguments = checking->arguments;
    if (!arguments->service || !kw_cloud_service_parse(arguments->service, &checking->service))
        return kw_fail(err, KW_USAGE, "say which service with --for");
    if (arguments->with_token && !arguments->with)
        return kw_fail(err, KW_USAGE, "say which key of --with-token is meant, with --with");
    return KW_OK;
}

/* The one of the second key first: the other takes the PINs out of the arguments. */
static enum kw_status open_both(struct checking *checking, char **argv, struct kw_error *err)
{
    const struct arguments *arguments = checking->arguments;
    const struct kw_keyring_options options = {
        .config_file = arguments->config, .token = arguments->with_token, .ask_pin = ask_pin};
    enum kw_status status = kw_secret_start(err);
    if (!status && arguments->with_token)
        status = kw_keyring_open(&options, &checking->second, err);
    return status ? status
                  : open_keyring_beside(arguments, argv, checking->second, &checking->keyring, err);
}

/* The second key, which may be on a token of its own. */
static enum kw_status find_second(struct checking *checking, struct kw_error *err)
{
    struct kw_rule_subject *subject = &checking->subject;
    struct kw_keyring *keyring = checking->second ? checking->second : checking->keyring;
    struct kw_version second;
    if (!checking->arguments->with)
        return KW_OK;
    enum kw_status status = find_newest(keyring, checking->arguments->with, &second, err);
    if (!status)
        status = kw_keyring_token(keyring, &subject->with_token, err);
    if (!status)
        subject->with = second.key;
    return status;
}

static enum kw_status check(struct checking *checking, struct kw_error *err)
{
    struct kw_keyring *keyring = checking->keyring;
    struct kw_rule_subject *subject = &checking->subject;
    struct kw_version version;
    enum kw_status status;
    if ((status = find_newest(keyring, checking->arguments->operands[0], &version, err)) ||
        (status = kw_keyring_token(keyring, &subject->token, err)) ||
        (status = find_second(checking, err)))
        return status;
    subject->key = version.key;
    subject->record = version.record;
    subject->retention_days = kw_keyring_retention_days(keyring);
    subject->purge_protection = kw_keyring_config(keyring)->life.purge_protection == KW_YES;
    checking->count = kw_rules_check(checking->service, subject, checking->results);
    return KW_OK;
}

static int tell(const struct checking *checking, struct kw_error *err)
{
    const struct arguments *arguments = checking->arguments;
    char shown[SHOWN_TEXT];
    size_t failed = 0;
    for (size_t i = 0; i < checking->count; i++)
        failed += !checking->results[i].passed;
    enum kw_status status =
        print_results(checking->results, checking->count, arguments, failed == 0, err);
    if (!status && failed > 0)
        status = kw_fail(
            err, KW_KEY_UNUSABLE, "key \"%s\" does not fit %s: %zu of %zu rules failed",
            show(arguments->operands[0], shown), arguments->service, failed, checking->count);
    return status ? print_error(err) : 0;
}

int run_key_check(const struct arguments *arguments, char **argv)
{
    struct checking checking = {.arguments = arguments, .subject = {.now = time(NULL)}};
    struct kw_error err;
    enum kw_status status;
    if (!(status = check_arguments(&checking, &err)) &&
        !(status = open_both(&checking, argv, &err)))
        status = check(&checking, &err);
    hide_pins(argv);
    int exit_code = status ? fail_with(arguments, SCHEMA, &err) : tell(&checking, &err);
    print_keyring_warnings(checking.keyring, arguments);
    print_keyring_warnings(checking.second, arguments);
    kw_keyring_free(checking.second);
    kw_keyring_free(checking.keyring);
    return exit_code;
}
