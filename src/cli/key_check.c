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
    if (arguments->json) {
        cJSON *json = cJSON_CreateObject();
        json_text(json, "schema", SCHEMA);
        json_text(json, "service", arguments->service);
        json_text(json, "key", arguments->operands[0]);
        (void)cJSON_AddBoolToObject(json, "passed", passed);
        cJSON *array = cJSON_AddArrayToObject(json, "rules");
        for (size_t i = 0; i < count; i++) {
            cJSON *rule = cJSON_CreateObject();
            json_text(rule, "RuleName", results[i].rule);
            json_text(rule, "Scope", results[i].scope);
            json_text(rule, "ExpectedValue", results[i].expected);
            json_text(rule, "ActualValue", results[i].actual);
            json_text(rule, "Details", results[i].details);
            json_text(rule, "Result", results[i].passed ? "Passed" : "Failed");
            (void)cJSON_AddItemToArray(array, rule);
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

/* The second key, which may be on a token of its own. */
static enum kw_status open_second(const struct arguments *arguments, struct kw_keyring *first,
                                  struct kw_keyring **ret_keyring, struct kw_rule_subject *subject,
                                  struct kw_error *err)
{
    if (!arguments->with)
        return KW_OK;
    struct kw_keyring *keyring = first;
    struct kw_version second;
    enum kw_status status = KW_OK;
    if (arguments->with_token) {
        const struct kw_keyring_options options = {
            .config_file = arguments->config, .token = arguments->with_token, .ask_pin = ask_pin};
        status = kw_keyring_open(&options, ret_keyring, err);
        keyring = *ret_keyring;
    }
    if (!status)
        status = find_newest(keyring, arguments->with, &second, err);
    if (!status)
        status = kw_keyring_token(keyring, &subject->with_token, err);
    if (!status)
        subject->with = second.key;
    return status;
}

static enum kw_status check(struct kw_keyring *keyring, struct kw_rule_subject *subject,
                            const struct arguments *arguments, struct kw_error *err)
{
    enum kw_service service;
    struct kw_rule_result results[KW_RULES_MAX];
    struct kw_version version;
    char shown[SHOWN_TEXT];
    if (!arguments->service || !kw_service_parse(arguments->service, &service))
        return kw_fail(err, KW_USAGE, "say which service with --for");
    enum kw_status status = find_newest(keyring, arguments->operands[0], &version, err);
    if (!status)
        status = kw_keyring_token(keyring, &subject->token, err);
    if (status)
        return status;
    subject->key = version.key;
    subject->record = version.record;
    subject->retention_days = kw_keyring_retention_days(keyring);
    subject->purge_protection = kw_keyring_config(keyring)->life.purge_protection == KW_YES;
    size_t count = kw_rules_check(service, subject, results);
    size_t failed = 0;
    for (size_t i = 0; i < count; i++)
        failed += !results[i].passed;
    status = print_results(results, count, arguments, failed == 0, err);
    if (!status && failed > 0)
        status =
            kw_fail(err, KW_KEY_UNUSABLE, "key \"%s\" does not fit %s: %zu of %zu rules failed",
                    show(arguments->operands[0], shown), arguments->service, failed, count);
    return status;
}

int run_key_check(const struct arguments *arguments, char **argv)
{
    struct kw_rule_subject subject = {.now = time(NULL)};
    struct kw_keyring *keyring = NULL;
    struct kw_keyring *second = NULL;
    struct kw_error err;
    enum kw_status status;
    if (!(status = open_keyring(arguments, argv, &keyring, &err)) &&
        !(status = open_second(arguments, keyring, &second, &subject, &err)))
        status = check(keyring, &subject, arguments, &err);
    print_keyring_warnings(keyring, arguments);
    hide_pins(argv);
    kw_keyring_free(second);
    kw_keyring_free(keyring);
    return status ? print_error(&err) : 0;
}
