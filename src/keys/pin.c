/* Where a PIN comes from. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define DEFAULT_CREDENTIAL "keyward-pin"

static enum kw_status read_fd(int fd, const char *what, struct kw_secret **ret_pin,
                              struct kw_error *err)
{
    struct kw_secret *pin = NULL;
    struct kw_error failure;
    enum kw_status status = kw_secret_read(fd, KW_PIN_MAX, true, what, &pin, &failure);
    if (status == KW_READ)
        return kw_fail_errno(err, KW_PIN_MISSING, failure.sys_errno, "cannot read the PIN from %s",
                             what);
    if (status) {
        if (err)
            *err = failure;
        return status;
    }
    if (kw_secret_len(pin) == 0) {
        kw_secret_free(pin);
        return kw_fail(err, KW_PIN_MISSING, "the first line of %s is empty; it should be the PIN",
                       what);
    }
    *ret_pin = pin;
    return KW_OK;
}

/* systemd lets the service's user read a credential by an ACL, which looks like a mode that lets
 * the group do so. */
static bool is_credential(const char *path)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    size_t len = folder ? strlen(folder) : 0;
    return len > 0 && strncmp(path, folder, len) == 0 && path[len] == '/';
}

static enum kw_status read_path(const char *path, struct kw_strings *warnings,
                                struct kw_secret **ret_pin, struct kw_error *err)
{
    char shown[256];
    kw_printable(path, strlen(path), shown, sizeof(shown));
    if (path[0] != '/')
        return kw_fail(err, KW_CONFIG, "PIN source \"%s\" is not an absolute path", shown);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return kw_fail_errno(err, KW_PIN_MISSING, errno, "cannot open the PIN file %s", shown);
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
        (info.st_mode & (is_credential(path) ? S_IRWXO : S_IRWXG | S_IRWXO)))
        kw_strings_warn(warnings, "the PIN file %s can be read by others; run chmod 600 on it",
                        shown);
    enum kw_status status = read_fd(fd, shown, ret_pin, err);
    kw_close(&fd);
    return status;
}

static enum kw_status read_descriptor(const char *number, struct kw_strings *warnings,
                                      struct kw_secret **ret_pin, struct kw_error *err)
{
    (void)warnings;
    char *end = NULL;
    errno = 0;
    long fd = strtol(number, &end, 10);
    if (errno || end == number || *end != '\0' || fd < 0 || fd > INT_MAX)
        return kw_fail(err, KW_CONFIG, "PIN source fd: wants a number, such as fd:3");
    char what[48];
    (void)snprintf(what, sizeof(what), "file descriptor %ld", fd);
    return read_fd((int)fd, what, ret_pin, err);
}

static enum kw_status read_environment(const char *name, struct kw_strings *warnings,
                                       struct kw_secret **ret_pin, struct kw_error *err)
{
    char shown[160];
    kw_printable(name, strlen(name), shown, sizeof(shown));
    char *value = getenv(name);
    if (!value || value[0] == '\0')
        return kw_fail(err, KW_PIN_MISSING, "environment variable %s, the PIN source, is not set",
                       shown);
    size_t len = strlen(value);
    if (len > KW_PIN_MAX)
        return kw_fail(err, KW_CONFIG, "environment variable %s is longer than any PIN", shown);
    enum kw_status status = kw_secret_from(value, len, ret_pin, err);
    if (status)
        return status;
    kw_wipe(value, len);
    kw_strings_warn(warnings,
                    "the PIN came from environment variable %s, which other processes may read; "
                    "use file:PATH instead",
                    shown);
    return KW_OK;
}

static enum kw_status read_credential(const char *name, struct kw_strings *warnings,
                                      struct kw_secret **ret_pin, struct kw_error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (!folder)
        return kw_fail(err, KW_PIN_MISSING,
                       "PIN source credential: needs CREDENTIALS_DIRECTORY, which systemd sets for "
                       "LoadCredential=");
    if (name[0] == '\0' || strchr(name, '/'))
        return kw_fail(err, KW_CONFIG, "PIN source credential: wants the name of a credential");
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (len < 0 || (size_t)len >= sizeof(path))
        return kw_fail(err, KW_CONFIG, "CREDENTIALS_DIRECTORY is too long");
    return read_path(path, warnings, ret_pin, err);
}

