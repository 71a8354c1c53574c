#!/usr/bin/env python3
"""A token stands in for a vault, and a vault for a token; prints TAP.

Usage: failover.py PROGRAM, under one of the wrapper scripts of tests/tokens.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout stays as it is
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/e2e")]
import testtoken  # noqa: E402

try:
    import fakevault as fake
except ImportError as missing:
    print(f"1..0 # skip {missing}")
    sys.exit(77)

VECTORS = ROOT / "tests/vectors"


def decrypt(program, scratch, name, vault, token, *, failover, token_name="keyward"):
    """What came of a drop; `failover` has the name of the first [token] and that of the second."""
    sections = {
        "v": f"uri = {vault.base}\nca = {scratch}/ca.pem\ntimeout = 10\n",
        "t": f"module = {token.module}\nuri = pkcs11:token={token_name}\n"
        f"pin-source = file:{token.pin_file}\n",
    }
    sections[failover[0]] += f"failover = {failover[1]}\n"
    config = scratch / f"{name}.conf"
    config.write_text("".join(f"[token {x}]\n{text}" for x, text in sections.items()))
    return subprocess.run(
        [program, "decrypt", VECTORS / "good-nested", "--out", scratch / name,
         "--config", config, "--token", failover[0]],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def main():
    if len(sys.argv) != 2 or "KW_TEST_TOKEN" not in os.environ:
        sys.exit(__doc__)
    program = os.path.abspath(sys.argv[1])
    token = testtoken.make()
    token.import_keys(VECTORS)
    failed = 0
    print("1..3")
    with tempfile.TemporaryDirectory(prefix="keyward-vault-") as folder:
        scratch = pathlib.Path(folder)
        authority = fake.Authority(scratch, "ca")
        certificate = authority.issue("server", [fake.HOST])
        vault = fake.FakeVault(certificate, fake.read_keys(VECTORS))
        away = fake.FakeVault(certificate, [])
        away.close()
        for number, (what, wanted, done) in enumerate((
            ("the vault serves where it is there", "",
             decrypt(program, scratch, "a", vault, token, failover="vt")),
            ("a token serves in the place of a vault", "[token t] serves instead",
             decrypt(program, scratch, "b", away, token, failover="vt")),
            ("a vault serves in the place of a token", "[token v] serves instead",
             decrypt(program, scratch, "c", vault, token, failover="tv", token_name="gone")),
        ), 1):  # fmt: skip
            good = done.returncode == 0 and (wanted in done.stderr if wanted else not done.stderr)
            failed += not good
            print(f"{'ok' if good else 'not ok'} {number} {what}")
            if not good:
                print(f"# exit {done.returncode}: {done.stderr}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
