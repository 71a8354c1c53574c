/* who: the person and the process that act. */
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit/audit.h"

/* The kernel's name of a process; it has at most 15 bytes. */
static void read_name(long pid, char *out, size_t size)
{
    char path[64];
    size_t len = 0;
    (void)snprintf(path, sizeof(path), "/proc/%ld/comm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && kw_read_full(fd, out, size - 1, path, &len, NULL))
        len = 0;
    kw_close(&fd);
    while (len > 0 && out[len - 1] == '\n')
        len--;
    out[len] = '\0';
}

void kw_who_am_i(struct kw_who *ret_who)
{
    struct kw_who who = {.uid = getuid(), .pid = getpid()};
    char buffer[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(getuid(), &entry, buffer, sizeof(buffer), &found) == 0 && found)
        (void)snprintf(who.login, sizeof(who.login), "%s", found->pw_name);
    if (gethostname(who.host, sizeof(who.host) - 1) != 0)
        who.host[0] = '\0';
    read_name(getpid(), who.process, sizeof(who.process));
    read_name(getppid(), who.parent, sizeof(who.parent));
    *ret_who = who;
}
