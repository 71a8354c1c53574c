#!/usr/bin/env python3
"""The token, or the program, is taken away in the middle of making a key.

Usage: loss.py PROGRAM [MOMENTS], under with-p11kit (its server is killed) or with-softhsm (its folder
is moved away and back); and the program itself is killed on either. Create, rotate and byok import
are cut off at so many moments (20) from their start to their usual end. Afterwards, with the token back, the name has
either one more whole key or none: no private half without its public one, and nothing lost that was
there. The moments are drawn from a seed, which is printed; KW_TEST_SEED gives it. Prints TAP."""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import objects  # noqa: E402
import others  # noqa: E402
import suite  # noqa: E402

MOMENTS = 20
SECONDS = 60
HSM_SETUP = pathlib.Path(__file__).resolve().parent.parent.parent / "hsm-setup"


# ---- what can be taken away ----


class Kill:
    """SoftHSM2 writes token.object anew, in place, in each login: what is killed at that moment
    leaves half of it, and the token is lost. So it is put back as it was."""

    def __init__(self):
        self.kept = [(x, x.read_bytes()) for x in setup_folder().rglob("token.object")]

    def give_back(self):
        for path, data in self.kept:
            path.write_bytes(data)


class Program(Kill):
    """Killed itself; the token stays."""

    title = "the program is killed"
    outlives = False

    def take(self, process):
        process.kill()


class Server(Kill):
    """p11-kit's server, and what it started for each client."""

    title = "p11-kit's server is killed"
    outlives = True

    def take(self, process):
        send(server_processes(), signal.SIGKILL)

    def give_back(self):
        super().give_back()
        self.start()

    def start(self):
        """What was killed may still be writing, so that the first try finds no token."""
        command = [HSM_SETUP / "p11-kit", setup_folder()]
        for _ in range(3):
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            if done.returncode == 0:
                return
            time.sleep(0.2)
        raise RuntimeError(done.stderr)


def setup_folder():
    return pathlib.Path(os.environ["KW_TEST_PIN_FILE"]).parent


def server_pid():
    """0 where there is no server."""
    file = setup_folder() / "server.pid"
    return int(file.read_text()) if file.exists() else 0


def children(parent):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it ended
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def server_processes():
    """The server, and what it started for each client."""
    server = server_pid()
    return [server, *children(server)]


def send(processes, number):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):  # its client is gone, and it after it
            os.kill(process, number)


@contextlib.contextmanager
def stopped():
    """p11-kit's server answers nothing, and goes on afterwards."""
    processes = server_processes()
    try:
        send(processes, signal.SIGSTOP)
        yield
    finally:
        send(processes, signal.SIGCONT)


def settle():
    """Waits for what p11-kit's server still does for a program that was killed."""
    end = time.monotonic() + SECONDS
    while server_pid() and children(server_pid()):
        assert time.monotonic() < end, "the server goes on and on"
        time.sleep(0.05)


class Folder:
    """SoftHSM2's, moved away for a moment while the program goes on."""

    title = "SoftHSM2's folder is away for a moment"
    outlives = True

    def __init__(self):
        self.there = pathlib.Path(os.environ["SOFTHSM2_CONF"]).parent / "tokens"
        self.away = self.there.with_name("away")

    def take(self, process):
        self.there.rename(self.away)
        time.sleep(0.1)
        self.give_back()

    def give_back(self):
        if self.away.exists():
            if self.there.exists():  # what was made meanwhile
                subprocess.run(["cp", "-r", f"{self.there}/.", self.away], check=True)
                subprocess.run(["rm", "-r", self.there], check=True)
            self.away.rename(self.there)


def takers():
    yield Program()
    if "P11_KIT_SERVER_ADDRESS" in os.environ:
        yield Server()
    elif "SOFTHSM2_CONF" in os.environ:
        yield Folder()


# ---- what is cut off ----


class Create:
    title = "create"

    def __init__(self, bench, prefix):
        self.bench = bench
        self.prefix = f"{prefix}-{type(self).__name__}"

    def command(self, i):
        return ["key", "create", f"{self.prefix}-{i}", "--expires", suite.END]


