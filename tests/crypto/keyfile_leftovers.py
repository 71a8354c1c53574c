#!/usr/bin/env python3
"""After a private key was read from a file, no piece of its private numbers is in memory.

Usage: keyfile_leftovers.py KEYFILE-MEMORY
"""
import pathlib
import re
import subprocess
import sys
import tempfile

PASSPHRASE = b"open sesame, all of it"
PRIVATE = ("privateExponent", "prime1", "prime2", "exponent1", "exponent2", "coefficient")
FILES = {
    "pkcs8.pem": "pkcs8 -topk8 -nocrypt -in key",
    "pkcs8.der": "pkcs8 -topk8 -nocrypt -in key -outform DER",
    "pkcs1.pem": "rsa -traditional -in key",
    "pkcs1-aes.pem": "rsa -traditional -in key -aes256 -passout file:pass",
    "pkcs8-aes.pem": "pkcs8 -topk8 -in key -passout file:pass",
    "pkcs8-aes.der": "pkcs8 -topk8 -in key -passout file:pass -outform DER",
    "pkcs8-scrypt.pem": "pkcs8 -topk8 -in key -passout file:pass -scrypt",
    "key.p12": "pkcs12 -export -inkey key -nocerts -passout file:pass",
    "certificate.p12": "pkcs12 -export -inkey key -in cert -passout file:pass",
}


def openssl(folder, *words):
    return subprocess.run(["openssl", *words], cwd=folder, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def masked(secret):
    return bytes(byte ^ 0x5A for byte in secret).hex()


def private_numbers(folder):
    text = openssl(folder, "rsa", "-in", "key", "-noout", "-text").decode()
    for name in PRIVATE:
        digits = re.search(rf"{name}:\n((?: +[0-9a-f:]+\n)+)", text).group(1)
        yield bytes.fromhex(re.sub(r"[^0-9a-f]", "", digits)).lstrip(b"\0")


def main():
    faults = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "pass").write_bytes(PASSPHRASE + b"\n")
        openssl(folder, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                "-out", "key")
        openssl(folder, "req", "-new", "-x509", "-key", "key", "-subj", "/CN=k", "-out", "cert")
        numbers = [masked(number) for number in private_numbers(folder)]
        pieces = sum(len(number) // 2 // 8 - 1 for number in numbers)
        for file, command in FILES.items():
            openssl(folder, *command.split(), "-out", file)
            done = subprocess.run([sys.argv[1], folder / file, masked(PASSPHRASE), *numbers],
                                  stdout=subprocess.PIPE, text=True)
            found = dict(line.split() for line in done.stdout.splitlines())
            print(file, found)
            if done.returncode != 0:
                faults.append(f"{file}: the key was not read")
            # In its own form and in its numbers' own.
            elif int(found["during"]) < 2 * pieces:
                faults.append(f"{file}: the search does not find the key where it must be")
            elif int(found["after"]) > 0:
                faults.append(f"{file}: parts of the key are still in memory")
    for fault in faults:
        print("FAULT:", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
