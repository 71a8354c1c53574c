"""Transfer files (.byok) opened and made by others: OpenSSL's command line alone, and Python's
cryptography alone, which wraps with code of its own (RFC 5649 over single blocks of AES).

A key is a dict: "bits", and "pem" and "pub" (the paths of its halves) as far as they are needed."""

import base64
import json
import os
import pathlib
import subprocess

from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import padding

SECONDS = 60
KID = "https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
HEADER = {"kid": KID, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
AES_BYTES = 32


class OpenSSL:
    name = "openssl"
    oaep = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1",
            "-pkeyopt", "rsa_mgf1_md:sha1"]  # fmt: skip
    kwp = ["-id-aes256-wrap-pad", "-iv", "A65959A6"]

    def run(self, *arguments, data=b""):
        command = ["openssl", *arguments]
        return subprocess.run(
            command, input=data, check=True, capture_output=True, timeout=SECONDS
        ).stdout

    def encrypt(self, pub, secret):
        return self.run("pkeyutl", "-encrypt", "-pubin", "-inkey", pub, *self.oaep, data=secret)

    def decrypt(self, pem, data):
        return self.run("pkeyutl", "-decrypt", "-inkey", pem, *self.oaep, data=data)

    def wrap(self, aes, secret):
        return self.run("enc", *self.kwp, "-K", aes.hex(), data=secret)

    def unwrap(self, aes, data):
        return self.run("enc", "-d", *self.kwp, "-K", aes.hex(), data=data)

    def pkcs8(self, pem):
        return self.run("pkcs8", "-topk8", "-nocrypt", "-in", pem, "-outform", "DER")

    def modulus(self, der):
        text = self.run("rsa", "-inform", "DER", "-noout", "-modulus", data=der).decode()
        return text.strip().partition("=")[2].lower()


class Cryptography:
    name = "python-cryptography"
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)

    def load(self, pem):
        return serialization.load_pem_private_key(pathlib.Path(pem).read_bytes(), None)

    def encrypt(self, pub, secret):
        public = serialization.load_pem_public_key(pathlib.Path(pub).read_bytes())
        return public.encrypt(secret, self.oaep)

    def decrypt(self, pem, data):
        return self.load(pem).decrypt(data, self.oaep)

    def wrap(self, aes, secret):
        return keywrap.aes_key_wrap_with_padding(aes, secret)

    def unwrap(self, aes, data):
        return keywrap.aes_key_unwrap_with_padding(aes, data)

    def pkcs8(self, pem):
        return self.load(pem).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )  # fmt: skip

    def modulus(self, der):
        number = serialization.load_der_private_key(der, None).private_numbers().public_numbers.n
        return f"{number:x}"


OTHERS = (OpenSSL(), Cryptography())


def read_file(path):
    """The ciphertext, of a file that is as Azure's importer wants it."""
    content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    assert content["schema_version"] == "1.0.0" and content["header"] == HEADER, content
    text = content["ciphertext"]
    assert not set(text) & set("+/=\n"), "the ciphertext is not base64url without padding"
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def write_file(path, data, padded=False):
    text = base64.urlsafe_b64encode(data).decode()
    content = {"schema_version": "1.0.0", "generator": "another tool", "header": HEADER,
               "ciphertext": text if padded else text.rstrip("=")}  # fmt: skip
    pathlib.Path(path).write_text(json.dumps(content), encoding="utf-8")


def open_file(other, path, kek, zeros_allowed):
    """The modulus of the key that is in the file."""
    data, first = read_file(path), kek["bits"] // 8
    aes = other.decrypt(kek["pem"], data[:first])
    assert len(aes) == AES_BYTES, f"the AES key has {len(aes)} bytes"
    plain = other.unwrap(aes, data[first:])
    return other.modulus(cut_to_der(plain, zeros_allowed))


def cut_to_der(plain, zeros_allowed):
    """A strict reader takes nothing after the key. The one place where up to 7 zero bytes are let
    pass, for tokens of which the program said that it can't keep them from being there."""
    assert plain[:2] == b"\x30\x82", plain[:2].hex()
    length = 4 + int.from_bytes(plain[2:4], "big")
    rest = plain[length:]
    assert length <= len(plain), "the key is cut short"
    assert not rest or (zeros_allowed and len(rest) < 8 and not any(rest)), f"after it: {rest.hex()}"
    return plain[:length]


def make_file(other, path, kek, key, padded=False):
    aes = os.urandom(AES_BYTES)
    data = other.encrypt(kek["pub"], aes) + other.wrap(aes, other.pkcs8(key["pem"]))
    write_file(path, data, padded)
