/* Forwarding: what arrives is what is on the trail, nobody waits for a receiver longer than is
 * allowed, and what was dropped is said. Receivers are sockets on the loopback. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit/forward.h"
#include "audit/internal.h"
#include "support.h"

#define TIMEOUT_MS 300
/* Above all that a wait may add: the thread's grace, and a machine that is busy. */
#define SLACK_MS 1500

/* ---- a name server that does not answer: what the linker wraps ---- */

int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found);

static sem_t answer, answered;

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **found)
{
    if (strcmp(host, "silent.example") != 0)
        return __real_getaddrinfo(host, port, hints, found);
    while (sem_wait(&answer) != 0)
        ;
    (void)sem_post(&answered);
    return EAI_AGAIN;
}

/* ---- receivers ---- */

/* The least that the kernel allows. */
static const int small_buffer = 1;

static int listen_tcp(char address[64])
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(name);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small_buffer, sizeof(int)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &len), 0);
    (void)snprintf(address, 64, "127.0.0.1:%u", ntohs(name.sin_port));
    return fd;
}

static struct kw_trail *open_forwarding(const char *syslog, const char *journald)
{
    const struct kw_trail_options options = {
        .dir = dir, .forward = {.journald = journald, .syslog = syslog, .timeout_ms = TIMEOUT_MS}};
    struct kw_trail *trail = NULL;
    struct kw_error err;
    assert_ok(kw_trail_open(crypto, &options, &trail, &err));
    return trail;
}

static void read_exactly(int fd, char *out, size_t len)
{
    for (size_t at = 0; at < len;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&wait, 1, 10000), 1);
        ssize_t got = read(fd, out + at, len - at);
        assert_true(got > 0);
        at += (size_t)got;
    }
}

/* RFC 6587 section 3.4.1: the record of the next message, in *ret_record. */
static void read_message(int fd, cJSON **ret_record, char **ret_line)
{
    static char message[KW_FORMAT_MAX];
    struct kw_error err;
    char digit = 0;
    size_t len = 0;
    for (read_exactly(fd, &digit, 1); digit != ' '; read_exactly(fd, &digit, 1)) {
        assert_true(digit >= (len == 0 ? '1' : '0') && digit <= '9');
        len = len * 10 + (size_t)(digit - '0');
        assert_true(len < sizeof(message));
    }
    read_exactly(fd, message, len);
    message[len] = '\0';
    char *line = strchr(message, '{');
    assert_true(strncmp(message, "<11", 3) == 0 || strncmp(message, "<10", 3) == 0);
    assert_non_null(line);
    assert_int_equal(line[-1], ' ');
    assert_ok(kw_record_parse(line, strlen(line), ret_record, &err));
    if (ret_line)
        *ret_line = line;
}

static const char *text_of(const cJSON *record, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, name));
    return text ? text : "";
}

static void check_message(int fd, uint64_t seq)
{
    cJSON *record = NULL;
    char *line = NULL;
    uint64_t found = 0;
    read_message(fd, &record, &line);
    assert_true(kw_record_seq(line, strlen(line), &found));
    assert_int_equal(found, seq);
    cJSON_Delete(record);
}

/* Ends the forwarding and returns how long that took. */
static uint64_t end(struct kw_trail *trail)
{
    uint64_t started = kw_now_ms();
    kw_trail_end_forwarding(trail);
    return kw_now_ms() - started;
}

/* ---- */

static void test_arrives(void **state)
{
    (void)state;
    char address[64];
    struct kw_loss losses[KW_RECEIVERS_MAX];
    int listener = listen_tcp(address);
    struct kw_trail *trail = open_forwarding(address, NULL);
    must_append(trail, 3);
    int fd = accept(listener, NULL, NULL);
    for (uint64_t seq = 0; seq < 4; seq++)
        check_message(fd, seq);
    must_append(trail, 2);
    check_message(fd, 4);
    check_message(fd, 5);
    assert_true(end(trail) < TIMEOUT_MS);
    assert_int_equal(kw_trail_losses(trail, losses), 0);
    /* And no more from then on. */
    must_append(trail, 1);
    kw_trail_free(trail);
    char byte;
    assert_int_equal(read(fd, &byte, 1), 0);
    (void)close(fd);
    (void)close(listener);
}

static void test_nobody_there(void **state)
{
    (void)state;
    char address[64], socket_path[300], sentence[KW_MESSAGE_SIZE], expected[KW_MESSAGE_SIZE];
    struct kw_loss losses[KW_RECEIVERS_MAX];
    (void)close(listen_tcp(address));
    (void)snprintf(socket_path, sizeof(socket_path), "%s/no-journal", scratch);
    struct kw_trail *trail = open_forwarding(address, socket_path);
    must_append(trail, 11);
    uint64_t took = end(trail);
    assert_true(took >= TIMEOUT_MS && took < TIMEOUT_MS + SLACK_MS);
    assert_int_equal(kw_trail_losses(trail, losses), 2);
    kw_loss_sentence(&losses[0], sentence);
    (void)snprintf(expected, sizeof(expected),
                   "12 records, 0 to 11, were not sent to journald %s: it can't be connected to: "
                   "No such file or directory",
                   socket_path);
    assert_string_equal(sentence, expected);
    kw_loss_sentence(&losses[1], sentence);
    (void)snprintf(expected, sizeof(expected),
                   "12 records, 0 to 11, were not sent to syslog %s: it can't be connected to: "
                   "Connection refused",
                   address);
    assert_string_equal(sentence, expected);
    /* It is said once. */
    assert_int_equal(kw_trail_losses(trail, losses), 0);
    assert_int_equal(end(trail), 0);
    kw_trail_free(trail);
}

