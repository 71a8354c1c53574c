#!/usr/bin/env python3
"""Makes the test vectors anew: keys, drops, keys.json and expected.json in this folder.

Uses Python's standard library and the openssl program, and nothing of Keyward, so that it is a
second opinion on the format. Every call makes new keys. README.md says what the vectors are.
"""

import base64
import gzip
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import struct
import subprocess
import tempfile
import uuid
import zlib

HERE = pathlib.Path(__file__).resolve().parent
DETAILS = "metadata/MoreMetadata/EncryptedDatasets/encryptionKeyDetails.json"
JOB = "metadata/JobMetadata/Metadata.json"
BOM = b"\xef\xbb\xbf"

OAEP = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1"]
OAEP_256 = ["rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256"]
RSA1_5 = ["rsa_padding_mode:pkcs1"]
ALG_NAMES = {id(OAEP): "RSA-OAEP", id(OAEP_256): "RSA-OAEP-256", id(RSA1_5): "RSA1_5"}

EXPECTED = {}


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True,
                          check=True).stdout


# ---- keys ----

class Key:
    def __init__(self, label, bits):
        self.label = label
        self.id = secrets.token_hex(16)
        self.bits = bits
        self.file = f"keys/{label[:8]}-{self.id[:8]}.pem"
        pem = openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}")
        (HERE / self.file).write_bytes(pem)

    def wrap(self, data, padding):
        options = [word for option in padding for word in ("-pkeyopt", option)]
        with tempfile.NamedTemporaryFile() as clear:
            clear.write(data)
            clear.flush()
            return openssl("pkeyutl", "-encrypt", "-inkey", str(HERE / self.file), *options,
                           "-in", clear.name)


# ---- ciphertext and plaintext ----

def encrypt(data, key, iv):
    return openssl("enc", "-aes-256-cbc", "-K", key.hex(), "-iv", iv.hex(), data=data)


def padding_is_right(ciphertext, key, iv):
    clear = openssl("enc", "-d", "-aes-256-cbc", "-nopad", "-K", key.hex(), "-iv", iv.hex(),
                    data=ciphertext)
    count = clear[-1]
    return 1 <= count <= 16 and clear[-count:] == bytes([count]) * count


