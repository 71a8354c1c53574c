"""Timing: commands, rows of them, and one interleaved run of a row."""
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

GIB = 1 << 30
MIB = 1 << 20


def fail(text):
    sys.exit(f"bench: {text}")


def run(command, **more):
    return subprocess.run([str(word) for word in command], check=True, **more)


def run_quietly(command):
    return run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def filesystem(folder):
    """The type of the filesystem that a folder is on, such as "tmpfs" or "ext4"."""
    return run(["stat", "--file-system", "--format=%T", folder], stdout=subprocess.PIPE,
               text=True).stdout.strip().replace("ext2/ext3", "ext4")


def memory(name):
    """A line of /proc/meminfo, in bytes."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name + ":"))


def free_bytes(folder):
    """What may be written there. On tmpfs that is memory, which the programs need too."""
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    if filesystem(folder) == "tmpfs":
        free = min(free, memory("MemAvailable") - 4 * GIB)
    return free


def touch_memory(size):
    """Idle memory of a virtual machine goes back to its host; fetch it before the clock starts.
    Memory that is not free is there already, and taking it would push input out of the cache."""
    block = bytearray(min(size, memory("MemFree") * 3 // 4))
    block[::4096] = b"x" * len(block[::4096])


@dataclass
class Command:
    """One way to do a row's work. `make` takes the fresh output folder and returns a list of words,
    or a line for bash. `goal` is the largest ratio of the first command's median to this one's.
    `bare` is a program that does nothing but use the same PKCS#11 module."""
    name: str
    make: object
    goal: float | None = None
    bare: bool = False
    environment: dict = field(default_factory=dict)
    times: list = field(default_factory=list)
    peak_kib: int = 0

    def median(self):
        return statistics.median(self.times)


@dataclass
class Row:
    """One piece of work, by Keyward first and then by its peers. `check` looks at what Keyward left
    in the output folder. `size` is how many bytes a command writes."""
    key: str
    title: str
    commands: list
    check: object = None
    size: int = 0

    def as_data(self):
        return {"key": self.key, "title": self.title, "commands": [
            {"name": command.name, "goal": command.goal, "bare": command.bare,
             "times": command.times, "peak_kib": command.peak_kib} for command in self.commands]}

    @staticmethod
    def from_data(data):
        commands = [Command(make=None, **command) for command in data["commands"]]
        return Row(data["key"], data["title"], commands)


def at_least(throughput):
    """A goal that is given as a share of the peer's throughput."""
    return 1 / throughput


class Stopwatch:
    """Runs commands through tests/bench/peers/timer.c, each into a fresh folder below `scratch`."""

    def __init__(self, timer, scratch):
        self.timer = timer
        self.outputs = pathlib.Path(tempfile.mkdtemp(prefix="outputs-", dir=scratch))
        self.on_disk = filesystem(scratch) != "tmpfs"

    def time(self, command, out):
        words = command.make(out)
        if isinstance(words, str):
            words = ["/bin/bash", "-o", "pipefail", "-c", words]
        done = run([self.timer, *words], stdout=subprocess.PIPE, text=True,
                   env=os.environ | command.environment)
        seconds, code, kib = done.stdout.split()
        if int(code) != 0:
            fail(f"exit code {code} of {' '.join(map(str, words))}")
        command.times.append(float(seconds))
        command.peak_kib = max(command.peak_kib, int(kib))

    def run(self, row, rounds):
        """Each round runs each command once, in turn."""
        for _ in range(rounds):
            for i, command in enumerate(row.commands):
                out = pathlib.Path(tempfile.mkdtemp(dir=self.outputs))
                if self.on_disk:
                    os.sync()  # what is not written yet would be written beside the command
                touch_memory(3 * row.size + 64 * MIB)
                self.time(command, out)
                if i == 0 and row.check:
                    row.check(out)
                self.empty(out)

    def empty(self, out):
        """ext4 avoids inodes that were deleted a moment ago, and files that are made then cost
        several times as much: there, files lose their content only, until the run is over."""
        if not self.on_disk:
            shutil.rmtree(out)
            return
        for folder, _, names in os.walk(out):
            for name in names:
                os.truncate(os.path.join(folder, name), 0)
