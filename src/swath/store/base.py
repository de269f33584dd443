"""The two protocols of the store.

`Ledger` is the truth: every version of every item and collection, in the order of its commits. `Index`
follows the ledger, answers searches at a revision, and can be rebuilt from it at any time.

A *revision* is the sequence number of the last version of a commit. A reader that knows a revision sees
the catalogue as it was then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from swath.cql2.ast import Predicate
from swath.cql2.queryables import Declared
from swath.search import SortKey, Step, StoredItem
from swath.stac.document import CollectionDocument, ItemDocument
from swath.store.records import (
    AssetRecord,
    BlobRecord,
    Change,
    Choice,
    CollectionRecord,
    DeadLetter,
    Declaration,
    DeliveryRecord,
    DeliveryState,
    Entry,
    Fact,
    FileChanges,
    JobRecord,
    Mode,
    Once,
    PreparedWrite,
    Receipt,
    Subscription,
    Version,
    Write,
)

__all__ = ["Files", "Hit", "Index", "Ledger", "PropertyFacts", "Selection", "Summary"]


class Files(Protocol):
    """The asset store's part of the truth. It is changed by `Ledger.write`, so that files and documents agree."""

    def asset(self, asset_id: str) -> AssetRecord | None:
        """A file whose delivery is not in the trash."""

    def assets_of(self, delivery_id: str) -> list[AssetRecord]:
        """The files of a delivery, its original included, by id."""

    def delivery(self, delivery_id: str) -> DeliveryRecord | None:
        """A delivery, in the trash or not."""

    def delivery_of(self, collection_id: str) -> DeliveryRecord | None:
        """The delivery that a STAC collection was made of; of several, one that is not in the trash."""

    def deliveries(self, choice: Choice, limit: int, offset: int = 0) -> tuple[list[DeliveryRecord], int]:
        """A page of the deliveries of a choice, and how many there are in all."""

    def last_state(self) -> int:
        """The place of the last state that a delivery came into; 0 where there is none."""

    def states(self, after: int, until: int, limit: int) -> list[DeliveryState]:
        """States that deliveries came into, behind one place and up to another."""

    def blobs_of(self, sha256: str) -> list[BlobRecord]:
        """The blobs that hold, or held, bytes of a hash."""

    def blobs(self) -> Iterator[BlobRecord]:
        """All blobs by key, in several short transactions."""

    def pinned(self, sha256: str) -> bool:
        """Whether somebody is about to use bytes of a hash."""

    def mark_unused(self, before: int, dead: int) -> list[BlobRecord]:
        """Mark blobs that came before an instant, and that nobody pins or uses, as being deleted; all so marked.

        Pins from before the instant `dead` are those of uploads that were never finished.
        """

    def forget_blob(self, key: str) -> None:
        """Forget a blob that was marked, and whose bytes are gone."""


