#!/usr/bin/env python3
"""Keyward against a Key Vault that answers, refuses, lies and hangs; prints TAP.

Usage: e2e.py PROGRAM VECTORS [NAME...]
VECTORS is the folder of drops whose keys the fake vault has; with NAMEs only those cases run.
"""

import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
try:
    import fakevault as fake
except ImportError as missing:
    print(f"1..0 # skip {missing}")
    sys.exit(77)

DROP = "good-nested"
VERSION = "11b376a60b64c4c3e084b1052db04998"
SECONDS = 100

cases = []


def case(function):
    cases.append(function)
    return function


class World:
    """A vault with the vectors' keys, what it takes to reach it, and the program."""

    def __init__(self, program, vectors, scratch):
        self.program, self.vectors = program, pathlib.Path(vectors)
        self.scratch = pathlib.Path(scratch)
        self.authority = fake.Authority(scratch, "ca")
        self.keys = fake.read_keys(vectors)
        self.token = secrets.token_urlsafe(40)
        self.runs = 0
        self.vault = self.serve()
        self.environment = {
            **{k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
            "XDG_STATE_HOME": str(self.scratch / "state"),
            "XDG_CONFIG_HOME": str(self.scratch / "config"),
        }

    def serve(self, hosts=(fake.HOST,), authority=None, days=(-1, 2), **options):
        certificate = (authority or self.authority).issue(secrets.token_hex(4), hosts, days)
        return fake.FakeVault(certificate, self.keys, **options)

    def write_token(self, text, mode=0o600):
        path = self.scratch / secrets.token_hex(4)
        path.touch(mode)
        path.chmod(mode)
        path.write_text(text)
        return str(path)

    def url(self, vault=None, **settings):
        settings = {"ca": self.authority.path, **settings}
        given = [f"{k.replace('_', '-')}={v}" for k, v in settings.items() if v is not None]
        return (vault or self.vault).base + "?" + "&".join(given)

    def run(self, *arguments, **environment):
        return subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, timeout=SECONDS,
            stdin=subprocess.DEVNULL, env={**self.environment, **environment},
        )  # fmt: skip

    def decrypt(self, token, *arguments, drop=DROP, **environment):
        self.runs += 1
        self.out = self.scratch / f"out{self.runs}"
        return self.run(
            "decrypt", str(self.vectors / drop), "--out", str(self.out), "--token", token,
            *arguments, **environment,
        )  # fmt: skip

    def config(self, text):
        path = self.scratch / f"{secrets.token_hex(4)}.conf"
        path.write_text(text)
        return str(path)

    def trail(self):
        lines = []
        for path in sorted((self.scratch / "state").rglob("*.jsonl")):
            lines += [json.loads(x) for x in path.read_text().splitlines()]
        return lines


def same(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what} is {got!r}, not {wanted!r}")


def succeeds(world, done):
    if done.returncode != 0:
        raise AssertionError(f"exit {done.returncode}: {done.stderr}")
    if not list(world.out.iterdir()):
        raise AssertionError("nothing was written")


def fails(done, code, *words):
    for word in words:
        if word not in done.stderr:
            raise AssertionError(f"no {word!r} in {done.stderr!r}")
    same(f"the exit code ({done.stderr.strip()})", done.returncode, code)


def count(log, path_end):
    return sum(entry[1].endswith(path_end) for entry in log)


# ---- who asks ----


@case
def a_token_from_a_file(w):
    w.vault.tokens = [w.token]
    path = w.write_token(w.token + "\n")
    done = w.decrypt(w.url(token_source=f"file:{path}"))
    succeeds(w, done)
    same("warnings", "can be read by others" in done.stderr, False)
    same("who asked", {x[2] for x in w.vault.log}, {f"Bearer {w.token}"})


@case
def a_token_file_that_others_can_read_is_warned_of(w):
    path = w.write_token(w.token, 0o644)
    done = w.decrypt(w.url(token_source=f"file:{path}"))
    succeeds(w, done)
    same("the warning", "can be read by others" in done.stderr, True)


@case
def a_token_file_that_others_can_write_is_refused(w):
    path = w.write_token(w.token, 0o666)
    fails(w.decrypt(w.url(token_source=f"file:{path}")), 3, "token")
    same("requests", w.vault.log, [])


