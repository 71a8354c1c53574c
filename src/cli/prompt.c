/* Asks on the terminal; for secrets without echo. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

#define PASSPHRASE_MAX 256

static enum kw_status read_line(int fd, char *line, size_t capacity, size_t *ret_len)
{
    size_t len = 0;
    for (;;) {
        char character = 0;
        ssize_t got = read(fd, &character, 1);
        if (got < 0 && errno == EINTR && !stop_requested())
            continue;
        if (stop_requested())
            return KW_INTERRUPTED;
        if (got < 0)
            return KW_READ;
        if (got == 0 || character == '\n')
            break;
        if (len == capacity)
            return KW_PIN_MISSING;
        line[len++] = character;
        kw_wipe(&character, sizeof(character));
    }
    *ret_len = len;
    return KW_OK;
}

enum kw_status ask_line(const char *question, char *line, size_t size)
{
    size_t len = 0;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return KW_PIN_MISSING;
    (void)dprintf(tty, "%s", question);
    enum kw_status status = read_line(tty, line, size - 1, &len);
    (void)close(tty);
    line[status ? 0 : len] = '\0';
    return status;
}

static enum kw_status ask(const char *question, const char *name, char *line, size_t capacity,
                          size_t *ret_len)
{
    struct termios shown;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return KW_PIN_MISSING;
    enum kw_status status = KW_PIN_MISSING;
    if (tcgetattr(tty, &shown) == 0) {
        struct termios hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        if (tcsetattr(tty, TCSAFLUSH, &hidden) == 0) {
            (void)dprintf(tty, "%s \"%s\": ", question, name);
            status = read_line(tty, line, capacity, ret_len);
            (void)dprintf(tty, "\n");
            (void)tcsetattr(tty, TCSAFLUSH, &shown);
        }
    }
    (void)close(tty);
    return status;
}

enum kw_status ask_pin(void *context, const char *token_label, char *pin, size_t capacity,
                       size_t *ret_len)
{
    (void)context;
    return ask("PIN for token", token_label, pin, capacity, ret_len);
}

/* KW_PIN_MISSING, KW_READ and KW_INTERRUPTED come without a message. */
static enum kw_status ask_secret(const char *question, const char *name, size_t max,
                                 struct kw_secret **ret_secret, struct kw_error *err)
{
    struct kw_secret *secret = NULL;
    size_t len = 0;
    enum kw_status status = kw_secret_new(max, &secret, err);
    if (status)
        return status;
    status = ask(question, name, (char *)kw_secret_data(secret), max, &len);
    if (status) {
        kw_secret_free(secret);
        return status;
    }
    kw_secret_set_len(secret, len);
    *ret_secret = secret;
    return KW_OK;
}

static enum kw_status ask_some_pin(const char *question, const char *token_label,
                                   struct kw_secret **ret_pin, struct kw_error *err)
{
    struct kw_secret *pin = NULL;
    enum kw_status status = ask_secret(question, token_label, KW_PIN_MAX, &pin, err);
    if (!status && kw_secret_len(pin) > 0) {
        *ret_pin = pin;
        return KW_OK;
    }
    kw_secret_free(pin);
    return kw_fail(err, status ? status : KW_PIN_MISSING,
                   "no PIN was given for token \"%s\"; type it on a terminal, or give "
                   "--pin-source and --so-pin-source",
                   token_label);
}

enum kw_status ask_new_pin(const char *first, const char *second, const char *token_label,
                           struct kw_secret **ret_pin, struct kw_error *err)
{
    struct kw_secret *pin = NULL, *again = NULL;
    enum kw_status status = ask_some_pin(first, token_label, &pin, err);
    if (!status)
        status = ask_some_pin(second, token_label, &again, err);
    if (!status && !kw_secret_equal(pin, again))
        status = kw_fail(err, KW_PIN_MISSING,
                         "the two PINs that were typed for token \"%s\" differ; start again",
                         token_label);
    kw_secret_free(again);
    if (status)
        kw_secret_free(pin);
    else
        *ret_pin = pin;
    return status;
}

enum kw_status ask_passphrase(const char *what, struct kw_secret **ret_passphrase,
                              struct kw_error *err)
{
    enum kw_status status = ask_secret("Passphrase of", what, PASSPHRASE_MAX, ret_passphrase, err);
    if (status)
        status = kw_fail(err, status,
                         "%s is encrypted and no passphrase was given; type it on a terminal, or "
                         "name its source with --passphrase-source",
                         what);
    return status;
}
