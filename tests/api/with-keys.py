#!/usr/bin/env python3
"""Puts the keys of a folder of drops on the token and runs a command.

Usage: with-keys.py FOLDER COMMAND..., under tests/tokens/with-softhsm. KW_TEST_DROPS is the folder.
"""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import testtoken  # noqa: E402

token = testtoken.make()
token.import_keys(pathlib.Path(sys.argv[1]))
for reason in token.missing.values():
    print(f"left out: {reason}")
    sys.exit(77)
os.environ["KW_TEST_DROPS"] = sys.argv[1]
os.execvp(sys.argv[2], sys.argv[2:])
