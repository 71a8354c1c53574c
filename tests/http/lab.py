"""What the tests of the HTTP floor share: certificates, a server, and clients that send any bytes."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import tap  # noqa: E402

# Under a sanitizer, on a busy machine, things take their time; what is too slow by design is not.
PATIENCE_S = 20


# ---- certificates ----

def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


class Certificates:
    """CAs and certificates in a folder, made by openssl's command line."""

    def __init__(self, folder):
        self.folder = folder
        os.umask(0o077)
        for ca in ("ca", "other"):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", self.path(f"{ca}.key"), "-out", self.path(f"{ca}.pem"),
                    "-subj", f"/CN={ca}", "-days", "3")
        self.issue("server", "ca", "/CN=server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.issue("fresh", "ca", "/CN=fresh", "subjectAltName=DNS:localhost,IP:127.0.0.1")

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, ca, subject, *extensions, days="2"):
        key, request = self.path(f"{name}.key"), self.path(f"{name}.csr")
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request,
                "-subj", subject)
        with open(self.path("extensions"), "w", encoding="ascii") as file:
            file.write("\n".join(extensions))
        openssl("x509", "-req", "-in", request, "-CA", self.path(f"{ca}.pem"), "-CAkey",
                self.path(f"{ca}.key"), "-CAcreateserial", "-days", days, "-extfile",
                self.path("extensions"), "-out", self.path(f"{name}.pem"))

    def crl(self, ca, *revoked, extension=None, **options):
        """A CRL of the CA, with these certificates on it; options are of `openssl ca`."""
        config, made = self.path("ca.conf"), self.path(f"{ca}.crl")
        with open(config, "w", encoding="ascii") as file:
            file.write(f"[ca]\ndefault_ca=own\n[own]\ndatabase={self.path(ca)}.index\n"
                       "default_md=sha256\n" + (f"[more]\n{extension}\n" if extension else ""))
        with open(self.path(f"{ca}.index"), "w", encoding="ascii"):
            pass
        own = ("ca", "-config", config, "-cert", self.path(f"{ca}.pem"), "-keyfile",
               self.path(f"{ca}.key"))
        for name in revoked:
            openssl(*own, "-revoke", self.path(f"{name}.pem"))
        options = options or {"crldays": "2"}
        if extension:
            options["crlexts"] = "more"
        openssl(*own, "-gencrl", *(x for name, value in options.items() for x in (f"-{name}", value)),
                "-out", made)
        return made

    def of_server(self, name="server"):
        return {"certificate": self.path(f"{name}.pem"), "key": self.path(f"{name}.key")}

    def context(self, client=None, **options):
        """For a client that trusts the CA."""
        context = ssl.create_default_context(cafile=self.path("ca.pem"))
        if client:
            context.load_cert_chain(self.path(f"{client}.pem"), self.path(f"{client}.key"))
        for name, value in options.items():
            setattr(context, name, value)
        return context


# ---- a server ----

class Server:
    """The program of server.c with settings, until the block ends."""

    def __init__(self, program, **settings):
        self.process = subprocess.Popen(
            [program, *(f"{name}={value}" for name, value in settings.items())],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            pass_fds=[int(settings["fd"])] if "fd" in settings else [])
        line = self.process.stdout.readline()
        if not line.startswith("port "):
            raise AssertionError(f"no server: {self.process.stderr.read()}")
        self.port, *self.more_ports = (int(word) for word in line.split()[1:])

    def __enter__(self):
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def end(self, timeout=PATIENCE_S):
        """Stops it, and says how long that took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(timeout)
        took = time.monotonic() - began
        assert self.process.returncode == 0, \
            f"it ended with {self.process.returncode}: {self.process.stderr.read()}"
        return took

    def __exit__(self, kind, *_):
        if kind:
            self.process.kill()
            self.process.wait()
        elif self.process.returncode is None:
            self.end()
        self.process.stdout.close()
        self.process.stderr.close()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def processor_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


# ---- clients ----

class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)


class Client:
    """A connection that sends any bytes, and reads answers."""

    def __init__(self, server, context=None, timeout=PATIENCE_S, port=None):
        address = ("127.0.0.1", port or server.port)
        self.socket = socket.create_connection(address, timeout)
        self.rest = b""
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def _more(self):
        got = self.socket.recv(65536)
        self.rest += got
        return bool(got)

    def interim(self):
        """The next head, without a body."""
        while b"\r\n\r\n" not in self.rest:
            if not self._more():
                raise EOFError("the server closed the connection")
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        return head.decode("latin-1").split("\r\n")

    def answer(self, method="GET"):
        first, *lines = self.interim()
        assert first.startswith("HTTP/1.1 "), first
        status = int(first.split()[1])
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, f"{name} is there twice"
            headers[name.lower()] = value
        length = int(headers.get("content-length", "0"))
        length = 0 if method == "HEAD" else length
        while len(self.rest) < length:
            if not self._more():
                raise EOFError("the answer is cut off")
        body, self.rest = self.rest[:length], self.rest[length:]
        return Answer(status, headers, body)

    def is_closed(self):
        """Whether the server closes it; nothing more may come before."""
        try:
            return not self.rest and self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def get(self, path="/", method="GET", body=None, headers=""):
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n")
        if body:
            self.send(body)
        return self.answer(method)


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


# ---- tests ----

def run(tests):
    """Each test is a function; its documentation is its title, what it raises its fault."""
    failed = False
    for number, test in enumerate(tests, 1):
        fault = ""
        try:
            test()
        except Exception as error:  # whatever it is, the other tests still run
            fault = f"{type(error).__name__}: {error}"
        failed |= tap.result(f"{number} - {test.__doc__}", fault)
    print(f"1..{len(tests)}")
    return 1 if failed else 0
