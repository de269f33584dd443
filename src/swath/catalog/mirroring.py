"""Keeping a second catalogue equal to a first by following its feed of changes.

Where it has come to is kept in the commit that brought it there, so that a mirror that is stopped at any point goes on
where it was, and nothing is done twice or left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import msgspec

from swath.catalog.catalog import Catalog
from swath.catalog.changes import Feed
from swath.errors import CatalogDamaged, CatalogUnusable, Gone, InvalidDocument, InvalidRequest, RemoteFailure
from swath.formats.web import Answer, Client, Garbled, Request
from swath.stac.document import read_collection, read_item
from swath.store.records import Declaration, Operation, Removal, Restoration, Write

__all__ = ["ApiSource", "CatalogSource", "Followed", "Mirror", "Source"]

_BATCH = 1_000
_WAIT_SECONDS = 20
_AGAIN_SECONDS = 0.2
_PREFIX = "mirror "
_NO_SUCH_THING = frozenset((400, 403, 404, 405, 406, 501))  # what servers say of a route that they do not have


class Followed(msgspec.Struct):
    """One change, as `/changes` tells it."""

    type: str
    kind: str
    collection: str
    id: str | None = None
    document: msgspec.Raw = msgspec.Raw(b"")
    passed: int = 0


class _Page(msgspec.Struct):
    changes: list[Followed]
    token: str
    complete: bool


@dataclass(frozen=True, slots=True)
class _Batch:
    changes: Sequence[Followed]
    token: str
    complete: bool


class Source(Protocol):
    """Where changes come from. `name` tells it from others."""

    name: str

    def read(self, token: str | None, *, wait: bool) -> _Batch:
        """The changes behind a token, or from the beginning. Gone where the source was restored since."""


class CatalogSource:
    """A catalogue in a folder."""

    def __init__(self, catalog: Catalog, name: str, collections: Sequence[str] | None = None) -> None:
        self.name, self._feed = name, Feed(catalog, collections=collections)

    def read(self, token: str | None, *, wait: bool) -> _Batch:  # noqa: ARG002 - there is nothing to wait for
        reading = self._feed.read(self._feed.place(token), _BATCH)
        changes = [
            Followed(e.type, e.kind, e.collection, e.id, msgspec.Raw(e.document or b""), e.passed)
            for e in reading.events
        ]
        return _Batch(changes, reading.token, reading.complete)


class ApiSource:
    """A server with a feed of changes."""

    def __init__(self, client: Client, url: str, collections: Sequence[str] | None = None) -> None:
        self.name, self._client = url.rstrip("/"), client
        self._asked = f"&collections={quote(','.join(collections), safe=',')}" if collections else ""

    def read(self, token: str | None, *, wait: bool) -> _Batch:
        query = f"limit={_BATCH}{self._asked}" + (f"&since={token}" if token else "")
        if wait:
            query += f"&wait={_WAIT_SECONDS}"
        try:
            page = self._client.fetch(Request(f"{self.name}/changes?{query}"), _read_page)
        except RemoteFailure as error:
            # Of an earlier life of the source, or of another catalogue that is there now.
            if error.status == 410 or (error.status == 400 and token is not None):
                raise Gone(str(error)) from None
            raise
        return _Batch(page.changes, page.token, page.complete)

    def has_feed(self) -> bool:
        """Whether there is a feed at all. RemoteFailure and Unavailable where that cannot be told."""
        try:
            return self._client.fetch(Request(f"{self.name}/changes?limit=1"), _is_page)
        except RemoteFailure as error:
            if error.status in _NO_SUCH_THING:
                return False
            raise


def _is_page(answer: Answer) -> bool:
    try:
        msgspec.json.decode(answer.body, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _read_page(answer: Answer) -> _Page:
    try:
        return msgspec.json.decode(answer.body, type=_Page)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Garbled(f"it is no page of changes: {error}") from None


class _Kept(msgspec.Struct):
    """What is kept of a mirror: how far it has come, and of what."""

    token: str | None = None
    collections: list[str] | None = None


class Mirror:
    """One catalogue that follows a source, or some `collections` of it."""

    def __init__(
        self, catalog: Catalog, name: str, collections: Sequence[str] | None = None, actor: str = "mirror"
    ) -> None:
        self.ledger, self.name, self.actor = catalog.ledger, name, actor
        self.collections = sorted(collections) if collections is not None else None
        self._mark = _PREFIX + name

    @property
    def token(self) -> str | None:
        """How far it has come."""
        kept = self._kept()
        return kept.token if kept is not None else None

    def begin(self, *, restart: bool) -> None:
        """Make sure that what is there came from the same source; with `restart`, take it away.

        CatalogUnusable where it did not, InvalidRequest where other collections are asked for than before.
        """
        if restart:
            self._begin_anew()
        kept = self._kept()
        if kept is None and self.ledger.collections():
            raise CatalogUnusable(
                f"the catalogue holds other things than {self.name}; mirror into a new folder, or replace what is "
                "there with --restart"
            )
        if kept is not None and kept.collections != self.collections:
            raise InvalidRequest("other --collections were mirrored before; copy everything again with --restart")
        if kept is None:
            self.ledger.write([], "upsert", self.actor, marks=lambda _: {self._mark: self._noted(None)})

    def _kept(self) -> _Kept | None:
        packed = self.ledger.mark(self._mark)
        return msgspec.json.decode(packed, type=_Kept) if packed is not None else None

    def _noted(self, token: str | None) -> bytes:
        return msgspec.json.encode(_Kept(token, self.collections))

    def _begin_anew(self) -> None:
        """Forget what was mirrored, and take away all that is there."""
        removals: list[Write] = [
            Removal(Operation.DELETE_COLLECTION, record.id, record.id) for record in self.ledger.collections()
        ]
        marks: dict[str, bytes | None] = dict.fromkeys(self.ledger.marks(_PREFIX))
        self.ledger.write(removals, "upsert", self.actor, marks=lambda _: marks)

    def follow(
        self,
        source: Source,
        *,
        once: bool = False,
        over: threading.Event | None = None,
        on_progress: Callable[[int, bool], None] = lambda _done, _complete: None,
    ) -> int:
        """Do what the source did, up to now (`once`) or until it is `over`; how many changes that were.

        Gone where the source was restored since: `begin` with `restart` copies it again.
        """
        over = over or threading.Event()
        done = 0
        token = self.token
        while not over.is_set():
            batch = source.read(token, wait=not once)
            if batch.token != token:
                self._apply(batch)
                token = batch.token
                done += len(batch.changes)
            on_progress(done, batch.complete)
            if batch.complete:
                if once:
                    break
                if not batch.changes:
                    over.wait(_AGAIN_SECONDS)
        return done

    def _apply(self, batch: _Batch) -> None:
        writes = [write for change in batch.changes if (write := self._write(change)) is not None]
        receipt = self.ledger.write(
            writes, "upsert", self.actor, atomic=True, marks=lambda _: {self._mark: self._noted(batch.token)}
        )
        for write, outcome in zip(writes, receipt.outcomes, strict=False):
            if outcome.refused:
                raise CatalogDamaged(
                    f"{self.name}: a change of {write.id!r} in {write.collection!r} cannot be made ({outcome.value}): "
                    "something else has written to this catalogue; copy everything again with --restart"
                )

    def _write(self, change: Followed) -> Write | None:
        """What makes the same change here; None for what was ended and pruned since."""
        name, thing = change.collection, change.id
        raw = bytes(change.document)
        match change.type, change.kind:
            case "delete", "collection":
                return Removal(Operation.DELETE_COLLECTION, name, name, lenient=True)
            case "delete", "queryables":
                return Removal(Operation.DELETE_QUERYABLES, name, name, lenient=True)
            case (("delete" | "left"), "item"):
                return Removal(Operation.DELETE_ITEM, thing or "", name, lenient=True)
            case "restore", "collection":
                return Restoration(Operation.RESTORE_COLLECTION, name, name, passed=change.passed)
        if not raw:
            return None
        try:
            if change.kind == "item":
                return self.ledger.prepare(read_item(raw, name, thing))
            if change.kind == "collection":
                return self.ledger.prepare(read_collection(raw, name))
            return self.ledger.prepare(Declaration(name, raw))
        except InvalidDocument as error:  # the source took it: it was changed on the way, or by another version
            raise CatalogDamaged(f"{self.name}: {change.kind} {thing or name!r}: {error}") from None
