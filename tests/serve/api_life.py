"""The life of keys: delete, recover and purge; rotation and its policies."""

import time

import service
from api_bench import (ALL_OPS, RETENTION_DAYS, SOME_DAY, Cases, good, need, refused, same,
                       version_of)  # fmt: skip

CASES = Cases("life")
DELETED = ["attributes", "deletedDate", "key", "recoveryId", "scheduledPurgeDate", "tags"]
DAY = 86400


def version_kids(bench, name):
    return [x["kid"] for x in good(bench.vault().get(f"/keys/{name}/versions")).json["value"]]


@CASES("a key is deleted with all versions, recovered with all, deleted again and purged")
def _(bench):
    vault = bench.vault()
    bench.create("mortal"), bench.create("mortal", tags={"a": "b"})
    bundle, kids = good(vault.get("/keys/mortal")).json, version_kids(bench, "mortal")
    for _ in range(2):
        deleted = good(vault.delete("/keys/mortal")).json
        same(sorted(deleted), sorted(DELETED), "its fields")
        same(deleted["key"], bundle["key"])
        same(deleted["recoveryId"], bundle["key"]["kid"].split("/keys/")[0] + "/deletedkeys/mortal")
        need(abs(deleted["deletedDate"] - time.time()) < 60, "when it was deleted")
        same(deleted["scheduledPurgeDate"] - deleted["deletedDate"], RETENTION_DAYS * DAY)
        same(good(vault.get("/deletedkeys/mortal")).json, deleted)
        for path in ("mortal", f"mortal/{version_of(bundle)}"):
            refused(vault.get(f"/keys/{path}"), 404, "KeyNotFound")
        same(version_kids(bench, "mortal"), [])
        refused(vault.delete("/keys/mortal"), 404, "KeyNotFound")
        refused(vault.post("/keys/mortal/rotate"), 409, "Conflict/ObjectIsDeletedButRecoverable")
        refused(vault.post("/keys/mortal/create", {"kty": "RSA"}), 409,
                "Conflict/ObjectIsDeletedButRecoverable")  # fmt: skip
        refused(vault.post("/keys/mortal/unwrapkey", {"alg": "RSA-OAEP", "value": "AA"}), 404, "KeyNotFound")
        listed = good(vault.get("/deletedkeys")).json["value"]
        item = next(x for x in listed if x["kid"].endswith("/mortal"))
        same(item["recoveryId"], deleted["recoveryId"])
        need("/keys/mortal" not in str(good(vault.get("/keys")).json), "it in no list of keys")
        recovered = good(vault.post("/deletedkeys/mortal/recover")).json
        same((recovered["key"], recovered["tags"]), (bundle["key"], bundle["tags"]))
        same(version_kids(bench, "mortal"), kids)
    good(vault.delete("/keys/mortal"))
    same(good(vault.delete("/deletedkeys/mortal"), 204).body, b"")
    refused(vault.get("/deletedkeys/mortal"), 404, "KeyNotFound")
    for answer in (vault.post("/deletedkeys/mortal/recover"), vault.delete("/deletedkeys/mortal")):
        refused(answer, 404, "KeyNotFound")
    again = bench.create("mortal")
    need(again["key"]["kid"] not in kids, "a new key")


@CASES("a key that is not deleted is neither recovered nor purged, and a disabled one stays so")
def _(bench):
    vault = bench.vault()
    bench.key("alive")
    refused(vault.post("/deletedkeys/alive/recover"), 404, "KeyNotFound")
    refused(vault.delete("/deletedkeys/alive"), 404, "KeyNotFound")
    good(vault.patch("/keys/alive", {"attributes": {"enabled": False}}))
    good(vault.delete("/keys/alive"))
    recovered = good(vault.post("/deletedkeys/alive/recover")).json
    same(recovered["attributes"]["enabled"], False)


@CASES("purge protection keeps a key until its day, and the answers say so")
def _(bench):
    more = "[keys]\npurge-protection = yes\nretention-days = 90\n"
    with bench.other(more=more, listeners=("vault",)) as server:
        vault = server.vault()
        made = good(vault.post("/keys/kept/create", {"kty": "RSA"})).json["attributes"]
        same((made["recoveryLevel"], made["recoverableDays"]), ("Recoverable", 90))
        deleted = good(vault.delete("/keys/kept")).json
        same(deleted["scheduledPurgeDate"] - deleted["deletedDate"], 90 * DAY)
        refused(vault.delete("/deletedkeys/kept"), 403, "Forbidden/ForbiddenByPolicy")
        good(vault.post("/deletedkeys/kept/recover"))
        refused(vault.post("/keys/kept/backup"), 400, "NotSupported")


# ---- rotation ----


