#!/usr/bin/env python3
"""What clients with roles try that is not theirs: backups of their own making, keys that the service
itself lives by, policies that fill the token.

Usage: attacks.py PROGRAM, under tests/tokens/with-softhsm. Prints TAP.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys

import service
from service import PREFIX, SECONDS, Wrong, base64url, from_base64url, must

CLIENTS = {
    **service.Service.CLIENTS,
    "mallory": {"issuer": "trial", "claim": "sub=mallory",
                "roles": "Key Vault Crypto Officer: m-*"},
}  # fmt: skip
ROTATE = {"action": {"type": "Rotate"}}


def expect(answer, status, *words):
    if answer.status != status or not all(word in answer.body.decode() for word in words):
        raise Wrong(f"{answer!r} instead of {status} with {words}")


def equal(given, wanted):
    if given != wanted:
        raise Wrong(f"{given!r} instead of {wanted!r}")


def private_jwk():
    from cryptography.hazmat.primitives.asymmetric import rsa

    numbers = rsa.generate_private_key(65537, 2048).private_numbers()
    fields = {"n": numbers.public_numbers.n, "e": 65537, "d": numbers.d, "p": numbers.p,
              "q": numbers.q, "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}  # fmt: skip
    octets = {k: v.to_bytes((v.bit_length() + 7) // 8, "big") for k, v in fields.items()}
    return {"kty": "RSA"} | {name: base64url(value) for name, value in octets.items()}


def versions_of(client, name):
    """Their ids, the newest first."""
    def created(item):
        return item["attributes"]["created"]

    items = must(client.get(f"/keys/{name}/versions")).json["value"]
    items.sort(key=created, reverse=True)
    return [item["kid"].rsplit("/", 1)[1] for item in items]


class Attacks:
    def __init__(self, server):
        self.server = server
        self.app, self.mallory = server.vault("app"), server.vault("mallory")

    # ---- backups ----

    def backup(self, client, name, versions=1):
        for _ in range(versions):
            must(client.post(f"/keys/{name}/create", {"kty": "RSA", "attributes": {
                "exportable": True}}))  # fmt: skip
        return must(client.post(f"/keys/{name}/backup")).json["value"]

    def forget(self, name):
        must(self.app.delete(f"/keys/{name}"))
        must(self.app.delete(f"/deletedkeys/{name}"), 204)

    def restore(self, client, text):
        value = text if isinstance(text, str) else base64url(text)
        return client.post("/keys/restore", {"value": value})

    def edits(self, value):
        """(what was changed, the whole text) of a backup."""
        text, seal = from_base64url(value).split(b"\n")
        whole = json.loads(text)

        def with_entry(**changes):
            entry = {**whole["keys"][0], **changes}
            return json.dumps({**whole, "keys": [entry]}).encode()

        def renamed(name):
            backup = json.loads(whole["keys"][0]["backup"])
            backup["key"] |= {"name": name, "id": secrets.token_hex(16)}
            return {"backup": json.dumps(backup)}

        two = {**whole, "keys": [{**whole["keys"][0], **renamed("m-free")},
                                 {**whole["keys"][0], **renamed("victim")}]}  # fmt: skip
        yield "its name", with_entry(**renamed("victim")) + b"\n" + seal
        yield "a second key", json.dumps(two).encode() + b"\n" + seal
        yield "its operations", with_entry(ops=63) + b"\n" + seal
        yield "a policy", with_entry(policy={"lifetimeActions": []}) + b"\n" + seal
        yield "no seal", text
        yield "an empty seal", text + b"\n"
        header, payload, signature = seal.split(b".")
        none = base64url(json.dumps({"alg": "none", "kid": ""}).encode()).encode()
        yield "no algorithm", text + b"\n" + none + b"." + payload + b"."
        yield "its signature", text + b"\n" + b".".join((header, payload, signature[:-8] + b"A" * 8))
        yield "a blank", text + b" \n" + seal

    def edited_backups(self):
        must(self.app.post("/keys/victim/create", {"kty": "RSA"}))
        before = versions_of(self.app, "victim")
        value = self.backup(self.mallory, "m-own")
        self.forget("m-own")
        count = 0
        for what, text in self.edits(value):
            answer = self.restore(self.mallory, text)
            if answer.status != 400:
                raise Wrong(f"with {what} changed: {answer!r}")
            count += 1
        equal(versions_of(self.app, "victim"), before)
        expect(self.app.get("/keys/m-free"), 404)
        must(self.restore(self.mallory, value))
        return f"{count} refused, the true one restored"

    def restored_name(self):
        value = self.backup(self.app, "theirs", versions=3)
        before = versions_of(self.app, "theirs")
        newest = must(self.app.get("/keys/theirs")).json["key"]["kid"]
        self.forget("theirs")
        expect(self.restore(self.mallory, value), 403, "keys/restore/action")
        expect(self.app.get("/keys/theirs"), 404)
        denied = [r for r in self.server.records() if r["op"] == "serve.denied"]
        if "theirs" not in json.dumps(denied[-1:]) or "mallory" not in json.dumps(denied[-1:]):
            raise Wrong(f"the denial is not on the trail: {denied[-1:]}")
        must(self.restore(self.app, value))
        equal(versions_of(self.app, "theirs"), before)
        equal(must(self.app.get("/keys/theirs")).json["key"]["kid"], newest)
        expect(self.restore(self.app, value), 409)
        must(self.app.delete("/keys/theirs"))
        expect(self.restore(self.app, value), 409)
        return f"{len(before)} versions in their order"

    def all_or_none(self):
        """One of the ids is taken: by then, others were restored."""
        value = self.backup(self.app, "part", versions=3)
        newest = must(self.app.get("/keys/part")).json["key"]["kid"].rsplit("/", 1)[1]
        self.forget("part")
        self.server.token.tool("--keypairgen", "--key-type", "rsa:2048", "--id", newest,
                               "--label", "in the way", "--usage-sign")  # fmt: skip
        answer = self.restore(self.app, value)
        if answer.status < 400:
            raise Wrong(f"{answer!r} while an id is taken")
        listed = self.server.token.tool("--list-objects")
        if '"part"' in listed or "label:      part\n" in listed:
            raise Wrong(f"this was left: {listed}")
        for kind in ("privkey", "pubkey"):
            self.server.token.tool("--delete-object", "--type", kind, "--id", newest)
        must(self.restore(self.app, value))
        equal(len(versions_of(self.app, "part")), 3)
        return f"{answer.status}, and nothing is left"

    # ---- keys of the service's own ----

    def reserved_keys(self):
        names = ("backup-kek", "twin-of-kek", "keyward-records")
        proxy = self.server.proxy()
        listed = must(self.app.get("/keys?maxresults=25")).body.decode()
        for name in names:
            if f"/keys/{name}" in listed:
                raise Wrong(f"{name} is listed")
            expect(self.app.get(f"/keys/{name}"), 404)
            expect(self.app.post(f"/keys/{name}/wrapkey",
                                 {"alg": "RSA-OAEP", "value": base64url(b"x" * 32)}), 404)  # fmt: skip
            expect(self.app.post(f"/keys/{name}/unwrapkey",
                                 {"alg": "RSA-OAEP", "value": base64url(b"x" * 256)}), 404)  # fmt: skip
            expect(self.app.delete(f"/keys/{name}"), 404)
            expect(self.app.post(f"/keys/{name}/rotate"), 404)
            expect(self.app.post(f"/keys/{name}/backup"), 404)
            expect(proxy.post(f"/{PREFIX}/{name}/metadata",
                              {"request_context": service.CONTEXT}), 404)  # fmt: skip
        return f"{len(names)} keys"

    def reserved_names(self):
        jwk = private_jwk()
        names = ("backup-kek", "BACKUP-KEK", "twin-of-kek", "keyward-records", "Keyward-Records")
        for name in names:
            expect(self.app.post(f"/keys/{name}/create", {"kty": "RSA"}), 400, "own")
            expect(self.app.put(f"/keys/{name}", {"key": jwk}), 400, "own")
        must(self.app.put("/keys/another-name", {"key": jwk}))
        return f"{len(names)} names"

    def reserved_aes(self):
        proxy = self.server.proxy()
        body = {"request_context": service.CONTEXT, "alg": "A256KW",
                "value": base64url(b"y" * 32)}  # fmt: skip
        must(proxy.post(f"/{PREFIX}/aes-open/wrapkey", body))
        for name in ("backup-kek", "Backup-Kek"):
            expect(proxy.post(f"/{PREFIX}/{name}/wrapkey", body), 404)
            expect(proxy.post(f"/{PREFIX}/{name}/unwrapkey", body), 404)
            expect(proxy.post(f"/{PREFIX}/{name}/metadata",
                              {"request_context": service.CONTEXT}), 404)  # fmt: skip
        expect(self.app.post("/keys/backup-kek/create", {"kty": "RSA"}), 400, "own")
        return "and others are used"

    # ---- what fills the token ----

    def policies(self):
        must(self.app.post("/keys/turns/create", {"kty": "RSA"}))
        bad = [
            ({"timeAfterCreate": "PT1S"}, None), ({"timeAfterCreate": "P6D"}, None),
            ({"timeAfterCreate": "P90D"}, "P27D"), ({"timeBeforeExpiry": "P90D"}, "P30D"),
            ({"timeBeforeExpiry": "P30D"}, "P30D"), ({"timeBeforeExpiry": "P6D"}, "P90D"),
            ({"timeBeforeExpiry": "P85D"}, "P90D"), ({"timeAfterCreate": "P85D"}, "P90D"),
            ({"timeBeforeExpiry": "PT604799S"}, "P90D"),
        ]  # fmt: skip
        good = [
            ({"timeAfterCreate": "P7D"}, None), ({"timeBeforeExpiry": "P21D"}, "P28D"),
            ({"timeAfterCreate": "P83D"}, "P90D"), ({"timeBeforeExpiry": "P1M"}, "P1Y"),
        ]  # fmt: skip
        for cases, status in ((bad, 400), (good, 200)):
            for trigger, lifetime in cases:
                answer = self.app.put("/keys/turns/rotationpolicy", {
                    "lifetimeActions": [{"trigger": trigger, **ROTATE}],
                    "attributes": {"expiryTime": lifetime}})  # fmt: skip
                if answer.status != status:
                    raise Wrong(f"{trigger} of {lifetime}: {answer!r} instead of {status}")
        notify = {"trigger": {"timeBeforeExpiry": "P90D"}, "action": {"type": "Notify"}}
        expect(self.app.put("/keys/turns/rotationpolicy", {"lifetimeActions": [notify],
                            "attributes": {"expiryTime": "P30D"}}), 400, "Notify")  # fmt: skip
        return f"{len(bad) + 1} refused, {len(good)} taken"

    # ---- what was done in part ----

    def steps_in_part(self):
        """By other means one version of three is in another state: each request goes on from there."""
        for _ in range(3):
            must(self.app.post("/keys/part-way/create", {"kty": "RSA"}))
        first = versions_of(self.app, "part-way")[0]
        self.keyward("key", "delete", first)
        must(self.app.post("/deletedkeys/part-way/recover"))
        equal(len(versions_of(self.app, "part-way")), 3)
        expect(self.app.post("/deletedkeys/part-way/recover"), 404)
        self.keyward("key", "delete", first)
        must(self.app.delete("/keys/part-way"))
        self.keyward("key", "recover", first)
        must(self.app.delete("/keys/part-way"))
        expect(self.app.get("/keys/part-way"), 404)
        must(self.app.post("/deletedkeys/part-way/recover"))
        equal(len(versions_of(self.app, "part-way")), 3)
        return "recovered and deleted"

    def keyward(self, *arguments):
        done = subprocess.run([self.server.program, "--config", str(self.server.config), *arguments,
                               "--token", "t"], capture_output=True, text=True,
                              timeout=SECONDS, env=os.environ)  # fmt: skip
        if done.returncode != 0:
            raise Wrong(f"keyward {' '.join(arguments)}: {done.stdout}{done.stderr}")

    def trail(self):
        self.server.verify_trail()
        return "verifies"


def reserve(server):
    """An RSA key for backups that its maker let decrypt too, and an object of the same key pair."""
    kek, twin = secrets.token_hex(16), secrets.token_hex(16)
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pair = rsa.generate_private_key(65537, 2048)
    file = server.scratch / "kek.der"
    file.write_bytes(pair.private_bytes(serialization.Encoding.DER,
                                        serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption()))  # fmt: skip
    public = server.scratch / "kek-public.der"
    public.write_bytes(pair.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))  # fmt: skip
    for label, number in (("backup-kek", kek), ("twin-of-kek", twin)):
        for kind, path, usage in (("privkey", file, "--usage-decrypt"),
                                  ("pubkey", public, "--usage-wrap")):  # fmt: skip
            server.token.tool("--write-object", str(path), "--type", kind, "--id", number,
                              "--label", label, usage)  # fmt: skip


BACKUPS = "[service]\nbackup-kek = pkcs11:object=backup-kek\n"


def rsa_case(program):
    with service.scratch_folder() as folder:
        server = service.Service(program, folder, clients=CLIENTS, more=BACKUPS,
                                 listeners=("vault", "proxy"))  # fmt: skip
        reserve(server)
        with server:
            must(server.vault("app").post("/keys/first/create", {"kty": "RSA"}))
            failed = run(Attacks(server), ("reserved_keys", "reserved_names"))
        for label in ("backup-kek", "twin-of-kek"):
            for kind in ("privkey", "pubkey"):
                server.token.tool("--delete-object", "--type", kind, "--label", label)
    return failed


def aes_case(program):
    """Backups under an AES key: no proxy's client wraps with that one, with others it does."""
    with service.scratch_folder() as folder:
        server = service.Service(program, folder, clients=CLIENTS, more=BACKUPS,
                                 listeners=("vault", "proxy"))  # fmt: skip
        for label in ("backup-kek", "aes-open"):
            server.token.tool("--keygen", "--key-type", "AES:32", "--label", label,
                              "--usage-wrap", "--id", secrets.token_hex(16))  # fmt: skip
        with server:
            attacks = Attacks(server)
            failed = run(attacks, ("reserved_aes", "edited_backups", "restored_name", "all_or_none",
                                   "policies", "steps_in_part", "trail"))  # fmt: skip
    return failed


NAMES = {
    "edited_backups": "a backup that was edited is none",
    "restored_name": "who may not restore that name does not",
    "all_or_none": "a restore that fails leaves nothing",
    "reserved_aes": "no client wraps with the AES key for backups",
    "reserved_keys": "keys of the service's own are served to nobody",
    "reserved_names": "nobody gives a key such a name",
    "policies": "policies turn no faster than a week",
    "steps_in_part": "what was done in part is finished",
    "trail": "the trail",
}
number = 0


def run(attacks, names):
    global number
    failed = 0
    for name in names:
        number += 1
        fault = ""
        try:
            said = getattr(attacks, name)()
        except Wrong as wrong:
            fault, said = str(wrong), "not so"
        failed += service.tap.result(f"{number} {NAMES[name]}: {said}", fault)
    return failed


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program")
    given = parser.parse_args()
    failed = rsa_case(given.program) + aes_case(given.program)
    print(f"1..{number}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
