"""How long it takes to tell of collections and queryables, in process: what GET /collections and /queryables ask.

    python -m benchmarks.facts CATALOG
    python -m benchmarks.facts --make 1000 CATALOG

"cold" is the first question of a new process, its opening of the catalogue included, imports not. "after an update" and
"after a deletion" are asked each time one item was written again with another cloud cover, or the newest one deleted:
CATALOG is changed, use a copy. `--make` makes one of so many collections with a hundred items each. What is told is
processor time, which is all that these questions take: nothing waits, and others on the machine do not show.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from swath.access import EVERYTHING
from swath.catalog import Catalog, SearchRequest, build_search
from swath.limits import LIMITS
from swath.session import Session

QUESTIONS: dict[str, Callable[[Catalog], Any]] = {
    "collections": lambda catalog: catalog.collections(LIMITS.collections_default, None, EVERYTHING),
    "one collection": lambda catalog: catalog.collection(names(catalog)[0], EVERYTHING),
    "queryables": lambda catalog: catalog.queryables(None, EVERYTHING),
    "queryables of one collection": lambda catalog: catalog.queryables(names(catalog)[0], EVERYTHING),
}


def names(catalog: Catalog) -> list[str]:
    return [record.id for record in catalog.ledger.collections()]


def cold(folder: Path, question: str) -> float:
    """Milliseconds, told by a process that does nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.facts", str(folder), "--once", question],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def once(folder: Path, question: str) -> float:
    started = time.thread_time()
    catalog = Catalog.open(folder)
    QUESTIONS[question](catalog)
    return (time.thread_time() - started) * 1e3


def asked(catalog: Catalog, question: str) -> float:
    started = time.thread_time()
    QUESTIONS[question](catalog)
    return (time.thread_time() - started) * 1e3


def row(name: str, took: list[float]) -> None:
    took.sort()
    p95 = took[min(len(took) - 1, int(len(took) * 0.95))]
    print(f"{name:66}{statistics.median(took):9.1f}{p95:9.1f}{took[-1]:9.1f}")


def made(collections: int) -> Iterator[dict[str, Any]]:
    """Items with thirty properties, as many as those of real collections have."""
    draw = random.Random(1)
    for number in range(100 * collections):
        properties: dict[str, Any] = {f"x:number_{n}": draw.randrange(10_000) / 8 for n in range(15)}
        properties |= {f"x:word_{n}": f"word {draw.randrange(2 ** (n + 1))}" for n in range(13)}
        properties["eo:cloud_cover"] = draw.uniform(0, 100)
        year, month, day = draw.randrange(2015, 2025), draw.randrange(1, 13), draw.randrange(1, 29)
        properties["datetime"] = f"{year}-{month:02d}-{day:02d}T10:00:00Z"
        point = {"type": "Point", "coordinates": [draw.uniform(-180, 180), draw.uniform(-90, 90)]}
        yield {
            "type": "Feature", "stac_version": "1.0.0", "id": f"item-{number}", "geometry": point, "links": [],
            "collection": f"collection-{number % collections:04d}", "properties": properties, "assets": {},
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--make", type=int, default=0, help="collections of a catalogue to make")
    parser.add_argument("--once", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(once(options.catalog, options.once))
        return
    if options.make:
        with Session(options.catalog, create=True) as session:
            session.write(made(options.make))
        return
    print(describe())
    print(f"{'milliseconds of processor time':66}{'p50':>9}{'p95':>9}{'largest':>9}")
    for question in QUESTIONS:
        row(f"{question}, cold", [cold(options.catalog, question) for _ in range(options.times)])
    with Session(options.catalog) as session:
        after_writes(session, options.times)


def after_writes(session: Session, times: int) -> None:
    draw, catalog = random.Random(2), session._catalog
    for question in QUESTIONS:
        QUESTIONS[question](catalog)
        updates, deletions = [], []
        for _ in range(times):
            moment = f"{draw.randrange(2015, 2025)}-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d}T12:00:00Z"
            found = catalog.search(build_search(SearchRequest(datetime=f"../{moment}", limit=1)), EVERYTHING)
            item = session.get(found.items[0].collection, found.items[0].id)
            item["properties"]["eo:cloud_cover"] = random.uniform(0, 100)  # another one in the next run too
            session.write([item])
            catalog.index.refresh()
            updates.append(asked(catalog, question))
            newest = catalog.search(build_search(SearchRequest(limit=1)), EVERYTHING).items[0]
            session.remove(newest.collection, newest.id)
            catalog.index.refresh()
            deletions.append(asked(catalog, question))
        row(f"{question}, after an update", updates)
        row(f"{question}, after a deletion of the newest item", deletions)


if __name__ == "__main__":
    main()
