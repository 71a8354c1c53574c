#include "attack.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int read_file(void)
{
    const char *path = getenv("KW_ATTACK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int failed = fd < 0 ? errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return failed;
}

static int write_beside(void)
{
    const char *path = getenv("KW_ATTACK_FILE");
    char beside[4096];
    (void)snprintf(beside, sizeof(beside), "%s.taken", path ? path : "");
    int fd = open(beside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int failed = fd < 0 ? errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return failed;
}

static int connect_by_tcp(void)
{
    const char *port = getenv("KW_ATTACK_PORT");
    const struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)(port ? atoi(port) : 0)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed =
        fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ? errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return failed;
}

static int make_unix_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = fd < 0 ? errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return failed;
}

static int start_a_program(void)
{
    char *const arguments[] = {"true", NULL}, *const environment[] = {NULL};
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        (void)execve("/bin/true", arguments, environment);
        _exit(errno);
    }
    if (child < 0)
        return errno;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

void kw_attack(int report)
{
    static const struct {
        const char *name;
        int (*try)(void);
    } attempts[] = {
        {"read", read_file},        {"write", write_beside},      {"tcp", connect_by_tcp},
        {"unix", make_unix_socket}, {"program", start_a_program},
    };
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        char line[64];
        int failed = attempts[i].try();
        int len = snprintf(line, sizeof(line), "%s %s\n", attempts[i].name,
                           failed ? strerrorname_np(failed) : "done");
        (void)syscall(SYS_write, report, line, (size_t)len); /* a shim may have another write */
    }
}
