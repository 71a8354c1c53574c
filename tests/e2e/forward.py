#!/usr/bin/env python3
"""Forwards the audit trail of whole runs to receivers, good and bad ones, and to a real rsyslogd.

Usage: forward.py PROGRAM, under tests/tokens/with-softhsm.

What a receiver got is compared with the trail line for line. Prints TAP.
"""

import array
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import tap  # noqa: E402
import testtoken  # noqa: E402

SECONDS = 60
TIMEOUT_MS = 700
# What a run may take above one without forwarding and the configured time.
SLACK = 2.0
FILES = 1500
# RFC 5424 section 6, as far as these messages use it.
MESSAGE = re.compile(
    rb"<(?:108|110)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [!-~]{1,255} keyward "
    rb"[!-~]{1,128} [!-~]{1,32} - (\{.*\})"
)


class Wrong(Exception):
    """What should not be."""


class Skip(Exception):
    """Why it can't be tried here."""


def record_of(message):
    """The record in an RFC 5424 message."""
    found = MESSAGE.fullmatch(message)
    if not found:
        raise Wrong(f"this is no message: {message!r}")
    return found[1]


class Frames:
    """RFC 6587 section 3.4.1, strictly: a length without leading zeros, a space, so many bytes."""

    def __init__(self, stream):
        self.stream = stream

    def __iter__(self):
        while True:
            digits = b""
            while (byte := self.stream.read(1)) != b" ":
                if byte == b"" and digits == b"":
                    return
                digits += byte
                if not re.fullmatch(rb"[1-9]\d{0,5}", digits):
                    raise Wrong(f"this is no length: {digits!r}")
            message = self.stream.read(int(digits))
            if len(message) != int(digits):
                return  # cut off with the connection
            yield message


class Tcp:
    """Listens; `take` gets each connection, in a thread."""

    def __init__(self, take, host="127.0.0.1", port=0, buffer=None):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.bind((host, port))
        self.socket.listen()
        self.port = self.socket.getsockname()[1]
        self.take = take
        self.error = None
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                try:
                    self.take(connection)
                except Wrong as wrong:
                    self.error = wrong

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(SECONDS)
        if self.error:
            raise self.error


class Collector(Tcp):
    """Keeps the record of each message."""

    def __init__(self, **where):
        self.lines = []
        super().__init__(self.collect, **where)

    def collect(self, connection):
        with connection, connection.makefile("rb") as stream:
            for message in Frames(stream):
                self.lines.append(record_of(message))


