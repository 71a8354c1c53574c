"""The programs of tests/bench/peers that measure a service, and what they are given."""

import json
import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402
from service import Wrong  # noqa: E402

KEY = "load"
SECONDS = 600


class Bench:
    def __init__(self, peers, scratch, values):
        self.peers, self.scratch = pathlib.Path(peers), pathlib.Path(scratch)
        self.values = values  # how many data keys are wrapped
        self.bearer = self.scratch / "bearer"
        self.wrapped = self.scratch / "wrapped"

    def prepare(self, server):
        """Wraps them for a key that is made on the token, as another program would."""
        public, pem = self.scratch / "public.der", self.scratch / "public.pem"
        server.make_key(KEY)
        server.token.tool("--read-object", "--type", "pubkey", "--label", KEY, "-o", str(public))
        service.testtoken.run("openssl", "pkey", "-pubin", "-inform", "DER", "-in", str(public),
                              "-pubout", "-out", str(pem))  # fmt: skip
        self.run("bench_wrap_keys", pem, self.values, self.wrapped)

    def run(self, program, *arguments):
        command = [str(word) for word in (self.peers / program, *arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode != 0:
            raise Wrong(f"{program} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def bare(self, server, sessions):
        """Unwraps a second of a C_Decrypt loop with so many sessions."""
        token = server.token
        took = self.run("bench_token", "unwrap", token.module, "keyward", token.pin_file,
                        self.wrapped, sessions, KEY)  # fmt: skip
        return self.values / float(took)

    def where(self, server, listener):
        """What the programs have to be told of a listener."""
        words = ["--at", "%s:%d" % server.addresses[listener], "--ca", server.pem("ca")]
        if listener == "proxy":
            path = f"/{service.PREFIX}/{KEY}/unwrapkey?{service.API['proxy']}"
            words += ["--cert", server.pem("azure"), "--key", server.pem("azure-key")]
        else:
            path = f"/keys/{KEY}/unwrapkey?{service.API['vault']}"
            self.bearer.write_text(server.bearer() + "\n")
            os.chmod(self.bearer, 0o600)
            words += ["--bearer", self.bearer]
        return [*words, "--path", path]

    def load(self, server, listener, **options):
        """What bench_load measures, with these options of it."""
        words = [f"--{name}={value}" for name, value in options.items()]
        said = self.run("bench_load", *self.where(server, listener), "--wrapped", self.wrapped,
                        *words)  # fmt: skip
        return json.loads(said)
