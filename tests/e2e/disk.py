#!/usr/bin/env python3
"""Lets each write, sync, rename, link and the like of a run fail in turn.

Usage: disk.py [--all] --shim FILE PROGRAM, under tests/tokens/with-softhsm.

Each call fails with ENOSPC for good, as on a full disk, and with EIO once; with --all also EDQUOT,
each of them once and for good, and sealing. A run that could not do all ends with 8, or 9 where it was the
trail; nothing wrong is under a final name, the trail verifies, and going on when the disk is well
again gives the right bytes. Prints TAP.
"""

import argparse
import collections
import errno
import os
import pathlib
import struct
import sys

import attack
from attack import Wrong

FEW = [(errno.ENOSPC, "+"), (errno.EIO, "")]
ALL = [(number, on) for number in (errno.ENOSPC, errno.EIO, errno.EDQUOT) for on in ("", "+")]


class Disk:
    def __init__(self, bench, shim, plans):
        self.bench = bench
        self.shim = shim
        self.plans = plans
        self.log = bench.scratch / "log"

    def run(self, command, plan=None):
        self.log.write_bytes(bytes(16))
        environment = {"LD_PRELOAD": self.shim, "KW_DISK_LOG": str(self.log)}
        if plan:
            environment["KW_DISK"] = plan
        done = self.bench.run(command, environment)
        return done, struct.unpack("=QQ", self.log.read_bytes())

    def attack(self, command, judge, prepare):
        prepare()
        done, (asked, _) = self.run(command)
        if done.returncode != 0 or asked == 0:
            raise RuntimeError(f"{asked} calls: {done.stderr.decode()}")
        codes = collections.Counter()
        for number in range(1, asked + 1):
            for code, on in self.plans:
                prepare()
                plan = f"{code}:{number}{on}"
                try:
                    done, (_, failed) = self.run(command, plan)
                    codes[done.returncode] += failed > 0
                    if done.returncode not in (0, 8, 9):
                        raise Wrong(f"it ended with {done.returncode}: {done.stderr.decode()}")
                    if done.returncode != 0 and b"keyward: " not in done.stderr:
                        raise Wrong("it says nothing")
                    judge(done)
                    self.bench.judge_trail()
                except Wrong as wrong:
                    raise Wrong(f"{plan}: {wrong}") from None
        if not codes[8]:
            raise Wrong(f"nothing was tested: {codes}")
        return f"{asked} calls, {sum(codes.values())} runs: {attack.ended(codes)}"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--shim", required=True)
    parser.add_argument("program")
    arguments = parser.parse_args()
    with attack.scratch_folder() as scratch:
        bench = attack.Bench(arguments.program, pathlib.Path(scratch))
        disk = Disk(bench, os.path.abspath(arguments.shim), ALL if arguments.all else FEW)
        commands = [("decrypt", *bench.decrypting("--jobs", 1)), ("seal", *bench.sealing())]
        if not arguments.all:
            del commands[1:]
        cases = [(name, lambda how=how: disk.attack(*how)) for name, *how in commands]
        sys.exit(attack.report_cases(cases))


if __name__ == "__main__":
    main()
