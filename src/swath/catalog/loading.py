"""Loading documents into a catalogue: in input order, in batches, skipping nothing in silence."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from swath.catalog.preparing import Prepared, Preparing
from swath.errors import InvalidRequest, TooLarge
from swath.formats.reading import Document, Unreadable
from swath.limits import LIMITS
from swath.stac.document import CollectionDocument, read_collection
from swath.store.base import Ledger
from swath.store.records import Mode, Once, Operation, Outcome, PreparedWrite, Receipt

__all__ = ["LoadReport", "PageLoader", "Progress", "Refusal", "Told", "Watching", "load"]

_TRANSACTION_SECONDS, _SHORT_TRANSACTION_SECONDS = 0.2, 0.04
_BATCH_BYTES = 24_000_000
# A loader makes many objects and no cycles; the collector would look through them for nothing.
_COLLECT_EVERY = 200_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that was not taken. `pointer` is a JSON pointer to what is wrong with it."""

    file: str
    line: int
    id: str | None
    reason: str
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to this line of this file is durable."""

    file: str
    line: int
    documents: int
    refused: int


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one document: an outcome, or `refused` with the reason."""

    line: int
    id: str | None
    outcome: str
    reason: str = ""
    pointer: str = ""
    notes: tuple[str, ...] = ()  # what was changed in it, and what is not as it should be


@dataclass(slots=True)
class LoadReport:
    """What became of a load. `refused` lists those that were, unless they are told one by one."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    ignored: int = 0
    collections: int = 0
    made_collections: list[str] = field(default_factory=list)
    warnings: list[Refusal] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a source cannot do, and what was done instead
    stopped: str | None = None  # why a source ended before its time; loading again goes on

    def add(self, other: LoadReport) -> None:
        """What became of another load, too."""
        for name in ("created", "updated", "unchanged", "ignored", "collections"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("made_collections", "warnings", "refused", "notes"):
            getattr(self, name).extend(getattr(other, name))
        self.stopped = self.stopped or other.stopped


@dataclass(frozen=True, slots=True)
class Watching:
    """What is told while a load goes on.

    `told`: what became of each document, after the commit; refused ones are then not listed in the report. `marks`: a
    note that is kept in the same commit, made from what it comes to; see `Ledger.write`.
    """

    progress: Callable[[Progress], None] = lambda _: None
    refusal: Callable[[Refusal], None] = lambda _: None
    told: Callable[[list[Told]], None] | None = None
    marks: Callable[[list[Told]], Mapping[str, bytes]] | None = None


@dataclass(frozen=True, slots=True)
class _Pending:
    file: str
    line: int
    id: str | None
    write: PreparedWrite | None  # None where it is refused
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


def load(
    ledger: Ledger,
    documents: Iterable[Document | Unreadable],
    *,
    mode: Mode = "upsert",
    preparing: Preparing | None = None,
    actor: str = "load",
    folder: Path | None = None,
    atomic: bool = False,
    dry_run: bool = False,
    once: Once | None = None,
    watching: Watching | None = None,
) -> LoadReport:
    """Store documents. Good ones are kept whatever happens to others; each refused one is reported with its reason.

    `preparing` says how they are read. An item of a collection that has no document yet gets a plain one; the real one
    takes its place when it comes. With the catalogue's `folder`, many documents are read by several processes.
    `atomic`: all are stored or none, TooLarge for too many, and `once` tells that they were stored before. `dry_run`:
    nothing is, but everything is told as if.
    """
    preparing = preparing or Preparing()
    if preparing.absolute is not None and not urlsplit(preparing.absolute).scheme:
        raise InvalidRequest(f"--absolute {preparing.absolute!r} is not an address such as https://example.org/data/")
    loader = _Loader(ledger, mode, preparing, actor, folder, watching or Watching())
    loader.atomic, loader.dry_run, loader.once = atomic, dry_run, once
    return loader.run(documents)


class PageLoader:
    """Stores documents a page at a time: what was given is durable when `store` returns. `report` grows."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        mode: Mode = "upsert",
        collection: str | None = None,
        actor: str = "load",
        on_refusal: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        # No helpers: a page is soon read, and what a helper would read ahead would be asked for again after a stop.
        self._loader = _Loader(ledger, mode, Preparing(collection), actor, None, Watching(refusal=on_refusal))
        self.report = self._loader.report

    def store(self, documents: Iterable[Document | Unreadable]) -> None:
        self._loader.run(documents)