static void test_never_reads(void **state)
{
    (void)state;
    char address[64];
    struct kw_loss losses[KW_RECEIVERS_MAX];
    int listener = listen_tcp(address);
    struct kw_trail *trail = open_forwarding(address, NULL);
    must_append(trail, KW_DEEDS_MAX);
    uint64_t took = end(trail);
    assert_true(took >= TIMEOUT_MS && took < TIMEOUT_MS + SLACK_MS);
    /* What lies in this host's buffers has not arrived. */
    assert_int_equal(kw_trail_losses(trail, losses), 1);
    assert_int_equal(losses[0].last, KW_DEEDS_MAX);
    assert_true(losses[0].count > KW_DEEDS_MAX / 2);
    assert_int_equal(losses[0].count, losses[0].last - losses[0].first + 1);
    assert_string_equal(losses[0].why, "it did not take them in time");
    kw_trail_free(trail);
    (void)close(listener);
}

/* Reads one that says that records from `seq` on are missing; gives the next one that is not. */
static uint64_t check_loss(int fd, uint64_t seq)
{
    cJSON *record = NULL;
    unsigned long long count = 0, first = 0, last = 0;
    read_message(fd, &record, NULL);
    assert_null(cJSON_GetObjectItemCaseSensitive(record, "seq"));
    assert_string_equal(text_of(record, "op"), KW_TRAIL_FORWARD);
    const char *sentence = text_of(record, "detail");
    assert_int_equal(sscanf(sentence, "%llu records, %llu to %llu", &count, &first, &last), 3);
    assert_non_null(strstr(sentence, ": it does not keep up"));
    assert_int_equal(first, seq);
    assert_int_equal(count, last - first + 1);
    cJSON_Delete(record);
    return last + 1;
}

/* A receiver that was too slow gets all that the queue held, then what it missed, then the rest.
 * While records come on, what it missed may be told in several pieces. */
static void test_gap(void **state)
{
    (void)state;
    char address[64], sentence[KW_MESSAGE_SIZE];
    struct kw_loss losses[KW_RECEIVERS_MAX];
    int listener = listen_tcp(address);
    struct kw_trail *trail = open_forwarding(address, NULL);
    uint64_t records = 1;
    for (; records < KW_QUEUE_RECORDS + 2000; records += KW_DEEDS_MAX)
        must_append(trail, KW_DEEDS_MAX);
    assert_int_equal(kw_trail_losses(trail, losses), 1);
    kw_loss_sentence(&losses[0], sentence);
    assert_non_null(strstr(sentence, ": it does not keep up"));
    assert_int_equal(losses[0].last, records - 1);
    int fd = accept(listener, NULL, NULL);
    uint64_t seq = 0;
    for (; seq < losses[0].first; seq++)
        check_message(fd, seq);
    while (seq < records)
        seq = check_loss(fd, seq);
    assert_int_equal(seq, records);
    must_append(trail, 1);
    check_message(fd, records);
    assert_true(end(trail) < TIMEOUT_MS);
    assert_int_equal(kw_trail_losses(trail, losses), 0);
    kw_trail_free(trail);
    (void)close(fd);
    (void)close(listener);
}

/* What a connection that broke had not delivered is sent on the next one. */
static void test_reconnects(void **state)
{
    (void)state;
    char address[64];
    struct kw_loss losses[KW_RECEIVERS_MAX];
    int listener = listen_tcp(address);
    struct kw_trail *trail = open_forwarding(address, NULL);
    must_append(trail, 200);
    int fd = accept(listener, NULL, NULL);
    check_message(fd, 0);
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    (void)close(fd);
    fd = accept(listener, NULL, NULL);
    cJSON *record = NULL;
    char *line = NULL;
    uint64_t seq = 0;
    read_message(fd, &record, &line);
    assert_true(kw_record_seq(line, strlen(line), &seq));
    cJSON_Delete(record);
    /* Only what the first one's host had taken is not among them. */
    assert_in_range(seq, 1, 100);
    while (++seq <= 200)
        check_message(fd, seq);
    assert_true(end(trail) < TIMEOUT_MS);
    assert_int_equal(kw_trail_losses(trail, losses), 0);
    kw_trail_free(trail);
    (void)close(fd);
    (void)close(listener);
}

