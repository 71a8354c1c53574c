/* A command that reads its standard input: the plaintext of one file, or an event. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher.h"

#define WAIT_MS 100

static enum kw_status add_entry(struct kw_buffer *request, const char *name, const char *value,
                                struct kw_error *err)
{
    enum kw_status status = kw_buffer_printf(request, err, "%s=%s", name, value);
    return status ? status : kw_buffer_append(request, "", 1, err);
}

static enum kw_status send_request(int launcher, const struct kw_buffer *request,
                                   const int fds[COMMAND_FDS], struct kw_error *err)
{
    union command_fds control = {.room = {0}};
    struct iovec part = {.iov_base = request->data, .iov_len = request->len};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(COMMAND_FDS * sizeof(int));
    memcpy(CMSG_DATA(head), fds, COMMAND_FDS * sizeof(int));
    ssize_t sent;
    do
        sent = sendmsg(launcher, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return kw_fail_errno(err, KW_FAULT, errno, "the process that starts commands is gone");
    return KW_OK;
}

/* All of a command's descriptors, on both sides. */
static enum kw_status make_ends(int pipe_ends[2], int talk[2], struct kw_error *err)
{
    if (pipe2(pipe_ends, O_CLOEXEC) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk) != 0)
        return kw_fail_errno(err, KW_WRITE, errno, "no pipe to the command can be made");
    return KW_OK;
}

enum kw_status kw_command_start(int launcher,
                                const struct kw_command_entry entries[KW_COMMAND_ENTRIES],
                                struct kw_command *ret_command, struct kw_error *err)
{
    int ends[2] = {-1, -1};
    int talk[2] = {-1, -1};
    struct kw_buffer request = KW_BUFFER_INIT(COMMAND_REQUEST_MAX);
    enum kw_status status = make_ends(ends, talk, err);
    for (size_t i = 0; i < KW_COMMAND_ENTRIES && !status; i++)
        status = add_entry(&request, entries[i].name, entries[i].value, err);
    if (!status) {
        const int fds[COMMAND_FDS] = {ends[0], talk[1], ends[1]};
        status = send_request(launcher, &request, fds, err);
    }
    kw_buffer_cleanup(&request);
    kw_close(&ends[0]);
    kw_close(&talk[1]);
    if (!status) {
        *ret_command = (struct kw_command){.input = ends[1], .talk = talk[0]};
        return KW_OK;
    }
    kw_close(&ends[1]);
    kw_close(&talk[0]);
    return status;
}

static void close_all(struct kw_command *command)
{
    kw_close(&command->input);
    kw_close(&command->talk);
}

/* Where the launcher went before it heard all that it was told, that is told first, once. */
static ssize_t take_answer(const struct kw_command *command, struct command_answer *said)
{
    ssize_t len;
    do
        len = recv(command->talk, said, sizeof(*said), 0);
    while (len < 0 && (errno == EINTR || errno == ECONNRESET));
    return len;
}

void kw_command_give_up(struct kw_command *command)
{
    struct command_answer said;
    /* The launcher takes it that nothing more comes, and ends the command; its answer is the sign
     * that nothing of it is left. */
    if (shutdown(command->talk, SHUT_WR) == 0)
        (void)take_answer(command, &said);
    close_all(command);
}

static enum kw_status judge(const struct command_answer *said, const char *file,
                            struct kw_error *err)
{
    char shown[256];
    kw_printable(file, strlen(file), shown, sizeof(shown));
    switch (said->end) {
    case COMMAND_NOT_STARTED:
        return kw_fail_errno(err, KW_WRITE, said->number, "the command for %s can't be started",
                             shown);
    case COMMAND_KILLED:
        return kw_fail(err, KW_WRITE, "the command for %s was ended by signal %d", shown,
                       said->number);
    case COMMAND_EXITED:
        break;
    }
    if (said->number == 0)
        return KW_OK;
    return kw_fail(err, KW_WRITE, "the command for %s ended with exit status %d", shown,
                   said->number);
}

static bool has_answered(const struct kw_command *command)
{
    struct pollfd answered = {.fd = command->talk, .events = POLLIN};
    return poll(&answered, 1, WAIT_MS) > 0;
}

static enum kw_status hear(struct kw_command *command, const char *file, struct kw_error *err)
{
    struct command_answer said;
    ssize_t len = take_answer(command, &said);
    close_all(command);
    if (len != (ssize_t)sizeof(said))
        return kw_fail(err, KW_FAULT,
                       "the process that starts commands ended before the command did; see who "
                       "ended it");
    return judge(&said, file, err);
}

enum kw_status kw_command_finish(struct kw_command *command, const char *file,
                                 bool (*go_on)(void *context), void *context, struct kw_error *err)
{
    const char word = COMMAND_ALL_GIVEN;
    kw_close(&command->input);
    /* Where it fails, the answer is there already, or there will be none: both are heard next. */
    (void)send(command->talk, &word, sizeof(word), MSG_NOSIGNAL);
    while (!has_answered(command)) {
        if (go_on(context))
            continue;
        kw_command_give_up(command);
        return kw_fail(err, KW_INTERRUPTED, "stopped while a command worked on its file");
    }
    return hear(command, file, err);
}
