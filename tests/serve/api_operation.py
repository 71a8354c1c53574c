"""The service as a process: signals, sockets that are held for it, a token or a disk that goes away."""

import contextlib
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import attack
import service
from api_bench import CLIENTS, MORE, Cases, Skip, by_token, good, need, refused, same, until

CASES = Cases("operation")
READY = "/health/ready"


def ready(server):
    with contextlib.closing(server.status(timeout=10)) as client:
        return client.get(READY).status


def said_more(server, before, text):
    return until(lambda: text in server.said()[before:], f"it does not say {text!r}: {server.said()[before:]}")


def reload(server, says):
    before = len(server.said())
    server.reload()
    said_more(server, before, says)


# ---- SIGHUP ----


@CASES("SIGHUP lets a new client in and an old one out, and keeps connections")
def _(bench):
    with bench.other(listeners=("vault",)) as server:
        kept, late, reader = server.vault(), server.vault("late"), server.vault("reader")
        for client, status in ((kept, 200), (late, 401), (reader, 200)):
            good(client.get("/keys"), status)
        sockets = [client.connection.sock for client in (kept, reader)]
        server.clients = {**CLIENTS, **by_token("late", "Key Vault Reader: *")}
        del server.clients["reader"]
        server.write_config()
        reload(server, "read anew")
        for client, status in ((kept, 200), (late, 200), (reader, 401)):
            good(client.get("/keys"), status)
        same([client.connection.sock for client in (kept, reader)], sockets, "the connections")
        need(any(record["op"] == "serve.reload" for record in server.records()), "serve.reload")


@CASES("whose certificate is revoked is turned away after a reload, and the log says why")
def _(bench):
    with bench.other(listeners=("proxy",)) as server:
        server.make_certificates("--client", "revoked", "--client", "kept")
        server.make_certificates("--revoke", "revoked")
        for name in ("revoked", "kept"):
            server.proxy(name).post(f"/{service.PREFIX}/info", {})
        server.settings = {"proxy": {"client-crl": server.pem("ca-crl")}}
        server.write_config()
        reload(server, "read anew")
        server.proxy("kept").post(f"/{service.PREFIX}/info", {})
        before = len(server.said())
        try:
            server.proxy("revoked").post(f"/{service.PREFIX}/info", {})
            raise service.Wrong("it is let in")
        except OSError as fault:
            need("revoked" in str(fault), str(fault))
        said_more(server, before, "the certificate of a client at 127.0.0.1 does not hold: certificate revoked")


BROKEN = {
    "no role": "[client x]\nsubject = x\nroles = King: *\n", "no section": "[nothing\n",
    "an unknown setting": "[service]\nfly = yes\n", "no claim": "[client x]\nissuer = trial\nroles = Key Vault Reader: *\n",
    "both duties": "[client x]\nsubject = x\nroles = Key Vault Crypto Officer: *; Key Vault Crypto Auditor: *\n",
    "a client twice": "[client x]\nsubject = azure\nroles = Key Vault Reader: *\n",
}  # fmt: skip


@CASES("a configuration that is broken is told at a reload, and the old one stays")
def _(bench):
    with bench.other(listeners=("vault",)) as server:
        client = server.vault()
        for what, text in BROKEN.items():
            server.more = MORE + text
            server.write_config()
            reload(server, "stays as it was")
            good(client.get("/keys"))
            need(server.process.poll() is None, f"it goes on after {what}")
        server.config.unlink()
        reload(server, "stays as it was")
        good(client.get("/keys"))
        server.more = MORE
        server.write_config()
        reload(server, "read anew")


def certificate_of(server, name="vault"):
    return ssl.get_server_certificate(server.addresses[name])


@CASES("a new certificate is taken at a reload, one that can't be read is not")
def _(bench):
    with bench.other(listeners=("vault",)) as server:
        client, before = server.vault(), certificate_of(server)
        good(client.get("/keys"))
        server.make_certificates("--renew")
        same(certificate_of(server), before, "the certificate before SIGHUP")
        reload(server, "read anew")
        after = until(lambda: certificate_of(server) != before and certificate_of(server), "it is not taken")
        good(client.get("/keys"))
        path = pathlib.Path(server.pem("server"))
        text = path.read_bytes()
        path.write_bytes(text[:100])
        reload(server, "old certificate")
        same(certificate_of(server), after)
        path.write_bytes(text)
        reload(server, "certificate read anew")


# ---- the end ----


@CASES("SIGTERM while a key is being made: the answer still comes, and then nobody is let in")
def _(bench):
    with bench.other(listeners=("vault",)) as server:
        client, answers = server.vault(), []
        good(client.get("/keys"))

        def create():
            answers.append(client.post("/keys/at-the-end/create", {"kty": "RSA", "key_size": 3072}))

        thread = threading.Thread(target=create)
        thread.start()
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        thread.join(60)
        need(answers and answers[0].status == 200, f"an answer: {answers}")
        same(server.process.wait(30), 0, "the exit status")
        with contextlib.suppress(OSError):
            with socket.create_connection(server.addresses["vault"], 2):
                raise service.Wrong("it still listens")
        ops = [record["op"] for record in server.records()]
        need("serve.stop" in ops, "serve.stop on the trail")
        server.verify_trail()


