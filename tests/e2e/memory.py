#!/usr/bin/env python3
"""Lets memory run out at each allocation of whole runs, in turn.

Usage: memory.py [--every N] [--only NAME] [--keep-going] --shim FILE PROGRAM, under
tests/tokens/with-softhsm.

A first run notes by which calls each allocation was come to. Of those that were come to in the same
way the first is taken; --every N takes each N-th of these. Each fails in a run of its own: once
alone, once with all that follow. Such a run ends with the right result and 0, or says that it could
not (memory_shim.c says which allocations are the module's, and left alone). Prints TAP.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import struct
import sys

import attack
from attack import Wrong

PATHS = 400_000
# What the shim makes of a crash within a library; those that are known to use what they did not get.
LIBRARY_CRASH = 99
LIBRARIES = {"libcrypto", "libp11-kit", "libseccomp"}
# Out of memory is 1. Others come from libraries that don't say that it was that: a provider, a module
# or a PEM file that can't be loaded. But nobody is accused for want of memory.
ACCUSATIONS = re.compile(
    r"edited|forged|(was|were) removed|truncated|rolled back|can't be trusted"
    r"|not what should be there"
    r"|wrapped for another key|damaged"
)


class Memory:
    def __init__(self, bench, shim, arguments):
        self.bench = bench
        self.shim = shim
        self.every = arguments.every
        self.keep_going = arguments.keep_going
        self.log = bench.scratch / "log"

    def run(self, command, plan=None, where=False):
        with open(self.log, "wb") as log:
            log.truncate(16 + (0 if plan else 8 * PATHS))
        environment = {"LD_PRELOAD": self.shim, "KW_MEMORY_LOG": str(self.log)}
        if plan:
            environment["KW_MEMORY"] = plan
        if where:
            environment["KW_MEMORY_WHERE"] = "1"
        return self.bench.run(command, environment, {LIBRARY_CRASH})

    def failed(self):
        return struct.unpack("=QQ", self.log.read_bytes()[:16])[1] > 0

    def places(self, command):
        """The number of all allocations, and of the first one on each way to one."""
        done = self.run(command)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stderr.decode()}")
        asked, _, *paths = struct.unpack(f"={PATHS + 2}Q", self.log.read_bytes())
        first = {}
        for number, path in enumerate(paths[:asked], 1):
            if path:
                first.setdefault(path, number)
        return asked, sorted(first.values()), done.stdout

    def attack(self, command, judge, prepare):
        prepare()
        asked, places, wanted = self.places(command)
        chosen = places[:: self.every]
        hits = 0
        codes = collections.Counter()
        crashes = collections.Counter()
        faults = []
        for number in chosen:
            for plan in (f"{number}", f"{number}+"):
                prepare()
                try:
                    done = self.run(command, plan)
                    if not self.failed():
                        continue
                    hits += 1
                    said = done.stderr.decode()
                    if done.returncode == LIBRARY_CRASH:
                        where = re.search(r"crashed in (\S+?)\.so", said)
                        crashes[where.group(1) if where else "?"] += 1
                    elif done.returncode != 0 and not re.search(r"^keyward: (?!warning)", said, re.M):
                        raise Wrong(f"it ended with {done.returncode} and no error")
                    codes[done.returncode] += done.returncode != LIBRARY_CRASH
                    if ACCUSATIONS.search(said):
                        raise Wrong(f"it ended with {done.returncode}: {said}")
                    judge(done, wanted)
                except Wrong as wrong:
                    where = ""
                    prepare()
                    try:
                        where = self.run(command, plan, where=True).stderr.decode()
                    except Wrong as again:
                        where = str(again)
                    faults.append(f"without allocation {plan}: {wrong}\n{where}")
                    if not self.keep_going:
                        raise Wrong(faults[0]) from None
        if set(crashes) - LIBRARIES:
            faults.append(f"crashes: {dict(crashes)}")
        if faults:
            raise Wrong("\n".join(faults))
        text = f"{asked} allocations in {len(places)} ways, {hits} times none: {attack.ended(codes)}"
        for name, count in sorted(crashes.items()):
            text += f", {count} crashed in {name}"
        return text


class Commands:
    def __init__(self, bench):
        self.bench = bench

    def nothing(self):
        pass

    def fresh(self):
        self.bench.clear()

    def anew(self):
        """The token and the trail as they were."""
        self.bench.store.restore()
        self.bench.clear()

    def decrypted(self, done, _):
        self.bench.judge_decrypt(done)

    def printed(self, name, command):
        """What it prints is the whole, or it says that it is not."""

        def judge(done, wanted):
            if done.returncode == 0 and done.stdout != wanted:
                raise Wrong(f"it printed this and said 0: {done.stdout.decode()}")
            if done.returncode == 0 or not done.stdout:
                return
            if "--json" not in command:
                if not wanted.startswith(done.stdout):
                    raise Wrong(f"it printed what is not so: {done.stdout.decode()}")
                return
            try:
                code = json.loads(done.stdout).get("exit_code", 0)
            except ValueError:
                raise Wrong(f"it printed {done.stdout} and failed") from None
            if code == 0 and name != "audit verify":
                raise Wrong(f"it printed this and failed: {done.stdout.decode()}")

        return (name, command, judge, self.nothing)

    def created(self, done, _):
        """A key has both halves, or there is none; and what is there is on the trail."""
        listed = json.loads(self.bench.must("key", "list", "--json", *self.bench.token.options()))
        found = [key for key in listed["keys"] if key["label"] == "new"]
        if done.returncode == 0 and not found:
            raise Wrong("it says that the key was made")
        halves = sum(
            "new" in line
            for line in self.bench.token.tool("--list-objects", "--type", "pubkey").splitlines()
            if "label:" in line
        )
        # What can't be removed without memory is told, with its id.
        if halves != len(found) and b"could not be removed" not in done.stderr:
            raise Wrong(f"{len(found)} private halves and {halves} public ones were left")
        for key in found:
            if key["record_fault"]:
                raise Wrong(f"its record is damaged: {key}")
        self.bench.judge_trail()

    def half_done(self):
        """A folder with a journal, as a run that was stopped leaves it."""
        self.bench.clear()
        damaged = self.bench.drop / "sub" / "b.json"
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-16])
        stopped = self.bench.run(self.bench.decrypt())
        damaged.write_bytes(whole)
        self.bench.report.unlink(missing_ok=True)
        if not (self.bench.out / attack.JOURNAL).exists() or stopped.returncode == 0:
            raise RuntimeError("the run that was to be stopped was not")

    def table(self):
        options = self.bench.token.options()
        drop = self.bench.drop
        yield ("decrypt", self.bench.decrypt(), self.decrypted, self.fresh)
        yield "decrypt --resume", self.bench.decrypt("--resume"), self.decrypted, self.half_done
        yield self.printed("cat", ["cat", drop, "a.json", *options])
        yield self.printed("inspect", ["inspect", drop, "--json", *options])
        yield self.printed("key list", ["key", "list", "--json", *options])
        yield self.printed("key show", ["key", "show", "attacked", "--json", *options])
        yield self.printed("key show, text", ["key", "show", "attacked", *options])
        module = ["--module", self.bench.token.module]
        yield self.printed("token list", ["token", "list", "--json", *module])
        yield self.printed("audit verify", ["audit", "verify", "--json"])
        yield self.printed("audit show", ["audit", "show"])
        yield self.printed("audit export", ["audit", "export", "--format", "cef"])
        yield (
            "key create",
            ["key", "create", "new", "--no-expiry", "--tag", "a=b", "--json", *options],
            self.created, self.anew,
        )  # fmt: skip
        command, judge, prepare = self.bench.sealing()
        yield "seal", command, lambda done, _: judge(done), prepare


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--shim", required=True)
    parser.add_argument("program")
    arguments = parser.parse_args()
    with attack.scratch_folder() as scratch:
        bench = attack.Bench(arguments.program, pathlib.Path(scratch))
        memory = Memory(bench, os.path.abspath(arguments.shim), arguments)
        cases = [
            (name, lambda how=how: memory.attack(*how))
            for name, *how in Commands(bench).table()
            if arguments.only in (None, name)
        ]
        cases.append(("the trail", bench.judge_trail))
        sys.exit(attack.report_cases(cases))


if __name__ == "__main__":
    main()
