#!/usr/bin/env python3
"""Allocations of the server fail, alone or with all that follow: memory.py SHIM PROGRAM [TIMES].
It says so where it can't begin; else it goes on serving, or ends, but is not killed. Prints TAP."""

import os
import random
import subprocess
import sys
import tempfile

from lab import Certificates, Client, PATIENCE_S, Server, tap

SHIM, PROGRAM = sys.argv[1:3]
TIMES = int(sys.argv[3]) if len(sys.argv) > 3 else 60


def talk(server, context):
    """Some of all that a client can do; what comes of it is not looked at."""
    for text in ("GET /a/b?c=d HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2,
                 "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
                 "Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                 "GET /secret HTTP/1.1\r\nHost: localhost\r\n\r\n", "BAD\r\n\r\n"):
        try:
            with Client(server, context, timeout=2) as client:
                client.send(text)
                client.answer()
        except (OSError, EOFError, AssertionError, ValueError):
            pass


def count(made, context=None):
    """How many allocations there are in all, or until the server ends without clients."""
    with tempfile.NamedTemporaryFile() as log:
        log.write(bytes(4096))
        log.flush()
        os.environ["KW_MEMORY_LOG"] = log.name
        with Server(PROGRAM, **made.of_server(), request=2) as server:
            if context:
                talk(server, context)
        del os.environ["KW_MEMORY_LOG"]
        log.seek(0)
        return int.from_bytes(log.read(8), sys.byteorder)


def served(server, context):
    try:
        with Client(server, context) as client:
            return client.get().status == 200
    except (OSError, EOFError):
        return False


def fail(which, made, context, only_one):
    """What is wrong with how the server ends."""
    os.environ["KW_MEMORY"] = which
    try:
        server = Server(PROGRAM, **made.of_server(), request=2)
    except AssertionError as error:
        return "" if "memory" in str(error) or "no server: " in str(error) else str(error)
    finally:
        del os.environ["KW_MEMORY"]
    try:
        talk(server, context)
        # Threads take turns, so the one that fails may still be to come; but not twice.
        if only_one and not served(server, context) and not served(server, context):
            server.process.kill()
            server.process.wait()
            return "it serves no more"
        server.process.terminate()
        server.process.wait(PATIENCE_S)
    except (OSError, EOFError, subprocess.TimeoutExpired) as error:
        server.process.kill()
        server.process.wait()
        return f"{type(error).__name__}: {error}"
    finally:
        server.process.stdout.close()
        said = server.process.stderr.read()
        server.process.stderr.close()
    return "" if server.process.returncode >= 0 else f"signal {-server.process.returncode}: {said}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        made = Certificates(folder)
        context = made.context()
        os.environ["LD_PRELOAD"] = SHIM
        total, begun = count(made, context), count(made)
        failed = False
        for number, (suffix, title) in enumerate((("", "One allocation fails"),
                                                  ("+", "One and all after it fail")), 1):
            faults = []
            times = random.sample(range(1, begun + 1), TIMES // 4)
            times += random.sample(range(begun + 1, total + 1), min(TIMES, total - begun))
            for at in sorted(times):
                fault = fail(f"{at}{suffix}", made, context, suffix == "")
                if fault:
                    faults.append(f"{at}{suffix} of {total}: {fault}")
            failed |= tap.result(f"{number} - {title}", "\n".join(faults))
        print("1..2")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
