#!/usr/bin/env python3
"""TLS: versions, suites, certificates, and how they are replaced: secure.py PROGRAM. Prints TAP."""

import base64
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings

from lab import Certificates, Client, PATIENCE_S, Server, run

warnings.simplefilter("ignore", DeprecationWarning)  # of the old versions that are tried here
PROGRAM = sys.argv[1]
MADE = None
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def serve(**settings):
    return Server(PROGRAM, **MADE.of_server(), **settings)


def s_client(server, *options, text=""):
    """What openssl's own client says of the connection; True where the handshake worked."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}",
                           "-CAfile", MADE.path("ca.pem"), *options], input=text, text=True,
                          capture_output=True, timeout=PATIENCE_S, check=False)
    return "Cipher is (NONE)" not in done.stdout and done.returncode == 0, done.stdout + done.stderr


def accepts(server, *options):
    return s_client(server, *options)[0]


LEVEL = ("-cipher", "ALL:@SECLEVEL=0")


@test
def versions():
    """TLS 1.2 and 1.3 are spoken, and older ones not; 1.3 alone where that is asked for"""
    with serve() as both, serve(tls13=1) as new:
        assert accepts(both, "-tls1_3") and accepts(both, "-tls1_2") and accepts(new, "-tls1_3")
        for server, old in ((both, "-tls1_1"), (both, "-tls1"), (new, "-tls1_2"), (new, "-tls1_1")):
            assert not accepts(server, old, *LEVEL), f"{old} is spoken"


@test
def suites():
    """Suites have ephemeral keys and AES-GCM, and no others are taken; the server chooses"""
    with serve() as server:
        for suite in ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"):
            assert accepts(server, "-tls1_2", "-cipher", suite), suite
        for suite in ("AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384", "AES128-SHA",
                      "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES256-GCM-SHA384", "AECDH-AES256-SHA",
                      "NULL-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"):
            assert not accepts(server, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"), suite
        assert not accepts(server, "-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256")
        assert not accepts(server, "-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256")
        said = s_client(server, "-tls1_3", "-ciphersuites",
                        "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")[1]
        assert "Cipher is TLS_AES_256_GCM_SHA384" in said
        assert not accepts(server, "-tls1_2", "-sigalgs", "RSA+SHA1", *LEVEL)
        assert not accepts(server, "-tls1_3", "-groups", "ffdhe2048")


@test
def sessions():
    """There are no tickets, no sessions to go on with, no renegotiation, no compression"""
    with serve() as server:
        for version in ("-tls1_2", "-tls1_3"):
            done, said = s_client(server, version, "-reconnect") if version == "-tls1_2" else \
                s_client(server, version)
            assert done and "Reused" not in said and "session ticket" not in said.lower(), said
            assert "Compression: NONE" in said
        context = MADE.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        with Client(server, context) as client:
            client.get()
            session = client.socket.session
        assert not session or not session.has_ticket
        done, said = s_client(server, "-tls1_2", text="R\n")
        assert "no renegotiation" in said.lower(), said


@test
def protocols():
    """HTTP/1.1 is agreed on; who speaks another protocol alone is turned away"""
    with serve() as server:
        context = MADE.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with Client(server, context) as client:
            assert client.socket.selected_alpn_protocol() == "http/1.1"
        context.set_alpn_protocols(["h2"])
        try:
            with Client(server, context):
                assert False, "h2 is agreed on"
        except ssl.SSLError as error:
            assert "no application protocol" in str(error).lower().replace("_", " "), error


@test
def slow_key():
    """A key on a token that takes its time keeps nobody waiting who is connected"""
    with serve(slow_key=1000) as server:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = MADE.context(maximum_version=version)
            with Client(server, context) as client:
                others = [threading.Thread(target=lambda: Client(server, context).socket.close())
                          for _ in range(4)]
                for other in others:
                    other.start()
                time.sleep(0.2)
                for _ in range(20):
                    began = time.monotonic()
                    assert client.get().status == 200
                    assert time.monotonic() - began < 0.4, "it waits for others' handshakes"
                for other in others:
                    other.join()
    with serve(slow_key=1500, request=1) as server:
        try:
            with Client(server, MADE.context()) as client:
                client.get()
        except (OSError, EOFError):
            pass
        else:
            raise AssertionError("a handshake took longer than it may")


def peer_of(server, client, **options):
    with Client(server, MADE.context(client, **options)) as connection:
        return connection.get().json()["peer"]


def turned_away(server, client, *reasons):
    """In TLS 1.3 a client learns that only after its own part of the handshake."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        try:
            peer = peer_of(server, client, maximum_version=version)
        except (ssl.SSLError, EOFError) as error:
            assert any(reason in str(error).upper() for reason in reasons), \
                f"{client}: {error} in place of {reasons}"
            continue
        raise AssertionError(f"{client} is let in as {peer}")


