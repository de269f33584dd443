"""How many requests a second `swath serve` answers, beside the same stack answering from memory.

    python -m benchmarks.serve --catalog FOLDER
    python -m benchmarks.serve --catalog FOLDER --load ../shared/bench/stac_load.py --load-python PYTHON

FOLDER was made by ../shared/bench/make_catalogue.py and `swath load`. Requests are drawn with a fixed seed from items
that the server shows; their answers are kept. A second server, started the same way, answers the same requests with the
kept bytes: the ceiling. The two take turns, so that noise falls on both. The clients are this process: they keep their
connections, send no Accept-Encoding (nothing is compressed), ask for no counts, and hold every answer against the first
one. CPU is what the server's processes used for an answer. --load runs stac_load.py afterwards. All is on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch
from urllib.parse import quote, urlencode

import numpy as np
import uvloop
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from benchmarks.machine import describe
from swath.catalog import Catalog
from swath.cli import serving
from swath.config import Settings
from swath.errors import NotFound
from swath.http.app import _Application
from swath.http.links import segment
from swath.http.routes import Route

ROUNDS = 3
VARIANTS = 40  # of the requests of a family
PATIENCE_SECONDS = 30  # for one answer
CLOUD = "eo:cloud_cover"
SWATH = str(Path(sys.executable).with_name("swath"))
Kept: TypeAlias = tuple[bytes, dict[str, str]]  # body and headers
Turn: TypeAlias = Iterator[tuple[bytes, bytes]]  # what is sent, and how the answer ends


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. A body is JSON, and means POST."""

    target: str
    body: bytes = b""

    def wire(self, port: int) -> bytes:
        head = f"{'POST' if self.body else 'GET'} {self.target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        if self.body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n"
        return head.encode() + b"\r\n" + self.body


@dataclass
class Tally:
    """What a server did in all rounds of a family. Times in seconds; `cpu` and `wall` are sums."""

    times: list[float] = field(default_factory=list)
    wall: float = 0
    cpu: float = 0
    errors: list[str] = field(default_factory=list)


class Server(NamedTuple):
    port: int
    group: int  # of its processes

    def cpu(self) -> float:
        """Seconds that its processes have used so far (Linux only)."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it ended meanwhile
                fields = stat.read_text().rpartition(")")[2].split()
                ticks += (int(fields[11]) + int(fields[12])) * (int(fields[2]) == self.group)
        return ticks / os.sysconf("SC_CLK_TCK")


class _Memory(_Application):
    """Swath's application, up to where a request would be carried to its handler."""

    answers: dict[Ask, Kept]

    async def handle(self, request: Request, route: Route) -> Response:
        if route.path == "/health/ready":
            return Response()
        query = request.scope["query_string"].decode()
        target = request.scope["path"] + (f"?{query}" if query else "")
        body = await self.body(request, route) if route.body else b""
        kept = self.answers.get(Ask(target, body))
        if kept is None:
            raise NotFound(f"no answer is kept for {target}")
        return Response(kept[0], headers=kept[1])


def memory_app(answers: Path, settings: Settings, catalog: str | Path | Catalog) -> ASGIApp:
    application = _Memory(settings, catalog)
    application.answers = {Ask(target, body): kept for target, body, kept in pickle.loads(answers.read_bytes())}
    return application.asgi()


@contextmanager
def served(*command: str) -> Iterator[Server]:
    """Run a server in a process group of its own until the block ends, however it ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen([*command, "--port", str(port)], start_new_session=True)
    try:
        deadline, ready = time.monotonic() + 60, False
        while not ready:
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=PATIENCE_SECONDS).close()
                ready = True
            if not ready and (process.poll() is not None or time.monotonic() > deadline):
                raise SystemExit(f"the server did not get ready: {' '.join(command)}")
            time.sleep(0.1)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):  # whatever outlived that
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fetch(port: int, ask: Ask) -> Kept:
    headers = {"Content-Type": "application/json"} if ask.body else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{ask.target}", ask.body or None, headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.read(), {n: v for n in ("content-type", "etag", "cache-control") if (v := answer.headers[n])}
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{ask.target} gave {error.code}: {error.read()[:300]!r}") from None


def get(path: str, **parameters: Any) -> Ask:
    return Ask(f"{path}?{urlencode({**parameters, 'count': 'none'}, quote_via=quote, safe='/:,')}")


def post(**members: Any) -> Ask:
    return Ask("/search", json.dumps({**members, "count": "none"}).encode())


def sample(port: int) -> list[dict[str, Any]]:
    """Items of every collection: its latest, and its first by id."""
    listing = json.loads(fetch(port, Ask("/collections?limit=1000"))[0])
    items: list[dict[str, Any]] = []
    for collection, order in itertools.product(listing["collections"], ("-datetime", "id")):
        path = f"/collections/{segment(collection['id'])}/items"
        items += json.loads(fetch(port, get(path, limit=50, sortby=order))[0])["features"]
    return [item for item in items if item.get("bbox") and item["properties"].get("datetime")]


def around(item: dict[str, Any], radius: float) -> tuple[float, float]:
    """The middle of an item's box, moved so that a circle around it stays within the world."""
    box, half = item["bbox"], len(item["bbox"]) // 2
    x, y = (box[0] + box[half]) / 2, (box[1] + box[half + 1]) / 2
    return min(max(x, radius - 180), 180 - radius), min(max(y, radius - 90), 90 - radius)


