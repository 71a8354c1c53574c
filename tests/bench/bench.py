#!/usr/bin/env python3
"""Times Keyward beside the programs that people would use instead, and beside the limit.

    tests/bench/run [--rounds 5] [--scale 1.0] [--dir DIR]... [--only PREFIX] [--growth] [--write]

Whole-process wall time. Every round runs each command of a row once, in turn, into a fresh output
folder, after as much memory was touched as the commands need. Rows are in rows_*.py. Prints
Markdown: medians, the smallest and the largest time, and the goals. A figure is no test: the exit
code says only whether every command worked and gave the right bytes.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the checkout stays as it is
import drops  # noqa: E402
import growth  # noqa: E402
import rows_files  # noqa: E402
import rows_token  # noqa: E402
import table  # noqa: E402
from lab import Lab  # noqa: E402
from measure import Row, Stopwatch, fail, filesystem  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ELSEWHERE = ("unwrap", "once")  # the groups for each kind of token
NOT_HERE = 77  # the exit code of tests/tokens/with-* where a token can't be had
TOKENS = "/dev/shm"  # SoftHSM2 syncs each object that it makes: too slow for 5,000 on a disk
DEFAULT_DIRS = (TOKENS, "/var/tmp")  # tmpfs, and mostly a disk


def asked_for(args, group):
    return group.startswith(args.only) or args.only.startswith(group)


def temporary(folder):
    return tempfile.TemporaryDirectory(prefix="keyward-bench-", dir=folder,
                                       ignore_cleanup_errors=True)


class Place:
    """A scratch folder in one of the folders to measure, and what is needed there."""

    def __init__(self, args, folder):
        self.args = args
        self.type = filesystem(folder)
        self.folders = [temporary(folder), temporary(TOKENS)]  # removed whatever happens
        self.scratch, self.tokens = (pathlib.Path(made.name) for made in self.folders)
        os.environ["XDG_STATE_HOME"] = str(self.scratch / "state")  # the audit trail
        self.watch = Stopwatch(args.peers / "bench_timer", self.scratch)
        given = os.environ.get("KW_TEST_TOKEN_KIND")
        if given:
            token = drops.given_token(self.tokens, args.peers)
        else:
            token = drops.softhsm_token(self.tokens / "token", args.peers, 1)
            os.environ.update(token.environment)
        self.lab = Lab(args.keyward, args.peers, self.scratch, self.tokens, self.type == "tmpfs",
                       args.scale, token, given or "SoftHSM2")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for folder in self.folders:
            folder.cleanup()

    def run(self, name, make_rows):
        """Measures the rows of a group, which has a folder of its own, and returns them."""
        lab = dataclasses.replace(self.lab, scratch=self.scratch / name)
        lab.scratch.mkdir()
        measured = []
        for row in make_rows(lab):
            if row.key.startswith(self.args.only) or self.args.growth:
                print(f"bench: {self.type}: {row.title}", file=sys.stderr)
                self.watch.run(row, self.args.rounds)
                measured.append(row)
        self.watch.empty(lab.scratch)
        return measured

    def run_groups(self, groups):
        rows = []
        for name, make_rows in groups.items():
            if asked_for(self.args, name):
                rows += self.run(name, make_rows)
        return rows

    def module_kib(self):
        """The peak memory of a process that does nothing but use the module."""
        row = Row("module", "", [rows_token.once_command(self.lab)])
        self.watch.run(row, 1)
        return row.commands[0].peak_kib


def opencryptoki_rows(args, folder):
    """The rows of the token under opencryptoki, which lives in namespaces of its own."""
    if not any(asked_for(args, name) for name in ELSEWHERE):
        return [], ""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".json") as results:
        command = [HERE.parent / "tokens/with-opencryptoki", sys.executable, __file__, "--keyward",
                   args.keyward, "--peers", args.peers, "--rounds", args.rounds, "--scale",
                   args.scale, "--only", args.only, "--dir", folder, "--results", results.name]
        code = subprocess.run([str(word) for word in command], stdout=sys.stderr).returncode
        if code == NOT_HERE:
            return [], "opencryptoki's soft token, which needs root"
        if code != 0:
            fail("the rows of opencryptoki's token failed")
        return [Row.from_data(row) for row in json.load(results)], ""


def measure_rows(args):
    lines = list(table.machine(args.rounds, args.scale))
    everything, module_kib = [], 0
    for folder in args.dirs:
        with Place(args, folder) as place:
            rows = place.run_groups(rows_files.GROUPS)
            module_kib = max(module_kib, place.module_kib())
            if rows:
                lines += ["", f"On {place.type}:", "", *table.show_rows(rows)]
            everything += rows
    folder = args.token_dir
    with Place(args, folder) as place:
        rows = place.run_groups(rows_token.GROUPS)
    others, left_out = opencryptoki_rows(args, folder)
    rows += others
    if rows:
        lines += ["", f"The token, audit trail on {place.type}:", "", *table.show_rows(rows)]
    if left_out:
        lines += ["", f"Left out: {left_out}."]
    return lines + ["", *table.show_memory(everything + rows, module_kib)]


def measure_growth(args):
    lines = list(table.machine(args.rounds, args.scale))
    for folder in args.dirs:
        with Place(args, folder) as place:
            for series in growth.all_series():
                if not series.key.startswith(args.only):
                    continue
                if series.anywhere and folder != args.token_dir:
                    continue
                growth.measure(series, place.lab, args.scale, place.run)
                lines += ["", f"On {place.type}:", "", *growth.show(series)]
    return lines


def parse():
    parser = argparse.ArgumentParser(description="Times Keyward beside its peers.")
    parser.add_argument("--keyward", required=True, type=pathlib.Path)
    parser.add_argument("--peers", required=True, type=pathlib.Path,
                        help="the folder with the programs of tests/bench/peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of sizes and counts")
    parser.add_argument("--dir", action="append", dest="dirs",
                        help="a folder on a filesystem to measure; may be repeated")
    parser.add_argument("--only", default="", help="rows, or series, whose key begins so")
    parser.add_argument("--growth", action="store_true", help="measure how cost grows instead")
    parser.add_argument("--write", action="store_true", help="to docs/performance.md too")
    parser.add_argument("--results", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.keyward, args.peers = args.keyward.resolve(), args.peers.resolve()
    args.dirs = args.dirs or DEFAULT_DIRS
    # Records on a disk cost what they cost; on tmpfs nearly nothing.
    args.token_dir = next((folder for folder in args.dirs if filesystem(folder) != "tmpfs"),
                          args.dirs[0])
    if args.write and (args.only or args.scale != 1.0):
        parser.error("--write is for a whole run")
    return args


def main():
    args = parse()
    if args.results:
        with Place(args, args.dirs[0]) as place:
            groups = {name: rows_token.GROUPS[name] for name in ELSEWHERE}
            rows = place.run_groups(groups)
        pathlib.Path(args.results).write_text(json.dumps([row.as_data() for row in rows]))
        return
    lines = measure_growth(args) if args.growth else measure_rows(args)
    print("\n".join(lines))
    if args.write:
        table.write("growth" if args.growth else "rows", lines)


if __name__ == "__main__":
    main()