BAD = (("wrong", "UNKNOWN_CA", "UNKNOWN CA", "UNKNOWN_CERTIFICATE", "DECRYPT"),
       ("expired", "EXPIRED"),
       ("of_a_server", "UNSUPPORTED", "UNSUPPORTED_CERTIFICATE"),
       ("own", "UNKNOWN_CA", "UNKNOWN CA"))


@test
def required():
    """Where certificates are required, a good one is let in and no other"""
    with serve(client="required", client_ca=MADE.path("ca.pem")) as server:
        peer = peer_of(server, "good")
        assert peer == {"verified": True, "cn": "Good Client", "address": "127.0.0.1",
                        "names": ["client.example", "spiffe://example/client"]}, peer
        turned_away(server, None, "CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "CERTIFICATE REQUIRED")
        for client, *reasons in BAD:
            turned_away(server, client, *reasons)


@test
def optional():
    """Where they are optional, none is fine, and a bad one is not"""
    with serve(client="optional", client_ca=MADE.path("ca.pem")) as server:
        assert peer_of(server, "good")["verified"]
        peer = peer_of(server, None)
        assert peer == {"verified": False, "cn": None, "address": "127.0.0.1", "names": []}, peer
        for client, *reasons in BAD:
            turned_away(server, client, *reasons)


@test
def revoked():
    """A certificate that is revoked is turned away, with its reason; others are let in"""
    crl = MADE.crl("ca", "revoked")
    with serve(client="required", client_ca=MADE.path("ca.pem"), client_crl=crl) as server:
        assert peer_of(server, "good")["verified"]
        turned_away(server, "revoked", "REVOKED")
        assert server.process.stderr.readline() == "127.0.0.1: certificate revoked\n"
        turned_away(server, "wrong", *BAD[0][1:])
        MADE.crl("ca", "good")
        server.signal(signal.SIGHUP)
        while server.process.stderr.readline() != "reloaded\n":
            pass
        turned_away(server, "good", "REVOKED")
        assert peer_of(server, "revoked")["verified"]


@test
def crl_of_each_ca():
    """Where a CA on the way has no CRL, or one that another CA signed, nobody is let in"""
    for ca, crl in (("ca", "other"), ("both", "ca"), ("both", "other")):
        with serve(client="required", client_ca=MADE.path(f"{ca}.pem"), client_crl=MADE.crl(crl)) as server:
            for client, issuer in (("good", "ca"), ("wrong", "other")):
                if issuer == crl and ca == "both":
                    assert peer_of(server, client)["verified"]
                else:
                    turned_away(server, client, *BAD[0][1:])
    forged = MADE.path("forged.crl")
    with open(MADE.crl("ca"), encoding="ascii") as file:
        text = base64.b64decode("".join(file.read().splitlines()[1:-1]))
    with open(forged, "w", encoding="ascii") as file:
        text = text[:-1] + bytes([text[-1] ^ 1])
        file.write("-----BEGIN X509 CRL-----\n" + base64.encodebytes(text).decode() + "-----END X509 CRL-----\n")
    with serve(client="required", client_ca=MADE.path("ca.pem"), client_crl=forged) as server:
        turned_away(server, "good", "DECRYPT", "UNKNOWN", "BAD CERTIFICATE", "BAD_CERTIFICATE")


@test
def bad_crls():
    """A CRL that is over, or none, is refused at the start"""
    kept = 0

    def keep(made):
        nonlocal kept
        kept += 1
        os.rename(made, path := MADE.path(f"kept-{kept}.crl"))
        return path

    def write(data):
        with open(MADE.path("written.crl"), "wb") as file:
            file.write(data)
        return keep(file.name)

    over = keep(MADE.crl("ca", crl_lastupdate="20250101000000Z", crl_nextupdate="20250102000000Z"))
    early = keep(MADE.crl("ca", crl_lastupdate="20990101000000Z", crl_nextupdate="20990102000000Z"))
    delta = keep(MADE.crl("ca", extension="2.5.29.27=critical,ASN1:INTEGER:1"))
    indirect = keep(MADE.crl("ca", extension="issuingDistributionPoint=critical,@x\n[x]\nindirectCRL=TRUE"))
    some = keep(MADE.crl("ca", extension="issuingDistributionPoint=critical,@x\n[x]\n"
                                         "onlysomereasons=keyCompromise"))
    with open(MADE.crl("ca"), "rb") as file:
        good = file.read()
    os.mkfifo(MADE.path("fifo.crl"), 0o600)
    for crl, reason in (
        (over, "is over"), (early, "not valid yet"), (delta, "delta CRL"), (indirect, "indirect"),
        (some, "for some reasons"), (MADE.path("ca.pem"), "holds no CRL"),
        (write(b""), "holds no CRL"), (MADE.path("nowhere.crl"), "can't be opened"),
        (write(good + good[:-40]), "is damaged"), (write(good + good.replace(b"MI", b"M!", 1)), "is damaged"),
        (write(good + good[:200] + b"A" + good[200:]), "is damaged"), (write(good * 65), "more than 64"),
        (MADE.path("fifo.crl"), "no regular file"), (write(good + b" " * (8 << 20)), "more than the 8388608 bytes"),
    ):
        try:
            with serve(client="required", client_ca=MADE.path("ca.pem"), client_crl=crl):
                assert False, f"{crl} is taken"
        except AssertionError as error:
            assert reason in str(error), error


@test
def not_asked():
    """Where none is asked for, none is looked at"""
    with serve() as server:
        assert peer_of(server, "good") == {"verified": False, "cn": None, "address": "127.0.0.1",
                                           "names": []}


@test
def names():
    """Names with control bytes, and two common names, are none"""
    with serve(client="required", client_ca=MADE.path("ca.pem")) as server:
        assert peer_of(server, "two_names")["cn"] is None
        peer = peer_of(server, "nul")
        assert peer["verified"] and peer["names"] == ["fine.example"], peer
        assert peer_of(server, "many")["names"] == [f"a{i}.example" for i in range(16)]


@test
def reloads():
    """SIGHUP: new connections get the new certificate, the others go on, and a bad one is refused"""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, name) for name in ("certificate", "key")}

        def put(certificate, key):
            for name, source in (("certificate", f"{certificate}.pem"), ("key", f"{key}.key")):
                with open(MADE.path(source), "rb") as file, open(paths[name], "wb") as copy:
                    copy.write(file.read())

        def common_name(client):
            return dict(each[0] for each in client.socket.getpeercert()["subject"])["commonName"]

        def reload(server):
            server.signal(signal.SIGHUP)
            return server.process.stderr.readline()

        put("server", "server")
        with Server(PROGRAM, **paths) as server, Client(server, MADE.context()) as old:
            assert old.get().status == 200 and common_name(old) == "server"
            put("fresh", "fresh")
            assert reload(server) == "reloaded\n"
            with Client(server, MADE.context()) as new:
                assert new.get().status == 200 and common_name(new) == "fresh"
            put("server", "fresh")
            assert "is not the key of" in reload(server)
            with Client(server, MADE.context()) as new:
                assert common_name(new) == "fresh"
            assert old.get().status == 200


