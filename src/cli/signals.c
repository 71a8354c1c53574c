/* Signals: the state is the program's, so it is the one static thing here. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "cli.h"

static atomic_int requested; /* lock-free, so a handler may write it and any thread read it */
static atomic_int leave_at_once;
static atomic_int reload;

static void on_signal(int number)
{
    int saved = errno;
    if (atomic_load(&leave_at_once))
        _exit(kw_exit_code(KW_INTERRUPTED));
    if (atomic_exchange(&requested, 1)) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
    errno = saved;
}

void end_at_signal(void)
{
    atomic_store(&leave_at_once, 1);
}

void catch_signals(void)
{
    static const int stopping[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < KW_COUNT(stopping); i++)
        (void)sigaction(stopping[i], &action, NULL);
    /* A daemon that a module talks to may end, and a file may be larger than is allowed: both are
     * errors of a call then, and not the end of the program. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGXFSZ, &ignore, NULL);
}

bool stop_requested(void)
{
    return atomic_load(&requested) != 0;
}

static void on_hangup(int number)
{
    (void)number;
    atomic_store(&reload, 1);
}

void catch_reload(void)
{
    struct sigaction action = {.sa_handler = on_hangup};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGHUP, &action, NULL);
}

bool reload_requested(void)
{
    return atomic_exchange(&reload, 0) != 0;
}
