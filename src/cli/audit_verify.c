/* keyward audit verify: whether the trail is what was signed. */
#include <cjson/cJSON.h>
#include <string.h>

#include "audit_cli.h"

#define SCHEMA "keyward-audit-verify-1"

static void print_text(const struct audit *audit, const struct kw_verdict *verdict)
{
    char shown[SHOWN_TEXT];
    uint64_t rest = verdict->records - verdict->signed_records;
    if (verdict->tamper)
        return;
    printf("%s: %llu records, %llu of them signed, as %llu checkpoints say\n",
           show(audit->dir, shown), (unsigned long long)verdict->records,
           (unsigned long long)verdict->signed_records, (unsigned long long)verdict->checkpoints);
    if (verdict->key[0])
        printf("signed by the key %s\n", verdict->key);
    if (verdict->key_changes > 0)
        printf("the key that signs changed so often: %llu\n",
               (unsigned long long)verdict->key_changes);
    if (rest > 0)
        printf("the last %llu are not signed yet\n", (unsigned long long)rest);
    if (verdict->torn_bytes > 0)
        printf("%llu bytes after them are of a record that was never finished\n",
               (unsigned long long)verdict->torn_bytes);
}

static cJSON *make_json(const struct audit *audit, const struct kw_verdict *verdict)
{
    bool range = verdict->tamper != KW_GOOD;
    cJSON *json = cJSON_CreateObject();
    json_text(json, "schema", SCHEMA);
    json_text(json, "dir", audit->dir);
    json_text(json, "verdict", kw_tamper_name(verdict->tamper));
    json_text(json, "message", verdict->message);
    kw_json_add(json, "first",
                range ? cJSON_CreateNumber((double)verdict->first) : cJSON_CreateNull());
    kw_json_add(json, "last",
                range ? cJSON_CreateNumber((double)verdict->last) : cJSON_CreateNull());
    kw_json_add_number(json, "records", (double)verdict->records);
    kw_json_add_number(json, "signed_records", (double)verdict->signed_records);
    kw_json_add_number(json, "checkpoints", (double)verdict->checkpoints);
    kw_json_add_number(json, "torn_bytes", (double)verdict->torn_bytes);
    kw_json_add_bool(json, "own_key", verdict->own_key);
    json_text(json, "key", verdict->key);
    kw_json_add_number(json, "key_changes", (double)verdict->key_changes);
    kw_json_add_number(json, "untold_key_changes", (double)verdict->untold);
    return json;
}

static void warn(const struct kw_verdict *verdict, const struct arguments *arguments)
{
    struct kw_strings warnings = KW_STRINGS_INIT(4);
    if (verdict->own_key)
        kw_strings_warn(&warnings,
                        "the checkpoints were checked with the key that lies beside them, which "
                        "proves little; give the key from a safer place with --key");
    if (verdict->untold > 0)
        kw_strings_warn(&warnings,
                        "the key that signs became another one between the checkpoints of %llu and "
                        "%llu records, and no record says so (%llu such changes in all); make sure "
                        "that it was changed by you",
                        (unsigned long long)verdict->change.first,
                        (unsigned long long)verdict->change.end,
                        (unsigned long long)verdict->untold);
    print_warnings(&warnings, arguments);
    kw_strings_cleanup(&warnings);
}

static enum kw_status verify(struct audit *audit, const struct arguments *arguments,
                             struct kw_error *err)
{
    struct kw_buffer since = KW_BUFFER_INIT(0);
    struct kw_verdict verdict;
    enum kw_status status = KW_OK;
    if (arguments->since)
        status = read_named_file(arguments->since, KW_NOTE_MAX, &since, err);
    const struct kw_verify_options options = {
        .keys = audit->keys,
        .key_count = audit->key_count,
        .since = (const char *)since.data,
        .since_len = since.len,
    };
    if (!status)
        status = kw_trail_verify(audit->crypto, audit->dir, &options, &verdict, err);
    kw_buffer_cleanup(&since);
    if (status)
        return status;
    warn(&verdict, arguments);
    if (arguments->json)
        status = print_json(make_json(audit, &verdict), err);
    else
        print_text(audit, &verdict);
    if (!status)
        status = finish_output(err);
    return status || !verdict.tamper ? status : kw_fail(err, KW_AUDIT, "%s", verdict.message);
}

int run_audit_verify(const struct arguments *arguments, char **argv)
{
    (void)argv;
    return with_audit(arguments, 0, verify);
}
