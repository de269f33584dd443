"""The pages of an API's answer: what they hold, as it was sent, and how the next one is asked for.

STAC API - Item Search, "Pagination"; OGC API - Features, 7.15.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from swath.errors import RemoteFailure
from swath.formats.reading import elements
from swath.formats.web import Answer, Client, Garbled, Request, is_address, joined
from swath.stac.time import parse_temporal

__all__ = ["Circle", "Peek", "Sheet", "ask", "lowered", "peek", "read_sheet", "walk", "with_limit"]

_MOST_EMPTY = 10  # pages in a row: some servers filter what they have already cut into pages
_LEAST_LIMIT = 1
_TOO_MUCH = frozenset((413, 502, 504))  # a server behind a gateway says so in many ways
_PAGE_NUMBERS = frozenset(("page", "pagenumber", "page_number", "pageindex"))
_NULL = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct):
    type: object = None
    id: object = None
    links: object = None
    conformsTo: object = None  # noqa: N815 - the member's name
    features: msgspec.Raw = _NULL
    collections: msgspec.Raw = _NULL
    numberMatched: object = None  # noqa: N815 - the member's name
    context: object = None


@dataclass(frozen=True)
class Sheet:
    """One JSON object of an API. `elements` are those of `features` or `collections`, `kind` says of which.

    `next` is how the page behind it is asked for. `matched` is how many there are on all pages, if the API says.
    """

    url: str
    request: Request
    raw: bytes
    type: object
    id: object
    links: tuple[dict[str, Any], ...]
    conforms: tuple[str, ...]
    kind: Literal["features", "collections"] | None
    elements: tuple[bytes, ...]
    next: Request | None
    matched: int | None
    time: int

    @cached_property
    def peeks(self) -> tuple[Peek, ...]:
        """One for each element."""
        return tuple(map(peek, self.elements))

    def linked(self, rel: str) -> str | None:
        """The address of its first link of that kind that leads somewhere."""
        found = (joined(self.url, link["href"]) for link in self.links if link["rel"] == rel)
        return next(filter(is_address, found), None)


def ask(client: Client, request: Request, *, lists: bool = False, hasty: bool = False) -> Sheet:
    """One answer, read; `lists` where features or collections are expected. See `Client.fetch`."""

    def read(answer: Answer) -> Sheet:
        sheet = read_sheet(answer, request)
        if lists and sheet.kind is None:  # an end of the list that is none would go unnoticed
            raise Garbled("it holds neither features nor collections")
        return sheet

    return client.fetch(request, read, hasty=hasty)


def read_sheet(answer: Answer, request: Request) -> Sheet:
    """Garbled for what is no JSON object."""
    envelope, broken = _open(answer.body)
    kind: Literal["features", "collections"] | None = None
    found: list[bytes] = []
    for name, raw in (("features", envelope.features), ("collections", envelope.collections)):
        if bytes(memoryview(raw)[:1]) == b"[":
            kind = "features" if name == "features" else "collections"
            found = [bytes(each) for each in msgspec.json.decode(raw, type=list[msgspec.Raw])]
            break
    if broken and kind is not None:
        found = elements(answer.body)
    if kind is None and envelope.type == "FeatureCollection":
        kind = "features"  # of null, as some answer for none
    links = tuple(
        {"rel": link["rel"], **link}
        for link in (envelope.links if isinstance(envelope.links, list) else ())
        if isinstance(link, dict) and isinstance(link.get("rel"), str) and isinstance(link.get("href"), str)
    )
    conforms = envelope.conformsTo if isinstance(envelope.conformsTo, list) else []
    return Sheet(
        url=answer.url,
        request=request,
        raw=answer.body,
        type=envelope.type,
        id=envelope.id,
        links=links,
        conforms=tuple(each for each in conforms if isinstance(each, str)),
        kind=kind,
        elements=tuple(found),
        next=_following(links, request, answer.url),
        matched=_matched(envelope),
        time=answer.time,
    )


def _open(body: bytes) -> tuple[_Envelope, bool]:
    """The members that matter; True where something deep within is no JSON, such as one feature of many."""
    try:
        return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"), type=_Envelope), False
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)
    # Some servers print NaN, or bytes that are no UTF-8. That spoils one item, and the others need not suffer for it.
    try:
        found = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise Garbled(reason) from None
    if not isinstance(found, dict):
        raise Garbled("it is no JSON object")
    envelope = _Envelope()
    for name in ("type", "id", "links", "conformsTo", "numberMatched", "context"):
        setattr(envelope, name, found.get(name))
    for name in ("features", "collections"):
        if isinstance(found.get(name), list):
            setattr(envelope, name, msgspec.Raw(b"[]"))
    return envelope, True


def _matched(envelope: _Envelope) -> int | None:
    context = envelope.context if isinstance(envelope.context, dict) else {}
    for value in (envelope.numberMatched, context.get("matched")):
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _following(links: Sequence[dict[str, Any]], request: Request, url: str) -> Request | None:
    """The request of the `next` link: as the link says, with what it merges into."""
    link = next((link for link in links if link["rel"] == "next"), None)
    if link is None:
        return None
    posts = str(link.get("method") or "GET").upper() == "POST"
    headers, body = _texts(link.get("headers")), link.get("body")
    body = body if isinstance(body, dict) else {}
    if link.get("merge") is True:
        headers = {**request.headers, **headers}
        body = {**(request.body or {}), **body}
    href = joined(url, link["href"])
    following = Request(href, "POST", headers, body) if posts else Request(href, "GET", headers)
    try:
        msgspec.json.encode(following)
    except (ValueError, OverflowError):  # half a character, a number without end
        return Request("")
    return following


def _texts(headers: object) -> dict[str, str]:
    """Headers of a link: a string each, or a list of them."""
    found = {}
    for name, value in headers.items() if isinstance(headers, dict) else ():
        values = value if isinstance(value, list) else [value]
        text = ", ".join(str(each) for each in values)
        if re.fullmatch(r"[\x20-\x7e]*", text) and re.fullmatch(r"[\w-]+", str(name), re.ASCII):
            found[str(name)] = text
    return found


# -- a walk --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Circle:
    """Notices a walk that goes round in one."""

    asked: set[bytes] = field(default_factory=set)
    seen: set[bytes] = field(default_factory=set)
    empty: int = 0
    repeated: bool = False  # the last page holds what one before it held

    def problem(self, sheet: Sheet) -> str | None:
        """Why the walk must not go on behind this page, if so. Ask once for each page."""
        self.asked.add(_digest(msgspec.json.encode(sheet.request)))
        self.empty = 0 if sheet.elements else self.empty + 1
        if sheet.elements:
            content = _digest(b"\n".join(map(_name, sheet.elements, sheet.peeks)))
            self.repeated = content in self.seen
            if self.repeated:
                return "the page holds the same items as one before it: what is behind it cannot be reached"
            self.seen.add(content)
        if sheet.next is None:
            return None
        if not is_address(sheet.next.href):
            return "its link to the next page is no address on the web: what is behind it cannot be reached"
        if _digest(msgspec.json.encode(sheet.next)) in self.asked:
            return "its link to the next page leads to one that was seen: what is behind it cannot be reached"
        if self.empty >= _MOST_EMPTY:
            return f"{self.empty} pages in a row are empty, and still there is a next one"
        return None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _name(raw: bytes, found: Peek) -> bytes:
    """What tells an item, or a state of it, from others."""
    return repr((found.collection, found.id, found.updated)).encode("utf-8", "replace") if found.id else raw


def walk(client: Client, request: Request) -> Iterator[Sheet]:
    """Page after page. RemoteFailure where it goes round in a circle."""
    circle = Circle()
    following: Request | None = request
    while following is not None:
        sheet = ask(client, following, lists=True)
        problem = circle.problem(sheet)
        if not circle.repeated:
            yield sheet
        if problem:
            raise RemoteFailure(f"{sheet.url}: {problem}", 502)
        following = sheet.next


class _Properties(msgspec.Struct):
    updated: object = None


class _Item(msgspec.Struct):
    id: object = None
    collection: object = None
    properties: _Properties | None = None
    links: object = None


@dataclass(frozen=True, slots=True)
class Peek:
    """What a walk needs to know of an item or a collection. `updated` is in microseconds."""

    id: str | None = None
    collection: str | None = None
    updated: int | None = None
    links: tuple[dict[str, Any], ...] = ()

    def linked(self, rel: str) -> str | None:
        return next((link["href"] for link in self.links if link.get("rel") == rel), None)


def peek(raw: bytes) -> Peek:
    """Nothing of what is no item."""
    try:
        found = msgspec.json.decode(raw, type=_Item)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Peek()
    updated = found.properties.updated if found.properties else None
    span = parse_temporal(updated) if isinstance(updated, str) else None
    links = found.links if isinstance(found.links, list) else []
    return Peek(
        found.id if isinstance(found.id, str) else None,
        found.collection if isinstance(found.collection, str) else None,
        span[0] if span else None,
        tuple(link for link in links if isinstance(link, dict) and isinstance(link.get("href"), str)),
    )


# -- sizes of pages ------------------------------------------------------------------------------


def with_limit(href: str, limit: int | None) -> str:
    """The address with another `limit`; None takes it away. All else stays as it is spelled."""
    parts = urlsplit(href)
    rest = [part for part in parts.query.split("&") if part and part.partition("=")[0] != "limit"]
    query = "&".join(rest if limit is None else [*rest, f"limit={limit}"])
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, parts.fragment))


def lowered(request: Request, error: RemoteFailure) -> Request | None:
    """The same request for fewer items, where the fault may be that there were too many of them.

    None where it is not, where there are few, and where pages are counted: then others would come.
    """
    if error.status not in _TOO_MUCH:
        return None
    query = dict(part.partition("=")[::2] for part in urlsplit(request.href).query.split("&"))
    body = request.body or {}
    if any(name.lower() in _PAGE_NUMBERS for name in (*query, *body)):
        return None
    limit = body.get("limit", query.get("limit"))
    if not isinstance(limit, int | str) or not str(limit).isdecimal() or int(limit) <= _LEAST_LIMIT:
        return None
    fewer = max(_LEAST_LIMIT, int(limit) // 4)
    if "limit" in body:
        return Request(request.href, request.method, request.headers, {**body, "limit": fewer})
    return Request(with_limit(request.href, fewer), request.method, request.headers, request.body)
