#!/usr/bin/env python3
"""The same tests on every token: keys made, shown, changed, rotated and checked, drops sealed to
them and decrypted, keys sent and taken in transfer files.

Usage: suite.py [--thorough] PROGRAM, under one of the wrapper scripts of this folder. --thorough has
each of the others make a transfer file for each pair of sizes, not just one of them in turn, and
eight rotations at once besides two. What a token can do is
asked of "token doctor" and found out by trying, never told by its name; what does not apply is
skipped, with the reason. What is on the token is read by objects.py, and transfer files are opened
and made by others.py, neither of which uses the program. Prints TAP."""

import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import uuid

sys.dont_write_bytecode = True  # the checkout stays as it is
import objects  # noqa: E402
import others  # noqa: E402

SECONDS = 120
SIZES = (2048, 3072, 4096)
VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"
START, END = "2026-01-31", "2031-12-31"
METADATA, KEY, TOKEN = 4, 5, 6  # exit codes

# Of the private and the public half of a new key; None is what a token does not tell.
PRIVATE = {"token": True, "private": True, "sensitive": True, "decrypt": True, "unwrap": True,
           "sign": False}  # fmt: skip
PUBLIC = {"token": True, "encrypt": True, "wrap": True, "sensitive": False}


class Skip(Exception):
    """It does not apply to this token."""


def need(condition, reason):
    if not condition:
        raise Skip(reason)


