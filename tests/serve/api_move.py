"""Keys that come and go: JSON Web Keys, transfer files (.byok), backups."""

import json
import os

import service
from api_bench import KEK, Cases, good, need, refused, same, until, version_of
from service import base64url, from_base64url

CASES = Cases("move")
made = {}


def local_key(name="one", bits=2048, exponent=65537):
    """A key pair of this machine's, made once."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    if name not in made:
        made[name] = rsa.generate_private_key(exponent, bits)
    return made[name]


def number(value):
    return base64url(value.to_bytes((value.bit_length() + 7) // 8 or 1, "big"))


def jwk(key, **changed):
    """RFC 7518 section 6.3."""
    private = key.private_numbers()
    public = private.public_numbers
    numbers = {"n": public.n, "e": public.e, "d": private.d, "p": private.p, "q": private.q,
               "dp": private.dmp1, "dq": private.dmq1, "qi": private.iqmp}  # fmt: skip
    texts = {"kty": "RSA", **{name: number(value) for name, value in numbers.items()}, **changed}
    return {name: text for name, text in texts.items() if text is not None}


def sign_and_unwrap(bench, name, key):
    """The key on the token is that one."""
    plain = os.urandom(32)
    body = service.unwrap_body(service.wrap(key.public_key(), plain))
    same(from_base64url(good(bench.vault().post(f"/keys/{name}/unwrapkey", body)).json["value"]), plain)


@CASES("a JSON Web Key is imported with its settings, and works")
def _(bench):
    key = local_key()
    body = {"Hsm": True, "key": jwk(key, key_ops=["unwrapKey", "decrypt"]), "tags": {"a": "b"},
            "attributes": {"exp": 2000000000}}  # fmt: skip
    before = len(bench.server.said())
    bundle = good(bench.vault().put("/keys/imported", body)).json
    same((bundle["key"]["n"], bundle["key"]["kty"]), (body["key"]["n"], "RSA-HSM"))
    same((sorted(bundle["key"]["key_ops"]), bundle["tags"]), (["decrypt", "unwrapKey"], {"a": "b"}))
    same((bundle["attributes"]["exp"], bundle["attributes"]["exportable"]), (2000000000, False))
    same(good(bench.vault().get("/keys/imported")).json, bundle)
    sign_and_unwrap(bench, "imported", key)
    until(lambda: bench.server.said()[before:].count('the key "imported" was made by software') == 1,
          "the log does not warn of copies of the key")  # fmt: skip


@CASES("an import under a name that is taken makes its next version")
def _(bench):
    before, key = bench.key("main"), local_key("two")
    bundle = good(bench.vault().put("/keys/imported", {"key": jwk(key)})).json
    same(bundle["key"]["n"], jwk(key)["n"])
    sign_and_unwrap(bench, "imported", key)
    same(len(good(bench.vault().get("/keys/imported/versions")).json["value"]), 2)
    same(good(bench.vault().get("/keys/main")).json["key"], before["key"])


def refused_keys():
    key, other = local_key(), local_key("two")
    for name in ("n", "e", "d", "p", "q", "dp", "dq", "qi"):
        for text in (None, "", "AA", "!", "A", "A" * 3000, 5, jwk(other)[name] if name != "e" else "AQAC"):
            yield f"{name}: {str(text)[:20]}", jwk(key, **{name: text})
    yield "p and q of another", jwk(key, **{x: jwk(other)[x] for x in ("p", "q")})
    yield "short", jwk(local_key("short", 1024))
    for kty in ("EC", "oct", "", None, 1):
        yield f"kty {kty}", jwk(key, kty=kty)


@CASES("numbers that are missing, or don't belong together, are refused")
def _(bench):
    for what, key in refused_keys():
        answer = bench.vault().put("/keys/bad", {"key": key})
        need(answer.status == 400, f"{what}: {answer!r}")
        need(answer.code in ("BadParameter", "NotSupported"), f"{what}: {answer!r}")
    for body in ({}, {"key": None}, {"key": []}, {"key": {}}, {"key": {"kty": "RSA"}}):
        refused(bench.vault().put("/keys/bad", body), 400, "BadParameter")
    refused(bench.vault().get("/keys/bad"), 404, "KeyNotFound")


# ---- transfer files ----


def transfer(kek, key, *, aes=None, **changed):
    """A .byok file for a KEK's bundle: CKM_RSA_AES_KEY_WRAP of PKCS#8."""
    from cryptography.hazmat.primitives import keywrap, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    aes = aes or os.urandom(32)
    n, e = (int.from_bytes(from_base64url(kek["key"][x]), "big") for x in "ne")
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                            serialization.NoEncryption())  # fmt: skip
    wrapped = service.wrap(rsa.RSAPublicNumbers(e, n).public_key(), aes)
    text = base64url(wrapped + keywrap.aes_key_wrap_with_padding(aes, der))
    file = {"schema_version": "1.0.0", "header": {"kid": kek["key"]["kid"], "alg": "dir",
            "enc": "CKM_RSA_AES_KEY_WRAP"}, "ciphertext": text, "generator": "tests"}  # fmt: skip
    return base64url(json.dumps({**file, **changed}).encode())


