#!/usr/bin/env python3
"""The limit of open files: raised as far as it may be, and told of where that is not enough.

Usage: descriptors.py PROGRAM, under tests/tokens/with-softhsm. Prints TAP.
"""

import pathlib
import re
import sys

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402
from service import Wrong  # noqa: E402

SOFT, OTHER = 64, 256


def served(program, hard, connections):
    """What the service's soft limit is, and what it said. It must serve in any case."""
    settings = {"vault": {"connections": connections}}
    with service.scratch_folder() as scratch:
        server = service.Service(program, scratch, listeners=("vault",), settings=settings)
        server.before = ["prlimit", f"--nofile={SOFT}:{hard}"]
        with server:
            return ask(server)


def ask(server):
    limits = pathlib.Path(f"/proc/{server.process.pid}/limits").read_text()
    soft = int(re.search(r"^Max open files +(\d+)", limits, re.M)[1])
    clients = [server.vault() for _ in range(SOFT + 10)]
    for client in clients:
        service.must(client.get("/keys"))
    for client in clients:
        client.close()
    return soft, server.said()


def enough(program):
    soft, said = served(program, 300 + OTHER, 300)
    if soft != 300 + OTHER:
        raise Wrong(f"{soft} is not the hard limit")
    if "files can be open" in said:
        raise Wrong(said)
    return f"{soft}, and no word about it"


def too_few(program):
    soft, said = served(program, 299 + OTHER, 300)
    wanted = f"warning: at most {299 + OTHER} files can be open, .* may need {300 + OTHER};"
    if not re.search(wanted, said):
        raise Wrong(f"it says: {said}")
    return f"{soft}, and a warning"


def main(program):
    cases = [
        ("more connections than the soft limit allows", lambda: enough(program)),
        ("a hard limit that is too low is told", lambda: too_few(program)),
    ]
    return service.report_cases(cases)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
