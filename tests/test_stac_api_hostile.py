"""Answers spoilt at random: a walk ends, and raises nothing but what it says it raises."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from swath.errors import InvalidRequest, RemoteFailure, SwathError, TooLarge, Unavailable
from swath.formats.reading import Document
from swath.formats.stac_api import Place, read_api
from swath.formats.web import Answer, Client, Garbled, Request, is_address
from swath.stac.document import read_document
from tests.conftest import long
from tests.fake_api import FILTER, QUERY, SORT, Asked, FakeApi, Said, dated
from tests.test_stac_api_addresses import static

T = TypeVar("T")

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1e300, 10**30, "", "x", "\x00", "é" * 50, "//", "http://[::1", "http://h:port/", "file:///x",
    [], {}, [None], [[[]]], {"href": "x"}, {"rel": "next", "href": "http://[x"}, {"rel": "search", "href": "http://[x"},
)  # fmt: skip
MOST_REQUESTS = 300


def spoilt(draw: random.Random, value: Any) -> Any:
    if draw.random() < 0.03:
        return draw.choice(JUNK)
    if isinstance(value, dict):
        return {name: spoilt(draw, member) for name, member in value.items() if draw.random() > 0.02}
    if isinstance(value, list):
        return [spoilt(draw, member) for member in value if draw.random() > 0.02]
    return value


class Spoiling(Client):
    """Asks the fake without a network, and spoils what it says."""

    draw = random.Random(11)
    api: FakeApi
    count = 0

    def fetch(self, request: Request, read: Callable[[Answer], T], *, hasty: bool = False) -> T:  # noqa: ARG002 - it never waits
        self.count += 1
        assert self.count < MOST_REQUESTS, "the walk does not end"
        if not is_address(request.href):
            raise InvalidRequest("no address")
        parts = urlsplit(request.href)
        if parts.netloc != "fake":
            raise RemoteFailure("another server", 404)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            said = self.api.answer(Asked(request.method, parts.path or "/", query, {}, request.body or {}))
        except (TypeError, ValueError, KeyError, AttributeError) as error:  # what was made of what was spoilt
            raise RemoteFailure(f"server: {error!r}", 500) from None
        if said.status >= 400:
            raise RemoteFailure("refused", said.status)
        try:
            return read(Answer(request.href, self.spoil(said.body), 1_700_000_000_000_000))
        except Garbled as error:
            raise RemoteFailure(str(error), 502) from None

    def spoil(self, body: bytes) -> bytes:
        chance = self.draw.random()
        if chance < 0.6:
            body = json.dumps(spoilt(self.draw, json.loads(body))).encode()
            return body.replace(b"null", b"NaN") if chance < 0.06 else body
        if chance < 0.7:
            changed = bytearray(body)
            for _ in range(self.draw.randrange(1, 4)):
                changed[self.draw.randrange(len(changed))] = self.draw.randrange(256)
            return bytes(changed)
        return body[: self.draw.randrange(len(body) + 1)] if chance < 0.75 else body


def test_a_walk_over_spoilt_answers_ends_and_raises_only_what_it_says() -> None:
    outcomes = Counter[str]()
    files = static(7)
    with Spoiling("http://fake") as client:
        draw = client.draw
        for _ in range(long(1_500, 100_000)):
            client.count = 0
            client.api = FakeApi(
                dated(23),
                draw.choice(["post", "merge", "get", "offset", "page"]),
                draw.choice([("GET",), ("POST",), ("GET", "POST")]),
                draw.choice([(), (SORT,), (SORT, FILTER), (QUERY,)]),
                most=10,
                searchable=draw.random() < 0.8,
                url="http://fake",
            )
            path = draw.choice(["/", "/search", "/collections/c", "/collections/c/items", "/collections",
                                "/collections/c/items/c-00003", "/catalog.json"])  # fmt: skip
            if path == "/catalog.json":
                client.api.hook = lambda api, asked: api.json(files[asked.path]) if asked.path in files else Said(404)
            outcomes[one_walk(client, path)] += 1
    print(dict(outcomes))
    assert outcomes["done"] > outcomes["RemoteFailure"] > 0


def one_walk(client: Spoiling, path: str) -> str:
    place: Place | None = None
    since, collections = (
        client.draw.choice([None, 1_704_067_200_000_000]),
        client.draw.choice([None, ["c"], ["c", "d"]]),
    )
    try:
        for page in read_api(f"http://fake{path}", client=client, since=since, collections=collections):
            place = msgspec.json.decode(msgspec.json.encode(page.place), type=Place)
            assert place == page.place
            for document in page.documents:
                if isinstance(document, Document):
                    stored(document)
    except (InvalidRequest, RemoteFailure, TooLarge, Unavailable) as error:
        return type(error).__name__
    assert place is not None
    assert place.done
    return "done"


def stored(document: Document) -> None:
    try:
        read_document(document.raw, document.within)
    except SwathError:
        return
