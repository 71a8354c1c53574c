#!/usr/bin/env python3
"""Kills runs (SIGKILL) at random moments, and has --resume go on from what is left.

Usage: kill.py [--kills N] [--seed N] [--shim FILE] PROGRAM, under tests/tokens/with-softhsm.

After every kill, no file under its final name may differ from what it must hold. The run that goes
on, which may be killed as well, has to end with exactly the right folder and a report that is equal
to that of a run nobody disturbed, but for times. With the shim (io_shim.c) some runs have no
O_TMPFILE. Prints TAP: one test for each way to run.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import tap  # noqa: E402
import testtoken  # noqa: E402
from attack import JOURNAL, Store, Wrong, contents, token_folder, without_times  # noqa: E402

SECONDS = 120
# Of mixed sizes: many small files, some that take a while, empty ones; in folders too.
SIZES = [0, 1, 15, 16, 1000, 4096, 70_000] * 4 + [300_000] * 6 + [3_000_000] * 4 + [20_000_000] * 2


def make_source(folder, chance):
    for number, size in enumerate(SIZES):
        path = folder / ("", "a", "b/c")[number % 3] / f"part-{number:03}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        word = b'{"id":%d,"text":"' % number + chance.randbytes(60).hex().encode() + b'"}\n'
        path.write_bytes((word * (size // len(word) + 1))[:size])


class Kills:
    def __init__(self, program, token, scratch, chance):
        self.program = program
        self.token = token
        self.scratch = scratch
        self.chance = chance
        self.counts = {"killed": 0, "ended first": 0, "with a journal": 0, "in a resume": 0}
        source = scratch / "source"
        make_source(source, chance)
        self.drop = scratch / "drop"
        key = token.make_key(2048)
        self.store = Store(scratch, token_folder())  # it does not survive to be killed in a login
        self.store.save()
        self.check(self.start("seal", source, "--out", self.drop, "--key", key), (0,))
        self.expected = contents(source)
        self.number = 0
        began = time.monotonic()
        out, report = self.places()
        self.check(self.decrypt(out, report), (0,))
        self.seconds = time.monotonic() - began
        self.report = without_times(json.loads(report.read_text()))
        if contents(out) != self.expected:
            raise Wrong("the run that nobody disturbed gives the wrong files")

    def places(self):
        self.number += 1
        return self.scratch / f"out-{self.number}", self.scratch / f"report-{self.number}.json"

    def start(self, *arguments, shim=None):
        environment = {**os.environ, **({"LD_PRELOAD": shim, "KW_SHIM": "tmpfile"} if shim else {})}
        return subprocess.Popen(
            [self.program, *map(str, arguments), *self.token.options()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=environment, text=True,
        )  # fmt: skip

    def decrypt(self, out, report, *options, shim=None):
        return self.start(
            "decrypt", self.drop, "--out", out, "--report", report, *options, shim=shim
        )

    @staticmethod
    def check(process, allowed):
        _, errors = process.communicate(timeout=SECONDS)
        if process.returncode not in allowed:
            raise Wrong(f"it ended with {process.returncode}: {errors}")
        return process.returncode

    def kill(self, process):
        """True if it was killed, false if it ended before."""
        time.sleep(self.chance.uniform(0, self.seconds * 1.1))
        process.kill()
        killed = self.check(process, (0, -signal.SIGKILL)) != 0
        self.store.restore()
        self.counts["killed" if killed else "ended first"] += 1
        return killed

    def look(self, out, old):
        """No file under its final name is ever wrong; `old` is what was there before."""
        for name, data in (contents(out) if out.exists() else {}).items():
            hidden = name.rpartition("/")[2].startswith(".")
            if not hidden and data not in (self.expected.get(name), old.get(name)):
                raise Wrong(f"{name} is wrong after a kill")

    def look_at_trail(self, run):
        """Each file is on record, and no process put one there twice: not what it did itself, nor
        what an earlier one had done. It may do again what that listed and gave no name."""
        seen = set()
        folder = pathlib.Path(os.environ["XDG_STATE_HOME"]) / "keyward" / "audit"
        lines = (line for path in folder.glob("trail-*.jsonl") for line in path.open())
        for record in map(json.loads, (line for line in lines if run in line)):
            if record["op"] != "file":
                continue
            entry = (record["file"], record["who"]["pid"], "detail" in record)
            if entry in seen:
                raise Wrong(f"{record['file']} is on record twice")
            seen.add(entry)
        missing = set(self.expected) - {name for name, _, _ in seen}
        if missing:
            raise Wrong(f"{missing} are not on record")

    def round(self, shim, force):
        out, report = self.places()
        old = {}
        if force:
            out.mkdir()
            old = {name: b"old" for name in self.expected if "/" not in name}
            for name in old:
                (out / name).write_bytes(old[name])
        options = ["--force"] if force else []
        killed = self.kill(self.decrypt(out, report, *options, shim=shim))
        while killed and not report.exists():
            self.look(out, old)
            journal = out / JOURNAL
            run = json.loads(journal.read_text().partition("\n")[0]) if journal.exists() else None
            self.counts["with a journal"] += run is not None
            process = self.decrypt(out, report, "--resume", *options, shim=shim)
            if self.chance.random() < 0.4:
                self.counts["in a resume"] += 1
                killed = self.kill(process)
                continue
            self.check(process, (0,))
            killed = False
            if run and json.loads(report.read_text())["run_id"] != run["run_id"]:
                raise Wrong("the run that went on has another id")
        if killed:  # after the report was written: what is left to do is to look, and to say so
            _, again = self.places()
            if (out / JOURNAL).exists():
                self.check(self.decrypt(out, again, "--resume", *options, shim=shim), (0,))
        if contents(out) != self.expected:
            raise Wrong("the folder is not what it should be in the end")
        if without_times(json.loads(report.read_text())) != self.report:
            raise Wrong("the report is not what it should be in the end")
        self.look_at_trail(json.loads(report.read_text())["run_id"])
        shutil.rmtree(out)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shim")
    parser.add_argument("program")
    arguments = parser.parse_args()
    shim = arguments.shim and os.path.abspath(arguments.shim)
    ways = [("as it is", None, False), ("with --force", None, True)]
    if shim:
        ways.append(("without O_TMPFILE", shim, False))
    print(f"1..{len(ways)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="keyward-kill-") as scratch:
        chance = random.Random(arguments.seed)
        kills = Kills(
            os.path.abspath(arguments.program), testtoken.make(), pathlib.Path(scratch), chance
        )
        for number, (way, shim, force) in enumerate(ways, 1):
            fault = ""
            kills.counts = dict.fromkeys(kills.counts, 0)
            try:
                while kills.counts["killed"] * len(ways) < arguments.kills:
                    kills.round(shim, force)
            except Wrong as wrong:
                fault = str(wrong)
            counted = ", ".join(f"{count} {what}" for what, count in kills.counts.items())
            failed += tap.result(f"{number} {way}: {counted}", fault)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
