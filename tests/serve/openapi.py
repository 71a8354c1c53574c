#!/usr/bin/env python3
"""Holds the service against docs/openapi with schemathesis: whatever is sent, it answers as is said
there, and never with a fault of its own.

Usage: openapi.py [--examples N] [--seed N] [--only REGEX] PROGRAM, under tests/tokens/with-softhsm; or
at any service:
       openapi.py --document FILE --url URL [--ca FILE] [--bearer FILE] [--cert FILE --key FILE]

schemathesis is installed below build/, as requirements.txt pins it; ends with 77 where it can't be
had. Prints TAP: a test for each operation.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree

sys.dont_write_bytecode = True  # the checkout stays as it is
import service  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENTS = {
    "vault": service.ROOT / "docs/openapi/key-vault.json",
    "proxy": service.ROOT / "docs/openapi/external-key-proxy.json",
}
NOT_HERE = 77
# What a schema can't say (that a wrapped key unwraps, that dates are in order) is no failure.
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_headers_conformance", "response_schema_conformance", "negative_data_rejection",
          "unsupported_method")  # fmt: skip
SECONDS = 7200
KEYS = ("one", "two", "three")


def environment():
    """The folder of its programs."""
    folder = service.ROOT / "build/schemathesis"
    pinned = HERE / "requirements.txt"
    made = folder / "made"
    if not made.exists() or made.read_text() != pinned.read_text():
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin/pip", "install", "--quiet", "--requirement", pinned]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"schemathesis can't be installed: {done.stderr}", file=sys.stderr)
            sys.exit(NOT_HERE)
        made.write_text(pinned.read_text())
    return folder / "bin"


def validate(programs, document):
    done = subprocess.run(
        [programs / "openapi-spec-validator", document], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def command(programs, given, document, url, report):
    words = [programs / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", document, "--url", url, "--checks", ",".join(CHECKS),
             "--phases", "examples,coverage,fuzzing", "--max-examples", given.examples,
             "--seed", given.seed, "--no-color", "--report", "junit", "--report-junit-path", report,
             "--request-timeout", 30, "--continue-on-failure", "--generation-database", "none",
             "--warnings", "off", "--output-sanitize", "false"]  # fmt: skip
    if given.only:
        words += ["--include-path-regex", given.only]
    return words


def run(programs, given, document, url, more, names):
    """Gives (operation, fault) for each of them."""
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / "report.xml"
        words = [*command(programs, given, document, url, report), *more]
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, timeout=SECONDS,
            cwd=scratch,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": str(HERE),
                 "PYTHONDONTWRITEBYTECODE": "1", "KW_NAMES": " ".join(names)},
        )  # fmt: skip
        if not report.exists():
            return [("schemathesis", f"{done.stdout[-3000:]}{done.stderr[-3000:]}")]
        found = []
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            faults = [f"{each.get('message')}\n{each.text}" for each in case if each.tag != "system-out"]
            found.append((case.get("name"), "\n".join(faults)))
        return found or [("schemathesis", f"it tried nothing: {done.stdout[-3000:]}")]


def cases_of_service(programs, given):
    with service.scratch_folder() as scratch, service.Service(given.program, scratch) as server:
        vault = server.vault()
        for name in KEYS:
            service.must(vault.post(f"/keys/{name}/create", {"kty": "RSA"}))
        names = []
        for name in KEYS:
            kid = service.must(vault.get(f"/keys/{name}")).json["key"]["kid"]
            names.append(f"{name}/{kid.rpartition('/')[2]}")
        ca = ["--tls-verify", server.pem("ca")]
        base = {name: "https://localhost:%d" % port for name, (_, port) in server.addresses.items()}
        bearer = server.bearer(lasts=SECONDS * 2)
        pair = ["--request-cert", server.pem("azure"), "--request-cert-key", server.pem("azure-key")]
        # The proxy's come first: the others delete keys.
        for name, fault in run(programs, given, DOCUMENTS["proxy"],
                               f"{base['proxy']}/{service.PREFIX}", ca + pair, names):  # fmt: skip
            yield f"proxy: {name}", fault
        for name, fault in run(programs, given, DOCUMENTS["vault"], base["vault"],
                               [*ca, "--header", f"Authorization: Bearer {bearer}"], names):  # fmt: skip
            yield f"vault: {name}", fault
        still = server.process.poll() is None and server.vault().get("/keys").status == 200
        yield "the service still answers", "" if still else server.said()


def cases_of_url(programs, given):
    more = ["--tls-verify", given.ca] if given.ca else []
    if given.bearer:
        text = pathlib.Path(given.bearer).read_text().strip()
        more += ["--header", f"Authorization: Bearer {text}"]
    if given.cert:
        more += ["--request-cert", given.cert, "--request-cert-key", given.key]
    yield from run(programs, given, pathlib.Path(given.document).resolve(), given.url, more, KEYS)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--examples", type=int, default=5, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="paths that match")
    for name in ("document", "url", "ca", "bearer", "cert", "key"):
        parser.add_argument(f"--{name}")
    parser.add_argument("program", nargs="?")
    given = parser.parse_args()
    programs = environment()
    failed = number = 0
    for name, document in DOCUMENTS.items():
        number += 1
        title = f"{number} {name}: the description is OpenAPI"
        failed += service.tap.result(title, validate(programs, document))
    for name, fault in (cases_of_url if given.url else cases_of_service)(programs, given):
        number += 1
        failed += service.tap.result(f"{number} {name}", fault)
    print(f"1..{number}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
