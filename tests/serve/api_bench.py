"""What the cases of api_*.py have in common: one service that runs for all of them, its clients, and
how an answer is judged."""

import base64
import contextlib
import pathlib
import secrets
import shutil
import time
import traceback

import service
from service import Wrong

RETENTION_DAYS = 7
KEK = "backup-kek"
ALL_OPS = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]
SOME_DAY = 2000000000  # seconds, in 2033

# The names of clients are the subjects of their tokens.
ROLES = {
    "role-officer": "Key Vault Crypto Officer", "role-user": "Key Vault Crypto User",
    "role-service": "Key Vault Crypto Service Encryption User", "role-reader": "Key Vault Reader",
    "role-auditor": "Key Vault Crypto Auditor", "role-monitor": "Monitoring Reader",
}  # fmt: skip


def by_token(name, roles, **more):
    return {name: {"issuer": "trial", "claim": f"sub={name}", "roles": roles, **more}}


CLIENTS = {
    **service.Service.CLIENTS,
    **{name: by_token(name, f"{role}: *")[name] for name, role in ROLES.items()},
    **by_token("narrow", "Key Vault Crypto User: only-*; keys/create/action: only-*"),
    **by_token("often", "Key Vault Reader: *", rate=1, burst=3),
    "by-san": {"san": "urn:keyward:by-san", "roles": "Key Vault Reader: *"},
    "lonely": {"subject": "lonely", "roles": "Key Vault Crypto Service Encryption User: only-*"},
}
MORE = f"""[service]
backup-kek = pkcs11:object={KEK}
rsa1_5-keys = old-*
refresh = 2
[keys]
retention-days = {RETENTION_DAYS}
"""


class Skip(Exception):
    """It can't be tried here."""


class Cases:
    """The cases of a file, in their order: @CASES("title") registers a function of a Bench."""

    def __init__(self, name):
        self.name, self.all = name, []

    def __call__(self, title):
        return lambda function: self.all.append((title, function)) or function


def need(condition, what):
    if not condition:
        raise Wrong(f"expected: {what}")


def same(got, wanted, what=""):
    if got != wanted:
        raise Wrong(f"{what or 'it'} is {got!r}, not {wanted!r}")


def refused(answer, status, code, says=""):
    """By that status and code, as JSON with a sentence for people."""
    if (answer.status, answer.code) != (status, code) or says not in answer.body.decode():
        raise Wrong(f"{answer!r} instead of {status} {code} {says}")
    message = answer.json.get("error", answer.json)["message"]
    need(isinstance(message, str) and len(message) > 20, f"a sentence, not {message!r}")
    need(answer.headers["Content-Type"].startswith("application/json"), "JSON")
    return answer


def good(answer, status=200):
    return service.must(answer, status)


def until(condition, complaint, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise Wrong(complaint)
        time.sleep(0.05)
    return found


def describe(wrong):
    if isinstance(wrong, Wrong):
        where = traceback.extract_tb(wrong.__traceback__)
        return f"{wrong}\n{', '.join(f'{x.name}:{x.lineno}' for x in where[1:])}"
    return "".join(traceback.format_exception(wrong))


def version_of(bundle):
    return bundle["key"]["kid"].rpartition("/")[2]


def local(link):
    """The path and query of an address that the service gave."""
    return "/" + link.split("/", 3)[3]


def forms(secret):
    """How bytes could be written somewhere."""
    return {secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"="),
            service.base64url(secret).encode()}  # fmt: skip


class Bench:
    def __init__(self, given, scratch):
        self.given, self.scratch = given, pathlib.Path(scratch)
        self.open_clients, self.made, self.others = {}, {}, 0
        folder = self.scratch / "main"
        folder.mkdir()
        self.server = service.Service(
            given.program, folder, clients=CLIENTS, more=MORE,
            settings={"vault": {"idle": 3600}, "proxy": {"idle": 3600},
                      "status": {"client-certificate": "optional"}},
        )  # fmt: skip
        names = ("by-san", "lonely")
        self.server.make_certificates(*(word for name in names for word in ("--client", name)))
        self.server.token.tool(
            "--keygen", "--key-type", "AES:32", "--label", KEK, "--usage-wrap",
            "--id", secrets.token_hex(16),
        )  # fmt: skip

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *what):
        self.close_clients()
        self.server.__exit__(*what)

    # ---- clients: one connection each, opened once ----

    def vault(self, sub="app", **more):
        key = ("vault", sub, *more.items())
        if key not in self.open_clients:
            self.open_clients[key] = self.server.vault(sub, **more)
        return self.open_clients[key]

    def with_token(self, token):
        client = self.server.vault(None)
        client.bearer = token
        return client

    def proxy(self, certificate="azure"):
        key = ("proxy", certificate)
        if key not in self.open_clients:
            self.open_clients[key] = self.server.proxy(certificate)
        return self.open_clients[key]

    def raw(self):
        """One that adds nothing to the path."""
        key = ("raw",)
        if key not in self.open_clients:
            self.open_clients[key] = self.server.vault()
            self.open_clients[key].query = ""
        return self.open_clients[key]

    def close_clients(self):
        for client in self.open_clients.values():
            client.close()
        self.open_clients = {}

    # ---- keys ----

    def create(self, name, **body):
        return good(self.vault().post(f"/keys/{name}/create", {"kty": "RSA", **body})).json

    def key(self, name="main", **body):
        """The bundle of a key that is made when it is first asked for."""
        if name not in self.made:
            self.made[name] = self.create(name, **body)
        return self.made[name]

    def public(self, name):
        if ("public", name) not in self.made:
            self.made["public", name] = self.server.public_key(name)
        return self.made["public", name]

    def unwrap(self, client, name, plain, alg="RSA-OAEP", **more):
        body = service.unwrap_body(service.wrap(self.public(name), plain, alg), alg)
        return client.post(f"/keys/{name}/unwrapkey", body, **more)

    # ---- the trail ----

    def records(self, answer, op=None):
        """The records of one request, by the number that its answer has."""
        return [
            record for record in self.server.records()
            if record.get("request", {}).get("request") == answer.request_id
            and op in (None, record["op"])
        ]  # fmt: skip

    def written(self):
        """All that the service left in files that others may read, and on standard error."""
        return self.server.said().encode() + b"".join(
            path.read_bytes() for path in self.server.audit.rglob("*") if path.is_file()
        )

    # ---- services of their own ----

    @contextlib.contextmanager
    def other(self, start=True, **options):
        """On the same token and with the same certificates, in a folder of its own."""
        self.others += 1
        folder = self.scratch / f"other-{self.others}"
        folder.mkdir()
        shutil.copytree(self.server.certificates, folder / "tls")
        options = {"clients": CLIENTS, "more": MORE, **options}
        server = service.Service(self.given.program, folder, **options)
        if not start:
            yield server
            server.stop()
            return
        with server:
            yield server