enum kw_status kw_pin_read(const char *source, struct kw_strings *warnings,
                           struct kw_secret **ret_pin, struct kw_error *err)
{
    static const struct {
        const char *prefix;
        enum kw_status (*read)(const char *rest, struct kw_strings *warnings,
                               struct kw_secret **ret_pin, struct kw_error *err);
    } sources[] = {
        {"file:", read_path},
        {"fd:", read_descriptor},
        {"env:", read_environment},
        {"credential:", read_credential},
        {"/", NULL},
    };
    for (size_t i = 0; i < KW_COUNT(sources); i++) {
        size_t len = strlen(sources[i].prefix);
        if (strncmp(source, sources[i].prefix, len) != 0)
            continue;
        if (!sources[i].read)
            return read_path(source, warnings, ret_pin, err);
        return sources[i].read(source + len, warnings, ret_pin, err);
    }
    char shown[160];
    return kw_fail(err, KW_CONFIG,
                   "PIN source \"%s\" is none of file:PATH, fd:N, env:NAME, credential:NAME and "
                   "prompt",
                   kw_printable(source, strlen(source), shown, sizeof(shown)));
}

static bool has_default_credential(void)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    int dirfd = folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dirfd < 0)
        return false;
    bool found = faccessat(dirfd, DEFAULT_CREDENTIAL, R_OK, 0) == 0;
    kw_close(&dirfd);
    return found;
}

static enum kw_status ask(struct kw_keyring *keyring, const struct kw_token_info *token,
                          struct kw_secret **ret_pin, struct kw_error *err)
{
    if (!keyring->ask_pin)
        return kw_fail(err, KW_PIN_MISSING,
                       "token \"%s\" needs a PIN and there is no terminal to ask on; set "
                       "pin-source in its [token] or in the URI",
                       token->label);
    struct kw_secret *pin = NULL;
    enum kw_status status = kw_secret_new(KW_PIN_MAX, &pin, err);
    if (status)
        return status;
    size_t len = 0;
    status = keyring->ask_pin(keyring->ask_pin_context, token->label, (char *)kw_secret_data(pin),
                              KW_PIN_MAX, &len);
    if (status || len == 0 || len > KW_PIN_MAX) {
        kw_secret_free(pin);
        return kw_fail(
            err, status ? status : KW_PIN_MISSING,
            "no PIN was given for token \"%s\"; type it on a terminal, or set pin-source "
            "in its [token] or in the URI",
            token->label);
    }
    kw_secret_set_len(pin, len);
    *ret_pin = pin;
    return KW_OK;
}

/* The warnings may be added to by other threads meanwhile. */
static enum kw_status read_source(struct kw_keyring *keyring, const char *source,
                                  struct kw_secret **ret_pin, struct kw_error *err)
{
    struct kw_strings warnings = KW_STRINGS_INIT(4);
    enum kw_status status = kw_pin_read(source, &warnings, ret_pin, err);
    for (size_t i = 0; i < warnings.count; i++)
        kw_keyring_warn(keyring, "%s", warnings.items[i]);
    kw_strings_cleanup(&warnings);
    return status;
}

static enum kw_status ask_no_one(struct kw_keyring *keyring, const struct kw_token_info *token,
                                 struct kw_secret **ret_pin, struct kw_error *err)
{
    (void)keyring;
    (void)ret_pin;
    return kw_fail(err, KW_PIN_MISSING,
                   "token \"%s\" needs a PIN that a person types, and no one is asked in the "
                   "background; set pin-source in its [token]",
                   token->label);
}

typedef enum kw_status (*ask_fn)(struct kw_keyring *keyring, const struct kw_token_info *token,
                                 struct kw_secret **ret_pin, struct kw_error *err);

static enum kw_status get_pin(struct kw_keyring *keyring, const struct kw_token_info *token,
                              ask_fn ask_person, struct kw_secret **ret_pin, struct kw_error *err)
{
    const struct token_choice *choice = &keyring->choice;
    const struct kw_secret *value = choice->uri ? kw_uri_pin_value(choice->uri) : NULL;
    if (value)
        return kw_secret_from(kw_secret_bytes(value), kw_secret_len(value), ret_pin, err);
    const char *source = choice->pin_source;
    /* Of the token that was asked for: another one would count it as a wrong PIN. */
    bool stands_in = keyring->twin && !keyring->failover;
    if (!source && !stands_in && has_default_credential())
        source = "credential:" DEFAULT_CREDENTIAL;
    if (!source || strcmp(source, "prompt") == 0)
        return ask_person(keyring, token, ret_pin, err);
    return read_source(keyring, source, ret_pin, err);
}

enum kw_status kw_keyring_pin(void *context, const struct kw_token_info *token,
                              struct kw_secret **ret_pin, struct kw_error *err)
{
    return get_pin(context, token, ask, ret_pin, err);
}

enum kw_status kw_keyring_pin_unattended(void *context, const struct kw_token_info *token,
                                         struct kw_secret **ret_pin, struct kw_error *err)
{
    return get_pin(context, token, ask_no_one, ret_pin, err);
}