class Journal(threading.Thread):
    """Takes what systemd-journald would, and nothing else."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.lines = []
        self.error = None
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.start()

    def run(self):
        try:
            while (fields := self.receive()) is not None:
                self.look(fields)
        except Wrong as wrong:
            self.error = wrong

    def receive(self):
        size = array.array("i").itemsize
        data, extra, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(size))
        if data == b"end":
            return None
        for level, kind, descriptors in extra:
            if (level, kind, data) != (socket.SOL_SOCKET, socket.SCM_RIGHTS, b""):
                raise Wrong("a descriptor comes with something else")
            with os.fdopen(struct.unpack("i", descriptors)[0], "rb") as file:
                data = file.read()
        return self.parse(data)

    @staticmethod
    def parse(data):
        fields = {}
        while data:
            name, newline, data = data.partition(b"\n")
            name, equals, value = name.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, newline, data = data[8 : 8 + size], data[8 + size : 9 + size], data[9 + size :]
            if newline != b"\n" or not re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name):
                raise Wrong(f"this is no field: {name!r}")
            if name in fields:
                raise Wrong(f"{name!r} comes twice")
            fields[name] = value
        return fields

    def look(self, fields):
        line = fields[b"KEYWARD_RECORD"]
        record = json.loads(line)
        expected = {
            b"PRIORITY": b"4" if record.get("status", "ok") != "ok" else b"6",
            b"SYSLOG_IDENTIFIER": b"keyward",
            b"KEYWARD_SEQ": str(record["seq"]).encode(),
            b"KEYWARD_OP": record["op"].encode(),
            b"KEYWARD_RUN": record["run"].encode() if "run" in record else None,
        }
        for name, value in expected.items():
            if fields.get(name) != value:
                raise Wrong(f"{name!r} is {fields.get(name)!r}, not {value!r}")
        if not fields[b"MESSAGE"].startswith(record["op"].encode()):
            raise Wrong(f"the message is {fields[b'MESSAGE']!r}")
        self.lines.append(line)

    def close(self):
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        end.sendto(b"end", self.socket.getsockname())
        self.join(SECONDS)
        if self.error:
            raise self.error


class Systemd:
    """systemd-journald itself, in a namespace of its own: of mounts, and of the journal's."""

    PROGRAM = "/lib/systemd/systemd-journald"
    NAME = "keyward-test"

    def __init__(self):
        script = f"""mount -t tmpfs tmpfs /var/log && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal &&
            if [ ! -s /etc/machine-id ]; then
                tr -d - </proc/sys/kernel/random/uuid >/run/id && mount --bind /run/id /etc/machine-id
            fi && exec {self.PROGRAM} {self.NAME}"""
        self.process = subprocess.Popen(["unshare", "--mount", "bash", "-c", script])
        self.root = pathlib.Path(f"/proc/{self.process.pid}/root")
        self.socket = self.root / f"run/systemd/journal.{self.NAME}/socket"
        wait_until(self.socket.exists, "systemd-journald listens")

    @property
    def lines(self):
        """KEYWARD_RECORD of each entry of keyward's."""
        files = [
            f"--file={file}"
            for folder in ("run", "var")
            for file in self.root.glob(f"{folder}/log/journal/*/system.journal")
        ]
        command = ["journalctl", *files, "--all", "--output=json", "SYSLOG_IDENTIFIER=keyward"]
        done = subprocess.run(command, capture_output=True, check=True, timeout=SECONDS)
        entries = map(json.loads, done.stdout.splitlines())
        return [entry["KEYWARD_RECORD"].encode() for entry in entries]

    def close(self):
        self.process.terminate()
        self.process.wait(SECONDS)


