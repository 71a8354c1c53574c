#!/usr/bin/env python3
"""Every fault that PKCS#11 allows, in every call of a run.

Usage: faults.py [--full] [--only KIND] PROGRAM MODULE, under with-softhsm. MODULE is the one with
faults (tests/pkcs11/fault_script.h).

The calls of each function in a run are counted; then, for each function, each call of it in turn
answers each CK_RV that cryptoki.py lists, once and from then on. Whatever happens, the run ends in
time, by itself, with the right plaintext and 0, or with the exit code of the fault's family and one
sentence; nothing else is ever under a final name; and the PIN is not sent again after it was
refused. A fault that passes ends no run where it comes once. Then what is lost behind the run's
back, answers of a wrong shape, calls that hang, and pairs of faults. Without --full it is a sample
of all that; KIND is one of SAMPLES below. What is drawn comes from a seed, which is printed; KW_TEST_SEED gives it. Prints TAP."""

import argparse
import os
import random
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout stays as it is
import cryptoki  # noqa: E402
import faultlab  # noqa: E402
import suite  # noqa: E402
from faultlab import Fault, rule  # noqa: E402

PIN, KEY, TOKEN = cryptoki.PIN, cryptoki.KEY, cryptoki.TOKEN
# How many of each kind: in the short form, and in the full one, where None is all of them.
SAMPLES = {
    "single": (60, None),
    "single elsewhere": (8, 250),
    "lost": (35, None),
    "shape": (25, None),
    "pin": (6, None),
    "hang": (1, None),
    "pair": (15, 600),
}
ALL_ONES = (1 << 64) - 1
FINAL_TRY = 0x00020000  # CKF_USER_PIN_FINAL_TRY
WRONG_PIN = cryptoki.NUMBERS["CKR_PIN_INCORRECT"]


# ---- one answer ----


def single(function, answer, first, once):
    script = rule(function, "answer", cryptoki.NUMBERS[answer], first, int(once))
    allowed = {0}
    if not (once and cryptoki.passes(function, answer)):
        allowed |= cryptoki.exit_codes(function, answer)
    # A login that the token only says is there: it shows what anybody may see.
    hides = (function == "C_GetAttributeValue" and not once) or (
        function == "C_Login" and answer == "CKR_USER_ALREADY_LOGGED_IN"
    )
    what = f"{function} {answer} {'at' if once else 'from'} call {first}"
    return Fault(script, allowed, what, hides)


def singles(counts):
    for function, calls in counts.items():
        for answer in dict.fromkeys([*cryptoki.ANSWERS[function], *cryptoki.OWN]):
            for first in range(1, calls + 1):
                for once in (True, False):
                    yield single(function, answer, first, once)


# ---- what is lost behind a run's back ----

# What it is, how the script says so, and whether a run must get over it.
LOSSES = [
    ("the session is closed", "close", 0, True),
    ("all sessions are closed", "close-all", 0, True),
    ("somebody logs out", "log-out", 0, True),
    ("all handles are renumbered", "renumber", 0, True),
    ("handles mean other keys", "swap", 0, True),
    ("the connection crashes", "crash", cryptoki.NUMBERS["CKR_DEVICE_ERROR"], True),
    ("the connection crashes", "crash", cryptoki.NUMBERS["CKR_GENERAL_ERROR"], True),
    ("the token is away for a call", "away-calls", 1, True),
    ("the token is away for some calls", "away-calls", 6, False),
    ("the token is away for a moment", "away-ms", 25, False),
    *[
        (f"the answer is lost, {name}", "lost", cryptoki.NUMBERS[name], True)
        for name in ("CKR_DEVICE_REMOVED", "CKR_DEVICE_ERROR", "CKR_SESSION_HANDLE_INVALID",
                     "CKR_HOST_MEMORY", "CKR_GENERAL_ERROR")
    ],
]  # fmt: skip


def losses(counts, order):
    """At each call of a run, whose functions are given in their order."""
    for first, function in enumerate(order, 1):
        if function in ("C_GetFunctionList", "C_Initialize"):  # nothing is there to be lost
            continue
        for what, action, value, survives in LOSSES:
            allowed = {0} if survives else {0, TOKEN}
            # Of two keys that are read by turns one is not seen: none is taken for another.
            if action == "swap" and function == "C_GetAttributeValue":
                allowed = {0, KEY}
            yield Fault(
                rule("any", action, value, first, 1), allowed, f"{what} at {function} {first}"
            )
    for first in range(1, counts["C_FindObjects"] + 1):
        script = rule("C_FindObjects", "other-key", 0, first, 1)
        yield Fault(script, {0}, "another key's handle")


# ---- answers of a wrong shape ----

