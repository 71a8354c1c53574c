/* What each service requires of the key that it encrypts to: one table of rules. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

/* The publisher's "no expiry" where a date can't be left out. */
#define NEVER "9999-12-31"

static const char *const service_names[KW_CLOUD_SERVICE_COUNT] = {
    [KW_DATA_CONNECT] = "data-connect",
    [KW_CUSTOMER_KEY] = "customer-key",
    [KW_DATAVERSE] = "dataverse",
    [KW_DEFENDER] = "defender",
};

bool kw_cloud_service_parse(const char *name, enum kw_cloud_service *ret_service)
{
    for (int i = 0; i < KW_CLOUD_SERVICE_COUNT; i++) {
        if (strcasecmp(name, service_names[i]) == 0) {
            *ret_service = (enum kw_cloud_service)i;
            return true;
        }
    }
    return false;
}

typedef bool (*check_fn)(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT]);

static size_t say_bits(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    size_t bits = kw_rsa_bits(&subject->key->public);
    (void)snprintf(actual, KW_RULE_TEXT, bits ? "RSA %zu" : "not RSA of 2048 to 4096 bits", bits);
    return bits;
}

static bool is_2048(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    return say_bits(subject, actual) == 2048;
}

static bool is_2048_to_4096(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    size_t bits = say_bits(subject, actual);
    return bits >= 2048 && bits <= 4096;
}

static bool is_2048_or_4096(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    size_t bits = say_bits(subject, actual);
    return bits == 2048 || bits == 4096;
}

static void say_operations(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    (void)snprintf(actual, KW_RULE_TEXT, "%s%s%s", subject->key->decrypt ? "decrypt" : "",
                   subject->key->decrypt && subject->key->unwrap ? ", " : "",
                   subject->key->unwrap ? "unwrapKey" : "");
    if (actual[0] == '\0')
        (void)snprintf(actual, KW_RULE_TEXT, "neither");
}

static bool may_decrypt(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    say_operations(subject, actual);
    return subject->key->decrypt;
}

/* wrapKey is the public half's and done by the service. */
static bool may_unwrap(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    say_operations(subject, actual);
    return subject->key->unwrap || subject->key->decrypt;
}

static void say_expiry(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    const char *expires = subject->key->expires;
    (void)snprintf(actual, KW_RULE_TEXT, "%s", expires[0] ? expires : "not set");
}

static bool expires_in_future(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    say_expiry(subject, actual);
    return subject->key->expires[0] && kw_key_validity(subject->key, subject->now) != KW_EXPIRED;
}

static bool never_expires(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    say_expiry(subject, actual);
    return subject->key->expires[0] == '\0' || strcmp(subject->key->expires, NEVER) == 0;
}

static bool is_valid_today(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    static const char *const words[] = {
        [KW_VALID] = "valid", [KW_NOT_YET_VALID] = "not valid yet", [KW_EXPIRED] = "expired"};
    enum kw_validity validity = kw_key_validity(subject->key, subject->now);
    (void)snprintf(actual, KW_RULE_TEXT, "%s", words[validity]);
    return validity == KW_VALID;
}

/* 8-4-4-4-12 hex digits. */
static bool is_guid(const char *text)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; i < sizeof(form) - 1; i++)
        if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
            return false;
    return true;
}

static bool is_named_by_tenant(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    (void)kw_printable(subject->key->label, strlen(subject->key->label), actual, KW_RULE_TEXT);
    return is_guid(subject->key->label);
}

static bool is_protected(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    (void)snprintf(actual, KW_RULE_TEXT, "%s, %s",
                   subject->key->sensitive ? "sensitive" : "not sensitive",
                   subject->key->extractable ? "extractable" : "not extractable");
    return subject->key->sensitive;
}

static bool has_second_key(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    if (!subject->with) {
        (void)snprintf(actual, KW_RULE_TEXT, "one key");
        return false;
    }
    bool same_key = kw_rsa_same(&subject->key->public, &subject->with->public);
    bool same_token = strcmp(subject->token->serial, subject->with_token->serial) == 0;
    (void)snprintf(actual, KW_RULE_TEXT, "%s key on %s token", same_key ? "the same" : "another",
                   same_token ? "the same" : "another");
    return !same_key && !same_token;
}

static bool is_enabled(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    enum kw_key_state state = kw_key_state(subject->record);
    (void)snprintf(actual, KW_RULE_TEXT, "%s", kw_key_state_name(state));
    return state == KW_KEY_ENABLED;
}

static bool is_protected_from_purge(const struct kw_rule_subject *subject,
                                    char actual[KW_RULE_TEXT])
{
    (void)snprintf(actual, KW_RULE_TEXT, "kept for %ld days, purge protection %s",
                   subject->retention_days, subject->purge_protection ? "on" : "off");
    return subject->purge_protection;
}

