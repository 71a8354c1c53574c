"""The external key proxy of Managed HSM."""

import os
import secrets
import ssl

import service
from api_bench import Cases, good, need, refused, same, until
from service import CONTEXT, PREFIX, base64url, from_base64url

CASES = Cases("proxy")
AES = "aes-one"


def post(bench, path, body=None, client="azure", context=CONTEXT, prefix=f"/{PREFIX}"):
    body = {"request_context": context, **(body or {})} if context is not None else body or {}
    return bench.proxy(client).post(prefix + path, body)


def flat(answer, status, code):
    refused(answer, status, code)
    same(sorted(answer.json), ["code", "message"], "its fields")


@CASES("info says what it is")
def _(bench):
    found = good(post(bench, "/info")).json
    same(sorted(found), ["api_version", "ekm_product", "ekm_vendor", "proxy_name", "proxy_vendor"])
    same((found["api_version"], found["proxy_vendor"]), ("0.1-preview", "Keyward"))
    need("SoftHSM" in found["ekm_vendor"] + found["ekm_product"], f"whose token it is: {found}")


@CASES("metadata of an RSA key, and of none")
def _(bench):
    bundle = bench.key()
    found = good(post(bench, "/main/metadata")).json
    same(sorted(found), ["e", "key_ops", "key_size", "key_type", "n"])
    same((found["key_type"], found["key_size"]), ("RSA", 2048))
    same((found["n"], found["e"]), (bundle["key"]["n"], bundle["key"]["e"]))
    same(sorted(found["key_ops"]), ["unwrapKey", "wrapKey"])
    flat(post(bench, "/absent/metadata"), 404, "KeyNotFound")


@CASES("RSA keys wrap and unwrap, with both of OAEP")
def _(bench):
    bench.key()
    for alg in ("RSA-OAEP", "RSA-OAEP-256"):
        plain = os.urandom(32)
        body = {"alg": alg, "value": base64url(plain)}
        answer = good(post(bench, "/main/wrapkey", body)).json
        same(list(answer), ["value"])
        for wrapped in (from_base64url(answer["value"]), service.wrap(bench.public("main"), plain, alg)):
            back = good(post(bench, "/main/unwrapkey", {"alg": alg, "value": base64url(wrapped)})).json
            same(back, {"value": base64url(plain)})


def aes_key(bench):
    if AES not in bench.made:
        bench.made[AES] = secrets.token_hex(16)
        bench.server.token.tool("--keygen", "--key-type", "AES:32", "--label", AES, "--usage-wrap",
                                "--id", bench.made[AES])  # fmt: skip
        until(lambda: post(bench, f"/{AES}/metadata").status == 200, "it is not found", 5)


