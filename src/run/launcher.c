/* launcher: a process of its own that starts commands for this one.
 *
 * It is there before the process is confined, so commands are not; and it holds the writing end of
 * each command's input until it is told that this was all: a command whose file is damaged, or
 * whose keyward is killed, is ended by a signal and never sees an end of its input. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher.h"

#define GRACE_MS     2000
#define NO_MORE_TIME UINT64_MAX

/* PINs may be in the environment, so that little of it is handed on. */
static const char *const handed_on[] = {"PATH", "HOME", "USER",   "LOGNAME",
                                        "LANG", "TZ",   "LC_ALL", "TMPDIR"};

/* A command at work. */
struct running {
    pid_t pid; /* and of its process group */
    int pidfd;
    int control;
    int held;            /* the writing end of its input */
    bool told;           /* to end */
    uint64_t kill_at_ms; /* or NO_MORE_TIME */
};

#define ENVIRONMENT_MAX (KW_COMMAND_ENTRIES + KW_COUNT(handed_on) + 1)

struct launcher {
    const char *command;
    char *handed[KW_COUNT(handed_on)]; /* "NAME=VALUE", or NULL */
    int requests;                      /* -1 when the other side is gone */
    struct running running[KW_MAX_JOBS];
    size_t count;
};

/* ---- one command ---- */

/* `text`, of `len` bytes, is the entries that were sent, each with a NUL. */
static void fill_environment(const struct launcher *launcher, char *text, size_t len,
                             char *entries[ENVIRONMENT_MAX])
{
    size_t count = 0;
    for (size_t at = 0; at < len && count < KW_COMMAND_ENTRIES; at += strlen(text + at) + 1)
        entries[count++] = text + at;
    for (size_t i = 0; i < KW_COUNT(handed_on); i++)
        if (launcher->handed[i])
            entries[count++] = launcher->handed[i];
    entries[count] = NULL;
}

/* No descriptor but the standard ones, no signal that is blocked or ignored, and a process group of
 * its own, which Ctrl-C does not reach. */
static int spawn(const char *command, char *const *environment, int input, pid_t *ret_pid)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0)
        return code;
    if ((code = posix_spawnattr_init(&attributes)) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    const short flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if ((code = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)) == 0 &&
        (code = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)) == 0 &&
        (code = posix_spawnattr_setflags(&attributes, flags)) == 0 &&
        (code = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
        (code = posix_spawnattr_setsigdefault(&attributes, &all)) == 0)
        code = posix_spawn(ret_pid, "/bin/sh", &actions, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return code;
}