static bool is_kept_90_days(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    return is_protected_from_purge(subject, actual) && subject->retention_days >= 90;
}

static bool has_backup(const struct kw_rule_subject *subject, char actual[KW_RULE_TEXT])
{
    const char *when = subject->record->backed_up;
    (void)snprintf(actual, KW_RULE_TEXT, "%s%s", when[0] ? "made " : "none is known", when);
    return when[0] != '\0';
}

static const struct rule {
    enum kw_cloud_service service;
    const char *rule;
    const char *scope;
    const char *expected;
    check_fn holds;
    const char *details;
} rules[] = {
    {KW_DATA_CONNECT, "KeyType", "Key", "RSA 2048", is_2048, "make a key of 2048 bits"},
    {KW_DATA_CONNECT, "KeyOperations", "Key", "decrypt", may_decrypt,
     "make a key with CKA_DECRYPT; keyward key create does"},
    {KW_DATA_CONNECT, "KeyExpiry", "Key", "a date in the future", expires_in_future,
     "set one with keyward key set --expires"},
    {KW_DATA_CONNECT, "KeyName", "Key", "the tenant id, a GUID", is_named_by_tenant,
     "name the key by the tenant id with keyward key set --label"},
    {KW_CUSTOMER_KEY, "KeyType", "Key", "RSA up to 4096", is_2048_to_4096,
     "make an RSA key of 2048 to 4096 bits"},
    {KW_CUSTOMER_KEY, "KeyOperations", "Key", "unwrapKey", may_unwrap,
     "make a key with CKA_UNWRAP; keyward key create does"},
    {KW_CUSTOMER_KEY, "KeyExpiry", "Key", "not set, or " NEVER, never_expires,
     "take the date away with keyward key set --no-expiry"},
    {KW_CUSTOMER_KEY, "KeyRecovery", "Key", "kept for 90 days, purge protection", is_kept_90_days,
     "set retention-days = 90 and purge-protection = yes in [keys]"},
    {KW_CUSTOMER_KEY, "KeyBackup", "Key", "a backup", has_backup,
     "make one with keyward key backup"},
    {KW_CUSTOMER_KEY, "KeyCount", "Set", "two different keys on two tokens", has_second_key,
     "name the second key, on another token, with --with"},
    {KW_DATAVERSE, "KeyType", "Key", "RSA 2048 or 4096", is_2048_or_4096,
     "make a key of 2048 or 4096 bits"},
    {KW_DATAVERSE, "KeyOperations", "Key", "unwrapKey", may_unwrap,
     "make a key with CKA_UNWRAP; keyward key create does"},
    {KW_DATAVERSE, "KeyValidity", "Key", "valid", is_valid_today, "mend its dates"},
    {KW_DATAVERSE, "KeyRecovery", "Key", "soft delete and purge protection",
     is_protected_from_purge, "set purge-protection = yes in [keys]"},
    {KW_DEFENDER, "KeyType", "Key", "RSA", is_2048_to_4096, "make an RSA key"},
    {KW_DEFENDER, "KeyOperations", "Key", "unwrapKey", may_unwrap,
     "make a key with CKA_UNWRAP; keyward key create does"},
    {KW_DEFENDER, "KeyValidity", "Key", "valid", is_valid_today, "mend its dates"},
    {KW_DEFENDER, "KeyRecovery", "Key", "soft delete and purge protection", is_protected_from_purge,
     "set purge-protection = yes in [keys]"},
};

/* What this program requires of any key. */
static const struct rule common_rules[] = {
    {KW_CLOUD_SERVICE_COUNT, "KeyState", "Key", "enabled", is_enabled,
     "keyward key show says why it is not"},
    {KW_CLOUD_SERVICE_COUNT, "KeyProtection", "Key", "sensitive", is_protected,
     "make a new key; this one may have left its token"},
};

static struct kw_rule_result apply(const struct rule *rule, const struct kw_rule_subject *subject)
{
    struct kw_rule_result result = {
        .rule = rule->rule, .scope = rule->scope, .expected = rule->expected};
    result.passed = rule->holds(subject, result.actual);
    result.details = result.passed ? "" : rule->details;
    return result;
}

size_t kw_rules_check(enum kw_cloud_service service, const struct kw_rule_subject *subject,
                      struct kw_rule_result results[KW_RULES_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < KW_COUNT(rules) && count < KW_RULES_MAX; i++)
        if (rules[i].service == service)
            results[count++] = apply(&rules[i], subject);
    for (size_t i = 0; i < KW_COUNT(common_rules) && count < KW_RULES_MAX; i++)
        results[count++] = apply(&common_rules[i], subject);
    return count;
}