@case
def a_token_from_a_command_as_az_prints_it(w):
    w.vault.tokens = [w.token]
    script = w.scratch / "az"
    answer = {"accessToken": w.token, "expires_on": int(time.time()) + 3600, "tokenType": "Bearer"}
    script.write_text(f"#!/bin/sh\n[ \"$1 $2\" = 'account get' ] || exit 1\necho '{json.dumps(answer)}'\n")
    script.chmod(0o755)
    done = w.decrypt(w.url(token_source=f"exec:{script} account get"))
    succeeds(w, done)
    fails(w.decrypt(w.url(token_source=f"exec:{script} other")), 3, "exit status 1")
    fails(w.decrypt(w.url(token_source="exec:/nonexistent/az")), 3, "can't be started")


@case
def a_command_is_run_again_when_its_token_is_refused(w):
    w.vault.tokens = ["second"]
    script = w.scratch / "twice"
    script.write_text(f"#!/bin/sh\n[ -e {script}.ran ] && echo second || echo first\n: >{script}.ran\n")
    script.chmod(0o755)
    succeeds(w, w.decrypt(w.url(token_source=f"exec:{script}")))
    same("the first two", [x[2] for x in w.vault.log[:2]], ["Bearer first", "Bearer second"])


@case
def a_command_sees_no_pin(w):
    w.vault.tokens = [w.token]
    script = w.scratch / "env"
    script.write_text(f"#!/bin/sh\nenv >{script}.out\necho {w.token}\n")
    script.chmod(0o755)
    done = w.decrypt(w.url(token_source=f"exec:{script}"), MY_PIN="1234", AZURE_CONFIG_DIR="/x")
    succeeds(w, done)
    seen = pathlib.Path(f"{script}.out").read_text()
    same("what it sees", ("MY_PIN" in seen, "AZURE_CONFIG_DIR=/x" in seen), (False, True))


@case
def what_a_command_prints_must_be_a_token(w):
    for text in ("two words", "", "{}", '{"accessToken":1}', "x" * 5000, "x" * 100000):
        script = w.scratch / "bad"
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        script.chmod(0o755)
        fails(w.decrypt(w.url(token_source=f"exec:{script}")), 3, "token")
    same("requests", w.vault.log, [])


@case
def a_managed_identity_of_a_machine(w):
    identity = fake.FakeIdentity(w.token)
    w.vault.tokens = [w.token]
    done = w.decrypt(
        w.url(token_source="managed-identity"), AZURE_POD_IDENTITY_AUTHORITY_HOST=identity.base
    )
    succeeds(w, done)
    same("requests for tokens", len(identity.log), 1)
    path, query = identity.log[0]
    same("its path", path, "/metadata/identity/oauth2/token")
    same("its resource", query["resource"], "https://localhost")
    same("the first request", w.vault.log[0][2], None)


@case
def a_managed_identity_of_a_service(w):
    identity = fake.FakeIdentity(w.token, header="who-i-am")
    w.vault.tokens = [w.token]
    done = w.decrypt(
        w.url(token_source="managed-identity:client-1"),
        IDENTITY_ENDPOINT=f"{identity.base}/msi/token", IDENTITY_HEADER="who-i-am",
    )  # fmt: skip
    succeeds(w, done)
    path, query = identity.log[0]
    same("its path", path, "/msi/token")
    same("what it was asked", (query["client_id"], query["api-version"]), ("client-1", "2019-08-01"))


@case
def a_foreign_resource_gets_no_token(w):
    for resource in (
        "https://management.azure.com", "https://example.localhost", "https://vault.localhost",
        "http://localhost", "https://ocalhost", "https://localhost:1", "https://myvault.localhost",
    ):  # fmt: skip
        identity = fake.FakeIdentity(w.token)
        w.vault.tokens, w.vault.resource = [w.token], resource
        done = w.decrypt(
            w.url(token_source="managed-identity"), AZURE_POD_IDENTITY_AUTHORITY_HOST=identity.base
        )
        fails(done, 3, "is not its own")
        same("requests for tokens", identity.log, [])
        identity.close()


@case
def a_configured_resource_is_used_whatever_the_vault_says(w):
    identity = fake.FakeIdentity(w.token)
    w.vault.tokens, w.vault.resource = [w.token], "https://management.azure.com"
    done = w.decrypt(
        w.url(token_source="managed-identity", resource="https://vault.azure.net"),
        AZURE_POD_IDENTITY_AUTHORITY_HOST=identity.base,
    )
    succeeds(w, done)
    same("its resource", identity.log[0][1]["resource"], "https://vault.azure.net")


