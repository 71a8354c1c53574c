#!/usr/bin/env python3
"""Decrypts every drop of a folder with the program and compares with what it must give.

Usage: drops.py PROGRAM FOLDER [DROP...], under one of the wrapper scripts of tests/tokens.
With KW_TEST_UNDER in the environment, PROGRAM is run by that command, such as tests/valgrind.

FOLDER holds drops and two lists. keys.json says which PEM key goes on the token under which label
and id. expected.json says for each drop which files come out, with size and SHA-256; for one that
fails it has "error", and either "damaged" (the files that are bad, the others are good) or no file
comes out at all; "exit" is the exit code where it is not to be derived from "error"; "plain" lists
files that are not encrypted. Prints TAP, one test a drop. Where the token takes no such key from
outside, the drops that need it are skipped.
"""

import hashlib
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout stays as it is
import testtoken  # noqa: E402

RUN_SECONDS = 120
METADATA = "metadata"
JOURNAL = ".keyward-journal"

# Where expected.json has no "exit": the first words that "error" contains decide. The families are
# those of the manual's EXIT STATUS.
EXIT_OF_ERROR = (
    ("no key of that version", 5),
    ("does not unwrap", 5),
    ("not JSON", 4),
    ("not base64", 4),
    ("IV is not", 4),
    ("multiple of 16", 7),
    ("padding", 7),
    ("gzip", 7),
    ("damaged", 7),
)


def exit_code(expected):
    if "exit" in expected:
        return expected["exit"]
    error = expected.get("error")
    if error is None:
        return 0
    for words, code in EXIT_OF_ERROR:
        if words in error:
            return code
    raise ValueError(f"no exit code is known for the error {error!r}")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def files_below(folder):
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() or path.is_symlink()
    }


class Check:
    """One drop: what is wrong with what came of it."""

    def __init__(self, token, drop, expected):
        self.token = token
        self.drop = drop
        self.expected = expected
        self.faults = []
        damaged = expected.get("damaged")
        failed = "error" in expected and damaged is None
        listed = expected["files"]
        self.good = {} if failed else {p: f for p, f in listed.items() if p not in (damaged or [])}
        self.bad = set(listed) - set(self.good)
        self.plain = set(expected.get("plain", []))
        self.exit = exit_code(expected)

    def fault(self, text):
        self.faults.append(text)

    def same(self, what, got, wanted):
        if got != wanted:
            self.fault(f"{what} is {got!r}, not {wanted!r}")

    def outcome(self, done):
        self.same("the exit code", done.returncode, self.exit)
        lines = done.stderr.splitlines()
        errors = [x for x in lines if x.startswith("keyward: ") and "keyward: warning: " not in x]
        if self.exit == 0 and errors:
            self.fault("a run that succeeds reports an error")
        if self.exit != 0 and not errors:
            self.fault('no line of standard error starts with "keyward: "')

    def output(self, folder):
        present = files_below(folder) if folder.exists() else {}
        if self.exit == 7 and self.good:
            self.same("whether there is a journal", present.pop(JOURNAL, None) is not None, True)
        for path in sorted(set(present) - set(self.good)):
            self.fault(f"{path} must not be in the output folder")
        for path, wanted in self.good.items():
            if path not in present:
                self.fault(f"{path} is missing")
                continue
            info = present[path].stat()
            self.same(f"the size of {path}", info.st_size, wanted["size"])
            self.same(f"the SHA-256 of {path}", sha256(present[path]), wanted["sha256"])
            self.same(f"the mode of {path}", oct(stat.S_IMODE(info.st_mode)), "0o600")
        if folder.exists():
            for below in [folder, *(x for x in folder.rglob("*") if x.is_dir())]:
                self.same(f"the mode of {below}", oct(stat.S_IMODE(below.stat().st_mode)), "0o700")

    def report(self, path):
        try:
            report = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            self.fault(f"the report can't be read: {error}")
            return
        self.same("exit_code in the report", report["exit_code"], self.exit)
        files = {file["path"]: file for file in report["files"]}
        self.same("the number of paths in the report", len(files), len(report["files"]))
        wanted = {}
        if self.exit in (0, 7):  # else the run ended before its files
            wanted |= dict.fromkeys(self.good, "decrypted")
            wanted |= dict.fromkeys(self.plain, "unencrypted")
            wanted |= dict.fromkeys(self.bad, "failed")
        for name, status in wanted.items():
            if name not in files:
                self.fault(f"the report does not have {name}")
                continue
            self.file_in_report(name, files[name], status)
        for name in set(files) - set(wanted):
            if files[name]["status"] not in ("failed", "not-reached"):
                self.fault(f"the report says {files[name]['status']} of {name}")
        if self.exit in (0, 7) and self.expected.get("key"):
            self.same("key.id", report["key"]["id"], self.token.id_of(self.expected["key"]))
        if self.exit in (0, 7) and self.expected.get("alg"):
            self.same("key.algorithm", report["key"]["algorithm"], self.expected["alg"])
        totals = report["totals"]
        for status in ("decrypted", "failed", "unencrypted"):
            count = sum(file["status"] == status for file in files.values())
            self.same(f"totals.{status}", totals[status], count)
        self.same("totals.files", totals["files"], len(files))
        self.same("totals.bytes_out", totals["bytes_out"], sum(f["size"] for f in self.good.values()))

    def file_in_report(self, name, file, status):
        self.same(f"the status of {name}", file["status"], status)
        self.same(f"whether {name} has an error", file["error"] is not None, status == "failed")
        if status == "decrypted":
            encrypted = self.drop / name
            self.same(f"bytes_out of {name}", file["bytes_out"], self.good[name]["size"])
            self.same(f"bytes_in of {name}", file["bytes_in"], encrypted.stat().st_size)
            self.same(f"sha256 of {name}", file["sha256"], sha256(encrypted))


