/* What was asked for, or else configured, or else the default. */
#include <string.h>

#include "internal.h"

/* Deflate can't do more than 1032, so that this stops no honest file. */
#define MAX_RATIO 1100

static unsigned jobs_by_default(void)
{
    unsigned count = kw_processors();
    return count > KW_MAX_JOBS ? KW_MAX_JOBS : count;
}

/* Whether `asked`, or else `configured`, or else `yes`, is `yes` and not `no`. */
static enum kw_status choose(const char *what, const char *asked, const char *configured,
                             const char *yes, const char *no, bool *ret_yes, struct kw_error *err)
{
    const char *value = asked ? asked : configured ? configured : yes;
    if (strcmp(value, yes) != 0 && strcmp(value, no) != 0)
        return kw_fail(err, KW_USAGE, "%s is %s or %s", what, yes, no);
    *ret_yes = strcmp(value, yes) == 0;
    return KW_OK;
}

enum kw_status kw_settings_resolve(const struct kw_keyring *keyring, const char *decompress,
                                   const char *digest, unsigned jobs, struct settings *ret_settings,
                                   struct kw_error *err)
{
    const struct kw_config *config = kw_keyring_config(keyring);
    struct settings settings = {.jobs = jobs};
    enum kw_status status;
    if ((status = choose("decompress", decompress, config->run.decompress, "auto", "none",
                         &settings.gzip, err)) ||
        (status =
             choose("digest", digest, config->run.digest, "sha256", "none", &settings.digest, err)))
        return status;
    if (jobs > KW_MAX_JOBS)
        return kw_fail(err, KW_USAGE, "jobs is 1 to %d", KW_MAX_JOBS);
    if (settings.jobs == 0)
        settings.jobs = config->run.jobs > 0 ? (unsigned)config->run.jobs : jobs_by_default();
    if (settings.jobs > KW_MAX_JOBS)
        settings.jobs = KW_MAX_JOBS;
    settings.limits.ratio = config->run.max_ratio > 0 ? (uint64_t)config->run.max_ratio : MAX_RATIO;
    settings.limits.bytes = (uint64_t)config->run.max_plaintext_mib * 1024 * 1024;
    *ret_settings = settings;
    return KW_OK;
}
