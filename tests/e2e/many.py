#!/usr/bin/env python3
"""Drops of very many tiny files: time grows as their number does, memory hardly.

Usage: many.py [--files N] PROGRAM, under tests/tokens/with-softhsm.

Decrypts a drop of a tenth of N files, then one of N, and goes on from the journal of either with
nothing left to do. Prints TAP.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import testtoken  # noqa: E402

# What a file more may cost: its name, its rows in lists, its place in the report.
BYTES_PER_FILE = 2048
# A tenth of the files in a tenth of the time; twice that is noise, ten times would be a square.
TIMES = 3


def measure(command, broken_stdout=False):
    """CPU seconds and KiB of memory of a command, and its exit code."""
    out = open("/dev/full" if broken_stdout else "/dev/null", "w")
    errors = subprocess.DEVNULL if broken_stdout else None
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
    kib = ended = 0
    out.close()
    while not ended:
        # ru_maxrss begins with what this process has.
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        kib = max([kib, *map(int, re.findall(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE))])
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        time.sleep(0.005)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, kib, process.returncode


class Drop:
    def __init__(self, program, token, scratch, files):
        self.files = files
        self.out = scratch / "out"
        self.drop = scratch / "drop"
        self.program = program
        self.options = token.options()
        self.source = scratch / "source"
        for number in range(files):
            path = self.source / f"{number % 7}" / f"part-{number:07}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{{"number":{number}}}\n')
        self.run("seal", self.source, "--out", self.drop, "--key", token.key)

    def run(self, *arguments, expect=0, **more):
        seconds, kib, code = measure([self.program, *map(str, arguments), *self.options], **more)
        if code != expect:
            raise RuntimeError(f"{arguments[0]} of {self.files} files ended with {code}")
        return seconds, kib

    def decrypt(self):
        # The summary can't be written, so the journal stays.
        return self.run("decrypt", self.drop, "--out", self.out, broken_stdout=True, expect=8)

    def resume(self):
        return self.run("decrypt", self.drop, "--out", self.out, "--resume")

    def is_whole(self):
        return subprocess.run(["diff", "-r", "-x", ".keyward-journal", self.source, self.out]).returncode == 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("program")
    arguments = parser.parse_args()
    token = testtoken.make()
    token.key = token.make_key(2048)
    with tempfile.TemporaryDirectory(prefix="keyward-many-") as name:
        scratch = pathlib.Path(name)
        drops = []
        for files in (1, arguments.files // 10, arguments.files):
            (scratch / str(files)).mkdir()
            drops.append(
                Drop(os.path.abspath(arguments.program), token, scratch / str(files), files)
            )
        failed = 0
        print("1..2")
        for number, way in enumerate(("decrypt", "resume"), 1):
            start, few, many = (getattr(drop, way)() for drop in drops)
            faults = [] if drops[2].is_whole() else ["the output is not what it should be"]
            if many[0] - start[0] > 10 * TIMES * (few[0] - start[0]) + 0.5:
                faults.append(f"{few[0]:.2f} s for a tenth of the files, {many[0]:.2f} s for all")
            if (many[1] - few[1]) * 1024 > BYTES_PER_FILE * arguments.files + (8 << 20):
                faults.append(f"{few[1]} KiB for a tenth of the files, {many[1]} KiB for all")
            figures = f"{many[0]:.2f} s of processors, {many[1] / 1024:.0f} MiB"
            print(f"{'not ok' if faults else 'ok'} {number} {way}, {arguments.files} files: {figures}")
            for fault in faults:
                print(f"# {fault}")
            failed += bool(faults)
            sys.stdout.flush()
        shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
