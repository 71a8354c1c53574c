/* Asks on the terminal; for a PIN without echo. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

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

enum kw_status ask_pin(void *context, const char *token_label, char *pin, size_t capacity,
                       size_t *ret_len)
{
    (void)context;
    struct termios shown;
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return KW_PIN_MISSING;
    enum kw_status status = KW_PIN_MISSING;
    if (tcgetattr(tty, &shown) == 0) {
        struct termios hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        if (tcsetattr(tty, TCSAFLUSH, &hidden) == 0) {
            (void)dprintf(tty, "PIN for token \"%s\": ", token_label);
            status = read_line(tty, pin, capacity, ret_len);
            (void)dprintf(tty, "\n");
            (void)tcsetattr(tty, TCSAFLUSH, &shown);
        }
    }
    (void)close(tty);
    return status;
}
