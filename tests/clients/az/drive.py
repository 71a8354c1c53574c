"""Drives a Key Vault keys endpoint with `az keyvault key`; prints TAP. Its environment is in ../run,
the cases are in ../cases. To be run by the Python of az's virtual environment."""

import base64
import datetime
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import traceback

import authority
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

AZ = pathlib.Path(sys.executable).parent / "az"
URL = os.environ["KW_CLIENT_URL"].rstrip("/")
scratch = tempfile.TemporaryDirectory(prefix="keyward-az.")
FOLDER = pathlib.Path(scratch.name)
names = pathlib.Path(os.environ["KW_CLIENT_CASES"]).read_text(encoding="utf-8").split()
results = {}
made = {}


class Refused(Exception):
    """az ended with a status that isn't 0."""


def environment(who):
    """The environment of az, signed in as somebody."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": scratch.name,
        "AZURE_CONFIG_DIR": str(FOLDER / who),
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "AZURE_CORE_ENCRYPT_TOKEN_CACHE": "false",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_CORE_NO_COLOR": "true",
        "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
        "REQUESTS_CA_BUNDLE": str(FOLDER / "authorities.pem"),
    }


def az(*arguments, who="owner"):
    command = [AZ, *arguments, "--output", "json"]
    done = subprocess.run(
        command, env=environment(who), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise Refused(done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else None


def key(command, name=None, *arguments, version=None, deleted=False, who="owner"):
    """`az keyvault key COMMAND` for a key, or for the whole of them."""
    place = [URL] if name is None else [URL, "deletedkeys" if deleted else "keys", name]
    identifier = "/".join(place + ([version] if version else []))
    return az("keyvault", "key", *command.split(), "--id", identifier, *arguments, who=who)


def sign_in(address):
    """Makes a cloud of our own in az's configuration, and signs in. Vaults of the cloud have names
    below the suffix; those that have none are asked for by --id, as all are here."""
    suffix = ["--suffix-keyvault-dns", "." + URL.partition("://")[2].partition(".")[2]]
    cloud = ["--endpoint-active-directory", "--endpoint-resource-manager"]
    cloud += ["--endpoint-management", "--endpoint-active-directory-resource-id"]
    endpoints = [word for option in cloud for word in (option, address)]
    az("cloud", "register", "-n", "own", "--skip-endpoint-discovery", *suffix, *endpoints)
    az("cloud", "set", "-n", "own")
    for who in ("reader", "stranger"):
        shutil.copytree(FOLDER / "owner", FOLDER / who)
    for who in ("owner", "reader", "stranger"):
        principal = ["--service-principal", "--username", who, "--password", "any"]
        tenant = ["--tenant", authority.TENANT, "--skip-subscription-discovery"]
        az("login", *principal, *tenant, who=who)


def case(name, *arguments):
    def run(body):
        try:
            body(*arguments)
            results[name] = None
        except Exception:  # whatever it is, the other cases are tried
            results[name] = traceback.format_exc()

    return run


def expect(condition, what):
    if not condition:
        raise AssertionError(f"expected: {what}")


def refused(code, inner, call, *arguments, **options):
    """az does not say the status, but the codes."""
    try:
        call(*arguments, **options)
    except Refused as error:
        said = str(error)
        innermost = re.search(r'Inner error: {\s*"code": "(\w+)"', said)
        got = (
            (re.search(r"^Code: (\w+)$", said, re.MULTILINE) or [None, None])[1],
            innermost and innermost[1],
        )
        expect(got == (code, inner), f"{(code, inner)}, not {got}: {said}")
        return
    raise AssertionError(f"expected {code}, but it succeeded")


def version_of(bundle):
    return bundle["key"]["kid"].rsplit("/", 1)[1]


def in_seconds(seconds):
    now = datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def digest_of(algorithm):
    digest = hashlib.new(f"sha{algorithm[2:]}", b"text").digest()
    return base64.b64encode(digest).decode()


prefix = f"az-{secrets.token_hex(4)}"
MAIN, OTHER, BROUGHT = (f"{prefix}-{suffix}" for suffix in ("main", "other", "brought"))
# What is backed up later is made with these.
SIZE = ["--kty", "RSA", "--size", "2048"]
if os.environ.get("KW_CLIENT_EXPORTABLE") == "1":
    SIZE += ["--exportable", "true"]
tokens = {
    "owner": pathlib.Path(os.environ["KW_CLIENT_TOKEN"]).read_text(encoding="utf-8").strip(),
    "reader": pathlib.Path(os.environ["KW_CLIENT_TOKEN_READER"]).read_text(encoding="utf-8").strip(),
    "stranger": "not-a-token",
}
address_of_sign_in = authority.start(FOLDER, tokens)
(FOLDER / "authorities.pem").write_text(
    pathlib.Path(os.environ["KW_CLIENT_CA"]).read_text(encoding="ascii")
    + (FOLDER / "authority.pem").read_text(encoding="ascii"),
    encoding="ascii",
)
sign_in(address_of_sign_in)


@case("create")
def _():
    bundle = made["first"] = key("create", MAIN, *SIZE)
    expect(bundle["key"]["kid"].startswith(f"{URL}/keys/{MAIN}/"), "its name")
    expect(len(base64.b64decode(bundle["key"]["n"])) == 256, "a key of 2048 bits")
    expect(re.fullmatch("[0-9a-f]{32}", version_of(bundle)), "a version of 32 hex digits")
    expect(bundle["attributes"]["enabled"] and bundle["attributes"]["created"], "attributes")
    expect("unwrapKey" in bundle["key"]["keyOps"], "unwrapKey among its operations")


@case("create-version")
def _():
    made["second"] = key("create", MAIN, *SIZE)
    expect(version_of(made["second"]) != version_of(made["first"]), "another version")


@case("create-with-attributes")
def _():
    options = ["--ops", "wrapKey", "unwrapKey", "--tags", "team=blue", "--expires", in_seconds(86400)]
    bundle = key("create", OTHER, *options, "--not-before", "1970-01-01T00:00:01Z")
    expect(len(bundle["key"]["keyOps"]) == 2, "two operations")
    expect(bundle["tags"] == {"team": "blue"}, "its tag")
    expect(seconds_of(bundle["attributes"]["expires"]) > seconds_of(in_seconds(86000)), "its expiry")
    expect(seconds_of(bundle["attributes"]["notBefore"]) == 1, "its first second")


@case("get")
def _():
    bundle, second = key("show", MAIN), made["second"]
    expect(bundle["key"]["kid"] == second["key"]["kid"], "the newest version")
    expect(bundle["key"]["n"] == second["key"]["n"], "its modulus")


@case("get-version")
def _():
    first = made["first"]
    bundle = key("show", MAIN, version=version_of(first))
    expect(bundle["key"]["kid"] == first["key"]["kid"], "the first version")
    expect(bundle["key"]["n"] == first["key"]["n"], "its modulus")


@case("list")
def _():
    ids = {item["kid"] for item in key("list")}
    expect({f"{URL}/keys/{name}" for name in (MAIN, OTHER)} <= ids, "both, without versions")


@case("list-versions")
def _():
    ids = {item["kid"] for item in key("list-versions", MAIN)}
    expect(ids == {made[which]["key"]["kid"] for which in ("first", "second")}, "both versions")


@case("update-tags")
def _():
    bundle = key("set-attributes", MAIN, "--tags", "colour=red", "size=9")
    expect(bundle["tags"] == {"colour": "red", "size": "9"}, "both tags")


@case("update-operations")
def _():
    version = version_of(made["first"])
    bundle = key("set-attributes", MAIN, "--ops", "sign", "verify", version=version)
    expect(bundle["key"]["keyOps"] == ["sign", "verify"], "sign and verify")


@case("update-expiry")
def _():
    expires = in_seconds(172800)
    bundle = key("set-attributes", MAIN, "--expires", expires)
    expect(seconds_of(bundle["attributes"]["expires"]) == seconds_of(expires), "its expiry")
    expect(bundle["tags"]["colour"] == "red", "the tags stay")


@case("update-disable")
def _():
    bundle = key("set-attributes", MAIN, "--enabled", "false")
    expect(bundle["attributes"]["enabled"] is False, "disabled")


@case("update-enable")
def _():
    bundle = key("set-attributes", MAIN, "--enabled", "true")
    expect(bundle["attributes"]["enabled"] is True, "enabled")


for scheme in ("RSA-OAEP", "RSA-OAEP-256"):

    @case(f"encrypt-{scheme.lower()}", scheme)
    def _(algorithm):
        options, version = ["--algorithm", algorithm], version_of(made["second"])
        plaintext = ["--data-type", "plaintext"]
        sealed = key("encrypt", MAIN, "--value", "words", *plaintext, *options, version=version)
        value = ["--value", sealed["result"]]
        back = key("decrypt", MAIN, *value, *plaintext, *options, version=version)
        expect(back["result"] == "words", "the plaintext again")


for scheme in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):

    @case(f"sign-{scheme.lower()}", scheme)
    def _(algorithm):
        options = ["--algorithm", algorithm, "--digest", digest_of(algorithm)]
        version = version_of(made["second"])
        signature = key("sign", MAIN, *options, version=version)["signature"]
        answer = key("verify", MAIN, *options, "--signature", signature, version=version)
        expect(answer["isValid"], "a good signature")


@case("verify-refuses")
def _():
    options = ["--algorithm", "PS256", "--digest", digest_of("PS256")]
    version = version_of(made["second"])
    signature = bytearray(base64.b64decode(key("sign", MAIN, *options, version=version)["signature"]))
    signature[9] ^= 1
    bad = base64.b64encode(signature).decode()
    answer = key("verify", MAIN, *options, "--signature", bad, version=version)
    expect(answer["isValid"] is False, "false")


@case("rotate")
def _():
    bundle = key("rotate", MAIN)
    expect(version_of(bundle) != version_of(made["second"]), "another version")
    expect(version_of(key("show", MAIN)) == version_of(bundle), "it is the newest")


@case("rotation-policy-set")
def _():
    action = {"action": {"type": "Rotate"}, "trigger": {"time_before_expiry": "P30D"}}
    policy = {"lifetime_actions": [action], "attributes": {"expiry_time": "P90D"}}
    answer = key("rotation-policy update", MAIN, "--value", json.dumps(policy))
    expect(answer["expiresIn"] == "P90D", "its expiry")


@case("rotation-policy-get")
def _():
    policy = key("rotation-policy show", MAIN)
    rotate = [a for a in policy["lifetimeActions"] if a["action"].lower() == "rotate"]
    expect(policy["expiresIn"] == "P90D" and rotate[0]["timeBeforeExpiry"] == "P30D", "what was set")


@case("backup")
def _():
    key("backup", MAIN, "--file", str(FOLDER / "backup"))
    expect((FOLDER / "backup").stat().st_size > 0, "a backup")


@case("delete")
def _():
    gone = key("delete", MAIN)
    purge, deleted = gone["scheduledPurgeDate"], gone["deletedDate"]
    expect(seconds_of(purge) > seconds_of(deleted), "its purge date")


@case("create-while-deleted")
def _():
    refused("Conflict", "ObjectIsDeletedButRecoverable", key, "create", MAIN)


@case("get-deleted")
def _():
    gone = key("show-deleted", MAIN, deleted=True)
    expect(gone["recoveryId"] == f"{URL}/deletedkeys/{MAIN}", "the key")


@case("list-deleted")
def _():
    expect(f"{URL}/keys/{MAIN}" in {item["kid"] for item in key("list-deleted")}, "the key among them")


@case("recover")
def _():
    key("recover", MAIN, deleted=True)
    expect(key("show", MAIN)["key"]["kid"].startswith(f"{URL}/keys/{MAIN}/"), "it is there again")


@case("purge")
def _():
    key("delete", MAIN)
    key("purge", MAIN, deleted=True)
    refused("KeyNotFound", None, key, "show-deleted", MAIN, deleted=True)


@case("restore")
def _():
    bundle = key("restore", None, "--file", str(FOLDER / "backup"))
    expect(bundle["key"]["kid"].startswith(f"{URL}/keys/{MAIN}/"), "its name")
    old = key("show", MAIN, version=version_of(made["second"]))
    expect(old["key"]["n"] == made["second"]["key"]["n"], "the versions, with their keys")


@case("import")
def _():
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (FOLDER / "key.pem").write_bytes(pem)
    bundle = key("import", BROUGHT, "--pem-file", str(FOLDER / "key.pem"))
    n = private.private_numbers().public_numbers.n
    expect(int.from_bytes(base64.b64decode(bundle["key"]["n"]), "big") == n, "its public half")


@case("random")
def _():
    expect(len(base64.b64decode(key("random", None, "--count", "24")["value"])) == 24, "24 bytes")


@case("unknown-key")
def _():
    refused("KeyNotFound", None, key, "show", f"{prefix}-none")


@case("unknown-version")
def _():
    refused("KeyNotFound", None, key, "show", MAIN, version="0" * 32)


@case("disabled-key")
def _():
    version = version_of(made["second"])
    options = ["--algorithm", "RSA-OAEP-256", "--value"]
    plaintext = ["words", "--data-type", "plaintext"]
    sealed = key("encrypt", MAIN, *options, *plaintext, version=version)["result"]
    key("set-attributes", MAIN, "--enabled", "false", version=version)
    try:
        decrypt = ("decrypt", MAIN, *options, sealed)
        refused("Forbidden", "KeyDisabled", key, *decrypt, version=version)
    finally:
        key("set-attributes", MAIN, "--enabled", "true", version=version)


@case("unwrap-garbage")
def _():
    value = base64.b64encode(b"\7" * 256).decode()
    options = ["--algorithm", "RSA-OAEP-256", "--value", value]
    version = version_of(made["second"])
    refused("BadParameter", None, key, "decrypt", MAIN, *options, version=version)


@case("create-ec")
def _():
    refused("NotSupported", None, key, "create", f"{prefix}-ec", "--kty", "EC", "--curve", "P-256")


@case("bad-name")
def _():
    refused("BadParameter", None, key, "show", "bad_name")


@case("wrong-token")
def _():
    refused("Unauthorized", None, key, "show", MAIN, who="stranger")


@case("reader-gets")
def _():
    bundle = key("show", MAIN, who="reader")
    expect(bundle["key"]["kid"].startswith(f"{URL}/keys/{MAIN}/"), "the key")


@case("reader-may-not-create")
def _():
    refused("Forbidden", "ForbiddenByRbac", key, "create", f"{prefix}-no", who="reader")


for name in (MAIN, OTHER, BROUGHT):
    try:
        key("delete", name)
        key("purge", name, deleted=True)
    except Refused:
        pass  # it was never made, which a case has said

SKIPPED = {
    "wrap-rsa-oaep": "az has no such command",
    "wrap-rsa-oaep-256": "az has no such command",
    "operation-not-allowed": "az looks at the operations itself and asks nobody",
}
failed = 0
print(f"1..{len(names)}")
for number, name in enumerate(names, 1):
    if name in SKIPPED:
        print(f"ok {number} az {name} # skip {SKIPPED[name]}")
        continue
    fault = results.get(name, "it was not tried")
    failed += bool(fault)
    print(f"{'not ok' if fault else 'ok'} {number} az {name}")
    if fault:
        print("".join(f"# {line}\n" for line in fault.splitlines()), end="")
sys.exit(1 if failed else 0)