def hsm(text):
    return {"Hsm": True, "key": {"kty": "RSA-HSM", "key_hsm": text}}


@CASES("a .byok file for a key exchange key of the service is imported")
def _(bench):
    kek, key = bench.key("kek", key_ops=["import"], kty="RSA-HSM"), local_key("moved")
    same(kek["key"]["key_ops"], ["import"])
    body = {**hsm(transfer(kek, key)), "tags": {"from": "far"}}
    bundle = good(bench.vault().put("/keys/moved", body)).json
    same((bundle["key"]["n"], bundle["tags"]), (jwk(key)["n"], {"from": "far"}))
    sign_and_unwrap(bench, "moved", key)
    other = {"key": {"kty": "RSA-HSM", "t": transfer(kek, local_key("two"))}}
    good(bench.vault().put("/keys/moved-2", other))


@CASES("a key exchange key does nothing else")
def _(bench):
    bench.key("kek", key_ops=["import"], kty="RSA-HSM")
    for operation in ("unwrapkey", "decrypt", "wrapkey", "encrypt"):
        body = {"alg": "RSA-OAEP", "value": base64url(bytes(256))}
        refused(bench.vault().post(f"/keys/kek/{operation}", body), 403, "Forbidden/KeyOperationForbidden")


@CASES(".byok files that are damaged, or for another key, are refused")
def _(bench):
    kek, key = bench.key("kek", key_ops=["import"], kty="RSA-HSM"), local_key("three-b")
    good_text = transfer(kek, key)
    file = json.loads(from_base64url(good_text))
    cipher = from_base64url(file["ciphertext"])
    header = file["header"]

    def damaged(at):
        return base64url(cipher[:at] + bytes([cipher[at] ^ 1]) + cipher[at + 1 :])

    no_key = header["kid"][:-1] + ("0" if header["kid"][-1] != "0" else "1")
    elsewhere = "https://elsewhere.example/keys/kek/" + version_of(kek)
    texts = {
        "not base64url": "=" + good_text, "no JSON": base64url(b"{"), "nothing": "",
        "the RSA part": transfer(kek, key, ciphertext=damaged(9)),
        "the AES part": transfer(kek, key, ciphertext=damaged(300)),
        "half": transfer(kek, key, ciphertext=base64url(cipher[:200])),
        "another kid": transfer(kek, key, header={**header, "kid": no_key}),
        "another host": transfer(kek, key, header={**header, "kid": elsewhere}),
        "no KEK": transfer(bench.key(), key), "an EC key's": transfer(kek, key, schema_version="9"),
        "another enc": transfer(kek, key, header={**header, "enc": "none"}),
    }  # fmt: skip
    for what, text in texts.items():
        answer = bench.vault().put("/keys/bad", hsm(text))
        need(answer.status == 400, f"{what}: {answer!r}")
    refused(bench.vault().put("/keys/bad", hsm("A" * 200000)), 413, "RequestTooLarge")
    refused(bench.vault().get("/keys/bad"), 404, "KeyNotFound")


# ---- backups ----