static void test_silent_name_server(void **state)
{
    (void)state;
    struct kw_loss losses[KW_RECEIVERS_MAX];
    struct kw_trail *trail = open_forwarding("silent.example:514", NULL);
    must_append(trail, 2);
    uint64_t took = end(trail);
    assert_true(took >= TIMEOUT_MS && took < TIMEOUT_MS + SLACK_MS);
    assert_int_equal(kw_trail_losses(trail, losses), 1);
    assert_int_equal(losses[0].count, 3);
    uint64_t started = kw_now_ms();
    kw_trail_free(trail);
    assert_true(kw_now_ms() - started < SLACK_MS);
    /* The thread that was left to itself ends by itself. */
    assert_int_equal(sem_post(&answer), 0);
    while (sem_wait(&answered) != 0)
        ;
    (void)usleep(50000);
}

/* ---- journald's protocol ---- */

static int bind_journal(char path[300])
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    (void)snprintf(path, 300, "%s/journal", scratch);
    assert_true(strlen(path) < sizeof(name.sun_path));
    memcpy(name.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
    return fd;
}

static void test_journal_fields(void **state)
{
    (void)state;
    char path[300], text[KW_FORMAT_MAX], *file = NULL;
    size_t file_len = 0;
    int fd = bind_journal(path);
    struct kw_trail *trail = open_forwarding(NULL, path);
    must_append(trail, 1);
    assert_true(recv(fd, text, sizeof(text), 0) > 0);
    ssize_t len = recv(fd, text, sizeof(text) - 1, 0);
    assert_true(len > 0);
    text[len] = '\0';
    read_text(in_trail("trail-000000000000.jsonl"), &file, &file_len);
    const char *line = strchr(file, '\n') + 1;
    char expected[KW_FORMAT_MAX];
    (void)snprintf(expected, sizeof(expected),
                   "MESSAGE=unwrap intent part-0001.json\nPRIORITY=6\nSYSLOG_FACILITY=13\n"
                   "SYSLOG_IDENTIFIER=keyward\nKEYWARD_OP=unwrap\n"
                   "KEYWARD_RUN=00112233445566778899aabbccddeeff\nKEYWARD_SEQ=1\n"
                   "KEYWARD_RECORD=%s",
                   line);
    assert_string_equal(text, expected);
    assert_true(end(trail) < TIMEOUT_MS);
    kw_trail_free(trail);
    free(file);
    (void)close(fd);
}

static int receive_descriptor(int fd)
{
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    int file = -1;
    assert_int_equal(recvmsg(fd, &message, MSG_CMSG_CLOEXEC), 0);
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    assert_non_null(header);
    assert_int_equal(header->cmsg_level, SOL_SOCKET);
    assert_int_equal(header->cmsg_type, SCM_RIGHTS);
    assert_int_equal(header->cmsg_len, CMSG_LEN(sizeof(int)));
    memcpy(&file, CMSG_DATA(header), sizeof(file));
    return file;
}

/* What is too large for a datagram comes as a sealed file. */
static void test_journal_memory_file(void **state)
{
    (void)state;
    enum { LARGE = 100000 };
    static uint8_t large[LARGE], back[LARGE + 1];
    int pair[2];
    struct kw_error err;
    struct kw_waiter waiter;
    struct stat info;
    memset(large, 'x', sizeof(large));
    const struct kw_buffer message = {.data = large, .len = LARGE, .max = LARGE};
    assert_ok(kw_waiter_init(&waiter, &err));
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small_buffer, sizeof(int)), 0);
    assert_ok(kw_journal_send(&waiter, pair[0], &message, &err));
    int file = receive_descriptor(pair[1]);
    assert_int_equal(fcntl(file, F_GET_SEALS),
                     F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    assert_int_equal(fstat(file, &info), 0);
    assert_int_equal(info.st_size, LARGE);
    assert_int_equal(pread(file, back, sizeof(back), 0), LARGE);
    assert_memory_equal(back, large, LARGE);
    (void)close(file);
    (void)close(pair[0]);
    (void)close(pair[1]);
    kw_waiter_cleanup(&waiter);
}

/* A socket that stays full holds nobody up for longer than allowed. */
static void test_journal_full(void **state)
{
    (void)state;
    char path[300];
    struct kw_loss losses[KW_RECEIVERS_MAX];
    int fd = bind_journal(path);
    struct kw_trail *trail = open_forwarding(NULL, path);
    for (unsigned i = 0; i < 6; i++)
        must_append(trail, KW_DEEDS_MAX);
    uint64_t took = end(trail);
    assert_true(took >= TIMEOUT_MS && took < TIMEOUT_MS + SLACK_MS);
    assert_int_equal(kw_trail_losses(trail, losses), 1);
    assert_int_equal(losses[0].last, 6 * KW_DEEDS_MAX);
    kw_trail_free(trail);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_arrives, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_nobody_there, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_never_reads, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_gap, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_reconnects, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_silent_name_server, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_journal_fields, setup_scratch, teardown_scratch),
        cmocka_unit_test(test_journal_memory_file),
        cmocka_unit_test_setup_teardown(test_journal_full, setup_scratch, teardown_scratch),
    };
    if (sem_init(&answer, 0, 0) != 0 || sem_init(&answered, 0, 0) != 0)
        return 1;
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
