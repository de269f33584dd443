"""The feed of changes: what was committed, in that order, for whoever follows.

A token is a place in the feed: opaque, bound to this life of the catalogue. Whoever reads from a token on until there
is nothing more, and does so again later, has missed nothing and been told nothing twice. An item that leaves the
reader's view, or the filter, is told as `left`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from swath.access import EVERYTHING, Rule
from swath.catalog.catalog import Catalog
from swath.catalog.request import SearchRequest, build_search
from swath.catalog.rules import restricted
from swath.cql2.ast import Boolean, Predicate
from swath.cql2.bind import bind
from swath.errors import Gone, InvalidCursor
from swath.limits import LIMITS
from swath.search import Cursor, open_cursor, seal_cursor
from swath.stac.time import format_instant, parse_temporal
from swath.store.records import Change, Operation, Version, version_tag

__all__ = ["Event", "Feed", "Reading", "event_json"]

_FINGERPRINT = b"changes"
_CHUNK = 500
_SECONDS = 2.0  # a page that finds little is given back, with how far it got
_ITEMS = (Operation.PUT_ITEM, Operation.DELETE_ITEM)
_ENDS = (Operation.DELETE_ITEM, Operation.DELETE_COLLECTION, Operation.DELETE_QUERYABLES)
_KINDS = {
    Operation.PUT_QUERYABLES: "queryables",
    Operation.DELETE_QUERYABLES: "queryables",
    Operation.PUT_ITEM: "item",
    Operation.DELETE_ITEM: "item",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One change. `document` is what was stored, None for an end, and where it was pruned since."""

    type: Literal["put", "delete", "restore", "left"]
    kind: str  # item, collection, queryables
    collection: str
    id: str | None
    version: str
    at: int  # microseconds since 1970
    actor: str
    document: bytes | None
    seq: int
    passed: int = 0  # of a collection that comes back: how many of its id were deleted after it was


@dataclass(frozen=True, slots=True)
class Reading:
    """Some events, the place behind them, and whether that is the end of the feed for now."""

    events: tuple[Event, ...]
    token: str
    position: int
    complete: bool


