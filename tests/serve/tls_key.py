#!/usr/bin/env python3
"""Listeners whose TLS keys are on the token.

Usage: tls_key.py [--faults MODULE] PROGRAM, under tests/tokens/with-softhsm or with-p11kit. MODULE is
kw_fault_module.so: with it the token is made to hang. Losing the token needs p11-kit's server. Prints
TAP.
"""

import argparse
import datetime
import json
import os
import pathlib
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402

sys.path.append(str(service.ROOT / "tests/tokens"))
import loss  # noqa: E402
from service import Wrong, must, testtoken  # noqa: E402

SECONDS = 30
HANG_S = 8
TIMEOUT_S = 2
LABELS = ("tls-one", "tls-two")


class Keys:
    """Key pairs on the token, and a certificate of the trial's CA for each."""

    def __init__(self, server):
        self.server = server
        for label in LABELS:
            self.make(label)
        self.make_mute("tls-mute")

    def make_mute(self, label):
        """One that may not sign."""
        self.server.write_config()
        done = testtoken.run(
            self.server.program, "key", "create", label, "--no-expiry", "--json", "--config",
            str(self.server.config), "--token", "t",
        )  # fmt: skip
        self.certify(label, json.loads(done)["keys"][0]["id"])

    def make(self, label):
        version = secrets.token_hex(16)
        self.server.token.tool(
            "--keypairgen", "--key-type", "rsa:2048", "--id", version, "--label", label,
            "--usage-sign",
        )  # fmt: skip
        self.certify(label, version)

    def certify(self, label, version):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        file = self.server.scratch / f"{label}.der"
        self.server.token.tool(
            "--read-object", "--type", "pubkey", "--id", version, "--output-file", str(file)
        )
        ca = x509.load_pem_x509_certificate(pathlib.Path(self.server.pem("ca")).read_bytes())
        like = x509.load_pem_x509_certificate(pathlib.Path(self.server.pem("server")).read_bytes())
        signer = serialization.load_pem_private_key(
            pathlib.Path(self.server.pem("ca-key")).read_bytes(), None
        )
        now = datetime.datetime.utcnow()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, label)]))
            .issuer_name(ca.subject)
            .public_key(serialization.load_der_public_key(file.read_bytes()))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=9))
        )
        for extension in like.extensions:
            kept = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
            if isinstance(extension.value, kept):
                builder = builder.add_extension(extension.value, extension.critical)
        signed = builder.sign(signer, hashes.SHA256())
        pem = signed.public_bytes(serialization.Encoding.PEM)
        pathlib.Path(self.server.pem(label)).write_bytes(pem)

    def settings(self, label, certificate=None):
        return {"certificate": self.server.pem(certificate or label), "key": f"pkcs11:object={label}"}


def common_name(server, listener, version=None, name=None, timeout=SECONDS):
    """Of the certificate that the listener shows in a handshake that is whole."""
    context = server.context(name)
    if version:
        context.minimum_version = context.maximum_version = version
    host, port = server.addresses[listener]
    with socket.create_connection((host, port), timeout) as plain, context.wrap_socket(
        plain, server_hostname=host
    ) as tls:
        if version and tls.version() != {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]:
            raise Wrong(f"it speaks {tls.version()}")
        return dict(pair for (pair,) in tls.getpeercert()["subject"])["commonName"]


def shakes_hands(server):
    try:
        return common_name(server, "vault", timeout=3) == "tls-one"
    except OSError:
        return False


def expect(what, wanted):
    if what != wanted:
        raise Wrong(f"{what!r} instead of {wanted!r}")


