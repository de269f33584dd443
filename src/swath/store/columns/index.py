"""The index over segments and a tail: follows the ledger, evaluates block by block, merges what each finds."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swath.cql2.ast import Boolean, Predicate
from swath.cql2.evaluate import Evaluator
from swath.cql2.frame import Frame
from swath.cql2.queryables import Declared
from swath.errors import Unavailable
from swath.limits import LIMITS
from swath.search import NEWEST_FIRST, SortKey
from swath.store.base import Change, Hit, Ledger, PropertyFacts, Selection, Summary
from swath.store.columns.facts import Gathered
from swath.store.columns.manifest import fold, open_state, verify_files
from swath.store.columns.names import CollectionNames
from swath.store.columns.order import Order, comes_before
from swath.store.columns.plan import conditions, time_bounds
from swath.store.columns.segment import Segment
from swath.store.columns.source import ALIVE, NO_COLLECTIONS, Source, View
from swath.store.columns.state import State
from swath.store.columns.tail import Tail

__all__ = ["SEGMENTS", "ColumnIndex", "item_frame"]

SEGMENTS = "segments"  # the folder of the files of columns, in the catalogue's

log = logging.getLogger("swath.store")

_PULL_ROWS = 2_000
_BLOCK = 65_536
_FIRST_BLOCK = 2_048  # of a page that may be full soon
_KEPT_FACTS = 64
_MANY = 4_096  # selected rows from which on it pays to walk all rows in the order of a sort key


class _Block(NamedTuple):
    """A range of a source that was evaluated, and the rows of it that are selected."""

    frame: Frame
    start: int
    rows: NDArray[np.int64]  # of the source


class _Found(NamedTuple):
    """What one source has for a page: rows in order, whether there are more, how many in all (None: not counted)."""

    order: Order
    rows: NDArray[np.int64]
    more: bool
    matched: int | None


class ColumnIndex:
    """Answers searches over one ledger. Any thread may search; one at a time pulls."""

    def __init__(self, ledger: Ledger, folder: Path | None = None) -> None:
        """`folder` holds the segments; without one, all is kept in memory."""
        self._ledger, self._folder = ledger, folder
        self._lock = threading.Lock()
        self._state = State()
        self._facts: OrderedDict[Any, dict[str, Gathered]] = OrderedDict()

    @property
    def indexed_revision(self) -> int:
        return self._state.revision

    # -- following the ledger -----------------------------------------------------------------

    def refresh(self) -> int:
        """Pull what was committed since the last time. Cheap when nothing was."""
        if self._ledger.position() == (self._state.revision, self._state.generation):
            return self._state.revision
        with self._lock:
            head, generation = self._ledger.position()
            state = self._state
            if generation != state.generation or (state.revision == 0 and self._folder) or self._mostly_dead():
                # Searches go on in the old state until this one is complete.
                state = open_state(self._ledger, self._folder, state) if self._folder else State()
                head = max(head, state.revision)
                self._pull(state, head)
                self._state = state
            elif head > state.revision:
                self._pull(state, head)
            return self._state.revision

    def _pull(self, state: State, head: int) -> None:
        try:
            self._pull_rows(state, head)
        except BaseException:
            state.generation = -1  # some rows may be in: the next refresh starts over
            raise

    def _pull_rows(self, state: State, head: int) -> None:
        state.learn(self._ledger.facts(head))
        ended_by = self._ledger.horizon(LIMITS.cursor_lifetime_seconds) if not state.tail.rows else 0
        chunk: list[Change] = []
        for change in self._ledger.changes(state.revision, head, ended_by):
            if not state.note(change):
                chunk.append(change)
                if len(chunk) >= _PULL_ROWS:
                    state.append(chunk)
                    chunk = []
        if chunk:
            state.append(chunk)
        state.revision = head

    def _mostly_dead(self) -> bool:
        """Whether most rows of the tail ended before any cursor that is still alive: then it is time to start over."""
        died = self._state.tail.died.view()
        if len(died) < 20_000 or np.count_nonzero(died != ALIVE) * 2 < len(died):
            return False
        horizon = self._ledger.horizon(LIMITS.cursor_lifetime_seconds)
        return bool(np.count_nonzero(died <= horizon) * 2 > len(died))

    def fold(self) -> bool:
        return self._folder is not None and fold(self._ledger, self._folder)

    def check(self, *, repair: bool = False) -> list[str]:
        if self._folder is None:
            return []
        if repair:
            fold(self._ledger, self._folder, verify=True)
        return verify_files(self._ledger, self._folder)

    # -- the protocol -------------------------------------------------------------------------

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
        count: bool = False,
        count_seconds: float | None = None,
    ) -> Selection:
        search = _Search(self._state, expression, revision, _deadline(deadline))
        counting_until = None if count_seconds is None else time.monotonic() + count_seconds
        found: list[_Found] = []
        for source in search.sources():
            order = Order(source, search.view, sort, backward=backward, rows=search.rows_of(source))
            if source.ordered and sort == NEWEST_FIRST:
                found.append(search.walk(order, source, limit, after, backward, count, counting_until))
            else:
                rows = search.all_of(source)
                if isinstance(source, Segment) and len(sort) == 1 and len(rows) > _MANY and limit < len(rows) // 8:
                    chosen, more = order.first_of_many(rows, limit, after, source.ranked)
                else:
                    chosen, more = order.first(rows, limit, after)
                found.append(_Found(order, chosen, more, len(rows)))
        matched = [each.matched for each in found]
        total = sum(each for each in matched if each is not None) if count and None not in matched else None
        hits, more = _merged(found, sort, limit, backward)
        return Selection(tuple(reversed(hits)) if backward else tuple(hits), more, total)

    def declared(self, revision: int) -> Mapping[int, Declared]:
        state = self._state
        return state.declared_at(revision) if state.declared else {}

    def scan(self, expression: Predicate, *, revision: int) -> Iterable[int]:
        search = _Search(self._state, expression, revision)
        seqs = [source.seqs()[search.all_of(source)] for source in search.sources()]
        yield from np.sort(np.concatenate(seqs)).tolist() if seqs else ()

    def summaries(self, expression: Predicate, *, revision: int) -> dict[int, Summary]:
        search = _Search(self._state, expression, revision)
        result: dict[int, Summary] = {}
        for source in search.sources():
            for block in search.blocks(source):
                keys = source.keys()[block.rows]
                for key in np.unique(keys).tolist():
                    rows = block.rows[keys == key] - block.start
                    result[key] = _joined(result.get(key), _summary(block.frame, rows))
        return result

    def properties(self, expression: Predicate, *, revision: int, most_values: int) -> tuple[PropertyFacts, ...]:
        search = _Search(self._state, expression, revision)
        gathered: dict[str, Gathered] = {}
        for source in search.sources():
            for name, facts in self._gathered(search, source, most_values).items():
                gathered.setdefault(name, Gathered(most_values)).merge(facts)
        return tuple(facts.result(name) for name, facts in sorted(gathered.items()) if facts.count)

    def _gathered(self, search: _Search, source: Source, most_values: int) -> dict[str, Gathered]:
        """Facts of one source. Those of a segment are kept: they change only with the rows that live in it."""
        key = None
        if isinstance(source, Segment) and source.high <= search.revision:
            ended = 0 if source.died is None else int(np.count_nonzero(source.died <= search.revision))
            key = (source.name, ended, search.expression, tuple(search.gone), most_values)
            with self._lock:
                if key in self._facts:
                    return self._facts[key]
        found: dict[str, Gathered] = {}
        names = list(source.names) if isinstance(source, Segment) else list(search.state.tail.columns)
        for block in search.blocks(source):
            if len(block.rows):
                chosen = np.zeros(block.frame.size, np.bool_)
                chosen[block.rows - block.start] = True
                for name in names:
                    found.setdefault(name, Gathered(most_values)).add(block.frame.column(name), chosen)
        if key is not None:
            with self._lock:
                self._facts[key] = found
                while len(self._facts) > _KEPT_FACTS:
                    self._facts.popitem(last=False)
        return found


class _Search:
    """One expression over the sources of one state, at a revision."""

    def __init__(
        self, state: State, expression: Predicate, revision: int, checkpoint: Callable[[], None] = lambda: None
    ) -> None:
        self.state, self.expression, self.revision, self.checkpoint = state, expression, revision, checkpoint
        self._tail_rows = state.tail.rows  # before the names, which then cover the collections of all these rows
        self.view: View = state.view(revision)
        self.gone = state.gone_at(revision)
        self._bounds = time_bounds(expression)
        self._evaluator = Evaluator(expression, checkpoint)

    def sources(self) -> list[Source]:
        return [source for source in self.state.sources() if source.rows]

    def rows_of(self, source: Source) -> int:
        return source.rows if isinstance(source, Segment) else self._tail_rows

    def _range(self, source: Source) -> tuple[int, int]:
        if not isinstance(source, Segment):
            return 0, self.rows_of(source)
        if not all(source.may_hold(each, self.view) for each in conditions(self.expression)):
            return 0, 0
        return source.rows_within(self._bounds)

    def _selected(self, source: Source, start: int, stop: int) -> _Block:
        self.checkpoint()
        frame = source.frame(start, stop, self.view)
        visible = source.visible(start, stop, self.revision)
        if self.gone:
            there = ~np.isin(source.keys()[start:stop], self.gone)
            visible = there if visible is None else visible & there
        if visible is not None and not visible.any():
            return _Block(frame, start, NO_COLLECTIONS)
        if self.expression == Boolean(True):
            rows = np.arange(start, stop) if visible is None else np.flatnonzero(visible) + start
        else:
            true = self._evaluator.evaluate(self.expression, frame, visible).true
            rows = np.flatnonzero(true if visible is None else true & visible) + start
        return _Block(frame, start, rows)

    def blocks(self, source: Source) -> Iterator[_Block]:
        first, last = self._range(source)
        for start in range(first, last, _BLOCK):
            yield self._selected(source, start, min(start + _BLOCK, last))

    def all_of(self, source: Source) -> NDArray[np.int64]:
        """Every selected row, ascending."""
        parts = [block.rows for block in self.blocks(source)]
        return np.concatenate(parts) if parts else NO_COLLECTIONS

    def walk(
        self,
        order: Order,
        source: Source,
        limit: int,
        after: tuple[Any, ...] | None,
        backward: bool,
        count: bool,
        counting_until: float | None,
    ) -> _Found:
        """The first rows of a source that lies in order: in growing blocks from the place on, until the page is full.

        A count goes on to the end, or until its time is over.
        """
        whole_first, whole_last = first, last = self._range(source)
        if after is not None:
            place = order.start_of(after)
            first, last = (first, min(last, place)) if backward else (max(first, place), last)
        parts: list[NDArray[np.int64]] = []
        total, size, position = 0, _FIRST_BLOCK, last if backward else first
        while total <= limit or count:
            start, stop = (
                (max(first, position - size), position) if backward else (position, min(last, position + size))
            )
            if start >= stop:
                break
            rows = self._selected(source, start, stop).rows
            if total <= limit:
                parts.append(rows[::-1] if backward else rows)
            total += len(rows)
            position = start if backward else stop
            size = min(_BLOCK, size * 4)
            count = count and (counting_until is None or time.monotonic() < counting_until)
        matched: int | None = total if count else None
        if count:  # what lies on the other side of the place belongs to the count too
            for low, high in ((whole_first, first), (last, whole_last)):
                for start in range(low, high, _BLOCK):
                    total += len(self._selected(source, start, min(start + _BLOCK, high)).rows)
            matched = total
        rows = np.concatenate(parts) if parts else NO_COLLECTIONS
        return _Found(order, rows[:limit], len(rows) > limit, matched)


def _merged(found: list[_Found], sort: tuple[SortKey, ...], limit: int, backward: bool) -> tuple[list[Hit], bool]:
    """The first hits of all sources. Only the ends become cursors: only they need keys, if one source has them all."""
    having = [each for each in found if len(each.rows)]
    more = any(each.more for each in found)
    if len(having) <= 1:
        hits = [Hit(int(seq), ()) for each in having for seq in each.order.seqs(each.rows)]
        for end in {0, len(hits) - 1} if hits else ():
            hits[end] = hits[end]._replace(key=having[0].order.key_of(int(having[0].rows[end])))
        return hits, more
    every = [
        Hit(int(seq), each.order.key_of(int(row)))
        for each in having
        for row, seq in zip(each.rows, each.order.seqs(each.rows), strict=True)
    ]

    def compare(a: Hit, b: Hit) -> int:
        return comes_before(a.key, b.key, sort, backward=backward)

    every.sort(key=functools.cmp_to_key(compare))
    return every[:limit], more or len(every) > limit


def _summary(frame: Frame, rows: NDArray[np.int64]) -> Summary:
    sides, extents = frame.footprints(), frame.extents()
    boxed = rows[~np.isnan(sides.west[rows])]
    box = None
    if len(boxed):
        box = (
            float(sides.west[boxed].min()), float(sides.south[boxed].min()),
            float(sides.east[boxed].max()), float(sides.north[boxed].max()),
        )  # fmt: skip
    known = rows[extents.known[rows]]
    start = int(extents.start[known].min()) if len(known) else None
    end = int(extents.end[known].max()) if len(known) else None
    return Summary(len(rows), box, start, end)


def _joined(one: Summary | None, other: Summary) -> Summary:
    if one is None:
        return other
    boxes = [each.box for each in (one, other) if each.box]
    box = None
    if boxes:
        west, south, east, north = zip(*boxes, strict=True)
        box = (min(west), min(south), max(east), max(north))
    starts = [each.start for each in (one, other) if each.start is not None]
    ends = [each.end for each in (one, other) if each.end is not None]
    return Summary(one.count + other.count, box, min(starts, default=None), max(ends, default=None))


def _deadline(at: float | None) -> Callable[[], None]:
    def check() -> None:
        if at is not None and time.monotonic() > at:
            raise Unavailable(
                f"the search took longer than {LIMITS.deadline_seconds:g} s; narrow it by collection, time or area"
            )

    return check


def item_frame(change: Change, collection: str) -> Frame:
    """A block of one: a single item, for rules and single reads."""
    tail = Tail()
    tail.append([change])
    names = CollectionNames({change.version.collection: collection})
    return tail.frame(0, 1, View(names, lambda _: NO_COLLECTIONS, tail.columns.__contains__))
