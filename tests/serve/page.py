#!/usr/bin/env python3
"""The status page, as a browser shows it: what people can read, and that nothing in it is active.

Usage: page.py [--png FILE] PROGRAM, under tests/tokens/with-softhsm; FILE gets a picture of it.
Ends with 77 where there is no Chromium. Prints TAP.
"""

import argparse
import html.parser
import http.server
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402
from service import Wrong  # noqa: E402

NOT_HERE = 77
SIZE = (980, 815)
PNG_MIN, PNG_MAX = 20 * 1024, 150 * 1024  # an empty page has less
# Most of these keep it from asking anything of its maker.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--window-size=%d,%d" % SIZE,
]  # fmt: skip
CLIENTS = {
    "custodian": {"issuer": "trial", "claim": "sub=custodian",
                  "roles": "Key Vault Crypto Officer: *"},
    "payroll": {"issuer": "trial", "claim": "sub=payroll",
                "roles": "Key Vault Crypto User: payroll-*"},
    "auditor": {"issuer": "trial", "claim": "sub=auditor", "roles": "Key Vault Crypto Auditor: *"},
    "operator": {"issuer": "trial", "claim": "sub=operator", "roles": "Monitoring Reader: payroll-*"},
}  # fmt: skip
MARKUP = '<b title="bad">'  # a name that a client asks for
DAY = 86400


class Server(service.Service):
    """Its status page is on loopback without TLS; who asks there has a bearer token."""

    def listener(self, name):
        if name == "status":
            return {"address": "127.0.0.1:0"}
        return super().listener(name)

    def verified(self):
        """Once it has looked at the trail, which it does soon after its start."""
        end = time.monotonic() + service.SECONDS
        while b"it verifies" not in self.page("auditor").body:
            if time.monotonic() > end:
                raise Wrong("the trail is not verified yet")
            time.sleep(0.5)
        return self

    def page(self, sub):
        client = service.Client(self.addresses["status"], None, bearer=self.bearer(sub))
        return service.must(client.get("/"))


