/* config_value: what settings there are and which values they take, for config.c alone. */
#ifndef KW_CONFIG_VALUE_H
#define KW_CONFIG_VALUE_H

#include "base/ini.h"

enum type {
    AS_TEXT,
    AS_URI,
    AS_URI_OR_HTTPS, /* of a token or key, or the address of one of a Key Vault */
    AS_PATH,
    AS_PATHS,
    AS_PATH_OR_URI,
    AS_PATH_OR_HTTPS,
    AS_HTTPS,
    AS_PIN_SOURCE,
    AS_HOST_PORT,
    AS_LISTEN, /* HOST:PORT whose port may be 0: any that is free */
    AS_HOST,   /* with a port or without */
    AS_PREFIX,
    AS_PAIR,
    AS_GLOBS,
    AS_RULES,
    AS_CHOICE,
    AS_NUMBER,
    AS_YES_NO
};

struct setting {
    const char *name;
    enum type type;
    size_t offset;       /* in the section's entry, or in the whole configuration */
    const char *expects; /* for the error; of a choice also the values, with ", " between */
    long min, max;
};

/* How many there may be of the sections with a name after them. */
enum {
    TOKENS_MAX = 64,
    KEYS_MAX = 1024,
    LISTENERS_MAX = 3,
    ISSUERS_MAX = 16,
    CLIENTS_MAX = 1024,
    SECTIONS_WITHOUT_NAME = 6
};
/* Each entry and each section without a name has a place of its own in a list of them all. */
enum {
    FIRST_TOKEN = 0,
    FIRST_KEY = FIRST_TOKEN + TOKENS_MAX,
    FIRST_LISTENER = FIRST_KEY + KEYS_MAX,
    FIRST_ISSUER = FIRST_LISTENER + LISTENERS_MAX,
    FIRST_CLIENT = FIRST_ISSUER + ISSUERS_MAX,
    FIRST_OTHER = FIRST_CLIENT + CLIENTS_MAX,
    PLACES = FIRST_OTHER + SECTIONS_WITHOUT_NAME
};

struct section {
    const char *name;
    const struct setting *settings;
    size_t setting_count; /* at most 32: one bit each says what was set already */
    size_t place;         /* of its first entry */
    /* Of sections with a name after them; else the first is NULL: */
    const char *entry;           /* NAME, VERSION */
    const char *names;           /* those there are, with ", " between, or NULL */
    size_t max;                  /* entries */
    size_t entry_size;           /* each starts with its name */
    size_t entries_at, count_at; /* offsets in the whole configuration */
};
#define KW_SECTIONS 11
extern const struct section kw_sections[KW_SECTIONS];

/* Where the entries of a section are, NULL where there are none yet. */
void *kw_section_entries(const struct kw_config *config, const struct section *section);
size_t kw_section_count(const struct kw_config *config, const struct section *section);

/* Whether a setting that is a text may be that text; any other setting takes it. */
bool kw_setting_takes(const struct setting *setting, struct kw_slice value);
/* Digits of a number from min to max of an AS_NUMBER. */
bool kw_setting_number(const struct setting *setting, struct kw_slice value, long *ret_number);
/* One of the texts with ", " between them. */
bool kw_slice_is_one_of(struct kw_slice slice, const char *choices);

#endif
