/* A command that gives access tokens, started without a shell; by a process of its own where this
 * one is confined. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vault/internal.h"

#define ARGUMENTS_MAX   64
#define ENTRIES_MAX     128
#define COMMAND_TIME_MS 60000

/* PINs may be in the environment, so that only what such commands need is handed on. */
static const char *const handed_on[] = {
    "PATH=",   "HOME=",       "USER=",        "LOGNAME=",  "LANG=",  "TZ=",       "LC_ALL=",
    "TMPDIR=", "HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=", "AZURE_", "IDENTITY_", "MSI_",
    "ARM_",    "SSL_CERT_",   "REQUESTS_CA_", "XDG_",      "AWS_",   "GOOGLE_",
};

static void fill_environment(char *entries[ENTRIES_MAX + 1])
{
    size_t count = 0;
    for (char **entry = environ; entry && *entry && count < ENTRIES_MAX; entry++)
        for (size_t i = 0; i < KW_COUNT(handed_on); i++)
            if (strncasecmp(*entry, handed_on[i], strlen(handed_on[i])) == 0) {
                entries[count++] = *entry;
                break;
            }
    entries[count] = NULL;
}

/* Words with blanks between; there are no quotes. False: too many. `text` is taken apart. */
static bool split(char *text, char *words[ARGUMENTS_MAX + 1])
{
    size_t count = 0;
    char *word;
    while ((word = strsep(&text, " "))) {
        if (word[0] == '\0')
            continue;
        if (count == ARGUMENTS_MAX)
            return false;
        words[count++] = word;
    }
    words[count] = NULL;
    return count > 0;
}

/* What it writes goes to `output`; what it complains of to where this process's complaints do. */
static int spawn(char *const *words, int output, pid_t *ret_pid)
{
    char *entries[ENTRIES_MAX + 1];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    fill_environment(entries);
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0)
        return code;
    if ((code = posix_spawnattr_init(&attributes)) != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    if (!(code = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) &&
        !(code = posix_spawn_file_actions_adddup2(&actions, output, 1)) &&
        !(code = posix_spawn_file_actions_addclosefrom_np(&actions, 3)) &&
        !(code = posix_spawnattr_setsigmask(&attributes, &none)) &&
        !(code = posix_spawnattr_setsigdefault(&attributes, &all)) &&
        !(code = posix_spawnattr_setpgroup(&attributes, 0)) &&
        !(code = posix_spawnattr_setflags(
              &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP)))
        code = posix_spawn(ret_pid, words[0], &actions, &attributes, words, entries);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return code;
}

/* ---- this process starts it ---- */

static int time_left(uint64_t deadline_ms)
{
    uint64_t now = kw_now_ms();
    return now >= deadline_ms ? 0 : (int)(deadline_ms - now);
}

/* False: it wrote too much, or not all of it in time. */
static bool read_all(int fd, uint64_t deadline_ms, struct kw_buffer *text)
{
    for (;;) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        int ready = poll(&polled, 1, time_left(deadline_ms));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0 || text->len == text->max)
            return false;
        ssize_t got = read(fd, text->data + text->len, text->max - text->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        text->len += (size_t)got;
    }
}

static enum kw_status fail_command(const char *why, struct kw_error *err)
{
    return kw_fail(err, KW_DENIED,
                   "the command of token-source gives no access token: %s; run it by hand to see "
                   "why",
                   why);
}

static enum kw_status wait_for(pid_t pid, bool good, struct kw_error *err)
{
    char why[64];
    int how = 0;
    if (!good)
        (void)kill(-pid, SIGKILL);
    while (waitpid(pid, &how, 0) < 0 && errno == EINTR)
        continue;
    if (!good)
        return fail_command("it takes too long, or writes more than a token", err);
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return KW_OK;
    if (WIFEXITED(how))
        (void)snprintf(why, sizeof(why), "it ends with exit status %d", WEXITSTATUS(how));
    else
        (void)snprintf(why, sizeof(why), "a signal ends it");
    return fail_command(why, err);
}

