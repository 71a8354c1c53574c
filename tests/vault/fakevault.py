"""A Key Vault of its own on this machine, with keys from PEM files, that misbehaves when told to.

FakeVault serves HTTPS at myvault.localhost (whose parent "localhost" is what a challenge's resource
may name), FakeIdentity the managed identity's endpoint over HTTP. Both keep what they were asked.
"""

import base64
import datetime
import http.server
import ipaddress
import json
import pathlib
import re
import ssl
import threading
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

HOST = "myvault.localhost"
PADDINGS = {
    "RSA-OAEP": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
    "RSA1_5": padding.PKCS1v15(),
}
NUMBER = re.compile(r"^[0-9a-f]{32}$")


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(value):
    return b64url(value.to_bytes((value.bit_length() + 7) // 8, "big"))


# ---- certificates ----


class Authority:
    """A CA, and what it signs, as PEM files in a folder."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder)
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self.sign(
            subject, self.key.public_key(), subject,
            [x509.BasicConstraints(ca=True, path_length=0)],
        )  # fmt: skip
        self.path = self.write(f"{name}.pem", self.certificate)

    def write(self, name, certificate):
        path = self.folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)

    def sign(self, subject, public, issuer, extensions, days=(-1, 2)):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name, hosts=(), days=(-1, 2)):
        """Paths of a certificate and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [
            x509.IPAddress(ipaddress.ip_address(x)) if x[0].isdigit() else x509.DNSName(x)
            for x in hosts
        ]
        extensions = [x509.SubjectAlternativeName(names)] if names else []
        certificate = self.sign(
            subject, key.public_key(), self.certificate.subject, extensions, days
        )
        path = self.write(f"{self.name}-{name}.pem", certificate)
        key_path = self.folder / f"{self.name}-{name}.key"
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        key_path.chmod(0o600)
        return path, str(key_path)


# ---- keys ----


class Key:
    def __init__(self, name, version, private, ops=("wrapKey", "unwrapKey"), enabled=True):
        self.name, self.version, self.private = name, version, private
        self.ops, self.enabled = list(ops), enabled
        self.attributes = {"created": 1700000000, "updated": 1700000001}

    def kid(self, base, version=True):
        return f"{base}/keys/{self.name}" + (f"/{self.version}" if version else "")

    def bundle(self, base):
        public = self.private.public_key().public_numbers()
        return {
            "key": {
                "kid": self.kid(base), "kty": "RSA-HSM", "key_ops": self.ops,
                "n": number(public.n), "e": number(public.e),
            },
            "attributes": {
                "enabled": self.enabled, "recoveryLevel": "Recoverable+Purgeable",
                "recoverableDays": 90, "exportable": False, **self.attributes,
            },
            "tags": {"purpose": "test"},
        }  # fmt: skip

    def item(self, base, version):
        return {"kid": self.kid(base, version), "attributes": {"enabled": self.enabled}}


def read_keys(folder):
    """Those that keys.json of a folder lists."""
    folder = pathlib.Path(folder)
    return [
        Key(
            x["label"], x["id"],
            serialization.load_pem_private_key((folder / x["file"]).read_bytes(), None),
        )
        for x in json.loads((folder / "keys.json").read_text())
    ]  # fmt: skip


# ---- servers ----


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, document=None, headers=(), raw=None):
        body = raw if raw is not None else json.dumps(document).encode() if document else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, code, message, inner=None, headers=()):
        error = {"code": code, "message": message}
        if inner:
            error["innererror"] = {"code": inner}
        self.answer(status, {"error": error}, headers)

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(self.url.query))
        self.server.owner.handle(self)

    do_GET = do_POST = handle_any


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that go away are what some tests are about