def box_and_days(item: dict[str, Any]) -> dict[str, str]:
    """Two degrees and 90 days around an item."""
    (x, y), moment = around(item, 1), datetime.fromisoformat(item["properties"]["datetime"]).astimezone(UTC)
    ends = (moment - timedelta(days=45), moment + timedelta(days=45))
    box = ",".join(f"{number:.4f}" for number in (x - 1, y - 1, x + 1, y + 1))
    return {"bbox": box, "datetime": "/".join(f"{end:%Y-%m-%dT%H:%M:%SZ}" for end in ends)}


def polygon(item: dict[str, Any], radius: float, corners: int) -> dict[str, Any]:
    x, y = around(item, radius)
    angles = [2 * math.pi * n / corners for n in range(corners)]
    ring = [[round(x + radius * math.cos(a), 5), round(y + radius * math.sin(a), 5)] for a in angles]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def families(items: list[dict[str, Any]]) -> dict[str, list[Ask]]:
    draw = random.Random(1)
    cloudy = [item for item in items if isinstance(item["properties"].get(CLOUD), int | float)]
    if not cloudy:
        raise SystemExit(f"the items hold no {CLOUD}, which some requests ask for")
    ten: dict[str, Any] = {"limit": 10}
    text, tree = ({**ten, "filter-lang": f"cql2-{language}"} for language in ("text", "json"))

    def drawn(make: Callable[[dict[str, Any]], Ask], of: list[dict[str, Any]] = items) -> list[Ask]:
        return list(dict.fromkeys(make(draw.choice(of)) for _ in range(VARIANTS)))

    return {
        "item by id": drawn(lambda i: Ask(f"/collections/{segment(i['collection'])}/items/{segment(i['id'])}")),
        "latest ten": [get("/search", **ten)],
        "latest ten of a collection": drawn(lambda i: get("/search", **ten, collections=i["collection"])),
        "box with dates": drawn(lambda i: get("/search", **ten, **box_and_days(i))),
        "intersects polygon, POST": drawn(lambda i: post(**ten, intersects=polygon(i, 3, 24))),
        "CQL2 text": drawn(lambda i: get("/search", **text,
            filter=f"collection = '{i['collection']}' AND {CLOUD} < {draw.randrange(5, 95)}"), cloudy),
        "CQL2 JSON, POST": drawn(lambda i: post(**tree, filter={"op": "and", "args": [
            {"op": "<", "args": [{"property": CLOUD}, draw.randrange(5, 95)]},
            {"op": "s_intersects", "args": [{"property": "geometry"}, polygon(i, 5, 4)]}]}), cloudy),
        "sorted by cloud cover": drawn(lambda i: get(
            "/search", **ten, collections=i["collection"], sortby=f"{draw.choice(('', '-'))}{CLOUD}"), cloudy),
        "page of 100": drawn(lambda i: get("/search", limit=100, collections=i["collection"]))}  # fmt: skip


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it is answered, until the time is over."""

    def __init__(self, turn: Turn, until: float, tally: Tally) -> None:
        self.turn, self.until, self.tally = turn, until, tally
        self.buffer, self.end = bytearray(), 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's is no asyncio.Transport
        self.ask()

    def ask(self) -> None:
        self.started = time.perf_counter()
        if self.started < self.until:
            wire, self.expected = next(self.turn)
            self.transport.write(wire)
        else:
            self.done.set_result(None)
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.end and (head := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = self.buffer[:head].lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0]
            self.end = head + 4 + int(length or 0)
        if not self.end or len(self.buffer) < self.end:
            return
        self.tally.times.append(time.perf_counter() - self.started)
        if not self.buffer.startswith(b"HTTP/1.1 200 "):
            self.tally.errors.append(f"the answer began with {bytes(self.buffer[:30])!r}")
        elif not self.buffer.endswith(self.expected):
            self.tally.errors.append("the answer differs from the first one")
        self.buffer, self.end = bytearray(), 0
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.tally.errors.append(f"the connection was closed before an answer: {error}")
            self.done.set_result(None)


async def run_round(server: Server, turn: Turn, clients: int, seconds: float, tally: Tally) -> None:
    connect, cpu, began = asyncio.get_running_loop().create_connection, server.cpu(), time.perf_counter()
    until = began + seconds
    made = [await connect(lambda: _Client(turn, until, tally), "127.0.0.1", server.port) for _ in range(clients)]
    _, late = await asyncio.wait([client.done for _, client in made], timeout=seconds + PATIENCE_SECONDS)
    tally.wall += time.perf_counter() - began
    tally.cpu += server.cpu() - cpu
    tally.errors += [f"there was no answer within {PATIENCE_SECONDS} s"] * len(late)


def report(asked: dict[str, list[Ask]], kept: dict[Ask, Kept], servers: list[Server], clients: int, each: float) -> int:
    """Measure and print the table; how many errors there were."""
    print(f"{'':46}{'swath':-^49} {'memory':-^24} {'ratio':-^13}  errors\n{'family':28}{'variants':>9}{'bytes':>10}"
          f"{'req/s':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'CPU us':>8}{'req/s':>9}{'p50 ms':>9}{'CPU us':>8}"
          f"{'req/s':>7}{'CPU':>7}")  # fmt: skip
    failed, busy, began = 0, time.process_time(), time.perf_counter()
    for name, asks in asked.items():
        tallies = (Tally(), Tally())
        turns = [itertools.cycle([(a.wire(s.port), b"\r\n\r\n" + kept[a][0]) for a in asks]) for s in servers]
        for number in range(ROUNDS):
            for which in (1, 0) if number % 2 else (0, 1):
                uvloop.run(run_round(servers[which], turns[which], clients, each, tallies[which]))
        rates = [len(t.times) / t.wall for t in tallies]
        used = [t.cpu / max(1, len(t.times)) * 1e6 for t in tallies]
        (p50, p95, p99), (half, *_) = (np.percentile(t.times or [math.nan], (50, 95, 99)) * 1e3 for t in tallies)
        print(f"{name:28}{len(asks):9}{sum(len(kept[ask][0]) for ask in asks) // len(asks):10,}"
              f"{rates[0]:8.0f}{p50:9.2f}{p95:9.2f}{p99:9.2f}{used[0]:8.0f}{rates[1]:9.0f}"
              f"{half:9.2f}{used[1]:8.0f}{rates[0] / (rates[1] or math.nan):7.2f}"
              f"{used[1] / (used[0] or math.nan):7.2f}  {' + '.join(str(len(t.errors)) for t in tallies)}",
              flush=True)  # fmt: skip
        for who, tally in zip(("swath", "memory"), tallies, strict=True):
            failed += len(tally.errors)
            print(*(f"  {who}, {count} times: {words}\n" for words, count in Counter(tally.errors).items()), end="")
    share = (time.process_time() - busy) / (time.perf_counter() - began)
    print(f"the clients took {share:.0%} of one core; the load average was {os.getloadavg()[0]:.1f}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes of each server")
    parser.add_argument("--seconds", type=float, default=5, help="for each server and family, in three rounds")
    parser.add_argument("--clients", type=int, default=8, help="connections that ask at once")
    parser.add_argument("--keep-nothing", action="store_true", help="search for every answer: SWATH_KEPT_ANSWERS_MB=0")
    parser.add_argument("--only", default="", help="families with these words in their names")
    parser.add_argument("--load", type=Path, help="stac_load.py, to be run afterwards")
    parser.add_argument("--load-python", default=sys.executable, help="the interpreter for it")
    parser.add_argument("--answers", type=Path, help=argparse.SUPPRESS)  # be the server that answers from memory
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answers:
        with patch.object(serving, "create_app", partial(memory_app, options.answers)):
            return serving.run_serve(options.catalog, {"port": options.port, "workers": options.workers})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped then too
    if options.load and subprocess.run([options.load_python, "-c", "import aiohttp, numpy"], timeout=60).returncode:
        parser.error(f"{options.load_python} has no aiohttp or no numpy, which {options.load} needs: --load-python")
    if options.keep_nothing:
        os.environ["SWATH_KEPT_ANSWERS_MB"] = "0"
    print(describe())
    given = [str(options.catalog), "--workers", str(options.workers)]
    with served(SWATH, "serve", *given) as ours, tempfile.TemporaryDirectory() as folder:
        items = sample(ours.port)
        asked = {name: asks for name, asks in families(items).items() if options.only in name}
        kept = {ask: fetch(ours.port, ask) for asks in asked.values() for ask in asks}
        print(f"input: {options.catalog}, {len(items)} items of {len({item['collection'] for item in items})} "
              f"collections drawn from; {options.workers} workers, {options.clients} clients, {ROUNDS} rounds of "
              f"{options.seconds / ROUNDS:.2g} s, no Accept-Encoding\n", flush=True)  # fmt: skip
        answers = Path(folder) / "answers"
        answers.write_bytes(pickle.dumps([(ask.target, ask.body, each) for ask, each in kept.items()]))
        with served(sys.executable, "-m", "benchmarks.serve", "--answers", str(answers), "--catalog", *given) as memory:
            failed = report(asked, kept, [ours, memory], options.clients, options.seconds / ROUNDS)
        if options.load:
            print(f"\n{options.load}:", flush=True)
            command = [options.load_python, str(options.load), "--base-url", f"swath=http://127.0.0.1:{ours.port}"]
            failed += subprocess.run(command, timeout=1800).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
