#!/usr/bin/env python3
"""The two APIs of `keyward serve`, who may use them, the trail, and the service as a process.

Usage: api.py [--only TEXT] [--shim FILE] PROGRAM, under tests/tokens/with-softhsm. --only takes the
cases whose title has TEXT. The shim is clock_shim.c's; what needs another time is skipped without
it. Cases are in api_*.py, a file a subject; they share one service, and come in this order. Prints
TAP.
"""

import argparse
import sys
import time

sys.dont_write_bytecode = True  # the checkout stays as it is
import api_access  # noqa: E402
import api_bench  # noqa: E402
import api_events  # noqa: E402
import api_keys  # noqa: E402
import api_life  # noqa: E402
import api_move  # noqa: E402
import api_operation  # noqa: E402
import api_page  # noqa: E402
import api_proxy  # noqa: E402
import api_requests  # noqa: E402
import api_trail  # noqa: E402
import api_use  # noqa: E402
import service  # noqa: E402

SUBJECTS = (api_keys, api_use, api_requests, api_life, api_move, api_access, api_trail, api_proxy,
            api_page, api_operation, api_events)  # fmt: skip


def run(bench, cases):
    failed = 0
    print(f"1..{len(cases)}", flush=True)
    for number, (title, function) in enumerate(cases, 1):
        fault = skip = ""
        began = time.monotonic()
        try:
            function(bench)
        except api_bench.Skip as reason:
            skip = str(reason)
        except Exception as wrong:  # noqa: BLE001: the other cases are tried
            fault = api_bench.describe(wrong)
        took = f" ({time.monotonic() - began:.1f} s)"
        failed += service.tap.result(f"{number} {title}{took}", fault, skip)
    return failed


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--shim")
    parser.add_argument("program")
    given = parser.parse_args()
    cases = [
        (f"{subject.CASES.name}: {title}", function)
        for subject in SUBJECTS
        for title, function in subject.CASES.all
    ]
    cases = [case for case in cases if given.only in case[0]]
    with service.scratch_folder() as scratch:
        with api_bench.Bench(given, scratch) as bench:
            failed = run(bench, cases)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