def until(what, check, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise Wrong(f"{what} is not so in {seconds} s")
        time.sleep(0.1)


class Cases:
    def __init__(self, program, scratch, faults):
        self.program, self.scratch, self.faults = program, pathlib.Path(scratch), faults
        self.server = service.Service(program, scratch)
        self.keys = Keys(self.server)
        self.server.settings = {"vault": self.keys.settings("tls-one"),
                                "proxy": self.keys.settings("tls-two")}  # fmt: skip

    def versions(self):
        until("ready", lambda: self.server.status().get("/health/ready").status == 200)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            expect(common_name(self.server, "vault", version), "tls-one")
        expect(common_name(self.server, "proxy", ssl.TLSVersion.TLSv1_3, "azure"), "tls-two")
        return "TLS 1.2 and 1.3"

    def signatures(self):
        """Each scheme that a client may ask for; that of its certificate is another matter."""
        host, port = self.server.addresses["vault"]
        count = 0
        for version in ("tls1_2", "tls1_3"):
            for padding in ("RSA-PSS", "RSA") if version == "tls1_2" else ("RSA-PSS",):
                for digest in ("SHA256", "SHA384", "SHA512"):
                    done = subprocess.run(
                        ["openssl", "s_client", "-connect", f"{host}:{port}", f"-{version}",
                         "-CAfile", self.server.pem("ca"), "-verify_return_error", "-sigalgs",
                         f"{padding}+{digest}:ECDSA+SHA256"],
                        capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
                    )  # fmt: skip
                    if f"Peer signing digest: {digest}" not in done.stdout:
                        raise Wrong(f"{version} {padding} {digest}: {done.stdout} {done.stderr}")
                    count += 1
        return f"{count} schemes"

    def requests(self):
        """Bearer tokens, mutual TLS, and that nobody gets at the key by the service itself."""
        must(self.server.vault().get("/keys"))
        must(self.server.proxy().post(f"/{service.PREFIX}/none/metadata",
                                      {"request_context": service.CONTEXT}), 404)  # fmt: skip
        try:
            common_name(self.server, "proxy", ssl.TLSVersion.TLSv1_2, "azure")
        except ssl.SSLError:
            pass
        else:
            raise Wrong("the proxy speaks TLS 1.2")
        names = [x["kid"] for x in must(self.server.vault().get("/keys")).json["value"]]
        if any(label in kid for label in LABELS for kid in names) or "tls-mute" not in str(names):
            raise Wrong(f"it serves {names}")
        must(self.server.vault().get("/keys/tls-one"), 404)
        body = {"alg": "PS256", "value": service.base64url(bytes(32))}
        must(self.server.vault().post("/keys/tls-two/sign", body), 404)
        must(self.server.vault().delete("/keys/tls-one"), 404)
        return "it is used, and not served"

    def recorded(self):
        found = [
            (x["request"]["client"], x["key"]["label"])
            for x in self.server.records()
            if x["op"] == "tls.key" and x["phase"] == "outcome"
        ]
        expect(found, [("listener vault", "tls-one"), ("listener proxy", "tls-two")])
        return f"{len(found)} keys, and no handshakes"

    def reload(self):
        """To the other key while a connection is there, back to a file and to the token again."""
        kept = self.server.vault()
        must(kept.get("/keys"))
        steps = [("tls-two", self.keys.settings("tls-two")), ("localhost", {}),
                 ("tls-one", self.keys.settings("tls-one"))]  # fmt: skip
        for name, settings in steps:
            self.reconfigure("vault", settings, "has its certificate read anew")
            expect(common_name(self.server, "vault"), name)
            must(kept.get("/keys"))
        return f"{len(steps)} times"

    def reconfigure(self, listener, settings, words):
        line = f"[listener {listener}] {words}"
        before = self.server.said().count(line)
        self.server.settings[listener] = settings
        self.server.write_config()
        self.server.reload()
        until(line, lambda: self.server.said().count(line) > before)

    def bad_settings(self):
        one = self.server.pem("tls-one")
        two = self.keys.settings("tls-two", "tls-one")
        return {
            "answers to": {"certificate": one, "key": "pkcs11:object=no-such-key"},
            "is not the key of the certificate": two,
            "names another token": {"certificate": one, "key": "pkcs11:token=other;object=tls-one"},
            "names no key": {"certificate": one, "key": "pkcs11:token=keyward"},
            "does not sign": self.keys.settings("tls-mute"),
        }

    def bad_reloads(self):
        for words, settings in self.bad_settings().items():
            self.reconfigure("vault", settings, "goes on with its old certificate: ")
            if words not in self.server.said():
                raise Wrong(f"nothing says {words}")
            expect(common_name(self.server, "vault"), "tls-one")
        self.reconfigure("vault", self.keys.settings("tls-one"), "has its certificate read anew")
        return f"{len(self.bad_settings())} of them"

    def bad_starts(self):
        for words, settings in self.bad_settings().items():
            self.fails_to_start(settings, 3, words)
        return f"{len(self.bad_settings())} of them"

    def fails_to_start(self, settings, code, words, token=None):
        with service.scratch_folder() as scratch:
            os.symlink(self.server.certificates, f"{scratch}/tls")
            other = service.Service(self.program, scratch, settings={"vault": settings})
            other.write_config()
            if token:
                other.config.write_text(other.config.read_text().replace("token=keyward", token))
            done = subprocess.run(
                [self.program, "--config", other.config, "serve"], capture_output=True, text=True,
                timeout=SECONDS,
            )  # fmt: skip
        if done.returncode != code or words not in done.stderr:
            raise Wrong(f"it ended with {done.returncode}: {done.stderr}")

    def start_without_token(self):
        self.fails_to_start(self.keys.settings("tls-one"), 6, "", token="token=elsewhere")
        return "exit 6"

    # ---- a token that is lost, or hangs ----

    def lost(self):
        if self.server.token.kind != "p11-kit":
            return "skipped: it needs p11-kit's server"
        kept = self.server.vault()
        must(kept.get("/keys"))
        taker = loss.Server()
        taker.take(None)
        try:
            common_name(self.server, "vault", timeout=5)
        except OSError:
            pass
        else:
            raise Wrong("a handshake is whole without the token")
        if kept.get("/keys").status >= 600:
            raise Wrong("no answer")
        expect(common_name(self.server, "status", name="ops"), "localhost")
        taker.give_back()
        until("a handshake", lambda: shakes_hands(self.server))
        return "handshakes are back without a restart"

    def hang(self):
        """A signature hangs: what is connected is answered, and so are the other listeners."""
        if not self.faults:
            return "skipped: it needs --faults"
        with service.scratch_folder() as scratch:
            os.symlink(self.server.certificates, f"{scratch}/tls")
            hung = service.Service(self.program, scratch, timeout=TIMEOUT_S,
                                   settings={"vault": self.server.settings["vault"]})  # fmt: skip
            with hung.behind_faults(self.faults, f"C_Sign hang {HANG_S * 1000} 4 1"), hung:
                return self.watch_hang(hung)

    def watch_hang(self, hung):
        kept, status = hung.vault(), hung.status()
        until("ready", lambda: status.get("/health/ready").status == 200)
        must(kept.get("/keys"))
        must(status.get("/health/alive"))
        slow = []
        ended = threading.Event()

        def shake():
            try:
                common_name(hung, "vault")
            except OSError:
                slow.append("refused")
            ended.set()

        for _ in range(6):
            ended.clear()
            threading.Thread(target=shake, daemon=True).start()
            if not ended.wait(1):
                break
        else:
            raise Wrong("no handshake hangs")
        worst, count = 0.0, 0
        while not ended.is_set():
            for client, path in ((kept, "/keys"), (status, "/health/alive")):
                began = time.monotonic()
                client.get(path)
                worst = max(worst, time.monotonic() - began)
                count += 1
            began = time.monotonic()
            expect(common_name(hung, "proxy", name="azure"), "localhost")
            worst = max(worst, time.monotonic() - began)
        expect(slow, ["refused"])
        if worst > 0.5 or count < 4:
            raise Wrong(f"{count} answers while it hung, the slowest after {worst:.3f} s")
        until("a handshake", lambda: shakes_hands(hung))
        return f"{count} answers meanwhile, the slowest after {worst * 1000:.0f} ms"


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--faults")
    parser.add_argument("program")
    given = parser.parse_args()
    with service.scratch_folder() as scratch:
        cases = Cases(given.program, scratch, given.faults and os.path.abspath(given.faults))
        with cases.server:
            sys.exit(
                service.report_cases(
                    [
                        ("a key on the token serves", cases.versions),
                        ("it signs all that clients ask for", cases.signatures),
                        ("requests are answered", cases.requests),
                        ("the trail says which keys are used", cases.recorded),
                        ("keys are replaced", cases.reload),
                        ("bad ones are not taken", cases.bad_reloads),
                        ("no start with bad ones", cases.bad_starts),
                        ("no start without the token", cases.start_without_token),
                        ("the token is lost", cases.lost),
                        ("the token hangs", cases.hang),
                    ]
                )
            )


if __name__ == "__main__":
    main()