SHAPES = [
    *[("C_GetSlotList", "length", x) for x in (0, 5, 4096, 4097, 1 << 40, ALL_ONES)],
    *[("C_FindObjects", "length", x) for x in (0, 513, 1 << 40, ALL_ONES)],
    *[("C_GetAttributeValue", "length", x) for x in (0, 1, 7, 1 << 16, 1 << 63, ALL_ONES - 1, ALL_ONES)],
    *[("C_Decrypt", "length", x) for x in (0, 1, 31, 33, 64, 256, 257, 1 << 63, ALL_ONES)],
    *[("C_Sign", "length", x) for x in (0, 255, 257, 1 << 63, ALL_ONES)],
    *[
        (function, "noise", x)
        for function in ("C_GetInfo", "C_GetSlotInfo", "C_GetTokenInfo", "C_GetSessionInfo",
                         "C_GetAttributeValue")
        for x in (0, 0x1B, 0x41, 0xFF)
    ],
]  # fmt: skip


def shapes(counts):
    for function, action, value in SHAPES:
        for first in range(1, counts[function] + 1):
            for calls in (1, 0):
                # A token that lies about itself may be taken for one that wants another PIN.
                yield Fault(
                    rule(function, action, value, first, calls), {0, PIN, KEY, TOKEN},
                    f"{function} {action} {value:#x} {'at' if calls else 'from'} call {first}", True,
                )  # fmt: skip


# ---- the PIN ----


def pins(counts, order):
    """The login is lost at each call, and the PIN is no longer good, or would be the last try."""
    yield Fault(rule("C_GetTokenInfo", "flags", FINAL_TRY) + ";" + rule("C_Login", "crash", 5),
                {PIN}, "no PIN at the final try")  # fmt: skip
    login = order.index("C_Login") + 1
    seen = order[:login].count("C_GetTokenInfo")
    for first in range(login + 1, len(order) + 1):
        lost = rule("any", "close-all", 0, first, 1)
        yield Fault(f"{lost};{rule('C_Login', 'answer', WRONG_PIN, 2)}", {0, PIN},
                    f"the PIN was changed, and the login is lost at call {first}")  # fmt: skip
        # Were the PIN sent, it would be refused: twice would be seen.
        yield Fault(
            f"{lost};{rule('C_GetTokenInfo', 'flags', FINAL_TRY, seen + 1)};"
            f"{rule('C_Login', 'crash', WRONG_PIN, 2)}", {0, PIN},
            f"the final try, and the login is lost at call {first}",
        )  # fmt: skip


# ---- calls that hang, and two faults ----


def hangs(counts, draw):
    for function, calls in counts.items():
        if function == "C_GetFunctionList":  # which no deadline is for
            continue
        script = rule(function, "hang", 0, draw.randint(1, calls), 1)
        yield Fault(script, {0, TOKEN}, f"{function} hangs", function == "C_GetAttributeValue")


def pairs(faults, draw):
    for _ in range(SAMPLES["pair"][True]):
        one, other = draw.sample(faults, 2)
        yield Fault(
            f"{one.script};{other.script}", one.allowed | other.allowed | {KEY, TOKEN},
            f"{one.what}, and {other.what}", one.hides or other.hides,
        )  # fmt: skip


# ---- the tests ----


class Tests:
    def __init__(self, lab, options, draw):
        self.lab, self.full, self.only, self.draw = lab, options.full, options.only, draw

    def sample(self, kind, faults):
        faults, most = list(faults), SAMPLES[kind][self.full]
        if self.only not in (None, kind):
            return []
        return faults if most is None else self.draw.sample(faults, min(most, len(faults)))

    def plan(self):
        """Titles, ways to use the token, and faults in it."""
        decrypt = faultlab.Decrypt()
        counts = self.lab.count_calls(decrypt)
        order = [function for function, _ in self.lab.calls()]
        all_singles = list(singles(counts))
        answers = {x for y in counts for x in [*cryptoki.ANSWERS[y], *cryptoki.OWN]}
        print(f"# {len(counts)} functions, {counts.total()} calls, {len(answers)} CK_RVs: {dict(counts)}")
        yield "one wrong answer", decrypt, self.sample("single", all_singles)
        for work in (faultlab.Cat(), faultlab.KeyList(), faultlab.DecryptDisabled()):
            faults = singles(self.lab.count_calls(work))
            faults = [x._replace(allowed=x.allowed | work.usual) for x in faults]
            yield "one wrong answer", work, self.sample("single elsewhere", faults)
        yield "what is lost", decrypt, self.sample("lost", losses(counts, order))
        yield "a wrong shape", decrypt, self.sample("shape", shapes(counts))
        yield "the PIN", decrypt, self.sample("pin", pins(counts, order))
        yield "a call that hangs", decrypt, self.sample("hang", hangs(counts, self.draw))
        yield "two faults", decrypt, self.sample("pair", pairs(all_singles, self.draw))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", choices=SAMPLES)
    parser.add_argument("program")
    parser.add_argument("module")
    options = parser.parse_args()
    seed = suite.seed()
    tap = suite.Tap()
    with tempfile.TemporaryDirectory(prefix="keyward-faults-") as scratch:
        lab = faultlab.Lab(
            os.path.abspath(options.program), os.path.abspath(options.module), scratch
        )
        for title, work, faults in Tests(lab, options, random.Random(seed)).plan():
            if faults:
                tap.run(f"{title} in {work.title}", lambda: lab.run_all(work, faults))  # noqa: B023
        print(f"# in all {faultlab.figures(lab.tally)}")
    tap.end()


if __name__ == "__main__":
    main()
