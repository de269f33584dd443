"""How fast `swath load` is, and how much memory and disk it takes.

    python -m benchmarks.load --data ../shared/data --make ../shared/bench/make_catalogue.py --count 100000

Makes items out of real ones, loads them in one process, and prints items/s, peak memory, bytes written and bytes
on disk. Then once more with ids in random order, which costs the key table its locality.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe

HERE = Path(__file__).parent
SWATH = str(Path(sys.executable).with_name("swath"))


def parse_args() -> argparse.Namespace:
    shared = HERE.parent.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder of real items")
    parser.add_argument("--make", type=Path, default=shared / "bench" / "make_catalogue.py", help="the multiplier")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--random-ids", type=int, default=20_000, help="items of the second run")
    return parser.parse_args()


def load(folder: Path, *sources: Path) -> tuple[float, float, float]:
    """Load in a process of its own; seconds, peak memory in MB, MB written to disk."""
    started = time.perf_counter()
    process = subprocess.Popen([SWATH, "load", str(folder), *map(str, sources)], stderr=subprocess.DEVNULL)
    written = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
            written = max(written, int(next(line.split()[1] for line in lines if line.startswith("write_bytes"))))
        except (OSError, StopIteration):
            pass
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    assert process.returncode == 0, process.returncode
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return seconds, peak, written / 1e6


def report(name: str, count: int, size: int, folder: Path, figures: tuple[float, float, float]) -> None:
    seconds, peak, written = figures
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(
        f"{name}: {count:,} items, {size / count:,.0f} bytes of JSON each: {count / seconds:,.0f} items/s, "
        f"peak memory {peak:,.0f} MB, {written * 1e6 / count:,.0f} bytes written and "
        f"{disk / count:,.0f} bytes on disk per item ({disk / size:.1%} of the JSON)"
    )


def main() -> int:
    args = parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items, collections = folder / "items.ndjson", folder / "collections.ndjson"
        # The largest child so far counts as peak memory: make the input in a child of a child.
        command = [sys.executable, args.make, "--source", args.data, "--count", args.count, "--out", items,
                   "--collections-out", collections]  # fmt: skip
        subprocess.run(["sh", "-c", '"$@" >/dev/null 2>&1 &\nwait $!', "sh", *map(str, command)], check=True)
        if not items.exists():
            print(f"{args.make} made nothing", file=sys.stderr)
            return 1
        report("as made", args.count, items.stat().st_size, folder / "a", load(folder / "a", collections, items))
        shutil.rmtree(folder / "a")
        shuffled = folder / "random.ndjson"
        count = shuffle(items, shuffled, args.random_ids)
        figures = load(folder / "b", collections, shuffled)
        report("random ids", count, shuffled.stat().st_size, folder / "b", figures)
    return 0


def shuffle(source: Path, target: Path, most: int) -> int:
    """The first items with random ids."""
    draw, count = random.Random(1), 0
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for line in lines:
            item = json.loads(line)
            item["id"] = f"{draw.getrandbits(128):032x}"
            out.write(json.dumps(item, separators=(",", ":")) + os.linesep)
            count += 1
            if count == most:
                break
    return count


if __name__ == "__main__":
    sys.exit(main())