@case
def an_identity_endpoint_that_refuses_or_is_away(w):
    identity = fake.FakeIdentity(w.token)
    w.vault.tokens = [w.token]
    away = w.url(token_source="managed-identity")
    identity.faults = [fake.answers(400, {"error": "invalid_request"})]
    done = w.decrypt(away, AZURE_POD_IDENTITY_AUTHORITY_HOST=identity.base)
    fails(done, 3, "managed identity", "HTTP 400")
    identity.faults = [fake.answers(410), fake.answers(429)]
    succeeds(w, w.decrypt(away, AZURE_POD_IDENTITY_AUTHORITY_HOST=identity.base))
    fails(w.decrypt(away, AZURE_POD_IDENTITY_AUTHORITY_HOST="http://127.0.0.1:1"), 6, "managed")


@case
def no_token_or_a_wrong_one(w):
    w.vault.tokens = [w.token]
    fails(w.decrypt(w.url()), 3, "does not accept who asks", "401")
    path = w.write_token("wrong")
    w.vault.log.clear()
    fails(w.decrypt(w.url(token_source=f"file:{path}")), 3, "does not accept who asks")
    same("tries", len(w.vault.log), 2)
    fails(w.decrypt(w.url(token_source="file:/nonexistent/token")), 3, "cannot open")


@case
def mutual_tls_without_a_token(w):
    vault = w.serve(client_ca=w.authority.path)
    certificate, key = w.authority.issue("client")
    succeeds(w, w.decrypt(w.url(vault, certificate=certificate, key=key)))
    fails(w.decrypt(w.url(vault)), 6, fake.HOST)
    fails(w.decrypt(w.url(vault, certificate=certificate, key=w.authority.path)), 3, "certificate")
    foreign, foreign_key = fake.Authority(w.scratch, "other").issue("client")
    fails(w.decrypt(w.url(vault, certificate=foreign, key=foreign_key)), 6, fake.HOST)


# ---- whom it talks to ----


@case
def certificates_are_verified(w):
    other = fake.Authority(w.scratch, "other")
    for vault in (
        w.serve(authority=other),
        w.serve(hosts=["another.localhost"]),
        w.serve(days=(-9, -1)),
        w.serve(days=(1, 9)),
    ):
        fails(w.decrypt(w.url(vault)), 6, "certificate is not trusted")
        same("requests", vault.log, [])
        vault.close()
    fails(w.decrypt(w.url(ca=None)), 6, "certificate is not trusted")
    fails(w.decrypt(w.url(ca="/nonexistent.pem")), 3, "CA")


@case
def redirections_are_not_followed(w):
    other = w.serve()
    w.vault.faults = [fake.answers(307, headers=[("Location", other.base + "/keys")])]
    fails(w.decrypt(w.url()), 6, "not followed")
    same("requests elsewhere", other.log, [])


@case
def a_list_that_goes_on_elsewhere_is_not_followed(w):
    w.vault.foreign_next, w.vault.page = True, 1
    fails(w.decrypt(w.url(), drop="good-rsa-4096"), 6, "another host")


@case
def only_https(w):
    fails(w.decrypt(w.vault.base.replace("https", "http")), 3, "token")
    fails(w.decrypt(w.url().replace("https://", "https://user:secret@")), 3, "address of a vault")
    fails(w.decrypt(w.vault.base + "?verify=no"), 3, "verify")
    fails(w.decrypt(w.vault.base + "/other"), 3, "address of a vault")


# ---- what it says ----


@case
def busy_vaults_are_waited_for(w):
    w.vault.faults = [
        fake.answers(429, {"error": {"code": "Throttled"}}, [("Retry-After", "2")]),
        fake.answers(503),
    ]
    before = time.monotonic()
    succeeds(w, w.decrypt(w.url()))
    waited = time.monotonic() - before
    same(f"that it waited ({waited:.1f} s)", 4 <= waited < 15, True)


@case
def a_vault_that_stays_busy_is_given_up_in_time(w):
    w.vault.faults = [fake.answers(429)] * 50
    config = w.config(f"[token v]\nuri = {w.vault.base}\nca = {w.authority.path}\ntimeout = 4\n")
    before = time.monotonic()
    fails(w.decrypt("v", "--config", config), 6, "too much to do", "429")
    same("that it gave up", time.monotonic() - before < 10, True)
    w.vault.faults = [fake.answers(429, headers=[("Retry-After", "100000")])] * 2
    fails(w.decrypt("v", "--config", config), 6, "429")
    same("that there was one try", len(w.vault.faults), 1)


