"""What the attacks on a run have in common: a drop, what it must give, and how a run is judged.

A run that says 0 has done all that was asked for; one that does not has said why, with a status of
the table, and left nothing wrong under a final name. Nothing crashes, and nothing hangs.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout stays as it is
import testtoken  # noqa: E402

SECONDS = 60
EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130}
JOURNAL = ".keyward-journal"


class Wrong(Exception):
    """What a run did and should not have."""


def contents(folder):
    """What each file holds, hidden ones too."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def remove(folder):
    shutil.rmtree(folder, ignore_errors=True)


def without_times(report):
    """A report as it is to be compared: times differ, and so may where the output is."""
    report = json.loads(json.dumps(report))
    for name in ("started", "output", "run_id"):
        del report[name]
    for part in (report["totals"], *report["files"]):
        del part["milliseconds"]
    return report


def token_folder():
    """SoftHSM2's."""
    text = pathlib.Path(os.environ["SOFTHSM2_CONF"]).read_text()
    return pathlib.Path(re.search(r"directories\.tokendir *= *(\S+)", text).group(1))


class Store:
    """Folders that runs change, as they were."""

    def __init__(self, scratch, *folders):
        self.folders = folders
        self.saved = scratch / "saved"

    def save(self):
        for number, folder in enumerate(self.folders):
            shutil.copytree(folder, self.saved / str(number))

    def restore(self):
        for number, folder in enumerate(self.folders):
            shutil.rmtree(folder)
            shutil.copytree(self.saved / str(number), folder)


class Bench:
    """A program, a token with a key, a drop sealed to it, and what the drop holds."""

    def __init__(self, program, scratch):
        self.program = os.path.abspath(program)
        self.scratch = scratch
        self.token = testtoken.make()
        self.source = scratch / "source"
        (self.source / "sub").mkdir(parents=True)
        (self.source / "a.json").write_text("".join(f"{n}\n" for n in range(1000)))
        (self.source / "sub" / "b.json").write_text('{"b": 1}\n')
        (self.source / "empty.json").write_text("")
        self.expected = contents(self.source)
        self.drop = scratch / "drop"
        self.out = scratch / "out"
        self.report = scratch / "report.json"
        self.sealed = scratch / "sealed"
        self.must("key", "create", "attacked", "--no-expiry", *self.token.options())
        self.must("seal", self.source, "--out", self.drop, *self.key())
        self.must(*self.decrypt())
        self.right_report = self.essence()
        self.clear()
        state = pathlib.Path(os.environ["XDG_STATE_HOME"])  # the trail and the catalogue
        self.store = Store(scratch, token_folder(), state)
        self.store.save()

    def key(self):
        return ["--key", "pkcs11:object=attacked", *self.token.options()]

    def decrypt(self, *more):
        return [
            "decrypt", self.drop, "--out", self.out, "--report", self.report,
            *more, *self.token.options(),
        ]  # fmt: skip

    def essence(self):
        """Of the report. Warnings may be lost, and say that a file was done again."""
        report = without_times(json.loads(self.report.read_text()))
        del report["warnings"]
        return report

    def clear(self):
        shutil.rmtree(self.out, ignore_errors=True)
        self.report.unlink(missing_ok=True)

    def run(self, arguments, environment=None, also=(), **more):
        """Ends as a program does: not by a signal, not after the deadline, with a known status."""
        try:
            done = subprocess.run(
                [self.program, *map(str, arguments)], env={**os.environ, **(environment or {})},
                capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, **more,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Wrong(f"it was not over after {SECONDS} s") from None
        if done.returncode not in EXIT_CODES.union(also):
            raise Wrong(f"it ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done

    def must(self, *arguments):
        done = self.run(arguments)
        if done.returncode != 0:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr.decode()}")
        return done.stdout

    def judge_output(self, code):
        """After a decryption: nothing wrong under a final name, and all of it where it says so."""
        found = contents(self.out)
        for name, data in found.items():
            if name != JOURNAL and data != self.expected.get(name):
                raise Wrong(f"{name} is not what it must be")
        if code == 0 and found != self.expected:
            raise Wrong(f"it says that all was done, and there is {sorted(found)}")
        if self.report.exists():
            report = self.essence()
            if report["exit_code"] == 0 and report != self.right_report:
                raise Wrong(f"the report lacks something: {report}")
        elif code == 0:
            raise Wrong("it says that all was done, and there is no report")
        for path in self.scratch.glob(".*"):
            raise Wrong(f"{path.name} was left")

    def go_on(self):
        """What was left is good to go on from."""
        resume = ["--resume"] if (self.out / JOURNAL).exists() else ["--force"]
        self.report.unlink(missing_ok=True)
        done = self.run(self.decrypt(*resume))
        if done.returncode != 0:
            raise Wrong(f"going on ended with {done.returncode}: {done.stderr.decode()}")
        self.judge_output(0)

    def judge_decrypt(self, done):
        self.judge_output(done.returncode)
        if done.returncode != 0:
            self.go_on()

    def judge_seal(self, done):
        """A drop that is not whole has no metadata, and so is none."""
        whole = any(name.startswith("metadata/") for name in contents(self.sealed))
        if whole != (done.returncode == 0):
            raise Wrong(f"it ended with {done.returncode}, metadata: {whole}")

    def decrypting(self, *more):
        """A command to attack, what judges it, and what comes before it."""
        return self.decrypt(*more), self.judge_decrypt, self.clear

    def sealing(self):
        command = ["seal", self.source, "--out", self.sealed, *self.key()]
        return command, self.judge_seal, lambda: remove(self.sealed)

    def judge_trail(self):
        done = self.run(["audit", "verify"])
        if done.returncode != 0:
            raise Wrong(f"the trail does not verify: {done.stderr.decode()}")
        return "it verifies"


def ended(codes):
    """codes: how many runs ended with which."""
    return ", ".join(f"{count} ended with {code}" for code, count in sorted(codes.items()) if count)


def report_cases(cases):
    """cases: (name, function giving what was counted). Prints TAP; returns the exit code."""
    failed = 0
    print(f"1..{len(cases)}")
    for number, (name, function) in enumerate(cases, 1):
        try:
            print(f"ok {number} {name}: {function()}")
        except Wrong as wrong:
            failed += 1
            print(f"not ok {number} {name}")
            for line in str(wrong).splitlines():
                print(f"# {line}")
        sys.stdout.flush()
    return 1 if failed else 0


def scratch_folder():
    return tempfile.TemporaryDirectory(prefix="keyward-attack-")
