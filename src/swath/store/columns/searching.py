"""One expression over the sources of one state: which rows to look at, by counting, and evaluating them in blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swath.cql2.ast import Boolean, Predicate
from swath.cql2.evaluate import Evaluator
from swath.cql2.frame import Frame
from swath.search import NEWEST_FIRST, SortKey, Step
from swath.store.columns.candidates import Candidates, Planner
from swath.store.columns.order import Order
from swath.store.columns.plan import conditions, time_bounds
from swath.store.columns.ranking import Ranking, ranking_of
from swath.store.columns.rows import RowSet, count_of
from swath.store.columns.segment import Segment
from swath.store.columns.source import NO_COLLECTIONS, Source, View
from swath.store.columns.state import State

__all__ = ["Block", "Found", "NewestWalk", "SourceSearch", "StateSearch", "fill_newest"]

_BLOCK = 65_536
_FIRST_BLOCK = 2_048  # of a page that may be full soon
_FEW = 4_096  # candidates that are sorted rather than come by in the order of the sort key
_TRIED = 16_384  # rows that are read for a page before candidates are sorted
_WALKED_PART = 8  # of a source's rows, one in so many is evaluated in another order before all are in their own


class Block(NamedTuple):
    """Some rows of a source that were evaluated: the selected ones, by their places in the frame and in the source.

    `ends` are the first and the last of those that were looked at.
    """

    frame: Frame
    places: NDArray[np.int64]
    rows: NDArray[np.int64]
    ends: tuple[int, int]


class Found(NamedTuple):
    """What one source has for a page: rows in order, whether there are more, how many in all (None: not counted)."""

    order: Order
    rows: NDArray[np.int64]
    more: bool
    matched: int | None


class StateSearch:
    """One expression over a state at a revision."""

    def __init__(
        self, state: State, expression: Predicate, revision: int, checkpoint: Callable[[], None] = lambda: None
    ) -> None:
        self.state, self.expression, self.revision, self.checkpoint = state, expression, revision, checkpoint
        tail_rows = state.tail.rows  # before the names, which then cover the collections of all these rows
        self.view: View = state.view(revision)
        self.gone = state.gone_at(revision)
        self.bounds = time_bounds(expression)
        self.conditions = conditions(expression)
        self.evaluator = Evaluator(expression, checkpoint)
        self.planner = Planner(self.view)
        self.sources = [SourceSearch(self, source, source.rows) for source in state.segments if source.rows]
        if tail_rows:
            self.sources.append(SourceSearch(self, state.tail, tail_rows))


@dataclass(slots=True)
class SourceSearch:
    """The same over one source. `step` tells what was done."""

    search: StateSearch
    source: Source
    size: int
    step: Step = field(init=False)
    range: tuple[int, int] = field(init=False)
    candidates: Candidates | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        source, search = self.source, self.search
        self.step = Step(source.name, self.size)
        started = time.perf_counter()
        self.range = (0, self.size)
        if isinstance(source, Segment):
            self.range = source.rows_within(search.bounds)
            self.plan(source)
        self.step.in_time = self.range[1] - self.range[0]
        self.step.planning = time.perf_counter() - started

    def plan(self, segment: Segment) -> None:
        """The condition with the fewest rows, told by counting."""
        if self.range[0] == self.range[1]:
            return
        for condition in self.search.conditions:
            self.search.checkpoint()
            found = self.search.planner.of(condition, segment)
            if found is None:
                continue
            self.step.counted.append((found.told_by, found.count))
            if self.candidates is None or found.count < self.candidates.count:
                self.candidates = found
            if not found.count:
                self.range = (0, 0)
                return
        if self.candidates is not None and self.candidates.count * 4 > self.range[1] - self.range[0]:
            self.candidates = None  # reading on is faster than jumping

    # -- evaluating ---------------------------------------------------------------------------

    def block(self, rows: RowSet) -> Block:
        """Evaluate some rows."""
        source, search = self.source, self.search
        search.checkpoint()
        started = time.perf_counter()
        frame = source.frame(rows, search.view)
        visible = source.visible(rows, search.revision)
        if search.gone:
            there = ~np.isin(source.keys()[rows], search.gone)
            visible = there if visible is None else visible & there
        size = count_of(rows)
        self.step.examined += size
        if visible is not None and not visible.any():
            places = NO_COLLECTIONS
        elif search.expression == Boolean(True):
            places = np.arange(size) if visible is None else np.flatnonzero(visible)
        else:
            true = search.evaluator.evaluate(search.expression, frame, visible).true
            places = np.flatnonzero(true if visible is None else true & visible)
        self.step.selected += len(places)
        self.step.evaluating += time.perf_counter() - started
        if isinstance(rows, slice):
            return Block(frame, places, places + rows.start, (rows.start, rows.stop - 1))
        return Block(frame, places, rows[places], (int(rows[0]), int(rows[-1])) if size else (0, 0))

    def listed(self, first: int, last: int) -> NDArray[np.int64]:
        """The candidates within a range of rows."""
        assert self.candidates is not None
        rows = self.candidates.rows()
        low, high = np.searchsorted(rows, (first, last))
        return rows[low:high]

    def blocks(self) -> Iterator[Block]:
        """All rows that may be selected, evaluated in the order of the source."""
        first, last = self.range
        if self.candidates is not None:
            self.step.way = f"candidates by {self.candidates.told_by}"
            rows = self.listed(first, last)
            for start in range(0, len(rows), _BLOCK):
                yield self.block(rows[start : start + _BLOCK])
            return
        self.step.way = self.step.way or "scan"
        for start in range(first, last, _BLOCK):
            yield self.block(slice(start, min(start + _BLOCK, last)))

    def every(self) -> NDArray[np.int64]:
        """Every selected row, ascending."""
        parts = [block.rows for block in self.blocks()]
        return np.concatenate(parts) if parts else NO_COLLECTIONS

    def kept(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of some rows, in any order, that are selected; in that order."""
        order = np.argsort(rows)
        mask = np.zeros(len(rows), np.bool_)
        mask[order[self.block(rows[order]).places]] = True
        return rows[mask]

    # -- pages --------------------------------------------------------------------------------

    def newest(
        self, order: Order, limit: int, after: tuple[Any, ...] | None, backward: bool, counting_until: float | None
    ) -> Found:
        """The first rows in the default order from a place on, and how many there are in all, if there is time."""
        walk = NewestWalk(self, order, after, backward)
        counting = True
        for block in self.growing(walk.first, walk.last, backward, wanted=0):
            if walk.total <= limit:
                walk.parts.append(block.rows[::-1] if backward else block.rows)
            walk.total += len(block.rows)
            counting = counting and (counting_until is None or time.monotonic() < counting_until)
            if walk.total > limit and not counting:
                return walk.found(limit)
        if counting:  # what lies on the other side of the place belongs to the count too
            for low, high in ((self.range[0], walk.first), (walk.last, self.range[1])):
                for block in self.growing(low, high, False, wanted=0):
                    walk.total += len(block.rows)
                    if counting_until is not None and time.monotonic() > counting_until:
                        return walk.found(limit)
        return walk.found(limit, walk.total if counting else None)

    def page(
        self,
        sort: tuple[SortKey, ...],
        limit: int,
        after: tuple[Any, ...] | None,
        backward: bool,
        count: bool,
        counting_until: float | None,
    ) -> Found:
        """The first rows behind a place in the order, and, if it is wanted and in time, how many there are in all."""
        order = Order(self.source, self.search.view, sort, backward=backward)
        if self.range[0] == self.range[1]:
            return Found(order, NO_COLLECTIONS, False, 0)
        if self.source.ordered and sort == NEWEST_FIRST:
            return self.newest(order, limit, after, backward, counting_until)
        ranking = None
        few = self.candidates is not None and self.candidates.count <= _FEW
        if isinstance(self.source, Segment) and not few and self.size > 4 * limit:
            ranking = ranking_of(self.source, sort[0].name, self.search.view)
        started = time.perf_counter()
        if ranking is None:
            selected = self.every()
            rows, more = order.first(selected, limit, after)
            self.step.ordering = time.perf_counter() - started - self.step.evaluating
            return Found(order, rows, more, len(selected))
        return self.ranked(order, ranking, limit, after, count, counting_until)

    def ranked(
        self,
        order: Order,
        ranking: Ranking,
        limit: int,
        after: tuple[Any, ...] | None,
        count: bool,
        counting_until: float | None,
    ) -> Found:
        """By a ranking: rows are evaluated as they come, until it turns out that few of them are selected."""
        selected: NDArray[np.bool_] | None = None
        matched: int | None = None
        spent = 0
        self.step.way = "order of the sort key"

        def whole() -> NDArray[np.bool_]:
            nonlocal matched
            self.step.way = "scan, then order of the sort key"
            mask = np.zeros(self.size, np.bool_)
            rows = self.every()
            mask[rows] = True
            matched = len(rows)
            return mask

        def kept(rows: NDArray[np.int64]) -> NDArray[np.int64]:
            nonlocal selected, spent
            if selected is None and spent > self.size // _WALKED_PART:
                selected = whole()
            if selected is not None:
                return rows[selected[rows]]
            spent += len(rows)
            return self.kept(rows)

        rows, more = order.walked(ranking, after, limit, kept)
        if count and matched is None:
            matched = self.counted(counting_until)
        return Found(order, rows, more, matched)

    def counted(self, until: float | None) -> int | None:
        """How many rows are selected; None where that cannot be told in time."""
        total = 0
        for block in self.blocks():
            if until is not None and time.monotonic() > until:
                return None
            total += len(block.rows)
        return total

    def growing(self, first: int, last: int, backward: bool, *, wanted: int) -> Iterator[Block]:
        """Blocks of a range: growing ones for a page of so many rows (0: of all there are).

        Candidates alone, at once where they are few, else where the first blocks did not do.
        """
        candidates, tried = self.candidates, 0
        size = _FIRST_BLOCK if wanted else _BLOCK
        # So many rows would do for the page, if every candidate were selected.
        scans = candidates is not None and candidates.count > _FIRST_BLOCK
        scans = scans and candidates is not None and 0 < wanted * self.size < candidates.count * _FIRST_BLOCK
        self.step.way = "scan" if candidates is None else f"scan, then candidates by {candidates.told_by}"
        while first < last:
            if candidates is not None and (not scans or tried >= _TRIED):
                if not tried:
                    self.step.way = f"candidates by {candidates.told_by}"
                rows = self.listed(first, last)
                while len(rows):
                    part, rows = (rows[-size:], rows[:-size]) if backward else (rows[:size], rows[size:])
                    yield self.block(part)
                    size = min(_BLOCK, size * 4)
                return
            start, stop = (max(first, last - size), last) if backward else (first, min(last, first + size))
            yield self.block(slice(start, stop))
            tried += stop - start
            first, last = (first, start) if backward else (stop, last)
            size = min(_BLOCK, size * 4)


