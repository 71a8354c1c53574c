"""How cost grows with size: series of rows, each point of which is some times larger."""
import os
from dataclasses import dataclass, field

from drops import pieces, write_text
from lab import enough_files
from measure import Command, Row, fail, free_bytes
from rows_token import keys_row

COUNTED_SIZE = 16384 - 16  # with its padding each has 16 KiB
WORKERS = (1, 2)
FLAT_MIB = 4  # how far apart peaks may be that do not grow with the size of a file
LIMIT = 0.10  # how far off linear a point may be without being explained


def with_workers(lab, drop):
    return [Command(f"keyward decrypt --jobs {jobs}", lab.decrypt(drop, "--jobs", jobs))
            for jobs in WORKERS]


def size_row(lab, size):
    drop = lab.drop("drop")
    path = drop.add_pieces(pieces(size))

    def check(out):
        if os.path.getsize(out / "o" / path.name) != size:
            fail("the plaintext has the wrong size")
    return Row(f"size.{size}", f"1 file of {size} bytes", with_workers(lab, drop), check, size)


def count_row(lab, count):
    drop = lab.drop("drop")
    drop.add_copies(write_text(lab.scratch / "counted", COUNTED_SIZE), count)
    return Row(f"count.{count}", f"{count} files", with_workers(lab, drop), enough_files(count),
               count * COUNTED_SIZE)


@dataclass
class Series:
    """`row` makes a row of a lab and a point. The table has what `unit` of them cost; each takes
    `bytes` on the filesystem twice, as ciphertext and as plaintext."""
    key: str
    title: str
    points: tuple
    row: object
    unit: int
    unit_name: str
    bytes: int
    anywhere: bool = False  # it does not depend on the filesystem
    flat_from: int | None = None  # from this point on peak memory is not to grow
    measured: list = field(default_factory=list)  # of (point, row)
    left_out: list = field(default_factory=list)


def all_series():
    return [
        Series("size", "One file, not compressed: bytes", tuple(10 ** i for i in range(3, 11)),
               size_row, 10 ** 9, "GB", 1, flat_from=10 ** 6),
        Series("count", "Files of 16 KiB: number", tuple(10 ** i for i in range(2, 6)), count_row,
               1000, "1,000 files", 16384),
        Series("keys", "Start: keys on the token", (10, 100, 1000, 5000), keys_row, 1000,
               "1,000 keys", 0, anywhere=True),
    ]


def measure(series, lab, scale, run_row):
    """`run_row` gets a function that makes a row of a lab, and returns the row once it has run."""
    for point in series.points:
        if point > max(series.points[0], scale * series.points[-1]):
            continue
        if 2 * point * series.bytes > free_bytes(lab.scratch):
            series.left_out.append(f"{point}: no room for it on this filesystem")
            continue
        series.measured.append((point, run_row(
            f"{series.key}-{point}", lambda lab, point=point: [series.row(lab, point)])[0]))


def deviations(series, index):
    """Of each point's median from the straight line through the first and the last one."""
    line = [(point, row.commands[index].median()) for point, row in series.measured]
    (first, base), (last, top) = line[0], line[-1]
    if first == last:
        return [0.0]
    slope = (top - base) / (last - first)
    return [seconds / (base + slope * (point - first)) - 1 for point, seconds in line]


def show(series):
    unit = series.unit_name
    yield f"| {series.title} | command | median s | min-max | peak MiB | s a {unit} | off linear |"
    yield "|---|---|---|---|---|---|---|"
    for index in range(len(series.measured[0][1].commands)):
        off = deviations(series, index)
        first, base = series.measured[0][0], series.measured[0][1].commands[index].median()
        for (point, row), deviation in zip(series.measured, off):
            command = row.commands[index]
            grown = command.median() - base
            # Before the start has been outgrown, this is what two starts differ by.
            cost = f"{grown / (point - first) * series.unit:.3f}" if grown > base else ""
            mark = "" if abs(deviation) <= LIMIT else ", explain"
            yield (f"| {point:,} | `{command.name}` | {command.median():.3f} | "
                   f"{min(command.times):.3f}-{max(command.times):.3f} | "
                   f"{command.peak_kib / 1024:.0f} | {cost} | {100 * deviation:+.0f} %{mark} |")
    peaks = [row.commands[0].peak_kib / 1024 for _, row in series.measured]
    verdict = ""
    if series.flat_from:
        level = [peak for (point, _), peak in zip(series.measured, peaks)
                 if point >= series.flat_from] or [0]
        met = "met" if max(level) - min(level) <= FLAT_MIB else "NOT met"
        verdict = f" From {series.flat_from:,} on at most {FLAT_MIB} MiB apart: {met}."
    yield ""
    yield (f"Peak memory of `{series.measured[0][1].commands[0].name}`: {min(peaks):.0f} to "
           f"{max(peaks):.0f} MiB.{verdict}")
    for text in series.left_out:
        yield f"Left out: {text}."
