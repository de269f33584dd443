"""The catalogue: search, single items, collections, queryables.

Faces call this and nothing below it. Each use case takes the caller's rule and sees only what the rule
lets through: pages, counts, collections, queryables and single items alike.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from swath.access import EVERYTHING, Rule
from swath.catalog.queryables import (
    MOST_VALUES,
    check_sort,
    queryables_document,
    sortable_names,
    sortable_schemas,
)
from swath.cql2 import build
from swath.cql2.ast import And, Boolean, Equal, In, Not, Number, Or, Predicate, Property, Text, walk
from swath.cql2.bind import ALIASES, bind
from swath.cql2.evaluate import Evaluator
from swath.cql2.queryables import Queryables, read_declared
from swath.errors import CatalogUnusable, InvalidCursor, NotFound
from swath.limits import LIMITS
from swath.search import NEWEST_FIRST, Cursor, Page, Search, StoredItem, open_cursor, seal_cursor
from swath.stac.document import LinkSpans, decode_compact
from swath.stac.time import format_instant
from swath.store.base import (
    Change,
    CollectionRecord,
    Declaration,
    Index,
    Ledger,
    Operation,
    Outcome,
    PreparedWrite,
    PropertyFacts,
    Removal,
    Selection,
    Summary,
    Version,
)
from swath.store.columns.index import SEGMENTS, ColumnIndex, item_frame
from swath.store.sqlite.ledger import SqliteLedger

__all__ = ["Catalog", "CollectionPage", "CollectionView"]


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection as a caller sees it. `derived` are members that its publisher left out, as JSON text."""

    key: int
    id: str
    seq: int
    body: bytes
    links: LinkSpans
    derived: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """Collections by id. Tokens are None where there is nothing on that side."""

    collections: tuple[CollectionView, ...]
    next: str | None
    previous: str | None
    matched: int


