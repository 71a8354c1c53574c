#!/usr/bin/env python3
"""Makes public keys and bearer tokens, good and bad, and runs a command with their folder.

Usage: with-tokens.py COMMAND... KW_TEST_TOKENS is a new folder with

  NAME.json        JWK sets that the tokens are for
  tokens.tsv       a name, "ok" or a part of the reason why it is denied, an Authorization header
  sets.tsv         a name, how many keys of the JWK set are taken or what is wrong, the set

The signatures are those of python3-cryptography, so none of what is tested made them.
"""
import base64
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
except ImportError:
    print("left out: python3-cryptography is not there")
    sys.exit(77)

NOW = 1800000000
SHA256 = hashes.SHA256()


def b64(data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, length=None):
    length = length or (value.bit_length() + 7) // 8
    return b64(value.to_bytes(length, "big"))


class Rsa:
    def __init__(self, bits=2048, e=65537):
        self.key = rsa.generate_private_key(e, bits)
        self.bytes = bits // 8

    def jwk(self, **more):
        public = self.key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(public.n), "e": number(public.e), **more}

    def rs256(self, data):
        return self.key.sign(data, padding.PKCS1v15(), SHA256)

    def ps256(self, data, salt=32):
        return self.key.sign(data, padding.PSS(padding.MGF1(SHA256), salt), SHA256)


class Ec:
    def __init__(self, curve=ec.SECP256R1, name="P-256", length=32):
        self.key, self.name, self.length = ec.generate_private_key(curve()), name, length

    def jwk(self, **more):
        public = self.key.public_key().public_numbers()
        return {"kty": "EC", "crv": self.name, "x": number(public.x, self.length),
                "y": number(public.y, self.length), **more}

    def es256(self, data):
        r, s = utils.decode_dss_signature(self.es256_der(data))
        return r.to_bytes(self.length, "big") + s.to_bytes(self.length, "big")

    def es256_der(self, data):
        return self.key.sign(data, ec.ECDSA(SHA256))


r1, r2, stranger, small = Rsa(), Rsa(3072), Rsa(), Rsa(1024)
encrypts, only_one = Rsa(), Rsa()
e1, e2, e384 = Ec(), Ec(), Ec(ec.SECP384R1, "P-384", 48)
secret = os.urandom(32)
sets = {
    "a": {"keys": [
        r1.jwk(kid="r1", use="sig", x5t="abc"),
        r2.jwk(kid="r2", alg="PS256"),
        e1.jwk(kid="e1", use="sig", alg="ES256"),
        e384.jwk(kid="e384"),
        small.jwk(kid="small"),
        encrypts.jwk(kid="enc", use="enc"),
        {"kty": "oct", "kid": "oct", "k": b64(secret)},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "ed"},
    ]},
    "b": {"keys": [only_one.jwk()]},
}

CLAIMS = {"iss": "https://a.example/", "aud": "https://hsm.example", "exp": NOW + 300,
          "nbf": NOW - 10, "iat": NOW - 10, "appid": "app-1", "sub": "x"}
B_CLAIMS = {**CLAIMS, "iss": "https://b.example/", "aud": ["other", "hsm"], "sub": "job"}
tokens = []


def signed(header, claims, sign):
    data = f"{b64(header)}.{b64(claims)}"
    return f"{data}.{b64(sign(data.encode()))}"


def add(name, verdict, authorization):
    tokens.append((name, verdict, authorization))


def row(name, verdict, header=None, claims=None, sign=None, without=()):
    """A token like the good one, but for what is given."""
    head = {"alg": "RS256", "typ": "JWT", "kid": "r1", **(header or {})}
    body = {**CLAIMS, **(claims or {})}
    for what in without:
        head.pop(what, None)
        body.pop(what, None)
    add(name, verdict, "Bearer " + signed(head, body, sign or r1.rs256))


# ---- good ones ----
row("RS256", "ok")
row("PS256 by a key that says no algorithm", "ok", {"alg": "PS256"}, sign=r1.ps256)
row("PS256", "ok", {"alg": "PS256", "kid": "r2"}, sign=r2.ps256)
row("ES256", "ok", {"alg": "ES256", "kid": "e1"}, sign=e1.es256)
row("ES256 without kid: one key fits", "ok", {"alg": "ES256"}, sign=e1.es256, without=["kid"])
row("RS256 without kid: one key fits", "ok", without=["kid"])
row("without typ", "ok", without=["typ"])
for typ in ("at+jwt", "application/at+jwt", "jwt"):
    row(f"typ {typ}", "ok", {"typ": typ})