def lines(count, subject="reading"):
    """Invented rows of a thermometer: no person is in them."""
    rows = [{"subject": subject, "row": row, "value": (row * 37) % 101, "unit": "degree",
             "note": "caf\u00e9 \u2603" if row % 5 == 0 else "ok"} for row in range(count)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def zip_one(data):
    return gzip.compress(data, mtime=0)


def zip_members(data):
    third = len(data) // 3
    parts = [data[:third], b"", data[third:2 * third], data[2 * third:]]
    return b"".join(zip_one(part) for part in parts)


def zip_with_header_fields(data):
    """RFC 1952 with FTEXT, FHCRC, FEXTRA, FNAME and FCOMMENT."""
    header = b"\x1f\x8b\x08\x1f" + struct.pack("<IBB", 1, 0, 3)
    header += struct.pack("<H", 6) + b"KW\x02\x00\xab\xcd"
    header += b"reading.json\0" + b"made by hand\0"
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    return header + body + struct.pack("<II", zlib.crc32(data), len(data))


# ---- metadata ----

class Envelope:
    """What a drop's metadata is to say, and the key and IV that its files are encrypted with."""

    def __init__(self, key, padding=OAEP, form=bytes):
        self.key = key
        self.padding = padding
        self.data_key = secrets.token_bytes(32)
        self.iv = secrets.token_bytes(16)
        self.version = key.id
        self.wrapped = key.wrap(form(self.data_key), padding)

    @property
    def value(self):
        return base64.b64encode(self.wrapped).decode()

    @property
    def iv_text(self):
        return base64.b64encode(self.iv).decode()


def to_json(document):
    return (json.dumps(document, indent=2) + "\n").encode()


def nested(envelope):
    return to_json({"DecryptionKeyDetails": {"PublicKeyVersion": envelope.version,
                                             "DecryptionKeyValue": envelope.value,
                                             "DecryptionKeyIV": envelope.iv_text}})


def flat(envelope):
    return to_json({"PublicKeyVersion": envelope.version, "DecryptionKeyValue": envelope.value,
                    "DecryptionKeyIV": envelope.iv_text})


def array(envelope):
    return to_json({"PublicKeyVersion": envelope.version,
                    "DecryptionKeyDetails": [{"DecryptionKeyType": "File",
                                              "Value": envelope.value,
                                              "IV": envelope.iv_text}]})


def service(envelope):
    """As the key service answers, in lower case, with a Column key before the File key."""
    column = {"type": "Column", "value": base64.b64encode(secrets.token_bytes(256)).decode(),
              "iv": base64.b64encode(secrets.token_bytes(16)).decode()}
    file = {"type": "File", "value": envelope.value, "iv": envelope.iv_text}
    return to_json({"publickeyversion": envelope.version, "decryptionKeys": [column, file]})


def base64url(envelope):
    def text(data):
        return base64.urlsafe_b64encode(data).decode().rstrip("=")
    return to_json({"DecryptionKeyDetails": {"PublicKeyVersion": envelope.version,
                                             "DecryptionKeyValue": text(envelope.wrapped),
                                             "DecryptionKeyIV": text(envelope.iv)}})


def with_url(envelope):
    name = envelope.key.label
    return nested_with(envelope, PublicKeyVersion=
                       f"https://example.vault.azure.net/keys/{name}/{envelope.version}")


def nested_with(envelope, **changes):
    """Nested, with fields replaced, or left out where they are None."""
    document = json.loads(nested(envelope))
    fields = document["DecryptionKeyDetails"]
    fields.update(changes)
    document["DecryptionKeyDetails"] = {k: v for k, v in fields.items() if v is not None}
    return to_json(document)


def job(name, **more):
    document = {"CopyActivityId": str(uuid.uuid4()), "JobSubmissionTime": "2026-03-01T00:00:00Z",
                "JobCompletionTime": "2026-03-01T00:10:00Z", "NumberOfRowsExtracted": 12,
                "TenantId": str(uuid.uuid4()), "TableName": name, "Errors": ""}
    document.update(more)
    return to_json(document)


# ---- drops ----

def write(drop, path, data):
    target = HERE / drop / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def expect(drop, layer, clear, exit_code, error=None, damaged=(), plain=(), envelope=None):
    entry = {"exit": exit_code, "layer": layer}
    if error:
        entry["error"] = error
    if envelope:
        entry["key"] = envelope.key.id
        entry["alg"] = ALG_NAMES[id(envelope.padding)]
    entry["files"] = {path: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                      for path, data in sorted(clear.items())}
    entry["plain"] = sorted(plain)
    if damaged:
        entry["damaged"] = sorted(damaged)
    EXPECTED[drop] = entry


def good(drop, envelope, details=nested, clear=None, pack=zip_one, job_text=None, plain=()):
    """A drop that decrypts. `plain` are (path, bytes) that lie beside it as they are."""
    clear = clear or {f"part-00000-{uuid.uuid4()}-c000.json": lines(12)}
    for path, data in clear.items():
        write(drop, path, encrypt(pack(data), envelope.data_key, envelope.iv))
    for path, data in plain:
        write(drop, path, data)
    if details:
        write(drop, DETAILS, details(envelope))
    write(drop, JOB, job_text or job(drop))
    expect(drop, None, clear, 0, envelope=envelope, plain=[path for path, _ in plain
                                                          if is_data(path)])


def is_data(path):
    name = path.rsplit("/", 1)[-1]
    marker = name == "_SUCCESS" or name.startswith(("_started_", "_committed_")) or (
        name.startswith(".") and name.endswith(".crc"))
    return not marker


def bad_metadata(drop, envelope, details, error, exit_code=4, layer="metadata"):
    """A good ciphertext with a fault in what is said of it."""
    clear = {"part-00000.json": lines(12)}
    for path, data in clear.items():
        write(drop, path, encrypt(zip_one(data), envelope.data_key, envelope.iv))
    write(drop, DETAILS, details)
    write(drop, JOB, job(drop))
    expect(drop, layer, clear, exit_code, error)


def bad_file(drop, key, error, pack=zip_one, spoil=lambda data, envelope: data, layer="flow",
             rows=12):
    """A good envelope over a file that `pack` or `spoil` damages."""
    envelope = Envelope(key)
    clear = lines(rows)
    ciphertext = encrypt(pack(clear), envelope.data_key, envelope.iv)
    write(drop, "part-00000.json", spoil(ciphertext, envelope))
    write(drop, DETAILS, nested(envelope))
    write(drop, JOB, job(drop))
    expect(drop, layer, {"part-00000.json": clear}, 7, error, ["part-00000.json"])


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0x80]) + data[at + 1:]


