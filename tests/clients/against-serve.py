#!/usr/bin/env python3
"""Azure's own clients against `keyward serve`, by a name of its own and with their checks on.

usage: tests/tokens/with-softhsm tests/clients/against-serve.py PROGRAM [CLIENT...]
Prints the TAP of tests/clients/run, whose head says what it needs.
"""

import os
import pathlib
import secrets
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout stays as it is
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "serve"))
import service  # noqa: E402

HOST = "vault.hsm.example"  # the resource is what is after the first dot, with the port


class Server(service.Service):
    def listener(self, name):
        lines = super().listener(name)
        del lines["resource"]
        return lines | {"host": HOST}


def main(program, *clients):
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder)
        more = "[service]\nbackup-kek = pkcs11:object=backup-kek\n"
        server = Server(program, scratch, listeners=("vault",), more=more)
        server.token.tool(
            "--keygen", "--key-type", "AES:32", "--label", "backup-kek", "--usage-wrap",
            "--id", secrets.token_hex(16),
        )  # fmt: skip
        environment = dict(os.environ)
        with server:
            address, port = server.addresses["vault"]
            for variable, sub in (("KW_CLIENT_TOKEN", "app"), ("KW_CLIENT_TOKEN_READER", "reader")):
                token = scratch / f"{sub}.token"
                token.write_text(server.bearer(sub))
                environment[variable] = str(token)
            environment |= {
                "KW_CLIENT_URL": f"https://{HOST}:{port}",
                "KW_CLIENT_ADDRESS": address,
                "KW_CLIENT_CA": server.pem("ca"),
                "KW_CLIENT_EXPORTABLE": "1",
            }
            return subprocess.run([HERE / "run", *clients], env=environment, check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