row("without nbf and iat", "ok", without=["nbf", "iat"])
row("nbf within the leeway", "ok", claims={"nbf": NOW + 60})
row("iat within the leeway", "ok", claims={"iat": NOW + 60})
row("exp with a fraction", "ok", claims={"exp": NOW + 0.5})
row("aud in an array", "ok", claims={"aud": ["x", "https://hsm.example"]})
row("the claim in an array", "ok", claims={"appid": ["y", "app-1"]})
row("jwk and jku in the header are not looked at", "ok",
    {"jwk": stranger.jwk(), "jku": "https://evil.example/"})
good = signed({"alg": "RS256", "kid": "r1"}, CLAIMS, r1.rs256)
add("lower case scheme", "ok", "bearer " + good)
add("several blanks", "ok", "Bearer   " + good)
add("issuer b, without kid", "ok",
    "Bearer " + signed({"alg": "RS256"}, B_CLAIMS, only_one.rs256))

# ---- the header field ----
NO_BEARER = "holds no bearer token"
NO_JWS = "no JWS in its compact form"
add("empty", NO_BEARER, "")
add("only the scheme", NO_BEARER, "Bearer")
add("no token", NO_JWS, "Bearer ")
add("Basic", NO_BEARER, "Basic dXNlcjpwYXNz")
add("no scheme", NO_BEARER, good)
add("two parts", NO_JWS, "Bearer " + good.rsplit(".", 1)[0])
add("four parts", NO_JWS, "Bearer " + good + ".AA")
add("a dot at the end", NO_JWS, "Bearer " + good + ".")
add("no signature", NO_JWS, "Bearer " + good.rsplit(".", 1)[0] + ".")
add("no header", NO_JWS, "Bearer ." + good.split(".", 1)[1])
add("padding", NO_JWS, "Bearer " + good + "=")
add("blank at the end", "has a signature that is none", "Bearer " + good + " ")
add("a second token", "has a signature that is none", "Bearer " + good + ", Bearer x")
add("bits left over in the signature", "has a signature that is none",
    "Bearer " + good[:-1] + ("B" if good[-1] != "B" else "C"))
add("a foreign character", "is not base64url", "Bearer +" + good)
add("too long", "longer than 12 KiB", "Bearer " + good + "A" * 12288)
add("blanks and nothing", NO_JWS, "Bearer     ")

# ---- the JOSE header ----
NO_ALG = "no algorithm that is taken"
NO_KEY = "names no one key"
NOT_SIGNED = "not signed by its issuer"
row("alg none", NO_ALG, {"alg": "none"}, sign=lambda data: b"\0")
add("alg none without signature", NO_JWS,
    "Bearer " + b64({"alg": "none"}) + "." + b64(CLAIMS) + ".")
row("alg None", NO_ALG, {"alg": "None"})
row("alg in lower case", NO_ALG, {"alg": "rs256"})
row("alg a number", NO_ALG, {"alg": 256})
row("alg an array", NO_ALG, {"alg": ["RS256"]})
row("no alg", NO_ALG, without=["alg"])
for alg in ("RS384", "RS512", "PS512", "ES384", "ES256K", "EdDSA", "HS256", "HS512", "RSA-OAEP"):
    row(f"alg {alg}", NO_ALG, {"alg": alg})
pem = r1.key.public_key().public_bytes(serialization.Encoding.PEM,
                                       serialization.PublicFormat.SubjectPublicKeyInfo)
row("HS256 with the public key as its secret", NO_ALG, {"alg": "HS256"},
    sign=lambda data: hmac.new(pem, data, hashlib.sha256).digest())
row("HS256 with the secret of the set", NO_ALG, {"alg": "HS256", "kid": "oct"},
    sign=lambda data: hmac.new(secret, data, hashlib.sha256).digest())
