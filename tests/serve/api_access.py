"""Who may do what: tokens, certificates, roles, denials on the trail, the challenge, rates."""

import re
import ssl
import time

import service
from api_bench import ROLES, Cases, good, need, refused, same, until

CASES = Cases("access")
RBAC = "Forbidden/ForbiddenByRbac"
MANUAL = service.ROOT / "docs/man/keyward.conf.5.scd"

# A request for each action, which does nothing where it is allowed, and what it answers then.
ACTIONS = {
    "keys/read": ("GET", "/keys/absent", None, 404),
    "keys/create/action": ("POST", "/keys/absent/create", {"kty": "EC"}, 400),
    "keys/import/action": ("PUT", "/keys/absent", {"key": {}}, 400),
    "keys/update/action": ("PATCH", "/keys/absent", {"tags": 1}, 400),
    "keys/delete": ("DELETE", "/keys/absent", None, 404),
    "keys/recover/action": ("POST", "/deletedkeys/absent/recover", "", 404),
    "keys/purge/action": ("DELETE", "/deletedkeys/absent", None, 404),
    "keys/backup/action": ("POST", "/keys/absent/backup", "", 404),
    "keys/restore/action": ("POST", "/keys/restore", {"value": 1}, 400),
    "keys/rotate/action": ("POST", "/keys/absent/rotate", "", 404),
    "keyrotationpolicies/read": ("GET", "/keys/absent/rotationpolicy", None, 404),
    "keyrotationpolicies/write": ("PUT", "/keys/absent/rotationpolicy", {"lifetimeActions": 1}, 400),
    "rng/action": ("POST", "/rng", {"count": 0}, 400),
    **{f"keys/{name}/action": ("POST", f"/keys/absent/{path}", {"alg": 1}, 400)
       for name, path in (("encrypt", "encrypt"), ("decrypt", "decrypt"), ("wrap", "wrapkey"),
                          ("unwrap", "unwrapkey"), ("sign", "sign"), ("verify", "verify"))},
}  # fmt: skip
ELSEWHERE = {"status/read", "trail/read"}


def documented():
    """The manual's table: each role's actions."""
    text = MANUAL.read_text().partition("## ROLES")[2]
    rows = re.findall(r"^\|  (.+)\n:  (.+)$", text, re.M)
    return {role: set(re.findall(r"[a-z]+/[a-z/]+|keys/delete", actions)) for role, actions in rows}


@CASES("each role allows the actions that the manual gives it, and no other")
def _(bench):
    table = documented()
    same(set(table), set(ROLES.values()))
    same(set().union(*table.values()), set(ACTIONS) | ELSEWHERE, "all actions")
    for client, role in ROLES.items():
        for action, (method, path, body, status) in ACTIONS.items():
            answer = bench.vault(client).request(method, path, body)
            if action in table[role]:
                need(answer.status == status, f"{role}, {action}: {answer!r}")
            else:
                refused(answer, 403, RBAC, f"'{action}'")


@CASES("the status listener's actions are roles' too")
def _(bench):
    table = documented()
    for client, role in ROLES.items():
        status = bench.server.status(None, bearer=bench.server.bearer(client))
        for path in ("/metrics", "/"):
            answer = status.get(path)
            same(answer.status, 200 if "status/read" in table[role] else 403, f"{role}, {path}")
        shown = b"Audit trail" in answer.body
        same(shown, "trail/read" in table[role], f"{role} sees the trail")


# ---- who asks ----


def tokens(bench):
    """What each should be refused for."""
    issue, bearer = bench.server.issuer.issue, bench.server.bearer
    good_one = bearer()
    head, body, signature = good_one.split(".")
    yield "no token", "nonsense"
    yield "nothing", ""
    yield "another's issuer", issue(iss="https://other.example")
    yield "another's audience", issue(aud="https://other.example")
    yield "expired", issue(lasts=-10)
    yield "not valid yet", issue(begins=600)
    yield "no end", issue(without=["exp"])
    yield "no issuer", issue(without=["iss"])
    yield "no audience", issue(without=["aud"])
    yield "alg none", issue(alg="none")
    yield "HS256 by the public key", issue(alg="HS256")
    yield "an unknown kid", issue(kid="unknown")
    yield "a signature cut off", f"{head}.{body}."
    yield "half of it", f"{head}.{body}"
    yield "another's signature", f"{head}.{body}.{bearer('reader').split('.')[2]}"
    yield "a changed body", f"{head}.{bearer('reader').split('.')[1]}.{signature}"
    yield "an unknown client", bearer("nobody")
    yield "a critical header", issue(header={"crit": ["x"], "x": 1})
    yield "100 KiB", issue(more="x" * 100000)


@CASES("tokens that are good let in, by each algorithm")
def _(bench):
    for alg in service.ALGS:
        client = bench.with_token(bench.server.bearer(alg=alg))
        good(client.get("/keys/?maxresults=1"))
    client = bench.with_token(bench.server.issuer.issue(aud=["x", service.issuer.AUDIENCE]))
    good(client.get("/keys"))


@CASES("tokens that are not good let nobody in")
def _(bench):
    for what, token in tokens(bench):
        client = bench.server.vault(None)
        answer = client.get("/keys", headers={"Authorization": f"Bearer {token}"})
        need(answer.status in (401, 400, 431), f"{what}: {answer!r}")
        need(answer.status == 401 or what == "100 KiB", f"{what}: {answer!r}")
        client.close()
    for header in ("Basic YTpi", "Bearer", "bearer ", bench.server.bearer()):
        answer = bench.server.vault(None).get("/keys", headers={"Authorization": header})
        refused(answer, 401, "Unauthorized")


