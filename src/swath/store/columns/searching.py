"""One expression over the sources of one state: which rows to look at, by counting, and evaluating them in blocks."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swath.cql2.ast import Boolean, Predicate
from swath.cql2.frame import Frame
from swath.search import NEWEST_FIRST, SortKey, Step
from swath.store.columns.candidates import Candidates
from swath.store.columns.merging import Found
from swath.store.columns.order import NEVER, Order
from swath.store.columns.ranking import Ranking, ranking_of
from swath.store.columns.rows import RowSet, count_of
from swath.store.columns.segment import Segment
from swath.store.columns.source import NO_COLLECTIONS, Source, View
from swath.store.columns.state import State

__all__ = ["Block", "NewestWalk", "SourceSearch", "StateSearch", "fill_newest"]

_BLOCK = 65_536
_FIRST_BLOCK = 512  # of a page that may be full soon
_SCANNED = 2_048  # rows are read one after the other, if so many would do for the page were every candidate selected
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


class StateSearch:
    """One expression over a state at a revision."""

    def __init__(
        self, state: State, expression: Predicate, revision: int, checkpoint: Callable[[], None] = lambda: None
    ) -> None:
        self.state, self.expression, self.revision, self.checkpoint = state, expression, revision, checkpoint
        tail_rows = state.tail.rows  # before the names, which then cover the collections of all these rows
        self.view: View = state.view(revision)
        self.gone = state.gone_at(revision)
        self.key = (expression, state.reading(revision))
        self.plans = state.questions.plans(state.segments, self.key, self.view, checkpoint)
        self.evaluator, self.uses = state.questions.evaluator(self.key, checkpoint)
        self.sources = [
            SourceSearch(self, plan.segment, plan.segment.rows, plan.range, plan.candidates, plan.step())
            for plan in self.plans if not plan.empty
        ]  # fmt: skip
        if tail_rows:
            tail = Step(state.tail.name, tail_rows, tail_rows)
            self.sources.append(SourceSearch(self, state.tail, tail_rows, (0, tail_rows), None, tail))

    def done(self) -> None:
        """Leave what was found out about the expression to the next search for it."""
        self.state.questions.give_back(self.key, self.evaluator, self.uses)

    def steps(self) -> tuple[Step, ...]:
        """What was done in each source, those included in which there was nothing to look at."""
        return (*(plan.step() for plan in self.plans if plan.empty), *(source.step for source in self.sources))


@dataclass(slots=True)
class SourceSearch:
    """The same over one source: a range of its rows, and candidates among them, if there are few. `step` tells what
    was done."""

    search: StateSearch
    source: Source
    size: int
    range: tuple[int, int]
    candidates: Candidates | None
    step: Step

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
        if first == 0 and last == self.size:
            return rows
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
        scans = candidates is not None and candidates.count > _SCANNED
        scans = scans and candidates is not None and 0 < wanted * self.size < candidates.count * _SCANNED
        self.step.way = "scan" if candidates is None else f"scan, then candidates by {candidates.told_by}"
        while first < last:
            if candidates is not None and (not scans or tried >= _TRIED):
                if not tried:
                    self.step.way = f"candidates by {candidates.told_by}"
                rows = self.listed(first, last)
                while len(rows):
                    part, rows = (rows[-size:], rows[:-size]) if backward else (rows[:size], rows[size:])
                    found = self.block(part)
                    # Behind the last of them, nothing is left to look at.
                    yield found if len(rows) else found._replace(ends=(first, last - 1))
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
        self._blocks: Iterator[Block] | None = None

    def head(self) -> int | None:
        """The instant before which no row is left, as it is counted in `fill_newest`; None where none is."""
        return self._place(self.last - 1 if self.backward else self.first) if self.first < self.last else None

    def advance(self, share: int, wanted: int) -> tuple[int | None, NDArray[np.int64]]:
        """Look at more rows, of which so many may do as its share of a page.

        The instant up to which all have been looked at now (None where that is all of them), and those of the first
        rows that were found, as `head` counts them.
        """
        if self._blocks is None:
            self._blocks = self.source.growing(self.first, self.last, self.backward, wanted=share)
        block = next(self._blocks, None)
        if block is None:
            return None, NO_COLLECTIONS
        rows = block.rows[::-1] if self.backward else block.rows
        instants = NO_COLLECTIONS
        if len(rows):
            self.parts.append(rows)
            self.total += len(rows)
            instants = self.order.instants(rows[:wanted])
        first, last = block.ends
        over = first <= self.first if self.backward else last >= self.last - 1
        place = None if over else self._place(first if self.backward else last)
        return place, instants if self.backward else -instants

    def _place(self, row: int) -> int:
        source = self.source.source
        instant = int(source.when()[row]) if source.when_known()[row] else NEVER
        return instant if self.backward else -instant

    def found(self, limit: int, matched: int | None = None) -> Found:
        rows = NO_COLLECTIONS
        if self.parts:
            rows = self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)
        return Found(self.order, rows[:limit], len(rows) > limit, matched)


def fill_newest(walks: Sequence[NewestWalk], limit: int) -> None:
    """Find the first `limit` rows of all walks, and one more, reading on where the next row lies in time.

    Instants count so that they ascend, whichever way the walks go.
    """
    heads = [(head, number) for number, walk in enumerate(walks) if (head := walk.head()) is not None]
    heapq.heapify(heads)
    wanted, share = limit + 1, limit // max(len(heads), 1) + 1
    found = NO_COLLECTIONS
    while heads:
        head, number = heads[0]
        if len(found) > limit and head > found[limit]:  # what comes with the last of these may still displace it
            return
        place, instants = walks[number].advance(share, wanted)
        if len(instants):
            found = np.sort(np.concatenate((found, instants)))[:wanted]
        if place is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (place, number))
