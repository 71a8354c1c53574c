"""Rows about files: large ones, compressed ones, many small ones, the sender's side, durability."""
import shutil
import subprocess

from drops import VERSION, digest, digest_of_stream, digest_of_text, write_gzip, write_text
from lab import AUDIT_OFF, right_files, on, quote
from measure import GIB, MIB, Command, Row, fail, run

TEXT = int(1.08e9)         # bytes of JSON lines, which make a .gz of about 350 MB
EIGHTH = 123 * MIB         # bytes of them that make a .gz of about 40 MB
SMALL, SMALL_SIZE = 10_000, 65536 - 16  # with its padding each has 64 KiB


def streams_right(lab, drop, name, expected):
    """A check that looks at the bytes in a run of its own: nothing of the timed one is kept."""
    def check(_):
        with subprocess.Popen([lab.keyward, "cat", drop.folder, name, "--token", lab.token.uri],
                              stdout=subprocess.PIPE) as cat:
            if digest_of_stream(cat.stdout) != expected:
                fail("the plaintext on the pipe is wrong")
    return check


def opens_again(lab, name, expected):
    """A check that the drop that was sealed can be decrypted."""
    def check(out):
        run([lab.keyward, "decrypt", out / "o", "--out", out / "again", "--token", lab.token.uri,
             "--quiet"])
        if digest(out / "again" / name) != expected:
            fail("the drop that was sealed has another plaintext")
    return check


def plain_rows(lab):
    size = lab.scaled(GIB)
    source = write_text(lab.scratch / "plain", size)
    drop = lab.drop("plain-drop")
    path = drop.add(source)
    source.unlink()
    check = right_files(1, digest_of_text(size))
    title = f"1 file of {size // MIB} MiB, not compressed"

    def openssl(out):
        return drop.openssl("-d", path, out / "o")

    def copy(out):
        return ["cp", path, out / "o"]

    def dd(out):
        return ["dd", f"if={path}", f"of={out}/o", "bs=1M", "conv=fdatasync", "status=none"]
    # On a disk, keyward has everything on it when it ends; openssl and cp have not.
    durable = [] if lab.tmpfs else [Command("dd conv=fdatasync", dd, 0.80)]
    yield Row("plain.none", f"{title}, --digest none", [
        Command("keyward", lab.decrypt(drop, "--digest", "none")),
        Command("openssl enc -d", openssl, on(lab.tmpfs, 0.40)),
        Command("cp", copy, on(lab.tmpfs, 0.90)), *durable], check, size)
    yield Row("plain.sha256", f"{title}, SHA-256", [
        Command("keyward", lab.decrypt(drop)),
        Command("openssl enc -d", openssl, on(lab.tmpfs, 0.60))], check, size)


def gzip_rows(lab):
    size = lab.scaled(TEXT)
    packed = write_gzip(lab.scratch / "text.gz", size)
    drop = lab.drop("gzip-drop")
    path = drop.add(packed)
    check = right_files(1, digest_of_text(size))
    title = f"1 .gz of {packed.stat().st_size // MIB} MiB, {size // MIB} MiB out"
    enc = quote(drop.openssl("-d", path, None))
    off = lab.config("gzip-audit-off", AUDIT_OFF)
    yield Row("gzip.one", f"{title}, SHA-256", [
        Command("keyward", lab.decrypt(drop)),
        Command("openssl enc -d, piped to gunzip", lambda out: f"{enc} | gunzip > {out}/o",
                on(lab.tmpfs, 0.32)),
        Command("... to pigz -d", lambda out: f"{enc} | pigz -d > {out}/o"),
        Command("... to igzip -d", lambda out: f"{enc} | igzip -d > {out}/o", on(lab.tmpfs, 0.80)),
        Command("igzip -dc of the bare .gz to /dev/null", lambda out: ["igzip", "-dc", packed],
                on(lab.tmpfs, 1.15))], check, size)
    yield Row("gzip.audit", f"{title}, audit trail and SHA-256", [
        Command("keyward", lab.decrypt(drop)),
        Command("keyward, both off", lab.decrypt(drop, "--digest", "none", config=off), 1.05)],
        check, size)
    yield Row("gzip.cat", f"{title}, to a pipe", [
        Command("keyward cat", lambda out: quote([
            lab.keyward, "cat", drop.folder, path.name, "--token", lab.token.uri]) +
            " | cat > /dev/null"),
        Command("igzip -dc", lambda out: f"igzip -dc {packed} | cat > /dev/null", 1.1)],
        streams_right(lab, drop, path.name, digest_of_text(size)), size)