class NewestWalk:
    """The selected rows of a segment in the default order, from a place on, as far as they are wanted."""

    def __init__(self, source: SourceSearch, order: Order, after: tuple[Any, ...] | None, backward: bool) -> None:
        self.source, self.order, self.backward = source, order, backward
        self.first, self.last = source.range
        if after is not None and self.first < self.last:
            place = order.start_of(after)
            if backward:
                self.last = min(self.last, place)
            else:
                self.first = max(self.first, place)
        self.parts: list[NDArray[np.int64]] = []
        self.total = 0
        self.over = False
        self.edge: int | None = None  # the row that was looked at last
        self._blocks: Iterator[Block] | None = None

    def fill(self, wanted: int, until: int | None = None) -> None:
        """Go on until there are so many rows, or until only rows beyond the instant `until` are left."""
        if self._blocks is None:
            self._blocks = self.source.growing(self.first, self.last, self.backward, wanted=wanted)
        while not self.over and self.total < wanted:
            if until is not None and self.edge is not None and self._past(until):
                return
            block = next(self._blocks, None)
            if block is None:
                self.over = True
                return
            self.edge = block.ends[0 if self.backward else 1]
            if len(block.rows):
                self.parts.append(block.rows[::-1] if self.backward else block.rows)
                self.total += len(block.rows)

    def _past(self, until: int) -> bool:
        assert self.edge is not None
        here = self.instant(self.edge)
        return here > until if self.backward else here < until

    def instant(self, row: int) -> int:
        """When a row is; those without a time are last."""
        source = self.source.source
        return int(source.when()[row]) if source.when_known()[row] else -(2**63)

    def found(self, limit: int, matched: int | None = None) -> Found:
        rows = np.concatenate(self.parts) if self.parts else NO_COLLECTIONS
        return Found(self.order, rows[:limit], len(rows) > limit, matched)


def fill_newest(walks: list[NewestWalk], limit: int) -> None:
    """Find the first `limit` of all walks, and one more, without finding as many in each of them."""
    wanted, share = limit + 1, limit // max(len(walks), 1) + 1
    while True:
        for walk in walks:
            walk.fill(min(share, wanted))
        instants = sorted(
            (walk.instant(int(row)) for walk in walks for part in walk.parts for row in part[:wanted]),
            reverse=not (walks and walks[0].backward),
        )
        if len(instants) >= wanted:
            break
        if share >= wanted or all(walk.over for walk in walks):
            return
        share *= 4
    for walk in walks:  # whatever comes before the last of these may still displace it
        walk.fill(wanted, instants[wanted - 1])
