"""A small STAC API that misbehaves on demand, on loopback, and what tests read out of it."""

from __future__ import annotations

import gzip
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import swath
from swath.formats.reading import Document, Unreadable
from swath.formats.stac_api import Page, Place, read_api
from swath.formats.web import Client
from tests.conftest import make_item

SORT, FILTER, QUERY = "item-search#sort", "item-search#filter", "item-search#query"


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def searches(self) -> bool:
        return self.path == "/search"

    @property
    def token(self) -> str:
        """What tells one page from another."""
        body = self.body or {}
        return str(self.query.get("token") or body.get("token") or self.query.get("offset") or self.query.get("page"))

    def value(self, name: str) -> Any:
        return (self.body or {}).get(name, self.query.get(name))


@dataclass
class Said:
    """An answer that is given instead of the right one."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False  # end the connection in the middle of it


@dataclass
class FakeApi:
    """Serves items; `hook` may answer first. `paging` says how `next` links are made."""

    items: list[dict[str, Any]]
    paging: str = "post"  # post, merge, get, offset, page, none
    methods: tuple[str, ...] = ("GET", "POST")
    conforms: tuple[str, ...] = (SORT, FILTER, QUERY)
    prefix: str = "https://api.stacspec.org/v1.0.0/"
    collections: tuple[str, ...] = ("c",)
    most: int = 10_000
    zipped: bool = False
    searchable: bool = True
    life: int = 0  # part of the tokens: those of another are not known
    hook: Callable[[FakeApi, Asked], Said | None] | None = None
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    # -- what it answers ---------------------------------------------------------------------

    def answer(self, asked: Asked) -> Said:
        self.asked.append(asked)
        said = self.hook(self, asked) if self.hook is not None else None
        if said is not None:
            return said
        parts = asked.path.strip("/").split("/")
        if asked.path == "/":
            return self.json(self.landing())
        if asked.path == "/conformance":
            return self.json({"conformsTo": [self.prefix + name for name in ("core", "item-search", *self.conforms)]})
        if asked.path == "/collections":
            return self.json({"collections": [self.collection(name) for name in self.collections], "links": []})
        if parts[0] == "collections" and parts[1] in self.collections:
            if len(parts) == 2:
                return self.json(self.collection(parts[1]))
            if len(parts) == 3:
                return self.page(asked, [item for item in self.items if item.get("collection") == parts[1]])
            found = [item for item in self.items if item["id"] == parts[3]]
            return self.json(found[0]) if found else Said(404)
        if asked.searches and self.searchable:
            if asked.method not in self.methods:
                return Said(405, b'{"code": "MethodNotAllowed"}')
            return self.search(asked)
        return Said(404, b'{"code": "NotFound", "description": "no such thing"}')

    def landing(self) -> dict[str, Any]:
        links = [{"rel": "data", "href": f"{self.url}/collections"}, {"rel": "self", "href": f"{self.url}/"}]
        if self.searchable:
            links += [{"rel": "search", "href": f"{self.url}/search", "method": method} for method in self.methods]
        conforms = [self.prefix + name for name in ("core", "item-search", *self.conforms)]
        return {"type": "Catalog", "id": "fake", "description": "d", "conformsTo": conforms, "links": links}

    def collection(self, name: str) -> dict[str, Any]:
        links = [
            {"rel": "root", "href": f"{self.url}/"},
            {"rel": "items", "href": f"{self.url}/collections/{name}/items"},
        ]
        return {"type": "Collection", "id": name, "description": "d", "license": "other", "links": links}

    def search(self, asked: Asked) -> Said:
        found = list(self.items)
        if asked.value("sortby") and SORT in self.conforms:
            field_, descending = _sort(asked.value("sortby"))
            if field_ not in ("properties.updated", "updated"):
                return Said(400, b'{"description": "cannot sort by that"}')
            have = [item for item in found if "updated" in item["properties"]]
            have.sort(key=lambda item: (item["properties"]["updated"], item["id"]), reverse=descending)
            found = have + [item for item in found if "updated" not in item["properties"]]
        since = _since(asked)
        if since is not None:
            found = [item for item in found if item["properties"].get("updated", "") >= since]
        names = asked.value("collections")
        if names:
            names = names.split(",") if isinstance(names, str) else names
            found = [item for item in found if item["collection"] in names]
        return self.page(asked, found)

    def page(self, asked: Asked, found: list[dict[str, Any]]) -> Said:
        limit = min(int(asked.value("limit") or 10), self.most)
        start = 0
        if self.paging == "offset":
            start = int(asked.value("offset") or 0)
        elif self.paging == "page":
            start = (int(asked.value("page") or 1) - 1) * limit
        elif asked.value("token"):
            life, _, at = str(asked.value("token")).partition("-")
            if int(life) != self.life:
                return Said(404, b'{"detail": "the token has expired"}')
            start = int(at)
        content = {
            "type": "FeatureCollection",
            "features": found[start : start + limit],
            "links": self.next(asked, start, limit) if start + limit < len(found) else [],
            "numberMatched": len(found),
        }
        return self.json(content)

    def next(self, asked: Asked, start: int, limit: int) -> list[dict[str, Any]]:
        token = f"{self.life}-{start + limit}"
        href = self.url + asked.path
        if asked.method == "POST" and self.paging == "merge":
            return [{"rel": "next", "href": href, "method": "POST", "body": {"token": token}, "merge": True}]
        if asked.method == "POST" and self.paging == "post":
            return [{"rel": "next", "href": href, "method": "POST", "body": {**asked.body, "token": token}}]
        name, value = {"offset": ("offset", start + limit), "page": ("page", start // limit + 2)}.get(
            self.paging, ("token", token)
        )
        rest = "&".join(f"{k}={v}" for k, v in asked.query.items() if k not in ("token", "offset", "page", "limit"))
        return [{"rel": "next", "href": f"{href}?{rest}&limit={limit}&{name}={value}".replace("?&", "?")}]

    def json(self, content: Any) -> Said:
        body = json.dumps(content).encode()
        if self.zipped:
            return Said(200, gzip.compress(body), {"content-encoding": "gzip"})
        return Said(200, body)

    # -- what tests ask ----------------------------------------------------------------------

    def pages(self) -> list[str]:
        """The tokens of the searches that came, in order."""
        return [asked.token for asked in self.asked if asked.searches]


def _sort(value: Any) -> tuple[str, bool]:
    if isinstance(value, str):
        first = value.split(",")[0]
        return first.lstrip("+-"), first.startswith("-")
    return value[0]["field"], value[0]["direction"] == "desc"


def _since(asked: Asked) -> str | None:
    value = asked.value("filter")
    if isinstance(value, str) and "TIMESTAMP" in value:
        return value.split("'")[1]
    if isinstance(value, str):
        value = json.loads(value)
    if value:
        return str(value["args"][1]["timestamp"])
    query = asked.value("query")
    if isinstance(query, str):
        query = json.loads(query)
    return query["updated"]["gte"] if query else None


def dated(count: int, collection: str = "c", start: int = 0) -> list[dict[str, Any]]:
    """Items, each updated a minute after the one before."""
    made = []
    for n in range(start, start + count):
        moment = f"2024-01-{1 + n // 1440:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z"
        made.append(make_item(f"{collection}-{n:05d}", collection, n=n, updated=moment))
    return made


@contextmanager
def faking(api: FakeApi) -> Iterator[FakeApi]:
    """Serve it while a test runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def log_message(self, *_: object) -> None:
            return

        def serve(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            sent = self.rfile.read(length)
            if len(sent) < length:  # the caller was killed
                self.close_connection = True
                return
            body = json.loads(sent) if sent else None
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = api.answer(Asked(self.command, parts.path or "/", query, headers, body))
            try:
                if said.drop:
                    self.close_connection = True
                    self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + said.body)
                    return
                self.send_response_only(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)
            except OSError:  # the caller was killed
                self.close_connection = True

        do_GET = do_POST = serve  # noqa: N815 - the names that http.server calls

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:  # callers are killed, and break off
            if not isinstance(sys.exc_info()[1], OSError):
                raise

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# -- reading it ----------------------------------------------------------------------------------