row("crit", "must be understood", {"crit": ["exp"]})
row("crit, empty", "must be understood", {"crit": []})
row("b64", "must be understood", {"b64": False})
row("typ of another kind", "another type", {"typ": "dpop+jwt"})
row("typ no text", "another type", {"typ": 1})
row("kid no text", "something that is no text", {"kid": 1})
row("kid null", "something that is no text", {"kid": None})
row("kid unknown", NO_KEY, {"kid": "r9"})
row("kid empty", NO_KEY, {"kid": ""})
row("kid in another case", NO_KEY, {"kid": "R1"})
row("kid of the other issuer's", NO_KEY, {"kid": "only"}, sign=only_one.rs256)
row("RS256 by a key for PS256", NO_KEY, {"kid": "r2"}, sign=r2.rs256)
row("RS256 by a key for encryption", NO_KEY, {"kid": "enc"}, sign=encrypts.rs256)
row("RS256 by a key that is too small", NO_KEY, {"kid": "small"}, sign=small.rs256)
row("RS256 and the name of an EC key", NO_KEY, {"kid": "e1"})
row("ES256 and the name of an RSA key", NO_KEY, {"alg": "ES256", "kid": "r1"}, sign=e1.es256)
row("ES256 by P-384", NO_KEY, {"alg": "ES256", "kid": "e384"}, sign=e384.es256)
row("PS256 without kid: two keys fit", NO_KEY, {"alg": "PS256"}, sign=r1.ps256, without=["kid"])

# ---- the signature ----
row("by a stranger", NOT_SIGNED, sign=stranger.rs256)
row("by a stranger on the curve", NOT_SIGNED, {"alg": "ES256", "kid": "e1"}, sign=e2.es256)
row("RS256 that is PS256", NOT_SIGNED, sign=r1.ps256)
row("PS256 that is RS256", NOT_SIGNED, {"alg": "PS256"}, sign=r1.rs256)
row("PS256 with no salt", NOT_SIGNED, {"alg": "PS256"}, sign=lambda data: r1.ps256(data, 0))
row("PS256 with a long salt", NOT_SIGNED, {"alg": "PS256"}, sign=lambda data: r1.ps256(data, 64))
row("ES256 in DER", NOT_SIGNED, {"alg": "ES256", "kid": "e1"}, sign=e1.es256_der)
row("ES256 of zeros", NOT_SIGNED, {"alg": "ES256", "kid": "e1"}, sign=lambda data: bytes(64))
row("ES256 of one byte", NOT_SIGNED, {"alg": "ES256", "kid": "e1"}, sign=lambda data: b"\1")
row("ES256 of 63 bytes", NOT_SIGNED, {"alg": "ES256", "kid": "e1"},
    sign=lambda data: e1.es256(data)[:63])
row("ES256 of 65 bytes", NOT_SIGNED, {"alg": "ES256", "kid": "e1"},
    sign=lambda data: e1.es256(data) + b"\0")
row("ES256, r and s in disorder", NOT_SIGNED, {"alg": "ES256", "kid": "e1"},
    sign=lambda data: (lambda s: s[32:] + s[:32])(e1.es256(data)))
row("RS256 one byte short", NOT_SIGNED, sign=lambda data: r1.rs256(data)[:-1])
row("RS256 with a byte in front", NOT_SIGNED, sign=lambda data: b"\0" + r1.rs256(data))
row("a signature of 8 KiB", "has a signature that is none", sign=lambda data: bytes(8000))
parts = good.split(".")
add("other claims", NOT_SIGNED, "Bearer " + ".".join(
    [parts[0], b64({**CLAIMS, "appid": "app-2"}), parts[2]]))
add("another header", NOT_SIGNED, "Bearer " + ".".join(
    [b64({"alg": "RS256", "kid": "r1", "x": 1}), parts[1], parts[2]]))
bent = bytearray(base64.urlsafe_b64decode(parts[2] + "=="))
bent[17] ^= 4
add("a bit of the signature", NOT_SIGNED, "Bearer " + ".".join(parts[:2] + [b64(bytes(bent))]))

# ---- the claims ----
row("iss unknown", "of no [issuer]", claims={"iss": "https://c.example/"})
row("iss without the slash", "of no [issuer]", claims={"iss": "https://a.example"})
row("iss an array", "of no [issuer]", claims={"iss": ["https://a.example/"]})
row("no iss", "of no [issuer]", without=["iss"])
row("iss of the other, whose key it is not", NOT_SIGNED, claims={"iss": "https://b.example/"},
    without=["kid"])
