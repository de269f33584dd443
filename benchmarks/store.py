"""How fast files come in and go out, and what the conversion of deliveries does to everybody else.

    python -m benchmarks.store [--gigabytes 5] [--rounds 3] [FOLDER]
    python -m benchmarks.store --queue CATALOG [--deliveries 16] [--size 2500] [FOLDER]

The first: a file of random bytes is sent raw to `POST /v2/assets` and fetched again by its signed link. Beside it, in
turns and on the same disk, what a careful person does by hand: `dd … conv=fsync`, then `sha256sum` of what came. Both
downloads are written to a file and hashed: Swath's by this client while it reads. Memory is the resident set of all
processes of the server that is not mapped from files, looked at all along.

The second: deliveries (GeoTIFFs with four bands, uint16) are queued at a server of CATALOG, which was made by
../shared/bench/make_catalogue.py and `swath load`; they stay there. One client asks `/health/live`, another one the
searches of `benchmarks.serve`, each 20 times a second, first while nothing is to be done, then while the
deliveries are sent, and then until the last one is converted. No answers are kept (SWATH_KEPT_ANSWERS_MB=0).
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import itertools
import json
import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks import convert
from benchmarks.machine import describe
from benchmarks.serve import SWATH, Ask, Server, families, fetch, sample, served
from swath.catalog import Catalog

_MB = 1 << 20
_PACE_SECONDS = 0.05
_IDLE_SECONDS = 30.0
_RAW = {"Content-Type": "application/octet-stream"}


def at(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=600, blocksize=_MB)


def upload(port: int, path: Path) -> str:
    """Send a file; the id of the delivery."""
    with path.open("rb") as body:
        connection = at(port)
        connection.request("POST", f"/v2/assets?filename={path.name}&datetime=2020-01-01T00:00:00Z", body,
                           {**_RAW, "Content-Length": str(path.stat().st_size)})  # fmt: skip
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 201:
            raise SystemExit(f"the upload gave {answer.status}: {said[:300]!r}")
        return str(json.loads(said)["id"])


def download(port: int, delivery: str, target: Path) -> str:
    """Fetch a file by a signed link; the SHA-256 of what came."""
    connection = at(port)
    connection.request("POST", f"/v2/assets/{delivery}/download-url")
    link = urlsplit(json.loads(connection.getresponse().read())["url"])
    connection = at(port)
    connection.request("GET", f"{link.path}?{link.query}")
    answer, digest = connection.getresponse(), hashlib.sha256()
    with target.open("wb") as out:
        while part := answer.read(_MB):
            digest.update(part)
            out.write(part)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def by_hand(source: Path, target: Path) -> str:
    """`dd` and `sha256sum`; the latter's answer."""
    subprocess.run(["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"], check=True)
    return subprocess.run(["sha256sum", target], check=True, capture_output=True, text=True).stdout.split()[0]


