"""`keyward serve` over the token of tests/tokens/with-*, for the tests here.

    with service.Service(program, scratch) as server:
        key = server.make_key("k1")
        answer = server.vault().post(f"/keys/k1/{key}/unwrapkey", {"alg": "RSA-OAEP", "value": ...})

Certificates are those of hsm-setup/certificates, tokens those of tests/tools/issuer.py. Standard
error goes to a file, which the fault shows when the server ends by itself.
"""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/e2e"), str(ROOT / "tests/tools")]
import issuer  # noqa: E402
import tap  # noqa: E402, F401
import testtoken  # noqa: E402
from attack import Wrong, report_cases  # noqa: E402, F401

SECONDS = 60
API = {"vault": "api-version=7.6", "proxy": "api-version=0.1-preview", "status": ""}
PREFIX = "ekm"
ALGS = ("RS256", "PS256", "ES256")
CONTEXT = {"request_id": "r-1", "correlation_id": "c-1", "pool_name": "pool"}


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body
        self.request_id = response.headers.get("x-ms-request-id")

    @property
    def json(self):
        return json.loads(self.body) if self.body else None

    @property
    def code(self):
        """The error's code and the inner one, of either API; "" where it is none."""
        error = (self.json or {}).get("error", self.json or {})
        return "/".join(filter(None, (error.get("code"), error.get("innererror", {}).get("code"))))

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    """One connection to a listener, opened when it is needed. For one thread at a time."""

    def __init__(self, address, context, *, bearer=None, query="", timeout=SECONDS):
        self.address, self.context, self.bearer = address, context, bearer
        self.query, self.timeout = query, timeout
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def request(self, method, path, body=None, headers=None):
        """The answer, whatever its status. OSError or HTTPException where there is none; the
        connection is closed then."""
        if self.query:
            path += ("&" if "?" in path else "?") + self.query
        headers = dict(headers or {})
        if self.bearer:
            headers.setdefault("Authorization", f"Bearer {self.bearer}")
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        if not self.connection:
            self.connection = self.connect()
        try:
            self.connection.request(method, path, body, headers)
            response = self.connection.getresponse()
            return Answer(response, response.read())
        except BaseException:
            self.close()
            raise

    def connect(self):
        host, port = self.address
        if not self.context:
            return http.client.HTTPConnection(host, port, timeout=self.timeout)
        return http.client.HTTPSConnection(host, port, timeout=self.timeout, context=self.context)

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.request("POST", path, body if body is not None else "", **more)

    def put(self, path, body, **more):
        return self.request("PUT", path, body, **more)

    def patch(self, path, body, **more):
        return self.request("PATCH", path, body, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)


def must(answer, status=200):
    if answer.status != status:
        raise Wrong(f"{answer!r} instead of {status}")
    return answer


