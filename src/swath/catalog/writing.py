"""Changing a catalogue: each use case takes the words of a caller, and gives back what is there then.

The path is the authority: a body that names another id or collection is refused. Conditions are held against the live
version in the transaction that writes, so that nobody's change is lost; a patch is made again where another write came
between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from swath.access import EVERYTHING, Rule
from swath.catalog.catalog import Catalog
from swath.catalog.door import door, mended
from swath.catalog.history import History
from swath.catalog.served import without_facts, without_times
from swath.cql2.queryables import read_declared
from swath.errors import Conflict, InvalidDocument, NotFound, PreconditionFailed, Unavailable
from swath.search import StoredItem
from swath.stac.document import CollectionDocument, ItemDocument, read_collection, read_item
from swath.stac.text import decode_compact
from swath.store.records import (
    CollectionRecord,
    Condition,
    Declaration,
    Mode,
    Once,
    Operation,
    Outcome,
    PreparedWrite,
    Receipt,
    Removal,
    Restoration,
    Write,
    version_tag,
)

__all__ = ["Terms", "Writing", "Written"]

_TRIES = 50  # of a patch that others always come before
# Of patches of one thing that share a commit, one would be done and the others be made again: they take turns.
_TURNS = tuple(threading.Lock() for _ in range(256))


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a caller writes: who it is, what it may see, what must hold, what is done once only, and whether
    geometries are mended rather than refused."""

    actor: str
    rule: Rule = EVERYTHING
    condition: Condition | None = None
    once: Once | None = None
    fix: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write: the version that is live after it, and what is to be said of it."""

    outcome: Outcome
    seq: int
    notes: tuple[str, ...] = ()


class Writing:
    """The use cases that change items and collections of one catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog, self.ledger = catalog, catalog.ledger

    # -- items --------------------------------------------------------------------------------

    def create_items(self, collection_id: str, raw: bytes, terms: Terms) -> tuple[bool, list[Written]]:
        """Create an item, or all of an ItemCollection or none. Whether it was one item, and what became of each.

        Conflict where an id is taken; InvalidDocument for what is no item of this collection.
        """
        if not self._was_done(terms):
            self.catalog.check_collection(collection_id, terms.rule)
        content, compact = decode_compact(raw, "body")
        many = isinstance(content, dict) and content.get("type") == "FeatureCollection"
        raws = _members_of(compact, "features") if many else [compact]
        made = self._create(
            raws,
            lambda each: read_item(each, collection_id),
            "/features" if many else None,
            lambda name: _item_named(collection_id, name),
            terms,
        )
        return not many, [written for _, written in made]

    def _create(
        self,
        raws: Sequence[bytes],
        read: Callable[[bytes], ItemDocument | CollectionDocument],
        within: str | None,
        named: Callable[[str], str],
        terms: Terms,
    ) -> list[tuple[str, Written]]:
        """Create what is read, all or nothing. `within` leads to the documents in a body that holds several."""
        writes: list[Write] = []
        notes: list[tuple[str, ...]] = []
        for number, each in enumerate(raws):
            try:
                write, said = self._ready(each, read, terms)
            except InvalidDocument as error:
                raise (error.within(f"{within}/{number}") if within else error) from None
            writes.append(write)
            notes.append(said)
        receipt = self.ledger.write(writes, "insert", terms.actor, atomic=True, once=terms.once)
        names = [write.id for write in writes]
        last = len(receipt.outcomes) - 1
        if last >= 0 and receipt.outcomes[last].refused:
            _refuse(receipt.outcomes[last], named(names[last]))
        made = [Written(*each) for each in zip(receipt.outcomes, receipt.seqs, notes, strict=True)]
        return list(zip(names, made, strict=True))

    def put_item(self, collection_id: str, item_id: str, raw: bytes, terms: Terms) -> Written:
        """Replace an item. NotFound where there is none, unless the condition is that there be none."""
        write, notes = self._ready(raw, lambda text: read_item(text, collection_id, item_id), terms)
        return self._written(write, _mode(terms), terms, _item_named(collection_id, item_id), notes)

    def patch_item(self, collection_id: str, item_id: str, patched: Callable[[bytes], bytes], terms: Terms) -> Written:
        """Change an item by what `patched` makes of its text. NotFound, PreconditionFailed, InvalidDocument."""
        name = _item_named(collection_id, item_id)

        def attempt() -> tuple[int, PreparedWrite, tuple[str, ...]]:
            item = self.catalog.item(collection_id, item_id, terms.rule)
            self._check(terms, item.seq, item.updated, name)
            text = patched(item.body)
            return item.seq, *self._ready(text, lambda text: read_item(text, collection_id, item_id), terms)

        return self._patched(attempt, terms, name)

    def delete_item(self, collection_id: str, item_id: str, terms: Terms) -> Written:
        """Delete an item; it can be restored. NotFound where there is none."""
        removal = Removal(Operation.DELETE_ITEM, item_id, collection_id, terms.condition)
        return self._written(removal, "upsert", terms, _item_named(collection_id, item_id))

    def restore_item(self, collection_id: str, item_id: str, version: str | None, terms: Terms) -> Written:
        """Make an earlier version the live one; of a deleted item, the last unless another is named."""
        seq = None
        if version is not None and not self._was_done(terms):
            seq = History(self.catalog).version(collection_id, item_id, version, terms.rule).seq
        write = Restoration(Operation.PUT_ITEM, item_id, collection_id, seq, terms.condition)
        return self._written(write, "upsert", terms, _item_named(collection_id, item_id))

    # -- collections --------------------------------------------------------------------------

    def create_collections(self, raw: bytes, terms: Terms) -> tuple[bool, list[tuple[str, Written]]]:
        """Create a collection, or all of `{"collections": […]}` or none. Whether it was one, and each with its id.

        Conflict where an id is taken.
        """
        content, compact = decode_compact(raw, "body")
        many = isinstance(content, dict) and "type" not in content and "collections" in content
        raws = _members_of(compact, "collections") if many else [compact]
        raws = [without_facts(each, {}, self.ledger) for each in raws]
        return not many, self._create(raws, read_collection, "/collections" if many else None, _collection_named, terms)

    def put_collection(self, collection_id: str, raw: bytes, terms: Terms) -> Written:
        """Replace a collection's document, not its items. NotFound where there is none."""
        raw = without_facts(raw, self._derived(collection_id, terms.rule), self.ledger)
        write, notes = self._ready(raw, lambda text: read_collection(text, collection_id), terms)
        return self._written(write, _mode(terms), terms, _collection_named(collection_id), notes)

    def patch_collection(self, collection_id: str, patched: Callable[[bytes], bytes], terms: Terms) -> Written:
        """Change a collection's document by what `patched` makes of its text."""

        def attempt() -> tuple[int, PreparedWrite, tuple[str, ...]]:
            view = self.catalog.collection(collection_id, terms.rule)
            self._check(terms, view.seq, view.updated, _collection_named(collection_id))
            text = patched(view.body)
            return view.seq, *self._ready(text, lambda text: read_collection(text, collection_id), terms)

        return self._patched(attempt, terms, _collection_named(collection_id))

    def delete_collection(self, collection_id: str, terms: Terms, *, cascade: bool) -> Written:
        """Delete a collection; with `cascade`, also one that holds items. It can be restored with all of them.

        Conflict for one that was made of a delivery.
        """
        delivery = self.ledger.files.delivery_of(collection_id)
        if delivery is not None and delivery.deleted is None:
            raise Conflict(f"the collection {collection_id!r} was made of the delivery {delivery.id} and goes with it: "
                           f"DELETE /v2/assets/{delivery.id}")  # fmt: skip
        removal = Removal(Operation.DELETE_COLLECTION, collection_id, collection_id, terms.condition, cascade)
        return self._written(removal, "upsert", terms, _collection_named(collection_id))

    def restore_collection(self, collection_id: str, deletion: str | None, terms: Terms) -> Written:
        """Bring back a deleted collection of this id, with its items: the last, unless the tag of the version that
        ended it names another. Conflict where yet another has the id now; NotFound."""
        seq = None
        if deletion is not None and not self._was_done(terms):
            trash = History(self.catalog).deleted_collections(terms.rule)
            seq = next((each.seq for each in trash if (each.id, each.tag) == (collection_id, deletion)), None)
            if seq is None:
                raise NotFound(f"there is no deleted collection {collection_id!r} of {deletion[:40]!r}: see the trash")
        write = Restoration(Operation.RESTORE_COLLECTION, collection_id, collection_id, seq, terms.condition)
        return self._written(write, "upsert", terms, _collection_named(collection_id))

    def restore_collection_version(self, collection_id: str, version: str, terms: Terms) -> Written:
        """Make an earlier document of a collection the live one; its items stay as they are."""
        before = self.ledger.done_once(terms.once) if terms.once else None
        if before is not None:
            return _told(before, _collection_named(collection_id))
        record = History(self.catalog).collection_version(collection_id, version, terms.rule)
        return self.put_collection(collection_id, record.body, terms)

    def declare(self, collection_id: str, schema: bytes | None, terms: Terms) -> Outcome:
        """Declare a collection's queryables with a JSON Schema, or take the declaration back (None).

        InvalidDocument names what is wrong with the schema; NotFound where there is no such collection.
        """
        if not self._was_done(terms):
            self.catalog.check_collection(collection_id, terms.rule)
        write: Write = Removal(Operation.DELETE_QUERYABLES, collection_id, collection_id)
        if schema is not None:
            content, compact = decode_compact(schema, "schema")
            read_declared(content)
            write = self.ledger.prepare(Declaration(collection_id, compact))
        outcome = self.ledger.write([write], "upsert", terms.actor, once=terms.once).outcomes[0]
        if outcome is Outcome.NO_COLLECTION:
            raise NotFound(f"there is no collection {collection_id!r}")
        return outcome

    # -- what came of it ----------------------------------------------------------------------

    def item(self, written: Written) -> StoredItem:
        """The item as the write left it."""
        return self.ledger.items((written.seq,))[0]

    def collection(self, collection_id: str, written: Written) -> CollectionRecord:
        """The collection as the write left it."""
        record = self.ledger.collection_at(collection_id, written.seq)
        if record is None:
            raise NotFound(f"there is no collection {collection_id!r} any more")
        return record

    def _derived(self, collection_id: str, rule: Rule) -> dict[str, Any]:
        try:
            view = self.catalog.collection(collection_id, rule)
        except NotFound:
            return {}
        return {name: msgspec.json.decode(value) for name, value in view.derived.items()}

    # -- the parts ----------------------------------------------------------------------------

    def _ready(
        self, raw: bytes, read: Callable[[bytes], ItemDocument | CollectionDocument], terms: Terms
    ) -> tuple[PreparedWrite, tuple[str, ...]]:
        raw, fixes = mended(raw) if terms.fix else (raw, [])
        with self.ledger.turn(len(raw)):
            document = read(without_times(raw, self.ledger))
            setting = partial(self.ledger.setting, name="validation")
            enter = door(setting, self.catalog.folder, strictness="enforce")
            notes = enter(document)
            self._check_delivered(document)
            write = replace(self.ledger.prepare(document), condition=terms.condition)
        return write, (*document.warnings, *fixes, *notes)

    def _check_delivered(self, document: ItemDocument | CollectionDocument) -> None:
        """Title and tags belong to a delivery, and are changed in all that was made of it at once: elsewhere.

        Conflict where a document would have others than its delivery.
        """
        item = isinstance(document, ItemDocument)
        name = document.collection if isinstance(document, ItemDocument) else document.id
        delivery = self.ledger.files.delivery_of(name)
        if delivery is None or delivery.deleted is not None:
            return
        given: Any = (document.content.get("properties") or {}) if item else document.content
        tags = list(delivery.tags) if delivery.tags is not None else None
        for field, wanted in (("up42-user:title", delivery.title), ("up42-user:tags", tags)):
            if given.get(field) != wanted:
                raise Conflict(
                    f"{field} belongs to the delivery {delivery.id} and to all that was made of it; "
                    f"change it at /v2/assets/{delivery.id}/metadata"
                )

    def _written(self, write: Write, mode: Mode, terms: Terms, name: str, notes: Sequence[str] = ()) -> Written:
        return _told(self.ledger.write([write], mode, terms.actor, once=terms.once), name, notes)

    def _was_done(self, terms: Terms) -> bool:
        """Whether the same request was done before: then what it needed may be gone."""
        return terms.once is not None and self.ledger.done_once(terms.once) is not None

    def _check(self, terms: Terms, seq: int, updated: int, name: str) -> None:
        """A condition that does not hold is told before a patch that cannot be made (RFC 9110, 13.2.1)."""
        tag = partial(version_tag, self.ledger.epoch)
        if terms.condition is not None and terms.condition.fault(seq, tag, lambda _: updated):
            _refuse(Outcome.STALE, name)

    def _patched(
        self, attempt: Callable[[], tuple[int, PreparedWrite, tuple[str, ...]]], terms: Terms, name: str
    ) -> Written:
        before = self.ledger.done_once(terms.once) if terms.once else None
        if before is not None:
            return _told(before, name)
        with _TURNS[hash(name) % len(_TURNS)]:
            for _ in range(_TRIES):
                seq, write, notes = attempt()
                write = replace(write, condition=replace(terms.condition or Condition(), seq=seq))
                receipt = self.ledger.write([write], "update", terms.actor, once=terms.once)
                if Outcome.RACED not in receipt.outcomes:
                    return _told(receipt, name, notes)
        raise Unavailable(f"{name} is being changed by others all the time; try again in a moment")