class Slept:
    """A clock that does not wait, and remembers how long it should have."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


def read(
    api: FakeApi,
    path: str = "",
    *,
    headers: Sequence[tuple[str, str]] = (),
    sleep: Slept | None = None,
    told: Callable[[str], None] = lambda _: None,
    answer_bytes: int = 200_000_000,
    since: int | None = None,
    collections: Sequence[str] | None = None,
    place: Place | None = None,
    elsewhere: bool = False,
) -> list[Page]:
    with Client(api.url, headers, sleep=sleep or Slept(), told=told, answer_bytes=answer_bytes) as client:
        pages = read_api(
            api.url + path, client=client, since=since, collections=collections, place=place, elsewhere=elsewhere
        )
        return list(pages)


def items_of(pages: list[Page]) -> list[str]:
    return [item["id"] for item in documents(pages) if item["type"] == "Feature"]


def documents(pages: list[Page]) -> list[dict[str, Any]]:
    return [json.loads(each.raw) for page in pages for each in page.documents if isinstance(each, Document)]


def problems(pages: list[Page]) -> list[str]:
    return [each.reason for page in pages for each in page.documents if isinstance(each, Unreadable)]


def notes(pages: list[Page]) -> str:
    return "\n".join(note for page in pages for note in page.notes)


def stored(folder: Path) -> dict[str, Any]:
    """Every item of a catalogue, by id; by collection and id where there are several collections."""
    with swath.open(folder) as session:
        several = sum(1 for _ in session.collections()) > 3
        return {f"{item['collection']}/{item['id']}" if several else item["id"]: item for item in session.search()}


def faults(*said: Said, at: int = 1) -> Callable[[FakeApi, Asked], Said | None]:
    """Give these answers to the searches from the one with that number on, then the right ones."""
    count = iter(range(10_000))

    def hook(_: FakeApi, asked: Asked) -> Said | None:
        number = next(count) if asked.searches else -1
        return said[number - at] if at <= number < at + len(said) else None

    return hook


def some(count: int) -> FakeApi:
    return FakeApi(dated(count), most=100)