@case
def a_vault_that_hangs(w):
    config = w.config(f"[token v]\nuri = {w.vault.base}\nca = {w.authority.path}\ntimeout = 2\n")
    w.vault.faults = [fake.slow(6)]
    fails(w.decrypt("v", "--config", config), 6, "in time")
    w.vault.faults = [fake.hangs_up]
    fails(w.decrypt("v", "--config", config), 6, fake.HOST)


@case
def a_vault_that_is_away(w):
    w.vault.close()
    fails(w.decrypt(w.url()), 6, fake.HOST, "can be reached")


@case
def answers_that_are_none(w):
    bundle = w.keys[0].bundle(w.vault.base)
    nameless = {**bundle, "key": {**bundle["key"], "kid": w.vault.base + "/keys/other/" + VERSION}}
    for number, (document, raw) in enumerate((
        (None, b'{"value":['), (None, b""), (None, b"<html>"), ({"value": 1}, None), ({}, None),
        ({"value": [{"kid": "x"}]}, None), ({"value": [], "nextLink": 3}, None),
        (None, b'{"value":[{"kid":"https://h/keys/../x"}]}'), (None, b" " * 2000000),
        (None, b"[" * 500), (None, b'{"value":[],"value":[]}'),
    )):  # fmt: skip
        w.vault.faults = [fake.answers(200, document, raw=raw)]
        done = w.decrypt(w.url())
        fails(done, 6, fake.HOST)
    name = f"{w.keys[0].name}/{VERSION}"
    for document in (nameless, {**bundle, "key": None}, {}, []):
        w.vault.faults = [fake.answers(200, document)]
        fails(w.decrypt(w.url(), "--key", name), 6, fake.HOST)


@case
def results_that_are_none(w):
    name = f"{w.keys[0].name}/{VERSION}"
    kid = w.keys[0].kid(w.vault.base)
    for document in (
        {"kid": kid, "value": "!"}, {"kid": kid, "value": "A" * 2000}, {"kid": kid}, {},
        {"kid": kid[:-1] + "0", "value": "AAAA"}, {"kid": kid, "value": "A" * 30000},
    ):  # fmt: skip
        w.vault.faults = [lambda _: False, fake.answers(200, document)]
        fails(w.decrypt(w.url(), "--key", name), 6, fake.HOST)


@case
def refusals_say_what_to_do(w):
    denied = {"error": {"code": "Forbidden", "message": "no\x1b[31m", "innererror": {"code": "ByRbac"}}}
    w.vault.faults = [fake.answers(403, denied)]
    done = w.decrypt(w.url())
    fails(done, 3, "Crypto User", "ByRbac: no\\x1b[31m")
    w.vault.faults = [fake.answers(500)]
    fails(w.decrypt(w.url()), 6, "HTTP 500")
    w.vault.faults = [fake.answers(418)]
    fails(w.decrypt(w.url()), 6, "HTTP 418")


@case
def a_failed_unwrap_looks_the_same_whatever_the_vault_says(w):
    wrong = w.decrypt(w.url(), drop="bad-wrong-key")
    fails(wrong, 5, "does not unwrap")
    same("the vault's reason", "secret reason" in wrong.stderr, False)
    outcomes = [x for x in w.trail() if x.get("op") == "unwrap" and "status" in json.dumps(x)]
    same("that it is on the trail", len(outcomes) > 0, True)


# ---- keys ----


@case
def a_key_by_version_name_or_address(w):
    key = w.keys[0]
    for name in (key.name, f"{key.name}/{VERSION}", key.kid(w.vault.base), VERSION):
        succeeds(w, w.decrypt(w.url(), "--key", name))
    w.vault.log.clear()
    succeeds(w, w.decrypt(w.url(), "--key", f"{key.name}/{VERSION}"))
    same("requests", [x[1].split("/")[-1] for x in w.vault.log], [VERSION, "unwrapkey"])


@case
def an_address_of_a_key_says_which_vault(w):
    config = w.config(f"[token v]\nuri = {w.vault.base}\nca = {w.authority.path}\n")
    done = w.run(
        "decrypt", str(w.vectors / DROP), "--out", str(w.scratch / "kid"), "--config", config,
        "--key", w.keys[0].kid(w.vault.base),
    )  # fmt: skip
    same(done.stderr, done.returncode, 0)


