"""Using keys: encrypt, wrap, sign and what undoes them; which keys may when; random bytes."""

import hashlib
import os
import time

import service
from api_bench import Cases, good, need, refused, same, version_of
from service import base64url, from_base64url

CASES = Cases("use")
OAEP = ("RSA-OAEP", "RSA-OAEP-256")
PAIRS = (("encrypt", "decrypt"), ("wrapkey", "unwrapkey"))
SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
LONGEST = {"RSA-OAEP": 256 - 42, "RSA-OAEP-256": 256 - 66, "RSA1_5": 256 - 11}


def use(client, name, operation, alg, value):
    return client.post(f"/keys/{name}/{operation}", {"alg": alg, "value": base64url(value)})


def digest_for(alg, data=b"text"):
    return hashlib.new("sha" + alg[2:], data).digest()


@CASES("what is encrypted or wrapped comes back, whatever its length")
def _(bench):
    bundle = bench.key()
    for there, back in PAIRS:
        for alg in OAEP:
            for plain in (b"", b"\0", os.urandom(32), os.urandom(LONGEST[alg])):
                answer = good(use(bench.vault(), "main", there, alg, plain)).json
                same((sorted(answer), answer["kid"]), (["kid", "value"], bundle["key"]["kid"]))
                wrapped = from_base64url(answer["value"])
                same(len(wrapped), 256)
                for path in ("main", f"main/{version_of(bundle)}"):
                    found = good(use(bench.vault(), path, back, alg, wrapped)).json
                    same(found, {"kid": bundle["key"]["kid"], "value": base64url(plain)})


@CASES("what others wrap with the public key, it unwraps")
def _(bench):
    bench.key()
    for alg in OAEP:
        plain = os.urandom(32)
        answer = good(bench.unwrap(bench.vault(), "main", plain, alg)).json
        same(from_base64url(answer["value"]), plain)


@CASES("a version that is not the newest unwraps what is its own, and no other")
def _(bench):
    first = bench.create("older")
    value = from_base64url(good(use(bench.vault(), "older", "wrapkey", *("RSA-OAEP", b"k"))).json["value"])
    bench.create("older")
    answer = good(use(bench.vault(), f"older/{version_of(first)}", "unwrapkey", "RSA-OAEP", value))
    same(answer.json["kid"], first["key"]["kid"])
    refused(use(bench.vault(), "older", "unwrapkey", "RSA-OAEP", value), 400, "BadParameter")


@CASES("too much to wrap is refused")
def _(bench):
    bench.key()
    for alg in OAEP:
        for length in (LONGEST[alg] + 1, 256, 512):
            refused(use(bench.vault(), "main", "wrapkey", alg, bytes(length)), 400, "BadParameter")


@CASES("signatures verify, here and by others")
def _(bench):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, utils

    bundle, public = bench.key(), (bench.key(), bench.public("main"))[1]
    for alg in SIGNATURES:
        digest = digest_for(alg)
        answer = good(use(bench.vault(), "main", "sign", alg, digest)).json
        same((sorted(answer), answer["kid"]), (["kid", "value"], bundle["key"]["kid"]))
        kind = getattr(hashes, "SHA" + alg[2:])()
        pss = padding.PSS(padding.MGF1(kind), kind.digest_size)
        public.verify(from_base64url(answer["value"]), digest,
                      padding.PKCS1v15() if alg[0] == "R" else pss, utils.Prehashed(kind))  # fmt: skip
        for text, value, wanted in (
            (b"text", answer["value"], True), (b"other", answer["value"], False),
            (b"text", base64url(bytes(256)), False), (b"text", "", False), (b"text", "AAAA", False),
        ):  # fmt: skip
            body = {"alg": alg, "digest": base64url(digest_for(alg, text)), "value": value}
            same(good(bench.vault().post("/keys/main/verify", body)).json, {"value": wanted})


@CASES("a digest has the length of its hash")
def _(bench):
    bench.key()
    for alg in SIGNATURES:
        length = len(digest_for(alg))
        for wrong in (0, length - 1, length + 1):
            refused(use(bench.vault(), "main", "sign", alg, bytes(wrong)), 400, "BadParameter")
            body = {"alg": alg, "digest": base64url(bytes(wrong)), "value": ""}
            refused(bench.vault().post("/keys/main/verify", body), 400, "BadParameter")


@CASES("algorithms that are not known here are refused")
def _(bench):
    bench.key()
    for operation in ("encrypt", "decrypt", "wrapkey", "unwrapkey", "sign"):
        for alg in ("A256KW", "RSA-OAEP-512", "ES256", "HS256", "none", "", "R" * 5000):
            refused(use(bench.vault(), "main", operation, alg, bytes(32)), 400, "NotSupported")
    refused(use(bench.vault(), "main", "sign", "RSNULL", bytes(32)), 400, "NotSupported")


@CASES("RSA1_5 is off unless the configuration names the key")
def _(bench):
    bench.key(), bench.key("old-one")
    for operation in ("encrypt", "decrypt", "wrapkey", "unwrapkey"):
        refused(use(bench.vault(), "main", operation, "RSA1_5", bytes(16)), 400, "NotSupported", "RSA1_5")
    for there, back in PAIRS:
        plain = os.urandom(LONGEST["RSA1_5"])
        value = good(use(bench.vault(), "old-one", there, "RSA1_5", plain)).json["value"]
        answer = good(use(bench.vault(), "old-one", back, "RSA1_5", from_base64url(value)))
        same(from_base64url(answer.json["value"]), plain)


