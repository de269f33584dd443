"""Everything that a STAC API holds: its collections, then its items page by page, as it sent them.

Reads 1.0.0 and the betas in the wild, with item search or without, a search or a single document of it, and static
catalogues. A walk can be left behind any page and taken up there again, by another process too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec

from swath.errors import InvalidDocument, InvalidRequest, RemoteFailure
from swath.formats.asking import PAGE, Api, begin
from swath.formats.paging import Circle, Peek, Sheet, ask, lowered, peek, with_limit
from swath.formats.reading import Document, Unreadable
from swath.formats.static_web import Step, crawl
from swath.formats.web import Client, Request, is_address, joined, without_secrets
from swath.stac.links import absolute_hrefs

__all__ = ["Page", "Place", "read_api"]

_EXPIRED = frozenset((400, 404, 410, 422))  # what servers answer to a token that they forgot
_RELATIVE = re.compile(rb'"href"\s*:\s*"(?![A-Za-z][A-Za-z0-9+.-]*:|//|#|")')
_ITEMS = frozenset(("search", "items"))


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a walk has come: all that is needed to go on, as JSON. Instants are in microseconds.

    `left` are collections whose items are not begun, with the address of their items; `trail` leads into a static
    catalogue. `updated` is the latest `updated` so far, `undated` counts the items that have none, `started` is the
    server's time when the walk began.
    """

    stage: Literal["collections", "items", "given", "static", "done"]
    next: Request | None = None
    left: tuple[tuple[str, str], ...] = ()
    within: str | None = None
    trail: tuple[Step, ...] = ()
    since: int | None = None
    started: int = 0
    updated: int | None = None
    undated: int = 0
    pages: int = 0
    items: int = 0
    matched: int | None = None
    stops: bool = False  # it goes from the newest on, and ends where `since` is reached
    whole: bool = True  # nothing was left out on the way

    @property
    def done(self) -> bool:
        return self.stage == "done"

    @property
    def newest(self) -> int | None:
        """Where a later walk may begin so that it misses nothing, once this one is done; None: at the start.

        What changed while it went on may have been passed already, so it is never later than when the walk began.
        Where some items tell no time, others that are new may tell none either.
        """
        if not self.done or not self.whole or self.undated:
            return None
        if self.updated is None:
            return self.since
        return max(min(self.updated, self.started), self.since or 0)


@dataclass(frozen=True, slots=True)
class Page:
    """What one answer held. `place` is behind it; `matched` is how many items there are in all, if known.

    `notes` are for the user: what the API cannot do, and what was done instead.
    """

    documents: tuple[Document | Unreadable, ...]
    place: Place
    url: str
    matched: int | None = None
    notes: tuple[str, ...] = ()


class _Forgotten(Exception):
    """The server does not know the place any more."""


def read_api(
    url: str,
    *,
    client: Client,
    since: int | None = None,
    collections: Sequence[str] | None = None,
    place: Place | None = None,
    elsewhere: bool = False,
) -> Iterator[Page]:
    """What is at an address: an API, one of its collections or items, a search, or a static catalogue.

    `since` asks for items updated at or after that instant, where the API can tell; else all come, and a note says so.
    With the `place` of an earlier page the walk goes on behind it, as it was begun; where the server has forgotten
    the place it begins anew. `elsewhere` lets a static catalogue lead to other servers. Parts that cannot be read
    come as Unreadable; InvalidRequest, RemoteFailure and Unavailable end the walk.
    """
    return _Walk(without_secrets(url), client, since, collections, elsewhere).run(place)


