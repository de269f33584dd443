"""How long hostile filters take, and how much memory.

    python -m benchmarks.hostile
    python -m benchmarks.hostile --only "WKT polygon"

Each kind of `tests.hostile` at 1, 4, 16 and 64 KB, and at 1 MB, which is over most limits. Every figure comes from
a process of its own: the median time to read the filter (as the server does, from text or from a POST body) and to
try it on one item, and by how much memory peaked above what the process had. Marked are answers over 10 ms where
depth, count or size alone tell, over 200 ms otherwise, over 64 MB, and times over 20 ms that grow twice as fast as
the input.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
from tests.hostile import JSON, TEXT

from benchmarks.machine import describe
from swath.catalog.request import SearchRequest, build_search
from swath.cql2.evaluate import Evaluator
from swath.errors import InvalidRequest
from swath.http.params import search_from_body
from swath.store.columns.index import item_frame
from swath.store.records import Change, Operation, Version

SIZES = (1_000, 4_000, 16_000, 64_000, 1_000_000)
NAMES = ("1 KB", "4 KB", "16 KB", "64 KB", "1 MB")
GIVEN_UP_SECONDS = 60
# What these words refuse was told by depth, count or size alone.
_BYTES_TELL = ("nested", "more than", "longer than", "larger than")
_ITEM = {
    "type": "Feature",
    "geometry": {"type": "Point", "coordinates": [1, 1]},
    "properties": {"datetime": "2020-01-01T00:00:00Z", "a": 1, "b": 2.5, "s": "x" * 100, "l": [1, [2]]},
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Milliseconds, MB, and what the answer was: `ok`, the words of a refusal, or an exception."""

    time: float
    memory: float
    said: str

    @property
    def limit(self) -> float:
        return 10 if any(words in self.said for words in _BYTES_TELL) else 200

    @property
    def failed(self) -> bool:
        return self.said.startswith("!")


def answer(kind: str, made: str) -> str:
    """Read a filter and try it on an item."""
    try:
        if kind == "text":
            request = SearchRequest(filter=made, filter_lang="cql2-text")
        else:
            request, _ = search_from_body(b'{"filter":' + made.encode() + b"}")
        search = build_search(request)
    except InvalidRequest as error:
        return str(error)[:100]
    Evaluator(search.expression)(FRAME)
    return "ok"


FRAME = item_frame(Change(Version(1, Operation.PUT_ITEM, 1, "x", None), msgspec.json.encode(_ITEM), None), "c")


def measure(kind: str, make: Callable[[int], str], size: int) -> Figure:
    """The figure of one input, out of a child process: its peak is its own."""
    made = make(size)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(GIVEN_UP_SECONDS)
        os.write(writing, msgspec.json.encode(_in_child(kind, made)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        raw = pipe.read()
    os.waitpid(child, 0)
    if not raw:
        return Figure(GIVEN_UP_SECONDS * 1000, float("nan"), f"! no answer within {GIVEN_UP_SECONDS} s")
    seconds, memory, said = msgspec.json.decode(raw, type=tuple[float, float, str])
    return Figure(seconds * 1000, memory, said)


def _in_child(kind: str, made: str) -> tuple[float, float, str]:
    answer(kind, "a=1" if kind == "text" else "true")
    before, times, said = _memory("VmRSS"), list[float](), ""
    while len(times) < 5 and sum(times) < 1:
        started = time.perf_counter()
        try:
            said = answer(kind, made)
        except Exception as error:
            said = f"! {type(error).__name__}: {str(error)[:80]}"
        times.append(time.perf_counter() - started)
    return statistics.median(times), _memory("VmHWM") - before, said


def _memory(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def marks(figures: list[Figure]) -> list[str]:
    found = []
    if any(figure.failed for figure in figures):
        found.append("FAILS")
    if any(figure.time > figure.limit for figure in figures):
        found.append("SLOW")
    if any(figure.memory > 64 for figure in figures):
        found.append("MEMORY")
    grown = zip(pairwise(figures), pairwise(SIZES), strict=True)
    if any(b.time > 20 and b.time > 2 * a.time * size_b / size_a for (a, b), (size_a, size_b) in grown):
        found.append("NOT LINEAR")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="kinds with these words in their names")
    only = parser.parse_args().only
    gc.freeze()  # or the first collection in a child would copy all that it shares
    print(describe())
    print(f"\n{'ms':>52}{''.join(f'{name:>9}' for name in NAMES)}{'MB':>8}  answer at 64 KB")
    marked = total = 0
    for kind, table in (("text", TEXT), ("JSON", JSON)):
        for name, make in table.items():
            if only not in name:
                continue
            figures = [measure(kind, make, size) for size in SIZES]
            found = marks(figures)
            marked, total = marked + bool(found), total + 1
            times = "".join(f"{figure.time:9.2f}" for figure in figures)
            memory = max(figure.memory for figure in figures)
            said = next((figure.said for figure in figures if figure.failed), figures[3].said)
            print(f"{kind} {name:<47}{times}{memory:8.1f}  {' '.join(found):<8} {said[:70]!r}", flush=True)
    print(f"\n{marked} of {total} kinds are marked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
