"""The audit trail of what clients do, and what is nowhere."""

import os

import service
from api_bench import Cases, forms, good, need, refused, same
from service import base64url

CASES = Cases("trail")


def phases(records):
    return [(record["op"], record["phase"]) for record in records]


@CASES("each use of a private key has an intent and an outcome, with who and which request")
def _(bench):
    bench.key()
    digest = {"alg": "RS256", "value": base64url(bytes(32))}
    for operation, op, body in (
        ("unwrapkey", "unwrap", None), ("decrypt", "decrypt", None), ("sign", "sign", digest),
    ):  # fmt: skip
        body = body or service.unwrap_body(service.wrap(bench.public("main"), b"k" * 32))
        headers = {"x-ms-client-request-id": f"mine-{op}"}
        answer = good(bench.vault().post(f"/keys/main/{operation}", body, headers=headers))
        records = bench.records(answer)
        same(phases(records), [(op, "intent"), (op, "outcome")])
        for record in records:
            same(record["request"], {"client": "app", "request": answer.request_id,
                                     "correlation": f"mine-{op}"})  # fmt: skip
            same((record["key"]["label"], record["key"]["alg"]), ("main", body["alg"]))
        same(records[1].get("status", "ok"), "ok")


@CASES("what the public half does has one record")
def _(bench):
    bench.key()
    body = {"alg": "RSA-OAEP", "value": "AAAA"}
    verify = {"alg": "RS256", "digest": base64url(bytes(32)), "value": "AAAA"}
    for operation, op, body in (("wrapkey", "wrap", body), ("encrypt", "encrypt", body),
                                ("verify", "verify", verify)):  # fmt: skip
        answer = good(bench.vault().post(f"/keys/main/{operation}", body))
        same(phases(bench.records(answer)), [(op, "outcome")])


@CASES("an unwrap that fails is on the trail with its cause")
def _(bench):
    bench.key()
    body = {"alg": "RSA-OAEP", "value": base64url(b"\1" * 256)}
    answer = refused(bench.vault().post("/keys/main/unwrapkey", body), 400, "BadParameter")
    records = bench.records(answer)
    same(phases(records), [("unwrap", "intent"), ("unwrap", "outcome")])
    need(records[1]["status"] not in ("", "ok"), f"a failure: {records[1]}")


@CASES("each change of a key is on the trail with who made it")
def _(bench):
    vault, path = bench.vault(), "/keys/logged"
    for call in (
        lambda: vault.post(f"{path}/create", {"kty": "RSA"}), lambda: vault.patch(path, {"tags": {"a": "b"}}),
        lambda: vault.post(f"{path}/rotate"), lambda: vault.delete(path),
        lambda: vault.post("/deletedkeys/logged/recover"), lambda: vault.delete(path),
        lambda: vault.delete("/deletedkeys/logged"),
    ):  # fmt: skip
        answer = call()
        need(answer.status in (200, 204), f"{answer!r}")
        records = bench.records(answer)
        need({record["phase"] for record in records} == {"intent", "outcome"}, f"both of {records}")
        need(all(record["request"]["client"] == "app" for record in records), f"who: {records}")
        need(any(record["key"].get("label") == "logged" for record in records), f"what: {records}")


@CASES("the proxy's request context is on the trail")
def _(bench):
    bench.key()
    context = {"request_id": "outer-1", "correlation_id": "correlated-1", "pool_name": "pool-1"}
    body = {**service.unwrap_body(service.wrap(bench.public("main"), b"k" * 32)), "request_context": context}
    answer = good(bench.proxy().post(f"/{service.PREFIX}/main/unwrapkey", body))
    records = bench.records(answer)
    same(phases(records), [("unwrap", "intent"), ("unwrap", "outcome")])
    for record in records:
        same(record["request"], {"client": "azure", "request": answer.request_id,
             "correlation": "correlated-1", "outer": "outer-1", "pool": "pool-1"})  # fmt: skip
    answer = good(bench.proxy().post(f"/{service.PREFIX}/main/wrapkey", {**body, "value": "AAAA"}))
    (record,) = bench.records(answer)
    same((record["op"], record["request"]["outer"]), ("wrap", "outer-1"))


@CASES("nothing secret and nothing of a body is on the trail or in the log")
def _(bench):
    bench.key()
    plain, wrong, marker = os.urandom(32), b"\1" + os.urandom(255), "MarkerOfABody"
    wrapped = service.wrap(bench.public("main"), plain)
    vault, token = bench.vault(), bench.server.bearer("app", jti="a token of its own")
    own = bench.with_token(token)
    good(own.post("/keys/main/unwrapkey", service.unwrap_body(wrapped)))
    good(bench.proxy().post(f"/{service.PREFIX}/main/unwrapkey", service.unwrap_body(wrapped, proxy=True)))
    random = service.from_base64url(good(vault.post("/rng", {"count": 64})).json["value"])
    vault.post("/keys/main/unwrapkey", {"alg": "RSA-OAEP", "value": base64url(wrong)})
    vault.post("/keys/main/wrapkey", {"alg": "RSA-OAEP", "value": base64url(plain)})
    for body in (f'{{"alg":"{marker}"', {"alg": marker, "value": marker}, {marker: marker}):
        vault.post("/keys/main/unwrapkey", body)
        vault.post("/keys/main/create", body)
        vault.post("/keys/restore", body)
    own.get("/keys", headers={"Authorization": f"Bearer {marker}.{marker}.{marker}"})
    vault.get(f"/fly/{marker}?{marker}={marker}")
    written = bench.written()
    secrets = forms(plain) | forms(wrapped) | forms(wrong) | forms(random) | {token.encode(), marker.encode()}
    secrets |= {token.split(".")[2].encode()}
    found = [secret[:40] for secret in secrets if secret in written]
    same(found, [], "what was found")
    need(b"app" in written, "a trail at all")


@CASES("no PIN is in the trail, the log, or the command line")
def _(bench):
    with open(bench.server.token.pin_file, "rb") as file:
        pin = file.read().strip()
    with open(f"/proc/{bench.server.process.pid}/cmdline", "rb") as file:
        need(pin not in file.read(), "no PIN in the command line")
    words = set(bench.written().replace(b'"', b" ").replace(b",", b" ").split())
    need(pin not in words, "no PIN in the files")


@CASES("the trail verifies, and knows requests by their client")
def _(bench):
    bench.server.verify_trail()
    need(any(record["op"] == "serve.start" for record in bench.server.records()), "serve.start")
    done = service.testtoken.run(bench.server.program, "--config", str(bench.server.config), "audit",
                                 "show", "--client", "azure")  # fmt: skip
    need("unwrap" in done, f"what azure did: {done[:500]}")
