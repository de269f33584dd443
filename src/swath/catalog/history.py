"""What was: versions of items and collections, what can be restored, the catalogue as it was at an instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swath.access import EVERYTHING, Rule
from swath.catalog.catalog import Catalog
from swath.errors import NotFound
from swath.search import StoredItem
from swath.store.records import CollectionRecord, Entry, Operation, version_tag

__all__ = ["History", "Version"]

_ENDS = (Operation.DELETE_ITEM, Operation.DELETE_COLLECTION)


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a thing. `tag` names it, as the first part of its ETag does; `at` is in microseconds since 1970."""

    tag: str
    id: str
    seq: int
    at: int
    actor: str
    deleted: bool
    restorable: bool


class History:
    """The use cases that look back."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.ledger = catalog, catalog.ledger

    def versions(self, collection_id: str, item_id: str | None, rule: Rule) -> list[Version]:
        """Every version of an item, or of the collection itself, newest first. NotFound where there was none."""
        self.catalog.check_collection(collection_id, rule)
        found = [self._version(entry) for entry in self.ledger.history(collection_id, item_id)]
        found = [each for each in found if each.deleted or not each.restorable or self._visible(each, item_id, rule)]
        if not any(each.restorable for each in found):
            raise NotFound(_missing(collection_id, item_id))
        return found

    def version(self, collection_id: str, item_id: str, tag: str, rule: Rule) -> StoredItem:
        """An item as it was in one version. NotFound where there is no such version, or it is not kept any more."""
        for each in self.versions(collection_id, item_id, rule):
            if each.tag == tag and each.restorable:
                return self.ledger.items((each.seq,))[0]
        raise NotFound(f"there is no version {tag[:40]!r} of item {item_id!r}, or it is not kept any more")

    def collection_version(self, collection_id: str, tag: str, rule: Rule) -> CollectionRecord:
        """A collection as it was in one version."""
        for each in self.versions(collection_id, None, rule):
            if each.tag == tag and each.restorable:
                record = self.ledger.collection_at(collection_id, each.seq)
                if record is not None:
                    return record
        raise NotFound(f"there is no version {tag[:40]!r} of collection {collection_id!r}, or it is not kept any more")

    def item_as_of(self, collection_id: str, item_id: str, instant: int, rule: Rule) -> StoredItem:
        """An item as it was at an instant. NotFound where there was none; Gone before what is kept."""
        found = self.ledger.item_at(collection_id, item_id, self.catalog.revision_at(instant))
        if found is None or not self.catalog.permits_version(found, rule):
            raise NotFound(f"there was no item {item_id!r} in a collection {collection_id!r} then")
        return found

    def collection_as_of(self, collection_id: str, instant: int, rule: Rule) -> CollectionRecord:
        """A collection as it was at an instant."""
        found = self.ledger.collection_at(collection_id, self.catalog.revision_at(instant))
        if found is None or (rule != EVERYTHING and not self.catalog.may_see(found, rule)):
            raise NotFound(f"there was no collection {collection_id!r} then")
        return found

    def collections_as_of(self, instant: int, rule: Rule) -> Sequence[CollectionRecord]:
        """The collections that there were at an instant, by id."""
        found = self.ledger.collections_at(self.catalog.revision_at(instant))
        return [record for record in found if rule == EVERYTHING or self.catalog.may_see(record, rule)]

    def deleted_collections(self, rule: Rule) -> list[Version]:
        """Collections that can be restored. Whoever may not see everything sees none of them."""
        return [self._version(entry) for entry in self.ledger.deleted_collections()] if rule == EVERYTHING else []

    def deleted_items(self, collection_id: str, after: str, limit: int, rule: Rule) -> list[Version]:
        """Items of a collection that can be restored, by id, those behind the id `after`."""
        self.catalog.check_collection(collection_id, rule)
        if rule != EVERYTHING:
            return []
        return [self._version(entry) for entry in self.ledger.deleted_items(collection_id, after, limit)]

    def _version(self, entry: Entry) -> Version:
        tag = version_tag(self.ledger.epoch, entry.seq).hex()
        deleted = entry.operation in _ENDS
        return Version(tag, entry.id, entry.seq, entry.at, entry.actor, deleted, entry.kept and not deleted)

    def _visible(self, version: Version, item_id: str | None, rule: Rule) -> bool:
        if rule == EVERYTHING or item_id is None:
            return True
        return self.catalog.permits_version(self.ledger.items((version.seq,))[0], rule)


def _missing(collection_id: str, item_id: str | None) -> str:
    if item_id is None:
        return f"there is no collection {collection_id!r}"
    return f"there never was an item {item_id!r} in collection {collection_id!r}, or nothing of it is kept any more"