class Rotate(Create):
    """All make versions of one key."""

    title = "rotate"

    def __init__(self, bench, prefix):
        super().__init__(bench, prefix)
        bench.expect(0, "key", "create", self.prefix, "--expires", suite.END)

    def command(self, i):
        return ["key", "rotate", self.prefix, "--expires", suite.END]


class Import(Create):
    title = "byok import"

    def command(self, i):
        kek, path = self.bench.kek(2048), self.bench.scratch / "lost.byok"
        if not path.exists():
            others.make_file(others.OTHERS[0], path, kek, self.bench.host_key(2048))
        return [
            "byok", "import", str(path), "--kek", kek["name"], "--name", f"{self.prefix}-{i}",
            "--expires", suite.END,
        ]  # fmt: skip


# ---- the tests ----


def usual_seconds(bench, work):
    command = work.command("usual")
    start = time.monotonic()
    done = bench.run(*command)
    suite.need(done.returncode != suite.KEY, f"the token does not: {suite.sentence(done)}")
    assert done.returncode == 0, done.errors
    return time.monotonic() - start


def cut_off(bench, command, taker, seconds):
    """Whether the program says that it made a key."""
    process = bench.start(*command)
    time.sleep(seconds)
    try:
        taker.take(process)
        bench.wait(process)
    finally:
        process.kill()
        taker.give_back()
    if taker.outlives:
        assert process.returncode >= 0, f"it died of signal {-process.returncode}"
        assert process.returncode == 0 or suite.sentence(process), process.errors
    return process.returncode == 0


def assert_whole_or_none(things):
    """How many keys there are. A public half alone is no key yet, and an object without a name or a
    modulus is what SoftHSM2 leaves of one that it began to write."""
    things = [x for x in things if x["class"] in ("private", "public")]
    finished = [x for x in things if x["label"] and x["modulus"]]
    private = [x for x in finished if x["class"] == "private"]
    public = {x["id"]: x["modulus"] for x in finished if x["class"] == "public"}
    torn = [x for x in private if public.get(x["id"]) != x["modulus"]]
    assert len({x["id"] for x in private}) == len(private), "an id twice"
    print(
        f"# {len(private) - len(torn)} keys, {len(torn)} private halves alone, "
        f"{len(public) - len(private) + len(torn)} public ones, {len(things) - len(finished)} unfinished"
    )
    assert not torn, f"private halves without public ones: {torn}"
    return private


def take_away(bench, kind, taker, moments, draw):
    work = kind(bench, type(taker).__name__)
    usual, said, before = usual_seconds(bench, work), 0, objects.read()
    there = len(assert_whole_or_none(before))
    for i in range(moments):
        # Evenly over the time that it takes, and by chance within each part.
        seconds = usual * (i + draw.random()) / moments
        said += cut_off(bench, work.command(i), taker, seconds)
    settle()
    after = objects.read()
    print(f"# {moments} times in {usual:.2f} s, {said} told of success")
    private = assert_whole_or_none(after)
    made = len(private) - there
    assert said <= made <= moments, f"{made} keys were made"
    assert not set(suite.names(before)) - set(suite.names(after)), "keys of before are lost"
    listed = json.loads(bench.expect(0, "key", "list", "--json").output)["keys"]
    listed = [x["id"] for x in listed if x["modulus"]]
    assert sorted(listed) == sorted(x["id"] for x in private), listed


def main():
    if len(sys.argv) not in (2, 3) or "KW_TEST_TOKEN" not in os.environ:
        sys.exit(__doc__)
    moments = int(sys.argv[2]) if len(sys.argv) > 2 else MOMENTS
    seed = suite.seed()
    tap = suite.Tap()
    with tempfile.TemporaryDirectory(prefix="keyward-loss-") as scratch:
        bench = suite.Bench(os.path.abspath(sys.argv[1]), scratch, False)
        bench.report["verdicts"]["unwrap"] = "yes"
        for taker in takers():
            for kind in (Create, Rotate, Import):
                draw = random.Random(seed)
                tap.run(
                    f"{taker.title} in the middle of {kind.title}",
                    lambda: take_away(bench, kind, taker, moments, draw),  # noqa: B023 # called at once
                )
    tap.end()


if __name__ == "__main__":
    main()
