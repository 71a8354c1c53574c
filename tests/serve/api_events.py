"""What happens at other times: rotation by policy, what is unusual, and who is told."""

import contextlib
import json
import os

import service
from api_bench import CLIENTS, MORE, Cases, Skip, good, need, same, until, version_of

CASES = Cases("events")
DAY = 86400
# One line for each event: its environment, and what it was given.
NOTIFY = 'printf "%%s %%s %%s " "$KEYWARD_EVENT" "$KEYWARD_KEY" "$KEYWARD_WHO" >>%s; cat >>%s'


@contextlib.contextmanager
def told(bench):
    """A service that is started at other times, and the events that it told."""
    shim = bench.given.shim and os.path.abspath(bench.given.shim)
    if not shim or not os.path.exists(shim):
        raise Skip("there is no shim for the clock")
    with bench.other(start=False, clients=CLIENTS, environment={"XDG_STATE_HOME": str(bench.scratch / "state")},
                     listeners=("vault", "proxy", "status")) as server:  # fmt: skip
        events = server.scratch / "events"
        events.touch()
        server.more = MORE.replace("[keys]", f"notify = {NOTIFY % (events, events)}\n[keys]").replace("%%", "%")
        yield Told(server, events, shim)


class Told:
    def __init__(self, server, path, shim):
        self.server, self.path, self.shim = server, path, shim
        self.usual = service.pathlib.Path(server.environment["XDG_STATE_HOME"]) / "keyward/serve/usual.json"

    @contextlib.contextmanager
    def at(self, seconds):
        self.server.environment |= {"LD_PRELOAD": self.shim, "KW_CLOCK": str(int(seconds))}
        with self.server:
            yield self.server

    def events(self, name):
        found = []
        for line in self.path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # it is still written
            environment, _, text = line.partition("{")
            event = json.loads("{" + text)
            same(sorted(event), ["detail", "event", "key", "time", "who"])
            same(environment, "".join(f"{event[x] or ''} " for x in ("event", "key", "who")))
            if event["event"] == name:
                found.append(event)
        return found


def unwrap(bench, server, client, plain=b"k"):
    body = service.unwrap_body(service.wrap(bench.public("watched"), plain), proxy=True)
    if client == "azure":
        return good(server.proxy().post(f"/{service.PREFIX}/watched/unwrapkey", body))
    vault = server.vault(None)
    vault.bearer = server.bearer(lasts=100 * DAY)
    return good(vault.post("/keys/watched/unwrapkey", body))


def put_policy(vault, name, *actions):
    body = {"lifetimeActions": [{"trigger": trigger, "action": {"type": kind}} for kind, trigger in actions],
            "attributes": {"expiryTime": "P90D"}}  # fmt: skip
    good(vault.put(f"/keys/{name}/rotationpolicy", body))


@CASES("keys rotate by their policy, expiry is told, and unusual clients and hours are")
def _(bench):
    bench.key("watched")
    with told(bench) as those:
        with those.at(0) as server:
            vault = server.vault()
            for name in ("aging", "staying"):
                good(vault.post(f"/keys/{name}/create", {"kty": "RSA", "tags": {"a": "b"}}))
            good(vault.patch("/keys/staying", {"attributes": {"exp": int(service.time.time()) + 40 * DAY}}))
            put_policy(vault, "aging", ("Rotate", {"timeAfterCreate": "P30D"}))
            put_policy(vault, "staying", ("Rotate", {"timeAfterCreate": "P60D"}),
                       ("Notify", {"timeBeforeExpiry": "P10D"}))  # fmt: skip
            old = good(vault.get("/keys/aging")).json
            unwrap(bench, server, "app")
        same(those.events("rotated") + those.events("near-expiry"), [], "events of the first day")
        text = those.usual.read_text()
        need("watched" in text and "app" in text, f"what is usual is kept: {text[:200]}")
        with those.at(8 * DAY) as server:
            unwrap(bench, server, "app")
            same(those.events("anomaly.client"), [], "events of a client that is known")
            unwrap(bench, server, "azure")
            (event,) = until(lambda: those.events("anomaly.client"), "the new client is not told")
            same((event["key"], event["who"]), ("watched", "azure"))
            unwrap(bench, server, "azure")
            need(server.metrics().get('keyward_anomalies_total{rule="client"}') == 1, "the metric")
            need(any(record["op"] == "anomaly.client" for record in server.records()), "a record")
        check_rotation(bench, those, old)
        with those.at(31 * DAY + 6 * 3600) as server:
            answer = unwrap(bench, server, "app")
            (event,) = until(lambda: those.events("anomaly.hour"), "the new hour is not told")
            same((event["key"], event["who"]), ("watched", "app"))
            records = [x for x in server.records() if x["op"] == "anomaly.hour"]
            same(records[-1]["request"]["request"], answer.request_id)
        same(len(those.events("anomaly.client")), 1)


