#!/usr/bin/env python3
"""A trial issuer of bearer tokens: signing keys, the JWKS file of their public halves, and JWTs.

    issuer.py keys DIR [--alg ALG]... [--kid KID]     makes DIR/ALG.pem and DIR/jwks.json
    issuer.py issue DIR [--alg ALG] [--iss I] [--aud A] [--sub S] [--for SECONDS] [--from SECONDS]
                       [--claim NAME=JSON]... [--without NAME]... [--kid KID] [--header NAME=JSON]...

`issue` prints one token. Times are seconds from now. RS256, PS256 and ES256 (RFC 7518 section 3.1);
that a service refuses is what HS256, signed with the public key's PEM, and none are for. Not for
production: the keys are files. Needs the Python package cryptography.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import pathlib
import secrets
import sys
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

ISSUER, AUDIENCE = "https://issuer.example", "https://vault.hsm.example"


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    """Base64urlUInt, RFC 7518 section 2."""
    return base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def compact(value):
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def pem_of(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def sign_es256(key, data):
    r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


SIGNERS = {
    "RS256": lambda key, data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()),
    "PS256": lambda key, data: key.sign(
        data, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
    ),
    "ES256": sign_es256,
    "HS256": lambda key, data: hmac.digest(pem_of(key), data, hashlib.sha256),
    "none": lambda key, data: b"",
}


def new_key(alg):
    if alg == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(65537, 2048)


def jwk_of(key, alg, kid):
    numbers = key.public_key().public_numbers()
    common = {"kid": kid, "alg": alg, "use": "sig"}
    if alg == "ES256":
        return {"kty": "EC", "crv": "P-256", "x": number(numbers.x, 32), "y": number(numbers.y, 32),
                **common}  # fmt: skip
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **common}


class Issuer:
    """The keys in a folder. Made by make(), and there already for Issuer()."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.jwks = self.folder / "jwks.json"
        self.kids = {key["alg"]: key["kid"] for key in json.loads(self.jwks.read_text())["keys"]}
        self.keys = {
            alg: serialization.load_pem_private_key((self.folder / f"{alg}.pem").read_bytes(), None)
            for alg in self.kids
        }

    @staticmethod
    def make(folder, algs=("RS256",), kid=None):
        """Makes keys anew where there are some, and the JWKS with them."""
        folder = pathlib.Path(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = []
        for alg in algs:
            key = new_key(alg)
            text = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            path = folder / f"{alg}.pem"
            path.unlink(missing_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text)
            keys.append(jwk_of(key, alg, kid or f"{alg}-{secrets.token_hex(4)}"))
        new = folder / "jwks.json.new"
        new.write_text(json.dumps({"keys": keys}, indent=2) + "\n")
        new.rename(folder / "jwks.json")
        return Issuer(folder)

    def issue(self, *, alg="RS256", iss=ISSUER, aud=AUDIENCE, sub="app", lasts=3600, begins=-60,
              without=(), header=None, kid=None, **claims):  # fmt: skip
        """One token. What is given besides are claims."""
        now = int(time.time())
        signer = alg if alg in self.keys else next(iter(self.keys))
        head = {"typ": "JWT", "alg": alg, "kid": kid or self.kids[signer], **(header or {})}
        body = {"iss": iss, "aud": aud, "sub": sub, "iat": now + begins, "nbf": now + begins,
                "exp": now + lasts, **claims}  # fmt: skip
        for name in without:
            head.pop(name, None)
            body.pop(name, None)
        text = f"{compact(head)}.{compact(body)}"
        return f"{text}.{base64url(SIGNERS[alg](self.keys[signer], text.encode()))}"


def pairs(texts):
    """NAME=JSON; what is no JSON is a text."""
    result = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            result[name] = json.loads(value)
        except ValueError:
            result[name] = value
    return result


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    keys = commands.add_parser("keys")
    keys.add_argument("folder")
    keys.add_argument("--alg", action="append", choices=["RS256", "PS256", "ES256"])
    keys.add_argument("--kid")
    issue = commands.add_parser("issue")
    issue.add_argument("folder")
    issue.add_argument("--alg", choices=SIGNERS)
    issue.add_argument("--iss", default=ISSUER)
    issue.add_argument("--aud", default=AUDIENCE)
    issue.add_argument("--sub", default="app")
    issue.add_argument("--for", dest="lasts", type=int, default=3600)
    issue.add_argument("--from", dest="begins", type=int, default=-60)
    issue.add_argument("--claim", action="append", default=[])
    issue.add_argument("--header", action="append", default=[])
    issue.add_argument("--without", action="append", default=[])
    issue.add_argument("--kid")
    given = parser.parse_args()
    if given.command == "keys":
        issuer = Issuer.make(given.folder, given.alg or ["RS256"], given.kid)
        print(f"made {issuer.jwks} and the keys it is of: {', '.join(issuer.keys)}")
        return
    issuer = Issuer(given.folder)
    print(issuer.issue(
        alg=given.alg or next(iter(issuer.keys)), iss=given.iss, aud=given.aud, sub=given.sub,
        lasts=given.lasts, begins=given.begins, kid=given.kid, without=given.without,
        header=pairs(given.header), **pairs(given.claim),
    ))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