def break_padding(ciphertext, envelope):
    for at in range(1, 17):
        spoilt = flip(ciphertext, len(ciphertext) - at)
        if not padding_is_right(spoilt, envelope.data_key, envelope.iv):
            return spoilt
    raise RuntimeError("every spoilt block has a right padding by chance; run again")


# ---- the vectors ----

def make_good(keys):
    good("good-nested", Envelope(keys.main))
    good("good-older-version", Envelope(keys.older))
    good("good-flat", Envelope(keys.main), flat)
    good("good-array", Envelope(keys.main), array)
    good("good-key-service-column-and-file", Envelope(keys.main), service)
    good("good-bom", Envelope(keys.main), lambda envelope: BOM + nested(envelope))
    good("good-base64url", Envelope(keys.main), base64url)
    good("good-key-vault-url", Envelope(keys.main), with_url)

    viva = Envelope(keys.main)
    good("good-viva-insights", viva, None,
         job_text=job("good-viva-insights", **json.loads(array(viva))))
    both = Envelope(keys.main)
    good("good-both-layouts", both, nested, job_text=job("both", **json.loads(array(both))))

    good("good-key-as-base64-text", Envelope(keys.main, form=base64.b64encode))
    good("good-key-as-base64url-text", Envelope(
        keys.main, form=lambda key: base64.urlsafe_b64encode(key).rstrip(b"=")))
    good("good-key-as-utf16-text", Envelope(
        keys.main, form=lambda key: base64.b64encode(key).decode().encode("utf-16-le")))
    good("good-key-as-hex-text", Envelope(keys.main, form=lambda key: key.hex().encode()))

    good("good-oaep-256", Envelope(keys.main, OAEP_256))
    good("good-rsa1_5", Envelope(keys.main, RSA1_5))
    good("good-rsa-3072", Envelope(keys.rsa_3072))
    good("good-rsa-4096", Envelope(keys.rsa_4096))

    good("good-not-compressed", Envelope(keys.main), pack=bytes)
    good("good-gzip-members", Envelope(keys.main), pack=zip_members)
    good("good-gzip-header-fields", Envelope(keys.main), pack=zip_with_header_fields)
    good("good-utf16", Envelope(keys.main), clear={
        "part-00000.json": b"\xff\xfe" + lines(12).decode().encode("utf-16-le")})
    good("good-empty-files", Envelope(keys.main), clear={"a-gzip-of-nothing.json": b""})
    empty = Envelope(keys.main)
    good("good-empty-not-compressed", empty, pack=bytes,
         clear={"only-padding.json": b"", "one-byte.json": b"\n", "whole-block.json": b"0" * 16})

    good("good-folders-markers-and-plain", Envelope(keys.main), clear={
        "Readings_v0/part-00000.json": lines(12, "inside"),
        "Readings_v0/deep/er/part-00001.json": lines(3, "deeper"),
        "top.json": lines(2, "top"),
        "with space and \u00e9.json": lines(1, "name"),
    }, plain=[
        ("_SUCCESS", b""),
        ("_started_4821", b""),
        ("_committed_4821", b'{"added":[]}\n'),
        ("Readings_v0/_SUCCESS", b""),
        ("Readings_v0/.part-00000.json.crc", b"crc\0\0\0\0\0"),
        ("Users_v0/part-00000.json", lines(4, "not eligible for encryption")),
        ("Users_v0/_committed_4821", b'{"added":[]}\n'),
    ])


