"""Drives a Key Vault keys endpoint with azure-keyvault-keys; prints TAP. Its environment is in
../run, the cases are in ../cases."""

import datetime
import hashlib
import os
import pathlib
import re
import secrets
import sys
import time
import traceback

from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.keyvault.keys import (
    JsonWebKey,
    KeyClient,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)
from azure.keyvault.keys.crypto import (
    CryptographyClient,
    EncryptionAlgorithm,
    KeyWrapAlgorithm,
    SignatureAlgorithm,
)
from cryptography.hazmat.primitives.asymmetric import rsa

URL = os.environ["KW_CLIENT_URL"]
OPTIONS = {
    "connection_verify": os.environ["KW_CLIENT_CA"],
    "verify_challenge_resource": os.environ.get("KW_CLIENT_VERIFY") != "0",
}


class FixedToken:
    """What azure-identity would be: a credential, here of one token that is there already."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, int(time.time()) + 3600)


def token_of(name):
    return FixedToken(pathlib.Path(os.environ[name]).read_text(encoding="utf-8").strip())


owner = token_of("KW_CLIENT_TOKEN")
keys = KeyClient(URL, owner, **OPTIONS)
reader = KeyClient(URL, token_of("KW_CLIENT_TOKEN_READER"), **OPTIONS)
stranger = KeyClient(URL, FixedToken("not-a-token"), **OPTIONS)


def crypto_of(key):
    return CryptographyClient(key, owner, **OPTIONS)


names = pathlib.Path(os.environ["KW_CLIENT_CASES"]).read_text(encoding="utf-8").split()
results = {}


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


def refused(status, code, inner, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except HttpResponseError as error:
        said = error.error
        innermost = (said.innererror or {}).get("code") if said else None
        got = (error.status_code, said and said.code, innermost)
        expect(got == (status, code, inner), f"{(status, code, inner)}, not {got}: {error}")
        return
    raise AssertionError(f"expected {status} {code}, but it succeeded")


def in_pages_of_one(pages):
    found = []
    for page in pages.by_page():
        items = list(page)
        expect(len(items) <= 1, "pages of one")
        found += items
    return found


def in_seconds(seconds):
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    return now + datetime.timedelta(seconds=seconds)


def digest_of(algorithm):
    return hashlib.new(f"sha{algorithm[2:]}", b"text").digest()


prefix = f"python-{secrets.token_hex(4)}"
MAIN, OTHER, BROUGHT = (f"{prefix}-{suffix}" for suffix in ("main", "other", "brought"))
made = {}
# What is backed up later is made with these.
SIZE = {"size": 2048}
if os.environ.get("KW_CLIENT_EXPORTABLE") == "1":
    SIZE["exportable"] = True


@case("create")
def _():
    key = made["first"] = keys.create_rsa_key(MAIN, **SIZE)
    expect(key.name == MAIN and len(key.key.n) == 256, "a key of 2048 bits")
    expect(re.fullmatch("[0-9a-f]{32}", key.properties.version), "a version of 32 hex digits")
    expect(key.properties.enabled and key.properties.created_on, "attributes")
    expect("unwrapKey" in key.key_operations, "unwrapKey among its operations")


@case("create-version")
def _():
    made["second"] = keys.create_rsa_key(MAIN, **SIZE)
    expect(made["second"].properties.version != made["first"].properties.version, "another version")


@case("create-with-attributes")
def _():
    expires_on, not_before = in_seconds(86400), datetime.datetime.fromtimestamp(1, datetime.timezone.utc)
    key = keys.create_rsa_key(
        OTHER,
        size=2048,
        key_operations=["wrapKey", "unwrapKey"],
        tags={"team": "blue"},
        not_before=not_before,
        expires_on=expires_on,
    )
    expect(len(key.key_operations) == 2, "two operations")
    expect(key.properties.tags == {"team": "blue"}, "its tag")
    expect(key.properties.expires_on == expires_on, "its expiry")
    expect(key.properties.not_before == not_before, "its first second")


@case("get")
def _():
    key = keys.get_key(MAIN)
    expect(key.id == made["second"].id and key.key.n == made["second"].key.n, "the newest version")


@case("get-version")
def _():
    key = keys.get_key(MAIN, made["first"].properties.version)
    expect(key.id == made["first"].id and key.key.n == made["first"].key.n, "the first version")


@case("list")
def _():
    found = in_pages_of_one(keys.list_properties_of_keys(max_page_size=1))
    ours = [item for item in found if item.name.startswith(prefix)]
    expect(len(ours) == 2 and not ours[0].version, "two keys, without versions")


@case("list-versions")
def _():
    found = in_pages_of_one(keys.list_properties_of_key_versions(MAIN, max_page_size=1))
    versions = {made[which].properties.version for which in ("first", "second")}
    expect({item.version for item in found} == versions, "both versions")


@case("update-tags")
def _():
    key = keys.update_key_properties(MAIN, tags={"colour": "red", "size": "9"})
    expect(key.properties.tags == {"colour": "red", "size": "9"}, "both tags")


@case("update-operations")
def _():
    version = made["first"].properties.version
    key = keys.update_key_properties(MAIN, version, key_operations=["sign", "verify"])
    expect(list(key.key_operations) == ["sign", "verify"], "sign and verify")


@case("update-expiry")
def _():
    expires_on = in_seconds(172800)
    key = keys.update_key_properties(MAIN, expires_on=expires_on)
    expect(key.properties.expires_on == expires_on, "its expiry")
    expect(key.properties.tags["colour"] == "red", "the tags stay")


@case("update-disable")
def _():
    expect(keys.update_key_properties(MAIN, enabled=False).properties.enabled is False, "disabled")


@case("update-enable")
def _():
    expect(keys.update_key_properties(MAIN, enabled=True).properties.enabled is True, "enabled")


for scheme in ("RSA-OAEP", "RSA-OAEP-256"):

    @case(f"encrypt-{scheme.lower()}", scheme)
    def _(algorithm):
        client = crypto_of(made["second"])
        algorithm = EncryptionAlgorithm(algorithm)
        sealed = client.encrypt(algorithm, b"a few words")
        back = client.decrypt(algorithm, sealed.ciphertext)
        expect(back.plaintext == b"a few words", "the plaintext again")

    @case(f"wrap-{scheme.lower()}", scheme)
    def _(algorithm):
        client = crypto_of(made["second"])
        algorithm, data_key = KeyWrapAlgorithm(algorithm), secrets.token_bytes(32)
        wrapped = client.wrap_key(algorithm, data_key)
        back = client.unwrap_key(algorithm, wrapped.encrypted_key)
        expect(back.key == data_key, "the data key again")
        expect(wrapped.key_id == made["second"].id, "the version's id")


for scheme in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):

    @case(f"sign-{scheme.lower()}", scheme)
    def _(algorithm):
        client = crypto_of(made["second"])
        digest = digest_of(algorithm)
        signature = client.sign(SignatureAlgorithm(algorithm), digest).signature
        good = client.verify(SignatureAlgorithm(algorithm), digest, signature)
        expect(good.is_valid, "a good signature")


@case("verify-refuses")
def _():
    client, digest = crypto_of(made["second"]), digest_of("PS256")
    signature = bytearray(client.sign(SignatureAlgorithm.ps256, digest).signature)
    signature[9] ^= 1
    answer = client.verify(SignatureAlgorithm.ps256, digest, bytes(signature))
    expect(answer.is_valid is False, "false")


@case("rotate")
def _():
    key = keys.rotate_key(MAIN)
    expect(key.properties.version != made["second"].properties.version, "another version")
    expect(keys.get_key(MAIN).id == key.id, "it is the newest")


@case("rotation-policy-set")
def _():
    action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_before_expiry="P30D")
    policy = KeyRotationPolicy(lifetime_actions=[action], expires_in="P90D")
    expect(keys.update_key_rotation_policy(MAIN, policy).expires_in == "P90D", "its expiry")


@case("rotation-policy-get")
def _():
    policy = keys.get_key_rotation_policy(MAIN)
    actions = {str(action.action).lower(): action for action in policy.lifetime_actions}
    rotate = next(action for name, action in actions.items() if name.endswith("rotate"))
    expect(policy.expires_in == "P90D" and rotate.time_before_expiry == "P30D", "what was set")


@case("backup")
def _():
    made["backup"] = keys.backup_key(MAIN)
    expect(made["backup"], "a backup")


@case("delete")
def _():
    poller = keys.begin_delete_key(MAIN)
    poller.wait()
    gone = poller.result()
    expect(gone.name == MAIN and gone.scheduled_purge_date > gone.deleted_date, "its purge date")


@case("create-while-deleted")
def _():
    refused(409, "Conflict", "ObjectIsDeletedButRecoverable", keys.create_rsa_key, MAIN)


@case("get-deleted")
def _():
    gone = keys.get_deleted_key(MAIN)
    expect(gone.name == MAIN and "/deletedkeys/" in gone.recovery_id, "the key")


@case("list-deleted")
def _():
    found = in_pages_of_one(keys.list_deleted_keys(max_page_size=1))
    expect(MAIN in [item.name for item in found], "the key among them")


@case("recover")
def _():
    poller = keys.begin_recover_deleted_key(MAIN)
    poller.wait()
    expect(poller.result().name == MAIN, "its name")
    expect(keys.get_key(MAIN).name == MAIN, "it is there again")


@case("purge")
def _():
    keys.begin_delete_key(MAIN).wait()
    keys.purge_deleted_key(MAIN)
    refused(404, "KeyNotFound", None, keys.get_deleted_key, MAIN)


@case("restore")
def _():
    expect(keys.restore_key_backup(made["backup"]).name == MAIN, "its name")
    old = keys.get_key(MAIN, made["second"].properties.version)
    expect(old.key.n == made["second"].key.n, "the versions, with their keys")
    algorithm = KeyWrapAlgorithm.rsa_oaep_256
    wrapped = crypto_of(made["second"]).wrap_key(algorithm, b"data key").encrypted_key
    expect(crypto_of(old).unwrap_key(algorithm, wrapped).key == b"data key", "the version unwraps")


@case("import")
def _():
    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    parts = {
        "n": numbers.public_numbers.n,
        "e": numbers.public_numbers.e,
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    parts = {name: n.to_bytes((n.bit_length() + 7) // 8, "big") for name, n in parts.items()}
    key = keys.import_key(BROUGHT, JsonWebKey(kty="RSA", key_ops=["wrapKey", "unwrapKey"], **parts))
    expect(key.key.n == parts["n"] and not key.key.d, "its public half")
    algorithm = KeyWrapAlgorithm.rsa_oaep_256
    wrapped = crypto_of(key).wrap_key(algorithm, b"data key").encrypted_key
    expect(crypto_of(key).unwrap_key(algorithm, wrapped).key == b"data key", "it unwraps")


@case("random")
def _():
    expect(len(keys.get_random_bytes(24)) == 24, "24 bytes")


@case("unknown-key")
def _():
    refused(404, "KeyNotFound", None, keys.get_key, f"{prefix}-none")


@case("unknown-version")
def _():
    refused(404, "KeyNotFound", None, keys.get_key, MAIN, "0" * 32)


@case("disabled-key")
def _():
    algorithm, key = KeyWrapAlgorithm.rsa_oaep_256, made["second"]
    wrapped = crypto_of(key).wrap_key(algorithm, b"data key").encrypted_key
    keys.update_key_properties(MAIN, key.properties.version, enabled=False)
    try:
        refused(403, "Forbidden", "KeyDisabled", crypto_of(key).unwrap_key, algorithm, wrapped)
    finally:
        keys.update_key_properties(MAIN, key.properties.version, enabled=True)


@case("operation-not-allowed")
def _():
    # The client looks at the operations itself where it knows them: so it is told of others.
    key = keys.get_key(OTHER)
    key.key.key_ops = ["sign"]
    digest = digest_of("RS256")
    call = crypto_of(key).sign
    refused(403, "Forbidden", "KeyOperationForbidden", call, SignatureAlgorithm.rs256, digest)


@case("unwrap-garbage")
def _():
    call = crypto_of(made["second"]).unwrap_key
    refused(400, "BadParameter", None, call, KeyWrapAlgorithm.rsa_oaep_256, b"\7" * 256)


@case("create-ec")
def _():
    refused(400, "NotSupported", None, keys.create_ec_key, f"{prefix}-ec")


@case("bad-name")
def _():
    refused(400, "BadParameter", None, keys.get_key, "bad_name")


@case("wrong-token")
def _():
    refused(401, "Unauthorized", None, stranger.get_key, MAIN)


@case("reader-gets")
def _():
    expect(reader.get_key(MAIN).name == MAIN, "the key")


@case("reader-may-not-create")
def _():
    refused(403, "Forbidden", "ForbiddenByRbac", reader.create_rsa_key, f"{prefix}-no")


for name in (MAIN, OTHER, BROUGHT):
    try:
        keys.begin_delete_key(name).wait()
        keys.purge_deleted_key(name)
    except HttpResponseError:
        pass  # it was never made, which a case has said

print(f"1..{len(names)}")
for number, name in enumerate(names, 1):
    fault = results.get(name, "it was not tried")
    print(f"{'not ok' if fault else 'ok'} {number} python {name}")
    if fault:
        print("".join(f"# {line}\n" for line in fault.splitlines()), end="")
sys.exit(any(results.get(name, True) for name in names))
