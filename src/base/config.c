/* The configuration: what settings there are, and reading them from text. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/config_value.h"

#define TOKENS_MAX 64
#define KEYS_MAX   1024
#define NAME_BYTES 127

#define IN_TOKEN_AT(member) offsetof(struct kw_config_token, member)
#define EXPECTS_URI                                                                                \
    "a URI that starts with pkcs11: and holds no PIN (use pin-source), or an address that starts " \
    "with https://"
#define EXPECTS_YES_NO "yes or no"
#define EXPECTS_PATHS  "absolute paths with \":\" between them"

static const struct setting settings[] = {
    {IN_TOKEN, "uri", AS_URI, IN_TOKEN_AT(uri), EXPECTS_URI, 0, 0},
    {IN_TOKEN, "module", AS_PATH, IN_TOKEN_AT(module), "an absolute path", 0, 0},
    {IN_TOKEN, "init-args", AS_TEXT, IN_TOKEN_AT(init_args), "text", 0, 0},
    {IN_TOKEN, "pin-source", AS_PIN_SOURCE, IN_TOKEN_AT(pin_source),
     "file:PATH, an absolute path, fd:N, env:NAME, credential:NAME or prompt", 0, 0},
    {IN_TOKEN, "sessions", AS_NUMBER, IN_TOKEN_AT(sessions), "a number from 1 to 1024", 1, 1024},
    {IN_TOKEN, "timeout", AS_NUMBER, IN_TOKEN_AT(timeout_s), "a number of seconds from 1 to 3600",
     1, 3600},
    {IN_TOKEN, "token-source", AS_TEXT, IN_TOKEN_AT(token_source), "text", 0, 0},
    {IN_TOKEN, "resource", AS_TEXT, IN_TOKEN_AT(resource), "text", 0, 0},
    {IN_TOKEN, "ca", AS_PATH, IN_TOKEN_AT(ca), "an absolute path", 0, 0},
    {IN_TOKEN, "certificate", AS_PATH, IN_TOKEN_AT(certificate), "an absolute path", 0, 0},
    {IN_TOKEN, "key", AS_PATH, IN_TOKEN_AT(key), "an absolute path", 0, 0},
    {IN_TOKEN, "failover", AS_TEXT, IN_TOKEN_AT(failover), "the name of another [token]", 0, 0},
    {IN_TOKEN, "failover-probe", AS_NUMBER, IN_TOKEN_AT(failover_probe_s),
     "a number of seconds from 1 to 3600", 1, 3600},
    {IN_KEY, "uri", AS_URI, offsetof(struct kw_config_key, uri), EXPECTS_URI, 0, 0},
    {IN_KEYS, "retention-days", AS_NUMBER, offsetof(struct kw_config, life.retention_days),
     "a number from 1 to 3650", 1, 3650},
    {IN_KEYS, "purge-protection", AS_YES_NO, offsetof(struct kw_config, life.purge_protection),
     EXPECTS_YES_NO, 0, 0},
    {IN_KEYS, "records-key", AS_TEXT, offsetof(struct kw_config, life.records_key), "text", 0, 0},
    {IN_KEYS, "catalogue", AS_PATH, offsetof(struct kw_config, life.catalogue), "an absolute path",
     0, 0},
    {IN_RUN, "token", AS_TEXT, offsetof(struct kw_config, run.token), "text", 0, 0},
    {IN_RUN, "unwrap-alg", AS_CHOICE, offsetof(struct kw_config, run.unwrap_alg),
     "auto, RSA-OAEP, RSA-OAEP-256, RSA1_5", 0, 0},
    {IN_RUN, "decompress", AS_CHOICE, offsetof(struct kw_config, run.decompress), "auto, none", 0,
     0},
    {IN_RUN, "digest", AS_CHOICE, offsetof(struct kw_config, run.digest), "sha256, none", 0, 0},
    {IN_RUN, "jobs", AS_NUMBER, offsetof(struct kw_config, run.jobs), "a number from 1 to 256", 1,
     256},
    {IN_RUN, "max-ratio", AS_NUMBER, offsetof(struct kw_config, run.max_ratio),
     "a number from 1 to 1000000", 1, 1000000},
    {IN_RUN, "max-plaintext-mib", AS_NUMBER, offsetof(struct kw_config, run.max_plaintext_mib),
     "a number from 1 to 1000000000", 1, 1000000000},
    {IN_RUN, "allow-rsa1_5", AS_YES_NO, offsetof(struct kw_config, run.allow_rsa1_5),
     EXPECTS_YES_NO, 0, 0},
    {IN_AUDIT, "enabled", AS_YES_NO, offsetof(struct kw_config, audit.enabled), EXPECTS_YES_NO, 0,
     0},
    {IN_AUDIT, "dir", AS_PATH, offsetof(struct kw_config, audit.dir), "an absolute path", 0, 0},
    {IN_AUDIT, "rotate-mib", AS_NUMBER, offsetof(struct kw_config, audit.rotate_mib),
     "a number from 1 to 1024", 1, 1024},
    {IN_AUDIT, "checkpoint-interval", AS_NUMBER,
     offsetof(struct kw_config, audit.checkpoint_interval_s), "a number of seconds from 1 to 86400",
     1, 86400},
    {IN_AUDIT, "journald", AS_PATH, offsetof(struct kw_config, audit.journald), "an absolute path",
     0, 0},
    {IN_AUDIT, "syslog", AS_HOST_PORT, offsetof(struct kw_config, audit.syslog),
     "HOST:PORT, with an IPv6 address in brackets", 0, 0},
    {IN_AUDIT, "forward-timeout", AS_NUMBER, offsetof(struct kw_config, audit.forward_timeout_ms),
     "a number of milliseconds from 1 to 60000", 1, 60000},
    {IN_CRYPTO, "fips", AS_YES_NO, offsetof(struct kw_config, crypto.fips), EXPECTS_YES_NO, 0, 0},
    {IN_SANDBOX, "enabled", AS_YES_NO, offsetof(struct kw_config, sandbox.enabled), EXPECTS_YES_NO,
     0, 0},
    {IN_SANDBOX, "required", AS_YES_NO, offsetof(struct kw_config, sandbox.required),
     EXPECTS_YES_NO, 0, 0},
    {IN_SANDBOX, "read", AS_PATHS, offsetof(struct kw_config, sandbox.read), EXPECTS_PATHS, 0, 0},
    {IN_SANDBOX, "write", AS_PATHS, offsetof(struct kw_config, sandbox.write), EXPECTS_PATHS, 0, 0},
    {IN_SANDBOX, "network", AS_CHOICE, offsetof(struct kw_config, sandbox.network),
     "none, unix, tcp", 0, 0},
};

struct section_name {
    enum section section;
    const char *name;
    bool has_entries; /* [token NAME], [key VERSION] */
};

