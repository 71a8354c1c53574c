/* The configuration: reading it from text. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/config_value.h"

#define NAME_BYTES 127

/* One text on its way in. */
struct reading {
    struct kw_config *config;
    const char *what;
    size_t line;
    const struct section *section;
    void *target;                      /* what the current section's offsets start from */
    size_t place;                      /* of that in `seen` */
    uint32_t seen[PLACES];             /* has a bit for each setting that the text gave already */
    size_t failover_lines[TOKENS_MAX]; /* where a token got its failover; 0: not in this text */
    struct kw_error *err;
};

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

static char *name_of(const void *entry)
{
    char *name = NULL;
    memcpy(&name, entry, sizeof(name));
    return name;
}

/* One more entry of the section, which has `count` of them. */
static enum kw_status add_entry(struct reading *in, size_t count, struct kw_slice name)
{
    const struct section *section = in->section;
    if (count == section->max)
        return kw_fail(in->err, KW_CONFIG, "%s:%zu: there are more than %zu %ss; take some out",
                       in->what, in->line, section->max, section->name);
    void *old = kw_section_entries(in->config, section);
    char *entries = reallocarray(old, count + 1, section->entry_size);
    if (!entries)
        return kw_fail_memory(in->err);
    memcpy((char *)in->config + section->entries_at, &entries, sizeof(entries));
    char *copy = strndup(name.data, name.len);
    if (!copy)
        return kw_fail_memory(in->err);
    char *entry = entries + count * section->entry_size;
    memset(entry, 0, section->entry_size);
    memcpy(entry, &copy, sizeof(copy));
    count++;
    memcpy((char *)in->config + section->count_at, &count, sizeof(count));
    return KW_OK;
}

static enum kw_status enter_entry(struct reading *in, struct kw_slice name)
{
    const struct section *section = in->section;
    size_t count = kw_section_count(in->config, section);
    const char *entries = kw_section_entries(in->config, section);
    size_t index = 0;
    while (index < count && !kw_slice_is(name, name_of(entries + index * section->entry_size)))
        index++;
    enum kw_status status = index == count ? add_entry(in, count, name) : KW_OK;
    if (status != KW_OK)
        return status;
    in->target = (char *)kw_section_entries(in->config, section) + index * section->entry_size;
    in->place = section->place + index;
    return KW_OK;
}

static const struct section *find_section(struct kw_slice name)
{
    for (size_t i = 0; i < KW_COUNT(kw_sections); i++) {
        if (kw_slice_is(name, kw_sections[i].name))
            return &kw_sections[i];
    }
    return NULL;
}

static enum kw_status enter_section(struct reading *in, const struct kw_ini_line *line)
{
    const struct section *found = find_section(line->name);
    if (!found)
        return fail_at(in, "the section is unknown; see keyward.conf(5) for those there are");
    if (!found->entry && line->value.len > 0)
        return kw_fail(in->err, KW_CONFIG, "%s:%zu: [%s] has no name after it", in->what, in->line,
                       found->name);
    if (found->entry && line->value.len == 0)
        return kw_fail(in->err, KW_CONFIG, "%s:%zu: a name is missing; write [%s %s]", in->what,
                       in->line, found->name, found->entry);
    if (line->value.len > NAME_BYTES)
        return fail_at(in, "the section's name is longer than 127 bytes; make it shorter");
    if (found->names && !kw_slice_is_one_of(line->value, found->names))
        return kw_fail(in->err, KW_CONFIG, "%s:%zu: the %s must be one of %s", in->what, in->line,
                       found->name, found->names);
    in->section = found;
    in->target = in->config;
    in->place = found->place;
    return found->entry ? enter_entry(in, line->value) : KW_OK;
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
    if (!in->section)
        return fail_at(in, "a setting needs a section above it, such as [run]");
    for (size_t i = 0; i < in->section->setting_count; i++) {
        const struct setting *setting = &in->section->settings[i];
        if (!kw_slice_is(line->name, setting->name))
            continue;
        if ((in->seen[in->place] >> i & 1) != 0)
            return kw_fail(in->err, KW_CONFIG,
                           "%s:%zu: %s is set a second time in this section; keep one of them",
                           in->what, in->line, setting->name);
        in->seen[in->place] |= UINT32_C(1) << i;
        if (strcmp(setting->name, "failover") == 0)
            in->failover_lines[in->place - FIRST_TOKEN] = in->line;
        return store_value(in, setting, line->value);
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

static bool is_text(const struct setting *setting)
{
    return setting->type != AS_NUMBER && setting->type != AS_YES_NO;
}

static void free_texts(const struct section *section, void *target)
{
    for (size_t i = 0; i < section->setting_count; i++) {
        if (is_text(&section->settings[i]))
            wipe_free(*(char **)(void *)((char *)target + section->settings[i].offset));
    }
}

static void free_entries(const struct kw_config *config, const struct section *section)
{
    char *entries = kw_section_entries(config, section);
    for (size_t i = 0; i < kw_section_count(config, section); i++) {
        char *entry = entries + i * section->entry_size;
        free(name_of(entry));
        free_texts(section, entry);
    }
    free(entries);
}

void kw_config_cleanup(struct kw_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < KW_COUNT(kw_sections); i++) {
        if (kw_sections[i].entry)
            free_entries(config, &kw_sections[i]);
        else
            free_texts(&kw_sections[i], config);
    }
    *config = (struct kw_config){.tokens = NULL};
}
