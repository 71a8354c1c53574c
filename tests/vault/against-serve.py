#!/usr/bin/env python3
"""Decrypts the vectors by keys behind `keyward serve`, which has them on a token; prints TAP.

Usage: against-serve.py PROGRAM, under one of the wrapper scripts of tests/tokens.
The one program serves and the other asks it by --token https://..., with an access token from a
file, and then with a client certificate alone.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout stays as it is
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/serve")]
try:
    import service
except ImportError as missing:
    print(f"1..0 # skip {missing}")
    sys.exit(77)

VECTORS = ROOT / "tests/vectors"
MUTUAL = ["good-nested", "good-oaep-256", "bad-wrong-key", "bad-unknown-version"]


def run_drops(program, scratch, url, *names):
    """The plan is not printed: the lines are part of more."""
    environment = {
        **os.environ,
        "KW_TEST_TOKEN": url,
        "KW_TEST_TOKEN_KIND": "vault",
        "XDG_STATE_HOME": str(scratch / "client-state"),
    }
    done = subprocess.run(
        [ROOT / "tests/e2e/drops.py", program, VECTORS, *names],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    lines = [x for x in done.stdout.splitlines() if not x.startswith("1..")]
    print("\n".join(lines))
    print(done.stderr, end="", file=sys.stderr)
    return sum(x.startswith(("ok ", "not ok ")) for x in lines), done.returncode


def main():
    if len(sys.argv) != 2 or "KW_TEST_TOKEN" not in os.environ:
        sys.exit(__doc__)
    program = os.path.abspath(sys.argv[1])
    names = {x["label"] for x in json.loads((VECTORS / "keys.json").read_text())}
    clients = service.Service.CLIENTS | {
        "mutual": {"subject": "nobody", "roles": "Key Vault Crypto User: *"}
    }
    with tempfile.TemporaryDirectory(prefix="keyward-vault-") as folder:
        scratch = pathlib.Path(folder)
        more = f"[service]\nrsa1_5-keys = {', '.join(sorted(names))}\n"
        server = service.Service(
            program, scratch, listeners=("vault",), clients=clients, more=more,
            environment={"XDG_STATE_HOME": str(scratch / "state")},
        )  # fmt: skip
        server.token.import_keys(VECTORS)
        with server:
            token = scratch / "token"
            token.touch(0o600)
            token.write_text(server.bearer())
            host = f"https://localhost:{server.addresses['vault'][1]}?ca={server.pem('ca')}"
            count, failed = run_drops(program, scratch, f"{host}&token-source=file:{token}")
            mutual = f"{host}&certificate={server.pem('nobody')}&key={server.pem('nobody-key')}"
            more_count, more_failed = run_drops(program, scratch, mutual, *MUTUAL)
            unwraps = [x for x in server.records() if "unwrap" in json.dumps(x)]
    good = len(unwraps) > 20
    print(f"{'ok' if good else 'not ok'} the service has each unwrap on its trail")
    print(f"1..{count + more_count + 1}")
    sys.exit(1 if failed or more_failed or not good else 0)


if __name__ == "__main__":
    main()