def anonymous_mb(server: Server) -> float:
    """Resident and not mapped from files: all processes of the server and below it (Linux)."""
    parents: dict[int, tuple[int, int, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[1:3]
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            parents[int(folder.name)] = int(parent), int(group), int(status.get("RssAnon", "0 kB").split()[0])
    ours = {pid for pid, (_, group, _) in parents.items() if group == server.group}
    while more := {pid for pid, (parent, _, _) in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(parents[pid][2] for pid in ours) / 1024


@contextmanager
def repeated(what: Callable[[], Any], pace: float, results: list[Any]) -> Iterator[None]:
    """Do something again and again beside the block, at a pace in seconds."""
    over = threading.Event()

    def run() -> None:
        due = time.perf_counter()
        while not over.is_set():
            results.append(what())
            due = max(due + pace, time.perf_counter())
            over.wait(due - time.perf_counter())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def transfers(folder: Path, gigabytes: float, rounds: int) -> None:
    source, target = folder / "sent.bin", folder / "target"
    digest = hashlib.sha256()
    with source.open("wb") as out:
        for _ in range(int(gigabytes * 1_000)):
            part = os.urandom(1_000_000)
            digest.update(part)
            out.write(part)
    size = source.stat().st_size
    print(f"input: {size / 1e9:.1f} GB of random bytes\n")
    print(f"{'':36}{'seconds':>10}{'MB/s':>8}   memory")
    took: dict[str, list[float]] = {}
    with served(SWATH, "serve", str(folder / "catalog")) as server:
        (folder / "first.bin").write_bytes(os.urandom(_MB))
        download(server.port, upload(server.port, folder / "first.bin"), target)
        delivery = ""

        def sent() -> str:
            nonlocal delivery
            delivery = upload(server.port, source)
            return digest.hexdigest()

        steps: dict[str, Callable[[], str]] = {
            "dd and sha256sum": lambda: by_hand(source, target),
            "upload": sent,
            "download": lambda: download(server.port, delivery, target),
        }
        for number in range(rounds):
            for name, step in steps.items():
                with suppress(FileNotFoundError):
                    target.unlink()
                subprocess.run(["sync", "-f", folder], check=True)
                before, memory = anonymous_mb(server), list[float]()
                with repeated(lambda: anonymous_mb(server), 0.2, memory):
                    started = time.perf_counter()
                    found = step()
                    took.setdefault(name, []).append(time.perf_counter() - started)
                if found != digest.hexdigest():
                    raise SystemExit(f"{name}: other bytes came than were sent")
                told = "" if name.startswith("dd") else f"   {before:.0f} MB before, {max(memory):.0f} MB at most"
                print(f"{name:36}{took[name][-1]:10.1f}{size / 1e6 / took[name][-1]:8.0f}{told}", flush=True)
            ended(server.port, 0)
            answer = at(server.port)
            answer.request("DELETE", f"/v2/assets/{delivery}")
            answer.getresponse().read()
            with source.open("r+b") as changed:  # other bytes, or the store would know them
                changed.write(number.to_bytes(8, "big"))
            digest = hashlib.sha256()
            with source.open("rb") as sent_next:
                while part := sent_next.read(_MB):
                    digest.update(part)
    middle = {name: float(np.median(times)) for name, times in took.items()}
    for name in ("upload", "download"):
        print(f"the {name} runs at {middle['dd and sha256sum'] / middle[name]:.0%} of the speed of dd and sha256sum")


def ended(port: int, at_most: int) -> list[dict[str, Any]]:
    """Wait until no more deliveries than so many are to be worked on; all of them."""
    while True:
        listing = json.loads(fetch(port, Ask("/v2/assets?size=100"))[0])["content"]
        states = Counter(each["geospatialMetadataExtractionStatus"] for each in listing)
        if states["NOT_PROCESSED"] + states["IN_PROGRESS"] <= at_most:
            return list(listing)
        time.sleep(0.5)


def queue(folder: Path, catalog: Path, count: int, size: int) -> None:
    images = []
    for number in range(count):
        images.append(folder / f"image-{number}-{time.time_ns()}.tif")
        convert.make(images[-1], size, seed=time.time_ns())
    megabytes = size**2 * 8 / 1e6
    print(f"input: {catalog}; {count} deliveries of {megabytes:,.0f} MB of pixels\n")
    os.environ["SWATH_KEPT_ANSWERS_MB"] = "0"
    with served(SWATH, "serve", str(catalog)) as server:
        turn = cycle_of(server)
        for _ in range(200):  # warm
            fetch(server.port, next(turn))

        def timed(ask: Callable[[], Ask]) -> Callable[[], float]:
            def once() -> float:
                asked, started = ask(), time.perf_counter()
                fetch(server.port, asked)
                return (time.perf_counter() - started) * 1e3

            return once

        live = timed(lambda: Ask("/health/live"))
        search = timed(lambda: next(turn))
        rows: dict[str, tuple[list[float], list[float], float]] = {}
        sent: set[str] = set()
        for phase in ("idle", f"while {count} are sent", "while they are converted"):
            lives, searches = list[float](), list[float]()
            with repeated(live, _PACE_SECONDS, lives), repeated(search, _PACE_SECONDS, searches):
                started = time.perf_counter()
                if phase == "idle":
                    time.sleep(_IDLE_SECONDS)
                elif not sent:
                    sent = {upload(server.port, image) for image in images}
                else:
                    done = ended(server.port, 0)
                rows[phase] = lives, searches, time.perf_counter() - started
        states = Counter(each["geospatialMetadataExtractionStatus"] for each in done if each["id"] in sent)
    print(f"{'ms':32}{'live p50':>10}{'p95':>8}{'max':>8}{'search p50':>12}{'p95':>8}{'max':>8}{'seconds':>10}")
    for phase, (lives, searches, seconds) in rows.items():
        (l50, l95), (s50, s95) = (np.percentile(times, (50, 95)) for times in (lives, searches))
        print(
            f"{phase:32}{l50:10.1f}{l95:8.1f}{max(lives):8.1f}{s50:12.1f}{s95:8.1f}{max(searches):8.1f}{seconds:10.1f}"
        )
    idle, _, busy = (np.percentile(searches, 95) for _, searches, _ in rows.values())
    print(f"deliveries: {dict(states)}; the p95 of searches is {busy / idle:.2f} times that of the idle server")


def cycle_of(server: Server) -> Iterator[Ask]:
    """The searches of all families in turn."""
    kinds = [itertools.cycle(asks) for asks in families(sample(server.port)).values()]
    return (next(kind) for kind in itertools.cycle(kinds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--gigabytes", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queue", type=Path, metavar="CATALOG")
    parser.add_argument("--deliveries", type=int, default=16)
    parser.add_argument("--size", type=int, default=2_500)
    asked = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=asked.folder) as work:
        folder = Path(work).resolve()
        if asked.queue:
            queue(folder, asked.queue, asked.deliveries, asked.size)
        else:
            Catalog.open(folder / "catalog", create=True).close()
            transfers(folder, asked.gigabytes, asked.rounds)


if __name__ == "__main__":
    main()
