"""How fast searches are in many processes at once, first alone, then beside a writer and the process that folds.

    python -m benchmarks.readers CATALOG [--readers 10] [--seconds 60] [--pause 0]

CATALOG was made by ../shared/bench/make_catalogue.py and `swath load`; a copy beside it is written, not itself. Every
reader asks for pages of ten, one after the other: without a pause, more readers than cores wait for each other, the
writer and the folds too. The writer puts 500 items a second: new ones,
changed ones and removals. p50, p95 and p99 are printed for each kind of question, with the largest size of the log.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.machine import describe
from benchmarks.search import FAMILIES, request
from swath.access import EVERYTHING
from swath.catalog import Catalog
from swath.cli.folding import beside
from swath.stac.document import read_document
from swath.store.columns.manifest import read_manifest
from swath.store.records import Operation, PreparedWrite, Removal

KINDS = (
    "latest ten", "one collection, latest", "collection, 1 degree, a month", "40 x 30 degrees, a year, little cloud",
    "platform", "by cloud, all",
)  # fmt: skip
BATCH, RATE = 25, 500  # items of a commit, items a second

Times: TypeAlias = dict[str, list[float]]  # milliseconds


@dataclass
class Written:
    """What the writer did: items, commits that came late, how long each took, and the largest log in bytes."""

    items: int = 0
    late: int = 0
    seconds: float = 0.0
    log: int = 0
    commits: list[float] = field(default_factory=list)  # milliseconds


def read(folder: Path, seed: int, seconds: float, pause: float) -> Times:
    """Ask until the time is over. The first question of each kind is not measured: it fills what a process keeps."""
    draw, times = random.Random(seed), {kind: list[float]() for kind in KINDS}
    catalog = Catalog.open(folder)
    for kind in KINDS:
        catalog.search(request(FAMILIES[kind](draw)), EVERYTHING)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        kind = draw.choice(KINDS)
        search = replace(request(FAMILIES[kind](draw)), count="none")
        started = time.perf_counter()
        catalog.search(search, EVERYTHING)
        times[kind].append((time.perf_counter() - started) * 1e3)
        if pause:
            time.sleep(draw.uniform(0, 2 * pause))
    catalog.close()
    return times


def examples(catalog: Catalog, count: int) -> list[dict[str, Any]]:
    """Items as they are, spread over the newest of each collection."""
    found: list[dict[str, Any]] = []
    for record in catalog.ledger.collections():
        search = request({"collections": [record.id]})
        page = catalog.search(replace(search, limit=count, count="none"), EVERYTHING)
        found += [json.loads(item.body) for item in page.items]
    return found


def batches(items: list[dict[str, Any]], draw: random.Random) -> Iterator[list[dict[str, Any] | Removal]]:
    """Six in ten are new, three change what was written, one removes it."""
    written: list[dict[str, Any]] = []
    for number in itertools.count():
        batch: dict[str, dict[str, Any] | Removal] = {}
        for place in range(BATCH):
            chosen = draw.random()
            if chosen < 0.6 or not written:
                item = dict(draw.choice(items))
                item["id"] = f"{item['id']}-{number}-{place}"
                written.append(item)
                batch[item["id"]] = item
                continue
            which = draw.randrange(len(written))
            item = written[which]
            if item["id"] in batch:
                continue
            if chosen < 0.9:
                batch[item["id"]] = {
                    **item,
                    "properties": {**item["properties"], "eo:cloud_cover": draw.random() * 100},
                }
            else:
                written[which] = written[-1]
                written.pop()
                batch[item["id"]] = Removal(Operation.DELETE_ITEM, item["id"], item["collection"])
        yield list(batch.values())


def write(folder: Path, seconds: float) -> Written:
    """Write at the rate, commit by commit, until the time is over."""
    catalog, did = Catalog.open(folder), Written()
    log = folder / "catalog.db-wal"
    source = batches(examples(catalog, 200), random.Random(5))
    started = due = time.perf_counter()
    while time.perf_counter() < started + seconds:
        batch = next(source)
        writes: list[PreparedWrite | Removal] = [
            each if isinstance(each, Removal) else catalog.ledger.prepare(read_document(json.dumps(each).encode()))
            for each in batch
        ]
        began = time.perf_counter()
        did.items += len(catalog.ledger.write(writes, "upsert", "benchmark").outcomes)
        did.commits.append((time.perf_counter() - began) * 1e3)
        did.log = max(did.log, log.stat().st_size)
        due += len(batch) / RATE
        did.late += time.perf_counter() > due
        time.sleep(max(0.0, due - time.perf_counter()))
    did.seconds = time.perf_counter() - started
    catalog.close()
    return did


def measure(folder: Path, readers: int, seconds: float, pause: float, *, written: bool) -> tuple[Times, Written]:
    """All processes begin together."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(readers + written)
    with (
        beside(folder) if written else nullcontext(),
        ProcessPoolExecutor(readers + written, context, together.wait, (120,)) as pool,
    ):
        writing: Future[Written] | None = pool.submit(write, folder, seconds) if written else None
        reading = [pool.submit(read, folder, seed, seconds, pause) for seed in range(readers)]
        times: Times = {kind: [] for kind in KINDS}
        for each in reading:
            for kind, found in each.result().items():
                times[kind] += found
        return times, writing.result() if writing else Written()


def quantiles(times: list[float]) -> list[float]:
    """p50, p95, p99."""
    ordered = sorted(times) or [float("nan")]
    return [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99)]


def generation(folder: Path) -> int:
    catalog = Catalog.open(folder)
    try:
        return read_manifest(catalog.ledger).generation
    finally:
        catalog.close()


def report(alone: Times, beside_a_writer: Times, seconds: float) -> None:
    print(f"\n{'milliseconds':40}{'alone':>9}{'':16}{'with a writer':>14}{'':11}{'p99':>6}")
    print(f"{'kind':40}{'p50':>9}{'p95':>8}{'p99':>8}{'p50':>9}{'p95':>8}{'p99':>8}{'ratio':>6}")
    rows = [(kind, alone[kind], beside_a_writer[kind]) for kind in KINDS]
    every, every_beside = (list(itertools.chain(*times.values())) for times in (alone, beside_a_writer))
    rows.append(("all", every, every_beside))
    for kind, *times in rows:
        before, after = map(quantiles, times)
        print(f"{kind:40} {''.join(f'{each:8.1f}' for each in before)} {''.join(f'{each:8.1f}' for each in after)}"
              f"{after[2] / before[2]:6.1f}")  # fmt: skip
    print(f"searches a second: {len(every) / seconds:,.0f} alone, {len(every_beside) / seconds:,.0f} with a writer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two parts")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two searches of a reader, on average")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(prefix="swath-readers-", dir=options.catalog.absolute().parent) as place:
        folder = Path(place) / "catalog"
        shutil.copytree(options.catalog, folder)
        alone, _ = measure(folder, options.readers, options.seconds, options.pause, written=False)
        before = generation(folder)
        with_writer, did = measure(folder, options.readers, options.seconds, options.pause, written=True)
        folds = generation(folder) - before
    report(alone, with_writer, options.seconds)
    print(
        f"written: {did.items:,} items, {did.items / did.seconds:,.0f} a second, {did.late} commits late; {folds} folds"
    )
    print("commits of 25 items, p50, p95, p99: " + ", ".join(f"{each:.1f}" for each in quantiles(did.commits)) + " ms")
    print(f"the largest log: {did.log / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
