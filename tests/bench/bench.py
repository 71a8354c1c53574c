#!/usr/bin/env python3
"""Times keyward beside the programs that people would use instead, in one interleaved run.

    tests/bench/bench.py --keyward build/release/keyward [--rounds 5] [--scale 1.0] [--dir DIR]

Whole-process wall time. Every round runs each command once, in turn, into a fresh output folder,
after as much memory was touched as the commands will need. Prints a Markdown table of medians with
the smallest and the largest time, and the ratio of medians to each peer. A figure is no test: the
exit code says only whether every command worked and gave the right bytes.
"""
import argparse
import base64
import hashlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import zlib

GIB = 1 << 30


def run(command, **more):
    return subprocess.run(command, check=True, **more)


def find_module():
    for path in ("/usr/lib/softhsm/libsofthsm2.so",
                 "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
                 "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"):
        if os.path.exists(path):
            return path
    sys.exit("bench: SoftHSM2 is not installed")


class Token:
    """A SoftHSM2 token with one RSA-2048 key."""

    def __init__(self, folder):
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(
            f"directories.tokendir={folder}/tokens\nobjectstore.backend=file\nlog.level=ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
        os.environ["XDG_STATE_HOME"] = str(folder / "state")  # the audit trail
        pin = folder / "pin"
        pin.write_text("1234")
        pin.chmod(0o600)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        run(["softhsm2-util", "--init-token", "--free", "--label", "bench", "--pin", "1234",
             "--so-pin", "5678"], **quiet)
        self.private = folder / "key.pem"
        self.public = folder / "public.pem"
        run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
             self.private], **quiet)
        run(["openssl", "pkey", "-in", self.private, "-pubout", "-out", self.public], **quiet)
        run(["softhsm2-util", "--import", self.private, "--token", "bench", "--label", "bench",
             "--id", "cafe", "--pin", "1234"], **quiet)
        self.uri = f"pkcs11:token=bench?module-path={find_module()}&pin-source=file:{pin}"


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
                "PublicKeyVersion": "cafe",
                "DecryptionKeyValue": base64.b64encode(wrapped).decode(),
                "DecryptionKeyIV": base64.b64encode(self.iv).decode()}}))

    def add(self, source, name):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        run(self.openssl("-e", source, path))
        return path

    def openssl(self, direction, source, target):
        """An openssl enc command; no target is standard output."""
        command = ["openssl", "enc", direction, "-aes-256-cbc", "-K", self.key.hex(), "-iv",
                   self.iv.hex(), "-in", str(source)]
        return command + (["-out", str(target)] if target else [])


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


def touch_memory(size):
    """Idle memory of a virtual machine goes back to its host; fetch it before the clock starts."""
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])


# A small process that runs the command and prints seconds, exit code and peak memory: started from
# here, a command would inherit the peak of this large one.
TIMER = """
import os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - start
child.returncode = os.waitstatus_to_exitcode(status)
print(seconds, child.returncode, usage.ru_maxrss)
"""


def time_command(command):
    done = run([sys.executable, "-c", TIMER, *command], stdout=subprocess.PIPE, text=True)
    seconds, code, kib = done.stdout.split()
    if int(code) != 0:
        sys.exit(f"bench: exit code {code} of {' '.join(command)}")
    return float(seconds), int(kib)


class Row:
    """One piece of work, done by keyward and by its peers. Commands are lists, pipes or callables
    that take the fresh output folder."""

    def __init__(self, title, commands, check):
        self.title = title
        self.commands = commands
        self.check = check
        self.times = {name: [] for name, _ in commands}
        self.peak_kib = {name: 0 for name, _ in commands}

    def round(self, scratch):
        for name, make in self.commands:
            out = pathlib.Path(tempfile.mkdtemp(dir=scratch))
            command = make(out)
            if isinstance(command, str):
                command = ["/bin/bash", "-c", command]
            seconds, kib = time_command([str(word) for word in command])
            self.times[name].append(seconds)
            # Of a pipe, this is the shell and the largest program in it.
            self.peak_kib[name] = max(self.peak_kib[name], kib)
            if name.startswith("keyward"):
                self.check(out)
            shutil.rmtree(out)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(
            hashlib, "file_digest") else hashlib.sha256(file.read()).hexdigest()


def quote(command):
    return " ".join("'" + str(word) + "'" for word in command)


def single_row(title, options, drop, path, plain, expected, peers, keyward, token):
    """keyward decrypt of a drop with one file, beside `peers`."""
    def ours(out):
        return [keyward, "decrypt", str(drop.folder), "--out", str(out / "o"), "--token",
                token.uri, "--quiet", "--force"] + options

    def check(out):
        if digest(out / "o" / path.name) != expected:
            sys.exit(f"bench: wrong plaintext in {title}")
    del plain
    return Row(title, [("keyward", ours)] + peers, check)


