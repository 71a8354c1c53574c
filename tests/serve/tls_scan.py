#!/usr/bin/env python3
"""What the listeners' TLS must refuse, and what it must not.

Usage: tls_scan.py PROGRAM, under tests/tokens/with-softhsm; or to look at any server:
       tls_scan.py --at HOST:PORT [--only-tls13] [--cert FILE --key FILE]

sslscan tries each protocol version, suite and group; what it leaves out (renegotiation, compression,
client certificates) is tried here. Ends with 77 where there is no sslscan. Prints TAP.
"""

import argparse
import contextlib
import functools
import http.client
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402
from service import Wrong  # noqa: E402

NOT_HERE = 77
TLS12_SUITES = r"ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA\d+|CHACHA20-POLY1305)"
TLS13_SUITES = r"TLS_AES_(128|256)_GCM_SHA\d+|TLS_CHACHA20_POLY1305_SHA256"
ONLY_GCM = r"TLS_AES_(128|256)_GCM_SHA\d+"
FEWEST_BITS = 128  # of strength, of what keys are agreed on with
FEWEST_KEY_BITS = {"EC": 128, "RSA": 2048}  # as sslscan counts them
REFUSALS = (OSError, http.client.HTTPException)  # ssl.SSLError is an OSError


class Scan:
    def __init__(self, address, only_tls13=False, pair=()):
        self.address, self.only_tls13, self.pair = address, only_tls13, pair

    @functools.cached_property
    def found(self):
        options = [f"--{name}={path}" for name, path in zip(("certs", "pk"), self.pair)]
        command = ["sslscan", "--xml=-", "--no-colour", *options, "%s:%d" % self.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise Wrong(f"sslscan ended with {done.returncode}: {done.stderr}")
        return xml.etree.ElementTree.fromstring(done.stdout).find("ssltest")

    def versions(self):
        wanted = {"TLS 1.3"} if self.only_tls13 else {"TLS 1.2", "TLS 1.3"}
        protocols = [each.attrib for each in self.found.findall("protocol")]
        there = {
            f"{each['type'].upper()} {each['version']}"
            for each in protocols
            if each["enabled"] == "1"
        }
        if len(protocols) < 6 or there != wanted:
            raise Wrong(f"{sorted(there)} instead of {sorted(wanted)}")
        return ", ".join(sorted(there))

    def suites(self):
        seen = {(each.get("sslversion"), each.get("cipher")) for each in self.found.findall("cipher")}
        for version, name in seen:
            right = TLS12_SUITES
            if version == "TLSv1.3":
                right = ONLY_GCM if self.only_tls13 else TLS13_SUITES
            if not re.fullmatch(right, name):
                raise Wrong(f"it takes {name} with {version}")
        if not seen:
            raise Wrong("it takes no suite at all")
        return ", ".join(sorted(name for _, name in seen))

    def groups(self):
        seen = {(each.get("name"), int(each.get("bits"))) for each in self.found.findall("group")}
        weak = sorted(name for name, bits in seen if bits < FEWEST_BITS)
        if weak or not seen:
            raise Wrong(f"it agrees on keys with {', '.join(weak) or 'nothing'}")
        return ", ".join(sorted(name for name, _ in seen))

    def certificate(self):
        short = self.found.find("certificates/certificate[@type='short']")
        if short is None:
            raise Wrong("it shows no certificate")
        key, signed = short.find("pk").attrib, short.findtext("signature-algorithm").strip()
        if int(key["bits"]) < FEWEST_KEY_BITS.get(key["type"], 1 << 30):
            raise Wrong(f"its key is {key['type']} of {key['bits']} bits")
        if not re.search("sha(256|384|512)|ed25519", signed, re.I):
            raise Wrong(f"its certificate is signed with {signed}")
        return f"{key['type']} {key['bits']}, {signed}"

    def renegotiation(self):
        """RFC 5246 section 7.4.1.1, which sslscan does not always notice; TLS 1.3 has none."""
        if self.only_tls13:
            return "there is none"
        command = ["openssl", "s_client", "-connect", "%s:%d" % self.address, "-tls1_2",
                   "-cipher", "DEFAULT@SECLEVEL=0"]  # fmt: skip
        command += [word for pair in zip(("-cert", "-key"), self.pair) for word in pair]
        client = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with contextlib.suppress(BrokenPipeError):
            time.sleep(0.5)
            client.stdin.write(b"R\n")
            client.stdin.flush()
            time.sleep(0.7)
        said = client.communicate(timeout=20)[0]
        if b"RENEGOTIATING" not in said:
            raise Wrong(f"there was no first handshake: {said.decode(errors='replace')[-300:]}")
        if client.returncode == 0:
            raise Wrong("a client can ask for a new handshake")
        return "refused"

    def heartbleed(self):
        if any(each.get("vulnerable") != "0" for each in self.found.findall("heartbleed")):
            raise Wrong("Heartbleed")
        return "none"

    def compression(self):
        """RFC 3749: a hello of TLS 1.2 that offers DEFLATE."""
        answer = hello(self.address, bytes([1, 0]))
        if answer is None:
            return "refused" if self.only_tls13 else "refused with the whole hello"
        if answer != 0:
            raise Wrong(f"it compresses, by method {answer}")
        return "none is chosen"

    def cases(self, name):
        return [
            (f"{name}: protocol versions", self.versions), (f"{name}: suites", self.suites),
            (f"{name}: groups", self.groups), (f"{name}: its certificate", self.certificate),
            (f"{name}: renegotiation", self.renegotiation),
            (f"{name}: heartbeats", self.heartbleed), (f"{name}: compression", self.compression),
        ]  # fmt: skip


def vector(data, size):
    return len(data).to_bytes(size, "big") + data


def extension(number, data):
    return struct.pack(">H", number) + vector(data, 2)


def read(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            return None
        data += more
    return data


def hello(address, compressions):
    """Says a TLS 1.2 hello (RFC 5246 section 7.4.1.2); the compression method that the server
    chooses, or None where it refuses."""
    suites = struct.pack(">4H", 0xC02B, 0xC02C, 0xC02F, 0xC030)
    extensions = (
        extension(10, vector(struct.pack(">2H", 0x1D, 0x17), 2))  # supported_groups
        + extension(11, vector(b"\0", 1))  # ec_point_formats
        + extension(13, vector(struct.pack(">4H", 0x403, 0x503, 0x804, 0x401), 2))  # signatures
    )
    body = b"\3\3" + secrets.token_bytes(32) + vector(b"", 1) + vector(suites, 2)
    body += vector(compressions, 1) + vector(extensions, 2)
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"\x16\3\1" + vector(b"\1" + vector(body, 3), 2))
        head = read(connection, 5)
        record = head and read(connection, int.from_bytes(head[3:5], "big"))
    if not record or head[0] != 0x16 or record[0] != 2:  # an alert, or nothing
        return None
    session = 4 + 2 + 32  # after the head, the version and the server's random bytes
    return record[session + 1 + record[session] + 2]


# ---- client certificates ----


def refused(client, method, path):
    try:
        answer = client.request(method, path)
    except REFUSALS as answer:
        return type(answer).__name__
    raise Wrong(f"it answers: {answer!r}")


def other_ca(server, scratch):
    """The same names, of a CA that nobody here trusts."""
    other = service.pathlib.Path(scratch) / "other"
    service.testtoken.run(
        str(service.ROOT / "hsm-setup/certificates"), "--client", "azure", str(other)
    )
    context = server.context()
    context.load_cert_chain(other / "azure.pem", other / "azure-key.pem")
    return context


def client_cases(server, scratch):
    foreign = other_ca(server, scratch)
    info = f"/{service.PREFIX}/info"

    def proxy(context):
        return service.Client(server.addresses["proxy"], context, query=service.API["proxy"])

    def foreign_to_vault():
        client = service.Client(server.addresses["vault"], foreign, query=service.API["vault"])
        return refused(client, "GET", "/keys")

    def good():
        answer = server.proxy().post(info, {"request_context": service.CONTEXT})
        return service.must(answer).status

    def unknown():
        answer = server.proxy("nobody").post(info, {"request_context": service.CONTEXT})
        return service.must(answer, 401).code

    return [
        ("proxy: the right client certificate", good),
        ("proxy: none", lambda: refused(proxy(server.context()), "POST", info)),
        ("proxy: one of another CA", lambda: refused(proxy(foreign), "POST", info)),
        ("proxy: one that is a server's",
         lambda: refused(proxy(server.context("server")), "POST", info)),
        ("proxy: one that no [client] names", unknown),
        ("vault: one of another CA", foreign_to_vault),
    ]  # fmt: skip


def scan_service(program):
    with service.scratch_folder() as scratch, service.Service(program, scratch) as server:
        pair = server.pem("azure"), server.pem("azure-key")
        cases = []
        for name in server.listeners:
            cases += Scan(server.addresses[name], name == "proxy", pair).cases(name)
        return service.report_cases(cases + client_cases(server, scratch))


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("program", nargs="?")
    parser.add_argument("--at")
    parser.add_argument("--only-tls13", action="store_true")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    given = parser.parse_args()
    if not shutil.which("sslscan"):
        print("sslscan is not installed", file=sys.stderr)
        sys.exit(NOT_HERE)
    if not given.at:
        sys.exit(scan_service(given.program))
    host, _, port = given.at.rpartition(":")
    pair = (given.cert, given.key) if given.cert else ()
    scan = Scan((host.strip("[]"), int(port)), given.only_tls13, pair)
    sys.exit(service.report_cases(scan.cases(given.at)))


if __name__ == "__main__":
    main()
