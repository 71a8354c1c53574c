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

static int connect_to_manager(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return -1;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') /* an abstract address */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0)
        kw_close(&fd);
    return fd;
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
static uint64_t watchdog_interval_ms(void)
{
    unsigned long long usec = 0;
    unsigned long long pid = 0;
    if (number_of("WATCHDOG_PID", &pid) && pid != (unsigned long long)getpid())
        return 0;
    return number_of("WATCHDOG_USEC", &usec) ? usec / 1000 / 2 : 0;
}

void manager_start(struct manager *manager)
{
    *manager = (struct manager){.fd = connect_to_manager(), .interval_ms = watchdog_interval_ms()};
}

void manager_tell(const struct manager *manager, const char *message)
{
    /* There is nobody to be told that this failed, and the manager notices by itself. */
    if (manager->fd >= 0)
        (void)send(manager->fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void manager_feed(struct manager *manager)
{
    uint64_t now = kw_now_ms();
    if (manager->interval_ms == 0 || now < manager->next_ms)
        return;
    manager->next_ms = now + manager->interval_ms;
    manager_tell(manager, "WATCHDOG=1");
}

void manager_end(struct manager *manager)
{
    manager_tell(manager, "STOPPING=1");
    kw_close(&manager->fd);
}
