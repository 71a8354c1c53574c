"""Making keys, what is told of them, changing them, and lists of them."""

import re
import time

import service
from api_bench import (ALL_OPS, KEK, RETENTION_DAYS, SOME_DAY, Cases, good, local, need, refused, same,
                       until, version_of)  # fmt: skip

CASES = Cases("keys")
TAGS = {"a": "1", "language": "\u00fc <b>", "empty": ""}


def check_bundle(bench, bundle, name, ops=ALL_OPS, tags=None, size=2048):
    host = "%s:%d" % bench.server.addresses["vault"]
    same(sorted(bundle), ["attributes", "key", "tags"], "its fields")
    key, attributes = bundle["key"], bundle["attributes"]
    same(sorted(key), ["e", "key_ops", "kid", "kty", "n"], "the key's fields")
    need(re.fullmatch(f"https://{host}/keys/{name}/[0-9a-f]{{32}}", key["kid"]), f"a kid: {key['kid']}")
    same((key["kty"], key["e"], sorted(key["key_ops"])), ("RSA-HSM", "AQAB", sorted(ops)))
    same(len(service.from_base64url(key["n"])) * 8, size, "its size")
    now = time.time()
    for when in ("created", "updated"):
        need(type(attributes[when]) is int and now - 120 < attributes[when] < now + 2, when)
    same(attributes["recoverableDays"], RETENTION_DAYS)
    same(attributes["recoveryLevel"], "CustomizedRecoverable+Purgeable")
    same(bundle["tags"], tags or {}, "its tags")


@CASES("create answers with the whole bundle, and get with the same one")
def _(bench):
    answer = good(bench.vault().post("/keys/main/create", {"kty": "RSA"}))
    bundle = bench.made["main"] = answer.json
    check_bundle(bench, bundle, "main")
    same((bundle["attributes"]["enabled"], bundle["attributes"]["exportable"]), (True, False))
    need(not {"nbf", "exp"} & set(bundle["attributes"]), "no times that were not given")
    for path in ("main", "MAIN", f"main/{version_of(bundle)}", "main/"):
        same(good(bench.vault().get(f"/keys/{path}")).json, bundle, path)
    for header in ("x-ms-request-id", "Cache-Control", "Content-Type"):
        need(answer.headers[header], header)


@CASES("create with every setting, and a size")
def _(bench):
    bundle = bench.create(
        "full", kty="RSA-HSM", key_size=3072, public_exponent=65537, key_ops=["decrypt", "unwrapKey"],
        tags=TAGS, attributes={"enabled": False, "nbf": 1500000000, "exp": SOME_DAY,
                               "exportable": True},
    )  # fmt: skip
    check_bundle(bench, bundle, "full", ["decrypt", "unwrapKey"], TAGS, 3072)
    found = bundle["attributes"]
    same((found["enabled"], found["nbf"], found["exp"], found["exportable"]),
         (False, 1500000000, SOME_DAY, True))  # fmt: skip
    same(good(bench.vault().get("/keys/full")).json, bundle)


@CASES("a further version begins anew, and is the one that is given")
def _(bench):
    first = bench.create("versions", tags=TAGS, key_ops=["sign", "verify"])
    second = bench.create("versions")
    check_bundle(bench, second, "versions")
    need(version_of(first) != version_of(second), "another version")
    same(good(bench.vault().get("/keys/versions")).json, second)
    same(good(bench.vault().get(f"/keys/versions/{version_of(first)}")).json, first)


def attributes(**values):
    return {"kty": "RSA", "attributes": values}


BAD = [
    *[({"kty": kty}, "NotSupported") for kty in ("EC", "EC-HSM", "oct", "oct-HSM", "OKP", "")],
    *[({"kty": kty}, "BadParameter") for kty in (None, 1, ["RSA"])], ({}, "BadParameter"),
    *[({"kty": "RSA", "key_size": size}, "BadParameter")
      for size in (1024, 2047, 8192, "2048", 2048.5, -1, 1e300, True)],
    ({"kty": "RSA", "public_exponent": 3}, "NotSupported"),
    ({"kty": "RSA", "public_exponent": "65537"}, "BadParameter"),
    *[({"kty": "RSA", "key_ops": ops}, "BadParameter")
      for ops in ("sign", ["fly"], ["sign", 1], {}, [None], ["SIGN"])],
    *[({"kty": "RSA", "tags": tags}, "BadParameter")
      for tags in ([], "a", {"a": 1}, {"a": None}, {"a": "x" * 257}, {"x" * 257: "a"},
                   {str(n): "" for n in range(16)})],
    *[(attributes(**values), "BadParameter")
      for values in ({"enabled": 1}, {"enabled": "true"}, {"exportable": 0}, {"nbf": "now"},
                     {"exp": -1}, {"exp": 1.5}, {"exp": 1e15}, {"nbf": 20, "exp": 20},
                     {"nbf": 20, "exp": 10})],
    ({"kty": "RSA", "attributes": []}, "BadParameter"),
]  # fmt: skip


@CASES("create refuses what it does not know, and makes nothing")
def _(bench):
    for body, code in BAD:
        refused(bench.vault().post("/keys/bad/create", body), 400, code)
    refused(bench.vault().get("/keys/bad"), 404, "KeyNotFound")


