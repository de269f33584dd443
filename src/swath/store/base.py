"""The two protocols of the store.

`Ledger` is the truth: every version of every item and collection, in the order of its commits. `Index`
follows the ledger, answers searches at a revision, and can be rebuilt from it at any time.

A *revision* is the sequence number of the last version of a commit. A reader that knows a revision sees
the catalogue as it was then.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from swath.cql2.ast import Predicate
from swath.cql2.queryables import Declared
from swath.search import SortKey, Step, StoredItem
from swath.stac.document import CollectionDocument, ItemDocument

__all__ = [
    "Change",
    "CollectionRecord",
    "Declaration",
    "Fact",
    "Hit",
    "Index",
    "Ledger",
    "Mode",
    "Operation",
    "Outcome",
    "PreparedWrite",
    "PropertyFacts",
    "Removal",
    "Selection",
    "Summary",
    "Version",
]

Mode: TypeAlias = Literal["upsert", "insert", "ignore"]


class Operation(enum.IntEnum):
    """What a version row did. Numbers are on disk: never change them."""

    PUT_ITEM = 1
    DELETE_ITEM = 2
    PUT_COLLECTION = 3
    DELETE_COLLECTION = 4
    PUT_QUERYABLES = 5  # what a collection declares
    DELETE_QUERYABLES = 6


class Outcome(enum.Enum):
    """What became of one document of a write."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    IGNORED = "ignored"  # mode ignore: the id was there
    CONFLICT = "conflict"  # mode insert: the id was there
    NO_COLLECTION = "no collection"
    DELETED = "deleted"
    MISSING = "missing"  # nothing to delete


class Fact(NamedTuple):
    """A kind of value that a property has had in a collection since a revision."""

    collection: int
    name: str
    kind: str
    revision: int


class Version(NamedTuple):
    """A row of the ledger. `replaces` is the version of the same thing that it ends, if any."""

    seq: int
    operation: int
    collection: int  # the incarnation's key
    id: str
    replaces: int | None


class Change(NamedTuple):
    """A version with its document, as an index reads it. Body and shape are None for a delete."""

    version: Version
    body: bytes | None
    shape: bytes | None


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection that is live at the head. `key` names its incarnation."""

    key: int
    id: str
    seq: int
    body: bytes
    links: bytes


@dataclass(frozen=True, slots=True)
class Declaration:
    """The queryables of a collection, as a JSON Schema in bytes."""

    collection: str
    body: bytes


@dataclass(frozen=True, slots=True)
class PreparedWrite:
    """A document made ready outside the write lock: packed, with what the ledger keeps beside it.

    `operation` is one of the PUTs. `id` is the item's, else the collection's; `made` marks a collection that Swath
    wrote in place of a missing one. `facts` are names of properties and the kinds of their values. `size` is that
    of the unpacked bytes.
    """

    operation: Operation
    id: str
    collection: str
    size: int
    dictionary: int
    packed: bytes
    digest: bytes
    links: bytes
    shape: bytes | None = None
    facts: tuple[tuple[str, str], ...] = ()
    made: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """The end of an item, of a collection with all that it holds, or of what it declares.

    `operation` is one of the DELETEs; `id` is the item's, else the collection's.
    """

    operation: Operation
    id: str
    collection: str


class Ledger(Protocol):
    """The truth. Reads may come from any thread; writes are committed one group at a time."""

    @property
    def epoch(self) -> bytes:
        """Random bytes of this life of the catalogue; new after a restore or a copy."""

    @property
    def secret(self) -> bytes:
        """The key that signs cursors, shared by all processes."""

    packing: dict[str, int]  # by collection, the number of the dictionary that its items are packed with

    def head(self) -> int:
        """The latest revision."""

    def position(self) -> tuple[int, int]:
        """The latest revision, and the generation of the manifest: what tells a reader that something moved."""

    def manifest(self) -> tuple[int, bytes]:
        """What an index keeps about its files, and its generation. Empty and 0 at first."""

    def publish(self, manifest: bytes, generation: int) -> bool:
        """Put the next generation of the manifest in place. False where it is not `generation` any more."""

    def horizon(self, seconds: float) -> int:
        """The latest revision that is older than so many seconds: cursors behind it go on from it."""

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

    def prepare(self, document: ItemDocument | CollectionDocument | Declaration) -> PreparedWrite:
        """Everything about a write that needs no lock."""

    def write(self, writes: Sequence[PreparedWrite | Removal], mode: Mode, actor: str) -> list[Outcome]:
        """Commit a group, in order; returns when it is durable. All or nothing by the power cut."""

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

    def sortable(self) -> Iterable[str]:
        """Names of properties that items have values with an order for, or had lately."""

    def properties(self, expression: Predicate, *, revision: int, most_values: int) -> tuple[PropertyFacts, ...]:
        """What properties the selected items have."""
