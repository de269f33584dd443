"""What goes into a store and comes out of it: versions, writes and what became of them, jobs, subscriptions."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "DELIVERY_SORTS",
    "AssetRecord",
    "BlobRecord",
    "Change",
    "Choice",
    "CollectionRecord",
    "Condition",
    "DeadLetter",
    "Declaration",
    "DeliveryRecord",
    "Entry",
    "Fact",
    "FileChanges",
    "JobRecord",
    "Mode",
    "Once",
    "Operation",
    "Outcome",
    "PreparedWrite",
    "Receipt",
    "Removal",
    "Restoration",
    "Subscription",
    "Version",
    "Write",
    "version_tag",
]

# What to do with an id that is there (insert refuses it, ignore keeps it) or, for update, with one that is not.
Mode: TypeAlias = Literal["upsert", "insert", "ignore", "update"]


class Operation(enum.IntEnum):
    """What a version row did. Numbers are on disk: never change them."""

    PUT_ITEM = 1
    DELETE_ITEM = 2
    PUT_COLLECTION = 3
    DELETE_COLLECTION = 4
    PUT_QUERYABLES = 5  # what a collection declares
    DELETE_QUERYABLES = 6
    RESTORE_COLLECTION = 7  # with all that it held


class Outcome(enum.Enum):
    """What became of one document of a write."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    IGNORED = "ignored"  # mode ignore: the id was there
    CONFLICT = "conflict"  # mode insert: the id was there
    NO_COLLECTION = "no collection"
    DELETED = "deleted"
    MISSING = "missing"  # nothing to update, delete or restore
    STALE = "stale"  # a condition of the caller does not hold
    RACED = "raced"  # it is not the version any more that was read to make this write
    NOT_EMPTY = "not empty"  # a collection that holds items
    RESTORED = "restored"

    @property
    def refused(self) -> bool:
        """Whether it was not done, and is not as the caller wanted it either."""
        return self in _REFUSED


# What a list of deliveries can be sorted by, in the names of UP42's API.
DELIVERY_SORTS = (
    "name", "title", "size", "createdAt", "updatedAt", "source", "collectionName", "producerName", "id", "workspaceId",
    "contentType", "productId", "orderId", "geospatialMetadataExtractionStatus",
)  # fmt: skip

_REFUSED = frozenset(
    (Outcome.CONFLICT, Outcome.NO_COLLECTION, Outcome.MISSING, Outcome.STALE, Outcome.RACED, Outcome.NOT_EMPTY)
)


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
    """A version with its document, as an index reads it. Body and shape are None for a delete.

    `updated` is when it was committed, `created` when the first version of this life of the thing was, both in
    microseconds since 1970; `actor` is who did it.
    """

    version: Version
    body: bytes | None
    shape: bytes | None
    updated: int | None = None
    created: int | None = None
    actor: str = ""


class Entry(NamedTuple):
    """A version in the history of a thing. `kept`: its document is there; `at` is in microseconds since 1970."""

    seq: int
    operation: int
    collection: int
    id: str
    replaces: int | None
    at: int
    actor: str
    kept: bool


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection that is live at a revision. `key` names its incarnation; times are those of `Change`."""

    key: int
    id: str
    seq: int
    body: bytes
    links: bytes
    updated: int = 0
    created: int = 0


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold of the live version in the transaction that writes (RFC 9110, section 13.1).

    `match`: its tag is one of these. `none_match`: its tag is none of these. An empty set stands for `*`: any version
    at all. `unmodified_since`: it was committed by then, in microseconds since 1970. `seq`: it is this one (0: there is
    none), which the writer read before.
    """

    match: frozenset[bytes] | None = None
    none_match: frozenset[bytes] | None = None
    unmodified_since: int | None = None
    seq: int | None = None

    def fault(self, seq: int, tag: Callable[[int], bytes], at: Callable[[int], int]) -> Outcome | None:
        """What is wrong where `seq` is the live version, 0 for none. `at` tells when one was committed."""
        if self.unmodified_since is not None and seq and at(seq) > self.unmodified_since:
            return Outcome.STALE
        if self.match is not None and (not seq or (self.match and tag(seq) not in self.match)):
            return Outcome.STALE
        if self.none_match is not None and seq and (not self.none_match or tag(seq) in self.none_match):
            return Outcome.STALE
        return Outcome.RACED if self.seq is not None and seq != self.seq else None


