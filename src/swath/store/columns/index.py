"""The index over segments and a tail: follows the ledger, evaluates block by block, merges what each finds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swath.cql2.ast import Predicate
from swath.cql2.evaluate import Evaluator
from swath.cql2.frame import Frame
from swath.cql2.queryables import Declared
from swath.errors import DeadlineExceeded, Unavailable
from swath.limits import LIMITS
from swath.search import NEWEST_FIRST, SortKey
from swath.store.base import Ledger, PropertyFacts, Selection, Summary
from swath.store.columns.facts import Facts
from swath.store.columns.histograms import counted_between, counted_on_grid
from swath.store.columns.manifest import FOLD_ROWS, fold, open_state, verify_files
from swath.store.columns.merging import Found, merged
from swath.store.columns.names import CollectionNames
from swath.store.columns.order import Order
from swath.store.columns.searching import NewestWalk, StateSearch, fill_newest
from swath.store.columns.source import ALIVE, NO_COLLECTIONS, View
from swath.store.columns.state import State
from swath.store.columns.tail import Tail
from swath.store.records import Change

__all__ = ["HISTORY", "SEGMENTS", "ColumnIndex", "item_frame"]

SEGMENTS = "segments"  # the folder of the files of columns, in the catalogue's
HISTORY = "history"  # that of files which keep what has ended, where somebody asked for it

log = logging.getLogger("swath.store")

_PULL_ROWS = 2_000
_LONGEST_TAIL = 200_000  # versions
_SHORTEST_PULL = 0.1  # seconds that one must have to read what was committed


class ColumnIndex:
    """Answers searches over one ledger. Any thread may search; one at a time pulls."""

    def __init__(self, ledger: Ledger, folder: Path | None = None, *, builds: bool = True) -> None:
        """`folder` holds the segments; without one, all is kept in memory. `builds`: whether it may build them."""
        self._ledger, self._folder, self._builds = ledger, folder, builds
        self._lock = threading.Lock()
        self._state = State()
        self._facts = Facts()

    @property
    def indexed_revision(self) -> int:
        return self._state.revision

    def close(self) -> None:
        """Close the ledger, where this index has one of its own."""
        self._ledger.close()

    # -- following the ledger -----------------------------------------------------------------

    @property
    def horizon(self) -> int:
        return self._state.horizon

    def state(self) -> tuple[int, int] | None:
        position = self._ledger.position()
        return position if position == (self._state.revision, self._state.generation) else None

    def refresh(self, seconds: float | None = None) -> int:
        """Pull what was committed since the last time. Cheap when nothing was."""
        if self.state() is not None:
            return self._state.revision
        if seconds is not None and seconds < _SHORTEST_PULL:
            raise DeadlineExceeded("the index of this catalogue is being brought up to date; try again in a moment")
        if not self._lock.acquire(timeout=-1 if seconds is None else seconds):
            raise Unavailable("the index of this catalogue is being brought up to date; try again in a moment", 2)
        try:
            head, generation = self._ledger.position()
            state = self._state
            long = self._folder is not None and head - state.folded > _LONGEST_TAIL
            if long or generation != state.generation or (not state.revision and self._folder) or self._mostly_dead():
                # Searches go on in the old state until this one is complete.
                state = self._opened(head)
                head = max(head, state.revision)
                self._pull(state, head)
                self._state = state
            elif head > state.revision:
                self._pull(state, head)
            return self._state.revision
        finally:
            self._lock.release()

    def _opened(self, head: int) -> State:
        """The state of the segments. What they do not hold goes into a tail, which must not grow without bound."""
        if self._folder is None:
            return State()
        state = open_state(self._ledger, self._folder, self._state)
        while head - state.revision > _LONGEST_TAIL:
            try:
                folded = self._builds and fold(self._ledger, self._folder)
            except OSError as error:
                raise Unavailable(f"the index of this catalogue cannot be built: {error}") from None
            if not folded:
                raise Unavailable("the index of this catalogue is being built; try again in a moment", 5)
            state = open_state(self._ledger, self._folder, self._state)
        return state

    def _pull(self, state: State, head: int) -> None:
        try:
            self._pull_rows(state, head)
        except BaseException:
            state.generation = -1  # some rows may be in: the next refresh starts over
            raise

    def _pull_rows(self, state: State, head: int) -> None:
        state.learn(self._ledger.facts(head))
        ended_by = self._ledger.horizon(LIMITS.cursor_lifetime_seconds) if not state.tail.rows else 0
        state.horizon = max(state.horizon, ended_by)
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

    def fold(self, least: int = FOLD_ROWS) -> bool:
        return self._folder is not None and fold(self._ledger, self._folder, least=least)

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
        abandoned: Callable[[], bool] = lambda: False,
        count: bool = False,
        count_seconds: float | None = None,
    ) -> Selection:
        search = StateSearch(self._state, expression, revision, _deadline(deadline, abandoned))
        counting_until = None if count_seconds is None else time.monotonic() + count_seconds
        walks: list[NewestWalk] = []
        found: list[Found] = []
        for source in search.sources:
            if source.source.ordered and sort == NEWEST_FIRST and not count:
                order = Order(source.source, search.view, sort, backward=backward)
                walks.append(NewestWalk(source, order, after, backward))
            else:
                found.append(source.page(sort, limit, after, backward, count, counting_until))
        fill_newest(walks, limit)
        found += [walk.found(limit) for walk in walks]
        matched = [each.matched for each in found]
        total = sum(each for each in matched if each is not None) if count and None not in matched else None
        search.done()
        hits, more = merged(found, sort, limit, backward, after is not None)
        return Selection(tuple(reversed(hits)) if backward else tuple(hits), more, total, search.steps())

    def declared(self, revision: int) -> Mapping[int, Declared]:
        state = self._state
        return state.declared_at(revision) if state.declared else {}

    def scan(self, expression: Predicate, *, revision: int) -> Iterable[int]:
        search = StateSearch(self._state, expression, revision)
        seqs = [each.source.seqs()[each.every()] for each in search.sources]
        yield from np.sort(np.concatenate(seqs)).tolist() if seqs else ()

    def summaries(self, expression: Predicate, *, revision: int) -> dict[int, Summary]:
        return self._facts.summaries(self._state, expression, revision)

    def properties(self, expression: Predicate, *, revision: int, most_values: int) -> tuple[PropertyFacts, ...]:
        return self._facts.properties(self._state, expression, revision, most_values)

    def properties_apart(
        self, expression: Predicate, keys: Iterable[int], *, revision: int, most_values: int
    ) -> dict[int, tuple[PropertyFacts, ...]]:
        return self._facts.apart(self._state, expression, revision, most_values, keys)

    def histogram(self, expression: Predicate, name: str, edges: Sequence[float], *, revision: int) -> list[int]:
        search = StateSearch(self._state, expression, revision, _deadline(time.monotonic() + LIMITS.deadline_seconds))
        counts: list[int] = counted_between(search, name, edges).tolist()
        return counts

    def grid(self, expression: Predicate, degrees: float, *, revision: int) -> dict[tuple[int, int], int]:
        search = StateSearch(self._state, expression, revision, _deadline(time.monotonic() + LIMITS.deadline_seconds))
        return counted_on_grid(search, degrees)

    def matching(self, changes: Sequence[Change], expression: Predicate) -> list[bool]:
        self.refresh()
        state, tail = self._state, Tail()
        # Each stands for itself: none ends another that stands beside it.
        tail.append([change._replace(version=change.version._replace(replaces=None)) for change in changes])
        temporal = state.temporal_at(state.revision)
        view = View(state.names, temporal, lambda name: name in tail.columns or state.exists(name))
        chosen: list[bool] = Evaluator(expression)(tail.frame(slice(0, tail.rows), view)).true.tolist()
        return chosen

    def sortable(self) -> Iterable[str]:
        return self._state.sortable()


def _deadline(at: float | None, abandoned: Callable[[], bool] = lambda: False) -> Callable[[], None]:
    def check() -> None:
        if abandoned():
            raise DeadlineExceeded("nobody waits for this search any more")
        if at is not None and time.monotonic() > at:
            raise DeadlineExceeded(
                f"the search took longer than {LIMITS.deadline_seconds:g} s; narrow it by collection, time or area"
            )

    return check


def item_frame(change: Change, collection: str) -> Frame:
    """A block of one: a single item, for rules and single reads."""
    tail = Tail()
    tail.append([change])
    names = CollectionNames({change.version.collection: collection})
    return tail.frame(slice(0, 1), View(names, lambda _: NO_COLLECTIONS, tail.columns.__contains__))