@CASES("a key is backed up with its versions, settings and policy, and restored")
def _(bench):
    vault, path = bench.vault(), "/keys/saved"
    exportable = {"exportable": True}
    bench.create("saved", attributes=exportable, tags={"v": "1"})
    bench.create("saved", attributes={**exportable, "exp": 2000000000}, tags={"v": "2"},
                 key_ops=["unwrapKey", "wrapKey"])  # fmt: skip
    rotation = {"lifetimeActions": [], "attributes": {"expiryTime": "P90D"}}
    good(vault.put(f"{path}/rotationpolicy", rotation))
    wrapped = service.unwrap_body(service.wrap(bench.public("saved"), b"k" * 32))
    listed = good(vault.get(f"{path}/versions")).json["value"]
    bundle = good(vault.get(path)).json
    backup = good(vault.post(f"{path}/backup")).json
    same(list(backup), ["value"])
    refused(vault.post("/keys/restore", backup), 409, "Conflict")
    good(vault.delete(path))
    refused(vault.post("/keys/restore", backup), 409, "Conflict")
    refused(vault.post(f"{path}/backup"), 404, "KeyNotFound")
    good(vault.delete("/deletedkeys/saved"), 204)
    bench.create("saved")  # another one
    refused(vault.post("/keys/restore", backup), 409, "Conflict")
    good(vault.delete(path)), good(vault.delete("/deletedkeys/saved"), 204)
    restored = good(vault.post("/keys/restore", backup)).json
    same((restored["key"], restored["tags"]), (bundle["key"], bundle["tags"]))
    same(restored["attributes"]["exp"], 2000000000)
    same([x["kid"] for x in good(vault.get(f"{path}/versions")).json["value"]], [x["kid"] for x in listed])
    same(good(vault.get(f"{path}/rotationpolicy")).json["attributes"]["expiryTime"], "P90D")
    same(from_base64url(good(vault.post(f"{path}/unwrapkey", wrapped)).json["value"]), b"k" * 32)
    made["backup"] = backup["value"]


@CASES("a key that may not leave the token is not backed up")
def _(bench):
    bench.key()
    refused(bench.vault().post("/keys/main/backup"), 400, "NotSupported")
    refused(bench.vault().post("/keys/absent/backup"), 404, "KeyNotFound")


def damage(text):
    """The set of backups, changed where each layer has to see it."""
    text_of_set, seal = from_base64url(text).split(b"\n")
    whole = json.loads(text_of_set)
    first = json.loads(whole["keys"][0]["backup"])

    def again(**changed):
        return base64url(json.dumps({**whole, **changed}).encode() + b"\n" + seal)

    def inner(**changed):
        keys = [{**whole["keys"][0], "backup": json.dumps({**first, **changed})}, *whole["keys"][1:]]
        return again(keys=keys)

    yield "no base64url", "+" + text[1:]
    yield "cut", text[: len(text) // 2]
    yield "nothing", ""
    yield "another schema", again(schema="other")
    yield "no keys", again(keys=[])
    yield "keys that are none", again(keys=[1])
    yield "too many", again(keys=whole["keys"] * 33)
    yield "bad settings", again(keys=[{**whole["keys"][0], "ops": "x"}, *whole["keys"][1:]])
    for name in first:
        yield f"without {name}", inner(**{name: None})
    # The oldest is restored first, and nothing after it.
    last = json.loads(whole["keys"][-1]["backup"])
    cipher = last["ciphertext"]
    last["ciphertext"] = ("B" if cipher[60] == "A" else "A").join((cipher[:60], cipher[61:]))
    keys = [*whole["keys"][:-1], {**whole["keys"][-1], "backup": json.dumps(last)}]
    yield "a changed ciphertext", again(keys=keys)


@CASES("a backup that is damaged, or none, is refused, and leaves nothing")
def _(bench):
    vault = bench.vault()
    good(vault.delete("/keys/saved")), good(vault.delete("/deletedkeys/saved"), 204)
    for what, text in damage(made["backup"]):
        answer = vault.post("/keys/restore", {"value": text})
        need(answer.status in (400, 413), f"{what}: {answer!r}")
        refused(vault.get("/keys/saved"), 404, "KeyNotFound")
    for body in ({}, {"value": None}, {"value": 1}):
        refused(vault.post("/keys/restore", body), 400, "BadParameter")
    good(vault.post("/keys/restore", {"value": made["backup"]}))


@CASES("backups need a key to seal them, which is no key for clients")
def _(bench):
    with bench.other(more="", listeners=("vault",)) as server:
        refused(server.vault().post("/keys/saved/backup"), 400, "NotSupported")
        refused(server.vault().post("/keys/restore", {"value": made["backup"]}), 400, "NotSupported")
    kids = good(bench.vault().get("/keys")).body.decode()
    need(KEK not in kids, "no backup key among the keys")
