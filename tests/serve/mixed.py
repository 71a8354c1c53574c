"""Mixed requests of clients that are right, wrong, slow or gone, for as long as they are wanted."""

import collections
import contextlib
import http.client
import os
import secrets
import socket
import sys
import threading

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402

SILENT = (OSError, http.client.HTTPException)  # there was no answer
DIGEST = service.base64url(bytes(32))
OAEP = "RSA-OAEP-256"
SOAK_S = 7 * 86400  # longer than any soak: what the bearer token lasts


class Mixed:
    """Threads that each go through all kinds of requests, in an order of their own. `counts` is how
    often a kind was answered with which status; a status that is not one of its own is in `wrong`."""

    def __init__(self, server, key, threads=2):
        self.server, self.key = server, key
        self.counts, self.wrong = collections.Counter(), {}
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(threads)]
        self.public = server.public_key(key)
        self.wrapped = service.wrap(self.public, os.urandom(32))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *unused):
        self.done.set()
        for thread in self.threads:
            thread.join(service.SECONDS)

    def run(self):
        vault, proxy = self.server.vault(), self.server.proxy()
        status = self.server.status()
        vault.bearer = self.server.bearer(lasts=SOAK_S)
        number = secrets.randbelow(100)
        while not self.done.wait(0.005):
            number += 1
            name, expected, ask = self.KINDS[number % len(self.KINDS)]
            client = {"proxy": proxy, "status": status}.get(name.split()[0], vault)
            if number % 50 == 0:  # a new connection
                client.close()
            try:
                answer = ask(self, client)
                self.counts[name, answer] += 1
                if answer not in expected:
                    self.wrong.setdefault(name, answer)
            except SILENT as fault:
                self.counts[name, type(fault).__name__] += 1
                self.wrong.setdefault(name, repr(fault))

    # ---- the kinds ----

    def post(self, client, what, body):
        return client.post(f"/keys/{self.key}/{what}", body).status

    def get(self, client):
        return client.get(f"/keys/{self.key}").status

    def list(self, client):
        return client.get("/keys?maxresults=2").status

    def versions(self, client):
        return client.get(f"/keys/{self.key}/versions").status

    def unwrap(self, client):
        return self.post(client, "unwrapkey", service.unwrap_body(self.wrapped))

    def wrap(self, client):
        return self.post(client, "wrapkey", service.unwrap_body(b"k" * 32, OAEP))

    def sign(self, client):
        return self.post(client, "sign", {"alg": "PS256", "value": DIGEST})

    def bad_padding(self, client):
        return self.post(client, "unwrapkey", service.unwrap_body(os.urandom(256)))

    def bad_json(self, client):
        return self.post(client, "unwrapkey", '{"alg":')

    def no_such_key(self, client):
        return client.get("/keys/there-is-none").status

    def nobody(self, client):
        anonymous = self.server.vault(None)
        with contextlib.closing(anonymous):
            return anonymous.get("/keys").status

    def bad_bearer(self, client):
        return client.get("/keys", headers={"Authorization": "Bearer a.b.c"}).status

    def large(self, client):
        """Its connection may be closed before all was sent."""
        with contextlib.closing(self.server.vault()) as other:
            try:
                return self.post(other, "unwrapkey", {"alg": OAEP, "value": "A" * 400_000})
            except SILENT:
                return 413

    def gone(self, client):
        """Somebody who is gone in the middle of a request."""
        address = self.server.addresses["vault"]
        with socket.create_connection(address, timeout=10) as plain:
            with contextlib.closing(
                self.server.context().wrap_socket(plain, server_hostname=address[0])
            ) as secure:
                secure.sendall(b"POST /keys/x/unwrapkey HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n")
        return 0

    def info(self, client):
        path = f"/{service.PREFIX}/info"
        return client.post(path, {"request_context": service.CONTEXT}).status

    def proxy_unwrap(self, client):
        path = f"/{service.PREFIX}/{self.key}/unwrapkey"
        return client.post(path, service.unwrap_body(self.wrapped, proxy=True)).status

    def metrics(self, client):
        return client.get("/metrics").status

    KINDS = [
        ("get", (200,), get), ("list", (200,), list), ("versions", (200,), versions),
        ("unwrap", (200,), unwrap), ("wrap", (200,), wrap), ("sign", (200,), sign),
        ("bad padding", (400,), bad_padding), ("bad JSON", (400,), bad_json),
        ("no such key", (404,), no_such_key), ("no token", (401,), nobody),
        ("bad bearer token", (401,), bad_bearer), ("too large", (413,), large),
        ("gone", (0,), gone), ("proxy info", (200,), info),
        ("proxy unwrap", (200,), proxy_unwrap), ("status metrics", (200,), metrics),
    ]  # fmt: skip