def run_drop(command, token, drop, expected):
    check = Check(token, drop, expected)
    with tempfile.TemporaryDirectory(prefix="keyward-e2e-") as scratch:
        out = pathlib.Path(scratch, "out")
        report = pathlib.Path(scratch, "report.json")
        arguments = ["decrypt", str(drop), "--out", str(out), "--report", str(report)]
        if "KW_TEST_UNDER" in os.environ:  # valgrind does not know the system calls for that
            arguments.append("--no-sandbox")
        done = subprocess.run(
            [*command, *arguments, *token.options()],
            capture_output=True, text=True, timeout=RUN_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        check.outcome(done)
        check.output(out)
        check.report(report)
        left = set(os.listdir(scratch)) - {"out", "report.json"}
        check.same("what else was written", sorted(left), [])
    return check.faults, done


def reason_to_skip(token, expected):
    """Why the token can't show what the drop is to show; None if it can."""
    if "key" in expected:
        return token.missing.get(expected["key"])
    return next(iter(token.missing.values()), None)  # it may need any of them


def main():
    if len(sys.argv) < 3 or "KW_TEST_TOKEN" not in os.environ:
        sys.exit(__doc__)
    command = [*os.environ.get("KW_TEST_UNDER", "").split(), os.path.abspath(sys.argv[1])]
    folder = pathlib.Path(sys.argv[2])
    token = testtoken.make()
    token.import_keys(folder)
    drops = json.loads((folder / "expected.json").read_text())
    if len(sys.argv) > 3:
        drops = {name: drops[name] for name in sys.argv[3:]}
    print(f"1..{len(drops)}")
    failed = 0
    for number, (name, expected) in enumerate(drops.items(), 1):
        title = f"{number} {folder.name}/{name} on {token.kind}"
        if reason := reason_to_skip(token, expected):
            print(f"ok {title} # skip {reason}")
            continue
        try:
            faults, done = run_drop(command, token, folder / name, expected)
            output = done.stdout + done.stderr
        except Exception as error:  # the other drops are tested all the same
            faults, output = [f"{type(error).__name__}: {error}"], ""
        print(f"{'not ok' if faults else 'ok'} {title}")
        if faults:
            failed += 1
            for line in [*faults, *output.splitlines()[-8:]]:
                print(f"# {line}")
        sys.stdout.flush()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