class Text(html.parser.HTMLParser):
    """What is in the elements, each once and in its own line; which elements there are."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.lines = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)

    def handle_data(self, data):
        if data.strip() and self.elements[-1] != "style":
            self.lines.append(data.strip())


class Forward(http.server.BaseHTTPRequestHandler):
    """Gives a browser the page that it has no token for, with the headers that the page came with."""

    page = None

    def do_GET(self):
        self.send_response(self.page.status)
        for name in ("Content-Type", "Content-Security-Policy", "X-Content-Type-Options"):
            if name in self.page.headers:
                self.send_header(name, self.page.headers[name])
        self.end_headers()
        self.wfile.write(self.page.body)

    def log_message(self, *_unused):
        pass


def signed(server):
    """With a key on the token that signs the trail from the start."""
    server.write_config()
    service.testtoken.run(server.program, "--config", str(server.config), "audit", "sign")
    return server


def use_keys(server):
    """Something for the page to show."""
    officer, user = server.vault("custodian"), server.vault("payroll")
    now = int(time.time())
    service.must(officer.get("/keys/" + urllib.parse.quote(MARKUP)), 400)
    keys = {"archive": {"exp": now - DAY}, "payroll-2025": {"exp": now + 30 * DAY, "enabled": False},
            "payroll-2026": {"exp": now + 400 * DAY}, "seal": {}}  # fmt: skip
    for name, attributes in keys.items():
        body = {"kty": "RSA", "attributes": attributes}
        service.must(officer.post(f"/keys/{name}/create", body))
    wrapped = service.wrap(server.public_key("payroll-2026", sub="custodian"), b"0" * 32)
    body = service.unwrap_body(wrapped)
    for name, status in (("payroll-2026", 200), ("payroll-2025", 403), ("archive", 403)):
        service.must(user.post(f"/keys/{name}/unwrapkey", body), status)


class Browser:
    def __init__(self, program, server, scratch):
        self.program, self.scratch = program, pathlib.Path(scratch)
        self.pages = {sub: server.page(sub) for sub in ("auditor", "operator")}
        self.count = 0

    def show(self, sub, *options):
        """Chromium's standard output, of the page as this client gets it."""
        self.count += 1
        handler = type("Handler", (Forward,), {"page": self.pages[sub]})
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as forward:
            threading.Thread(target=forward.serve_forever, daemon=True).start()
            command = [self.program, *FLAGS, f"--user-data-dir={self.scratch}/user-{self.count}",
                       *options, "http://127.0.0.1:%d/" % forward.server_port]  # fmt: skip
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            except subprocess.TimeoutExpired:
                raise Wrong("Chromium takes more than two minutes") from None
            finally:
                forward.shutdown()
        if done.returncode != 0:
            raise Wrong(f"Chromium ended with {done.returncode}: {done.stderr[-1000:]}")
        return done.stdout

    def text(self, sub):
        return Text(self.show(sub, "--dump-dom"))

    def has(self, sub, *wanted):
        lines = self.text(sub).lines
        missing = [text for text in wanted if not any(re.search(text, line) for line in lines)]
        if missing:
            raise Wrong(f"the page has no {missing}; it has {lines}")
        return f"{len(lines)} texts"

    # ---- cases ----

    def all_of_it(self):
        return self.has(
            "auditor", r"^Keyward \d", "^ready$", "^SoftHSM", r"^\d+ open, \d+ at work",
            "^archive$", "expired 1 day ago$", "^payroll-2025$", "^disabled$", "^payroll-2026$",
            "in (399|400) days$", "^seal$", "^never$", "^Audit trail$", "^it verifies$",
            "^Last requests$", "^custodian$", "^create$", "^payroll$", "^unwrap$", "^200$", "^403$",
            "^400$",
        )  # fmt: skip

    def less_of_it(self):
        lines = self.text("operator").lines
        bad = {"archive", "seal", "Audit trail", "Last requests", "custodian"} & set(lines)
        if bad or "payroll-2026" not in lines:
            raise Wrong(f"the page shows {sorted(bad)}: {lines}")
        return f"{len(lines)} texts"

    def markup(self):
        text = self.text("auditor")
        if MARKUP not in text.lines or "b" in text.elements:
            raise Wrong(f"{MARKUP} is no text: {text.elements} {text.lines}")
        return "a name that is markup is text"

    def inactive(self):
        policy = self.pages["auditor"].headers["Content-Security-Policy"] or ""
        found = {"script", "img", "link", "iframe", "form", "a"} & set(self.text("auditor").elements)
        if found or "default-src 'none'" not in policy:
            raise Wrong(f"it has {sorted(found)}, and the policy is {policy!r}")
        return "no scripts, forms, links or files"

    def picture(self, path):
        self.show("auditor", f"--screenshot={path}")
        data = path.read_bytes()
        size = struct.unpack(">II", data[16:24])
        if data[:8] != b"\x89PNG\r\n\x1a\n" or size != SIZE or not PNG_MIN < len(data) < PNG_MAX:
            raise Wrong(f"{len(data)} bytes, {size}")
        return f"{len(data)} bytes"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--png")
    parser.add_argument("program")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        print("1..0 # skip Chromium is not installed")
        return NOT_HERE
    with service.scratch_folder() as scratch, signed(Server(
        given.program, scratch, listeners=("vault", "status"), clients=CLIENTS
    )) as server:  # fmt: skip
        use_keys(server)
        browser = Browser(chromium, server.verified(), scratch)
        path = pathlib.Path(given.png or f"{scratch}/page.png").resolve()
        return service.report_cases([
            ("who may read all of it sees all of it", browser.all_of_it),
            ("who may read some of it sees no more", browser.less_of_it),
            ("what clients send is text", browser.markup),
            ("nothing is active", browser.inactive),
            ("a picture of it", lambda: browser.picture(path)),
        ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