class _Walk:
    def __init__(
        self, url: str, client: Client, since: int | None, collections: Sequence[str] | None, elsewhere: bool
    ) -> None:
        self.url, self.client, self.since, self.elsewhere = url, client, since, elsewhere
        self.wanted = list(dict.fromkeys(collections)) if collections is not None else None
        self.notes: list[str] = []
        self.api: Api | None = None
        self.entry: Sheet | None = None  # what is at the address, until it is used
        self.resumed = False

    def run(self, place: Place | None) -> Iterator[Page]:
        self.resumed = place is not None and not place.done
        if place is None or place.done:
            place = self.enter()
        while not place.done:
            try:
                for page in self.stage(place):
                    place = page.place
                    notes, self.notes = tuple(self.notes), []
                    yield replace(page, notes=(*page.notes, *notes))
            except _Forgotten as reason:
                self.notes.append(f"the server does not know any more where the last run stopped ({reason})")
                self.notes.append("the walk begins anew; what is there already makes no new version")
                self.since = place.since
                self.resumed = False
                place = self.enter()

    def stage(self, place: Place) -> Iterator[Page]:
        """Pages of the stage that a place is in, at least one; the last leads into the next stage."""
        if place.stage == "collections":
            return self.collections(place)
        if place.stage == "items":
            return self.items(place)
        if place.stage == "static":
            return self.static(place)
        return self.given(place)

    # -- what is there -----------------------------------------------------------------------

    def enter(self) -> Place:
        """Look at the address, and begin."""
        parts = urlsplit(self.url)
        last = parts.path.rstrip("/").rpartition("/")[2]
        sheet = self.above() if last == "search" and not parts.query else None
        sheet = sheet or self.first(Request(self.url), limited=last in _ITEMS)
        place = Place("given", since=self.since, started=sheet.time)
        self.entry = sheet
        if sheet.type == "Collection" and sheet.linked("items"):
            self.api = self.landing(sheet.linked("root")) or Api(sheet.url, {}, None, False, False, False, False)
            self.wanted = [str(sheet.id)]
        elif sheet.kind is None and sheet.type != "Feature":
            if sheet.linked("search") or sheet.linked("data"):
                self.api = Api.of(sheet, self.conformance(sheet))
            elif sheet.type in ("Catalog", "Collection") or sheet.linked("child") or sheet.linked("item"):
                return msgspec.structs.replace(place, stage="static")
            else:
                raise InvalidRequest(f"{sheet.url} is neither a STAC API nor a static catalogue: it leads to no items")
        return place if self.api is None else msgspec.structs.replace(place, stage="collections")

    def above(self) -> Sheet | None:
        """The landing page of an API whose search is named: then all of it is meant."""
        try:
            sheet = ask(self.client, Request(self.url.rstrip("/").removesuffix("search")))
        except (InvalidRequest, RemoteFailure):
            return None
        return sheet if sheet.linked("search") else None

    def landing(self, url: str | None) -> Api | None:
        """The API whose landing page this is; None where there is none."""
        if url is None:
            return None
        try:
            sheet = ask(self.client, Request(url))
        except RemoteFailure:
            return None
        return Api.of(sheet, self.conformance(sheet)) if sheet.linked("search") or sheet.linked("data") else None

    def conformance(self, landing: Sheet) -> Sequence[str]:
        """What the landing page says, or the page that it leads to, as betas have it."""
        url = landing.linked("conformance")
        if landing.conforms or url is None:
            return landing.conforms
        try:
            return ask(self.client, Request(url)).conforms
        except RemoteFailure:
            return ()

    def known_api(self) -> Api:
        if self.api is None:  # taken up by another process
            self.enter()
        if self.api is None:
            raise InvalidRequest(f"{self.url} is no STAC API any more; --restart begins anew")
        return self.api

    def first(self, request: Request, *, limited: bool = True) -> Sheet:
        """The first page of a list that is asked as its address says, in pages as large as the server gives."""
        known = "limit=" in urlsplit(request.href).query
        for limit in (PAGE, 100) if limited and not known else ():
            try:
                return ask(self.client, Request(with_limit(request.href, limit)), lists=True, hasty=True)
            except RemoteFailure as error:
                if error.status in (401, 403, 404, 429, 503):
                    raise
        return ask(self.client, request, lists=limited)

    # -- stages ------------------------------------------------------------------------------

    def collections(self, place: Place) -> Iterator[Page]:
        then = _to("items")
        if place.next is not None:
            yield from self.leg(place.next, None, place, then)
            return
        api = self.known_api()
        if self.wanted is not None:
            yield self.named(api, place)
        elif api.data is None:
            yield Page((), then(place), api.url)
        else:
            try:
                sheet = ask(self.client, Request(api.data), lists=True)
            except RemoteFailure as error:
                if error.status in (401, 403, 429) or error.status >= 500:
                    raise
                problem = Unreadable(api.data, 0, f"the collections cannot be read: {error}")
                yield Page((problem,), then(place), api.data)
            else:
                yield from self.leg(sheet.request, sheet, place, then)

    def named(self, api: Api, place: Place) -> Page:
        """The collections that were asked for, each by its id."""
        documents: list[Document | Unreadable] = []
        left: list[tuple[str, str]] = []
        base = (api.data or joined(f"{api.url.rstrip('/')}/", "collections")).rstrip("/")
        for name in self.wanted or ():
            url = f"{base}/{quote(name, safe='')}"
            try:
                own = self.entry is not None and self.entry.type == "Collection" and self.entry.id == name
                sheet = self.entry if own and self.entry is not None else ask(self.client, Request(url))
            except RemoteFailure as error:
                if error.status in (401, 403) or error.status >= 500:
                    raise
                documents.append(Unreadable(url, 0, f"the collection {name!r} cannot be read: {error}"))
                continue
            documents.append(_document(sheet.raw, peek(sheet.raw), sheet.url, 1))
            left.append((name, sheet.linked("items") or f"{url}/items"))
        place = msgspec.structs.replace(place, stage="items", left=tuple(left), pages=place.pages + 1)
        return Page(tuple(documents), place, api.url)

    def items(self, place: Place) -> Iterator[Page]:
        if place.next is not None:
            yield from self.leg(place.next, None, place, self.after_items)
            return
        api = self.known_api()
        if not api.search:
            yield from self.one_by_one(place)
            return
        if self.wanted is not None and not place.left:
            yield Page((), _to("done")(place), api.url)  # none of them is there
            return
        names = [name for name, _ in place.left] if self.wanted is not None else None
        try:
            way, sheet = begin(self.client, api, names, place.since)
        except RemoteFailure as error:
            if error.status in (401, 403, 429) or error.status >= 500 or not place.left:
                raise
            self.notes.append(f"the search is refused ({error}); each collection is walked by itself")
            yield from self.one_by_one(place)
            return
        stops = way.order == "newest" and api.sorts
        if place.since is not None and not stops and (way.since == "none" or _has_older(sheet, place.since)):
            self.notes.append("the API cannot be asked for what is newer only: everything is walked")
        place = msgspec.structs.replace(place, left=(), stops=stops)
        yield from self.leg(sheet.request, sheet, place, self.after_items)

    def one_by_one(self, place: Place) -> Iterator[Page]:
        """Items of each collection, where there is no search."""
        if place.since is not None:
            self.notes.append("the API cannot be asked for what is newer only: everything is walked")
        if not place.left:
            self.notes.append("the API offers no search, and no collections")
        while place.left and place.next is None:
            (name, href), left = place.left[0], place.left[1:]
            place = msgspec.structs.replace(place, left=left, within=name, matched=None)
            try:
                sheet = self.first(Request(href))
            except RemoteFailure as error:
                if error.status in (401, 403, 429) or error.status >= 500:
                    raise
                problem = Unreadable(href, 0, f"the items of {name!r} cannot be read: {error}")
                place = msgspec.structs.replace(place, whole=False)
                yield Page((problem,), place if left else _to("done")(place), href)
                continue
            for page in self.leg(sheet.request, sheet, place, lambda at: at if at.left else _to("done")(at)):
                place = page.place
                yield page
        if not place.done and not place.left and place.next is None:
            yield Page((), _to("done")(place), self.url)

    def after_items(self, place: Place) -> Place:
        """The end of a search, or of one collection's items: whether all came, and what is left."""
        if place.left:
            return place
        if place.matched is not None and place.items < place.matched and not place.stops and place.whole:
            self.notes.append(f"the API says that there are {place.matched:,} items and gave {place.items:,}")
        if place.undated:
            words = f"{place.undated:,} of {place.items:,} items have no `updated`"
            self.notes.append(f"{words}: the next run cannot ask for what is newer only")
        return _to("done")(place)

    def given(self, place: Place) -> Iterator[Page]:
        """A list of items or collections, or one item, as its address says."""
        if place.next is not None:
            yield from self.leg(place.next, None, place, _over)
            return
        sheet = self.entry
        assert sheet is not None
        if sheet.kind is None:
            at = peek(sheet.raw)
            document = _document(sheet.raw, at, sheet.url, 1)
            done = msgspec.structs.replace(place, stage="done", pages=1, items=1)
            yield Page((document,), done, sheet.url, 1)
            return
        if place.since is not None and sheet.kind == "features":
            self.notes.append("a search is walked as its address says, whatever is newer")
        yield from self.leg(sheet.request, sheet, place, _over)

    def static(self, place: Place) -> Iterator[Page]:
        entry = self.entry if not place.trail else None
        for found in crawl(self.client, self.url, entry, place.trail, self.wanted, self.elsewhere):
            if found.changed:
                raise _Forgotten("the catalogue has changed")
            documents = tuple(_beside(each) if isinstance(each, Document) else each for each in found.documents)
            place = msgspec.structs.replace(
                place,
                stage="static" if found.trail else "done",
                trail=found.trail,
                pages=place.pages + 1,
                items=place.items + len(documents),
            )
            yield Page(documents, place, found.url)

    # -- pages -------------------------------------------------------------------------------

    def leg(
        self, request: Request, sheet: Sheet | None, place: Place, then: Callable[[Place], Place]
    ) -> Iterator[Page]:
        """Pages from a request on, until there is no next one; `then` says where that leads. `sheet` is its answer."""
        circle = Circle()
        following: Request | None = request
        while following is not None:
            sheet = sheet or self.page(following)
            problem = circle.problem(sheet)
            documents, place = _taken(sheet, place, circle.repeated)
            following = None if problem or _reached(sheet, place) else sheet.next
            if problem:
                documents = (*documents, Unreadable(sheet.url, len(sheet.elements) + 1, problem))
                place = msgspec.structs.replace(place, whole=False)
            place = msgspec.structs.replace(place, next=following)
            yield Page(documents, place if following else then(place), _named(sheet, place), place.matched)
            sheet = None

    def page(self, request: Request) -> Sheet:
        """A page; a smaller one where it is too much for the server."""
        while True:
            try:
                sheet = ask(self.client, request, lists=True)
            except RemoteFailure as error:
                if self.resumed and error.status in _EXPIRED:
                    raise _Forgotten(str(error)) from None
                fewer = lowered(request, error)
                if fewer is None:
                    raise
                request = fewer
            except InvalidRequest as error:
                if self.resumed:
                    raise _Forgotten(str(error)) from None
                raise
            else:
                self.resumed = False
                return sheet


