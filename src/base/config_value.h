/* config_value: which values a setting takes, for config.c alone. */
#ifndef KW_CONFIG_VALUE_H
#define KW_CONFIG_VALUE_H

#include "base/ini.h"

enum section { IN_NONE, IN_TOKEN, IN_KEY, IN_KEYS, IN_RUN, IN_AUDIT, IN_CRYPTO, IN_SANDBOX };
enum type {
    AS_TEXT,
    AS_URI,
    AS_PATH,
    AS_PATHS,
    AS_PIN_SOURCE,
    AS_HOST_PORT,
    AS_CHOICE,
    AS_NUMBER,
    AS_YES_NO
};

struct setting {
    enum section section;
    const char *name;
    enum type type;
    size_t offset;       /* in the [token], the [key], or the whole configuration */
    const char *expects; /* for the error; of a choice also the values, with ", " between */
    long min, max;
};

/* Whether a setting that is a text may be that text; any other setting takes it. */
bool kw_setting_takes(const struct setting *setting, struct kw_slice value);
/* Digits of a number from min to max of an AS_NUMBER. */
bool kw_setting_number(const struct setting *setting, struct kw_slice value, long *ret_number);

#endif