class Bench:
    """The token, the program, and what the tests share: keys that take long to make."""

    def __init__(self, program, scratch, thorough):
        self.program = program
        self.thorough = thorough
        self.scratch = pathlib.Path(scratch)
        self.token = ["--token", os.environ["KW_TEST_TOKEN"]]
        if config := os.environ.get("KW_TEST_CONFIG"):
            self.token += ["--config", config]
        self.made = {}
        self.source = self.scratch / "source"
        self.source.mkdir()
        (self.source / "a.json").write_text('{"n":1}\n' * 500)
        self.report = {"verdicts": {}, "probes": []}

    # ---- the program ----

    def start(self, *arguments, token=True):
        return subprocess.Popen(
            [self.program, *arguments, *(self.token if token else [])],
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def wait(self, process):
        output, errors = process.communicate(timeout=SECONDS)
        process.output, process.errors = output, errors
        return process

    def run(self, *arguments, token=True):
        return self.wait(self.start(*arguments, token=token))

    def expect(self, code, *arguments, token=True):
        """Ends with the code and, unless that is 0, one sentence that is an error."""
        done = self.run(*arguments, token=token)
        codes = code if isinstance(code, tuple) else (code,)
        assert done.returncode in codes, (
            f"{arguments} ended with {done.returncode}, not {code}: {done.errors}"
        )
        if done.returncode != 0:
            assert sentence(done), f"{arguments} says nothing of why: {done.errors}"
        return done

    def versions(self, name):
        """What the program says of a key's versions."""
        return json.loads(self.expect(0, "key", "show", name, "--json").output)["keys"]

    # ---- the token ----

    def verdict(self, name):
        return self.report["verdicts"].get(name, "unknown")

    def decides_on_usage(self):
        """Whether the token itself decides what a key may do, as the doctor knows of its kind."""
        told = [x["details"] or "" for x in self.report["probes"] if x["name"] == "quirks"]
        return any("its keys do what it lets them" in x for x in told)

    def key(self, bits):
        """The name of a key of that size, exportable where the token makes such; made once."""
        if bits not in self.made:
            self.made[bits] = self.make(bits)
        name, reason, _ = self.made[bits]
        need(name, reason)
        return name

    def make(self, bits):
        name = f"suite-{bits}"
        for options in (["--exportable"], []):
            command = ["key", "create", name, "--bits", str(bits), "--no-expiry", *options]
            done = self.run(*command)
            if done.returncode == 0:
                return name, "", bool(options)
        # One of 2048 bits has to be possible where the token unwraps at all.
        assert bits > min(SIZES) or self.verdict("unwrap") != "yes", done.errors
        assert sentence(done), done.errors
        return "", f"the token makes no RSA-{bits} key: {sentence(done)}", False

    def exportable(self, bits):
        name = self.key(bits)
        need(self.made[bits][2], f"the token makes no exportable RSA-{bits} key")
        return name

    def modulus(self, bits):
        """Of that key, as another reader sees it."""
        if ("modulus", bits) not in self.made:
            (private,), _ = assert_whole(self.key(bits), 1)
            self.made["modulus", bits] = private["modulus"]
        return self.made["modulus", bits]

    def dated(self):
        """A key that Data Connect takes."""
        if "dated" not in self.made:
            self.key(min(SIZES))
            self.made["dated"] = str(uuid.uuid4())
            self.expect(
                0, "key", "create", self.made["dated"], "--expires", END, "--not-before", START
            )
        return self.made["dated"]

    # ---- keys of the host ----

    def host_key(self, bits):
        """A key whose private half is in a file: its paths, size and modulus."""
        known = json.loads((VECTORS / "keys.json").read_text())
        pem = str(VECTORS / next(key["file"] for key in known if key["bits"] == bits))
        pub = self.scratch / f"host-{bits}.pub"
        openssl = others.OTHERS[0]
        if not pub.exists():
            pub.write_bytes(openssl.run("pkey", "-in", pem, "-pubout"))
        modulus = openssl.modulus(openssl.pkcs8(pem))
        return {"bits": bits, "pem": pem, "pub": str(pub), "modulus": modulus}

    def kek(self, bits):
        """A key of the token whose public half is in a file."""
        name = self.key(bits)
        pub = self.scratch / f"{name}.pub"
        if not pub.exists():
            pub.write_text(self.versions(name)[0]["pem"])
        return {"bits": bits, "name": name, "pub": str(pub)}


def seed():
    """Of what is drawn: as KW_TEST_SEED gives it, or a new one, which is printed."""
    number = int(os.environ.get("KW_TEST_SEED") or random.SystemRandom().randrange(1 << 31))
    print(f"# KW_TEST_SEED={number}")
    return number


def sentence(done):
    """The last error of the program; a module may have written more."""
    lines = [x for x in done.errors.splitlines() if x.startswith("keyward: ")]
    lines = [x.removeprefix("keyward: ") for x in lines if "warning: " not in x]
    return lines[-1] if lines else ""


# ---- what an independent reader sees ----


def names(things):
    """All that is there, private and public, as can be compared."""
    return sorted(str([thing[x] for x in ("class", "label", "id", "modulus")]) for thing in things)


@contextlib.contextmanager
def nothing_changes():
    before = names(objects.read())
    yield
    after = names(objects.read())
    assert after == before, f"before {before}\nafter {after}"


def halves(label):
    """Private and public halves with a name, by id."""
    things = [x for x in objects.read() if x["label"] == label]
    private = {x["id"]: x for x in things if x["class"] == "private"}
    public = {x["id"]: x for x in things if x["class"] == "public"}
    assert len(private) + len(public) == len(things), f"twice the same id: {things}"
    return private, public


def assert_whole(label, count):
    """So many versions, each of two halves with one modulus; gives the private ones."""
    private, public = halves(label)
    assert len(private) == count, f"{len(private)} versions of {label}, not {count}"
    assert private.keys() == public.keys(), f"halves without another: {private} {public}"
    for key, half in private.items():
        assert half["modulus"] and half["modulus"] == public[key]["modulus"], half
    return list(private.values()), list(public.values())


def assert_told(half, wanted):
    for name, value in wanted.items():
        assert half[name] in (value, None), f"{half['class']} {name} is {half[name]}"


def assert_dates(label, start, end):
    """As each half that tells them has them; one has to tell both."""
    things = [x for part in halves(label) for x in part.values()]
    for half in things:
        assert half["start"] in (start, None) and half["end"] in (end, None), half
    assert any((x["start"], x["end"]) == (start, end) for x in things), "no half tells its dates"


def assert_as_made(bench, name, bits, extractable):
    (private,), (public,) = assert_whole(name, 1)
    wanted = {**PRIVATE, "extractable": extractable}
    if bench.decides_on_usage():
        del wanted["unwrap"], wanted["sign"]
    assert_told(private, wanted)
    assert_told(public, {x: y for x, y in PUBLIC.items() if x != "wrap" or "unwrap" in wanted})
    assert len(private["id"]) == 32 and len(private["modulus"]) == bits // 4, private
    return private


# ---- the tests: each is a generator of (title, function), or one function ----

TESTS = []


def test(function):
    TESTS.append(function)
    return function


@test
def doctor(bench):
    """token doctor leaves nothing, and says what follows"""
    with nothing_changes():
        done = bench.expect((0, KEY), "token", "doctor", "--json")
    report = json.loads(done.output)
    assert (done.returncode == 0) == (report["verdicts"]["unwrap"] == "yes"), report["verdicts"]
    bench.report = report


def each_size(function):
    @test
    def sizes(bench):
        for bits in SIZES:
            yield function.__doc__.format(bits), lambda bits=bits: function(bench, bits)

    return sizes


@each_size
def a_new_key(bench, bits):
    """RSA-{} is made as it should be, as another reader sees it"""
    name = bench.key(bits)
    private = assert_as_made(bench, name, bits, bench.made[bits][2])
    assert_dates(name, "", "")
    (shown,) = bench.versions(name)
    assert (shown["id"], shown["bits"]) == (private["id"], bits), shown
    assert shown["modulus"] == private["modulus"]
    pub = bench.kek(bits)["pub"]
    text = others.OTHERS[0].run("rsa", "-pubin", "-in", pub, "-noout", "-modulus").decode()
    assert text.strip().partition("=")[2].lower() == private["modulus"]


@each_size
def seal_and_decrypt(bench, bits):
    """RSA-{} made there decrypts what is sealed to it"""
    round_trip(bench, bench.key(bits))


def round_trip(bench, key, seal_key=None):
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        drop, out = f"{folder}/drop", f"{folder}/out"
        bench.expect(0, "seal", str(bench.source), "--out", drop, "--key", seal_key or key)
        bench.expect(0, "decrypt", drop, "--out", out, "--key", key)
        assert pathlib.Path(out, "a.json").read_bytes() == (bench.source / "a.json").read_bytes()


@test
def dates(bench):
    """a key has the dates that it was made with, and fits Data Connect and not Customer Key"""
    name = bench.dated()
    assert_as_made(bench, name, 2048, False)
    assert_dates(name, START, END)
    (shown,) = bench.versions(name)
    assert (shown["not_before"], shown["expires"]) == (START, END), shown
    bench.expect(0, "key", "check", name, "--for", "data-connect")
    bench.expect(KEY, "key", "check", name, "--for", "customer-key")


@test
def listing(bench):
    """key list has the private keys that another reader sees"""
    name = bench.dated()
    listed = json.loads(bench.expect(0, "key", "list", "--json").output)["keys"]
    assert any(key["label"] == name for key in listed)
    seen = [x for x in objects.read() if x["class"] == "private"]
    assert sorted(x["id"] for x in listed) == sorted(x["id"] for x in seen)


@test
def rotation(bench):
    """a key is rotated, and both versions decrypt"""
    name = bench.dated()
    old = bench.versions(name)[0]["id"]
    drop, out = bench.scratch / "drop-old", bench.scratch / "out-old"
    bench.expect(0, "seal", str(bench.source), "--out", str(drop), "--key", name)
    bench.expect(0, "key", "rotate", name, "--expires", END)
    assert_whole(name, 2)
    (new,) = {x["id"] for x in bench.versions(name)} - {old}
    bench.expect(0, "decrypt", str(drop), "--out", str(out))
    round_trip(bench, new)
    with nothing_changes():
        bench.expect(KEY, "seal", str(bench.source), "--out", str(drop) + "2", "--key", name)


@test
def changes(bench):
    """dates and name are changed on both halves, and an expired key fails its check"""
    bench.key(min(SIZES))
    name, other = str(uuid.uuid4()), str(uuid.uuid4())
    bench.expect(0, "key", "create", name, "--expires", END)
    done = bench.run("key", "set", name, "--expires", "2027-01-01", "--not-before", START)
    need(done.returncode != KEY, f"the token changes no key: {sentence(done)}")
    assert done.returncode == 0, done.errors
    assert_dates(name, START, "2027-01-01")
    bench.expect(0, "key", "set", name, "--expires", "2026-02-01", "--label", other)
    assert_whole(name, 0)
    assert_whole(other, 1)
    assert_dates(other, START, "2026-02-01")
    bench.expect(KEY, "key", "check", other, "--for", "data-connect")
    bench.expect(0, "key", "set", other, "--no-expiry")
    assert_dates(other, START, "")


@test
def names_that_are_wrong(bench):
    """a name that is not there is an error, and so is one that is taken"""
    taken, pub = bench.key(min(SIZES)), bench.host_key(2048)["pub"]
    nonesuch = [
        ("key", "show"), ("key", "rotate", "--no-expiry"), ("key", "set", "--no-expiry"),
        ("key", "check", "--for", "defender"),
        ("byok", "export", "--kek", pub, "--kid", others.KID, "--out", f"{bench.scratch}/none"),
    ]  # fmt: skip
    with nothing_changes():
        for first, second, *rest in nonesuch:
            bench.expect(KEY, first, second, "nonesuch", *rest)
        bench.expect(8, "key", "create", taken, "--no-expiry")
    assert not (bench.scratch / "none").exists()


# ---- states ----


def sealed(bench, name):
    """A drop sealed to the key."""
    drop = bench.scratch / f"drop-{name}"
    bench.expect(0, "seal", str(bench.source), "--out", str(drop), "--key", name)
    return str(drop)


def states(bench, name):
    return [x["state"] for x in bench.versions(name)]


def names_of_keys():
    return names(x for x in objects.read() if x["class"] in ("private", "public"))


@test
def disabled(bench):
    """a disabled key decrypts nothing until it is enabled again"""
    bench.key(min(SIZES))
    name, out = str(uuid.uuid4()), str(bench.scratch / "out-disabled")
    bench.expect(0, "key", "create", name, "--no-expiry")
    drop = sealed(bench, name)
    bench.expect(0, "key", "disable", name)
    assert states(bench, name) == ["disabled"]
    bench.expect(KEY, "decrypt", drop, "--out", out)
    bench.expect(KEY, "seal", str(bench.source), "--out", drop + "2", "--key", name)
    bench.expect(0, "key", "enable", name)
    bench.expect(0, "decrypt", drop, "--out", out)


@test
def deleted(bench):
    """a deleted key comes back with all versions, or is purged, and nothing of it is left"""
    bench.key(min(SIZES))
    name, out = str(uuid.uuid4()), str(bench.scratch / "out-deleted")
    before = names_of_keys()
    bench.expect(0, "key", "create", name, "--no-expiry")
    drop = sealed(bench, name)
    bench.expect(0, "key", "rotate", name, "--no-expiry")
    bench.expect(0, "key", "delete", name)
    assert states(bench, name) == ["deleted"] * 2
    bench.expect(KEY, "decrypt", drop, "--out", out)
    bench.expect(0, "key", "recover", name)
    bench.expect(0, "decrypt", drop, "--out", out)
    bench.expect(KEY, "key", "purge", name, "--confirm", name)
    bench.expect(0, "key", "delete", name)
    bench.expect(0, "key", "purge", name, "--confirm", name)
    assert names_of_keys() == before


# ---- files ----


@test
def imported(bench):
    """a key from a file comes in and decrypts, or is refused in a sentence and leaves nothing"""
    key = bench.host_key(2048)
    command = ("key", "import", key["pem"], "--name", "imported", "--no-expiry")
    before = names_of_keys()
    done = bench.run(*command)
    if done.returncode == KEY:
        assert sentence(done) and names_of_keys() == before, done.errors
        raise Skip(f"the token takes no key: {sentence(done)}")
    assert done.returncode == 0, done.errors
    private = assert_as_made(bench, "imported", 2048, False)
    assert private["modulus"] == key["modulus"]
    round_trip(bench, private["id"], "imported")
    with nothing_changes():
        bench.expect(8, *command)


@test
def backed_up(bench):
    """a key is backed up under another key of the token, purged, restored, and decrypts"""
    name, kek = str(uuid.uuid4()), bench.key(min(SIZES))
    path, out = str(bench.scratch / "key.backup"), str(bench.scratch / "out-backup")
    made = bench.run("key", "create", name, "--no-expiry", "--exportable")
    need(made.returncode == 0, f"the token makes no exportable key: {sentence(made)}")
    drop, (before,) = sealed(bench, name), bench.versions(name)
    command = ("key", "backup", name, "--to", path, "--kek", f"pkcs11:object={kek}")
    if "no" in (bench.verdict("byok-out"), bench.verdict("byok-in")):
        bench.expect(KEY, *command)
        assert not os.path.exists(path)
        raise Skip("the token wraps or unwraps no private key")
    bench.expect(0, *command)
    bench.expect(0, "key", "delete", name)
    bench.expect(0, "key", "purge", name, "--confirm", name)
    bench.expect(KEY, "decrypt", drop, "--out", out)
    bench.expect(0, "key", "restore", path)
    (after,) = bench.versions(name)
    assert (after["id"], after["modulus"]) == (before["id"], before["modulus"])
    assert after["origin"] == "backup" and not after["extractable"]
    bench.expect(0, "decrypt", drop, "--out", out)


# ---- transfer files ----


def pairs(function):
    """Each size of a key for each size of a key exchange key."""

    @test
    def each_pair(bench):
        for kek in SIZES:
            for bits in SIZES:
                yield (
                    function.__doc__.format(bits=bits, kek=kek),
                    lambda bits=bits, kek=kek: function(bench, bits, kek),
                )

    return each_pair


def export(bench, code, name, kek, path):
    return bench.expect(
        code, "byok", "export", name, "--kek", kek, "--kid", others.KID, "--out", path
    )


def take(bench, code, path, kek, name):
    return bench.expect(
        code, "byok", "import", path, "--kek", kek, "--name", name, "--no-expiry"
    )


@pairs
def out(bench, bits, kek_bits):
    """RSA-{bits} goes out for a KEK of {kek}, and others find it in the file"""
    need(bench.verdict("byok-out") == "yes", f"the doctor says {bench.verdict('byok-out')}")
    name, kek = bench.exportable(bits), bench.host_key(kek_bits)
    path = f"{bench.scratch}/out-{bits}-{kek_bits}.byok"
    done = export(bench, 0, name, kek["pub"], path)
    for other in others.OTHERS:
        found = others.open_file(other, path, kek, "zero bytes" in done.output)
        assert found == bench.modulus(bits), f"{other.name} finds another key"


@pairs
def taken_in(bench, bits, kek_bits):
    """RSA-{bits} made by others comes in by a KEK of {kek}"""
    need(bench.verdict("byok-in") == "yes", f"the doctor says {bench.verdict('byok-in')}")
    kek, key = bench.kek(kek_bits), bench.host_key(bits)
    turn = (SIZES.index(bits) + SIZES.index(kek_bits)) % len(others.OTHERS)
    for other in others.OTHERS if bench.thorough else [others.OTHERS[turn]]:
        name = f"from-{other.name}-{bits}-{kek_bits}"
        path = f"{bench.scratch}/{name}.byok"
        others.make_file(other, path, kek, key, padded=bits == kek_bits)
        take(bench, 0, path, kek["name"], name)
        private = assert_as_made(bench, name, bits, False)
        assert private["modulus"] == key["modulus"], "another key came in"


@each_size
def out_and_in(bench, bits):
    """RSA-{} goes out for a KEK of the token, comes in again, and decrypts"""
    for verdict in ("byok-out", "byok-in"):
        need(bench.verdict(verdict) == "yes", f"the doctor says {bench.verdict(verdict)}")
    name, kek, path = bench.exportable(bits), bench.key(2048), f"{bench.scratch}/again-{bits}.byok"
    export(bench, 0, name, f"pkcs11:object={kek}", path)
    take(bench, 0, path, kek, f"again-{bits}")
    (after,), _ = assert_whole(f"again-{bits}", 1)
    assert after["modulus"] == bench.modulus(bits)
    round_trip(bench, after["id"], name)


@test
def out_refused(bench):
    """what can't go out is refused in a sentence, without a file"""
    path = bench.scratch / "refused.byok"
    keys = [bench.versions(bench.dated())[0]["id"]]
    if bench.verdict("byok-out") == "no" and bench.made[min(SIZES)][2]:
        keys.append(bench.key(min(SIZES)))
    with nothing_changes():
        for key in keys:
            export(bench, KEY, key, bench.host_key(2048)["pub"], str(path))
    assert not path.exists()


@test
def in_refused(bench):
    """what can't come in is refused in a sentence, and leaves nothing"""
    kek, path = bench.kek(min(SIZES)), f"{bench.scratch}/no.byok"
    for_another = bench.verdict("byok-in") == "yes"
    target = bench.host_key(2048) if for_another else kek
    others.make_file(others.OTHERS[0], path, target, bench.host_key(2048))
    with nothing_changes():
        take(bench, KEY, path, kek["name"], "refused")


@test
def damaged(bench):
    """files with a damaged field or byte are errors and leave nothing"""
    need(bench.verdict("byok-in") == "yes", f"the doctor says {bench.verdict('byok-in')}")
    kek, path = bench.kek(2048), f"{bench.scratch}/damaged.byok"
    others.make_file(others.OTHERS[0], path, kek, bench.host_key(2048))
    content, data = json.loads(pathlib.Path(path).read_text()), others.read_file(path)
    with nothing_changes():
        for bad in damaged_fields(content):
            pathlib.Path(path).write_text(bad)
            take(bench, METADATA, path, kek["name"], "damaged")
        # Both parts, from their first byte to their last.
        for at in (0, 128, 255, 256, 263, 264, 900, len(data) - 1):
            others.write_file(path, data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
            take(bench, (METADATA, KEY), path, kek["name"], "damaged")


def damaged_fields(content):
    """Each field absent; and one empty, one of another type, one there twice."""
    for path in (("schema_version",), ("header",), ("ciphertext",), ("header", "kid"),
                 ("header", "alg"), ("header", "enc")):  # fmt: skip
        bad = json.loads(json.dumps(content))
        del (bad if len(path) == 1 else bad[path[0]])[path[-1]]
        yield json.dumps(bad)
    yield json.dumps({**content, "ciphertext": ""})
    yield json.dumps({**content, "header": []})
    yield json.dumps(content)[:-1] + f', "ciphertext": "{content["ciphertext"]}"}}'


# ---- at once ----


@test
def at_once(bench):
    for count in (2, 8) if bench.thorough else (2,):
        yield (
            f"{count} rotations at once make {count} versions, each of which decrypts",
            lambda count=count: rotate_at_once(bench, count),
        )


def rotate_at_once(bench, count):
    bench.key(min(SIZES))
    name = f"at-once-{count}"
    command = ("key", "rotate", name, "--no-expiry")
    bench.expect(0, "key", "create", name, "--no-expiry")
    running = [bench.start(*command) for _ in range(count)]
    for process in running:
        bench.wait(process)
        # SoftHSM2 refuses a login at random while another process logs in (no answer to the PIN, but
        # it can't be told from one, so it is not sent again), and tpm2-pkcs11 finds its database
        # locked. Whoever was told so has made nothing, and does it again.
        for _ in range(6):
            if process.returncode == TOKEN or "no user PIN" in process.errors:
                process = bench.run(*command)
        assert process.returncode == 0, process.errors
    versions, _ = assert_whole(name, count + 1)
    for half in versions:
        round_trip(bench, half["id"])


# ---- TAP ----


class Tap:
    def __init__(self):
        self.number = self.failed = 0

    def run(self, title, function):
        self.number += 1
        fault, reason = "", ""
        try:
            function()
        except Skip as why:
            reason = f" # skip {why}"
        except Exception as error:  # noqa: BLE001 # whatever it is, the other tests are run too
            fault = f"{type(error).__name__}: {error}"
        self.failed += bool(fault)
        print(f"{'not ok' if fault else 'ok'} {self.number} {title}{reason}")
        for line in fault.splitlines():
            print(f"# {line}")
        sys.stdout.flush()

    def end(self):
        print(f"1..{self.number}")
        sys.exit(1 if self.failed else 0)


def main():
    thorough = "--thorough" in sys.argv[1:]
    programs = [x for x in sys.argv[1:] if x != "--thorough"]
    if len(programs) != 1 or "KW_TEST_TOKEN" not in os.environ:
        sys.exit(__doc__)
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix="keyward-suite-") as scratch:
        bench = Bench(os.path.abspath(programs[0]), scratch, thorough)
        for function in TESTS:
            if function.__doc__:
                tap.run(function.__doc__, lambda function=function: function(bench))
                continue
            for title, case in function(bench):
                tap.run(title, case)
    tap.end()


if __name__ == "__main__":
    main()
