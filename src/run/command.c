/* A command that reads the plaintext of one file from its standard input. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal.h"

#define WAIT_MS  100
#define GRACE_MS 2000

/* PINs may be in the environment, so that little of it is handed on. */
static const char *const handed_on[] = {"PATH", "HOME", "USER",   "LOGNAME",
                                        "LANG", "TZ",   "LC_ALL", "TMPDIR"};

struct environment {
    char *entries[KW_COUNT(handed_on) + 4];
    size_t count;
};

static bool add_entry(struct environment *environment, const char *name, const char *value)
{
    char *entry = NULL;
    if (!value)
        return true;
    if (asprintf(&entry, "%s=%s", name, value) < 0)
        return false;
    environment->entries[environment->count++] = entry;
    return true;
}

static void environment_cleanup(struct environment *environment)
{
    for (size_t i = 0; i < environment->count; i++)
        free(environment->entries[i]);
}

static bool environment_fill(struct environment *environment, const struct kw_command_for *what)
{
    bool filled = true;
    for (size_t i = 0; i < KW_COUNT(handed_on) && filled; i++)
        filled = add_entry(environment, handed_on[i], getenv(handed_on[i]));
    return filled && add_entry(environment, "KEYWARD_DROP", what->drop) &&
           add_entry(environment, "KEYWARD_FILE", what->file) &&
           add_entry(environment, "KEYWARD_RUN", what->run);
}

/* No descriptor but the standard ones, no signal that is blocked or ignored, and a process group of
 * its own, that Ctrl-C does not reach: it is told to end when its file is given up. */
static int spawn(const char *text, char *const *environment, int input, pid_t *ret_pid)
{
    char *const argv[] = {(char *)"sh", (char *)"-c", (char *)text, NULL};
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
    if ((code = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)) == 0 &&
        (code = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)) == 0 &&
        (code =
             posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                       POSIX_SPAWN_SETSIGDEF)) == 0 &&
        (code = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
        (code = posix_spawnattr_setsigdefault(&attributes, &all)) == 0)
        code = posix_spawn(ret_pid, "/bin/sh", &actions, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return code;
}

enum kw_status kw_command_start(const char *text, const struct kw_command_for *what,
                                struct kw_command *ret_command, struct kw_error *err)
{
    int ends[2];
    struct environment environment = {.count = 0};
    struct kw_command command = {.input = -1, .pidfd = -1};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return kw_fail_errno(err, KW_WRITE, errno, "no pipe to the command can be made");
    int code = environment_fill(&environment, what)
                   ? spawn(text, environment.entries, ends[0], &command.pid)
                   : ENOMEM;
    environment_cleanup(&environment);
    kw_close(&ends[0]);
    command.input = ends[1];
    if (code == 0 && (command.pidfd = pidfd_open(command.pid, 0)) < 0) {
        code = errno;
        kw_command_give_up(&command);
    }
    if (code == 0) {
        *ret_command = command;
        return KW_OK;
    }
    kw_close(&command.input);
    return kw_fail_errno(err, KW_WRITE, code, "the command can't be started");
}

static bool has_ended(const struct kw_command *command, int wait_ms)
{
    struct pollfd ended = {.fd = command->pidfd, .events = POLLIN};
    return poll(&ended, 1, wait_ms) > 0;
}

/* Once it has ended, or was sent SIGKILL. */
static int reap(struct kw_command *command)
{
    int how = 0;
    while (waitpid(command->pid, &how, 0) < 0 && errno == EINTR)
        continue;
    kw_close(&command->pidfd);
    kw_close(&command->input);
    return how;
}

void kw_command_give_up(struct kw_command *command)
{
    (void)kill(-command->pid, SIGTERM);
    if (command->pidfd < 0 || !has_ended(command, GRACE_MS))
        (void)kill(-command->pid, SIGKILL);
    (void)reap(command);
}

static enum kw_status judge(int how, const char *file, struct kw_error *err)
{
    char shown[256];
    kw_printable(file, strlen(file), shown, sizeof(shown));
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return KW_OK;
    if (WIFEXITED(how))
        return kw_fail(err, KW_WRITE, "the command for %s ended with exit status %d", shown,
                       WEXITSTATUS(how));
    return kw_fail(err, KW_WRITE, "the command for %s was ended by signal %d", shown,
                   WTERMSIG(how));
}

enum kw_status kw_command_finish(struct kw_command *command, const char *file,
                                 bool (*go_on)(void *context), void *context, struct kw_error *err)
{
    kw_close(&command->input);
    while (!has_ended(command, WAIT_MS)) {
        if (go_on(context))
            continue;
        kw_command_give_up(command);
        return kw_fail(err, KW_INTERRUPTED, "stopped while a command worked on its file");
    }
    return judge(reap(command), file, err);
}
