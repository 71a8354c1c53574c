#!/usr/bin/env python3
"""A process that unwraps goes on while its token goes away and comes back, again and again.

Usage: outlast.py PROGRAM OUTLAST [ROUNDS], under with-p11kit (its server is killed and started again)
or with-softhsm (its folder is moved away and back). OUTLAST is tests/api/outlast.c: one keyring for
all unwraps. In each round (12) the token is taken away at a random moment of an unwrap, or before
it; the next unwraps fail in the token's family or, as long as the module needs nothing from outside,
give the right plaintext; and the first one after the token came back works, in the same process.
The same of decrypt, where each run is a process: none ends but with the right files, or none. The
moments come from a seed, which is printed; KW_TEST_SEED gives it. Prints TAP."""

import contextlib
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import cryptoki  # noqa: E402
import loss  # noqa: E402
import suite  # noqa: E402

ROUNDS = 12
SECONDS = 60
TEXT = "what every file says"
AWAY = {cryptoki.TOKEN, cryptoki.KEY}  # a folder that is gone may be seen as a token without keys


class Folder(loss.Folder):
    """Away until it is given back."""

    title = "SoftHSM2's folder is moved away"

    def take(self, process):
        self.there.rename(self.away)


def takers():
    if "P11_KIT_SERVER_ADDRESS" in os.environ:
        yield loss.Server()
    elif "SOFTHSM2_CONF" in os.environ:
        yield Folder()


class Drops:
    """As many as are asked for: an unwrap that was done before needs no token."""

    def __init__(self, bench):
        self.bench = bench
        self.count = 0
        self.source = bench.scratch / "plain"
        self.source.mkdir()
        (self.source / "a.txt").write_text(TEXT + "\n")
        bench.expect(0, "key", "create", "outlast", "--no-expiry")

    def make(self, count):
        made = []
        for _ in range(count):
            self.count += 1
            made.append(self.bench.scratch / f"drop-{self.count}")
            self.bench.expect(0, "seal", str(self.source), "--out", str(made[-1]), "--key", "outlast")
        return made


class Process:
    """outlast.c, which is never started again."""

    def __init__(self, program, scratch):
        config = scratch / "outlast.conf"
        config.write_text(
            f"[token t]\nmodule = {os.environ['KW_TEST_MODULE']}\nuri = pkcs11:token=keyward\n"
            f"pin-source = file:{os.environ['KW_TEST_PIN_FILE']}\ntimeout = 5\n"
            f"[audit]\ndir = {scratch / 'outlast-trail'}\n"
        )
        self.process = subprocess.Popen(
            [program, config], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, drop):
        self.process.stdin.write(f"{drop}\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f"the process ended with {self.process.wait(SECONDS)}"
        code, _, text = line.strip().partition(" ")
        return int(code), text

    def unwrap(self, drop):
        self.ask(drop)
        return self.answer()

    def end(self):
        self.process.stdin.close()
        assert self.process.wait(SECONDS) == 0, "it did not end well"


@contextlib.contextmanager
def taken(taker, process=None):
    taker.take(process)
    try:
        yield
    finally:
        taker.give_back()


def check_away(code, text):
    """While the token is away, or in the moment in which it goes."""
    if code == 0:
        assert text == TEXT, f"wrong plaintext: {text}"
    else:
        assert code in AWAY, f"{code}: {text}"
        assert text, "it says nothing of why"
    return code == 0


def outlasts(drops, taker, program, rounds, draw):
    """In the middle of unwraps, and between them."""
    process = Process(program, drops.bench.scratch)
    (first,) = drops.make(1)
    began = time.monotonic()
    assert process.unwrap(first) == (0, TEXT)
    (second,) = drops.make(1)
    began = time.monotonic()
    assert process.unwrap(second) == (0, TEXT)
    usual, survived, failed = time.monotonic() - began, 0, 0
    for _ in range(rounds):
        during, away, back, after = drops.make(4)
        process.ask(during)
        time.sleep(max(0.0, draw.uniform(-0.3, 1.3)) * usual)
        with taken(taker):
            for answer in (process.answer(), process.unwrap(away)):
                good = check_away(*answer)
                survived += good
                failed += not good
        for drop in (back, after):
            code, text = process.unwrap(drop)
            assert (code, text) == (0, TEXT), f"it did not come back: {code} {text}"
    process.end()
    print(f"# taken away {rounds} times: {survived} unwraps went well all the same, {failed} failed")
    print(f"# {2 * rounds + 2} unwraps with the token there all went well, in one process")


def runs(drops, taker, rounds, draw):
    """Each is whole or has nothing; and the next one is whole."""
    bench, good = drops.bench, 0
    (drop,) = drops.make(1)
    began = time.monotonic()
    bench.expect(0, "decrypt", str(drop), "--out", str(bench.scratch / "usual"))
    usual = time.monotonic() - began
    for i in range(rounds):
        out = bench.scratch / f"out-{i}"
        process = bench.start("decrypt", str(drop), "--out", str(out))
        time.sleep(usual * draw.random())
        with taken(taker, process):
            time.sleep(0.02)
        bench.wait(process)
        files = [x.read_text() for x in out.rglob("*") if x.is_file()] if out.exists() else []
        good += check_away(process.returncode, files[0].strip() if files else suite.sentence(process))
        assert process.returncode == 0 or not files, f"it left {files}"
        bench.expect(0, "decrypt", str(drop), "--out", str(bench.scratch / f"next-{i}"))
    print(f"# {good} of {rounds} runs went well all the same, and all that followed")


def main():
    if len(sys.argv) not in (3, 4) or "KW_TEST_TOKEN" not in os.environ:
        sys.exit(__doc__)
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else ROUNDS
    seed = suite.seed()
    tap, draw = suite.Tap(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="keyward-outlast-") as scratch:
        bench = suite.Bench(os.path.abspath(sys.argv[1]), pathlib.Path(scratch), False)
        drops = Drops(bench)
        for taker in takers():
            tap.run(
                f"{taker.title}: one process goes on",
                lambda: outlasts(drops, taker, os.path.abspath(sys.argv[2]), rounds, draw),  # noqa: B023
            )
            tap.run(f"{taker.title}: runs", lambda: runs(drops, taker, rounds, draw))  # noqa: B023
    tap.end()


if __name__ == "__main__":
    main()