def eight_rows(lab):
    size = lab.scaled(EIGHTH)
    packed = write_gzip(lab.scratch / "eighth.gz", size)
    drop = lab.drop("eight-drop")
    drop.add_copies(packed, 8)
    bare = [lab.scratch / f"eighth-{i}.gz" for i in range(8)]
    for path in bare:
        shutil.copyfile(packed, path)
    in_turn = "; ".join(f"igzip -dc {path} > /dev/null" for path in bare)
    yield Row("eight.gzip", f"8 .gz of {packed.stat().st_size // MIB} MiB, SHA-256", [
        Command("keyward", lab.decrypt(drop)),
        Command("igzip -dc of each bare .gz to /dev/null", lambda out: in_turn, 0.60),
        Command("keyward --jobs 1", lab.decrypt(drop, "--jobs", 1))],
        right_files(8, digest_of_text(size)), 8 * size)


def small_rows(lab):
    count = lab.scaled(SMALL, 10)
    source = write_text(lab.scratch / "small", SMALL_SIZE)
    drop = lab.drop("small-drop")
    drop.add_copies(source, count)
    check = right_files(count, digest_of_text(SMALL_SIZE))
    size = count * SMALL_SIZE

    def copy(out):
        return ["cp", "-r", drop.folder, out / "o"]

    def fsync_each(out):
        return [lab.peers / "bench_fsync_each", drop.folder, out / "o", 8]
    # On a disk, keyward has everything on it when it ends; cp alone has not.
    durable = [] if lab.tmpfs else [
        Command("cp -r, then sync -f", lambda out: f"cp -r {drop.folder} {out}/o && sync -f {out}"),
        Command("8 threads that fsync each", fsync_each, 0.5)]
    yield Row("small.none", f"{count} files of 64 KiB, --digest none", [
        Command("keyward", lab.decrypt(drop, "--digest", "none")), Command("cp -r", copy, 1.0),
        *durable, Command("keyward --jobs 1", lab.decrypt(drop, "--digest", "none", "--jobs", 1))],
        check, size)
    yield Row("small.sha256", f"{count} files of 64 KiB, SHA-256", [
        Command("keyward", lab.decrypt(drop)), Command("cp -r", copy, 1.4)], check, size)


def seal_rows(lab):
    size = lab.scaled(TEXT)
    source = write_text(lab.scratch / "to-seal", size)
    drop = lab.drop("seal-key")
    enc = quote(drop.openssl("-e", None, None))
    # src/flow/deflate.c uses ISA-L's level 1, as -1 does.
    yield Row("seal.gzip", f"seal, 1 file of {size // MIB} MiB, gzip", [
        Command("keyward seal", lambda out: [
            lab.keyward, "seal", source, "--out", out / "o", "--public-key", lab.token.public,
            "--key-version", VERSION, "--quiet"]),
        Command("igzip -1, piped to openssl enc",
                lambda out: f"igzip -1 -c {source} | {enc} > {out}/o", 1.1)],
        opens_again(lab, source.name, digest_of_text(size)), size // 2)


GROUPS = {"plain": plain_rows, "gzip": gzip_rows, "eight": eight_rows, "small": small_rows,
          "seal": seal_rows}