@case
def a_mapped_version(w):
    key = w.keys[0]
    config = w.config(
        f"[token v]\nuri = {w.vault.base}\nca = {w.authority.path}\n"
        f"[key {VERSION}]\nuri = {key.kid(w.vault.base)}\n"
    )
    succeeds(w, w.decrypt("v", "--config", config))
    same("lists", count(w.vault.log, "/keys") + count(w.vault.log, "/versions"), 0)


@case
def keys_that_are_not_there(w):
    fails(w.decrypt(w.url(), "--key", "nosuch"), 5, "no key nosuch")
    fails(w.decrypt(w.url(), "--key", f"nosuch/{VERSION}"), 5, "no such key")
    fails(w.decrypt(w.url(), "--key", "no such"), 5, "no name or version")
    fails(w.decrypt(w.url(), "--key", f"https://other.localhost/keys/k/{VERSION}"), 5, "names no key")
    fails(w.decrypt(w.url(), drop="bad-unknown-version"), 5, "no key")


@case
def a_name_with_many_versions_is_ambiguous(w):
    key = w.keys[0]
    key.version, version = secrets.token_hex(16), key.version
    fails(w.decrypt(w.url(), "--key", key.name), 5, "2 keys answer")
    key.version = version


@case
def disabled_keys_and_operations_that_are_not_allowed(w):
    key = w.keys[0]
    key.enabled = False
    fails(w.decrypt(w.url()), 5, "is disabled")
    same("unwraps", count(w.vault.log, "/unwrapkey"), 0)
    key.enabled, key.ops = True, ["sign"]
    fails(w.decrypt(w.url()), 3, "key_ops")
    key.ops = ["encrypt", "decrypt"]
    succeeds(w, w.decrypt(w.url()))
    same("decrypts", count(w.vault.log, "/decrypt"), 1)


@case
def many_pages_of_keys(w):
    for number in range(7):
        w.keys.insert(0, fake.random_key(f"more-{number}", secrets.token_hex(16)))
    w.vault.page = 1
    succeeds(w, w.decrypt(w.url()))


@case
def list_inspect_and_cat(w):
    listed = json.loads(w.run("key", "list", "--json", "--token", w.url()).stdout)
    same("the token", listed["token"]["label"], w.vault.base.removeprefix("https://"))
    same("the keys", {x["id"] for x in listed["keys"]}, {x.version for x in w.keys})
    same("states", {x["state"] for x in listed["keys"]}, {"enabled"})
    drop = w.vectors / DROP
    seen = json.loads(w.run("inspect", str(drop), "--json", "--token", w.url()).stdout)
    same("the key", (seen["key"]["id"], seen["status"]), (VERSION, "ok"))
    name = next(x for x in os.listdir(drop) if x.startswith("part-"))
    done = w.run("cat", str(drop), name, "--token", w.url())
    same(done.stderr, (done.returncode, len(done.stdout) > 100), (0, True))


@case
def a_watch_that_waits_until_it_is_allowed(w):
    inbox, out = w.scratch / "inbox", w.scratch / "plain"
    inbox.mkdir()
    out.mkdir()
    shutil.copytree(w.vectors / DROP, inbox / DROP)
    w.vault.tokens = []
    path = w.write_token(w.token)
    command = ["watch", str(inbox), "--out", str(out), "--once", "--token"]
    denied = w.run(*command, w.url(token_source=f"file:{path}"))
    same("the drop's place", (inbox / DROP).exists(), True)
    same("that it is told", "does not accept who asks" in denied.stdout + denied.stderr, True)
    w.vault.tokens = [w.token]
    done = w.run(*command, w.url(token_source=f"file:{path}"))
    same(done.stderr, (done.returncode, (out / DROP).exists()), (0, True))


@case
def what_only_tokens_do_is_refused(w):
    for command in (
        ["key", "create", "new", "--no-expiry"], ["key", "rotate", w.keys[0].name, "--no-expiry"],
        ["key", "disable", w.keys[0].name], ["token", "doctor"], ["audit", "sign"],
    ):  # fmt: skip
        fails(w.run(*command, "--token", w.url()), 5, "is a vault")


# ---- around it ----


@case
def the_trail_names_the_host(w):
    succeeds(w, w.decrypt(w.url()))
    unwraps = [x for x in w.trail() if "unwrap" in json.dumps(x)]
    host = w.vault.base.removeprefix("https://")
    same("records of unwrapping", len(unwraps), 2)
    for record in unwraps:
        same("its token", host in json.dumps(record), True)
    text = json.dumps(w.trail())
    same("tokens and secrets in the trail", w.token in text, False)