static void answer(int control, enum command_end end, int number)
{
    const struct command_answer said = {.end = end, .number = number};
    /* Who does not listen any more has given up the command. */
    (void)send(control, &said, sizeof(said), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void start(struct launcher *launcher, char *text, size_t len, int fds[COMMAND_FDS])
{
    char *environment[ENVIRONMENT_MAX];
    struct running running = {
        .pidfd = -1, .control = fds[1], .held = fds[2], .kill_at_ms = NO_MORE_TIME};
    fill_environment(launcher, text, len, environment);
    int code = launcher->count < KW_MAX_JOBS
                   ? spawn(launcher->command, environment, fds[0], &running.pid)
                   : EAGAIN;
    if (code == 0 && (running.pidfd = pidfd_open(running.pid, 0)) < 0) {
        code = errno;
        (void)kill(-running.pid, SIGKILL);
        (void)waitpid(running.pid, NULL, 0);
    }
    kw_close(&fds[0]);
    if (code == 0) {
        launcher->running[launcher->count++] = running;
        return;
    }
    answer(running.control, COMMAND_NOT_STARTED, code);
    kw_close(&running.control);
    kw_close(&running.held);
}

/* ---- what the other side asks for ---- */

static void take_fds(const struct msghdr *message, int fds[COMMAND_FDS], size_t *ret_count)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    *ret_count = 0;
    if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
        return;
    *ret_count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    if (*ret_count > COMMAND_FDS)
        *ret_count = COMMAND_FDS;
    memcpy(fds, CMSG_DATA(head), *ret_count * sizeof(int));
}

static void take_request(struct launcher *launcher)
{
    char text[COMMAND_REQUEST_MAX + 1];
    union command_fds control;
    struct iovec part = {.iov_base = text, .iov_len = COMMAND_REQUEST_MAX};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    int fds[COMMAND_FDS] = {-1, -1, -1};
    size_t count = 0;
    ssize_t len = recvmsg(launcher->requests, &message, MSG_CMSG_CLOEXEC);
    if (len < 0 && errno != ECONNRESET && errno != EBADF)
        return; /* for want of memory, say: the other side still waits */
    if (len <= 0) {
        kw_close(&launcher->requests);
        return;
    }
    text[len] = '\0';
    take_fds(&message, fds, &count);
    if (count == COMMAND_FDS) {
        start(launcher, text, (size_t)len, fds);
        return;
    }
    for (size_t i = 0; i < count; i++)
        kw_close(&fds[i]);
}

static void tell_to_end(struct running *running)
{
    if (running->told)
        return;
    running->told = true;
    (void)kill(-running->pid, SIGTERM);
    running->kill_at_ms = kw_now_ms() + GRACE_MS;
}

/* COMMAND_ALL_GIVEN ends its input; anything else, and the other side's end, the command. */
static void take_word(struct running *running)
{
    char word = 0;
    ssize_t len = recv(running->control, &word, sizeof(word), MSG_DONTWAIT);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (len == 1 && word == COMMAND_ALL_GIVEN)
        kw_close(&running->held);
    else
        tell_to_end(running);
}

static void take_end(struct launcher *launcher, size_t index)
{
    struct running *running = &launcher->running[index];
    int how = 0;
    /* What it has left in its process group would take the part that was given for all of it. The
     * group's number is its own as long as it was not waited for. */
    if (running->told || running->held >= 0)
        (void)kill(-running->pid, SIGKILL);
    while (waitpid(running->pid, &how, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(how))
        answer(running->control, COMMAND_EXITED, WEXITSTATUS(how));
    else
        answer(running->control, COMMAND_KILLED, WTERMSIG(how));
    kw_close(&running->pidfd);
    kw_close(&running->control);
    kw_close(&running->held);
    *running = launcher->running[--launcher->count];
}

/* ---- all of them ---- */

static int time_left(const struct launcher *launcher)
{
    uint64_t next = NO_MORE_TIME;
    uint64_t now = kw_now_ms();
    for (size_t i = 0; i < launcher->count; i++)
        if (launcher->running[i].kill_at_ms < next)
            next = launcher->running[i].kill_at_ms;
    if (next == NO_MORE_TIME)
        return -1;
    return next <= now ? 0 : (int)(next - now);
}

static void kill_late_ones(struct launcher *launcher)
{
    for (size_t i = 0; i < launcher->count; i++) {
        struct running *running = &launcher->running[i];
        if (kw_now_ms() < running->kill_at_ms)
            continue;
        (void)kill(-running->pid, SIGKILL);
        running->kill_at_ms = NO_MORE_TIME;
    }
}

/* One of them at a time, from the last on: its place may be taken by another one. */
static void look_at_all(struct launcher *launcher)
{
    struct pollfd polled[1 + 2 * KW_MAX_JOBS];
    size_t count = launcher->count;
    polled[0] = (struct pollfd){.fd = launcher->requests, .events = POLLIN};
    for (size_t i = 0; i < count; i++) {
        const struct running *running = &launcher->running[i];
        /* One that was told to end has nothing more to hear. */
        polled[1 + 2 * i] =
            (struct pollfd){.fd = running->told ? -1 : running->control, .events = POLLIN};
        polled[2 + 2 * i] = (struct pollfd){.fd = running->pidfd, .events = POLLIN};
    }
    if (poll(polled, 1 + 2 * count, time_left(launcher)) < 0)
        return;
    for (size_t i = count; i-- > 0;) {
        if (polled[1 + 2 * i].revents != 0)
            take_word(&launcher->running[i]);
        if (polled[2 + 2 * i].revents != 0)
            take_end(launcher, i);
    }
    kill_late_ones(launcher);
    if (polled[0].revents != 0)
        take_request(launcher);
}

/* Others of this user can read what a process began with, as long as it is there. */
static void take_environment(struct launcher *launcher)
{
    for (size_t i = 0; i < KW_COUNT(handed_on); i++) {
        const char *value = getenv(handed_on[i]);
        if (value && asprintf(&launcher->handed[i], "%s=%s", handed_on[i], value) < 0)
            launcher->handed[i] = NULL;
    }
    for (char **entry = environ; *entry; entry++)
        kw_wipe(*entry, strlen(*entry));
}

void kw_launcher_serve(int requests, const char *command)
{
    struct launcher launcher = {.command = command, .requests = requests};
    take_environment(&launcher);
    while (launcher.requests >= 0 || launcher.count > 0)
        look_at_all(&launcher);
    for (size_t i = 0; i < KW_COUNT(handed_on); i++)
        free(launcher.handed[i]);
}
