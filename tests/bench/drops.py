"""What the rows work on: tokens, drops made with the openssl command line, invented text."""
import base64
import functools
import hashlib
import json
import os
import shutil
import subprocess
import zlib

from measure import MIB, fail, run, run_quietly

VERSION = "cafe0000"  # of the first key that peers/make_keys.c makes
BATCH = 250
PIECE = 32 * MIB


def find_module():
    for path in ("/usr/lib/softhsm/libsofthsm2.so",
                 "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                 "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"):
        if os.path.exists(path):
            return path
    fail("SoftHSM2 is not installed")


class Token:
    """A token with RSA-2048 keys, which are one key under many ids."""

    def __init__(self, folder, peers, module, label, pin_file, uri, environment):
        self.peers = peers
        self.uri = uri
        self.environment = environment
        self.bare = [str(word) for word in (module, label, pin_file)]
        self.folder = folder
        self.private = folder / "key.pem"
        self.public = folder / "public.pem"
        run_quietly(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048",
                     "-out", self.private])
        run_quietly(["openssl", "pkey", "-in", self.private, "-pubout", "-out", self.public])

    def make_keys(self, first, end):
        run([self.peers / "bench_make_keys", *self.bare, self.private, first, end],
            env=os.environ | self.environment)

    def wrap_keys(self, count):
        path = self.folder / f"wrapped-{count}"
        run([self.peers / "bench_wrap_keys", self.public, count, path])
        return path


def given_token(folder, peers):
    """The one that a tests/tokens/with-* script describes."""
    token = Token(folder, peers, os.environ["KW_TEST_MODULE"], "keyward",
                  os.environ["KW_TEST_PIN_FILE"], os.environ["KW_TEST_TOKEN"], {})
    token.make_keys(0, 1)
    return token


def softhsm_token(folder, peers, keys):
    folder.mkdir()
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n"
                      "log.level = ERROR\n")
    pin = folder / "pin"
    pin.write_text("1234")
    pin.chmod(0o600)
    environment = {"SOFTHSM2_CONF": str(config)}
    subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", "bench", "--pin", "1234",
                    "--so-pin", "5678"], check=True, stdout=subprocess.DEVNULL,
                   env=os.environ | environment)
    module = find_module()
    token = Token(folder, peers, module, "bench", pin,
                  f"pkcs11:token=bench?module-path={module}&pin-source=file:{pin}", environment)
    # SoftHSM2 gets slower with each object that is there: earlier ones are put aside meanwhile.
    objects = next((folder / "tokens").iterdir())
    aside = folder / "aside"
    aside.mkdir()
    for first in range(0, keys, BATCH):
        token.make_keys(first, min(first + BATCH, keys))
        for path in list(objects.iterdir()):
            if path.suffix in (".object", ".lock") and path.stem != "token":
                path.rename(aside / path.name)
    for path in aside.iterdir():
        path.rename(objects / path.name)
    return token


class Drop:
    """A drop made with the openssl command line."""

    def __init__(self, folder, token):
        self.folder = folder
        self.key = os.urandom(32)
        self.iv = os.urandom(16)
        metadata = folder / "metadata/MoreMetadata/EncryptedDatasets"
        metadata.mkdir(parents=True)
        wrapped = run(["openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", token.public,
                       "-pkeyopt", "rsa_padding_mode:oaep"], input=self.key,
                      stdout=subprocess.PIPE).stdout
        (metadata / "encryptionKeyDetails.json").write_text(json.dumps({
            "DecryptionKeyDetails": {
                "PublicKeyVersion": VERSION,
                "DecryptionKeyValue": base64.b64encode(wrapped).decode(),
                "DecryptionKeyIV": base64.b64encode(self.iv).decode()}}))

    def add(self, source, name="part-00000.json"):
        path = self.folder / name
        run(self.openssl("-e", source, path))
        return path

    def add_copies(self, source, count):
        """`count` files of the same ciphertext."""
        first = self.add(source)
        for i in range(1, count):
            shutil.copyfile(first, self.folder / f"part-{i:05}.json")

    def add_pieces(self, pieces, name="part-00000.json"):
        """A file that need not be anywhere in clear."""
        path = self.folder / name
        command = self.openssl("-e", None, path)
        with subprocess.Popen(command, stdin=subprocess.PIPE) as cipher:
            for piece in pieces:
                cipher.stdin.write(piece)
        if cipher.returncode != 0:
            fail("openssl enc failed")
        return path

    def openssl(self, direction, source, target):
        """An openssl enc command; None is a standard stream."""
        command = ["openssl", "enc", direction, "-aes-256-cbc", "-K", self.key.hex(), "-iv",
                   self.iv.hex()]
        command += ["-in", str(source)] if source else []
        return command + (["-out", str(target)] if target else [])


@functools.lru_cache(maxsize=4)
def json_lines(size):
    """Invented records that gzip makes a third of, as it does of exports."""
    pool = hashlib.shake_256(b"keyward bench").digest(size // 4 + 128)
    out = bytearray()
    i = 0
    while len(out) < size:
        noise = pool[i * 80:i * 80 + 80]
        out += json.dumps({
            "id": noise[:16].hex(), "createdDateTime": f"2026-10-{i % 28 + 1:02}T06:00:00Z",
            "subject": "Weekly report " + str(i), "isRead": i % 3 == 0, "importance": "normal",
            "from": {"name": "Person " + str(i % 977), "address": f"p{i % 977}@example.org"},
            "body": {"contentType": "text", "content": base64.b64encode(noise[16:]).decode()},
        }).encode() + b"\n"
        i += 1
    return bytes(out[:size])


def pieces(size):
    """So many bytes of JSON lines, the same again after PIECE: farther than gzip looks."""
    block = json_lines(min(size, PIECE))
    for start in range(0, size, PIECE):
        yield block[:size - start]


def write_text(path, size):
    with open(path, "wb") as file:
        for piece in pieces(size):
            file.write(piece)
    return path


def write_gzip(path, size):
    """Made by zlib, as exports are: ISA-L inflates what another encoder made at another speed."""
    squeeze = zlib.compressobj(6, zlib.DEFLATED, 31)
    with open(path, "wb") as file:
        for piece in pieces(size):
            file.write(squeeze.compress(piece))
        file.write(squeeze.flush())
    return path


def digest_of(chunks):
    sha256 = hashlib.sha256()
    for chunk in chunks:
        sha256.update(chunk)
    return sha256.hexdigest()


def digest_of_stream(file):
    return digest_of(iter(lambda: file.read(MIB), b""))


def digest(path):
    with open(path, "rb") as file:
        return digest_of_stream(file)


def digest_of_text(size):
    return digest_of(pieces(size))