@CASES("rotate makes a version like the one before, and the old one still unwraps")
def _(bench):
    vault = bench.vault()
    policy = {"lifetimeActions": [], "attributes": {"expiryTime": "P90D"}}
    before = bench.create("turned", tags={"a": "b"}, key_ops=["wrapKey", "unwrapKey"],
                          attributes={"exportable": True, "nbf": 5, "exp": SOME_DAY})  # fmt: skip
    good(vault.put("/keys/turned/rotationpolicy", policy))
    wrapped = service.wrap(bench.public("turned"), b"k" * 32)
    after = good(vault.post("/keys/turned/rotate")).json
    need(after["key"]["n"] != before["key"]["n"], "another key")
    same(after["tags"], before["tags"], "tags")
    same(after["key"]["key_ops"], before["key"]["key_ops"], "key_ops")
    same(after["attributes"]["exportable"], True, "exportable")
    need("nbf" not in after["attributes"], "no start of its own")
    need(abs(after["attributes"]["exp"] - time.time() - 90 * DAY) < 120, "an end by the policy")
    same(good(vault.get("/keys/turned/rotationpolicy")).json["attributes"]["expiryTime"], "P90D")
    body = service.unwrap_body(wrapped)
    good(vault.post(f"/keys/turned/{version_of(before)}/unwrapkey", body))
    refused(vault.post("/keys/turned/unwrapkey", body), 400, "BadParameter")
    refused(vault.post("/keys/absent/rotate"), 404, "KeyNotFound")


def action(kind="Rotate", **trigger):
    return {"trigger": trigger or {"timeAfterCreate": "P30D"}, "action": {"type": kind}}


def policy(*actions, expiry="P90D"):
    return {"lifetimeActions": list(actions), "attributes": {"expiryTime": expiry}}


@CASES("a rotation policy comes back as it was put")
def _(bench):
    vault, path = bench.vault(), "/keys/main/rotationpolicy"
    default = (bench.key(), good(vault.get(path)).json)[1]
    same(default["lifetimeActions"], [action("Notify", timeBeforeExpiry="P30D")])
    same(default["id"], bench.key()["key"]["kid"].rpartition("/")[0] + "/rotationpolicy")
    for given in (policy(action()), policy(action(timeBeforeExpiry="P7D"), action("Notify", timeBeforeExpiry="P1M")),
                  policy(), policy(action(timeAfterCreate="P1Y2M3DT4H5M6S"), expiry=None)):  # fmt: skip
        for answer in (vault.put(path, given), vault.get(path)):
            found = good(answer).json
            same(found["lifetimeActions"], given["lifetimeActions"])
            same(found["attributes"]["expiryTime"], given["attributes"]["expiryTime"])
            need(abs(found["attributes"]["updated"] - time.time()) < 60, "when it was put")
    mild = {"lifetimeActions": [{"trigger": {"timeAfterCreate": "P30D"}, "action": {"type": "rotate"}}]}
    same(good(vault.put(path, mild)).json["lifetimeActions"], [action()])


BAD_POLICIES = [
    {"lifetimeActions": {}}, {"lifetimeActions": "x"}, {"lifetimeActions": [1]},
    {"lifetimeActions": [{}]}, policy(action("Explode")), policy(action(), action()),
    policy(action(), action("Notify", timeBeforeExpiry="P1D"), action()),
    policy(action("Notify", timeBeforeExpiry="P1D"), action("Notify", timeBeforeExpiry="P2D")),
    policy(action("Notify", timeAfterCreate="P1D")),
    policy(action(timeBeforeExpiry="P1D"), expiry=None),
    policy(action(timeAfterCreate="P1D", timeBeforeExpiry="P1D")), policy(action(other="P1D")),
    *[policy(action(timeAfterCreate=text))
      for text in ("", "P", "30", "P30", "PD", "P1D2Y", "P1DT", "-P1D", "P-1D", "P1.5D", "P0D", "p1d",
                   "P9999999D", "P1D ", "P101Y", "PT", "P1D1D", "P99999999999999999999D")],
    *[policy(expiry=text) for text in ("x", "", "P0D")],
    {"lifetimeActions": [{"trigger": {"timeAfterCreate": 30}, "action": {"type": "Rotate"}}]},
]  # fmt: skip


@CASES("rotation policies that are none are refused, and the old one stays")
def _(bench):
    vault, path = bench.vault(), "/keys/main/rotationpolicy"
    bench.key()
    before = good(vault.put(path, policy(action()))).json
    for bad in BAD_POLICIES:
        answer = vault.put(path, bad)
        need(answer.status == 400 and answer.code == "BadParameter", f"{bad}: {answer!r}")
    same(good(vault.get(path)).json, before)
    refused(vault.put("/keys/absent/rotationpolicy", policy()), 404, "KeyNotFound")
    good(vault.put(path, policy()))
    need(set(ALL_OPS) == set(good(vault.get("/keys/main")).json["key"]["key_ops"]), "its key_ops")