row("aud wrong", "another audience", claims={"aud": "https://vault.example"})
row("aud with more after it", "another audience", claims={"aud": "https://hsm.example/"})
row("aud of the other issuer", "another audience", claims={"aud": "hsm"})
row("aud empty", "another audience", claims={"aud": []})
row("aud an object", "another audience", claims={"aud": {"https://hsm.example": 1}})
row("aud in an array in an array", "another audience", claims={"aud": [["https://hsm.example"]]})
row("no aud", "another audience", without=["aud"])
row("past its end", "past its end", claims={"exp": NOW - 1})
row("just past its end", "past its end", claims={"exp": NOW})
row("no exp", "has no end", without=["exp"])
row("exp a text", "has no end", claims={"exp": str(NOW + 300)})
row("exp null", "has no end", claims={"exp": None})
row("exp negative", "has no end", claims={"exp": -1})
row("nbf ahead", "not yet valid", claims={"nbf": NOW + 61})
row("nbf a text", "not yet valid", claims={"nbf": "0"})
row("iat ahead", "not yet valid", claims={"iat": NOW + 61})
row("iat true", "not yet valid", claims={"iat": True})
row("no such client", "of no [client]", claims={"appid": "app-9"})
row("the client's claim in part", "of no [client]", claims={"appid": "app-"})
row("the claim a number", "of no [client]", claims={"appid": 1})
row("no claim", "of no [client]", without=["appid"])
row("two clients", "more than one [client]", claims={"oid": "o-2"})
row("a client of the other issuer's", "of no [client]", claims={"sub": "job"}, without=["appid"])

NO_OBJECT = "holds no JSON object"


def raw(name, verdict, header, claims):
    data = f"{b64(header)}.{b64(claims)}"
    add(name, verdict, f"Bearer {data}.{b64(r1.rs256(data.encode()))}")


HEADER = b'{"alg":"RS256","kid":"r1"}'
BODY = json.dumps(CLAIMS).encode()
raw("a claim twice", NO_OBJECT, HEADER, BODY[:-1] + b',"appid":"app-1"}')
raw("exp twice, in other letters", NO_OBJECT, HEADER, BODY[:-1] + b',"EXP":1}')
raw("alg twice", NO_OBJECT, b'{"alg":"none","alg":"RS256","kid":"r1"}', BODY)
raw("claims with bytes after them", NO_OBJECT, HEADER, BODY + b"x")
raw("claims with another object after them", NO_OBJECT, HEADER, BODY + BODY)
raw("header with bytes after it", NO_OBJECT, HEADER + b"\0", BODY)
raw("claims an array", NO_OBJECT, HEADER, b"[" + BODY + b"]")
raw("claims no JSON", NO_OBJECT, HEADER, b"claims")
raw("claims not UTF-8", NO_OBJECT, HEADER, BODY[:-1] + b',"x":"\xff"}')
raw("a NUL in a claim", NO_OBJECT, HEADER, BODY[:-1] + b',"x":"a\\u0000b"}')
raw("exp infinite", NO_OBJECT, HEADER, BODY.replace(str(NOW + 300).encode(), b"Infinity"))
raw("exp beyond a double", "has no end", HEADER, BODY.replace(str(NOW + 300).encode(), b"1e999"))
raw("claims too deep", NO_OBJECT, HEADER, BODY[:-1] + b',"x":' + b"[" * 9 + b"]" * 9 + b"}")
raw("claims of too many values", NO_OBJECT, HEADER,
    BODY[:-1] + b',"x":[' + b",".join([b"0"] * 1100) + b"]}")
raw("header too large", NO_OBJECT, HEADER[:-1] + b',"x":"' + b"a" * 5000 + b'"}', BODY)

