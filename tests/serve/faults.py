#!/usr/bin/env python3
"""Faults while clients unwrap through both listeners.

Usage: faults.py [--seconds S] [--kills N] [--shim FILE] PROGRAM, under tests/tokens/with-p11kit. The
shim is clock_shim.c's. What needs another token, or to mount, is skipped without it.

The token's server is killed and comes back; the disk of the trail is full and then is not; the
server's certificate is replaced; the clock jumps; the service is killed and started again. Whatever
happens: what was answered is in the trail as done, nothing is there twice, and each client that goes
on trying gets its own data key in the end. Prints TAP.
"""

import argparse
import collections
import contextlib
import errno
import http.client
import itertools
import os
import random
import ssl
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402

sys.path.append(str(service.ROOT / "tests/tokens"))
import loss  # noqa: E402
from service import Wrong  # noqa: E402

KEY = "faults"
VALUES = 500
WORKERS = 4
PATIENCE = 90  # seconds that a client goes on trying
TIMEOUT = 3  # seconds that a call of the token may take: p11-kit's client may wait for ever
GIVE_UP = 3  # seconds more after which the service ends
HUNG = 6  # the exit status then
AFTER = 5  # requests of each client that must be answered once the fault is over
SILENT = (OSError, http.client.HTTPException)


class Skip(Exception):
    """It can't be tried here."""


class Worker(threading.Thread):
    """One client. It goes on with a request until it has the data key."""

    def __init__(self, load, listener):
        super().__init__(daemon=True)
        self.load, self.listener = load, listener
        self.done, self.tries = 0, collections.Counter()
        self.answered = []  # the service's own ids of what was answered with 200
        self.fault = ""

    def run(self):
        client = None
        try:
            for number in self.load.numbers:
                if self.load.ended.is_set():
                    break
                client = client or self.client()
                self.get(client, number)
                self.done += 1
        except Exception as fault:  # noqa: BLE001: it is told by whoever joins
            self.fault = f"{self.listener}: {fault!r}"
        if client:
            client.close()

    def client(self):
        server = self.load.server
        return server.vault(timeout=20) if self.listener == "vault" else server.proxy(timeout=20)

    def get(self, client, number):
        plain, wrapped = self.load.values[number]
        proxy = self.listener == "proxy"
        path = f"/{service.PREFIX}/{KEY}/unwrapkey" if proxy else f"/keys/{KEY}/unwrapkey"
        body = service.unwrap_body(wrapped, proxy=proxy)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                answer = client.post(path, body)
            except SILENT as fault:
                self.tries[type(fault).__name__] += 1
                time.sleep(0.05)
                continue
            self.tries[answer.status] += 1
            if answer.status == 200:
                if service.from_base64url(answer.json["value"]) != plain:
                    raise Wrong("it answers with another data key")
                self.answered.append(answer.request_id)
                return
            if answer.status not in (429, 503):
                raise Wrong(f"it answers: {answer!r}")
            time.sleep(min(int(answer.headers["Retry-After"]), 1))
        raise Wrong(f"no answer in {PATIENCE} s: {dict(self.tries)}")


class Load:
    """Clients at work; at the end each of them must have been served."""

    def __init__(self, server, values):
        self.server, self.values = server, values
        self.numbers = iter(itertools.cycle(range(len(values))))
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.workers = [Worker(self, ("vault", "proxy")[i % 2]) for i in range(WORKERS)]

    def __enter__(self):
        self.numbers = Locked(self.numbers)
        for worker in self.workers:
            worker.start()
        self.wait(AFTER)
        return self

    def wait(self, more):
        """Until each client has got so many more."""
        goals = [worker.done + more for worker in self.workers]
        end = time.monotonic() + PATIENCE + 10
        while any(worker.done < goal for worker, goal in zip(self.workers, goals)):
            for worker in self.workers:
                if not worker.is_alive():
                    raise Wrong(worker.fault or "a client ended")
            if time.monotonic() > end:
                raise Wrong(f"clients are not served: {self.tries()}")
            time.sleep(0.02)

    def __exit__(self, kind, *unused):
        if not kind:
            self.wait(AFTER)
        self.ended.set()
        for worker in self.workers:
            worker.join(PATIENCE + 10)
        faults = [worker.fault for worker in self.workers if worker.fault]
        if faults and not kind:
            raise Wrong("\n".join(faults))

    def tries(self):
        return dict(sum((worker.tries for worker in self.workers), collections.Counter()))

    def count(self, what):
        return self.tries().get(what, 0)

    def silences(self):
        return sum(count for what, count in self.tries().items() if isinstance(what, str))


