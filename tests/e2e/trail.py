#!/usr/bin/env python3
"""Makes an audit trail as the manual describes it, without keyward.

trail.py FOLDER KEY RECORDS [CHECKPOINT]...: records 0 to RECORDS - 1 in files of 8, and signed
checkpoints of these sizes. KEY is a private key on P-256 in PEM, which openssl's command line signs
with; it is made where it is missing, and its public half is KEY.pub."""
import base64
import hashlib
import json
import os
import subprocess
import sys

TRAIL = "00112233aabbccdd"
EACH = 8
PEOPLE = [("root", 0), ("alice", 1000), ("bob", 1001)]


def sha256(data):
    return hashlib.sha256(data).digest()


def openssl(*args, data=None):
    return subprocess.run(["openssl", *args], input=data, check=True, capture_output=True).stdout


def root_of(leaves):
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + root_of(leaves[:k]) + root_of(leaves[k:]))


def record(seq):
    login, uid = PEOPLE[seq % 3]
    who = {"uid": uid, "login": login, "host": "host1", "pid": 100 + seq, "process": "keyward",
           "parent": "bash"}
    time = f"2026-11-{1 + seq // 2:02}T12:00:00.{seq:03}Z"
    if seq == 0:
        return {"seq": 0, "time": time, "op": "trail.begin", "trail": TRAIL, "who": who}
    asked = {"request": {"client": f"client{seq % 2}", "request": f"{seq:032x}"}} if seq > 8 else {}
    return {"seq": seq, "time": time, "run": f"{seq // 4:032x}",
            "phase": "outcome" if seq % 2 else "intent", "op": "unwrap", "who": who, **asked,
            "key": {"token": "hsm", "serial": "77", "label": f"key{seq % 2}", "id": "00ff"},
            "drop": "drops/today", "file": f"part-{seq}.json", "bytes": seq,
            "status": "damaged" if seq % 8 == 7 else "ok", "detail": "a = b | c"}


def sign(key, text):
    spki = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    signature = openssl("dgst", "-sha256", "-sign", key, data=text.encode())
    blob = base64.b64encode(sha256(spki)[:4] + signature).decode()
    return f"{text}\n\u2014 {text.splitlines()[0]} {blob}\n"


def make_key(key):
    if not os.path.exists(key):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    with open(f"{key}.pub", "wb") as file:
        file.write(openssl("pkey", "-in", key, "-pubout"))


def main():
    folder, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    make_key(key)
    os.makedirs(f"{folder}/checkpoints")
    lines = [json.dumps(record(seq), separators=(",", ":")).encode() for seq in range(count)]
    for first in range(0, count, EACH):
        with open(f"{folder}/trail-{first:012}.jsonl", "wb") as file:
            file.write(b"".join(line + b"\n" for line in lines[first:first + EACH]))
    leaves = [sha256(b"\x00" + line) for line in lines]
    for size in map(int, sys.argv[4:]):
        root = base64.b64encode(root_of(leaves[:size])).decode()
        with open(f"{folder}/checkpoints/{size:012}", "w", encoding="utf-8") as file:
            file.write(sign(key, f"keyward/77/{TRAIL}\n{size}\n{root}\n"))
    with open(f"{key}.pub", "rb") as source, open(f"{folder}/key.pem", "wb") as file:
        file.write(source.read())


main()
