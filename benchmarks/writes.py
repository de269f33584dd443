"""How many single writes a second become durable on a slow disk, by how many writers.

    python -m benchmarks.writes --data ../shared/data --syncs 150 --threads 1,4,16,64 --seconds 10

Each thread of one process writes real items, one after the other, with new ids, and goes on when its write is
durable. A sync takes as long as it does on a disk that makes so many a second, and no two go on at once; waiting
writes share a transaction, and so a sync. Also printed: how long a write takes, and how many share one.

Where there is a C compiler, slow_syncs.c stands before the system's fsync: this process runs again under it. Else, and
with --vfs, it is the tests' VFS, which is Python: each of SQLite's writes waits for the interpreter then, too.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.shim import Call, Shim

from benchmarks.machine import describe
from swath.stac.document import read_document
from swath.store.sqlite.ledger import SqliteLedger

HERE = Path(__file__).parent


def parse_args() -> argparse.Namespace:
    shared = HERE.parent.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder of real items")
    parser.add_argument("--syncs", type=float, default=150.0, help="that the disk makes in a second; 0: as it is")
    parser.add_argument("--threads", default="1,4,16,64")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--vfs", action="store_true", help="slow syncs by the tests' VFS")
    return parser.parse_args()


class Preloaded:
    """slow_syncs.c, which this process runs under."""

    def __init__(self) -> None:
        self._library, self._before = ctypes.CDLL(None), 0
        self._library.syncs_so_far.restype = ctypes.c_long

    def __enter__(self) -> Preloaded:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def count(self) -> int:
        return int(self._library.syncs_so_far()) - self._before

    @count.setter
    def count(self, count: int) -> None:
        self._before = int(self._library.syncs_so_far()) - count


def run_preloaded(syncs: float) -> None:
    """This process again, with slow syncs; back here without a compiler."""
    library = Path(tempfile.gettempdir()) / f"slow_syncs-{os.getuid()}.so"
    try:
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "slow_syncs.c", "-lpthread"], check=True)
    except (OSError, subprocess.CalledProcessError):
        return
    os.environ.update(LD_PRELOAD=str(library), SYNCS_A_SECOND=str(syncs))
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.writes", *sys.argv[1:]])


class SlowSyncs(Shim):
    """Each sync takes its share of a second, one after the other; the real one is not made beside it."""

    def __init__(self, a_second: float) -> None:
        super().__init__()
        self.syncs = a_second == 0
        self.count = 0
        self._seconds = 1 / a_second if a_second else 0.0
        self._disk = threading.Lock()

    def call(self, call: Call, _path: str) -> None:
        if call == "sync":
            with self._disk:
                self.count += 1
                time.sleep(self._seconds)


def documents(data: Path) -> list[bytes]:
    """All sample items as those of one collection, without their ids and the brace that begins them."""
    lines = [line for file in sorted((data / "items").glob("*.ndjson")) for line in file.read_bytes().splitlines()]
    items = [json.loads(line) | {"collection": "c"} for line in lines]
    for item in items:
        del item["id"]
    return [json.dumps(item, separators=(",", ":")).encode()[1:] for item in items]


def write_for(ledger: SqliteLedger, items: list[bytes], threads: int, seconds: float) -> list[float]:
    """Seconds that each write took. A client makes its document elsewhere: here it only gets its id."""
    taken: list[float] = []
    until = time.perf_counter() + seconds

    def write(number: int) -> None:
        for turn in itertools.count():
            document = b'{"id":"%d-%d-%d",' % (threads, number, turn) + items[(turn * threads + number) % len(items)]
            begun = time.perf_counter()
            if begun > until:
                return
            with ledger.turn(len(document)):
                ready = ledger.prepare(read_document(document))
            ledger.write([ready], "insert", "benchmark")
            taken.append(time.perf_counter() - begun)

    workers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return taken


def main() -> int:
    args = parse_args()
    preloaded = "SYNCS_A_SECOND" in os.environ
    if args.syncs and not args.vfs and not preloaded:
        run_preloaded(args.syncs)
    print(describe())
    print(f"syncs: {f'{args.syncs:g} a second, ' if args.syncs else ''}"
          f"{'before the C library' if preloaded else 'by a VFS in Python'}")  # fmt: skip
    items = documents(args.data)
    size = statistics.mean(map(len, items))
    print(f"input: {len(items):,} items of {args.data}, {size:,.0f} bytes each, again and again with new ids")
    print("threads | durable writes/s | syncs/s | writes a sync | CPU ms a write | p50 ms | p95 ms | p99 ms")
    collection = {"type": "Collection", "id": "c", "description": "c", "license": "other", "links": []}
    for threads in map(int, args.threads.split(",")):
        with tempfile.TemporaryDirectory() as name, Preloaded() if preloaded else SlowSyncs(args.syncs) as disk:
            ledger = SqliteLedger.create(Path(name) / "c")
            ledger.write([ledger.prepare(read_document(json.dumps(collection).encode()))], "insert", "benchmark")
            disk.count, begun, busy = 0, time.perf_counter(), time.process_time()
            taken = write_for(ledger, items, threads, args.seconds)
            seconds, syncs = time.perf_counter() - begun, disk.count
            busy = time.process_time() - busy
            ledger.close()
        cuts = statistics.quantiles(taken, n=100)
        print(
            f"{threads:7} | {len(taken) / seconds:16,.0f} | {syncs / seconds:7,.0f} | {len(taken) / syncs:13.1f} | "
            f"{busy / len(taken) * 1e3:14.2f} | {cuts[49] * 1e3:6.1f} | {cuts[94] * 1e3:6.1f} | {cuts[98] * 1e3:6.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
