#!/usr/bin/env python3
"""What clients are told when something fails, and what the log is.

Usage: refusals.py PROGRAM, under tests/tokens/with-softhsm. Prints TAP.
"""

import os
import re
import secrets
import sys
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402
from service import CONTEXT, Wrong, base64url, must  # noqa: E402

# What is of no concern to a client: the token, its addresses, and the command line's advice.
INSIDE = re.compile(r"\[|pkcs11|keyward|\btoken\b|--|/tmp|absent|kek", re.I)
A_SECOND = 10
MANY = 60


def message(answer):
    return (answer.json.get("error") or answer.json)["message"]


def told(answer, status, code, words=None):
    must(answer, status)
    if answer.code != code or (words and words not in message(answer)):
        raise Wrong(f"{answer!r} instead of {code}: {words}")
    if INSIDE.search(message(answer)):
        raise Wrong(f"a client is told: {message(answer)}")
    return answer


def log_of(server, answer):
    """The log's line on a request, which comes before its answer."""
    lines = [x for x in server.said().splitlines() if f"request {answer.request_id}: " in x]
    if len(lines) != 1:
        raise Wrong(f"the log has {len(lines)} lines on {answer!r}")
    return lines[0]


def logged(server, answer, words):
    if words not in log_of(server, answer):
        raise Wrong(f"the log says: {log_of(server, answer)}")


def missing_kek(server):
    """The key that seals backups is not there: that is not the key that was asked for"""
    answer = server.vault().post("/keys/k1/backup")
    told(answer, 503, "ServiceUnavailable", "try again later")
    logged(server, answer, "absent-kek")
    return f"{answer.status}"


def missing_key(server):
    """A key that is not there is named, and needs no line in the log"""
    vault, before = server.vault(), server.said().count("request ")
    for ask, path in ((vault.get, "/keys/k9"), (vault.post, "/keys/k9/backup"),
                      (vault.get, "/keys/k1/" + "0" * 32), (vault.get, "/deletedkeys/k9"),
                      (vault.delete, "/keys/k9"), (vault.get, "/keys/k9/rotationpolicy"),
                      (vault.post, "/keys/k9/rotate"), (vault.post, "/deletedkeys/k9/recover"),
                      (vault.delete, "/deletedkeys/k1")):  # fmt: skip
        told(ask(path), 404, "KeyNotFound", "k1" if "k1" in path else "k9")
    body = {"alg": "RSA-OAEP", "value": base64url(bytes(256))}
    told(vault.post("/keys/k9/unwrapkey", body), 404, "KeyNotFound", "k9")
    told(vault.patch("/keys/k9", {"tags": {}}), 404, "KeyNotFound", "k9")
    told(vault.put("/keys/k9/rotationpolicy", {}), 404, "KeyNotFound", "k9")
    proxy = server.proxy()
    for body in ({}, {"alg": "RSA-OAEP", "value": "AA"}, {"alg": "A256KW", "value": "AA"}):
        path = f"/{service.PREFIX}/k9/{'unwrapkey' if body else 'metadata'}"
        told(proxy.post(path, {"request_context": CONTEXT, **body}), 404, "KeyNotFound", "k9")
    if server.said().count("request ") != before:
        raise Wrong("the log has lines on keys that are not there")
    return "for all that names a key"


def unusable(server):
    """Why a key can't be used is for the log"""
    answer = server.vault().post("/keys/k1/backup")
    told(answer, 400, "NotSupported", "can't be used for this")
    logged(server, answer, '"k1"')
    return message(answer)


def aes(server):
    """A value that AES does not take, or not back, is the client's fault in the service's words"""
    proxy = server.proxy()
    for path, value in (("wrapkey", 7), ("wrapkey", 17), ("unwrapkey", 24), ("unwrapkey", 40)):
        body = {"request_context": CONTEXT, "alg": "A256KW", "value": base64url(bytes(value))}
        answer = proxy.post(f"/{service.PREFIX}/aes/{path}", body)
        told(answer, 400, "InvalidRequest", "value")
    return message(answer)


def many(server):
    """The log has so many failures of a second, and how many it left out"""
    start, began = len(server.said()), time.monotonic()
    vault = server.vault()
    for _ in range(MANY):
        told(vault.post("/keys/k1/backup"), 503, "ServiceUnavailable")
    seconds = time.monotonic() - began
    time.sleep(1.3)
    said = server.said()[start:]
    lines = len(re.findall(r"request [0-9a-f-]{36}: ", said))
    left_out = sum(int(x) for x in re.findall(r"(\d+) more requests failed", said))
    if lines + left_out != MANY or lines > A_SECOND * (seconds + 2) or not left_out:
        raise Wrong(f"{lines} lines, {left_out} left out, within {seconds:.1f} s")
    return f"{lines} lines and {left_out} left out"


def kek_setting(name):
    return f"[service]\nbackup-kek = pkcs11:object={name}\n"


def prepare(server):
    for name, *kind in (("kek", "--keypairgen", "--key-type", "rsa:2048", "--usage-decrypt"),
                        ("aes", "--keygen", "--key-type", "AES:32")):  # fmt: skip
        server.token.tool(*kind, "--label", name, "--usage-wrap", "--id", secrets.token_hex(16))


def wait_until_ready(server):
    """Until the token's keys are known."""
    end = time.monotonic() + service.SECONDS
    while server.vault().get("/keys").status != 200:
        if time.monotonic() > end:
            raise Wrong("it never gets ready")
        time.sleep(0.1)


def main():
    program = sys.argv[1]
    with service.scratch_folder() as scratch:
        server = service.Service(program, scratch, listeners=("vault", "proxy"),
                                 more=kek_setting("absent-kek"))  # fmt: skip
        prepare(server)
        cases = []

        def case(test):
            return test.__doc__, lambda: test(server)

        def restart():
            """The service starts with another key for backups"""
            server.stop()
            server.more = kek_setting("kek")
            server.start()
            wait_until_ready(server)
            return "ready"

        with server:
            wait_until_ready(server)
            must(server.vault().post("/keys/k1/create", {"kty": "RSA"}))
            cases = [case(missing_kek), case(aes), case(many), (restart.__doc__, restart),
                     case(missing_key), case(unusable)]  # fmt: skip
            sys.exit(service.report_cases(cases))


if __name__ == "__main__":
    os.umask(0o077)
    main()
