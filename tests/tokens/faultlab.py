"""The program on a token that fails: runs by a script of the module with faults, and what is right
of what becomes of them (tests/pkcs11/fault_script.h)."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import time

import cryptoki
import suite

TIMEOUT = 2  # of the [token], in seconds
DEADLINE = 20  # a run that takes longer hangs
TOLD = 40  # of those that were wrong

# One run: its script, the exit codes that it may end with, what it is, and whether what the token
# does not tell may be missing after success.
Fault = collections.namedtuple("Fault", "script allowed what hides", defaults=(False,))


class Wrong(AssertionError):
    """What a run did and should not have."""


def rule(function, action, value=0, first=1, calls=0):
    return f"{function} {action} {value:#x} {first} {calls}"


class Lab:
    """The token behind the module with faults, small drops, and the runs."""

    def __init__(self, program, module, scratch):
        self.program = program
        self.scratch = pathlib.Path(scratch)
        self.out, self.trail = self.scratch / "out", self.scratch / "trail"
        self.log = self.scratch / "calls"
        self.config = self.scratch / "keyward.conf"
        self.config.write_text(
            f"[token t]\nmodule = {module}\nuri = pkcs11:token=keyward\n"
            f"pin-source = file:{os.environ['KW_TEST_PIN_FILE']}\ntimeout = {TIMEOUT}\n"
            f"[audit]\ndir = {self.trail}\n"
            # What the module with faults writes, and the one behind it.
            f"[sandbox]\nwrite = {scratch}:{os.path.dirname(os.environ['SOFTHSM2_CONF'])}\n"
        )
        self.environment = {**os.environ, "KW_FAULT_REAL_MODULE": os.environ["KW_TEST_MODULE"]}
        self.source = {"a.json": b'{"id":1,"text":"one"}\n', "b/c.json": b'{"id":2}\n' * 40}
        for name, data in self.source.items():
            path = self.scratch / "source" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.drop, self.shut = self.seal_for("open"), self.seal_for("shut")
        self.must("key", "disable", "shut")
        self.keys = {x["label"] for x in self.list_keys(self.must("key", "list", "--json"))}
        self.tally = collections.Counter()

    def seal_for(self, key):
        drop = self.scratch / f"drop-{key}"
        self.must("key", "create", key, "--no-expiry")
        self.must("seal", self.scratch / "source", "--out", drop, "--key", key)
        return drop

    def list_keys(self, done):
        return json.loads(done.stdout)["keys"]

    def start(self, script, *arguments):
        """Runs the program; gives what it did."""
        for folder in (self.out, self.trail):
            shutil.rmtree(folder, ignore_errors=True)
        self.log.write_text("")
        environment = {**self.environment, "KW_FAULT_LOG": str(self.log), "KW_FAULT_SCRIPT": script}
        try:
            done = subprocess.run(
                [self.program, *map(str, arguments), "--config", self.config, "--token", "t"],
                capture_output=True, env=environment, timeout=DEADLINE, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise Wrong(f"it did not end within {DEADLINE} s: {late.stderr}") from late
        done.errors = done.stderr.decode(errors="replace")
        return done

    def must(self, *arguments):
        done = self.start("", *arguments)
        assert done.returncode == 0, done.errors
        return done

    def calls(self):
        """Functions and answers, in their order."""
        pairs = [x.split() for x in self.log.read_text().splitlines()]
        return [(function, int(answer, 16)) for function, answer in pairs]

    def count_calls(self, work):
        """By function, of a run without a fault."""
        done = self.start("", *work.arguments(self))
        judge(self, work, done, Fault("", work.usual, "no fault"))
        return collections.Counter(function for function, _ in self.calls())

    def run_all(self, work, faults):
        """Each of them; what was wrong is told at the end."""
        wrong, sentences, tally = [], set(), collections.Counter()
        began = time.monotonic()
        for fault in faults:
            try:
                done = self.start(fault.script, *work.arguments(self))
                tally[judge(self, work, done, fault)] += 1
                alone = ";" not in fault.script and fault.script.startswith("C_Decrypt answer ")
                if alone and done.returncode == cryptoki.KEY:
                    sentences.add(suite.sentence(done))
            except Wrong as error:
                wrong.append(f"{fault.what} ({fault.script}): {error}")
        if len(sentences) > 1:
            wrong.append(f"failures of an unwrap are told apart: {sentences}")
        for text in wrong[:TOLD]:
            print("# " + text.strip().replace("\n", "\n#   "))
        self.tally += tally
        print(f"# {figures(tally)}; {time.monotonic() - began:.0f} s")
        assert not wrong, f"{len(wrong)} of {len(faults)} went wrong"


def figures(tally):
    refused = ", ".join(f"{tally[x]} with exit code {x}" for x in sorted(tally) if x)
    return f"{tally.total()} faults: {tally[0]} survived, {refused or 'none'} refused"


# ---- the ways to use a token ----


class Decrypt:
    title = "decrypt"
    usual = {0}

    def arguments(self, lab):
        return "decrypt", lab.drop, "--out", lab.out, "--jobs", "1"

    def is_whole(self, lab, done):
        """Whether all is there; what is not right must not be there at all."""
        found = {
            str(x.relative_to(lab.out)): x.read_bytes()
            for x in lab.out.rglob("*")
            if x.is_file() and x.name != ".keyward-journal"
        }
        if wrong := [x for x in found if found[x] != lab.source.get(x)]:
            raise Wrong(f"wrong plaintext under a final name: {wrong}")
        return found == lab.source


class DecryptDisabled(Decrypt):
    """With a key that was disabled, which no fault enables."""

    title = "decrypt with a disabled key"
    usual = {cryptoki.KEY}

    def arguments(self, lab):
        return "decrypt", lab.shut, "--out", lab.out, "--jobs", "1"

    def is_whole(self, lab, done):
        if done.returncode == 0 or any(x.is_file() for x in lab.out.rglob("*")):
            raise Wrong("a disabled key decrypted")
        return False


class Cat:
    title = "cat"
    usual = {0}

    def arguments(self, lab):
        return "cat", lab.drop, "b/c.json"

    def is_whole(self, lab, done):
        if not lab.source["b/c.json"].startswith(done.stdout):
            raise Wrong("wrong plaintext on standard output")
        return lab.source["b/c.json"] == done.stdout


class KeyList:
    title = "key list"
    usual = {0}

    def arguments(self, lab):
        return "key", "list", "--json"

    def is_whole(self, lab, done):
        if done.returncode != 0:
            return False
        return {x["label"] for x in lab.list_keys(done)} == lab.keys


# ---- what is right ----


def check_pin(calls):
    """None is sent after it was refused; after an answer in doubt only if it was good before. Gives
    whether one is in doubt."""
    numbers = {cryptoki.NUMBERS[x] for x in cryptoki.PIN_REFUSED}
    doubtful = {cryptoki.NUMBERS[x] for x in cryptoki.PIN_IN_DOUBT}
    refused = accepted = in_doubt = False
    for function, answer in calls:
        if function != "C_Login":
            continue
        if refused:
            raise Wrong("a PIN was sent again after it had been refused")
        in_doubt |= answer in doubtful and not accepted
        refused = answer in numbers or in_doubt
        accepted |= answer == 0
    return in_doubt


def judge(lab, work, done, fault):
    """The exit code of a run that was in order."""
    code = done.returncode
    if code < 0:
        raise Wrong(f"it died of signal {-code}: {done.errors}")
    if "Sanitizer" in done.errors:
        raise Wrong(done.errors)
    whole = work.is_whole(lab, done)
    allowed = fault.allowed | ({cryptoki.TOKEN} if check_pin(lab.calls()) else set())
    if code not in allowed:
        raise Wrong(f"exit code {code}, not one of {sorted(allowed)}: {done.errors}")
    if code == 0 and not (whole or fault.hides):
        raise Wrong(f"it ended with 0 and is not whole: {done.errors}")
    if code != 0 and not suite.sentence(done):
        raise Wrong(f"it says nothing of why: {done.errors}")
    return code