static const struct section_name sections[] = {
    {IN_TOKEN, "token", true},      {IN_KEY, "key", true},      {IN_KEYS, "keys", false},
    {IN_RUN, "run", false},         {IN_AUDIT, "audit", false}, {IN_CRYPTO, "crypto", false},
    {IN_SANDBOX, "sandbox", false},
};

/* One text on its way in. `seen` has a bit for each setting that the text gave already. */
struct reading {
    struct kw_config *config;
    const char *what;
    size_t line;
    enum section section;
    void *target; /* what the current section's offsets start from */
    uint64_t *seen;
    uint64_t seen_tokens[TOKENS_MAX];
    uint64_t seen_keys[KEYS_MAX];
    uint64_t seen_others;
    size_t failover_lines[TOKENS_MAX]; /* where a token got its failover; 0: not in this text */
    struct kw_error *err;
};

_Static_assert(KW_COUNT(settings) <= 64, "seen has 64 bits");

static enum kw_status fail_at(const struct reading *in, const char *fault)
{
    return kw_fail(in->err, KW_CONFIG, "%s:%zu: %s", in->what, in->line, fault);
}

static void wipe_free(char *text)
{
    if (text)
        kw_wipe(text, strlen(text)); /* a URI may have a PIN in it */
    free(text);
}

/* ---- values ---- */

/* A value is never repeated in the error: it may be a PIN in the wrong place. */
static enum kw_status fail_value(const struct reading *in, const struct setting *setting)
{
    return kw_fail(in->err, KW_CONFIG, "%s:%zu: %s must be %s%s", in->what, in->line, setting->name,
                   setting->type == AS_CHOICE ? "one of " : "", setting->expects);
}

static enum kw_status store_text(const struct reading *in, const struct setting *setting,
                                 struct kw_slice value)
{
    if (!kw_setting_takes(setting, value))
        return fail_value(in, setting);
    char *copy = strndup(value.data, value.len);
    if (!copy)
        return kw_fail_memory(in->err);
    char **place = (char **)(void *)((char *)in->target + setting->offset);
    wipe_free(*place);
    *place = copy;
    return KW_OK;
}

