#!/usr/bin/env python3
"""Whether the time of a refusal, as a client sees it, tells why an unwrap failed.

Usage: failures.py [--samples N] PROGRAM PEERS, under tests/tokens/with-softhsm. The audit trail is on
tmpfs where there is one: a disk takes longer than all that is of interest here. Prints TAP.
"""

import argparse
import os
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout stays as it is
import bench  # noqa: E402
import service  # noqa: E402
from service import Wrong  # noqa: E402

MEMORY = "/dev/shm"
CASES = [("vault", "RSA-OAEP"), ("vault", "RSA-OAEP-256"), ("vault", "RSA1_5"), ("proxy", "RSA-OAEP")]


def measure(server, peers, listener, alg, samples):
    command = [peers.peers / "bench_failures", *peers.where(server, listener), "--public",
               peers.scratch / "public.pem", "--alg", alg, "--samples", samples]  # fmt: skip
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=bench.SECONDS * 20
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("1..")]
    print("\n".join(f"# {line}" for line in lines))
    if done.returncode != 0:
        bad = [line for line in lines if line.startswith("not ok")]
        raise Wrong("\n".join(bad) or f"it ended with {done.returncode}: {done.stderr}")
    return f"{len(lines)} ways to fail"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--samples", type=int, default=300, help="of each way to fail")
    parser.add_argument("program")
    parser.add_argument("peers")
    given = parser.parse_args()
    more = f"[service]\nrsa1_5-keys = {bench.KEY}\n"
    with service.scratch_folder() as scratch, service.scratch_folder(
        MEMORY if os.path.isdir(MEMORY) else None
    ) as memory:
        server = service.Service(given.program, scratch, sessions=1, audit=f"{memory}/audit",
                                 listeners=("vault", "proxy"), more=more)  # fmt: skip
        peers = bench.Bench(given.peers, scratch, 10)
        peers.prepare(server)
        with server:
            cases = [
                (f"{alg} at the {listener}",
                 lambda x=listener, y=alg: measure(server, peers, x, y, given.samples))
                for listener, alg in CASES
            ]  # fmt: skip
            sys.exit(service.report_cases(cases))


if __name__ == "__main__":
    main()
