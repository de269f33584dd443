"""How long single writes wait beside `swath load` into the same catalogue.

    python -m benchmarks.waits --data ../shared/data --count 50000

One thread writes real items with new ids, one after the other, on the disk as it is: first alone, then for as long as
the load takes. Both processes want the same write lock; a gate before it lets them take turns.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import SWATH

from benchmarks.machine import describe
from benchmarks.writes import documents
from swath.stac.document import read_document
from swath.store.sqlite.ledger import SqliteLedger

COLLECTION = b'{"type":"Collection","id":"c","description":"c","license":"other","links":[]}'


def parse_args() -> argparse.Namespace:
    shared = Path(__file__).parent.parent.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder of real items")
    parser.add_argument("--count", type=int, default=50_000, help="items of the load")
    return parser.parse_args()


def waits(ledger: SqliteLedger, items: list[bytes], name: str, over: Callable[[], bool]) -> None:
    """Write until it is over, and print how long that took."""
    taken = []
    for number in itertools.count():
        write = ledger.prepare(read_document(b'{"id":"%s-%d",' % (name.encode(), number) + items[number % len(items)]))
        begun = time.perf_counter()
        ledger.write([write], "insert", "benchmark")
        taken.append(time.perf_counter() - begun)
        if over():
            break
    cuts = [each * 1e3 for each in statistics.quantiles(taken, n=100)]
    print(f"{name:6} | {len(taken):6} | {cuts[49]:6.1f} | {cuts[94]:6.1f} | {cuts[98]:6.1f} | {max(taken) * 1e3:6.1f}")


def main() -> int:
    args = parse_args()
    print(describe())
    items = documents(args.data)
    print(f"input: {args.count:,} items of {args.data} in the load, {statistics.mean(map(len, items)):,.0f} bytes each")
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name) / "items.ndjson", Path(name) / "c"
        with source.open("wb") as out:
            for number, item in enumerate(itertools.islice(itertools.cycle(items), args.count)):
                out.write(b'{"id":"i%08d",' % number + item + b"\n")
        ledger = SqliteLedger.create(folder)
        ledger.write([ledger.prepare(read_document(COLLECTION))], "insert", "benchmark")
        print("       | writes | p50 ms | p95 ms | p99 ms | max ms")
        until = time.monotonic() + 5
        waits(ledger, items, "alone", lambda: time.monotonic() > until)
        begun = time.perf_counter()
        with subprocess.Popen([SWATH, "load", folder, source], stderr=subprocess.DEVNULL) as load:
            waits(ledger, items, "beside", lambda: load.poll() is not None)
        assert load.returncode == 0
        print(f"the load: {args.count / (time.perf_counter() - begun):,.0f} items/s")
        ledger.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