@test
def bad_files():
    """Certificates and keys that can't be used, or that others may read, are refused"""
    good = MADE.of_server()
    open_key = MADE.path("open.key")
    with open(good["key"], "rb") as file, open(open_key, "wb") as copy:
        copy.write(file.read())
    os.chmod(open_key, 0o644)
    sealed = MADE.path("sealed.key")
    subprocess.run(["openssl", "rsa", "-in", good["key"], "-aes256", "-passout", "pass:x", "-out",
                    sealed], check=True, capture_output=True)
    for settings, reason in (({**good, "key": open_key}, "chmod"),
                             ({**good, "key": sealed}, "passphrase"),
                             ({**good, "key": MADE.path("fresh.key")}, "is not the key of"),
                             ({**good, "key": MADE.path("none")}, "can't be opened"),
                             ({**good, "key": good["certificate"]}, "no private key"),
                             ({**good, "certificate": good["key"]}, "no certificate chain"),
                             ({**good, "client": "required"}, "client_ca"),
                             ({**good, "client": "required", "client_ca": good["key"]},
                              "no certificates")):
        try:
            with Server(PROGRAM, **settings):
                assert False, f"{settings} is taken"
        except AssertionError as error:
            assert reason in str(error), error


def make_clients(made):
    client = "extendedKeyUsage=clientAuth"
    made.issue("good", "ca", "/O=Example/CN=Good Client", client,
               "subjectAltName=DNS:client.example,URI:spiffe://example/client,email:a@example.com")
    made.issue("revoked", "ca", "/CN=Good Client", client)
    made.issue("wrong", "other", "/CN=Good Client", client)
    with open(made.path("both.pem"), "wb") as both:
        for ca in ("ca", "other"):
            with open(made.path(f"{ca}.pem"), "rb") as one:
                both.write(one.read())
    made.issue("expired", "ca", "/CN=Good Client", client, days="-1")
    made.issue("of_a_server", "ca", "/CN=Good Client", "extendedKeyUsage=serverAuth")
    made.issue("two_names", "ca", "/CN=One/CN=Two", client)
    # "good.example" NUL ".evil": DNS names in DER, since no text can say it.
    nul = "good.example\0.evil"
    first = b"\x82" + bytes([len(nul)]) + nul.encode()
    second = b"\x82\x0cfine.example"
    value = (b"\x30" + bytes([len(first + second)]) + first + second).hex(":")
    made.issue("nul", "ca", "/CN=nul", client, f"subjectAltName=DER:{value}")
    made.issue("many", "ca", "/CN=many", client,
               "subjectAltName=" + ",".join(f"DNS:a{i}.example" for i in range(20)))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout",
                    made.path("own.key"), "-out", made.path("own.pem"), "-subj", "/CN=Good Client"],
                   check=True, capture_output=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        MADE = Certificates(scratch)
        make_clients(MADE)
        code = run(TESTS)
    sys.exit(code)
