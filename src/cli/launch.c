/* The process that starts commands: of --exec, and of [service] notify. */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

static void serve(int requests, const char *command, char **argv)
{
    hide_pins(argv);
    static const int others[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < KW_COUNT(others); i++)
        (void)signal(others[i], SIG_IGN);
    kw_launcher_serve(requests, command);
    _exit(0);
}

enum kw_status launch(struct launched *launched, const char *command, char **argv,
                      struct kw_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return kw_fail_errno(err, KW_WRITE, errno, "no process for commands can be started");
    launched->pid = fork();
    if (launched->pid == 0) {
        kw_close(&ends[0]);
        serve(ends[1], command, argv);
    }
    int code = errno;
    kw_close(&ends[1]);
    launched->requests = ends[0];
    if (launched->pid < 0)
        return kw_fail_errno(err, KW_WRITE, code, "no process for commands can be started");
    return KW_OK;
}

void end_launched(struct launched *launched)
{
    bool started = launched->requests >= 0 && launched->pid > 0;
    kw_close(&launched->requests);
    while (started && waitpid(launched->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}