class _Body(msgspec.Struct):
    features: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET
    collections: list[msgspec.Raw] | msgspec.UnsetType = msgspec.UNSET


def _members_of(compact: bytes, name: str) -> list[bytes]:
    try:
        found = getattr(msgspec.json.decode(compact, type=_Body), name)
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"`{name}` is an array of documents: {error}", f"/{name}") from None
    if found is msgspec.UNSET:
        raise InvalidDocument(f"`{name}`, an array of documents, is missing", f"/{name}")
    if not found:
        raise InvalidDocument(f"`{name}` is empty: there is nothing to create", f"/{name}")
    return [bytes(each) for each in found]


def _mode(terms: Terms) -> Mode:
    """A PUT replaces what is there, unless its sender asks that nothing be."""
    return "upsert" if terms.condition is not None and terms.condition.none_match == frozenset() else "update"


def _item_named(collection_id: str, item_id: str) -> str:
    return f"item {item_id!r} of collection {collection_id!r}"


def _collection_named(collection_id: str) -> str:
    return f"collection {collection_id!r}"


def _told(receipt: Receipt, name: str, notes: Sequence[str] = ()) -> Written:
    outcome = receipt.outcomes[0]
    if outcome.refused:
        _refuse(outcome, name)
    return Written(outcome, receipt.seqs[0], tuple(notes))


def _refuse(outcome: Outcome, name: str) -> None:
    if outcome is Outcome.CONFLICT:
        raise Conflict(f"the {name} is there already; PUT replaces it")
    if outcome is Outcome.NOT_EMPTY:
        raise Conflict(f"the {name} holds items; add ?cascade=true to delete them too")
    if outcome in (Outcome.STALE, Outcome.RACED):
        raise PreconditionFailed(f"the {name} is not as the condition says: read it again, and decide anew")
    raise NotFound(f"there is no {name}")
