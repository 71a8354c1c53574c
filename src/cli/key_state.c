/* keyward key disable, enable, delete, recover and purge. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

typedef enum kw_status (*version_fn)(struct kw_keyring *keyring, const struct kw_version *version,
                                     const struct arguments *arguments, struct kw_error *err);

/* Every version that the operand names, then what became of them. */
static enum kw_status with_versions(struct kw_keyring *keyring, const struct arguments *arguments,
                                    version_fn work, bool remain, struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    char shown[SHOWN_TEXT], id[2 * KW_KEY_ID_MAX + 1];
    enum kw_status status =
        kw_keyring_versions(keyring, arguments->operands[0], &versions, &count, err);
    for (size_t i = 0; i < count && !status; i++) {
        struct kw_key_record record = {.state = KW_RECORD_NONE};
        status = work(keyring, &versions[i], arguments, err);
        if (!status && remain)
            status = kw_keyring_record(keyring, versions[i].key, &record, err);
        if (!status) {
            kw_hex_encode(versions[i].key->id, versions[i].key->id_len, id);
            printf("%s  %s  %s%s%s\n", show(versions[i].key->label, shown), id,
                   remain ? kw_key_state_name(kw_key_state(&record)) : "purged",
                   record.deleted[0] ? ", purge after " : "",
                   record.deleted[0] ? record.purge_after : "");
        }
        kw_key_record_cleanup(&record);
    }
    free(versions);
    return status ? status : finish_output(err);
}

/* ---- steps ---- */

static const struct {
    const char *command;
    enum kw_key_step step;
} steps[] = {
    {"key disable", KW_STEP_DISABLE},
    {"key enable", KW_STEP_ENABLE},
    {"key delete", KW_STEP_DELETE},
    {"key recover", KW_STEP_RECOVER},
};

static enum kw_status step_version(struct kw_keyring *keyring, const struct kw_version *version,
                                   const struct arguments *arguments, struct kw_error *err)
{
    for (size_t i = 0; i < KW_COUNT(steps); i++)
        if (strcmp(arguments->command, steps[i].command) == 0)
            return kw_keyring_step(keyring, version->key, steps[i].step, err);
    return kw_fail(err, KW_FAULT, "%s is no step of a key's life", arguments->command);
}

static enum kw_status step_key(struct kw_keyring *keyring, const struct arguments *arguments,
                               struct kw_error *err)
{
    return with_versions(keyring, arguments, step_version, true, err);
}

int run_key_step(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, step_key);
}

/* ---- purging ---- */

static enum kw_status ask_for_name(const char *name, char *typed, size_t size, struct kw_error *err)
{
    char shown[SHOWN_TEXT], question[2 * SHOWN_TEXT];
    (void)snprintf(question, sizeof(question),
                   "This destroys \"%s\" for ever. Type that name to go on: ", show(name, shown));
    enum kw_status status = ask_line(question, typed, size);
    if (status == KW_INTERRUPTED)
        return kw_fail(err, status, "interrupted, so nothing was purged");
    return status ? kw_fail(err, KW_USAGE,
                            "the key's name was not typed on a terminal, so nothing was purged; "
                            "give it with --confirm")
                  : KW_OK;
}

/* What is typed, or --confirm, must be the key's name: no habit types that. */
static enum kw_status check_confirmed(const struct arguments *arguments, struct kw_error *err)
{
    char typed[SHOWN_TEXT];
    const char *name = arguments->operands[0], *given = arguments->confirm;
    if (!given) {
        enum kw_status status = ask_for_name(name, typed, sizeof(typed), err);
        if (status)
            return status;
        given = typed;
    }
    if (strcmp(given, name) != 0)
        return kw_fail(err, KW_USAGE, "that is not the key's name, so nothing was purged");
    return KW_OK;
}

static enum kw_status purge_version(struct kw_keyring *keyring, const struct kw_version *version,
                                    const struct arguments *arguments, struct kw_error *err)
{
    (void)arguments;
    return kw_keyring_purge(keyring, version->key, err);
}

/* All of them, or none: a name has several versions. */
static enum kw_status check_all(struct kw_keyring *keyring, const struct arguments *arguments,
                                struct kw_error *err)
{
    struct kw_version *versions = NULL;
    size_t count = 0;
    char shown[SHOWN_TEXT], id[2 * KW_KEY_ID_MAX + 1];
    enum kw_status status =
        kw_keyring_versions(keyring, arguments->operands[0], &versions, &count, err);
    for (size_t i = 0; i < count && !status; i++) {
        const struct kw_token_key *key = versions[i].key;
        kw_hex_encode(key->id, key->id_len, id);
        if (kw_key_state(versions[i].record) != KW_KEY_DELETED)
            status = kw_fail(err, KW_KEY_UNUSABLE,
                             "version %.64s of key \"%s\" is not deleted, so nothing was purged; "
                             "delete it first with keyward key delete, or name one version by its "
                             "id",
                             id, show(key->label, shown));
        else
            status = kw_version_check_purge(&versions[i], err);
    }
    free(versions);
    return status;
}

static enum kw_status purge_key(struct kw_keyring *keyring, const struct arguments *arguments,
                                struct kw_error *err)
{
    enum kw_status status = check_all(keyring, arguments, err);
    if (!status)
        status = check_confirmed(arguments, err);
    return status ? status : with_versions(keyring, arguments, purge_version, false, err);
}

int run_key_purge(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, purge_key);
}
