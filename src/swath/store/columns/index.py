"""The index over a tail in memory: follows the ledger, evaluates block by block."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from swath.cql2.ast import Predicate
from swath.cql2.evaluate import Evaluator
from swath.cql2.frame import Column
from swath.cql2.queryables import Declared, read_declared
from swath.errors import Unavailable
from swath.limits import LIMITS
from swath.search import SortKey
from swath.store.base import Change, Fact, Hit, Ledger, Operation, PropertyFacts, Selection, Summary
from swath.store.columns.frame import CollectionNames, TailFrame
from swath.store.columns.order import Order
from swath.store.columns.tail import ALIVE, Tail

__all__ = ["ColumnIndex", "item_frame"]

_PULL_ROWS = 2_000
_DECLARATIONS = (Operation.PUT_QUERYABLES, Operation.DELETE_QUERYABLES)
_TEMPORAL = frozenset(("date", "date-time"))
_STRINGS = _TEMPORAL | {"string"}


@dataclass(slots=True)
class _State:
    """All that the index knows. Replaced as a whole when it starts over; otherwise it only grows, and its
    dictionaries are replaced, never changed, so that a search holds on to what it began with."""

    tail: Tail = field(default_factory=Tail)
    names: dict[int, str] = field(default_factory=dict)
    collection_died: dict[int, int] = field(default_factory=dict)
    kinds: dict[str, tuple[Fact, ...]] = field(default_factory=dict)
    declared: dict[int, tuple[tuple[int, Declared | None], ...]] = field(default_factory=dict)
    revision: int = 0

    def declared_at(self, revision: int) -> dict[int, Declared]:
        """What collections declared, the latest that is not younger than the revision."""
        found = {}
        for key, history in self.declared.items():
            latest = next((each for seq, each in reversed(history) if seq <= revision), None)
            if latest is not None and not self.collection_died.get(key, ALIVE) <= revision:
                found[key] = latest
        return found

    def temporal_at(self, revision: int) -> Callable[[str], NDArray[np.int64]]:
        """Collections in which a name held nothing but instants, as declared or known at the revision."""
        kinds = self.kinds
        declared = self.declared_at(revision)

        @cache
        def lookup(name: str) -> NDArray[np.int64]:
            known: dict[int, set[str]] = {}
            for fact in kinds.get(name, ()):
                if fact.revision <= revision and fact.kind in _STRINGS:
                    known.setdefault(fact.collection, set()).add(fact.kind)
            instants = {key for key, found in known.items() if found <= _TEMPORAL}
            for key, each in declared.items():
                said = each.instants_only(name)
                if said is not None:
                    (instants.add if said else instants.discard)(key)
            return np.array(sorted(instants), np.int64)

        return lookup


class ColumnIndex:
    """Answers searches over one ledger. Any thread may search; one at a time pulls."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._state = _State()

    @property
    def indexed_revision(self) -> int:
        return self._state.revision

    # -- following the ledger -----------------------------------------------------------------

    def refresh(self) -> int:
        """Pull what was committed since the last time. Cheap when nothing was."""
        if self._ledger.head() == self._state.revision:
            return self._state.revision
        with self._lock:
            head = self._ledger.head()
            if head > self._state.revision:
                if self._mostly_dead():
                    fresh = _State()  # searches go on in the old one until this is complete
                    self._pull(fresh, head)
                    self._state = fresh
                else:
                    self._pull(self._state, head)
            return self._state.revision

    def _pull(self, state: _State, head: int) -> None:
        """Facts before rows: a reader at the new revision needs both, at an older one neither."""
        kinds = dict(state.kinds)
        for fact in self._ledger.facts(head):
            if fact.revision > state.revision:
                kinds[fact.name] = (*kinds.get(fact.name, ()), fact)
        state.kinds = kinds
        ended_by = self._ledger.horizon(LIMITS.cursor_lifetime_seconds) if state.revision == 0 else 0
        chunk: list[Change] = []
        for change in self._ledger.changes(state.revision, head, ended_by):
            version = change.version
            if version.operation == Operation.PUT_COLLECTION:
                state.names = {**state.names, version.collection: version.id}
            elif version.operation in _DECLARATIONS:
                said = read_declared(msgspec.json.decode(change.body)) if change.body else None
                history = (*state.declared.get(version.collection, ()), (version.seq, said))
                state.declared = {**state.declared, version.collection: history}
            elif version.operation == Operation.DELETE_COLLECTION:
                state.collection_died = {**state.collection_died, version.collection: version.seq}
            else:
                chunk.append(change)
                if len(chunk) >= _PULL_ROWS:
                    state.tail.append(chunk)
                    chunk = []
        if chunk:
            state.tail.append(chunk)
        state.revision = head

    def _mostly_dead(self) -> bool:
        """Whether most rows ended before any cursor that is still alive: then it is time to start over."""
        died = self._state.tail.died.view()
        if len(died) < 20_000 or np.count_nonzero(died != ALIVE) * 2 < len(died):
            return False
        horizon = self._ledger.horizon(LIMITS.cursor_lifetime_seconds)
        return bool(np.count_nonzero(died <= horizon) * 2 > len(died))

    # -- blocks -------------------------------------------------------------------------------

    @staticmethod
    def _selected(
        state: _State, expression: Predicate, revision: int, checkpoint: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[TailFrame, int, NDArray[np.int64]]]:
        """Blocks, newest first, with the number of their first row and the rows that the expression selects."""
        tail, names = state.tail, CollectionNames(state.names)
        temporal = state.temporal_at(revision)
        evaluator = Evaluator(expression, checkpoint)
        gone = [key for key, seq in state.collection_died.items() if seq <= revision]
        for start, stop in tail.blocks():
            checkpoint()
            frame = TailFrame(tail, start, stop, names, temporal)
            seq, died = tail.seq.view()[start:stop], tail.died.view()[start:stop]
            visible = (seq <= revision) & (died > revision)
            if gone:
                visible &= ~np.isin(tail.collection.view()[start:stop], gone)
            if visible.any():
                rows = np.flatnonzero(visible & evaluator.evaluate(expression, frame, visible).true)
                yield frame, start, rows

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
        count_seconds: float | None = None,  # noqa: ARG002 - every row is looked at anyway
    ) -> Selection:
        state = self._state
        tail = state.tail
        found = [start + rows for _, start, rows in self._selected(state, expression, revision, _deadline(deadline))]
        rows = np.concatenate(found) if found else np.empty(0, np.int64)
        matched = len(rows) if count else None
        whole = TailFrame(tail, 0, tail.rows, CollectionNames(state.names), state.temporal_at(revision))
        if not len(rows):
            return Selection((), False, matched)
        order = Order(tail, whole, sort, backward=backward)
        chosen, more = order.first(rows, limit, after)
        seqs = tail.seq.view()
        hits = [Hit(int(seqs[row]), ()) for row in chosen]
        if hits:  # only the ends become cursors
            hits[0] = hits[0]._replace(key=order.key_of(int(chosen[0])))
            hits[-1] = hits[-1]._replace(key=order.key_of(int(chosen[-1])))
        return Selection(tuple(reversed(hits)) if backward else tuple(hits), more, matched)

    def declared(self, revision: int) -> Mapping[int, Declared]:
        state = self._state
        return state.declared_at(revision) if state.declared else {}

    def scan(self, expression: Predicate, *, revision: int) -> Iterable[int]:
        state = self._state
        tail = state.tail
        found = [start + rows for _, start, rows in self._selected(state, expression, revision)]
        seqs = tail.seq.view()
        for rows in reversed(found):
            yield from (int(seq) for seq in seqs[rows])

    def summaries(self, expression: Predicate, *, revision: int) -> dict[int, Summary]:
        state = self._state
        tail = state.tail
        found = [start + rows for _, start, rows in self._selected(state, expression, revision)]
        rows = np.concatenate(found) if found else np.empty(0, np.int64)
        keys = tail.collection.view()[rows]
        order = np.argsort(keys, kind="stable")
        rows, keys = rows[order], keys[order]
        result: dict[int, Summary] = {}
        for part in np.split(rows, np.flatnonzero(np.diff(keys)) + 1) if len(rows) else []:
            boxes = tail.boxes.view()[part]
            boxes = boxes[~np.isnan(boxes[:, 0])]
            known = part[tail.when_known.view()[part]]
            result[int(tail.collection.view()[part[0]])] = Summary(
                count=len(part),
                box=(*map(float, boxes[:, :2].min(axis=0)), *map(float, boxes[:, 2:].max(axis=0)))  # type: ignore[arg-type]
                if len(boxes)
                else None,
                start=int(tail.start.view()[known].min()) if len(known) else None,
                end=int(tail.end.view()[known].max()) if len(known) else None,
            )
        return result

    def properties(self, expression: Predicate, *, revision: int, most_values: int) -> tuple[PropertyFacts, ...]:
        gathered: dict[str, _Gathered] = {}
        state = self._state
        names = list(state.tail.columns)
        for frame, _, rows in self._selected(state, expression, revision):
            chosen = np.zeros(frame.size, np.bool_)
            chosen[rows] = True
            if len(rows):
                for name in names:
                    gathered.setdefault(name, _Gathered(most_values)).add(frame.column(name), chosen)
        return tuple(facts.result(name) for name, facts in sorted(gathered.items()) if facts.count)


