#!/usr/bin/env python3
"""Runs with fewer and fewer file descriptors, from enough of them to none.

Usage: descriptors.py PROGRAM, under tests/tokens/with-softhsm.

Each run does what it was asked for, or says that it could not; then nothing that is not whole is
under a final name, nothing temporary is left, and what was done can be gone on with. Prints TAP.
"""

import argparse
import collections
import pathlib
import resource
import sys

import attack
from attack import Wrong

ENOUGH = 28
FEWEST = 4  # with 3 the loader finds none to load the libraries with


class Descriptors:
    def __init__(self, bench):
        self.bench = bench

    def attack(self, command, judge, prepare):
        codes = collections.Counter()
        for limit in range(ENOUGH, FEWEST - 1, -1):
            prepare()

            def lower():
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

            try:
                done = self.bench.run(command, preexec_fn=lower)
                codes[done.returncode] += 1
                if done.returncode != 0 and b"keyward: " not in done.stderr:
                    raise Wrong("it says nothing")
                judge(done)
            except Wrong as wrong:
                raise Wrong(f"with {limit} descriptors: {wrong}") from None
        if len(codes) < 2 or codes[0] == 0:
            raise Wrong(f"nothing was tested: {codes}")
        return f"{sum(codes.values())} runs: {attack.ended(codes)}"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program")
    arguments = parser.parse_args()
    with attack.scratch_folder() as scratch:
        bench = attack.Bench(arguments.program, pathlib.Path(scratch))
        descriptors = Descriptors(bench)
        wanted = bench.expected["a.json"]

        def printed(done):
            if done.returncode == 0 and done.stdout != wanted:
                raise Wrong(f"it printed {len(done.stdout)} bytes and said 0")
            if not wanted.startswith(done.stdout):
                raise Wrong("it printed what is not so")

        commands = [
            ("decrypt", *bench.decrypting("--jobs", 4)),
            ("cat", ["cat", bench.drop, "a.json", *bench.token.options()], printed, bench.clear),
            ("seal", *bench.sealing()),
        ]
        cases = [(name, lambda how=how: descriptors.attack(*how)) for name, *how in commands]
        cases.append(("the trail", bench.judge_trail))
        sys.exit(attack.report_cases(cases))


if __name__ == "__main__":
    main()
