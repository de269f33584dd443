"""Loading documents into a catalogue: in input order, in batches, skipping nothing in silence."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from swath.catalog.preparing import Prepared, Preparing
from swath.errors import InvalidRequest
from swath.formats.reading import Document, Unreadable
from swath.stac.document import CollectionDocument, read_collection
from swath.store.base import Ledger, Mode, Operation, Outcome, PreparedWrite

__all__ = ["LoadReport", "Progress", "Refusal", "load"]

_TRANSACTION_SECONDS, _SHORT_TRANSACTION_SECONDS = 0.2, 0.04
_BATCH_BYTES = 24_000_000
# A loader makes many objects and no cycles; the collector would look through them for nothing.
_COLLECT_EVERY = 200_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A document that was not taken."""

    file: str
    line: int
    id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Everything up to this line of this file is durable."""

    file: str
    line: int
    documents: int
    refused: int


@dataclass(slots=True)
class LoadReport:
    """What became of a load."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    ignored: int = 0
    collections: int = 0
    made_collections: list[str] = field(default_factory=list)
    warnings: list[Refusal] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Pending:
    file: str
    line: int
    write: PreparedWrite


def load(
    ledger: Ledger,
    documents: Iterable[Document | Unreadable],
    *,
    mode: Mode = "upsert",
    collection: str | None = None,
    absolute: str | None = None,
    actor: str = "load",
    folder: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_refusal: Callable[[Refusal], None] = lambda _: None,
) -> LoadReport:
    """Store documents. Good ones are kept whatever happens to others; each refused one is reported with its reason.

    `collection` is taken for items that name none. An item of a collection that has no document yet gets a
    plain one; the real one takes its place when it comes. `absolute` is the address of the folder that the
    documents come from: relative hrefs are resolved against it. With the catalogue's `folder`, many documents are
    read by several processes.
    """
    if absolute is not None and not urlsplit(absolute).scheme:
        raise InvalidRequest(f"--absolute {absolute!r} is not an address such as https://example.org/data/")
    return _Loader(ledger, mode, Preparing(collection, absolute), actor, folder, on_progress, on_refusal).run(documents)


class _Loader:
    def __init__(
        self,
        ledger: Ledger,
        mode: Mode,
        preparing: Preparing,
        actor: str,
        folder: Path | None,
        on_progress: Callable[[Progress], None],
        on_refusal: Callable[[Refusal], None],
    ) -> None:
        self.ledger, self.mode, self.preparing, self.actor = ledger, mode, preparing, actor
        self.folder = folder
        self.on_progress, self.on_refusal = on_progress, on_refusal
        self.report = LoadReport()
        self.known = {record.id for record in ledger.collections()}
        self.documents = 0
        self.batch_size = 200

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
                size += len(ready.write.packed)
            if len(pending) >= self.batch_size or size >= _BATCH_BYTES:
                self.commit(pending, document)
                pending, size = [], 0
        if last is not None:
            self.commit(pending, last)

    def pending(self, document: Document | Unreadable, made: Prepared) -> Iterator[_Pending]:
        """What is to be written for a document: nothing where it is refused."""
        write = made.write
        if write is None:
            self.refuse(Refusal(document.file, document.line, made.id, made.reason))
            return
        if write.operation is Operation.PUT_ITEM and write.collection not in self.known:
            self.known.add(write.collection)
            yield _Pending(document.file, document.line, self.ledger.prepare(_plain_collection(write.collection)))
        elif write.operation is Operation.PUT_COLLECTION:
            self.known.add(write.id)
        for warning in made.warnings:
            self.report.warnings.append(Refusal(document.file, document.line, made.id, warning))
        yield _Pending(document.file, document.line, write)

    def commit(self, pending: list[_Pending], last: Document | Unreadable) -> None:
        if pending:
            started = time.monotonic()
            outcomes = self.ledger.write([ready.write for ready in pending], self.mode, self.actor)
            self.adapt(len(pending), time.monotonic() - started)
            for ready, outcome in zip(pending, outcomes, strict=True):
                self.tally(ready, outcome)
        self.on_progress(Progress(last.file, last.line, self.documents, len(self.report.refused)))

    def adapt(self, count: int, seconds: float) -> None:
        """Aim at the longest transaction that is fair to other writers."""
        aim = _SHORT_TRANSACTION_SECONDS if self.ledger.busy() else _TRANSACTION_SECONDS
        self.batch_size = max(20, min(2_000, 2 * count, int(count * aim / max(seconds, 1e-3))))

    def tally(self, ready: _Pending, outcome: Outcome) -> None:
        document = ready.write
        if document.made:
            if outcome is Outcome.CREATED:
                self.report.made_collections.append(document.id)
            return
        if outcome is Outcome.CONFLICT:
            self.refuse(Refusal(ready.file, ready.line, document.id, "the id is taken (--mode insert)"))
            return
        if outcome is Outcome.NO_COLLECTION:  # deleted by somebody since this load began
            reason = f"the collection {document.collection!r} is not there any more"
            self.refuse(Refusal(ready.file, ready.line, document.id, reason))
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
        self.report.refused.append(refusal)
        self.on_refusal(refusal)


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