static enum kw_status store_value(const struct reading *in, const struct setting *setting,
                                  struct kw_slice value)
{
    void *place = (char *)in->target + setting->offset;
    if (setting->type == AS_NUMBER)
        return kw_setting_number(setting, value, place) ? KW_OK : fail_value(in, setting);
    if (setting->type != AS_YES_NO)
        return store_text(in, setting, value);
    bool yes = kw_slice_is(value, "yes");
    if (!yes && !kw_slice_is(value, "no"))
        return fail_value(in, setting);
    *(enum kw_tristate *)place = yes ? KW_YES : KW_NO;
    return KW_OK;
}

/* ---- sections ---- */

static enum kw_status enter_token(struct reading *in, struct kw_slice name)
{
    struct kw_config *config = in->config;
    size_t index = 0;
    while (index < config->token_count && !kw_slice_is(name, config->tokens[index].name))
        index++;
    if (index == TOKENS_MAX)
        return fail_at(in, "there are more than 64 tokens; take some out");
    if (index == config->token_count) {
        struct kw_config_token *tokens = reallocarray(config->tokens, index + 1, sizeof(*tokens));
        char *copy = strndup(name.data, name.len);
        if (tokens)
            config->tokens = tokens;
        if (!tokens || !copy) {
            free(copy);
            return kw_fail_memory(in->err);
        }
        tokens[index] = (struct kw_config_token){.name = copy};
        config->token_count++;
    }
    in->target = &config->tokens[index];
    in->seen = &in->seen_tokens[index];
    return KW_OK;
}

static enum kw_status enter_key(struct reading *in, struct kw_slice version)
{
    struct kw_config *config = in->config;
    size_t index = 0;
    while (index < config->key_count && !kw_slice_is(version, config->keys[index].version))
        index++;
    if (index == KEYS_MAX)
        return fail_at(in, "there are more than 1024 keys; take some out");
    if (index == config->key_count) {
        struct kw_config_key *keys = reallocarray(config->keys, index + 1, sizeof(*keys));
        char *copy = strndup(version.data, version.len);
        if (keys)
            config->keys = keys;
        if (!keys || !copy) {
            free(copy);
            return kw_fail_memory(in->err);
        }
        keys[index] = (struct kw_config_key){.version = copy};
        config->key_count++;
    }
    in->target = &config->keys[index];
    in->seen = &in->seen_keys[index];
    return KW_OK;
}

static enum kw_status enter_section(struct reading *in, const struct kw_ini_line *line)
{
    const struct section_name *found = NULL;
    for (size_t i = 0; i < KW_COUNT(sections); i++) {
        if (kw_slice_is(line->name, sections[i].name))
            found = &sections[i];
    }
    if (!found)
        return fail_at(in, "the section is unknown; there are [token NAME], [key VERSION], [keys], "
                           "[run], [audit], [crypto] and [sandbox]");
    if (!found->has_entries && line->value.len > 0)
        return fail_at(in,
                       "[keys], [run], [audit], [crypto] and [sandbox] have no name after them");
    if (found->has_entries && line->value.len == 0)
        return fail_at(in, "a name is missing; write [token NAME] or [key VERSION]");
    if (line->value.len > NAME_BYTES)
        return fail_at(in, "the section's name is longer than 127 bytes; make it shorter");
    in->section = found->section;
    in->target = in->config;
    in->seen = &in->seen_others;
    if (found->section == IN_TOKEN)
        return enter_token(in, line->value);
    return found->section == IN_KEY ? enter_key(in, line->value) : KW_OK;
}

/* ---- settings ---- */

/* The name is repeated: what is before "=" is no value. */
static enum kw_status fail_unknown(const struct reading *in, struct kw_slice name)
{
    char printable[64];
    return kw_fail(in->err, KW_CONFIG,
                   "%s:%zu: the setting \"%s\" is unknown in this section; see keyward.conf(5)",
                   in->what, in->line,
                   kw_printable(name.data, name.len, printable, sizeof(printable)));
}

static enum kw_status take_setting(struct reading *in, const struct kw_ini_line *line)
{
    if (in->section == IN_NONE)
        return fail_at(in, "a setting needs a section above it, such as [run]");
    for (size_t i = 0; i < KW_COUNT(settings); i++) {
        if (settings[i].section != in->section || !kw_slice_is(line->name, settings[i].name))
            continue;
        if ((*in->seen >> i & 1) != 0)
            return kw_fail(in->err, KW_CONFIG,
                           "%s:%zu: %s is set a second time in this section; keep one of them",
                           in->what, in->line, settings[i].name);
        *in->seen |= UINT64_C(1) << i;
        if (settings[i].section == IN_TOKEN && settings[i].offset == IN_TOKEN_AT(failover))
            in->failover_lines[in->seen - in->seen_tokens] = in->line;
        return store_value(in, &settings[i], line->value);
    }
    return fail_unknown(in, line->name);
}

