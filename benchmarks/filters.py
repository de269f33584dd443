"""How fast filters are read and evaluated.

    python -m benchmarks.filters --suite ../shared/cql2/ats.json --land ../shared/cql2/ne_110m_admin_0_countries.geojson

Reads and binds the filters of the standard's test suite (those with a count), as text and as JSON, and
evaluates a few over columns of a million rows in blocks of 65,536, as a search does. Medians, one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from benchmarks.machine import describe
from swath.cql2.bind import bind
from swath.cql2.evaluate import Evaluator
from swath.cql2.frame import Column, Extents, Footprints, Lane, Strings
from swath.cql2.json import parse_json
from swath.cql2.text import parse_text
from swath.store.columns.strings import StringTable

BLOCK = 65_536


class Rows:
    """A block of made-up rows: a number, strings of few and of many kinds, and footprints."""

    def __init__(self, columns: dict[str, Column], footprints: Footprints) -> None:
        self.columns, self._footprints = columns, footprints
        self.size = len(footprints.known)

    def column(self, name: str) -> Column:
        return self.columns.get(name, Column())

    def extents(self) -> Extents:
        nothing = np.zeros(self.size, np.int64)
        return Extents(nothing, nothing, nothing == 1)

    def footprints(self) -> Footprints:
        return self._footprints


def footprints_on(land: list[Any], count: int, random: np.random.Generator) -> NDArray[np.object_]:
    """Tilted squares of 0.1 to 1.1 degrees, spread evenly over the land."""
    shape = shapely.union_all(land)
    shapely.prepare(shape)
    west, south, east, north = shape.bounds
    found: list[NDArray[np.float64]] = []
    while sum(map(len, found)) < count:
        places = random.uniform((west, south), (east, north), (count, 2))
        found.append(places[shapely.contains_xy(shape, places[:, 0], places[:, 1])])
    centres = np.clip(np.concatenate(found)[:count], (-178, -88), (178, 88))
    sizes, turns = random.uniform(0.05, 0.55, count), random.uniform(0, 1.5, count)
    angles = turns[:, None] + np.pi / 2 * np.arange(5)
    corners = centres[:, None] + sizes[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    made: NDArray[np.object_] = shapely.polygons(corners)
    return made


def blocks(count: int, land: list[Any]) -> list[Rows]:
    random = np.random.default_rng(1)
    shapes = footprints_on(land, count, random)
    boxes = np.asfortranarray(shapely.bounds(shapes))
    clouds = random.uniform(0, 100, count)
    few, many = StringTable(), StringTable()
    few_codes = np.array([few.add(f"platform-{n}") for n in range(50)], np.int32)[random.integers(0, 50, count)]
    many_codes = np.array([many.add(f"scene {n * 7919 % count:07d}") for n in range(count)], np.int32)
    made = []
    for start in range(0, count, BLOCK):
        part = slice(start, min(start + BLOCK, count))
        rows = np.arange(part.stop - part.start, dtype=np.int64)
        plain = np.zeros(len(rows), np.bool_)
        columns = {
            "cloud": Column(floats=Lane(rows, clouds[part])),
            "platform": Column(strings=Strings(rows, few_codes[part], few, plain)),
            "scene": Column(strings=Strings(rows, many_codes[part], many, plain)),
        }
        west, south, east, north = (boxes[part, side] for side in range(4))
        made.append(Rows(columns, Footprints(west, south, east, north, ~plain, shapes[part].__getitem__)))
    return made


def circle(x: float, y: float, radius: float, corners: int) -> str:
    angles = np.linspace(0, 2 * np.pi, corners)
    ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=-1)
    ring[-1] = ring[0]
    return str(shapely.to_wkt(shapely.polygons(ring), rounding_precision=-1))


def median(run: Callable[[], object], times: int) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e3


def main() -> None:
    shared = Path(__file__).parents[2] / "shared" / "cql2"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", type=Path, default=shared / "ats.json")
    parser.add_argument("--land", type=Path, default=shared / "ne_110m_admin_0_countries.geojson")
    parser.add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    print(describe())

    suite = [case for case in json.loads(options.suite.read_text()) if case["kind"] == "count"]
    texts = list(dict.fromkeys(case["filter_text"] for case in suite))
    values = [case["filter_json"] for case in suite]
    for name, inputs, read in (("text", texts, parse_text), ("JSON", values, parse_json)):
        each = [median(lambda i=i, read=read: bind(read(i)), 9) * 1e3 for i in inputs]  # type: ignore[misc]
        print(f"read and bind, {name}: {len(inputs)} filters of {options.suite.name}, "
              f"median {statistics.median(each):.0f} us, largest {max(each):.0f} us")  # fmt: skip

    land = [shapely.geometry.shape(f["geometry"]) for f in json.loads(options.land.read_text())["features"]]
    rows = blocks(options.count, land)
    print(f"evaluate over {options.count:,} rows in {len(rows)} blocks, footprints spread over the land:")
    polygon = circle(10, 45, 10, 100)
    for text in (
        "cloud < 20",
        "cloud BETWEEN 20 AND 30 OR cloud > 90",
        "platform = 'platform-7'",
        "platform LIKE '%-7%'",
        "scene LIKE '%777%'",
        "S_INTERSECTS(geometry, BBOX(0, 35, 20, 55))",
        f"S_INTERSECTS(geometry, {polygon})",
        f"S_INTERSECTS(geometry, {circle(20, 0, 30, 1_500)})",
        f"S_WITHIN(geometry, {polygon})",
        f"cloud < 20 AND S_INTERSECTS(geometry, {polygon})",
    ):
        expression = bind(parse_text(text))
        found = 0

        def run(expression: Any = expression) -> None:
            nonlocal found
            evaluator = Evaluator(expression)
            found = sum(int(evaluator(block).true.sum()) for block in rows)

        took = median(run, 5)
        print(f"  {took:8.1f} ms  {found:9,} found  {text[:70]}")


if __name__ == "__main__":
    main()