class Ledger(Protocol):
    """The truth. Reads may come from any thread; writes are committed one group at a time."""

    @property
    def epoch(self) -> bytes:
        """Random bytes of this life of the catalogue; new after a restore or a copy."""

    @property
    def secret(self) -> bytes:
        """The key that signs cursors, shared by all processes."""

    @property
    def files(self) -> Files:
        """The asset store."""

    packing: dict[str, int]  # by collection, the number of the dictionary that its items are packed with

    def head(self) -> int:
        """The latest revision."""

    def position(self) -> tuple[int, int]:
        """The latest revision, and the generation of the manifest: what tells a reader that something moved."""

    def manifest(self) -> tuple[int, bytes]:
        """What an index keeps about its files, and its generation. Empty and 0 at first."""

    def publish(self, manifest: bytes, generation: int) -> bool:
        """Put the next generation of the manifest in place. False where it is not `generation` any more."""

    def head_at(self) -> int:
        """When the latest revision was committed, in microseconds since 1970."""

    def horizon(self, seconds: float) -> int:
        """The latest revision that is older than so many seconds: cursors behind it go on from it."""

    def pruned(self) -> int:
        """What ended by this revision may be gone for good."""

    def prune(self, seconds: float) -> int:
        """Take away what ended longer ago than so many seconds, in short transactions; the revision reached."""

    def committed(self, instant: int) -> bool:
        """Whether there was a commit at the very instant, in microseconds since 1970."""

    def revision_at(self, instant: int) -> int:
        """The revision of the catalogue at an instant, in microseconds since 1970."""

    def history(self, collection_id: str, item_id: str | None) -> list[Entry]:
        """Every version of an item of a live collection, or of the collection itself, newest first."""

    def deleted_collections(self) -> list[Entry]:
        """Collections that can be restored, by id; of those of one id, that which was deleted last comes first."""

    def collection_ends(self, collection_id: str) -> list[int]:
        """The versions that ended collections of an id, the last first."""

    def deleted_items(self, collection_id: str, after: str, limit: int) -> Sequence[Entry]:
        """Items of a live collection that can be restored, by id, those behind the id `after`."""

    def collection_at(self, collection_id: str, revision: int) -> CollectionRecord | None:
        """The collection as it was at a revision."""

    def collections_at(self, revision: int) -> Sequence[CollectionRecord]:
        """The collections that lived at a revision, by id."""

    def item_at(self, collection_id: str, item_id: str, revision: int) -> StoredItem | None:
        """The item as it was at a revision."""

    def changes(self, after: int, until: int, ended_by: int = 0) -> Iterator[Change]:
        """Versions with after < seq <= until, in order, in several short transactions.

        Documents of items that ended at or before the revision `ended_by` are left out.
        """

    def versions(self, after: int, until: int) -> Iterator[tuple[Version, bytes | None]]:
        """The same without documents of items and collections: only what a collection declares comes with its bytes."""

    def facts(self, until: int) -> Sequence[Fact]:
        """Kinds of values known at a revision."""

    def collections(self) -> Sequence[CollectionRecord]:
        """Live collections at the head, by id in code point order."""

    def collection(self, collection_id: str) -> CollectionRecord | None: ...

    def has_collection(self, collection_id: str) -> bool: ...

    def declaration(self, collection_id: str) -> bytes | None:
        """The queryables that a live collection declares at the head, as they were sent."""

    def item(self, collection_id: str, item_id: str) -> StoredItem | None:
        """The live item at the head."""

    def items(self, seqs: Sequence[int]) -> list[StoredItem]:
        """Stored items by version, in the order asked."""

    def kept(self, seqs: Sequence[int]) -> list[StoredItem]:
        """Those of some versions whose documents are still there."""

    def prepare(self, document: ItemDocument | CollectionDocument | Declaration) -> PreparedWrite:
        """Everything about a write that needs no lock."""

    def turn(self, size: int) -> AbstractContextManager[object]:
        """Within it a document of so many bytes is read and made ready, one after the other.

        It is work of the interpreter, from the first byte to the last: threads that do it at once take the interpreter
        from each other at every step of it, which takes a third longer. What is large keeps nobody waiting.
        """

    def write(
        self,
        writes: Sequence[Write],
        mode: Mode,
        actor: str,
        *,
        atomic: bool = False,
        once: Once | None = None,
        marks: Callable[[Receipt], Mapping[str, bytes | None]] | None = None,
        files: FileChanges | None = None,
        dry_run: bool = False,
    ) -> Receipt:
        """Commit a group, in order; returns when it is durable. All or nothing by the power cut.

        `atomic`: where one write is refused, none is done. `once`: what was done under the same key is told again;
        KeyReused where that was another request. `marks` makes notes, of what the writes came to, that are kept, or
        taken away (None), in the same commit; `files` changes the asset store in it. `dry_run`: it is told what would
        be done, and nothing is.
        """

    def refuse_once(self, once: Once, refusal: bytes) -> None:
        """Keep why a request was refused before anything was written, unless something is kept of it already."""

    def refused_once(self, once: Once) -> bytes | None:
        """Why a request under this key was refused in the last 24 hours. KeyReused where it was another request."""

    def done_once(self, once: Once) -> Receipt | None:
        """What became of a request under this key in the last 24 hours. KeyReused where it was another request."""

    def marks(self, prefix: str) -> list[str]:
        """The names of the notes that begin so."""

    def mark(self, name: str) -> bytes | None:
        """A note that was kept with a write."""

    def setting(self, collection_id: str, name: str) -> str | None:
        """A setting of a collection."""

    def settings(self, collection_id: str) -> dict[str, str]:
        """All settings of a collection, by name."""

    def set(self, collection_id: str, name: str, value: str | None) -> None:
        """Keep a setting of a collection, or take it away (None)."""

    def keep_job(self, job: JobRecord, *, new: bool = False) -> bool:
        """Keep what is known of a job. False where it is `new` and there is one of that id."""

    def job(self, job_id: str) -> JobRecord | None:
        """What is known of a job."""

    def jobs(self) -> list[JobRecord]:
        """All jobs, the youngest first."""

    def forget_job(self, job_id: str) -> None: ...

    def subscribe(self, subscription: Subscription) -> bool:
        """Keep a subscription; False where there is one of that id."""

    def resubscribe(self, subscription: Subscription) -> bool:
        """Change what a subscriber wants; its place only moves on. False where there is none."""

    def subscriptions(self, kind: str) -> list[Subscription]:
        """All of one kind, the youngest first."""

    def unsubscribe(self, subscription_id: str) -> bool:
        """Forget a subscription and its dead letters; False where there is none."""

    def delivered(self, subscription_id: str, until: int, lost: DeadLetter | None = None) -> None:
        """Keep that a subscriber was told of everything up to a place, or was not to be reached."""

    def dead_letters(self, subscription_id: str) -> list[DeadLetter]:
        """What a subscriber was not told, the latest first."""

    def forget_dead_letter(self, number: int) -> None: ...

    def collection_name(self, key: int) -> str:
        """The id of a collection by its incarnation, live or not."""

    def busy(self) -> bool:
        """Whether others write too: a loader then makes its transactions short."""

    def close(self) -> None: ...