def make_bad_metadata(keys):
    def fresh():
        return Envelope(keys.main)

    bad_metadata("bad-json", fresh(), b'{"DecryptionKeyDetails": {', "metadata is not JSON")
    deep = Envelope(keys.main)
    document = json.loads(nested(deep))
    document["Extra"] = inner = []
    for _ in range(40):
        inner.append([])
        inner = inner[0]
    bad_metadata("bad-too-deep", deep, to_json(document), "metadata is nested too deep")

    for name, field in (("version", "PublicKeyVersion"), ("value", "DecryptionKeyValue"),
                        ("iv", "DecryptionKeyIV")):
        envelope = fresh()
        bad_metadata(f"bad-{name}-missing", envelope, nested_with(envelope, **{field: None}),
                     f"{field} is missing")

    twice = fresh()
    text = nested(twice).decode().replace(
        '"DecryptionKeyIV"', '"decryptionkeyiv": "' + twice.iv_text + '",\n    "DecryptionKeyIV"')
    bad_metadata("bad-field-twice", twice, text.encode(), "DecryptionKeyIV occurs twice")
    alias = fresh()
    bad_metadata("bad-alias-twice", alias, nested_with(alias, Value=alias.value),
                 "DecryptionKeyValue occurs twice, as DecryptionKeyValue and Value")
    number = fresh()
    bad_metadata("bad-field-type", number, nested_with(number, PublicKeyVersion=7),
                 "PublicKeyVersion is not a string")

    spoilt = fresh()
    bad_metadata("bad-base64", spoilt, nested_with(
        spoilt, DecryptionKeyValue="!!" + spoilt.value[2:]), "value is not base64")
    short = fresh()
    bad_metadata("bad-iv-length", short, nested_with(
        short, DecryptionKeyIV=base64.b64encode(short.iv[:15]).decode()), "IV is not 16 bytes")
    small = fresh()
    bad_metadata("bad-wrapped-size", small, nested_with(
        small, DecryptionKeyValue=base64.b64encode(small.wrapped[:128]).decode()),
        "the wrapped key is of no RSA key's size")
    other = fresh()
    longer = secrets.token_bytes(384)
    bad_metadata("bad-wrapped-size-for-key", other, nested_with(
        other, DecryptionKeyValue=base64.b64encode(longer).decode()),
        "the wrapped key is not of this key's size", layer="keys")

    one, two = fresh(), fresh()
    bad_metadata("bad-two-file-keys", one, to_json({
        "PublicKeyVersion": one.version,
        "DecryptionKeys": [{"Type": "File", "Value": e.value, "IV": e.iv_text}
                           for e in (one, two)]}),
        "several File keys")

    contradiction = fresh()
    bad_metadata("bad-layouts-contradict", contradiction, nested(contradiction),
                 "the two metadata files contradict each other")
    write("bad-layouts-contradict", JOB, job("bad", **json.loads(array(fresh()))))

    write("job-errors", JOB, job("job-errors", Errors="[{\"code\":\"Example\"}]"))
    write("job-errors", DETAILS, nested(fresh()))
    expect("job-errors", "metadata", {}, 4, "the export job reported errors")

    none = fresh()
    write("no-metadata", "part-00000.json", encrypt(lines(12), none.data_key, none.iv))
    expect("no-metadata", "run", {}, 4, "no metadata says how the drop was encrypted")


