/* What is heard of a command of keyward watch, whatever its launcher heard last. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/launcher.h"

struct launcher_end {
    int socket;
    bool reads; /* the word that all was given, before it goes */
    struct command_answer answer;
};

/* Is called while the command is waited for. */
static bool answer_and_go(void *context)
{
    struct launcher_end *end = context;
    char word = 0;
    if (end->socket < 0)
        return true;
    if (end->reads)
        assert_int_equal(recv(end->socket, &word, sizeof(word), 0), 1);
    assert_int_equal(send(end->socket, &end->answer, sizeof(end->answer), 0),
                     (ssize_t)sizeof(end->answer));
    assert_int_equal(close(end->socket), 0);
    end->socket = -1;
    return true;
}

static enum kw_status finish_with(bool reads, enum command_end how, int number,
                                  struct kw_error *err)
{
    int talk[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk), 0);
    struct launcher_end end = {
        .socket = talk[1], .reads = reads, .answer = {.end = how, .number = number}};
    struct kw_command command = {.input = -1, .talk = talk[0]};
    return kw_command_finish(&command, "a.json", answer_and_go, &end, err);
}

static void test_answers(void **state)
{
    (void)state;
    struct kw_error err;
    for (int reads = 0; reads <= 1; reads++) {
        assert_int_equal(finish_with(reads, COMMAND_EXITED, 0, &err), KW_OK);
        assert_int_equal(finish_with(reads, COMMAND_EXITED, 3, &err), KW_WRITE);
        assert_non_null(strstr(err.message, "exit status 3"));
        assert_int_equal(finish_with(reads, COMMAND_KILLED, 9, &err), KW_WRITE);
        assert_non_null(strstr(err.message, "signal 9"));
    }
}

static bool go(void *context)
{
    int *launcher = context;
    kw_close(launcher);
    return true;
}

static void test_launcher_is_gone(void **state)
{
    (void)state;
    struct kw_error err;
    int talk[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk), 0);
    struct kw_command command = {.input = -1, .talk = talk[0]};
    assert_int_equal(kw_command_finish(&command, "a.json", go, &talk[1], &err), KW_FAULT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_launcher_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