class _Gathered:
    """Facts of one property, gathered block by block."""

    def __init__(self, most_values: int) -> None:
        self.most, self.kinds, self.count = most_values, set[str](), 0
        self.values: set[str] | None = set()
        self.low: int | float | None = None
        self.high: int | float | None = None

    def add(self, column: Column, chosen: NDArray[np.bool_]) -> None:
        for kind, lane in (("boolean", column.booleans), ("integer", column.integers), ("number", column.floats)):
            if lane is not None:
                picked = lane.values[chosen[lane.rows]]
                if len(picked):
                    self.kinds.add(kind)
                    self.count += len(picked)
                    if kind != "boolean":
                        low, high = picked.min().item(), picked.max().item()
                        self.low = low if self.low is None else min(self.low, low)
                        self.high = high if self.high is None else max(self.high, high)
        if column.strings is not None:
            self._add_strings(column, chosen)
        if column.arrays is not None and chosen[column.arrays.rows].any():
            self.kinds.add("array")
            self.count += int(chosen[column.arrays.rows].sum())
        if chosen[column.objects].any():
            self.kinds.add("object")
            self.count += int(chosen[column.objects].sum())

    def _add_strings(self, column: Column, chosen: NDArray[np.bool_]) -> None:
        strings = column.strings
        assert strings is not None
        picked = chosen[strings.rows]
        codes = np.unique(strings.codes[picked])
        if not len(codes):
            return
        self.count += int(picked.sum())
        _, first, last = strings.dictionary.spans()
        if strings.temporal[picked].all():
            self.kinds.add("date" if (first[codes] != last[codes]).all() else "date-time")
        else:
            self.kinds.add("string")
        if self.values is not None:
            self.values.update(strings.dictionary.values[code] for code in codes[: self.most + 1])
            if len(self.values) > self.most:
                self.values = None

    def result(self, name: str) -> PropertyFacts:
        values = tuple(sorted(self.values)) if self.values else None
        return PropertyFacts(name, frozenset(self.kinds), self.count, values, self.low, self.high)


def _deadline(at: float | None) -> Callable[[], None]:
    def check() -> None:
        if at is not None and time.monotonic() > at:
            raise Unavailable(
                f"the search took longer than {LIMITS.deadline_seconds:g} s; narrow it by collection, time or area"
            )

    return check


def item_frame(change: Change, collection: str) -> TailFrame:
    """A block of one: a single item, for rules and single reads."""
    tail = Tail()
    tail.append([change])
    names = CollectionNames({change.version.collection: collection})
    return TailFrame(tail, 0, 1, names, lambda _: np.array([], np.int64))