@CASES("every unwrap that fails has the same answer")
def _(bench):
    bench.key(), bench.key("old-one")
    right = service.wrap(bench.public("main"), b"k" * 32)
    values = {
        "zeros": bytes(256), "noise": b"\1" + os.urandom(255), "over the modulus": b"\xff" * 256,
        "another key's": service.wrap(bench.public("old-one"), b"k" * 32),
        "another algorithm's": service.wrap(bench.public("main"), b"k" * 32, "RSA-OAEP-256"),
        "one bit wrong": right[:-1] + bytes([right[-1] ^ 1]),
    }  # fmt: skip
    answers = {}
    for operation in ("decrypt", "unwrapkey"):
        for what, value in values.items():
            answer = refused(use(bench.vault(), "main", operation, "RSA-OAEP", value), 400, "BadParameter")
            answers[operation, what] = answer.body
    same(len(set(answers.values())), 1, "the number of different answers")
    same(len({records[-1]["op"] for records in [bench.records(answer)]}), 1)
    need("phase" in bench.records(answer)[0], "a record of it")


@CASES("a wrapped value of another length is refused like any other")
def _(bench):
    bench.key()
    wanted = use(bench.vault(), "main", "unwrapkey", "RSA-OAEP", bytes(256)).body
    for length in (0, 1, 128, 255, 257, 384, 512):
        same(use(bench.vault(), "main", "unwrapkey", "RSA-OAEP", bytes(length)).body, wanted, length)


# ---- which keys, and when ----

EVERY = ("encrypt", "decrypt", "wrapkey", "unwrapkey", "sign", "verify")
MAKES = {"encrypt", "wrapkey", "sign"}
OP_NAMES = {"wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}


def try_all(bench, name):
    """What each operation answers: with values that are right."""
    wrapped = service.wrap(bench.public(name), b"k" * 32)
    results = {}
    for operation in EVERY:
        body = {"alg": "RS256" if operation in ("sign", "verify") else "RSA-OAEP"}
        body["value"] = base64url(wrapped if operation in ("decrypt", "unwrapkey") else bytes(32))
        if operation == "verify":
            body["digest"] = base64url(bytes(32))
        results[operation] = bench.vault().post(f"/keys/{name}/{operation}", body)
    return results


def need_only(bench, name, allowed, code):
    for operation, answer in try_all(bench, name).items():
        if operation in allowed:
            good(answer)
        else:
            refused(answer, 403, code)


@CASES("an expired key makes nothing new, and still undoes what was made; so one not valid yet")
def _(bench):
    now = int(time.time())
    bench.key("timed")
    for times in ({"nbf": 1, "exp": now - 5}, {"nbf": now + 600, "exp": now + 900}):
        good(bench.vault().patch("/keys/timed", {"attributes": times}))
        need_only(bench, "timed", set(EVERY) - MAKES, "Forbidden/KeyOperationForbidden")
    good(bench.vault().patch("/keys/timed", {"attributes": {"nbf": now - 5, "exp": now + 900}}))
    need_only(bench, "timed", EVERY, "")


@CASES("a key expires with the second that its exp names")
def _(bench):
    bench.key("this-second")
    exp = int(time.time()) + 2
    good(bench.vault().patch("/keys/this-second", {"attributes": {"exp": exp}}))
    body = {"alg": "RSA-OAEP", "value": base64url(b"k")}
    need(time.time() < exp, "the key could be changed before it expired")
    good(bench.vault().post("/keys/this-second/wrapkey", body))
    time.sleep(max(0, exp + 0.01 - time.time()))
    refused(bench.vault().post("/keys/this-second/wrapkey", body), 403,
            "Forbidden/KeyOperationForbidden")  # fmt: skip
    need(time.time() < exp + 1, "that second is over, so this shows nothing")


@CASES("a disabled key does nothing, until it is enabled")
def _(bench):
    bench.key("disabled")
    for enabled in (False, True):
        good(bench.vault().patch("/keys/disabled", {"attributes": {"enabled": enabled}}))
        need_only(bench, "disabled", EVERY if enabled else (), "Forbidden/KeyDisabled")


@CASES("a key does what its key_ops name, and nothing else")
def _(bench):
    bench.key("few-ops")
    for operation in EVERY:
        ops = [OP_NAMES.get(operation, operation)]
        good(bench.vault().patch("/keys/few-ops", {"key_ops": ops}))
        need_only(bench, "few-ops", {operation}, "Forbidden/KeyOperationForbidden")


@CASES("a record that another program changes is obeyed once keys are read anew")
def _(bench):
    bench.key("by-others")
    command = [bench.server.program, "--config", bench.server.config, "key"]
    for verb, status in (("disable", 403), ("enable", 200)):
        service.testtoken.run(*map(str, command), verb, "by-others")
        from_now = time.monotonic() + 20
        while bench.unwrap(bench.vault(), "by-others", b"k").status != status:
            need(time.monotonic() < from_now, f"{status} after keyward key {verb}")
            time.sleep(0.2)


# ---- random bytes ----


@CASES("random bytes: as many as are asked for, and others each time")
def _(bench):
    seen = set()
    for count in (1, 16, 128):
        answer = good(bench.vault().post("/rng", {"count": count})).json
        same((list(answer), len(from_base64url(answer["value"]))), (["value"], count))
    for _ in range(4):
        seen.add(good(bench.vault().post("/rng", {"count": 16})).json["value"])
    same(len(seen), 4)
    for count in (0, 129, -1, 1.5, "16", None, 1e300):
        refused(bench.vault().post("/rng", {"count": count}), 400, "BadParameter")
