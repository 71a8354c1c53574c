#!/usr/bin/env python3
"""Trails, checkpoints and proofs against what the standards say, written down once more here.

Hashes are Python's, signatures are checked by openssl's command line. Usage:
independent.py TOOL KEYWARD, where TOOL is the program of tool.c."""
import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile

TOOL, KEYWARD = sys.argv[1:3]


def sha256(data):
    return hashlib.sha256(data).digest()


def root_of(leaves):
    """RFC 6962 section 2.1, over leaf hashes."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + root_of(leaves[:k]) + root_of(leaves[k:]))


def read_records(folder):
    lines = []
    for name in sorted(os.listdir(folder)):
        if not name.startswith("trail-"):
            continue
        assert int(name[6:18]) == len(lines), f"{name} is not named for its first record"
        with open(f"{folder}/{name}", "rb") as file:
            content = file.read()
        assert content.endswith(b"\n")
        lines += content[:-1].split(b"\n")
    for number, line in enumerate(lines):
        record = json.loads(line)
        assert record["seq"] == number and len(line) <= 16384
    return lines


def spki_of(pem):
    text = "".join(line for line in pem.splitlines() if not line.startswith("-"))
    return base64.b64decode(text)


def check_note(note, folder, kind, scratch):
    """c2sp.org/tlog-checkpoint in c2sp.org/signed-note. Returns size and root."""
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    origin, size, root = text.split("\n")[:3]
    assert text == f"{origin}\n{size}\n{root}\n"
    assert signatures.count("\n") == 1
    dash, name, blob = signatures.rstrip("\n").split(" ")
    assert dash == "\u2014" and name == origin
    with open(f"{folder}/key.pem", encoding="utf-8") as file:
        spki = spki_of(file.read())
    blob = base64.b64decode(blob, validate=True)
    if kind == "ec":
        key_id, options = sha256(spki)[:4], []
    else:
        key_id = sha256(name.encode() + b"\n\xffkeyward/PS256" + spki)[:4]
        options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]
    assert blob[:4] == key_id
    with open(f"{scratch}/signature", "wb") as file:
        file.write(blob[4:])
    subprocess.run(["openssl", "dgst", "-sha256", "-verify", f"{folder}/key.pem", *options,
                    "-signature", f"{scratch}/signature"],
                   input=text.encode(), check=True, capture_output=True)
    return int(size), base64.b64decode(root, validate=True)


def keyward(*args, code=0):
    done = subprocess.run([KEYWARD, *args], capture_output=True, check=False)
    assert done.returncode == code, (args, done)
    return done.stdout.decode()


def climb(leaf, index, size, path):
    """RFC 9162 section 2.1.3.2."""
    node, last, result = index, size - 1, leaf
    for other in path:
        assert last > 0
        if node & 1 or node == last:
            result = sha256(b"\x01" + other + result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = sha256(b"\x01" + result + other)
        node >>= 1
        last >>= 1
    assert last == 0
    return result


def check_proof(text, seq, lines, folder, kind, scratch):
    """c2sp.org/tlog-proof."""
    head, _, note = text.partition("\n\n")
    first, extra, index, *path = head.split("\n")
    assert first == "c2sp.org/tlog-proof@v1" and index == f"index {seq}"
    assert extra.startswith("extra ")
    assert base64.b64decode(extra[6:], validate=True) == lines[seq]
    size, root = check_note(note, folder, kind, scratch)
    path = [base64.b64decode(line, validate=True) for line in path]
    assert climb(sha256(b"\x00" + lines[seq]), seq, size, path) == root


def subproof(m, leaves, whole):
    """RFC 6962 section 2.1.2."""
    n = len(leaves)
    if m == n:
        return [] if whole else [root_of(leaves)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return subproof(m, leaves[:k], whole) + [root_of(leaves[k:])]
    return subproof(m - k, leaves[k:], False) + [root_of(leaves[:k])]


def check_consistency(folder, first, second, leaves):
    proof = json.loads(keyward("audit", "consistency", str(first), str(second), folder))
    hashes = [base64.b64decode(text, validate=True) for text in proof["hashes"]]
    assert hashes == subproof(first, leaves[:second], True)
    assert base64.b64decode(proof["first_root"]) == root_of(leaves[:first])
    assert base64.b64decode(proof["second_root"]) == root_of(leaves[:second])


def check_trail(folder, kind, rotate, scratch):
    subprocess.run([TOOL, folder, kind, "7", "5", str(rotate)], check=True)
    lines = read_records(folder)
    leaves = [sha256(b"\x00" + line) for line in lines]
    assert len(lines) == 36
    origin = f"keyward/12ab/{json.loads(lines[0])['trail']}"
    sizes = sorted(name for name in os.listdir(f"{folder}/checkpoints") if len(name) == 12)
    assert len(sizes) == 7
    for name in sizes:
        with open(f"{folder}/checkpoints/{name}", encoding="utf-8") as file:
            note = file.read()
        size, root = check_note(note, folder, kind, scratch)
        assert note.startswith(origin + "\n") and size == int(name)
        assert root == root_of(leaves[:size])
    for seq in (0, 1, 17, 31, 32, 35):
        check_proof(keyward("audit", "prove", str(seq), folder), seq, lines, folder, kind, scratch)
    for first, second in ((1, 36), (8, 36), (21, 22), (32, 33), (36, 36), (7, 13)):
        check_consistency(folder, first, second, leaves)
    keyward("audit", "verify", "--key", f"{folder}/key.pem", folder)
    exported = keyward("audit", "export", "--format", "jsonl", folder)
    assert exported.encode() == b"".join(line + b"\n" for line in lines)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ("ec", "rsa"):
            for rotate in (0, 1, 2000):
                check_trail(f"{scratch}/{kind}-{rotate}", kind, rotate, scratch)
                print(f"{kind}, files of {rotate or 'any number of'} bytes: as the standards say")


main()