class Rsyslog:
    """rsyslogd as an unprivileged process, with nothing of the system's configuration."""

    def __init__(self, scratch):
        self.file = scratch / "rsyslog.out"
        port = scratch / "rsyslog.port"
        config = scratch / "rsyslog.conf"
        config.write_text(
            f"""global(workDirectory="{scratch}" maxMessageSize="64k")
module(load="imtcp")
template(name="raw" type="string" string="%rawmsg%\\n")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{port}")
action(type="omfile" file="{self.file}" template="raw")
"""
        )
        program = shutil.which("rsyslogd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        self.process = subprocess.Popen([program, "-n", "-f", config, "-i", scratch / "rsyslog.pid"])
        wait_until(lambda: port.exists() and port.read_text().strip().isdigit(), "rsyslogd listens")
        self.port = int(port.read_text())

    @property
    def lines(self):
        messages = self.file.read_bytes().splitlines() if self.file.exists() else []
        return [record_of(message) for message in messages if MESSAGE.fullmatch(message)]

    def close(self):
        self.process.terminate()
        self.process.wait(SECONDS)


def wait_until(is_so, what):
    end = time.monotonic() + SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise Wrong(f"it never came that {what}")
        time.sleep(0.02)


class Forward:
    def __init__(self, program, token, scratch):
        self.program = program
        self.token = token
        self.scratch = scratch
        self.number = 0
        self.key = token.make_key(2048)
        self.small = self.seal("small", 3)
        started = time.monotonic()
        self.decrypt(self.small, "")
        self.seconds = time.monotonic() - started

    def seal(self, name, files):
        source = self.scratch / name
        source.mkdir()
        for number in range(files):
            (source / f"part-{number:05}.json").write_text(f'{{"number":{number}}}\n')
        drop = self.scratch / f"{name}.drop"
        command = [self.program, "seal", source, "--out", drop, "--key", self.key]
        subprocess.run([*command, *self.token.options()], check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
        return drop

    def start(self, drop, settings):
        """A run with these settings of [audit] and a trail of its own."""
        self.number += 1
        self.trail = self.scratch / f"trail-{self.number}"
        config = self.scratch / f"{self.number}.conf"
        config.write_text(
            f"[audit]\ndir = {self.trail}\nforward-timeout = {TIMEOUT_MS}\n{settings}\n"
        )
        command = [self.program, "decrypt", drop, "--out", self.scratch / f"out-{self.number}"]
        return subprocess.Popen(
            [*command, *self.token.options(), "--config", config], text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def end(self, process):
        """What it said; it has to end well."""
        _, said = process.communicate(timeout=SECONDS)
        if process.returncode != 0:
            raise Wrong(f"the run ended with {process.returncode}: {said}")
        verify = [self.program, "audit", "verify", "--quiet", self.trail]
        subprocess.run(verify, check=True, timeout=SECONDS, capture_output=True)
        return said

    def decrypt(self, drop, settings):
        return self.end(self.start(drop, settings))

    def records(self):
        files = sorted(self.trail.glob("trail-*.jsonl"))
        return [line for file in files for line in file.read_bytes().splitlines()]

    def expect_all(self, lines, said=""):
        if lines != self.records():
            raise Wrong(f"{len(lines)} lines came, which are not the trail's {len(self.records())}")
        if "forward" in said or "not sent" in said:
            raise Wrong(f"it said {said}")

    def expect_loss(self, said, where, why):
        """The warning and the record that say what did not get there; returns the numbers."""
        pattern = r"(\d+) records, (\d+) to (\d+), were not sent to " + re.escape(where)
        record = json.loads(self.records()[-1])
        told = re.search(pattern + ": " + why, said)
        if not told or record["op"] != "audit.forward" or told[0] not in record["detail"]:
            raise Wrong(f"it said {said!r}, and the trail {record}")
        count, first, last = map(int, told.groups())
        if last - first + 1 != count or last != record["seq"] - 1:
            raise Wrong(f"the numbers are wrong: {told[0]}")
        return count, first, last

    def timed(self, settings):
        """What it said; it may have been held up as long as is configured, and no longer."""
        started = time.monotonic()
        said = self.decrypt(self.small, settings)
        held = time.monotonic() - started - self.seconds
        if held > TIMEOUT_MS / 1000 + SLACK:
            raise Wrong(f"it was held up for {held:.1f} s")
        return said

    # ---- the tests ----

    def tcp(self, host, address):
        receiver = Collector(host=host)
        said = self.decrypt(self.small, f"syslog = {address}:{receiver.port}")
        wait_until(lambda: len(receiver.lines) >= len(self.records()), "all is received")
        receiver.close()
        self.expect_all(receiver.lines, said)

    def to_an_address(self):
        """syslog: each line of the trail, framed by its length"""
        self.tcp("127.0.0.1", "127.0.0.1")

    def to_a_name(self):
        """syslog: a host's name"""
        self.tcp("127.0.0.1", "localhost")

    def to_ipv6(self):
        """syslog: an IPv6 address"""
        self.tcp("::1", "[::1]")

    def to_journald(self):
        """journald: each line of the trail, with its fields"""
        path = self.scratch / "journal"
        journal = Journal(path)
        said = self.decrypt(self.small, f"journald = {path}")
        journal.close()
        self.expect_all(journal.lines, said)

    def to_systemd(self):
        """systemd-journald"""
        may_mount = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"])
        if may_mount.returncode != 0:
            raise Skip("mounting is not allowed here")
        systemd = Systemd()
        try:
            # A confined process may not look into another one's mounts, where the socket is here.
            said = self.decrypt(self.small, f"journald = {systemd.socket}\n[sandbox]\nenabled = no")
            wait_until(lambda: len(systemd.lines) >= len(self.records()), "the journal has all")
            self.expect_all(systemd.lines, said)
        finally:
            systemd.close()

    def to_rsyslog(self):
        """rsyslogd and journald at once"""
        path = self.scratch / "journal-2"
        journal = Journal(path)
        rsyslog = Rsyslog(self.scratch)
        try:
            said = self.decrypt(
                self.small, f"journald = {path}\nsyslog = 127.0.0.1:{rsyslog.port}"
            )
            wait_until(lambda: len(rsyslog.lines) >= len(self.records()), "rsyslogd wrote all")
            self.expect_all(rsyslog.lines, said)
        finally:
            rsyslog.close()
        journal.close()
        self.expect_all(journal.lines)

    def nobody_there(self):
        """nobody there: the run ends well and in time, and says what was not sent"""
        gone = Tcp(lambda _: None)
        gone.close()
        said = self.timed(f"syslog = 127.0.0.1:{gone.port}")
        _, first, _ = self.expect_loss(
            said, f"syslog 127.0.0.1:{gone.port}", "it can't be connected to: Connection refused"
        )
        if first != 0:
            raise Wrong(f"the first one is {first}")

    def never_reads(self):
        """a receiver that never reads: the same"""
        kept = []
        receiver = Tcp(kept.append, buffer=1)
        said = self.timed(f"syslog = 127.0.0.1:{receiver.port}")
        self.expect_loss(
            said, f"syslog 127.0.0.1:{receiver.port}", "it did not take them in time"
        )
        receiver.close()

    def restarted(self):
        """a receiver that is killed in the middle of a run and comes back"""
        many = self.seal("many", FILES)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        taken = self.scratch / "taken"
        child = os.fork()
        if child == 0:
            with listener.accept()[0] as connection, connection.makefile("rb") as stream:
                for number, message in enumerate(Frames(stream)):
                    with open(taken, "ab") as file:
                        file.write(record_of(message) + b"\n")
                    if number == 200:
                        os.kill(os.getpid(), signal.SIGKILL)
            os._exit(1)
        listener.close()
        process = self.start(many, f"syslog = 127.0.0.1:{port}")
        os.waitpid(child, 0)
        before = taken.read_bytes().splitlines()
        if process.poll() is not None:
            raise Wrong("the run was over before")
        again = Collector(port=port)
        said = self.end(process)
        expected = self.records()
        wait_until(lambda: again.lines and again.lines[-1] == expected[-1], "the last one comes")
        again.close()
        # What the killed process's host had taken for it, some KiB, is lost, and nothing else; what
        # that host had not acknowledged comes again.
        start = expected.index(again.lines[0])
        whole = before == expected[: len(before)] and again.lines == expected[start:]
        if not whole or not -64 <= start - len(before) <= 16:
            raise Wrong(f"{len(before)} came, then {len(again.lines)} of {len(expected)}")
        if "not sent" in said:
            raise Wrong(f"it said {said}")


def main():
    program = os.path.abspath(sys.argv[1])
    failed = 0
    with tempfile.TemporaryDirectory(prefix="keyward-forward-") as name:
        forward = Forward(program, testtoken.make(), pathlib.Path(name))
        tests = [
            forward.to_an_address, forward.to_a_name, forward.to_ipv6, forward.to_journald,
            forward.to_systemd, forward.to_rsyslog, forward.nobody_there, forward.never_reads,
            forward.restarted,
        ]  # fmt: skip
        print(f"1..{len(tests)}")
        for number, test in enumerate(tests, 1):
            fault = skip = ""
            try:
                test()
            except Wrong as wrong:
                fault = str(wrong)
            except Skip as reason:
                skip = str(reason)
            failed += tap.result(f"{number} {test.__doc__}", fault, skip)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
