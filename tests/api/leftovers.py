#!/usr/bin/env python3
"""After a run, neither the PIN nor the data key is in the memory of the process, in a core file, in
the report, or in what was printed. Run under tests/tokens/with-softhsm.

Usage: leftovers.py MEMORY-PROBE PROGRAM VECTORS
"""
import base64
import glob
import json
import os
import pathlib
import secrets
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from testtoken import Token  # noqa: E402

DROP = "good-nested"


def data_key(vectors):
    """Unwrapped with the openssl command line and the PEM key, not with the program."""
    details = json.loads(next((vectors / DROP).rglob("encryptionKeyDetails.json")).read_text())
    details = details["DecryptionKeyDetails"]
    pem = next(key["file"] for key in json.loads((vectors / "keys.json").read_text())
               if key["id"] == details["PublicKeyVersion"])
    return subprocess.run(
        ["openssl", "pkeyutl", "-decrypt", "-inkey", vectors / pem, "-pkeyopt",
         "rsa_padding_mode:oaep"],
        input=base64.b64decode(details["DecryptionKeyValue"]), check=True,
        stdout=subprocess.PIPE).stdout


def forms(secret):
    """As bytes, and as the texts that someone might have logged."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield base64.b64encode(secret)
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")


def masked(secret):
    return bytes(byte ^ 0x5A for byte in secret).hex()


def main():
    probe, program, vectors = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    faults = []
    token = Token()
    token.import_keys(vectors)
    key = data_key(vectors)
    pin = pathlib.Path(os.environ["KW_TEST_PIN_FILE"]).read_text().strip().encode()
    if len(pin) < 8:
        sys.exit("the token's PIN is too short to be looked for")
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)

        def run_probe(out, *more):
            return subprocess.run(
                [probe, vectors / DROP, scratch / out, token.name, masked(key), masked(pin), *more],
                stdout=subprocess.PIPE, text=True)

        done = run_probe("out1")
        found = {}
        for line in done.stdout.splitlines():
            when, what, count = line.split()
            found[when, what] = int(count)
        print(done.stdout, end="")
        if done.returncode != 0 or len(found) != 4:
            faults.append("the probe failed")
        for what in ("key", "pin"):
            if found.get(("during", what), 0) == 0:
                faults.append(f"the search does not find the {what} where it must be")
            if found.get(("after", what), 1) != 0:
                faults.append(f"the {what} is still in memory after the run")
        if found.get(("during", "key"), 0) > 1:
            faults.append("the whole data key is elsewhere than on the secure heap, too")

        (scratch / "core").mkdir()
        run_probe("out2", scratch / "core")
        cores = glob.glob(str(scratch / "core" / "*"))
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text().strip()
        if cores:
            core = pathlib.Path(cores[0]).read_bytes()
            print(f"core of {len(core)} bytes")
            # A word that is in the image of every program that links the library.
            if b"pin-source" not in core:
                faults.append("the core file is not a whole one")
            faults += [f"the core file holds the {what}"
                       for what, secret in (("key", key), ("pin", pin))
                       if any(form in core for form in forms(secret))]
        elif not pattern.startswith(("|", "/")):
            faults.append(f"no core file was written, with core_pattern {pattern}")

        report = scratch / "report.json"
        run = subprocess.run(
            [program, "decrypt", vectors / DROP, "--out", scratch / "out3", "--token", token.name,
             "--json", "--report", report], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if run.returncode != 0:
            faults.append("decrypt failed")
        for where, data in (("output", run.stdout), ("report", report.read_bytes())):
            faults += [f"the {where} holds the {what}"
                       for what, secret in (("key", key), ("pin", pin))
                       if any(form in data for form in forms(secret))]
        # The check itself: a secret that is there must be seen.
        planted = b"x" + base64.b64encode(key) + b"y"
        if not any(form in planted for form in forms(key)) or any(
                form in planted for form in forms(secrets.token_bytes(32))):
            faults.append("the check of texts does not work")
    for fault in faults:
        print("FAULT:", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