# ---- sets of keys ----
NO_PUBLIC = "has no public key"
one, point = r1.jwk(kid="1"), e1.jwk()
set_rows = [
    ("one", "1", {"keys": [one]}),
    ("RSA and EC", "2", {"keys": [one, point]}),
    ("4096 bits", "1", {"keys": [Rsa(4096).jwk()]}),
    ("exponent 3", "1", {"keys": [Rsa(e=3).jwk()]}),
    ("what is not known is left out", "1",
     {"keys": [{"kty": "XYZ"}, {}, 1, None, "x", [one], one, {"kty": 1}], "x": 1}),
    ("key_ops with verify", "1", {"keys": [{**one, "key_ops": ["sign", "verify"]}]}),
    ("64 keys", "64", {"keys": [point] * 64}),
    ("65 keys", "more than 64 keys", {"keys": [point] * 65}),
    ("no array", "must have an array", {"keys": one}),
    ("no keys", "must have an array", {}),
    ("an array", "must have an array", [one]),
    ("empty", NO_PUBLIC, {"keys": []}),
    ("e of 1", NO_PUBLIC, {"keys": [{**one, "e": "AQ"}]}),
    ("e even", NO_PUBLIC, {"keys": [{**one, "e": "AQAA"}]}),
    ("e of 9 bytes", NO_PUBLIC, {"keys": [{**one, "e": b64(b"\1" * 9)}]}),
    ("e with a zero in front", NO_PUBLIC, {"keys": [{**one, "e": "AAEAAQ"}]}),
    ("e empty", NO_PUBLIC, {"keys": [{**one, "e": ""}]}),
    ("e missing", NO_PUBLIC, {"keys": [{k: v for k, v in one.items() if k != "e"}]}),
    ("n a number", NO_PUBLIC, {"keys": [{**one, "n": 5}]}),
    ("n with padding", NO_PUBLIC, {"keys": [{**one, "n": one["n"] + "="}]}),
    ("n no base64url", NO_PUBLIC, {"keys": [{**one, "n": one["n"].replace("A", "+")[:-1] + "/"}]}),
    ("n of 2040 bits", NO_PUBLIC, {"keys": [{**one, "n": b64(b"\xff" * 255)}]}),
    ("n of 4104 bits", NO_PUBLIC, {"keys": [{**one, "n": b64(b"\xff" * 513)}]}),
    ("n of 80000 bits", NO_PUBLIC, {"keys": [{**one, "n": b64(b"\xff" * 10000)}]}),
    ("n even", NO_PUBLIC, {"keys": [{**one, "n": b64(b"\xfe" * 256)}]}),
    ("a private key", NO_PUBLIC, {"keys": [{**one, "d": "AQAB"}]}),
    ("for encryption", NO_PUBLIC, {"keys": [{**one, "use": "enc"}]}),
    ("use no text", NO_PUBLIC, {"keys": [{**one, "use": 1}]}),
    ("key_ops without verify", NO_PUBLIC, {"keys": [{**one, "key_ops": ["sign"]}]}),
    ("key_ops no array", NO_PUBLIC, {"keys": [{**one, "key_ops": "verify"}]}),
    ("alg of another type", NO_PUBLIC, {"keys": [{**one, "alg": "ES256"}]}),
    ("alg HS256", NO_PUBLIC, {"keys": [{**one, "alg": "HS256"}]}),
    ("alg no text", NO_PUBLIC, {"keys": [{**one, "alg": None}]}),
    ("kid no text", NO_PUBLIC, {"keys": [{**one, "kid": 1}]}),
    ("kid of 257 bytes", NO_PUBLIC, {"keys": [{**one, "kid": "k" * 257}]}),
    ("kty in lower case", NO_PUBLIC, {"keys": [{**one, "kty": "rsa"}]}),
    ("oct", NO_PUBLIC, {"keys": [{"kty": "oct", "k": b64(secret), "alg": "HS256"}]}),
    ("P-384", NO_PUBLIC, {"keys": [e384.jwk()]}),
    ("P-384 that says P-256", NO_PUBLIC, {"keys": [{**e384.jwk(), "crv": "P-256"}]}),
    ("P-256 that says P-384", NO_PUBLIC, {"keys": [{**point, "crv": "P-384"}]}),
    ("P-256 that says secp256k1", NO_PUBLIC, {"keys": [{**point, "crv": "secp256k1"}]}),
    ("not on the curve", NO_PUBLIC, {"keys": [{**point, "y": point["x"]}]}),
    ("x too short", NO_PUBLIC, {"keys": [{**point, "x": b64(b"\1" * 31)}]}),
    ("x too long", NO_PUBLIC, {"keys": [{**point, "x": b64(b"\0" + b"\1" * 32)}]}),
    ("the point at infinity", NO_PUBLIC, {"keys": [{**point, "x": b64(bytes(32)),
                                                    "y": b64(bytes(32))}]}),
    ("crv missing", NO_PUBLIC, {"keys": [{k: v for k, v in point.items() if k != "crv"}]}),
]
twice = json.dumps({"keys": [one]})[:-1] + ', "keys": []}'
set_texts = [(name, verdict, json.dumps(value)) for name, verdict, value in set_rows] + [
    ("keys twice", "twice", twice),
    ("too large", "", json.dumps({"keys": [one], "x": "a" * (256 * 1024)})),
    ("no JSON", "", "keys"),
    ("bytes after it", "", json.dumps({"keys": [one]}) + "x"),
    ("too deep", "", json.dumps({"keys": [one], "x": [[[[[[[[1]]]]]]]]})),
]

folder = pathlib.Path(tempfile.mkdtemp())
try:
    for name, value in sets.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "other.json").write_text(json.dumps({"keys": [stranger.jwk(kid="new")]}))
    for name, rows in (("tokens.tsv", tokens), ("sets.tsv", set_texts)):
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows))
    sys.exit(subprocess.run(sys.argv[1:], check=False,
                            env={**os.environ, "KW_TEST_TOKENS": str(folder)}).returncode)
finally:
    shutil.rmtree(folder)
