"""The token that a wrapper script of tests/tokens made, and how keys get on it.

make() gives the one that the environment describes. What a token can't do is found out by trying:
the tools' errors that mean this raise CannotDo, with the token's answer; others are failures.
"""

import json
import os
import pathlib
import re
import secrets
import subprocess
import tempfile

SECONDS = 120

# How tokens say that they don't do such a thing, or not with such a key.
CANNOT = (
    "CKR_ATTRIBUTE_VALUE_INVALID",
    "CKR_FUNCTION_NOT_SUPPORTED",
    "CKR_KEY_SIZE_RANGE",
    "CKR_MECHANISM_INVALID",
    "CKR_TEMPLATE_INCONSISTENT",
)


class CannotDo(Exception):
    """The token does not do this."""


def run(*command, environment=None):
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        for answer in CANNOT:
            if answer in done.stderr:
                raise CannotDo(answer)
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Token:
    """One that OpenSC's pkcs11-tool can load."""

    def __init__(self):
        self.name = os.environ["KW_TEST_TOKEN"]
        self.config = os.environ.get("KW_TEST_CONFIG")
        self.module = os.environ["KW_TEST_MODULE"]
        self.kind = os.environ["KW_TEST_TOKEN_KIND"]
        self.pin_file = os.environ["KW_TEST_PIN_FILE"]
        self.missing = {}  # version: why its key could not be imported

    def options(self):
        """What tells the program about the token."""
        config = ["--config", self.config] if self.config else []
        return ["--token", self.name, *config]

    def import_keys(self, folder):
        present = self.versions()
        for key in json.loads((folder / "keys.json").read_text()):
            if key["id"] in present:
                continue
            try:
                self.import_key(str(folder / key["file"]), key["id"], key["label"])
            except CannotDo as answer:
                self.missing[key["id"]] = f"no RSA-{key['bits']} key can be imported, {answer}"

    def tool(self, *arguments):
        pin = pathlib.Path(self.pin_file).read_text().strip()
        command = ["pkcs11-tool", "--module", self.module, "--token-label", "keyward"]
        command += ["--login", "--pin", "env:KW_PIN", *arguments]
        return run(*command, environment={**os.environ, "KW_PIN": pin})

    def versions(self):
        listed = self.tool("--list-objects", "--type", "privkey")
        return set(re.findall(r"^ *ID: *([0-9a-f]+)$", listed, re.MULTILINE))

    def import_key(self, file, version, label):
        self.tool(
            "--write-object", file, "--type", "privkey",
            "--id", version, "--label", label, "--usage-decrypt",
        )  # fmt: skip

    def id_of(self, version):
        """CKA_ID of the key that is the version."""
        return version

    def make_key(self, bits):
        """Makes a key pair on the token and gives its id."""
        version = secrets.token_hex(16)
        self.tool(
            "--keypairgen", "--key-type", f"rsa:{bits}",
            "--id", version, "--label", f"made-{bits}", "--usage-decrypt",
        )  # fmt: skip
        return version


class NssToken(Token):
    """NSS: its own tools take no CKA_ID, so each version is mapped to a label in the configuration."""

    def __init__(self):
        super().__init__()
        self.database = ["-d", "sql:" + os.environ["KW_TEST_NSS_DB"]]

    def labels(self):
        """Label of each private key and its id."""
        command = ["certutil", "-K", *self.database, "-f", self.pin_file]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        found = re.findall(r"^< *\d+> rsa +([0-9a-f]+) +(.*)$", listed.stdout, re.MULTILINE)
        return {label.strip().removeprefix("NSS Certificate DB:"): key for key, label in found}

    def versions(self):
        return {label.removeprefix("version-") for label in self.labels()}

    def id_of(self, version):
        return self.labels().get(f"version-{version}", version)

    def import_key(self, file, version, label):
        label = f"version-{version}"
        with tempfile.TemporaryDirectory() as scratch:
            certificate, bundle, password = (f"{scratch}/{x}" for x in ("c.pem", "k.p12", "password"))
            pathlib.Path(password).write_text(secrets.token_hex(16) + "\n")
            run(
                "openssl", "req", "-x509", "-new", "-key", file, "-subj", f"/CN={label}",
                "-out", certificate,
            )  # fmt: skip
            run(
                "openssl", "pkcs12", "-export", "-inkey", file, "-in", certificate, "-name", label,
                "-passout", f"file:{password}", "-out", bundle,
            )  # fmt: skip
            run("pk12util", "-i", bundle, *self.database, "-k", self.pin_file, "-w", password)
        with open(self.config, "a") as config:
            config.write(f"\n[key {version}]\nuri = pkcs11:object={label}\n")

    def make_key(self, bits):
        label = f"made-{bits}"
        with tempfile.NamedTemporaryFile() as noise:
            noise.write(secrets.token_bytes(64))
            noise.flush()
            run(
                "certutil", "-S", "-x", "-n", label, "-s", f"CN={label}", "-t", ",,",
                "-m", str(secrets.randbits(31)), "-k", "rsa", "-g", str(bits), "-z", noise.name,
                "-f", self.pin_file, *self.database,
            )  # fmt: skip
        return self.labels()[label]


class VaultToken:
    """A fake vault, which has the keys already."""

    def __init__(self):
        self.kind = os.environ["KW_TEST_TOKEN_KIND"]
        self.missing = {}

    def options(self):
        return ["--token", os.environ["KW_TEST_TOKEN"]]

    def import_keys(self, folder):
        pass

    def id_of(self, version):
        return version


def make():
    if os.environ.get("KW_TEST_TOKEN_KIND") == "vault":
        return VaultToken()
    return NssToken() if "KW_TEST_NSS_DB" in os.environ else Token()