def make_rows(args, scratch, token):
    keyward = os.path.abspath(args.keyward)
    rows = []

    plain = scratch / "plain"
    size = int(GIB * args.scale)
    block = json_lines(8 << 20)
    with open(plain, "wb") as file:
        left = size
        while left > 0:
            file.write(block[:left])
            left -= len(block)
    (scratch / "drop-plain").mkdir()
    drop = Drop(scratch / "drop-plain", token)
    path = drop.add(plain, "part-00000.json")
    expected = digest(plain)
    peers = [("openssl enc -d", lambda out: drop.openssl("-d", path, out / "o")),
             ("cp", lambda out: ["cp", str(path), str(out / "o")])]
    mib = size >> 20
    rows.append(single_row(f"1 file of {mib} MiB, not compressed, --digest none",
                           ["--digest", "none"], drop, path, plain, expected, peers, keyward,
                           token))
    rows.append(single_row(f"1 file of {mib} MiB, not compressed, SHA-256", [], drop, path, plain,
                           expected, peers, keyward, token))

    text = scratch / "text"
    with open(text, "wb") as file:
        left = int(1.08e9 * args.scale)
        part = json_lines(32 << 20)
        while left > 0:
            file.write(part[:left])
            left -= len(part)
    packed = scratch / "text.gz"
    squeeze = zlib.compressobj(6, zlib.DEFLATED, 31)
    with open(text, "rb") as source, open(packed, "wb") as target:
        for piece in iter(lambda: source.read(1 << 20), b""):
            target.write(squeeze.compress(piece))
        target.write(squeeze.flush())
    (scratch / "drop-gz").mkdir()
    gz_drop = Drop(scratch / "drop-gz", token)
    gz_path = gz_drop.add(packed, "part-00000.json")
    enc = quote(gz_drop.openssl("-d", gz_path, None))
    gz_peers = [
        ("openssl enc -d | gunzip", lambda out: f"{enc} | gunzip > {out}/o"),
        ("openssl enc -d | pigz -d", lambda out: f"{enc} | pigz -d > {out}/o"),
        ("openssl enc -d | igzip -d", lambda out: f"{enc} | igzip -d > {out}/o"),
        ("igzip -dc of the bare .gz", lambda out: f"igzip -dc {packed} > /dev/null"),
    ]
    title = f"1 .gz of {packed.stat().st_size >> 20} MiB ({text.stat().st_size >> 20} MiB out)"
    rows.append(single_row(f"{title}, SHA-256", [], gz_drop, gz_path, text, digest(text), gz_peers,
                           keyward, token))
    rows.append(Row(f"{title}, cat to a pipe", [
        ("keyward cat | cat", lambda out: quote([keyward, "cat", gz_drop.folder, gz_path.name,
                                                 "--token", token.uri]) + " | cat > /dev/null"),
        ("igzip -dc | cat", lambda out: f"igzip -dc {packed} | cat > /dev/null"),
    ], lambda out: None))

    count = max(10, int(10000 * args.scale))
    small = scratch / "small"
    small.mkdir()
    (small / "f").write_bytes(json_lines(65536 - 16))
    (scratch / "drop-small").mkdir()
    small_drop = Drop(scratch / "drop-small", token)
    first = small_drop.add(small / "f", "part-00000.json")
    for i in range(1, count):
        shutil.copyfile(first, small_drop.folder / f"part-{i:05}.json")
    small_digest = digest(small / "f")

    def check_small(out):
        if len(list((out / "o").iterdir())) != count:
            sys.exit("bench: files are missing")
        if digest(out / "o" / "part-00000.json") != small_digest:
            sys.exit("bench: wrong plaintext")
    for options, word in ((["--digest", "none"], "--digest none"), ([], "SHA-256")):
        rows.append(Row(f"{count} files of 64 KiB, {word}", [
            ("keyward", lambda out, options=options: [
                keyward, "decrypt", str(small_drop.folder), "--out", str(out / "o"), "--token",
                token.uri, "--quiet"] + options),
            ("cp -r", lambda out: ["cp", "-r", str(small_drop.folder), str(out / "o")]),
        ], check_small))
    return rows


def show(rows):
    print("| work | command | median s | min-max | peak MiB | keyward's median / this |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        ours = statistics.median(next(iter(row.times.values())))
        for i, (name, times) in enumerate(row.times.items()):
            median = statistics.median(times)
            ratio = "" if i == 0 else f"{ours / median:.2f}"
            print(f"| {row.title if i == 0 else ''} | `{name}` | {median:.3f} | "
                  f"{min(times):.3f}-{max(times):.3f} | {row.peak_kib[name] / 1024:.0f} | {ratio} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keyward", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--dir", default="/dev/shm", help="a folder on the filesystem to measure")
    args = parser.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="keyward-bench-", dir=args.dir))
    try:
        (scratch / "token").mkdir()
        rows = make_rows(args, scratch, Token(scratch / "token"))
        for row in rows:
            for _ in range(args.rounds):
                touch_memory(int(3 * GIB * min(args.scale, 1.0)) + (64 << 20))
                row.round(scratch)
        model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                      if line.startswith("model name")), "unknown processor")
        print(f"{model}, {os.cpu_count()} processors, kernel {os.uname().release}, "
              f"{args.rounds} rounds on {args.dir}\n")
        show(rows)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
