#!/usr/bin/env python3
"""Starts a service with a socket that listens already, as systemd does; ends it once it says that it
listens there.

usage: hand_over.py NAME COMMAND...
NAME is what the socket unit calls the socket. The exit code is the service's.
"""

import os
import re
import signal
import socket
import subprocess
import sys

FIRST = 3  # sd_listen_fds(3)


def main(name, *command):
    listening = socket.create_server(("127.0.0.1", 0))

    def hand_over():
        os.dup2(listening.fileno(), FIRST)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=name)
        os.execvp(command[0], command)  # as this process, whose number was just named

    service = subprocess.Popen(
        ["true"], preexec_fn=hand_over, close_fds=False, stdout=subprocess.PIPE, text=True
    )
    line = service.stdout.readline()
    service.send_signal(signal.SIGTERM)
    service.communicate(timeout=60)
    if not re.fullmatch(rf"{name}: https://.*:{listening.getsockname()[1]}\n", line):
        return f"it does not listen on that socket: {line!r}"
    return service.returncode


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