class _Loader:
    def __init__(
        self, ledger: Ledger, mode: Mode, preparing: Preparing, actor: str, folder: Path | None, watching: Watching
    ) -> None:
        self.ledger, self.mode, self.preparing, self.actor = ledger, mode, preparing, actor
        self.folder, self.watching = folder, watching
        self.report = LoadReport()
        self.known = {record.id for record in ledger.collections()}
        self.documents = self.refused = 0
        self.batch_size = 200
        self.atomic = self.dry_run = False
        self.once: Once | None = None
        self.seen: dict[int, bytes] = {}  # in a dry run

    def run(self, documents: Iterable[Document | Unreadable]) -> LoadReport:
        thresholds = gc.get_threshold()
        gc.set_threshold(_COLLECT_EVERY, *thresholds[1:])
        try:
            self.store(documents)
        finally:
            gc.set_threshold(*thresholds)
        return self.report

    def store(self, documents: Iterable[Document | Unreadable]) -> None:
        pending: list[_Pending] = []
        size = 0
        last: Document | Unreadable | None = None
        for document, made in self.preparing.many(documents, self.ledger, self.folder):
            last = document
            for ready in self.pending(document, made):
                pending.append(ready)
                size += len(ready.write.packed) if ready.write else 0
            if self.atomic:
                self.check_size(pending, size)
            elif len(pending) >= self.batch_size or size >= _BATCH_BYTES:
                self.commit(pending, document)
                pending, size = [], 0
        if last is not None:
            self.commit(pending, last)

    def check_size(self, pending: list[_Pending], size: int) -> None:
        if len(pending) > LIMITS.atomic_items or size > LIMITS.atomic_bytes:
            raise TooLarge(
                f"atomic: at most {LIMITS.atomic_items:,} items or {LIMITS.atomic_bytes:,} bytes are stored all or "
                "none; send them with atomic=false"
            )

    def pending(self, document: Document | Unreadable, made: Prepared) -> Iterator[_Pending]:
        """What is to be done for a document."""
        place = document.file, document.line
        write = made.write
        if write is None:
            yield _Pending(*place, made.id, None, Refusal(*place, made.id, made.reason, made.pointer))
            return
        if write.operation is Operation.PUT_ITEM and write.collection not in self.known and not self.preparing.only:
            self.known.add(write.collection)
            plain = self.ledger.prepare(_plain_collection(write.collection))
            yield _Pending(*place, write.collection, plain)
        elif write.operation is Operation.PUT_COLLECTION:
            self.known.add(write.id)
        for warning in made.warnings:
            self.report.warnings.append(Refusal(*place, made.id, warning))
        yield _Pending(*place, made.id, write, notes=tuple(made.warnings))

    def commit(self, pending: list[_Pending], last: Document | Unreadable) -> None:
        writes = [ready.write for ready in pending if ready.write is not None]
        hopeless = self.atomic and len(writes) < len(pending)
        outcomes: list[Outcome] = []
        if writes and not hopeless:
            started = time.monotonic()
            marks = self.watching.marks

            def noted(receipt: Receipt) -> Mapping[str, bytes]:
                return marks(self.told(pending, receipt.outcomes)) if marks else {}

            receipt = self.ledger.write(
                writes,
                self.mode,
                self.actor,
                atomic=self.atomic,
                dry_run=self.dry_run,
                once=self.once,
                marks=noted if marks else None,
            )
            outcomes = self.as_if(writes, receipt.outcomes) if self.dry_run and not self.atomic else receipt.outcomes
            self.adapt(len(writes), time.monotonic() - started)
        told = self.told(pending, outcomes)
        waiting = iter(outcomes)
        for ready in pending:
            if ready.refusal is not None:
                self.refuse(ready.refusal)
            elif (outcome := next(waiting, None)) is not None:
                self.tally(ready, outcome)
        if self.watching.told is not None:
            self.watching.told(told)
        self.watching.progress(Progress(last.file, last.line, self.documents, self.refused))

    def as_if(self, writes: list[PreparedWrite], outcomes: list[Outcome]) -> list[Outcome]:
        """A dry run's outcomes, as if what came before had been stored: each batch of it is undone before the next."""
        found = []
        for write, outcome in zip(writes, outcomes, strict=True):
            name = int.from_bytes(hashlib.blake2b(f"{write.collection}/{write.id}".encode(), digest_size=8).digest())
            before = self.seen.get(name)
            if before is not None and not outcome.refused:
                same = Outcome.UNCHANGED if before == write.digest[:8] else Outcome.UPDATED
                outcome = {"insert": Outcome.CONFLICT, "ignore": Outcome.IGNORED}.get(self.mode, same)
            if outcome in (Outcome.CREATED, Outcome.UPDATED):
                self.seen[name] = write.digest[:8]
            found.append(outcome)
        return found

    def told(self, pending: list[_Pending], outcomes: list[Outcome]) -> list[Told]:
        """What is said of each document. What is all or nothing and not all, is nothing."""
        undone = self.atomic and (not outcomes or any(outcome.refused for outcome in outcomes))
        waiting, found = iter(outcomes), []
        for ready in pending:
            refusal = ready.refusal
            if refusal is None and ready.write is not None:
                outcome = next(waiting, None)
                if ready.write.made:
                    continue
                refusal = _refusal(ready, outcome) if outcome is not None else None
                if refusal is None:
                    word = outcome.value if outcome is not None and not undone else "not done"
                    found.append(Told(ready.line, ready.id, word, notes=ready.notes))
            if refusal is not None:
                found.append(Told(ready.line, refusal.id, "refused", refusal.reason, refusal.pointer))
        return found

    def adapt(self, count: int, seconds: float) -> None:
        """Aim at the longest transaction that is fair to other writers."""
        aim = _SHORT_TRANSACTION_SECONDS if self.ledger.busy() else _TRANSACTION_SECONDS
        self.batch_size = max(20, min(2_000, 2 * count, int(count * aim / max(seconds, 1e-3))))

    def tally(self, ready: _Pending, outcome: Outcome) -> None:
        document = ready.write
        assert document is not None
        if document.made:
            if outcome is Outcome.CREATED:
                self.report.made_collections.append(document.id)
            return
        refusal = _refusal(ready, outcome)
        if refusal is not None:
            self.refuse(refusal)
            return
        self.documents += 1
        if document.operation is Operation.PUT_COLLECTION:
            self.report.collections += outcome in (Outcome.CREATED, Outcome.UPDATED)
            return
        if outcome is Outcome.CREATED:
            self.report.created += 1
        elif outcome is Outcome.UPDATED:
            self.report.updated += 1
        elif outcome is Outcome.UNCHANGED:
            self.report.unchanged += 1
        elif outcome is Outcome.IGNORED:
            self.report.ignored += 1

    def refuse(self, refusal: Refusal) -> None:
        self.refused += 1
        if self.watching.told is None:
            self.report.refused.append(refusal)
        self.watching.refusal(refusal)


def _refusal(ready: _Pending, outcome: Outcome) -> Refusal | None:
    assert ready.write is not None
    if outcome is Outcome.CONFLICT:
        return Refusal(ready.file, ready.line, ready.id, "the id is taken", "/id")
    if outcome is Outcome.NO_COLLECTION:  # deleted by somebody since this load began
        reason = f"the collection {ready.write.collection!r} is not there any more"
        return Refusal(ready.file, ready.line, ready.id, reason, "/collection")
    return None


def _plain_collection(collection_id: str) -> CollectionDocument:
    """A collection for items that came without one; its extent is told from them when it is served."""
    content = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection_id,
        "description": f"Items of {collection_id}; no collection document was loaded with them.",
        "license": "other",
        "links": [],
    }
    document = read_collection(msgspec.json.encode(content))
    return CollectionDocument(document.id, document.body, document.links, document.content, made=True)