@case
def settings_must_fit_the_kind_of_token(w):
    wrong = w.config(f"[token v]\nuri = {w.vault.base}\npin-source = file:/x\n")
    fails(w.decrypt("v", "--config", wrong), 3, "pin-source")
    wrong = w.config("[token t]\nuri = pkcs11:token=x?module-path=/x.so\nca = /x\n")
    fails(w.decrypt("t", "--config", wrong), 3, "for vaults")
    wrong = w.config(f"[token v]\nuri = {w.vault.base}\ntoken-source = sometimes\n")
    fails(w.decrypt("v", "--config", wrong), 3, "token-source")


@case
def many_threads_and_tokens_that_end(w):
    """The C program unwraps by eight threads while the vault takes another token each 50 calls."""
    tool = os.environ.get("KW_VAULT_THREADS")
    if not tool:
        return
    key = w.keys[0]
    script = w.scratch / "next"
    script.write_text(f"#!/bin/sh\ncat {script}.now\n")
    script.chmod(0o755)
    now = pathlib.Path(f"{script}.now")
    now.write_text("t0")
    w.vault.tokens = ["t0"]
    calls, lock = [0], threading.Lock()

    def count_calls(_):
        with lock:
            calls[0] += 1
            if calls[0] % 50 == 0:
                following = w.scratch / "following"
                following.write_text(f"t{calls[0]}")
                w.vault.tokens = [*w.vault.tokens[-3:], f"t{calls[0]}"]
                following.rename(now)
        return False

    w.vault.faults = [count_calls] * 100000
    secret = secrets.token_bytes(32)
    wrapped = key.private.public_key().encrypt(secret, fake.PADDINGS["RSA-OAEP"])
    done = subprocess.run(
        [tool, w.url(token_source=f"exec:{script}"), key.name, VERSION, wrapped.hex(), secret.hex()],
        capture_output=True, text=True, timeout=SECONDS, env=w.environment,
    )  # fmt: skip
    same(done.stdout + done.stderr, done.returncode, 0)
    same("that tokens ended", calls[0] > 200, True)


@case
def nothing_is_left_in_memory(w):
    tool = os.environ.get("KW_VAULT_LEFTOVERS")
    if not tool:
        return
    w.vault.tokens = [w.token]
    secret = secrets.token_bytes(32)
    wrapped = w.keys[0].private.public_key().encrypt(secret, fake.PADDINGS["RSA-OAEP"])
    answer = json.dumps({"accessToken": w.token, "expires_in": 3600})
    for source in (
        f"file:{w.write_token(w.token)}",
        f"file:{w.write_token(answer)}",
        f"exec:/usr/bin/cat {w.write_token(answer)}",
    ):
        looked_for = (secret, fake.b64url(secret).encode(), w.token.encode())
        done = subprocess.run(
            [tool, w.url(token_source=source), w.keys[0].name, VERSION, wrapped.hex(),
             *(bytes(x ^ 0x5A for x in text).hex() for text in looked_for)],
            capture_output=True, text=True, timeout=SECONDS, env=w.environment,
        )  # fmt: skip
        same(done.stdout + done.stderr, done.returncode, 0)


@case
def another_vault_serves_where_one_fails(w):
    second = w.serve()
    config = w.config(
        f"[token a]\nuri = {w.vault.base}\nca = {w.authority.path}\nfailover = b\ntimeout = 5\n"
        f"[token b]\nuri = {second.base}\nca = {w.authority.path}\n"
    )
    succeeds(w, w.decrypt("a", "--config", config))
    same("requests to the second", second.log, [])
    w.vault.close()
    done = w.decrypt("a", "--config", config)
    succeeds(w, done)
    same("the warning", "[token b] serves instead" in done.stderr, True)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    chosen = [x for x in cases if not sys.argv[3:] or x.__name__ in sys.argv[3:]]
    print(f"1..{len(chosen)}")
    failed = 0
    for index, check in enumerate(chosen, 1):
        fault = None
        with tempfile.TemporaryDirectory(prefix="keyward-vault-") as scratch:
            try:
                check(World(os.path.abspath(sys.argv[1]), sys.argv[2], scratch))
            except Exception as error:  # the other cases are tried all the same
                fault = f"{type(error).__name__}: {error}"
        print(f"{'not ok' if fault else 'ok'} {index} {check.__name__.replace('_', ' ')}")
        if fault:
            failed += 1
            print("\n".join(f"# {x}" for x in fault.splitlines()))
        sys.stdout.flush()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