class Feed:
    """The changes of one catalogue, as one reader may see and wants them."""

    def __init__(
        self,
        catalog: Catalog,
        rule: Rule = EVERYTHING,
        *,
        collections: Sequence[str] | None = None,
        filter: object = None,  # noqa: A002 - the parameter's name in STAC
        filter_lang: str | None = None,
    ) -> None:
        """InvalidFilter where the filter cannot be read."""
        self.catalog, self.ledger = catalog, catalog.ledger
        self.collections = frozenset(collections) if collections is not None else None
        request = SearchRequest(filter=filter, filter_lang=filter_lang)
        self.rule = rule
        self.expression: Predicate = restricted(rule, bind(build_search(request).expression))

    # -- places -------------------------------------------------------------------------------

    def place(self, since: str | None) -> int:
        """The revision behind which to read: of a token, of an instant, of `now`, or the beginning.

        InvalidCursor for what is none of these, Gone for a token of an earlier life of the catalogue.
        """
        if not since:
            return 0
        if since == "now":
            return self.ledger.head()
        span = parse_temporal(since)
        if span is not None:
            return self.ledger.revision_at(span[0] - 1)
        try:
            place = open_cursor(since, _FINGERPRINT, self.ledger.epoch, self.ledger.secret).revision
        except Gone:
            raise Gone(
                "since: the catalogue was restored from a backup after this token was handed out; "
                "read /changes from its beginning, without since, and compare"
            ) from None
        if place > self.ledger.head():
            raise InvalidCursor("since: the token is from the future of this catalogue")
        return place

    def token(self, position: int) -> str:
        """The token of a place."""
        return seal_cursor(Cursor(position, _FINGERPRINT, ()), self.ledger.epoch, self.ledger.secret)

    # -- reading ------------------------------------------------------------------------------

    def read(self, after: int, limit: int, last: int | None = None) -> Reading:
        """The next events behind a place, at most so many, up to a version or the present head."""
        head = self.ledger.head() if last is None else last
        room = LIMITS.page_bytes
        until = time.monotonic() + _SECONDS
        events: list[Event] = []
        position = after
        changes = self.ledger.changes(after, head)
        while position < head and len(events) < limit and room > 0 and time.monotonic() < until:
            chunk = _within(changes, min(_CHUNK, limit - len(events)), room)
            if not chunk:
                position = head
                break
            room -= sum(len(change.body or b"") for change in chunk)
            events += self._events(chunk)
            position = chunk[-1].version.seq
        return Reading(tuple(events), self.token(position), position, position >= head)

    def _events(self, changes: Sequence[Change]) -> list[Event]:
        wanted = [change for change in changes if self._in_collections(change) and self._sees(change)]
        types = self._types(wanted)
        return [self._event(change, kind) for change, kind in zip(wanted, types, strict=True) if kind is not None]

    def _in_collections(self, change: Change) -> bool:
        return self.collections is None or self.ledger.collection_name(change.version.collection) in self.collections

    def _sees(self, change: Change) -> bool:
        """Whether a change of a collection itself is the reader's business; items are told by the expression."""
        if self.rule == EVERYTHING or change.version.operation in _ITEMS:
            return True
        record = self.ledger.collection(self.ledger.collection_name(change.version.collection))
        return record is not None and self.catalog.may_see(record, self.rule)

    def _types(self, changes: Sequence[Change]) -> list[Literal["put", "delete", "restore", "left"] | None]:
        """What each change is to this reader; None for nothing."""
        every = self.expression == Boolean(True)
        now = [True] * len(changes) if every else self._selected(changes)
        before = [False] * len(changes) if every else self._selected_before(changes, now)
        found: list[Literal["put", "delete", "restore", "left"] | None] = []
        for change, is_in, was_in in zip(changes, now, before, strict=True):
            operation = change.version.operation
            if operation == Operation.RESTORE_COLLECTION:
                found.append("restore")
            elif operation not in _ITEMS:
                found.append("delete" if operation in _ENDS else "put")
            elif operation == Operation.DELETE_ITEM:
                found.append("delete" if every or was_in else None)
            elif is_in:
                found.append("put")
            else:
                found.append("left" if was_in else None)
        return found

    def _selected(self, changes: Sequence[Change]) -> list[bool]:
        """Which are items that the reader wants; one whose document was pruned since is not any more."""
        having = [c for c in changes if c.version.operation == Operation.PUT_ITEM and c.body is not None]
        chosen = self.catalog.index.matching(having, self.expression) if having else []
        selected = {change.version.seq for change, is_in in zip(having, chosen, strict=True) if is_in}
        return [change.version.seq in selected for change in changes]

    def _selected_before(self, changes: Sequence[Change], now: Sequence[bool]) -> list[bool]:
        """Whether the version that each replaces was wanted. What is pruned may have been: it is told."""
        asked = {
            change.version.replaces: change.version
            for change, is_in in zip(changes, now, strict=True)
            if not is_in and change.version.replaces is not None and change.version.operation in _ITEMS
        }
        kept = {item.seq: item for item in self.ledger.kept(list(asked))}
        earlier = [
            Change(
                Version(seq, Operation.PUT_ITEM, asked[seq].collection, item.id, None),
                item.body,
                None,
                item.updated,
                item.created,
            )
            for seq, item in kept.items()
        ]
        chosen = self.catalog.index.matching(earlier, self.expression) if earlier else []
        was_in = {change.version.seq for change, is_in in zip(earlier, chosen, strict=True) if is_in}
        was_in |= asked.keys() - kept.keys()
        return [change.version.replaces in was_in for change in changes]

    def _event(self, change: Change, kind: Literal["put", "delete", "restore", "left"]) -> Event:
        version = change.version
        operation = Operation(version.operation)
        name = self.ledger.collection_name(version.collection)
        return Event(
            type=kind,
            kind=_KINDS.get(operation, "collection"),
            collection=name,
            id=version.id if operation in _ITEMS else None,
            version=version_tag(self.ledger.epoch, version.seq).hex(),
            at=change.updated or 0,
            actor=change.actor,
            document=change.body if kind in ("put", "restore") else None,
            seq=version.seq,
            passed=self._passed(version, name) if kind == "restore" else 0,
        )

    def _passed(self, version: Version, name: str) -> int:
        """How many deletions of collections of an id lie between one and its being undone."""
        return sum((version.replaces or 0) < end < version.seq for end in self.ledger.collection_ends(name))


def _within(changes: Iterator[Change], count: int, room: int) -> list[Change]:
    """The next changes, at most so many, until their documents take so much room; at least one."""
    found: list[Change] = []
    while len(found) < count and room > 0 and (change := next(changes, None)) is not None:
        found.append(change)
        room -= len(change.body or b"")
    return found


def event_json(event: Event, href: Callable[[Event], str] | None, token: Callable[[int], str] | None = None) -> bytes:
    """An event as JSON. The document is what was stored, byte for byte; `href` leads to the thing as it is served."""
    told: dict[str, object] = {"type": event.type, "kind": event.kind, "collection": event.collection}
    if event.id is not None:
        told["id"] = event.id
    told |= {"version": event.version, "at": format_instant(event.at), "actor": event.actor}
    if href is not None and event.type in ("put", "restore"):
        told["href"] = href(event)
    if event.document is not None:
        told["document"] = msgspec.Raw(event.document)
    if event.passed:
        told["passed"] = event.passed
    if token is not None:
        told["token"] = token(event.seq)
    return msgspec.json.encode(told)