class Service:
    """The listeners' options are settings of their [listener]; `more` goes at the end of the
    configuration, `clients` in the place of the usual ones."""

    LISTENERS = ("vault", "proxy", "status")
    CLIENTS = {
        "app": {"issuer": "trial", "claim": "sub=app",
                "roles": "Key Vault Crypto Officer: *; Key Vault Crypto User: *"},
        "reader": {"issuer": "trial", "claim": "sub=reader", "roles": "Key Vault Reader: *"},
        "azure": {"subject": "azure", "roles": "Key Vault Crypto Service Encryption User: *"},
        "ops": {"subject": "ops", "roles": "Monitoring Reader: *"},
    }  # fmt: skip

    def __init__(self, program, scratch, *, token=None, sessions=4, listeners=LISTENERS,
                 settings=None, clients=None, environment=None, audit=None, timeout=30, give_up=300, more=""):  # fmt: skip
        self.program = os.path.abspath(program)
        self.scratch = pathlib.Path(scratch)
        self.token = token or testtoken.make()
        self.sessions, self.listeners = sessions, listeners
        self.timeout, self.give_up = timeout, give_up
        self.settings, self.clients = settings or {}, clients or self.CLIENTS
        self.environment, self.more = environment or {}, more
        self.audit = pathlib.Path(audit or self.scratch / "audit")
        self.config, self.errors = self.scratch / "keyward.conf", self.scratch / "errors"
        self.certificates = self.scratch / "tls"
        self.addresses = {}
        self.before, self.pass_fds = [], ()  # words before the program's name, and what it inherits
        self.process = None
        if not self.certificates.exists():
            self.make_certificates("--client", "azure", "--client", "ops", "--client", "nobody")
        self.issuer = issuer.Issuer.make(self.scratch / "issuer", ALGS)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *unused):
        if kind:
            self.kill()
            print("".join(f"# {line}\n" for line in self.said().splitlines()[-10:]), end="")
        else:
            self.stop()

    @contextlib.contextmanager
    def behind_faults(self, module, script):
        """With kw_fault_module.so in front of the token. What is behind that is not known from its name,
        so its folder is named too."""
        before = self.token.module, self.more, self.environment
        self.environment = {**self.environment, "KW_FAULT_REAL_MODULE": self.token.module,
                            "KW_FAULT_SCRIPT": script}  # fmt: skip
        self.more += f"[sandbox]\nwrite = {os.path.dirname(os.environ['SOFTHSM2_CONF'])}\n"
        self.token.module = os.path.abspath(module)
        try:
            yield self
        finally:
            self.token.module, self.more, self.environment = before

    def make_certificates(self, *options):
        command = [ROOT / "hsm-setup/certificates", *options, self.certificates]
        testtoken.run(*map(str, command))

    def pem(self, name):
        return str(self.certificates / f"{name}.pem")

    # ---- the configuration ----

    def listener(self, name):
        """The settings of one. Once it has a port, it keeps it."""
        lines = {"address": "127.0.0.1:%d" % self.addresses.get(name, ("", 0))[1],
                 "certificate": self.pem("server"), "key": self.pem("server-key"),
                 "client-ca": self.pem("ca")}  # fmt: skip
        if name == "vault":
            lines |= {"client-certificate": "optional", "resource": issuer.AUDIENCE}
        else:
            lines |= {"client-certificate": "required"}
        if name == "proxy":
            lines["prefix"] = PREFIX
        return lines | self.settings.get(name, {})

    def write_config(self):
        sections = {
            "token t": {"module": self.token.module, "uri": "pkcs11:token=keyward",
                        "pin-source": f"file:{self.token.pin_file}", "sessions": self.sessions,
                        "timeout": self.timeout, "give-up": self.give_up},
            "run": {"token": "t"},
            "audit": {"dir": self.audit},
            "issuer trial": {"issuer": issuer.ISSUER, "audience": issuer.AUDIENCE,
                             "jwks": self.issuer.jwks},
            **{f"listener {name}": self.listener(name) for name in self.listeners},
            **{f"client {name}": client for name, client in self.clients.items()},
        }  # fmt: skip
        text = "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items()) + "\n"
            for name, lines in sections.items()
        )
        self.config.write_text(text + self.more)
        self.config.chmod(0o600)

    # ---- the process ----

    def start(self, seconds=SECONDS, ready=True):
        """Until it has read the token's keys too, unless that is not to be waited for."""
        self.write_config()
        before = self.said().count("keyward: ready")
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(
                [*self.before, self.program, "--config", str(self.config), "serve"],
                pass_fds=self.pass_fds, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, **self.environment},
            )  # fmt: skip
        end = time.monotonic() + seconds
        self.wait_for_lines(end)
        while ready and self.said().count("keyward: ready") == before:
            if self.process.poll() is not None:
                raise Wrong(f"it ended with {self.process.returncode}: {self.said()}")
            if time.monotonic() > end:
                raise Wrong(f"it does not get ready: {self.said()}")
            time.sleep(0.02)
        return self

    def wait_for_lines(self, end):
        """"vault: https://ADDRESS:PORT" of each listener says that it is ready."""
        os.set_blocking(self.process.stdout.fileno(), False)
        said = b""
        while len(found := re.findall(rb"^(\w+): https?://(.*):(\d+)\s*$", said, re.M)) < len(
            self.listeners
        ):
            said += self.process.stdout.read() or b""
            if self.process.poll() is not None:
                raise Wrong(f"it ended with {self.process.returncode}: {self.said()}")
            if time.monotonic() > end:
                self.kill()
                raise Wrong(f"it is not ready in time: {said} {self.said()}")
            time.sleep(0.02)
        for name, address, port in found:
            self.addresses[name.decode()] = address.decode().strip("[]"), int(port)

    def said(self):
        return self.errors.read_text(errors="replace") if self.errors.exists() else ""

    def stop(self, seconds=SECONDS):
        """SIGTERM: it drains and ends well."""
        if not self.process:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Wrong(f"it does not end within {seconds} s of SIGTERM") from None
        self.process.stdout.close()
        self.process = None
        if code != 0:
            raise Wrong(f"it ended with {code}: {self.said()}")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
        self.process = None

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    # ---- clients ----

    def context(self, name=None, ca=None):
        """Of a client that trusts the CA, with the certificate of that name."""
        context = ssl.create_default_context(cafile=ca or self.pem("ca"))
        if name:
            context.load_cert_chain(self.pem(name), self.pem(f"{name}-key"))
        return context

    def bearer(self, sub="app", **claims):
        return self.issuer.issue(sub=sub, **claims)

    def vault(self, sub="app", *, certificate=None, **more):
        return Client(self.addresses["vault"], self.context(certificate), query=API["vault"],
                      bearer=self.bearer(sub) if sub else None, **more)  # fmt: skip

    def proxy(self, certificate="azure", **more):
        return Client(
            self.addresses["proxy"], self.context(certificate), query=API["proxy"], **more
        )

    def status(self, certificate="ops", **more):
        return Client(self.addresses["status"], self.context(certificate), **more)

    def metrics(self):
        """Each sample's value, by its name with the labels as they are."""
        answer = must(self.status().get("/metrics"))
        lines = (line.rpartition(" ") for line in answer.body.decode().splitlines())
        return {name: float(value) for name, _, value in lines if name and name[0] != "#"}

    # ---- keys ----

    def make_key(self, name, bits=2048):
        """A key pair straight on the token, which also a server that runs has to find; its version."""
        version = secrets.token_hex(16)
        self.token.tool(
            "--keypairgen", "--key-type", f"rsa:{bits}", "--id", version, "--label", name,
            "--usage-decrypt", "--usage-sign",
        )  # fmt: skip
        return version

    def public_key(self, name, version="", sub="app"):
        """As the service gives it, an object of the package cryptography."""
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = must(self.vault(sub).get(f"/keys/{name}/{version}")).json["key"]
        n, e = (int.from_bytes(from_base64url(key[x]), "big") for x in "ne")
        return rsa.RSAPublicNumbers(e, n).public_key()

    # ---- the trail ----

    def records(self):
        """All of the trail, oldest first; a last line that was never finished is left out."""
        for path in sorted(self.audit.glob("trail-*.jsonl")):
            for line in path.read_bytes().split(b"\n")[:-1]:
                try:
                    yield json.loads(line)
                except ValueError:
                    raise Wrong(f"this is in the trail: {line[:300]!r}") from None

    def verify_trail(self):
        done = subprocess.run(
            [self.program, "--config", self.config, "audit", "verify"], capture_output=True,
            text=True, timeout=SECONDS, env={**os.environ, **self.environment},
        )  # fmt: skip
        if done.returncode != 0:
            raise Wrong(f"the trail does not verify: {done.stdout}{done.stderr}")


def wrap(public, plaintext, alg="RSA-OAEP"):
    """As a client without any service does it."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    digest = hashes.SHA1() if alg == "RSA-OAEP" else hashes.SHA256()
    return public.encrypt(plaintext, padding.OAEP(padding.MGF1(digest), digest, None))


def scratch_folder(where=None):
    return tempfile.TemporaryDirectory(
        prefix="keyward-serve-", dir=where, ignore_cleanup_errors=True
    )


def unwrap_body(wrapped, alg="RSA-OAEP", proxy=False):
    body = {"alg": alg, "value": base64url(wrapped)}
    return {"request_context": CONTEXT, **body} if proxy else body
