#!/usr/bin/env python3
"""What the tests here need and the shell does badly. Usage: tool.py ACTION ARGUMENT...

damage FILE                       changes one byte in the middle of the file
flip FILE OFFSET                  changes one bit of the byte at OFFSET
validate SCHEMA FILE              checks a JSON document (- is standard input)
prompt PIN COMMAND...             runs it on a terminal and types the PIN when it is asked for;
                                  "PIN PIN..." are typed one after the other
terminal COMMAND...               runs it on a terminal
interrupt PATH COMMAND...         sends SIGINT, or KW_SIGNAL, as soon as that is there
same-report ONE OTHER             whether two reports differ in times and the run's id at most
listen SOCKET FILE                writes the lines of each datagram that comes to the file
without-landlock COMMAND...       runs it as on a kernel that has no Landlock
cmdline SECRET COMMAND...         fails if the running command's argument list holds SECRET
"""

import ctypes
import errno
import json
import os
import pathlib
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import time

SECONDS = 60


def default_interrupt():
    # A shell in the background ignores SIGINT, and what it starts inherits that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def damage(name):
    data = bytearray(pathlib.Path(name).read_bytes())
    data[len(data) // 2] ^= 0x01
    pathlib.Path(name).write_bytes(data)
    return 0


def flip(name, offset):
    data = bytearray(pathlib.Path(name).read_bytes())
    data[int(offset)] ^= 0x01
    pathlib.Path(name).write_bytes(data)
    return 0


def validate(schema_name, name):
    import jsonschema

    schema = json.loads(pathlib.Path(schema_name).read_text())
    text = sys.stdin.read() if name == "-" else pathlib.Path(name).read_text()
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    faults = list(validator(schema).iter_errors(json.loads(text)))
    for fault in faults:
        print(f"{'/'.join(map(str, fault.absolute_path))}: {fault.message}", file=sys.stderr)
    return 1 if faults else 0


def on_terminal(command, pins):
    """Runs it with a terminal for standard input and error; both appear on standard output."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        command, stdin=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )  # fmt: skip
    os.close(slave)
    shown, typed, end = b"", 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        ready, _, _ = select.select([master], [], [], 0.1)
        if ready:
            try:
                data = os.read(master, 4096)
            except OSError:  # the other side was closed
                break
            if not data:
                break
            shown += data
            asked = shown.count(b'": ') + shown.count(b"go on: ")
            if typed < min(len(pins), asked):
                time.sleep(0.2)  # the echo is switched off after the prompt in some terminals
                os.write(master, pins[typed].encode() + b"\n")
                typed += 1
        elif child.poll() is not None:
            break
    sys.stdout.write(shown.decode(errors="replace"))
    return child.wait(timeout=SECONDS)


def interrupt(path, *command):
    child = subprocess.Popen(command, preexec_fn=default_interrupt)
    end = time.monotonic() + SECONDS
    while not os.path.exists(path) and child.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.05)
    if child.poll() is not None:
        print("it ended before it could be interrupted", file=sys.stderr)
        return 99
    child.send_signal(getattr(signal, "SIG" + os.environ.get("KW_SIGNAL", "INT")))
    return child.wait(timeout=SECONDS)


def same_report(*names):
    reports = [json.loads(pathlib.Path(name).read_text()) for name in names]
    for report in reports:
        for name in ("started", "run_id"):
            del report[name]
        for part in (report["totals"], *report["files"]):
            del part["milliseconds"]
    return 0 if reports[0] == reports[1] else 1


def without_landlock(*command):
    """By a filter of system calls (linux/filter.h): ENOSYS for landlock_create_ruleset."""
    load_number, jump_if_equal, give_back = 0x20, 0x15, 0x06
    no_such_call, allow = 0x00050000 | errno.ENOSYS, 0x7FFF0000
    code = b"".join(
        struct.pack("HBBI", *line)
        for line in (
            (load_number, 0, 0, 0),
            (jump_if_equal, 0, 1, 444),
            (give_back, 0, 0, no_such_call),
            (give_back, 0, 0, allow),
        )
    )
    held = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    prctl = ctypes.CDLL(None).prctl
    no_new_privs, set_seccomp, filter_mode = 38, 22, 2
    if prctl(no_new_privs, 1, 0, 0, 0) != 0 or prctl(set_seccomp, filter_mode, program) != 0:
        return 99
    os.execvp(command[0], command)


def cmdline(secret, *command):
    """The command has to write more than a pipe holds, so that it waits here."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    first = os.read(child.stdout.fileno(), 1)
    held = pathlib.Path(f"/proc/{child.pid}/cmdline").read_bytes()
    rest = child.communicate(timeout=SECONDS)[0]
    if child.returncode != 0 or not first or len(rest) < 65536:
        print("it did not run for long enough to be looked at", file=sys.stderr)
        return 98
    if secret.encode() in held:
        print("the argument list holds the secret", file=sys.stderr)
        return 1
    return 0


def listen(address, name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver, open(name, "wb") as out:
        receiver.bind(address)
        while True:
            out.write(receiver.recv(65536) + b"\n")
            out.flush()


ACTIONS = {
    "damage": damage,
    "flip": flip,
    "validate": validate,
    "prompt": lambda pin, *command: on_terminal(command, pin.split()),
    "terminal": lambda *command: on_terminal(command, []),
    "interrupt": interrupt,
    "same-report": same_report,
    "listen": listen,
    "without-landlock": without_landlock,
    "cmdline": cmdline,
}

if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ACTIONS:
        sys.exit(__doc__)
    sys.exit(ACTIONS[sys.argv[1]](*sys.argv[2:]))