@CASES("update changes what it is given and nothing else")
def _(bench):
    vault, before = bench.vault(), bench.create("updated", tags=TAGS)
    version = version_of(before)

    def update(body, path="updated"):
        bundle = good(vault.patch(f"/keys/{path}", body)).json
        same(bundle["key"]["kid"], before["key"]["kid"])
        same(good(vault.get(f"/keys/updated/{version}")).json, bundle)
        return bundle

    time.sleep(1.1)
    bundle = update({"tags": {"b": "2"}})
    same(bundle["tags"], {"b": "2"})
    need(bundle["attributes"]["updated"] > before["attributes"]["updated"], "a later update")
    same(bundle["attributes"]["created"], before["attributes"]["created"])
    found = update({"attributes": {"nbf": 1600000000, "exp": SOME_DAY}})
    same((found["attributes"]["nbf"], found["attributes"]["exp"]), (1600000000, SOME_DAY))
    same(found["tags"], {"b": "2"})
    same(update({"attributes": {"exp": None}})["attributes"]["exp"], SOME_DAY)
    same(update({"tags": {}}, f"updated/{version}")["tags"], {})
    for enabled in (False, True):
        same(update({"attributes": {"enabled": enabled}})["attributes"]["enabled"], enabled)
    same(update({})["attributes"]["nbf"], 1600000000)


@CASES("key_ops may be narrowed and widened again, and bind at once")
def _(bench):
    vault, body = bench.vault(), {"alg": "RS256", "value": service.base64url(bytes(32))}
    bench.create("ops")
    for ops, status in ((["unwrapKey"], 403), (ALL_OPS, 200), (["sign"], 200)):
        bundle = good(vault.patch("/keys/ops", {"key_ops": ops})).json
        same(sorted(bundle["key"]["key_ops"]), sorted(ops))
        same(vault.post("/keys/ops/sign", body).status, status, f"sign with {ops}")


@CASES("update refuses what it does not know")
def _(bench):
    bench.key()
    for body, code in BAD:
        if "kty" in body and len(body) > 1 and code == "BadParameter" and "key_size" not in body:
            if "public_exponent" not in body:
                refused(bench.vault().patch("/keys/main", body), 400, code)
    same(good(bench.vault().get("/keys/main")).json, bench.key())
    for path in ("absent", "main/" + "0" * 32):
        refused(bench.vault().patch(f"/keys/{path}", {"tags": {}}), 404, "KeyNotFound")


@CASES("what is not there is not found, and nothing is made up")
def _(bench):
    bench.key()
    for path in ("keys/absent", "keys/main/" + "0" * 32, "keys/main/1", f"keys/{KEK}",
                 "keys/absent/rotationpolicy"):  # fmt: skip
        refused(bench.vault().get(f"/{path}"), 404, "KeyNotFound")
    refused(bench.vault().get("/deletedkeys/main"), 404, "KeyNotFound")
    same(good(bench.vault().get("/keys/absent/versions")).json, {"value": [], "nextLink": None})


@CASES("a key that another program makes is found at once")
def _(bench):
    version = bench.server.make_key("of-others")
    # Cases before this one asked for keys that are not there, which is not looked for all the time.
    until(lambda: bench.vault().get("/keys/of-others").status == 200, "it is not found", 5)
    bundle = good(bench.vault().get("/keys/of-others")).json
    same((version_of(bundle), bundle["tags"]), (version, {}))
    same(sorted(bundle["key"]["key_ops"]), sorted(ALL_OPS))


# ---- lists ----


def pages(bench, path, client=None):
    """Each page's entries, as the next link of the one before leads."""
    found, client = [], client or bench.raw()
    path += ("&" if "?" in path else "?") + "api-version=7.6"
    while path:
        page = good(client.get(path)).json
        same(sorted(page), ["nextLink", "value"])
        found.append(page["value"])
        need(len(found) <= 100, "an end of the pages")
        path = page["nextLink"] and local(page["nextLink"])
    return found


def kids(found):
    return [item["kid"] for page in found for item in page]


@CASES("lists have the newest of each name, in pages")
def _(bench):
    bench.key(), bench.key("listed", tags=TAGS)
    host = "https://%s:%d/keys/" % bench.server.addresses["vault"]
    whole = kids(pages(bench, "/keys"))
    need({host + "main", host + "listed", host + "versions"} <= set(whole), f"all names in {whole}")
    same(whole, sorted(whole, key=str.lower), "the order")
    for size in (1, 2, 25):
        found = pages(bench, f"/keys?maxresults={size}")
        same(kids(found), whole, f"pages of {size}")
        same({len(page) for page in found[:-1]} - {size}, set())
    item = next(x for page in pages(bench, "/keys") for x in page if x["kid"] == host + "listed")
    bundle = bench.key("listed")
    same(item, {"kid": host + "listed", "attributes": bundle["attributes"], "tags": TAGS})


@CASES("versions are listed, the newest first")
def _(bench):
    found = pages(bench, "/keys/versions/versions?maxresults=1")
    same([len(page) for page in found], [1, 1])
    newest = good(bench.vault().get("/keys/versions")).json
    same(kids(found)[0], newest["key"]["kid"])


@CASES("lists refuse a size that they don't know")
def _(bench):
    for path in ("/keys", "/keys/main/versions", "/deletedkeys"):
        for size in ("0", "26", "-1", "1x", "", "999999999999999999999", "%20"):
            refused(bench.vault().get(f"{path}?maxresults={size}"), 400, "BadParameter")
    end = good(bench.vault().get("/keys?$skiptoken=zzzzzzzzzz")).json
    same(end, {"value": [], "nextLink": None})


@CASES("keys that a client may not read are not in its lists")
def _(bench):
    bench.key(), bench.key("only-this")
    mine = [x["kid"].rpartition("/")[2] for x in good(bench.vault("narrow").get("/keys")).json["value"]]
    same(mine, ["only-this"])
    refused(bench.vault("narrow").get("/keys/main"), 403, "Forbidden/ForbiddenByRbac")
    refused(bench.vault("narrow").get("/keys/main/versions"), 403, "Forbidden/ForbiddenByRbac")