class Service:
    def __init__(self, context=None):
        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.port = self.server.server_address[1]
        if context:
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.log = []
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class FakeVault(Service):
    """`faults` are called one after the other, one a request, with the handler; what returns true
    has answered. `tokens` are those that are accepted; None: none is needed."""

    def __init__(self, certificate, keys, client_ca=None, host=HOST):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        super().__init__(context)
        self.keys = keys
        self.base = f"https://{host}:{self.port}"
        self.tokens = None
        self.resource = "https://localhost"
        self.faults = []
        self.page = 2
        self.foreign_next = False

    def handle(self, handler):
        self.log.append((handler.command, handler.url.path, handler.headers.get("Authorization")))
        if self.faults and self.faults.pop(0)(handler):
            return
        if not self.authorized(handler):
            challenge = f'Bearer authorization="https://login.localhost/t", resource="{self.resource}"'
            handler.error(
                401, "Unauthorized", "no token", headers=[("WWW-Authenticate", challenge)]
            )
        elif handler.query.get("api-version") != "7.4":
            handler.error(400, "BadParameter", "api-version")
        else:
            self.route(handler, handler.url.path.strip("/").split("/"))

    def authorized(self, handler):
        return self.tokens is None or handler.headers.get("Authorization") in [
            f"Bearer {x}" for x in self.tokens
        ]

    def route(self, handler, parts):
        match (handler.command, parts):
            case ("GET", ["keys"]):
                names = {key.name: key for key in self.keys}
                self.list(handler, [key.item(self.base, False) for key in names.values()])
            case ("GET", ["keys", name, "versions"]):
                self.list(handler, [k.item(self.base, True) for k in self.keys if k.name == name])
            case ("GET", ["keys", name, version]):
                if key := self.find(handler, name, version):
                    handler.answer(200, key.bundle(self.base))
            case ("POST", ["keys", name, version, "unwrapkey" | "decrypt" as operation]):
                if key := self.find(handler, name, version):
                    self.unwrap(handler, key, operation)
            case _:
                handler.error(400, "BadParameter", "no such operation")

    def find(self, handler, name, version):
        for key in self.keys:
            if (key.name, key.version) == (name, version):
                return key
        handler.error(404, "KeyNotFound", f"A key with (name/id) {name}/{version} was not found")
        return None

    def list(self, handler, items):
        skip = int(handler.query.get("$skiptoken", 0))
        rest = skip + self.page < len(items)
        base = "https://elsewhere.localhost" if self.foreign_next else self.base
        link = f"{base}{handler.url.path}?api-version=7.4&$skiptoken={skip + self.page}"
        page = items[skip : skip + self.page]
        handler.answer(200, {"value": page, "nextLink": link if rest else None})

    def unwrap(self, handler, key, operation):
        if {"unwrapkey": "unwrapKey", "decrypt": "decrypt"}[operation] not in key.ops:
            handler.error(403, "Forbidden", "not permitted", "KeyOperationForbidden")
            return
        if not key.enabled:
            handler.error(403, "Forbidden", "disabled", "KeyDisabled")
            return
        request = json.loads(handler.body)
        try:
            plain = key.private.decrypt(from_b64url(request["value"]), PADDINGS[request["alg"]])
        except ValueError:
            handler.error(400, "BadParameter", "secret reason of this failure")
            return
        handler.answer(200, {"kid": key.kid(self.base), "value": b64url(plain)})


class FakeIdentity(Service):
    """Both forms of the managed identity's endpoint."""

    def __init__(self, token, header=None, lifetime=3600):
        super().__init__()
        self.token, self.header, self.lifetime = token, header, lifetime
        self.base = f"http://127.0.0.1:{self.port}"
        self.faults = []

    def handle(self, handler):
        self.log.append((handler.url.path, handler.query))
        if self.faults and self.faults.pop(0)(handler):
            return
        service = self.header and handler.headers.get("X-IDENTITY-HEADER") == self.header
        if not service and handler.headers.get("Metadata") != "true":
            handler.error(400, "invalid_request", "Required metadata header not specified")
            return
        handler.answer(
            200,
            {
                "access_token": self.token,
                "expires_on": str(int(time.time()) + self.lifetime),
                "resource": handler.query.get("resource"),
                "token_type": "Bearer",
            },
        )


# ---- faults ----


def answers(status, document=None, headers=(), raw=None):
    def fault(handler):
        handler.answer(status, document, headers, raw)
        return True

    return fault


def slow(seconds):
    def fault(_):
        time.sleep(seconds)
        return False

    return fault


def hangs_up(handler):
    handler.close_connection = True
    handler.connection.close()
    return True


def random_key(name, version, bits=2048, **settings):
    return Key(name, version, rsa.generate_private_key(65537, bits), **settings)
