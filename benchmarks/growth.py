"""How searches grow with the catalogue: columns and ids of 100,000, 1,000,000 and 10,000,000 items, without documents.

    python -m benchmarks.growth CATALOG WORK [--sizes 100000 1000000 10000000]

CATALOG holds about a million items (`make_catalogue.py` and `swath load`) in few segments. The larger catalogue is made
of copies of its segments under other ids, merged two by two, the smaller one of its first rows; both are kept in the
folder WORK and used again. Printed are, for every family of `benchmarks.search` and the index alone, in milliseconds:
p50 of a page of ten when it is asked for the first time (`first`, by the clock: much is read from the disk); then,
of the processor's time, p50 and p95 when it is asked again as a new question, with nothing left of the first time but
pages in memory, p50 with what the index keeps of a question (`kept`), and the exact count; how long opening takes with
nothing in the page cache; and the memory that is not mapped.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe
from benchmarks.search import FAMILIES, request
from swath.access import EVERYTHING
from swath.catalog import Catalog
from swath.store.columns.build import SegmentPart, Strings, build_segment
from swath.store.columns.container import ContainerWriter
from swath.store.columns.index import SEGMENTS
from swath.store.columns.manifest import Manifest, read_manifest
from swath.store.columns.planning import Questions
from swath.store.columns.segment import Segment

_MOST_ROWS = 2_000_000  # of a segment


class Copy(SegmentPart):
    """The rows of a segment as others, which differ in their ids."""

    def __init__(self, segment: Segment, kept: NDArray[np.bool_], number: int, ahead: int) -> None:
        super().__init__(segment, kept)
        self.number, self.ahead = number, ahead

    def fixed(self, name: str) -> NDArray[Any]:
        array = super().fixed(name)
        return array + self.ahead if name == "seq" else array

    def strings(self, name: str) -> Strings:
        found = super().strings(name)
        if name != "id" or not self.number:
            return found
        return Strings([value + f"-{self.number}".encode() for value in found.values], found.spans)


def make(source: Path, target: Path, size: int) -> None:
    """A catalogue of so many items in a folder: the tables of the source, and segments of its own."""
    (target / SEGMENTS).mkdir(parents=True)
    shutil.copy(source / "catalog.db", target / "catalog.db")
    catalog = Catalog.open(source)
    manifest = read_manifest(catalog.ledger)
    segments = [Segment(source / SEGMENTS / name) for name, _, _ in manifest.segments]
    names = catalog.index._state.names.by_key if catalog.index.refresh() else {}  # type: ignore[attr-defined]
    high, total = manifest.folded, sum(segment.rows for segment in segments)
    parts: list[Copy] = []
    made: list[tuple[str, int, int]] = []
    done = low = 0
    for number in range(-(-size // total)):
        for segment in segments:
            kept = np.arange(segment.rows) < size - done - sum(part.size for part in parts)
            parts.append(Copy(segment, kept, number, number * high))
        until = (number + 1) * high
        if sum(part.size for part in parts) + total > _MOST_ROWS or (number + 1) * total >= size:
            name = f"{low:x}-{until:x}.seg"
            done += build_segment(target / SEGMENTS / name, parts, names, (low, until), catalog.ledger.epoch)
            print(f"  {done:,} items written", file=sys.stderr, flush=True)
            made.append((name, low, until))
            parts, low = [], until
    beside = "growth.state"
    with ContainerWriter(target / SEGMENTS / beside) as out:
        out.about |= {"epoch": catalog.ledger.epoch, "names": list(names.items()), "ends": [], "declared": []}
        for array in ("replaced", "by"):
            out.add(array, np.empty(0, np.int64))
    catalog.close()
    opened = Catalog.open(target)
    assert opened.ledger.publish(Manifest(0, tuple(made), beside).pack(), opened.ledger.manifest()[0])
    opened.close()
    connection = apsw.Connection(str(target / "catalog.db"))
    connection.execute("UPDATE head SET rev = ?", (low,))
    connection.close()


def forget(folder: Path) -> None:
    """Have the system drop what it keeps of the files in memory."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def memory_mb() -> float:
    """What this process holds itself, without pages of mapped files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1e3


def measure(folder: Path, times: int) -> None:
    """Print a line for each family: name, p50 of a first page, p50 and p95 of one again, p50 with what is kept of it,
    p50 of the count, hits."""
    forget(folder)
    started = time.perf_counter()
    catalog = Catalog.open(folder)
    revision = catalog.index.refresh()
    print(f"opening\t{(time.perf_counter() - started) * 1e3:.0f}", flush=True)
    for name, ask in FAMILIES.items():
        draw = random.Random(1)
        first: list[float] = []
        pages: list[float] = []
        known: list[float] = []
        counts: list[float] = []
        found = 0
        for number in range(times):
            search = request(ask(draw))
            expression = catalog._bound(search.expression, EVERYTHING, revision)
            for took in (first, pages, known):
                if took is not known:
                    catalog.index._state.questions = Questions()  # type: ignore[attr-defined]
                clock = time.perf_counter if took is first else time.thread_time
                started = clock()
                catalog.index.select(expression, search.sort, 10, revision=revision)
                took.append((clock() - started) * 1e3)
            if number % 4 == 2:
                catalog.index._state.questions = Questions()  # type: ignore[attr-defined]
                started = time.thread_time()
                found = catalog.index.select(expression, search.sort, 1, revision=revision, count=True).matched or 0
                counts.append((time.thread_time() - started) * 1e3)
        pages.sort()
        p95 = pages[min(len(pages) - 1, int(len(pages) * 0.95))]
        told = (*map(statistics.median, (first, pages)), p95, *map(statistics.median, (known, counts)), found)
        print(name, *told, sep="\t", flush=True)
    print(f"memory\t{memory_mb():.0f}", flush=True)
    catalog.close()


def table(figures: Sequence[tuple[int, dict[str, list[str]]]]) -> None:
    head = "".join(f"{f'{size:,}':>50}" for size, _ in figures)
    print(f"{'family':42}{head}{'growth of p50, kept, count':>34}")
    print(f"{'':42}" + f"{'first':>8}{'p50':>8}{'p95':>8}{'kept':>8}{'count':>8}{'found':>10}" * len(figures))
    for name in FAMILIES:
        line = f"{name:42}"
        for _, found in figures:
            first, p50, p95, kept, count, hits = found[name]
            line += f"{float(first):8.2f}{float(p50):8.2f}{float(p95):8.2f}{float(kept):8.2f}{float(count):8.1f}"
            line += f"{int(hits):10,}"
        if len(figures) > 1:
            before, after = figures[-2][1][name], figures[-1][1][name]
            line += "".join(f"{float(after[i]) / float(before[i]):10.1f}" for i in (1, 3, 4))
        print(line)
    for name, unit in (("opening", "ms with nothing cached"), ("memory", "MB beside mapped pages")):
        print(f"{name}: " + ", ".join(f"{found[name][0]} {unit} at {size:,}" for size, found in figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--times", type=int, default=15, help="questions of a family")
    parser.add_argument("--measure", type=Path, help="measure one catalogue in this process (used by itself)")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.times)
        return
    print(describe())
    figures = []
    for size in options.sizes:
        folder = options.work / f"items-{size}"
        if not folder.exists():
            make(options.catalog, folder, size)
        command = [sys.executable, "-m", "benchmarks.growth", "-", "-", "--measure", folder, "--times", options.times]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
        lines = (line.split("\t") for line in done.stdout.splitlines())
        figures.append((size, {name: rest for name, *rest in lines}))
        disk = sum(file.stat().st_size for file in (folder / SEGMENTS).iterdir())
        print(f"{size:,} items: {disk / 1e6:,.0f} MB of segments, {disk / size:,.0f} bytes an item", file=sys.stderr)
    table(figures)


if __name__ == "__main__":
    main()
