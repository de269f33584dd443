"""What tests share: the sample data, catalogues made from it, and served processes."""

from __future__ import annotations

import http.client
import io
import itertools
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
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.traffic import Caller
from swath.catalog import Catalog

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
DATA = SHARED / "data"
TORTURE = bool(os.environ.get("SWATH_TORTURE"))
_NUMBERS = itertools.count(1)
SWATH = str(Path(sys.executable).with_name("swath"))


def long(short_form: int, full_size: int) -> int:
    """The size of a loop: short in `make test`, full in `make torture`."""
    return full_size if TORTURE else short_form


def counted(count: int, what: str) -> Iterator[int]:
    """Numbers from 0; a long run tells how far it is."""
    for number in range(count):
        if number and number % 100 == 0:
            print(f"{number} of {count} {what}", flush=True)
        yield number


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
    reader: threading.Thread | None = None

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
        if self.reader is not None:  # it must not read what is closed
            self.reader.join(15)
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
                reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
                reader.start()
                return Server(url, process, lines, reader)
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


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, which saves a second: for what needs none of its own."""
    from swath.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return subprocess.CompletedProcess(list(map(str, arguments)), code, out.getvalue(), err.getvalue())


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


def patched(folder: Path, *statements: str) -> dict[str, str]:
    """The environment of processes that run some statements first: so that a test need not wait for hours."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text("".join(f"{statement}\n" for statement in statements))
    return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}


@pytest.fixture(scope="session")
def writable_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue for all tests that write to collections of their own."""
    from tests.traffic import make_collection, ndjson

    folder = tmp_path_factory.mktemp("writable")
    (folder / "one.ndjson").write_bytes(ndjson(make_collection("first")))
    done = run_swath("load", folder / "c", folder / "one.ndjson")
    assert done.returncode == 0, done.stderr
    return folder / "c"


@pytest.fixture(scope="session")
def writable(writable_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It, served. The feed's heart beats once a second, so that a test can hear it."""
    fast = "import swath.http.feed; swath.http.feed._HEARTBEAT_SECONDS = 1.0"
    server = start_server(
        ["serve", str(writable_folder), "--port", "0"], patched(tmp_path_factory.mktemp("fast"), fast)
    )
    yield server
    server.stop()


@pytest.fixture
def call(writable: Server) -> Iterator[Caller]:
    """A client of it."""
    from tests.traffic import Caller

    made = Caller(writable.url)
    yield made
    made.close()


@pytest.fixture
def name(call: Caller, request: pytest.FixtureRequest) -> str:
    """A collection in it, of the test's own."""
    from tests.traffic import make_collection

    made = f"{request.node.name.partition('[')[0].removeprefix('test_')[:60]}-{next(_NUMBERS)}"
    assert call("POST", "/collections", make_collection(made)).status == 201
    return made


@dataclass
class Editor:
    """A catalogue that is served and takes writes, and the words of a client that edits it."""

    server: Server
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return self.server.url

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | dict[str, Any] | list[Any] | None = None,
        *headers: tuple[str, str],
        media_type: str = "application/json",
    ) -> Answer:
        """A request as it stands there: header fields may come twice."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        if isinstance(body, dict | list):
            body = json.dumps(body)
        content = body.encode() if isinstance(body, str) else body
        connection.putrequest(method, path)
        if content is not None:
            connection.putheader("Content-Type", media_type)
            connection.putheader("Content-Length", str(len(content)))
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def collection(self, *items: dict[str, Any]) -> str:
        """A new collection with these items; its id."""
        name = f"made-{next(self.numbers)}"
        assert self.ask("POST", "/collections", make_collection(name)).status == 201
        for item in items:
            assert self.ask("POST", f"/collections/{name}/items", {**item, "collection": name}).status == 201
        return name


@pytest.fixture(scope="session")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """An empty catalogue to write to; `collection()` makes a place of one's own."""
    folder = tmp_path_factory.mktemp("edited") / "c"
    Catalog.open(folder, create=True).close()
    server = start_server(["serve", str(folder), "--port", "0"])
    yield Editor(server)
    server.stop()


def make_collection(collection_id: str, **more: Any) -> dict[str, Any]:
    """A small valid collection."""
    world = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}
    return {"type": "Collection", "stac_version": "1.1.0", "id": collection_id, "description": "made by a test",
            "license": "other", "extent": world, "links": [], **more}  # fmt: skip


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
