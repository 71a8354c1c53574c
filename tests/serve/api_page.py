"""The status listener: health, metrics, the page."""

import re
import subprocess

import service
from api_bench import CLIENTS, Cases, by_token, good, need, refused, same, until

CASES = Cases("status")
SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$')


def status(bench, sub):
    return bench.server.status(None, bearer=bench.server.bearer(sub) if sub else None)


@CASES("health is for everybody, and nothing else is")
def _(bench):
    client = status(bench, None)
    for path, text in (("/health/alive", b"alive\n"), ("/health/ready", b"ready\n")):
        answer = until(lambda: (a := client.get(path)).status == 200 and a, f"{path} is not 200")
        same(answer.body, text)
    for path in ("/metrics", "/", "/health", "/health/other", "/keys"):
        refused(client.get(path), 401, "Unauthorized")
    refused(client.post("/health/alive", {}), 401, "Unauthorized")
    refused(status(bench, "role-reader").get("/metrics"), 403, "Forbidden/ForbiddenByRbac")
    refused(status(bench, "role-monitor").get("/keys"), 404, "NotFound")


def parse(text):
    """Prometheus's text format: each family has its type before its samples, and no sample is there
    twice."""
    types, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            need(name not in types, f"one family {name}")
            need(kind in ("counter", "gauge", "histogram"), kind)
            types[name] = kind
            continue
        if line.startswith("# HELP "):
            continue
        match = SAMPLE.match(line)
        need(match, f"a sample: {line}")
        name, labels, value = match.groups()
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        need(name in types or types.get(family) == "histogram", f"a type of {name}")
        need((name, labels) not in samples, f"{name}{labels} once")
        samples[name, labels] = float(value)
    return types, samples


def read_metrics(bench):
    answer = good(status(bench, "role-monitor").get("/metrics"))
    need(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), "its type")
    need(answer.body.endswith(b"\n"), "a last line that ends")
    return parse(answer.body.decode())


@CASES("metrics are Prometheus's text, and go up")
def _(bench):
    bench.key("expiring", attributes={"exp": 2000000000})
    types, before = read_metrics(bench)
    for name in ("keyward_requests_total", "keyward_request_seconds", "keyward_ready",
                 "keyward_token_sessions", "keyward_token_sessions_in_use", "keyward_connections",
                 "keyward_token_recoveries_total", "keyward_token_failovers_total",
                 "keyward_key_expiry_days"):  # fmt: skip
        need(name in types, f"{name} among {sorted(types)}")
    bench.key()
    for plain in (b"k", b"l"):
        good(bench.unwrap(bench.vault(), "main", plain))
    refused(bench.vault().post("/keys/main/unwrapkey", {}), 400, "BadParameter")
    _, after = read_metrics(bench)

    def more(name, labels):
        return after.get((name, labels), 0) - before.get((name, labels), 0)

    labels = 'api="vault",operation="unwrap"'
    same(more("keyward_requests_total", "{%s,client=\"app\",status=\"200\"}" % labels), 2)
    same(more("keyward_requests_total", "{%s,client=\"app\",status=\"400\"}" % labels), 1)
    same(more("keyward_request_seconds_count", "{%s}" % labels), 3)
    same(more("keyward_request_seconds_bucket", '{%s,le="+Inf"}' % labels), 3)
    need(all(after[key] >= value for key, value in before.items()
             if types.get(key[0]) == "counter"), "no counter that goes down")  # fmt: skip
    buckets = [value for (name, found), value in after.items()
               if name == "keyward_request_seconds_bucket" and found.startswith("{" + labels)]  # fmt: skip
    same(buckets, sorted(buckets), "buckets that add up")
    same(after["keyward_ready", None], 1)
    need(any("expiring" in (key[1] or "") for key in after), "days to the end of a key")


@CASES("the page shows keys and, to those who read it, the trail")
def _(bench):
    bench.key()
    answer = good(status(bench, "role-monitor").get("/"))
    page = answer.body.decode()
    need(answer.headers["Content-Type"].startswith("text/html"), "HTML")
    need("default-src 'none'" in answer.headers["Content-Security-Policy"], "a policy")
    need(">main<" in page and ">ready<" in page, "the key and the state")
    need("Audit trail" not in page and "Last requests" not in page, "nothing of the trail")
    need("<script" not in page and "http://" not in page, "nothing from elsewhere")
    bench.unwrap(bench.vault(), "main", b"k")
    page = good(status(bench, "role-auditor").get("/")).body.decode()
    for text in ("Audit trail", "Last requests", "<td>app</td>", "<td>unwrap</td>"):
        need(text in page, text)


@CASES("what others named has no meaning in the page's HTML")
def _(bench):
    name = "a<b>&"
    clients = {**CLIENTS, name: by_token("bold", "Key Vault Crypto Auditor: *")["bold"]}
    with bench.other(clients=clients) as server:
        client = server.status("ops", bearer=server.bearer("bold"))
        for _ in range(2):
            page = good(client.get("/")).body.decode()
        need("<b>" not in page, "no element that a name makes")
        need("a&#60;b&#62;&#38;" in page, "the name, as text")
        same(good(client.get("/metrics")).status, 200)
        parse(client.get("/metrics").body.decode())


@CASES("the process is confined")
def _(bench):
    with open(f"/proc/{bench.server.process.pid}/status") as file:
        found = dict(re.findall(r"^(\w+):\s+(\S+)", file.read(), re.M))
    same((found["Seccomp"], found["NoNewPrivs"]), ("2", "1"))
    with open(f"/proc/{bench.server.process.pid}/limits") as file:
        need(re.search(r"core file size +0 ", file.read()), "no core file")
    done = subprocess.run(["ls", f"/proc/{bench.server.process.pid}/task"], capture_output=True, text=True)
    need(len(done.stdout.split()) > 4, "threads")
    need(not any("unconfined" in str(record) for record in bench.server.records()), "no word of that")