@CASES("AES keys of the token wrap and unwrap, with A256KW and A256KWP")
def _(bench):
    aes_key(bench)
    found = good(post(bench, f"/{AES}/metadata")).json
    same((found["key_type"], found["key_size"], sorted(found["key_ops"])),
         ("oct", 256, ["unwrapKey", "wrapKey"]))  # fmt: skip
    need(not {"n", "e", "k"} & set(found), f"no numbers in {found}")
    for alg, lengths in (("A256KW", (16, 32, 64)), ("A256KWP", (16, 32, 200))):
        for length in lengths:
            plain = os.urandom(length)
            answer = good(post(bench, f"/{AES}/wrapkey", {"alg": alg, "value": base64url(plain)})).json
            same(len(from_base64url(answer["value"])), (length + 7) // 8 * 8 + 8)
            back = good(post(bench, f"/{AES}/unwrapkey", {"alg": alg, "value": answer["value"]}))
            same(back.json, {"value": base64url(plain)})


@CASES("what AES does not unwrap is refused with one answer")
def _(bench):
    aes_key(bench)
    answers = set()
    wrapped = good(post(bench, f"/{AES}/wrapkey", {"alg": "A256KW", "value": base64url(bytes(32))})).json
    right = from_base64url(wrapped["value"])
    for alg, value in (("A256KW", bytes(40)), ("A256KW", right[:-1] + bytes([right[-1] ^ 1])),
                       ("A256KWP", right), ("A256KWP", bytes(40)), ("A256KW", bytes(24))):  # fmt: skip
        answer = post(bench, f"/{AES}/unwrapkey", {"alg": alg, "value": base64url(value)})
        flat(answer, 400, "InvalidRequest")
        answers.add(answer.body)
    same(len(answers), 1, "the number of different answers")
    for alg, length in (("A256KW", 31), ("A256KW", 8), ("A256KWP", 0), ("A256KW", 1025)):
        answer = post(bench, f"/{AES}/wrapkey", {"alg": alg, "value": base64url(bytes(length))})
        need(answer.status == 400, f"{alg}, {length}: {answer!r}")


@CASES("an algorithm of another kind of key is refused")
def _(bench):
    bench.key(), aes_key(bench)
    value = base64url(bytes(32))
    for path, alg in ((f"/{AES}/wrapkey", "RSA-OAEP"), ("/main/wrapkey", "A256KW")):
        answer = post(bench, path, {"alg": alg, "value": value})
        need(answer.status in (400, 404), f"{path} {alg}: {answer!r}")
        same(sorted(answer.json), ["code", "message"])
    for alg in ("RSA1_5", "A128KW", "", "dir"):
        flat(post(bench, "/main/unwrapkey", {"alg": alg, "value": value}), 400, "UnsupportedAlgorithm")


@CASES("RSA1_5 is refused, also for a key that may use it elsewhere")
def _(bench):
    bench.key("old-one")
    body = {"alg": "RSA1_5", "value": base64url(bytes(256))}
    flat(post(bench, "/old-one/unwrapkey", body), 400, "UnsupportedAlgorithm")


@CASES("every unwrap that fails has the same answer")
def _(bench):
    bench.key()
    answers = set()
    for value in (bytes(256), b"\xff" * 256, os.urandom(256), bytes(10), b"",
                  service.wrap(bench.public("main"), b"k", "RSA-OAEP-256")):  # fmt: skip
        answer = post(bench, "/main/unwrapkey", {"alg": "RSA-OAEP", "value": base64url(value)})
        flat(answer, 400, "InvalidRequest")
        answers.add(answer.body)
    same(len(answers), 1, "the number of different answers")


@CASES("errors are flat: disabled, expired, an operation that is not the key's, roles")
def _(bench):
    vault, body = bench.vault(), {"alg": "RSA-OAEP", "value": base64url(bytes(32))}
    bench.key("proxied")
    good(vault.patch("/keys/proxied", {"attributes": {"enabled": False}}))
    for path in ("metadata", "wrapkey", "unwrapkey"):
        flat(post(bench, f"/proxied/{path}", body), 403, "KeyDisabled")
    good(vault.patch("/keys/proxied", {"attributes": {"enabled": True, "exp": 1600000000}}))
    flat(post(bench, "/proxied/wrapkey", body), 403, "OperationNotAllowed")
    good(vault.patch("/keys/proxied", {"attributes": {"exp": 2000000000}, "key_ops": ["sign"]}))
    for path in ("wrapkey", "unwrapkey"):
        flat(post(bench, f"/proxied/{path}", body), 403, "OperationNotAllowed")
    flat(post(bench, "/proxied/wrapkey", body, "lonely"), 403, "Forbidden")
    flat(post(bench, "/absent/unwrapkey", body), 404, "KeyNotFound")


@CASES("a request without its context, or with half of it, is refused")
def _(bench):
    bench.key()
    for context in (None, {}, [], "x", 1, {"request_id": "a"}, {**CONTEXT, "pool_name": ""},
                    {**CONTEXT, "correlation_id": 5}, {**CONTEXT, "request_id": "x" * 129},
                    {**CONTEXT, "pool_name": None}):  # fmt: skip
        for path in ("/info", "/main/metadata", "/main/unwrapkey"):
            flat(post(bench, path, {"alg": "RSA-OAEP", "value": "AA"}, context=context), 400, "InvalidRequest")
    good(post(bench, "/info", context={**CONTEXT, "request_id": "x" * 128, "more": 1}))


@CASES("paths start with the prefix, and names are short and plain")
def _(bench):
    for prefix in ("", "/other", "/EKM", f"/{PREFIX}/{PREFIX}"):
        answer = post(bench, "/info", prefix=prefix)
        flat(answer, 404, "NotFound")
    for name in ("x" * 65, "a_b", "a%20b", "%C3%BC"):
        flat(post(bench, f"/{name}/metadata"), 400, "InvalidRequest")
    flat(post(bench, "/" + "x" * 64 + "/metadata"), 404, "KeyNotFound")
    answer = bench.proxy().get(f"/{PREFIX}/info")
    flat(answer, 405, "MethodNotAllowed")
    answer = bench.proxy().post(f"/{PREFIX}/info", "nonsense")
    flat(answer, 400, "InvalidRequest")


@CASES("certificates alone let in: no token does, and no stranger")
def _(bench):
    for name in ("nobody", "by-san"):
        answer = post(bench, "/main/wrapkey", {"alg": "RSA-OAEP", "value": "AA"}, client=name)
        need(answer.status in (401, 403), f"{name}: {answer!r}")
        same(sorted(answer.json), ["code", "message"])
    client = bench.server.proxy(None, bearer=bench.server.bearer())
    try:
        answer = client.post(f"/{PREFIX}/info", {"request_context": CONTEXT})
    except (OSError, ssl.SSLError):
        return
    raise service.Wrong(f"without a certificate it answers {answer!r}")


@CASES("TLS 1.2 and ciphers other than AES-GCM are refused")
def _(bench):
    context = bench.server.context("azure")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = service.Client(bench.server.addresses["proxy"], context)
    try:
        answer = client.post(f"/{PREFIX}/info", {"request_context": CONTEXT})
    except (OSError, ssl.SSLError):
        pass
    else:
        raise service.Wrong(f"by TLS 1.2 it answers {answer!r}")
    good(post(bench, "/info"))
    connection = bench.proxy().connection
    same(connection.sock.version(), "TLSv1.3")
    need("GCM" in connection.sock.cipher()[0], connection.sock.cipher()[0])
