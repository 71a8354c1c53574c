"""What is no request of the Key Vault API: names, paths, methods, queries and bodies."""

import json

from api_bench import Cases, good, need, refused, same

CASES = Cases("requests")


def unwrap_path(name="main"):
    return f"/keys/{name}/unwrapkey"


@CASES("bad names of keys are refused, whatever is asked of them")
def _(bench):
    for name in ("a_b", "a.b", "%C3%BC", "a%20b", "a%2Fb", "%3Cb%3E", "x" * 128, "a%00", "%2e%2e"):
        answer = bench.vault().get(f"/keys/{name}")
        need(answer.status == 400 and answer.code == "BadParameter", f"{name}: {answer!r}")
        answer = bench.vault().post(f"/keys/{name}/create", {"kty": "RSA"})
        need(answer.status == 400 and answer.code == "BadParameter", f"{name}: {answer!r}")
    refused(bench.vault().get("/keys/" + "x" * 127), 404, "KeyNotFound")


@CASES("unknown paths are not found, and known ones take their methods alone")
def _(bench):
    for path in ("/", "/key", "/keys/main/1/2", "/keys/main/fly", "/secrets", "/keys/main/1/versions",
                 "/deletedkeys/a/b", "/rng/1", "/metrics", "/" + "/".join("abcdefghijklmnop")):  # fmt: skip
        for method in ("GET", "POST"):
            answer = bench.vault().request(method, path, {} if method == "POST" else None)
            if method == "POST" or path != "/keys/main/fly":  # that one may be a version
                need(answer.status in (404, 405), f"{method} {path}: {answer!r}")
    for method, path in (("POST", "/keys"), ("DELETE", "/keys"), ("GET", "/rng"), ("PUT", "/rng"),
                         ("PUT", "/keys/main/unwrapkey"), ("POST", "/keys/main"),
                         ("POST", "/deletedkeys/main")):  # fmt: skip
        refused(bench.vault().request(method, path, {}), 405, "MethodNotAllowed")
    for method in ("HEAD", "OPTIONS", "TRACE", "BREW"):
        answer = bench.vault().request(method, "/keys")
        need(answer.status in (400, 404, 405, 501), f"{method}: {answer!r}")
        bench.vault().close()


@CASES("api-version is needed, and any will do")
def _(bench):
    bench.key()
    for query in ("", "?maxresults=1", "?api-version=", "?api-version"):
        refused(bench.raw().get(f"/keys{query}"), 400, "BadParameter", "api-version")
    for version in ("7.0", "2025-07-01", "7.4-preview.1", "banana"):
        good(bench.raw().get(f"/keys?api-version={version}"))


@CASES("paths as clients write them: escapes, and slashes too many")
def _(bench):
    kid = bench.key()["key"]["kid"]
    for path in ("/keys/main?api%2Dversion=7.6", "/keys/main/?api-version=7.6",
                 "//keys//main//?api-version=7.6", "/%6beys/m%61in?api-version=7.6",
                 "/KEYS/main?api-version=7.6"):  # fmt: skip
        same(good(bench.raw().get(path)).json["key"]["kid"], kid, path)
    for path in ("/keys/main?api-version=7.6&api-version=7.6", "/keys/main?api-version=%zz",
                 "/keys/%2?api-version=7.6", "/keys/../keys/main?api-version=7.6"):  # fmt: skip
        answer = bench.raw().get(path)
        need(answer.status in (400, 404), f"{path}: {answer!r}")
        bench.raw().close()


DEEP = '{"alg":' + "[" * 20 + "]" * 20 + "}"
NO_OBJECTS = {
    "a text": '"alg"', "a number": "1", "an array": "[]", "null": "null", "half": '{"alg":',
    "more": '{"alg":"RSA-OAEP","value":""} {}', "no JSON": "alg=RSA-OAEP", "deep": DEEP,
    "a name twice": '{"alg":"RSA-OAEP","alg":"RSA-OAEP","value":""}', "no UTF-8": b'{"alg":"\xff"}',
    "a NUL": b'{"alg":"a\\u0000b","value":""}', "many": json.dumps({str(n): n for n in range(2000)}),
    "a comma": '{"alg":"RSA-OAEP",}', "NaN": '{"alg":NaN}', "a comment": '{/**/"alg":"a"}',
    "blanks": "   ",
}  # fmt: skip


@CASES("bodies that are no JSON object of the limits are refused")
def _(bench):
    bench.key()
    for what, body in NO_OBJECTS.items():
        for path in (unwrap_path(), "/keys/bad/create", "/keys/restore", "/rng"):
            answer = bench.vault().post(path, body)
            need(answer.status == 400 and answer.code == "BadParameter", f"{what}, {path}: {answer!r}")
    refused(bench.vault().get("/keys/bad"), 404, "KeyNotFound")


@CASES("a body of 300 KiB is refused, one of 200 KiB is read")
def _(bench):
    bench.key()
    for kib in (200, 300, 2000):
        body = {"alg": "RSA-OAEP", "value": "", "more": "x" * (kib * 1024)}
        try:
            answer = bench.vault().post(unwrap_path(), body)
        except OSError:  # it is told while the client still writes
            need(kib > 300, "an answer")
            continue
        same((answer.status, answer.code), (413, "RequestTooLarge") if kib > 256
             else (400, "BadParameter"))  # fmt: skip
        need(("HTTP" not in answer.body.decode()), "its own words")
    good(bench.vault().get("/keys/main"))


VALUES = (None, 1, [], {}, "a+b=", "A", "AAAA\n", "\u00fc", "A" * 3000)


@CASES("fields of the wrong kind are refused by name")
def _(bench):
    bench.key()
    for operation in ("encrypt", "decrypt", "wrapkey", "unwrapkey"):
        path = f"/keys/main/{operation}"
        for value in VALUES:
            refused(bench.vault().post(path, {"alg": "RSA-OAEP", "value": value}), 400, "BadParameter", "value")
        refused(bench.vault().post(path, {"alg": "RSA-OAEP"}), 400, "BadParameter", "value")
        for alg in (None, 1, ["RSA-OAEP"]):
            refused(bench.vault().post(path, {"alg": alg, "value": "AA"}), 400, "BadParameter", "alg")


@CASES("an answer carries both numbers of its request, and no stranger's header")
def _(bench):
    number = "0b5a1c1e-client-1"
    for path in ("/keys", "/keys/absent", "/fly"):
        answer = bench.vault().get(path, headers={"x-ms-client-request-id": number})
        same(answer.headers["x-ms-client-request-id"], number)
        need(len(answer.request_id) == 36, "a number of its own")
    answer = bench.vault().get("/keys", headers={"x-ms-client-request-id": "x" * 5000})
    need(answer.status in (200, 400) and len(str(answer.headers)) < 3000, f"{answer!r}")
    for split in ("a\tb", "a b\x7f"):
        answer = bench.vault().get("/keys", headers={"x-ms-client-request-id": split})
        need(answer.status in (200, 400), f"{answer!r}")