@CASES("a bad token is not made good by a good certificate, nor the other way round")
def _(bench):
    certificate = bench.server.vault(None, certificate="azure")
    answer = certificate.get("/keys", headers={"Authorization": "Bearer nonsense"})
    refused(answer, 401, "Unauthorized")
    both = bench.server.vault("reader", certificate="nobody")
    good(both.get("/keys"))


@CASES("certificates let in by CN or by SAN, and nobody whom the configuration does not name")
def _(bench):
    good(bench.vault(None, certificate="azure").get("/keys"))
    good(bench.vault(None, certificate="by-san").get("/keys"))
    answer = bench.vault(None, certificate="nobody").get("/keys")
    refused(answer, 401, "Unauthorized")


@CASES("a certificate of another CA is no certificate")
def _(bench):
    with bench.other(start=False) as other:
        service.testtoken.run(str(service.ROOT / "hsm-setup/certificates"), "--client", "azure",
                              str(other.scratch / "foreign"))  # fmt: skip
        context = bench.server.context()
        foreign = other.scratch / "foreign"
        context.load_cert_chain(foreign / "azure.pem", foreign / "azure-key.pem")
        for listener in ("vault", "proxy"):
            client = service.Client(bench.server.addresses[listener], context, query="api-version=7.6")
            try:
                answer = client.get("/keys")
            except (OSError, ssl.SSLError):
                continue
            need(answer.status == 401, f"{listener}: {answer!r}")


# ---- the challenge ----


def check_challenge(answer):
    refused(answer, 401, "Unauthorized")
    header = answer.headers["WWW-Authenticate"]
    wanted = f'Bearer authorization="{service.issuer.ISSUER}/common", resource="{service.issuer.AUDIENCE}"'
    same(header, wanted)


@CASES("who comes without a token is told where to get one, before the body is read")
def _(bench):
    for body in ("", "nonsense", b"\xff" * 1000, {"alg": 1}):
        check_challenge(bench.vault(None).post("/keys/main/unwrapkey", body))
    for path in ("/keys", "/fly", "/keys/a_b"):
        check_challenge(bench.vault(None).get(path))


@CASES("with a certificate too, an empty body without a token asks for the challenge")
def _(bench):
    client = bench.vault(None, certificate="azure")
    check_challenge(client.post("/keys/main/unwrapkey"))
    bench.key()
    wrapped = service.unwrap_body(service.wrap(bench.public("main"), b"k" * 32))
    good(client.post("/keys/main/unwrapkey", wrapped))


# ---- denials ----


def denials(bench, answers):
    numbers = {answer.request_id for answer in answers}
    return [record for record in bench.server.records() if record["op"] == "serve.denied"
            and record.get("request", {}).get("request") in numbers]  # fmt: skip


@CASES("what is denied is on the trail with who it was, and nothing of what was asked for is done")
def _(bench):
    bench.key()
    time.sleep(1.1)  # others' denials are over
    headers = {"x-ms-client-request-id": "mine-1"}
    answer = bench.vault("reader").post("/keys/main/unwrapkey", {"alg": "RSA-OAEP", "value": "AA"},
                                        headers=headers)  # fmt: skip
    refused(answer, 403, RBAC)
    (record,) = bench.records(answer)
    same((record["op"], record["request"]), ("serve.denied", {
        "client": "reader", "request": answer.request_id, "correlation": "mine-1"}))  # fmt: skip
    same(record["key"]["label"], "main")
    need("127.0.0.1" in str(record) and "keys/unwrap/action" in str(record), f"why: {record}")
    stranger = bench.server.vault("stranger").get("/keys")
    (record,) = bench.records(stranger)
    same(record["op"], "serve.denied")
    need("client" not in record["request"], "no client's name")


@CASES("a flood of denials fills no disk, and the trail says that there were more")
def _(bench):
    time.sleep(1.1)
    client, began = bench.vault("reader"), time.monotonic()
    answers = [client.post("/keys/main/sign", "") for _ in range(200)]
    took = time.monotonic() - began
    need(all(answer.status == 403 for answer in answers), "all are denied")
    found = denials(bench, answers)
    need(20 <= len(found) <= 20 * (took + 2), f"{len(found)} records of {len(answers)} in {took:.1f} s")
    if len(found) < len(answers):
        need(any("more in this second" in str(record) for record in found), "a word of the others")


@CASES("rights on some keys are rights on no other")
def _(bench):
    bench.key(), bench.key("only-this")
    body = service.unwrap_body(service.wrap(bench.public("only-this"), b"k"))
    good(bench.vault("narrow").post("/keys/only-this/unwrapkey", body))
    good(bench.vault("narrow").post("/keys/ONLY-this/unwrapkey", body))
    for path in ("main", "onlythis", "not-only-this"):
        refused(bench.vault("narrow").post(f"/keys/{path}/unwrapkey", body), 403, RBAC)
    refused(bench.vault("narrow").delete("/keys/only-this"), 403, RBAC)
    refused(bench.vault("narrow").post("/keys/other/create", {"kty": "RSA"}), 403, RBAC)


# ---- rates ----


@CASES("who asks more often than it may is told when to come again, and others are not")
def _(bench):
    often, answers = bench.vault("often"), []
    for _ in range(8):
        answers.append(often.get("/keys/absent"))
    statuses = [answer.status for answer in answers]
    same(statuses[:3], [404] * 3, "what the burst allows")
    need(429 in statuses, f"429 in {statuses}")
    late = refused(next(x for x in answers if x.status == 429), 429, "Throttled")
    need(1 <= int(late.headers["Retry-After"]) <= 2, f"Retry-After {late.headers['Retry-After']}")
    good(bench.vault().get("/keys"))
    until(lambda: often.get("/keys/absent").status == 404, "it is never let in again", 5)