def _to(stage: Literal["items", "done"]) -> Callable[[Place], Place]:
    return lambda place: msgspec.structs.replace(place, stage=stage, next=None, trail=())


def _over(place: Place) -> Place:
    """The end of what has no way to be asked for what is newer."""
    return msgspec.structs.replace(place, stage="done", next=None, left=(), updated=None)


def _taken(sheet: Sheet, place: Place, repeated: bool) -> tuple[tuple[Document | Unreadable, ...], Place]:
    """The documents of a page, and the place behind it but for its link to the next one."""
    elements, found = ((), ()) if repeated else (sheet.elements, sheet.peeks)
    name = _named(sheet, msgspec.structs.replace(place, pages=place.pages + 1))
    documents = tuple(
        _document(raw, at, name, number, place.within, sheet.url)
        for number, (raw, at) in enumerate(zip(elements, found, strict=True), 1)
    )
    updated = max((at.updated for at in found if at.updated is not None), default=None)
    latest = max((each for each in (place.updated, updated) if each is not None), default=None)
    if sheet.kind == "collections":
        left = tuple((at.id, _items_of(at, sheet)) for at in found if at.id is not None)
        return documents, msgspec.structs.replace(place, pages=place.pages + 1, left=(*place.left, *left))
    return documents, msgspec.structs.replace(
        place,
        pages=place.pages + 1,
        items=place.items + len(documents),
        updated=latest,
        undated=place.undated + sum(at.updated is None for at in found),
        matched=place.matched if place.matched is not None else sheet.matched,
    )


