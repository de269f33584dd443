"""How fast searches are, in process: a page of ten with its documents, and the exact count apart.

    python -m benchmarks.search CATALOG

CATALOG was made by ../shared/bench/make_catalogue.py and `swath load`. Each family of questions is asked with several
parameters drawn from the data; p50, p95 and the number of items found are printed, slow ones too.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.filters import circle
from benchmarks.machine import describe
from swath.access import EVERYTHING
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.request import parse_sort_text
from swath.errors import SwathError
from swath.stac.time import parse_temporal

Ask = Callable[[random.Random], dict[str, Any]]


def box(draw: random.Random, width: float, height: float) -> list[float]:
    west, south = draw.uniform(-170, 170 - width), draw.uniform(-50, 65 - height)
    return [west, south, west + width, south + height]


def days(draw: random.Random, count: int) -> str:
    year, month = draw.randrange(2015, 2024), draw.randrange(1, 13)
    last = f"{year + (month + count // 30 > 12)}-{(month - 1 + count // 30) % 12 + 1:02d}-01"
    return f"{year}-{month:02d}-01T00:00:00Z/{last}T00:00:00Z"


def polygon(draw: random.Random, corners: int, radius: float) -> dict[str, Any]:
    text = circle(draw.uniform(-150, 150), draw.uniform(-35, 50), radius, corners)
    pairs = text.removeprefix("POLYGON ((").removesuffix("))").split(", ")
    return {"type": "Polygon", "coordinates": [[[float(n) for n in pair.split()] for pair in pairs]]}


COLLECTIONS = ("naip", "sentinel-s2-l2a-cogs", "sentinel-2-l2a", "landsat-c2-l2", "openaerialmap")

# ruff: noqa: ARG005 - some questions have no parameter to draw
FAMILIES: dict[str, Ask] = {
    "latest ten": lambda d: {},
    "one collection, latest": lambda d: {"collections": [d.choice(COLLECTIONS)]},
    "collection, 1 degree, a month": lambda d: {
        "collections": [d.choice(COLLECTIONS)], "bbox": box(d, 1, 1), "datetime": days(d, 30)},
    "1 degree, all time": lambda d: {"bbox": box(d, 1, 1)},
    "40 x 30 degrees, a year, little cloud": lambda d: {
        "bbox": box(d, 40, 30), "datetime": days(d, 360), "filter": "eo:cloud_cover < 20"},
    "polygon of 100 corners, 3 months": lambda d: {"intersects": polygon(d, 100, 10), "datetime": days(d, 90)},
    "polygon of 100 corners, all time": lambda d: {"intersects": polygon(d, 100, 10)},
    "polygon of 10,000 corners": lambda d: {"intersects": polygon(d, 10_000, 12)},
    "polygon of 10,000 corners, a month": lambda d: {"intersects": polygon(d, 10_000, 12), "datetime": days(d, 30)},
    "cloud > 200, nothing": lambda d: {"filter": "eo:cloud_cover > 200"},
    "conjunction, nothing": lambda d: {"filter": "eo:cloud_cover < 1 AND platform = 'landsat-8' AND gsd > 1000"},
    "ocean, nothing": lambda d: {"bbox": [-140, -60, -139, -59]},
    "rare string": lambda d: {"filter": f"grid:code = 'MGRS-{d.randrange(1, 60)}XYZ' OR id = 'nowhere'"},
    "platform": lambda d: {"filter": f"platform = '{d.choice(['sentinel-2a', 'landsat-8', 'sentinel-2b'])}'"},
    "by cloud": lambda d: {"filter": "eo:cloud_cover < 1", "sortby": "eo:cloud_cover"},
    "by cloud, all": lambda d: {"sortby": d.choice(["eo:cloud_cover", "-eo:cloud_cover"])},
    "by platform": lambda d: {"sortby": "-platform"},
    "by id": lambda d: {"sortby": d.choice(["id", "-id"])},
    "oldest": lambda d: {"sortby": "datetime"},
    "array holds": lambda d: {"filter": "A_CONTAINS(instruments, ('msi'))"},
    "array holds, nothing": lambda d: {"filter": "A_CONTAINS(instruments, ('nowhere'))"},
    "open start": lambda d: {"datetime": f"../{d.randrange(2015, 2024)}-06-01T00:00:00Z"},
    "open end, one collection": lambda d: {
        "datetime": f"{d.randrange(2015, 2024)}-06-01T00:00:00Z/..", "collections": [d.choice(COLLECTIONS)]},
    "id LIKE prefix": lambda d: {"filter": f"id LIKE '{d.choice(['al_m', 'S2B_1', 'LC08', 'S2A'])}%'"},
    "id LIKE substring": lambda d: {"filter": f"id LIKE '%{d.randrange(1000, 9999)}%'"},
    "CASEI(platform)": lambda d: {"filter": "CASEI(platform) = CASEI('Landsat-8')"},
    "calculation": lambda d: {"filter": f"gsd * {d.randrange(2, 9)} > 1000"},
    "function": lambda d: {"filter": "length(platform) > 40"},
    "IS NULL": lambda d: {"filter": "eo:cloud_cover IS NULL AND gsd IS NULL"},
    "NOT": lambda d: {"filter": "NOT (eo:cloud_cover < 99.99)"},
    "property against property": lambda d: {"filter": "created > updated"},
    "T_DURING": lambda d: {"filter": "T_DURING(datetime, INTERVAL('2019-06-01','2019-06-03'))"},
    "crossing a line": lambda d: {
        "filter": f"S_CROSSES(geometry, LINESTRING({d.uniform(-150, 0)} -50, {d.uniform(0, 150)} 60))"},
}  # fmt: skip


def request(parameters: dict[str, Any]) -> Any:
    text = parameters.pop("sortby", None)
    return build_search(SearchRequest(**parameters, sortby=parse_sort_text(text) if text else None, limit=10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--times", type=int, default=15, help="questions of a family")
    parser.add_argument("--only", default="", help="families whose name holds this")
    options = parser.parse_args()
    print(describe())
    catalog = Catalog.open(options.catalog)
    started = time.perf_counter()
    catalog.index.refresh()
    print(f"opened in {(time.perf_counter() - started) * 1e3:.0f} ms")
    warm = catalog.search(request({}), EVERYTHING)
    print(f"{warm.matched} items; milliseconds, page of ten with documents, then the exact count")
    print(f"{'family':42}{'p50':>8}{'p95':>8}{'largest':>9}   {'count p50':>9}{'largest':>9}{'found':>11}")
    for name, ask in FAMILIES.items():
        if options.only not in name:
            continue
        draw = random.Random(1)
        pages, counts, found = [], [], 0
        for number in range(options.times):
            search = request(ask(draw))
            try:
                started = time.perf_counter()
                catalog.search(replace(search, count="none"), EVERYTHING)
                pages.append((time.perf_counter() - started) * 1e3)
                if number < max(3, options.times // 3):
                    started = time.perf_counter()
                    found = catalog.search(replace(search, count="exact", limit=1), EVERYTHING).matched or 0
                    counts.append((time.perf_counter() - started) * 1e3)
            except SwathError as error:
                print(f"{name:42} {error}")
                break
        else:
            pages.sort()
            p95 = pages[min(len(pages) - 1, int(len(pages) * 0.95))]
            print(f"{name:42}{statistics.median(pages):8.1f}{p95:8.1f}{pages[-1]:9.1f}   "
                  f"{statistics.median(counts):9.1f}{max(counts):9.1f}{found:11,}")  # fmt: skip
    histograms(catalog, options.times)
    catalog.close()


def histograms(catalog: Catalog, times: int) -> None:
    """How items are spread over months, clouds and the world, over the whole catalogue."""
    everything = request({}).expression
    months = [
        parse_temporal(f"{year}-{month:02d}-01T00:00:00Z") for year in range(2010, 2027) for month in range(1, 13)
    ]
    edges = [month[0] for month in months if month]
    asked: dict[str, Callable[[], Any]] = {
        "histogram by month": lambda: catalog.histogram(everything, "datetime", edges, EVERYTHING),
        "histogram of cloud cover": lambda: catalog.histogram(
            everything, "eo:cloud_cover", range(0, 101, 5), EVERYTHING
        ),
        "grid of 10 degrees": lambda: catalog.grid(everything, 10, EVERYTHING),
        "grid of 1 degree": lambda: catalog.grid(everything, 1, EVERYTHING),
    }
    for name, ask in asked.items():
        took = []
        for _ in range(times):
            started = time.perf_counter()
            ask()
            took.append((time.perf_counter() - started) * 1e3)
        print(f"{name:42}{statistics.median(took):8.1f}{sorted(took)[int(times * 0.95)]:8.1f}{max(took):9.1f}")


if __name__ == "__main__":
    main()
