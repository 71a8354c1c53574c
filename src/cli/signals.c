/* Signals: the state is the program's, so it is the one static thing here. */
#include <signal.h>

#include "cli.h"

static volatile sig_atomic_t requested;

static void on_signal(int number)
{
    if (requested) {
        (void)signal(number, SIG_DFL);
        (void)raise(number);
    }
    requested = 1;
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
    return requested != 0;
}
