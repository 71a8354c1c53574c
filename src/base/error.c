/* Errors: filling struct kw_error, and what each status is called. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <keyward/keyward.h>

#include "base/base.h"
#include "base/utf8.h"

struct status_row {
    enum kw_status status;
    const char *word;
    const char *meaning;
};

static const struct status_row statuses[] = {
    {KW_OK, "ok", "Done."},
    {KW_FAULT, "fault", "A fault of the program itself; please report it."},
    {KW_NO_MEMORY, "no-memory", "out of memory, or of memory that can be locked."},
    {KW_USAGE, "usage", "The call or the command line makes no sense."},
    {KW_CONFIG, "config", "A configuration file, a URI or a setting is wrong."},
    {KW_PIN_MISSING, "pin-missing", "A PIN is needed and there is none."},
    {KW_PIN_WRONG, "pin-wrong", "The token refused the PIN; it was sent once."},
    {KW_PIN_LOCKED, "pin-locked", "The PIN is locked, or one more wrong try would lock it."},
    {KW_DENIED, "denied", "Who asks may not do that."},
    {KW_DROP, "drop", "The drop's folder or files are not what a drop has."},
    {KW_METADATA, "metadata", "The metadata can't be read or contradicts itself."},
    {KW_NOT_ENCRYPTED, "not-encrypted", "No metadata says how the drop was encrypted."},
    {KW_KEY_NOT_FOUND, "key-not-found", "No token has the key."},
    {KW_KEY_AMBIGUOUS, "key-ambiguous", "More than one key answers to the name."},
    {KW_KEY_UNWRAP, "key-unwrap", "The key does not unwrap the data key."},
    {KW_KEY_UNUSABLE, "key-unusable", "The key, or the token, does not do what is asked."},
    {KW_MODULE, "module", "The PKCS#11 module can't be loaded or initialised."},
    {KW_TOKEN_NOT_FOUND, "token-not-found", "No token, or more than one, matches the URI."},
    {KW_TOKEN, "token", "The token failed."},
    {KW_DAMAGED, "damaged", "The ciphertext or what is in it is damaged."},
    {KW_READ, "read", "Reading failed."},
    {KW_WRITE, "write", "Writing failed."},
    {KW_EXISTS, "exists", "The output exists already."},
    {KW_AUDIT, "audit", "The audit trail can't be read or written, or was changed."},
    {KW_INTERRUPTED, "interrupted", "A signal, or the caller, asked to stop."},
};

static const struct status_row *find_status(enum kw_status status)
{
    for (size_t i = 0; i < KW_COUNT(statuses); i++) {
        if (statuses[i].status == status)
            return &statuses[i];
    }
    return NULL;
}

int kw_exit_code(enum kw_status status)
{
    return (int)(find_status(status) ? status : KW_FAULT) / 100;
}

const char *kw_status_name(enum kw_status status)
{
    const struct status_row *row = find_status(status);
    return row ? row->word : "unknown";
}

const char *kw_status_meaning(enum kw_status status)
{
    const struct status_row *row = find_status(status);
    return row ? row->meaning : "A status that this version does not know.";
}

const char *kw_version(void)
{
    return KW_VERSION;
}

/* Formatted apart from err, whose own message may be among the arguments. */
static enum kw_status fill(struct kw_error *err, enum kw_status status, int sys_errno,
                           unsigned long ck_rv, const char *format, va_list args)
    __attribute__((__format__(__printf__, 5, 0)));

static enum kw_status fill(struct kw_error *err, enum kw_status status, int sys_errno,
                           unsigned long ck_rv, const char *format, va_list args)
{
    if (!err)
        return status;
    struct kw_error error = {.status = status, .ck_rv = ck_rv, .sys_errno = sys_errno};
    size_t size = sizeof(error.message);
    int len = vsnprintf(error.message, size, format, args);
    if (len <= 0)
        len = snprintf(error.message, size, "%s", kw_status_meaning(status));
    if (sys_errno != 0 && (size_t)len < size) {
        char text[128];
        len += snprintf(error.message + len, size - (size_t)len, ": %s",
                        strerror_r(sys_errno, text, sizeof(text)));
    }
    if ((size_t)len >= size)
        kw_utf8_ellipsis(error.message, size);
    *err = error;
    return status;
}

enum kw_status kw_fail(struct kw_error *err, enum kw_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, status, 0, 0, format, args);
    va_end(args);
    return status;
}

enum kw_status kw_fail_errno(struct kw_error *err, enum kw_status status, int sys_errno,
                             const char *format, ...)
{
    va_list args;
    if (sys_errno == ENOMEM)
        status = KW_NO_MEMORY;
    va_start(args, format);
    fill(err, status, sys_errno, 0, format, args);
    va_end(args);
    return status;
}

enum kw_status kw_fail_ck(struct kw_error *err, enum kw_status status, unsigned long ck_rv,
                          const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, status, 0, ck_rv, format, args);
    va_end(args);
    return status;
}

enum kw_status kw_fail_memory(struct kw_error *err)
{
    return kw_fail(err, KW_NO_MEMORY, "out of memory; free some or raise the process's limit");
}