def check_rotation(bench, those, old):
    with those.at(31 * DAY) as server:
        vault = server.vault(None)
        vault.bearer = server.bearer(lasts=100 * DAY)
        (event,) = until(lambda: those.events("rotated"), "the rotation is not told")
        same((event["key"], event["who"]), ("aging", "rotation policy"))
        new = good(vault.get("/keys/aging")).json
        need(version_of(new) != version_of(old), "a new version")
        same(new["tags"], old["tags"])
        (event,) = until(lambda: those.events("near-expiry"), "the end is not told")
        same(event["key"], "staying")
        same(len(good(vault.get("/keys/staying/versions")).json["value"]), 1)
        unwrap(bench, server, "app")
        need(any(x.get("request", {}).get("client") == "rotation policy" for x in server.records()), "a record")


@CASES("a rotation that fails is told, and the key stays until the token makes keys again")
def _(bench):
    with told(bench) as those:
        if not os.environ.get("SOFTHSM2_CONF"):
            raise Skip("the module with faults is for SoftHSM2")
        with those.at(0) as server:
            good(server.vault().post("/keys/hindered/create", {"kty": "RSA"}))
            put_policy(server.vault(), "hindered", ("Rotate", {"timeAfterCreate": "P30D"}))
        faults = service.pathlib.Path(those.shim).parents[1] / "pkcs11/kw_fault_module.so"
        broken = those.server.behind_faults(faults, "C_GenerateKeyPair answer 0x30")
        with broken, those.at(31 * DAY) as server:
            (event,) = until(lambda: those.events("rotation-failed"), "the failure is not told")
            same((event["key"], event["who"]), ("hindered", "rotation policy"))
            need("CKR_DEVICE_ERROR" in event["detail"], event)
            need('key "hindered" is due for rotation: ' in server.said(), server.said())
            vault = server.vault(None)
            vault.bearer = server.bearer(lasts=100 * DAY)
            same(len(good(vault.get("/keys/hindered/versions")).json["value"]), 1)
            failed = [x for x in server.records() if x["op"] == "key.rotate" and x["phase"] == "outcome"]
            need(failed and "CKR_DEVICE_ERROR" in str(failed[-1]), f"{failed[-1:]}")
        with those.at(31 * DAY) as server:
            until(lambda: those.events("rotated"), "it is not made up for")
        same(len(those.events("rotation-failed")), 1)


def pages_of_many(bench, path, count):
    """Its pages, once they have so many of these keys."""
    import api_keys

    found = api_keys.pages(bench, path)
    return found if len([x for x in api_keys.kids(found) if "/many" in x]) >= count else None


@CASES("many names and versions are listed to the last, in pages of 25 at most")
def _(bench):
    import api_keys
    import api_many

    api_many.put_keys("many", 40, 30)
    bench.raw().close()
    until(lambda: bench.vault().get("/keys/many-39").status == 200, "they are not found")
    for path, count, step in (("/keys", 40, 25), ("/keys/many/versions", 30, 25)):
        # What another program makes is seen after the next refresh at the latest.
        found = until(lambda: pages_of_many(bench, path, count), f"{path} lacks some of {count}", seconds=60)
        kids = api_keys.kids(found)
        same(len(set(kids)), len(kids), "each once")
        same({len(page) for page in found[:-1]}, {step}, "full pages")
        same(api_keys.kids(api_keys.pages(bench, f"{path}?maxresults=7")), kids, "pages of seven")
