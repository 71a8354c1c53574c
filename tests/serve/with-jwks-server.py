#!/usr/bin/env python3
"""Serves JWK sets over HTTPS on this machine and runs a command.

Usage: with-jwks-server.py COMMAND..., under with-tokens.py, in whose folder are then

  ca.pem, other-ca.pem   who vouches for the server, and who doesn't
  served.json            what /set answers; the command may write it. 404 where it is not there

KW_TEST_PORT is the server's port; its certificate is for localhost alone. /count says how often /set
was asked, /slow answers after 20 seconds, /huge is too large, /redirect leads to /set, /error is 500.
"""
import datetime
import http.server
import os
import pathlib
import ssl
import subprocess
import sys
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder = pathlib.Path(os.environ["KW_TEST_TOKENS"])
PEM = serialization.Encoding.PEM
day = datetime.timedelta(days=1)
today = datetime.datetime.now(datetime.timezone.utc)


def certificate(name, key, issuer_name, issuer_key, *extensions):
    builder = (x509.CertificateBuilder()
               .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
               .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer_name)]))
               .public_key(key.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(today - day).not_valid_after(today + day))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(PEM)


def authority(name, path):
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / path).write_bytes(
        certificate(name, key, name, key, x509.BasicConstraints(ca=True, path_length=0)))
    return key


ca_key = authority("ca", "ca.pem")
authority("other", "other-ca.pem")
key = ec.generate_private_key(ec.SECP256R1())
(folder / "server.pem").write_bytes(
    key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) +
    certificate("localhost", key, "ca", ca_key,
                x509.SubjectAlternativeName([x509.DNSName("localhost")])))
count = 0


def answer_of(path):
    """Status, body."""
    global count
    if path == "/set":
        count += 1
        try:
            return 200, (folder / "served.json").read_bytes()
        except FileNotFoundError:
            return 404, b""
    if path == "/count":
        return 200, str(count).encode()
    if path == "/slow":
        time.sleep(20)
    if path == "/huge":
        return 200, b" " * (1024 * 1024)
    return {"/redirect": 302, "/error": 500}.get(path, 404), b"{}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = answer_of(self.path)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/set")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients that hang up are part of the test."""


server = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "server.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:], check=False, env={
    **os.environ, "KW_TEST_PORT": str(server.server_address[1])}).returncode)