def make_bad_keys(keys):
    unknown = Envelope(keys.main)
    unknown.version = secrets.token_hex(16)
    bad_metadata("bad-unknown-version", unknown, nested(unknown),
                 "no key of that version on the token", 5, "keys")
    wrong = Envelope(keys.main)
    wrong.version = keys.older.id
    bad_metadata("bad-wrong-key", wrong, nested(wrong), "the key does not unwrap", 5, "keys")
    short = Envelope(keys.main, form=lambda key: key[:31])
    bad_metadata("bad-not-a-key", short, nested(short),
                 "what is unwrapped is no AES-256 key", 5, "keys")


def make_bad_files(keys):
    key = keys.main
    bad_file("bad-empty-ciphertext", key, "ciphertext is empty", spoil=lambda data, _: b"")
    bad_file("bad-truncated", key, "ciphertext length is no multiple of 16",
             spoil=lambda data, _: data[:-7])
    bad_file("bad-last-block", key, "padding is wrong", spoil=break_padding)
    bad_file("bad-last-block-missing", key, "padding is wrong",
             spoil=lambda data, envelope: cut_to_bad_padding(data, envelope))
    bad_file("bad-middle-block", key, "gzip data is damaged", rows=100,
             spoil=lambda data, _: flip(data, len(data) // 2))
    bad_file("bad-gzip-crc", key, "gzip CRC-32 is wrong",
             pack=lambda data: flip(zip_one(data), len(zip_one(data)) - 8))
    bad_file("bad-gzip-length", key, "gzip length is wrong",
             pack=lambda data: flip(zip_one(data), len(zip_one(data)) - 4))
    bad_file("bad-gzip-cut", key, "gzip data is cut short", pack=lambda data: zip_one(data)[:-10])
    bad_file("bad-gzip-second-member-cut", key, "gzip data is cut short",
             pack=lambda data: zip_one(data) + zip_one(data)[:-3])
    bad_file("bad-gzip-trailing", key, "bytes follow the gzip data",
             pack=lambda data: zip_one(data) + b"trailing")
    bad_file("bad-gzip-trailing-zeros", key, "bytes follow the gzip data",
             pack=lambda data: zip_one(data) + bytes(8))

    drop = "one-bad-of-three"
    envelope = Envelope(key)
    clear = {name: lines(12, name) for name in ("a.json", "b.json", "c.json")}
    for path, data in clear.items():
        ciphertext = encrypt(zip_one(data), envelope.data_key, envelope.iv)
        write(drop, path, break_padding(ciphertext, envelope) if path == "b.json" else ciphertext)
    write(drop, DETAILS, nested(envelope))
    write(drop, JOB, job(drop))
    expect(drop, "flow", clear, 7, "b.json is damaged; a.json and c.json are good", ["b.json"])


def cut_to_bad_padding(ciphertext, envelope):
    for blocks in range(1, len(ciphertext) // 16):
        cut = ciphertext[:-16 * blocks]
        if not padding_is_right(cut, envelope.data_key, envelope.iv):
            return cut
    raise RuntimeError("every cut has a right padding by chance; run again")


class Keys:
    def __init__(self):
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        self.main = Key(first, 2048)
        self.older = Key(first, 2048)
        self.rsa_3072 = Key(second, 3072)
        self.rsa_4096 = Key(second, 4096)
        self.all = [self.main, self.older, self.rsa_3072, self.rsa_4096]


def clean():
    for entry in HERE.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    (HERE / "keys").mkdir()


def main():
    os.umask(0o022)
    clean()
    keys = Keys()
    make_good(keys)
    make_bad_metadata(keys)
    make_bad_keys(keys)
    make_bad_files(keys)
    listed = [{"label": key.label, "id": key.id, "bits": key.bits, "file": key.file}
              for key in keys.all]
    (HERE / "keys.json").write_bytes(to_json(listed))
    (HERE / "expected.json").write_bytes(to_json(EXPECTED))


if __name__ == "__main__":
    main()
