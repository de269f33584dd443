"""How fast a bulk upload is beside `swath load` of the same file.

    python -m benchmarks.bulk --data ../shared/data --count 50000 --runs 3

Real items, again and again with new ids, of one collection, into a new catalogue each time: by `swath load`, and as
NDJSON over HTTP to `swath serve` (`POST /collections/{c}/bulk`), in turns. Timed from the start of the command to its
end, and from the first byte of the request to the last of the answer; then everything is durable. Segments are made by
the load itself, and by the server beside and behind the upload.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests.conftest import SWATH, serving

from benchmarks.machine import describe
from benchmarks.writes import documents

HERE = Path(__file__).parent
COLLECTION = {"type": "Collection", "id": "c", "description": "c", "license": "other", "links": []}


def parse_args() -> argparse.Namespace:
    shared = HERE.parent.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=shared / "data", help="folder of real items")
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


def load(folder: Path, *sources: Path) -> float:
    """Seconds of `swath load`."""
    started = time.perf_counter()
    subprocess.run([SWATH, "load", str(folder), *map(str, sources)], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def upload(url: str, items: Path, count: int) -> float:
    """Seconds of a bulk upload."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=3_600)
    started = time.perf_counter()
    with items.open("rb") as body:
        headers = {"Content-Type": "application/x-ndjson", "Content-Length": str(items.stat().st_size)}
        connection.request("POST", "/collections/c/bulk?report=refused", body, headers)
        answer = json.loads(connection.getresponse().read())
    seconds = time.perf_counter() - started
    # Some real items break a structural rule, which a load takes as they are.
    assert answer["created"] + answer["refused"] == count, answer["refused"]
    assert answer["refused"] < count / 100, answer["refused"]
    connection.close()
    return seconds


def main() -> int:
    args = parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items, collection = folder / "items.ndjson", folder / "collection.ndjson"
        collection.write_text(json.dumps(COLLECTION))
        with items.open("wb") as out:
            for number, item in enumerate(itertools.islice(itertools.cycle(documents(args.data)), args.count)):
                out.write(b'{"id":"i%08d",' % number + item + b"\n")
        print(f"input: {args.count:,} items of {items.stat().st_size / args.count:,.0f} bytes each")
        loads, uploads = [], []
        for run in range(args.runs):
            loads.append(load(folder / f"load {run}", collection, items))
            load(folder / f"bulk {run}", collection)
            with serving(folder / f"bulk {run}") as server:
                uploads.append(upload(server.url, items, args.count))
            print(f"run {run + 1}: load {args.count / loads[-1]:,.0f} items/s, bulk {args.count / uploads[-1]:,.0f}")
    ratio = statistics.median(loads) / statistics.median(uploads)
    print(f"bulk is {ratio:.0%} of load (medians)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
