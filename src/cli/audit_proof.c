/* keyward audit prove, keyward audit consistency: proofs that others can check. */
#include <cjson/cJSON.h>

#include "audit_cli.h"

#define SCHEMA    "keyward-audit-consistency-1"
#define PROOF_MAX ((size_t)64 * 1024)

static enum kw_status prove(struct audit *audit, const struct arguments *arguments,
                            struct kw_error *err)
{
    uint64_t seq = 0;
    struct kw_buffer text = KW_BUFFER_INIT(PROOF_MAX);
    const struct kw_verify_options options = {.keys = audit->keys, .key_count = audit->key_count};
    enum kw_status status = parse_count(arguments->operands[0], "SEQ", &seq, err);
    if (!status)
        status = kw_trail_prove(audit->crypto, audit->dir, seq, &options, &text, err);
    if (!status) {
        (void)fwrite(text.data, 1, text.len, stdout); /* finish_output sees what fails */
        status = finish_output(err);
    }
    kw_buffer_cleanup(&text);
    return status;
}

int run_audit_prove(const struct arguments *arguments, char **argv)
{
    (void)argv;
    return with_audit(arguments, 1, prove);
}

static void add_hash(cJSON *json, const char *name, const struct kw_hash *hash)
{
    kw_json_add_base64(json, name, KW_BASE64, hash->bytes, sizeof(hash->bytes));
}

static cJSON *make_json(const struct kw_consistency *consistency)
{
    cJSON *json = cJSON_CreateObject();
    json_text(json, "schema", SCHEMA);
    kw_json_add_number(json, "first", (double)consistency->first);
    kw_json_add_number(json, "second", (double)consistency->second);
    add_hash(json, "first_root", &consistency->first_root);
    add_hash(json, "second_root", &consistency->second_root);
    cJSON *hashes = kw_json_add_array(json, "hashes");
    for (size_t i = 0; i < consistency->proof.count; i++)
        add_hash(hashes, NULL, &consistency->proof.hashes[i]);
    return json;
}

static enum kw_status compare(struct audit *audit, const struct arguments *arguments,
                              struct kw_error *err)
{
    uint64_t first = 0, second = 0;
    struct kw_consistency consistency;
    enum kw_status status;
    if ((status = parse_count(arguments->operands[0], "A", &first, err)) ||
        (status = parse_count(arguments->operands[1], "B", &second, err)))
        return status;
    if (first == 0 || first > second)
        return kw_fail(err, KW_USAGE, "A and B are numbers of records: A at least 1, B not less");
    status = kw_trail_consistency(audit->crypto, audit->dir, first, second, &consistency, err);
    return status ? status : print_json(make_json(&consistency), err);
}

int run_audit_consistency(const struct arguments *arguments, char **argv)
{
    (void)argv;
    return with_audit(arguments, 2, compare);
}