static enum kw_status run_here(const char *command, uint64_t deadline_ms, struct kw_buffer *text,
                               struct kw_error *err)
{
    char *words[ARGUMENTS_MAX + 1];
    int ends[2];
    pid_t pid = -1;
    char *copy = strdup(command);
    if (!copy || pipe2(ends, O_CLOEXEC) != 0) {
        free(copy);
        return kw_fail_memory(err);
    }
    int code = split(copy, words) ? spawn(words, ends[1], &pid) : E2BIG;
    kw_close(&ends[1]);
    enum kw_status status;
    if (code != 0)
        status = kw_fail_errno(err, KW_DENIED, code,
                               "the command of token-source can't be started; check its path");
    else
        status = wait_for(pid, read_all(ends[0], deadline_ms, text), err);
    kw_close(&ends[0]);
    free(copy);
    return status;
}

/* ---- another one does ---- */

/* The answer to any datagram: this, and as many bytes after it. */
struct reply {
    enum kw_status status;
    char message[KW_MESSAGE_SIZE];
};

/* Others of this user can read what a process began with, as long as it is there. */
static void take_environment(char *entries[ENTRIES_MAX + 1])
{
    fill_environment(entries);
    size_t count = 0;
    for (size_t i = 0; entries[i]; i++)
        if ((entries[count] = strdup(entries[i])))
            count++;
    entries[count] = NULL;
    for (char **entry = environ; entry && *entry; entry++)
        kw_wipe(*entry, strlen(*entry));
    environ = entries;
}

void kw_vault_serve_command(int socket, const char *command)
{
    char *entries[ENTRIES_MAX + 1];
    char **before = environ;
    char word;
    take_environment(entries);
    while (recv(socket, &word, sizeof(word), 0) > 0) {
        struct kw_buffer text = KW_BUFFER_INIT(KW_VAULT_SECRET_TEXT_MAX);
        struct kw_error err = {.message = ""};
        struct reply reply = {.status = kw_buffer_reserve(&text, text.max, &err)};
        if (!reply.status)
            reply.status = run_here(command, kw_now_ms() + COMMAND_TIME_MS, &text, &err);
        memcpy(reply.message, err.message, sizeof(reply.message));
        struct iovec parts[] = {{&reply, sizeof(reply)}, {text.data, reply.status ? 0 : text.len}};
        const struct msghdr message = {.msg_iov = parts, .msg_iovlen = KW_COUNT(parts)};
        (void)sendmsg(socket, &message, MSG_NOSIGNAL); /* whoever is gone has no use for it */
        kw_wipe(text.data, text.capacity);
        kw_buffer_cleanup(&text);
    }
    environ = before;
    for (size_t i = 0; entries[i]; i++)
        free(entries[i]);
}

static enum kw_status fail_server(struct kw_error *err)
{
    return kw_fail(err, KW_TOKEN,
                   "the process that starts the command of token-source does not answer; start "
                   "keyward again");
}

static enum kw_status ask_server(int server, uint64_t deadline_ms, struct kw_buffer *text,
                                 struct kw_error *err)
{
    struct reply reply;
    struct iovec parts[] = {{&reply, sizeof(reply)}, {text->data, text->max}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = KW_COUNT(parts)};
    struct pollfd polled = {.fd = server, .events = POLLIN};
    /* What a call that was given up has left behind. */
    while (recv(server, &reply, sizeof(reply), MSG_DONTWAIT) > 0)
        continue;
    if (send(server, "", 1, MSG_NOSIGNAL) != 1)
        return fail_server(err);
    int ready;
    do
        ready = poll(&polled, 1, time_left(deadline_ms));
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return fail_command("it takes too long", err);
    ssize_t got = ready > 0 ? recvmsg(server, &message, MSG_CMSG_CLOEXEC) : -1;
    if (got < (ssize_t)sizeof(reply))
        return fail_server(err);
    if (reply.status)
        return kw_fail(err, reply.status, "%.*s", (int)sizeof(reply.message) - 1, reply.message);
    text->len = (size_t)got - sizeof(reply);
    return KW_OK;
}

enum kw_status kw_vault_run_command(const char *command, int server, uint64_t deadline_ms,
                                    struct kw_buffer *text, struct kw_error *err)
{
    enum kw_status status = kw_buffer_reserve(text, KW_VAULT_SECRET_TEXT_MAX, err);
    if (status)
        return status;
    return server >= 0 ? ask_server(server, deadline_ms, text, err)
                       : run_here(command, deadline_ms, text, err);
}