class Supervisor(threading.Thread):
    """Starts the service again where a hanging call made it end, as its unit does: the threads of
    p11-kit's client can all wait for each other once its server is gone (seen in 0.24.1)."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ended, self.restarts, self.fault = server, threading.Event(), 0, ""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.ended.set()
        self.join(PATIENCE)
        if self.fault:
            raise Wrong(self.fault)

    def run(self):
        while not self.ended.wait(0.05):
            code = self.server.process.poll()
            if code is None:
                continue
            # Each tells it when it decides to, and at its end.
            told = self.server.said().count("has not come back in")
            if code != HUNG or told != 2 * (self.restarts + 1):
                self.fault = f"the service ended with {code}"
                return
            try:
                self.server.start(ready=False)
            except Exception as fault:  # noqa: BLE001: it is told by whoever ends this
                self.fault = repr(fault)
                return
            self.restarts += 1


class Locked:
    """An iterator that threads may share."""

    def __init__(self, iterator):
        self.iterator, self.lock = iterator, threading.Lock()

    def __iter__(self):
        return self

    def __next__(self):
        with self.lock:
            return next(self.iterator)


# ---- the trail ----


def judge_trail(server, load):
    """What was answered is there as done, and nothing twice."""
    seen, done = collections.Counter(), set()
    for record in server.records():
        request = record.get("request", {}).get("request", "").replace("-", "")
        if not request:
            continue
        seen[request, record["op"], record.get("phase")] += 1
        if record.get("phase") == "outcome" and record.get("status", "ok") == "ok":
            done.add(request)
    twice = [what for what, count in seen.items() if count > 1]
    answered = [each.replace("-", "") for worker in load.workers for each in worker.answered]
    missing = [each for each in answered if each not in done]
    if twice:
        raise Wrong(f"{len(twice)} are in the trail more than once: {twice[:3]}")
    if missing:
        raise Wrong(f"{len(missing)} of {len(answered)} answers are not in the trail: {missing[:3]}")
    if len(set(answered)) != len(answered):
        raise Wrong("two answers have the same x-ms-request-id")
    server.verify_trail()
    return f"{len(answered)} answers, tries {load.tries()}"


# ---- the faults ----


class Faults:
    def __init__(self, given, scratch):
        self.given, self.scratch = given, service.pathlib.Path(scratch)
        self.chance = random.Random(given.seed)
        self.count = 0
        service.testtoken.make().tool(
            "--keypairgen", "--key-type", "rsa:2048", "--id", os.urandom(16).hex(), "--label", KEY,
            "--usage-decrypt",
        )  # fmt: skip
        self.values = None

    @contextlib.contextmanager
    def under_load(self, **options):
        """A service of its own, with clients that wait for what happens to it."""
        self.count += 1
        scratch = self.scratch / str(self.count)
        scratch.mkdir()
        with service.Service(self.given.program, scratch, **options) as server:
            public = server.public_key(KEY)
            plain = [number.to_bytes(32, "big") for number in range(VALUES)]
            values = [(each, service.wrap(public, each)) for each in plain]
            load = Load(server, values)
            with load:
                yield server, load
            load.said = judge_trail(server, load)

    def token_server(self):
        self.needs_server()
        with self.under_load(timeout=TIMEOUT, give_up=GIVE_UP) as (server, load):
            with Supervisor(server) as supervisor:
                self.lose_often(server, load)
        return f"{load.said}, {supervisor.restarts} restarts"

    def needs_server(self):
        if os.environ["KW_TEST_TOKEN_KIND"] != "p11-kit":
            raise Skip("the token is behind no server")

    def lose_often(self, server, load):
        for number in range(self.given.kills):
            before, token = load.count(503), loss.Server()
            try:
                token.take(server.process)
                until(lambda: load.count(503) > before, "no client is told of a lost token")
                until(lambda: ready(server) == 503, "the service is ready without a token")
                if (status := create(server, f"away-{number}")) != 503:
                    raise Wrong(f"making a key without a token is answered with {status}")
                time.sleep(self.given.seconds)
            finally:
                token.give_back()
            until(lambda: ready(server) == 200, "the service is not ready again")
            load.wait(AFTER)
            made = f"back-{number}"
            until(lambda: create(server, made) == 200, "no key is made any more")
            plain = os.urandom(32)
            body = service.unwrap_body(service.wrap(server.public_key(made), plain))
            answer = service.must(server.vault().post(f"/keys/{made}/unwrapkey", body))
            if service.from_base64url(answer.json["value"]) != plain:
                raise Wrong("a key that was made afterwards gives another data key")

    def stopped_server(self):
        """Once for less time than the service waits for, and once for more."""
        self.needs_server()
        with self.under_load(timeout=TIMEOUT, give_up=3 * GIVE_UP) as (server, load):
            with Supervisor(server) as supervisor:
                for longer in (False, True):
                    self.stop_server(server, load, supervisor, longer)
        return load.said

    def stop_server(self, server, load, supervisor, longer):
        before = load.count(503)
        with loss.stopped():
            until(lambda: load.count(503) > before, "no client is told of a token that hangs")
            until(lambda: not longer or supervisor.restarts, "it does not end")
        until(lambda: ready(server) == 200, "the service is not ready again")
        load.wait(AFTER)
        if (supervisor.restarts > 0) != longer:
            raise Wrong(f"{supervisor.restarts} restarts")

    def full_disk(self):
        disk = self.scratch / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            raise Skip("nothing can be mounted here")
        try:
            with self.under_load(audit=disk / "audit") as (server, load):
                for _ in range(self.given.kills):
                    fill(disk / "filler")
                    before = load.count(503)
                    until(lambda: load.count(503) > before, "it goes on with a full disk")
                    answered = load.count(200)
                    time.sleep(self.given.seconds)
                    if load.count(200) > answered + WORKERS:  # what was on its way
                        raise Wrong("it unwraps while nothing can be recorded")
                    (disk / "filler").unlink()
                    load.wait(AFTER)
            return load.said
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)

    def certificate(self):
        with self.under_load() as (server, load):
            for _ in range(self.given.kills):
                before = certificate_of(server)
                server.make_certificates("--renew")
                time.sleep(0.2)
                if certificate_of(server) != before:
                    raise Wrong("the certificate changed before SIGHUP")
                server.reload()
                until(lambda: certificate_of(server) != before, "the new certificate is not used")
                load.wait(AFTER)
            good = service.pathlib.Path(server.pem("server")).read_bytes()
            before = certificate_of(server)
            service.pathlib.Path(server.pem("server")).write_bytes(good[: len(good) // 2])
            server.reload()
            load.wait(AFTER)
            if certificate_of(server) != before:
                raise Wrong("a certificate that can't be read took the place of a good one")
            service.pathlib.Path(server.pem("server")).write_bytes(good)
            server.reload()
            load.wait(AFTER)
        if load.silences() or load.count(503):
            raise Wrong(f"a connection was lost: {load.tries()}")
        return load.said

    def clock(self):
        """It is another time at each look, within the life of tokens and certificates."""
        shim = self.given.shim and os.path.abspath(self.given.shim)
        if not shim or not os.path.exists(shim):
            raise Skip("there is no shim for the clock")
        jumps = ["0", "2400", "1200", "0", "0", "3000", "60"]
        with self.under_load(environment={"LD_PRELOAD": shim, "KW_CLOCK": ",".join(jumps)}) as (
            server, load,
        ):  # fmt: skip
            began = time.monotonic()
            load.wait(20)
            took = time.monotonic() - began
        if load.silences() or load.count(503):
            raise Wrong(f"a client was not served: {load.tries()}")
        return f"{load.said}, {took:.1f} s"

    def killed(self):
        with self.under_load() as (server, load):
            for _ in range(self.given.kills * 2):
                time.sleep(self.chance.uniform(0.05, 0.5))
                server.kill()
                time.sleep(self.given.seconds / 10)
                server.start()
                load.wait(AFTER)
        if not load.silences():
            raise Wrong("no client noticed, so nothing was tested")
        return load.said

    def cases(self):
        return [
            ("the token's server is killed and started again", self.token_server),
            ("the token's server hangs, and goes on", self.stopped_server),
            ("the disk of the trail is full, and then is not", self.full_disk),
            ("the server's certificate is replaced", self.certificate),
            ("the clock jumps", self.clock), ("the service is killed and started again", self.killed),
        ]  # fmt: skip


def create(server, name):
    """The status of making a key pair of two operations, by the keyring that makes and changes keys.
    Where the service is just being started again, of the first try that is answered."""
    body = {"kty": "RSA", "key_size": 2048, "key_ops": ["wrapKey", "unwrapKey"]}
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.closing(server.vault(timeout=60)) as client, contextlib.suppress(*SILENT):
            return client.post(f"/keys/{name}/create", body).status
        time.sleep(0.05)
    raise Wrong(f"making a key is not answered in {PATIENCE} s")


def until(condition, complaint, seconds=40):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Wrong(complaint)
        time.sleep(0.05)


def ready(server):
    """The status of its readiness; 0 where there is no answer."""
    with contextlib.closing(server.status(timeout=10)) as client, contextlib.suppress(*SILENT):
        return client.get("/health/ready").status
    return 0


def fill(path):
    """Takes all that is free."""
    with open(path, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            file.write(b"x")
            raise Wrong("the disk is not full")
        except OSError as fault:
            if fault.errno != errno.ENOSPC:
                raise


def certificate_of(server):
    return ssl.get_server_certificate(server.addresses["vault"])


def report(cases):
    failed = 0
    print(f"1..{len(cases)}")
    for number, (name, function) in enumerate(cases, 1):
        try:
            failed += service.tap.result(f"{number} {name}: {function()}")
        except Skip as skip:
            service.tap.result(f"{number} {name}", skip=str(skip))
        except (Wrong, *SILENT) as wrong:
            failed += service.tap.result(f"{number} {name}", fault=str(wrong) or repr(wrong))
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=float, default=1, help="that a fault lasts")
    parser.add_argument("--kills", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name has this")
    parser.add_argument("--shim")
    parser.add_argument("program")
    given = parser.parse_args()
    with service.scratch_folder() as scratch:
        faults = Faults(given, scratch)
        sys.exit(report([case for case in faults.cases() if given.only in case[0]]))


if __name__ == "__main__":
    main()
