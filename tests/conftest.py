"""What tests share: the sample data, catalogues made from it, and served processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"
TORTURE = bool(os.environ.get("SWATH_TORTURE"))
SWATH = str(Path(sys.executable).with_name("swath"))


def long(short_form: int, full_size: int) -> int:
    """The size of a loop: short in `make test`, full in `make torture`."""
    return full_size if TORTURE else short_form


@dataclass
class Answer:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A served catalogue in a process of its own."""

    url: str
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        request = urllib.request.Request(self.url + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: Any) -> Answer:
        return self.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()


def start_server(arguments: list[str], env: dict[str, str] | None = None) -> Server:
    """Start `swath …` and wait until it is ready. The address is read from what it prints."""
    process = subprocess.Popen(
        [SWATH, *arguments], stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    assert process.stderr is not None
    lines: list[str] = []
    url = _address(process.stderr, lines)
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                # An unread pipe would fill up and stop the server in the middle of a line.
                threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True).start()
                return Server(url, process, lines)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not get ready: {lines}")


@contextmanager
def serving(folder: Path, env: dict[str, str] | None = None) -> Iterator[Server]:
    """A catalogue served while a test runs."""
    server = start_server(["serve", str(folder), "--port", "0"], env)
    try:
        yield server
    finally:
        server.stop()


def _address(stream: IO[str], lines: list[str]) -> str:
    for line in stream:
        lines.append(line)
        found = re.search(r"serves .* at (http://\S+?)/ ", line)
        if found:
            return found[1]
    raise AssertionError(f"the server stopped: {lines}")


def run_swath(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [SWATH, *map(str, arguments)], capture_output=True, text=True, timeout=600, env={**os.environ, **(env or {})}
    )


@pytest.fixture(scope="session")
def sample_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the shared sample data, loaded. Read only, please."""
    folder = tmp_path_factory.mktemp("catalogues") / "samples"
    done = run_swath("load", folder, DATA / "collections.ndjson", DATA / "items")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def samples(sample_catalog: Path) -> Iterator[Server]:
    """The shared sample data, served."""
    server = start_server(["serve", str(sample_catalog), "--port", "0"])
    yield server
    server.stop()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo catalogue, as `swath demo` serves it."""
    folder = tmp_path_factory.mktemp("demo") / "swath-demo"
    server = start_server(["demo", str(folder), "--port", "0", "--no-browser"])
    yield server
    server.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that end with the test."""
    started: list[Server] = []

    def start(*arguments: str | Path, env: dict[str, str] | None = None) -> Server:
        server = start_server([str(argument) for argument in arguments], env)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


def sample_items() -> Iterator[tuple[str, bytes]]:
    """Every shared sample item: the name of its collection, and its line."""
    for file in sorted((DATA / "items").glob("*.ndjson")):
        with file.open("rb") as lines:
            for line in lines:
                yield file.stem, line.rstrip(b"\n")


def make_item(item_id: str, collection: str = "c", **more: Any) -> dict[str, Any]:
    """The smallest valid item; keyword arguments become properties, `geometry` and `bbox` members."""
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": item_id,
        "collection": collection,
        "geometry": more.pop("geometry", {"type": "Point", "coordinates": [0.0, 0.0]}),
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {},
    }
    if "bbox" in more:
        item["bbox"] = more.pop("bbox")
    item["properties"].update(more)
    return item