class Catalog:
    """One catalogue, open. Safe to use from any thread."""

    def __init__(self, ledger: Ledger, index: Index) -> None:
        self.ledger = ledger
        self.index = index
        self._facts: OrderedDict[tuple[Predicate, int], tuple[PropertyFacts, ...]] = OrderedDict()
        self._collections: OrderedDict[tuple[Predicate, int], dict[str, int]] = OrderedDict()
        self._summaries: OrderedDict[tuple[Predicate, int], dict[int, Summary]] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def open(folder: str | Path, *, create: bool = False, builds: bool = True) -> Catalog:
        """The catalogue in a folder; made there if `create` is true and there is none. CatalogUnusable otherwise.

        `builds`: a search that finds no index builds one; else it is Unavailable until another process has done so.
        """
        path = Path(folder)
        if create and not SqliteLedger.exists(path):
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                raise CatalogUnusable(f"{path} is not empty and holds no catalogue; name a new folder")
            SqliteLedger.create(path).close()
        ledger = SqliteLedger(path)
        return Catalog(ledger, ColumnIndex(ledger, path / SEGMENTS, builds=builds))

    def close(self) -> None:
        self.ledger.close()

    # -- items --------------------------------------------------------------------------------

    def search(
        self,
        search: Search,
        rule: Rule,
        *,
        seconds: float = LIMITS.deadline_seconds,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> Page:
        """A page of items. InvalidRequest for an unknown sort key, InvalidCursor or Gone for a bad token.

        DeadlineExceeded where it would take longer than so many seconds, or when it is `abandoned`.
        """
        deadline = time.monotonic() + seconds
        head = self.index.refresh(seconds)
        fingerprint = search.fingerprint()
        cursor: Cursor | None = None
        revision = head
        if search.token is not None:
            cursor = open_cursor(search.token, fingerprint, self.ledger.epoch, self.ledger.secret)
            if cursor.revision > head:
                raise InvalidCursor("the token is from the future of this catalogue; start again without it")
            # The index tells too: the clock that it was built by may have been ahead.
            horizon = max(self.index.horizon, self.ledger.horizon(LIMITS.cursor_lifetime_seconds))
            revision = max(cursor.revision, horizon)
        if search.sort != NEWEST_FIRST and cursor is None:  # a cursor proves that it was allowed
            check_sort(search.sort, self._sortable(rule, head))
        expression = self._bound(search.expression, rule, revision)
        carried = cursor.matched if cursor else None
        wanted = search.count != "none" and carried is None and (cursor is None or search.count == "exact")
        started = time.monotonic()
        selection = self._select(search, expression, revision, cursor, wanted, (deadline, abandoned))
        found = time.monotonic()
        items = self.ledger.items([hit.seq for hit in selection.hits])
        fitting = _within_budget(items)
        if fitting < len(items):
            search = replace(search, limit=fitting)
            selection = self._select(search, expression, revision, cursor, wanted, (deadline, abandoned))
            items = self.ledger.items([hit.seq for hit in selection.hits])
        matched = selection.matched if wanted else carried
        page = self._page(items, selection, matched, revision, fingerprint, cursor)
        return replace(page, steps=selection.steps, seconds=(found - started, time.monotonic() - found))

    def _sortable(self, rule: Rule, revision: int) -> Iterable[str]:
        if rule == EVERYTHING:
            return self.index.sortable()
        return sortable_names(self._properties(rule, revision))

    def _bound(self, expression: Predicate, rule: Rule, revision: int) -> Predicate:
        """What the caller asks for and may see, held against what the searched collections declare."""
        return _restricted(rule, bind(expression, self._declared(expression, rule, revision)))

    def _declared(self, expression: Predicate, rule: Rule, revision: int) -> Queryables:
        """The queryables of the collections that a search names, or of all that the caller may see."""
        by_key = self.index.declared(revision)
        if not by_key:
            return Queryables()
        visible: dict[str, int] = self._cached(
            self._collections,
            (rule, self.index.indexed_revision),
            lambda: {record.id: record.key for record in self._visible(rule, revision)},
        )
        named = _named_collections(expression)
        keys = {visible[name] for name in named & visible.keys()} if named is not None else set(visible.values())
        declared = tuple(by_key[key] for key in sorted(keys & by_key.keys()))
        return Queryables(declared, open_=len(declared) < len(keys) or not keys, aliases=ALIASES)

    def _select(
        self,
        search: Search,
        expression: Predicate,
        revision: int,
        cursor: Cursor | None,
        count: bool,
        limits: tuple[float, Callable[[], bool]],
    ) -> Selection:
        return self.index.select(
            expression,
            search.sort,
            search.limit,
            revision=revision,
            after=cursor.key if cursor else None,
            backward=cursor.backward if cursor else False,
            deadline=limits[0],
            abandoned=limits[1],
            count=count,
            count_seconds=None if search.count == "exact" else LIMITS.count_budget_seconds,
        )

    def _page(
        self,
        items: Sequence[StoredItem],
        selection: Selection,
        matched: int | None,
        revision: int,
        fingerprint: bytes,
        cursor: Cursor | None,
    ) -> Page:
        def token(key: tuple[Any, ...], backward: bool) -> str:
            place = Cursor(revision, fingerprint, key, backward, matched)
            return seal_cursor(place, self.ledger.epoch, self.ledger.secret)

        if not selection.hits:
            return Page((), None, None, matched)
        backward = cursor is not None and cursor.backward
        onward = selection.more or backward
        before = selection.more if backward else cursor is not None
        return Page(
            tuple(items),
            next=token(selection.hits[-1].key, False) if onward else None,
            previous=token(selection.hits[0].key, True) if before else None,
            matched=matched,
        )

    def item(self, collection_id: str, item_id: str, rule: Rule) -> StoredItem:
        """One item. NotFound when it is not there, and in the same words when the rule hides it."""
        item = self.ledger.item(collection_id, item_id)
        if item is None or not self._permits(rule, item):
            raise NotFound(f"there is no item {item_id!r} in a collection {collection_id!r}")
        return item

    def _permits(self, rule: Rule, item: StoredItem) -> bool:
        if rule == EVERYTHING:
            return True
        this = (Equal(Property("collection"), Text(item.collection)), Equal(Property("id"), Text(item.id)))
        expression = _restricted(rule, build.conjunction(this, ""))
        return bool(self.index.select(expression, NEWEST_FIRST, 1, revision=self.index.refresh()).hits)

    def walk(self, expression: Predicate, rule: Rule) -> Iterator[StoredItem]:
        """Every selected item at the present revision, in the order in which they were written."""
        revision = self.index.refresh()
        chunk: list[int] = []
        for seq in self.index.scan(self._bound(expression, rule, revision), revision=revision):
            chunk.append(seq)
            if len(chunk) == 500:
                yield from self.ledger.items(chunk)
                chunk = []
        yield from self.ledger.items(chunk)

    def histogram(self, expression: Predicate, name: str, edges: Sequence[float], rule: Rule) -> list[int]:
        """How many items have a value in each range of a number, or of `datetime` in microseconds."""
        revision = self.index.refresh()
        return self.index.histogram(self._bound(expression, rule, revision), name, edges, revision=revision)

    def grid(self, expression: Predicate, degrees: float, rule: Rule) -> dict[tuple[int, int], int]:
        """How many items lie in each cell of a grid: column from -180, row from -90."""
        revision = self.index.refresh()
        return self.index.grid(self._bound(expression, rule, revision), degrees, revision=revision)

    def collection_keys(self, expression: Predicate, rule: Rule) -> frozenset[int]:
        """The keys of the collections that selected items belong to."""
        revision = self.index.refresh()
        return frozenset(self.index.summaries(self._bound(expression, rule, revision), revision=revision))

    # -- collections --------------------------------------------------------------------------

    def collections(self, limit: int, token: str | None, rule: Rule) -> CollectionPage:
        """A page of the visible collections, by id in code point order."""
        revision = self.index.refresh()
        records = self._visible(rule, revision)
        fingerprint = b"collections."
        key, backward = "", False
        if token is not None:
            cursor = open_cursor(token, fingerprint, self.ledger.epoch, self.ledger.secret)
            key, backward = cursor.key[0], cursor.backward
        if backward:
            behind = [record for record in records if record.id < key]
            shown, more_before, more_after = behind[-limit:], len(behind) > limit, True
        else:
            behind = [record for record in records if record.id > key]
            shown, more_before, more_after = behind[:limit], token is not None, len(behind) > limit

        def seal(collection_id: str, towards_start: bool) -> str:
            place = Cursor(revision, fingerprint, (collection_id,), towards_start)
            return seal_cursor(place, self.ledger.epoch, self.ledger.secret)

        views = tuple(self._view(record, rule, revision) for record in shown)
        return CollectionPage(
            views,
            next=seal(views[-1].id, False) if views and more_after else None,
            previous=seal(views[0].id, True) if views and more_before else None,
            matched=len(records),
        )

    def collection(self, collection_id: str, rule: Rule) -> CollectionView:
        """One collection. NotFound when it is not there, and in the same words when the rule hides it."""
        record = self.ledger.collection(collection_id)
        revision = self.index.refresh()
        if record is None or not self._may_see(record, rule, revision):
            raise NotFound(f"there is no collection {collection_id!r}")
        return self._view(record, rule, revision)

    def check_collection(self, collection_id: str, rule: Rule) -> None:
        """NotFound where there is no such collection, and in the same words when the rule hides it."""
        if rule != EVERYTHING or not self.ledger.has_collection(collection_id):
            self.collection(collection_id, rule)

    def _visible(self, rule: Rule, revision: int) -> list[CollectionRecord]:
        return [record for record in self.ledger.collections() if self._may_see(record, rule, revision)]

    def _may_see(self, record: CollectionRecord, rule: Rule, revision: int) -> bool:
        """TRUE for the rule by its id alone, or, where the rule looks at items, because one is visible."""
        if rule == EVERYTHING:
            return True
        bare = Change(Version(0, 1, record.key, "", None), b'{"properties":{}}', None)
        truth = Evaluator(_by_collection(bind(rule)))(item_frame(bare, record.id))
        if truth.true[0]:
            return True
        return record.key in self._summary(rule, revision)

    def _view(self, record: CollectionRecord, rule: Rule, revision: int) -> CollectionView:
        given = msgspec.json.decode(record.body)
        derived = {}
        if "extent" not in given:
            derived["extent"] = msgspec.json.encode(_extent(self._summary(rule, revision).get(record.key)))
        return CollectionView(record.key, record.id, record.seq, record.body, LinkSpans.unpack(record.links), derived)

    # -- what there is to ask for -------------------------------------------------------------

    def queryables(self, collection_id: str | None, rule: Rule) -> dict[str, Any]:
        """What can be filtered by, over all visible items or those of one collection.

        Two members of a JSON Schema, `properties` and `additionalProperties`, and `title` or `description` where
        they are declared. A declared queryable is shown as it was declared, others as the data look.
        """
        revision = self.index.refresh()
        if collection_id is None:
            records = self._visible(rule, revision)
        else:
            self.collection(collection_id, rule)  # NotFound
            records = [record for record in self._visible(rule, revision) if record.id == collection_id]
        by_key = self.index.declared(revision)
        closed = [record.id for record in records if record.key in by_key and by_key[record.key].closed]
        told = self._properties(_restricted(rule, _open_part(collection_id, closed)), revision)
        schemas = [
            msgspec.json.decode(body)
            for record in records
            if record.key in by_key and (body := self.ledger.declaration(record.id)) is not None
        ]
        return queryables_document(told, [record.id for record in records], schemas, closed=len(closed) == len(records))

    def declare(self, collection_id: str, schema: bytes | None, rule: Rule, actor: str) -> Outcome:
        """Declare a collection's queryables with a JSON Schema, or take the declaration back (None).

        InvalidDocument names what is wrong with the schema; NotFound where there is no such collection.
        """
        self.collection(collection_id, rule)
        write: PreparedWrite | Removal = Removal(Operation.DELETE_QUERYABLES, collection_id, collection_id)
        if schema is not None:
            content, compact = decode_compact(schema, "schema")
            read_declared(content)
            write = self.ledger.prepare(Declaration(collection_id, compact))
        outcome = self.ledger.write([write], "upsert", actor)[0]
        if outcome is Outcome.NO_COLLECTION:
            raise NotFound(f"there is no collection {collection_id!r}")
        return outcome

    def sortables(self, collection_id: str | None, rule: Rule) -> dict[str, Any]:
        """Name and JSON Schema of what can be sorted by."""
        return sortable_schemas(self._facts_of(collection_id, rule)[0])

    def _facts_of(self, collection_id: str | None, rule: Rule) -> tuple[tuple[PropertyFacts, ...], list[str]]:
        revision = self.index.refresh()
        if collection_id is None:
            return self._properties(rule, revision), [record.id for record in self._visible(rule, revision)]
        self.collection(collection_id, rule)  # NotFound
        only = _restricted(rule, Equal(Property("collection"), Text(collection_id)))
        return self._properties(only, revision), [collection_id]

    def _properties(self, rule: Predicate, revision: int) -> tuple[PropertyFacts, ...]:
        facts: tuple[PropertyFacts, ...] = self._cached(
            self._facts,
            (rule, revision),
            lambda: self.index.properties(bind(rule), revision=revision, most_values=MOST_VALUES),
        )
        return facts

    def _summary(self, rule: Rule, revision: int) -> dict[int, Summary]:
        summaries: dict[int, Summary] = self._cached(
            self._summaries, (rule, revision), lambda: self.index.summaries(bind(rule), revision=revision)
        )
        return summaries

    def _cached(self, cache: OrderedDict[Any, Any], key: Any, make: Any) -> Any:
        with self._lock:
            if key in cache:
                cache.move_to_end(key)
                return cache[key]
        value = make()
        with self._lock:
            cache[key] = value
            while len(cache) > 256:
                cache.popitem(last=False)
        return value


_UNKNOWN = Equal(Property(""), Number(0))  # no property has an empty name: NULL for every item


def _by_collection(rule: Predicate) -> Predicate:
    """What a rule says of a collection by its id alone: every condition on anything else is unknown."""
    if isinstance(rule, And | Or):
        return type(rule)(tuple(_by_collection(arg) for arg in rule.args))
    if isinstance(rule, Not):
        return Not(_by_collection(rule.arg))
    names = {node.name for node in walk(rule) if isinstance(node, Property)}
    return rule if names <= {"collection"} else _UNKNOWN


def _restricted(rule: Rule, expression: Predicate) -> Predicate:
    """What the caller asks for and may see: one expression."""
    if rule == EVERYTHING:
        return expression
    if expression == Boolean(True):
        return bind(rule)
    return build.conjunction((bind(rule), expression), "")


def _named_collections(expression: Predicate) -> frozenset[str] | None:
    """The collections that a search is confined to; None where it names none."""
    named: frozenset[str] | None = None
    for part in expression.args if isinstance(expression, And) else (expression,):
        match part:
            case Equal(Property("collection"), Text(name)) | Equal(Text(name), Property("collection")):
                these = frozenset((name,))
            case In(Property("collection"), items):
                these = frozenset(item.value for item in items if isinstance(item, Text))
            case _:
                continue
        named = these if named is None else named & these
    return named


def _open_part(collection_id: str | None, closed: Sequence[str]) -> Predicate:
    """Items whose properties are queryables though nobody declared them."""
    name = Property("collection")
    parts: list[Predicate] = [Equal(name, Text(collection_id))] if collection_id is not None else []
    if closed:
        parts.append(Not(In(name, tuple(map(Text, closed)))))
    if not parts:
        return Boolean(True)
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _within_budget(items: Sequence[StoredItem]) -> int:
    """How many of the items fit into a page; at least one."""
    total = 0
    for number, item in enumerate(items):
        total += len(item.body)
        if total > LIMITS.page_bytes and number:
            return number
    return len(items)


def _extent(summary: Summary | None) -> dict[str, Any]:
    """A STAC extent object of what is there; the whole world and all time while nothing is."""
    box = list(summary.box) if summary and summary.box else [-180.0, -90.0, 180.0, 90.0]
    ends = [summary.start, summary.end] if summary else [None, None]
    interval = [format_instant(end) if end is not None else None for end in ends]
    return {"spatial": {"bbox": [box]}, "temporal": {"interval": [interval]}}