def _items_of(at: Peek, sheet: Sheet) -> str:
    href = at.linked("items")
    if href is not None and is_address(joined(sheet.url, href)):
        return joined(sheet.url, href)
    parts = urlsplit(sheet.url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/{quote(at.id or '', safe='')}/items"


def _reached(sheet: Sheet, place: Place) -> bool:
    """Whether a walk from the newest has come to what was there before, and all on this page is in that order."""
    if not place.stops or place.since is None:
        return False
    dates = [at.updated for at in sheet.peeks if at.updated is not None]
    return bool(dates) and dates[-1] < place.since and dates == sorted(dates, reverse=True)


def _has_older(sheet: Sheet, since: int) -> bool:
    return any(at.updated is None or at.updated < since for at in sheet.peeks)


def _named(sheet: Sheet, place: Place) -> str:
    """What a page is called: its address, with its number where all pages have the same."""
    return sheet.url if sheet.request.method == "GET" else f"{sheet.url} page {place.pages}"


def _document(raw: bytes, at: Peek, file: str, line: int, within: str | None = None, base: str = "") -> Document:
    """The document as it was sent; only relative hrefs are resolved, against where it says that it is."""
    if _RELATIVE.search(raw):
        raw = _resolved(raw, joined(base or file, at.linked("self") or ""))
    return Document(raw, file, line, within)


def _beside(document: Document) -> Document:
    """A file of a static catalogue: what it names relatively lies beside it."""
    if not _RELATIVE.search(document.raw):
        return document
    return replace(document, raw=_resolved(document.raw, document.file))


def _resolved(raw: bytes, url: str) -> bytes:
    try:
        return absolute_hrefs(raw, url.partition("?")[0].partition("#")[0].rpartition("/")[0])
    except (InvalidDocument, ValueError):  # whoever stores it says why
        return raw
