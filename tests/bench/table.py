"""Results as Markdown, and where they go in docs/performance.md."""
import datetime
import os
import pathlib
import platform
import re
import subprocess

from measure import GIB, fail, memory

MEMORY_LIMIT_MIB = 64
DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/performance.md"
PROGRAMS = (["openssl", "version"], ["cp", "--version"], ["gunzip", "--version"],
            ["pigz", "--version"], ["igzip", "--version"])
PACKAGES = ("softhsm2", "opencryptoki", "libisal2")


def first_line(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.strip().split("\n")[0]


def package_version(name):
    done = subprocess.run(["dpkg-query", "--show", "--showformat=${Version}", name],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def value_of(path, name, separator):
    with open(path) as file:
        return next((line.split(separator, 1)[1].strip().strip('"') for line in file
                     if line.startswith(name)), "unknown")


def machine(rounds, scale):
    processor = value_of("/proc/cpuinfo", "model name", ":")
    system = value_of("/etc/os-release", "PRETTY_NAME", "=")
    versions = [first_line(command) for command in PROGRAMS]
    versions += [f"{name} {version}" for name in PACKAGES if (version := package_version(name))]
    gib = memory("MemTotal") / GIB
    yield (f"{datetime.date.today()}: {processor}, {os.cpu_count()} processors, {gib:.0f} GiB, "
           f"{system}, kernel {platform.release()}; {rounds} rounds"
           f"{'' if scale == 1.0 else f', scale {scale}'}.")
    yield ""
    yield "Beside: " + "; ".join(versions) + "."


def judge(ratio, goal):
    if goal is None:
        return ""
    return f"at most {goal:.2f}: {'met' if ratio <= goal else 'NOT met'}"


def show_rows(rows):
    yield "| work | command | median s | min-max | peak MiB | first / this | goal |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        ours = row.commands[0].median()
        for i, command in enumerate(row.commands):
            ratio = ours / command.median()
            yield (f"| {row.title if i == 0 else ''} | {command.name} | {command.median():.3f} | "
                   f"{min(command.times):.3f}-{max(command.times):.3f} | "
                   f"{command.peak_kib / 1024:.0f} | {'' if i == 0 else f'{ratio:.2f}'} | "
                   f"{judge(ratio, command.goal)} |")


def show_memory(rows, module_kib):
    """What Keyward takes beyond the module: the one of the row, or a run of one C_Decrypt."""
    worst = None
    for row in rows:
        bare = max((command.peak_kib for command in row.commands if command.bare),
                   default=module_kib)
        beyond = (row.commands[0].peak_kib - bare) / 1024
        if worst is None or beyond > worst[0]:
            worst = (beyond, row.title, bare / 1024)
    if worst:
        verdict = "met" if worst[0] <= MEMORY_LIMIT_MIB else "NOT met"
        yield (f"Peak memory, at most {MEMORY_LIMIT_MIB} MiB beyond the module's own: {verdict}. "
               f"The most is {worst[0]:.0f} MiB beyond {worst[2]:.0f}: {worst[1]}.")


def write(section, lines):
    """Puts the lines between the section's markers."""
    begin, end = f"<!-- {section}: by tests/bench/run -->", f"<!-- end of {section} -->"
    text = DOCUMENT.read_text()
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        fail(f"{DOCUMENT.name} has no section {section}")
    body = "\n".join(lines)
    DOCUMENT.write_text(pattern.sub(lambda _: f"{begin}\n{body}\n{end}", text))