class Hit(NamedTuple):
    """A selected item: its version and its place in the order."""

    seq: int
    key: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Hits in order. `more` tells whether there are others behind them. `matched` is exact or None."""

    hits: tuple[Hit, ...]
    more: bool
    matched: int | None
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class PropertyFacts:
    """What is known of one property over a set of items.

    `kinds` of its values; `values` the distinct strings if there are few, else None; `low` and `high` of its numbers.
    """

    name: str
    kinds: frozenset[str]
    count: int
    values: tuple[str, ...] | None
    low: float | int | None
    high: float | int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """Facts about a set of items: how many, where (west, south, east, north), when (microseconds)."""

    count: int
    box: tuple[float, float, float, float] | None
    start: int | None
    end: int | None


class Index(Protocol):
    """Answers searches. Follows a ledger; everything it knows can be rebuilt from it."""

    @property
    def indexed_revision(self) -> int: ...

    @property
    def horizon(self) -> int:
        """What ended by this revision may be missing: no older one can be asked about any more."""

    def state(self) -> tuple[int, int] | None:
        """What searches depend on beside their words, where they need not wait for a refresh; else None."""

    def refresh(self, seconds: float | None = None) -> int:
        """Follow the ledger to its head; returns the revision reached. DeadlineExceeded where others take longer."""

    def fold(self, least: int = ...) -> bool:
        """Bring what was written lately into its lasting form, where there are so many versions. True if it was."""

    def check(self, *, repair: bool = False) -> list[str]:
        """What is wrong with the index's own files, in words; it builds them anew on demand."""

    def select(
        self,
        expression: Predicate,
        sort: tuple[SortKey, ...],
        limit: int,
        *,
        revision: int,
        after: tuple[Any, ...] | None = None,
        backward: bool = False,
        deadline: float | None = None,
        abandoned: Callable[[], bool] = ...,
        count: bool = False,
        count_seconds: float | None = None,
    ) -> Selection:
        """The first `limit` items behind `after` in the order of `sort`, at a revision."""

    def declared(self, revision: int) -> Mapping[int, Declared]:
        """What collections declare of their queryables at a revision, by collection key."""

    def scan(self, expression: Predicate, *, revision: int) -> Iterable[int]:
        """Every selected version, oldest write first, without any order of the items."""

    def summaries(self, expression: Predicate, *, revision: int) -> dict[int, Summary]:
        """Facts of the selected items by collection key."""

    def histogram(self, expression: Predicate, name: str, edges: Sequence[float], *, revision: int) -> list[int]:
        """How many selected items have a value in each range [edge, next edge); the last one includes its end.

        `datetime` counts in microseconds; any other name is that of a number.
        """

    def grid(self, expression: Predicate, degrees: float, *, revision: int) -> dict[tuple[int, int], int]:
        """How many selected items lie in each cell (column from -180, row from -90), by the centre of their boxes."""

    def matching(self, changes: Sequence[Change], expression: Predicate) -> list[bool]:
        """Which of some versions of items, each with its document, are selected by an expression."""

    def sortable(self) -> Iterable[str]:
        """Names of properties that items have values with an order for, or had lately."""

    def properties(self, expression: Predicate, *, revision: int, most_values: int) -> tuple[PropertyFacts, ...]:
        """What properties the selected items have. No more than 1,000 values can be asked for."""

    def properties_apart(
        self, expression: Predicate, keys: Iterable[int], *, revision: int, most_values: int
    ) -> dict[int, tuple[PropertyFacts, ...]]:
        """The same for each of some collections, by its key; those of which no item is selected are left out."""