def version_tag(epoch: bytes, seq: int) -> bytes:
    """What tells versions of a thing apart without telling how many there are."""
    return hashlib.blake2b(seq.to_bytes(8, "little"), digest_size=8, key=epoch).digest()


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
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """The end of an item, of a collection with all that it holds, or of what it declares.

    `operation` is one of the DELETEs; `id` is the item's, else the collection's. Without `cascade`, a collection that
    holds items stays. `lenient`: where there is nothing to end, that is as good.
    """

    operation: Operation
    id: str
    collection: str
    condition: Condition | None = None
    cascade: bool = True
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class Restoration:
    """An earlier version of an item becomes the live one again, or a deleted collection comes back with its items.

    `operation` is PUT_ITEM or RESTORE_COLLECTION. `seq` is the version of the item, None for its last one; of a
    collection, the version that ended it. Without it, the collection of that id which was deleted last comes back, or
    the one before so many that are `passed` over.
    """

    operation: Operation
    id: str
    collection: str
    seq: int | None = None
    condition: Condition | None = None
    passed: int = 0


Write: TypeAlias = PreparedWrite | Removal | Restoration


@dataclass(frozen=True, slots=True)
class Once:
    """A request that is done once, however often it comes: a key that its sender chose, and a hash of what it says."""

    key: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of each write, and the version that is live after it (0: none). `replayed`: it was done before."""

    outcomes: list[Outcome]
    seqs: list[int]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as the ledger keeps it. `at` is when it came, in microseconds since 1970; request and result are packed."""

    id: str
    kind: str
    at: int
    state: str
    request: bytes
    result: bytes | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """Somebody who is told of what is new in a log. `position` is the place up to which it was; `request` is packed.

    `kind` says which log, and what the request holds.
    """

    id: str
    at: int
    request: bytes
    secret: str
    position: int
    kind: str


class DeadLetter(NamedTuple):
    """What lies behind `after`, up to `until`, of which a subscriber could not be told."""

    id: int
    subscription: str
    at: int
    after: int
    until: int
    reason: str


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """Bytes in the blob store, under a key that begins with their SHA-256. `deleting`: nobody may use them any more."""

    key: str
    sha256: str
    size: int
    at: int
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """A file of the asset store: a delivery as it came (then `delivery` is its own id), or what was made of one.

    `blob` is the key of its bytes, `at` when it came, in microseconds since 1970.
    """

    id: str
    delivery: str
    blob: str
    size: int
    sha256: str
    name: str
    media_type: str
    at: int


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """What is known of a delivery. Its bytes are those of the asset of the same id.

    `status` is NOT_PROCESSED, IN_PROGRESS, SUCCESSFUL or FAILED, `reason` says why; `seconds` is how long it took.
    `collection` is the STAC collection made of it; `facts` are the words of its sender that nothing is searched by,
    packed; `deleted` is when it went to the trash.
    """

    id: str
    at: int
    updated: int
    status: str
    name: str
    size: int
    media_type: str
    title: str | None = None
    tags: tuple[str, ...] | None = None
    workspace_id: str = ""
    source: str | None = None
    order_id: str | None = None
    product_id: str | None = None
    collection_name: str | None = None
    producer_name: str | None = None
    collection: str | None = None
    reason: str | None = None
    seconds: float | None = None
    facts: bytes = b""
    deleted: int | None = None


class DeliveryState(NamedTuple):
    """A delivery came into a state, at an instant in microseconds since 1970; `seq` is its place among all of these."""

    seq: int
    at: int
    delivery: str
    workspace_id: str
    order_id: str | None
    collection: str | None
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which deliveries, and in what order. Times in microseconds since 1970; of several values any will do.

    `collections`: those that became one of these STAC collections. `deleted`: those in the trash instead.
    `sort` has names of `DELIVERY_SORTS`, and whether each descends.
    """

    after: int | None = None
    before: int | None = None
    workspace_id: str | None = None
    collection_names: tuple[str, ...] = ()
    producer_names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    search: str | None = None
    statuses: tuple[str, ...] = ()
    collections: frozenset[str] | None = None
    ids: tuple[str, ...] = ()
    order_id: str | None = None
    deleted: bool = False
    sort: tuple[tuple[str, bool], ...] = (("createdAt", True),)


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What a write changes in the asset store, in the same commit as the documents that it writes.

    Records are put in place of those of the same id. `pins` keep bytes of a hash from being collected, by a name;
    `unpin` takes pins away. `blobs` are bytes that are there now. `forget` are deliveries that are gone for good.
    `jobs` are kept as they are here. Where one of the deliveries `unchanged` was not changed last at that instant, or
    is there in spite of None, nothing is done, and PreconditionFailed raised.
    """

    deliveries: tuple[DeliveryRecord, ...] = ()
    assets: tuple[AssetRecord, ...] = ()
    blobs: tuple[BlobRecord, ...] = ()
    pins: tuple[tuple[str, str], ...] = ()
    unpin: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    unchanged: tuple[tuple[str, int | None], ...] = ()
