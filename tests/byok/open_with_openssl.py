#!/usr/bin/env python3
"""Transfer files against OpenSSL's command line, which knows nothing of this project.

What a token exported is opened with openssl alone and has to be the token's key; what openssl alone
made has to come in; what is damaged leaves nothing on the token. A token that can't do one of it
has to say so. Run by a tests/tokens/with-* script; the argument is the program of tool.c."""
import base64
import json
import os
import subprocess
import sys
import tempfile

TOOL = sys.argv[1]
SIZES = (2048, 3072, 4096)
OAEP = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1",
        "-pkeyopt", "rsa_mgf1_md:sha1"]
KWP = ["-id-aes256-wrap-pad", "-iv", "A65959A6"]
KID = "https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
CAN = os.environ.get("KW_TEST_TOKEN_KIND", "softhsm") == "softhsm"


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, check=True, capture_output=True).stdout


def tool(*args):
    done = subprocess.run([TOOL, *args], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{args}: {done.returncode} {done.stdout} {done.stderr}")
    return done.returncode == 0, done.stdout.strip()


def must(*args):
    good, text = tool(*args)
    if not good:
        sys.exit(f"{args}: {text}")
    return text


def modulus_of(der):
    text = openssl("rsa", "-inform", "DER", "-noout", "-modulus", data=der).decode()
    return text.strip().partition("=")[2].lower()


def der_length(der):
    assert der[0] == 0x30 and der[1] == 0x82
    return 4 + int.from_bytes(der[2:4], "big")


def open_file(path, kek):
    with open(path, encoding="utf-8") as file:
        content = json.load(file)
    assert content["schema_version"] == "1.0.0"
    assert content["header"] == {"kid": KID, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}
    text = content["ciphertext"]
    assert not set(text) & set("+/=\n")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    first = kek["bits"] // 8
    aes = openssl("pkeyutl", "-decrypt", "-inkey", kek["pem"], *OAEP, data=data[:first])
    assert len(aes) == 32
    return openssl("enc", "-d", *KWP, "-K", aes.hex(), data=data[first:])


def make_file(path, kek, der, padded):
    aes = os.urandom(32)
    data = openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", kek["pub"], *OAEP, data=aes)
    data += openssl("enc", *KWP, "-K", aes.hex(), data=der)
    text = base64.urlsafe_b64encode(data).decode()
    write_file(path, text if padded else text.rstrip("="))


def write_file(path, ciphertext):
    content = {"schema_version": "1.0.0", "ciphertext": ciphertext, "generator": "openssl",
               "header": {"kid": KID, "alg": "dir", "enc": "CKM_RSA_AES_KEY_WRAP"}}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file)


def make_keys(folder):
    keys = []
    for bits in SIZES:
        pem, pub, der = (f"{folder}/{bits}.{end}" for end in ("pem", "pub", "der"))
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}", "-out", pem)
        openssl("pkey", "-in", pem, "-pubout", "-out", pub)
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", pem, "-outform", "DER", "-out", der)
        with open(der, "rb") as file:
            content = file.read()
        label = f"kw-byok-{bits}"
        modulus = must("put", label, der)
        assert modulus == modulus_of(content)
        keys.append({"bits": bits, "pem": pem, "pub": pub, "der": content, "label": label,
                     "modulus": modulus})
    return keys


def check_out(path, key, kek):
    good, text = tool("out", key["label"], kek["pub"], path)
    if not good:
        assert not CAN and text.startswith("key-unusable: "), text
        return text
    der = open_file(path, kek)
    rest = der[der_length(der):]
    assert der[:der_length(der)] and modulus_of(der) == key["modulus"]
    assert len(rest) < 8 and not any(rest)
    assert not rest or "zero bytes" in text, "zero bytes that the known-answer test did not see"
    return f"{text}; {len(rest)} zero bytes"


def check_in(path, key, kek, padded):
    make_file(path, kek, key["der"], padded)
    good, text = tool("in", path, kek["label"], "kw-byok-new")
    if not good:
        assert not CAN and text.startswith("key-unusable: "), text
        return text
    assert text == key["modulus"]
    must("delete", "kw-byok-new")
    return "its modulus is right"


def check_damaged(path, key, kek):
    make_file(path, kek, key["der"], False)
    with open(path, encoding="utf-8") as file:
        text = json.load(file)["ciphertext"]
    before = must("count")
    step = len(text) // 12
    for at in list(range(0, len(text), step)) + [len(text) - 1]:
        for other in ("A" if text[at] != "A" else "B", "", "+"):
            write_file(path, text[:at] + other + text[at + 1:])
            good, answer = tool("in", path, kek["label"], "kw-byok-new")
            assert not good, f"character {at} was {other!r}"
            assert answer.startswith(("key-unwrap: ", "metadata: ", "key-unusable: ")), answer
    assert must("count") == before, "something is left on the token"


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.byok"
        keys = make_keys(folder)
        for kek in keys:
            for key in keys:
                said = check_out(path, key, kek)
                print(f"out: RSA-{key['bits']} for RSA-{kek['bits']}: {said}")
                said = check_in(path, key, kek, key is keys[0])
                print(f"in: RSA-{key['bits']} for RSA-{kek['bits']}: {said}")
        check_damaged(path, keys[0], keys[0])
        for key in keys:
            must("delete", key["label"])


main()
