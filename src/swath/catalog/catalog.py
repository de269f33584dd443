"""The catalogue: search, single items, collections, queryables.

Faces call this and nothing below it. Each use case takes the caller's rule and sees only what the rule
lets through: pages, counts, collections, queryables and single items alike.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from swath.access import EVERYTHING, Rule
from swath.catalog.deriving import commit_times, derived_members, members
from swath.catalog.queryables import (
    MOST_VALUES,
    check_sort,
    queryables_document,
    sortable_names,
    sortable_schemas,
)
from swath.catalog.rules import by_collection, named_collections, names_in, open_part, restricted
from swath.catalog.views import CollectionPage, CollectionView
from swath.cql2 import build
from swath.cql2.ast import Equal, Predicate, Property, Text
from swath.cql2.bind import ALIASES, bind
from swath.cql2.evaluate import Evaluator
from swath.cql2.queryables import Queryables
from swath.errors import CatalogUnusable, Gone, InvalidCursor, NotFound
from swath.limits import LIMITS
from swath.search import NEWEST_FIRST, Cursor, Page, Search, StoredItem, open_cursor, seal_cursor
from swath.stac.links import LinkSpans
from swath.store.base import Index, Ledger, PropertyFacts, Selection, Summary
from swath.store.columns.index import HISTORY, SEGMENTS, ColumnIndex, item_frame
from swath.store.records import Change, CollectionRecord, Operation, Version
from swath.store.sqlite.ledger import HistoryLedger, SqliteLedger
from swath.store.sqlite.schema import FILE_NAME

__all__ = ["Catalog", "CollectionPage", "CollectionView"]


def _is_remnant(path: Path) -> bool:
    """Whether somebody was stopped while making a catalogue: it has its name only once it is complete."""
    return path.name.startswith(f".{FILE_NAME}.")


class Catalog:
    """One catalogue, open. Safe to use from any thread."""

    def __init__(self, ledger: Ledger, index: Index, past: Callable[[], Index] | None = None) -> None:
        """`past` opens an index that keeps what the other has dropped, for looking at the catalogue as it was."""
        self.ledger = ledger
        self.index = index
        self.folder: Path | None = None  # where it lies, if it lies in one
        self._open_past = past
        self._past: Index | None = None
        self._facts: OrderedDict[tuple[Predicate, int], tuple[PropertyFacts, ...]] = OrderedDict()
        self._collections: OrderedDict[tuple[Predicate, int], dict[str, int]] = OrderedDict()
        self._summaries: OrderedDict[tuple[Predicate, int], dict[int, Summary]] = OrderedDict()
        self._apart: tuple[Any, dict[int, tuple[PropertyFacts, ...]]] = (None, {})  # of one rule and revision
        self._lock = Lock()

    @staticmethod
    def open(folder: str | Path, *, create: bool = False, builds: bool = True) -> Catalog:
        """The catalogue in a folder; made there if `create` is true and there is none. CatalogUnusable otherwise.

        `builds`: a search that finds no index builds one; else it is Unavailable until another process has done so.
        """
        path = Path(folder)
        if create and not SqliteLedger.exists(path):
            if path.is_file() or (path.is_dir() and not all(map(_is_remnant, path.iterdir()))):
                raise CatalogUnusable(f"{path} is not empty and holds no catalogue; name a new folder")
            SqliteLedger.create(path).close()
        ledger = SqliteLedger(path)
        catalog = Catalog(
            ledger,
            ColumnIndex(ledger, path / SEGMENTS, builds=builds),
            lambda: ColumnIndex(HistoryLedger(path), path / HISTORY, builds=builds),
        )
        catalog.folder = path
        return catalog

    @staticmethod
    def exists(folder: str | Path) -> bool:
        """Whether there is one in that folder."""
        return SqliteLedger.exists(Path(folder))

    def close(self) -> None:
        self.ledger.close()
        if isinstance(self._past, ColumnIndex):
            self._past.close()

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
        index, revision = self.index, head
        if search.as_of is not None:
            index, revision = self._as_of(search.as_of, seconds)
        if search.token is not None:
            cursor = open_cursor(search.token, fingerprint, self.ledger.epoch, self.ledger.secret)
            if cursor.revision > head:
                raise InvalidCursor("the token is from the future of this catalogue; start again without it")
            # Of an instant to come, each page would else be of another moment.
            revision = cursor.revision if search.as_of is not None else max(cursor.revision, self._horizon())
        if search.sort != NEWEST_FIRST and cursor is None:  # a cursor proves that it was allowed
            check_sort(search.sort, self._sortable(rule, head))
        expression = self._bound(search.expression, rule, revision, index)
        carried = cursor.matched if cursor else None
        wanted = search.count != "none" and carried is None and (cursor is None or search.count == "exact")
        started = time.monotonic()
        limits = (deadline, abandoned)
        selection = self._select(index, search, expression, revision, cursor, wanted, limits)
        found = time.monotonic()
        items = self.ledger.items([hit.seq for hit in selection.hits])
        fitting = _within_budget(items)
        if fitting < len(items):
            search = replace(search, limit=fitting)
            selection = self._select(index, search, expression, revision, cursor, wanted, limits)
            items = self.ledger.items([hit.seq for hit in selection.hits])
        matched = selection.matched if wanted else carried
        page = self._page(items, selection, matched, revision, fingerprint, cursor)
        return replace(page, steps=selection.steps, seconds=(found - started, time.monotonic() - found))

    def _horizon(self) -> int:
        """From here on, everything is in the index that searches use."""
        # The index tells too: the clock that it was built by may have been ahead.
        return max(self.index.horizon, self.ledger.horizon(LIMITS.cursor_lifetime_seconds))

    def revision_at(self, instant: int) -> int:
        """The revision at an instant. Gone where history does not reach so far back."""
        revision, pruned = self.ledger.revision_at(instant), self.ledger.pruned()
        if revision < pruned:
            raise Gone(
                "as-of: the history of this catalogue does not reach so far back; SWATH_HISTORY_DAYS sets how far"
            )
        return revision

    def _as_of(self, instant: int, seconds: float) -> tuple[Index, int]:
        """An index that knows the catalogue as it was, and the revision then."""
        revision = self.revision_at(instant)
        if revision >= self._horizon() or self._open_past is None:
            return self.index, revision
        if self.folder is not None:
            with suppress(OSError):  # the process that folds sees by it that somebody looks further back
                (self.folder / HISTORY).mkdir(exist_ok=True)
        past = self._past_index()
        past.refresh(seconds)
        return past, revision

    def _past_index(self) -> Index:
        assert self._open_past is not None
        with self._lock:
            self._past = past = self._past or self._open_past()
        return past

    def fold_past(self) -> None:
        """Bring the index that looks further back up to date."""
        if self._open_past is not None:
            while self._past_index().fold():
                pass

    def check_index(self, *, repair: bool = False) -> list[str]:
        """What is wrong with the files of the index, in words; with `repair`, they are built anew first."""
        found = self.index.check(repair=repair)
        if self._open_past is not None and self.folder is not None and (self.folder / HISTORY).is_dir():
            found += self._past_index().check(repair=repair)
        return found

    def _sortable(self, rule: Rule, revision: int) -> Iterable[str]:
        if rule == EVERYTHING:
            return self.index.sortable()
        return sortable_names(self._properties(rule, revision))

    def _bound(self, expression: Predicate, rule: Rule, revision: int, index: Index | None = None) -> Predicate:
        """What the caller asks for and may see, held against what the searched collections declare."""
        return restricted(rule, bind(expression, self._declared(expression, rule, revision, index or self.index)))

    def _declared(self, expression: Predicate, rule: Rule, revision: int, index: Index) -> Queryables:
        """The queryables of the collections that a search names, or of all that the caller may see."""
        by_key = index.declared(revision)
        if not by_key:
            return Queryables()
        visible: dict[str, int] = self._cached(
            self._collections,
            (rule, self.index.indexed_revision),
            lambda: {record.id: record.key for record in self._visible(rule, revision)},
        )
        named = named_collections(expression)
        keys = {visible[name] for name in named & visible.keys()} if named is not None else set(visible.values())
        declared = tuple(by_key[key] for key in sorted(keys & by_key.keys()))
        return Queryables(declared, open_=len(declared) < len(keys) or not keys, aliases=ALIASES)

    def _select(
        self,
        index: Index,
        search: Search,
        expression: Predicate,
        revision: int,
        cursor: Cursor | None,
        count: bool,
        limits: tuple[float, Callable[[], bool]],
    ) -> Selection:
        return index.select(
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
        expression = restricted(rule, build.conjunction(this, ""))
        return bool(self.index.select(expression, NEWEST_FIRST, 1, revision=self.index.refresh()).hits)

    def permits_version(self, item: StoredItem, rule: Rule) -> bool:
        """Whether a rule lets an item through as it stands there, live or not."""
        if rule == EVERYTHING:
            return True
        change = Change(Version(item.seq, Operation.PUT_ITEM, 0, item.id, None), item.body, None)
        return bool(Evaluator(bind(rule))(item_frame(change, item.collection)).true[0])

    def may_see(self, record: CollectionRecord, rule: Rule) -> bool:
        """Whether a rule lets a collection through, as it is now."""
        return self._may_see(record, rule, self.index.refresh())

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

    def collections(
        self, limit: int, token: str | None, rule: Rule, as_of: int | None = None, *, newest: bool = False
    ) -> CollectionPage:
        """A page of the visible collections, by id in code point order; those of an instant, as they were then.

        `newest`: those that were made last come first.
        """
        revision = self.index.refresh()
        if as_of is None:
            records = self._visible(rule, revision)
        else:
            past = self.ledger.collections_at(self.revision_at(as_of))
            records = [record for record in past if self._may_see(record, rule, revision)]

        def place(record: CollectionRecord) -> tuple[Any, ...]:
            return (-record.created, record.id) if newest else (record.id,)

        if newest:
            records.sort(key=place)
        fingerprint = f"collections {as_of} {newest}".encode()
        key: tuple[Any, ...] = ()
        backward = False
        if token is not None:
            cursor = open_cursor(token, fingerprint, self.ledger.epoch, self.ledger.secret)
            key, backward = tuple(cursor.key), cursor.backward
        if backward:
            behind = [record for record in records if place(record) < key]
            shown, more_before, more_after = behind[-limit:], len(behind) > limit, True
        else:
            behind = [record for record in records if place(record) > key]
            shown, more_before, more_after = behind[:limit], token is not None, len(behind) > limit

        def seal(record: CollectionRecord, towards_start: bool) -> str:
            return seal_cursor(
                Cursor(revision, fingerprint, place(record), towards_start), self.ledger.epoch, self.ledger.secret
            )

        views = tuple(map(self.past_view, shown)) if as_of is not None else self._views(shown, rule, revision)
        return CollectionPage(
            views,
            next=seal(shown[-1], False) if views and more_after else None,
            previous=seal(shown[0], True) if views and more_before else None,
            matched=len(records),
        )

    def collection(self, collection_id: str, rule: Rule) -> CollectionView:
        """One collection. NotFound when it is not there, and in the same words when the rule hides it."""
        record = self.ledger.collection(collection_id)
        revision = self.index.refresh()
        if record is None or not self._may_see(record, rule, revision):
            raise NotFound(f"there is no collection {collection_id!r}")
        return self._views([record], rule, revision)[0]

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
        truth = Evaluator(by_collection(bind(rule)))(item_frame(bare, record.id))
        if truth.true[0]:
            return True
        return record.key in self._summary(rule, revision)

    def view_of(self, record: CollectionRecord, rule: Rule) -> CollectionView:
        """A live collection, out of its record."""
        return self._views((record,), rule, self.index.refresh())[0]

    def changed_at(self, view: CollectionView) -> int:
        """When what a view shows was changed last, or later: what is derived of items may change with any write."""
        return self.ledger.head_at() if view.derived.keys() - {"created", "updated"} else view.updated

    def past_view(self, record: CollectionRecord) -> CollectionView:
        """A collection as it was: with what its publisher said then, and nothing that follows from its items now."""
        links = LinkSpans.unpack(record.links)
        derived = commit_times(record, members(record.body))
        return CollectionView(record.key, record.id, record.seq, record.body, links, derived, record.updated)

    def _views(self, records: Sequence[CollectionRecord], rule: Rule, revision: int) -> tuple[CollectionView, ...]:
        given = [members(record.body) for record in records]
        lacking = [record.key for record, told in zip(records, given, strict=True) if "summaries" not in told]
        # Under a rule that looks at items every property of every item would have to be read.
        facts = self._facts_apart(lacking, rule, revision) if names_in(rule) <= {"collection"} else {}
        summaries = self._summary(rule, revision)
        views = []
        for record, told in zip(records, given, strict=True):
            derived = derived_members(told, summaries.get(record.key), facts.get(record.key, ()))
            derived |= commit_times(record, told)
            links = LinkSpans.unpack(record.links)
            views.append(CollectionView(record.key, record.id, record.seq, record.body, links, derived, record.updated))
        return tuple(views)

    def _facts_apart(self, keys: Sequence[int], rule: Rule, revision: int) -> dict[int, tuple[PropertyFacts, ...]]:
        """What properties the visible items of some collections have, by key."""
        with self._lock:
            if self._apart[0] != (rule, revision):
                self._apart = ((rule, revision), {})
            known = self._apart[1]
        lacking = [key for key in keys if key not in known]
        if lacking:
            found = self.index.properties_apart(bind(rule), lacking, revision=revision, most_values=MOST_VALUES)
            known.update({key: found.get(key, ()) for key in lacking})
        return known

    # -- settings of collections ---------------------------------------------------------------

    def setting(self, collection_id: str, name: str) -> str | None:
        """How a collection is to be treated: `validation` (off, warn, enforce), `cache_control`."""
        return self.ledger.setting(collection_id, name)

    def cache_control(self, collection_id: str) -> str:
        """What caches may do with the documents of a collection; they ask each time unless its publisher says more."""
        return self.ledger.setting(collection_id, "cache_control") or "no-cache"

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
        told = self._properties(restricted(rule, open_part(collection_id, closed)), revision)
        schemas = [
            msgspec.json.decode(body)
            for record in records
            if record.key in by_key and (body := self.ledger.declaration(record.id)) is not None
        ]
        return queryables_document(told, [record.id for record in records], schemas, closed=len(closed) == len(records))

    def sortables(self, collection_id: str | None, rule: Rule) -> dict[str, Any]:
        """Name and JSON Schema of what can be sorted by."""
        return sortable_schemas(self._facts_of(collection_id, rule)[0])

    def _facts_of(self, collection_id: str | None, rule: Rule) -> tuple[tuple[PropertyFacts, ...], list[str]]:
        revision = self.index.refresh()
        if collection_id is None:
            return self._properties(rule, revision), [record.id for record in self._visible(rule, revision)]
        self.collection(collection_id, rule)  # NotFound
        only = restricted(rule, Equal(Property("collection"), Text(collection_id)))
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


def _within_budget(items: Sequence[StoredItem]) -> int:
    """How many of the items fit into a page; at least one."""
    total = 0
    for number, item in enumerate(items):
        total += len(item.body)
        if total > LIMITS.page_bytes and number:
            return number
    return len(items)
