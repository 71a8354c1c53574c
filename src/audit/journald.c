/* journald: systemd's native journal protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of
 * fields, NAME=VALUE and a newline. libsystemd's sd_journal_sendv would do the same, but it waits
 * where the socket is full, knows no other socket, and brings three more libraries into a process
 * that holds data keys. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit/forward.h"
#include "audit/internal.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* ---- fields ---- */

/* A value with a newline would need the protocol's other form; a record has none, but what its JSON
 * stands for may. */
static enum kw_status add_field(struct kw_buffer *message, const char *name, const char *value,
                                struct kw_error *err)
{
    char shown[KW_MESSAGE_SIZE];
    if (!value)
        return KW_OK;
    return kw_buffer_printf(message, err, "%s=%s\n", name,
                            kw_printable(value, strlen(value), shown, sizeof(shown)));
}

static enum kw_status add_sentence(struct kw_buffer *message, const cJSON *record,
                                   struct kw_error *err)
{
    static const char *const names[] = {"op", "phase", "status", "file", "detail"};
    struct kw_buffer text = KW_BUFFER_INIT(KW_RECORD_MAX);
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_COUNT(names) && !status; i++) {
        const char *value =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, names[i]));
        if (value)
            status = kw_buffer_printf(&text, err, "%s%s", text.len > 0 ? " " : "", value);
    }
    if (!status)
        status = kw_buffer_append(&text, "", 1, err);
    if (!status)
        status = add_field(message, "MESSAGE", (const char *)text.data, err);
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status format(const char *line, size_t len, struct kw_buffer *message,
                             struct kw_error *err)
{
    cJSON *record = NULL;
    uint64_t seq = 0;
    enum kw_status status = kw_record_parse(line, len, &record, err);
    if (status)
        return status;
    if (!(status = add_sentence(message, record, err)) &&
        !(status = kw_buffer_printf(message, err,
                                    "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=keyward\n",
                                    kw_record_severity(record), KW_SYSLOG_FACILITY)) &&
        !(status = add_field(message, "KEYWARD_OP",
                             cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "op")),
                             err)) &&
        !(status = add_field(message, "KEYWARD_RUN",
                             cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run")),
                             err)) &&
        kw_record_seq(line, len, &seq))
        status = kw_buffer_printf(message, err, "KEYWARD_SEQ=%llu\n", (unsigned long long)seq);
    if (!status)
        status = kw_buffer_printf(message, err, "KEYWARD_RECORD=%.*s\n", (int)len, line);
    cJSON_Delete(record);
    return status;
}

/* ---- sending ---- */

static enum kw_status connect_unix(struct kw_receiver *receiver, struct kw_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(receiver->address);
    if (len >= sizeof(address.sun_path))
        return kw_fail(err, KW_CONFIG, "the path is longer than a socket's may be");
    memcpy(address.sun_path, receiver->address, len + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return kw_fail_errno(err, KW_WRITE, errno, "no socket can be had");
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        int failed = errno;
        kw_close(&fd);
        return kw_fail_errno(err, KW_WRITE, failed, "it can't be connected to");
    }
    receiver->fd = fd;
    return KW_OK;
}

/* The message in a file that nobody can change any more, -1 and errno where that can't be had. */
static int make_memory_file(const struct kw_buffer *message)
{
    int fd = memfd_create("keyward-record", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    struct kw_error failure;
    int failed = 0;
    if (kw_write_full(fd, message->data, message->len, "a memory file", &failure))
        failed = failure.sys_errno;
    else if (fcntl(fd, F_ADD_SEALS, SEALS) != 0)
        failed = errno;
    if (failed) {
        kw_close(&fd);
        errno = failed;
    }
    return fd;
}

static ssize_t send_descriptor(int fd, int sent)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr message = {.msg_control = &control, .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(sent));
    memcpy(CMSG_DATA(header), &sent, sizeof(sent));
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

enum kw_status kw_journal_send(struct kw_waiter *waiter, int fd, const struct kw_buffer *message,
                               struct kw_error *err)
{
    int file = -1;
    int failed = 0;
    do {
        ssize_t sent = file >= 0 ? send_descriptor(fd, file)
                                 : send(fd, message->data, message->len, MSG_NOSIGNAL);
        failed = sent < 0 ? errno : 0;
        if (failed == EMSGSIZE && file < 0) {
            file = make_memory_file(message);
            failed = file < 0 ? errno : EINTR;
        } else if (failed == EAGAIN && !kw_wait_for(waiter, fd, POLLOUT, KW_NO_LIMIT)) {
            break;
        }
    } while (failed == EINTR || failed == EAGAIN);
    kw_close(&file);
    if (failed == EAGAIN)
        return kw_fail(err, KW_WRITE, "it takes no more");
    return failed ? kw_fail_errno(err, KW_WRITE, failed, "it can't be sent to") : KW_OK;
}

static enum kw_status send_message(struct kw_receiver *receiver, const struct kw_buffer *message,
                                   struct kw_error *err)
{
    return kw_journal_send(receiver->waiter, receiver->fd, message, err);
}

const struct kw_receiver_kind kw_journald = {
    .name = "journald", .connect = connect_unix, .format = format, .send = send_message};
