#!/usr/bin/env python3
"""Whether the service is after many requests what it was after few: memory, descriptors, sessions.

Usage: soak.py [--seconds S] [--rate R] PROGRAM PEERS, under tests/tokens/with-softhsm. An hour is
--seconds 3600.

Unwraps at a steady rate through both listeners, on connections that come and go, and beside them
all kinds of requests, also of clients that are wrong, or gone in the middle. What is sampled must
not grow once the service is warm, and be as before when all clients are gone. Prints TAP.
"""

import argparse
import pathlib
import re
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import bench  # noqa: E402
import mixed  # noqa: E402
import service  # noqa: E402
from service import Wrong  # noqa: E402

PART = 10  # seconds of unwraps, then new connections
WINDOWS = 8  # of the time that counts
WARM = 1 / 3  # of the whole time, which does not
MIB = 1 << 20
SESSIONS = 2


class Samples:
    """Of the process: resident bytes, descriptors, threads; and what the metrics say of sessions."""

    def __init__(self, server):
        self.server, self.taken = server, []
        self.proc = pathlib.Path(f"/proc/{server.process.pid}")
        self.ended, self.fault = threading.Event(), ""
        self.thread = threading.Thread(target=self.run, daemon=True)

    def take(self):
        status = (self.proc / "status").read_text()
        kib, threads = (
            int(re.search(rf"^{name}:\s*(\d+)", status, re.M).group(1))
            for name in ("VmRSS", "Threads")
        )
        return {"time": time.monotonic(), "memory": kib << 10, "threads": threads,
                "descriptors": len(list((self.proc / "fd").iterdir())),
                "sessions": self.sessions()}  # fmt: skip

    def sessions(self):
        return self.server.metrics()["keyward_token_sessions"]

    def run(self):
        try:
            while not self.ended.wait(0.5):
                self.taken.append(self.take())
        except Exception as fault:  # noqa: BLE001: what ends the samples ends the test
            self.fault = repr(fault)

    def windows(self, name, summary):
        """One value for each window of the time that counts."""
        first, last = self.taken[0]["time"], self.taken[-1]["time"]
        first += (last - first) * WARM
        values = [[] for _ in range(WINDOWS)]
        for sample in self.taken:
            if sample["time"] >= first:
                at = int((sample["time"] - first) / (last - first + 1e-9) * WINDOWS)
                values[at].append(sample[name])
        if not all(values):
            raise Wrong(f"there are too few samples: {self.fault or len(self.taken)}")
        return [summary(each) for each in values]


def slope(values):
    """Theil and Sen's: the median of all slopes between two of them."""
    return statistics.median(
        (values[j] - values[i]) / (j - i) for i in range(len(values)) for j in range(i + 1, len(values))
    )


class Soak:
    def __init__(self, server, peers, given):
        self.server, self.peers, self.given = server, peers, given
        self.samples, self.requests = Samples(server), 0
        self.before = self.samples.take()

    def load(self):
        self.samples.thread.start()
        end = time.monotonic() + self.given.seconds
        with mixed.Mixed(self.server, bench.KEY) as others:
            listeners = ["vault", "proxy"]
            while (left := end - time.monotonic()) > 0:
                found = self.peers.load(self.server, listeners[0], connections=8,
                                        seconds=min(PART, max(left, 1)), rate=self.given.rate)  # fmt: skip
                self.requests += found["requests"]
                listeners.reverse()
        self.samples.ended.set()
        self.samples.thread.join(service.SECONDS)
        if others.wrong:
            raise Wrong("\n".join(f"{name}: {what}" for name, what in others.wrong.items()))
        if self.samples.fault:
            raise Wrong(self.samples.fault)
        self.requests += sum(others.counts.values())
        return f"{self.requests} requests, {len(others.counts)} kinds of answers"

    def memory(self):
        values = self.samples.windows("memory", statistics.median)
        growth = slope(values) * (WINDOWS - 1)
        said = f"{values[0] / MIB:.1f} MiB, then {growth / MIB:+.2f} MiB"
        if growth > (1 if self.given.seconds >= 120 else 3) * MIB:
            raise Wrong(f"{said}, {growth / max(self.requests, 1):.0f} bytes a request")
        return said

    def flat(self, name, most, slack=0):
        """`slack` is for what begins when it is first needed, whenever that is."""
        values = self.samples.windows(name, min)
        growth = values[-1] - values[0]
        if growth > slack or max(values) > most:
            raise Wrong(f"the fewest {name} in each part of the time: {values}; at most {most}")
        return f"{values[0]:.0f}, then {growth:+.0f}"

    def afterwards(self):
        for _ in range(20):
            time.sleep(0.5)
            now = self.samples.take()
            if now["descriptors"] <= self.before["descriptors"] + 2:
                return f"{now['descriptors']} descriptors, {self.before['descriptors']} before"
        raise Wrong(f"{now['descriptors']} descriptors, {self.before['descriptors']} before")

    def trail(self):
        self.server.verify_trail()
        return "it verifies"

    def cases(self):
        return [
            (f"{self.given.seconds} s of mixed requests", self.load), ("memory", self.memory),
            ("descriptors", lambda: self.flat("descriptors", 200, 1)),
            ("threads", lambda: self.flat("threads", 64, 2)),
            ("sessions", lambda: self.flat("sessions", SESSIONS)),
            ("when all are gone", self.afterwards), ("the audit trail", self.trail),
        ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("program")
    parser.add_argument("peers")
    given = parser.parse_args()
    with service.scratch_folder() as scratch:
        server = service.Service(given.program, scratch, sessions=SESSIONS)
        peers = bench.Bench(given.peers, scratch, int(given.rate * PART * 2))
        peers.prepare(server)
        with server:
            sys.exit(service.report_cases(Soak(server, peers, given).cases()))


if __name__ == "__main__":
    main()
