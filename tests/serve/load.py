#!/usr/bin/env python3
"""Unwraps a second through each listener beside those of a bare C_Decrypt loop.

Usage: load.py [--long] [--sessions N] [--connections N] [--latency MS MODULE] PROGRAM PEERS, under
tests/tokens/with-softhsm or with-opencryptoki. PEERS is the folder with the programs of
tests/bench/peers. With --latency, on SoftHSM2, each decryption takes so many milliseconds more, which
need no processor, as on a token beyond a network; MODULE is kw_fault_module.so.

TLS with connections that stay open, the audit trail on. The loop has as many sessions as the service
has, and runs before and after it: other work on the machine counts for both. A goal is for a machine
that does nothing else; without --long only a quarter of the rate is asked for and latencies are only
shown, so that a slow build (or a neighbour) is no failure and a service that waits for something is. Prints TAP.
"""

import argparse
import contextlib
import os
import statistics
import sys

sys.dont_write_bytecode = True  # the checkout stays as it is
import bench  # noqa: E402
import service  # noqa: E402
from service import Wrong  # noqa: E402

RATE, P99_MS, AT, SAME = 0.80, 50, 0.80, 0.90
LISTENERS = ("vault", "proxy")


def enough(what, value, least):
    if value < least:
        raise Wrong(f"{what} is {value:.2f}, less than {least:.2f}")


class Load:
    def __init__(self, server, given, peers):
        self.server, self.peers, self.long = server, peers, given.long
        self.sessions, self.connections = given.sessions, given.connections
        self.idle = 1000 if given.long else 50
        self.seconds = 20 if given.long else 2
        self.rounds = 3 if given.long else 1
        self.rates = {}  # of each listener without idle connections

    def goal(self, full):
        return full if self.long else full / 4

    def load(self, listener, **more):
        found = self.peers.load(self.server, listener, connections=self.connections,
                                seconds=self.seconds, **more)  # fmt: skip
        if found["failures"] or found["reopened"]:
            raise Wrong(f"requests failed: {found}")
        return found

    def beside_the_loop(self, listener):
        loops, rates = [self.peers.bare(self.server, self.sessions)], []
        for _ in range(self.rounds):
            rates.append(self.load(listener)["rate"])
            loops.append(self.peers.bare(self.server, self.sessions))
        rate, loop = statistics.median(rates), statistics.median(loops)
        self.rates[listener] = rate
        said = f"{rate:.0f} a second, the loop {loop:.0f}: {rate / loop:.2f}"
        enough(said, rate / loop, self.goal(RATE))
        return said

    def latency(self, listener, idle=0):
        found = self.load(listener, rate=self.rates[listener] * AT, idle=idle)
        said = f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms at {found['rate']:.0f} a second"
        if self.long and found["p99_ms"] > P99_MS:
            raise Wrong(said)
        if found["idle"] != idle:
            raise Wrong(f"of {idle} idle connections {found['idle']} were still served")
        return said

    def rate_with_idle(self, listener):
        found = self.load(listener, idle=self.idle)
        said = f"{found['rate']:.0f} a second, {self.rates[listener]:.0f} without"
        enough(said, found["rate"] / self.rates[listener], self.goal(SAME))
        if found["idle"] != self.idle:
            raise Wrong(f"of {self.idle} idle connections {found['idle']} were still served")
        return said

    def cases(self):
        at, idle = f"{AT:.0%} of that", f"{self.idle} idle connections beside it"
        for name in LISTENERS:
            yield f"{name}: beside a C_Decrypt loop", lambda n=name: self.beside_the_loop(n)
            yield f"{name}: latency at {at}", lambda n=name: self.latency(n)
            yield f"{name}: with {idle}", lambda n=name: self.rate_with_idle(n)
            yield (f"{name}: latency at {at} with {idle}",
                   lambda n=name: self.latency(n, self.idle))  # fmt: skip


def values(given):
    """So many that a loop takes some seconds."""
    if given.latency:
        return 1500
    return 60_000 if given.long else 6000


@contextlib.contextmanager
def slow_token(server, latency):
    """For the service, and for the loop beside it."""
    if not latency:
        yield
        return
    milliseconds, module = latency
    with server.behind_faults(module, f"C_Decrypt hang {milliseconds}"):
        os.environ.update(server.environment)
        yield


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--latency", nargs=2, metavar=("MS", "MODULE"))
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("program")
    parser.add_argument("peers")
    given = parser.parse_args()
    # None of them is to wait for its turn by the rate that it may send.
    clients = {name: {**client, "rate": 1_000_000} for name, client in service.Service.CLIENTS.items()}
    with service.scratch_folder() as scratch:
        server = service.Service(given.program, scratch, sessions=given.sessions, clients=clients)
        peers = bench.Bench(given.peers, scratch, values(given))
        peers.prepare(server)
        with slow_token(server, given.latency), server:
            load = Load(server, given, peers)
            sys.exit(service.report_cases(list(load.cases())))


if __name__ == "__main__":
    main()