@CASES("a second SIGTERM does not wait")
def _(bench):
    with bench.other(listeners=("vault",), more=MORE) as server:
        holder = server.vault()
        holder.connection = holder.connect()
        holder.connection.connect()
        holder.connection.sock.sendall(b"POST /keys/x/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
        need(time.monotonic() - began < 5, "an end at once")
        holder.close()
        server.process.stdout.close()
        server.process = None


# ---- sockets that a service manager holds ----

LAUNCHER = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="vault")
os.execv(sys.argv[2], sys.argv[2:])
"""


@CASES("sockets that are held for it are taken, and no client is refused while it restarts")
def _(bench):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as held, bench.other(
        start=False, listeners=("vault",)
    ) as server:
        port = held.getsockname()[1]
        server.addresses["vault"] = ("127.0.0.1", port)
        server.before = [sys.executable, "-c", LAUNCHER, str(held.fileno())]
        server.pass_fds = (held.fileno(),)
        server.start()
        same(server.addresses["vault"][1], port)
        kid = good(server.vault().get("/keys/main")).json["key"]["kid"] if bench.key() else ""
        need(f":{port}/" in kid, f"the port in {kid}")
        server.stop()
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(server.vault().get("/keys")))
        waiting.start()
        time.sleep(0.2)
        server.start()
        waiting.join(30)
        need(answers and answers[0].status == 200, f"the client that waited is served: {answers}")


# ---- what goes away ----


@CASES("a token that is away: 503 and not ready, denied is still denied, and it comes back by itself")
def _(bench):
    bench.key()
    folder = attack.token_folder()
    away = folder.with_name("away")
    server = bench.server
    wrapped = service.unwrap_body(service.wrap(bench.public("main"), b"k" * 32))
    good(bench.vault().post("/keys/main/unwrapkey", wrapped))
    folder.rename(away)
    try:
        until(lambda: bench.vault().post("/keys/main/unwrapkey", wrapped).status == 503, "no 503")
        until(lambda: ready(server) == 503, "it is ready without a token")
        for path, body in (("main/unwrapkey", wrapped), ("other/create", {"kty": "RSA"})):
            answer = refused(bench.vault().post(f"/keys/{path}", body), 503, "ServiceUnavailable")
            need(int(answer.headers["Retry-After"]) >= 1, "Retry-After")
            need("CKR" not in answer.body.decode() and "soft" not in answer.body.decode().lower(), "no details")
        refused(bench.vault("reader").post("/keys/main/unwrapkey", wrapped), 403, "Forbidden/ForbiddenByRbac")
        refused(bench.vault(None).get("/keys"), 401, "Unauthorized")
        same(server.status().get("/health/alive").status, 200)
    finally:
        away.rename(folder)
    until(lambda: ready(server) == 200, "it is not ready again")
    good(bench.vault().post("/keys/main/unwrapkey", wrapped))


@CASES("where the trail can't be written nothing is unwrapped, and it goes on when it can")
def _(bench):
    bench.key()
    disk = bench.scratch / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        raise Skip("nothing can be mounted here")
    try:
        with bench.other(listeners=("vault",), audit=disk / "audit") as server:
            vault = server.vault()
            wrapped = service.unwrap_body(service.wrap(bench.public("main"), b"k" * 32))
            good(vault.post("/keys/main/unwrapkey", wrapped))
            filler = disk / "filler"
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            answer = until(lambda: (a := vault.post("/keys/main/unwrapkey", wrapped)).status != 200 and a,
                           "it goes on with a full disk")  # fmt: skip
            refused(answer, 503, "ServiceUnavailable")
            need(answer.headers["Retry-After"], "Retry-After")
            for path in ("unwrapkey", "decrypt"):
                refused(vault.post(f"/keys/main/{path}", wrapped), 503, "ServiceUnavailable")
            refused(vault.post("/keys/full-disk/create", {"kty": "RSA"}), 503, "ServiceUnavailable")
            filler.unlink()
            until(lambda: vault.post("/keys/main/unwrapkey", wrapped).status == 200, "it does not go on")
            refused(vault.get("/keys/full-disk"), 404, "KeyNotFound")
            server.verify_trail()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@CASES("a vault's keys are not served")
def _(bench):
    words = [bench.server.program, "--config", bench.server.config, "serve", "--token",
             "https://vault.example:8443"]  # fmt: skip
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=20)
    same(done.returncode, 3, f"the exit status, with {done.stderr}")
    need("is a vault" in done.stderr, done.stderr)


@CASES("a wrong start says what is wrong, and listens nowhere")
def _(bench):
    wrong = {
        "nothing to serve": {"listeners": ("status",)},
        "no CA": {"settings": {"proxy": {"client-ca": ""}}, "listeners": ("proxy",)},
        "optional": {"settings": {"proxy": {"client-certificate": "optional"}}, "listeners": ("proxy",)},
        "a CRL and no clients": {"settings": {"vault": {"client-certificate": "none", "client-crl": "/x"}},
                                 "listeners": ("vault",)},
        "no CRL": {"settings": {"proxy": {"client-crl": "/nowhere.pem"}}, "listeners": ("proxy",)},
        "no certificate": {"settings": {"vault": {"certificate": "/nowhere.pem"}}, "listeners": ("vault",)},
        "no role": {"more": BROKEN["no role"], "listeners": ("vault",)},
    }  # fmt: skip
    for what, options in wrong.items():
        with bench.other(start=False, **options) as server:
            server.write_config()
            words = [bench.server.program, "--config", server.config, "serve"]
            done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=20)
            same((done.returncode, done.stdout), (3, ""), what)
            need(done.stderr.startswith("keyward: "), f"{what}: {done.stderr}")
