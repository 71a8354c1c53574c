/* What launcher.c and command.c say to each other, by sockets of AF_UNIX. */
#ifndef KW_RUN_LAUNCHER_H
#define KW_RUN_LAUNCHER_H

#include <sys/socket.h>

#include "internal.h"

/* A request is a datagram of entries for the environment, each with a NUL, with these: the end of a
 * pipe that is to be the command's input, a socket to talk about it, the pipe's other end. */
#define COMMAND_FDS         3
#define COMMAND_REQUEST_MAX ((size_t)16 * 1024)
union command_fds {
    struct cmsghdr align;
    char room[CMSG_SPACE(COMMAND_FDS * sizeof(int))];
};

/* The one word about a command: that all of its input is written. The socket's end says that it is
 * to be ended. */
#define COMMAND_ALL_GIVEN 'E'

/* The answer, once it has ended. */
enum command_end {
    COMMAND_NOT_STARTED, /* `number` is an errno */
    COMMAND_EXITED,      /* with that status */
    COMMAND_KILLED,      /* by that signal */
};
struct command_answer {
    enum command_end end;
    int number;
};

#endif
