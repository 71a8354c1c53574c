"""The Test Anything Protocol, as far as the tests here print it."""

import sys


def result(title, fault="", skip=""):
    """Prints what came of a test, whose title begins with its number; returns whether it failed."""
    print(f"{'not ok' if fault else 'ok'} {title}{f' # skip {skip}' if skip else ''}")
    for line in fault.splitlines():
        print(f"# {line}")
    sys.stdout.flush()
    return bool(fault)