static enum kw_status take_line(struct reading *in, const char *text, size_t len)
{
    struct kw_ini_line line;
    const char *fault = kw_ini_parse(text, len, &line);
    if (fault)
        return fail_at(in, fault);
    if (line.kind == KW_INI_SECTION)
        return enter_section(in, &line);
    return line.kind == KW_INI_SETTING ? take_setting(in, &line) : KW_OK;
}

static enum kw_status check_keys(const struct reading *in)
{
    const struct kw_config *config = in->config;
    for (size_t i = 0; i < config->key_count; i++) {
        char printable[NAME_BYTES + 1];
        const char *version = config->keys[i].version;
        if (!config->keys[i].uri)
            return kw_fail(in->err, KW_CONFIG, "%s: [key %s] has no uri; give the key's", in->what,
                           kw_printable(version, strlen(version), printable, sizeof(printable)));
    }
    return KW_OK;
}

static bool has_stand_in(const struct kw_config_token *token, const char *name)
{
    return token->failover && strcmp(token->failover, name) == 0;
}

/* What is wrong with a token's failover, or NULL. No token stands in for one that stands in: it
 * would never be clear which one serves. */
static const char *fault_of_failover(const struct kw_config *config,
                                     const struct kw_config_token *token)
{
    const struct kw_config_token *stand_in = kw_config_find_token(config, token->failover);
    if (!stand_in)
        return "failover names no [token] of this file or one that was read before";
    if (stand_in == token)
        return "failover names its own [token]; name another one";
    if (stand_in->failover)
        return "failover names a [token] that has a failover itself; take one of them out";
    for (size_t i = 0; i < config->token_count; i++)
        if (has_stand_in(&config->tokens[i], token->name))
            return "this [token] is the failover of another one and can't have one itself; take "
                   "one of them out";
    return NULL;
}

/* Any fault was made by a line of this text: those that were read before fitted each other. */
static enum kw_status check_failovers(struct reading *in)
{
    for (size_t i = 0; i < in->config->token_count; i++) {
        in->line = in->failover_lines[i];
        const char *fault = in->line ? fault_of_failover(in->config, &in->config->tokens[i]) : NULL;
        if (fault)
            return fail_at(in, fault);
    }
    return KW_OK;
}

enum kw_status kw_config_parse(struct kw_config *config, const char *text, size_t len,
                               const char *what, struct kw_error *err)
{
    struct reading in = {.config = config, .what = what, .err = err};
    static const char mark[] = "\xEF\xBB\xBF";
    size_t at = len >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - (text + at)) : len - at;
        in.line++;
        enum kw_status status = take_line(&in, text + at, line_len);
        if (status != KW_OK)
            return status;
        at += line_len + (end != NULL);
    }
    enum kw_status status = check_keys(&in);
    return status ? status : check_failovers(&in);
}

/* ---- what was read ---- */

const struct kw_config_token *kw_config_find_token(const struct kw_config *config, const char *name)
{
    for (size_t i = 0; i < config->token_count; i++) {
        if (strcmp(config->tokens[i].name, name) == 0)
            return &config->tokens[i];
    }
    return NULL;
}

const struct kw_config_key *kw_config_find_key(const struct kw_config *config, const char *version)
{
    for (size_t i = 0; i < config->key_count; i++) {
        if (strcmp(config->keys[i].version, version) == 0)
            return &config->keys[i];
    }
    return NULL;
}

void kw_config_cleanup(struct kw_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->token_count; i++) {
        struct kw_config_token *token = &config->tokens[i];
        free(token->name);
        wipe_free(token->uri);
        free(token->module);
        free(token->init_args);
        free(token->pin_source);
        free(token->failover);
        free(token->token_source);
        free(token->resource);
        free(token->ca);
        free(token->certificate);
        free(token->key);
    }
    for (size_t i = 0; i < config->key_count; i++) {
        free(config->keys[i].version);
        wipe_free(config->keys[i].uri);
    }
    free(config->tokens);
    free(config->keys);
    free(config->life.records_key);
    free(config->life.catalogue);
    wipe_free(config->run.token);
    free(config->run.unwrap_alg);
    free(config->run.decompress);
    free(config->run.digest);
    free(config->audit.dir);
    free(config->sandbox.read);
    free(config->sandbox.write);
    free(config->sandbox.network);
    free(config->audit.journald);
    free(config->audit.syslog);
    *config = (struct kw_config){.tokens = NULL};
}
