/* What the service manager is told: sd_notify(3)'s protocol, one datagram a message. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli.h"

void notify(const char *message)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') /* an abstract address */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    /* There is nobody to be told that this failed, and the manager notices by itself. */
    if (fd >= 0)
        (void)sendto(fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT,
                     (const struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    kw_close(&fd);
}

static bool number_of(const char *name, unsigned long long *ret_number)
{
    const char *text = getenv(name);
    char *end = NULL;
    if (!text || *text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return *end == '\0' && errno == 0;
}

/* Half of the time that is left to the program. */
void watchdog_start(struct watchdog *watchdog)
{
    unsigned long long usec = 0;
    unsigned long long pid = 0;
    *watchdog = (struct watchdog){.interval_ms = 0};
    if (number_of("WATCHDOG_PID", &pid) && pid != (unsigned long long)getpid())
        return;
    if (number_of("WATCHDOG_USEC", &usec))
        watchdog->interval_ms = usec / 1000 / 2;
}

void watchdog_feed(struct watchdog *watchdog)
{
    uint64_t now = kw_now_ms();
    if (watchdog->interval_ms == 0 || now < watchdog->next_ms)
        return;
    watchdog->next_ms = now + watchdog->interval_ms;
    notify("WATCHDOG=1");
}
